"""How stored numbers become values: what the item tells, else the file's tags, else the catalogue.

Where an item tells one of scale and offset, the other is that of the file, else of the catalogue; but a scale
of its own has no offset unless the item tells one. Nodata and unit are told one by one. Two traps of
Sentinel-2 are handled here and nowhere else: items that list an offset which their pixels have already, and
items without any encoding whose processing baseline has an offset.
"""

from __future__ import annotations

import fnmatch
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pystac

from lstzoom import stac
from lstzoom.errors import InputError, UnitsError
from lstzoom.raster import RasterSource
from lstzoom.sources.catalog import (
    Access,
    BandLayer,
    BaselineOffset,
    Constants,
    Layer,
    LstLayer,
    VnirLayers,
)

logger = logging.getLogger(__name__)

_AGREES: Final = 1e-3
# The largest number that files of reflectance hold, and what reflectance in percent stays below.
_MOST_NUMBER: Final = 65535
_MOST_REFLECTANCE: Final = 100.0
_PICTURES: Final = frozenset({"overview", "thumbnail", "visual"})
_IN_NAMES: Final = re.compile(r"_N(\d{4})_")


@dataclass(frozen=True, slots=True)
class Told:
    """What an item tells of the encoding of a band, None where it is silent.

    Attributes
    ----------
    scale, offset
        Value = number x scale + offset.
    nodata
        Stored number that marks missing pixels.
    unit
        Unit of the values.
    dtype
        Data type of the numbers.
    offset_applied
        The pixels have the offset already, whatever item and file list.
    """

    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None
    unit: str | None = None
    dtype: str | None = None
    offset_applied: bool = False


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a band is stored, settled.

    Attributes
    ----------
    scale, offset, nodata, unit
        As in `Told`.
    origin
        ``"item"``, ``"file"`` or ``"catalog"``: who told scale and offset.
    """

    scale: float
    offset: float
    nodata: float | None
    unit: str
    origin: str


def find_asset(item: pystac.Item, layer: Layer) -> str | None:
    """Key of the asset that holds a layer: by key, then by file name, by role, by the name of its band."""
    for key in layer.assets:
        if key in item.assets:
            return key
    folded = {key.casefold(): key for key in reversed(item.assets)}
    for key in layer.assets:
        if key.casefold() in folded:
            return folded[key.casefold()]
    # Of two addresses of one file, the one that opens without credentials of a cloud.
    fine = [one for one in item.assets.items() if not _is_coarser(one[1], layer)]
    hrefs = sorted(fine, key=lambda one: one[1].href.startswith(("s3://", "gs://")))
    for pattern in layer.hrefs:
        for key, asset in hrefs:
            if fnmatch.fnmatchcase(file_name(asset.href).lower(), pattern.lower()):
                return key
    bearing = [key for key, asset in item.assets.items() if set(layer.roles) & set(asset.roles or ())]
    if len(bearing) == 1:
        return bearing[0]
    # Bands and masks alone: a thermal band at the top of the atmosphere has the name of the temperature.
    named = [] if isinstance(layer, LstLayer) else _of_band(item, layer)
    return named[0] if len(named) == 1 else None


def _of_band(item: pystac.Item, layer: Layer) -> list[str]:
    """Keys of assets whose only band bears a name of the layer, none coarser than the layer is told."""
    names = {name.casefold() for name in layer.assets}
    found = []
    for key, asset in item.assets.items():
        if set(asset.roles or ()) & _PICTURES or _is_coarser(asset, layer):
            continue
        if names & {name.casefold() for name in _band_names(asset)}:
            found.append(key)
    return found


def _is_coarser(asset: pystac.Asset, layer: Layer) -> bool:
    """Tell whether an asset says that its pixels are larger than those of a band: a copy at 20 m, say."""
    finest = layer.resolution_m if isinstance(layer, BandLayer) else None
    pixel = _pixel_of(asset)
    return bool(finest and pixel and pixel > finest * (1 + _AGREES))


def _band_names(asset: pystac.Asset) -> set[str]:
    """Names that an asset of one band gives it, in any version of STAC."""
    lists = [asset.extra_fields.get(name) for name in ("bands", "eo:bands")]
    alone = [
        one[0] for one in lists if isinstance(one, list) and len(one) == 1 and isinstance(one[0], Mapping)
    ]
    told = [band.get(name) for band in alone for name in ("name", "common_name", "eo:common_name")]
    return {name for name in told if isinstance(name, str)}


def _pixel_of(asset: pystac.Asset) -> float | None:
    """Side of an asset's pixels where it tells it."""
    transform = asset.extra_fields.get("proj:transform")
    told = transform[0] if isinstance(transform, list) and transform else asset.extra_fields.get("gsd")
    return abs(float(told)) if isinstance(told, int | float) else None


def file_name(href: str) -> str:
    """Last part of an address, without its query."""
    return urlsplit(href).path.rpartition("/")[2]


def href_of(asset: pystac.Asset, access: Access) -> str:
    """Address of an asset: absolute, or the alternate one that the catalogue wants."""
    others = asset.extra_fields.get("alternate")
    other = others.get(access.alternate or "") if isinstance(others, Mapping) else None
    href = other.get("href") if isinstance(other, Mapping) else None
    if href:
        return str(href)
    # Files that were fetched after their item: pystac would look for the path at the host of the item.
    if asset.href.startswith("/") and _may_be_here(access) and Path(asset.href).exists():
        return asset.href
    return str(asset.get_absolute_href() or asset.href)


def _may_be_here(access: Access) -> bool:
    return access.allow is None or any(one.startswith(("/", "file:")) for one in access.allow)


def told_by(item: pystac.Item, key: str, band: int = 1, vnir: VnirLayers | None = None) -> Told:
    """Read the encoding of a band from an item of any version of STAC and of the raster extension.

    Parameters
    ----------
    item, key
        Item, and key of its asset.
    band
        Number of the band in the asset, from 1.
    vnir
        For reflectance: what the catalogue knows of offsets that are listed and must not be applied.

    Raises
    ------
    InputError
        If scale or offset are not finite, or the scale is 0; for reflectance, if they give none.

    Notes
    -----
    A scale of 1 without an offset is taken as silence, as it is of a file: programs that describe files write
    it where nothing was told.
    """
    listed = stac.told_bands(item.assets[key].extra_fields)
    fields = listed[band - 1] if band <= len(listed) else {}
    scale, offset = _number(fields, "raster:scale", "scale"), _number(fields, "raster:offset", "offset")
    if scale == 0 or not math.isfinite(_or(scale, 1.0)) or not math.isfinite(_or(offset, 0.0)):
        raise InputError(f"the scale {scale} and offset {offset} of its asset {key!r} give no values")
    if scale == 1 and not offset:
        scale = offset = None
    void = vnir is not None and _is_offset_void(item, vnir)
    if vnir is not None:
        _require_reflectance(scale, None if void else offset, key)
    return Told(
        scale=scale,
        offset=offset,
        nodata=_number(fields, "nodata", "raster:nodata"),
        unit=_text(fields, "unit", "raster:unit"),
        dtype=_text(fields, "data_type"),
        offset_applied=void,
    )


def _require_reflectance(scale: float | None, offset: float | None, key: str) -> None:
    """Refuse what makes all numbers negative, or each of them far more than 100 %: numbers told as values."""
    low, high = _or(scale, 0.0) + _or(offset, 0.0), _MOST_NUMBER * _or(scale, 1.0) + _or(offset, 0.0)
    if high <= 0 or low > _MOST_REFLECTANCE:
        raise InputError(
            f"the scale {scale} and offset {offset} of its asset {key!r} give no reflectance, which is "
            "number x scale + offset"
        )


def _is_offset_void(item: pystac.Item, vnir: VnirLayers) -> bool:
    """Tell whether an offset that is listed is none of the pixels: applied already, or never there."""
    if stac.is_offset_applied(item.properties, vnir.offset_applied):
        return True
    rule = vnir.baseline_offset
    baseline = None if rule is None else _baseline(item, rule)
    # Catalogues list the offset for products of before it was invented, too.
    return rule is not None and baseline is not None and baseline < (_version(rule.since) or ())


def _number(fields: Mapping[str, Any], *names: str) -> float | None:
    for name in names:
        if fields.get(name) is not None:
            return float(fields[name])
    return None


def _text(fields: Mapping[str, Any], *names: str) -> str | None:
    return next((told for name in names if isinstance(told := fields.get(name), str) and told), None)


def settle(told: Told, file: RasterSource | None, constants: Constants) -> Encoding:
    """Decide on an encoding.

    Parameters
    ----------
    told
        By the item.
    file
        By the file's header, where it has been read.
    constants
        Documented for the source.

    Returns
    -------
    Encoding
    """
    if file is not None and _is_float(file.dtype) and not _is_float(constants.dtype or "float32"):
        # What is documented for whole numbers is not meant for a file that holds values as they are.
        constants = constants.model_copy(update={"scale": None, "offset": None, "nodata": None})
    scale, offset, origin = _scale_and_offset(told, file, constants)
    nodata = told.nodata
    if nodata is None and file is not None:
        nodata = file.nodata
    if nodata is None:
        nodata = constants.nodata
    unit = told.unit or (file.units if file is not None else "") or constants.unit or ""
    return Encoding(scale, 0.0 if told.offset_applied else offset, nodata, unit, origin)


def _scale_and_offset(
    told: Told, file: RasterSource | None, constants: Constants
) -> tuple[float, float, str]:
    if file is not None and (file.scale, file.offset) != (1.0, 0.0):
        scale, offset, origin = file.scale, file.offset, "file"
    else:
        scale, offset, origin = _or(constants.scale, 1.0), _or(constants.offset, 0.0), "catalog"
    if told.scale is None and told.offset is None:
        return scale, offset, origin
    if told.scale is None:
        return scale, _or(told.offset, offset), "item"
    if told.offset is None and not math.isclose(told.scale, scale, rel_tol=_AGREES):
        # Another scale is another way to store values, and what else is known of is of no use to it.
        offset = 0.0
    return told.scale, _or(told.offset, offset), "item"


def _is_float(dtype: str) -> bool:
    return dtype.startswith("float")


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def vnir_constants(item: pystac.Item, vnir: VnirLayers, band: str) -> Constants:
    """Documented encoding of a reflectance band of an item, with the offset of its baseline."""
    own, group = vnir.bands[band], vnir
    fields = {
        name: getattr(own, name) if getattr(own, name) is not None else getattr(group, name)
        for name in Constants.model_fields
    }
    if group.baseline_offset is not None and _has_offset(item, group.baseline_offset):
        fields["offset"] = group.baseline_offset.offset
    return Constants(**fields)


def _baseline(item: pystac.Item, rule: BaselineOffset) -> tuple[int, ...] | None:
    """Return the processing baseline of an item, by its properties, else by its name; None if not told."""
    told = [item.properties.get(name) for name in rule.properties]
    names = (_IN_NAMES.search(f"_{one}_") for one in (item.properties.get("s2:product_uri"), item.id))
    found = (_version(one) for one in [*told, *(name[1] for name in names if name)])
    return next((version for version in found if version is not None), None)


def _has_offset(item: pystac.Item, rule: BaselineOffset) -> bool:
    """Tell whether an item's processing baseline has the offset."""
    baseline = _baseline(item, rule)
    if baseline is not None:
        return baseline >= (_version(rule.since) or ())
    when = item.datetime or item.common_metadata.start_datetime
    if when is not None and when.date().isoformat() >= rule.since_date:
        return True
    logger.info(
        "%s does not tell its processing baseline and is older than %s: no offset is taken", item.id,
        rule.since_date,
    )  # fmt: skip
    return False


def _version(text: object) -> tuple[int, ...] | None:
    """Numbers of a version such as ``05.09``, in names of products ``N0509``; None where it is none."""
    plain = str(text if text is not None else "").upper().removeprefix("N")
    parts = [plain[:2], plain[2:]] if len(plain) == 4 and plain.isdigit() else plain.split(".")
    # As many as there are, and at least two: 4 is 4.0.
    parts += ["0"] * (2 - len(parts))
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else None


def to_kelvin(encoding: Encoding, what: str) -> Encoding:
    """Let an encoding give kelvin.

    Raises
    ------
    UnitsError
        If the unit is neither kelvin nor degrees Celsius.
    """
    shift = stac.kelvin_shift(encoding.unit)
    if shift is None:
        raise UnitsError(
            f"{what} has the unit {encoding.unit!r}; kelvin or degrees Celsius is needed: correct the "
            "unit of the asset, or of [lst] in the catalogue where the asset tells none"
        )
    offset = encoding.offset + shift
    return Encoding(encoding.scale, offset, encoding.nodata, "K", encoding.origin)


def same_number(one: float | None, other: float | None) -> bool:
    """Tell whether two nodata values are one; NaN is NaN."""
    if one is None or other is None:
        return one is other
    return one == other or (math.isnan(one) and math.isnan(other))

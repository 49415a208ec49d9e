"""Masks of a bundle: scene classification and quality, as True where a pixel is usable.

Neither the order of the four bands of a classification nor the form of a quality file is published. Bands
are taken by their descriptions where these tell, else in the order of the documentation. A quality file of
three bands holds one mask in each; one of a single band holds bits in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from lstzoom.errors import ConfigError, InputError
from lstzoom.product.metadata import QA_CLASSES, SCL_CLASSES
from lstzoom.raster import Chunks, mask_source

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox

    from lstzoom.raster import RasterSource

CloudClass: TypeAlias = Literal["thick cloud", "thin cloud", "cloud shadow"]
QaFlag: TypeAlias = Literal["blackfill", "saturated", "untested"]

_SCL_BANDS: Final = tuple(SCL_CLASSES)
_QA_BANDS: Final = tuple(QA_CLASSES)
_CLOUDS: Final = tuple(name for code, name in SCL_CLASSES["cloud"].items() if code)


@dataclass(frozen=True, slots=True)
class MaskRules:
    """What of a scene is not used.

    Attributes
    ----------
    clouds
        Classes of the cloud mask that get no value: by default all, shadow too, because reflectance in
        shadow does not belong to the temperature beside it.
    cast_shadow, water
        Leave out terrain shadow, or water (of this scene). Both keep their value by default: they are
        surfaces with a temperature.
    quality
        Flags that make the reflectance of one band missing, so that LST is interpolated there. Untested
        pixels are used by default: not tested is not bad.

    Raises
    ------
    ConfigError
        If a class or a flag is unknown.
    """

    clouds: frozenset[CloudClass] = frozenset(_CLOUDS)  # type: ignore[arg-type]
    cast_shadow: bool = False
    water: bool = False
    quality: frozenset[QaFlag] = frozenset({"blackfill", "saturated"})

    def __post_init__(self) -> None:
        """Refuse names that would mask nothing."""
        for given, known in ((self.clouds, _CLOUDS), (self.quality, _QA_BANDS)):
            strange = sorted(set(given) - set(known))
            if strange:
                raise ConfigError(f"{', '.join(strange)} is no mask; choose from {', '.join(known)}")


def scl_bands(sources: Sequence[RasterSource]) -> dict[str, RasterSource]:
    """Find the four masks of a scene classification.

    Raises
    ------
    InputError
        If the file has not four bands, or its descriptions name a mask twice.
    """
    if len(sources) != len(_SCL_BANDS):
        raise InputError(
            f"{sources[0].path!r} has {len(sources)} bands; a scene classification has 4 "
            f"({', '.join(_SCL_BANDS)}): "
            "fetch the bundle again, or take the classification out of it"
        )
    return _by_name(sources, _SCL_BANDS, _scl_name)


def _scl_name(description: str) -> str:
    text = description.lower()
    if "cast" in text:
        return "castshadow"
    if "water" in text:
        return "static_landwater" if "static" in text else "landwater"
    return "cloud" if "cloud" in text else ""


def qa_bands(sources: Sequence[RasterSource]) -> dict[str, RasterSource] | RasterSource:
    """Find the three masks of a quality file, or its single band of bits.

    Raises
    ------
    InputError
        If the file has neither one nor three bands.
    """
    if len(sources) == 1:
        return sources[0]
    if len(sources) != len(_QA_BANDS):
        raise InputError(
            f"{sources[0].path!r} has {len(sources)} bands; a quality file has 3 "
            f"({', '.join(_QA_BANDS)}) or one "
            "with bits: fetch the bundle again, or take the file out of it"
        )
    return _by_name(sources, _QA_BANDS, _qa_name)


def _qa_name(description: str) -> str:
    text = description.lower()
    return next((name for name in _QA_BANDS if name[:5] in text), "")


def _by_name(sources: Sequence[RasterSource], names: Sequence[str], name_of: Any) -> dict[str, RasterSource]:  # noqa: ANN401
    """Sort by what descriptions say if all of them say something, else by order."""
    told = [name_of(source.description) for source in sources]
    if not all(told):
        return dict(zip(names, sources, strict=True))
    if sorted(told) != sorted(names):
        raise InputError(
            f"the bands of {sources[0].path!r} are described as "
            f"{[one.description for one in sources]}; each of "
            f"{', '.join(names)} is needed once: correct the descriptions"
        )
    return dict(zip(told, sources, strict=True))


def scl_usable(
    sources: Sequence[RasterSource],
    grid: GeoBox,
    rules: MaskRules,
    *,
    clouds: bool,
    chunks: Chunks | None = None,
) -> xr.DataArray | None:
    """Turn a scene classification into a lazy mask on a grid.

    Parameters
    ----------
    sources
        Bands of the file.
    grid
        Grid to put it on, by nearest neighbour.
    rules
        What is not used.
    clouds
        Whether the cloud mask was computed; if not, it says nothing and is not looked at.
    chunks
        As in `lstzoom.raster.mask_source`.

    Returns
    -------
    xarray.DataArray or None
        bool, dimensions (y, x), True where usable; None if the rules leave nothing out.
    """
    bands = scl_bands(sources)
    excluded: dict[str, set[int]] = {
        "cloud": {code for code, name in SCL_CLASSES["cloud"].items() if name in rules.clouds and clouds},
        "castshadow": {1} if rules.cast_shadow else set(),
        "landwater": {1} if rules.water else set(),
    }
    masks = [
        _clear(bands[name], grid, [code for code in SCL_CLASSES[name] if code not in codes], chunks)
        for name, codes in excluded.items()
        if codes
    ]
    return reduce(lambda one, other: one & other, masks) if masks else None


def qa_usable(
    sources: Sequence[RasterSource], grid: GeoBox, rules: MaskRules, chunks: Chunks | None = None
) -> xr.DataArray | None:
    """Turn the quality file of one band into a lazy mask on a grid; parameters as in `scl_usable`."""
    found = qa_bands(sources)
    if not rules.quality:
        return None
    if isinstance(found, Mapping):
        masks = [_clear(found[name], grid, [0], chunks) for name in _QA_BANDS if name in rules.quality]
        return reduce(lambda one, other: one & other, masks)
    bits = sum(1 << _QA_BANDS.index(name) for name in rules.quality)
    return _clear(found, grid, [value for value in range(256) if not value & bits], chunks)


def _clear(source: RasterSource, grid: GeoBox, values: list[int], chunks: Chunks | None) -> xr.DataArray:
    return mask_source(source, grid, values, chunks)

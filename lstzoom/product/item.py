"""A STAC item from a bundle: what its own STAC form leaves out, namely grids, encodings, classes and angles.

STAC 1.1 with projection 2.0, raster 2.0, eo 2.0, view 1.1 and classification 1.1. Only what metadata and
headers say is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import pystac
import shapely
from shapely.geometry import shape

from lstzoom import raster
from lstzoom.errors import GridMismatchError
from lstzoom.product import masks
from lstzoom.product import metadata as md
from lstzoom.product.encoding import DOCUMENTED, Decoded, Variable, decode
from lstzoom.product.fields import (
    COG_TYPE,
    crs_fields,
    flag_classes,
    footprint,
    json_number,
    used_extensions,
)

if TYPE_CHECKING:
    from lstzoom.product.bundle import Bundle, BundleBand
    from lstzoom.raster import RasterSource

_SPELT: Final = ("aot", "lst", "qa", "rgb", "scl", "tcwv")
_COLOURS: Final[Mapping[str, str]] = {
    "thick cloud": "FFFFFF",
    "thin cloud": "C8C8C8",
    "cloud shadow": "505050",
    "water": "2E6FB7",
}


def ingest(bundle: Bundle) -> pystac.Item:
    """Describe a bundle as a STAC item.

    Parameters
    ----------
    bundle
        From `lstzoom.product.open_bundle`.

    Returns
    -------
    pystac.Item
        STAC 1.1, with absolute links to the files. Assets have the names of their files
        (``lst``, ``vnir03``, ``vnir03_qa``, ``scl_mask_10m``).

    Raises
    ------
    GridMismatchError
        If the footprint in the metadata lies somewhere else than the temperature.
    InputError
        If a file cannot be opened.
    """
    area, bounds = footprint_of(bundle)
    item = pystac.Item(
        id=_id(bundle),
        geometry=area,
        bbox=bounds,
        datetime=bundle.acquired,
        properties=_properties(bundle),
        stac_extensions=[],
    )
    for kind in sorted(bundle.files):
        item.add_asset(kind, _asset(bundle, kind))
    item.stac_extensions = used_extensions(item.to_dict(transform_hrefs=False))
    return item


def _id(bundle: Bundle) -> str:
    if bundle.name is not None:
        return bundle.name.folder
    return bundle.metadata.product_id or f"{bundle.product}_{bundle.acquired:%Y%m%dT%H%M%SZ}"


def footprint_of(bundle: Bundle) -> tuple[dict[str, Any], list[float]]:
    """Footprint from the metadata where it is given, else of the temperature's grid, and its bounds."""
    grid = footprint(bundle.lst.source.geobox)
    told = md.ground_of(bundle.metadata)
    if told is None:
        return grid
    if not shapely.intersects(shapely.make_valid(shape(told[0])), shape(grid[0])):
        raise GridMismatchError(
            f"the footprint in metadata.json of {bundle.location!r}, {told[1]}, lies apart from "
            f"the temperature, {grid[1]}; metadata and files are of two scenes: fetch the bundle again"
        )
    return told


def _properties(bundle: Bundle) -> dict[str, Any]:
    told = bundle.metadata
    found: dict[str, Any] = {
        "title": f"{bundle.product} {bundle.acquired:%Y-%m-%d %H:%M:%S} UTC",
        "platform": told.platform.lower() if told.platform else None,
        "instruments": _instruments(bundle),
        "gsd": bundle.lst.source.geobox.affine.a,
        "eo:cloud_cover": _cloud_cover(told),
        **md.angles(told),
        **crs_fields(bundle.lst.source.geobox),
    }
    if told.sensors is not None and told.sensors.acquisition_starttime and told.sensors.acquisition_endtime:
        ends = (told.sensors.acquisition_starttime, told.sensors.acquisition_endtime)
        found["start_datetime"], found["end_datetime"] = map(pystac.utils.datetime_to_str, ends)
    # STAC counts azimuths from 0 to 360.
    for key in ("view:azimuth", "view:sun_azimuth"):
        if key in found:
            found[key] %= 360
    return {key: value for key, value in found.items() if value is not None or key == "proj:code"}


def _instruments(bundle: Bundle) -> list[str] | None:
    sensors = bundle.metadata.sensors
    names = (
        [] if sensors is None else [key.lower() for key in sensors.by_name if key.lower() in ("vnir", "tir")]
    )
    return sorted(names) or None


def _cloud_cover(told: md.Metadata) -> float | None:
    """Thick and thin cloud together; nothing where cloud was not computed."""
    parts = (told.thick_cloud_percentage, told.thin_cloud_percentage)
    if told.cloud_cover_computed is False or parts[0] is None or parts[1] is None:
        return None
    return min(100.0, round(parts[0] + parts[1], 3))


# Assets


def _asset(bundle: Bundle, kind: str) -> pystac.Asset:
    href = bundle.files[kind].href
    if kind == "metadata":
        return pystac.Asset(href, "Metadata", media_type=pystac.MediaType.GEOJSON, roles=["metadata"])
    if "thumbnail" in kind:
        return pystac.Asset(href, _title(kind), media_type=pystac.MediaType.JPEG, roles=["thumbnail"])
    if "composite" in kind or "quicklook" in kind:
        return pystac.Asset(href, _title(kind), media_type=COG_TYPE, roles=["overview", "visual"])
    roles, bands, source = _layer(bundle, kind)
    extra = {"gsd": source.geobox.affine.a, **_grid_fields(source), "bands": bands}
    return pystac.Asset(href, _title(kind), media_type=COG_TYPE, roles=roles, extra_fields=extra)


def _title(kind: str) -> str:
    words = [word.upper() if word in _SPELT or word.startswith("vnir") else word for word in kind.split("_")]
    return " ".join([words[0][0].upper() + words[0][1:], *words[1:]])


def _layer(bundle: Bundle, kind: str) -> tuple[list[str], list[dict[str, Any]], RasterSource]:
    """Roles and bands of a raster. Masks carry the role data, too, or odc-stac would not load them."""
    if kind == "lst":
        return ["data", "temperature"], [_band("lst", bundle.lst)], bundle.lst.source
    if kind.startswith("scl_mask"):
        sources = bundle.scl[int(kind.removeprefix("scl_mask_").removesuffix("m"))]
        return ["data", "metadata", "cloud", "cloud-shadow"], _scl(sources), sources[0]
    known = {band.facts.key: band for band in bundle.bands}
    if kind in known:
        return ["data", "reflectance"], [_reflectance(known[kind])], known[kind].source
    if kind.removesuffix("_qa") in known:
        sources = known[kind.removesuffix("_qa")].quality
        return ["data", "metadata", "saturation", "incomplete-testing"], _quality(sources), sources[0]
    return _other(bundle, kind)


def _other(bundle: Bundle, kind: str) -> tuple[list[str], list[dict[str, Any]], RasterSource]:
    source = raster.describe(bundle.files[kind].path)[0]
    if kind == "lst_qa":
        return ["data", "metadata", "quality"], [_flags(source)], source
    if kind == "lst_uncertainty":
        return ["data", "metadata", "uncertainty"], [_band(kind, decode(source, "ST"))], source
    variable: Variable | None = (
        "ST" if kind == "lst_sharpened_10m" else "EMIS" if kind.startswith("emi") else
        {"aot": "AOT", "tcwv": "TCWV"}.get(kind)  # type: ignore[assignment]
    )  # fmt: skip
    told = None if variable is None else bundle.metadata.stored(variable)
    if variable is None or told is None:
        return ["data"], [_plain(kind, source)], source
    if (source.scale, source.offset, told.scale, DOCUMENTED[variable].scale) == (1.0, 0.0, None, None):
        # Nothing tells the scale, and an item must not make one up.
        return ["data"], [_plain(kind, source)], source
    return ["data"], [_band(kind, decode(source, variable, told))], source


def _plain(name: str, source: RasterSource) -> dict[str, Any]:
    return {"name": name, "data_type": source.dtype}


def _band(name: str, decoded: Decoded) -> dict[str, Any]:
    source = decoded.source
    band: dict[str, Any] = {
        "name": name,
        "data_type": source.dtype,
        # metadata.json says K where STAC wants UCUM's long form.
        "unit": "kelvin" if source.units.strip().lower() in raster.KELVIN_NAMES else source.units,
        "raster:scale": source.scale,
        "raster:offset": source.offset,
        "raster:spatial_resolution": source.geobox.affine.a,
        "raster:sampling": "area",
    }
    if source.nodata is not None:
        band["nodata"] = json_number(source.nodata)
    return band


def _reflectance(band: BundleBand) -> dict[str, Any]:
    facts = band.facts
    return {
        **_band(facts.key, band.decoded),
        "eo:common_name": facts.common_name,
        "eo:center_wavelength": facts.centre / 1000,
        "eo:full_width_half_max": facts.width / 1000,
    }


def _scl(sources: tuple[RasterSource, ...]) -> list[dict[str, Any]]:
    by_number = {source.band: name for name, source in masks.scl_bands(sources).items()}
    return [
        {
            **_plain(by_number[source.band], source),
            "raster:spatial_resolution": source.geobox.affine.a,
            "classification:classes": _classes(md.SCL_CLASSES[by_number[source.band]]),
        }
        for source in sources
    ]


def _quality(sources: tuple[RasterSource, ...]) -> list[dict[str, Any]]:
    found = masks.qa_bands(sources)
    if not isinstance(found, Mapping):
        fields = [
            {"name": name, "description": name, "offset": bit, "length": 1, "classes": _classes(classes)}
            for bit, (name, classes) in enumerate(md.QA_CLASSES.items())
        ]
        return [{**_plain("qa", found), "classification:bitfields": fields}]
    by_number = {source.band: name for name, source in found.items()}
    return [
        {
            **_plain(by_number[source.band], source),
            "classification:classes": _classes(md.QA_CLASSES[by_number[source.band]]),
        }
        for source in sources
    ]


def _flags(source: RasterSource) -> dict[str, Any]:
    """Describe the flags that lstzoom writes."""
    return {**_plain("lst_qa", source), "classification:classes": flag_classes()}


def _classes(classes: Mapping[int, str]) -> list[dict[str, Any]]:
    return [
        {"value": code, "name": name.replace(" ", "_"), "description": name.capitalize()}
        | ({"color_hint": _COLOURS[name]} if name in _COLOURS else {})
        for code, name in classes.items()
    ]


def _grid_fields(source: RasterSource) -> dict[str, Any]:
    affine, (rows, columns) = raster.file_affine(source), source.geobox.shape
    return {
        **crs_fields(source.geobox),
        "proj:shape": [rows, columns],
        "proj:transform": list(affine)[:6],
        "proj:bbox": list(source.geobox.boundingbox.bbox),
    }

"""Metadata of a sharpened product from that of its input: what stays true, what changes, what is unknown."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from lstzoom.product import metadata as md
from lstzoom.product.fields import centre, outline
from lstzoom.product.naming import LongName

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from lstzoom.encoding import Encoding
    from lstzoom.product.bundle import Bundle
    from lstzoom.product.naming import BundleName

PRODUCT: Final = "LSTzoom"
UNKNOWN: Final = "not in the metadata of the input"
# What the two configurations call the same source.
_ATMOSPHERE: Final[Mapping[str, Mapping[str, str]]] = {
    "A": {"CAMS_forecast": "CAMS"},
    "B": {"CAMS": "CAMS_forecast"},
}


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What is written.

    Attributes
    ----------
    name
        Of the product.
    configuration
        Of the metadata.
    grid, encoding
        Of the temperature.
    processed
        Start of the processing.
    link
        Address of documentation and access, if there is one.
    files
        Names of files by kind.
    """

    name: BundleName
    configuration: Literal["A", "B"]
    grid: GeoBox
    encoding: Encoding
    processed: datetime
    link: str | None
    files: Mapping[str, str]


# The documentation gives one unit for each, so that it is known where a file leaves it out.
_UNITS: Final[Mapping[str, str]] = {"AOT": "1", "TCWV": "g/cm²"}


def rewritten(bundle: Bundle, what: Rewrite, sharpening: Mapping[str, Any]) -> dict[str, Any]:
    """Write the metadata of a product.

    Parameters
    ----------
    bundle
        Its input.
    what
        What is written.
    sharpening
        From `lstzoom.product.provenance.sharpening_block`.

    Returns
    -------
    dict
        A GeoJSON Feature with every key of the configuration; unknown keys are null, with a reason.
    """
    told, edition = bundle.metadata, md.edition_of(PRODUCT, what.configuration)
    changed = told.model_copy(update=_top(bundle, what) | {"sharpening": dict(sharpening)})
    places = {"A": _geometric, "B": _sensors}[what.configuration](bundle, what)
    changed = changed.model_copy(update=places | {"products": _products(bundle, what)})
    reasons = {
        "link": "the publisher named no address of documentation and access",
        "products.TIR.ST.ST_nodata": "floating point: missing is NaN",
        "geometric.viewing_angles.view : off_nadir": "the input tells the zenith angle on the ground instead",
    }
    return md.to_feature(_published(changed, edition), edition, reasons=reasons, reason=UNKNOWN)


def _published(block: md.Block, edition: md.Edition) -> Any:  # noqa: ANN401  (of the class of `block`)
    """Keep the keys that are documented, and of these what an edition publishes."""
    kept = {}
    for name, field in type(block).model_fields.items():
        extra = field.json_schema_extra
        editions = str(extra["editions"]).split() if isinstance(extra, dict) else []
        value = getattr(block, name)
        if isinstance(value, md.Block):
            value = _published(value, edition)
        elif isinstance(value, dict) and name != "sharpening":
            value = {k: _published(v, edition) if isinstance(v, md.Block) else v for k, v in value.items()}
        kept[name] = value if not editions or edition in editions else None
    return type(block).model_construct(**kept)


def _top(bundle: Bundle, what: Rewrite) -> dict[str, Any]:
    told, named = bundle.metadata, bundle.name
    satellite = named.satellite if isinstance(named, LongName) else None
    source = told.atmospheric_data_source
    night = md.is_night(told)
    return {
        "product_id": what.name.folder,
        "product_name": PRODUCT,
        "platform": told.platform or satellite,
        "acquisition_datetime": bundle.acquired,
        "processing_time": what.processed,
        "parent_product_key": told.product_id or (named.folder if named else None),
        "link": what.link,
        "atmospheric_data_source": _ATMOSPHERE[what.configuration].get(source or "", source),
        "earth_sun_distance": _earth_sun(told),
        "day_flag": None if night is None else not night,
        "scl_masks_bands": told.scl_masks_bands or (_scl_classes() if bundle.scl else None),
        "qa_mask_bands": told.qa_mask_bands or (_qa_classes() if _has_qa(what.files) else None),
    }


def _has_qa(files: Collection[str]) -> bool:
    return any(kind.startswith("vnir") and kind.endswith("_qa") for kind in files)


def _scl_classes() -> md.SclMasks:
    return md.SclMasks(**{f"{name}_mask_classes": _texts(one) for name, one in md.SCL_CLASSES.items()})


def _qa_classes() -> md.QaMasks:
    return md.QaMasks(**{f"{name}_mask_classes": _texts(one) for name, one in md.QA_CLASSES.items()})


def _texts(classes: Mapping[int, str]) -> dict[str, str | int]:
    return {str(code): name for code, name in classes.items()}


def _earth_sun(told: md.Metadata) -> float | None:
    if told.earth_sun_distance is not None:
        return told.earth_sun_distance
    return None if told.geometric is None else told.geometric.earth_sun_distance


# Geometry: both configurations say the same in different places and units


def _footprint(bundle: Bundle, grid: GeoBox) -> md.Polygon:
    told = md.footprint(bundle.metadata)
    rings = told["coordinates"] if told is not None else [outline(grid).tolist()]
    return md.Polygon(coordinates=rings)


def _box(shape: md.Polygon) -> list[float]:
    return md.bounds_of({"coordinates": shape.coordinates})


def _geometric(bundle: Bundle, what: Rewrite) -> dict[str, Any]:
    told, shape = bundle.metadata, _footprint(bundle, what.grid)
    box, angles = _box(shape), md.angles(bundle.metadata)
    before = told.geometric or md.Geometric()
    lon, lat = centre(what.grid)
    altitude = before.surface_altitude_median
    if altitude is None and told.sensors is not None and told.sensors.surface_altitude_median is not None:
        # Kilometres here, metres in configuration B.
        altitude = told.sensors.surface_altitude_median / 1000
    solar = md.SolarAngles(
        sun_elevation=angles.get("view:sun_elevation"), sun_azimuth=angles.get("view:sun_azimuth")
    )
    viewing = md.ViewingAngles(
        off_nadir=angles.get("view:off_nadir"),
        incident_angle=angles.get("view:incidence_angle"),
        azimuth=angles.get("view:azimuth"),
    )
    return {
        "geometric": md.Geometric(
            geometry=shape,
            bbox=before.bbox or box,
            centroid=before.centroid or md.Centroid(lon=lon, lat=lat),
            earth_sun_distance=_earth_sun(told),
            solar_angles=solar,
            viewing_angles=viewing,
            surface_altitude_median=altitude,
        )
    }


def _sensors(bundle: Bundle, what: Rewrite) -> dict[str, Any]:
    told, shape = bundle.metadata, _footprint(bundle, what.grid)
    angles, before = md.angles(bundle.metadata), bundle.metadata.sensors or md.Sensors()
    elevation, altitude = angles.get("view:sun_elevation"), before.surface_altitude_median
    if altitude is None and told.geometric is not None and told.geometric.surface_altitude_median is not None:
        altitude = told.geometric.surface_altitude_median * 1000
    return {
        "sensors": before.model_copy(
            update={
                "geometry": shape,
                "bbox": before.bbox or _box(shape),
                "crs": before.crs or str(what.grid.crs),
                "solar_angles": md.MeanAngles(
                    azimuth_mean=angles.get("view:sun_azimuth"),
                    zenith_mean=None if elevation is None else 90 - elevation,
                ),
                "viewing_angles": md.MeanAngles(
                    azimuth_mean=angles.get("view:azimuth"), zenith_mean=angles.get("view:incidence_angle")
                ),
                "surface_altitude_median": altitude,
            }
        )
    }


# Layers


def _products(bundle: Bundle, what: Rewrite) -> md.Products:
    before = bundle.metadata.products or md.Products()
    return before.model_copy(update={"VNIR": _vnir(bundle, before, what), "TIR": _tir(before, what)})


def _vnir(bundle: Bundle, before: md.Products, what: Rewrite) -> md.Vnir | None:
    if not bundle.bands:
        return before.VNIR
    vnir = before.VNIR or md.Vnir()
    source, sr = bundle.bands[0].source, vnir.SR or md.Sr()
    stored = {
        "type": source.dtype, "scale_factor": source.scale, "offset": source.offset, "format": "COG",
        "nodata": _whole(source.nodata),
        "unit": source.units or sr.unit,
    }  # fmt: skip
    found: dict[str, Any] = {"SR": sr.model_copy(update=stored)}
    for name, block in (("TCWV", vnir.TCWV), ("AOT", vnir.AOT)):
        if block is None:
            continue
        update: dict[str, Any] = {"unit": _unit(name, block.median, block.unit)}
        if name.lower() in what.files:
            update["file_id"] = what.files[name.lower()]
        found[name] = block.model_copy(update=update)
    return vnir.model_copy(update=found)


def _tir(before: md.Products, what: Rewrite) -> md.Tir:
    encoding = what.encoding
    stored = md.St(
        type=encoding.dtype,
        offset=encoding.offset,
        scale_factor=encoding.scale,
        unit="K",
        nodata=_whole(encoding.nodata),
        format="COG",
    )
    tir = before.TIR or md.Tir()
    units = {
        "AOT_unit": _unit("AOT", tir.AOT_median, tir.AOT_unit),
        "TCWV_unit": _unit("TCWV", tir.TCWV_median, tir.TCWV_unit),
    }
    return tir.model_copy(update={"ST": stored, **units})


def _unit(name: str, median: float | None, told: str | None) -> str | None:
    """Return the unit of what has a value; where the input leaves it out, the documented one."""
    return told if told is not None or median is None else _UNITS[name]


def _whole(nodata: float | None) -> int | None:
    return int(nodata) if nodata is not None and math.isfinite(nodata) else None

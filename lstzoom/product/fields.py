"""What STAC items say of grids, numbers, flags and files, in one place for all items that are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import shapely

import lstzoom
from lstzoom.globe import parts_within_180, to_geojson
from lstzoom.kernels.quality import MEANINGS, QA

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from lstzoom.encoding import Encoding

COG_TYPE: Final = "image/tiff; application=geotiff; profile=cloud-optimized"
ZARR_TYPE: Final = "application/vnd.zarr; version=3"
COLOUR_MAP: Final = "inferno"
EXTENSIONS: Final[Mapping[str, str]] = {
    prefix: f"https://stac-extensions.github.io/{name}/schema.json"
    for prefix, name in {
        "proj": "projection/v2.0.0",
        "raster": "raster/v2.0.0",
        "eo": "eo/v2.0.0",
        "view": "view/v1.1.0",
        "classification": "classification/v1.1.0",
        "processing": "processing/v1.2.0",
        "product": "product/v1.0.0",
        "file": "file/v2.1.0",
    }.items()
}
"""Extensions by the prefix of their fields."""
_RENDER: Final = "https://stac-extensions.github.io/render/v2.0.0/schema.json"
_EDGE_POINTS: Final = 21
_DIGITS: Final = 7
_FLAG_COLOURS: Final[Mapping[QA, str]] = {
    QA.NODATA: "000000",
    QA.LOCAL: "1A9850",
    QA.GLOBAL: "91CF60",
    QA.INTERPOLATED: "FEE08B",
    QA.MASKED: "C8C8C8",
    QA.UNSUPPORTED: "FC8D59",
}


def outline(grid: GeoBox) -> NDArray[np.float64]:
    """Longitude and latitude along the edge of a grid, counterclockwise and closed."""
    assert grid.crs is not None  # noqa: S101  (refused when the file was described)
    # Edges of a UTM scene are curves in longitude and latitude: four corners would cut it.
    part = np.linspace(0.0, 1.0, _EDGE_POINTS)[:-1]
    column = np.concatenate([part, 0 * part + 1, 1 - part, 0 * part, [0.0]])
    row = np.concatenate([0 * part, part, 0 * part + 1, 1 - part, [0.0]])
    left, bottom, right, top = grid.boundingbox.bbox
    x, y = left + (right - left) * column, bottom + (top - bottom) * row
    return np.round(np.stack(grid.crs.transformer_to_crs("EPSG:4326")(x, y), axis=1), _DIGITS)


def ground(polygons: Iterable[Sequence[Sequence[Sequence[float]]]]) -> tuple[dict[str, Any], list[float]]:
    """Union of polygons, given by their rings, and its bounds, as RFC 7946 wants them.

    Polygons that cross the antimeridian are cut there, and then west is larger than east.
    """
    found = []
    for outer, *holes in polygons:
        rings = [np.array([point[:2] for point in ring], np.float64) for ring in (outer, *holes)]
        if crosses(outer):
            for ring in rings:
                ring[ring[:, 0] < 0, 0] += 360
        found += parts_within_180(shapely.make_valid(shapely.Polygon(rings[0], rings[1:])))
    area = shapely.orient_polygons(shapely.set_precision(shapely.union_all(found), 10.0**-_DIGITS))
    return to_geojson(area), joined_bounds([part.bounds for part in shapely.get_parts(area)])


def crosses(ring: Sequence[Sequence[float]]) -> bool:
    """Tell whether a ring goes the shorter way across the antimeridian.

    One around the globe or a pole is none: read the other way it would enclose nothing.
    """
    points = np.array([point[:2] for point in ring], np.float64)
    if np.ptp(points[:, 0]) <= 180:
        return False
    points[points[:, 0] < 0, 0] += 360
    return float(shapely.make_valid(shapely.Polygon(points)).area) > 0


def footprint(grid: GeoBox) -> tuple[dict[str, Any], list[float]]:
    """Footprint of a grid and its bounds, west larger than east where it crosses the antimeridian."""
    edge = outline(grid)
    if crosses(edge.tolist()):
        return ground([[edge.tolist()]])
    return {"type": "Polygon", "coordinates": [edge.tolist()]}, [*edge.min(0).tolist(), *edge.max(0).tolist()]


def joined_bounds(boxes: Sequence[Sequence[float]]) -> list[float]:
    """Bounds of bounds; west is larger than east where the way across the antimeridian is shorter."""
    spans = sorted((west, east if east >= west else east + 360.0) for west, _, east, _ in boxes)
    first, reach = spans[0][0], spans[0][1]
    widest, west, east = 0.0, spans[0][0], max(end for _, end in spans)
    for start, end in spans[1:]:
        if start - reach > widest:
            widest, west, east = start - reach, start, reach
        reach = max(reach, end)
    if first + 360.0 - reach >= widest:
        west, east = first, reach
    south, north = min(one[1] for one in boxes), max(one[3] for one in boxes)
    east = east - 360.0 if east > 180.0 else east
    return [round(float(value), _DIGITS) for value in (west, south, east, north)]


def crs_fields(grid: GeoBox) -> dict[str, Any]:
    """Fields of the projection extension that name the CRS."""
    assert grid.crs is not None  # noqa: S101  (refused when the file was described)
    code = grid.crs.to_epsg()
    return {"proj:code": f"EPSG:{code}"} if code else {"proj:code": None, "proj:wkt2": grid.crs.to_wkt()}


def json_number(number: float) -> float | str:
    """Spell a number as STAC does: JSON has no NaN and no infinity."""
    if math.isfinite(number):
        return int(number) if number == int(number) else number
    return str(number)


def used_extensions(item: Mapping[str, Any]) -> list[str]:
    """Extensions of which an item, as JSON, uses a field."""
    keys = set(item["properties"])
    for asset in item["assets"].values():
        keys |= set(asset)
        for band in asset.get("bands", []):
            keys |= set(band)
    found = [url for prefix, url in EXTENSIONS.items() if any(key.startswith(f"{prefix}:") for key in keys)]
    return [*found, _RENDER] if "renders" in keys else found


def processing_fields(lineage: str, version: str = lstzoom.__version__) -> dict[str, Any]:
    """How it was processed, and with what."""
    return {
        "processing:level": "L3",
        "processing:lineage": lineage,
        "processing:software": {"lstzoom": version},
    }


def file_fields(size: int, digest: str) -> dict[str, Any]:
    """Size and SHA-256, given in hexadecimal, of a file."""
    # Multihash: 12 is SHA-256, 20 its length.
    return {"file:size": size, "file:checksum": f"1220{digest}"}


def statistics(low: float, high: float, mean: float, count: int) -> dict[str, float]:
    """Statistics of a band, in its unit."""
    return {"minimum": round(low, 3), "maximum": round(high, 3), "mean": round(mean, 3), "count": count}


def temperature_render(low: float, high: float, encoding: Encoding) -> dict[str, Any]:
    """How to show temperature between two values: stored numbers, which is what tile servers stretch."""
    stored = [round((one - encoding.offset) / encoding.scale, 4) for one in (low, high)]
    return {
        "lst": {
            "title": f"Temperature, {low:.2f} to {high:.2f} K",
            "assets": ["lst"],
            "rescale": [stored],
            "colormap_name": COLOUR_MAP,
            "resampling": "nearest",
        }
    }


def flag_classes() -> list[dict[str, Any]]:
    """Classes of the flags that lstzoom writes."""
    return [
        {"value": flag.value, "name": name, "description": name.replace("_", " ").capitalize()}
        | {"color_hint": _FLAG_COLOURS[flag]}
        for flag, name in MEANINGS.items()
    ]

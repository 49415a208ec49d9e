"""What STAC items say of grids, numbers, flags and files, in one place for all items that are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import shapely
from odc.geo.crs import CRS

import lstzoom
from lstzoom.errors import GridMismatchError
from lstzoom.globe import enclosed, filled, parts_within_180, to_geojson, turns, unwrapped
from lstzoom.grid import describe_grid
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
_AT_POLE: Final = 1e-6  # degrees
_FLAG_COLOURS: Final[Mapping[QA, str]] = {
    QA.NODATA: "000000",
    QA.LOCAL: "1A9850",
    QA.GLOBAL: "91CF60",
    QA.INTERPOLATED: "FEE08B",
    QA.MASKED: "C8C8C8",
    QA.UNSUPPORTED: "FC8D59",
}


def outline(grid: GeoBox, points: int = _EDGE_POINTS) -> NDArray[np.float64]:
    """Longitude and latitude along the edge of a grid, closed; counterclockwise, but around a pole.

    Parameters
    ----------
    grid
        With its CRS.
    points
        On each side, at least; beside a pole there are more.

    Raises
    ------
    GridMismatchError
        If the grid reaches beyond where its CRS is defined.
    """
    assert grid.crs is not None  # noqa: S101  (refused when the file was described)
    pole = _pole(grid)
    edge = np.stack(grid.crs.transformer_to_crs("EPSG:4326")(*_edge(grid, pole, points)), axis=1)
    if not np.isfinite(edge).all():
        raise GridMismatchError(
            f"{describe_grid(grid)} reaches beyond where {grid.crs} is defined; cut it to where it is"
        )
    edge = np.round(edge if pole is None else _with_poles(edge, centre(grid)[0]), _DIGITS)
    ring = unwrapped(edge)
    if not turns(ring) and not shapely.LinearRing(ring).is_ccw:
        # Polar projections of the south turn the other way.
        return edge[::-1]
    return edge


def drawn(grid: GeoBox, points: int = 3) -> NDArray[np.float64]:
    """Edge of a grid as maps draw it, of few points on each side; see `lstzoom.globe.filled`."""
    return filled(outline(grid, points))


def centre(grid: GeoBox) -> tuple[float, float]:
    """Longitude and latitude of the middle of a grid."""
    assert grid.crs is not None  # noqa: S101  (refused when the file was described)
    lon, lat = grid.crs.transformer_to_crs("EPSG:4326")(*_middle(grid))
    return float(lon), float(lat)


def _middle(grid: GeoBox) -> tuple[float, float]:
    left, bottom, right, top = grid.boundingbox.bbox
    return (left + right) / 2, (bottom + top) / 2


def _edge(
    grid: GeoBox, pole: tuple[float, float] | None, points: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points along the edge in the grid's own coordinates, counterclockwise and closed.

    Edges of a UTM scene are curves in longitude and latitude: four corners would cut it.
    """
    left, bottom, right, top = grid.boundingbox.bbox
    x, y = pole or (np.nan, np.nan)
    south, north = (_stations(left, right, x, y - side, points) for side in (bottom, top))
    west, east = (_stations(bottom, top, y, x - side, points) for side in (left, right))
    sides = [
        (south, np.full_like(south, bottom)),
        (np.full_like(east, right), east),
        (north[::-1], np.full_like(north, top)),
        (np.full_like(west, left), west[::-1]),
    ]
    xs, ys = (np.concatenate([side[k][:-1] for side in sides]) for k in (0, 1))
    return np.append(xs, left), np.append(ys, bottom)


def _stations(low: float, high: float, foot: float, away: float, points: int) -> NDArray[np.float64]:
    """Where points lie along an edge: evenly, and at equal angles as seen from a pole beside it.

    Where the edge passes a pole the longitude turns fast.
    """
    even = np.linspace(low, high, points)
    more = foot + abs(away) * np.tan(np.radians(np.arange(-75, 76, 15)))
    return np.union1d(even, more[(more > low) & (more < high)])


def _pole(grid: GeoBox) -> tuple[float, float] | None:
    """Where a pole lies in a grid's coordinates, if it lies in the grid or close to it."""
    assert grid.crs is not None  # noqa: S101  (refused when the file was described)
    left, bottom, right, top = grid.boundingbox.bbox
    if grid.crs.geographic:
        return None
    middle, reach = _middle(grid), max(right - left, top - bottom)
    for lat in (-90.0, 90.0):
        x, y = CRS("EPSG:4326").transformer_to_crs(grid.crs)(0.0, lat)
        if np.isfinite([x, y]).all() and max(abs(x - middle[0]), abs(y - middle[1])) < reach:
            return float(x), float(y)
    return None


def _with_poles(edge: NDArray[np.float64], middle: float) -> NDArray[np.float64]:
    """Let an edge that touches a pole go along it, from where it comes over its middle to where it goes.

    The longitude of a pole is any.
    """
    at = np.flatnonzero(90 - np.abs(edge[:-1, 1]) < _AT_POLE)
    ring = edge[:-1]
    for k in at[::-1]:
        lon = [ring[k - 1, 0], middle, ring[(k + 1) % len(ring), 0]]
        ring = np.concatenate([ring[:k], np.stack([lon, np.full(3, ring[k, 1])], axis=1), ring[k + 1 :]])
    return np.concatenate([ring, ring[:1]])


def ground(polygons: Iterable[Sequence[Sequence[Sequence[float]]]]) -> tuple[dict[str, Any], list[float]]:
    """Union of polygons, given by their rings, and its bounds, as RFC 7946 wants them.

    Polygons that cross the antimeridian are cut there, and then west is larger than east; one around a pole
    goes up to the pole.
    """
    found = [part for outer, *holes in polygons for part in parts_within_180(enclosed(outer, holes))]
    area = shapely.orient_polygons(shapely.set_precision(shapely.union_all(found), 10.0**-_DIGITS))
    return to_geojson(area), joined_bounds([part.bounds for part in shapely.get_parts(area)])


def crosses(ring: Sequence[Sequence[float]]) -> bool:
    """Tell whether a ring goes the shorter way across the antimeridian, or around a pole.

    One around the globe is none: read the other way it would enclose nothing.
    """
    points = unwrapped(ring)
    within = np.abs(points[:, 0]).max() <= 180
    return bool(turns(points)) or (not within and float(enclosed(ring).area) > 0)


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

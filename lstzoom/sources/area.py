"""Areas on the globe: what is asked for, what a footprint covers, on any side of the antimeridian.

Areas are compared on an equal-area plane around their own place, so that neither the poles, nor a
boundary of UTM zones, nor the antimeridian is special.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from shapely.geometry import box, shape
from shapely.geometry.base import BaseGeometry

from lstzoom.errors import InputError, import_extra
from lstzoom.globe import parts_within_180
from lstzoom.sources.redaction import redact

Area: TypeAlias = Sequence[float] | Mapping[str, Any] | BaseGeometry | str | Path
"""Bounds (west, south, east, north), GeoJSON, a shapely geometry in longitude and latitude, or a file."""

# Edges longer than this, degrees, bend visibly between degrees and a plane.
_EDGE = 0.1
_ROUNDING = 1e-6
_FARTHEST = 540
_WGS84 = 4326


def as_area(area: Area) -> BaseGeometry:
    """Read an area of interest.

    Parameters
    ----------
    area
        West, south, east, north in degrees, where west may be larger than east across the antimeridian;
        or GeoJSON; or a geometry of shapely or another package in longitude and latitude; or a GeoJSON or
        other vector file.

    Returns
    -------
    shapely geometry
        Longitude and latitude; east of the antimeridian longitudes go on beyond 180.

    Raises
    ------
    InputError
        If it is not an area, or not in degrees.
    """
    if isinstance(area, BaseGeometry):
        found = area
    elif isinstance(area, Mapping):
        found = _with_plain_edges(_from_geojson(area))
    elif isinstance(area, str | Path):
        found = _with_plain_edges(_from_file(Path(area)))
    elif hasattr(area, "__geo_interface__"):
        found = _with_plain_edges(_from_geojson(area.__geo_interface__))
    else:
        found = _from_bounds(area)
    if found.is_empty:
        raise InputError("the area of interest is empty; give bounds or a polygon")
    if all(part.geom_type != "Polygon" for part in _parts(found)):
        raise InputError(f"the area of interest is a {found.geom_type}, which covers nothing; give a polygon")
    found = shapely.make_valid(found)
    west, south, east, north = found.bounds
    if not (-360 <= west <= east <= 540 and -90 <= south <= north <= 90) or found.area <= 0:
        raise InputError(
            f"the area of interest has the bounds ({west:.6g}, {south:.6g}, {east:.6g}, {north:.6g}); an "
            "area in longitude and latitude (degrees, EPSG:4326) is needed"
        )
    return found


def _parts(area: BaseGeometry) -> list[BaseGeometry]:
    """Geometries that an area is made of, none of them made of others."""
    parts = list(shapely.get_parts(area))
    return parts if parts == [area] else [one for part in parts for one in _parts(part)]


def _with_plain_edges(area: BaseGeometry) -> BaseGeometry:
    """Refuse edges around more than half of the globe: they may as well be meant the short way."""
    for ring in shapely.get_rings(_parts(area)):
        widest = float(np.abs(np.diff(shapely.get_coordinates(ring)[:, 0])).max(initial=0))
        if 180 < widest < 360 - _ROUNDING:
            raise InputError(
                f"an edge of the area of interest spans {widest:.6g} degrees of longitude; where the area "
                "crosses 180 degrees, give longitudes beyond it (179.5 to 180.5), or bounds with west larger "
                "than east; where it is that wide, put points in between"
            )
    return area


def _from_bounds(bounds: Sequence[float]) -> BaseGeometry:
    try:
        west, south, east, north = (float(one) for one in bounds)
        found = all(map(math.isfinite, (west, south, east, north)))
    except (TypeError, ValueError):
        found = False
    if not found:
        raise InputError(
            f"the bounds are {reprlib.repr(bounds)}; give west, south, east, north in degrees"
        ) from None
    return box(west, south, east + 360 if east < west else east, north)


def _from_geojson(found: Any) -> BaseGeometry:  # noqa: ANN401  (files may hold anything)
    try:
        return _geometry_of(found)
    except InputError:
        raise
    except (
        shapely.errors.ShapelyError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError,
    ) as error:  # fmt: skip
        raise InputError(f"this is no GeoJSON geometry: {redact(reprlib.repr(found))[:200]}") from error


def _geometry_of(found: Any) -> BaseGeometry:  # noqa: ANN401
    if found.get("type") == "FeatureCollection":
        # Features without a place are allowed.
        placed = [one for one in found.get("features", []) if one.get("geometry", found) is not None]
        return shapely.union_all([_from_geojson(one) for one in placed])
    if found.get("type") == "Feature":
        return _from_geojson(found.get("geometry") or {})
    made = shape(found)
    if not np.isfinite(shapely.get_coordinates(made)).all():
        raise ValueError("its coordinates are not finite")
    return made


def _from_file(path: Path) -> BaseGeometry:
    if not path.exists():
        raise InputError(f"there is no file {str(path)!r} with the area of interest")
    if path.suffix.lower() in {".json", ".geojson"}:
        try:
            return _from_geojson(json.loads(path.read_text(encoding="utf-8")))
        except InputError as error:
            raise InputError(f"{str(path)!r}: {error}") from error
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{str(path)!r} cannot be read as GeoJSON: {error}") from error
    return _from_vector(path)


def _from_vector(path: Path) -> BaseGeometry:
    pyogrio = import_extra("pyogrio", "vector")
    raw = import_extra("pyogrio.raw", "vector")
    try:
        meta, _, geometry, _ = raw.read(path, columns=[])
    except pyogrio.errors.DataSourceError as error:
        raise InputError(f"{str(path)!r} cannot be read as a vector file: {error}") from error
    found = shapely.force_2d(shapely.union_all(shapely.from_wkb(geometry)))
    crs = CRS(meta["crs"] or "EPSG:4326")
    if crs == CRS("EPSG:4326"):
        return found
    return _moved(shapely.segmentize(found, max(found.length / 400, 1e-9)), crs, CRS("EPSG:4326"))


@dataclass(frozen=True, slots=True)
class Cap:
    """A circle on the globe that holds a place; neither poles nor the antimeridian are special to it.

    Attributes
    ----------
    lon, lat
        Centre, degrees.
    radius
        Angle between centre and border, degrees.
    """

    lon: float
    lat: float
    radius: float

    def meets(self, other: Cap) -> bool:
        """Tell whether two circles have a point in common."""
        apart = float(_angles(_directions(np.array([[self.lon, self.lat]])), _direction(other))[0])
        return apart <= self.radius + other.radius

    def window(self) -> tuple[float, float, float, float]:
        """West, south, east, north of the circle; longitudes may go on beyond 180."""
        south, north = self.lat - self.radius, self.lat + self.radius
        if south <= -90 or north >= 90:  # a pole lies within, and with it all longitudes
            return self.lon - 180, max(south, -90), self.lon + 180, min(north, 90)
        half = math.degrees(math.asin(math.sin(math.radians(self.radius)) / math.cos(math.radians(self.lat))))
        return self.lon - half, south, self.lon + half, north


def cap_of(place: BaseGeometry, crs: CRS | None = None) -> Cap:
    """Circle around a footprint in degrees, or around a place in another CRS."""
    if crs is None:
        points = shapely.get_coordinates(_dense(place))
    else:
        west, south, east, north = place.bounds
        fine = shapely.segmentize(place, max(east - west, north - south) / 64)
        points = shapely.get_coordinates(_moved(fine, crs, CRS(f"EPSG:{_WGS84}")))
    directions = _directions(points)
    x, y, z = directions.mean(axis=0)
    cap = Cap(math.degrees(math.atan2(y, x)), math.degrees(math.atan2(z, math.hypot(x, y))), 0.0)
    return replace(cap, radius=float(_angles(directions, _direction(cap)).max()) + _ROUNDING)


def _directions(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn longitudes and latitudes into unit vectors."""
    lon, lat = np.radians(points[:, 0]), np.radians(points[:, 1])
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def _direction(cap: Cap) -> NDArray[np.float64]:
    return _directions(np.array([[cap.lon, cap.lat]]))[0]


def _angles(directions: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    across = np.linalg.norm(np.cross(directions, other), axis=1)
    return np.asarray(np.degrees(np.arctan2(across, directions @ other)))


def part_near(area: BaseGeometry, cap: Cap) -> BaseGeometry:
    """Part of an area of interest that a place can meet, its longitudes without a break around the place.

    Only there does an area of any width, up to the whole globe, have a shape on a plane or in a zone.
    """
    around = box(*cap.window())
    parts = [
        shapely.transform(part, lambda xy, s=shift: xy + np.array([s, 0])) & around
        for part in parts_within_180(area)
        for shift in (-360, 0, 360)
    ]
    return shapely.union_all([part for part in parts if part.area > 0])


def plane_at(cap: Cap) -> CRS:
    """Equal-area plane around a place, metres."""
    return CRS(f"+proj=laea +lat_0={cap.lat:.4f} +lon_0={cap.lon:.4f} +datum=WGS84 +units=m")


def on_plane(place: BaseGeometry, plane: CRS) -> BaseGeometry:
    """Footprint on a plane, rings across the antimeridian and around a pole, too."""
    return _planar(_dense(place), plane)


def area_on_plane(area: BaseGeometry, plane: CRS, cap: Cap) -> BaseGeometry:
    """Part of an area of interest around a place, on a plane; its edges are taken as they are."""
    return _planar(shapely.segmentize(part_near(area, cap), _EDGE), plane)


def _planar(place: BaseGeometry, plane: CRS) -> BaseGeometry:
    # Seams, such as those along 180 degrees, close.
    return shapely.make_valid(_moved(place, CRS(f"EPSG:{_WGS84}"), plane))


def _dense(place: BaseGeometry) -> BaseGeometry:
    """Footprint with points so close that edges are straight on a plane, too; not valid in degrees.

    Edges of more than half the globe are those that cross the antimeridian; those all around it are real.
    """
    made = []
    for part in shapely.get_parts(place):
        if part.geom_type != "Polygon":
            made.append(part)
            continue
        rings = [_dense_ring(shapely.get_coordinates(ring)) for ring in (part.exterior, *part.interiors)]
        made.append(shapely.Polygon(rings[0], rings[1:]))
    return shapely.geometrycollections(made) if len(made) != 1 else made[0]


def _dense_ring(points: NDArray[np.float64]) -> NDArray[np.float64]:
    steps = np.diff(points, axis=0)
    wide = (np.abs(steps[:, 0]) > 180) & (np.abs(steps[:, 0]) < 360 - _ROUNDING)
    steps[wide, 0] -= 360 * np.sign(steps[wide, 0])
    counts = np.maximum(1, np.ceil(np.hypot(steps[:, 0], steps[:, 1]) / _EDGE)).astype(int)
    return np.concatenate(
        [
            start + step * (np.arange(count) / count)[:, None]
            for start, step, count in zip(points, steps, counts, strict=False)
        ]
        + [points[-1:]]
    )


def _moved(area: BaseGeometry, source: CRS, target: CRS) -> BaseGeometry:
    transformer = source.transformer_to_crs(target)

    def move(points: np.ndarray) -> np.ndarray:
        x, y = transformer(points[:, 0], points[:, 1])
        return np.stack([x, y], axis=1)

    moved: BaseGeometry = shapely.transform(shapely.force_2d(area), move)
    return moved


def bounds_on(grid: GeoBox, area: BaseGeometry) -> tuple[float, float, float, float] | None:
    """Bounds of an area of interest around a grid, in its CRS: left, bottom, right, top; None if apart."""
    assert grid.crs is not None  # noqa: S101  (a grid without CRS is none that items can tell)
    part = part_near(area, cap_of(grid.extent.geom, grid.crs))
    if part.is_empty:
        return None
    fine = shapely.segmentize(part, min(_EDGE, max((part.bounds[2] - part.bounds[0]) / 32, 1e-6)))
    left, bottom, right, top = _moved(fine, CRS(f"EPSG:{_WGS84}"), grid.crs).bounds
    return left, bottom, right, top


def footprint(geometry: Mapping[str, Any] | None, bounds: Sequence[float] | None) -> BaseGeometry | None:
    """Footprint of an item: its geometry, else its bounds, else None.

    Raises
    ------
    InputError
        If it is no geometry, or none in degrees.
    """
    found = _from_geojson(geometry) if geometry else None
    if (found is None or found.is_empty) and bounds and len(bounds) in {4, 6}:
        half = len(bounds) // 2
        found = _from_bounds([bounds[0], bounds[1], bounds[half], bounds[half + 1]])
    if found is None or found.is_empty:
        return None
    west, south, east, north = found.bounds
    if not (west >= -_FARTHEST and east <= _FARTHEST and south >= -90 - _EDGE and north <= 90 + _EDGE):
        raise InputError(
            f"the footprint has the bounds ({west:.6g}, {south:.6g}, {east:.6g}, {north:.6g}); longitude and "
            "latitude are needed"
        )
    return found

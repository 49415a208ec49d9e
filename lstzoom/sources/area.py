"""Areas on the globe: what is asked for, what a footprint covers, on any side of the antimeridian.

Areas are compared on an equal-area plane around their own place, so that neither the poles, nor a
boundary of UTM zones, nor the antimeridian is special.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import shapely
from odc.geo.crs import CRS
from shapely.geometry import box, mapping, shape
from shapely.geometry.base import BaseGeometry

from lstzoom.errors import InputError, import_extra
from lstzoom.sources.redaction import redact

Area: TypeAlias = Sequence[float] | Mapping[str, Any] | BaseGeometry | str | Path
"""Bounds (west, south, east, north), GeoJSON, a shapely geometry in longitude and latitude, or a file."""

_EDGE = 0.1
_FARTHEST = 540
_WGS84 = 4326


def as_area(area: Area) -> BaseGeometry:
    """Read an area of interest.

    Parameters
    ----------
    area
        West, south, east, north in degrees, where west may be larger than east across the antimeridian;
        or GeoJSON; or a shapely geometry in longitude and latitude; or a GeoJSON or other vector file.

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
        found = _from_geojson(area)
    elif isinstance(area, str | Path):
        found = _from_file(Path(area))
    else:
        found = _from_bounds(area)
    west, south, east, north = found.bounds if not found.is_empty else (math.nan,) * 4
    if not (-360 <= west <= east <= 540 and -90 <= south <= north <= 90) or found.area <= 0:
        raise InputError(
            f"the area of interest has the bounds ({west:.6g}, {south:.6g}, {east:.6g}, {north:.6g}); an "
            "area in longitude and latitude (degrees, EPSG:4326) is needed"
        )
    return shapely.make_valid(found)


def _from_bounds(bounds: Sequence[float]) -> BaseGeometry:
    if len(bounds) != 4 or not all(math.isfinite(float(one)) for one in bounds):
        raise InputError(f"the bounds are {bounds!r}; give west, south, east, north in degrees")
    west, south, east, north = (float(one) for one in bounds)
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
        return shapely.union_all([_from_geojson(one) for one in found.get("features", [])])
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


def to_geojson(area: BaseGeometry) -> dict[str, Any]:
    """GeoJSON of an area, for a search."""
    found: dict[str, Any] = json.loads(json.dumps(mapping(area)))
    return found


def parts_within_180(area: BaseGeometry) -> list[BaseGeometry]:
    """Split an area at the antimeridian, every part within -180 to 180."""
    parts = []
    for shift in (-360, 0, 360):
        part = area & box(-180 + shift, -90, 180 + shift, 90)
        if not part.is_empty and part.area > 0:
            parts.append(shapely.transform(part, lambda xy, s=shift: xy - [s, 0]))
    return parts


def plane_at(area: BaseGeometry) -> CRS:
    """Equal-area plane around an area, metres."""
    lon, lat = (float(one) for one in shapely.get_coordinates(area)[0])
    return CRS(f"+proj=laea +lat_0={lat:.4f} +lon_0={lon:.4f} +datum=WGS84 +units=m")


def on_plane(area: BaseGeometry, plane: CRS) -> BaseGeometry:
    """Area on a plane; every vertex by itself, so that rings across the antimeridian come out right."""
    # Edges longer than this bend visibly between degrees and the plane.
    fine = shapely.segmentize(area, _EDGE) if _is_narrow(area) else area
    return shapely.make_valid(_moved(fine, CRS("EPSG:4326"), plane))


def _is_narrow(area: BaseGeometry) -> bool:
    """Tell whether edges are real: a ring that seems to go around the globe crosses the antimeridian."""
    west, _, east, _ = area.bounds
    return bool(east - west < 180)


def _moved(area: BaseGeometry, source: CRS, target: CRS) -> BaseGeometry:
    transformer = source.transformer_to_crs(target)

    def move(points: np.ndarray) -> np.ndarray:
        x, y = transformer(points[:, 0], points[:, 1])
        return np.stack([x, y], axis=1)

    moved: BaseGeometry = shapely.transform(shapely.force_2d(area), move)
    return moved


def bounds_in(area: BaseGeometry, crs: CRS) -> tuple[float, float, float, float]:
    """Bounds of an area in a CRS: left, bottom, right, top."""
    fine = shapely.segmentize(area, max((area.bounds[2] - area.bounds[0]) / 32, 1e-6))
    fine = area if crs == CRS(f"EPSG:{_WGS84}") else _moved(fine, CRS(f"EPSG:{_WGS84}"), crs)
    left, bottom, right, top = fine.bounds
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

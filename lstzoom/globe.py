"""Shapes on the globe as files and services want them: within -180 to 180 degrees, and as GeoJSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from shapely.geometry import box, mapping

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry


def to_geojson(area: BaseGeometry) -> dict[str, Any]:
    """GeoJSON of a shape, for a search or an item."""
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


def unwrapped(ring: Sequence[Sequence[float]] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Let a ring go on beyond 180 degrees where the shorter way to its next point does.

    Parameters
    ----------
    ring
        Longitudes and latitudes, shape (point, 2); more columns are left out.

    Returns
    -------
    ndarray of float64, shape (point, 2)
        Of a ring around a pole the last longitude is 360 more or less than the first.
    """
    points = np.array([point[:2] for point in ring], np.float64)
    step = np.diff(points[:, 0])
    # Whole turns alone are taken off, so that what crosses nothing stays bit for bit.
    points[1:, 0] -= 360 * np.cumsum(np.round(step / 360))
    return points


def turns(points: NDArray[np.float64]) -> int:
    """Count how often a ring of `unwrapped` goes around a pole: eastwards 1, westwards -1, else 0."""
    return round(float(points[-1, 0] - points[0, 0]) / 360)


def enclosed(
    outer: Sequence[Sequence[float]] | NDArray[np.float64], holes: Sequence[Sequence[Sequence[float]]] = ()
) -> BaseGeometry:
    """Fill a ring that goes the shorter way between its points; one around a pole is filled up to the pole.

    Parameters
    ----------
    outer, holes
        Closed rings of longitudes and latitudes.

    Returns
    -------
    shapely geometry
        Its longitudes may go on beyond 180 degrees; `parts_within_180` cuts it.
    """
    ring = unwrapped(outer)
    if turns(ring):
        pole = 90.0 if ring[:, 1].mean() > 0 else -90.0
        ring = np.concatenate([ring, [[ring[-1, 0], pole], [ring[0, 0], pole]], ring[:1]])
    inner = [unwrapped(hole) for hole in holes]
    for hole in inner:
        hole[:, 0] += 360 * np.ceil((ring[:, 0].min() - hole[:, 0].min()) / 360)
    return shapely.make_valid(shapely.Polygon(ring, inner))

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


def filled(outer: Sequence[Sequence[float]] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Let a closed ring go the shorter way between its points, and one around a pole up to the pole.

    Parameters
    ----------
    outer
        Longitudes and latitudes, shape (point, 2).

    Returns
    -------
    ndarray of float64, shape (point, 2)
        Closed; its longitudes may go on beyond 180 degrees.
    """
    ring = unwrapped(outer)
    if not turns(ring):
        return ring
    pole = 90.0 if ring[:, 1].mean() > 0 else -90.0
    return np.concatenate([ring, [[ring[-1, 0], pole], [ring[0, 0], pole]], ring[:1]])


def beside(rings: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Move rings by whole turns so that they lie together, as a map of them all wants it.

    Parameters
    ----------
    rings
        From `filled`.

    Examples
    --------
    >>> [float(ring[0, 0]) for ring in beside([np.array([[178.0, 0.0]]), np.array([[-179.0, 0.0]])])]
    [178.0, 181.0]
    """
    if not rings:
        return []
    middles = np.array([(ring[:, 0].min() + ring[:, 0].max()) / 2 for ring in rings])
    around = np.sort(middles % 360)
    widest = int(np.argmax(np.diff(around, append=around[0] + 360)))
    first = around[(widest + 1) % len(around)]
    # Of one that lies where the first does, rounding must not make a turn.
    moved = first + (middles - first + 1e-6) % 360 - 1e-6
    turned = np.round((moved - middles) / 360) - np.round(moved.mean() / 360)
    return [np.add(ring, (360 * turn, 0)) for ring, turn in zip(rings, turned, strict=True)]


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
    ring = filled(outer)
    inner = [unwrapped(hole) for hole in holes]
    for hole in inner:
        hole[:, 0] += 360 * np.ceil((ring[:, 0].min() - hole[:, 0].min()) / 360)
    return shapely.make_valid(shapely.Polygon(ring, inner))

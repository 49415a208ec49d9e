"""Shapes on the globe as files and services want them: within -180 to 180 degrees, and as GeoJSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import shapely
from shapely.geometry import box, mapping

if TYPE_CHECKING:
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

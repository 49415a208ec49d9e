"""What STAC items say about a raster's grid and numbers, in one place for all items that are written."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

COG_TYPE: Final = "image/tiff; application=geotiff; profile=cloud-optimized"
_EDGE_POINTS: Final = 21


def outline(grid: GeoBox) -> NDArray[np.float64]:
    """Longitude and latitude along the edge of a grid, counterclockwise and closed."""
    assert grid.crs is not None  # noqa: S101  (refused when the file was described)
    # Edges of a UTM scene are curves in longitude and latitude: four corners would cut it.
    part = np.linspace(0.0, 1.0, _EDGE_POINTS)[:-1]
    column = np.concatenate([part, 0 * part + 1, 1 - part, 0 * part, [0.0]])
    row = np.concatenate([0 * part, part, 0 * part + 1, 1 - part, [0.0]])
    left, bottom, right, top = grid.boundingbox.bbox
    x, y = left + (right - left) * column, bottom + (top - bottom) * row
    return np.round(np.stack(grid.crs.transformer_to_crs("EPSG:4326")(x, y), axis=1), 7)


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

"""Scenes of mosaics without files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from lstzoom.kernels.quality import QA
from lstzoom.mosaics.scenes import Scene

Field = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
START = datetime(2023, 6, 1, 10, tzinfo=UTC)


@dataclass(frozen=True, eq=False)
class Values:
    """A layer that is an array; counts the pixels that are read."""

    values: NDArray[np.float32]
    grid: GeoBox

    stamp = ""

    def read(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        return self.values[rows, columns]


def scene_of(
    lst: NDArray[np.float32], grid: GeoBox, *, name: str = "a", day: float = 0.0, sigma: float | None = 0.5
) -> Scene:
    """Scene of a temperature; pixels without one are masked."""
    known = np.isfinite(lst)
    qa = np.where(known, QA.LOCAL, QA.MASKED).astype(np.float32)
    spread = None if sigma is None else Values(np.where(known, sigma, np.nan).astype(np.float32), grid)
    return Scene(name, START + timedelta(days=day), Values(lst, grid), spread, Values(qa, grid))


def grid_at(lon: float, lat: float, shape: tuple[int, int], crs: str, pixel: float = 10.0) -> GeoBox:
    """Grid of a CRS whose middle is near a place, in whole pixels."""
    from odc.geo.crs import CRS

    x, y = CRS("EPSG:4326").transformer_to_crs(CRS(crs))(lon, lat)
    left, top = (round(float(value) / pixel) * pixel for value in (x, y))
    corner = Affine(pixel, 0, left - pixel * (shape[1] // 2), 0, -pixel, top + pixel * (shape[0] // 2))
    return GeoBox(shape, corner, crs)


def degrees_of(grid: GeoBox) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude of the centres of pixels."""
    from odc.geo.crs import CRS

    assert grid.crs is not None
    column, row = np.meshgrid(np.arange(grid.shape.x) + 0.5, np.arange(grid.shape.y) + 0.5)
    x, y = grid.affine.c + grid.affine.a * column, grid.affine.f + grid.affine.e * row
    lon, lat = grid.crs.transformer_to_crs(CRS("EPSG:4326"))(x, y)
    return np.asarray(lon), np.asarray(lat)


def seen(grid: GeoBox, field: Field) -> NDArray[np.float32]:
    """A field of longitude and latitude on a grid."""
    return field(*degrees_of(grid)).astype(np.float32)


def waves(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Temperature that is smooth over 100 m, and the same on both sides of the antimeridian."""
    return 300 + 5 * np.sin(np.radians(lon) * 3e4) * np.cos(np.radians(lat) * 3e4)

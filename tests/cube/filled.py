"""A small cube with known values."""

from __future__ import annotations

from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from lstzoom import cube

GRID = GeoBox((70, 90), Affine(10, 0, 500_000, 0, -10, 4_000_000), "EPSG:32631")
SHARD = 32
SPEC = cube.CubeSpec(GRID, shard=SHARD, chunk=16)
TIMES = ["2026-07-05T10:31:07.123456Z", "2026-06-03T10:31:00+00:00"]

Window = tuple[slice, slice]


def windows(grid: GeoBox = GRID, side: int = SHARD) -> list[Window]:
    rows, columns = grid.shape
    return [
        (slice(y, min(y + side, rows)), slice(x, min(x + side, columns)))
        for y in range(0, rows, side)
        for x in range(0, columns, side)
    ]


def values(place: int, grid: GeoBox = GRID) -> NDArray[np.float32]:
    rng = np.random.default_rng(place)
    kelvin = (290 + 10 * rng.standard_normal(grid.shape)).astype(np.float32)
    kelvin[rng.random(kelvin.shape) < 0.1] = np.nan
    kelvin[:20, :20] = np.nan
    return kelvin


def layers(place: int, grid: GeoBox = GRID) -> dict[str, NDArray[Any]]:
    kelvin = values(place, grid)
    flags = np.where(np.isnan(kelvin), 0, 1 + (kelvin > 290) + 3 * (kelvin > 305))
    return {"lst": kelvin, "lst_uncertainty": np.abs(kelvin - 290) / 10, "qa": flags.astype(np.uint8)}


def write(job: tuple[str, int, Window]) -> int:
    url, place, window = job
    return cube.write_region(url, place, window, {n: one[window] for n, one in layers(place).items()})


def day_of(number: int) -> str:
    return f"2027-01-{number + 1:02d}T10:00:00"


def append_days(url: str, first: int) -> list[int]:
    """Make the cube if need be, and add every second day one after the other."""
    cube.create(url, SPEC, [], exist_ok=True)
    return [place for day in range(first, 12, 2) for place in cube.append_times(url, [day_of(day)])]

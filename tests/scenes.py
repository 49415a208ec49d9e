"""Small scenes for tests."""

from __future__ import annotations

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords


def on_grid(values: NDArray, *, pixel: float, bands: bool = False) -> xr.DataArray:
    """Array on a UTM grid whose upper left corner is always the same."""
    shape = values.shape[-2:]
    grid = GeoBox(shape, Affine(pixel, 0, 600_000, 0, -pixel, 5_400_000), "EPSG:32632")
    dims = ("band", "y", "x") if bands else ("y", "x")
    return xr.DataArray(values, dims=dims, coords=xr_coords(grid, dims=("y", "x")))


def random_scene(
    shape: tuple[int, int] = (40, 37), *, ratio: int = 3, bands: int = 2, seed: int = 0, gaps: float = 0.0
) -> tuple[xr.DataArray, xr.DataArray]:
    """Reflectance of patchy fields and a temperature that follows it, with gaps in both."""
    rng = np.random.default_rng(seed)
    fine = (shape[0] * ratio, shape[1] * ratio)
    field = rng.random((fine[0] // 5 + 1, fine[1] // 5 + 1))
    cover = np.kron(field, np.ones((5, 5)))[: fine[0], : fine[1]]
    vnir = np.stack([0.05 + 0.4 * cover ** (k + 1) for k in range(bands)])
    vnir += 0.01 * rng.standard_normal(vnir.shape)
    truth = 310 - 15 * cover + 0.3 * rng.standard_normal(fine)
    lst = (truth**4).reshape(shape[0], ratio, shape[1], ratio).mean((1, 3)) ** 0.25
    if gaps:
        vnir[rng.random(vnir.shape) < gaps] = np.nan
        lst[rng.random(lst.shape) < gaps] = np.nan
        lst[: shape[0] // 4, : shape[1] // 3] = np.nan
    return (
        on_grid(vnir.astype(np.float32), pixel=30.0 / ratio, bands=True),
        on_grid(lst.astype(np.float32), pixel=30.0),
    )

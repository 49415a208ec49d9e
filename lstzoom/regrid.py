"""Arrays in memory or lazy onto another grid, by the same rules as files (see `lstzoom.raster`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from lstzoom.grid import coincide, grid_of
from lstzoom.halo import is_lazy
from lstzoom.raster import DEFAULT_CHUNK, Sampling, sampling
from lstzoom.types import YX

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr


def regrid(array: xr.DataArray, grid: GeoBox) -> NDArray[Any] | da.Array:
    """Put an array on another grid.

    Parameters
    ----------
    array
        Dimensions (band, y, x), with a grid; missing where not finite.
    grid
        Target.

    Returns
    -------
    numpy or dask array, shape (band, *grid.shape)
        The array's own data where the grids coincide; else float32, NaN where missing or outside,
        dask where the array is. A pixel depends on its own position alone, never on the chunks.
    """
    source = grid_of(array)
    if coincide(source, grid):
        return array.data
    if is_lazy(array.data):
        return _lazily(array.data, source, grid)
    whole = sampling(source, grid, "auto", slice(0, grid.shape.y), slice(0, grid.shape.x))
    return _apply(_finite(array.data), whole, YX(0, 0))


def _lazily(data: da.Array, source: GeoBox, grid: GeoBox) -> da.Array:
    """One task for each chunk of the target, fed with the part of the source that it needs."""
    import dask  # noqa: PLC0415  (slow to import, and files do not need it)
    import dask.array as da  # noqa: PLC0415  (slow to import, and files do not need it)

    task = dask.delayed(_window, pure=True)
    rows = []
    for y in range(0, grid.shape.y, DEFAULT_CHUNK):
        ys = slice(y, min(y + DEFAULT_CHUNK, grid.shape.y))
        row = []
        for x in range(0, grid.shape.x, DEFAULT_CHUNK):
            xs = slice(x, min(x + DEFAULT_CHUNK, grid.shape.x))
            span = sampling(source, grid, "auto", ys, xs).read_span(YX(*source.shape))
            part = task(data[:, span[0], span[1]], source, grid, (ys, xs), YX(span[0].start, span[1].start))
            shape = (data.shape[0], ys.stop - ys.start, xs.stop - xs.start)
            row.append(da.from_delayed(part, shape, np.float32))
        rows.append(row)
    return da.block([[*row] for row in rows])


def _window(
    data: NDArray[Any], source: GeoBox, grid: GeoBox, window: tuple[slice, slice], origin: YX
) -> NDArray[np.float32]:
    return _apply(_finite(data), sampling(source, grid, "auto", *window), origin)


def _apply(data: NDArray[np.float32], how: Sampling, origin: YX) -> NDArray[np.float32]:
    return np.stack([how.apply(plane, origin) for plane in data])


def _finite(data: NDArray[Any]) -> NDArray[np.float32]:
    values = np.asarray(data, np.float32)
    return np.where(np.isfinite(values), values, np.float32(np.nan))

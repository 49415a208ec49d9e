"""Arrays in memory or lazy onto another grid, by the same rules as files (see `lstzoom.raster`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from lstzoom.grid import coincide, grid_of
from lstzoom.halo import is_lazy
from lstzoom.raster import DEFAULT_CHUNK, Resampling, Sampling, sampling
from lstzoom.types import YX

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr


def moved(grid: GeoBox, offset: tuple[float, float]) -> GeoBox:
    """Return a grid that lies some of its pixels further down and to the right.

    Parameters
    ----------
    grid
        Any grid.
    offset
        Pixels along y and x, whole or not.
    """
    return grid.translate_pix(offset[1], offset[0])


def regrid(array: xr.DataArray, grid: GeoBox, resampling: Resampling = "auto") -> NDArray[Any] | da.Array:
    """Put an array on another grid.

    Parameters
    ----------
    array
        Dimensions (band, y, x), with a grid; missing where not finite.
    grid
        Target.
    resampling
        As for files (`lstzoom.raster.LazyStack`).

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
        return _lazily(array.data, source, grid, resampling)
    whole = sampling(source, grid, resampling, slice(0, grid.shape.y), slice(0, grid.shape.x))
    return _apply(_finite(array.data), whole, YX(0, 0))


def _lazily(data: da.Array, source: GeoBox, grid: GeoBox, resampling: Resampling) -> da.Array:
    """One task for each chunk of the target, fed with the part of the source that it needs."""
    import dask  # noqa: PLC0415  (slow to import, and files do not need it)
    import dask.array as da  # noqa: PLC0415  (slow to import, and files do not need it)

    task = dask.delayed(_window, pure=True)
    rows = []
    # A grid that is merely moved keeps the chunks: their sides were chosen for what the memory holds.
    side = int(max(data.chunksize[1:])) if grid.shape == source.shape else DEFAULT_CHUNK
    for y in range(0, grid.shape.y, side):
        ys = slice(y, min(y + side, grid.shape.y))
        row = []
        for x in range(0, grid.shape.x, side):
            xs = slice(x, min(x + side, grid.shape.x))
            span = sampling(source, grid, resampling, ys, xs).read_span(YX(*source.shape))
            origin = YX(span[0].start, span[1].start)
            part = task(data[:, span[0], span[1]], source, grid, (ys, xs), origin, resampling)
            shape = (data.shape[0], ys.stop - ys.start, xs.stop - xs.start)
            row.append(da.from_delayed(part, shape, np.float32))
        rows.append(row)
    return da.block([[*row] for row in rows])


def _window(
    data: NDArray[Any],
    source: GeoBox,
    grid: GeoBox,
    window: tuple[slice, slice],
    origin: YX,
    resampling: Resampling,
) -> NDArray[np.float32]:
    return _apply(_finite(data), sampling(source, grid, resampling, *window), origin)


def _apply(data: NDArray[np.float32], how: Sampling, origin: YX) -> NDArray[np.float32]:
    return np.stack([how.apply(plane, origin) for plane in data])


def _finite(data: NDArray[Any]) -> NDArray[np.float32]:
    values = np.asarray(data, np.float32)
    return np.where(np.isfinite(values), values, np.float32(np.nan))

"""Pixels of a layer, read thinned out: a page shows some hundred thousand of them, however many there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window

from lstzoom import raster
from lstzoom.errors import InputError
from lstzoom.grid import coincide

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from lstzoom.raster import RasterSource


class Plane(Protocol):
    """A layer that can be read a window at a time."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    def read(self, rows: slice, columns: slice, step: int) -> NDArray[np.float32]:
        """Read one pixel of `step` x `step`; NaN where missing. The window holds whole steps."""


@dataclass(frozen=True, slots=True)
class FilePlane:
    """A band of a file on its own grid; its overviews are used."""

    source: RasterSource

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.source.geobox.shape.y, self.source.geobox.shape.x

    def read(self, rows: slice, columns: slice, step: int) -> NDArray[np.float32]:
        """Read one pixel of `step` x `step`, from the overview that fits."""
        source = self.source
        height, width = rows.stop - rows.start, columns.stop - columns.start
        top = self.shape[0] - rows.stop if source.south_up else rows.start
        try:
            with rasterio.open(source.path) as file:
                stored = file.read(
                    source.band,
                    window=Window(columns.start, top, width, height),
                    out_shape=(height // step, width // step),
                    resampling=Resampling.nearest,
                    masked=True,
                )
        except RasterioError as error:
            raise InputError(
                f"cannot read {raster.shown(source.path)!r}: {raster.shown(str(error))}; check the file"
            ) from error
        values = np.ma.getdata(stored).astype(np.float64) * source.scale + source.offset
        missing = np.ma.getmaskarray(stored) | ~np.isfinite(values)
        if source.nodata is not None:
            missing |= np.ma.getdata(stored) == source.nodata
        values[missing] = np.nan
        return (values[::-1] if source.south_up else values).astype(np.float32)


@dataclass(frozen=True, slots=True)
class WarpedPlane:
    """A band of a file on another grid, where it is put while it is read."""

    source: RasterSource
    grid: GeoBox

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.grid.shape.y, self.grid.shape.x

    def read(self, rows: slice, columns: slice, step: int) -> NDArray[np.float32]:
        """Read means of `step` x `step` pixels."""
        shape = ((rows.stop - rows.start) // step, (columns.stop - columns.start) // step)
        affine = self.grid.affine * Affine.translation(columns.start, rows.start) * Affine.scale(step)
        part = GeoBox(shape, affine, self.grid.crs)
        return raster.LazyStack((self.source,), part)[0]


@dataclass(frozen=True, slots=True)
class ArrayPlane:
    """A layer in memory, or lazy."""

    array: xr.DataArray

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.array.sizes["y"], self.array.sizes["x"]

    def read(self, rows: slice, columns: slice, step: int) -> NDArray[np.float32]:
        """Read the middle one of `step` x `step` pixels."""
        first = step // 2
        part = self.array.isel(
            y=slice(rows.start + first, rows.stop, step), x=slice(columns.start + first, columns.stop, step)
        )
        return np.asarray(part.values, np.float32)


@dataclass(frozen=True, slots=True)
class LevelsPlane:
    """A layer with coarser levels, each with pixels twice as large as those of the level before.

    Attributes
    ----------
    levels
        Arrays of dimensions (y, x), the full resolution first.
    """

    levels: tuple[xr.DataArray, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.levels[0].sizes["y"], self.levels[0].sizes["x"]

    def read(self, rows: slice, columns: slice, step: int) -> NDArray[np.float32]:
        """Read what lies in the middle of `step` x `step` pixels, from the coarsest level that is finer."""
        level = min(step.bit_length() - 1, len(self.levels) - 1)
        y, x = (
            np.floor((np.arange(part.start, part.stop, step) + step / 2) / 2**level).astype(int)
            for part in (rows, columns)
        )
        part = self.levels[level].isel(y=slice(y[0], y[-1] + 1), x=slice(x[0], x[-1] + 1))
        return np.asarray(part.values, np.float32)[np.ix_(y - y[0], x - x[0])]


def plane_of(what: Any, grid: GeoBox) -> Plane:  # noqa: ANN401  (a source or an array)
    """Make a plane on a grid of a band of a file or of an array that lies on it.

    Parameters
    ----------
    what
        `lstzoom.raster.RasterSource`, or an `xarray.DataArray` of dimensions (y, x).
    grid
        Grid that the plane shall have.
    """
    if not isinstance(what, raster.RasterSource):
        return ArrayPlane(what)
    return FilePlane(what) if coincide(what.geobox, grid) else WarpedPlane(what, grid)

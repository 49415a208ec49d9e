"""From what the user gives to arrays on two nested grids; everything is checked before work starts."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lstzoom.errors import GridMismatchError, InputError
from lstzoom.grid import GridPair, coincide, describe_grid, grid_of, north_up, resolve_grids
from lstzoom.halo import Block, BlockTask, Windowed, delay_blocks, is_lazy, run_block
from lstzoom.kernels.rows import MOST_BANDS, require_kelvin
from lstzoom.raster import LazyMask, LazyRaster, LazyStack, sampling
from lstzoom.regrid import moved, regrid
from lstzoom.types import YX

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr

MIN_COARSE = 5
"""Fewest coarse pixels along a side: less holds no window and no neighbourhood."""

_VISIBLE = 1 - 1e-4

_VERTICAL = ("y", "latitude", "lat")
_HORIZONTAL = ("x", "longitude", "lon")


@dataclass(frozen=True, slots=True)
class SceneArrays:
    """A scene on its two grids.

    Arrays are numpy's, dask's, or files that are read a window at a time (`lstzoom.halo.Windowed`).

    Attributes
    ----------
    vnir : array of float32, shape (band, h * ratio, w * ratio)
    lst : array of float32, shape (h, w)
        Kelvin.
    usable : array of bool, shape (h * ratio, w * ratio), or None
    grids : GridPair
    bands : tuple of str
    moved : tuple of float, or None
        Fine pixels along y and x by which reflectance was moved against its georeference.
    native : tuple of float, or None
        Pixel of every band in its own file, where reflectance says it, in the units of its CRS.
    remake : callable
        Makes the scene anew from what was given, with reflectance moved by the argument ``move``.
    """

    vnir: Any
    lst: Any
    usable: Any
    grids: GridPair
    bands: tuple[str, ...]
    moved: tuple[float, float] | None
    remake: Callable[..., SceneArrays]
    native: tuple[float, ...] | None = None

    @property
    def is_lazy(self) -> bool:
        """Whether any of the arrays is a dask array."""
        return any(is_lazy(a) for a in (self.vnir, self.lst, self.usable))

    def lazy(self) -> tuple[da.Array, da.Array, da.Array | None]:
        """Return bands, LST and mask as dask arrays, the mask chunked as the bands are."""
        import dask.array as da  # noqa: PLC0415  (slow to import, and files do not need it)

        vnir, lst = da.asarray(self.vnir), da.asarray(self.lst)
        usable = None if self.usable is None else da.asarray(self.usable).rechunk(vnir.chunks[1:])
        return vnir, lst, usable

    def run(
        self, work: Sequence[tuple[Block, BlockTask]], argument: object = None, threads: int = 1
    ) -> list[Any]:
        """Run functions on blocks.

        Parameters
        ----------
        work
            Blocks, and what to call for each.
        argument
            What all calls share.
        threads
            Blocks at a time in this process, if the scene is not lazy.

        Returns
        -------
        list
            What the functions returned, in the order of the blocks; dask Delayeds of it if the scene or the
            argument is lazy.
        """
        ratio = self.grids.ratio
        if self.is_lazy or is_lazy(argument):
            arrays = self.lazy()
            return [
                one for block, task in work
                for one in delay_blocks(task, *arrays, argument, [block], ratio=ratio)
            ]  # fmt: skip

        def call(one: tuple[Block, BlockTask]) -> Any:  # noqa: ANN401  (whatever the function returns)
            return run_block(one[1], self.vnir, self.lst, self.usable, argument, one[0], ratio)

        with ThreadPoolExecutor(threads, thread_name_prefix="lstzoom-patches") as pool:
            return list(pool.map(call, work))


def prepare(
    vnir: xr.DataArray,
    lst: xr.DataArray,
    valid: xr.DataArray | None = None,
    *,
    ratio: int | None = None,
    move: tuple[float, float] | None = None,
) -> SceneArrays:
    """Check a scene and bring it onto nested grids.

    Parameters
    ----------
    vnir
        Dimensions (band, y, x) or (y, x); any numeric dtype and unit, missing where not finite.
    lst
        Dimensions (y, x), kelvin; its grid owns the geometry and is never resampled.
    valid
        Dimensions (y, x) on the fine or the coarse grid, True where a pixel may be used.
    ratio
        Fine pixels per coarse pixel; by default from the grids.
    move
        Take reflectance, and what a fine mask hides of it, from so many fine pixels further down and to the
        right. The mask itself stays: what is masked does not appear.

    Returns
    -------
    SceneArrays

    Raises
    ------
    InputError
        If dimensions or sizes do not fit.
    GridMismatchError
        If the grids cannot be made to nest.
    UnitsError
        If LST that is in memory cannot be kelvin; lazy LST raises where it is read.
    """
    lst, vnir = north_up(_plane(lst, "lst")), north_up(_stack(vnir))
    if not is_lazy(lst.data):
        # What is lazy is checked where it is read.
        require_kelvin(lst.to_numpy())
    grids = resolve_grids(grid_of(lst), [grid_of(vnir)], ratio)
    _require_size(grids, vnir.sizes["band"])
    usable = None if valid is None else _mask(valid, grids)
    return SceneArrays(
        vnir=_float32(regrid(vnir, grids.fine) if move is None else _moved(vnir, valid, grids, move)),
        lst=_float32(lst.data),
        usable=usable,
        grids=grids,
        bands=tuple(str(b) for b in vnir.coords["band"].values) if "band" in vnir.coords
        else tuple(f"band{k + 1}" for k in range(vnir.sizes["band"])),
        moved=move,
        native=_native(vnir),
        remake=partial(prepare, vnir, lst, valid, ratio=grids.ratio),
    )  # fmt: skip


def _native(vnir: xr.DataArray) -> tuple[float, ...] | None:
    """Pixels of the bands in their own files, if there is one for each: bands may have been selected."""
    told = vnir.attrs.get("native_resolution")
    if not isinstance(told, list | tuple) or len(told) != vnir.sizes["band"]:
        return None
    return tuple(float(side) for side in told)


def _moved(
    vnir: xr.DataArray,
    valid: xr.DataArray | None,
    grids: GridPair,
    move: tuple[float, float],
) -> NDArray[Any] | da.Array:
    """Reflectance from moved positions, missing where it is made of a pixel that a fine mask hides."""
    target = moved(grids.fine, move)
    bands = regrid(vnir, target, "cubic")
    if valid is None or not coincide(grid_of(valid), grids.fine):
        return bands
    plain = north_up(_plane(valid, "valid")).astype(np.float32)
    # Linear weights: any share of a hidden pixel shows.
    (visible,) = regrid(plain.expand_dims("band"), target)
    if is_lazy(bands) or is_lazy(visible):
        import dask.array as da  # noqa: PLC0415  (slow to import, and files do not need it)

        return da.where(visible < _VISIBLE, np.float32(np.nan), bands)
    return np.where(visible < _VISIBLE, np.float32(np.nan), bands)


@dataclass(frozen=True)
class _MovedStack:
    """Bands of files at moved positions, missing where they are made of a pixel that a mask hides."""

    bands: LazyStack
    mask: LazyMask

    dtype = LazyStack.dtype

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.bands.shape

    @property
    def stored_bytes(self) -> float:
        return self.bands.stored_bytes

    def read_into(self, out: NDArray[np.float32], rows: slice, columns: slice) -> None:
        self.bands.read_into(out, rows, columns)
        how = sampling(self.mask.grid, self.bands.grid, "auto", rows, columns)
        span = how.read_span(YX(*self.mask.shape))
        visible = how.apply(self.mask[span].astype(np.float32), YX(span[0].start, span[1].start))
        out[:, visible < _VISIBLE] = np.nan


def from_files(
    vnir: LazyStack,
    lst: LazyRaster,
    usable: LazyMask | None,
    bands: Sequence[str],
    *,
    move: tuple[float, float] | None = None,
) -> SceneArrays:
    """Make a scene of files, of which nothing is read but the windows that are worked on.

    Parameters
    ----------
    vnir
        Bands on the fine grid.
    lst
        Kelvin, on its own grid.
    usable
        Mask on the fine grid.
    bands
        Names of the bands.
    move
        As for `prepare`.

    Returns
    -------
    SceneArrays

    Raises
    ------
    InputError
        If the LST is too small or there are too many bands.
    GridMismatchError
        If the grids do not nest.
    """
    grids = resolve_grids(lst.grid, [vnir.grid])
    for grid in (vnir.grid, *(() if usable is None else (usable.grid,))):
        if not coincide(grid, grids.fine):
            raise GridMismatchError(
                f"files are opened on {describe_grid(grid)}, and the fine grid of the LST is "
                f"{describe_grid(grids.fine)}; open them on that"
            )
    _require_size(grids, len(bands))
    remake = partial(from_files, vnir, lst, usable, bands)
    read: Windowed = vnir
    if move is not None:
        read = replace(vnir, grid=moved(grids.fine, move), resampling="cubic")
        read = read if usable is None else _MovedStack(read, usable)
    native = tuple(float(source.geobox.affine.a) for source in vnir.sources)
    return SceneArrays(read, lst, usable, grids, tuple(bands), move, remake, native)


def _require_size(grids: GridPair, bands: int) -> None:
    if min(grids.coarse.shape) < MIN_COARSE:
        raise InputError(
            f"the LST has {grids.coarse.shape.y} x {grids.coarse.shape.x} pixels; at least {MIN_COARSE} x "
            f"{MIN_COARSE} are needed to learn anything"
        )
    if bands > MOST_BANDS:
        raise InputError(
            f"reflectance has {bands} bands, and at most {MOST_BANDS} can be used: choose some, or take "
            "means of neighbours, which say nearly the same"
        )


def _plane(array: xr.DataArray, name: str) -> xr.DataArray:
    """Two-dimensional array with dimensions (y, x)."""
    import xarray as xr  # noqa: PLC0415  (slow to import, and files do not need it)

    if not isinstance(array, xr.DataArray):
        raise InputError(
            f"{name} is a {type(array).__name__}; give an xarray.DataArray with dimensions (y, x)"
        )
    array = array.squeeze(drop=True) if array.ndim > 2 else array
    spatial = _spatial(array)
    if array.ndim != 2 or len(spatial) != 2:
        raise InputError(f"{name} has dimensions {array.dims}; it needs (y, x): select one band and one time")
    return array.transpose(*spatial)


def _spatial(array: xr.DataArray) -> tuple[Hashable, ...]:
    """Name the vertical and the horizontal dimension, in that order, of those that are there."""
    return tuple(d for names in (_VERTICAL, _HORIZONTAL) for d in array.dims if d in names)


def _stack(array: xr.DataArray) -> xr.DataArray:
    """Three-dimensional array with dimensions (band, y, x)."""
    import xarray as xr  # noqa: PLC0415  (slow to import, and files do not need it)

    if not isinstance(array, xr.DataArray):
        raise InputError(
            f"vnir is a {type(array).__name__}; give an xarray.DataArray with dimensions (band, y, x), for "
            "example dataset.to_dataarray('band')"
        )
    if array.ndim == 2:
        array = array.expand_dims("band")
    if array.ndim == 4 and array.sizes.get("time") == 1:
        array = array.squeeze("time", drop=True)
    spatial = _spatial(array)
    if array.ndim != 3 or len(spatial) != 2:
        raise InputError(f"vnir has dimensions {array.dims}; it needs (band, y, x)")
    band = next(d for d in array.dims if d not in spatial)
    if array.sizes[band] == 0:
        raise InputError("vnir has no band; give at least one")
    return array.rename({band: "band"}).transpose("band", *spatial)


def _mask(valid: xr.DataArray, grids: GridPair) -> NDArray[np.bool_] | da.Array:
    """Mask on the fine grid; a mask on the coarse grid is repeated."""
    valid = north_up(_plane(valid, "valid"))
    if valid.dtype != np.bool_:
        raise InputError(
            f"valid has dtype {valid.dtype}; give booleans, True where a pixel may be used, "
            "for example scl.isin([4, 5, 6])"
        )
    grid = grid_of(valid)
    if coincide(grid, grids.fine):
        return valid.data
    if coincide(grid, grids.coarse):
        repeated: NDArray[np.bool_] | da.Array = valid.data.repeat(grids.ratio, axis=0)
        return repeated.repeat(grids.ratio, axis=1)
    raise InputError(
        f"valid lies on {describe_grid(grid)}; it must lie on the fine grid {describe_grid(grids.fine)} "
        f"or on the coarse grid {describe_grid(grids.coarse)}: reproject it with nearest resampling first"
    )


def _float32(array: NDArray[Any] | da.Array) -> NDArray[np.float32] | da.Array:
    if array.dtype == np.float32:
        return array
    return array.astype(np.float32)

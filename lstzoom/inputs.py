"""From what the user gives to arrays on two nested grids; everything is checked before work starts."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from lstzoom.errors import InputError
from lstzoom.grid import GridPair, coincide, describe_grid, grid_of, north_up, resolve_grids
from lstzoom.kernels.rows import require_kelvin
from lstzoom.regrid import moved, regrid

MIN_COARSE = 5
"""Fewest coarse pixels along a side: less holds no window and no neighbourhood."""

_VISIBLE = 1 - 1e-4

_VERTICAL = ("y", "latitude", "lat")
_HORIZONTAL = ("x", "longitude", "lon")


@dataclass(frozen=True, slots=True)
class SceneArrays:
    """A scene on its two grids.

    Attributes
    ----------
    vnir : numpy or dask array of float32, shape (band, h * ratio, w * ratio)
    lst : numpy or dask array of float32, shape (h, w)
        Kelvin.
    usable : numpy or dask array of bool, shape (h * ratio, w * ratio), or None
    grids : GridPair
    bands : tuple of str
    moved : tuple of float, or None
        Fine pixels along y and x by which reflectance was moved against its georeference.
    native : tuple of float, or None
        Pixel of every band in its own file, where reflectance says it, in the units of its CRS.
    """

    vnir: Any
    lst: Any
    usable: Any
    grids: GridPair
    bands: tuple[str, ...]
    moved: tuple[float, float] | None = None
    native: tuple[float, ...] | None = None

    @property
    def is_lazy(self) -> bool:
        """Whether any of the arrays is a dask array."""
        return any(isinstance(a, da.Array) for a in (self.vnir, self.lst, self.usable))

    def lazy(self) -> tuple[da.Array, da.Array, da.Array | None]:
        """Return bands, LST and mask as dask arrays, the mask chunked as the bands are."""
        vnir, lst = da.asarray(self.vnir), da.asarray(self.lst)
        usable = None if self.usable is None else da.asarray(self.usable).rechunk(vnir.chunks[1:])
        return vnir, lst, usable


def prepare(
    vnir: xr.DataArray,
    lst: xr.DataArray,
    valid: xr.DataArray | None = None,
    *,
    ratio: int | None = None,
    move: tuple[float, float] | None = None,
    reopen: Callable[[GeoBox], xr.DataArray] | None = None,
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
    reopen
        With `move`: opens the bands of `vnir` on another grid, in place of resampling `vnir`.

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
    if not isinstance(lst.data, da.Array):
        # What is lazy is checked where it is read.
        require_kelvin(lst.to_numpy())
    grids = resolve_grids(grid_of(lst), [grid_of(vnir)], ratio)
    if min(grids.coarse.shape) < MIN_COARSE:
        raise InputError(
            f"the LST has {grids.coarse.shape.y} x {grids.coarse.shape.x} pixels; at least {MIN_COARSE} x "
            f"{MIN_COARSE} are needed to learn anything"
        )
    usable = None if valid is None else _mask(valid, grids)
    return SceneArrays(
        vnir=_float32(regrid(vnir, grids.fine) if move is None else _moved(vnir, valid, grids, move, reopen)),
        lst=_float32(lst.data),
        usable=usable,
        grids=grids,
        bands=tuple(str(b) for b in vnir.coords["band"].values) if "band" in vnir.coords
        else tuple(f"band{k + 1}" for k in range(vnir.sizes["band"])),
        moved=move,
        native=_native(vnir),
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
    reopen: Callable[[GeoBox], xr.DataArray] | None,
) -> NDArray[Any] | da.Array:
    """Reflectance from moved positions, missing where it is made of a pixel that a fine mask hides."""
    target = moved(grids.fine, move)
    bands = regrid(vnir, target, "cubic") if reopen is None else _stack(reopen(target)).data
    if valid is None or not coincide(grid_of(valid), grids.fine):
        return bands
    plain = north_up(_plane(valid, "valid")).astype(np.float32)
    # Linear weights: any share of a hidden pixel shows.
    (visible,) = regrid(plain.expand_dims("band"), target)
    xp = da if isinstance(bands, da.Array) or isinstance(visible, da.Array) else np
    return xp.where(visible < _VISIBLE, np.float32(np.nan), bands)


def _plane(array: xr.DataArray, name: str) -> xr.DataArray:
    """Two-dimensional array with dimensions (y, x)."""
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
        repeat = da.repeat if isinstance(valid.data, da.Array) else np.repeat
        return repeat(repeat(valid.data, grids.ratio, axis=0), grids.ratio, axis=1)
    raise InputError(
        f"valid lies on {describe_grid(grid)}; it must lie on the fine grid {describe_grid(grids.fine)} "
        f"or on the coarse grid {describe_grid(grids.coarse)}: reproject it with nearest resampling first"
    )


def _float32(array: NDArray[Any] | da.Array) -> NDArray[np.float32] | da.Array:
    if array.dtype == np.float32:
        return array
    return array.astype(np.float32)

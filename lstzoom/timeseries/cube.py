"""What a cube must be, and how functions of a pixel's series are mapped over it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lstzoom.errors import InputError, UnitsError

_KELVIN: Final = ("k", "kelvin", "degrees_kelvin")
_EPOCH: Final = np.datetime64("2000-01-01", "ns")
_YEAR_NS: Final = 365.2425 * 86400e9
MAD_TO_SD: Final = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


def require_cube(cube: xr.Dataset, *, uncertainty: bool = False, time: bool = True) -> xr.Dataset:
    """Return a cube with its dimensions in order and nothing infinite in it.

    Raises
    ------
    InputError
        If variables or dimensions are missing, nothing is in it, or the times are not ascending.
    UnitsError
        If the attributes say another unit than kelvin.
    """
    dims = ("time", "y", "x") if time else ("y", "x")
    names = ("lst", "lst_uncertainty") if uncertainty else ("lst",)
    if not isinstance(cube, xr.Dataset):
        raise InputError(
            f"the cube is a {type(cube).__name__}; give an xarray.Dataset with {', '.join(names)}"
        )
    for name in names:
        if name not in cube:
            raise InputError(
                f"the cube has {sorted(map(str, cube.data_vars))} and no {name!r}; it needs "
                f"{', '.join(names)}"
            )
        if set(cube[name].dims) != set(dims):
            raise InputError(f"{name} has dimensions {cube[name].dims}; it needs {dims}")
        units = str(cube[name].attrs.get("units", "K"))
        if units.lower() not in _KELVIN:
            raise UnitsError(
                f"{name} is in {units!r}; kelvin are needed: convert it and set its units to 'K'"
            )
    if time:
        _require_times(cube)
    if not cube.lst.size:
        raise InputError(
            f"the cube is empty, it has sizes {dict(cube.lst.sizes)}; give one date and pixel or more"
        )
    return cube[list(names)].transpose(*dims).map(_finite, keep_attrs=True)


def _finite(values: xr.DataArray) -> xr.DataArray:
    """Take what is infinite, as a division leaves it, for missing."""
    if values.dtype.kind != "f" or not (values.chunks or np.isinf(values.values).any()):
        return values
    return values.where(np.isfinite(values))


def _require_times(cube: xr.Dataset) -> None:
    if "time" not in cube.coords or cube.time.dtype.kind != "M":
        raise InputError("the cube has no coordinate time of dates; give it one with assign_coords(time=...)")
    if not (np.diff(cube.time.values) > np.timedelta64(0, "ns")).all():
        raise InputError("the times of the cube are not ascending, or repeat; sort them with sortby('time')")


def years(time: xr.DataArray) -> NDArray[np.float64]:
    """Years since 2000 of dates, float64, shape (time,)."""
    return (time.values.astype("datetime64[ns]") - _EPOCH).astype(np.float64) / _YEAR_NS


def per_pixel(
    function: Callable[..., tuple[NDArray[Any], ...]],
    arrays: Sequence[xr.DataArray],
    outputs: Mapping[str, Sequence[tuple[Hashable, int]]],
    **settings: Any,
) -> xr.Dataset:
    """Map a function of blocks (time, y, x) over a cube, lazily where it is lazy.

    Parameters
    ----------
    function
        Takes arrays with time as the last axis and returns one float32 array for each output, whose further
        axes come last.
    arrays
        With dimensions (time, y, x).
    outputs
        Further dimensions of each output with their sizes.
    settings
        Handed to `function`.

    Returns
    -------
    xarray.Dataset
    """
    whole = [array.chunk({"time": -1}) if array.chunks else array for array in arrays]
    sizes = {dim: size for dims in outputs.values() for dim, size in dims}
    results = xr.apply_ufunc(
        function,
        *whole,
        kwargs=settings,
        input_core_dims=[["time"]] * len(whole),
        output_core_dims=[[dim for dim, _ in dims] for dims in outputs.values()],
        exclude_dims={"time"},
        dask="parallelized",
        output_dtypes=[np.float32] * len(outputs),
        dask_gufunc_kwargs={"output_sizes": sizes},
        keep_attrs=False,
    )
    results = results if isinstance(results, tuple) else (results,)
    leading = [[dim for dim, _ in dims] for dims in outputs.values()]
    return xr.Dataset(
        {
            name: result.transpose(*dims, "y", "x")
            for name, result, dims in zip(outputs, results, leading, strict=True)
        }
    )


def median_and_spread(
    values: NDArray[np.floating[Any]],
) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]], NDArray[np.intp]]:
    """Median, standard deviation from the MAD, and number of the finite values along the last axis.

    Parameters
    ----------
    values
        Shape (..., n), NaN where missing.

    Returns
    -------
    median, spread, count
        Shape (...), NaN without any value. What numpy.nanmedian gives, many times faster on short axes.
    """
    count = np.isfinite(values).sum(axis=-1)
    median = _middle(values, count)
    return median, MAD_TO_SD * _middle(np.abs(values - median[..., None]), count), count


def _middle(values: NDArray[Any], count: NDArray[np.intp]) -> NDArray[Any]:
    if values.shape[-1] == 0:
        return np.full(values.shape[:-1], np.nan, values.dtype)
    ordered = np.sort(np.where(np.isfinite(values), values, np.nan), axis=-1)  # NaN comes last
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, values.shape[-1] - 1)
    at = [np.take_along_axis(ordered, k[..., None], axis=-1)[..., 0] for k in (low, high)]
    return np.where(count > 0, (at[0] + at[1]) / 2, np.nan).astype(values.dtype)

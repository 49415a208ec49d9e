"""Change between two dates, with the uncertainty of both."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, TypeAlias

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import ndtr

from lstzoom.errors import InputError
from lstzoom.timeseries.cube import require_cube
from lstzoom.timeseries.season import relative

When: TypeAlias = str | datetime | np.datetime64

_LARGEST: Final = 1.0


def difference(
    cube: xr.Dataset,
    before: When,
    after: When,
    *,
    alpha: float = 0.05,
    false_discovery: bool = True,
    correlation: float = 0.0,
    reference_area: xr.DataArray | None = None,
) -> xr.Dataset:
    """Subtract one date from another and say where that is more than uncertainty explains.

    Parameters
    ----------
    cube
        With ``lst`` and ``lst_uncertainty`` (time, y, x), kelvin.
    before, after
        Dates, each of which names one time of the cube: ``"2026-07-01"``.
    alpha
        With `false_discovery` the share of the marked pixels that may be false; else of the unchanged ones
        that may be marked.
    false_discovery
        Control the former, over all pixels (Benjamini & Hochberg 1995).
    correlation
        Of the errors of the two dates at a pixel, -1 to 1: shared errors, of emissivity for instance, cancel.
    reference_area
        As for `lstzoom.timeseries.relative`: what changed there, weather above all, is subtracted.

    Returns
    -------
    xarray.Dataset
        ``difference`` and ``uncertainty`` (its standard uncertainty) in kelvin, ``p`` (two-sided) and
        ``significant`` (bool), dims (y, x).

    Raises
    ------
    InputError
        If a date names no time or several, or settings are impossible.
    """
    cube = require_cube(cube, uncertainty=True)
    if not -_LARGEST <= correlation <= _LARGEST or not 0 < alpha < 1:
        raise InputError(f"correlation is {correlation} and alpha {alpha}; give -1 to 1, and between 0 and 1")
    cube = cube.isel(time=[_index(cube, before, "before"), _index(cube, after, "after")])
    if cube.time.values[0] == cube.time.values[1]:
        raise InputError(f"before {before} and after {after} are the same time; give two")
    values = relative(cube.sortby("time"), reference_area=reference_area).sel(time=cube.time)
    first, second = (values.isel(time=k, drop=True) for k in (0, 1))
    u, v = (cube.lst_uncertainty.isel(time=k, drop=True) for k in (0, 1))
    out = xr.Dataset({"difference": second - first})
    out["uncertainty"] = np.sqrt(np.maximum(u**2 + v**2 - 2 * correlation * u * v, 0))
    out["p"] = xr.apply_ufunc(
        _two_sided, out.difference, out.uncertainty, dask="parallelized", output_dtypes=[np.float32]
    )
    limit = _limit(out.p.data, alpha) if false_discovery else alpha
    out["significant"] = out.p <= limit
    for name in ("difference", "uncertainty"):
        out[name].attrs = {"units": "K"}
    return out


def _index(cube: xr.Dataset, when: When, name: str) -> int:
    index = cube.indexes["time"]
    try:
        found = np.atleast_1d(np.arange(len(index))[index.get_loc(when)])
    except (KeyError, ValueError, TypeError):
        found = np.zeros(0, int)
    if len(found) != 1:
        raise InputError(
            f"{name} is {when!s}, which names {len(found)} of the {len(index)} times from {index[0]} to "
            f"{index[-1]}; give a date, with its hour if there are several"
        )
    return int(found[0])


def _two_sided(change: NDArray[Any], uncertainty: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.abs(change) / uncertainty
    # Without any uncertainty nothing can be called significant.
    return np.where(uncertainty > 0, 2 * ndtr(-z.astype(np.float64)), np.nan).astype(np.float32)


def _limit(p: Any, alpha: float) -> Any:  # noqa: ANN401  (numpy or dask)
    """Largest p that is a discovery; lazy if `p` is: all pixels decide together."""
    if isinstance(p, da.Array):
        return p.ravel().rechunk(-1).map_blocks(discovery_limit, alpha, dtype=np.float64, chunks=((1,),))
    return discovery_limit(p.ravel(), alpha)


def discovery_limit(p: NDArray[Any], alpha: float) -> NDArray[np.float64]:
    """Limit of Benjamini & Hochberg, shape (1,); -1 where nothing is a discovery.

    Parameters
    ----------
    p
        Shape (n,), NaN where nothing was tested.
    alpha
        Share of false discoveries.

    Returns
    -------
    ndarray of float64
    """
    ordered = np.sort(p[np.isfinite(p)].astype(np.float64))
    below = np.flatnonzero(ordered <= alpha * np.arange(1, len(ordered) + 1) / max(len(ordered), 1))
    return np.array([ordered[below[-1]] if len(below) else -1.0])

"""Trend of every pixel, by the median of all slopes between two dates."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from lstzoom.errors import InputError
from lstzoom.timeseries.cube import per_pixel, require_cube, years
from lstzoom.timeseries.season import expected_of, harmonic

_SHORTEST: Final = 2.0
_BATCH: Final = 1 << 18
"""Slopes at a time: they then stay in the cache, which is five times as fast as a block at once."""


def trend(
    cube: xr.Dataset,
    *,
    season: Literal["harmonic", "none"] = "harmonic",
    harmonics: int = 2,
    confidence: float = 0.95,
    least_count: int = 12,
) -> xr.Dataset:
    """Theil-Sen slope of every pixel with its interval, and Mann-Kendall's test of whether there is one.

    The median of the slopes between all pairs of dates (Sen 1968, doi:10.1080/01621459.1968.10480934) bears
    that 29 % of the dates are wrong, and its interval needs no normal errors; Huber's estimate bears fewer,
    and clouds that were missed lie far off. The season is removed first (`harmonic`), fitted together with a
    trend so that it does not take part of it. The arithmetic is that of `scipy.stats.theilslopes`, for all
    pixels of a block at once.

    Parameters
    ----------
    cube
        With ``lst`` (time, y, x), kelvin, over 2 years at least.
    season
        'none' if the cube holds anomalies, or one date each year.
    harmonics
        For the season.
    confidence
        Of the interval.
    least_count
        With fewer dates a pixel has no trend.

    Returns
    -------
    xarray.Dataset
        ``slope``, ``low`` and ``high`` in kelvin per year, ``p`` (two-sided, no trend) and ``count``. Dates
        are taken as independent: where anomalies last from one date to the next, intervals are too narrow.

    Raises
    ------
    InputError
        If the cube is not one, or too short.
    """
    cube = require_cube(cube)
    at = years(cube.time)
    if np.ptp(at) < _SHORTEST:
        raise InputError(
            f"the cube spans {np.ptp(at):.1f} years; a trend needs {_SHORTEST:g} or more to be told "
            "from the season"
        )
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}; give a number between 0 and 1, such as 0.95")
    lst = cube.lst
    if season == "harmonic":
        lst = lst - expected_of(harmonic(cube, harmonics=harmonics), cube.time, harmonics)
    elif season != "none":
        raise InputError(f"season is {season!r}; give 'harmonic' or 'none'")
    outputs: dict[str, list[Any]] = {name: [] for name in ("slope", "low", "high", "p", "count")}
    settings = {"at": at, "z": float(ndtri((1 + confidence) / 2)), "least_count": least_count}
    found = per_pixel(_theil_sen, [lst], outputs, **settings)
    for name, variable in found.data_vars.items():
        variable.attrs = {"units": "1" if name in ("p", "count") else "K year-1"}
    return found


def _theil_sen(
    lst: NDArray[Any], *, at: NDArray[np.float64], z: float, least_count: int
) -> tuple[NDArray[np.float32], ...]:
    """Slopes of a block in batches of pixels: there are n (n - 1) / 2 pairs for each."""
    shape, flat = lst.shape[:-1], lst.reshape(-1, lst.shape[-1]).astype(np.float64)
    first, second = np.triu_indices(len(at), 1)
    out = np.full((5, len(flat)), np.nan)
    step = max(1, _BATCH // max(1, len(first)))
    for start in range(0, len(flat), step):
        part = slice(start, start + step)
        out[:, part] = _slopes(flat[part], first, second, at, z)
    out[:4, out[4] < least_count] = np.nan
    return tuple(out.reshape(5, *shape).astype(np.float32))


def _slopes(
    y: NDArray[np.float64], first: NDArray[Any], second: NDArray[Any], at: NDArray[np.float64], z: float
) -> NDArray[np.float64]:
    rise = y[:, second] - y[:, first]
    pairs = np.isfinite(rise).sum(axis=1)
    slopes = np.sort(rise / (at[second] - at[first]), axis=1)
    n = np.isfinite(y).sum(axis=1)
    spread = np.sqrt(n * (n - 1) * (2 * n + 5) / 18.0)
    score = np.nansum(np.sign(rise), axis=1)

    def ranked(rank: NDArray[Any]) -> NDArray[np.float64]:
        last = np.maximum(pairs - 1, 0)
        return np.take_along_axis(slopes, np.clip(rank, 0, last)[:, None].astype(np.intp), axis=1)[:, 0]

    slope = (ranked((pairs - 1) // 2) + ranked(pairs // 2)) / 2
    low = ranked(np.round((pairs - z * spread) / 2) - 1)
    high = ranked(np.round((pairs + z * spread) / 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * ndtr(-np.maximum(np.abs(score) - 1, 0) / spread)
    return np.stack([slope, low, high, p, n])

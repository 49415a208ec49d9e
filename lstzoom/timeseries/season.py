"""What is usual at a pixel in a season, and how far a date departs from it."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lstzoom.errors import InputError
from lstzoom.timeseries.cube import median_and_spread, per_pixel, require_cube, years

Season = Literal["harmonic", "season", "month"]

_SEASONS: Final = ("DJF", "MAM", "JJA", "SON")
_HUBER: Final = 1.345
"""95 % efficient where errors are normal (Huber 1981, Robust Statistics)."""
_STEPS: Final = 30
_SETTLED: Final = 1e-4
_BATCH: Final = 512
_FEWEST_PER_TERM: Final = 2
_LEAST_REFERENCE: Final = 0.5


def climatology(
    cube: xr.Dataset, by: Literal["season", "month"] = "season", *, least_count: int = 3
) -> xr.Dataset:
    """Median and spread of every pixel by season or month.

    Parameters
    ----------
    cube
        With ``lst`` (time, y, x), kelvin.
    by
        Meteorological seasons (DJF, MAM, JJA, SON) or months 1 to 12.
    least_count
        With fewer dates a season of a pixel has no value.

    Returns
    -------
    xarray.Dataset
        ``expected`` (median), ``spread`` (1.4826 MAD) and ``count``, float32, dims (season or month, y, x).

    Raises
    ------
    InputError
        If the cube is not one.
    """
    cube = require_cube(cube)
    label, group = _groups(cube.time, by)
    outputs = {name: [(by, len(label))] for name in ("expected", "spread", "count")}
    settings = {"group": group, "groups": len(label), "least_count": least_count}
    return _kelvin(per_pixel(_by_group, [cube.lst], outputs, **settings).assign_coords({by: label}))


def _groups(time: xr.DataArray, by: str) -> tuple[list[Any], NDArray[np.intp]]:
    month = time.dt.month.values
    if by == "season":
        return list(_SEASONS), (month % 12 // 3).astype(np.intp)
    if by == "month":
        return list(range(1, 13)), (month - 1).astype(np.intp)
    raise InputError(f"by is {by!r}; give 'season' or 'month'")


def _by_group(
    lst: NDArray[Any], *, group: NDArray[np.intp], groups: int, least_count: int
) -> tuple[NDArray[np.float32], ...]:
    out = np.full((3, *lst.shape[:-1], groups), np.nan, np.float32)
    for k in range(groups):
        median, spread, count = median_and_spread(lst[..., group == k])
        enough = count >= least_count
        out[0, ..., k] = np.where(enough, median, np.nan)
        out[1, ..., k] = np.where(enough, spread, np.nan)
        out[2, ..., k] = count
    return tuple(out)


def harmonic(cube: xr.Dataset, *, harmonics: int = 2) -> xr.Dataset:
    """Fit a mean, a linear trend and waves of the year to every pixel, robustly.

    Huber's M-estimate by iterated reweighting, the scale from the MAD: a cloud that was missed moves it by
    little, and unlike medians by season it needs no dates spread evenly within a season. All pixels of a
    block are solved at once; scikit-learn and SciPy solve one at a time, and are what the tests compare with.

    Parameters
    ----------
    cube
        With ``lst`` (time, y, x), kelvin.
    harmonics
        Waves: 1 is the year, 2 adds half of it, up to 4.

    Returns
    -------
    xarray.Dataset
        ``coefficients`` (term, y, x): the value at 2000-01-01, kelvin per year, then cosine and sine of each
        wave; ``spread``: robust standard deviation of the residuals, kelvin; ``count`` of dates. NaN where a
        pixel has fewer than two dates for each term.

    Raises
    ------
    InputError
        If the cube is not one, or has too few dates.
    """
    cube = require_cube(cube)
    if not 1 <= harmonics <= 4:
        raise InputError(f"harmonics is {harmonics}; give 1 to 4")
    terms = 2 + 2 * harmonics
    if cube.sizes["time"] < _FEWEST_PER_TERM * terms:
        raise InputError(
            f"the cube has {cube.sizes['time']} dates; {harmonics} waves need {_FEWEST_PER_TERM * terms}: "
            "take fewer harmonics, or climatology(by='season')"
        )
    outputs: dict[str, list[Any]] = {"coefficients": [("term", terms)], "spread": [], "count": []}
    fitted = per_pixel(_huber, [cube.lst], outputs, design=design(years(cube.time), harmonics))
    waves = [f"{part}{k + 1}" for k in range(harmonics) for part in ("cos", "sin")]
    return _kelvin(fitted.assign_coords(term=["mean", "per_year", *waves]))


def design(at: NDArray[np.float64], harmonics: int) -> NDArray[np.float64]:
    """Terms of `harmonic` at times in years since 2000, shape (time, 2 + 2 harmonics)."""
    waves = [wave(2 * np.pi * k * at) for k in range(1, harmonics + 1) for wave in (np.cos, np.sin)]
    return np.stack([np.ones_like(at), at, *waves], axis=-1)


def _huber(lst: NDArray[Any], *, design: NDArray[np.float64]) -> tuple[NDArray[np.float32], ...]:
    """Solve all pixels; the time axis is centred and scaled so that the equations are well posed."""
    shape, terms = lst.shape[:-1], design.shape[1]
    y = lst.reshape(-1, lst.shape[-1]).astype(np.float64)
    known = np.isfinite(y)
    count = known.sum(axis=1)
    out = np.full((len(y), terms), np.nan)
    spread = np.full(len(y), np.nan)
    rows = np.flatnonzero(count >= _FEWEST_PER_TERM * terms)
    middle = design[:, 1].mean()
    x = design - np.eye(1, terms, 1) * middle
    for start in range(0, len(rows), _BATCH):
        some = rows[start : start + _BATCH]
        out[some], spread[some] = _reweighted(np.where(known[some], y[some], 0.0), known[some], x)
    out[:, 0] -= out[:, 1] * middle
    return (
        out.reshape(*shape, terms).astype(np.float32),
        spread.reshape(shape).astype(np.float32),
        count.reshape(shape).astype(np.float32),
    )


def _reweighted(
    y: NDArray[np.float64], known: NDArray[np.bool_], x: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    weight = known.astype(np.float64)
    # A little ridge, far below any noise: dates all in one season leave waves undetermined.
    ridge = 1e-9 * np.eye(x.shape[1]) * len(x)
    found: NDArray[np.float64] = np.zeros((len(y), x.shape[1]))
    spread = np.zeros(len(y))
    open_ = np.arange(len(y))
    for _ in range(_STEPS):
        # Each pixel stops when it has settled, whatever its neighbours do: blocks must not matter.
        w = weight[open_]
        left, right = _normal(w, y[open_], x, ridge)
        new = np.linalg.solve(left, right)[..., 0].astype(np.float64, copy=False)
        residual = np.where(known[open_], y[open_] - _curve(new, x), np.nan)
        _, scale, _ = median_and_spread(residual)
        size = np.abs(residual) / np.maximum(scale, 1e-6)[:, None]
        moved = np.abs(_curve(new - found[open_], x)).max(axis=1)
        found[open_], spread[open_] = new, scale
        weight[open_] = np.where(known[open_], _HUBER / np.maximum(size, _HUBER), 0.0)
        open_ = open_[moved > _SETTLED]
        if not len(open_):
            break
    return found, spread


def _normal(
    weight: NDArray[np.float64], y: NDArray[np.float64], x: NDArray[np.float64], ridge: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both sides of the normal equations, date by date: BLAS may sum in another order for other chunks."""
    left = np.tile(ridge, (len(y), 1, 1))
    right = np.zeros((len(y), x.shape[1], 1))
    for t, row in enumerate(x):
        left += weight[:, t, None, None] * np.outer(row, row)
        right[..., 0] += (weight[:, t] * y[:, t])[:, None] * row
    return left, right


def _curve(found: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    curve = np.zeros((len(found), len(x)))
    for k in range(x.shape[1]):
        curve += found[:, k, None] * x[:, k]
    return curve


def relative(
    cube: xr.Dataset,
    *,
    air_temperature: xr.DataArray | None = None,
    reference_area: xr.DataArray | None = None,
) -> xr.DataArray:
    """Subtract what the weather did to all pixels alike.

    Parameters
    ----------
    cube
        With ``lst`` (time, y, x), kelvin.
    air_temperature
        Kelvin, dims (time) or (time, y, x), at the times of the cube.
    reference_area
        bool, dims (y, x): pixels of which nothing special is expected. Their median is subtracted; dates on
        which less than half of them is seen have no value. Give one of the two, or none for LST as it is.

    Returns
    -------
    xarray.DataArray
        Kelvin, or kelvin of difference.

    Raises
    ------
    InputError
        If both are given, or do not fit the cube.
    """
    lst = require_cube(cube).lst
    if air_temperature is not None and reference_area is not None:
        raise InputError("both air_temperature and reference_area were given; give one")
    if reference_area is not None:
        return lst - _of_reference(lst, reference_area)
    if air_temperature is None:
        return lst
    if not air_temperature.indexes["time"].equals(lst.indexes["time"]):
        raise InputError(
            "air_temperature has other times than the cube; give it with .interp(time=cube.time)"
        )
    return (lst - air_temperature).transpose("time", "y", "x").astype(np.float32)


def _of_reference(lst: xr.DataArray, area: xr.DataArray) -> xr.DataArray:
    """Median over the reference area on each date."""
    if area.dtype != np.bool_ or dict(area.sizes) != {dim: lst.sizes[dim] for dim in ("y", "x")}:
        raise InputError(
            f"reference_area is {area.dtype} with sizes {dict(area.sizes)}; give booleans on the grid of "
            "the cube"
        )
    inside = np.flatnonzero(area.transpose("y", "x").values)
    if not len(inside):
        raise InputError("reference_area has no pixel; give at least one that is True")
    row, column = np.unravel_index(inside, area.transpose("y", "x").shape)
    where = {"y": xr.DataArray(row, dims="pixel"), "x": xr.DataArray(column, dims="pixel")}
    # Medians of all pixels at once: medians of chunks would depend on the chunks.
    pixels = lst.drop_vars(["y", "x"], errors="ignore").isel(where)
    pixels = pixels.chunk({"pixel": -1}) if pixels.chunks else pixels
    return xr.apply_ufunc(
        _middle_of, pixels, input_core_dims=[["pixel"]], dask="parallelized", output_dtypes=[np.float32]
    )


def _middle_of(values: NDArray[Any]) -> NDArray[np.float32]:
    median, _, count = median_and_spread(values)
    return np.where(count >= _LEAST_REFERENCE * values.shape[-1], median, np.nan).astype(np.float32)


def anomalies(
    cube: xr.Dataset,
    *,
    season: Season = "harmonic",
    harmonics: int = 2,
    air_temperature: xr.DataArray | None = None,
    reference_area: xr.DataArray | None = None,
) -> xr.Dataset:
    """Departure of every date from what is usual at its pixel in its season.

    Parameters
    ----------
    cube
        With ``lst`` (time, y, x), kelvin.
    season
        'harmonic' (`harmonic`, without its trend), or the medians of 'season' or 'month' (`climatology`).
    harmonics
        For 'harmonic'.
    air_temperature, reference_area
        As for `relative`, before anything else.

    Returns
    -------
    xarray.Dataset
        ``anomaly`` and ``expected`` in kelvin, ``score``: anomaly over the pixel's spread; dims (time, y, x).

    Raises
    ------
    InputError
        As `relative`, `harmonic` and `climatology` do.
    """
    cube = xr.Dataset({"lst": relative(cube, air_temperature=air_temperature, reference_area=reference_area)})
    if season == "harmonic":
        fitted = harmonic(cube, harmonics=harmonics)
        expected, spread = expected_of(fitted, cube.time, harmonics), fitted.spread
    else:
        usual = climatology(cube, season)
        _, group = _groups(cube.time, season)
        at = xr.DataArray(group, dims="time", coords={"time": cube.time})
        expected = usual.expected.isel({season: at}).drop_vars(season)
        spread = usual.spread.isel({season: at}).drop_vars(season)
    anomaly = cube.lst - expected
    score = anomaly / spread.where(spread > 0)
    out = {"anomaly": anomaly, "expected": expected, "score": score}
    return _kelvin(
        xr.Dataset({name: v.transpose("time", "y", "x").astype(np.float32) for name, v in out.items()})
    )


def expected_of(fitted: xr.Dataset, time: xr.DataArray, harmonics: int) -> xr.DataArray:
    """Season of a fit of `harmonic` on dates, at the level in the middle of them."""
    terms = design(years(time), harmonics)
    terms[:, 1] = terms[:, 1].mean()
    basis = xr.DataArray(terms, dims=("time", "term"), coords={"time": time, "term": fitted.term})
    # Term by term in one order: a product of matrices may sum in another one for other chunks.
    parts = [
        basis.isel(term=k, drop=True) * fitted.coefficients.isel(term=k, drop=True)
        for k in range(terms.shape[1])
    ]
    return sum(parts[1:], start=parts[0])


def _kelvin(dataset: xr.Dataset) -> xr.Dataset:
    for name, variable in dataset.data_vars.items():
        variable.attrs = {"units": "1" if name in ("count", "score") else "K"}
    return dataset

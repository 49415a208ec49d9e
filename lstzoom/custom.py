"""Sharpening with a regressor of one's own, kept honest by the method's own kernels.

Any regressor with scikit-learn's interface predicts the temperature at the fine scale. As with the trees that
come with lstzoom, its detail counts as far as it held on pixels that it had not seen, and the result is
corrected to conserve the coarse LST. What the built-in method has beyond that (local windows, the view that
is trained on detail itself, the uncertainty, blocks) it does not have: one model sees the scene, in memory.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from lstzoom.config import SharpenConfig
from lstzoom.errors import EmptySampleError, InputError
from lstzoom.inputs import SceneArrays, prepare
from lstzoom.kernels.aggregate import area_mean, area_mean_radiance, area_std
from lstzoom.kernels.amplitude import amplitude_of
from lstzoom.kernels.correct import correct_residual
from lstzoom.kernels.features import band_pairs, level_features
from lstzoom.kernels.homogeneity import coefficient_of_variation, sample_weight
from lstzoom.kernels.interpolate import fill_gaps, interpolate
from lstzoom.kernels.quality import QA, cells
from lstzoom.sharpening import describe

if TYPE_CHECKING:
    import xarray as xr

_CELL: Final = 16
"""Coarse pixels along a side of what is held out together: neighbours share their field, and held out has to
mean out of sight."""
_LEAST_ROWS: Final = 64


def sharpen_with(
    regressor: Any,  # noqa: ANN401  (scikit-learn's interface, not its class)
    vnir: xr.DataArray,
    lst: xr.DataArray,
    *,
    valid: xr.DataArray | None = None,
    ratio: int | None = None,
    folds: int = 4,
    cv_threshold: float = 0.1,
) -> xr.Dataset:
    """Sharpen with any regressor of scikit-learn's interface.

    Parameters
    ----------
    regressor
        With ``fit(X, y)`` and ``predict(X)``; weights are handed over where ``fit`` takes
        ``sample_weight``. It is cloned, never changed. Rows are coarse pixels, columns the bands in the unit
        given and the normalised differences of all pairs of them.
    vnir, lst, valid, ratio
        As in `lstzoom.sharpen`; lazy arrays are computed.
    folds
        Parts in which cells of 16 x 16 coarse pixels are held out to learn how much of the detail to believe,
        2 or more.
    cv_threshold
        CV of reflectance up to which a coarse pixel has full weight.

    Returns
    -------
    xarray.Dataset
        ``lst`` (float32, kelvin) and ``qa`` (uint8) on the fine grid. The attributes name the regressor
        (``lstzoom_method``), the factor that its detail was scaled with (``lstzoom_gain``) and its
        correlation with the true detail on held-out pixels (``lstzoom_reliability``). No uncertainty is
        stated.

    Raises
    ------
    InputError
        If the inputs do not fit (see `lstzoom.sharpen`), or what the regressor predicts is not finite.
    EmptySampleError
        If fewer than 64 coarse pixels can train.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> from lstzoom.simulate import simulate_scene
    >>> scene = simulate_scene((120, 120)).to_xarray()
    >>> sharp = sharpen_with(LinearRegression(), scene.vnir, scene.lst)
    >>> sharp.attrs["lstzoom_method"], bool(sharp.lst.notnull().all())
    ('custom: LinearRegression', True)
    """
    if folds < 2:
        raise InputError(f"folds is {folds}; two parts are needed to hold one out")
    scene = prepare(vnir, lst, valid, ratio=ratio)
    bands, coarse, usable = (np.asarray(one) for one in (scene.vnir, scene.lst, _usable(scene)))
    seen = np.where(usable, bands, np.nan).astype(np.float32)
    factor = scene.grids.ratio
    mean, spread = area_mean(seen, factor), area_std(seen, factor)
    levels = _rows(mean)
    trains = np.isfinite(coarse) & np.isfinite(levels).all(axis=-1)
    if trains.sum() < _LEAST_ROWS:
        raise EmptySampleError(
            f"{trains.sum()} coarse pixels have LST and all of their reflectance; {_LEAST_ROWS} are needed: "
            "check the masks, and that the two images overlap"
        )
    x, y = levels[trains], coarse[trains]
    weight = sample_weight(coefficient_of_variation(mean, spread)[trains], cv_threshold=cv_threshold)
    amplitude, reliability = _earned(regressor, x, y, weight, trains, folds)
    predicted = _predicted(_fitted(regressor, x, y, weight), seen)
    filled = fill_gaps(coarse)
    fine = interpolate(filled, factor) + np.float32(amplitude) * _detail(predicted, factor)
    correct_residual(fine, filled, factor)
    qa = _flags(coarse, usable, np.isfinite(predicted), factor, supported=amplitude > 0)
    fine[np.isin(qa, (QA.NODATA, QA.MASKED))] = np.nan
    described = describe({"lst": fine, "qa": qa}, scene, SharpenConfig(cv_threshold=cv_threshold))
    told = {
        "lstzoom_method": f"custom: {type(regressor).__name__}",
        "lstzoom_gain": round(float(amplitude), 4),
        "lstzoom_reliability": round(float(reliability), 3),
    }
    return described.assign_attrs(told)


def _usable(scene: SceneArrays) -> Any:  # noqa: ANN401  (numpy or dask)
    return np.ones(scene.vnir.shape[1:], np.bool_) if scene.usable is None else scene.usable


def _rows(bands: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features of pixels, shape (y, x, feature)."""
    pairs = tuple(band_pairs(len(bands)))
    return np.ascontiguousarray(np.moveaxis(level_features(bands, pairs), 0, -1))


def _fitted(regressor: Any, x: Any, y: Any, weight: Any) -> Any:  # noqa: ANN401
    from sklearn.base import clone  # noqa: PLC0415  (slow to import)
    from sklearn.utils.validation import has_fit_parameter  # noqa: PLC0415

    weights = {"sample_weight": weight} if has_fit_parameter(regressor, "sample_weight") else {}
    return clone(regressor).fit(x, y, **weights)


def _earned(
    regressor: Any,  # noqa: ANN401
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    weight: NDArray[np.float32],
    trains: NDArray[np.bool_],
    folds: int,
) -> tuple[float, float]:
    """Learn the amplitude of the detail, and its correlation, from cells that are held out."""
    rows, columns = np.nonzero(trains)
    part = (rows // _CELL + 2 * (columns // _CELL)) % folds
    predicted = np.full(y.shape, np.nan, np.float32)
    for k in range(folds):
        held = part == k
        if held.any() and not held.all():
            model = _fitted(regressor, x[~held], y[~held], weight[~held])
            predicted[held] = model.predict(x[held])
    place = np.full(trains.shape, -1, np.int32)
    place[trains] = np.arange(len(y), dtype=np.int32)
    amplitude, squared = amplitude_of(y.astype(np.float32), predicted, place)
    return float(amplitude), math.sqrt(squared)


def _predicted(model: Any, bands: NDArray[np.float32]) -> NDArray[np.float32]:  # noqa: ANN401
    """Predict every fine pixel whose bands are known; NaN elsewhere."""
    out = np.full(bands.shape[1:], np.nan, np.float32)
    for start in range(0, len(out), 256):
        rows = _rows(bands[:, start : start + 256])
        known = np.isfinite(rows).all(axis=-1)
        if known.any():
            values = np.asarray(model.predict(rows[known]), np.float32)
            if values.shape != (int(known.sum()),) or not np.isfinite(values).all():
                raise InputError(
                    f"{type(model).__name__} predicts values of shape {values.shape}, or some that are not "
                    f"finite; one finite temperature for each of {int(known.sum())} rows is needed"
                )
            out[start : start + 256][known] = values
    return out


def _detail(predicted: NDArray[np.float32], ratio: int) -> NDArray[np.float32]:
    """Take from a prediction the interpolation of its own means; 0 where there is none."""
    smooth = interpolate(fill_gaps(area_mean_radiance(predicted, ratio)), ratio)
    whole = cells(np.isfinite(area_mean_radiance(predicted, ratio)), ratio)
    return np.where(whole, predicted - smooth, 0.0).astype(np.float32)


def _flags(
    coarse: NDArray[np.float32],
    usable: NDArray[np.bool_],
    known: NDArray[np.bool_],
    ratio: int,
    *,
    supported: bool,
) -> NDArray[np.uint8]:
    qa = np.full(usable.shape, QA.GLOBAL if supported else QA.UNSUPPORTED, np.uint8)
    qa[~known] = QA.INTERPOLATED
    qa[~usable] = QA.MASKED
    qa[~cells(np.isfinite(coarse), ratio)] = QA.NODATA
    return qa

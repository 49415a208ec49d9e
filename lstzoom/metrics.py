"""Scores of a sharpened LST against the truth, and the two baselines every score stands beside.

Plain numpy on two-dimensional kelvin arrays; anything not finite is missing. No absolute number
means much on its own (scenes differ too much), so `score` always reports the method together with
bicubic and nearest on the same pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from lstzoom.errors import InputError
from lstzoom.kernels.aggregate import area_mean_radiance

METRICS = (
    "rmse",
    "mae",
    "bias",
    "detail_r2",
    "ssim",
    "conservation_max",
    "conservation_rms",
    "coverage",
    "rmse_over_bicubic",
)
"""Names of the figures that `score` gives for every method, in the order of a table."""


@dataclass(frozen=True, slots=True)
class Conservation:
    """How far a fine LST is from its coarse input once aggregated again."""

    max: float
    """Largest absolute difference, K."""
    rms: float
    """Root mean square difference, K."""
    cells: int
    """Fully valid coarse cells that were compared."""


@dataclass(frozen=True, slots=True)
class Seam:
    """How much the error jumps across one lattice of borders.

    It is told against the same figure on lattices shifted by whole coarse cells.
    """

    ratio: float
    """Mean jump on the lattice over the mean of the shifted lattices; 1 where the lattice leaves no
    mark."""
    z_score: float
    """The same difference in standard deviations of the shifted lattices."""


# Baselines


def upsample_nearest(coarse: ArrayLike, ratio: int) -> NDArray[np.floating]:
    """Repeat every coarse pixel ``ratio x ratio`` times.

    The shape goes from ``(..., y, x)`` to ``(..., y * ratio, x * ratio)``.


    Examples
    --------
    >>> upsample_nearest([[1.0, 2.0]], 2)
    array([[1., 1., 2., 2.],
           [1., 1., 2., 2.]])
    """
    return np.repeat(np.repeat(np.asarray(coarse), ratio, axis=-2), ratio, axis=-1)


def upsample_bicubic(coarse: ArrayLike, ratio: int) -> NDArray[np.float32]:
    """Interpolate with the order-3 spline on pixel areas, the baseline every sharpener has to beat.

    Fine pixel ``i`` reads the coarse image at ``(i + 0.5) / ratio - 0.5``; edges are repeated and
    missing coarse pixels filled with the nearest valid one first, so the result has no gaps unless
    nothing at all is valid.

    Parameters
    ----------
    coarse : array, shape ``(ny, nx)``
        Any unit.
    ratio : int
        Fine pixels per coarse pixel along each axis.

    Returns
    -------
    array of float32, shape ``(ny * ratio, nx * ratio)``

    Examples
    --------
    >>> import numpy as np
    >>> bool(np.allclose(upsample_bicubic(np.full((4, 4), 300.0), 3), 300.0))
    True
    """
    filled = fill_nearest(np.asarray(coarse, np.float64))
    if not np.isfinite(filled).all():
        return np.full([n * ratio for n in filled.shape], np.nan, np.float32)
    # grid_mode is scipy's name for reading at pixel areas instead of pixel centres.
    return ndimage.zoom(filled, ratio, order=3, mode="nearest", grid_mode=True).astype(np.float32)


def fill_nearest(a: NDArray[np.floating]) -> NDArray[np.floating]:
    """Replace missing pixels by the nearest valid one; unchanged where all or none are valid."""
    missing = ~np.isfinite(a)
    if not missing.any() or missing.all():
        return a
    nearest = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
    return a[tuple(nearest)]


# Errors


def rmse(pred: ArrayLike, truth: ArrayLike) -> float:
    """Root mean square error over the pixels that both have, K; NaN without any.

    Examples
    --------
    >>> rmse([[300.0, 302.0]], [[300.0, 300.0]]) == 2**0.5
    True
    """
    return _over_common(pred, truth, lambda error: float(np.sqrt(np.mean(error**2))))


def mae(pred: ArrayLike, truth: ArrayLike) -> float:
    """Mean absolute error over the pixels that both have, K; NaN without any."""
    return _over_common(pred, truth, lambda error: float(np.mean(np.abs(error))))


def bias(pred: ArrayLike, truth: ArrayLike) -> float:
    """Mean of prediction minus truth over the pixels that both have, K; NaN without any."""
    return _over_common(pred, truth, lambda error: float(np.mean(error)))


def detail_r2(pred: ArrayLike, truth: ArrayLike, ratio: int) -> float:
    """Share of the truth's sub-pixel detail that the prediction explains.

    1 is all, 0 none, below 0 worse than none.


    Detail is an image minus its own coarse (radiance) mean, repeated over the cell; only cells that
    both images fill count. Nearest upsampling has no detail and scores exactly 0.

    Parameters
    ----------
    pred, truth : array, shape ``(ny, nx)``
        Kelvin, on the fine grid.
    ratio : int
        Fine pixels per coarse pixel along each axis.

    Returns
    -------
    float
        NaN if no cell is complete or the truth has no detail.
    """
    wanted, got = _detail(truth, ratio), _detail(pred, ratio)
    common = np.isfinite(wanted) & np.isfinite(got)
    total = float(np.sum(wanted[common] ** 2))
    if total == 0.0:
        return float("nan")
    return 1.0 - float(np.sum((wanted[common] - got[common]) ** 2)) / total


def ssim(pred: ArrayLike, truth: ArrayLike, *, sigma: float = 1.5, data_range: float | None = None) -> float:
    """Structural similarity (Wang et al. 2004) with a Gaussian window that skips missing pixels.

    Both images are first shifted by the truth's minimum, so that the luminance term is not swamped
    by 300 K of offset.

    Parameters
    ----------
    pred, truth : array, shape ``(ny, nx)``
        Kelvin.
    sigma : float
        Standard deviation of the window in pixels.
    data_range : float, optional
        Dynamic range in K; the truth's range over the compared pixels by default.

    Returns
    -------
    float
        Mean over the pixels that both have, 1 for identical images; NaN without any or without a
        range.
    """
    x, y = np.asarray(pred, np.float64), np.asarray(truth, np.float64)
    valid = _common(x, y)
    if not valid.any():
        return float("nan")
    low = y[valid].min()
    span = float(y[valid].max() - low) if data_range is None else data_range
    if span <= 0.0:
        return float("nan")
    similarity = _ssim_map(np.where(valid, x - low, 0.0), np.where(valid, y - low, 0.0), valid, sigma, span)
    return float(similarity[valid].mean())


def _ssim_map(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    valid: NDArray[np.bool_],
    sigma: float,
    span: float,
) -> NDArray[np.float64]:
    """Similarity per pixel; `x` and `y` hold 0 where not `valid`.

    The normalised window then ignores those pixels.
    """

    def window(a: NDArray[np.float64]) -> NDArray[np.float64]:
        return ndimage.gaussian_filter(a, sigma, truncate=3.5)

    weight = np.maximum(window(valid.astype(np.float64)), 1e-12)
    mean_x, mean_y = window(x) / weight, window(y) / weight
    # Rounding can leave a variance of a constant area a hair below zero.
    var_x = np.maximum(window(x * x) / weight - mean_x**2, 0.0)
    var_y = np.maximum(window(y * y) / weight - mean_y**2, 0.0)
    cov = window(x * y) / weight - mean_x * mean_y
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    luminance = (2.0 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance * (2.0 * cov + c2) / (var_x + var_y + c2)


# Invariants


def conservation(pred: ArrayLike, coarse: ArrayLike, ratio: int) -> Conservation:
    """Difference between the aggregated (radiance mean) fine LST and its coarse input.

    Only fully valid coarse cells count.


    Parameters
    ----------
    pred : array, shape ``(ny * ratio, nx * ratio)``
        Kelvin.
    coarse : array, shape ``(ny, nx)``
        The input, kelvin.
    ratio : int
        Fine pixels per coarse pixel along each axis.

    Returns
    -------
    Conservation
        NaN figures where no cell is fully valid.
    """
    difference = area_mean_radiance(pred, ratio).astype(np.float64) - np.asarray(coarse, np.float64)
    difference = difference[np.isfinite(difference)]
    if difference.size == 0:
        return Conservation(float("nan"), float("nan"), 0)
    return Conservation(
        float(np.abs(difference).max()),
        float(np.sqrt(np.mean(difference**2))),
        int(difference.size),
    )


def coverage(pred: ArrayLike, valid_in: ArrayLike) -> float:
    """Share of the pixels with valid input that are valid in the result; NaN if nothing was valid.

    Examples
    --------
    >>> coverage([[300.0, float("nan")]], [[True, True]])
    0.5
    """
    wanted = np.asarray(valid_in, bool)
    if not wanted.any():
        return float("nan")
    return float(np.isfinite(np.asarray(pred))[wanted].mean())


def seam(
    pred: ArrayLike, truth: ArrayLike, *, period: int, ratio: int, offset: tuple[int, int] = (0, 0)
) -> Seam:
    """Tell whether a lattice of window or chunk borders shows in the error.

    The error jumps at every border of a coarse cell anyway, so the lattice is compared with the
    same lattice shifted by one, two, ... whole coarse cells, on the same image. A longer period
    gives more shifts and so a steadier spread: of seven shifts alone it is known to a third at
    best.

    Parameters
    ----------
    pred, truth : array, shape ``(ny, nx)``
        Kelvin, on the fine grid.
    period : int
        Distance between borders in fine pixels: a multiple of `ratio`, at least four coarse cells.
    ratio : int
        Fine pixels per coarse pixel along each axis.
    offset : tuple of int
        Row and column of the first border in fine pixels; multiples of `ratio`.

    Returns
    -------
    Seam
        NaN figures if the image holds no border of some lattice.

    Raises
    ------
    InputError
        If the lattice does not lie on coarse cell borders or leaves fewer than three shifted
        lattices.
    """
    if period % ratio or period < 4 * ratio or offset[0] % ratio or offset[1] % ratio:
        raise InputError(
            f"seam needs a lattice on coarse cell borders: period={period} and offset={offset} "
            "must be multiples of"
            f" ratio={ratio}, with a period of at least {4 * ratio} fine pixels."
        )
    error = np.asarray(pred, np.float64) - np.asarray(truth, np.float64)
    jumps = _lattice_jumps(error, period, ratio, offset)
    if np.isnan(jumps).any():
        return Seam(float("nan"), float("nan"))
    others = jumps[1:]
    spread = float(others.std(ddof=1))
    excess = float(jumps[0] - others.mean())
    z_score = excess / spread if spread > 0.0 else float(np.sign(excess)) * np.inf if excess else 0.0
    return Seam(float(jumps[0] / others.mean()) if others.mean() > 0.0 else float("nan"), float(z_score))


def _lattice_jumps(
    error: NDArray[np.float64], period: int, ratio: int, offset: tuple[int, int]
) -> NDArray[np.float64]:
    """Mean absolute error jump on the lattice (first) and on each of its shifts.

    Jumps along rows and along columns are pooled.
    """
    total, count = np.zeros(period // ratio), np.zeros(period // ratio)
    for axis in (0, 1):
        jump = np.abs(np.diff(error, axis=axis))
        valid = np.isfinite(jump)
        sums = np.where(valid, jump, 0.0).sum(axis=1 - axis)
        # Border k lies before pixel k; the image edge (k = 0) is none.
        border = np.arange(1, error.shape[axis])
        cell_border = border % ratio == 0
        shift = ((border - offset[axis]) % period // ratio)[cell_border]
        np.add.at(total, shift, sums[cell_border])
        np.add.at(count, shift, valid.sum(axis=1 - axis)[cell_border])
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


# All of it


def score(
    pred: ArrayLike,
    truth: ArrayLike,
    coarse: ArrayLike,
    ratio: int,
    *,
    name: str = "lstzoom",
    valid_in: ArrayLike | None = None,
) -> dict[str, dict[str, float]]:
    """Score a result beside bicubic and nearest, all on the same pixels.

    The pixels are those where the truth is finite, the coarse pixel above is valid and the result
    has a value; pixels the result leaves out are told by its ``coverage`` instead.

    Parameters
    ----------
    pred, truth : array, shape ``(ny * ratio, nx * ratio)``
        Kelvin, on the fine grid.
    coarse : array, shape ``(ny, nx)``
        The coarse LST that was sharpened, kelvin.
    ratio : int
        Fine pixels per coarse pixel along each axis.
    name : str
        Key of the result's row.
    valid_in : array of bool, shape of `truth`, optional
        Where the result should have a value; by default wherever the coarse pixel is valid.

    Returns
    -------
    dict
        ``{name: figures, "bicubic": figures, "nearest": figures}``, each a dict with the keys
        `METRICS`.

    Raises
    ------
    InputError
        If the shapes do not belong together.
    """
    pred, truth, coarse = np.asarray(pred), np.asarray(truth), np.asarray(coarse)
    _check_shapes(pred, truth, coarse, ratio)
    under_coarse = np.isfinite(upsample_nearest(coarse, ratio))
    wanted = under_coarse if valid_in is None else under_coarse & np.asarray(valid_in, bool)
    compared = under_coarse & _common(pred, truth)
    methods = {
        name: pred,
        "bicubic": upsample_bicubic(coarse, ratio),
        "nearest": upsample_nearest(coarse, ratio),
    }
    seen_truth = np.where(compared, truth, np.nan)
    rows = {
        key: _figures(value, seen_truth, truth, coarse, ratio) | {"coverage": coverage(value, wanted)}
        for key, value in methods.items()
    }
    reference = rows["bicubic"]["rmse"]
    for row in rows.values():
        row["rmse_over_bicubic"] = row["rmse"] / reference if reference > 0.0 else float("nan")
    return {key: {metric: row[metric] for metric in METRICS} for key, row in rows.items()}


def _figures(
    pred: NDArray[np.floating],
    seen_truth: NDArray[np.floating],
    truth: NDArray[np.floating],
    coarse: NDArray[np.floating],
    ratio: int,
) -> dict[str, float]:
    """Give the figures of one method.

    `seen_truth` is the truth on the compared pixels only, so that every method has the same.
    """
    kept = conservation(pred, coarse, ratio)
    return {
        "rmse": rmse(pred, seen_truth),
        "mae": mae(pred, seen_truth),
        "bias": bias(pred, seen_truth),
        "detail_r2": detail_r2(pred, seen_truth, ratio),
        "ssim": ssim(pred, seen_truth, data_range=_span(truth)),
        "conservation_max": kept.max,
        "conservation_rms": kept.rms,
    }


def _span(a: NDArray[np.floating]) -> float:
    """Range of the valid values, 0 without any."""
    valid = a[np.isfinite(a)]
    return float(valid.max() - valid.min()) if valid.size else 0.0


def _check_shapes(
    pred: NDArray[np.floating],
    truth: NDArray[np.floating],
    coarse: NDArray[np.floating],
    ratio: int,
) -> None:
    expected = tuple(n * ratio for n in coarse.shape)
    if pred.shape != expected or truth.shape != expected:
        raise InputError(
            f"coarse {coarse.shape} at ratio {ratio} covers a fine grid of {expected}, but the "
            f"result is {pred.shape} and the truth"
            f" {truth.shape}; cut all three to the same area."
        )


def _detail(a: ArrayLike, ratio: int) -> NDArray[np.float64]:
    """Image minus its coarse radiance mean; NaN in incomplete cells."""
    values = np.asarray(a, np.float64)
    return values - upsample_nearest(area_mean_radiance(values, ratio), ratio)


def _common(x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.bool_]:
    return np.isfinite(x) & np.isfinite(y)


def _over_common(pred: ArrayLike, truth: ArrayLike, figure: Callable[[NDArray[np.float64]], float]) -> float:
    error = np.asarray(pred, np.float64) - np.asarray(truth, np.float64)
    error = error[np.isfinite(error)]
    return figure(error) if error.size else float("nan")

"""How wrong the sharpened LST may be, learned where the answer is known: one scale up, out of bag.

Three parts. A small forest learns from the features of the detail view how large the error of the predicted
detail is (larger over heterogeneous ground, smaller over calm water). A factor brings its intervals to their
nominal coverage whatever the distribution of the errors. And a *fading* factor carries them from one scale
to the next: detail is smaller the finer it is, and so is what remains unexplained of it, but less so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstzoom.kernels.interpolate import block_mean, fill_gaps, interpolate, upsample
from lstzoom.kernels.rows import Rows
from lstzoom.kernels.trees import Forest, TreeSettings, fit_forest, predict_out_of_bag

COVERAGE = 0.9
NORMAL = 1.6449
"""Standard deviations of a normal distribution that hold `COVERAGE` of it, in both directions."""

TREES = TreeSettings(trees=4, max_depth=6, min_leaf=200, feature_share=0.5)
"""Errors are noisy: only large leaves know their size."""

LEAST = 0.01
"""Kelvin. No value is known better: it is the step of the files, and as far as LST is conserved."""

UNKNOWN = 5.0
"""Kelvin. At least this where not even the roughness of the coarse LST is known: no pixel has a neighbour."""

LEAST_FADING = 0.6
"""No scene loses more of its unexplained detail from one scale to the next."""

_FLOOR = 0.05
"""Share of the mean error below which the predicted error of a row counts no further."""

_ROWS = 16384

_MIN_ROWS = 400
"""With fewer rows there is one error for the whole scene."""


@dataclass(frozen=True, slots=True)
class ErrorModel:
    """Uncertainty of a scene's detail; plain arrays and numbers.

    Attributes
    ----------
    trees : Forest or None
        Predict the mean absolute error one scale up, kelvin, from the features of the detail view; None
        if there was nothing to learn from.
    factor : float
        From there to the standard uncertainty at the fine scale.
    constant : float
        Standard uncertainty in kelvin where there are no trees; NaN if nothing at all was learned.
    plain : float
        How much larger the uncertainty is where no detail is added; 1 or more.
    """

    trees: Forest | None
    factor: float
    constant: float
    plain: float


@dataclass(frozen=True, slots=True)
class FadingSums:
    """What the fading follows from; adds up over patches.

    Attributes
    ----------
    fine : ndarray of float64, shape (F + 1,)
        Sum of squares of the detail of every level feature at the fine scale, and their number.
    near, far : ndarray of float64, shape (2,)
        Sum of squares of the detail of the coarse LST and its number; the same one scale further up.
    steps : ndarray of float64, shape (2,)
        Sum of squares of the differences of neighbours in the coarse LST, and their number.
    """

    fine: NDArray[np.float64]
    near: NDArray[np.float64]
    far: NDArray[np.float64]
    steps: NDArray[np.float64]

    def __add__(self, other: FadingSums) -> FadingSums:
        """Add up two patches."""
        return FadingSums(
            self.fine + other.fine, self.near + other.near, self.far + other.far, self.steps + other.steps
        )

    @property
    def roughness(self) -> float:
        """Root mean square difference of neighbours in the coarse LST, kelvin; NaN without any."""
        return float(np.sqrt(self.steps[0] / self.steps[1])) if self.steps[1] else float("nan")


def fading_sums(
    levels: NDArray[np.float32],
    lst: NDArray[np.float32],
    usable: NDArray[np.bool_],
    core: tuple[slice, slice],
    ratio: int,
) -> FadingSums:
    """Measure the detail of one patch at three scales.

    Parameters
    ----------
    levels
        float32, shape (F, h * ratio, w * ratio): level features, gaps filled.
    lst
        float32, shape (h, w), kelvin, NaN where missing.
    usable
        bool, shape (h, w): coarse pixels that count.
    core
        The patch inside the block.
    ratio
        Fine pixels per coarse pixel.

    Returns
    -------
    FadingSums
    """
    inside = tuple(slice(s.start * ratio, s.stop * ratio) for s in core)
    seen = np.repeat(np.repeat(usable[core], ratio, 0), ratio, 1)
    fine = np.empty(len(levels) + 1)
    for k, plane in enumerate(levels):
        detail = plane - upsample(block_mean(np.ascontiguousarray(plane), ratio), ratio)
        fine[k] = float((detail[inside][seen].astype(np.float64) ** 2).sum())
    fine[-1] = seen.sum()
    patch, known = fill_gaps(lst, steps=max(lst.shape))[core], usable[core]
    near = _detail_of(patch, known, ratio)
    size = tuple(n // ratio * ratio for n in patch.shape)
    up = block_mean(np.ascontiguousarray(patch[: size[0], : size[1]]), ratio)
    known_up = block_mean(known[: size[0], : size[1]].astype(np.float32), ratio) == 1.0
    steps = np.diff(lst[core].astype(np.float64), axis=1)
    steps = steps[np.isfinite(steps)]
    pairs = np.array([(steps**2).sum(), len(steps)])
    return FadingSums(fine, near, _detail_of(up, known_up, ratio), pairs)


def _detail_of(plane: NDArray[np.float32], known: NDArray[np.bool_], ratio: int) -> NDArray[np.float64]:
    """Sum of squares of a plane minus what interpolation makes of its block means, and the number."""
    ny, nx = (n // ratio * ratio for n in plane.shape)
    if min(ny, nx) < 3 * ratio:
        return np.zeros(2)
    cut = np.ascontiguousarray(plane[:ny, :nx])
    whole = block_mean(np.ascontiguousarray(known[:ny, :nx]).astype(np.float32), ratio) == 1.0
    seen = np.repeat(np.repeat(whole, ratio, 0), ratio, 1)
    detail = (cut - interpolate(block_mean(cut, ratio), ratio))[seen].astype(np.float64)
    return np.array([(detail**2).sum(), len(detail)])


def fading(sums: FadingSums, rows: Rows) -> float:
    """Estimate how much smaller the unexplained detail is at the fine scale than one scale up.

    Detail of reflectance is known at both scales, each feature counting by how much of the detail of LST it
    explains; detail of LST is known at the coarse scale and above. The smaller ratio is taken. What a model
    cannot explain fades less than what it can: its variance goes with the root of that ratio.

    Parameters
    ----------
    sums
        Of all patches.
    rows
        Training rows of the detail view, whose first features are the details of reflectance.

    Returns
    -------
    float
        `LEAST_FADING` to 1.
    """
    count = len(sums.fine) - 1
    if not sums.fine[-1] or not len(rows):
        return 1.0
    detail = rows.features[:, :count].astype(np.float64)
    weight = rows.weight.astype(np.float64)[:, None]
    total = weight.sum()
    variance = (weight * detail**2).sum(axis=0) / total
    covariance = (weight * detail * rows.target[:, None]).sum(axis=0) / total
    known = variance > 0
    explained = covariance[known] ** 2 / variance[known]
    ratios = sums.fine[:-1][known] / sums.fine[-1] / variance[known]
    by_vnir = float((explained * ratios).sum() / explained.sum()) if explained.sum() > 0 else 1.0
    near, far = (s[0] / s[1] if s[1] else 0.0 for s in (sums.near, sums.far))
    by_lst = near / far if far > 0 else 1.0
    return float(np.clip(min(by_vnir, by_lst) ** 0.25, LEAST_FADING, 1.0))


def fit_errors(
    rows: Rows, predicted: NDArray[np.float32], amplitude: float, fade: float, *, seed: int
) -> ErrorModel:
    """Learn the error of the detail view.

    Parameters
    ----------
    rows
        Training rows of the detail view.
    predicted
        float32, shape (n,): their detail predicted out of bag, kelvin, NaN where all trees have seen a row.
    amplitude
        Factor by which that is used.
    fade
        From `fading`.
    seed
        Of the run.

    Returns
    -------
    ErrorModel
    """
    known = np.isfinite(predicted)
    some = rows.take(known)
    if len(some) == 0:
        # Nothing was learned, so nothing can be stated.
        return ErrorModel(None, 0.0, math.nan, 1.0)
    error = np.abs(some.target - np.float32(amplitude) * predicted[known])
    whole = _quantile(error, some.weight)
    plain = max(1.0, _root_mean(some.target, some.weight) / max(_root_mean(error, some.weight), 1e-6))
    constant = whole / NORMAL * fade
    if len(some) < _MIN_ROWS:
        return ErrorModel(None, 0.0, constant, plain)
    # Errors are learned coarsely, from fewer rows than the detail; by a list of places, which makes copies:
    # kernels would be compiled once more for arrays with gaps between their values.
    thin = np.arange(0, len(some), max(1, len(some) // _ROWS))
    some, error = some.take(thin), error[thin]
    trees = fit_forest(some.features, error, some.weight, some.bits, TREES, seed=seed)
    size = predict_out_of_bag(trees, some.features, some.bits)
    size = np.maximum(np.where(np.isfinite(size), size, error.mean()), _FLOOR * error.mean())
    scaled = np.divide(error, size, out=np.zeros_like(error), where=size > 0)
    return ErrorModel(trees, _quantile(scaled, some.weight) / NORMAL * fade, constant, plain)


def unlearned(sums: FadingSums, rows: Rows) -> float:
    """State the uncertainty of a scene of which no detail could be learned.

    Parameters
    ----------
    sums
        Of all patches.
    rows
        Training rows of the level view, whose target is the coarse LST, kelvin.

    Returns
    -------
    float
        Kelvin: the roughness of the coarse LST; without any neighbours how far its pixels are apart anywhere,
        and `UNKNOWN` at least.
    """
    if np.isfinite(sums.roughness):
        return sums.roughness
    apart = math.sqrt(2) * float(rows.target.std(dtype=np.float64)) if len(rows) else 0.0
    return max(UNKNOWN, apart)


def _quantile(values: NDArray[np.float32], weight: NDArray[np.float32]) -> float:
    """Value that a share of `COVERAGE` of the weight does not exceed."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weight[order], dtype=np.float64)
    return float(values[order[np.searchsorted(reached, COVERAGE * reached[-1])]])


def _root_mean(values: NDArray[np.float32], weight: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.average(values.astype(np.float64) ** 2, weights=weight)))

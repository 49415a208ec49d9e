"""How much of a predicted detail to believe.

A model that explains the temperature *between* coarse pixels need not explain it *within* them. The
amplitude is learned from predictions out of bag: ``g`` is the least-squares factor from predicted to
true detail and ``rho`` their correlation. Amplitudes fade towards finer scales, the less reliable
the faster, so the level view is used with ``g rho^2`` and the detail view, whose trees have already
shrunk towards zero, with ``rho``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lstzoom.kernels.compile import jit

MIN_PAIRS = 16
"""Fewer pairs of true and predicted detail say nothing: the amplitude is then 0."""

MAX_GAIN = 1.5
"""A larger factor than this comes from noise in the prediction, not from the land."""

FADING = 2
"""Power of the level view's reliability that counts against the detail view's: it was measured between
coarse pixels, and fades on the way into them; the detail view's has been measured one scale up."""

MAX_RELIABILITY = 0.98

MIN_DETAIL = 1e-6
"""Kelvin squared. Less variance of the true detail than this is rounding, and explains nothing."""


@jit
def _pairs(values: NDArray[np.float32], place: NDArray[np.int32], y: int, x: int) -> tuple[float, int]:
    """Mean over the 3 x 3 neighbours that have a value, and their number."""
    total = 0.0
    count = 0
    for i in range(max(y - 1, 0), min(y + 2, place.shape[0])):
        for j in range(max(x - 1, 0), min(x + 2, place.shape[1])):
            k = place[i, j]
            if k >= 0 and np.isfinite(values[k]):
                total += values[k]
                count += 1
    return (total / count if count else 0.0), count


@jit
def amplitude_of(
    target: NDArray[np.float32], predicted: NDArray[np.float32], place: NDArray[np.int32]
) -> tuple[float, float, float]:
    """Amplitude of the detail of a window's prediction.

    Detail on the coarse grid is a value minus its 3 x 3 mean, the shortest scale that the grid holds.

    Parameters
    ----------
    target
        float32, shape (n,): coarse LST, kelvin.
    predicted
        float32, shape (n,): out-of-bag prediction, kelvin, NaN where there is none.
    place
        int32, shape (h, w): row of each coarse pixel of the window, -1 where it has none.

    Returns
    -------
    amplitude : float
        ``g rho^2``, 0 or more.
    reliability : float
        ``rho^2`` between 0 and 1; 0 for a negative correlation.
    error : float
        Mean squared error of the prediction, kelvin squared.
    """
    n = 0
    tp = pp = tt = error = 0.0
    m = 0
    for y in range(place.shape[0]):
        for x in range(place.shape[1]):
            k = place[y, x]
            if k < 0 or not np.isfinite(predicted[k]):
                continue
            error += (predicted[k] - target[k]) ** 2
            m += 1
            mean_p, count = _pairs(predicted, place, y, x)
            if count < 6:
                continue
            mean_t, _ = _pairs(target, place, y, x)
            p = predicted[k] - mean_p
            t = target[k] - mean_t
            tp += t * p
            pp += p * p
            tt += t * t
            n += 1
    error = error / m if m else 0.0
    if n < MIN_PAIRS or tp <= 0.0 or pp <= 0.0 or tt <= MIN_DETAIL * n:
        return 0.0, 0.0, error
    rho2 = tp * tp / (pp * tt)
    return min(tp / pp, MAX_GAIN) * rho2, rho2, error


def correlation(true: NDArray[np.float32], predicted: NDArray[np.float32]) -> float:
    """Correlation about zero of true and predicted detail; 0 if negative or undefined.

    Parameters
    ----------
    true, predicted
        float32, shape (n,), finite.

    Returns
    -------
    float
        0 to 1.
    """
    t, p = true.astype(np.float64), predicted.astype(np.float64)
    scale = np.sqrt((t * t).sum() * (p * p).sum())
    if len(t) < MIN_PAIRS or scale <= 0 or (t * t).mean() <= MIN_DETAIL:
        return 0.0
    return float(np.clip((t * p).sum() / scale, 0.0, 1.0))


def share_of_levels(levels: NDArray[np.float32], detail: float) -> NDArray[np.float32]:
    """Share of the level view against the detail view, by signal to noise.

    Parameters
    ----------
    levels
        float32, any shape: reliability ``rho^2`` of the level view.
    detail
        Reliability ``rho^2`` of the detail view.

    Returns
    -------
    ndarray of float32
        0 to 1; the detail view has the rest. 0 where neither is reliable.
    """
    a = _signal_to_noise(np.asarray(levels, np.float64) ** FADING)
    b = _signal_to_noise(np.asarray(detail, np.float64))
    total = a + b
    return np.divide(a, total, out=np.zeros_like(total), where=total > 0).astype(np.float32)


def _signal_to_noise(rho2: NDArray[np.float64]) -> NDArray[np.float64]:
    bounded = np.clip(rho2, 0.0, MAX_RELIABILITY)
    return np.asarray(bounded / (1.0 - bounded))

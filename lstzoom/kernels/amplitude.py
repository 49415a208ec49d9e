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
def _box_sums(
    values: NDArray[np.float32], place: NDArray[np.int32], known: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Sum over the 3 x 3 neighbours of the rows that are known, for every pixel of the window."""
    ny, nx = place.shape
    wide = np.zeros((ny + 2, nx + 2), np.float64)
    for y in range(ny):
        for x in range(nx):
            k = place[y, x]
            if k >= 0 and known[k]:
                wide[y + 1, x + 1] = values[k]
    out = np.empty((ny, nx), np.float64)
    row = np.empty(nx + 2, np.float64)
    for y in range(ny):
        for x in range(nx + 2):
            row[x] = wide[y, x] + wide[y + 1, x] + wide[y + 2, x]
        for x in range(nx):
            out[y, x] = row[x] + row[x + 1] + row[x + 2]
    return out


@jit
def amplitude_of(
    target: NDArray[np.float32], predicted: NDArray[np.float32], place: NDArray[np.int32]
) -> tuple[float, float]:
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
    """
    known = np.isfinite(predicted)
    counts = _box_sums(np.ones(len(target), np.float32), place, known)
    sums_p, sums_t = _box_sums(predicted, place, known), _box_sums(target, place, known)
    n = 0
    tp = pp = tt = 0.0
    for y in range(place.shape[0]):
        for x in range(place.shape[1]):
            k = place[y, x]
            if k < 0 or not known[k] or counts[y, x] < 6:
                continue
            p = predicted[k] - sums_p[y, x] / counts[y, x]
            t = target[k] - sums_t[y, x] / counts[y, x]
            tp += t * p
            pp += p * p
            tt += t * t
            n += 1
    if n < MIN_PAIRS or tp <= 0.0 or pp <= 0.0 or tt <= MIN_DETAIL * n:
        return 0.0, 0.0
    rho2 = min(tp * tp / (pp * tt), 1.0)
    return min(tp / pp, MAX_GAIN) * rho2, rho2


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
    out = np.empty(levels.shape, np.float32)
    _shares(np.atleast_2d(levels), float(detail), np.atleast_2d(out))
    return out


@jit
def _shares(levels: NDArray[np.float32], detail: float, out: NDArray[np.float32]) -> None:
    other = _signal_to_noise(detail)
    for y in range(levels.shape[0]):
        for x in range(levels.shape[1]):
            own = _signal_to_noise(np.float64(levels[y, x]) ** FADING)
            out[y, x] = own / (own + other) if own + other > 0.0 else 0.0


@jit
def _signal_to_noise(rho2: float) -> float:
    bounded = min(max(rho2, 0.0), MAX_RELIABILITY)
    return bounded / (1.0 - bounded)

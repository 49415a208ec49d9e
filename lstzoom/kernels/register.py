"""How far reflectance lies beside temperature: a search for the shift at which one explains the other best.

The relation between the two is unknown, differs from place to place and may have either sign. So nothing is
correlated directly. For every candidate shift, in fine pixels, reflectance is averaged over the coarse
pixels as if it lay there, both sides are high-passed (value minus 3 x 3 mean), and in every small window of
coarse pixels the temperature is regressed on all bands. What the regressions leave over is added up as a
log-likelihood, in which every window has its own relation and its own noise. The peak of that surface,
refined by a paraboloid, is the shift.

The windows fall into a few groups, spread over the scene like the colours of a board. Estimates from halves
of the groups tell how far the estimate from all can be trusted: where there is nothing to see, each half
finds its peak elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lstzoom.kernels.aggregate import sum_of_nine
from lstzoom.kernels.compile import jit
from lstzoom.types import YX

WINDOW: Final = 10
"""Side of a window in coarse pixels: one relation rules in it."""

GROUPS: Final = 8
"""Groups of windows; half of them are taken at a time."""

MAX_BANDS: Final = 6
"""More bands than that are thinned evenly: neighbours among many say the same."""

_REACH = 2
"""Largest shift that is looked for, in coarse pixels."""

HALO: Final = _REACH + 2
"""Coarse pixels around a window that are read: the shift, the high-pass, and the part of a pixel."""

_STEPS_PER_PIXEL = 4
"""Candidates along a coarse pixel, at most: the average over it varies no faster."""

_MIN_COVER = 0.5
_MIN_NEIGHBOURS = 6
_MIN_ROWS = 6
_RIDGE = 1e-3
_FLAT = 1e-5
"""Share of its magnitude by which a band must vary to be more than rounding."""
_NOISE = 0.05
"""Kelvin; less noise than that is no reason to trust a window more."""
_TOLERANCE = 0.5
"""Fine pixels by which the shift of a half scene may be off and yet count as the same."""

SURE: Final = 0.8
"""Confidence from which a shift is taken for real."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well reflectance explains temperature at every candidate shift.

    Attributes
    ----------
    surface : ndarray of float64, shape (GROUPS, 2 * n + 1, 2 * n + 1)
        Log-likelihood by group of windows, shift along y and shift along x. Surfaces of parts of a scene
        add up to that of the scene.
    windows : int
        Windows that had enough to regress on.
    """

    surface: NDArray[np.float64]
    windows: int


@dataclass(frozen=True, slots=True)
class Shift:
    """Where reflectance lies, seen from the temperature.

    Attributes
    ----------
    y, x : float
        Fine pixels down and to the right: the reflectance at ``(row + y, column + x)`` belongs to the
        temperature at ``(row, column)``.
    confidence : float
        0 to 1: the share of half scenes whose own shift is the same to half a fine pixel, or to a sixth of
        a coarse one where that is more. Pairs that have nothing to do with each other reach 0.70 at most. It
        is 0 at the limit of the search.

    Examples
    --------
    >>> Shift(0.6, -0.8, 1.0).distance
    1.0
    """

    y: float
    x: float
    confidence: float

    @property
    def distance(self) -> float:
        """Length of the shift, fine pixels."""
        return math.hypot(self.y, self.x)

    @property
    def is_sure(self) -> bool:
        """Whether the confidence is enough to act on."""
        return self.confidence >= SURE


def step_of(ratio: int) -> int:
    """Fine pixels from one candidate shift to the next.

    Examples
    --------
    >>> [step_of(ratio) for ratio in (2, 3, 4, 6, 10)]
    [1, 1, 1, 2, 3]
    """
    return -(-ratio // _STEPS_PER_PIXEL)


def steps_of(ratio: int) -> int:
    """Candidate shifts to each side."""
    return -(-_REACH * ratio // step_of(ratio))


def nothing(ratio: int) -> Agreement:
    """Agreement of no window at all."""
    side = 2 * steps_of(ratio) + 1
    return Agreement(np.zeros((GROUPS, side, side)), 0)


def measure_agreement(
    bands: NDArray[np.float32],
    lst: NDArray[np.float32],
    core: tuple[slice, slice],
    origin: YX,
    ratio: int,
) -> Agreement:
    """Try all shifts in the windows of a patch.

    Parameters
    ----------
    bands
        float32, shape (band, h * ratio, w * ratio), any unit, not finite where missing.
    lst
        float32, shape (h, w), kelvin, not finite where missing.
    core
        The coarse pixels to use, with `HALO` around them where the scene goes on.
    origin
        Global coarse index of the first pixel: windows lie on a lattice.
    ratio
        Fine pixels per coarse pixel.

    Returns
    -------
    Agreement
    """
    chosen = _thinned(bands)
    if len(chosen) == 0:
        return nothing(ratio)
    means = [_moving_mean(plane, ratio) for plane in chosen]
    if len(means) == 1:
        # One band alone cannot tell water from crops, both cooler than the bare soil between them: a square
        # can. With more bands squares only add noise.
        means.append((means[0] - np.nanmean(means[0], dtype=np.float64)).astype(np.float32) ** 2)
    passed = np.stack([_high_pass(plane, ratio) for plane in means])
    target = _high_pass(np.where(np.isfinite(lst), lst, np.float32(np.nan)).astype(np.float32), 1)
    # Windows begin on multiples of their side, whatever the patch.
    rows, columns = (_edges(s, at) for s, at in zip(core, origin, strict=True))
    first = (origin[0] + rows[0]) // WINDOW, (origin[1] + columns[0]) // WINDOW
    known = _known(passed, steps_of(ratio) * step_of(ratio), ratio) & np.isfinite(target)
    out = nothing(ratio).surface
    windows = _search(passed, target, known, rows, columns, *first, ratio, step_of(ratio), out)
    return Agreement(out, int(windows))


def _known(passed: NDArray[np.float32], reach: int, ratio: int) -> NDArray[np.bool_]:
    """Coarse pixels that are known at every shift: all shifts are judged by the same ones."""
    finite = np.pad(np.isfinite(passed).all(axis=0), reach)
    rows, columns = (range(0, n, ratio) for n in passed.shape[1:])
    known = np.ones((len(rows), len(columns)), np.bool_)
    tall = np.ones((len(rows), finite.shape[1]), np.bool_)
    for step in range(2 * reach + 1):
        tall &= finite[step : step + passed.shape[1] : ratio]
    for step in range(2 * reach + 1):
        known &= tall[:, step : step + passed.shape[2] : ratio]
    return known


def _thinned(bands: NDArray[np.float32]) -> NDArray[np.float32]:
    """Leave out bands that do not vary, and thin the others."""
    bands = np.where(np.isfinite(bands), bands, np.float32(np.nan))
    varying = [
        k for k, plane in enumerate(bands)
        if np.isfinite(plane).any() and np.nanmax(plane) - np.nanmin(plane) > _FLAT * np.nanmax(np.abs(plane))
    ]  # fmt: skip
    at = np.unique(np.linspace(0, len(varying) - 1, min(len(varying), MAX_BANDS)).round().astype(int))
    return bands[[varying[k] for k in at]]


def _edges(core: slice, origin: int) -> NDArray[np.int64]:
    """Limits of the windows along one axis of the patch."""
    start, stop = origin + core.start, origin + core.stop
    inner = np.arange(-(-(start + 1) // WINDOW) * WINDOW, stop, WINDOW)
    return np.asarray([start, *inner, stop], np.int64) - origin


@jit
def _moving_mean(plane: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Mean of the valid pixels of the square that begins at each pixel; NaN where less than half is valid."""
    ny, nx = plane.shape
    total = np.zeros((ny, nx), np.float64)
    count = np.zeros((ny, nx), np.int64)
    for y in range(ny):
        for x in range(nx - size + 1):
            for k in range(size):
                value = plane[y, x + k]
                if not np.isnan(value):
                    total[y, x] += value
                    count[y, x] += 1
    out = np.full((ny, nx), np.nan, np.float32)
    for y in range(ny - size + 1):
        for x in range(nx - size + 1):
            a = 0.0
            n = 0
            for k in range(size):
                a += total[y + k, x]
                n += count[y + k, x]
            if n >= _MIN_COVER * size * size:
                out[y, x] = a / n
    return out


@jit
def _high_pass(plane: NDArray[np.float32], stride: int) -> NDArray[np.float32]:
    """Value minus the mean of the 3 x 3 values a stride apart; NaN where it or too many are missing."""
    ny, nx = plane.shape
    out = np.full((ny, nx), np.nan, np.float32)
    total = np.empty(nx, np.float64)
    for y in range(ny):
        if stride <= y < ny - stride:
            # Of what is not all there the sum is NaN, and so is the rest.
            sum_of_nine(plane, y, stride, total)
            for x in range(stride, nx - stride):
                out[y, x] = plane[y, x] - total[x] / 9
        for x in range(nx):
            if np.isnan(out[y, x]) and not np.isnan(plane[y, x]):
                out[y, x] = _sparse_high_pass(plane, y, x, stride)
    return out


@jit
def _sparse_high_pass(plane: NDArray[np.float32], y: int, x: int, stride: int) -> np.float32:
    """Do the same for one pixel, whose neighbours may be missing."""
    total = 0.0
    count = 0
    for i in range(y - stride, y + stride + 1, stride):
        for j in range(x - stride, x + stride + 1, stride):
            if 0 <= i < plane.shape[0] and 0 <= j < plane.shape[1] and not np.isnan(plane[i, j]):
                total += plane[i, j]
                count += 1
    return np.float32(plane[y, x] - total / count if count >= _MIN_NEIGHBOURS else np.nan)


@jit
def _search(
    passed: NDArray[np.float32],
    target: NDArray[np.float32],
    known: NDArray[np.bool_],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    first_row: int,
    first_column: int,
    ratio: int,
    step: int,
    out: NDArray[np.float64],
) -> int:
    """Add the log-likelihoods of all windows to the surface of their group; return how many there were."""
    count, width = len(passed), passed.shape[2]
    flat = passed.reshape(count, -1)
    steps = out.shape[1] // 2
    windows = 0
    for i in range(len(rows) - 1):
        for j in range(len(columns) - 1):
            found = _rows_of(known, rows[i], rows[i + 1], columns[j], columns[j + 1])
            n = len(found)
            if n < _MIN_ROWS * (count + 1):
                continue
            windows += 1
            group = (first_row + i + 3 * (first_column + j)) % out.shape[0]
            features = np.empty((count, n), np.float64)
            y = np.empty(n, np.float64)
            place = np.empty(n, np.int64)
            for k in range(n):
                y[k] = target[found[k, 0], found[k, 1]]
                place[k] = found[k, 0] * ratio * width + found[k, 1] * ratio
            for a in range(-steps, steps + 1):
                for b in range(-steps, steps + 1):
                    shift = (a * width + b) * step
                    for f in range(count):
                        for k in range(n):
                            features[f, k] = flat[f, place[k] + shift]
                    rest = _left_over(features, y)
                    out[group, a + steps, b + steps] -= 0.5 * n * math.log(rest / n + _NOISE**2)
    return windows


@jit
def _rows_of(known: NDArray[np.bool_], top: int, bottom: int, left: int, right: int) -> NDArray[np.int64]:
    """Coarse pixels of a window that are known."""
    found = np.empty(((bottom - top) * (right - left), 2), np.int64)
    n = 0
    for y in range(top, bottom):
        for x in range(left, right):
            if known[y, x]:
                found[n, 0] = y
                found[n, 1] = x
                n += 1
    return found[:n]


@jit
def _dot(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Sum of products in eight parts, for a processor that makes many at a time.

    A library for matrices would take longer to load than to compute, and sum in an order of its own.
    """
    whole = len(a) - len(a) % 8
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    for k in range(0, whole, 8):
        i = np.uint64(k)
        s0 += a[i] * b[i]
        s1 += a[i + np.uint64(1)] * b[i + np.uint64(1)]
        s2 += a[i + np.uint64(2)] * b[i + np.uint64(2)]
        s3 += a[i + np.uint64(3)] * b[i + np.uint64(3)]
        s4 += a[i + np.uint64(4)] * b[i + np.uint64(4)]
        s5 += a[i + np.uint64(5)] * b[i + np.uint64(5)]
        s6 += a[i + np.uint64(6)] * b[i + np.uint64(6)]
        s7 += a[i + np.uint64(7)] * b[i + np.uint64(7)]
    for k in range(whole, len(a)):
        s0 += a[k] * b[k]
    return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))


@jit
def _left_over(features: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Sum of squares that a ridge regression leaves over, by Cholesky's decomposition."""
    count = len(features)
    square, cross = np.empty((count, count), np.float64), np.empty(count, np.float64)
    for i in range(count):
        cross[i] = _dot(features[i], y)
        for j in range(i + 1):
            square[i, j] = _dot(features[i], features[j])
        # A band without variation here gets a weight of zero.
        square[i, i] += _RIDGE * square[i, i] + 1e-30
    explained = 0.0
    for i in range(count):
        for j in range(i + 1):
            total = square[i, j]
            for k in range(j):
                total -= square[i, k] * square[j, k]
            square[i, j] = math.sqrt(max(total, 1e-30)) if i == j else total / square[j, j]
        value = cross[i]
        for k in range(i):
            value -= square[i, k] * cross[k]
        cross[i] = value / square[i, i]
        explained += cross[i] ** 2
    return max(_dot(y, y) - explained, 0.0)


def estimate_shift(agreement: Agreement, ratio: int) -> Shift | None:
    """Find the peak of the agreement and how far to trust it.

    Parameters
    ----------
    agreement
        Of the scene.
    ratio
        Fine pixels per coarse pixel.

    Returns
    -------
    Shift or None
        None where no window could be regressed or all shifts do equally well.
    """
    whole = agreement.surface.sum(axis=0)
    # Less than one unit of log-likelihood is no difference.
    if agreement.windows == 0 or whole.max() - whole.min() < 1.0:
        return None
    step, (y, x) = step_of(ratio), _peak(whole)
    tolerance = max(_TOLERANCE, ratio / 6) / step
    halves = [
        _peak(agreement.surface[list(chosen)].sum(axis=0))
        for chosen in combinations(range(GROUPS), GROUPS // 2)
    ]
    agreeing = sum(math.hypot(a - y, b - x) <= tolerance for a, b in halves) / len(halves)
    # A peak on the border may only be the slope of one that lies beyond.
    inside = max(abs(y), abs(x)) < steps_of(ratio) - 0.5
    return Shift(step * y, step * x, agreeing if inside else 0.0)


def _peak(surface: NDArray[np.float64]) -> tuple[float, float]:
    """Highest point of a surface, in steps from its middle, refined by a paraboloid through 3 x 3."""
    side = len(surface)
    top, left = np.unravel_index(int(np.argmax(surface)), surface.shape)
    i, j = (min(max(int(k), 1), side - 2) for k in (top, left))
    a = surface[i - 1 : i + 2, j - 1 : j + 2]
    along_y, along_x = a.sum(axis=1), a.sum(axis=0)
    slope = np.array([along_y[2] - along_y[0], along_x[2] - along_x[0]]) / 6
    yy, xx = ((v[0] - 2 * v[1] + v[2]) / 3 for v in (along_y, along_x))
    xy = (a[0, 0] - a[0, 2] - a[2, 0] + a[2, 2]) / 4
    bent = yy * xx - xy**2
    move = np.zeros(2)
    if yy < 0 and xx < 0 and bent > 0:
        move = -np.array([xx * slope[0] - xy * slope[1], yy * slope[1] - xy * slope[0]]) / bent
    move = move.clip(-1, 1)
    half = side // 2
    return i - half + float(move[0]), j - half + float(move[1])

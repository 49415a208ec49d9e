"""The footprint: how much wider than a coarse pixel the LST sees the land.

A thermal pixel rarely sees just its own ground. The instrument may resolve less than its product's grid,
resampling widens it further, and reflectance that is off by a fraction of a pixel looks the same as blur.
Whatever the cause, the LST then follows blurred reflectance, and detail predicted from sharp reflectance is
detail that was never seen. So reflectance is blurred by a Gaussian before anything is learned or predicted,
and its width is the one that makes the two agree best: regressions in windows of the coarse grid explain the
high-passed LST by high-passed reflectance for a few widths, and the widths compete.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lstzoom.kernels.aggregate import area_mean, has_gap, sum_of_nine
from lstzoom.kernels.compile import jit

REACH = 2
"""Coarse pixels that blurred reflectance depends on, to each side."""

WIDTHS = (0.0, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 1.0)
"""Standard deviations that compete, in coarse pixels. A wider footprint than the last leaves no detail."""

WIDEST = 1.5
"""Widest footprint that may be declared: standard deviation in coarse pixels."""

WIDEST_RATIO = math.sqrt(1 + 12 * WIDEST**2)
"""The same as a ratio of resolutions; see `footprint_of`."""

_TAPS = 4.0
"""Standard deviations after which the Gaussian is cut off."""

_STEP = 0.01
"""Fine pixels to which the width is rounded, so that no library's last digit decides the result."""

_WINDOW = 24
"""Coarse pixels along each side of a window with one regression of its own."""

_MIN_SAMPLES = 80
"""A window with fewer samples says nothing."""

_RIDGE = 0.02
"""Share of the variance of each (scaled) band that is added to it: bands are nearly collinear."""

_NOISE = 2 / 15
_FADE = 1 / 3
"""Coarse pixels. The finer the detail, the less of it reflectance explains, and that, too, looks like blur in
the agreement. Up to `_NOISE` blur helps against it; what is measured from there to `_FADE` is put down to
fading, which the amplitude deals with; what lies beyond is blur of the LST."""

_LEAST_EXPLAINED = 0.02
"""Where less than this share of the detail of LST is explained, chance decides which width does it best."""

_MIN_DETAIL = 1e-6
"""Kelvin squared. Less variance of the high-passed LST than this is rounding."""


def blur(bands: NDArray[np.float32], sigma: float, ratio: int) -> NDArray[np.float32]:
    """Blur with a Gaussian, over valid pixels only.

    Parameters
    ----------
    bands
        float32, shape (band, y, x), not finite where missing. Outside of it everything is missing.
    sigma
        Standard deviation in fine pixels, 0 or more.
    ratio
        Fine pixels per coarse pixel: the Gaussian ends `REACH` coarse pixels away.

    Returns
    -------
    ndarray of float32, shape (band, y, x)
        NaN where missing; `bands` itself if there is nothing to do.
    """
    if sigma <= 0:
        return bands
    out = np.empty(bands.shape, np.float32)
    weights = taps(sigma, ratio, 1)
    for plane, into in zip(bands, out, strict=True):
        _convolve(plane, weights, 1, into)
        _keep_missing(plane, into)
    return out


def taps(sigma: float, ratio: int, box: int) -> NDArray[np.float32]:
    """Sample a Gaussian, widened by a box, that sums to one.

    Parameters
    ----------
    sigma
        Standard deviation in fine pixels, above 0.
    ratio
        Fine pixels per coarse pixel.
    box
        Fine pixels that are averaged besides; 1 for none.

    Returns
    -------
    ndarray of float32, shape (odd number + box - 1)
    """
    reach = max(1, min(math.ceil(_TAPS * sigma), REACH * ratio))
    t = np.arange(-reach, reach + 1)
    gauss = np.exp(-0.5 * (t / sigma) ** 2)
    return np.asarray(np.convolve(gauss / gauss.sum(), np.full(box, 1.0 / box)), np.float32)


@jit
def _convolve(
    plane: NDArray[np.float32], weights: NDArray[np.float32], stride: int, out: NDArray[np.float32]
) -> None:
    """Mean of the valid pixels under the weights, along x and then along y, at every `stride`-th pixel."""
    reach = (len(weights) - stride) // 2
    ny, nx = plane.shape
    wide = np.empty((ny, nx // stride), np.float32)
    spans = np.empty((ny, 2), np.int64)
    for y in range(ny):
        _along(plane[y], weights, stride, reach, wide[y])
        spans[y] = _span(wide[y])
    for y in range(ny // stride):
        first = y * stride - reach
        low, high = max(first, 0), min(first + len(weights), ny)
        _across(wide[low:high], weights[low - first : high - first], spans[low:high], out[y])


@jit
def _keep_missing(plane: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    for y in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            out[y, x] = out[y, x] if np.isfinite(plane[y, x]) else np.float32(np.nan)


@jit
def _span(row: NDArray[np.float32]) -> tuple[int, int]:
    """Where the finite pixels of a row begin and end if there are no others between, else -1 and -1.

    Most rows are finite but for the outside of the scene, and can be handled without a look at each pixel.
    """
    low, high = 0, len(row)
    while low < high and not np.isfinite(row[low]):
        low += 1
    while high > low and not np.isfinite(row[high - 1]):
        high -= 1
    return (-1, -1) if has_gap(row[low:high]) else (low, high)


@jit
def _add(source: NDArray[np.float32], weight: np.float32, out: NDArray[np.float32]) -> None:
    for x in range(len(out)):
        out[x] += weight * source[x]


@jit
def _apart(row: NDArray[np.float32], stride: int, size: int) -> NDArray[np.float32]:
    """Put every `stride`-th pixel side by side, from each of the first ones on: neighbours add up faster."""
    if stride == 1:
        return row[:size].reshape(1, size)
    parts = np.empty((stride, size), np.float32)
    for p in range(stride):
        for k in range(min(size, (len(row) - p + stride - 1) // stride)):
            parts[p, k] = row[p + k * stride]
    return parts


@jit
def _along(
    row: NDArray[np.float32],
    weights: NDArray[np.float32],
    stride: int,
    reach: int,
    out: NDArray[np.float32],
) -> None:
    """Weighted mean along one row, over pixels that are finite; NaN where none is."""
    columns = len(out)
    begin, end = _span(row)
    # From `low` to `high` all pixels under the weights are finite, and the weights add up to the same sum.
    low = min(-(-(max(begin, 0) + reach) // stride), columns)
    high = min(max((end - len(weights) + reach) // stride + 1, low), columns)
    whole = np.float32(0.0)
    for t in range(len(weights)):
        whole += weights[t]
    inner = out[low:high]
    inner[:] = 0.0
    if len(inner) > 0:
        parts = _apart(row[low * stride - reach :], stride, len(inner) + (len(weights) - 1) // stride)
        for t in range(len(weights)):
            at = t // stride
            _add(parts[t % stride, at : at + len(inner)], weights[t], inner)
    for x in range(len(inner)):
        inner[x] /= whole
    for x in range(low):
        out[x] = _sparse_mean(row, weights, x * stride - reach)
    for x in range(high, columns):
        out[x] = _sparse_mean(row, weights, x * stride - reach)


@jit
def _sparse_mean(row: NDArray[np.float32], weights: NDArray[np.float32], start: int) -> np.float32:
    total = weight = np.float32(0.0)
    for t in range(len(weights)):
        i = start + t
        if i >= 0 and i < len(row) and np.isfinite(row[i]):
            total += weights[t] * row[i]
            weight += weights[t]
    return np.float32(total / weight) if weight > 0 else np.float32(np.nan)


@jit
def _across(
    rows: NDArray[np.float32],
    weights: NDArray[np.float32],
    spans: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    """Weighted mean of rows, over pixels that are finite; NaN where none is."""
    begin, end = spans[0]
    alike = begin >= 0
    for t in range(rows.shape[0]):
        alike = alike and spans[t, 0] == begin and spans[t, 1] == end
    if alike:
        out[:] = np.nan
        inner = out[begin:end]
        inner[:] = 0.0
        whole = np.float32(0.0)
        for t in range(rows.shape[0]):
            whole += weights[t]
            _add(rows[t, begin:end], weights[t], inner)
        for x in range(len(inner)):
            inner[x] /= whole
        return
    out[:] = 0.0
    weight = np.zeros(len(out), np.float32)
    for t in range(rows.shape[0]):
        for x in range(len(out)):
            known = np.isfinite(rows[t, x])
            out[x] += weights[t] * rows[t, x] if known else np.float32(0.0)
            weight[x] += weights[t] if known else np.float32(0.0)
    for x in range(len(out)):
        out[x] = out[x] / weight[x] if weight[x] > 0 else np.float32(np.nan)


def agreement(
    bands: NDArray[np.float32], lst: NDArray[np.float32], core: tuple[slice, slice], ratio: int
) -> NDArray[np.float64]:
    """Measure how well blurred reflectance explains the detail of the coarse LST.

    Parameters
    ----------
    bands
        float32, shape (band, h * ratio, w * ratio), NaN where missing.
    lst
        float32, shape (h, w), kelvin, NaN where missing.
    core
        Coarse pixels that count; the blur and the high-pass read `REACH` + 1 around them.
    ratio
        Fine pixels per coarse pixel.

    Returns
    -------
    ndarray of float64, shape (len(WIDTHS), 2)
        For each width, the sums of squares that are left unexplained and that there were, kelvin
        squared; they add up over patches.
    """
    whole = np.isfinite(bands).all(axis=0)
    valid = area_mean(whole.astype(np.float32), ratio) == 1.0
    wanted = np.zeros(lst.shape, np.bool_)
    wanted[core] = True
    target = _high_pass(np.where(valid, lst, np.float32(np.nan)))
    sums = np.empty((len(WIDTHS), 2))
    for k, width in enumerate(WIDTHS):
        features = np.stack([_high_pass(_footprint_mean(plane, width * ratio, ratio)) for plane in bands])
        known = wanted & np.isfinite(target) & np.isfinite(features).all(axis=0)
        sums[k] = _unexplained(target, features, known, core)
    return sums


def _footprint_mean(plane: NDArray[np.float32], sigma: float, ratio: int) -> NDArray[np.float32]:
    """Mean over each coarse pixel of the blurred plane."""
    weights = taps(sigma, ratio, ratio) if sigma > 0 else np.full(ratio, 1 / ratio, np.float32)
    out = np.empty((plane.shape[0] // ratio, plane.shape[1] // ratio), np.float32)
    _convolve(np.ascontiguousarray(plane), weights, ratio, out)
    return out


def _unexplained(
    target: NDArray[np.float64],
    features: NDArray[np.float64],
    known: NDArray[np.bool_],
    core: tuple[slice, slice],
) -> tuple[float, float]:
    left = total = 0.0
    for y in range(core[0].start, core[0].stop, _WINDOW):
        for x in range(core[1].start, core[1].stop, _WINDOW):
            window = (slice(y, min(y + _WINDOW, core[0].stop)), slice(x, min(x + _WINDOW, core[1].stop)))
            use = known[window]
            n = int(use.sum())
            if n < _MIN_SAMPLES + len(features):
                continue
            t = target[window][use]
            before = float((t * t).sum())
            if before <= _MIN_DETAIL * n:
                continue
            total += before
            # As many parameters as bands have been fitted to the samples.
            left += _ridge_residual(t, features[:, *window][:, use]) * n / (n - len(features))
    return left, total


def _ridge_residual(target: NDArray[np.float64], features: NDArray[np.float64]) -> float:
    """Sum of squares that a ridge regression through the origin leaves."""
    scale = np.sqrt((features * features).mean(axis=1))
    varies = scale > 0
    scaled = features[varies] / scale[varies, None]
    n = len(target)
    # einsum, unlike a matrix product, adds up in the same order with any number of threads.
    normal = np.einsum("in,jn->ij", scaled, scaled) / n + _RIDGE * np.eye(len(scaled))
    factor = np.linalg.solve(normal, np.einsum("in,n->i", scaled, target) / n)
    rest = target - np.einsum("in,i->n", scaled, factor)
    return float((rest * rest).sum())


@jit
def _high_pass(plane: NDArray[np.float32]) -> NDArray[np.float64]:
    """Value minus 3 x 3 mean; NaN where any of the nine is missing."""
    ny, nx = plane.shape
    out = np.full((ny, nx), np.nan, np.float64)
    total = np.empty(nx, np.float64)
    for y in range(1, ny - 1):
        sum_of_nine(plane, y, 1, total)
        for x in range(1, nx - 1):
            out[y, x] = plane[y, x] - total[x] / 9.0
    return out


def best_width(sums: NDArray[np.float64], ratio: int) -> float:
    """Choose the width with the best agreement.

    Parameters
    ----------
    sums
        From `agreement`, added up over patches.
    ratio
        Fine pixels per coarse pixel.

    Returns
    -------
    float
        Standard deviation in fine pixels; 0 where nothing can be compared.
    """
    if not (sums[:, 1] > 0).all():
        return 0.0
    explained = 1.0 - sums[:, 0] / sums[:, 1]
    if explained.max() < _LEAST_EXPLAINED:
        return 0.0
    best = int(np.argmax(explained))
    around = min(max(best, 1), len(WIDTHS) - 2)
    # Blur acts through its variance, in which the agreement is nearly a parabola around its top.
    at = np.array([(WIDTHS[k] * ratio) ** 2 for k in (around - 1, around, around + 1)])
    variance = _vertex(at, explained[around - 1 : around + 2])
    measured = min(max(variance, at[0]), at[2]) / ratio**2
    used = min(measured, _NOISE**2) + max(measured - _FADE**2, 0.0)
    return round(math.sqrt(used) * ratio / _STEP) * _STEP


def _vertex(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Where the parabola through three points has its top, or the highest point if it has none."""
    left, right = (y[1] - y[0]) / (x[1] - x[0]), (y[2] - y[1]) / (x[2] - x[1])
    curvature = (right - left) / (x[2] - x[0])
    if curvature >= 0:
        return float(x[int(np.argmax(y))])
    return float((x[0] + x[1]) / 2 - left / (2 * curvature))


def footprint_of(native: float, pixel: float) -> float:
    """Width of the Gaussian that makes a coarse pixel as wide as an instrument's own.

    Parameters
    ----------
    native
        Side of the ground that the instrument resolves, in the unit of `pixel`.
    pixel
        Side of a coarse pixel.

    Returns
    -------
    float
        Standard deviation in coarse pixels; 0 if the instrument resolves a coarse pixel.

    Notes
    -----
    Variances of boxes and Gaussians add: ``native^2 / 12 = pixel^2 / 12 + sigma^2``.
    """
    return math.sqrt(max(native * native - pixel * pixel, 0.0) / 12.0) / pixel

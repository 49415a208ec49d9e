"""From the coarse to the fine grid: cubic convolution, and a spline that keeps block means.

`upsample` is Keys' cubic convolution (1981, doi:10.1109/TASSP.1981.1163711) on pixel areas: fine
pixel ``i`` reads the coarse image at ``(i + 0.5) / ratio - 0.5``. Its reach is two coarse pixels.
`interpolate` is the cubic B-spline whose block means are the coarse values: its coefficients are the
coarse image through the inverse filter of those means (Unser, Aldroubi & Eden 1993,
doi:10.1109/78.193221, for point values), cut off where it has faded, and a final re-centring of every
cell takes away what the cut left. Reach: `REACH` coarse pixels.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lstzoom.kernels.compile import jit
from lstzoom.types import FloatArray

SHARPNESS_FEATURE = -0.5
"""Keys' parameter for features and residuals: third-order accurate."""

_FILTER_REACH = 6
"""Coarse pixels after which the inverse filter is cut off: each tap is about a third of the one before."""

REACH = 2 + _FILTER_REACH
"""Coarse pixels on which a fine pixel of `interpolate` depends, to each side."""

_GAP, _NEXT, _KNOWN = range(3)
"""State of a pixel while gaps are filled: unknown, in the queue, or filled."""

OFFSET_KELVIN = 273.15
"""Taken off temperatures before they are multiplied and summed, so that float32 loses no digits."""


def cubic_weights(ratio: int, sharpness: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Taps of the cubic convolution for the `ratio` positions inside a coarse pixel.

    Parameters
    ----------
    ratio
        Fine pixels per coarse pixel, at least 1.
    sharpness
        Keys' parameter, usually -0.5.

    Returns
    -------
    start : ndarray of int64, shape (ratio,)
        First of the four coarse pixels, relative to the one that holds the fine pixel.
    weight : ndarray of float32, shape (ratio, 4)
        Each row adds up to 1.
    """
    position = (np.arange(ratio) + 0.5) / ratio - 0.5
    start = np.floor(position).astype(np.int64) - 1
    distance = np.abs(position[:, np.newaxis] - (start[:, np.newaxis] + np.arange(4)))
    near = ((sharpness + 2) * distance - (sharpness + 3)) * distance**2 + 1
    far = sharpness * (((distance - 5) * distance + 8) * distance - 4)
    weight = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
    return start, (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)


@jit
def _upsample(
    coarse: NDArray[np.float32],
    ratio: int,
    start: NDArray[np.int64],
    weight: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    ny, nx = coarse.shape
    row = np.empty(nx, np.float32)
    for y in range(ny):
        for p in range(ratio):
            first = y + start[p]
            a = min(max(first, 0), ny - 1)
            b = min(max(first + 1, 0), ny - 1)
            c = min(max(first + 2, 0), ny - 1)
            d = min(max(first + 3, 0), ny - 1)
            for x in range(nx):
                row[x] = (
                    weight[p, 0] * coarse[a, x]
                    + weight[p, 1] * coarse[b, x]
                    + weight[p, 2] * coarse[c, x]
                    + weight[p, 3] * coarse[d, x]
                )
            line = out[y * ratio + p]
            for x in range(nx):
                for q in range(ratio):
                    k = x + start[q]
                    line[x * ratio + q] = (
                        weight[q, 0] * row[min(max(k, 0), nx - 1)]
                        + weight[q, 1] * row[min(max(k + 1, 0), nx - 1)]
                        + weight[q, 2] * row[min(max(k + 2, 0), nx - 1)]
                        + weight[q, 3] * row[min(max(k + 3, 0), nx - 1)]
                    )


def upsample(coarse: FloatArray, ratio: int, *, sharpness: float = SHARPNESS_FEATURE) -> NDArray[np.float32]:
    """Cubic convolution of one plane; edges are repeated, gaps must be filled before.

    Parameters
    ----------
    coarse
        float32, shape (h, w), finite where it matters (see `fill_gaps`).
    ratio
        Fine pixels per coarse pixel.
    sharpness
        Keys' parameter.

    Returns
    -------
    ndarray of float32, shape (h * ratio, w * ratio)

    Examples
    --------
    >>> bool(np.allclose(upsample(np.full((3, 4), 7.0, np.float32), 3), 7.0))
    True
    """
    start, weight = cubic_weights(ratio, sharpness)
    plane = np.ascontiguousarray(coarse, dtype=np.float32)
    out = np.empty((plane.shape[0] * ratio, plane.shape[1] * ratio), np.float32)
    _upsample(plane, ratio, start, weight, out)
    return out


@jit
def block_mean(fine: NDArray[np.float32], ratio: int) -> NDArray[np.float32]:
    """Plain mean of every ``ratio x ratio`` block of a plane without gaps; float64 inside."""
    ny, nx = fine.shape[0] // ratio, fine.shape[1] // ratio
    out = np.empty((ny, nx), np.float32)
    row = np.empty(nx, np.float64)
    for y in range(ny):
        row[:] = 0.0
        for p in range(ratio):
            line = fine[y * ratio + p]
            for x in range(nx):
                for q in range(ratio):
                    row[x] += line[x * ratio + q]
        for x in range(nx):
            out[y, x] = row[x] / (ratio * ratio)
    return out


@jit
def add_to_cells(fine: NDArray[np.float32], coarse: NDArray[np.float32], ratio: int) -> None:
    """Add to every fine pixel, in place, the value of the coarse pixel that holds it."""
    ny, nx = coarse.shape
    for y in range(ny * ratio):
        line = fine[y]
        values = coarse[y // ratio]
        for x in range(nx):
            for q in range(ratio):
                line[x * ratio + q] += values[x]


def _spline(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cubic B-spline."""
    d = np.abs(distance)
    return np.where(d < 1, 2 / 3 - d**2 + d**3 / 2, np.where(d < 2, (2 - d) ** 3 / 6, 0.0))


def spline_weights(ratio: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Taps of the cubic B-spline for the `ratio` positions inside a coarse pixel, as `cubic_weights`."""
    position = (np.arange(ratio) + 0.5) / ratio - 0.5
    start = np.floor(position).astype(np.int64) - 1
    weight = _spline(position[:, np.newaxis] - (start[:, np.newaxis] + np.arange(4)))
    return start, weight.astype(np.float32)


@lru_cache(maxsize=16)
def _inverse_filter(ratio: int) -> NDArray[np.float64]:
    """Filter that turns block means into coefficients of the spline; it adds up to 1."""
    position = (np.arange(ratio) + 0.5) / ratio - 0.5
    mean = np.array([_spline(position - k).mean() for k in range(-3, 4)])
    # On a circle long enough for the filter to fade away the inverse is a division of spectra.
    size = 128
    circle = np.zeros(size)
    circle[np.arange(-3, 4) % size] = mean
    inverse = np.real(np.fft.ifft(1.0 / np.fft.fft(circle)))
    taps = inverse[np.arange(-_FILTER_REACH, _FILTER_REACH + 1) % size]
    return np.asarray(taps / taps.sum())


@jit
def _filter(
    plane: NDArray[np.float32], taps: NDArray[np.float64], offset: float, out: NDArray[np.float32]
) -> None:
    """Apply a symmetric filter along both axes, edges repeated, to a plane minus an offset."""
    ny, nx = plane.shape
    if nx == 0:
        return  # no edge to repeat: a patch may hold no whole block one scale up
    reach = len(taps) // 2
    tall = np.empty((ny, nx), np.float64)
    for y in range(ny):
        for x in range(nx):
            tall[y, x] = 0.0
        for t in range(len(taps)):
            row = plane[min(max(y + t - reach, 0), ny - 1)]
            for x in range(nx):
                tall[y, x] += taps[t] * (np.float64(row[x]) - offset)
    wide = np.empty(nx + 2 * reach, np.float64)
    for y in range(ny):
        for x in range(nx + 2 * reach):
            wide[x] = tall[y, min(max(x - reach, 0), nx - 1)]
        for x in range(nx):
            total = 0.0
            for t in range(len(taps)):
                total += taps[t] * wide[x + t]
            out[y, x] = total


def spline_coefficients(coarse: FloatArray, ratio: int, *, offset: float = 0.0) -> NDArray[np.float32]:
    """Coefficients of the cubic B-spline whose block means are the coarse values.

    Parameters
    ----------
    coarse
        float32, shape (h, w), without gaps; edges are repeated.
    ratio
        Fine pixels per coarse pixel.
    offset
        Taken off the values first.

    Returns
    -------
    ndarray of float32, shape (h, w)
        To be put through `spline_weights`.
    """
    out = np.empty(coarse.shape, np.float32)
    _filter(np.ascontiguousarray(coarse, dtype=np.float32), _inverse_filter(ratio), offset, out)
    return out


def interpolate(coarse: FloatArray, ratio: int) -> NDArray[np.float32]:
    """Smooth interpolation whose plain block means are the coarse values: ``A(U(T)) = T``.

    Parameters
    ----------
    coarse
        float32, shape (h, w), without gaps (see `fill_gaps`).
    ratio
        Fine pixels per coarse pixel.

    Returns
    -------
    ndarray of float32, shape (h * ratio, w * ratio)

    Examples
    --------
    >>> coarse = np.array([[280.0, 300.0], [290.0, 310.0]], np.float32)
    >>> bool(np.allclose(block_mean(interpolate(coarse, 3), 3), coarse, atol=1e-3))
    True
    """
    plane = np.ascontiguousarray(coarse, dtype=np.float32)
    fine = np.empty((plane.shape[0] * ratio, plane.shape[1] * ratio), np.float32)
    coefficients = spline_coefficients(plane, ratio, offset=OFFSET_KELVIN)
    _upsample(coefficients, ratio, *spline_weights(ratio), fine)
    fine += np.float32(OFFSET_KELVIN)
    add_to_cells(fine, plane - block_mean(fine, ratio), ratio)
    return fine


@jit
def _grow(plane: NDArray[np.float32], steps: int) -> None:
    """Grow the finite values of a plane into its NaN in place; every step reads what the last one left."""
    ny, nx = plane.shape
    state = np.zeros((ny, nx), np.uint8)
    for i in range(ny):
        for j in range(nx):
            state[i, j] = _KNOWN if np.isfinite(plane[i, j]) else _GAP
    y, x, grown = np.empty(ny * nx, np.int32), np.empty(ny * nx, np.int32), np.empty(ny * nx, np.float32)
    first, last = 0, _queue_edge(state, y, x)
    for _ in range(steps):
        stop = last
        for k in range(first, stop):
            grown[k] = _mean_of_known(plane, state, y[k], x[k])
        for k in range(first, stop):
            plane[y[k], x[k]] = grown[k]
            state[y[k], x[k]] = _KNOWN
        for k in range(first, stop):
            last = _queue_neighbours(state, y[k], x[k], y, x, last)
        first = stop


@jit
def _queue_edge(state: NDArray[np.uint8], queue_y: NDArray[np.int32], queue_x: NDArray[np.int32]) -> int:
    """Queue the gaps beside what is known; return how many there are."""
    n = 0
    for i in range(state.shape[0]):
        for j in range(state.shape[1]):
            if state[i, j] == _GAP and _has_known(state, i, j):
                state[i, j] = _NEXT
                queue_y[n], queue_x[n] = i, j
                n += 1
    return n


@jit
def _mean_of_known(plane: NDArray[np.float32], state: NDArray[np.uint8], y: int, x: int) -> float:
    total = 0.0
    count = 0
    for i in range(max(y - 1, 0), min(y + 2, plane.shape[0])):
        for j in range(max(x - 1, 0), min(x + 2, plane.shape[1])):
            if state[i, j] == _KNOWN:
                total += plane[i, j]
                count += 1
    return total / count


@jit
def _has_known(state: NDArray[np.uint8], y: int, x: int) -> bool:
    for i in range(max(y - 1, 0), min(y + 2, state.shape[0])):
        for j in range(max(x - 1, 0), min(x + 2, state.shape[1])):
            if state[i, j] == _KNOWN:
                return True
    return False


@jit
def _queue_neighbours(
    state: NDArray[np.uint8], y: int, x: int, queue_y: NDArray[np.int32], queue_x: NDArray[np.int32], n: int
) -> int:
    """Put the gaps around a pixel at the end of a queue of `n`; return how many there are then."""
    for i in range(max(y - 1, 0), min(y + 2, state.shape[0])):
        for j in range(max(x - 1, 0), min(x + 2, state.shape[1])):
            if state[i, j] == _GAP:
                state[i, j] = _NEXT
                queue_y[n], queue_x[n] = i, j
                n += 1
    return n


def fill_gaps(coarse: FloatArray, *, steps: int = REACH) -> NDArray[np.float32]:
    """Grow valid values into gaps by means of 3 x 3 neighbours, `steps` pixels far.

    What the interpolation reads next to a gap must not depend on the block, so the filling has a
    bounded reach; what lies deeper in a gap is never read by a valid pixel and becomes 0.

    Parameters
    ----------
    coarse
        float32, shape (h, w); anything that is not finite is a gap.
    steps
        How far to grow, in coarse pixels.

    Returns
    -------
    ndarray of float32, shape (h, w), finite everywhere
    """
    plane = np.where(np.isfinite(coarse), coarse, np.nan).astype(np.float32)
    if np.isfinite(plane).all():
        return plane
    _grow(plane, steps)
    return np.nan_to_num(plane, nan=0.0, copy=False)

"""What the trees see: bands, normalised differences, and their detail within a coarse pixel.

Two kinds of features feed two views of the scene:

* *levels*: the bands and some normalised differences, which explain the temperature itself;
* *details*: what a feature adds to the interpolation of its own block means, plain and times the
  local slope of LST on that feature, which explain what the temperature adds to its interpolation.

All features are free of the unit of the bands: a tree does not change when a feature is scaled, a
normalised difference cancels a common scale, and a slope times a detail is in kelvin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstzoom.kernels import interpolate
from lstzoom.kernels.aggregate import has_gap
from lstzoom.kernels.compile import jit
from lstzoom.kernels.interpolate import (
    OFFSET_KELVIN,
    SHARPNESS_FEATURE,
    block_mean,
    cubic_weights,
    fill_gaps,
    spline_coefficients,
    spline_weights,
)
from lstzoom.types import FloatArray

SLOPE_BOX = 5
"""Coarse pixels along each side of the box over which a local slope is fitted."""

SLOPE_FLOOR = 0.01
"""Spread below which a slope is damped, as a share of the feature's magnitude in the box."""

DETAIL_REACH = max(SLOPE_BOX // 2 + 2, interpolate.REACH)
"""Coarse pixels on which a detail feature depends, to each side: the box and its upsampling, or the
interpolation."""


def band_pairs(count: int) -> list[tuple[int, int]]:
    """List all pairs of bands, the candidates for normalised differences."""
    return [(i, j) for i in range(count) for j in range(i + 1, count)]


def normalised_difference(first: FloatArray, second: FloatArray) -> NDArray[np.float32]:
    """Compute ``(a - b) / (|a| + |b|)``: between -1 and 1 for any sign of the bands, 0 if both are 0.

    Parameters
    ----------
    first, second
        float32, same shape; NaN stays NaN.

    Returns
    -------
    ndarray of float32
    """
    out = np.empty(first.shape, np.float32)
    a, b = (np.ascontiguousarray(plane, np.float32).reshape(-1) for plane in (first, second))
    _difference(a, b, out.reshape(-1))
    return out


def level_features(bands: FloatArray, pairs: tuple[tuple[int, int], ...]) -> NDArray[np.float32]:
    """Stack the bands and the normalised differences of `pairs`.

    Parameters
    ----------
    bands
        float32, shape (band, y, x).
    pairs
        Pairs of band indices.

    Returns
    -------
    ndarray of float32, shape (band + len(pairs), y, x)
    """
    out = np.empty((len(bands) + len(pairs), *bands.shape[1:]), np.float32)
    out[: len(bands)] = bands
    _add_differences(out, len(bands), pairs)
    return out


def _add_differences(out: NDArray[np.float32], bands: int, pairs: tuple[tuple[int, int], ...]) -> None:
    """Make the planes that follow the bands."""
    for k, (i, j) in enumerate(pairs, bands):
        _difference(out[i].reshape(-1), out[j].reshape(-1), out[k].reshape(-1))


@jit
def _difference(first: NDArray[np.float32], second: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    for i in range(len(out)):
        # Of halves, which are exact and cannot overflow: a fill value may be the largest number there is.
        a, b = np.float32(0.5) * first[i], np.float32(0.5) * second[i]
        scale = abs(a) + abs(b)
        out[i] = (a - b) / (scale if scale != 0 else np.float32(1.0))


@dataclass(frozen=True, slots=True)
class DetailInputs:
    """What the features of the detail view are made of, on the coarse grid; see `detail_inputs`.

    Attributes
    ----------
    spline
        float32, shape (F, h, w): coefficients of the spline through the block means of the level features.
    slope
        float32, shape (F, h, w): of LST on the feature in a box around every coarse pixel, kelvin per unit
        of the feature, 0 without support.
    residual
        float32, shape (F, h, w): kelvin, LST minus that fit at the box's centre.
    """

    spline: NDArray[np.float32]
    slope: NDArray[np.float32]
    residual: NDArray[np.float32]


@jit
def _box_sum(plane: NDArray[np.float64], half: int) -> NDArray[np.float64]:
    """Sum over a box around every pixel, cut off at the edges; always in the same order."""
    ny, nx = plane.shape
    side = 2 * half + 1
    wide = np.zeros((ny + 2 * half, nx + 2 * half), np.float64)
    for y in range(ny):
        for x in range(nx):
            wide[y + half, x + half] = plane[y, x]
    out = np.zeros((ny, nx), np.float64)
    row = np.empty(nx + 2 * half, np.float64)
    for y in range(ny):
        for x in range(nx + 2 * half):
            row[x] = 0.0
        for i in range(side):
            for x in range(nx + 2 * half):
                row[x] += wide[y + i, x]
        for j in range(side):
            for x in range(nx):
                out[y, x] += row[x + j]
    return out


@jit
def _local_fits(
    lst: NDArray[np.float32],
    features: NDArray[np.float32],
    usable: NDArray[np.bool_],
    half: int,
    floor: float,
    slope: NDArray[np.float32],
    residual: NDArray[np.float32],
) -> None:
    ny, nx = lst.shape
    t, use = np.empty((ny, nx), np.float64), np.empty((ny, nx), np.float64)
    v, vv, tv = np.empty((ny, nx), np.float64), np.empty((ny, nx), np.float64), np.empty((ny, nx), np.float64)
    for y in range(ny):
        for x in range(nx):
            use[y, x] = 1.0 if usable[y, x] else 0.0
            # Small numbers, so that products lose no digits.
            t[y, x] = (np.float64(lst[y, x]) - OFFSET_KELVIN) * use[y, x]
    n, st = _box_sum(use, half), _box_sum(t, half)
    for k in range(features.shape[0]):
        for y in range(ny):
            for x in range(nx):
                v[y, x] = np.float64(features[k, y, x]) * use[y, x]
                vv[y, x] = v[y, x] * v[y, x]
                tv[y, x] = t[y, x] * v[y, x]
        sv, svv, stv = _box_sum(v, half), _box_sum(vv, half), _box_sum(tv, half)
        for y in range(ny):
            for x in range(nx):
                c = n[y, x]
                if c < 3.0:
                    slope[k, y, x] = 0.0
                    residual[k, y, x] = 0.0
                    continue
                mt, mv = st[y, x] / c, sv[y, x] / c
                var = max(svv[y, x] - sv[y, x] * mv, 0.0)
                damped = var + c * floor * floor * (mv * mv + var / c)
                one = (stv[y, x] - st[y, x] * mv) / damped if damped > 0.0 else 0.0
                slope[k, y, x] = one
                here = np.float64(lst[y, x]) - OFFSET_KELVIN
                residual[k, y, x] = here - mt - one * (np.float64(features[k, y, x]) - mv)


def detail_inputs(
    levels: NDArray[np.float32], lst: NDArray[np.float32], usable: NDArray[np.bool_], ratio: int
) -> DetailInputs:
    """Aggregate level features and fit LST on each in the `SLOPE_BOX` around every coarse pixel.

    Parameters
    ----------
    levels
        float32, shape (F, h * ratio, w * ratio), gaps filled.
    lst
        float32, shape (h, w), kelvin, gaps filled.
    usable
        bool, shape (h, w): the pixels that the fits may use.
    ratio
        Fine pixels per coarse pixel.

    Returns
    -------
    DetailInputs
    """
    mean, spline = (np.empty((len(levels), *lst.shape), np.float32) for _ in range(2))
    for k in range(len(levels)):
        mean[k] = block_mean(levels[k], ratio)
        spline[k] = spline_coefficients(mean[k], ratio)
    slope, residual = np.empty_like(mean), np.empty_like(mean)
    _local_fits(np.ascontiguousarray(lst), mean, usable, SLOPE_BOX // 2, SLOPE_FLOOR, slope, residual)
    return DetailInputs(spline, slope, residual)


@jit
def _tap(
    row: NDArray[np.float32], i: int, w0: np.float32, w1: np.float32, w2: np.float32, w3: np.float32
) -> np.float32:
    """Four taps from `i` on, of which some may lie outside: the edge is repeated."""
    end = len(row) - 1
    value = w0 * row[min(max(i, 0), end)] + w1 * row[min(max(i + 1, 0), end)]
    value = value + w2 * row[min(max(i + 2, 0), end)]
    return np.float32(value + w3 * row[min(max(i + 3, 0), end)])


@jit
def _stretch(
    planes: NDArray[np.float32],
    k: int,
    y: int,
    first: int,
    last: int,
    ratio: int,
    up: NDArray[np.float32],
    start: NDArray[np.int64],
    weight: NDArray[np.float32],
    row: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Cubic convolution of one plane along one fine row, for coarse columns from `first` to `last`.

    `out` holds the fine pixels in the order of `detail_line`.
    """
    ny, nx = planes.shape[1:]
    a, b = planes[k, min(max(y, 0), ny - 1)], planes[k, min(max(y + 1, 0), ny - 1)]
    c, d = planes[k, min(max(y + 2, 0), ny - 1)], planes[k, min(max(y + 3, 0), ny - 1)]
    for x in range(max(first - 3, 0), min(last + 4, nx)):
        row[x] = up[0] * a[x] + up[1] * b[x] + up[2] * c[x] + up[3] * d[x]
    for q in range(ratio):
        w0, w1, w2, w3 = weight[q, 0], weight[q, 1], weight[q, 2], weight[q, 3]
        s = start[q]
        line = out[q * (last - first) : (q + 1) * (last - first)]
        # Where all four taps lie inside no pixel has to be asked.
        low, high = min(max(first, -s), last), max(min(last, nx - 3 - s), first)
        for x in range(low, high):
            i = np.uint64(x + s)
            line[x - first] = (
                w0 * row[i]
                + w1 * row[i + np.uint64(1)]
                + w2 * row[i + np.uint64(2)]
                + w3 * row[i + np.uint64(3)]
            )
        for x in range(first, low):
            line[x - first] = _tap(row, x + s, w0, w1, w2, w3)
        for x in range(max(high, low), last):
            line[x - first] = _tap(row, x + s, w0, w1, w2, w3)


@jit
def detail_line(
    levels: NDArray[np.float32],
    spline: NDArray[np.float32],
    slope: NDArray[np.float32],
    residual: NDArray[np.float32],
    lst_line: NDArray[np.float32],
    line: int,
    first: int,
    last: int,
    ratio: int,
    start: NDArray[np.int64],
    weight: NDArray[np.float32],
    smooth: NDArray[np.float32],
    row: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Features of the detail view along fine row `line`, for the coarse columns from `first` to `last`.

    What a feature adds to its own interpolation is taken with the interpolation of LST (`smooth` are the
    weights of the spline), so that where LST is linear in a feature, so is its detail in the feature's. `out`
    has shape (4 F + 1, fine pixels), `row` is working memory of one coarse row. Fine pixels stand in the
    order in which a processor can make many at a time: the first of every coarse pixel, the second of every
    one, and so on; `in_place` puts them back.
    """
    count = levels.shape[0]
    y, p = line // ratio, line % ratio
    size = last - first
    above = y + start[p]
    for k in range(count):
        _stretch(spline, k, above, first, last, ratio, smooth[p], start, smooth, row, out[k])
        _stretch(slope, k, above, first, last, ratio, weight[p], start, weight, row, out[2 * count + k])
        _stretch(residual, k, above, first, last, ratio, weight[p], start, weight, row, out[3 * count + k])
        apart(levels[k, line, first * ratio : last * ratio], ratio, out[count + k])
        for i in range(size * ratio):
            detail = out[count + k, i] - out[k, i]
            out[k, i] = detail
            out[2 * count + k, i] *= detail
    apart(lst_line, ratio, out[4 * count])


@jit
def apart(line: NDArray[np.float32], ratio: int, out: NDArray[np.float32]) -> None:
    """Bring fine pixels of a row into the order of `detail_line`."""
    size = len(line) // ratio
    for q in range(ratio):
        for x in range(size):
            out[q * size + x] = line[x * ratio + q]


@jit
def in_place(line: NDArray[np.float32], ratio: int, out: NDArray[np.float32]) -> None:
    """Bring fine pixels from the order of `detail_line` into that of the row."""
    size = len(line) // ratio
    for q in range(ratio):
        for x in range(size):
            out[x * ratio + q] = line[q * size + x]


@jit
def _detail_planes(
    levels: NDArray[np.float32],
    spline: NDArray[np.float32],
    slope: NDArray[np.float32],
    residual: NDArray[np.float32],
    lst_fine: NDArray[np.float32],
    ratio: int,
    start: NDArray[np.int64],
    weight: NDArray[np.float32],
    smooth: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    nx = spline.shape[2]
    row = np.empty(nx, np.float32)
    strip = np.empty((out.shape[0], out.shape[2]), np.float32)
    for line in range(out.shape[1]):
        detail_line(
            levels,
            spline,
            slope,
            residual,
            lst_fine[line],
            line,
            0,
            nx,
            ratio,
            start,
            weight,
            smooth,
            row,
            strip,
        )
        for k in range(out.shape[0]):
            in_place(strip[k], ratio, out[k, line])


def detail_features(
    levels: NDArray[np.float32],
    lst: NDArray[np.float32],
    lst_fine: NDArray[np.float32],
    usable: NDArray[np.bool_],
    ratio: int,
) -> NDArray[np.float32]:
    """Build the features of the detail view at the fine resolution.

    In order, for ``F`` level features: their details, the levels, the details times the local slope
    of LST, the local residual of LST for each feature, and the interpolated LST: ``4 F + 1`` planes.

    Parameters
    ----------
    levels
        float32, shape (F, h * ratio, w * ratio), gaps filled.
    lst
        float32, shape (h, w), kelvin, gaps filled.
    lst_fine
        float32, shape (h * ratio, w * ratio): interpolated LST.
    usable
        bool, shape (h, w): coarse pixels from which slopes may be learned.
    ratio
        Fine pixels per coarse pixel.

    Returns
    -------
    ndarray of float32, shape (4 F + 1, h * ratio, w * ratio)
    """
    given = detail_inputs(levels, lst, usable, ratio)
    out = np.empty((detail_count(len(levels)), *lst_fine.shape), np.float32)
    start, weight = cubic_weights(ratio, SHARPNESS_FEATURE)
    _detail_planes(
        np.ascontiguousarray(levels), given.spline, given.slope, given.residual,
        np.ascontiguousarray(lst_fine), ratio, start, weight, spline_weights(ratio)[1], out,
    )  # fmt: skip
    return out


@jit
def detail_count(levels: int) -> int:
    """Count the detail features that belong to so many level features."""
    return 4 * levels + 1


def filled_levels(
    bands: FloatArray,
    mean: FloatArray,
    whole: NDArray[np.bool_],
    pairs: tuple[tuple[int, int], ...],
    ratio: int,
) -> NDArray[np.float32]:
    """Level features at the fine resolution without gaps.

    A missing fine pixel takes the mean of its coarse pixel, so that it adds no detail; a coarse
    pixel without any valid one is filled from its neighbours.

    Parameters
    ----------
    bands
        float32, shape (band, h * ratio, w * ratio), NaN where missing.
    mean
        float32, shape (band, h, w): mean of the valid fine pixels, NaN without any.
    whole
        bool, shape (h, w): no fine pixel is missing in any band.
    pairs
        Pairs of band indices for normalised differences.
    ratio
        Fine pixels per coarse pixel.

    Returns
    -------
    ndarray of float32, shape (band + len(pairs), h * ratio, w * ratio)
    """
    out = np.empty((len(bands) + len(pairs), *bands.shape[1:]), np.float32)
    out[: len(bands)] = bands
    if not whole.all():
        for plane, coarse in zip(out, mean, strict=False):
            _fill_cells(plane, fill_gaps(coarse), ratio)
    _add_differences(out, len(bands), pairs)
    return out


@jit
def _fill_cells(plane: NDArray[np.float32], coarse: NDArray[np.float32], ratio: int) -> None:
    """Give missing pixels the value of the coarse pixel that holds them, in place."""
    for y in range(plane.shape[0]):
        line, values = plane[y], coarse[y // ratio]
        if not has_gap(line):
            continue
        for x in range(coarse.shape[1]):
            for q in range(x * ratio, (x + 1) * ratio):
                line[q] = line[q] if np.isfinite(line[q]) else values[x]

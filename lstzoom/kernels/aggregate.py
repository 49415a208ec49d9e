"""Area aggregation from the fine to the coarse grid: exact block means, never an interpolation.

Every function works on the last two axes ``(..., y, x)``, walks the ``ratio**2`` phases of a block
instead of reshaping (so the working memory is that of the coarse grid), accumulates in float64 and
returns float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstzoom.errors import InputError
from lstzoom.kernels.compile import jit
from lstzoom.types import FloatArray

_EXPONENT = np.int32(0x7F800000)
"""Bits that are all set in a float32 that is not finite, and in no other."""

FLAT = 1e-4
"""Share of its magnitude by which a band must vary inside a coarse pixel to be more than rounding."""


def area_mean(a: ArrayLike, ratio: int, *, min_valid: float = 1.0) -> NDArray[np.float32]:
    """Mean of the valid pixels of every ``ratio x ratio`` block.

    Parameters
    ----------
    a : array, shape ``(..., ny, nx)``
        Fine values; anything that is not finite counts as missing. ``ny`` and ``nx`` must be
        multiples of `ratio`.
    ratio : int
        Fine pixels per coarse pixel along each axis, at least 1.
    min_valid : float
        Share of a block's pixels that must be valid, 0 to 1. The default 1 makes a block with any
        missing pixel missing; 0 asks for a single valid pixel.

    Returns
    -------
    array of float32, shape ``(..., ny // ratio, nx // ratio)``
        NaN where fewer than `min_valid` of the pixels are valid.

    Raises
    ------
    InputError
        If the shape is not a multiple of `ratio`, or `ratio` or `min_valid` is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> area_mean(np.array([[1.0, 3.0], [5.0, 7.0]]), 2)
    array([[4.]], dtype=float32)
    """
    values = _checked(a, ratio, min_valid)
    mean, count = _moments(values, ratio)
    return _mask_sparse(mean, count, ratio, min_valid)


def area_mean_radiance(fine: ArrayLike, ratio: int, *, min_valid: float = 1.0) -> NDArray[np.float32]:
    """Aggregate temperature as a radiometer does: ``(mean of T**4) ** 1/4`` of every block.

    The fourth power stands for the radiance integrated over the spectrum (Stefan-Boltzmann); it is
    what makes the aggregate of a mixed pixel warmer than the plain mean of its parts.

    Parameters
    ----------
    fine : array, shape ``(..., ny, nx)``
        Temperature in kelvin, not finite where missing.
    ratio, min_valid
        As in `area_mean`.

    Returns
    -------
    array of float32, shape ``(..., ny // ratio, nx // ratio)``
        Kelvin; NaN where fewer than `min_valid` of the pixels are valid.

    Raises
    ------
    InputError
        As `area_mean` does.

    Examples
    --------
    >>> import numpy as np
    >>> float(area_mean_radiance(np.array([[280.0, 280.0], [320.0, 320.0]]), 2)[0, 0]) > 300.0
    True
    """
    values = _checked(fine, ratio, min_valid)
    mean, count = _moments(values, ratio, power=4)
    return _mask_sparse(np.sqrt(np.sqrt(mean)), count, ratio, min_valid)


def area_std(a: ArrayLike, ratio: int, *, min_valid: float = 1.0) -> NDArray[np.float32]:
    """Compute the population standard deviation of the valid pixels of every block.

    Two passes over the data, so that a large mean costs no digits.

    Parameters
    ----------
    a, ratio, min_valid
        As in `area_mean`.

    Returns
    -------
    array of float32, shape ``(..., ny // ratio, nx // ratio)``
        In the unit of `a`; 0 for a constant block, NaN where fewer than `min_valid` of the pixels
        are valid.

    Raises
    ------
    InputError
        As `area_mean` does.

    Examples
    --------
    >>> import numpy as np
    >>> area_std(np.array([[1.0, 1.0], [3.0, 3.0]]), 2)
    array([[1.]], dtype=float32)
    """
    values = _checked(a, ratio, min_valid)
    mean, count = _moments(values, ratio)
    square = np.zeros_like(mean)
    for block in _phases(values, ratio):
        deviation = block - mean
        square += np.where(np.isfinite(block), deviation * deviation, 0.0)
    return _mask_sparse(np.sqrt(square / np.maximum(count, 1)), count, ratio, min_valid)


@dataclass(frozen=True, slots=True)
class CellStatistics:
    """What becomes of the fine pixels of every coarse pixel.

    Attributes
    ----------
    mean, std : ndarray of float32, shape (band, h, w)
        Mean and population standard deviation of the valid fine pixels, NaN without any.
    whole : ndarray of bool, shape (h, w)
        No fine pixel is missing in any band.
    varies : ndarray of bool, shape (h, w)
        Some band varies by more than rounding.
    """

    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    whole: NDArray[np.bool_]
    varies: NDArray[np.bool_]


def cell_statistics(bands: NDArray[np.float32], ratio: int) -> CellStatistics:
    """Aggregate bands in one pass.

    Parameters
    ----------
    bands
        float32, shape (band, h * ratio, w * ratio), not finite where missing.
    ratio
        Fine pixels per coarse pixel.

    Returns
    -------
    CellStatistics
        Mean and deviation as those of `area_mean` and `area_std`, up to rounding.
    """
    shape = (bands.shape[1] // ratio, bands.shape[2] // ratio)
    mean, std = np.empty((len(bands), *shape), np.float32), np.empty((len(bands), *shape), np.float32)
    whole, varies = np.ones(shape, np.bool_), np.zeros(shape, np.bool_)
    for plane, m, s in zip(bands, mean, std, strict=True):
        _statistics(np.ascontiguousarray(plane), ratio, m, s, whole, varies)
    return CellStatistics(mean, std, whole, varies)


@jit
def has_gap(row: NDArray[np.float32]) -> bool:
    """Whether a row of pixels has one that is not finite."""
    # In bits and in one word, so that a processor looks at many pixels at a time.
    bits, found = row.view(np.int32), np.int32(0)
    for x in range(len(bits)):
        found |= np.int32((bits[x] & _EXPONENT) == _EXPONENT)
    return bool(found)


@jit
def sum_of_nine(plane: NDArray[np.float32], y: int, stride: int, out: NDArray[np.float64]) -> None:
    """Add up the 3 x 3 values, a stride apart, around the pixels of a row that have them; the ends stay."""
    inner = out[stride : len(out) - stride]
    inner[:] = 0.0
    # Row after row without a question, so that a processor adds up many pixels at a time.
    for i in range(y - stride, y + stride + 1, stride):
        for j in range(0, 2 * stride + 1, stride):
            row = plane[i, j : j + len(inner)]
            for x in range(len(inner)):
                inner[x] += row[x]


@jit
def _statistics(
    plane: NDArray[np.float32],
    ratio: int,
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    whole: NDArray[np.bool_],
    varies: NDArray[np.bool_],
) -> None:
    width = mean.shape[1]
    count = np.empty(width, np.int32)
    first, low, high = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    total, square = np.empty(width, np.float64), np.empty(width, np.float64)
    for y in range(mean.shape[0]):
        rows = plane[y * ratio : (y + 1) * ratio, : width * ratio]
        gaps = False
        for p in range(ratio):
            gaps = gaps or has_gap(rows[p])
        if gaps:
            _add_up_gappy(rows, ratio, count, first, low, high, total, square)
        else:
            _add_up(rows, ratio, count, first, low, high, total, square)
        for x in range(width):
            n = count[x]
            if n < ratio * ratio:
                whole[y, x] = False
            if n == 0:
                mean[y, x] = std[y, x] = np.nan
                continue
            mean[y, x] = first[x] + total[x] / n
            std[y, x] = np.sqrt(max(square[x] / n - (total[x] / n) ** 2, 0.0))
            if high[x] - low[x] > FLAT * max(abs(low[x]), abs(high[x])):
                varies[y, x] = True


@jit
def _add_up(
    rows: NDArray[np.float32],
    ratio: int,
    count: NDArray[np.int32],
    first: NDArray[np.float32],
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    total: NDArray[np.float64],
    square: NDArray[np.float64],
) -> None:
    """Go through the pixels of a row of cells, of which none is missing.

    Sums are of differences from the first pixel, so that a large mean costs no digits.
    """
    width = len(count)
    count[:] = ratio * ratio
    total[:] = 0.0
    square[:] = 0.0
    for x in range(width):
        first[x] = low[x] = high[x] = rows[0, x * ratio]
    for p in range(ratio):
        for q in range(ratio):
            phase = rows[p, q:]
            for x in range(width):
                value = phase[x * ratio]
                d = np.float64(value) - first[x]
                total[x] += d
                square[x] += d * d
                low[x] = min(low[x], value)
                high[x] = max(high[x], value)


@jit
def _add_up_gappy(
    rows: NDArray[np.float32],
    ratio: int,
    count: NDArray[np.int32],
    first: NDArray[np.float32],
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    total: NDArray[np.float64],
    square: NDArray[np.float64],
) -> None:
    """Do what `_add_up` does, to the last bit, with those pixels that are finite."""
    count[:] = 0
    total[:] = 0.0
    square[:] = 0.0
    for p in range(ratio):
        for q in range(ratio):
            phase = rows[p, q:]
            for x in range(len(count)):
                value = phase[x * ratio]
                if not np.isfinite(value):
                    continue
                if count[x] == 0:
                    first[x] = low[x] = high[x] = value
                d = np.float64(value) - first[x]
                total[x] += d
                square[x] += d * d
                low[x], high[x] = min(low[x], value), max(high[x], value)
                count[x] += 1


@jit
def add_fourth_powers(
    stored: NDArray[np.generic],
    scale: float,
    offset: float,
    nodata: float,
    total: NDArray[np.float64],
    count: NDArray[np.int64],
) -> None:
    """Add ``T**4`` of valid pixels, and their number, to cells of 2 x 2.

    `stored` are numbers of any type, `nodata` the one for missing, or NaN; `total` and `count` have half
    as many rows and columns, rounded up.
    """
    for y in range(stored.shape[0]):
        for x in range(stored.shape[1]):
            number = np.float64(stored[y, x])
            kelvin = number * scale + offset
            if number != nodata and np.isfinite(kelvin):
                square = kelvin * kelvin
                total[y >> 1, x >> 1] += square * square
                count[y >> 1, x >> 1] += 1


def _moments(
    values: FloatArray, ratio: int, *, power: Literal[1, 4] = 1
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Mean of ``values**power`` over the valid pixels of each block and their number.

    The mean is 0 where a block has none.
    """
    total = np.zeros(_coarse_shape(values, ratio), np.float64)
    count = np.zeros(total.shape, np.int32)
    for block in _phases(values, ratio):
        valid = np.isfinite(block)
        # Two squarings: much cheaper than pow(), and the same bits on every platform.
        raised = np.square(np.square(block)) if power == 4 else block
        total += np.where(valid, raised, 0.0)
        count += valid
    return total / np.maximum(count, 1), count


def _phases(values: FloatArray, ratio: int) -> Iterator[NDArray[np.float64]]:
    """Yield the ``ratio**2`` sub-lattices in float64.

    Pixel (i, j) of every block, each with the coarse shape.
    """
    for i in range(ratio):
        for j in range(ratio):
            yield values[..., i::ratio, j::ratio].astype(np.float64)


def _mask_sparse(
    coarse: NDArray[np.float64], count: NDArray[np.int32], ratio: int, min_valid: float
) -> NDArray[np.float32]:
    """Float32 copy of `coarse`, NaN where a block has too few valid pixels."""
    # The tolerance keeps a share such as 1/3 of nine pixels at three, whatever its last binary
    # digit.
    needed = max(1, math.ceil(min_valid * ratio * ratio - 1e-9))
    return np.where(count >= needed, coarse, np.nan).astype(np.float32)


def _coarse_shape(values: FloatArray, ratio: int) -> tuple[int, ...]:
    *lead, ny, nx = values.shape
    return (*lead, ny // ratio, nx // ratio)


def _checked(a: ArrayLike, ratio: int, min_valid: float) -> FloatArray:
    """Floating view or copy of `a` after checking that it divides into blocks."""
    values = np.asarray(a)
    if not np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float64)
    if ratio < 1 or int(ratio) != ratio:
        raise InputError(
            f"ratio is {ratio!r}; it must be a whole number of at least 1 (fine pixels per coarse pixel)."
        )
    if not 0.0 <= min_valid <= 1.0:
        raise InputError(f"min_valid is {min_valid!r}; it is a share and must lie between 0 and 1.")
    if values.ndim < 2 or values.shape[-2] % ratio or values.shape[-1] % ratio:
        raise InputError(
            f"cannot divide an array of shape {values.shape} into blocks of {ratio} x {ratio}: "
            "the last two axes must be"
            f" multiples of {ratio}; crop or pad the array first."
        )
    return values

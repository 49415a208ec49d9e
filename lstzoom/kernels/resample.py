"""Resampling of one array at given source positions, each target pixel on its own.

A target pixel depends on its own position alone, never on the window that it is computed in, so
that any chunking of the target gives the same bits. Missing source pixels are left out of every
mean; they neither enter a valid pixel nor become valid themselves.

Positions are in source pixels from the outer edge: the centre of pixel 0 is at 0.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lstzoom.types import FloatArray

Method: TypeAlias = Literal["nearest", "bilinear", "cubic", "average"]

# Positions this close to a pixel's edge or centre are taken to be on it: coordinates of 5e6 m
# carry a rounding of about 1e-9 m, and a tie must not be decided by it.
_SNAP: Final = 1e-6
# A mean over less than half of a target pixel's area does not stand for the pixel.
_MINIMUM_COVER: Final = 0.5
_CUBIC_PIXELS: Final = 16


@dataclass(frozen=True, slots=True)
class Taps:
    """Source indices and weights of target pixels along one axis.

    Attributes
    ----------
    index
        intp, shape (..., taps). Indices may lie outside the source.
    weight
        float64, same shape; the weights of a target pixel add up to 1.
    centre
        intp, shape (...). Source pixel that holds the target pixel's centre.
    """

    index: NDArray[np.intp]
    weight: NDArray[np.float64]
    centre: NDArray[np.intp]

    def span(self, size: int) -> tuple[int, int]:
        """Return the range of source indices that are needed, cut to a source of that size."""
        if self.index.size == 0:
            return 0, 0
        start = max(int(self.index.min()), 0)
        return start, max(start, min(int(self.index.max()) + 1, size))


def taps(position: NDArray[np.float64], scale: float, method: Method) -> Taps:
    """Find the source pixels and weights for target pixel centres.

    Parameters
    ----------
    position
        float64, any shape: centres in source pixels from the outer edge; not finite is outside.
    scale
        Length of a target pixel in source pixels, positive; used by ``"average"`` alone.
    method
        ``"nearest"``, ``"bilinear"``, ``"cubic"`` (cubic convolution that never leaves the range of the four
        pixels around; bilinear next to missing ones) or ``"average"`` (area-weighted over the target pixel).

    Returns
    -------
    Taps
        Indices and weights along this axis.

    Examples
    --------
    >>> taps(np.array([1.5]), 3.0, "average").weight.round(3)
    array([[0.333, 0.333, 0.333, 0.   ]])
    """
    position = np.where(np.isfinite(position), position, -1e9)
    centre = np.floor(position + _SNAP)
    if method == "nearest":
        start, weight = centre, np.ones((*position.shape, 1))
    elif method == "bilinear":
        start, weight = _bilinear(position)
    elif method == "cubic":
        start, weight = _cubic(position)
    else:
        start, weight = _box(position, scale)
    index = start[..., np.newaxis].astype(np.intp) + np.arange(weight.shape[-1])
    return Taps(index, weight, centre.astype(np.intp))


def _bilinear(position: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    start = np.floor(position - 0.5 + _SNAP)
    part = position - 0.5 - start
    part[np.abs(part) <= _SNAP] = 0.0
    return start, np.stack([1.0 - part, part], axis=-1)


def _cubic(position: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Keys' cubic convolution with parameter -1/2."""
    start, linear = _bilinear(position)
    near, far = linear[..., 0], linear[..., 1]
    both = near * far
    weight = [
        -both * near / 2,
        near + both * (near - far / 2),
        far + both * (far - near / 2),
        -both * far / 2,
    ]
    return start - 1, np.stack(weight, axis=-1)


def _as_bilinear(cubic: Taps) -> Taps:
    """Find the bilinear taps at the positions of cubic ones, which weigh pixels to the same mean position."""
    far = cubic.weight @ np.array([-1.0, 0.0, 1.0, 2.0])
    return Taps(cubic.index[..., 1:3], np.stack([1.0 - far, far], axis=-1), cubic.centre)


def _box(position: NDArray[np.float64], scale: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high = position - scale / 2, position + scale / 2
    start = np.floor(low + _SNAP)
    index = start[..., np.newaxis] + np.arange(math.ceil(scale) + 1)
    overlap = np.minimum(high[..., np.newaxis], index + 1) - np.maximum(low[..., np.newaxis], index)
    overlap[overlap <= _SNAP] = 0.0
    return start, overlap / overlap.sum(axis=-1, keepdims=True)


def resample_axes(
    data: NDArray[np.float32], rows: Taps, columns: Taps, method: Method
) -> NDArray[np.float32]:
    """Resample where rows and columns of both grids are parallel.

    Parameters
    ----------
    data
        float32, shape (source rows, source columns), NaN where missing.
    rows, columns
        Taps of shape (target rows, ...) and (target columns, ...), relative to ``data``.
    method
        The method that the taps were made for.

    Returns
    -------
    ndarray
        float32, shape (target rows, target columns), NaN where missing or outside.
    """
    shape = (len(rows.centre), len(columns.centre))
    if 0 in data.shape:
        return np.full(shape, np.nan, np.float32)
    centre = data[np.ix_(_clipped(rows.centre, data.shape[0]), _clipped(columns.centre, data.shape[1]))]
    inside = np.logical_and.outer(_inside(rows.centre, data.shape[0]), _inside(columns.centre, data.shape[1]))
    if method == "nearest":
        return np.where(inside, centre, np.float32(np.nan))
    valid = np.isfinite(data)
    total = _along_columns(_along_rows(np.where(valid, data, 0.0), rows), columns)
    if method == "cubic":
        middle = [_clipped(rows.index[:, k], data.shape[0]) for k in (1, 2)]
        across = [_clipped(columns.index[:, k], data.shape[1]) for k in (1, 2)]
        near = [data[np.ix_(y, x)] for y in middle for x in across]
        known = _along_columns(_along_rows(valid.astype(np.float64), _counting(rows)), _counting(columns))
        plain = resample_axes(data, _as_bilinear(rows), _as_bilinear(columns), "bilinear")
        return _limited(total, near, known, plain)
    cover = _along_columns(_along_rows(valid.astype(np.float64), rows), columns)
    return _mean(total, cover, inside & np.isfinite(centre), method)


def resample_points(
    data: NDArray[np.float32], rows: Taps, columns: Taps, method: Method
) -> NDArray[np.float32]:
    """Resample where every target pixel has its own source position.

    Parameters
    ----------
    data
        float32, shape (source rows, source columns), NaN where missing.
    rows, columns
        Taps of shape (target rows, target columns, ...) both, relative to ``data``.
    method
        The method that the taps were made for.

    Returns
    -------
    ndarray
        float32, shape (target rows, target columns), NaN where missing or outside.
    """
    shape = rows.centre.shape
    if 0 in data.shape:
        return np.full(shape, np.nan, np.float32)
    centre = data[_clipped(rows.centre, data.shape[0]), _clipped(columns.centre, data.shape[1])]
    inside = _inside(rows.centre, data.shape[0]) & _inside(columns.centre, data.shape[1])
    if method == "nearest":
        return np.where(inside, centre, np.float32(np.nan))
    total, cover, known = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    near = []
    for j in range(rows.index.shape[-1]):
        for k in range(columns.index.shape[-1]):
            weight = _weight(rows, j, data.shape[0]) * _weight(columns, k, data.shape[1])
            value = data[
                _clipped(rows.index[..., j], data.shape[0]),
                _clipped(columns.index[..., k], data.shape[1]),
            ]
            valid = np.isfinite(value)
            total += weight * np.where(valid, value, 0.0)
            cover += weight * valid
            if method == "cubic":
                known += (
                    valid
                    & _inside(rows.index[..., j], data.shape[0])
                    & _inside(columns.index[..., k], data.shape[1])
                )
                near += [value] if j in {1, 2} and k in {1, 2} else []
    if method == "cubic":
        plain = resample_points(data, _as_bilinear(rows), _as_bilinear(columns), "bilinear")
        return _limited(total, near, known, plain)
    return _mean(total, cover, inside & np.isfinite(centre), method)


def _counting(one: Taps) -> Taps:
    """Return the same taps, each of weight 1."""
    return Taps(one.index, np.ones_like(one.weight), one.centre)


def _limited(
    cubic: NDArray[np.float64],
    near: Sequence[NDArray[np.float32]],
    known: NDArray[np.float64],
    bilinear: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Cubic convolution without over- and undershoots; bilinear where any of its 16 pixels is missing."""
    held = np.clip(cubic, np.minimum.reduce(near), np.maximum.reduce(near)).astype(np.float32)
    return np.where(known == _CUBIC_PIXELS, held, bilinear)


def shifted(one: Taps, origin: int) -> Taps:
    """Return the taps relative to a source window that starts at ``origin``."""
    return Taps(one.index - origin, one.weight, one.centre - origin)


def _along_rows(data: FloatArray, rows: Taps) -> NDArray[np.float64]:
    out = np.zeros((len(rows.centre), data.shape[1]))
    for k in range(rows.index.shape[-1]):
        weight = _weight(rows, k, data.shape[0])
        out += weight[:, np.newaxis] * data[_clipped(rows.index[:, k], data.shape[0])]
    return out


def _along_columns(data: FloatArray, columns: Taps) -> NDArray[np.float64]:
    out = np.zeros((data.shape[0], len(columns.centre)))
    for k in range(columns.index.shape[-1]):
        weight = _weight(columns, k, data.shape[1])
        out += weight * data[:, _clipped(columns.index[:, k], data.shape[1])]
    return out


def _weight(one: Taps, k: int, size: int) -> NDArray[np.float64]:
    """Weight of tap ``k``, zero outside of a source of that size."""
    return np.where(_inside(one.index[..., k], size), one.weight[..., k], 0.0)


def _mean(
    total: NDArray[np.float64],
    cover: NDArray[np.float64],
    usable_centre: NDArray[np.bool_],
    method: Method,
) -> NDArray[np.float32]:
    usable = usable_centre if method == "bilinear" else cover >= _MINIMUM_COVER - _SNAP
    mean = np.divide(total, cover, out=np.full(total.shape, np.nan), where=usable & (cover > 0))
    rounded: NDArray[np.float32] = mean.astype(np.float32)
    return rounded


def _inside(index: NDArray[np.intp], size: int) -> NDArray[np.bool_]:
    return (index >= 0) & (index < size)


def _clipped(index: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    return np.minimum(np.maximum(index, 0), size - 1)

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

from lstzoom.kernels.compile import jit
from lstzoom.kernels.interpolate import block_mean, fill_gaps, upsample
from lstzoom.types import FloatArray

SLOPE_BOX = 5
"""Coarse pixels along each side of the box over which a local slope is fitted."""

SLOPE_FLOOR = 0.01
"""Spread below which a slope is damped, as a share of the feature's magnitude in the box."""

DETAIL_REACH = SLOPE_BOX // 2 + 2
"""Coarse pixels on which a detail feature depends, to each side: the box and the upsampling."""


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
    scale = np.abs(first) + np.abs(second)
    return ((first - second) / np.where(scale == 0, 1, scale)).astype(np.float32)


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
    count = bands.shape[0]
    out = np.empty((count + len(pairs), *bands.shape[1:]), np.float32)
    out[:count] = bands
    for k, (i, j) in enumerate(pairs):
        out[count + k] = normalised_difference(bands[i], bands[j])
    return out


@dataclass(frozen=True, slots=True)
class LocalFit:
    """Regression of LST on one feature in a box around every coarse pixel.

    Attributes
    ----------
    slope
        float32, shape (h, w): kelvin per unit of the feature, 0 without support.
    residual
        float32, shape (h, w): kelvin, LST minus the fit at the box's centre.
    """

    slope: NDArray[np.float32]
    residual: NDArray[np.float32]


@jit
def _local_fit(
    lst: NDArray[np.float32],
    feature: NDArray[np.float32],
    usable: NDArray[np.bool_],
    half: int,
    floor: float,
    slope: NDArray[np.float32],
    residual: NDArray[np.float32],
) -> None:
    ny, nx = lst.shape
    for y in range(ny):
        for x in range(nx):
            n = 0
            st = sv = 0.0
            for i in range(max(y - half, 0), min(y + half + 1, ny)):
                for j in range(max(x - half, 0), min(x + half + 1, nx)):
                    if usable[i, j]:
                        n += 1
                        st += lst[i, j]
                        sv += feature[i, j]
            if n < 3:
                slope[y, x] = 0.0
                residual[y, x] = 0.0
                continue
            mt = st / n
            mv = sv / n
            cov = var = 0.0
            for i in range(max(y - half, 0), min(y + half + 1, ny)):
                for j in range(max(x - half, 0), min(x + half + 1, nx)):
                    if usable[i, j]:
                        dv = feature[i, j] - mv
                        cov += (lst[i, j] - mt) * dv
                        var += dv * dv
            damp = n * floor * floor * (mv * mv + var / n)
            one = cov / (var + damp) if var + damp > 0.0 else 0.0
            slope[y, x] = one
            residual[y, x] = lst[y, x] - mt - one * (feature[y, x] - mv)


def local_fit(lst: FloatArray, feature: FloatArray, usable: NDArray[np.bool_]) -> LocalFit:
    """Fit LST on one feature in the `SLOPE_BOX` around every coarse pixel.

    Parameters
    ----------
    lst
        float32, shape (h, w), kelvin, gaps filled.
    feature
        float32, shape (h, w), gaps filled.
    usable
        bool, shape (h, w): the pixels that the fit may use.

    Returns
    -------
    LocalFit
    """
    slope, residual = np.empty(lst.shape, np.float32), np.empty(lst.shape, np.float32)
    _local_fit(lst, feature, usable, SLOPE_BOX // 2, SLOPE_FLOOR, slope, residual)
    return LocalFit(slope, residual)


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
    count = levels.shape[0]
    out = np.empty((detail_count(count), *lst_fine.shape), np.float32)
    out[count : 2 * count] = levels
    out[4 * count] = lst_fine
    for k in range(count):
        coarse = block_mean(levels[k], ratio)
        fit = local_fit(lst, coarse, usable)
        np.subtract(levels[k], upsample(coarse, ratio), out=out[k])
        np.multiply(out[k], upsample(fit.slope, ratio), out=out[2 * count + k])
        out[3 * count + k] = upsample(fit.residual, ratio)
    return out


def detail_count(levels: int) -> int:
    """Count the detail features that belong to so many level features."""
    return 4 * levels + 1


def filled_levels(
    bands: FloatArray, mean: FloatArray, pairs: tuple[tuple[int, int], ...], ratio: int
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
    pairs
        Pairs of band indices for normalised differences.
    ratio
        Fine pixels per coarse pixel.

    Returns
    -------
    ndarray of float32, shape (band + len(pairs), h * ratio, w * ratio)
    """
    filled = bands
    if not np.isfinite(bands).all():
        filled = bands.copy()
        for plane, coarse in zip(filled, mean, strict=True):
            gaps = ~np.isfinite(plane)
            if gaps.any():
                cells = np.repeat(np.repeat(fill_gaps(coarse), ratio, 0), ratio, 1)
                plane[gaps] = cells[gaps]
    return level_features(filled, pairs)

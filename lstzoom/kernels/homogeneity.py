"""Which coarse pixels are homogeneous, and how much each weighs in training.

Gao, Kustas & Anderson (2012, doi:10.3390/rs4113287, section 2.1) select coarse pixels whose fine
reflectance varies little. Here all fully valid pixels train, with a weight that falls with their
coefficient of variation (CV) and does not depend on any other pixel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lstzoom.kernels.compile import jit
from lstzoom.types import FloatArray

_TINY = float(np.finfo(np.float32).tiny)

CV_FLOOR = 0.02
"""Smallest mean that CV divides by, as a share of the band's typical magnitude."""


def coefficient_of_variation(mean: FloatArray, std: FloatArray) -> NDArray[np.float32]:
    """CV of the fine pixels inside each coarse pixel, averaged over the bands.

    The mean is floored, because indices and offset-corrected reflectance may be zero or negative:
    the root mean square of the fine pixels over all bands gives the floor its unit. A constant
    pixel (calm water) has CV 0 and is a good sample.

    Parameters
    ----------
    mean, std
        float32, shape (band, h, w): area mean and population standard deviation.

    Returns
    -------
    ndarray of float32, shape (h, w)
        0 to ``sqrt(band) / CV_FLOOR``; NaN where a band is missing.
    """
    out = np.empty(mean.shape[1:], np.float32)
    _mean_cv(np.asarray(mean, np.float32), np.asarray(std, np.float32), out)
    return out


@jit
def _mean_cv(mean: NDArray[np.float32], std: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    bands = mean.shape[0]
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            # The spread is part of the magnitude: a single index may have a mean of exactly 0, and no CV
            # may be so large that the weight of a sample vanishes.
            square = total = 0.0
            for k in range(bands):
                square += np.float64(mean[k, y, x]) ** 2 + np.float64(std[k, y, x]) ** 2
            floor = CV_FLOOR * np.sqrt(square / bands) + _TINY
            for k in range(bands):
                # The floor first: `max` keeps it if it is NaN, and a mean of 0 is never divided by.
                total += std[k, y, x] / max(floor, abs(np.float64(mean[k, y, x])))
            out[y, x] = total / bands


def sample_weight(cv: FloatArray, *, cv_threshold: float) -> NDArray[np.float32]:
    """Weight of a training sample: 1 up to the threshold, then falling as ``threshold / CV``.

    Parameters
    ----------
    cv
        float32, any shape.
    cv_threshold
        CV up to which a pixel counts as homogeneous (0.1 in Gao et al. 2012).

    Returns
    -------
    ndarray of float32, same shape, in (0, 1]

    Examples
    --------
    >>> sample_weight(np.array([0.0, 0.1, 0.4], np.float32), cv_threshold=0.1)
    array([1.  , 1.  , 0.25], dtype=float32)
    """
    return (cv_threshold / np.maximum(cv, cv_threshold)).astype(np.float32)

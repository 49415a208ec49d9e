"""Residual correction: the fine LST aggregates to the coarse LST exactly.

One pass of an interpolated residual does not conserve: bilinear at ratio 3 spreads 1/9, 7/9, 1/9 over
three cells. Here one smooth pass takes away most of the residual without a trace of the grid, and what
is left is taken away cell by cell, solving ``mean((T + c)^4) = T_coarse^4`` for the constant ``c``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lstzoom.kernels.compile import jit
from lstzoom.kernels.interpolate import add_to_cells, upsample

REACH = 2
"""Coarse pixels on which a corrected fine pixel depends, to each side."""

NEWTON_STEPS = 4
NEWTON_STOP = 1e-9
"""Kelvin. The number of right digits doubles with every step, and float32 has far fewer."""


@jit
def radiance_residual(
    fine: NDArray[np.float32], coarse: NDArray[np.float32], ratio: int
) -> NDArray[np.float32]:
    """Constant per cell that makes ``(mean T^4)^(1/4)`` of its fine pixels the coarse LST.

    Parameters
    ----------
    fine
        float32, shape (h * ratio, w * ratio), kelvin, finite.
    coarse
        float32, shape (h, w), kelvin, finite.
    ratio
        Fine pixels per coarse pixel.

    Returns
    -------
    ndarray of float32, shape (h, w), kelvin
    """
    ny, nx = coarse.shape
    out = np.empty((ny, nx), np.float32)
    n = ratio * ratio
    for y in range(ny):
        for x in range(nx):
            goal = np.float64(coarse[y, x])
            # Centred moments: with d = T - goal, mean(T^4) - goal^4 is a polynomial in the wanted
            # constant whose terms are small, so that float32 input costs no digits.
            m1 = m2 = m3 = m4 = 0.0
            for p in range(ratio):
                for q in range(ratio):
                    d = fine[y * ratio + p, x * ratio + q] - goal
                    m1 += d
                    m2 += d * d
                    m3 += d * d * d
                    m4 += d * d * d * d
            m1, m2, m3, m4 = m1 / n, m2 / n, m3 / n, m4 / n
            c = -m1
            for _ in range(NEWTON_STEPS):
                k1 = m1 + c
                k2 = m2 + c * (2 * m1 + c)
                k3 = m3 + c * (3 * m2 + c * (3 * m1 + c))
                k4 = m4 + c * (4 * m3 + c * (6 * m2 + c * (4 * m1 + c)))
                f = 4 * goal**3 * k1 + 6 * goal**2 * k2 + 4 * goal * k3 + k4
                slope = 4 * (goal**3 + 3 * goal**2 * k1 + 3 * goal * k2 + k3)
                step = f / slope if slope > 0.0 else 0.0
                c -= step
                if abs(step) < NEWTON_STOP:
                    break
            out[y, x] = c
    return out


def correct_residual(
    fine: NDArray[np.float32], coarse: NDArray[np.float32], ratio: int
) -> NDArray[np.float32]:
    """Correct the residual, in place.

    Parameters
    ----------
    fine
        float32, shape (h * ratio, w * ratio), kelvin, without gaps; changed.
    coarse
        float32, shape (h, w), kelvin, gaps filled.
    ratio
        Fine pixels per coarse pixel.

    Returns
    -------
    ndarray of float32, shape (h, w)
        The residual before correction, kelvin: what the coarse LST has and the prediction lacks.
    """
    residual = radiance_residual(fine, coarse, ratio)
    fine += upsample(residual, ratio)
    add_to_cells(fine, radiance_residual(fine, coarse, ratio), ratio)
    return residual

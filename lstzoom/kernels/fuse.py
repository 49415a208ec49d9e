"""How much a window trusts its own model against the global one.

Gao et al. (2012, section 2.4) weight by the inverse squared residual of each coarse pixel, in sample,
which flatters the local model: it has fitted those very pixels. Here the errors are out of bag,
averaged over the window and floored, and the windows' tents smooth the weight in space.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lstzoom.kernels.compile import jit

ERROR_FLOOR = 0.01
"""Kelvin squared, added to both mean squared errors: two perfect models share the pixel."""


@jit
def local_weight(
    target: NDArray[np.float32], local: NDArray[np.float32], world: NDArray[np.float32]
) -> float:
    """Weigh the local model of a window by inverse out-of-bag squared errors.

    Parameters
    ----------
    target
        float32, shape (n,): coarse LST, kelvin.
    local, world
        float32, shape (n,): out-of-bag predictions of the local and the global model, NaN where
        there is none. Only samples with both count.

    Returns
    -------
    float
        Weight of the local model, 0 to 1; 0 where nothing can be compared.
    """
    n = 0
    e_local = e_world = 0.0
    for i in range(len(target)):
        if np.isfinite(local[i]) and np.isfinite(world[i]):
            e_local += (local[i] - target[i]) ** 2
            e_world += (world[i] - target[i]) ** 2
            n += 1
    if n == 0:
        return 0.0
    e_local = e_local / n + ERROR_FLOOR
    e_world = e_world / n + ERROR_FLOOR
    return e_world / (e_local + e_world)

"""Small types that all modules share."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.floating[Any]]
"""Array of float32 or float64; which of the two is said where it matters."""

BoolArray: TypeAlias = NDArray[np.bool_]
"""Array of flags. A mask called ``valid`` is True where a pixel may be used."""


class YX(NamedTuple):
    """A pair in array order: a position, shape, stride or halo in pixels.

    Examples
    --------
    >>> YX(y=4, x=6)
    YX(y=4, x=6)
    """

    y: int
    x: int

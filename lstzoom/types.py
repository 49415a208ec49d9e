"""Small types that all modules share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.floating[Any]]
"""Array of float32 or float64; which of the two is said where it matters."""

BoolArray: TypeAlias = NDArray[np.bool_]
"""Array of flags. A mask called ``valid`` is True where a pixel may be used."""

LST_ATTRS: Final[Mapping[str, str]] = {
    "units": "K",
    "standard_name": "surface_temperature",
    "long_name": "land surface temperature",
}
"""Attributes of an LST that is opened: by CF, and what plots write beside it."""


class YX(NamedTuple):
    """A pair in array order: a position, shape, stride or halo in pixels.

    Examples
    --------
    >>> YX(y=4, x=6)
    YX(y=4, x=6)
    """

    y: int
    x: int

"""Which pixels can be used: numbers of a mask layer decoded, and grown by a distance.

True means usable, as everywhere in lstzoom.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lstzoom.sources.catalog import Flag


def usable(
    codes: NDArray[np.floating], rejected: Sequence[Flag], known: Sequence[int] | None = None
) -> NDArray[np.bool_]:
    """Decode a mask layer.

    Parameters
    ----------
    codes
        Numbers as stored, any shape; NaN outside of the file.
    rejected
        Flags of pixels that are not used.
    known
        Numbers that mean something; others are not used. By default all do.

    Returns
    -------
    array of bool
        True where usable; never outside of the file.

    Examples
    --------
    >>> cloud = Flag(name="cloud", bit=3)
    >>> usable(np.array([0.0, 8.0, 12.0, 4.0, np.nan]), [cloud])
    array([ True, False, False,  True, False])
    """
    inside = np.isfinite(codes)
    numbers = np.where(inside, codes, 0).astype(np.int64)
    good = inside.copy()
    for flag in rejected:
        good &= part_of(numbers, flag) != flag.value
    if known is not None:
        good &= np.isin(numbers, list(known))
    return good


def part_of(numbers: NDArray[np.int64], flag: Flag) -> NDArray[np.int64]:
    """Bits of the numbers that a flag speaks of, as numbers of their own."""
    if flag.bit is None:
        return numbers
    return (numbers >> flag.bit) & ((1 << flag.bits) - 1)


def shrink(good: NDArray[np.bool_], pixels: float) -> NDArray[np.bool_]:
    """Take usable pixels away that lie within a distance of unusable ones.

    Parameters
    ----------
    good
        True where usable, dimensions (y, x).
    pixels
        Distance between pixel centres up to which a pixel is taken away.

    Returns
    -------
    array of bool
        A pixel depends on those within the distance alone, so a window with a margin of that size equals
        the same part of the whole.

    Examples
    --------
    >>> shrink(np.array([[True, True, True, False]]), 1).tolist()
    [[True, True, False, False]]
    """
    if pixels <= 0 or good.all():
        return good
    distance = ndimage.distance_transform_edt(good)
    return np.asarray(distance > pixels + 1e-9)

"""How far the edges of scenes can be seen in a mosaic: the radiometric step across them.

A step is the difference of two neighbouring pixels, one on either side of the border of a scene, towards the
inside. Steps are averaged over blocks of the grid, as the eye follows a line, and their root mean square is
compared to that of lines of the same shape that lie inside scenes. Where edges are not visible both are
alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from scipy.ndimage import binary_dilation

from lstzoom.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEGMENT: Final = 64
"""Side of the blocks in which steps are averaged, pixels."""
_CLEAR: Final = 3
_LEAST: Final = 0.5


class Steps(NamedTuple):
    """Radiometric steps, kelvin.

    Attributes
    ----------
    seams
        Root mean square of the mean steps across borders of scenes.
    inside
        The same on lines of the same shape inside.
    segments
        Number of means that the first is of.
    """

    seams: float
    inside: float
    segments: int

    @property
    def ratio(self) -> float:
        """Step at seams over step inside; about 1 where no edge can be seen."""
        return self.seams / self.inside


def radiometric_step(
    lst: NDArray[np.floating], valid: Sequence[NDArray[np.bool_]], *, away: int, segment: int = SEGMENT
) -> Steps:
    """Measure the step at the borders of scenes against the step inside.

    Parameters
    ----------
    lst
        The mosaic, kelvin, or its difference to a known truth; shape (y, x), NaN where missing.
    valid
        Where each scene has a value, bool of the same shape. Gaps have borders, too.
    away
        How far the lines to compare with are moved off the borders, pixels; further than the feather.
    segment
        Side of the blocks in which steps are averaged, pixels.

    Returns
    -------
    Steps

    Raises
    ------
    InputError
        If no border of a scene lies inside of the mosaic, or no line fits inside.
    """
    seams, inside = [], []
    border = _borders(valid)
    for axis in (0, 1):
        across = np.diff(lst.astype(np.float64), axis=axis)
        sign = np.zeros(across.shape, np.int8)
        for one in valid:
            turn = np.diff(one.astype(np.int8), axis=axis)
            sign = np.where(sign == 0, turn, sign)
        seams.append(_means(across, sign, segment))
        clear = ~binary_dilation(border, iterations=_CLEAR)
        clear = clear[:-1] if axis == 0 else clear[:, :-1]
        inside += [
            _means(across, np.where(clear, _moved(sign, axis, by), 0), segment) for by in (-away, away)
        ]
    found, compared = np.concatenate(seams), np.concatenate(inside)
    if not found.size or not compared.size:
        raise InputError(
            f"no border of {len(valid)} scenes can be compared with a line {away} pixels inside; give a "
            "mosaic of overlapping scenes, or a smaller distance"
        )
    return Steps(float(np.sqrt(np.mean(found**2))), float(np.sqrt(np.mean(compared**2))), int(found.size))


def _borders(valid: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    found = np.zeros(valid[0].shape, np.bool_) if valid else np.zeros((1, 1), np.bool_)
    for one in valid:
        found[:-1] |= one[:-1] != one[1:]
        found[:, :-1] |= one[:, :-1] != one[:, 1:]
    return found


def _moved(sign: NDArray[np.int8], axis: int, by: int) -> NDArray[np.int8]:
    out = np.zeros_like(sign)
    size = sign.shape[axis]
    if abs(by) < size:
        source = slice(max(-by, 0), size - max(by, 0))
        target = slice(max(by, 0), size - max(-by, 0))
        pick = (source, slice(None)) if axis == 0 else (slice(None), source)
        place = (target, slice(None)) if axis == 0 else (slice(None), target)
        out[place] = sign[pick]
    return out


def _means(across: NDArray[np.float64], sign: NDArray[np.int8], segment: int) -> NDArray[np.float64]:
    """Mean step of each block that a line runs through for at least half of its side."""
    row, column = np.nonzero((sign != 0) & np.isfinite(across))
    if not row.size:
        return np.zeros(0)
    width = across.shape[1] // segment + 1
    block = row // segment * width + column // segment
    step = across[row, column] * sign[row, column]
    count = np.bincount(block)
    total = np.bincount(block, weights=step)
    kept = count >= _LEAST * segment
    return np.asarray(total[kept] / count[kept])

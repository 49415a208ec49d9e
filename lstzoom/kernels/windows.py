"""The lattice of local windows, anchored to the origin of the coarse grid.

Window ``k`` along an axis is centred on coarse pixel edge ``k * stride``. It predicts `reach_of` pixels
to each side, three quarters of a stride, and is trained on ``extension`` pixels more. Where it is alone
its tent weight is one; from there it falls linearly to zero at the end of what the window predicts, so
that at every place the weights of the windows add up to one and no border of a window can be seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def reach_of(stride: int) -> int:
    """Coarse pixels that a window predicts to each side of its centre: more than half a stride.

    Neighbours share what lies beyond a quarter of a stride: a full overlap takes nearly twice the work and
    gains nothing.

    Examples
    --------
    >>> [reach_of(stride) for stride in (1, 2, 6, 16)]
    [1, 2, 5, 12]
    """
    return stride - stride // 4


@dataclass(frozen=True, slots=True)
class Span:
    """One window along one axis, in pixels of a block.

    Attributes
    ----------
    predict
        Coarse pixels that the window predicts, cut to what the block asks for.
    train
        Coarse pixels that it is trained on, cut to the block.
    centre
        Coarse pixel edge at its centre, relative to the block; may lie outside.
    """

    predict: slice
    train: slice
    centre: int


def spans(origin: int, size: int, core: slice, *, stride: int, extension: int) -> Iterator[Span]:
    """Windows that touch a core, along one axis.

    Parameters
    ----------
    origin
        Global index of the block's first coarse pixel.
    size
        Number of coarse pixels of the block.
    core
        Coarse pixels of the block to be predicted.
    stride, extension
        Of the lattice, in coarse pixels.

    Yields
    ------
    Span
        In ascending order.

    Examples
    --------
    >>> [span.centre for span in spans(0, 8, slice(0, 8), stride=4, extension=2)]
    [0, 4, 8]
    """
    reach = reach_of(stride)
    first = (origin + core.start - reach) // stride + 1
    last = -((-(origin + core.stop + reach)) // stride) - 1
    for k in range(first, last + 1):
        centre = k * stride - origin
        predict = slice(max(centre - reach, core.start), min(centre + reach, core.stop))
        if predict.start < predict.stop:
            train = slice(max(centre - reach - extension, 0), min(centre + reach + extension, size))
            yield Span(predict, train, centre)


def tent(span: Span, ratio: int, *, stride: int) -> NDArray[np.float32]:
    """Tent weights of a window along one axis, at `ratio` positions per coarse pixel.

    Parameters
    ----------
    span
        The window.
    ratio
        1 for weights of coarse pixels, the ratio of the grids for those of fine pixels.
    stride
        Of the lattice, in coarse pixels.

    Returns
    -------
    ndarray of float32, shape (ratio * number of predicted coarse pixels,)
        Between 0 and 1; over all windows they add up to 1.
    """
    # Counted from the centre in whole pixels, so that the last bit does not depend on the block.
    first, stop = ((edge - span.centre) * ratio for edge in (span.predict.start, span.predict.stop))
    reach = reach_of(stride)
    distance = np.abs(np.arange(first, stop) + 0.5)
    return np.minimum((reach * ratio - distance) / ((2 * reach - stride) * ratio), 1.0).astype(np.float32)


def halo(stride: int, extension: int, margin: int) -> int:
    """Coarse pixels that a core of any position needs around it.

    A pixel up to `margin` outside the core lies at most two reaches from the far end of a window that
    covers it, and the window is trained on `extension` more.
    """
    return margin + 2 * reach_of(stride) + extension

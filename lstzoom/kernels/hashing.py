"""Stateless pseudo-random numbers: a keyed hash of a coarse pixel's global index.

What is drawn for a pixel depends on the seed, the scene and the pixel's place on the coarse grid,
never on the chunk that holds it or on the order of work. The sample and the bags of the trees are
therefore the same for any chunking and any number of workers, and nothing has to be remembered:
whether a tree has seen a pixel is one bit of the pixel's hash.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lstzoom.kernels.compile import jit
from lstzoom.types import YX

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)

MAX_TREES = 64
"""Bags are bits of a 64-bit hash, so a forest has at most as many trees."""


@jit
def mix(value: np.uint64) -> np.uint64:
    """Finalise a 64-bit state (the finaliser of Steele, Lea & Flood 2014, SplitMix)."""
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    value = (value ^ (value >> np.uint64(27))) * _MIX_2
    return value ^ (value >> np.uint64(31))


@jit
def pixel_hash(seed: np.uint64, stream: np.uint64, y: int, x: int) -> np.uint64:
    """Hash one coarse pixel: 64 independent bits for each seed, stream and position."""
    state = mix(seed + _GOLDEN)
    state = mix(state ^ (stream * _MIX_1 + _GOLDEN))
    state = mix(state ^ (np.uint64(np.int64(y)) * _GOLDEN + np.uint64(1)))
    return mix(state ^ (np.uint64(np.int64(x)) * _MIX_2 + np.uint64(2)))


@jit
def _hash_block(
    seed: np.uint64, stream: np.uint64, y0: int, x0: int, height: int, width: int
) -> NDArray[np.uint64]:
    out = np.empty((height, width), np.uint64)
    for i in range(height):
        for j in range(width):
            out[i, j] = pixel_hash(seed, stream, y0 + i, x0 + j)
    return out


def hash_block(seed: int, stream: int, origin: YX, shape: tuple[int, int]) -> NDArray[np.uint64]:
    """Hash every coarse pixel of a block.

    Parameters
    ----------
    seed
        Seed of the run, 0 or more.
    stream
        Number that separates uses of the same pixel (the scene, the purpose).
    origin
        Global index of the block's first pixel on the coarse grid; may be negative in a halo.
    shape
        Rows and columns of the block.

    Returns
    -------
    ndarray of uint64, shape `shape`
        Uniform over all 64-bit numbers.

    Examples
    --------
    >>> whole = hash_block(0, 0, YX(0, 0), (4, 4))
    >>> bool((hash_block(0, 0, YX(2, 1), (2, 3)) == whole[2:, 1:]).all())
    True
    """
    block: NDArray[np.uint64] = _hash_block(
        np.uint64(seed), np.uint64(stream), int(origin.y), int(origin.x), shape[0], shape[1]
    )
    return block


def hash_cells(seed: int, stream: int, origin: YX, shape: tuple[int, int], side: int) -> NDArray[np.uint64]:
    """Hash square cells of the coarse grid: all pixels of a cell share their bits.

    Parameters
    ----------
    seed, stream, origin, shape
        As for `hash_block`.
    side
        Coarse pixels along each side of a cell; cells are anchored to the grid's origin.

    Returns
    -------
    ndarray of uint64, shape `shape`
    """
    rows = (origin.y + np.arange(shape[0])) // side
    columns = (origin.x + np.arange(shape[1])) // side
    if 0 in shape:
        return np.empty(shape, np.uint64)
    first = YX(int(rows[0]), int(columns[0]))
    counts = (int(rows[-1]) - first.y + 1, int(columns[-1]) - first.x + 1)
    return hash_block(seed, stream, first, counts)[np.ix_(rows - first.y, columns - first.x)]

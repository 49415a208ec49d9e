"""Training rows of one patch of the coarse grid, for both views."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from lstzoom.errors import UnitsError
from lstzoom.kernels.aggregate import area_mean, cell_statistics
from lstzoom.kernels.features import band_pairs, detail_features, level_features, normalised_difference
from lstzoom.kernels.hashing import hash_block, hash_cells
from lstzoom.kernels.homogeneity import coefficient_of_variation, sample_weight
from lstzoom.kernels.interpolate import REACH, block_mean, fill_gaps, interpolate
from lstzoom.kernels.trees import MOST_COLUMNS
from lstzoom.types import YX, FloatArray

BAG_STREAM = 0
"""Stream of the hashes that draw the bags of the level view. It is the same for all scenes, so that a
model may be applied to any scene, trained on or not, and still predict out of bag."""

LEVEL_STREAM = 1
DETAIL_STREAM = 2
CELL_STREAM = 3
STREAMS = 16

BAG_CELL = 4
"""Pixels (level view) or blocks (detail view) along each side of a cell that is in or out of a bag as a
whole. Neighbours share their field and what surrounds it, so that out of bag must mean out of sight, or
trees look more reliable than they are."""

STRATUM_KELVIN = 2.0
"""Width of the temperature classes from which the sample is stratified."""

POSSIBLE_KELVIN = (100.0, 2000.0)
"""No land surface is colder or hotter, lava included."""

_LIKELY_KELVIN = 150.0
"""Where most of a scene is colder, it is in Celsius or Fahrenheit."""

MAX_PAIRS = 3
"""Normalised differences that are used beside the bands."""

MOST_BANDS = (MOST_COLUMNS - 1) // 4 - MAX_PAIRS
"""More have more features of detail (`lstzoom.kernels.features.detail_count`) than trees can tell apart."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Training rows in any order; `lstzoom.sample` brings them into one.

    Attributes
    ----------
    key : ndarray of uint64, shape (n,)
        Hash by which the sample is drawn.
    stratum : ndarray of int32, shape (n,)
        Temperature class.
    bits : ndarray of uint64, shape (n,)
        Hash that draws the bags.
    features : ndarray of float32, shape (n, f)
    target : ndarray of float32, shape (n,)
        Kelvin: LST, or its detail.
    weight : ndarray of float32, shape (n,)
    """

    key: NDArray[np.uint64]
    stratum: NDArray[np.int32]
    bits: NDArray[np.uint64]
    features: NDArray[np.float32]
    target: NDArray[np.float32]
    weight: NDArray[np.float32]

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.key)

    def take(self, index: NDArray[np.generic] | slice) -> Rows:
        """Select rows."""
        return Rows(*(getattr(self, field.name)[index] for field in fields(self)))

    @staticmethod
    def concatenate(parts: Iterable[Rows]) -> Rows:
        """Join rows of the same number of features; there must be at least one part."""
        parts = list(parts)
        return Rows(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Rows)))


@dataclass(frozen=True, slots=True)
class CoarseBlock:
    """A block brought to the coarse grid.

    Attributes
    ----------
    mean : ndarray of float32, shape (band, h, w)
        Mean of the valid fine pixels, NaN without any.
    lst : ndarray of float32, shape (h, w)
        Kelvin, NaN where missing.
    trainable : ndarray of bool, shape (h, w)
        LST valid and every fine pixel of every band valid.
    weight : ndarray of float32, shape (h, w)
        Falls with heterogeneity; 0 where not trainable.
    whole, varies : ndarray of bool, shape (h, w)
        No fine pixel of any band is missing; some band varies inside the coarse pixel.
    """

    mean: NDArray[np.float32]
    lst: NDArray[np.float32]
    trainable: NDArray[np.bool_]
    weight: NDArray[np.float32]
    whole: NDArray[np.bool_]
    varies: NDArray[np.bool_]


def require_kelvin(lst: FloatArray) -> None:
    """Refuse temperatures that cannot be kelvin.

    Parameters
    ----------
    lst
        Any shape; what is not finite does not count.

    Raises
    ------
    UnitsError
        If more values are likely in Celsius or Fahrenheit than in kelvin, or if there are different values
        and none is possible. Fill values alone are no temperatures, and no reason.
    """
    finite = np.asarray(lst)[np.isfinite(lst)]
    low, high = POSSIBLE_KELVIN
    possible = int(((finite > low) & (finite < high)).sum())
    celsius = int(((finite > -120) & (finite <= _LIKELY_KELVIN) & (finite != 0)).sum())
    likely = int(((finite > _LIKELY_KELVIN) & (finite < high)).sum())
    if celsius > likely or (possible == 0 and finite.size and finite.min() < finite.max()):
        raise UnitsError(
            f"LST runs from {finite.min():.6g} to {finite.max():.6g} with a median of "
            f"{np.median(finite):.6g}, but kelvin are needed; add 273.15 to Celsius, apply the file's scale "
            "and offset, and set its nodata value to NaN"
        )


def mask_block(
    bands: NDArray[np.float32], lst: NDArray[np.float32], usable: NDArray[np.bool_] | None, ratio: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Treat as missing what the user masks and what cannot be a temperature.

    Parameters
    ----------
    bands
        float32, shape (band, h * ratio, w * ratio).
    lst
        float32, shape (h, w), kelvin.
    usable
        bool, shape (h * ratio, w * ratio), False where masked; None masks nothing.
    ratio
        Fine pixels per coarse pixel.

    Returns
    -------
    bands, lst
        NaN where masked. A coarse pixel goes only with all of its fine ones: what is left visible of
        it has no other temperature. LST outside of `POSSIBLE_KELVIN` is a fill value that nobody
        declared, such as -9999, 0 or 65535.

    Raises
    ------
    UnitsError
        As `require_kelvin` does.
    """
    if usable is not None and not usable.all():
        hidden = ~usable.reshape(lst.shape[0], ratio, lst.shape[1], ratio).any(axis=(1, 3))
        bands, lst = np.where(usable, bands, np.float32(np.nan)), np.where(hidden, np.float32(np.nan), lst)
    require_kelvin(lst)
    low, high = POSSIBLE_KELVIN
    return bands, np.where((lst > low) & (lst < high), lst, np.float32(np.nan))


def aggregate_block(bands: FloatArray, lst: FloatArray, ratio: int, *, cv_threshold: float) -> CoarseBlock:
    """Bring a block to the coarse grid and say which coarse pixels may train.

    Parameters
    ----------
    bands
        float32, shape (band, h * ratio, w * ratio), NaN where missing or masked.
    lst
        float32, shape (h, w), kelvin, NaN where missing.
    ratio
        Fine pixels per coarse pixel.
    cv_threshold
        CV up to which a coarse pixel has full weight.

    Returns
    -------
    CoarseBlock
    """
    cell = cell_statistics(bands, ratio)
    trainable = cell.whole & np.isfinite(lst)
    cv = coefficient_of_variation(cell.mean, cell.std)
    weight = np.where(trainable, sample_weight(cv, cv_threshold=cv_threshold), 0.0).astype(np.float32)
    return CoarseBlock(cell.mean, np.asarray(lst, np.float32), trainable, weight, cell.whole, cell.varies)


def stratum_of(lst: NDArray[np.float32]) -> NDArray[np.int32]:
    """Temperature class of each pixel; its limits are fixed, so it needs no look at the scene."""
    return np.asarray(np.floor(lst / STRATUM_KELVIN), np.int32)


def level_rows(
    block: CoarseBlock,
    pairs: tuple[tuple[int, int], ...],
    core: tuple[slice, slice],
    origin: YX,
    *,
    seed: int,
    scene: int,
) -> Rows:
    """Rows of the level view: one for each trainable coarse pixel of the core.

    Parameters
    ----------
    block
        The patch and its halo.
    pairs
        Normalised differences to use.
    core
        The patch inside the block.
    origin
        Global coarse index of the block's first pixel.
    seed, scene
        For the hashes.

    Returns
    -------
    Rows
    """
    chosen = np.zeros(block.trainable.shape, np.bool_)
    chosen[core] = block.trainable[core]
    levels = level_features(block.mean, pairs)
    shape = block.lst.shape
    return Rows(
        key=hash_block(seed, LEVEL_STREAM + STREAMS * scene, origin, shape)[chosen],
        stratum=stratum_of(block.lst[chosen]),
        bits=level_bits(seed, origin, shape)[chosen],
        features=np.ascontiguousarray(levels[:, chosen].T),
        target=block.lst[chosen],
        weight=block.weight[chosen],
    )


def level_bits(seed: int, origin: YX, shape: tuple[int, int]) -> NDArray[np.uint64]:
    """Hashes that draw the bags of the level view, for every coarse pixel of a block.

    Parameters
    ----------
    seed
        Of the run.
    origin
        Global coarse index of the block's first pixel.
    shape
        Of the block.

    Returns
    -------
    ndarray of uint64, shape `shape`
    """
    return hash_cells(seed, BAG_STREAM, origin, shape, BAG_CELL)


def detail_rows(
    block: CoarseBlock,
    pairs: tuple[tuple[int, int], ...],
    phases: Iterable[YX],
    core: tuple[slice, slice],
    origin: YX,
    ratio: int,
    *,
    seed: int,
    scene: int,
) -> Rows:
    """Rows of the detail view: the same task one scale up, where its answer is known.

    The coarse grid plays the fine one, blocks of ``ratio x ratio`` coarse pixels play the coarse one.
    Blocks may begin at any of ``ratio**2`` phases of the global grid; each phase gives other rows.

    Parameters
    ----------
    block
        The patch and its halo, on the coarse grid.
    pairs
        Normalised differences to use.
    phases
        Where blocks begin, each index between 0 and ``ratio - 1``.
    core
        The patch inside the block.
    origin
        Global coarse index of the block's first pixel.
    ratio
        Fine pixels per coarse pixel, and coarse pixels per block.
    seed, scene
        For the hashes.

    Returns
    -------
    Rows
    """
    # One scale up everything reaches `ratio` times as far: what is left at 0 must lie beyond.
    steps = REACH * ratio
    filled = np.stack([fill_gaps(plane, steps=steps) for plane in block.mean])
    levels, lst = level_features(filled, pairs), fill_gaps(block.lst, steps=steps)
    bits = hash_cells(seed, CELL_STREAM, origin, lst.shape, BAG_CELL * ratio)
    inside = np.zeros(lst.shape, np.bool_)
    inside[core] = True
    parts = []
    for phase in phases:
        cut = tuple(
            _whole_blocks(start, at, size, ratio)
            for start, at, size in zip(phase, origin, lst.shape, strict=True)
        )
        usable = area_mean(block.trainable[cut].astype(np.float32), ratio) == 1.0
        rough = block_mean(np.ascontiguousarray(lst[cut]), ratio)
        smooth = interpolate(rough, ratio)
        planes = detail_features(np.ascontiguousarray(levels[:, *cut]), rough, smooth, usable, ratio)
        chosen = inside[cut] & np.repeat(np.repeat(usable, ratio, 0), ratio, 1)
        stream = DETAIL_STREAM + STREAMS * scene + ((phase.y * ratio + phase.x + 1) << 20)
        parts.append(
            Rows(
                key=hash_block(seed, stream, origin, lst.shape)[cut][chosen],
                stratum=stratum_of(lst[cut][chosen]),
                bits=bits[cut][chosen],
                features=np.ascontiguousarray(planes[:, chosen].T),
                target=(lst[cut] - smooth)[chosen],
                weight=np.ones(int(chosen.sum()), np.float32),
            )
        )
    return Rows.concatenate(parts)


def _whole_blocks(phase: int, origin: int, size: int, ratio: int) -> slice:
    """Cut one axis so that whole blocks remain that begin at the phase of the global grid."""
    first = (phase - origin) % ratio
    return slice(first, first + max(0, (size - first) // ratio) * ratio)


def pair_sums(block: CoarseBlock, core: tuple[slice, slice]) -> NDArray[np.float64]:
    """Add up what the correlation of LST with each normalised difference follows from.

    Both are high-passed (value minus 3 x 3 mean), because what matters is detail.

    Parameters
    ----------
    block
        The patch and its halo.
    core
        The patch inside the block.

    Returns
    -------
    ndarray of float64, shape (pairs of bands, 2)
        Sums of ``t p`` and ``p p``; the pairs are those of `lstzoom.kernels.features.band_pairs`.
    """
    usable = np.zeros(block.trainable.shape, np.bool_)
    usable[core] = block.trainable[core]
    true = _high_pass(fill_gaps(block.lst))[usable].astype(np.float64)
    bands = [fill_gaps(plane) for plane in block.mean]
    pairs = band_pairs(len(bands))
    sums = np.zeros((len(pairs), 2))
    for k, (i, j) in enumerate(pairs):
        one = _high_pass(normalised_difference(bands[i], bands[j]))[usable].astype(np.float64)
        sums[k] = (true * one).sum(), (one * one).sum()
    return sums


def choose_pairs(sums: NDArray[np.float64], bands: int) -> tuple[tuple[int, int], ...]:
    """Choose the normalised differences that follow LST best.

    Parameters
    ----------
    sums
        Added up over patches, from `pair_sums`.
    bands
        Number of bands.

    Returns
    -------
    tuple of pairs of band indices
        At most `MAX_PAIRS`, in ascending order.
    """
    pairs = band_pairs(bands)
    if len(pairs) <= MAX_PAIRS:
        return tuple(pairs)
    explained = np.divide(sums[:, 0] ** 2, sums[:, 1], out=np.zeros(len(pairs)), where=sums[:, 1] > 0)
    best = np.argsort(-explained, kind="stable")[:MAX_PAIRS]
    return tuple(pairs[k] for k in sorted(best))


def _high_pass(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    padded = np.pad(plane, 1, mode="edge")
    ny, nx = plane.shape
    total = sum(padded[i : i + ny, j : j + nx] for i in range(3) for j in range(3))
    return np.asarray(plane - total / np.float32(9.0), np.float32)

"""The sample that trains the global model: bounded, stratified, and the same for any chunking.

Two steps, both by hashes of global indices. First, a scene larger than the budget is visited in
patches only; patches lie on a lattice anchored to the coarse grid, so the same ones are visited
whatever the chunks. Then, of all rows of those patches, the ones with the smallest keys are kept: the
smallest of all, and the smallest of every temperature class, so that rare hot and cold surfaces are
never left out. Keeping the smallest is associative, so parts can be merged in any order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstzoom.kernels.hashing import pixel_hash
from lstzoom.kernels.rows import Rows
from lstzoom.types import YX

_PATCH_STREAM = np.uint64(4)


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows kept so far and how many there were in each stratum.

    Attributes
    ----------
    rows : Rows
        In ascending order of their key.
    strata : ndarray of int32, shape (s,)
        Temperature classes met, ascending.
    counts : ndarray of int64, shape (s,)
        Rows met in each of them.
    """

    rows: Rows
    strata: NDArray[np.int32]
    counts: NDArray[np.int64]

    @staticmethod
    def of(rows: Rows, *, size: int, per_stratum: int) -> Sample:
        """Keep the sample of some rows.

        Parameters
        ----------
        rows
            Any rows.
        size
            Rows to keep over all.
        per_stratum
            Rows to keep in each temperature class at least, where it has them.

        Returns
        -------
        Sample
        """
        strata, counts = np.unique(rows.stratum, return_counts=True)
        kept = _smallest(rows, size=size, per_stratum=per_stratum)
        return Sample(kept, strata.astype(np.int32), counts.astype(np.int64))

    @staticmethod
    def merge(parts: Iterable[Sample], *, size: int, per_stratum: int) -> Sample:
        """Merge samples that were kept with the same limits.

        Parameters
        ----------
        parts
            At least one.
        size, per_stratum
            As for `Sample.of`.

        Returns
        -------
        Sample
            What `Sample.of` would have kept of all rows together.
        """
        parts = list(parts)
        if len(parts) == 1:
            return parts[0]
        rows = Rows.concatenate(part.rows for part in parts)
        strata, inverse = np.unique(np.concatenate([part.strata for part in parts]), return_inverse=True)
        counts = np.zeros(len(strata), np.int64)
        np.add.at(counts, inverse, np.concatenate([part.counts for part in parts]))
        return Sample(_smallest(rows, size=size, per_stratum=per_stratum), strata, counts)

    def weighted(self) -> Rows:
        """Rows with weights that undo the preference for rare temperature classes.

        Returns
        -------
        Rows
            Each row's weight times the rows that it stands for, of mean 1 over the sample.
        """
        if len(self.rows) == 0:
            return self.rows
        index = np.searchsorted(self.strata, self.rows.stratum)
        kept = np.bincount(index, minlength=len(self.strata))
        factor = self.counts[index] / kept[index]
        weight = (self.rows.weight * factor / factor.mean()).astype(np.float32)
        r = self.rows
        return Rows(r.key, r.stratum, r.bits, r.features, r.target, weight)


def _smallest(rows: Rows, *, size: int, per_stratum: int) -> Rows:
    """Rows with the smallest keys, over all and in each stratum, in ascending order of the key."""
    # Places are sorted, not rows: those are long, and only the ones that are kept are worth a copy.
    by_key = np.argsort(rows.key)
    if (np.diff(rows.key[by_key]) == 0).any():
        by_key = np.lexsort((rows.stratum, rows.key))
    stratum = rows.stratum[by_key]
    keep = np.zeros(len(rows), np.bool_)
    keep[:size] = True
    # A stable sort by stratum leaves the keys of each in ascending order.
    order = np.argsort(stratum, kind="stable")
    starts = np.flatnonzero(np.diff(stratum[order], prepend=stratum[order][:1] - 1))
    rank = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
    keep[order[rank < per_stratum]] = True
    return rows.take(by_key[keep])


@dataclass(frozen=True, slots=True)
class Patch:
    """A patch of the coarse grid to be visited.

    Attributes
    ----------
    rows, columns : slice
        Coarse pixels, cut to the scene.
    """

    rows: slice
    columns: slice


def choose_patches(shape: tuple[int, int], *, side: int, limit: int, seed: int, scene: int) -> list[Patch]:
    """Choose the patches of a scene that are visited.

    Parameters
    ----------
    shape
        Rows and columns of the coarse grid.
    side
        Of a patch, in coarse pixels.
    limit
        Most patches to visit.
    seed, scene
        For the hashes.

    Returns
    -------
    list of Patch
        All patches of a scene that has no more than `limit`, else those with the smallest hashes;
        in the order of their hashes.
    """
    counts = YX(-(-shape[0] // side), -(-shape[1] // side))
    stream = _PATCH_STREAM + np.uint64(16 * scene)
    keys = {
        YX(i, j): int(pixel_hash(np.uint64(seed), stream, i, j))
        for i in range(counts.y)
        for j in range(counts.x)
    }
    chosen = sorted(keys, key=keys.__getitem__)[:limit]
    return [
        Patch(*(slice(k * side, min((k + 1) * side, n)) for k, n in zip(p, shape, strict=True)))
        for p in chosen
    ]


def choose_phases(patch: int, ratio: int, *, count: int, seed: int, scene: int) -> list[YX]:
    """Choose the phases at which a patch cuts its blocks one scale up.

    Parameters
    ----------
    patch
        Number of the patch.
    ratio
        Fine pixels per coarse pixel; there are ``ratio**2`` phases.
    count
        Phases to choose.
    seed, scene
        For the hashes, which differ from patch to patch.

    Returns
    -------
    list of YX
        Distinct phases.
    """
    stream = _PATCH_STREAM + np.uint64(16 * scene + 1)
    every = [YX(i, j) for i in range(ratio) for j in range(ratio)]
    keys = [int(pixel_hash(np.uint64(seed), stream, patch, k)) for k in range(len(every))]
    order = sorted(range(len(every)), key=keys.__getitem__)
    return [every[k] for k in sorted(order[:count])]

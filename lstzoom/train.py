"""The global model of a scene: what all its blocks share, trained on a bounded sample of all of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import dask
import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lstzoom.config import SharpenConfig
from lstzoom.errors import EmptySampleError, InputError
from lstzoom.halo import Block, cut
from lstzoom.inputs import SceneArrays, prepare
from lstzoom.kernels.amplitude import correlation
from lstzoom.kernels.block import GlobalModel
from lstzoom.kernels.rows import (
    CoarseBlock,
    Rows,
    aggregate_block,
    choose_pairs,
    detail_rows,
    level_rows,
    pair_sums,
)
from lstzoom.kernels.trees import Forest, fit_forest, predict_out_of_bag
from lstzoom.sample import Patch, Sample, choose_patches, choose_phases
from lstzoom.types import YX

logger = logging.getLogger(__name__)

_PATCH_HALO = 4
"""Blocks, one scale up, around a patch: the reach of slopes and upsampling there."""

_PAIR_PATCHES = 8
"""Patches from which the normalised differences are chosen."""

_THINNING = 4
"""Rows of the detail view made per row kept, at most: no more phases than that takes."""


@dataclass(frozen=True, slots=True)
class SceneModel:
    """A trained global model and what it was trained on; arrays and numbers only.

    Attributes
    ----------
    model : GlobalModel
        Trees and amplitudes.
    bands : tuple of str
        Names of the bands, in the order that they must be given.
    ratio : int
        Fine pixels per coarse pixel.
    seed : int
        Seed of the bags.
    level_rows, detail_rows : int
        Sizes of the samples.
    """

    model: GlobalModel
    bands: tuple[str, ...]
    ratio: int
    seed: int
    level_rows: int
    detail_rows: int

    def check(self, scene: SceneArrays, config: SharpenConfig) -> None:
        """Refuse a scene that this model cannot be applied to.

        Raises
        ------
        InputError
            If number of bands, ratio or seed differ.
        """
        given = (len(scene.bands), scene.grids.ratio, config.seed)
        trained = (len(self.bands), self.ratio, self.seed)
        if given != trained:
            raise InputError(
                "the model does not fit the scene: bands, ratio and seed are "
                f"{given[0]} {list(scene.bands)}, {given[1]} and {given[2]}, but it was trained with "
                f"{trained[0]} {list(self.bands)}, {trained[1]} and {trained[2]}; give the same bands in the "
                "same order, the same ratio and SharpenConfig(seed=...)"
            )


@dataclass(frozen=True, slots=True)
class _Visit:
    """What it takes to turn a patch into rows."""

    patch: Patch
    number: int
    scene: int
    phases: int


def fit(
    scenes: Iterable[tuple[xr.DataArray, xr.DataArray] | tuple[xr.DataArray, xr.DataArray, xr.DataArray | None]],
    *,
    config: SharpenConfig | None = None,
) -> SceneModel:
    """Train the global model on one scene or several.

    Parameters
    ----------
    scenes
        Pairs ``(vnir, lst)`` or triples ``(vnir, lst, valid)`` as `lstzoom.sharpen` takes them, all with
        the same bands and ratio. The sample is drawn from all of them.
    config
        Settings.

    Returns
    -------
    SceneModel
        To be given to `lstzoom.sharpen` as `model`.

    Raises
    ------
    EmptySampleError
        If no coarse pixel of any scene is fully valid.
    InputError
        If the scenes do not have the same bands and ratio, or there is none.
    """
    config = config or SharpenConfig()
    prepared = [prepare(*scene) for scene in scenes]
    _require_alike(prepared)
    model: SceneModel = fit_lazily(prepared, config).compute()
    if model.level_rows == 0:
        raise EmptySampleError(
            f"no coarse pixel of the {len(prepared)} scene(s) has valid LST and only valid fine pixels in "
            "all bands; check nodata and masks, and leave out bands that are mostly missing"
        )
    return model


def fit_lazily(scenes: Sequence[SceneArrays], config: SharpenConfig) -> Any:  # noqa: ANN401  (dask's Delayed is untyped)
    """Train the global model of prepared scenes as a dask Delayed of a `SceneModel`.

    An empty sample gives a model without trees, with which LST is interpolated.
    """
    first = scenes[0]
    visits = _plan(scenes, config)
    blocks = {(v.scene, v.number): _coarse(scenes[v.scene], v, config) for v in visits}
    if len(first.bands) > 1:
        few = [blocks[v.scene, v.number] for v in visits if v.number < max(1, _PAIR_PATCHES // len(scenes))]
        pairs = dask.delayed(_pairs, pure=True)(few, len(first.bands))
    else:
        pairs = ()
    rows = dask.delayed(_patch_samples, pure=True)
    samples = [
        rows(blocks[v.scene, v.number], pairs, v, first.grids.ratio, config) for v in visits
    ]
    return dask.delayed(_train, pure=True)(samples, pairs, first.bands, first.grids.ratio, config)


def _require_alike(scenes: Sequence[SceneArrays]) -> None:
    if not scenes:
        raise InputError("fit was given no scene; give at least one pair (vnir, lst)")
    first = scenes[0]
    for number, scene in enumerate(scenes):
        same = (len(scene.bands), scene.grids.ratio) == (len(first.bands), first.grids.ratio)
        if not same:
            raise InputError(
                f"scene {number} has bands {list(scene.bands)} and ratio {scene.grids.ratio}, scene 0 has "
                f"{list(first.bands)} and {first.grids.ratio}; fit needs the same bands and ratio in all"
            )


def _plan(scenes: Sequence[SceneArrays], config: SharpenConfig) -> list[_Visit]:
    """Choose patches and phases, from shapes and hashes alone."""
    s = config.sample
    limit = max(1, s.max_patches // len(scenes))
    chosen = [
        choose_patches(scene.lst.shape, side=s.patch, limit=limit, seed=config.seed, scene=k)
        for k, scene in enumerate(scenes)
    ]
    pixels = sum((p.rows.stop - p.rows.start) * (p.columns.stop - p.columns.start) for c in chosen for p in c)
    ratio = scenes[0].grids.ratio
    phases = min(ratio**2, max(1, -(-_THINNING * s.details // pixels)))
    return [_Visit(p, n, k, phases) for k, c in enumerate(chosen) for n, p in enumerate(c)]


@dataclass(frozen=True, slots=True)
class _PatchBlock:
    """A patch on the coarse grid with its halo."""

    coarse: CoarseBlock
    core: tuple[slice, slice]
    origin: YX


def _coarse(scene: SceneArrays, visit: _Visit, config: SharpenConfig) -> Any:  # noqa: ANN401  (Delayed)
    """Read a patch and bring it to the coarse grid, lazily: the fine pixels are dropped at once."""
    ratio = scene.grids.ratio
    block = Block(visit.patch.rows, visit.patch.columns, _PATCH_HALO * ratio)
    inside = [
        tuple(slice(max(s.start, 0), min(s.stop, n)) for s, n in zip(block.span(k), shape, strict=True))
        for k, shape in ((1, scene.lst.shape), (ratio, scene.vnir.shape[-2:]))
    ]
    read = dask.delayed(_read_patch, pure=True)
    return read(
        _piece(scene.vnir, inside[1]), _piece(scene.lst, inside[0]),
        None if scene.usable is None else _piece(scene.usable, inside[1]),
        scene.lst.shape, block, ratio, config.cv_threshold,
    )  # fmt: skip


def _piece(array: da.Array | NDArray[Any], span: tuple[slice, ...]) -> da.Array | NDArray[Any]:
    return array[..., span[0], span[1]]


def _read_patch(
    bands: NDArray[np.float32],
    lst: NDArray[np.float32],
    usable: NDArray[np.bool_] | None,
    shape: tuple[int, int],
    block: Block,
    ratio: int,
    cv_threshold: float,
) -> _PatchBlock:
    fine_shape = (bands.shape[0], shape[0] * ratio, shape[1] * ratio)
    if usable is not None:
        bands = np.where(usable, bands, np.float32(np.nan))
    nan, single = np.float32(np.nan), np.dtype(np.float32)
    whole_bands = cut(lambda *_: bands, fine_shape, block.span(ratio), single, nan)
    whole_lst = cut(lambda *_: lst, shape, block.span(), single, nan)
    core = tuple(slice(block.halo, n - block.halo) for n in whole_lst.shape)
    coarse = aggregate_block(whole_bands, whole_lst, ratio, cv_threshold=cv_threshold)
    return _PatchBlock(coarse, (core[0], core[1]), block.origin)


def _pairs(patches: Sequence[_PatchBlock], bands: int) -> tuple[tuple[int, int], ...]:
    return choose_pairs(sum(pair_sums(p.coarse, p.core) for p in patches), bands)


def _patch_samples(
    patch: _PatchBlock, pairs: tuple[tuple[int, int], ...], visit: _Visit, ratio: int, config: SharpenConfig
) -> tuple[Sample, Sample]:
    """Sample of both views from one patch."""
    key = {"seed": config.seed, "scene": visit.scene}
    phases = choose_phases(visit.number, ratio, count=visit.phases, **key)
    levels = level_rows(patch.coarse, pairs, patch.core, patch.origin, **key)
    details = detail_rows(patch.coarse, pairs, phases, patch.core, patch.origin, ratio, **key)
    s = config.sample
    return (
        Sample.of(levels, size=s.levels, per_stratum=s.per_stratum),
        Sample.of(details, size=s.details, per_stratum=s.per_stratum),
    )


def _train(
    samples: Sequence[tuple[Sample, Sample]],
    pairs: tuple[tuple[int, int], ...],
    bands: tuple[str, ...],
    ratio: int,
    config: SharpenConfig,
) -> SceneModel:
    s = config.sample
    levels = Sample.merge((a for a, _ in samples), size=s.levels, per_stratum=s.per_stratum).weighted()
    details = Sample.merge((b for _, b in samples), size=s.details, per_stratum=s.per_stratum).weighted()
    level_forest = _forest(levels, config.level_trees.settings, config.seed)
    detail_forest = _forest(details, config.detail_trees.settings, config.seed)
    reliability = _reliability(detail_forest, details)
    mean = float(np.average(levels.target, weights=levels.weight)) if len(levels) else 273.15
    logger.info(
        "global model: %d level rows, %d detail rows, reliability of detail %.2f",
        len(levels), len(details), reliability,
    )  # fmt: skip
    model = GlobalModel(pairs, level_forest, detail_forest, reliability, mean)
    return SceneModel(model, bands, ratio, config.seed, len(levels), len(details))


def _forest(rows: Rows, settings: Any, seed: int) -> Forest | None:  # noqa: ANN401  (TreeSettings)
    if len(rows) < 2 * settings.min_leaf:
        return None
    return fit_forest(rows.features, rows.target, rows.weight, rows.bits, settings, seed=seed)


def _reliability(forest: Forest | None, rows: Rows) -> float:
    if forest is None:
        return 0.0
    predicted = predict_out_of_bag(forest, rows.features, rows.bits)
    known = np.isfinite(predicted)
    return correlation(rows.target[known], predicted[known])

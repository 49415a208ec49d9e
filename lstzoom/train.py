"""The global model of a scene: what all its blocks share, trained on a bounded sample of all of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lstzoom.config import SharpenConfig
from lstzoom.errors import EmptySampleError, InputError
from lstzoom.halo import Block, BlockTask, delay_blocks, run_block
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
    mask_block,
    pair_sums,
)
from lstzoom.kernels.trees import Forest, fit_forest, predict_out_of_bag
from lstzoom.sample import Patch, Sample, choose_patches, choose_phases
from lstzoom.types import YX

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger(__name__)

_PATCH_HALO = 4
"""Blocks, one scale up, around a patch: the reach of slopes and upsampling there."""

_PAIR_PATCHES = 8
"""Patches from which the normalised differences are chosen."""

_MAX_PHASES = 16
"""More ways to cut the same pixels into blocks add work and hardly anything new."""

_THINNING = 4
"""Rows of the detail view made per row kept, at most: no more phases than that takes."""


_MERGED = 8
"""Patches whose rows are held before they are merged."""


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
            If bands, their order, ratio or seed differ.
        """
        given = (scene.bands, scene.grids.ratio, config.seed)
        trained = (self.bands, self.ratio, self.seed)
        if given != trained:
            raise InputError(
                f"the model does not fit the scene: bands, ratio and seed are {list(given[0])}, {given[1]} "
                f"and {given[2]}, but it was trained with {list(trained[0])}, {trained[1]} and {trained[2]}; "
                "give bands of the same names in the same order, the same ratio and SharpenConfig(seed=...)"
            )


@dataclass(frozen=True, slots=True)
class _Visit:
    """What it takes to turn a patch into rows."""

    patch: Patch
    number: int
    scene: int
    phases: int


ScenePair: TypeAlias = (
    "tuple[xr.DataArray, xr.DataArray] | tuple[xr.DataArray, xr.DataArray, xr.DataArray | None]"
)
"""``(vnir, lst)`` or ``(vnir, lst, valid)``."""


def fit(
    scenes: Iterable[ScenePair],
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
    import xarray as xr  # noqa: PLC0415  (slow to import, and files do not need it)

    config = config or SharpenConfig()
    listed = list(scenes)
    if any(isinstance(scene, xr.DataArray) for scene in listed):
        raise InputError("fit takes a list of scenes: fit([(vnir, lst)]), not fit((vnir, lst))")
    prepared = [prepare(*scene) for scene in listed]
    _require_alike(prepared)
    trained = train(prepared, config)
    model: SceneModel = trained if isinstance(trained, SceneModel) else trained.compute()
    if model.level_rows == 0:
        raise EmptySampleError(
            f"no coarse pixel of the {len(prepared)} scene(s) has valid LST and only valid fine pixels in "
            "all bands; check nodata and masks, and leave out bands that are mostly missing"
        )
    return model


def train(scenes: Sequence[SceneArrays], config: SharpenConfig, *, threads: int = 1) -> Any:  # noqa: ANN401  (dask is untyped)
    """Train the global model of prepared scenes.

    Parameters
    ----------
    scenes
        At least one, all with the same bands and ratio.
    config
        Settings.
    threads
        Patches at a time in this process, of scenes that are not lazy.

    Returns
    -------
    SceneModel, or a dask Delayed of one if any scene is lazy
        An empty sample gives a model without trees, with which LST is interpolated.
    """
    first = scenes[0]
    lazy = any(scene.is_lazy for scene in scenes)
    call = _delayed if lazy else _now
    visits = _plan(scenes, config)
    patches = list(zip(visits, _read_patches(scenes, visits, config, threads), strict=True))
    few = max(1, _PAIR_PATCHES // len(scenes))
    pairs = call(partial(_pairs, bands=len(first.bands)), [p for visit, p in patches if visit.number < few])
    ratio = first.grids.ratio
    work = [
        (partial(_patch_samples, visit=visit, ratio=ratio, config=config), patch) for visit, patch in patches
    ]
    samples = (
        [call(function, patch, pairs) for function, patch in work]
        if lazy
        else _sample_now(work, pairs, config, threads)
    )
    return call(partial(_train, bands=first.bands, ratio=ratio, config=config), samples, pairs)


def _now(function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401
    return function(*arguments)


def _delayed(function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401
    # What is not lazy is bound to the function beforehand: dask would make tasks of its parts.
    import dask  # noqa: PLC0415  (slow to import, and files do not need it)

    return dask.delayed(function, pure=True, traverse=False)(*arguments)


def _require_alike(scenes: Sequence[SceneArrays]) -> None:
    if not scenes:
        raise InputError("fit was given no scene; give at least one pair (vnir, lst)")
    first = scenes[0]
    for number, scene in enumerate(scenes):
        same = (scene.bands, scene.grids.ratio) == (first.bands, first.grids.ratio)
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
    phases = min(ratio**2, _MAX_PHASES, max(1, -(-_THINNING * s.details // pixels)))
    return [_Visit(p, n, k, phases) for k, c in enumerate(chosen) for n, p in enumerate(c)]


@dataclass(frozen=True, slots=True)
class _PatchBlock:
    """A patch on the coarse grid with its halo."""

    coarse: CoarseBlock
    core: tuple[slice, slice]
    origin: YX


def _read_patches(
    scenes: Sequence[SceneArrays], visits: Sequence[_Visit], config: SharpenConfig, threads: int
) -> list[Any]:
    """Bring the patches to the coarse grid: their fine pixels are dropped in the task that reads them."""
    out: list[Any] = []
    for number, scene in enumerate(scenes):
        ratio = scene.grids.ratio
        mine = [_grown(v.patch, _PATCH_HALO * ratio, scene.lst.shape) for v in visits if v.scene == number]
        work = [
            (block, partial(_coarse_patch, core=core, ratio=ratio, cv_threshold=config.cv_threshold))
            for block, core in mine
        ]
        if scene.is_lazy:
            for block, task in work:
                out += delay_blocks(task, *scene.lazy(), None, [block], ratio=ratio)
        else:
            out += _read_now(scene, work, threads)
    return out


def _read_now(scene: SceneArrays, work: Sequence[tuple[Block, BlockTask]], threads: int) -> list[Any]:
    """Read patches from the top to the bottom, so that neighbours share what is decoded of a file."""

    def read(number: int) -> tuple[int, Any]:
        block, task = work[number]
        return number, run_block(task, scene.vnir, scene.lst, scene.usable, None, block, scene.grids.ratio)

    downwards = sorted(range(len(work)), key=lambda k: (work[k][0].rows.start, work[k][0].columns.start))
    with ThreadPoolExecutor(threads, thread_name_prefix="lstzoom-train") as pool:
        done = dict(pool.map(read, downwards))
    return [done[number] for number in range(len(work))]


def _sample_now(
    work: Sequence[tuple[Callable[..., tuple[Sample, Sample]], _PatchBlock]],
    pairs: tuple[tuple[int, int], ...],
    config: SharpenConfig,
    threads: int,
) -> list[tuple[Sample, Sample]]:
    """Sample patches and merge them some at a time, so that never all their rows are there."""
    kept: list[tuple[Sample, Sample]] = []
    with ThreadPoolExecutor(threads, thread_name_prefix="lstzoom-train") as pool:
        for start in range(0, len(work), _MERGED):
            some = work[start : start + _MERGED]
            kept = [_merge([*kept, *pool.map(lambda one: one[0](one[1], pairs), some)], config)]
    return kept


def _merge(samples: Sequence[tuple[Sample, Sample]], config: SharpenConfig) -> tuple[Sample, Sample]:
    s = config.sample
    return (
        Sample.merge((a for a, _ in samples), size=s.levels, per_stratum=s.per_stratum),
        Sample.merge((b for _, b in samples), size=s.details, per_stratum=s.per_stratum),
    )


def _grown(patch: Patch, halo: int, shape: tuple[int, int]) -> tuple[Block, tuple[slice, slice]]:
    """Grow a patch by a halo that ends where the scene does, and say where the patch lies in it.

    The halo grows with the square of the ratio in fine pixels; outside of the scene it would be nothing
    but memory.
    """
    rows, columns = (
        slice(max(s.start - halo, 0), min(s.stop + halo, n))
        for s, n in zip((patch.rows, patch.columns), shape, strict=True)
    )
    core = tuple(
        slice(s.start - whole.start, s.stop - whole.start)
        for s, whole in ((patch.rows, rows), (patch.columns, columns))
    )
    return Block(rows, columns, 0), (core[0], core[1])


def _coarse_patch(
    bands: NDArray[np.float32],
    lst: NDArray[np.float32],
    usable: NDArray[np.bool_] | None,
    origin: YX,
    _: object,
    *,
    core: tuple[slice, slice],
    ratio: int,
    cv_threshold: float,
) -> _PatchBlock:
    bands, lst = mask_block(bands, lst, usable, ratio)
    coarse = aggregate_block(bands, lst, ratio, cv_threshold=cv_threshold)
    return _PatchBlock(coarse, core, origin)


def _pairs(patches: Sequence[_PatchBlock], *, bands: int) -> tuple[tuple[int, int], ...]:
    return choose_pairs(np.sum([pair_sums(p.coarse, p.core) for p in patches], axis=0), bands)


def _patch_samples(
    patch: _PatchBlock,
    pairs: tuple[tuple[int, int], ...],
    *,
    visit: _Visit,
    ratio: int,
    config: SharpenConfig,
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
    *,
    bands: tuple[str, ...],
    ratio: int,
    config: SharpenConfig,
) -> SceneModel:
    levels, details = (sample.weighted() for sample in _merge(samples, config))
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

"""The global model of a scene: what all its blocks share, trained on a bounded sample of all of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial, reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

import lstzoom
from lstzoom import artefact
from lstzoom.config import SharpenConfig
from lstzoom.errors import ConfigError, EmptySampleError, InputError
from lstzoom.grid import pixel_metres
from lstzoom.halo import delayed, grown, is_lazy
from lstzoom.inputs import SceneArrays, prepare
from lstzoom.kernels import footprint
from lstzoom.kernels.amplitude import correlation
from lstzoom.kernels.block import GlobalModel
from lstzoom.kernels.features import filled_levels
from lstzoom.kernels.register import Shift
from lstzoom.kernels.rows import (
    Rows,
    aggregate_block,
    choose_pairs,
    detail_rows,
    level_rows,
    mask_block,
    pair_sums,
)
from lstzoom.kernels.trees import Forest, TreeSettings, fit_forest, predict_out_of_bag
from lstzoom.kernels.uncertainty import FadingSums, fading, fading_sums, fit_errors, unlearned
from lstzoom.registration import align, measure_scene, tell
from lstzoom.sample import Patch, Sample, choose_patches, choose_phases
from lstzoom.types import YX
from lstzoom.wording import counted

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger(__name__)

_PATCH_HALO = 4
"""Blocks, one scale up, around a patch: the reach of slopes and upsampling there."""

_SURVEY_PATCHES = 8
"""Patches from which the normalised differences and the footprint are learned, before all are sampled."""

_MAX_PHASES = 16
"""More ways to cut the same pixels into blocks add work and hardly anything new."""

_THINNING = 2
"""Rows of the detail view made per row kept, at most: no more phases than that takes."""

_MERGED = 32
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
    shifts : tuple of Shift or None
        How far the reflectance of each scene lay beside its LST, before it was aligned; None where that
        could not be measured.
    config : SharpenConfig or None
        Settings of the training.
    version : str
        Of the lstzoom that trained it.
    """

    model: GlobalModel
    bands: tuple[str, ...]
    ratio: int
    seed: int
    level_rows: int
    detail_rows: int
    shifts: tuple[Shift | None, ...] = ()
    config: SharpenConfig | None = None
    version: str = lstzoom.__version__

    @property
    def content_hash(self) -> str:
        """SHA-256 of all that the model is, also of its file: equal for equal models."""
        return str(artefact.describe(self.model, self._facts())["sha256"])

    def save(
        self,
        path: str | Path,
        *,
        overwrite: bool = False,
        created: datetime | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> str:
        """Write the model into a file: arrays and JSON, as docs/model.md describes.

        Parameters
        ----------
        path
            File, or a URL that fsspec knows. It appears when it is complete.
        overwrite
            Replace a file that exists.
        created
            When it was trained, to be noted; no date is made up. It is not part of the hash.
        storage_options
            For fsspec.

        Returns
        -------
        str
            `content_hash`.

        Raises
        ------
        InputError
            If the file exists or cannot be written, or the model is not one that `load_model` would take.
        """
        data, digest = self.to_bytes(created)
        artefact.put(path, data, overwrite=overwrite, storage_options=storage_options)
        return digest

    def to_bytes(self, created: datetime | None = None) -> tuple[bytes, str]:
        """Content of the file that `save` writes, and `content_hash`."""
        header = artefact.describe(self.model, self._facts(), created)
        return artefact.encode(self.model, header), str(header["sha256"])

    def _facts(self) -> dict[str, Any]:
        return {
            "bands": list(self.bands),
            "ratio": self.ratio,
            "seed": self.seed,
            "level_rows": self.level_rows,
            "detail_rows": self.detail_rows,
            "shifts": [None if shift is None else asdict(shift) for shift in self.shifts],
            "lstzoom": self.version,
            "config": None if self.config is None else self.config.of_training.model_dump(mode="json"),
        }

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


def load_model(path: str | Path, *, storage_options: Mapping[str, Any] | None = None) -> SceneModel:
    """Read a model that `SceneModel.save` wrote.

    Parameters
    ----------
    path
        File, or a URL that fsspec knows.
    storage_options
        For fsspec.

    Returns
    -------
    SceneModel
        Predicts what the saved one does, bit for bit.

    Raises
    ------
    InputError
        If the file cannot be read, is damaged, of another version, or anything else than such a model.
    MissingExtraError
        If the package for such URLs is not installed.
    """
    model, header = artefact.decode(artefact.get(path, storage_options), str(path))
    f = header.facts
    rows = (f.level_rows, f.detail_rows)
    return SceneModel(model, f.bands, f.ratio, f.seed, *rows, artefact.shifts_of(header), f.config, f.lstzoom)


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
    return fit_prepared([prepare(*scene) for scene in listed], config)


def fit_prepared(scenes: Sequence[SceneArrays], config: SharpenConfig, *, threads: int = 1) -> SceneModel:
    """Train the global model on scenes that are on their grids; as `fit`, which raises the same.

    Parameters
    ----------
    scenes
        Of files (`lstzoom.inputs.from_files`) or of arrays (`lstzoom.inputs.prepare`).
    config
        Settings.
    threads
        As for `train`.

    Returns
    -------
    SceneModel
    """
    _require_alike(scenes)
    aligned = [align(scene, config, threads) for scene in scenes]
    prepared = [scene for scene, _ in aligned]
    shifts = [shift for _, shift in aligned] if config.align else None
    trained = train(prepared, config, shifts, threads=threads)
    model: SceneModel = trained.compute() if is_lazy(trained) else trained
    for scene, shift in zip(prepared, model.shifts, strict=True):
        tell(shift, scene.grids.fine, moved=scene.moved is not None)
    if model.level_rows == 0:
        raise EmptySampleError(
            f"no coarse pixel of the {counted(len(prepared), 'scene')} has valid LST and only valid fine "
            "pixels in all bands; check nodata and masks, and leave out bands that are mostly missing"
        )
    return model


def train(
    scenes: Sequence[SceneArrays],
    config: SharpenConfig,
    shifts: Sequence[Shift | None] | None = None,
    *,
    threads: int = 1,
) -> Any:  # noqa: ANN401  (dask is untyped)
    """Train the global model of prepared scenes.

    Parameters
    ----------
    scenes
        At least one, all with the same bands and ratio.
    config
        Settings.
    shifts
        Of each scene, where they were measured before; by default they are measured.
    threads
        Patches at a time in this process, of scenes that are not lazy.

    Returns
    -------
    SceneModel, or a dask Delayed of one if any scene is lazy
        An empty sample gives a model without trees, with which LST is interpolated.
    """
    first, ratio = scenes[0], scenes[0].grids.ratio
    lazy = any(scene.is_lazy for scene in scenes)
    visits = _plan(scenes, config)
    few = max(1, _SURVEY_PATCHES // len(scenes))
    look = partial(_look, ratio=ratio, cv_threshold=config.cv_threshold)
    looks = _visit(look, scenes, [v for v in visits if v.number < few], None, threads)
    native = _native_footprint(config.native_resolution, first.grids.coarse)
    learn = partial(_survey, bands=len(first.bands), native=native, ratio=ratio, config=config)
    finish = partial(_train, bands=first.bands, ratio=ratio, config=config, threads=1 if lazy else threads)
    if lazy:
        learn, finish = delayed(learn), delayed(finish)
    survey, parts = learn(looks), []
    sample = partial(_samples, ratio=ratio, config=config, few=few)
    for start in range(0, len(visits), _MERGED):
        parts += _visit(sample, scenes, visits[start : start + _MERGED], survey, threads)
        parts = parts if lazy else [_merged(parts, config)]
    measured = [measure_scene(scene, config, threads) for scene in scenes] if shifts is None else list(shifts)
    return finish(parts, survey, measured)


def _native_footprint(native: float | None, coarse: GeoBox) -> float:
    """Width of the declared footprint in coarse pixels."""
    if native is None:
        return 0.0
    pixel = pixel_metres(coarse)
    width = footprint.footprint_of(native, pixel)
    if width > footprint.WIDEST:
        raise ConfigError(
            f"native_resolution is {native:g} m and a coarse pixel {pixel:g} m: such an image has no "
            f"detail of its own; aggregate the LST to at least {native / footprint.WIDEST_RATIO:.0f} m first"
        )
    return width


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
    visits = [_Visit(p, n, k, phases) for k, c in enumerate(chosen) for n, p in enumerate(c)]
    # From the top to the bottom, so that neighbours share what is decoded of a file.
    return sorted(visits, key=lambda v: (v.scene, v.patch.rows.start, v.patch.columns.start))


@dataclass(frozen=True, slots=True)
class _Survey:
    """What has to be known of a scene before rows can be made of it."""

    pairs: tuple[tuple[int, int], ...]
    footprint: float


def _visit(
    function: Callable[..., Any],
    scenes: Sequence[SceneArrays],
    visits: Sequence[_Visit],
    argument: Any,  # noqa: ANN401  (a value, or a dask Delayed)
    threads: int,
) -> list[Any]:
    """Run a function on patches with their halos; the fine pixels are dropped in the task that reads them."""
    out: list[Any] = []
    for number, scene in enumerate(scenes):
        # The halo grows with the square of the ratio in fine pixels.
        halo, work = _PATCH_HALO * scene.grids.ratio + footprint.REACH, []
        for visit in visits:
            if visit.scene == number:
                block, core = grown(visit.patch.rows, visit.patch.columns, halo, scene.lst.shape)
                work.append((block, partial(function, core=core, visit=visit)))
        out += scene.run(work, argument, threads)
    return out


def _look(
    bands: NDArray[np.float32],
    lst: NDArray[np.float32],
    usable: NDArray[np.bool_] | None,
    _origin: YX,
    _: object,
    *,
    core: tuple[slice, slice],
    visit: _Visit,  # noqa: ARG001  (the same call as `_samples`)
    ratio: int,
    cv_threshold: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum up over one patch what the survey needs."""
    bands, lst = mask_block(bands, lst, usable, ratio)
    coarse = aggregate_block(bands, lst, ratio, cv_threshold=cv_threshold)
    # What lies beyond the reach of the blur is of no account, and would only be blurred.
    near, inside = grown(*core, footprint.REACH + 1, lst.shape)
    rows, columns = (slice(s.start * ratio, s.stop * ratio) for s in (near.rows, near.columns))
    close = np.ascontiguousarray(bands[:, rows, columns])
    return pair_sums(coarse, core), footprint.agreement(close, lst[near.rows, near.columns], inside, ratio)


def _survey(
    looks: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    *,
    bands: int,
    native: float,
    ratio: int,
    config: SharpenConfig,
) -> _Survey:
    pairs, agreement = (np.sum(part, axis=0) for part in zip(*looks, strict=True))
    width = 0.0
    if config.method == "calibrated":
        width = max(footprint.best_width(agreement, ratio), native * ratio)
    return _Survey(choose_pairs(pairs, bands), width)


@dataclass(frozen=True, slots=True)
class _Part:
    """What patches add to the training: a sample of both views, and how detail fades, if measured."""

    levels: Sample
    details: Sample
    fading: FadingSums | None


def _samples(
    bands: NDArray[np.float32],
    lst: NDArray[np.float32],
    usable: NDArray[np.bool_] | None,
    origin: YX,
    survey: _Survey,
    *,
    core: tuple[slice, slice],
    visit: _Visit,
    few: int,
    ratio: int,
    config: SharpenConfig,
) -> _Part:
    bands, lst = mask_block(bands, lst, usable, ratio)
    bands = footprint.blur(bands, survey.footprint, ratio)
    coarse = aggregate_block(bands, lst, ratio, cv_threshold=config.cv_threshold)
    key = {"seed": config.seed, "scene": visit.scene}
    phases = choose_phases(visit.number, ratio, count=visit.phases, **key)
    levels = level_rows(coarse, survey.pairs, core, origin, **key)
    details = detail_rows(coarse, survey.pairs, phases, core, origin, ratio, **key)
    fades = None
    if visit.number < few:
        planes = filled_levels(bands, coarse.mean, coarse.whole, survey.pairs, ratio)
        fades = fading_sums(planes, coarse.lst, coarse.trainable, core, ratio)
    s = config.sample
    return _Part(
        Sample.of(levels, size=s.levels, per_stratum=s.per_stratum),
        Sample.of(details, size=s.details, per_stratum=s.per_stratum),
        fades,
    )


def _merged(parts: Sequence[_Part], config: SharpenConfig) -> _Part:
    s = config.sample
    fades = [part.fading for part in parts if part.fading is not None]
    return _Part(
        Sample.merge((p.levels for p in parts), size=s.levels, per_stratum=s.per_stratum),
        Sample.merge((p.details for p in parts), size=s.details, per_stratum=s.per_stratum),
        reduce(add, fades) if fades else None,
    )


def _train(
    parts: Sequence[_Part],
    survey: _Survey,
    shifts: Sequence[Shift | None],
    *,
    bands: tuple[str, ...],
    ratio: int,
    config: SharpenConfig,
    threads: int = 1,
) -> SceneModel:
    whole = _merged(parts, config)
    levels, details = whole.levels.weighted(), whole.details.weighted()
    level_forest = _forest(levels, config.level_trees.settings, config.seed, threads)
    detail_forest = _forest(details, config.detail_trees.settings, config.seed, threads)
    predicted = _out_of_bag(detail_forest, details)
    known = np.isfinite(predicted)
    reliability = correlation(details.target[known], predicted[known])
    assert whole.fading is not None  # noqa: S101  (the first patches of every scene are measured)
    errors = fit_errors(details, predicted, reliability, fading(whole.fading, details), seed=config.seed)
    if np.isnan(errors.constant):
        errors = replace(errors, constant=unlearned(whole.fading, levels))
        logger.info(
            "no detail could be learned of; uncertainty is the roughness of the coarse LST, %.2f K",
            errors.constant,
        )
    mean = float(np.average(levels.target, weights=levels.weight)) if len(levels) else 273.15
    logger.info(
        "global model: %d level rows, %d detail rows, reliability of detail %.2f, footprint %.2f fine pixels",
        len(levels), len(details), reliability, survey.footprint,
    )  # fmt: skip
    model = GlobalModel(
        survey.pairs, level_forest, detail_forest, reliability, mean, survey.footprint, errors
    )
    return SceneModel(model, bands, ratio, config.seed, len(levels), len(details), tuple(shifts), config)


def _out_of_bag(forest: Forest | None, rows: Rows) -> NDArray[np.float32]:
    if forest is None:
        return np.zeros(len(rows), np.float32)
    return predict_out_of_bag(forest, rows.features, rows.bits)


def _forest(rows: Rows, settings: TreeSettings, seed: int, threads: int) -> Forest | None:
    if len(rows) < 2 * settings.min_leaf:
        return None
    return fit_forest(
        rows.features, rows.target, rows.weight, rows.bits, settings, seed=seed, threads=threads
    )


# In steps, each of which may be made by another process


def plan_visits(scenes: Sequence[SceneArrays], config: SharpenConfig) -> list[list[_Visit]]:
    """Choose what is visited of scenes that train one model: patches of each, in their order.

    Raises
    ------
    InputError
        If the scenes do not have the same bands and ratio, or there is none.
    """
    _require_alike(scenes)
    visits = _plan(scenes, config)
    return [[visit for visit in visits if visit.scene == number] for number in range(len(scenes))]


def surveyed(visits: Sequence[_Visit], scenes: int) -> list[_Visit]:
    """Visits of one scene, of so many, from which the survey is made."""
    return [visit for visit in visits if visit.number < max(1, _SURVEY_PATCHES // scenes)]


def look_at(
    scene: SceneArrays, visits: Sequence[_Visit], config: SharpenConfig, threads: int = 1
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """First step: sum up over `surveyed` patches of one scene what the survey needs."""
    look = partial(_look, ratio=scene.grids.ratio, cv_threshold=config.cv_threshold)
    return _visit(look, _only(scene, visits), visits, None, threads)


def make_survey(
    looks: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    first: SceneArrays,
    config: SharpenConfig,
) -> _Survey:
    """Second step: learn from the looks of all scenes, in their order."""
    native = _native_footprint(config.native_resolution, first.grids.coarse)
    return _survey(looks, bands=len(first.bands), native=native, ratio=first.grids.ratio, config=config)


def sample_of(
    scene: SceneArrays,
    visits: Sequence[_Visit],
    survey: _Survey,
    config: SharpenConfig,
    *,
    scenes: int,
    threads: int = 1,
) -> tuple[Sample, Sample, list[FadingSums]]:
    """Third step: sample some patches of one scene, of so many; tell how detail fades in each."""
    few = max(1, _SURVEY_PATCHES // scenes)
    sample = partial(_samples, ratio=scene.grids.ratio, config=config, few=few)
    parts: list[_Part] = _visit(sample, _only(scene, visits), visits, survey, threads)
    merged = _merged(parts, config)
    return merged.levels, merged.details, [part.fading for part in parts if part.fading is not None]


def finish_training(
    parts: Sequence[tuple[Sample, Sample, Sequence[FadingSums]]],
    survey: _Survey,
    shifts: Sequence[Shift | None],
    *,
    bands: tuple[str, ...],
    ratio: int,
    config: SharpenConfig,
) -> SceneModel:
    """Last step: train on all samples, given in the order of the visits; as `train` does, bit for bit."""
    # Sums of fractions depend on their order: one after the other, as over all patches at once.
    fades = [one for part in parts for one in part[2]]
    first = _Part(parts[0][0], parts[0][1], reduce(add, fades))
    rest = [_Part(levels, details, None) for levels, details, _ in parts[1:]]
    return _train([first, *rest], survey, shifts, bands=bands, ratio=ratio, config=config)


def _only(scene: SceneArrays, visits: Sequence[_Visit]) -> list[SceneArrays]:
    """List of scenes in which the visits find theirs."""
    return [scene] * (visits[0].scene + 1 if visits else 1)

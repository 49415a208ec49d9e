"""First pass: the sample of every scene, and the models that are trained on it.

Three kinds of tasks. A look at a few patches of a scene gives what the survey needs, and how far reflectance
lies beside the LST. Groups of patches give rows. Then each model is trained by one task. All of them leave
what they made in the store, so that a run that was killed goes on; and the sums are made in the order of the
patches, so that the model is, bit for bit, the one that `lstzoom.sharpen` would train.
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lstzoom.config import SharpenConfig
from lstzoom.errors import JobError, StoreError
from lstzoom.inputs import SceneArrays
from lstzoom.jobs import layout
from lstzoom.jobs.plan import Scene
from lstzoom.jobs.store import Store, as_json
from lstzoom.kernels.register import Shift
from lstzoom.kernels.rows import Rows
from lstzoom.kernels.uncertainty import FadingSums
from lstzoom.registration import computed, measure_scene, move_for
from lstzoom.sample import Sample
from lstzoom.train import (
    finish_training,
    look_at,
    make_survey,
    plan_visits,
    sample_of,
    surveyed,
)

logger = logging.getLogger(__name__)

GROUP: Final = 8
"""Patches of one task: enough that tasks cost nothing, few enough that many workers share a scene."""

Look = tuple[list[tuple[NDArray[Any], NDArray[Any]]], Shift | None]
Visits = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class SampleWork:
    """What the tasks of one scene share.

    Attributes
    ----------
    store
        Where to.
    arrays
        The scene, not moved.
    config
        Settings.
    model
        Key of the model.
    number, scenes
        Place of the scene in it, and of how many.
    run
        Token of the run: what a process has read for another one is not taken for this one's.
    """

    store: Store
    arrays: SceneArrays
    config: SharpenConfig
    model: str
    number: int
    scenes: int
    run: str


@dataclass(frozen=True, slots=True)
class SampleTask:
    """Patches of a scene to look at (``group`` is None) or to take rows of.

    Attributes
    ----------
    scene, model
        Keys.
    number
        Place of the scene in the model.
    visits
        Patches.
    group
        Number of the group.
    """

    scene: str
    model: str
    number: int
    visits: Visits
    group: int | None = None

    @property
    def key(self) -> str:
        """Where its result is kept."""
        if self.group is None:
            return layout.look(self.model, self.number)
        return layout.rows(self.model, self.number, self.group)


@dataclass(frozen=True, slots=True)
class TrainTask:
    """A model to be trained.

    Attributes
    ----------
    model
        Key.
    scenes
        Keys of its scenes.
    groups
        Of each of them, how many.
    """

    model: str
    scenes: tuple[str, ...]
    groups: tuple[int, ...]


def sample_tasks(scenes: Sequence[Scene]) -> tuple[list[SampleTask], list[SampleTask], TrainTask]:
    """Cut the training of one model into tasks.

    Parameters
    ----------
    scenes
        All scenes that it is trained on, in their order.

    Returns
    -------
    looks, rows
        To be done one after the other; within each, in any order.
    train
        The last one.
    """
    visits = plan_visits([scene.arrays for scene in scenes], scenes[0].config)
    looks, rows, groups = [], [], []
    for scene, mine in zip(scenes, visits, strict=True):
        few = tuple(surveyed(mine, len(scenes)))
        looks.append(SampleTask(scene.key, scene.model, scene.number, few))
        parts = [tuple(mine[start : start + GROUP]) for start in range(0, len(mine), GROUP)]
        rows += [SampleTask(scene.key, scene.model, scene.number, p, k) for k, p in enumerate(parts)]
        groups.append(len(parts))
    return looks, rows, TrainTask(scenes[0].model, tuple(scene.key for scene in scenes), tuple(groups))


def sample_work(store: Store, scene: Scene, scenes: Sequence[Scene], run: str) -> SampleWork:
    """Describe what the tasks of a scene share."""
    return SampleWork(store, scene.arrays, scenes[0].config, scene.model, scene.number, len(scenes), run)


# On a worker


def sample(work: SampleWork, task: SampleTask) -> dict[str, Any]:
    """Look at patches or take their rows, and keep the result."""
    start = time.perf_counter()
    data = _encoded_look(work, task) if task.group is None else _encoded_rows(work, task)
    size = work.store.write(task.key, data)
    return {"bytes": size, "seconds": time.perf_counter() - start, "patches": len(task.visits)}


def _encoded_look(work: SampleWork, task: SampleTask) -> bytes:
    shift = computed(measure_scene(work.arrays, work.config))
    looks = look_at(_moved(work.arrays, work.config, shift), task.visits, work.config)
    told = np.zeros(0) if shift is None else np.array([shift.y, shift.x, shift.confidence])
    pairs, agreement = ([one[k] for one in looks] for k in (0, 1))
    return _packed(
        shift=told,
        **{f"pairs{k}": one for k, one in enumerate(pairs)},
        **{f"agreement{k}": one for k, one in enumerate(agreement)},
    )


def _moved(arrays: SceneArrays, config: SharpenConfig, shift: Shift | None) -> SceneArrays:
    move = move_for(shift) if config.align else None
    return arrays if move is None else arrays.remake(move=move)


def _encoded_rows(work: SampleWork, task: SampleTask) -> bytes:
    looks = _looks(work.store, work.model, work.scenes, work.run)
    survey = make_survey([one for part, _ in looks for one in part], work.arrays, work.config)
    arrays = _moved(work.arrays, work.config, looks[work.number][1])
    levels, details, fades = sample_of(arrays, task.visits, survey, work.config, scenes=work.scenes)
    return _packed(
        **_sample_arrays("levels", levels),
        **_sample_arrays("details", details),
        **{f"fading{k}.{f.name}": getattr(one, f.name) for k, one in enumerate(fades) for f in fields(one)},
    )


def train(work: SampleWork, task: TrainTask) -> dict[str, Any]:
    """Train a model on what is in the store, and keep it; return what is known of it."""
    start = time.perf_counter()
    looks = _looks(work.store, work.model, work.scenes, work.run)
    survey = make_survey([one for part, _ in looks for one in part], work.arrays, work.config)
    parts = [_rows(work.store, key) for key in _row_keys(task)]
    shifts = [shift for _, shift in looks]
    arrays = work.arrays
    trained = finish_training(
        parts, survey, shifts, bands=arrays.bands, ratio=arrays.grids.ratio, config=work.config
    )
    data, digest = trained.to_bytes()
    size = work.store.write(layout.model(task.model), data)
    record = {
        "sha256": digest,
        "bytes": size,
        "scenes": list(task.scenes),
        "level_rows": trained.level_rows,
        "detail_rows": trained.detail_rows,
        "reliability": trained.model.reliability,
        "footprint": trained.model.footprint,
        "shifts": [None if shift is None else asdict(shift) for shift in shifts],
        "seconds": time.perf_counter() - start,
    }
    work.store.write(layout.model_record(task.model), as_json(record, indent=1))
    return record


def _row_keys(task: TrainTask) -> Iterator[str]:
    for number, groups in enumerate(task.groups):
        for group in range(groups):
            yield layout.rows(task.model, number, group)


def move_of(record: Mapping[str, Any], scene: Scene) -> tuple[float, float] | None:
    """Fine pixels by which the reflectance of a scene is moved, as it was when its model was trained.

    Raises
    ------
    JobError
        If the scene is to be aligned and came after its model was trained.
    """
    if not scene.config.align:
        return None
    if scene.key not in record["scenes"]:
        raise JobError(
            f"{scene.item} came after its model {scene.model!r} was trained, so it was never measured how "
            "far its reflectance is out of place; take model.scope: scene, or method.align: false"
        )
    told = record["shifts"][record["scenes"].index(scene.key)]
    return None if told is None else move_for(Shift(**told))


# What is kept


@lru_cache(maxsize=2)
def _looks(store: Store, model: str, scenes: int, _run: str) -> tuple[Look, ...]:
    """Read the looks at all scenes of a model, once in a process that takes many groups."""
    return tuple(_look(store, layout.look(model, number)) for number in range(scenes))


def _look(store: Store, key: str) -> Look:
    found = _unpacked(store, key)
    told = found["shift"]
    shift = Shift(float(told[0]), float(told[1]), float(told[2])) if len(told) else None
    count = sum(name.startswith("pairs") for name in found)
    return [(found[f"pairs{k}"], found[f"agreement{k}"]) for k in range(count)], shift


def _rows(store: Store, key: str) -> tuple[Sample, Sample, list[FadingSums]]:
    found = _unpacked(store, key)
    count = sum(name.startswith("fading") and name.endswith(".fine") for name in found)
    fades = [
        FadingSums(**{f.name: found[f"fading{k}.{f.name}"] for f in fields(FadingSums)}) for k in range(count)
    ]
    return _sample(found, "levels"), _sample(found, "details"), fades


def _sample_arrays(name: str, one: Sample) -> dict[str, NDArray[Any]]:
    rows = {f"{name}.{f.name}": getattr(one.rows, f.name) for f in fields(Rows)}
    return {**rows, f"{name}.strata": one.strata, f"{name}.counts": one.counts}


def _sample(found: dict[str, NDArray[Any]], name: str) -> Sample:
    rows = Rows(**{f.name: found[f"{name}.{f.name}"] for f in fields(Rows)})
    return Sample(rows, found[f"{name}.strata"], found[f"{name}.counts"])


def _packed(**arrays: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _unpacked(store: Store, key: str) -> dict[str, NDArray[Any]]:
    data = store.read(key)
    if data is None:
        raise StoreError(f"{store.address(key)!r} is gone; run the same job again: it is made again")
    with np.load(io.BytesIO(data), allow_pickle=False) as found:
        return {name: found[name] for name in found.files}

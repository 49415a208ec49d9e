"""The two passes of a run: models from samples, then tiles."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

from lstzoom.errors import JobError
from lstzoom.jobs import layout
from lstzoom.jobs.driver import Outcome, drive
from lstzoom.jobs.finish import close_scene, describe_scene, scene_tags
from lstzoom.jobs.ledger import MODEL
from lstzoom.jobs.plan import Scene, Tile
from lstzoom.jobs.progress import Progress
from lstzoom.jobs.sampling import SampleTask, TrainTask, move_of, sample, sample_tasks, sample_work, train
from lstzoom.jobs.state import Run, stop_if_full
from lstzoom.jobs.tiles import TileWork, sharpen_tile

# First pass


def sample_pass(run: Run, scenes: Sequence[Scene], client: Any) -> None:  # noqa: ANN401  (distributed is untyped)
    """Train the models of scenes, as far as they are not there.

    Parameters
    ----------
    run
        Its `models` and `broken` are filled.
    scenes
        That are going to be sharpened.
    client
        Of the cluster.
    """
    wanted = {scene.model for scene in scenes}
    left = set(run.store.keys("sample"))
    missing: dict[str, list[Scene]] = {}
    for key in sorted(wanted):
        record = run.ledger.model(key)
        if record is None:
            missing[key] = run.plan.models[key]
            continue
        run.models[key] = record
        if any(one.startswith(f"{layout.sample(key)}/") for one in left):
            run.store.remove_all(layout.sample(key))
    steps = [sample_tasks(found) for found in missing.values()]
    looks = [task for some, _, _ in steps for task in some if task.key not in left]
    rows = [task for _, some, _ in steps for task in some if task.key not in left]
    progress = Progress("sample", len(looks) + len(rows) + len(steps))
    for function, tasks in ((sample, looks), (sample, rows), (train, [one for _, _, one in steps])):
        _sample_step(run, function, tasks, progress, client)
    if not run.broken:
        run.store.remove_all("sample")
    run.seconds["sample"] = progress.seconds


def _sample_step(
    run: Run,
    function: Callable[..., Any],
    tasks: Sequence[SampleTask | TrainTask],
    progress: Progress,
    client: Any,  # noqa: ANN401
) -> None:
    """Drive one kind of tasks, of the models that are not broken by then."""

    def given() -> Iterator[SampleTask | TrainTask]:
        for task in tasks:
            if task.model in run.broken:
                progress.total -= 1
            else:
                yield task

    def shared(key: Hashable) -> Any:  # noqa: ANN401  (whatever the function takes)
        scene = run.plan.scene(str(key))
        return sample_work(run.store, scene, run.plan.models[scene.model], run.id)

    def on_done(outcome: Outcome[SampleTask | TrainTask]) -> None:
        run.lease.check()
        if outcome.error is not None:
            stop_if_full(outcome.error)
            _fail_model(run, outcome)
        elif isinstance(outcome.task, TrainTask):
            _accept_model(run, outcome.task, outcome.result)
        progress.count(failed=outcome.error is not None)
        run.report(progress)

    run.count(
        drive(
            given(), function, client,
            name=function.__name__, on_done=on_done, shared=shared, uses=_scene_of, **run.drive_settings(),
        )
    )  # fmt: skip


def _scene_of(task: SampleTask | TrainTask) -> str:
    return task.scene if isinstance(task, SampleTask) else task.scenes[0]


def _fail_model(run: Run, outcome: Outcome[SampleTask | TrainTask]) -> None:
    """Note for every scene of a model that it could not be trained."""
    assert outcome.error is not None  # noqa: S101  (asked before)
    model, culprit = outcome.task.model, _scene_of(outcome.task)
    run.broken.add(model)
    for scene in run.plan.models[model]:
        if scene.key in run.complete:
            continue
        error: BaseException = outcome.error
        if scene.key != culprit:
            error = JobError(f"its model {model!r} could not be trained, because of {culprit}: {error}")
        run.fail(scene.key, MODEL, error, outcome.attempts)


def _accept_model(run: Run, task: TrainTask, record: Mapping[str, Any]) -> None:
    run.models[task.model] = dict(record)
    run.written += record["bytes"]
    run.store.remove_all(layout.sample(task.model))
    run.log.add("model", model=task.model, **record)
    if record["level_rows"] == 0:
        run.say(
            f"{task.model}: nothing could be learned, because no coarse pixel has valid LST and only valid "
            "reflectance; LST is interpolated where there is any"
        )
    for key in task.scenes:
        run.forgive(key, MODEL)


# Second pass


def sharpen_pass(run: Run, scenes: Sequence[Scene], client: Any) -> None:  # noqa: ANN401
    """Make the tiles of scenes whose model is there.

    Parameters
    ----------
    run
        What is done is counted in it.
    scenes
        In the order in which they come out.
    client
        Of the cluster.
    """
    trained = [scene for scene in scenes if scene.model in run.models]
    left = {scene.key: sum(1 for _ in run.pending(scene)) for scene in trained}
    progress = Progress("sharpen", sum(left.values()))

    def on_done(outcome: Outcome[Tile]) -> None:
        run.lease.check()
        tile, scene = outcome.task, run.plan.scene(outcome.task.scene)
        if outcome.error is not None:
            stop_if_full(outcome.error)
            run.fail(tile.scene, tile.name, outcome.error, outcome.attempts)
        else:
            _accept_tile(run, outcome)
        written = 0 if outcome.error is not None else sum(outcome.result["bytes"].values())
        progress.count(failed=outcome.error is not None, written=written)
        left[tile.scene] -= 1
        if not left[tile.scene]:
            close_scene(run, scene)
        run.report(progress)

    run.report(progress)
    run.count(
        drive(
            (tile for scene in trained for tile in run.pending(scene)), sharpen_tile, client,
            name="sharpen", on_done=on_done, shared=lambda key: tile_work(run, run.plan.scene(str(key))),
            uses=lambda tile: tile.scene, **run.drive_settings(),
        )
    )  # fmt: skip
    run.seconds["sharpen"] = progress.seconds


def _accept_tile(run: Run, outcome: Outcome[Tile]) -> None:
    tile, entry = outcome.task, outcome.result
    run.ready[tile.scene].add(tile.name)
    run.entries.setdefault(tile.scene, {})[tile.name] = entry
    run.done += 1
    run.written += sum(entry["bytes"].values())
    run.forgive(tile.scene, tile.name)
    run.log.add("tile", scene=tile.scene, attempts=outcome.attempts, **entry)


def tile_work(run: Run, scene: Scene) -> TileWork:
    """Describe what the tiles of a scene share."""
    record, wanted = run.models[scene.model], run.plan.job.outputs
    move = move_of(record, scene)
    return TileWork(
        store=run.store, scene=scene.key,
        arrays=scene.arrays if move is None else scene.arrays.remake(move=move),
        uncertainty=scene.uncertainty, config=scene.config, layers=run.plan.layers,
        model=scene.model, digest=record["sha256"],
        cube=scene.cube if wanted.zarr else None, time_index=run.places.get(scene.key, 0),
        encoding=wanted.encoding, cog=wanted.cog, stac=wanted.stac and not wanted.scene_items,
        tags=scene_tags(run, scene),
        described=describe_scene(run, scene),
    )  # fmt: skip

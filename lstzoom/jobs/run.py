"""A job from plan to results: what is done already is not done again, and what fails is told by name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import lstzoom
from lstzoom.clusters import connect
from lstzoom.cube import CubeSpec, create
from lstzoom.encoding import ENCODINGS
from lstzoom.errors import ClusterError, JobError, LstzoomError, NothingFoundError, StoreError
from lstzoom.jobs import layout
from lstzoom.jobs.cubes import finish_cubes, reopen_cubes, unfinished_cubes
from lstzoom.jobs.finish import close_scene, nothing_found, summarise, write_collection
from lstzoom.jobs.frozen import freeze
from lstzoom.jobs.lease import leased
from lstzoom.jobs.passes import sample_pass, sharpen_pass
from lstzoom.jobs.places import describe_places
from lstzoom.jobs.plan import Scene, make_plan
from lstzoom.jobs.progress import Progress, Report
from lstzoom.jobs.state import Finisher, Options, Run
from lstzoom.jobs.store import as_json, store_at, told
from lstzoom.jobs.whole import join_scenes, unjoined
from lstzoom.sources.job import Job
from lstzoom.wording import counted

logger = logging.getLogger(__name__)

_SHOWN: Final = 20


def _silent(_told: Progress | str) -> None:
    return


def run_job(
    job: Job,
    options: Options | None = None,
    *,
    report: Report = _silent,
    say: Callable[[str], None] = _silent,
) -> dict[str, Any]:
    """Run a job, or go on with it.

    Parameters
    ----------
    job
        From `lstzoom.sources.job.read_job`.
    options
        How it is run this time.
    report
        Told about the progress.
    say
        Told, in sentences, what happens.

    Returns
    -------
    dict
        Summary, also kept in the store as ``summary.json``: ``state`` is ``"done"``, ``"nothing new"``,
        ``"failed"`` (something failed for good, the rest is there), ``"stopped"`` (cluster or store were
        lost) or ``"interrupted"``; with the ``exit_code`` that goes with it.

    Raises
    ------
    InputError, ConfigError
        If nothing can be processed.
    JobChangedError
        If the store holds results of another job: what is different, and what to do.
    StoreBusyError
        If another run holds the store.

    Notes
    -----
    Results do not depend on the cluster, on the order of tiles, on how often the run was interrupted, or on
    what failed meanwhile.
    """
    options = options or Options()
    store = store_at(job.outputs.folder if options.into is None else options.into)
    try:
        plan = make_plan(job)
    except NothingFoundError as error:
        if not options.since_last:
            raise
        # A schedule may begin before there are data.
        return nothing_found(store, str(error))
    with leased(store, job.run.lease_s) as lease:
        frozen = freeze(store, plan, options)
        store.sweep()
        store.write(layout.JOB, as_json(frozen, indent=1))
        if options.only_failed:
            # What is new did not fail.
            plan = plan.only(frozen["inputs"])
        store.write(layout.PLACES, as_json(describe_places(plan, store, frozen["inputs"]), indent=1))
        run = Run(plan, store, options, lease, report, say)
        try:
            return _told(run, frozen)
        finally:
            run.log.close()
            if job.cluster.kind == "local":
                # Its workers are gone; others may still be at a tile that nobody waits for.
                store.sweep()


def _told(run: Run, frozen: Mapping[str, Any]) -> dict[str, Any]:
    """Work, and tell how it ended, whatever happened."""
    state, why = "stopped", ""
    try:
        state = _work(run)
        why = run.why
    except KeyboardInterrupt:
        state = "interrupted"
    except (ClusterError, StoreError, JobError) as error:
        why = str(error)
    try:
        run.recount()
    except StoreError as error:
        logger.warning("what is done cannot be counted: %s", error)
    summary = summarise(run, frozen, state, why)
    run.log.add("end", state=state, why=why, exit_code=summary["exit_code"])
    try:
        run.store.write(layout.SUMMARY, as_json(summary, indent=1))
    except LstzoomError as error:
        logger.warning("the summary cannot be written: %s", error)
    return summary


def _work(run: Run) -> str:
    """Do what is to be done, and name the state in which it ended."""
    run.take_stock()
    run.log.add(
        "begin", run=run.id, scenes=len(run.plan.scenes), tiles=run.plan.tile_count, before=run.before
    )
    for scene in run.unfinished:
        # All tiles but no record: the run before was killed just then.
        close_scene(run, scene)
    reopen_cubes(run)
    todo = [scene for scene in run.unfinished if any(True for _ in run.pending(scene))]
    finisher = run.options.finisher
    # First, because it refuses what cannot be made.
    due = finisher is not None and finisher.is_due(run)
    made = bool(due or unfinished_cubes(run) or unjoined(run))
    if todo or made:
        if todo:
            _say_begin(run, todo)
        _make_cubes(run)
        with _cluster(run) as client:
            if todo:
                sample_pass(run, todo, client)
                sharpen_pass(run, todo, client)
            join_scenes(run, client)
            finish_cubes(run, client)
            if finisher is not None:
                _finish(run, finisher, client)
    write_collection(run)
    if run.failed or run.why:
        return "failed"
    return "done" if todo or made else "nothing new"


def _finish(run: Run, finisher: Finisher, client: Any) -> None:  # noqa: ANN401  (distributed is untyped)
    """Have the rest made of the complete scenes; that it failed does not take back the tiles."""
    try:
        finisher.make(run, client)
    except JobError as error:
        run.why = str(error)
        run.log.add("failed", scene="", what="mosaic", error=run.why, kind=type(error).__name__, attempts=1)


def _say_begin(run: Run, todo: list[Scene]) -> None:
    tiles = sum(1 for scene in todo for _ in run.pending(scene))
    before = f", {run.before} done already" if run.before else ""
    run.say(
        f"{counted(len(todo), 'scene')}, {counted(tiles, 'tile')} to do{before}; "
        f"results go to {run.store.url}"
    )
    for one in run.plan.left_out[:_SHOWN]:
        run.say(f"not processed: {one}")
    if len(run.plan.left_out) > _SHOWN:
        run.say(f"not processed: and {len(run.plan.left_out) - _SHOWN} more; `lstzoom plan` lists all")


def _make_cubes(run: Run) -> None:
    """Make the cubes, and room in them for the dates of all scenes."""
    plan = run.plan
    if not plan.job.outputs.zarr:
        return
    attrs = {
        "title": "Land surface temperature sharpened with reflectance",
        "source": f"lstzoom {lstzoom.__version__}", "license": plan.catalog.source.licence,
        "lstzoom_method": plan.job.method.method,
    }  # fmt: skip
    for key, scenes in plan.cubes.items():
        grids = scenes[0].arrays.grids
        spec = CubeSpec(
            grids.fine, shard=scenes[0].tile * grids.ratio, encoding=ENCODINGS[plan.job.outputs.encoding],
            variables=plan.layers,
        )  # fmt: skip
        url = run.store.address(layout.cube(key))
        with told(f"cannot make the cube {url!r}"):
            places = create(url, spec, [scene.when for scene in scenes], attrs, exist_ok=True)
        run.places |= {scene.key: place for scene, place in zip(scenes, places, strict=True)}


@contextmanager
def _cluster(run: Run) -> Iterator[Any]:
    with ExitStack() as stack:
        client = stack.enter_context(connect(run.plan.job.cluster))
        if client.dashboard_link:
            run.say(f"dashboard: {client.dashboard_link}")
        if run.options.performance is not None:
            from distributed import performance_report  # noqa: PLC0415  (slow to import)

            stack.enter_context(client.as_current())
            stack.enter_context(performance_report(filename=str(run.options.performance)))
        yield client

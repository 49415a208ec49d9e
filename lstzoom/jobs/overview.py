"""Plans and states in figures and in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from lstzoom.jobs.estimate import estimate
from lstzoom.jobs.frozen import read_frozen
from lstzoom.jobs.ledger import Ledger
from lstzoom.jobs.plan import Plan
from lstzoom.jobs.progress import duration, size
from lstzoom.jobs.store import store_at
from lstzoom.wording import counted

_SHOWN: Final = 20


def overview(
    plan: Plan, into: str | None, workers: Sequence[int], mosaics: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Say in figures what a plan comes to.

    Parameters
    ----------
    plan
        From `lstzoom.jobs.plan.make_plan`.
    into
        Address of the store, in place of the job's own.
    workers
        Numbers of workers to estimate the time for.
    mosaics
        What is made of the scenes afterwards (`lstzoom.mosaics.after.planned`).

    Returns
    -------
    dict
        ``store``, ``asked``, ``scenes`` (list), ``left_out`` (list), ``tiles``, ``models``, ``cubes``,
        ``tasks``, ``pixels``, ``read_bytes``, ``write_bytes``, ``worker_bytes``,
        ``worker_has`` (what the job gives; None: not said), ``cpu_s``, ``wall_s`` by
        number of workers, ``rates`` (``"measured here"`` or ``"of the benchmark"``), ``tiles_done``, and
        ``mosaics``; tasks and time are with them.
    """
    store = store_at(into or plan.job.outputs.folder)
    complete, done = {}, 0
    if read_frozen(store) is not None:
        ledger = Ledger(store)
        complete = ledger.complete()
        done = sum(
            complete[scene.key]["tiles"] if scene.key in complete else len(ledger.done(scene.key))
            for scene in plan.scenes
        )
    found = estimate(plan, list(complete.values()))
    further = sum(one["cpu_s"] for one in mosaics)
    found = replace(
        found, cpu_s=found.cpu_s + further, tasks=found.tasks + sum(one["tiles"] for one in mosaics)
    )
    return {
        "store": store.url, "asked": plan.asked, "tiles_done": done,
        "scenes": [
            {
                "scene": scene.key, "lst": scene.item, "vnir": list(scene.vnir),
                "datetime": scene.when.isoformat(), "tiles": scene.tile_count,
                "shape": list(scene.arrays.grids.fine.shape), "crs": str(scene.arrays.grids.fine.crs),
                "cube": scene.cube, "model": scene.model,
                "complete": scene.key in complete,
            }
            for scene in plan.scenes
        ],
        "left_out": [{"name": one.name, "reason": one.reason} for one in plan.left_out],
        "tiles": found.tiles, "models": found.models, "cubes": len(plan.cubes), "tasks": found.tasks,
        "pixels": found.pixels, "read_bytes": round(found.read_bytes),
        "write_bytes": round(found.write_bytes), "worker_bytes": round(found.worker_bytes),
        "cpu_s": round(found.cpu_s, 1), "wall_s": {str(n): round(found.wall_s(n), 1) for n in workers},
        "worker_has": plan.job.cluster.worker_bytes,
        "rates": "measured here" if found.measured else "of the benchmark", "mosaics": list(mosaics),
    }  # fmt: skip


def overview_lines(told: Mapping[str, Any]) -> Iterator[str]:
    """Say it for people."""
    yield f"searched: {told['asked']}"
    wide = max((len(one["scene"]) for one in told["scenes"]), default=5)
    yield f"{'scene':<{wide}}  {'time (UTC)':<16}  {'pixels':>13}  {'tiles':>5}  {'reflectance'}"
    for one in told["scenes"][:_SHOWN]:
        shape, vnir = " x ".join(map(str, one["shape"])), " + ".join(one["vnir"]) or "-"
        yield (
            f"{one['scene']:<{wide}}  {one['datetime'][:16]}  {shape:>13}  {one['tiles']:>5}  {vnir}"
            f"{'  (complete)' if one['complete'] else ''}"
        )
    if len(told["scenes"]) > _SHOWN:
        yield f"and {len(told['scenes']) - _SHOWN} more (--json lists all)"
    for one in told["left_out"][:_SHOWN]:
        yield f"not processed: {one['name']}: {one['reason']}"
    if len(told["left_out"]) > _SHOWN:
        yield f"not processed: {len(told['left_out']) - _SHOWN} more (--json lists all)"
    done = f", {told['tiles_done']} of them done" if told["tiles_done"] else ""
    yield (
        f"{counted(len(told['scenes']), 'scene')}, {counted(told['tiles'], 'tile')}{done}, "
        f"{counted(told['models'], 'model')}, {counted(told['cubes'], 'cube')}, "
        f"{counted(told['tasks'], 'task')}, {told['pixels'] / 1e6:.4g} million pixels"
    )
    yield (
        f"reads {size(told['read_bytes'])} (decoded), writes about {size(told['write_bytes'])}, into "
        f"{told['store']}"
    )
    yield f"a worker with one thread needs {size(told['worker_bytes'])} of memory"
    if told["worker_has"] is not None and told["worker_has"] < told["worker_bytes"]:
        yield (
            f"cluster.memory is {size(told['worker_has'])}: give each worker more, or make grid.tile smaller"
        )
    for one in told["mosaics"]:
        rows, columns = one["shape"]
        yield (
            f"mosaic ({one['rule']}): {one['crs']}, {rows} x {columns} pixels, "
            f"{counted(one['tiles'], 'tile')}, {counted(one['times'], 'time')}, "
            f"{one['scenes_per_tile']} scenes in a tile, {duration(one['cpu_s'])} of one core"
        )
    walls = ", ".join(f"{counted(int(n), 'worker')} {duration(s)}" for n, s in told["wall_s"].items())
    yield f"{duration(told['cpu_s'])} of one core (rates {told['rates']}): {walls}"


def status_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Say for people what `lstzoom.jobs.status.status_of` found."""
    scenes, tiles = found["scenes"], found["tiles"]["done"]
    yield (
        f"{found['store']}: {scenes['complete']} of {counted(scenes['all'], 'scene')} complete, "
        f"{counted(tiles, 'tile')}"
    )
    for key, count in list(found["incomplete"].items())[:_SHOWN]:
        yield f"incomplete: {key}, {counted(count, 'tile')} done"
    for one in found["failed"][:_SHOWN]:
        what = f"{one['scene']} {one['what']}"
        yield f"failed: {what} ({counted(one['attempts'], 'attempt')}, {one['at']}): {one['error']}"
    held, last = found["held"], found["last"]
    if held is not None:
        what = "was held, and is free again" if held["expired"] else "held"
        yield f"{what}: by {held['who']}"
    if last is not None:
        yield f"last run: {last['state']} at {last['ended']} (exit code {last['exit_code']})"
    elif held is None:
        yield "no run has ended yet"

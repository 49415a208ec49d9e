"""What a cube has beside its tiles, made when scenes are complete: coarser levels and statistics.

Levels are made of complete scenes only, and values of a complete scene do not change; so what is there of a
level is right, and a run that was interrupted here goes on with what is missing. A mark in the store names
the scenes that were in the cube when it was finished last.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from lstzoom.cube import build_pyramid, finalise
from lstzoom.jobs import layout
from lstzoom.jobs.driver import mapped
from lstzoom.jobs.plan import Scene
from lstzoom.jobs.state import Run
from lstzoom.jobs.store import as_json, told


def unfinished_cubes(run: Run) -> dict[str, list[Scene]]:
    """Complete scenes that are in a cube and not yet in its levels and statistics, by key of the cube."""
    if not run.plan.job.outputs.zarr:
        return {}
    found = {}
    for key, scenes in run.plan.cubes.items():
        finished = _finished(run, key)
        new = [scene for scene in scenes if scene.key in run.complete and scene.key not in finished]
        if new:
            found[key] = new
    return found


def reopen_cubes(run: Run) -> None:
    """Take scenes that are not complete from the marks: their figures go with the first tile written."""
    again = {scene.key for scene in run.unfinished}
    for key in run.plan.cubes if run.plan.job.outputs.zarr else ():
        finished = _finished(run, key)
        if finished & again:
            _mark(run, key, finished - again)


def finish_cubes(run: Run, client: Any) -> None:  # noqa: ANN401  (distributed is untyped)
    """Make levels and statistics of the cubes that got complete scenes.

    Parameters
    ----------
    run
        Its `places` are known.
    client
        Of the cluster.

    Raises
    ------
    StoreError
        If a cube cannot be read or written. Its tiles are there, and the next run goes on.
    """
    for key, scenes in unfinished_cubes(run).items():
        run.say(f"coarser levels and statistics of the cube {key}")
        _finish(run, key, scenes, client)


def _finish(run: Run, key: str, scenes: Sequence[Scene], client: Any) -> None:  # noqa: ANN401
    apply = mapped(
        client, name="finish", on_done=lambda _: run.lease.check(), on_tally=run.count, **run.drive_settings()
    )
    url = run.store.address(layout.cube(key))
    with told(f"cannot make levels and statistics of the cube {url!r}"):
        # An odd side cannot be halved; the cube is whole without levels.
        if scenes[0].tile * scenes[0].arrays.grids.ratio % 2 == 0:
            build_pyramid(url, times=sorted(run.places[scene.key] for scene in scenes), apply=apply)
        else:
            run.say("no coarser levels: shards have an odd side (grid.tile); an even one has them")
        finalise(url, apply=apply)
    names = _finished(run, key) | {scene.key for scene in scenes}
    _mark(run, key, names)
    run.log.add("cube", cube=key, scenes=len(names))


def _mark(run: Run, key: str, scenes: Collection[str]) -> None:
    run.store.write(layout.finished(key), as_json({"scenes": sorted(scenes)}, indent=1))


def _finished(run: Run, key: str) -> set[str]:
    data = run.store.read(layout.finished(key))
    try:
        return set() if data is None else set(json.loads(data)["scenes"])
    except (ValueError, KeyError, TypeError, RecursionError):
        # Made again: that costs time and changes nothing.
        return set()

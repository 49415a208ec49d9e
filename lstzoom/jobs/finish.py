"""What follows the tiles: records of scenes that are complete, items and collection, the summary."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from affine import Affine
from odc.geo.geobox import GeoBox

import lstzoom
from lstzoom.errors import ExitCode, JobError
from lstzoom.jobs import layout
from lstzoom.jobs.items import Described, File, make_collection, make_item
from lstzoom.jobs.ledger import MODEL, sum_up
from lstzoom.jobs.plan import Scene
from lstzoom.jobs.state import Run
from lstzoom.jobs.store import Store, as_json

_EXIT_CODES: Final[Mapping[str, ExitCode]] = {
    "done": ExitCode.OK, "nothing new": ExitCode.OK, "failed": ExitCode.FAILED,
    "stopped": ExitCode.STOPPED, "interrupted": ExitCode.INTERRUPTED,
}  # fmt: skip
_SHOWN: Final = 100


def close_scene(run: Run, scene: Scene) -> None:
    """Write the record of a scene if all of its tiles are done."""
    names = [tile.name for tile in scene.tiles()]
    if not run.ready[scene.key].issuperset(names):
        return
    entries = run.entries.pop(scene.key, {})
    entries |= run.ledger.entries(scene.key, [name for name in names if name not in entries])
    model = _model(run, scene).get("sha256")
    bad = [name for name in names if name not in entries or (model and entries[name]["model"] != model)]
    # Removed by somebody, or written late by a worker of a run that is over: to be made again.
    why = JobError("its entry in the ledger is gone, or is of another model; run again")
    for name in bad:
        run.ledger.drop(scene.key, name)
        run.ready[scene.key].discard(name)
        run.fail(scene.key, name, why, 1)
    if bad:
        return
    record = {
        "scene": scene.key, "lst_item": scene.item, "vnir_items": list(scene.vnir),
        "datetime": scene.when.astimezone(UTC).isoformat(), "cube": scene.cube,
        "shape": list(scene.arrays.grids.fine.shape), "crs": str(scene.arrays.grids.fine.crs),
        "transform": list(scene.arrays.grids.fine.affine)[:6], "tile_names": names,
        "model": next(iter(entries.values()))["model"], **sum_up(entries),
    }  # fmt: skip
    if run.plan.job.outputs.scene_items and not run.plan.job.outputs.scene_cog:
        write_scene_item(run, scene, record, {})
    run.store.write(layout.scene_record(scene.key), as_json(record, indent=1))
    run.complete[scene.key] = record
    # Of a scene whose inputs changed; its model may be one that was there.
    run.forgive(scene.key, MODEL)
    run.log.add("scene", scene=scene.key, tiles=record["tiles"], kelvin=record.get("kelvin"))


def write_scene_item(run: Run, scene: Scene, record: Mapping[str, Any], cogs: Mapping[str, File]) -> None:
    """Write the item of a whole scene, if items are wanted.

    Parameters
    ----------
    run
        Of which the scene is.
    scene
        Described.
    record
        What its tiles came to.
    cogs
        Its COGs by layer.
    """
    if not run.plan.job.outputs.stac:
        return
    cube = layout.cube(scene.cube) if run.plan.job.outputs.zarr else None
    grid = scene.arrays.grids.fine
    item = make_item(describe_scene(run, scene), "scene", grid, cogs, cube, record)
    run.store.write(layout.item(scene.key, "scene"), as_json(item))


def scene_tags(run: Run, scene: Scene) -> dict[str, str]:
    """Return the tags that all COGs of a scene have."""
    return {
        "LSTZOOM_METHOD": scene.config.method, "LSTZOOM_LST_ITEM": scene.item,
        "LSTZOOM_VNIR_ITEMS": ", ".join(scene.vnir), "LSTZOOM_LST_DATETIME": scene.when.isoformat(),
        "LSTZOOM_MODEL": str(_model(run, scene).get("sha256")), "LSTZOOM_CATALOG": run.plan.catalog.name,
    }  # fmt: skip


def _model(run: Run, scene: Scene) -> Mapping[str, Any]:
    # A run that finds all tiles done never asked for the model.
    return run.models.get(scene.model) or run.ledger.model(scene.model) or {}


def describe_scene(run: Run, scene: Scene) -> Described:
    """Describe what the items of a scene share."""
    platform = scene.attrs.get("lst_platform")
    properties: dict[str, Any] = {
        "lstzoom:lst_item": scene.item, "lstzoom:vnir_items": list(scene.vnir),
        "lstzoom:method": scene.config.method, "lstzoom:ratio": scene.arrays.grids.ratio,
        "lstzoom:model": _model(run, scene).get("sha256"),
    }  # fmt: skip
    if platform:
        properties["platform"] = platform
    return Described(
        scene.key, scene.when, run.plan.collection, run.plan.job.outputs.encoding, properties, scene.sources
    )


def write_collection(run: Run) -> None:
    """Describe all scenes that are complete, those of runs before included."""
    if not run.plan.job.outputs.stac:
        return
    items, places = [], []
    for key, record in sorted(run.ledger.complete().items()):
        wanted = run.plan.job.outputs
        if wanted.scene_cog and "cogs" not in record:
            continue
        names = ["scene"] if wanted.scene_items else record["tile_names"]
        items += [layout.item(key, name) for name in names]
        rows, columns = record["shape"]
        grid = GeoBox((rows, columns), Affine(*record["transform"]), record["crs"])
        places.append((datetime.fromisoformat(record["datetime"]), grid))
    if places:
        licence = run.plan.catalog.source.licence
        found = make_collection(run.plan.collection, licence, places, items)
        run.store.write(layout.COLLECTION, as_json(found))


def nothing_found(store: Store, why: str) -> dict[str, Any]:
    """Say of a run that it had no scene to look at; the store is as it was."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        "format": 1, "state": "nothing new", "exit_code": ExitCode.OK, "why": why,
        "lstzoom": lstzoom.__version__, "store": store.url, "started": now, "ended": now,
        "scenes": {"all": 0, "complete": 0}, "failed": [],
        "tiles": {"all": 0, "before": 0, "done": 0, "failed": 0, "left": 0},
    }  # fmt: skip


def summarise(run: Run, frozen: Mapping[str, Any], state: str, why: str) -> dict[str, Any]:
    """Say how a run ended."""
    ended, plan = datetime.now(UTC), run.plan
    seconds = (ended - run.begun).total_seconds()
    complete = [scene.key for scene in plan.scenes if scene.key in run.complete]
    failures = [] if state == "stopped" else run.ledger.failures()
    return {
        "format": 1, "run": run.id, "state": state, "exit_code": _EXIT_CODES[state], "why": why,
        "lstzoom": lstzoom.__version__, "job": frozen["hash"], "store": run.store.url,
        "started": run.begun.isoformat(timespec="seconds"), "ended": ended.isoformat(timespec="seconds"),
        "seconds": {"all": round(seconds, 3)} | {name: round(s, 3) for name, s in run.seconds.items()},
        "scenes": {"all": len(plan.scenes), "complete": len(complete)},
        "tiles": {
            "all": plan.tile_count, "before": run.before, "done": run.done, "failed": len(run.failed),
            "left": plan.tile_count - run.before - run.done,
        },
        "tasks": run.tasks, "retried": run.retried, "bytes": run.written,
        "failed": [{"scene": one.scene, "what": one.what, "error": one.error} for one in failures[:_SHOWN]],
        "left_out": [{"name": one.name, "reason": one.reason} for one in plan.left_out[:_SHOWN]],
        **run.made,
        "cubes": [run.store.address(layout.cube(key)) for key in plan.cubes] if plan.job.outputs.zarr else [],
        "collection": run.store.address(layout.COLLECTION) if plan.job.outputs.stac and complete else None,
    }  # fmt: skip

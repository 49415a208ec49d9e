"""One COG of each layer for a scene, made of its tiles when all of them are done.

A task reads the cube, or the COGs of the tiles where there is no cube, by windows and writes by the same
writer as a mosaic, so that memory does not grow with the scene. The record of a scene names its COGs; it is
written after them, and what it does not name is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from odc.geo.geobox import GeoBox

from lstzoom import raster
from lstzoom.jobs import layout
from lstzoom.jobs.driver import Outcome, drive
from lstzoom.jobs.finish import scene_tags, write_scene_item
from lstzoom.jobs.items import File, figures
from lstzoom.jobs.plan import Scene
from lstzoom.jobs.progress import Progress
from lstzoom.jobs.state import Run, stop_if_full
from lstzoom.jobs.store import Store, as_json
from lstzoom.jobs.tiles import DESCRIPTIONS, encoding_of
from lstzoom.layers import FileLayer, Layer, Patchwork, ZarrLayer, copy_into
from lstzoom.sources.signing import gdal_path
from lstzoom.write import CogSink

WHOLE: Final = "scene"
"""What failed, if it was a COG of a whole scene."""


@dataclass(frozen=True, slots=True)
class JoinTask:
    """One COG that is to be made.

    Attributes
    ----------
    scene, layer
        Key of the scene, and name of the layer.
    """

    scene: str
    layer: str


@dataclass(frozen=True, slots=True)
class JoinWork:
    """What the COGs of one scene share.

    Attributes
    ----------
    store
        Where from and to.
    grid
        Fine grid of the scene.
    cube, time_index
        Key of the cube, and place of the scene along its time; None without one.
    tiles
        Row and column of the first pixel of each tile by its name, where there is no cube.
    encoding
        Of temperature.
    tags
        Of the COGs.
    """

    store: Store
    grid: GeoBox
    cube: str | None
    time_index: int
    tiles: Mapping[str, tuple[int, int]]
    encoding: str
    tags: Mapping[str, str]


# On a worker


def join(work: JoinWork, task: JoinTask) -> File:
    """Make a COG."""
    description, units = DESCRIPTIONS[task.layer]
    encoding = encoding_of(task.layer, work.encoding)
    with work.store.scratch() as folder:
        path = folder / "scene.tif"
        with CogSink(path, work.grid, encoding, work.tags, description, units, num_threads=1) as sink:
            copy_into(sink, _layer(work, task))
        key = layout.cog(task.scene, WHOLE, task.layer)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return File(key, work.store.put(key, path), digest)


def _layer(work: JoinWork, task: JoinTask) -> Layer:
    if work.cube is None:
        return Patchwork(
            work.grid,
            tuple((*corner, _tile(work, task, name)) for name, corner in work.tiles.items()),
        )
    stored = encoding_of(task.layer, work.encoding)
    fill = stored.nodata if stored.nodata is not None and np.isfinite(stored.nodata) else None
    url = work.store.address(layout.cube(work.cube))
    return ZarrLayer(url, task.layer, work.grid, stored.scale, stored.offset, fill, work.time_index)


def _tile(work: JoinWork, task: JoinTask, name: str) -> FileLayer:
    address = work.store.address(layout.cog(task.scene, name, task.layer))
    return FileLayer(raster.describe(gdal_path(address))[0])


# On the client


def unjoined(run: Run) -> list[Scene]:
    """Scenes that are complete and whose own COGs are wanted and not there."""
    if not run.plan.job.outputs.scene_cog:
        return []
    records = ((scene, run.complete.get(scene.key)) for scene in run.plan.scenes)
    return [scene for scene, record in records if record is not None and "cogs" not in record]


def join_scenes(run: Run, client: Any) -> None:  # noqa: ANN401  (distributed is untyped)
    """Make the COGs of whole scenes, as far as they are not there.

    Parameters
    ----------
    run
        Its `places` are known.
    client
        Of the cluster.
    """
    todo = unjoined(run)
    made: dict[str, dict[str, File]] = {scene.key: {} for scene in todo}
    progress = Progress("scenes", len(todo) * len(run.plan.layers))

    def on_done(outcome: Outcome[JoinTask]) -> None:
        run.lease.check()
        task = outcome.task
        if outcome.error is not None:
            stop_if_full(outcome.error)
            run.fail(task.scene, WHOLE, outcome.error, outcome.attempts)
        else:
            made[task.scene][task.layer] = outcome.result
            if len(made[task.scene]) == len(run.plan.layers):
                _accept(run, run.plan.scene(task.scene), made[task.scene])
        progress.count(
            failed=outcome.error is not None, written=0 if outcome.error is not None else outcome.result.size
        )
        run.report(progress)

    run.count(
        drive(
            (JoinTask(scene.key, layer) for scene in todo for layer in run.plan.layers), join, client,
            name="join", on_done=on_done, shared=lambda key: _work(run, run.plan.scene(str(key))),
            uses=lambda task: task.scene, **run.drive_settings(),
        )
    )  # fmt: skip
    if todo:
        run.seconds["scenes"] = progress.seconds


def _work(run: Run, scene: Scene) -> JoinWork:
    wanted, fine = run.plan.job.outputs, scene.arrays.grids
    told = {name.upper(): str(value) for name, value in figures(run.complete[scene.key]).items()}
    corners = {}
    if not wanted.zarr:
        for tile in scene.tiles():
            rows, columns = fine.fine_window((tile.block.rows, tile.block.columns))
            corners[tile.name] = (rows.start, columns.start)
    return JoinWork(
        run.store, fine.fine, scene.cube if wanted.zarr else None, run.places.get(scene.key, 0), corners,
        wanted.encoding, scene_tags(run, scene) | told,
    )  # fmt: skip


def _accept(run: Run, scene: Scene, files: Mapping[str, File]) -> None:
    """Describe the COGs of a scene, and note that they are there."""
    cogs, size = {layer: file.key for layer, file in files.items()}, sum(file.size for file in files.values())
    record = run.complete[scene.key] | {"cogs": cogs, "cog_bytes": size}
    # Asked for after tiles were made, which have items of their own then.
    run.store.remove_all(layout.items(scene.key))
    write_scene_item(run, scene, record, files)
    run.store.write(layout.scene_record(scene.key), as_json(record, indent=1))
    run.complete[scene.key] = record
    run.written += size
    run.forgive(scene.key, WHOLE)
    run.log.add("cog", scene=scene.key, bytes=size)

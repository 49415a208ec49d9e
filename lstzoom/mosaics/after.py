"""The mosaic of a job, made at the end of its run by the cluster of the run; and what that costs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from odc.geo.geobox import GeoBox

from lstzoom.errors import ClusterError, ConfigError, InputError, JobError, LstzoomError, StoreError
from lstzoom.jobs.plan import Plan
from lstzoom.jobs.progress import Progress
from lstzoom.jobs.state import Run
from lstzoom.mosaics.make import is_made, mosaic
from lstzoom.mosaics.plan import MosaicPlan, plan_mosaics
from lstzoom.mosaics.scenes import Scene
from lstzoom.sources.job import Job, MosaicOptions
from lstzoom.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

CPU_PER_PIXEL: Final[Mapping[str, float]] = {"latest": 1.3e-6, "median": 1.6e-6, "mean": 1.9e-6}
"""CPU seconds for a pixel of a scene in the mosaic, by rule, from `python -m benchmarks.mosaic`."""


@dataclass(frozen=True, slots=True)
class JobMosaic:
    """Makes the mosaic that a job asks for, or takes up the scenes that are new.

    Parameters
    ----------
    settings
        Section ``mosaic`` of the job.
    encoding
        Of temperature.
    """

    settings: MosaicOptions
    encoding: str

    @classmethod
    def of(cls, job: Job) -> JobMosaic | None:
        """Take what a job says; None if its runs make no mosaic."""
        return cls(job.mosaic, job.outputs.encoding) if job.mosaic.after_run else None

    def output(self, run: Run) -> str:
        """Where the mosaic goes."""
        return self.settings.output or default_output(run.store.url)

    def is_due(self, run: Run) -> bool:
        """Tell whether complete scenes are not in the mosaic; refuse one that was begun otherwise."""
        if not run.complete:
            return False
        try:
            return not is_made(
                run.store.url, self.output(run), self.settings.config,
                cog=self.settings.cog, encoding=self.encoding, partial=bool(run.unfinished),
            )  # fmt: skip
        except ConfigError as error:
            raise ConfigError(
                f"{error}; `lstzoom mosaic JOB --overwrite` replaces it, mosaic.after_run: false leaves it"
            ) from error

    def make(self, run: Run, client: Any) -> None:  # noqa: ANN401  (distributed is untyped)
        """Make it of the scenes that are complete; see `lstzoom.mosaics.make.mosaic`."""
        if not run.complete:
            run.say("no mosaic: no scene is complete")
            return
        if len(run.complete) < len(run.plan.scenes):
            run.say(f"the mosaic is of {len(run.complete)} of {counted(len(run.plan.scenes), 'scene')}")
        progress = Progress("mosaic", 0)

        def told(done: int, every: int) -> None:
            run.lease.check()
            progress.total = every
            if done > progress.done:
                progress.count()
            run.report(progress)

        try:
            made = mosaic(
                run.store.url, self.output(run), config=self.settings.config, cog=self.settings.cog,
                encoding=self.encoding, items=self.settings.items, client=client,
                lease_seconds=run.plan.job.run.lease_s, progress=told,
            )  # fmt: skip
        except (ClusterError, StoreError):
            raise
        except LstzoomError as error:
            # Such as one that has scenes whose tiles failed now: the tiles that were made stay.
            raise JobError(f"the mosaic could not be made: {error}") from error
        run.made["mosaics"] = [asdict(one) for one in made]
        run.seconds["mosaic"] = progress.seconds
        run.tasks += sum(one.tiles for one in made)
        run.written += sum(one.bytes for one in made)
        run.log.add("mosaic", mosaics=run.made["mosaics"])


def default_output(folder: str) -> str:
    """Where the mosaic of a store of results goes."""
    return f"{folder.rstrip('/')}/mosaic.zarr"


# Before there is anything


@dataclass(frozen=True, slots=True)
class _Promised:
    """A layer that is going to be."""

    grid: GeoBox
    stamp: str = ""

    def read(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        raise InputError(f"nothing can be read of what is only planned (rows {rows}, columns {columns})")


def planned(plan: Plan) -> list[dict[str, Any]]:
    """Say what the mosaics of a job come to, before its scenes are there; none without ``mosaic.after_run``.

    Returns
    -------
    list of dict
        For each CRS: ``rule``, ``crs``, ``shape``, ``times``, ``scenes``, ``tiles``, ``scenes_per_tile``,
        ``pixels`` of all tiles and ``cpu_s``.
    """
    if not plan.job.mosaic.after_run:
        return []
    scenes = [Scene(one.key, one.when, _Promised(one.arrays.grids.fine)) for one in plan.scenes]
    return [_cost(one) for one in plan_mosaics(scenes, plan.job.mosaic.config)]


def _cost(found: MosaicPlan) -> dict[str, Any]:
    pixels = len(found.tasks) * found.config.tile**2
    # A tile at the edge of the scenes holds less of them than there are scenes that touch it.
    shown = min(
        pixels * found.scenes_per_tile,
        math.fsum(_pixels(one.scene, found.config.resolution) for one in found.scenes),
    )
    return {
        "rule": found.config.rule, "crs": found.config.crs,
        "shape": [int(side) for side in found.target.geobox.shape],
        "times": len(found.steps), "scenes": len(found.scenes), "tiles": len(found.tasks),
        "scenes_per_tile": round(found.scenes_per_tile, 2), "pixels": pixels,
        "cpu_s": round(CPU_PER_PIXEL[found.config.rule] * shown, 1),
    }  # fmt: skip


def _pixels(scene: Scene, resolution: float) -> float:
    """Count the pixels of a mosaic that a scene covers, whose units are about the mosaic's."""
    rows, columns = scene.grid.shape
    return rows * columns * abs(scene.grid.affine.a * scene.grid.affine.e) / resolution**2

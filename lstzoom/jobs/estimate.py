"""What a plan costs, before it is paid: bytes, memory, time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lstzoom.jobs.plan import Plan, Scene
from lstzoom.jobs.sampling import sample_tasks
from lstzoom.stream import needed_bytes

# A store that has results is asked for its own rates.
CPU_PER_VALUE: Final = 0.12e-6
"""CPU seconds for each fine pixel and band of a tile with its halo: reading, sharpening and writing. By
`benchmarks.region` (4 bands, tiles of 528 pixels with halos of 96) 0.11e-6, by `benchmarks.tile` (8 bands,
tiles of 1536) 0.12e-6."""
CPU_PER_PATCH: Final = 0.03
"""CPU seconds for each sampled patch of 96 x 96 coarse pixels, about, from `benchmarks.region`."""
CPU_PER_MODEL: Final = 0.5
"""CPU seconds for training a model, about, from `benchmarks.region`."""
CPU_PER_JOINED: Final = 0.09e-6
"""CPU seconds for each pixel of a layer of a COG of a whole scene, by `benchmarks.mosaic`, whose COGs have
the same writer."""
START: Final = 10.0
"""Seconds until workers are there and have loaded what they need."""
_STORED: Final[Mapping[str, tuple[float, float]]] = {
    "lst": (1.2, 1.5), "lst_uncertainty": (0.9, 1.1), "qa": (0.1, 0.1),
}  # fmt: skip
"""Compressed bytes of a pixel, of 2, 2 and 1 stored: in Zarr and in a COG with its overviews."""
_OF_FLOAT: Final = 2.6
"""Compressed bytes of float32 over those of uint16 in steps of 0.01 K."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a plan costs.

    Attributes
    ----------
    tiles, models, tasks
        Numbers; tasks are those of the scheduler.
    pixels
        Fine pixels that are made.
    read_bytes
        Decoded bytes that are read, halos and samples included; compressed files hold less.
    write_bytes
        Compressed bytes that are written, about.
    worker_bytes
        Memory that a worker with one thread needs.
    cpu_s
        Seconds of one core.
    measured
        Whether the time follows from tiles that this store has.
    """

    tiles: int
    models: int
    tasks: int
    pixels: int
    read_bytes: float
    write_bytes: float
    worker_bytes: float
    cpu_s: float
    measured: bool

    def wall_s(self, workers: int) -> float:
        """Seconds with so many workers of one thread, each with a core of its own."""
        tiles_each = math.ceil(self.tiles / workers)
        return START + self.cpu_s * tiles_each / max(self.tiles, 1)


def estimate(plan: Plan, measured: Sequence[Mapping[str, Any]] = ()) -> Estimate:
    """Estimate what a plan costs.

    Parameters
    ----------
    plan
        From `lstzoom.jobs.plan.make_plan`.
    measured
        Records of scenes that were made with the same tiles, if there are any.
    """
    haloed = [(scene, _haloed_pixels(scene)) for scene in plan.scenes]
    pixels = sum(math.prod(scene.arrays.grids.fine.shape) for scene in plan.scenes)
    steps = [sample_tasks(scenes) for scenes in plan.models.values()]
    patches = sum(len(task.visits) for looks, rows, _ in steps for task in (*looks, *rows))
    known = [one for one in measured if one.get("cpu_s") and one.get("pixels")]
    sharpening = CPU_PER_VALUE * sum(count * len(scene.arrays.bands) for scene, count in haloed)
    if known:
        sharpening = pixels * math.fsum(one["cpu_s"] for one in known) / sum(one["pixels"] for one in known)
    sampled = plan.job.method.sample.patch**2 * patches
    reading = math.fsum(count * scene.reading for scene, count in haloed)
    first = plan.scenes[0]
    layers = len(plan.layers) if plan.job.outputs.scene_cog else 0
    joined = [math.prod(scene.arrays.grids.fine.shape) for scene in plan.scenes for _ in range(layers)]
    return Estimate(
        tiles=plan.tile_count,
        models=len(steps),
        # A shared value for every scene in each pass.
        tasks=plan.tile_count
        + 2 * len(plan.scenes)
        + len(joined)
        + sum(len(a) + len(b) + 2 for a, b, _ in steps),
        pixels=pixels,
        read_bytes=reading + sampled * first.arrays.grids.ratio**2 * first.reading,
        write_bytes=pixels * _stored(plan),
        worker_bytes=max(
            needed_bytes(_side(scene), len(scene.arrays.bands), scene.arrays.grids.ratio, scene.halo)
            for scene in plan.scenes
        ),
        cpu_s=sharpening
        + CPU_PER_JOINED * math.fsum(joined)
        + CPU_PER_PATCH * patches
        + CPU_PER_MODEL * len(steps),
        measured=bool(known),
    )


def _side(scene: Scene) -> int:
    """Side of its largest tile: tiles end where the scene does."""
    return min(scene.tile, max(scene.arrays.grids.coarse.shape))


def _haloed_pixels(scene: Scene) -> int:
    """Fine pixels of all tiles of a scene with their halos."""
    sides = []
    for size in scene.arrays.grids.coarse.shape:
        tiles = -(-size // scene.tile)
        sides.append(size + 2 * scene.halo * tiles)
    return math.prod(sides) * scene.arrays.grids.ratio**2


def _stored(plan: Plan) -> float:
    """Compressed bytes that are written for a fine pixel."""
    wanted, total = plan.job.outputs, 0.0
    for layer in plan.layers:
        factor = _OF_FLOAT if wanted.encoding == "float32" and layer != "qa" else 1.0
        zarr, cog = _STORED[layer]
        total += factor * (zarr * wanted.zarr + cog * (wanted.cog + wanted.scene_cog))
    return total

"""Two worker processes against one, and how many tasks a dask cluster has for a block.

Run as ``python -m benchmarks.workers [--size 9600] [--repeat 3] [--json FILE]``. Both work in processes of a
local dask cluster, one thread each; time counts from the start of the training to the last file, the
same as ``seconds`` of ``lstzoom sharpen --json``. Starting the processes is stated apart. Blocks have the
size that the command would choose.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask

import lstzoom
from benchmarks.measure import record
from benchmarks.scenes import SceneFiles, make_scene
from lstzoom import raster, stream
from lstzoom.config import SharpenConfig
from lstzoom.inputs import SceneArrays, from_files
from lstzoom.machine import keep_memory


@dataclass(frozen=True, slots=True)
class Run:
    """One run, or the median of several.

    Attributes
    ----------
    start_seconds
        Until the processes are there.
    seconds
        From the start of the training to the last file.
    tasks_per_block
        Tasks that the scheduler met, for every block.
    """

    start_seconds: float
    seconds: float
    tasks_per_block: float


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=9600, help="fine pixels along a side, a multiple of 3")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--chunk", type=int, help="side of a block in coarse pixels")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    # As the command has it.
    keep_memory()
    with tempfile.TemporaryDirectory() as name:
        scene = make_scene(Path(name), args.size)
        chunk = args.chunk or _chunk(opened(scene))
        runs = {count: _median(scene, count, chunk, args.repeat) for count in (1, 2)}
        lazy = lazy_tasks(scene, chunk)
    print(f"{'worker processes':18s}{'start s':>9s}{'run s':>9s}{'tasks per block':>17s}")
    for count, run in runs.items():
        print(f"{count:<18d}{run.start_seconds:9.2f}{run.seconds:9.2f}{run.tasks_per_block:17.2f}")
    print(f"two against one: {runs[1].seconds / runs[2].seconds:.2f} x")
    print(f"tasks per block of the lazy xarray: {lazy:.1f}")
    record(args.json, size=args.size, chunk=chunk, lazy_tasks_per_block=lazy,
           runs={str(count): vars_of(run) for count, run in runs.items()})  # fmt: skip
    return 0


def vars_of(run: Run) -> dict[str, float]:
    """Give a run as JSON."""
    return {name: round(getattr(run, name), 3) for name in run.__slots__}


def opened(scene: SceneFiles) -> SceneArrays:
    """Open a scene to be read a window at a time."""
    lst = raster.lazy_lst(scene.lst)
    sources = tuple(raster.describe(path)[0] for path in scene.bands)
    return from_files(raster.LazyStack(sources, sources[0].geobox), lst, None, raster.band_names(sources))


def _chunk(scene: SceneArrays) -> int:
    return stream.choose_chunk(scene.lst.shape, bands=len(scene.bands), ratio=scene.grids.ratio, workers=2)


def _median(scene: SceneFiles, workers: int, chunk: int, repeat: int) -> Run:
    runs = [_once(opened(scene), Path(scene.lst).parent / "out.tif", workers, chunk) for _ in range(repeat)]
    return Run(*(statistics.median(getattr(one, name) for one in runs) for name in Run.__slots__))


def _once(scene: SceneArrays, out: Path, workers: int, chunk: int) -> Run:
    begin = time.perf_counter()
    with stream.local_cluster(workers) as client:
        started = time.perf_counter() - begin
        # Every process has its kernels loaded, as it would have after its first block.
        client.run(_load)
        config, targets = SharpenConfig(chunk=chunk), stream.Targets(lst=out, overwrite=True)
        done = stream.write_scene(scene, targets, config=config, client=client)
        met = client.run_on_scheduler(_tasks_met)
    return Run(started, done.seconds, met / done.blocks)


def _load() -> None:
    from lstzoom.warm import warm  # noqa: PLC0415  (runs in the workers)

    warm()


def _tasks_met(dask_scheduler: Any) -> int:  # noqa: ANN401  (distributed ships no types)
    # The log of what became of them is short.
    return sum(one.state_counts["memory"] for one in dask_scheduler.task_prefixes.values())


def lazy_tasks(scene: SceneFiles, chunk: int) -> float:
    """Count the tasks for a block when the scene is given as lazy xarray."""
    lst = raster.open_lst(scene.lst, chunks=chunk)
    first = raster.describe(scene.bands[0])[0].geobox
    vnir = raster.open_stack(scene.bands, first, chunks=chunk * 3)
    sharp = lstzoom.sharpen(vnir, lst, config=SharpenConfig(chunk=chunk))
    (graph,) = dask.optimize(sharp)
    blocks = sharp.lst.data.npartitions
    return len(dict(graph.__dask_graph__())) / blocks


if __name__ == "__main__":
    sys.exit(main())

"""A region of many tiles through ``lstzoom run``: memory by quarter of the run, cost of tiles and scheduler.

Run as ``python -m benchmarks.region [--dates 38] [--side 4] [--workers 2] [--json FILE]``. One scene of side
x side tiles of 528 x 528 fine pixels is simulated; every date has the same files under another name, so that
the run has many tiles and the machine need not simulate for hours. Memory of workers is what each tile notes
when it is done. Scheduler, workers and client are processes of their own (``cluster.kind: address``), so that
what a tile costs each of them can be told apart. A process that waits costs something, too, the more the
longer tiles take: what the scheduler costs while there is nothing to do is measured before the run and told
beside; the client's and the scheduler's cost for a tile have it in them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil
import yaml

from benchmarks.dates import catalogue, days, link_dates
from benchmarks.measure import record
from benchmarks.scheduler import scheduler_process, worker_process
from lstzoom.simulate import Landscape, write_simulation

BANDS = ("blue", "green", "red", "nir")
TILE = 176
"""Coarse pixels: 528 fine ones."""
_IDLE: Final = 10.0
"""Seconds in which the scheduler has nothing to do, before the run."""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dates", type=int, default=38)
    parser.add_argument("--side", type=int, default=4, help="tiles along a side of a scene")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = run(Path(name), args.dates, args.side, args.workers)
    print(f"{found['tiles']} tiles of {TILE * 3} x {TILE * 3} pixels, {args.workers} workers")
    print(f"wall {found['seconds']:.0f} s; {found['tasks_per_tile']:.2f} tasks for a tile")
    print(f"{'memory, MB (largest) in quarter':32s}" + "".join(f"{number:8d}" for number in range(1, 5)))
    for what in ("worker", "client", "scheduler"):
        print(f"{what:32s}" + "".join(f"{one:8.0f}" for one in found[f"{what}_mb"]))
    print(f"last quarter over second: workers {found['worker_mb'][3] / found['worker_mb'][1]:.3f}")
    print(
        f"CPU of a tile on its worker: {found['cpu_per_tile']:.2f} s, "
        f"{found['cpu_per_pixel'] * 1e6:.2f} us a pixel"
    )
    print("seconds of a tile: " + ", ".join(f"{k} {v:.2f}" for k, v in found["seconds_per_tile"].items()))
    for what in ("scheduler", "client"):
        print(f"CPU of the {what} for a tile: {found[f'{what}_ms_per_tile']:.1f} ms")
    print(f"of which the scheduler takes {found['scheduler_idle_ms_per_tile']:.1f} ms with nothing to do "
          f"({found['scheduler_idle']:.2%} of a core)")  # fmt: skip
    record(args.json, **found)
    return 0


def run(folder: Path, dates: int, side: int, workers: int) -> dict[str, Any]:
    """Start scheduler and workers, and measure a run on them."""
    with ExitStack() as stack:
        process, address = stack.enter_context(scheduler_process(folder))
        for number in range(workers):
            stack.enter_context(worker_process(address, folder, number, "--memory-limit", "2GB"))
        job = make_region(folder, dates, side, {"kind": "address", "address": address, "workers": workers})
        scheduler = psutil.Process(process.pid)
        before = _cpu(scheduler)
        time.sleep(_IDLE)
        return measure(job, scheduler, (_cpu(scheduler) - before) / _IDLE)


def _cpu(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:2])


def make_region(folder: Path, dates: int, side: int, cluster: Mapping[str, Any]) -> Path:
    """Simulate a scene, name it once for each date, and write the job."""
    pixels = side * TILE * 3
    made = write_simulation(folder / "drafts", (pixels, pixels), landscape=Landscape(bands=BANDS))
    files = folder / "files"
    link_dates(made, files, days(dates), BANDS)
    (folder / "region.toml").write_text(catalogue("region", "Simulated region", BANDS))
    job = folder / "job.yaml"
    job.write_text(
        yaml.safe_dump(
            {
                "catalog": {"name": "region.toml", "folder": str(files)},
                "area": {"bbox": [-20.0, -80.0, 80.0, 80.0]}, "datetime": "2023",
                "pair": {"min_coverage": 1e-9}, "grid": {"tile": TILE},
                "outputs": {"folder": str(folder / "out")},
                "cluster": dict(cluster),
            }
        )
    )  # fmt: skip
    return job


def measure(job: Path, scheduler: psutil.Process, idle: float) -> dict[str, Any]:
    """Run the job by the command, look at client and scheduler, and read what the run has noted."""
    process = subprocess.Popen(  # noqa: S603  (our own command)
        [sys.executable, "-m", "lstzoom", "run", str(job)], stdout=subprocess.DEVNULL, stderr=sys.stderr
    )
    watched = {"client": psutil.Process(process.pid), "scheduler": scheduler}
    looks: dict[str, list[Look]] = {name: [] for name in watched}
    while process.poll() is None:
        try:
            for name, one in watched.items():
                looks[name].append(Look(time.time(), one.memory_info().rss, _cpu(one)))
        except psutil.Error:
            break
        time.sleep(0.5)
    if process.wait():
        raise SystemExit(process.returncode)
    out = job.parent / "out"
    summary = json.loads((out / "summary.json").read_text())
    (log,) = (out / "logs").iterdir()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    tiles = [line for line in lines if line["event"] == "tile"]
    return described(summary, tiles, looks, idle)


class Look(NamedTuple):
    """Time, memory in bytes and CPU seconds of a process."""

    at: float
    rss: int
    cpu: float


def described(
    summary: Mapping[str, Any],
    tiles: Sequence[Mapping[str, Any]],
    looks: Mapping[str, Sequence[Look]],
    idle: float,
) -> dict[str, Any]:
    """Sum up a run."""
    count = len(tiles)
    quarters = [tiles[k * count // 4 : (k + 1) * count // 4] for k in range(4)]
    edges = [(part[0]["at"], part[-1]["at"]) for part in quarters]
    begin, end = edges[0][0], edges[3][1]
    found: dict[str, Any] = {
        "tiles": count, "seconds": summary["seconds"]["all"], "tasks_per_tile": summary["tasks"] / count,
        "worker_mb": [max(one["rss"] for one in part) / 1e6 for part in quarters],
        "cpu_per_tile": statistics.mean(one["cpu_s"] for one in tiles),
        "cpu_per_pixel": sum(one["cpu_s"] for one in tiles) / sum(one["pixels"] for one in tiles),
        "seconds_per_tile": {
            key: statistics.mean(one["seconds"].get(key, 0.0) for one in tiles) for key in tiles[0]["seconds"]
        },
        "bytes_per_pixel": {
            kind: sum(one["bytes"][kind] for one in tiles) / sum(one["pixels"] for one in tiles)
            for kind in ("zarr", "cog")
        },
        "scheduler_idle": idle, "scheduler_idle_ms_per_tile": 1000 * idle * (end - begin) / count,
    }  # fmt: skip
    for name, series in looks.items():
        found[f"{name}_mb"] = [
            max((one.rss for one in series if low <= one.at <= high), default=0) / 1e6 for low, high in edges
        ]
        used = [one.cpu for one in series if begin <= one.at <= end]
        found[f"{name}_ms_per_tile"] = 1000 * (used[-1] - used[0]) / count if used else 0.0
    return found


if __name__ == "__main__":
    sys.exit(main())

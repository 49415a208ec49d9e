"""A region of many tiles through ``lstzoom run``: memory by quarter of the run, cost of tiles and scheduler.

Run as ``python -m benchmarks.region [--dates 38] [--side 4] [--workers 2] [--json FILE]``. One scene of side
x side tiles of 528 x 528 fine pixels is simulated; every date has the same files under another name, so that
the run has many tiles and the machine need not simulate for hours. Memory of workers is what each tile notes
when it is done; client and scheduler are one process of a local cluster, looked at every second.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.measure import record
from lstzoom.simulate import Landscape, write_simulation

BANDS = ("blue", "green", "red", "nir")
TILE = 176
"""Coarse pixels: 528 fine ones."""
_CATALOG = """
[source]
name = "region"
title = "Simulated region"
kind = "local"
licence = "CC0-1.0"

[local]
folder = "files"
pattern = "*.tif"
group = '(?P<id>scene_(?P<datetime>\\d{8}T\\d{6}))_.*'

[lst]
hrefs = ["*_lst.tif"]
resolution_m = 30.0
native_resolution_m = 30.0

[vnir]
resolution_m = 10.0
"""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dates", type=int, default=38)
    parser.add_argument("--side", type=int, default=4, help="tiles along a side of a scene")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        job = make_region(Path(name), args.dates, args.side, args.workers)
        found = measure(job)
    print(f"{found['tiles']} tiles of {TILE * 3} x {TILE * 3} pixels, {args.workers} workers")
    print(f"wall {found['seconds']:.0f} s; {found['tasks_per_tile']:.2f} tasks for a tile")
    print(f"{'quarter':10s}{'worker memory, MB (largest)':>30s}{'client and scheduler, MB':>28s}")
    for number, (workers, client) in enumerate(zip(found["worker_mb"], found["client_mb"], strict=True), 1):
        print(f"{number:<10d}{workers:30.0f}{client:28.0f}")
    print(f"last quarter over second: workers {found['worker_mb'][3] / found['worker_mb'][1]:.3f}")
    print(
        f"CPU of a tile on its worker: {found['cpu_per_tile']:.2f} s, "
        f"{found['cpu_per_pixel'] * 1e6:.2f} us a pixel"
    )
    print("seconds of a tile: " + ", ".join(f"{k} {v:.2f}" for k, v in found["seconds_per_tile"].items()))
    print(f"CPU of client and scheduler for a tile: {found['client_ms_per_tile']:.1f} ms")
    record(args.json, **found)
    return 0


def make_region(folder: Path, dates: int, side: int, workers: int) -> Path:
    """Simulate a scene, name it once for each date, and write the job."""
    pixels = side * TILE * 3
    made = write_simulation(folder / "drafts", (pixels, pixels), landscape=Landscape(bands=BANDS))
    files = folder / "files"
    files.mkdir()
    for number in range(dates):
        stamp = f"2023{number // 28 + 1:02d}{number % 28 + 1:02d}T100000"
        for name in ("lst", *BANDS):
            os.link(made[name], files / f"scene_{stamp}_{name}.tif")
    bands = "".join(f'\n[vnir.bands.{name}]\nhrefs = ["*_{name}.tif"]\n' for name in BANDS)
    (folder / "region.toml").write_text(_CATALOG + bands)
    job = folder / "job.yaml"
    job.write_text(
        yaml.safe_dump(
            {
                "catalog": {"name": "region.toml", "folder": str(files)},
                "area": {"bbox": [-20.0, -80.0, 80.0, 80.0]}, "datetime": "2023",
                "pair": {"min_coverage": 1e-9}, "grid": {"tile": TILE},
                "outputs": {"folder": str(folder / "out")},
                "cluster": {"workers": workers, "threads": 1, "memory": "2GB"},
            }
        )
    )  # fmt: skip
    return job


def measure(job: Path) -> dict[str, Any]:
    """Run the job by the command, and read what it has noted."""
    process = subprocess.Popen(  # noqa: S603  (our own command)
        [sys.executable, "-m", "lstzoom", "run", str(job)], stdout=subprocess.DEVNULL, stderr=sys.stderr
    )
    watched, looks = psutil.Process(process.pid), []
    while process.poll() is None:
        try:
            looks.append((time.time(), watched.memory_info().rss, sum(watched.cpu_times()[:2])))
        except psutil.Error:
            break
        time.sleep(1.0)
    if process.wait():
        raise SystemExit(process.returncode)
    out = job.parent / "out"
    summary = json.loads((out / "summary.json").read_text())
    (log,) = (out / "logs").iterdir()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    tiles = [line for line in lines if line["event"] == "tile"]
    return described(summary, tiles, looks)


def described(
    summary: dict[str, Any],
    tiles: Sequence[dict[str, Any]],
    looks: Sequence[tuple[float, int, float]],
) -> dict[str, Any]:
    """Sum up a run."""
    count = len(tiles)
    quarters = [tiles[k * count // 4 : (k + 1) * count // 4] for k in range(4)]
    edges = [(part[0]["at"], part[-1]["at"]) for part in quarters]
    client = [max((rss for at, rss, _ in looks if low <= at <= high), default=0) / 1e6 for low, high in edges]
    used = [cpu for at, _, cpu in looks if edges[0][0] <= at <= edges[3][1]]
    return {
        "tiles": count, "seconds": summary["seconds"]["all"], "tasks_per_tile": summary["tasks"] / count,
        "worker_mb": [max(one["rss"] for one in part) / 1e6 for part in quarters], "client_mb": client,
        "cpu_per_tile": statistics.mean(one["cpu_s"] for one in tiles),
        "cpu_per_pixel": sum(one["cpu_s"] for one in tiles) / sum(one["pixels"] for one in tiles),
        "seconds_per_tile": {
            key: statistics.mean(one["seconds"].get(key, 0.0) for one in tiles) for key in tiles[0]["seconds"]
        },
        "bytes_per_pixel": {
            kind: sum(one["bytes"][kind] for one in tiles) / sum(one["pixels"] for one in tiles)
            for kind in ("zarr", "cog")
        },
        "client_ms_per_tile": 1000 * (used[-1] - used[0]) / count if used else 0.0,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())

"""Many small tiles through ``lstzoom run``: whether memory, open and temporary files stay as they are.

Run as ``python -m benchmarks.soak [--tiles 10000] [--json FILE]``. One simulated scene lies there under as
many dates as are needed; the run is a command like any other, with two worker processes, and is watched from
outside. Tiles are as small as they can be, so that there are many; their cost says nothing about a real run.

What grew is named, and the exit code is 1, if in the last quarter of the run there is more of anything than
`MOST` allows over the second. The first quarter is for what is filled once: caches, pools, libraries.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml

from benchmarks.dates import catalogue, days, link_dates
from benchmarks.measure import record
from lstzoom.simulate import Landscape, write_simulation

BANDS = ("red", "nir")
SIDE = 16
"""Coarse pixels along a tile."""
ALONG = 25
"""Tiles along a scene."""
MOST = {"memory": 1.05, "open files": 1.1, "temporary files": 1.1}
"""Last quarter over second that still counts as flat."""
TAIL_S = 3.0
"""Seconds at the end that are not counted: workers close then."""
# As little work for a tile as the method allows.
SMALL = {"trees": 2, "max_depth": 4, "min_leaf": 20, "feature_share": 0.5}
# Each a copy: what is written twice is written as an alias, which jobs refuse.
METHOD = {
    "windows": {"stride": SIDE, "extension": 0},
    **{name: dict(SMALL) for name in ("local_trees", "level_trees", "detail_trees")},
}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where files and results lie until the end")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        job = make_job(Path(name), math.ceil(args.tiles / ALONG**2), args.workers)
        watch, summary = soak(job)
        if "tiles" not in summary:
            print(f"the run did not begin: {summary.get('why') or summary}", file=sys.stderr)
            return 1
        told = account(watch, summary, job.parent / "out")
    report(watch, told)
    record(args.json, workers=args.workers, **told)
    grown = list(judged(told["last_quarter_over_second"]))
    for what, factor, most in grown:
        print(f"NOT FLAT: {what}: {factor:.3f} times as much, where {most:g} is allowed", file=sys.stderr)
    if not grown:
        print("flat: " + ", ".join(f"{what} within {most:g}" for what, most in MOST.items()))
    return 0 if summary["exit_code"] == 0 and not grown else 1


def make_job(folder: Path, dates: int, workers: int) -> Path:
    """Write scene, catalogue and job."""
    (folder / "soak.toml").write_text(catalogue("soak", "One simulated scene under many dates", BANDS))
    side = 3 * SIDE * ALONG
    landscape = replace(Landscape(), bands=BANDS, seed=1)
    made = write_simulation(folder / "drafts", (side, side), origin=(0, 0), landscape=landscape)
    link_dates(made, folder / "files", days(dates), BANDS)
    fields = {
        "catalog": {"name": "soak.toml", "folder": "files"},
        "area": {"bbox": [0.0, 0.0, 20.0, 60.0]},
        "datetime": "2023",
        "pair": {"min_coverage": 0.001, "window_days": 0.1},
        "grid": {"tile": SIDE},
        "method": METHOD,
        "outputs": {"folder": "out", "zarr": True},
        # GDAL's cache of blocks is full after a few scenes, so that what grows later is something else.
        "cluster": {"workers": workers, "memory": "2GB", "environment": {"GDAL_CACHEMAX": "16"}},
    }
    job = folder / "job.yaml"
    job.write_text(yaml.safe_dump(fields))
    return job


@dataclass(slots=True)
class Watch:
    """What was seen, twice a second: for each process, and of the folder of temporary files."""

    seconds: list[float] = field(default_factory=list)
    mib: dict[str, list[float]] = field(default_factory=dict)
    files: dict[str, list[float]] = field(default_factory=dict)
    temporary: list[float] = field(default_factory=list)

    def look(self, at: float, family: dict[str, psutil.Process], folder: Path) -> None:
        """Add one look at all processes, or none if one of them is gone."""
        try:
            mib = {name: one.memory_info().rss / 2**20 for name, one in family.items()}
            files = {name: float(one.num_fds()) for name, one in family.items()}
        except psutil.NoSuchProcess:
            return
        self.seconds.append(at)
        for name in family:
            self.mib.setdefault(name, []).append(mib[name])
            self.files.setdefault(name, []).append(files[name])
        self.temporary.append(float(sum(len(names) for _, _, names in os.walk(folder))))


def soak(job: Path) -> tuple[Watch, dict[str, Any]]:
    """Run the job and watch it."""
    watch, temporary, ended = Watch(), job.parent / "temporary", job.parent / "summary.json"
    temporary.mkdir()
    command = [sys.executable, "-m", "lstzoom", "run", str(job), "--quiet", "--on-finish", str(ended)]
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(temporary)}) as process:  # noqa: S603
        begin = time.perf_counter()
        while process.poll() is None:
            time.sleep(0.5)
            family = _family(process.pid)
            if family is not None:
                watch.look(time.perf_counter() - begin, family, temporary)
    return watch, json.loads(ended.read_text())


def _family(pid: int) -> dict[str, psutil.Process] | None:
    """Name the run and its workers; None while they are not all there."""
    try:
        run = psutil.Process(pid)
        workers = [one for one in run.children() if "spawn_main" in " ".join(one.cmdline())]
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return None
    named = {f"worker {k}": one for k, one in enumerate(sorted(workers, key=lambda one: one.pid))}
    return {"run and scheduler": run, **named} if len(named) > 1 else None


def judged(grown: Mapping[str, Any]) -> Iterator[tuple[str, float, float]]:
    """Name what is not flat: what and of which process, last quarter over second, and what is allowed."""
    for what, found in grown.items():
        for name, factor in found.items() if isinstance(found, dict) else (("", found),):
            if factor > MOST[what]:
                yield f"{what} of {name}" if name else what, factor, MOST[what]


def account(watch: Watch, summary: dict[str, Any], out: Path) -> dict[str, Any]:
    """Gather the figures, what is in the store included."""
    objects = [path for path in out.rglob("*") if path.is_file()]
    tiles = max(1, summary["tiles"]["done"])
    pixels = tiles * (3 * SIDE) ** 2
    counted = sum(at < watch.seconds[-1] - TAIL_S for at in watch.seconds)
    return {
        "tiles": summary["tiles"],
        "seconds": summary["seconds"],
        "tasks_per_tile": round(summary["tasks"] / tiles, 3),
        "objects_per_tile": round(len(objects) / tiles, 2),
        "bytes_per_pixel": round(sum(path.stat().st_size for path in objects) / pixels, 2),
        "last_quarter_over_second": {
            "memory": {name: _growth(series[:counted]) for name, series in watch.mib.items()},
            "open files": {name: _growth(series[:counted]) for name, series in watch.files.items()},
            "temporary files": _growth(watch.temporary[:counted]),
        },
        "kib_per_tile_in_second_half": {
            name: _slope(series[counted // 2 : counted], tiles / 2) for name, series in watch.mib.items()
        },
        "memory_mib": {name: [round(one, 1) for one in series] for name, series in watch.mib.items()},
        "open_files": watch.files,
        "temporary_files": watch.temporary,
        "at_seconds": [round(one, 1) for one in watch.seconds],
    }


def _growth(series: list[float]) -> float:
    """Mean of the last quarter over that of the second; 1 if there was never anything."""
    size = len(series)
    second, last = series[size // 4 : size // 2], series[3 * size // 4 :]
    below = sum(second) / max(1, len(second))
    return round(sum(last) / max(1, len(last)) / below, 4) if below else 1.0


def _slope(series: list[float], tiles: float) -> float:
    """KiB that each of so many tiles adds, of a line through the series in MiB."""
    if len(series) < 3:
        return 0.0
    return round(float(np.polyfit(np.linspace(0.0, tiles, len(series)), series, 1)[0]) * 1024, 2)


def report(watch: Watch, told: dict[str, Any]) -> None:
    """Print the figures and the series."""
    print(f"{told['tiles']['done']} tiles of {told['tiles']['all']} in {told['seconds']['all']:.0f} s, "
          f"{told['tasks_per_tile']} tasks and {told['objects_per_tile']} objects a tile")  # fmt: skip
    names = list(watch.mib)
    print(
        f"{'s':>8s}" + "".join(f"{name + ' MiB':>24s}{'files':>8s}" for name in names) + f"{'temporary':>12s}"
    )
    last = len(watch.seconds) - 1
    for k in sorted({round(last * point / 10) for point in range(11)}):
        row = "".join(f"{watch.mib[name][k]:24.1f}{watch.files[name][k]:8.0f}" for name in names)
        print(f"{watch.seconds[k]:8.0f}{row}{watch.temporary[k]:12.0f}")
    print("last quarter over second:")
    for what, grown in told["last_quarter_over_second"].items():
        print(f"  {what}: {grown}")
    print(f"KiB that a tile adds in the second half: {told['kib_per_tile_in_second_half']}")


if __name__ == "__main__":
    sys.exit(main())

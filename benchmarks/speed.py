"""CPU time and memory of the whole ``lstzoom sharpen``, beside the I/O floor of the same files.

Run as ``python -m benchmarks.speed [--size 1200] [--repeat 3] [--json FILE]``. A simulated scene of
``size x size`` fine pixels and 8 bands is written to a temporary folder. Each measured thing runs in a
process of its own; the floor reads the same files and writes the same COG with nothing in between.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import lstzoom
from lstzoom.simulate import Landscape, write_simulation

FLOOR = """
import sys
from pathlib import Path
import numpy as np
from lstzoom.grid import GridPair, grid_of
from lstzoom.raster import open_lst, open_stack
from lstzoom.write import CogSink
lst_path, out, *bands = sys.argv[1:]
lst = open_lst(lst_path)
grid = GridPair(grid_of(lst), 3).fine
stack = open_stack(bands, grid)
with CogSink(Path(out), grid, overwrite=True) as sink:
    np.asarray(lst)
    for y in range(0, grid.shape.y, 768):
        rows = slice(y, min(y + 768, grid.shape.y))
        block = stack[:, rows].values
        sink.write(block[0] + np.float32(290), (rows, slice(0, grid.shape.x)))
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """Median over the repeats."""

    cpu_seconds: float
    wall_seconds: float
    peak_mib: float


def measure(command: list[str], repeat: int) -> Measured:
    """Run a command several times, each in a new process."""
    runs = [_once(command) for _ in range(repeat)]
    return Measured(*(statistics.median(values) for values in zip(*runs, strict=True)))


def _once(command: list[str]) -> tuple[float, float, float]:
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603  (our own command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{command} failed with exit code {process.returncode}")
    return usage.ru_utime + usage.ru_stime, wall, _mib(usage)


def _mib(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / 1024


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1200, help="fine pixels along a side, a multiple of 3")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        paths = write_simulation(Path(name), (args.size, args.size), landscape=Landscape(seed=1))
        bands = [str(path) for key, path in paths.items() if key not in {"lst", "truth"}]
        out = str(Path(name) / "out.tif")
        tool = [str(Path(sys.executable).with_name("lstzoom")), "sharpen", str(paths["lst"]), *bands]
        tool += ["-o", out, "--overwrite", "--quiet"]
        # The first run of an installation compiles; that is measured apart.
        first = measure(tool, 1)
        ours = measure(tool, args.repeat)
        floor = measure([sys.executable, "-c", FLOOR, str(paths["lst"]), out, *bands], args.repeat)
    _print(args.size, first, ours, floor)
    if args.json:
        args.json.write_text(json.dumps(_record(args.size, first, ours, floor), indent=1))
    return 0


def _print(size: int, first: Measured, ours: Measured, floor: Measured) -> None:
    print(f"{size} x {size} fine pixels, 8 bands    CPU s   wall s  peak MiB  CPU us/pixel")
    for name, m in (("lstzoom, first run", first), ("lstzoom sharpen", ours), ("I/O floor", floor)):
        print(
            f"{name:30s} {m.cpu_seconds:8.2f} {m.wall_seconds:8.2f} {m.peak_mib:9.0f} "
            f"{m.cpu_seconds / size**2 * 1e6:13.2f}"
        )
    print(f"lstzoom over floor, CPU: {ours.cpu_seconds / floor.cpu_seconds:.1f} x (both with start-up)")


def _record(size: int, first: Measured, ours: Measured, floor: Measured) -> dict[str, object]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "lstzoom": lstzoom.__version__,
        "size": size,
        **{k: asdict(v) for k, v in (("first", first), ("lstzoom", ours), ("floor", floor))},
    }


if __name__ == "__main__":
    sys.exit(main())

"""Whether CPU per pixel and memory stay flat from 1 to 4 to 16 times the area.

Run as ``python -m benchmarks.scaling [--sizes 2400,4800,9600] [--repeat 3] [--json FILE]``. Blocks have the
same size throughout, as they have under a given ``--memory``, and one thread works: ratios are of the
method, not of what the machine can do at a time.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Measured, measure, record, show
from benchmarks.scenes import make_scene


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="2400,4800,9600", help="fine pixels along a side, multiples of 3")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--chunk", type=int, default=256)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    sizes = [int(size) for size in args.sizes.split(",")]
    rows: list[tuple[str, Measured, int]] = []
    # The processes measured inherit the one processor, so that one thread works.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            scene = make_scene(Path(name), size)
            command = scene.sharpen(sys.executable, Path(name) / "out.tif", "--chunk", str(args.chunk))
            rows.append((f"{size} x {size}", measure(command, args.repeat), scene.pixels))
    show("fine pixels, 8 bands, one thread", rows, rows[0][0])
    peaks = [m.peak_mib for _, m, _ in rows]
    print(f"largest over smallest peak: {max(peaks) / min(peaks):.2f}")
    record(args.json, sizes=sizes, repeat=args.repeat, chunk=args.chunk, runs={k: m for k, m, _ in rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())

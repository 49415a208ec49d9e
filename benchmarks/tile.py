"""A Sentinel-2 tile: 10980 x 10980 pixels, 8 bands, from COGs to COG and Zarr.

Run as ``python -m benchmarks.tile [--size 10980] [--workers 2] [--folder PLACE] [--json FILE]``. It runs
once, needs about 3 GB of disk in ``--folder`` and minutes to make the scene; everything is deleted after.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import measure, record, show
from benchmarks.scenes import make_scene

_BYTES_PER_PIXEL = 30


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=10980, help="fine pixels along a side, a multiple of 3")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the scene is made and deleted")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        needed = args.size**2 * _BYTES_PER_PIXEL
        if shutil.disk_usage(folder).free < needed:
            raise SystemExit(f"{folder} has no {needed / 1e9:.1f} GB free; name another with --folder")
        scene = make_scene(folder, args.size)
        more = ["--zarr", str(folder / "out.zarr"), "--qa", str(folder / "qa.tif")]
        command = scene.sharpen(sys.executable, folder / "out.tif", *more, "--workers", str(args.workers))
        measured = measure(command, args.repeat)
    show(
        f"{args.size} x {args.size}, 8 bands", [(f"lstzoom, {args.workers} workers", measured, scene.pixels)]
    )
    record(args.json, size=args.size, workers=args.workers, run=measured)
    return 0


if __name__ == "__main__":
    sys.exit(main())

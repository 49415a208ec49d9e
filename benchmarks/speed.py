"""CPU time and memory of the whole ``lstzoom sharpen``, beside the I/O floor and pyDMS on the same files.

Run as ``python -m benchmarks.speed [--size 1200] [--repeat 3] [--pydms PYTHON] [--json FILE]``. Each
measured thing runs in processes of its own, from start to end. pyDMS is run, once, where an environment
with it is found: ``.venv-pydms`` here, or as told by ``--pydms`` (its PyPI name is ``python_dms``; it needs
GDAL's Python bindings). It takes a minute for every 1000 x 1000 pixels and is compared by the pixel, on
``--pydms-size``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import rasterio

from benchmarks.measure import Measured, measure, record, show
from benchmarks.scenes import make_scene

_ROOT = Path(__file__).parent


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1200, help="fine pixels along a side, a multiple of 3")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--pydms", type=Path, default=_ROOT.parent / ".venv-pydms" / "bin" / "python")
    parser.add_argument("--pydms-size", type=int, default=1200)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = _run(Path(name), args.size, args.repeat)
        if not args.pydms.exists():
            print(f"pyDMS is left out: there is no {args.pydms}; name its Python with --pydms")
        elif args.pydms_size:
            rows.append(_pydms(Path(name) / "pydms", args.pydms, args.pydms_size))
    show(f"{args.size} x {args.size} fine pixels, 8 bands", rows, "I/O floor")
    by_name = {label: m.per_pixel(pixels) for label, m, pixels in rows}
    if "pyDMS default" in by_name:
        ratio = by_name["pyDMS default"] / by_name["lstzoom sharpen"]
        print(f"pyDMS over lstzoom, CPU per pixel: {ratio:.1f}")
    record(args.json, size=args.size, repeat=args.repeat, runs={label: m for label, m, _ in rows})
    return 0


def _run(folder: Path, size: int, repeat: int) -> list[tuple[str, Measured, int]]:
    scene = make_scene(folder, size)
    out = folder / "out.tif"
    tool = scene.sharpen(sys.executable, out)
    measure(tool)  # compiles, where that was not done before
    floor = [sys.executable, "-m", "benchmarks.floor", scene.lst, str(out), *scene.bands]
    empty = [sys.executable, "-c", "import lstzoom.stream"]
    first = ["env", f"NUMBA_CACHE_DIR={folder / 'compiled'}", *tool]
    return [
        ("lstzoom sharpen", measure(tool, repeat), scene.pixels),
        ("I/O floor", measure(floor, repeat), scene.pixels),
        ("of lstzoom: starting, importing", measure(empty, repeat), scene.pixels),
        ("lstzoom, first of an installation", measure(first), scene.pixels),
    ]


def _pydms(folder: Path, python: Path, size: int) -> tuple[str, Measured, int]:
    """Measure pyDMS on a scene of its own size, in the float32 files that it needs."""
    scene = make_scene(folder, size)
    lst, vnir = folder / "lst_kelvin.tif", folder / "vnir.tif"
    _decode((scene.lst,), lst)
    _decode(scene.bands, vnir)
    command = [str(python), str(_ROOT / "pydms_run.py"), str(lst), str(folder / "out.tif"), str(vnir)]
    return "pyDMS default", measure(command), scene.pixels


def _decode(sources: tuple[str, ...], target: Path) -> None:
    """Stack files as float32 with scale and nodata applied."""
    with rasterio.open(sources[0]) as first:
        profile = {**first.profile, "driver": "GTiff", "dtype": "float32", "nodata": None}
    profile |= {"count": len(sources), "compress": "none"}
    with rasterio.open(target, "w", **profile) as file:
        for band, path in enumerate(sources, 1):
            with rasterio.open(path) as source:
                file.write((source.read(1) * source.scales[0]).astype(np.float32), band)


if __name__ == "__main__":
    sys.exit(main())

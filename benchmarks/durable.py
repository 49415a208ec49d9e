"""What it costs that a tile is on the disk before the ledger tells it: writing with and without waiting.

Run as ``python -m benchmarks.durable [--tiles 20] [--side 1536] [--folder DIR] [--json FILE]``. A tile is
written as a job writes it: its shards of a cube (which are packed here), its COGs, its item and its entry
(which are bytes of about their size). Times depend on the disk below the folder.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from benchmarks.measure import record
from lstzoom.cube import CubeSpec, create, write_region
from lstzoom.jobs.store import Store
from lstzoom.simulate import simulate_scene

COG_BYTES = 2_500_000
"""Of a layer of temperature in a tile of 1536 pixels a side, about."""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, default=20)
    parser.add_argument("--side", type=int, default=1536, help="fine pixels along a tile")
    parser.add_argument("--folder", type=Path, help="on the disk that is measured")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        told = measure(Path(name), args.tiles, args.side)
    print(
        f"{args.tiles} tiles of {args.side} pixels a side, {told['waits_per_tile']:g} waits for the disk each"
    )
    for what in ("waiting", "not_waiting"):
        one = told[what]
        name = what.replace("_", " ")
        print(f"  {name:12s} {one['median_ms']:7.1f} ms a tile, at most {one['max_ms']:.1f} ms")
    print(f"  a wait takes {told['wait_ms']:.2f} ms, those of a tile {told['waits_ms_per_tile']:.1f} ms")
    record(args.json, side=args.side, **told)
    return 0


def measure(folder: Path, tiles: int, side: int) -> dict[str, Any]:
    """Write tiles in turn with and without waiting for the disk, and time the waits themselves."""
    waits: list[float] = []
    wait = os.fsync

    def timed(file: int) -> None:
        begin = time.perf_counter()
        wait(file)
        waits.append(time.perf_counter() - begin)

    write = _writer(folder, tiles, side)
    found: dict[str, list[float]] = {"waiting": [], "not_waiting": []}
    for number in range(tiles):
        # In turn, so that whatever else the disk has to do falls on both.
        for what, instead in (("waiting", timed), ("not_waiting", lambda _: None)):
            with patch.object(os, "fsync", instead):
                begin = time.perf_counter()
                write(number)
                found[what].append((time.perf_counter() - begin) * 1e3)
    figures = {
        what: {"median_ms": round(statistics.median(ms), 2), "max_ms": round(max(ms), 2)}
        for what, ms in found.items()
    }
    return {
        **figures,
        "waits_per_tile": len(waits) / tiles,
        "wait_ms": round(statistics.median(waits) * 1e3, 3),
        "waits_ms_per_tile": round(sum(waits) * 1e3 / tiles, 2),
    }


def _writer(folder: Path, tiles: int, side: int) -> Callable[[int], None]:
    """Make cube and store; give what writes the tile of a number."""
    grid = GeoBox((side, side), Affine(10, 0, 3e5, 0, -10, 5e6), "EPSG:32631")
    url = folder / "cube.zarr"
    times = [datetime(2023, 1, 1 + number % 28, number // 28, tzinfo=UTC) for number in range(tiles)]
    create(url, CubeSpec(grid, shard=side), times)
    small = simulate_scene((480, 480), seed=1).to_xarray().truth.values
    lst = np.tile(small, (side // 480 + 1, side // 480 + 1))[:side, :side].astype(np.float32)
    layers: dict[str, NDArray[Any]] = {
        "lst": lst, "lst_uncertainty": lst / 300, "qa": np.ones(lst.shape, np.uint8),
    }  # fmt: skip
    window = (slice(0, side), slice(0, side))
    store, bytes_of = Store(str(folder / "out")), os.urandom(COG_BYTES)
    sizes = {"lst": COG_BYTES, "lst_uncertainty": COG_BYTES // 2, "qa": COG_BYTES // 50}

    def write(number: int) -> None:
        write_region(url, number, window, layers)
        for name, size in sizes.items():
            store.write(f"cogs/{number}_{name}.tif", bytes_of[:size])
        store.write(f"items/{number}.json", bytes_of[:3000])
        store.write(f"ledger/{number}.json", bytes_of[:1000])

    return write


if __name__ == "__main__":
    sys.exit(main())

"""Readers beside writers: what is read of a tile is the old one or the new one."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lstzoom import cube
from tests.cube.filled import SPEC, TIMES, layers, windows

ROOT = Path(__file__).resolve().parents[2]
KELVIN = (290.0, 310.0)
WRITER = f"""
import sys, numpy as np
from lstzoom import cube
from tests.cube.filled import SPEC, layers, windows
window = next(iter(windows(SPEC.geobox, SPEC.shard)))
block = {{name: one[window].copy() for name, one in layers(0, SPEC.geobox).items()}}
rng = np.random.default_rng(0)
for number in range(100_000):
    if sys.argv[2] == "same":
        cube.write_region(sys.argv[1], 0, window, block)
        print(number, flush=True)
        continue
    # Noise of a hundredth packs to another size each time.
    block["lst"][...] = {KELVIN}[number % 2] + rng.integers(0, 9 * (number % 2) + 2, block["lst"].shape) / 100
    cube.write_region(sys.argv[1], 0, window, block)
    print(number, flush=True)
"""


@pytest.mark.fault("a tile of a cube is read while it is written", "the old or the new, never a mixture")
def test_a_reader_sees_the_old_or_the_new(tmp_path: Path) -> None:
    url = tmp_path / "a.zarr"
    cube.create(url, SPEC, TIMES)
    window = next(iter(windows(SPEC.geobox, SPEC.shard)))
    block = {name: one[window].copy() for name, one in layers(0, SPEC.geobox).items()}
    block["lst"][...] = KELVIN[0]
    cube.write_region(url, 0, window, block)
    command = [sys.executable, "-c", WRITER, str(url), "other"]
    seen = dict.fromkeys(KELVIN, 0)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline()
            deadline = time.monotonic() + 4
            while time.monotonic() < deadline or min(seen.values()) < 5:
                assert writer.poll() is None
                assert time.monotonic() < deadline + 60
                with cube.open_cube(url) as dataset:
                    values = dataset.lst[(0, *window)].values
                (near,) = [one for one in KELVIN if (np.abs(values - one) < 1).any()]
                assert (np.abs(values - near) < 1).all()
                seen[near] += 1
        finally:
            writer.kill()


@pytest.mark.fault(
    "a part of a tile is read while the tile is written again, as after an interruption",
    "its values: what a run writes twice is the same twice",
)
def test_a_part_of_a_tile_that_is_written_again(tmp_path: Path) -> None:
    """A part takes several looks at the object; that it is replaced in between must not show."""
    url = tmp_path / "a.zarr"
    cube.create(url, SPEC, TIMES)
    window = next(iter(windows(SPEC.geobox, SPEC.shard)))
    block = {name: one[window].copy() for name, one in layers(0, SPEC.geobox).items()}
    cube.write_region(url, 0, window, block)
    # Of two chunks, and of values.
    assert SPEC.chunk is not None
    part = slice(SPEC.chunk - 4, SPEC.chunk + 4), slice(SPEC.shard - 8, SPEC.shard)
    with cube.open_cube(url, chunks=None) as dataset:
        before = dataset.lst[(0, *part)].values
    assert np.isfinite(before).any()
    path = url / "lst" / "c" / "0" / "0" / "0"
    replaced, reads = {path.stat().st_ino}, 0
    command = [sys.executable, "-c", WRITER, str(url), "same"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline()
            deadline = time.monotonic() + 3
            while time.monotonic() < deadline or len(replaced) < 3:
                assert writer.poll() is None
                assert time.monotonic() < deadline + 60
                with cube.open_cube(url, chunks=None) as dataset:
                    np.testing.assert_array_equal(dataset.lst[(0, *part)].values, before)
                replaced.add(path.stat().st_ino)
                reads += 1
        finally:
            writer.kill()
    assert reads > 2

"""The model of large regions, against sums done by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.capacity import GETS, Rates, estimate

RATES = Rates(cpu_us=10.0, scheduler_ms=2.0, client_ms=1.0, side=1000, start_s=100.0, busy=0.5, puts=8.0)


def test_two_cores_are_limited_by_computing() -> None:
    found = estimate("region", 1e9, 2, RATES)
    assert found.tiles == 1000
    assert found.hours == pytest.approx(1000 / 2 * 10 / 3600)
    assert found.core_hours == pytest.approx(1e9 * 10e-6 / 3600)
    assert (found.schedulers, found.prefixes, found.first) == (1, 1, "cores")


def test_one_scheduler_keeps_so_many_cores() -> None:
    assert RATES.cores_of_a_scheduler == pytest.approx(0.5 * 10 / 2e-3)
    many = estimate("region", 1e12, 10_000, RATES)
    assert many.schedulers == 4
    assert many.hours_split < many.hours


def test_cheap_tiles_are_limited_by_the_scheduler() -> None:
    cheap = Rates(cpu_us=0.001, scheduler_ms=2.0, client_ms=1.0, side=1000, bands=0, puts=0.0)
    found = estimate("region", 1e10, 2, cheap)
    assert found.first == "scheduler"
    assert found.hours == pytest.approx(10_000 * 2e-3 / 0.7 / 3600)


def test_requests_limit_many_cores() -> None:
    found = estimate("region", 1e12, 5000, RATES)
    assert found.gets == pytest.approx(5000 / 10 * RATES.gets)
    assert found.gets > GETS
    assert found.first == "requests"
    assert found.prefixes == -(-found.gets // GETS)


@given(st.floats(1e6, 1e12), st.integers(1, 20_000))
def test_more_cores_never_take_longer_once_they_are_there(pixels: float, cores: int) -> None:
    ready = Rates(cpu_us=3.0, scheduler_ms=1.0, client_ms=1.0, start_s=0.0)
    fewer, more = (estimate("region", pixels, count, ready) for count in (cores, cores + 1))
    assert more.hours <= fewer.hours * (1 + 1e-12)
    assert more.hours_split <= more.hours * (1 + 1e-12)


def test_the_command_reads_what_was_measured(tmp_path: Path) -> None:
    tile, scheduler = tmp_path / "tile.json", tmp_path / "scheduler.json"
    tile.write_text(json.dumps({"size": 1000, "run": {"cpu_seconds": 4.0}}))
    scheduler.write_text(json.dumps({"cpu_ms_per_tile": {"scheduler": 2.0, "client": 1.0}}))
    command = [sys.executable, "-m", "benchmarks.capacity", "--tile", str(tile)]
    command += ["--scheduler", str(scheduler)]
    out = tmp_path / "out.json"
    found = subprocess.run([*command, "--json", str(out)], check=True, capture_output=True, text=True)
    assert "4.00 us of CPU a fine pixel" in found.stdout
    assert json.loads(out.read_text())["estimates"][0]["hours"] == pytest.approx(5.56, abs=0.01)
    found = subprocess.run(command[:3], check=False, capture_output=True, text=True)
    assert found.returncode != 0
    assert "unknown: cpu_us, scheduler_ms, client_ms" in found.stderr

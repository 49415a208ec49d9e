"""How long a region takes on so many cores, what limits it first, and what to do then: from measured rates.

Run as ``python -m benchmarks.capacity --tile TILE.json --scheduler SCHEDULER.json [--run RUN.json]``, with
what ``benchmarks.tile``, ``benchmarks.scheduler`` and ``benchmarks.soak`` wrote with ``--json``. Every rate
can be given by hand instead; docs/scaling.md explains the model.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.measure import record

CASES = (
    ("1,000,000 km2 a day", 1e10, 2),
    ("Europe", 1e11, 100),
    ("Europe", 1e11, 1000),
    ("Europe", 1e11, 10_000),
)
"""Name, fine pixels and cores."""
GETS, PUTS = 5500.0, 3500.0
"""Requests a second that S3 states for one prefix, before it has split it."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What was measured, or is assumed.

    Attributes
    ----------
    cpu_us
        Microseconds of CPU for a fine pixel: read, sharpened, written.
    scheduler_ms, client_ms
        Milliseconds of CPU for a tile, in the scheduler and in the client of the run.
    side
        Fine pixels along a tile.
    halo
        Fine pixels that a tile reads beyond each of its sides.
    bands
        Bands that are read, LST and masks included.
    read_bytes, written_bytes
        Bytes for a fine pixel, from and into stores. What is read does not count the halo.
    puts
        Objects that a tile writes: shards and COGs of three layers, an item, an entry in the ledger.
    start_s
        Seconds until a worker that was asked for computes.
    busy
        Share of the time that a scheduler may be at work before tasks wait for it.
    """

    cpu_us: float = math.nan
    scheduler_ms: float = math.nan
    client_ms: float = math.nan
    side: int = 1536
    halo: int = 102
    bands: int = 10
    read_bytes: float = 12.0
    written_bytes: float = 4.0
    puts: float = 8.0
    start_s: float = 120.0
    busy: float = 0.7

    @property
    def tile_pixels(self) -> int:
        """Fine pixels of a tile."""
        return self.side**2

    @property
    def tile_s(self) -> float:
        """Seconds of CPU for a tile."""
        return self.cpu_us * 1e-6 * self.tile_pixels

    @property
    def gets(self) -> float:
        """Requests that read a tile: GDAL merges the blocks of a row of a band; blocks are of 512 pixels."""
        rows = math.ceil((self.side + 2 * self.halo) / 512) + 1
        return self.bands * (rows + 1)

    @property
    def cores_of_a_scheduler(self) -> float:
        """Cores that one scheduler and one client keep at work; each is one thread."""
        each = max(self.scheduler_ms, self.client_ms) * 1e-3
        return self.busy * self.tile_s / each


@dataclass(frozen=True, slots=True)
class Estimate:
    """A region on so many cores.

    Attributes
    ----------
    hours
        Of wall time with one scheduler and one prefix of the store, whatever limits it.
    hours_split
        With as many of both as are needed.
    schedulers, prefixes
        As many as are needed.
    core_hours
        Of computing.
    tiles, gets, puts, gbit
        Tiles of the region; requests and gigabits a second while all cores are at work, `gbit` of reading.
    first
        What takes longest.
    """

    name: str
    pixels: float
    cores: int
    hours: float
    hours_split: float
    schedulers: int
    prefixes: int
    core_hours: float
    tiles: int
    gets: float
    puts: float
    gbit: float
    first: str


REMEDIES: Mapping[str, str] = {
    "cores": "more cores: nothing else is near its limit",
    "scheduler": "a scheduler for each part of the region; larger tiles",
    "requests": "a prefix or bucket for each part of the region; larger tiles; no COG of every tile",
    "start of workers": "workers that are there already; fewer of them",
}


def estimate(name: str, pixels: float, cores: int, rates: Rates) -> Estimate:
    """Estimate a region.

    Parameters
    ----------
    name
        Of the region.
    pixels
        Fine pixels.
    cores
        Of workers; scheduler and client have one each besides.
    rates
        Of the machine and the store.

    Returns
    -------
    Estimate
    """
    tiles = math.ceil(pixels / rates.tile_pixels)
    # No core is left alone: a tile is not divided, so the last round may be a short one.
    computing = math.ceil(tiles / cores) * rates.tile_s
    scheduling = tiles * max(rates.scheduler_ms, rates.client_ms) * 1e-3 / rates.busy
    start = rates.start_s if cores > 2 else 0.0
    rate = min(cores, tiles) / rates.tile_s
    gets, puts = rate * rates.gets, rate * rates.puts
    asking = tiles * max(rates.gets / GETS, rates.puts / PUTS)
    schedulers = max(1, math.ceil(cores / rates.cores_of_a_scheduler))
    prefixes = max(1, math.ceil(max(gets / GETS, puts / PUTS)))
    overlap = ((rates.side + 2 * rates.halo) / rates.side) ** 2
    shares = {"cores": computing, "scheduler": scheduling, "requests": asking, "start of workers": start}
    return Estimate(
        name, pixels, cores,
        hours=(max(computing, scheduling, asking) + start) / 3600,
        hours_split=(max(computing, scheduling / schedulers, asking / prefixes) + start) / 3600,
        schedulers=schedulers, prefixes=prefixes, core_hours=tiles * rates.tile_s / 3600, tiles=tiles,
        gets=gets, puts=puts, gbit=rate * rates.tile_pixels * rates.read_bytes * overlap * 8e-9,
        first=max(shares, key=lambda one: shares[one]),
    )  # fmt: skip


def main() -> int:
    """Read rates and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tile", type=Path, help="JSON of benchmarks.tile: CPU for a pixel")
    parser.add_argument("--scheduler", type=Path, help="JSON of benchmarks.scheduler: CPU for a tile")
    parser.add_argument("--run", type=Path, help="JSON of benchmarks.soak: bytes written, objects")
    parser.add_argument("--json", type=Path)
    for one in fields(Rates):
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=type(one.default))
    args = parser.parse_args()
    rates = read_rates(args)
    estimates = [estimate(*case, rates) for case in CASES]
    report(rates, estimates)
    record(args.json, rates=asdict(rates), estimates=[asdict(one) for one in estimates])
    return 0


def read_rates(args: argparse.Namespace) -> Rates:
    """Take rates from what was measured; what is given by hand comes first."""
    found: dict[str, Any] = {}
    readers: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "tile": lambda one: {"cpu_us": one["run"]["cpu_seconds"] / one["size"] ** 2 * 1e6},
        "scheduler": lambda one: {
            "scheduler_ms": one["cpu_ms_per_tile"]["scheduler"],
            "client_ms": one["cpu_ms_per_tile"]["client"],
        },
        "run": lambda one: {"written_bytes": one["bytes_per_pixel"], "puts": one["objects_per_tile"]},
    }
    for name, read in readers.items():
        path = getattr(args, name)
        if path is not None:
            found |= read(json.loads(path.read_text()))
    given = {one.name: getattr(args, one.name) for one in fields(Rates)}
    rates = Rates(**{**found, **{key: value for key, value in given.items() if value is not None}})
    missing = [one.name for one in fields(rates) if math.isnan(getattr(rates, one.name))]
    if missing:
        raise SystemExit(f"unknown: {', '.join(missing)}; give --tile and --scheduler, or these by hand")
    return rates


def report(rates: Rates, estimates: list[Estimate]) -> None:
    """Print rates and table."""
    print(f"{rates.cpu_us:.2f} us of CPU a fine pixel, {rates.tile_s:.1f} s a tile of {rates.side} pixels")
    print(f"CPU a tile: scheduler {rates.scheduler_ms:.2f} ms, client {rates.client_ms:.2f} ms")
    share = f"{rates.busy:.0%} of its time"
    print(f"cores that one scheduler keeps at work in {share}: {rates.cores_of_a_scheduler:.0f}")
    limits = f"a prefix takes {GETS:.0f} and {PUTS:.0f} a second"
    print(f"requests a tile: {rates.gets:.0f} GET, {rates.puts:.0f} PUT; {limits}")
    head = (
        "cores",
        "tiles",
        "core h",
        "hours",
        "schedulers",
        "prefixes",
        "hours then",
        "GET/s",
        "PUT/s",
        "Gbit/s",
    )
    print(f"\n{'region':22s}" + "".join(f"{one:>11s}" for one in head) + "  first limit")
    for one in estimates:
        numbers = (one.cores, one.tiles, one.core_hours, one.hours, one.schedulers, one.prefixes,
                   one.hours_split, one.gets, one.puts, one.gbit)  # fmt: skip
        print(f"{one.name:22s}" + "".join(f"{_short(value):>11s}" for value in numbers) + f"  {one.first}")
    for first in dict.fromkeys(one.first for one in estimates):
        print(f"{first}: {REMEDIES[first]}")


def _short(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) or value >= 100 else f"{value:,.2f}"


if __name__ == "__main__":
    sys.exit(main())

"""A region of several dates in files of one's own, and the job for it."""

from __future__ import annotations

import datetime as dt
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from benchmarks.dates import catalogue, file_name
from lstzoom.simulate import Landscape, write_simulation

BANDS = ("green", "red", "nir")
_FIRST = dt.date(2023, 6, 1)


def make_region(folder: Path, dates: int = 2, shape: tuple[int, int] = (480, 390)) -> Path:
    """Files, catalogue and nothing else; all dates differ."""
    (folder / "files").mkdir(parents=True, exist_ok=True)
    (folder / "region.toml").write_text(catalogue("region", "Simulated dates of one place", BANDS))
    for number in range(dates):
        add_date(folder, number, shape)
    return folder


def add_date(folder: Path, number: int, shape: tuple[int, int] = (480, 390)) -> None:
    world = replace(Landscape(), bands=BANDS, seed=number)
    made = write_simulation(folder / "drafts", shape, origin=(0, 0), landscape=world)
    for name in ("lst", *BANDS):
        made[name].replace(folder / "files" / file_name(_FIRST + dt.timedelta(days=number), name))
    shutil.rmtree(folder / "drafts")


def fields(folder: Path, out: str = "out", **changes: Any) -> dict[str, Any]:
    """Fields of a job of small tiles."""
    found: dict[str, Any] = {
        "catalog": {"name": "region.toml", "folder": str(folder / "files")},
        "area": {"bbox": [0.0, 0.0, 20.0, 60.0]},
        "datetime": "2023-06",
        "pair": {"min_coverage": 0.001},
        "grid": {"tile": 48},
        "outputs": {"folder": out},
        "cluster": {"workers": 2, "memory": "2GB"},
        "run": {"backoff_s": 0.1},
    }
    for key, value in changes.items():
        found[key] = {**found.get(key, {}), **value} if isinstance(value, dict) else value
    return found


def write_fields(folder: Path, name: str = "job.yaml", **changes: Any) -> Path:
    """Write the job beside the files."""
    path = folder / name
    path.write_text(yaml.safe_dump(fields(folder, **changes)))
    return path


def pixels(out: Path) -> dict[str, bytes]:
    """All that readers see of a store: cubes, COGs, items, models, collection; by name."""
    kept = ("cubes/", "cogs/", "items/", "models/", "collection.json")
    found = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        # Records of models tell how long they took.
        if (
            path.is_file()
            and name.startswith(kept)
            and not (name.startswith("models/") and name.endswith(".json"))
        ):
            found[name] = path.read_bytes()
    return found


def leftovers(out: Path) -> list[str]:
    """What no finished run may leave: drafts, samples, the lease."""
    names = [path.relative_to(out).as_posix() for path in out.rglob("*")]
    return [
        name for name in names
        if name.startswith((".aside", "sample", "lease", "failed/"))
        or name.endswith((".partial", ".new", ".tmp")) or Path(name).name.startswith(".")
    ]  # fmt: skip

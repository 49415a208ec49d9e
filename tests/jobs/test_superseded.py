"""An overpass that was processed again under another name takes the place of what was made of it before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lstzoom.cube import open_cube
from lstzoom.jobs.run import run_job
from lstzoom.jobs.state import Options
from lstzoom.jobs.status import status_of
from lstzoom.mosaics.after import JobMosaic
from lstzoom.sources.job import Job, read_job
from tests.jobs.region import leftovers, make_region, pixels, write_fields

FIRST, AGAIN = "scene_20230601T100000", "scene_20230601T100000v2"


def _job(folder: Path, *, zarr: bool) -> Job:
    mosaic = {"after_run": True, "crs": "utm", "tile": 256, "feather": 200, "period": "day"}
    return read_job(write_fields(folder, mosaic=mosaic, outputs={"folder": "out", "zarr": zarr}))


def _run(job: Job, *, since_last: bool) -> str:
    found = run_job(job, Options(since_last=since_last, finisher=JobMosaic.of(job)))
    assert found["exit_code"] == 0, found["why"]
    return str(found["state"])


@pytest.mark.cluster
@pytest.mark.parametrize("zarr", [True, False], ids=["cubes", "tiles"])
def test_a_scene_that_was_processed_again_takes_the_place_of_the_first(tmp_path: Path, *, zarr: bool) -> None:
    folder = make_region(tmp_path / "region", 2, (540, 390))
    catalogue = folder / "region.toml"
    catalogue.write_text(catalogue.read_text().replace(r"T\d{6}))", r"T\d{6})(v\d)?)"))
    files = folder / "files"
    again = {name: files / name.name.replace(FIRST, AGAIN) for name in files.glob(f"{FIRST}_*")}
    job = _job(folder, zarr=zarr)
    assert _run(job, since_last=True) == "done"
    # Other values than the first: those of the second date.
    for name, target in again.items():
        shutil.copy(files / name.name.replace("20230601", "20230602"), target)
    assert _run(job, since_last=True) == "done"
    assert _run(job, since_last=True) == "nothing new"
    assert _run(job, since_last=False) == "nothing new"
    status = status_of(job)
    assert (status["scenes"], status["incomplete"]) == ({"all": 2, "complete": 2}, {})
    out, fresh = folder / "out", tmp_path / "fresh"
    assert leftovers(out) == []
    shutil.copytree(folder, fresh, ignore=shutil.ignore_patterns("out", f"{FIRST}_*"))
    for name, target in again.items():
        (fresh / "files" / target.name).unlink()
        shutil.copy2(target, fresh / "files" / target.name)
        assert name.exists()
    assert _run(_job(fresh, zarr=zarr), since_last=True) == "done"
    # Items tell the files that were read, and these lie elsewhere.
    moved = {name: data.replace(bytes(fresh), bytes(folder)) for name, data in pixels(fresh / "out").items()}
    assert pixels(out) == moved
    for level in (0, 1):
        one, other = (open_cube(at / "mosaic.zarr", level=level).load() for at in (out, fresh / "out"))
        assert one.drop_attrs().identical(other.drop_attrs())
    assert int(one["count"].max()) == 1
    assert FIRST + '"' not in json.dumps(json.loads((out / "places.json").read_text()))

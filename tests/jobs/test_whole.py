"""COGs of whole scenes, what items say of the residual, dask's report, and what is counted as done."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rio_cogeo import cog_validate
from typer.testing import CliRunner

import lstzoom
from lstzoom import cli
from lstzoom.account import Moments
from lstzoom.config import SharpenConfig
from lstzoom.cube import open_cube
from lstzoom.errors import JobChangedError
from lstzoom.jobs.ledger import account
from lstzoom.jobs.run import run_job
from lstzoom.jobs.status import status_of
from lstzoom.sources.job import Job, read_job
from tests.jobs.region import leftovers, make_region, pixels, write_fields
from tests.stac_rules import mistakes

SCENE = "scene_20230601T100000"
LAYERS = ("lst", "lst_uncertainty", "qa")


def _job(folder: Path, name: str, **changes: Any) -> Job:
    outputs = {"folder": name, **changes.pop("outputs", {})}
    return read_job(write_fields(folder, f"{name}.yaml", outputs=outputs, **changes))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A region of one date."""
    return make_region(tmp_path_factory.mktemp("one"), 1, (480, 390))


@pytest.fixture(scope="module")
def done(one: Path) -> Path:
    """A run with one COG for each scene and none for tiles."""
    job = _job(one, "whole", outputs={"scene_cog": True, "cog": False})
    assert run_job(job)["state"] == "done"
    return one / "whole"


def _item(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "items" / SCENE / "scene.json").read_text()))


def test_sums_of_moments_do_not_depend_on_order() -> None:
    parts = [Moments(1, value, value**2) for value in (1e16, 1.0, -1e16, 3.0)]
    assert Moments.joined(parts) == Moments.joined(reversed(parts))
    assert Moments.joined(parts).total == 4.0
    entries: list[dict[str, Any]] = [{"residual": {"count": 2, "total": 1.0, "squares": 4.0}}, {"pixels": 3}]
    assert account(*entries) == {"lstzoom_residual_bias": 0.5, "lstzoom_residual_rmse": 1.4142}


@pytest.mark.cluster
def test_a_scene_has_one_cog_for_each_layer_and_one_item(one: Path, done: Path) -> None:
    (cube,) = (done / "cubes").iterdir()
    whole = open_cube(cube).isel(time=0)
    item = _item(done)
    assert set(item["assets"]) == {*LAYERS, "zarr"}
    for layer in LAYERS:
        path = done / "items" / SCENE / item["assets"][layer]["href"]
        # A width of one block reads as untiled there; this one has less.
        assert cog_validate(path, quiet=True)[0]
        with rasterio.open(path) as file:
            values = file.read(1).astype(np.float64) * file.scales[0]
            assert list(file.shape) == item["properties"]["proj:shape"]
            assert file.units == (("1",) if layer == "qa" else ("K",))
        assert np.allclose(values, whole[layer].values, atol=1e-4)
        told = item["assets"][layer]
        assert told["file:checksum"] == f"1220{hashlib.sha256(path.read_bytes()).hexdigest()}"
        assert told["file:size"] == path.stat().st_size
    assert mistakes(item) == []
    ends = item["assets"]["lst"]["bands"][0]["statistics"]
    assert item["properties"]["renders"]["lst"]["rescale"] == [
        [pytest.approx(100 * ends["minimum"]), pytest.approx(100 * ends["maximum"])]
    ]
    links = [link["href"] for link in json.loads((done / "collection.json").read_text())["links"]]
    assert [link for link in links if "items" in link] == [f"./items/{SCENE}/scene.json"]
    assert leftovers(done) == []


@pytest.mark.cluster
def test_items_and_tags_tell_the_residual_before_its_correction(one: Path, done: Path) -> None:
    pair = lstzoom.load(
        one / "region.toml", (0, 0, 20, 60), folder=one / "files", min_coverage=0.001, lst_item=SCENE
    )
    sharp = lstzoom.sharpen(**pair.inputs(SharpenConfig(outputs=("residual",)))).compute()
    cells = sharp.residual.values[::3, ::3].astype(np.float64)
    told = _item(done)["properties"]
    assert told["lstzoom:residual_bias"] == pytest.approx(np.nanmean(cells), abs=1e-4)
    assert told["lstzoom:residual_rmse"] == pytest.approx(np.sqrt(np.nanmean(cells**2)), abs=1e-4)
    with rasterio.open(done / "cogs" / SCENE / "scene_lst.tif") as file:
        assert float(file.tags()["LSTZOOM_RESIDUAL_RMSE"]) == told["lstzoom:residual_rmse"]
        assert float(file.tags()["LSTZOOM_MEAN_UNCERTAINTY"]) == told["lstzoom:mean_uncertainty"]
    assert json.loads((done / "scenes" / f"{SCENE}.json").read_text())["lstzoom_residual_rmse"] > 0


@pytest.mark.cluster
def test_cogs_of_scenes_are_made_of_cogs_of_tiles_without_a_cube_and_made_again_when_lost(
    one: Path, done: Path
) -> None:
    job = _job(one, "tiles", outputs={"scene_cog": True, "zarr": False}, grid={"tile": 96})
    assert run_job(job)["state"] == "done"
    out, names = one / "tiles", [f"cogs/{SCENE}/scene_{layer}.tif" for layer in LAYERS]
    for name in names:
        with rasterio.open(out / name) as file, rasterio.open(done / name) as other:
            assert np.array_equal(file.read(1), other.read(1))
            assert file.tags() == other.tags()
    assert set(_item(out)["assets"]) == set(LAYERS)
    with rasterio.open(out / "cogs" / SCENE / "r000c000_lst.tif") as file:
        assert float(file.tags()["LSTZOOM_RESIDUAL_RMSE"]) > 0
    # Killed while the COGs were made: the record does not name them yet.
    before = pixels(out)
    record = json.loads((out / "scenes" / f"{SCENE}.json").read_text())
    assert sorted(record.pop("cogs").values()) == sorted(names)
    (out / "scenes" / f"{SCENE}.json").write_text(json.dumps(record))
    (out / names[0]).unlink()
    summary = run_job(job)
    assert (summary["state"], summary["tiles"]["done"]) == ("done", 0)
    assert pixels(out) == before
    assert run_job(job)["state"] == "nothing new"


@pytest.mark.cluster
def test_cogs_of_scenes_can_be_asked_for_when_the_tiles_are_done(one: Path) -> None:
    whole = _job(one, "at-once", outputs={"scene_cog": True}, grid={"tile": 96})
    assert run_job(whole)["state"] == "done"
    assert run_job(_job(one, "later", grid={"tile": 96}))["state"] == "done"
    assert len([*(one / "later" / "items" / SCENE).iterdir()]) > 1
    later = _job(one, "later", outputs={"scene_cog": True}, grid={"tile": 96})
    summary = run_job(later)
    assert (summary["state"], summary["tiles"]["done"]) == ("done", 0)
    assert pixels(one / "later") == pixels(one / "at-once")
    assert run_job(later)["state"] == "nothing new"
    # Items of tiles that have none could not be listed.
    with pytest.raises(JobChangedError, match=r"outputs\.scene_cog was true and is false"):
        run_job(_job(one, "later", grid={"tile": 96}))


@pytest.mark.cluster
def test_a_cog_of_a_scene_that_cannot_be_written_fails_by_name(one: Path) -> None:
    job = _job(one, "blocked", outputs={"scene_cog": True, "cog": False}, run={"retries": 0})
    target = one / "blocked" / "cogs" / SCENE / "scene_lst.tif"
    # Nothing can take the place of a folder.
    target.mkdir(parents=True)
    summary = run_job(job)
    assert (summary["state"], summary["exit_code"]) == ("failed", 4)
    assert [(one["scene"], one["what"]) for one in summary["failed"]] == [(SCENE, "scene")]
    assert not (one / "blocked" / "collection.json").exists()
    target.rmdir()
    summary = run_job(job)
    assert (summary["state"], summary["failed"]) == ("done", [])
    assert (one / "blocked" / "collection.json").exists()


@pytest.mark.cluster
def test_a_report_of_performance_is_written(one: Path, tmp_path: Path) -> None:
    path = write_fields(one, "report.yaml", outputs={"folder": "report"})
    report = tmp_path / "report.html"
    ran = CliRunner().invoke(cli.app, ["run", str(path), "--performance-report", str(report), "-q"])
    assert ran.exit_code == 0, ran.output
    text = report.read_text()
    # Summary, task stream and the tasks by name.
    assert "Dask Performance Report" in text
    assert "sharpen" in text
    wrong = CliRunner().invoke(
        cli.app, ["run", str(path), "--performance-report", str(tmp_path / "no" / "a")]
    )
    assert (wrong.exit_code, "does not exist" in wrong.output) == (3, True)


@pytest.mark.cluster
@pytest.mark.slow
def test_a_run_that_was_interrupted_counts_what_the_status_counts(tmp_path: Path) -> None:
    folder = make_region(tmp_path, 2)
    path = write_fields(folder, grid={"tile": 32})
    out, finish = folder / "out", tmp_path / "finish.json"
    command = [sys.executable, "-m", "lstzoom", "run", str(path), "--on-finish", str(finish)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        deadline = time.monotonic() + 120
        while len(list((out / "ledger").glob("*/*.json"))) < 5:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        told = process.communicate(timeout=60)[1]
    tiles = json.loads(finish.read_text())["tiles"]
    there = len(list((out / "ledger").glob("*/*.json")))
    assert process.returncode == 130
    assert tiles["done"] == there
    assert tiles["left"] == tiles["all"] - there
    assert status_of(read_job(path))["tiles"]["done"] == there
    assert f"{there} of {tiles['all']} tiles are done" in told


@pytest.mark.cluster
def test_reflectance_that_covers_next_to_nothing_can_be_allowed(one: Path) -> None:
    job = _job(one, "any", pair={"min_coverage": 0})
    assert job.pair.min_coverage == 0
    assert run_job(job)["state"] == "done"


@pytest.mark.cluster
@pytest.mark.slow
def test_a_run_that_is_killed_at_its_first_cog_of_a_scene_goes_on(one: Path, done: Path) -> None:
    path = write_fields(one, "killed.yaml", outputs={"folder": "killed", "scene_cog": True, "cog": False})
    out = one / "killed"
    command = [sys.executable, "-m", "lstzoom", "run", str(path), "--quiet"]
    with subprocess.Popen(command, start_new_session=True) as process:
        deadline = time.monotonic() + 120
        while not any(out.glob("cogs/*/scene_*.tif")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
    summary = run_job(read_job(path))
    assert (summary["exit_code"], summary["tiles"]["done"]) == (0, 0)
    assert pixels(out) == pixels(done)
    assert leftovers(out) == []

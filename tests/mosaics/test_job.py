"""Mosaics of what `lstzoom run` wrote, and the command."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from typer.testing import CliRunner

import lstzoom
from lstzoom.cli import app
from lstzoom.cube import open_cube
from lstzoom.errors import InputError, StoreBusyError
from lstzoom.jobs.lease import leased
from lstzoom.jobs.run import run_job
from lstzoom.mosaics.ledger import Ledger
from lstzoom.mosaics.scenes import Patchwork, ZarrLayer, open_scenes
from lstzoom.mosaics.simulated import RegionPlan, simulate_region
from lstzoom.sources.job import parse_job, read_job, write_job
from tests.jobs.region import add_date, make_region, write_fields

SETTINGS = ["--crs", "EPSG:32632", "--tile", "128", "--feather", "200"]


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("region")
    simulate_region(folder, RegionPlan(across=(1, 2), side=150))
    return folder


def called(*words: object) -> tuple[int, str, str]:
    found = CliRunner().invoke(app, list(map(str, words)))
    return found.exit_code, found.stdout, found.stderr


def test_the_command_makes_a_mosaic_and_then_nothing_more(region: Path, tmp_path: Path) -> None:
    output = tmp_path / "mosaic.zarr"
    words = ("mosaic", region, "-o", output, "--cog", tmp_path / "mosaic.tif", *SETTINGS, "--json", "-q")
    code, out, _ = called(*words)
    assert code == 0
    (first,) = json.loads(out)
    assert first["scenes"] == 2
    assert first["tiles"] > 0
    assert Path(first["collection"]).is_file()
    assert [Path(one).is_file() for one in first["cogs"]] == [True]
    code, out, _ = called(*words)
    (second,) = json.loads(out)
    assert code == 0
    assert (second["tiles"], second["skipped"]) == (0, first["tiles"])
    code, _, err = called(*words, "--rule", "latest")
    assert code == 3
    assert "rule: 'mean' before, 'latest' now" in err
    assert called(*words, "--rule", "latest", "--overwrite")[0] == 0


def test_a_plan_is_told_and_nothing_is_written(region: Path, tmp_path: Path) -> None:
    code, out, _ = called("mosaic", region, "--plan", "--json", *SETTINGS)
    assert code == 0
    (plan,) = json.loads(out)
    assert plan["scenes"] == 2
    assert plan["tiles"] >= 6
    assert 1 <= plan["scenes_per_tile"] <= 2
    code, out, _ = called("mosaic", region, "--plan", *SETTINGS, "--bbox", "10.365,48.741,10.366,48.742")
    assert code == 0
    assert "EPSG:32632: " in out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--rule", "mode"], 2, "mode"),
        (["--crs", "EPSG:1"], 3, "no CRS that is known"),
        (["--resolution", "0"], 3, "resolution: Input should be greater than 0"),
        (["--bbox", "1,2"], 2, "is not west,south,east,north"),
        (["--bbox", "a,b"], 2, "is not west,south,east,north"),
        (["--bbox", "0,0,1,1"], 3, "no scene touches"),
        (["--bbox", "0,0,1,1", "--area", "a.geojson"], 3, "either --bbox or --area"),
        (["--workers", "1", "--scheduler", "tcp://a:1"], 3, "either --workers or --scheduler"),
    ],
)
def test_what_cannot_be_is_told_before_work(
    region: Path, tmp_path: Path, words: list[str], code: int, told: str
) -> None:
    found, _, err = called("mosaic", region, "-o", tmp_path / "a.zarr", *words)
    assert found == code
    assert told in " ".join(err.replace("│", " ").split())
    assert not list(tmp_path.iterdir())


def test_an_output_is_asked_for(region: Path) -> None:
    code, _, err = called("mosaic", region)
    assert code == 2
    assert "mosaic.zarr" in err


def test_two_that_make_the_same_mosaic_do_not_meet(region: Path, tmp_path: Path) -> None:
    output = tmp_path / "mosaic.zarr"
    with leased(Ledger.of(str(output)).store, 60), pytest.raises(StoreBusyError, match="held by another run"):
        lstzoom.mosaic(region, output, crs="EPSG:32632", tile=128)
    lstzoom.mosaic(region, output, crs="EPSG:32632", tile=128)


def test_exit_codes_are_those_of_runs(region: Path, tmp_path: Path) -> None:
    output = tmp_path / "mosaic.zarr"
    words = ("mosaic", tmp_path / "scenes", "-o", output, *SETTINGS, "-q")
    (tmp_path / "scenes").mkdir()
    files = sorted(region.glob("*.tif"))
    for file in files:
        (tmp_path / "scenes" / file.name).write_bytes(file.read_bytes())
    with leased(Ledger.of(str(output)).store, 60):
        assert called(*words)[0] == 5
    broken = tmp_path / "scenes" / next(file.name for file in files if file.name.endswith("_uncertainty.tif"))
    content = broken.read_bytes()
    broken.write_bytes(content[:-100])
    code, _, err = called(*words)
    assert (code, "tiles failed" in err) == (4, True)
    broken.write_bytes(content)
    assert called(*words)[0] == 0


@pytest.mark.parametrize("at", ["write_region", "create", "finalise"])
def test_a_full_disk_ends_it_and_the_same_command_goes_on(
    region: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    words = ("mosaic", region, "-o", tmp_path / "mosaic.zarr", *SETTINGS, "-q")
    with monkeypatch.context() as patch:
        patch.setattr(f"lstzoom.mosaics.make.cube.{at}", full)
        code, _, err = called(*words)
    assert (code, "No space left on device; make room" in err) == (6, True), err
    assert called(*words)[0] == 0


def test_a_cog_that_cannot_be_written_is_told_and_the_store_is_there(
    region: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise rasterio.errors.RasterioIOError("Write failed")

    words = ("mosaic", region, "-o", tmp_path / "a.zarr", *SETTINGS, "--cog", tmp_path / "a.tif", "-q")
    with monkeypatch.context() as patch:
        patch.setattr("lstzoom.mosaics.make.write_cog", fails)
        code, _, err = called(*words)
    assert (code, "cannot write" in err, "a.tif" in err) == (6, True, True), err
    assert called(*words)[0] == 0


def test_settings_of_a_mosaic_stand_in_the_job() -> None:
    job = parse_job(
        {
            "catalog": {"name": "demo"},
            "area": {"bbox": [1, 2, 3, 4]},
            "datetime": "2023",
            "mosaic": {"rule": "median", "crs": "utm"},
        }
    )
    assert job.mosaic.rule == "median"
    text = write_job(job)
    assert 'crs: "utm"' in text
    with pytest.raises(InputError, match=r"mosaic\.rule"):
        parse_job({**job.model_dump(mode="json"), "mosaic": {"rule": "mode"}})


@pytest.mark.cluster
def test_a_run_ends_with_the_mosaic_and_takes_new_dates_up(tmp_path: Path) -> None:
    make_region(tmp_path / "region", 1)
    section = {"after_run": True, "crs": "EPSG:32632", "tile": 256, "feather": 200, "cog": "mosaic.tif"}
    path = write_fields(tmp_path / "region", mosaic=section, cluster={"workers": 1}, run={"retries": 0})
    code, out, _ = called("plan", path)
    assert code == 0
    assert "mosaic (mean): EPSG:32632, 768 x 512 pixels, 6 tiles, 1 time," in out
    code, _, err = called("run", path)
    assert code == 0, err
    mosaic = tmp_path / "region" / "out" / "mosaic.zarr"
    assert f"{mosaic}: mosaic of 1 scene, 768 x 512 pixels, 6 tiles made" in err
    assert (tmp_path / "region" / "mosaic.tif").is_file()
    code, _, err = called("run", path)
    assert (code, "nothing new" in err) == (0, True)
    # The command makes the same one, so there is nothing to do.
    (same,) = json.loads(called("mosaic", path, "--json", "-q")[1])
    assert (same["store"], same["tiles"], same["skipped"]) == (str(mosaic), 0, 6)
    add_date(tmp_path / "region", 1)
    code, _, err = called("run", path, "--since", "last", "--json")
    assert code == 0, err
    summary = json.loads((tmp_path / "region" / "out" / "summary.json").read_text())
    assert [one["scenes"] for one in summary["mosaics"]] == [2]
    assert called("mosaic", tmp_path / "region" / "out", "-o", tmp_path / "b.zarr", *SETTINGS[:2],
                  "--tile", 256, "--feather", 200)[0] == 0  # fmt: skip
    for level in (0, 1):
        grown, whole = (open_cube(one, level=level).load() for one in (mosaic, tmp_path / "b.zarr"))
        assert grown.drop_attrs().identical(whole.drop_attrs())
    # Killed before the mosaic: the same run makes what is missing, and no tile again.
    ledger = Ledger.of(str(mosaic))
    ledger.drop([min(ledger.done())])
    code, _, err = called("run", path)
    assert (code, "done: 0 tiles" in err, "1 tile made, 5 as they were" in err) == (0, True, True), err
    # It has a scene whose tiles are lost and cannot be made again: tiles and mosaic stay, and it says so.
    folder = tmp_path / "region" / "out"
    (folder / "scenes" / "scene_20230602T100000.json").unlink()
    (folder / "ledger" / "scene_20230602T100000" / "r000c000.json").unlink()
    cog = folder / "cogs" / "scene_20230602T100000" / "r000c000_lst.tif"
    cog.unlink()
    # Nothing can take the place of a folder.
    cog.mkdir()
    code, _, err = called("run", path)
    assert code == 4
    assert "the mosaic could not be made" in err
    assert "is missing" in err
    cog.rmdir()
    assert called("run", path)[0] == 0
    # Of other settings it is refused before any work, with what to do.
    path.write_text(path.read_text().replace("feather: 200", "feather: 300"))
    code, _, err = called("run", path)
    assert (code, "feather: 200.0 before, 300.0 now" in err, "lstzoom mosaic JOB --overwrite" in err) == (
        3, True, True,
    )  # fmt: skip


@pytest.mark.cluster
@pytest.mark.parametrize("zarr", [True, False], ids=["cubes", "tiles"])
def test_a_job_that_was_run_becomes_a_mosaic(tmp_path: Path, zarr: bool) -> None:  # noqa: FBT001
    make_region(tmp_path)
    path = write_fields(
        tmp_path,
        outputs={"folder": "out", "zarr": zarr},
        mosaic={"rule": "latest", "crs": "EPSG:32632", "tile": 256},
    )
    with pytest.raises(InputError, match=r"no complete scene yet|cannot open|holds neither"):
        lstzoom.mosaic(read_job(path).outputs.folder, tmp_path / "a.zarr")
    assert run_job(read_job(path))["state"] == "done"
    scenes = open_scenes([tmp_path / "out"])
    assert [f"{one.time:%Y-%m-%d}" for one in scenes] == ["2023-06-01", "2023-06-02"]
    assert all(isinstance(one.lst, ZarrLayer if zarr else Patchwork) for one in scenes)
    code, out, err = called("mosaic", path, "--json", "-q")
    assert code == 0, err
    (made,) = json.loads(out)
    assert made["store"] == str(tmp_path / "out" / "mosaic.zarr")
    # Settings of a mosaic do not make another job of it.
    text = path.read_text().replace("rule: latest", "rule: median")
    path.write_text(text)
    assert run_job(read_job(path))["state"] == "nothing new"
    mosaic = open_cube(made["store"]).isel(time=0)
    whole = scenes[1].lst.read(slice(0, 480), slice(0, 390))
    box = scenes[1].grid
    x = box.affine.c + box.affine.a * (np.arange(390) + 0.5)
    y = box.affine.f + box.affine.e * (np.arange(480) + 0.5)
    np.testing.assert_array_equal(mosaic.lst.sel(x=x, y=y).values.astype(np.float32), whole)

"""`lstzoom catalog` and `lstzoom job` on the command line."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from lstzoom import cli
from lstzoom.sources.catalog import catalog_folder, catalog_names
from lstzoom.sources.job import read_job
from tests.sources.archive import Archive
from tests.sources.servers import stac_api
from tests.sources.test_search import catalog_at


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    # The commands set defaults for this process; undo them after every test.
    monkeypatch.setenv("GDAL_CACHEMAX", "256")
    monkeypatch.setenv("DASK_LOGGING__DISTRIBUTED", "error")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(one) for one in arguments])


def test_list() -> None:
    lines = run("catalog", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(catalog_names())
    found = json.loads(run("catalog", "list", "--json").stdout)
    assert {one["name"] for one in found} == set(catalog_names())


@pytest.mark.parametrize("name", catalog_names())
def test_show(name: str) -> None:
    done = run("catalog", "show", name)
    assert done.exit_code == 0
    assert f"{name}: " in done.stdout
    assert json.loads(run("catalog", "show", name, "--json").stdout)["source"]["name"] == name


def test_check_says_what_is_wrong(tmp_path: Path) -> None:
    assert run("catalog", "check", "landsat").stdout == "landsat: valid\n"
    text = (catalog_folder() / "demo.toml").read_text().replace("native_resolution_m", "native_resolution", 1)
    (tmp_path / "mine.toml").write_text(text)
    done = run("catalog", "check", tmp_path / "mine.toml")
    assert done.exit_code == cli.BAD_INPUT
    assert "lst.native_resolution: there is no such key; did you mean 'native_resolution_m'" in done.stderr


def test_check_of_items(archive: Archive, tmp_path: Path) -> None:
    bare = archive.landsat("http://x", "bare")
    del bare["assets"]["lwir11"]
    both = [archive.landsat("http://x"), archive.sentinel2("http://x"), bare]
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": both}))
    done = run("catalog", "check", "landsat-sentinel2", "--items", tmp_path / "items.json")
    assert done.exit_code == 0
    assert "usable: 1 of LST, 1 of reflectance" in done.stdout
    assert "not usable: bare as LST: no thermal asset" in done.stdout
    told = run("catalog", "check", "landsat-sentinel2", "--items", tmp_path / "items.json", "--json")
    assert (json.loads(told.stdout)["valid"], len(json.loads(told.stdout)["pairs"])) == (True, 1)
    assert run("catalog", "check", "landsat", "--quiet").stdout == ""
    none = run("catalog", "check", "constellr", "--items", tmp_path / "items.json")
    assert none.exit_code == cli.BAD_INPUT


def test_search(archive: Archive, tmp_path: Path) -> None:
    served = [archive.landsat("http://x"), archive.sentinel2("http://x")]
    bounds = ",".join(str(one) for one in archive.area())
    with stac_api(served, tmp_path) as url:
        path = catalog_at(tmp_path, url)
        done = run("catalog", "search", path, "--bbox", bounds, "--datetime", "2023-07")
        told = run("catalog", "search", path, "--bbox", bounds, "--datetime", "2023-07", "--json")
        narrow = run(
            "catalog", "search", path, "--bbox", bounds, "--datetime", "2023-07", "--window-days", "0.5"
        )
    assert done.exit_code == 0
    assert "pair: LC08_L2SP_193027_20230702_02_T1 with S2A_32UPU_20230703_0_L2A (1.01 days" in done.stdout
    (pair,) = json.loads(told.stdout)["pairs"]
    assert pair["vnir"] == ["S2A_32UPU_20230703_0_L2A"]
    assert narrow.exit_code == cli.BAD_INPUT
    assert "no pair of LST and reflectance within 0.5 days" in narrow.stderr


def test_search_needs_an_area_and_a_time() -> None:
    assert run("catalog", "search", "landsat").exit_code == cli.USAGE
    assert (
        run("catalog", "search", "landsat", "--bbox", "1,2,x,4", "--datetime", "2023").exit_code == cli.USAGE
    )


def test_job_init_and_check(tmp_path: Path) -> None:
    arguments = ("--catalog", "landsat-sentinel2", "--bbox", "11,48,11.2,48.1", "--datetime", "2023-06")
    path = tmp_path / "job.yaml"
    assert run("job", "init", path, *arguments).exit_code == 0
    assert read_job(path).area.bbox == (11, 48, 11.2, 48.1)
    assert run("job", "init", *arguments).stdout == path.read_text()
    assert run("job", "init", path, *arguments).exit_code == cli.BAD_INPUT
    assert run("job", "check", path).stdout == f"{path}: valid\n"
    assert json.loads(run("job", "check", path, "--json").stdout) == {"job": str(path), "valid": True}
    path.write_text(path.read_text().replace("dilate_m", "dilate"))
    done = run("job", "check", path)
    assert done.exit_code == cli.BAD_INPUT
    assert "did you mean 'dilate_m'" in done.stderr


def test_an_area_in_a_file_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    square = {"type": "Polygon", "coordinates": [[[1, 2], [3, 2], [3, 4], [1, 2]]]}
    (tmp_path / "aoi.geojson").write_text(json.dumps(square))
    monkeypatch.chdir(tmp_path)
    done = run("job", "init", "--catalog", "landsat", "--area", "aoi.geojson", "--datetime", "2023")
    assert str(tmp_path / "aoi.geojson") in done.stdout


def test_a_job_whose_files_are_not_there_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    base = ("job", "init", path, "--datetime", "2023")
    square = ("--bbox", "11,48,11.2,48.1")
    for arguments, reason in (
        (
            ("--catalog", "landsat", "--area", tmp_path / "absent.geojson"),
            "there is no file '.*absent.geojson'",
        ),
        (
            ("--catalog", "landsat", *square, "--items", tmp_path / "absent.json"),
            "there is no file '.*absent.json'",
        ),
        (("--catalog", "local", *square), "'local' does not say where your files are: give their folder"),
        (("--catalog", "local", *square, "--folder", tmp_path / "absent"), "there is no folder '.*absent'"),
    ):
        done = run(*base, *arguments)
        assert done.exit_code == cli.BAD_INPUT
        assert re.search(reason, done.stderr)
        assert not path.exists()
    (tmp_path / "aoi.geojson").write_text("{}")
    assert run(*base, "--catalog", "landsat", "--area", tmp_path / "aoi.geojson").exit_code == cli.BAD_INPUT


def test_a_job_keeps_what_was_tried_in_a_search(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    options = ("--bands", "red,nir", "--window-days", "1.5", "--max-cloud", "20", "--bbox", "11,48,11.2,48.1")
    assert (
        run("job", "init", path, "--catalog", "landsat-sentinel2", "--datetime", "2023", *options).exit_code
        == 0
    )
    job = read_job(path)
    assert (job.grid.bands, job.pair.window_days, job.pair.max_cloud) == (("red", "nir"), 1.5, 20)
    folder = ("--folder", str(tmp_path), "--bbox", "11,48,11.2,48.1", "--overwrite")
    assert run("job", "init", path, "--catalog", "local", "--datetime", "2023", *folder).exit_code == 0
    assert read_job(path).catalog.folder == str(tmp_path)
    assert run("job", "check", path).exit_code == 0
    path.write_text(path.read_text().replace(str(tmp_path), str(tmp_path / "gone")))
    assert "there is no folder" in run("job", "check", path).stderr


def test_files_of_ones_own_need_a_folder() -> None:
    done = run("catalog", "search", "local")
    assert done.exit_code == cli.BAD_INPUT
    assert "give their folder (folder=, --folder, or catalog.folder in a job)" in done.stderr


def test_a_service_that_cannot_be_reached_is_told_once(tmp_path: Path) -> None:
    """In one message; attempts are in our log, where it is wanted, and not in warnings of the client."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = (catalog_folder() / "landsat.toml").read_text()
    text = text.replace("https://earth-search.aws.element84.com/v1", f"http://127.0.0.1:{port}/v1?key=s3cret")
    text = text.replace("access = { requester_pays", "access = { retries = 2, requester_pays")
    (tmp_path / "mine.toml").write_text(text)
    asked = (
        sys.executable, "-m", "lstzoom", "catalog", "search", str(tmp_path / "mine.toml"),
        "--bbox", "11,48,12,49", "--datetime", "2023-06",
    )  # fmt: skip
    quiet, told = (
        subprocess.run([*asked, *more], capture_output=True, text=True, check=False)
        for more in ((), ("--verbose",))
    )
    assert quiet.returncode == told.returncode == cli.BAD_INPUT
    assert quiet.stderr.startswith("lstzoom: the STAC API http://127.0.0.1")
    assert len(quiet.stderr.splitlines()) == 1
    assert "urllib3" not in told.stderr
    assert told.stderr.count("asked again after") == 2
    assert "s3cret" not in quiet.stderr + told.stderr

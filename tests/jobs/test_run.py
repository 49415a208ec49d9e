"""Jobs on real worker processes: the same bits whatever the cluster, done once, told by name."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from typer.testing import CliRunner

import lstzoom
from lstzoom import cli
from lstzoom.config import SharpenConfig
from lstzoom.cube import open_cube
from lstzoom.encoding import UINT16
from lstzoom.errors import JobChangedError, JobError
from lstzoom.jobs.run import run_job
from lstzoom.jobs.state import Options
from lstzoom.sources.job import Job, parse_job, read_job
from tests.jobs.region import add_date, fields, leftovers, make_region, pixels, write_fields
from tests.stac_rules import mistakes

pytestmark = pytest.mark.cluster


def _job(folder: Path, out: Path, **changes: Any) -> Job:
    path = write_fields(folder, f"{out.name}.yaml", **changes)
    found = read_job(path)
    return found.model_copy(update={"outputs": found.outputs.model_copy(update={"folder": str(out)})})


@pytest.fixture(scope="module")
def done(region: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("done") / "out"
    summary = run_job(_job(region, out))
    assert (summary["state"], summary["exit_code"]) == ("done", 0)
    assert summary["tiles"] == {"all": 24, "before": 0, "done": 24, "failed": 0, "left": 0}
    assert summary["tasks"] <= 3 * 24
    return out


def _sharpened(region: Path, number: int) -> Any:
    pair = lstzoom.load(
        region / "region.toml", (0, 0, 20, 60), folder=region / "files", min_coverage=0.001,
        lst_item=f"scene_202306{number + 1:02d}T100000",
    )  # fmt: skip
    return lstzoom.sharpen(**pair.inputs(SharpenConfig(chunk=64))).compute()


def test_results_are_those_of_sharpen_bit_for_bit(region: Path, done: Path) -> None:
    (cube,) = (done / "cubes").iterdir()
    found = open_cube(cube)
    for number in range(2):
        want = _sharpened(region, number)
        got = found.isel(time=number)
        for name in ("lst", "lst_uncertainty"):
            assert np.array_equal(UINT16.encode(got[name].values), UINT16.encode(want[name].values))
        assert np.array_equal(got.qa.values, want.qa.values)
        cog = done / "cogs" / f"scene_202306{number + 1:02d}T100000" / "r001c002_lst.tif"
        with rasterio.open(cog) as file:
            assert np.array_equal(file.read(1), UINT16.encode(want.lst.values[144:288, 288:390]))


def test_nothing_is_left_behind(done: Path) -> None:
    assert leftovers(done) == []


def test_the_same_command_again_does_nothing(region: Path, done: Path) -> None:
    before = pixels(done)
    times = {path: path.stat().st_mtime_ns for path in (done / "cogs").rglob("*.tif")}
    summary = run_job(_job(region, done))
    assert (summary["state"], summary["exit_code"], summary["tasks"]) == ("nothing new", 0, 0)
    assert summary["tiles"]["before"] == 24
    assert pixels(done) == before
    assert {path: path.stat().st_mtime_ns for path in (done / "cogs").rglob("*.tif")} == times


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "threads"), [(1, 1), (1, 4), (2, 4)])
def test_workers_and_threads_do_not_matter(
    region: Path, done: Path, tmp_path: Path, workers: int, threads: int
) -> None:
    run_job(_job(region, tmp_path / "out", cluster={"workers": workers, "threads": threads}))
    assert pixels(tmp_path / "out") == pixels(done)


@pytest.mark.slow
def test_sides_of_tiles_do_not_matter(region: Path, done: Path, tmp_path: Path) -> None:
    run_job(_job(region, tmp_path / "out", grid={"tile": 96}))
    (one,), (other,) = ((folder / "cubes").iterdir() for folder in (done, tmp_path / "out"))
    assert open_cube(one).compute().identical(open_cube(other).compute())


@pytest.mark.slow
def test_tiles_of_512_and_of_1024_fine_pixels_are_the_same(tmp_path: Path) -> None:
    """As near as whole strides come, with other workers and threads as well."""
    folder = make_region(tmp_path / "region", 1, (1290, 1110))
    made = {}
    for side, workers, threads in ((176, 2, 1), (352, 1, 4)):
        out = tmp_path / f"out{side}"
        cluster = {"workers": workers, "threads": threads}
        summary = run_job(_job(folder, out, grid={"tile": side}, cluster=cluster))
        assert (summary["state"], summary["tiles"]["all"]) == ("done", {176: 9, 352: 4}[side])
        (cube,) = (out / "cubes").iterdir()
        (record,) = (out / "scenes").iterdir()
        made[side] = open_cube(cube).compute(), json.loads(record.read_text())
    (one, told), (other, said) = made.values()
    assert one.identical(other)
    figures = ("residual_bias", "residual_rmse", "mean_uncertainty", "unsupported_share")
    for name in ("valid", "flags", *(f"lstzoom_{figure}" for figure in figures)):
        assert told[name] == said[name]


def test_tiles_that_are_lost_are_made_again_the_same(region: Path, done: Path) -> None:
    before = pixels(done)
    (cube,) = (done / "cubes").iterdir()
    (done / "scenes" / "scene_20230602T100000.json").unlink()
    (done / "ledger" / "scene_20230602T100000" / "r002c001.json").unlink()
    (done / "cogs" / "scene_20230602T100000" / "r002c001_qa.tif").unlink()
    (cube / "lst" / "c" / "1" / "2" / "1").unlink()
    summary = run_job(_job(region, done))
    assert (summary["state"], summary["tiles"]["done"], summary["tiles"]["before"]) == ("done", 1, 23)
    assert pixels(done) == before


def test_another_job_is_refused_with_the_difference(region: Path, done: Path, tmp_path: Path) -> None:
    before = pixels(done)
    with pytest.raises(JobChangedError) as caught:
        run_job(_job(region, done, grid={"tile": 64}, method={"seed": 3}))
    message = str(caught.value)
    assert "settings: grid.tile was 48 and is 64" in message
    assert "settings: method.seed was 0 and is 3" in message
    assert "--into" in message
    assert pixels(done) == before
    assert leftovers(done) == []
    # What changes no result may change.
    assert run_job(_job(region, done, cluster={"workers": 1}))["state"] == "nothing new"


def test_files_that_changed_are_noticed(tmp_path: Path) -> None:
    folder = make_region(tmp_path / "region", 1, (240, 195))
    job = _job(folder, tmp_path / "out", cluster={"workers": 1})
    run_job(job)
    add_date(folder, 0, (240, 195))
    with pytest.raises(JobChangedError, match=r"inputs: scene_20230601T100000.hash was"):
        run_job(job)
    assert run_job(job, Options(into=str(tmp_path / "other")))["state"] == "done"
    assert pixels(tmp_path / "other") == pixels(tmp_path / "out")


def test_inputs_that_change_change_the_scenes_of_the_same_model(tmp_path: Path) -> None:
    """Of a scene that is half done, the tiles that are there are of the model that there was."""
    folder = make_region(tmp_path / "region", 2, (240, 195))
    out = tmp_path / "out"
    job = _job(folder, out, cluster={"workers": 1}, model={"scope": "region"})
    run_job(job)
    shutil.rmtree(out / "finished")
    for day in (1, 2):
        key = f"scene_2023060{day}T100000"
        (out / "scenes" / f"{key}.json").unlink()
        (out / "ledger" / key / "r000c000.json").unlink()
    with rasterio.open(
        folder / "files" / "scene_20230601T100000_lst.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES"
    ) as file:
        file.write(file.read()[:, ::-1, ::-1])
    assert run_job(job, Options(since_last=True))["state"] == "done"
    models = {json.loads(path.read_text())["model"] for path in (out / "ledger").glob("*/*.json")}
    assert len(models) == 1
    run_job(job, Options(into=str(tmp_path / "anew")))
    assert pixels(out) == pixels(tmp_path / "anew")


def test_an_entry_of_another_model_is_no_tile_of_the_scene(tmp_path: Path) -> None:
    folder = make_region(tmp_path / "region", 1, (240, 195))
    out = tmp_path / "out"
    job = _job(folder, out, cluster={"workers": 1})
    run_job(job)
    before = pixels(out)
    shutil.rmtree(out / "finished")
    (out / "scenes" / "scene_20230601T100000.json").unlink()
    path = out / "ledger" / "scene_20230601T100000" / "r000c000.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model": "another"}))
    summary = run_job(job)
    assert (summary["state"], summary["tiles"]["done"]) == ("done", 1)
    assert pixels(out) == before


def test_what_is_new_is_added(region: Path, done: Path, tmp_path: Path) -> None:
    folder = make_region(tmp_path / "region", 1)
    job = _job(folder, tmp_path / "out")
    assert run_job(job, Options(since_last=True))["state"] == "done"
    assert run_job(job, Options(since_last=True))["state"] == "nothing new"
    add_date(folder, 1)
    with pytest.raises(JobChangedError, match="--since last"):
        run_job(job)
    summary = run_job(job, Options(since_last=True))
    assert (summary["state"], summary["tiles"]["done"], summary["tiles"]["before"]) == ("done", 12, 12)
    assert run_job(job, Options(since_last=True))["state"] == "nothing new"
    (one,), (other,) = ((store / "cubes").iterdir() for store in (done, tmp_path / "out"))
    assert open_cube(one).compute().identical(open_cube(other).compute())
    assert json.loads((tmp_path / "out" / "collection.json").read_text()) == json.loads(
        (done / "collection.json").read_text()
    )


def test_a_scene_that_cannot_be_read_fails_by_name_and_the_rest_is_done(
    region: Path, done: Path, tmp_path: Path
) -> None:
    folder = make_region(tmp_path / "region", 2)
    broken = folder / "files" / "scene_20230602T100000_red.tif"
    whole = broken.read_bytes()
    # The header is whole and the pixels are not.
    broken.write_bytes(whole[: len(whole) // 2])
    job = _job(folder, tmp_path / "out", run={"retries": 1})
    summary = run_job(job)
    assert (summary["state"], summary["exit_code"]) == ("failed", 4)
    assert summary["scenes"] == {"all": 2, "complete": 1}
    (failure,) = summary["failed"]
    assert (failure["scene"], failure["what"]) == ("scene_20230602T100000", "model")
    assert "scene_20230602T100000_red.tif" in failure["error"]
    broken.write_bytes(whole)
    # The file has another time now, and is a part of what the job is.
    with pytest.raises(JobChangedError, match="lstzoom retry --failed"):
        run_job(job)
    # What is new did not fail.
    add_date(folder, 2)
    summary = run_job(job, Options(only_failed=True))
    assert (summary["state"], summary["failed"]) == ("done", [])
    assert summary["tiles"] == {"all": 24, "before": 12, "done": 12, "failed": 0, "left": 0}
    for new in (folder / "files").glob("scene_20230603*"):
        new.unlink()
    assert run_job(job)["state"] == "nothing new"
    (one,), (other,) = ((store / "cubes").iterdir() for store in (done, tmp_path / "out"))
    assert open_cube(one).compute().identical(open_cube(other).compute())
    assert leftovers(tmp_path / "out") == ["failed/scene_20230602T100000"] or not leftovers(tmp_path / "out")


def test_items_and_collection_are_valid_stac_and_lead_to_the_files(done: Path) -> None:
    import jsonschema
    import pystac
    from pystac.validation.local_validator import get_local_schema_cache
    from referencing import Registry, Resource

    known = [(url, Resource.from_contents(content)) for url, content in get_local_schema_cache().items()]
    registry: Any = Registry().with_resources(known)
    folder = Path(pystac.__file__).parent / "validation" / "jsonschemas" / "stac-spec" / "v1.1.0"
    schema = json.loads((folder / "item.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft7Validator(schema, registry=registry)
    collection = pystac.Collection.from_file(str(done / "collection.json"))
    items = list(collection.get_items())
    assert len(items) == 24
    for item in items:
        validator.validate(json.loads(Path(item.self_href).read_text()))
        for asset in item.assets.values():
            assert Path(asset.get_absolute_href() or "").exists()
        assert mistakes(json.loads(Path(item.self_href).read_text())) == []
        # Files have no item of their own: links lead to the files that were read.
        links = item.get_links("derived_from")
        assert [Path(str(link.target)).exists() for link in links] == [True] * 4
        named = {Path(str(link.target)).stem.rpartition("_")[2] for link in links}
        assert named == {"lst", "green", "red", "nir"}
    with rasterio.open(items[0].assets["lst"].get_absolute_href()) as file:
        assert list(file.shape) == items[0].properties["proj:shape"]
        assert list(file.transform)[:6] == items[0].properties["proj:transform"]
        kelvin = file.read(1, masked=True) * file.scales[0]
    lst = items[0].assets["lst"]
    assert (
        lst.extra_fields["file:checksum"][4:]
        == hashlib.sha256(Path(lst.get_absolute_href() or "").read_bytes()).hexdigest()
    )
    told = lst.extra_fields["bands"][0]["statistics"]
    assert told["count"] == kelvin.count()
    for name, value in (("minimum", kelvin.min()), ("maximum", kelvin.max()), ("mean", kelvin.mean())):
        assert told[name] == pytest.approx(value, abs=0.0056)


def test_the_command_line_plans_tells_and_ends_with_codes(
    region: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    runner, job = CliRunner(), str(write_fields(region, "cli.yaml"))
    into = ["--into", str(done)]
    planned = runner.invoke(
        cli.app, ["plan", job, *into, "--workers", "7", "--map", str(tmp_path / "map.png")]
    )
    assert planned.exit_code == 0, planned.output
    assert "2 scenes, 24 tiles, 24 of them done" in planned.output
    assert "7 workers" in planned.output
    assert (tmp_path / "map.png").stat().st_size > 10_000
    figures = json.loads(runner.invoke(cli.app, ["plan", job, *into, "--json"]).stdout)
    assert (figures["tiles"], figures["pixels"], figures["rates"]) == (24, 2 * 480 * 390, "measured here")
    assert figures["worker_bytes"] > 5e8
    told = runner.invoke(cli.app, ["status", job, *into])
    assert (told.exit_code, "2 of 2 scenes complete, 24 tiles" in told.output) == (0, True)
    absent = runner.invoke(cli.app, ["status", job, "--into", str(tmp_path / "none")])
    assert (absent.exit_code, "holds no run" in absent.output) == (3, True)
    finish = tmp_path / "finish.json"
    ran = runner.invoke(cli.app, ["run", job, *into, "--since", "last", "--on-finish", str(finish)])
    assert (ran.exit_code, "nothing new" in ran.output) == (0, True)
    assert json.loads(finish.read_text())["state"] == "nothing new"
    other = str(write_fields(region, "other.yaml", method={"seed": 1}))
    refused = runner.invoke(cli.app, ["run", other, *into, "--on-finish", str(finish)])
    assert (refused.exit_code, "method.seed was 0 and is 1" in refused.output) == (3, True)
    assert json.loads(finish.read_text())["exit_code"] == 3


def test_a_schedule_that_finds_no_scene_is_done(region: Path, tmp_path: Path) -> None:
    job = write_fields(region, "early.yaml", out=str(tmp_path / "out"), datetime="2030-01-01/..")
    summary = tmp_path / "summary.json"
    found = CliRunner().invoke(cli.app, ["run", str(job), "--since", "last", "--on-finish", str(summary)])
    assert (found.exit_code, "nothing new" in found.stderr) == (0, True), found.output
    told = json.loads(summary.read_text())
    assert (told["state"], told["exit_code"]) == ("nothing new", 0)
    assert "has no pair" in told["why"]
    assert CliRunner().invoke(cli.app, ["run", str(job)]).exit_code == 3


@pytest.mark.parametrize(
    ("error", "code", "state"),
    [(KeyboardInterrupt(), 130, "interrupted"), (RuntimeError("no"), 1, "unexpected error")],
)
def test_whoever_waits_is_told_of_runs_that_never_began(
    region: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    state: str,
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("lstzoom.jobs.run.make_plan", fails)
    job, summary = write_fields(region, "never.yaml", out=str(tmp_path / "out")), tmp_path / "summary.json"
    found = CliRunner().invoke(cli.app, ["run", str(job), "--on-finish", str(summary)])
    told = json.loads(summary.read_text())
    assert (found.exit_code, told["exit_code"], told["state"]) == (code, code, state)


def test_memory_is_that_of_tiles_within_the_scene_and_too_little_is_told(region: Path) -> None:
    path = write_fields(region, "memory.yaml", grid={"tile": 4096}, cluster={"memory": "100MB"})
    found = CliRunner().invoke(cli.app, ["plan", str(path)])
    assert found.exit_code == 0, found.output
    assert "cluster.memory is 100 MB: give each worker more" in found.stdout
    told = json.loads(CliRunner().invoke(cli.app, ["plan", str(path), "--json"]).stdout)
    # 160 coarse pixels, not 4096.
    assert told["worker_bytes"] < 2e9


def test_retry_needs_a_run(region: Path, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="holds no run"):
        run_job(_job(region, tmp_path / "out"), Options(only_failed=True))


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["day", "region"])
def test_a_model_of_many_scenes_is_that_of_fit(region: Path, tmp_path: Path, scope: str) -> None:
    run_job(_job(region, tmp_path / "out", model={"scope": scope}))
    names = sorted(path.name for path in (tmp_path / "out" / "models").glob("*.lstzoom"))
    assert names == (
        ["region.lstzoom"] if scope == "region" else ["2023-06-01.lstzoom", "2023-06-02.lstzoom"]
    )
    if scope == "region":
        pairs = [
            lstzoom.load(
                region / "region.toml", (0, 0, 20, 60), folder=region / "files", min_coverage=0.001,
                lst_item=f"scene_202306{number + 1:02d}T100000",
            )
            for number in range(2)
        ]  # fmt: skip
        want = lstzoom.fit([(one.vnir, one.lst, one.valid) for one in pairs])
        got = lstzoom.load_model(tmp_path / "out" / "models" / "region.lstzoom")
        assert (got.model.reliability, got.level_rows, got.detail_rows) == (
            want.model.reliability, want.level_rows, want.detail_rows,
        )  # fmt: skip
        assert got.content_hash == want.content_hash


def test_the_demonstration_runs(tmp_path: Path) -> None:
    made = {
        "catalog": {"name": "demo"}, "area": {"bbox": [1, 2, 3, 4]}, "datetime": "2023-06-01",
        "grid": {"tile": 128, "bands": ["red", "nir"]},
        "outputs": {"folder": str(tmp_path / "out"), "cog": False},
        "cluster": {"workers": 1},
    }  # fmt: skip
    summary = run_job(parse_job(made))
    assert (summary["state"], summary["tiles"]["all"]) == ("done", 4)
    pair = lstzoom.load("demo", bands=["red", "nir"])
    (cube,) = (tmp_path / "out" / "cubes").iterdir()
    want = lstzoom.sharpen(**pair.inputs()).compute()
    assert np.array_equal(open_cube(cube).qa.values[0], want.qa.values)
    item = json.loads((tmp_path / "out" / "items" / "demo" / "scene.json").read_text())
    assert list(item["assets"]) == ["zarr"]


def test_fields_of_jobs_of_this_module_are_valid(region: Path) -> None:
    assert parse_job({**fields(region), "catalog": {"name": str(region / "region.toml")}}).grid.tile == 48


def test_a_run_ends_with_coarser_levels_and_statistics(tmp_path: Path) -> None:
    folder = make_region(tmp_path / "region", 1, (720, 390))
    job = _job(folder, tmp_path / "out", cluster={"workers": 1})
    assert run_job(job)["state"] == "done"
    (cube,) = (tmp_path / "out" / "cubes").iterdir()
    whole = open_cube(cube)
    coarse = open_cube(cube, level=1).lst.values[0]
    # The level is the mean in radiance of the full resolution.
    fourth = whole.lst.values[0].astype(np.float64) ** 4
    want = fourth.reshape(360, 2, 195, 2).mean(axis=(1, 3)) ** 0.25
    assert np.nanmax(np.abs(coarse - want)) <= 0.011
    assert whole.lst.attrs["statistics"]["count"] == int(np.isfinite(whole.lst.values).sum())
    before = pixels(tmp_path / "out")
    # Interrupted while levels were made: the same command makes what is missing, and the same.
    (cube / "1" / "lst" / "c" / "0" / "0" / "0").unlink()
    for mark in (tmp_path / "out" / "finished").iterdir():
        mark.unlink()
    summary = run_job(job)
    assert (summary["exit_code"], summary["tiles"]["done"]) == (0, 0)
    assert pixels(tmp_path / "out") == before
    times = {path: path.stat().st_mtime_ns for path in cube.rglob("*")}
    assert run_job(job)["tasks"] == 0
    assert {path: path.stat().st_mtime_ns for path in cube.rglob("*")} == times
    # A date more: its levels are made, and those of the other date stay.
    add_date(folder, 1, (720, 390))
    old = {name: data for name, data in before.items() if "/1/lst/c/0/" in name}
    assert old
    assert run_job(job, Options(since_last=True))["state"] == "done"
    after = pixels(tmp_path / "out")
    assert {name: after[name] for name in old} == old
    assert any("/1/lst/c/1/" in name for name in after)


def test_a_scene_without_record_is_closed_without_its_tiles_being_made_again(tmp_path: Path) -> None:
    folder = make_region(tmp_path / "region", 1, (240, 195))
    job = _job(folder, tmp_path / "out", cluster={"workers": 1}, outputs={"cog": False})
    run_job(job)
    before = pixels(tmp_path / "out")
    (tmp_path / "out" / "scenes" / "scene_20230601T100000.json").unlink()
    (tmp_path / "out" / "items" / "scene_20230601T100000" / "scene.json").unlink()
    assert run_job(job)["exit_code"] == 0
    assert pixels(tmp_path / "out") == before


def test_shards_of_an_odd_side_have_no_levels_and_the_run_is_done(tmp_path: Path) -> None:
    folder = make_region(tmp_path / "region", 1, (240, 195))
    said: list[str] = []
    job = _job(folder, tmp_path / "out", cluster={"workers": 1}, grid={"tile": 25},
               method={"chunk": 250, "windows": {"stride": 5}})  # fmt: skip
    assert run_job(job, say=said.append)["state"] == "done"
    assert any("odd side" in one for one in said)

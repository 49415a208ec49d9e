"""The command line, for real: files in, files out, messages and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
from rio_cogeo.cogeo import cog_validate
from typer.testing import CliRunner, Result

from lstzoom import cli, metrics, raster
from lstzoom.simulate import Scene, simulate_scene, write_scene, write_simulation

BANDS = ("blue", "red", "nir")
COMMAND = [sys.executable, "-c", "from lstzoom.cli import main; main()"]
REAL = os.environ.get("LSTZOOM_REAL_DATA", "")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return simulate_scene((180, 210), bands=BANDS, seed=3)


@pytest.fixture(scope="module")
def files(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    paths = write_scene(scene, tmp_path_factory.mktemp("scene"))
    return {name: str(path) for name, path in paths.items()}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    # The commands set defaults for this process; undo them after every test.
    monkeypatch.setenv("GDAL_CACHEMAX", "256")
    monkeypatch.setenv("DASK_LOGGING__DISTRIBUTED", "error")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(one) for one in arguments])


def sharpen(files: dict[str, str], *more: str | Path) -> Result:
    return run("sharpen", files["lst"], *(files[band] for band in BANDS), *more)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Sharpening


@pytest.fixture(scope="module")
def made(files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("made")
    done = sharpen(
        files, "-o", folder / "lst.tif", "--qa", folder / "qa.tif", "--zarr", folder / "lst.zarr", "--json"
    )
    return folder, done


def test_nothing_but_the_summary_goes_to_stdout(made: tuple[Path, Result]) -> None:
    folder, done = made
    assert done.exit_code == cli.OK, done.stderr
    summary = json.loads(done.stdout)
    assert summary["outputs"] == {
        "lst": str(folder / "lst.tif"),
        "qa": str(folder / "qa.tif"),
        "zarr": str(folder / "lst.zarr"),
    }
    assert summary["shape"] == [180, 210]
    assert summary["crs"] == "EPSG:32632"
    assert summary["bands"] == list(BANDS)
    assert sum(summary["pixels"].values()) == 180 * 210
    assert "sharpening: 100 %" in done.stderr


def test_the_files_are_valid_cogs_with_scale_and_tags(made: tuple[Path, Result]) -> None:
    folder, _ = made
    assert left_in(folder) == ["lst.tif", "lst.zarr", "qa.tif"]
    for name in ("lst", "qa"):
        valid, errors, warnings = cog_validate(str(folder / f"{name}.tif"), strict=True)
        assert (valid, errors, warnings) == (True, [], [])
    with rasterio.open(folder / "lst.tif") as file:
        assert (file.dtypes[0], file.nodata) == ("uint16", 65535)
        assert (file.scales[0], file.offsets[0], file.units[0]) == (0.01, 0.0, "K")
        assert file.tags()["LSTZOOM_BANDS"] == "blue, red, nir"
        assert file.tags()["LSTZOOM_LST"] == "lst.tif"


def test_rasterio_rioxarray_and_xarray_read_the_same(made: tuple[Path, Result], scene: Scene) -> None:
    folder, _ = made
    with rasterio.open(folder / "lst.tif") as file:
        plain = file.read(1) * file.scales[0]
    scaled = rioxarray.open_rasterio(folder / "lst.tif", mask_and_scale=True)
    assert isinstance(scaled, xr.DataArray)
    with xr.open_zarr(folder / "lst.zarr") as store:
        stored, flags = store.lst.values, store.qa.values
        assert store.rio.crs.to_epsg() == 32632
    np.testing.assert_allclose(scaled[0].values, plain, atol=1e-4)
    np.testing.assert_allclose(stored, plain, atol=1e-4)
    with rasterio.open(folder / "qa.tif") as file:
        np.testing.assert_array_equal(file.read(1), flags)
        assert file.transform.almost_equals(scene.geobox.affine)


def test_the_result_beats_bicubic_and_conserves(made: tuple[Path, Result], scene: Scene) -> None:
    result = raster.open_lst(made[0] / "lst.tif").values
    rows = metrics.score(result, scene.truth, scene.coarse, 3)
    assert rows["lstzoom"]["rmse"] < 0.8 * rows["bicubic"]["rmse"]
    # Rounding of the input and of the result to 0.01 K, and 0.01 K of the method.
    assert rows["lstzoom"]["conservation_max"] < 0.02
    assert rows["lstzoom"]["coverage"] == 1.0


def test_blocks_do_not_change_the_result(
    made: tuple[Path, Result], files: dict[str, str], tmp_path: Path
) -> None:
    done = sharpen(files, "-o", tmp_path / "b.tif", "--chunk", "16", "--encoding", "float32", "-q")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    again = sharpen(files, "-o", tmp_path / "c.tif", "--memory", "3GiB", "--encoding", "float32", "-q")
    assert again.exit_code == 0, again.stderr
    one, other = (raster.open_lst(tmp_path / name).values for name in ("b.tif", "c.tif"))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(one, raster.open_lst(made[0] / "lst.tif").values, atol=0.0051)


def test_bands_by_name_and_by_position_are_the_same(files: dict[str, str], tmp_path: Path) -> None:
    for name, bands in (("name", "red,blue"), ("position", "2,1")):
        done = sharpen(files, "-o", tmp_path / f"{name}.tif", "--bands", bands, "--json", "-q")
        assert done.exit_code == 0, done.stderr
        assert json.loads(done.stdout)["bands"] == ["red", "blue"]
    one, other = (raster.open_lst(tmp_path / f"{name}.tif").values for name in ("name", "position"))
    np.testing.assert_array_equal(one, other)


def test_bands_that_are_not_asked_for_are_not_read(files: dict[str, str], tmp_path: Path) -> None:
    with rasterio.open(files["nir"]) as file:
        profile = file.profile
        values = file.read(1)
    with rasterio.open(tmp_path / "broken.tif", "w", **profile) as file:
        file.write(values, 1)
    whole = (tmp_path / "broken.tif").read_bytes()
    (tmp_path / "broken.tif").write_bytes(whole[: len(whole) // 2])
    broken = {**files, "nir": str(tmp_path / "broken.tif")}
    done = sharpen(broken, "-o", tmp_path / "out.tif")
    assert done.exit_code == cli.BAD_INPUT
    assert "broken.tif" in done.stderr
    assert "truncated" in done.stderr
    done = sharpen(broken, "-o", tmp_path / "out.tif", "--bands", "red,blue")
    assert done.exit_code == 0, done.stderr


def test_a_mask_leaves_pixels_out(files: dict[str, str], scene: Scene, tmp_path: Path) -> None:
    with rasterio.open(files["lst"]) as file:
        profile = {**file.profile, "dtype": "uint8", "nodata": None}
    cloud = np.full(scene.coarse.shape, 4, np.uint8)
    cloud[10:20, 30:40] = 9
    with rasterio.open(tmp_path / "mask.tif", "w", **profile) as file:
        file.write(cloud, 1)
    options = ("--mask", tmp_path / "mask.tif", "--mask-clear", "4,5", "--json")
    done = sharpen(files, "-o", tmp_path / "out.tif", *options)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["pixels"]["masked_cloud_or_user"] == 900
    missing = np.isnan(raster.open_lst(tmp_path / "out.tif").values)
    assert missing[30:60, 90:120].all()
    assert missing.sum() == 900


def test_celsius_is_asked_for_and_taken(files: dict[str, str], scene: Scene, tmp_path: Path) -> None:
    with rasterio.open(files["lst"]) as file:
        profile = {**file.profile, "dtype": "float32", "nodata": None}
    with rasterio.open(tmp_path / "celsius.tif", "w", **profile) as file:
        file.write(scene.coarse - np.float32(273.15), 1)
    celsius = {**files, "lst": str(tmp_path / "celsius.tif")}
    refused = sharpen(celsius, "-o", tmp_path / "out.tif")
    assert refused.exit_code == cli.BAD_INPUT
    assert "--lst-units C" in refused.stderr
    done = sharpen(celsius, "-o", tmp_path / "out.tif", "--lst-units", "C", "--json")
    assert json.loads(done.stdout)["kelvin"]["mean"] == pytest.approx(scene.truth.mean(), abs=0.1)


# Errors


def test_values_that_do_not_fit_are_an_error_and_leave_nothing(
    files: dict[str, str], scene: Scene, tmp_path: Path
) -> None:
    # 655.35 K is the first value that uint16 cannot hold.
    with rasterio.open(files["lst"]) as file:
        profile = {**file.profile, "dtype": "float32", "nodata": None}
    with rasterio.open(tmp_path / "hot.tif", "w", **profile) as file:
        file.write(scene.coarse + np.float32(365.0), 1)
    hot = {**files, "lst": str(tmp_path / "hot.tif")}
    done = sharpen(
        hot, "-o", tmp_path / "out.tif", "--zarr", tmp_path / "out.zarr", "--qa", tmp_path / "qa.tif"
    )
    assert done.exit_code == cli.BAD_INPUT
    assert "--encoding float32" in done.stderr
    assert "Traceback" not in done.stderr
    assert left_in(tmp_path) == ["hot.tif"]
    assert sharpen(hot, "-o", tmp_path / "out.tif", "--encoding", "float32").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--bands", "red,swir16"], cli.BAD_INPUT, "there are: 1 blue, 2 red, 3 nir"),
        (["--bands", "4"], cli.BAD_INPUT, "there are: 1 blue, 2 red, 3 nir"),
        (["--bands", "red,"], cli.USAGE, "is no list"),
        (["--chunk", "20"], cli.BAD_INPUT, "use chunk=32"),
        (["--memory", "lots"], cli.USAGE, "4GiB"),
        (["--memory", "200MB"], cli.BAD_INPUT, "raise --memory"),
        (["--mask-clear", "1"], cli.USAGE, "--mask"),
        (["--mask", "absent.tif"], cli.BAD_INPUT, "absent.tif"),
        (["--ratio", "1"], cli.USAGE, "--ratio"),
        (["--encoding", "int8"], cli.USAGE, "uint16"),
        (["--qa", "/nowhere/qa.tif"], cli.BAD_INPUT, "make it first"),
    ],
)
def test_errors_tell_what_to_do(
    files: dict[str, str], tmp_path: Path, arguments: list[str], code: int, told: str
) -> None:
    done = sharpen(files, "-o", tmp_path / "out.tif", *arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert left_in(tmp_path) == []


def test_what_exists_is_kept_unless_overwriting_is_allowed(files: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "out.tif").write_text("mine")
    done = sharpen(files, "-o", tmp_path / "out.tif")
    assert done.exit_code == cli.BAD_INPUT
    assert "--overwrite" in done.stderr
    assert (tmp_path / "out.tif").read_text() == "mine"
    assert sharpen(files, "-o", tmp_path / "out.tif", "--overwrite").exit_code == 0


def test_debug_shows_the_traceback(files: dict[str, str], tmp_path: Path) -> None:
    done = sharpen({**files, "lst": "absent.tif"}, "-o", tmp_path / "out.tif", "--debug")
    assert done.exit_code == cli.BAD_INPUT
    assert "Traceback" in done.stderr


def test_an_unexpected_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(cli.typer.Exit) as stopped, cli._session():
        raise ZeroDivisionError("by hand")
    assert stopped.value.exit_code == cli.UNEXPECTED
    assert capsys.readouterr().err == "lstzoom: unexpected ZeroDivisionError: by hand; --debug shows where\n"


def test_exit_codes_are_in_the_help() -> None:
    done = run("sharpen", "--help")
    for told in ("0 done", "1 unexpected", "2 wrong usage", "3 input", "130 interrupted"):
        assert told in " ".join(done.stdout.split())


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nsys.argv = ['lstzoom', '--help']\nfrom lstzoom.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'xarray', 'dask', 'sklearn', 'rasterio', 'pydantic', 'zarr', 'numba'}\n"
        "sys.stderr.write(' '.join(sorted(heavy & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "sharpen" in done.stdout
    assert done.stderr == ""


# Processes


def test_a_process_sharpens_and_says_how_far_it_is(files: dict[str, str], tmp_path: Path) -> None:
    inputs = [files["lst"], *(files[band] for band in BANDS)]
    command = [*COMMAND, "sharpen", *inputs, "-o", str(tmp_path / "out.tif")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"wrote {tmp_path / 'out.tif'}" in done.stdout
    assert "sharpening: 100 %" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert cog_validate(str(tmp_path / "out.tif"), strict=True)[0]


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Let children hear SIGINT, which a shell's background jobs ignore and hand down."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, stop: signal.Signals) -> None:
    paths = write_simulation(tmp_path / "in", (900, 900))
    (tmp_path / "out").mkdir()
    inputs = [str(paths["lst"]), str(paths["red"]), str(paths["nir"])]
    targets = ["-o", str(tmp_path / "out" / "a.tif"), "--zarr", str(tmp_path / "out" / "a.zarr")]
    command = [*COMMAND, "sharpen", *inputs, *targets, "--chunk", "32"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "10 %" in line:
                break
        assert len(left_in(tmp_path / "out")) == 2
        process.send_signal(stop)
        _, told = process.communicate(timeout=60)
    assert process.returncode == cli.INTERRUPTED
    assert "lstzoom: interrupted" in told
    assert "Traceback" not in told
    assert left_in(tmp_path / "out") == []


@pytest.mark.cluster
def test_workers_give_the_same_files(
    files: dict[str, str], made: tuple[Path, Result], tmp_path: Path
) -> None:
    inputs = [files["lst"], *(files[band] for band in BANDS)]
    targets = ["-o", str(tmp_path / "lst.tif"), "--qa", str(tmp_path / "qa.tif")]
    command = [*COMMAND, "sharpen", *inputs, *targets, "--workers", "2", "--chunk", "32", "--json"]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["workers"] == 2
    assert "INFO" not in done.stderr
    assert time.perf_counter() - start < 120
    for name in ("lst.tif", "qa.tif"):
        with rasterio.open(made[0] / name) as one, rasterio.open(tmp_path / name) as other:
            np.testing.assert_array_equal(one.read(1), other.read(1))


@pytest.mark.cluster
@pytest.mark.usefixtures("_interruptible")
def test_interrupted_workers_say_nothing(tmp_path: Path) -> None:
    paths = write_simulation(tmp_path / "in", (1800, 1800))
    (tmp_path / "out").mkdir()
    inputs = [str(paths["lst"]), str(paths["red"]), str(paths["nir"])]
    command = [*COMMAND, "sharpen", *inputs, "-o", str(tmp_path / "out" / "a.tif"), "--workers", "2"]
    # A terminal interrupts the whole group of processes: this one makes a group of its own.
    with subprocess.Popen(
        [*command, "--chunk", "32"], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "10 %" in line:
                break
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == cli.INTERRUPTED
    assert [line for line in told.splitlines() if not line.startswith("sharpening:")] == [
        "lstzoom: interrupted; no file was left half-written"
    ]
    assert left_in(tmp_path / "out") == []


# Validation


def test_validate_compares_with_a_truth(files: dict[str, str], tmp_path: Path) -> None:
    inputs = [files["lst"], *(files[band] for band in BANDS), "--truth", files["truth"]]
    done = run("validate", *inputs, "--json", tmp_path / "scores.json", "--png", tmp_path / "maps.png")
    assert done.exit_code == 0, done.stderr
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert (scores["mode"], scores["ratio"]) == ("direct", 3)
    assert scores["methods"]["lstzoom"]["rmse"] < scores["methods"]["bicubic"]["rmse"]
    assert "bicubic" in done.stdout
    for name in ("maps.png", "maps_errors.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("more", "mode"),
    [(["--truth", "truth", "--degrade", "--psf-sigma", "1"], "degraded"), ([], "one-scale-up")],
)
def test_validate_degrades(files: dict[str, str], more: list[str], mode: str) -> None:
    options = [files.get(one, one) for one in more]
    done = run("validate", files["lst"], *(files[band] for band in BANDS), *options, "--json", "-")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["mode"] == mode


def test_validate_prints_json_as_other_commands_do_and_takes_no_input_for_its_file(
    files: dict[str, str], tmp_path: Path
) -> None:
    """The option may stand before the inputs, and none of them is written over."""
    given, before = [files["lst"], files["red"]], Path(files["lst"]).read_bytes()
    done = run("validate", "--json", *given)
    assert done.exit_code == 0, done.stderr
    scores = json.loads(done.stdout)
    assert Path(files["lst"]).read_bytes() == before
    done = run("validate", "--json", tmp_path / "scores.json", *given, "--quiet")
    assert (done.exit_code, done.stdout) == (0, "")
    assert json.loads((tmp_path / "scores.json").read_text()) == scores
    twice = run("validate", *given, "--json", tmp_path / "a.json", tmp_path / "b.json")
    assert twice.exit_code == cli.USAGE
    assert run("validate", "--json", tmp_path / "a.json").exit_code == cli.USAGE


def test_validate_refuses_to_degrade_nothing(files: dict[str, str]) -> None:
    done = run("validate", files["lst"], files["red"], "--degrade")
    assert done.exit_code == cli.USAGE
    assert "--truth" in done.stderr


# Real imagery


@pytest.mark.skipif(not REAL, reason="LSTZOOM_REAL_DATA does not name a folder of real imagery")
def test_a_real_case_beats_bicubic(tmp_path: Path) -> None:
    case = Path(REAL) / "cases" / "talca_60m"
    inputs = [str(case / "coarse_lst.tif"), str(case / "vnir.tif")]
    command = [*COMMAND, "sharpen", *inputs, "-o", str(tmp_path / "out.tif"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result, truth, coarse = (
        raster.open_lst(path).values
        for path in (tmp_path / "out.tif", case / "truth_lst.tif", case / "coarse_lst.tif")
    )
    rows = metrics.score(result, truth, coarse, 3)
    assert rows["lstzoom"]["rmse"] < 0.8 * rows["bicubic"]["rmse"]
    assert rows["lstzoom"]["coverage"] == 1.0


def test_inputs_and_twins_are_refused_before_work(files: dict[str, str], tmp_path: Path) -> None:
    done = sharpen(files, "-o", files["lst"], "--overwrite")
    assert done.exit_code == cli.BAD_INPUT
    assert "is an input" in done.stderr
    done = sharpen(files, "-o", tmp_path / "a.tif", "--qa", tmp_path / "a.tif")
    assert done.exit_code == cli.BAD_INPUT
    assert "both" in done.stderr
    assert left_in(tmp_path) == []


def test_a_scene_without_a_sample_is_interpolated_as_from_python(
    files: dict[str, str], scene: Scene, tmp_path: Path
) -> None:
    rows, columns = scene.truth.shape
    checker = np.indices((rows, columns)).sum(axis=0) % 2
    mask = tmp_path / "mask.tif"
    with rasterio.open(files["red"]) as like:
        profile = {"driver": "GTiff", "width": columns, "height": rows, "count": 1, "dtype": "uint8"}
        with rasterio.open(mask, "w", crs=like.crs, transform=like.transform, **profile) as file:
            file.write(checker.astype(np.uint8), 1)
    done = sharpen(files, "-o", tmp_path / "lst.tif", "--mask", mask)
    assert done.exit_code == cli.OK, done.stderr
    with rasterio.open(tmp_path / "lst.tif") as file:
        stored = file.read(1)
    assert ((stored != 65535) == (checker == 0)).all()


def test_a_wrong_setting_is_named(files: dict[str, str], tmp_path: Path) -> None:
    done = sharpen(files, "-o", tmp_path / "a.tif", "--seed", "99999999999")
    assert done.exit_code == cli.BAD_INPUT
    assert "seed" in done.stderr

"""Uncertainty, boxes, native resolution and what is said of a result, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from numpy.typing import NDArray
from rio_cogeo.cogeo import cog_validate
from typer.testing import CliRunner, Result

import lstzoom
from lstzoom import cli, raster
from lstzoom.kernels.aggregate import area_mean_radiance
from lstzoom.simulate import Scene, simulate_scene, write_scene

BANDS = ("red", "nir")


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
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")


def run(command: str, files: dict[str, str], *more: str | Path) -> Result:
    inputs = [files["lst"], *(files[band] for band in BANDS)]
    return CliRunner().invoke(cli.app, [command, *inputs, *map(str, more)])


def sigma_file(like: str, path: Path, values: NDArray[np.float32]) -> Path:
    with rasterio.open(like) as file:
        profile = {**file.profile, "driver": "GTiff", "dtype": "float32", "nodata": float("nan")}
    with rasterio.open(path, "w", **profile) as file:
        file.write(values, 1)
    return path


def plane(path: Path) -> NDArray[np.float32]:
    with rasterio.open(path) as file:
        assert file.scales[0] in (0.01, 1.0)
        stored = file.read(1, masked=True).filled(0) * file.scales[0]
        return np.where(file.read_masks(1) > 0, stored, np.nan).astype(np.float32)


def test_uncertainty_goes_to_a_cog_and_to_the_store(
    files: dict[str, str], scene: Scene, tmp_path: Path
) -> None:
    targets = ("--uncertainty", tmp_path / "u.tif", "--zarr", tmp_path / "s.zarr", "--json", "-q")
    done = run("sharpen", files, "-o", tmp_path / "lst.tif", *targets)
    assert done.exit_code == 0, done.stderr
    assert cog_validate(str(tmp_path / "u.tif"), strict=True)[0]
    with rasterio.open(tmp_path / "u.tif") as file:
        assert (file.dtypes[0], file.scales[0], file.nodata, file.units[0]) == ("uint16", 0.01, 65535, "K")
        tags = file.tags()
    stated = plane(tmp_path / "u.tif")
    vnir, lst = (
        raster.open_stack([files[b] for b in BANDS], scene.geobox).compute(),
        raster.open_lst(files["lst"]).compute(),
    )
    sharp = lstzoom.sharpen(vnir, lst)
    np.testing.assert_allclose(stated, sharp.lst_uncertainty, atol=0.0051)
    with xr.open_zarr(tmp_path / "s.zarr") as store:
        np.testing.assert_allclose(store.lst_uncertainty, stated, atol=1e-4)
        assert store.lst_uncertainty.attrs["units"] == "K"
    summary = json.loads(done.stdout)
    assert summary["outputs"]["uncertainty"] == str(tmp_path / "u.tif")
    for name in ("footprint", "footprint_metres", "reliability", "mean_uncertainty", "unsupported_share"):
        assert summary[name] == pytest.approx(sharp.attrs[f"lstzoom_{name}"], abs=1.5e-3)
        assert float(tags[f"LSTZOOM_{name.upper()}"]) == summary[name]


def test_uncertainty_of_the_input_is_added(files: dict[str, str], scene: Scene, tmp_path: Path) -> None:
    given = np.full(scene.coarse.shape, 1.2, np.float32)
    given[:20] = np.nan
    sigma = sigma_file(files["lst"], tmp_path / "sigma.tif", given)
    float32 = ("--encoding", "float32", "-q", "-o", tmp_path / "lst.tif", "--overwrite")
    alone, both = tmp_path / "alone.tif", tmp_path / "both.tif"
    assert run("sharpen", files, *float32, "--uncertainty", alone).exit_code == 0
    more = ("--uncertainty", both, "--lst-uncertainty", sigma, "--chunk", "16")
    assert run("sharpen", files, *float32, *more).exit_code == 0
    expected = plane(alone)
    expected[60:] = np.hypot(expected[60:], np.float32(1.2))
    np.testing.assert_allclose(plane(both), expected, rtol=1e-6)


def test_uncertainty_that_cannot_be_had(files: dict[str, str], scene: Scene, tmp_path: Path) -> None:
    done = run("sharpen", files, "-o", tmp_path / "o.tif", "--uncertainty", tmp_path / "u.tif",
               "--method", "published")  # fmt: skip
    assert done.exit_code == cli.BAD_INPUT
    assert "'calibrated'" in done.stderr
    done = run("sharpen", files, "-o", tmp_path / "o.tif", "--lst-uncertainty", files["truth"])
    assert done.exit_code == cli.BAD_INPUT
    assert "grid of LST" in done.stderr
    wrong = sigma_file(files["lst"], tmp_path / "sigma.tif", np.full(scene.coarse.shape, -1, np.float32))
    done = run("sharpen", files, "-o", tmp_path / "o.tif", "--lst-uncertainty", wrong)
    assert done.exit_code == cli.BAD_INPUT
    assert "0 or more" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["sigma.tif"]
    done = run("sharpen", files, "-o", tmp_path / "o.tif", "--lst-uncertainty", tmp_path / "none.tif")
    assert "none.tif" in done.stderr


def test_the_published_method_stores_no_uncertainty(files: dict[str, str], tmp_path: Path) -> None:
    targets = ("-o", tmp_path / "lst.tif", "--zarr", tmp_path / "s.zarr", "--json", "-q")
    done = run("sharpen", files, *targets, "--method", "published")
    assert done.exit_code == 0, done.stderr
    with xr.open_zarr(tmp_path / "s.zarr") as store:
        assert set(store.data_vars) == {"lst", "qa"}
    assert "footprint" not in json.loads(done.stdout)


def test_boxes_are_conserved(files: dict[str, str], tmp_path: Path) -> None:
    options = ("--conservation-box", "2", "--encoding", "float32", "-q")
    done = run("sharpen", files, "-o", tmp_path / "lst.tif", *options)
    assert done.exit_code == 0, done.stderr
    fine, coarse = plane(tmp_path / "lst.tif"), raster.open_lst(files["lst"]).to_numpy()
    apart = np.abs(area_mean_radiance(fine, 6) - area_mean_radiance(coarse, 2))
    assert apart.max() <= 0.01
    assert np.abs(area_mean_radiance(fine, 3) - coarse).max() > 0.02
    with rasterio.open(tmp_path / "lst.tif") as file:
        assert file.tags()["LSTZOOM_CONSERVATION_BOX"] == "2"
    assert run("sharpen", files, "-o", tmp_path / "o.tif", "--conservation-box", "0").exit_code != 0


def test_a_declared_resolution_widens_the_footprint(files: dict[str, str], tmp_path: Path) -> None:
    done = run("sharpen", files, "-o", tmp_path / "o.tif", "--native-resolution", "100", "--json", "-q")
    # The variances of boxes add: (100 m)^2 = (30 m)^2 + 12 sigma^2.
    assert json.loads(done.stdout)["footprint_metres"] == pytest.approx(
        ((100**2 - 30**2) / 12) ** 0.5, abs=0.1
    )
    done = run("sharpen", files, "-o", tmp_path / "p.tif", "--native-resolution", "300")
    assert done.exit_code == cli.BAD_INPUT
    assert "aggregate the LST to at least" in done.stderr
    assert not (tmp_path / "p.tif").exists()


def test_bands_of_larger_pixels_are_named(files: dict[str, str], tmp_path: Path) -> None:
    with rasterio.open(files["nir"]) as file:
        values = file.read(1).reshape(90, 2, 105, 2).mean((1, 3))
        profile = {**file.profile, "driver": "GTiff", "height": 90, "width": 105,
                   "transform": file.transform @ rasterio.Affine.scale(2)}  # fmt: skip
        scales, description = file.scales, file.descriptions[0]
    coarser = tmp_path / "nir.tif"
    with rasterio.open(coarser, "w", **profile) as file:
        file.write(values.astype(np.uint16), 1)
        file.scales = scales
        file.set_band_description(1, description)
    inputs = {**files, "nir": str(coarser)}
    done = run("sharpen", inputs, "-o", tmp_path / "o.tif")
    assert done.exit_code == 0, done.stderr
    assert "nir (20)" in done.stdout
    assert "mean uncertainty" in done.stdout
    with rasterio.open(tmp_path / "o.tif") as file:
        assert file.tags()["LSTZOOM_COARSER_BANDS"] == "nir (20)"
    done = run("sharpen", inputs, "-o", tmp_path / "p.tif", "--bands", "nir,red", "--json", "-q")
    assert json.loads(done.stdout)["coarser_bands"] == "nir (20)"
    done = run("sharpen", inputs, "-o", tmp_path / "q.tif", "--bands", "red", "--json", "-q")
    assert "coarser_bands" not in json.loads(done.stdout)


def test_validate_takes_the_same_settings(files: dict[str, str]) -> None:
    options = ("--truth", files["truth"], "--degrade", "--json")
    scores = [
        json.loads(run("validate", files, *options, *more).stdout)["methods"]["lstzoom"]
        for more in ((), ("--conservation-box", "3"), ("--native-resolution", "100"))
    ]
    assert len({score["rmse"] for score in scores}) == 3
    assert scores[1]["conservation_max"] > 0.02 > scores[0]["conservation_max"]


def test_figures_of_another_scene_are_not_taken_for_those_of_this_one(
    files: dict[str, str], tmp_path: Path
) -> None:
    result, accuracy, page = tmp_path / "out.tif", tmp_path / "accuracy.json", tmp_path / "report.html"
    assert run("sharpen", files, "-o", result).exit_code == cli.OK
    assert run("validate", files, "--json", accuracy).exit_code == cli.OK
    asked = ["report", result, "--lst", files["lst"], "--accuracy", accuracy, "-o", page, "--overwrite"]
    done = CliRunner().invoke(cli.app, [str(one) for one in asked])
    assert done.exit_code == cli.OK, done.stderr
    told = json.loads(accuracy.read_text())
    accuracy.write_text(json.dumps(told | {"lst_sha256": "0" * 64}))
    refused = CliRunner().invoke(cli.app, [str(one) for one in asked])
    assert refused.exit_code == cli.BAD_INPUT
    assert "is of another LST" in refused.stderr

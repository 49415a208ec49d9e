from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from typer.testing import CliRunner, Result

from lstzoom import cli
from lstzoom.product import open_bundle
from lstzoom.product.simulated import BundlePlan, write_bundle
from lstzoom.simulate import Scene, simulate_scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    return simulate_scene((120, 150), bands=("blue", "green", "red", "rededge", "nir", "nir08"), seed=2)


@pytest.fixture(scope="module")
def bundle(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("cli"), container="zip", scene=scene)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_CACHEMAX", "256")
    monkeypatch.setenv("DASK_LOGGING__DISTRIBUTED", "error")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(one) for one in arguments])


def test_a_bundle_stands_for_both_files(bundle: Path, tmp_path: Path) -> None:
    done = run("sharpen", bundle, "-o", tmp_path / "lst.tif", "--qa", tmp_path / "qa.tif", "--json")
    assert done.exit_code == cli.OK, done.stderr
    summary = json.loads(done.stdout)
    assert summary["bands"] == ["green", "red", "nir"]
    assert summary["shape"] == [120, 150]
    valid = open_bundle(bundle).load().valid
    assert valid is not None
    with rasterio.open(tmp_path / "qa.tif") as file:
        qa = file.read(1)
    np.testing.assert_array_equal(qa == 4, ~valid.values)
    assert (qa[valid.values][:, None] != 0).all()
    assert summary["pixels"]["interpolated_no_vnir"] == 120 * 6
    with rasterio.open(tmp_path / "lst.tif") as file:
        assert file.tags()["LSTZOOM_LST"].endswith("_LST.tiff")
        assert file.tags()["LSTZOOM_VNIR"].count("VNIR") == 3


@pytest.mark.slow
def test_workers_and_chunks_do_not_change_a_bit(bundle: Path, tmp_path: Path) -> None:
    for name, more in {"one": (), "two": ("--workers", 2, "--chunk", 16)}.items():
        done = run(
            "sharpen", bundle, "-o", tmp_path / f"{name}.tif", "--bands", "3,nir,05", "--blue", "-q", *more
        )
        assert done.exit_code == cli.OK, done.stderr
    with rasterio.open(tmp_path / "one.tif") as one, rasterio.open(tmp_path / "two.tif") as two:
        assert one.tags()["LSTZOOM_BANDS"] == "blue, green, nir, rededge071"
        np.testing.assert_array_equal(one.read(), two.read())


def test_a_mask_of_the_user_is_joined_with_that_of_the_bundle(
    bundle: Path, scene: Scene, tmp_path: Path
) -> None:
    mask = np.zeros((120, 150), np.uint8)
    mask[:30] = 1
    with rasterio.open(
        tmp_path / "mask.tif", "w", driver="GTiff", dtype="uint8", count=1, height=120, width=150,
        crs="EPSG:32632", transform=scene.geobox.affine,
    ) as file:  # fmt: skip
        file.write(mask, 1)
    qa = tmp_path / "qa.tif"
    done = run("sharpen", bundle, "-o", tmp_path / "a.tif", "--qa", qa, "--mask", tmp_path / "mask.tif", "-q")
    assert done.exit_code == cli.OK, done.stderr
    valid = open_bundle(bundle).load().valid
    assert valid is not None
    with rasterio.open(qa) as file:
        np.testing.assert_array_equal(file.read(1) == 4, ~valid.values | (mask == 1))


def test_what_a_bundle_tells_itself_is_not_taken_twice(bundle: Path, tmp_path: Path) -> None:
    done = run("sharpen", bundle, "-o", tmp_path / "a.tif", "--lst-scale", 0.1, "--nodata", 0)
    assert done.exit_code == cli.USAGE
    assert "--lst-scale, --nodata goes with plain files" in done.stderr
    done = run("sharpen", "lst.tif", "vnir.tif", "-o", tmp_path / "a.tif", "--blue")
    assert done.exit_code == cli.USAGE
    assert "goes with a bundle" in done.stderr
    done = run("sharpen", "lst.tif", "-o", tmp_path / "a.tif")
    assert done.exit_code == cli.USAGE
    assert "no VNIR was given, and 'lst.tif' is no bundle" in done.stderr


def test_a_bundle_is_validated_without_its_clouds(bundle: Path, scene: Scene, tmp_path: Path) -> None:
    done = run("validate", bundle, "--json")
    assert done.exit_code == cli.OK, done.stderr
    told = json.loads(done.stdout)
    valid = open_bundle(bundle).load().valid
    assert valid is not None
    clear = np.all(valid.values.reshape(40, 3, 50, 3), axis=(1, 3))[:39, :48]
    whole = np.all(clear.reshape(13, 3, 16, 3), axis=(1, 3))
    assert not clear.all()
    assert told["mode"] == "one-scale-up"
    # Thermal pixels in which any part of a cloud lies are no truth, and make no coarser pixel.
    assert told["pixels"] == 9 * whole.sum()
    assert told["methods"]["lstzoom"]["rmse_over_bicubic"] < 1

    truth, elsewhere = tmp_path / "truth.tif", tmp_path / "elsewhere.tif"
    for path, grid in ((truth, scene.geobox), (elsewhere, scene.geobox[3:, :])):
        rows, columns = grid.shape
        with rasterio.open(
            path, "w", driver="GTiff", dtype="float32", count=1, height=rows, width=columns,
            crs=str(grid.crs), transform=grid.affine,
        ) as file:  # fmt: skip
            file.write(scene.truth[-rows:], 1)
    direct = run("validate", bundle, "--truth", truth, "--json", "-")
    assert direct.exit_code == cli.OK, direct.stderr
    assert json.loads(direct.stdout)["mode"] == "direct"
    assert json.loads(direct.stdout)["pixels"] == valid.values.reshape(40, 3, 50, 3).all((1, 3)).sum() * 9
    refused = run("validate", bundle, "--truth", elsewhere)
    assert refused.exit_code == cli.BAD_INPUT
    assert "must lie on the fine grid of the bundle" in refused.stderr


def test_validating_takes_files_or_a_bundle_and_says_so(bundle: Path, tmp_path: Path) -> None:
    refused = run("validate", bundle, "--nodata", 3, "--lst-scale", 0.1)
    assert refused.exit_code == cli.USAGE
    assert "--lst-scale, --nodata goes with plain files" in refused.stderr
    lone = tmp_path / "lst.tif"
    lone.touch()
    assert "no VNIR was given" in run("validate", lone).stderr
    assert "it goes with a bundle" in run("validate", lone, lone, "--blue").stderr


def test_what_cannot_be_sharpened_is_told(scene: Scene, tmp_path: Path) -> None:
    night = write_bundle(tmp_path, BundlePlan(night=True), scene=scene)
    done = run("sharpen", night, "-o", tmp_path / "a.tif")
    assert done.exit_code == cli.BAD_INPUT
    assert "night scene without reflectance" in done.stderr
    done = run("sharpen", tmp_path / "nothing.zip", "-o", tmp_path / "a.tif")
    assert done.exit_code == cli.BAD_INPUT
    assert "does not exist" in done.stderr
    assert not (tmp_path / "a.tif").exists()


def test_files_of_the_bundle_are_never_replaced(scene: Scene, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, BundlePlan(style="short"), scene=scene)
    before = (folder / "vnir07.tiff").read_bytes()
    done = run("sharpen", folder, "-o", folder / "vnir07.tiff", "--overwrite")
    assert done.exit_code == cli.BAD_INPUT
    assert "is an input and would be replaced" in done.stderr
    assert (folder / "vnir07.tiff").read_bytes() == before


# Ingest


def test_an_item_is_printed(bundle: Path) -> None:
    done = run("catalog", "ingest", bundle)
    assert done.exit_code == cli.OK, done.stderr
    item = pystac.Item.from_dict(json.loads(done.stdout))
    assert item.id == bundle.stem
    with rasterio.open(item.assets["lst"].href) as file:
        assert file.shape == (40, 50)


def test_an_item_never_takes_the_place_of_its_bundle(bundle: Path) -> None:
    before = bundle.read_bytes()
    done = run("catalog", "ingest", bundle, "-o", bundle, "--overwrite")
    assert done.exit_code == cli.BAD_INPUT
    assert "is an input" in done.stderr
    assert bundle.read_bytes() == before


def test_an_item_beside_its_files_can_be_moved_with_them(scene: Scene, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, BundlePlan(style="subdirectories"), scene=scene)
    assert run("catalog", "ingest", folder, "-o", folder / "item.json").exit_code == cli.OK
    moved = folder.rename(tmp_path / "moved")
    item = pystac.Item.from_file(str(moved / "item.json"))
    assert item.to_dict()["assets"]["lst"]["href"] == "./tir_data/lst.tiff"
    with rasterio.open(item.assets["lst"].get_absolute_href()) as file:
        assert file.shape == (40, 50)
    again = run("catalog", "ingest", moved, "-o", moved / "item.json")
    assert again.exit_code == cli.BAD_INPUT
    assert "--overwrite" in again.stderr
    assert run("catalog", "ingest", moved, "-o", moved / "item.json", "--overwrite").exit_code == cli.OK


def test_mistakes_are_told_with_their_remedy(bundle: Path, tmp_path: Path) -> None:
    done = run("catalog", "ingest", tmp_path / "nothing")
    assert (done.exit_code, "does not exist" in done.stderr) == (cli.BAD_INPUT, True)
    done = run("catalog", "ingest", bundle, "-o", tmp_path / "no" / "item.json")
    assert (done.exit_code, "make it first" in done.stderr) == (cli.BAD_INPUT, True)


def test_strict_refuses_keys_that_are_not_documented(scene: Scene, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, BundlePlan(style="short"), scene=scene)
    content = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    content["properties"]["day_flg"] = True
    (folder / "metadata.json").write_text(json.dumps(content), encoding="utf-8")
    assert run("catalog", "ingest", folder).exit_code == cli.OK
    done = run("catalog", "ingest", folder, "--strict")
    assert done.exit_code == cli.BAD_INPUT
    assert "nearest documented key is 'day_flag'" in done.stderr

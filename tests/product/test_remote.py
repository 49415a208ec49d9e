"""Bundles in an object store: a real server that speaks S3 on this machine, read by fsspec and by GDAL."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from typer.testing import CliRunner

from lstzoom import cli, fit, load_model
from lstzoom.errors import InputError
from lstzoom.product import open_bundle
from lstzoom.product.simulated import BundlePlan, write_bundle
from lstzoom.simulate import Scene, simulate_scene
from tests.s3_server import access

pytest.importorskip("s3fs")
pytest.importorskip("moto")
pytestmark = pytest.mark.cluster


@pytest.fixture
def endpoint(s3_endpoint: str) -> str:
    return s3_endpoint


@pytest.fixture(autouse=True)
def _access(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**access(endpoint), "COLUMNS": "200", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return simulate_scene((120, 120), bands=("blue", "green", "red", "rededge", "nir", "nir08"), seed=2)


def put(path: Path, prefix: str) -> str:
    import s3fs

    store = s3fs.S3FileSystem(skip_instance_cache=True)
    if not store.exists("bundles"):
        store.mkdir("bundles")
    store.put(str(path), f"bundles/{prefix}{path.name}", recursive=path.is_dir())
    return f"s3://bundles/{prefix}{path.name}"


@pytest.mark.parametrize("container", ["folder", "zip"])
@pytest.mark.parametrize("style", ["long", "short", "subdirectories"])
def test_a_bundle_in_a_bucket_has_the_same_pixels(
    scene: Scene, tmp_path: Path, style: Any, container: Any
) -> None:
    plan = BundlePlan(style=style, configuration="A" if style == "long" else "B")
    local = write_bundle(tmp_path, plan, container=container, scene=scene)
    url = put(local, f"{style}/{container}/")
    found = open_bundle(url, strict=True)
    here, there = open_bundle(local).load(), found.load(chunks=20)
    for one, other in zip(here, there, strict=True):
        assert one is not None
        assert other is not None
        np.testing.assert_array_equal(one.values, other.values)
    assert found.name is not None
    href = found.files["lst"].href
    assert href.startswith(f"zip+{url}!" if container == "zip" else url)
    with rasterio.open(href) as file:
        assert file.shape == (40, 40)


def test_what_is_not_there_is_an_error() -> None:
    with pytest.raises(InputError, match="s3://nobucket/nothing"):
        open_bundle("s3://nobucket/nothing")
    with pytest.raises(InputError, match=r"s3://nobucket/nothing\.zip"):
        open_bundle("s3://nobucket/nothing.zip")


def test_a_file_that_goes_away_is_an_error_and_no_missing_data(scene: Scene, tmp_path: Path) -> None:
    import s3fs

    url = put(write_bundle(tmp_path, scene=scene), "gone/")
    arrays = open_bundle(url).load(["red"])
    store = s3fs.S3FileSystem(skip_instance_cache=True)
    for key in store.find(url):
        store.rm_file(key)
    # GDAL remembers what it has read of a file for a while.
    with (
        rasterio.Env(VSI_CACHE="FALSE", CPL_VSIL_CURL_NON_CACHED="/vsis3/"),
        pytest.raises(InputError, match="VNIR04"),
    ):
        arrays.vnir.compute(scheduler="synchronous")


def test_a_zip_over_http_is_read(scene: Scene, tmp_path: Path, endpoint: str) -> None:
    import s3fs

    local = write_bundle(tmp_path, container="zip", scene=scene)
    url = put(local, "public/")
    s3fs.S3FileSystem(skip_instance_cache=True).chmod(url, "public-read")
    found = open_bundle(f"http://{endpoint}/{url.removeprefix('s3://')}")
    np.testing.assert_array_equal(found.load().lst.values, open_bundle(local).load().lst.values)
    signed = f"http://{endpoint}/{url.removeprefix('s3://')}?X-Amz-Signature=secret"
    told = [entry.href for entry in open_bundle(signed).files.values()]
    assert not any("secret" in href for href in told)
    with pytest.raises(InputError) as caught:
        open_bundle(signed.replace(".zip", "-absent.zip"))
    assert "secret" not in str(caught.value)
    with pytest.raises(InputError, match="cannot be listed"):
        open_bundle(f"http://{endpoint}/bundles/public/folder")


@pytest.mark.slow
def test_the_command_line_sharpens_from_a_bucket(scene: Scene, tmp_path: Path) -> None:
    url = put(write_bundle(tmp_path, scene=scene), "cli/")
    target = tmp_path / "sharp.tif"
    done = CliRunner().invoke(cli.app, ["sharpen", url, "-o", str(target), "--quiet"])
    assert done.exit_code == 0, done.stderr
    with rasterio.open(target) as file:
        assert file.shape == (120, 120)
        assert file.tags()["LSTZOOM_BANDS"] == "green, red, nir"


def test_zip_members_need_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "empty.zip"
    with zipfile.ZipFile(path, "w"):
        pass
    with pytest.raises(InputError, match="holds no file"):
        open_bundle(path)


def test_a_model_is_kept_in_the_store(scene: Scene) -> None:
    import s3fs

    s3fs.S3FileSystem().mkdir("models")
    given = scene.to_xarray()
    model = fit([(given.vnir, given.lst)])
    digest = model.save("s3://models/place/m.lstzoom")
    assert load_model("s3://models/place/m.lstzoom").content_hash == digest == model.content_hash
    with pytest.raises(InputError, match="exists"):
        model.save("s3://models/place/m.lstzoom")
    with pytest.raises(InputError, match="cannot read"):
        load_model("s3://models/absent")
    with pytest.raises(InputError, match="cannot write"):
        model.save("s3://no-such-bucket/m")

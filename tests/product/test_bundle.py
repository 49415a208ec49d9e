from __future__ import annotations

import json
import logging
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import rasterio
from affine import Affine

import lstzoom
from lstzoom.errors import ConfigError, GridMismatchError, InputError, LstzoomError
from lstzoom.product import Bundle, MaskRules, open_bundle
from lstzoom.product.naming import STYLES, LongName, ShortName
from lstzoom.product.simulated import BundlePlan, write_bundle
from lstzoom.simulate import Scene, simulate_scene

BANDS = ("blue", "green", "red", "rededge", "nir", "nir08")
CONTAINERS: tuple[Literal["folder", "zip"], ...] = ("folder", "zip")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return simulate_scene((120, 150), bands=BANDS, seed=2)


@pytest.fixture(scope="module")
def reference(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(write_bundle(tmp_path_factory.mktemp("reference"), scene=scene))


@pytest.fixture
def bundle(scene: Scene, tmp_path: Path) -> Path:
    return write_bundle(tmp_path, BundlePlan(style="short", configuration="B"), scene=scene)


def pixels(bundle: Bundle, **settings: Any) -> tuple[Any, ...]:
    arrays = bundle.load(**settings)
    return arrays.vnir.values, arrays.lst.values, None if arrays.valid is None else arrays.valid.values


def same(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


# Every style


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("configuration", ["A", "B"])
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("tagged", [True, False])
def test_every_style_opens_to_the_same_pixels(
    scene: Scene,
    reference: Bundle,
    tmp_path: Path,
    style: Any,
    configuration: Any,
    container: Any,
    tagged: Any,
) -> None:
    plan = BundlePlan(style=style, configuration=configuration, tagged=tagged, quality="bits")
    found = open_bundle(write_bundle(tmp_path, plan, container=container, scene=scene), strict=True)
    np.testing.assert_array_equal(found.load().lst.values, reference.load().lst.values)
    np.testing.assert_array_equal(found.load().vnir.values, reference.load().vnir.values)
    assert (found.product, found.night, found.notes, found.others) == ("LSTprecision", False, (), ())
    assert abs((found.acquired - plan.acquired).total_seconds()) < 1e-3
    assert found.lst.scale_from == (
        "tags" if tagged else "metadata" if configuration == "B" else "documented"
    )
    kinds = {"short": (30, 60), "subdirectories": (30, 60), "long": (10, 20, 30)}
    assert tuple(found.scl) == kinds[style]
    assert isinstance(found.name, LongName if style == "long" else ShortName)


def test_the_pixels_are_those_of_the_scene(scene: Scene, reference: Bundle) -> None:
    arrays = reference.load(rules=MaskRules(clouds=frozenset(), quality=frozenset()))
    clear = reference.load().valid
    assert arrays.valid is None
    assert clear is not None
    assert list(arrays.vnir.band.values) == ["green", "red", "nir"]
    seen = clear.values & np.isfinite(arrays.vnir.values[0])
    wanted = scene.vnir[[BANDS.index(band) for band in ("green", "red", "nir")]]
    np.testing.assert_allclose(arrays.vnir.values[:, seen], wanted[:, seen], atol=6e-5)
    whole = clear.values.reshape(40, 3, 50, 3).all((1, 3))
    np.testing.assert_allclose(arrays.lst.values[whole], scene.coarse[whole], atol=6e-3)
    assert arrays.lst.odc.geobox == scene.coarse_geobox
    assert arrays.vnir.odc.geobox == scene.geobox


def test_a_prefix_before_every_name_is_read(scene: Scene, reference: Bundle, tmp_path: Path) -> None:
    plan = BundlePlan(style="subdirectories", configuration="B", aoi="Abu_Dhabi")
    path = write_bundle(tmp_path, plan, scene=scene)
    assert (path / "tir_data" / f"{path.name}_lst.tiff").is_file()
    found = open_bundle(path)
    np.testing.assert_array_equal(found.load().lst.values, reference.load().lst.values)
    assert isinstance(found.name, ShortName)
    assert found.name.aoi == "Abu_Dhabi"


def test_a_folder_within_the_zip_and_stray_files_do_no_harm(reference: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "renamed.zip"
    source = Path(reference.location)
    with zipfile.ZipFile(path, "w") as archive:
        for file in source.iterdir():
            archive.write(file, f"{source.name}/{file.name}")
            archive.writestr(f"__MACOSX/._{file.name}", b"")
        archive.writestr(f"{source.name}/readme.txt", b"hello")
    found = open_bundle(path)
    same(pixels(found), pixels(reference))
    assert found.others == (f"{source.name}/readme.txt",)
    assert found.name == reference.name


def test_a_folder_of_any_name_opens(bundle: Path, tmp_path: Path) -> None:
    moved = bundle.rename(tmp_path / "2026-07-08T10-31-15.250000Z_whatever")
    found = open_bundle(moved)
    assert found.name is None
    assert found.acquired.isoformat() == "2026-07-08T10:31:15.250000+00:00"
    assert found.product == "LSTprecision"


# Lazy, and the same for any chunks


def test_nothing_is_read_before_it_is_computed(scene: Scene, tmp_path: Path) -> None:
    path = write_bundle(tmp_path, scene=scene)
    arrays = open_bundle(path).load()
    shutil.rmtree(path)
    with pytest.raises(InputError, match="cannot open the raster"):
        arrays.lst.compute()
    with pytest.raises(InputError, match="cannot open the raster"):
        arrays.vnir.compute()


@pytest.mark.parametrize("chunks", [7, 16, 50])
def test_chunks_do_not_change_what_is_read(reference: Bundle, chunks: int) -> None:
    bands = [3, "vnir05", "nir", "09"]
    same(pixels(reference, bands=bands), pixels(reference, bands=bands, chunks=chunks))


def test_a_chunk_of_all_bands_is_one(reference: Bundle) -> None:
    assert reference.load(chunks=16).vnir.data.chunks[0] == (3,)
    assert reference.load(chunks=16).vnir.data.chunksize == (3, 48, 48)


# Bands


def test_blue_is_off_unless_asked_for(reference: Bundle) -> None:
    def names(**settings: Any) -> list[str]:
        return [band.facts.common_name for band in reference.choose(**settings)]

    assert names() == ["green", "red", "nir"]
    assert names(blue=True) == ["blue", "green", "red", "nir"]
    assert names(bands=["08", "blue"]) == ["nir", "blue"]
    assert names(bands=["rededge071", 9], blue=True) == ["blue", "rededge071", "nir08"]


def test_quality_takes_reflectance_out_of_its_own_band_only(reference: Bundle) -> None:
    arrays = reference.load(["blue", "green"])
    saturated = np.isnan(arrays.vnir.values[0]) & np.isfinite(arrays.vnir.values[1])
    assert saturated.any()
    everything = reference.load(["blue"], rules=MaskRules(quality=frozenset()))
    assert np.isfinite(everything.vnir.values[0][saturated]).all()
    untested = reference.load(["green"], rules=MaskRules(quality=frozenset({"untested"})))
    assert np.isnan(untested.vnir.values[0, 0]).all()


@pytest.mark.parametrize(
    ("bands", "error", "message"),
    [
        ([], ConfigError, "at least one"),
        (["green", 3], ConfigError, "each once"),
        (["swir"], ConfigError, "there is no band 'swir'"),
        ([11], ConfigError, "there is no band 11"),
        (["coastal"], InputError, "has no vnir01; it has vnir02"),
    ],
)
def test_bands_that_cannot_be_had_are_told(
    reference: Bundle, bands: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        reference.load(bands)


# Night, and products that are sharpened already


@pytest.mark.parametrize("configuration", ["A", "B"])
@pytest.mark.parametrize("style", STYLES)
def test_night_is_recognised_and_not_sharpened(
    scene: Scene, tmp_path: Path, style: Any, configuration: Any
) -> None:
    plan = BundlePlan(style=style, configuration=configuration, night=True)
    found = open_bundle(write_bundle(tmp_path, plan, scene=scene), strict=True)
    assert (found.night, found.bands, tuple(found.scl)) == (True, (), (30,))
    with pytest.raises(InputError, match="night scene without reflectance"):
        found.load()


def test_cloud_that_was_not_computed_masks_nothing(scene: Scene, tmp_path: Path) -> None:
    path = write_bundle(tmp_path, scene=scene)
    rewrite(path, "METADATA", lambda keys: keys | {"cloud_cover_computed": False})
    assert open_bundle(path).load().valid is None


def test_a_day_without_the_option_says_what_to_order(scene: Scene, tmp_path: Path) -> None:
    found = open_bundle(write_bundle(tmp_path, BundlePlan(vnir=False), scene=scene), strict=True)
    assert found.night is False
    with pytest.raises(InputError, match="order the bundle with its VNIR option"):
        found.load()


def test_a_sharpened_product_opens_but_is_not_sharpened_again(scene: Scene, tmp_path: Path) -> None:
    found = open_bundle(write_bundle(tmp_path, BundlePlan(product="LSTzoom"), scene=scene), strict=True)
    assert (found.product, found.is_coarse, tuple(found.scl)) == ("LSTzoom", False, (10, 20, 30, 60))
    with pytest.raises(InputError, match="sharpened already"):
        found.load()


# What is wrong with a bundle


def rewrite(folder: Path, name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    (path,) = folder.rglob(f"*{name}.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    content["properties"] = change(content["properties"])
    path.write_text(json.dumps(content), encoding="utf-8")


def with_profile(path: Path, *, rows: int | None = None, **change: Any) -> None:
    """Write a file again with another profile, or with fewer rows."""
    with rasterio.open(path) as file:
        data, profile = file.read(), file.profile
    profile.update(driver="GTiff", **change)
    data = data if rows is None else data[:, :rows]
    profile.update(height=data.shape[1], count=data.shape[0])
    with rasterio.open(path, "w", **profile) as file:
        file.write(data)


def test_missing_files_are_named_with_the_remedy(bundle: Path, tmp_path: Path) -> None:
    (bundle / "lst.tiff").unlink()
    with pytest.raises(InputError, match=r"lst \(lst.tiff or .* missing among .* fetch it again"):
        open_bundle(bundle)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="holds no file"):
        open_bundle(empty)
    with pytest.raises(InputError, match="does not exist"):
        open_bundle(tmp_path / "nowhere")
    (bundle / "metadata.json").unlink()
    with pytest.raises(InputError, match=r"metadata\.json or"):
        open_bundle(bundle)


def test_a_missing_band_is_named(bundle: Path) -> None:
    (bundle / "vnir08.tiff").unlink()
    with pytest.raises(InputError, match="has no vnir08; it has vnir02, vnir03, vnir04, vnir05"):
        open_bundle(bundle).load()


def test_two_bundles_in_one_folder_are_refused(bundle: Path) -> None:
    shutil.copy(bundle / "lst.tiff", bundle / "other_lst.tiff")
    with pytest.raises(InputError, match=r"lst twice: 'lst.tiff' and 'other_lst.tiff'"):
        open_bundle(bundle)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("vnir03.tiff", {"crs": "EPSG:32633"}, r"vnir03\.tiff' lies on \[EPSG:32633.*share a CRS"),
        ("vnir03.tiff", {"crs": None}, r"vnir03\.tiff'.* has no CRS"),
        ("vnir03_qa.tiff", {"rows": 60}, r"vnir03_qa\.tiff' lies on .*share a grid"),
        ("lst.tiff", {"transform": Affine(20, 0, 6e5, 0, -20, 5.4e6)}, r"lst\.tiff' has pixels of 20"),
        (
            "scl_mask_30m.tiff",
            {"transform": Affine(10, 0, 6e5, 0, -10, 5.4e6)},
            r"scl_mask_30m\.tiff' .*not of 30 m",
        ),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    bundle: Path, file: str, change: dict[str, Any], message: str
) -> None:
    with_profile(bundle / file, **change)
    with pytest.raises(GridMismatchError, match=message):
        open_bundle(bundle)


def test_a_band_elsewhere_is_refused_when_it_is_used(bundle: Path) -> None:
    for name in ("vnir03.tiff", "vnir03_qa.tiff"):
        with_profile(bundle / name, transform=Affine(10, 0, 7e5, 0, -10, 5.4e6))
    found = open_bundle(bundle)
    with pytest.raises(GridMismatchError, match="does not overlap"):
        found.load()
    assert found.load(["red", "nir"]).vnir.shape[0] == 2


def test_another_type_than_metadata_says_is_refused(bundle: Path) -> None:
    with rasterio.open(bundle / "lst.tiff") as file:
        profile, data = file.profile | {"driver": "GTiff", "dtype": "float32", "nodata": None}, file.read()
    with rasterio.open(bundle / "lst.tiff", "w", **profile) as file:
        file.write(data.astype("float32"))
    with pytest.raises(InputError, match=r"lst\.tiff' holds float32, but metadata.json says uint16"):
        open_bundle(bundle)


def test_a_truncated_file_is_an_error_and_no_missing_data(bundle: Path) -> None:
    path = bundle / "vnir03.tiff"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cannot (open|read).*vnir03\.tiff"):
        open_bundle(bundle).load().vnir.compute()
    path.write_bytes(content[:100])
    with pytest.raises(InputError, match=r"cannot open the raster .*vnir03\.tiff"):
        open_bundle(bundle).load().vnir.compute()


def test_a_truncated_or_corrupt_zip_is_an_error(scene: Scene, tmp_path: Path) -> None:
    path = write_bundle(tmp_path, container="zip", scene=scene)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"neither a folder nor a zip|no valid zip"):
        open_bundle(path)
    at = content.index(b"_LST.tiff") + 2000
    path.write_bytes(content[:at] + b"\x55" * 300 + content[at + 300 :])
    with pytest.raises(LstzoomError):
        open_bundle(path).load().lst.compute()


def test_broken_metadata_names_the_file(bundle: Path) -> None:
    (bundle / "metadata.json").write_text('{"type": "Feature", "prop', encoding="utf-8")
    with pytest.raises(InputError, match=r"metadata\.json' is no valid JSON"):
        open_bundle(bundle)


def test_an_unknown_key_is_told_and_an_error_if_strict(
    bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rewrite(bundle, "metadata", lambda keys: keys | {"product_nam": "LSTzoom"})
    with caplog.at_level(logging.WARNING):
        found = open_bundle(bundle)
    assert found.notes == (
        "the key 'product_nam' is not documented; the nearest documented key is 'product_name'",
    )
    assert found.notes[0] in caplog.text
    with pytest.raises(InputError, match="departs from the documents: the key 'product_nam'"):
        open_bundle(bundle, strict=True)


def test_departures_are_told(bundle: Path, tmp_path: Path) -> None:
    def change(keys: dict[str, Any]) -> dict[str, Any]:
        keys["sensors"]["VNIR"]["bands"]["vnir04"]["dimensions"] = [7, 9]
        return keys | {"product_name": "LSTfusion"}

    rewrite(bundle, "metadata", change)
    moved = bundle.rename(tmp_path / bundle.name.replace("20260708", "20260707"))
    notes = " ".join(open_bundle(moved).notes)
    assert "product_name is 'LSTfusion'" in notes
    assert "vnir04 has 120 x 150 pixels; metadata lists [7, 9]" in notes
    assert "the name says 2026-07-07T10:31:15Z" in notes


def test_no_time_anywhere_is_an_error(bundle: Path, tmp_path: Path) -> None:
    def change(keys: dict[str, Any]) -> dict[str, Any]:
        keys["sensors"]["acquisition_starttime"] = None
        return keys | {"acquisition_datetime": None}

    rewrite(bundle, "metadata", change)
    assert open_bundle(bundle).acquired.microsecond == 0  # from the name
    with pytest.raises(InputError, match="acquisition_datetime"):
        open_bundle(bundle.rename(tmp_path / "somewhere"))


def test_far_too_many_files_are_refused(tmp_path: Path) -> None:
    for number in range(1100):
        (tmp_path / f"{number}.txt").touch()
    with pytest.raises(InputError, match="1000 files or more"):
        open_bundle(tmp_path)


@pytest.mark.parametrize("location", ["ftp://host/bundle", "memory://bundle"])
def test_stores_of_other_kinds_are_refused(location: str) -> None:
    with pytest.raises(InputError, match="give a folder, a zip, or one of s3://"):
        open_bundle(location)


# The end it is for


@pytest.mark.slow
def test_a_bundle_sharpens(reference: Bundle, scene: Scene) -> None:
    arrays = reference.load(chunks=20)
    sharp = lstzoom.sharpen(arrays.vnir, arrays.lst, valid=arrays.valid).compute()
    assert sharp.lst.shape == scene.truth.shape
    seen = np.isfinite(sharp.lst.values)
    assert arrays.valid is not None
    np.testing.assert_array_equal(seen, arrays.valid.values)
    clear = seen.reshape(40, 3, 50, 3).all((1, 3))
    back = (sharp.lst.values.reshape(40, 3, 50, 3) ** 4).mean((1, 3)) ** 0.25
    assert np.abs(back - arrays.lst.values)[clear].max() < 0.011

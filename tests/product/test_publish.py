"""The bundle that is written opens everywhere, and says what it is."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import odc.stac
import pystac
import pytest
import rasterio
import rioxarray
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from pystac.validation.local_validator import get_local_schema_cache
from referencing import Registry, Resource
from rio_cogeo import cog_validate
from typer.testing import CliRunner

from lstzoom import cli
from lstzoom.config import SharpenConfig
from lstzoom.errors import GridMismatchError, InputError, UnitsError
from lstzoom.product import MaskRules, ProductPlan, ingest, open_bundle, open_outputs, publish
from lstzoom.product import metadata as md
from lstzoom.product.containers import open_container
from lstzoom.product.fields import centre, footprint
from lstzoom.product.naming import LongName, ShortName, geohash_bounds, kind_of
from lstzoom.product.provenance import Extras, read_extras
from lstzoom.product.simulated import BundlePlan, write_bundle
from lstzoom.simulate import Scene, simulate_scene

SCHEMAS = Path(pystac.__file__).parent / "validation" / "jsonschemas"
WHEN = datetime(2026, 7, 9, 8, 0, tzinfo=UTC)
ROWS, COLUMNS = 630, 600


@pytest.fixture(scope="module")
def scene() -> Scene:
    return simulate_scene((ROWS, COLUMNS), bands=("blue", "green", "red", "rededge", "nir", "nir08"), seed=2)


@pytest.fixture(scope="module")
def bundle(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("input"), container="zip", scene=scene)


@pytest.fixture(scope="module")
def run(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of one run of the command line."""
    folder = tmp_path_factory.mktemp("run")
    done = CliRunner().invoke(
        cli.app,
        ["sharpen", str(bundle), "-o", f"{folder}/lst.tif", "--qa", f"{folder}/qa.tif",
         "--uncertainty", f"{folder}/sigma.tif", "--zarr", f"{folder}/all.zarr", "-q"],
    )  # fmt: skip
    assert done.exit_code == cli.OK, done.stderr
    return folder


@pytest.fixture(scope="module")
def product(bundle: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("long")
    outputs = open_outputs(run / "lst.tif", run / "qa.tif", run / "sigma.tif")
    return publish(bundle, outputs, root, processed=WHEN)


@pytest.fixture(scope="module")
def short(bundle: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The other names, the other configuration, the other encoding, from the Zarr store."""
    plan = ProductPlan(
        "short", "B", "float32", order="cae562b6", link="https://example.com", reflectance=False
    )
    return publish(bundle, open_outputs(run / "all.zarr"), tmp_path_factory.mktemp("short"), plan)


def layer(folder: Path, kind: str) -> Path:
    (found,) = [path for path in folder.iterdir() if kind_of(path.name) == kind]
    return found


def properties(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        layer(folder, "metadata").read_text(encoding="utf-8"), parse_constant=refuse
    )
    assert content["type"] == "Feature"
    assert content["geometry"]["type"] in ("Polygon", "MultiPolygon")
    return dict(content["properties"])


def refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


# Names and files


def test_names_are_those_of_the_style(product: Path, short: Path, bundle: Path) -> None:
    given = LongName.parse(bundle.name)
    assert given is not None
    assert LongName.parse(product.name) == LongName("LSTzoom", "SBA01", given.geohash, given.acquired)
    assert layer(product, "lst_uncertainty").name == f"{product.name}_LST_UNCERTAINTY.tiff"
    assert ShortName.parse(short.name) == ShortName(given.acquired, "LSTzoom", "cae562b6")
    assert (short / "lst.tiff").is_file()
    assert (short / "metadata.json").is_file()


def test_all_that_is_promised_is_there(product: Path, short: Path) -> None:
    kinds = {kind_of(path.name) for path in product.iterdir()}
    pictures = {f"{one}_{form}" for one in ("lst", "rgb") for form in ("composite", "thumbnail")}
    assert {"lst", "lst_qa", "lst_uncertainty", "scl_mask_10m", "metadata", *pictures} <= kinds
    assert {f"vnir{number:02d}{end}" for number in range(2, 10) for end in ("", "_qa")} <= kinds
    without = {kind_of(path.name) for path in short.iterdir()}
    assert {"lst", "lst_qa", "lst_uncertainty", "vnir03_qa", "rgb_composite"} <= without
    assert "vnir03" not in without


def test_nothing_is_left_beside_it(product: Path) -> None:
    assert sorted(path.name for path in product.parent.iterdir()) == [product.name, "collection.json"]
    assert not [path for path in product.iterdir() if path.name.startswith(".")]


def test_files_of_the_input_pass_byte_for_byte(product: Path, bundle: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(bundle, tmp_path)
    for kind in ("vnir03", "vnir05_qa", "scl_mask_10m"):
        assert layer(product, kind).read_bytes() == layer(tmp_path, kind).read_bytes()


# Pixels


def test_every_file_that_is_made_is_a_strict_cog(product: Path, short: Path) -> None:
    for folder in (product, short):
        for kind in ("lst", "lst_qa", "lst_composite", "rgb_composite"):
            path = layer(folder, kind)
            assert cog_validate(path, strict=True) == (True, [], []), path
            with rasterio.open(path) as file:
                assert file.block_shapes[0] == (512, 512)
                assert file.overviews(1) == [2]
                assert float(file.tags(1)["STATISTICS_MAXIMUM"]) >= float(file.tags(1)["STATISTICS_MINIMUM"])


def test_plain_rasterio_reads_kelvin_through_the_scale(product: Path, run: Path) -> None:
    with rasterio.open(layer(product, "lst")) as file, rasterio.open(run / "lst.tif") as before:
        assert (file.dtypes, file.nodata, file.scales, file.offsets, file.units) == (
            ("uint16",), 65535, (0.01,), (0.0,), ("K",),
        )  # fmt: skip
        np.testing.assert_array_equal(file.read(1), before.read(1))
        kelvin = file.read(1, masked=True) * file.scales[0]
        assert float(file.tags(1)["STATISTICS_MEAN"]) * 0.01 == pytest.approx(kelvin.mean(), abs=1e-3)
        assert file.tags()["LSTZOOM_METHOD"] == "calibrated"
    assert 270 < kelvin.min() < kelvin.max() < 340


def test_overviews_are_means_of_radiance_and_the_most_frequent_flag(product: Path) -> None:
    with rasterio.open(layer(product, "lst")) as file:
        kelvin = file.read(1, masked=True).astype(np.float64).filled(np.nan) * 0.01
    cells = kelvin.reshape(ROWS // 2, 2, COLUMNS // 2, 2)
    valid = np.isfinite(cells)
    count = valid.sum((1, 3))
    weight, filled = np.maximum(count, 1), np.where(valid, cells, 0.0)
    mean, plain = ((filled**4).sum((1, 3)) / weight) ** 0.25, filled.sum((1, 3)) / weight
    assert np.abs(mean - plain)[count > 0].max() > 0.05
    with rasterio.open(layer(product, "lst"), overview_level=0) as file:
        seen = file.read(1, masked=True)
    np.testing.assert_array_equal(np.ma.getmaskarray(seen), count == 0)
    np.testing.assert_allclose(seen[count > 0] * 0.01, mean[count > 0], atol=0.0051)
    with rasterio.open(layer(product, "lst_qa"), overview_level=0) as file:
        assert set(np.unique(file.read(1))) <= set(range(6))


def test_rioxarray_and_xarray_read_the_same(product: Path, short: Path) -> None:
    opened = rioxarray.open_rasterio(layer(product, "lst"), mask_and_scale=True)
    assert isinstance(opened, xr.DataArray)
    plain = rioxarray.open_rasterio(layer(short, "lst"), masked=True)
    assert isinstance(plain, xr.DataArray)
    with opened, plain, xr.open_dataset(layer(product, "lst"), engine="rasterio") as dataset:
        np.testing.assert_allclose(opened.values, plain.values, atol=1e-4)
        np.testing.assert_allclose(dataset.band_data.values, opened.values, atol=1e-4)
        assert opened.rio.crs.to_epsg() == 32632
        assert plain.dtype == np.float32


def test_it_opens_as_a_bundle(product: Path, short: Path, bundle: Path) -> None:
    for folder in (product, short):
        found = open_bundle(folder, strict=True)
        assert (found.product, found.is_coarse, found.notes) == ("LSTzoom", False, ())
        assert found.acquired == open_bundle(bundle).acquired
        assert found.metadata.configuration == ("A" if folder == product else "B")


def test_a_store_and_files_give_one_product(short: Path, product: Path) -> None:
    with rasterio.open(layer(product, "lst_qa")) as one, rasterio.open(layer(short, "lst_qa")) as other:
        np.testing.assert_array_equal(one.read(), other.read())
    assert properties(short)["sharpening"]["method"] == "calibrated"


# Metadata


@pytest.mark.parametrize("edition", ["ZA", "B"])
def test_every_documented_key_is_there_and_null_has_a_reason(
    edition: Any, product: Path, short: Path
) -> None:
    told = properties(product if edition == "ZA" else short)
    published = [
        str(field.serialization_alias or name)
        for name, field in md.Metadata.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and edition in str(field.json_schema_extra["editions"])
    ]
    assert set(published) <= set(told)
    assert set(told) - set(published) <= {"sharpening", md.UNKNOWN_KEY}
    assert nulls({key: told[key] for key in published}) == set(told.get(md.UNKNOWN_KEY, {}))


def nulls(value: Any, path: str = "") -> set[str]:
    if isinstance(value, dict):
        return {one for key in value for one in nulls(value[key], f"{path}.{key}" if path else key)}
    return {path} if value is None else set()


def test_metadata_is_that_of_the_input_where_it_stays_true(product: Path, short: Path, bundle: Path) -> None:
    before, told, old = open_bundle(bundle).metadata, properties(product), properties(short)
    assert told["product_name"] == "LSTzoom"
    assert told["product_id"] == product.name
    assert told["parent_product_key"] == before.product_id
    assert told["processing_time"] == "2026-07-09T08:00:00Z"
    assert told["platform"] == "SBA01"
    assert told["thick_cloud_percentage"] == before.thick_cloud_percentage
    assert told["products"]["VNIR"]["SR"]["SR_offset"] == -0.1
    # The input of configuration A has values without units.
    gas = before.products and before.products.TIR
    assert gas
    assert gas.TCWV_unit is None
    assert (told["products"]["TIR"]["TCWV_unit"], told["products"]["TIR"]["AOT_unit"]) == ("g/cm²", "1")
    assert told["link"] is None
    assert "publisher" in told[md.UNKNOWN_KEY]["link"]
    assert "aoi_cloud_cover" not in told
    assert old["link"] == "https://example.com"
    assert old["atmospheric_data_source"] == "CAMS_forecast"
    assert old["sensors"]["surface_altitude_median"] == pytest.approx(412)
    assert old["sensors"]["solar_angles"] == {"azimuth_mean": 142.0, "zenith_mean": 31.5}
    assert old["products"]["TIR"]["ST"]["ST_type"] == "float32"
    assert old["products"]["VNIR"]["SR"]["topographic_correction"] in (0, 1)


def test_metadata_of_another_place_are_told_by_the_name_of_the_input(
    bundle: Path, run: Path, tmp_path: Path
) -> None:
    shutil.unpack_archive(bundle, tmp_path)
    path = next(tmp_path.rglob("*METADATA*"))
    folder = path.parent
    told = json.loads(path.read_text())
    ring = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]
    told["properties"]["geometric"]["geometry"]["coordinates"] = [ring]
    path.write_text(json.dumps(told))
    with pytest.raises(GridMismatchError, match="lies apart") as caught:
        publish(folder, open_outputs(run / "lst.tif"), tmp_path / "out")
    assert repr(str(folder)) in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_configuration_b_becomes_a(scene: Scene, run: Path, tmp_path: Path) -> None:
    plan = BundlePlan(style="short", configuration="B", tagged=False)
    source = write_bundle(tmp_path / "in", plan, scene=scene)
    (tmp_path / "out").mkdir()
    outputs = replace(open_outputs(run / "lst.tif"), tags={})
    done = publish(source, outputs, tmp_path / "out", ProductPlan("short"))
    told = properties(done)
    assert done.name.endswith(open_bundle(source).name.order)  # type: ignore[union-attr]
    assert told["day_flag"] is True
    assert told["geometric"]["surface_altitude_median"] == pytest.approx(0.412)
    assert told["geometric"]["solar_angles"]["view : sun_elevation"] == pytest.approx(58.5)
    assert told["geometric"]["viewing_angles"]["view : off_nadir"] is None
    assert told["atmospheric_data_source"] == "CAMS"
    # Its finest classification has 30 m, and is repeated.
    with (
        rasterio.open(done / "scl_mask_10m.tiff") as fine,
        rasterio.open(source / "scl_mask_30m.tiff") as rough,
    ):
        np.testing.assert_array_equal(fine.read(), rough.read().repeat(3, 1).repeat(3, 2))
        assert fine.descriptions == tuple(md.SCL_CLASSES)
    assert "lst_qa" not in {kind_of(path.name) for path in done.iterdir()}
    assert "--qa" in told["sharpening"]["unknown"]["qa_percentages"]


def test_the_sharpening_is_accounted_for(product: Path, run: Path, bundle: Path) -> None:
    block = properties(product)["sharpening"]
    assert (block["method"], block["seed"], block["ratio"]) == ("calibrated", 0, 3)
    assert block["bands_used"] == ["green", "red", "nir"]
    reasons = {one["name"]: one["reason"] for one in block["bands_left_out"]}
    assert "sharpness" in reasons["vnir02"]
    assert reasons["vnir10"] == "not delivered with the input"
    assert block["windows"] == SharpenConfig().windows.model_dump() | {"unit": "coarse pixels"}
    assert block["sample_rows"]["level"] > 1000
    assert abs(block["shift"]["x"]) < 1
    assert block["shift_corrected"] is False
    assert 0 < block["reliability"] <= 1
    assert block["bands_coarser_than_result"] == []
    assert set(block["unknown"]) == {"model_file", "accuracy_one_scale_up"}
    with rasterio.open(run / "lst.tif") as file:
        assert block["model_content_hash"] == file.tags()["LSTZOOM_MODEL"]
    residual = block["residual_before_correction"]
    # What the correction had to do, and what it left.
    assert residual["rmse"] > abs(residual["bias"])
    assert residual["rmse"] > 10 * block["conservation"]["rmse"]
    assert block["conservation"]["largest"] < 0.02
    assert block["conservation"]["coarse_pixels"] > 30000
    with rasterio.open(run / "qa.tif") as file:
        masked = 100 * float((file.read(1) == 4).mean())
    assert block["qa_percentages"]["masked_cloud_or_user"] == pytest.approx(masked, abs=1e-3)
    assert sum(block["qa_percentages"].values()) == pytest.approx(100, abs=1e-2)
    with rasterio.open(run / "sigma.tif") as file:
        sigma = file.read(1, masked=True) * 0.01
    assert block["uncertainty"]["mean"] == pytest.approx(sigma.mean(), abs=2e-3)
    assert block["uncertainty"]["percentile_95"] == pytest.approx(
        np.percentile(sigma.compressed(), 95), abs=0.02
    )
    for key, value in block.items():
        assert (value is None) == (key in block["unknown"]), key


def test_inputs_are_named_with_their_checksums(product: Path, bundle: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(bundle, tmp_path)
    inputs = properties(product)["sharpening"]["inputs"]
    kinds = {one["kind"] for one in inputs}
    bands = {f"vnir{number}{end}" for number in ("03", "04", "08") for end in ("", "_qa")}
    assert kinds == {"lst", "metadata", "scl_mask_10m", *bands}
    for one in inputs:
        content = (tmp_path / one["name"]).read_bytes()
        assert (one["bytes"], one["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


# Pictures


def test_composites_show_temperature_and_ground(product: Path, run: Path) -> None:
    with rasterio.open(layer(product, "lst")) as file:
        kelvin, valid = file.read(1), file.read_masks(1) > 0
    with rasterio.open(layer(product, "lst_composite")) as file:
        assert [one.name for one in file.colorinterp] == ["red", "green", "blue", "alpha"]
        colours = file.read().astype(np.int64)
    np.testing.assert_array_equal(colours[3] > 0, valid)
    brightness, shown = colours[:3].sum(0)[valid], kelvin[valid]
    assert np.corrcoef(brightness, shown)[0, 1] > 0.9
    with rasterio.open(layer(product, "rgb_composite")) as file:
        red, green, blue, alpha = file.read().astype(np.float64)
    ground = valid & (alpha > 0)
    # Fields and soil are brown and green; nothing is saturated but a few roofs.
    assert blue[ground].mean() < red[ground].mean()
    assert 60 < green[ground].mean() < 160
    assert (np.stack([red, green, blue])[:, ground] == 255).mean() < 0.03


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_thumbnails_are_small_pictures_of_the_same(product: Path) -> None:
    for kind in ("lst", "rgb"):
        with rasterio.open(layer(product, f"{kind}_thumbnail")) as small:
            assert small.driver == "JPEG"
            assert small.count == 3
            assert (small.height, small.width) == (ROWS // 2, COLUMNS // 2)
            seen = small.read().astype(np.float64)
        with rasterio.open(layer(product, f"{kind}_composite"), overview_level=0) as large:
            colours = large.read()
        whole = colours[3] == 255
        assert np.abs(seen[:, whole] - colours[:3, whole]).mean() < 12


# STAC


def item_of(folder: Path) -> pystac.Item:
    return pystac.Item.from_file(str(folder / "stac_item.json"))


def validator(kind: str) -> jsonschema.Draft7Validator:
    known = [(url, Resource.from_contents(content)) for url, content in get_local_schema_cache().items()]
    schema = json.loads((SCHEMAS / "stac-spec" / "v1.1.0" / f"{kind}.json").read_text(encoding="utf-8"))
    return jsonschema.Draft7Validator(schema, registry=Registry().with_resources(known))


def test_item_and_collection_are_valid_stac(product: Path) -> None:
    for path, kind in (
        (product / "stac_item.json", "item"),
        (product.parent / "collection.json", "collection"),
    ):
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
        assert content["stac_version"] == "1.1.0"
        assert [error.message for error in validator(kind).iter_errors(content)] == []


def test_the_catalogue_can_be_walked(product: Path) -> None:
    collection = pystac.Collection.from_file(str(product.parent / "collection.json"))
    (item,) = collection.get_items()
    assert item.id == product.name
    assert item.collection_id == collection.id
    assert item.get_collection() is not None
    assert set(collection.item_assets) == set(item.assets)


def test_fields_of_extensions_are_right(product: Path, bundle: Path) -> None:
    item = item_of(product)
    told = item.properties
    assert (told["gsd"], told["proj:code"], told["processing:level"]) == (10, "EPSG:32632", "L3")
    assert told["product:type"] == "LSTzoom"
    assert set(told["processing:software"]) == {"lstzoom"}
    assert told["renders"]["lst"]["assets"] == ["lst"]
    ((low, high),) = told["renders"]["lst"]["rescale"]
    assert 27000 < low < high < 34000
    assert {"view:incidence_angle", "view:azimuth", "view:sun_azimuth", "view:sun_elevation"} <= set(told)
    prefixes = {url.split("/")[3] for url in item.stac_extensions}
    assert prefixes == {
        "projection", "raster", "eo", "view", "classification", "processing", "product", "render", "file",
    }  # fmt: skip
    # What is not met in full is not claimed.
    assert "ceosard" not in json.dumps(item.to_dict())
    (link,) = item.get_links("derived_from")
    assert "LSTPRECISION" in link.href


def test_assets_tell_their_size_and_checksum(product: Path) -> None:
    for asset in item_of(product).assets.values():
        content = (product / asset.href.removeprefix("./")).read_bytes()
        assert asset.extra_fields["file:size"] == len(content)
        assert asset.extra_fields["file:checksum"] == f"1220{hashlib.sha256(content).hexdigest()}"


def test_masks_carry_classes_and_the_role_data(product: Path) -> None:
    item = item_of(product)
    (band,) = item.assets["lst_qa"].extra_fields["bands"]
    assert [one["value"] for one in band["classification:classes"]] == list(range(6))
    for kind in ("lst_qa", "lst_uncertainty", "scl_mask_10m", "vnir03_qa"):
        assert "data" in (item.assets[kind].roles or []), kind


def test_odc_stac_loads_the_same_pixels(product: Path) -> None:
    files = {"lst": ("lst", 1), "lst_qa": ("lst_qa", 1), "lst_uncertainty": ("lst_uncertainty", 1),
             "scl_mask_10m.1": ("scl_mask_10m", 1), "scl_mask_10m.3": ("scl_mask_10m", 3)}  # fmt: skip
    loaded = odc.stac.load([item_of(product)], bands=list(files)).isel(time=0)
    assert set(loaded.data_vars) == set(files)
    for name, (kind, band) in files.items():
        with rasterio.open(layer(product, kind)) as file:
            np.testing.assert_array_equal(loaded[name].values, file.read(band))
            assert loaded.odc.geobox.affine == file.transform
            assert loaded[name].attrs.get("nodata") == file.nodata


def test_ingest_says_the_same_of_it(product: Path) -> None:
    again, written = ingest(open_bundle(product)), item_of(product)
    assert set(again.assets) == set(written.assets)
    assert again.bbox == written.bbox
    for kind, asset in again.assets.items():
        assert asset.roles == written.assets[kind].roles


# Mistakes


def test_a_result_of_another_scene_is_refused(run: Path, tmp_path: Path) -> None:
    other = write_bundle(tmp_path, shape=(120, 120))
    with pytest.raises(GridMismatchError, match="name the bundle that was sharpened"):
        publish(other, open_outputs(run / "lst.tif"), tmp_path)


def test_a_result_that_says_little_makes_a_product_that_says_little(
    scene: Scene, bundle: Path, run: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain.tif"
    with rasterio.open(run / "lst.tif") as file, rasterio.open(plain, "w", **file.profile) as copy:
        copy.write(file.read())
        copy.scales = (0.01,)
    done = publish(bundle, open_outputs(plain), tmp_path)
    block = properties(done)["sharpening"]
    assert (block["ratio"], block["method"], block["method_reference"], block["bands_used"]) == (
        3,
        None,
        None,
        None,
    )
    assert {"method", "software", "windows", "shift", "qa_percentages", "inputs"} <= set(block["unknown"])
    assert {one["kind"] for one in block["inputs"]} == {"lst", "metadata", "scl_mask_10m"}
    assert block["conservation"]["largest"] < 0.02


def test_a_result_of_another_day_on_the_same_grid_is_refused(scene: Scene, run: Path, tmp_path: Path) -> None:
    day = BundlePlan(acquired=datetime(2026, 7, 10, 10, 31, 15, tzinfo=UTC))
    with pytest.raises(InputError, match="made of"):
        publish(write_bundle(tmp_path, day, scene=scene), open_outputs(run / "lst.tif"), tmp_path)


def test_a_bundle_with_the_same_names_on_the_same_grid_is_refused(tmp_path: Path) -> None:
    bands = ("blue", "green", "red", "rededge", "nir", "nir08")
    plan = BundlePlan("short")
    one, other = (
        write_bundle(
            tmp_path / name,
            plan,
            scene=simulate_scene((120, 120), bands=bands, seed=seed),
            container="folder",
        )
        for name, seed in (("one", 1), ("other", 2))
    )
    lst = tmp_path / "lst.tif"
    done = CliRunner().invoke(cli.app, ["sharpen", str(one), "-o", str(lst), "-q"])
    assert done.exit_code == cli.OK, done.stderr
    with rasterio.open(lst) as file:
        told = file.tags()["LSTZOOM_LST_SHA256"]
    assert told == hashlib.sha256((one / "lst.tiff").read_bytes()).hexdigest()
    with pytest.raises(InputError, match=r"of other content .* name the bundle that was sharpened"):
        publish(other, open_outputs(lst), tmp_path / "products")
    assert not (tmp_path / "products").exists()
    assert publish(one, open_outputs(lst), tmp_path / "products").is_dir()


@pytest.mark.parametrize("epsg_x_y", [(32601, 165_600, 200_000), (3031, -750, 600)])
@pytest.mark.parametrize("told", [True, False])
def test_products_on_the_antimeridian_and_at_a_pole_lie_where_they_are(
    tmp_path: Path, epsg_x_y: tuple[int, float, float], *, told: bool
) -> None:
    epsg, x, y = epsg_x_y
    scene = simulate_scene((120, 150), bands=("blue", "green", "red", "rededge", "nir", "nir08"), seed=2)
    grid = GeoBox(scene.truth.shape, Affine(10, 0, x, 0, -10, y), f"EPSG:{epsg}")
    here = write_bundle(tmp_path / "in", scene=replace(scene, geobox=grid))
    if not told:
        path = next(here.glob("*METADATA.json"))
        content = json.loads(path.read_text())
        content["geometry"] = None
        for key in ("geometry", "bbox", "centroid"):
            del content["properties"]["geometric"][key]
        path.write_text(json.dumps(content))
    lst = tmp_path / "lst.tif"
    done = CliRunner().invoke(cli.app, ["sharpen", str(here), "-o", str(lst), "--quiet"])
    assert done.exit_code == cli.OK, done.stderr
    folder = publish(here, open_outputs(lst), tmp_path / "out")
    item = pystac.Item.from_file(str(folder / "stac_item.json"))
    area, bounds = footprint(grid)
    assert item.bbox == properties(folder)["geometric"]["bbox"] == bounds
    assert item.geometry == area
    lon, lat = centre(grid)
    assert properties(folder)["geometric"]["centroid"] == pytest.approx({"lon": lon, "lat": lat})
    west, south, east, north = geohash_bounds(folder.name.split("_")[2])
    assert west <= lon <= east
    assert south <= lat <= north
    loaded = odc.stac.load([item], bands=["lst"])
    with rasterio.open(item.assets["lst"].get_absolute_href()) as file:
        np.testing.assert_array_equal(loaded.lst.values[0], file.read(1))


def test_what_exists_is_replaced_only_on_demand(bundle: Path, run: Path, tmp_path: Path) -> None:
    outputs = open_outputs(run / "lst.tif", run / "qa.tif")
    done = publish(bundle, outputs, tmp_path)
    (done / "mine.txt").write_text("old", encoding="utf-8")
    with pytest.raises(InputError, match="--overwrite"):
        publish(bundle, outputs, tmp_path)
    assert (done / "mine.txt").exists()
    publish(bundle, outputs, tmp_path, ProductPlan(overwrite=True))
    assert not (done / "mine.txt").exists()
    (done / "stac_item.json").unlink()
    with pytest.raises(InputError, match="never replaced"):
        publish(bundle, outputs, tmp_path, ProductPlan(overwrite=True))


def test_names_that_cannot_be_made_are_told(bundle: Path, run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--order"):
        publish(bundle, open_outputs(run / "lst.tif"), tmp_path, ProductPlan("short"))
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_made_and_goes_with_a_product_that_fails(
    bundle: Path, run: Path, tmp_path: Path
) -> None:
    outputs, root = open_outputs(run / "lst.tif"), tmp_path / "deep" / "below"
    done = publish(bundle, outputs, root)
    assert done.parent == root
    assert (root / "collection.json").is_file()
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    with pytest.raises(InputError, match="choose another folder"):
        publish(bundle, outputs, tmp_path / "file" / "below")
    small = replace(outputs, lst=outputs.lst.where(outputs.lst < 0))
    with pytest.raises(InputError, match="nothing to publish"):
        publish(bundle, small, tmp_path / "other" / "below")
    assert {path.name for path in tmp_path.iterdir()} == {"deep", "file"}
    with pytest.raises(InputError, match="--overwrite"):
        publish(bundle, outputs, root)


def test_outputs_that_do_not_belong_together_are_refused(run: Path, bundle: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(bundle, tmp_path)
    with pytest.raises(GridMismatchError, match="files of one run"):
        open_outputs(run / "lst.tif", layer(tmp_path, "scl_mask_30m"))
    with pytest.raises(InputError, match="flags of lstzoom are uint8"):
        open_outputs(run / "lst.tif", run / "lst.tif")
    with pytest.raises(InputError, match="more than one band"):
        open_outputs(run / "lst.tif", layer(tmp_path, "scl_mask_10m"))
    with pytest.raises(InputError, match="name it alone"):
        open_outputs(run / "all.zarr", run / "qa.tif")
    with pytest.raises(InputError, match=r"no Zarr store|holds no 'lst'"):
        open_outputs(tmp_path)


def test_flags_are_those_of_lstzoom(run: Path, bundle: Path, tmp_path: Path) -> None:
    with rasterio.open(run / "qa.tif") as file:
        stored, profile = file.read(), file.profile

    def written(name: str, values: Any, description: str = "") -> Path:
        with rasterio.open(tmp_path / name, "w", **profile) as file:
            file.write(values)
            if description:
                file.set_band_description(1, description)
        return tmp_path / name

    # What another program copied says less, and is the same.
    copied = open_outputs(run / "lst.tif", written("copied.tif", stored)).qa
    assert copied is not None
    np.testing.assert_array_equal(copied.values, stored[0])
    for name, value, description, message in (
        ("classes.tif", 200, "", r"holds 200, and flags of lstzoom are 0 to 5"),
        ("cloud.tif", 1, "cloud", "holds 'cloud', and no flags of lstzoom"),
    ):
        strange = stored.copy()
        strange[0, -1, -1] = value
        with pytest.raises(InputError, match=message):
            open_outputs(run / "lst.tif", written(name, strange, description))
    strange[0, -1, -1] = 9
    outputs = open_outputs(run / "lst.tif", written("wrong.tif", strange, "QA"))
    with pytest.raises(InputError, match="holds 9, and flags"):
        publish(bundle, outputs, tmp_path / "products")


def test_a_temperature_in_celsius_is_told_what_it_is_for(run: Path, tmp_path: Path) -> None:
    with rasterio.open(run / "lst.tif") as file:
        profile, celsius = file.profile, file.read().astype(np.float32) * 0.01 - 273.15
    profile |= {"dtype": "float32", "nodata": None, "predictor": 3}
    with rasterio.open(tmp_path / "celsius.tif", "w", **profile) as file:
        file.write(celsius)
    with pytest.raises(UnitsError, match="name the file of `lstzoom sharpen -o`") as error:
        open_outputs(tmp_path / "celsius.tif")
    assert "--lst-units" not in str(error.value)


def test_a_run_that_fails_leaves_nothing(bundle: Path, run: Path, tmp_path: Path) -> None:
    with rasterio.open(run / "lst.tif") as file:
        profile = file.profile
    with rasterio.open(tmp_path / "empty.tif", "w", **profile) as file:
        file.write(np.full((1, ROWS, COLUMNS), 65535, np.uint16))
        file.scales = (0.01,)
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(InputError, match="nothing to publish"):
        publish(bundle, open_outputs(tmp_path / "empty.tif"), root)
    assert list(root.iterdir()) == []


def test_the_command_line_writes_it(bundle: Path, run: Path, tmp_path: Path) -> None:
    model, accuracy = tmp_path / "model.lstzoom", tmp_path / "accuracy.json"
    fitted = CliRunner().invoke(cli.app, ["fit", str(bundle), "-o", str(model)])
    assert fitted.exit_code == cli.OK, fitted.stderr
    figures = {"lstzoom": {"rmse": 1.5, "ssim": float("nan")}, "bicubic": {"rmse": 2.0}}
    told = {"mode": "one-scale-up", "ratio": 3, "methods": figures}
    accuracy.write_text(json.dumps(told), encoding="utf-8")
    (tmp_path / "out").mkdir()
    arguments = [
        "product", bundle, run / "lst.tif", "--qa", run / "qa.tif", "-o", tmp_path / "out", "--edition", "B",
        "--style", "short", "--order", "o1", "--model", model, "--accuracy", accuracy, "--no-reflectance",
    ]  # fmt: skip
    done = CliRunner().invoke(cli.app, [str(one) for one in arguments])
    assert done.exit_code == cli.OK, done.stderr
    folder = Path(done.stdout.strip())
    block = properties(folder)["sharpening"]
    assert block["model_file"]["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert block["model_file"]["content_hash"] == block["model_content_hash"]
    assert block["accuracy_one_scale_up"]["methods"]["lstzoom"] == {"rmse": 1.5, "ssim": None}
    assert "do not say" in block["unknown"]["accuracy_one_scale_up"]
    again = CliRunner().invoke(cli.app, [str(one) for one in arguments])
    assert again.exit_code == cli.BAD_INPUT
    assert "--overwrite" in again.stderr
    accuracy.write_text(json.dumps(told | {"lst_sha256": "0" * 64}), encoding="utf-8")
    refused = CliRunner().invoke(cli.app, [*map(str, arguments), "--overwrite"])
    assert refused.exit_code == cli.BAD_INPUT
    assert "is of another LST" in refused.stderr
    accuracy.write_text(json.dumps(told), encoding="utf-8")
    # A file that is no model, or another one than that of the run, is not passed off as it.
    CliRunner().invoke(cli.app, ["fit", str(bundle), "--seed", "9", "-o", str(tmp_path / "other.lstzoom")])
    for path, what in ((accuracy, "is no model"), (tmp_path / "other.lstzoom", "name the model of the run")):
        arguments[arguments.index("--model") + 1] = path
        refused = CliRunner().invoke(cli.app, [*map(str, arguments), "--overwrite"])
        assert refused.exit_code == cli.BAD_INPUT
        assert what in refused.stderr


def test_figures_of_another_scene_are_refused_and_those_of_this_one_told(
    bundle: Path, run: Path, tmp_path: Path
) -> None:
    """Also where the files of the result do not say what they were made of."""
    outputs = replace(open_outputs(run / "lst.tif"), tags={})
    figures = {"mode": "one-scale-up", "ratio": 3, "methods": {}}
    other = Extras(accuracy=figures | {"lst_sha256": "0" * 64})
    with pytest.raises(InputError, match="accuracy is of another temperature"):
        publish(bundle, outputs, tmp_path / "out", extras=other)
    assert not (tmp_path / "out").exists()
    digest = hashlib.sha256(open_container(bundle).read(open_bundle(bundle).files["lst"])).hexdigest()
    folder = publish(
        bundle, outputs, tmp_path / "out", extras=Extras(accuracy=figures | {"lst_sha256": digest})
    )
    block = properties(folder)["sharpening"]
    assert block["accuracy_one_scale_up"]["lst_sha256"] == digest
    assert "accuracy_one_scale_up" not in block["unknown"]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{}", "is not what `lstzoom validate --json` writes"),
        ("[1]", "is not what"),
        ("no JSON", "is not what"),
        (
            '{"mode": "guess", "ratio": 3, "methods": {"lstzoom": {"rmse": 1}, "bicubic": {"rmse": 2}}}',
            "none",
        ),
        (
            '{"mode": "direct", "ratio": 3, "methods": {"lstzoom": {"rmse": 1}, "bicubic": {"rmse": 2}}}',
            "truth",
        ),
    ],
)
def test_what_tells_no_accuracy_is_refused(tmp_path: Path, content: str, what: str) -> None:
    (tmp_path / "accuracy.json").write_text(content)
    with pytest.raises(InputError, match=r"accuracy\.json.*" + what):
        read_extras(accuracy=tmp_path / "accuracy.json")


def test_a_result_of_other_pixels_than_a_bundle_has_is_refused(bundle: Path, tmp_path: Path) -> None:
    lst = tmp_path / "lst.tif"
    done = CliRunner().invoke(cli.app, ["sharpen", str(bundle), "-o", str(lst), "--ratio", "6", "--quiet"])
    assert done.exit_code == cli.OK, done.stderr
    with pytest.raises(InputError, match=r"pixels of 5 m.*sharpen with --ratio 3"):
        publish(bundle, open_outputs(lst), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_mask_of_the_product_is_that_of_the_input(product: Path, bundle: Path) -> None:
    before, after = open_bundle(bundle), open_bundle(product)
    grid = before.grids(before.choose())
    one, other = before.usable(grid, MaskRules()), after.usable(grid, MaskRules())
    assert one is not None
    assert other is not None
    np.testing.assert_array_equal(one.values, other.values)


@pytest.mark.parametrize("other", ["lst.tif", "qa.tif"])
def test_uncertainty_is_no_other_layer(run: Path, other: str) -> None:
    with pytest.raises(InputError, match="name the file of --uncertainty"):
        open_outputs(run / "lst.tif", run / "qa.tif", run / other)

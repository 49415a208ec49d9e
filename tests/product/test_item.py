from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pystac
import pytest
import rasterio
from pystac.validation.local_validator import get_local_schema_cache
from referencing import Registry, Resource

from lstzoom import stac
from lstzoom.errors import GridMismatchError
from lstzoom.product import MaskRules, ingest, open_bundle
from lstzoom.product.fields import EXTENSIONS
from lstzoom.product.simulated import BundlePlan, write_bundle
from lstzoom.simulate import Scene, simulate_scene

PLANS = {
    "long A": BundlePlan(sharpened=True),
    "short B": BundlePlan(style="short", configuration="B", tagged=False),
    "subdirectories A": BundlePlan(style="subdirectories"),
    "bits": BundlePlan(quality="bits"),
    "night A": BundlePlan(night=True),
    "night B": BundlePlan(style="short", configuration="B", night=True),
    "LSTzoom A": BundlePlan(product="LSTzoom", style="short"),
}
SCHEMAS = Path(pystac.__file__).parent / "validation" / "jsonschemas"


@pytest.fixture(scope="module")
def scene() -> Scene:
    return simulate_scene((120, 150), bands=("blue", "green", "red", "rededge", "nir", "nir08"), seed=2)


@pytest.fixture(scope="module", params=PLANS)
def item(
    request: pytest.FixtureRequest, scene: Scene, tmp_path_factory: pytest.TempPathFactory
) -> pystac.Item:
    container: Any = "zip" if "A" in request.param else "folder"
    return ingest(
        open_bundle(
            write_bundle(
                tmp_path_factory.mktemp("item"), PLANS[request.param], container=container, scene=scene
            )
        )
    )


def core_validator() -> jsonschema.Draft7Validator:
    """Schemas of STAC 1.1 as pystac ships them; those of extensions cannot be had offline."""
    known = [(url, Resource.from_contents(content)) for url, content in get_local_schema_cache().items()]
    schema = json.loads((SCHEMAS / "stac-spec" / "v1.1.0" / "item.json").read_text(encoding="utf-8"))
    return jsonschema.Draft7Validator(schema, registry=Registry().with_resources(known))


def test_the_item_is_valid_stac(item: pystac.Item) -> None:
    content = json.loads(json.dumps(item.to_dict(), allow_nan=False))
    assert content["stac_version"] == "1.1.0"
    assert [error.message for error in core_validator().iter_errors(content)] == []
    assert pystac.Item.from_dict(content).id == item.id


def test_the_validator_finds_mistakes(item: pystac.Item) -> None:
    content = item.to_dict()
    content["properties"]["datetime"] = "yesterday"
    content["assets"]["lst"]["href"] = 3
    assert len(list(core_validator().iter_errors(content))) > 0


def assets(item: pystac.Item, role: str) -> dict[str, dict[str, Any]]:
    return {key: one.to_dict() for key, one in item.assets.items() if role in (one.roles or [])}


def test_extensions_are_listed_if_and_only_if_used(item: pystac.Item) -> None:
    text = json.dumps(item.to_dict())
    for prefix, url in EXTENSIONS.items():
        assert (url in item.stac_extensions) == (f'"{prefix}:' in text)


def test_fields_that_the_extensions_require_are_right(item: pystac.Item) -> None:
    """Own rules in place of the extensions' schemas, which need the network."""
    assert item.properties["proj:code"] == "EPSG:32632"
    angles = {key: item.properties[key] for key in item.properties if key.startswith("view:")}
    assert angles
    assert all(-90 <= angles[key] <= 90 for key in angles if "azimuth" not in key)
    assert all(0 <= angles[key] <= 360 for key in angles if "azimuth" in key)
    for key, asset in assets(item, "data").items():
        assert re.fullmatch(r"EPSG:\d+", asset["proj:code"]), key
        assert len(asset["proj:shape"]) == 2
        assert len(asset["proj:transform"]) == 6
        assert asset["type"].startswith("image/tiff")
        for band in asset["bands"]:
            assert band["name"]
            assert band["data_type"] in ("uint8", "uint16")
            assert all(math.isfinite(band[one]) for one in ("raster:scale", "raster:offset") if one in band)
            assert band.get("raster:sampling", "area") in ("area", "point")
            for classes in (band.get("classification:classes"), *(
                field["classes"] for field in band.get("classification:bitfields", [])
            )):  # fmt: skip
                for one in classes or []:
                    assert isinstance(one["value"], int)
                    assert re.fullmatch(r"[0-9A-Za-z-_]+", one["name"])
                    assert one["description"]
                    assert re.fullmatch(r"([0-9A-F]{6})", one.get("color_hint", "000000"))
            for field in band.get("classification:bitfields", []):
                assert field["length"] == 1


def test_grids_and_numbers_are_those_of_the_files(item: pystac.Item) -> None:
    for key, asset in assets(item, "data").items():
        with rasterio.open(asset["href"]) as file:
            assert asset["proj:shape"] == list(file.shape), key
            assert asset["proj:transform"] == list(file.transform)[:6]
            assert asset["proj:bbox"] == list(file.bounds)
            assert len(asset["bands"]) == file.count
            assert {band["data_type"] for band in asset["bands"]} == set(file.dtypes)


def test_the_temperature_tells_how_it_is_stored(item: pystac.Item) -> None:
    (band,) = item.assets["lst"].extra_fields["bands"]
    assert (band["raster:scale"], band["raster:offset"], band["nodata"]) == (0.01, 0, 65535)
    assert band["unit"] == "kelvin"


def test_masks_carry_their_classes_and_the_role_data(item: pystac.Item) -> None:
    masks = assets(item, "cloud")
    assert masks
    for asset in masks.values():
        assert "data" in asset["roles"]
        assert [band["name"] for band in asset["bands"]] == [
            "cloud",
            "castshadow",
            "landwater",
            "static_landwater",
        ]
        values = [one["value"] for one in asset["bands"][0]["classification:classes"]]
        assert values == [0, 1, 2, 3]


def test_the_footprint_encloses_the_bbox_and_the_scene(item: pystac.Item) -> None:
    assert item.bbox is not None
    assert item.geometry is not None
    west, south, east, north = item.bbox
    lon, lat = zip(*item.geometry["coordinates"][0], strict=True)
    assert (min(lon), min(lat), max(lon), max(lat)) == (west, south, east, north)
    assert 10.37 < west < east < 10.40
    assert item.properties["gsd"] in (10, 30)


def test_reflectance_has_names_and_wavelengths(scene: Scene, tmp_path: Path) -> None:
    item = ingest(open_bundle(write_bundle(tmp_path, scene=scene)))
    (band,) = item.assets["vnir05"].extra_fields["bands"]
    assert band["eo:common_name"] == "rededge071"
    assert (band["eo:center_wavelength"], band["eo:full_width_half_max"]) == (0.705, 0.015)
    assert (band["raster:scale"], band["raster:offset"], band["unit"]) == (0.0001, -0.1, "1")
    assert item.assets["vnir05"].extra_fields["proj:shape"] == [60, 75]
    assert item.properties["eo:cloud_cover"] == pytest.approx(3, abs=1)
    assert item.properties["platform"] == "sba01"
    assert item.properties["instruments"] == ["tir", "vnir"]


def test_cloud_cover_is_left_out_where_it_was_not_computed(scene: Scene, tmp_path: Path) -> None:
    item = ingest(open_bundle(write_bundle(tmp_path, BundlePlan(night=True), scene=scene)))
    assert "eo:cloud_cover" not in item.properties
    assert not any(key.startswith("eo:") for key in item.properties)


def test_the_item_loads_to_the_pixels_of_the_bundle(scene: Scene, tmp_path: Path) -> None:
    bundle = open_bundle(write_bundle(tmp_path, container="zip", scene=scene))
    plain = bundle.load(rules=MaskRules(clouds=frozenset(), quality=frozenset()))
    vnir, lst = stac.load_pair([ingest(bundle)], ["vnir03", "vnir04", "vnir08"])
    np.testing.assert_array_equal(lst.values, plain.lst.values)
    np.testing.assert_array_equal(vnir.values, plain.vnir.values)


def test_a_footprint_elsewhere_is_refused(scene: Scene, tmp_path: Path) -> None:
    path = write_bundle(tmp_path, BundlePlan(style="short"), scene=scene)
    content = json.loads((path / "metadata.json").read_text(encoding="utf-8"))
    ring = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    content["properties"]["geometric"]["geometry"]["coordinates"] = [ring]
    (path / "metadata.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(GridMismatchError, match="two scenes"):
        ingest(open_bundle(path))


def test_without_a_footprint_the_grid_gives_one(scene: Scene, tmp_path: Path) -> None:
    path = write_bundle(tmp_path, BundlePlan(style="short"), scene=scene)
    told = ingest(open_bundle(path))
    content = json.loads((path / "metadata.json").read_text(encoding="utf-8"))
    content["properties"]["geometric"] = None
    (path / "metadata.json").write_text(json.dumps(content), encoding="utf-8")
    found = ingest(open_bundle(path))
    assert found.bbox == pytest.approx(told.bbox, abs=1e-9)
    assert "view:sun_elevation" not in found.properties

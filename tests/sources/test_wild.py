"""Items in the forms of many services, loaded from real files: the same values, whatever the form."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pystac
import pytest
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from lstzoom.errors import InputError
from lstzoom.grid import grid_of
from lstzoom.sources.catalog import open_catalog
from lstzoom.sources.loading import load
from lstzoom.sources.pair import make_pairs
from lstzoom.sources.search import access_of, examine
from tests.sources import wild
from tests.sources.archive import Archive, box, write_cog
from tests.sources.test_loading import pair_of

Form: TypeAlias = Callable[[Archive, Path], wild.Fields]
Ecostress: TypeAlias = tuple[dict[str, Path], GeoBox]


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
@pytest.mark.parametrize(
    ("platform", "pixels"),
    [("landsat-4", 4), ("landsat-5", 4), ("landsat-7", 2), ("landsat-8", 3), ("landsat-9", 3)],
)
def test_landsat_of_the_planetary_computer(
    archive: Archive, tmp_path: Path, platform: str, pixels: int, version: str
) -> None:
    item = wild.landsat_pc(archive, tmp_path, platform, version=version)
    pair = load("landsat", items=[item])
    assert pair.attrs["lst_averaged_pixels"] == pixels
    assert pair.attrs["lst_resolution_m"] == 30 * pixels
    assert pair.attrs["vnir_items"] == [item["id"]]
    assert pair.vnir.band.values.tolist() == ["green", "red", "nir08", "swir16", "swir22"]
    stored = archive.lst_stored[70, 71]
    assert float(pair.vnir.values[0, 70, 71]) == pytest.approx(stored * 2.75e-5 - 0.2, abs=1e-6)
    kelvin = archive.lst_stored[60 : 60 + pixels, 60 : 60 + pixels] * 0.00341802 + 149.0
    row, column = 60 // pixels, 60 // pixels
    assert float(pair.lst.values[row, column]) == pytest.approx((kelvin**4).mean() ** 0.25, abs=2e-3)
    assert pair.uncertainty is not None
    assert float(pair.uncertainty.values[row, column]) == pytest.approx(1.5)
    assert not pair.valid.values[42 // pixels, 52 // pixels]


def test_landsat_without_surface_temperature_is_listed(archive: Archive, tmp_path: Path) -> None:
    item = wild.landsat_pc(archive, tmp_path, "landsat-8", thermal=False)
    found = examine("landsat", [item])
    assert found.lst == ()
    assert [one.side for one in found.unusable] == ["lst"]
    assert "no thermal asset: looked for keys lwir11, lwir" in found.unusable[0].reason
    assert "rendered_preview" in found.unusable[0].reason


@pytest.mark.parametrize("platform", ["LANDSAT_5", "LANDSAT_8"])
def test_landsat_of_the_usgs(archive: Archive, tmp_path: Path, platform: str) -> None:
    """Two items for a scene; the bucket is read, and not the web server that wants a login."""
    items = [wild.landsat_usgs(archive, tmp_path, kind, platform) for kind in ("sr", "st")]
    pair = load("landsat", items=items)
    assert pair.attrs["lst_item"].endswith("_ST")
    assert pair.attrs["vnir_items"][0].endswith("_SR")
    assert pair.attrs["lst_native_resolution_m"] == (120 if platform == "LANDSAT_5" else 100)
    stored = archive.lst_stored[70, 71]
    assert float(pair.vnir.values[1, 70, 71]) == pytest.approx(stored * 2.75e-5 - 0.2, abs=1e-6)
    assert 270 < float(pair.lst.values[15, 20]) < 330
    # Less than no cloud is what the USGS writes where it does not know.
    found = examine("landsat", items, max_cloud=0)
    assert {one.cloud for one in (*found.lst, *found.vnir)} == {None}


@pytest.mark.parametrize("form", [wild.sentinel2_c1, wild.sentinel2_cdse])
def test_sentinel_2_with_its_offset_in_the_item(
    archive: Archive, tmp_path: Path, form: Callable[[Archive, Path], wild.Fields]
) -> None:
    """Collection 1 of Earth Search and the Copernicus Data Space: the offset is listed, and to be applied."""
    items = [archive.landsat(str(archive.folder)), form(archive, tmp_path)]
    pair = load("landsat-sentinel2", items=items)
    applied = pair_of(archive).vnir.values - np.float32(0.1)
    np.testing.assert_allclose(pair.vnir.values, applied, atol=2e-6)
    assert pair.vnir.band.values.tolist() == ["green", "red", "nir", "swir16", "swir22"]
    assert pair.attrs["vnir_datetime"].startswith("2023-07-03T10:20:19.024")


def test_bands_on_request_are_put_on_the_grid_of_the_finest(archive: Archive, tmp_path: Path) -> None:
    items = [archive.landsat(str(archive.folder)), wild.sentinel2_c1(archive, tmp_path)]
    pair = load("landsat-sentinel2", items=items, bands=["nir08", "blue", "rededge1"])
    assert pair.vnir.band.values.tolist() == ["nir08", "blue", "rededge1"]
    assert pair.attrs["vnir_resolution_m"] == [20, 10, 20]
    assert grid_of(pair.vnir) == archive.scene.geobox


@pytest.fixture(scope="module")
def ecostress(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Ecostress:
    folder = tmp_path_factory.mktemp("ecostress")
    fine = archive.scene.geobox
    grid = box(fine.affine.c, fine.affine.f, 70.0, (fine.shape.y // 7, fine.shape.x // 7))
    layers: dict[str, NDArray[Any]] = {
        "water": np.zeros(grid.shape, np.uint8), "cloud": np.zeros(grid.shape, np.uint8),
        "view_zenith": np.full(grid.shape, 5, np.float32), "height": np.full(grid.shape, 500, np.float32),
        "QC": np.zeros(grid.shape, np.uint16), "LST": np.full(grid.shape, 300.5, np.float32),
        "LST_err": np.full(grid.shape, 0.7, np.float32), "EmisWB": np.full(grid.shape, 0.97, np.float32),
    }  # fmt: skip
    layers["cloud"][4, 4], layers["cloud"][4, 5] = 1, 255
    layers["LST"][3, 3] = np.nan
    paths = {}
    for name, values in layers.items():
        paths[name] = folder / f"ECOv002_L2T_LSTE_28691_004_32UPU_20230703T101500_0710_01_{name}.tif"
        write_cog(paths[name], values, grid, nodata=np.nan if values.dtype == np.float32 else None)
    return paths, grid


@pytest.mark.parametrize("keys", ["short", "numbered", "long", "path"])
def test_ecostress_of_nasa(archive: Archive, ecostress: Ecostress, keys: str) -> None:
    files, grid = ecostress
    item = wild.ecostress_cmr(files, grid, keys)
    pair = load("ecostress-sentinel2", items=[item, archive.sentinel2(str(archive.folder))])
    assert grid_of(pair.lst) == grid
    assert (pair.vnir.sizes["y"], pair.vnir.sizes["x"]) == (grid.shape.y * 7, grid.shape.x * 7)
    assert float(pair.lst.values[0, 0]) == 300.5
    assert np.argwhere(np.isnan(pair.lst.values)).tolist() == [[3, 3]]
    assert np.argwhere(~pair.valid.values).tolist() == [[4, 4], [4, 5]]
    assert pair.uncertainty is not None
    assert float(pair.uncertainty.values[0, 0]) == pytest.approx(0.7)


def test_an_item_of_nasa_that_has_no_cloud_layer_is_listed(ecostress: Ecostress) -> None:
    files, grid = ecostress
    item = wild.ecostress_cmr({key: path for key, path in files.items() if key != "cloud"}, grid, "long")
    (bad, *_) = examine("ecostress-sentinel2", [item]).unusable
    assert bad.reason.startswith("no mask 'cloud': looked for keys cloud; files *_cloud.tif")


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_constellr_without_reflectance_is_listed_and_its_signature_is_not_told(
    archive: Archive, tmp_path: Path, version: str
) -> None:
    item = wild.constellr_api(archive, tmp_path, version)
    found = examine("constellr", [item])
    assert len(found.lst) == 1
    with pytest.raises(InputError, match=r"as reflectance: no asset for the bands \['vnir03'") as caught:
        load("constellr", items=[item])
    assert "s3cret" not in str(caught.value)


def changed(item: dict[str, Any], **properties: Any) -> dict[str, Any]:
    one = copy.deepcopy(item)
    for key, value in properties.items():
        if value is ...:
            del one["properties"][key.replace("__", ":")]
        else:
            one["properties"][key.replace("__", ":")] = value
    return one


def test_what_an_item_need_not_tell(archive: Archive) -> None:
    """No cloud cover, an interval for a time, no grid: files tell it when they are opened."""
    root = str(archive.folder)
    thermal = changed(
        archive.landsat(root), eo__cloud_cover=..., proj__transform=..., proj__shape=..., datetime=None,
        start_datetime="2023-07-02T10:00:00Z", end_datetime="2023-07-02T10:20:00Z",
    )  # fmt: skip
    optical = changed(archive.sentinel2(root), eo__cloud_cover=None, proj__epsg=None)
    pair = load("landsat-sentinel2", items=[thermal, optical])
    assert pair.attrs["lst_datetime"] == "2023-07-02T10:10:00+00:00"
    assert pair.attrs["vnir_cloud_cover"] == -1.0
    np.testing.assert_array_equal(pair.lst.values, pair_of(archive).lst.values)
    np.testing.assert_array_equal(pair.vnir.values, pair_of(archive).vnir.values)


def test_a_transform_of_an_asset_does_not_take_the_shape_of_its_item(archive: Archive) -> None:
    """Bands of 20 m that tell a transform and no shape."""
    optical = archive.sentinel2(str(archive.folder))
    for asset in optical["assets"].values():
        asset.pop("proj:shape", None)
    pair = load("landsat-sentinel2", items=[archive.landsat(str(archive.folder)), optical])
    np.testing.assert_array_equal(pair.vnir.values, pair_of(archive).vnir.values)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"datetime": None}, "start_datetime and end_datetime must be"),
        ({"datetime": "last Tuesday"}, "no STAC item that can be read"),
        ({"eo__cloud_cover": "much"}, "cannot be understood"),
        ({"proj__transform": [30, 0, 1]}, "CRS or transform"),
        ({"proj__transform": [0, 0, 1, 0, -30, 1]}, "no transform of a grid"),
        ({"proj__transform": [30, 5, 1, 5, -30, 1]}, "rotated"),
        ({"proj__shape": [0, 10]}, "no shape of a grid"),
        ({"proj__epsg": 4326}, "on degrees"),
        ({"proj__epsg": 999999}, "CRS or transform of its asset 'lwir11'"),
        ({"start_datetime": 7, "end_datetime": 8, "datetime": None}, "cannot be understood"),
    ],
)
def test_items_that_cannot_be_used_leave_the_others_alone(
    archive: Archive, change: dict[str, Any], reason: str
) -> None:
    root = str(archive.folder)
    bad = changed(archive.landsat(root, "bad"), **change)
    found = examine("landsat-sentinel2", [bad, archive.landsat(root, "good"), archive.sentinel2(root)])
    assert [one.item.id for one in found.lst] == ["good"]
    assert len(make_pairs(found).pairs) == 1
    (told,) = [one for one in found.unusable if one.item == "bad" and one.side != "vnir"]
    assert reason in told.reason


@pytest.mark.parametrize(
    "broken",
    [
        {}, [], None, "text", {"type": "Feature"}, {"type": "Feature", "id": 5},
        {"type": "Feature", "stac_version": "1.0.0", "id": "x", "geometry": None, "properties": {}},
        {"type": "Collection", "id": "x"},
    ],
)  # fmt: skip
def test_what_is_no_item_is_listed_and_leaves_the_others_alone(
    archive: Archive, tmp_path: Path, broken: object
) -> None:
    root = str(archive.folder)
    features = [archive.landsat(root), broken, archive.sentinel2(root)]
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    found = examine("landsat-sentinel2", tmp_path / "items.json")
    assert len(make_pairs(found).pairs) == 1
    (told,) = [one for one in found.unusable if one.side is None]
    assert "no STAC item that can be read" in str(told)


def test_a_geometry_that_is_none_is_a_reason(archive: Archive) -> None:
    root = str(archive.folder)
    bad = archive.landsat(root, "bad")
    bad["geometry"]["coordinates"] = [[[0, 0], ["x", 1], [2, 2], [0, 0]]]
    found = examine("landsat-sentinel2", [bad, archive.landsat(root), archive.sentinel2(root)])
    assert [one.item for one in found.unusable if one.side == "lst"] == ["bad"]


def test_items_without_links_are_known_by_the_host_of_their_files(archive: Archive) -> None:
    item = archive.landsat("https://landsateuwest.blob.core.windows.net/landsat-c2")
    assert item["links"] == []
    access = access_of(open_catalog("landsat-sentinel2"), pystac.Item.from_dict(item))
    assert access.signing == "planetary-computer"


def test_of_two_versions_of_a_tile_the_one_processed_last_is_read(archive: Archive) -> None:
    root = str(archive.folder)
    first = changed(archive.sentinel2(root, "S2A_a"), s2__generation_time="2024-01-01T00:00:00.000Z")
    second = changed(archive.sentinel2(root, "S2A_b"), s2__generation_time="2023-01-01T00:00:00.000Z")
    for order in ([first, second], [second, first]):
        pair = load("landsat-sentinel2", items=[archive.landsat(root), *order])
        assert pair.attrs["vnir_items"] == ["S2A_a"]

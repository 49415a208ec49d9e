"""Items in the forms of many services, loaded from real files: the same values, whatever the form."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyproj
import pystac
import pytest
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from lstzoom.errors import InputError, UnitsError
from lstzoom.grid import grid_of
from lstzoom.sources.catalog import open_catalog
from lstzoom.sources.loading import LoadedPair, load
from lstzoom.sources.pair import make_pairs
from lstzoom.sources.search import access_of, examine
from tests.sources import wild
from tests.sources.archive import BANDS, Archive, box, write_cog
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
    assert "vnir_cloud_cover" not in pair.attrs
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


def test_jpeg_2000_of_the_copernicus_data_space(archive: Archive, tmp_path: Path) -> None:
    """As in the products themselves: JPEG 2000 without tags, keys with the resolution."""
    item = wild.sentinel2_cdse(archive, tmp_path)
    for asset in item["assets"].values():
        if "bands" not in asset:
            continue
        path = Path(asset["href"]).with_suffix(".jp2")
        with rasterio.open(asset["href"]) as file:
            rasterio.shutil.copy(file, path, driver="JP2OpenJPEG", quality=100, reversible="YES", nodata=None)
        asset["href"] = str(path)
    pair = load("landsat-sentinel2", items=[archive.landsat(str(archive.folder)), item])
    applied = pair_of(archive).vnir.values - np.float32(0.1)
    np.testing.assert_allclose(pair.vnir.values, applied, atol=2e-6)


def _crs(item: wild.Fields, **told: Any) -> None:
    item["properties"] |= {"proj:epsg": None, **{k.replace("__", ":"): v for k, v in told.items()}}


def _owners(item: wild.Fields) -> list[wild.Fields]:
    return [item["properties"], *item["assets"].values()]


def _bounds_for_transforms(item: wild.Fields) -> None:
    for fields in _owners(item):
        if transform := fields.pop("proj:transform", None):
            rows, columns = fields["proj:shape"]
            left, top, pixel = transform[2], transform[5], transform[0]
            fields["proj:bbox"] = [left, top - rows * pixel, left + columns * pixel, top]


def _no_projection(item: wild.Fields) -> None:
    for fields in _owners(item):
        for name in [name for name in fields if name.startswith("proj:")]:
            del fields[name]


def _projection_on_assets(item: wild.Fields) -> None:
    shared = {k: v for k, v in item["properties"].items() if k.startswith("proj:")}
    for asset in item["assets"].values():
        asset |= {**shared, **asset}
    for name in shared:
        del item["properties"][name]


def _bands(item: wild.Fields, *, on_asset: bool) -> None:
    item["stac_version"] = "1.1.0"
    for asset in item["assets"].values():
        (band,) = asset.pop("raster:bands")
        new = {k if k in {"nodata", "unit", "data_type"} else f"raster:{k}": v for k, v in band.items()}
        asset.update({**new, "bands": [{"name": "x"}]} if on_asset else {"bands": [new]})


def _common_names(item: wild.Fields) -> None:
    for key, asset in item["assets"].items():
        asset["eo:bands"] = [{"name": BANDS.get(key, key), "common_name": key}]


UTM = pyproj.CRS(32632)
WAYS: dict[str, Callable[[wild.Fields], None]] = {
    "proj:code": lambda item: _crs(item, proj__code="EPSG:32632"),
    "proj:wkt2": lambda item: _crs(item, proj__code=None, proj__wkt2=UTM.to_wkt("WKT2_2019")),
    "proj:projjson": lambda item: _crs(item, proj__projjson=UTM.to_json_dict()),
    "proj:bbox": _bounds_for_transforms,
    "no projection": _no_projection,
    "projection on assets": _projection_on_assets,
    "bands": lambda item: _bands(item, on_asset=False),
    "bands, encoding on the asset": lambda item: _bands(item, on_asset=True),
    "eo:bands": _common_names,
}


def recast(item: wild.Fields, way: str) -> wild.Fields:
    """Tell the same in another version of STAC and its extensions."""
    one = copy.deepcopy(item)
    WAYS[way](one)
    return one


@pytest.mark.parametrize("way", WAYS)
def test_what_is_told_in_another_version_is_the_same(archive: Archive, way: str) -> None:
    root = str(archive.folder)
    given = [recast(archive.landsat(root), way), recast(archive.sentinel2(root), way)]
    pair, wanted = load("landsat-sentinel2", items=given), pair_of(archive)
    for name in ("lst", "vnir", "valid", "uncertainty"):
        np.testing.assert_array_equal(getattr(pair, name).values, getattr(wanted, name).values)


@pytest.mark.parametrize(
    ("baseline", "listed", "applied", "offset"),
    [
        # The Planetary Computer, Earth Search, Digital Earth Africa, and what products tell.
        ({"s2:processing_baseline": "02.14"}, None, None, 0.0),
        ({"s2:processing_baseline": "03.01"}, None, None, 0.0),
        ({"s2:processing_baseline": "04.00"}, None, None, -0.1),
        ({"s2:processing_baseline": "05.11"}, None, None, -0.1),
        ({"s2:processing_baseline": "05.09"}, -0.1, {"earthsearch:boa_offset_applied": True}, 0.0),
        ({"s2:processing_baseline": "05.09"}, -0.1, {"earthsearch:boa_offset_applied": False}, -0.1),
        ({"s2:processing_baseline": "02.09"}, -0.1, {"earthsearch:boa_offset_applied": False}, 0.0),
        ({"s2:processing_baseline": "05.00"}, 0.0, None, 0.0),
        ({"sentinel:processing_baseline": "04.00"}, None, {"sentinel:boa_offset_applied": True}, 0.0),
        ({"sentinel:processing_baseline": "04.00"}, None, {"sentinel:boa_offset_applied": False}, -0.1),
        ({"processing:version": "05.10"}, -0.1, None, -0.1),
        ({"processing:version": "N0214"}, None, None, 0.0),
        ({"s2:processing_baseline": "N0510"}, None, None, -0.1),
        ({}, None, None, -0.1),
    ],
)
def test_the_offset_of_sentinel_2_is_applied_once(
    archive: Archive,
    baseline: dict[str, str],
    listed: float | None,
    applied: dict[str, bool] | None,
    offset: float,
) -> None:
    item = archive.sentinel2(str(archive.folder))
    told = item["properties"]
    for name in ("s2:processing_baseline", "earthsearch:boa_offset_applied"):
        del told[name]
    told |= {**baseline, **(applied or {})}
    for asset in item["assets"].values():
        (band,) = asset["raster:bands"]
        if listed is None:
            del asset["raster:bands"]
        elif "offset" in band:
            band["offset"] = listed
    pair = load("landsat-sentinel2", items=[archive.landsat(str(archive.folder)), item], bands=["red"])
    wanted = pair_of(archive).vnir.sel(band="red").values + np.float32(offset)
    np.testing.assert_allclose(pair.vnir.values[0], wanted, atol=2e-6)


def hls(archive: Archive, letter: str) -> wild.Fields:
    """LP DAAC, Harmonized Landsat Sentinel-2: keys of bands, `Fmask`, neither grid nor encoding."""
    keys = {
        "S30": ("B02", "B03", "B04", "B08", "B8A", "B11", "B12"),
        "L30": ("B02", "B03", "B04", "B05", "B06"),
    }
    item = archive.sentinel2(str(archive.folder), f"HLS.{letter}.T32UPU.2023184T102019.v2.0")
    root = "https://data.lpdaac.earthdatacloud.nasa.gov/lp-prod-protected/HLS"
    item["assets"] = {
        key: {"href": f"{root}/{item['id']}.{key}.tif", "roles": ["data"]} for key in (*keys[letter], "Fmask")
    }
    return item


def hls_s30(archive: Archive, _: Path) -> wild.Fields:
    return hls(archive, "S30")


def hls_l30(archive: Archive, _: Path) -> wild.Fields:
    return hls(archive, "L30")


def usgs_sr(archive: Archive, folder: Path) -> wild.Fields:
    return wild.landsat_usgs(archive, folder, "sr")


def usgs_st(archive: Archive, folder: Path) -> wild.Fields:
    return wild.landsat_usgs(archive, folder, "st")


def only_20_m(archive: Archive, folder: Path) -> wild.Fields:
    item = wild.sentinel2_cdse(archive, folder)
    for key in ("B03", "B04", "B08"):
        asset = item["assets"].pop(f"{key}_10m")
        item["assets"][f"{key}_20m"] = asset | {
            "href": f"{folder}/T32UPU_20230703T102019_{key}_20m.jp2", "gsd": 20,
            "proj:shape": [120, 150], "proj:transform": [20, 0, *asset["proj:transform"][2:4], -20, 0],
        }  # fmt: skip
    return item


def without_scl(archive: Archive, _: Path) -> wild.Fields:
    item = archive.sentinel2(str(archive.folder))
    del item["assets"]["scl"]
    return item


def swath(archive: Archive, _: Path) -> wild.Fields:
    """ECO_L2_LSTE_002, the swath: HDF5, no tiles."""
    item = archive.landsat(str(archive.folder), "ECOv002_L2_LSTE_28691_004_20230703T101500_0710_01")
    root = "https://data.lpdaac.earthdatacloud.nasa.gov/lp-prod-protected/ECO_L2_LSTE.002"
    item["assets"] = {
        "data": {"href": f"{root}/{item['id']}.h5", "type": "application/x-hdf5", "roles": ["data"]}
    }
    return item


@pytest.mark.parametrize(
    ("catalog", "side", "form", "reason"),
    [
        ("landsat-sentinel2", "vnir", hls_s30, "no mask 'scl': looked for keys scl, SCL"),
        ("landsat-sentinel2", "vnir", hls_l30, r"no asset for the bands \['nir', 'swir16'"),
        ("landsat", "vnir", hls_l30, r"no asset for the bands \['green', 'red'"),
        ("landsat-sentinel2", "vnir", only_20_m, r"\['green', 'red', 'nir'\].*it has B11_20m.*B08_20m"),
        ("landsat-sentinel2", "vnir", without_scl, "no mask 'scl'.*it has green, red"),
        ("ecostress-sentinel2", "lst", swath, "no thermal asset: .*keys LST.*it has data"),
        ("landsat", "lst", usgs_sr, "no thermal asset"),
        ("landsat", "vnir", usgs_st, "no asset for the bands"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_listed_with_what_was_looked_for_and_what_is_there(
    archive: Archive, tmp_path: Path, catalog: str, side: str, form: Form, reason: str
) -> None:
    item = form(archive, tmp_path)
    found = examine(catalog, [item])
    assert item["id"] not in [one.item.id for one in getattr(found, side)]
    told = [one.reason for one in found.unusable if one.item == item["id"] and one.side == side]
    if not told:  # it serves its other side, and has to be excused for neither
        assert [one.item.id for one in (*found.lst, *found.vnir)] == [item["id"]]
        return
    assert re.search(reason, told[0])


@pytest.mark.parametrize("keys", ["usgs of before 1.0", "digital earth africa"])
def test_keys_of_landsat_by_other_services(archive: Archive, tmp_path: Path, keys: str) -> None:
    item = wild.landsat_pc(archive, tmp_path, "landsat-8")
    assets = {}
    for asset in item["assets"].values():
        name = Path(asset["href"]).name
        _, found, suffix = name.partition("_02_T1_")
        stem = suffix if keys.startswith("usgs") else suffix.removesuffix(".TIF")
        assets[stem if found else name] = {k: v for k, v in asset.items() if k != "raster:bands"}
    item["assets"] = assets
    assert ("ST_B10.TIF" if keys.startswith("usgs") else "ST_B10") in assets
    pair = load("landsat", items=[item])
    wanted = load("landsat", items=[wild.landsat_pc(archive, tmp_path, "landsat-8")])
    for name in ("lst", "vnir", "valid", "uncertainty"):
        np.testing.assert_array_equal(getattr(pair, name).values, getattr(wanted, name).values)


@pytest.mark.parametrize("spelt", ["LANDSAT_7", "landsat-7", "Landsat 7", "Landsat-7", "LANDSAT7"])
def test_a_platform_may_be_spelt_in_any_way(archive: Archive, tmp_path: Path, spelt: str) -> None:
    item = wild.landsat_pc(archive, tmp_path, "landsat-7")
    item["properties"]["platform"] = spelt
    pair = load("landsat", items=[item])
    assert pair.attrs["lst_native_resolution_m"] == 60
    assert pair.attrs["lst_averaged_pixels"] == 2


def test_a_platform_that_is_not_told_is_warned_of(
    archive: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    item = wild.landsat_pc(archive, tmp_path, "landsat-7")
    del item["properties"]["platform"]
    assert load("landsat", items=[item]).attrs["lst_native_resolution_m"] == 100
    assert "the platform '' is none of landsat-4" in caplog.text


def test_items_of_the_usgs_without_links_are_known_by_their_server(archive: Archive, tmp_path: Path) -> None:
    item = wild.landsat_usgs(archive, tmp_path, "st")
    item["links"] = []
    access = access_of(open_catalog("landsat"), pystac.Item.from_dict(item))
    assert (access.alternate, access.requester_pays) == ("s3", True)


def test_landsat_of_level_1_is_no_surface_temperature(archive: Archive, tmp_path: Path) -> None:
    """USGS, landsat-c2l1: keys of Level 2, numbers at the top of the atmosphere."""
    item = wild.landsat_usgs(archive, tmp_path, "st")
    for name in ("landsat:correction", "landsat:processing_level"):
        told = changed(item, landsat__correction=...)
        told["properties"][name] = "L1TP"
        for catalog in ("landsat", "landsat-sentinel2"):
            found = examine(catalog, [told])
            assert found.lst == ()
            assert f"its {name} is 'L1TP'; L2SP or L2SR is needed" in found.reasons("lst")


@pytest.mark.parametrize(
    "kind", ["application/vnd+zarr", "application/x-netcdf", "application/x-hdf5", "image/png"]
)
def test_files_that_are_no_rasters_of_ours_are_told_before_any_work(archive: Archive, kind: str) -> None:
    """EOPF lists Sentinel-2 with the keys of the Copernicus Data Space, as Zarr."""
    item = archive.sentinel2(str(archive.folder))
    item["assets"]["green"]["type"] = kind
    found = examine("landsat-sentinel2", [archive.landsat(str(archive.folder)), item])
    assert found.vnir == ()
    assert f"its asset 'green' is {kind}; GeoTIFF or JPEG 2000 is needed" in found.reasons("vnir")


def test_a_scale_without_its_offset_takes_the_one_that_goes_with_it(archive: Archive) -> None:
    root = str(archive.folder)
    thermal, optical = archive.landsat(root), archive.sentinel2(root)
    del thermal["assets"]["lwir11"]["raster:bands"][0]["offset"]
    del optical["properties"]["earthsearch:boa_offset_applied"]
    for key in BANDS:
        del optical["assets"][key]["raster:bands"][0]["offset"]
    pair, wanted = load("landsat-sentinel2", items=[thermal, optical]), pair_of(archive)
    np.testing.assert_array_equal(pair.lst.values, wanted.lst.values)
    np.testing.assert_allclose(pair.vnir.values, wanted.vnir.values - np.float32(0.1), atol=2e-6)


def test_a_scale_of_its_own_has_no_offset_that_was_documented_for_another(archive: Archive) -> None:
    root = str(archive.folder)
    thermal = archive.landsat(root)
    thermal["assets"]["lwir11"]["raster:bands"] = [{"scale": 0.01, "nodata": 0}]
    pair = load("landsat-sentinel2", items=[thermal, archive.sentinel2(root)])
    np.testing.assert_allclose(pair.lst.values[20, 20], archive.lst_stored[20, 20] * 0.01, rtol=1e-6)


def test_numbers_that_can_be_no_temperatures_are_an_error(archive: Archive) -> None:
    """A scale that is told for another layer."""
    root = str(archive.folder)
    thermal = archive.landsat(root)
    thermal["assets"]["lwir11"]["raster:bands"][0] |= {"scale": 0.0001, "offset": 0.0}
    pair = load("landsat-sentinel2", items=[thermal, archive.sentinel2(root)])
    with pytest.raises(UnitsError, match=r"holds temperatures from .* K, as scale, offset and unit are told"):
        pair.lst.compute()


@pytest.mark.parametrize("numbers", [{"scale": 0}, {"scale": "nan"}, {"offset": "inf"}])
def test_a_scale_that_gives_no_values_is_a_reason(archive: Archive, numbers: dict[str, Any]) -> None:
    item = archive.landsat(str(archive.folder))
    item["assets"]["lwir11"]["raster:bands"][0] |= numbers
    found = examine("landsat-sentinel2", [item])
    assert found.lst == ()
    assert "of its asset 'lwir11' give no values" in found.reasons("lst")


def test_a_baseline_that_only_the_name_tells(archive: Archive) -> None:
    """Years before the offset are processed anew with it."""
    root = str(archive.folder)
    for number, offset in (("N0500", -0.1), ("N0301", 0.0)):
        item = archive.sentinel2_pc(root, when="2021-07-03T10:20:00Z")
        del item["properties"]["s2:processing_baseline"]
        item["id"] = f"S2A_MSIL2A_20210703T102031_{number}_R065_T32UPU_20230201T000000"
        pair = load("landsat-sentinel2", items=[archive.landsat(root, when="2021-07-02T10:10:00Z"), item])
        wanted = pair_of(archive).vnir.values + np.float32(offset)
        np.testing.assert_allclose(pair.vnir.values, wanted, atol=2e-6)


def same_pair(given: list[wild.Fields], wanted: LoadedPair, catalog: str = "landsat-sentinel2") -> LoadedPair:
    pair = load(catalog, items=given)
    for name in ("lst", "vnir", "valid", "uncertainty"):
        np.testing.assert_array_equal(getattr(pair, name).values, getattr(wanted, name).values)
    return pair


@pytest.mark.parametrize("platform", ["LANDSAT_5", "LANDSAT_8"])
def test_landsat_of_the_usgs_before_stac_1_0(archive: Archive, tmp_path: Path, platform: str) -> None:
    """Two items with one id; no encoding, no grid, no roles, and a day for a time."""
    given = [wild.landsat_before_1_0(archive, tmp_path, kind, platform) for kind in ("sr", "st")]
    now = [wild.landsat_usgs(archive, tmp_path, kind, platform) for kind in ("sr", "st")]
    pair = same_pair(given, load("landsat", items=now), "landsat")
    assert pair.attrs["lst_platform"] == platform
    assert pair.attrs["lst_datetime"] == "2023-07-02T00:00:00+00:00"


def test_landsat_of_digital_earth_africa(archive: Archive, tmp_path: Path) -> None:
    """Two collections, ids that are random: paired by their time."""
    given = [wild.landsat_de_africa(archive, tmp_path, kind) for kind in ("sr", "st")]
    now = [wild.landsat_usgs(archive, tmp_path, kind) for kind in ("sr", "st")]
    same_pair(given, load("landsat", items=now), "landsat")


@pytest.mark.parametrize("form", [wild.sentinel2_v0, wild.sentinel2_named])
def test_sentinel_2_by_other_names(archive: Archive, tmp_path: Path, form: Form) -> None:
    """Of before STAC 1.0, and of a catalogue that names bands in `eo:bands` alone."""
    item = form(archive, tmp_path)
    item["properties"]["earthsearch:boa_offset_applied"] = True
    same_pair([archive.landsat(str(archive.folder)), item], pair_of(archive))


def test_case_of_keys_does_not_matter(archive: Archive) -> None:
    root = str(archive.folder)
    given = [archive.landsat(root), archive.sentinel2(root)]
    for item in given:
        item["assets"] = {key.upper(): asset for key, asset in item["assets"].items()}
    same_pair(given, pair_of(archive))


def test_a_name_that_two_assets_bear_is_none(archive: Archive, tmp_path: Path) -> None:
    item = wild.sentinel2_named(archive, tmp_path)
    item["assets"]["again"] = dict(item["assets"]["layer-b04"])
    found = examine("landsat-sentinel2", [item])
    assert found.vnir == ()
    assert "no asset for the bands ['red']" in found.reasons("vnir")


def test_a_thermal_band_of_that_name_is_no_temperature(archive: Archive) -> None:
    """At the top of the atmosphere it is called so, too."""
    item = archive.landsat(str(archive.folder))
    item["assets"]["B10"] = item["assets"].pop("lwir11") | {
        "href": "LC08_L1TP_193027_20230702_02_T1_B10.TIF",
        "eo:bands": [{"name": "B10", "common_name": "lwir11"}],
    }  # fmt: skip
    assert "no thermal asset" in examine("landsat-sentinel2", [item]).reasons("lst")

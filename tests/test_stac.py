"""STAC items of a local pair, and the lazy way back through odc-stac."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import dask
import numpy as np
import odc.stac
import pystac
import pytest
import rasterio
import xarray as xr
from affine import Affine

import lstzoom
from lstzoom import stac
from lstzoom.errors import GridMismatchError, InputError, UnitsError
from lstzoom.grid import grid_of
from lstzoom.simulate import Scene, simulate_scene, write_scene

WHEN = datetime(2024, 7, 1, 10, 30, tzinfo=UTC)
BANDS = ("blue", "red", "nir")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return simulate_scene((120, 150), bands=BANDS, seed=2)


@pytest.fixture
def folder(scene: Scene, tmp_path: Path) -> Path:
    paths = write_scene(scene, tmp_path / "pair")
    stac.write_pair(tmp_path / "pair", paths["lst"], {band: paths[band] for band in BANDS}, when=WHEN)
    return tmp_path / "pair"


def items_of(folder: Path) -> list[pystac.Item]:
    return list(pystac.Collection.from_file(str(folder / "collection.json")).get_items())


def test_the_pair_comes_back_with_values_and_grids(scene: Scene, folder: Path) -> None:
    vnir, lst = stac.load_pair(folder, chunks=16)
    wanted = scene.to_xarray()
    assert lst.dtype == vnir.dtype == np.float32
    assert vnir.dims == ("band", "y", "x")
    assert vnir.band.values.tolist() == list(BANDS)
    assert grid_of(lst) == scene.coarse_geobox
    assert grid_of(vnir) == scene.geobox
    # Half a step of the encoding, and float32.
    np.testing.assert_allclose(lst.values, wanted.lst.values, rtol=0, atol=0.0051)
    np.testing.assert_allclose(vnir.values, wanted.vnir.values, rtol=0, atol=5.1e-5)


def test_the_loader_of_sources_gives_the_same(folder: Path) -> None:
    """By its own way of reading, and by GDAL's of resampling."""
    vnir, lst = stac.load_pair(folder, chunks=16)
    pair = lstzoom.load("demo", items=folder, bands=BANDS, chunks=16)
    for one, other in ((lst, pair.lst), (vnir, pair.vnir)):
        xr.testing.assert_equal(one.compute(), other.compute())
        assert one.chunks == other.chunks


def test_nothing_is_read_before_it_is_computed(folder: Path) -> None:
    vnir, lst = stac.load_pair(folder, chunks=16)
    for path in folder.glob("*.tif"):
        path.unlink()
    assert vnir.chunks == ((3,), (48, 48, 24), (48, 48, 48, 6))
    assert lst.chunks == ((16, 16, 8), (16, 16, 16, 2))
    with pytest.raises(rasterio.errors.RasterioIOError, match=r"lst\.tif"):
        lst.compute()


def test_a_truncated_file_raises_and_gives_no_missing_pixels(folder: Path) -> None:
    path = folder / "red.tif"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    vnir, _ = stac.load_pair(folder)
    with pytest.raises(rasterio.errors.RasterioError):
        vnir.compute()


def test_missing_pixels_are_nan(scene: Scene, folder: Path) -> None:
    for name, stored in (("lst", 65535), ("red", 0)):
        with rasterio.open(folder / f"{name}.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
            values = file.read(1)
            values[3:5, 7] = stored
            file.write(values, 1)
    vnir, lst = stac.load_pair(folder)
    assert np.argwhere(np.isnan(lst.values)).tolist() == [[3, 7], [4, 7]]
    assert np.argwhere(np.isnan(vnir.values)).tolist() == [[1, 3, 7], [1, 4, 7]]


def test_the_files_are_stac_1_1_with_relative_links(folder: Path) -> None:
    collection = json.loads((folder / "collection.json").read_text())
    assert collection["stac_version"] == "1.1.0"
    hrefs = [link["href"] for link in collection["links"] if link["rel"] == "item"]
    assert hrefs == ["./scene-lst.json", "./scene-vnir.json"]
    item = json.loads((folder / "scene-lst.json").read_text())
    assert item["stac_version"] == "1.1.0"
    assert item["properties"]["datetime"] == "2024-07-01T10:30:00Z"
    asset = item["assets"]["lst"]
    assert asset["href"] == "./lst.tif"
    assert asset["roles"] == ["data", "temperature"]
    assert (asset["proj:code"], asset["proj:shape"]) == ("EPSG:32632", [40, 50])
    assert asset["proj:transform"][0] == 30.0
    (band,) = asset["bands"]
    assert (band["data_type"], band["nodata"], band["unit"]) == ("uint16", 65535, "K")
    assert (band["raster:scale"], band["raster:offset"]) == (0.01, 0.0)
    for name in ("lst", "vnir"):
        assert str(folder) not in (folder / f"scene-{name}.json").read_text()


def test_the_footprint_holds_every_corner(scene: Scene, folder: Path) -> None:
    item = json.loads((folder / "scene-vnir.json").read_text())
    ring = np.array(item["geometry"]["coordinates"][0])
    assert (ring[0] == ring[-1]).all()
    left, bottom, right, top = item["bbox"]
    grid = scene.geobox.boundingbox
    to_degrees = scene.geobox.crs.transformer_to_crs("EPSG:4326")  # type: ignore[union-attr]
    for x in (grid.left, grid.right):
        for y in (grid.bottom, grid.top):
            lon, lat = to_degrees(x, y)
            assert left - 1e-6 <= lon <= right + 1e-6
            assert bottom - 1e-6 <= lat <= top + 1e-6


def test_the_footprint_is_one_ring_around_the_scene(folder: Path) -> None:
    ring = np.array(json.loads((folder / "scene-vnir.json").read_text())["geometry"]["coordinates"][0])
    x, y = ring[:-1].T - ring[0][:, None]
    x1, y1 = ring[1:].T - ring[0][:, None]
    width, height = np.ptp(ring, axis=0)
    # Counterclockwise; the scene is turned a little against the meridians.
    assert 0.9 < (x * y1 - x1 * y).sum() / 2 / (width * height) < 1.0
    assert np.abs(np.diff(ring, axis=0)).max() < 0.07 * max(width, height)


def test_an_item_may_hold_both_and_reach_further_in_one(folder: Path, scene: Scene) -> None:
    lst, vnir = items_of(folder)
    with rasterio.open(folder / "red.tif") as whole:
        values, profile = whole.read(1)[:60], {**whole.profile, "height": 60}
    with rasterio.open(folder / "north.tif", "w", **profile) as file:
        file.write(values, 1)
    north = vnir.assets["red"].clone()
    north.href = str(folder / "north.tif")
    north.extra_fields["proj:shape"] = [60, 150]
    both = lst.clone()
    both.assets = {"red": north, "lst": both.assets["lst"]}
    vnir_there, lst_there = stac.load_pair([both], chunks=8)
    np.testing.assert_allclose(lst_there.values, scene.coarse, rtol=0, atol=0.0051)
    assert np.isnan(vnir_there.values[0, 60:]).all()
    assert np.isfinite(vnir_there.values[0, :60]).all()


def test_the_folder_can_be_moved(folder: Path, scene: Scene) -> None:
    moved = folder.rename(folder.with_name("moved"))
    _, lst = stac.load_pair(moved / "collection.json")
    np.testing.assert_allclose(lst.values, scene.coarse, rtol=0, atol=0.0051)


def test_odc_stac_loads_the_items_by_itself(scene: Scene, folder: Path) -> None:
    lst, vnir = items_of(folder)
    loaded = odc.stac.load([vnir])
    assert set(loaded.data_vars) == set(BANDS)
    assert loaded.odc.geobox == scene.geobox
    assert loaded.red.attrs["nodata"] == 0
    assert odc.stac.load([lst]).lst.dtype == np.uint16
    np.testing.assert_allclose(loaded.red[0].values * 1e-4, scene.vnir[1], rtol=0, atol=5.1e-5)


def test_bands_come_in_the_order_asked_for(scene: Scene, folder: Path) -> None:
    vnir, _ = stac.load_pair(folder, ["nir", "blue"])
    assert vnir.band.values.tolist() == ["nir", "blue"]
    np.testing.assert_allclose(vnir[0].values, scene.vnir[2], rtol=0, atol=5.1e-5)


def test_items_may_come_one_by_one_or_as_a_collection(folder: Path) -> None:
    items = items_of(folder)
    collection = pystac.Collection.from_file(str(folder / "collection.json"))
    for given in (items, iter(items), collection, pystac.ItemCollection(items)):
        _, lst = stac.load_pair(given)
        assert lst.shape == (40, 50)


def test_a_file_with_several_bands_is_one_asset(tmp_path: Path, scene: Scene) -> None:
    paths = write_scene(scene, tmp_path)
    with rasterio.open(paths["red"]) as one:
        profile = {**one.profile, "count": 2}
    with rasterio.open(tmp_path / "both.tif", "w", **profile) as file:
        for number, name in enumerate(("red", "nir"), 1):
            with rasterio.open(paths[name]) as one:
                file.write(one.read(1), number)
            file.set_band_description(number, name)
        file.scales = (0.0001, 0.0001)
    stac.write_pair(tmp_path, paths["lst"], {"vnir": tmp_path / "both.tif"})
    vnir, _ = stac.load_pair(tmp_path, ["nir"])
    assert vnir.band.values.tolist() == ["nir"]
    np.testing.assert_allclose(vnir[0].values, scene.vnir[2], rtol=0, atol=5.1e-5)


def test_an_absent_band_is_told_with_those_that_are_there(folder: Path) -> None:
    with pytest.raises(InputError, match=r"no reflectance band \['B8'\] .*\['blue', 'nir', 'red'\]"):
        stac.load_pair(folder, ["red", "B8"])


@pytest.mark.parametrize(("kept", "role"), [(0, "reflectance"), (1, "temperature")])
def test_an_absent_asset_is_told_with_those_that_are_there(folder: Path, kept: int, role: str) -> None:
    item = items_of(folder)[kept]
    key = "lst" if kept == 0 else "blue"
    with pytest.raises(InputError, match=rf"no asset with the role '{role}' .*{item.id}: {key} \['data'"):
        stac.load_pair([item])


def test_two_temperatures_are_refused(folder: Path) -> None:
    first, vnir = items_of(folder)
    again = first.clone()
    again.id = "another"
    with pytest.raises(InputError, match=r"2 bands have the role 'temperature'.*'another'"):
        stac.load_pair([first, again, vnir])


def test_several_dates_are_refused(folder: Path) -> None:
    lst, vnir = items_of(folder)
    later = vnir.clone()
    later.datetime = datetime(2024, 7, 3, tzinfo=UTC)
    with pytest.raises(InputError, match=r"2 dates \(2024-07-01, 2024-07-03\)"):
        stac.load_pair([lst, vnir, later])


def test_tiles_of_one_date_are_put_together(folder: Path, scene: Scene) -> None:
    lst, vnir = items_of(folder)
    left, right = vnir.clone(), vnir.clone()
    for item, part in ((left, slice(0, 75)), (right, slice(75, 150))):
        item.id = f"from-{part.start}"
        for name in BANDS:
            with rasterio.open(folder / f"{name}.tif") as whole:
                values, profile = whole.read(1)[:, part], {**whole.profile, "width": 75}
                profile["transform"] = whole.transform @ Affine.translation(part.start, 0)
            path = folder / f"{name}-{part.start}.tif"
            with rasterio.open(path, "w", **profile) as file:
                file.write(values, 1)
            asset = item.assets[name]
            asset.href = str(path)
            asset.extra_fields["proj:shape"] = [120, 75]
            asset.extra_fields["proj:transform"] = list(profile["transform"])[:6]
    stack, _ = stac.load_pair([lst, left, right], chunks=8)
    np.testing.assert_allclose(stack.values, scene.vnir, rtol=0, atol=5.1e-5)


@pytest.mark.parametrize(
    ("units", "shift"),
    [
        (("", "K", "kelvin", "Kelvin", "kelvins", "degK", "°K", "degrees Kelvin", "degree_kelvin"), 0.0),
        (("C", "°C", "degC", "deg C", "Celsius", "degree_Celsius", "degrees celsius"), 273.15),
        (("degrees", "deg", "°", "F", "degF", "W m-2", "cK", "1", "mK"), None),
    ],
)
def test_spellings_of_units(units: tuple[str, ...], shift: float | None) -> None:
    assert {unit: stac.kelvin_shift(unit) for unit in units} == dict.fromkeys(units, shift)


def test_celsius_becomes_kelvin_and_other_units_are_refused(folder: Path, scene: Scene) -> None:
    lst, vnir = items_of(folder)
    band = lst.assets["lst"].extra_fields["bands"][0]
    band.update({"unit": "degC", "raster:offset": -273.15})
    _, loaded = stac.load_pair([lst, vnir])
    np.testing.assert_allclose(loaded.values, scene.coarse, rtol=0, atol=0.0051)
    band["unit"] = "W m-2"
    with pytest.raises(UnitsError, match="has the unit 'W m-2'"):
        stac.load_pair([lst, vnir])


def test_an_offset_that_the_pixels_have_already_is_not_applied_again(folder: Path, scene: Scene) -> None:
    lst, vnir = items_of(folder)
    vnir.properties["earthsearch:boa_offset_applied"] = True
    for asset in vnir.assets.values():
        asset.extra_fields["bands"][0]["raster:offset"] = -0.1
    stack, _ = stac.load_pair([lst, vnir])
    np.testing.assert_allclose(stack.values, scene.vnir, rtol=0, atol=5.1e-5)


def test_an_asset_without_a_grid_is_refused(folder: Path) -> None:
    lst, vnir = items_of(folder)
    del lst.assets["lst"].extra_fields["proj:transform"]
    with pytest.raises(GridMismatchError, match="'lst' of the item 'scene-lst' does not tell its grid"):
        stac.load_pair([lst, vnir])


def test_a_folder_without_a_collection_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"collection\.json' does not exist"):
        stac.load_pair(tmp_path)
    (tmp_path / "collection.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be read as STAC"):
        stac.load_pair(tmp_path)
    with pytest.raises(InputError, match="no STAC item"):
        stac.load_pair([])


def test_a_file_outside_of_the_folder_is_refused(tmp_path: Path, scene: Scene) -> None:
    paths = write_scene(scene, tmp_path / "here")
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="lies outside of"):
        stac.write_pair(tmp_path / "there", paths["lst"], {"red": paths["red"]})
    with pytest.raises(InputError, match="no reflectance file"):
        stac.write_pair(tmp_path / "here", paths["lst"], {})


def test_chunks_do_not_change_values(folder: Path) -> None:
    one, other = (stac.load_pair(folder, chunks=chunk) for chunk in (7, 50))
    with dask.config.set(scheduler="synchronous"):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a.values, b.values)

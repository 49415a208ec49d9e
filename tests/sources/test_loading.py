"""From items with real COGs to the pair, and through `sharpen`."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest

import lstzoom
from lstzoom.config import SharpenConfig
from lstzoom.errors import ConfigError, GridMismatchError, InputError, UnitsError
from lstzoom.grid import grid_of
from lstzoom.sources.loading import LoadedPair, MaskOptions, load
from tests.sources.archive import Archive, box, write_cog
from tests.sources.servers import Files, stac_api


def items(*fields: dict[str, Any]) -> list[pystac.Item]:
    return [pystac.Item.from_dict(json.loads(json.dumps(one))) for one in fields]


def pair_of(archive: Archive, root: str | None = None, **settings: Any) -> LoadedPair:
    root = root or str(archive.folder)
    both = items(archive.landsat(root), archive.sentinel2(root))
    return load("landsat-sentinel2", items=both, **settings)


def assert_same(one: LoadedPair, other: LoadedPair) -> None:
    for name in ("vnir", "lst", "valid", "uncertainty"):
        np.testing.assert_array_equal(getattr(one, name).values, getattr(other, name).values)


def test_values_grids_and_masks_are_those_of_the_files(archive: Archive) -> None:
    pair = pair_of(archive)
    assert grid_of(pair.lst) == archive.lst_grid
    assert grid_of(pair.vnir) == archive.scene.geobox
    stored = archive.lst_stored
    kelvin = np.where(stored == 0, np.nan, stored * 0.00341802 + 149.0)
    np.testing.assert_allclose(pair.lst.values, kelvin, atol=1e-4)
    assert np.isnan(pair.lst.values[0, 0])
    valid = pair.valid.values
    assert not valid[40:48, 50:60].any()
    assert not valid[:2, :3].any()
    assert valid.sum() == valid.size - 80 - 6
    red = pair.vnir.sel(band="red").values
    cloud = np.zeros(red.shape, bool)
    cloud[40:60, 200:220] = True
    # The offset that the item lists is in the pixels already.
    wanted = np.where(cloud | (archive.stored["red"] == 0), np.nan, archive.stored["red"] * 1e-4)
    np.testing.assert_allclose(red, wanted, atol=1e-6)
    assert pair.vnir.band.values.tolist() == ["green", "red", "nir", "swir16", "swir22"]
    assert np.nanmax(np.abs(pair.vnir.sel(band="swir16").values)) < 1
    assert pair.uncertainty is not None
    np.testing.assert_allclose(pair.uncertainty.values[10, 10:13], [9.0, 9.0, 1.5], atol=1e-5)
    assert pair.attrs["lst_native_resolution_m"] == pair.lst.attrs["native_resolution_m"] == 100.0


def test_nothing_is_read_before_it_is_computed(archive: Archive) -> None:
    pair = pair_of(archive, root="/nowhere/at/all")
    for array in (pair.lst, pair.vnir, pair.valid, pair.uncertainty):
        assert array is not None
        with pytest.raises(InputError, match="cannot open the raster '/nowhere/at/all/"):
            array.compute()


def test_the_pair_is_what_sharpen_takes(archive: Archive) -> None:
    pair = pair_of(archive)
    # The simulated instrument resolves its pixel; the catalogue's would be 100 m.
    assert pair.inputs()["config"].native_resolution == 100
    sharp = lstzoom.sharpen(**pair.inputs(SharpenConfig(native_resolution=30, seed=3))).compute()
    assert sharp.attrs["lstzoom_seed"] == 3
    assert grid_of(sharp.lst) == archive.scene.geobox
    covered = np.repeat(np.repeat(pair.valid.values & np.isfinite(pair.lst.values), 3, 0), 3, 1)
    assert np.isfinite(sharp.lst.values[covered]).all()
    assert np.isnan(sharp.lst.values[~covered]).all()
    # What ST_QA says goes into the uncertainty of the result.
    assert pair.uncertainty is not None
    given = np.repeat(np.repeat(pair.uncertainty.values, 3, 0), 3, 1)
    assert (sharp.lst_uncertainty.values[covered] > given[covered] * 0.999).all()
    assert "lst_uncertainty" not in {
        k for k, v in pair.inputs(SharpenConfig(method="published")).items() if v is not None
    }
    truth = archive.scene.to_xarray().truth.values
    error = np.sqrt(np.mean((sharp.lst.values - truth)[covered] ** 2))
    nearest = np.repeat(np.repeat(pair.lst.values, 3, 0), 3, 1)
    assert error < 0.8 * np.sqrt(np.mean((nearest - truth)[covered] ** 2))


@pytest.mark.parametrize("chunks", [13, 64, 1000])
def test_chunks_change_no_bit(archive: Archive, chunks: int) -> None:
    options = MaskOptions(dilate_m=95.0)
    whole, parts = (pair_of(archive, masks=options, chunks=c) for c in (33, chunks))
    assert_same(whole, parts)


def other_zone(archive: Archive, folder: Path, epsg: str = "EPSG:32633") -> dict[str, Any]:
    """The scene's ground as a tile of the neighbouring UTM zone: reflectance grows with x and y."""
    centre = archive.lst_grid.extent.centroid.to_crs(epsg)
    (x, y) = centre.points[0]
    grid = box(round(x, -1) - 3000, round(y, -1) + 3000, 10.0, (600, 600), epsg)
    numbers = (1000 + np.add.outer(np.arange(600), np.arange(600))).astype(np.uint16)
    for key in ("green", "red", "nir", "swir16", "swir22"):
        write_cog(folder / f"S2_{key}.tif", numbers, grid, nodata=0)
    write_cog(folder / "S2_SCL.tif", np.full((600, 600), 4, np.uint8), grid, nodata=0)
    item = archive.sentinel2(str(folder))
    item["properties"] |= {"proj:epsg": grid.crs.epsg, "proj:shape": [600, 600]}  # type: ignore[union-attr]
    item["properties"]["proj:transform"] = list(grid.affine)[:6]
    for one in item["assets"].values():
        one |= {"proj:shape": [600, 600], "proj:transform": list(grid.affine)[:6]}
    return item


def test_across_utm_zones_chunks_change_no_bit_and_positions_are_right(
    archive: Archive, tmp_path: Path
) -> None:
    both = items(archive.landsat(str(archive.folder)), other_zone(archive, tmp_path))
    pairs = [load("landsat-sentinel2", items=both, chunks=chunks) for chunks in (1000, 23)]
    whole, parts = (pair.vnir.sel(band="red").values for pair in pairs)
    np.testing.assert_array_equal(whole, parts)
    grid = grid_of(pairs[0].vnir)
    column, row = 140, 100
    x, y = grid.affine @ (column + 0.5, row + 0.5)
    source = both[1].assets["red"].extra_fields
    a = source["proj:transform"]
    u, v = grid.crs.transformer_to_crs("EPSG:32633")(x, y)  # type: ignore[union-attr]
    across, down = (u - a[2]) / a[0] - 0.5, (v - a[5]) / a[4] - 0.5
    assert whole[row, column] == pytest.approx((1000 + across + down) * 1e-4, abs=2e-5)


def test_overviews_are_never_read(archive: Archive, tmp_path: Path) -> None:
    """Reflectance at 5 m is averaged from its own pixels, although an overview has the size wanted."""
    rng = np.random.default_rng(0)
    fine = archive.scene.geobox
    half = box(fine.affine.c, fine.affine.f, 5.0, (fine.shape.y * 2, fine.shape.x * 2))
    numbers = rng.integers(500, 6000, half.shape).astype(np.uint16)
    item = archive.sentinel2(str(archive.folder))
    write_cog(tmp_path / "S2_red.tif", numbers, half, nodata=0)
    import rasterio

    with rasterio.open(tmp_path / "S2_red.tif") as file:
        assert file.overviews(1)
    item["assets"]["red"] |= {
        "href": str(tmp_path / "S2_red.tif"),
        "proj:shape": list(half.shape),
        "proj:transform": list(half.affine)[:6],
    }
    both = items(archive.landsat(str(archive.folder)), item)
    pair = load(
        "landsat-sentinel2", items=both, bands=["red"], ratio=3, masks=MaskOptions(reject={"scl": ()})
    )
    mean = numbers.reshape(fine.shape.y, 2, fine.shape.x, 2).mean((1, 3)) * 1e-4
    np.testing.assert_allclose(pair.vnir.values[0], mean, atol=1e-6)


def test_an_area_cuts_whole_pixels_of_the_native_grid(archive: Archive) -> None:
    whole, part = pair_of(archive), pair_of(archive, area=archive.area())
    grid = grid_of(part.lst)
    top = round((whole.lst.odc.geobox.affine.f - grid.affine.f) / 30)
    left = round((grid.affine.c - whole.lst.odc.geobox.affine.c) / 30)
    assert 0 < top <= 3
    assert 0 < left <= 3
    rows, columns = grid.shape
    np.testing.assert_array_equal(part.lst.values, whole.lst.values[top : top + rows, left : left + columns])
    fine = whole.vnir.values[:, top * 3 : (top + rows) * 3, left * 3 : (left + columns) * 3]
    np.testing.assert_array_equal(part.vnir.values, fine)


def test_tiles_of_one_pass_are_put_together(archive: Archive, tmp_path: Path) -> None:
    """Two tiles, cut in the middle with an overlap; one has other numbers and its own encoding."""
    fine = archive.scene.geobox
    left_grid, right_grid = fine[:, :160], fine[:, 140:]
    made = []
    for name, grid, span, scale in (
        ("left", left_grid, slice(0, 160), 1e-4), ("right", right_grid, slice(140, 300), 5e-5)
    ):  # fmt: skip
        item = archive.sentinel2(str(tmp_path / name), f"S2A_{name}")
        numbers = np.round(archive.stored["red"][:, span] * (1e-4 / scale)).astype(np.uint16)
        write_cog(tmp_path / name / "S2_red.tif", numbers, grid, nodata=0)
        write_cog(tmp_path / name / "S2_SCL.tif", np.full(grid.shape, 4, np.uint8), grid, nodata=0)
        for key in ("red", "scl"):
            item["assets"][key] |= {"proj:shape": list(grid.shape), "proj:transform": list(grid.affine)[:6]}
        item["assets"]["red"]["raster:bands"][0]["scale"] = scale
        ring = archive.sentinel2("")["geometry"]
        from tests.sources.archive import outline

        item["geometry"] = {**ring, "coordinates": [outline(grid)]}
        made.append(item)
    pair = load("landsat-sentinel2", items=items(archive.landsat(str(archive.folder)), *made), bands=["red"])
    assert len(pair.attrs["vnir_items"]) == 2
    stored = archive.stored["red"]
    np.testing.assert_allclose(pair.vnir.values[0], np.where(stored == 0, np.nan, stored * 1e-4), atol=1e-6)


def test_dilation_takes_away_what_lies_within_its_distance(archive: Archive) -> None:
    pair = pair_of(archive, masks=MaskOptions(dilate_m=60.0))
    valid = pair.valid.values
    assert not valid[38:50, 50:60].any()
    assert valid[37, 50:60].all()
    assert valid[38, 48]  # the corner of the square is farther than 60 m
    red = pair.vnir.sel(band="red").values
    assert np.isnan(red[34:66, 200:220]).all()
    assert np.isfinite(red[33, 200:220]).all()


def test_the_distance_is_that_of_the_fine_grid(archive: Archive) -> None:
    """Bands of 20 m put on pixels of 10 m."""
    pair = pair_of(archive, bands=["swir16"], ratio=3, masks=MaskOptions(dilate_m=60.0))
    values = pair.vnir.values[0]
    assert np.isnan(values[34:66, 200:220]).all()
    assert np.isfinite(values[33, 200:220]).all()


def test_dilation_does_not_know_where_the_area_ends(archive: Archive) -> None:
    """What is rejected beside the area takes pixels of the area away, as in the whole scene."""
    options = MaskOptions(dilate_m=95.0)
    whole = pair_of(archive, masks=options)
    # The LST's mask rejects columns 50 to 59; the area ends before them.
    beside = archive.lst_grid[30:70, 20:49].extent.to_crs("EPSG:4326", resolution=30).geom
    part = pair_of(archive, masks=options, area=beside, chunks=16)
    right = float(part.lst.x[-1])
    assert float(whole.lst.x[46]) < right < float(whole.lst.x[50])
    assert not part.valid.sel(y=float(whole.lst.y[44]), x=right).values
    for name in ("lst", "valid", "vnir"):
        cut = getattr(part, name)
        np.testing.assert_array_equal(cut.values, getattr(whole, name).sel(x=cut.x, y=cut.y).values)


def test_dilation_takes_nothing_away_where_files_end(archive: Archive, tmp_path: Path) -> None:
    """Nobody knows what is beyond."""
    codes = np.full(archive.lst_grid.shape, 21824, np.uint16)
    write_cog(tmp_path / "LC08_QA_PIXEL.TIF", codes, archive.lst_grid, nodata=1)
    thermal = archive.landsat(str(archive.folder))
    thermal["assets"]["qa_pixel"]["href"] = str(tmp_path / "LC08_QA_PIXEL.TIF")
    both = items(thermal, archive.sentinel2(str(archive.folder)))
    assert load("landsat-sentinel2", items=both, masks=MaskOptions(dilate_m=200)).valid.values.all()


def test_masks_follow_the_options(archive: Archive) -> None:
    off = pair_of(archive, masks=MaskOptions(reject={"qa_pixel": (), "scl": ("vegetation",)}))
    assert off.valid.values.all()
    kept = np.isfinite(off.vnir.sel(band="red").values)
    assert kept[40:60, 200:220].all()
    assert kept.sum() == 400
    certain = pair_of(archive, masks=MaskOptions(max_uncertainty_k=5.0))
    assert not certain.valid.values[10:12, 10:12].any()
    with pytest.raises(ConfigError, match="no mask 'qa_pixl'; did you mean 'qa_pixel'"):
        pair_of(archive, masks=MaskOptions(reject={"qa_pixl": ()}))
    with pytest.raises(ConfigError, match="no flag 'clouds'; did you mean 'cloud'"):
        pair_of(archive, masks=MaskOptions(reject={"qa_pixel": ("clouds",)}))


def test_the_form_of_the_planetary_computer(archive: Archive) -> None:
    """No encoding in the item: baseline 05.09 has an offset, 02.12 has none."""
    root = str(archive.folder)
    new = load("landsat-sentinel2", items=items(archive.landsat(root), archive.sentinel2_pc(root)))
    old = load(
        "landsat-sentinel2",
        items=items(archive.landsat(root), archive.sentinel2_pc(root, s2__processing_baseline="02.12")),
    )
    difference = (old.vnir - new.vnir).values
    np.testing.assert_allclose(difference[np.isfinite(difference)], 0.1, atol=1e-6)
    assert float(np.nanmin(old.vnir.values)) >= 0


def test_landsat_alone_is_averaged_to_what_its_instrument_resolves(archive: Archive, tmp_path: Path) -> None:
    grid = archive.lst_grid
    root = str(archive.folder)
    numbers = np.arange(grid.shape.y * grid.shape.x, dtype=np.uint16).reshape(grid.shape) + 8000
    write_cog(tmp_path / "SR.TIF", numbers, grid, nodata=0)
    for platform, factor in (("landsat-8", 3), ("LANDSAT_7", 2), ("landsat-5", 4)):
        item = archive.landsat(root, platform=platform)
        if platform != "landsat-8":
            item["assets"]["lwir"] = item["assets"].pop("lwir11")
        band = {"scale": 2.75e-5, "offset": -0.2, "nodata": 0}
        for key in ("green", "red", "nir08", "swir16", "swir22"):
            item["assets"][key] = {"href": str(tmp_path / "SR.TIF"), "raster:bands": [band]}
        pair = load("landsat", items=items(item), chunks=11)
        assert pair.lst.sizes["y"] == grid.shape.y // factor
        assert abs(grid_of(pair.lst).affine.a) == 30 * factor
        assert pair.vnir.sizes["y"] == grid.shape.y // factor * factor
        rows, columns = pair.lst.shape
        kelvin = archive.lst_stored[: rows * factor, : columns * factor] * 0.00341802 + 149.0
        blocks = kelvin.reshape(rows, factor, columns, factor)
        whole = (
            (archive.lst_stored[: rows * factor, : columns * factor] != 0).reshape(blocks.shape).all((1, 3))
        )
        mean = np.where(whole, (blocks**4).mean((1, 3)) ** 0.25, np.nan)
        np.testing.assert_allclose(pair.lst.values, mean, atol=2e-3)
        assert not pair.valid.values[40 // factor, 52 // factor]


def test_temperature_and_reflectance_of_one_scene_in_two_items(archive: Archive, tmp_path: Path) -> None:
    """As the USGS keeps them: keys are file names, ids end in _ST and _SR, nothing is told of encodings."""
    root, grid = str(archive.folder), archive.lst_grid
    write_cog(tmp_path / "SR.TIF", np.full(grid.shape, 20000, np.uint16), grid, nodata=0)
    thermal, optical = archive.landsat(root, "LC08_x_ST"), archive.landsat(root, "LC08_x_SR")
    quality = thermal["assets"]["qa_pixel"]
    thermal["assets"] = {
        "ST_B10.TIF": {"href": f"{root}/LC08_ST_B10.TIF"},
        "ST_QA.TIF": {"href": f"{root}/LC08_ST_QA.TIF"},
        "QA_PIXEL.TIF": quality,
    }
    bands = ("green", "red", "nir08", "swir16", "swir22")
    optical["assets"] = {band: {"href": str(tmp_path / "SR.TIF")} for band in bands} | {"qa_pixel": quality}
    pair = load("landsat", items=items(thermal, optical))
    assert (pair.attrs["lst_item"], pair.attrs["vnir_items"]) == ("LC08_x_ST", ["LC08_x_SR"])
    assert np.isnan(pair.vnir.values[0, 0, 0])  # fill at the corner
    assert float(pair.vnir.values[0, 9, 9]) == pytest.approx(20000 * 2.75e-5 - 0.2, abs=1e-6)
    assert 270 < float(pair.lst.values[9, 9]) < 330
    assert pair.uncertainty is not None
    assert float(pair.uncertainty.values[9, 9]) == pytest.approx(1.5)


def test_ecostress_items_tell_neither_grid_nor_encoding(archive: Archive, tmp_path: Path) -> None:
    """Ratio 7; the header of the file tells the grid, NaN is missing, quality decides."""
    fine = archive.scene.geobox
    grid = box(fine.affine.c, fine.affine.f, 70.0, (fine.shape.y // 7, fine.shape.x // 7))
    name = "ECOv002_L2T_LSTE_33730_008_32UPU_20230702T101000_0712_01"
    lst = np.full(grid.shape, 300.5, np.float32)
    lst[3, 3] = np.nan
    quality = np.zeros(grid.shape, np.uint16)
    quality[5, 5], quality[6, 6], quality[7, 7] = 0b11, 0b1100000000000001, 0b10
    for suffix, values in (
        ("LST", lst), ("QC", quality), ("cloud", np.zeros(grid.shape, np.uint8)),
        ("LST_err", np.full(grid.shape, 0.7, np.float32)),
    ):  # fmt: skip
        nodata = float("nan") if values.dtype == np.float32 else None
        write_cog(tmp_path / f"{name}_{suffix}.tif", values, grid, nodata=nodata)
    item = archive.landsat("", name)
    item["properties"] = {"datetime": "2023-07-02T10:10:00Z"}
    # As NASA's: path-like keys, and every file by two ways, of which one needs a cloud's credentials.
    item["assets"] = {
        f"{way}ECO_L2T_LSTE.002/{name}/{name}_{suffix}": {"href": f"{root}/{name}_{suffix}.tif"}
        for suffix in ("water", "LST_err", "LST", "QC", "cloud")
        for way, root in (("s3_", "s3://nowhere"), ("", tmp_path))
    }
    pair = load("ecostress-sentinel2", items=items(item, archive.sentinel2(str(archive.folder))))
    assert grid_of(pair.lst) == grid
    assert pair.vnir.sizes["y"] == grid.shape.y * 7
    assert np.isnan(pair.lst.values[3, 3])
    assert float(pair.lst.values[0, 0]) == 300.5
    assert np.argwhere(~pair.valid.values).tolist() == [[5, 5], [7, 7]]
    assert pair.uncertainty is not None
    assert float(pair.uncertainty.values[0, 0]) == pytest.approx(0.7)


def constellr(archive: Archive, folder: Path) -> dict[str, Any]:
    """Item as constellr's own: few extensions, everything else in the files."""
    fine, coarse = archive.scene.geobox, archive.lst_grid
    kelvin = np.full(coarse.shape, 30050, np.uint16)
    kelvin[2, 2] = 65535
    write_cog(folder / "lst.tiff", kelvin, coarse, nodata=65535, scale=0.01, unit="K")
    numbers = np.full(fine.shape, 3500, np.uint16)
    numbers[1, 1] = 65535
    for band in ("vnir03", "vnir04", "vnir08"):
        write_cog(folder / f"{band}.tiff", numbers, fine)
    for name, grid, pixel in (("scl_mask_30m", coarse, (5, 6)), ("scl_mask_10m", fine, (7, 8))):
        classes = np.zeros((4, *grid.shape), np.uint8)
        classes[0][pixel] = 2
        classes[1][9, 9] = classes[2][10, 10] = 1
        write_cog(folder / f"{name}.tiff", classes, grid)
    item = archive.landsat("", "LSTPRECISION_SBA01_U155VHMQ_20260708T235815Z")
    item |= {"stac_version": "1.1.0", "stac_extensions": [], "collection": "lstprecision"}
    item["properties"] = {"datetime": "2026-07-08T23:58:15Z", "gsd": 30}
    item["assets"] = {path.stem: {"href": str(path), "type": "image/tiff"} for path in folder.glob("*.tiff")}
    return item


def test_items_of_constellr(archive: Archive, tmp_path: Path) -> None:
    item = constellr(archive, tmp_path)
    pair = load("constellr", items=items(item))
    assert pair.vnir.band.values.tolist() == ["vnir03", "vnir04", "vnir08"]
    assert float(pair.lst.values[0, 0]) == pytest.approx(300.5, abs=1e-4)
    assert np.argwhere(np.isnan(pair.lst.values)).tolist() == [[2, 2]]
    # No tags in the files: the documented constants.
    assert float(pair.vnir.values[0, 0, 0]) == pytest.approx(0.25, abs=1e-6)
    assert np.argwhere(np.isnan(pair.vnir.values[0])).tolist() == [[1, 1], [7, 8]]
    assert np.argwhere(~pair.valid.values).tolist() == [[5, 6]]
    water = load("constellr", items=items(item), masks=MaskOptions(reject={"water": ("water",)}))
    assert np.argwhere(~water.valid.values).tolist() == [[5, 6], [10, 10]]


@pytest.mark.parametrize("remote", [False, True])
def test_metadata_of_constellr_tells_encodings_that_nothing_else_tells(
    archive: Archive,
    own_files: Files,
    remote: bool,  # noqa: FBT001
) -> None:
    """Tags, then metadata, then what is documented; read once, signed as it is."""
    item = constellr(archive, own_files.folder)
    numbers = np.full(archive.lst_grid.shape, 6010, np.uint16)
    write_cog(own_files.folder / "lst.tiff", numbers, archive.lst_grid)
    told = {
        "product_name": "LSTprecision",
        "products": {
            "TIR": {"ST": {"ST_unit": "K", "ST_type": "uint16", "ST_offset": 0.0, "ST_scale_factor": 0.05}},
            "VNIR": {"SR": {"SR_unit": "1", "SR_offset": 0.0, "SR_scale_factor": 0.0002, "SR_nodata": 7}},
        },
    }  # fmt: skip
    (own_files.folder / "metadata.json").write_text(json.dumps(told))
    item["assets"]["metadata"] = {"href": f"{own_files.folder}/metadata.json", "type": "application/json"}
    if remote:
        own_files.secret = "s3cret"
        for one in item["assets"].values():
            one["href"] = f"{own_files.url}/{Path(one['href']).name}?sig=s3cret"
    pair = load("constellr", items=items(item))
    assert float(pair.lst.values[0, 0]) == pytest.approx(300.5, abs=1e-4)
    assert float(pair.vnir.values[0, 0, 0]) == pytest.approx(0.7, abs=1e-6)
    (own_files.folder / "metadata.json").unlink()
    with pytest.raises(InputError, match=r"cannot read '.*metadata\.json'") as caught:
        load("constellr", items=items(item))
    assert "s3cret" not in str(caught.value)


def test_values_as_they_are_need_no_encoding_that_is_documented_for_numbers(
    archive: Archive, tmp_path: Path
) -> None:
    """Somebody's own copy in float32, kelvin and reflectance: 0 is a value, and nothing is scaled."""
    item = constellr(archive, tmp_path)
    write_cog(tmp_path / "lst.tiff", np.full(archive.lst_grid.shape, 300.5, np.float32), archive.lst_grid)
    reflectance = np.full(archive.scene.geobox.shape, 0.25, np.float32)
    reflectance[4, 4] = 0
    write_cog(tmp_path / "vnir04.tiff", reflectance, archive.scene.geobox)
    pair = load("constellr", items=items(item), bands=["vnir04"])
    assert float(pair.lst.values[9, 9]) == 300.5
    assert (float(pair.vnir.values[0, 4, 4]), float(pair.vnir.values[0, 5, 5])) == (0, 0.25)


def test_a_night_scene_of_constellr_is_listed(archive: Archive, tmp_path: Path) -> None:
    item = constellr(archive, tmp_path)
    item["assets"] = {key: one for key, one in item["assets"].items() if not key.startswith("vnir")}
    with pytest.raises(InputError, match=r"as reflectance: no asset for the bands \['vnir03', 'vnir04'"):
        load("constellr", items=items(item))


def test_celsius_becomes_kelvin_and_other_units_are_refused(archive: Archive) -> None:
    root = str(archive.folder)
    for unit, message in (("celsius", None), ("W/m2", "has the unit 'W/m2'")):
        item = archive.landsat(root)
        item["assets"]["lwir11"]["raster:bands"][0] |= {"unit": unit, "offset": 149.0 - 273.15}
        given = items(item, archive.sentinel2(root))
        if message is None:
            pair = load("landsat-sentinel2", items=given)
            np.testing.assert_allclose(pair.lst.values, pair_of(archive).lst.values, atol=1e-4)
        else:
            with pytest.raises(UnitsError, match=message):
                load("landsat-sentinel2", items=given)


def test_a_grid_that_the_file_does_not_have_is_an_error(archive: Archive) -> None:
    root = str(archive.folder)
    item = archive.landsat(root)
    item["properties"]["proj:transform"][2] += 15
    pair = load("landsat-sentinel2", items=items(item, archive.sentinel2(root)))
    with pytest.raises(GridMismatchError, match=r"LC08_ST_B10\.TIF' lies on .* its item tells"):
        pair.lst.compute()


def test_missing_things_are_told_before_any_work(archive: Archive) -> None:
    root = str(archive.folder)
    item = archive.sentinel2(root)
    del item["assets"]["nir"]
    with pytest.raises(InputError, match=r"no asset for the bands \['nir'\].*it has green, red"):
        load("landsat-sentinel2", items=items(archive.landsat(root), item))
    with pytest.raises(InputError, match="no band 'nirr'; did you mean 'nir'"):
        pair_of(archive, bands=["nirr"])
    with pytest.raises(InputError, match=r"no reflectance within 0\.5 days.*1\.01 days away"):
        pair_of(archive, window_days=0.5)
    with pytest.raises(InputError, match=r"covers at most|does not meet the area"):
        pair_of(archive, area=(20.0, 40.0, 20.1, 40.1))
    with pytest.raises(InputError, match="give an area and a datetime"):
        load("landsat-sentinel2")
    for code, message in (
        (999999, "CRS or transform of its asset 'lwir11' cannot be read"),
        (4326, "on degrees"),
    ):
        thermal = archive.landsat(root)
        thermal["properties"]["proj:epsg"] = code
        with pytest.raises(InputError, match=message):
            load("landsat-sentinel2", items=items(thermal, archive.sentinel2(root)))
    thermal = archive.landsat(root)
    del thermal["assets"]["lwir11"]
    with pytest.raises(InputError, match="no thermal asset"):
        load("landsat-sentinel2", items=items(thermal, archive.sentinel2(root)))


def test_a_search_of_a_real_service_end_to_end(
    archive: Archive, files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from tests.sources.test_search import catalog_at

    caplog.set_level(logging.INFO)
    served = [
        archive.landsat(files.url),
        archive.sentinel2(files.url),
        archive.sentinel2(files.url, "S2A_cloudy", when="2023-07-02T10:20:00Z", eo__cloud_cover=90.0),
    ]
    with stac_api(served, tmp_path) as url:
        pair = load(catalog_at(tmp_path, url), archive.area(), "2023-07-01/2023-07-04")
    assert not [one for one in files.asked if one]
    assert [one.item for one in pair.unusable] == ["S2A_cloudy"]
    assert "cloud cover 90 %" in caplog.text
    local = pair_of(archive, area=archive.area())
    assert_same(pair, local)
    assert files.asked
    sharp = lstzoom.sharpen(**pair.inputs()).compute()
    assert np.isfinite(sharp.lst.values).mean() > 0.9


def test_the_demo_takes_what_others_take() -> None:
    with pytest.raises(ConfigError, match="chunks: Input should be greater"):
        load("demo", chunks=0)
    assert load("demo", bands="red").vnir.band.values.tolist() == ["red"]


def test_the_demo_needs_no_items() -> None:
    pair = load("demo", bands=["red", "nir"], chunks=64)
    assert pair.vnir.chunks is not None
    assert pair.vnir.band.values.tolist() == ["red", "nir"]
    assert pair.valid.values.all()


@pytest.mark.parametrize(
    "area", [(-180, -80, 180, 80), (-180, -90, 180, 90), (-170, 10, 190, 80), (-30, -70, 100, 70)]
)
def test_an_area_far_wider_than_the_scene_is_the_whole_scene(
    archive: Archive, area: tuple[float, float, float, float]
) -> None:
    assert_same(pair_of(archive, area=area), pair_of(archive))


def test_an_area_beside_the_files_is_an_error(archive: Archive) -> None:
    """A footprint may promise more than the files hold."""
    root = str(archive.folder)
    thermal, optical = archive.landsat(root), archive.sentinel2(root)
    for one in (thermal, optical):
        one["geometry"] = {
            "type": "Polygon",
            "coordinates": [[[0, 40], [20, 40], [20, 60], [0, 60], [0, 40]]],
        }
    with pytest.raises(InputError, match="the area of interest does not meet the LST grid"):
        load("landsat-sentinel2", (1, 41, 2, 42), items=items(thermal, optical))


def test_a_grid_around_a_pole_is_cut_to_an_area(archive: Archive, tmp_path: Path) -> None:
    """Polar stereographic; the area is a circle of latitude, whose corners in degrees are none there."""
    coarse, fine = (box(-3000.0, 3000.0, p, (int(6000 / p),) * 2, "EPSG:3413") for p in (30.0, 10.0))
    write_cog(tmp_path / "LC08_ST_B10.TIF", np.full(coarse.shape, 40000, np.uint16), coarse, nodata=0)
    write_cog(tmp_path / "LC08_QA_PIXEL.TIF", np.full(coarse.shape, 64, np.uint16), coarse)
    write_cog(tmp_path / "LC08_ST_QA.TIF", np.full(coarse.shape, 150, np.int16), coarse, nodata=-9999)
    for key in ("green", "red", "nir", "swir16", "swir22"):
        write_cog(tmp_path / f"S2_{key}.tif", np.full(fine.shape, 1000, np.uint16), fine, nodata=0)
    write_cog(tmp_path / "S2_SCL.tif", np.full(fine.shape, 4, np.uint8), fine, nodata=0)
    both = []
    for item, grid in ((archive.landsat(str(tmp_path)), coarse), (archive.sentinel2(str(tmp_path)), fine)):
        lat = 89.95
        item["geometry"] = {
            "type": "Polygon",
            "coordinates": [[[-180, lat], [180, lat], [180, 90], [-180, 90], [-180, lat]]],
        }
        for one in item["assets"].values():
            for name in ("proj:shape", "proj:transform"):
                one.pop(name, None)
        item["properties"] |= {
            "proj:epsg": 3413, "proj:shape": list(grid.shape), "proj:transform": list(grid.affine)[:6]
        }  # fmt: skip
        both.append(item)
    whole = load("landsat-sentinel2", items=items(*both))
    assert whole.lst.shape == coarse.shape
    # 0.02 degrees are about 2.2 km: the circle reaches so far from the pole in all directions.
    part = load("landsat-sentinel2", (-180, 89.98, 180, 90), items=items(*both))
    assert part.lst.shape == pytest.approx((2 * 2170 / 30, 2 * 2170 / 30), abs=4)
    assert np.isfinite(part.vnir.values).all()


def overlapping(archive: Archive, folder: Path) -> list[pystac.Item]:
    """Two items of one pass over the same ground, each of one number, with gaps in single bands."""
    fine = archive.scene.geobox
    made = [archive.landsat(str(archive.folder))]
    for number, name in ((1000, "S2A_a"), (3000, "S2A_b")):
        there = folder / name
        for key in ("green", "red", "nir"):
            values = np.full(fine.shape, number, np.uint16)
            if name == "S2A_a" and key == "red":
                values[40:80, 60:90] = 0
            if name == "S2A_a" and key == "nir":
                values[70:100, 30:70] = 0
            if name == "S2A_b" and key == "green":
                values[90:120, 20:50] = 0
            write_cog(there / f"S2_{key}.tif", values, fine, nodata=0)
        classes = np.full(fine.zoom_out(2).shape, 4, np.uint8)
        if name == "S2A_a":
            classes[60:70, 60:70] = 9
        write_cog(there / "S2_SCL.tif", classes, fine.zoom_out(2), nodata=0)
        item = archive.sentinel2(str(there), name, s2__generation_time="2024" if name == "S2A_a" else "2023")
        # Each has a strip of its own, so that both are taken.
        west, south, east, north = item["bbox"]
        strip = (east - west) / 10
        west, east = (west, east - strip) if name == "S2A_a" else (west + strip, east)
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        item["geometry"] = {"type": "Polygon", "coordinates": [ring]}
        made.append(item)
    return items(*made)


def test_a_pixel_is_of_one_acquisition_in_all_bands(archive: Archive, tmp_path: Path) -> None:
    """Items that overlap fill each other pixel by pixel, never band by band."""
    given = overlapping(archive, tmp_path)
    found = load("landsat-sentinel2", items=given, bands=["green", "red", "nir"])
    assert found.attrs["vnir_items"] == ["S2A_a", "S2A_b"]
    vnir = found.vnir.values
    mixed = (np.isclose(vnir, 0.1).any(axis=0)) & (np.isclose(vnir, 0.3).any(axis=0))
    assert not mixed.any()
    # Where either has all bands, the result has all bands.
    whole = np.isfinite(vnir).all(axis=0)
    assert whole[45, 65]
    assert whole[65 * 2 - 1, 65 * 2 - 1]
    # Where neither has, nothing is made up: the one of most bands, all of it of one item.
    assert np.isfinite(vnir[:, 95, 35]).sum() == 2
    chunked = load("landsat-sentinel2", items=given, bands=["green", "red", "nir"], chunks=17)
    np.testing.assert_array_equal(chunked.vnir.values, vnir)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"items": 5}, "items is 5; give STAC items, a list or collection of them"),
        ({"items": {"type": "Catalog"}}, "items is a dict of the type 'Catalog'; give STAC items"),
        ({"items": b"x"}, "items is b'x'; give STAC items"),
        ({"items": {"type": "FeatureCollection"}}, "item collection are None; a list is needed"),
        ({"items": []}, "there is no STAC item"),
        ({"catalog": 5}, "the catalog is 5; give the path"),
        ({"area": 5}, "the bounds are 5; give west, south, east, north"),
        ({"datetime": 5}, "the time 5 is no interval"),
        ({"datetime": [["a"], ["b"]]}, "cannot be read: give YYYY"),
        ({"endpoint": 5}, "endpoint: Input should be a valid string"),
        ({"bands": 5}, "bands: Input should be a valid tuple"),
        ({"bands": [5]}, r"bands\.0: Input should be a valid string"),
        ({"window_days": "x"}, "window_days: Input should be a valid number"),
        ({"window_days": -1}, "window_days: Input should be greater than or equal to 0"),
        ({"max_cloud": 101}, "max_cloud: Input should be less than or equal to 100"),
        ({"min_coverage": 3}, "min_coverage: Input should be less than or equal to 1"),
        ({"masks": {"dilate": 3}}, "masks.dilate: there is no such key; did you mean 'dilate_m'"),
        ({"ratio": 2.5}, "ratio: Input should be a valid integer"),
        ({"chunks": 0}, "chunks: Input should be greater than or equal to 1"),
        ({"allow": 5}, "allow: Input should be a valid tuple"),
        ({"lst_item": 5}, "lst_item: Input should be a valid string"),
        ({"folder": 5}, "folder: Input is not a valid path"),
    ],
    ids=str,
)
def test_arguments_of_the_wrong_kind_are_told(archive: Archive, wrong: dict[str, Any], message: str) -> None:
    root = str(archive.folder)
    given = {"catalog": "landsat-sentinel2", "items": [archive.landsat(root), archive.sentinel2(root)]}
    with pytest.raises(InputError, match=message):
        load(**{**given, **wrong})


def test_numbers_and_names_of_other_packages_are_taken(archive: Archive) -> None:
    pair = pair_of(archive, bands=np.array(["red", "nir"]), ratio=np.int64(3), chunks=np.int32(32))
    assert pair.vnir.band.values.tolist() == ["red", "nir"]
    assert pair.lst.chunks is not None
    assert pair.lst.chunks[0][0] == 32
    dilated = pair_of(archive, masks={"dilate_m": 60})
    np.testing.assert_array_equal(
        dilated.valid.values, pair_of(archive, masks=MaskOptions(dilate_m=60)).valid.values
    )


def test_a_catalogue_of_items_in_memory_is_taken(archive: Archive) -> None:
    held = pystac.Catalog("all", "items of a place")
    held.add_items(items(archive.landsat(str(archive.folder)), archive.sentinel2(str(archive.folder))))
    assert_same(load("landsat-sentinel2", items=held), pair_of(archive))

"""Real Landsat and ECOSTRESS files through the catalogues."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio

import lstzoom
from lstzoom.grid import grid_of
from lstzoom.raster import describe
from lstzoom.sources.loading import load
from lstzoom.stac import item_of
from tests.sources.archive import box, write_cog

ROOT = Path(os.environ.get("LSTZOOM_REAL_DATA", "nowhere"))
pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason="LSTZOOM_REAL_DATA is not set")


def landsat_item(folder: Path, quality: Path, name: str) -> pystac.Item:
    """Item that tells nothing but grids: encodings come from the catalogue."""
    files = [*folder.glob("*_SR_B?.tif"), *folder.glob("*_ST_B10.tif")]
    (thermal,) = folder.glob("*_ST_B10.tif")
    with rasterio.open(thermal) as file:
        codes = np.where(file.read(1) == 0, 1, 21824).astype(np.uint16)
        write_cog(quality, codes, describe(thermal)[0].geobox, nodata=1)
    item = item_of(name, datetime(2015, 12, 5, 16, tzinfo=UTC), {one.stem: describe(one) for one in files})
    item.properties["platform"] = "landsat-8"
    item.add_asset("qa_pixel", pystac.Asset(str(quality)))
    item.assets["qa_pixel"].extra_fields |= item.assets[thermal.stem].extra_fields
    return item


@pytest.mark.parametrize("scene", ["l8_momotombo", "l8_liverpool"])
def test_landsat_is_sharpened_with_its_own_bands(scene: str, tmp_path: Path) -> None:
    folder = ROOT / "landsat" / scene
    pair = load("landsat", items=[landsat_item(folder, tmp_path / "x_QA_PIXEL.TIF", scene)])
    (thermal,) = folder.glob("*_ST_B10.tif")
    with rasterio.open(thermal) as file:
        numbers = file.read(1).astype(float)
    rows, columns = (size // 3 for size in numbers.shape)
    kelvin = np.where(numbers == 0, np.nan, numbers * 0.00341802 + 149)[: rows * 3, : columns * 3]
    wanted = (kelvin.reshape(rows, 3, columns, 3) ** 4).mean((1, 3)) ** 0.25
    np.testing.assert_allclose(pair.lst.values, wanted, atol=1e-3)
    np.testing.assert_array_equal(pair.valid.values, np.isfinite(wanted))
    red = pair.vnir.sel(band="red").values
    assert -0.2 < np.nanmin(red) < np.nanmedian(red) < 0.5
    sharp = lstzoom.sharpen(**pair.inputs())
    assert grid_of(sharp.lst).affine.a == 30
    back = (sharp.lst.values.astype(float) ** 4).reshape(rows, 3, columns, 3).mean((1, 3)) ** 0.25
    given = np.isfinite(back)
    assert given.mean() > 0.97
    assert np.abs(back - wanted)[given].max() < 0.02


def test_ecostress_is_read_with_its_own_grid(tmp_path: Path) -> None:
    lst = next((ROOT / "ecostress").glob("*_LST.tif"))
    grid = describe(lst)[0].geobox
    item = item_of(
        lst.stem.removesuffix("_LST"), datetime(2024, 6, 17, 20, 50, tzinfo=UTC), {"a": describe(lst)}
    )
    # As NASA's items: no grid, keys that say nothing, files that do.
    item.assets["a"].extra_fields = {}
    write_cog(tmp_path / "x_QC.tif", np.zeros(grid.shape, np.uint16), grid)
    write_cog(tmp_path / "x_cloud.tif", np.zeros(grid.shape, np.uint8), grid)
    item.add_asset("b", pystac.Asset(str(tmp_path / "x_QC.tif")))
    item.add_asset("c", pystac.Asset(str(tmp_path / "x_cloud.tif")))
    fine = box(grid.affine.c, grid.affine.f, 10.0, (700, 700), "EPSG:32611")
    numbers = np.full(fine.shape, 3000, np.uint16)
    names = ("B03", "B04", "B08", "B11", "B12")
    for name in names:
        write_cog(tmp_path / f"T11SPS_{name}.tif", numbers, fine, nodata=0)
    write_cog(tmp_path / "T11SPS_SCL.tif", np.full(fine.shape, 4, np.uint8), fine, nodata=0)
    files = {name: describe(tmp_path / f"T11SPS_{name}.tif") for name in (*names, "SCL")}
    optics = item_of("S2", datetime(2024, 6, 18, 18, tzinfo=UTC), files)
    pair = load("ecostress-sentinel2", items=[item, optics])
    assert pair.lst.shape == (100, 100)
    assert pair.vnir.shape == (5, 700, 700)
    with rasterio.open(lst) as file:
        np.testing.assert_array_equal(pair.lst.values, file.read(1)[:100, :100])
    # No baseline is told, and the day is after that of 04.00.
    assert float(pair.vnir.values[0, 0, 0]) == pytest.approx(0.2, abs=1e-6)

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401
from affine import Affine
from dask.base import tokenize
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from lstzoom.errors import GridMismatchError, InputError, UnitsError
from lstzoom.grid import GridPair, grid_of, resolve_grids
from lstzoom.raster import (
    LazyRaster,
    LazyStack,
    describe,
    open_lst,
    open_mask,
    open_stack,
)

UTM = "EPSG:32631"
GRID = GeoBox((60, 80), Affine(10, 0, 500_000, 0, -10, 4_000_000), UTM)
REAL = Path(os.environ.get("LSTZOOM_REAL_DATA", "/nonexistent"))
needs_real_data = pytest.mark.skipif(
    not REAL.is_dir(), reason="LSTZOOM_REAL_DATA does not name the folder of real imagery"
)


def save(
    path: Path,
    values: NDArray[Any],
    grid: GeoBox = GRID,
    *,
    nodata: float | None = None,
    descriptions: tuple[str, ...] = (),
    scale: float = 1.0,
    offset: float = 0.0,
    units: str = "",
    **options: Any,
) -> Path:
    """Write a GeoTIFF with rasterio alone."""
    values = values if values.ndim == 3 else values[np.newaxis]
    count, height, width = values.shape
    profile = {"driver": "GTiff", "dtype": values.dtype, "crs": str(grid.crs), **options}
    with rasterio.open(
        path,
        "w",
        width=width,
        height=height,
        count=count,
        transform=grid.affine,
        nodata=nodata,
        **profile,
    ) as dataset:
        dataset.write(values)
        if descriptions:
            dataset.descriptions = descriptions
        if (scale, offset) != (1.0, 0.0):
            dataset.scales, dataset.offsets = (scale,) * count, (offset,) * count
        if units:
            dataset.units = (units,) * count
    return path


def noise(grid: GeoBox = GRID, seed: int = 0, missing: float = 0.05) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    values = rng.normal(300, 10, grid.shape).astype(np.float32)
    values[rng.random(values.shape) < missing] = np.nan
    return values


def box(step: float, x: float, y: float, rows: int, columns: int, *, crs: str = UTM) -> GeoBox:
    return GeoBox((rows, columns), Affine(step, 0, x, 0, -step, y), crs)


def whole(path: Path, grid: GeoBox) -> NDArray[np.float32]:
    (source,) = describe(path)
    return LazyRaster(source, grid)[:, :]


def east_zone_grid() -> GeoBox:
    """Return a grid of the next UTM zone that lies inside of GRID's ground."""
    there = box(10, 700_000, 4_000_000, 60, 80)
    x, y = there.crs.transformer_to_crs("EPSG:32632")(700_250.0, 3_999_800.0)  # type: ignore[union-attr]
    return box(7, round(x), round(y), 31, 43, crs="EPSG:32632")


# Header


def test_describe_reads_every_band(tmp_path: Path) -> None:
    values = np.ones((2, *GRID.shape), np.uint16)
    path = save(tmp_path / "a.tif", values, nodata=7, descriptions=("red", "nir"), scale=0.1,
                offset=-2, units="1")  # fmt: skip
    red, nir = describe(path)
    assert (red.band, red.description, nir.band, nir.description) == (1, "red", 2, "nir")
    assert (red.scale, red.offset, red.nodata, red.units) == (0.1, -2.0, 7.0, "1")
    assert red.geobox == GRID
    assert describe(path, nodata=0)[0].nodata == 0


def test_sources_pickle_and_tokenize_alike_in_other_processes(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", noise())
    lazy = LazyRaster(describe(path)[0], GRID)
    copy = pickle.loads(pickle.dumps(lazy))  # noqa: S301
    assert copy == lazy
    assert tokenize(copy) == tokenize(lazy) == tokenize(LazyRaster(describe(path)[0], GRID))
    assert tokenize(lazy) != tokenize(LazyRaster(describe(path, nodata=3)[0], GRID))
    assert tokenize(lazy) != tokenize(LazyRaster(lazy.source, box(20, 5e5, 4e6, 3, 3)))
    os.utime(path, ns=(1, 1))
    assert tokenize(lazy) != tokenize(LazyRaster(describe(path)[0], GRID))


def test_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot open the raster .*absent\.tif"):
        describe(tmp_path / "absent.tif")
    text = tmp_path / "text.tif"
    text.write_text("no raster")
    with pytest.raises(InputError, match="cannot open the raster"):
        describe(text)
    no_crs = tmp_path / "no_crs.tif"
    with rasterio.open(no_crs, "w", driver="GTiff", width=2, height=2, count=1, dtype="uint8",
                       transform=GRID.affine):  # fmt: skip
        pass
    with pytest.raises(GridMismatchError, match="has no CRS"):
        describe(no_crs)
    turned = GeoBox((5, 5), Affine(9, 3, 0, 3, -9, 0), UTM)
    with pytest.raises(GridMismatchError, match="rotated or sheared"):
        describe(save(tmp_path / "turned.tif", np.ones((5, 5), np.uint8), turned))
    with pytest.raises(InputError, match="complex64; real numbers"):
        describe(save(tmp_path / "complex.tif", np.ones((60, 80), np.complex64)))


# Values


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("uint16", 0), ("uint16", 65535), ("int16", -9999), ("float32", -9999.0),
     ("float32", -3.40282e38), ("float64", -1.797e308), ("float32", float("nan"))],
)  # fmt: skip
def test_nodata_of_any_value_is_missing(tmp_path: Path, dtype: str, nodata: float) -> None:
    values = np.full(GRID.shape, 20, dtype)
    values[3, 5] = np.array(nodata, dtype)
    got = whole(save(tmp_path / "a.tif", values, nodata=nodata), GRID)
    expected = np.full(GRID.shape, 20, np.float32)
    expected[3, 5] = np.nan
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, expected)


def test_infinity_is_missing(tmp_path: Path) -> None:
    values = np.full(GRID.shape, 20.0)
    values[0, :3] = [np.inf, -np.inf, 1e300]
    got = whole(save(tmp_path / "a.tif", values), GRID)
    assert np.isnan(got[0, :3]).all()
    assert np.isfinite(got).sum() == got.size - 3


def test_scale_applies_after_nodata(tmp_path: Path) -> None:
    values = np.full(GRID.shape, 1000, np.uint16)
    # 0 is nodata as stored; 50 becomes 0.0 by scaling and is a value.
    values[0, 0], values[0, 1] = 0, 50
    got = whole(save(tmp_path / "a.tif", values, nodata=0, scale=0.02, offset=-1), GRID)
    assert np.isnan(got[0, 0])
    np.testing.assert_allclose(got[0, 1:3], [0.0, 19.0], atol=1e-6)


def test_mask_band_is_honoured(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", np.full(GRID.shape, 5, np.uint8))
    mask = np.full(GRID.shape, 255, np.uint8)
    mask[2, 3] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    got = whole(path, GRID)
    assert np.isnan(got[2, 3])
    assert np.isfinite(got).sum() == got.size - 1


def test_alpha_band_masks_and_is_no_band(tmp_path: Path) -> None:
    values = np.full((2, *GRID.shape), 200, np.uint8)
    values[1, 4, 4] = 0
    path = save(tmp_path / "a.tif", values, photometric="MINISBLACK", alpha="YES")
    assert len(describe(path)) == 1
    got = whole(path, GRID)
    assert np.isnan(got[4, 4])
    assert np.isfinite(got).sum() == got.size - 1


# Geometry


def test_read_on_the_own_grid_is_exact_in_spite_of_rounding(tmp_path: Path) -> None:
    values = noise()
    path = save(tmp_path / "a.tif", values)
    a = GRID.affine
    near = GeoBox(GRID.shape, Affine(10 + 1e-12, 0, a.c - 1e-9, 0, -10 - 1e-12, a.f), UTM)
    np.testing.assert_array_equal(whole(path, GRID), values)
    np.testing.assert_array_equal(whole(path, near), values)


def test_a_hundredth_of_a_pixel_is_copied_and_more_is_interpolated(tmp_path: Path) -> None:
    values = noise(missing=0)
    path = save(tmp_path / "a.tif", values)
    np.testing.assert_array_equal(whole(path, box(10, 500_000.05, 4_000_000, 60, 80)), values)
    moved = whole(path, box(10, 500_001, 4_000_000, 60, 80))
    expected = 0.9 * values[:, :-1] + 0.1 * values[:, 1:]
    np.testing.assert_allclose(moved[:, :-1], expected, rtol=1e-6)


def test_outside_of_the_file_is_missing(tmp_path: Path) -> None:
    values = noise()
    path = save(tmp_path / "a.tif", values)
    got = whole(path, GRID.pad(7))
    np.testing.assert_array_equal(got[7:-7, 7:-7], values)
    assert np.isnan(got[:7]).all()
    assert np.isnan(got[:, -7:]).all()
    assert np.isnan(whole(path, box(10, 9e5, 1e6, 4, 4))).all()


def test_integer_coarser_aligned_source_is_repeated(tmp_path: Path) -> None:
    coarse = box(30, 500_000, 4_000_000, 20, 27)
    values = noise(coarse)
    repeated = values.repeat(3, axis=0).repeat(3, axis=1)
    got = whole(save(tmp_path / "a.tif", values, coarse), GridPair(coarse, 3).fine)
    np.testing.assert_array_equal(got, repeated)


def test_coarser_source_off_the_grid_is_interpolated(tmp_path: Path) -> None:
    coarse = box(30, 499_985, 4_000_045, 40, 40)
    column, row = np.meshgrid(np.arange(40) + 0.5, np.arange(40) + 0.5)
    plane = (2 * column - 3 * row).astype(np.float32)
    got = whole(save(tmp_path / "a.tif", plane, coarse), GRID)
    x = (500_000 + 10 * (np.arange(80) + 0.5) - 499_985) / 30
    y = (4_000_045 - 4_000_000 + 10 * (np.arange(60) + 0.5)) / 30
    np.testing.assert_allclose(got, 2 * x - 3 * y[:, np.newaxis], atol=1e-4)


def test_finer_source_is_averaged_without_overviews(tmp_path: Path) -> None:
    fine = box(2, 500_000, 4_000_000, 300, 400)
    values = np.random.default_rng(0).integers(0, 2000, fine.shape).astype(np.uint16)
    path = save(tmp_path / "a.tif", values, fine, tiled=True, blockxsize=64, blockysize=64)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4], rasterio.enums.Resampling.nearest)
    expected = values.reshape(60, 5, 80, 5).mean(axis=(1, 3))
    np.testing.assert_allclose(whole(path, GRID), expected, rtol=1e-6)


def test_missing_pixels_do_not_bleed(tmp_path: Path) -> None:
    shifted_grid = box(10, 500_004, 4_000_003, 60, 80)
    values = np.full(GRID.shape, 20.0, np.float32)
    values[20:25, 30:35] = -9999
    got = whole(save(tmp_path / "a.tif", values, nodata=-9999), shifted_grid)
    assert np.unique(got[np.isfinite(got)]).tolist() == [20.0]
    # The block of 25 stays 25: neither grown nor shrunk.
    assert np.isnan(got[1:, :-1]).sum() == 25


def test_south_up_file_is_turned(tmp_path: Path) -> None:
    values = noise()
    a = GRID.affine
    south_up = GeoBox(GRID.shape, Affine(10, 0, a.c, 0, 10, a.f - 600), UTM)
    path = save(tmp_path / "a.tif", values[::-1], south_up)
    assert describe(path)[0].geobox == GRID
    lazy = LazyRaster(describe(path)[0], GRID)
    np.testing.assert_array_equal(lazy[:, :], values)
    np.testing.assert_array_equal(lazy[7:19, 3:11], values[7:19, 3:11])


def test_across_crs_agrees_with_exact_positions(tmp_path: Path) -> None:
    source = box(10, 700_000, 4_000_000, 60, 80)
    column, row = np.meshgrid(np.arange(80) + 0.5, np.arange(60) + 0.5)
    plane = (column + 100 * row).astype(np.float32)
    target = east_zone_grid()
    got = whole(save(tmp_path / "a.tif", plane, source), target)
    x = target.affine.c + 7 * (np.arange(43) + 0.5)
    y = target.affine.f - 7 * (np.arange(31) + 0.5)
    with rasterio.Env():
        from rasterio.warp import transform

        xs, ys = transform("EPSG:32632", UTM, np.tile(x, 31), np.repeat(y, 43))
    expected = (np.array(xs) - 700_000) / 10 + 100 * (4_000_000 - np.array(ys)) / 10
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got.ravel(), expected, atol=2e-2)


def test_across_crs_finer_source_is_averaged(tmp_path: Path) -> None:
    source = box(1, 700_000, 4_000_000, 600, 800)
    values = np.random.default_rng(0).normal(size=source.shape).astype(np.float32)
    got = whole(save(tmp_path / "a.tif", values, source), east_zone_grid())
    # A mean of 49 independent values has 1/7 of their spread; sampling would keep it.
    assert np.isfinite(got).all()
    assert 0.12 < got.std() < 0.17


CASES = {
    "own grid": (box(10, 500_000, 4_000_000, 60, 80), GRID),
    "repeated": (box(30, 500_000, 4_000_000, 20, 27), GRID),
    "shifted": (box(10, 499_995, 4_000_005, 70, 70), GRID),
    "coarser": (box(27.3, 499_900, 4_000_100, 30, 30), GRID),
    "finer": (box(3.7, 500_011, 3_999_987, 120, 160), GRID),
    "other crs": (box(10, 700_000, 4_000_000, 60, 80), east_zone_grid()),
    "other crs, finer": (box(2.5, 700_000, 4_000_000, 200, 300), east_zone_grid()),
    "degrees": (box(1e-4, 3.0, 36.15, 70, 110, crs="EPSG:4326"), GRID),
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[LazyRaster, Any]]:
    folder = tmp_path_factory.mktemp("cases")
    lazy = {
        name: LazyRaster(describe(save(folder / f"{k}.tif", noise(source), source))[0], target)
        for k, (name, (source, target)) in enumerate(CASES.items())
    }
    return {name: (one, one[:, :]) for name, one in lazy.items()}


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_window_equals_the_same_part_of_the_whole(
    cases: dict[str, tuple[LazyRaster, Any]], name: str, data: st.DataObject
) -> None:
    lazy, full = cases[name]
    assert np.isfinite(full).mean() > 0.3
    rows, columns = (
        slice(*sorted(data.draw(st.tuples(st.integers(0, size), st.integers(0, size)))))
        for size in lazy.shape
    )
    np.testing.assert_array_equal(lazy[rows, columns], full[rows, columns])


def test_large_reads_are_split_without_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fine = box(3.7, 500_011, 3_999_987, 120, 160)
    path = save(tmp_path / "a.tif", noise(fine), fine)
    full = whole(path, GRID)
    monkeypatch.setattr("lstzoom.raster._MAX_SOURCE_PIXELS", 3000)
    np.testing.assert_array_equal(whole(path, GRID), full)


def test_large_windows_across_crs_are_split_without_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = box(10, 700_000, 4_000_000, 60, 80)
    path = save(tmp_path / "a.tif", noise(source), source)
    full = whole(path, east_zone_grid())
    monkeypatch.setattr("lstzoom.raster._MAX_POINTS", 100)
    np.testing.assert_array_equal(whole(path, east_zone_grid()), full)


def test_only_the_window_is_read_however_large_the_grid(tmp_path: Path) -> None:
    values = noise()
    path = save(tmp_path / "a.tif", values)
    # 160 GB as a whole.
    stack = open_stack(path, GRID.pad(100_000), chunks=1000)
    got = stack[0, 100_010:100_030, 99_990:100_010].values
    assert np.isnan(got[:, :10]).all()
    np.testing.assert_array_equal(got[:, 10:], values[10:30, :10])


@pytest.mark.parametrize(
    "key",
    [
        (0,),
        (-1, slice(3, 9), 7),
        (slice(None), slice(None, None, 3), slice(70, 5, -2)),
        ([2, 0], slice(5, 6), slice(4, 4)),
        (..., 79),
        (slice(1, None), [59, 3, 3], slice(-7, None)),
    ],
)
def test_slicing_of_a_stack_is_that_of_its_values(tmp_path: Path, key: tuple[Any, ...]) -> None:
    values = np.stack([noise(seed=seed) for seed in range(3)])
    path = save(tmp_path / "a.tif", values)
    # dask hands all of these on to the reader.
    np.testing.assert_array_equal(open_stack(path, GRID, chunks=30).data[key], values[key])
    lazy = LazyStack(describe(path), GRID)
    np.testing.assert_array_equal(lazy[key], values[key])


def test_slicing_of_a_raster_is_that_of_its_values(tmp_path: Path) -> None:
    values = noise()
    lazy = LazyRaster(describe(save(tmp_path / "a.tif", values))[0], GRID)
    keys: list[Any] = [5, (5, 7), (slice(2, 9, 2), -1), (slice(None), [4, 1])]
    for key in [*keys, (..., slice(9, 3, -1))]:
        np.testing.assert_array_equal(lazy[key], values[key])
    with pytest.raises(IndexError):
        lazy[60]


# Failures


def test_truncated_file_raises_with_file_and_window(tmp_path: Path) -> None:
    grid = box(10, 500_000, 4_000_000, 600, 600)
    path = save(tmp_path / "cut.tif", noise(grid), grid, tiled=True, blockxsize=256,
                blockysize=256, compress="deflate")  # fmt: skip
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    (source,) = describe(path)
    with pytest.raises(InputError, match=r"cut\.tif' in the window rows 0\.\.600, columns 0\.\.60") as caught:
        LazyRaster(source, grid)[:, :]
    # What GDAL said, and not rasterio's pointer to it.
    assert "failed at X offset" in str(caught.value)
    assert "previous exception" not in str(caught.value)


def test_file_removed_after_opening_raises(tmp_path: Path) -> None:
    path = save(tmp_path / "gone.tif", noise())
    stack = open_stack(path, GRID)
    path.unlink()
    with pytest.raises(InputError, match=r"gone\.tif"):
        stack.compute()


def test_target_without_crs_is_refused(tmp_path: Path) -> None:
    (source,) = describe(save(tmp_path / "a.tif", noise()))
    with pytest.raises(GridMismatchError, match="no CRS"):
        LazyStack((source,), GeoBox((3, 3), GRID.affine, None))


# Stacks


def test_stack_of_files_of_different_resolution(tmp_path: Path) -> None:
    coarse = box(20, 500_000, 4_000_000, 30, 40)
    ten, twenty = noise(seed=1), noise(coarse, seed=2)
    paths = [save(tmp_path / "B04.tif", ten), save(tmp_path / "B11.tif", twenty, coarse)]
    stack = open_stack(paths, GRID, chunks=32)
    assert stack.dims == ("band", "y", "x")
    assert stack.dtype == np.float32
    assert stack.band.values.tolist() == ["B04", "B11"]
    assert stack.attrs["native_resolution"] == [10.0, 20.0]
    assert stack.chunks == ((2,), (32, 28), (32, 32, 16))
    got = stack.compute(scheduler="threads")
    np.testing.assert_array_equal(got[0], ten)
    np.testing.assert_array_equal(got[1], twenty.repeat(2, axis=0).repeat(2, axis=1))
    assert grid_of(stack) == GRID
    assert stack.rio.crs.to_epsg() == 32631
    assert stack.rio.transform() == GRID.affine


def test_stack_is_one_task_per_chunk(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", np.ones((4, *GRID.shape), np.uint8))
    stack = open_stack(path, GRID, chunks=(20, 40))
    (optimized,) = dask.optimize(stack.data)
    assert len(dict(optimized.dask)) == 6


def test_stack_takes_bands_by_number(tmp_path: Path) -> None:
    values = np.arange(3, dtype=np.uint8)[:, np.newaxis, np.newaxis] + np.zeros((1, 60, 80), "u1")
    path = save(tmp_path / "a.tif", values, descriptions=("blue", "green", "red"))
    stack = open_stack(path, GRID, bands=[3, 1])
    assert stack.band.values.tolist() == ["red", "blue"]
    assert stack.mean(("y", "x")).values.tolist() == [2.0, 0.0]
    with pytest.raises(InputError, match=r"has no band \[4\]; it has \[1, 2, 3\]"):
        open_stack(path, GRID, bands=[4])


def test_band_names_are_unique(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    plain, named = np.ones((2, 60, 80), np.uint8), np.ones((1, 60, 80), np.uint8)
    paths = [
        save(tmp_path / "a.tif", plain),
        save(tmp_path / "b.tif", named, descriptions=("red",)),
        save(tmp_path / "c.tif", named, descriptions=("red",)),
        save(tmp_path / "other" / "c.tif", named, descriptions=("red",)),
    ]
    names = open_stack(paths, GRID).band.values.tolist()
    assert names == ["a_1", "a_2", "b_red", "c_red", "c_red_2"]


def test_nodata_override_applies_to_every_band(tmp_path: Path) -> None:
    values = np.full((2, *GRID.shape), 5, np.int16)
    values[1, 0, 0] = -1
    path = save(tmp_path / "a.tif", values, nodata=5)
    got = open_stack(path, GRID, nodata=-1).compute()
    assert np.isnan(got).sum() == 1
    assert np.isnan(got[1, 0, 0])


def test_no_file_is_refused() -> None:
    with pytest.raises(InputError, match="no band was given"):
        open_stack([], GRID)


# LST


def test_kelvin_are_kept(tmp_path: Path) -> None:
    values = noise()
    lst = open_lst(save(tmp_path / "lst.tif", values), chunks=32)
    np.testing.assert_array_equal(lst.values, values)
    assert lst.attrs["units"] == "K"
    assert lst.chunks == ((32, 28), (32, 32, 16))
    assert grid_of(lst) == GRID


@pytest.mark.parametrize(("units", "tag"), [("C", ""), ("auto", "degC"), ("auto", "°C")])
def test_celsius_becomes_kelvin(tmp_path: Path, units: Any, tag: str) -> None:  # noqa: ANN401
    values = noise() - np.float32(273.15)
    lst = open_lst(save(tmp_path / "lst.tif", values, units=tag), units=units)
    np.testing.assert_allclose(lst.values, values + 273.15, rtol=1e-6)


def test_celsius_with_scale_becomes_kelvin(tmp_path: Path) -> None:
    values = np.full(GRID.shape, 2500, np.int16)
    values[0, 0] = -9999
    path = save(tmp_path / "lst.tif", values, nodata=-9999, scale=0.01, units="Celsius")
    lst = open_lst(path).values
    assert np.isnan(lst[0, 0])
    np.testing.assert_allclose(lst[1:], 298.15, rtol=1e-6)


@pytest.mark.parametrize("units", ["auto", "K"])
def test_values_that_cannot_be_kelvin_name_the_switch(tmp_path: Path, units: Any) -> None:  # noqa: ANN401
    path = save(tmp_path / "lst.tif", noise() - np.float32(273.15))
    with pytest.raises(UnitsError, match=r"cannot be kelvin.*pass --lst-units C"):
        open_lst(path, units=units)


def test_reflectance_in_the_place_of_lst_is_told_the_order(tmp_path: Path) -> None:
    path = save(tmp_path / "red.tif", (noise() - 290) / 100 % 1)
    with pytest.raises(UnitsError, match=r"look like reflectance: LST comes first, then VNIR"):
        open_lst(path)


def test_kelvin_called_celsius_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnitsError, match=r"cannot be degrees Celsius.*pass --lst-units K"):
        open_lst(save(tmp_path / "lst.tif", noise()), units="C")


def test_stored_numbers_without_scale_are_refused_until_it_is_given(tmp_path: Path) -> None:
    path = save(tmp_path / "st.tif", np.full(GRID.shape, 44000, np.uint16), nodata=0)
    with pytest.raises(UnitsError, match="give scale and offset"):
        open_lst(path)
    lst = open_lst(path, scale=0.00341802, offset=149)
    np.testing.assert_allclose(lst.values, 44000 * 0.00341802 + 149, rtol=1e-6)


def test_units_are_found_where_little_is_valid(tmp_path: Path) -> None:
    grid = box(30, 500_000, 4_000_000, 700, 400)
    values = np.full(grid.shape, np.nan, np.float32)
    values[300, 50] = 20.0
    with pytest.raises(UnitsError, match="median 20"):
        open_lst(save(tmp_path / "lst.tif", values, grid))


def test_scene_without_valid_pixels_is_opened_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lst = open_lst(save(tmp_path / "lst.tif", np.full(GRID.shape, np.nan, np.float32)))
    assert np.isnan(lst.values).all()
    assert "no valid pixel" in caplog.text


# Masks


def test_mask_marks_what_is_not_zero_as_unusable(tmp_path: Path) -> None:
    values = np.zeros(GRID.shape, np.uint8)
    values[0, :4] = [1, 2, 255, 0]
    valid = open_mask(save(tmp_path / "m.tif", values, nodata=255), GRID.pad(1), chunks=16)
    assert valid.dtype == np.bool_
    assert valid.values[1, 1:6].tolist() == [False, False, False, True, True]
    assert not valid.values[0].any()
    assert int(valid.sum()) == 60 * 80 - 3
    assert grid_of(valid) == GRID.pad(1)


def test_mask_with_listed_clear_values(tmp_path: Path) -> None:
    values = np.zeros(GRID.shape, np.uint16)
    values[0, :3] = [21824, 21952, 3]
    valid = open_mask(save(tmp_path / "m.tif", values), GRID, clear_values=[21824, 21952])
    assert int(valid.sum()) == 2
    assert valid.values[0, :2].all()


def test_mask_with_zero_as_nodata_needs_a_word(tmp_path: Path) -> None:
    values = np.zeros(GRID.shape, np.uint8)
    values[5] = 1
    path = save(tmp_path / "m.tif", values, nodata=0)
    with pytest.raises(InputError, match="--mask-clear 0"):
        open_mask(path, GRID)
    assert int(open_mask(path, GRID, clear_values=[0]).sum()) == 59 * 80


@pytest.mark.parametrize("factor", [3, 1 / 2])
def test_mask_is_read_nearest_from_coarse_and_fine(tmp_path: Path, factor: float) -> None:
    other = GRID.zoom_out(factor)
    values = np.random.default_rng(0).integers(0, 4, other.shape).astype(np.uint8)
    valid = open_mask(save(tmp_path / "m.tif", values, other), GRID).values
    rows = np.floor((np.arange(60) + 0.5) / factor).astype(int)
    columns = np.floor((np.arange(80) + 0.5) / factor).astype(int)
    np.testing.assert_array_equal(valid, values[np.ix_(rows, columns)] == 0)


# Real imagery


@needs_real_data
@pytest.mark.parametrize(
    "case", sorted(path.parent.name for path in REAL.glob("cases/*/vnir.tif")) or ["none"]
)
def test_real_cases_are_read_bit_for_bit(case: str) -> None:
    folder = REAL / "cases" / case
    lst = open_lst(folder / "coarse_lst.tif")
    bands = describe(folder / "vnir.tif")
    pair = resolve_grids(grid_of(lst), [bands[0].geobox])
    assert pair.ratio == 3
    stack = open_stack(folder / "vnir.tif", pair.fine)
    with rasterio.open(folder / "vnir.tif") as dataset:
        np.testing.assert_array_equal(stack.values, dataset.read())
    with rasterio.open(folder / "coarse_lst.tif") as dataset:
        np.testing.assert_array_equal(lst.values, dataset.read(1))


@needs_real_data
def test_real_landsat_needs_its_scale() -> None:
    (path,) = REAL.glob("landsat/l8_momotombo/*ST_B10.*")
    with pytest.raises(UnitsError, match=r"0.00341802 and 149"):
        open_lst(path)
    lst = open_lst(path, scale=0.00341802, offset=149).values
    assert 230 < np.nanmin(lst) < np.nanmax(lst) < 380
    assert int(np.isnan(lst).sum()) == 48


@needs_real_data
def test_real_float64_with_a_huge_nodata() -> None:
    path = next(iter(REAL.glob("landsat/l8_sanjuan/*_band10.tif")))
    (source,) = describe(path)
    got = LazyRaster(source, source.geobox)[:, :]
    assert np.nanmin(got) > 0
    assert np.isfinite(got).any()


def test_files_that_stay_open_are_closed_before_the_interpreter_ends(tmp_path: Path) -> None:
    """On Python 3.12 each that is not prints "Error in sys.excepthook" at the end of a run."""
    path = save(tmp_path / "a.tif", noise())
    code = (
        "import atexit, sys\n"
        "def told(): print(*(file.dataset.closed for file in raster._FILES._files.values()))\n"
        "atexit.register(told)\n"  # What is registered first is called last.
        "from lstzoom import raster\n"
        "raster.open_lst(sys.argv[1], units='K').values\n"
        "assert not any(file.dataset.closed for file in raster._FILES._files.values())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True\n", "")

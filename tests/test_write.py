from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rio_cogeo import cog_validate

from lstzoom.cube import write_region
from lstzoom.errors import EncodingError, InputError
from lstzoom.grid import grid_of
from lstzoom.kernels.aggregate import area_mean_radiance
from lstzoom.raster import open_lst
from lstzoom.write import (
    FLOAT32,
    QA,
    UINT16,
    CogSink,
    Encoding,
    ZarrSink,
    ZarrVariable,
)

GRID = GeoBox((1100, 1300), Affine(10, 0, 500_000, 0, -10, 4_000_000), "EPSG:32631")
SMALL = GeoBox((70, 90), GRID.affine, GRID.crs)
VARIABLES = {
    "lst": ZarrVariable.of(UINT16, units="K", long_name="land surface temperature"),
    "exact": ZarrVariable.of(FLOAT32, units="K"),
    "qa": ZarrVariable.of(QA, flag_values=np.arange(3, dtype=np.uint8), nodata=float("nan")),
}


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def field(grid: GeoBox = GRID, missing: float = 0.02) -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    rows, columns = grid.shape
    values = 290 + 20 * np.sin(np.arange(columns) / 90) + np.arange(rows)[:, np.newaxis] / 100
    values[rng.random(values.shape) < missing] = np.nan
    return values.astype(np.float32)


def windows(grid: GeoBox, step: int) -> list[tuple[slice, slice]]:
    rows, columns = grid.shape
    return [
        (slice(y, min(y + step, rows)), slice(x, min(x + step, columns)))
        for y in range(0, rows, step)
        for x in range(0, columns, step)
    ]


def write_cog(path: Path, values: NDArray[Any], grid: GeoBox, **options: Any) -> None:
    with CogSink(path, grid, **options) as sink:
        for window in windows(grid, 300):
            sink.write(values[window], window)


def zarr_blocks(values: NDArray[np.float32], window: tuple[slice, slice]) -> dict[str, Any]:
    block = values[window]
    return {"lst": block, "exact": block, "qa": np.isnan(block).astype(np.uint8)}


def write_zarr(path: Path, values: NDArray[np.float32], **options: Any) -> None:
    with ZarrSink(path, SMALL, VARIABLES, tile=32, chunk=16, **options) as sink:
        for window in windows(SMALL, 32):
            sink.write(zarr_blocks(values, window), window)


# Encodings


@given(st.lists(st.floats(0, 655.34), min_size=1))
def test_uint16_keeps_kelvin_to_half_a_step(kelvin: list[float]) -> None:
    values = np.array(kelvin)
    stored = UINT16.encode(values)
    assert stored.dtype == np.uint16
    assert (stored != 65535).all()
    np.testing.assert_allclose(stored * 0.01, values, atol=0.005 + 1e-9)


def test_missing_becomes_nodata() -> None:
    assert UINT16.encode(np.array([np.nan, 300.0])).tolist() == [65535, 30000]
    assert UINT16.limits == pytest.approx((0.0, 655.34))


@pytest.mark.parametrize("bad", [-0.01, 655.35, 700.0, np.inf, -np.inf])
def test_values_that_do_not_fit_are_counted_and_never_wrapped(bad: float) -> None:
    with pytest.raises(EncodingError, match=r"1 values do not fit .*0 to 655.34") as error:
        UINT16.encode(np.array([300, bad, np.nan], np.float32))
    assert f"{np.float32(bad):.6g}" in str(error.value)
    assert "--encoding float32" in str(error.value)


def test_flags_have_no_missing_value() -> None:
    flags = np.array([0, 5], np.uint8)
    assert QA.encode(flags) is flags
    with pytest.raises(EncodingError, match="1 pixels are missing"):
        QA.encode(np.array([1, np.nan]))
    with pytest.raises(EncodingError, match="holds 0 to 255: they run from 256 to 256"):
        QA.encode(np.array([256]))


# COG


@pytest.mark.parametrize("encoding", [UINT16, FLOAT32])
@pytest.mark.parametrize("compress", ["deflate", "zstd"])
def test_cog_is_strictly_valid_and_reads_back(tmp_path: Path, encoding: Encoding, compress: str) -> None:
    path, values = tmp_path / "lst.tif", field()
    write_cog(path, values, GRID, encoding=encoding, compress=compress,
              tags={"method": "lstzoom", "inputs": "a.tif"})  # fmt: skip
    valid, errors, warnings = cog_validate(path, strict=True)
    assert (valid, errors, warnings) == (True, [], [])
    assert names_in(tmp_path) == ["lst.tif"]
    step = 0.005 if encoding is UINT16 else 0.0
    with rasterio.open(path) as dataset:
        assert dataset.compression.name == compress
        assert dataset.block_shapes == [(512, 512)]
        assert dataset.overviews(1) == [2, 4]
        assert dataset.descriptions == ("LST",)
        assert dataset.units == ("K",)
        assert dataset.transform == GRID.affine
        assert dataset.crs.to_epsg() == 32631
        assert dataset.tags()["method"] == "lstzoom"
        assert (dataset.scales, dataset.offsets) == ((encoding.scale,), (0.0,))
        stored = dataset.read(1, masked=True)
    np.testing.assert_array_equal(np.ma.getmaskarray(stored), np.isnan(values))
    decoded = stored.filled(0).astype(np.float64) * encoding.scale
    np.testing.assert_allclose(decoded[~stored.mask], values[~stored.mask], atol=step + 1e-4)
    lst = open_lst(path)
    assert grid_of(lst) == GRID
    np.testing.assert_allclose(lst.values, values, atol=step + 1e-4)


def test_cog_reads_back_with_rioxarray(tmp_path: Path) -> None:
    path, values = tmp_path / "lst.tif", field(SMALL)
    write_cog(path, values, SMALL)
    opened = rioxarray.open_rasterio(path, mask_and_scale=True)
    assert isinstance(opened, xr.DataArray)
    with opened:
        np.testing.assert_allclose(opened[0].values, values, atol=0.0051)
        assert opened.rio.crs.to_epsg() == 32631
        assert grid_of(opened) == SMALL


def test_overviews_average_lst_and_take_the_most_frequent_flag(tmp_path: Path) -> None:
    values = np.full(GRID.shape, 280.0, np.float32)
    values[:, 1::2] = 300.0
    values[::2, ::2] = np.nan
    write_cog(tmp_path / "lst.tif", values, GRID)
    flags = np.ones(GRID.shape, np.uint8)
    flags[::2, ::2] = 5
    write_cog(tmp_path / "qa.tif", flags, GRID, encoding=QA, description="qa", units="1")
    with rasterio.open(tmp_path / "lst.tif", overview_level=0) as dataset:
        # Two valid pixels of 300 K and one of 280 K, averaged in radiance; nodata is left out.
        mean = ((2 * 300.0**4 + 280.0**4) / 3) ** 0.25
        assert mean - 293.33 > 0.4
        np.testing.assert_allclose(dataset.read(1) * 0.01, mean, atol=0.0051)
    with rasterio.open(tmp_path / "qa.tif", overview_level=0) as dataset:
        assert (dataset.read(1) == 1).all()
    assert cog_validate(tmp_path / "qa.tif", strict=True)[0]


@pytest.mark.parametrize("encoding", [UINT16, FLOAT32])
def test_every_overview_is_the_radiance_of_the_valid_pixels_below(tmp_path: Path, encoding: Encoding) -> None:
    rng = np.random.default_rng(1)
    grid = GeoBox((1101, 1303), GRID.affine, GRID.crs)
    values = (280 + 30 * rng.random(grid.shape)).astype(np.float32)
    values[rng.random(grid.shape) < 0.3] = np.nan
    values[:40, :70] = np.nan
    write_cog(tmp_path / "lst.tif", values, grid, encoding=encoding)
    kept = encoding.decode(encoding.encode(values))
    for level, factor in enumerate((2, 4)):
        pad = [(0, -side % factor) for side in kept.shape]
        whole = np.pad(kept, pad, constant_values=np.nan)
        mean = area_mean_radiance(whole, factor, min_valid=0.0)
        with rasterio.open(tmp_path / "lst.tif", overview_level=level) as dataset:
            found = encoding.decode(dataset.read(1))
        np.testing.assert_array_equal(np.isnan(found), np.isnan(mean))
        np.testing.assert_allclose(found, mean, atol=0.0051 if encoding is UINT16 else 1e-4)


def test_overviews_do_not_depend_on_how_much_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = (280 + 30 * np.random.default_rng(0).random(GRID.shape)).astype(np.float32)
    write_cog(tmp_path / "whole.tif", values, GRID)
    monkeypatch.setattr("lstzoom.overviews._ROWS", 64)
    monkeypatch.setattr("lstzoom.overviews._COLUMNS", 128)
    write_cog(tmp_path / "parts.tif", values, GRID)
    assert (tmp_path / "whole.tif").read_bytes() == (tmp_path / "parts.tif").read_bytes()


def test_windows_never_written_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "lst.tif"
    with CogSink(path, GRID) as sink:
        sink.write(np.full((10, 20), 300, np.float32), (slice(5, 15), slice(30, 50)))
    with rasterio.open(path) as dataset:
        assert (dataset.read(1) != 65535).sum() == 200


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_failed_cog_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with (  # noqa: PT012  (the failure has to come after a write)
        pytest.raises(error),
        CogSink(tmp_path / "lst.tif", SMALL) as sink,
    ):
        sink.write(field(SMALL), (slice(None), slice(None)))
        raise error
    assert names_in(tmp_path) == []


def test_values_that_do_not_fit_leave_no_cog(tmp_path: Path) -> None:
    with (
        pytest.raises(EncodingError, match="6300 values"),
        CogSink(tmp_path / "lst.tif", SMALL) as sink,
    ):
        sink.write(np.full(SMALL.shape, 700, np.float32), (slice(None), slice(None)))
    assert names_in(tmp_path) == []


def test_failed_cog_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "lst.tif"
    write_cog(path, field(SMALL), SMALL)
    before = path.read_bytes()
    with pytest.raises(RuntimeError), CogSink(path, SMALL, overwrite=True):
        raise RuntimeError
    assert path.read_bytes() == before


def test_blocks_must_fit_their_window(tmp_path: Path) -> None:
    with CogSink(tmp_path / "lst.tif", SMALL) as sink:
        with pytest.raises(InputError, match=r"shape \(3, 4\) .* window of shape \(3, 3\)"):
            sink.write(np.zeros((3, 4), np.float32), (slice(0, 3), slice(0, 3)))
        with pytest.raises(InputError, match="not a window of 70 pixels"):
            sink.write(np.zeros((3, 3), np.float32), (slice(68, 71), slice(0, 3)))
    with pytest.raises(InputError, match="inside of its `with` block"):
        sink.write(np.zeros((3, 3), np.float32), (slice(0, 3), slice(0, 3)))


# Paths


@pytest.mark.parametrize("kind", ["cog", "zarr"])
def test_targets_are_checked_before_any_work(tmp_path: Path, kind: str) -> None:
    def sink(path: str | Path, *, overwrite: bool = False) -> CogSink | ZarrSink:
        if kind == "cog":
            return CogSink(path, SMALL, overwrite=overwrite)
        return ZarrSink(path, SMALL, VARIABLES, tile=32, overwrite=overwrite)

    with (
        pytest.raises(InputError, match=r"folder .*absent' does not exist"),
        sink(tmp_path / "absent" / "a"),
    ):
        pass
    with pytest.raises(InputError, match="a path on a local disk"), sink("s3://bucket/a"):
        pass
    with sink(tmp_path / "a"):
        pass
    with pytest.raises(InputError, match=r"exists; .* overwrite=True"), sink(tmp_path / "a"):
        pass
    with sink(tmp_path / "a", overwrite=True):
        pass
    assert names_in(tmp_path) == ["a"]


# Zarr


def test_zarr_decodes_to_kelvin_with_plain_xarray(tmp_path: Path) -> None:
    path, values = tmp_path / "lst.zarr", field(SMALL)
    write_zarr(path, values, attrs={"method": "lstzoom"})
    with xr.open_zarr(path) as dataset:
        assert set(dataset.data_vars) == {"lst", "exact", "qa"}
        np.testing.assert_allclose(dataset.lst.values, values, atol=0.0051)
        np.testing.assert_array_equal(dataset.exact.values, values)
        np.testing.assert_array_equal(dataset.qa.values, np.isnan(values))
        assert dataset.qa.dtype == np.uint8
        assert dataset.lst.attrs["units"] == "K"
        assert dataset.attrs["method"] == "lstzoom"
    assert names_in(tmp_path) == ["lst.zarr"]


@pytest.mark.parametrize("decode_coords", [True, "all"])
def test_zarr_geobox_reads_back(tmp_path: Path, decode_coords: Any) -> None:  # noqa: ANN401
    path = tmp_path / "lst.zarr"
    write_zarr(path, field(SMALL))
    with xr.open_zarr(path, decode_coords=decode_coords) as dataset:
        for name in VARIABLES:
            assert grid_of(dataset[name]) == SMALL
            assert dataset[name].rio.crs.to_epsg() == 32631
            assert dataset[name].rio.transform() == SMALL.affine
        assert dataset.rio.crs.to_epsg() == 32631


def test_zarr_is_version_3_in_shards_with_valid_json(tmp_path: Path) -> None:
    path = tmp_path / "lst.zarr"
    write_zarr(path, field(SMALL))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    for file in path.rglob("zarr.json"):
        json.loads(file.read_text(), parse_constant=refuse)
    meta = json.loads((path / "lst" / "zarr.json").read_text())
    assert meta["zarr_format"] == 3
    assert meta["dimension_names"] == ["y", "x"]
    assert meta["attributes"]["grid_mapping"] == "spatial_ref"
    assert meta["chunk_grid"]["configuration"]["chunk_shape"] == [32, 32]
    assert meta["codecs"][0]["configuration"]["chunk_shape"] == [16, 16]
    assert len(list((path / "lst" / "c").rglob("?"))) == 3 + 9


def test_regions_never_written_are_missing(tmp_path: Path) -> None:
    path, values = tmp_path / "lst.zarr", field(SMALL, missing=0)
    window = (slice(32, 64), slice(64, 90))
    with ZarrSink(path, SMALL, VARIABLES, tile=32) as sink:
        write_region(sink.store, None, window, zarr_blocks(values, window))
    with xr.open_zarr(path) as dataset:
        for name in ("lst", "exact"):
            assert np.isfinite(dataset[name].values).sum() == 32 * 26
            np.testing.assert_allclose(dataset[name].values[window], values[window], atol=0.0051)


@pytest.mark.parametrize("window", [(slice(0, 32), slice(16, 48)), (slice(0, 31), slice(0, 32))])
def test_regions_that_cut_a_shard_are_refused(tmp_path: Path, window: tuple[slice, slice]) -> None:
    block = np.full([part.stop - part.start for part in window], 300, np.float32)
    with (
        ZarrSink(tmp_path / "lst.zarr", SMALL, VARIABLES, tile=32) as sink,
        pytest.raises(InputError, match="cuts a shard of 32 pixels"),
    ):
        sink.write({"lst": block}, window)


def test_unknown_variables_and_wrong_chunks_are_refused(tmp_path: Path) -> None:
    with (
        ZarrSink(tmp_path / "a.zarr", SMALL, VARIABLES, tile=32) as sink,
        pytest.raises(InputError, match="no variable 'absent'"),
    ):
        sink.write({"absent": np.zeros((32, 32))}, (slice(0, 32), slice(0, 32)))
    with (
        pytest.raises(InputError, match="chunks of 20 pixels do not divide shards of 32"),
        ZarrSink(tmp_path / "b.zarr", SMALL, VARIABLES, tile=32, chunk=20),
    ):
        pass
    assert names_in(tmp_path) == ["a.zarr"]


def test_zarr_refuses_values_that_do_not_fit_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(EncodingError, match=r"'lst', which holds 0 to 655.34"),
        ZarrSink(tmp_path / "a.zarr", SMALL, VARIABLES, tile=32) as sink,
    ):
        sink.write({"lst": np.full((32, 32), 700.0)}, (slice(0, 32), slice(0, 32)))
    assert names_in(tmp_path) == []


def test_failed_zarr_keeps_what_was_there(tmp_path: Path) -> None:
    path, values = tmp_path / "a.zarr", field(SMALL)
    write_zarr(path, values)
    with (
        pytest.raises(KeyboardInterrupt),
        ZarrSink(path, SMALL, VARIABLES, tile=32, overwrite=True),
    ):
        raise KeyboardInterrupt
    with xr.open_zarr(path) as dataset:
        np.testing.assert_array_equal(dataset.exact.values, values)
    write_zarr(path, values + 1, overwrite=True)
    with xr.open_zarr(path) as dataset:
        np.testing.assert_array_equal(dataset.exact.values, values + 1)
    assert names_in(tmp_path) == ["a.zarr"]


def test_plain_tuples_describe_variables(tmp_path: Path) -> None:
    with ZarrSink(tmp_path / "a.zarr", SMALL, {"w": ("float32", {}, None)}, tile=96) as sink:
        sink.write({"w": np.ones(SMALL.shape)}, (slice(None), slice(None)))
    with xr.open_zarr(tmp_path / "a.zarr") as dataset:
        assert dataset.w.dtype == np.float32
        assert float(dataset.w.sum()) == 6300


def test_geographic_grid_reads_back(tmp_path: Path) -> None:
    grid = GeoBox((20, 30), Affine(1e-4, 0, 3.0, 0, -1e-4, 36.0), "EPSG:4326")
    with ZarrSink(tmp_path / "a.zarr", grid, {"lst": VARIABLES["lst"]}, tile=32) as sink:
        sink.write({"lst": np.full(grid.shape, 300.0)}, (slice(None), slice(None)))
    with xr.open_zarr(tmp_path / "a.zarr") as dataset:
        back = grid_of(dataset.lst)
    assert back.crs == grid.crs
    np.testing.assert_allclose(tuple(back.affine), tuple(grid.affine), atol=1e-12)


def test_a_folder_that_is_no_store_is_never_replaced(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "thesis.txt").write_text("years")
    grid = GeoBox((6, 6), Affine(10, 0, 600_000, 0, -10, 5_400_000), "EPSG:32632")
    variables = {"lst": ZarrVariable("float32", {}, np.nan)}
    for sink in (CogSink(work, grid, overwrite=True), ZarrSink(work, grid, variables, 6, overwrite=True)):
        with pytest.raises(InputError, match="never replaced"), sink:
            pass
    assert (work / "thesis.txt").read_text() == "years"


HANG = """
import sys, time
from pathlib import Path
from affine import Affine
from odc.geo.geobox import GeoBox
from lstzoom.write import CogSink
grid = GeoBox((70, 90), Affine(10, 0, 500_000, 0, -10, 4_000_000), "EPSG:32631")
with CogSink(Path(sys.argv[1]), grid):
    print("open", flush=True)
    time.sleep(600)
"""


def test_what_a_killed_run_left_goes_with_the_next(tmp_path: Path) -> None:
    path = tmp_path / "a[1].tif"
    other = tmp_path / ".a[1].tif.notes"
    other.mkdir()
    command = [sys.executable, "-c", HANG, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        left = sorted(names_in(tmp_path))
        write_cog(path, field(SMALL), SMALL)
        # The other run is alive: what it works with stays.
        assert sorted(names_in(tmp_path)) == sorted([*left, path.name])
        process.kill()
    assert len(left) == 2
    write_cog(path, field(SMALL), SMALL, overwrite=True)
    assert sorted(names_in(tmp_path)) == [other.name, path.name]


def test_a_store_that_was_about_to_be_replaced_is_never_removed(tmp_path: Path) -> None:
    left = tmp_path / ".a.zarr.lstzoom-1"
    (left / "replaced").mkdir(parents=True)
    (left / "in-use").touch()
    write_zarr(tmp_path / "a.zarr", field(SMALL))
    assert (left / "replaced").is_dir()

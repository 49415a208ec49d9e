"""Files in, files out: what a block reads, what a cluster is asked to do, what memory it takes."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr

import lstzoom
from lstzoom import cube, raster, stream
from lstzoom.errors import ConfigError, GridMismatchError, InputError
from lstzoom.halo import Block, blocks, cut, ordered
from lstzoom.inputs import SceneArrays, from_files, prepare
from lstzoom.registration import measure_scene
from lstzoom.simulate import simulate_scene, write_scene, write_simulation
from lstzoom.workers import in_threads

BANDS = ("red", "nir")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_scene(simulate_scene((300, 330), bands=BANDS, seed=3), tmp_path_factory.mktemp("scene"))


def opened(files: dict[str, Path]) -> SceneArrays:
    sources = tuple(raster.describe(files[band])[0] for band in BANDS)
    stack = raster.LazyStack(sources, sources[0].geobox)
    return from_files(stack, raster.lazy_lst(files["lst"]), None, BANDS)


def test_files_give_the_bits_of_arrays(files: dict[str, Path], tmp_path: Path) -> None:
    scene, config = opened(files), lstzoom.SharpenConfig(chunk=64)
    out = tmp_path / "out.tif"
    targets = stream.Targets(lst=out, encoding=stream.Encoding("exact", "float32", nodata=float("nan")))
    stream.write_scene(scene, targets, config=config, threads=3)
    vnir = raster.open_stack([files[band] for band in BANDS], scene.grids.fine).compute()
    sharp = lstzoom.sharpen(vnir, raster.open_lst(files["lst"]).compute())
    with rasterio.open(out) as written:
        np.testing.assert_array_equal(written.read(1), sharp.lst.to_numpy())


@pytest.mark.parametrize("lazy", [False, True])
def test_the_residual_before_correction_is_summed_up(
    files: dict[str, Path], tmp_path: Path, *, lazy: bool
) -> None:
    scene, config = opened(files), lstzoom.SharpenConfig(chunk=64, outputs=("residual",))
    vnir = raster.open_stack([files[band] for band in BANDS], scene.grids.fine, chunks=150)
    lst = raster.open_lst(files["lst"], chunks=50)
    targets = stream.Targets(lst=tmp_path / "out.tif", zarr=tmp_path / "out.zarr")
    if lazy:
        written = stream.write_sharpened(vnir, lst, targets, config=config)
    else:
        written = stream.write_scene(scene, targets, config=config, threads=2)
    residual = lstzoom.sharpen(vnir.compute(), lst.compute(), config=config).residual.values
    cells = residual.reshape(100, 3, 110, 3)[:, 1, :, 1].astype(np.float64)
    account = written.account
    assert account["lstzoom_residual_bias"] == pytest.approx(np.nanmean(cells), abs=1e-4)
    assert account["lstzoom_residual_rmse"] == pytest.approx(np.sqrt(np.nanmean(cells**2)), abs=1e-4)
    assert float(account["lstzoom_residual_rmse"]) > 0.05
    with rasterio.open(tmp_path / "out.tif") as file:
        assert float(file.tags()["LSTZOOM_RESIDUAL_RMSE"]) == account["lstzoom_residual_rmse"]


def test_the_store_says_what_it_holds_as_a_cube_does(files: dict[str, Path], tmp_path: Path) -> None:
    scene, out = opened(files), tmp_path / "out.zarr"
    targets = stream.Targets(lst=tmp_path / "out.tif", zarr=out)
    stream.write_scene(scene, targets, config=lstzoom.SharpenConfig(chunk=64), threads=2)

    def told() -> tuple[dict[str, Any], list[float], list[int]]:
        with xr.open_zarr(out) as store:
            lst, qa = store.lst.attrs, store.qa.attrs
            assert lst["actual_range"] == pytest.approx([float(store.lst.min()), float(store.lst.max())])
            assert qa["flag_counts"] == np.bincount(store.qa.values.ravel(), minlength=6).tolist()
            return dict(lst["statistics"]), lst["actual_range"], qa["flag_counts"]

    statistics, *others = told()
    cube.finalise(out)
    finished, *finished_others = told()
    assert others == finished_others
    assert finished.pop("stddev") > 1
    # The mean is that of values before they were rounded.
    assert statistics.pop("mean") == pytest.approx(finished.pop("mean"), abs=2e-3)
    assert statistics == finished


def test_moved_files_give_the_bits_of_moved_arrays(files: dict[str, Path], tmp_path: Path) -> None:
    plain = opened(files)
    hidden = np.ones((300, 330), np.uint8)
    hidden[40:90, 60:65] = 0
    mask = tmp_path / "mask.tif"
    with rasterio.open(files["red"]) as file:
        profile = {**file.profile, "dtype": "uint8", "nodata": None}
    with rasterio.open(mask, "w", **profile) as file:
        file.write(hidden, 1)
    usable = raster.lazy_mask(mask, plain.grids.fine, clear_values=[1])
    valid = raster.open_mask(mask, plain.grids.fine, clear_values=[1], chunks=100)
    vnir = raster.open_stack([files[band] for band in BANDS], plain.grids.fine, chunks=70)
    lst = raster.open_lst(files["lst"])
    span = (slice(-9, 200), slice(31, 340))
    for move in ((0.37, -1.6), (2.0, -1.0)):
        for masks in ((usable, valid), (None, None)):
            scene = from_files(plain.vnir, plain.lst, masks[0], BANDS).remake(move=move)
            read = cut(scene.vnir, span, outside=np.float32(np.nan))
            array = np.asarray(prepare(vnir, lst, masks[1], move=move).vnir)
            np.testing.assert_array_equal(read, cut(array, span, outside=np.float32(np.nan)))
            assert np.isnan(read[:, 60:80, 25:35]).any() == (masks[0] is not None)


def test_the_shift_of_files_is_that_of_arrays(files: dict[str, Path]) -> None:
    scene = opened(files)
    vnir = raster.open_stack([files[band] for band in BANDS], scene.grids.fine)
    arrays = lstzoom.measure_shift(vnir, raster.open_lst(files["lst"]))
    assert arrays is not None
    assert measure_scene(scene, lstzoom.SharpenConfig(), threads=3) == arrays


def test_files_on_another_grid_and_small_ones_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    source = raster.describe(files["red"])[0]
    stack = raster.LazyStack((source,), source.geobox[:-3, :])
    with pytest.raises(GridMismatchError):
        from_files(stack, raster.lazy_lst(files["lst"]), None, ("red",))
    small = write_scene(simulate_scene((12, 12), bands=BANDS), tmp_path)
    with pytest.raises(InputError, match="at least 5 x 5"):
        opened(small)


def test_a_window_of_a_file_is_cut_like_an_array(files: dict[str, Path]) -> None:
    lazy = opened(files).vnir
    whole = lazy[:]
    for span in (
        (slice(-7, 40), slice(20, 30)),
        (slice(250, 311), slice(300, 340)),
        (slice(5, 9), slice(6, 8)),
    ):
        np.testing.assert_array_equal(
            cut(lazy, span, outside=np.float32(np.nan)), cut(whole, span, outside=np.float32(np.nan))
        )


def test_blocks_are_ordered_in_columns_of_some() -> None:
    some = ordered(blocks((3, 5), 1, 0), 2)
    assert [(b.rows.start, b.columns.start) for b in some] == [
        (0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1),
        (0, 2), (0, 3), (1, 2), (1, 3), (2, 2), (2, 3),
        (0, 4), (1, 4), (2, 4),
    ]  # fmt: skip


def test_threads_take_items_from_the_front() -> None:
    assert [item for item, _ in in_threads(str, range(20), 1)] == list(range(20))
    assert sorted(in_threads(lambda one: one * 2, range(20), 3)) == [(k, 2 * k) for k in range(20)]


@pytest.mark.parametrize("threads", [1, 2, 16])
@pytest.mark.parametrize(("ratio", "largest"), [(3, 256), (7, 128), (20, 64)])
def test_blocks_are_of_the_default_size_or_as_many_pixels_as_fit(
    ratio: int, largest: int, threads: int
) -> None:
    # Many cores have many blocks in flight, each as large: the scene has enough of them.
    chosen = stream.choose_chunk((8192, 8192), bands=8, ratio=ratio, threads=threads)
    assert largest - 16 <= chosen <= largest
    bounded = stream.choose_chunk((8192, 8192), bands=8, ratio=3, threads=threads, memory=8e9)
    assert stream.needed_bytes(bounded, 8, 3, 32, threads) <= 8e9


def test_memory_that_holds_no_block_is_refused() -> None:
    with pytest.raises(ConfigError, match="do not hold 2 blocks of 64 coarse pixels with 8 bands; about"):
        stream.choose_chunk((800, 800), bands=8, ratio=3, threads=2, memory=5e8)


def test_files_are_opened_once(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    raster.close_files()
    scene, paths = opened(files), []
    real = raster._open

    def told(path: str, driver: str) -> Any:  # noqa: ANN401
        paths.append(path)
        return real(path, driver)

    monkeypatch.setattr(raster, "_open", told)
    for block in blocks(scene.lst.shape, 32, 8):
        cut(scene.vnir, block.span(3), outside=np.float32(np.nan))
    assert sorted(paths) == sorted(str(files[band]) for band in BANDS)


def test_a_replaced_file_is_read_anew(tmp_path: Path) -> None:
    for seed in (1, 2):
        paths = write_scene(simulate_scene((60, 60), bands=BANDS, seed=seed), tmp_path)
        with rasterio.open(paths["red"]) as file:
            expected = file.read(1) * np.float64(file.scales[0])
        np.testing.assert_array_equal(opened(paths).vnir[0], expected.astype(np.float32))


def test_a_file_in_a_replaced_archive_is_read_anew(files: dict[str, Path], tmp_path: Path) -> None:
    whole = tmp_path / "scene.zip"
    for name in BANDS:
        with zipfile.ZipFile(whole, "w") as archive:
            archive.write(files[name], "band.tif")
        source = raster.describe(f"/vsizip/{{{whole}}}/band.tif")[0]
        expected = raster.describe(files[name])[0]
        np.testing.assert_array_equal(
            raster.LazyRaster(source, source.geobox)[:], raster.LazyRaster(expected, source.geobox)[:]
        )


def test_more_files_than_stay_open_can_be_read_by_threads(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raster, "_FILES", raster._Files(1))
    lazy = opened(files).vnir
    whole = lazy[:]
    spans = [Block(slice(k, k + 20), slice(0, 60), 0).span(3) for k in range(60)]
    for (rows, columns), part in in_threads(lambda span: lazy[:, span[0], span[1]], spans, 4):
        np.testing.assert_array_equal(part, whole[:, rows, columns])


@pytest.mark.cluster
def test_a_cluster_has_one_task_for_a_block(files: dict[str, Path], tmp_path: Path) -> None:
    def met(dask_scheduler: Any) -> int:  # noqa: ANN401
        # The log of what became of them is short.
        return sum(one.state_counts["memory"] for one in dask_scheduler.task_prefixes.values())

    with stream.local_cluster(1) as client:
        targets = stream.Targets(lst=tmp_path / "out.tif")
        done = stream.write_scene(
            opened(files), targets, config=lstzoom.SharpenConfig(chunk=32), client=client
        )
        tasks = client.run_on_scheduler(met)
    assert done.blocks == 16
    # One for each block, and one that carries what all of them share.
    assert tasks == done.blocks + 1


PEAK = """
import re, sys
from pathlib import Path
import lstzoom
from lstzoom import cube, raster, stream
from lstzoom.config import SampleConfig
from lstzoom.inputs import from_files
lst, red, nir, out = sys.argv[1:]
sources = tuple(raster.describe(path)[0] for path in (red, nir))
vnir = raster.LazyStack(sources, sources[0].geobox)
scene = from_files(vnir, raster.lazy_lst(lst), None, ("red", "nir"))
config = lstzoom.SharpenConfig(chunk=64, sample=SampleConfig(max_patches=8))
stream.write_scene(scene, stream.Targets(lst=Path(out)), config=config)
# What getrusage tells includes the process that started this one.
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_scene(tmp_path: Path) -> None:
    peaks = []
    for side in (900, 1800):
        paths = write_simulation(tmp_path / str(side), (side, side))
        inputs = [str(paths[name]) for name in ("lst", *BANDS)]
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *inputs, str(tmp_path / f"{side}.tif")],
            capture_output=True, text=True, check=True, env={**os.environ, "GDAL_CACHEMAX": "32"},
        )  # fmt: skip
        peaks.append(int(done.stdout))
    # The sample of the smaller scene is not full yet.
    assert peaks[1] < 1.2 * peaks[0], peaks
    assert peaks[1] < 600, peaks

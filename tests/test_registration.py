from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import lstzoom
from lstzoom import cli
from lstzoom.config import SampleConfig
from lstzoom.inputs import prepare
from lstzoom.kernels.quality import QA
from lstzoom.metrics import rmse
from lstzoom.registration import align, attributes, describe_shift
from lstzoom.simulate import simulate_scene, write_scene

ALIGN = lstzoom.SharpenConfig(align=True)


@pytest.fixture(scope="module")
def scene():
    return simulate_scene((210, 240), bands=("red", "nir"), seed=2)


@pytest.fixture(scope="module")
def arrays(scene):
    return scene.to_xarray()


def rolled(vnir: xr.DataArray, y: int, x: int) -> xr.DataArray:
    return vnir.copy(data=np.roll(vnir.data, (y, x), axis=(1, 2)))


def test_the_shift_is_measured_whatever_the_chunks(arrays):
    vnir = rolled(arrays.vnir, 1, -2)
    whole = lstzoom.measure_shift(vnir, arrays.lst)
    assert whole is not None
    assert whole.is_sure
    assert abs(whole.y - 1) < 0.2
    assert abs(whole.x + 2) < 0.2
    for chunk in (17, 64):
        lazy = lstzoom.measure_shift(vnir.chunk({"band": 1, "y": chunk, "x": 90}), arrays.lst.chunk(chunk))
        assert lazy == whole


def test_a_large_scene_is_measured_on_few_patches():
    scene = simulate_scene((600, 600), bands=("red", "nir"), seed=1).to_xarray()
    touched = []

    def watch(block, block_info=None):
        touched.append(block_info[0]["chunk-location"])
        return block

    import dask.array as da

    lazy = da.from_array(scene.vnir.data, chunks=(2, 150, 150)).map_blocks(watch, meta=scene.vnir.data[:0])
    config = lstzoom.SharpenConfig(sample=SampleConfig(patch=40, max_patches=3))
    shift = lstzoom.measure_shift(scene.vnir.copy(data=lazy), scene.lst, config=config)
    assert shift == lstzoom.measure_shift(scene.vnir, scene.lst, config=config)
    assert 0 < len(set(touched)) < 16


def test_masked_ground_is_not_looked_at(arrays):
    usable = np.ones(arrays.vnir.shape[1:], bool)
    usable[60:120, 60:150] = False
    valid = arrays.truth.copy(data=usable)
    spoilt = arrays.vnir.copy(deep=True)
    spoilt.data[:, ~usable] = np.random.default_rng(0).random(spoilt.data[:, ~usable].shape)
    assert lstzoom.measure_shift(spoilt, arrays.lst, valid=valid) == lstzoom.measure_shift(
        arrays.vnir, arrays.lst, valid=valid
    )


def test_result_and_model_say_the_shift(arrays):
    vnir = rolled(arrays.vnir, 0, 1)
    shift = lstzoom.measure_shift(vnir, arrays.lst)
    sharp = lstzoom.sharpen(vnir, arrays.lst)
    assert shift is not None
    assert {k: v for k, v in sharp.attrs.items() if "shift" in k} == attributes(shift)
    assert sharp.attrs["lstzoom_shift_x"] == pytest.approx(1, abs=0.2)
    assert sharp.attrs["lstzoom_aligned"] == 0
    model = lstzoom.fit([(vnir, arrays.lst), (arrays.vnir, arrays.lst)])
    assert model.shifts == (shift, lstzoom.measure_shift(arrays.vnir, arrays.lst))


def test_a_scene_without_texture_says_so(arrays):
    flat = arrays.vnir.copy(data=np.full(arrays.vnir.shape, 0.2, np.float32))
    assert lstzoom.measure_shift(flat, arrays.lst) is None
    attrs = lstzoom.sharpen(flat, arrays.lst, config=ALIGN).attrs
    assert attrs["lstzoom_shift_confidence"] == 0.0
    assert attrs["lstzoom_aligned"] == 0
    assert "lstzoom_shift_y" not in attrs


@pytest.mark.parametrize("lazy", [False, True])
def test_a_warning_above_half_a_pixel(arrays, caplog, lazy):
    def warnings(y, config=None):
        caplog.clear()
        vnir = rolled(arrays.vnir, y, 0)
        lstzoom.sharpen(vnir.chunk() if lazy else vnir, arrays.lst, config=config).compute()
        return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]

    (told,) = warnings(1)
    assert "1.0" in told
    assert "--align" in told
    assert not warnings(0)
    assert not warnings(1, ALIGN)


@settings(max_examples=8, deadline=None)
@given(
    shift=st.tuples(st.integers(-4, 4), st.integers(-4, 4)),
    chunk=st.integers(20, 120),
    block=st.sampled_from([16, 48]),
)
def test_alignment_does_not_depend_on_chunks(arrays, shift, chunk, block):
    # Reflectance lies on a grid of its own, so that it is resampled in any case.
    vnir = rolled(arrays.vnir, *shift)
    vnir = vnir.assign_coords(x=vnir.x + 3.3, y=vnir.y - 4.1)
    whole = lstzoom.sharpen(vnir, arrays.lst, config=ALIGN)
    lazy = lstzoom.sharpen(
        vnir.chunk({"y": chunk, "x": chunk + 7}),
        arrays.lst.chunk(chunk // 3),
        config=lstzoom.SharpenConfig(align=True, chunk=block),
    )
    computed = lazy.compute(scheduler="synchronous")
    xr.testing.assert_identical(computed.drop_attrs(deep=False), whole.drop_attrs(deep=False))
    # What is only known of a computed result is not in the attributes of a lazy one.
    assert lazy.attrs.items() <= whole.attrs.items()
    assert whole.attrs["lstzoom_aligned"] == 1
    assert whole.attrs["lstzoom_shift_y"] == pytest.approx(shift[0] + 0.41, abs=0.25)
    assert whole.attrs["lstzoom_shift_x"] == pytest.approx(shift[1] + 0.33, abs=0.25)


@pytest.mark.parametrize("shift", [(1, 1), (-2, 0)])
def test_whole_pixels_are_given_back_exactly(arrays, shift):
    inner = (slice(24, -24), slice(24, -24))
    moved = rolled(arrays.vnir, *shift)
    scene, found = align(prepare(moved, arrays.lst), ALIGN)
    assert found is not None
    assert scene.moved == shift
    np.testing.assert_array_equal(scene.vnir[:, *inner], arrays.vnir.data[:, *inner])
    truth = arrays.truth.to_numpy()
    plain = rmse(lstzoom.sharpen(arrays.vnir, arrays.lst).lst, truth)
    beside = rmse(lstzoom.sharpen(moved, arrays.lst).lst, truth)
    aligned = rmse(lstzoom.sharpen(moved, arrays.lst, config=ALIGN).lst, truth)
    assert beside > 1.1 * plain
    assert aligned < 1.03 * plain


def test_registered_scenes_are_left_alone(arrays):
    aligned = lstzoom.sharpen(arrays.vnir, arrays.lst, config=ALIGN)
    xr.testing.assert_identical(aligned, lstzoom.sharpen(arrays.vnir, arrays.lst))


def test_the_lst_is_never_moved(arrays):
    moved = rolled(arrays.vnir, 2, 1)
    scene, _ = align(prepare(moved, arrays.lst), ALIGN)
    np.testing.assert_array_equal(scene.lst, arrays.lst.data)
    assert lstzoom.sharpen(moved, arrays.lst, config=ALIGN).odc.geobox == arrays.vnir.odc.geobox


@pytest.mark.parametrize("lazy", [False, True])
def test_what_a_mask_hides_moves_along_and_the_mask_stays(arrays, lazy):
    usable = np.ones(arrays.vnir.shape[1:], bool)
    usable[90:96, 120:126] = False
    valid = arrays.truth.copy(data=usable)
    vnir = rolled(arrays.vnir, 3, 0)
    if lazy:
        vnir, valid = vnir.chunk({"y": 50, "x": 50}), valid.chunk({"y": 33})
    scene, _ = align(prepare(vnir, arrays.lst, valid), ALIGN)
    assert scene.moved == (3.0, 0.0)
    missing = np.isnan(np.asarray(scene.vnir)).any(axis=0)
    assert missing[87:93, 120:126].all()
    assert not missing[93:99, 120:126].any()
    qa = lstzoom.sharpen(vnir, arrays.lst, valid=valid, config=ALIGN).qa.to_numpy()
    assert (qa[90:96, 120:126] == QA.MASKED).all()
    assert (qa[87:90, 120:126] == QA.INTERPOLATED).all()


def test_a_part_of_a_hidden_pixel_is_hidden(arrays):
    usable = np.ones(arrays.vnir.shape[1:], bool)
    usable[90, 120] = False
    valid = arrays.truth.copy(data=usable)
    vnir = arrays.vnir.assign_coords(x=arrays.vnir.x + 5.0)
    spoilt = vnir.copy(deep=True)
    clean, _ = align(prepare(vnir, arrays.lst, valid), ALIGN)
    assert clean.moved is not None
    hidden = np.isnan(clean.vnir).any(axis=0)
    assert 1 <= hidden[85:95, 110:130].sum() <= 4
    assert np.isfinite(spoilt).all()


def test_files_are_aligned_as_arrays_are(scene, arrays, tmp_path: Path):
    moved = scene.vnir.copy()
    moved[:] = np.roll(moved, (1, 2), axis=(1, 2))
    from dataclasses import replace

    paths = write_scene(replace(scene, vnir=moved), tmp_path)
    out = tmp_path / "out.tif"

    def run(*more: str):
        inputs = [str(paths[name]) for name in ("lst", "red", "nir")]
        options = ["-o", str(out), "--encoding", "float32", "--overwrite", *more]
        done = CliRunner().invoke(cli.app, ["sharpen", *inputs, *options])
        assert done.exit_code == 0, done.output
        return done

    summary = json.loads(run("--json", "-q").stdout)
    assert summary["aligned"] is False
    assert summary["shift"]["y"] == pytest.approx(1, abs=0.2)
    assert summary["shift"]["x"] == pytest.approx(2, abs=0.2)
    done = run("--align", "--zarr", str(tmp_path / "out.zarr"))
    assert "corrected" in done.stdout
    with rasterio.open(out) as file:
        tags, aligned = file.tags(), file.read(1)
    assert tags["LSTZOOM_ALIGNED"] == "1"
    assert float(tags["LSTZOOM_SHIFT_X"]) == pytest.approx(2, abs=0.2)
    assert float(tags["LSTZOOM_SHIFT_CONFIDENCE"]) > 0.8
    assert xr.open_zarr(tmp_path / "out.zarr").attrs["LSTZOOM_ALIGNED"] == "1"
    lst = lstzoom.raster.open_lst(paths["lst"])
    vnir = lstzoom.raster.open_stack([paths["red"], paths["nir"]], arrays.vnir.odc.geobox)
    expected = lstzoom.sharpen(vnir, lst, config=ALIGN).lst.to_numpy()
    np.testing.assert_array_equal(aligned, expected)


def test_words_for_a_shift(arrays):
    told = describe_shift(lstzoom.kernels.register.Shift(1.5, -2.0, 0.9), arrays.vnir.odc.geobox)
    assert "2.50 fine pixels" in told
    assert "x -20, y -15" in told


@pytest.mark.skipif(not os.environ.get("LSTZOOM_REAL_DATA"), reason="LSTZOOM_REAL_DATA is not set")
def test_real_cases_are_registered_and_imposed_shifts_found():
    from benchmarks.accuracy import PYDMS
    from benchmarks.registration import Case

    for name in PYDMS:
        case = Case.read(Path(os.environ["LSTZOOM_REAL_DATA"]) / "cases" / name)
        for y, x in ((0, 0), (1, 0), (-1, 1)):
            found = lstzoom.measure_shift(case.shifted(y, x), case.lst)
            assert found is not None, name
            assert found.is_sure, name
            assert abs(found.y - y) < 0.3, name
            assert abs(found.x - x) < 0.3, name

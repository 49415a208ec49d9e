"""The protocol: what is degraded, what is compared, and that the report tells it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import xarray as xr

from lstzoom import metrics
from lstzoom.errors import GridMismatchError, InputError
from lstzoom.kernels.aggregate import area_mean, area_mean_radiance
from lstzoom.simulate import SceneArrays, simulate_scene
from lstzoom.validate import blur_radiance, validate

SETTINGS: Any = object()


@pytest.fixture(scope="module")
def scene() -> SceneArrays:
    return simulate_scene((180, 162), seed=2, bands=("green", "red", "nir")).to_xarray()


class Bicubic:
    """A sharpener that keeps what it was asked."""

    def __call__(self, vnir: xr.DataArray, lst: xr.DataArray, *, config: object) -> xr.Dataset:
        self.vnir, self.lst, self.config = vnir, lst, config
        ratio = vnir.shape[-1] // lst.shape[-1]
        fine = metrics.upsample_bicubic(lst.values, ratio)
        return xr.Dataset({"lst": (("y", "x"), fine)})


def test_truth_alone_is_degraded_and_sharpened_back(scene: SceneArrays) -> None:
    vnir, lst, truth = scene
    asked = Bicubic()
    report = validate(vnir, truth=truth, sharpen=asked, config=SETTINGS)
    assert (report.mode, report.ratio, report.pixels) == ("degraded", 3, truth.size)
    assert asked.config is SETTINGS
    np.testing.assert_allclose(asked.lst.values, lst.values, atol=1e-3)
    assert asked.lst.odc.geobox == lst.odc.geobox
    assert report.rows["lstzoom"]["rmse"] == report.rows["bicubic"]["rmse"]
    assert report.rows["bicubic"]["rmse"] == pytest.approx(
        metrics.rmse(metrics.upsample_bicubic(lst.values, 3), truth.values), abs=1e-4
    )


def test_another_ratio_crops_what_does_not_fit(scene: SceneArrays) -> None:
    asked = Bicubic()
    report = validate(scene.vnir, truth=scene.truth, ratio=4, sharpen=asked)
    assert asked.lst.shape == (45, 40)
    assert asked.vnir.shape == (3, 180, 160)
    assert report.pixels == 180 * 160
    assert asked.lst.odc.geobox.resolution.x == 40.0


def test_lst_alone_goes_one_scale_up(scene: SceneArrays) -> None:
    vnir, lst, _ = scene
    asked = Bicubic()
    report = validate(vnir, lst, sharpen=asked)
    assert report.mode == "one-scale-up"
    np.testing.assert_array_equal(asked.vnir.values, area_mean(vnir.values, 3))
    np.testing.assert_array_equal(asked.lst.values, area_mean_radiance(lst.values, 3))
    assert asked.vnir.odc.geobox == lst.odc.geobox
    assert list(asked.vnir.band.values) == ["green", "red", "nir"]
    np.testing.assert_array_equal(report.images["truth"], lst.values)
    assert "one scale coarser" in report.explanation


def test_one_scale_up_cuts_both_grids_alike(scene: SceneArrays) -> None:
    vnir, lst = scene.vnir[:, :171, :162], scene.lst[:57, :54]
    asked = Bicubic()
    validate(vnir, lst, ratio=5, sharpen=asked)
    assert asked.vnir.shape == (3, 55, 50)
    assert asked.lst.shape == (11, 10)
    np.testing.assert_array_equal(asked.vnir.x, lst.x[:50])


def test_both_are_compared_as_they_are(scene: SceneArrays) -> None:
    vnir, lst, truth = scene
    asked = Bicubic()
    report = validate(vnir, lst + 1.0, truth=truth, sharpen=asked)
    assert report.mode == "direct"
    np.testing.assert_array_equal(asked.lst.values, lst.values + 1.0)
    assert report.rows["nearest"]["bias"] == pytest.approx(1.0, abs=0.1)
    assert "as it is" in report.explanation


def test_a_point_spread_softens_what_is_sharpened(scene: SceneArrays) -> None:
    sharp, soft = Bicubic(), Bicubic()
    report = validate(scene.vnir, truth=scene.truth, sharpen=sharp)
    blurred = validate(scene.vnir, truth=scene.truth, psf_sigma=2.0, sharpen=soft)
    assert soft.lst.values.std() < 0.95 * sharp.lst.values.std()
    assert blurred.rows["bicubic"]["rmse"] > report.rows["bicubic"]["rmse"]
    assert "2 fine pixels" in blurred.explanation
    np.testing.assert_array_equal(blurred.images["truth"], scene.truth.values)


def test_blur_works_in_radiance_and_around_gaps() -> None:
    spot = np.full((21, 21), 300.0)
    spot[10, 10] = 400.0
    blurred = blur_radiance(spot, 1.5)
    assert np.mean(blurred.astype(float) ** 4) == pytest.approx(np.mean(spot**4), rel=1e-5)
    spot[10, 10] = np.nan
    gappy = blur_radiance(spot, 1.5)
    assert np.isnan(gappy[10, 10])
    np.testing.assert_allclose(np.delete(gappy.ravel(), 220), 300.0, rtol=1e-6)
    np.testing.assert_array_equal(blur_radiance(spot, 0.0), spot.astype(np.float32))


def test_gaps_are_left_out_and_told(scene: SceneArrays) -> None:
    truth, vnir = scene.truth.copy(), scene.vnir.copy()
    truth[:30] = np.nan
    vnir[0, :, :27] = np.nan

    def half(vnir: xr.DataArray, lst: xr.DataArray, *, config: object) -> np.ndarray:
        fine = metrics.upsample_nearest(lst.values, 3)
        fine[:, :54] = np.nan
        return fine

    report = validate(vnir, truth=truth, sharpen=half)
    assert report.pixels == 150 * 108
    # Wanted: 162 - 27 columns; given: 108.
    assert report.rows["lstzoom"]["coverage"] == pytest.approx(108 / 135)
    assert report.truth_sd == pytest.approx(float(truth.values[30:, 54:].std()), rel=1e-3)


def test_report_is_json_without_nan(scene: SceneArrays) -> None:
    truth = scene.truth.copy(data=np.full(scene.truth.shape, 300.0, np.float32))
    told = json.loads(
        json.dumps(validate(scene.vnir, truth=truth, sharpen=Bicubic()).to_dict(), allow_nan=False)
    )
    assert told["methods"]["lstzoom"]["detail_r2"] is None
    assert told["methods"]["nearest"]["coverage"] == 1.0
    assert set(told["methods"]) == {"lstzoom", "bicubic", "nearest"}
    assert told["mode"] == "degraded"


def test_tables_hold_all_methods(scene: SceneArrays) -> None:
    report = validate(scene.vnir, truth=scene.truth, sharpen=Bicubic())
    lines = report.table().splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["lstzoom", "bicubic", "nearest"]
    assert f"{report.rows['nearest']['rmse']:.3f}" in lines[3]
    assert len({len(line) for line in lines[:4]}) == 1
    assert report.rich_table().row_count == 3


def test_the_sharpener_never_sees_the_truth(scene: SceneArrays) -> None:
    asked = Bicubic()
    validate(scene.vnir, truth=scene.truth, sharpen=asked)
    assert asked.lst.shape == (60, 54)
    assert not np.shares_memory(asked.lst.values, scene.truth.values)


def test_lstzoom_itself_beats_bicubic() -> None:
    vnir, _, truth = simulate_scene((240, 240), seed=1).to_xarray()
    row = validate(vnir, truth=truth).rows["lstzoom"]
    assert row["rmse_over_bicubic"] < 0.8
    assert row["coverage"] == 1.0
    assert row["conservation_max"] <= 0.01


def test_impossible_requests_are_named(scene: SceneArrays) -> None:
    vnir, lst, truth = scene
    with pytest.raises(InputError, match="neither lst nor truth"):
        validate(vnir, sharpen=Bicubic())
    with pytest.raises(InputError, match="psf_sigma is -1"):
        validate(vnir, truth=truth, psf_sigma=-1.0, sharpen=Bicubic())
    with pytest.raises(InputError, match="psf_sigma blurs the truth"):
        validate(vnir, lst, truth=truth, psf_sigma=1.0, sharpen=Bicubic())
    with pytest.raises(GridMismatchError, match="3 apart"):
        validate(vnir, lst, truth=truth, ratio=4, sharpen=Bicubic())
    with pytest.raises(GridMismatchError, match="nothing to sharpen"):
        validate(vnir, truth, truth=truth, sharpen=Bicubic())
    with pytest.raises(GridMismatchError, match="same area"):
        validate(vnir[:, 3:], truth=truth[:-3], sharpen=Bicubic())
    with pytest.raises(GridMismatchError, match="on the grid of truth"):
        validate(vnir, truth=lst, sharpen=Bicubic())
    with pytest.raises(GridMismatchError, match="no regular grid"):
        validate(xr.DataArray(vnir.values, dims=vnir.dims), truth=truth, sharpen=Bicubic())
    with pytest.raises(InputError, match="smaller than one block"):
        validate(vnir, truth=truth, ratio=500, sharpen=Bicubic())
    with pytest.raises(InputError, match="nothing is left to compare"):
        validate(vnir, truth=truth * np.nan, sharpen=Bicubic())

"""Scores: hand numbers, the baselines' definition, and figures that move when something is
wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from lstzoom import metrics
from lstzoom.errors import InputError
from lstzoom.kernels.aggregate import area_mean_radiance


@pytest.fixture
def field() -> np.ndarray:
    """A smooth field with detail, 60 x 90 fine pixels, kelvin."""
    rng = np.random.default_rng(5)
    rough = ndimage.gaussian_filter(rng.normal(size=(60, 90)), 1.2) * 8.0
    return (300.0 + rough + ndimage.gaussian_filter(rng.normal(size=(60, 90)), 12) * 60.0).astype(np.float32)


@pytest.mark.parametrize("ratio", [2, 3, 5])
def test_bicubic_reads_where_the_protocol_says(field: np.ndarray, ratio: int) -> None:
    coarse = field[:20, :15].astype(np.float64)
    at = [(np.arange(n * ratio) + 0.5) / ratio - 0.5 for n in coarse.shape]
    expected = ndimage.map_coordinates(coarse, np.meshgrid(*at, indexing="ij"), order=3, mode="nearest")
    np.testing.assert_allclose(metrics.upsample_bicubic(coarse, ratio), expected, atol=1e-4)


def test_bicubic_fills_missing_with_the_nearest_valid() -> None:
    coarse = np.full((5, 5), 300.0)
    coarse[2, 2] = np.nan
    np.testing.assert_allclose(metrics.upsample_bicubic(coarse, 3), 300.0)
    assert np.isnan(metrics.upsample_bicubic(np.full((2, 2), np.nan), 3)).all()


def test_nearest_repeats_and_keeps_gaps() -> None:
    out = metrics.upsample_nearest(np.array([[1.0, np.nan]]), 3)
    assert out.shape == (3, 6)
    assert (out[:, :3] == 1.0).all()
    assert np.isnan(out[:, 3:]).all()


def test_errors_over_common_pixels_only() -> None:
    truth = np.array([[300.0, 300.0, 300.0, np.nan]])
    pred = np.array([[301.0, 296.0, np.nan, 500.0]])
    assert metrics.rmse(pred, truth) == pytest.approx(np.sqrt(8.5))
    assert metrics.mae(pred, truth) == 2.5
    assert metrics.bias(pred, truth) == -1.5
    assert np.isnan(metrics.rmse(pred[:, 2:], truth[:, 2:]))


def test_detail_r2_scale(field: np.ndarray) -> None:
    coarse = area_mean_radiance(field, 3)
    flat = metrics.upsample_nearest(coarse, 3)
    assert metrics.detail_r2(field, field, 3) == 1.0
    assert metrics.detail_r2(flat, field, 3) == pytest.approx(0.0, abs=1e-6)
    # Half of the amplitude leaves a quarter of the variance; a shift of the whole image is no
    # matter of detail.
    assert metrics.detail_r2(flat + 0.5 * (field - flat), field, 3) == pytest.approx(0.75, abs=1e-3)
    assert metrics.detail_r2(field + 5.0, field, 3) == pytest.approx(1.0, abs=1e-3)
    assert metrics.detail_r2(2.0 * flat - field, field, 3) == pytest.approx(-3.0, abs=1e-2)
    assert np.isnan(metrics.detail_r2(flat, flat * 0 + 300, 3))


def test_ssim_of_known_images(field: np.ndarray) -> None:
    assert metrics.ssim(field, field) == pytest.approx(1.0)
    blurred = ndimage.gaussian_filter(field, 2.0)
    more = ndimage.gaussian_filter(field, 4.0)
    assert metrics.ssim(field, field) > metrics.ssim(blurred, field) > metrics.ssim(more, field)
    # A constant against a constant leaves the luminance term alone: (2ab + c1) / (a^2 + b^2 + c1).
    one, two = np.full((9, 9), 1.0), np.full((9, 9), 3.0)
    one[0, 0] = two[0, 0] = 0.0
    flat = metrics._ssim_map(np.full((9, 9), 1.0), np.full((9, 9), 3.0), np.ones((9, 9), bool), 1.5, 3.0)
    np.testing.assert_allclose(flat, (6 + 0.0009) / (10 + 0.0009), rtol=1e-6)


def test_ssim_skips_missing_pixels(field: np.ndarray) -> None:
    blurred = ndimage.gaussian_filter(field, 1.0)
    gappy = field.copy()
    gappy[20:30, 30:50] = np.nan
    wild = blurred.copy()
    wild[20:30, 30:50] = 9999.0
    whole, with_gap = metrics.ssim(blurred, field), metrics.ssim(wild, gappy)
    assert with_gap == pytest.approx(whole, abs=0.02)
    assert with_gap == metrics.ssim(blurred, gappy)


def test_conservation_counts_full_cells(field: np.ndarray) -> None:
    coarse = area_mean_radiance(field, 3)
    assert metrics.conservation(field, coarse, 3).max < 1e-4
    shifted = field.copy()
    shifted[0, 0] += 9.0
    shifted[3, 3] = np.nan
    found = metrics.conservation(shifted, coarse, 3)
    assert found.max == pytest.approx(1.0, abs=0.1)
    assert found.cells == coarse.size - 1
    assert found.rms == pytest.approx(found.max / np.sqrt(found.cells), rel=1e-2)
    assert np.isnan(metrics.conservation(field * np.nan, coarse, 3).max)


def test_coverage() -> None:
    pred = np.array([[300.0, np.nan, np.nan, 300.0]])
    assert metrics.coverage(pred, np.array([[True, True, False, False]])) == 0.5
    assert np.isnan(metrics.coverage(pred, np.zeros((1, 4), bool)))


def test_seam_finds_a_lattice_and_only_its_own() -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(300.0, 1.0, (480, 480))
    clean = truth + rng.normal(0.0, 0.3, truth.shape)
    tiled = clean + 0.5 * ((np.indices(truth.shape) // 48).sum(0) % 2)
    assert abs(metrics.seam(clean, truth, period=48, ratio=3).z_score) < 3.0
    found = metrics.seam(tiled, truth, period=48, ratio=3)
    assert found.z_score > 5.0
    assert found.ratio > 1.1
    assert metrics.seam(tiled, truth, period=48, ratio=3, offset=(3, 3)).z_score < 1.0


def test_seam_by_hand() -> None:
    error = np.zeros((16, 16))
    error[8:] = 2.0
    found = metrics.seam(error, np.zeros_like(error), period=8, ratio=2)
    # On the lattice: row and column border 8, jump 2 on one of two; elsewhere no jump at all.
    assert found.z_score == np.inf
    assert np.isnan(found.ratio)
    assert metrics.seam(error * 0, error * 0, period=8, ratio=2).z_score == 0.0
    assert np.isnan(metrics.seam(error[:4, :4], error[:4, :4], period=8, ratio=2).z_score)


@pytest.mark.parametrize(("period", "offset"), [(10, (0, 0)), (9, (0, 0)), (24, (1, 0))])
def test_seam_refuses_a_lattice_off_the_cells(period: int, offset: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="multiples of ratio=3"):
        metrics.seam(np.zeros((48, 48)), np.zeros((48, 48)), period=period, ratio=3, offset=offset)


def test_score_stands_beside_the_baselines(field: np.ndarray) -> None:
    coarse = area_mean_radiance(field, 3)
    rows = metrics.score(field, field, coarse, 3, name="perfect")
    assert list(rows) == ["perfect", "bicubic", "nearest"]
    assert all(tuple(row) == metrics.METRICS for row in rows.values())
    assert rows["perfect"]["rmse"] == 0.0
    assert rows["bicubic"]["rmse_over_bicubic"] == 1.0
    assert rows["nearest"]["rmse"] > rows["bicubic"]["rmse"] > 0.1
    assert rows["nearest"]["detail_r2"] == pytest.approx(0.0, abs=1e-5)
    assert rows["nearest"]["conservation_max"] < 1e-4 < rows["bicubic"]["conservation_max"]


def test_score_compares_all_methods_on_the_same_pixels(field: np.ndarray) -> None:
    coarse = area_mean_radiance(field, 3)
    pred = field.copy()
    pred[:30] = np.nan
    rows = metrics.score(pred, field, coarse, 3)
    bicubic = metrics.upsample_bicubic(coarse, 3)
    assert rows["bicubic"]["rmse"] == pytest.approx(metrics.rmse(bicubic[30:], field[30:]))
    assert rows["lstzoom"]["coverage"] == 0.5
    assert rows["bicubic"]["coverage"] == 1.0
    lower = np.zeros(field.shape, bool)
    lower[30:] = True
    assert metrics.score(pred, field, coarse, 3, valid_in=lower)["lstzoom"]["coverage"] == 1.0


def test_score_names_shapes_that_do_not_fit(field: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"fine grid of \(60, 90\).*\(57, 90\)"):
        metrics.score(field[:57], field, area_mean_radiance(field, 3), 3)


@given(st.floats(-20.0, 20.0), st.integers(0, 2**16))
def test_scores_do_not_depend_on_the_level_of_temperature(shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.normal(300.0, 3.0, (12, 12))
    pred = truth + rng.normal(0.0, 1.0, truth.shape)
    assert metrics.rmse(pred + shift, truth + shift) == pytest.approx(metrics.rmse(pred, truth), rel=1e-9)
    assert metrics.ssim(pred + shift, truth + shift) == pytest.approx(metrics.ssim(pred, truth), rel=1e-6)

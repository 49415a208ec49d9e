"""Interpolation: hand numbers, kept means, the stated reach, symmetry and the filling of gaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import gaussian_filter

from lstzoom.kernels.aggregate import area_mean
from lstzoom.kernels.interpolate import (
    REACH,
    SHARPNESS_FEATURE,
    add_to_cells,
    block_mean,
    cubic_weights,
    fill_gaps,
    interpolate,
    upsample,
)
from lstzoom.metrics import upsample_bicubic

ratios = st.sampled_from([2, 3, 4, 5, 7])
kelvin = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9),
                    elements=st.floats(220, 370, width=32))  # fmt: skip


def keys(distance: float, a: float) -> float:
    """The kernel as Keys (1981) prints it."""
    s = abs(distance)
    if s <= 1:
        return (a + 2) * s**3 - (a + 3) * s**2 + 1
    return a * s**3 - 5 * a * s**2 + 8 * a * s - 4 * a if s < 2 else 0.0


def test_weights_by_hand():
    start, weight = cubic_weights(2, -0.5)
    # Fine pixels lie at -1/4 and +1/4 of a coarse pixel's centre.
    near, centre, far = 0.2265625, 0.8671875, -0.0703125
    np.testing.assert_array_equal(start, [-2, -1])
    np.testing.assert_allclose(weight, [[-0.0234375, near, centre, far], [far, centre, near, -0.0234375]])


@given(ratios, st.sampled_from([SHARPNESS_FEATURE, -0.75]))
def test_weights_are_those_of_keys(ratio, sharpness):
    start, weight = cubic_weights(ratio, sharpness)
    for p in range(ratio):
        at = (p + 0.5) / ratio - 0.5
        expect = [keys(at - (start[p] + k), sharpness) for k in range(4)]
        np.testing.assert_allclose(weight[p], expect, atol=1e-6)
    np.testing.assert_allclose(weight.sum(axis=1), 1.0, atol=1e-6)
    assert start.min() >= -2
    assert (start + 3).max() <= 2


def test_ratio_one_is_the_identity():
    coarse = np.random.default_rng(0).random((4, 5), np.float32)
    np.testing.assert_array_equal(upsample(coarse, 1), coarse)


@given(kelvin, ratios)
def test_upsample_is_the_product_of_keys_weights(coarse, ratio):
    def along(size: int) -> np.ndarray:
        matrix = np.zeros((size * ratio, size))
        for i in range(size * ratio):
            at = (i + 0.5) / ratio - 0.5
            for k in range(-3, size + 3):
                matrix[i, min(max(k, 0), size - 1)] += keys(at - k, SHARPNESS_FEATURE)
        return matrix

    expect = along(coarse.shape[0]) @ coarse.astype(np.float64) @ along(coarse.shape[1]).T
    np.testing.assert_allclose(upsample(coarse, ratio), expect, atol=1e-3)


@given(ratios)
def test_upsample_keeps_a_plane_away_from_the_edge(ratio):
    y, x = np.mgrid[0:9, 0:8].astype(np.float32)
    fine = upsample(2 * y - 3 * x, ratio)
    i, j = (np.mgrid[0 : 9 * ratio, 0 : 8 * ratio] + 0.5) / ratio - 0.5
    inner = (slice(2 * ratio, -2 * ratio),) * 2
    np.testing.assert_allclose(fine[inner], (2 * i - 3 * j)[inner], atol=1e-4)


@given(kelvin, ratios)
def test_block_mean_and_add_to_cells(coarse, ratio):
    rng = np.random.default_rng(coarse.size)
    fine = rng.normal(300, 10, (coarse.shape[0] * ratio, coarse.shape[1] * ratio)).astype(np.float32)
    np.testing.assert_array_equal(block_mean(fine, ratio), area_mean(fine, ratio))
    expect = fine + np.kron(coarse, np.ones((ratio, ratio), np.float32))
    add_to_cells(fine, coarse, ratio)
    np.testing.assert_array_equal(fine, expect)


@given(kelvin, ratios)
@settings(max_examples=200)
def test_means_are_kept(coarse, ratio):
    assert np.abs(block_mean(interpolate(coarse, ratio), ratio) - coarse).max() <= 1e-3


@given(st.floats(200, 380, width=32), ratios)
def test_a_constant_stays(value, ratio):
    coarse = np.full((5, 6), value, np.float32)
    # A few steps of float32 at 300 K.
    np.testing.assert_allclose(interpolate(coarse, ratio), value, atol=2e-4)


@given(kelvin, ratios)
def test_mirror_and_transpose(coarse, ratio):
    # Sums run in another order on a mirrored image, so that only the last digits may differ.
    fine = interpolate(coarse, ratio)
    np.testing.assert_allclose(interpolate(coarse[::-1], ratio), fine[::-1], atol=5e-4)
    np.testing.assert_allclose(interpolate(coarse[:, ::-1], ratio), fine[:, ::-1], atol=5e-4)
    np.testing.assert_allclose(interpolate(coarse.T, ratio), fine.T, atol=5e-4)


@given(kelvin, st.floats(-30, 30, width=32), ratios)
def test_a_constant_is_carried_through(coarse, by, ratio):
    moved = interpolate(coarse + np.float32(by), ratio)
    np.testing.assert_allclose(moved, interpolate(coarse, ratio) + np.float32(by), atol=5e-4)


@given(st.sampled_from([2, 3, 4]), st.integers(0, 17), st.integers(0, 17), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_reach_of_the_interpolation(ratio, y, x, seed):
    rng = np.random.default_rng(seed)
    coarse = rng.normal(300, 20, (18, 18)).astype(np.float32)
    before = interpolate(coarse, ratio)
    coarse[y, x] += 50
    changed = before != interpolate(coarse, ratio)
    rows, columns = np.nonzero(changed)
    assert np.abs(rows // ratio - y).max() <= REACH
    assert np.abs(columns // ratio - x).max() <= REACH


def test_the_reach_is_no_larger_than_it_must_be():
    coarse = np.full((2 * REACH + 3,) * 2, 300, np.float32)
    plain = interpolate(coarse, 3)
    coarse[REACH + 1, REACH + 1] = 1e6
    touched = np.nonzero(interpolate(coarse, 3) != plain)[0] // 3
    assert (touched.min(), touched.max()) == (1, 2 * REACH + 1)


@pytest.mark.parametrize("sigma", [4, 8, 16])
def test_a_smooth_field_is_interpolated_as_well_as_by_a_spline_through_points(sigma):
    noise = np.random.default_rng(sigma).standard_normal((270, 270))
    truth = 300 + 4 * sigma * gaussian_filter(noise, sigma)
    coarse = area_mean(truth, 3)
    inner = (slice(45, -45),) * 2
    error, points = (np.sqrt(np.mean((fine - truth)[inner] ** 2))
                     for fine in (interpolate(coarse, 3), upsample_bicubic(coarse, 3)))  # fmt: skip
    assert error <= 0.7 * points


def test_interpolation_beats_repetition_on_a_smooth_field():
    y, x = (np.mgrid[0:90, 0:90] + 0.5) / 3
    truth = 300 + 5 * np.sin(x / 2) * np.cos(y / 3)
    coarse = area_mean(truth, 3)
    inner = (slice(9, -9),) * 2
    error = np.abs(interpolate(coarse, 3) - truth)[inner].max()
    repeated = np.abs(np.kron(coarse, np.ones((3, 3))) - truth)[inner].max()
    assert error < 0.2 * repeated


def test_fill_by_hand():
    nan = np.nan
    gappy = np.array([[1, nan, nan, nan], [3, nan, nan, nan]], np.float32)
    np.testing.assert_array_equal(fill_gaps(gappy, steps=1), [[1, 2, 0, 0], [3, 2, 0, 0]])
    np.testing.assert_array_equal(fill_gaps(gappy, steps=2), [[1, 2, 2, 0], [3, 2, 2, 0]])
    np.testing.assert_array_equal(fill_gaps(gappy), [[1, 2, 2, 2], [3, 2, 2, 2]])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_whatever_is_not_finite_is_a_gap(bad):
    gappy = np.array([[4.0, bad]], np.float32)
    np.testing.assert_array_equal(fill_gaps(gappy), [[4.0, 4.0]])
    assert not np.isfinite(gappy[0, 1]), "the input must stay as it was"


def test_filling_nothing_at_all():
    np.testing.assert_array_equal(fill_gaps(np.full((2, 3), np.nan, np.float32)), np.zeros((2, 3)))


gappy_planes = st.integers(0, 2**32 - 1).map(
    lambda seed: np.where(
        (rng := np.random.default_rng(seed)).random((20, 22)) < rng.choice([0.3, 0.9, 0.99]),
        np.nan,
        rng.normal(300, 10, (20, 22)),
    ).astype(np.float32)
)


@given(gappy_planes, st.integers(0, 8))
def test_valid_pixels_stay_and_fillings_lie_between_them(plane, steps):
    filled = fill_gaps(plane, steps=steps)
    valid = np.isfinite(plane)
    np.testing.assert_array_equal(filled[valid], plane[valid])
    assert np.isfinite(filled).all()
    reached = filled != 0
    if valid.any():
        assert (filled[reached] >= plane[valid].min() - 1e-3).all()
        assert (filled[reached] <= plane[valid].max() + 1e-3).all()
    ys, xs = np.nonzero(valid)
    for y, x in zip(*np.nonzero(~valid), strict=True):
        near = bool((np.maximum(np.abs(ys - y), np.abs(xs - x)) <= steps).any())
        assert reached[y, x] == near


@given(gappy_planes, st.integers(1, 4), st.integers(0, 8), st.integers(0, 8))
def test_filling_does_not_depend_on_the_block(plane, steps, y, x):
    cut = (slice(y, y + 2 * steps + 4), slice(x, x + 2 * steps + 5))
    inner = (slice(steps, -steps),) * 2
    np.testing.assert_array_equal(
        fill_gaps(plane[cut], steps=steps)[inner], fill_gaps(plane, steps=steps)[cut][inner]
    )


def grown_slowly(plane: np.ndarray, steps: int) -> np.ndarray:
    """Pass after pass over the whole plane."""
    filled = np.where(np.isfinite(plane), plane, np.float32(np.nan))
    for _ in range(steps):
        before = np.pad(filled, 1, constant_values=np.nan)
        for y, x in zip(*np.nonzero(np.isnan(filled)), strict=True):
            near = before[y : y + 3, x : x + 3]
            if np.isfinite(near).any():
                filled[y, x] = (
                    np.cumsum(near[np.isfinite(near)], dtype=np.float64)[-1] / np.isfinite(near).sum()
                )
    return np.nan_to_num(filled, nan=0.0)


@given(gappy_planes, st.integers(0, 30))
@settings(max_examples=40, deadline=None)
def test_filling_from_a_queue_is_filling_pass_by_pass(plane, steps):
    np.testing.assert_array_equal(fill_gaps(plane, steps=steps), grown_slowly(plane, steps))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_planes_of_one_pixel_or_row(shape):
    plane = np.full(shape, np.nan, np.float32)
    np.testing.assert_array_equal(fill_gaps(plane), np.zeros(shape))
    plane[0, 0] = 300
    np.testing.assert_array_equal(
        fill_gaps(plane), np.where(np.arange(9)[: plane.size] <= REACH, 300, 0).reshape(shape)
    )
    for ratio in (1, 2, 7, 10):
        np.testing.assert_allclose(interpolate(np.full(shape, 300, np.float32), ratio), 300, atol=2e-4)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 0)])
def test_nothing_is_interpolated_to_nothing(shape):
    assert interpolate(np.empty(shape, np.float32), 3).shape == (3 * shape[0], 3 * shape[1])

"""Features: hand numbers, a plain regression as the reference, the reach, and freedom of units."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lstzoom.kernels.aggregate import cell_statistics
from lstzoom.kernels.detail import predict_details
from lstzoom.kernels.features import (
    DETAIL_REACH,
    SLOPE_BOX,
    SLOPE_FLOOR,
    band_pairs,
    detail_count,
    detail_features,
    detail_inputs,
    filled_levels,
    level_features,
    normalised_difference,
)
from lstzoom.kernels.interpolate import (
    _upsample,
    block_mean,
    fill_gaps,
    interpolate,
    spline_coefficients,
    spline_weights,
    upsample,
)
from lstzoom.kernels.rows import MAX_PAIRS, MOST_BANDS
from lstzoom.kernels.trees import MOST_COLUMNS, TreeSettings, fit_forest, predict
from tests.kernels.tiny import make_scene

NAN = np.nan
seeds = st.integers(0, 2**32 - 1)
values = hnp.arrays(np.float32, (3, 4), elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False))


def single(a: object) -> np.ndarray:
    return np.asarray(a, np.float32)


def test_pairs_of_bands():
    assert band_pairs(1) == []
    assert band_pairs(3) == [(0, 1), (0, 2), (1, 2)]


def test_normalised_difference_by_hand():
    got = normalised_difference(single([0.5, 0.1, 0.0, -0.1, NAN]), single([0.25, 0.1, 0.0, 0.3, 1.0]))
    np.testing.assert_allclose(got, [1 / 3, 0, 0, -1, NAN], rtol=1e-6)


@given(values, values)
def test_normalised_difference_is_bounded_and_antisymmetric(a, b):
    got = normalised_difference(a, b)
    assert (np.abs(got) <= 1).all()
    np.testing.assert_array_equal(normalised_difference(b, a), -got)


@given(values, values, st.integers(-10, 10))
def test_normalised_difference_has_no_unit(a, b, power):
    unit = np.float32(2.0**power)
    np.testing.assert_allclose(
        normalised_difference(a * unit, b * unit), normalised_difference(a, b), rtol=1e-6
    )


def test_level_features_are_the_bands_and_then_the_pairs():
    bands = np.random.default_rng(0).random((3, 2, 2), np.float32)
    got = level_features(bands, ((0, 2), (1, 2)))
    assert got.shape == (5, 2, 2)
    np.testing.assert_array_equal(got[:3], bands)
    np.testing.assert_array_equal(got[3], normalised_difference(bands[0], bands[2]))
    np.testing.assert_array_equal(got[4], normalised_difference(bands[1], bands[2]))


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_local_fit_is_a_damped_regression(seed):
    rng = np.random.default_rng(seed)
    lst, feature = single(rng.normal(300, 5, (8, 9))), single(rng.normal(0.2, 0.1, (8, 9)))
    usable = rng.random((8, 9)) > rng.choice([0.1, 0.8])
    (slopes, residuals), half = local_fit(lst, feature, usable), SLOPE_BOX // 2
    for y in range(8):
        for x in range(9):
            box = (slice(max(y - half, 0), y + half + 1), slice(max(x - half, 0), x + half + 1))
            t, v = lst[box][usable[box]].astype(float), feature[box][usable[box]].astype(float)
            slope = residual = 0.0
            if len(t) >= 3:
                damp = SLOPE_FLOOR**2 * np.mean(v**2)
                slope = np.mean((t - t.mean()) * (v - v.mean())) / (v.var() + damp)
                residual = lst[y, x] - t.mean() - slope * (feature[y, x] - v.mean())
            np.testing.assert_allclose(slopes[y, x], slope, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(residuals[y, x], residual, rtol=1e-4, atol=1e-4)


def test_local_fit_of_a_linear_scene():
    feature = single(np.random.default_rng(0).normal(0, 1, (7, 7)))
    slope, residual = local_fit(300 - 8 * feature, feature, np.ones((7, 7), bool))
    np.testing.assert_allclose(slope, -8, rtol=1e-3)
    np.testing.assert_allclose(residual, 0, atol=1e-2)


def test_no_slope_on_a_constant_feature_or_without_support():
    lst = single(np.random.default_rng(0).normal(300, 1, (6, 6)))
    for constant in (0.3, 0.0):
        slope, _ = local_fit(lst, np.full((6, 6), constant, np.float32), np.ones((6, 6), bool))
        np.testing.assert_allclose(slope, 0, atol=1e-4)
    alone = np.zeros((6, 6), bool)
    alone[2, 2:4] = True
    slope, residual = local_fit(lst, lst, alone)
    assert (slope == 0).all()
    assert (residual == 0).all()


def local_fit(lst: np.ndarray, feature: np.ndarray, usable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and residual of a fit to one feature that is given on the coarse grid."""
    given = detail_inputs(feature[np.newaxis], lst, usable, 1)
    return given.slope[0], given.residual[0]


def planes_of(levels: np.ndarray, lst: np.ndarray, ratio: int) -> np.ndarray:
    return detail_features(levels, lst, interpolate(lst, ratio), np.ones(lst.shape, bool), ratio)


def test_detail_features_are_in_the_stated_order():
    rng = np.random.default_rng(1)
    levels, lst = single(rng.random((2, 24, 21))), single(rng.normal(300, 4, (8, 7)))
    got = planes_of(levels, lst, 3)
    assert got.shape[0] == detail_count(2) == 9
    np.testing.assert_array_equal(got[2:4], levels)
    np.testing.assert_array_equal(got[8], interpolate(lst, 3))
    for k in range(2):
        coarse = block_mean(levels[k], 3)
        slope, residual = local_fit(lst, coarse, np.ones(lst.shape, bool))
        smooth = np.empty_like(levels[k])
        _upsample(spline_coefficients(coarse, 3), 3, *spline_weights(3), smooth)
        np.testing.assert_allclose(got[k], levels[k] - smooth, atol=1e-5)
        np.testing.assert_allclose(got[4 + k], got[k] * upsample(slope, 3), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(got[6 + k], upsample(residual, 3), rtol=1e-4, atol=1e-4)


@given(st.sampled_from([2, 3, 4]), st.floats(-10, 10, width=32))
def test_a_constant_band_has_no_detail(ratio, value):
    lst = single(np.random.default_rng(0).normal(300, 4, (8, 7)))
    got = planes_of(np.full((1, 8 * ratio, 7 * ratio), value, np.float32), lst, ratio)
    np.testing.assert_allclose(got[0], 0, atol=1e-5)
    np.testing.assert_allclose(got[2], 0, atol=1e-3)


@given(seeds, st.integers(-10, 13))
@settings(max_examples=20, deadline=None)
def test_slopes_times_details_are_in_kelvin(seed, power):
    rng, unit = np.random.default_rng(seed), np.float32(2.0**power)
    levels, lst = single(rng.random((1, 24, 21))), single(rng.normal(300, 4, (8, 7)))
    once, again = planes_of(levels, lst, 3), planes_of(levels * unit, lst, 3)
    np.testing.assert_array_equal(again[:2], once[:2] * unit)
    np.testing.assert_array_equal(again[2:], once[2:])


@given(st.sampled_from([2, 3]), st.integers(0, 14), st.integers(0, 14), seeds)
@settings(max_examples=30, deadline=None)
def test_reach_of_the_detail_features(ratio, y, x, seed):
    rng = np.random.default_rng(seed)
    levels, lst = single(rng.random((1, 15 * ratio, 15 * ratio))), single(rng.normal(300, 4, (15, 15)))
    smooth, usable = interpolate(lst, ratio), rng.random((15, 15)) > 0.1
    before = detail_features(levels, lst, smooth, usable, ratio)
    lst[y, x] += 9
    levels[0, y * ratio, x * ratio] += 1
    usable[y, x] ^= True
    changed = (detail_features(levels, lst, smooth, usable, ratio) != before).any(axis=0)
    rows, columns = (index // ratio for index in np.nonzero(changed))
    assert np.abs(rows - y).max() <= DETAIL_REACH
    assert np.abs(columns - x).max() <= DETAIL_REACH


def test_a_missing_pixel_takes_the_mean_of_its_cell():
    bands = single([[[1, 2, 9, 9], [3, NAN, 9, 9]], [[4, 4, NAN, NAN], [8, 8, NAN, np.inf]]])
    mean = single([[[2, 9]], [[6, NAN]]])
    got = filled_levels(bands, mean, np.zeros((1, 2), bool), ((0, 1),), 2)
    np.testing.assert_array_equal(got[0], [[1, 2, 9, 9], [3, 2, 9, 9]])
    # The cell without any is filled from the cell beside it.
    np.testing.assert_array_equal(got[1], [[4, 4, 6, 6], [8, 8, 6, 6]])
    np.testing.assert_array_equal(got[2], normalised_difference(got[0], got[1]))
    assert np.isnan(bands[0, 1, 1]), "the input must stay as it was"


def test_without_gaps_nothing_is_filled():
    bands = make_scene(3).bands
    mean = np.stack([block_mean(plane, 3) for plane in bands])
    np.testing.assert_array_equal(filled_levels(bands, mean, np.ones(mean.shape[1:], bool), (), 3), bands)


@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize("ratio", [2, 3, 7, 10])
@pytest.mark.parametrize("shape", [(13, 12), (11, 1), (1, 9), (10, 3)])
def test_details_are_predicted_from_their_features(ratio, shape, gap):
    rng = np.random.default_rng([ratio, *shape])
    fine = (shape[0] * ratio, shape[1] * ratio)
    levels, lst = single(rng.random((3, *fine))), single(rng.normal(300, 4, shape))
    usable = rng.random(shape) > (0.3 if gap else -1)
    smooth = interpolate(lst, ratio)
    planes = detail_features(levels, lst, smooth, usable, ratio)
    rows = np.ascontiguousarray(planes.reshape(len(planes), -1).T)
    bits = rng.integers(0, 2**64, len(rows), np.uint64)
    target, weight = single(rng.normal(size=len(rows))), np.ones(len(rows), np.float32)
    forests = tuple(
        fit_forest(rows, target, weight, bits, TreeSettings(trees, 6, 3, 0.5)) for trees in (4, 1)
    )
    for margin in range(min(4, (min(shape) + 1) // 2)):
        inner = tuple(slice(margin * ratio, n - margin * ratio) for n in fine)
        inside = np.ascontiguousarray(smooth[inner])
        got = predict_details(levels, lst, inside, usable, margin, ratio, forests)
        for forest, one in zip(forests, got, strict=True):
            np.testing.assert_array_equal(one, predict(forest, planes)[inner])


@given(seeds, st.sampled_from([1, 2, 3, 7]), st.sampled_from([0.0, 0.02, 0.5, 1.0]))
@settings(max_examples=30, deadline=None)
def test_filled_levels_by_definition(seed, ratio, share):
    rng = np.random.default_rng(seed)
    bands = single(rng.random((2, 6 * ratio, 5 * ratio)))
    bands[rng.random(bands.shape) < share] = rng.choice([np.nan, np.inf])
    bands[:, : rng.integers(0, 6) * ratio] = 0.5
    given = cell_statistics(bands, ratio)
    got = filled_levels(bands, given.mean, given.whole, ((0, 1),), ratio)
    for k in range(2):
        cells = np.kron(fill_gaps(given.mean[k]), np.ones((ratio, ratio), np.float32))
        np.testing.assert_array_equal(got[k], np.where(np.isfinite(bands[k]), bands[k], cells))
    np.testing.assert_array_equal(got[2], normalised_difference(got[0], got[1]))


@given(*[hnp.arrays(np.float32, 40, elements=st.floats(width=32, allow_nan=False, allow_infinity=False))] * 2)
def test_a_normalised_difference_of_any_numbers_is_a_number(a, b):
    assert (np.abs(normalised_difference(a, b)) <= 1).all()
    assert (np.abs(normalised_difference(a, -a)) <= 1).all()


def test_bands_have_as_many_features_as_trees_can_tell_apart():
    assert detail_count(MOST_BANDS + MAX_PAIRS) <= MOST_COLUMNS < detail_count(MOST_BANDS + 1 + MAX_PAIRS)

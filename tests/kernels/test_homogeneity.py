"""Coefficient of variation and the weight that follows from it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lstzoom.kernels.homogeneity import CV_FLOOR, coefficient_of_variation, sample_weight

bands = hnp.arrays(np.float32, (3, 2, 2), elements=st.floats(-1, 1, width=32))
spreads = hnp.arrays(np.float32, (3, 2, 2), elements=st.floats(0, 1, width=32))


def cv(mean: list[float], std: list[float]) -> float:
    def column(values: list[float]) -> np.ndarray:
        return np.array(values, np.float32).reshape(-1, 1, 1)

    return float(coefficient_of_variation(column(mean), column(std))[0, 0])


def test_by_hand():
    assert cv([0.2], [0.05]) == pytest.approx(0.25)
    assert cv([0.2, 0.4], [0.05, 0.1]) == pytest.approx(0.25)
    assert cv([0.2, 0.4], [0.0, 0.1]) == pytest.approx(0.125)
    assert cv([-0.2], [0.05]) == pytest.approx(0.25)


def test_a_mean_of_zero_is_floored_by_the_other_bands():
    # The root mean square over both bands is 0.3 (the spread hardly counts).
    mean = [0.0, 0.3 * np.sqrt(2)]
    assert cv(mean, [0.003, 0.0]) == pytest.approx(0.003 / (CV_FLOOR * 0.3) / 2, rel=1e-3)


def test_a_single_index_with_a_mean_of_zero():
    assert cv([0.0], [0.4]) == pytest.approx(1 / CV_FLOOR)


@pytest.mark.parametrize("mean", [[0.0, 0.0], [0.1, 0.0], [-0.02, 0.3]])
def test_a_constant_pixel_has_none_whatever_its_mean(mean):
    assert cv(mean, [0.0, 0.0]) == 0.0


@pytest.mark.parametrize("mean", [[0.1, np.nan], [0.0, np.nan], [np.nan, 0.0]])
def test_missing_stays_missing(mean):
    assert np.isnan(cv(mean, np.where(np.isnan(mean), np.nan, 0.0)))


@given(bands, spreads, st.integers(-13, 13))
def test_no_unit(mean, std, power):
    unit = np.float32(2.0**power)
    # Near the smallest floats there, which have a unit, is nothing to measure.
    mean, std = np.where(np.abs(mean) < 1e-20, 0, mean), np.where(std < 1e-20, 0, std)
    once, again = coefficient_of_variation(mean, std), coefficient_of_variation(mean * unit, std * unit)
    np.testing.assert_allclose(again, once, rtol=1e-6)


@given(bands, spreads)
def test_bounds(mean, std):
    got = coefficient_of_variation(mean, std)
    assert (got >= 0).all()
    assert (got <= np.sqrt(3) / CV_FLOOR * (1 + 1e-6)).all()


@given(hnp.arrays(np.float32, 9, elements=st.floats(0, 100, width=32)), st.floats(0.01, 1))
def test_weights_fall_with_the_variation(values, threshold):
    weight = sample_weight(np.sort(values), cv_threshold=threshold)
    assert weight.dtype == np.float32
    assert (weight > 0).all()
    assert (weight <= 1).all()
    assert (np.diff(weight) <= 0).all()
    assert (weight[np.sort(values) <= np.float32(threshold)] == 1).all()

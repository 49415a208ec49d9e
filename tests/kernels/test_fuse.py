"""How much a window trusts its own model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lstzoom.kernels.fuse import ERROR_FLOOR, local_weight

kelvin = hnp.arrays(np.float32, 8, elements=st.floats(250, 350, width=32))


def single(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_by_hand():
    # Mean squared errors are 1 and 4 K2, and the floor is added to both.
    weight = local_weight(single(300, 300), single(301, 299), single(302, 302))
    assert weight == pytest.approx((4 + ERROR_FLOOR) / (5 + 2 * ERROR_FLOOR))


def test_two_perfect_models_share():
    assert local_weight(single(300), single(300), single(300)) == 0.5


def test_a_perfect_local_model_against_an_error_of_one_kelvin():
    assert local_weight(single(300), single(300), single(301)) == pytest.approx(1.01 / 1.02)


@pytest.mark.parametrize(
    ("local", "world"), [((np.nan, np.nan), (300, 300)), ((300, 300), (np.nan, np.nan)),
                         ((np.nan, 300), (300, np.nan)), ((), ())]
)  # fmt: skip
def test_nothing_to_compare(local, world):
    target = np.full(len(local), 300, np.float32)
    assert local_weight(target, single(*local), single(*world)) == 0.0


@given(kelvin, kelvin, kelvin)
def test_between_zero_and_one_and_complementary(target, local, world):
    one, other = local_weight(target, local, world), local_weight(target, world, local)
    assert 0 <= one <= 1
    assert one + other == pytest.approx(1.0)


@given(kelvin, kelvin, kelvin, hnp.arrays(bool, 8), hnp.arrays(bool, 8))
def test_only_samples_with_both_predictions_count(target, local, world, no_local, no_world):
    both = ~(no_local | no_world)
    got = local_weight(target, np.where(no_local, np.float32(np.nan), local),
                       np.where(no_world, np.float32(np.nan), world))  # fmt: skip
    assert got == pytest.approx(local_weight(target[both], local[both], world[both]))

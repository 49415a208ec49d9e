"""Amplitude of detail: hand numbers, a plain reference, and what makes it zero."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstzoom.kernels.amplitude import (
    MAX_GAIN,
    MAX_RELIABILITY,
    MIN_PAIRS,
    amplitude_of,
    correlation,
    share_of_levels,
)

seeds = st.integers(0, 2**32 - 1)


def grid(height: int, width: int) -> np.ndarray:
    return np.arange(height * width, dtype=np.int32).reshape(height, width)


def single(a: object) -> np.ndarray:
    return np.asarray(a, np.float32)


def checkers(height: int = 8, width: int = 9) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return ((-1.0) ** (x + y)).ravel()


@pytest.mark.parametrize(("factor", "gain"), [(1.0, 1.0), (0.5, 0.5), (1.4, 1.4), (4.0, MAX_GAIN)])
def test_a_prediction_that_is_right_up_to_a_factor(factor, gain):
    predicted = single(300 + checkers())
    target = single(310 + factor * checkers())
    amplitude, reliability = amplitude_of(target, predicted, grid(8, 9))
    assert amplitude == pytest.approx(gain, rel=1e-3)
    assert reliability == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("predicted", [300 - checkers(), np.full(72, 300.0)], ids=["opposite", "constant"])
def test_nothing_to_believe(predicted):
    amplitude, reliability = amplitude_of(single(300 + checkers()), single(predicted), grid(8, 9))
    assert (amplitude, reliability) == (0, 0)


def test_levels_do_not_count():
    # A perfect slope across the window has no detail inside it.
    slope = single(np.repeat(np.arange(8.0), 9))
    noise = np.random.default_rng(0).normal(0, 1, 72)
    amplitude, _ = amplitude_of(single(300 + slope - noise), single(300 + slope + noise), grid(8, 9))
    assert amplitude == 0


def test_too_few_pairs():
    # Three by four pixels all have enough neighbours but the corners: fewer than MIN_PAIRS.
    assert MIN_PAIRS > 3 * 4
    t = single(300 + checkers(3, 4))
    assert amplitude_of(t, t, grid(3, 4)) == (0.0, 0.0)
    t = single(300 + checkers(5, 5))
    assert amplitude_of(t, t, grid(5, 5))[0] > 0


def test_nothing_at_all():
    nothing = np.empty(0, np.float32)
    assert amplitude_of(nothing, nothing, np.full((4, 4), -1, np.int32)) == (0.0, 0.0)


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_against_plain_python(seed):
    rng = np.random.default_rng(seed)
    place = np.full((9, 10), -1, np.int32)
    there = rng.random(place.shape) > 0.1
    n = int(there.sum())
    place[there] = rng.permutation(n)
    target = single(rng.normal(300, 2, n))
    predicted = single(0.5 * target + 150 + rng.normal(0, 1, n))
    predicted[rng.random(n) < 0.05] = np.nan
    pairs = []
    for (y, x), k in np.ndenumerate(place):
        if k < 0 or np.isnan(predicted[k]):
            continue
        around = place[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        around = around[around >= 0]
        finite = around[np.isfinite(predicted[around])]
        if len(finite) >= 6:
            pairs.append((target[k] - target[finite].mean(dtype=float),
                          predicted[k] - predicted[finite].mean(dtype=float)))  # fmt: skip
    t, p = np.array(pairs, np.float64).T
    rho2 = (t @ p) ** 2 / ((t @ t) * (p @ p)) if t @ p > 0 else 0.0
    gain = min(t @ p / (p @ p), MAX_GAIN)
    got = amplitude_of(target, predicted, place)
    np.testing.assert_allclose(got, (gain * rho2 if rho2 else 0, rho2), rtol=1e-4, atol=1e-6)


@given(seeds, st.floats(-50, 50))
@settings(max_examples=30, deadline=None)
def test_bounds_and_constants(seed, constant):
    rng = np.random.default_rng(seed)
    target, predicted = (single(rng.normal(300, 2, 72)) for _ in range(2))
    amplitude, reliability = amplitude_of(target, predicted, grid(8, 9))
    assert 0 <= reliability <= 1
    assert 0 <= amplitude <= MAX_GAIN
    moved = amplitude_of(single(target + constant), single(predicted + constant), grid(8, 9))
    assert moved[0] == pytest.approx(amplitude, abs=1e-3)


def test_correlation_by_hand():
    t = single(np.tile([1.0, -1.0, 2.0, 0.0], 4))
    assert correlation(t, t) == pytest.approx(1.0)
    assert correlation(t, 3 * t) == pytest.approx(1.0)
    assert correlation(t, -t) == 0.0
    # About zero, not about the mean: 8 / sqrt(24 * 16).
    assert correlation(t, np.ones(16, np.float32)) == pytest.approx(8 / np.sqrt(24 * 16))
    assert correlation(t, np.zeros(16, np.float32)) == 0.0
    assert correlation(t[: MIN_PAIRS - 1], t[: MIN_PAIRS - 1]) == 0.0


def test_shares_by_hand():
    # The reliability of the level view counts squared: signal to noise of 0.25 is 1/3, of 0.64 is 16/9.
    got = share_of_levels(single([0.5, 0.8, 0.0]), 0.5)
    np.testing.assert_allclose(got, [1 / 4, 16 / 25, 0], rtol=1e-5)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(share_of_levels(single([0.0, 0.3]), 0.0), [0, 1])
    np.testing.assert_allclose(share_of_levels(single([1.0]), MAX_RELIABILITY), [0.5], rtol=1e-5)


@given(st.floats(0, 1, width=32), st.floats(0, 1, width=32), st.floats(0, 1))
def test_the_more_reliable_the_larger_the_share(a, b, detail):
    low, high = share_of_levels(single(sorted([a, b])), detail)
    assert 0 <= low <= high <= 1

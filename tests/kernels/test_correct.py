"""Residual correction: conservation in radiance for any cell, the reach, and what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lstzoom.kernels.aggregate import area_mean_radiance
from lstzoom.kernels.correct import REACH, correct_residual, radiance_residual

ratios = st.sampled_from([2, 3, 4, 7])
seeds = st.integers(0, 2**32 - 1)
PROMISE = 1e-3
"""Kelvin; ten times closer than what is promised to users."""


def single(a: object) -> np.ndarray:
    return np.asarray(a, np.float32)


def brightness(fine: np.ndarray, ratio: int) -> np.ndarray:
    """What a radiometer sees, in float64."""
    ny, nx = fine.shape
    cells = fine.astype(np.float64).reshape(ny // ratio, ratio, nx // ratio, ratio)
    return np.asarray((cells**4).mean(axis=(1, 3)) ** 0.25)


def test_residual_by_hand():
    # Uniform cells: the residual is the plain difference.
    fine = single(np.repeat(np.repeat([[300, 310]], 2, 0), 2, 1))
    np.testing.assert_allclose(radiance_residual(fine, single([[305, 300]]), 2), [[5, -10]], rtol=1e-6)


def test_residual_of_a_mixed_cell():
    fine = single([[280, 280], [320, 320]])
    goal = (0.5 * (285.0**4 + 325.0**4)) ** 0.25
    np.testing.assert_allclose(radiance_residual(fine, single([[goal]]), 2), [[5]], atol=1e-4)


@given(hnp.arrays(np.float32, (6, 6), elements=st.floats(230, 370, width=32)),
       hnp.arrays(np.float32, (2, 2), elements=st.floats(230, 370, width=32)))  # fmt: skip
@settings(max_examples=300)
def test_the_constant_solves_the_equation(fine, coarse):
    moved = fine + np.repeat(np.repeat(radiance_residual(fine, coarse, 3).astype(np.float64), 3, 0), 3, 1)
    np.testing.assert_allclose(brightness(moved, 3), coarse, atol=PROMISE)


@given(seeds, ratios, st.sampled_from([0.1, 2, 10, 30]))
@settings(max_examples=60, deadline=None)
def test_conservation_of_random_fields(seed, ratio, spread):
    rng = np.random.default_rng(seed)
    coarse = single(rng.normal(300, spread, (7, 8)).clip(220, 380))
    fine = single(rng.normal(300, spread, (7 * ratio, 8 * ratio)).clip(220, 380))
    correct_residual(fine, coarse, ratio)
    np.testing.assert_allclose(area_mean_radiance(fine, ratio), coarse, atol=PROMISE)


@pytest.mark.parametrize("ratio", [2, 3, 4, 7])
@pytest.mark.parametrize("hot", [0.02, 0.5, 0.98])
def test_conservation_with_230_and_370_kelvin_in_one_cell(ratio, hot):
    rng = np.random.default_rng(ratio)
    fine = single(np.where(rng.random((8 * ratio, 8 * ratio)) < hot, 370, 230))
    coarse = single(rng.choice([235, 300, 365], (8, 8)))
    correct_residual(fine, coarse, ratio)
    np.testing.assert_allclose(brightness(fine, ratio), coarse, atol=PROMISE)


@given(seeds, ratios)
@settings(max_examples=20, deadline=None)
def test_what_conserves_is_left_alone(seed, ratio):
    fine = single(np.random.default_rng(seed).normal(300, 5, (5 * ratio, 6 * ratio)))
    before = fine.copy()
    residual = correct_residual(fine, area_mean_radiance(fine, ratio), ratio)
    np.testing.assert_allclose(residual, 0, atol=1e-4)
    np.testing.assert_allclose(fine, before, atol=2e-4)


@given(seeds, ratios)
@settings(max_examples=20, deadline=None)
def test_a_uniform_residual_is_a_uniform_shift_of_a_uniform_field(seed, ratio):
    fine = np.full((5 * ratio, 6 * ratio), 300, np.float32)
    by = np.random.default_rng(seed).uniform(-30, 30)
    residual = correct_residual(fine, np.full((5, 6), 300 + by, np.float32), ratio)
    np.testing.assert_allclose(residual, by, atol=1e-3)
    np.testing.assert_allclose(fine, 300 + by, atol=1e-3)


def test_the_residual_that_is_returned_is_that_before_correction():
    rng = np.random.default_rng(4)
    fine, coarse = single(rng.normal(300, 5, (9, 9))), single(rng.normal(300, 5, (3, 3)))
    expect = radiance_residual(fine, coarse, 3)
    np.testing.assert_array_equal(correct_residual(fine, coarse, 3), expect)
    np.testing.assert_allclose(radiance_residual(fine, coarse, 3), 0, atol=1e-4)


@given(st.sampled_from([2, 3, 4]), st.integers(0, 10), st.integers(0, 10), seeds, st.booleans())
@settings(max_examples=40, deadline=None)
def test_reach_of_the_correction(ratio, y, x, seed, through_coarse):
    rng = np.random.default_rng(seed)
    coarse = single(rng.normal(300, 5, (11, 11)))
    fine = single(rng.normal(300, 5, (11 * ratio, 11 * ratio)))
    before, after = fine.copy(), fine.copy()
    correct_residual(before, coarse, ratio)
    if through_coarse:
        coarse[y, x] += 20
    else:
        after[y * ratio, x * ratio] += 20
    correct_residual(after, coarse, ratio)
    rows, columns = (index // ratio for index in np.nonzero(before != after))
    assert np.abs(rows - y).max() <= REACH
    assert np.abs(columns - x).max() <= REACH


def test_no_trace_of_the_grid_where_the_residual_is_smooth():
    # A residual that varies slowly must not come back as steps at the borders of cells.
    y, x = (np.mgrid[0:60, 0:60] + 0.5) / 3
    goal = 300 + 0.2 * x - 0.1 * y
    fine = np.full((60, 60), 300, np.float32)
    correct_residual(fine, area_mean_radiance(goal, 3), 3)
    inner = (slice(9, -9),) * 2
    np.testing.assert_allclose(fine[inner], goal[inner], atol=2e-3)

"""The uncertainty: hand numbers, and what it must be wherever there is a value."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstzoom.kernels.features import level_features
from lstzoom.kernels.quality import QA
from lstzoom.kernels.rows import Rows, aggregate_block
from lstzoom.kernels.trees import predict
from lstzoom.kernels.uncertainty import (
    COVERAGE,
    LEAST_FADING,
    NORMAL,
    UNKNOWN,
    FadingSums,
    fading,
    fading_sums,
    fit_errors,
    unlearned,
)
from tests.kernels.tiny import make_scene, sharpen, train, trained, with_gaps
from tests.kernels.tiny import settings as block_settings


def some_rows(n: int = 4000, *, features: int = 3, seed: int = 0) -> Rows:
    """Rows whose target is noise, ten times louder where the first feature is positive."""
    rng = np.random.default_rng(seed)
    planes = rng.normal(size=(n, features)).astype(np.float32)
    target = rng.normal(size=n) * np.where(planes[:, 0] > 0, 2.0, 0.2)
    bits = rng.integers(0, 2**63, n, dtype=np.uint64)
    stratum = np.zeros(n, np.int32)
    return Rows(bits, stratum, bits, planes, target.astype(np.float32), np.ones(n, np.float32))


def zeros(rows: Rows) -> np.ndarray:
    return np.zeros(len(rows), np.float32)


# By hand


def test_errors_are_told_apart_where_features_tell_them():
    rows = some_rows()
    model = fit_errors(rows, zeros(rows), 1.0, 1.0, seed=0)
    assert model.trees is not None
    fresh = some_rows(seed=1)
    planes = np.ascontiguousarray(fresh.features.T[:, :, None])
    sigma = predict(model.trees, planes)[:, 0] * model.factor
    loud = fresh.features[:, 0] > 0
    assert sigma[loud].mean() > 5 * sigma[~loud].mean()
    covered = np.abs(fresh.target) <= NORMAL * sigma
    assert covered.mean() == pytest.approx(COVERAGE, abs=0.03)
    for part in (loud, ~loud):
        assert covered[part].mean() == pytest.approx(COVERAGE, abs=0.06)


@given(st.floats(LEAST_FADING, 1.0), st.integers(0, 20))
@settings(max_examples=15, deadline=None)
def test_fading_scales_everything(fade, seed):
    rows = some_rows(500, seed=seed)
    plain, faded = (fit_errors(rows, zeros(rows), 1.0, f, seed=0) for f in (1.0, fade))
    assert faded.factor == pytest.approx(fade * plain.factor, rel=1e-6)
    assert faded.constant == pytest.approx(fade * plain.constant, rel=1e-6)


def test_few_rows_have_one_error():
    rows = some_rows(200)
    model = fit_errors(rows, zeros(rows), 1.0, 1.0, seed=0)
    assert model.trees is None
    assert NORMAL * model.constant == pytest.approx(np.quantile(np.abs(rows.target), COVERAGE), rel=0.05)


def test_without_rows_nothing_is_stated():
    rows = some_rows(0)
    model = fit_errors(rows, zeros(rows), 1.0, 1.0, seed=0)
    assert np.isnan(model.constant)
    # Rows that all trees have seen tell nothing either.
    seen = some_rows(50)
    assert np.isnan(fit_errors(seen, np.full(50, np.nan, np.float32), 1.0, 1.0, seed=0).constant)


def test_what_is_not_added_is_missing():
    # Half of the variance is predicted: without it the error is larger by the root of two.
    rows = some_rows(3000)
    predicted = np.random.default_rng(3).normal(size=3000).astype(np.float32)
    noise = np.random.default_rng(4).normal(size=3000).astype(np.float32)
    model = fit_errors(replace(rows, target=predicted + noise), predicted, 1.0, 1.0, seed=0)
    assert model.plain == pytest.approx(np.sqrt(2), rel=0.05)


def test_a_prediction_that_harms_is_no_reason_to_be_surer_without():
    rows = some_rows(1000)
    assert fit_errors(rows, 5 * rows.features[:, 1], 1.0, 1.0, seed=0).plain == 1.0


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_fading_is_bounded_and_adds_up(seed):
    rng = np.random.default_rng(seed)
    levels = rng.normal(size=(3, 54, 54)).astype(np.float32)
    lst = rng.normal(300, 3, (18, 18)).astype(np.float32)
    usable = rng.random((18, 18)) > 0.1
    sums = fading_sums(levels, lst, usable, (slice(0, 18), slice(0, 18)), 3)
    assert sums.fine[-1] == 9 * usable.sum()
    rows = some_rows(300, seed=seed)
    assert LEAST_FADING <= fading(sums, rows) <= 1.0
    np.testing.assert_array_equal((sums + sums).fine, 2 * sums.fine)
    nothing = FadingSums(np.zeros(4), np.zeros(2), np.zeros(2), np.zeros(2))
    assert fading(nothing, rows) == 1.0


def test_detail_that_is_as_large_at_every_scale_does_not_fade():
    # The target is the first feature, with as much variance at both scales.
    rows = some_rows(1000)
    rows = replace(rows, target=rows.features[:, 0].copy())
    variance = (rows.features.astype(np.float64) ** 2).mean(axis=0)
    fine = np.append(variance, 1.0)
    assert fading(FadingSums(fine, np.ones(2), np.ones(2), np.ones(2)), rows) == pytest.approx(1.0, abs=0.02)
    # A quarter of the variance of LST: its fourth root.
    near = np.array([0.25, 1.0])
    assert fading(FadingSums(fine, near, np.ones(2), np.ones(2)), rows) == pytest.approx(0.25**0.25, rel=0.02)


# On blocks


@given(st.sampled_from([2, 3, 4]), st.integers(0, 20))
@settings(max_examples=25, deadline=None)
def test_it_is_known_wherever_there_is_a_value(ratio, seed):
    scene, model = trained(ratio, 2)
    out = sharpen(with_gaps(scene, seed), model)
    np.testing.assert_array_equal(np.isfinite(out.lst_uncertainty), np.isfinite(out.lst))
    assert np.nanmin(out.lst_uncertainty) > 0


@pytest.mark.parametrize("seed", range(3))
def test_it_is_larger_without_vnir(seed):
    scene, model = trained(3, 2, seed)
    bands = scene.bands.copy()
    bands[:, 20:50, 20:60] = np.nan
    hidden = sharpen(replace(scene, bands=bands), model)
    seen = sharpen(scene, model)
    gap = hidden.qa == QA.INTERPOLATED
    assert gap.sum() == 30 * 40
    assert model.errors.plain > 1.1
    assert hidden.lst_uncertainty[gap].mean() > 1.1 * seen.lst_uncertainty[gap].mean()


@pytest.mark.parametrize("seed", range(3))
def test_it_holds_on_a_scene_with_a_known_answer(seed):
    scene, model = trained(3, 2, seed)
    # The truth of this scene is not blurred.
    out = sharpen(scene, replace(model, footprint=0.0))
    covered = np.abs(out.lst - scene.truth) <= NORMAL * out.lst_uncertainty
    # So small a scene is hardly known one scale up, where the noise of reflectance is averaged away.
    assert 0.60 <= covered.mean() <= 0.99


def test_the_published_method_states_none():
    scene, model = trained(3, 2)
    out = sharpen(scene, model, block_settings(3, calibrated=False))
    assert np.isnan(out.lst_uncertainty).all()


def test_it_does_not_depend_on_the_box():
    scene, model = trained(3, 2)
    boxed = sharpen(scene, model, block_settings(3, box=3))
    np.testing.assert_array_equal(boxed.lst_uncertainty, sharpen(scene, model).lst_uncertainty)


def test_noise_that_nothing_explains_makes_it_larger():
    quiet = make_scene(3, 2)
    assert quiet.truth is not None
    loud_lst = quiet.lst + np.random.default_rng(0).normal(0, 3, quiet.lst.shape).astype(np.float32)
    loud = replace(quiet, lst=loud_lst)
    one, other = (sharpen(s, train(s)).lst_uncertainty.mean() for s in (quiet, loud))
    assert other > 2 * one


def test_a_gap_in_the_lst_does_not_count_as_detail():
    scene = make_scene(2, 1, size=(96, 96))
    block = aggregate_block(scene.bands, scene.lst, 2, cv_threshold=0.1)
    levels = level_features(scene.bands, ())
    core = (slice(8, 88), slice(8, 88))
    whole = fading_sums(levels, block.lst, block.trainable, core, 2)
    lst = block.lst.copy()
    lst[:, 48:] = np.nan
    half = fading_sums(levels, lst, block.trainable & np.isfinite(lst), core, 2)
    for name in ("near", "far"):
        one, other = getattr(whole, name), getattr(half, name)
        assert other[0] / other[1] < 3 * one[0] / one[1]


def test_without_detail_the_roughness_of_the_lst_is_known():
    lst = np.tile(np.float32([300, 302]), (8, 4))
    nothing = np.zeros((1, 24, 24), np.float32)
    sums = fading_sums(nothing, lst, np.zeros(lst.shape, bool), (slice(0, 8), slice(0, 8)), 3)
    assert (sums + sums).roughness == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("apart", "expected"), [(0.0, UNKNOWN), (1.0, UNKNOWN), (20.0, np.sqrt(2) * 10)], ids=str
)
def test_without_neighbours_no_pixel_is_known_well(apart, expected):
    checkers = np.where(np.add.outer(np.arange(8), np.arange(8)) % 2, np.nan, 300).astype(np.float32)
    nothing = np.zeros((1, 24, 24), np.float32)
    sums = fading_sums(nothing, checkers, np.isfinite(checkers), (slice(0, 8), slice(0, 8)), 3)
    assert np.isnan(sums.roughness)
    rows = some_rows(100)
    rows = replace(rows, target=(300 + apart * (np.arange(100) % 2)).astype(np.float32))
    assert unlearned(sums, rows) == pytest.approx(expected)
    assert unlearned(sums, rows.take(np.zeros(100, np.bool_))) == UNKNOWN


def test_with_neighbours_their_difference_is_told():
    lst = np.tile(np.float32([300, 302]), (8, 4))
    sums = fading_sums(
        np.zeros((1, 24, 24), np.float32), lst, np.isfinite(lst), (slice(0, 8), slice(0, 8)), 3
    )
    assert unlearned(sums, some_rows(0)) == sums.roughness == pytest.approx(2.0)

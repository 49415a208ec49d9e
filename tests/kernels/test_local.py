"""Local models: bins, starved windows, and a slow blend in plain Python as the reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstzoom.kernels import local
from lstzoom.kernels.amplitude import amplitude_of
from lstzoom.kernels.fuse import local_weight
from lstzoom.kernels.local import LOCAL_BINS, Blend, Coarse, LocalSettings, blend_windows
from lstzoom.kernels.rows import level_bits
from lstzoom.kernels.trees import Forest, TreeSettings, fit_forest, predict, predict_out_of_bag
from lstzoom.kernels.windows import reach_of, spans
from lstzoom.types import YX

RATIO = 2
TREES = TreeSettings(4, 4, 3)
HOW = LocalSettings(stride=6, extension=2, min_samples=20, trees=TREES)
seeds = st.integers(0, 2**32 - 1)


def single(a: object) -> np.ndarray:
    return np.asarray(a, np.float32)


def few_values(seed: int, shape: tuple[int, int] = (15, 17), valid: float = 0.9) -> tuple[Coarse, np.ndarray]:
    """A block whose features have so few values that equal bins hold one value each."""
    rng = np.random.default_rng(seed)
    fine = single(rng.integers(0, 9, (2, shape[0] * RATIO, shape[1] * RATIO)))
    levels = fine[:, ::RATIO, ::RATIO].copy()
    lst = single(300 + levels[0] + 0.3 * levels[1] ** 2 + rng.normal(0, 1, shape))
    trainable = rng.random(shape) < valid
    lst[rng.random(shape) < 0.05] = np.nan
    trainable &= np.isfinite(lst)
    bits = level_bits(seed, YX(0, 0), shape)
    prior = single(lst + rng.normal(0, 2, shape))
    weight = single(rng.uniform(0.2, 1, shape))
    return Coarse(levels, lst, trainable, weight, bits, prior), fine


def blend(coarse: Coarse, fine: np.ndarray, prior_fine: np.ndarray, how: LocalSettings = HOW) -> Blend:
    height, width = coarse.lst.shape
    lattice = {"stride": how.stride, "extension": how.extension}
    rows = list(spans(0, height, slice(2, height - 1), **lattice))
    columns = list(spans(0, width, slice(1, width - 3), **lattice))
    return blend_windows(coarse, fine, prior_fine, rows, columns, YX(0, 0), RATIO, how)


def inside(a: np.ndarray) -> np.ndarray:
    """The part that `blend` predicts."""
    return a[2 * RATIO : -1 * RATIO, 1 * RATIO : -3 * RATIO]


def slowly(coarse: Coarse, fine: np.ndarray, prior_fine: np.ndarray, how: LocalSettings) -> Blend:
    """The same by plain loops over windows."""
    height, width = coarse.lst.shape
    sums = np.zeros((5, height * RATIO, width * RATIO))
    y, x = ((np.arange(n * RATIO) + 0.5) / RATIO for n in (height, width))
    for i in range(0, height + how.stride, how.stride):
        for j in range(0, width + how.stride, how.stride):
            one = reach_of(how.stride)
            tall, wide = (
                np.clip((one - np.abs(at - centre)) / (2 * one - how.stride), 0.0, 1.0)
                for at, centre in ((y, i), (x, j))
            )
            tent = np.outer(tall, wide)
            reach = one + how.extension
            cut = (slice(max(i - reach, 0), i + reach), slice(max(j - reach, 0), j + reach))
            own, share, figures = window(coarse, fine, cut, how)
            mine = prior_fine if own is None else own
            fused = share * mine + (1 - share) * prior_fine
            for k, value in enumerate((mine, fused, share, *figures)):
                sums[k] += tent * np.asarray(value)
    return Blend(*single(sums))


def node_arrays(how: TreeSettings) -> tuple[np.ndarray, ...]:
    shape = (how.trees, 2 ** (how.max_depth + 1))
    return (
        np.zeros(shape, np.int16),
        np.zeros(shape, np.float32),
        np.full(shape, -1, np.int32),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.uint64),
        np.zeros(how.trees, np.int64),
    )


def window_forest(
    rows: np.ndarray, target: np.ndarray, weight: np.ndarray, bits: np.ndarray, how: TreeSettings
) -> Forest:
    arrays = node_arrays(how)
    columns = np.ascontiguousarray(rows.T)
    local._forest(columns, target, weight, bits, how.max_depth, how.min_leaf, len(columns), *arrays)
    return Forest(*arrays[:4])


def window(
    coarse: Coarse, fine: np.ndarray, cut: tuple[slice, slice], how: LocalSettings
) -> tuple[np.ndarray | None, float, tuple[float, float]]:
    """Fine prediction, share and amplitude of one window."""
    there = coarse.trainable[cut]
    place = np.full(there.shape, -1, np.int32)
    place[there] = np.arange(there.sum())
    target, world = coarse.lst[cut][there], coarse.prior[cut][there]
    if len(target) == 0:
        return None, 0.0, (0.0, 0.0)
    if len(target) < how.min_samples:
        return None, 0.0, amplitude_of(target, world, place)
    rows, bits = single(coarse.levels[:, *cut][:, there].T), coarse.bits[cut][there]
    forest = window_forest(rows, target, coarse.weight[cut][there], bits, how.trees)
    own = predict_out_of_bag(forest, rows, bits)
    share = local_weight(target, own, world)
    return (
        predict(forest, fine),
        share,
        amplitude_of(target, single(share * own + (1 - share) * world), place),
    )


@given(seeds, st.sampled_from([1.0, 0.6, 0.2]))
@settings(max_examples=12, deadline=None)
def test_against_a_slow_blend(seed, valid):
    coarse, fine = few_values(seed, valid=valid)
    prior_fine = single(np.random.default_rng(seed).normal(300, 2, fine.shape[1:]))
    got, want = blend(coarse, fine, prior_fine), slowly(coarse, fine, prior_fine, HOW)
    for name in ("local", "fused", "weight", "amplitude", "reliability"):
        a, b = inside(getattr(got, name)), inside(getattr(want, name))
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-3, err_msg=name)


def test_a_starved_window_leaves_its_part_to_the_global_model():
    coarse, fine = few_values(0)
    prior_fine = single(np.random.default_rng(0).normal(300, 2, fine.shape[1:]))
    got = blend(coarse, fine, prior_fine, replace(HOW, min_samples=10_000))
    np.testing.assert_allclose(inside(got.local), inside(prior_fine), rtol=1e-6)
    np.testing.assert_allclose(inside(got.fused), inside(prior_fine), rtol=1e-6)
    assert (got.weight == 0).all()
    # How reliable the global model is in a window is known all the same.
    assert (inside(got.reliability) > 0).any()


def test_a_window_without_any_sample():
    coarse, fine = few_values(0, valid=0.0)
    got = blend(coarse, fine, np.full(fine.shape[1:], 300, np.float32))
    np.testing.assert_allclose(inside(got.fused), 300, rtol=1e-6)
    for name in ("weight", "amplitude", "reliability"):
        assert (getattr(got, name) == 0).all()


def test_zero_outside_of_what_was_asked_for():
    coarse, fine = few_values(1)
    got = blend(coarse, fine, np.full(fine.shape[1:], 300, np.float32)).fused
    assert (inside(got) != 0).all()
    assert np.count_nonzero(got) == inside(got).size


def test_a_local_model_that_is_better_is_trusted():
    coarse, fine = few_values(2, valid=1.0)
    lst = single(300 + 3 * (coarse.levels[0] > 4))
    coarse = replace(
        coarse, lst=lst, trainable=np.ones(lst.shape, bool), prior=np.full(lst.shape, 290, np.float32)
    )
    # So many trees that each pixel is out of the bag of some.
    how = replace(HOW, trees=TreeSettings(24, 4, 3))
    got = blend(coarse, fine, np.full(fine.shape[1:], 290, np.float32), how)
    assert (inside(got.weight) > 0.99).all()
    # A tree of a window may miss the threshold by a value that its bag does not hold.
    np.testing.assert_allclose(inside(got.local), inside(300 + 3 * (fine[0] > 4)), atol=0.5)
    assert (inside(got.reliability) > 0.95).all()
    np.testing.assert_allclose(inside(got.amplitude), 1, atol=0.1)


def test_constant_temperature_stays_constant():
    coarse, fine = few_values(3)
    lst = np.where(np.isnan(coarse.lst), np.float32(np.nan), np.float32(287.65))
    got = blend(replace(coarse, lst=lst, prior=lst), fine, np.full(fine.shape[1:], 287.65, np.float32))
    np.testing.assert_allclose(inside(got.fused), 287.65, rtol=1e-6)
    assert (got.amplitude == 0).all()


@given(seeds, st.integers(1, 300))
@settings(max_examples=40, deadline=None)
def test_bins_agree_with_the_rule_of_prediction(seed, n):
    rng = np.random.default_rng(seed)
    # Round numbers, which may lie on the edges, beside others.
    columns = single(np.stack([rng.integers(0, 49, n) / 48, rng.normal(size=n), np.full(n, 0.3)]))
    codes, edges = local._linear_bins(columns)
    for k in range(3):
        for b in range(LOCAL_BINS - 1):
            np.testing.assert_array_equal(codes[k] <= b, columns[k] <= edges[k, b])
    assert (codes[2] == 0).all()
    assert codes[1].max() == (LOCAL_BINS - 1 if n > 1 else 0)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_out_of_bag_predictions_of_a_window(seed):
    rng = np.random.default_rng(seed)
    n = 60
    rows, target = single(rng.normal(size=(n, 2))), single(rng.normal(300, 3, n))
    bits = rng.integers(0, 2**64, n, np.uint64)
    bits[0] = np.uint64(2**64 - 1)
    arrays = node_arrays(TREES)
    columns = np.ascontiguousarray(rows.T)
    got = local._forest(columns, target, np.ones(n, np.float32), bits, 4, 3, 2, *arrays)
    np.testing.assert_allclose(got, predict_out_of_bag(Forest(*arrays[:4]), rows, bits), rtol=1e-6)
    assert np.isnan(got[0])


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_the_forest_of_a_window_is_that_of_the_global_model(seed):
    # Values are whole numbers, so that equal bins and those between values allow the same splits of
    # what was seen; the thresholds may lie elsewhere between two whole numbers.
    rng = np.random.default_rng(seed)
    rows, target = single(rng.integers(0, 30, (80, 2))), single(rng.normal(300, 3, 80))
    weight, bits = single(rng.uniform(0.2, 1, 80)), np.full(80, 2**64 - 1, np.uint64)
    planes = np.ascontiguousarray(rows.T)[:, np.newaxis]
    mine = predict(window_forest(rows, target, weight, bits, TREES), planes)
    np.testing.assert_allclose(
        mine, predict(fit_forest(rows, target, weight, bits, TREES), planes), rtol=1e-6
    )


@pytest.mark.parametrize("stride", [3, 6, 50])
def test_constant_predictions_blend_to_themselves(stride):
    coarse, fine = few_values(4)
    how = replace(HOW, stride=stride, min_samples=10_000)
    got = blend(coarse, fine, np.full(fine.shape[1:], 311.5, np.float32), how)
    np.testing.assert_allclose(inside(got.fused), 311.5, rtol=1e-6)


@given(seeds, st.integers(1, 6), st.sampled_from([0.0, 1e-30, 0.3, 2000.0, 1e30]), st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_a_split_between_neighbouring_floats_is_the_one_that_was_counted(seed, values, low, n):
    # With fewer floats than bins between the extremes, edges coincide. Only bins that hold a row are cut at.
    rng = np.random.default_rng(seed)
    floats = [np.float32(low)]
    for _ in range(values):
        for _ in range(rng.integers(1, 20)):
            following = np.nextafter(floats[-1], np.float32(np.inf))
        floats.append(following)
    columns = rng.choice(single(floats), (1, n))
    codes, edges = local._linear_bins(columns)
    for b in np.unique(codes):
        if b < LOCAL_BINS - 1:
            np.testing.assert_array_equal(codes[0] <= b, columns[0] <= edges[0, b])

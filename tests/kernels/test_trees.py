"""Forests: hand numbers, the promises about leaves and bags, and scikit-learn as the reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.tree import DecisionTreeRegressor

from lstzoom.errors import ConfigError
from lstzoom.kernels.trees import (
    MOST_COLUMNS,
    MOST_NODES,
    Forest,
    TreeSettings,
    apply_bins,
    bag,
    bin_edges,
    comparable,
    features_per_split,
    fit_forest,
    fit_reference,
    node_capacity,
    predict,
    predict_out_of_bag,
)

EVERY_TREE = np.uint64(2**64 - 1)
seeds = st.integers(0, 2**32 - 1)


def single(values: object) -> np.ndarray:
    return np.asarray(values, np.float32)


def everywhere(n: int) -> np.ndarray:
    return np.full(n, EVERY_TREE, np.uint64)


def leaf_of(forest: Forest, tree: int, row: np.ndarray) -> tuple[int, int]:
    """Node and depth of the leaf that a row falls into, walked by hand."""
    node = depth = 0
    while forest.left[tree, node] >= 0:
        right = row[forest.feature[tree, node]] > forest.threshold[tree, node]
        node, depth = int(forest.left[tree, node]) + int(right), depth + 1
    return node, depth


def predictions(forest: Forest, rows: np.ndarray) -> np.ndarray:
    """Prediction of every tree for every row: shape (trees, n)."""
    return np.array(
        [[forest.value[t, leaf_of(forest, t, row)[0]] for row in rows] for t in range(forest.trees)]
    )


class Data:
    """Rows with fewer than 255 distinct values in each feature, and a target that follows them."""

    def __init__(self, seed: int, n: int = 120, levels: int = 40, features: int = 3) -> None:
        rng = np.random.default_rng(seed)
        self.rows = single(rng.integers(0, levels, (n, features)) / 8.0)
        signal = self.rows[:, 0] + np.sin(self.rows[:, 1]) * 3
        self.target = single(300 + signal + rng.normal(0, 0.5, n))
        self.weight = single(rng.uniform(0.1, 1, n))
        self.bits = rng.integers(0, 2**64, n, np.uint64, endpoint=False)


def test_a_step_by_hand():
    forest = fit_forest(single([[0], [1], [2], [3]]), single([1, 1, 5, 5]), np.ones(4, np.float32),
                        everywhere(4), TreeSettings(1, 3, 1))  # fmt: skip
    np.testing.assert_array_equal(forest.left, [[1, -1, -1]])
    assert forest.feature[0, 0] == 0
    assert forest.threshold[0, 0] == 1.5
    np.testing.assert_array_equal(forest.value, [[3, 1, 5]])
    np.testing.assert_array_equal(predict(forest, single([[[-9, 1.5, 1.6, 9]]])), [[1, 1, 5, 5]])


def test_weights_count():
    # The weighted mean of 0 and 3; and the split with the larger *weighted* gain.
    stump = fit_forest(
        single([[0], [0]]), single([0, 3]), single([2, 1]), everywhere(2), TreeSettings(1, 1, 1)
    )
    assert stump.value[0, 0] == 1
    rows, target = single([[0], [1], [2]]), single([0, 1, 3])
    light = fit_forest(rows, target, single([1, 1, 1]), everywhere(3), TreeSettings(1, 1, 1))
    heavy = fit_forest(rows, target, single([100, 100, 1]), everywhere(3), TreeSettings(1, 1, 1))
    assert light.threshold[0, 0] == 1.5
    assert heavy.threshold[0, 0] == 0.5


def test_leaves_with_equal_means_stay_apart():
    forest = fit_forest(single([[0], [1], [2], [3]]), single([0, 1, 1, 0]), np.ones(4, np.float32),
                        everywhere(4), TreeSettings(1, 3, 1))  # fmt: skip
    ends = [leaf_of(forest, 0, single([x]))[0] for x in (0, 3)]
    assert ends[0] != ends[1]
    assert forest.value[0, ends[0]] == forest.value[0, ends[1]] == 0
    np.testing.assert_array_equal(predict(forest, single([[[0, 1, 2, 3]]])), [[0, 1, 1, 0]])


def test_a_small_contrast_on_a_large_mean_is_found():
    # A lake: in float32 the squares of 300 K lose what it varies by.
    x = np.repeat([0.0, 1.0], 50)
    forest = fit_forest(single(x[:, np.newaxis]), single(301.3 + 0.03 * x),
                        single(np.linspace(0.3, 1, 100)), everywhere(100), TreeSettings(1, 3, 5))  # fmt: skip
    np.testing.assert_allclose(predict(forest, single([[[0, 1]]])), [[301.3, 301.33]], atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.013, 273.15, 301.7, -5.0])
def test_a_constant_target_makes_a_single_leaf(value):
    data = Data(0)
    forest = fit_forest(
        data.rows, np.full_like(data.target, value), data.weight, data.bits, TreeSettings(3, 8, 1)
    )
    assert forest.left.shape == (3, 1)
    np.testing.assert_allclose(forest.value, value, rtol=1e-6)


def test_of_equal_splits_the_first_is_taken():
    # The threshold of 0.5 is as good as 1.5, and both features are the same.
    rows = single([[0, 0], [1, 1], [2, 2]])
    forest = fit_forest(rows, single([0, 1, 0]), np.ones(3, np.float32), everywhere(3), TreeSettings(1, 1, 1))
    assert (forest.feature[0, 0], forest.threshold[0, 0]) == (0, 0.5)


@given(seeds, st.integers(1, 8), st.sampled_from([1, 2, 5, 20]))
@settings(max_examples=30, deadline=None)
def test_same_predictions_as_scikit_learn(seed, depth, min_leaf):
    # Thresholds may differ between two neighbouring values of a node, and equal splits may be chosen
    # from different features; what a tree says of the rows that it has seen is the same.
    data = Data(seed)
    how = TreeSettings(3, depth, min_leaf)
    ours = fit_forest(data.rows, data.target, data.weight, data.bits, how)
    reference = fit_reference(data.rows, data.target, data.weight, data.bits, how)
    for t in range(how.trees):
        inside = bag(data.bits, t)
        got = predictions(ours, data.rows[inside])[t]
        want = predictions(reference, data.rows[inside])[t]
        weight, target = data.weight[inside], data.target[inside].astype(np.float64)
        errors = [np.average((p - target) ** 2, weights=weight) for p in (got, want)]
        assert errors[0] == pytest.approx(errors[1], abs=1e-6)
        np.testing.assert_allclose(got, want, atol=1e-3)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_same_root_as_scikit_learn(seed):
    data = Data(seed)
    ours = fit_forest(data.rows, data.target, data.weight, everywhere(120), TreeSettings(1, 1, 1))
    reference = fit_reference(data.rows, data.target, data.weight, everywhere(120), TreeSettings(1, 1, 1))
    # At the root the neighbouring values are the same for both, and with them the threshold.
    assert ours.feature[0, 0] == reference.feature[0, 0]
    assert ours.threshold[0, 0] == reference.threshold[0, 0]
    np.testing.assert_allclose(ours.value, reference.value, atol=1e-4)


def errors_of_both(seed: int) -> tuple[float, float]:
    """Training error of our forest and of the reference where there are more values than bins."""
    rng = np.random.default_rng(seed)
    rows = single(rng.normal(size=(1500, 3)))
    target = single(300 + 5 * np.tanh(rows[:, 0]) + rows[:, 1] ** 2 + rng.normal(0, 0.5, 1500))
    weight, bits, how = np.ones(1500, np.float32), everywhere(1500), TreeSettings(1, 5, 10)
    planes = np.ascontiguousarray(rows.T)[:, np.newaxis]
    ours, exact = (
        float(np.mean((predict(fit(rows, target, weight, bits, how), planes)[0] - target) ** 2))
        for fit in (fit_forest, fit_reference)
    )
    return ours, exact


def test_with_more_values_than_bins_the_error_is_almost_that_of_exact_splits():
    # Single trees differ by a few per cent either way, because both are greedy.
    ours, exact = np.mean([errors_of_both(seed) for seed in range(10)], axis=0)
    assert ours <= 1.03 * exact


@given(seeds, st.integers(1, 6), st.integers(1, 30), st.sampled_from([0.3, 1.0]))
@settings(max_examples=40, deadline=None)
def test_promises_about_leaves(seed, depth, min_leaf, share):
    data = Data(seed)
    how = TreeSettings(2, depth, min_leaf, share)
    forest = fit_forest(data.rows, data.target, data.weight, data.bits, how)
    for t in range(2):
        inside = bag(data.bits, t)
        found = [leaf_of(forest, t, row) for row in data.rows[inside]]
        assert max(d for _, d in found) <= depth
        leaves = np.array([node for node, _ in found])
        for leaf in np.unique(leaves):
            members = inside[leaves == leaf]
            assert len(members) >= min(min_leaf, len(inside))
            mean = np.average(data.target[members].astype(np.float64), weights=data.weight[members])
            assert forest.value[t, leaf] == pytest.approx(mean, abs=1e-4)
        # Every leaf of the tree holds rows: there are no others.
        assert len(np.unique(leaves)) == _count_leaves(forest, t)


def _count_leaves(forest: Forest, tree: int) -> int:
    todo, leaves = [0], 0
    while todo:
        node = todo.pop()
        if forest.left[tree, node] < 0:
            leaves += 1
        else:
            todo += [int(forest.left[tree, node]), int(forest.left[tree, node]) + 1]
    return leaves


def test_a_tree_may_grow_to_the_last_row():
    rng = np.random.default_rng(3)
    rows = single(rng.permutation(200)[:, np.newaxis])
    target = single(3 * rows[:, 0])
    how = TreeSettings(1, 20, 1)
    forest = fit_forest(rows, target, np.ones(200, np.float32), everywhere(200), how)
    np.testing.assert_array_equal(predictions(forest, rows)[0], target)
    assert forest.left.shape[1] == 399 <= node_capacity(200, how)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_predict_is_the_mean_over_the_trees(seed):
    data = Data(seed)
    forest = fit_forest(data.rows, data.target, data.weight, data.bits, TreeSettings(5, 6, 3))
    planes = np.ascontiguousarray(data.rows.T).reshape(3, 10, 12)
    want = predictions(forest, data.rows).mean(axis=0)
    np.testing.assert_allclose(predict(forest, planes).ravel(), want, rtol=1e-6)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_out_of_bag_is_the_mean_over_the_trees_whose_bit_is_zero(seed):
    data = Data(seed)
    data.bits[:3] = EVERY_TREE
    data.bits[3:6] = 0
    forest = fit_forest(data.rows, data.target, data.weight, data.bits, TreeSettings(5, 6, 3))
    unseen = (data.bits[np.newaxis] >> np.arange(5, dtype=np.uint64)[:, np.newaxis]) & np.uint64(1) == 0
    each, got = predictions(forest, data.rows), predict_out_of_bag(forest, data.rows, data.bits)
    for i in range(len(got)):
        if unseen[:, i].any():
            assert got[i] == pytest.approx(each[unseen[:, i], i].mean(), rel=1e-6)
        else:
            assert np.isnan(got[i])
    assert np.isnan(got[:3]).all()
    assert np.isfinite(got[3:6]).all()


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_what_is_out_of_bag_does_not_count(seed):
    data = Data(seed)
    before = fit_forest(data.rows, data.target, data.weight, data.bits, TreeSettings(1, 6, 3))
    inside = data.bits & np.uint64(1) == 1
    data.target[~inside] += 100
    data.weight[~inside] *= 3
    after = fit_forest(data.rows, data.target, data.weight, data.bits, TreeSettings(1, 6, 3))
    for field in ("feature", "threshold", "left", "value"):
        np.testing.assert_array_equal(getattr(before, field), getattr(after, field))


def test_a_tree_whose_bag_is_empty_sees_everything():
    data = Data(1)
    none, how = np.zeros(120, np.uint64), TreeSettings(2, 4, 5)
    for fit in (fit_forest, fit_reference):
        empty = fit(data.rows, data.target, data.weight, none, how)
        full = fit(data.rows, data.target, data.weight, everywhere(120), how)
        np.testing.assert_array_equal(empty.value, full.value)


@given(seeds, st.integers(2, 5))
@settings(max_examples=10, deadline=None)
def test_trees_grown_side_by_side_are_the_same(seed, threads):
    data, how = Data(seed), TreeSettings(7, 6, 3, 0.5)
    once = fit_forest(data.rows, data.target, data.weight, data.bits, how, seed=seed)
    again = fit_forest(data.rows, data.target, data.weight, data.bits, how, seed=seed, threads=threads)
    for field in ("feature", "threshold", "left", "value"):
        np.testing.assert_array_equal(getattr(once, field), getattr(again, field))


def many(seed: int) -> Data:
    """More distinct values than bins."""
    return Data(seed, n=600, levels=10**6, features=4)


@given(seeds, st.integers(-12, 12), st.sampled_from([0.5, 1.0]))
@settings(max_examples=20, deadline=None)
def test_a_power_of_two_leaves_the_trees_as_they_are(seed, power, share):
    data, unit = many(seed), np.float32(2.0**power)
    how = TreeSettings(2, 6, 5, share)
    once = fit_forest(data.rows, data.target, data.weight, data.bits, how)
    again = fit_forest(data.rows * unit, data.target, data.weight, data.bits, how)
    for field in ("feature", "left", "value"):
        np.testing.assert_array_equal(getattr(once, field), getattr(again, field))
    np.testing.assert_array_equal(once.threshold * unit, again.threshold)


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_reflectance_times_ten_thousand_leaves_predictions_as_they_are(seed):
    data, unit = many(seed), np.float32(1e4)
    how = TreeSettings(4, 8, 5, 0.7)
    once = fit_forest(data.rows, data.target, data.weight, data.bits, how)
    again = fit_forest(data.rows * unit, data.target, data.weight, data.bits, how)
    one = predict(once, np.ascontiguousarray(data.rows.T)[:, np.newaxis])
    other = predict(again, np.ascontiguousarray(data.rows.T * unit)[:, np.newaxis])
    np.testing.assert_array_equal(one, other)


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_a_constant_added_to_the_target_moves_the_prediction(seed):
    data, how = Data(seed), TreeSettings(3, 6, 5)
    planes = np.ascontiguousarray(data.rows.T)[:, np.newaxis]
    once = predict(fit_forest(data.rows, data.target, data.weight, data.bits, how), planes)
    moved = predict(fit_forest(data.rows, data.target + np.float32(16), data.weight, data.bits, how), planes)
    np.testing.assert_allclose(moved, once + 16, atol=1e-3)


def test_edges_lie_between_neighbouring_values():
    edges = bin_edges(single([[0, 5], [1, 5], [4, 5]]))
    assert edges.shape == (2, 254)
    np.testing.assert_array_equal(edges[0, :3], [0.5, 2.5, np.inf])
    assert (edges[1] == np.inf).all()


@given(seeds, st.sampled_from([2, 16, 255]), st.integers(1, 700))
@settings(max_examples=40, deadline=None)
def test_bins_agree_with_the_rule_of_prediction(seed, bins, n):
    rng = np.random.default_rng(seed)
    rows = single(rng.normal(size=(n, 2)))
    edges = bin_edges(rows, bins)
    codes = apply_bins(rows, edges)
    assert codes.max() < bins
    assert (edges[:, 1:] >= edges[:, :-1]).all()
    for k in range(2):
        for b in range(bins - 1):
            np.testing.assert_array_equal(codes[k] <= b, rows[:, k] <= edges[k, b])


def test_quantiles_share_the_rows_evenly():
    rng = np.random.default_rng(0)
    rows = single(rng.exponential(size=(10_000, 1)))
    counts = np.bincount(apply_bins(rows, bin_edges(rows))[0], minlength=255)
    assert counts.min() >= 0.9 * 10_000 / 255
    assert counts.max() <= 1.1 * 10_000 / 255


def test_neighbouring_floats_are_split_or_kept_together_consistently():
    a = np.float32(1)
    b = np.nextafter(a, np.float32(2))
    rows, target = single([[a], [b], [np.nextafter(b, np.float32(2))]]), single([0, 1, 2])
    forest = fit_forest(rows, target, np.ones(3, np.float32), everywhere(3), TreeSettings(1, 3, 1))
    for leaf in {leaf_of(forest, 0, row)[0] for row in rows}:
        members = [i for i, row in enumerate(rows) if leaf_of(forest, 0, row)[0] == leaf]
        assert forest.value[0, leaf] == np.mean(target[members])


def test_bag_reads_one_bit():
    bits = np.array([0b01, 0b10, 0b11, 0], np.uint64)
    assert bag(bits, 0).tolist() == [0, 2]
    assert bag(bits, 1).tolist() == [1, 2]
    assert bag(np.array([2**63], np.uint64), 63).tolist() == [0]


@pytest.mark.parametrize(
    ("features", "share", "expect"), [(10, 1.0, 10), (10, 0.5, 5), (10, 0.01, 1), (1, 0.3, 1), (3, 0.5, 2)]
)
def test_features_per_split(features, share, expect):
    assert features_per_split(features, TreeSettings(1, 1, 1, share)) == expect


def test_a_split_chooses_among_a_random_share_of_the_features():
    rng = np.random.default_rng(0)
    rows = single(rng.normal(size=(400, 4)))
    target = single(10 * rows[:, 0] + rows[:, 1:].sum(axis=1))
    ones, bits = np.ones(400, np.float32), everywhere(400)
    roots = fit_forest(rows, target, ones, bits, TreeSettings(64, 1, 1, 0.25)).feature[:, 0]
    # One of four each time: 16 expected of each, with a standard deviation of 3.5.
    assert np.abs(np.bincount(roots, minlength=4) - 16).max() <= 14
    assert (fit_forest(rows, target, ones, bits, TreeSettings(64, 1, 1)).feature[:, 0] == 0).all()
    pair = fit_forest(rows, target, ones, bits, TreeSettings(64, 1, 1, 0.5)).feature[:, 0]
    # Feature 0 wins whenever it is one of the two.
    assert abs((pair == 0).sum() - 32) <= 16


def test_the_seed_decides():
    data, how = Data(5), TreeSettings(4, 5, 5, 0.4)
    first, again, other = (
        fit_forest(data.rows, data.target, data.weight, data.bits, how, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.value, again.value)
    assert first.value.shape != other.value.shape or (first.value != other.value).any()


def test_the_reference_is_scikit_learn_and_its_padding_is_never_reached():
    data = Data(9)
    # The second tree sees three rows and stays small beside the first.
    data.bits[:] = 1
    data.bits[:3] = 3
    how = TreeSettings(2, 6, 1)
    forest = fit_reference(data.rows, data.target, data.weight, data.bits, how)
    sizes = []
    for t in range(2):
        inside = bag(data.bits, t)
        tree = DecisionTreeRegressor(max_depth=6, min_samples_leaf=1, max_features=3, random_state=t)
        tree.fit(data.rows[inside], data.target[inside], sample_weight=data.weight[inside])
        np.testing.assert_allclose(predictions(forest, data.rows)[t], tree.predict(data.rows), rtol=1e-6)
        sizes.append(tree.tree_.node_count)
        inner = forest.left[t] >= 0
        assert inner.sum() == (sizes[t] - 1) // 2
        assert forest.left[t].max() + 1 == sizes[t] - 1
        assert (forest.left[t, sizes[t] :] == -1).all()
    assert forest.left.shape == (2, max(sizes))
    assert sizes[1] < sizes[0]


def test_the_reference_decides_as_scikit_learn_at_its_thresholds():
    # The midpoint of two neighbouring floats is no float32; rounding it up would move a row.
    a = np.float32(1000)
    b = np.nextafter(np.nextafter(a, np.float32(2e3)), np.float32(2e3))
    rows, target = single([[a], [np.nextafter(a, np.float32(2e3))], [b]]), single([0, 1, 5])
    forest = fit_reference(rows, target, np.ones(3, np.float32), everywhere(3), TreeSettings(1, 3, 1))
    tree = DecisionTreeRegressor(max_depth=3, random_state=0).fit(rows, target)
    np.testing.assert_array_equal(predictions(forest, rows)[0], tree.predict(rows))


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"trees": 0}, "trees is 0"), ({"trees": 65}, "trees is 65"), ({"max_depth": 0}, "max_depth is 0"),
     ({"max_depth": 21}, "max_depth is 21"), ({"min_leaf": 0}, "min_leaf is 0"),
     ({"feature_share": 0.0}, "feature_share 0.0"), ({"feature_share": 1.5}, "feature_share 1.5")],
)  # fmt: skip
def test_impossible_settings_are_named(changed, message):
    with pytest.raises(ConfigError, match=message):
        TreeSettings(**({"trees": 1, "max_depth": 1, "min_leaf": 1} | changed))


floats = st.floats(width=32, allow_nan=False)


@given(floats, floats)
def test_floats_compare_as_their_bits_do(one, other):
    one, other = np.float32(one), np.float32(other)
    assert (comparable(one) > comparable(other)) == (one > other)


def test_zeros_of_both_signs_are_the_same():
    assert comparable(np.float32(-0.0)) == comparable(np.float32(0.0)) == 2**31


@given(seeds, st.integers(2, 40), st.sampled_from([1, 15, 17, 127, 128, 129, 261]))
@settings(max_examples=20, deadline=None)
def test_any_number_of_pixels_takes_the_same_way(seed, features, width):
    data = Data(seed, features=features)
    forest = fit_forest(data.rows, data.target, data.weight, data.bits, TreeSettings(3, 8, 2))
    planes = single(np.random.default_rng(seed).normal(2, 3, (features, 2, width)))
    want = predictions(forest, planes.reshape(features, -1).T).mean(axis=0)
    np.testing.assert_allclose(predict(forest, planes).ravel(), want, rtol=1e-6)


def test_more_features_than_a_node_can_name_are_refused():
    rows = np.zeros((4, 513), np.float32)
    with pytest.raises(ConfigError, match=r"513 features.*at most .* 512 features"):
        fit_forest(rows, single([1, 2, 3, 4]), np.ones(4, np.float32), everywhere(4), TreeSettings(1, 1, 1))


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(st.one_of(finite, st.sampled_from([0.0, -0.0, np.inf, -np.inf])), min_size=2, max_size=20))
def test_comparable_numbers_are_ordered_as_the_floats(values):
    for a in single(values):
        for b in single(values):
            assert (comparable(a) < comparable(b)) == (a < b)
            assert (comparable(a) == comparable(b)) == (a == b)


def chain(nodes: int, features: int, trees: int = 1) -> Forest:
    """Trees that put a row aside at every step until 20 are made, and then branch to the last node."""
    shape = (trees, nodes)
    left = np.full(shape, -1, np.int32)
    inner = (nodes - 1) // 2
    left[:, :inner] = 1 + 2 * np.arange(inner)
    rng = np.random.default_rng(nodes)
    feature = rng.integers(0, features, shape).astype(np.int16)
    feature[:, 0] = features - 1
    return Forest(feature, single(rng.normal(size=shape)), left, single(np.arange(nodes) + np.zeros(shape)))


@pytest.mark.parametrize("columns", [1, 15, 16, 17, 127, 128, 129, 300])
@pytest.mark.parametrize(("nodes", "features"), [(1, 1), (3, 2), (MOST_NODES - 1, 7), (999, MOST_COLUMNS)])
def test_the_largest_trees_and_strips_of_any_length(nodes, features, columns):
    forest = chain(nodes, features, 2)
    planes = single(np.random.default_rng(columns).normal(size=(features, 2, columns)))
    rows = planes.reshape(features, -1).T
    want = predictions(forest, rows)
    np.testing.assert_array_equal(predict(forest, planes).ravel(), single(want.mean(axis=0)))
    bits = np.arange(len(rows), dtype=np.uint64) % np.uint64(4)
    unseen = (bits[np.newaxis] >> np.arange(2, dtype=np.uint64)[:, np.newaxis]) & np.uint64(1) == 0
    with np.errstate(invalid="ignore"):
        apart = single(np.where(unseen, want, 0).sum(axis=0) / unseen.sum(axis=0))
    np.testing.assert_array_equal(predict_out_of_bag(forest, rows, bits), apart)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_skipped_frame_is_not_read(share):
    forest = chain(999, 3)
    planes = single(np.random.default_rng(0).normal(size=(3, 9, 140)))
    inner = predict(forest, np.ascontiguousarray(planes[:, 2:-2, 2:-2]))
    planes[:, :2] = planes[:, -2:] = planes[..., :2] = planes[..., -2:] = np.nan if share else np.inf
    np.testing.assert_array_equal(predict(forest, planes, skip=2), inner)


@pytest.mark.parametrize("fill", [np.nan, -np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_end_in_some_leaf(fill):
    forest = chain(999, 3)
    got = predict(forest, np.full((3, 1, 20), fill, np.float32))
    assert np.isin(got, forest.value[forest.left < 0]).all()


def test_trees_that_cannot_be_walked_are_refused():
    one = np.ones(40_000, np.float32)
    with pytest.raises(ConfigError, match="80001 nodes"):
        fit_forest(one[:, np.newaxis], one, one, everywhere(40_000), TreeSettings(1, 20, 1))
    with pytest.raises(ConfigError, match="513 features"):
        fit_forest(np.ones((4, 513), np.float32), one[:4], one[:4], everywhere(4), TreeSettings(1, 2, 1))

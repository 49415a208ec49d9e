from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lstzoom.kernels.rows import Rows
from lstzoom.sample import Sample, choose_patches, choose_phases


def make_rows(n: int, seed: int = 0, strata: int = 5) -> Rows:
    rng = np.random.default_rng(seed)
    # Few of the last class: a rare hot surface.
    stratum = np.minimum(rng.geometric(0.6, n), strata).astype(np.int32) + 140
    return Rows(
        key=rng.permutation(n).astype(np.uint64) * np.uint64(1 << 40),
        stratum=stratum,
        bits=rng.integers(0, 2**63, n).astype(np.uint64),
        features=rng.random((n, 3)).astype(np.float32),
        target=rng.random(n).astype(np.float32),
        weight=rng.random(n).astype(np.float32) + np.float32(0.1),
    )


def same(a: Rows, b: Rows) -> bool:
    return all(np.array_equal(getattr(a, f), getattr(b, f)) for f in Rows.__dataclass_fields__)


@given(
    n=st.integers(0, 300),
    cuts=st.lists(st.integers(0, 300), max_size=6),
    order=st.randoms(use_true_random=False),
    size=st.integers(1, 120),
    per_stratum=st.integers(0, 20),
)
def test_any_split_in_any_order_gives_the_same_sample(n, cuts, order, size, per_stratum):
    rows = make_rows(n)
    limits = {"size": size, "per_stratum": per_stratum}
    whole = Sample.of(rows, **limits)
    edges = sorted({0, n, *(c for c in cuts if c < n)})
    pairs = list(pairwise(edges)) or [(0, 0)]
    parts = [Sample.of(rows.take(np.arange(a, b)), **limits) for a, b in pairs]
    order.shuffle(parts)
    merged = Sample.merge(parts, **limits)
    assert same(merged.rows, whole.rows)
    assert np.array_equal(merged.strata, whole.strata)
    assert np.array_equal(merged.counts, whole.counts)


def test_size_is_bounded_and_rare_classes_are_kept():
    rows = make_rows(5000)
    sample = Sample.of(rows, size=200, per_stratum=10)
    classes, counts = np.unique(sample.rows.stratum, return_counts=True)
    assert len(sample.rows) <= 200 + 10 * len(classes)
    available = [int((rows.stratum == c).sum()) for c in classes]
    assert all(k >= min(10, n) for k, n in zip(counts, available, strict=True))
    assert set(classes) == set(rows.stratum.tolist())


def test_weights_undo_the_preference_for_rare_classes():
    rows = make_rows(5000)
    rows = Rows(rows.key, rows.stratum, rows.bits, rows.features, rows.target, np.ones(5000, np.float32))
    weighted = Sample.of(rows, size=200, per_stratum=50).weighted()
    shares = [float(weighted.weight[weighted.stratum == c].sum()) for c in np.unique(rows.stratum)]
    true = [float((rows.stratum == c).mean()) for c in np.unique(rows.stratum)]
    np.testing.assert_allclose(np.array(shares) / sum(shares), true, rtol=1e-5)


def test_a_scene_within_the_budget_is_visited_whole():
    patches = choose_patches((50, 33), side=16, limit=100, seed=0, scene=0)
    seen = np.zeros((50, 33), int)
    for patch in patches:
        seen[patch.rows, patch.columns] += 1
    assert (seen == 1).all()


def test_a_larger_scene_is_visited_in_patches_that_a_crop_shares():
    few = choose_patches((640, 640), side=16, limit=20, seed=3, scene=1)
    assert len(few) == 20
    more = choose_patches((640, 640), side=16, limit=40, seed=3, scene=1)
    assert more[:20] == few
    assert choose_patches((640, 640), side=16, limit=20, seed=4, scene=1) != few
    assert choose_patches((640, 640), side=16, limit=20, seed=3, scene=2) != few


def test_phases_are_distinct_and_all_are_taken_when_asked_for():
    for patch in range(5):
        assert len(set(choose_phases(patch, 3, count=4, seed=0, scene=0))) == 4
    assert len(choose_phases(0, 3, count=9, seed=0, scene=0)) == 9


@given(
    keys=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), max_size=60),
    size=st.integers(1, 40),
    per_stratum=st.integers(0, 8),
)
def test_the_smallest_by_definition(keys, size, per_stratum):
    # Keys that are equal, as hashes of different scenes hardly ever are, go by their stratum.
    rows = make_rows(len(keys))
    key, stratum = (np.array([pair[k] for pair in keys], np.uint64) for k in range(2))
    rows = Rows(key, stratum.astype(np.int32), rows.bits, rows.features, rows.target, rows.weight)
    order = sorted(range(len(keys)), key=keys.__getitem__)
    ranks = {}
    wanted = []
    for place, k in enumerate(order):
        rank = ranks[keys[k][1]] = ranks.get(keys[k][1], -1) + 1
        if place < size or rank < per_stratum:
            wanted.append(k)
    got = Sample.of(rows, size=size, per_stratum=per_stratum).rows
    assert same(got, rows.take(np.array(wanted, int)))

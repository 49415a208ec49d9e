from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lstzoom.kernels.quality import QA
from lstzoom.mosaics.merge import NO_TIME, Block, Merged, edge_distance, feather, latest, mean, median

SHAPE = (1, 1)


def pixel(
    lst: float, sigma: float = 0.5, *, time: int = 0, distance: float = 100.0, qa: int = QA.LOCAL
) -> Block:
    return Block(
        np.full(SHAPE, lst, np.float32),
        np.full(SHAPE, sigma, np.float32),
        np.full(SHAPE, qa, np.uint8),
        time,
        np.full(SHAPE, distance, np.float32),
    )


def gone(time: int = 0, qa: int = QA.NODATA) -> Block:
    return pixel(np.nan, np.nan, time=time, distance=0.0, qa=qa)


def one(merged: Merged) -> tuple[float, ...]:
    return tuple(float(layer[0, 0]) for layer in merged)


def test_latest_takes_the_last_scene_that_has_a_value() -> None:
    blocks = [pixel(300, 0.2, time=1), pixel(305, 0.7, time=2, qa=QA.GLOBAL), gone(3, QA.MASKED)]
    assert one(latest(blocks, SHAPE)) == pytest.approx((305, 0.7, QA.GLOBAL, 2, 2))


def test_median_of_three_and_of_two() -> None:
    three = [pixel(300, 0.3, time=1), pixel(310, 0.4, time=2), pixel(301, 0.5, time=3)]
    spread = np.sqrt(np.pi / 2) * np.sqrt(0.09 + 0.16 + 0.25) / 3
    assert one(median(three, SHAPE)) == pytest.approx((301, spread, QA.LOCAL, 3, 3))
    two = three[:2]
    # Both are as far from the middle; the later one leads.
    assert one(median(two, SHAPE)) == pytest.approx((305, 0.25, QA.LOCAL, 2, 2))


def test_mean_weighs_by_variance_and_distance() -> None:
    blocks = [pixel(300, 1.0, time=1), pixel(310, 2.0, time=2, distance=2.0)]
    weights = np.array([1 / (1 + 1), 0.5 / (4 + 1)])
    share = weights / weights.sum()
    found = one(mean(blocks, SHAPE, width=3, scene_sd=1.0))
    assert found[0] == pytest.approx(300 * share[0] + 310 * share[1])
    assert found[1] == pytest.approx(np.hypot(share[0] * 1.0, share[1] * 2.0))
    assert found[2:] == (QA.LOCAL, 2, 1)


def test_a_scene_alone_stays_as_it_is_whatever_its_weight() -> None:
    draw = np.random.default_rng(0)
    lst = (300 + 10 * draw.random((50, 50))).astype(np.float32)
    sigma = (0.1 + draw.random((50, 50))).astype(np.float32)
    distance = (1 + 200 * draw.random((50, 50))).astype(np.float32)
    block = Block(lst, sigma, np.ones((50, 50), np.uint8), 5, distance)
    merged = mean([block], (50, 50), width=100, scene_sd=1.0)
    np.testing.assert_array_equal(merged.lst, lst)
    np.testing.assert_allclose(merged.lst_uncertainty, sigma, rtol=1e-6)


@pytest.mark.parametrize("rule", [latest, median, lambda b, s: mean(b, s, width=3, scene_sd=1.0)])
def test_without_a_value_there_is_a_reason(rule) -> None:
    lst, sigma, qa, count, time = one(rule([gone(qa=QA.MASKED), gone()], SHAPE))
    assert np.isnan(lst)
    assert np.isnan(sigma)
    assert (qa, count, time) == (QA.MASKED, 0, NO_TIME)
    assert one(rule([gone()], SHAPE))[2] == QA.NODATA
    assert one(rule([], SHAPE))[2:] == (QA.NODATA, 0, NO_TIME)


@pytest.mark.parametrize("rule", [median, lambda b, s: mean(b, s, width=3, scene_sd=1.0)])
def test_what_is_not_known_of_one_is_not_known_of_the_result(rule) -> None:
    lst, sigma, *_ = one(rule([pixel(300, 0.5), pixel(302, np.nan)], SHAPE))
    assert 300 < lst < 302
    assert np.isnan(sigma)


@pytest.mark.parametrize("rule", [latest, median, lambda b, s: mean(b, s, width=3, scene_sd=1.0)])
def test_a_scene_without_a_value_changes_no_bit(rule) -> None:
    draw = np.random.default_rng(1)
    shape = (20, 20)

    def random(time: int) -> Block:
        lst = (300 + 10 * draw.random(shape)).astype(np.float32)
        return Block(
            lst,
            draw.random(shape).astype(np.float32),
            np.ones(shape, np.uint8),
            time,
            (9 * draw.random(shape) + 1).astype(np.float32),
        )

    empty = Block(
        *(np.full(shape, np.nan, np.float32),) * 2, np.zeros(shape, np.uint8), 1, np.zeros(shape, np.float32)
    )
    blocks = [random(k) for k in range(4)]
    without = rule(blocks, shape)
    with_it = rule([blocks[0], empty, *blocks[1:], empty], shape)
    for a, b in zip(without, with_it, strict=True):
        np.testing.assert_array_equal(a, b)


@given(
    st.lists(st.tuples(st.floats(200, 400), st.floats(0.01, 5), st.floats(1, 50)), min_size=1, max_size=8),
)
def test_the_mean_lies_between_and_is_not_less_sure_than_independent_errors_allow(scenes) -> None:
    blocks = [pixel(lst, sigma, distance=distance) for lst, sigma, distance in scenes]
    lst, sigma, *_ = one(mean(blocks, SHAPE, width=30, scene_sd=1.0))
    values = np.array([one_[0] for one_ in scenes], np.float32)
    sigmas = np.array([one_[1] for one_ in scenes])
    assert values.min() - 1e-4 <= lst <= values.max() + 1e-4
    assert 1 / np.sqrt((1 / sigmas**2).sum()) * (1 - 1e-5) <= sigma <= sigmas.max() * (1 + 1e-5)


def brute_distance(valid: NDArray[np.bool_], limit: int) -> NDArray[np.float32]:
    rows, columns = valid.shape
    out = np.zeros((rows - 2 * limit, columns - 2 * limit), np.float32)
    gaps = np.argwhere(~valid)
    for row, column in itertools.product(range(out.shape[0]), range(out.shape[1])):
        if len(gaps):
            nearest = np.sqrt(((gaps - [row + limit, column + limit]) ** 2).sum(axis=1).min())
        else:
            nearest = np.inf
        out[row, column] = min(nearest, limit + 1)
    return out


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from([0.0, 0.01, 0.1, 1.0]))
def test_distance_is_that_to_the_nearest_gap_up_to_the_limit(seed, limit, share) -> None:
    valid = np.random.default_rng(seed).random((15 + 2 * limit, 12 + 2 * limit)) >= share
    np.testing.assert_array_equal(edge_distance(valid, limit), brute_distance(valid, limit))


def test_the_feather_has_no_kink() -> None:
    weight = feather(np.arange(0, 103, dtype=np.float32), 100)
    assert weight[0] == 0
    assert weight[101] == weight[102] == 1
    slope = np.diff(weight)
    assert slope[0] < 1e-3
    assert slope[-2] < 1e-3
    assert (slope >= 0).all()

"""Training rows: who may train, what a row holds, and that neither depends on the block."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstzoom.kernels.features import detail_count, level_features
from lstzoom.kernels.hashing import hash_block
from lstzoom.kernels.interpolate import REACH
from lstzoom.kernels.rows import (
    BAG_CELL,
    LEVEL_STREAM,
    MAX_PAIRS,
    CoarseBlock,
    Rows,
    aggregate_block,
    choose_pairs,
    detail_rows,
    level_bits,
    level_rows,
    pair_sums,
    stratum_of,
)
from lstzoom.types import YX
from tests.kernels.tiny import Scene, make_scene, padded, with_gaps

NAN = np.nan
Core = tuple[slice, slice]


def single(a: object) -> np.ndarray:
    return np.asarray(a, np.float32)


def phases(ratio: int) -> list[YX]:
    return [YX(i, j) for i in range(ratio) for j in range(ratio)]


def block_of(scene: Scene) -> CoarseBlock:
    return aggregate_block(scene.bands, scene.lst, scene.ratio, cv_threshold=0.1)


def sorted_rows(rows: Rows) -> list[bytes]:
    """Every row as bytes, in an order of its own."""
    parts = (rows.key, rows.stratum, rows.bits, rows.features, rows.target, rows.weight)
    return sorted(
        b"".join(np.ascontiguousarray(part[i]).tobytes() for part in parts) for i in range(len(rows))
    )


def test_one_missing_pixel_of_one_band_bars_a_cell_from_training():
    bands = np.full((2, 2, 8), 0.2, np.float32)
    bands[1, 0, 2] = NAN
    bands[0, 1, 5] = np.inf
    block = aggregate_block(bands, single([[300, 300, 300, NAN]]), 2, cv_threshold=0.1)
    np.testing.assert_array_equal(block.trainable, [[True, False, False, False]])
    np.testing.assert_array_equal(block.weight, [[1, 0, 0, 0]])
    # What is left of the cell is its mean all the same: it fills the gap.
    np.testing.assert_allclose(block.mean, 0.2, rtol=1e-6)


def test_weights_fall_with_heterogeneity():
    bands = single([[[0.2, 0.2, 0.1, 0.3], [0.2, 0.2, 0.1, 0.3]]])
    block = aggregate_block(bands, single([[300, 300]]), 2, cv_threshold=0.1)
    np.testing.assert_allclose(block.weight, [[1.0, 0.2]], rtol=1e-5)


def test_strata_are_fixed_classes_of_two_kelvin():
    np.testing.assert_array_equal(stratum_of(single([299.9, 300, 301.9, 302])), [149, 150, 150, 151])


def test_level_rows_hold_the_trainable_pixels_of_the_core():
    scene = with_gaps(make_scene(2, 3, size=(10, 12)), 0)
    block, core, origin = block_of(scene), (slice(2, 8), slice(3, 11)), YX(-5, 20)
    rows = level_rows(block, ((0, 1),), core, origin, seed=7, scene=2)
    at = np.argwhere(block.trainable)
    at = at[(at[:, 0] >= 2) & (at[:, 0] < 8) & (at[:, 1] >= 3) & (at[:, 1] < 11)]
    assert 0 < len(rows) == len(at) < 48
    levels = level_features(block.mean, ((0, 1),))
    for i, (y, x) in enumerate(at):
        pixel = YX(int(y) - 5, int(x) + 20)
        assert rows.key[i] == hash_block(7, LEVEL_STREAM + 32, pixel, (1, 1))[0, 0]
        assert rows.bits[i] == level_bits(7, pixel, (1, 1))[0, 0]
        np.testing.assert_array_equal(rows.features[i], levels[:, y, x])
        assert rows.target[i] == block.lst[y, x]
        assert rows.weight[i] == block.weight[y, x]
        assert rows.stratum[i] == np.floor(block.lst[y, x] / 2)


def test_bags_are_drawn_by_cells():
    bits = level_bits(0, YX(0, 0), (8, 8))
    assert BAG_CELL == 4
    assert len(np.unique(bits)) == 4
    assert len(np.unique(bits[:4, 4:])) == 1


@pytest.mark.parametrize("ratio", [2, 3])
def test_detail_rows_cover_all_whole_blocks_of_all_phases(ratio):
    scene = make_scene(2, 1, size=(12, 13))
    scene = replace(scene, ratio=2)
    core = (slice(0, 12), slice(0, 13))
    rows = detail_rows(block_of(scene), (), phases(ratio), core, YX(0, 0), ratio, seed=0, scene=0)
    expect = sum(((12 - i) // ratio) * ((13 - j) // ratio) * ratio**2 for i, j in phases(ratio))
    assert len(rows) == expect
    assert rows.features.shape == (expect, detail_count(1))
    assert len(np.unique(rows.key)) == expect, "each phase draws for itself"
    assert (rows.weight == 1).all()


@pytest.mark.parametrize("ratio", [2, 3])
def test_detail_adds_up_to_nothing_over_a_block(ratio):
    # A(U(T)) = T, so that what the interpolation lacks has no mean; seen with a single phase, whose
    # rows come block row by block row.
    scene = make_scene(2, 1, size=(12, 12))
    core = (slice(0, 12), slice(0, 12))
    rows = detail_rows(block_of(scene), (), [YX(0, 0)], core, YX(0, 0), ratio, seed=0, scene=0)
    target = rows.target.reshape(12 // ratio, ratio, 12 // ratio, ratio)
    np.testing.assert_allclose(target.mean(axis=(1, 3)), 0, atol=1e-3)
    assert target.std() > 0.05


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3]))
@settings(max_examples=15, deadline=None)
def test_constant_temperature_has_no_detail_whatever_is_missing_around_it(seed, ratio):
    # Gaps and the outside of the scene are filled as far as anything reads, one scale up as well.
    scene = with_gaps(make_scene(ratio, 1, size=(30, 30)), seed, masked=False)
    scene = padded(replace(scene, lst=np.where(np.isnan(scene.lst), scene.lst, np.float32(300))), 4 * ratio)
    core = (slice(0, scene.shape[0]), slice(0, scene.shape[1]))
    rows = detail_rows(block_of(scene), (), phases(ratio), core, YX(0, 0), ratio, seed=0, scene=0)
    np.testing.assert_allclose(rows.target, 0, atol=1e-3)
    assert np.isfinite(rows.features).all()


def cut(block: CoarseBlock, y: slice, x: slice) -> CoarseBlock:
    return CoarseBlock(
        np.ascontiguousarray(block.mean[:, y, x]), np.ascontiguousarray(block.lst[y, x]),
        block.trainable[y, x], block.weight[y, x], block.whole[y, x], block.varies[y, x],
    )  # fmt: skip


@given(st.integers(0, 3), st.integers(0, 12), st.integers(0, 12), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_rows_do_not_depend_on_the_block(seed, y, x, height, width):
    ratio = 2
    # What the interpolation reads and the filling behind it, and a block more for the phases.
    halo = 2 * REACH * ratio + 2 * ratio
    scene = padded(with_gaps(make_scene(ratio, 2, size=(22, 22), seed=seed), seed, masked=False), halo)
    block, origin = block_of(scene), YX(-halo, -halo)
    core = (slice(halo + y, halo + y + height), slice(halo + x, halo + x + width))
    small = cut(block, slice(y, y + height + 2 * halo), slice(x, x + width + 2 * halo))
    inner, moved = (slice(halo, -halo), slice(halo, -halo)), YX(y - halo, x - halo)
    pairs = ((0, 1),)
    np.testing.assert_array_equal(
        sorted_rows(level_rows(small, pairs, inner, moved, seed=1, scene=0)),
        sorted_rows(level_rows(block, pairs, core, origin, seed=1, scene=0)),
    )
    np.testing.assert_array_equal(
        sorted_rows(detail_rows(small, pairs, phases(ratio), inner, moved, ratio, seed=1, scene=0)),
        sorted_rows(detail_rows(block, pairs, phases(ratio), core, origin, ratio, seed=1, scene=0)),
    )


def test_nothing_that_is_invalid_trains():
    scene = with_gaps(make_scene(3, 2), 5, masked=False)
    # A second scene that differs only in cells that may not train must give the same level rows.
    block = block_of(scene)
    barred = ~np.repeat(np.repeat(block.trainable, 3, 0), 3, 1)
    bands = np.where(barred & np.isfinite(scene.bands), np.float32(99), scene.bands)
    other = block_of(replace(scene, bands=bands))
    core = (slice(0, 24), slice(0, 28))
    one, two = (level_rows(b, ((0, 1),), core, YX(0, 0), seed=0, scene=0) for b in (block, other))
    assert sorted_rows(one) == sorted_rows(two)
    assert np.isfinite(one.features).all()
    assert np.isfinite(one.target).all()
    assert (one.weight > 0).all()


def test_take_and_concatenate():
    scene = make_scene(2, 1, size=(6, 6))
    rows = level_rows(block_of(scene), (), (slice(0, 6), slice(0, 6)), YX(0, 0), seed=0, scene=0)
    again = Rows.concatenate([rows.take(np.arange(10)), rows.take(np.arange(10, 36))])
    assert len(again) == len(rows) == 36
    assert sorted_rows(again) == sorted_rows(rows)


def test_pair_sums_by_plain_numpy():
    scene = make_scene(2, 3, size=(9, 10))
    block = block_of(scene)
    sums = pair_sums(block, (slice(1, 8), slice(1, 9)))

    def high(a: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(a.astype(np.float64), (3, 3))
        return np.asarray(a[1:-1, 1:-1] - windows.mean(axis=(2, 3)))

    for k, (i, j) in enumerate([(0, 1), (0, 2), (1, 2)]):
        a, b = block.mean[i], block.mean[j]
        t, p = high(block.lst), high((a - b) / (a + b))
        np.testing.assert_allclose(sums[k], [(t * p).sum(), (p * p).sum()], rtol=1e-3, atol=1e-3)


def test_the_pairs_that_follow_temperature_are_chosen():
    # Of four bands only the pair (1, 3) follows LST, then (0, 2), then (2, 3).
    sums = np.ones((6, 2))
    sums[[4, 1, 5], 0] = -9, 5, 3
    assert MAX_PAIRS == 3
    assert choose_pairs(sums, 4) == ((0, 2), (1, 3), (2, 3))
    assert choose_pairs(np.zeros((3, 2)), 3) == ((0, 1), (0, 2), (1, 2))
    assert choose_pairs(np.zeros((0, 2)), 1) == ()
    assert len(choose_pairs(np.zeros((6, 2)), 4)) == MAX_PAIRS

"""Hashes: the published constants, the anchoring to the grid, and that they look random."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstzoom.kernels.hashing import hash_block, hash_cells, mix
from lstzoom.types import YX

origins = st.builds(YX, st.integers(-50, 50), st.integers(-50, 50))
GOLDEN = 0x9E3779B97F4A7C15


def test_mix_is_the_finaliser_of_splitmix64():
    # First outputs of SplitMix64 with seed 0, as published with its reference implementation.
    expect = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    states = [(k * GOLDEN) % 2**64 for k in (1, 2, 3)]
    assert [int(mix(np.uint64(state))) for state in states] == expect


def test_hashes_never_change():
    # A new value here means that every sample and every forest of every user changes.
    assert hash_block(0, 0, YX(0, 0), (1, 2)).tolist() == [[0x0750BD40DD07E217, 0x15406638FA3A7F22]]
    assert hash_block(7, 3, YX(-1, -2), (1, 1)).tolist() == [[0x39593D7C235D6584]]


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**40), origins, st.integers(0, 9), st.integers(0, 9))
def test_a_part_of_a_block_has_the_same_hashes(seed, stream, origin, y, x):
    whole = hash_block(seed, stream, origin, (12, 13))
    part = hash_block(seed, stream, YX(origin.y + y, origin.x + x), (12 - y, 13 - x))
    np.testing.assert_array_equal(part, whole[y:, x:])


@given(origins, st.integers(1, 7), st.integers(1, 9), st.integers(1, 9))
def test_cells_share_the_hash_of_their_index(origin, side, height, width):
    got = hash_cells(5, 2, origin, (height, width), side)
    for i in range(height):
        for j in range(width):
            cell = YX((origin.y + i) // side, (origin.x + j) // side)
            assert got[i, j] == hash_block(5, 2, cell, (1, 1))[0, 0]


def test_cells_of_side_one_are_pixels():
    np.testing.assert_array_equal(hash_cells(1, 2, YX(-3, 4), (5, 6), 1), hash_block(1, 2, YX(-3, 4), (5, 6)))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_nothing_to_hash(shape):
    assert hash_cells(0, 0, YX(0, 0), shape, 4).shape == shape
    assert hash_block(0, 0, YX(0, 0), shape).shape == shape


def test_every_bit_is_fair_and_independent_of_its_neighbours():
    block = hash_block(0, 0, YX(-100, -100), (200, 200))
    bits = (block[..., np.newaxis] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    bits = bits.astype(np.float64) * 2 - 1
    # A mean of 40 000 fair signs has a standard deviation of 0.005; five of them for 64 x 4 figures.
    bound = 5 * 0.005
    assert np.abs(bits.mean(axis=(0, 1))).max() < bound
    assert np.abs((bits[1:] * bits[:-1]).mean(axis=(0, 1))).max() < bound
    assert np.abs((bits[:, 1:] * bits[:, :-1]).mean(axis=(0, 1))).max() < bound
    assert np.abs((bits[..., 1:] * bits[..., :-1]).mean(axis=(0, 1))).max() < bound


@pytest.mark.parametrize(("seed", "stream"), [(1, 0), (0, 1), (0, 16), (0, 1 << 20)])
def test_seeds_and_streams_are_independent(seed, stream):
    one, other = hash_block(0, 0, YX(0, 0), (100, 100)), hash_block(seed, stream, YX(0, 0), (100, 100))
    assert not (one == other).any()
    agree = np.bitwise_count(~(one ^ other)).mean() / 64
    assert abs(agree - 0.5) < 5 * 0.5 / np.sqrt(64 * one.size)


def test_rows_and_columns_are_not_exchangeable():
    block = hash_block(0, 0, YX(0, 0), (50, 50))
    assert len(np.unique(block)) == block.size

"""Area aggregation against hand numbers and against plain reshaping."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lstzoom.errors import InputError
from lstzoom.kernels.aggregate import (
    FLAT,
    area_mean,
    area_mean_radiance,
    area_std,
    cell_statistics,
    has_gap,
)


def blocks(a: np.ndarray, ratio: int) -> np.ndarray:
    """The pixels of each block on the last axis."""
    ny, nx = a.shape
    return (
        a.reshape(ny // ratio, ratio, nx // ratio, ratio).swapaxes(1, 2).reshape(ny // ratio, nx // ratio, -1)
    )


kelvin = hnp.arrays(np.float32, (6, 12), elements=st.floats(200.0, 400.0, width=32))


def test_hand_numbers() -> None:
    a = np.array([[1.0, 2.0, 10.0, 10.0], [3.0, 6.0, 10.0, 10.0]])
    np.testing.assert_array_equal(area_mean(a, 2), np.array([[3.0, 10.0]], np.float32))
    np.testing.assert_allclose(area_std(a, 2), [[np.sqrt(3.5), 0.0]], rtol=1e-6)
    t = np.array([[200.0, 400.0], [200.0, 400.0]])
    np.testing.assert_allclose(area_mean_radiance(t, 2), [[(0.5 * (200.0**4 + 400.0**4)) ** 0.25]], rtol=1e-6)


@given(kelvin, st.sampled_from([1, 2, 3, 6]))
def test_equals_plain_reshaping(a: np.ndarray, ratio: int) -> None:
    wide = blocks(a.astype(np.float64), ratio)
    np.testing.assert_allclose(area_mean(a, ratio), wide.mean(-1), rtol=1e-6)
    np.testing.assert_allclose(area_std(a, ratio), wide.std(-1), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(area_mean_radiance(a, ratio), (wide**4).mean(-1) ** 0.25, rtol=1e-6)


@given(kelvin)
def test_radiance_mean_lies_between_plain_mean_and_maximum(a: np.ndarray) -> None:
    radiant = area_mean_radiance(a, 3)
    assert (radiant >= area_mean(a, 3) - 1e-3).all()
    assert (radiant <= blocks(a, 3).max(-1) + 1e-3).all()


@given(kelvin, hnp.arrays(bool, (6, 12)), st.sampled_from([0.0, 1 / 3, 0.5, 1.0]))
def test_min_valid_decides_and_missing_pixels_do_not_count(
    a: np.ndarray, hole: np.ndarray, min_valid: float
) -> None:
    gappy = np.where(hole, np.nan, a)
    share = blocks((~hole).astype(float), 3).mean(-1)
    expect = (share > 0) & (share >= min_valid - 1e-9)
    for function, reference in ((area_mean, np.nanmean), (area_std, np.nanstd)):
        out = function(gappy, 3, min_valid=min_valid)
        np.testing.assert_array_equal(np.isfinite(out), expect)
        cells = blocks(gappy.astype(np.float64), 3)[expect]
        if len(cells):
            np.testing.assert_allclose(out[expect], reference(cells, axis=-1), rtol=1e-5, atol=1e-5)


def test_infinity_is_missing_without_a_warning() -> None:
    a = np.array([[np.inf, 2.0], [-np.inf, 4.0]])
    assert np.isnan(area_mean(a, 2))[0, 0]
    assert area_mean(a, 2, min_valid=0.5)[0, 0] == 3.0
    assert area_std(a, 2, min_valid=0.5)[0, 0] == 1.0


def test_leading_axes_and_dtypes() -> None:
    a = np.arange(2 * 4 * 6).reshape(2, 4, 6)
    out = area_mean(a, 2)
    assert out.shape == (2, 2, 3)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out[1], area_mean(a[1].astype(np.float32), 2))


def test_large_mean_costs_no_digits() -> None:
    a = np.array([[1e6, 1e6 + 2.0], [1e6, 1e6 + 2.0]])
    assert area_std(a, 2)[0, 0] == 1.0


@pytest.mark.parametrize(
    ("shape", "ratio", "min_valid", "message"),
    [
        ((7, 6), 3, 1.0, r"\(7, 6\).*multiples of 3"),
        ((6, 6), 0, 1.0, "ratio is 0"),
        ((6, 6), 3, 1.5, "min_valid is 1.5"),
    ],
)
def test_bad_input_is_named(shape: tuple[int, int], ratio: int, min_valid: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        area_mean(np.zeros(shape), ratio, min_valid=min_valid)


def gappy(seed: int, ratio: int, share: float, shape: tuple[int, int] = (5, 6)) -> np.ndarray:
    """Two bands with gaps of all kinds, some rows of cells without any, and a value that is far from 0."""
    rng = np.random.default_rng(seed)
    bands = rng.normal(rng.choice([0.2, 3000.0]), 0.1, (2, shape[0] * ratio, shape[1] * ratio))
    holes = rng.random(bands.shape) < share
    holes[:, : rng.integers(0, shape[0]) * ratio] = False
    bands[holes] = rng.choice([np.nan, np.inf, -np.inf], int(holes.sum()))
    bands[:, -ratio:, :ratio] = rng.choice([np.nan, 0.25])
    return bands.astype(np.float32)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 3, 7, 10]), st.sampled_from([0.0, 0.01, 0.5, 0.99]))
@settings(max_examples=60, deadline=None)
def test_statistics_of_cells_by_definition(seed: int, ratio: int, share: float) -> None:
    bands = gappy(seed, ratio, share)
    got = cell_statistics(bands, ratio)
    whole, varies = np.ones(got.whole.shape, bool), np.zeros(got.whole.shape, bool)
    for k, plane in enumerate(bands):
        cells = blocks(plane, ratio)
        for at in np.ndindex(whole.shape):
            known = cells[at][np.isfinite(cells[at])].astype(np.float64)
            whole[at] &= len(known) == ratio**2
            if len(known) == 0:
                assert np.isnan(got.mean[k][at])
                assert np.isnan(got.std[k][at])
                continue
            varies[at] |= np.ptp(known) > FLAT * np.abs(known).max()
            assert got.mean[k][at] == pytest.approx(known.mean(), rel=1e-6)
            assert got.std[k][at] == pytest.approx(known.std(), rel=1e-5, abs=1e-6)
    np.testing.assert_array_equal(got.whole, whole)
    np.testing.assert_array_equal(got.varies, varies)


@given(
    st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 3, 7]), st.sampled_from([0.0, 0.02, 0.5]),
    st.integers(0, 4), st.integers(0, 5), st.integers(1, 5), st.integers(1, 6),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_statistics_of_cells_do_not_depend_on_what_is_beside_them(
    seed: int, ratio: int, share: float, y: int, x: int, height: int, width: int
) -> None:
    # A row of cells is gone through in another way if there is a gap in any of them.
    bands = gappy(seed, ratio, share)
    expect = cell_statistics(bands, ratio)
    rows, columns = slice(y, min(y + height, 5)), slice(x, min(x + width, 6))
    part = bands[:, y * ratio : rows.stop * ratio, x * ratio : columns.stop * ratio]
    beside = np.concatenate([part, np.full((2, part.shape[1], ratio), np.nan, np.float32)], axis=2)
    for got in (cell_statistics(part, ratio), cell_statistics(beside, ratio)):
        for name in ("mean", "std", "whole", "varies"):
            crop = getattr(got, name)[..., : columns.stop - x]
            np.testing.assert_array_equal(crop, getattr(expect, name)[..., rows, columns], err_msg=name)


@given(st.integers(0, 70), st.integers(0, 70), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_a_gap_is_found_wherever_it_is(size: int, at: int, bad: float) -> None:
    row = np.full(size, np.finfo(np.float32).max, np.float32)
    assert not has_gap(row)
    if at < size:
        row[at] = bad
        assert has_gap(row)

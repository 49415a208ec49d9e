"""Area aggregation against hand numbers and against plain reshaping."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lstzoom.errors import InputError
from lstzoom.kernels.aggregate import area_mean, area_mean_radiance, area_std


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

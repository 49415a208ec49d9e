from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstzoom.kernels.resample import Method, resample_axes, resample_points, shifted, taps

NAN = float("nan")
METHODS: tuple[Method, ...] = ("nearest", "bilinear", "cubic", "average")


def line(data: list[float], position: list[float], scale: float, method: Method) -> np.ndarray:
    """Resample one row of values."""
    values = np.array([data], np.float32)
    rows = taps(np.array([0.5]), 1.0, method)
    return resample_axes(values, rows, taps(np.array(position), scale, method), method)[0]


def test_bilinear_weighs_by_distance_and_repeats_the_edge() -> None:
    np.testing.assert_allclose(
        line([10, 20, 30], [0.1, 0.5, 0.75, 1.5, 2.9], 1.0, "bilinear"), [10, 10, 12.5, 20, 30]
    )


def test_average_weighs_by_area() -> None:
    # 2.5 source pixels per target pixel: (1 + 2 + 3/2) / 2.5 and (3/2 + 4 + 5) / 2.5.
    np.testing.assert_allclose(line([1, 2, 3, 4, 5], [1.25, 3.75], 2.5, "average"), [1.8, 4.2])


def test_nearest_takes_the_pixel_under_the_centre() -> None:
    np.testing.assert_array_equal(
        line([10, 20, 30], [-0.1, 0.0, 0.9, 1.0, 2.99, 3.0], 1.0, "nearest"),
        [NAN, 10, 10, 20, 30, NAN],
    )


def test_missing_pixels_leave_bilinear_neighbours_unmixed() -> None:
    np.testing.assert_allclose(
        line([10, NAN, 30], [0.75, 1.25, 1.75, 2.25], 1.0, "bilinear"), [10, NAN, NAN, 30]
    )


def test_average_needs_half_of_the_area() -> None:
    np.testing.assert_allclose(line([10, NAN, 30, NAN, NAN, 60], [1.5, 4.5], 3.0, "average"), [20, NAN])
    np.testing.assert_allclose(line([10, NAN], [1.0], 2.0, "average"), [10])


def test_pixels_outside_of_the_source_are_missing() -> None:
    for method in METHODS:
        got = line([1, 2], [-3.5, 1.0, 7.5, np.inf, np.nan], 1.0, method)
        np.testing.assert_array_equal(np.isnan(got), [True, False, True, True, True])


@given(
    position=st.lists(st.floats(-3, 12), min_size=1, max_size=8),
    scale=st.floats(0.2, 4.5),
    method=st.sampled_from(METHODS),
    seed=st.integers(0, 999),
)
def test_points_agree_with_axes(position: list[float], scale: float, method: Method, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(9, 9)).astype(np.float32)
    data[rng.random(data.shape) < 0.2] = NAN
    at = np.array(position)
    rows, columns = np.meshgrid(at, at, indexing="ij")
    by_axes = resample_axes(data, taps(at, scale, method), taps(at, scale, method), method)
    by_points = resample_points(data, taps(rows, scale, method), taps(columns, scale, method), method)
    np.testing.assert_allclose(by_points, by_axes, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_values_stay_between_those_of_the_source(method: Method) -> None:
    rng = np.random.default_rng(3)
    data = rng.random((20, 20)).astype(np.float32)
    data[5:9, 5:9] = NAN
    one = taps(np.linspace(0.2, 19.8, 37), 1.7, method)
    out = resample_axes(data, one, one, method)
    assert np.nanmin(out) >= np.nanmin(data)
    assert np.nanmax(out) <= np.nanmax(data)


@pytest.mark.parametrize("method", METHODS)
def test_span_holds_all_that_is_needed(method: Method) -> None:
    data = np.random.default_rng(0).random((30, 30)).astype(np.float32)
    one = taps(np.linspace(8.3, 17.1, 12), 1.9, method)
    start, stop = one.span(30)
    part = shifted(one, start)
    np.testing.assert_array_equal(
        resample_axes(data[start:stop, start:stop], part, part, method),
        resample_axes(data, one, one, method),
    )
    assert stop - start < 14


def test_span_is_empty_outside_of_the_source() -> None:
    one = taps(np.array([55.0]), 1.0, "bilinear")
    start, stop = one.span(10)
    assert start == stop
    np.testing.assert_array_equal(resample_axes(np.empty((0, 0), np.float32), one, one, "bilinear"), [[NAN]])


def strip(data: list[float], position: list[float], method: Method) -> np.ndarray:
    """Resample a row of values that goes on above and below."""
    rows = taps(np.array([1.5]), 1.0, method)
    return resample_axes(
        np.tile(np.array(data, np.float32), (4, 1)), rows, taps(np.array(position), 1.0, method), method
    )[0]


def test_cubic_is_sharper_than_bilinear_and_never_overshoots() -> None:
    edge, at = [0.0] * 8 + [1.0] * 8, [7.2, 7.8, 8.2, 8.8]
    cubic, bilinear = (strip(edge, at, method) for method in ("cubic", "bilinear"))
    assert cubic.min() >= 0.0
    assert cubic.max() <= 1.0
    np.testing.assert_allclose(bilinear, [0, 0.3, 0.7, 1], atol=1e-6)
    np.testing.assert_allclose(cubic, [0, 0.258, 0.742, 1], atol=1e-6)


def test_cubic_copies_at_the_centres_and_is_exact_on_slopes() -> None:
    rng = np.random.default_rng(0)
    data = rng.random((9, 11)).astype(np.float32)
    rows, columns = (taps(np.arange(2, stop, dtype=np.float64) + 0.5, 1.0, "cubic") for stop in (7, 9))
    whole = resample_axes(data, rows, columns, "cubic")
    np.testing.assert_array_equal(whole, data[2:7, 2:9])
    np.testing.assert_allclose(strip(list(np.arange(12.0)), [3.7, 6.0], "cubic"), [3.2, 5.5], atol=1e-6)


def test_cubic_is_bilinear_next_to_missing_pixels() -> None:
    data, at = [1.0, 5.0, 2.0, 7.0, NAN, 3.0], [1.2, 2.9, 3.3, 3.8, 4.5]
    cubic, bilinear = (strip(data, at, method) for method in ("cubic", "bilinear"))
    np.testing.assert_array_equal(np.isnan(cubic), [False, False, False, False, True])
    np.testing.assert_array_equal(cubic, bilinear)

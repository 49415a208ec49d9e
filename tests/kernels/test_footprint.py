"""The footprint: blur that changes no constant and knows no block, and widths found where they are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lstzoom.kernels.aggregate import area_mean_radiance
from lstzoom.kernels.footprint import (
    REACH,
    WIDEST,
    WIDEST_RATIO,
    WIDTHS,
    _footprint_mean,
    agreement,
    best_width,
    blur,
    footprint_of,
    taps,
)
from lstzoom.simulate import simulate_scene

Floats = NDArray[np.float32]
sigmas = st.floats(0.2, 4.0)
ratios = st.sampled_from([2, 3, 4, 7])
seeds = st.integers(0, 2**32 - 1)


def noise(seed: int, shape: tuple[int, ...], gaps: float = 0.0) -> Floats:
    rng = np.random.default_rng(seed)
    out = rng.uniform(0.05, 0.5, shape).astype(np.float32)
    out[rng.random(shape) < gaps] = np.nan
    return out


# Blur


@given(seeds, sigmas, ratios, st.sampled_from([0.0, 0.3]), st.floats(-5, 5000, width=32))
@settings(max_examples=40, deadline=None)
def test_a_constant_stays_and_gaps_stay_gaps(seed, sigma, ratio, gaps, value):
    holes = np.isnan(noise(seed, (2, 30, 27), gaps))
    bands = np.where(holes, np.float32(np.nan), np.float32(value)).astype(np.float32)
    out = blur(bands, sigma, ratio)
    np.testing.assert_array_equal(np.isnan(out), holes)
    np.testing.assert_allclose(out[~holes], value, rtol=2e-6, atol=1e-6)
    assert out.dtype == np.float32


@given(seeds, sigmas, ratios, st.integers(-8, 8))
@settings(max_examples=30, deadline=None)
def test_the_unit_does_not_matter(seed, sigma, ratio, power):
    bands = noise(seed, (1, 25, 31), 0.1)
    factor = np.float32(2.0**power)
    np.testing.assert_array_equal(blur(bands * factor, sigma, ratio), blur(bands, sigma, ratio) * factor)


@given(seeds, sigmas, ratios)
@settings(max_examples=30, deadline=None)
def test_what_is_blurred_keeps_its_sum(seed, sigma, ratio):
    reach = REACH * ratio
    spot = np.zeros((1, 4 * reach + 1, 4 * reach + 3), np.float32)
    spot[0, 2 * reach, 2 * reach] = 1.0 + seed % 7
    out = blur(spot, sigma, ratio)
    assert out.sum(dtype=np.float64) == pytest.approx(float(spot.sum()), rel=1e-5)
    assert out.min() >= 0
    # As far as is promised, and no farther.
    assert not out[0, : reach - 1].any()
    assert not out[0, :, : reach - 1].any()


@given(
    seeds, sigmas, ratios, st.sampled_from([0.0, 0.05, 0.5]), st.integers(0, 12), st.integers(0, 12),
    st.integers(1, 12), st.integers(1, 12),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_a_window_is_the_crop_of_the_whole_bit_for_bit(seed, sigma, ratio, gaps, y, x, height, width):
    halo = REACH * ratio
    bands = noise(seed, (2, 24 + 2 * halo, 24 + 2 * halo), gaps)
    # A gap that a window may begin or end in.
    bands[:, halo + 5 : halo + 9, halo + 3 : halo + 14] = np.nan
    window = (slice(y, y + height + 2 * halo), slice(x, x + width + 2 * halo))
    core = (slice(halo, halo + height), slice(halo, halo + width))
    whole = blur(bands, sigma, ratio)[:, *window]
    part = blur(np.ascontiguousarray(bands[:, *window]), sigma, ratio)
    np.testing.assert_array_equal(part[:, *core], whole[:, *core])


@given(sigmas, ratios)
def test_without_gaps_it_is_a_gaussian(sigma, ratio):
    reach = REACH * ratio
    bands = noise(1, (1, 6 * reach + 5, 6 * reach + 4))
    inner = slice(reach, -reach)
    kept = max(1, min(int(np.ceil(4 * sigma)), reach))
    expected = gaussian_filter(bands[0].astype(np.float64), sigma, radius=kept)
    np.testing.assert_allclose(blur(bands, sigma, ratio)[0][inner, inner], expected[inner, inner], atol=1e-5)


def test_nothing_to_blur():
    bands = noise(0, (2, 9, 9))
    assert blur(bands, 0.0, 3) is bands


@given(sigmas, ratios)
def test_a_box_widens_the_gaussian(sigma, ratio):
    plain, boxed = taps(sigma, ratio, 1), taps(sigma, ratio, ratio)
    assert boxed.sum() == pytest.approx(1.0, abs=1e-5)

    def variance(weights):
        at = np.arange(len(weights)) - (len(weights) - 1) / 2
        return float((weights * at * at).sum())

    # Variances add: of the Gaussian as it is sampled, and of a box.
    assert variance(boxed) == pytest.approx(variance(plain) + (ratio**2 - 1) / 12, rel=1e-3)


# Widths


def measured(truth: Floats, vnir: Floats, ratio: int = 3) -> float:
    lst = area_mean_radiance(truth, ratio)
    halo = REACH + 1
    core = (slice(halo, lst.shape[0] - halo), slice(halo, lst.shape[1] - halo))
    return best_width(agreement(vnir, lst, core, ratio), ratio)


@pytest.fixture(scope="module")
def scene():
    return simulate_scene((360, 360), seed=2, kind="fields", noise=0.1)


def test_no_blur_is_measured_where_there_is_none(scene):
    # Up to two fifths of a fine pixel is the noise of reflectance, against which some blur helps.
    assert measured(scene.truth, scene.vnir) <= 0.4


@pytest.mark.parametrize("sigma", [2.0, 2.5])
def test_a_known_blur_is_found(scene, sigma):
    blurred = gaussian_filter(scene.truth.astype(np.float64), sigma, mode="nearest").astype(np.float32)
    # A third of a coarse pixel counts as fading; what lies beyond is told in full.
    wanted = np.sqrt(sigma**2 - 1.0 + 0.4**2)
    assert measured(blurred, scene.vnir) == pytest.approx(wanted, abs=0.35)


def test_more_blur_is_a_wider_footprint(scene):
    widths = [
        measured(gaussian_filter(scene.truth, s, mode="nearest"), scene.vnir) for s in (0.0, 1.5, 2.0, 3.0)
    ]
    assert widths == sorted(widths)
    assert widths[-1] > widths[0] + 1


@pytest.mark.parametrize("what", ["constant LST", "constant bands", "nothing valid", "unrelated"])
def test_nothing_is_made_of_nothing(scene, what):
    truth, vnir = scene.truth, scene.vnir
    if what == "constant LST":
        truth = np.full_like(truth, 300)
    elif what == "constant bands":
        vnir = np.full_like(vnir, 0.2)
    elif what == "nothing valid":
        vnir = np.full_like(vnir, np.nan)
    else:
        vnir = noise(5, vnir.shape)
    width = measured(truth, vnir)
    # White noise agrees with nothing at any width; all that must hold is that there is a number.
    assert 0.0 <= width <= WIDTHS[-1] * 3
    if what in ("constant LST", "nothing valid"):
        assert width == 0.0


def test_agreement_adds_up_over_patches(scene):
    lst = area_mean_radiance(scene.truth, 3)
    halves = [(slice(3, 51), slice(3, 51)), (slice(3, 51), slice(51, 99))]
    both = (slice(3, 51), slice(3, 99))
    parts = sum(agreement(scene.vnir, lst, half, 3) for half in halves)
    np.testing.assert_allclose(parts, agreement(scene.vnir, lst, both, 3), rtol=1e-12)


# Declared


@given(st.floats(1.0, 1000.0), st.floats(1.0, WIDEST_RATIO))
def test_variances_of_a_declared_footprint_add(pixel, factor):
    sigma = footprint_of(pixel * factor, pixel)
    assert (sigma * pixel) ** 2 + pixel**2 / 12 == pytest.approx((pixel * factor) ** 2 / 12, rel=1e-9)
    assert sigma <= WIDEST * (1 + 1e-9)


def test_an_instrument_as_fine_as_the_grid_needs_no_blur():
    assert footprint_of(30.0, 30.0) == footprint_of(10.0, 30.0) == 0.0


def mean_by_definition(plane: np.ndarray, weights: np.ndarray, stride: int) -> np.ndarray:
    """Weighted mean of what is finite along rows, and then along columns; in double precision."""
    for _ in range(2):
        reach = (len(weights) - stride) // 2
        known = np.isfinite(plane)
        total, weight = np.zeros((len(plane), plane.shape[1] // stride)), np.zeros(1)
        weight = np.zeros_like(total)
        for x in range(total.shape[1]):
            for t, w in enumerate(weights.astype(np.float64)):
                i = x * stride - reach + t
                if 0 <= i < plane.shape[1]:
                    total[:, x] += w * np.where(known[:, i], plane[:, i], 0.0)
                    weight[:, x] += w * known[:, i]
        plane = np.divide(total, weight, out=np.full(total.shape, np.nan), where=weight > 0).T
    return plane


@given(
    seeds, st.sampled_from([0.0, 0.4, 1.0]) | sigmas, ratios, st.sampled_from([0.0, 0.02, 0.5, 0.97, 1.0]),
    st.integers(1, 7), st.integers(1, 7), st.booleans(),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_means_under_gaps_are_those_of_the_definition(seed, sigma, ratio, gaps, height, width, frame):
    plane = noise(seed, (height * ratio, width * ratio), gaps)
    if frame:  # as outside of a scene: the same in every row
        plane[:, : seed % 5] = np.nan
        plane[:, plane.shape[1] - seed % 3 :] = np.nan
    if sigma > 0:
        want = np.where(np.isfinite(plane), mean_by_definition(plane, taps(sigma, ratio, 1), 1), np.nan)
        np.testing.assert_allclose(blur(plane[np.newaxis], sigma, ratio)[0], want, rtol=1e-5)
    weights = taps(sigma, ratio, ratio) if sigma > 0 else np.full(ratio, 1 / ratio, np.float32)
    got = _footprint_mean(plane, sigma, ratio)
    np.testing.assert_allclose(got, mean_by_definition(plane, weights, ratio), rtol=1e-5)

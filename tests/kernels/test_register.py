from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstzoom.kernels.aggregate import area_mean_radiance
from lstzoom.kernels.register import (
    GROUPS,
    Agreement,
    Shift,
    _dot,
    _known,
    _left_over,
    estimate_shift,
    measure_agreement,
    step_of,
    steps_of,
)
from lstzoom.simulate import simulate_scene
from lstzoom.types import YX


def measure(vnir, lst, ratio=3):
    whole = (slice(0, lst.shape[0]), slice(0, lst.shape[1]))
    return estimate_shift(measure_agreement(vnir, lst, whole, YX(0, 0), ratio), ratio)


@pytest.fixture(scope="module")
def scene():
    return simulate_scene((240, 270), bands=("red", "nir"), seed=5)


@pytest.fixture(scope="module")
def half_metre():
    """Reflectance and LST at a fourth of the fine pixel, so that shifts of quarters are exact."""
    rng = np.random.default_rng(1)
    side = 4 * 3 * 45
    cover = np.kron(rng.random((side // 20 + 1, side // 20 + 1)), np.ones((20, 20)))[:side, :side]
    return cover, 310 - 12 * cover**2 + rng.normal(0, 0.3, (side, side))


@settings(max_examples=25, deadline=None)
@given(y=st.integers(-5, 5), x=st.integers(-5, 5))
def test_whole_shifts_are_found(scene, y, x):
    found = measure(np.roll(scene.vnir, (y, x), axis=(1, 2)), scene.coarse)
    assert found is not None
    assert abs(found.y - y) < 0.15
    assert abs(found.x - x) < 0.15
    assert found.is_sure


@settings(max_examples=25, deadline=None)
@given(y=st.integers(-18, 18), x=st.integers(-18, 18))
def test_parts_of_a_pixel_are_found(half_metre, y, x):
    cover, truth = half_metre

    def mean(a, n):
        return a.reshape(len(a) // n, n, -1, n).mean(axis=(1, 3)).astype(np.float32)

    vnir = mean(np.roll(cover, (y, x), axis=(0, 1)), 4)[np.newaxis]
    found = measure(vnir, mean(truth, 12))
    assert found is not None
    assert abs(found.y - y / 4) < 0.2
    assert abs(found.x - x / 4) < 0.2
    assert found.is_sure


@pytest.mark.parametrize("ratio", [2, 3, 4, 5, 7, 10])
def test_any_ratio(ratio):
    rng = np.random.default_rng(ratio)
    side = 50 * ratio
    patch = 2 * ratio - 1
    field = np.kron(rng.random((side // patch + 1,) * 2), np.ones((patch, patch)))[:side, :side]
    lst = area_mean_radiance((300 + 10 * field).astype(np.float32), ratio)
    found = measure(np.roll(field, (1, -2), axis=(0, 1))[np.newaxis].astype(np.float32), lst, ratio)
    assert found is not None
    assert abs(found.y - 1) < max(0.2, ratio / 15)
    assert abs(found.x + 2) < max(0.2, ratio / 15)
    assert steps_of(ratio) * step_of(ratio) >= 2 * ratio


@pytest.mark.parametrize("law", [lambda v: v, lambda v: -v, lambda v: np.abs(v - 0.5)], ids=["+", "-", "V"])
def test_sign_and_form_of_the_relation_do_not_matter(law):
    rng = np.random.default_rng(3)
    field = np.kron(rng.random((40, 40)), np.ones((5, 5)))[:180, :180]
    lst = area_mean_radiance((300 + 8 * law(field)).astype(np.float32), 3)
    found = measure(np.roll(field, (2, 1), axis=(0, 1))[np.newaxis].astype(np.float32), lst)
    assert found is not None
    assert found.is_sure
    assert abs(found.y - 2) + abs(found.x - 1) < 0.3


def test_the_relation_may_differ_from_place_to_place():
    rng = np.random.default_rng(4)
    field = np.kron(rng.random((60, 60)), np.ones((4, 4)))
    slope = np.where(np.indices(field.shape).sum(0) // 60 % 2, 9.0, -9.0)
    lst = area_mean_radiance((300 + slope * field).astype(np.float32), 3)
    found = measure(np.roll(field, (-1, 2), axis=(0, 1))[np.newaxis].astype(np.float32), lst)
    assert found is not None
    assert found.is_sure
    assert abs(found.y + 1) + abs(found.x - 2) < 0.3


@pytest.mark.parametrize(
    ("move", "expected"),
    [
        (lambda a: a[..., ::-1, :], (-1, -2)),
        (lambda a: a[..., :, ::-1], (1, 2)),
        (lambda a: np.swapaxes(a, -1, -2), (-2, 1)),
    ],
    ids=["flip rows", "flip columns", "transpose"],
)
def test_a_mirrored_scene_has_the_mirrored_shift(scene, move, expected):
    moved = np.roll(scene.vnir, (1, -2), axis=(1, 2))
    found = measure(np.ascontiguousarray(move(moved)), np.ascontiguousarray(move(scene.coarse)))
    assert found is not None
    assert found.y == pytest.approx(expected[0], abs=0.1)
    assert found.x == pytest.approx(expected[1], abs=0.1)


@pytest.mark.parametrize(("scale", "offset"), [(1e4, 0.0), (1e4, -1000.0), (2.0**-12, 0.0)])
def test_units_do_not_matter(scene, scale, offset):
    plain = measure(scene.vnir, scene.coarse)
    other = measure((scene.vnir * np.float64(scale) + offset).astype(np.float32), scene.coarse + 5)
    assert plain is not None
    assert other is not None
    assert abs(plain.y - other.y) + abs(plain.x - other.x) < 0.01


def test_gaps_do_not_move_the_shift(scene):
    rng = np.random.default_rng(0)
    vnir = np.roll(scene.vnir, (1, 1), axis=(1, 2))
    lst = scene.coarse.copy()
    vnir[:, rng.random(vnir.shape[1:]) < 0.02] = np.nan
    vnir[0, 40:90, 100:180] = np.inf
    lst[rng.random(lst.shape) < 0.02] = np.nan
    lst[60:, :20] = np.nan
    found = measure(vnir, lst)
    assert found is not None
    assert found.is_sure
    assert abs(found.y - 1) + abs(found.x - 1) < 0.2


def test_what_is_hidden_does_not_count(scene):
    hidden = scene.vnir.copy()
    hidden[:, 60:120, 60:150] = np.nan
    other = hidden.copy()
    lst = scene.coarse.copy()
    lst[20:40, 20:50] = np.nan
    spoilt = lst.copy()
    spoilt[20:40, 20:50] = np.inf
    assert measure(hidden, lst) == measure(other, spoilt)


def test_flat_bands_add_nothing(scene):
    flat = np.full((1, *scene.vnir.shape[1:]), 0.2, np.float32)
    assert measure(np.concatenate([flat, scene.vnir]), scene.coarse) == measure(scene.vnir, scene.coarse)


def test_many_bands_are_thinned():
    scene = simulate_scene((150, 150), bands=("red",), seed=2)
    many = np.concatenate([scene.vnir * k for k in range(1, 40)])
    found = measure(np.roll(many, (1, 0), axis=(1, 2)), scene.coarse)
    assert found is not None
    assert abs(found.y - 1) < 0.2


@pytest.mark.parametrize("what", ["flat reflectance", "flat LST", "no reflectance", "no LST", "too small"])
def test_nothing_is_measured_where_there_is_nothing_to_see(scene, what):
    vnir, lst = scene.vnir.copy(), scene.coarse.copy()
    if what == "flat reflectance":
        vnir[:] = 0.3
    if what == "flat LST":
        lst[:] = 300.0
    if what == "no reflectance":
        vnir[:] = np.nan
    if what == "no LST":
        lst[:] = np.nan
    if what == "too small":
        vnir, lst = vnir[:, :21, :21], lst[:7, :7]
    assert measure(vnir, lst) is None


def test_unrelated_pairs_are_not_trusted():
    rng = np.random.default_rng(0)
    confidences = []
    for seed in range(12):
        lst = simulate_scene((150, 150), bands=("nir",), seed=seed).coarse
        other = simulate_scene((150, 150), bands=("red", "nir"), seed=seed + 100).vnir
        vnir = other if seed % 2 else rng.random((2, 150, 150), np.float32)
        found = measure(vnir, lst)
        assert found is not None
        confidences.append(found.confidence)
    assert max(confidences) < 0.8


def test_a_shift_beyond_the_search_is_not_trusted(scene):
    found = measure(np.roll(scene.vnir, (9, 0), axis=(1, 2)), scene.coarse)
    assert found is not None
    assert not found.is_sure


def test_parts_add_up_to_the_whole(scene):
    whole = measure_agreement(scene.vnir, scene.coarse, (slice(0, 80), slice(0, 90)), YX(0, 0), 3)
    parts = []
    for rows in (slice(0, 40), slice(40, 80)):
        top, bottom = max(rows.start - 4, 0), min(rows.stop + 4, 80)
        core = (slice(rows.start - top, rows.stop - top), slice(0, 90))
        parts.append(
            measure_agreement(
                scene.vnir[:, 3 * top : 3 * bottom], scene.coarse[top:bottom], core, YX(top, 0), 3
            )
        )
    assert parts[0].windows + parts[1].windows == whole.windows
    np.testing.assert_allclose(parts[0].surface + parts[1].surface, whole.surface, rtol=1e-6)


def test_halves_that_disagree_cost_confidence():
    y, x = np.mgrid[-6:7, -6:7].astype(float)
    near, far = (-((y - a) ** 2) - (x - a) ** 2 for a in (0.3, 4.0))
    agreed = estimate_shift(Agreement(np.stack([near] * GROUPS), 80), 3)
    split = estimate_shift(Agreement(np.stack([near, 3 * far] * (GROUPS // 2)), 80), 3)
    assert agreed is not None
    assert split is not None
    assert agreed.y == pytest.approx(0.3)
    assert agreed == Shift(agreed.y, agreed.x, 1.0)
    assert split.confidence < 0.8


@given(st.integers(0, 2**32 - 1), st.integers(0, 40))
def test_sum_of_products(seed, n):
    a, b = np.random.default_rng(seed).normal(size=(2, n))
    assert _dot(a, b) == pytest.approx(math.fsum(a * b), rel=1e-12, abs=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(8, 60))
@settings(deadline=None)
def test_what_a_ridge_regression_leaves_over(seed, count, n):
    rng = np.random.default_rng(seed)
    features, y = rng.normal(size=(count, n)), rng.normal(size=n)
    features[0] *= rng.choice([0.0, 1.0, 1e3])
    square = features @ features.T
    square[np.diag_indices(count)] *= 1 + 1e-3
    square[np.diag_indices(count)] += 1e-30
    factor = np.linalg.lstsq(square, features @ y, rcond=1e-14)[0]
    # What is explained of the sum of squares: less than without the ridge, and never more than all.
    assert _left_over(features, y) == pytest.approx(y @ y - factor @ features @ y, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("ratio", [2, 3, 5, 7, 10, 11, 13])
def test_every_shift_of_what_is_known_lies_inside(ratio):
    reach = steps_of(ratio) * step_of(ratio)
    rng = np.random.default_rng(ratio)
    passed = rng.normal(size=(2, 9 * ratio, 8 * ratio)).astype(np.float32)
    passed[:, rng.random(passed.shape[1:]) < 0.0005] = np.nan
    known = _known(passed, reach, ratio)
    for y, x in np.ndindex(known.shape):
        top, left = y * ratio - reach, x * ratio - reach
        inside = min(top, left) >= 0 and top + 2 * reach < 9 * ratio and left + 2 * reach < 8 * ratio
        square = passed[:, max(top, 0) : top + 2 * reach + 1, max(left, 0) : left + 2 * reach + 1]
        assert known[y, x] == (inside and bool(np.isfinite(square).all()))

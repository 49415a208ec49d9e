"""The method on a block: the same bits from any block, conservation, flags, and the equivariances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lstzoom.kernels.aggregate import area_mean_radiance
from lstzoom.kernels.block import BlockSettings, Sharpened
from lstzoom.kernels.correct import correct_residual
from lstzoom.kernels.interpolate import fill_gaps, interpolate
from lstzoom.kernels.quality import QA, cells
from lstzoom.kernels.windows import reach_of, spans
from tests.kernels.tiny import (
    Scene,
    make_scene,
    padded,
    pixels_of_cells,
    settings,
    sharpen,
    sharpen_core,
    train,
    trained,
    untrained,
    with_gaps,
)

NAN = np.float32(np.nan)
CONSERVED = 1e-3
"""Kelvin; ten times closer than what is promised to users."""

Turn = Callable[[np.ndarray], np.ndarray]
TURNS: dict[str, Turn] = {
    "rows": lambda a: a[..., ::-1, :],
    "columns": lambda a: a[..., ::-1],
    "transposed": lambda a: np.swapaxes(a, -1, -2),
}


def rms(a: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean(np.square(a, dtype=np.float64))))


def interpolated(scene: Scene) -> np.ndarray:
    """What is left without any detail: interpolation of the filled LST, corrected in radiance."""
    by, ratio = 20, scene.ratio
    coarse = fill_gaps(padded(scene, by).lst, steps=by)
    fine = interpolate(coarse, ratio)
    correct_residual(fine, coarse, ratio)
    return fine[by * ratio : -by * ratio, by * ratio : -by * ratio]


def turned(scene: Scene, turn: Turn) -> Scene:
    assert scene.truth is not None
    bands, lst = np.ascontiguousarray(turn(scene.bands)), np.ascontiguousarray(turn(scene.lst))
    return replace(scene, bands=bands, lst=lst, truth=turn(scene.truth))


# The same bits from any block


@lru_cache(maxsize=64)
def whole(ratio: int, bands: int, seed: int, *, gaps: bool, calibrated: bool) -> tuple[Scene, Sharpened]:
    scene, model = trained(ratio, bands)
    if gaps:
        scene = with_gaps(scene, seed)
    return scene, sharpen(scene, model, settings(ratio, calibrated=calibrated))


@given(
    st.sampled_from([2, 3, 4, 7]), st.integers(1, 3), st.integers(0, 2), st.booleans(), st.booleans(),
    st.integers(0, 23), st.integers(0, 27), st.integers(1, 24), st.integers(1, 28),
)  # fmt: skip
@hypothesis_settings(max_examples=60, deadline=None)
def test_a_block_is_the_crop_of_a_larger_block(ratio, bands, seed, gaps, calibrated, y, x, height, width):
    scene, expect = whole(ratio, bands, seed, gaps=gaps, calibrated=calibrated)
    rows, columns = slice(y, min(y + height, 24)), slice(x, min(x + width, 28))
    model = trained(ratio, bands)[1]
    got = sharpen_core(scene, model, settings(ratio, calibrated=calibrated), rows, columns)
    for field in fields(Sharpened):
        crop = getattr(expect, field.name)[
            rows.start * ratio : rows.stop * ratio, columns.start * ratio : columns.stop * ratio
        ]
        np.testing.assert_array_equal(getattr(got, field.name), crop, err_msg=field.name)


@pytest.mark.parametrize(("stride", "extension"), [(1, 0), (5, 3), (7, 4), (16, 8)])
def test_a_wider_halo_changes_nothing(stride, extension):
    scene, model = trained(3, 2)
    scene, how = with_gaps(scene, 1), settings(3, stride=stride, extension=extension)

    class Wider(BlockSettings):
        """The same settings, but a halo that is larger than it must be."""

        @property
        def halo(self) -> int:
            return how.halo + 7

    wider = Wider(*(getattr(how, field.name) for field in fields(BlockSettings)))
    # With a stride of 7 the farthest window that these columns need is trained 21 columns before them.
    core = (slice(3, 14), slice(24, 26))
    one, other = sharpen_core(scene, model, how, *core), sharpen_core(scene, model, wider, *core)
    for field in fields(Sharpened):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


@given(st.integers(0, 200), st.integers(1, 40), st.integers(1, 40), st.integers(0, 20))
def test_the_halo_holds_every_window_that_reaches_the_margin(start, length, stride, extension):
    # What a window at the far end of the margin lacks is damped to the last digits of the core, so that
    # the comparisons of bits above need luck to see it.
    how = settings(3, stride=stride, extension=extension)
    halo, margin = how.halo, how.margin
    wide = slice(halo - margin, halo + length + margin)
    for span in spans(start - halo, length + 2 * halo, wide, stride=stride, extension=extension):
        assert span.train.stop - span.train.start == 2 * (reach_of(stride) + extension)


def test_the_inputs_stay_as_they_were():
    scene, model = trained(3, 2)
    scene = with_gaps(scene, 0)
    assert scene.usable is not None
    copies = [a.copy() for a in (scene.bands, scene.lst, scene.usable)]
    sharpen(scene, model)
    for before, after in zip(copies, (scene.bands, scene.lst, scene.usable), strict=True):
        np.testing.assert_array_equal(before, after)


# Conservation


@given(st.sampled_from([2, 3, 4, 7]), st.integers(0, 5), st.booleans(), st.booleans())
@hypothesis_settings(max_examples=25, deadline=None)
def test_conservation(ratio, seed, gaps, calibrated):
    scene, out = whole(ratio, 2, seed, gaps=gaps, calibrated=calibrated)
    full = np.isfinite(pixels_of_cells(out.lst, ratio)).all(axis=-1)
    assert full.sum() > 100
    error = np.abs(area_mean_radiance(out.lst, ratio) - scene.lst)[full]
    assert error.max() <= CONSERVED


def test_conservation_where_neighbours_differ_by_a_hundred_kelvin():
    scene, model = trained(3, 2)
    lst = np.random.default_rng(0).choice([240, 345], scene.shape).astype(np.float32)
    out = sharpen(replace(scene, lst=lst), model)
    np.testing.assert_allclose(area_mean_radiance(out.lst, 3), lst, atol=CONSERVED)


# Conservation on boxes


def on_boxes(scene: Scene, out: Sharpened, box: int, first: tuple[int, int] = (0, 0)) -> np.ndarray:
    """Departure from the input's radiance mean on every whole box of the global lattice, kelvin.

    `first` is the global index of the first coarse pixel of `out`; a box is whole if all its coarse pixels
    lie in `out` and have a value on all their fine pixels.
    """
    ratio, (y, x) = scene.ratio, (-first[0] % box, -first[1] % box)
    ny, nx = ((n // ratio - at) // box * box for n, at in zip(out.lst.shape, (y, x), strict=True))
    fine = out.lst[y * ratio : (y + ny) * ratio, x * ratio : (x + nx) * ratio]
    coarse = scene.lst[first[0] + y :, first[1] + x :][:ny, :nx]
    return area_mean_radiance(fine, ratio * box) - area_mean_radiance(np.ascontiguousarray(coarse), box)


@pytest.mark.parametrize("box", [2, 3])
@pytest.mark.parametrize("ratio", [2, 3])
@pytest.mark.parametrize("gaps", [False, True])
def test_conservation_on_boxes_of_a_scene_that_they_do_not_divide(box, ratio, gaps):
    # 23 and 29 coarse pixels: the last boxes reach beyond the scene.
    scene = make_scene(ratio, 2, size=(23, 29), seed=1)
    model = train(scene)
    scene = with_gaps(scene, 5) if gaps else scene
    out = sharpen(scene, model, settings(ratio, box=box))
    apart = on_boxes(scene, out, box)
    whole_boxes = np.isfinite(apart)
    assert whole_boxes.sum() > (8 if gaps else 60)
    assert np.abs(apart[whole_boxes]).max() <= CONSERVED
    # Coarse pixels inside of a box are free: otherwise the box would mean nothing.
    each = np.abs(area_mean_radiance(out.lst, ratio) - scene.lst)
    assert np.nanmax(each) > 10 * CONSERVED


@lru_cache(maxsize=16)
def boxed(box: int, ratio: int) -> tuple[Scene, Sharpened]:
    scene, model = trained(ratio, 2)
    scene = with_gaps(scene, 1)
    return scene, sharpen(scene, model, settings(ratio, box=box))


@given(
    st.sampled_from([2, 3, 4]), st.sampled_from([2, 3]), st.integers(0, 22), st.integers(0, 26),
    st.integers(1, 24), st.integers(1, 28),
)  # fmt: skip
@hypothesis_settings(max_examples=40, deadline=None)
def test_boxes_do_not_depend_on_the_block(box, ratio, y, x, height, width):
    scene, expect = boxed(box, ratio)
    rows, columns = slice(y, min(y + height, 24)), slice(x, min(x + width, 28))
    got = sharpen_core(scene, trained(ratio, 2)[1], settings(ratio, box=box), rows, columns)
    crop = (
        slice(rows.start * ratio, rows.stop * ratio),
        slice(columns.start * ratio, columns.stop * ratio),
    )
    for name in ("lst", "residual", "lst_uncertainty"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expect, name)[crop], err_msg=name)


@pytest.mark.parametrize("box", [2, 3])
def test_a_block_in_the_middle_conserves_on_the_boxes_of_the_whole(box):
    scene, model = trained(3, 2)
    first = (7, 5)
    out = sharpen_core(scene, model, settings(3, box=box), slice(7, 24), slice(5, 28))
    apart = on_boxes(scene, out, box, first)
    assert apart.size >= 16
    assert np.abs(apart).max() <= CONSERVED


# Flags and missing values


@given(st.sampled_from([2, 3]), st.integers(1, 3), st.integers(0, 20), st.booleans())
@hypothesis_settings(max_examples=40, deadline=None)
def test_every_pixel_has_a_value_or_a_reason(ratio, bands, seed, masked):
    scene, model = trained(ratio, bands)
    scene = with_gaps(scene, seed, masked=masked)
    out = sharpen(scene, model)
    usable = np.ones(out.qa.shape, bool) if scene.usable is None else scene.usable
    has_lst, has_vnir = cells(np.isfinite(scene.lst), ratio), np.isfinite(scene.bands).all(axis=0)
    np.testing.assert_array_equal(out.qa == QA.MASKED, ~usable)
    np.testing.assert_array_equal(out.qa == QA.NODATA, usable & ~has_lst)
    np.testing.assert_array_equal(out.qa == QA.INTERPOLATED, usable & has_lst & ~has_vnir)
    # Valid wherever the coarse pixel is valid and not masked, and nowhere else.
    np.testing.assert_array_equal(np.isfinite(out.lst), usable & has_lst)
    np.testing.assert_array_equal(np.isfinite(out.residual), usable & has_lst)
    for name in ("lst_global", "lst_local", "local_weight"):
        np.testing.assert_array_equal(np.isfinite(getattr(out, name)), usable & has_lst & has_vnir)
    assert np.nanmin(out.local_weight) >= 0
    assert np.nanmax(out.local_weight) <= 1 + 1e-6
    for field in fields(Sharpened):
        assert getattr(out, field.name).dtype == (np.uint8 if field.name == "qa" else np.float32)


def test_no_value_of_a_masked_or_invalid_pixel_gets_out():
    scene, model = trained(3, 2)
    gappy = with_gaps(scene, 3)
    assert gappy.usable is not None
    # Whatever lies under the mask, and whichever way a pixel is invalid.
    hidden = np.where(gappy.usable, gappy.bands, np.float32(9e9))
    hidden = np.where(np.isnan(hidden), np.float32(-np.inf), hidden)
    dark = ~pixels_of_cells(gappy.usable, 3).any(axis=-1)
    assert dark.any()
    lst = np.where(dark, np.float32(999), gappy.lst)
    one, other = sharpen(gappy, model), sharpen(replace(gappy, bands=hidden, lst=lst), model)
    for field in fields(Sharpened):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def test_a_mask_of_nothing_is_no_mask():
    scene, model = trained(3, 2)
    one = sharpen(scene, model)
    other = sharpen(replace(scene, usable=np.ones(scene.bands.shape[1:], bool)), model)
    np.testing.assert_array_equal(one.lst, other.lst)
    np.testing.assert_array_equal(one.qa, other.qa)


def test_nothing_to_sharpen():
    scene, model = trained(3, 2)
    usable = np.random.default_rng(0).random(scene.bands.shape[1:]) > 0.5
    out = sharpen(replace(scene, lst=np.full(scene.shape, NAN), usable=usable), model)
    assert np.isnan(out.lst).all()
    np.testing.assert_array_equal(out.qa, np.where(usable, QA.NODATA, QA.MASKED))


def test_a_single_coarse_pixel():
    scene, model = trained(3, 2)
    lst = np.full(scene.shape, NAN)
    lst[5, 6] = 301.5
    out = sharpen(replace(scene, lst=lst), model)
    cell = out.lst[15:18, 18:21]
    assert np.isfinite(out.lst).sum() == np.isfinite(cell).sum() == 9
    assert area_mean_radiance(cell, 3)[0, 0] == pytest.approx(301.5, abs=CONSERVED)


def test_what_lies_beyond_the_filling_is_not_seen():
    # Gaps are filled as far as anything reads. What is left at 0 K behind would show at once.
    scene = make_scene(3, 1)
    lst = np.full(scene.shape, NAN)
    lst[12, 14] = 301.5
    out = sharpen(replace(scene, lst=lst), untrained(scene), settings(3, min_samples=10_000))
    np.testing.assert_allclose(out.residual[36:39, 42:45], 0, atol=1e-4)
    np.testing.assert_allclose(out.lst[36:39, 42:45], 301.5, atol=1e-4)


def test_sharpened_pixels_say_which_model_they_come_from():
    scene, model = trained(3, 2)
    local, world = sharpen(scene, model), sharpen(scene, model, settings(3, min_samples=10_000))
    np.testing.assert_array_equal(local.qa == QA.LOCAL, local.local_weight >= 0.5)
    assert (local.qa == QA.LOCAL).any()
    assert (world.qa == QA.GLOBAL).all()
    np.testing.assert_allclose(world.lst_local, world.lst_global, rtol=1e-6)


def test_detail_that_nothing_supports_is_flagged():
    scene = make_scene(3, 2)
    noise = np.random.default_rng(0).uniform(0.1, 0.4, scene.bands.shape).astype(np.float32)
    scene = replace(scene, bands=noise)
    out = sharpen(scene, replace(train(scene), details=None, reliability=0.0))
    assert np.mean(out.qa == QA.UNSUPPORTED) > 0.8


# What a scene without information becomes


@pytest.mark.parametrize("value", [0.0, 0.3, 3000.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_constant_vnir_is_interpolation(value, seed):
    scene = make_scene(3, 2, seed=seed)
    scene = replace(scene, bands=np.full_like(scene.bands, value))
    out = sharpen(scene, train(scene))
    # Windows with different means leave bends where their tents meet, and trees out of bag agree with
    # LST by chance: a few hundredths of a kelvin, against fields that differ by several kelvin.
    difference = out.lst - interpolated(scene)
    assert rms(difference) < 0.01
    assert np.abs(difference).max() < 0.1
    assert (out.qa == QA.UNSUPPORTED).mean() > 0.8


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("value", [233.7, 300.0])
def test_constant_lst_is_constant(value, gaps):
    scene = make_scene(3, 2)
    scene = with_gaps(scene, 2) if gaps else scene
    scene = replace(scene, lst=np.where(np.isfinite(scene.lst), np.float32(value), NAN))
    out = sharpen(scene, train(scene))
    np.testing.assert_allclose(out.lst[np.isfinite(out.lst)], value, atol=1e-3)


@pytest.mark.parametrize("calibrated", [False, True])
def test_without_vnir_nothing_but_interpolation_is_left(calibrated):
    # A gap in VNIR that is wider than any filling reaches. The border of the filling must not be
    # taken for a border on the land.
    scene, model = trained(3, 2)
    bands = scene.bands.copy()
    bands[:, :, 15:70] = np.nan
    scene = replace(scene, bands=bands)
    out = sharpen(scene, model, settings(3, calibrated=calibrated))
    # Where the correction does not reach into what was sharpened, two coarse pixels from the gap's edge.
    inner = (slice(None), slice(15 + 9, 70 - 9))
    np.testing.assert_allclose(out.lst[inner], interpolated(scene)[inner], atol=1e-3)
    assert (out.qa[:, 15:70] == QA.INTERPOLATED).all()


def test_a_model_that_knows_nothing_interpolates():
    scene = with_gaps(make_scene(3, 2), 4, masked=False)
    out = sharpen(scene, untrained(scene), settings(3, min_samples=10_000))
    valid = np.isfinite(out.lst)
    np.testing.assert_allclose(out.lst[valid], interpolated(scene)[valid], atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ratio", [2, 3, 4])
def test_detail_that_vnir_explains_is_found(ratio, seed):
    scene, model = trained(ratio, 2, seed)
    assert scene.truth is not None
    out = sharpen(scene, model)
    assert rms(out.lst - scene.truth) < 0.6 * rms(interpolated(scene) - scene.truth)


# Equivariance


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("by", [-20, 8])
def test_a_constant_added_to_lst_moves_the_result(seed, by):
    # Not exactly: a mixed cell's radiance exceeds that of its mean by 1.5 var / T, which changes by
    # some 0.001 K here; and rounding may tip a tree between two splits that are as good, which is rare
    # and moves the pixels of two leaves by hundredths of the 0.5 K of detail.
    scene, model = trained(3, 2, seed)
    moved = replace(scene, lst=scene.lst + np.float32(by))
    difference = np.abs(sharpen(moved, train(moved)).lst - by - sharpen(scene, model).lst)
    assert np.median(difference) < 3e-3
    assert rms(difference) < 0.02


@pytest.mark.parametrize("seed", range(3))
def test_the_unit_of_reflectance_does_not_matter(seed):
    scene, model = trained(3, 2, seed)
    once = sharpen(scene, model)
    # A power of two changes no digit of anything.
    binary = replace(scene, bands=scene.bands * np.float32(2.0**13))
    np.testing.assert_array_equal(sharpen(binary, train(binary)).lst, once.lst)
    # Ten thousand rounds the bands, which may tip a pixel over a threshold of a tree.
    decimal = replace(scene, bands=scene.bands * np.float32(1e4))
    difference = np.abs(sharpen(decimal, train(decimal)).lst - once.lst)
    assert (difference > 2e-3).mean() <= 0.05
    assert difference.max() < 0.1


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS.keys())
def test_mirrors_of_what_has_no_bags(turn):
    # Bags are drawn by a hash of the position, which knows no symmetry. Without windows and with the
    # global trees given, the published method (amplitude 1) has no bags and must be symmetric to the
    # last digits; so must the interpolation.
    scene, model = trained(3, 2)
    how = settings(3, min_samples=10_000, calibrated=False)
    for one in (model, untrained(scene)):
        straight, other = sharpen(scene, one, how).lst, sharpen(turned(scene, turn), one, how).lst
        np.testing.assert_allclose(other, turn(straight), atol=2e-3)


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS.keys())
def test_mirrors_of_the_detail_view(turn):
    # The detail trees given and nothing else: only the order of sums differs, which may tip a pixel
    # over a threshold.
    scene, model = trained(3, 2)
    model, how = replace(model, levels=None), settings(3, min_samples=10_000)
    straight, other = sharpen(scene, model, how).lst, sharpen(turned(scene, turn), model, how).lst
    difference = np.abs(other - turn(straight))
    assert rms(straight - interpolated(scene)) > 0.1
    assert np.quantile(difference, 0.99) < 2e-3


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS.keys())
def test_mirrors_of_the_whole_method(turn):
    # Other bags make other trees, so that only the figures agree: results differ by far less than the
    # detail that they add, and are as close to the truth. The scene's sides are multiples of the
    # stride; otherwise its windows would lie elsewhere as well.
    differences, errors = [], []
    for seed in range(3):
        scene = make_scene(3, 2, size=(24, 24), seed=seed)
        other = turned(scene, turn)
        straight, mirrored = sharpen(scene, train(scene)).lst, sharpen(other, train(other)).lst
        differences.append(rms(mirrored - turn(straight)) / rms(straight - cells(scene.lst, 3)))
        errors.append(rms(mirrored - other.truth) / rms(straight - scene.truth))
    assert max(differences) < 0.25
    assert np.mean(errors) == pytest.approx(1.0, abs=0.15)

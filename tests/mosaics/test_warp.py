from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion

from lstzoom.config import MosaicConfig
from lstzoom.kernels.quality import QA
from lstzoom.mosaics.plan import plan_mosaics
from lstzoom.mosaics.scenes import Scene
from lstzoom.mosaics.target import Lattice, Window, parts_of
from lstzoom.mosaics.tiles import merge_window
from lstzoom.mosaics.warp import warp, warp_lst
from tests.mosaics.scenes_in_memory import START, Values, grid_at, scene_of, seen, waves

EUROPE = Lattice.of("EPSG:3035", 10)


def holes(lst, seed=0):
    draw = np.random.default_rng(seed)
    lst[draw.random(lst.shape) < 0.02] = np.nan
    lst[20:50, 30:70] = np.nan
    return lst


def assert_close(lst, truth):
    """Within what interpolation of waves of 130 pixels allows; not so at an edge."""
    known = np.isfinite(lst)
    error = np.abs(lst - truth)
    assert error[known].max() < 0.2
    assert error[binary_erosion(known, iterations=3)].max() < 0.005


@pytest.mark.parametrize("crs", ["EPSG:3035", "EPSG:32633", "EPSG:6933", "EPSG:4326"])
def test_a_smooth_field_arrives_where_it_belongs(crs) -> None:
    grid = grid_at(11.9, 48.0, (150, 180), "EPSG:32632")
    scene = scene_of(seen(grid, waves), grid)
    lattice = Lattice.of(crs, 0.0001 if crs == "EPSG:4326" else 10)
    (part,) = parts_of(grid, lattice)
    found = warp(scene, part, lattice, part.window)
    truth = seen(lattice.geobox(part.window), waves)
    known = np.isfinite(found.lst)
    assert_close(found.lst, truth)
    assert known.mean() > 0.5
    np.testing.assert_array_equal(found.qa == QA.LOCAL, known)
    np.testing.assert_allclose(found.uncertainty[known], 0.5, rtol=1e-5)


def test_the_same_grid_is_copied() -> None:
    grid = grid_at(11.0, 48.0, (90, 80), "EPSG:32632")
    lst = holes(seen(grid, waves))
    lattice = Lattice.of("EPSG:32632", 10)
    (part,) = parts_of(grid, lattice)
    window = lattice.window(grid.boundingbox.bbox)
    found = warp(scene_of(lst, grid), part, lattice, window)
    np.testing.assert_array_equal(found.lst, lst)
    np.testing.assert_array_equal(found.qa == QA.MASKED, np.isnan(lst))


def test_gaps_do_not_bleed() -> None:
    grid = grid_at(11.0, 48.0, (150, 150), "EPSG:32632")
    lst = holes(np.full((150, 150), 300.0, np.float32))
    (part,) = parts_of(grid, EUROPE)
    found = warp(scene_of(lst, grid), part, EUROPE, part.window)
    known = np.isfinite(found.lst)
    np.testing.assert_allclose(found.lst[known], 300.0, rtol=1e-6)
    # The pixel under the centre decides, for values and flags alike.
    np.testing.assert_array_equal(known, found.qa == QA.LOCAL)
    assert 0.5 < known.sum() / np.isfinite(lst).sum() < 1.5


def test_averages_take_the_flag_of_most_of_the_area() -> None:
    grid = grid_at(11.0, 48.0, (120, 120), "EPSG:32632")
    lst = np.full((120, 120), 300.0, np.float32)
    qa = np.full((120, 120), QA.LOCAL, np.float32)
    # One in four is global, and the others of every second pair of rows; a third of columns has no value.
    qa[::2, ::2] = QA.GLOBAL
    lst[:, 1::3], qa[:, 1::3] = np.nan, QA.MASKED
    scene = Scene("a", START, Values(lst, grid), None, Values(qa, grid))
    lattice = Lattice.of("EPSG:32632", 60)
    (part,) = parts_of(grid, lattice)
    found = warp(scene, part, lattice, part.window)
    inner = (slice(4, -4), slice(4, -4))
    assert (found.qa[inner] == QA.LOCAL).all()
    np.testing.assert_allclose(found.lst[inner], 300.0)
    assert np.isnan(found.uncertainty).all()


@settings(max_examples=25, deadline=None)
@given(
    st.data(),
    st.sampled_from(["cubic", "auto", "nearest"]),
    st.sampled_from(["EPSG:3035", "EPSG:6933", "EPSG:32632"]),
)
def test_a_window_is_the_crop_of_the_whole(data, resampling, crs) -> None:
    grid = grid_at(11.0, 48.0, (90, 110), "EPSG:32632")
    scene = scene_of(holes(seen(grid, waves)), grid)
    lattice = Lattice.of(crs, data.draw(st.sampled_from([10, 7.5, 25])))
    (part,) = parts_of(grid, lattice)
    whole = part.window.grown(3)
    top = data.draw(st.integers(whole.top, whole.bottom - 1))
    left = data.draw(st.integers(whole.left, whole.right - 1))
    window = Window(
        top,
        data.draw(st.integers(top + 1, whole.bottom)),
        left,
        data.draw(st.integers(left + 1, whole.right)),
    )
    everything = warp(scene, part, lattice, whole, resampling)
    found = warp(scene, part, lattice, window, resampling)
    for a, b in zip(everything, found, strict=True):
        np.testing.assert_array_equal(np.asarray(a)[window.within(whole)], b)
    np.testing.assert_array_equal(warp_lst(scene, part, lattice, window, resampling), found.lst)


def overlapping(seed: int = 0) -> list[Scene]:
    draw = np.random.default_rng(seed)
    found = []
    for k, (lon, lat) in enumerate([(11.0, 48.0), (11.006, 48.001), (11.002, 47.996), (11.004, 48.0)]):
        # Neighbours in another zone, as at its border.
        grid = grid_at(lon, lat, (90 + k, 100), f"EPSG:{32632 + k % 2}")
        lst = holes(seen(grid, waves), k) + np.float32(draw.normal(0, 2))
        # Two of one time: their names decide.
        found.append(scene_of(lst, grid, name=f"s{k}", day=k // 2, sigma=0.3 + 0.2 * k))
    return found


@pytest.mark.parametrize("rule", ["latest", "median", "mean"])
@settings(max_examples=8, deadline=None)
@given(st.permutations(range(4)), st.integers(64, 200))
def test_neither_order_nor_tiles_change_a_bit(rule, order, tile) -> None:
    scenes = overlapping()
    config = MosaicConfig(rule=rule, tile=256, feather=150)
    (plan,) = plan_mosaics(scenes, config)
    window = plan.target.window
    whole = merge_window(plan.scenes, plan.lattice, window, config)
    (other,) = plan_mosaics([scenes[k] for k in order], config.model_copy(update={"tile": tile}))
    seen_pixels = 0
    for task in other.tasks:
        part = task.tile.window(tile)
        merged = merge_window(other.placed(task), other.lattice, part, other.config)
        common = part & window
        for a, b in zip(whole, merged, strict=True):
            np.testing.assert_array_equal(
                np.asarray(a)[common.within(window)], np.asarray(b)[common.within(part)]
            )
        seen_pixels += int((merged.number > 0).sum())
    # And no tile was left out.
    assert seen_pixels == int((whole.number > 0).sum()) > 10_000


def test_across_the_antimeridian_both_halves_are_there_and_once() -> None:
    grid = grid_at(180.0, -17.0, (120, 160), "EPSG:32760")
    scene = scene_of(seen(grid, waves), grid)
    world = Lattice.of("EPSG:6933", 10)
    parts = parts_of(grid, world)
    counted = 0
    for part in parts:
        found = warp(scene, part, world, part.window)
        known = np.isfinite(found.lst)
        truth = seen(world.geobox(part.window), waves)
        assert_close(found.lst, truth)
        counted += int(known.sum())
    assert len(parts) == 2
    # As many pixels as the scene has, for both are of 100 m2.
    assert counted == pytest.approx(grid.shape.x * grid.shape.y, rel=0.02)


def test_utm_zones_get_a_mosaic_each_and_agree_where_both_see_the_ground() -> None:
    scenes = [
        scene_of(seen(grid, waves), grid, name=name)
        for name, grid in (
            ("west", grid_at(11.995, 48.0, (120, 160), "EPSG:32632")),
            ("east", grid_at(12.005, 48.0, (120, 160), "EPSG:32633")),
        )
    ]
    plans = plan_mosaics(scenes, MosaicConfig(crs="utm", tile=128, feather=100))
    assert [plan.config.crs for plan in plans] == ["EPSG:32632", "EPSG:32633"]
    for plan in plans:
        # Both scenes reach over the border and show in both mosaics.
        assert {one.scene.name for one in plan.scenes} == {"west", "east"}
        window = plan.target.window
        merged = merge_window(plan.scenes, plan.lattice, window, plan.config)
        truth = seen(plan.target.geobox, waves)
        assert_close(merged.lst, truth)

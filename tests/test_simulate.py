"""Simulated scenes: exact coarse LST, one world for all tiles, and a problem worth solving."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - gives arrays their .rio
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestRegressor

from lstzoom import metrics
from lstzoom.errors import EncodingError, InputError
from lstzoom.simulate import (
    BANDS,
    Landscape,
    Scene,
    simulate_plume,
    simulate_scene,
    simulate_tile,
    write_scene,
    write_simulation,
)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return simulate_scene((300, 300), seed=1)


def test_coarse_is_the_radiance_mean_of_the_truth(scene: Scene) -> None:
    wide = scene.truth.astype(np.float64).reshape(100, 3, 100, 3)
    np.testing.assert_allclose(scene.coarse, (wide**4).mean((1, 3)) ** 0.25, atol=1e-4)


def test_ranges_and_types(scene: Scene) -> None:
    assert scene.vnir.dtype == scene.truth.dtype == scene.coarse.dtype == np.float32
    assert scene.vnir.shape == (8, 300, 300)
    assert scene.vnir.min() > 0.0
    assert scene.vnir.max() < 0.8
    assert 280.0 < scene.truth.min() < scene.truth.max() < 340.0
    assert 3.0 < scene.truth.std() < 8.0


@given(
    at=st.tuples(st.integers(-300, 300), st.integers(-300, 300)),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    kind=st.sampled_from(["city", "fields", "plume"]),
)
@settings(max_examples=25, deadline=None)
def test_a_tile_is_a_window_of_any_larger_tile(
    at: tuple[int, int], shape: tuple[int, int], kind: Literal["city", "fields", "plume"]
) -> None:
    world = Landscape(seed=3, bands=("red", "nir"), kind=kind)
    vnir, truth = simulate_tile(at, shape, world)
    big_vnir, big_truth = simulate_tile((at[0] - 7, at[1] - 5), (shape[0] + 9, shape[1] + 6), world)
    inner = (slice(7, 7 + shape[0]), slice(5, 5 + shape[1]))
    np.testing.assert_array_equal(truth, big_truth[inner])
    np.testing.assert_array_equal(vnir, big_vnir[(slice(None), *inner)])


def test_scenes_of_one_seed_continue_each_other() -> None:
    whole = simulate_scene((60, 120), origin=(90, 120))
    east = simulate_scene((60, 60), origin=(90, 180))
    np.testing.assert_array_equal(whole.truth[:, 60:], east.truth)
    assert whole.geobox[:, 60:] == east.geobox


def test_seed_decides() -> None:
    one, same, other = (simulate_scene((90, 90), seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(one.truth, same.truth)
    assert np.abs(one.truth - other.truth).mean() > 1.0


def test_a_subset_of_bands_is_those_bands(scene: Scene) -> None:
    some = simulate_scene((300, 300), seed=1, bands=("nir", "red"))
    np.testing.assert_array_equal(some.vnir[0], scene.vnir[BANDS.index("nir")])
    np.testing.assert_array_equal(some.vnir[1], scene.vnir[BANDS.index("red")])
    np.testing.assert_array_equal(some.truth, scene.truth)


@pytest.mark.parametrize("seed", range(4))
def test_every_world_holds_town_fields_and_water(seed: int) -> None:
    scene = simulate_scene((210, 210), seed=seed)
    red, nir, swir = (scene.vnir[BANDS.index(name)] for name in ("red", "nir", "swir16"))
    ndvi = (nir - red) / (nir + red)
    assert (ndvi > 0.7).mean() > 0.1
    assert (swir < 0.02).mean() > 0.005
    # Roofs and streets: bright or dark, but grey.
    assert ((ndvi < 0.15) & (swir > 0.05)).mean() > 0.02


def detail_r2(scene: Scene, features: np.ndarray) -> float:
    """Detail explained by a forest trained on a sample of the fine truth itself.

    What the features can tell at most.
    """
    flat = features.reshape(len(features), -1).T
    sample = np.random.default_rng(0).choice(len(flat), 12000, replace=False)
    forest = RandomForestRegressor(12, min_samples_leaf=4, random_state=0)
    forest.fit(flat[sample], scene.truth.ravel()[sample])
    return metrics.detail_r2(forest.predict(flat).reshape(scene.truth.shape), scene.truth, scene.ratio)


def features(scene: Scene) -> np.ndarray:
    red, nir, swir = (scene.vnir[BANDS.index(name)] for name in ("red", "nir", "swir16"))
    return np.concatenate([scene.vnir, [(nir - red) / (nir + red), (nir - swir) / (nir + swir)]])


def test_vnir_explains_most_detail_but_no_global_relation_does() -> None:
    varied, uniform = (simulate_scene((480, 480), seed=2, law_spread=spread) for spread in (1.0, 0.0))
    where = np.indices(varied.truth.shape).astype(np.float32)
    by_vnir = detail_r2(varied, features(varied))
    by_place = detail_r2(varied, np.concatenate([features(varied), where]))
    # One relation over the scene leaves much, though it is fitted to the truth; knowing the place
    # helps ...
    assert 0.4 < by_vnir < 0.8
    assert by_place > by_vnir + 0.08
    # ... and what is missing is the law's variation: where one law rules, one relation does.
    assert detail_r2(uniform, features(uniform)) > by_vnir + 0.08
    # Bicubic sees far less than VNIR does, so there is something to win.
    assert metrics.detail_r2(metrics.upsample_bicubic(varied.coarse, 3), varied.truth, 3) < 0.45


def test_what_vnir_does_not_show_is_a_small_part_of_the_detail() -> None:
    full = simulate_scene((300, 300))
    shown = simulate_scene((300, 300), moisture=0.0, insulation=0.0, smooth=0.0, noise=0.0)
    np.testing.assert_array_equal(shown.vnir, full.vnir)
    assert 0.5 < np.std(full.truth - shown.truth) < 1.5
    assert 0.92 < metrics.detail_r2(shown.truth, full.truth, 3) < 0.99


def test_plume_lies_in_calm_water_and_no_band_shows_it() -> None:
    scene = simulate_plume((300, 300), noise=0.0, smooth=0.0)
    water = (scene.vnir == scene.vnir[:, -1:, :1]).all(0)
    assert 0.3 < water.mean() < 0.7
    assert 4.0 < np.ptp(scene.truth[water]) < 12.0
    still = simulate_plume((300, 300), noise=0.0, smooth=0.0, kind="city")
    assert not (still.vnir == still.vnir[:, -1:, :1]).all(0)[-50:].all()


def test_xarray_is_georeferenced(scene: Scene) -> None:
    vnir, lst, truth = scene.to_xarray()
    assert vnir.dims == ("band", "y", "x")
    assert list(vnir.band.values) == list(BANDS)
    assert vnir.odc.geobox == truth.odc.geobox == scene.geobox
    assert lst.odc.geobox == scene.geobox.zoom_out(3)
    assert lst.rio.crs.to_epsg() == 32632
    assert lst.attrs["units"] == "K"
    assert float(lst.x[0]) == float(vnir.x[:3].mean())
    assert np.shares_memory(truth.values, scene.truth)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1, masked=True).filled(0) * file.scales[0] + file.offsets[0]


def test_files_hold_the_scene(scene: Scene, tmp_path: Path) -> None:
    paths = write_scene(scene, tmp_path / "new")
    assert set(paths) == {"lst", "truth", *BANDS}
    assert sorted((tmp_path / "new").iterdir()) == sorted(paths.values())
    np.testing.assert_allclose(read(paths["lst"]), scene.coarse, atol=0.00502)
    np.testing.assert_allclose(read(paths["truth"]), scene.truth, atol=0.00502)
    for k, band in enumerate(BANDS):
        np.testing.assert_allclose(read(paths[band]), scene.vnir[k], atol=0.0000502)
    with rasterio.open(paths["lst"]) as lst, rasterio.open(paths["red"]) as red:
        assert lst.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (lst.dtypes, lst.nodata, lst.units, lst.descriptions) == (
            ("uint16",),
            65535,
            ("K",),
            ("lst",),
        )
        assert (lst.res, red.res, lst.scales, red.scales) == (
            (30, 30),
            (10, 10),
            (0.01,),
            (0.0001,),
        )
        assert lst.bounds == red.bounds
        assert (lst.crs.to_epsg(), red.nodata) == (32632, 0)


def test_streaming_writes_the_same_files(tmp_path: Path) -> None:
    scene = simulate_scene((900, 840), bands=("red", "nir"), seed=6)
    at_once = write_scene(scene, tmp_path / "a")
    streamed = write_simulation(tmp_path / "b", (900, 840), tile=700, landscape=Landscape(6, ("red", "nir")))
    assert list(at_once) == list(streamed)
    for name, path in at_once.items():
        with rasterio.open(path) as one, rasterio.open(streamed[name]) as other:
            np.testing.assert_array_equal(one.read(), other.read())
            assert one.transform == other.transform


def test_a_value_that_does_not_fit_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    scene = simulate_scene((30, 30), bands=("red",))
    hot = Scene(scene.vnir, scene.truth + 400.0, scene.coarse, scene.geobox, 3, scene.landscape)
    with pytest.raises(EncodingError, match="truth runs from 7"):
        write_scene(hot, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"shape": (100, 99)}, r"\(100, 99\).*multiples of the ratio 3"),
        ({"ratio": 1}, "must be 2 or more"),
        ({"bands": ("red", "thermal")}, "thermal.*choose some of"),
        ({"bands": ("red", "red")}, "each once"),
        ({"bands": ()}, "choose some of"),
        ({"kind": "forest"}, "'city', 'fields' or 'plume'"),
        ({"noise": -1.0}, "noise is -1.0"),
        ({"law_spread": float("nan")}, "law_spread is nan"),
    ],
)
def test_bad_settings_are_named(kwargs: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        simulate_scene(**({"shape": (30, 30)} | kwargs))


@pytest.mark.slow
def test_a_full_scene_takes_about_a_second() -> None:
    start = time.process_time()
    simulate_scene()
    # Twice what it takes, for a busy machine.
    assert time.process_time() - start < 2.5

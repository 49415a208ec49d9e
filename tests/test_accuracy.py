"""What the result is worth on scenes with a known answer: whatever the bands, never worse than bicubic."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from scipy.ndimage import gaussian_filter

import lstzoom
from lstzoom.kernels.aggregate import area_mean_radiance
from lstzoom.kernels.quality import QA
from lstzoom.kernels.uncertainty import NORMAL
from lstzoom.metrics import rmse, upsample_bicubic
from lstzoom.raster import open_lst, open_stack
from lstzoom.simulate import Scene, simulate_plume, simulate_scene

REAL = os.environ.get("LSTZOOM_REAL_DATA", "")
NAMES = ("blue", "green", "red", "nir")


@lru_cache(maxsize=8)
def simulated(seed: int = 0, kind: str = "city", side: int = 240) -> Scene:
    return simulate_scene((side, side), seed=seed, bands=NAMES, kind=kind)


def sharpened(
    scene: Scene, vnir: NDArray | None = None, truth: NDArray | None = None, **settings: Any
) -> tuple[xr.Dataset, float]:
    """The result for other reflectance or another truth, and its RMSE over that of bicubic."""
    given = scene.to_xarray()
    coarse = given.lst if truth is None else given.lst.copy(data=area_mean_radiance(truth, scene.ratio))
    truth = scene.truth if truth is None else truth
    bands = given.vnir
    if vnir is not None:
        bands = xr.DataArray(vnir.astype(np.float32), dict(xr_coords(scene.geobox)), ("band", "y", "x"))
    sharp = lstzoom.sharpen(bands, coarse, config=lstzoom.SharpenConfig(**settings))
    base = rmse(upsample_bicubic(coarse.to_numpy(), scene.ratio), truth)
    return sharp, rmse(sharp.lst.to_numpy(), truth) / base


@lru_cache(maxsize=8)
def plain(seed: int = 0) -> float:
    return sharpened(simulated(seed))[1]


# Bands of all kinds


@pytest.mark.parametrize("seed", [0, 1])
def test_whole_numbers_in_place_of_reflectance(seed):
    scene = simulated(seed)
    _, ratio = sharpened(scene, np.rint(scene.vnir * 10_000))
    assert ratio == pytest.approx(plain(seed), abs=0.02)


@pytest.mark.parametrize("band", range(len(NAMES)))
def test_one_band(band):
    scene = simulated()
    assert sharpened(scene, scene.vnir[band : band + 1])[1] < 1.0


def test_constant_bands_change_little():
    scene = simulated()
    flat = np.full_like(scene.vnir[:2], 0.3)
    _, ratio = sharpened(scene, np.concatenate([scene.vnir, flat]))
    assert ratio == pytest.approx(plain(), abs=0.03)


def test_duplicated_bands_change_little():
    scene = simulated()
    _, ratio = sharpened(scene, np.concatenate([scene.vnir] * 2))
    assert ratio == pytest.approx(plain(), abs=0.03)


def of_twice_the_pixel(bands: NDArray) -> NDArray:
    count, ny, nx = bands.shape
    mean = bands.reshape(count, ny // 2, 2, nx // 2, 2).mean((2, 4))
    return np.repeat(np.repeat(mean, 2, axis=1), 2, axis=2)


@pytest.mark.parametrize("seed", [0, 1])
def test_bands_of_coarser_pixels_help_less_and_do_not_harm(seed):
    scene = simulated(seed)
    _, ratio = sharpened(scene, of_twice_the_pixel(scene.vnir))
    assert plain(seed) < ratio < 1.0
    mixed = np.concatenate([scene.vnir[2:], of_twice_the_pixel(scene.vnir[:2])])
    assert sharpened(scene, mixed)[1] < ratio


def test_bands_of_coarser_pixels_are_named():
    given = simulated().to_xarray()
    vnir = given.vnir.assign_attrs(native_resolution=[10.0, 20.0, 10.0, 60.0])
    for lst in (given.lst, given.lst.chunk()):
        assert lstzoom.sharpen(vnir, lst).attrs["lstzoom_coarser_bands"] == "green (20), nir (60)"
    assert "lstzoom_coarser_bands" not in lstzoom.sharpen(given.vnir, given.lst).attrs
    # Bands were selected and the list was not: nothing can be said.
    assert "lstzoom_coarser_bands" not in lstzoom.sharpen(vnir.isel(band=[0, 1]), given.lst).attrs


# Never worse than bicubic


@pytest.mark.parametrize("sigma", [2.0, 2.7, 3.5])
def test_lst_without_fine_structure(sigma):
    scene = simulated()
    blurred = gaussian_filter(scene.truth, sigma, mode="nearest")
    sharp, ratio = sharpened(scene, truth=blurred)
    assert ratio < 1.0
    assert sharp.attrs["lstzoom_footprint"] > 1


def test_lst_blurred_as_far_as_is_declared():
    scene = simulated()
    # The footprint of 80 m on a grid of 30 m is a Gaussian of 21.4 m, 2.1 fine pixels.
    blurred = gaussian_filter(scene.truth, 2.14, mode="nearest")
    sharp, ratio = sharpened(scene, truth=blurred, native_resolution=80.0)
    assert ratio < 1.0
    assert sharp.attrs["lstzoom_footprint"] >= 2.1


def test_unrelated_reflectance():
    scene, other = simulated(0), simulated(7)
    _, ratio = sharpened(scene, other.vnir)
    assert ratio < 1.01


@pytest.mark.parametrize("shift", [(1, 1), (0, 1), (2, -1), (3, 0)])
def test_misregistered_reflectance(shift, caplog):
    scene = simulated(1)
    _, ratio = sharpened(scene, np.roll(scene.vnir, shift, axis=(1, 2)))
    assert ratio < 1.0
    assert "--align" in caplog.text


@pytest.mark.skipif(not REAL, reason="LSTZOOM_REAL_DATA does not name a folder of real imagery")
@pytest.mark.parametrize("name", ["l8_liverpool", "l8_momotombo"])
@pytest.mark.parametrize("settings", [{}, {"native_resolution": 100.0}], ids=["measured", "declared"])
def test_landsat_on_a_grid_finer_than_it_sees(name, settings):
    folder = Path(REAL) / "landsat" / name
    (path,) = folder.glob("*_ST_B10.tif")
    whole = open_lst(path, nodata=0, units="K", scale=0.00341802, offset=149.0).compute()
    ny, nx = (n // 3 * 3 for n in whole.shape)
    truth = whole.to_numpy()[:ny, :nx]
    bands = [str(next(folder.glob(f"*_SR_B{k}.tif"))) for k in (2, 3, 4, 5)]
    fine = GeoBox((ny, nx), whole.odc.geobox.affine, whole.odc.geobox.crs)
    vnir = open_stack(bands, fine, nodata=0).compute()
    coarse = area_mean_radiance(truth, 3)
    lst = xr.DataArray(coarse, dict(xr_coords(fine.zoom_out(3))), ("y", "x"))
    sharp = lstzoom.sharpen(vnir, lst, config=lstzoom.SharpenConfig(**settings)).lst.to_numpy()
    known = np.isfinite(truth) & np.isfinite(np.kron(coarse, np.ones((3, 3))))
    truth = np.where(known, truth, np.nan)
    assert rmse(sharp, truth) < rmse(upsample_bicubic(coarse, 3), truth)


# Water


def test_a_plume_in_calm_water_survives():
    scene = simulate_plume((300, 300), bands=NAMES, noise=0.05)
    sharp, _ = sharpened(scene)
    result, bicubic = sharp.lst.to_numpy(), upsample_bicubic(scene.coarse, 3)
    water = (scene.vnir == scene.vnir[:, -1:, -1:]).all(axis=0)
    background = float(np.median(scene.truth[water]))
    plume = water & (scene.truth > background + 1.0)
    assert plume.sum() > 500

    def error(a: NDArray) -> float:
        return rmse(np.where(plume, a, np.nan), np.where(plume, scene.truth, np.nan))

    def contrast(a: NDArray) -> float:
        hot = water & (scene.truth > background + 4.0)
        return float(a[hot].mean() - np.median(a[water]))

    assert error(result) <= 1.02 * error(bicubic)
    assert contrast(result) >= 0.98 * contrast(bicubic)
    assert contrast(result) == pytest.approx(contrast(scene.truth), rel=0.1)
    # Over water far from land nothing is added, and that is said.
    assert (sharp.qa.to_numpy()[water] == QA.UNSUPPORTED).mean() > 0.7


# Uncertainty


@pytest.mark.parametrize("kind", ["city", "fields"])
def test_the_stated_interval_covers(kind):
    covered = []
    for seed in range(3):
        scene = simulated(seed, kind)
        sharp, _ = sharpened(scene)
        inside = np.abs(sharp.lst - scene.truth) <= NORMAL * sharp.lst_uncertainty
        covered.append(float(inside.mean()))
    assert 0.85 <= np.mean(covered) <= 0.95
    assert min(covered) >= 0.75
    assert max(covered) <= 0.99


def coarse_sigma(scene: Scene, value: float) -> xr.DataArray:
    return scene.to_xarray().lst.copy(data=np.full(scene.coarse.shape, value, np.float32))


def test_uncertainty_of_the_input_is_added():
    scene = simulated()
    given = scene.to_xarray()
    alone = lstzoom.sharpen(given.vnir, given.lst)
    sigma = coarse_sigma(scene, 1.5)
    sigma[3:5] = np.nan
    both = lstzoom.sharpen(given.vnir, given.lst, lst_uncertainty=sigma)
    expected = np.hypot(alone.lst_uncertainty, np.float32(1.5))
    # Where nothing is known of the input, what is known of the detail stays.
    expected[9:15] = alone.lst_uncertainty[9:15]
    np.testing.assert_allclose(both.lst_uncertainty, expected, rtol=1e-6)
    np.testing.assert_array_equal(both.lst, alone.lst)
    lazy = lstzoom.sharpen(given.vnir.chunk({"y": 90}), given.lst.chunk(30), lst_uncertainty=sigma.chunk(17))
    assert lazy.lst_uncertainty.chunks is not None
    np.testing.assert_array_equal(lazy.lst_uncertainty.compute(), both.lst_uncertainty)
    assert both.attrs["lstzoom_mean_uncertainty"] > alone.attrs["lstzoom_mean_uncertainty"] + 0.4


def test_uncertainty_of_the_input_that_cannot_be_used():
    scene = simulated()
    given = scene.to_xarray()
    sigma = coarse_sigma(scene, 1.0)
    with pytest.raises(lstzoom.InputError, match="0 or more"):
        lstzoom.sharpen(given.vnir, given.lst, lst_uncertainty=-sigma)
    with pytest.raises(lstzoom.InputError, match="0 or more"):
        lstzoom.sharpen(given.vnir.chunk(), given.lst, lst_uncertainty=-sigma.chunk(20)).compute()
    with pytest.raises(lstzoom.InputError, match="grid of the LST"):
        lstzoom.sharpen(given.vnir, given.lst, lst_uncertainty=sigma[:-1])
    with pytest.raises(lstzoom.InputError, match=r"\(y, x\)"):
        lstzoom.sharpen(given.vnir, given.lst, lst_uncertainty=sigma.expand_dims("time"))
    published = lstzoom.SharpenConfig(method="published")
    with pytest.raises(lstzoom.ConfigError, match="published"):
        lstzoom.sharpen(given.vnir, given.lst, lst_uncertainty=sigma, config=published)


def test_where_nothing_was_learned_the_roughness_of_the_lst_is_stated():
    scene = simulated()
    given = scene.to_xarray()
    blind = lstzoom.sharpen(given.vnir * np.float32(np.nan), given.lst)
    assert np.isfinite(blind.lst).all()
    assert np.isfinite(blind.lst_uncertainty).all()
    steps = np.diff(given.lst.to_numpy(), axis=1)
    assert float(blind.lst_uncertainty.mean()) == pytest.approx(np.sqrt(np.mean(steps**2)), rel=0.01)
    assert blind.attrs["lstzoom_mean_uncertainty"] > 0
    assert blind.attrs["lstzoom_unsupported_share"] == 1.0


# What is said of a result


def test_the_attributes_sum_up_the_result():
    scene = simulated()
    given = scene.to_xarray()
    sharp = lstzoom.sharpen(given.vnir, given.lst)
    assert sharp.attrs["lstzoom_footprint_metres"] == pytest.approx(10 * sharp.attrs["lstzoom_footprint"])
    assert 0.5 < sharp.attrs["lstzoom_reliability"] <= 1
    assert sharp.attrs["lstzoom_mean_uncertainty"] == pytest.approx(
        float(sharp.lst_uncertainty.mean()), abs=1e-3
    )
    unsupported = float((sharp.qa == QA.UNSUPPORTED).mean())
    assert sharp.attrs["lstzoom_unsupported_share"] == pytest.approx(unsupported, abs=1e-4)
    published = lstzoom.sharpen(given.vnir, given.lst, config=lstzoom.SharpenConfig(method="published"))
    assert "lst_uncertainty" not in published
    assert "lstzoom_footprint" not in published.attrs


def test_a_native_resolution_without_any_detail_is_refused():
    given = simulated().to_xarray()
    with pytest.raises(lstzoom.ConfigError, match="aggregate the LST to at least"):
        lstzoom.sharpen(given.vnir, given.lst, config=lstzoom.SharpenConfig(native_resolution=200.0))


@pytest.mark.parametrize("box", [2, 3])
def test_boxes_conserve_and_do_not_depend_on_chunks(box):
    # 80 coarse pixels: three do not divide them, and blocks of 16 end inside of boxes.
    scene = simulated()
    given = scene.to_xarray()
    whole = lstzoom.sharpen(given.vnir, given.lst, config=lstzoom.SharpenConfig(conservation_box=box))
    small = lstzoom.SharpenConfig(conservation_box=box, chunk=16)
    lazy = lstzoom.sharpen(given.vnir.chunk({"y": 100, "x": 70}), given.lst.chunk(23), config=small)
    for name in ("lst", "lst_uncertainty", "qa"):
        np.testing.assert_array_equal(lazy[name].compute(scheduler="synchronous"), whole[name])
    n = 80 // box * box
    fine = area_mean_radiance(np.ascontiguousarray(whole.lst.to_numpy()[: 3 * n, : 3 * n]), 3 * box)
    coarse = area_mean_radiance(np.ascontiguousarray(scene.coarse[:n, :n]), box)
    assert np.abs(fine - coarse).max() <= 0.01
    each = np.abs(area_mean_radiance(whole.lst.to_numpy(), 3) - scene.coarse)
    assert each.max() > 0.1

from __future__ import annotations

import numpy as np
import pytest
import rioxarray  # noqa: F401  (registers the .rio accessor)
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import lstzoom
from lstzoom.config import SampleConfig, WindowConfig
from lstzoom.kernels.aggregate import area_mean, area_mean_radiance
from lstzoom.kernels.quality import QA
from lstzoom.kernels.rows import MOST_BANDS
from lstzoom.metrics import rmse, seam, upsample_bicubic
from lstzoom.simulate import simulate_scene
from tests.scenes import on_grid, random_scene

SMALL = lstzoom.SharpenConfig(
    chunk=8,
    windows=WindowConfig(stride=4, extension=2, min_samples=12),
    outputs=("lst_global", "lst_local", "local_weight", "residual"),
)


def without_shift(sharp: xr.Dataset) -> xr.Dataset:
    """Leave out the attributes that a lazy result cannot know before it is computed."""
    late = (
        "lstzoom_shift",
        "lstzoom_footprint",
        "lstzoom_reliability",
        "lstzoom_mean",
        "lstzoom_unsupported",
    )
    kept = {name: value for name, value in sharp.attrs.items() if not name.startswith(late)}
    return sharp.drop_attrs(deep=False).assign_attrs(kept)


def conserved(sharp: xr.Dataset, lst: xr.DataArray, ratio: int) -> float:
    """Largest deviation of the aggregated result from the input, kelvin, on whole cells."""
    apart = np.abs(area_mean_radiance(sharp.lst.to_numpy(), ratio).astype(np.float64) - lst.to_numpy())
    return float(np.nanmax(apart, initial=0.0))


@settings(max_examples=12, deadline=None)
@given(
    ratio=st.sampled_from([2, 3, 4, 7]),
    bands=st.integers(1, 3),
    size=st.tuples(st.integers(5, 34), st.integers(5, 29)),
    chunks=st.tuples(st.integers(3, 40), st.integers(3, 40), st.integers(1, 3)),
    block=st.sampled_from([4, 8, 20, 64]),
    gaps=st.sampled_from([0.0, 0.05, 0.4]),
    seed=st.integers(0, 3),
)
def test_chunks_and_blocks_change_no_bit(ratio, bands, size, chunks, block, gaps, seed):
    vnir, lst = random_scene(size, ratio=ratio, bands=bands, seed=seed, gaps=gaps)
    whole = lstzoom.sharpen(vnir, lst, config=SMALL.model_copy(update={"chunk": 64}))
    lazy = lstzoom.sharpen(
        vnir.chunk({"band": chunks[2], "y": chunks[0], "x": chunks[1]}),
        lst.chunk({"y": chunks[1], "x": chunks[0]}),
        config=SMALL.model_copy(update={"chunk": block}),
    )
    assert all(lazy[name].chunks for name in lazy.data_vars)
    xr.testing.assert_identical(lazy.compute(scheduler="synchronous"), without_shift(whole))
    known = np.isfinite(whole.lst.to_numpy())
    expected = np.kron(np.isfinite(lst.to_numpy()), np.ones((ratio, ratio), bool))
    np.testing.assert_array_equal(known, expected)
    assert conserved(whole, lst, ratio) <= 0.01


def test_scheduler_and_threads_change_no_bit():
    vnir, lst = random_scene((40, 37), gaps=0.02)
    lazy = lstzoom.sharpen(vnir.chunk({"y": 30, "x": 30}), lst.chunk(13), config=SMALL)
    xr.testing.assert_identical(
        lazy.compute(scheduler="threads", num_workers=4), lazy.compute(scheduler="synchronous")
    )


def test_nothing_is_read_before_it_is_computed():
    import dask.array as da

    def refuse(block):
        raise AssertionError("a pixel was read")

    vnir, lst = random_scene((20, 20))
    touchy = vnir.copy(
        data=da.from_array(vnir.data, chunks=-1).map_blocks(refuse, dtype=np.float32, meta=vnir.data[:0])
    )
    sharp = lstzoom.sharpen(touchy, lst)
    with pytest.raises(AssertionError, match="a pixel was read"):
        sharp.compute(scheduler="synchronous")


def test_few_tasks_per_block():
    vnir, lst = random_scene((160, 160))
    config = lstzoom.SharpenConfig(chunk=32, sample=SampleConfig(max_patches=4))
    lazy = lstzoom.sharpen(vnir.chunk({"y": 96, "x": 96}), lst.chunk(32), config=config)
    # Layers of nested Delayed objects repeat tasks; what the scheduler sees is the union.
    assert len(lazy.__dask_graph__().to_dict()) / 25 <= 12


def test_masked_pixels_neither_train_nor_appear():
    vnir, lst = random_scene((30, 30))
    usable = np.ones(vnir.shape[1:], bool)
    usable[10:40, 20:50] = False
    valid = on_grid(usable, pixel=10.0)
    clean = lstzoom.sharpen(vnir, lst, valid=valid, config=SMALL)
    dirty_vnir, dirty_lst = vnir.copy(deep=True), lst.copy(deep=True)
    dirty_vnir.data[:, 10:40, 20:50] = 1e6
    # Cells that are masked as a whole; those in part still give their mean to what is visible of them.
    dirty_lst.data[4:13, 7:16] = 222.0
    dirty = lstzoom.sharpen(dirty_vnir, dirty_lst, valid=valid, config=SMALL)
    xr.testing.assert_identical(clean, dirty)
    assert (clean.qa.to_numpy()[~usable] == QA.MASKED).all()
    assert np.isnan(clean.lst.to_numpy()[~usable]).all()
    assert np.isfinite(clean.lst.to_numpy()[usable]).all()


def test_a_coarse_mask_masks_whole_cells():
    vnir, lst = random_scene((20, 20))
    usable = np.ones(lst.shape, bool)
    usable[3:6, 4:9] = False
    coarse = lstzoom.sharpen(vnir, lst, valid=on_grid(usable, pixel=30.0), config=SMALL)
    fine = lstzoom.sharpen(
        vnir, lst, valid=on_grid(np.kron(usable, np.ones((3, 3), bool)), pixel=10.0), config=SMALL
    )
    xr.testing.assert_identical(coarse, fine)


def test_holes_are_flagged_by_their_reason():
    vnir, lst = random_scene((30, 30))
    vnir.data[1, 30:33, 40:44] = np.nan
    vnir.data[0, 60, 60] = np.inf
    lst.data[20, 5:8] = np.nan
    sharp = lstzoom.sharpen(vnir, lst, config=SMALL)
    qa = sharp.qa.to_numpy()
    assert (qa[30:33, 40:44] == QA.INTERPOLATED).all()
    assert qa[60, 60] == QA.INTERPOLATED
    assert (qa[60:63, 15:24] == QA.NODATA).all()
    assert np.isfinite(sharp.lst.to_numpy()[qa != QA.NODATA]).all()
    assert np.isnan(sharp.lst_local.to_numpy()[30:33, 40:44]).all()
    assert int((qa == QA.INTERPOLATED).sum()) == 13
    assert conserved(sharp, lst, 3) <= 0.01


@pytest.mark.parametrize("fill", [-9999.0, 0.0, 65535.0, np.inf, -1.7e38])
def test_undeclared_fill_values_never_train(fill):
    vnir, lst = random_scene((30, 30))
    holes, filled = lst.copy(deep=True), lst.copy(deep=True)
    holes.data[4:9, 10:12] = np.nan
    filled.data[4:9, 10:12] = fill
    xr.testing.assert_identical(
        lstzoom.sharpen(vnir, filled, config=SMALL), lstzoom.sharpen(vnir, holes, config=SMALL)
    )


def test_a_band_of_zeros_where_another_is_missing():
    vnir, lst = random_scene((30, 30))
    vnir.data[0, 12:24, 30:45] = 0.0
    vnir.data[1, 12:24, 30:45] = np.nan
    sharp = lstzoom.sharpen(vnir, lst, config=SMALL)
    assert (sharp.qa.data[12:24, 30:45] == QA.INTERPOLATED).all()
    assert np.isfinite(sharp.lst).all()


# Interpolation of such numbers overflows, and what is infinite is no help to any tree.
@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("fill", [3.4e38, -3.4e38])
def test_fill_values_of_reflectance_of_any_size_and_sign(fill):
    vnir, lst = random_scene((30, 30))
    vnir.data[0, 12:24, 30:60] = fill
    vnir.data[1, 12:24, 30:60] = -fill
    sharp = lstzoom.sharpen(vnir, lst, config=SMALL)
    assert np.isfinite(sharp.lst).all()
    assert conserved(sharp, lst, 3) <= 0.01


def test_nothing_but_nodata_is_a_result():
    vnir, lst = random_scene((12, 12))
    lst.data[:] = np.nan
    sharp = lstzoom.sharpen(vnir, lst, config=SMALL)
    assert np.isnan(sharp.lst).all()
    assert (sharp.qa == QA.NODATA).all()


def test_without_reflectance_lst_is_interpolated():
    vnir, lst = random_scene((12, 12))
    vnir.data[:] = np.nan
    sharp = lstzoom.sharpen(vnir, lst, config=SMALL)
    assert (sharp.qa == QA.INTERPOLATED).all()
    assert conserved(sharp, lst, 3) <= 0.01


def test_constant_reflectance_gives_interpolation():
    vnir, lst = random_scene((24, 24))
    flat = vnir.copy(data=np.full(vnir.shape, 0.2, np.float32))
    nothing = vnir.copy(data=np.full(vnir.shape, np.nan, np.float32))
    with_vnir = lstzoom.sharpen(flat, lst, config=SMALL).lst
    without = lstzoom.sharpen(nothing, lst, config=SMALL).lst
    np.testing.assert_allclose(with_vnir, without, atol=0.05)


@pytest.mark.parametrize("size", [120, 300])
def test_constant_reflectance_gives_interpolation_on_a_real_looking_scene(size):
    scene = simulate_scene((size, size), seed=3).to_xarray()
    flat = scene.vnir.copy(data=np.full(scene.vnir.shape, 0.2, np.float32))
    nothing = scene.vnir.copy(data=np.full(scene.vnir.shape, np.nan, np.float32))
    sharp = lstzoom.sharpen(flat, scene.lst)
    np.testing.assert_allclose(sharp.lst, lstzoom.sharpen(nothing, scene.lst).lst, atol=1e-3)
    assert (sharp.qa == QA.UNSUPPORTED).all()


def test_constant_lst_is_flagged_as_without_detail():
    vnir, lst = random_scene((24, 24))
    sharp = lstzoom.sharpen(vnir, lst.copy(data=np.full(lst.shape, 300.0, np.float32)))
    assert (sharp.qa == QA.UNSUPPORTED).all()


def test_the_order_of_dimensions_does_not_matter():
    vnir, lst = random_scene((20, 20))
    valid = on_grid(np.random.default_rng(0).random(vnir.shape[1:]) > 0.2, pixel=10.0)
    plain = lstzoom.sharpen(vnir, lst, valid=valid)
    turned = lstzoom.sharpen(
        vnir.transpose("x", "band", "y"), lst.transpose("x", "y"), valid=valid.transpose("x", "y")
    )
    xr.testing.assert_identical(turned, plain)


def test_lazy_celsius_is_refused_where_it_is_read():
    vnir, lst = random_scene((20, 20))
    lazy = lstzoom.sharpen(vnir, (lst - 273.15).chunk(10))
    with pytest.raises(lstzoom.UnitsError, match=r"273\.15"):
        lazy.compute(scheduler="synchronous")


def test_constant_lst_stays_constant():
    vnir, lst = random_scene((24, 24))
    lst = lst.copy(data=np.full(lst.shape, 301.25, np.float32))
    np.testing.assert_allclose(lstzoom.sharpen(vnir, lst, config=SMALL).lst, 301.25, atol=1e-3)


@pytest.mark.parametrize("factor", [2.0**-13, 1e4])
def test_units_of_reflectance_do_not_matter(factor):
    vnir, lst = random_scene((40, 40), bands=3)
    plain = lstzoom.sharpen(vnir, lst, config=SMALL).lst.to_numpy()
    scaled = lstzoom.sharpen(vnir * np.float32(factor), lst, config=SMALL).lst.to_numpy()
    apart = np.abs(plain - scaled)
    # A power of ten rounds, and a rounded feature may fall on the other side of a split.
    assert np.quantile(apart, 0.99) <= (0 if factor < 1 else 0.05)


def test_adding_a_constant_to_lst_adds_it_to_the_result():
    vnir, lst = random_scene((40, 40))
    plain = lstzoom.sharpen(vnir, lst, config=SMALL).lst.to_numpy()
    warmer = lstzoom.sharpen(vnir, lst + np.float32(8.0), config=SMALL).lst.to_numpy()
    # Radiance is not linear, and temperature classes of the sample move; neither matters much.
    assert np.quantile(np.abs(warmer - 8.0 - plain), 0.99) < 0.1


@pytest.mark.parametrize(
    "move",
    [lambda a: a[..., ::-1, :], lambda a: a[..., :, ::-1], lambda a: np.swapaxes(a, -1, -2)],
    ids=["flip rows", "flip columns", "transpose"],
)
def test_a_mirrored_scene_is_sharpened_as_well(move):
    vnir, lst = random_scene((48, 48), bands=3)
    truth_like = lstzoom.sharpen(vnir, lst).lst.to_numpy()
    moved = lstzoom.sharpen(
        on_grid(np.ascontiguousarray(move(vnir.data)), pixel=10.0, bands=True),
        on_grid(np.ascontiguousarray(move(lst.data)), pixel=30.0),
    ).lst.to_numpy()
    # Bags are drawn by place, so other samples are out of other bags: equal up to the bags' noise.
    noise = rmse(moved, move(truth_like))
    spread = float(np.std(truth_like - upsample_bicubic(lst.data, 3)))
    assert noise < 0.35 * spread


def test_grids_are_read_back_by_rioxarray_and_odc():
    vnir, lst = random_scene((12, 15))
    sharp = lstzoom.sharpen(vnir, lst)
    assert sharp.odc.geobox == vnir.odc.geobox
    assert sharp.rio.crs.to_epsg() == 32632
    assert tuple(sharp.rio.transform())[:6] == tuple(vnir.odc.geobox.affine)[:6]
    assert sharp.lst.attrs["units"] == "K"
    assert len(sharp.qa.attrs["flag_meanings"].split()) == len(sharp.qa.attrs["flag_values"]) == len(QA)


def test_other_grids_are_put_on_the_fine_one_whatever_the_chunks():
    vnir, lst = random_scene((30, 30))
    shifted = vnir.assign_coords(x=vnir.x + 3.3, y=vnir.y - 4.1)
    whole = lstzoom.sharpen(shifted, lst, config=SMALL)
    assert whole.odc.geobox == vnir.odc.geobox
    lazy = lstzoom.sharpen(shifted.chunk({"y": 31, "x": 17}), lst.chunk(9), config=SMALL)
    xr.testing.assert_identical(lazy.compute(scheduler="synchronous"), without_shift(whole))


def test_reflectance_of_another_crs_is_taken():
    scene = simulate_scene((150, 150), seed=1).to_xarray()
    moved = scene.vnir.rio.reproject("EPSG:32631", resolution=10.0, nodata=np.nan)
    sharp = lstzoom.sharpen(moved, scene.lst, ratio=3).lst.to_numpy()
    assert rmse(sharp, scene.truth.to_numpy()) < rmse(
        upsample_bicubic(scene.lst.to_numpy(), 3), scene.truth.to_numpy()
    )


def test_south_up_arrays_are_turned():
    vnir, lst = random_scene((20, 20))
    turned = lstzoom.sharpen(vnir.isel(y=slice(None, None, -1)), lst.isel(y=slice(None, None, -1)))
    xr.testing.assert_identical(turned, lstzoom.sharpen(vnir, lst))


def test_a_model_of_other_scenes_is_applied_and_differs():
    first, second, third = (random_scene((40, 40), seed=k) for k in range(3))
    one = lstzoom.fit([first])
    two = lstzoom.fit([first, second])
    assert two.level_rows == 2 * one.level_rows
    results = [lstzoom.sharpen(*third, model=m).lst.to_numpy() for m in (one, two, None)]
    assert not np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])
    np.testing.assert_array_equal(lstzoom.sharpen(*first, model=one).lst, lstzoom.sharpen(*first).lst)


def test_lazy_scenes_and_others_are_fitted_together():
    first, second = (random_scene((40, 40), seed=k) for k in range(2))
    lazy = tuple(array.chunk() for array in second)
    mixed, plain = (lstzoom.fit([first, other]) for other in (lazy, second))
    results = [lstzoom.sharpen(*first, model=m).lst for m in (mixed, plain)]
    np.testing.assert_array_equal(*results)


def test_the_sample_is_drawn_from_all_scenes_and_bounded():
    scenes = [random_scene((40, 40), seed=k) for k in range(3)]
    config = lstzoom.SharpenConfig(sample=SampleConfig(levels=300, details=400, per_stratum=10))
    model = lstzoom.fit(scenes, config=config)
    assert 300 <= model.level_rows <= 300 + 10 * 20
    assert 400 <= model.detail_rows <= 400 + 10 * 20


def test_seeds_matter_and_repeat():
    vnir, lst = random_scene((40, 40))
    a, again, b = (
        lstzoom.sharpen(vnir, lst, config=lstzoom.SharpenConfig(seed=s)).lst.to_numpy() for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(a, again)
    assert not np.array_equal(a, b)


def test_the_smallest_scene_is_five_by_five():
    vnir, lst = random_scene((5, 5))
    assert conserved(lstzoom.sharpen(vnir, lst), lst, 3) <= 0.01
    with pytest.raises(lstzoom.InputError, match="at least 5"):
        lstzoom.sharpen(vnir.isel(y=slice(0, 12)), lst.isel(y=slice(0, 4)))


def test_pixels_need_not_be_square():
    vnir, lst = random_scene((20, 26))
    vnir, lst = (a.assign_coords(y=5_400_000 + (a.y - 5_400_000) * 2) for a in (vnir, lst))
    assert conserved(lstzoom.sharpen(vnir, lst), lst, 3) <= 0.01


def test_detail_is_better_than_bicubic_and_than_the_published_method():
    scene = simulate_scene((300, 300), seed=4).to_xarray()
    truth = scene.truth.to_numpy()
    ours = rmse(lstzoom.sharpen(scene.vnir, scene.lst).lst, truth)
    published = rmse(
        lstzoom.sharpen(scene.vnir, scene.lst, config=lstzoom.SharpenConfig(method="published")).lst, truth
    )
    assert ours < published
    assert ours < 0.8 * rmse(upsample_bicubic(scene.lst.to_numpy(), 3), truth)


@pytest.mark.parametrize("what", ["windows", "blocks"])
def test_no_border_stands_out(what):
    scene = simulate_scene((600, 600), seed=5).to_xarray()
    config = lstzoom.SharpenConfig(chunk=64)
    sharp = lstzoom.sharpen(scene.vnir, scene.lst, config=config).lst.to_numpy()
    period = 3 * (config.windows.stride if what == "windows" else config.chunk)
    figure = seam(sharp, scene.truth.to_numpy(), period=period, ratio=3)
    assert abs(figure.z_score) <= 3


def test_bad_input_says_what_to_do():
    vnir, lst = random_scene((12, 12))
    with pytest.raises(lstzoom.UnitsError, match=r"273\.15"):
        lstzoom.sharpen(vnir, lst - 273.15)
    with pytest.raises(lstzoom.InputError, match=r"\(band, y, x\)"):
        lstzoom.sharpen(vnir.data, lst)
    with pytest.raises(lstzoom.InputError, match="booleans"):
        lstzoom.sharpen(vnir, lst, valid=lst)
    elsewhere = on_grid(np.ones(lst.shape, bool), pixel=30.0)
    for wrong in (elsewhere.isel(x=slice(0, 7)), elsewhere.assign_coords(x=elsewhere.x + 30.0)):
        with pytest.raises(lstzoom.InputError, match="fine grid"):
            lstzoom.sharpen(vnir, lst, valid=wrong)
    with pytest.raises(lstzoom.GridMismatchError, match="CRS"):
        lstzoom.sharpen(
            vnir, xr.DataArray(lst.data, dims=("y", "x"), coords={"y": lst.y.data, "x": lst.x.data})
        )
    with pytest.raises(lstzoom.InputError, match="same names"):
        lstzoom.sharpen(vnir.isel(band=[0]), lst, model=lstzoom.fit([(vnir, lst)]))
    with pytest.raises(lstzoom.InputError, match=r"fit\(\[\(vnir, lst\)\]\)"):
        lstzoom.fit((vnir, lst))
    with pytest.raises(ValueError, match="chunk=48"):
        lstzoom.SharpenConfig(chunk=40)
    for name, trees in {
        "local_trees": {"windows": {"stride": 256}, "local_trees": {"max_depth": 20, "min_leaf": 1}},
        "level_trees": {"sample": {"levels": 100_000}, "level_trees": {"max_depth": 16, "min_leaf": 2}},
        "detail_trees": {"sample": {"details": 10**6}, "detail_trees": {"max_depth": 18, "min_leaf": 20}},
    }.items():
        usual = lstzoom.SharpenConfig().model_dump()
        with pytest.raises(ValueError, match=f"{name} with max_depth .* or a min_leaf of"):
            lstzoom.SharpenConfig(**{key: usual[key] | value for key, value in trees.items()})
    many = xr.concat([vnir.isel(band=[0])] * (MOST_BANDS + 1), "band")
    with pytest.raises(lstzoom.InputError, match="125 bands, and at most 124"):
        lstzoom.sharpen(many, lst)
    with pytest.raises(lstzoom.EmptySampleError, match="nodata"):
        lstzoom.fit([(vnir, lst * np.nan)])


def test_area_means_are_not_changed_by_what_is_not_there():
    vnir, lst = random_scene((20, 20))
    mean = area_mean(lstzoom.sharpen(vnir, lst).lst.to_numpy(), 3)
    assert np.abs(mean - lst.to_numpy()).max() < 1.0


@pytest.mark.cluster
def test_two_worker_processes_give_the_bits_of_numpy():
    from distributed import Client, LocalCluster

    vnir, lst = random_scene((48, 40), gaps=0.02)
    whole = lstzoom.sharpen(vnir, lst, config=SMALL)
    lazy = lstzoom.sharpen(vnir.chunk({"y": 40, "x": 40}), lst.chunk(16), config=SMALL)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster),
    ):
        xr.testing.assert_identical(lazy.compute(), without_shift(whole))

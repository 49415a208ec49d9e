from __future__ import annotations

import re

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr

from lstzoom.errors import GridMismatchError
from lstzoom.grid import GridPair, describe_grid, grid_of, north_up, resolve_grids

LST = GeoBox((40, 50), Affine(30, 0, 500_000, 0, -30, 4_000_000), "EPSG:32631")


def box(
    step: float, x: float = 500_000, y: float = 4_000_000, size: int = 150, crs: str = "EPSG:32631"
) -> GeoBox:
    return GeoBox((size, size), Affine(step, 0, x, 0, -step, y), crs)


def test_fine_grid_tiles_the_coarse_one_exactly() -> None:
    pair = GridPair(LST, 3)
    assert pair.fine.shape == (120, 150)
    assert pair.fine.affine == Affine(10, 0, 500_000, 0, -10, 4_000_000)
    assert pair.fine.boundingbox == LST.boundingbox


@given(
    ratio=st.integers(2, 40),
    step=st.floats(0.5, 1000),
    rows=st.integers(1, 2000),
    columns=st.integers(1, 2000),
)
def test_fine_shape_is_exactly_ratio_times_coarse(ratio: int, step: float, rows: int, columns: int) -> None:
    coarse = GeoBox((rows, columns), Affine(step, 0, 1e5, 0, -step, 5e6), "EPSG:32631")
    fine = GridPair(coarse, ratio).fine
    assert fine.shape == (rows * ratio, columns * ratio)
    np.testing.assert_allclose(fine.boundingbox.bbox, coarse.boundingbox.bbox, atol=1e-6 * step)


def test_fine_window_scales_slices_and_fills_open_ends() -> None:
    pair = GridPair(LST, 3)
    assert pair.fine_window((slice(2, 5), slice(None))) == (slice(6, 15), slice(0, 150))
    assert pair.fine_window((slice(-1, None), slice(4, 4))) == (slice(117, 120), slice(12, 12))


def test_fine_window_covers_the_same_ground() -> None:
    pair = GridPair(LST, 3)
    window = (slice(7, 19), slice(11, 12))
    assert pair.fine[pair.fine_window(window)].boundingbox == LST[window].boundingbox


def test_fine_window_refuses_a_step() -> None:
    with pytest.raises(GridMismatchError, match="step 2"):
        GridPair(LST, 3).fine_window((slice(0, 10, 2), slice(None)))


def test_ratio_comes_from_the_finest_band() -> None:
    assert resolve_grids(LST, [box(20, size=60), box(10), box(30, size=40)]).ratio == 3


def test_coarse_grid_is_kept_where_vnir_is_shifted() -> None:
    pair = resolve_grids(LST, [box(10, x=499_995, y=4_000_005)])
    assert pair.coarse is LST
    assert pair.ratio == 3


def test_given_ratio_needs_no_integer_resolution() -> None:
    assert resolve_grids(LST, [box(12.5)], ratio=3).ratio == 3
    assert resolve_grids(LST, [], ratio=2).ratio == 2


def test_ratio_of_pixels_that_are_no_round_numbers() -> None:
    lst = GeoBox((85, 88), Affine(694.9640, 0, 5e5, 0, -694.9640, 4e6), "EPSG:32631")
    vnir = GeoBox((255, 264), Affine(231.6546, 0, 5e5, 0, -231.6546, 4e6), "EPSG:32631")
    assert resolve_grids(lst, [vnir]).ratio == 3


def test_rounding_in_the_transform_is_no_difference() -> None:
    affine = Affine(10.79999999999958, 0, 664114, 0, -10.799999999997603, 4240012.6)
    lst = GeoBox((155, 55), affine, "EPSG:32610")
    assert resolve_grids(lst, [lst.zoom_out(1 / 3)]).ratio == 3


def test_ratio_that_drifts_over_a_large_scene_is_refused() -> None:
    # 0.05 % of 3 * 1000 pixels is 1.5 pixels; on 40 rows it would be 0.06.
    large = GeoBox((1000, 1000), LST.affine, LST.crs)
    assert resolve_grids(LST, [box(10.005)]).ratio == 3
    with pytest.raises(GridMismatchError, match=r"drifts by 1.5 fine pixels") as error:
        resolve_grids(large, [box(10.005, size=3000)])
    assert "--ratio 3" in str(error.value)


def test_ratio_that_is_no_integer_names_both_grids_and_the_remedy() -> None:
    vnir = box(12)
    with pytest.raises(GridMismatchError, match=r"ratio 2.5 is not an integer") as error:
        resolve_grids(LST, [vnir])
    text = str(error.value)
    assert describe_grid(LST) in text
    assert describe_grid(vnir) in text
    assert "--ratio 2 puts VNIR on the 2-fold grid" in text


def test_grid_description_says_crs_pixel_shape_and_bounds() -> None:
    assert describe_grid(LST) == (
        "[EPSG:32631, pixel 30 x -30, shape 40 x 50, bounds (500000, 3998800, 501500, 4000000)]"
    )


def test_pixels_longer_than_wide_need_one_ratio() -> None:
    lst = GeoBox((40, 50), Affine(30, 0, 500_000, 0, -60, 4_000_000), "EPSG:32631")
    same = GeoBox((120, 150), Affine(10, 0, 500_000, 0, -20, 4_000_000), "EPSG:32631")
    assert resolve_grids(lst, [same]).ratio == 3
    with pytest.raises(GridMismatchError, match="3 x 6 is not an integer, the same along x and y"):
        resolve_grids(lst, [box(10)])


@pytest.mark.parametrize("step", [30.0, 60.0, 25.0])
def test_vnir_that_is_not_finer_is_refused(step: float) -> None:
    with pytest.raises(GridMismatchError, match="VNIR is not finer than LST"):
        resolve_grids(LST, [box(step)])


def test_the_two_swapped_are_told_the_order() -> None:
    with pytest.raises(GridMismatchError, match=r"swapped.*LST first and then VNIR.*sharpen LST VNIR"):
        resolve_grids(box(10), [LST])
    with pytest.raises(GridMismatchError) as caught:
        resolve_grids(LST, [box(25)])
    assert "swapped" not in str(caught.value)


@pytest.mark.parametrize("ratio", [1, 0, -3])
def test_given_ratio_below_two_is_refused(ratio: int) -> None:
    with pytest.raises(GridMismatchError, match=f"the ratio is {ratio} "):
        resolve_grids(LST, [box(10)], ratio=ratio)


def test_no_band_and_no_ratio_is_refused() -> None:
    with pytest.raises(GridMismatchError, match="no VNIR grid"):
        resolve_grids(LST, [])


@pytest.mark.parametrize(
    "vnir",
    [
        box(10, x=600_000),
        box(10, x=501_500),  # shares the eastern edge only
        box(10, crs="EPSG:32640"),
        GeoBox((100, 100), Affine(1e-4, 0, -70, 0, -1e-4, -30), "EPSG:4326"),
    ],
)
def test_vnir_elsewhere_is_refused_with_both_grids(vnir: GeoBox) -> None:
    with pytest.raises(GridMismatchError, match="does not overlap") as error:
        resolve_grids(LST, [box(10), vnir], ratio=3)
    assert describe_grid(LST) in str(error.value)
    assert describe_grid(vnir) in str(error.value)


def test_vnir_of_the_neighbouring_zone_is_measured_in_the_crs_of_lst() -> None:
    east = GeoBox((100, 100), Affine(30, 0, 745_000, 0, -30, 5_000_000), "EPSG:32631")
    x, y = east.crs.transformer_to_crs("EPSG:32632")(745_000.0, 5_000_000.0)  # type: ignore[union-attr]
    vnir = GeoBox((400, 400), Affine(10, 0, round(x) - 500, 0, -10, round(y) + 500), "EPSG:32632")
    assert resolve_grids(east, [vnir]).ratio == 3


def test_degrees_far_from_the_equator_are_not_square() -> None:
    lon, lat = LST.crs.transformer_to_crs("EPSG:4326")(500_000.0, 4_000_000.0)  # type: ignore[union-attr]
    vnir = GeoBox((300, 300), Affine(9e-5, 0, lon, 0, -9e-5, lat), "EPSG:4326")
    with pytest.raises(GridMismatchError, match=r"the same along x and y.*--ratio 3"):
        resolve_grids(LST, [vnir])
    assert resolve_grids(LST, [vnir], ratio=3).ratio == 3


def test_missing_crs_is_refused() -> None:
    bare = GeoBox((40, 50), LST.affine, None)
    with pytest.raises(GridMismatchError, match=r"the LST grid .* has no CRS"):
        resolve_grids(bare, [box(10)])
    with pytest.raises(GridMismatchError, match=r"the VNIR grid .* has no CRS"):
        resolve_grids(LST, [GeoBox((4, 5), LST.affine, None)])


@pytest.mark.parametrize(
    "affine",
    [
        Affine(29, 5, 5e5, 5, -29, 4e6),
        Affine(30, 3, 5e5, 0, -30, 4e6),
        Affine(0, 30, 5e5, 30, 0, 4e6),
    ],
    ids=["rotated", "sheared", "a quarter turn"],
)
def test_rotated_and_sheared_grids_are_refused(affine: Affine) -> None:
    with pytest.raises(GridMismatchError, match="rotated or sheared"):
        resolve_grids(GeoBox((40, 50), affine, LST.crs), [box(10)])


def test_south_up_grid_is_refused_with_the_remedy() -> None:
    south_up = GeoBox((40, 50), Affine(30, 0, 5e5, 0, 30, 4e6), LST.crs)
    with pytest.raises(GridMismatchError, match="north_up"):
        resolve_grids(south_up, [box(10)])


def test_grid_of_reads_the_grid_back() -> None:
    array = wrap_xr(np.zeros(LST.shape), LST)
    assert grid_of(array) == LST


def test_grid_of_names_what_is_missing() -> None:
    bare = xr.DataArray(np.zeros((3, 4)), dims=("y", "x"), name="lst")
    with pytest.raises(GridMismatchError, match=r"'lst' .* no regular x and y coordinates"):
        grid_of(bare)
    placed = bare.assign_coords(x=np.arange(4) * 30.0, y=np.arange(3) * -30.0)
    with pytest.raises(GridMismatchError, match=re.escape("odc.assign_crs")):
        grid_of(placed)
    uneven = placed.assign_coords(x=[0.0, 1.0, 5.0, 6.0])
    with pytest.raises(GridMismatchError, match="no regular x and y"):
        grid_of(uneven)


def test_north_up_turns_rows_and_keeps_every_value_in_place() -> None:
    south_up = GeoBox((40, 50), Affine(30, 0, 5e5, 0, 30, 4e6), LST.crs)
    array = wrap_xr(np.arange(2000.0).reshape(40, 50), south_up)
    turned = north_up(array)
    assert grid_of(turned).affine == Affine(30, 0, 5e5, 0, -30, 4e6 + 40 * 30)
    assert float(turned.sel(y=array.y[0], x=array.x[3])) == 3.0
    np.testing.assert_array_equal(turned.values, array.values[::-1])
    assert "GeoTransform" in array.spatial_ref.attrs
    assert north_up(turned) is turned

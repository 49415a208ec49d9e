from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning
from rio_cogeo import cog_validate

from lstzoom.product.outputs import Outputs
from lstzoom.product.pictures import (
    Stretch,
    natural_colours,
    temperature_colours,
    write_classes,
    write_composite,
    write_thumbnail,
)
from lstzoom.product.survey import Conservation, Histogram, survey

GRID = GeoBox.from_bbox((500000, 5300000, 510260, 5310270), "EPSG:32632", resolution=10)


def kelvin() -> Histogram:
    return Histogram(0.0, 700.0, 0.01)


@given(arrays(np.float64, st.integers(1, 400), elements=st.floats(200, 400)), st.floats(0.01, 0.99))
def test_quantiles_are_those_of_sorting_to_a_step(values: np.ndarray, share: float) -> None:
    found = kelvin()
    found.add(values[: len(values) // 2])
    found.add(values[len(values) // 2 :])
    assert found.count == len(values)
    near = np.sort(values)
    # Rounding of share x count may fall on either side of a value.
    place = share * len(values)
    low, high = near[max(int(np.floor(place - 1e-9)) - 1, 0)], near[min(int(np.ceil(place)), len(near) - 1)]
    assert low - 0.0051 <= found.quantile(share) <= high + 0.0051
    summary = found.summary("K")
    assert summary["mean"] == pytest.approx(values.mean(), abs=1e-3)
    assert (summary["minimum"], summary["maximum"]) == (
        pytest.approx(values.min(), abs=1e-3),
        pytest.approx(values.max(), abs=1e-3),
    )


def test_a_flat_scene_still_has_a_range() -> None:
    found = kelvin()
    found.add(np.array([300.0, 300.0, np.nan]))
    low, high = found.stretch((0.01, 0.99), 0.1)
    assert (low, high) == (pytest.approx(299.95), pytest.approx(300.05))


def test_conservation_counts_whole_pixels_only() -> None:
    fine = np.full((3, 6), 300.0, np.float32)
    fine[0, 5] = np.nan
    found = Conservation()
    assert found.summary() is None
    found.add(fine, np.array([[299.5, 200.0]], np.float32), 3)
    assert found.summary() == {"unit": "K", "coarse_pixels": 1, "bias": 0.5, "rmse": 0.5, "largest": 0.5}


def test_hotter_is_brighter_and_missing_is_transparent() -> None:
    values = np.append(np.linspace(290, 310, 50), np.nan)[None]
    colours = temperature_colours(values, Stretch(292, 308))
    assert colours.dtype == np.uint8
    assert tuple(colours[:, 0, 0]) == (0, 0, 4, 255)
    assert tuple(colours[:, 0, -2]) == (252, 255, 164, 255)
    assert tuple(colours[:, 0, -1]) == (0, 0, 0, 0)
    luminance = np.tensordot([0.2126, 0.7152, 0.0722], colours[:3, 0, :-1].astype(float), 1)
    assert (np.diff(luminance) >= 0).all()


def test_natural_colours_keep_hues() -> None:
    rgb = np.array([0.3, 0.2, 0.1])[:, None, None] * np.ones((3, 1, 2))
    rgb[1, 0, 1] = np.nan
    colours = natural_colours(rgb, Stretch(0.0, 0.4))
    assert colours[0, 0, 0] > colours[1, 0, 0] > colours[2, 0, 0] > 0
    assert tuple(colours[:, 0, 1]) == (0, 0, 0, 0)


def test_composites_and_classes_are_strict_cogs(tmp_path: Path) -> None:
    rows, columns = GRID.shape
    picture = np.zeros((4, rows, columns), np.uint8)
    picture[0, :, : columns // 2] = 200
    picture[3] = 255
    halves = [slice(0, 500), slice(500, rows)]
    write_composite(tmp_path / "a.tif", GRID, ((one, picture[:, one]) for one in halves), {"LOWEST": "1"})
    codes = np.ones((2, rows, columns), np.uint8)
    codes[1, ::2, ::2] = 3
    write_classes(tmp_path / "b.tif", GRID, codes, ("one", "other"))
    for name in ("a.tif", "b.tif"):
        assert cog_validate(tmp_path / name, strict=True) == (True, [], [])
    with rasterio.open(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.read(), picture)
        assert file.overviews(1) == [2, 4]
        assert file.tags()["LOWEST"] == "1"
    with rasterio.open(tmp_path / "b.tif", overview_level=0) as file:
        assert (file.read() == 1).all()
    with rasterio.open(tmp_path / "b.tif") as file:
        assert file.descriptions == ("one", "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "b.tif"]


def test_thumbnails_have_no_line_where_a_cell_is_cut(tmp_path: Path) -> None:
    """The last cells hold two rows and one column; what is known of them is their mean, as everywhere."""
    rng = np.random.default_rng(0)
    fine = (300 + rng.normal(0, 2, (1028, 514))).astype(np.float32)
    bands = (0.1 + 0.02 * rng.random((3, 1028, 514))).astype(np.float32)
    lst = xr.DataArray(fine, dims=("y", "x"))
    coarse = xr.DataArray(np.full((514, 257), 300.0, np.float32), dims=("y", "x"))
    grid = GeoBox(fine.shape, GRID.affine, GRID.crs)
    found = survey(Outputs(lst, grid), coarse, 2, xr.DataArray(bands, dims=("band", "y", "x")), 3)
    assert found.small_rgb is not None
    assert found.small_kelvin.shape == (343, 172)
    np.testing.assert_allclose(
        found.small_kelvin[10, -1], np.mean(fine[30:33, 513] ** 4.0) ** 0.25, rtol=1e-6
    )
    np.testing.assert_allclose(found.small_rgb[:, -1, 10], bands[:, 1026:, 30:33].mean((1, 2)), rtol=1e-6)
    colours = natural_colours(found.small_rgb, found.reflectance_shown)
    assert (colours[3] == 255).all()
    write_thumbnail(tmp_path / "small.jpg", colours)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(tmp_path / "small.jpg") as file:
            picture = file.read().astype(float)
    inside, edges = picture[:, :-1, :-1].mean((1, 2)), (picture[:, :, -1], picture[:, -1, :])
    for edge in edges:
        np.testing.assert_allclose(edge.mean(axis=1), inside, atol=6)


def test_ground_that_was_not_seen_is_grey_and_nothing_else_is(tmp_path: Path) -> None:
    rgb = np.full((3, 64, 64), 0.05, np.float32)
    rgb[:, :, 60:] = np.nan
    write_thumbnail(tmp_path / "small.jpg", natural_colours(rgb, Stretch(0.0, 0.3)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(tmp_path / "small.jpg") as file:
            picture = file.read().astype(int)
    np.testing.assert_allclose(picture[:, :, 61:], 184, atol=8)
    assert (picture[:, :, :56] < 100).all()

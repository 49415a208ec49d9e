from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from odc.geo.geobox import GeoBox
from rio_cogeo import cog_validate

from lstzoom.product.pictures import (
    Stretch,
    natural_colours,
    temperature_colours,
    write_classes,
    write_composite,
)
from lstzoom.product.survey import Conservation, Histogram

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

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import xarray as xr
from odc.geo.xr import xr_coords
from shapely.geometry import Point, box, mapping, shape

import lstzoom
from lstzoom import timeseries as ts
from lstzoom.simulate import simulate_scene
from lstzoom.timeseries.cube import median_and_spread
from lstzoom.timeseries.season import design
from tests.timeseries_scenes import Series, series

CHUNKS = [{"time": 7, "y": 5, "x": 9}, {"time": -1, "y": 24, "x": 3}, {"time": 1, "y": 11, "x": 24}]


@pytest.fixture(scope="module")
def quiet() -> Series:
    """Nothing happens here."""
    return series()


def same(one: xr.Dataset, other: xr.Dataset) -> None:
    assert set(one.data_vars) == set(other.data_vars)
    for name in one.data_vars:
        np.testing.assert_array_equal(one[name].values, other[name].values, err_msg=str(name))


@pytest.mark.parametrize("chunks", CHUNKS)
def test_chunks_do_not_matter_and_nothing_is_computed_early(quiet: Series, chunks: dict[str, int]) -> None:
    cube, area = quiet.cube, xr.zeros_like(quiet.cube.lst[0], bool)
    area[3:9, 2:12] = True
    first, last = (str(cube.time.values[k])[:19] for k in (3, 40))
    for function in (
        ts.climatology,
        ts.harmonic,
        ts.trend,
        ts.anomalies,
        lambda c: ts.anomalies(c, season="month", reference_area=area),
        lambda c: ts.difference(c, first, last, reference_area=area),
        lambda c: ts.contrast(c.isel(time=9), inner=20, outer=60),
    ):
        lazy = function(cube.chunk(chunks))
        assert all(variable.chunks for variable in lazy.data_vars.values())
        same(lazy.compute(), function(cube))


def test_medians_are_those_of_numpy() -> None:
    values = np.random.default_rng(0).standard_normal((50, 9)).astype(np.float32)
    values[np.random.default_rng(1).random(values.shape) < 0.3] = np.nan
    values[0] = np.nan
    median, spread, count = median_and_spread(values)
    assert np.isnan(median[0])
    np.testing.assert_array_equal(median[1:], np.nanmedian(values[1:], axis=1))
    deviation = np.abs(values[1:] - median[1:, None])
    np.testing.assert_allclose(spread[1:], 1.4826 * np.nanmedian(deviation, axis=1), rtol=1e-6)
    np.testing.assert_array_equal(count, np.isfinite(values).sum(axis=1))


def test_the_climatology_is_the_median_of_the_season(quiet: Series) -> None:
    found = ts.climatology(quiet.cube)
    assert list(found.season.values) == ["DJF", "MAM", "JJA", "SON"]
    summer = quiet.cube.lst.values[np.isin(quiet.cube.time.dt.month, [6, 7, 8])]
    np.testing.assert_array_equal(found.expected.sel(season="JJA"), np.nanmedian(summer, axis=0))
    np.testing.assert_array_equal(found["count"].sel(season="JJA"), np.isfinite(summer).sum(axis=0))
    assert np.isnan(ts.climatology(quiet.cube, least_count=99).expected).all()


def test_the_fit_is_hubers(quiet: Series) -> None:
    made = series(clouds=0.05, seed=3)
    fitted = ts.harmonic(made.cube)
    at = (
        (made.cube.time.values - np.datetime64("2000-01-01")) / np.timedelta64(1, "ns") / (365.2425 * 86400e9)
    )
    x = design(at, 2)
    x[:, 1] -= at.mean()
    for row, column in ((0, 0), (7, 13), (23, 23)):
        y, scale = made.cube.lst.values[:, row, column], float(fitted.spread[row, column])
        known = np.isfinite(y)
        reference = scipy.optimize.least_squares(
            lambda c, y=y, known=known: x[known] @ c - y[known],
            np.r_[np.nanmedian(y), np.zeros(5)], loss="huber", f_scale=1.345 * scale, xtol=1e-12, ftol=1e-12,
        ).x  # fmt: skip
        found = fitted.coefficients[:, row, column].values.astype(float)
        found[0] += found[1] * at.mean()
        np.testing.assert_allclose(found, reference, atol=0.01)


def test_clouds_that_were_missed_do_not_move_the_season() -> None:
    made = series(clouds=0.08, gaps=0.0)
    found = ts.anomalies(made.cube)
    off = found.expected.values - made.season
    assert abs(np.median(off)) < 0.12
    assert np.sqrt(np.mean(off**2)) < 0.4
    least_squares = np.sqrt(np.mean((made.cube.lst.mean("time").values - made.season.mean(0)) ** 2))
    assert least_squares > 1.5  # what a mean makes of them


def test_slopes_are_those_of_scipy() -> None:
    made = series(60, gaps=0.2, trend=0.5, seed=5)
    found = ts.trend(made.cube, season="none", least_count=2)
    at = (
        (made.cube.time.values - np.datetime64("2000-01-01")) / np.timedelta64(1, "ns") / (365.2425 * 86400e9)
    )
    for row, column in ((0, 0), (5, 17), (20, 3)):
        y = made.cube.lst.values[:, row, column]
        known = np.isfinite(y)
        reference = scipy.stats.theilslopes(y[known].astype(float), at[known], 0.95)
        got = [float(found[name][row, column]) for name in ("slope", "low", "high")]
        expected = [reference.slope, reference.low_slope, reference.high_slope]
        np.testing.assert_allclose(got, expected, rtol=1e-5)
        kendall = scipy.stats.kendalltau(at[known], y[known], method="asymptotic")
        # scipy's has no correction for continuity.
        assert float(found.p[row, column]) == pytest.approx(kendall.pvalue, abs=0.03)


def test_a_trend_is_found_and_none_is_made_up() -> None:
    warming = ts.trend(series(trend=0.3, clouds=0.03, seed=1).cube)
    assert float(warming.slope.median()) == pytest.approx(0.3, abs=0.03)
    covered = ((warming.low <= 0.3) & (warming.high >= 0.3)).mean()
    assert 0.88 < float(covered) < 0.99
    still = ts.trend(series(seed=2).cube)
    assert float((still.p < 0.05).mean()) < 0.09
    assert float(((still.low > 0) | (still.high < 0)).mean()) < 0.09
    assert float((ts.trend(series(trend=1.0).cube).p < 0.001).mean()) > 0.99


def test_a_heat_wave_stands_out_and_quiet_dates_do_not(quiet: Series) -> None:
    cube = quiet.cube.copy(deep=True)
    cube.lst[50] += 6
    found = ts.anomalies(cube)
    assert float(found.anomaly[50].median()) == pytest.approx(6, abs=0.6)
    assert float((found.score[50] > 3).where(found.score[50].notnull()).mean()) > 0.95
    others = found.score.isel(time=[k for k in range(92) if k != 50]).values
    # The normal distribution has 0.27 % beyond 3; the scale of 90 dates is itself uncertain.
    assert np.mean(np.abs(others[np.isfinite(others)]) > 3) < 0.01


@pytest.mark.parametrize("by", ["air", "area"])
def test_weather_that_all_share_is_taken_off(by: str) -> None:
    made = series(weather=3.0, seed=4)
    plain = ts.anomalies(made.cube).anomaly.std()
    if by == "air":
        shared = (made.cube.lst - made.season).median(("y", "x"))
        found = ts.anomalies(made.cube, air_temperature=shared)
    else:
        area = xr.zeros_like(made.cube.lst[0], bool)
        area[:, :8] = True
        found = ts.anomalies(made.cube, reference_area=area)
    assert float(plain) > 2.5
    assert float(found.anomaly.std()) < 1.0


def test_a_reference_area_that_is_not_seen_gives_nothing(quiet: Series) -> None:
    area = xr.zeros_like(quiet.cube.lst[0], bool)
    area[0, :10] = True
    cube = quiet.cube.copy(deep=True)
    cube.lst[4, 0, :6] = np.nan
    found = ts.relative(cube, reference_area=area)
    assert np.isnan(found[4]).all()
    assert np.isfinite(found[5]).any()


def test_a_change_carries_the_uncertainty_of_both_dates(quiet: Series) -> None:
    cube = quiet.cube.copy(deep=True)
    cube.lst[10:12] = 300 + 0.6 * np.random.default_rng(0).standard_normal((2, 24, 24)).astype(np.float32)
    cube.lst[11, 2:8, 2:8] += 4
    cube.lst[11, 20, 20] = np.nan
    dates = [str(one)[:10] for one in cube.time.values[10:12]]
    found = ts.difference(cube, *dates)
    np.testing.assert_allclose(found.uncertainty, np.sqrt(2) * 0.6, rtol=1e-6)
    changed = np.zeros((24, 24), bool)
    changed[2:8, 2:8] = True
    assert found.significant.values[changed].mean() > 0.9
    assert found.significant.values[~changed].sum() <= 6
    assert np.isnan(found.difference[20, 20])
    assert not found.significant[20, 20]
    plain = ts.difference(cube, *dates, false_discovery=False)
    assert 0.02 < plain.significant.values[~changed].mean() < 0.09
    same_errors = ts.difference(cube, *dates, correlation=1.0)
    assert not same_errors.significant.any()
    back = ts.difference(cube, *dates[::-1])
    np.testing.assert_array_equal(back.difference, -found.difference)


def test_without_a_change_nothing_is_significant() -> None:
    false = [
        int(
            ts.difference(
                one := still(seed), one.time.values[0], one.time.values[1], alpha=0.05
            ).significant.sum()
            > 0
        )
        for seed in range(40)
    ]
    # With nothing to discover, Benjamini & Hochberg mark anything in alpha of the cases.
    assert sum(false) <= 7


def still(seed: int) -> xr.Dataset:
    cube = series(2, side=16, gaps=0.05, seed=seed).cube
    noise = 0.6 * np.random.default_rng(seed + 1000).standard_normal(cube.lst.shape)
    return cube.assign(lst=(cube.lst.dims, (300 + noise).astype(np.float32), {"units": "K"}))


def scene(seed: int = 0, *, heat: float = 0.0, side: int = 90) -> xr.Dataset:
    """Fields of much the same temperature, and two roofs."""
    grid = simulate_scene((90, 90), bands=("red", "nir")).geobox[:side, :side]
    rng = np.random.default_rng(seed)
    lst = 300 + 1.0 * rng.standard_normal((side, side)) + 0.5 * rng.standard_normal((side, side))
    if heat:
        lst[30:33, 40:44] += heat
        lst[70, 20] += 2 * heat
    coords: dict[Any, Any] = dict(xr_coords(grid))
    stated = np.full(lst.shape, 0.5, np.float32)
    made = {"lst": (("y", "x"), lst.astype(np.float32)), "lst_uncertainty": (("y", "x"), stated)}
    return xr.Dataset(made, coords)


def test_hotspots_are_found_with_place_size_and_excess() -> None:
    made = scene(heat=12)
    made.lst[0:4] = np.nan
    found = ts.hotspots(made)
    assert len(found) == 2
    small, large = found
    assert (small.pixels, large.pixels) == (1, 12)
    assert small.excess == pytest.approx(24, abs=4)
    assert large.mean_temperature == pytest.approx(312, abs=1)
    assert large.area == pytest.approx(1200)
    assert large.geometry.area == pytest.approx(1200)
    assert large.geometry.contains(Point(made.x[41], made.y[31]))
    assert min(small.confidence, large.confidence) > 0.999
    assert 0 < large.uncertainty < 1
    assert [spot.pixels for spot in ts.hotspots(made, least_pixels=2)] == [12]
    assert ts.hotspots(made, least_excess=50) == []


@pytest.mark.parametrize("side", [40, 19, 3, 1])
def test_scenes_smaller_than_the_ring_are_the_same_in_blocks(side: int) -> None:
    made = scene(heat=12).isel(y=slice(20, 20 + side), x=slice(30, 30 + side))
    made.lst[0] = np.inf
    whole, blocks = ts.contrast(made), ts.contrast(made.chunk({"y": 7, "x": 16}))
    xr.testing.assert_identical(blocks.compute(), whole)
    assert np.isnan(whole.excess.values[0]).all()
    assert ts.hotspots(made.chunk({"y": 7, "x": 16})) == ts.hotspots(made)


@pytest.mark.parametrize("lazy", [False, True])
def test_series_without_values_tell_nothing_and_fail_at_nothing(quiet: Series, lazy: bool) -> None:  # noqa: FBT001
    cube = quiet.cube.isel(y=slice(3), x=slice(4))
    cube = cube.chunk({"time": 30, "y": 2}) if lazy else cube
    known = xr.DataArray(np.arange(12).reshape(3, 4) % 3, dims=("y", "x"))
    # A pixel that is never seen, one with a date or two, and one as it was.
    cube = cube.assign(lst=cube.lst.where((known == 2) | ((known == 1) & (cube.time < cube.time[2]))))
    first, last = str(cube.time.values[0])[:10], str(cube.time.values[-1])[:10]
    for name, found in {
        "expected": ts.climatology(cube), "spread": ts.harmonic(cube), "slope": ts.trend(cube),
        "anomaly": ts.anomalies(cube), "score": ts.anomalies(cube, season="month"),
    }.items():  # fmt: skip
        seen = found[name].notnull().any([dim for dim in found[name].dims if dim not in ("y", "x")])
        np.testing.assert_array_equal(seen, known == 2, err_msg=name)
    change = ts.difference(cube, first, last).compute()
    assert not change.significant.where(known != 2, 0).any()
    assert np.isnan(change.difference.where(known != 2, 0).values[known.values != 2]).all()


def test_what_is_infinite_is_missing(quiet: Series) -> None:
    cube = quiet.cube.isel(y=slice(3), x=slice(4))
    one = cube.assign(lst=cube.lst.where(cube.lst < float(cube.lst.max()), np.inf))
    other = cube.assign(lst=cube.lst.where(cube.lst < float(cube.lst.max())))
    for made in (one, one.chunk({"x": 2})):
        xr.testing.assert_identical(ts.trend(made).compute(), ts.trend(other))
        assert ts.relative(made).notnull().equals(other.lst.notnull())


def test_where_there_is_no_hotspot_none_is_found() -> None:
    found = [ts.hotspots(scene(seed), alpha=0.05, least_excess=0.0) for seed in range(30)]
    assert sum(bool(spots) for spots in found) <= 6
    assert not any(ts.hotspots(scene(seed)) for seed in range(20))


def test_what_varies_much_needs_more_to_stand_out() -> None:
    calm, rough = scene(heat=6), scene(heat=6)
    rough["lst"] = rough.lst + 5 * np.random.default_rng(3).standard_normal((90, 90)).astype(np.float32)
    vague = calm.assign(lst_uncertainty=calm.lst_uncertainty * 20)
    assert len(ts.hotspots(calm)) == 2
    assert ts.hotspots(vague) == []
    assert len(ts.hotspots(rough)) < 2


def test_the_table_is_valid_geojson(tmp_path: Path) -> None:
    made = scene(heat=12)
    table = ts.to_geojson(ts.hotspots(made), made.odc.crs, {"date": "2026-07-01"})
    ts.write_geojson(table, tmp_path / "hot.geojson")
    again = json.loads((tmp_path / "hot.geojson").read_text())
    assert [one["properties"]["pixels"] for one in again["features"]] == [1, 12]
    for one in again["features"]:
        west, south, east, north = shape(one["geometry"]).bounds
        assert -180 < west < east < 180
        assert -90 < south < north < 90
        assert {"temperature", "excess", "area", "confidence", "date"} <= set(one["properties"])
    with pytest.raises(lstzoom.InputError, match="exists"):
        ts.write_geojson(table, tmp_path / "hot.geojson")
    with pytest.raises(lstzoom.InputError, match="None"):
        ts.write_geojson({"x": float("nan")}, tmp_path / "nan.geojson")


def test_the_table_is_read_back_from_geoparquet(tmp_path: Path) -> None:
    import geopandas

    made = scene(heat=12)
    spots = ts.hotspots(made)
    ts.write_geoparquet(spots, made.odc.crs, tmp_path / "hot.parquet", {"date": "2026-07-01"})
    read = geopandas.read_parquet(tmp_path / "hot.parquet")
    assert read.crs == made.odc.crs
    assert list(read.excess) == [spot.excess for spot in spots]
    with pytest.raises(lstzoom.InputError, match="exists"):
        ts.write_geoparquet(spots, made.odc.crs, tmp_path / "hot.parquet")
    assert all(one.equals(spot.geometry) for one, spot in zip(read.geometry, spots, strict=True))


def collection(*shapes: Any) -> dict[str, Any]:
    features = [
        {"type": "Feature", "id": f"asset {n}", "properties": {"n": n}, "geometry": mapping(one)}
        for n, one in enumerate(shapes)
    ]
    return {"type": "FeatureCollection", "features": features}


@pytest.mark.parametrize("upside_down", [False, True])
def test_assets_count_shares_of_pixels(quiet: Series, upside_down: bool) -> None:  # noqa: FBT001
    cube = quiet.cube.isel(time=[3, 4]).copy(deep=True)
    cube.lst[:] = 290
    cube.lst[0, 10, 10:12] = [300, 310]
    cube.lst[1, 10, 10] = np.nan
    west, north = float(cube.x[10]) - 5, float(cube.y[10]) + 5
    # All of one pixel and a quarter of the next.
    assets = collection(box(west, north - 10, west + 12.5, north))
    given = cube.isel(y=slice(None, None, -1)).chunk({"y": 7}) if upside_down else cube
    first, second = ts.zonal_statistics(given, assets, crs=str(cube.odc.crs))
    assert first["mean"] == pytest.approx((300 + 0.25 * 310) / 1.25)
    assert (first["min"], first["max"]) == (300, 310)
    assert first["area"] == pytest.approx(125)
    assert first["coverage"] == pytest.approx(1)
    assert first["mean_uncertainty"] == pytest.approx(0.6)
    assert (first["asset"], first["properties"]) == ("asset 0", {"n": 0})
    assert second["mean"] == 290
    assert second["coverage"] == pytest.approx(0.2)
    assert second["time"] == str(cube.time.values[1])[:19]


def test_an_asset_under_cloud_has_no_temperature(quiet: Series) -> None:
    cube = quiet.cube.isel(time=0) * np.float32(np.nan)
    degrees = collection(cube.odc.geobox.extent.to_crs("EPSG:4326").geom)
    (row,) = ts.zonal_statistics(cube, degrees)
    assert row["mean"] is row["q90"] is row["mean_uncertainty"] is row["time"] is None
    assert (row["area"], row["coverage"]) == (0, 0)
    (full,) = ts.zonal_statistics(cube.fillna(295.0)[["lst"]], degrees)
    assert full["mean"] == pytest.approx(295)
    assert full["coverage"] == pytest.approx(1, abs=1e-3)


def test_what_is_no_cube_is_refused(quiet: Series) -> None:
    cube = quiet.cube
    first, last = str(cube.time.values[0])[:10], str(cube.time.values[-1])[:10]
    celsius = cube.assign(lst=cube.lst.assign_attrs(units="degC"))
    area = xr.zeros_like(cube.lst[0], bool)
    for function, told in [
        (lambda: ts.trend(cube.lst), "Dataset"),
        (lambda: ts.trend(cube.rename(lst="temperature")), "no 'lst'"),
        (lambda: ts.trend(celsius), "kelvin"),
        (lambda: ts.trend(cube.isel(time=slice(None, None, -1))), "ascending"),
        (lambda: ts.trend(cube.isel(time=slice(30))), "spans 1.3 years"),
        (lambda: ts.trend(cube, confidence=95), "between 0 and 1"),
        (lambda: ts.trend(cube.isel(time=0)), "dimensions"),
        (lambda: ts.trend(cube.isel(time=slice(0, 0))), "the cube is empty"),
        (lambda: ts.trend(cube.isel(time=[1])), "spans 0.0 years"),
        (lambda: ts.climatology(cube.isel(x=slice(0, 0)).chunk()), "the cube is empty"),
        (lambda: ts.trend(xr.concat([cube, cube.isel(time=[-1])], "time")), "or repeat"),
        (lambda: ts.harmonic(cube.isel(time=slice(5))), "dates"),
        (lambda: ts.harmonic(cube, harmonics=9), "1 to 4"),
        (lambda: ts.climatology(cube, "week"), "'season' or 'month'"),  # type: ignore[arg-type]
        (lambda: ts.relative(cube, reference_area=area), "no pixel"),
        (lambda: ts.relative(cube, reference_area=area[:5] | True), "on the grid"),
        (lambda: ts.relative(cube, air_temperature=cube.lst[:4, 0, 0]), "other times"),
        (lambda: ts.difference(cube, first, "1999-01-01"), "names 0 of"),
        (lambda: ts.difference(cube, first, "2020"), "names 2"),
        (lambda: ts.difference(cube, first, first), "same time"),
        (lambda: ts.difference(cube[["lst"]], first, last), "lst_uncertainty"),
        (lambda: ts.contrast(cube.isel(time=0), inner=5, outer=12), "widen"),
        (lambda: ts.contrast(cube.isel(time=0), inner=50, outer=12), "inner < outer"),
        (lambda: ts.hotspots(cube.isel(time=0), alpha=0), "alpha"),
        (lambda: ts.zonal_statistics(cube, {"type": "FeatureCollection", "features": []}), "no feature"),
        (lambda: ts.zonal_statistics(cube, collection(Point(0, 0))), "polygon"),
        (lambda: ts.zonal_statistics(cube, collection(box(0, 0, 1, 1))), "beside the grid"),
    ]:  # fmt: skip
        with pytest.raises(lstzoom.InputError, match=told):
            function()

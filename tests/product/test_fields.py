"""Footprints of grids anywhere on the globe, as RFC 7946 wants them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pystac
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import shape

from lstzoom.errors import GridMismatchError
from lstzoom.globe import beside
from lstzoom.jobs.items import Described, make_item
from lstzoom.jobs.plan import links_of
from lstzoom.product import metadata as md
from lstzoom.product.fields import centre, drawn, footprint, ground, joined_bounds, outline


def box(epsg: int, x: float, y: float, size: int = 300, pixel: float = 10.0) -> GeoBox:
    return GeoBox((size, size), Affine(pixel, 0, x, 0, -pixel, y), f"EPSG:{epsg}")


@pytest.mark.parametrize("grid", [box(32601, 166_000, 200_000, 1500), box(32701, 170_000, 8_000_000, 3000)])
def test_a_footprint_across_the_antimeridian_is_cut_and_its_bounds_wrap(grid: GeoBox) -> None:
    area, (west, south, east, north) = footprint(grid)
    assert area["type"] == "MultiPolygon"
    assert west > 170 > -170 > east
    assert south < north
    for part in shape(area).geoms:
        assert part.bounds[2] - part.bounds[0] < 1
        assert part.exterior.is_ccw


def test_a_footprint_elsewhere_is_one_polygon_of_curved_edges() -> None:
    area, bounds = footprint(box(32632, 500_000, 5_300_000))
    assert area["type"] == "Polygon"
    assert len(area["coordinates"][0]) == 81
    assert bounds == pytest.approx(shape(area).bounds)


def test_maps_draw_grids_on_both_sides_of_the_antimeridian_beside_each_other() -> None:
    grids = [box(32601, 166_000, 200_000), box(32601, 300_000, 200_000), box(32660, 820_000, 200_000)]
    west, middle, east = beside([drawn(grid) for grid in grids])
    # The first crosses it, and the last lies before it.
    assert np.ptp(west[:, 0]) < 0.1
    together = np.concatenate([west, middle, east])
    assert np.ptp(together[:, 0]) < 3
    for one, grid in zip((west, middle, east), grids, strict=True):
        turned = (one[:, 0] - outline(grid, 3)[:, 0]) / 360
        np.testing.assert_allclose(turned, np.round(turned), atol=1e-9)


def test_what_crosses_nothing_is_drawn_where_it_lies() -> None:
    for grid in (box(32632, 500_000, 5_300_000), box(32610, 500_000, 5_300_000)):
        (ring,) = beside([drawn(grid)])
        np.testing.assert_array_equal(ring, outline(grid, 3))
        assert len(ring) == 9
    assert beside([]) == []


@pytest.mark.parametrize("pole", [90.0, -90.0])
def test_a_grid_around_a_pole_is_drawn_up_to_it(pole: float) -> None:
    half = 150 * 10.0
    ring = drawn(box(3413 if pole > 0 else 3031, -half, half))
    assert np.ptp(ring[:, 0]) == pytest.approx(360)
    assert (ring[:, 1] == pole).sum() == 2
    assert shapely.Polygon(ring).area == pytest.approx(360 * (90 - np.abs(ring[:-3, 1]).mean()), rel=0.2)


def test_bounds_of_scenes_on_both_sides_of_the_antimeridian_take_the_shorter_way() -> None:
    assert joined_bounds([(179.0, 1.0, -179.5, 2.0), (-179.0, 0.0, -178.0, 1.5)]) == [179.0, 0.0, -178.0, 2.0]


def test_a_told_footprint_across_the_antimeridian_is_cut_in_the_feature() -> None:
    ring = [[179.9, 0.0], [-179.9, 0.0], [-179.9, 0.1], [179.9, 0.1], [179.9, 0.0]]
    area, bounds = ground([[ring]])
    assert bounds == [179.9, 0.0, -179.9, 0.1]
    assert np.isclose(shape(area).area, 0.02)
    told: dict[str, Any] = {"geometric": {"geometry": {"type": "Polygon", "coordinates": [ring]}}}
    metadata, _ = md.read_metadata(json.dumps(told).encode(), "metadata.json")
    feature = md.to_feature(metadata, "ZA")
    assert (feature["geometry"]["type"], feature["bbox"]) == ("MultiPolygon", bounds)
    assert feature["properties"]["geometric"]["geometry"]["coordinates"] == [ring]


def test_items_lead_to_what_they_were_made_of_without_signatures() -> None:
    known, unknown = (pystac.Item(name, None, None, datetime(2026, 1, 1, tzinfo=UTC), {}) for name in "ab")
    known.set_self_href("https://user:secret@host/a.json?sig=1")
    assert links_of(known) == [("a", "https://***@host/a.json")]
    unknown.add_asset("lst", pystac.Asset("https://user:secret@host/lst.tif?sig=1"))
    assert links_of(unknown) == [("b: lst", "https://***@host/lst.tif")]
    described = Described(
        "s",
        datetime(2026, 1, 1, tzinfo=UTC),
        "c",
        "uint16",
        {},
        [("a", "https://host/a.json"), ("b: lst", "/data/lst.tif"), ("c: lst", "/data/lst.img")],
    )
    item = make_item(described, "scene", box(32601, 166_000, 200_000, 1500), {})
    links = [one for one in item["links"] if one["rel"] == "derived_from"]
    assert [(one["title"], one["href"], one.get("type")) for one in links] == [
        ("a", "https://host/a.json", "application/geo+json"),
        ("b: lst", "/data/lst.tif", "image/tiff; application=geotiff"),
        ("c: lst", "/data/lst.img", None),
    ]
    assert item["geometry"]["type"] == "MultiPolygon"
    assert item["bbox"][0] > item["bbox"][2]


@pytest.mark.parametrize(
    "ring",
    [
        [[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]],
        [[-120, -9], [0, -9], [120, -9], [120, 9], [0, 9], [-120, 9], [-120, -9]],
        [[179.9, 0], [-179.9, 0], [179.9, 0], [179.9, 0]],
    ],
)
def test_a_told_footprint_around_the_globe_or_wide_or_without_area_stays_as_it_is(
    ring: list[list[float]],
) -> None:
    told: dict[str, Any] = {"geometric": {"geometry": {"type": "Polygon", "coordinates": [ring]}}}
    metadata, _ = md.read_metadata(json.dumps(told).encode(), "metadata.json")
    feature = md.to_feature(metadata, "ZA")
    assert feature["geometry"] == {"type": "Polygon", "coordinates": [ring]}
    lon, lat = zip(*ring, strict=True)
    assert feature["bbox"] == [min(lon), min(lat), max(lon), max(lat)]


def test_a_told_footprint_around_a_pole_goes_up_to_it() -> None:
    ring = [[-135, 80], [-45, 80], [45, 80], [135, 80], [-135, 80]]
    hole = [[170, 85], [-170, 85], [180, 86], [170, 85]]
    area, bounds = ground([[ring, hole]])
    assert bounds == [-180.0, 80.0, 180.0, 90.0]
    assert np.isclose(shape(area).area, 360 * 10 - 20 * 1 / 2)
    assert ground([[[[lon, -lat] for lon, lat in ring]]])[1] == [-180.0, -90.0, 180.0, -80.0]


POLAR = {
    "pole in the middle": box(3031, -1500, 1500),
    "pole inside": box(3413, -10, 2900),
    "pole just outside": box(3413, 1, 1500),
    "corner at the pole": box(3031, 0, 3000),
    "edge over the pole": box(3413, -3000, 1500),
    "edge over the pole, across the antimeridian": box(3031, -1500, 0),
    "universal polar stereographic": box(32661, 1_998_500, 2_001_500),
    "beside the pole, across the antimeridian": box(3031, -1500, -500_000),
    "half a hemisphere": box(3413, -3_000_000, 3_000_000, 600, 10_000.0),
}


@pytest.mark.parametrize("grid", POLAR.values(), ids=POLAR.keys())
def test_a_footprint_at_a_pole_holds_what_the_grid_holds(grid: GeoBox) -> None:
    area, (west, south, east, north) = footprint(grid)
    found = shape(area)
    assert found.is_valid
    assert all(part.exterior.is_ccw for part in getattr(found, "geoms", [found]))
    left, bottom, right, top = grid.boundingbox.bbox
    rng = np.random.default_rng(0)
    wide = (right - left) / 3
    x, y = (rng.uniform(low - wide, high + wide, 1500) for low, high in ((left, right), (bottom, top)))
    assert grid.crs is not None
    lon, lat = grid.crs.transformer_to_crs("EPSG:4326")(x, y)
    inside = (x > left) & (x < right) & (y > bottom) & (y < top)
    held = shapely.contains_xy(found, lon, lat)
    # Straight edges between points of a curve cut a little off.
    near = shapely.dwithin(shapely.points(x, y), shapely.box(left, bottom, right, top).exterior, wide / 50)
    np.testing.assert_array_equal(held[~near], inside[~near])
    over = (lon >= west) & (lon <= east) if west <= east else (lon >= west) | (lon <= east)
    assert (over & (lat >= south) & (lat <= north))[inside & ~near].all()


def test_a_footprint_in_the_south_turns_as_geojson_wants_it() -> None:
    area, _ = footprint(box(3031, 500_000, 900_000))
    assert shape(area).exterior.is_ccw


def test_the_middle_of_a_grid_across_the_antimeridian_lies_there() -> None:
    lon, lat = centre(box(32601, 166_000, 200_000, 1500))
    assert abs(lon) > 179
    assert 1.6 < lat < 1.9


def test_a_grid_beyond_its_crs_is_refused() -> None:
    with pytest.raises(GridMismatchError, match="cut it to where it is"):
        footprint(box(6933, -17_367_530, 7_900_000, 100, 347_350.6))

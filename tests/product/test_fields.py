"""Footprints of grids anywhere on the globe, as RFC 7946 wants them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pystac
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import shape

from lstzoom.jobs.items import Described, make_item
from lstzoom.jobs.plan import link_of
from lstzoom.product import metadata as md
from lstzoom.product.fields import footprint, ground, joined_bounds


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
    assert (link_of(known), link_of(unknown)) == (("a", "https://***@host/a.json"), None)
    described = Described(
        "s", datetime(2026, 1, 1, tzinfo=UTC), "c", "uint16", {}, [("a", "https://host/a.json")]
    )
    item = make_item(described, "scene", box(32601, 166_000, 200_000, 1500), {})
    links = [one for one in item["links"] if one["rel"] == "derived_from"]
    assert [(one["title"], one["href"]) for one in links] == [("a", "https://host/a.json")]
    assert item["geometry"]["type"] == "MultiPolygon"
    assert item["bbox"][0] > item["bbox"][2]


@pytest.mark.parametrize(
    "ring",
    [
        [[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]],
        [[-135, 80], [-45, 80], [45, 80], [135, 80], [-135, 80]],
        [[179.9, 0], [-179.9, 0], [179.9, 0], [179.9, 0]],
    ],
)
def test_a_told_footprint_around_the_globe_or_without_area_stays_as_it_is(ring: list[list[float]]) -> None:
    told: dict[str, Any] = {"geometric": {"geometry": {"type": "Polygon", "coordinates": [ring]}}}
    metadata, _ = md.read_metadata(json.dumps(told).encode(), "metadata.json")
    feature = md.to_feature(metadata, "ZA")
    assert feature["geometry"] == {"type": "Polygon", "coordinates": [ring]}
    lon, lat = zip(*ring, strict=True)
    assert feature["bbox"] == [min(lon), min(lat), max(lon), max(lat)]

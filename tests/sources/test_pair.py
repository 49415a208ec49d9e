"""Pairs by time, footprint and cloud, and across UTM zones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pystac
import pytest
from shapely.geometry import Polygon, box
from shapely.geometry.base import BaseGeometry

from lstzoom.errors import InputError
from lstzoom.sources.catalog import Access, PairRule, open_catalog
from lstzoom.sources.pair import Pair, make_pairs, require_pairs
from lstzoom.sources.search import Candidate, Found, Side

NOON = datetime(2023, 7, 10, 12, tzinfo=UTC)
PLACE = box(11.0, 48.0, 11.2, 48.2)


def one(
    name: str, side: Side, *, days: float = 0.0, cloud: float | None = None, place: BaseGeometry = PLACE,
    platform: str = "p",
) -> Candidate:  # fmt: skip
    when = NOON + timedelta(days=days)
    item = pystac.Item(name, None, None, when, {"platform": platform})
    return Candidate(item, side, when, cloud, place, Access())


def found(*vnir: Candidate, lst: Candidate | None = None, area: BaseGeometry | None = None) -> Found:
    catalog = open_catalog("landsat-sentinel2")
    return Found(catalog, "a test", (lst or one("lst", "lst"),), vnir, (), area)


def best(
    *vnir: Candidate, area: BaseGeometry | None = None, lst: Candidate | None = None, **rule: object
) -> Pair:
    (pair,) = make_pairs(found(*vnir, area=area, lst=lst), PairRule.model_validate(rule)).pairs
    return pair


def names(pair: Pair) -> list[str]:
    return [item.item.id for item in pair.vnir]


def test_the_nearest_in_time_is_taken_before_or_after() -> None:
    assert names(best(one("a", "vnir", days=-1), one("b", "vnir", days=0.8))) == ["b"]
    assert names(best(one("a", "vnir", days=-0.7), one("b", "vnir", days=0.8))) == ["a"]


@pytest.mark.parametrize(
    ("prefer", "wanted"), [("balanced", "clear"), ("nearest", "near"), ("clearest", "late")]
)
def test_cloud_counts_as_asked(prefer: str, wanted: str) -> None:
    given = (
        one("near", "vnir", days=0.1, cloud=55.0),
        one("clear", "vnir", days=1.0, cloud=2.0),
        one("late", "vnir", days=2.9, cloud=0.0),
    )
    assert names(best(*given, prefer=prefer)) == [wanted]


def test_tiles_of_two_zones_are_one_pass_and_cover_together() -> None:
    """The boundary of zones 32 and 33 lies at 12 degrees."""
    place = box(11.8, 48.0, 12.2, 48.2)
    west = one("T32", "vnir", place=box(11.0, 47.5, 12.05, 48.5), cloud=10)
    east = one("T33", "vnir", place=box(11.95, 47.5, 13.0, 48.5), cloud=30)
    pair = best(west, east, lst=one("lst", "lst", place=place))
    assert sorted(names(pair)) == ["T32", "T33"]
    assert pair.coverage == pytest.approx(1, abs=1e-3)
    assert pair.cloud == pytest.approx(10 * 0.625 + 30 * 0.375, abs=0.1)


def test_a_second_copy_of_a_tile_is_left_out() -> None:
    assert len(names(best(one("copy-1", "vnir"), one("copy-2", "vnir", days=0.001)))) == 1


def test_two_platforms_are_two_passes() -> None:
    half, rest = box(11.0, 48.0, 11.1, 48.2), box(11.1, 48.0, 11.2, 48.2)
    given = (one("a", "vnir", place=half, platform="A"), one("b", "vnir", place=rest, platform="B"))
    assert best(*given, min_coverage=0.4).coverage == pytest.approx(0.5, abs=0.01)


def test_too_little_ground_is_no_pair_and_says_so() -> None:
    sliver = one("a", "vnir", place=box(11.0, 48.0, 11.02, 48.2))
    pairing = make_pairs(found(sliver, area=PLACE))
    assert pairing.pairs == ()
    assert "covers at most 10.0% of its area (min_coverage 50%)" in pairing.unpaired[0].reason
    # Within the area of interest it covers everything.
    assert best(sliver, area=box(11.0, 48.0, 11.01, 48.1)).coverage == pytest.approx(1, abs=1e-3)


def test_no_pair_tells_what_was_searched_what_came_back_and_what_to_change() -> None:
    with pytest.raises(InputError) as caught:
        require_pairs(found(one("a", "vnir", days=5)))
    text = str(caught.value)
    for part in (
        "no pair of LST and reflectance within 3 days", "Searched: a test", "1 of LST, 1 of reflectance",
        "the nearest is 5.00 days away", "window_days",
    ):  # fmt: skip
        assert part in text


def test_an_area_elsewhere_is_no_pair() -> None:
    pairing = make_pairs(found(one("a", "vnir"), area=box(0, 0, 1, 1)))
    assert pairing.unpaired[0].reason == "its footprint does not meet the area of interest"


def test_the_antimeridian_is_no_border() -> None:
    """One footprint in two parts, one as a ring that seems to go around the globe, an area beyond 180."""
    split = box(179.5, 10, 180, 11).union(box(-180, 10, -179.5, 11))
    around = Polygon([(179.4, 9.9), (-179.4, 9.9), (-179.4, 11.1), (179.4, 11.1)])
    lst = one("lst", "lst", place=split)
    pair = best(one("a", "vnir", place=around), lst=lst, area=box(179.9, 10.4, 180.1, 10.6))
    assert pair.coverage == pytest.approx(1, abs=1e-2)
    other = best(one("a", "vnir", place=split), lst=one("lst", "lst", place=around))
    assert other.coverage == pytest.approx(1 / 1.44, abs=0.01)


WORLD = box(-180, -80, 180, 80)


@pytest.mark.parametrize(
    "area",
    [WORLD, box(-180, -90, 180, 90), box(0, -80, 360, 80), box(-100, 0, 120, 60), box(11, -60, 11.1, 60)],
)
def test_an_area_of_any_width_takes_what_meets_it(area: BaseGeometry) -> None:
    """Up to the whole globe, and over any number of zones and both hemispheres."""
    assert best(one("a", "vnir"), area=area).coverage == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    "place",
    [
        box(-0.5, -0.5, 0.5, 0.5),
        box(-180, -16, -179, -15),
        box(178.6, 65, 179.8, 66),
        box(179.5, 10, 180, 11).union(box(-180, 10, -179.5, 11)),
        box(30, 79, 33, 79.9),
        Polygon([(179, -70), (-178, -70), (-178, -69), (179, -69)]),
    ],
)
def test_all_scenes_of_a_world_wide_search_pair_with_their_own_place(place: BaseGeometry) -> None:
    """Each with the reflectance that lies there, and not with that at the other end of the globe."""
    elsewhere = [one(f"{lon}/{lat}", "vnir", place=box(lon, lat, lon + 1, lat + 1)) for lon, lat in
                 ((-0.5, 40), (90, 0), (-170, 0), (179, -1), (-1, -60))]  # fmt: skip
    lst = (one("near", "lst", place=place), one("europe", "lst"))
    vnir = (*elsewhere, one("there", "vnir", place=place), one("home", "vnir"))
    pairing = make_pairs(Found(open_catalog("landsat-sentinel2"), "a test", lst, vnir, (), WORLD))
    assert [(pair.lst.item.id, names(pair)) for pair in pairing.pairs] == [
        ("near", ["there"]), ("europe", ["home"]),
    ]  # fmt: skip
    assert all(pair.coverage == pytest.approx(1, abs=1e-6) for pair in pairing.pairs)


@pytest.mark.parametrize("south", [True, False])
def test_a_pole_is_no_border(south: bool) -> None:  # noqa: FBT001
    """A footprint around a pole, as a ring of it or cut along 180 degrees, and areas of many shapes."""

    def at(*points: tuple[float, float]) -> Polygon:
        return Polygon([(lon, -lat if south else lat) for lon, lat in points])

    ring = at((0, 85), (60, 85), (120, 85), (180, 85), (-120, 85), (-60, 85))
    cut = at((-180, 85), (180, 85), (180, 90), (-180, 90))
    for lst in (ring, cut):
        for area in (
            at((-180, 60), (180, 60), (180, 90), (-180, 90)),
            at((0, 70), (360, 70), (360, 90), (0, 90)),
        ):
            pair = best(one("a", "vnir", place=ring), lst=one("lst", "lst", place=lst), area=area)
            assert pair.coverage == pytest.approx(1, abs=1e-3)
        # Half of the cap: longitudes 0 to 180.
        half = at((0, 80), (180, 80), (180, 90), (0, 90))
        found_ = best(one("a", "vnir", place=half), lst=one("lst", "lst", place=lst), min_coverage=0.4)
        assert found_.coverage == pytest.approx(0.5, abs=1e-3)
    far = make_pairs(found(one("a", "vnir"), lst=one("lst", "lst", place=ring), area=PLACE))
    assert far.unpaired[0].reason == "its footprint does not meet the area of interest"

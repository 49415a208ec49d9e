"""Search of a STAC API process: pages, reasons, errors before work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
import shapely

from lstzoom.errors import InputError
from lstzoom.sources.catalog import catalog_folder
from lstzoom.sources.pair import make_pairs
from lstzoom.sources.search import examine, search
from lstzoom.sources.times import When, as_interval, to_stac
from tests.sources.archive import Archive
from tests.sources.servers import stac_api

AREA_WIDTH = 0.01


def catalog_at(folder: Path, url: str, name: str = "landsat-sentinel2") -> Path:
    """The catalogue that comes with lstzoom, with its services on loopback and no signing."""
    lines = (catalog_folder() / f"{name}.toml").read_text().splitlines()
    lines = [f'url = "{url}"' if line.startswith("url = ") else line for line in lines]
    path = folder / f"{name}.toml"
    path.write_text("\n".join(line for line in lines if not line.startswith("access = ")))
    return path


@pytest.fixture(scope="module")
def served(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Three Landsat scenes, one without thermal band, and 240 Sentinel-2 scenes: three pages."""
    folder = tmp_path_factory.mktemp("api")
    scenes = [
        archive.landsat("http://x", f"LC08_{day:02d}", when=f"2023-07-{day:02d}T10:10:00Z") for day in (2, 12)
    ]
    bare = archive.landsat("http://x", "LC08_20_SR", when="2023-07-20T10:10:00Z")
    del bare["assets"]["lwir11"]
    many = [
        archive.sentinel2(
            "http://x", f"S2A_{k:03d}", when=f"2023-07-{1 + k // 10:02d}T{k % 10 + 10:02d}:00:00Z",
            eo__cloud_cover=float(k % 7) * 14,
        )
        for k in range(240)
    ]  # fmt: skip
    with stac_api([*scenes, bare, *many], folder) as url:
        yield url, folder


def test_all_pages_arrive_and_what_cannot_be_used_has_a_reason(
    archive: Archive, served: tuple[str, Path]
) -> None:
    url, folder = served
    found = search(catalog_at(folder, url), archive.area(), "2023-07-01/2023-07-31", window_days=5)
    assert [one.item.id for one in found.lst] == ["LC08_02", "LC08_12"]
    bad = {one.item: one.reason for one in found.unusable}
    assert len(found.vnir) + len(bad) == 240 + 1
    assert bad["LC08_20_SR"].startswith("no thermal asset: looked for keys lwir11, lwir")
    assert bad["S2A_006"] == "cloud cover 84 % is above max_cloud 60 %"
    assert [one.when for one in found.vnir] == sorted(one.when for one in found.vnir)


def test_reflectance_is_searched_in_the_window_only(archive: Archive, served: tuple[str, Path]) -> None:
    url, folder = served
    found = search(catalog_at(folder, url), archive.area(), "2023-07-12", window_days=2, max_cloud=100)
    days = {one.when.day for one in found.vnir}
    assert days == {10, 11, 12, 13, 14}
    (pair,) = make_pairs(found).pairs
    assert pair.lst.item.id == "LC08_12"
    assert pair.cloud == 0.0


def test_an_area_across_the_antimeridian_finds_both_sides(archive: Archive, tmp_path: Path) -> None:
    items = []
    for name, west in (("east-end", 179.2), ("west-end", -179.8), ("elsewhere", 0.0)):
        item = archive.landsat("http://x", name)
        item["bbox"] = [west, 10.0, west + 0.6, 10.5]
        item["geometry"] = shapely.box(*item["bbox"]).__geo_interface__
        items.append(item)
    items.append(archive.sentinel2("http://x"))
    with stac_api(items, tmp_path) as url:
        found = search(catalog_at(tmp_path, url), (179.0, 9.9, -179.0, 10.6), "2023-07")
    assert [one.item.id for one in found.lst] == ["east-end", "west-end"]


def test_more_items_than_allowed_are_an_error(archive: Archive, served: tuple[str, Path]) -> None:
    url, folder = served
    with pytest.raises(InputError, match="more than 50 items"):
        search(catalog_at(folder, url), archive.area(), "2023-07", max_items=50)


def test_an_empty_search_tells_what_was_searched(archive: Archive, served: tuple[str, Path]) -> None:
    url, folder = served
    with pytest.raises(
        InputError, match=r"no item: landsat-c2-l2 at .*2019-01-01T00:00:00Z/2019-01-31.*widen"
    ):
        search(catalog_at(folder, url), archive.area(), "2019-01")
    with pytest.raises(InputError, match="found no item"):
        search(catalog_at(folder, url), (20, 40, 21, 41), "2023-07")


def test_a_collection_that_is_not_there_is_named(archive: Archive, served: tuple[str, Path]) -> None:
    url, folder = served
    path = catalog_at(folder, url)
    path.write_text(path.read_text().replace('"landsat-c2-l2"', '"landsat-c2-l3"'))
    with pytest.raises(InputError, match="no collection 'landsat-c2-l3'; did you mean 'landsat-c2-l2'"):
        search(path, archive.area(), "2023-07")


def test_a_service_that_does_not_answer_is_an_input_error(archive: Archive, tmp_path: Path) -> None:
    path = catalog_at(tmp_path, "http://127.0.0.1:9")
    path.write_text(path.read_text() + "\n[endpoints.earth-search.lst.access]\nretries = 0\n")
    with pytest.raises(InputError, match=r"the STAC API http://127\.0\.0\.1:9 cannot be searched"):
        search(path, archive.area(), "2023-07")


@pytest.mark.parametrize(
    ("area", "when", "message"),
    [
        ((5, 5, 5, 6), "2023", "area of interest has the bounds"),
        ((600000, 5400000, 601000, 5401000), "2023", "longitude and latitude"),
        ((1, 2, 3), "2023", "west, south, east, north"),
        ((1, 2, 3, 4), "July", "cannot be read"),
        ((1, 2, 3, 4), "2023-07-02/2023-07-01", "ends before it begins"),
        ((1, 2, 3, 4), "../..", "open at both ends"),
    ],
)
def test_area_and_time_are_checked_first(area: tuple[float, ...], when: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        search("landsat-sentinel2", area, when)


def test_items_from_nothing_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no STAC item"):
        examine("landsat-sentinel2", [])
    for text in ("1", '"x"', "{}", "{"):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(InputError, match="holds no STAC items"):
            examine("landsat-sentinel2", tmp_path / "x.json")
    (tmp_path / "x.json").write_text("[1, 2]")
    assert len(examine("landsat-sentinel2", tmp_path / "x.json").unusable) == 2


@pytest.mark.parametrize("form", ["list", "collection", "file of a list", "item"])
def test_items_in_any_form(archive: Archive, tmp_path: Path, form: str) -> None:
    root = str(archive.folder)
    both = [archive.landsat(root), archive.sentinel2(root)]
    path = tmp_path / "items.json"
    path.write_text(json.dumps(both))
    whole = {"type": "FeatureCollection", "features": both}
    given: dict[str, Any] = {"list": both, "collection": whole, "file of a list": path, "item": both[0]}
    found = examine("landsat-sentinel2", given[form])
    assert len(found.lst) == 1
    assert len(found.vnir) == (0 if form == "item" else 1)


def test_the_time_of_an_item_finds_it(archive: Archive) -> None:
    when = "2023-07-02T10:10:15.123456Z"
    item = archive.landsat(str(archive.folder), when=when)
    for asked in (when, datetime.fromisoformat(when), "2023-07-02T10:10:15Z", date(2023, 7, 2)):
        assert len(examine("landsat-sentinel2", [item], datetime=asked).lst) == 1
    late = "2023-07-02T10:10:15.2Z/2023-07-03"
    assert examine("landsat-sentinel2", [item], datetime=late).lst == ()


@pytest.mark.parametrize(
    ("when", "asked"),
    [
        (date(2023, 7, 2), "2023-07-02T00:00:00Z/2023-07-02T23:59:59Z"),
        ((date(2023, 7, 2), None), "2023-07-02T00:00:00Z/.."),
        ("2023-07-02T10:10:15.5Z", "2023-07-02T10:10:15.500000Z/2023-07-02T10:10:15.500000Z"),
    ],
)
def test_times_are_asked_for_as_they_are(when: When, asked: str) -> None:
    assert to_stac(as_interval(when)) == asked


@pytest.mark.parametrize("when", ["2023-W22", "20230601", 5, ("2023",)])
def test_what_is_no_time_is_told(when: Any) -> None:  # noqa: ANN401
    with pytest.raises(InputError, match=r"cannot be read|is no interval"):
        as_interval(when)

"""STAC APIs that page wrongly, stumble, answer no STAC, or lead elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lstzoom.errors import InputError
from lstzoom.sources import service
from lstzoom.sources.search import Found, search
from tests.sources.archive import Archive
from tests.sources.servers import Api, scripted_api

TOML = """
[source]
name = "scripted"
title = "x"
kind = "stac"
licence = "x"
[endpoints.one.lst]
url = "{url}"
collections = ["landsat-c2-l2"]
headers_env = {{ X-Api-Key = "SCRIPTED_KEY" }}
access = {{ retries = {retries} }}
[lst]
assets = ["lwir11"]
resolution_m = 30
native_resolution_m = 100
[vnir]
resolution_m = 10
[vnir.bands.red]
assets = ["red"]
"""


@pytest.fixture
def api() -> Iterator[Api]:
    with scripted_api() as one:
        yield one


def asked(api: Api, archive: Archive, folder: Path, *, retries: int = 2, **options: Any) -> Found:
    (folder / "scripted.toml").write_text(TOML.format(url=api.url, retries=retries))
    return search(folder / "scripted.toml", archive.area(), "2023-07", **options)


def scenes(archive: Archive, first: int, last: int) -> list[dict[str, Any]]:
    return [archive.landsat("https://x.example", f"LC08_{k:03d}") for k in range(first, last)]


@pytest.mark.parametrize("methods", [("GET", "POST"), ("GET",)])
def test_pages_are_followed(api: Api, archive: Archive, tmp_path: Path, methods: tuple[str, ...]) -> None:
    api.methods = methods
    api.pages = {
        "": api.page(scenes(archive, 0, 3), "b", numberMatched=5),
        # Items that come twice, because the archive grew between two pages, are one.
        "b": api.page([*scenes(archive, 2, 3), *scenes(archive, 3, 5)]),
    }
    assert len(asked(api, archive, tmp_path).lst) == 5


@pytest.mark.parametrize("told", [{"numberMatched": 250}, {"context": {"matched": 250}}])
@pytest.mark.fault("a catalogue ends its pages too early", "an error: N items match, pages end after M")
def test_a_page_without_the_link_to_the_next_is_an_error(
    api: Api, archive: Archive, tmp_path: Path, told: dict[str, Any]
) -> None:
    api.pages = {"": api.page(scenes(archive, 0, 100), **told)}
    with pytest.raises(InputError, match="says that 250 items match, and its pages end after 100"):
        asked(api, archive, tmp_path)


def test_an_estimate_of_the_number_is_no_error(api: Api, archive: Archive, tmp_path: Path) -> None:
    api.pages = {
        "": api.page(scenes(archive, 0, 100), "b", numberMatched=130),
        "b": api.page(scenes(archive, 100, 120)),
    }
    assert len(asked(api, archive, tmp_path).lst) == 120


@pytest.mark.fault("a catalogue's pages go in a circle", "an error that says so, after two pages")
def test_pages_in_a_circle_are_an_error(api: Api, archive: Archive, tmp_path: Path) -> None:
    api.pages = {"": api.page(scenes(archive, 0, 3), "b"), "b": api.page(scenes(archive, 3, 6), "b")}
    with pytest.raises(InputError, match="repeats a page of its results"):
        asked(api, archive, tmp_path)
    assert len(api.asked) < 8


def test_an_empty_page_ends_the_search(api: Api, archive: Archive, tmp_path: Path) -> None:
    api.pages = {"": api.page(scenes(archive, 0, 3), "b"), "b": api.page([], "b")}
    assert len(asked(api, archive, tmp_path).lst) == 3


@pytest.mark.parametrize("status", [429, 500, 503, 504])
@pytest.mark.fault("a catalogue answers 429, 500, 503 or 504 for a while", "asked again; the same items")
def test_a_service_that_stumbles_is_asked_again(
    api: Api, archive: Archive, tmp_path: Path, status: int
) -> None:
    api.pages = {
        "": api.page(scenes(archive, 0, 3), "b"),
        "b": [(status, "busy"), (status, "busy"), api.page(scenes(archive, 3, 5))],
    }
    assert len(asked(api, archive, tmp_path).lst) == 5


@pytest.mark.fault("a catalogue answers 503 without end", "an error with address and reason")
def test_a_service_that_keeps_stumbling_is_named_with_the_reason(
    api: Api, archive: Archive, tmp_path: Path
) -> None:
    api.pages = {"": api.page(scenes(archive, 0, 3), "b"), "b": (503, "Slow down, please")}
    with pytest.raises(InputError, match=rf"STAC API {api.url} cannot be searched: Slow down, please"):
        asked(api, archive, tmp_path, retries=1)


@pytest.mark.fault("a catalogue does not answer", "an error after 60 s and the repeats")
def test_a_service_that_does_not_answer_in_time_is_named(
    api: Api, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_TIMEOUT", 0.2)
    api.hang = 0.6
    with pytest.raises(InputError, match=r"cannot be searched: .*timed out"):
        asked(api, archive, tmp_path, retries=0)


@pytest.mark.parametrize(
    "answer",
    [
        (200, "<html><body>Please log in</body></html>"),
        (200, ""),
        (200, "[1, 2]"),
        (200, '{"features": 7}'),
        (200, '{"features": [{"id": 1}], "links": [{"href": "x"}]}'),
        (200, '{"features": ["x"]}'),
    ],
)
@pytest.mark.fault("a catalogue answers what is no STAC", "an error with its address")
def test_what_is_no_stac_is_our_own_error(api: Api, archive: Archive, tmp_path: Path, answer: Any) -> None:  # noqa: ANN401
    api.pages = {"": answer}
    with pytest.raises(InputError, match="no STAC"):
        asked(api, archive, tmp_path)


@pytest.mark.fault("a catalogue lists an item that is none", "listed with the reason; other items are used")
def test_an_item_that_is_none_is_listed(api: Api, archive: Archive, tmp_path: Path) -> None:
    broken = {"type": "Feature", "id": "broken", "collection": "landsat-c2-l2"}
    api.pages = {"": api.page([broken, *scenes(archive, 0, 1)])}
    found = asked(api, archive, tmp_path)
    assert len(found.lst) == 1
    assert [one.item for one in found.unusable if one.side is None] == ["broken"]


@pytest.mark.fault(
    "pages or redirections of a catalogue lead to another host", "credentials are not sent there"
)
def test_credentials_go_to_the_host_of_the_service_alone(
    api: Api, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTED_KEY", "s3cret")
    with scripted_api() as other, scripted_api() as third:
        api.pages = {
            "": api.page(scenes(archive, 0, 1), "b", host=other.url),
            "d": api.page(scenes(archive, 3, 4)),
        }
        other.pages = {"b": other.page(scenes(archive, 1, 2), "c", host=api.url)}
        api.pages["c"] = (307, f"{third.url}/search?token=e")
        third.pages = {"e": third.page(scenes(archive, 2, 3), "d", host=api.url)}
        assert len(asked(api, archive, tmp_path).lst) == 4
        assert all(one["x-api-key"] == "s3cret" for one in api.headers)
        assert other.headers
        assert third.headers
        assert not any("x-api-key" in one for one in (*other.headers, *third.headers))

"""No pair: what time may bring is nothing found; what it does not mend is an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from typer.testing import CliRunner

from lstzoom import cli
from lstzoom.errors import InputError, NothingFoundError
from lstzoom.product import ingest, open_bundle
from lstzoom.product.simulated import BundlePlan, write_bundle
from lstzoom.sources.loading import find_pairs
from lstzoom.sources.search import search
from tests.jobs.region import write_fields
from tests.sources.archive import Archive
from tests.sources.servers import stac_api
from tests.sources.test_search import catalog_at

Fields: TypeAlias = dict[str, Any]
Both: TypeAlias = Callable[[Fields, Fields], list[Fields]]


def renamed(item: Fields, key: str, name: str) -> Fields:
    """Give a file another key, and a name that tells nothing."""
    item["assets"][name] = item["assets"].pop(key) | {"href": f"http://x/{name}.tif"}
    return item


def with_told(item: Fields, **told: Any) -> Fields:
    item["properties"] |= {key.replace("__", ":"): value for key, value in told.items()}
    return item


CLOUD = {"eo__cloud_cover": 99}
LATE = {"datetime": "2023-09-03T10:20:00Z"}
BROKEN = {"proj__transform": [30, 30, 0, 30, -30, 0]}

PATIENCE: dict[str, Both] = {
    "clouds over the LST": lambda lst, vnir: [with_told(lst, **CLOUD), vnir],
    "clouds over reflectance": lambda lst, vnir: [lst, with_told(vnir, **CLOUD)],
    "clouds over both": lambda lst, vnir: [with_told(lst, **CLOUD), with_told(vnir, **CLOUD)],
    "too far apart": lambda lst, vnir: [lst, with_told(vnir, **LATE)],
    "too far apart, and another is broken": lambda lst, vnir: [
        lst, with_told(vnir, **LATE), with_told(json.loads(json.dumps(lst)), **BROKEN) | {"id": "broken"},
    ],
}  # fmt: skip

MISTAKES: dict[str, tuple[Both, str]] = {
    "no thermal asset": (lambda lst, vnir: [renamed(lst, "lwir11", "heat"), vnir], "no LST that can be used"),
    "no asset of a band": (
        lambda lst, vnir: [lst, renamed(vnir, "red", "rouge")], "no reflectance that can be used",
    ),
    "neither": (
        lambda lst, vnir: [renamed(lst, "lwir11", "heat"), renamed(vnir, "red", "rouge")],
        "no LST and no reflectance that can be used",
    ),
    "no reflectance, under clouds": (
        lambda lst, vnir: [with_told(lst, **CLOUD), renamed(vnir, "red", "rouge")],
        "no reflectance that can be used",
    ),
    "broken metadata": (lambda lst, vnir: [with_told(lst, **BROKEN), vnir], "no LST that can be used"),
    "no item": (lambda _, vnir: [{"type": "Feature", "id": "odd"}, vnir], "no LST that can be used"),
    "broken, and clouds over another": (
        lambda lst, vnir: [
            with_told(lst, **BROKEN), vnir,
            with_told(json.loads(json.dumps(lst)), **CLOUD) | {"id": "cloudy"},
        ],
        "no LST that can be used",
    ),
}  # fmt: skip


@pytest.mark.parametrize("given", PATIENCE.values(), ids=PATIENCE)
def test_what_time_may_bring_is_nothing_found(archive: Archive, given: Both) -> None:
    items = given(archive.landsat("http://x"), archive.sentinel2("http://x"))
    with pytest.raises(NothingFoundError, match="has no pair") as caught:
        find_pairs("landsat-sentinel2", items=items)
    assert "Waiting does not help" not in str(caught.value)


@pytest.mark.parametrize(("given", "message"), MISTAKES.values(), ids=MISTAKES)
@pytest.mark.fault("no item of a source can be used, and not for clouds", "an error, also of a schedule")
def test_what_time_does_not_mend_is_an_error(archive: Archive, given: Both, message: str) -> None:
    items = given(archive.landsat("http://x"), archive.sentinel2("http://x"))
    with pytest.raises(InputError, match=message) as caught:
        find_pairs("landsat-sentinel2", items=items)
    assert not isinstance(caught.value, NothingFoundError)
    assert "Waiting does not help" in str(caught.value)


def test_nights_pass_and_reflectance_that_was_not_ordered_does_not(tmp_path: Path) -> None:
    night, day = (
        ingest(open_bundle(write_bundle(tmp_path / str(number), plan, shape=(120, 150))))
        for number, plan in enumerate((BundlePlan(night=True), BundlePlan(vnir=False)))
    )
    with pytest.raises(NothingFoundError, match="no asset for the bands"):
        find_pairs("constellr", items=[night])
    with pytest.raises(InputError, match="no reflectance that can be used") as caught:
        find_pairs("constellr", items=[day])
    assert not isinstance(caught.value, NothingFoundError)


def test_a_collection_of_reflectance_that_is_not_there_is_named(archive: Archive, tmp_path: Path) -> None:
    items = [archive.landsat("http://x"), archive.sentinel2("http://x")]
    with stac_api(items, tmp_path) as url:
        path = catalog_at(tmp_path, url)
        path.write_text(path.read_text().replace('"sentinel-2-l2a"', '"sentinel-2-l2b"'))
        with pytest.raises(InputError, match=r"no collection 'sentinel-2-l2b'; did you mean") as caught:
            search(path, archive.area(), "2023-07")
    assert not isinstance(caught.value, NothingFoundError)


def test_a_schedule_ends_with_3_where_waiting_does_not_help(archive: Archive, tmp_path: Path) -> None:
    items = [renamed(archive.landsat("http://x"), "lwir11", "heat"), archive.sentinel2("http://x")]
    told = tmp_path / "items.json"
    told.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    job = write_fields(
        tmp_path, catalog={"name": "landsat-sentinel2", "items": str(told), "folder": None},
        area={"bbox": list(archive.area())},
        datetime="2023-07-01/..", out=str(tmp_path / "out"),
    )  # fmt: skip
    summary = tmp_path / "summary.json"
    ran = CliRunner().invoke(cli.app, ["run", str(job), "--since", "last", "--on-finish", str(summary)])
    assert (ran.exit_code, "no thermal asset" in ran.stderr) == (3, True), ran.output
    kept = json.loads(summary.read_text())
    assert (kept["state"], kept["exit_code"]) == ("refused", 3)
    assert "heat" in kept["why"]

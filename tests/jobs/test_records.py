"""What somebody else may have written into a store: told by its name, with what to do."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lstzoom.errors import StoreBusyError, StoreError
from lstzoom.jobs import items, records
from lstzoom.jobs.frozen import read_frozen
from lstzoom.jobs.lease import described, leased
from lstzoom.jobs.ledger import Ledger
from lstzoom.jobs.places import read_places
from lstzoom.jobs.records import read_summary
from lstzoom.jobs.store import as_json, store_at
from tests.faults import fuzz

FOREIGN = [
    b"[]",
    b"null",
    b"1",
    b"{}",
    b'{"scene": "a"}',
    b'{"tiles": NaN}',
    b"[" * 100_000,
    b"\xff\xfe",
    b"",
]


@pytest.mark.parametrize("data", FOREIGN)
def test_documents_of_others_are_told_by_their_name(tmp_path: Path, data: bytes) -> None:
    store = store_at(str(tmp_path))
    ledger = Ledger(store)
    readers: dict[str, Callable[[], object]] = {
        "failed/a/r000c000.json": ledger.failures,
        "scenes/a.json": ledger.complete,
        "models/a.json": lambda: ledger.model("a"),
        "ledger/a/r000c000.json": lambda: ledger.entries("a", ["r000c000"]),
        "summary.json": lambda: read_summary(store),
        "places.json": lambda: read_places(store),
        "job.json": lambda: read_frozen(store),
    }
    for key, read in readers.items():
        store.write(key, data)
        with pytest.raises(StoreError, match=re.escape(key)) as caught:
            read()
        assert re.search("remove it|--into", str(caught.value))
        store.remove(key)


def test_a_record_leads_to_no_other_folder(tmp_path: Path) -> None:
    """Names of tiles and cubes become parts of paths."""
    record = json.loads(fuzz.seed("record"))
    for field, value in (("cube", "../../other"), ("cube", ".."), ("tile_names", ["../../../etc/passwd"])):
        store_at(str(tmp_path)).write("scenes/a.json", as_json(record | {field: value}))
        with pytest.raises(StoreError, match=field):
            Ledger(store_at(str(tmp_path))).complete()


@pytest.mark.parametrize(("kind", "key"), [("entry", "ledger/a/r000c000.json"), ("record", "scenes/a.json")])
def test_null_is_no_figure(tmp_path: Path, kind: str, key: str) -> None:
    """Readers ask whether a field is there, and would take null for a figure."""
    store = store_at(str(tmp_path))
    ledger = Ledger(store)
    document = json.loads(fuzz.seed(kind))
    for field in document:
        if field not in records.Record.model_fields | records.Entry.model_fields:
            continue
        store.write(key, as_json(document | {field: None}))
        with pytest.raises(StoreError, match=f"{key}.*{field}"):
            (ledger.complete if kind == "record" else lambda: ledger.entries("a", ["r000c000"]))()


@pytest.mark.parametrize("data", FOREIGN)
def test_a_damaged_lease_counts_by_its_age_and_names_nobody(tmp_path: Path, data: bytes) -> None:
    store = store_at(str(tmp_path))
    store.write("lease.json", data)
    with (
        pytest.raises(StoreBusyError, match=r"somebody unknown, as lease\.json is damaged"),
        leased(store, 5.0),
    ):
        pass
    told = described(store)
    assert told is not None
    assert (told["process"], told["host"], told["expired"]) == (None, None, False)
    assert "somebody unknown" in told["who"]
    old = time.time() - 121
    os.utime(tmp_path / "lease.json", (old, old))
    with leased(store, 5.0):
        pass
    assert store.keys() == []


@pytest.mark.parametrize(
    ("href", "told"),
    [
        ("https://a.example/collections/c/items/S2A_32TQM", "application/geo+json"),
        ("https://a.example/x/scene.json", "application/geo+json"),
        ("s3://bucket/b/LST.TIF", "image/tiff; application=geotiff"),
        ("https://a.example/x/scene.hdf", None),
        ("/data/scene", None),
    ],
)
def test_the_kind_of_a_source_is_told_where_it_is_known(href: str, told: str | None) -> None:
    assert items._media_type(href).get("type") == told

"""Readers on bytes that are cut, flipped, mixed and made up: only errors of ours come out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults import fuzz

# Rasterio cannot log what GDAL says of a spoiled file where that is no text; nobody is harmed.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. 'rasterio._env.log_error':pytest.PytestUnraisableExceptionWarning"
)

KEPT = "a result, or an error of lstzoom; no other"
EXAMPLES = {
    "raster": 150, "job": 120, "catalog": 60, "items": 40, "area": 200, "bundle": 40, "model": 60,
    **dict.fromkeys(fuzz.STORED, 30),
}  # fmt: skip
JUNK: list[Any] = [
    None, "", [], {}, 0, -1, 1e308, float("nan"), "x", [None], [1], ["a", "b"], {"a": 1}, True, "9999-99-99",
    [[[0, 0], [1, 1], [0, 1]]], "EPSG:99", "http://127.0.0.1:9/a.tif", "2023-13-45", 10**400,
]  # fmt: skip

changes = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=12)
cuts = st.tuples(st.floats(0, 1), st.floats(0, 1))


def spoiled(data: bytes, where: list[tuple[float, int]], cut: tuple[float, float]) -> bytes:
    """Bytes with some of them changed, and a part taken out of the middle or off the end."""
    out = bytearray(data)
    for place, value in where:
        out[int(place * len(out))] = value
    first, last = sorted(int(one * len(out)) for one in cut)
    return bytes(out[:first] + out[last:]) if last - first < len(out) // 2 else bytes(out)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.fault(f"bytes of a file are spoiled: {name}", KEPT))
        for name in EXAMPLES
    ],
)
def test_spoiled_files(name: str) -> None:
    @settings(
        max_examples=EXAMPLES[name], deadline=None, derandomize=True, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip
    @given(changes, cuts)
    def check(where: list[tuple[float, int]], cut: tuple[float, float]) -> None:
        fuzz.run(name, spoiled(fuzz.seed(name), where, cut))

    assert fuzz.run(name, fuzz.seed(name))
    check()


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:  # noqa: ANN401
    found = [path] if path else []
    pairs = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    for key, value in pairs:
        found += places(value, (*path, key))
    return found


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> None:  # noqa: ANN401
    here = document
    for key in path[:-1]:
        if not isinstance(here, dict | list) or (isinstance(here, dict) and key not in here):
            return
        if isinstance(here, list) and (not isinstance(key, int) or key >= len(here)):
            return
        here = here[key]
    if isinstance(here, dict) and path[-1] in here:
        if value is ...:
            del here[path[-1]]
        else:
            here[path[-1]] = value
    elif isinstance(here, list) and isinstance(path[-1], int) and path[-1] < len(here):
        here[path[-1]] = None if value is ... else value


@pytest.mark.parametrize(
    ("name", "examples"),
    [
        pytest.param(name, count, marks=pytest.mark.fault(f"fields hold anything, or nothing: {name}", KEPT))
        for name, count in (
            ("items", 150),
            ("area", 150),
            ("job", 120),
            *((kind, 40) for kind in fuzz.STORED),
        )
    ],
)
def test_fields_of_any_kind(name: str, examples: int) -> None:
    import yaml

    read = yaml.safe_load if name == "job" else json.loads
    document = read(fuzz.seed(name))
    every = places(document)

    @settings(
        max_examples=examples, deadline=None, derandomize=True, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip
    @given(st.lists(st.tuples(st.sampled_from(every), st.sampled_from([*JUNK, ...])), min_size=1, max_size=3))
    def check(edits: list[tuple[tuple[Any, ...], Any]]) -> None:
        changed = json.loads(json.dumps(document))
        for path, value in edits:
            replaced(changed, path, value)
        fuzz.run(name, json.dumps(changed).encode())

    check()


@pytest.mark.fault("any bytes at all: every reader", KEPT)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(sorted(fuzz.READERS)), st.binary(max_size=300))
def test_any_bytes(name: str, data: bytes) -> None:
    fuzz.run(name, data)

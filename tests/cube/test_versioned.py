"""Cubes in Icechunk, which there is from Python 3.12 on."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from lstzoom import cube
from lstzoom.cube import versioned
from lstzoom.errors import InputError, MissingExtraError
from tests.cube.filled import GRID, SPEC, TIMES, layers, values, windows
from tests.s3_server import access

OLD = sys.version_info < (3, 12)
needs_icechunk = pytest.mark.skipif(OLD, reason="the extra icechunk needs Python 3.12 or newer")


@pytest.mark.skipif(not OLD, reason="this Python is new enough for icechunk")
def test_an_old_python_is_told_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"use Python 3\.12 or newer"):
        versioned.open_repository(tmp_path)


def put(store: Any, job: tuple[int, Any]) -> None:  # noqa: ANN401
    place, window = job
    blocks = {name: one[window] for name, one in layers(place).items()}
    assert cube.write_region(store, place, window, blocks) > 0


def made(url: str | Path, options: dict[str, Any] | None = None) -> tuple[Any, list[int]]:
    pytest.importorskip("icechunk")
    repository = versioned.open_repository(url, options)
    with repository.transaction("main", message="empty cube") as store:
        places = cube.create(store, SPEC, TIMES)
    return repository, places


def batches(places: list[int]) -> list[list[tuple[int, Any]]]:
    return [[(place, window) for window in windows()] for place in places]


def opened(repository: Any) -> xr.Dataset:  # noqa: ANN401
    return cube.open_cube(repository.readonly_session("main").store)


@needs_icechunk
def test_one_commit_a_batch_and_nothing_before_it(tmp_path: Path) -> None:
    repository, places = made(tmp_path / "repo")
    seen: list[bool] = []

    def put_and_look(store: Any, job: tuple[int, Any]) -> None:  # noqa: ANN401
        put(store, job)
        seen.append(bool(np.isfinite(opened(repository).lst.values[job[0]]).any()))

    for number, batch in enumerate(batches(places)):
        names = [f"{place}-{window[0].start}-{window[1].start}" for place, window in batch]
        versioned.commit_batch(repository, put_and_look, batch, message=f"batch {number}", names=names)
    assert seen == [False] * 18
    history = [one.message for one in repository.ancestry(branch="main")]
    assert history[:3] == ["batch 1", "batch 0", "empty cube"]
    assert len(versioned.committed(repository)) == 18
    assert "0-32-64" in versioned.committed(repository)
    with opened(repository) as dataset:
        assert dataset.odc.geobox == GRID
        for place in places:
            np.testing.assert_allclose(dataset.lst.values[place], values(place), atol=0.0051)


@needs_icechunk
def test_a_batch_that_fails_leaves_no_trace(tmp_path: Path) -> None:
    repository, places = made(tmp_path / "repo")

    def fail(store: Any, job: tuple[int, Any]) -> None:  # noqa: ANN401
        put(store, job)
        if job[1][0].start:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        versioned.commit_batch(repository, fail, batches(places)[0], message="never")
    assert np.isnan(opened(repository).lst.values).all()
    assert versioned.committed(repository) == set()
    with pytest.raises(InputError, match="nothing to commit"):
        versioned.commit_batch(repository, put, [], message="nothing")


@needs_icechunk
@pytest.mark.slow
def test_workers_in_other_processes_write_into_one_commit(tmp_path: Path) -> None:
    repository, places = made(tmp_path / "repo")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for batch in batches(places):
            versioned.commit_batch(repository, put, batch, message="batch", apply=pool.map)
    with opened(repository) as dataset:
        for place in places:
            np.testing.assert_allclose(dataset.lst.values[place], values(place), atol=0.0051)


@needs_icechunk
def test_dates_levels_and_statistics_are_commits_too(tmp_path: Path) -> None:
    repository, places = made(tmp_path / "repo")
    for batch in batches(places):
        versioned.commit_batch(repository, put, batch, message="batch")
    plain = tmp_path / "plain.zarr"
    cube.create(plain, SPEC, TIMES)
    for batch in batches(places):
        for job in batch:
            put(plain, job)
    with repository.transaction("main", message="levels") as store, ThreadPoolExecutor(2) as pool:
        assert cube.append_times(store, ["2026-08-01T10:00Z"]) == [2]
        cube.build_pyramid(store, levels=2, apply=pool.map)
        cube.finalise(store)
    cube.append_times(plain, ["2026-08-01T10:00Z"])
    cube.build_pyramid(plain, levels=2)
    cube.finalise(plain)
    store = repository.readonly_session("main").store
    for level in (0, 1, 2):
        one, other = cube.open_cube(store, level=level).load(), cube.open_cube(plain, level=level).load()
        xr.testing.assert_identical(one, other)


@needs_icechunk
@pytest.mark.cluster
def test_a_repository_in_an_object_store(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    for name, value in access(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem().mkdir("versions")
    repository, places = made("s3://versions/place")
    versioned.commit_batch(repository, put, batches(places)[0], message="batch")
    options = {"key": "testing", "secret": "testing", "endpoint_url": f"http://{s3_endpoint}"}
    with opened(versioned.open_repository("s3://versions/place", options)) as dataset:
        np.testing.assert_allclose(dataset.lst.values[places[0]], values(places[0]), atol=0.0051)


@needs_icechunk
def test_addresses_that_cannot_be_opened_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("icechunk")
    with pytest.raises(InputError, match="neither a folder nor s3"):
        versioned.open_repository("gs://bucket/a")
    with pytest.raises(InputError, match=r"\['profile'\] are not known"):
        versioned.open_repository("s3://bucket/a", {"profile": "me"})
    with pytest.raises(InputError, match="is a folder"):
        versioned.open_repository(tmp_path, {"key": "a"})

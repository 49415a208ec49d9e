from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr

from lstzoom import cube
from lstzoom.cube import template
from lstzoom.errors import InputError
from tests.cube.filled import GRID, SPEC, TIMES, append_days, day_of, values, windows, write
from tests.s3_server import access

pytest.importorskip("s3fs")
pytest.importorskip("moto")
pytestmark = pytest.mark.cluster


@pytest.fixture(autouse=True)
def _access(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in access(s3_endpoint).items():
        monkeypatch.setenv(name, value)


def test_cube_in_an_object_store_is_written_by_processes_and_opened_by_its_address_alone() -> None:
    import s3fs

    s3fs.S3FileSystem().mkdir("cubes")
    url = "s3://cubes/place.zarr"
    places = cube.create(url, SPEC, TIMES)
    jobs = [(url, place, window) for place in places for window in windows()]
    # A fork would inherit the file system's thread, and hang.
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        stored = list(pool.map(write, jobs))
    assert all(size > 0 for size in stored)
    assert cube.append_times(url, TIMES) == places
    later = cube.append_times(url, ["2026-08-01T10:00:00Z"])
    assert later == [2]
    cube.build_pyramid(url, levels=2)
    cube.finalise(url)
    with xr.open_zarr(url) as dataset:
        assert dataset.odc.geobox == GRID
        assert dataset.rio.crs.to_epsg() == 32631
        assert dataset.sizes["time"] == 3
        for place in places:
            np.testing.assert_allclose(dataset.lst.values[place], values(place), atol=0.0051)
        assert np.isnan(dataset.lst.values[2]).all()
    assert cube.open_cube(url, level=2).lst.shape == (3, 18, 23)


def test_bucket_and_credentials_may_be_given_as_options(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in access(s3_endpoint):
        monkeypatch.delenv(name)
    options = {"key": "testing", "secret": "testing", "endpoint_url": f"http://{s3_endpoint}"}
    import s3fs

    s3fs.S3FileSystem(**options).mkdir("given")
    cube.create("s3://given/a.zarr", SPEC, TIMES[:1], storage_options=options)
    block = {"lst": np.full((32, 32), 300.0)}
    cube.write_region("s3://given/a.zarr", 0, (slice(0, 32), slice(0, 32)), block, options)
    opened = xr.open_zarr("s3://given/a.zarr", storage_options=options)
    assert float(opened.lst.max()) == pytest.approx(300)


def test_what_is_not_there_is_said_with_its_address() -> None:
    with pytest.raises(InputError, match=r"s3://cubes/absent\.zarr"):
        cube.append_times("s3://cubes/absent.zarr", TIMES)
    with pytest.raises(InputError, match=r"s3://cubes/absent\.zarr"):
        cube.open_cube("s3://cubes/absent.zarr")
    with pytest.raises(InputError, match="no-such-bucket"):
        cube.create("s3://no-such-bucket/a.zarr", SPEC, TIMES)


def test_processes_that_append_to_a_bucket_at_once_lose_no_date() -> None:
    """Both read the same end of the cube, were they not to wait for each other."""
    import s3fs

    bucket = s3fs.S3FileSystem(use_listings_cache=False)
    bucket.mkdir("together")
    url = "s3://together/in/a.zarr"
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        told = list(pool.map(append_days, [url] * 2, (0, 1)))
    assert sorted(place for places in told for place in places) == list(range(12))
    with xr.open_zarr(url) as dataset:
        assert dataset.lst.shape == (12, *GRID.shape)
        for days, places in zip((range(0, 12, 2), range(1, 12, 2)), told, strict=True):
            assert (dataset.time.values[places] == [np.datetime64(day_of(day)) for day in days]).all()
    assert bucket.ls("together/in") == ["together/in/a.zarr"]


def test_a_lock_in_a_bucket_that_a_dead_process_left_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    bucket = s3fs.S3FileSystem(use_listings_cache=False)
    bucket.mkdir("left")
    bucket.pipe_file("left/a.zarr.lock", b"gone")
    monkeypatch.setattr("lstzoom.cube.store._SILENT", 0.5)
    monkeypatch.setattr("lstzoom.cube.store._SETTLE", 0.1)
    assert cube.create("s3://left/a.zarr", SPEC, TIMES) == [1, 0]
    assert not bucket.exists("left/a.zarr.lock")


def test_who_lost_the_lock_of_a_bucket_is_told_and_leaves_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    bucket = s3fs.S3FileSystem(use_listings_cache=False)
    bucket.mkdir("lost")
    url = "s3://lost/a.zarr"
    cube.create(url, SPEC, TIMES)
    appended = template._appended

    def slow(*given: object) -> list[int]:
        bucket.pipe_file("lost/a.zarr.lock", b"another")
        return appended(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(template, "_appended", slow)
    with pytest.raises(InputError, match="another process took over; do the same again"):
        cube.append_times(url, ["2027-01-01T10:00Z"])
    assert bucket.cat_file("lost/a.zarr.lock") == b"another"

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr

from lstzoom import cube
from lstzoom.errors import InputError
from tests.cube.filled import GRID, SPEC, TIMES, values, windows, write
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

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr
import zarr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from zarr.storage import LocalStore, LoggingStore

from lstzoom import cube
from lstzoom.encoding import FLOAT32
from lstzoom.errors import EncodingError, InputError
from lstzoom.timeseries import difference
from tests.cube.filled import (
    GRID,
    SHARD,
    SPEC,
    TIMES,
    append_days,
    day_of,
    layers,
    values,
    windows,
    write,
)


def fill(url: Path, spec: cube.CubeSpec = SPEC, times: Any = TIMES) -> list[int]:  # noqa: ANN401
    places = cube.create(url, spec, times)
    for place in places:
        for window in windows(spec.geobox, spec.shard):
            block = {name: one[window] for name, one in layers(place, spec.geobox).items()}
            cube.write_region(url, place, window, block)
    return places


def attrs_at(url: Path, group: str = "") -> dict[str, Any]:
    return dict(zarr.open(url, path=group, mode="r").attrs)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# What is made


def test_the_address_alone_opens_kelvin_flags_and_dates(tmp_path: Path) -> None:
    places = fill(tmp_path / "a.zarr")
    assert places == [1, 0]
    with xr.open_zarr(tmp_path / "a.zarr") as dataset:
        assert dataset.lst.dims == ("time", "y", "x")
        assert dataset.time.values.tolist() == [
            int(datetime.fromisoformat(one).timestamp() * 1e6) * 1000 for one in reversed(TIMES)
        ]
        for place in places:
            kept = layers(place)
            np.testing.assert_allclose(dataset.lst.values[place], kept["lst"], atol=0.0051)
            np.testing.assert_allclose(
                dataset.lst_uncertainty.values[place], kept["lst_uncertainty"], atol=0.0051
            )
            np.testing.assert_array_equal(dataset.qa.values[place], kept["qa"])
        assert dataset.lst.attrs["units"] == dataset.lst_uncertainty.attrs["units"] == "K"
        assert dataset.lst.attrs["standard_name"] == "surface_temperature"
        assert dataset.qa.dtype == np.uint8


@pytest.mark.parametrize("decode_coords", [True, "all"])
def test_crs_and_grid_read_back(tmp_path: Path, decode_coords: Any) -> None:  # noqa: ANN401
    fill(tmp_path / "a.zarr")
    cube.build_pyramid(tmp_path / "a.zarr", levels=1)
    for group, grid in ((None, GRID), ("1", GeoBox((35, 45), GRID.affine @ Affine.scale(2), GRID.crs))):
        with xr.open_zarr(tmp_path / "a.zarr", group=group, decode_coords=decode_coords) as dataset:
            assert dataset.odc.geobox == grid
            assert dataset.rio.crs.to_epsg() == 32631
            for name in cube.VARIABLES:
                assert dataset[name].odc.geobox == grid
                assert dataset[name].rio.crs.to_epsg() == 32631
                assert dataset[name].rio.transform() == grid.affine


def test_layout_is_version_3_one_shard_a_tile_and_date_and_json_has_no_nan(tmp_path: Path) -> None:
    url = tmp_path / "a.zarr"
    spec = cube.CubeSpec(GRID, SHARD, 16, encoding=FLOAT32)
    fill(url, spec)
    cube.build_pyramid(url, levels=2)
    cube.finalise(url)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    files = list(url.rglob("zarr.json"))
    for file in files:
        json.loads(file.read_text(), parse_constant=refuse)
    figures = {url / "statistics" / "zarr.json", url / "statistics" / "by_date" / "zarr.json"}
    assert figures <= set(files)
    assert len(files) == 1 + 7 + 2 * 8 + len(figures)
    meta = json.loads((url / "lst" / "zarr.json").read_text())
    assert meta["zarr_format"] == 3
    assert meta["dimension_names"] == ["time", "y", "x"]
    assert meta["chunk_grid"]["configuration"]["chunk_shape"] == [1, 32, 32]
    assert meta["codecs"][0]["name"] == "sharding_indexed"
    assert meta["codecs"][0]["configuration"]["chunk_shape"] == [1, 16, 16]
    assert sorted(p.name for p in (url / "lst" / "c" / "0" / "2").iterdir()) == ["0", "1", "2"]


def test_geozarr_conventions_say_what_cf_says(tmp_path: Path) -> None:
    url = tmp_path / "a.zarr"
    fill(url)
    attrs = attrs_at(url)
    assert attrs["proj:code"] == "EPSG:32631"
    assert attrs["spatial:dimensions"] == ["y", "x"]
    assert attrs["spatial:transform"] == [10, 0, 500_000, 0, -10, 4_000_000]
    assert attrs["spatial:shape"] == [70, 90]
    assert attrs["spatial:bbox"] == [500_000, 3_999_300, 500_900, 4_000_000]
    assert [one["name"] for one in attrs["zarr_conventions"]] == ["proj", "spatial"]
    assert cube.build_pyramid(url, levels=5) == 5
    attrs = attrs_at(url)
    assert [one["name"] for one in attrs["zarr_conventions"]] == ["proj", "spatial", "multiscales"]
    # The convention wants the place of each level with the level, and nowhere else.
    assert not {"spatial:transform", "spatial:shape"} & set(attrs)
    layout = attrs["multiscales"]["layout"]
    assert [one["asset"] for one in layout] == [".", "1", "2", "3", "4", "5"]
    assert [one.get("derived_from") for one in layout] == [None, ".", ".", ".", ".", "4"]
    assert [one["transform"]["scale"][0] for one in layout] == [1, 2, 4, 8, 16, 2]
    for level, one in enumerate(layout):
        with cube.open_cube(url, level=level) as dataset:
            assert one["spatial:shape"] == list(dataset.odc.geobox.shape)
            assert one["spatial:transform"] == list(dataset.odc.geobox.affine)[:6]
    assert attrs_at(url, "3")["spatial:shape"] == [9, 12]


def test_a_crs_without_a_code_is_told_as_wkt(tmp_path: Path) -> None:
    grid = GeoBox((20, 30), GRID.affine, "+proj=laea +lat_0=52 +lon_0=10.5 +ellps=GRS80")
    cube.create(tmp_path / "a.zarr", cube.CubeSpec(grid, 16), TIMES)
    attrs = attrs_at(tmp_path / "a.zarr")
    assert "proj:code" not in attrs
    assert attrs["proj:wkt2"].startswith("PROJCRS[")
    assert cube.open_cube(tmp_path / "a.zarr").odc.geobox == grid
    assert cube.create(tmp_path / "a.zarr", cube.CubeSpec(grid, 16), TIMES, exist_ok=True) == [1, 0]


@pytest.mark.parametrize("kind", ["path", "file", "memory"])
def test_folders_and_addresses_are_the_same_to_all_functions(tmp_path: Path, kind: str) -> None:
    url = {
        "path": str(tmp_path / "a.zarr"),
        "file": f"file://{tmp_path}/a.zarr",
        "memory": "memory://a.zarr",
    }[kind]
    places = cube.create(url, SPEC, TIMES)
    for window in windows():
        write((url, places[0], window))
    cube.build_pyramid(url, levels=1)
    cube.finalise(url)
    assert cube.create(url, SPEC, TIMES, exist_ok=True) == places
    found = cube.open_cube(url)
    np.testing.assert_allclose(found.lst.values[places[0]], values(places[0]), atol=0.0051)
    assert cube.open_cube(url, level=1).lst.attrs["units"] == "K"
    if kind != "memory":
        with pytest.raises(InputError, match="no storage options"):
            cube.open_cube(url, {"anon": True})


def test_addresses_of_gdal_and_of_nothing_known_are_refused() -> None:
    with pytest.raises(InputError, match="address of GDAL"):
        cube.create("/vsis3/bucket/a.zarr", SPEC, TIMES)
    with pytest.raises(InputError, match="nowhere://"):
        cube.create("nowhere://a.zarr", SPEC, TIMES)


# Dates


def test_appending_is_idempotent_and_keeps_places(tmp_path: Path) -> None:
    url = tmp_path / "a.zarr"
    assert cube.create(url, SPEC, []) == []
    assert cube.append_times(url, TIMES) == [1, 0]
    before = contents(url)
    assert cube.append_times(url, TIMES[:1]) == [1]
    assert contents(url) == before
    earlier = datetime(2025, 1, 1, 12, tzinfo=UTC)
    assert cube.append_times(url, [earlier, TIMES[0], np.datetime64("2025-01-01T12:00")]) == [2, 1, 2]
    with xr.open_zarr(url) as dataset:
        assert dataset.sizes["time"] == 3
    with cube.open_cube(url) as dataset:
        assert (np.diff(dataset.time.values) > np.timedelta64(0, "ns")).all()


def test_what_was_written_stays_when_dates_are_added(tmp_path: Path) -> None:
    url = tmp_path / "a.zarr"
    places = fill(url)
    cube.build_pyramid(url, levels=1)
    assert cube.append_times(url, ["2026-08-01T10:00Z"]) == [2]
    with cube.open_cube(url) as dataset, cube.open_cube(url, level=1) as coarse:
        assert dataset.sizes["time"] == coarse.sizes["time"] == 3
        for place in places:
            np.testing.assert_allclose(dataset.lst.values[place], values(place), atol=0.0051)
        assert np.isnan(dataset.lst.values[2]).all()
        assert (dataset.qa.values[2] == 0).all()


def test_readers_see_new_dates_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies while it appends leaves a cube that opens, and the next call finishes."""
    url = tmp_path / "a.zarr"
    fill(url)
    from lstzoom.cube import template

    class DiedError(Exception):
        pass

    def die(*_: object) -> None:
        raise DiedError

    monkeypatch.setattr(template, "consolidate", die)
    with pytest.raises(DiedError):
        cube.append_times(url, ["2026-08-01T10:00Z"])
    monkeypatch.undo()
    with xr.open_zarr(url) as dataset:
        assert dataset.sizes["time"] == 2
    assert cube.append_times(url, ["2026-08-02T10:00Z", "2026-08-01T10:00Z"]) == [3, 2]
    with xr.open_zarr(url) as dataset:
        assert dataset.sizes["time"] == 4


@pytest.mark.parametrize("bad", ["yesterday", None, np.datetime64("NaT", "ns"), 20260705])
def test_what_is_no_date_is_refused(tmp_path: Path, bad: Any) -> None:  # noqa: ANN401
    with pytest.raises(InputError, match="date"):
        cube.create(tmp_path / "a.zarr", SPEC, [bad])
    assert list(tmp_path.iterdir()) == []


# Making one again


def test_a_cube_is_continued_only_if_it_is_the_same(tmp_path: Path) -> None:
    url = tmp_path / "a.zarr"
    places = fill(url)
    with pytest.raises(InputError, match="holds something already"):
        cube.create(url, SPEC, TIMES)
    assert cube.create(url, SPEC, TIMES, exist_ok=True) == places
    other = GeoBox(GRID.shape, Affine.translation(10, 0) @ GRID.affine, GRID.crs)
    for spec, what in (
        (cube.CubeSpec(other, SHARD, 16), "spatial:transform"),
        (cube.CubeSpec(GRID, SHARD, 8), "lst"),
        (cube.CubeSpec(GRID, SHARD, 16, encoding=FLOAT32), "lst"),
        (cube.CubeSpec(GRID, SHARD, 16, variables=("lst", "residual")), "residual"),
    ):
        with pytest.raises(InputError, match=f"is another cube, it differs in .*{what}"):
            cube.create(url, spec, TIMES, exist_ok=True)
    cube.build_pyramid(url, levels=1)
    assert cube.create(url, SPEC, TIMES, exist_ok=True) == places
    with xr.open_zarr(url) as dataset:
        np.testing.assert_allclose(dataset.lst.values[0], values(0), atol=0.0051)


def test_a_folder_with_something_else_is_never_written_to(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years")
    for exist_ok in (False, True):
        with pytest.raises(InputError, match=r"holds something already|is another cube|no Zarr store"):
            cube.create(tmp_path, SPEC, TIMES, exist_ok=exist_ok)
    assert [one.name for one in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_cube_that_was_begun_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = tmp_path / "a.zarr"
    from lstzoom.cube import template

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(template, "_write_times", die)
    with pytest.raises(KeyboardInterrupt):
        cube.create(url, SPEC, TIMES)
    monkeypatch.undo()
    assert cube.create(url, SPEC, TIMES, exist_ok=True) == [1, 0]
    assert cube.open_cube(url).lst.shape == (2, 70, 90)


# Writing


@pytest.mark.slow
def test_processes_write_at_once_and_the_bytes_are_those_of_one(tmp_path: Path) -> None:
    alone, together = tmp_path / "alone.zarr", tmp_path / "together.zarr"
    fill(alone)
    places = cube.create(together, SPEC, TIMES)
    jobs = [(str(together), place, window) for place in places for window in windows()]
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        sizes = list(pool.map(write, jobs * 2))
    assert contents(together) == contents(alone)
    objects = [one for one in together.rglob("*") if one.is_file() and "/c/" in str(one)]
    data = [one for one in objects if one.relative_to(together).parts[0] in cube.VARIABLES]
    assert sum(sizes) == 2 * sum(one.stat().st_size for one in data)


def test_dates_may_be_added_while_others_write(tmp_path: Path) -> None:
    url = tmp_path / "a.zarr"
    places = cube.create(url, SPEC, TIMES)
    jobs = [(str(url), place, window) for place in places for window in windows()]
    with ThreadPoolExecutor(2) as pool:
        writing = pool.map(write, jobs * 3)
        for day in range(1, 9):
            cube.append_times(url, [f"2027-01-0{day}T10:00Z"])
        assert len(list(writing)) == len(jobs) * 3
    with cube.open_cube(url) as dataset:
        assert dataset.sizes["time"] == 10
        for place in places:
            np.testing.assert_allclose(dataset.lst.values[place], values(place), atol=0.0051)


def test_processes_that_append_at_once_lose_no_date(tmp_path: Path) -> None:
    """Both read the same end of the cube, were they not to wait for each other."""
    url = tmp_path / "a.zarr"
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        told = list(pool.map(append_days, [str(url)] * 2, (0, 1)))
    assert sorted(place for places in told for place in places) == list(range(12))
    with xr.open_zarr(url) as dataset:
        for days, places in zip((range(0, 12, 2), range(1, 12, 2)), told, strict=True):
            assert (dataset.time.values[places] == [np.datetime64(day_of(day)) for day in days]).all()


def test_threads_that_append_at_once_lose_no_date(tmp_path: Path) -> None:
    for url in (tmp_path / "a.zarr", "memory://threads-append.zarr", "memory://in/threads-append.zarr"):
        cube.create(url, SPEC, [])
        with ThreadPoolExecutor(4) as pool:
            places = list(pool.map(lambda day, url=url: cube.append_times(url, [day_of(day)]), range(12)))
        assert sorted(place for (place,) in places) == list(range(12))


def test_a_store_without_conditional_writes_works_for_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    written = MemoryFileSystem.pipe_file

    def plain(
        self: MemoryFileSystem, path: str, value: bytes, mode: str = "overwrite", **more: object
    ) -> None:
        if mode == "create":
            raise NotImplementedError(mode)
        written(self, path, value, mode, **more)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", plain)
    url = "memory://plain/a.zarr"
    assert cube.create(url, SPEC, TIMES) == [1, 0]
    assert cube.append_times(url, ["2027-01-01T10:00Z"]) == [2]
    assert not MemoryFileSystem().exists("/plain/a.zarr.lock")


def test_dates_of_another_process_in_a_bucket_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where processes cannot wait for each other, one of them hears of it."""
    url = tmp_path / "a.zarr"
    cube.create(url, SPEC, TIMES)
    from lstzoom.cube import template

    extend = template._extend

    def late(group: zarr.Group, moments: Any) -> None:  # noqa: ANN401
        extend(group, moments)
        extend(group, np.array([*moments[:-1], moments[-1] + 1]))

    monkeypatch.setattr(template, "_extend", late)
    with pytest.raises(InputError, match="another process added other dates"):
        cube.append_times(url, ["2027-01-01T10:00Z"])


def test_of_two_writers_of_one_shard_one_is_seen_whole(tmp_path: Path) -> None:
    url = tmp_path / "a.zarr"
    cube.create(url, SPEC, TIMES)
    window = (slice(0, SHARD), slice(0, SHARD))

    def put(kelvin: float) -> None:
        for _ in range(10):
            cube.write_region(url, 0, window, {"lst": np.full((SHARD, SHARD), kelvin, np.float32)})

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(put, (280.0, 300.0)))
    found = cube.open_cube(url).lst.values[0][window]
    assert set(np.unique(found).tolist()) in ({280.0}, {300.0})


def test_a_cube_of_one_pixel(tmp_path: Path) -> None:
    url, grid = tmp_path / "a.zarr", GRID[:1, :1]
    # The same date twice is one.
    assert cube.create(url, cube.CubeSpec(grid, shard=2), ["2026-01-01", "2026-01-01"]) == [0, 0]
    assert cube.append_times(url, ["2025-06-01", "2025-01-01", "2025-06-01"]) == [2, 1, 2]
    for place, kelvin in ((0, 301.0), (2, 295.5)):
        cube.write_region(
            url, place, (slice(0, 1), slice(0, 1)),
            {"lst": np.full((1, 1), kelvin, np.float32), "qa": np.ones((1, 1), np.uint8)},
        )  # fmt: skip
    assert cube.build_pyramid(url) == 0
    cube.finalise(url)
    with xr.open_zarr(url) as dataset:
        assert dataset.odc.geobox == grid
        assert str(dataset.rio.crs) == "EPSG:32631"
        statistics = dataset.lst.attrs["statistics"]
        assert (statistics["count"], statistics["minimum"], statistics["maximum"]) == (2, 295.5, 301.0)
    with cube.open_cube(url) as dataset:
        np.testing.assert_array_equal(dataset.lst.values.ravel(), [np.nan, 295.5, 301.0])


@pytest.mark.parametrize(
    ("grid", "shard", "chunk", "match"),
    [
        (GRID[:0, :], 16, None, "a grid of 0 x"),
        (GRID.rotate(20), 16, None, "is turned"),
        (GeoBox(GRID.shape, GRID.affine, None), 16, None, "has no CRS"),
        (GRID, 0, None, "1 is the least"),
        (GRID, 16, -4, "1 is the least"),
    ],
)
def test_a_cube_that_cannot_be_is_refused(grid: GeoBox, shard: int, chunk: int | None, match: str) -> None:
    with pytest.raises(InputError, match=match):
        cube.CubeSpec(grid, shard, chunk)


KILLED = """
import sys
import numpy as np
from lstzoom import cube
window = (slice(0, 1024), slice(0, 1024))
rng = np.random.default_rng(0)
kelvin = 280 + 20 * rng.random((1024, 1024), np.float32)
while True:
    cube.write_region(sys.argv[1], 0, window, {"lst": kelvin})
    print("wrote", flush=True)
"""


def test_a_writer_that_is_killed_leaves_whole_shards(tmp_path: Path) -> None:
    url = tmp_path / "a.zarr"
    grid = GeoBox((1024, 1024), GRID.affine, GRID.crs)
    cube.create(url, cube.CubeSpec(grid, 1024, 256, variables=("lst",)), TIMES[:1])
    expected = 280 + 20 * np.random.default_rng(0).random((1024, 1024), np.float32)
    for delay in (0.0, 0.013, 0.029, 0.05):
        with subprocess.Popen([sys.executable, "-c", KILLED, url], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"wrote\n"
            # It is writing the same again by now.
            time.sleep(delay)
            os.kill(process.pid, signal.SIGKILL)
        np.testing.assert_allclose(cube.open_cube(url).lst.values[0], expected, atol=0.0051)
    cube.finalise(url)
    assert not list(url.rglob("*.partial"))


def test_writing_refuses_what_does_not_fit(tmp_path: Path) -> None:
    url = tmp_path / "a.zarr"
    cube.create(url, SPEC, TIMES)
    whole, block = (slice(0, 32), slice(0, 32)), np.full((32, 32), 300.0)
    before = contents(url)
    with pytest.raises(InputError, match="2 dates and no number 2"):
        cube.write_region(url, 2, whole, {"lst": block})
    with pytest.raises(InputError, match="no number -1"):
        cube.write_region(url, -1, whole, {"lst": block})
    with pytest.raises(InputError, match="dates, and none was named"):
        cube.write_region(url, None, whole, {"lst": block})
    with pytest.raises(InputError, match="cuts a shard of 32"):
        cube.write_region(url, 0, (slice(0, 32), slice(16, 48)), {"lst": block})
    with pytest.raises(InputError, match="no variable 'albedo'"):
        cube.write_region(url, 0, whole, {"albedo": block})
    with pytest.raises(EncodingError, match="do not fit"):
        cube.write_region(url, 0, whole, {"qa": np.ones((32, 32), np.uint8), "lst": block + 400})
    # One layer that does not fit keeps all others from being written.
    assert contents(url) == before
    with pytest.raises(InputError, match="there is no Zarr store"):
        cube.write_region(tmp_path / "absent.zarr", 0, whole, {"lst": block})
    with pytest.raises(InputError, match="shards of 33"):
        cube.CubeSpec(GRID, 33, 16)
    with pytest.raises(InputError, match="no variable 'albedo'"):
        cube.CubeSpec(GRID, variables=("albedo",))


def test_no_value_at_all_takes_no_object(tmp_path: Path) -> None:
    url = tmp_path / "a.zarr"
    cube.create(url, SPEC, TIMES)
    whole = (slice(0, 32), slice(0, 32))
    assert cube.write_region(url, 0, whole, {"lst": np.full((32, 32), 300.0)}) > 0
    assert cube.write_region(url, 0, whole, {"lst": np.full((32, 32), np.nan)}) == 0
    assert np.isnan(cube.open_cube(url).lst.values[0]).all()


def test_writing_again_and_again_keeps_nothing(tmp_path: Path) -> None:
    url, window = tmp_path / "a.zarr", (slice(0, 32), slice(0, 32))
    cube.create(url, SPEC, TIMES)
    blocks = {name: one[window] for name, one in layers(0).items()}

    def kept(calls: int) -> int:
        for _ in range(calls):
            cube.write_region(url, 0, window, blocks)
        gc.collect()
        return sys.getallocatedblocks()

    before = kept(60)
    # A writer opens the store every time; Python objects that stay would be tens for each.
    assert (kept(120) - before) / 120 < 5


# Levels


def expected_levels(place: int, factor: int) -> dict[str, Any]:
    found = layers(place)
    rows, columns = (-(-side // factor) for side in GRID.shape)
    cells: dict[str, Any] = {}
    for name, block in found.items():
        wide = block.astype(np.float64)
        pad = [(0, -side % factor) for side in GRID.shape]
        padded = np.pad(wide, pad, constant_values=np.nan)
        cells[name] = (
            padded.reshape(rows, factor, columns, factor).transpose(0, 2, 1, 3).reshape(rows, columns, -1)
        )
    with np.errstate(invalid="ignore"):
        n = np.isfinite(cells["lst"]).sum(-1)
        lst = (np.nansum(cells["lst"] ** 4, -1) / n) ** 0.25
        sigma = np.nansum(cells["lst_uncertainty"], -1) / np.isfinite(cells["lst_uncertainty"]).sum(-1)
    counts = np.stack([(cells["qa"] == flag).sum(-1) for flag in range(6)], -1)
    return {"lst": lst, "lst_uncertainty": sigma, "qa": counts.argmax(-1)}


def test_levels_are_means_of_radiance_plain_means_and_most_frequent_flags(tmp_path: Path) -> None:
    url = tmp_path / "a.zarr"
    places = fill(url)
    cube.build_pyramid(url, levels=4)
    for level in (1, 2, 3, 4):
        with cube.open_cube(url, level=level) as dataset:
            for place in places:
                wanted = expected_levels(place, 2**level)
                for name, tolerance in (("lst", 0.011), ("lst_uncertainty", 0.011), ("qa", 0)):
                    np.testing.assert_allclose(dataset[name].values[place], wanted[name], atol=tolerance)
            assert dataset.lst.attrs["units"] == "K"
            assert dataset.qa.dtype == np.uint8


def test_levels_above_the_fourth_are_made_of_it(tmp_path: Path) -> None:
    url = tmp_path / "a.zarr"
    fill(url)
    cube.build_pyramid(url, levels=6)
    fourth, sixth = (cube.open_cube(url, level=k).lst.values[0].astype(np.float64) for k in (4, 6))
    cells = np.pad(fourth, ((0, 3), (0, 2)), constant_values=np.nan).reshape(2, 4, 2, 4)
    np.testing.assert_allclose(sixth, np.nanmean(cells**4, axis=(1, 3)) ** 0.25, atol=0.0051)


def test_levels_do_not_depend_on_shards_or_workers(tmp_path: Path) -> None:
    results = []
    for side in (16, 32, 96):
        url = tmp_path / f"{side}.zarr"
        fill(url, cube.CubeSpec(GRID, side, 16))
        with ThreadPoolExecutor(3) as pool:
            cube.build_pyramid(url, levels=4, apply=pool.map if side == 16 else map)
        results.append([cube.open_cube(url, level=k).load() for k in range(1, 5)])
    for others in results[1:]:
        for one, other in zip(results[0], others, strict=True):
            xr.testing.assert_equal(one, other)


@pytest.mark.cluster
def test_workers_of_a_cluster_make_the_same_levels_and_statistics(tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    alone, together = tmp_path / "alone.zarr", tmp_path / "together.zarr"
    for url in (alone, together):
        fill(url)
    cube.build_pyramid(alone, levels=5)
    cube.finalise(alone)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):

        def apply(function: Any, items: Any) -> Any:  # noqa: ANN401
            return client.gather(client.map(function, items, pure=False))

        cube.build_pyramid(together, levels=5, apply=apply)
        cube.finalise(together, apply=apply)
    assert contents(together) == contents(alone)


def test_the_coarsest_level_fits_into_512_pixels_by_default(tmp_path: Path) -> None:
    grid = GeoBox((1030, 40), GRID.affine, GRID.crs)
    cube.create(tmp_path / "a.zarr", cube.CubeSpec(grid, 64, variables=("lst",)), TIMES)
    assert cube.build_pyramid(tmp_path / "a.zarr") == 2
    assert cube.open_cube(tmp_path / "a.zarr", level=2).lst.shape == (2, 258, 10)
    with pytest.raises(InputError, match="level 3; build_pyramid makes it"):
        cube.open_cube(tmp_path / "a.zarr", level=3)


def test_a_pyramid_that_was_interrupted_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole.zarr", tmp_path / "stopped.zarr"
    fill(whole)
    fill(stopped)
    cube.build_pyramid(whole, levels=5)

    def dies(function: Any, units: Any) -> Any:  # noqa: ANN401
        for count, unit in enumerate(units):
            if count == 3:
                raise KeyboardInterrupt
            yield function(unit)

    with pytest.raises(KeyboardInterrupt):
        cube.build_pyramid(stopped, levels=5, apply=dies)
    counts: list[int] = []

    def counted(function: Any, units: Any) -> Any:  # noqa: ANN401
        counts.append(len(units))
        return map(function, units)

    again = tmp_path / "again.zarr"
    fill(again)
    for url in (again, stopped, stopped):
        cube.build_pyramid(url, levels=5, apply=counted)
    # Two passes each; the first three units are done, and then all are.
    assert counts == [6, 6, 3, 6]
    assert contents(stopped) == contents(whole)


def test_a_level_of_what_is_no_longer_there_goes(tmp_path: Path) -> None:
    url, fresh = tmp_path / "a.zarr", tmp_path / "fresh.zarr"
    fill(url)
    cube.build_pyramid(url, levels=6)
    nothing = np.full(GRID.shape, np.nan)
    for place, columns in ((0, slice(0, 90)), (1, slice(0, 64))):
        cube.write_region(url, place, (slice(0, 70), columns), {"lst": nothing[:, columns]})
    cube.build_pyramid(url, levels=6, overwrite=True)
    cube.create(fresh, SPEC, TIMES)
    for place in (0, 1):
        for window in windows():
            block = {name: one[window] for name, one in layers(place).items()}
            if place == 0 or window[1].start < 64:
                block["lst"] = nothing[window]
            cube.write_region(fresh, place, window, block)
    cube.build_pyramid(fresh, levels=6)
    assert contents(url) == contents(fresh)


def test_a_sparse_cube_is_listed_and_not_asked_for_every_shard(tmp_path: Path) -> None:
    grid = GeoBox((4096, 4096), GRID.affine, GRID.crs)
    url = tmp_path / "a.zarr"
    cube.create(url, cube.CubeSpec(grid, 64), TIMES)
    for row, column in ((0, 0), (63, 17)):
        window = (slice(64 * row, 64 * row + 64), slice(64 * column, 64 * column + 64))
        cube.write_region(url, 1, window, {"lst": np.full((64, 64), 300.0 + row)})
    store = LoggingStore(LocalStore(url), log_level="CRITICAL")
    tasks: list[int] = []

    def counted(function: Any, items: Any) -> Any:  # noqa: ANN401
        tasks.append(len(items))
        return map(function, items)

    cube.build_pyramid(store, levels=5, apply=counted)
    cube.finalise(store, apply=counted)
    # Of 64 x 64 shards, 3 variables and 2 dates two shards are there.
    assert tasks == [2, 2, 2]
    assert store.counter["exists"] + store.counter["get"] < 500
    with cube.open_cube(url, level=5) as dataset:
        assert np.isfinite(dataset.lst.values).sum() == 2 * 2 * 2
        assert dataset.lst.values[1, 127, 35] == pytest.approx(363, abs=0.0051)
    with xr.open_zarr(url) as dataset:
        assert dataset.lst.attrs["statistics"]["count"] == 2 * 64 * 64


def test_only_new_dates_are_done_and_overwrite_does_again_what_changed(tmp_path: Path) -> None:
    url = tmp_path / "a.zarr"
    fill(url)
    cube.build_pyramid(url, levels=2)
    (place,) = cube.append_times(url, ["2026-08-01T10:00Z"])
    window = (slice(0, 32), slice(0, 32))
    cube.write_region(url, place, window, {"lst": np.full((32, 32), 300.0)})
    cube.write_region(url, 0, window, {"lst": np.full((32, 32), 310.0)})
    cube.build_pyramid(url, levels=2)
    with cube.open_cube(url, level=2) as dataset:
        np.testing.assert_allclose(dataset.lst.values[place][:8, :8], 300, atol=0.0051)
        assert np.isnan(dataset.lst.values[place][8:]).all()
        assert abs(np.nanmean(dataset.lst.values[0][:8, :8]) - 310) > 5
    cube.build_pyramid(url, levels=2, times=[0], overwrite=True)
    with cube.open_cube(url, level=2) as dataset:
        np.testing.assert_allclose(dataset.lst.values[0][:8, :8], 310, atol=0.0051)


def test_odd_shards_cannot_be_halved(tmp_path: Path) -> None:
    cube.create(tmp_path / "a.zarr", cube.CubeSpec(GRID, 45), TIMES)
    with pytest.raises(InputError, match="even shard"):
        cube.build_pyramid(tmp_path / "a.zarr", levels=1)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([2, 4, 6, 16]),
    st.floats(0, 1),
    st.integers(0, 99),
)
def test_a_level_has_a_value_where_any_pixel_has_and_stays_between_them(
    tmp_path_factory: pytest.TempPathFactory, rows: int, columns: int, side: int, missing: float, seed: int
) -> None:
    url = tmp_path_factory.mktemp("cube") / "a.zarr"
    grid = GeoBox((rows, columns), GRID.affine, GRID.crs)
    rng = np.random.default_rng(seed)
    kelvin = 250 + 80 * rng.random(grid.shape)
    kelvin[rng.random(grid.shape) < missing] = np.nan
    cube.create(url, cube.CubeSpec(grid, side, encoding=FLOAT32, variables=("lst",)), TIMES[:1])
    for window in windows(grid, side):
        cube.write_region(url, 0, window, {"lst": kelvin[window]})
    cube.build_pyramid(url, levels=2)
    coarse = cube.open_cube(url, level=2, chunks=None).lst.values[0]
    cells = np.pad(kelvin, ((0, -rows % 4), (0, -columns % 4)), constant_values=np.nan)
    cells = cells.reshape(-(-rows // 4), 4, -(-columns // 4), 4)
    np.testing.assert_array_equal(np.isfinite(coarse), np.isfinite(cells).any(axis=(1, 3)))
    known = np.isfinite(coarse)
    low, high = np.where(np.isfinite(cells), cells, 1e9), np.where(np.isfinite(cells), cells, 0)
    assert (coarse[known] >= low.min(axis=(1, 3))[known] - 1e-3).all()
    assert (coarse[known] <= high.max(axis=(1, 3))[known] + 1e-3).all()


# Statistics


def test_figures_of_a_date_go_with_its_values(tmp_path: Path) -> None:
    early, late = tmp_path / "early.zarr", tmp_path / "late.zarr"
    for url in (early, late):
        fill(url)
    cube.finalise(early)
    for url in (early, late):
        cube.clear_date(url, TIMES[0])
        cube.finalise(url)
    for name in ("lst", "qa"):
        assert attrs_at(early, name) == attrs_at(late, name)


def test_statistics_are_of_all_values_in_kelvin(tmp_path: Path) -> None:
    url = tmp_path / "a.zarr"
    places = fill(url)
    cube.finalise(url)
    with xr.open_zarr(url) as dataset:
        for name in ("lst", "lst_uncertainty"):
            kept = np.concatenate([layers(place)[name].ravel() for place in places]).astype(np.float64)
            valid = kept[np.isfinite(kept)]
            told = dataset[name].attrs["statistics"]
            assert told["count"] == valid.size
            assert told["valid_percent"] == pytest.approx(100 * valid.size / kept.size, abs=1e-4)
            for key, value in (("minimum", valid.min()), ("maximum", valid.max()), ("mean", valid.mean()),
                               ("stddev", valid.std())):  # fmt: skip
                assert told[key] == pytest.approx(value, abs=0.006)
            assert dataset[name].attrs["actual_range"] == [told["minimum"], told["maximum"]]
        flags = np.concatenate([layers(place)["qa"].ravel() for place in places])
        assert dataset.qa.attrs["flag_counts"] == np.bincount(flags, minlength=6).tolist()


def test_statistics_of_a_cube_that_is_mostly_empty(tmp_path: Path) -> None:
    url = tmp_path / "a.zarr"
    cube.create(url, SPEC, TIMES)
    cube.finalise(url)
    with xr.open_zarr(url) as dataset:
        assert dataset.lst.attrs["statistics"] == {"count": 0, "valid_percent": 0.0}
        assert dataset.qa.attrs["flag_counts"] == [2 * 70 * 90, 0, 0, 0, 0, 0]
    window = (slice(32, 64), slice(32, 64))
    flags = np.full((32, 32), 2, np.uint8)
    cube.write_region(url, 1, window, {"lst": np.full((32, 32), 300.0), "qa": flags})
    cube.finalise(url)
    with xr.open_zarr(url) as dataset:
        assert dataset.lst.attrs["statistics"]["mean"] == pytest.approx(300)
        assert dataset.lst.attrs["statistics"]["count"] == 1024
        assert dataset.qa.attrs["flag_counts"] == [2 * 70 * 90 - 1024, 0, 1024, 0, 0, 0]


def test_statistics_cost_the_new_dates_and_are_those_of_a_cube_that_is_finished_once(tmp_path: Path) -> None:
    url, once = tmp_path / "a.zarr", tmp_path / "once.zarr"
    read: list[set[int]] = []

    def noted(function: Any, rows: Any) -> Any:  # noqa: ANN401
        read.append({row.date for row in rows})
        return map(function, rows)

    fill(url)
    cube.finalise(url, apply=noted)
    (new,) = cube.append_times(url, ["2026-08-01T10:00Z"])
    window = (slice(0, 32), slice(0, 32))
    cube.write_region(url, new, window, {name: one[window] for name, one in layers(7).items()})
    cube.finalise(url, apply=noted)
    before = contents(url)
    cube.finalise(url, apply=noted)
    assert contents(url) == before
    # What is written again is read again, whatever variable it is.
    warm = np.full((32, 32), 320.0)
    cube.write_region(url, 0, window, {"lst": warm})
    cube.finalise(url, apply=noted)
    assert read == [{0, 1}, {new}, {0}]

    cube.create(once, SPEC, [*TIMES, "2026-08-01T10:00Z"])
    for place in (0, 1):
        for part in windows():
            cube.write_region(once, place, part, {name: one[part] for name, one in layers(place).items()})
    cube.write_region(once, 0, window, {"lst": warm})
    cube.write_region(once, new, window, {name: one[window] for name, one in layers(7).items()})
    cube.finalise(once)
    for name in cube.VARIABLES:
        assert attrs_at(url, name) == attrs_at(once, name)
    # Others write, too: then all is read.
    zarr.open_group(url, mode="r+")["lst"][1, :32, :32] = 30_000  # type: ignore[index]
    cube.finalise(url)
    assert attrs_at(url, "lst") == attrs_at(once, "lst")
    cube.finalise(url, overwrite=True, apply=noted)
    assert read[-1] == {0, 1, new}
    assert attrs_at(url, "lst")["statistics"]["maximum"] > 320 - 1e-6
    assert attrs_at(url, "lst")["statistics"] != attrs_at(once, "lst")["statistics"]


def test_a_writer_that_dies_leaves_no_figures_of_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lstzoom.cube import regions

    url = tmp_path / "a.zarr"
    fill(url)
    cube.finalise(url)
    write_one = regions._write

    def dies(*given: Any) -> int:
        write_one(*given)
        raise KeyboardInterrupt

    window = (slice(0, 32), slice(0, 32))
    with monkeypatch.context() as patch:
        patch.setattr(regions, "_write", dies)
        with pytest.raises(KeyboardInterrupt):
            cube.write_region(url, 0, window, {"lst": np.full((32, 32), 340.0)})
    cube.finalise(url)
    assert attrs_at(url, "lst")["statistics"]["maximum"] == pytest.approx(340)


def test_time_series_take_the_cube_as_it_is(tmp_path: Path) -> None:
    fill(tmp_path / "a.zarr")
    change = difference(cube.open_cube(tmp_path / "a.zarr"), "2026-06-03", "2026-07-05")
    np.testing.assert_allclose(change.difference.values, values(1) - values(0), atol=0.011)

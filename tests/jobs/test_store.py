"""Stores in a folder and in a bucket of a real S3 server: whole objects or none, leases, and a whole job."""

from __future__ import annotations

import json
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lstzoom.cube import open_cube
from lstzoom.errors import ConfigError, StoreBusyError, StoreError, StoreFullError
from lstzoom.jobs import lease as leases
from lstzoom.jobs.lease import leased
from lstzoom.jobs.run import run_job
from lstzoom.jobs.state import Options
from lstzoom.jobs.store import Store, as_json, store_at, store_error
from lstzoom.mosaics.after import JobMosaic
from lstzoom.sources.job import read_job
from tests.jobs.region import pixels, write_fields
from tests.s3_server import access


@pytest.fixture(scope="module")
def bucket(s3_endpoint: str) -> Iterator[str]:
    """Address in a bucket; the environment leads there."""
    import s3fs

    with pytest.MonkeyPatch.context() as patch:
        for key, value in access(s3_endpoint).items():
            patch.setenv(key, value)
        s3fs.S3FileSystem().mkdir("results")
        yield "s3://results/runs"


def _check(store: Store) -> None:
    assert pickle.loads(pickle.dumps(store)) == store  # noqa: S301  (made in this line)
    assert store.keys() == []
    assert store.read("a/one.json") is None
    assert store.write("a/one.json", b"1") == 1
    assert store.write("a/one.json", b"22") == 2
    assert store.write("b.json", b"3") == 1
    assert store.keys() == ["a/one.json", "b.json"]
    assert store.keys("a") == ["a/one.json"]
    assert store.keys("c") == []
    assert store.read("a/one.json") == b"22"
    assert store.read_all(["a/one.json", "b.json", "none"]) == {"a/one.json": b"22", "b.json": b"3"}
    assert store.exists("a")
    assert store.exists("b.json")
    assert not store.exists("c")
    assert store.create("c", b"first")
    assert not store.create("c", b"second")
    assert store.read("c") == b"first"
    age = store.age("c")
    assert age is not None
    assert -5 < age < 30
    assert store.age("none") is None
    store.remove("c")
    store.remove("c")
    store.remove_all("a")
    store.remove_all("a")
    assert store.keys() == ["b.json"]


def test_a_folder(tmp_path: Path) -> None:
    store = store_at(str(tmp_path / "made" / "when written"))
    _check(store)
    assert store_at(f"file://{store.url}") == store
    (store.root / "cubes").mkdir()
    (store.root / "cubes" / "x.partial").touch()
    store.sweep()
    assert store.keys() == ["b.json"]


@pytest.mark.cluster
def test_a_bucket(bucket: str) -> None:
    _check(store_at(f"{bucket}/objects"))


def test_of_many_that_create_one_does(tmp_path: Path) -> None:
    store, made = store_at(str(tmp_path)), []
    threads = [
        threading.Thread(target=lambda k=k: made.append(store.create("x", str(k).encode())))
        for k in range(16)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(made) == [False] * 15 + [True]


def test_what_no_attempt_can_help() -> None:
    import errno

    inner = OSError(errno.ENOSPC, "No space left on device")
    outer = RuntimeError("zarr could not")
    outer.__cause__ = inner
    assert isinstance(store_error(outer, "cannot write"), StoreFullError)
    assert isinstance(store_error(PermissionError("Access Denied"), "cannot write"), StoreFullError)
    other = store_error(OSError("SlowDown https://x/?X-Amz-Signature=secret"), "cannot write")
    assert not isinstance(other, StoreFullError)
    assert "secret" not in str(other)


@pytest.mark.parametrize("url", ["", "  ", "s3://", "s3:///", "file://"])
def test_what_is_no_place_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="no place for results"):
        store_at(url)


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("text")
    with pytest.raises(StoreError, match="cannot write into"), leased(store_at(str(tmp_path / "out")), 5.0):
        pass


def test_a_lease_is_not_renewed_after_it_was_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(str(tmp_path))
    renewing = threading.Event()

    def slow(self: Store, key: str, data: bytes) -> None:
        renewing.set()
        time.sleep(0.5)
        self.write(key, data)

    monkeypatch.setattr(Store, "touch", slow)
    with leased(store, 1.0):
        assert renewing.wait(5.0)
    time.sleep(0.7)
    assert store.keys() == []


def test_a_machine_of_the_same_name_is_another(tmp_path: Path) -> None:
    store = store_at(str(tmp_path))
    with leased(store, 5.0):
        held = json.loads(store.read("lease.json") or b"")
    gone = held | {"process": 2**22 + 1}
    store.write("lease.json", as_json(gone | {"machine": "a container"}))
    with pytest.raises(StoreBusyError), leased(store, 5.0):
        pass
    store.write("lease.json", as_json(gone))
    with leased(store, 5.0):
        pass


@pytest.mark.cluster
def test_a_lease_in_a_bucket(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_SETTLE", 0.2)
    store = store_at(f"{bucket}/lease")
    with leased(store, 5.0), pytest.raises(StoreBusyError, match="held by another run"), leased(store, 5.0):
        pass
    assert store.keys() == []
    with leased(store, 5.0) as lease:
        time.sleep(2.0)
        lease.check()
        held = json.loads(store.read("lease.json") or b"")
    # A run of this machine that is gone, and one of another machine that may be alive.
    store.write("lease.json", as_json(held | {"process": 2**22 + 1}))
    with leased(store, 5.0):
        pass
    store.write("lease.json", as_json(held | {"host": "elsewhere"}))
    with pytest.raises(StoreBusyError, match="elsewhere"), leased(store, 5.0):
        pass


@pytest.mark.slow
@pytest.mark.cluster
def test_a_job_into_a_bucket_is_the_job_into_a_folder(bucket: str, region: Path, tmp_path: Path) -> None:
    section = {"after_run": True, "crs": "EPSG:32632", "tile": 256, "feather": 200}
    job = read_job(write_fields(region, "s3.yaml", outputs={"scene_cog": True}, mosaic=section))
    mosaic = JobMosaic.of(job)
    run_job(job, Options(into=str(tmp_path / "out"), finisher=mosaic))
    url = f"{bucket}/job"
    summary = run_job(job, Options(into=url, finisher=mosaic))
    assert (summary["state"], summary["store"], summary["tiles"]["done"]) == ("done", url, 24)
    store, want = store_at(url), pixels(tmp_path / "out")
    there = set(store.keys(""))
    assert there >= want.keys()
    for key in want:
        assert store.read(key) == want[key], key
    (cube,) = {key.split("/")[1] for key in store.keys("cubes")}
    assert open_cube(f"{url}/cubes/{cube}").lst.notnull().all()
    assert "cogs/scene_20230601T100000/scene_lst.tif" in there
    there_too, here = (open_cube(f"{one}/mosaic.zarr").load() for one in (url, tmp_path / "out"))
    assert there_too.identical(here)
    assert "lease.json" not in there
    assert any(key.startswith("logs/") for key in there)
    store.remove("scenes/scene_20230601T100000.json")
    store.remove("ledger/scene_20230601T100000/r000c001.json")
    summary = run_job(job, Options(into=url, finisher=mosaic))
    assert (summary["state"], summary["tiles"]["done"], summary["tiles"]["before"]) == ("done", 1, 23)
    assert run_job(job, Options(into=url, since_last=True, finisher=mosaic))["state"] == "nothing new"

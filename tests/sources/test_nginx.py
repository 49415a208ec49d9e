"""Files of a real web server: parts of them, refusals, redirections, and pages in place of files."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest

from lstzoom.errors import InputError
from lstzoom.sources import signing
from lstzoom.sources.catalog import Access, Constants, Endpoint, Service, open_catalog
from lstzoom.sources.encoding import Told
from lstzoom.sources.fetch import forget_redirections
from lstzoom.sources.loading import LoadedPair, load
from lstzoom.sources.metadata import small_file
from lstzoom.sources.reading import RemoteBand, read
from tests.sources.archive import Archive, box, write_cog
from tests.sources.nginx import SECRET, TOKEN, Nginx, needs_nginx, nginx
from tests.sources.servers import Files, stac_api
from tests.sources.test_access import remote_pair, with_access
from tests.sources.test_loading import assert_same, items, pair_of

pytestmark = needs_nginx

LST = "LC08_ST_B10.TIF"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.02")
    signing.forget_tokens()
    forget_redirections()
    yield
    signing.forget_tokens()
    forget_redirections()


def assert_same_as_files(pair: LoadedPair, archive: Archive) -> None:
    assert_same(pair, pair_of(archive, bands=["red"]))


def test_the_pair_is_that_of_the_files_and_read_by_ranges(archive: Archive, web: Nginx) -> None:
    pair = remote_pair(archive, web.url)
    assert web.asked("LC08") == []
    assert web.asked("S2") == []
    assert_same_as_files(pair, archive)
    asked = [one for one in web.asked(least=5) if one["path"].upper().endswith(".TIF")]
    assert {one["path"] for one in asked} == {
        "/LC08_ST_B10.TIF", "/LC08_QA_PIXEL.TIF", "/LC08_ST_QA.TIF", "/S2_red.tif", "/S2_SCL.tif",
    }  # fmt: skip
    assert {one["status"] for one in asked} == {206}
    assert all(one["range"].startswith("bytes=") for one in asked)


def test_only_the_part_that_is_needed_travels(archive: Archive, web: Nginx, tmp_path: Path) -> None:
    """A file of more than GDAL reads at once."""
    grid = box(600_000, 5_400_000, 10, (1500, 1500))
    numbers = np.random.default_rng(0).integers(1, 60_000, grid.shape).astype(np.uint16)
    (tmp_path / "large").mkdir()
    write_cog(tmp_path / "large" / "large.tif", numbers, grid, nodata=0)
    size = (tmp_path / "large" / "large.tif").stat().st_size
    with nginx(tmp_path / "large", tmp_path / "own") as server:
        band = RemoteBand(
            "red", f"{server.url}/large.tif", 1, grid, Told(nodata=0), Constants(), Access(retries=0)
        )
        values = read(band, grid, (slice(700, 800), slice(700, 800)))
        np.testing.assert_array_equal(values, numbers[700:800, 700:800])
        assert sum(one["sent"] for one in server.asked("large", least=2)) < size / 4


def test_a_server_that_refuses_some_requests_is_asked_again(archive: Archive, web: Nginx) -> None:
    """503 for four connections of ten; chunks of their own ask many times."""
    both = items(archive.landsat(f"{web.url}/busy"), archive.sentinel2(f"{web.url}/busy"))
    pair = load(with_access(), items=both, bands=["red"], chunks=16)
    assert_same_as_files(pair, archive)
    told = [one["status"] for one in web.asked("busy", least=8)]
    assert told.count(503) >= 2
    assert set(told) == {206, 503}


def test_a_server_that_slows_requests_down(archive: Archive, web: Nginx) -> None:
    """429 for what comes within half a second of another request."""
    pair = remote_pair(archive, f"{web.url}/throttled")
    np.testing.assert_array_equal(pair.lst.values, pair_of(archive).lst.values)
    told = {one["status"] for one in web.asked("throttled", least=2, method="GET HEAD")}
    assert {206, 429} <= told


@pytest.mark.parametrize(
    ("place", "status"), [("down", 503), ("gone", 404), ("forbidden", 403), ("signed", 403), ("bearer", 401)]
)
def test_what_is_refused_is_an_error_that_names_file_and_status(
    archive: Archive, web: Nginx, place: str, status: int
) -> None:
    pair = remote_pair(archive, f"{web.url}/{place}", retries=1)
    for array in (pair.lst, pair.valid, pair.vnir):
        with pytest.raises(InputError, match=rf"/{place}/.*\.(TIF|tif)") as caught:
            array.compute()
        assert f"HTTP status {status}" in str(caught.value) or str(status) in str(caught.value)
    assert {one["status"] for one in web.asked(place, least=3)} == {status}


@pytest.mark.parametrize("place", ["gone", "forbidden"])
def test_what_is_final_is_not_asked_again(archive: Archive, web: Nginx, place: str) -> None:
    pair = remote_pair(archive, f"{web.url}/{place}", retries=5)
    with pytest.raises(InputError):
        pair.lst.compute(scheduler="sync")
    assert len(web.asked(place, least=1)) <= 2


@pytest.mark.parametrize("place", ["login", "login-first"])
def test_a_page_in_place_of_a_file_is_an_error(archive: Archive, web: Nginx, place: str) -> None:
    pair = remote_pair(archive, f"{web.url}/{place}", retries=0)
    with pytest.raises(InputError, match=rf"/{place}/{LST}"):
        pair.lst.compute()


@pytest.mark.parametrize("place", ["moved/301", "moved/302", "moved/307", "moved/308"])
def test_redirections_are_followed(archive: Archive, web: Nginx, place: str) -> None:
    """307 to another port, 308 by way of 307."""
    assert_same_as_files(remote_pair(archive, f"{web.url}/{place}"), archive)
    assert small_file(f"{web.url}/{place}/{LST}", Access()) == (archive.folder / LST).read_bytes()


def test_a_redirection_to_what_may_not_be_read_is_refused(archive: Archive, web: Nginx) -> None:
    near, far = (remote_pair(archive, f"{web.url}/moved/{code}", allow=(web.url,)) for code in (302, 307))
    assert_same_as_files(near, archive)
    with pytest.raises(
        InputError, match=rf"leads on to 'http://127\.0\.0\.1:{web.other}/{LST}', which may not"
    ):
        far.lst.compute()


def test_redirections_without_an_end_are_an_error(archive: Archive, web: Nginx) -> None:
    pair = remote_pair(archive, f"{web.url}/around", retries=0)
    with pytest.raises(InputError, match=rf"/around/{LST}"):
        pair.lst.compute()


def test_a_server_without_ranges_gives_whole_files(archive: Archive, web: Nginx) -> None:
    pair = remote_pair(archive, f"{web.url}/whole", retries=0)
    np.testing.assert_array_equal(pair.lst.values, pair_of(archive).lst.values)
    assert {one["status"] for one in web.asked("whole", least=1)} == {200}


def test_files_are_signed_with_the_token_of_the_service(archive: Archive, web: Nginx) -> None:
    access: dict[str, Any] = {"signing": "planetary-computer", "sas_hosts": ("127.0.0.1",)}
    pair = remote_pair(archive, f"{web.url}/signed", sas_url=f"{web.url}/sas", **access)
    assert web.asked("sas") == []
    assert_same_as_files(pair, archive)
    # One container; all threads wait for one token.
    assert len(web.asked("sas", least=1)) == 1
    assert all(SECRET in one["path"] for one in web.asked("signed", least=3))


def test_a_bearer_token_is_sent(archive: Archive, web: Nginx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", TOKEN)
    assert_same_as_files(remote_pair(archive, f"{web.url}/bearer", token_env="A_TOKEN"), archive)
    assert small_file(f"{web.url}/bearer/{LST}", Access(token_env="A_TOKEN"))


def test_a_password_comes_from_netrc(
    archive: Archive, web: Nginx, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    with pytest.raises(InputError, match=r"401"):
        remote_pair(archive, f"{web.url}/password", retries=0).lst.compute()
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password w0rd\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert_same_as_files(remote_pair(archive, f"{web.url}/password"), archive)
    assert small_file(f"{web.url}/password/{LST}", Access())


def test_after_an_outage_the_same_process_reads_again(archive: Archive, web: Nginx) -> None:
    pair = remote_pair(archive, web.url, retries=0)
    web.stop()
    with pytest.raises(InputError, match=LST):
        pair.lst.compute()
    web.start()
    assert_same_as_files(pair, archive)


def test_an_outage_that_ends_is_waited_for(
    archive: Archive, web: Nginx, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.5")
    pair = remote_pair(archive, web.url, retries=6)
    web.stop()
    timer = threading.Timer(0.7, web.start)
    timer.start()
    start = time.monotonic()
    try:
        lst = pair.lst.compute()
    finally:
        timer.join()
    assert time.monotonic() - start > 0.5
    np.testing.assert_array_equal(lst.values, pair_of(archive).lst.values)


@pytest.mark.parametrize("kind", ["drop", "cut", "less", "500", "slowdown"])
def test_what_fails_behind_a_proxy(archive: Archive, files: Files, tmp_path: Path, kind: str) -> None:
    """nginx tells of a server behind it that does not answer as 502, and hands on what it cuts short."""
    files.fate = lambda _name, number: kind if number % 5 == 1 else ""
    with nginx(archive.folder, tmp_path / "own", files.url) as proxy:
        pair = remote_pair(archive, f"{proxy.url}/behind")
        with dask.config.set(scheduler="sync"):
            assert_same_as_files(pair, archive)
        assert files.failed[kind] >= 1
        told = {one["status"] for one in proxy.asked("behind", least=3)}
    refused = {"drop": {502}, "500": {500}, "slowdown": {503}}.get(kind, set())
    assert told == {206} | refused


def test_a_search_whose_files_are_on_a_web_server(archive: Archive, web: Nginx, tmp_path: Path) -> None:
    """Two servers, one of items and one of files, as real catalogues are."""
    both = [archive.landsat(f"{web.url}/moved/302"), archive.sentinel2(web.url)]
    with stac_api(both, tmp_path) as api:
        services = {
            side: Service(url=api, collections=(one["collection"],))
            for side, one in zip(("lst", "vnir"), both, strict=True)
        }
        source = open_catalog("landsat-sentinel2").model_copy(
            update={"endpoints": {"here": Endpoint(**services)}}
        )
        pair = load(source, archive.area(), "2023-07-02", bands=["red"])
    inner = pair.lst.values
    np.testing.assert_array_equal(inner, pair_of(archive).lst.sel(x=pair.lst.x, y=pair.lst.y).values)

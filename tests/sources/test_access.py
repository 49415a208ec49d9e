"""How files are reached: HTTP with failures, tokens, S3; and what is never seen."""

from __future__ import annotations

import logging
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import dask
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from lstzoom.errors import InputError
from lstzoom.sources import signing
from lstzoom.sources.catalog import Access, Catalog, Endpoint, open_catalog
from lstzoom.sources.loading import LoadedPair, load
from lstzoom.sources.redaction import plain, redact
from lstzoom.sources.signing import gdal_options, gdal_path, sign
from tests.sources.archive import Archive
from tests.sources.servers import Files
from tests.sources.test_loading import items, pair_of


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.02")
    signing._tokens.clear()
    yield
    signing._tokens.clear()


def with_access(**settings: Any) -> Catalog:
    catalog = open_catalog("landsat-sentinel2")
    return catalog.model_copy(update={"access": Access(**settings), "endpoints": {}})


def remote_pair(archive: Archive, root: str, **settings: Any) -> LoadedPair:
    both = items(archive.landsat(root), archive.sentinel2(root))
    return load(with_access(**settings), items=both, bands=["red"])


def test_a_busy_server_is_asked_again(archive: Archive, files: Files) -> None:
    files.failures["LC08_ST_B10.TIF"] = [503, 429, 502]
    files.failures["S2_red.tif"] = [500, 503]
    pair = remote_pair(archive, files.url)
    np.testing.assert_array_equal(pair.lst.values, pair_of(archive).lst.values)
    np.testing.assert_array_equal(pair.vnir.values[0], pair_of(archive).vnir.sel(band="red").values)
    assert files.failures == {"LC08_ST_B10.TIF": [], "S2_red.tif": []}


@pytest.mark.parametrize("failures", [[503] * 50, [500] * 50, [404] * 50, [0] * 50])
def test_a_read_that_keeps_failing_is_an_error_and_never_missing_pixels(
    archive: Archive, files: Files, failures: list[int]
) -> None:
    files.failures["LC08_ST_B10.TIF"] = list(failures)
    pair = remote_pair(archive, files.url, retries=2)
    with pytest.raises(InputError, match=r"LC08_ST_B10\.TIF"):
        pair.lst.compute()


def test_after_an_outage_the_same_process_reads_again(archive: Archive, files: Files) -> None:
    """GDAL remembers what it could not find; a task that is repeated must not inherit that."""
    for name in ("LC08_ST_B10.TIF", "S2_SCL.tif"):
        files.failures[name] = [404, 404, 404]
    pair = remote_pair(archive, files.url, retries=0)
    for array in (pair.lst, pair.vnir):
        with pytest.raises(InputError):
            array.compute()
    files.failures.clear()
    np.testing.assert_array_equal(pair.lst.values, pair_of(archive).lst.values)
    assert np.isfinite(pair.vnir.values).mean() > 0.9


def test_a_broken_connection_is_repaired(archive: Archive, files: Files) -> None:
    files.failures["LC08_ST_B10.TIF"] = [0]
    pair = remote_pair(archive, files.url)
    np.testing.assert_array_equal(pair.lst.values, pair_of(archive).lst.values)


def test_a_truncated_file_is_an_error(archive: Archive, own_files: Files) -> None:
    data = (archive.folder / "LC08_ST_B10.TIF").read_bytes()
    for path in archive.folder.glob("*.[tT][iI][fF]"):
        (own_files.folder / path.name).write_bytes(path.read_bytes())
    (own_files.folder / "LC08_ST_B10.TIF").write_bytes(data[: len(data) * 2 // 3])
    pair = remote_pair(archive, own_files.url, retries=0)
    with pytest.raises(InputError, match=r"LC08_ST_B10\.TIF"):
        pair.lst.compute()


def test_headers_are_read_once(archive: Archive, files: Files) -> None:
    remote_pair(archive, files.url).lst.compute()
    first = len(files.asked)
    both = items(archive.landsat(files.url), archive.sentinel2(files.url))
    load(with_access(), items=both, bands=["red"], chunks=16).lst.compute()
    assert first <= 4
    assert len(files.asked) - first <= 4


def test_only_parts_of_a_file_are_asked_for(archive: Archive, files: Files) -> None:
    pair = remote_pair(archive, files.url)
    assert files.asked == []
    pair.lst.compute()
    assert {one.strip("/") for one in files.asked} == {"LC08_ST_B10.TIF"}


SAS: dict[str, Any] = {"signing": "planetary-computer", "sas_hosts": ("127.0.0.1",)}


def test_addresses_are_signed_by_the_task_that_reads(archive: Archive, files: Files) -> None:
    files.secret = "s3cret"
    pair = remote_pair(archive, files.url, sas_url=f"{files.url}/sas", **SAS)
    assert files.asked == []
    graph = pickle.dumps((pair.lst.__dask_graph__(), pair.vnir.__dask_graph__()))
    assert b"s3cret" not in graph
    # The token changes after the graph was built.
    files.secret = "newer-s3cret"
    np.testing.assert_array_equal(pair.lst.values, pair_of(archive).lst.values)
    assert sum(one.startswith("/sas/token/") for one in files.asked) == 1


@pytest.mark.cluster
@pytest.mark.slow
def test_workers_sign_for_themselves(archive: Archive, files: Files) -> None:
    from distributed import Client, LocalCluster

    files.secret = "s3cret"
    pair = remote_pair(archive, files.url, sas_url=f"{files.url}/sas", **SAS)
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0")
    with cluster, Client(cluster):
        lst, vnir = dask.compute(pair.lst, pair.vnir)
    np.testing.assert_array_equal(lst.values, pair_of(archive).lst.values)
    np.testing.assert_array_equal(vnir.values[0], pair_of(archive).vnir.sel(band="red").values)
    # The first part of a path is the container: three, for at most two processes.
    assert 3 <= sum(one.startswith("/sas/token/") for one in files.asked) <= 6


def test_a_token_that_ends_soon_is_fetched_anew(archive: Archive, files: Files) -> None:
    files.secret, files.lifetime = "one", 200.0
    pair = remote_pair(archive, files.url, sas_url=f"{files.url}/sas", **SAS)
    pair.lst.compute()
    files.secret = "two"
    pair.lst.compute()
    assert sum(one.startswith("/sas/token/") for one in files.asked) > 1


def test_a_slow_token_of_one_container_holds_no_other_up(own_files: Files) -> None:
    own_files.secret, own_files.slow_token = "s3cret", "slow"
    access = Access(sas_url=f"{own_files.url}/sas", **SAS)
    signed: list[str] = []

    def wait() -> None:
        signed.append(sign(f"{own_files.url}/slow/a.tif", access))

    waiting = [threading.Thread(target=wait) for _ in range(3)]
    for one in waiting:
        one.start()
    try:
        while not own_files.asked:
            time.sleep(0.01)
        assert sign(f"{own_files.url}/quick/a.tif", access).endswith("sig=s3cret")
        assert signed == []
    finally:
        own_files.answer_tokens.set()
        for one in waiting:
            one.join(30)
    assert len(signed) == 3
    # All who wait for a container get one token.
    assert sorted(own_files.asked) == ["/sas/token/127/quick", "/sas/token/127/slow"]


def test_secrets_stay_out_of_messages_logs_and_results(
    archive: Archive, files: Files, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("A_TOKEN", "t0ken")
    files.secret = "s3cret"
    pair = remote_pair(archive, files.url, sas_url=f"{files.url}/sas", retries=0, token_env="A_TOKEN", **SAS)
    files.failures["LC08_ST_B10.TIF"] = [404] * 9
    with pytest.raises(InputError) as caught:
        pair.lst.compute()
    error: BaseException | None = caught.value
    while error is not None:
        assert "s3cret" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    files.failures.clear()
    pair.lst.compute()
    assert "s3cret" not in caplog.text
    assert "t0ken" not in caplog.text
    assert "sig=***" in caplog.text
    assert "s3cret" not in repr((pair.attrs, pair.lst.attrs, pair.vnir.attrs, pair.lst.encoding))


def test_addresses_that_are_signed_already_are_left_alone_and_not_shown(
    archive: Archive, files: Files
) -> None:
    files.secret = "pre"
    both = items(archive.landsat(files.url), archive.sentinel2(files.url))
    for item in both:
        for one in item.assets.values():
            one.href += "?sig=pre"
    pair = load(with_access(**SAS, sas_url="http://127.0.0.1:9"), items=both, bands=["red"])
    np.testing.assert_array_equal(pair.lst.values, pair_of(archive).lst.values)
    assert "sig=pre" not in repr(pair)
    files.secret = "changed"
    with pytest.raises(InputError) as caught:
        pair.vnir.compute()
    assert "sig=pre" not in str(caught.value)


def test_a_service_without_tokens_is_named(archive: Archive, files: Files) -> None:
    pair = remote_pair(archive, files.url, sas_url=f"{files.url}/nothing", **SAS)
    with pytest.raises(InputError, match=r"token service .*nothing/token/127/LC08_ST_B10\.TIF.* status 404"):
        pair.lst.compute()


def test_a_service_that_answers_a_web_page_gives_no_token(own_files: Files, tmp_path: Path) -> None:
    page = tmp_path / "served" / "page.html"
    page.write_text("<html>log in</html>")
    service = f"{own_files.url}/page.html?"
    access = Access(signing="planetary-computer", sas_url=service, sas_hosts=("127.0.0.1",))
    with pytest.raises(InputError, match="cannot be used: it answers what is no JSON"):
        sign(f"{own_files.url}/red.tif", access)


def test_other_hosts_are_not_signed() -> None:
    access = Access(signing="planetary-computer", sas_url="http://127.0.0.1:9")
    for href in ("https://example.com/a.tif", "s3://bucket/a.tif", "/data/a.tif"):
        assert sign(href, access) == href


def test_addresses_as_gdal_spells_them() -> None:
    assert gdal_path("s3://bucket/a/b.tif") == "/vsis3/bucket/a/b.tif"
    assert gdal_path("https://h/a.tif?x=1") == "/vsicurl/https://h/a.tif?x=1"
    assert gdal_path("file:///data/a.tif") == "/data/a.tif"
    assert gdal_path("/vsizip/a.zip/b.tif") == "/vsizip/a.zip/b.tif"
    assert gdal_options(Access(), "/data/a.tif") == {}


def test_tokens_of_all_kinds_are_taken_out() -> None:
    text = "HTTP 403 at https://b.s3.amazonaws.com/k?X-Amz-Signature=abc&X-Amz-Credential=AKIA%2F1 now"
    assert "abc" not in redact(text)
    assert "AKIA" not in redact(text)
    for text in (
        "{'X-Api-Key': 'w0rd!'}",
        "Authorization: Bearer w0rd!",
        "Authorization: Basic w0rd!",
        "Ocp-Apim-Subscription-Key: w0rd!",
        "s3://key:w0rd!@bucket/a.tif",
        "ftp://me:w0rd!@h/a.tif",
    ):
        assert "w0rd" not in redact(text)
    assert redact("the bearer of bad news") == "the bearer of bad news"
    assert plain("https://user:word@h/a.tif?sig=1") == "https://***@h/a.tif"


@pytest.fixture(scope="module")
def bucket(archive: Archive) -> Iterator[str]:
    """A server that speaks S3, with the archive in a bucket; yields host and port."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1",
        aws_access_key_id="id", aws_secret_access_key="word",
    )  # fmt: skip
    client.create_bucket(Bucket="scenes")
    for path in archive.folder.glob("*.[tT][iI][fF]"):
        client.upload_file(str(path), "scenes", f"2023/{path.name}", {"ACL": "public-read"})
        client.upload_file(str(path), "scenes", f"private/{path.name}")
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def s3(bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in {
        "AWS_S3_ENDPOINT": bucket, "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE",
        "AWS_ENDPOINT_URL": f"http://{bucket}", "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    return "s3://scenes/2023"


def test_s3_without_credentials(archive: Archive, s3: str) -> None:
    pair = remote_pair(archive, s3, anonymous=True)
    np.testing.assert_array_equal(pair.lst.values, pair_of(archive).lst.values)


def test_s3_with_credentials_from_the_environment_and_requester_pays(
    archive: Archive, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    pair = remote_pair(archive, s3, requester_pays=True, region="us-east-1")
    np.testing.assert_array_equal(pair.vnir.values[0], pair_of(archive).vnir.sel(band="red").values)
    assert b"s3cret" not in pickle.dumps(pair.vnir.__dask_graph__())
    private = remote_pair(archive, s3.replace("2023", "private"), region="us-east-1")
    np.testing.assert_array_equal(private.lst.values, pair_of(archive).lst.values)


def test_two_stores_in_one_pair_each_with_its_own_keys(
    archive: Archive, own_files: Files, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The LST at one service by the usual keys, reflectance at another by those of a profile."""
    there = own_files.folder / "eodata"
    there.mkdir()
    for path in archive.folder.glob("S2_*.tif"):
        (there / path.name).write_bytes(path.read_bytes())
    (tmp_path / "credentials").write_text(
        "[copernicus]\naws_access_key_id = other\naws_secret_access_key = 0ther\n"
    )
    for name, value in {
        "AWS_ACCESS_KEY_ID": "usual", "AWS_SECRET_ACCESS_KEY": "s3cret", "AWS_SESSION_TOKEN": "sess1on",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    source = open_catalog("landsat-sentinel2")
    given = source.endpoint("copernicus")
    assert given.vnir is not None
    assert given.vnir.access.profile == "copernicus"
    services = {}
    for side, service, url in (("lst", given.lst, f"http://{bucket}"), ("vnir", given.vnir, own_files.url)):
        access = service.access.model_copy(update={"s3_endpoint": url})
        services[side] = service.model_copy(update={"access": access})
    far = source.model_copy(update={"endpoints": {"one": Endpoint(**services)}})
    optical = archive.sentinel2("s3://eodata")
    thermal = archive.landsat("s3://scenes/2023")
    for item, service in ((thermal, given.lst), (optical, given.vnir)):
        item["links"] = [{"rel": "self", "href": f"{service.url}/items/x"}]
    pair = load(far, items=items(thermal, optical), bands=["red"])
    np.testing.assert_array_equal(pair.vnir.values[0], pair_of(archive).vnir.sel(band="red").values)
    signed = {one["authorization"].partition("/")[0] for one in own_files.headers}
    assert signed == {"AWS4-HMAC-SHA256 Credential=other"}
    assert not any("x-amz-security-token" in one for one in own_files.headers)
    own_files.headers.clear()
    np.testing.assert_array_equal(pair.lst.values, pair_of(archive).lst.values)
    assert own_files.headers == []


def test_s3_that_is_not_there_is_an_error(archive: Archive, s3: str) -> None:
    pair = remote_pair(archive, "s3://scenes/2024", anonymous=True, retries=0)
    with pytest.raises(InputError, match=r"s3.*2024/LC08_ST_B10\.TIF"):
        pair.lst.compute()


def test_the_same_files_through_fsspec(archive: Archive, s3: str) -> None:
    s3fs = pytest.importorskip("s3fs")
    import rasterio

    store = s3fs.S3FileSystem(anon=True)
    with store.open("scenes/2023/LC08_ST_B10.TIF") as data, rasterio.open(data) as file:
        np.testing.assert_array_equal(file.read(1), archive.lst_stored)


def test_keys_of_tasks_do_not_change_with_tokens(archive: Archive, files: Files) -> None:
    pairs = [remote_pair(archive, f"{files.url}", retries=n) for n in (1, 2)]
    assert pairs[0].lst.name == pairs[1].lst.name
    assert dask.base.tokenize(pairs[0].vnir.data) == dask.base.tokenize(pairs[1].vnir.data)


def test_requester_pays_is_said_to_the_server(
    archive: Archive, own_files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = own_files.folder / "scenes"
    bucket.mkdir()
    for path in archive.folder.glob("*.[tT][iI][fF]"):
        (bucket / path.name).write_bytes(path.read_bytes())
    for name, value in {
        "AWS_S3_ENDPOINT": own_files.url.removeprefix("http://"), "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "NO", "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "word",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    both = items(archive.landsat("s3://scenes"), archive.sentinel2("s3://scenes"))
    # The item of Earth Search tells it, whatever the catalogue says.
    both[0].assets["lwir11"].extra_fields |= {"storage:requester_pays": True, "storage:region": "us-west-2"}
    pair = load(with_access(), items=both, bands=["red"])
    np.testing.assert_array_equal(pair.lst.values, pair_of(archive).lst.values)
    assert {one["x-amz-request-payer"] for one in own_files.headers} == {"requester"}
    assert all("/us-west-2/s3/" in one["authorization"] for one in own_files.headers)
    own_files.headers.clear()
    pair.vnir.compute()
    assert not any("x-amz-request-payer" in one for one in own_files.headers)


def test_a_bearer_token_comes_from_the_environment(
    archive: Archive, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "t0ken")
    pair = remote_pair(archive, files.url, token_env="SOME_TOKEN")
    assert b"t0ken" not in pickle.dumps(pair.lst.__dask_graph__())
    pair.lst.compute()
    assert {one["authorization"] for one in files.headers} == {"Bearer t0ken"}
    monkeypatch.delenv("SOME_TOKEN")
    files.headers.clear()
    pair.vnir.compute()
    assert not any("authorization" in one for one in files.headers)


def test_paths_of_files(tmp_path: Path) -> None:
    assert gdal_path(str(tmp_path / "a.tif")) == str(tmp_path / "a.tif")

"""What an item may have read, and the tricks to read something else."""

from __future__ import annotations

import copy
import os
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from lstzoom.errors import InputError
from lstzoom.sources.allowed import NETWORK, is_allowed, is_here
from lstzoom.sources.catalog import Access
from lstzoom.sources.fetch import forget_redirections, require_allowed_onward
from lstzoom.sources.loading import LoadedPair, load
from lstzoom.sources.metadata import small_file
from lstzoom.sources.reading import header
from lstzoom.sources.search import examine, search
from tests.sources.archive import Archive
from tests.sources.servers import Files, file_server, stac_api
from tests.sources.test_loading import items, pair_of
from tests.sources.test_search import catalog_at


@pytest.mark.parametrize(
    ("href", "allow", "allowed"),
    [
        ("/data/a.tif", "/data", True),
        ("/data", "/data", True),
        ("/database/a.tif", "/data", False),
        ("/data/../etc/a.tif", "/data", False),
        ("file:///data/a.tif", "/data", True),
        ("FILE:///data/a.tif", "file:///data", True),
        ("file:/data/a.tif", "/data", True),
        ("file:///data/%2e%2e/etc/a.tif", "/data", False),
        ("file://elsewhere/data/a.tif", "/data", False),
        ("/vsizip//data/a.zip/lst.tif", "/data", False),
        ("/vsicurl/https://a.example/a.tif", "https://a.example", False),
        ("/vsicurl?url=https%3A%2F%2Fa.example%2Fa.tif", "https://a.example", False),
        ("/vsis3/bucket/a.tif", "s3://bucket", False),
        ("/vsistdin/", "/", False),
        ("//vsicurl/https://a.example", "https://", False),
        ("<VRTDataset rasterXSize='1'/>", "/", False),
        ("NETCDF:/data/a.nc:x", "/data", False),
        ("GTIFF_DIR:1:/data/a.tif", "/data", False),
        ("vrt:///data/a.tif", "/data", False),
        ("tar:///data/a.tar!b.tif", "/data", False),
        ("zip:///data/a.zip!lst.tif", "/data", True),
        ("zip+file:///data/a.zip!lst.tif", "/data", True),
        ("zip:///etc/a.zip!lst.tif", "/data", False),
        ("zip+https://a.example/a.zip!lst.tif", "https://a.example", True),
        ("zip+https://b.example/a.zip!lst.tif", "https://a.example", False),
        ("https://a.example/x/a.tif", "https://a.example/x/", True),
        ("HTTPS://A.example/x/a.tif?sig=1", "https://a.example/x/", True),
        ("https://a.example/x/../y/a.tif", "https://a.example/x/", False),
        ("https://a.example/x/%2E%2e/y/a.tif", "https://a.example/x/", False),
        ("https://a.example.evil/a.tif", "https://a.example", False),
        ("https://a.example@evil/a.tif", "https://a.example", False),
        ("https://evil\\@a.example/a.tif", "https://a.example", False),
        ("https://a.example\\@evil/a.tif", "https://a.example", False),
        ("https://a.example\\@evil/a.tif", "https://", False),
        ("https://a.example/x\\..\\..\\a.tif", "https://a.example", False),
        ("https://a.example\t@evil/a.tif", "https://", False),
        ("https://a.example;@evil/a.tif", "https://a.example", False),
        ("http:/a.example/a.tif", "http://a.example", False),
        ("http://a.example/a.tif", "https://a.example", False),
        ("https://anything/a.tif", "https://", True),
        ("s3://usgs-landsat/a.tif", "s3://usgs-landsat/", True),
        ("s3://usgs-landsat-copy/a.tif", "s3://usgs-landsat", False),
        ("ftp://a.example/a.tif", "ftp://a.example", False),
        ("/data/a\0.tif", "/data", False),
    ],
)
def test_addresses_are_compared_with_where_they_lead(href: str, allow: str, allowed: bool) -> None:  # noqa: FBT001
    assert is_allowed(href, [allow]) is allowed


@pytest.mark.fault("a symbolic link leads out of what is allowed", "refused")
def test_symbolic_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "secret.tif").write_bytes(b"x")
    (tmp_path / "in" / "link.tif").symlink_to(tmp_path / "out" / "secret.tif")
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "out")
    (tmp_path / "alias").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "own.tif").write_bytes(b"x")
    assert not is_allowed(str(tmp_path / "in" / "link.tif"), [str(tmp_path / "in")])
    assert not is_allowed(f"file://{tmp_path}/in/folder/secret.tif", [str(tmp_path / "in")])
    assert is_allowed(str(tmp_path / "in" / "own.tif"), [str(tmp_path / "alias")])


@pytest.mark.fault(
    "an item names a file outside of what is allowed (file:, /vsi, ..)",
    "listed with the reason; other items are used",
)
def test_an_item_that_leads_elsewhere_is_listed(archive: Archive) -> None:
    root = str(archive.folder)
    outside = archive.landsat(root, "outside")
    outside["assets"]["lwir11"]["href"] = f"file://{root}/../LC08_ST_B10.TIF"
    given = items(outside, archive.landsat(root, "inside"), archive.sentinel2(root))
    pair = load("landsat-sentinel2", items=given, allow=[root])
    assert pair.attrs["lst_item"] == "inside"
    (told,) = [one for one in pair.unusable if one.item == "outside" and one.side == "lst"]
    assert "its asset 'lwir11'" in told.reason
    assert f"may not be read; allowed is what begins with {root}" in told.reason
    with pytest.raises(InputError, match="may not be read"):
        load("landsat-sentinel2", items=given, allow=["https://"])


@pytest.mark.fault("a file is replaced by a link after it was checked", "refused when it is read")
def test_a_link_that_is_changed_afterwards_is_refused_when_it_is_read(
    archive: Archive, tmp_path: Path
) -> None:
    folder = tmp_path / "scene"
    folder.mkdir()
    for path in archive.folder.glob("*.[tT][iI][fF]"):
        os.link(path, folder / path.name)
    both = items(archive.landsat(str(folder)), archive.sentinel2(str(folder)))
    pair = load("landsat-sentinel2", items=both, allow=[str(folder)])
    (folder / "LC08_ST_B10.TIF").unlink()
    (folder / "LC08_ST_B10.TIF").symlink_to(archive.folder / "LC08_ST_B10.TIF")
    with pytest.raises(InputError, match=r"LC08_ST_B10\.TIF' may not be read"):
        pair.lst.compute()


@pytest.mark.fault("an asset is a VRT, which names other files", "refused; they are not read")
def test_a_dataset_that_names_other_files_is_not_opened(archive: Archive, tmp_path: Path) -> None:
    """A VRT is a small text that any file name may hide: it would have this machine read what it names."""
    import rasterio
    from rasterio.shutil import copy as copy_raster

    secret = archive.folder / "LC08_ST_B10.TIF"
    hidden = tmp_path / "LC08_ST_B10.TIF"
    copy_raster(str(secret), str(hidden), driver="VRT")
    with rasterio.open(hidden) as file:
        assert file.driver == "VRT"
        assert file.read(1).any()
    thermal = archive.landsat(str(archive.folder))
    thermal["assets"]["lwir11"]["href"] = str(hidden)
    both = items(thermal, archive.sentinel2(str(archive.folder)))
    pair = load("landsat-sentinel2", items=both, allow=[str(tmp_path), str(archive.folder)])
    with pytest.raises(InputError, match="cannot open the raster"):
        pair.lst.compute()


@pytest.mark.fault("items of a service elsewhere name files of this machine", "listed as not allowed")
def test_a_service_elsewhere_may_not_name_files_of_this_machine(archive: Archive, tmp_path: Path) -> None:
    """One on loopback may: an archive of one's own is served so."""
    root = str(archive.folder)
    served = [archive.landsat(f"file://{root}"), archive.sentinel2(f"file://{root}")]
    with stac_api(served, tmp_path) as url:
        catalog = catalog_at(tmp_path, url)
        pair = load(catalog, archive.area(), "2023-07")
        assert np.isfinite(pair.lst.values).any()
        text = catalog.read_text().replace(
            "[endpoints.earth-search.lst]",
            f"[endpoints.earth-search.lst]\naccess = {{ allow = {list(NETWORK)} }}",
        )
        catalog.write_text(text)
        found = search(catalog, archive.area(), "2023-07")
    assert found.lst == ()
    assert any(
        "may not be read; allowed is what begins with https://" in one.reason for one in found.unusable
    )
    assert [is_here(one) for one in ("http://127.0.0.1:8000", "http://localhost/stac", "http://[::1]:1")] == [
        True
    ] * 3
    assert not any(is_here(one) for one in ("https://a.example", "http://10.0.0.1", "http://127.0.0.1.evil"))


def test_files_that_were_fetched_after_their_item_are_found(archive: Archive) -> None:
    """Paths in an item that still names its service: the files are here, not at the host of the service."""
    root = str(archive.folder)
    both = [archive.landsat(root), archive.sentinel2(root)]
    for one in both:
        one["links"] = [{"rel": "self", "href": f"https://stac.example/collections/x/items/{one['id']}"}]
    pair = load("landsat-sentinel2", items=copy.deepcopy(both))
    np.testing.assert_array_equal(pair.lst.values, pair_of(archive).lst.values)


def test_a_job_of_http_reads_http(archive: Archive, files: Files) -> None:
    both = items(archive.landsat(files.url), archive.sentinel2(files.url))
    pair = load("landsat-sentinel2", items=both, allow=[files.url])
    np.testing.assert_array_equal(pair.lst.values, pair_of(archive).lst.values)
    with pytest.raises(InputError, match="may not be read"):
        load("landsat-sentinel2", items=both, allow=["https://"])


# Redirections


@pytest.fixture
def elsewhere(archive: Archive) -> Iterator[Files]:
    with file_server(archive.folder) as server:
        yield server


@pytest.fixture(autouse=True)
def _asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.02")
    forget_redirections()


LED = "refused when it is read; what it leads to is not asked"


def led_pair(archive: Archive, files: Files, allow: Sequence[str]) -> LoadedPair:
    both = items(archive.landsat(files.url), archive.sentinel2(files.url))
    return load("landsat-sentinel2", items=both, allow=allow, bands=["red"])


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.fault("a server that may be read leads on to one that may not", LED)
def test_a_redirection_to_another_host_is_refused(
    archive: Archive, files: Files, elsewhere: Files, status: int
) -> None:
    files.led_by = status
    files.redirects["LC08_ST_B10.TIF"] = f"{elsewhere.url}/LC08_ST_B10.TIF?sig=s3cret"
    pair = led_pair(archive, files, [files.url])
    begin = time.perf_counter()
    with pytest.raises(
        InputError, match=r"ST_B10\.TIF' leads on to 'http.*may not be read; allowed"
    ) as caught:
        pair.lst.compute()
    assert time.perf_counter() - begin < 5, "what may not be read is not tried again"
    assert elsewhere.asked == []
    assert "s3cret" not in str(caught.value)
    assert np.isfinite(pair.vnir.values).any()


@pytest.mark.parametrize(
    "target", ["file:///etc/hostname", "ftp://127.0.0.1:9/a.tif", "gopher://127.0.0.1:9/"]
)
@pytest.mark.fault("a server leads on to another scheme (file:, ftp:)", LED)
def test_a_redirection_to_another_scheme_is_refused(archive: Archive, files: Files, target: str) -> None:
    files.redirects["LC08_ST_B10.TIF"] = target
    with pytest.raises(InputError, match="may not be read"):
        led_pair(archive, files, [files.url]).lst.compute()


@pytest.mark.fault("redirections lead out by way of one that is allowed", LED)
def test_every_step_of_redirections_is_looked_at(archive: Archive, files: Files, elsewhere: Files) -> None:
    files.redirects["LC08_ST_B10.TIF"] = "/again/LC08_ST_B10.TIF"
    files.redirects["again/LC08_ST_B10.TIF"] = f"{elsewhere.url}/LC08_ST_B10.TIF"
    with pytest.raises(InputError, match="may not be read"):
        led_pair(archive, files, [files.url]).lst.compute()
    assert elsewhere.asked == []
    pair = led_pair(archive, files, [files.url, elsewhere.url])
    np.testing.assert_array_equal(pair.lst.values, pair_of(archive).lst.values)
    assert elsewhere.asked


@pytest.mark.fault("redirections lead in a circle", "an error that names the file")
def test_redirections_without_end(archive: Archive, files: Files) -> None:
    files.redirects["LC08_ST_B10.TIF"] = "/LC08_ST_B10.TIF"
    with pytest.raises(InputError, match=r"ST_B10\.TIF' is led on more than 10 times"):
        led_pair(archive, files, [files.url]).lst.compute()


def test_where_a_file_leads_is_asked_once(archive: Archive, files: Files) -> None:
    pair = led_pair(archive, files, [files.url])
    pair.lst.compute()
    first = len(files.asked)
    pair.lst.compute()
    assert len(files.asked) == first
    spans = [one.get("range") for one in files.headers]
    assert spans.count("bytes=0-0") == 1


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_file_that_does_not_tell_where_it_leads_is_not_opened(
    archive: Archive, files: Files, status: int
) -> None:
    files.failures["LC08_ST_B10.TIF"] = [status] * 99
    pair = led_pair(archive, files, [files.url])
    with pytest.raises(InputError, match=rf"cannot tell where .*ST_B10\.TIF' leads: HTTP status {status}"):
        pair.lst.compute()
    # None of these asked for more than the first bytes.
    assert {one.get("range") for one in files.headers} <= {"bytes=0-0", "bytes=0-511"}
    files.failures.clear()
    assert np.isfinite(pair.lst.values).any()


def test_metadata_and_archives_are_held_to_it(tmp_path: Path, own_files: Files, elsewhere: Files) -> None:
    with zipfile.ZipFile(own_files.folder / "a.zip", "w") as made:
        made.writestr("m.json", "{}")
    (own_files.folder / "m.json").write_text("{}")
    access = Access(allow=(own_files.url,), retries=0)
    archived = f"zip+{own_files.url}/a.zip!m.json"
    assert small_file(f"{own_files.url}/m.json", access) == b"{}"
    for name in ("m.json", "a.zip"):
        own_files.redirects[name] = f"{elsewhere.url}/{name}"
    forget_redirections()
    for href in (f"{own_files.url}/m.json", archived):
        with pytest.raises(InputError, match="may not be read"):
            small_file(href, access)
    with pytest.raises(InputError, match="may not be read"):
        header(archived, access)
    assert elsewhere.asked == []


def test_tokens_do_not_follow_redirections(
    archive: Archive, files: Files, elsewhere: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_TOKEN", "bearer-s3cret")
    files.redirects["LC08_ST_B10.TIF"] = f"{elsewhere.url}/LC08_ST_B10.TIF"
    access = Access(allow=(files.url, elsewhere.url), retries=0, token_env="A_TOKEN")
    header(f"{files.url}/LC08_ST_B10.TIF", access)
    assert any("s3cret" in one.get("authorization", "") for one in files.headers)
    assert elsewhere.headers
    assert not any("s3cret" in one.get("authorization", "") for one in elsewhere.headers)


@pytest.mark.fault("a server leads one query elsewhere and another not", LED)
def test_where_each_query_leads_is_asked(own_files: Files, elsewhere: Files) -> None:
    """The query may be what says where to: one that leads nowhere else vouches for no other."""
    (own_files.folder / "m.json").write_text("{}")
    access = Access(allow=(own_files.url,), retries=0)
    require_allowed_onward(f"{own_files.url}/m.json?to=here", access)
    own_files.redirects["m.json"] = f"{elsewhere.url}/m.json"
    with pytest.raises(InputError, match="may not be read"):
        require_allowed_onward(f"{own_files.url}/m.json?to=elsewhere", access)
    assert elsewhere.asked == []


def test_one_beginning_may_be_given_as_a_text(archive: Archive) -> None:
    """Its letters are none: a slash would allow every file of the machine."""
    root = str(archive.folder)
    both = [archive.landsat(root), archive.sentinel2(root)]
    assert load("landsat-sentinel2", items=both, allow=root).lst.sizes["y"] == 80
    told = "may not be read; allowed is what begins with s3://usgs-landsat/"
    with pytest.raises(InputError, match=told):
        load("landsat-sentinel2", items=both, allow="s3://usgs-landsat/")
    assert told in examine("landsat-sentinel2", both, allow="s3://usgs-landsat/").reasons("lst")

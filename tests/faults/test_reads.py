"""Reads that fail: repeated where that helps, else an error by name and reason, and never missing pixels."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from lstzoom.errors import EncodingError, GridMismatchError, InputError
from lstzoom.sources import signing
from lstzoom.sources.catalog import Access, Catalog, Constants, open_catalog
from lstzoom.sources.encoding import Told
from lstzoom.sources.loading import load
from lstzoom.sources.reading import RemoteBand, read
from tests.sources.archive import Archive, box, make_archive, write_cog
from tests.sources.servers import Files, file_server

SIDE = 700


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.02")
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "1")
    signing.forget_tokens()
    signing._failed.clear()
    yield
    signing.forget_tokens()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return make_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NDArray[np.uint16], GeoBox]:
    """Numbers that do not compress, as they are and packed."""
    import rasterio

    folder = tmp_path_factory.mktemp("noise")
    grid = box(600_000, 5_400_000, 30, (SIDE, SIDE))
    numbers = np.random.default_rng(0).integers(1, 60_000, grid.shape).astype(np.uint16)
    profile = {"driver": "GTiff", "height": SIDE, "width": SIDE, "count": 1, "dtype": "uint16",
               "crs": "EPSG:32632", "transform": grid.affine, "nodata": 0,
               "tiled": True, "blockxsize": 128, "blockysize": 128}  # fmt: skip
    for name, more in (("plain.tif", {}), ("packed.tif", {"compress": "deflate"})):
        with rasterio.open(folder / name, "w", **profile, **more) as file:
            file.write(numbers, 1)
    return folder, numbers, grid


@pytest.fixture
def server(noise: tuple[Path, NDArray[np.uint16], GeoBox]) -> Iterator[Files]:
    with file_server(noise[0]) as one:
        yield one


def band_of(href: str, grid: GeoBox, retries: int = 5) -> RemoteBand:
    return RemoteBand("lst", href, 1, grid, Told(nodata=0), Constants(), Access(retries=retries))


def read_all(band: RemoteBand, step: int = 100) -> NDArray[np.float32]:
    out = np.zeros(band.grid.shape, np.float32)
    for row in range(0, SIDE, step):
        for column in range(0, SIDE, step):
            window = slice(row, min(row + step, SIDE)), slice(column, min(column + step, SIDE))
            out[window] = read(band, band.grid, window)
    return out


NAMED = "the file fails by name"
TRANSIENT = {
    "429": "are refused with 429", "500": "fail with 500", "503": "are refused with 503",
    "slowdown": "are throttled as S3 does (503 SlowDown)", "drop": "end without an answer",
    "cut": "give half of the body", "short": "give less than asked and say so",
    "less": "give a body of another length than asked", "empty": "give nothing",
    "html": "give a web page", "whole": "give the whole file in place of a part",
}  # fmt: skip


@pytest.mark.parametrize("file", [pytest.param("plain.tif", marks=pytest.mark.slow), "packed.tif"])
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.fault(f"5 % of requests for parts of files {what}",
                                                   "repeated; the same pixels"))
        for kind, what in TRANSIENT.items()
    ],
)  # fmt: skip
def test_five_per_cent(
    server: Files, noise: tuple[Path, NDArray[np.uint16], GeoBox], kind: str, file: str
) -> None:
    server.fate = lambda _name, number: kind if number % 20 == 3 else ""
    for n in range(16):
        # Other addresses of the file, or what GDAL remembers of it would be read.
        values = read_all(band_of(f"{server.url}/{file}?{kind}={n}", noise[2]), 350)
        np.testing.assert_array_equal(values, noise[1])
    assert server.requests > 40
    assert 3 <= server.failed[kind] <= server.requests * 0.06


@pytest.mark.parametrize("kind", ["cut", "less", "short"])
@pytest.mark.parametrize("quiet", [False, True], ids=["heard", "quiet"])
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.fault("the header of a file is cut short in transit", "read again; no tag is lost")
def test_a_header_that_is_cut_short(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    quiet: bool,  # noqa: FBT001
) -> None:
    """GDAL opens it all the same, without nodata, scale and CRS."""
    import rasterio

    grid = box(600_000, 5_400_000, 30, (40, 40))
    numbers = np.full(grid.shape, 300, np.uint16)
    numbers[3, 3] = 7
    write_cog(tmp_path / "small.tif", numbers, grid, nodata=7, scale=0.5, unit="K")
    monkeypatch.setattr(
        logging.getLogger("rasterio"), "level", logging.CRITICAL if quiet else logging.WARNING
    )
    logging.getLogger("rasterio._env").setLevel(logging.NOTSET)
    band = RemoteBand("lst", "", 1, grid, Told(), Constants(), Access(retries=2))
    with file_server(tmp_path) as server:
        server.fate = lambda _name, number: kind if number == 0 else ""
        with rasterio.open(f"/vsicurl/{server.url}/small.tif?bare={kind}{quiet}") as file:
            assert (file.crs, file.nodata) != (rasterio.CRS.from_epsg(32632), 7), "nothing is lost: cut more"
        server.requests = 0
        values = read(
            replace(band, href=f"{server.url}/small.tif?{kind}{quiet}"), grid, (slice(0, 40), slice(0, 40))
        )
    assert np.isnan(values[3, 3])
    assert float(values[0, 0]) == 150


@pytest.mark.fault(
    "a request hangs", "given up after GDAL_HTTP_LOW_SPEED_TIME (60 s) and repeated; the same pixels"
)
def test_a_request_that_hangs(server: Files, noise: tuple[Path, NDArray[np.uint16], GeoBox]) -> None:
    server.fate = lambda _name, number: "hang" if number in {1, 7} else ""
    values = read_all(band_of(f"{server.url}/packed.tif", noise[2]), 350)
    np.testing.assert_array_equal(values, noise[1])
    assert server.failed["hang"] >= 1


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        pytest.param(kind, reason, marks=pytest.mark.fault(f"every request {what}", f"{NAMED}: {reason}"))
        for kind, what, reason in (
            ("403", "is refused with 403", "HTTP status 403"),
            ("404", "is answered with 404", "HTTP status 404"),
            ("503", "is refused with 503", "HTTP status 503"),
            ("drop", "ends without an answer", "ConnectionError"),
            ("cut", "gives half of the body", "the file begins as it should: it may be cut short"),
            ("empty", "gives nothing", "the file is empty"),
            ("html", "gives a web page", "the file is a web page, perhaps of a login, and no TIFF"),
            ("whole", "gives the whole file", "the server does not give parts of files"),
        )
    ],
)  # fmt: skip
def test_what_keeps_failing_is_named_with_the_reason(
    server: Files, noise: tuple[Path, NDArray[np.uint16], GeoBox], kind: str, reason: str
) -> None:
    server.fate = lambda _name, _number: kind
    with pytest.raises(InputError, match=rf"/plain\.tif'?.*{reason}"):
        read_all(band_of(f"{server.url}/plain.tif?all={kind}", noise[2], retries=1))


@pytest.mark.fault("a server is not there", f"{NAMED}: ConnectionError")
def test_nobody_listens(noise: tuple[Path, NDArray[np.uint16], GeoBox]) -> None:
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9/plain\.tif.*ConnectionError"):
        read_all(band_of("http://127.0.0.1:9/plain.tif", noise[2], retries=0))


@pytest.mark.fault("one file of a scene fails", "that scene fails by name; others are unharmed")
def test_one_scene_fails_alone(archive: Archive) -> None:
    with file_server(archive.folder) as server:
        server.fate = lambda name, _number: "cut" if name == "S2_red.tif" else ""
        both = [archive.landsat(server.url), archive.sentinel2(server.url)]
        catalog = quiet_catalog(retries=1)
        bad, good = (load(catalog, items=copy.deepcopy(both), bands=[band]) for band in ("red", "green"))
        with pytest.raises(InputError, match=r"S2_red\.tif"):
            bad.vnir.compute()
        assert np.isfinite(good.vnir.values).mean() > 0.9


def quiet_catalog(**settings: Any) -> Catalog:
    catalog = open_catalog("landsat-sentinel2")
    return catalog.model_copy(update={"access": Access(**settings), "endpoints": {}})


# Signatures


@pytest.fixture
def signed(archive: Archive) -> Iterator[tuple[Files, Catalog]]:
    with file_server(archive.folder) as files:
        files.secret = "first"
        sas = {"signing": "planetary-computer", "sas_hosts": ("127.0.0.1",), "sas_url": f"{files.url}/sas"}
        yield files, quiet_catalog(**sas)


@pytest.mark.fault("a token is withdrawn before its time", "another is fetched; the same pixels")
def test_a_token_that_is_withdrawn(archive: Archive, signed: tuple[Files, Catalog]) -> None:
    files, catalog = signed
    pair = load(catalog, items=[archive.landsat(files.url), archive.sentinel2(files.url)], bands=["red"])
    pair.valid.compute()
    files.secret = "second"
    pair.lst.compute()
    assert np.isfinite(pair.vnir.values).mean() > 0.9


@pytest.mark.fault("a signature of the search has ended", "signed anew; the same pixels")
def test_a_signature_that_has_ended_is_made_anew(archive: Archive, signed: tuple[Files, Catalog]) -> None:
    files, catalog = signed
    both = [archive.landsat(files.url), archive.sentinel2(files.url)]
    for item in both:
        for asset in item["assets"].values():
            asset["href"] += "?st=2020-01-01T00%3A00%3A00Z&se=2020-01-02T00%3A00%3A00Z&sig=old"
    pair = load(catalog, items=both, bands=["red"])
    np.testing.assert_allclose(pair.lst.values[5, 5], archive.lst_stored[5, 5] * 0.00341802 + 149, atol=1e-4)
    assert not any("sig=old" in one for one in files.asked)


@pytest.mark.fault("a signature ends that cannot be renewed here", f"{NAMED}: HTTP status 403")
def test_a_signature_of_others_that_ends(archive: Archive) -> None:
    with file_server(archive.folder) as files:
        files.secret = "mine"
        both = [archive.landsat(files.url), archive.sentinel2(files.url)]
        for item in both:
            for asset in item["assets"].values():
                asset["href"] += "?sig=mine"
        pair = load(quiet_catalog(retries=1), items=both, bands=["red"])
        pair.lst.compute()
        files.secret = "ended"
        with pytest.raises(
            InputError, match=r"S2_red\.tif.*HTTP status 403.*a signature has ended"
        ) as caught:
            pair.vnir.compute()
        assert "mine" not in str(caught.value)


# S3


@pytest.fixture
def s3(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    bucket = tmp_path / "scenes"
    bucket.mkdir()
    for path in archive.folder.glob("*.[tT][iI][fF]"):
        (bucket / path.name).write_bytes(path.read_bytes())
    with file_server(tmp_path) as server:
        for name, value in {
            "AWS_S3_ENDPOINT": server.url.removeprefix("http://"), "AWS_HTTPS": "NO",
            "AWS_VIRTUAL_HOSTING": "NO", "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "w0rd-s3cret",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        yield server


@pytest.mark.fault("S3 throttles every second request (503 SlowDown)", "repeated; the same pixels")
def test_s3_throttles(archive: Archive, s3: Files) -> None:
    s3.fate = lambda _name, number: "slowdown" if number % 2 == 0 else ""
    both = [archive.landsat("s3://scenes"), archive.sentinel2("s3://scenes")]
    pair = load(quiet_catalog(), items=both, bands=["red"], chunks=20)
    lst, vnir = dask.compute(pair.lst, pair.vnir)
    here = [archive.landsat(str(archive.folder)), archive.sentinel2(str(archive.folder))]
    local = load("landsat-sentinel2", bands=["red"], items=here)
    np.testing.assert_array_equal(lst.values, local.lst.values)
    np.testing.assert_array_equal(vnir.values, local.vnir.values)
    assert s3.failed["slowdown"] >= 2


@pytest.mark.fault("S3 throttles without end", f"{NAMED}; no credential in the message")
def test_s3_throttles_without_end(archive: Archive, s3: Files) -> None:
    s3.fate = lambda _name, _number: "slowdown"
    both = [archive.landsat("s3://scenes"), archive.sentinel2("s3://scenes")]
    pair = load(quiet_catalog(retries=1), items=both, bands=["red"])
    with pytest.raises(InputError, match=r"scenes/LC08_ST_B10\.TIF") as caught:
        pair.lst.compute()
    assert "s3cret" not in str(caught.value)


# Files that are not what their item says


def with_file(archive: Archive, folder: Path, content: bytes | None) -> dict[str, Any]:
    item = archive.landsat(str(archive.folder))
    path = folder / "LC08_ST_B10.TIF"
    if content is not None:
        path.write_bytes(content)
    item["assets"]["lwir11"]["href"] = str(path)
    return item


BROKEN = {
    "empty": ("is empty", "the file is empty"),
    "html": ("is a web page", "the file is a web page, perhaps of a login, and no TIFF"),
    "xml": ("is an error message of a store", "the file is a message of a server, or metadata, and no TIFF"),
    "cut": ("is cut short", "the file begins as it should: it may be cut short"),
    "other": ("is of another format", "and is no TIFF"),
    "absent": ("is not there", "cannot open the raster"),
}


@pytest.mark.parametrize("remote", [False, True], ids=["here", "remote"])
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.fault(f"an asset {what}", f"{NAMED}: {reason}"))
        for kind, (what, reason) in BROKEN.items()
    ],
)
def test_files_that_are_no_rasters(archive: Archive, tmp_path: Path, kind: str, remote: bool) -> None:  # noqa: FBT001
    whole = (archive.folder / "LC08_ST_B10.TIF").read_bytes()
    content = {
        "empty": b"",
        "html": b"<!DOCTYPE html><html><body>Login</body></html>" * 90,
        "other": b"\x89HDF\r\n" * 99,
        "xml": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
        "cut": whole[: len(whole) * 2 // 3],
        "absent": None,
    }[kind]
    item = with_file(archive, tmp_path, content)
    reason = BROKEN[kind][1]
    with file_server(tmp_path) as files:
        if remote:
            item["assets"]["lwir11"]["href"] = f"{files.url}/LC08_ST_B10.TIF"
            reason = "HTTP status 404: there is no such file" if kind == "absent" else reason
        both = [item, archive.sentinel2(str(archive.folder))]
        pair = load(quiet_catalog(retries=0), items=both, bands=["red"])
        with pytest.raises(
            InputError, match=rf"LC08_ST_B10\.TIF[\s\S]*{reason}|{reason}[\s\S]*LC08_ST_B10\.TIF"
        ):
            pair.lst.compute()
        # What else there is can be had.
        assert np.isfinite(pair.vnir.values).mean() > 0.9


def of_file(archive: Archive, folder: Path, grid: GeoBox, numbers: NDArray[Any], **how: Any) -> Any:  # noqa: ANN401
    item = with_file(archive, folder, None)
    write_cog(folder / "LC08_ST_B10.TIF", numbers, grid, **how)
    return load("landsat-sentinel2", items=[item, archive.sentinel2(str(archive.folder))], bands=["red"])


@pytest.mark.fault("a file lies in another CRS than its item says", f"{NAMED}: lies on …, its item tells …")
def test_another_crs(archive: Archive, tmp_path: Path) -> None:
    grid = archive.lst_grid
    other = box(grid.affine.c, grid.affine.f, 30.0, (grid.shape.y, grid.shape.x), "EPSG:32633")
    pair = of_file(archive, tmp_path, other, archive.lst_stored, nodata=0)
    with pytest.raises(
        GridMismatchError, match=r"LC08_ST_B10\.TIF' lies on .*32633.* its item tells .*32632"
    ):
        pair.lst.compute()


@pytest.mark.fault("a file has another size than its item says", f"{NAMED}: lies on …, its item tells …")
def test_another_size(archive: Archive, tmp_path: Path) -> None:
    pair = of_file(archive, tmp_path, archive.lst_grid[:-1, :], archive.lst_stored[:-1], nodata=0)
    with pytest.raises(GridMismatchError, match=r"LC08_ST_B10\.TIF' lies on .* its item tells"):
        pair.lst.compute()


@pytest.mark.fault("a file holds kelvin where its item says whole numbers", f"{NAMED}: holds float32, …")
def test_another_dtype(archive: Archive, tmp_path: Path) -> None:
    item = with_file(archive, tmp_path, None)
    kelvin = np.full(archive.lst_grid.shape, 300, np.float32)
    write_cog(tmp_path / "LC08_ST_B10.TIF", kelvin, archive.lst_grid)
    item["assets"]["lwir11"]["raster:bands"][0]["data_type"] = "uint16"
    pair = load("landsat-sentinel2", items=[item, archive.sentinel2(str(archive.folder))], bands=["red"])
    with pytest.raises(EncodingError, match=r"holds float32, and its item tells uint16 for 'lst'"):
        pair.lst.compute()


@pytest.mark.fault("a file marks missing pixels by another number than its item", "both numbers are missing")
def test_another_nodata(archive: Archive, tmp_path: Path) -> None:
    numbers = archive.lst_stored.copy()
    numbers[20, 20], numbers[21, 21] = 65535, 0
    pair = of_file(archive, tmp_path, archive.lst_grid, numbers, nodata=65535)
    values = pair.lst.values
    assert np.isnan(values[[20, 21], [20, 21]]).all()
    assert np.isfinite(values[30:, 30:]).all()


@pytest.mark.fault("an item lacks an asset", "listed with the reason; other items are used")
def test_an_item_that_lacks_an_asset(archive: Archive) -> None:
    root = str(archive.folder)
    poor = archive.sentinel2(root, "poor")
    del poor["assets"]["swir16"]
    pair = load("landsat-sentinel2", items=[archive.landsat(root), poor, archive.sentinel2(root)])
    assert pair.attrs["vnir_items"] == ["S2A_32UPU_20230703_0_L2A"]
    (told,) = [one for one in pair.unusable if one.item == "poor" and one.side == "vnir"]
    assert "no asset for the bands ['swir16']" in told.reason


@pytest.mark.fault("a file with items is broken", "an error that names the file")
def test_a_broken_file_of_items(archive: Archive, tmp_path: Path) -> None:
    text = json.dumps({"type": "FeatureCollection", "features": [archive.landsat("x")]})
    (tmp_path / "items.json").write_text(text[: len(text) // 2])
    with pytest.raises(InputError, match=r"items\.json' holds no STAC items that can be read"):
        load("landsat-sentinel2", items=tmp_path / "items.json")

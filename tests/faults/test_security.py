"""No one let in: archives, texts and addresses that want more than to be read; secrets that stay secret."""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.shutil import copy as copy_raster
from typer.testing import CliRunner

from lstzoom import cli
from lstzoom.errors import ConfigError, InputError, LstzoomError
from lstzoom.jobs.log import RunLog
from lstzoom.jobs.store import store_at
from lstzoom.product import open_bundle
from lstzoom.product.simulated import write_bundle
from lstzoom.simulate import Scene, simulate_scene
from lstzoom.sources import signing
from lstzoom.sources.catalog import Access, open_catalog
from lstzoom.sources.job import read_job
from lstzoom.sources.loading import load
from lstzoom.sources.redaction import redact
from tests.sources.archive import Archive, make_archive
from tests.sources.servers import file_server

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def scene() -> Scene:
    return simulate_scene((90, 90), bands=("green", "red", "nir"), seed=2)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bands = ("blue", "green", "red", "rededge", "nir", "nir08")
    scene = simulate_scene((60, 60), bands=bands, seed=2)
    return write_bundle(tmp_path_factory.mktemp("bundle"), container="zip", scene=scene)


def rewritten(bundle: Path, target: Path, name: Callable[[str], str]) -> Path:
    with zipfile.ZipFile(bundle) as old, zipfile.ZipFile(target, "w") as new:
        for one in old.namelist():
            new.writestr(name(one), old.read(one))
    return target


@pytest.mark.parametrize("prefix", ["../", "a/../../", "/", "..\\", "folder/..\\..\\"])
@pytest.mark.fault("a zip names files outside of it (zip slip)", "refused; nothing is ever unpacked to disk")
def test_zip_slip(bundle: Path, tmp_path: Path, prefix: str) -> None:
    bad = rewritten(bundle, tmp_path / "bad.zip", lambda one: prefix + one)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="leads out of it"):
        open_bundle(bad)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.fault("a zip explodes when it is unpacked (zip bomb)", "refused before a byte is unpacked")
def test_zip_bomb(bundle: Path, tmp_path: Path) -> None:
    bad = rewritten(bundle, tmp_path / "bomb.zip", lambda one: one)
    with (
        zipfile.ZipFile(bad, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("vnir09.tiff", "w") as member,
    ):
        for _ in range(300):
            member.write(bytes(1 << 20))
    assert bad.stat().st_size < 5 << 20
    with pytest.raises(InputError, match=r"would unpack to 3\d\d MiB"):
        open_bundle(bad)


@pytest.mark.fault("a zip holds thousands of files", "refused")
def test_a_zip_of_many_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(1200):
            archive.writestr(f"{number}.txt", "")
    with pytest.raises(InputError, match="1000 files or more"):
        open_bundle(tmp_path / "many.zip")


@pytest.mark.fault("a bundle holds a VRT, which names other files", "refused; they are not read")
def test_a_vrt_in_a_bundle(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    (lst,) = [path for path in folder.rglob("*") if path.name.lower().endswith(("_lst.tiff", "/lst.tiff"))]
    secret = tmp_path / "secret.tif"
    lst.rename(secret)
    copy_raster(str(secret), str(lst), driver="VRT")
    with rasterio.open(lst) as file:
        assert file.driver == "VRT"
    with pytest.raises(InputError, match="cannot open the raster"):
        open_bundle(folder)


JOB = "catalog:\n  name: demo\narea:\n  bbox: [1, 2, 3, 4]\ndatetime: 2023-06\n"


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch {target}']",
        "catalog: !!python/object/new:os.system ['touch {target}']",
        "catalog: !!python/name:os.system",
        "x: !include {target}",
    ],
)
@pytest.mark.fault("a job wants code executed", "refused; nothing runs")
def test_jobs_execute_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "job.yaml").write_text(JOB + text.format(target=tmp_path / "ran"))
    with pytest.raises(ConfigError):
        read_job(tmp_path / "job.yaml")
    assert not (tmp_path / "ran").exists()


@pytest.mark.fault("a job of some lines unfolds into gigabytes (aliases of aliases)", "refused")
def test_a_billion_laughs(tmp_path: Path) -> None:
    lines = ["a0: &a0 [lol, lol]", *(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 12))]
    (tmp_path / "job.yaml").write_text(JOB + "\n".join(lines))
    with pytest.raises(ConfigError, match=r"the alias \*a0 is not read"):
        read_job(tmp_path / "job.yaml")


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
@pytest.mark.fault("brackets without end, in YAML, TOML or JSON", "an error of ours")
def test_brackets_without_end(tmp_path: Path, opening: str) -> None:
    deep = opening * 20_000
    for name, content, read in (
        ("job.yaml", deep, read_job),
        ("c.toml", "a = " + deep, open_catalog),
        ("items.json", deep, lambda path: load("landsat-sentinel2", items=path)),
        ("area.geojson", "[" * 100_000, lambda path: load("landsat-sentinel2", path, "2023")),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(LstzoomError):
            read(tmp_path / name)


@pytest.mark.fault("models or settings in pickles", "no code of lstzoom unpickles anything")
def test_nothing_is_unpickled() -> None:
    """By its text: neither pickle nor what rests on it, and no YAML but safe YAML."""
    forbidden = re.compile(
        r"pickle\.load|cPickle|joblib|dill\.|cloudpickle|shelve|marshal\.loads|allow_pickle=True|"
        r"yaml\.(unsafe_load|full_load|Loader|UnsafeLoader|FullLoader)|\beval\(|\bexec\(|os\.system|shell=True"
    )
    found = {
        f"{path.name}: {line.strip()}"
        for path in (ROOT / "lstzoom").rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        # What a line has pickled itself it may read.
        if forbidden.search(line) and "made in this line" not in line
    }
    assert found == set()


# Secrets

SECRET = "s3cr3t"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return make_archive(tmp_path_factory.mktemp("archive"))


@pytest.mark.fault(
    "a signed address on the command line", "not in outputs, tags, band names, messages or logs"
)
def test_signed_addresses_on_the_command_line(scene: Scene, tmp_path: Path) -> None:
    from lstzoom.simulate import write_scene

    served = tmp_path / "served"
    served.mkdir()
    write_scene(scene, served)
    environment = {**os.environ, "CPL_LOG_ERRORS": "ON", "GDAL_HTTP_RETRY_DELAY": "0.02"}
    with file_server(served) as files:
        files.secret = SECRET
        query = f"?sig={SECRET}&X-Amz-Signature={SECRET}"
        lst, *vnir = (f"{files.url}/{name}.tif{query}" for name in ("lst", "red", "nir"))
        out = tmp_path / "out.tif"
        start = [sys.executable, "-m", "lstzoom", "sharpen"]
        end = [*vnir, "-o", str(out), "--qa", str(tmp_path / "qa.tif"), "--overwrite", "--verbose", "--debug"]

        def told(*command: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

        done = told(*start, lst, *end, "--json")
        assert done.returncode == 0, done.stderr
        failed = told(*start, lst.replace("lst.tif", "absent.tif"), *end)
        assert failed.returncode == 3
        assert "absent.tif" in failed.stderr
    for text in (done.stdout, done.stderr, failed.stdout, failed.stderr):
        assert SECRET not in text
    for path in tmp_path.glob("*.*"):
        assert SECRET.encode() not in path.read_bytes(), path
    with rasterio.open(out) as file:
        assert file.tags()["LSTZOOM_VNIR"] == "red.tif, nir.tif"
        assert file.tags()["LSTZOOM_BANDS"] == "red, nir"


@pytest.mark.fault(
    "tokens and keys of a search and its reads", "not in graphs, task names, attributes, messages or logs"
)
def test_secrets_of_a_source(
    archive: Archive, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SOME_TOKEN", f"bearer-{SECRET}")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"aws-{SECRET}")
    monkeypatch.setenv("PC_SDK_SUBSCRIPTION_KEY", f"pc-{SECRET}")
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.02")
    signing.forget_tokens()
    with file_server(archive.folder) as files:
        files.secret = SECRET
        access = Access(
            signing="planetary-computer", sas_hosts=("127.0.0.1",), sas_url=f"{files.url}/sas",
            token_env="SOME_TOKEN", retries=1,
        )  # fmt: skip
        catalog = open_catalog("landsat-sentinel2").model_copy(update={"access": access, "endpoints": {}})
        root = files.url.replace("://", f"://user:{SECRET}@")
        both = [archive.landsat(files.url), archive.sentinel2(files.url)]
        pair = load(catalog, items=both, bands=["red"])
        graph = pair.vnir.__dask_graph__()
        assert SECRET.encode() not in pickle.dumps(graph)
        assert SECRET not in repr(list(graph.keys()))
        pair.lst.compute()
        files.failures["S2_red.tif"] = [404] * 9
        with pytest.raises(InputError) as caught:
            pair.vnir.compute()
        assert SECRET not in str(caught.value)
        spelled = [archive.landsat(root, "with-password"), archive.sentinel2(files.url)]
        files.failures["LC08_ST_B10.TIF"] = [404] * 9
        with pytest.raises(InputError) as caught:
            load(catalog, items=spelled, bands=["red"]).lst.compute()
        assert SECRET not in str(caught.value)
        assert SECRET not in repr((pair.attrs, pair.lst.attrs, pair.vnir.attrs, pair.unusable))
    assert SECRET not in caplog.text
    signing.forget_tokens()


@pytest.mark.fault("a signed address of a bundle", "not in its STAC item")
def test_items_of_signed_bundles(bundle: Path, tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    (served / bundle.name).write_bytes(bundle.read_bytes())
    pytest.importorskip("aiohttp")
    with file_server(served) as files:
        files.secret = SECRET
        address = f"{files.url}/{bundle.name}?sig={SECRET}"
        done = CliRunner().invoke(cli.app, ["catalog", "ingest", address])
    assert done.exit_code == 0, done.stderr
    assert SECRET not in done.output
    assert json.loads(done.stdout)["assets"]["lst"]["href"].endswith(".tiff")


@pytest.mark.fault("a password in a setting that is wrong", "not in the message")
def test_secrets_in_settings(tmp_path: Path) -> None:
    wrong = f"'https://me:{SECRET}@store.example/x?sig={SECRET}'"
    (tmp_path / "job.yaml").write_text(f"{JOB}outputs:\n  cog: {wrong}\n")
    with pytest.raises(ConfigError, match=r"outputs\.cog") as caught:
        read_job(tmp_path / "job.yaml")
    assert SECRET not in str(caught.value)


@pytest.mark.fault("a member of a zip lies about its size", "an error of ours")
def test_a_zip_that_lies(bundle: Path, tmp_path: Path) -> None:
    data = bytearray(bundle.read_bytes())
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
        (told,) = [one for one in archive.infolist() if one.filename.lower().endswith("metadata.json")]
    at = data.rindex(told.filename.encode()) - 46
    assert data[at : at + 4] == b"PK\x01\x02"
    data[at + 24 : at + 28] = (7).to_bytes(4, "little")
    (tmp_path / "lies.zip").write_bytes(bytes(data))
    with pytest.raises(InputError):
        open_bundle(tmp_path / "lies.zip")


def test_the_simulated_bundle_is_fine(bundle: Path) -> None:
    assert np.isfinite(open_bundle(bundle).load().lst.values).any()


@pytest.mark.parametrize(
    "text",
    [
        f"https://h/x.tif?X-Amz-Security-Token={SECRET}&X-Amz-Signature={SECRET}",
        f"/vsicurl?url=https%3A%2F%2Fh%2Fx.tif%3Fsig%3D{SECRET}%26se%3D{SECRET}",
        f"https://h/x?jwt={SECRET}&auth={SECRET}",
        f"https://h/x?hdnea={SECRET}~hmac={SECRET}",
        f"DefaultEndpointsProtocol=https;AccountKey={SECRET}==;EndpointSuffix=x",
        f"{{'aws_secret_access_key': '{SECRET}'}}",
        f'{{"refresh_token": "{SECRET}", "access_token":"{SECRET}"}}',
        f"grant_type=x&client_secret={SECRET}&password={SECRET}",
        f"AWS_SESSION_TOKEN={SECRET}",
        f"Cookie: asf-urs={SECRET}",
        f"Authorization: Bearer {SECRET}",
        f'Authorization: Digest username="me", response="{SECRET}"',
        f"Authorization: Token {SECRET}",
        f"{{'Set-Cookie': ['a=1; b={SECRET}']}}",
        f"('Authorization', b'ApiKey {SECRET}')",
        f"https://h/x?a=1\\u0026sig={SECRET}",
        f"https://me:{SECRET}@{SECRET}@h/x s3://me:{SECRET}/{SECRET}@bucket/x",
        f"catalog:\n  client_secret: {SECRET}\n  name: x",
    ],
)
def test_secrets_are_taken_out_of_whatever_holds_them(text: str) -> None:
    assert SECRET not in redact(text)


SHAPES: list[Callable[[str, str], Any]] = [
    lambda name, secret: {"a": "b", name: secret, "c": "d"},
    lambda name, secret: {"request": {"headers": {"Cookie": f"{name}={secret}; b={secret}"}}},
    lambda name, secret: {"sent": f"Cookie: a={secret}; {name}={secret}; c=1"},
    lambda name, secret: {"sent": f"GET /\r\nAuthorization: Digest {name}, y={secret}"},
    lambda name, secret: f"cannot connect with {name}={json.dumps(secret)}; port=1",
    lambda name, secret: f"cannot connect with {name} = {secret!r}, port = 1",
    lambda name, secret: repr({"a": 1, name: secret, "b": "c"}),
    lambda name, secret: repr([("Accept", name), ("Authorization", f"Basic {secret}")]),
    lambda name, secret: f"> Cookie: {name}={secret.replace(chr(10), ' ')}; b=2\n> Accept: */*",
    lambda name, secret: f"  {name}: {json.dumps(secret)}\n  region: x",
]


@pytest.mark.fault("secrets in headers, settings, JSON, and JSON within JSON", "not in what is told")
@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(
    st.sampled_from(SHAPES),
    st.sampled_from(["token", "password", "client_secret", "AccountKey", "aws_session_token", "api_key"]),
    st.text("ab \"';,:&={}[]\\<>%/@\n", max_size=12),
    st.integers(0, 3),
)
def test_no_part_of_a_secret_is_told(
    shape: Callable[[str, str], Any], name: str, middle: str, depth: int
) -> None:
    text = shape(name, f"HEAD7{middle}TAIL7")
    text = text if isinstance(text, str) else json.dumps(text)
    for _ in range(depth):
        text = json.dumps({"status": 500, "body": text, "at": "now"})
    assert not re.search("HEAD7|TAIL7", redact(text))


def test_what_is_logged_of_a_run_stays_json(tmp_path: Path) -> None:
    log = RunLog(store_at(str(tmp_path)), "r")
    log.add("failed", scene="a", error=f"Cookie: a={SECRET}; b='{SECRET}", at_last=[f"token={SECRET}", 1])
    log.close()
    (path,) = tmp_path.rglob("*.jsonl")
    assert SECRET not in path.read_text()
    assert json.loads(path.read_text())["scene"] == "a"


@pytest.mark.parametrize(
    "text",
    [
        "access.client_secret: Field required",
        "token_env=SOME_NAME",
        "https://h:8080/a/b.tif?bands=1",
        "https://h:8080/a@2.tif",
        "unexpected token at line 4",
        "design=modern",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text

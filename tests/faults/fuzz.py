"""Readers that take what others write, and what may come out of them: a result, or an error of lstzoom.

`tests/faults/test_fuzz.py` runs them on what hypothesis makes, for some seconds; ``make fuzz`` with atheris,
which follows the branches that are taken, as long as one likes.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
import rasterio
from numpy.typing import NDArray

from lstzoom import fit, load_model, sharpen
from lstzoom.errors import LstzoomError
from lstzoom.jobs import layout
from lstzoom.jobs.lease import KEY as LEASE
from lstzoom.jobs.ledger import sum_up
from lstzoom.jobs.overview import status_lines
from lstzoom.jobs.report import make_page
from lstzoom.jobs.status import status_of
from lstzoom.jobs.store import as_json, store_at
from lstzoom.jobs.tiles import statistics
from lstzoom.product import ingest, open_bundle
from lstzoom.product.simulated import write_bundle
from lstzoom.raster import LazyStack, close_files, describe
from lstzoom.report.page import render
from lstzoom.simulate import SceneArrays, simulate_scene
from lstzoom.sources.area import as_area
from lstzoom.sources.catalog import catalog_folder, open_catalog
from lstzoom.sources.job import read_job, write_job
from lstzoom.sources.loading import load
from lstzoom.sources.pair import make_pairs
from lstzoom.sources.search import examine
from tests.sources.archive import Archive, make_archive


@cache
def folder() -> Path:
    """Scratch folder of this process."""
    return Path(tempfile.mkdtemp(prefix="lstzoom-fuzz-"))


@cache
def archive() -> Archive:
    """Small archive, as a seed and for items to name."""
    return make_archive(folder() / "archive")


def _put(name: str, data: bytes) -> Path:
    path = folder() / name
    path.write_bytes(data)
    return path


def raster(data: bytes) -> None:
    """A GeoTIFF: header and all pixels."""
    sources = describe(_put("fuzz.tif", data), driver="GTiff")
    for source in sources[:4]:
        rows, columns = source.geobox.shape
        if rows * columns <= 1 << 20:
            LazyStack((source,), source.geobox)[:]


def job(data: bytes) -> None:
    """A job: what can be read can be written and read again."""
    found = read_job(_put("job.yaml", data))
    assert read_job(_put("again.yaml", write_job(found).encode())) == found


def catalog(data: bytes) -> None:
    """A catalogue."""
    open_catalog(_put("catalog.toml", data))


def items(data: bytes) -> None:
    """STAC items: looked at, paired, and described for loading."""
    path = _put("items.json", data)
    source = open_catalog("landsat-sentinel2")
    # Addresses that lead nowhere are not to be waited for.
    quick = source.model_copy(update={"access": source.access.model_copy(update={"retries": 0})})
    make_pairs(examine(quick, path))
    load(quick, items=path, bands=["red", "swir16"])


def area(data: bytes) -> None:
    """An area of interest in GeoJSON."""
    as_area(_put("area.geojson", data))


def bundle(data: bytes) -> None:
    """A bundle in a zip: opened, described, a part of it read."""
    found = open_bundle(_put("fuzz.zip", data))
    ingest(found)
    found.load().lst[:5, :5].compute(scheduler="synchronous")


def model(data: bytes) -> None:
    """A trained model: read, and used on a small scene."""
    path = _put("fuzz.lstzoom", data)
    fine = _scene()
    sharpen(fine.vnir, fine.lst, model=load_model(path))


STORED: Final = {
    "entry": layout.entry("begun", "r000c000"), "record": layout.scene_record("whole"),
    "failure": layout.failure("begun", "r000c001"), "summary": layout.SUMMARY, "frozen job": layout.JOB,
    "lease": LEASE, "places": layout.PLACES,
}  # fmt: skip
"""What a run keeps in its store, by key."""


def stored(kind: str) -> Callable[[bytes], None]:
    """One document of a store of a run; state, figures, status and report are made of it."""

    def read(data: bytes) -> None:
        store = store_at(str(folder() / "store"))
        for name, key in STORED.items():
            store.write(key, data if name == kind else seed(name))
        list(status_lines(status_of(read_job(_put("job.yaml", _job())), store.url)))
        render(make_page(store))

    return read


READERS: Final[dict[str, Callable[[bytes], None]]] = {
    "raster": raster, "job": job, "catalog": catalog, "items": items, "area": area, "bundle": bundle,
    "model": model, **{kind: stored(kind) for kind in STORED},
}  # fmt: skip


def run(name: str, data: bytes) -> bool:
    """Read; tell whether it could be read. Errors of ours are what bad input shall give, others are bugs."""
    try:
        with warnings.catch_warnings():
            # Files without a place, and the like: the reader's own errors tell it.
            warnings.simplefilter("ignore")
            READERS[name](data)
    except LstzoomError:
        return False
    finally:
        close_files()
    return True


@cache
def seed(name: str) -> bytes:
    """Something that can be read, to change."""
    if name in STORED:
        return as_json(_documents()[name])
    seeds = {
        "raster": _raster, "job": _job, "catalog": _catalog, "items": _items, "area": _area, "model": _model,
        "bundle": _bundle,
    }  # fmt: skip
    return seeds[name]()


def _raster() -> bytes:
    numbers = np.arange(32 * 32, dtype=np.uint16).reshape(1, 32, 32)
    profile: dict[str, Any] = {
        "driver": "GTiff", "height": 32, "width": 32, "count": 1, "dtype": "uint16", "crs": "EPSG:32632",
        "transform": rasterio.transform.from_origin(6e5, 54e5, 10, 10), "nodata": 0, "compress": "deflate",
    }  # fmt: skip
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile) as file:
            file.write(numbers)
            file.scales, file.units = (0.01,), ("K",)
        return bytes(memory.read())


def _job() -> bytes:
    text = 'catalog:\n  name: demo\narea:\n  bbox: [1, 2, 3, 4]\ndatetime: "2023-06"\n'
    return write_job(read_job(_put("seed.yaml", text.encode()))).encode()


def _catalog() -> bytes:
    return (catalog_folder() / "landsat-sentinel2.toml").read_bytes()


def _items() -> bytes:
    root = str(archive().folder)
    both = [archive().landsat(root), archive().sentinel2(root)]
    return json.dumps({"type": "FeatureCollection", "features": both}).encode()


def _area() -> bytes:
    ring = [[11, 48], [12, 48], [12, 49], [11, 48]]
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    return json.dumps({"type": "FeatureCollection", "features": [feature]}).encode()


def _bundle() -> bytes:
    bands = ("blue", "green", "red", "rededge", "nir", "nir08")
    scene = simulate_scene((30, 30), bands=bands, seed=2)
    path = write_bundle(folder() / "bundle", container="zip", scene=scene)
    # Stored, not packed: a changed byte is then one of a file in it, and not of its checksum alone.
    data = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(data, "w") as new:
        for one in old.namelist():
            new.writestr(one, old.read(one))
    return data.getvalue()


@cache
def _scene() -> SceneArrays:
    return simulate_scene((60, 60), seed=1).to_xarray()


def _model() -> bytes:
    scene = _scene()
    return fit([(scene.vnir, scene.lst)]).to_bytes()[0]


def _documents() -> dict[str, dict[str, Any]]:
    """Documents of a store with a scene that is complete and one that is not."""
    at, scenes = "2023-06-01T10:00:00+00:00", ("whole", "begun")
    lst = np.full((48, 48), 300, np.float32)
    layers: dict[str, NDArray[Any]] = {
        "lst": lst,
        "qa": np.ones(lst.shape, np.uint8),
        "lst_uncertainty": lst / 300,
    }
    entry = {
        "tile": "r000c000", "bytes": {"zarr": 9, "cog": 9}, "model": "0" * 64, "cpu_s": 0.1,
        **statistics(layers, np.zeros((16, 16), np.float32)),
    }  # fmt: skip
    place = {
        "item": "a", "vnir": ["b"], "cube": "epsg32631", "tile": 16, "datetime": at, "ratio": 3,
        "crs": "EPSG:32631", "coarse_shape": [16, 32], "coarse_transform": [30.0, 0.0, 3e5, 0.0, -30.0, 5e6],
    }  # fmt: skip
    record = {
        "scene": "whole", "lst_item": "a", "vnir_items": ["b"], "datetime": at, "cube": "epsg32631",
        "shape": [48, 96], "crs": "EPSG:32631", "transform": [10.0, 0.0, 3e5, 0.0, -10.0, 5e6],
        "tile_names": ["r000c000", "r000c001"], "model": entry["model"],
        **sum_up({"r000c000": entry, "r000c001": entry}),
    }  # fmt: skip
    failure = {
        "scene": "begun",
        "what": "r000c001",
        "error": "no",
        "kind": "InputError",
        "attempts": 4,
        "at": at,
    }
    summary = {
        "format": 1, "run": "r", "state": "failed", "exit_code": 4, "why": "", "lstzoom": "0", "job": "h",
        "store": "s", "started": at, "ended": at, "seconds": {"all": 1.0}, "tasks": 4, "retried": 0,
        "bytes": 9, "scenes": {"all": 2, "complete": 1},
        "tiles": {"all": 4, "before": 0, "done": 3, "failed": 1, "left": 1},
        "failed": [], "left_out": [{"name": "c", "reason": "no"}], "cubes": [], "collection": None,
    }  # fmt: skip
    frozen = {
        "format": 1, "settings": {"catalog": {"name": "demo"}, "outputs": {"zarr": False, "cog": True}},
        "inputs": {key: {"lst": "a", "vnir": ["b"], "hash": "h"} for key in scenes}, "code": {"lstzoom": "0"},
        "hash": "h",
    }  # fmt: skip
    me = psutil.Process()
    lease = {
        "token": "t", "host": "h", "machine": "m", "process": os.getpid(), "started": me.create_time(),
        "since": at, "seconds": 120.0,
    }  # fmt: skip
    places = {"format": 1, "scenes": dict.fromkeys(scenes, place)}
    return {
        "entry": entry, "record": record, "failure": failure, "summary": summary, "frozen job": frozen,
        "lease": lease, "places": places,
    }  # fmt: skip

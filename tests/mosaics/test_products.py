"""Products and stores of single scenes as results that go into a mosaic."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
from numpy.typing import NDArray

import lstzoom
from lstzoom.cube import open_cube
from lstzoom.encoding import Encoding
from lstzoom.product import open_bundle, open_outputs, publish
from lstzoom.product.simulated import write_bundle
from lstzoom.simulate import Scene, simulate_scene
from lstzoom.write import QA, UINT16, CogSink


@pytest.fixture(scope="module")
def scene() -> Scene:
    return simulate_scene((150, 120), bands=("blue", "green", "red", "rededge", "nir", "nir08"), seed=2)


@pytest.fixture(scope="module")
def product(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of products with one whose temperature is the truth."""
    folder = tmp_path_factory.mktemp("made")
    bundle = write_bundle(folder, container="zip", scene=scene)
    fine = open_bundle(bundle).grids(open_bundle(bundle).choose(None), None).fine
    layers: dict[str, tuple[NDArray[Any], Encoding, str, str]] = {
        "lst": (scene.truth, UINT16, "LST", "K"),
        "sigma": (np.full(scene.truth.shape, 0.7, np.float32), UINT16, "LST uncertainty", "K"),
        "qa": (np.ones(scene.truth.shape, np.uint8), QA, "QA", "1"),
    }
    for name, (values, encoding, title, units) in layers.items():
        path = folder / f"{name}.tif"
        with CogSink(path, fine, encoding, description=title, units=units) as sink:
            sink.write(values, (slice(0, fine.shape.y), slice(0, fine.shape.x)))
    root = tmp_path_factory.mktemp("products")
    publish(bundle, open_outputs(folder / "lst.tif", folder / "qa.tif", folder / "sigma.tif"), root)
    return root


def test_products_become_a_mosaic_by_their_collection(product: Path, scene: Scene, tmp_path: Path) -> None:
    (item,) = pystac.Collection.from_file(str(product / "collection.json")).get_items()
    (made,) = lstzoom.mosaic(product, tmp_path / "m.zarr", crs="utm", tile=128, feather=100)
    mosaic = open_cube(made.store).isel(time=0).load()
    known = mosaic.where(mosaic["count"] > 0, drop=True)
    np.testing.assert_allclose(known.lst.values, scene.truth, atol=0.0051)
    np.testing.assert_allclose(known.lst_uncertainty.values, 0.7, atol=1e-6)
    assert (known.qa.values == 1).all()
    assert item.datetime is not None
    told = np.datetime64(item.datetime.astimezone(UTC).replace(tzinfo=None, second=0, microsecond=0))
    assert (known.source_time.values == told).all()


def test_an_item_in_memory_is_a_result(product: Path, tmp_path: Path) -> None:
    (item,) = pystac.Collection.from_file(str(product / "collection.json")).get_items()
    item.datetime = datetime(2024, 1, 2, 3, 4, tzinfo=UTC)
    (made,) = lstzoom.mosaic(item, tmp_path / "m.zarr", crs="utm", tile=128, feather=100, rule="latest")
    mosaic = open_cube(made.store)
    assert mosaic.time.values[0] == np.datetime64("2024-01-02T03:04")

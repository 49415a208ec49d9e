"""Items that `lstzoom catalog ingest` writes are a source like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pystac
import pytest

from lstzoom.errors import InputError
from lstzoom.product import ingest, open_bundle
from lstzoom.product.simulated import BundlePlan, write_bundle
from lstzoom.sources.loading import MaskOptions, load
from lstzoom.sources.search import examine


@pytest.mark.parametrize("tagged", [True, False])
def test_an_ingested_bundle_loads_as_the_bundle_does(tmp_path: Path, tagged: bool) -> None:  # noqa: FBT001
    bundle = open_bundle(write_bundle(tmp_path, BundlePlan(tagged=tagged), shape=(120, 150)))
    pair = load("constellr", items=[ingest(bundle)])
    arrays = bundle.load()
    np.testing.assert_allclose(pair.lst.values, arrays.lst.values, atol=1e-4)
    assert pair.vnir.sizes["band"] == 3
    both = np.isfinite(pair.vnir.values) & np.isfinite(arrays.vnir.values)
    np.testing.assert_allclose(pair.vnir.values[both], arrays.vnir.values[both], atol=1e-6)
    assert both.mean() > 0.8
    # Clouds are rejected by both; here those of the LST's grid, there those of the finest.
    assert not pair.valid.values.all()


def test_a_night_bundle_is_listed(tmp_path: Path) -> None:
    bundle = open_bundle(write_bundle(tmp_path, BundlePlan(night=True), shape=(120, 150)))
    with pytest.raises(InputError, match="as reflectance: no asset for the bands"):
        load("constellr", items=[ingest(bundle)])


def test_water_can_be_left_out(tmp_path: Path) -> None:
    item = ingest(open_bundle(write_bundle(tmp_path, shape=(120, 150))))
    kept = load("constellr", items=[item]).valid.values.sum()
    off = load("constellr", items=[item], masks=MaskOptions(reject={"cloud": (), "cloud_vnir": ()}))
    assert off.valid.values.all()
    assert kept < off.valid.size


def test_a_zip_is_loaded_as_the_folder_is(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "a", shape=(120, 150))
    packed = write_bundle(tmp_path / "b", container="zip", shape=(120, 150))
    one, other = (load("constellr", items=[ingest(open_bundle(path))]) for path in (folder, packed))
    np.testing.assert_array_equal(one.lst.values, other.lst.values)
    np.testing.assert_array_equal(one.vnir.values, other.vnir.values)
    np.testing.assert_array_equal(one.valid.values, other.valid.values)


def test_items_outside_of_the_time_are_listed(tmp_path: Path) -> None:
    item = ingest(open_bundle(write_bundle(tmp_path, shape=(120, 150))))
    assert load("constellr", items=[item], datetime="2026-07-08").lst.size
    with pytest.raises(InputError, match="its time 2026-07-08 10:31 is outside of 1999-01-01"):
        load("constellr", items=[item], datetime="1999-01")


@pytest.mark.parametrize("given", ["collection.json", "."])
def test_items_of_a_collection_are_found(tmp_path: Path, given: str) -> None:
    item = ingest(open_bundle(write_bundle(tmp_path / "bundle", shape=(120, 150))))
    extent = pystac.Extent(
        pystac.SpatialExtent([item.bbox or []]), pystac.TemporalExtent([[item.datetime, None]])
    )
    collection = pystac.Collection("all", "All of them", extent)
    collection.add_item(item)
    collection.normalize_and_save(str(tmp_path), pystac.CatalogType.SELF_CONTAINED)
    (found,) = examine("constellr", tmp_path / given).lst
    assert found.item.id == item.id

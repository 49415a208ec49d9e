"""Items that `lstzoom catalog ingest` writes are a source like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lstzoom.errors import InputError
from lstzoom.product import ingest, open_bundle
from lstzoom.product.simulated import BundlePlan, write_bundle
from lstzoom.sources.loading import MaskOptions, load


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

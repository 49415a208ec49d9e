"""Mosaics in an object store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lstzoom
from lstzoom.cube import open_cube
from lstzoom.mosaics.scenes import open_scenes
from lstzoom.mosaics.simulated import RegionPlan, simulate_region
from tests.s3_server import access

pytest.importorskip("s3fs")
pytest.importorskip("moto")
pytestmark = pytest.mark.cluster


def test_a_mosaic_goes_to_a_bucket_and_is_read_from_it(
    s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in access(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    import s3fs

    system = s3fs.S3FileSystem()
    system.mkdir("mosaics")
    simulate_region(tmp_path, RegionPlan(across=(1, 2), side=150))
    settings: dict[str, Any] = {"crs": "EPSG:32632", "tile": 128, "feather": 200}
    (made,) = lstzoom.mosaic(tmp_path, "s3://mosaics/a.zarr", cog=tmp_path / "cog.tif", **settings)
    (here,) = lstzoom.mosaic(tmp_path, tmp_path / "a.zarr", **settings)
    there, local = (open_cube(one.store).load() for one in (made, here))
    for variable in there.data_vars:
        np.testing.assert_array_equal(there[variable].values, local[variable].values)
    # Neither the mosaic nor its COG beside the scenes is taken for one of them.
    (again,) = lstzoom.mosaic(tmp_path, "s3://mosaics/a.zarr", cog=tmp_path / "cog.tif", **settings)
    assert (again.tiles, again.skipped) == (0, made.tiles)
    item = json.loads(system.cat_file("mosaics/a.stac/a.json"))
    assert item["assets"]["zarr"]["href"] == "../a.zarr"
    (scene,) = open_scenes(["s3://mosaics/a.zarr"])
    assert scene.lst.read(slice(0, 10), slice(0, 10)).shape == (10, 10)

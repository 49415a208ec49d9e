from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lstzoom.config import MosaicConfig
from lstzoom.errors import ConfigError, InputError
from lstzoom.mosaics.merge import Rule
from lstzoom.mosaics.plan import plan_mosaics
from lstzoom.mosaics.scenes import Scene, open_scenes
from lstzoom.mosaics.seams import Steps, radiometric_step
from lstzoom.mosaics.simulated import RegionPlan, simulate_region
from lstzoom.mosaics.tiles import merge_window
from lstzoom.mosaics.warp import warp_lst

PLAN = RegionPlan(across=(2, 2), side=400, overlap=0.4)
Region = tuple[tuple[Scene, ...], NDArray[np.float32]]


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Region:
    folder = tmp_path_factory.mktemp("region")
    truth = simulate_region(folder, PLAN)
    return open_scenes([folder]), truth


def steps_of(region: Region, rule: Rule) -> Steps:
    scenes, truth = region
    (plan,) = plan_mosaics(scenes, MosaicConfig(rule=rule, crs="EPSG:32632", feather=700))
    window = plan.lattice.window(PLAN.geobox.boundingbox.bbox)
    lst = merge_window(plan.scenes, plan.lattice, window, plan.config).lst
    valid = [
        np.isfinite(warp_lst(one.scene, part, plan.lattice, window))
        for one in plan.scenes
        for part in one.parts
    ]
    return radiometric_step(lst - truth, valid, away=100)


def test_the_feathered_mean_shows_no_edges_and_the_latest_does(region: Region) -> None:
    mean, latest = steps_of(region, "mean"), steps_of(region, "latest")
    assert mean.segments == latest.segments > 30
    # Without the land what is left inside is noise; a step as large as that cannot be seen.
    assert mean.ratio < 1.25
    assert latest.ratio > 10


def test_a_known_step_is_measured() -> None:
    lst = np.full((256, 256), 300.0, np.float32)
    lst[:, 128:] += 2.0
    lst += np.linspace(0, 1, 256, dtype=np.float32)
    valid = [np.arange(256)[np.newaxis] + np.zeros((256, 1)) >= 128, np.ones((256, 256), bool)]
    found = radiometric_step(lst, valid, away=60)
    assert found.seams == pytest.approx(2.0 + 1 / 255, rel=1e-3)
    assert found.inside == pytest.approx(1 / 255, rel=1e-2)
    assert found.segments == 4


def test_without_borders_there_is_nothing_to_measure() -> None:
    with pytest.raises(InputError, match="no border of 1 scenes"):
        radiometric_step(np.zeros((100, 100)), [np.ones((100, 100), bool)], away=10)


def test_a_feather_wider_than_a_tile_is_refused(region: Region) -> None:
    with pytest.raises(ConfigError, match="at most 1280 m"):
        plan_mosaics(region[0], MosaicConfig(tile=128, feather=2000))

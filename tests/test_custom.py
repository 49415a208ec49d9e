"""A regressor of one's own: kept honest by what held out of sight, and by conservation."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.neighbors import KNeighborsRegressor

from lstzoom import metrics
from lstzoom.custom import sharpen_with
from lstzoom.errors import EmptySampleError, InputError
from lstzoom.kernels.interpolate import interpolate
from lstzoom.kernels.quality import QA
from lstzoom.simulate import Scene, simulate_scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    return simulate_scene((180, 180), bands=("green", "red", "nir"), seed=2)


# One takes weights of samples, the other does not.
@pytest.mark.parametrize(
    "regressor", [ExtraTreesRegressor(30, min_samples_leaf=5, random_state=0), KNeighborsRegressor(20)]
)
def test_it_beats_bicubic_and_conserves(scene: Scene, regressor: object) -> None:
    data = scene.to_xarray()
    sharp = sharpen_with(regressor, data.vnir, data.lst)
    rows = metrics.score(sharp.lst.values, scene.truth, scene.coarse, 3)
    assert rows["lstzoom"]["rmse_over_bicubic"] < 0.85
    assert rows["lstzoom"]["conservation_max"] < 0.01
    assert 0.3 < sharp.attrs["lstzoom_reliability"] <= 1
    assert not hasattr(regressor, "n_features_in_")


def test_what_knows_nothing_gives_the_interpolation(scene: Scene) -> None:
    data = scene.to_xarray()
    sharp = sharpen_with(DummyRegressor(), data.vnir, data.lst)
    assert sharp.attrs["lstzoom_gain"] == 0
    np.testing.assert_allclose(sharp.lst.values, interpolate(scene.coarse, 3), atol=0.4)
    assert set(np.unique(sharp.qa.values)) == {QA.UNSUPPORTED}


def test_what_is_masked_neither_trains_nor_appears(scene: Scene) -> None:
    data = scene.to_xarray()
    valid = data.truth.notnull().copy()
    valid[30:60, 30:60] = False
    spoiled = data.vnir.copy()
    spoiled[:, 30:60, 30:60] = 9e9
    lst = data.lst.copy()
    lst[40:44, 40:44] = np.nan
    regressor = ExtraTreesRegressor(10, min_samples_leaf=5, random_state=0)
    one, other = (sharpen_with(regressor, vnir, lst, valid=valid) for vnir in (data.vnir, spoiled))
    np.testing.assert_array_equal(one.lst.values, other.lst.values)
    assert np.isnan(one.lst.values[30:60, 30:60]).all()
    assert (one.qa.values[30:60, 30:60] == QA.MASKED).all()
    assert (one.qa.values[120:132, 120:132] == QA.NODATA).all()
    assert np.isfinite(one.lst.values).sum() == 180 * 180 - 900 - 144


class NotFinite(DummyRegressor):
    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.full(len(x), np.nan)


def test_what_cannot_be_used_is_refused(scene: Scene) -> None:
    data = scene.to_xarray()
    with pytest.raises(InputError, match="finite temperature for each"):
        sharpen_with(NotFinite(), data.vnir, data.lst)
    with pytest.raises(InputError, match="two parts are needed"):
        sharpen_with(DummyRegressor(), data.vnir, data.lst, folds=1)
    with pytest.raises(EmptySampleError, match="64 are needed"):
        sharpen_with(DummyRegressor(), data.vnir, data.lst, valid=data.lst > 1e6)

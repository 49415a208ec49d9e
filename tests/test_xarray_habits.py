"""Results feel at home in xarray: labels, small reprs, the client that runs, progress."""

from __future__ import annotations

from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr
from dask.diagnostics import ProgressBar
from matplotlib.figure import Figure

import lstzoom
from lstzoom import raster
from lstzoom.simulate import simulate_scene, write_scene


@pytest.fixture(scope="module")
def sharp() -> xr.Dataset:
    data = simulate_scene((90, 90), bands=("red", "nir")).to_xarray()
    return lstzoom.sharpen(data.vnir, data.lst)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("lst", "land surface temperature, sharpened [K]"),
        ("lst_uncertainty", "standard uncertainty of land surface temperature [K]"),
    ],
)
def test_plots_label_themselves(sharp: xr.Dataset, name: str, label: str) -> None:
    axes = Figure().subplots()
    drawn = sharp[name].plot(ax=axes)  # type: ignore[call-arg]  # xarray types this as a class
    assert " ".join(drawn.colorbar.ax.get_ylabel().split()) == label
    assert axes.get_xlabel() == "x [metre]"


def test_inputs_label_themselves(tmp_path: Path) -> None:
    scene = simulate_scene((90, 90), bands=("red", "nir"))
    lst = raster.open_lst(write_scene(scene, tmp_path)["lst"])
    for one in (lst, scene.to_xarray().lst):
        drawn = one.plot(ax=Figure().subplots())  # type: ignore[call-arg]  # as above
        assert drawn.colorbar.ax.get_ylabel() == "land surface temperature [K]"


def test_results_draw_themselves_with_hvplot(sharp: xr.Dataset) -> None:
    """With units and names in the labels, values as they are, and square pixels."""
    pytest.importorskip("hvplot", reason="make notebooks installs it, and runs this test")
    import holoviews as hv
    import hvplot.xarray  # noqa: F401  (adds .hvplot)

    drawn = sharp.lst.hvplot.image(cmap="inferno", aspect="equal")
    (shown,) = drawn.vdims
    assert (shown.label, shown.unit) == ("land surface temperature, sharpened", "K")
    np.testing.assert_array_equal(np.sort(drawn.dimension_values(2)), np.sort(sharp.lst.values.ravel()))
    figure = hv.render(drawn, backend="bokeh")
    assert len(figure.renderers) == 1


def test_results_draw_themselves_on_a_map(sharp: xr.Dataset) -> None:
    """odc.geo's explore puts them where they lie: the picture's corners are the scene's."""
    pytest.importorskip("folium", reason="make notebooks installs it, and runs this test")
    drawn = sharp.lst.odc.explore(cmap="inferno", vmin=290, vmax=320)
    page = drawn.get_root().render()
    assert "data:image/png;base64," in page
    west, south, east, north = sharp.lst.odc.geobox.to_crs("EPSG:4326").boundingbox.bbox
    corners = np.sort(np.array(drawn.get_bounds()), axis=0)
    np.testing.assert_allclose(corners, [[south, west], [north, east]], atol=5e-4)


def test_the_html_repr_is_small(sharp: xr.Dataset) -> None:
    data = simulate_scene((300, 300), bands=("red", "nir")).to_xarray()
    lazy = lstzoom.sharpen(data.vnir.chunk({"y": 96, "x": 96}), data.lst.chunk(32))
    for one in (sharp, lazy):
        assert len(one._repr_html_()) < 60_000
    assert dask.is_dask_collection(lazy)


def test_a_progress_bar_sees_the_blocks(capsys: pytest.CaptureFixture[str]) -> None:
    data = simulate_scene((90, 90), bands=("red", "nir")).to_xarray()
    config = lstzoom.SharpenConfig(chunk=16)
    lazy = lstzoom.sharpen(data.vnir.chunk({"y": 48, "x": 48}), data.lst.chunk(16), config=config)
    with ProgressBar():
        lazy.compute(scheduler="threads")
    assert "100% Completed" in capsys.readouterr().out


@pytest.mark.cluster
def test_the_client_that_runs_does_the_work(sharp: xr.Dataset) -> None:
    from distributed import Client, LocalCluster

    data = simulate_scene((90, 90), bands=("red", "nir")).to_xarray()
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        client.get_task_stream()
        lazy = lstzoom.sharpen(data.vnir.chunk({"y": 45, "x": 45}), data.lst.chunk(15))
        done = lazy.compute()
        computed = {task["worker"] for task in client.get_task_stream(count=1000)}
        known = set(client.scheduler_info()["workers"])
    assert computed
    assert computed <= known
    np.testing.assert_array_equal(done.lst.values, sharp.lst.values)

"""Reports: what is shown, measured and said, and that nothing from outside becomes part of the page."""

from __future__ import annotations

import base64
import json
import re
import zlib
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from typer.testing import CliRunner

import lstzoom
from lstzoom import cli, raster, stream
from lstzoom.errors import GridMismatchError, InputError, MissingExtraError
from lstzoom.report import from_bundle, from_dataset, from_files, write_report
from lstzoom.report.maps import make_map
from lstzoom.report.sentences import findings
from lstzoom.report.views import choose_views, measure
from lstzoom.simulate import Scene, simulate_scene, write_scene

BANDS = ("blue", "green", "red", "nir")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return simulate_scene((180, 210), bands=BANDS, seed=3)


@pytest.fixture(scope="module")
def folder(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Input and result as files: COGs and a Zarr store."""
    root = tmp_path_factory.mktemp("report")
    paths = write_scene(scene, root)
    stack = raster.open_stack([str(paths[band]) for band in BANDS], raster.describe(paths["red"])[0].geobox)
    targets = stream.Targets(
        lst=root / "sharp.tif", qa=root / "qa.tif", uncertainty=root / "sigma.tif", zarr=root / "sharp.zarr"
    )
    stream.write_sharpened(stack, raster.open_lst(paths["lst"]), targets)
    return root


def vnir(folder: Path) -> list[Path]:
    return [folder / f"{name}.tif" for name in ("red", "green", "blue")]


def unpacked(one: dict[str, Any]) -> NDArray[np.float32]:
    """Read a layer as the page does."""
    stored = np.frombuffer(zlib.decompress(base64.b64decode(str(one["data"]))), "<u2")
    values = stored.astype(np.float64) * one["scale"] + one["offset"]
    values[stored == 65535] = np.nan
    return values.reshape(one["shape"]).astype(np.float32)


def data_of(page: Path) -> dict[str, Any]:
    found = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL
    )
    assert found
    content: dict[str, Any] = json.loads(found[1])
    return content


@pytest.mark.parametrize("kind", ["cog", "zarr"])
def test_the_page_holds_the_values_of_the_files(folder: Path, tmp_path: Path, kind: str) -> None:
    result = folder / ("sharp.tif" if kind == "cog" else "sharp.zarr")
    beside: dict[str, Any] = (
        {"qa": folder / "qa.tif", "uncertainty": folder / "sigma.tif"} if kind == "cog" else {}
    )
    opened = from_files(result, lst=folder / "lst.tif", vnir=vnir(folder), **beside)
    page = write_report(opened, tmp_path / "report.html")
    (view,) = data_of(page)["views"]
    assert set(view["layers"]) == {"fine", "coarse", "qa", "lst_uncertainty"}
    for name, path in (("fine", "sharp.tif"), ("coarse", "lst.tif")):
        shown: NDArray[Any] = unpacked(view["layers"][name])
        np.testing.assert_allclose(shown, raster.open_lst(folder / path).values, atol=0.0051)
    sigma = raster.open_stack([str(folder / "sigma.tif")], opened.grids.fine)[0].values
    np.testing.assert_allclose(unpacked(view["layers"]["lst_uncertainty"]), sigma, atol=0.0051)
    assert view["rgb"].startswith("data:image/jpeg;base64,")
    assert (view["left"], view["top"]) == (opened.grids.fine.affine.c, opened.grids.fine.affine.f)


def test_without_the_input_the_coarse_map_is_made_of_the_result(folder: Path) -> None:
    opened = from_files(folder / "sharp.tif")
    (view,) = choose_views(opened, 900)
    np.testing.assert_allclose(view.layers["coarse"], raster.open_lst(folder / "lst.tif").values, atol=0.02)
    first = findings(opened, measure(opened))[0]
    assert (first.value, first.good) == ("not checked", None)


def test_conservation_is_measured_and_a_foreign_result_is_told(folder: Path, scene: Scene) -> None:
    data = scene.to_xarray()
    sharp = lstzoom.sharpen(data.vnir, data.lst)
    right, wrong = (findings(one, measure(one))[0] for one in (
        from_dataset(sharp, lst=data.lst), from_dataset(sharp, lst=data.lst + 1.0)
    ))  # fmt: skip
    assert right.good is True
    assert float(right.value.split()[0]) <= 0.02
    assert wrong.good is False
    assert float(wrong.value.split()[0]) > 0.9


def test_a_scene_that_does_not_fit_gets_a_close_up_of_whole_coarse_pixels(folder: Path) -> None:
    opened = from_files(folder / "sharp.tif", lst=folder / "lst.tif", qa=folder / "qa.tif", vnir=vnir(folder))
    whole, close = choose_views(opened, 90)
    assert (whole.step, close.step) == (3, 1)
    assert whole.layers["fine"].shape == whole.layers["coarse"].shape == (60, 70)
    assert close.layers["fine"].shape == (90, 90)
    assert close.layers["coarse"].shape == (30, 30)
    full = raster.open_lst(folder / "sharp.tif").values
    np.testing.assert_allclose(close.layers["fine"], full[close.rows, close.columns], atol=1e-3)
    assert close.rgb is not None
    assert make_map(opened, [whole, close], measure(opened))["data"]["views"][0]["note"]


def test_thinned_pixels_lie_where_they_say(tmp_path: Path) -> None:
    """Overviews or not, a thinned pixel shows the ground below it."""
    scene = simulate_scene((1200, 1200), bands=("red",), seed=1)
    coordinates = scene.to_xarray().truth
    ramp = 250 + 0.05 * (xr.ones_like(coordinates) * (np.arange(1200) % 1200))
    ramp.odc.write_cog(tmp_path / "ramp.tif", overwrite=True)
    opened = from_files(tmp_path / "ramp.tif")
    (whole, _) = choose_views(opened, 100)
    assert whole.step == 12
    middle = 250 + 0.05 * (12 * np.arange(100) + 5.5)
    assert np.abs(whole.layers["fine"] - middle).max() <= 0.05 * 6.5


def test_what_comes_from_outside_is_text_in_the_page(folder: Path, tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    opened = from_files(folder / "sharp.tif", title=evil)
    told = {**opened.details, evil: {evil: evil}}
    page = write_report(
        type(opened)(opened.title, opened.grids, opened.fine, details=told, facts={evil: evil}),
        tmp_path / "report.html",
    ).read_text()
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert evil in unescape(page)
    assert "default-src 'none'" in page


def test_a_page_names_no_other_host(folder: Path, tmp_path: Path) -> None:
    page = write_report(from_files(folder / "sharp.tif"), tmp_path / "report.html").read_text()
    own = re.sub(r"<script[^>]*>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:|#)""", own)


def test_local_weight_residual_and_truth_are_shown_where_given(scene: Scene) -> None:
    data = scene.to_xarray()
    sharp = lstzoom.sharpen(
        data.vnir, data.lst, config=lstzoom.SharpenConfig(outputs=("local_weight", "residual"))
    )
    opened = from_dataset(sharp, lst=data.lst, vnir=data.vnir, truth=data.truth)
    layers = make_map(opened, choose_views(opened, 900), measure(opened))["data"]["layers"]
    assert {"truth", "local_weight", "residual", "added", "rgb"} <= set(layers)
    assert layers["coarse"]["low"] == layers["fine"]["low"] == layers["truth"]["low"]
    assert layers["residual"]["low"] == -layers["residual"]["high"]


def test_a_product_is_shown_with_the_bundle_that_it_was_made_of(tmp_path: Path) -> None:
    from lstzoom.product import ProductPlan, open_bundle, open_outputs, publish
    from lstzoom.product.simulated import write_bundle

    source = write_bundle(tmp_path, shape=(180, 180))
    arrays = open_bundle(source).load()
    sharp = lstzoom.sharpen(arrays.vnir.compute(), arrays.lst.compute())
    targets = stream.Targets(lst=tmp_path / "sharp.tif", qa=tmp_path / "qa.tif")
    stream.write_sharpened(arrays.vnir, arrays.lst, targets)
    (tmp_path / "out").mkdir()
    outputs = open_outputs(tmp_path / "sharp.tif", tmp_path / "qa.tif")
    product = publish(source, outputs, tmp_path / "out", ProductPlan())
    opened = from_bundle(product, lst=source)
    assert set(opened.layers) == {"qa"}
    first = findings(opened, measure(opened))[0]
    assert first.good is True
    with pytest.raises(InputError, match="no result yet; sharpen it first"):
        from_bundle(source)
    assert sharp.lst.shape == opened.fine.shape


def test_accuracy_is_told_in_words(folder: Path, tmp_path: Path) -> None:
    rows = {"lstzoom": {"rmse": 0.5}, "bicubic": {"rmse": 1.0}}
    (tmp_path / "a.json").write_text(json.dumps({"mode": "one-scale-up", "ratio": 3, "methods": rows}))
    opened = from_files(folder / "sharp.tif", accuracy=tmp_path / "a.json")
    (told,) = [one for one in findings(opened, measure(opened)) if one.name.startswith("Error")]
    assert told.value == "0.50 K, 50 % less than interpolation's 1.00 K"
    assert "3 times coarser" in told.meaning
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(InputError, match="make it with: lstzoom validate"):
        from_files(folder / "sharp.tif", accuracy=tmp_path / "b.json")


def test_files_of_another_run_are_refused(folder: Path, tmp_path: Path) -> None:
    other = write_scene(simulate_scene((90, 90), bands=("red",)), tmp_path)
    with pytest.raises(GridMismatchError, match="does not nest"):
        from_files(folder / "sharp.tif", lst=other["lst"])
    with pytest.raises(GridMismatchError, match="name files of one run"):
        from_files(folder / "sharp.tif", truth=other["truth"])


def test_a_result_without_any_temperature_is_refused(scene: Scene, tmp_path: Path) -> None:
    data = scene.to_xarray()
    empty = xr.Dataset({"lst": xr.full_like(data.truth, np.nan)})
    with pytest.raises(InputError, match="nothing to show"):
        write_report(from_dataset(empty), tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_without_bokeh_the_extra_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    # Python refuses to import what is None here, as if it were not installed.
    monkeypatch.setitem(sys.modules, "bokeh.palettes", None)
    with pytest.raises(MissingExtraError, match=r"lstzoom\[report\]"):
        write_report(from_files(folder / "sharp.tif"), tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_the_command_writes_a_page_and_does_not_replace_one(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    command = ["report", str(folder / "sharp.zarr"), "--lst", str(folder / "lst.tif"), "-o", str(page)]
    done = CliRunner().invoke(cli.app, [*command, "--json"])
    assert done.exit_code == cli.OK, done.stderr
    assert json.loads(done.stdout) == {"report": str(page), "bytes": page.stat().st_size}
    again = CliRunner().invoke(cli.app, command)
    assert again.exit_code == cli.BAD_INPUT
    assert "--overwrite" in again.stderr
    quiet = CliRunner().invoke(cli.app, [*command, "--overwrite", "--quiet"])
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (cli.OK, "", "")


def test_the_page_never_takes_the_place_of_what_it_shows(folder: Path) -> None:
    files = {"sharp": folder / "sharp.tif", "--lst": folder / "lst.tif", "--qa": folder / "qa.tif"}
    beside = ["--lst", str(files["--lst"]), "--qa", str(files["--qa"])]
    for path in files.values():
        before = path.read_bytes()
        other_name = path.parent / ".." / path.parent.name / path.name
        command = ["report", str(files["sharp"]), *beside, "-o", str(other_name), "--overwrite"]
        done = CliRunner().invoke(cli.app, command)
        assert done.exit_code == cli.BAD_INPUT
        assert "is an input" in done.stderr
        assert path.read_bytes() == before

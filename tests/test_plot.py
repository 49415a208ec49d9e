"""Pictures: what they show is checked in the pixels, not only that a file appears."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from lstzoom.errors import InputError, MissingExtraError
from lstzoom.simulate import Scene, simulate_scene

image = pytest.importorskip("matplotlib.image")

from lstzoom import plot  # noqa: E402 - after the check for matplotlib


@pytest.fixture(scope="module")
def scene() -> Scene:
    return simulate_scene((180, 240), bands=("red", "green", "blue"))


def share(path: Path, colour: str) -> float:
    """Share of the picture in exactly one colour."""
    rgb = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)])
    pixels = np.rint(image.imread(path)[..., :3] * 255)
    return float((pixels == rgb).all(-1).mean())


def test_columns_are_added_for_truth_and_vnir(scene: Scene, tmp_path: Path) -> None:
    two = plot.before_after(scene.coarse, scene.truth, tmp_path / "new" / "two.png")
    four = plot.before_after(
        scene.coarse, scene.truth, tmp_path / "four.png", truth=scene.truth, rgb=scene.vnir
    )
    small, large = image.imread(two), image.imread(four)
    assert large.shape[1] > 1.7 * small.shape[1]
    assert large.shape[0] == small.shape[0]
    assert min(small.shape[:2]) > 600


def test_missing_pixels_are_grey(scene: Scene, tmp_path: Path) -> None:
    gappy = scene.truth.copy()
    gappy[:60] = np.nan
    whole = plot.before_after(scene.coarse, scene.truth, tmp_path / "a.png", zoom=np.s_[90:150, 90:150])
    holed = plot.before_after(scene.coarse, gappy, tmp_path / "b.png", zoom=np.s_[90:150, 90:150])
    assert share(whole, plot._MISSING) < 0.002
    assert 0.03 < share(holed, plot._MISSING) < 0.15


def test_one_scale_for_all_columns(scene: Scene, tmp_path: Path) -> None:
    # A constant offset between the columns must show as another colour.
    level = np.full((60, 60), 300.0)
    level[0, 0], level[-1, -1] = 290.0, 310.0
    same = image.imread(plot.before_after(level, level, tmp_path / "same.png"))
    apart = image.imread(plot.before_after(level, level + 6.0, tmp_path / "apart.png"))
    row, left, right = same.shape[0] // 4, same.shape[1] // 5, same.shape[1] * 3 // 5
    assert np.abs(same[row, left] - same[row, right]).max() < 0.01
    assert np.abs(apart[row, left] - apart[row, right]).max() > 0.1


def test_pictures_are_drawn_without_pyplot(scene: Scene, tmp_path: Path) -> None:
    before = set(sys.modules)
    plot.error_maps({"bicubic": scene.truth + 1.0}, scene.truth, tmp_path / "e.png")
    assert "matplotlib.pyplot" not in set(sys.modules) - before


def test_error_maps_are_symmetric_around_white(scene: Scene, tmp_path: Path) -> None:
    path = plot.error_maps({"none": scene.truth, "warm": scene.truth + 2.0}, scene.truth, tmp_path / "e.png")
    pixels = image.imread(path)
    row, left, right = pixels.shape[0] // 3, pixels.shape[1] // 5, pixels.shape[1] * 3 // 5
    assert pixels[row, left, :3].min() > 0.94
    assert pixels[row, right, 0] > pixels[row, right, 2] + 0.2


def test_zoom_finds_the_detail_and_whole_coarse_pixels() -> None:
    fine = np.full((200, 300), 300.0)
    fine[120:160, 210:260] += np.random.default_rng(0).normal(0, 3, (40, 50))
    rows, cols = plot.busiest(fine, 3)
    assert rows.start % 3 == cols.start % 3 == 0
    assert (rows.stop - rows.start) % 3 == 0
    assert rows.start < 140 < rows.stop
    assert cols.start < 235 < cols.stop
    fine[100:, 180:] = np.nan
    fine[20:60, 20:60] += np.random.default_rng(0).normal(0, 0.5, (40, 40))
    rows, cols = plot.busiest(fine, 3)
    assert rows.stop < 100
    assert cols.stop < 150


@pytest.mark.parametrize("ratio", [1, 2, 7])
def test_zoom_lies_in_the_scene(ratio: int) -> None:
    for shape in ((7 * ratio, 9 * ratio), (40 * ratio, 11 * ratio), (64 * ratio, 64 * ratio)):
        fine = np.random.default_rng(1).normal(300.0, 1.0, shape)
        rows, cols = plot.busiest(fine, ratio)
        assert 0 <= rows.start < rows.stop <= shape[0]
        assert 0 <= cols.start < cols.stop <= shape[1]


@pytest.mark.parametrize(
    ("length", "text"),
    [(10.0, "10 m"), (3.6, "3.6 m"), (694.965, "695 m"), (1000.0, "1 km"), (20000.0, "20 km")],
)
def test_lengths_are_written_short(length: float, text: str) -> None:
    assert plot._metres(length) == text


@pytest.mark.parametrize(("length", "bar"), [(1800.0, 1000.0), (2000.0, 2000.0), (5.5, 5.0), (99.0, 50.0)])
def test_scale_bars_are_round(length: float, bar: float) -> None:
    assert plot._round_down(length) == pytest.approx(bar)


def test_pixel_size_is_read_from_coordinates(scene: Scene) -> None:
    vnir, lst, _ = scene.to_xarray()
    assert plot._pixel(lst) == 30.0
    assert plot._pixel(vnir) == 10.0
    assert plot._pixel(scene.truth) == 10.0


def test_what_does_not_fit_is_named(scene: Scene, tmp_path: Path) -> None:
    out = tmp_path / "no.png"
    with pytest.raises(InputError, match="whole multiple of coarse"):
        plot.before_after(scene.coarse, scene.truth[:-1], out)
    with pytest.raises(InputError, match=r"truth has the shape \(3, 3\)"):
        plot.before_after(scene.coarse, scene.truth, out, truth=np.zeros((3, 3)))
    with pytest.raises(InputError, match=r"rgb must have shape \(3, 180, 240\)"):
        plot.before_after(scene.coarse, scene.truth, out, rgb=scene.vnir[:2])
    with pytest.raises(InputError, match="nothing to draw"):
        plot.before_after(scene.coarse * np.nan, scene.truth * np.nan, out)
    with pytest.raises(InputError, match="holds no pixel"):
        plot.before_after(scene.coarse, scene.truth, out, zoom=np.s_[500:600, 0:10])
    with pytest.raises(InputError, match="preds is empty"):
        plot.error_maps({}, scene.truth, out)
    assert not out.exists()


def test_without_matplotlib_the_extra_is_named(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"lstzoom\[report\]"):
        plot.before_after(scene.coarse, scene.truth, tmp_path / "no.png")

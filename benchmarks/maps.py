"""Maps for docs/accuracy.md, of simulated scenes only: ``python -m benchmarks.maps [FOLDER]``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lstzoom
from lstzoom.errors import import_extra
from lstzoom.metrics import upsample_bicubic
from lstzoom.simulate import Scene, simulate_plume, simulate_scene

_SIDE = 300
_DPI = 80


def main(folder: Path) -> None:
    """Draw all maps."""
    folder.mkdir(parents=True, exist_ok=True)
    sharpened_and_sure(simulate_scene((_SIDE, _SIDE), seed=4), folder / "accuracy_city.png")
    plume(simulate_plume((_SIDE, _SIDE), noise=0.05), folder / "accuracy_plume.png")


def sharpened_and_sure(scene: Scene, path: Path) -> None:
    """Draw LST, its error beside that of bicubic, and the stated uncertainty."""
    given = scene.to_xarray()
    sharp = lstzoom.sharpen(given.vnir, given.lst)
    part = (slice(60, 210), slice(60, 210))
    bicubic = upsample_bicubic(scene.coarse, scene.ratio)
    kelvin = _limits(scene.truth[part])
    error = (-5.0, 5.0)
    panels = [
        ("bicubic, K", bicubic, "inferno", kelvin),
        ("lstzoom, K", sharp.lst.to_numpy(), "inferno", kelvin),
        ("truth, K", scene.truth, "inferno", kelvin),
        ("error of bicubic, K", bicubic - scene.truth, "RdBu_r", error),
        ("error of lstzoom, K", sharp.lst.to_numpy() - scene.truth, "RdBu_r", error),
        ("stated uncertainty, K", sharp.lst_uncertainty.to_numpy(), "viridis", (0.0, 3.0)),
    ]
    _draw([(title, image[part], cmap, span) for title, image, cmap, span in panels], path)


def plume(scene: Scene, path: Path) -> None:
    """Draw the outfall that no band shows."""
    given = scene.to_xarray()
    sharp = lstzoom.sharpen(given.vnir, given.lst)
    part = (slice(140, 290), slice(110, 260))
    kelvin = (290.0, 304.0)
    nir = scene.vnir[list(scene.landscape.bands).index("nir")]
    panels = [
        ("near infrared", nir, "gray", (0.0, 0.5)),
        ("LST at 30 m, K", np.kron(scene.coarse, np.ones((scene.ratio,) * 2)), "inferno", kelvin),
        ("lstzoom, K", sharp.lst.to_numpy(), "inferno", kelvin),
        ("truth, K", scene.truth, "inferno", kelvin),
        ("flag: no supported detail", sharp.qa.to_numpy() == 5, "gray_r", (0, 1)),
        ("stated uncertainty, K", sharp.lst_uncertainty.to_numpy(), "viridis", (0.0, 3.0)),
    ]
    _draw([(title, image[part], cmap, span) for title, image, cmap, span in panels], path)


def _limits(image: NDArray[Any]) -> tuple[float, float]:
    low, high = np.percentile(image, [1, 99])
    return float(low), float(high)


def _draw(panels: list[tuple[str, NDArray[Any], str, tuple[float, float]]], path: Path) -> None:
    """Draw two rows of three panels, each with its colour bar."""
    figure_module = import_extra("matplotlib.figure", "report")
    figure = figure_module.Figure(figsize=(10.5, 6.6), dpi=_DPI, layout="constrained")
    for axes, (title, image, cmap, (low, high)) in zip(figure.subplots(2, 3).ravel(), panels, strict=True):
        shown = axes.imshow(image, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
        axes.set_title(title, fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
        figure.colorbar(shown, ax=axes, shrink=0.85)
    figure.savefig(path)
    pictures = import_extra("PIL.Image", "report")
    with pictures.open(path) as picture:
        small = picture.convert("RGB").quantize(160, dither=pictures.Dither.NONE)
    small.save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))

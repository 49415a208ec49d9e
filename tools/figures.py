"""Draw the figures of the documentation from real runs: ``python -m tools.figures [FOLDER]``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import lstzoom
from lstzoom import metrics
from lstzoom.kernels.interpolate import interpolate
from lstzoom.kernels.windows import reach_of, spans
from lstzoom.sharpening import BlockFunction
from lstzoom.simulate import Scene, simulate_scene

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"
INK, SOFT = "#1b1f24", "#57606a"
GIVEN, DONE_BY = "#ffffff", "#dbe9f6"


def main(folder: Path) -> list[Path]:
    """Draw all figures; the same ones each time."""
    # Names of parts and the date would differ from run to run.
    mpl.rcParams["svg.hashsalt"] = "lstzoom"
    scene = simulate_scene((300, 300), seed=4)
    folder.mkdir(parents=True, exist_ok=True)
    return [transect(scene, folder), earned(scene, folder), halo(folder), data_flow(folder)]


def _save(figure: Figure, path: Path) -> Path:
    metadata: dict[str, Any] = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    figure.savefig(path, metadata=metadata)
    return path


def transect(scene: Scene, folder: Path) -> Path:
    """Draw a row of pixels: steps, interpolation, result, truth."""
    data = scene.to_xarray()
    sharp = lstzoom.sharpen(data.vnir, data.lst).lst.values
    row, part = 40, slice(15, 93)
    metres = 10 * (np.arange(part.start, part.stop) - part.start) + 5
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    steps = metrics.upsample_nearest(scene.coarse, 3)[row, part]
    axes.step(metres, steps, where="mid", color=SOFT, linewidth=1.2, label="LST, 30 m")
    lines = {
        "interpolated": (smooth_fine(scene)[row, part], "#0072b2", "--"),
        "sharpened, 10 m": (sharp[row, part], "#d55e00", "-"),
        "truth, 10 m": (scene.truth[row, part], INK, ":"),
    }
    for label, (values, colour, style) in lines.items():
        axes.plot(metres, values, color=colour, linestyle=style, linewidth=1.8, label=label)
    axes.set(xlabel="distance, m", ylabel="LST, K", xlim=(0, 10 * (part.stop - part.start)))
    axes.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.18), frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return _save(figure, folder / "transect.svg")


def smooth_fine(scene: Scene) -> Any:  # noqa: ANN401  (an array)
    """Interpolate the coarse LST as the method does."""
    return interpolate(scene.coarse, scene.ratio)


def earned(scene: Scene, folder: Path) -> Path:
    """Draw interpolation, all detail believed, lstzoom, and the truth, with their errors."""
    data = scene.to_xarray()
    images = {"LST, 30 m": metrics.upsample_nearest(scene.coarse, 3), "interpolated": smooth_fine(scene)}
    for title, method in (("all believed", "published"), ("lstzoom", "calibrated")):
        config = lstzoom.SharpenConfig(method=method)  # type: ignore[arg-type]
        images[title] = lstzoom.sharpen(data.vnir, data.lst, config=config).lst.values
    images["truth, 10 m"] = scene.truth
    part = (slice(90, 210), slice(90, 210))
    low, high = np.percentile(scene.truth[part], (1, 99))
    figure = Figure(figsize=(11, 2.9), layout="constrained", dpi=110)
    for axes, (title, image) in zip(figure.subplots(1, len(images)), images.items(), strict=True):
        drawn = axes.imshow(image[part], cmap="inferno", vmin=low, vmax=high, interpolation="nearest")
        error = metrics.rmse(image, scene.truth)
        axes.set_title(title if title.startswith("truth") else f"{title}\nRMSE {error:.2f} K", fontsize=10)
        axes.set(xticks=[], yticks=[])
    figure.colorbar(drawn, ax=figure.axes, label="LST, K", shrink=0.85, pad=0.01)
    return _save(figure, folder / "earned.png")


def halo(folder: Path) -> Path:
    """Draw a block, its halo and the lattice of windows, to scale from the settings."""
    config = lstzoom.SharpenConfig(chunk=64)
    settings = BlockFunction(config, 3, ("lst",)).settings
    width, stride, extension = settings.halo, config.windows.stride, config.windows.extension
    chunk, margin = config.chunk, settings.margin
    figure = Figure(figsize=(7, 6.2), layout="constrained")
    axes = figure.subplots()
    boxes: list[tuple[float, float, str, str]] = [
        (-width, chunk + 2 * width, "#dbe9f6", f"halo, {width} coarse pixels"),
        (-margin, chunk + 2 * margin, "#a6cbe8", f"margin, {margin}: both views are needed here"),
        (0, chunk, "#f9b572", f"core, {chunk} x {chunk}: what the block writes"),
    ]
    for start, side, colour, label in boxes:
        axes.add_patch(Rectangle((start, start), side, side, facecolor=colour, edgecolor=INK, label=label))
    needed = slice(width - margin, width + chunk + margin)
    windows = list(spans(-width, chunk + 2 * width, needed, stride=stride, extension=extension))
    centres = [span.centre - width for span in windows]
    x, y = np.meshgrid(centres, centres)
    axes.plot(x.ravel(), y.ravel(), "+", color=SOFT, markersize=6, label=f"windows, every {stride}")
    corner, reach = centres[-1], reach_of(stride) + extension
    axes.add_patch(
        Rectangle(
            (corner - reach, corner - reach), 2 * reach, 2 * reach, fill=False, edgecolor="#d55e00",
            linewidth=2, label="what one window trains on",
        )
    )  # fmt: skip
    edge = width + 3
    axes.set(xlim=(-edge, chunk + edge), ylim=(chunk + edge, -edge), aspect="equal")
    axes.set(xlabel="coarse pixels", ylabel="coarse pixels")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=2, frameon=False)
    return _save(figure, folder / "halo.svg")


def data_flow(folder: Path) -> Path:
    """Draw how a scene, and many of them, go through the program; boxes name modules."""
    boxes: dict[str, tuple[float, float, str, str]] = {
        "vnir": (0, 2.2, "reflectance\n(band, y, x), 10 m", GIVEN),
        "lst": (0, 1.1, "LST\n(y, x), 30 m", GIVEN),
        "valid": (0, 0, "masks\nTrue = usable", GIVEN),
        "inputs": (2.4, 1.1, "nested grids\ninputs, regrid,\nregistration", DONE_BY),
        "sample": (4.8, 2.2, "patches to rows\nsample", DONE_BY),
        "model": (7.2, 2.2, "global model\ntrain: once a run", DONE_BY),
        "blocks": (4.8, 0, "blocks with a halo\nhalo, stream, jobs", DONE_BY),
        "kernel": (7.2, 0, "sharpen_block\nkernels: one task each", "#f9b572"),
        "out": (9.6, 0, "lst, qa, uncertainty\n(y, x), 10 m", GIVEN),
        "files": (12.0, 1.1, "COG, Zarr, xarray\nwrite, cube", DONE_BY),
        "more": (12.0, 0, "report, product,\nmosaic, time series", DONE_BY),
    }
    arrows = (
        "vnir inputs", "lst inputs", "valid inputs", "inputs sample", "sample model", "model kernel",
        "inputs blocks", "blocks kernel", "kernel out", "out files", "out more",
    )  # fmt: skip
    figure = Figure(figsize=(12, 2.9), layout="constrained")
    axes = figure.subplots()
    drawn = {
        name: axes.text(
            x, y, text, ha="center", va="center", fontsize=9.5, color=INK,
            bbox={"boxstyle": "round,pad=0.5", "facecolor": colour, "edgecolor": INK},
        )
        for name, (x, y, text, colour) in boxes.items()
    }  # fmt: skip
    axes.set(xlim=(-1.0, 13.1), ylim=(-0.6, 2.8))
    axes.axis("off")
    for pair in arrows:
        start, end = pair.split()
        axes.annotate(
            "", xy=boxes[end][:2], xytext=boxes[start][:2],
            arrowprops={
                "arrowstyle": "-|>", "color": INK, "patchA": drawn[start].get_bbox_patch(),
                "patchB": drawn[end].get_bbox_patch(), "shrinkA": 0, "shrinkB": 2,
            },
        )  # fmt: skip
    return _save(figure, folder / "data_flow.svg")


if __name__ == "__main__":
    for path in main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER):
        print(path)

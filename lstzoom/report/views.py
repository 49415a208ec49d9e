"""Which pixels a report shows, and what is measured on all of them.

A scene that fits is shown whole. A larger one is shown thinned out, with a close-up at full resolution of the
part with the most detail, because what sharpening adds does not show in a thinned scene.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from lstzoom.kernels.quality import QA
from lstzoom.plot import busiest
from lstzoom.product.survey import Conservation, Histogram
from lstzoom.report.scene import ReportScene

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KELVIN: Final = (150.0, 700.0, 0.05)
_STRIP: Final = 2**22
"""Fine pixels read at a time."""
_MEASURED: Final = 2e8
"""Fine pixels that are measured; of more, strips spread over the scene are."""


@dataclass(frozen=True, slots=True)
class View:
    """Pixels of one map.

    Attributes
    ----------
    key, title
        Name for the page, and for people.
    rows, columns
        Window of the fine grid, of whole coarse pixels and whole steps.
    step
        Fine pixels along a pixel that is shown.
    layers
        Float32 arrays by name; ``coarse`` may have fewer pixels than the others, for the same ground.
    rgb
        uint8, shape (y, x, 3).
    start
        Names of the layers that are shown first, left and right.
    """

    key: str
    title: str
    rows: slice
    columns: slice
    step: int
    layers: dict[str, NDArray[np.float32]]
    rgb: NDArray[np.uint8] | None
    start: tuple[str, str] = ("coarse", "fine")


@dataclass(frozen=True, slots=True)
class Measured:
    """What a pass over the result found.

    Attributes
    ----------
    before, after
        Histograms of the coarse and the sharpened LST.
    conservation
        Departure of the averaged result from its input; empty if that was not given.
    uncertainty
        Histogram of the standard uncertainty.
    flags
        Fine pixels by flag; None without flags.
    share
        Part of the scene that was measured.
    """

    before: Histogram
    after: Histogram
    conservation: Conservation
    uncertainty: Histogram
    flags: NDArray[np.int64] | None
    share: float


def choose_views(scene: ReportScene, largest: int) -> list[View]:
    """Read what is shown.

    Parameters
    ----------
    scene
        Opened.
    largest
        Pixels along the longer side of a map at most.

    Returns
    -------
    list of View
        The whole scene, and a close-up where the whole had to be thinned.
    """
    ratio, (height, width) = scene.grids.ratio, scene.fine.shape
    if max(height, width) <= largest:
        return [_view(scene, "whole", "Whole scene", slice(0, height), slice(0, width), 1)]
    step = -(-max(height, width) // (largest * ratio)) * ratio
    whole = (slice(0, height // step * step), slice(0, width // step * step))
    views = [_view(scene, "whole", "Whole scene", *whole, step)]
    middle = busiest(views[0].layers["fine"], 1)
    side = largest // ratio * ratio
    rows, columns = (
        _around(part, step, side, size, ratio) for part, size in zip(middle, (height, width), strict=True)
    )
    return [*views, _view(scene, "close", "Close-up, full resolution", rows, columns, 1)]


def _around(part: slice, step: int, side: int, size: int, ratio: int) -> slice:
    """Window of full resolution around the middle of a window of a thinned map."""
    side = min(side, size)
    start = (part.start + part.stop) * step // 2 - side // 2
    start = min(max(start, 0), size - side) // ratio * ratio
    return slice(start, start + side)


def _view(scene: ReportScene, key: str, title: str, rows: slice, columns: slice, step: int) -> View:
    ratio = scene.grids.ratio
    coarse = [slice(part.start // ratio, part.stop // ratio) for part in (rows, columns)]
    layers = {
        "fine": scene.fine.read(rows, columns, step),
        "coarse": scene.read_coarse(coarse[0], coarse[1], max(1, step // ratio)),
    }
    layers |= {name: plane.read(rows, columns, step) for name, plane in scene.layers.items()}
    rgb = None
    if scene.rgb is not None:
        rgb = _natural(np.stack([plane.read(rows, columns, step) for plane in scene.rgb], axis=-1))
    return View(key, title, rows, columns, step, layers, rgb)


def _natural(reflectance: NDArray[np.float32]) -> NDArray[np.uint8] | None:
    """One stretch for all bands, which keeps hues, and a gamma; grey where something is missing."""
    known: NDArray[np.bool_] = np.asarray(np.isfinite(reflectance).all(axis=-1))
    if not known.any():
        return None
    low, high = np.percentile(reflectance[known], (0.5, 99.0))
    part = np.clip((reflectance - max(low, 0.0)) / max(high - max(low, 0.0), 1e-6), 0.0, 1.0)
    coloured = 255 * np.where(known[..., None], part, 0.72) ** 0.7
    return np.rint(coloured).astype(np.uint8)


def measure(scene: ReportScene) -> Measured:
    """Go over the result once, strip by strip, which keeps memory flat."""
    before, after = Histogram(*_KELVIN), Histogram(*_KELVIN)
    sigma, conservation = Histogram(0.0, 50.0, 0.01), Conservation()
    has_flags = "qa" in scene.layers
    flags, seen = np.zeros(len(QA), np.int64), 0
    for rows, coarse_rows in _strips(scene):
        everything = slice(0, scene.fine.shape[1])
        fine = scene.fine.read(rows, everything, 1)
        after.add(fine)
        coarse = scene.read_coarse(coarse_rows, slice(0, scene.grids.coarse.shape.x), 1)
        before.add(coarse)
        if scene.coarse is not None:
            conservation.add(fine, coarse, scene.grids.ratio)
        if has_flags:
            codes = np.nan_to_num(scene.layers["qa"].read(rows, everything, 1)).astype(np.uint8)
            flags += np.bincount(np.minimum(codes, len(QA) - 1).ravel(), minlength=len(QA))
        if "lst_uncertainty" in scene.layers:
            sigma.add(scene.layers["lst_uncertainty"].read(rows, everything, 1))
        seen += rows.stop - rows.start
    return Measured(
        before, after, conservation, sigma, flags if has_flags else None, seen / scene.fine.shape[0]
    )


def _strips(scene: ReportScene) -> Iterator[tuple[slice, slice]]:
    """Rows of the fine and of the coarse grid; of a very large scene every n-th strip."""
    (height, width), ratio = scene.fine.shape, scene.grids.ratio
    step = max(1, _STRIP // width // ratio)
    every = max(1, round(height * width / _MEASURED))
    for start in range(0, scene.grids.coarse.shape.y, step * every):
        stop = min(start + step, scene.grids.coarse.shape.y)
        yield slice(start * ratio, stop * ratio), slice(start, stop)

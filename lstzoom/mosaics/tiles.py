"""One tile of a mosaic from the windows of the scenes that touch it: the body of a task."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from lstzoom.config import MosaicConfig
from lstzoom.mosaics.merge import Block, Merged, edge_distance, latest, mean, median
from lstzoom.mosaics.scenes import Scene
from lstzoom.mosaics.target import Lattice, Part, Window
from lstzoom.mosaics.warp import Warped, warp, warp_lst
from lstzoom.raster import Resampling

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The median holds all scenes of a window at once; the window is cut so that they fit.
_MEDIAN_BYTES: Final = 256 << 20
_BYTES_PER_PIXEL: Final = 9 + 8


@dataclass(frozen=True)
class Placed:
    """A scene and where it lies on a lattice."""

    scene: Scene
    parts: tuple[Part, ...]


def feather_pixels(config: MosaicConfig, lattice: Lattice) -> int:
    """Width of the feather in pixels: also how far around a tile scenes are read."""
    return round(config.feather / lattice.pixel_metres)


def merge_window(
    placed: tuple[Placed, ...], lattice: Lattice, window: Window, config: MosaicConfig
) -> Merged:
    """Merge scenes in a window.

    Parameters
    ----------
    placed
        In order of time and name (`lstzoom.mosaics.scenes.in_order`).
    lattice, window
        Where.
    config
        How.

    Returns
    -------
    Merged
        The same bits as the same pixels of any other window.

    Raises
    ------
    InputError
        If a scene cannot be read.
    """
    if config.rule == "mean":
        width = feather_pixels(config, lattice)
        blocks = _blocks(placed, lattice, window, config, width)
        return mean(blocks, window.shape, width=width, scene_sd=config.scene_sd)
    if config.rule == "latest":
        return latest(_blocks(placed, lattice, window, config, None), window.shape)
    bands = [
        median(_blocks(placed, lattice, strip, config, None), strip.shape)
        for strip in _median_strips(window, len(placed))
    ]
    return Merged(*(np.concatenate(layers) for layers in zip(*bands, strict=True)))


def _median_strips(window: Window, scenes: int) -> Iterator[Window]:
    rows, columns = window.shape
    step = max(1, min(rows, _MEDIAN_BYTES // (_BYTES_PER_PIXEL * columns * max(scenes, 1))))
    for top in range(window.top, window.bottom, step):
        yield Window(top, min(top + step, window.bottom), window.left, window.right)


def _blocks(
    placed: tuple[Placed, ...], lattice: Lattice, window: Window, config: MosaicConfig, width: int | None
) -> Iterator[Block]:
    """Scenes that have anything in the window, one after the other."""
    how: Resampling = "auto" if config.resampling == "bilinear" else config.resampling
    for one in placed:
        for part in one.parts:
            if (window & part.window).empty:
                continue
            layers = warp(one.scene, part, lattice, window, how)
            if not (np.isfinite(layers.lst).any() or layers.qa.any()):
                continue
            distance = (
                None if width is None else _distance(one.scene, part, lattice, window, layers, width, how)
            )
            minutes = math.floor(one.scene.time.timestamp() / 60)
            yield Block(layers.lst, layers.uncertainty, layers.qa, minutes, distance)


def _distance(
    scene: Scene, part: Part, lattice: Lattice, window: Window, layers: Warped, width: int, how: Resampling
) -> NDArray[np.float32]:
    """Distance to edges and gaps, for which only the margin is read again."""
    around = window.grown(width)
    valid = np.zeros(around.shape, np.bool_)
    valid[window.within(around)] = np.isfinite(layers.lst)
    if valid.any() and width:
        for margin in _margins(window, around):
            valid[margin.within(around)] = np.isfinite(warp_lst(scene, part, lattice, margin, how))
    return edge_distance(valid, width)


def _margins(window: Window, around: Window) -> tuple[Window, ...]:
    """Four windows that fill what is between two."""
    return (
        Window(around.top, window.top, around.left, around.right),
        Window(window.bottom, around.bottom, around.left, around.right),
        Window(window.top, window.bottom, around.left, window.left),
        Window(window.top, window.bottom, window.right, around.right),
    )

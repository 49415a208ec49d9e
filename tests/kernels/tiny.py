"""Tiny scenes for the tests of the kernels: made, trained, cut into blocks and sharpened."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lstzoom.kernels.aggregate import area_mean_radiance
from lstzoom.kernels.amplitude import correlation
from lstzoom.kernels.block import BlockSettings, GlobalModel, Sharpened, sharpen_block
from lstzoom.kernels.local import LocalSettings
from lstzoom.kernels.rows import Rows, aggregate_block, choose_pairs, detail_rows, level_rows, pair_sums
from lstzoom.kernels.trees import Forest, TreeSettings, fit_forest, predict_out_of_bag
from lstzoom.kernels.uncertainty import ErrorModel, fit_errors
from lstzoom.types import YX

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

LEVEL_TREES = TreeSettings(trees=8, max_depth=6, min_leaf=5, feature_share=0.5)
DETAIL_TREES = TreeSettings(trees=8, max_depth=8, min_leaf=20, feature_share=0.3)
LOCAL_TREES = TreeSettings(trees=4, max_depth=4, min_leaf=3, feature_share=0.7)
FOOTPRINT = 0.4
NO_ERRORS = ErrorModel(None, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Scene:
    """A scene and, where it is known, the truth."""

    bands: Floats  # (band, y * ratio, x * ratio)
    lst: Floats  # (y, x), kelvin
    ratio: int
    usable: Bools | None = None  # (y * ratio, x * ratio)
    truth: Floats | None = None  # (y * ratio, x * ratio), kelvin

    @property
    def shape(self) -> tuple[int, int]:
        return (self.lst.shape[0], self.lst.shape[1])


def settings(
    ratio: int,
    *,
    stride: int = 4,
    extension: int = 2,
    min_samples: int = 16,
    calibrated: bool = True,
    box: int = 1,
) -> BlockSettings:
    """A lattice so small that a scene of 24 x 28 coarse pixels has many windows."""
    local = LocalSettings(stride, extension, min_samples, LOCAL_TREES)
    return BlockSettings(ratio, local, 0.1, seed=0, calibrated=calibrated, box=box)


def make_scene(ratio: int = 3, bands: int = 2, size: tuple[int, int] = (24, 28), seed: int = 0) -> Scene:
    """Smooth fields with sharp borders between them; the temperature follows the first band.

    The borders are those of random half planes, so that the coarse pixels along them are mixed.
    """
    rng = np.random.default_rng([seed, ratio, bands])
    height, width = size[0] * ratio, size[1] * ratio
    y, x = np.mgrid[0:height, 0:width] / ratio
    planes = 0.05 + rng.normal(0, 0.001, (bands, height, width))
    for k in range(bands):
        for _ in range(10):
            a, b = rng.normal(size=2)
            at = rng.uniform(0, size[0]), rng.uniform(0, size[1])
            planes[k] += rng.uniform(0.02, 0.06) * (a * (y - at[0]) + b * (x - at[1]) > 0)
        planes[k] += 0.01 * np.sin(y / rng.uniform(3, 6)) * np.cos(x / rng.uniform(3, 6))
    truth = 320.0 - 60.0 * planes[0] + 2.0 * np.sin(y / 9.0) + rng.normal(0, 0.1, planes[0].shape)
    single = truth.astype(np.float32)
    return Scene(planes.astype(np.float32), area_mean_radiance(single, ratio), ratio, None, single)


def with_gaps(scene: Scene, seed: int, *, masked: bool = True) -> Scene:
    """Holes of all kinds: single fine pixels of one band, areas of all bands and of LST, and a mask."""
    rng = np.random.default_rng([seed, 1])
    ratio, (ny, nx) = scene.ratio, scene.shape
    bands, lst = scene.bands.copy(), scene.lst.copy()
    bands[rng.random(bands.shape) < 0.01] = np.nan
    for _ in range(3):
        bands[:, *_box(rng, (ny * ratio, nx * ratio), 4 * ratio)] = rng.choice([np.nan, np.inf])
    lst[rng.random(lst.shape) < 0.02] = np.nan
    lst[_box(rng, (ny, nx), 6)] = np.nan
    # A gap that is deeper than any filling reaches.
    lst[: ny // 3, : nx // 3] = np.nan
    usable = None
    if masked:
        usable = rng.random((ny * ratio, nx * ratio)) > 0.01
        usable[_box(rng, (ny * ratio, nx * ratio), 5 * ratio)] = False
    return replace(scene, bands=bands, lst=lst, usable=usable)


def _box(rng: np.random.Generator, shape: tuple[int, int], side: int) -> tuple[slice, slice]:
    first, second = (int(rng.integers(0, n)) for n in shape)
    return slice(first, first + side), slice(second, second + side)


def padded(scene: Scene, by: int) -> Scene:
    """The scene with a frame of nothing around it, `by` coarse pixels wide."""
    fine, nan = by * scene.ratio, np.nan
    bands = np.pad(scene.bands, ((0, 0), (fine, fine), (fine, fine)), constant_values=nan)
    usable = None if scene.usable is None else np.pad(scene.usable, fine, constant_values=True)
    return Scene(bands, np.pad(scene.lst, by, constant_values=nan), scene.ratio, usable)


def train(scene: Scene, *, seed: int = 0) -> GlobalModel:
    """Fit the global model to all rows of the scene."""
    ratio, halo = scene.ratio, 4 * scene.ratio
    whole = padded(scene, halo)
    block = aggregate_block(whole.bands, whole.lst, ratio, cv_threshold=0.1)
    core, origin = (slice(halo, -halo), slice(halo, -halo)), YX(-halo, -halo)
    pairs = choose_pairs(pair_sums(block, core), len(scene.bands))
    rows = level_rows(block, pairs, core, origin, seed=seed, scene=0)
    phases = [YX(i, j) for i in range(ratio) for j in range(ratio)]
    fine = detail_rows(block, pairs, phases, core, origin, ratio, seed=seed, scene=0)
    details, reliability, errors = None, 0.0, NO_ERRORS
    if len(fine):
        details = grow(fine, DETAIL_TREES)
        own = predict_out_of_bag(details, fine.features, fine.bits)
        unseen = np.isfinite(own)
        reliability = correlation(fine.target[unseen], own[unseen])
        errors = fit_errors(fine, own, reliability, 0.8, seed=seed)
    mean = float(rows.target.mean()) if len(rows) else 300.0
    levels = grow(rows, LEVEL_TREES) if len(rows) else None
    return GlobalModel(pairs, levels, details, reliability, mean, FOOTPRINT, errors)


def grow(rows: Rows, trees: TreeSettings) -> Forest:
    return fit_forest(rows.features, rows.target, rows.weight, rows.bits, trees)


@lru_cache(maxsize=64)
def trained(ratio: int = 3, bands: int = 2, seed: int = 0) -> tuple[Scene, GlobalModel]:
    """A scene and its model, made once for all tests."""
    scene = make_scene(ratio, bands, seed=seed)
    return scene, train(scene)


def untrained(scene: Scene) -> GlobalModel:
    """A model that knows nothing."""
    return GlobalModel((), None, None, 0.0, float(np.nanmean(scene.lst)), 0.0, NO_ERRORS)


def sharpen_core(
    scene: Scene, model: GlobalModel, how: BlockSettings, rows: slice, columns: slice
) -> Sharpened:
    """Sharpen the coarse pixels `rows` x `columns` as one block."""
    ratio, halo = scene.ratio, how.halo
    whole = padded(scene, halo)
    y, x = slice(rows.start, rows.stop + 2 * halo), slice(columns.start, columns.stop + 2 * halo)
    fine = (slice(y.start * ratio, y.stop * ratio), slice(x.start * ratio, x.stop * ratio))
    return sharpen_block(
        np.ascontiguousarray(whole.bands[:, *fine]),
        np.ascontiguousarray(whole.lst[y, x]),
        None if whole.usable is None else np.ascontiguousarray(whole.usable[fine]),
        YX(rows.start - halo, columns.start - halo),
        model,
        how,
    )


def sharpen(scene: Scene, model: GlobalModel, how: BlockSettings | None = None) -> Sharpened:
    """Sharpen the scene as a single block."""
    ny, nx = scene.shape
    return sharpen_core(scene, model, how or settings(scene.ratio), slice(0, ny), slice(0, nx))


def pixels_of_cells(fine: NDArray[np.generic], ratio: int) -> NDArray[np.generic]:
    """The fine pixels of each coarse pixel on the last axis: shape (h, w, ratio**2)."""
    ny, nx = fine.shape
    split = fine.reshape(ny // ratio, ratio, nx // ratio, ratio).swapaxes(1, 2)
    return split.reshape(ny // ratio, nx // ratio, ratio * ratio)

"""Local models: one small forest per window, fitted, used and forgotten.

All windows of a block are handled in one compiled loop. A window gathers its homogeneous coarse
pixels, grows its forest, predicts them out of bag, predicts its fine pixels, decides how much to trust
itself against the global model (`lstzoom.kernels.fuse`) and how much of the detail to believe
(`lstzoom.kernels.amplitude`), and adds all of it to the block with its tent weight. No model is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstzoom.kernels.amplitude import amplitude_of
from lstzoom.kernels.compile import jit
from lstzoom.kernels.fuse import local_weight
from lstzoom.kernels.trees import (
    TreeSettings,
    add_tree,
    bag,
    closed,
    features_per_split,
    grow_tree,
    node_capacity,
    predict_row,
)
from lstzoom.kernels.windows import Span, tent

LOCAL_BINS = 64
"""Equal bins between the extremes of a window: enough for its shallow trees."""


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """The lattice of windows and the forests on it.

    Attributes
    ----------
    stride, extension
        Of the lattice, in coarse pixels.
    min_samples
        A window with fewer samples leaves its part to the global model.
    trees
        Size of a window's forest.
    """

    stride: int
    extension: int
    min_samples: int
    trees: TreeSettings


@dataclass(frozen=True, slots=True)
class Coarse:
    """What a block knows on the coarse grid.

    Attributes
    ----------
    levels : ndarray of float32, shape (F, h, w)
        Level features.
    lst : ndarray of float32, shape (h, w)
        Kelvin.
    trainable : ndarray of bool, shape (h, w)
        Fully valid pixels.
    weight : ndarray of float32, shape (h, w)
        Sample weights.
    bits : ndarray of uint64, shape (h, w)
        Hashes that draw the bags.
    prior : ndarray of float32, shape (h, w)
        Out-of-bag prediction of the global model, kelvin.
    """

    levels: NDArray[np.float32]
    lst: NDArray[np.float32]
    trainable: NDArray[np.bool_]
    weight: NDArray[np.float32]
    bits: NDArray[np.uint64]
    prior: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Blend:
    """Tent-blended sums over the windows of a block's core, at the fine resolution.

    Attributes
    ----------
    local : ndarray of float32, shape (y, x)
        Prediction of the local models, kelvin (the global one where a window is starved).
    fused : ndarray of float32, shape (y, x)
        Local and global prediction, fused window by window, kelvin.
    weight : ndarray of float32, shape (y, x)
        Share of the local models in `fused`, 0 to 1.
    amplitude : ndarray of float32, shape (y, x)
        Factor for the detail of `fused`.
    reliability : ndarray of float32, shape (y, x)
        Squared out-of-bag correlation of detail, 0 to 1.
    error : ndarray of float32, shape (y, x)
        Mean squared out-of-bag error of `fused`, kelvin squared.
    """

    local: NDArray[np.float32]
    fused: NDArray[np.float32]
    weight: NDArray[np.float32]
    amplitude: NDArray[np.float32]
    reliability: NDArray[np.float32]
    error: NDArray[np.float32]


@jit
def _gather(
    levels: NDArray[np.float32],
    trainable: NDArray[np.bool_],
    y0: int,
    y1: int,
    x0: int,
    x1: int,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Rows of a window's samples, and for each pixel of the window its row or -1."""
    place = np.full((y1 - y0, x1 - x0), -1, np.int32)
    n = 0
    for y in range(y0, y1):
        for x in range(x0, x1):
            if trainable[y, x]:
                place[y - y0, x - x0] = n
                n += 1
    rows = np.empty((n, levels.shape[0]), np.float32)
    for k in range(levels.shape[0]):
        for y in range(y0, y1):
            for x in range(x0, x1):
                i = place[y - y0, x - x0]
                if i >= 0:
                    rows[i, k] = levels[k, y, x]
    return rows, place


@jit
def _take(plane: NDArray, place: NDArray[np.int32], y0: int, x0: int, n: int) -> NDArray:  # type: ignore[type-arg]
    out = np.empty(n, plane.dtype)
    for y in range(place.shape[0]):
        for x in range(place.shape[1]):
            if place[y, x] >= 0:
                out[place[y, x]] = plane[y0 + y, x0 + x]
    return out


@jit
def _linear_bins(rows: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    n, features = rows.shape
    binned = np.zeros((n, features), np.uint8)
    edges = np.empty((features, LOCAL_BINS - 1), np.float32)
    for k in range(features):
        low = high = rows[0, k]
        for i in range(n):
            low = min(low, rows[i, k])
            high = max(high, rows[i, k])
        step = (np.float64(high) - low) / LOCAL_BINS
        for b in range(LOCAL_BINS - 1):
            edges[k, b] = low + step * (b + 1)
        for i in range(n):
            b = int((np.float64(rows[i, k]) - low) / step) if step > 0.0 else 0
            b = min(max(b, 0), LOCAL_BINS - 1)
            # The rule of prediction is `value <= threshold`; rounding must not break it.
            while b > 0 and rows[i, k] <= edges[k, b - 1]:
                b -= 1
            while b < LOCAL_BINS - 1 and rows[i, k] > edges[k, b]:
                b += 1
            binned[i, k] = b
    return binned, edges


@jit
def _forest(
    rows: NDArray[np.float32],
    target: NDArray[np.float32],
    weight: NDArray[np.float32],
    bits: NDArray[np.uint64],
    max_depth: int,
    min_leaf: int,
    take: int,
    feature: NDArray[np.int16],
    threshold: NDArray[np.float32],
    left: NDArray[np.int32],
    value: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Grow a window's forest into the given arrays; return its out-of-bag predictions."""
    binned, edges = _linear_bins(rows)
    trees = feature.shape[0]
    total = np.zeros(len(target), np.float32)
    count = np.zeros(len(target), np.int32)
    for t in range(trees):
        inside = bag(bits, t)
        if len(inside) == 0:
            inside = np.arange(len(target)).astype(np.int32)
        grow_tree(
            binned, edges, target, weight, inside, max_depth, min_leaf, take, np.uint64(t),
            feature[t], threshold[t], left[t], value[t],
        )  # fmt: skip
        for i in range(len(target)):
            if not (bits[i] >> np.uint64(t)) & np.uint64(1):
                total[i] += predict_row(rows[i], feature[t], threshold[t], left[t], value[t])
                count[i] += 1
    for i in range(len(target)):
        total[i] = total[i] / count[i] if count[i] else np.nan
    return total


@jit
def _add_window(
    planes: NDArray[np.float32],
    prior_fine: NDArray[np.float32],
    tent_y: NDArray[np.float32],
    tent_x: NDArray[np.float32],
    y0: int,
    x0: int,
    trained: bool,  # noqa: FBT001  (compiled code takes positions)
    share: float,
    figures: tuple[float, float, float],
    feature: NDArray[np.int16],
    threshold: NDArray[np.float32],
    left: NDArray[np.int32],
    value: NDArray[np.float32],
    sums: NDArray[np.float32],
) -> None:
    """Predict a window's fine pixels and add everything to the block, weighted by the tent."""
    trees = feature.shape[0]
    n = len(tent_x)
    limit, child = np.empty_like(threshold), np.empty(left.shape, np.uint32)
    column = feature.astype(np.uint32)
    depth = np.empty(trees, np.int64)
    if trained:
        for t in range(trees):
            limit[t], child[t], depth[t] = closed(threshold[t], left[t])
    rows = np.empty((n, planes.shape[0]), np.float32)
    node, total = np.empty(n, np.uint32), np.empty(n, np.float64)
    for i in range(len(tent_y)):
        y = y0 + i
        if trained:
            for k in range(planes.shape[0]):
                for j in range(n):
                    rows[j, k] = planes[k, y, x0 + j]
            total[:] = 0.0
            for t in range(trees):
                add_tree(rows, n, column[t], limit[t], child[t], value[t], depth[t], node, total)
        for j in range(n):
            x = x0 + j
            w = tent_y[i] * tent_x[j]
            world = prior_fine[y, x]
            local = np.float32(total[j] / trees) if trained else world
            sums[0, y, x] += w * local
            sums[1, y, x] += w * (share * local + (1.0 - share) * world)
            sums[2, y, x] += w * share
            sums[3, y, x] += w * figures[0]
            sums[4, y, x] += w * figures[1]
            sums[5, y, x] += w * figures[2]


@jit
def _window(
    levels: NDArray[np.float32],
    lst: NDArray[np.float32],
    trainable: NDArray[np.bool_],
    weight: NDArray[np.float32],
    bits: NDArray[np.uint64],
    prior: NDArray[np.float32],
    planes: NDArray[np.float32],
    prior_fine: NDArray[np.float32],
    box: tuple[int, int, int, int],
    corner: tuple[int, int],
    tent_y: NDArray[np.float32],
    tent_x: NDArray[np.float32],
    max_depth: int,
    min_leaf: int,
    min_samples: int,
    take: int,
    feature: NDArray[np.int16],
    threshold: NDArray[np.float32],
    left: NDArray[np.int32],
    value: NDArray[np.float32],
    sums: NDArray[np.float32],
) -> None:
    y0, y1, x0, x1 = box
    rows, place = _gather(levels, trainable, y0, y1, x0, x1)
    n = rows.shape[0]
    share = 0.0
    figures = (0.0, 0.0, 0.0)
    trained = n >= min_samples
    if n > 0:
        target = _take(lst, place, y0, x0, n)
        world = _take(prior, place, y0, x0, n)
        fused = world.copy()
        if trained:
            own = _forest(
                rows, target, _take(weight, place, y0, x0, n), _take(bits, place, y0, x0, n),
                max_depth, min_leaf, take, feature, threshold, left, value,
            )  # fmt: skip
            share = local_weight(target, own, world)
            for i in range(n):
                # A sample that all trees have seen stays NaN and is left out of the amplitude: the
                # global prediction in its place would look like detail.
                fused[i] = share * own[i] + (1.0 - share) * world[i]
        figures = amplitude_of(target, fused, place)
    _add_window(
        planes, prior_fine, tent_y, tent_x, corner[0], corner[1], trained, share, figures,
        feature, threshold, left, value, sums,
    )  # fmt: skip


def blend_windows(
    coarse: Coarse,
    planes: NDArray[np.float32],
    prior_fine: NDArray[np.float32],
    rows: list[Span],
    columns: list[Span],
    ratio: int,
    settings: LocalSettings,
) -> Blend:
    """Fit and use all windows of a block.

    Parameters
    ----------
    coarse
        The block on the coarse grid, halo included.
    planes
        float32, shape (F, h * ratio, w * ratio): level features at the fine resolution.
    prior_fine
        float32, shape (h * ratio, w * ratio): prediction of the global model, kelvin.
    rows, columns
        Windows along each axis, from `lstzoom.kernels.windows.spans`.
    ratio
        Fine pixels per coarse pixel.
    settings
        The lattice and the forests.

    Returns
    -------
    Blend
        Valid inside what `rows` and `columns` predict, zero elsewhere.
    """
    trees = settings.trees
    side = 2 * (settings.stride + settings.extension)
    capacity = node_capacity(side * side, trees)
    feature = np.zeros((trees.trees, capacity), np.int16)
    threshold = np.zeros((trees.trees, capacity), np.float32)
    left = np.full((trees.trees, capacity), -1, np.int32)
    value = np.zeros((trees.trees, capacity), np.float32)
    sums = np.zeros((6, *prior_fine.shape), np.float32)
    take = features_per_split(len(planes), trees)
    for row in rows:
        tent_y = tent(row, ratio, stride=settings.stride)
        for column in columns:
            _window(
                coarse.levels, coarse.lst, coarse.trainable, coarse.weight, coarse.bits, coarse.prior,
                planes, prior_fine,
                (row.train.start, row.train.stop, column.train.start, column.train.stop),
                (row.predict.start * ratio, column.predict.start * ratio),
                tent_y, tent(column, ratio, stride=settings.stride),
                trees.max_depth, trees.min_leaf, settings.min_samples, take,
                feature, threshold, left, value, sums,
            )  # fmt: skip
    return Blend(*sums)

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
    STRIP,
    TreeSettings,
    bag,
    features_per_split,
    fill_strip,
    grow_tree,
    node_capacity,
    out_of_bag,
    pack_tree,
    walk_strip,
)
from lstzoom.kernels.windows import Span, reach_of, tent
from lstzoom.types import YX

LOCAL_BINS = 48
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

    @property
    def most_samples(self) -> int:
        """Coarse pixels that a window trains on at most."""
        return (2 * (reach_of(self.stride) + self.extension)) ** 2


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
    """Tent-blended sums over the windows of a region, at the fine resolution.

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
    """

    local: NDArray[np.float32]
    fused: NDArray[np.float32]
    weight: NDArray[np.float32]
    amplitude: NDArray[np.float32]
    reliability: NDArray[np.float32]


@jit
def _gather(
    levels: NDArray[np.float32],
    trainable: NDArray[np.bool_],
    y0: int,
    y1: int,
    x0: int,
    x1: int,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Features of a window's samples, shape (F, n), and for each pixel of the window its sample or -1."""
    place = np.full((y1 - y0, x1 - x0), -1, np.int32)
    n = 0
    for y in range(y0, y1):
        for x in range(x0, x1):
            if trainable[y, x]:
                place[y - y0, x - x0] = n
                n += 1
    columns = np.empty((levels.shape[0], n), np.float32)
    for k in range(levels.shape[0]):
        for y in range(y0, y1):
            for x in range(x0, x1):
                i = place[y - y0, x - x0]
                if i >= 0:
                    columns[k, i] = levels[k, y, x]
    return columns, place


@jit
def _take(plane: NDArray, place: NDArray[np.int32], y0: int, x0: int, n: int) -> NDArray:  # type: ignore[type-arg]
    out = np.empty(n, plane.dtype)
    for y in range(place.shape[0]):
        for x in range(place.shape[1]):
            if place[y, x] >= 0:
                out[place[y, x]] = plane[y0 + y, x0 + x]
    return out


@jit
def _linear_bins(columns: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    features, n = columns.shape
    codes = np.zeros((features, n), np.uint8)
    # The last edge stands above everything, so that no code needs a limit.
    edges = np.full((features, LOCAL_BINS), np.float32(np.inf))
    for k in range(features):
        low = high = columns[k, 0]
        for i in range(n):
            low = min(low, columns[k, i])
            high = max(high, columns[k, i])
        step = (np.float64(high) - low) / LOCAL_BINS
        if not step > 0.0:
            continue
        for b in range(LOCAL_BINS - 1):
            edges[k, b] = low + step * (b + 1)
        scale = 1.0 / step
        for i in range(n):
            value = columns[k, i]
            b = min(int((np.float64(value) - low) * scale), LOCAL_BINS - 1)
            # The rule of prediction is `value <= threshold`; rounding must not break it.
            b += int(value > edges[k, b])
            b -= int(b > 0 and value <= edges[k, b - 1])
            codes[k, i] = b
    return codes, edges[:, : LOCAL_BINS - 1]


@jit
def _forest(
    columns: NDArray[np.float32],
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
    packed: NDArray[np.uint64],
    depth: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Grow a window's forest into the given arrays; return its out-of-bag predictions."""
    codes, edges = _linear_bins(columns)
    n = len(target)
    for t in range(feature.shape[0]):
        inside = bag(bits, t)
        if len(inside) == 0:
            inside = np.arange(n).astype(np.int32)
        grow_tree(
            codes, edges, target, weight, inside, max_depth, min_leaf, take, np.uint64(t),
            feature[t], threshold[t], left[t], value[t],
        )  # fmt: skip
        depth[t] = pack_tree(feature[t], threshold[t], left[t], packed[t])
    own = np.empty(n, np.float32)
    out_of_bag(columns, bits, packed, value, depth, own)
    return own


@jit
def _add_window(
    planes: NDArray[np.float32],
    prior_fine: NDArray[np.float32],
    skip: int,
    corner: tuple[int, int],
    tent_y: NDArray[np.float32],
    tent_x: NDArray[np.float32],
    trained: bool,  # noqa: FBT001  (compiled code takes positions)
    share: float,
    packed: NDArray[np.uint64],
    value: NDArray[np.float32],
    depth: NDArray[np.int64],
    sums: NDArray[np.float32],
) -> None:
    """Predict a window's fine pixels and add local and fused prediction, weighted by the tent."""
    trees, n = packed.shape[0], len(tent_x)
    keys, total = np.zeros(planes.shape[0] * STRIP, np.uint32), np.empty(STRIP, np.float64)
    local = np.empty(n, np.float32)
    for i in range(len(tent_y)):
        y, x0 = corner[0] + i, corner[1]
        world = prior_fine[y, x0 : x0 + n]
        if trained:
            for first in range(0, n, STRIP):
                m = min(STRIP, n - first)
                fill_strip(planes, y + skip, x0 + skip + first, m, keys)
                walk_strip(keys, m, packed, value, depth, total)
                for j in range(m):
                    local[first + j] = total[j] / trees
        else:
            local[:] = world
        for j in range(n):
            w = tent_y[i] * tent_x[j]
            sums[0, y, x0 + j] += w * local[j]
            sums[1, y, x0 + j] += w * (share * local[j] + (1.0 - share) * world[j])


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
    skip: int,
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
    packed: NDArray[np.uint64],
    depth: NDArray[np.int64],
    sums: NDArray[np.float32],
) -> tuple[float, float, float]:
    """Fit and use one window; return its share, amplitude and reliability."""
    y0, y1, x0, x1 = box
    columns, place = _gather(levels, trainable, y0, y1, x0, x1)
    n = columns.shape[1]
    share = amplitude = reliability = 0.0
    trained = n >= min_samples
    if n > 0:
        target = _take(lst, place, y0, x0, n)
        world = _take(prior, place, y0, x0, n)
        fused = world.copy()
        if trained:
            own = _forest(
                columns, target, _take(weight, place, y0, x0, n), _take(bits, place, y0, x0, n),
                max_depth, min_leaf, take, feature, threshold, left, value, packed, depth,
            )  # fmt: skip
            share = local_weight(target, own, world)
            for i in range(n):
                # A sample that all trees have seen stays NaN and is left out of the amplitude: the
                # global prediction in its place would look like detail.
                fused[i] = share * own[i] + (1.0 - share) * world[i]
        amplitude, reliability = amplitude_of(target, fused, place)
    _add_window(
        planes, prior_fine, skip, corner, tent_y, tent_x, trained, share, packed, value, depth, sums,
    )  # fmt: skip
    return share, amplitude, reliability


@jit
def _spread(
    figures: tuple[float, float, float],
    tent_y: NDArray[np.float32],
    first_y: int,
    tent_x: NDArray[np.float32],
    first_x: int,
    out: NDArray[np.float32],
) -> None:
    """Add one figure of each of three kinds to the pixels of a window, weighted by the tent."""
    for k in range(len(figures)):
        for i in range(len(tent_y)):
            line = out[k, first_y + i]
            w = np.float32(figures[k] * tent_y[i])
            for j in range(len(tent_x)):
                line[first_x + j] += w * tent_x[j]


@jit
def _all_windows(
    levels: NDArray[np.float32],
    lst: NDArray[np.float32],
    trainable: NDArray[np.bool_],
    weight: NDArray[np.float32],
    bits: NDArray[np.uint64],
    prior: NDArray[np.float32],
    planes: NDArray[np.float32],
    prior_fine: NDArray[np.float32],
    rows: NDArray[np.int64],
    row_tents: NDArray[np.float32],
    columns: NDArray[np.int64],
    column_tents: NDArray[np.float32],
    max_depth: int,
    min_leaf: int,
    min_samples: int,
    take: int,
    feature: NDArray[np.int16],
    threshold: NDArray[np.float32],
    left: NDArray[np.int32],
    value: NDArray[np.float32],
    packed: NDArray[np.uint64],
    depth: NDArray[np.int64],
    sums: NDArray[np.float32],
    spread: NDArray[np.float32],
) -> None:
    """Fit and use all windows; of each, `rows` and `columns` have what `_lattice` gives."""
    skip = (planes.shape[1] - prior_fine.shape[0]) // 2
    for i in range(len(rows)):
        y0, y1, y, height = rows[i]
        tent_y = row_tents[i, :height]
        for j in range(len(columns)):
            x0, x1, x, width = columns[j]
            tent_x = column_tents[j, :width]
            figures = _window(
                levels, lst, trainable, weight, bits, prior, planes, prior_fine, skip,
                (y0, y1, x0, x1), (y, x), tent_y, tent_x, max_depth, min_leaf, min_samples, take,
                feature, threshold, left, value, packed, depth, sums,
            )  # fmt: skip
            _spread(figures, tent_y, y, tent_x, x, spread)


def _lattice(
    spans: list[Span], corner: int, ratio: int, stride: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Windows along one axis as arrays.

    Of each the first and last coarse pixel that trains, the first fine pixel of the region and the number
    of fine pixels that it predicts; and its tent.
    """
    tents = [tent(span, ratio, stride=stride) for span in spans]
    places = [
        (span.train.start, span.train.stop, (span.predict.start - corner) * ratio, len(one))
        for span, one in zip(spans, tents, strict=True)
    ]
    padded = np.zeros((len(tents), max(map(len, tents), default=0)), np.float32)
    for line, one in zip(padded, tents, strict=True):
        line[: len(one)] = one
    return np.array(places, np.int64).reshape(-1, 4), padded


def blend_windows(
    coarse: Coarse,
    planes: NDArray[np.float32],
    prior_fine: NDArray[np.float32],
    rows: list[Span],
    columns: list[Span],
    corner: YX,
    ratio: int,
    settings: LocalSettings,
) -> Blend:
    """Fit and use all windows of a region.

    Parameters
    ----------
    coarse
        The block on the coarse grid, halo included.
    planes
        float32, shape (F, (h + 2 s) * ratio, (w + 2 s) * ratio): level features at the fine resolution, of
        the region and any `s` coarse pixels around it.
    prior_fine
        float32, shape (h * ratio, w * ratio): prediction of the global model in the region, kelvin.
    rows, columns
        Windows along each axis, from `lstzoom.kernels.windows.spans`.
    corner
        Coarse pixel of the block at which the region begins.
    ratio
        Fine pixels per coarse pixel.
    settings
        The lattice and the forests.

    Returns
    -------
    Blend
        Of the region, where `rows` and `columns` predict it, zero elsewhere.
    """
    trees = settings.trees
    capacity = node_capacity(settings.most_samples, trees)
    feature = np.zeros((trees.trees, capacity), np.int16)
    threshold = np.zeros((trees.trees, capacity), np.float32)
    left = np.full((trees.trees, capacity), -1, np.int32)
    value = np.zeros((trees.trees, capacity), np.float32)
    packed, depth = np.zeros((trees.trees, capacity), np.uint64), np.zeros(trees.trees, np.int64)
    sums, spread = (np.zeros((count, *prior_fine.shape), np.float32) for count in (2, 3))
    stride = settings.stride
    _all_windows(
        coarse.levels, coarse.lst, coarse.trainable, coarse.weight, coarse.bits, coarse.prior,
        planes, prior_fine,
        *_lattice(rows, corner.y, ratio, stride), *_lattice(columns, corner.x, ratio, stride),
        trees.max_depth, trees.min_leaf, settings.min_samples, features_per_split(len(planes), trees),
        feature, threshold, left, value, packed, depth, sums, spread,
    )  # fmt: skip
    return Blend(sums[0], sums[1], *spread)

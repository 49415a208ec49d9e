"""Bagged regression trees on histograms, compiled, with out-of-bag predictions.

A tree is grown on features that are binned into at most 255 levels; a split maximises the reduction
of the weighted squared error, as scikit-learn's ``DecisionTreeRegressor`` does, which is the reference
that the tests compare with (`fit_reference`). Each tree of a forest sees one half of the rows, chosen
by one bit of the row's hash ("subagging", Buehlmann & Yu 2002, doi:10.1214/aos/1031689014): equivalent
to the bootstrap, and whether a row is out of a tree's bag needs no memory.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lstzoom.errors import ConfigError
from lstzoom.kernels.compile import jit
from lstzoom.kernels.hashing import MAX_TREES, mix

MAX_BINS = 255

STRIP = 128
"""Pixels that one tree handles before the next tree is read: both then stay in the cache."""

MOST_NODES = 2**16
"""Of a tree that can be walked: 16 bits tell its nodes apart."""

MOST_COLUMNS = 2**16 // STRIP
"""Features of a tree that can be walked: 16 bits tell where the values of one begin in a strip."""


@dataclass(frozen=True, slots=True)
class TreeSettings:
    """How a forest is grown.

    Attributes
    ----------
    trees
        Number of trees, 1 to 64.
    max_depth
        Deepest level of a leaf, 1 to 20.
    min_leaf
        Fewest in-bag rows in a leaf, at least 1.
    feature_share
        Share of the features that each split may choose from, above 0 and up to 1.
    """

    trees: int
    max_depth: int
    min_leaf: int
    feature_share: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 1 <= self.trees <= MAX_TREES:
            raise ConfigError(f"trees is {self.trees}; it must lie between 1 and {MAX_TREES}")
        if not 1 <= self.max_depth <= 20:
            raise ConfigError(f"max_depth is {self.max_depth}; it must lie between 1 and 20")
        if self.min_leaf < 1 or not 0 < self.feature_share <= 1:
            raise ConfigError(
                f"min_leaf is {self.min_leaf} and feature_share {self.feature_share}; they must be at "
                "least 1 and in (0, 1]"
            )


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees as plain arrays; node 0 is the root, a leaf has ``left == -1``.

    Attributes
    ----------
    feature : ndarray of int16, shape (trees, nodes)
    threshold : ndarray of float32, shape (trees, nodes)
        A row goes left where its feature is at most the threshold.
    left : ndarray of int32, shape (trees, nodes)
        Index of the left child; the right child follows it.
    value : ndarray of float32, shape (trees, nodes)
        Mean of the in-bag rows.
    """

    feature: NDArray[np.int16]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    value: NDArray[np.float32]

    @property
    def trees(self) -> int:
        """Number of trees."""
        return int(self.feature.shape[0])


def bin_edges(rows: NDArray[np.float32], max_bins: int = MAX_BINS) -> NDArray[np.float32]:
    """Find the levels at which each feature may be split.

    Features with few distinct values are split between any two of them, others at quantiles.

    Parameters
    ----------
    rows
        float32, shape (n, features), finite.
    max_bins
        Number of bins, at most 255.

    Returns
    -------
    ndarray of float32, shape (features, max_bins - 1)
        Ascending thresholds, padded with +inf.
    """
    edges = np.full((rows.shape[1], max_bins - 1), np.inf, np.float32)
    steps = np.floor(np.linspace(0, 1, max_bins + 1)[1:-1] * (len(rows) - 1)).astype(np.int64)
    for k in range(rows.shape[1]):
        column = np.sort(rows[:, k])
        new = np.diff(column) > 0
        if np.count_nonzero(new) >= max_bins:
            cuts = np.unique(column[steps])
            cuts = cuts[cuts < column[-1]]
        else:
            values = column[np.concatenate([[True], new])]
            cuts = ((values[:-1].astype(np.float64) + values[1:]) / 2).astype(np.float32)
        edges[k, : len(cuts)] = cuts
    return edges


def apply_bins(rows: NDArray[np.float32], edges: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Replace every value by the number of thresholds below it.

    Parameters
    ----------
    rows
        float32, shape (n, features).
    edges
        From `bin_edges`.

    Returns
    -------
    ndarray of uint8, shape (features, n)
    """
    codes = np.empty(rows.shape[::-1], np.uint8)
    _apply_bins(np.ascontiguousarray(rows.T), edges, codes)
    return codes


@jit
def _apply_bins(columns: NDArray[np.float32], edges: NDArray[np.float32], codes: NDArray[np.uint8]) -> None:
    top = 1
    while 2 * top <= edges.shape[1]:
        top *= 2
    # Filled up, so that all searches take the same steps, and many can be made side by side.
    cuts = np.full(2 * top, np.float32(np.inf))
    below = np.empty(STRIP, np.int32)
    for k in range(columns.shape[0]):
        cuts[: edges.shape[1]] = edges[k]
        for first in range(0, columns.shape[1], STRIP):
            values = columns[k, first : first + STRIP]
            below[:] = 0
            step = top
            while step > 0:
                for i in range(len(values)):
                    below[i] += step if cuts[below[i] + step - 1] < values[i] else 0
                step //= 2
            for i in range(len(values)):
                codes[k, first + i] = below[i]


@jit
def _best_split(
    codes: NDArray[np.uint8],
    rows: NDArray[np.int32],
    weight: NDArray[np.float64],
    moment: NDArray[np.float64],
    total_w: float,
    total_y: float,
    min_leaf: int,
    work: NDArray[np.float64],
) -> tuple[float, int]:
    """Gain and bin of the best split of one feature; a gain of -1 where there is none.

    `codes` are the bins of all rows, `weight` and ``moment = weight * target`` belong to `rows` alone.
    """
    work[:] = 0.0
    n = len(rows)
    for k in range(n):
        b = codes[np.uint32(rows[k])]
        work[b, 0] += weight[k]
        work[b, 1] += moment[k]
        work[b, 2] += 1.0
    best = -1.0
    best_bin = -1
    count = left_w = left_y = 0.0
    base = total_y * total_y / total_w
    for b in range(work.shape[0] - 1):
        if work[b, 2] == 0.0:
            continue
        left_w += work[b, 0]
        left_y += work[b, 1]
        count += work[b, 2]
        if count < min_leaf:
            continue
        if n - count < min_leaf:
            break
        right_y = total_y - left_y
        gain = left_y * left_y / left_w + right_y * right_y / (total_w - left_w) - base
        if gain > best:
            best = gain
            best_bin = b
    return best, best_bin


@jit
def _draw_features(state: np.uint64, order: NDArray[np.int64], take: int) -> None:
    """Move `take` features drawn without replacement to the front of `order`, in place."""
    n = len(order)
    for k in range(n):
        order[k] = k
    if take == n:
        return
    for k in range(take):
        state = mix(state + np.uint64(0x9E3779B97F4A7C15))
        j = k + int(state % np.uint64(n - k))
        order[k], order[j] = order[j], order[k]


@jit
def grow_tree(
    codes: NDArray[np.uint8],
    edges: NDArray[np.float32],
    target: NDArray[np.float32],
    weight: NDArray[np.float32],
    rows: NDArray[np.int32],
    max_depth: int,
    min_leaf: int,
    take: int,
    seed: np.uint64,
    feature: NDArray[np.int16],
    threshold: NDArray[np.float32],
    left: NDArray[np.int32],
    value: NDArray[np.float32],
) -> int:
    """Grow one tree into preallocated node arrays and return the number of nodes.

    `codes` are bins, one row of memory for each feature. `rows` is permuted in place. Weights must be
    positive.
    """
    capacity, size = len(feature), len(rows)
    work = np.zeros((edges.shape[1] + 1, 3), np.float64)
    order = np.arange(codes.shape[0])
    start = np.zeros(capacity, np.int64)
    stop = np.zeros(capacity, np.int64)
    depth = np.zeros(capacity, np.int64)
    w, wy, moved = np.empty(size, np.float64), np.empty(size, np.float64), np.empty(size, np.int32)
    stop[0] = size
    nodes = 1
    node = 0
    while node < nodes:
        part = rows[start[node] : stop[node]]
        n = len(part)
        sum_w = sum_y = sum_yy = 0.0
        for k in range(n):
            # In float32 the square of 300 K would be rounded to 0.008 K2, more than a lake varies.
            y = np.float64(target[part[k]])
            w[k] = weight[part[k]]
            wy[k] = w[k] * y
            sum_w += w[k]
            sum_y += wy[k]
            sum_yy += wy[k] * y
        value[node] = sum_y / sum_w
        left[node] = -1
        # What is left of the difference by rounding alone; 0.3 mK at 300 K.
        impure = sum_yy - sum_y * sum_y / sum_w > 1e-12 * (1.0 + sum_yy)
        if depth[node] < max_depth and n >= 2 * min_leaf and impure and nodes + 2 <= capacity:
            _draw_features(seed ^ np.uint64(node + 1), order, take)
            best = 1e-9 * sum_w
            best_feature = -1
            best_bin = -1
            for k in range(take):
                gain, split = _best_split(codes[order[k]], part, w, wy, sum_w, sum_y, min_leaf, work)
                # Ties go to the first feature, so that the draw's order does not decide.
                if split >= 0 and (gain > best or (gain == best and order[k] < best_feature)):
                    best, best_feature, best_bin = gain, order[k], split
            if best_feature >= 0:
                middle = _partition(codes[best_feature], part, best_bin, moved)
                feature[node] = best_feature
                threshold[node] = edges[best_feature, best_bin]
                left[node] = nodes
                start[nodes] = start[node]
                stop[nodes] = start[node] + middle
                start[nodes + 1] = start[node] + middle
                stop[nodes + 1] = stop[node]
                depth[nodes] = depth[nodes + 1] = depth[node] + 1
                nodes += 2
        node += 1
    return nodes


@jit
def _partition(
    codes: NDArray[np.uint8], rows: NDArray[np.int32], split: int, moved: NDArray[np.int32]
) -> int:
    """Bring the rows that go left to the front, both sides in their old order."""
    n_left = 0
    n_right = 0
    for k in range(len(rows)):
        # Written to both sides, and kept on one: which it will be cannot be foreseen.
        i = rows[k]
        is_right = int(codes[i] > split)
        rows[n_left] = moved[n_right] = i
        n_left += 1 - is_right
        n_right += is_right
    for k in range(n_right):
        rows[n_left + k] = moved[k]
    return n_left


@jit
def bag(bits: NDArray[np.uint64], tree: int) -> NDArray[np.int32]:
    """Rows in the bag of a tree: those whose bit of that number is set."""
    rows = np.empty(len(bits), np.int32)
    n = 0
    for i in range(len(bits)):
        rows[n] = i
        n += int((bits[i] >> np.uint64(tree)) & np.uint64(1))
    return rows[:n]


@jit
def comparable(value: np.float32) -> np.uint32:
    """Bits of a finite float, or of infinity, as a number without sign that is larger where the float is."""
    # Adding zero makes -0 of 0, which are equal, the same.
    bits = np.float32(value + np.float32(0.0)).view(np.int32)
    return np.uint32(bits ^ ((bits >> np.int32(31)) | np.int32(-0x80000000)))


@jit
def pack_tree(
    feature: NDArray[np.int16],
    threshold: NDArray[np.float32],
    left: NDArray[np.int32],
    packed: NDArray[np.uint64],
) -> int:
    """Put all that a step down a tree needs into one number for each node; return the tree's depth.

    From the top: 16 bits for where the values of the feature begin in a strip, 16 bits for the left child, 32
    bits of the threshold. A leaf leads to itself, so that every pixel may take as many steps as the deepest.
    """
    depth = np.zeros(len(left), np.int64)
    deepest = 0
    for k in range(len(left)):
        if left[k] < 0:
            # Nothing lies above, whatever the bits.
            limit, column, child = np.uint32(0xFFFFFFFF), np.int64(0), np.int64(k)
        else:
            limit, column, child = comparable(threshold[k]), np.int64(feature[k]), np.int64(left[k])
            # Children follow their parent, so its depth is known by now.
            depth[child] = depth[child + 1] = depth[k] + 1
            deepest = max(deepest, depth[k] + 1)
        packed[k] = (
            (np.uint64(column * STRIP) << np.uint64(48))
            | (np.uint64(child) << np.uint64(32))
            | np.uint64(limit)
        )
    return deepest


@jit
def pack_forest(
    feature: NDArray[np.int16], threshold: NDArray[np.float32], left: NDArray[np.int32]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Pack all trees of a forest and give their depths; see `pack_tree`."""
    packed = np.empty(left.shape, np.uint64)
    depth = np.empty(left.shape[0], np.int64)
    for t in range(left.shape[0]):
        depth[t] = pack_tree(feature[t], threshold[t], left[t], packed[t])
    return packed, depth


@jit
def fill_strip(planes: NDArray[np.float32], y: int, x: int, n: int, keys: NDArray[np.uint32]) -> None:
    """Bring `n` pixels of a row of planes, from column `x` on, into the form in which trees compare.

    `keys` become `STRIP` values of each feature, one feature after another.
    """
    for k in range(planes.shape[0]):
        line, strip = planes[k, y], keys[k * STRIP : k * STRIP + n]
        for i in range(n):
            strip[i] = comparable(line[x + i])


@jit
def walk_strip(
    keys: NDArray[np.uint32],
    n: int,
    packed: NDArray[np.uint64],
    value: NDArray[np.float32],
    depth: NDArray[np.int64],
    total: NDArray[np.float64],
) -> None:
    """Sum up what all trees predict for the first `n` pixels of a strip; see `add_tree`."""
    for i in range(n):
        total[i] = 0.0
    for t in range(packed.shape[0]):
        add_tree(keys, n, packed[t], value[t], depth[t], total)


@jit
def _step(
    packed: NDArray[np.uint64], keys: NDArray[np.uint32], node: np.uint64, pixel: np.uint64
) -> np.uint64:
    # Six instructions: the comparison leaves its outcome where an addition takes it up.
    word = packed[node]
    child = (word >> np.uint64(32)) & np.uint64(0xFFFF)
    above = np.uint32(word) < keys[(word >> np.uint64(48)) + pixel]
    return np.uint64(child + np.uint64(above))


@jit
def add_tree(
    keys: NDArray[np.uint32],
    n: int,
    packed: NDArray[np.uint64],
    value: NDArray[np.float32],
    depth: int,
    total: NDArray[np.float64],
) -> None:
    """Add the prediction of one tree for the first `n` pixels of a strip to `total`.

    Sixteen pixels walk down side by side: a step waits for the memory of the one before it, and meanwhile
    others are taken. `total` has room for `STRIP`: what it holds beyond `n` is lost.
    """
    for first in range(0, n, 16):
        p = np.uint64(first)
        n0 = n1 = n2 = n3 = n4 = n5 = n6 = n7 = np.uint64(0)
        n8 = n9 = n10 = n11 = n12 = n13 = n14 = n15 = np.uint64(0)
        for _ in range(depth):
            n0 = _step(packed, keys, n0, p + np.uint64(0))
            n1 = _step(packed, keys, n1, p + np.uint64(1))
            n2 = _step(packed, keys, n2, p + np.uint64(2))
            n3 = _step(packed, keys, n3, p + np.uint64(3))
            n4 = _step(packed, keys, n4, p + np.uint64(4))
            n5 = _step(packed, keys, n5, p + np.uint64(5))
            n6 = _step(packed, keys, n6, p + np.uint64(6))
            n7 = _step(packed, keys, n7, p + np.uint64(7))
            n8 = _step(packed, keys, n8, p + np.uint64(8))
            n9 = _step(packed, keys, n9, p + np.uint64(9))
            n10 = _step(packed, keys, n10, p + np.uint64(10))
            n11 = _step(packed, keys, n11, p + np.uint64(11))
            n12 = _step(packed, keys, n12, p + np.uint64(12))
            n13 = _step(packed, keys, n13, p + np.uint64(13))
            n14 = _step(packed, keys, n14, p + np.uint64(14))
            n15 = _step(packed, keys, n15, p + np.uint64(15))
        total[first + 0] += value[n0]
        total[first + 1] += value[n1]
        total[first + 2] += value[n2]
        total[first + 3] += value[n3]
        total[first + 4] += value[n4]
        total[first + 5] += value[n5]
        total[first + 6] += value[n6]
        total[first + 7] += value[n7]
        total[first + 8] += value[n8]
        total[first + 9] += value[n9]
        total[first + 10] += value[n10]
        total[first + 11] += value[n11]
        total[first + 12] += value[n12]
        total[first + 13] += value[n13]
        total[first + 14] += value[n14]
        total[first + 15] += value[n15]


@jit
def _predict_planes(
    planes: NDArray[np.float32],
    skip: int,
    feature: NDArray[np.int16],
    threshold: NDArray[np.float32],
    left: NDArray[np.int32],
    value: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    ny, nx = out.shape
    trees = feature.shape[0]
    packed, depth = pack_forest(feature, threshold, left)
    keys, total = np.zeros(planes.shape[0] * STRIP, np.uint32), np.empty(STRIP, np.float64)
    for y in range(ny):
        for x in range(0, nx, STRIP):
            n = min(STRIP, nx - x)
            fill_strip(planes, y + skip, x + skip, n, keys)
            walk_strip(keys, n, packed, value, depth, total)
            for i in range(n):
                out[y, x + i] = total[i] / trees


@jit
def out_of_bag(
    columns: NDArray[np.float32],
    bits: NDArray[np.uint64],
    packed: NDArray[np.uint64],
    value: NDArray[np.float32],
    depth: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    """Mean over the trees that have not seen a row, for every row; NaN where all have.

    `columns` has one line for each feature, `bits` the hashes that drew the bags.
    """
    keys = np.zeros(columns.shape[0] * STRIP, np.uint32)
    lines = columns.reshape(columns.shape[0], 1, columns.shape[1])
    one, total = np.empty(STRIP, np.float64), np.empty(STRIP, np.float64)
    count = np.empty(STRIP, np.int64)
    for first in range(0, len(out), STRIP):
        n = min(STRIP, len(out) - first)
        fill_strip(lines, 0, first, n, keys)
        total[:] = 0.0
        count[:] = 0
        for t in range(packed.shape[0]):
            one[:] = 0.0
            add_tree(keys, n, packed[t], value[t], depth[t], one)
            for i in range(n):
                unseen = np.int64(1) - np.int64((bits[first + i] >> np.uint64(t)) & np.uint64(1))
                total[i] += unseen * one[i]
                count[i] += unseen
        for i in range(n):
            out[first + i] = total[i] / count[i] if count[i] else np.nan


@jit
def _fit(
    codes: NDArray[np.uint8],
    edges: NDArray[np.float32],
    target: NDArray[np.float32],
    weight: NDArray[np.float32],
    bits: NDArray[np.uint64],
    max_depth: int,
    min_leaf: int,
    take: int,
    seed: np.uint64,
    feature: NDArray[np.int16],
    threshold: NDArray[np.float32],
    left: NDArray[np.int32],
    value: NDArray[np.float32],
    tree: int,
) -> int:
    """Grow one tree of a forest into its line of the arrays; return its number of nodes."""
    rows = bag(bits, tree)
    if len(rows) == 0:
        rows = np.arange(len(target)).astype(np.int32)
    return grow_tree(
        codes, edges, target, weight, rows, max_depth, min_leaf, take, mix(seed + np.uint64(tree)),
        feature[tree], threshold[tree], left[tree], value[tree],
    )  # fmt: skip


def node_capacity(rows: int, settings: TreeSettings) -> int:
    """Most nodes that a tree of these settings can have."""
    leaves = max(rows // settings.min_leaf, 1)
    return int(min(2 ** (settings.max_depth + 1) - 1, 2 * leaves + 1))


def fit_forest(
    rows: NDArray[np.float32],
    target: NDArray[np.float32],
    weight: NDArray[np.float32],
    bits: NDArray[np.uint64],
    settings: TreeSettings,
    *,
    seed: int = 0,
    threads: int = 1,
) -> Forest:
    """Grow a forest.

    Parameters
    ----------
    rows
        float32, shape (n, features), finite, n at least 1.
    target
        float32, shape (n,).
    weight
        float32, shape (n,), positive.
    bits
        uint64, shape (n,): bit t says whether tree t sees the row.
    settings
        Size of the trees.
    seed
        For the features that a split may choose from.
    threads
        Trees at a time; the forest is the same.

    Returns
    -------
    Forest
    """
    capacity = node_capacity(len(rows), settings)
    if capacity > MOST_NODES or rows.shape[1] > MOST_COLUMNS:
        raise ConfigError(
            f"a tree of up to {capacity} nodes on {rows.shape[1]} features is too large; at most "
            f"{MOST_NODES} nodes and {MOST_COLUMNS} features are possible: take a smaller sample, less "
            "depth or fewer bands"
        )
    feature = np.zeros((settings.trees, capacity), np.int16)
    threshold = np.zeros((settings.trees, capacity), np.float32)
    left = np.full((settings.trees, capacity), -1, np.int32)
    value = np.zeros((settings.trees, capacity), np.float32)
    edges = bin_edges(rows)
    grow = partial(
        _fit, apply_bins(rows, edges), edges, target, weight, bits,
        settings.max_depth, settings.min_leaf, features_per_split(rows.shape[1], settings),
        np.uint64(seed), feature, threshold, left, value,
    )  # fmt: skip
    with ThreadPoolExecutor(threads) as pool:
        used = max(pool.map(grow, range(settings.trees)))
    return Forest(
        np.ascontiguousarray(feature[:, :used]),
        np.ascontiguousarray(threshold[:, :used]),
        np.ascontiguousarray(left[:, :used]),
        np.ascontiguousarray(value[:, :used]),
    )


def features_per_split(features: int, settings: TreeSettings) -> int:
    """Count the features that a split may choose from."""
    return max(1, min(features, round(features * settings.feature_share)))


def predict(forest: Forest, planes: NDArray[np.float32], *, skip: int = 0) -> NDArray[np.float32]:
    """Mean over the trees for every pixel of feature planes.

    Parameters
    ----------
    forest
        The trees.
    planes
        float32, shape (features, y, x), finite.
    skip
        Pixels along each edge of the planes to leave out.

    Returns
    -------
    ndarray of float32, shape (y - 2 skip, x - 2 skip)
    """
    out = np.empty((planes.shape[1] - 2 * skip, planes.shape[2] - 2 * skip), np.float32)
    _predict_planes(planes, skip, forest.feature, forest.threshold, forest.left, forest.value, out)
    return out


def predict_out_of_bag(
    forest: Forest, rows: NDArray[np.float32], bits: NDArray[np.uint64]
) -> NDArray[np.float32]:
    """Mean over the trees that have not seen a row.

    A tree has never seen a row whose bit it would have skipped, whether the row was in the training
    sample or not; so this is out of bag for any pixel of the scene.

    Parameters
    ----------
    forest
        The trees.
    rows
        float32, shape (n, features), finite.
    bits
        uint64, shape (n,): the hashes that the bags were drawn with.

    Returns
    -------
    ndarray of float32, shape (n,)
        NaN for a row that every tree has seen.
    """
    out = np.empty(len(rows), np.float32)
    packed, depth = pack_forest(forest.feature, forest.threshold, forest.left)
    columns = np.ascontiguousarray(rows.T, dtype=np.float32)
    out_of_bag(columns, bits, packed, forest.value, depth, out)
    return out


def fit_reference(
    rows: NDArray[np.float32],
    target: NDArray[np.float32],
    weight: NDArray[np.float32],
    bits: NDArray[np.uint64],
    settings: TreeSettings,
    *,
    seed: int = 0,
) -> Forest:
    """Grow the same kind of forest with scikit-learn: slower, exact splits, the reference.

    Parameters
    ----------
    rows, target, weight, bits, settings, seed
        As for `fit_forest`.

    Returns
    -------
    Forest
    """
    from sklearn.tree import DecisionTreeRegressor  # noqa: PLC0415  (1.9 s that a run does not need)

    grown = []
    for t in range(settings.trees):
        inside = bag(bits, t)
        inside = inside if len(inside) else np.arange(len(target), dtype=np.int32)
        tree = DecisionTreeRegressor(
            max_depth=settings.max_depth,
            min_samples_leaf=settings.min_leaf,
            max_features=features_per_split(rows.shape[1], settings),
            random_state=seed + t,
        )
        tree.fit(rows[inside], target[inside], sample_weight=weight[inside])
        grown.append(_breadth_first(tree.tree_))
    size = max(len(tree[0]) for tree in grown)
    padded = [[np.pad(a, (0, size - len(a)), constant_values=a.dtype.type(-1)) for a in t] for t in grown]
    return Forest(*(np.stack(arrays) for arrays in zip(*padded, strict=True)))


def _breadth_first(
    tree: object,
) -> tuple[NDArray[np.int16], NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """Renumber a scikit-learn tree so that a right child follows its left sibling."""
    old_left, old_right = tree.children_left, tree.children_right  # type: ignore[attr-defined]
    order, left = [0], []
    for node in order:
        left.append(len(order) if old_left[node] >= 0 else -1)
        if old_left[node] >= 0:
            order += [int(old_left[node]), int(old_right[node])]
    index = np.array(order)
    feature = np.maximum(tree.feature[index], 0).astype(np.int16)  # type: ignore[attr-defined]
    # scikit-learn compares in float32 with a float64 threshold: rounding down keeps the decision.
    threshold = _round_down(tree.threshold[index])  # type: ignore[attr-defined]
    value = tree.value[index, 0, 0].astype(np.float32)  # type: ignore[attr-defined]
    return feature, threshold, np.array(left, np.int32), value


def _round_down(values: NDArray[np.float64]) -> NDArray[np.float32]:
    single = values.astype(np.float32)
    return np.where(single > values, np.nextafter(single, np.float32(-np.inf)), single)

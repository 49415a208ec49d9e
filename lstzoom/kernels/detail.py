"""Prediction of the detail view: features of one fine row at a time, straight into the trees.

The features of the detail view are many (45 planes for eight bands) and each is used once, so they are
never held for more than a row of the block.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lstzoom.kernels.compile import jit
from lstzoom.kernels.features import detail_count, detail_inputs, detail_line
from lstzoom.kernels.interpolate import SHARPNESS_FEATURE, cubic_weights, spline_weights
from lstzoom.kernels.trees import STRIP, Forest, add_tree, closed_forest


def predict_details(
    levels: NDArray[np.float32],
    lst: NDArray[np.float32],
    lst_fine: NDArray[np.float32],
    usable: NDArray[np.bool_],
    margin: int,
    ratio: int,
    forests: tuple[Forest, ...],
) -> list[NDArray[np.float32]]:
    """Predict with forests on the features of the detail view, inside a margin.

    Parameters
    ----------
    levels, lst, usable, ratio
        As for `lstzoom.kernels.features.detail_features`.
    lst_fine
        float32, shape ((h - 2 margin) * ratio, (w - 2 margin) * ratio): interpolated LST inside the margin.
    margin
        Coarse pixels on each side that only features depend on, at least
        `lstzoom.kernels.features.DETAIL_REACH` where they matter.
    forests
        Grown on those features.

    Returns
    -------
    list of ndarray of float32, shape of `lst_fine`
        What `lstzoom.kernels.trees.predict` gives for each of the forests.
    """
    given = detail_inputs(levels, lst, usable, ratio)
    start, weight = cubic_weights(ratio, SHARPNESS_FEATURE)
    _, smooth = spline_weights(ratio)
    out = np.empty((len(forests), *lst_fine.shape), np.float32)
    work = np.empty((detail_count(len(levels)), lst_fine.shape[1]), np.float32)
    rows = np.empty((lst_fine.shape[1], len(work)), np.float32)
    grown = [closed_forest(f.feature, f.threshold, f.left) for f in forests]
    for line in range(lst_fine.shape[0]):
        _rows(
            levels, given.spline, given.slope, given.residual, lst_fine[line], line + margin * ratio,
            margin, lst.shape[1] - margin, ratio, start, weight, smooth, work, rows,
        )  # fmt: skip
        for k, (forest, (column, limit, child, depth)) in enumerate(zip(forests, grown, strict=True)):
            _predict_rows(rows, column, limit, child, forest.value, depth, out[k, line])
    return list(out)


@jit
def _rows(
    levels: NDArray[np.float32],
    spline: NDArray[np.float32],
    slope: NDArray[np.float32],
    residual: NDArray[np.float32],
    lst_line: NDArray[np.float32],
    line: int,
    first: int,
    last: int,
    ratio: int,
    start: NDArray[np.int64],
    weight: NDArray[np.float32],
    smooth: NDArray[np.float32],
    work: NDArray[np.float32],
    rows: NDArray[np.float32],
) -> None:
    """Features of one fine row, pixel by pixel."""
    row = np.empty(spline.shape[2], np.float32)
    detail_line(
        levels, spline, slope, residual, lst_line, line, first, last, ratio, start, weight, smooth, row, work
    )
    for x0 in range(0, rows.shape[0], STRIP):
        for k in range(work.shape[0]):
            for x in range(x0, min(x0 + STRIP, rows.shape[0])):
                rows[x, k] = work[k, x]


@jit
def _predict_rows(
    rows: NDArray[np.float32],
    column: NDArray[np.uint32],
    limit: NDArray[np.float32],
    child: NDArray[np.uint32],
    value: NDArray[np.float32],
    depth: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    trees = column.shape[0]
    node, total = np.empty(STRIP, np.uint32), np.empty(STRIP, np.float64)
    for x0 in range(0, len(out), STRIP):
        n = min(STRIP, len(out) - x0)
        for i in range(n):
            total[i] = 0.0
        part = rows[x0 : x0 + n]
        for t in range(trees):
            add_tree(part, n, column[t], limit[t], child[t], value[t], depth[t], node, total)
        for i in range(n):
            out[x0 + i] = total[i] / trees

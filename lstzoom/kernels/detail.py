"""Prediction of the detail view: features of one fine row at a time, straight into the trees.

The features of the detail view are many (45 planes for eight bands) and each is used once, so they are
never held for more than a row of the block.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lstzoom.kernels.compile import jit
from lstzoom.kernels.features import detail_count, detail_inputs, detail_line, in_place
from lstzoom.kernels.interpolate import SHARPNESS_FEATURE, cubic_weights, spline_weights
from lstzoom.kernels.trees import STRIP, Forest, fill_strip, pack_forest, walk_strip


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
    grown = tuple((*pack_forest(f.feature, f.threshold, f.left), f.value) for f in forests)
    _predict(
        levels, given.spline, given.slope, given.residual, lst_fine, margin, ratio, start, weight, smooth,
        grown, out,
    )  # fmt: skip
    return list(out)


@jit
def _predict(
    levels: NDArray[np.float32],
    spline: NDArray[np.float32],
    slope: NDArray[np.float32],
    residual: NDArray[np.float32],
    lst_fine: NDArray[np.float32],
    margin: int,
    ratio: int,
    start: NDArray[np.int64],
    weight: NDArray[np.float32],
    smooth: NDArray[np.float32],
    forests: tuple[tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.float32]], ...],
    out: NDArray[np.float32],
) -> None:
    height, width = lst_fine.shape
    work = np.empty((detail_count(levels.shape[0]), width), np.float32)
    lines = work.reshape(work.shape[0], 1, width)
    row, predicted = np.empty(spline.shape[2], np.float32), np.empty((len(forests), width), np.float32)
    keys, total = np.zeros(work.shape[0] * STRIP, np.uint32), np.empty(STRIP, np.float64)
    for line in range(height):
        detail_line(
            levels, spline, slope, residual, lst_fine[line], line + margin * ratio,
            margin, spline.shape[2] - margin, ratio, start, weight, smooth, row, work,
        )  # fmt: skip
        for x in range(0, width, STRIP):
            n = min(STRIP, width - x)
            fill_strip(lines, 0, x, n, keys)
            for k in range(len(forests)):
                packed, depth, value = forests[k]
                walk_strip(keys, n, packed, value, depth, total)
                for i in range(n):
                    predicted[k, x + i] = total[i] / packed.shape[0]
        for k in range(len(forests)):
            in_place(predicted[k], ratio, out[k, line])

"""What is said of every fine pixel: where its value comes from, or why it has none."""

from __future__ import annotations

from enum import IntEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_T = TypeVar("_T", bound=np.generic)


class QA(IntEnum):
    """Values of the ``qa`` variable."""

    NODATA = 0
    LOCAL = 1
    GLOBAL = 2
    INTERPOLATED = 3
    MASKED = 4
    UNSUPPORTED = 5


MEANINGS = {
    QA.NODATA: "no_coarse_lst",
    QA.LOCAL: "sharpened_mostly_by_local_model",
    QA.GLOBAL: "sharpened_mostly_by_global_model",
    QA.INTERPOLATED: "interpolated_no_vnir",
    QA.MASKED: "masked_cloud_or_user",
    QA.UNSUPPORTED: "no_supported_detail",
}
"""CF ``flag_meanings`` of each value."""

UNSUPPORTED_BELOW = 0.05
"""Reliability (rho^2) below which a pixel's detail counts as unsupported."""


def cells(coarse: NDArray[_T], ratio: int) -> NDArray[_T]:
    """Give every fine pixel the value of the coarse pixel that holds it."""
    return np.repeat(np.repeat(coarse, ratio, axis=0), ratio, axis=1)


def flag(
    *,
    has_lst: NDArray[np.bool_],
    has_vnir: NDArray[np.bool_],
    usable: NDArray[np.bool_],
    local_share: NDArray[np.float32],
    reliability: NDArray[np.float32],
) -> NDArray[np.uint8]:
    """Flag every fine pixel.

    Parameters
    ----------
    has_lst
        bool, shape (y, x): the coarse pixel has a temperature.
    has_vnir
        bool, shape (y, x): all bands are valid.
    usable
        bool, shape (y, x): not masked by the user.
    local_share
        float32, shape (y, x): share of the local models, 0 to 1.
    reliability
        float32, shape (y, x): of the detail that was added, 0 to 1.

    Returns
    -------
    ndarray of uint8, shape (y, x)
        Values of `QA`.
    """
    out = np.where(local_share >= 0.5, QA.LOCAL, QA.GLOBAL).astype(np.uint8)
    out[reliability < UNSUPPORTED_BELOW] = QA.UNSUPPORTED
    out[~has_vnir] = QA.INTERPOLATED
    out[~has_lst] = QA.NODATA
    out[~usable] = QA.MASKED
    return out

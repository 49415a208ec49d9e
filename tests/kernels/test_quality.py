"""Flags: which reason wins where several apply."""

from __future__ import annotations

import itertools

import numpy as np

from lstzoom.kernels.quality import MEANINGS, QA, UNSUPPORTED_BELOW, cells, flag


def test_values_and_meanings_are_those_of_the_output_format():
    assert [(int(q), MEANINGS[q]) for q in QA] == [
        (0, "no_coarse_lst"),
        (1, "sharpened_mostly_by_local_model"),
        (2, "sharpened_mostly_by_global_model"),
        (3, "interpolated_no_vnir"),
        (4, "masked_cloud_or_user"),
        (5, "no_supported_detail"),
    ]


def expected(*, lst: bool, vnir: bool, usable: bool, share: float, reliability: float) -> QA:
    if not usable:
        return QA.MASKED
    if not lst:
        return QA.NODATA
    if not vnir:
        return QA.INTERPOLATED
    if reliability < UNSUPPORTED_BELOW:
        return QA.UNSUPPORTED
    return QA.LOCAL if share >= 0.5 else QA.GLOBAL


def test_every_combination():
    flags = (False, True)
    cases = list(itertools.product(flags, flags, flags, (0.0, 0.49, 0.5, 1.0), (0.0, 0.049, 0.05, 1.0)))
    lst, vnir, usable, share, reliability = (np.array([column]) for column in zip(*cases, strict=True))
    got = flag(
        has_lst=lst, has_vnir=vnir, usable=usable,
        local_share=share.astype(np.float32), reliability=reliability.astype(np.float64),
    )  # fmt: skip
    assert got.dtype == np.uint8
    want = [expected(lst=a, vnir=b, usable=c, share=d, reliability=e) for a, b, c, d, e in cases]
    np.testing.assert_array_equal(got, [want])


def test_cells_repeats():
    np.testing.assert_array_equal(cells(np.array([[1, 2]]), 2), [[1, 1, 2, 2], [1, 1, 2, 2]])

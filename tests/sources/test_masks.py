"""Codes of masks, and the distance around them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from lstzoom.sources.catalog import open_catalog
from lstzoom.sources.masks import shrink, usable


def decoded(catalog: str, mask: str, codes: list[int], reject: tuple[str, ...] | None = None) -> list[bool]:
    layer = open_catalog(catalog).mask(mask)
    known = [flag.value for flag in layer.flags if flag.bit is None] if layer.unknown == "reject" else None
    return [bool(one) for one in usable(np.array(codes, np.float32), layer.rejected(reject), known or None)]


def test_classes_of_sentinel_2() -> None:
    good = decoded("landsat-sentinel2", "scl", list(range(13)))
    assert [code for code, one in enumerate(good) if one] == [2, 4, 5, 6, 7, 11]


@pytest.mark.parametrize(
    ("code", "good"),
    [(21824, True), (21952, True), (1, False), (22280, False), (23888, False), (54596, False), (21762, False),
     (30048, True), (65535, False)],
)  # fmt: skip
def test_bits_of_qa_pixel(code: int, good: object) -> None:
    """Values as they occur: clear, water, fill, cloud, shadow, cirrus, dilated, snow."""
    assert decoded("landsat-sentinel2", "qa_pixel", [code]) == [good]


def test_other_flags_on_request() -> None:
    assert decoded("landsat", "qa_pixel", [21824, 30048, 22280], ("snow",)) == [True, False, True]


def test_quality_of_ecostress() -> None:
    assert decoded("ecostress-sentinel2", "qc", [0, 1, 2, 3, 0b1100000000000001]) == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert decoded("ecostress-sentinel2", "cloud", [0, 1, 255]) == [True, False, False]


def test_classes_of_constellr() -> None:
    assert decoded("constellr", "cloud", [0, 1, 2, 3, 9]) == [True, False, False, False, False]
    assert decoded("constellr", "cast_shadow", [0, 1]) == [True, True]
    assert decoded("constellr", "water", [0, 1], ("water",)) == [True, False]


@given(npst.arrays(np.bool_, (19, 23), elements=st.booleans()), st.floats(0, 5))
def test_a_window_with_a_margin_equals_the_whole(good: np.ndarray, pixels: float) -> None:
    margin = int(np.ceil(pixels))
    whole = shrink(good, pixels)
    y0, y1, x0, x1 = 6, 12, 7, 15
    part = good[max(0, y0 - margin) : y1 + margin, max(0, x0 - margin) : x1 + margin]
    inner = shrink(part, pixels)[min(margin, y0) :, min(margin, x0) :][: y1 - y0, : x1 - x0]
    np.testing.assert_array_equal(whole[y0:y1, x0:x1], inner)
    assert not (whole & ~good).any()


def test_the_distance_is_between_centres() -> None:
    good = np.ones((7, 7), bool)
    good[3, 3] = False
    assert (~shrink(good, 1.0)).sum() == 5
    assert (~shrink(good, 1.5)).sum() == 9
    assert (~shrink(good, 0.0)).sum() == 1

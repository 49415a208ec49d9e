"""The lattice of windows: tents that add up to one, anchored to the grid and not to the block."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lstzoom.kernels.windows import Span, halo, reach_of, spans, tent


class Axis(NamedTuple):
    origin: int
    size: int
    core: slice
    stride: int
    extension: int

    def spans(self) -> list[Span]:
        return list(spans(self.origin, self.size, self.core, stride=self.stride, extension=self.extension))


@st.composite
def axes(draw: st.DrawFn) -> Axis:
    size = draw(st.integers(1, 60))
    start = draw(st.integers(0, size - 1))
    stop = draw(st.integers(start + 1, size))
    return Axis(
        draw(st.integers(-100, 100)), size, slice(start, stop),
        draw(st.integers(1, 20)), draw(st.integers(0, 10)),
    )  # fmt: skip


def test_by_hand():
    # Global pixels 10..21 with a lattice at 8, 12, 16, 20, 24; the core is 14..18.
    got = Axis(10, 12, slice(4, 9), 4, 1).spans()
    assert got == [
        Span(predict=slice(4, 5), train=slice(0, 6), centre=2),
        Span(predict=slice(4, 9), train=slice(2, 10), centre=6),
        Span(predict=slice(7, 9), train=slice(6, 12), centre=10),
    ]
    np.testing.assert_array_equal(tent(got[0], 1, stride=4), np.array([0.25], np.float32))
    np.testing.assert_array_equal(tent(got[1], 1, stride=4), np.array([0.75, 1, 1, 0.75, 0.25], np.float32))


def test_a_window_that_only_touches_the_core_is_left_out():
    assert [span.centre for span in Axis(0, 8, slice(4, 8), 4, 0).spans()] == [4, 8]


@given(axes(), st.integers(1, 7))
def test_tents_add_up_to_one_at_every_fine_pixel(axis, ratio):
    total = np.zeros(axis.size * ratio)
    for span in axis.spans():
        weight = tent(span, ratio, stride=axis.stride)
        assert (weight > 0).all()
        assert (weight <= 1).all()
        total[span.predict.start * ratio : span.predict.stop * ratio] += weight
    inside = np.zeros(total.shape, bool)
    inside[axis.core.start * ratio : axis.core.stop * ratio] = True
    np.testing.assert_allclose(total[inside], 1.0, atol=1e-6)
    assert (total[~inside] == 0).all()


@given(axes())
def test_no_pixel_lies_in_more_than_two_windows(axis):
    count = np.zeros(axis.size, int)
    for span in axis.spans():
        count[span.predict] += 1
    assert (count[axis.core] >= 1).all()
    assert (count <= 2).all()


@given(axes())
def test_centres_lie_on_the_lattice_of_the_grid(axis):
    centres = [span.centre + axis.origin for span in axis.spans()]
    assert all(centre % axis.stride == 0 for centre in centres)
    assert centres == sorted(set(centres))


@given(axes())
def test_training_holds_the_prediction_and_its_extension(axis):
    for span in axis.spans():
        reach = reach_of(axis.stride) + axis.extension
        assert span.train.start == max(span.centre - reach, 0)
        assert span.train.stop == min(span.centre + reach, axis.size)
        assert span.train.start <= span.predict.start
        assert span.predict.stop <= span.train.stop


@given(st.integers(-200, 200), st.integers(1, 30), st.integers(-40, 40), st.integers(1, 9), st.integers(0, 9))
def test_windows_and_tents_do_not_depend_on_the_block(first, length, shift, stride, extension):
    # The same core, once in a block that begins `before` pixels earlier and once elsewhere.
    before = halo(stride, extension, 0) + abs(shift)
    found = []
    for start in (before, before + max(shift, 0)):
        axis = Axis(first - start, start + length + before, slice(start, start + length), stride, extension)
        found.append([
            (s.centre + axis.origin, s.predict.start + axis.origin, s.predict.stop + axis.origin,
             s.train.start + axis.origin, s.train.stop + axis.origin, tent(s, 3, stride=stride).tobytes())
            for s in axis.spans()
        ])  # fmt: skip
    assert found[0] == found[1]


@given(st.integers(-200, 200), st.integers(1, 30), st.integers(1, 20), st.integers(0, 10), st.integers(0, 4))
def test_the_halo_holds_all_that_windows_train_on(first, length, stride, extension, margin):
    around = halo(stride, extension, margin)
    wide = slice(around - margin, around + length + margin)
    for span in Axis(first - around, length + 2 * around, wide, stride, extension).spans():
        # Nothing was cut: the window is trained on its full width.
        assert span.train.stop - span.train.start == 2 * (reach_of(stride) + extension)

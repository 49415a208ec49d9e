from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstzoom.halo import blocks, cut, map_blocks
from lstzoom.types import YX

splits = st.lists(st.integers(1, 9), min_size=1, max_size=5)


def neighbourhood(fine, coarse, usable, origin, argument):
    """Encode what a block was handed: sums over a window as wide as the halo."""
    halo, ratio = argument
    size = (coarse.shape[0] - 2 * halo, coarse.shape[1] - 2 * halo)
    total = np.zeros(size)
    for i in range(2 * halo + 1):
        for j in range(2 * halo + 1):
            total += np.nan_to_num(coarse[i : i + size[0], j : j + size[1]]) * (i + 7 * j + 1)
    inner = slice(halo * ratio, -halo * ratio)
    spread = np.kron(total, np.ones((ratio, ratio)))
    seen = 0 if usable is None else usable[inner, inner]
    place = np.add.outer(np.arange(size[0] * ratio) + (origin.y + halo) * ratio, np.zeros(size[1] * ratio))
    return {"sum": fine[:, inner, inner].sum(axis=0) + spread + seen, "row": place}


@settings(max_examples=25, deadline=None)
@given(
    rows=splits,
    columns=splits,
    other=splits,
    chunk=st.integers(2, 11),
    halo=st.integers(1, 6),
    ratio=st.sampled_from([2, 3, 5]),
    masked=st.booleans(),
)
def test_any_chunking_of_the_inputs_gives_what_plain_numpy_gives(
    rows, columns, other, chunk, halo, ratio, masked
):
    shape = (sum(rows), sum(columns))
    rng = np.random.default_rng(0)
    coarse = rng.random(shape)
    fine = rng.random((2, shape[0] * ratio, shape[1] * ratio))
    usable = rng.random(fine.shape[1:]) > 0.5
    odd = _chunks(other, shape[0] * ratio)
    lazy_fine = da.from_array(fine, chunks=((1, 1), odd, tuple(c * ratio for c in columns)))
    lazy_mask = da.from_array(usable, chunks=lazy_fine.chunks[1:]) if masked else None
    out = map_blocks(
        neighbourhood, lazy_fine, da.from_array(coarse, chunks=(tuple(rows), tuple(columns))), lazy_mask,
        (halo, ratio), ratio=ratio, chunk=chunk, halo=halo,
        outputs={"sum": np.dtype(float), "row": np.dtype(float)},
    )  # fmt: skip
    padded = np.pad(coarse, halo, constant_values=np.nan)
    padded_fine = np.pad(fine, ((0, 0), *((halo * ratio,) * 2,) * 2), constant_values=np.nan)
    padded_mask = np.pad(usable, halo * ratio, constant_values=True) if masked else None
    whole = neighbourhood(padded_fine, padded, padded_mask, YX(-halo, -halo), (halo, ratio))
    for name, array in out.items():
        np.testing.assert_array_equal(array.compute(scheduler="synchronous"), whole[name])


def _chunks(sizes: list[int], total: int) -> tuple[int, ...]:
    out: list[int] = []
    while sum(out) < total:
        out.append(min(sizes[len(out) % len(sizes)] + 3, total - sum(out)))
    return tuple(out)


def test_one_task_per_block_and_one_per_output():
    fine, coarse = da.ones((3, 96, 96), chunks=(3, 24, 24)), da.ones((32, 32), chunks=8)
    out = map_blocks(
        neighbourhood, fine, coarse, None, (4, 3), ratio=3, chunk=8, halo=4,
        outputs={"sum": np.dtype(float)},
    )  # fmt: skip
    sources = 16 + 16
    assert len(out["sum"].__dask_graph__()) - sources == 2 * 16


def test_tasks_are_named_by_what_they_do():
    fine, coarse = da.ones((1, 24, 24), chunks=12), da.ones((8, 8), chunks=4)

    def build(halo: int) -> str:
        out = map_blocks(
            neighbourhood, fine, coarse, None, (halo, 3), ratio=3, chunk=4, halo=halo,
            outputs={"sum": np.dtype(float)},
        )  # fmt: skip
        return out["sum"].name

    assert build(1) == build(1)
    assert build(1) != build(2)


def test_blocks_tile_the_scene_and_know_their_place():
    seen = np.zeros((10, 7), int)
    for block in blocks((10, 7), 4, 3):
        seen[block.rows, block.columns] += 1
        assert block.origin == YX(block.rows.start - 3, block.columns.start - 3)
        fine = block.span(2)
        assert (fine[0].start, fine[1].stop) == (2 * (block.rows.start - 3), 2 * (block.columns.stop + 3))
    assert (seen == 1).all()


def test_cut_fills_what_lies_outside():
    array = np.arange(12.0).reshape(3, 4)
    out = cut(array, (slice(-1, 2), slice(2, 6)), outside=np.nan)
    np.testing.assert_array_equal(out, [[np.nan] * 4, [2, 3, np.nan, np.nan], [6, 7, np.nan, np.nan]])


def test_a_mask_of_other_chunks_is_refused():
    with pytest.raises(AssertionError, match="chunked"):
        map_blocks(
            neighbourhood, da.ones((1, 24, 24), chunks=12), da.ones((8, 8), chunks=4),
            da.ones((24, 24), chunks=8, dtype=bool), (1, 3), ratio=3, chunk=4, halo=1,
            outputs={"sum": np.dtype(float)},
        )  # fmt: skip

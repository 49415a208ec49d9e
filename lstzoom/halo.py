"""Blocks of two nested grids with a halo: the only place that knows how chunks border on each other.

One dask task makes one block: it is handed the chunks that its halo touches, on both grids, and cuts
what it needs. A block of files or of arrays in memory needs no dask: it reads its own window. What
lies outside the scene is missing, so no block is special.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lstzoom.types import YX

if TYPE_CHECKING:
    import dask.array as da
    from dask.delayed import Delayed
    from dask.highlevelgraph import HighLevelGraph


@dataclass(frozen=True, slots=True)
class Block:
    """A core of coarse pixels and its place in the scene.

    Attributes
    ----------
    rows, columns : slice
        Core, in coarse pixels.
    halo : int
        Coarse pixels around it.
    """

    rows: slice
    columns: slice
    halo: int

    @property
    def origin(self) -> YX:
        """Global coarse index of the first pixel, halo included; negative at the scene's edge."""
        return YX(self.rows.start - self.halo, self.columns.start - self.halo)

    def span(self, ratio: int = 1) -> tuple[slice, slice]:
        """Pixels of the block with its halo, which may lie outside the scene.

        Parameters
        ----------
        ratio
            1 for the coarse grid, the ratio of the grids for the fine one.
        """
        y, x = (
            slice((s.start - self.halo) * ratio, (s.stop + self.halo) * ratio)
            for s in (self.rows, self.columns)
        )
        return y, x


def blocks(shape: tuple[int, int], chunk: int, halo: int) -> Iterator[Block]:
    """Cut a scene into blocks, row by row.

    Parameters
    ----------
    shape
        Rows and columns of the coarse grid.
    chunk
        Side of a core in coarse pixels; the last ones may be smaller.
    halo
        Coarse pixels around a core.

    Yields
    ------
    Block
    """
    for y in range(0, shape[0], chunk):
        for x in range(0, shape[1], chunk):
            yield Block(slice(y, min(y + chunk, shape[0])), slice(x, min(x + chunk, shape[1])), halo)


def grown(
    rows: slice, columns: slice, halo: int, shape: tuple[int, int]
) -> tuple[Block, tuple[slice, slice]]:
    """Grow a patch by a halo that ends where the scene does, and say where the patch lies in it.

    Outside of the scene the halo would be nothing but memory.

    Parameters
    ----------
    rows, columns
        The patch, in coarse pixels.
    halo
        Coarse pixels around it.
    shape
        Rows and columns of the coarse grid.

    Returns
    -------
    block : Block
        The patch and its halo, as a core without one.
    core : tuple of slice
        The patch inside the block.
    """
    wide = [
        slice(max(s.start - halo, 0), min(s.stop + halo, n))
        for s, n in zip((rows, columns), shape, strict=True)
    ]
    core = [
        slice(s.start - whole.start, s.stop - whole.start)
        for s, whole in zip((rows, columns), wide, strict=True)
    ]
    return Block(wide[0], wide[1], 0), (core[0], core[1])


def ordered(some: Iterable[Block], across: int) -> list[Block]:
    """Order blocks so that what neighbours read in common is asked for again soon.

    Parameters
    ----------
    some
        Blocks of one scene, all of one size but for the last of a row or a column.
    across
        Blocks side by side before the next row follows.

    Returns
    -------
    list of Block
        Row by row within columns of that many blocks.
    """
    todo = list(some)
    places = {start: k for k, start in enumerate(sorted({b.columns.start for b in todo}))}
    return sorted(todo, key=lambda b: (places[b.columns.start] // across, b.rows.start, b.columns.start))


@runtime_checkable
class Windowed(Protocol):
    """A scene that is read a window at a time, such as a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Leading axes, rows, columns."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of what is read."""
        ...

    def read_into(self, out: NDArray[Any], rows: slice, columns: slice) -> None:
        """Read a window into an array of its shape."""
        ...


def cut(array: NDArray[Any] | Windowed, span: tuple[slice, slice], *, outside: object) -> NDArray[Any]:
    """Cut a span that may reach outside the scene.

    Parameters
    ----------
    array
        The scene, shape (..., rows, columns), in memory or read by windows.
    span
        Rows and columns wanted.
    outside
        Value outside of the scene.

    Returns
    -------
    ndarray of shape ``(*leading axes, rows, columns)``
    """
    if isinstance(array, np.ndarray):
        return _Pieces(span, ((0,), (0,))).join([[array]], outside)
    inside = [slice(max(s.start, 0), min(s.stop, n)) for s, n in zip(span, array.shape[-2:], strict=True)]
    size = tuple(s.stop - s.start for s in span)
    whole = size == tuple(s.stop - s.start for s in inside)
    out = np.empty((*array.shape[:-2], *size), array.dtype)
    if not whole:
        out[...] = outside
    place = [slice(i.start - s.start, i.stop - s.start) for i, s in zip(inside, span, strict=True)]
    array.read_into(out[..., place[0], place[1]], inside[0], inside[1])
    return out


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Which chunks a span touches and where they lie."""

    span: tuple[slice, slice]
    starts: tuple[tuple[int, ...], tuple[int, ...]]

    def join(self, chunks: list[list[NDArray[Any]]], outside: object) -> NDArray[Any]:
        """Cut the span out of its chunks."""
        size = tuple(s.stop - s.start for s in self.span)
        first = chunks[0][0]
        out = np.full((*first.shape[:-2], *size), outside, first.dtype)
        for y, row in zip(self.starts[0], chunks, strict=True):
            for x, chunk in zip(self.starts[1], row, strict=True):
                self._paste(out, chunk, y, x)
        return out

    def _paste(self, out: NDArray[Any], chunk: NDArray[Any], y: int, x: int) -> None:
        source, target = [], []
        for start, length, s in zip((y, x), chunk.shape[-2:], self.span, strict=True):
            low, high = max(start, s.start), min(start + length, s.stop)
            source.append(slice(low - start, high - start))
            target.append(slice(low - s.start, high - s.start))
        out[..., target[0], target[1]] = chunk[..., source[0], source[1]]


def is_lazy(array: object) -> bool:
    """Tell whether an array is dask's."""
    return hasattr(array, "__dask_graph__")


def _touched(chunks: tuple[int, ...], s: slice) -> tuple[range, tuple[int, ...]]:
    """Find the chunks that a slice touches, and where they start."""
    edges = np.concatenate([[0], np.cumsum(chunks)])
    first = int(np.searchsorted(edges, max(s.start, 0), side="right")) - 1
    last = int(np.searchsorted(edges, min(s.stop, edges[-1]), side="left"))
    return range(first, last), tuple(int(e) for e in edges[first:last])


def _keys_of(array: da.Array, span: tuple[slice, slice]) -> tuple[list[list[tuple[Any, ...]]], _Pieces]:
    (ys, y_starts), (xs, x_starts) = (_touched(c, s) for c, s in zip(array.chunks[-2:], span, strict=True))
    lead = (0,) * (array.ndim - 2)
    return [[(array.name, *lead, i, j) for j in xs] for i in ys], _Pieces(span, (y_starts, x_starts))


BlockTask: TypeAlias = Callable[..., Any]
"""Function of fine block (band, y, x), coarse block (y, x), mask block or None, origin (`YX`) and an
argument that all blocks share."""


def run_block(
    function: BlockTask,
    fine: NDArray[np.float32] | Windowed,
    coarse: NDArray[np.float32] | Windowed,
    usable: NDArray[np.bool_] | Windowed | None,
    argument: object,
    block: Block,
    ratio: int,
) -> Any:  # noqa: ANN401  (whatever the function returns)
    """Run a function on one block of arrays in memory or of files, in the calling thread.

    Parameters
    ----------
    function
        See `BlockTask`.
    fine, coarse, usable
        The scene; shapes as for `map_blocks`.
    argument
        Handed to the function.
    block
        The block.
    ratio
        Fine pixels per coarse pixel.

    Returns
    -------
    What the function returns.
    """
    nan = np.float32(np.nan)
    mask = None if usable is None else cut(usable, block.span(ratio), outside=True)
    return function(
        cut(fine, block.span(ratio), outside=nan), cut(coarse, block.span(), outside=nan),
        mask, block.origin, argument,
    )  # fmt: skip


def _run(
    fine: list[list[NDArray[Any]]],
    coarse: list[list[NDArray[Any]]],
    usable: list[list[NDArray[Any]]] | None,
    argument: object,
    pieces: tuple[_Pieces, _Pieces],
    block: Block,
    function: BlockTask,
) -> Any:  # noqa: ANN401
    """Body of the one task of a block."""
    nan = np.float32(np.nan)
    mask = None if usable is None else pieces[0].join(usable, outside=True)
    return function(
        pieces[0].join(fine, outside=nan), pieces[1].join(coarse, outside=nan), mask, block.origin, argument
    )


def _layer(
    name: str,
    function: BlockTask,
    fine: da.Array,
    coarse: da.Array,
    usable: da.Array | None,
    argument: Any,  # noqa: ANN401  (a value, or a dask Delayed)
    numbered: Iterable[tuple[tuple[int, ...], Block]],
    ratio: int,
) -> HighLevelGraph:
    """Graph with one task ``(name, *number)`` for every block."""
    from dask.delayed import Delayed  # noqa: PLC0415  (slow to import, and files do not need it)
    from dask.highlevelgraph import HighLevelGraph  # noqa: PLC0415  (slow to import, and files do not need it)

    if usable is not None and usable.chunks != fine.chunks[1:]:
        raise AssertionError("the mask must be chunked as the fine bands are")
    lazy = isinstance(argument, Delayed)
    handed = argument.key if lazy else argument
    tasks: dict[Any, Any] = {}
    for number, block in numbered:
        fine_keys, fine_pieces = _keys_of(fine, block.span(ratio))
        coarse_keys, coarse_pieces = _keys_of(coarse, block.span())
        mask_keys = None if usable is None else _keys_of(usable, block.span(ratio))[0]
        pieces = (fine_pieces, coarse_pieces)
        tasks[name, *number] = (_run, fine_keys, coarse_keys, mask_keys, handed, pieces, block, function)
    needed: list[Any] = [a for a in (fine, coarse, usable, argument if lazy else None) if a is not None]
    return HighLevelGraph.from_collections(name, tasks, dependencies=needed)


def delayed(function: Callable[..., Any]) -> Any:  # noqa: ANN401  (dask is untyped)
    """Make a function a dask task.

    Parameters
    ----------
    function
        Pure. What is not lazy is bound to it beforehand: dask would make tasks of its parts.

    Returns
    -------
    callable
        Takes Delayeds, or lists of them, and returns a Delayed.
    """
    import dask  # noqa: PLC0415  (slow to import, and files do not need it)

    return dask.delayed(function, pure=True, traverse=False)


def delay_blocks(
    function: BlockTask,
    fine: da.Array,
    coarse: da.Array,
    usable: da.Array | None,
    argument: Any,  # noqa: ANN401
    some: Sequence[Block],
    *,
    ratio: int,
) -> list[Delayed]:
    """Run a function on some blocks, lazily, in one task per block.

    Parameters
    ----------
    function, fine, coarse, usable, argument, ratio
        As for `map_blocks`; the function may return anything.
    some
        The blocks.

    Returns
    -------
    list of Delayed
        One result for each block.
    """
    from dask.delayed import Delayed  # noqa: PLC0415  (slow to import, and files do not need it)

    fine = fine.rechunk({0: -1})
    name = f"lstzoom-some-{_token(function, fine, coarse, usable, argument, ratio, tuple(some))}"
    numbered = (((k,), block) for k, block in enumerate(some))
    graph = _layer(name, function, fine, coarse, usable, argument, numbered, ratio)
    return [Delayed((name, k), graph, layer=name) for k in range(len(some))]


def _token(
    function: BlockTask, fine: da.Array, coarse: da.Array, usable: da.Array | None, *rest: object
) -> str:
    from dask.base import tokenize  # noqa: PLC0415  (slow to import, and files do not need it)

    names = (fine.name, coarse.name, None if usable is None else usable.name)
    return str(tokenize(function, names, *rest))


def _pick(results: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    return results[name]


def map_blocks(
    function: BlockTask,
    fine: da.Array,
    coarse: da.Array,
    usable: da.Array | None,
    argument: Any,  # noqa: ANN401  (a value, or anything lazy that has dask's protocol)
    *,
    ratio: int,
    chunk: int,
    halo: int,
    outputs: Mapping[str, np.dtype[Any]],
) -> dict[str, da.Array]:
    """Map a function over haloed blocks of both grids, lazily, in one task per block.

    Parameters
    ----------
    function
        See `BlockTask`; returns a mapping from output name to the fine core.
    fine
        Shape (band, h * ratio, w * ratio).
    coarse
        Shape (h, w).
    usable
        bool, shape (h * ratio, w * ratio), or None.
    argument
        Handed to every block; a dask Delayed is computed first.
    ratio
        Fine pixels per coarse pixel.
    chunk, halo
        Of the blocks, in coarse pixels.
    outputs
        dtype of every output.

    Returns
    -------
    dict of dask arrays, shape (h * ratio, w * ratio), chunks of ``chunk * ratio``
    """
    # The bands of a block are needed together.
    fine = fine.rechunk({0: -1})
    name = f"lstzoom-block-{_token(function, fine, coarse, usable, argument, ratio, chunk, halo)}"
    numbered = (
        ((b.rows.start // chunk, b.columns.start // chunk), b) for b in blocks(coarse.shape, chunk, halo)
    )
    whole = _layer(name, function, fine, coarse, usable, argument, numbered, ratio)
    return {
        key: _output(whole, name, key, dtype, coarse.shape, ratio, chunk) for key, dtype in outputs.items()
    }


def _output(
    whole: HighLevelGraph,
    source: str,
    key: str,
    dtype: np.dtype[Any],
    shape: tuple[int, int],
    ratio: int,
    chunk: int,
) -> da.Array:
    """Dask array of one output of all blocks."""
    import dask.array as da  # noqa: PLC0415  (slow to import, and files do not need it)
    from dask.highlevelgraph import HighLevelGraph  # noqa: PLC0415  (slow to import, and files do not need it)

    name = f"{key}-{source}"
    chunks = tuple(tuple(min(chunk, n - start) * ratio for start in range(0, n, chunk)) for n in shape)
    layer = {
        (name, i, j): (_pick, (source, i, j), key)
        for i in range(len(chunks[0]))
        for j in range(len(chunks[1]))
    }
    layers: dict[str, Any] = {**whole.layers, name: layer}
    dependencies = {**whole.dependencies, name: {source}}
    return da.Array(HighLevelGraph(layers, dependencies), name, chunks, dtype=dtype)

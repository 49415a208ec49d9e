"""Values into a cube: whole shards, so that writers never share an object."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lstzoom.cube.moments import forget
from lstzoom.cube.store import (
    Options,
    Url,
    array_of,
    attrs_of,
    list_keys,
    open_group,
    settle,
    stored_bytes,
)
from lstzoom.encoding import Encoding
from lstzoom.errors import InputError

if TYPE_CHECKING:
    import zarr
    from numpy.typing import NDArray


def write_region(
    url: Url,
    time_index: int | None,
    window: tuple[slice, slice],
    layers: Mapping[str, NDArray[Any]],
    storage_options: Options = None,
) -> int:
    """Write values to a window of one date, in whole shards.

    Any number of processes may write at once, without locks, as long as no two write the same shard of the
    same date; dates may be appended meanwhile. To write again what was written gives the same store. A
    process that dies leaves every shard as it was or as it should be.

    Parameters
    ----------
    url
        Cube made by `create`.
    time_index
        Place along time, as `append_times` returns it; None for a store without time.
    window
        Slices along y and x that start and end on multiples of the shard, or at the edge.
    layers
        Values by variable, shape (y, x) of the window; kelvin with NaN where missing, or flags.
    storage_options
        For fsspec.

    Returns
    -------
    int
        Bytes that the shards of the window take in the store.

    Raises
    ------
    InputError
        If there is no cube, the window cuts a shard, a block does not have its shape, or a variable or the
        date is not in the cube.
    EncodingError
        If values do not fit the data type of their variable. Then nothing was written.
    """
    group = open_group(url, storage_options)
    # All is checked and encoded first: a date has all layers of a tile or none, unless the process dies.
    ready = [_encoded(array_of(group, name), time_index, window, block) for name, block in layers.items()]
    # Before the values: whoever dies in between leaves figures to be made again, never wrong ones.
    forget(group.store, time_index)
    return sum(_write(array, key, stored) for array, key, stored in ready)


def _encoded(
    array: zarr.Array[Any], time_index: int | None, window: tuple[slice, slice], block: NDArray[Any]
) -> tuple[zarr.Array[Any], tuple[Any, ...], NDArray[Any]]:
    leading = _leading(array, time_index)
    rows, columns = part = window_of(window, (array.shape[-2], array.shape[-1]))
    require_shape(block, part)
    _require_whole_shards(part, array)
    return array, (*leading, rows, columns), stored_as(array).encode(block)


def _leading(array: zarr.Array[Any], time_index: int | None) -> tuple[int, ...]:
    if (array.ndim == 3) != (time_index is not None):
        has = "dates, and none was named" if array.ndim == 3 else "no dates, and one was named"
        raise InputError(f"{array.basename!r} has {has}: time_index is {time_index}")
    if time_index is None:
        return ()
    if not 0 <= time_index < array.shape[0]:
        raise InputError(
            f"the cube has {array.shape[0]} dates and no number {time_index}; append_times returns numbers"
        )
    return (time_index,)


def _write(array: zarr.Array[Any], key: tuple[Any, ...], stored: NDArray[Any]) -> int:
    array[key] = stored
    keys = shard_keys(array, key)
    for one in keys:
        settle(array.store, one)
    return sum(stored_bytes(array.store, one) for one in keys)


def shard_keys(array: zarr.Array[Any], key: tuple[Any, ...]) -> list[str]:
    """Name the objects that hold a region: numbers for leading dimensions, then slices along y and x."""
    *leading, rows, columns = key
    side_y, side_x = shard_sides(array)
    places = itertools.product(
        range(rows.start // side_y, math.ceil(rows.stop / side_y)),
        range(columns.start // side_x, math.ceil(columns.stop / side_x)),
    )
    return [shard_key(array, (*leading, *place)) for place in places]


def shard_key(array: zarr.Array[Any], place: tuple[int, ...]) -> str:
    """Name the object of a shard: its number along each dimension."""
    return f"{array.path}/{array.metadata.encode_chunk_key(place)}".removeprefix("/")


def stored_shards(
    array: zarr.Array[Any], dates: Sequence[int | None]
) -> dict[int | None, set[tuple[int, int]]]:
    """Find the shards that are stored, by date, as (row, column), by listing the store.

    Parameters
    ----------
    array
        Dimensions (time, y, x), or (y, x) with the one date None.
    dates
        Places along time.
    """
    found: dict[int | None, set[tuple[int, int]]] = {date: set() for date in dates}
    depth = array.ndim - 2
    for key in _listed(array, dates):
        # Beside shards there may lie what a writer that died was writing aside.
        place = [int(one) for one in key.split("/") if one.isdecimal()]
        if len(place) == array.ndim and (date := place[0] if depth else None) in found:
            found[date].add((place[-2], place[-1]))
    return found


def _listed(array: zarr.Array[Any], dates: Sequence[int | None]) -> Iterator[str]:
    """List the shards of an array, relative to it: all at once, or the few dates that are wanted."""
    inside = f"{array.path}/".removeprefix("/")
    # Icechunk lists whole arrays only; what supports no gathered metadata is Icechunk.
    if array.ndim == 2 or len(dates) == array.shape[0] or not array.store.supports_consolidated_metadata:
        prefixes = [inside]
    else:
        prefixes = [shard_key(array, (date or 0, 0, 0)).removesuffix("0/0") for date in dates]
    for prefix in prefixes:
        for key in list_keys(array.store, prefix):
            yield key.removeprefix(inside)


def shard_sides(array: zarr.Array[Any]) -> tuple[int, int]:
    """Sides of shards along y and x in pixels."""
    sides = array.shards or array.chunks
    return sides[-2], sides[-1]


def stored_as(array: zarr.Array[Any]) -> Encoding:
    """Return the encoding that an array's data type, attributes and fill describe."""
    attrs = attrs_of(array)
    fill = math.nan if array.dtype.kind == "f" else attrs.get("_FillValue")
    return Encoding(
        array.basename,
        str(array.dtype),
        float(attrs.get("scale_factor", 1.0)),
        float(attrs.get("add_offset", 0.0)),
        fill,
    )


def window_of(yx: tuple[slice, slice], shape: tuple[int, int]) -> tuple[slice, slice]:
    """Return slices with both ends; refuse what is not a window of the grid.

    Raises
    ------
    InputError
        If a slice is empty, reaches beyond the grid, or has a step.
    """
    y, x = yx
    for part, size in ((y, shape[0]), (x, shape[1])):
        start, stop, step = part.start or 0, size if part.stop is None else part.stop, part.step
        if not 0 <= start < stop <= size or step not in (None, 1):
            raise InputError(f"{part} is not a window of {size} pixels with step 1")
    return slice(*y.indices(shape[0])[:2]), slice(*x.indices(shape[1])[:2])


def require_shape(block: NDArray[Any], window: tuple[slice, slice]) -> None:
    """Refuse a block that does not have the shape of its window.

    Raises
    ------
    InputError
        If it has another.
    """
    needed = tuple(part.stop - part.start for part in window)
    if block.shape != needed:
        raise InputError(f"a block of shape {block.shape} was given for a window of shape {needed}")


def _require_whole_shards(window: tuple[slice, slice], array: zarr.Array[Any]) -> None:
    for part, side, size in zip(window, shard_sides(array), array.shape[-2:], strict=True):
        if part.start % side or (part.stop % side and part.stop != size):
            raise InputError(
                f"the window {part.start}..{part.stop} cuts a shard of {side} pixels, and writers "
                f"of one shard would overwrite each other; start and end on multiples of {side}, "
                f"or at the edge ({size})"
            )

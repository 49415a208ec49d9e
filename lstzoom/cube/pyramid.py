"""Coarser levels of a cube, for maps of whole regions without reading every pixel.

A level is a group of the cube, ``1`` with pixels twice as large and so on, that opens like the cube itself. A
task takes up to 16 x 16 shards of one variable and date, reads each once, and writes all levels above them,
the coarsest last. So memory is that of a shard for every level, tasks share no object, and a task whose
coarsest shard is there need not be done again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from lstzoom.cube import geozarr
from lstzoom.cube.moments import forget
from lstzoom.cube.reduce import Sums, sums_of
from lstzoom.cube.regions import shard_key, shard_keys, shard_sides, stored_as, stored_shards
from lstzoom.cube.spec import ZarrVariable
from lstzoom.cube.store import (
    Options,
    Url,
    array_of,
    attrs_of,
    consolidate,
    json_safe,
    open_group,
    remove_key,
    settle,
)
from lstzoom.cube.template import Time, grid_of_group, level_groups, place_of, read_times, write_level
from lstzoom.errors import InputError

if TYPE_CHECKING:
    import zarr
    from odc.geo.geobox import GeoBox

Apply = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]
"""As the built-in `map`: calls a function with every item, wherever, and gives the results in order."""

# Levels that one task makes of what it reads. More would be exact over larger gaps and give fewer tasks.
_REACH: Final = 4
_COARSEST: Final = 512
_OF_FULL_RESOLUTION: Final = (
    "coordinates", "grid_mapping", "_FillValue", "overview_resampling",
    "statistics", "actual_range", "flag_counts",
)  # fmt: skip


class _Unit(NamedTuple):
    """Shards above one shard of the level `top`, of one variable and date.

    `parts` are the shards of the level `base` in it that are stored, by row and column.
    """

    name: str
    time: int | None
    base: int
    top: int
    row: int
    column: int
    parts: frozenset[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Task:
    """What is needed to make units, wherever."""

    url: Url
    options: Options

    def __call__(self, unit: _Unit) -> None:
        """Make a unit."""
        group = open_group(self.url, self.options)
        arrays = [array_of(_level(group, k), unit.name) for k in range(unit.base, unit.top + 1)]
        _build(_Place(arrays, unit.time, unit.parts), len(arrays) - 1, unit.row, unit.column)


@dataclass(frozen=True, slots=True)
class _Place:
    """One variable at one date, on a level to read and on those above it."""

    arrays: Sequence[zarr.Array[Any]]
    time: int | None
    parts: frozenset[tuple[int, int]]

    def key(self, level: int, row: int, column: int) -> tuple[Any, ...] | None:
        """Name the region of a shard; None beyond the edge."""
        array = self.arrays[level]
        (side_y, side_x), (rows, columns) = shard_sides(array), array.shape[-2:]
        if row * side_y >= rows or column * side_x >= columns:
            return None
        leading = () if self.time is None else (self.time,)
        return (
            *leading,
            slice(row * side_y, min((row + 1) * side_y, rows)),
            slice(column * side_x, min((column + 1) * side_x, columns)),
        )


def build_pyramid(
    url: Url,
    *,
    levels: int | None = None,
    times: Sequence[int] | None = None,
    overwrite: bool = False,
    apply: Apply = map,
    storage_options: Options = None,
) -> int:
    """Make the coarser levels of a cube, or what is missing of them.

    Temperature is averaged in radiance, ``(mean of T**4) ** 1/4``; uncertainty plainly, because the mean of
    the uncertainties is the most that the uncertainty of a mean can be; flags are the most frequent, the
    smaller of two. A pixel of levels 1 to 4 is made of all valid pixels of the full resolution in it, one of
    levels 5 to 8 of those of level 4, and so on.

    Parameters
    ----------
    url
        Cube made by `create`, into which nobody writes meanwhile.
    levels
        How many; default until the coarsest has at most 512 pixels along each side.
    times
        Places of the dates along time; default all.
    overwrite
        Make again what is there, for dates that were written again.
    apply
        Does the tasks, such as the built-in map (one after the other), the map of an executor, or
        ``lambda f, units: client.gather(client.map(f, units, pure=False))`` with a client of dask.
    storage_options
        For fsspec.

    Returns
    -------
    int
        Number of levels above the full resolution.

    Raises
    ------
    InputError
        If there is no cube, or its shards have an odd side, which no pixel of the next level divides.
    """
    group = open_group(url, storage_options)
    grid, names = grid_of_group(group), _variables(group)
    _require_even(array_of(group, names[0]))
    count = _count(grid) if levels is None else levels
    _make_levels(group, grid, names, count)
    chosen = _chosen(group, times)
    for base in range(0, count, _REACH):
        top = min(base + _REACH, count)
        units = [
            unit for name in names for unit in _units(group, name, chosen, base, top, overwrite=overwrite)
        ]
        for _ in apply(_Task(url, storage_options), units) if units else ():
            pass
    if count:
        group.attrs.update(json_safe(_described(group, grid, names, count)))
        for key in ("spatial:transform", "spatial:shape"):
            if key in group.attrs:
                del group.attrs[key]
    consolidate(url, storage_options)
    return count


def _count(grid: GeoBox) -> int:
    count = 0
    while -(-max(grid.shape) // 2**count) > _COARSEST:
        count += 1
    return count


def _variables(group: zarr.Group) -> list[str]:
    return sorted(name for name, array in group.arrays() if array.shards is not None)


def _require_even(array: zarr.Array[Any]) -> None:
    if any(side % 2 for side in shard_sides(array)):
        raise InputError(
            f"shards of {shard_sides(array)[0]} pixels cannot be halved; make the cube with an even shard"
        )


def clear_date(url: Url, time: Time, storage_options: Options = None) -> None:
    """Remove the values of a date, those of coarser levels included; the date stays, without values.

    Parameters
    ----------
    url
        Cube made by `create`, into which nobody writes meanwhile.
    time
        The date; one that the cube does not have is passed over.
    storage_options
        For fsspec.

    Raises
    ------
    InputError
        If there is no cube, it has no time, or the date cannot be read.
    """
    group = open_group(url, storage_options)
    place = place_of(group, time)
    if place is None:
        return
    # Before the values, as whoever writes them does.
    forget(group.store, place)
    for one in (*reversed(level_groups(group)), group):
        for name in _variables(one):
            array = array_of(one, name)
            for shard in stored_shards(array, [place])[place]:
                remove_key(array.store, shard_key(array, (place, *shard)))


def level_grid(grid: GeoBox, level: int) -> GeoBox:
    """Grid of a level: pixels 2**level times as large, the last ones reaching beyond the edge."""
    from affine import Affine  # noqa: PLC0415
    from odc.geo.geobox import GeoBox  # noqa: PLC0415

    factor = 2**level
    shape = tuple(-(-side // factor) for side in grid.shape)
    return GeoBox(shape, grid.affine @ Affine.scale(factor), grid.crs)


def _level(group: zarr.Group, level: int) -> zarr.Group:
    found = group[str(level)] if level else group
    assert hasattr(found, "create_array")  # noqa: S101  (made before)
    return found  # type: ignore[return-value]


def _make_levels(group: zarr.Group, grid: GeoBox, names: Sequence[str], count: int) -> None:
    """Make the groups that are not there or were not finished; append_times makes the others grow."""
    moments = read_times(group) if "time" in group else None
    for level in range(1, count + 1):
        name, box = str(level), level_grid(grid, level)
        described = json_safe({"Conventions": "CF-1.11", **geozarr.of_grid(box)})
        if name in group and attrs_of(_level(group, level)) == described:
            continue
        made = group.require_group(name)
        first = array_of(group, names[0])
        variables = {one: _like(array_of(group, one)) for one in names}
        write_level(made, box, variables, moments, shard_sides(first)[0], first.chunks[-1])
        made.attrs.update(described)


def _like(array: zarr.Array[Any]) -> ZarrVariable:
    attrs = {key: value for key, value in attrs_of(array).items() if key not in _OF_FULL_RESOLUTION}
    return ZarrVariable(str(array.dtype), attrs, stored_as(array).nodata, _method(array).upper())


def _method(array: zarr.Array[Any]) -> str:
    return str(array.attrs.get("overview_resampling", "average"))


def _chosen(group: zarr.Group, times: Sequence[int] | None) -> list[int | None]:
    if "time" not in group:
        return [None]
    count = len(read_times(group))
    if times is None:
        return list(range(count))
    if bad := [one for one in times if not 0 <= one < count]:
        raise InputError(f"the cube has {count} dates and no numbers {bad}")
    return list(times)


def _units(
    group: zarr.Group, name: str, times: Sequence[int | None], base: int, top: int, *, overwrite: bool
) -> Iterator[_Unit]:
    """Name what is to be made: what has something below it, and is not there.

    The store is listed once for a level, and not asked for every shard: dates cover little of a large grid.
    """
    arrays = [array_of(_level(group, level), name) for level in range(base, top + 1)]
    below = stored_shards(arrays[0], times)
    if overwrite:
        _remove_stale(arrays, below)
    there = {} if overwrite else stored_shards(arrays[-1], times)
    for time, shards in below.items():
        parts: dict[tuple[int, int], set[tuple[int, int]]] = {}
        for row, column in shards:
            parts.setdefault(_above(row, column, top - base), set()).add((row, column))
        for row, column in sorted(parts.keys() - there.get(time, set())):
            yield _Unit(name, time, base, top, row, column, frozenset(parts[row, column]))


def _above(row: int, column: int, levels: int) -> tuple[int, int]:
    """Place of the shard that lies so many levels above one."""
    return row >> levels, column >> levels


def _remove_stale(
    arrays: Sequence[zarr.Array[Any]], below: Mapping[int | None, Collection[tuple[int, int]]]
) -> None:
    """Remove shards of levels of which nothing is left below."""
    for levels, array in enumerate(arrays[1:], start=1):
        for time, shards in stored_shards(array, list(below)).items():
            for place in shards - {_above(*one, levels) for one in below[time]}:
                remove_key(array.store, shard_key(array, place if time is None else (time, *place)))


def _build(place: _Place, level: int, row: int, column: int) -> Sums | None:
    """Make a shard of a level and all below it; return what the next level needs of it.

    None stands for nothing: beyond the edge, or without any value.
    """
    key = place.key(level, row, column)
    if key is None:
        return None
    array = place.arrays[level]
    if level == 0:
        # Shards that nobody wrote are not there: a date that covers little of the grid costs little.
        is_stored = (row, column) in place.parts
        return sums_of(np.asarray(array[key]), stored_as(array), _method(array)) if is_stored else None
    sums = None
    for below, right in itertools.product((0, 1), (0, 1)):
        part = _build(place, level - 1, 2 * row + below, 2 * column + right)
        if part is not None:
            sums = sums or part.empty_parent(shard_sides(array), _sizes(key))
            sums.put(part.halved(), below, right)
    if sums is None:
        return None
    array[key] = sums.stored(stored_as(array))
    for one in shard_keys(array, key):
        settle(array.store, one)
    return sums


def _sizes(key: tuple[Any, ...]) -> tuple[int, int]:
    rows, columns = key[-2:]
    return rows.stop - rows.start, columns.stop - columns.start


def _described(group: zarr.Group, grid: GeoBox, names: Sequence[str], count: int) -> dict[str, Any]:
    levels = [(geozarr.ROOT, geozarr.ROOT, grid, 1)]
    for level in range(1, count + 1):
        base = (level - 1) // _REACH * _REACH
        source = str(base) if base else geozarr.ROOT
        levels.append((str(level), source, level_grid(grid, level), 2 ** (level - base)))
    methods = ", ".join(f"{name}: {_method(array_of(group, name))}" for name in names)
    return geozarr.of_pyramid(levels, methods)

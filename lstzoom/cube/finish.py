"""What is said of a whole cube once it is filled: statistics, and the gathered metadata."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lstzoom.cube import moments
from lstzoom.cube.pyramid import Apply
from lstzoom.cube.regions import shard_sides, stored_as, stored_shards
from lstzoom.cube.store import (
    Options,
    Url,
    array_of,
    attrs_of,
    consolidate,
    json_safe,
    open_group,
)

if TYPE_CHECKING:
    import zarr
    from numpy.typing import NDArray


class _Moments(NamedTuple):
    """Of values: number, mean, sum of squared departures, extremes; of flags: number by value."""

    number: int = 0
    mean: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    flags: tuple[tuple[int, int], ...] = ()


def finalise(
    url: Url, *, overwrite: bool = False, apply: Apply = map, storage_options: Options = None
) -> None:
    """Say what a filled cube holds, and gather its metadata.

    Writes into the attributes of every variable: ``statistics`` (minimum, maximum, mean, stddev, count,
    valid_percent, in the variable's unit) and CF's ``actual_range``; for flags ``flag_counts``, in the order
    of ``flag_values``. Values of a date are read once, and again only when `write_region` has changed them;
    in Icechunk all are read.

    Parameters
    ----------
    url
        Cube made by `create`, into which nobody writes meanwhile.
    overwrite
        Read all dates again, for a cube that something else than `write_region` has written to.
    apply
        Does the tasks, see `build_pyramid`.
    storage_options
        For fsspec.

    Raises
    ------
    InputError
        If there is no cube.
    """
    group = open_group(url, storage_options)
    arrays = {name: array for name, array in sorted(group.arrays()) if array.shards is not None}
    if arrays:
        figures = _figures(group, arrays, _Survey(url, storage_options), apply, overwrite=overwrite)
        for name, array in arrays.items():
            array.attrs.update(json_safe(_described(array, _joined([one[name] for one in figures]))))
    _remove_partial(url)
    consolidate(url, storage_options)


def _figures(
    group: zarr.Group,
    arrays: Mapping[str, zarr.Array[Any]],
    survey: _Survey,
    apply: Apply,
    *,
    overwrite: bool,
) -> list[dict[str, _Moments]]:
    """Moments of every variable, by date: those that are kept, and the others from values."""
    columns = [(name, what) for name, array in arrays.items() for what in _columns(array)]
    dates = max(math.prod(array.shape[:-2]) for array in arrays.values())
    table = moments.recall(group, columns, dates)
    new = [date for date in range(dates) if overwrite or np.isnan(table[date]).any()]
    rows = [row for array in arrays.values() for row in _rows(array, new)]
    parts: dict[tuple[str, int], list[_Moments]] = {}
    for row, part in zip(rows, apply(survey, rows) if rows else (), strict=True):
        parts.setdefault((row.name, row.date), []).append(part)
    for date in new:
        found = [_numbers(array, _joined(parts.get((name, date), ()))) for name, array in arrays.items()]
        table[date] = list(itertools.chain.from_iterable(found))
    if new:
        moments.keep(group, columns, table)
    return [_read(arrays, one) for one in table]


class _Row(NamedTuple):
    """A row of shards of one variable and date: enough work for a task, and small results."""

    name: str
    date: int
    row: int
    columns: tuple[int, ...]


def _rows(array: zarr.Array[Any], dates: Sequence[int]) -> Iterator[_Row]:
    """Name the rows that hold something; what nobody wrote has no value, and is not there."""
    shards = stored_shards(array, dates if array.ndim == 3 else [None][: len(dates)])
    for date, places in shards.items():
        for row, group in itertools.groupby(sorted(places), key=lambda place: place[0]):
            yield _Row(array.basename, date or 0, row, tuple(column for _, column in group))


def _leading(array: zarr.Array[Any], date: int) -> tuple[int, ...]:
    return (date,) if array.ndim == 3 else ()


@dataclass(frozen=True, slots=True)
class _Survey:
    """Reads a row of shards."""

    url: Url
    options: Options

    def __call__(self, row: _Row) -> _Moments:
        array = array_of(open_group(self.url, self.options), row.name)
        side_y, side_x = shard_sides(array)
        part = slice(row.row * side_y, min((row.row + 1) * side_y, array.shape[-2]))
        found = []
        for column in row.columns:
            across = slice(column * side_x, min((column + 1) * side_x, array.shape[-1]))
            key: tuple[Any, ...] = (*_leading(array, row.date), part, across)
            found.append(_of(array[key], array))
        return _joined(found)


def _columns(array: zarr.Array[Any]) -> list[str]:
    """Name the figures of a variable that are kept."""
    flags = attrs_of(array).get("flag_values")
    return [*_Moments._fields[:-1]] if flags is None else ["number", *(str(int(value)) for value in flags)]


def _numbers(array: zarr.Array[Any], whole: _Moments) -> list[float]:
    """Figures of a variable in the order of `_columns`."""
    counts = dict(whole.flags)
    if "flag_values" not in array.attrs:
        return [float(one) for one in whole[:-1]]
    return [float(whole.number), *(float(counts.get(int(name), 0)) for name in _columns(array)[1:])]


def _read(arrays: Mapping[str, zarr.Array[Any]], row: NDArray[np.float64]) -> dict[str, _Moments]:
    """Undo `_numbers`, for all variables of a date."""
    found, left = {}, row.tolist()
    for name, array in arrays.items():
        names = _columns(array)
        (number, *others), left = left[: len(names)], left[len(names) :]
        if "flag_values" in array.attrs:
            counts = zip(map(int, names[1:]), map(int, others), strict=True)
            found[name] = _Moments(int(number), flags=tuple(counts))
        else:
            found[name] = _Moments(int(number), *others)
    return found


def _of(stored: Any, array: zarr.Array[Any]) -> _Moments:  # noqa: ANN401  (what zarr returns)
    if "flag_values" in array.attrs:
        values, counts = np.unique(stored, return_counts=True)
        return _Moments(stored.size, flags=tuple(zip(values.tolist(), counts.tolist(), strict=True)))
    values = stored_as(array).decode(np.asarray(stored))
    return _of_values(values[np.isfinite(values)])


def _of_values(valid: NDArray[np.float64]) -> _Moments:
    if not valid.size:
        return _Moments()
    mean = float(valid.mean())
    return _Moments(
        valid.size, mean, float(((valid - mean) ** 2).sum()), float(valid.min()), float(valid.max())
    )


def _joined(parts: Sequence[_Moments]) -> _Moments:
    """Join parts in their order, so that the sums are the same for any number of workers."""
    whole, flags = _Moments(), dict[int, int]()
    for part in parts:
        for value, count in part.flags:
            flags[value] = flags.get(value, 0) + count
        count = whole.number + part.number
        share = part.number / count if count else 0.0
        step = part.mean - whole.mean
        whole = _Moments(
            count,
            whole.mean + step * share,
            whole.squares + part.squares + step**2 * whole.number * share,
            min(whole.low, part.low),
            max(whole.high, part.high),
        )
    return whole._replace(flags=tuple(sorted(flags.items())))


def _described(array: zarr.Array[Any], whole: _Moments) -> dict[str, Any]:
    pixels = math.prod(array.shape)
    if "flag_values" in array.attrs:
        flags = dict(whole.flags)
        # Shards that nobody wrote read as the fill, too.
        fill = int(np.asarray(array.fill_value))
        flags[fill] = flags.get(fill, 0) + pixels - whole.number
        return {"flag_counts": [flags.get(int(value), 0) for value in attrs_of(array)["flag_values"]]}
    statistics = {
        "count": whole.number,
        "valid_percent": round(100 * whole.number / pixels, 4) if pixels else 0.0,
    }
    if not whole.number:
        return {"statistics": statistics}
    # Steps of 0.01 are not exact in binary.
    low, high = round(whole.low, 6), round(whole.high, 6)
    statistics |= {
        "minimum": low,
        "maximum": high,
        # The last digits depend on how values were joined, and so on the side of shards.
        "mean": round(whole.mean, 6),
        "stddev": round(math.sqrt(whole.squares / whole.number), 6),
    }
    return {"statistics": statistics, "actual_range": [low, high]}


def _remove_partial(url: Url) -> None:
    """Remove what writers that died were writing aside, on a local disk."""
    if isinstance(url, str | Path) and "://" not in str(url).removeprefix("file://"):
        for left in Path(str(url).removeprefix("file://")).rglob("*.partial"):
            left.unlink(missing_ok=True)

"""What is said of a whole cube once it is filled: statistics, and the gathered metadata."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lstzoom.cube.pyramid import Apply
from lstzoom.cube.regions import shard_keys, shard_sides, stored_as
from lstzoom.cube.store import (
    Options,
    Url,
    array_of,
    attrs_of,
    consolidate,
    json_safe,
    key_exists,
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


def finalise(url: Url, *, apply: Apply = map, storage_options: Options = None) -> None:
    """Say what a filled cube holds, and gather its metadata.

    Writes into the attributes of every variable: ``statistics`` (minimum, maximum, mean, stddev, count,
    valid_percent, in the variable's unit) and CF's ``actual_range``; for flags ``flag_counts``, in the order
    of ``flag_values``. Every stored value is read once.

    Parameters
    ----------
    url
        Cube made by `create`, into which nobody writes meanwhile.
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
    for name, array in sorted(group.arrays()):
        if array.shards is None:
            continue
        parts = list(apply(_Survey(url, storage_options, name), list(_rows(array))))
        array.attrs.update(json_safe(_described(array, _joined(parts))))
    _remove_partial(url)
    consolidate(url, storage_options)


def _rows(array: zarr.Array[Any]) -> Iterator[tuple[int, ...]]:
    """Name rows of shards: enough work for a task, and small results."""
    side = shard_sides(array)[0]
    yield from itertools.product(*map(range, array.shape[:-2]), range(-(-array.shape[-2] // side)))


@dataclass(frozen=True, slots=True)
class _Survey:
    """Reads a row of shards."""

    url: Url
    options: Options
    name: str

    def __call__(self, place: tuple[int, ...]) -> _Moments:
        array = array_of(open_group(self.url, self.options), self.name)
        *leading, row = place
        side_y, side_x = shard_sides(array)
        rows, columns = array.shape[-2:]
        part = slice(row * side_y, min((row + 1) * side_y, rows))
        found = []
        for left in range(0, columns, side_x):
            key: tuple[Any, ...] = (*leading, part, slice(left, min(left + side_x, columns)))
            # What nobody wrote has no value, and is not there.
            if all(key_exists(array.store, one) for one in shard_keys(array, key)):
                found.append(_of(array[key], array))
        return _joined(found)


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
    statistics |= {
        "minimum": whole.low,
        "maximum": whole.high,
        # The last digits depend on how values were joined, and so on the side of shards.
        "mean": round(whole.mean, 6),
        "stddev": round(math.sqrt(whole.squares / whole.number), 6),
    }
    return {"statistics": statistics, "actual_range": [whole.low, whole.high]}


def _remove_partial(url: Url) -> None:
    """Remove what writers that died were writing aside, on a local disk."""
    if isinstance(url, str | Path) and "://" not in str(url).removeprefix("file://"):
        for left in Path(str(url).removeprefix("file://")).rglob("*.partial"):
            left.unlink(missing_ok=True)

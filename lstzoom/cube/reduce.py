"""Sums over pixels that become larger pixels: what a mean or the most frequent value is made of.

Sums, unlike means, are joined exactly: four quarters of a cell give the cell whatever is missing in each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from lstzoom.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lstzoom.encoding import Encoding


class Sums(Protocol):
    """Sums of one shard."""

    def halved(self) -> Self:
        """Sum 2 x 2 pixels; those at the edge may be cut."""

    def empty_parent(self, shard: tuple[int, int], shape: tuple[int, int]) -> Self:
        """Make sums of nothing for a shard of the next level: sides when whole, and at the edge."""

    def put(self, part: Self, below: int, right: int) -> None:
        """Put halved sums into their quarter."""

    def stored(self, encoding: Encoding) -> NDArray[Any]:
        """Return numbers as the array stores them."""


def sums_of(stored: NDArray[Any], encoding: Encoding, method: str) -> Sums:
    """Begin with the pixels of a shard.

    Parameters
    ----------
    stored
        Numbers as stored, shape (y, x).
    encoding
        How they are stored.
    method
        ``"radiance"``, ``"average"`` or ``"mode"``.

    Raises
    ------
    InputError
        If the method is none of these.
    """
    if method == "mode":
        return Counts.of(stored)
    if method not in ("radiance", "average"):
        raise InputError(f"overview_resampling is {method!r}; radiance, average and mode are known")
    return Means.of(encoding.decode(stored), 4 if method == "radiance" else 1)


def _halved(values: NDArray[Any]) -> NDArray[Any]:
    rows, columns = values.shape
    even = np.pad(values, ((0, rows % 2), (0, columns % 2))) if rows % 2 or columns % 2 else values
    return even[::2, ::2] + even[::2, 1::2] + even[1::2, ::2] + even[1::2, 1::2]


def _quarter(whole: NDArray[Any], part: NDArray[Any], shard: tuple[int, int], below: int, right: int) -> None:
    top, left = below * shard[0] // 2, right * shard[1] // 2
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part


@dataclass(slots=True)
class Means:
    """Sums of a power of the values, and how many there are.

    Attributes
    ----------
    total
        float64, shape (y, x): sum of ``value ** power``.
    count
        uint32, shape (y, x): valid pixels of the finest level.
    power
        4 for radiance, 1 for a plain mean.
    shard
        Sides of a whole shard.
    """

    total: NDArray[np.float64]
    count: NDArray[np.uint32]
    power: int
    shard: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, values: NDArray[np.float64], power: int) -> Self:
        """Begin with values, NaN where missing."""
        valid = np.isfinite(values)
        return cls(np.where(valid, values, 0.0) ** power, valid.astype(np.uint32), power)

    def halved(self) -> Self:
        """Sum 2 x 2 pixels."""
        return type(self)(_halved(self.total), _halved(self.count), self.power)

    def empty_parent(self, shard: tuple[int, int], shape: tuple[int, int]) -> Self:
        """Make sums of nothing."""
        return type(self)(np.zeros(shape), np.zeros(shape, np.uint32), self.power, shard)

    def put(self, part: Self, below: int, right: int) -> None:
        """Put halved sums into their quarter."""
        _quarter(self.total, part.total, self.shard, below, right)
        _quarter(self.count, part.count, self.shard, below, right)

    def stored(self, encoding: Encoding) -> NDArray[Any]:
        """Return means as the array stores them."""
        with np.errstate(invalid="ignore"):
            mean = (self.total / self.count) ** (1 / self.power)
        return encoding.encode(mean)


@dataclass(slots=True)
class Counts:
    """How often each value occurs.

    Attributes
    ----------
    by_value
        uint32, shape (y, x), by value.
    shape
        Of each.
    shard
        Sides of a whole shard.
    """

    by_value: dict[int, NDArray[np.uint32]]
    shape: tuple[int, int]
    shard: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, stored: NDArray[Any]) -> Self:
        """Begin with values."""
        values = np.unique(stored).tolist()
        return cls(
            {one: (stored == one).astype(np.uint32) for one in values}, (stored.shape[0], stored.shape[1])
        )

    def halved(self) -> Self:
        """Sum 2 x 2 pixels."""
        counts = {value: _halved(count) for value, count in self.by_value.items()}
        return type(self)(counts, (-(-self.shape[0] // 2), -(-self.shape[1] // 2)))

    def empty_parent(self, shard: tuple[int, int], shape: tuple[int, int]) -> Self:
        """Make counts of nothing."""
        return type(self)({}, shape, shard)

    def put(self, part: Self, below: int, right: int) -> None:
        """Put halved counts into their quarter."""
        for value, count in part.by_value.items():
            whole = self.by_value.setdefault(value, np.zeros(self.shape, np.uint32))
            _quarter(whole, count, self.shard, below, right)

    def stored(self, encoding: Encoding) -> NDArray[Any]:
        """Return the most frequent value, the smallest of several; nothing at all counts as 0."""
        best = np.zeros(self.shape, np.uint32)
        value = np.zeros(self.shape, encoding.dtype)
        for one, count in sorted(self.by_value.items()):
            more = count > best
            value[more], best[more] = one, count[more]
        return value

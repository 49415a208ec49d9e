"""Figures of every date, kept beside the values, so that statistics of all dates cost the new ones alone.

They lie in a group of the cube that readers of the cube do not see, one object for a date. Whoever writes
values of a date removes its object first; what is there is therefore right. Values that are written by other
means than `lstzoom.cube.write_region` are not noticed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from lstzoom.cube.store import array_of, attrs_of, remove_key

if TYPE_CHECKING:
    import zarr
    from numpy.typing import NDArray
    from zarr.abc.store import Store

GROUP: Final = "statistics"
_TABLE: Final = "by_date"
_COLUMNS: Final = "columns"
Columns = Sequence[tuple[str, str]]
"""What a row holds: variable, and figure of it."""


def forget(store: Store, time_index: int | None) -> None:
    """Forget the figures of a date whose values are about to change."""
    if _is_kept(store):
        remove_key(store, f"{GROUP}/{_TABLE}/c/{time_index or 0}/0")


def recall(group: zarr.Group, columns: Columns, dates: int) -> NDArray[np.float64]:
    """Read the figures that are known.

    Parameters
    ----------
    group
        The cube.
    columns
        What is wanted.
    dates
        How many the cube has.

    Returns
    -------
    ndarray of float64, shape (dates, columns)
        NaN in the rows of dates that are not known.
    """
    found = np.full((dates, len(columns)), np.nan)
    if _is_kept(group.store) and GROUP in group:
        table = array_of(group, f"{GROUP}/{_TABLE}")
        if attrs_of(table).get(_COLUMNS) == _listed(columns):
            known = np.asarray(table[...])[:dates]
            found[: len(known)] = known
    return found


def keep(group: zarr.Group, columns: Columns, figures: NDArray[np.float64]) -> None:
    """Keep the figures of all dates, shape (dates, columns)."""
    if not _is_kept(group.store):
        return
    place = group.require_group(GROUP)
    if _TABLE not in place or attrs_of(array_of(place, _TABLE)).get(_COLUMNS) != _listed(columns):
        table = place.create_array(
            _TABLE,
            shape=figures.shape,
            dtype=np.float64,
            chunks=(1, len(columns)),
            fill_value=np.nan,
            dimension_names=("date", "column"),
            attributes={_COLUMNS: _listed(columns)},
            overwrite=True,
        )
    else:
        table = array_of(place, _TABLE)
        if table.shape != figures.shape:
            table.resize(figures.shape)
    table[...] = figures


def _listed(columns: Columns) -> list[list[str]]:
    return [list(one) for one in columns]


def _is_kept(store: Store) -> bool:
    # In Icechunk two commits that forget the same date would be in each other's way.
    return store.supports_consolidated_metadata

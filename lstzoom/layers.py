"""Layers of results, wherever they are kept, read a window at a time; one writer makes them one COG."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from odc.geo.geobox import GeoBox

from lstzoom.errors import InputError
from lstzoom.raster import LazyRaster, RasterSource
from lstzoom.write import CogSink

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Whole blocks of a COG.
_SIDE: Final = 2048


class Layer(Protocol):
    """One layer of a scene on its own grid."""

    @property
    def grid(self) -> GeoBox:
        """Grid of the layer, north-up with a CRS."""

    @property
    def stamp(self) -> str:
        """What changes with the content, as far as that is told without reading it."""

    def read(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Values of a window: float32, NaN where missing."""


@dataclass(frozen=True, slots=True)
class FileLayer:
    """A band of a raster file.

    Parameters
    ----------
    source
        From `lstzoom.raster.describe`.
    """

    source: RasterSource

    @property
    def grid(self) -> GeoBox:
        """Grid of the file."""
        return self.source.geobox

    @property
    def stamp(self) -> str:
        """Size, time of change and inode of a local file."""
        return self.source.fingerprint

    def read(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Values of a window: float32, NaN where missing."""
        return LazyRaster(self.source, self.source.geobox)[rows, columns]


@dataclass(frozen=True)
class ZarrLayer:
    """A variable of a Zarr store, of dimensions (y, x), or one time of (time, y, x).

    Parameters
    ----------
    url, name
        Store and variable.
    grid
        Of the variable.
    scale, offset, fill
        Value = scale x stored number + offset; the stored number that is missing.
    time
        Number of the time, for a cube.
    storage_options
        For fsspec.
    """

    url: str
    name: str
    grid: GeoBox
    scale: float = 1.0
    offset: float = 0.0
    fill: float | None = None
    time: int | None = None
    storage_options: tuple[tuple[str, Any], ...] = ()

    @property
    def stamp(self) -> str:
        """Place in the store; stores do not tell when they were changed."""
        return f"{self.name}[{self.time}]"

    def read(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Values of a window: float32, NaN where missing."""
        if rows.stop <= rows.start or columns.stop <= columns.start:
            return np.empty(
                (max(rows.stop - rows.start, 0), max(columns.stop - columns.start, 0)), np.float32
            )
        window = (rows, columns) if self.time is None else (self.time, rows, columns)
        try:
            stored = np.asarray(_array(self.url, self.name, self.storage_options, self.time)[window])
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise InputError(
                f"cannot read {self.name!r} of {self.url!r} in the window rows {rows.start}..{rows.stop}, "
                f"columns {columns.start}..{columns.stop}: {error}; the store may be incomplete or out of "
                "reach"
            ) from error
        values = stored.astype(np.float32)
        if (self.scale, self.offset) != (1.0, 0.0):
            values = (stored.astype(np.float64) * self.scale + self.offset).astype(np.float32)
        if self.fill is not None:
            values[stored == self.fill] = np.nan
        return values


@dataclass(frozen=True)
class Patchwork:
    """A layer in several files, such as the tiles of a scene.

    Parameters
    ----------
    grid
        Of the whole.
    patches
        Row and column of the first pixel of each, and the patch.
    """

    grid: GeoBox
    patches: tuple[tuple[int, int, FileLayer], ...]

    @property
    def stamp(self) -> str:
        """Those of the files."""
        return " ".join(layer.stamp for _, _, layer in self.patches)

    def read(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Values of a window: float32, NaN where missing or in no patch."""
        out = np.full((rows.stop - rows.start, columns.stop - columns.start), np.nan, np.float32)
        for top, left, layer in self.patches:
            height, width = layer.grid.shape
            y = slice(max(rows.start, top), min(rows.stop, top + height))
            x = slice(max(columns.start, left), min(columns.stop, left + width))
            if y.start < y.stop and x.start < x.stop:
                part = layer.read(slice(y.start - top, y.stop - top), slice(x.start - left, x.stop - left))
                place = (
                    slice(y.start - rows.start, y.stop - rows.start),
                    slice(x.start - columns.start, x.stop - columns.start),
                )
                out[place] = part
        return out


@lru_cache(maxsize=256)
def _array(url: str, name: str, options: tuple[tuple[str, Any], ...], _time: int | None) -> Any:  # noqa: ANN401
    # Opened again for another time: a cube that was opened before it got its latest dates has no such time.
    import zarr  # noqa: PLC0415  (slow to import, and files do not need it)

    group = zarr.open_group(url, mode="r", storage_options=dict(options) or None)
    return group[name]


def copy_into(sink: CogSink, layer: Layer, progress: Callable[[int, int], None] | None = None) -> None:
    """Write a layer into a COG, a window of 2048 pixels a side in memory at a time.

    Parameters
    ----------
    sink
        Open, on the grid of the layer.
    layer
        What is copied.
    progress
        Called with windows done and all of them.

    Raises
    ------
    InputError
        If the layer cannot be read.
    EncodingError
        If values do not fit the encoding.
    """
    rows, columns = layer.grid.shape
    corners = [(top, left) for top in range(0, rows, _SIDE) for left in range(0, columns, _SIDE)]
    for done, (top, left) in enumerate(corners, 1):
        window = slice(top, min(top + _SIDE, rows)), slice(left, min(left + _SIDE, columns))
        values = layer.read(*window)
        # What is never written takes no room.
        if np.isfinite(values).any():
            sink.write(values, window)
        if progress is not None:
            progress(done, len(corners))

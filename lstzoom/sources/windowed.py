"""A loaded pair as a scene that is read by windows, in whatever process works on them.

It holds addresses and grids and no pixel, and can be pickled. What is read is, bit for bit, what the lazy
arrays of `lstzoom.sources.loading.LoadedPair` would give.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from lstzoom.errors import InputError
from lstzoom.grid import GridPair
from lstzoom.inputs import SceneArrays
from lstzoom.raster import sampling
from lstzoom.regrid import moved
from lstzoom.sources.loading import CoarseReader, FineReader, LoadedPair
from lstzoom.types import YX

Window = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class FineWindows:
    """Reflectance on the fine grid, as `lstzoom.halo.Windowed`."""

    reader: FineReader
    grid: GeoBox
    bands: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows, columns."""
        return self.bands, self.grid.shape.y, self.grid.shape.x

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32."""
        return np.dtype(np.float32)

    def read_into(self, out: NDArray[np.float32], rows: slice, columns: slice) -> None:
        """Read a window of all bands."""
        out[...] = self.reader.read((rows, columns))


@dataclass(frozen=True, slots=True)
class MovedWindows:
    """Reflectance from moved positions, resampled as `lstzoom.regrid` does with arrays."""

    given: FineWindows
    move: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows, columns."""
        return self.given.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32."""
        return self.given.dtype

    def read_into(self, out: NDArray[np.float32], rows: slice, columns: slice) -> None:
        """Read a window of all bands."""
        grid = self.given.grid
        how = sampling(grid, moved(grid, self.move), "cubic", rows, columns)
        span = how.read_span(YX(*grid.shape))
        planes = self.given.reader.read(span)
        origin = YX(span[0].start, span[1].start)
        for band, plane in enumerate(planes):
            out[band] = how.apply(plane, origin)


@dataclass(frozen=True, slots=True)
class CoarseWindows:
    """One layer on the coarse grid, each pixel repeated so many times along both axes."""

    reader: CoarseReader
    what: str
    grid: GeoBox
    repeat: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.grid.shape.y * self.repeat, self.grid.shape.x * self.repeat

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of what is read: flags for what is valid, else float32."""
        return np.dtype(np.bool_ if self.what == "valid" else np.float32)

    def read_into(self, out: NDArray[Any], rows: slice, columns: slice) -> None:
        """Read a window."""
        r = self.repeat
        coarse = [slice(part.start // r, -(-part.stop // r)) for part in (rows, columns)]
        values = self.reader.read(self.what, (coarse[0], coarse[1]))
        if r > 1:
            values = values.repeat(r, axis=0).repeat(r, axis=1)
        inner = [slice(p.start - c.start * r, p.stop - c.start * r)
                 for p, c in zip((rows, columns), coarse, strict=True)]  # fmt: skip
        out[...] = values[inner[0], inner[1]]


def windowed(pair: LoadedPair, *, move: tuple[float, float] | None = None) -> SceneArrays:
    """Make a scene that is read by windows.

    Parameters
    ----------
    pair
        From `lstzoom.load`.
    move
        As for `lstzoom.inputs.prepare`.

    Returns
    -------
    SceneArrays
        The same scene as ``prepare(pair.vnir, pair.lst, pair.valid)``.

    Raises
    ------
    InputError
        If the pair was made of arrays.
    """
    if pair.readers is None:
        raise InputError("the pair was made of arrays; take one from lstzoom.load")
    bands = tuple(str(band) for band in pair.vnir.coords["band"].values)
    told = pair.vnir.attrs.get("native_resolution")
    native = None
    if isinstance(told, list | tuple) and len(told) == len(bands):
        native = tuple(float(side) for side in told)
    fine = FineWindows(pair.readers.fine, pair.readers.grids.fine, len(bands))
    return _scene(fine, pair.readers.coarse, pair.readers.grids, bands, native, move=move)


def _scene(
    fine: FineWindows,
    coarse: CoarseReader,
    grids: GridPair,
    bands: tuple[str, ...],
    native: tuple[float, ...] | None,
    *,
    move: tuple[float, float] | None,
) -> SceneArrays:
    return SceneArrays(
        vnir=fine if move is None else MovedWindows(fine, move),
        lst=CoarseWindows(coarse, "lst", grids.coarse),
        usable=CoarseWindows(coarse, "valid", grids.coarse, grids.ratio),
        grids=grids, bands=bands, moved=move,
        # Made from what this scene is made of, so that a scene can be sent without the lazy arrays.
        remake=partial(_scene, fine, coarse, grids, bands, native),
        native=native,
    )  # fmt: skip

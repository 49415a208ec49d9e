"""Overviews of temperature: means of radiance, which no resampling of GDAL is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window

from lstzoom.kernels.aggregate import add_fourth_powers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lstzoom.encoding import Encoding

_T = TypeVar("_T", np.float64, np.int64)

# Of the full resolution, read at once: a mosaic is too wide to be read in whole rows.
_ROWS: Final = 1024
_COLUMNS: Final = 4096


def build_radiance(path: Path, encoding: Encoding, block: int) -> None:
    """Put overviews beside a GeoTIFF of one band of temperature, in files that GDAL finds by their names.

    Parameters
    ----------
    path
        GeoTIFF of stored numbers, uncompressed and about to become a COG.
    encoding
        How they are stored, with a number for missing.
    block
        Side of a tile; the coarsest overview fits into one.

    Notes
    -----
    An overview pixel is ``(mean of T**4) ** 1/4`` of the valid pixels of the full resolution below it. GDAL
    looks for the overviews of ``a.tif`` in ``a.tif.ovr``, and for more of them in ``a.tif.ovr.ovr``.
    """
    with ExitStack() as stack:
        file = stack.enter_context(rasterio.open(path))
        levels: list[_Level] = []
        factor, target = 1, path
        while -(-max(file.shape) // factor) > block:
            factor, target = 2 * factor, Path(f"{target}.ovr")
            level = stack.enter_context(_created(file, target, factor, encoding, block))
            levels.append(_Level(factor, level))
        # Of whole cells of the coarsest level.
        step, across = max(_ROWS, factor), max(_COLUMNS, factor)
        for top, left in itertools.product(range(0, file.height, step), range(0, file.width, across)):
            size = min(across, file.width - left), min(step, file.height - top)
            _add_window(file, levels, encoding, Window(left, top, *size))


@dataclass(frozen=True, slots=True)
class _Level:
    """An overview that is being written, and how many pixels below lie along a side of one of its own."""

    factor: int
    file: Any


def _created(file: Any, target: Path, factor: int, encoding: Encoding, block: int) -> Any:  # noqa: ANN401
    rows, columns = (-(-side // factor) for side in file.shape)
    a, b, c, d, e, f = tuple(file.transform)[:6]
    return rasterio.open(
        target, "w", driver="GTiff", height=rows, width=columns, count=1, dtype=encoding.dtype,
        nodata=encoding.nodata, crs=file.crs,
        transform=Affine(factor * a, factor * b, c, factor * d, factor * e, f),
        tiled=True, blockxsize=block, blockysize=block, bigtiff="IF_SAFER",
    )  # fmt: skip


def _add_window(file: Any, levels: Sequence[_Level], encoding: Encoding, window: Window) -> None:  # noqa: ANN401
    """Read a part once, and write its part of every level."""
    total, count = fourth_powers(file.read(1, window=window), encoding)
    for number, level in enumerate(levels):
        if number:
            total, count = _halved(total), _halved(count)
        mean = np.sqrt(np.sqrt(total / np.maximum(count, 1)))
        mean[count == 0] = np.nan
        place = Window(
            window.col_off // level.factor, window.row_off // level.factor, mean.shape[1], mean.shape[0]
        )
        level.file.write(encoding.encode(mean.astype(np.float32)), 1, window=place)


def fourth_powers(stored: NDArray[Any], encoding: Encoding) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum up ``T**4`` of the valid pixels of cells of 2 x 2, and count them; cells at the edge may be cut."""
    shape = tuple(-(-side // 2) for side in stored.shape)
    total, count = np.zeros(shape, np.float64), np.zeros(shape, np.int64)
    nodata = math.nan if encoding.nodata is None else float(encoding.nodata)
    add_fourth_powers(stored, float(encoding.scale), float(encoding.offset), nodata, total, count)
    return total, count


def _halved(values: NDArray[_T]) -> NDArray[_T]:
    """Sum up cells of 2 x 2; those at the edge may be cut."""
    even = np.pad(values, [(0, side % 2) for side in values.shape])
    tall = even[0::2] + even[1::2]
    return tall[:, 0::2] + tall[:, 1::2]

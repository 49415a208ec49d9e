"""Overviews of temperature: means of radiance, which no resampling of GDAL is."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window

from lstzoom.kernels.aggregate import area_mean_radiance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lstzoom.encoding import Encoding

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
    factor, target = 1, path
    with rasterio.open(path) as file:
        while -(-max(file.shape) // factor) > block:
            factor, target = 2 * factor, Path(f"{target}.ovr")
            _write_level(file, target, factor, encoding, block)


def _write_level(file: Any, target: Path, factor: int, encoding: Encoding, block: int) -> None:  # noqa: ANN401
    rows, columns = (-(-side // factor) for side in file.shape)
    step, across = max(1, _ROWS // factor), max(1, _COLUMNS // factor)
    a, b, c, d, e, f = tuple(file.transform)[:6]
    with rasterio.open(
        target, "w", driver="GTiff", height=rows, width=columns, count=1, dtype=encoding.dtype,
        nodata=encoding.nodata, crs=file.crs,
        transform=Affine(factor * a, factor * b, c, factor * d, factor * e, f),
        tiled=True, blockxsize=block, blockysize=block, bigtiff="IF_SAFER",
    ) as level:  # fmt: skip
        for start, left in itertools.product(range(0, rows, step), range(0, columns, across)):
            stop, right = min(start + step, rows), min(left + across, columns)
            top, bottom = start * factor, min(stop * factor, file.height)
            west, east = left * factor, min(right * factor, file.width)
            stored = file.read(1, window=Window(west, top, east - west, bottom - top))
            mean = _mean(encoding.decode(stored), factor)
            level.write(encoding.encode(mean), 1, window=Window(left, start, right - left, stop - start))


def _mean(values: NDArray[np.float64], factor: int) -> NDArray[np.float32]:
    """Mean of whole cells; those at the edge may be cut."""
    pad = [(0, -side % factor) for side in values.shape]
    return area_mean_radiance(np.pad(values, pad, constant_values=np.nan), factor, min_valid=0.0)

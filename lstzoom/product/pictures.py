"""Colour pictures of a product: composites as COGs, thumbnails as JPEGs."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from lstzoom.write import COG_BLOCK

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

THUMBNAIL: Final = 512
"""Longest side of a thumbnail, pixels."""
_NEUTRAL: Final = 184  # grey that is in neither kind of picture
# Most ground is dark, and a few roofs are bright.
_GAMMA: Final = 0.7
# Colours of inferno (CC0), evenly spaced from cold to hot; between them it is close to straight.
_INFERNO: Final = (
    "000004", "0a0722", "200c4a", "3b0964", "56106e", "71196e", "8a226a", "a52c60", "bc3754",
    "d24644", "e45a31", "f1731d", "f98e09", "fcac11", "f9cb35", "f2ea69", "fcffa4",
)  # fmt: skip


class Stretch(NamedTuple):
    """Values that become the first and the last colour."""

    low: float
    high: float

    def part(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Place of values in the range, 0 to 1; NaN where missing."""
        return np.clip((values - self.low) / max(self.high - self.low, 1e-6), 0.0, 1.0).astype(np.float32)


def temperature_colours(kelvin: NDArray[Any], stretch: Stretch) -> NDArray[np.uint8]:
    """Colour temperature from black over red to pale yellow.

    Parameters
    ----------
    kelvin
        Shape (y, x), NaN where missing.
    stretch
        Coldest and hottest colour.

    Returns
    -------
    ndarray of uint8, shape (4, y, x)
        Red, green, blue, and opacity: 0 where missing.
    """
    table = np.array([list(bytes.fromhex(colour)) for colour in _INFERNO], np.float32)
    valid = np.isfinite(kelvin)
    place = np.where(valid, stretch.part(kelvin), 0.0) * (len(table) - 1)
    colours = [np.interp(place, np.arange(len(table)), table[:, k]) for k in range(3)]
    return _with_opacity(np.stack(colours), valid)


def natural_colours(rgb: NDArray[Any], stretch: Stretch) -> NDArray[np.uint8]:
    """Show reflectance as the eye would see it: one stretch for all bands, which keeps hues, and a gamma.

    Parameters
    ----------
    rgb
        Shape (3, y, x), NaN where missing.
    stretch
        Reflectance that becomes black and white.

    Returns
    -------
    ndarray of uint8, shape (4, y, x)
        As `temperature_colours` does.
    """
    valid = np.isfinite(rgb).all(axis=0)
    return _with_opacity(255 * np.where(valid, stretch.part(rgb), 0.0) ** _GAMMA, valid)


def _with_opacity(colours: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    opacity = np.where(valid, 255, 0)[None]
    return np.concatenate([np.where(valid, np.rint(colours), 0), opacity]).astype(np.uint8)


def write_composite(
    path: Path, grid: GeoBox, strips: Iterable[tuple[slice, NDArray[np.uint8]]], tags: Mapping[str, str]
) -> None:
    """Write a picture as a COG.

    Parameters
    ----------
    path
        New file.
    grid
        Its grid.
    strips
        Rows, and colours of shape (4, y, x) in them.
    tags
        Of the file, as what the colours mean.
    """
    draft = path.with_name(f".{path.name}.part")
    with rasterio.open(
        draft, "w", driver="GTiff", height=grid.shape.y, width=grid.shape.x, count=4, dtype="uint8",
        crs=str(grid.crs), transform=grid.affine, tiled=True, blockxsize=COG_BLOCK, blockysize=COG_BLOCK,
        photometric="RGB", alpha="YES", interleave="pixel", bigtiff="IF_SAFER",
    ) as file:  # fmt: skip
        file.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
        file.descriptions = ("red", "green", "blue", "alpha")
        file.update_tags(**tags)
        for rows, colours in strips:
            window = Window(0, rows.start, grid.shape.x, rows.stop - rows.start)
            file.write(colours, window=window)
    _finish(draft, path, "AVERAGE")


def write_classes(path: Path, grid: GeoBox, codes: NDArray[np.uint8], names: Iterable[str]) -> None:
    """Write bands of classes as a COG whose overviews show the most frequent one.

    Parameters
    ----------
    path
        New file.
    grid
        Its grid.
    codes
        Shape (band, y, x).
    names
        Of the bands.
    """
    draft = path.with_name(f".{path.name}.part")
    with rasterio.open(
        draft, "w", driver="GTiff", height=grid.shape.y, width=grid.shape.x, count=len(codes), dtype="uint8",
        crs=str(grid.crs), transform=grid.affine, tiled=True, blockxsize=COG_BLOCK, blockysize=COG_BLOCK,
        bigtiff="IF_SAFER",
    ) as file:  # fmt: skip
        file.write(codes)
        file.descriptions = tuple(names)
    _finish(draft, path, "MODE")


def _finish(draft: Path, path: Path, resampling: str) -> None:
    try:
        rasterio.shutil.copy(
            draft, path, driver="COG", blocksize=COG_BLOCK, compress="DEFLATE", predictor="YES",
            overview_resampling=resampling, overviews="IGNORE_EXISTING", statistics="YES",
            bigtiff="IF_SAFER",
        )  # fmt: skip
    finally:
        draft.unlink()


def write_thumbnail(path: Path, colours: NDArray[np.uint8]) -> None:
    """Write a small picture as a JPEG, grey where there is nothing.

    Parameters
    ----------
    path
        New file.
    colours
        Shape (4, y, x) or, without opacity, (3, y, x).
    """
    if len(colours) == 4:
        colours = np.where(colours[3:] > 0, colours[:3], np.uint8(_NEUTRAL))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="JPEG", dtype="uint8", count=3, height=colours.shape[1],
            width=colours.shape[2], quality=90,
        ) as file:  # fmt: skip
            file.write(colours)

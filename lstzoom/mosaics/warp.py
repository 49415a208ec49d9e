"""A scene on the lattice of a mosaic, a window at a time, the same bits for any window.

The source position of a pixel is computed from its place in the part of the lattice that the scene covers,
which neither the tile nor the extent of the mosaic changes. Temperature is interpolated from valid pixels
only: cubic, and bilinear beside gaps; where the lattice is coarser, the mean over the pixel. The variance is
interpolated as the temperature is: errors of neighbours are taken as one error, so that interpolating never
makes a scene look surer than it is. Flags are those of the pixel under the centre, or those of most of the
area where pixels are averaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from lstzoom.kernels.quality import QA
from lstzoom.kernels.resample import Taps
from lstzoom.mosaics.scenes import Layer, Scene
from lstzoom.mosaics.target import Lattice, Part, Window
from lstzoom.raster import Resampling, Sampling, sampling
from lstzoom.types import YX

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Every pixel has its own indices and weights, some 400 bytes of them.
_MAX_POINTS: Final = 1 << 17
_SOURCE_PIXELS: Final = 1 << 22
_NO_VALUE: Final = (QA.NODATA, QA.MASKED)


class Warped(NamedTuple):
    """A window of a scene on the lattice.

    Attributes
    ----------
    lst
        float32, shape (y, x): kelvin, NaN where missing.
    uncertainty
        float32, kelvin; NaN where it is not known.
    qa
        uint8; 0 outside of the scene.
    """

    lst: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    qa: NDArray[np.uint8]


def warp(
    scene: Scene, part: Part, lattice: Lattice, window: Window, resampling: Resampling = "cubic"
) -> Warped:
    """Put a window of a scene on the lattice.

    Parameters
    ----------
    scene, part
        A scene, and the part of it, from `lstzoom.mosaics.target.parts_of`.
    lattice, window
        Where to.
    resampling
        Of the temperature: ``"cubic"``, ``"auto"`` (bilinear) or ``"nearest"``; means where the lattice is
        coarser than the scene by half a pixel and more, and copies where the pixels coincide.

    Returns
    -------
    Warped
        Missing outside of the part.
    """
    out = Warped(
        np.full(window.shape, np.nan, np.float32),
        np.full(window.shape, np.nan, np.float32),
        np.zeros(window.shape, np.uint8),
    )
    for strip in strips(window & part.window, scene.grid, lattice):
        how = _sampling(scene.grid, part, lattice, strip, resampling)
        place = strip.within(window)
        lst = _temperature(scene, part, lattice, strip, how)
        out.lst[place] = lst
        out.qa[place] = _flags(scene.qa, how, np.isfinite(lst))
        if scene.uncertainty is not None:
            out.uncertainty[place] = np.where(np.isfinite(lst), _spread(scene.uncertainty, how), np.nan)
    return out


def warp_lst(
    scene: Scene, part: Part, lattice: Lattice, window: Window, resampling: Resampling = "cubic"
) -> NDArray[np.float32]:
    """As `warp`, the temperature alone."""
    out = np.full(window.shape, np.nan, np.float32)
    for strip in strips(window & part.window, scene.grid, lattice):
        how = _sampling(scene.grid, part, lattice, strip, resampling)
        out[strip.within(window)] = _temperature(scene, part, lattice, strip, how)
    return out


def strips(window: Window, source: GeoBox, lattice: Lattice) -> Iterator[Window]:
    """Cut a window so that a strip of it, and what is read for it, is bounded."""
    if window.empty:
        return
    rows, columns = window.shape
    ratio = lattice.pixel_metres / _pixel_metres(source)
    limit = min(_MAX_POINTS, int(_SOURCE_PIXELS / max(ratio, 1.0) ** 2))
    step = max(1, min(rows, limit // columns))
    for top in range(window.top, window.bottom, step):
        yield Window(top, min(top + step, window.bottom), window.left, window.right)


def _pixel_metres(grid: GeoBox) -> float:
    assert grid.crs is not None  # noqa: S101  (refused when the parts were made)
    return Lattice(grid.crs, abs(float(grid.affine.a))).pixel_metres


def _sampling(
    source: GeoBox, part: Part, lattice: Lattice, strip: Window, resampling: Resampling
) -> Sampling:
    rows, columns = strip.within(part.window)
    return sampling(source, lattice.geobox(part.window), resampling, rows, columns)


def _read(layer: Layer, how: Sampling) -> tuple[NDArray[np.float32], YX]:
    rows, columns = how.read_span(YX(*layer.grid.shape))
    return layer.read(rows, columns), YX(rows.start, columns.start)


def _temperature(
    scene: Scene, part: Part, lattice: Lattice, strip: Window, how: Sampling
) -> NDArray[np.float32]:
    lst = np.array(how.apply(*_read(scene.lst, how)))
    if part.cut:
        lst[_beyond(lattice, strip)] = np.nan
    return lst


def _spread(layer: Layer, how: Sampling) -> NDArray[np.float32]:
    """Root of the interpolated variance."""
    sigma, origin = _read(layer, how)
    mean = how.apply(np.square(sigma), origin)
    return np.asarray(np.sqrt(mean), np.float32)


def _flags(layer: Layer | None, how: Sampling, valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Read flags; of a scene without any, values are taken for sharpened by the global model."""
    if layer is None:
        return np.where(valid, np.uint8(QA.GLOBAL), np.uint8(QA.NODATA))
    stored, origin = _read(layer, how)
    under = _whole(_nearest(how).apply(stored, origin))
    if how.method != "average":
        return under
    return np.where(valid, _most(stored, origin, how), under)


def _nearest(how: Sampling) -> Sampling:
    """Take the pixel under the centre: the one that decides whether an interpolated value is valid."""
    rows, columns = (
        Taps(one.centre[..., np.newaxis], np.ones((*one.centre.shape, 1)), one.centre)
        for one in (how.rows, how.columns)
    )
    return Sampling(rows, columns, "nearest", how.separable)


def _most(stored: NDArray[np.float32], origin: YX, how: Sampling) -> NDArray[np.uint8]:
    """Flag of the largest share of the area among those of pixels with a value; the smaller of two alike."""
    used = ~np.isin(stored, _NO_VALUE) & np.isfinite(stored)
    share, flag = np.full(how.rows.centre.shape[:1] + how.columns.centre.shape[-1:], -1.0, np.float32), None
    for code in [one for one in QA if one not in _NO_VALUE]:
        mean = how.apply(np.where(used, stored == code, np.float32(np.nan)).astype(np.float32), origin)
        mean = np.nan_to_num(mean, nan=0.0)
        flag = (
            np.full(share.shape, code, np.uint8)
            if flag is None
            else np.where(mean > share, np.uint8(code), flag)
        )
        share = np.maximum(share, mean)
    assert flag is not None  # noqa: S101  (there are flags)
    return flag


def _whole(flags: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.nan_to_num(flags, nan=float(QA.NODATA)).astype(np.uint8)


def _beyond(lattice: Lattice, strip: Window) -> NDArray[np.bool_]:
    """Tell pixels beyond the cut of a projection, whose ground is on its other side, too."""
    step = lattice.resolution
    column, row = np.meshgrid(
        np.arange(strip.left, strip.right) + 0.5, np.arange(strip.top, strip.bottom) + 0.5
    )
    x, y = step * column, -step * row
    degrees = CRS("EPSG:4326")
    lon, lat = lattice.crs.transformer_to_crs(degrees)(x, y)
    again_x, again_y = degrees.transformer_to_crs(lattice.crs)(lon, lat)
    with np.errstate(invalid="ignore"):
        return ~(np.hypot(again_x - x, again_y - y) < step)

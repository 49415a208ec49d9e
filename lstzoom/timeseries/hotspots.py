"""Places that are hotter than what lies around them by more than chance and error explain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import dask.array as da
import numpy as np
import rasterio.features
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy import ndimage
from scipy.special import stdtr
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from lstzoom.errors import InputError
from lstzoom.grid import grid_of, pixel_metres
from lstzoom.timeseries.change import discovery_limit
from lstzoom.timeseries.cube import median_and_spread, require_cube

_SAMPLES: Final = 64
"""Pixels of the ring that are looked at: their median has a standard error of 0.16 of their spread."""
_LEAST_SAMPLES: Final = 16
_GOLDEN: Final = math.pi * (3 - math.sqrt(5))
_ROWS: Final = 64
_OF_MEDIAN: Final = math.pi / 2
"""Variance of a median times the number of normal values, over theirs."""
_MAD_EFFICIENCY: Final = 0.37
"""Of the MAD beside the standard deviation, for normal values."""


@dataclass(frozen=True, slots=True)
class Hotspot:
    """One hotspot.

    Attributes
    ----------
    temperature
        Hottest pixel, kelvin.
    mean_temperature
        Mean of the pixels, kelvin.
    excess
        Of the hottest pixel over its surroundings, kelvin.
    uncertainty
        Standard uncertainty of `excess`, kelvin.
    area
        Square metres.
    pixels
        Number of pixels.
    confidence
        1 - p of its strongest pixel, p adjusted for the number of pixels tested (Bonferroni): how sure it is
        that this is no chance among all pixels.
    geometry
        Outline in the CRS of the grid.
    """

    temperature: float
    mean_temperature: float
    excess: float
    uncertainty: float
    area: float
    pixels: int
    confidence: float
    geometry: BaseGeometry


def contrast(scene: xr.Dataset, *, inner: float = 60.0, outer: float = 200.0) -> xr.Dataset:
    """Compare every pixel with a ring around it.

    Parameters
    ----------
    scene
        With ``lst`` and ``lst_uncertainty`` (y, x), kelvin, on a grid with a CRS.
    inner, outer
        Radii of the ring, metres. A hotspot has to fit inside, or it raises what it is compared with.

    Returns
    -------
    xarray.Dataset
        ``excess`` over the median of the ring, ``spread`` of the ring (1.4826 MAD) and ``uncertainty`` of the
        excess, kelvin; ``p``, one-sided, that a pixel of the ring's (normal) population, measured with its
        own uncertainty, is as hot: by Student's t, as the spread is itself an estimate. NaN where less than
        16 pixels of the ring are known. Lazy if the scene is.

    Raises
    ------
    InputError
        If the radii do not make a ring of some pixels.
    """
    scene = require_cube(scene, uncertainty=True, time=False)
    offsets = _ring(inner, outer, pixel_metres(grid_of(scene.lst)))
    lst, uncertainty = scene.lst.astype(np.float32), scene.lst_uncertainty.astype(np.float32)
    reach = int(np.abs(offsets).max())
    if lst.chunks and min(lst.shape) <= reach:
        # dask lets blocks overlap by less than the whole only.
        whole = da.pad(lst.data.rechunk(-1), reach, constant_values=np.nan).rechunk(-1)
        chunks = ((3,), *((side,) for side in lst.shape))
        ring = whole.map_blocks(
            _around, offsets=offsets, reach=reach, new_axis=0, chunks=chunks, dtype=np.float32
        )
    elif lst.chunks:
        grown = da.overlap.overlap(lst.data, depth=reach, boundary=np.nan)
        chunks = ((3,), *(tuple(size - 2 * reach for size in sizes) for sizes in grown.chunks))
        ring = grown.map_blocks(
            _around, offsets=offsets, reach=reach, new_axis=0, chunks=chunks, dtype=np.float32
        )
    else:
        ring = _around(np.pad(lst.values, reach, constant_values=np.nan), offsets, reach=reach)
    median, spread, count = (lst.copy(data=ring[k]) for k in range(3))
    out = xr.Dataset({"excess": lst - median, "spread": spread})
    out["uncertainty"] = np.sqrt(uncertainty**2 + np.float32(_OF_MEDIAN) * spread**2 / count)
    out["p"] = xr.apply_ufunc(
        _one_sided,
        out.excess,
        spread,
        out.uncertainty,
        count,
        dask="parallelized",
        output_dtypes=[np.float32],
    )
    for name in ("excess", "spread", "uncertainty"):
        out[name].attrs = {"units": "K"}
    return out


def _ring(inner: float, outer: float, pixel: float) -> NDArray[np.intp]:
    """Offsets of pixels spread evenly over the ring, shape (n, 2)."""
    if not 0 < inner < outer:
        raise InputError(f"inner is {inner} and outer {outer} m; a ring needs 0 < inner < outer")
    share = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
    radius = np.sqrt(inner**2 + (outer**2 - inner**2) * share) / pixel
    turn = _GOLDEN * np.arange(_SAMPLES)
    offsets = np.unique(np.rint(np.stack([radius * np.sin(turn), radius * np.cos(turn)], axis=1)), axis=0)
    if len(offsets) < _LEAST_SAMPLES or np.hypot(*offsets.T).min() < 1:
        raise InputError(
            f"a ring from {inner:g} to {outer:g} m holds {len(offsets)} pixels of {pixel:g} m; widen it: "
            f"outer of {8 * pixel:g} m or more, inner of {2 * pixel:g} m or more"
        )
    return offsets.astype(np.intp)


def _around(lst: NDArray[np.float32], offsets: NDArray[np.intp], *, reach: int) -> NDArray[np.float32]:
    """Median, spread and number of known pixels of the ring of each pixel but a border of `reach`.

    Strip by strip of rows: all pixels of all rings at once are 64 times the block.
    """
    height, width = (size - 2 * reach for size in lst.shape)
    out = np.empty((3, height, width), np.float32)
    for top in range(0, height, _ROWS):
        stop = min(top + _ROWS, height)
        moved = [
            lst[reach + top + y : reach + stop + y, reach + x : reach + x + width]
            for y, x in offsets.tolist()
        ]
        median, spread, count = median_and_spread(np.stack(moved, axis=-1))
        known = count >= _LEAST_SAMPLES
        for k, plane in enumerate((median, spread, count)):
            out[k, top:stop] = np.where(known, plane, np.nan)
    return out


def _one_sided(
    excess: NDArray[Any], spread: NDArray[Any], uncertainty: NDArray[Any], count: NDArray[Any]
) -> NDArray[np.float32]:
    """Student's t: the spread itself is known from some pixels only, and from MAD worse than from squares."""
    sigma = np.sqrt(spread.astype(np.float64) ** 2 + uncertainty.astype(np.float64) ** 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = stdtr(_MAD_EFFICIENCY * (count.astype(np.float64) - 1), -excess / sigma)
    return np.where(sigma > 0, p, np.nan).astype(np.float32)


def hotspots(
    scene: xr.Dataset,
    *,
    inner: float = 60.0,
    outer: float = 200.0,
    alpha: float = 0.01,
    least_excess: float = 2.0,
    least_pixels: int = 1,
) -> list[Hotspot]:
    """Find hotspots of one date.

    Pixels whose `contrast` is a discovery among all pixels of the scene (Benjamini & Hochberg 1995) and of
    some size are joined with their neighbours, also over corners.

    Parameters
    ----------
    scene, inner, outer
        As for `contrast`.
    alpha
        Share of the marked pixels that may be false.
    least_excess
        Kelvin over the surroundings that a pixel needs.
    least_pixels
        Smaller hotspots are dropped.

    Returns
    -------
    list of Hotspot
        The largest excess first.

    Raises
    ------
    InputError
        As `contrast` does, and if `alpha` is not between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise InputError(f"alpha is {alpha}; give a number between 0 and 1, such as 0.01")
    found = contrast(scene, inner=inner, outer=outer)
    both = xr.merge([found, require_cube(scene, uncertainty=True, time=False)[["lst"]]]).compute()
    p, excess = both.p.values, both.excess.values
    marked = (p <= discovery_limit(p.ravel(), alpha)) & (excess >= least_excess)
    labels, count = ndimage.label(marked, structure=np.ones((3, 3)))
    if not count:
        return []
    grid = grid_of(both.lst)
    outlines = _outlines(labels, grid)
    tested = int(np.isfinite(p).sum())
    spots = [
        _spot(labels[part] == k, {n: both[n].values[part] for n in both.data_vars}, outlines[k], grid, tested)
        for k, part in enumerate(ndimage.find_objects(labels), 1)
    ]
    kept = [spot for spot in spots if spot.pixels >= least_pixels]
    return sorted(kept, key=lambda spot: (-spot.excess, spot.geometry.bounds))


def _outlines(labels: NDArray[Any], grid: GeoBox) -> dict[int, BaseGeometry]:
    """Outline of each label; pixels that touch at a corner make one outline of several parts."""
    parts: dict[int, list[BaseGeometry]] = {}
    found = rasterio.features.shapes(labels.astype(np.int32), labels > 0, transform=grid.affine)
    for geometry, label in found:
        parts.setdefault(int(label), []).append(shape(geometry))
    return {label: unary_union(several) for label, several in parts.items()}


def _spot(
    inside: NDArray[np.bool_],
    values: dict[Any, NDArray[Any]],
    outline: BaseGeometry,
    grid: GeoBox,
    tested: int,
) -> Hotspot:
    lst, excess = values["lst"][inside], values["excess"][inside]
    best = int(np.argmax(excess))
    return Hotspot(
        temperature=float(lst.max()),
        mean_temperature=float(lst.mean(dtype=np.float64)),
        excess=float(excess[best]),
        uncertainty=float(values["uncertainty"][inside][best]),
        area=float(inside.sum() * pixel_metres(grid) ** 2),
        pixels=int(inside.sum()),
        confidence=float(1 - min(1.0, float(values["p"][inside].min()) * tested)),
        geometry=outline,
    )

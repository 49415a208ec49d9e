"""The pair of grids: coarse LST pixels and the fine pixels that tile them exactly.

The coarse grid owns the geometry and is never resampled, because its values are what must be
conserved. The fine grid splits every coarse pixel into ``ratio`` x ``ratio`` pixels, and the
visible and near-infrared bands are put on it.

Grids are north-up: x grows with the column and y falls with the row. South-up files are turned
while they are read (see `lstzoom.raster`), which moves rows and changes no value; arrays that are
already in memory are turned with `north_up`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.geom import polygon
from pyproj import Geod

from lstzoom.errors import GridMismatchError
from lstzoom.types import YX

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from odc.geo.geom import Geometry

_MINIMUM_RATIO: Final = 2
_RATIO_TOLERANCE: Final = 1e-3
# Two projections scale the same pixel differently (0.5 % between neighbouring UTM zones), so the
# resolution seen across CRS is an estimate and cannot be held to the tolerance above.
_RATIO_TOLERANCE_ACROSS_CRS: Final = 1e-2
_DRIFT_TOLERANCE: Final = 0.1
_OUTLINE_POINTS: Final = 33
# A shear that moves no pixel of the scene by more than this is rounding in the file's header.
_SHEAR_TOLERANCE: Final = 1e-3
_SAME_GRID: Final = 0.01


class _Resolution(NamedTuple):
    """Positive pixel size in the units of a CRS."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class GridPair:
    """A coarse grid and the fine grid that divides it.

    Parameters
    ----------
    coarse
        Grid of the LST; north-up, with a CRS.
    ratio
        Number of fine pixels along the side of one coarse pixel, at least 2.

    Raises
    ------
    GridMismatchError
        If the ratio is below 2, or the coarse grid has no CRS or is not north-up.
    """

    coarse: GeoBox
    ratio: int

    def __post_init__(self) -> None:
        """Refuse what cannot be sharpened."""
        _require_regular(self.coarse, "LST")
        if self.ratio < _MINIMUM_RATIO:
            raise GridMismatchError(
                f"the ratio is {self.ratio} for the LST grid {describe_grid(self.coarse)}; "
                "sharpening needs at least 2 fine pixels per coarse pixel side"
            )

    @property
    def fine(self) -> GeoBox:
        """Grid with ``ratio`` times as many rows and columns and the same outer edges."""
        affine, ratio = self.coarse.affine, self.ratio
        # Dividing keeps 30 / 3 == 10 exact, which multiplying by a rounded 1 / 3 would not.
        split = Affine(
            affine.a / ratio,
            affine.b / ratio,
            affine.c,
            affine.d / ratio,
            affine.e / ratio,
            affine.f,
        )
        rows, columns = self.coarse.shape
        return GeoBox((rows * ratio, columns * ratio), split, self.coarse.crs)

    def fine_window(self, coarse_slices: tuple[slice, slice]) -> tuple[slice, slice]:
        """Return the fine pixels that tile a window of coarse pixels.

        Parameters
        ----------
        coarse_slices
            Slices along y and x with step 1; open ends mean the edge of the grid.

        Returns
        -------
        tuple of slice
            Slices along y and x of the fine grid.

        Raises
        ------
        GridMismatchError
            If a slice has another step than 1.
        """
        y, x = (
            _scaled_slice(part, size, self.ratio)
            for part, size in zip(coarse_slices, self.coarse.shape, strict=True)
        )
        return y, x


def _scaled_slice(part: slice, size: int, ratio: int) -> slice:
    start, stop, step = part.indices(size)
    if step != 1:
        raise GridMismatchError(f"{part} has step {step}; a window of the grid needs step 1")
    return slice(start * ratio, max(start, stop) * ratio)


def coincide(first: GeoBox, second: GeoBox) -> bool:
    """Tell whether two grids are the same, to 0.01 pixel at all corners.

    Parameters
    ----------
    first, second
        Grids, not sheared.

    Returns
    -------
    bool
    """
    if first.crs != second.crs or first.shape != second.shape:
        return False
    rows, columns = first.shape
    corners = [(0, 0), (columns, 0), (0, rows), (columns, rows)]
    apart = [np.subtract(first.affine @ corner, second.affine @ corner) for corner in corners]
    pixel = (abs(second.affine.a), abs(second.affine.e))
    return bool(np.max(np.abs(apart) / pixel) < _SAME_GRID)


def resolve_grids(lst: GeoBox, vnir: Sequence[GeoBox], ratio: int | None = None) -> GridPair:
    """Find the fine grid for a scene.

    Parameters
    ----------
    lst
        Grid of the coarse LST, taken as it is.
    vnir
        Grids of the reflectance bands, in any CRS; the finest sets the ratio.
    ratio
        Number of fine pixels along a coarse pixel, where it shall not follow from ``vnir``.
        The bands are then resampled to that grid whatever their own resolution.

    Returns
    -------
    GridPair
        The grid of ``lst`` and the ratio.

    Raises
    ------
    GridMismatchError
        If a grid has no CRS, is rotated or south-up, does not overlap ``lst``, or if the ratio is
        not an integer of 2 or more.

    Notes
    -----
    In one CRS the ratio must be an integer within 0.1 %, and the difference must add up to less
    than 0.1 fine pixel over the scene. Across CRS the resolution is estimated at the scene centre
    and 1 % is allowed, because the bands are warped in any case.
    """
    _require_regular(lst, "LST")
    for grid in vnir:
        _require_regular(grid, "VNIR")
        _require_overlap(lst, grid)
    if ratio is None:
        ratio = _finest_ratio(lst, vnir)
    return GridPair(lst, ratio)


def grid_of(array: xr.DataArray) -> GeoBox:
    """Return the grid that the coordinates of an array describe.

    Parameters
    ----------
    array
        Array with ``y`` and ``x`` (or latitude and longitude) dimensions.

    Returns
    -------
    GeoBox
        Grid with a CRS.

    Raises
    ------
    GridMismatchError
        If the coordinates or the CRS are missing, or the spacing is not regular.
    """
    import odc.geo.xr  # noqa: F401, PLC0415  (registers the ``.odc`` accessor; slow to import)

    grid = array.odc.geobox
    if not isinstance(grid, GeoBox) or not _is_even(array, grid):
        raise GridMismatchError(
            f"the array {array.name!r} with dimensions {dict(array.sizes)} has no regular x and y "
            f"coordinates (it has {sorted(map(str, array.coords))}); open it with rioxarray, or "
            "give it coordinates with odc.geo.xr.wrap_xr(values, geobox)"
        )
    if grid.crs is None:
        raise GridMismatchError(
            f"the array {array.name!r} has no CRS; set it with array.odc.assign_crs('EPSG:...') "
            "or array.rio.write_crs('EPSG:...')"
        )
    return grid


def _is_even(array: xr.DataArray, grid: GeoBox) -> bool:
    """Tell whether the coordinates are those of the grid, which odc-geo takes from their ends."""
    y, x = array.odc.spatial_dims
    affine, (rows, columns) = grid.affine, grid.shape
    if is_sheared(affine, YX(rows, columns)):
        return True  # the coordinates of such a grid are pixel numbers
    off_y = array[y].values - (affine.f + affine.e * (np.arange(rows) + 0.5))
    off_x = array[x].values - (affine.c + affine.a * (np.arange(columns) + 0.5))
    return bool(
        np.abs(off_y).max() < _DRIFT_TOLERANCE * abs(affine.e)
        and np.abs(off_x).max() < _DRIFT_TOLERANCE * abs(affine.a)
    )


def north_up(array: xr.DataArray) -> xr.DataArray:
    """Turn a south-up array so that y falls with the row.

    Parameters
    ----------
    array
        Array with a CRS and regular coordinates.

    Returns
    -------
    xarray.DataArray
        The same values, with the rows reversed where y grew; lazy if the input is.

    Raises
    ------
    GridMismatchError
        If the array has no grid.
    """
    if grid_of(array).affine.e < 0:
        return array
    turned = array.isel({array.odc.spatial_dims[0]: slice(None, None, -1)})
    # A stale GeoTransform would still describe the south-up order.
    for name, coord in turned.coords.items():
        if "GeoTransform" in coord.attrs:
            kept = {key: value for key, value in coord.attrs.items() if key != "GeoTransform"}
            turned = turned.assign_coords({name: coord.variable._replace(attrs=kept)})
    return turned


def pixel_metres(grid: GeoBox) -> float:
    """Side of a pixel in the middle of a grid, metres: the geometric mean of its two sides.

    Parameters
    ----------
    grid
        With a CRS.

    Returns
    -------
    float
    """
    x, y = abs(grid.resolution.x), abs(grid.resolution.y)
    assert grid.crs is not None  # noqa: S101  (refused before)
    crs = grid.crs.proj
    if not crs.is_geographic:
        return float(math.sqrt(x * y) * crs.axis_info[0].unit_conversion_factor)
    middle = _centre(grid)
    geod = crs.get_geod() or Geod(ellps="WGS84")
    east = geod.line_length([middle[0], middle[0] + x], [middle[1], middle[1]])
    north = geod.line_length([middle[0], middle[0]], [middle[1] - y / 2, middle[1] + y / 2])
    return float(math.sqrt(east * north))


def describe_grid(grid: GeoBox) -> str:
    """Say CRS, resolution, shape and bounds of a grid in one line, for messages."""
    affine = grid.affine
    crs = "no CRS"
    if grid.crs is not None:
        # A CRS without a code prints as pages of WKT.
        crs = f"EPSG:{grid.crs.epsg}" if grid.crs.epsg else grid.crs.proj.name
    bounds = ", ".join(f"{value:.10g}" for value in grid.boundingbox)
    return (
        f"[{crs}, pixel {affine.a:.10g} x {affine.e:.10g}, "
        f"shape {grid.shape.y} x {grid.shape.x}, bounds ({bounds})]"
    )


def _both(lst: GeoBox, vnir: GeoBox) -> str:
    return f"LST grid {describe_grid(lst)}; VNIR grid {describe_grid(vnir)}"


def _require_regular(grid: GeoBox, name: str) -> None:
    """Refuse what pixel arithmetic cannot serve: no CRS, rotation, south-up order."""
    if grid.crs is None:
        raise GridMismatchError(
            f"the {name} grid {describe_grid(grid)} has no CRS; set it, for example with "
            "gdal_edit.py -a_srs or array.rio.write_crs"
        )
    affine, (rows, columns) = grid.affine, grid.shape
    if is_sheared(affine, YX(rows, columns)):
        raise GridMismatchError(
            f"the {name} grid {describe_grid(grid)} is rotated or sheared "
            f"(row terms {affine.b:.6g}, {affine.d:.6g}); warp it to a north-up grid first"
        )
    if affine.a <= 0 or affine.e >= 0:
        raise GridMismatchError(
            f"the {name} grid {describe_grid(grid)} is not north-up; "
            "turn it with lstzoom.grid.north_up (files are turned while they are read)"
        )


def is_sheared(affine: Affine, shape: YX) -> bool:
    """Tell whether rows and columns are not parallel to the axes of the CRS."""
    # Written so that a pure 90 degree rotation, where a and e are 0, counts as sheared.
    along_x = abs(affine.b) * shape.y > _SHEAR_TOLERANCE * abs(affine.a)
    along_y = abs(affine.d) * shape.x > _SHEAR_TOLERANCE * abs(affine.e)
    return along_x or along_y


def _require_overlap(lst: GeoBox, vnir: GeoBox) -> None:
    outline = _outline(lst, vnir)
    # Grids that share an edge only intersect in a line, which has no area.
    if outline is None or (outline & vnir.extent).area <= 0:
        raise GridMismatchError(
            f"the VNIR grid does not overlap the LST grid: {_both(lst, vnir)}; "
            "give bands that cover the LST scene, and check the CRS of both"
        )


def _outline(lst: GeoBox, vnir: GeoBox) -> Geometry | None:
    """Return the outline of the LST grid in the CRS of VNIR, None where that is not defined."""
    if vnir.crs == lst.crs:
        return lst.extent
    assert lst.crs is not None  # noqa: S101  (refused before)
    assert vnir.crs is not None  # noqa: S101
    edge = np.linspace(0.0, 1.0, _OUTLINE_POINTS)
    column = np.concatenate([edge, np.ones_like(edge), edge[::-1], np.zeros_like(edge)])
    row = np.roll(column, _OUTLINE_POINTS)
    left, bottom, right, top = lst.boundingbox.bbox
    x, y = lst.crs.transformer_to_crs(vnir.crs)(left + (right - left) * column, top + (bottom - top) * row)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    return polygon(list(zip(x.tolist(), y.tolist(), strict=True)), vnir.crs)


def _finest_ratio(lst: GeoBox, vnir: Sequence[GeoBox]) -> int:
    if not vnir:
        raise GridMismatchError(
            f"there is no VNIR grid to take the ratio from for the LST grid {describe_grid(lst)}; "
            "give at least one band, or the ratio"
        )
    resolutions = [_resolution_in(lst, grid) for grid in vnir]
    sizes = [resolution.x * resolution.y for resolution in resolutions]
    finest = sizes.index(min(sizes))
    return _integer_ratio(lst, vnir[finest], resolutions[finest])


def _resolution_in(lst: GeoBox, grid: GeoBox) -> _Resolution:
    """Pixel size of a grid in the CRS of the LST, estimated at the scene centre if they differ."""
    if grid.crs == lst.crs:
        return _Resolution(abs(grid.affine.a), abs(grid.affine.e))
    assert lst.crs is not None  # noqa: S101  (refused before)
    assert grid.crs is not None  # noqa: S101
    forward, back = lst.crs.transformer_to_crs(grid.crs), grid.crs.transformer_to_crs(lst.crs)
    x, y = forward(*_centre(lst))
    dx, dy = grid.affine.a, grid.affine.e
    (x0, y0), (x1, y1), (x2, y2) = back(x, y), back(x + dx, y), back(x, y + dy)
    return _Resolution(math.hypot(x1 - x0, y1 - y0), math.hypot(x2 - x0, y2 - y0))


def _centre(grid: GeoBox) -> tuple[float, float]:
    rows, columns = grid.shape
    affine = grid.affine
    return affine.c + affine.a * columns / 2, affine.f + affine.e * rows / 2


def _finer_bands(exact_x: float, exact_y: float) -> str:
    """Say what to do where VNIR is not finer; where it is coarser, the two were likely swapped."""
    if max(exact_x, exact_y) >= 1:
        return "give finer bands"
    return (
        "are they swapped? Commands take LST first and then VNIR (lstzoom sharpen LST VNIR), functions VNIR "
        "first (lstzoom.sharpen(vnir, lst)); if not, give finer bands"
    )


def _integer_ratio(lst: GeoBox, vnir: GeoBox, fine: _Resolution) -> int:
    exact_x, exact_y = abs(lst.affine.a) / fine.x, abs(lst.affine.e) / fine.y
    ratio = round((exact_x + exact_y) / 2)
    seen = f"{exact_x:.6g}" if math.isclose(exact_x, exact_y) else f"{exact_x:.6g} x {exact_y:.6g}"
    if ratio < _MINIMUM_RATIO:
        raise GridMismatchError(
            f"VNIR is not finer than LST (LST / VNIR pixel {seen}, needed at least 2): "
            f"{_both(lst, vnir)}; {_finer_bands(exact_x, exact_y)}"
        )
    across = vnir.crs != lst.crs
    tolerance = _RATIO_TOLERANCE_ACROSS_CRS if across else _RATIO_TOLERANCE
    error_x, error_y = abs(exact_x - ratio) / ratio, abs(exact_y - ratio) / ratio
    drift = max(error_x * lst.shape.x, error_y * lst.shape.y) * ratio
    why = ""
    if max(error_x, error_y) > tolerance:
        why = "is not an integer, the same along x and y"
    elif not across and drift >= _DRIFT_TOLERANCE:
        why = f"drifts by {drift:.3g} fine pixels over the scene (allowed {_DRIFT_TOLERANCE})"
    if why:
        raise GridMismatchError(
            f"the LST / VNIR pixel ratio {seen} {why}: {_both(lst, vnir)}; "
            f"--ratio {ratio} puts VNIR on the {ratio}-fold grid of LST"
        )
    return ratio

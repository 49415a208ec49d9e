"""Statistics of assets: polygons over pixels, each pixel with the share of it that lies inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyproj
import shapely
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry

from lstzoom.errors import InputError, import_extra
from lstzoom.grid import grid_of, north_up, pixel_metres
from lstzoom.timeseries.cube import require_cube

_STATISTICS: Final = ("mean", "min", "max", "median", "stdev", "count")


def zonal_statistics(
    cube: xr.Dataset,
    assets: Mapping[str, Any],
    *,
    crs: str = "OGC:CRS84",
    quantiles: tuple[float, ...] = (0.9,),
) -> list[dict[str, Any]]:
    """Temperature of every asset on every date, by exact areas (exactextract).

    Parameters
    ----------
    cube
        With ``lst`` and, if there is one, ``lst_uncertainty``, (time, y, x) or (y, x), kelvin. Only the
        window around the assets is read.
    assets
        GeoJSON FeatureCollection of polygons.
    crs
        Of the polygons: GeoJSON has longitude and latitude.
    quantiles
        Wanted, 0 to 1.

    Returns
    -------
    list of dict
        For every asset and date: ``asset`` (id of the feature, or its number), ``properties``, ``time`` (ISO,
        or None), ``mean``, ``min``, ``max``, ``median``, ``stdev``, ``q90`` in kelvin; ``area`` inside that
        has values and ``coverage``, its share of the polygon; ``mean_uncertainty``: mean of the standard
        uncertainties, which is that of the mean if errors are the same all over the asset, and too much if
        they are not. None where nothing is known. Areas are planar, in the CRS of the grid.

    Raises
    ------
    MissingExtraError
        If the extra "tables" is not installed.
    InputError
        If there is no polygon, or an asset lies off the grid as a whole.
    """
    exact = import_extra("exactextract", "tables")
    timed = "time" in cube.dims
    uncertain = "lst_uncertainty" in cube
    cube = require_cube(cube, uncertainty=uncertain, time=timed)
    cube = xr.Dataset({name: north_up(variable) for name, variable in cube.data_vars.items()})
    grid = grid_of(cube.lst.isel(time=0) if timed else cube.lst)
    shapes = _shapes(assets, crs, grid)
    cube, grid = _window(cube, grid, shapes)
    names = [*_STATISTICS, *(f"quantile(q={q:g})" for q in quantiles)]
    rows: list[dict[str, Any]] = []
    for k in range(cube.sizes["time"] if timed else 1):
        date = (cube.isel(time=k) if timed else cube).compute()
        when = str(np.datetime_as_string(cube.time.values[k], unit="s")) if timed else None
        lst = _extract(exact, date.lst.values, grid, shapes, names)
        error = _extract(exact, date.lst_uncertainty.values, grid, shapes, ["mean"]) if uncertain else None
        for n, feature in enumerate(assets["features"]):
            row = {
                "asset": feature.get("id", n),
                "properties": dict(feature.get("properties") or {}),
                "time": when,
            }
            row |= _row(lst[n], quantiles, shapes[n], grid)
            row["mean_uncertainty"] = None if error is None else _known(error[n]["mean"])
            rows.append(row)
    return rows


def _shapes(assets: Mapping[str, Any], crs: str, grid: GeoBox) -> list[BaseGeometry]:
    features = assets.get("features")
    if not features:
        raise InputError("assets hold no feature; give a GeoJSON FeatureCollection of polygons")
    move = pyproj.Transformer.from_crs(crs, pyproj.CRS(str(grid.crs)), always_xy=True).transform
    shapes = []
    for n, feature in enumerate(features):
        geometry = shape(feature["geometry"]) if feature.get("geometry") else None
        if geometry is None or geometry.geom_type not in ("Polygon", "MultiPolygon") or geometry.is_empty:
            raise InputError(f"feature {n} of the assets is no polygon; give Polygon or MultiPolygon")
        shapes.append(shapely.transform(geometry, move, interleaved=False))
    return shapes


def _window(cube: xr.Dataset, grid: GeoBox, shapes: list[BaseGeometry]) -> tuple[xr.Dataset, GeoBox]:
    """Cut the cube to the assets."""
    pixels = ~grid.affine
    corners = []
    for n, one in enumerate(shapes):
        left, bottom, right, top = one.bounds
        first, last = pixels @ (left, top), pixels @ (right, bottom)
        if not (last[0] > 0 and last[1] > 0 and first[0] < grid.shape.x and first[1] < grid.shape.y):
            raise InputError(
                f"feature {n} of the assets lies beside the grid as a whole; check its CRS, or leave it out"
            )
        corners.append((*first, *last))
    x0, y0, x1, y1 = np.array(corners).T
    rows = slice(max(0, int(y0.min())), min(grid.shape.y, int(np.ceil(y1.max())) + 1))
    columns = slice(max(0, int(x0.min())), min(grid.shape.x, int(np.ceil(x1.max())) + 1))
    return cube.isel(y=rows, x=columns), grid[rows, columns]


def _extract(
    exact: Any,  # noqa: ANN401  (a module)
    values: NDArray[Any],
    grid: GeoBox,
    shapes: list[BaseGeometry],
    names: list[str],
) -> list[dict[str, Any]]:
    box, wkt = grid.boundingbox, pyproj.CRS(str(grid.crs)).to_wkt()
    raster = exact.raster.NumPyRasterSource(
        values.astype(np.float64), xmin=box.left, ymin=box.bottom, xmax=box.right, ymax=box.top, srs_wkt=wkt
    )
    features = exact.feature.JSONFeatureSource(
        [{"type": "Feature", "properties": {}, "geometry": mapping(one)} for one in shapes], srs_wkt=wkt
    )
    return [one["properties"] for one in exact.exact_extract(raster, features, names)]


def _row(
    found: Mapping[str, Any], quantiles: tuple[float, ...], outline: BaseGeometry, grid: GeoBox
) -> dict[str, Any]:
    row: dict[str, Any] = {name: _known(found[name]) for name in _STATISTICS if name != "count"}
    for q in quantiles:
        row[f"q{100 * q:g}"] = _known(found[f"quantile_{round(100 * q)}"])
    share = float(found["count"] or 0.0) * abs(grid.resolution.x * grid.resolution.y)
    row["area"] = float(found["count"] or 0.0) * pixel_metres(grid) ** 2
    row["coverage"] = min(1.0, share / outline.area)
    return row


def _known(value: Any) -> float | None:  # noqa: ANN401  (missing values come as None or NaN)
    return float(value) if value is not None and np.isfinite(value) else None

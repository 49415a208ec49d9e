"""Tables of hotspots and assets: GeoJSON always, GeoParquet with an extra."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyproj
import shapely
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from lstzoom.artefact import put
from lstzoom.errors import InputError, import_extra
from lstzoom.timeseries.hotspots import Hotspot

_DIGITS = 7
"""Decimals of degrees: a centimetre."""


def to_geojson(
    spots: Sequence[Hotspot],
    crs: Any,  # noqa: ANN401  (odc and pyproj)
    properties: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Make a GeoJSON FeatureCollection of hotspots (RFC 7946: longitude and latitude).

    Parameters
    ----------
    spots
        From `lstzoom.timeseries.hotspots`.
    crs
        Of their outlines: ``scene.odc.crs``, or what pyproj knows, as "EPSG:32632".
    properties
        Added to every feature: date, scene.

    Returns
    -------
    dict
        Kelvin, square metres; names as in `Hotspot`.
    """
    to_degrees = pyproj.Transformer.from_crs(pyproj.CRS(str(crs)), "EPSG:4326", always_xy=True).transform
    features = [
        {
            "type": "Feature",
            "id": number,
            "geometry": _rounded(mapping(shapely.transform(spot.geometry, to_degrees, interleaved=False))),
            "properties": {**_properties(spot), **(properties or {})},
        }
        for number, spot in enumerate(spots)
    ]
    return {"type": "FeatureCollection", "features": features}


def _properties(spot: Hotspot) -> dict[str, Any]:
    return {field.name: getattr(spot, field.name) for field in fields(spot) if field.name != "geometry"}


def _rounded(value: Any) -> Any:  # noqa: ANN401  (JSON)
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(one) for one in value]
    return round(value, _DIGITS) if isinstance(value, float) else value


def write_geojson(table: Mapping[str, Any], path: str | Path, *, overwrite: bool = False) -> None:
    """Write a FeatureCollection; the file appears when it is complete.

    Raises
    ------
    InputError
        If the file exists or cannot be written, or a value has no place in JSON (NaN).
    """
    # A number that is none has no place in JSON.
    try:
        text = json.dumps(table, allow_nan=False, ensure_ascii=False, indent=1)
    except (ValueError, TypeError) as error:
        raise InputError(f"a value has no place in GeoJSON ({error}); give None in its place") from error
    put(path, f"{text}\n".encode(), overwrite=overwrite)


def write_geoparquet(
    spots: Sequence[Hotspot],
    crs: Any,  # noqa: ANN401  (odc and pyproj)
    path: str | Path,
    properties: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write hotspots as GeoParquet in their own CRS; arguments as for `to_geojson`.

    Raises
    ------
    InputError
        If the file exists or cannot be written.
    MissingExtraError
        If the extra "tables" is not installed.
    """
    import_extra("pyarrow", "tables")
    geopandas = import_extra("geopandas", "tables")
    names = [field.name for field in fields(Hotspot) if field.name != "geometry"]
    rows: dict[str, Any] = {name: [getattr(spot, name) for spot in spots] for name in names}
    rows |= {name: [value] * len(spots) for name, value in (properties or {}).items()}
    shapes: list[BaseGeometry] = [spot.geometry for spot in spots]
    file = io.BytesIO()
    geopandas.GeoDataFrame(rows, geometry=shapes, crs=str(crs)).to_parquet(file)
    put(path, file.getvalue(), overwrite=overwrite)

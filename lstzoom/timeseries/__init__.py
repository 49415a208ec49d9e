"""What a cube of temperatures of one place tells: season, trend, anomalies, change, hotspots, assets.

A cube is an `xarray.Dataset` with ``lst`` (time, y, x) in kelvin and, where significance is asked for,
``lst_uncertainty`` (standard uncertainty, kelvin). Functions on pixels stay lazy on dask arrays and give the
same for any chunking. docs/timeseries.md says what the figures mean and where they end.
"""

from __future__ import annotations

from lstzoom.timeseries.change import difference
from lstzoom.timeseries.hotspots import Hotspot, contrast, hotspots
from lstzoom.timeseries.season import anomalies, climatology, harmonic, relative
from lstzoom.timeseries.tables import to_geojson, write_geojson, write_geoparquet
from lstzoom.timeseries.trends import trend
from lstzoom.timeseries.zones import zonal_statistics

__all__ = [
    "Hotspot",
    "anomalies",
    "climatology",
    "contrast",
    "difference",
    "harmonic",
    "hotspots",
    "relative",
    "to_geojson",
    "trend",
    "write_geojson",
    "write_geoparquet",
    "zonal_statistics",
]

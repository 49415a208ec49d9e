"""Results of one grid over time as one Zarr store: made, filled by many writers, read by anything.

A cube is a Zarr v3 group of sharded arrays (time, y, x) with coordinates, CF metadata and the conventions of
GeoZarr. One shard is one tile of one date, written whole; so any number of processes write at once, without
locks, and what is written again is the same. docs/product.md describes the store.

    spec = CubeSpec(geobox, shard=768)
    places = create("s3://bucket/cube.zarr", spec, times, exist_ok=True)
    write_region("s3://bucket/cube.zarr", places[0], window, {"lst": lst, "qa": qa})  # on any worker
    build_pyramid("s3://bucket/cube.zarr")
    finalise("s3://bucket/cube.zarr")
"""

from __future__ import annotations

from lstzoom.cube.finish import finalise
from lstzoom.cube.pyramid import build_pyramid, clear_date
from lstzoom.cube.reading import open_cube
from lstzoom.cube.regions import write_region
from lstzoom.cube.spec import VARIABLES, CubeSpec, ZarrVariable, result_variable
from lstzoom.cube.store import open_store
from lstzoom.cube.template import append_times, create, retime

__all__ = [
    "VARIABLES",
    "CubeSpec",
    "ZarrVariable",
    "append_times",
    "build_pyramid",
    "clear_date",
    "create",
    "finalise",
    "open_cube",
    "open_store",
    "result_variable",
    "retime",
    "write_region",
]

"""The conventions of GeoZarr: ``proj:``, ``spatial:`` and ``multiscales`` (zarr-conventions, version 0.1).

They say once more, in JSON, what CF says with ``spatial_ref`` and coordinates; readers know one or the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

_AT: Final = "https://raw.githubusercontent.com/zarr-conventions/{0}/refs/tags/v0.1/schema.json"
_TOLD: Final = "https://github.com/zarr-conventions/{0}/blob/v0.1/README.md"
_CONVENTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "proj": (
        "f17cb550-5864-4468-aeb7-f3180cfb622f",
        "Coordinate reference system information for geospatial data",
    ),
    "spatial": ("689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "Spatial coordinate information"),
    "multiscales": ("d35379db-88df-4056-af3a-620245f8e347", "Multiscale layout of zarr datasets"),
}
ROOT: Final = "."
"""The level that lies beside the metadata of the pyramid: the full resolution."""


def conventions(*names: str) -> list[dict[str, str]]:
    """Declare conventions, as ``zarr_conventions`` lists them."""
    return [
        {
            "schema_url": _AT.format(name),
            "spec_url": _TOLD.format(name),
            "uuid": _CONVENTIONS[name][0],
            "name": name,
            "description": _CONVENTIONS[name][1],
        }
        for name in names
    ]


def of_grid(geobox: GeoBox) -> dict[str, Any]:
    """Attributes of a group whose arrays lie on one grid.

    Parameters
    ----------
    geobox
        Grid of dimensions (y, x).
    """
    return {
        "zarr_conventions": conventions("proj", "spatial"),
        **_crs(geobox),
        "spatial:dimensions": ["y", "x"],
        "spatial:bbox": list(geobox.boundingbox.bbox),
        "spatial:registration": "pixel",
        **_place(geobox),
    }


def of_pyramid(levels: Sequence[tuple[str, str, GeoBox, int]], method: str) -> dict[str, Any]:
    """Attributes of a group that holds the full resolution, and coarser levels below it.

    Parameters
    ----------
    levels
        Name, name of the level it was made from, grid, and factor to that level; the full resolution is
        `ROOT`, made from itself.
    method
        How pixels were joined.

    Notes
    -----
    ``spatial:transform`` and ``spatial:shape`` stand with every level and no longer with the group, as the
    convention asks.
    """
    grid = of_grid(levels[0][2])
    shared = {key: value for key, value in grid.items() if key not in ("spatial:transform", "spatial:shape")}
    return {
        **shared,
        "zarr_conventions": conventions("proj", "spatial", "multiscales"),
        "multiscales": {"layout": [_level(*one) for one in levels], "resampling_method": method},
    }


def _level(name: str, source: str, geobox: GeoBox, factor: int) -> dict[str, Any]:
    derived = {} if name == source else {"derived_from": source}
    transform = {"scale": [float(factor)] * 2, "translation": [0.0, 0.0]}
    return {"asset": name, **derived, "transform": transform, **_place(geobox)}


def _place(geobox: GeoBox) -> dict[str, Any]:
    return {"spatial:transform": list(geobox.affine)[:6], "spatial:shape": list(geobox.shape)}


def _crs(geobox: GeoBox) -> dict[str, Any]:
    crs = geobox.crs
    if crs is None:
        return {}
    authority, code = crs.authority
    if authority and code:
        return {"proj:code": f"{authority}:{code}"}
    return {"proj:wkt2": crs.to_wkt()}

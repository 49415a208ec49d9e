"""STAC items of results and their collection: what is where, on which grid, and how it is encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from odc.geo.geobox import GeoBox

import lstzoom
from lstzoom.encoding import ENCODINGS, QA
from lstzoom.kernels.quality import MEANINGS
from lstzoom.kernels.quality import QA as FLAGS
from lstzoom.product.fields import COG_TYPE, crs_fields, json_number, outline

_EXTENSIONS: Final = {
    "proj": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "raster": "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "classification": "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
}
_ZARR_TYPE: Final = "application/vnd.zarr; version=3"
_TITLES: Final = {
    "lst": ("Land surface temperature, sharpened", ["data", "temperature"]),
    "lst_uncertainty": ("Standard uncertainty of land surface temperature", ["data", "uncertainty"]),
    "qa": ("Where a value comes from", ["metadata", "quality"]),
}


@dataclass(frozen=True, slots=True)
class Described:
    """What items of one scene share.

    Attributes
    ----------
    scene
        Key of the scene.
    when
        Time of the LST.
    collection
        Id of the collection.
    encoding
        Name of the encoding of temperature.
    properties
        Further properties.
    """

    scene: str
    when: datetime
    collection: str
    encoding: str
    properties: Mapping[str, Any]


def make_item(
    described: Described,
    name: str,
    grid: GeoBox,
    cogs: Mapping[str, str],
    cube: str | None = None,
    told: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Describe a tile or a whole scene.

    Parameters
    ----------
    described
        Of the scene.
    name
        Of the tile; ``"scene"`` for the whole.
    grid
        Fine grid of what is described.
    cogs
        Address of the COG by layer, relative to the item.
    cube
        Address of the cube, relative to the item.
    told
        Of the quality of values: ``lstzoom_<name>`` and a number, `lstzoom.jobs.ledger.account`.

    Returns
    -------
    dict
        STAC 1.1 item.
    """
    edge = outline(grid)
    rows, columns = grid.shape
    assets: dict[str, Any] = {layer: _cog(layer, href, described.encoding) for layer, href in cogs.items()}
    if cube is not None:
        assets["zarr"] = {"href": cube, "type": _ZARR_TYPE, "roles": ["data"], "title": "Cube of all dates"}
    used = ["proj", "raster", "classification"] if "qa" in cogs else ["proj", "raster"] if cogs else ["proj"]
    return {
        "type": "Feature", "stac_version": "1.1.0", "stac_extensions": [_EXTENSIONS[one] for one in used],
        "id": described.scene if name == "scene" else f"{described.scene}_{name}",
        "collection": described.collection,
        "geometry": {"type": "Polygon", "coordinates": [edge.tolist()]},
        "bbox": [*edge.min(0).tolist(), *edge.max(0).tolist()],
        "properties": {
            "datetime": described.when.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "gsd": abs(grid.affine.a), "proj:shape": [rows, columns],
            "proj:transform": list(grid.affine)[:6], **crs_fields(grid), **described.properties,
            **{name.replace("_", ":", 1): value for name, value in (told or {}).items()},
        },
        "links": [
            {"rel": rel, "href": "../../collection.json", "type": "application/json"}
            for rel in ("root", "parent", "collection")
        ],
        "assets": assets,
    }  # fmt: skip


def _cog(layer: str, href: str, encoding: str) -> dict[str, Any]:
    title, roles = _TITLES[layer]
    stored = QA if layer == "qa" else ENCODINGS[encoding]
    band: dict[str, Any] = {"name": layer, "data_type": stored.dtype}
    if stored.nodata is not None:
        band["nodata"] = json_number(stored.nodata) if np.isfinite(stored.nodata) else "nan"
    if layer != "qa":
        band |= {"unit": "kelvin", "raster:scale": stored.scale, "raster:offset": stored.offset}
    found: dict[str, Any] = {"href": href, "type": COG_TYPE, "roles": roles, "title": title, "bands": [band]}
    if layer == "qa":
        found["classification:classes"] = [
            {"value": int(flag), "name": MEANINGS[flag], "description": MEANINGS[flag].replace("_", " ")}
            for flag in FLAGS
        ]
    return found


def make_collection(
    name: str, licence: str, scenes: Sequence[tuple[datetime, GeoBox]], items: Sequence[str]
) -> dict[str, Any]:
    """Describe all results of a store.

    Parameters
    ----------
    name
        Id.
    licence
        Of the data it was made from.
    scenes
        Time and fine grid of each.
    items
        Addresses of the items, relative to the collection.

    Returns
    -------
    dict
        STAC 1.1 collection.
    """
    edges = np.concatenate([outline(grid) for _, grid in scenes])
    times = [when.astimezone(UTC).isoformat().replace("+00:00", "Z") for when, _ in scenes]
    return {
        "type": "Collection", "stac_version": "1.1.0", "id": name,
        "description": "Land surface temperature sharpened with reflectance.",
        "license": licence if _is_licence(licence) else "other",
        "extent": {
            "spatial": {"bbox": [[*edges.min(0).tolist(), *edges.max(0).tolist()]]},
            "temporal": {"interval": [[min(times), max(times)]]},
        },
        "providers": [{"name": f"lstzoom {lstzoom.__version__}", "roles": ["processor"]}],
        "links": [
            {"rel": "root", "href": "./collection.json", "type": "application/json"},
            *({"rel": "item", "href": f"./{one}", "type": "application/geo+json"} for one in items),
        ],
    }  # fmt: skip


def _is_licence(text: str) -> bool:
    """Tell whether a text can be an SPDX identifier."""
    return bool(text) and all(part.isalnum() for part in text.replace("-", "").replace(".", "").split("+"))

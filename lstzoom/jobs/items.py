"""STAC items of results and their collection: what is where, on which grid, and how it is encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from odc.geo.geobox import GeoBox

import lstzoom
from lstzoom.encoding import ENCODINGS, QA
from lstzoom.product.fields import (
    COG_TYPE,
    ZARR_TYPE,
    crs_fields,
    file_fields,
    flag_classes,
    footprint,
    joined_bounds,
    json_number,
    processing_fields,
    statistics,
    temperature_render,
    used_extensions,
)

_TITLES: Final = {
    "lst": ("Land surface temperature, sharpened", ["data", "temperature"]),
    "lst_uncertainty": ("Standard uncertainty of land surface temperature", ["data", "uncertainty"]),
    "qa": ("Where a value comes from", ["data", "metadata", "quality"]),
}
_MEDIA_TYPES: Final = {
    "json": "application/geo+json", "geojson": "application/geo+json", "jp2": "image/jp2",
    "tif": "image/tiff; application=geotiff", "tiff": "image/tiff; application=geotiff",
}  # fmt: skip
_LINEAGE: Final = (
    "Land surface temperature of the item named by lstzoom:lst_item, sharpened with the reflectance of those "
    "named by lstzoom:vnir_items."
)


@dataclass(frozen=True, slots=True)
class File:
    """A file of a store.

    Attributes
    ----------
    key
        Where in the store.
    size
        Bytes.
    sha256
        Of its content.
    """

    key: str
    size: int
    sha256: str


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
    sources
        Name and address of the items, or the files, that it was made of.
    """

    scene: str
    when: datetime
    collection: str
    encoding: str
    properties: Mapping[str, Any]
    sources: Sequence[tuple[str, str]] = ()


def make_item(
    described: Described,
    name: str,
    grid: GeoBox,
    cogs: Mapping[str, File],
    cube: str | None = None,
    told: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Describe a tile or a whole scene, in the same bytes for the same results.

    Parameters
    ----------
    described
        Of the scene.
    name
        Of the tile; ``"scene"`` for the whole.
    grid
        Fine grid of what is described.
    cogs
        Its COGs by layer.
    cube
        Key of the cube.
    told
        Of the values: an entry of the ledger, or what such entries come to, `lstzoom.jobs.ledger.sum_up`.

    Returns
    -------
    dict
        STAC 1.1 item.
    """
    area, bounds = footprint(grid)
    rows, columns = grid.shape
    place = {
        "proj:shape": [rows, columns], "proj:transform": list(grid.affine)[:6], **crs_fields(grid),
        "proj:bbox": list(grid.boundingbox.bbox),
    }  # fmt: skip
    found = _statistics(told or {})
    assets = {layer: _cog(layer, file, described.encoding) | place for layer, file in cogs.items()}
    properties = {
        "datetime": _spelled(described.when),
        "gsd": abs(grid.affine.a), **place, **processing_fields(_LINEAGE), "product:type": "LSTzoom",
        **described.properties,
        **{name.replace("_", ":", 1): one for name, one in figures(told or {}).items()},
    }  # fmt: skip
    if found is not None and "lst" in assets:
        assets["lst"]["bands"][0]["statistics"] = found
        if name == "scene":
            # Tiles side by side would each have colours of their own.
            ends = found["minimum"], found["maximum"]
            properties["renders"] = temperature_render(*ends, ENCODINGS[described.encoding])
    if cube is not None:
        assets["zarr"] = {
            "href": f"../../{cube}", "type": ZARR_TYPE, "roles": ["data"], "title": "Cube of all dates",
        }  # fmt: skip
    item = {
        "type": "Feature", "stac_version": "1.1.0", "stac_extensions": [],
        "id": described.scene if name == "scene" else f"{described.scene}_{name}",
        "collection": described.collection, "geometry": area, "bbox": bounds, "properties": properties,
        "links": [
            *(
                {"rel": rel, "href": "../../collection.json", "type": "application/json"}
                for rel in ("root", "parent", "collection")
            ),
            *(
                {"rel": "derived_from", "href": href, **_media_type(href), "title": title}
                for title, href in described.sources
            ),
        ],
        "assets": assets,
    }  # fmt: skip
    return item | {"stac_extensions": used_extensions(item)}


def _media_type(href: str) -> dict[str, str]:
    """Tell items from the files that may stand in their place; of other files nothing is said."""
    _, dot, ending = href.lower().rpartition("/")[2].rpartition(".")
    # Addresses of services end in the id of the item.
    found = _MEDIA_TYPES.get(ending if dot or "://" not in href else "json")
    return {} if found is None else {"type": found}


def figures(told: Mapping[str, Any]) -> dict[str, float]:
    """Take from a record what it says of the quality of values."""
    return {name: value for name, value in told.items() if name.startswith("lstzoom_")}


def _spelled(when: datetime) -> str:
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _statistics(told: Mapping[str, Any]) -> dict[str, float] | None:
    """Of temperature, kelvin; None where there is none."""
    kelvin = told.get("kelvin")
    if kelvin is None:
        return None
    mean = kelvin["mean"] if "mean" in kelvin else kelvin["sum"] / told["valid"]
    return statistics(kelvin["min"], kelvin["max"], mean, told["valid"])


def _cog(layer: str, file: File, encoding: str) -> dict[str, Any]:
    title, roles = _TITLES[layer]
    stored = QA if layer == "qa" else ENCODINGS[encoding]
    band: dict[str, Any] = {"name": layer, "data_type": stored.dtype}
    if stored.nodata is not None:
        band["nodata"] = json_number(stored.nodata)
    if layer == "qa":
        band["classification:classes"] = flag_classes()
    else:
        band |= {"unit": "kelvin", "raster:scale": stored.scale, "raster:offset": stored.offset}
    return {
        "href": f"../../{file.key}", "type": COG_TYPE, "roles": roles, "title": title, "bands": [band],
        **file_fields(file.size, file.sha256),
    }  # fmt: skip


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
    bounds = joined_bounds([footprint(grid)[1] for _, grid in scenes])
    times = [_spelled(when) for when, _ in scenes]
    return {
        "type": "Collection", "stac_version": "1.1.0", "id": name,
        "description": "Land surface temperature sharpened with reflectance.",
        "license": licence if _is_licence(licence) else "other",
        "extent": {
            "spatial": {"bbox": [bounds]},
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

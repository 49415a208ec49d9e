"""The STAC item of a product that lstzoom wrote, and the collection of several.

What `lstzoom.product.ingest` says of any bundle, and beside: how it was processed, from what, statistics,
checksums, and how to show it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pystac

import lstzoom
from lstzoom.errors import InputError
from lstzoom.product.fields import (
    COG_TYPE,
    file_fields,
    processing_fields,
    statistics,
    temperature_render,
    used_extensions,
)
from lstzoom.product.item import ingest
from lstzoom.product.rewrite import PRODUCT

if TYPE_CHECKING:
    from lstzoom.encoding import Encoding
    from lstzoom.product.bundle import Bundle
    from lstzoom.product.survey import Survey

ITEM_FILE: Final = "stac_item.json"
COLLECTION_FILE: Final = "collection.json"
COLLECTION: Final = "lstzoom"
_LINEAGE: Final = (
    "Land surface temperature of the product named as derived_from, sharpened with its reflectance. The "
    "metadata tell method, settings, checksums, and how well the coarse temperature is conserved."
)
_RGBA: Final = ("red", "green", "blue", "alpha")


def describe(
    written: Bundle, source: Bundle, found: Survey, encoding: Encoding, processed: datetime
) -> dict[str, Any]:
    """Describe a product that was written to a folder.

    Parameters
    ----------
    written
        The product, opened again.
    source
        Its input.
    found
        Figures of the result.
    encoding
        Of the temperature.
    processed
        Start of the processing, UTC.

    Returns
    -------
    dict
        STAC item; links to its files are relative to the folder.
    """
    item = ingest(written)
    version = written.metadata.sharpening or {}
    software = version.get("software") or {"version": lstzoom.__version__}
    item.properties |= {
        "created": pystac.utils.datetime_to_str(processed),
        "processing:datetime": pystac.utils.datetime_to_str(processed),
        **processing_fields(_LINEAGE, str(software["version"])),
        "product:type": PRODUCT,
        "renders": temperature_render(*found.kelvin_shown, encoding),
    }
    if item.assets["lst"].extra_fields["bands"]:
        item.assets["lst"].extra_fields["bands"][0]["statistics"] = _statistics(found)
    _complete(item, Path(written.location))
    content: dict[str, Any] = item.to_dict(include_self_link=False)
    content["stac_extensions"] = used_extensions(content)
    content["collection"] = COLLECTION
    content["links"] = _links(source)
    return content


def _statistics(found: Survey) -> dict[str, float]:
    """Of the temperature, in kelvin."""
    kelvin = found.kelvin
    return statistics(kelvin.least, kelvin.most, kelvin.total / max(kelvin.count, 1), kelvin.count)


def _complete(item: pystac.Item, folder: Path) -> None:
    """Add size and checksum of every file, and make links relative."""
    for kind, asset in item.assets.items():
        path = Path(asset.href)
        content = path.read_bytes()
        asset.extra_fields |= file_fields(len(content), hashlib.sha256(content).hexdigest())
        asset.href = f"./{path.relative_to(folder.resolve()).as_posix()}"
        if asset.media_type == COG_TYPE and kind.endswith("composite"):
            grid = item.assets["lst"].extra_fields
            asset.extra_fields |= {key: grid[key] for key in grid if key.startswith("proj:") or key == "gsd"}
            asset.extra_fields["bands"] = [{"name": name, "data_type": "uint8"} for name in _RGBA]


def _links(source: Bundle) -> list[dict[str, str]]:
    parent = source.metadata.product_id or (source.name.folder if source.name else source.product)
    up = f"../{COLLECTION_FILE}"
    return [
        {"rel": "root", "href": up, "type": "application/json"},
        {"rel": "parent", "href": up, "type": "application/json"},
        {"rel": "collection", "href": up, "type": "application/json"},
        {
            "rel": "derived_from",
            "href": source.files["metadata"].href,
            "type": "application/geo+json",
            "title": f"Metadata of the input, {parent}",
        },
    ]


def collect(root: Path) -> dict[str, Any]:
    """Describe all products below a folder as a STAC collection.

    Parameters
    ----------
    root
        Folder of the folders of products.

    Returns
    -------
    dict
        STAC collection with links to the items.

    Raises
    ------
    InputError
        If there is no item.
    """
    paths = sorted(root.glob(f"*/{ITEM_FILE}"))
    if not paths:
        raise InputError(f"{str(root)!r} holds no {ITEM_FILE} in a folder of its own; write a product first")
    items = [pystac.Item.from_dict(json.loads(path.read_text(encoding="utf-8"))) for path in paths]
    collection = pystac.Collection(
        COLLECTION,
        "Land surface temperature sharpened to the resolution of reflectance, with flags, uncertainty and "
        "how it was made.",
        pystac.Extent.from_items(items),
        title="LSTzoom",
        # The input decides who may do what with the result.
        license="other",
        summaries=pystac.Summaries(_summaries(items)),
    )
    content: dict[str, Any] = collection.to_dict(include_self_link=False)
    content["item_assets"] = _item_assets(items)
    content["links"] = [{"rel": "root", "href": f"./{COLLECTION_FILE}", "type": "application/json"}]
    content["links"] += [
        {"rel": "item", "href": f"./{path.relative_to(root).as_posix()}", "type": "application/geo+json"}
        for path in paths
    ]
    return content


def _summaries(items: Sequence[pystac.Item]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in ("platform", "gsd", "processing:level", "product:type"):
        values = sorted({item.properties[key] for item in items if key in item.properties})
        if values:
            found[key] = values
    return found


def _item_assets(items: Sequence[pystac.Item]) -> dict[str, Any]:
    """Describe the assets that all items have."""
    shared = set.intersection(*(set(item.assets) for item in items))
    return {
        key: {"title": one.title, "type": one.media_type, "roles": one.roles}
        for key, one in items[0].assets.items()
        if key in shared
    }

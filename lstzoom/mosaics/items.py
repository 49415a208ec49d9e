"""STAC items of a mosaic, one for each time, and their collection, beside the store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pystac

from lstzoom.mosaics.plan import MosaicPlan
from lstzoom.product.fields import (
    COG_TYPE,
    EXTENSIONS,
    ZARR_TYPE,
    crs_fields,
    ground,
    joined_bounds,
    outline,
    processing_fields,
)

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from lstzoom.mosaics.scenes import Scene


def describe(
    name: str, plan: MosaicPlan, store: str, cogs: Mapping[int, str], created: datetime | None = None
) -> tuple[pystac.Collection, list[pystac.Item]]:
    """Describe a mosaic.

    Parameters
    ----------
    name
        Id of the collection and beginning of the ids of its items.
    plan
        What it was made of.
    store
        Address of the cube, as links give it.
    cogs
        Addresses of COGs by number of the time.
    created
        By default now.

    Returns
    -------
    collection : pystac.Collection
    items : list of pystac.Item
        One for each time, with links to the scenes that it is derived from.
    """
    when = created or datetime.now(UTC).replace(microsecond=0)
    items = [_item(name, plan, step, store, cogs.get(step), when) for step in range(len(plan.steps))]
    collection = pystac.Collection(
        name,
        f"Mosaic of land surface temperature ({plan.config.rule}), with uncertainty, flags, number of scenes "
        "and time of the leading one.",
        pystac.Extent(
            pystac.SpatialExtent([joined_bounds([item.bbox or [] for item in items])]),
            pystac.TemporalExtent([[_ends(plan.scenes_of(0))[0], _latest(plan)]]),
        ),
        title=f"Mosaic {name}",
        # The scenes decide who may do what with the result.
        license="other",
        summaries=pystac.Summaries({"gsd": [plan.lattice.pixel_metres]}),
    )
    collection.extra_fields["item_assets"] = {
        key: {"title": asset.title, "type": asset.media_type, "roles": asset.roles}
        for key, asset in items[0].assets.items()
    }
    return collection, items


def _latest(plan: MosaicPlan) -> datetime:
    return max(one.scene.time for one in plan.scenes)


def _ends(scenes: Sequence[Scene]) -> tuple[datetime, datetime]:
    return scenes[0].time, scenes[-1].time


def _item(
    name: str, plan: MosaicPlan, step: int, store: str, cog: str | None, created: datetime
) -> pystac.Item:
    scenes = plan.scenes_of(step)
    first, last = _ends(scenes)
    area, bounds = ground([[outline(scene.grid).tolist()] for scene in scenes])
    box = plan.target.geobox
    item = pystac.Item(
        id=name if plan.config.period == "all" else f"{name}-{plan.labels[step]}",
        geometry=area,
        bbox=bounds,
        datetime=last,
        start_datetime=first,
        end_datetime=last,
        properties={
            "title": f"{plan.config.rule.capitalize()} of scenes: {len(scenes)}",
            "created": pystac.utils.datetime_to_str(created),
            "gsd": plan.lattice.pixel_metres,
            **processing_fields(_lineage(plan, scenes)),
            **_grid_fields(box),
        },
        stac_extensions=[EXTENSIONS["proj"], EXTENSIONS["processing"]],
    )
    item.add_asset("zarr", _store_asset(store, step))
    if cog is not None:
        item.add_asset("lst", _cog_asset(cog, box))
    for scene in scenes:
        item.add_link(pystac.Link("derived_from", scene.href or scene.name, title=scene.name))
    return item


def _lineage(plan: MosaicPlan, scenes: Sequence[Scene]) -> str:
    config = plan.config
    how = (
        f"feather {config.feather:g} m, scene_sd {config.scene_sd:g} K"
        if config.rule == "mean"
        else "per pixel"
    )
    return (
        f"Scenes of sharpened temperature: {len(scenes)}, each resampled once ({config.resampling}), {how}."
    )


def _store_asset(store: str, step: int) -> pystac.Asset:
    layers = ("lst", "lst_uncertainty", "qa", "count", "source_time")
    return pystac.Asset(
        store,
        f"Cube; this is time {step}",
        media_type=ZARR_TYPE,
        roles=["data"],
        extra_fields={"bands": [{"name": one} for one in layers]},
    )


def _cog_asset(cog: str, box: GeoBox) -> pystac.Asset:
    return pystac.Asset(
        cog,
        "Temperature",
        media_type=COG_TYPE,
        roles=["data", "temperature"],
        extra_fields={**_grid_fields(box), "bands": [{"name": "lst", "unit": "kelvin"}]},
    )


def _grid_fields(box: GeoBox) -> dict[str, Any]:
    return {
        **crs_fields(box),
        "proj:shape": [int(side) for side in box.shape],
        "proj:transform": list(box.affine)[:6],
    }


def write_collection(
    folder: str,
    collection: pystac.Collection,
    items: Sequence[pystac.Item],
    storage_options: Mapping[str, Any] | None = None,
) -> str:
    """Write a collection and its items into one folder, on a disk or in an object store.

    Parameters
    ----------
    folder
        Path or address; made if absent. Files of the same name are replaced.
    collection, items
        From `describe`.
    storage_options
        For fsspec.

    Returns
    -------
    str
        Address of ``collection.json``.
    """
    import fsspec  # noqa: PLC0415  (slow to import)

    system, root = fsspec.core.url_to_fs(folder, **(storage_options or {}))
    system.makedirs(root, exist_ok=True)
    for item in items:
        content = item.to_dict(include_self_link=False, transform_hrefs=False)
        content["collection"] = collection.id
        content["links"] += _up("collection")
        _write(system, f"{root}/{item.id}.json", content)
    content = collection.to_dict(include_self_link=False, transform_hrefs=False)
    content["links"] = [{"rel": "root", "href": "./collection.json", "type": "application/json"}]
    content["links"] += [
        {"rel": "item", "href": f"./{item.id}.json", "type": "application/geo+json"} for item in items
    ]
    _write(system, f"{root}/collection.json", content)
    return f"{folder.rstrip('/')}/collection.json"


def _up(*further: str) -> list[dict[str, str]]:
    return [
        {"rel": rel, "href": "./collection.json", "type": "application/json"}
        for rel in ("root", "parent", *further)
    ]


def _write(system: Any, path: str, content: Mapping[str, Any]) -> None:  # noqa: ANN401  (fsspec ships no types)
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    system.pipe_file(path, text.encode())


def relative(address: str, folder: str) -> str:
    """Address as seen from a folder beside it, if it lies beside it, so that both can be moved together."""
    parent = (
        str(PurePosixPath(folder).parent) if "://" not in folder else folder.rstrip("/").rpartition("/")[0]
    )
    prefix = parent.rstrip("/") + "/"
    if address.startswith(prefix):
        return f"../{address.removeprefix(prefix)}"
    return address if "://" in address else str(Path(address).resolve())

"""STAC items of a mosaic, one for each time, and their collection, beside the store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pystac
import shapely

import lstzoom
from lstzoom.mosaics.plan import MosaicPlan
from lstzoom.product.fields import COG_TYPE, crs_fields, outline
from lstzoom.sources.area import parts_within_180, to_geojson

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from lstzoom.mosaics.scenes import Scene

ZARR_TYPE: Final = "application/vnd.zarr; version=3"
EXTENSIONS: Final = (
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
)
_DIGITS: Final = 7


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
            pystac.SpatialExtent([_bounds([item.bbox or [] for item in items])]),
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
    footprint = _footprint(scenes)
    box = plan.target.geobox
    item = pystac.Item(
        id=name if plan.config.period == "all" else f"{name}-{plan.labels[step]}",
        geometry=to_geojson(footprint),
        bbox=_bbox(footprint),
        datetime=last,
        start_datetime=first,
        end_datetime=last,
        properties={
            "title": f"{plan.config.rule.capitalize()} of scenes: {len(scenes)}",
            "created": pystac.utils.datetime_to_str(created),
            "gsd": plan.lattice.pixel_metres,
            "processing:level": "L3",
            "processing:lineage": _lineage(plan, scenes),
            "processing:software": {"lstzoom": lstzoom.__version__},
            **_grid_fields(box),
        },
        stac_extensions=list(EXTENSIONS),
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


def _footprint(scenes: Iterable[Scene]) -> shapely.Geometry:
    """Union of what the scenes cover, cut at the antimeridian; longitudes within -180 to 180."""
    found = []
    for scene in scenes:
        edge = outline(scene.grid)
        if np.ptp(edge[:, 0]) > 180:
            edge[edge[:, 0] < 0, 0] += 360
        found += parts_within_180(shapely.make_valid(shapely.Polygon(edge)))
    return shapely.orient_polygons(shapely.set_precision(shapely.union_all(found), 10.0**-_DIGITS))


def _bbox(footprint: shapely.Geometry) -> list[float]:
    parts = [part.bounds for part in shapely.get_parts(footprint)]
    return _bounds([(west, south, east, north) for west, south, east, north in parts])


def _bounds(boxes: Sequence[Sequence[float]]) -> list[float]:
    """Bounds of bounds; west is larger than east where the way across the antimeridian is shorter."""
    spans = sorted((west, east if east >= west else east + 360.0) for west, _, east, _ in boxes)
    first, reach = spans[0][0], spans[0][1]
    widest, west, east = 0.0, spans[0][0], max(end for _, end in spans)
    for start, end in spans[1:]:
        if start - reach > widest:
            widest, west, east = start - reach, start, reach
        reach = max(reach, end)
    if first + 360.0 - reach >= widest:
        west, east = first, reach
    south, north = min(one[1] for one in boxes), max(one[3] for one in boxes)
    east = east - 360.0 if east > 180.0 else east
    return [round(float(value), _DIGITS) for value in (west, south, east, north)]


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

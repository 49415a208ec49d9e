"""Items of a source: searched page by page, looked at, and none dropped in silence."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

import pystac
import pystac_client
import requests
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from shapely.geometry.base import BaseGeometry
from urllib3.util.retry import Retry

from lstzoom import stac
from lstzoom.errors import InputError
from lstzoom.sources.area import Area, as_area, footprint, parts_within_180, to_geojson
from lstzoom.sources.catalog import Access, Catalog, Layer, MaskLayer, Names, Service, open_catalog
from lstzoom.sources.encoding import find_asset
from lstzoom.sources.naming import nearest
from lstzoom.sources.signing import keep_logs_clean, redact
from lstzoom.sources.times import Interval, When, as_interval, to_stac, widened

logger = logging.getLogger(__name__)

Side: TypeAlias = Literal["lst", "vnir"]
_PAGE: Final = 100
_SHOWN: Final = 8
_WORDS: Final[Mapping[str, str]] = {"lst": "LST", "vnir": "reflectance"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """An item that can serve as LST or as reflectance.

    Attributes
    ----------
    item
        The item.
    side
        ``"lst"`` or ``"vnir"``.
    when
        Time of acquisition, UTC.
    cloud
        Cloud cover in percent; None where not told.
    footprint
        Longitude and latitude.
    access
        How its files are reached.
    """

    item: pystac.Item
    side: Side
    when: datetime
    cloud: float | None
    footprint: BaseGeometry
    access: Access

    @property
    def platform(self) -> str:
        """Platform, empty where not told."""
        told = self.item.properties
        # Items of before STAC 1.0 spell it with a prefix.
        return str(told.get("platform") or told.get("eo:platform") or "")


@dataclass(frozen=True, slots=True)
class Unusable:
    """An item that was found and cannot be used, with the reason."""

    item: str
    side: Side
    reason: str

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.item} as {_WORDS[self.side]}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Found:
    """Result of a search.

    Attributes
    ----------
    catalog
        The source.
    asked
        What was searched, in words.
    lst, vnir
        Items that can be used, by time.
    unusable
        Items that cannot, with the reason.
    area
        Area of interest; None where there is none.
    """

    catalog: Catalog
    asked: str
    lst: tuple[Candidate, ...]
    vnir: tuple[Candidate, ...]
    unusable: tuple[Unusable, ...]
    area: BaseGeometry | None = None
    bands: Names = field(default=())

    def reasons(self, side: Side | None = None) -> str:
        """List what cannot be used and why, some of it."""
        lines = [str(one) for one in self.unusable if side in (None, one.side)]
        more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
        return "\n".join(f"  {line}" for line in [*lines[:_SHOWN], *more])


def search(
    catalog: str | Path | Catalog,
    area: Area,
    datetime: When,
    *,
    endpoint: str | None = None,
    bands: Sequence[str] | None = None,
    window_days: float | None = None,
    max_cloud: float | None = None,
    max_items: int = 2000,
) -> Found:
    """Search the STAC APIs of a source.

    Parameters
    ----------
    catalog
        Name, path or `Catalog`.
    area
        Area of interest, see `lstzoom.sources.area.as_area`.
    datetime
        Time or interval of the LST. Reflectance is searched ``window_days`` longer.
    endpoint
        Name of the endpoint in the catalog; default the first.
    bands
        Reflectance bands that are needed; default those of the catalog.
    window_days, max_cloud
        In place of those of the catalog's ``[pair]``.
    max_items
        More items than this are an error: none is dropped.

    Returns
    -------
    Found

    Raises
    ------
    InputError
        If a service cannot be reached, has no such collection, or nothing is found at all.
    """
    source = open_catalog(catalog)
    place, interval = as_area(area), as_interval(datetime)
    where = source.endpoint(endpoint)
    days = source.pair.window_days if window_days is None else window_days
    lst = _items_of(where.lst, place, interval, max_items)
    given: dict[Side, list[tuple[pystac.Item, Access]]] = {"lst": lst, "vnir": lst}
    asked = _asked(where.lst, place, interval)
    if where.vnir is not None:
        wide = widened(interval, days)
        if lst:
            given["vnir"] = _items_of(where.vnir, place, wide, max_items)
        asked += f"; {_asked(where.vnir, place, wide)}"
    if not lst:
        raise InputError(_nothing(source, where.lst, asked))
    return _examined(source, given, asked, place, bands, max_cloud)


def examine(
    catalog: str | Path | Catalog,
    items: Iterable[pystac.Item] | str | Path,
    area: Area | None = None,
    *,
    bands: Sequence[str] | None = None,
    max_cloud: float | None = None,
) -> Found:
    """Look at items that are there already, as `search` does with those it finds.

    Parameters
    ----------
    catalog, bands, max_cloud
        As in `search`.
    items
        Items, or a file with an item, an item collection, a collection, or a recorded search response.
    area
        Area of interest; default everything.
    """
    source = open_catalog(catalog)
    listed = read_items(items) if isinstance(items, str | Path) else list(items)
    if not listed:
        raise InputError("there is no STAC item; give those of LST and reflectance")
    pairs = [(item, access_of(source, item)) for item in listed]
    place = None if area is None else as_area(area)
    return _examined(source, {"lst": pairs, "vnir": pairs}, f"{len(listed)} items", place, bands, max_cloud)


def access_of(source: Catalog, item: pystac.Item) -> Access:
    """Access of an item's files: that of the catalog's service which its links name, else the default."""
    # The target as it stands: asking for the href would fetch the root of the catalogue.
    hosts = {urlsplit(link.get_target_str() or "").hostname for link in item.links} - {None}
    for endpoint in source.endpoints.values():
        for service in (endpoint.lst, endpoint.vnir):
            known = service is not None and urlsplit(service.url).hostname in hosts
            if known and service is not None and item.collection_id in {None, *service.collections}:
                return service.access
    return source.access


def read_items(path: str | Path) -> list[pystac.Item]:
    """Read the items of a file: item, item collection, collection or search response."""
    file = Path(path)
    file = file / "collection.json" if file.is_dir() else file
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        found = found.get("response", found) if "type" not in found else found
        kind = found.get("type")
        if kind == "FeatureCollection":
            return [_item(one, file) for one in found["features"]]
        if kind == "Feature":
            return [_item(found, file)]
        return list(pystac.Catalog.from_file(str(file)).get_items(recursive=True))
    except (OSError, ValueError, KeyError, AttributeError, pystac.STACError, pystac.STACTypeError) as error:
        raise InputError(f"{str(path)!r} holds no STAC items that can be read: {error}") from error


def _item(fields: dict[str, Any], file: Path) -> pystac.Item:
    item = pystac.Item.from_dict(fields)
    if item.get_self_href() is None or not item.get_self_href().startswith(("http", "s3")):  # type: ignore[union-attr]
        item.set_self_href(str(file.resolve()))
    return item


def _items_of(
    service: Service, area: BaseGeometry, interval: Interval, most: int
) -> list[tuple[pystac.Item, Access]]:
    """Items of a service in an area and interval, all pages; each once."""
    found: dict[tuple[str | None, str], pystac.Item] = {}
    try:
        client = pystac_client.Client.open(service.url, stac_io=_io(service))
        for part in parts_within_180(area):
            for item in client.search(
                collections=list(service.collections), intersects=to_geojson(part),
                datetime=to_stac(interval), limit=_PAGE, max_items=most + 1,
            ).items():  # fmt: skip
                found[item.collection_id, item.id] = item
                if len(found) > most:
                    raise InputError(
                        f"more than {most} items in {service.collections} at {service.url} for "
                        f"{to_stac(interval)}; narrow area or time, or raise max_items"
                    )
    except (APIError, requests.RequestException, pystac.STACError, pystac.STACTypeError) as error:
        raise InputError(
            f"the STAC API {service.url} cannot be searched: "
            f"{redact(str(error))[:500] or type(error).__name__}; check the address in the "
            "catalogue, the network, and the access"
        ) from error
    return [(item, service.access) for item in found.values()]


def _io(service: Service) -> StacApiIO:
    keep_logs_clean()
    headers = {name: os.environ[key] for name, key in service.headers_env.items() if os.environ.get(key)}
    again = Retry(
        total=service.access.retries, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=None, raise_on_status=False,
    )  # fmt: skip
    return StacApiIO(headers=headers, max_retries=again, timeout=60)


def _asked(service: Service, area: BaseGeometry, interval: Interval) -> str:
    bounds = ", ".join(f"{one:.6g}" for one in area.bounds)
    collections = ", ".join(service.collections)
    return f"{collections} at {service.url}, bounds ({bounds}), {to_stac(interval)}"


def _nothing(source: Catalog, service: Service, asked: str) -> str:
    return (
        f"the search of {source.name!r} found no item: {asked}; {_collections_hint(service)}"
        "widen the area or the time"
    )


def _collections_hint(service: Service) -> str:
    """Say which collections are not there, where the service lists them."""
    try:
        client = pystac_client.Client.open(service.url, stac_io=_io(service))
        there = [one.id for one in client.get_collections()]
    except (APIError, requests.RequestException, pystac.STACError, pystac.STACTypeError, NotImplementedError):
        return ""
    absent = [name for name in service.collections if name not in there]
    if len(absent) < len(service.collections) or not there:
        return ""
    return f"the service has no collection {absent[0]!r}{nearest(absent[0], there[:40])}; "


def _examined(
    source: Catalog,
    given: Mapping[Side, Sequence[tuple[pystac.Item, Access]]],
    asked: str,
    area: BaseGeometry | None,
    bands: Sequence[str] | None,
    max_cloud: float | None,
) -> Found:
    wanted = chosen_bands(source, bands)
    most = source.pair.max_cloud if max_cloud is None else max_cloud
    good: dict[Side, list[Candidate]] = {"lst": [], "vnir": []}
    bad: list[Unusable] = []
    for side, items in given.items():
        for item, access in items:
            one = look_at(source, item, side, access, wanted, most)
            if isinstance(one, Candidate):
                good[side].append(one)
            else:
                bad.append(one)
    if given["lst"] is given["vnir"] and source.pair.window_days > 0:
        # Of two sensors in one list, each needs to serve its own side only.
        serving = {one.item.id for side in good.values() for one in side}
        bad = [one for one in bad if one.item not in serving or not good[one.side]]
    for one in bad:
        logger.info("not used: %s", one)
    lst, vnir = (tuple(sorted(side, key=lambda c: (c.when, c.item.id))) for side in good.values())
    return Found(source, asked, lst, vnir, tuple(bad), area, wanted)


def chosen_bands(source: Catalog, bands: Sequence[str] | None) -> Names:
    """Reflectance bands to load: those asked for, by default those of the catalog."""
    if bands is None:
        return source.vnir.default_bands
    for name in bands:
        if name not in source.vnir.bands:
            known = list(source.vnir.bands)
            raise InputError(f"the catalog {source.name!r} has no band {name!r}{nearest(name, known)}")
    if not bands:
        raise InputError("no band was asked for; give at least one")
    return tuple(dict.fromkeys(bands))


def look_at(
    source: Catalog, item: pystac.Item, side: Side, access: Access, bands: Names, max_cloud: float
) -> Candidate | Unusable:
    """Decide whether an item can be used, and why not."""
    when = item.datetime or item.common_metadata.start_datetime
    place = footprint(item.geometry, item.bbox)
    cloud = item.properties.get("eo:cloud_cover")
    reason = _missing(source, item, side, bands) or _wrong_grid(source, item, side)
    if not reason and when is None:
        reason = "it has no datetime"
    if not reason and place is None:
        reason = "it has neither geometry nor bbox"
    if not reason and cloud is not None and float(cloud) > max_cloud:
        reason = f"cloud cover {float(cloud):.3g} % is above max_cloud {max_cloud:g} %"
    if reason or when is None or place is None:
        return Unusable(item.id, side, reason)
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    return Candidate(item, side, when, None if cloud is None else float(cloud), place, access)


def _missing(source: Catalog, item: pystac.Item, side: Side, bands: Names) -> str:
    """Say which layer an item lacks; empty where it lacks none."""
    if side == "lst" and find_asset(item, source.lst) is None:
        return f"no thermal asset: {_looked_for(source.lst)}; {_there(item)}"
    if side == "vnir":
        layers = source.vnir.bands
        absent = [name for name in bands if find_asset(item, layers[name]) is None]
        # Of files of one's own, the default is what is there.
        if absent and (source.source.kind != "local" or len(absent) == len(bands)):
            return f"no asset for the bands {absent}: {_looked_for(layers[absent[0]])}; {_there(item)}"
    for mask in source.masks:
        if mask.on == side and mask.required and find_asset(item, mask) is None:
            return f"no mask {mask.name!r}: {_looked_for(mask)}; {_there(item)}"
    return ""


def _looked_for(layer: Layer | MaskLayer) -> str:
    ways = [
        f"{what} {', '.join(names)}"
        for what, names in (("keys", layer.assets), ("files", layer.hrefs), ("roles", layer.roles))
        if names
    ]
    return f"looked for {'; '.join(ways)}"


def _there(item: pystac.Item) -> str:
    return f"it has {', '.join(item.assets) or 'no asset'}"


def _wrong_grid(source: Catalog, item: pystac.Item, side: Side) -> str:
    """Say what is wrong with the grid that an item tells."""
    layers: list[Layer] = [source.lst] if side == "lst" else list(source.vnir.bands.values())
    keys = [key for layer in layers if (key := find_asset(item, layer)) is not None]
    for key in keys[:1]:
        try:
            grid = stac.told_grid(item.assets[key].extra_fields, item.properties)
        except Exception as error:  # noqa: BLE001  (pyproj, affine and odc-geo each raise their own)
            return f"the CRS or transform of its asset {key!r} cannot be read: {str(error)[:200]}"
        if grid is not None and (grid.affine.b or grid.affine.d):
            return f"the grid of its asset {key!r} is rotated"
        if grid is not None and side == "lst" and grid.crs is not None and not grid.crs.projected:
            return f"its asset {key!r} lies on degrees ({grid.crs}); a CRS in metres is needed: warp it first"
    return ""

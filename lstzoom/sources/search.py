"""Items of a source: searched page by page, looked at, and none dropped in silence."""

from __future__ import annotations

import json
import logging
import math
import re
import reprlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

import pystac
from shapely.geometry.base import BaseGeometry

from lstzoom import stac
from lstzoom.errors import InputError, LstzoomError, NothingFoundError
from lstzoom.grid import is_sheared
from lstzoom.sources.allowed import NETWORK, is_here, require_allowed
from lstzoom.sources.area import Area, as_area, footprint
from lstzoom.sources.catalog import Access, Catalog, Layer, MaskLayer, Names, Service, open_catalog
from lstzoom.sources.encoding import find_asset, href_of, told_by
from lstzoom.sources.naming import nearest
from lstzoom.sources.redaction import redact
from lstzoom.sources.service import collections_there, found_in
from lstzoom.sources.signing import signs
from lstzoom.sources.times import Interval, When, as_interval, holds, to_stac, widened
from lstzoom.types import YX
from lstzoom.wording import counted

logger = logging.getLogger(__name__)

Side: TypeAlias = Literal["lst", "vnir"]
Items: TypeAlias = (
    pystac.Item | pystac.Catalog | Mapping[str, Any] | Iterable[pystac.Item | Mapping[str, Any]] | str | Path
)
"""Items or an item collection, as objects or as JSON, a catalogue that holds them, or a file of them."""
_SHOWN: Final = 8
# Media types of what cannot be read. Many catalogues tell none, or octets, of what can.
_NO_RASTER: Final = re.compile(r"zarr|netcdf|hdf|json|xml|^text/|^image/(png|jpeg)$")
SIDES: Final[Mapping[str, str]] = {"lst": "LST", "vnir": "reflectance"}


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
    """An item that was found and cannot be used, with the reason.

    Attributes
    ----------
    item
        Its id.
    side
        What it was looked at as; None if it is no item that could be looked at.
    reason
        Why not.
    lacks
        It has no layer of that side, as items of the other sensor have none.
    expected
        Nothing is wrong with item or source: cloud, night, another time, or an item of the other sensor. Time
        may bring others that can be used.
    """

    item: str
    side: Side | None
    reason: str
    lacks: bool = False
    expected: bool = False

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.item}{f' as {SIDES[self.side]}' if self.side else ''}: {self.reason}"


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
        """List what cannot be used and why, some of it; what time does not mend comes first."""
        told = sorted(self.unusable, key=lambda one: one.expected)
        lines = [str(one) for one in told if side is None or one.side in (None, side)]
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
    allow: Sequence[str] | None = None,
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
    allow
        Beginnings of addresses, and folders, that may be read, in place of those of the catalog.

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
    bad: list[Unusable] = []
    lst = _items_of(where.lst, place, interval, max_items, bad)
    given: dict[Side, list[tuple[pystac.Item, Access]]] = {"lst": lst, "vnir": lst}
    asked = _asked(where.lst, place, interval)
    if where.vnir is not None:
        wide = widened(interval, days)
        if lst:
            given["vnir"] = _items_of(where.vnir, place, wide, max_items, bad)
        asked += f"; {_asked(where.vnir, place, wide)}"
    if not lst and not bad:
        raise _nothing(source, where.lst, asked)
    if where.vnir is not None and lst and not given["vnir"] and (hint := _collections_hint(where.vnir)):
        raise InputError(
            f"the search of {source.name!r} found no reflectance: {asked}; {hint}correct the endpoint in the "
            "catalogue"
        )
    return _examined(source, _only(given, allow), asked, place, bands, max_cloud, bad)


def examine(
    catalog: str | Path | Catalog,
    items: Items,
    area: Area | None = None,
    datetime: When | None = None,
    *,
    bands: Sequence[str] | None = None,
    max_cloud: float | None = None,
    allow: Sequence[str] | None = None,
) -> Found:
    """Look at items that are there already, as `search` does with those it finds.

    Parameters
    ----------
    catalog, bands, max_cloud, allow
        As in `search`.
    items
        Items, an item collection, or a file with an item, a list of items, an item collection, a collection,
        or a recorded search response.
    area
        Area of interest; default everything.
    datetime
        Time or interval of the LST; default any.
    """
    source, interval = open_catalog(catalog), None if datetime is None else as_interval(datetime)
    bad: list[Unusable] = []
    listed = _readable(items, bad) if isinstance(items, str | Path) else _parsed(_given(items), bad)
    if not listed and not bad:
        raise InputError("there is no STAC item; give those of LST and reflectance")
    pairs = [(item, access_of(source, item)) for item in listed]
    place = None if area is None else as_area(area)
    given: dict[Side, list[tuple[pystac.Item, Access]]] = {"lst": pairs, "vnir": pairs}
    found = _examined(source, _only(given, allow), counted(len(listed), "item"), place, bands, max_cloud, bad)
    return found if interval is None else _within(found, interval)


def _within(found: Found, interval: Interval) -> Found:
    """Take LST outside of the time that is asked for off the candidates, and tell."""
    asked = to_stac(interval)
    out = tuple(
        Unusable(
            one.item.id, "lst", f"its time {one.when:%Y-%m-%d %H:%M} is outside of {asked}", expected=True
        )
        for one in found.lst
        if not holds(interval, one.when)
    )
    kept = tuple(one for one in found.lst if holds(interval, one.when))
    return replace(found, asked=f"{found.asked}, {asked}", lst=kept, unusable=(*found.unusable, *out))


def _only(
    given: dict[Side, list[tuple[pystac.Item, Access]]], allow: Sequence[str] | None
) -> dict[Side, list[tuple[pystac.Item, Access]]]:
    """Narrow what may be read of all items; both sides of one list stay one list."""
    if allow is None:
        return given
    # Of a text, every letter would be a beginning, and / the whole machine.
    narrow = {"allow": (allow,) if isinstance(allow, str) else tuple(allow)}
    lst = [(item, access.model_copy(update=narrow)) for item, access in given["lst"]]
    if given["vnir"] is given["lst"]:
        return {"lst": lst, "vnir": lst}
    return {"lst": lst, "vnir": [(item, one.model_copy(update=narrow)) for item, one in given["vnir"]]}


def access_of(source: Catalog, item: pystac.Item) -> Access:
    """Access of an item's files: that of the catalog's service which its links name, else the default.

    Items that have lost their links are known by their files, where they lie at the service or it signs those
    of their host.
    """
    services = [
        service
        for endpoint in source.endpoints.values()
        for service in (endpoint.lst, endpoint.vnir)
        if service is not None
    ]
    # The target as it stands: asking for the href would fetch the root of the catalogue.
    hosts = {_host(link.get_target_str()) for link in item.links} - {None}
    here = [service for service in services if _host(service.url) in hosts]
    # A collection may have been renamed since; then the services of the host have to agree.
    named = [one for one in here if item.collection_id in {None, *one.collections}]
    ways = {repr(one.access): one.access for one in named[:1] or here}
    if len(ways) == 1:
        return next(iter(ways.values()))
    hrefs = [asset.href for asset in item.assets.values()]
    for service in services:
        if any(signs(service.access, href) or _host(href) == _host(service.url) for href in hrefs):
            return service.access
    return source.access


def _host(address: object) -> str | None:
    try:
        return urlsplit(str(address or "")).hostname
    except ValueError:  # an address such as http://[
        return None


def read_items(path: str | Path) -> list[pystac.Item]:
    """Read the items of a file: item, item collection, collection or search response.

    Raises
    ------
    InputError
        If it holds no items, or one that cannot be read.
    """
    bad: list[Unusable] = []
    found = _readable(path, bad)
    if bad:
        raise InputError(f"{str(path)!r} holds items that cannot be read: {bad[0]}")
    return found


def _readable(path: str | Path, bad: list[Unusable]) -> list[pystac.Item]:
    """Items of a file; those that are none are told in ``bad``."""
    file = Path(path)
    file = file / "collection.json" if file.is_dir() else file
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        features = _features(found)
        if features is not None:
            return _parsed(features, bad, file)
        kind = found.get("type")
        # Of a catalogue or a collection; pystac.Catalog reads no collection.
        whole = pystac.read_file(str(file.resolve()))
        if isinstance(whole, pystac.Catalog):
            return list(whole.get_items(recursive=True))
    except LstzoomError:
        raise
    except Exception as error:  # pystac raises what it stumbles upon
        raise InputError(f"{str(path)!r} holds no STAC items that can be read: {_said(error)}") from error
    raise InputError(f"{str(path)!r} holds no STAC items that can be read: its type is {kind!r}")


def _features(found: Any) -> list[Any] | None:  # noqa: ANN401  (files may hold anything)
    """Items of an item, a list of them, an item collection or a recorded response; None if it is none."""
    if isinstance(found, pystac.Item):
        return [found]
    if isinstance(found, list):
        return found
    if not isinstance(found, Mapping):
        return None
    found = found.get("response", found) if "type" not in found else found
    if found.get("type") == "FeatureCollection":
        features = found.get("features")
        if not isinstance(features, list | tuple):
            raise InputError(
                f"the features of an item collection are {reprlib.repr(features)}; a list is needed"
            )
        return list(features)
    return [found] if found.get("type") == "Feature" else None


def _given(items: Any) -> list[Any]:  # noqa: ANN401  (callers give anything)
    """Items of what a caller gives in place of a file."""
    if isinstance(items, pystac.Catalog):
        return list(items.get_items(recursive=True))
    features = _features(items)
    if features is not None:
        return features
    if isinstance(items, Iterable) and not isinstance(items, Mapping | bytes):
        return list(items)
    told = f"a {type(items).__name__} of the type {items.get('type')!r}" if isinstance(items, Mapping) else ""
    raise InputError(
        f"items is {told or redact(reprlib.repr(items))}; give STAC items, a list or collection of them "
        "(objects or JSON), or the path of a file of them"
    )


def _parsed(features: Sequence[Any], bad: list[Unusable], file: Path | None = None) -> list[pystac.Item]:
    """Items of what a file or a service gives; what is none is told in ``bad``."""
    good = []
    for number, fields in enumerate(features, 1):
        try:
            item = fields if isinstance(fields, pystac.Item) else pystac.Item.from_dict(fields)
            _require_item(item)
            if file is not None and not (item.get_self_href() or "").startswith(("http", "s3")):
                item.set_self_href(str(file.resolve()))
            good.append(item)
        except Exception as error:  # noqa: BLE001  (pystac raises what it stumbles upon)
            told = fields.get("id") if isinstance(fields, Mapping) else None
            name = redact(str(told))[:100] if told else f"item {number}"
            bad.append(Unusable(name, None, f"it is no STAC item that can be read: {_said(error)}"))
    return good


def _require_item(item: pystac.Item) -> None:
    """Refuse what pystac lets pass: texts and lists that are none."""
    name: object = item.id
    if not isinstance(name, str) or not name:
        raise ValueError("it has no id")
    for key, asset in item.assets.items():
        href: object = asset.href
        if not isinstance(href, str) or not href:
            raise ValueError(f"the asset {key!r} has no href")
        if not isinstance(asset.roles, list | tuple | None):
            raise ValueError(f"the roles of the asset {key!r} are {type(asset.roles).__name__}")  # noqa: TRY004
        urlsplit(href)


def _said(error: Exception) -> str:
    """Say what is wrong, in one line and without secrets."""
    text = " ".join(redact(str(error)).split())
    kind = type(error).__name__
    return (f"{kind}: {text}" if text and not text.startswith(kind) else text or kind)[:300]


def _items_of(
    service: Service, area: BaseGeometry, interval: Interval, most: int, bad: list[Unusable]
) -> list[tuple[pystac.Item, Access]]:
    """Items of a service in an area and interval, all pages; each once."""
    access = service.access
    if access.allow is None and not is_here(service.url):
        access = access.model_copy(update={"allow": NETWORK})
    return [(item, access) for item in _parsed(found_in(service, area, interval, most), bad)]


def _asked(service: Service, area: BaseGeometry, interval: Interval) -> str:
    bounds = ", ".join(f"{one:.6g}" for one in area.bounds)
    collections = ", ".join(service.collections)
    return f"{collections} at {service.url}, bounds ({bounds}), {to_stac(interval)}"


def _nothing(source: Catalog, service: Service, asked: str) -> InputError:
    hint = _collections_hint(service)
    # A collection that is not there is a mistake, which time does not mend.
    kind = InputError if hint else NothingFoundError
    return kind(f"the search of {source.name!r} found no item: {asked}; {hint}widen the area or the time")


def _collections_hint(service: Service) -> str:
    """Say which collections are not there, where the service lists them."""
    there = collections_there(service)
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
    unread: Sequence[Unusable] = (),
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
        serving |= {one.item for one in bad if one.expected}
        # What has a side and has it wrong is told.
        bad = [
            one
            for one in bad
            if one.item not in serving or not one.lacks or (one.side and not good[one.side])
        ]
        bad = _with_expected(bad, serving)
    bad = [*unread, *bad]
    for one in bad:
        logger.info("not used: %s", one)
    lst, vnir = (tuple(sorted(side, key=lambda c: (c.when, c.item.id))) for side in good.values())
    return Found(source, asked, lst, vnir, tuple(bad), area, wanted)


def _with_expected(bad: Sequence[Unusable], serving: Collection[str]) -> list[Unusable]:
    """Mark what belongs to the other sensor, where its own side has items of its own."""
    sides = {one.side for one in bad if one.expected}
    return [
        replace(one, expected=True) if one.lacks and one.item in serving and one.side in sides else one
        for one in bad
    ]


def chosen_bands(source: Catalog, bands: Sequence[str] | None) -> Names:
    """Reflectance bands to load: those asked for, by default those of the catalog."""
    if bands is None:
        return source.vnir.default_bands
    bands = (bands,) if isinstance(bands, str) else bands
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
    try:
        return _looked_at(source, item, side, access, bands, max_cloud)
    except InputError as error:
        return Unusable(item.id, side, redact(str(error)))
    except Exception as error:  # noqa: BLE001  (fields of an item may hold anything)
        return Unusable(item.id, side, f"it cannot be understood: {_said(error)}")


def _looked_at(
    source: Catalog, item: pystac.Item, side: Side, access: Access, bands: Names, max_cloud: float
) -> Candidate | Unusable:
    when, place, cloud = _time_of(item), footprint(item.geometry, item.bbox), _cloud_of(item)
    lacking = _missing(source, item, side, bands)
    reason = lacking or _of_another_kind(source, item) or _wrong(source, item, side, access, bands)
    if not reason and when is None:
        reason = "it has no datetime"
    if not reason and place is None:
        reason = "it has neither geometry nor bbox"
    expected = bool(lacking) and side == "vnir" and _is_night(item)
    if not reason and cloud is not None and cloud > max_cloud:
        reason, expected = f"cloud cover {cloud:.3g} % is above max_cloud {max_cloud:g} %", True
    if reason or when is None or place is None:
        return Unusable(item.id, side, reason, bool(lacking), expected)
    return Candidate(item, side, when, cloud, place, access)


def _time_of(item: pystac.Item) -> datetime | None:
    """Time of acquisition: that of the item, else the middle of its interval; UTC."""
    ends = item.common_metadata.start_datetime, item.common_metadata.end_datetime
    times = [_utc(one) for one in ((item.datetime,) if item.datetime else ends) if one is not None]
    return times[0] + (times[-1] - times[0]) / 2 if times else None


def _utc(when: datetime) -> datetime:
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def _cloud_of(item: pystac.Item) -> float | None:
    """Cloud cover in percent; None where it is not told, or told as less than nothing (USGS: -1)."""
    told = item.properties.get("eo:cloud_cover")
    if told is None:
        return None
    cloud = float(told)
    return cloud if math.isfinite(cloud) and cloud >= 0 else None


def _is_night(item: pystac.Item) -> bool:
    """Tell whether the sun stood below the horizon, by the item's own word."""
    told = item.properties.get("view:sun_elevation")
    return isinstance(told, int | float) and told < 0


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


def _of_another_kind(source: Catalog, item: pystac.Item) -> str:
    """Say which property tells that an item is no product of the source."""
    for name, values in source.requires.items():
        told = item.properties.get(name)
        if told is not None and told not in values:
            return f"its {name} is {told!r}; {' or '.join(values)} is needed"
    return ""


def _wrong(source: Catalog, item: pystac.Item, side: Side, access: Access, bands: Names) -> str:
    """Say what is wrong with the addresses, grids and encodings that an item tells of what would be read."""
    layers: list[Layer] = [source.lst] if side == "lst" else [source.vnir.bands[name] for name in bands]
    layers += [mask for mask in source.masks if mask.on == side]
    layers += [source.uncertainty] if side == "lst" and source.uncertainty is not None else []
    for layer in layers:
        key = find_asset(item, layer)
        if key is None:
            continue
        kind = str(item.assets[key].media_type or "").lower().partition(";")[0].strip()
        if _NO_RASTER.search(kind):
            return f"its asset {key!r} is {kind}; GeoTIFF or JPEG 2000 is needed"
        try:
            require_allowed(href_of(item.assets[key], access), access.allow)
        except InputError as error:
            return f"its asset {key!r}: {error}"
        try:
            grid = stac.told_grid(item.assets[key].extra_fields, item.properties)
        except Exception as error:  # noqa: BLE001  (pyproj, affine and odc-geo each raise their own)
            return f"the CRS or transform of its asset {key!r} cannot be read: {_said(error)[:200]}"
        told_by(item, key, layer.band, source.vnir if side == "vnir" else None)
        if grid is not None and is_sheared(grid.affine, YX(*grid.shape)):
            return f"the grid of its asset {key!r} is rotated; warp it to a north-up grid first"
        if grid is not None and layer is source.lst and grid.crs is not None and not grid.crs.projected:
            return f"its asset {key!r} lies on degrees ({grid.crs}); a CRS in metres is needed: warp it first"
    return ""

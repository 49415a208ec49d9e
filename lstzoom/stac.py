"""Local STAC items of a coarse LST and its fine bands, and the lazy way back from items to arrays.

`write_pair` describes cloud-optimised GeoTIFFs that lie in one folder: one item for the LST, one
for the bands, as two sensors would deliver them, and a collection. Links are relative, so the
folder can be moved. `load_pair` finds its assets by their roles, ``temperature`` and
``reflectance``, and reads them with odc-stac.

odc-stac applies neither scale nor offset, bins pixels by the footprint of an item's first band,
and falls back to overviews when it averages. Here scale and offset are applied, every item is
handed over with one asset only, and overviews are never used. (To load both items in one call of
your own, note that odc-stac takes the assets of a collection from its first item.)
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import odc.stac
import pystac
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from lstzoom import raster
from lstzoom.errors import GridMismatchError, InputError, UnitsError
from lstzoom.grid import GridPair, resolve_grids
from lstzoom.product.fields import COG_TYPE, EXTENSIONS, crs_fields, footprint, joined_bounds, json_number
from lstzoom.types import LST_ATTRS

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

Items: TypeAlias = (
    str | Path | pystac.Item | pystac.Collection | pystac.ItemCollection | Iterable[pystac.Item]
)

TEMPERATURE: Final = "temperature"
REFLECTANCE: Final = "reflectance"
DEFAULT_CHUNK: Final = 256
_EXTENSIONS: Final = [EXTENSIONS["proj"], EXTENSIONS["raster"]]
_ZERO_CELSIUS: Final = 273.15
_KELVIN_NAMES: Final = frozenset({"", "k", "kelvin", "kelvins"})
_CELSIUS_NAMES: Final = frozenset({"c", "celsius"})
_DEGREES: Final = re.compile(r"^(°|degrees?|deg)[\s_]*(?=[ck])")
_ALIGNED: Final = 0.01
# Rows or columns of a raster: GDAL counts them in 31 bits.
_LARGEST: Final = 2**31 - 1


# Writing


def write_pair(
    folder: str | Path,
    lst: str | Path,
    vnir: Mapping[str, str | Path],
    *,
    when: datetime | None = None,
    name: str = "scene",
    licence: str = "other",
) -> Path:
    """Write a STAC 1.1 collection with an item for the LST and one for the bands.

    Parameters
    ----------
    folder
        Where the JSON files go. The GeoTIFFs lie in it or below it.
    lst
        Coarse LST, kelvin once scale and offset are applied.
    vnir
        Reflectance files by asset key. The bands of a file with several are named after their
        descriptions.
    when
        Time of acquisition; by default now. Taken as UTC where it has no zone.
    name
        Id of the collection and beginning of the ids of the items.
    licence
        SPDX identifier, or ``"other"``.

    Returns
    -------
    Path
        ``collection.json``.

    Raises
    ------
    InputError
        If a file cannot be opened, lies outside of the folder, or there is no band.
    GridMismatchError
        If a file has no CRS, is rotated, or the grids do not belong together.
    """
    root = Path(folder).resolve()
    if not vnir:
        raise InputError("no reflectance file was given; name at least one, by its asset key")
    heads = {"lst": raster.describe(lst), **{key: raster.describe(path) for key, path in vnir.items()}}
    boxes = [sources[0].geobox for sources in heads.values()]
    resolve_grids(boxes[0], boxes[1:])
    time = _utc(when)
    items = [
        _item(root, f"{name}-lst", time, {"lst": heads.pop("lst")}, TEMPERATURE),
        _item(root, f"{name}-vnir", time, heads, REFLECTANCE),
    ]
    return _save(root, name, licence, time, items)


def _utc(when: datetime | None) -> datetime:
    if when is None:
        return datetime.now(UTC).replace(microsecond=0)
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def _item(
    root: Path,
    item_id: str,
    time: datetime,
    heads: Mapping[str, tuple[raster.RasterSource, ...]],
    role: str,
) -> pystac.Item:
    """Describe files of one role; footprint and bounds are those of the first one."""
    grid = next(iter(heads.values()))[0].geobox
    area, bounds = footprint(grid)
    item = pystac.Item(
        id=item_id,
        geometry=area,
        bbox=bounds,
        datetime=time,
        properties={},
        stac_extensions=list(_EXTENSIONS),
        href=str(root / f"{item_id}.json"),
    )
    for key, sources in heads.items():
        item.add_asset(key, _asset(root, key, sources, role))
    return item


def item_of(name: str, when: datetime, heads: Mapping[str, tuple[raster.RasterSource, ...]]) -> pystac.Item:
    """Item in memory of files that have been described; their grids, not their encoding.

    Parameters
    ----------
    name, when
        Id and time.
    heads
        Bands of each file by asset key, as `lstzoom.raster.describe` returns them.
    """
    area, bounds = footprint(next(iter(heads.values()))[0].geobox)
    item = pystac.Item(
        id=name,
        geometry=area,
        bbox=bounds,
        datetime=when,
        properties={},
        stac_extensions=list(_EXTENSIONS),
    )
    for key, sources in heads.items():
        item.add_asset(key, pystac.Asset(sources[0].path, extra_fields=_grid_fields(sources[0])))
    return item


def _asset(root: Path, key: str, sources: tuple[raster.RasterSource, ...], role: str) -> pystac.Asset:
    path = Path(sources[0].path).resolve()
    if not path.is_relative_to(root):
        raise InputError(
            f"{str(path)!r} lies outside of {str(root)!r}; links of a local collection are "
            "relative to it, so put the file there first"
        )
    return pystac.Asset(
        href=f"./{path.relative_to(root).as_posix()}",
        media_type=COG_TYPE,
        roles=["data", role],
        extra_fields={
            **_grid_fields(sources[0]),
            "gsd": abs(sources[0].geobox.affine.a),
            "bands": [_band(key, source, alone=len(sources) == 1) for source in sources],
        },
    )


def _grid_fields(source: raster.RasterSource) -> dict[str, Any]:
    rows, columns = source.geobox.shape
    return {
        **crs_fields(source.geobox),
        "proj:shape": [rows, columns],
        "proj:transform": list(raster.file_affine(source))[:6],
    }


def _band(key: str, source: raster.RasterSource, *, alone: bool) -> dict[str, Any]:
    band: dict[str, Any] = {
        "name": key if alone else source.description or f"{key}_{source.band}",
        "data_type": source.dtype,
        "raster:scale": source.scale,
        "raster:offset": source.offset,
        "raster:spatial_resolution": abs(source.geobox.affine.a),
    }
    if source.nodata is not None:
        band["nodata"] = json_number(source.nodata)
    if source.units:
        band["unit"] = source.units
    return band


def _save(root: Path, name: str, licence: str, time: datetime, items: Sequence[pystac.Item]) -> Path:
    extent = pystac.Extent(
        pystac.SpatialExtent([joined_bounds([item.bbox or [] for item in items])]),
        pystac.TemporalExtent([[time, time]]),
    )
    collection = pystac.Collection(
        id=name,
        description="Coarse land surface temperature and fine reflectance of one place and time.",
        extent=extent,
        license=licence,
        href=str(root / "collection.json"),
    )
    for item in items:
        # The default layout gives each item a folder, away from the files it tells about.
        href = item.get_self_href()
        collection.add_item(item)
        item.set_self_href(href)
    root.mkdir(parents=True, exist_ok=True)
    collection.save(catalog_type=pystac.CatalogType.SELF_CONTAINED)
    return root / "collection.json"


# Loading


@dataclass(frozen=True, slots=True)
class _Band:
    """One band of an asset, with what is needed to read it."""

    name: str
    asset: str
    number: int
    item: pystac.Item
    grid: GeoBox
    scale: float
    offset: float
    nodata: float | None
    unit: str

    @property
    def key(self) -> str:
        """How odc-stac calls it."""
        return f"{self.asset}.{self.number}"


def load_pair(
    items: Items,
    bands: Sequence[str] | None = None,
    chunks: int = DEFAULT_CHUNK,
    *,
    ratio: int | None = None,
) -> tuple[xr.DataArray, xr.DataArray]:
    """Load fine reflectance and coarse LST of one scene from STAC items, lazily, through odc-stac.

    For items that tell roles, grids and encodings as those of `write_pair` do. Items of real sources, with
    their masks, access and habits, are for `lstzoom.load`, which gives the same values of these.

    Parameters
    ----------
    items
        Items of one scene, or a collection or folder of them (with a ``collection.json``).
    bands
        Names of the bands or asset keys to load, in this order; default all reflectance.
    chunks
        Coarse pixels along a side of a dask chunk. A chunk of the fine bands covers the same
        ground.
    ratio
        Number of fine pixels along a coarse one; default from the grids.

    Returns
    -------
    vnir : DataArray
        Reflectance, float32, dimensions (band, y, x), on the fine grid; NaN where missing.
    lst : DataArray
        Kelvin, float32, dimensions (y, x), on its own grid; NaN where missing.

    Raises
    ------
    InputError
        If an asset or a band is missing, or the items are of several dates.
    GridMismatchError
        If the grids do not belong together or the items do not tell them.
    UnitsError
        If the items give the temperature in a unit other than kelvin or Celsius.

    Notes
    -----
    No pixel is read before something is computed. A read that fails then raises rasterio's error.
    Bands that are not aligned with the fine grid are resampled by GDAL: averaged where they are
    finer, repeated where whole pixels coincide, else bilinear.
    """
    found = _items(items)
    (thermal,) = _one(_with_role(found, TEMPERATURE), found)
    wanted = _chosen(_with_role(found, REFLECTANCE), bands, found)
    grids = resolve_grids(thermal.grid, [band.grid for band in wanted], ratio)
    lst = _loaded([thermal], grids.coarse, chunks)[0]
    lst.name, lst.attrs = "lst", dict(LST_ATTRS)
    return _stack(wanted, grids, chunks), lst


def _items(items: Items) -> list[pystac.Item]:
    """Gather the items, whatever holds them."""
    if isinstance(items, pystac.Item):
        return [items]
    if isinstance(items, str | Path):
        found = list(_collection(items).get_items(recursive=True))
    elif isinstance(items, pystac.Catalog):
        found = list(items.get_items(recursive=True))
    else:
        found = list(items)
    if not found:
        raise InputError("there is no STAC item; give the items of one scene")
    return found


def _collection(path: str | Path) -> pystac.Catalog:
    place = Path(path)
    file = place / "collection.json" if place.is_dir() else place
    if not file.is_file():
        raise InputError(
            f"{str(path)!r} holds no STAC collection: {str(file)!r} does not exist; "
            "lstzoom.stac.write_pair writes one"
        )
    try:
        found = pystac.read_file(str(file))
    except (pystac.STACError, pystac.STACTypeError, ValueError, KeyError) as error:
        raise InputError(f"{str(file)!r} cannot be read as STAC: {error}") from error
    if not isinstance(found, pystac.Catalog):
        raise InputError(
            f"{str(file)!r} is a STAC {type(found).__name__}; pass a collection, or items as objects"
        )
    return found


def _with_role(items: Sequence[pystac.Item], role: str) -> list[_Band]:
    return [
        band
        for item in items
        for key, asset in item.assets.items()
        if role in (asset.roles or [])
        for band in _bands(item, key, asset)
    ]


def _bands(item: pystac.Item, key: str, asset: pystac.Asset) -> list[_Band]:
    told = told_bands(asset.extra_fields)
    return [
        _Band(
            name=key if len(told) == 1 else str(one.get("name", f"{key}_{number}")),
            asset=key,
            number=number,
            item=item,
            grid=_asset_grid(item, key, asset),
            scale=float(one.get("raster:scale", one.get("scale", 1.0))),
            offset=_offset(item, one),
            nodata=None if one.get("nodata") is None else float(one["nodata"]),
            unit=str(one.get("unit", "")),
        )
        for number, one in enumerate(told, 1)
    ]


def told_bands(asset: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Fields of every band of an asset, those of the asset included; one band where none is listed."""
    # Core `bands` since STAC 1.1, `raster:bands` before.
    lists = [asset.get(field) or [{}] for field in ("bands", "raster:bands")]
    return [{**asset, **old, **new} for new, old in zip(*_same_length(*lists), strict=True)]


def _same_length(
    one: list[dict[str, Any]], other: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    count = max(len(one), len(other))
    return one + [{}] * (count - len(one)), other + [{}] * (count - len(other))


def _offset(item: pystac.Item, band: Mapping[str, Any]) -> float:
    if is_offset_applied(item.properties):
        return 0.0
    return float(band.get("raster:offset", band.get("offset", 0.0)))


def is_offset_applied(
    properties: Mapping[str, Any], names: Sequence[str] = ("earthsearch:boa_offset_applied",)
) -> bool:
    """Tell whether the pixels have the offset already that the item goes on listing."""
    # Earth Search lists the offset of Sentinel-2 even where its pixels have it already.
    return any(properties.get(name) is True for name in names)


def _asset_grid(item: pystac.Item, key: str, asset: pystac.Asset) -> GeoBox:
    """Return the grid of an asset, north-up."""
    grid = told_grid(asset.extra_fields, item.properties)
    if grid is None:
        raise GridMismatchError(
            f"the asset {key!r} of the item {item.id!r} does not tell its grid; it needs "
            "proj:code, proj:shape and proj:transform (projection extension)"
        )
    return grid


def told_grid(asset: Mapping[str, Any], item: Mapping[str, Any]) -> GeoBox | None:
    """Grid that the projection fields of an asset, else of its item, tell.

    Parameters
    ----------
    asset, item
        Fields of the asset and properties of the item, of any version of STAC and of the extension.

    Returns
    -------
    GeoBox or None
        North-up; None where CRS, shape or transform (or bounds) are not told.

    Raises
    ------
    GridMismatchError
        If they are told and cannot be those of a grid.
    """
    crs = _told_crs(asset) or _told_crs(item)
    shape = asset.get("proj:shape") or item.get("proj:shape")
    # Bounds and transform of the item belong to the shape of the item.
    owner = asset if asset.get("proj:shape") else item
    transform = asset.get("proj:transform") or owner.get("proj:transform")
    if owner is item and transform and list(transform) != list(item.get("proj:transform") or transform):
        return None
    if not crs or not shape or not (transform or owner.get("proj:bbox")):
        return None
    rows, columns = _told_shape(shape)
    if transform:
        affine = Affine(*transform[:6])
    else:
        left, bottom, right, top = owner["proj:bbox"]
        affine = Affine((right - left) / columns, 0, left, 0, (bottom - top) / rows, top)
    if not all(map(math.isfinite, affine)) or affine.a <= 0 or affine.e == 0:
        raise GridMismatchError(
            f"{list(affine)[:6]} is no transform of a grid: six finite numbers are needed, and pixels that "
            "run from west to east; first the width of a pixel, third the left edge (GDAL's order is another)"
        )
    if affine.e > 0:
        affine = Affine(affine.a, affine.b, affine.c, affine.d, -affine.e, affine.f + affine.e * rows)
    return GeoBox((rows, columns), affine, crs)


def _told_shape(shape: Any) -> tuple[int, int]:  # noqa: ANN401  (items may hold anything)
    """Rows and columns that an item tells."""
    if (
        not isinstance(shape, list | tuple)
        or len(shape) != 2
        or not all(isinstance(size, int | float) and 1 <= size <= _LARGEST for size in shape)
    ):
        raise GridMismatchError(f"{shape!r} is no shape of a grid: rows and columns are needed")
    return int(shape[0]), int(shape[1])


def _told_crs(fields: Mapping[str, Any]) -> str | int | None:
    """CRS of the projection extension, 1.0 to 2.0."""
    for name in ("proj:code", "proj:epsg", "proj:wkt2", "proj:projjson"):
        if fields.get(name):
            value = fields[name]
            if name == "proj:epsg":
                return f"EPSG:{value}"
            return json.dumps(value) if isinstance(value, Mapping) else str(value)
    return None


def _one(bands: Sequence[_Band], items: Sequence[pystac.Item]) -> list[_Band]:
    """Require exactly one band of temperature, in a unit that is known."""
    if not bands:
        raise InputError(_absent(TEMPERATURE, items))
    if len(bands) > 1:
        there = ", ".join(f"{band.name!r} of {band.item.id!r}" for band in bands)
        raise InputError(
            f"{len(bands)} bands have the role {TEMPERATURE!r}: {there}; one scene has one, so "
            "pass the items of one scene"
        )
    return [_in_kelvin(bands[0])]


def _in_kelvin(band: _Band) -> _Band:
    shift = kelvin_shift(band.unit)
    if shift is None:
        raise UnitsError(
            f"the band {band.name!r} of the item {band.item.id!r} has the unit {band.unit!r}; "
            "kelvin or degrees Celsius is needed"
        )
    if shift == 0:
        return band
    return _Band(
        band.name,
        band.asset,
        band.number,
        band.item,
        band.grid,
        band.scale,
        band.offset + shift,
        band.nodata,
        "K",
    )


def kelvin_shift(unit: str) -> float | None:
    """Return what to add to temperatures of a unit to get kelvin; None where the unit is another one."""
    # Nobody measures kelvin in degrees, and many catalogues say so.
    unit = _DEGREES.sub("", unit.strip().lower())
    if unit in _KELVIN_NAMES:
        return 0.0
    return _ZERO_CELSIUS if unit in _CELSIUS_NAMES else None


def _chosen(there: Sequence[_Band], names: Sequence[str] | None, items: Sequence[pystac.Item]) -> list[_Band]:
    """Pick bands by name or by asset key."""
    if not there:
        raise InputError(_absent(REFLECTANCE, items))
    days = sorted({str(band.item.datetime or "")[:10] for band in there})
    if len(days) > 1:
        raise InputError(
            f"the reflectance is of {len(days)} dates ({', '.join(days)}); pass the items of one"
        )
    if names is None:
        return list(there)
    chosen = [[band for band in there if name in (band.name, band.asset)] for name in names]
    absent = [name for name, found in zip(names, chosen, strict=True) if not found]
    if absent or not names:
        known = sorted({band.name for band in there})
        ids = [item.id for item in items]
        raise InputError(f"no reflectance band {absent} in the items {ids}; there are {known}")
    return [band for found in chosen for band in found]


def _absent(role: str, items: Sequence[pystac.Item]) -> str:
    there = "; ".join(
        f"{item.id}: "
        + (", ".join(f"{key} {asset.roles or []}" for key, asset in item.assets.items()) or "none")
        for item in items[:5]
    )
    return (
        f"no asset with the role {role!r} in {len(items)} STAC items; assets there are: {there}. "
        f"Give the asset the role {role!r}, or pass the item that has it"
    )


def _stack(bands: Sequence[_Band], grids: GridPair, chunks: int) -> xr.DataArray:
    fine = grids.fine
    planes = _loaded(bands, fine, chunks * grids.ratio)
    names = list(dict.fromkeys(band.name for band in bands))
    vnir = xr.concat(planes, "band", coords="minimal", compat="override", join="override")
    # One task reads all bands of a block, because no step uses one of them alone.
    vnir = vnir.assign_coords(band=names).chunk({"band": -1})
    vnir.name = "vnir"
    resolutions = {band.name: abs(band.grid.affine.a) for band in bands}
    vnir.attrs = {"units": "1", "native_resolution": [resolutions[name] for name in names]}
    vnir.encoding["grid_mapping"] = "spatial_ref"
    return vnir


def _loaded(bands: Sequence[_Band], grid: GeoBox, chunk: int) -> list[xr.DataArray]:
    """Load bands on a grid: one plane per name, in order; items of one name are mosaicked."""
    planes = []
    for name in dict.fromkeys(band.name for band in bands):
        tiles = [band for band in bands if band.name == name]
        data = odc.stac.load(
            [_only(tile.item, tile.asset) for tile in tiles],
            bands=[tiles[0].key],
            geobox=grid,
            chunks={"x": chunk, "y": chunk},
            groupby="solar_day",
            resampling=_resampling(tiles[0].grid, grid),
            dtype="float32",
            nodata=math.nan,
            use_overviews=False,
            fail_on_error=True,
        )
        (plane,) = data.data_vars.values()
        _require_one_encoding(tiles)
        planes.append(_plane(plane, tiles[0], grid))
    return planes


def _only(item: pystac.Item, asset: str) -> pystac.Item:
    """Copy an item with one asset."""
    copy = item.clone()
    copy.assets = {asset: copy.assets[asset]}
    return copy


def _require_one_encoding(tiles: Sequence[_Band]) -> None:
    ways = {(tile.scale, tile.offset, str(tile.nodata)) for tile in tiles}
    if len(ways) > 1:
        raise InputError(
            f"the band {tiles[0].name!r} has different scales, offsets or nodata values in the "
            f"items {[tile.item.id for tile in tiles]}: {sorted(ways)}; load them one by one"
        )


def _resampling(source: GeoBox, target: GeoBox) -> str:
    """Choose as `lstzoom.raster` does, as far as GDAL can."""
    if source.crs != target.crs:
        return "bilinear"
    ratio = target.affine.a / source.affine.a
    if ratio >= raster.FINER:
        return "average"
    repeats = round(1 / ratio)
    offset = [
        (target.affine.c - source.affine.c) / target.affine.a,
        (target.affine.f - source.affine.f) / target.affine.e,
    ]
    aligned = abs(1 / ratio - repeats) * max(target.shape) < _ALIGNED
    whole = all(abs(one - round(one)) < _ALIGNED for one in offset)
    return "nearest" if aligned and whole else "bilinear"


def _plane(loaded: xr.DataArray, band: _Band, grid: GeoBox) -> xr.DataArray:
    """Give one time step values, and the coordinates of the grid."""
    values = loaded.data[0].map_blocks(
        _values,
        scale=band.scale,
        offset=band.offset,
        nodata=band.nodata,
        dtype=np.float32,
        meta=np.empty((0, 0), np.float32),
    )
    # Geographic grids would be named latitude and longitude otherwise.
    coords: dict[Any, Any] = dict(xr_coords(grid, dims=("y", "x")))
    plane = xr.DataArray(values, coords, ("y", "x"))
    plane.encoding["grid_mapping"] = "spatial_ref"
    return plane


def _values(
    stored: NDArray[np.float32], scale: float, offset: float, nodata: float | None
) -> NDArray[np.float32]:
    """Turn stored numbers into values; odc-stac has made those NaN that the file calls missing."""
    missing = ~np.isfinite(stored)
    if nodata is not None:
        missing |= stored == np.float32(nodata)
    values = (stored.astype(np.float64) * scale + offset).astype(np.float32)
    values[missing] = np.nan
    return values

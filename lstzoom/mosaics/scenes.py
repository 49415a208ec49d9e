"""Results that go into a mosaic: one scene each, opened from what holds them, read a window at a time.

What is taken: STAC items and collections, stores and cubes of Zarr, folders of them, COGs. Only headers are
read here.
"""

from __future__ import annotations

import itertools
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from lstzoom import raster
from lstzoom.errors import GridMismatchError, InputError, UnitsError
from lstzoom.grid import coincide, describe_grid, grid_of
from lstzoom.jobs import layout
from lstzoom.jobs.ledger import Ledger
from lstzoom.jobs.store import Store, store_at
from lstzoom.layers import FileLayer, Layer, Patchwork, ZarrLayer
from lstzoom.raster import KELVIN_NAMES, RasterSource
from lstzoom.sources.signing import gdal_path

if TYPE_CHECKING:
    import pystac

logger = logging.getLogger(__name__)

Source: TypeAlias = "str | Path | pystac.Item | Scene"
"""What may be given as a result."""

_TIME: Final = re.compile(
    r"(?<!\d)(\d{4})-?(\d{2})-?(\d{2})(?:[T_ -]?(\d{2})[:-]?(\d{2})[:-]?(\d{2})Z?)?(?!\d)"
)
MARK: Final = "lstzoom_mosaic_rule"
"""Attribute of mosaics, and in upper case tag of their COGs."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Names of assets, the first that an item has.
_LST: Final = ("lst_sharpened_10m", "lst")
_UNCERTAINTY: Final = ("lst_uncertainty", "uncertainty")
_QA: Final = ("lst_qa", "qa")


@dataclass(frozen=True)
class Scene:
    """One result: layers on one grid, and when.

    Parameters
    ----------
    name
        Id; scenes of one time are told apart by it.
    time
        Of the acquisition; taken as UTC where it has no zone.
    lst
        Kelvin.
    uncertainty
        Standard uncertainty, kelvin; None where it was not written.
    qa
        Flags (`lstzoom.kernels.quality.QA`); None where they were not written.
    href
        Where it is from, for links.
    place
        What holds one scene of a time: another name there is the same overpass, processed again. Empty where
        nothing tells.

    Raises
    ------
    GridMismatchError
        If the layers lie on different grids.
    """

    name: str
    time: datetime
    lst: Layer
    uncertainty: Layer | None = None
    qa: Layer | None = None
    href: str = field(default="")
    place: str = field(default="")

    def __post_init__(self) -> None:
        """Bring the time to UTC, and hold the layers to one grid."""
        zone = self.time.replace(tzinfo=UTC) if self.time.tzinfo is None else self.time.astimezone(UTC)
        object.__setattr__(self, "time", zone)
        for what, layer in (("uncertainty", self.uncertainty), ("flags", self.qa)):
            if layer is not None and not coincide(layer.grid, self.lst.grid):
                raise GridMismatchError(
                    f"the {what} of {self.name!r} lie on {describe_grid(layer.grid)}, its temperature on "
                    f"{describe_grid(self.lst.grid)}; name the layers of one run"
                )

    @property
    def grid(self) -> GeoBox:
        """Grid of the scene."""
        return self.lst.grid

    @property
    def stamp(self) -> str:
        """What changes with the content of the layers."""
        layers = (self.lst, self.uncertainty, self.qa)
        # The name, too: a place in a cube may come to hold another scene.
        return "|".join([self.name, *("" if one is None else one.stamp for one in layers)])

    @property
    def key(self) -> tuple[datetime, str, str]:
        """What scenes are ordered by: a mosaic does not depend on the order in which they are given."""
        return self.time, self.name, self.href


def in_order(scenes: Iterable[Scene]) -> tuple[Scene, ...]:
    """Order scenes by time, then by name.

    Raises
    ------
    InputError
        If there is none, or one is given twice.
    """
    found = tuple(sorted(scenes, key=lambda one: one.key))
    if not found:
        raise InputError("no scene was given; name at least one result")
    for one, other in itertools.pairwise(found):
        if one.key == other.key:
            raise InputError(
                f"the scene {one.name!r} of {one.time:%Y-%m-%d %H:%M:%S} is given twice ({one.href})"
            )
    return found


def open_scenes(
    results: Sequence[Source], storage_options: Mapping[str, Any] | None = None
) -> tuple[Scene, ...]:
    """Open results, in order of time and name.

    Parameters
    ----------
    results
        Folder or address that `lstzoom run` wrote to, of which the scenes that are complete are taken; STAC
        item or collection (JSON), folder with one in it, Zarr store of `lstzoom sharpen` or cube, COG of
        temperature (with ``NAME_qa.tif`` and ``NAME_uncertainty.tif`` beside it, if they are there), or a
        `Scene`.
    storage_options
        For fsspec, where stores lie in an object store.

    Returns
    -------
    tuple of Scene
        Ordered by time and name.

    Raises
    ------
    InputError
        If a result cannot be opened, does not tell its time, or is given twice.
    GridMismatchError
        If layers of one scene lie on different grids.
    UnitsError
        If a temperature is not in kelvin.
    """
    options = tuple(sorted((storage_options or {}).items()))
    return in_order(scene for result in results for scene in _opened(result, options))


def _opened(result: Source, options: tuple[tuple[str, Any], ...]) -> Iterator[Scene]:
    if isinstance(result, Scene):
        yield result
    elif not isinstance(result, str | Path):
        yield _of_item(result)
    elif str(result).endswith((".json", ".geojson")):
        yield from _of_json(str(result), options)
    elif str(result).endswith((".tif", ".tiff")):
        yield _of_file(str(result))
    elif store_at(str(result)).exists(layout.JOB):
        yield from _of_run(store_at(str(result)), options)
    elif _is_store(str(result), options):
        yield from _of_store(str(result), options)
    elif Path(result).is_dir():
        yield from _of_folder(Path(result), options)
    else:
        yield _of_file(str(result))


# STAC


def _of_json(path: str, options: tuple[tuple[str, Any], ...]) -> Iterator[Scene]:
    import pystac  # noqa: PLC0415  (slow to import, and files do not need it)

    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if content.get("type") == "FeatureCollection":
            found: Iterable[pystac.Item] = [pystac.Item.from_dict(one) for one in content["features"]]
        else:
            whole = pystac.read_file(path)
            found = whole.get_items(recursive=True) if isinstance(whole, pystac.Catalog) else [whole]  # type: ignore[list-item]
        items = list(found)
    except (OSError, ValueError, KeyError, AttributeError, pystac.STACError, pystac.STACTypeError) as error:
        raise InputError(
            f"{path!r} cannot be read as a STAC item or collection: {error}; give the JSON that `lstzoom "
            "run` or `lstzoom product` wrote"
        ) from error
    if not items:
        raise InputError(f"{path!r} holds no STAC item; give the collection of a finished run")
    for item in items:
        yield from _of_any_item(item, options)


def _of_any_item(item: pystac.Item, options: tuple[tuple[str, Any], ...]) -> Iterator[Scene]:
    if any(key in item.assets for key in _LST):
        yield _of_item(item)
        return
    stores = [
        one for one in item.assets.values() if "zarr" in (one.media_type or "") or one.href.endswith(".zarr")
    ]
    if not stores:
        raise InputError(
            f"the item {item.id!r} has the assets {sorted(item.assets)} and none of {', '.join(_LST)}; give "
            "the items of finished results"
        )
    yield from _of_store(stores[0].get_absolute_href() or stores[0].href, options)


def _of_item(item: pystac.Item) -> Scene:
    when = item.datetime or item.common_metadata.start_datetime
    if when is None:
        raise InputError(f"the item {item.id!r} has no datetime; give it one")
    layers = {
        what: _asset(item, names) for what, names in (("lst", _LST), ("unc", _UNCERTAINTY), ("qa", _QA))
    }
    lst = layers["lst"]
    if lst is None:
        raise InputError(
            f"the item {item.id!r} has the assets {sorted(item.assets)} and none of {', '.join(_LST)}"
        )
    href = item.get_self_href() or lst.source.path
    _require_kelvin(lst.source.units, item.id)
    return Scene(item.id, when, lst, layers["unc"], layers["qa"], href)


def _asset(item: pystac.Item, names: Sequence[str]) -> FileLayer | None:
    for name in names:
        if name not in item.assets:
            continue
        asset = item.assets[name]
        href = asset.get_absolute_href() or asset.href
        source = raster.describe(gdal_path(href))[0]
        bands = asset.extra_fields.get("bands") or asset.extra_fields.get("raster:bands") or [{}]
        return FileLayer(_told(source, bands[0]))
    return None


def _told(source: RasterSource, band: Mapping[str, Any]) -> RasterSource:
    """Complete what the file does not say by what the item does."""
    if (source.scale, source.offset) == (1.0, 0.0):
        scale = float(band.get("raster:scale", band.get("scale", 1.0)))
        source = replace(
            source, scale=scale, offset=float(band.get("raster:offset", band.get("offset", 0.0)))
        )
    nodata = band.get("nodata")
    if source.nodata is None and nodata is not None:
        source = replace(source, nodata=float(nodata))
    return source


# Zarr


def _is_store(path: str, options: tuple[tuple[str, Any], ...]) -> bool:
    if "://" not in path:
        return (Path(path) / "zarr.json").is_file()
    import fsspec  # noqa: PLC0415  (slow to import, and local files do not need it)

    system, root = fsspec.core.url_to_fs(path, **dict(options))
    return bool(system.exists(f"{root.rstrip('/')}/zarr.json"))


def _of_store(path: str, options: tuple[tuple[str, Any], ...]) -> Iterator[Scene]:
    store = _Cube.open(path, options)
    stem = Path(path).name.removesuffix(".zarr")
    if store.times is None:
        told = str(store.attrs.get("datetime") or store.attrs.get("time_coverage_start") or "")
        yield store.scene(stem, _time_in(told) or _time_of(path), None)
        return
    for place, when in enumerate(store.times):
        yield store.scene(f"{stem}-{when:%Y%m%dT%H%M%SZ}", when, place)


@dataclass(frozen=True)
class _Cube:
    """A store that was looked at: grid, times, and how its variables are stored."""

    path: str
    url: str
    grid: GeoBox
    times: tuple[datetime, ...] | None
    attrs: Mapping[str, Any]
    variables: Mapping[str, Mapping[str, Any]]
    options: tuple[tuple[str, Any], ...]

    @classmethod
    def open(cls, path: str, options: tuple[tuple[str, Any], ...]) -> _Cube:
        import xarray as xr  # noqa: PLC0415  (slow to import, and files do not need it)

        url = path if "://" in path else str(Path(path).resolve())
        try:
            store = xr.open_zarr(
                url,
                chunks=None,
                mask_and_scale=False,
                decode_times=False,
                storage_options=dict(options) or None,
            )
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path!r} is no Zarr store that can be read ({error})") from error
        if "lst" not in store or store.lst.dims[-2:] != ("y", "x"):
            raise InputError(
                f"{path!r} holds {sorted(map(str, store.data_vars))} and no 'lst' of dimensions (y, x) or "
                "(time, y, x); give a store of `lstzoom sharpen --zarr`, or a cube of `lstzoom run`"
            )
        _require_kelvin(str(store.lst.attrs.get("units", "K")), path)
        times = None
        if "time" in store.lst.dims:
            moments = xr.decode_cf(store[["time"]]).time.values.astype("datetime64[us]").astype(np.int64)
            times = tuple(_EPOCH + timedelta(microseconds=int(one)) for one in moments)
        described = {str(name): dict(one.attrs) for name, one in store.data_vars.items()}
        return cls(path, url, grid_of(store.lst), times, dict(store.attrs), described, options)

    def scene(self, name: str, when: datetime, place: int | None) -> Scene:
        lst, sigma, qa = (self._layer(one, place) for one in ("lst", "lst_uncertainty", "qa"))
        assert lst is not None  # noqa: S101  (checked when it was opened)
        return Scene(name, when, lst, sigma, qa, self.path, self.path)

    def _layer(self, name: str, place: int | None) -> ZarrLayer | None:
        attrs = self.variables.get(name)
        if attrs is None:
            return None
        fill = attrs.get("_FillValue")
        known = isinstance(fill, int | float | np.number) and np.isfinite(fill)
        return ZarrLayer(
            self.url,
            name,
            self.grid,
            float(attrs.get("scale_factor", 1.0)),
            float(attrs.get("add_offset", 0.0)),
            float(fill) if known else None,  # type: ignore[arg-type]
            place,
            self.options,
        )


# Runs


def _of_run(store: Store, options: tuple[tuple[str, Any], ...]) -> Iterator[Scene]:
    """Scenes of a run that are complete, whole, from the cubes or else from the COGs of their tiles."""
    records = Ledger(store).complete()
    if not records:
        raise InputError(
            f"{store.url!r} holds no complete scene yet; let `lstzoom run` finish, or go on with it"
        )
    cubes: dict[str, _Cube] = {}
    for key, record in sorted(records.items()):
        when = datetime.fromisoformat(record["datetime"])
        name = layout.cube(record["cube"])
        if not store.exists(f"{name}/zarr.json"):
            yield _of_tiles(store, key, when, record)
            continue
        if name not in cubes:
            cubes[name] = _Cube.open(store.address(name), options)
        times = cubes[name].times or ()
        yield cubes[name].scene(key, when, times.index(when))


def _of_tiles(store: Store, key: str, when: datetime, record: Mapping[str, Any]) -> Scene:
    rows, columns = record["shape"]
    grid = GeoBox((rows, columns), Affine(*record["transform"]), record["crs"])
    layers = {name: _patches(store, key, name, grid, record) for name in ("lst", "lst_uncertainty", "qa")}
    lst = layers["lst"]
    if lst is None:
        raise InputError(
            f"{store.url!r} holds neither a cube nor COGs of the scene {key!r}; run the job again"
        )
    href = store.address(layout.scene_record(key))
    # Where its cube would be.
    place = store.address(layout.cube(record["cube"]))
    return Scene(key, when, lst, layers["lst_uncertainty"], layers["qa"], href, place)


def _patches(store: Store, key: str, layer: str, grid: GeoBox, record: Mapping[str, Any]) -> Patchwork | None:
    names = [layout.cog(key, tile, layer) for tile in record["tile_names"]]
    if not store.exists(names[0]):
        return None
    found = []
    for name in names:
        source = raster.describe(gdal_path(store.address(name)))[0]
        corner = source.geobox.affine
        top = round((corner.f - grid.affine.f) / grid.affine.e)
        left = round((corner.c - grid.affine.c) / grid.affine.a)
        found.append((top, left, FileLayer(source)))
    return Patchwork(grid, tuple(found))


# Files


def _of_folder(folder: Path, options: tuple[tuple[str, Any], ...]) -> Iterator[Scene]:
    """Take the collection of a folder, else its item, else the stores, else the COGs in it."""
    for name in ("collection.json", "stac_item.json"):
        if (folder / name).is_file():
            yield from _of_json(str(folder / name), options)
            return
    # A mosaic that was written beside its scenes is none of them.
    stores = sorted(one.parent for one in folder.glob("*/zarr.json") if not _is_mosaic(one))
    files = sorted(
        one for one in folder.glob("*.tif*") if not re.search(r"_(qa|uncertainty)\.tiff?$", one.name)
    )
    if not stores and not files:
        raise InputError(
            f"{str(folder)!r} holds neither a STAC collection or item, nor Zarr stores, nor GeoTIFFs; give "
            "the folder of finished results"
        )
    for store in stores:
        yield from _of_store(str(store), options)
    if not stores:
        for file in files:
            if MARK.upper() not in _tags(str(file)):
                yield _of_file(str(file))


def _of_file(path: str) -> Scene:
    # Refuses what cannot be a temperature, on a sample of the values.
    source = raster.lazy_lst(gdal_path(path)).source
    return Scene(
        Path(path).stem,
        _tagged(source.path) or _time_of(path),
        FileLayer(source),
        _beside(path, "uncertainty"),
        _beside(path, "qa"),
        path,
    )


def _beside(path: str, what: str) -> FileLayer | None:
    place = Path(path)
    names = (f"{place.stem}_{what}{place.suffix}", f"{place.stem.removesuffix('_lst')}_{what}{place.suffix}")
    for name in names:
        if (place.parent / name).is_file():
            return FileLayer(raster.describe(place.parent / name)[0])
    return None


def _is_mosaic(metadata: Path) -> bool:
    try:
        return MARK in json.loads(metadata.read_bytes()).get("attributes", {})
    except (OSError, ValueError, AttributeError):
        # What cannot be read is told when it is opened.
        return False


def _tags(path: str) -> dict[str, str]:
    with rasterio.open(path) as file:
        return dict(file.tags())


def _tagged(path: str) -> datetime | None:
    tags = _tags(path)
    told = next((tags[key] for key in ("LSTZOOM_DATETIME", "TIFFTAG_DATETIME") if key in tags), None)
    # TIFF separates the parts of a date by colons.
    return None if told is None else _time_in(re.sub(r"^(\d{4}):(\d{2}):(\d{2})", r"\1-\2-\3", told))


def _time_of(path: str) -> datetime:
    """Time in a name, or in that of the folder above it."""
    for name in (Path(path).name, Path(path).parent.name):
        found = _time_in(name)
        if found is not None:
            return found
    raise InputError(
        f"{path!r} does not tell when it was acquired; give its STAC item, or put the time into its name, as "
        "in lst_20230615T101500Z.tif"
    )


def _time_in(text: str) -> datetime | None:
    for found in _TIME.finditer(text):
        try:
            return datetime(*(int(part or 0) for part in found.groups()), tzinfo=UTC)  # type: ignore[arg-type,misc]
        except ValueError:
            continue
    return None


def _require_kelvin(units: str, what: str) -> None:
    if units.strip().lower() not in {"", *KELVIN_NAMES}:
        raise UnitsError(f"the temperature of {what!r} is in {units!r}; results in kelvin are needed")

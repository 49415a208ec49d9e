"""The prepared pair: lazy, masked, scaled, on grids that nest.

The grid of the LST owns the geometry and is cut to whole pixels around the area of interest. Reflectance
is put on its division. Nothing is read before something is computed; then each chunk is one task that
signs, opens and reads what it needs, by the position in the whole grid, so that results do not depend on
the chunks. A read that fails is an error.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol, TypedDict, Unpack

import dask.array as da
import numpy as np
import pystac
import xarray as xr
from affine import Affine
from dask.base import tokenize
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from shapely.geometry.base import BaseGeometry

from lstzoom import stac
from lstzoom.config import SharpenConfig
from lstzoom.errors import InputError
from lstzoom.grid import GridPair, describe_grid, grid_of, resolve_grids
from lstzoom.inputs import MIN_COARSE
from lstzoom.kernels.aggregate import area_mean, area_mean_radiance
from lstzoom.product.encoding import Variable
from lstzoom.sources.area import Area, bounds_on
from lstzoom.sources.catalog import (
    Access,
    Catalog,
    Constants,
    Flag,
    Layer,
    MaskLayer,
    Names,
    VnirLayers,
    open_catalog,
)
from lstzoom.sources.encoding import find_asset, href_of, settle, to_kelvin, told_by, vnir_constants
from lstzoom.sources.local import local_items, tells_time
from lstzoom.sources.masks import shrink, usable
from lstzoom.sources.metadata import metadata_constants
from lstzoom.sources.naming import nearest
from lstzoom.sources.options import DEFAULT_CHUNK, MaskOptions, load_options
from lstzoom.sources.pair import Pair, Pairing, pair_rule, require_pairs
from lstzoom.sources.reading import RemoteBand, Window, header, read, touches
from lstzoom.sources.search import Candidate, Found, Items, Unusable, chosen_bands, examine, search
from lstzoom.sources.times import When
from lstzoom.types import LST_ATTRS

logger = logging.getLogger(__name__)

_DEMO_SHAPE: Final = (600, 600)


class SharpenInputs(TypedDict):
    """Arguments of `lstzoom.sharpen`."""

    vnir: xr.DataArray
    lst: xr.DataArray
    valid: xr.DataArray
    lst_uncertainty: xr.DataArray | None
    config: SharpenConfig


class FineReader(Protocol):
    """Reads reflectance, a window of the fine grid at a time; can be pickled."""

    def read(self, window: Window) -> NDArray[np.float32]:
        """Bands, rows and columns of a window."""
        ...

    def layers(self) -> list[RemoteBand]:
        """List all that is read."""
        ...


class CoarseReader(Protocol):
    """Reads what lies on the coarse grid, a window at a time; can be pickled."""

    def read(self, what: str, window: Window) -> NDArray[Any]:
        """One of ``"lst"``, ``"valid"`` and ``"uncertainty"`` in a window."""
        ...

    def layers(self) -> list[RemoteBand]:
        """List all that is read."""
        ...


@dataclass(frozen=True, slots=True)
class Readers:
    """Both sides of a pair by windows, and the grids they are read on."""

    fine: FineReader
    coarse: CoarseReader
    grids: GridPair


@dataclass(frozen=True, slots=True)
class LoadedPair:
    """What `lstzoom.sharpen` takes, and where it comes from.

    Attributes
    ----------
    vnir
        Reflectance, float32, dimensions (band, y, x), on the fine grid; NaN where missing or masked.
    lst
        Kelvin, float32, dimensions (y, x), on the coarse grid; NaN where missing.
    valid
        bool, dimensions (y, x), on the coarse grid: True where the LST's own masks let it be used.
    uncertainty
        Standard error of the LST in kelvin, float32, as `lst`; None where the source has none.
    attrs
        What was loaded: catalogue, items, times, native resolution, masks.
    unusable
        Items that were found and not used, with the reason.
    readers
        The same by windows: what `lstzoom.sources.windowed` reads with, for those who bring their own tasks.

    Notes
    -----
    Where reflectance is masked under valid LST, `lstzoom.sharpen` interpolates and flags; where the LST
    is masked it gives nothing.
    """

    vnir: xr.DataArray
    lst: xr.DataArray
    valid: xr.DataArray
    uncertainty: xr.DataArray | None
    attrs: Mapping[str, Any]
    unusable: tuple[Unusable, ...] = field(default=(), repr=False)
    readers: Readers | None = field(default=None, repr=False)

    def inputs(self, config: SharpenConfig | None = None) -> SharpenInputs:
        """Return arguments of `lstzoom.sharpen`: ``sharpen(**pair.inputs())``.

        Parameters
        ----------
        config
            Settings; by default the defaults. What the thermal instrument resolves is filled in where it is
            more than a pixel of the LST and the settings leave it open.

        Notes
        -----
        The uncertainty of the LST goes with them, but to the published method, which states none.
        """
        settings = config or SharpenConfig()
        native = float(self.attrs["lst_native_resolution_m"])
        if settings.native_resolution is None and native > abs(grid_of(self.lst).affine.a):
            settings = settings.model_copy(update={"native_resolution": native})
        return SharpenInputs(
            vnir=self.vnir, lst=self.lst, valid=self.valid,
            lst_uncertainty=self.uncertainty if settings.method == "calibrated" else None, config=settings,
        )  # fmt: skip


def load(
    catalog: str | Path | Catalog,
    area: Area | None = None,
    datetime: When | None = None,
    *,
    endpoint: str | None = None,
    items: Items | None = None,
    folder: str | Path | None = None,
    lst_item: str | None = None,
    bands: Sequence[str] | None = None,
    window_days: float | None = None,
    max_cloud: float | None = None,
    min_coverage: float | None = None,
    masks: MaskOptions | None = None,
    ratio: int | None = None,
    chunks: int = DEFAULT_CHUNK,
    allow: Sequence[str] | None = None,
) -> LoadedPair:
    """Search a source, pair LST with reflectance, and load the pair lazily.

    Parameters
    ----------
    catalog
        Name of a catalogue that comes with lstzoom (``lstzoom catalog list``), or path of a TOML file.
    area
        Area of interest: west, south, east, north in degrees, GeoJSON, a shapely geometry, or a file.
        Needed for a search; with items that are given, by default what LST and reflectance share.
    datetime
        Time or interval of the LST, such as ``"2023-10-08"`` or ``"2023-10-01/2023-10-31"``. Needed for a
        search. Of several pairs, the one that costs least is loaded.
    endpoint
        Name of the endpoint in the catalogue; default the first.
    items
        STAC items (objects or JSON), or a file of them, in place of a search.
    folder
        Folder of the files, for catalogues of the kind ``local``.
    lst_item
        Id of the LST's item, to choose a pair.
    bands
        Names of the reflectance bands; default those of the catalogue.
    window_days, max_cloud, min_coverage
        In place of those of the catalogue's ``[pair]``.
    masks
        Which pixels are not used.
    ratio
        Fine pixels along a coarse one; default from the grids.
    chunks
        Coarse pixels along a chunk.
    allow
        Beginnings of addresses, and folders, that may be read, such as ``("s3://usgs-landsat/", "/data")``;
        symbolic links are followed first. By default items that are given may have everything read, and items
        that a service on another machine lists, addresses of networks.

    Returns
    -------
    LoadedPair

    Raises
    ------
    InputError
        If nothing is found, nothing can be paired, or a band, mask or asset is missing.
    ConfigError
        If the catalogue or an option is not valid, or of the wrong kind.
    GridMismatchError
        If the grids do not belong together.
    UnitsError
        If an item tells a temperature in another unit than kelvin or Celsius.

    Examples
    --------
    >>> pair = load("demo")
    >>> dict(pair.lst.sizes), dict(pair.vnir.sizes)
    ({'y': 200, 'x': 200}, {'band': 8, 'y': 600, 'x': 600})
    """
    source = open_catalog(catalog)
    asked = load_options(
        {
            "endpoint": endpoint, "folder": folder, "lst_item": lst_item, "bands": bands,
            "window_days": window_days, "max_cloud": max_cloud, "min_coverage": min_coverage,
            "masks": masks, "ratio": ratio, "chunks": chunks, "allow": allow,
        }
    )  # fmt: skip
    if source.source.kind == "simulated" and items is None:
        return load_simulated(source, asked.bands, asked.chunks)
    found, pairing = find_pairs(
        source, area, datetime, endpoint=asked.endpoint, items=items, folder=asked.folder, bands=asked.bands,
        window_days=asked.window_days, max_cloud=asked.max_cloud, min_coverage=asked.min_coverage,
        allow=asked.allow,
    )  # fmt: skip
    pair = _chosen(pairing, asked.lst_item)
    loaded = load_pair(
        source, pair, area=found.area, bands=asked.bands, masks=asked.masks, ratio=asked.ratio,
        chunks=asked.chunks,
    )  # fmt: skip
    return replace(loaded, unusable=found.unusable)


class FindOptions(TypedDict, total=False):
    """What `find` takes beside catalogue, area and time; as for `load`."""

    endpoint: str | None
    items: Items | None
    folder: str | Path | None
    bands: Sequence[str] | None
    window_days: float | None
    max_cloud: float | None
    allow: Sequence[str] | None


def find_pairs(
    catalog: str | Path | Catalog,
    area: Area | None = None,
    datetime: When | None = None,
    *,
    min_coverage: float | None = None,
    **options: Unpack[FindOptions],
) -> tuple[Found, Pairing]:
    """Search a source and pair all of it; arguments and errors as for `load`.

    Returns
    -------
    found : Found
        Candidates, and what cannot be used.
    pairing : Pairing
        At least one pair.
    """
    found = find(catalog, area, datetime, **options)
    rule = pair_rule(found, window_days=options.get("window_days"), min_coverage=min_coverage)
    return found, require_pairs(found, rule)


def find(
    catalog: str | Path | Catalog,
    area: Area | None = None,
    datetime: When | None = None,
    **options: Unpack[FindOptions],
) -> Found:
    """Find candidates as `load` does, whose arguments these are: of items, of files, or of a search.

    Raises
    ------
    InputError
        If nothing is found, or what a search needs is not given.
    """
    source = open_catalog(catalog)
    items, bands, allow = options.get("items"), options.get("bands"), options.get("allow")
    max_cloud, endpoint = options.get("max_cloud"), options.get("endpoint")
    broken: dict[str, str] = {}
    if items is None and source.source.kind == "local":
        items = local_items(source, options.get("folder"), broken)
        # Files that tell no time are of any.
        datetime = datetime if tells_time(source) else None
    if items is not None:
        found = examine(source, items, area, datetime, bands=bands, max_cloud=max_cloud, allow=allow)
        files = tuple(Unusable(name, None, reason) for name, reason in broken.items())
        return replace(found, unusable=(*files, *found.unusable))
    source.endpoint(endpoint)
    if area is None or datetime is None:
        raise InputError(
            f"the source {source.name!r} is searched: give an area and a datetime, for example "
            "load(..., (11.0, 48.0, 11.2, 48.1), '2023-06'), or pass items"
        )
    return search(
        source, area, datetime, endpoint=endpoint, bands=bands, max_cloud=max_cloud,
        window_days=options.get("window_days"), allow=allow,
    )  # fmt: skip


def _chosen(pairing: Pairing, lst_item: str | None) -> Pair:
    if lst_item is None:
        best = min(pairing.pairs, key=lambda pair: (pair.cost, pair.lst.when, pair.lst.item.id))
        if len(pairing.pairs) > 1:
            logger.info("%d pairs; taken: %s", len(pairing.pairs), best)
        return best
    for pair in pairing.pairs:
        if pair.lst.item.id == lst_item:
            return pair
    known = [pair.lst.item.id for pair in pairing.pairs]
    why = [str(one) for one in pairing.unpaired if one.item == lst_item]
    raise InputError(f"no pair has the LST {lst_item!r}{nearest(lst_item, known)}{'; '.join(['', *why])}")


def load_pair(
    catalog: str | Path | Catalog,
    pair: Pair,
    *,
    area: BaseGeometry | None = None,
    bands: Sequence[str] | None = None,
    masks: MaskOptions | None = None,
    ratio: int | None = None,
    chunks: int = DEFAULT_CHUNK,
) -> LoadedPair:
    """Load a pair lazily; see `load`."""
    source, options = open_catalog(catalog), masks or MaskOptions()
    _require_options(source, options)
    names = _bands_there(source, pair, chosen_bands(source, bands))
    lst = _remote(pair.lst, source.lst, _constants(source, pair.lst, "ST", source.lst), "lst", "kelvin")
    if lst.told.unit:
        to_kelvin(settle(lst.told, None, lst.constants), f"the LST of the item {pair.lst.item.id!r}")
    factor = _factor(source, pair.lst, lst.grid)
    bands_of = [_bands(source, one, names) for one in pair.vnir]
    native = _cut(lst.grid, _bounds(lst.grid, area, [one[0].grid for one in bands_of]), factor)
    coarse = _zoomed_out(native, factor)
    grids = resolve_grids(coarse, [band.grid for one in bands_of for band in one], ratio)
    pixel = abs(grids.fine.affine.a)
    members = tuple(
        _Member(found, _masks(source, one, options, pixel))
        for one, found in zip(pair.vnir, bands_of, strict=True)
    )
    thermal = _thermal(source, pair.lst, lst, options, native, factor)
    made, vnir = _Arrays(grids, chunks), _VnirPlan(members, grids.fine, len(names))
    attrs = _attrs(source, pair, members, thermal, grids, options)
    lst_attrs = {**LST_ATTRS, **_provenance(attrs)}
    return LoadedPair(
        vnir=made.vnir(vnir, names, attrs),
        lst=made.coarse(thermal, "lst", np.dtype(np.float32), lst_attrs),
        valid=made.coarse(thermal, "valid", np.dtype(np.bool_), {"long_name": "the LST can be used"}),
        uncertainty=None if thermal.uncertainty is None else made.coarse(
            thermal, "uncertainty", np.dtype(np.float32),
            {"units": "K", "long_name": "standard error of the LST"},
        ),
        attrs=attrs,
        readers=Readers(vnir, thermal, grids),
    )  # fmt: skip


# What a task needs


@dataclass(frozen=True, slots=True)
class _Mask:
    """A mask layer of one item, and what makes a pixel unusable."""

    band: RemoteBand
    rejected: tuple[Flag, ...]
    known: tuple[int, ...] | None
    pixels: float

    def __dask_tokenize__(self) -> tuple[object, ...]:
        return ("lstzoom._Mask", self.band.__dask_tokenize__(), repr(self.rejected), self.known, self.pixels)


@dataclass(frozen=True, slots=True)
class _Member:
    """Bands and masks of one item of reflectance."""

    bands: tuple[RemoteBand, ...]
    masks: tuple[_Mask, ...]

    def __dask_tokenize__(self) -> tuple[object, ...]:
        bands, masks = ([one.__dask_tokenize__() for one in part] for part in (self.bands, self.masks))
        return ("lstzoom._Member", *bands, *masks)


@dataclass(frozen=True, slots=True)
class _VnirPlan:
    """Reflectance on the fine grid.

    All bands of a pixel are of one item: where items overlap, of the first that has all bands there, else of
    the one that has most.
    """

    members: tuple[_Member, ...]
    grid: GeoBox
    count: int

    def __dask_tokenize__(self) -> tuple[object, ...]:
        return ("lstzoom._VnirPlan", _grid_token(self.grid), *(m.__dask_tokenize__() for m in self.members))

    def layers(self) -> list[RemoteBand]:
        """Bands and masks of all items."""
        return [band for one in self.members for band in (*one.bands, *(mask.band for mask in one.masks))]

    def read(self, window: Window) -> NDArray[np.float32]:
        """Bands, rows and columns of a window."""
        shape = (self.count, *(part.stop - part.start for part in window))
        out = np.full(shape, np.nan, np.float32)
        for member in self.members:
            if not any(touches(band.grid, self.grid, window) for band in member.bands):
                continue
            if np.isfinite(out).all():
                break
            values = np.stack([read(band, self.grid, window) for band in member.bands])
            values[:, ~_usable(member.masks, self.grid, window)] = np.nan
            better = np.isfinite(values).sum(axis=0) > np.isfinite(out).sum(axis=0)
            out = np.where(better, values, out)
        return out


@dataclass(frozen=True, slots=True)
class _ThermalPlan:
    """LST, its masks and its uncertainty on the pixels of the files, averaged by a factor."""

    lst: RemoteBand
    masks: tuple[_Mask, ...]
    uncertainty: RemoteBand | None
    max_uncertainty: float | None
    grid: GeoBox
    factor: int

    def __dask_tokenize__(self) -> tuple[object, ...]:
        parts: list[RemoteBand | _Mask] = [self.lst, *self.masks]
        parts += [self.uncertainty] if self.uncertainty else []
        return (
            "lstzoom._ThermalPlan", _grid_token(self.grid), self.factor, self.max_uncertainty,
            *(one.__dask_tokenize__() for one in parts),
        )  # fmt: skip

    def layers(self) -> list[RemoteBand]:
        """LST, its masks, and its uncertainty where there is one."""
        others = [self.uncertainty] if self.uncertainty is not None else []
        return [self.lst, *(mask.band for mask in self.masks), *others]

    def read(self, what: str, window: Window) -> NDArray[Any]:
        """One layer in a window of the coarse grid."""
        rows, columns = (slice(part.start * self.factor, part.stop * self.factor) for part in window)
        if what == "valid":
            good = _usable(self.masks, self.grid, (rows, columns)) & self._is_certain((rows, columns))
            return np.asarray(area_mean(good.astype(np.float32), self.factor) == 1)
        if what == "lst":
            values = read(self.lst, self.grid, (rows, columns))
            # Pixels that are not one temperature share their radiance.
            return values if self.factor == 1 else area_mean_radiance(values, self.factor)
        if self.uncertainty is None:
            raise InputError("the source has no uncertainty of its LST")
        # Errors of neighbours are one error: they do not shrink when averaged.
        return area_mean(read(self.uncertainty, self.grid, (rows, columns)), self.factor)

    def _is_certain(self, window: Window) -> NDArray[np.bool_] | bool:
        if self.uncertainty is None or self.max_uncertainty is None:
            return True
        return read(self.uncertainty, self.grid, window) <= self.max_uncertainty


def _usable(masks: Sequence[_Mask], grid: GeoBox, window: Window) -> NDArray[np.bool_]:
    """Where all masks let a pixel be used.

    What is rejected beyond the edge of the grid reaches in, so that the edge of an area is not special. Where
    a file ends nothing is known, and nothing reaches in.
    """
    good = np.ones([part.stop - part.start for part in window], np.bool_)
    for mask in masks:
        margin = math.ceil(mask.pixels)
        rows, columns = (slice(part.start, part.stop + 2 * margin) for part in window)
        codes = read(mask.band, grid.pad(margin), (rows, columns), "nearest")
        one, inside = usable(codes, mask.rejected, mask.known), np.isfinite(codes)
        kept = one & shrink(one | ~inside, mask.pixels)
        inner = slice(margin, -margin or None)
        good &= kept[inner, inner]
    return good


def _grid_token(grid: GeoBox) -> tuple[object, ...]:
    return (str(grid.crs), tuple(grid.affine)[:6], tuple(grid.shape))


# Plans from items


def _remote(
    candidate: Candidate, layer: Layer, constants: Constants, name: str, kind: str,
    vnir: VnirLayers | None = None,
) -> RemoteBand:  # fmt: skip
    """Describe one layer of an item. The header is read only if the item does not tell the grid."""
    item = candidate.item
    key = find_asset(item, layer)
    if key is None:
        raise InputError(f"the item {item.id!r} has no asset for {name!r}; it has {', '.join(item.assets)}")
    asset = item.assets[key]
    href, access = href_of(asset, candidate.access), _access(asset, candidate.access)
    grid = stac.told_grid(asset.extra_fields, item.properties)
    if grid is None:
        grid = header(href, access, layer.band).geobox
    return RemoteBand(
        name=name, href=href, band=layer.band, grid=grid,
        told=told_by(item, key, layer.band, vnir),
        constants=Constants(**_fields(constants)),
        access=access, kind=kind,
    )  # fmt: skip


def _access(asset: pystac.Asset, access: Access) -> Access:
    """Access of an asset, which may tell that its readers pay."""
    pays = asset.extra_fields.get("storage:requester_pays") is True and not access.anonymous
    if not pays or access.requester_pays:
        return access
    region = access.region or asset.extra_fields.get("storage:region")
    return access.model_copy(update={"requester_pays": True, "region": region})


def _constants(source: Catalog, candidate: Candidate, variable: Variable, known: Constants) -> Constants:
    """Return the encoding where neither item nor file tells: of the metadata beside, else as documented."""
    documented = Constants(**_fields(known))
    return metadata_constants(source, candidate.item, candidate.access, variable, documented)


def _fields(constants: Constants) -> dict[str, Any]:
    return {name: getattr(constants, name) for name in Constants.model_fields}


def _bands(source: Catalog, candidate: Candidate, names: Names) -> tuple[RemoteBand, ...]:
    """Describe the reflectance bands of an item."""
    group = source.vnir.model_copy(update=_fields(_constants(source, candidate, "SR", source.vnir)))
    return tuple(
        _remote(
            candidate,
            source.vnir.bands[name],
            vnir_constants(candidate.item, group, name),
            name,
            "values",
            source.vnir,
        )
        for name in names
    )


def _masks(source: Catalog, candidate: Candidate, options: MaskOptions, pixel: float) -> tuple[_Mask, ...]:
    """Masks of an item's side that are there and turned on."""
    made = []
    for mask in source.masks:
        rejected = mask.rejected(options.reject.get(mask.name))
        if mask.on != candidate.side or (mask.name in options.reject and not rejected):
            continue
        if find_asset(candidate.item, mask) is None:
            logger.warning("%s has no mask %r: not applied", candidate.item.id, mask.name)
            continue
        if not rejected and mask.unknown == "usable":
            continue
        known = _known(mask) if mask.unknown == "reject" else None
        band = _remote(candidate, mask, Constants(), mask.name, "codes")
        made.append(_Mask(band, rejected, known, options.dilate_m / pixel))
    return tuple(made)


def _known(mask: MaskLayer) -> tuple[int, ...] | None:
    values = tuple(flag.value for flag in mask.flags if flag.bit is None)
    return values or None


def _thermal(
    source: Catalog, candidate: Candidate, lst: RemoteBand, options: MaskOptions, grid: GeoBox, factor: int
) -> _ThermalPlan:
    uncertainty = None
    if source.uncertainty is not None and find_asset(candidate.item, source.uncertainty) is not None:
        uncertainty = _remote(candidate, source.uncertainty, source.uncertainty, "uncertainty", "values")
    elif options.max_uncertainty_k is not None:
        raise InputError(
            f"masks.max_uncertainty_k is given, and the item {candidate.item.id!r} tells no "
            "uncertainty of its LST; leave it out"
        )
    masks = _masks(source, candidate, options, abs(grid.affine.a))
    return _ThermalPlan(lst, masks, uncertainty, options.max_uncertainty_k, grid, factor)


def _bands_there(source: Catalog, pair: Pair, names: Names) -> Names:
    """Of files of one's own, the default is what is there."""
    if source.source.kind != "local":
        return names
    items = [one.item for one in pair.vnir]
    return tuple(n for n in names if all(find_asset(item, source.vnir.bands[n]) for item in items))


def _require_options(source: Catalog, options: MaskOptions) -> None:
    for name, flags in options.reject.items():
        source.mask(name).rejected(flags)


# Grids


def _factor(source: Catalog, candidate: Candidate, grid: GeoBox) -> int:
    """How many pixels of the files make one that the instrument resolves."""
    if not source.lst.aggregate:
        return 1
    native = source.lst.native_resolution_of(candidate.platform)
    return max(1, round(native / abs(grid.affine.a)))


Bounds = tuple[float, float, float, float]


def _bounds(grid: GeoBox, area: BaseGeometry | None, vnir: Sequence[GeoBox]) -> Bounds:
    """Bounds to load, in the CRS of the grid: the area of interest, else what reflectance covers."""
    assert grid.crs is not None  # noqa: S101  (a grid without CRS is none that items can tell)
    if area is not None:
        found = bounds_on(grid, area)
        if found is None:
            raise InputError(f"the area of interest does not meet the LST grid {describe_grid(grid)}")
        return found
    # An edge between projections bends: some points on it.
    boxes = [one.extent.to_crs(grid.crs, resolution=abs(one.affine.a) * 256).boundingbox for one in vnir]
    return (
        min(box.left for box in boxes), min(box.bottom for box in boxes),
        max(box.right for box in boxes), max(box.top for box in boxes),
    )  # fmt: skip


def _cut(grid: GeoBox, bounds: Bounds, factor: int) -> GeoBox:
    """Part of a grid within bounds, in whole blocks counted from the grid's origin."""
    west, south, east, north = bounds
    rows, columns = (size // factor for size in grid.shape)
    step_x, step_y = grid.affine.a * factor, grid.affine.e * factor
    left = max(0, math.floor((west - grid.affine.c) / step_x + 1e-6))
    right = min(columns, math.ceil((east - grid.affine.c) / step_x - 1e-6))
    top = max(0, math.floor((north - grid.affine.f) / step_y + 1e-6))
    bottom = min(rows, math.ceil((south - grid.affine.f) / step_y - 1e-6))
    if bottom - top < MIN_COARSE or right - left < MIN_COARSE:
        held = f"{max(0, bottom - top)} x {max(0, right - left)}"
        raise InputError(
            f"the area of interest holds {held} pixels of the LST grid {describe_grid(grid)}; at least "
            f"{MIN_COARSE} x {MIN_COARSE} are needed: widen the area"
        )
    return grid[top * factor : bottom * factor, left * factor : right * factor]


def _zoomed_out(grid: GeoBox, factor: int) -> GeoBox:
    a = grid.affine
    affine = Affine(a.a * factor, 0, a.c, 0, a.e * factor, a.f)
    rows, columns = grid.shape
    return GeoBox((rows // factor, columns // factor), affine, grid.crs)


# Arrays


@dataclass(frozen=True, slots=True)
class _Arrays:
    """Makes lazy arrays on the two grids; a chunk of both covers the same ground."""

    grids: GridPair
    chunk: int

    def vnir(self, plan: _VnirPlan, names: Names, attrs: Mapping[str, Any]) -> xr.DataArray:
        """Reflectance on the fine grid, all bands in one task."""
        chunks = tuple(self._spans(size, self.grids.ratio) for size in self.grids.coarse.shape)
        values = _mapped(_read_vnir, plan, ((len(names),), *chunks), np.dtype(np.float32))
        coords: dict[Any, Any] = {**xr_coords(self.grids.fine, dims=("y", "x")), "band": list(names)}
        kept = {"units": "1", "native_resolution": attrs["vnir_resolution_m"], **_provenance(attrs)}
        array = xr.DataArray(values, coords, ("band", "y", "x"), "vnir", kept)
        array.encoding["grid_mapping"] = "spatial_ref"
        return array

    def coarse(
        self, plan: _ThermalPlan, what: str, dtype: np.dtype[Any], attrs: Mapping[str, Any]
    ) -> xr.DataArray:
        """One layer on the coarse grid."""
        chunks = tuple(self._spans(size, 1) for size in self.grids.coarse.shape)
        values = _mapped(_read_thermal, plan, chunks, dtype, what=what)
        coords: dict[Any, Any] = dict(xr_coords(self.grids.coarse, dims=("y", "x")))
        array = xr.DataArray(values, coords, ("y", "x"), what, dict(attrs))
        array.encoding["grid_mapping"] = "spatial_ref"
        return array

    def _spans(self, size: int, ratio: int) -> tuple[int, ...]:
        return tuple(min(self.chunk, size - start) * ratio for start in range(0, size, self.chunk))


def _mapped(
    function: Any,  # noqa: ANN401
    plan: _VnirPlan | _ThermalPlan,
    chunks: tuple[tuple[int, ...], ...],
    dtype: np.dtype[Any],
    **settings: Any,
) -> da.Array:
    return da.map_blocks(
        function, chunks=chunks, dtype=dtype, meta=np.empty((0,) * len(chunks), dtype),
        name=f"lstzoom-load-{tokenize(plan, chunks, settings)}", plan=plan, **settings,
    )  # fmt: skip


def _window(block_info: Mapping[Any, Any]) -> Window:
    (y0, y1), (x0, x1) = block_info[None]["array-location"][-2:]
    return slice(y0, y1), slice(x0, x1)


def _read_vnir(plan: _VnirPlan, block_info: Mapping[Any, Any]) -> NDArray[np.float32]:
    return plan.read(_window(block_info))


def _read_thermal(plan: _ThermalPlan, what: str, block_info: Mapping[Any, Any]) -> NDArray[Any]:
    return plan.read(what, _window(block_info))


def _attrs(
    source: Catalog,
    pair: Pair,
    members: Sequence[_Member],
    thermal: _ThermalPlan,
    grids: GridPair,
    options: MaskOptions,
) -> dict[str, Any]:
    """Tell what was loaded, in values that JSON and netCDF can hold; no addresses, so no tokens.

    Times of files that tell none, and a cloud cover that is not told, are left out.
    """
    platform = pair.lst.platform
    times = {"lst_datetime": pair.lst.when.isoformat(), "vnir_datetime": pair.vnir[0].when.isoformat()}
    cloud = {} if pair.cloud is None else {"vnir_cloud_cover": pair.cloud}
    return {
        **(times if tells_time(source) else {}),
        "catalog": source.name,
        "licence": source.source.licence,
        "lst_item": pair.lst.item.id,
        "lst_platform": platform,
        "lst_native_resolution_m": source.lst.native_resolution_of(platform),
        "lst_resolution_m": abs(grids.coarse.affine.a),
        "lst_averaged_pixels": thermal.factor,
        "vnir_items": [one.item.id for one in pair.vnir],
        "vnir_resolution_m": [abs(band.grid.affine.a) for band in members[0].bands],
        "pair_days": pair.days,
        "pair_coverage": pair.coverage,
        **cloud,
        "lst_masks": [_mask_text(mask) for mask in thermal.masks],
        "vnir_masks": [_mask_text(mask) for mask in members[0].masks],
        "mask_dilation_m": options.dilate_m,
    }


def _mask_text(mask: _Mask) -> str:
    return f"{mask.band.name}: {', '.join(flag.name for flag in mask.rejected)}"


def _provenance(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {"native_resolution_m": attrs["lst_native_resolution_m"], "catalog": attrs["catalog"]}


@lru_cache(maxsize=2)
def _simulated_arrays(names: Names) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Reflectance and LST of the simulated scene, made once in a process."""
    from lstzoom.simulate import simulate_scene  # noqa: PLC0415  (only the demonstration needs it)

    scene = simulate_scene(_DEMO_SHAPE).to_xarray()
    return scene.vnir.sel(band=list(names)).to_numpy(), scene.lst.to_numpy()


@dataclass(frozen=True, slots=True)
class _SimulatedVnir:
    """Reflectance of the simulated scene by windows."""

    names: Names

    def read(self, window: Window) -> NDArray[np.float32]:
        return _simulated_arrays(self.names)[0][:, window[0], window[1]]

    def layers(self) -> list[RemoteBand]:
        return []


@dataclass(frozen=True, slots=True)
class _SimulatedLst:
    """LST of the simulated scene by windows; all of it can be used."""

    names: Names

    def read(self, what: str, window: Window) -> NDArray[Any]:
        part = _simulated_arrays(self.names)[1][window]
        if what == "uncertainty":
            raise InputError("the simulated scene has no uncertainty of its LST")
        return np.ones(part.shape, np.bool_) if what == "valid" else part

    def layers(self) -> list[RemoteBand]:
        return []


def load_simulated(
    catalog: str | Path | Catalog, bands: Sequence[str] | None, chunks: int = DEFAULT_CHUNK
) -> LoadedPair:
    """Simulate the scene of the demonstration in memory, as dask arrays."""
    from lstzoom.simulate import simulate_scene  # noqa: PLC0415  (only the demonstration needs it)

    source = open_catalog(catalog)
    names = chosen_bands(source, bands)
    scene = simulate_scene(_DEMO_SHAPE).to_xarray()
    ratio = scene.vnir.sizes["y"] // scene.lst.sizes["y"]
    vnir = scene.vnir.sel(band=list(names)).chunk({"band": -1, "y": chunks * ratio, "x": chunks * ratio})
    lst = scene.lst.chunk({"y": chunks, "x": chunks})
    native = source.lst.native_resolution_m
    attrs = {"catalog": source.name, "licence": source.source.licence, "lst_native_resolution_m": native}
    grids = resolve_grids(grid_of(lst), [grid_of(vnir)], ratio)
    readers = Readers(_SimulatedVnir(names), _SimulatedLst(names), grids)
    return LoadedPair(vnir, lst, xr.ones_like(lst, bool), None, attrs, readers=readers)

"""A bundle as delivered: found, checked, and turned into the lazy arrays that `lstzoom.sharpen` takes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import dask.array as da
import numpy as np
import xarray as xr

from lstzoom import raster
from lstzoom.errors import ConfigError, GridMismatchError, InputError
from lstzoom.grid import GridPair, coincide, describe_grid, resolve_grids
from lstzoom.product import masks, metadata
from lstzoom.product.containers import Container, Entry, open_container
from lstzoom.product.encoding import Decoded, decode
from lstzoom.product.masks import MaskRules
from lstzoom.product.naming import BundleName, kind_of, parse_name

if TYPE_CHECKING:
    from lstzoom.raster import RasterSource

logger = logging.getLogger(__name__)

Bands: TypeAlias = Sequence[str | int]

COARSE_PIXEL: Final = 30.0
"""Pixel of the LST that is sharpened, m."""
_FINE_PIXEL: Final = 10.0
_PIXEL_TOLERANCE: Final = 1e-3
_SCL_PIXELS: Final = (10, 20, 30, 60)


@dataclass(frozen=True, slots=True)
class BandFacts:
    """What is published about a VNIR band: name, centre and width in nm, pixel in m, default."""

    number: int
    common_name: str
    centre: float
    width: float
    pixel: float
    default: bool = False

    @property
    def key(self) -> str:
        """Name of its file."""
        return f"vnir{self.number:02d}"


VNIR: Final[tuple[BandFacts, ...]] = (
    BandFacts(1, "coastal", 443, 20, 60),
    # Blue is off: its sharpness in orbit is far below that of the others (January 2026).
    BandFacts(2, "blue", 490, 65, 10),
    BandFacts(3, "green", 560, 35, 10, default=True),
    BandFacts(4, "red", 665, 30, 10, default=True),
    BandFacts(5, "rededge071", 705, 15, 20),
    BandFacts(6, "rededge075", 740, 15, 20),
    BandFacts(7, "rededge078", 783, 20, 20),
    BandFacts(8, "nir", 842, 115, 10, default=True),
    BandFacts(9, "nir08", 865, 20, 20),
    BandFacts(10, "nir09", 945, 20, 60),
)
"""Bands as published. 01 and 10 have not been delivered since December 2025."""
_BY_KEY: Final = {facts.key: facts for facts in VNIR}


class BundleArrays(NamedTuple):
    """What `lstzoom.sharpen` takes: ``sharpen(arrays.vnir, arrays.lst, valid=arrays.valid)``."""

    vnir: xr.DataArray
    """Reflectance, dimensions (band, y, x), on the fine grid; missing where its quality file says so."""
    lst: xr.DataArray
    """Kelvin, dimensions (y, x), on its own grid."""
    valid: xr.DataArray | None
    """True where a fine pixel is usable; None if nothing is left out."""


@dataclass(frozen=True, slots=True)
class BundleBand:
    """One reflectance band.

    Attributes
    ----------
    facts
        What is published about it.
    decoded
        The file, with its encoding.
    quality
        Bands of its quality file; empty without one.
    """

    facts: BandFacts
    decoded: Decoded
    quality: tuple[RasterSource, ...] = ()

    @property
    def source(self) -> RasterSource:
        """The file as it is read."""
        return self.decoded.source


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle, checked; no pixel has been read.

    Attributes
    ----------
    location
        As it was given.
    name
        What the name of folder, zip or files tells; None if nothing.
    files
        Files by kind (``"lst"``, ``"vnir03_qa"``).
    others
        Names of files that no bundle is documented to hold; they are left alone.
    metadata
        Content of ``metadata.json``.
    acquired
        Time of acquisition, UTC.
    night
        True at night, None if the metadata does not tell.
    lst
        The temperature, with its encoding.
    bands
        Reflectance, by number.
    scl
        Scene classifications: bands by pixel size in m.
    notes
        What departs from the documents without doing harm.
    """

    location: str
    name: BundleName | None
    files: Mapping[str, Entry]
    others: tuple[str, ...]
    metadata: metadata.Metadata
    acquired: datetime
    night: bool | None
    lst: Decoded
    bands: tuple[BundleBand, ...]
    scl: Mapping[int, tuple[RasterSource, ...]]
    notes: tuple[str, ...] = ()

    @property
    def product(self) -> str:
        """Name of the product, from metadata, else from the bundle's name, else from the pixels."""
        told = self.metadata.product_name or (self.name.product if self.name else None)
        return told or ("LSTprecision" if self.is_coarse else "LSTzoom")

    @property
    def is_coarse(self) -> bool:
        """Whether the temperature has 30 m and can be sharpened."""
        return _is_pixel(self.lst.source, COARSE_PIXEL)

    @property
    def band_keys(self) -> tuple[str, ...]:
        """Names of all bands that are there, as in ``"vnir03"``."""
        return tuple(band.facts.key for band in self.bands)

    def choose(self, bands: Bands | None = None, *, blue: bool = False) -> tuple[BundleBand, ...]:
        """Choose bands.

        Parameters
        ----------
        bands
            Numbers, keys or common names (``8``, ``"vnir08"``, ``"nir"``), in this order; by default
            green, red and nir.
        blue
            Add the blue band to the default. It is off because its sharpness in orbit is far below that
            of the others, which puts false detail into the result. Naming it in ``bands`` asks for it, too.

        Raises
        ------
        InputError
            If the bundle has no reflectance (at night), or not the bands that are asked for.
        ConfigError
            If a band does not exist, or is named twice.
        """
        if not self.bands:
            raise InputError(self._without_vnir())
        if bands is None:
            wanted = [facts for facts in VNIR if facts.default or (blue and facts.common_name == "blue")]
        else:
            wanted = [_facts_of(one) for one in bands]
            if blue and _BY_KEY["vnir02"] not in wanted:
                wanted.insert(0, _BY_KEY["vnir02"])
        if not wanted or len(set(wanted)) < len(wanted):
            raise ConfigError(f"bands are {bands!r}; name at least one, and each once")
        there = {band.facts: band for band in self.bands}
        absent = [facts.key for facts in wanted if facts not in there]
        if absent:
            raise InputError(
                f"{self.location!r} has no {', '.join(absent)}; it has {', '.join(self.band_keys)}: "
                "choose from these "
                "with --bands, or fetch the bundle again"
            )
        return tuple(there[facts] for facts in wanted)

    def _without_vnir(self) -> str:
        if self.night:
            return (
                f"{self.location!r} is a night scene without reflectance, and reflectance is what "
                "temperature is "
                "sharpened with; give a day scene. Reflectance of another day is never taken in "
                "silence: to use it "
                "anyway, give its files to `lstzoom sharpen LST VNIR...`"
            )
        return (
            f"{self.location!r} holds no reflectance (vnir02.tiff to vnir09.tiff); order the bundle "
            "with its VNIR "
            "option, which is free by day"
        )

    def grids(self, bands: Sequence[BundleBand], ratio: int | None = None) -> GridPair:
        """Find the pair of grids to work on.

        Raises
        ------
        InputError
            If the temperature is sharpened already.
        GridMismatchError
            If the grids do not nest.
        """
        if not self.is_coarse:
            raise InputError(
                f"{self.location!r} holds temperature at {self.lst.source.geobox.affine.a:g} m, which "
                "is sharpened "
                "already; give the LSTprecision bundle with temperature at 30 m"
            )
        fine = [band.source.geobox for band in bands]
        return resolve_grids(self.lst.source.geobox, fine, ratio)

    def load(
        self,
        bands: Bands | None = None,
        *,
        blue: bool = False,
        rules: MaskRules | None = None,
        ratio: int | None = None,
        chunks: int | None = None,
    ) -> BundleArrays:
        """Open temperature, reflectance and mask, lazily.

        Parameters
        ----------
        bands, blue
            As in `choose`.
        rules
            What is not used; by default clouds and their shadow, blackfill and saturated reflectance.
        ratio
            Fine pixels along a coarse pixel; by default from the bands, that is 3.
        chunks
            Coarse pixels along a dask chunk; a chunk of fine pixels covers the same ground.

        Returns
        -------
        BundleArrays

        Raises
        ------
        InputError
            As `choose` and `grids` do. A read that fails raises it when computed, never gives nodata.
        """
        chosen, what = self.choose(bands, blue=blue), rules or MaskRules()
        pair = self.grids(chosen, ratio)
        side = raster.DEFAULT_CHUNK // pair.ratio if chunks is None else chunks
        vnir = self._reflectance(chosen, pair, what, side * pair.ratio)
        return BundleArrays(
            vnir, raster.lst_source(self.lst.source, side), self.usable(pair, what, side * pair.ratio)
        )

    def _reflectance(
        self, chosen: Sequence[BundleBand], pair: GridPair, rules: MaskRules, chunks: int
    ) -> xr.DataArray:
        names = [band.facts.common_name for band in chosen]
        stack = raster.LazyStack(tuple(band.source for band in chosen), pair.fine)
        vnir = raster.as_xarray(stack, names, chunks=chunks)
        usable = [self._quality(band, pair, rules, chunks) for band in chosen]
        if all(mask is None for mask in usable):
            return vnir
        missing = np.float32(np.nan)
        planes = [
            vnir.data[k] if mask is None else da.where(mask.data, vnir.data[k], missing)
            for k, mask in enumerate(usable)
        ]
        # One task holds all bands of a block, because no step uses one of them alone.
        return vnir.copy(data=da.stack(planes).rechunk({0: -1}))

    @staticmethod
    def _quality(band: BundleBand, pair: GridPair, rules: MaskRules, chunks: int) -> xr.DataArray | None:
        if not band.quality:
            return None
        return masks.qa_usable(band.quality, pair.fine, rules, chunks)

    def usable(
        self, pair: GridPair, rules: MaskRules | None = None, chunks: int | None = None
    ) -> xr.DataArray | None:
        """Open the mask on the fine grid from the finest classification; None if all is used."""
        if not self.scl:
            return None
        clouds = self.metadata.cloud_cover_computed is not False
        return masks.scl_usable(
            self.scl[min(self.scl)], pair.fine, rules or MaskRules(), clouds=clouds, chunks=chunks
        )


def open_bundle(
    location: str | Path, *, strict: bool = False, storage_options: Mapping[str, Any] | None = None
) -> Bundle:
    """Open a bundle in any style of names.

    Parameters
    ----------
    location
        Folder, zip, or URL of a zip or of a prefix of an object store.
    strict
        Make everything that departs from the documents an error, as keys that are not documented.
    storage_options
        For fsspec, which lists the files of an object store.

    Returns
    -------
    Bundle
        Headers and metadata are read and checked, pixels are not.

    Raises
    ------
    InputError
        If files are missing, cut short, do not belong together, or contradict the documents.
    MissingExtraError
        If the package for the object store is not installed.
    """
    container = open_container(location, storage_options)
    files, others = _sorted_out(container)
    entry = files["metadata"]
    told, notes = metadata.read_metadata(container.read(entry), entry.href)
    name = _name_of(container, files)
    heads = {
        # A bundle holds GeoTIFFs, whatever it calls them; other formats name further files.
        kind: raster.describe(files[kind].path, codes=_is_mask(kind), driver="GTiff")
        for kind in sorted(files)
        if _is_layer(kind)
    }
    _require_one_crs(heads)
    lst = decode(_only(heads["lst"]), "ST", told.stored("ST"))
    if not (_is_pixel(lst.source, COARSE_PIXEL) or _is_pixel(lst.source, _FINE_PIXEL)):
        raise GridMismatchError(
            f"{lst.source.path!r} has pixels of {lst.source.geobox.affine.a:g}; temperature of a "
            "bundle has 30 m or 10 m"
        )
    bands = _bands(heads, told)
    notes = (*notes, *_departures(told, bands, name))
    if strict and notes:
        raise InputError(f"{container.location!r} departs from the documents: {'; '.join(notes)}")
    for note in notes:
        logger.warning("%s: %s", container.location, note)
    return Bundle(
        location=container.location, name=name, files=files, others=others, metadata=told,
        acquired=_time(told, name, container.location), night=metadata.is_night(told),
        lst=lst, bands=bands, scl=_classifications(heads), notes=notes,
    )  # fmt: skip


def _sorted_out(container: Container) -> tuple[dict[str, Entry], tuple[str, ...]]:
    """Find out what each file is; require the two without which there is no bundle."""
    files: dict[str, Entry] = {}
    others = []
    for entry in container.entries:
        kind = kind_of(entry.name)
        if kind is None:
            others.append(entry.name)
        elif kind in files:
            raise InputError(
                f"{container.location!r} holds {kind} twice: {files[kind].name!r} and {entry.name!r}; "
                "give the folder "
                "of one bundle"
            )
        else:
            files[kind] = entry
    missing = [f"{kind} ({example})" for kind, example in _REQUIRED.items() if kind not in files]
    if missing:
        there = ", ".join(entry.name for entry in container.entries[:8])
        raise InputError(
            f"{container.location!r} is no complete bundle: {' and '.join(missing)} missing among "
            f"{len(container.entries)} files ({there}); fetch it again, or give plain files to "
            "`lstzoom sharpen LST VNIR...`"
        )
    return files, tuple(others)


_REQUIRED: Final = {"lst": "lst.tiff or …_LST.tiff", "metadata": "metadata.json or …_METADATA.json"}


def _is_layer(kind: str) -> bool:
    return kind == "lst" or kind.startswith(("vnir", "scl_mask"))


def _is_mask(kind: str) -> bool:
    return kind.startswith("scl_mask") or kind.endswith("_qa")


def _name_of(container: Container, files: Mapping[str, Entry]) -> BundleName | None:
    """Read the name of the files if it is long, else of the folder or zip, or of the folder within."""
    folders, _, base = files["lst"].name.rpartition("/")
    prefix = base[: -len("_lst.tiff")] if "_" in base else ""
    location = (
        str(Path(container.location).resolve()) if "://" not in container.location else container.location
    )
    for candidate in (base, location, folders.partition("/")[0], prefix):
        found = parse_name(candidate)
        if found is not None:
            return found
    return None


def _only(sources: tuple[RasterSource, ...]) -> RasterSource:
    if len(sources) != 1:
        raise InputError(
            f"{sources[0].path!r} has {len(sources)} bands; in a bundle it has one: fetch the bundle again"
        )
    return sources[0]


def _is_pixel(source: RasterSource, size: float) -> bool:
    affine = source.geobox.affine
    return all(abs(abs(side) - size) < _PIXEL_TOLERANCE * size for side in (affine.a, affine.e))


def _require_one_crs(heads: Mapping[str, tuple[RasterSource, ...]]) -> None:
    lst = heads["lst"][0]
    for sources in heads.values():
        if sources[0].geobox.crs != lst.geobox.crs:
            raise GridMismatchError(
                f"{sources[0].path!r} lies on {describe_grid(sources[0].geobox)}, but {lst.path!r} on "
                f"{describe_grid(lst.geobox)}; files of one bundle share a CRS: fetch it again"
            )


def _bands(heads: Mapping[str, tuple[RasterSource, ...]], told: metadata.Metadata) -> tuple[BundleBand, ...]:
    bands = []
    for facts in VNIR:
        if facts.key not in heads:
            continue
        decoded = decode(_only(heads[facts.key]), "SR", told.stored("SR"))
        quality = heads.get(f"{facts.key}_qa", ())
        if quality and not coincide(quality[0].geobox, decoded.source.geobox):
            raise GridMismatchError(
                f"{quality[0].path!r} lies on {describe_grid(quality[0].geobox)}, but its band on "
                f"{describe_grid(decoded.source.geobox)}; they share a grid: fetch the bundle again"
            )
        if quality:
            masks.qa_bands(quality)
        bands.append(BundleBand(facts, decoded, quality))
    return tuple(bands)


def _classifications(heads: Mapping[str, tuple[RasterSource, ...]]) -> dict[int, tuple[RasterSource, ...]]:
    found = {size: heads[f"scl_mask_{size}m"] for size in _SCL_PIXELS if f"scl_mask_{size}m" in heads}
    for size, sources in found.items():
        masks.scl_bands(sources)
        if not _is_pixel(sources[0], size):
            raise GridMismatchError(
                f"{sources[0].path!r} has pixels of {sources[0].geobox.affine.a:g} and not of {size} "
                "m, as its name "
                "says; fetch the bundle again"
            )
    return found


def _time(told: metadata.Metadata, name: BundleName | None, location: str) -> datetime:
    time = metadata.acquired(told) or (name.acquired if name else None)
    if time is None:
        raise InputError(
            f"neither metadata.json nor the name of {location!r} tells when the scene was taken; add "
            "acquisition_datetime to metadata.json"
        )
    return time


def _departures(told: metadata.Metadata, bands: Sequence[BundleBand], name: BundleName | None) -> list[str]:
    """Tell what is odd, but no reason to refuse."""
    notes = []
    if bands and metadata.is_night(told):
        notes.append("metadata calls it a night scene, but there is reflectance, which is used")
    if told.product_name and told.product_name.lower() not in ("lstprecision", "lstzoom"):
        notes.append(f"product_name is {told.product_name!r}; LSTprecision and LSTzoom are documented")
    time = metadata.acquired(told)
    if name is not None and time is not None and abs((name.acquired - time).total_seconds()) > 60:
        notes.append(
            f"the name says {name.acquired:%Y-%m-%dT%H:%M:%SZ}, metadata {time:%Y-%m-%dT%H:%M:%SZ}; "
            "taken from metadata"
        )
    notes += [
        f"{band.facts.key} has pixels of {band.source.geobox.affine.a:g} m; "
        f"{band.facts.pixel:g} m are documented"
        for band in bands
        if not _is_pixel(band.source, band.facts.pixel)
    ]
    return [*notes, *_sizes(told, bands)]


def _sizes(told: metadata.Metadata, bands: Sequence[BundleBand]) -> list[str]:
    """Compare sizes with those that metadata lists; whether of the same grid is not documented."""
    listed = {}
    for sensor in ({} if told.sensors is None else told.sensors.by_name).values():
        for key, one in (sensor.bands or {}).items():
            listed[(one.name or key).lower()] = one.dimensions
    notes = []
    for band in bands:
        said = listed.get(band.facts.key)
        rows, columns = band.source.geobox.shape
        if said and list(said) != [rows, columns]:
            notes.append(f"{band.facts.key} has {rows} x {columns} pixels; metadata lists {said}")
    return notes


def _facts_of(band: str | int) -> BandFacts:
    """Find a band by number, key or common name."""
    text = str(band).strip().lower()
    number = text.removeprefix("vnir")
    for facts in VNIR:
        if text == facts.common_name or (number.isdecimal() and int(number) == facts.number):
            return facts
    known = ", ".join(f"{facts.number:02d} {facts.common_name}" for facts in VNIR)
    raise ConfigError(f"there is no band {band!r}; choose from {known}")

"""What a source is: collections, bands, encodings, masks and access, validated.

A source is one TOML file in ``catalogs/``. The files travel in the wheel as ``lstzoom/catalogs``; in a
checkout they lie beside the package. A file of your own is given by its path.
"""

from __future__ import annotations

import logging
import reprlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from lstzoom.errors import ConfigError
from lstzoom.sources.naming import explain, nearest

Names = tuple[str, ...]

logger = logging.getLogger(__name__)


def _number(value: object) -> object:
    """Take ``"nan"`` for a number: JSON and STAC spell it so."""
    return float(value) if isinstance(value, str) and value.lower() == "nan" else value


class Model(BaseModel):
    """Frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Constants(Model):
    """How numbers are stored, where neither the item nor the file tells: value = number x scale + offset."""

    scale: float | None = Field(default=None, description="Scale; by default 1.")
    offset: float | None = Field(default=None, description="Offset in the unit of the values; by default 0.")
    nodata: Annotated[float | None, BeforeValidator(_number)] = Field(
        default=None, description="Stored number that marks a missing pixel."
    )
    unit: str | None = Field(default=None, description="Unit of the values, for example K or 1.")
    dtype: str | None = Field(default=None, description="Data type in the files; tells readers only.")


class Layer(Constants):
    """Where a layer is found in an item. The first that matches counts, in the order given."""

    assets: Names = Field(
        default=(),
        description="Keys of the asset; of bands and masks, where nothing else fits, names of its only band.",
    )
    hrefs: Names = Field(
        default=(), description="Patterns of the file name, * for anything; case does not matter."
    )
    roles: Names = Field(default=(), description="Roles of the asset, tried last; one asset must bear it.")
    band: int = Field(default=1, ge=1, description="Number of the band in the file.")

    @model_validator(mode="after")
    def _findable(self) -> Self:
        if not (self.assets or self.hrefs or self.roles):
            raise ValueError("a layer needs assets, hrefs or roles, or it could never be found")
        return self


class LstLayer(Layer):
    """The land surface temperature that is sharpened."""

    resolution_m: float = Field(gt=0, description="Pixel of the files, metres.")
    native_resolution_m: float = Field(gt=0, description="What the thermal instrument resolves, metres.")
    native_resolution_by_platform: dict[str, float] = Field(
        default={}, description="The same by the item's property platform, where platforms differ."
    )
    aggregate: bool = Field(
        default=False,
        description="Average to the nearest whole multiple of the pixel that the instrument resolves, "
        "before sharpening back to the pixel of the files.",
    )

    def native_resolution_of(self, platform: str | None) -> float:
        """Return what the thermal instrument of a platform resolves, metres."""
        known = {_plain(name): value for name, value in self.native_resolution_by_platform.items()}
        found = known.get(_plain(platform or ""))
        if known and found is None:
            logger.warning(
                "the platform %r is none of %s: its instrument is taken to resolve %g m",
                platform or "", ", ".join(self.native_resolution_by_platform), self.native_resolution_m,
            )  # fmt: skip
        return self.native_resolution_m if found is None else found


def _plain(platform: str) -> str:
    """``LANDSAT_8``, ``Landsat 8`` and ``landsat-8`` are one platform."""
    return "".join(letter for letter in platform.lower() if letter.isalnum())


class BandLayer(Layer):
    """One band of reflectance."""

    default: bool = Field(default=True, description="Loaded unless other bands are asked for.")
    resolution_m: float | None = Field(default=None, gt=0, description="Pixel, where it is its own.")


class BaselineOffset(Model):
    """An offset that came with a processing baseline (Sentinel-2: 04.00, January 2022)."""

    properties: Names = Field(description="Properties of the item that hold the baseline.")
    since: str = Field(description="First baseline with the offset, such as 04.00.")
    since_date: str = Field(description="From this day on every product has it.")
    offset: float = Field(description="Offset of reflectance.")


class VnirLayers(Constants):
    """The reflectance that sharpens."""

    resolution_m: float = Field(gt=0, description="Pixel of the finest band, metres.")
    bands: dict[str, BandLayer] = Field(min_length=1, description="Bands by the name they are given.")
    offset_applied: Names = Field(
        default=(),
        description="Properties of an item; true means that pixels have the offset already, "
        "whatever the item lists.",
    )
    baseline_offset: BaselineOffset | None = Field(
        default=None, description="Offset where neither item nor file tells."
    )

    @property
    def default_bands(self) -> Names:
        """Bands that are loaded unless others are asked for."""
        return tuple(name for name, band in self.bands.items() if band.default)


class Flag(Model):
    """One meaning of a number in a mask: a class, or some bits."""

    name: str = Field(description="What it is.")
    value: int = Field(default=1, ge=0, description="Number that says so.")
    bit: int | None = Field(default=None, ge=0, le=31, description="First bit; by default the whole number.")
    bits: int = Field(default=1, ge=1, le=16, description="How many bits, from the first.")
    reject: bool = Field(default=False, description="Pixels of this kind are not used, by default.")


class MaskLayer(Layer):
    """A layer that tells which pixels can be used."""

    name: str = Field(description="What it is called in options and messages.")
    on: Literal["lst", "vnir"] = Field(description="Whose pixels it speaks of.")
    flags: tuple[Flag, ...] = Field(min_length=1, description="What its numbers mean.")
    required: bool = Field(default=True, description="Items without it cannot be used.")
    unknown: Literal["usable", "reject"] = Field(
        default="usable", description="What becomes of numbers that no flag names (whole numbers only)."
    )

    def rejected(self, names: Names | None = None) -> tuple[Flag, ...]:
        """Return flags of pixels that are not used; by default those that the catalogue says."""
        if names is None:
            return tuple(flag for flag in self.flags if flag.reject)
        known = [flag.name for flag in self.flags]
        for name in names:
            if name not in known:
                raise ConfigError(f"the mask {self.name!r} has no flag {name!r}{nearest(name, known)}")
        return tuple(flag for flag in self.flags if flag.name in names)


class Access(Model):
    """How files are reached. Credentials come from the environment or the usual files, never from here."""

    signing: Literal["none", "planetary-computer"] = Field(
        default="none", description="planetary-computer: tokens from sas_url, fetched by the reading task."
    )
    sas_url: str | None = Field(default=None, description="Service of the tokens.")
    sas_hosts: Names = Field(default=("*.blob.core.windows.net",), description="Hosts whose files it signs.")
    anonymous: bool = Field(default=False, description="Read S3 without credentials.")
    requester_pays: bool = Field(default=False, description="You pay for the transfer (S3).")
    region: str | None = Field(default=None, description="Region of the S3 buckets.")
    s3_endpoint: str | None = Field(
        default=None,
        description="Address of an S3 service other than Amazon's, such as https://s3.example.org.",
    )
    profile: str | None = Field(
        default=None,
        description="Profile in ~/.aws/credentials with the keys of S3, where they are not the usual ones.",
    )
    alternate: str | None = Field(default=None, description="Take assets' alternate links of this name.")
    token_env: str | None = Field(
        default=None, description="Environment variable with a bearer token; ~/.netrc is read in any case."
    )
    allow: Names | None = Field(
        default=None,
        description="Beginnings of addresses, and folders, that may be read; by default everything of items "
        "that are given, and addresses of networks of items that a service on another machine lists.",
    )
    retries: int = Field(default=5, ge=0, le=20, description="How often a failed request is repeated.")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.signing != "none" and not self.sas_url:
            raise ValueError("signing needs sas_url, the service that gives the tokens")
        if self.anonymous and (self.requester_pays or self.profile):
            raise ValueError("requester_pays and profile mean credentials: anonymous must be false")
        if self.s3_endpoint and urlsplit(self.s3_endpoint).scheme not in {"http", "https"}:
            raise ValueError("s3_endpoint must begin with https:// or http://")
        return self


class Service(Model):
    """A STAC API and the collections to search in it."""

    url: str = Field(description="Landing page of the STAC API.")
    collections: Names = Field(min_length=1, description="Collections to search.")
    headers_env: dict[str, str] = Field(
        default={}, description="Request headers and the environment variables that hold them."
    )
    access: Access = Field(default=Access(), description="How the files of its items are reached.")


class Endpoint(Model):
    """Where LST and reflectance are searched."""

    lst: Service = Field(description="Searched for the LST.")
    vnir: Service | None = Field(default=None, description="Searched for reflectance; default the same.")


class PairRule(Model):
    """How LST and reflectance are put together."""

    window_days: float = Field(default=3.0, ge=0, le=60, description="Largest distance in time, days.")
    min_coverage: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Least share of the LST's area of interest that reflectance covers; 0: any.",
    )
    max_cloud: float = Field(default=60.0, ge=0, le=100, description="Most cloud of an item, percent.")
    prefer: Literal["balanced", "nearest", "clearest"] = Field(
        default="balanced",
        description="nearest: by time; clearest: by cloud; balanced: distance in time as a share of the "
        "window, plus cloud and missing area as shares.",
    )


class LocalFiles(Model):
    """Files in a folder, or listed one by one, described without STAC."""

    folder: str | None = Field(
        default=None, description="Folder, relative to this file; by default it has to be given."
    )
    files: Names = Field(
        default=(),
        description="Files in place of those that the pattern finds: paths, relative to the folder, or "
        "addresses (https://, s3://).",
    )
    pattern: str = Field(default="*.tif*", description="Files that are looked at; ** for folders below.")
    group: str | None = Field(
        default=None,
        description="Regular expression with (?P<id>...), and (?P<datetime>...) if the name tells it: files "
        "with the same id are one acquisition. By default all files are.",
    )
    datetime_format: str = Field(default="%Y%m%dT%H%M%S", description="Format of the time in file names.")
    datetime: str | None = Field(default=None, description="Time of the acquisition, ISO 8601.")


class SourceInfo(Model):
    """Name and terms of a source."""

    name: str = Field(description="Short name, that of the file.")
    title: str = Field(description="One line.")
    kind: Literal["stac", "local", "simulated"] = Field(description="Where the data come from.")
    licence: str = Field(description="Licence of the data.")
    link: str | None = Field(default=None, description="Where to read more.")


class Catalog(Model):
    """A source, as its TOML file describes it."""

    source: SourceInfo
    endpoints: dict[str, Endpoint] = Field(default={}, description="STAC APIs; the first is the default.")
    local: LocalFiles | None = Field(default=None, description="Files without STAC.")
    access: Access = Field(default=Access(), description="For files of items that are given, not searched.")
    pair: PairRule = PairRule()
    requires: dict[str, Names] = Field(
        default={},
        description="Values that properties of an item must have, where it tells them: products of another "
        "level may have the same keys.",
    )
    lst: LstLayer
    vnir: VnirLayers
    metadata: Layer | None = Field(
        default=None, description="File beside the rasters that tells encodings as constellr's bundles do."
    )
    uncertainty: Layer | None = Field(default=None, description="Standard error of the LST, kelvin.")
    masks: tuple[MaskLayer, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        kind = self.source.kind
        if kind == "local" and self.local is None:
            raise ValueError("a source of the kind 'local' needs a table [local]")
        names = [mask.name for mask in self.masks]
        if len(set(names)) < len(names):
            raise ValueError(f"mask names must differ: {names}")
        return self

    @property
    def name(self) -> str:
        """Short name."""
        return self.source.name

    def endpoint(self, name: str | None = None) -> Endpoint:
        """Return an endpoint by its name, by default the first.

        Raises
        ------
        ConfigError
            If there is none of that name.
        """
        if not self.endpoints:
            raise ConfigError(f"the catalog {self.name!r} names no STAC API to search: {self._instead()}")
        if name is None:
            return next(iter(self.endpoints.values()))
        if name not in self.endpoints:
            raise ConfigError(
                f"the catalog {self.name!r} has no endpoint {name!r}{nearest(name, list(self.endpoints))}"
            )
        return self.endpoints[name]

    def _instead(self) -> str:
        if self.source.kind == "simulated":
            return f"its scene is simulated, see `lstzoom demo` or lstzoom.load({self.name!r})"
        return "give the folder of its files" if self.source.kind == "local" else "give STAC items"

    def mask(self, name: str) -> MaskLayer:
        """Return a mask by its name."""
        for mask in self.masks:
            if mask.name == name:
                return mask
        known = [mask.name for mask in self.masks]
        raise ConfigError(f"the catalog {self.name!r} has no mask {name!r}{nearest(name, known)}")


_HERE: Final = Path(__file__).resolve().parent.parent


def catalog_folder() -> Path:
    """Folder of the catalogs that come with lstzoom: in the wheel, or beside the package."""
    installed = _HERE / "catalogs"
    return installed if installed.is_dir() else _HERE.parent / "catalogs"


def catalog_names() -> Names:
    """Names of the catalogs that come with lstzoom."""
    return tuple(sorted(path.stem for path in catalog_folder().glob("*.toml")))


def open_catalog(catalog: str | Path | Catalog) -> Catalog:
    """Read and check a catalog.

    Parameters
    ----------
    catalog
        Name of one that comes with lstzoom, path of a TOML file, or a `Catalog`.

    Returns
    -------
    Catalog

    Raises
    ------
    ConfigError
        If there is none, or it is not valid.

    Examples
    --------
    >>> open_catalog("landsat-sentinel2").lst.unit
    'K'
    """
    if isinstance(catalog, Catalog):
        return catalog
    if not isinstance(catalog, str | Path):
        raise ConfigError(
            f"the catalog is {reprlib.repr(catalog)}; give the path of a TOML file, or the "
            f"name of one that comes with lstzoom: {', '.join(catalog_names())}"
        )
    path = _path(catalog)
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, ValueError, RecursionError, OSError) as error:
        raise ConfigError(f"{str(path)!r} cannot be read as TOML: {error}") from error
    return _validated(fields, path)


def _path(catalog: str | Path) -> Path:
    given = Path(catalog)
    if given.suffix == ".toml":
        if not given.is_file():
            raise ConfigError(
                f"there is no catalog file {str(catalog)!r}; check the path, or name one of "
                "`lstzoom catalog list`"
            )
        return given
    path = catalog_folder() / f"{catalog}.toml"
    if len(given.parts) == 1 and path.is_file():
        return path
    known = catalog_names()
    raise ConfigError(
        f"there is no catalog {str(catalog)!r}{nearest(str(catalog), known)}; a file of your own is given by "
        "its path, which ends in .toml"
    )


def _validated(fields: Mapping[str, Any], path: Path) -> Catalog:
    try:
        found = Catalog.model_validate(fields)
    except ValidationError as error:
        raise ConfigError(f"{str(path)!r} is not a valid catalog:\n{explain(error, Catalog)}") from error
    if found.local is None:
        return found
    # A list of files has a place, too.
    told = found.local.folder if not found.local.files else found.local.folder or "."
    if told is None:
        return found
    folder = (path.parent / Path(told).expanduser()).resolve()
    return found.model_copy(update={"local": found.local.model_copy(update={"folder": str(folder)})})

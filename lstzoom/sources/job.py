"""A job in YAML: what to sharpen, how, and where to. Written with comments, read strictly.

The comments are the descriptions of the fields, so that file, program and documentation cannot tell
different things.
"""

from __future__ import annotations

import datetime as dt
import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args, get_origin

import yaml
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from lstzoom.clusters import Cluster
from lstzoom.config import MosaicConfig, SharpenConfig
from lstzoom.errors import ConfigError, InputError
from lstzoom.sources.area import Area as AnyArea
from lstzoom.sources.area import as_area
from lstzoom.sources.catalog import Model, open_catalog
from lstzoom.sources.local import local_folder
from lstzoom.sources.naming import explain
from lstzoom.sources.options import MaskOptions
from lstzoom.sources.search import chosen_bands
from lstzoom.sources.times import as_interval

_WIDTH: Final = 100


def _time_text(value: object) -> object:
    """Take what YAML reads as a date, or a year as a number, for the text that it was."""
    if type(value) is int:
        return str(value)
    return value.isoformat() if isinstance(value, dt.date) else value


def _is_interval(value: str) -> str:
    as_interval(value)
    return value


class CatalogChoice(Model):
    """Where the data come from."""

    name: str = Field(description="Catalogue: see `lstzoom catalog list`, or the path of a TOML file.")
    endpoint: str | None = Field(default=None, description="STAC API of the catalogue; null is its first.")
    items: str | None = Field(default=None, description="File with STAC items, in place of a search.")
    folder: str | None = Field(
        default=None, description="Folder of files, for a catalogue of the kind local."
    )
    allow: tuple[str, ...] | None = Field(
        default=None,
        description="Beginnings of addresses, and folders, that items may have read, such as "
        "s3://usgs-landsat/; null: everything of items that are given, addresses of networks of items that a "
        "service on another machine lists.",
    )


class AreaOfInterest(Model):
    """What to sharpen: one of bbox, geojson and file, in degrees unless the file has a CRS."""

    bbox: tuple[float, float, float, float] | None = Field(
        default=None, description="West, south, east, north in degrees; west > east crosses 180 degrees."
    )
    geojson: dict[str, Any] | None = Field(default=None, description="GeoJSON geometry or feature.")
    file: str | None = Field(
        default=None, description='GeoJSON file; other vector files with pip install "lstzoom[vector]".'
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name in ("bbox", "geojson", "file") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of bbox, geojson and file; given: {', '.join(given) or 'none'}")
        if self.file is None:
            as_area(self.value)
        return self

    @property
    def value(self) -> AnyArea:
        """The area as `lstzoom.load` takes it."""
        found = self.bbox or self.geojson or self.file
        assert found is not None  # noqa: S101  (one of them is given)
        return found


class PairOptions(Model):
    """How LST and reflectance are paired; null is what the catalogue says."""

    window_days: float | None = Field(
        default=None, ge=0, le=60, description="Largest distance in time, days."
    )
    max_cloud: float | None = Field(default=None, ge=0, le=100, description="Most cloud of an item, percent.")
    min_coverage: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Least share of the area that reflectance covers; 0: any that meets it.",
    )


class GridOptions(Model):
    """The grids. LST is never resampled: its pixels, cut to the area, own the geometry."""

    bands: tuple[str, ...] | None = Field(
        default=None, description="Reflectance bands; null is what the catalogue says."
    )
    ratio: int | None = Field(
        default=None, ge=2, description="Fine pixels along a coarse one; null: from the grids."
    )
    tile: int = Field(
        default=512,
        ge=16,
        le=4096,
        description="Side of a tile in coarse pixels, a multiple of method.windows.stride; one tile is one "
        "task, one COG and one shard of the Zarr cube.",
    )


class ModelOptions(Model):
    """The global model that all tiles of a scene share."""

    scope: Literal["scene", "day", "region"] = Field(
        default="scene",
        description="What one model is trained on: a scene, all scenes of a day (UTC), or all of the region.",
    )


class Outputs(Model):
    """What is written."""

    folder: str = Field(
        default="out",
        min_length=1,
        description="Folder, relative to this file, or address of a store such as s3://...",
    )
    zarr: bool = Field(default=True, description="A Zarr cube (time, y, x) for each grid.")
    cog: bool = Field(default=True, description="Cloud-optimised GeoTIFFs of every tile.")
    scene_cog: bool = Field(
        default=False,
        description="One cloud-optimised GeoTIFF of each layer for every scene, made of its tiles when all "
        "are done.",
    )
    stac: bool = Field(
        default=True,
        description="STAC items and a collection: an item for every tile, or for every scene with scene_cog "
        "or without cog.",
    )
    qa: bool = Field(default=True, description="Flags that tell where a value comes from.")
    uncertainty: bool = Field(
        default=True, description="Standard uncertainty, which the published method does not have."
    )
    encoding: Literal["uint16", "float32"] = Field(
        default="uint16", description="uint16 stores steps of 0.01 K."
    )

    @property
    def scene_items(self) -> bool:
        """Whether items are of scenes; else of tiles."""
        return self.scene_cog or not self.cog

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.zarr or self.cog):
            raise ValueError("nothing would be written: turn zarr or cog on")
        return self


class MosaicOptions(MosaicConfig):
    """The mosaic of all scenes, made by `lstzoom mosaic`, or by `lstzoom run` when the tiles are done."""

    after_run: bool = Field(
        default=False,
        description="Whether `lstzoom run` makes it, and takes new scenes up, when the tiles are done.",
    )
    output: str | None = Field(
        default=None,
        description="Zarr store of the mosaic, relative to this file; null: mosaic.zarr beside the results.",
    )
    cog: str | None = Field(
        default=None,
        description="Also one COG of the temperature for each time: a path on a disk of the machine that "
        "runs the job.",
    )
    items: bool = Field(default=True, description="Also a STAC collection, beside the store.")

    @property
    def config(self) -> MosaicConfig:
        """How it is made, wherever it goes."""
        return MosaicConfig(**self.model_dump(include=set(MosaicConfig.model_fields)))


class RunOptions(Model):
    """How it runs; nothing here changes results."""

    retries: int = Field(default=3, ge=0, le=100, description="Attempts of a task beyond the first.")
    backoff_s: float = Field(
        default=2.0, ge=0, description="Seconds before the second attempt, doubled before each further one."
    )
    in_flight: int | None = Field(
        default=None, ge=1, description="Tasks that the cluster holds at a time; null: two for every thread."
    )
    patience_s: float = Field(
        default=600.0, gt=0, description="Seconds to wait for a worker when the cluster has none."
    )
    lease_s: float = Field(
        default=120.0,
        ge=5,
        description="Seconds after which a run that has gone silent loses the store to the next one.",
    )
    report: bool = Field(
        default=True, description="Write report.html into the store when a run ends; it can be made any time."
    )


class Job(Model):
    """A job of lstzoom: what to sharpen, how, and where to."""

    version: Literal[1] = Field(default=1, description="Version of this format.")
    catalog: CatalogChoice
    area: AreaOfInterest
    datetime: Annotated[str, BeforeValidator(_time_text)] = Field(
        description="Time or interval of the LST: 2023, 2023-06, 2023-06-01/2023-06-30."
    )
    pair: PairOptions = PairOptions()
    grid: GridOptions = GridOptions()
    masks: MaskOptions = MaskOptions()
    model: ModelOptions = ModelOptions()
    method: SharpenConfig = SharpenConfig()
    outputs: Outputs = Outputs()
    cluster: Cluster = Cluster()
    run: RunOptions = RunOptions()
    mosaic: MosaicOptions = MosaicOptions()

    @model_validator(mode="after")
    def _whole_strides(self) -> Self:
        """Tiles are blocks, and blocks hold whole strides."""
        tile, stride = self.grid.tile, self.method.windows.stride
        if tile % stride:
            up = -(-tile // stride) * stride
            raise ValueError(
                f"grid.tile is {tile} and method.windows.stride {stride}; tiles must hold whole strides: "
                f"use tile: {up}"
            )
        return self

    @model_validator(mode="after")
    def _known(self) -> Self:
        """Names of the catalogue: wrong ones are told before anything is searched."""
        _is_interval(self.datetime)
        source = open_catalog(self.catalog.name)
        if self.catalog.endpoint is not None:
            source.endpoint(self.catalog.endpoint)
        chosen_bands(source, self.grid.bands)
        for name, flags in self.masks.reject.items():
            source.mask(name).rejected(flags)
        return self

    def load_arguments(self) -> dict[str, Any]:
        """Arguments of `lstzoom.load`."""
        return {
            "catalog": self.catalog.name, "area": self.area.value, "datetime": self.datetime,
            "endpoint": self.catalog.endpoint, "items": self.catalog.items, "folder": self.catalog.folder,
            "allow": self.catalog.allow,
            "bands": self.grid.bands, "masks": self.masks, "ratio": self.grid.ratio,
            **self.pair.model_dump(),
        }  # fmt: skip


class _Strict(yaml.SafeLoader):
    """Refuses a key that is given twice, which YAML would let the last one win, and aliases.

    Aliases of aliases make a text of some lines a document that fills the memory.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401
        """Build a node that is no alias."""
        if self.check_event(yaml.AliasEvent):
            raise ConfigError(f"the alias *{self.peek_event().anchor} is not read; write it out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        """Build a mapping of distinct keys."""
        keys = [str(key.value) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise ConfigError(f"the key {min(twice)!r} is given twice ({node.start_mark})")
        return super().construct_mapping(node, deep=deep)


def read_job(path: str | Path) -> Job:
    """Read and check a job.

    Parameters
    ----------
    path
        YAML file. Relative paths in it are relative to it.

    Returns
    -------
    Job

    Raises
    ------
    ConfigError
        If it cannot be read or is not valid; wrong names are answered with the nearest right ones.
    """
    file = Path(path)
    try:
        fields = yaml.load(file.read_text(encoding="utf-8"), Loader=_Strict)  # noqa: S506  (a SafeLoader)
    except ConfigError:
        raise
    # Besides YAML's own errors: dates and numbers that are none, and brackets without end.
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        told = " ".join(str(error).split())
        raise ConfigError(
            f"the job {str(path)!r} cannot be read: {told}; `lstzoom job init` writes one that can"
        ) from error
    if not isinstance(fields, Mapping):
        raise ConfigError(f"the job {str(path)!r} is no mapping; write one with `lstzoom job init`")
    return parse_job(_anchored(fields, file.resolve().parent), str(path))


def parse_job(fields: Mapping[str, Any], what: str = "the job") -> Job:
    """Check a job that is in memory; see `read_job`."""
    try:
        return Job.model_validate(dict(fields))
    except ValidationError as error:
        raise ConfigError(f"{what!r} is not a valid job:\n{explain(error, Job)}") from error


def require_files(job: Job) -> None:
    """Refuse a job whose area, items or folder are not there; nothing is searched.

    Raises
    ------
    InputError
        If one of them is missing or cannot be read.
    """
    as_area(job.area.value)
    if job.catalog.items is not None:
        if not Path(job.catalog.items).exists():
            raise InputError(f"there is no file {job.catalog.items!r} with the items of the job")
        return
    source = open_catalog(job.catalog.name)
    if source.source.kind == "local":
        local_folder(source, job.catalog.folder)


def _anchored(fields: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Make relative paths absolute, that of the outputs where it is not given, too."""
    found = {**fields}
    if isinstance(fields.get("outputs", {}), Mapping):
        found["outputs"] = {"folder": Outputs.model_fields["folder"].default, **fields.get("outputs", {})}
    for table, keys in (
        ("catalog", ("items", "folder", "allow")),
        ("area", ("file",)),
        ("outputs", ("folder",)),
        ("mosaic", ("output", "cog")),
    ):
        part = found.get(table)
        if isinstance(part, Mapping):
            found[table] = {k: _absolute(v, folder) if k in keys else v for k, v in part.items()}
    choice = found.get("catalog")
    if isinstance(choice, Mapping) and str(choice.get("name", "")).endswith(".toml"):
        found["catalog"] = {**choice, "name": _absolute(choice["name"], folder)}
    return found


def _absolute(value: object, folder: Path) -> object:
    if isinstance(value, list):
        return [_absolute(one, folder) for one in value]
    if not isinstance(value, str) or not value or "://" in value:
        return value
    return str(folder / Path(value).expanduser())


def write_job(job: Job) -> str:
    """Write a job as YAML, each key with its description as a comment.

    Examples
    --------
    >>> job = parse_job({"catalog": {"name": "demo"}, "area": {"bbox": [1, 2, 3, 4]}, "datetime": "2023"})
    >>> write_job(job).splitlines()[3]
    'version: 1'
    """
    return "\n".join([f"# {_title(Job)}", "", *_lines(job, 0)]).rstrip() + "\n"


def _lines(model: BaseModel, depth: int) -> Iterator[str]:
    pad = "  " * depth
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _comment(info.description or _title(type(value)), pad)
            yield f"{pad}{name}:"
            yield from _lines(value, depth + 1)
        else:
            yield from _comment(_described(info), pad)
            yield f"{pad}{name}: {_scalar(value)}"
        if depth == 0:
            yield ""


def _described(info: FieldInfo) -> str:
    choices = get_args(info.annotation) if get_origin(info.annotation) is Literal else ()
    listed = f" One of: {', '.join(str(one) for one in choices)}." if len(choices) > 1 else ""
    return f"{info.description or ''}{listed}"


def _title(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().partition("\n")[0]


def _comment(text: str, pad: str) -> list[str]:
    return [f"{pad}# {line}" for line in textwrap.wrap(text, _WIDTH - len(pad) - 2)]


def _scalar(value: object) -> str:
    # JSON is YAML; quoted texts cannot turn into dates or booleans.
    return json.dumps(value, ensure_ascii=False, allow_nan=False)

"""What a store holds of a run, looked at before anything relies on it: a folder or bucket is open to others.

Documents are given on as they are, fields that are not named here included.
"""

from __future__ import annotations

import json
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Final, Self

from affine import Affine
from odc.geo.geobox import GeoBox
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from lstzoom.errors import StoreError
from lstzoom.jobs import layout
from lstzoom.jobs.store import Store
from lstzoom.kernels.quality import MEANINGS

_REMEDY: Final = "remove it, and run again"

FORMAT: Final = 1
"""Of the job that a store is of."""

Count = Annotated[int, Field(ge=0, lt=1 << 53)]
Number = Annotated[float, Field(gt=-1e30, lt=1e30)]
"""Whatever is summed up stays finite."""
Name = Annotated[str, StringConstraints(pattern=r"^[^/\\\x00-\x1f]*[^./\\\x00-\x1f][^/\\\x00-\x1f]*$")]
"""A part of the keys of other objects, which leads to no other folder."""


def _require_time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time with its zone is needed")
    return text


def _require_flags(counts: dict[str, int]) -> dict[str, int]:
    if missing := sorted(set(MEANINGS.values()) - counts.keys()):
        raise ValueError(f"flags are missing: {', '.join(missing)}")
    return counts


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class _Keywords(_Part):
    """Given on as keywords."""

    model_config = ConfigDict(extra="forbid")


class _Bytes(_Part):
    zarr: Count
    cog: Count


class _Sum(_Part):
    count: Count
    sum: Number


class _Moments(_Keywords):
    count: Count
    total: Number
    squares: Annotated[Number, Field(ge=0)]


class _Range(_Part):
    min: Number
    max: Number


class _TileKelvin(_Range):
    sum: Number


class _SceneKelvin(_Range):
    mean: Number


class _Figures(_Part):
    """Of a tile or a scene."""

    pixels: Annotated[Count, Field(gt=0)]
    valid: Count
    bytes: _Bytes
    cpu_s: Annotated[Number, Field(ge=0)]
    model: str
    flags: Annotated[dict[str, Count], AfterValidator(_require_flags)] | None = None
    kelvin: _Range | None = None

    @model_validator(mode="before")
    @classmethod
    def _leaves_out(cls, given: Any) -> Any:  # noqa: ANN401  (whatever JSON holds)
        """Refuse null: readers ask whether a field that may be missing is there, and not what it is."""
        found = given if isinstance(given, dict) else {}
        if empty := [name for name in cls.model_fields if name in found and found[name] is None]:
            raise ValueError(f"null as {', '.join(empty)}")
        return given

    @model_validator(mode="after")
    def _has_values(self) -> Self:
        if self.kelvin is not None and not self.valid:
            raise ValueError("temperatures of no pixels")
        return self


class Entry(_Figures):
    """Entry of a tile."""

    kelvin: _TileKelvin | None = None
    uncertainty: _Sum | None = None
    residual: _Moments | None = None


Side = Annotated[int, Field(gt=0, lt=1 << 31)]
Shape = Annotated[list[Side], Field(min_length=2, max_length=2)]
Transform = Annotated[list[Annotated[float, Field(gt=-1e9, lt=1e9)]], Field(min_length=6, max_length=6)]
Time = Annotated[str, AfterValidator(_require_time)]


# Scenes share grids, and a run reads its records several times.
@lru_cache(maxsize=1024)
def _require_grid(shape: tuple[int, ...], transform: tuple[float, ...], crs: str) -> None:
    try:
        rows, columns = shape
        grid = GeoBox((rows, columns), Affine(*transform), crs)
        _ = ~grid.affine, grid.geographic_extent.boundingbox
    except Exception as error:  # PROJ's and affine's own among them, of whatever the text is
        raise ValueError(f"shape, transform and crs make no grid ({type(error).__name__})") from error


class Record(_Figures):
    """Record of a scene that is complete."""

    tiles: Annotated[Count, Field(gt=0)]
    tile_names: Annotated[list[Name], Field(min_length=1)]
    cube: Name
    datetime: Time
    shape: Shape
    transform: Transform
    crs: str
    kelvin: _SceneKelvin | None = None
    lstzoom_unsupported_share: Number | None = None
    lstzoom_mean_uncertainty: Number | None = None
    lstzoom_residual_bias: Number | None = None
    lstzoom_residual_rmse: Number | None = None

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        _require_grid(tuple(self.shape), tuple(self.transform), self.crs)
        return self


class _Place(_Part):
    item: str
    vnir: list[str]
    cube: Name
    tile: Side
    datetime: Time
    ratio: Annotated[int, Field(ge=1, le=1024)]
    coarse_shape: Shape
    coarse_transform: Transform
    crs: str

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        _require_grid(tuple(self.coarse_shape), tuple(self.coarse_transform), self.crs)
        return self


class Places(_Part):
    """Where the scenes lie, by key."""

    scenes: dict[Name, _Place]


class _Shift(_Keywords):
    y: Number
    x: Number
    confidence: Number


class ModelRecord(_Part):
    """Record of a trained model."""

    sha256: str
    bytes: Count
    level_rows: Count
    scenes: list[str]
    shifts: list[_Shift | None]

    @model_validator(mode="after")
    def _has_shifts(self) -> Self:
        if len(self.shifts) < len(self.scenes):
            raise ValueError("scenes without a shift")
        return self


class FailureRecord(_Part):
    """What failed for good."""

    scene: str
    what: str
    error: str
    kind: str
    attempts: Count
    at: str


class LeaseRecord(_Keywords):
    """Who holds a store."""

    token: Annotated[str, StringConstraints(min_length=1)]
    host: str
    machine: str
    process: Annotated[int, Field(gt=0, lt=2**31)]
    started: Number
    since: str
    seconds: Annotated[Number, Field(gt=0)]


class _Tiles(_Part):
    done: Count


class _LeftOut(_Part):
    name: str
    reason: str


class Summary(_Part):
    """How a run ended."""

    state: str
    exit_code: Count
    why: str
    lstzoom: str
    started: str
    ended: str
    seconds: dict[str, Number]
    tiles: _Tiles
    tasks: Count
    retried: Count
    bytes: Count
    left_out: list[_LeftOut]
    cubes: list[str]
    collection: str | None


class _Input(_Part):
    lst: str
    vnir: list[str]
    hash: str


class Frozen(_Part):
    """The job that a store is of; what its settings are is compared, and not relied upon."""

    format: int
    settings: dict[str, Any]
    inputs: dict[Name, _Input]
    code: dict[str, Any]
    hash: str

    @model_validator(mode="before")
    @classmethod
    def _is_of_this_version(cls, given: Any) -> Any:  # noqa: ANN401  (whatever JSON holds)
        if isinstance(given, dict) and given.get("format", FORMAT) != FORMAT:
            raise ValueError("it is of another version of lstzoom")
        return given

    @model_validator(mode="after")
    def _has_settings(self) -> Self:
        outputs, catalog = self.settings.get("outputs"), self.settings.get("catalog")
        if not isinstance(outputs, dict) or not isinstance(catalog, dict):
            raise ValueError("settings without catalog or outputs")  # noqa: TRY004  (pydantic takes no other)
        if not isinstance(catalog.get("name"), str) or not isinstance(outputs.get("zarr"), bool):
            raise ValueError("settings without the catalogue's name or outputs.zarr")  # noqa: TRY004  (as above)
        return self


def parsed(data: bytes, key: str, kind: type[BaseModel], remedy: str = _REMEDY) -> dict[str, Any]:
    """Read a JSON document that has to have the fields of a kind.

    Parameters
    ----------
    data
        As it lies in the store.
    key
        Under which it lies, for the message.
    kind
        Class of this module.
    remedy
        What to do if it is not.

    Returns
    -------
    dict
        All of the document.

    Raises
    ------
    StoreError
        If it is no JSON, or lacks something.
    """
    try:
        found = json.loads(data)
        kind.model_validate(found)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:3])
        raise StoreError(f"{key!r} in the store is damaged ({told.removeprefix(': ')}); {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{key!r} in the store is no JSON: {error}; {remedy}") from error
    return dict(found)


def read_parsed(
    store: Store, key: str, kind: type[BaseModel], remedy: str = _REMEDY
) -> dict[str, Any] | None:
    """Read a document of a store, as `parsed` does; None if there is none."""
    data = store.read(key)
    return None if data is None else parsed(data, key, kind, remedy)


def read_summary(store: Store) -> dict[str, Any] | None:
    """Read how the last run ended; None before one has.

    Raises
    ------
    StoreError
        If what the store holds of it is damaged.
    """
    return read_parsed(store, layout.SUMMARY, Summary, "remove it: each run writes it anew")

"""Trained models as files: arrays and JSON in one zip, nothing that is executed when it is read.

The layout, version 1 (docs/model.md): ``model.json`` and one ``<name>.npy`` for each array of each forest, so
that ``numpy.load`` opens the arrays, too. The header names every array with type, shape and SHA-256. Its own
hash covers all of it but the date, and with it the arrays: the same model, however often written, has the
same hash.

Compiled trees are walked without checks. So whatever they could be led astray by is refused here.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from lstzoom.config import SharpenConfig
from lstzoom.errors import InputError, LstzoomError, MissingExtraError
from lstzoom.kernels import footprint
from lstzoom.kernels.block import GlobalModel
from lstzoom.kernels.features import detail_count
from lstzoom.kernels.hashing import MAX_TREES
from lstzoom.kernels.register import Shift
from lstzoom.kernels.rows import MAX_PAIRS, POSSIBLE_KELVIN
from lstzoom.kernels.trees import MOST_COLUMNS, MOST_NODES, Forest
from lstzoom.kernels.uncertainty import ErrorModel
from lstzoom.raster import shown

FORMAT: Final = "lstzoom-model"
VERSION: Final = 1
"""To be raised with the layout, and whenever a feature or a number of the model changes its meaning."""
_HEADER: Final = "model.json"
_DTYPES: Final[Mapping[str, str]] = {"feature": "<i2", "threshold": "<f4", "left": "<i4", "value": "<f4"}
_FORESTS: Final = ("levels", "details", "errors")
_DEEPEST: Final = 20
_MOST_BYTES: Final = 1 << 28
_MOST_HEADER: Final = 1 << 20
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ArrayFacts(_Part):
    """What one array must be."""

    dtype: Literal["<i2", "<i4", "<f4"]
    shape: tuple[
        Annotated[int, Field(ge=1, le=MAX_TREES)],
        Annotated[int, Field(ge=1, le=MOST_NODES)],
    ]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class ErrorFacts(_Part):
    """Numbers of `ErrorModel`."""

    factor: float = Field(ge=0)
    constant: float = Field(ge=0)
    plain: float = Field(ge=1)


class ShiftFacts(_Part):
    """Numbers of `Shift`."""

    y: float
    x: float
    confidence: float = Field(ge=0, le=1)


class Numbers(_Part):
    """Numbers of `GlobalModel`."""

    pairs: tuple[tuple[int, int], ...] = Field(max_length=MAX_PAIRS)
    reliability: float = Field(ge=0, le=1)
    scene_mean: float = Field(gt=POSSIBLE_KELVIN[0], lt=POSSIBLE_KELVIN[1])
    footprint: float = Field(ge=0)
    errors: ErrorFacts


class Facts(_Part):
    """What a model is and where it comes from."""

    bands: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = Field(min_length=1, max_length=4096)
    ratio: int = Field(ge=2, le=1024)
    seed: int = Field(ge=0, lt=2**32)
    level_rows: int = Field(ge=0)
    detail_rows: int = Field(ge=0)
    shifts: tuple[ShiftFacts | None, ...]
    lstzoom: str
    config: SharpenConfig | None


class Header(_Part):
    """The JSON document of a model."""

    format: Literal["lstzoom-model"]
    version: Literal[1]
    facts: Facts
    numbers: Numbers
    arrays: dict[str, ArrayFacts]
    created: Annotated[str, StringConstraints(max_length=40)] | None
    sha256: str

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        count, numbers = len(self.facts.bands), self.numbers
        if len(set(self.facts.bands)) != count:
            raise ValueError("two bands have the same name")
        if any(not 0 <= i < j < count for i, j in numbers.pairs) or len(set(numbers.pairs)) < len(
            numbers.pairs
        ):
            raise ValueError("pairs name bands that are not there, or are named twice")
        if numbers.footprint > footprint.WIDEST * self.facts.ratio * (1 + 1e-9):
            raise ValueError("the footprint is wider than any that is measured")
        if self.facts.config is not None and self.facts.config.seed != self.facts.seed:
            raise ValueError("the seed is not that of the settings")
        wanted = {f"{forest}.{name}" for forest in self.forests for name in _DTYPES}
        if set(self.arrays) != wanted:
            raise ValueError(f"arrays are missing or unknown: {sorted(set(self.arrays) ^ wanted)}")
        return self

    @property
    def forests(self) -> list[str]:
        """Forests that have an array, whether complete or not."""
        return [one for one in _FORESTS if any(name.startswith(f"{one}.") for name in self.arrays)]


def digest(header: Mapping[str, Any]) -> str:
    """SHA-256 of a header without its hash and its date, as canonical JSON."""
    kept = {key: value for key, value in header.items() if key not in ("sha256", "created")}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def describe(model: GlobalModel, facts: Mapping[str, Any], created: datetime | None = None) -> dict[str, Any]:
    """Make the header of a model.

    Parameters
    ----------
    model
        The trained model.
    facts
        Fields of `Facts`.
    created
        When it was trained; left out if not given, so that equal models make equal files.

    Returns
    -------
    dict
        JSON values; ``sha256`` is the hash of the content.
    """
    arrays = {
        name: {
            "dtype": array.dtype.str,
            "shape": list(array.shape),
            "sha256": hashlib.sha256(array.tobytes()).hexdigest(),
        }
        for name, array in _arrays(model).items()
    }
    errors = {name: float(getattr(model.errors, name)) for name in ("factor", "constant", "plain")}
    numbers = {name: float(getattr(model, name)) for name in ("reliability", "scene_mean", "footprint")}
    header: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "facts": dict(facts),
        "numbers": {"pairs": [list(pair) for pair in model.pairs], "errors": errors, **numbers},
        "arrays": arrays,
        "created": None if created is None else created.isoformat(),
    }
    header["sha256"] = digest(header)
    return header


def _arrays(model: GlobalModel) -> dict[str, NDArray[Any]]:
    """All arrays by name, in the byte order of the file."""
    forests = dict(zip(_FORESTS, (model.levels, model.details, model.errors.trees), strict=True))
    return {
        f"{name}.{field.name}": np.ascontiguousarray(getattr(forest, field.name), _DTYPES[field.name])
        for name, forest in forests.items()
        if forest is not None
        for field in fields(Forest)
    }


def encode(model: GlobalModel, header: Mapping[str, Any]) -> bytes:
    """Write a model and its header into the bytes of a file.

    Raises
    ------
    InputError
        If `decode` would refuse it, so that nothing is written that cannot be read.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        # A fixed date: equal models make equal files.
        text = json.dumps(header, indent=1, ensure_ascii=True, allow_nan=False)
        archive.writestr(_member(_HEADER), text)
        for name, array in _arrays(model).items():
            out = io.BytesIO()
            np.lib.format.write_array(out, array, version=(1, 0), allow_pickle=False)
            archive.writestr(_member(f"{name}.npy"), out.getvalue())
    data = file.getvalue()
    decode(data, "the model")
    return data


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info


def decode(data: bytes, name: str) -> tuple[GlobalModel, Header]:
    """Read the bytes of a file.

    Parameters
    ----------
    data
        Content of the file.
    name
        What to call it in messages.

    Returns
    -------
    model, header

    Raises
    ------
    InputError
        If it is no such file, damaged, of another version, or not what a model can be.
    """
    with _refused(name):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = _members(archive)
            header = _header(archive.read(members.pop(_HEADER)) if _HEADER in members else b"")
            if set(members) != {f"{one}.npy" for one in header.arrays}:
                unlike = sorted(set(members) ^ {f"{one}.npy" for one in header.arrays})
                raise InputError(f"files are missing or unknown: {unlike}")
            arrays = {
                one: _array(archive.read(members[f"{one}.npy"]), one, facts)
                for one, facts in header.arrays.items()
            }
        return _model(header, arrays), header


@contextmanager
def _refused(name: str) -> Iterator[None]:
    """Turn whatever a damaged file makes libraries raise into an error that says what to do."""
    remedy = "give a file that SceneModel.save wrote, fetch it again, or train anew with lstzoom.fit"
    try:
        yield
    except InputError as error:
        raise InputError(f"{shown(name)!r} is no model that can be used: {error}; {remedy}") from error
    except Exception as error:
        raise InputError(
            f"{shown(name)!r} is no model, or is damaged ({type(error).__name__}: {error}); {remedy}"
        ) from error


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    listed = archive.infolist()
    members = {one.filename: one for one in listed}
    if len(members) < len(listed):
        raise InputError("a file in it has the same name as another")
    if sum(one.file_size for one in listed) > _MOST_BYTES:
        raise InputError(f"it unpacks to more than {_MOST_BYTES >> 20} MiB, far more than a model")
    return members


def _header(text: bytes) -> Header:
    if not text:
        raise InputError(f"it holds no {_HEADER}")
    if len(text) > _MOST_HEADER:
        raise InputError(f"its {_HEADER} is far too long")
    raw = json.loads(text)
    known = isinstance(raw, dict) and raw.get("format") == FORMAT
    if not known:
        raise InputError(f"its {_HEADER} is not that of a model")
    if raw.get("version") != VERSION:
        raise InputError(
            f"it is of version {raw.get('version')!r:.40} and this lstzoom reads version {VERSION}; use the "
            "lstzoom that wrote it"
        )
    try:
        header = Header.model_validate_json(text)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5])
        raise InputError(told) from error
    if raw.get("sha256") != digest(raw):
        raise InputError("its hash is not that of its content: it was changed after it was written")
    return header


def _array(data: bytes, name: str, facts: ArrayFacts) -> NDArray[Any]:
    """Read an array, whose type and size are known from the header."""
    wanted = np.dtype(_DTYPES[name.partition(".")[2]])
    count = facts.shape[0] * facts.shape[1]
    file = io.BytesIO(data)
    if np.lib.format.read_magic(file) != (1, 0):
        raise InputError(f"the array {name} is of an unknown version")
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
    if (facts.dtype, dtype, shape, by_columns) != (wanted.str, wanted, facts.shape, False):
        raise InputError(
            f"the array {name} is {dtype} with shape {shape}; {wanted} with shape {facts.shape} is needed"
        )
    body = data[file.tell() :]
    if len(body) != count * wanted.itemsize or hashlib.sha256(body).hexdigest() != facts.sha256:
        raise InputError(f"the array {name} is not the one that was written")
    # A copy: compiled functions tell arrays that may be written from those that may not.
    return np.frombuffer(body, wanted).reshape(shape).astype(wanted.newbyteorder("="), copy=True)


def _model(header: Header, arrays: Mapping[str, NDArray[Any]]) -> GlobalModel:
    levels = len(header.facts.bands) + len(header.numbers.pairs)
    width = {"levels": levels, "details": detail_count(levels), "errors": detail_count(levels)}
    forests: dict[str, Forest | None] = dict.fromkeys(_FORESTS)
    for name in header.forests:
        forest = Forest(*(arrays[f"{name}.{field.name}"] for field in fields(Forest)))
        _require_sound(forest, name, width[name])
        forests[name] = forest
    n, e = header.numbers, header.numbers.errors
    return GlobalModel(
        n.pairs,
        forests["levels"],
        forests["details"],
        n.reliability,
        n.scene_mean,
        n.footprint,
        ErrorModel(forests["errors"], e.factor, e.constant, e.plain),
    )


def _require_sound(forest: Forest, name: str, features: int) -> None:
    """Refuse trees that lead outside of their arrays, in circles, or to features that are not there."""
    shapes = {getattr(forest, field.name).shape for field in fields(Forest)}
    if len(shapes) > 1:
        raise InputError(f"the arrays of the trees {name} have different shapes: {sorted(shapes)}")
    most = min(features, MOST_COLUMNS)
    if forest.feature.min() < 0 or forest.feature.max() >= most:
        raise InputError(f"the trees {name} ask for features outside of 0 to {most - 1}")
    if not (np.isfinite(forest.threshold).all() and np.isfinite(forest.value).all()):
        raise InputError(f"the trees {name} hold numbers that are not finite")
    for number, left in enumerate(forest.left):
        _require_tree(left, f"tree {number} of {name}")


def _require_tree(left: NDArray[np.int32], name: str) -> None:
    inner = np.flatnonzero(left != -1)
    children = left[inner].astype(np.int64)
    # Children follow their parent, so no way leads back.
    if (children <= inner).any() or (children + 1 >= len(left)).any():
        raise InputError(f"{name} has children outside of the tree, or before their parent")
    if (np.diff(np.sort(children)) < 2).any():
        raise InputError(f"{name} has nodes with two parents")
    level, depth, reached = np.array([0]), 0, 0
    while len(level := level[left[level] >= 0]):
        reached += len(level)
        level = np.concatenate([left[level], left[level] + 1])
        depth += 1
        if depth > _DEEPEST:
            raise InputError(f"{name} is deeper than {_DEEPEST}")
    # Every pixel takes as many steps as the deepest branch has, be it reached or not.
    if reached < len(inner):
        raise InputError(f"{name} has branches to which no way leads")


def shifts_of(header: Header) -> tuple[Shift | None, ...]:
    """Shifts as the kernels know them."""
    return tuple(None if s is None else Shift(s.y, s.x, s.confidence) for s in header.facts.shifts)


# Files


def put(
    location: str | Path,
    data: bytes,
    *,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> None:
    """Write a file whole or not at all.

    Parameters
    ----------
    location
        Path, or a URL that fsspec knows.
    data
        Content.
    overwrite
        Replace what is there.
    storage_options
        For fsspec.

    Raises
    ------
    InputError
        If it exists, or cannot be written.
    MissingExtraError
        If the package for such URLs is not installed.
    """
    with _told(str(location), "write"):
        store, path = _store(location, storage_options)
        if store.exists(path) and (store.isdir(path) or not overwrite):
            raise InputError(
                f"{shown(str(location))!r} exists; choose another name, or allow to replace a file with "
                "overwrite=True (--overwrite)"
            )
        if "file" in store.protocol:
            _replace(Path(path), data)
        else:
            store.pipe_file(path, data)  # one upload, which appears when it is complete


def get(location: str | Path, storage_options: Mapping[str, Any] | None = None) -> bytes:
    """Read a file that `put` wrote; arguments and errors as there."""
    with _told(str(location), "read"):
        store, path = _store(location, storage_options)
        with store.open(path, "rb") as file:
            data: bytes = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise InputError(f"{shown(str(location))!r} is far larger than a model")
    return data


def _store(location: str | Path, options: Mapping[str, Any] | None) -> tuple[Any, str]:
    import fsspec  # noqa: PLC0415  (slow to import, and only models need it here)

    store, path = fsspec.core.url_to_fs(str(location), **(options or {}))
    return store, str(path)


def _replace(target: Path, data: bytes) -> None:
    """Write beside the target and rename."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        draft.chmod(0o666 & ~mask)  # as any new file has it; drafts are private
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def _told(location: str, act: str) -> Iterator[None]:
    """Turn what storage libraries raise, which is anything, into an error that says what to do."""
    try:
        yield
    except LstzoomError:
        raise
    except ImportError as error:
        raise MissingExtraError(
            f'cannot {act} {shown(location)!r}: {error}; for S3 install it with pip install "lstzoom[s3]"'
        ) from error
    except Exception as error:
        raise InputError(
            f"cannot {act} {shown(location)!r}: {type(error).__name__}: {shown(str(error))}; "
            "check the address and the access"
        ) from error

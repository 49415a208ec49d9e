"""What a job is: settings, inputs and code, each hashed, and what tells two jobs apart.

Results are the same bits for the same three, so a store takes the results of one job only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import rasterio

import lstzoom
from lstzoom.sources.catalog import open_catalog
from lstzoom.sources.job import Job
from lstzoom.sources.loading import Readers
from lstzoom.sources.reading import RemoteBand
from lstzoom.sources.redaction import redacted
from lstzoom.sources.signing import gdal_path, is_remote, plain

_WITHOUT_EFFECT: Final = ("cluster", "mosaic", "run")
"""Sections of a job that do not change results."""
_METHOD: Final = (
    "kernels", "sources", "account.py", "artefact.py", "config.py", "encoding.py", "grid.py", "halo.py",
    "inputs.py", "overviews.py", "raster.py", "registration.py", "regrid.py", "sample.py", "sharpening.py",
    "train.py", "types.py", "write.py",
)  # fmt: skip
"""What computes, reads and encodes pixels; a word changed in the command line is no other code."""
_LIBRARIES: Final = ("numpy", "scipy", "numba")
_SHOWN: Final = 12


def settings_of(job: Job) -> dict[str, Any]:
    """Return the settings that results depend on, the catalogue's included and passwords of addresses not."""
    fields: dict[str, Any] = job.model_dump(mode="json")
    for name in _WITHOUT_EFFECT:
        fields.pop(name, None)
    fields["outputs"].pop("folder")
    # Tiles are the blocks of a job.
    fields["method"].pop("chunk")
    fields["catalog"]["content"] = _digest(open_catalog(job.catalog.name).model_dump(mode="json"))
    return {name: redacted(part) for name, part in fields.items()}


@lru_cache(maxsize=1)
def code() -> dict[str, str]:
    """Version and content of what computes pixels, and of the libraries that it computes with."""
    root = Path(lstzoom.__file__).parent
    whole = hashlib.sha256()
    for name in _METHOD:
        here = root / name
        for path in sorted(here.rglob("*.py")) if here.is_dir() else [here]:
            whole.update(path.relative_to(root).as_posix().encode())
            whole.update(path.read_bytes())
    libraries = {name: version(name) for name in _LIBRARIES}
    return {
        "lstzoom": lstzoom.__version__, "method": whole.hexdigest()[:16], "gdal": rasterio.__gdal_version__,
        **libraries,
    }  # fmt: skip


def inputs_of(readers: Readers) -> str:
    """Hash what a scene reads: addresses, encodings, grids, masks, and of local files size and time."""
    whole = hashlib.sha256(repr((_told(readers.fine), _told(readers.coarse), repr(readers.grids))).encode())
    for layer in sorted({one.href: one for one in layers_of(readers)}.items()):
        whole.update(repr((plain(layer[0]), _stamp(layer[1]))).encode())
    return whole.hexdigest()[:16]


def layers_of(readers: Readers) -> list[RemoteBand]:
    """List the files' bands that a scene reads."""
    return [*readers.fine.layers(), *readers.coarse.layers()]


def _told(reader: object) -> object:
    return reader.__dask_tokenize__() if hasattr(reader, "__dask_tokenize__") else repr(reader)


def _stamp(layer: RemoteBand) -> tuple[int, int] | None:
    if is_remote(layer.href):
        return None
    try:
        found = Path(gdal_path(layer.href)).stat()
    except OSError:
        # A file that is not there is told when it is read.
        return None
    return found.st_size, found.st_mtime_ns


def hashed(job: Mapping[str, Any]) -> str:
    """Hash of a frozen job: settings, inputs and code."""
    return _digest({name: job[name] for name in ("settings", "inputs", "code")})


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], parts: Sequence[str] = ("settings", "inputs", "code")
) -> list[str]:
    """Say what tells two frozen jobs apart, a line for each difference.

    Examples
    --------
    >>> before, after = ({"settings": {"grid": {"tile": side}}} for side in (512, 256))
    >>> differences(before, after, ["settings"])
    ['settings: grid.tile was 512 and is 256']
    """
    lines = []
    for part in parts:
        old, new = dict(_flat(before[part])), dict(_flat(after[part]))
        for key in sorted(old.keys() | new.keys()):
            if key not in new:
                lines.append(f"{part}: {key} was {_short(old[key])} and is gone")
            elif key not in old:
                lines.append(f"{part}: {key} is new: {_short(new[key])}")
            elif old[key] != new[key]:
                lines.append(f"{part}: {key} was {_short(old[key])} and is {_short(new[key])}")
    return lines


def shown(lines: Sequence[str]) -> str:
    """Indent some of many lines."""
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "\n".join(f"  {line}" for line in [*lines[:_SHOWN], *more])


def _flat(content: object, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(content, Mapping) and content:
        for name, value in content.items():
            yield from _flat(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, content


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."

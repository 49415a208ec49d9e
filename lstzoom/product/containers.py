"""Files of a bundle, wherever it lies: a folder, a zip, or a prefix of an object store.

What GDAL opens and what people and STAC call it differ: ``/vsis3/bucket/key`` is ``s3://bucket/key``. Listing
and small files go through fsspec, rasters through GDAL; both take credentials from the environment.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import fsspec

from lstzoom.errors import InputError, MissingExtraError
from lstzoom.raster import shown

_VSI: Final[Mapping[str, str]] = {
    "s3": "/vsis3/",
    "s3a": "/vsis3/",
    "gs": "/vsigs/",
    "gcs": "/vsigs/",
    "az": "/vsiaz/",
    "http": "/vsicurl/http://",
    "https": "/vsicurl/https://",
}
_RASTERS: Final = (".tif", ".tiff", ".vrt", ".jp2", ".nc", ".hdf", ".h5")
_MOST_FILES: Final = 1000
_DEEPEST: Final = 3
_MOST_BYTES: Final = 1 << 26
# A bundle of 15 km x 15 km has less than 1 GiB; TIFFs that are compressed already hardly shrink in a zip.
_LARGEST_ZIP: Final = 1 << 36
_MOST_PACKED: Final = 200.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One file.

    Attributes
    ----------
    name
        Path within the bundle.
    path
        What GDAL and rasterio open.
    href
        URL or path for people and STAC; rasterio opens it, too.
    """

    name: str
    path: str
    href: str


@dataclass(frozen=True, slots=True)
class Container:
    """Where a bundle lies and what is in it.

    Attributes
    ----------
    location
        As it was given.
    entries
        Files, sorted by name.
    read
        Reads a small file whole.
    """

    location: str
    entries: tuple[Entry, ...]
    read: Callable[[Entry], bytes]


def open_container(location: str | Path, storage_options: Mapping[str, Any] | None = None) -> Container:
    """List the files of a folder, a zip, or a prefix of an object store.

    Parameters
    ----------
    location
        Path or URL (``s3://``, ``gs://``, ``az://``; zips over ``https://``, too).
    storage_options
        For fsspec, which lists the files.

    Returns
    -------
    Container

    Raises
    ------
    InputError
        If it cannot be listed, or holds far more than a bundle.
    MissingExtraError
        If the package for this kind of store is not installed.
    """
    text = str(location)
    scheme, found, rest = text.partition("://")
    if not found or scheme == "file":
        return _local(text, Path(rest if found else text))
    if scheme not in _VSI:
        raise InputError(
            f"{text!r} is of a kind that is not read; give a folder, a zip, or one of "
            f"{', '.join(f'{one}://' for one in _VSI)}"
        )
    with _told(text):
        return _remote(text, scheme, rest, dict(storage_options or {}))


def sha256_of(container: Container, entry: Entry) -> str:
    """Hash the content of a file, as metadata name it."""
    return hashlib.sha256(container.read(entry)).hexdigest()


def looks_like(location: str) -> bool:
    """Tell whether a path or URL may be a bundle rather than a raster: a folder, a zip, or a prefix."""
    if location.lower().endswith(".zip") or Path(location).is_dir():
        return True
    return location.partition("://")[0] in _VSI and not location.lower().endswith(_RASTERS)


@contextmanager
def _told(location: str) -> Iterator[None]:
    """Turn what storage libraries raise, which is anything, into an error that says what to do."""
    try:
        yield
    except (InputError, MissingExtraError):
        raise
    except ImportError as error:
        extra = "s3" if location.startswith("s3") else "the package it names"
        raise MissingExtraError(
            f"cannot open {shown(location)!r}: {error}; install {extra}, for S3 with "
            'pip install "lstzoom[s3]"'
        ) from error
    except Exception as error:
        raise InputError(
            f"cannot list or read {shown(location)!r}: {type(error).__name__}: {shown(str(error))}; "
            "check the address and the access"
        ) from error


def _local(text: str, path: Path) -> Container:
    if path.is_dir():
        files = [(file, file.relative_to(path)) for file in _walk(path)]
        entries = [Entry(name.as_posix(), str(file), str(file.resolve())) for file, name in files]
        return _listed(text, entries, lambda entry: _bytes_of(Path(entry.path)))
    if not path.is_file():
        raise InputError(f"{text!r} does not exist; give the folder or zip of a bundle, or its URL")
    if not zipfile.is_zipfile(path):
        raise InputError(f"{text!r} is neither a folder nor a zip; give the bundle that the file belongs to")
    whole = path.resolve()
    return _zipped(text, lambda: whole.open("rb"), f"/vsizip/{{{whole}}}/", f"zip+file://{whole}!")


def _walk(path: Path) -> Iterator[Path]:
    """Go through files below a folder, not far down and not for ever."""
    count = 0
    for folder, names, files in os.walk(path):
        depth = len(Path(folder).relative_to(path).parts)
        names[:] = sorted(name for name in names if depth < _DEEPEST and not name.startswith("."))
        for name in files:
            count += 1
            if count > _MOST_FILES:
                return
            yield Path(folder, name)


def _bytes_of(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{str(path)!r} is far larger than the metadata of a bundle")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror}; check the access") from error


def _remote(text: str, scheme: str, rest: str, options: dict[str, Any]) -> Container:
    if scheme.startswith("s3") and os.environ.get("AWS_NO_SIGN_REQUEST", "").upper() in ("YES", "TRUE", "1"):
        options.setdefault("anon", True)
    if rest.lower().partition("?")[0].endswith(".zip"):
        base = f"{_VSI[scheme]}{rest}"
        base_href = shown(text)
        return _zipped(
            base_href,
            lambda: fsspec.open(text, "rb", **options).open(),
            f"/vsizip/{{{base}}}/",
            f"zip+{base_href}!",
        )
    if scheme.startswith("http"):
        raise InputError(f"{shown(text)!r} is a web address, which cannot be listed; give the URL of a zip")
    store = fsspec.filesystem(scheme, **options)
    # A listing kept from before would hide what has been put there since.
    store.invalidate_cache()
    keys = store.find(rest.rstrip("/"), maxdepth=_DEEPEST)
    start = len(rest.rstrip("/")) + 1
    entries = [Entry(key[start:], f"{_VSI[scheme]}{key}", f"{scheme}://{key}") for key in keys]

    def read(entry: Entry) -> bytes:
        with _told(entry.href):
            return bytes(store.cat_file(entry.href))

    return _listed(text, entries, read)


def _zipped(text: str, opened: Callable[[], Any], path: str, href: str) -> Container:
    with _told(text):
        try:
            with opened() as file, zipfile.ZipFile(file) as archive:
                members = [one for one in archive.infolist() if not one.is_dir()]
        except zipfile.BadZipFile as error:
            raise InputError(
                f"{text!r} is no valid zip ({error}); it may be cut short: fetch it again"
            ) from error
    _require_sane(text, members)
    encrypted = [one.filename for one in members if one.flag_bits & 1]
    if encrypted:
        raise InputError(f"{text!r} is encrypted ({encrypted[0]!r}); unpack it and give the folder")

    def read(entry: Entry) -> bytes:
        with _told(entry.href), opened() as file, zipfile.ZipFile(file) as archive:
            if archive.getinfo(entry.name).file_size > _MOST_BYTES:
                raise InputError(f"{entry.href!r} is far larger than the metadata of a bundle")
            return archive.read(entry.name)

    return _listed(text, [Entry(n, f"{path}{n}", f"{href}{n}") for n in (m.filename for m in members)], read)


def _require_sane(text: str, members: list[zipfile.ZipInfo]) -> None:
    """Refuse an archive that would fill the memory, or take for ever, when it is unpacked."""
    total = sum(one.file_size for one in members)
    packed = sum(one.compress_size for one in members)
    if total > _LARGEST_ZIP or (total > _MOST_BYTES and total > _MOST_PACKED * max(packed, 1)):
        raise InputError(
            f"{text!r} would unpack to {total / 2**20:,.0f} MiB from {packed / 2**20:,.1f} MiB, which no "
            "bundle does; fetch it again from where you trust it"
        )


def _is_inside(name: str) -> bool:
    """Tell whether the name of a file stays in its archive."""
    return not (name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/"))


def _listed(location: str, entries: list[Entry], read: Callable[[Entry], bytes]) -> Container:
    if len(entries) >= _MOST_FILES:
        raise InputError(
            f"{location!r} holds {_MOST_FILES} files or more; a bundle has some 30: give one bundle"
        )
    outside = [one.name for one in entries if not _is_inside(one.name)]
    if outside:
        raise InputError(
            f"{location!r} names {outside[0]!r}, which leads out of it; fetch it again from where you trust "
            "it"
        )
    visible = [
        one for one in entries if not any(part.startswith((".", "__MACOSX")) for part in one.name.split("/"))
    ]
    if not visible:
        raise InputError(f"{location!r} holds no file; give the folder, zip or prefix of one bundle")
    return Container(location, tuple(sorted(visible, key=lambda one: one.name)), read)

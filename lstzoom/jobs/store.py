"""Where a run keeps what it makes: a folder, or a bucket that fsspec knows.

An object appears under its name when it is complete, or not at all. On a local disk it is written aside,
below `ASIDE`, and renamed; an upload is one request. What a process that was killed left aside goes with
`Store.sweep`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from uuid import uuid4

from lstzoom.cube.store import is_refused
from lstzoom.errors import ConfigError, LstzoomError, MissingExtraError, StoreError, StoreFullError
from lstzoom.sources.redaction import redact

ASIDE: Final = ".aside"
"""Folder of what is being written, on the same disk."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG})


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn what disks and storage libraries raise into an error that says what to do.

    Parameters
    ----------
    what
        What was tried, for the message.

    Raises
    ------
    StoreFullError
        If trying again cannot help: the disk is full, the store is read-only, or access is denied.
    StoreError
        Else.
    """
    try:
        yield
    except StoreError:
        raise
    except LstzoomError as error:
        # What cannot be written may be said as a wrong argument.
        if _refusal(error) is not None:
            raise store_error(error, what) from error
        raise
    except ImportError as error:
        raise MissingExtraError(
            f'{what}: {error}; for S3 install it with pip install "lstzoom[s3]"'
        ) from error
    except Exception as error:
        raise store_error(error, what) from error


def store_error(error: BaseException, what: str) -> StoreError:
    """Say a failure of the store; see `told`."""
    refused = _refusal(error)
    if refused is not None:
        return StoreFullError(
            f"{what}: {os.strerror(refused.errno) if refused.errno else redact(str(refused))}; make room or "
            "give access, and run the same again: it goes on where it stopped"
        )
    return StoreError(f"{what}: {type(error).__name__}: {redact(str(error))}")


def _refusal(error: BaseException) -> OSError | None:
    """Find what says that the store takes no more, among an error and its causes."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, PermissionError) or (isinstance(seen, OSError) and seen.errno in _FULL):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


@dataclass(frozen=True, slots=True)
class Store:
    """Objects by key, below one address; can be pickled.

    Parameters
    ----------
    url
        Folder, or address that fsspec knows, such as ``s3://bucket/run``. Credentials come from the
        environment.

    Examples
    --------
    >>> import tempfile
    >>> store = Store(tempfile.mkdtemp())
    >>> store.write("a/b.txt", b"text")
    4
    >>> store.read("a/b.txt"), store.read("a/c.txt"), store.keys("a")
    (b'text', None, ['a/b.txt'])
    """

    url: str

    @property
    def is_local(self) -> bool:
        """Whether it is a folder."""
        return "://" not in self.url or self.url.startswith("file://")

    @property
    def root(self) -> Path:
        """The folder, of a local store."""
        return Path(self.url.removeprefix("file://"))

    def address(self, key: str) -> str:
        """Path or URL of an object."""
        return str(self.root / key) if self.is_local else f"{self.url.rstrip('/')}/{key}"

    # Reading

    def read(self, key: str) -> bytes | None:
        """Return an object; None if there is none."""
        with told(f"cannot read {self.address(key)!r}"):
            try:
                if self.is_local:
                    return (self.root / key).read_bytes()
                store, path = _remote(self.address(key))
                data: bytes = store.cat_file(path)
            except (FileNotFoundError, NotADirectoryError):
                return None
            return data

    def read_all(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return objects that are there, many at a time from a bucket."""
        wanted = list(keys)
        if self.is_local or not wanted:
            found = ((key, self.read(key)) for key in wanted)
            return {key: data for key, data in found if data is not None}
        with told(f"cannot read from {self.url!r}"):
            store, _ = _remote(self.url)
            paths = {_remote(self.address(key))[1]: key for key in wanted}
            got = store.cat(list(paths), on_error="return")
            for one in got.values():
                if isinstance(one, Exception) and not isinstance(one, FileNotFoundError):
                    raise one
            return {paths[path]: data for path, data in got.items() if isinstance(data, bytes)}

    def exists(self, key: str) -> bool:
        """Tell whether an object or anything below the key is there."""
        with told(f"cannot look at {self.address(key)!r}"):
            if self.is_local:
                return (self.root / key).exists()
            store, path = _remote(self.address(key))
            return bool(store.exists(path))

    def keys(self, prefix: str = "") -> list[str]:
        """List objects below a prefix, in ascending order."""
        with told(f"cannot list {self.address(prefix)!r}"):
            if self.is_local:
                root = self.root
                found = (Path(folder) / name for folder, _, names in os.walk(root / prefix) for name in names)
                return sorted(path.relative_to(root).as_posix() for path in found)
            store, base = _remote(self.url)
            _, path = _remote(self.address(prefix))
            try:
                there = store.find(path)
            except FileNotFoundError:
                return []
            return sorted(str(one)[len(base.rstrip("/")) + 1 :] for one in there)

    # Writing

    def write(self, key: str, data: bytes) -> int:
        """Write an object whole or not at all; return its size."""
        with told(f"cannot write {self.address(key)!r}"):
            if self.is_local:
                with self._aside(data) as draft:
                    target = self.root / key
                    target.parent.mkdir(parents=True, exist_ok=True)
                    draft.replace(target)
            else:
                store, path = _remote(self.address(key))
                store.pipe_file(path, data)
        return len(data)

    def put(self, key: str, file: Path) -> int:
        """Move a file to an object, whole or not at all, without holding it in memory; return its size."""
        size = file.stat().st_size
        with told(f"cannot write {self.address(key)!r}"):
            if self.is_local:
                target = self.root / key
                target.parent.mkdir(parents=True, exist_ok=True)
                settle(file)
                file.replace(target)
            else:
                store, path = _remote(self.address(key))
                store.put_file(str(file), path)
                file.unlink()
        return size

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Make a folder for files that are going to be `put`: on the disk of the store, if it has one."""
        folder = None
        if self.is_local:
            with told(f"cannot write into {self.url!r}"):
                folder = self.root / ASIDE
                folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix="lstzoom-") as name:
            yield Path(name)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object if there is none; tell whether there was none. Of several, one succeeds."""
        with told(f"cannot write {self.address(key)!r}"):
            try:
                if self.is_local:
                    with self._aside(data) as draft:
                        target = self.root / key
                        target.parent.mkdir(parents=True, exist_ok=True)
                        # A link is made by one process only, and what it leads to is complete.
                        os.link(draft, target)
                else:
                    store, path = _remote(self.address(key))
                    store.pipe_file(path, data, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                if is_refused(error):
                    return False
                raise
        return True

    @contextmanager
    def _aside(self, data: bytes) -> Iterator[Path]:
        folder = self.root / ASIDE
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / uuid4().hex
        try:
            with draft.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield draft
        finally:
            draft.unlink(missing_ok=True)

    def touch(self, key: str, data: bytes) -> None:
        """Say that an object is alive: by its time on a disk, where that needs no room; else anew."""
        if not self.is_local:
            self.write(key, data)
            return
        with told(f"cannot write {self.address(key)!r}"):
            os.utime(self.root / key)

    def age(self, key: str) -> float | None:
        """Seconds since an object was written or touched; None if there is none."""
        with told(f"cannot look at {self.address(key)!r}"):
            try:
                if self.is_local:
                    return time.time() - (self.root / key).stat().st_mtime
                store, path = _remote(self.address(key))
                return time.time() - float(store.modified(path).timestamp())
            except FileNotFoundError:
                return None

    def remove(self, key: str) -> None:
        """Remove an object, if there is one."""
        with told(f"cannot remove {self.address(key)!r}"), contextlib.suppress(FileNotFoundError):
            if self.is_local:
                (self.root / key).unlink()
            else:
                store, path = _remote(self.address(key))
                store.rm_file(path)

    def remove_all(self, prefix: str) -> None:
        """Remove all below a prefix."""
        if self.is_local:
            shutil.rmtree(self.root / prefix, ignore_errors=True)
            return
        with told(f"cannot remove {self.address(prefix)!r}"), contextlib.suppress(FileNotFoundError):
            store, path = _remote(self.address(prefix))
            store.rm(path, recursive=True)

    def sweep(self) -> None:
        """Remove what writers that were killed left aside; nobody else may be writing."""
        if not self.is_local:
            return
        shutil.rmtree(self.root / ASIDE, ignore_errors=True)
        # Zarr writes its objects aside beside their names.
        for left in (self.root / "cubes").rglob("*.partial"):
            left.unlink(missing_ok=True)


def settle(file: Path) -> None:
    """Have a file on the disk before something says that it is there, lest a crash empties it."""
    with contextlib.suppress(FileNotFoundError), file.open("rb") as there:
        os.fsync(there.fileno())


def _remote(url: str) -> tuple[Any, str]:
    """File system and path of an address; listings are never taken from memory."""
    import fsspec  # noqa: PLC0415  (slow to import, and folders do not need it)

    # fsspec keeps file systems and gives the same one for the same arguments.
    store = fsspec.filesystem(url.partition("://")[0], use_listings_cache=False)
    return store, str(store._strip_protocol(url))  # noqa: SLF001  (fsspec's way to name a path)


def store_at(url: str) -> Store:
    """Open a store; a folder is made when something is written.

    Raises
    ------
    ConfigError
        If it is no place: an empty text, or an address without a bucket.
    """
    kind, apart, place = url.partition("://")
    named = place.strip() if apart else url.strip()
    if not (named if not apart or kind == "file" else named.strip("/")):
        raise ConfigError(
            f"{url!r} is no place for results; give a folder, or an address with a bucket such as "
            "s3://bucket/run"
        )
    if "://" not in url or url.startswith("file://"):
        return Store(str(Path(url.removeprefix("file://")).expanduser().absolute()))
    return Store(url.rstrip("/"))


def as_json(content: Mapping[str, Any], *, indent: int | None = None) -> bytes:
    """Write JSON, the same bytes for the same content."""
    apart = (",", ":") if indent is None else None
    text = json.dumps(
        content, indent=indent, sort_keys=True, separators=apart, ensure_ascii=False, allow_nan=False
    )
    return f"{text}\n".encode()

"""Addresses of stores: folders, whatever fsspec knows, and stores that are open already.

Metadata are read as they are and not from the gathered copy, which writers leave behind. On a local disk zarr
writes an object aside and renames it, and an object store has it whole or not at all: what bears a key is
complete.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import math
import os
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from uuid import uuid4

import numpy as np

from lstzoom.errors import InputError, import_extra

if TYPE_CHECKING:
    import zarr
    from zarr.abc.store import Store
    from zarr.storage import FsspecStore

logger = logging.getLogger(__name__)

Url: TypeAlias = "str | Path | Store"
"""Folder, address that fsspec knows such as ``s3://bucket/cube.zarr``, or an open store of zarr."""
Options: TypeAlias = Mapping[str, Any] | None
"""Options of the file system, as fsspec takes them: credentials, ``endpoint_url``."""
_ALONE = threading.Lock()
_SILENT: Final = 60.0
"""Seconds after which a lock in a bucket is taken from whoever left it: many times what its work takes."""
_LOOK: Final = 0.25
_THERE: Final = ("PreconditionFailed", "At least one of the pre-conditions", "ConditionalRequestConflict")
_SETTLE: Final = 2.0
"""Seconds after which a bucket shows to everyone who wrote last."""


def open_store(url: Url, options: Options = None, *, read_only: bool = False) -> Store:
    """Open what an address names.

    Parameters
    ----------
    url
        Folder, address, or a store, which is returned as it is.
    options
        For fsspec; only with an address.
    read_only
        Refuse to write.

    Returns
    -------
    zarr.abc.store.Store

    Raises
    ------
    MissingExtraError
        If the file system needs a package that is not installed.
    InputError
        If options are given for a folder, or the kind of address is unknown.
    """
    from zarr.abc.store import Store  # noqa: PLC0415  (slow to import, and files do not need it)
    from zarr.storage import FsspecStore, LocalStore  # noqa: PLC0415

    if isinstance(url, Store):
        return url
    text = str(url).removeprefix("file://")
    if "://" not in text:
        if text.startswith("/vsi"):
            raise InputError(f"{text!r} is an address of GDAL; stores are written to s3://... or a folder")
        if options:
            raise InputError(f"{text!r} is a folder, for which there are no storage options; leave them out")
        return LocalStore(Path(text), read_only=read_only)
    if text.startswith("s3://"):
        import_extra("s3fs", "s3")
    try:
        return FsspecStore.from_url(text, storage_options=dict(options or {}), read_only=read_only)
    except (ValueError, ImportError) as error:
        raise InputError(f"{text!r} cannot be opened: {error}") from error


@contextlib.contextmanager
def alone(store: Store) -> Iterator[None]:
    """Wait until nobody else makes this cube or adds dates to it.

    On a disk the kernel keeps processes of one machine apart, and lets go of what died. In a bucket an object
    beside the cube, ``cube.zarr.lock``, keeps all apart that write there. Folders on disks that know no
    locks, and other stores, are kept apart within this process only.

    Raises
    ------
    InputError
        If another process took a lock in a bucket that this one held for more than a minute.
    """
    from zarr.storage import FsspecStore, LocalStore  # noqa: PLC0415

    with _ALONE, contextlib.ExitStack() as held:
        if store.read_only:
            pass
        elif isinstance(store, LocalStore):
            store.root.mkdir(parents=True, exist_ok=True)
            handle = os.open(store.root, os.O_RDONLY)
            held.callback(os.close, handle)
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
        elif isinstance(store, FsspecStore) and "/" in store.path.strip("/"):
            held.enter_context(_locked(store))
        yield


@contextlib.contextmanager
def _locked(store: FsspecStore) -> Iterator[None]:
    """Hold the object that keeps writers of a bucket apart; of several that make it, one succeeds."""
    me = uuid4().hex.encode()
    lock = _Lock(store)
    lock.take(me)
    try:
        yield
        if lock.holder() != me:
            raise InputError(
                f"adding to {shown(store)} took more than {_SILENT:.0f} s, and another process took over; do "
                "the same again: it finishes what is missing"
            )
    finally:
        if lock.holder() == me:
            lock.remove()


class _Lock:
    """An object beside a cube: inside, zarr would take it for a part of it that it does not know."""

    def __init__(self, store: FsspecStore) -> None:
        self._fs, self._path = store.fs, f"{store.path.rstrip('/')}.lock"

    def take(self, me: bytes) -> None:
        """Wait for whoever holds it. Clocks of machines differ: silence is what this process saw itself."""
        seen, since = None, time.monotonic()
        while not self._make(me):
            held = self.holder()
            if held != seen:
                seen, since = held, time.monotonic()
            elif held is not None and time.monotonic() - since > _SILENT:
                logger.warning("removing %s, left by a process that is gone", self._path)
                self.remove()
                if self._make(me):
                    # Two that removed it at once have both made it: the last one has it.
                    time.sleep(_SETTLE)
                    if self.holder() == me:
                        return
            time.sleep(_LOOK)

    def holder(self) -> bytes | None:
        """Return what tells who holds it."""
        from zarr.core.sync import sync  # noqa: PLC0415

        try:
            return bytes(sync(self._fs._cat_file(self._path)))  # noqa: SLF001  (how fsspec names what is not blocking)
        except FileNotFoundError:
            return None

    def remove(self) -> None:
        """Let the next one in."""
        from zarr.core.sync import sync  # noqa: PLC0415

        with contextlib.suppress(FileNotFoundError):
            sync(self._fs._rm_file(self._path))  # noqa: SLF001

    def _make(self, me: bytes) -> bool:
        from zarr.core.sync import sync  # noqa: PLC0415

        try:
            sync(self._fs._pipe_file(self._path, me, mode="create"))  # noqa: SLF001
        except FileExistsError:
            return False
        except (NotImplementedError, TypeError, ValueError):
            # Without conditional writes the last one has it, and the others are told when they look again.
            sync(self._fs._pipe_file(self._path, me))  # noqa: SLF001
        except OSError as error:
            if is_refused(error):
                return False
            raise
        return True


def is_refused(error: OSError) -> bool:
    """Tell whether a bucket said that the object is there; s3fs gives it as an OSError of some kind."""
    text = f"{error} {error.__cause__}"
    return any(said in text for said in _THERE)


def open_group(url: Url, options: Options = None, *, read_only: bool = False) -> zarr.Group:
    """Open the cube or store at an address.

    Raises
    ------
    InputError
        If there is none.
    """
    import zarr  # noqa: PLC0415

    store = open_store(url, options, read_only=read_only)
    try:
        return zarr.open_group(store, mode="r" if read_only else "r+", zarr_format=3, use_consolidated=False)
    except (FileNotFoundError, KeyError, PermissionError) as error:
        raise InputError(f"there is no Zarr store at {shown(url)}; make it first ({error})") from error


def array_of(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """Return an array of a group.

    Raises
    ------
    InputError
        If it has none of that name.
    """
    import zarr  # noqa: PLC0415

    try:
        found = group[name]
    except KeyError as error:
        raise InputError(
            f"the store has no variable {name!r}; it has {sorted(group.array_keys())}"
        ) from error
    if not isinstance(found, zarr.Array):
        raise InputError(f"{name!r} is a group and no variable; the store has {sorted(group.array_keys())}")
    return found


def attrs_of(node: zarr.Group | zarr.Array[Any]) -> dict[str, Any]:
    """Return the attributes of a group or an array."""
    return dict(node.attrs)


def shown(url: Url) -> str:
    """Name a store in messages."""
    return repr(str(url))


def is_empty(store: Store) -> bool:
    """Tell whether nothing at all is there."""
    from zarr.core.sync import sync  # noqa: PLC0415

    return sync(store.is_empty(""))


def key_exists(store: Store, key: str) -> bool:
    """Tell whether an object is there."""
    from zarr.core.sync import sync  # noqa: PLC0415

    return sync(store.exists(key))


def list_keys(store: Store, prefix: str) -> list[str]:
    """List the objects whose names begin with a prefix, which ends with a slash."""
    from zarr.core.sync import sync  # noqa: PLC0415

    async def gather() -> list[str]:
        return [key async for key in store.list_prefix(prefix)]

    return sync(gather())


def remove_key(store: Store, key: str) -> None:
    """Remove an object, if it is there."""
    from zarr.core.sync import sync  # noqa: PLC0415

    if key_exists(store, key):
        sync(store.delete(key))


def stored_bytes(store: Store, key: str) -> int:
    """Size of an object; 0 if there is none, as for a shard without any value."""
    from zarr.core.sync import sync  # noqa: PLC0415

    try:
        return int(sync(store.getsize(key)))
    except FileNotFoundError:
        return 0


def settle(store: Store, key: str) -> None:
    """Have an object of a folder on the disk, so that a crash of the machine cannot empty it.

    zarr writes aside and renames, and the disk may do the renaming first. Other stores promise it themselves.
    """
    from zarr.storage import LocalStore  # noqa: PLC0415

    if isinstance(store, LocalStore):
        with contextlib.suppress(FileNotFoundError), (store.root / key).open("rb") as file:
            os.fsync(file.fileno())


def _settle_described(store: Store) -> None:
    """Settle metadata and coordinates, of the levels, too: without them nothing of a cube can be read."""
    from zarr.storage import LocalStore  # noqa: PLC0415

    if isinstance(store, LocalStore):
        for group in ("", "*/"):
            # Values of variables lie further down, a folder for each date.
            for pattern in (f"{group}zarr.json", f"{group}*/zarr.json", f"{group}*/c", f"{group}*/c/*"):
                for path in store.root.glob(pattern):
                    if path.is_file():
                        settle(store, path.relative_to(store.root).as_posix())


def consolidate(url: Url, options: Options = None) -> None:
    """Gather the metadata of a store, without which readers open it slowly and warn.

    The gathered copy is one object, so readers see the store as it was before or as it is after.
    """
    import zarr  # noqa: PLC0415

    store = open_store(url, options)
    if not store.supports_consolidated_metadata:
        # Icechunk has all metadata in one place anyway.
        return
    with warnings.catch_warnings():
        # Readers that do not know the gathered copy are told by the format to leave it.
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        zarr.consolidate_metadata(store, zarr_format=3)
    _settle_described(store)


def json_safe(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Drop numbers that are not finite, which JSON cannot hold, and turn numpy into Python."""
    plain = {
        key: value.tolist() if isinstance(value, np.generic | np.ndarray) else value
        for key, value in attrs.items()
    }
    kept = {key: value for key, value in plain.items() if _is_finite(value)}
    json.dumps(kept, allow_nan=False)
    return kept


def _is_finite(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list | tuple):
        return all(map(_is_finite, value))
    return True

"""One run at a time into one store: a lease that is kept alive, and that a crash lets expire.

Results do not depend on who computes them, so two runs that met in spite of it would write the same tiles.
What the lease keeps apart is what is done once: making and extending cubes, and cleaning up.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from lstzoom.errors import StoreBusyError, StoreError
from lstzoom.jobs.records import LeaseRecord, parsed
from lstzoom.jobs.store import ASIDE, Store, as_json, told

logger = logging.getLogger(__name__)

KEY: Final = "lease.json"
_SETTLE: Final = 2.0
"""Seconds after which a bucket shows to everyone who wrote last."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the store.

    Attributes
    ----------
    token
        Of this run alone.
    host, machine, process, started
        Name of the machine, what tells it from others of that name, number of the process, and when that
        process was started, seconds since 1970.
    since
        When it took the lease, ISO 8601.
    seconds
        How long it may go silent.
    """

    token: str
    host: str
    machine: str
    process: int
    started: float
    since: str
    seconds: float

    @property
    def is_gone(self) -> bool:
        """Whether it ran on this machine and does not any more; of other machines that cannot be seen."""
        import psutil  # noqa: PLC0415  (only leases that are held need it)

        if (self.host, self.machine) != (socket.gethostname(), _machine()) or not self.is_known:
            return False
        try:
            return abs(psutil.Process(self.process).create_time() - self.started) > 1.0
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            return False

    @property
    def is_known(self) -> bool:
        """Whether it said who it is."""
        return bool(self.token)

    def __str__(self) -> str:
        """Say who."""
        if not self.is_known:
            return f"somebody unknown, as {KEY} is damaged"
        return f"process {self.process} on {self.host}, since {self.since}"


_UNKNOWN: Final = Holder("", "", "", 0, 0.0, "", 120.0)


def holder_of(store: Store) -> tuple[Holder, float] | None:
    """Say who holds a store and for how many seconds it has been silent; None if nobody does."""
    data, age = store.read(KEY), store.age(KEY)
    if data is None or age is None:
        return None
    try:
        return Holder(**parsed(data, KEY, LeaseRecord)), age
    except StoreError:
        # Written by another version or by hand: it counts by its age alone.
        return _UNKNOWN, age


@dataclass(slots=True)
class Lease:
    """A lease that is held.

    Attributes
    ----------
    holder
        This run.
    """

    store: Store
    holder: Holder
    _stop: threading.Event = field(default_factory=threading.Event)
    _lost: str = ""

    def check(self) -> None:
        """Refuse to go on without the lease.

        Raises
        ------
        StoreBusyError
            If another run has taken it, because this one was silent for too long.
        """
        if self._lost:
            raise StoreBusyError(self._lost)

    def keep(self) -> None:
        """Renew until the lease is given back or lost."""
        data, alive = as_json(asdict(self.holder)), time.monotonic()
        while not self._stop.wait(self.holder.seconds / 4):
            try:
                held = holder_of(self.store)
                if held is None or held[0].token != self.holder.token:
                    now = "nobody" if held is None else str(held[0])
                    self._lost = f"the store {self.store.url!r} was taken from this run: it is held by {now}"
                    return
                self.store.touch(KEY, data)
                alive = time.monotonic()
            except StoreError as error:
                logger.warning("the lease cannot be renewed: %s", error)
                if time.monotonic() - alive > self.holder.seconds:
                    self._lost = f"the lease of {self.store.url!r} could not be renewed in time: {error}"
                    return

    def stop(self) -> None:
        """Renew no more."""
        self._stop.set()

    def give_back(self) -> None:
        """Let the next one in; renewing has ended."""
        held = holder_of(self.store)
        if held is not None and held[0].token == self.holder.token:
            self.store.remove(KEY)


@contextmanager
def leased(store: Store, seconds: float) -> Iterator[Lease]:
    """Hold a store.

    Parameters
    ----------
    store
        Where results go.
    seconds
        How long this run may go silent before another may take the store.

    Yields
    ------
    Lease

    Raises
    ------
    StoreBusyError
        If another run holds it.
    """
    me = _me(seconds)
    _take(store, me)
    lease = Lease(store, me)
    keeper = threading.Thread(target=lease.keep, name="lstzoom-lease", daemon=True)
    keeper.start()
    try:
        yield lease
    finally:
        # Else it might write the lease once more after it was given back.
        lease.stop()
        keeper.join(seconds)
        try:
            lease.give_back()
        except StoreError as error:
            logger.warning("the lease could not be given back and expires in %g s: %s", seconds, error)
        _tidy(store)


def _tidy(store: Store) -> None:
    """Remove the folder of what was written aside, if nothing is in it."""
    if store.is_local:
        with suppress(OSError):
            (store.root / ASIDE).rmdir()


def _machine() -> str:
    """Tell machines and containers apart that share a name but not the numbers of their processes."""
    told = []
    with suppress(OSError):
        told.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with suppress(OSError):
        told.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(told)


def _me(seconds: float) -> Holder:
    import psutil  # noqa: PLC0415  (only runs need it)

    process = psutil.Process()
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return Holder(
        uuid4().hex, socket.gethostname(), _machine(), process.pid, process.create_time(), since,
        float(seconds),
    )  # fmt: skip


def _take(store: Store, me: Holder) -> None:
    data = as_json(asdict(me))
    with _alone(store):
        if store.create(KEY, data):
            return
        held = holder_of(store)
        if held is not None and not _is_over(*held):
            raise StoreBusyError(
                f"the store {store.url!r} is held by another run: {held[0]} (last seen {held[1]:.0f} s ago); "
                f"wait until it ends, or until it has been silent for {held[0].seconds:.0f} s"
            )
        if held is not None:
            logger.warning("taking over the store from a run that is gone: %s", held[0])
        store.remove(KEY)
        taken = store.create(KEY, data)
    if not store.is_local:
        # Two that took over at once have both removed and made it: the last one has it.
        time.sleep(_SETTLE)
        held = holder_of(store)
        taken = held is not None and held[0].token == me.token
    if not taken:
        raise StoreBusyError(f"the store {store.url!r} was taken by another run at the same moment")


def _is_over(holder: Holder, age: float) -> bool:
    return age > holder.seconds or holder.is_gone


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """Keep others on this disk from looking at the lease at the same time; buckets have no locks."""
    if not store.is_local:
        yield
        return
    with told(f"cannot write into {store.url!r}"):
        store.root.mkdir(parents=True, exist_ok=True)
        folder = os.open(store.root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
        except OSError as error:
            logger.debug("the disk of %s has no locks: %s", store.url, error)
        yield
    finally:
        os.close(folder)


def described(store: Store) -> dict[str, Any] | None:
    """Say who holds a store, for `lstzoom status`."""
    held = holder_of(store)
    if held is None:
        return None
    holder, age = held
    known = ("host", "process", "since")
    return {
        "who": str(holder), **{name: getattr(holder, name) if holder.is_known else None for name in known},
        "silent_s": round(age, 1), "expired": _is_over(holder, age),
    }  # fmt: skip

"""Many small tasks through a dask cluster, a bounded number in flight.

The scheduler knows the tasks in flight and no others, so that its memory and the time of a task do not grow
with the run. Tasks are given in the order in which they come: what is given first is worked on first. A task
that fails is given again after a pause. A worker that dies takes all its tasks along, and which of them is
at fault nobody can tell: what went with several workers is given once more with nothing beside it. The
cluster may grow and shrink: the window follows its threads.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import pickle
import time
from asyncio import CancelledError
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar
from uuid import uuid4

from lstzoom.errors import (
    ClusterError,
    ConfigError,
    EncodingError,
    GridMismatchError,
    LstzoomError,
    StoreFullError,
    UnitsError,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LOOK: Final = 5.0
"""Seconds between looks at the workers."""
_WARN: Final = 60.0
"""Seconds without a worker after which that is said, again and again."""
_KEPT: Final = 4
"""Shared values that stay with the cluster although no task in flight needs them."""
_LOST: Final = (OSError, TimeoutError, CancelledError)
"""What a client raises whose scheduler does not answer."""
_HOPELESS: Final = (
    ConfigError, EncodingError, GridMismatchError, StoreFullError, UnitsError, MemoryError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What became of a task.

    Attributes
    ----------
    task
        As it was given.
    result
        What the function returned; None if it failed.
    error
        The last error; None if it did not fail.
    attempts
        How often it was given to the cluster.
    seconds
        From the first time it was given until it was done, pauses included.
    """

    task: T
    result: Any
    error: BaseException | None
    attempts: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Tally:
    """What was driven.

    Attributes
    ----------
    done, failed
        Tasks that returned, and that failed for good.
    retried
        Attempts beyond the first.
    submitted
        Tasks that the scheduler has met, shared values included.
    seconds
        Of the whole drive.
    """

    done: int
    failed: int
    retried: int
    submitted: int
    seconds: float


def is_worth_retrying(error: BaseException) -> bool:
    """Tell whether the same task may succeed soon; settings and grids stay wrong, disks stay full."""
    return not isinstance(error, _HOPELESS)


def drive(
    tasks: Iterable[T],
    function: Callable[..., Any],
    client: Any,  # noqa: ANN401  (distributed ships no types)
    *,
    name: str = "task",
    in_flight: int | None = None,
    retries: int = 3,
    backoff: float = 1.0,
    on_done: Callable[[Outcome[T]], None] | None = None,
    priority: Callable[[T], float] | None = None,
    shared: Callable[[Hashable], Any] | None = None,
    uses: Callable[[T], Hashable] | None = None,
    retryable: Callable[[BaseException], bool] = is_worth_retrying,
    patience: float = 600.0,
) -> Tally:
    """Compute tasks on a cluster, each once, with a sliding window of them in flight.

    Parameters
    ----------
    tasks
        Taken one by one as there is room, so that an iterator need not hold all of them. Those that come
        first are computed first.
    function
        Called on a worker with one task; with a shared value and the task if there are any. Its result should
        be small: it travels to the client.
    client
        Of a dask cluster, whose workers may come and go.
    name
        What the tasks are called on the dashboard.
    in_flight
        Tasks that the scheduler knows at a time; by default two for every thread of the cluster, one at work
        and one waiting, and it follows the cluster as that grows and shrinks.
    retries
        Attempts of a task beyond the first.
    backoff
        Seconds before the second attempt; doubled before each further one.
    on_done
        Told about every task when it is done or has failed for good, in the thread of the caller, in no
        order. What it raises ends the drive.
    priority
        Larger is computed earlier, of what is in flight.
    shared
        Makes the value that a key of `uses` stands for. It is sent to a worker once, and again if need be.
    uses
        The key of the shared value that a task needs.
    retryable
        Whether an error is worth another attempt.
    patience
        Seconds to wait for a worker when there is none.

    Returns
    -------
    Tally

    Raises
    ------
    ClusterError
        If the scheduler is lost, or no worker came within the patience. Tasks that are done stay done.

    Notes
    -----
    The same task may be computed twice if a worker dies, or seems to: functions have to bear that. When the
    drive ends early, for whatever reason, what is in flight is cancelled.

    Examples
    --------
    >>> from lstzoom.clusters import Cluster, connect
    >>> with connect(Cluster(workers=2)) as client:  # doctest: +SKIP
    ...     drive(range(100), str, client, on_done=print)
    """
    pool = _Shared(client, shared, f"{name}-shared-{uuid4().hex[:8]}")
    run = _Drive(tasks, function, client, pool, name, retries, backoff, priority, uses, retryable)
    window = _Window(client, in_flight, patience)
    start = time.monotonic()
    try:
        while True:
            run.fill(window.size())
            if run.is_over:
                break
            for outcome in run.collect(timeout=run.pause(window.pause)):
                if on_done is not None:
                    on_done(outcome)
    finally:
        run.cancel()
        pool.clear()
    return Tally(run.done, run.failed, run.retried, run.number + pool.made, time.monotonic() - start)


def mapped(
    client: Any,  # noqa: ANN401
    *,
    on_done: Callable[[Outcome[Any]], None] | None = None,
    on_tally: Callable[[Tally], None] | None = None,
    **settings: Any,
) -> Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]:
    """Return what works like the built-in `map`, on a cluster, with a bounded number in flight.

    Parameters
    ----------
    client
        Of a dask cluster.
    on_done
        Told about every item, before its error is raised if it has one.
    on_tally
        Told what a map came to.
    **settings
        For `drive`.

    Returns
    -------
    callable
        Takes a function and items; all results are there when it returns, in the order of the items. Raises
        the error of an item that failed for good.
    """

    def apply(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        every = list(enumerate(items))
        results: list[Any] = [None] * len(every)

        def done(outcome: Outcome[tuple[int, Any]]) -> None:
            if on_done is not None:
                on_done(outcome)
            if outcome.error is not None:
                raise outcome.error
            results[outcome.task[0]] = outcome.result

        tally = drive(every, partial(_numbered, function), client, on_done=done, **settings)
        if on_tally is not None:
            on_tally(tally)
        return iter(results)

    return apply


def _numbered(function: Callable[[Any], Any], item: tuple[int, Any]) -> Any:  # noqa: ANN401
    return function(item[1])


@dataclass(slots=True)
class _Given(Generic[T]):
    """A task and its attempts."""

    task: T
    first: float
    attempts: int = 0
    alone: bool = False
    """Nothing else is in flight beside it."""


class _Window:
    """How many tasks may be in flight, by the threads that there are."""

    def __init__(self, client: Any, fixed: int | None, patience: float) -> None:  # noqa: ANN401
        self._client, self._fixed, self._patience = client, fixed, patience
        self._threads, self._looked, self._since, self._warned = 0, -_LOOK, time.monotonic(), 0.0

    @property
    def pause(self) -> float:
        """Seconds until the next look."""
        return _LOOK if self._threads else 0.5

    def size(self) -> int:
        now = time.monotonic()
        if now - self._looked >= self.pause:
            self._threads, self._looked = self._look(), now
            if self._threads:
                self._since, self._warned = now, 0.0
            else:
                self._wait(now - self._since)
        if self._fixed is None or not self._threads:
            return 2 * self._threads
        return self._fixed

    def _look(self) -> int:
        if self._client.status not in {"running", "connecting"}:
            raise ClusterError(
                f"the connection to the scheduler is lost ({self._client.status}); start the cluster again, "
                "and run the same job again: it goes on where it stopped"
            )
        if self._client.status == "connecting":
            return 0
        try:
            return sum(self._client.nthreads().values())
        except _LOST as error:
            logger.warning("the scheduler does not answer: %s", error)
            return 0

    def _wait(self, waited: float) -> None:
        if waited > self._patience:
            raise ClusterError(
                f"the cluster has had no worker for {waited:.0f} s; look at its logs (memory? quota? "
                "image?), and run the same job again: it goes on where it stopped"
            )
        if waited - self._warned >= _WARN:
            self._warned = waited
            logger.warning("waiting for a worker: %.0f s", waited)


class _Shared:
    """Values that many tasks need, each sent to the cluster as the result of a task of its own.

    The result of a task is made again if the worker that holds it dies; scattered data is not.
    """

    def __init__(self, client: Any, make: Callable[[Hashable], Any] | None, name: str) -> None:  # noqa: ANN401
        self._client, self._make, self._name = client, make, name
        self._futures: dict[Hashable, Any] = {}
        self._users: dict[Hashable, int] = {}
        self.made = 0

    def take(self, key: Hashable) -> Any:  # noqa: ANN401
        assert self._make is not None  # noqa: S101  (asked for by `uses` only)
        if key not in self._futures:
            self._drop_idle()
            label = (self._name, self.made)
            self._futures[key] = self._client.submit(_same, self._make(key), key=label)
            self.made += 1
        self._users[key] = self._users.get(key, 0) + 1
        return self._futures[key]

    def leave(self, key: Hashable) -> None:
        self._users[key] -= 1

    def forget(self, key: Hashable) -> None:
        """Make a value anew when it is needed again: its future failed or was cancelled."""
        self._futures.pop(key, None)

    def clear(self) -> None:
        self._futures.clear()

    def _drop_idle(self) -> None:
        idle = [key for key in self._futures if not self._users.get(key)]
        for key in idle[: max(0, len(idle) - _KEPT)]:
            del self._futures[key]
            self._users.pop(key, None)


def _same(value: T) -> T:
    return value


@dataclass(frozen=True, slots=True)
class _Raised:
    """An error as the result of a task.

    As an error it would be logged by the worker, with the arguments of the task and whatever the message
    holds, and one that cannot be pickled would be lost.
    """

    error: Exception


@dataclass(frozen=True, slots=True)
class _Guarded:
    """Calls a function and returns what it raises."""

    function: Callable[..., Any]

    def __call__(self, *given: Any) -> Any:  # noqa: ANN401  (whatever the function takes and returns)
        try:
            return self.function(*given)
        except Exception as error:  # noqa: BLE001  (it is raised, or told, where the task came from)
            return _Raised(_portable(error))


def _portable(error: Exception) -> Exception:
    """Return the error, or another that says the same if it does not survive the journey."""
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):  # noqa: S301  (made in this line)
            return error
    except Exception as broken:  # noqa: BLE001  (libraries raise anything there)
        logger.debug("%s cannot be pickled: %s", type(error).__name__, broken)
    return LstzoomError(f"{type(error).__name__}: {error}")


@dataclass(slots=True)
class _Drive(Generic[T]):
    """Tasks that wait, are in flight, or wait for another attempt."""

    tasks: Iterable[T]
    function: Callable[..., Any]
    client: Any
    shared: _Shared
    name: str
    retries: int
    backoff: float
    priority: Callable[[T], float] | None
    uses: Callable[[T], Hashable] | None
    retryable: Callable[[BaseException], bool]
    running: dict[Any, tuple[Any, _Given[T]]] = field(default_factory=dict)
    later: list[tuple[float, int, _Given[T]]] = field(default_factory=list)
    suspects: list[_Given[T]] = field(default_factory=list)
    finished: SimpleQueue[Any] = field(default_factory=SimpleQueue)
    done: int = 0
    failed: int = 0
    retried: int = 0
    number: int = 0
    exhausted: bool = False
    _waiting: Iterator[T] | None = None
    _prefix: str = ""

    def __post_init__(self) -> None:
        self._waiting = iter(self.tasks)
        self._prefix = f"{self.name}-{uuid4().hex[:8]}"

    @property
    def is_over(self) -> bool:
        return self.exhausted and not (self.running or self.later or self.suspects)

    @property
    def _tries_one(self) -> bool:
        """Whether what is in flight is to be left alone."""
        return len(self.running) == 1 and next(iter(self.running.values()))[1].alone

    # Giving

    def fill(self, size: int) -> None:
        """Give tasks until there are so many in flight; those that wait for another attempt come first."""
        room = size - len(self.running)
        if room <= 0 or self._tries_one or (self.suspects and self.running):
            return
        if self.suspects:
            suspect = self.suspects.pop()
            self._give([suspect], *self._kind(suspect))
            return
        given = [*self._due(room)]
        assert self._waiting is not None  # noqa: S101
        now, room = time.monotonic(), room - len(given)
        new = [_Given(task, now) for task in itertools.islice(self._waiting, room)]
        self.exhausted = self.exhausted or len(new) < room
        given += new
        for (level, key), group in itertools.groupby(given, self._kind):
            self._give(list(group), level, key)

    def _kind(self, one: _Given[T]) -> tuple[float, Hashable]:
        level = self.priority(one.task) if self.priority is not None else 0.0
        # What failed before was due before.
        return level + bool(one.attempts), self.uses(one.task) if self.uses is not None else None

    def _due(self, most: int) -> Iterator[_Given[T]]:
        now = time.monotonic()
        while most and self.later and self.later[0][0] <= now:
            most -= 1
            yield heapq.heappop(self.later)[2]

    def _give(self, given: Sequence[_Given[T]], level: float, key: Hashable) -> None:
        """One call for a group of tasks: a graph for each of them would cost more than the task."""
        keys = [(self._prefix, self.number + k) for k in range(len(given))]
        self.number += len(given)
        columns: list[list[Any]] = [[one.task for one in given]]
        if self.uses is not None:
            columns.insert(0, [self.shared.take(key) for _ in given])
        futures = self.client.map(
            _Guarded(self.function),
            *columns,
            key=keys,
            pure=False,
            retries=0,
            priority=level,
            batch_size=None,
        )
        for future, one in zip(futures, given, strict=True):
            one.attempts += 1
            self.running[future.key] = (future, one)
            future.add_done_callback(self.finished.put)

    # Taking

    def pause(self, longest: float) -> float:
        """Seconds that there is nothing to do but wait."""
        if not self.later or self.suspects:
            return longest
        return min(longest, max(0.01, self.later[0][0] - time.monotonic()))

    def collect(self, timeout: float) -> Iterator[Outcome[T]]:
        """Take what has finished; wait for the first."""
        ready = []
        try:
            ready.append(self.finished.get(timeout=timeout))
            while True:
                ready.append(self.finished.get_nowait())
        except Empty:
            pass
        entries = [self.running.pop(one.key) for one in ready if one.key in self.running]
        results = self._gathered([future for future, _ in entries if future.status == "finished"])
        for future, given in entries:
            if self.uses is not None:
                self.shared.leave(self.uses(given.task))
            yield from self._judged(future, given, results)

    def _gathered(self, futures: Sequence[Any]) -> Mapping[Any, Any]:
        """Fetch results together: a round trip for each would cost more than the task."""
        if not futures:
            return {}
        keys = [future.key for future in futures]
        try:
            return dict(zip(keys, self.client.gather(list(futures), errors="raise"), strict=True))
        except Exception as error:
            # A result whose worker died is computed anew meanwhile, and that may fail as a task does.
            if not isinstance(error, _LOST) and not _is_lost(error):
                raise
            # They are given again; if the scheduler is gone for good, the next look tells.
            logger.warning("results could not be fetched: %s", str(error) or type(error).__name__)
            return {}

    def _judged(self, future: Any, given: _Given[T], results: Mapping[Any, Any]) -> Iterator[Outcome[T]]:  # noqa: ANN401
        seconds = time.monotonic() - given.first
        result = results.get(future.key)
        if future.key in results and not isinstance(result, _Raised):
            self.done += 1
            yield Outcome(given.task, result, None, given.attempts, seconds)
            return
        error = result.error if isinstance(result, _Raised) else self._error(future)
        if self.uses is not None and isinstance(error, _LostError | _KilledError):
            self.shared.forget(self.uses(given.task))
        killed = isinstance(error, _KilledError)
        if isinstance(error, _LostError):
            # Not its fault: it costs no attempt.
            given.attempts -= 1
            self._again(given, 1.0)
            return
        if killed and not given.alone:
            # By whose fault is open: that costs no attempt either.
            given.attempts -= 1
            given.alone = True
            self.suspects.append(given)
            self.retried += 1
            return
        if given.attempts <= self.retries and self.retryable(error) and not killed:
            pause = self.backoff * 2 ** (given.attempts - 1)
            logger.info("attempt %d failed, again in %.1f s: %s", given.attempts, pause, error)
            self._again(given, pause)
            return
        self.failed += 1
        yield Outcome(given.task, None, error, given.attempts, seconds)

    def _again(self, given: _Given[T], pause: float) -> None:
        """Let a task wait for another attempt, among others."""
        given.alone = False
        self.retried += 1
        heapq.heappush(self.later, (time.monotonic() + pause, self.number + self.retried, given))

    def _error(self, future: Any) -> BaseException:  # noqa: ANN401
        if future.cancelled() or future.status != "error":
            return _LostError(f"the task was lost with its scheduler or worker ({future.status})")
        error = future.exception()
        if _is_lost(error):
            return _KilledError(
                "its worker died, again and again, most likely for want of memory: give each more "
                f"(cluster.memory), or make tiles smaller (grid.tile): {error}"
            )
        assert isinstance(error, BaseException)  # noqa: S101  (of a future that failed)
        return error

    def cancel(self) -> None:
        """Forget what is in flight."""
        futures = [future for future, _ in self.running.values()]
        self.running.clear()
        if futures and self.client.status == "running":
            with suppress(*_LOST):
                self.client.cancel(futures, force=True)


class _LostError(ClusterError):
    """The task went with its scheduler, or its result could not be fetched."""


class _KilledError(ClusterError):
    """Several workers died while they had the task."""


def _is_lost(error: object) -> bool:
    """Tell whether a task was given up because its workers died."""
    return type(error).__name__ == "KilledWorker"

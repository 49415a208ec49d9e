"""Who computes blocks: threads of this process or workers of a dask cluster, a bounded number ahead.

Blocks come in an order in which neighbours follow each other, and what one has read of a file serves
the next. So the threads of a process take them from the front, and every worker of a cluster has a
run of its own, until it is done and helps the others.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar
from uuid import uuid4

from lstzoom.errors import LstzoomError

_T = TypeVar("_T")
_R = TypeVar("_R")


def choose_threads(limit: int = 4) -> int:
    """Count the blocks that this process should compute at a time."""
    return max(1, min(limit, len(os.sched_getaffinity(0))))


def in_threads(function: Callable[[_T], _R], items: Sequence[_T], threads: int) -> Iterator[tuple[_T, _R]]:
    """Compute items with threads of this process.

    Parameters
    ----------
    function
        Called with one item.
    items
        Taken from the front.
    threads
        Items at a time.

    Yields
    ------
    tuple
        An item and its result, in the order in which they are done.
    """
    waiting = iter(items)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="lstzoom")
    running: dict[Future[_R], _T] = {}
    try:
        while True:
            # One waits, for the thread that is done while this one has a result to see to.
            for item in itertools.islice(waiting, threads + 1 - len(running)):
                running[pool.submit(function, item)] = item
            if not running:
                return
            done = wait(running, return_when=FIRST_COMPLETED).done
            for future in [one for one in running if one in done]:
                yield running.pop(future), future.result()
    finally:
        pool.shutdown(cancel_futures=True)


class _Runs:
    """Items shared out to workers, each its own run, and the rest of others' when it is done."""

    def __init__(self, items: Sequence[Any], workers: Sequence[str]) -> None:
        ends = [round(k * len(items) / len(workers)) for k in range(len(workers) + 1)]
        runs = (deque(items[low:high]) for low, high in itertools.pairwise(ends))
        self._runs = dict(zip(workers, runs, strict=True))

    def take(self, worker: str) -> Any:  # noqa: ANN401
        """Give the next item of a worker, the last of the longest run if it has none, or None."""
        if own := self._runs[worker]:
            return own.popleft()
        longest = max(self._runs.values(), key=len)
        return longest.pop() if longest else None


def on_cluster(
    function: Callable[[Any, _T], _R],
    shared: Any,  # noqa: ANN401  (whatever the function takes)
    items: Sequence[_T],
    client: Any,  # noqa: ANN401  (distributed ships no types)
) -> Iterator[tuple[_T, _R]]:
    """Compute items with the workers of a dask cluster, one task for each.

    Parameters
    ----------
    function
        Called with ``shared`` and one item.
    shared
        What all items need; sent to every worker once.
    items
        In an order in which neighbours follow each other.
    client
        Of the cluster.

    Yields
    ------
    tuple
        An item and its result, in the order in which they are done.

    Raises
    ------
    LstzoomError
        If workers died again and again.
    """
    threads = client.nthreads()
    runs, name = _Runs(items, list(threads)), f"lstzoom-{uuid4().hex[:12]}"
    # The result of a task is made again if the worker that holds it dies; scattered data is not.
    common = client.submit(_same, shared, key=f"{name}-shared")
    given: dict[str, tuple[str, _T]] = {}

    def submit(worker: str) -> list[Any]:
        item = runs.take(worker)
        if item is None:
            return []
        key = f"{name}-{len(given)}-{uuid4().hex[:6]}"
        given[key] = (worker, item)
        return [client.submit(function, common, item, key=key, workers=[worker], allow_other_workers=True)]

    # Two for every thread: one at work and one waiting.
    first = [worker for _ in range(2) for worker, count in threads.items() for _ in range(count)]
    yield from _completed([one for worker in first for one in submit(worker)], submit, given)


def _same(value: _T) -> _T:
    return value


def graphs_on_cluster(
    items: Sequence[tuple[_T, Any]],
    client: Any,  # noqa: ANN401
) -> Iterator[tuple[_T, Any]]:
    """Compute lazy collections with the workers of a dask cluster.

    Parameters
    ----------
    items
        What to call each collection, and the collection.
    client
        Of the cluster.

    Yields
    ------
    tuple
        The name of a collection and its result, in the order in which they are done.

    Raises
    ------
    LstzoomError
        If workers died again and again.
    """
    waiting = iter(items)
    given: dict[str, tuple[str, _T]] = {}

    def submit(_worker: str) -> list[Any]:
        futures = []
        for item, task in itertools.islice(waiting, 1):
            future = client.compute(task)
            given[future.key] = ("", item)
            futures.append(future)
        return futures

    ahead = 2 * max(1, sum(client.nthreads().values()))
    first = [one for _ in range(ahead) for one in submit("")]
    yield from _completed(first, submit, given)


def _completed(
    first: Sequence[Any], submit: Callable[[str], list[Any]], given: dict[str, tuple[str, Any]]
) -> Iterator[tuple[Any, Any]]:
    """Yield items and results as they are done, and submit another for each that was taken."""
    from distributed import KilledWorker, as_completed  # noqa: PLC0415  (slow to import)

    pending = as_completed(first)
    try:
        for future in pending:
            worker, item = given.pop(future.key)
            yield item, future.result()
            del future
            for following in submit(worker):
                pending.add(following)
    except KilledWorker as error:
        raise LstzoomError(
            f"workers died again and again, most likely for want of memory: {error}; give each more "
            "with --memory, or make the blocks smaller with --chunk"
        ) from error

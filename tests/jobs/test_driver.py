"""Tasks through real worker processes: each once, a bounded number in flight, whatever dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lstzoom.clusters import Cluster, connect
from lstzoom.errors import ClusterError, ConfigError
from lstzoom.jobs import driver
from lstzoom.jobs.driver import Outcome, drive

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with connect(Cluster(workers=2), check=False) as one:
        yield one


def _square(n: int) -> int:
    return n * n


def _odd(n: int) -> int:
    if n % 2:
        raise ValueError(f"{n} is odd")
    return n


class _Unpicklable(Exception):  # noqa: N818
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def _raise_unpicklable(_n: int) -> None:
    raise _Unpicklable(1, 2)


def _refuse(_n: int) -> None:
    raise ConfigError("never")


def _until_marked(task: tuple[str, int]) -> int:
    """Fail until there are so many marks in a folder."""
    folder, wanted = task
    there = len(list(Path(folder).iterdir()))
    (Path(folder) / f"{time.time_ns()}").touch()
    if there < wanted:
        raise OSError("not yet")
    return there


def _add_slowly(base: int, n: int) -> int:
    time.sleep(0.05)
    return base + n


def test_every_task_is_done_once_and_few_are_in_flight(client: Any) -> None:
    taken, done, most = 0, 0, 0

    def tasks() -> Iterator[int]:
        nonlocal taken
        for n in range(500):
            taken += 1
            yield n

    results: dict[int, int] = {}

    def on_done(outcome: Outcome[int]) -> None:
        nonlocal done, most
        most = max(most, taken - done)
        done += 1
        results[outcome.task] = outcome.result

    tally = drive(tasks(), _square, client, on_done=on_done, in_flight=10)
    assert results == {n: n * n for n in range(500)}
    assert (tally.done, tally.failed, tally.submitted) == (500, 0, 500)
    assert most <= 20


def test_what_fails_for_good_is_told_and_the_rest_is_done(client: Any) -> None:
    outcomes: list[Outcome[int]] = []
    tally = drive(range(20), _odd, client, on_done=outcomes.append, retries=1, backoff=0.01)
    assert (tally.done, tally.failed, tally.retried) == (10, 10, 10)
    bad = [one for one in outcomes if one.error is not None]
    assert {str(one.error) for one in bad} == {f"{n} is odd" for n in range(1, 20, 2)}
    assert all(one.attempts == 2 and isinstance(one.error, ValueError) for one in bad)


def test_an_attempt_later_can_succeed(client: Any, tmp_path: Path) -> None:
    outcomes: list[Outcome[tuple[str, int]]] = []
    start = time.monotonic()
    drive([(str(tmp_path), 2)], _until_marked, client, on_done=outcomes.append, retries=3, backoff=0.1)
    assert [(one.result, one.attempts) for one in outcomes] == [(2, 3)]
    assert time.monotonic() - start > 0.3


def test_settings_are_not_tried_again_and_any_error_arrives(client: Any) -> None:
    outcomes: list[Outcome[int]] = []
    drive([1], _refuse, client, on_done=outcomes.append)
    drive([2], _raise_unpicklable, client, on_done=outcomes.append, retries=0)
    assert [one.attempts for one in outcomes] == [1, 1]
    assert isinstance(outcomes[0].error, ConfigError)
    assert "_Unpicklable: 1 and 2" in str(outcomes[1].error)


def test_shared_values_are_sent_once_for_each_key(client: Any) -> None:
    made: list[Any] = []

    def make(key: Any) -> Any:
        made.append(key)
        return 1000 * key

    results: list[int] = []
    tally = drive(
        range(40), _add_slowly, client, on_done=lambda one: results.append(one.result),
        shared=make, uses=lambda n: n // 10,
    )  # fmt: skip
    assert sorted(results) == [1000 * (n // 10) + n for n in range(40)]
    assert made == [0, 1, 2, 3]
    assert tally.submitted == 44


def test_a_caller_that_raises_ends_the_drive(client: Any) -> None:
    def stop(outcome: Outcome[int]) -> None:
        if outcome.task == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive(range(10_000), _square, client, on_done=stop)
    deadline = time.monotonic() + 10
    while client.run_on_scheduler(_tasks_known) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert client.run_on_scheduler(_tasks_known) == 0


def _tasks_known(dask_scheduler: Any) -> int:
    return len(dask_scheduler.tasks)


def test_workers_that_are_killed_cost_nothing_but_time() -> None:
    results: list[int] = []
    with connect(Cluster(workers=2), check=False) as client:
        stop = threading.Event()

        def kill() -> None:
            for _ in range(3):
                if stop.wait(1.0):
                    return
                victims = list(client.run(os.getpid).values())
                os.kill(victims[0], signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            drive(
                range(150), _add_slowly, client, on_done=lambda one: results.append(one.result),
                shared=lambda key: 1000 * int(str(key)), uses=lambda n: n // 50,
            )  # fmt: skip
        finally:
            stop.set()
            killer.join()
    assert sorted(results) == [1000 * (n // 50) + n for n in range(150)]


def _die_or_wait(number: int) -> int:
    time.sleep(0.2)
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.4)
    return number


def test_who_kills_workers_fails_and_who_was_beside_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    # Who is tried alone stays alone however long it takes.
    monkeypatch.setattr(driver, "_LOOK", 0.05)
    outcomes: dict[int, Outcome[int]] = {}
    with connect(Cluster(workers=2, threads=2), check=False) as client:
        tally = drive(
            range(16), _die_or_wait, client, on_done=lambda one: outcomes.update({one.task: one}), retries=0
        )
    assert (tally.done, tally.failed) == (15, 1)
    assert "cluster.memory" in str(outcomes.pop(2).error)
    assert {n: one.result for n, one in outcomes.items()} == {n: n for n in range(16) if n != 2}


def test_results_that_cannot_be_made_anew_are_given_again(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed.scheduler import KilledWorker

    worker: Any = SimpleNamespace(address="gone")
    gather, lost = client.gather, [KilledWorker("square", worker, 3)]

    def gather_or_lose(*given: Any, **settings: Any) -> Any:
        if lost:
            raise lost.pop()
        return gather(*given, **settings)

    monkeypatch.setattr(client, "gather", gather_or_lose)
    results: list[int] = []
    tally = drive(range(9), _square, client, on_done=lambda one: results.append(one.result))
    assert sorted(results) == [n * n for n in range(9)]
    assert tally.failed == 0
    assert not lost


def test_no_worker_is_told() -> None:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=":0") as cluster,
        Client(cluster) as client,
        pytest.raises(ClusterError, match="no worker"),
    ):
        drive([1], _square, client, patience=0.5)

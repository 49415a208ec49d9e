"""What a tile costs the scheduler and the client: tiles without work through the driver of the runs.

Run as ``python -m benchmarks.scheduler [--tiles 100000] [--workers 2] [--json FILE]``. The scheduler and the
workers are processes of their own, started with ``dask scheduler`` and ``dask worker``, so that memory and
CPU time of scheduler and client can be told apart. A tile is what a run sends and gets back: a name and a
window, an account of a few numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measure import record
from lstzoom.clusters import Cluster, connect, worker_environment
from lstzoom.jobs.driver import Outcome, Tally, drive

_POINTS = 10
"""Moments of the run at which memory is printed."""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--in-flight", type=int, help="by default what the driver chooses")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    run = measure(args.tiles, args.workers, args.in_flight)
    report(run)
    record(args.json, workers=args.workers, in_flight=args.in_flight, **run.as_json())
    return 0


def no_work(tile: Mapping[str, Any]) -> dict[str, Any]:
    """Return an account like that of a tile, without the tile."""
    return {"name": tile["name"], "pixels": 0, "bytes": 0, "seconds": 0.0}


def tiles(count: int) -> Iterator[dict[str, Any]]:
    """Give tiles as a run would, one at a time."""
    side = max(1, round(count**0.5))
    for number in range(count):
        row, column = divmod(number, side)
        window = (row * 512, row * 512 + 512, column * 512, column * 512 + 512)
        yield {"name": f"{row:05d}-{column:05d}", "window": window, "scene": "S2A_32UPU_20230601"}


@dataclass(slots=True)
class Watch:
    """Memory and CPU time of processes, looked at twice a second."""

    processes: Mapping[str, psutil.Process]
    seconds: list[float] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    mib: dict[str, list[float]] = field(default_factory=dict)
    _end: threading.Event = field(default_factory=threading.Event)
    count: int = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look until the block ends."""
        thread = threading.Thread(target=self._look, daemon=True)
        self.mib = {name: [] for name in self.processes}
        thread.start()
        try:
            yield
        finally:
            self._end.set()
            thread.join()

    def cpu(self) -> dict[str, float]:
        """User and system time so far."""
        times = {name: one.cpu_times() for name, one in self.processes.items()}
        return {name: one.user + one.system for name, one in times.items()}

    def _look(self) -> None:
        start = time.perf_counter()
        while True:
            last = self._end.wait(0.5)
            self.seconds.append(time.perf_counter() - start)
            self.done.append(self.count)
            for name, process in self.processes.items():
                self.mib[name].append(process.memory_info().rss / 2**20)
            if last:
                return

    def told(self, _: Outcome[Any]) -> None:
        """Count a tile."""
        self.count += 1


@dataclass(frozen=True, slots=True)
class Run:
    """What was measured.

    Attributes
    ----------
    tally
        Of the driver.
    cpu
        Seconds of CPU by process.
    watch
        Memory over time.
    """

    tally: Tally
    cpu: Mapping[str, float]
    watch: Watch

    @property
    def quarters(self) -> dict[str, float]:
        """Mean memory in the last quarter of the run over that in the second."""
        size = len(self.watch.seconds)

        def mean(values: list[float], low: int, high: int) -> float:
            part = values[low * size // 4 : high * size // 4] or values[-1:]
            return sum(part) / len(part)

        return {name: mean(one, 3, 4) / mean(one, 1, 2) for name, one in self.watch.mib.items()}

    def as_json(self) -> dict[str, Any]:
        """Give everything that is printed, and the series."""
        done = max(1, self.tally.done)
        return {
            "tiles": self.tally.done,
            "seconds": round(self.tally.seconds, 2),
            "ms_per_tile": round(1e3 * self.tally.seconds / done, 4),
            "tasks_per_tile": round(self.tally.submitted / done, 3),
            "cpu_ms_per_tile": {name: round(1e3 * cpu / done, 4) for name, cpu in self.cpu.items()},
            "last_quarter_over_second": {name: round(one, 4) for name, one in self.quarters.items()},
            "memory_mib": {
                "seconds": [round(one, 1) for one in self.watch.seconds],
                "done": self.watch.done,
                **{name: [round(one, 1) for one in series] for name, series in self.watch.mib.items()},
            },
        }


def measure(count: int, workers: int, in_flight: int | None) -> Run:
    """Drive tiles without work through a scheduler and workers in processes of their own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        scheduler, address = stack.enter_context(scheduler_process(folder))
        for number in range(workers):
            stack.enter_context(worker_process(address, folder, number))
        client = stack.enter_context(connect(Cluster(kind="address", address=address, workers=workers)))
        computing = sorted(client.run(os.getpid).values())
        names = {f"worker {number}": psutil.Process(pid) for number, pid in enumerate(computing)}
        watch = Watch({"scheduler": psutil.Process(scheduler.pid), "client": psutil.Process(), **names})
        before = watch.cpu()
        with watch.watching():
            tally = drive(
                tiles(count), no_work, client, name="no-work", in_flight=in_flight, on_done=watch.told
            )
        return Run(tally, {name: value - before[name] for name, value in watch.cpu().items()}, watch)


def scheduler_process(folder: Path) -> Any:  # noqa: ANN401
    """Start a scheduler; a context manager of its process and its address."""
    return _started(folder, ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"])


@contextmanager
def _started(folder: Path, options: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    found = folder / "scheduler.json"
    with _process([*options, "--scheduler-file", str(found)]) as process:
        end = time.monotonic() + 60
        while not (found.exists() and found.stat().st_size):
            if time.monotonic() > end or process.poll() is not None:
                raise SystemExit("the scheduler did not start")
            time.sleep(0.05)
        yield process, json.loads(found.read_text())["address"]


def worker_process(address: str, folder: Path, number: int, *further: str) -> Any:  # noqa: ANN401
    """Start a worker and its nanny; a context manager of their process."""
    options = ["--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1", "--local-directory", str(folder)]
    return _process(["worker", address, "--name", str(number), *options, *further])


@contextmanager
def _process(arguments: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(  # noqa: S603  (our own arguments)
        [sys.executable, "-m", "dask", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # As a job sets its own workers up.
        env={**os.environ, **worker_environment(Cluster())},
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def report(run: Run) -> None:
    """Print the figures and memory over the run."""
    told = run.as_json()
    print(f"{told['tiles']} tiles in {told['seconds']:.1f} s: {told['ms_per_tile']:.3f} ms a tile, "
          f"{told['tasks_per_tile']:.2f} tasks a tile")  # fmt: skip
    print(f"{'':12s}{'CPU ms a tile':>15s}{'last quarter / second':>24s}")
    for name, cpu in told["cpu_ms_per_tile"].items():
        print(f"{name:12s}{cpu:15.3f}{told['last_quarter_over_second'][name]:24.3f}")
    names = list(run.watch.mib)
    print("memory, MiB\n" + f"{'tiles':>10s}{'s':>9s}" + "".join(f"{name:>12s}" for name in names))
    last = len(run.watch.seconds) - 1
    for k in sorted({round(last * point / _POINTS) for point in range(_POINTS + 1)}):
        row = "".join(f"{run.watch.mib[name][k]:12.1f}" for name in names)
        print(f"{run.watch.done[k]:10d}{run.watch.seconds[k]:9.1f}{row}")


if __name__ == "__main__":
    sys.exit(main())

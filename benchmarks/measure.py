"""Measuring commands: CPU seconds and wall time of all their processes, and the memory they hold together."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import lstzoom

_EVERY = 0.05
"""Seconds between two looks at the memory."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of a command, or the median of several.

    Attributes
    ----------
    cpu_seconds
        User and system time of the command and of all processes that it started and waited for.
    wall_seconds
        From start to end.
    peak_mib
        Most memory that all its processes held together. Pages that processes share are divided among
        them.
    """

    cpu_seconds: float
    wall_seconds: float
    peak_mib: float

    def per_pixel(self, pixels: int) -> float:
        """CPU time per pixel, microseconds."""
        return self.cpu_seconds / pixels * 1e6


def measure(command: Sequence[str], repeat: int = 1) -> Measured:
    """Run a command several times, each in new processes, and take the median."""
    runs = [_once(command) for _ in range(repeat)]
    return Measured(*(statistics.median(values) for values in zip(*runs, strict=True)))


def _once(command: Sequence[str]) -> tuple[float, float, float]:
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603  (our own command)
    watch = _Watch(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = watch.stop()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with exit code {process.returncode}")
    return usage.ru_utime + usage.ru_stime, wall, peak


class _Watch:
    """Looks at the memory of a process and its descendants until it is stopped."""

    def __init__(self, pid: int) -> None:
        self._pid, self._peak, self._end = pid, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._end.wait(_EVERY):
            processes = _family(self._pid)
            # The kernel keeps the peak of one process; of several, what they held at the same time counts.
            share = _highest if len(processes) == 1 else _proportional
            self._peak = max(self._peak, sum(map(share, processes)))

    def stop(self) -> float:
        self._end.set()
        self._thread.join()
        return self._peak


def _family(pid: int) -> list[int]:
    """List a process and its descendants."""
    found = [pid]
    for one in found:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += [int(child) for child in children.read_text().split()]
            except OSError:
                continue
    return found


def _proportional(pid: int) -> float:
    return _field(Path(f"/proc/{pid}/smaps_rollup"), "Pss:")


def _highest(pid: int) -> float:
    return _field(Path(f"/proc/{pid}/status"), "VmHWM:")


def _field(path: Path, name: str) -> float:
    """Read a number of KiB from a table of /proc, in MiB; 0 for a process that is gone."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(name)), 0.0)


def show(title: str, rows: Sequence[tuple[str, Measured, int]], base: str | None = None) -> None:
    """Print runs as a table: name, figures and fine pixels of each; ratios to the row named `base`."""
    print(f"{title:34s}{'CPU s':>9s}{'wall s':>9s}{'peak MiB':>10s}{'CPU us/pixel':>14s}{'ratio':>9s}")
    reference = next((m.per_pixel(pixels) for name, m, pixels in rows if name == base), None)
    for name, m, pixels in rows:
        each = m.per_pixel(pixels)
        ratio = f"{each / reference:9.2f}" if reference else ""
        print(f"{name:34s}{m.cpu_seconds:9.2f}{m.wall_seconds:9.2f}{m.peak_mib:10.0f}{each:14.3f}{ratio}")


def record(path: Path | None, **content: object) -> None:
    """Write figures as JSON, with when and where they were taken."""
    if path is None:
        return
    about = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "python": platform.python_version(),
        "lstzoom": lstzoom.__version__,
    }
    path.write_text(json.dumps({**about, **content}, indent=1, default=_plain) + "\n", encoding="utf-8")


def _plain(value: object) -> object:
    if isinstance(value, Measured):
        return {key: round(figure, 3) for key, figure in asdict(value).items()}
    return str(value)

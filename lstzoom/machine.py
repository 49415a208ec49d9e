"""What this process may use of the machine: its cores and memory, or those of its control group.

dask looks at the limits of the group at the mount point, which in a container is its own. A service of
systemd and a job of SLURM see the whole tree and have their limits further down, at the path that
``/proc/self/cgroup`` names; every group above may have a tighter one.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

import psutil

GDAL_CACHE_MB: Final = "128"
"""Of each process; GDAL's own default is a share of the machine, however many processes are on it."""
KEEP_MEMORY: Final = {
    "MALLOC_ARENA_MAX": 1,
    "MALLOC_MMAP_THRESHOLD_": 32 << 20,
    "MALLOC_TRIM_THRESHOLD_": 256 << 20,
}
"""For glibc: what a block frees is kept for the next, in one arena for all threads. Given back and asked for
again, the same memory costs CPU time, and its peak is higher and never twice the same. A block's arrays are
few and large, so that threads do not wait for each other. glibc takes no more than 32 MB for the second."""
_MALLOPT: Final = {
    "MALLOC_ARENA_MAX": -8, "MALLOC_MMAP_THRESHOLD_": -3, "MALLOC_TRIM_THRESHOLD_": -1,
}  # fmt: skip
_ROOT: Final = Path("/")
_CPU_MOUNTS: Final = ("cpu,cpuacct", "cpuacct,cpu", "cpu")


def usable_cores(root: Path = _ROOT) -> int:
    """Count the cores that this process may use, a share of one counted whole.

    Parameters
    ----------
    root
        Where ``/proc`` and ``/sys`` lie.

    Returns
    -------
    int
        The least of the machine's cores, this process's affinity and the quotas of its control groups
        (version 1 or 2), at least 1.
    """
    quotas = [*_quotas_v2(root), *_quotas_v1(root)]
    return max(1, min(len(os.sched_getaffinity(0)), *(math.ceil(one) for one in quotas), _MANY))


def usable_memory(root: Path = _ROOT) -> int:
    """Count the bytes of memory that this process and its children may use.

    Parameters
    ----------
    root
        Where ``/proc`` and ``/sys`` lie.

    Returns
    -------
    int
        The least of the machine's memory and the limits of its control groups (version 1 or 2).
    """
    total = int(psutil.virtual_memory().total)
    v2 = (_number(group / name) for group in _groups(root, "") for name in ("memory.max", "memory.high"))
    v1 = (_number(group / "memory.limit_in_bytes") for group in _groups(root, "memory"))
    return min([total, *(limit for limit in (*v2, *v1) if limit is not None and limit > 0)])


_MANY: Final = 1 << 20


def _quotas_v2(root: Path) -> Iterator[float]:
    for group in _groups(root, ""):
        quota, _, period = _text(group / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit():
            yield int(quota) / int(period)


def _quotas_v1(root: Path) -> Iterator[float]:
    for group in _groups(root, "cpu"):
        quota, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
        if quota and period and quota > 0:
            yield quota / period


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the control group of this process and of those above it; version 2 has no controller."""
    mounts = root / "sys/fs/cgroup"
    if controller == "":
        bases = [mounts, mounts / "unified"]
    else:
        bases = [mounts / name for name in (_CPU_MOUNTS if controller == "cpu" else (controller,))]
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            inside = PurePosixPath(path).relative_to("/")
            yield from (base / part for base in bases for part in (inside, *inside.parents))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _number(path: Path) -> int | None:
    try:
        return int(_text(path))
    except ValueError:
        return None


def keep_memory() -> bool:
    """Have this process keep what it frees, as `KEEP_MEMORY` says, before it starts threads.

    Returns
    -------
    bool
        False where the C library is not glibc, or the environment says how memory is kept.
    """
    if any(name in os.environ for name in KEEP_MEMORY):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    # The C library answers 1 for what it took.
    answers = [mallopt(_MALLOPT[name], value) for name, value in KEEP_MEMORY.items()]
    return set(answers) == {1}

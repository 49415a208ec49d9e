"""Cores and memory of control groups, read from trees as the kernel lays them out."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil
import pytest

from lstzoom.machine import KEEP_MEMORY, keep_memory, usable_cores, usable_memory

CORES = len(os.sched_getaffinity(0))
MEMORY = psutil.virtual_memory().total


def tree(root: Path, group: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": group, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("group", "files"),
    [
        # A container sees its own group at the mount point.
        ("0::/", {"memory.max": "1073741824", "cpu.max": "100000 100000"}),
        # A service of systemd and a step of SLURM have it further down.
        ("0::/a.slice/b", {"a.slice/b/memory.max": "1073741824", "a.slice/b/cpu.max": "50000 100000"}),
        # The tightest of all above counts.
        (
            "0::/a/b",
            {
                "a/b/memory.max": "max",
                "a/memory.max": "1073741824",
                "a/b/cpu.max": "max 100000",
                "a/cpu.max": "100000 100000",
            },
        ),
        ("0::/a", {"a/memory.max": "max", "a/memory.high": "1073741824", "a/cpu.max": "1000 100000"}),
        # Version 1; the path of the host does not exist in the container.
        (
            "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x",
            {
                "memory/memory.limit_in_bytes": "1073741824",
                "cpu,cpuacct/cpu.cfs_quota_us": "100000",
                "cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
        ),
        (
            "9:memory:/slurm/job\n8:cpu:/slurm/job",
            {
                "memory/slurm/job/memory.limit_in_bytes": "1073741824",
                "cpu/slurm/cpu.cfs_quota_us": "30000",
                "cpu/slurm/cpu.cfs_period_us": "100000",
            },
        ),
    ],
)
def test_limits_of_a_control_group_count(tmp_path: Path, group: str, files: dict[str, str]) -> None:
    root = tree(tmp_path, group, {f"sys/fs/cgroup/{name}": text for name, text in files.items()})
    assert usable_memory(root) == 1 << 30
    assert usable_cores(root) == 1


@pytest.mark.parametrize(
    ("group", "files"),
    [
        ("0::/", {}),
        ("0::/", {"memory.max": "max", "cpu.max": "max 100000"}),
        ("0::/", {"memory.max": "nonsense", "cpu.max": "nonsense"}),
        ("0::/", {"memory.max": str(1 << 60), "cpu.max": "100000000 100000"}),
        ("3:cpu:/\n4:memory:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000",
                                 "memory/memory.limit_in_bytes": "9223372036854771712"}),
        ("", {}),
    ],
)  # fmt: skip
def test_without_limits_it_is_the_machine(tmp_path: Path, group: str, files: dict[str, str]) -> None:
    root = tree(tmp_path, group, {f"sys/fs/cgroup/{name}": text for name, text in files.items()})
    assert usable_memory(root) == MEMORY
    assert usable_cores(root) == CORES


def test_a_share_of_a_core_counts_whole(tmp_path: Path) -> None:
    root = tree(tmp_path, "0::/", {"sys/fs/cgroup/cpu.max": "120000 100000"})
    assert usable_cores(root) == min(2, CORES)


def test_this_machine_has_something() -> None:
    assert 1 <= usable_cores() <= CORES
    assert 0 < usable_memory() <= MEMORY


def test_memory_is_kept_where_the_c_library_can_and_nobody_said_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in KEEP_MEMORY:
        monkeypatch.delenv(name, raising=False)
    # glibc answers for each of the settings; one that it did not take would be a number out of range.
    assert keep_memory() == (platform.libc_ver()[0] == "glibc")
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "0")
    assert not keep_memory()

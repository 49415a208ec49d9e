"""What is killed, interrupted, full or held: nothing is lost, and what is done again is the same."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from lstzoom.errors import StoreBusyError
from lstzoom.jobs.lease import leased
from lstzoom.jobs.run import run_job
from lstzoom.jobs.state import Options
from lstzoom.jobs.store import store_at
from lstzoom.sources.job import read_job
from tests.jobs.region import leftovers, pixels, write_fields

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

TILES = 24
_MOUNT = "/bin/mount"


@pytest.fixture(scope="module")
def whole(region: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Results of an uninterrupted run."""
    out = tmp_path_factory.mktemp("whole") / "out"
    run_job(read_job(write_fields(region, "whole.yaml")), Options(into=str(out)))
    return pixels(out)


def _start(job: Path, out: Path, *, code: str = "") -> subprocess.Popen[bytes]:
    """Start the command in a session of its own; code is executed in it beforehand."""
    program = textwrap.dedent(code) + textwrap.dedent(
        f"""
        if __name__ == "__main__":
            import signal, sys
            # What a shell starts behind its back ignores Ctrl-C, and so do these tests then.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.argv = ["lstzoom", "run", {str(job)!r}, "--into", {str(out)!r}]
            from lstzoom.cli import main
            main()
        """
    )
    script = out.parent / "program.py"
    script.write_text(program)
    draft = out.parent / "draft.log"
    with draft.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(script)], stdout=log, stderr=log, start_new_session=True
        )
    draft.rename(_log(out, process))
    return process


def _log(out: Path, process: subprocess.Popen[bytes]) -> Path:
    return out.parent / f"{process.pid}.log"


def _told(process: subprocess.Popen[bytes], out: Path, timeout: float = 240) -> str:
    """Wait for the end, and return what was said."""
    process.wait(timeout)
    return _log(out, process).read_text()


def _kill_all(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL a process and all that it has started, as the end of a container does."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for one in family:
        one.kill()
    psutil.wait_procs(family, 10)
    process.wait(10)


def _wait(condition: Callable[[], bool], process: subprocess.Popen[bytes], out: Path) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        assert process.poll() is None, _log(out, process).read_text()
        time.sleep(0.005)


def _entries(out: Path) -> int:
    return len(list((out / "ledger").glob("*/*.json")))


POINTS: dict[str, Callable[[Path], bool]] = {
    "sampling": lambda out: any(out.glob("sample/*/look-*.npz")),
    "rows": lambda out: any(out.glob("sample/*/rows-*.npz")),
    "model": lambda out: any(out.glob("models/*")),
    "first tile": lambda out: any(out.glob("cubes/*/lst/c/*/*/*")),
    "cog": lambda out: any(out.glob("cogs/*/*_lst.tif")),
    "ledger": lambda out: _entries(out) >= 1,
    "half": lambda out: _entries(out) >= TILES // 2,
}


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.fault("the client is killed at five points of a run", "the next run goes on; the same bytes")
def test_a_run_that_was_killed_goes_on(
    region: Path, whole: dict[str, bytes], tmp_path: Path, point: str
) -> None:
    out, job = tmp_path / "out", write_fields(region, "killed.yaml")
    process = _start(job, out)
    try:
        _wait(lambda: POINTS[point](out), process, out)
    finally:
        _kill_all(process)
    there = _entries(out)
    assert there < TILES
    # What bears a final name is whole.
    for name, data in pixels(out).items():
        if name.startswith(("cogs/", "models/", "items/")):
            assert data == whole[name]
    # The process is gone, so the next one need not wait for its lease.
    summary = run_job(read_job(job), Options(into=str(out)))
    assert (summary["state"], summary["exit_code"]) == ("done", 0)
    assert summary["tiles"]["before"] == there
    assert summary["tiles"]["done"] == TILES - there
    assert pixels(out) == whole
    assert leftovers(out) == []


_POINTED = """
import os, signal
import lstzoom.jobs.store as store
write = store.Store.write
def pointed(self, key, data):
    if key.startswith({prefix!r}) and not os.path.exists({mark!r}):
        open({mark!r}, "w").close()
        if {after}:
            write(self, key, data)
        os.kill({victim}, signal.SIGKILL)
    return write(self, key, data)
store.Store.write = pointed
"""


@pytest.mark.parametrize("prefix", ["sample/", "models/", "cogs/", "ledger/", "scenes/", "collection"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.fault(
    "a process dies while it writes sample, model, COG, ledger or record",
    "nothing half-written; the same bytes",
)
def test_a_worker_or_client_that_dies_while_it_writes_costs_nothing(
    region: Path, whole: dict[str, bytes], tmp_path: Path, prefix: str, moment: str
) -> None:
    """The process that writes the first object of a kind dies, right before or right after."""
    out, mark = tmp_path / "out", tmp_path / "mark"
    job = write_fields(region, "dies.yaml", run={"retries": 3, "backoff_s": 0.1})
    # Workers are started with this file as their main module, so that they are patched, too.
    process = _start(
        job,
        out,
        code=_POINTED.format(prefix=prefix, mark=str(mark), after=moment == "after", victim="os.getpid()"),
    )
    output = _told(process, out)
    assert mark.exists(), output
    if process.returncode:
        # The client wrote it, and is dead; its workers see that and leave.
        assert process.returncode == -signal.SIGKILL, output
        assert prefix in {"scenes/", "collection"}
        summary = run_job(read_job(job), Options(into=str(out)))
        assert summary["exit_code"] == 0
    assert pixels(out) == whole
    assert leftovers(out) == []


_SYNCED = """
import os
sync = os.fsync
def noted(file):
    sync(file)
    # By its number a file is known under its final name, too.
    with open({mark!r}, "a") as marks:
        marks.write(f"{{os.fstat(file).st_ino}}\\n")
os.fsync = noted
"""


@pytest.mark.fault(
    "the power fails: what was not waited for is not on the disk", "the next run goes on; the same bytes"
)
def test_a_power_failure_costs_what_the_ledger_does_not_tell(
    region: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    """All is killed at once, and files that nobody had waited for are empty, as a crash may leave them."""
    out, mark, job = tmp_path / "out", tmp_path / "synced", write_fields(region, "power.yaml")
    process = _start(job, out, code=_SYNCED.format(mark=str(mark)))
    try:
        _wait(lambda: _entries(out) >= TILES // 2, process, out)
    finally:
        _kill_all(process)
    there, synced = _entries(out), set(map(int, mark.read_text().split()))
    lost = [path for path in out.rglob("*") if path.is_file() and path.stat().st_ino not in synced]
    assert not [
        path for path in lost if path.relative_to(out).parts[0] in {"cogs", "ledger", "models", "items"}
    ]
    for path in lost:
        os.truncate(path, 0)
    summary = run_job(read_job(job), Options(into=str(out)))
    assert (summary["state"], summary["tiles"]["before"]) == ("done", there)
    assert pixels(out) == whole
    assert leftovers(out) == []


def _kill_workers(process: subprocess.Popen[bytes], out: Path, most: int, rng: random.Random) -> int:
    """SIGKILL one worker after another, at random moments, until the run is over; tell how many."""
    killed = 0
    while killed < most and process.poll() is None:
        # Some work between two of them, however fast or slow the machine.
        before, deadline = _entries(out), time.monotonic() + 2.5
        while killed and _entries(out) == before and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.uniform(0.0, 0.3))
        try:
            workers = [
                one for one in psutil.Process(process.pid).children(recursive=True)
                if "spawn_main" in " ".join(one.cmdline())
            ]  # fmt: skip
            if len(workers) > 1:
                rng.choice(workers).kill()
                killed += 1
        except psutil.NoSuchProcess:
            continue
    return killed


@pytest.mark.fault("workers are killed at ten random moments", "the run goes on; the same bytes")
def test_workers_killed_at_ten_moments(region: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    """Ten in all: a run may be over before, so that there are as many runs as it takes."""
    killed, rng = 0, random.Random(0)  # noqa: S311  (no secret)
    # A tile fails that four deaths hit, and four more while it is tried alone.
    job = write_fields(region, "workers.yaml", run={"retries": 10, "backoff_s": 0.1})
    for number in range(10):
        out = tmp_path / str(number) / "out"
        out.parent.mkdir()
        process = _start(job, out)
        _wait(partial(POINTS["sampling"], out), process, out)
        killed += _kill_workers(process, out, 10 - killed, rng)
        output = _told(process, out)
        assert process.returncode == 0, output
        assert pixels(out) == whole
        assert leftovers(out) == []
        if killed == 10:
            break
    assert killed == 10


_HUNGRY = """
import os, time
import lstzoom.jobs.store as store
write = store.Store.write
def hungry(self, key, data):
    if key.startswith("cogs/") and ({which}):
        with open({mark!r}, "a") as marks:
            marks.write("x")
        taken = []
        for _ in range(30):
            taken.append(bytearray(b"x" * (64 << 20)))
            time.sleep(0.05)
        time.sleep(60)
    return write(self, key, data)
store.Store.write = hungry
"""


@pytest.mark.fault("a worker reaches its memory limit", "it is started anew, the run goes on; the same bytes")
def test_a_worker_at_its_memory_limit_is_started_anew(
    region: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out, mark = tmp_path / "out", tmp_path / "mark"
    job = write_fields(region, "hungry.yaml", cluster={"workers": 2, "memory": "1GB"})
    begin = time.monotonic()
    process = _start(
        job, out, code=_HUNGRY.format(mark=str(mark), which=f"not os.path.exists({str(mark)!r})")
    )
    output = _told(process, out)
    assert process.returncode == 0, output
    # Otherwise it would have slept a minute.
    assert mark.read_text() == "x"
    assert time.monotonic() - begin < 60, output
    assert pixels(out) == whole
    assert leftovers(out) == []


@pytest.mark.fault(
    "a tile needs more memory than its worker may have", "the tile fails by name; what to change"
)
def test_a_tile_that_never_fits_fails_by_name(region: Path, tmp_path: Path) -> None:
    out, mark = tmp_path / "out", tmp_path / "mark"
    fields = {"cluster": {"workers": 2, "memory": "1GB"}, "run": {"retries": 0, "backoff_s": 0.1}}
    job = write_fields(region, "greedy.yaml", **fields)
    which = "key.endswith('20230601T100000/r000c000_lst.tif')"
    process = _start(job, out, code=_HUNGRY.format(mark=str(mark), which=which))
    output = _told(process, out)
    assert process.returncode == 4, output
    summary = json.loads((out / "summary.json").read_text())
    assert summary["tiles"]["failed"] == 1
    assert summary["tiles"]["done"] == TILES - 1
    (failed,) = summary["failed"]
    assert "cluster.memory" in failed["error"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.fault("Ctrl-C, or SIGTERM", "a state to go on from, and how to")
def test_an_interrupted_run_says_how_to_go_on(
    region: Path, whole: dict[str, bytes], tmp_path: Path, how: signal.Signals
) -> None:
    out, job = tmp_path / "out", write_fields(region, "interrupted.yaml")
    process = _start(job, out)
    _wait(lambda: _entries(out) >= 2, process, out)
    # A terminal interrupts the whole group; a scheduler ends the process that it has started.
    if how == signal.SIGINT:
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)
    output = _told(process, out, 60)
    assert process.returncode == 130, output
    assert f"go on with the same command: lstzoom run {job}" in output
    assert "Traceback" not in output
    assert json.loads((out / "summary.json").read_text())["state"] == "interrupted"
    assert [name for name in leftovers(out) if not name.startswith("sample")] == []
    summary = run_job(read_job(job), Options(into=str(out)))
    assert summary["tiles"]["before"] >= 2
    assert pixels(out) == whole
    assert leftovers(out) == []


@pytest.mark.fault("two runs into one store", "the second is refused with who is at it")
def test_two_runs_into_one_store(region: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    out, job = tmp_path / "out", write_fields(region, "two.yaml")
    process = _start(job, out)
    _wait((out / "lease.json").exists, process, out)
    with pytest.raises(StoreBusyError, match=r"held by another run: process \d+"):
        run_job(read_job(job), Options(into=str(out)))
    second = _start(job, out)
    told = _told(second, out, 60)
    assert (second.returncode, "held by another run" in told) == (5, True)
    output = _told(process, out)
    assert process.returncode == 0, output
    assert pixels(out) == whole


@pytest.mark.fault("the disk is full", "the run stops and says so; nothing half-written")
def test_a_full_disk_stops_the_run_and_says_so(region: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    """A file system of a megabyte, in a mount namespace of its own where that is allowed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run([_MOUNT, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        job = write_fields(region, "full.yaml")
        summary = run_job(read_job(job), Options(into=str(disk / "out")))
        assert (summary["state"], summary["exit_code"]) == ("stopped", 6)
        assert "No space left on device" in summary["why"]
        there = pixels(disk / "out")
        for name, data in there.items():
            if name.startswith(("cogs/", "models/", "items/")):
                assert data == whole[name]
        assert [name for name in leftovers(disk / "out") if not name.startswith("sample")] == []
        subprocess.run([_MOUNT, "-o", "remount,size=64m", str(disk)], check=True)
        assert run_job(read_job(job), Options(into=str(disk / "out")))["state"] == "done"
        assert pixels(disk / "out") == whole
    finally:
        subprocess.run(["/bin/umount", str(disk)], check=True)


@pytest.mark.fault("the scheduler is killed", "the run stops; the next goes on")
def test_the_scheduler_that_is_killed_stops_the_run_and_the_next_goes_on(
    region: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out, address = tmp_path / "out", tmp_path / "scheduler.json"
    arguments = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(address)]
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", *arguments], stderr=subprocess.DEVNULL
    )
    worker = None
    try:
        deadline = time.monotonic() + 60
        while not address.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        where = json.loads(address.read_text())["address"]
        worker = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_worker", where, "--no-dashboard", "--nthreads", "1",
             "--no-nanny", "--death-timeout", "20"],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        job = write_fields(region, "scheduler.yaml")
        changed = job.read_text().replace("memory: 2GB\n  workers: 2", f"kind: address\n  address: {where}")
        job.write_text(changed)
        process = _start(job, out)
        _wait(lambda: _entries(out) >= 2, process, out)
        scheduler.kill()
        output = _told(process, out, 120)
        assert process.returncode == 6, output
        assert "scheduler" in json.loads((out / "summary.json").read_text())["why"]
    finally:
        scheduler.kill()
        scheduler.wait(10)
        if worker is not None:
            worker.kill()
            worker.wait(10)
    job = write_fields(region, "scheduler.yaml")
    assert run_job(read_job(job), Options(into=str(out)))["state"] == "done"
    assert pixels(out) == whole
    assert leftovers(out) == []


@pytest.mark.fault("the machine of a run crashes", "its lease expires")
def test_a_lease_expires_after_a_crash_of_another_machine(tmp_path: Path) -> None:
    store = store_at(str(tmp_path))
    with leased(store, 5.0):
        data = (tmp_path / "lease.json").read_text()
    stale = json.loads(data) | {"host": "elsewhere", "token": "other"}
    (tmp_path / "lease.json").write_text(json.dumps(stale))
    with pytest.raises(StoreBusyError, match="elsewhere"), leased(store, 5.0):
        pass
    os.utime(tmp_path / "lease.json", (time.time() - 6, time.time() - 6))
    with leased(store, 5.0) as lease:
        time.sleep(2.0)
        lease.check()
        # Somebody takes it by force: this run notices.
        (tmp_path / "lease.json").write_text(json.dumps(stale))
        time.sleep(2.0)
        with pytest.raises(StoreBusyError, match="was taken"):
            lease.check()
    # It is not ours to give back.
    assert (tmp_path / "lease.json").exists()

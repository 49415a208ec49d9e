"""Schedulers that run here for tests: dask's own, Dask Gateway, SLURM. Nothing outlives a test."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests

BIN = Path(sys.executable).parent
PASSWORD = "open sesame"
SLURM = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "squeue")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_until(true: Callable[[], bool], seconds: float = 60, what: str = "it") -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not happen in {seconds} s")
        time.sleep(0.1)


@contextmanager
def process(
    command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        started = subprocess.Popen(
            [str(part) for part in command],
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
        )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


@contextmanager
def dask_scheduler(folder: Path) -> Iterator[str]:
    """Run `dask scheduler` and give its address."""
    found = folder / "scheduler.json"
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(found)]
    with process([BIN / "dask", "scheduler", *options], folder / "scheduler.log"):
        wait_until(lambda: found.exists() and found.stat().st_size > 0, what="the scheduler's file")
        yield str(json.loads(found.read_text())["address"])


@contextmanager
def dask_worker(
    address: str, folder: Path, name: str, environment: Mapping[str, str] | None = None
) -> Iterator[Path]:
    """Run `dask worker` and give its log."""
    options = [
        "--nthreads",
        "1",
        "--name",
        name,
        "--no-dashboard",
        "--local-directory",
        str(folder),
        "--host",
        "127.0.0.1",
    ]
    log = folder / f"{name}.log"
    with process([BIN / "dask", "worker", address, *options], log, environment):
        yield log


@contextmanager
def gateway(folder: Path) -> Iterator[str]:
    """Run a Dask Gateway whose clusters are processes of this machine, and give its address."""
    api, proxy = free_port(), free_port()
    (folder / "config.py").write_text(f"""
from dask_gateway_server.options import Float, Options
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.DaskGateway.authenticator_class = "dask_gateway_server.auth.SimpleAuthenticator"
c.SimpleAuthenticator.password = {PASSWORD!r}
c.DaskGateway.address = "127.0.0.1:{api}"
c.Proxy.address = "127.0.0.1:{proxy}"
c.UnsafeLocalBackend.clusters_directory = {str(folder / "clusters")!r}
c.ClusterConfig.scheduler_cmd = [{str(BIN / "dask")!r}, "scheduler"]
c.ClusterConfig.worker_cmd = [{str(BIN / "dask")!r}, "worker"]
c.ClusterConfig.worker_cores = 1
c.Backend.cluster_options = Options(
    Float("worker_memory", default=1, min=0.5, max=2),
    handler=lambda options: {{"worker_memory": f"{{options.worker_memory}} G"}},
)
""")
    with process([BIN / "dask-gateway-server", "-f", folder / "config.py"], folder / "gateway.log"):
        address = f"http://127.0.0.1:{proxy}"
        wait_until(lambda: _asks_for_a_password(f"{address}/api/v1/options"), what="the gateway")
        yield address


def _asks_for_a_password(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code == HTTPStatus.UNAUTHORIZED
    except requests.ConnectionError:
        return False


def absent_for_slurm() -> str | None:
    """Say why SLURM cannot run here, or give None."""
    missing = [name for name in SLURM if shutil.which(name, path=_PATH) is None]
    if missing:
        return f"no {', '.join(missing)}: make apt-cluster"
    return None if os.geteuid() == 0 else "slurmd runs as root here; this is not root"


_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Run munged, slurmctld and slurmd for a cluster of one node, and give the environment of its clients."""
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir()
    # munge refuses keys that others can read, and sockets that others cannot reach.
    key, munge_socket = folder / "munge/key", folder / "munge/socket"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    (folder / "munge").chmod(0o711)
    host = socket.gethostname().partition(".")[0]
    user = pwd.getpwuid(os.geteuid()).pw_name
    (folder / "slurm.conf").write_text(f"""
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
AuthType=auth/munge
AuthInfo=socket={munge_socket}
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
NodeName={host} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} RealMemory=4000
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
""")
    environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _PATH}
    files = [f"--{name}-file={folder}/munge/{name}" for name in ("key", "pid", "log", "seed")]
    munge = ["munged", "--foreground", "--force", f"--socket={munge_socket}", *files]
    with ExitStack() as stack:
        for log, command in (
            ("munged", munge),
            ("slurmctld", ["slurmctld", "-D"]),
            ("slurmd", ["slurmd", "-D"]),
        ):
            stack.enter_context(process(command, folder / f"{log}.log", environment))
            if log == "munged":
                wait_until(munge_socket.exists, what="munge's socket")
        wait_until(lambda: "idle" in slurm_tells(["sinfo", "-h"], environment), what="an idle node")
        yield environment


def slurm_tells(command: Sequence[str], environment: Mapping[str, str]) -> str:
    found = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=30
    )
    return found.stdout


def other_lstzoom(folder: Path) -> dict[str, str]:
    """Copy the package, change its version, and give the environment in which Python finds the copy first."""
    import lstzoom

    origin = Path(lstzoom.__file__).parent
    shutil.copytree(origin, folder / "lstzoom", ignore=shutil.ignore_patterns("__pycache__"))
    init = folder / "lstzoom/__init__.py"
    init.write_text(init.read_text().replace(f'"{lstzoom.__version__}"', '"0.0.1"'))
    return {"PYTHONPATH": str(folder)}


def add_one(value: Any) -> Any:  # noqa: ANN401
    return value + 1

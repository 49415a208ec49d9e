"""Where it runs: processes of this machine, or workers of a cluster that somebody else runs.

One set of settings, one way in. Every kind gives the same client, so nothing else knows of kinds. The
packages that talk to a kind are optional and named when they are missing.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from multiprocessing import resource_tracker
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lstzoom.errors import ClusterError, LstzoomError, import_extra
from lstzoom.machine import GDAL_CACHE_MB, KEEP_MEMORY, usable_cores, usable_memory

logger = logging.getLogger(__name__)

Kind = Literal["local", "address", "gateway", "kubernetes", "slurm"]

# Blocks come and go by the hundred megabytes. Dask has workers give every freed page back at once, which
# costs a third more time; what they hold is bounded by the blocks in flight either way.
# Dask looks at what workers are doing a hundred times a second and keeps a quarter of an hour of it, which
# looks like a leak and costs what it costs.
_PROFILE: Final = "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED"
# Each event loop is woken fifty times a second to see that it turns, each nanny asks ten times for the memory
# of its worker: of a machine where a tile takes seconds, that is most of what scheduler and client cost.
# Each end of each connection keeps the last thousand messages, with the tasks in them, and each monitor the
# figures of hours: memory that grows for thousands of tiles and is of use to developers of dask.
_LOOKS: Final = {
    "distributed.admin.tick.interval": ("DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL", "500ms"),
    "distributed.admin.system-monitor.interval": (
        "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL", "2s",
    ),
    "distributed.worker.memory.monitor-interval": (
        "DASK_DISTRIBUTED__WORKER__MEMORY__MONITOR_INTERVAL", "500ms",
    ),
    "distributed.admin.low-level-log-length": ("DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH", "100"),
    "distributed.admin.log-length": ("DASK_DISTRIBUTED__ADMIN__LOG_LENGTH", "1000"),
    "distributed.admin.system-monitor.log-length": (
        "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__LOG_LENGTH", "300",
    ),
}  # fmt: skip
_WORKER_ENV: Final = {
    **{name: str(value) for name, value in KEEP_MEMORY.items()},
    _PROFILE: "False",
    **dict(_LOOKS.values()),
}
_EARLY: Final = "distributed.nanny.pre-spawn-environ"
# Without an address dask takes one port for all schedulers of a machine.
_NO_DASHBOARD: Final = "127.0.0.1:0"
_LEAST_MEMORY: Final = 2 << 30
"""Bytes below which a worker is not started on its own: libraries, a model, a tile and its halo."""
_FOREIGN: Final = ("address", "gateway")
"""Kinds whose workers are set up by whoever runs the cluster."""


class _Settings(BaseModel):
    """Frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Adaptive(_Settings):
    """Workers come and go with the work."""

    minimum: int = Field(default=1, ge=1, description="Fewest workers.")
    maximum: int = Field(ge=1, description="Most workers.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is more than maximum {self.maximum}")
        return self


class Gateway(_Settings):
    """A Dask Gateway, as on Pangeo's and 2i2c's hubs; null is what dask's own settings say there."""

    address: str | None = Field(default=None, description="Address of the gateway, https://...")
    proxy_address: str | None = Field(default=None, description="Address of its proxy for schedulers.")
    auth: Literal["basic", "jupyterhub", "kerberos"] | None = Field(
        default=None, description="How to log in; the password or token comes from the environment."
    )
    cluster: str | None = Field(
        default=None,
        description="Name of a running cluster of yours, used and left running; null: a new one.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="Options of the server, such as image or worker_memory."
    )


class Kubernetes(_Settings):
    """A DaskCluster of the Dask operator for Kubernetes."""

    name: str = Field(
        default="lstzoom", description="Name of the cluster; one that runs is never taken over."
    )
    cluster: str | None = Field(
        default=None, description="Name of a running DaskCluster, used and left running; null: a new one."
    )
    namespace: str | None = Field(default=None, description="Namespace; null: that of the context or pod.")
    image: str | None = Field(default=None, description="Image with lstzoom; the same version as here.")
    service_account: str | None = Field(default=None, description="ServiceAccount of scheduler and workers.")
    secret: str | None = Field(
        default=None, description="Secret whose entries become environment variables, such as AWS keys."
    )
    manifest: str | None = Field(
        default=None, description="YAML of a DaskCluster, in place of the image and of what is above it."
    )
    idle_timeout: int = Field(
        default=600, ge=0, description="Seconds without work after which the operator deletes it; 0: never."
    )


class Slurm(_Settings):
    """Workers in SLURM jobs, the scheduler here; null is what dask's own settings say there."""

    partition: str | None = Field(default=None, description="Partition (sbatch -p).")
    account: str | None = Field(default=None, description="Account that is charged (sbatch -A).")
    walltime: str = Field(
        default="02:00:00",
        pattern=r"^(\d+-)?\d{1,2}:\d\d:\d\d$",
        description="Time limit of a job, days-hours:minutes:seconds; a new job follows it.",
    )
    processes: int = Field(default=1, ge=1, description="Workers in one job.")
    interface: str | None = Field(default=None, description="Network interface, such as ib0.")
    scratch: str | None = Field(default=None, description="Folder of the nodes for what spills to disk.")
    logs: str | None = Field(default=None, description="Folder for the output of jobs, seen by all nodes.")
    python: str | None = Field(default=None, description="Python on the nodes; null: the path of this one.")
    prologue: tuple[str, ...] | None = Field(
        default=None, description="Lines of shell before a worker starts, such as module load."
    )
    directives: tuple[str, ...] | None = Field(
        default=None, description="More options of sbatch, such as --exclusive."
    )
    tls: bool = Field(
        default=True, description="Encrypt and authenticate; without it, anyone on the network can run code."
    )


class Cluster(_Settings):
    """Where it runs: processes of this machine, or workers of a cluster."""

    kind: Kind = Field(
        default="local",
        description="local: processes of this machine; address: a running dask scheduler; gateway: Dask "
        "Gateway; kubernetes: the Dask operator; slurm: jobs of SLURM.",
    )
    address: str | None = Field(
        default=None, description="For address: the scheduler, such as tcp://host:8786 or tls://host:8786."
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        description="Worker processes; null: for local as many as cores and memory allow, for address "
        "those that are there.",
    )
    adaptive: Adaptive | None = Field(
        default=None, description="In place of workers: {minimum: 1, maximum: 20} come and go with the work."
    )
    threads: int | None = Field(
        default=None, ge=1, description="Threads of a worker; null: 1. Set elsewhere for address and gateway."
    )
    memory: str | None = Field(
        default=None,
        description="Memory of a worker such as 4GB; null: a fair share for local, 4GB for kubernetes and "
        "slurm. Set elsewhere for address and gateway.",
    )
    timeout: float = Field(default=300, gt=0, description="Seconds to wait for the first workers.")
    dashboard: str = Field(
        default="127.0.0.1:0",
        description="For local and slurm: where the dashboard listens; port 0 is any free one.",
    )
    environment: dict[str, str] = Field(
        default_factory=dict,
        description="For local, kubernetes and slurm: environment variables of workers, such as GDAL's. No "
        "secrets.",
    )
    gateway: Gateway | None = Field(default=None, description="Settings of kind gateway; null: its defaults.")
    kubernetes: Kubernetes | None = Field(
        default=None, description="Settings of kind kubernetes; null: its defaults."
    )
    slurm: Slurm | None = Field(default=None, description="Settings of kind slurm; null: its defaults.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for problem in (_wrong_address, _wrong_section, _wrong_size, _wrong_worker):
            message = problem(self)
            if message is not None:
                raise ValueError(message)
        return self

    @property
    def section(self) -> Gateway | Kubernetes | Slurm | None:
        """Settings of the kind, its defaults if none are given; None for local and address."""
        made = {"gateway": Gateway, "kubernetes": Kubernetes, "slurm": Slurm}.get(self.kind)
        return None if made is None else getattr(self, self.kind) or made()

    @property
    def worker_bytes(self) -> int | None:
        """Memory of a worker that is asked for, bytes."""
        return None if self.memory is None else _bytes(self.memory)


def _wrong_address(given: Cluster) -> str | None:
    if (given.kind == "address") != (given.address is not None):
        return "address belongs to kind: address, and only to it"
    section = given.gateway
    addresses = [given.address] + ([section.address, section.proxy_address] if section is not None else [])
    if any(one is not None and "@" in urlsplit(one).netloc for one in addresses):
        return "an address in a job holds no name or password; give them in the environment"
    return None


def _wrong_section(given: Cluster) -> str | None:
    for name in ("gateway", "kubernetes", "slurm"):
        if getattr(given, name) is not None and given.kind != name:
            return f"the settings under {name} belong to kind: {name}; kind is {given.kind}"
    return None


def _wrong_size(given: Cluster) -> str | None:
    if given.workers is not None and given.adaptive is not None:
        return "give workers or adaptive, not both"
    if given.kind == "address" and given.adaptive is not None:
        return "a running scheduler is scaled by whoever runs it; adaptive belongs to the other kinds"
    joins = given.section.cluster if isinstance(given.section, Gateway | Kubernetes) else None
    if given.kind in {"gateway", "kubernetes", "slurm"} and joins is None and given.workers is None:
        return None if given.adaptive is not None else f"kind: {given.kind} needs workers or adaptive"
    return None


def _wrong_worker(given: Cluster) -> str | None:
    if given.kind in _FOREIGN:
        for name in ("threads", "memory"):
            if getattr(given, name) is not None:
                where = "gateway.options" if given.kind == "gateway" else "the workers' own command line"
                return f"{name} cannot be set for kind: {given.kind}; it is set with {where}"
        if given.environment:
            return f"environment cannot be set for kind: {given.kind}; set it where the workers are started"
    if given.memory is not None:
        try:
            _bytes(given.memory)
        except ValueError:
            return f"memory {given.memory!r} is no size such as 4GB or 3.5GiB"
    return None


def _bytes(text: str) -> int:
    from dask.utils import parse_bytes  # noqa: PLC0415  (slow to import)

    return int(parse_bytes(text))


def local_size(settings: Cluster) -> tuple[int, int]:
    """Size the processes of this machine, or of the control group that this process is in.

    Parameters
    ----------
    settings
        Of kind local. What they leave open is chosen: as many workers as there are cores for their
        threads and 2 GiB of memory for each, and an equal share of the memory.

    Returns
    -------
    tuple
        Worker processes, and bytes of memory for each.
    """
    memory = usable_memory()
    workers = settings.adaptive.maximum if settings.adaptive is not None else settings.workers
    if workers is None:
        needed = settings.worker_bytes or _LEAST_MEMORY
        workers = max(1, min(usable_cores() // (settings.threads or 1), memory // needed))
    return workers, settings.worker_bytes or memory // workers


@contextmanager
def connect(settings: Cluster, *, check: bool = True) -> Iterator[Any]:
    """Start or reach a cluster, wait for workers, and give its client.

    Parameters
    ----------
    settings
        Where it runs.
    check
        Compare versions of workers and client; workers with others that join later have to leave.

    Yields
    ------
    distributed.Client
        With at least one worker. What was started here is ended afterwards; what was running before
        goes on running.

    Raises
    ------
    ClusterError
        If there is no such cluster, no worker within ``settings.timeout`` seconds, or a worker with
        other versions.
    MissingExtraError
        If the package that talks to this kind is not installed.
    """
    with ExitStack() as stack:
        client = stack.enter_context(_ADAPTERS[settings.kind](settings))
        _await_workers(client, settings)
        if check:
            from lstzoom.versions import SameVersions, check_versions  # noqa: PLC0415  (slow to import)

            guard = SameVersions(check_versions(client))
            try:
                client.register_plugin(guard)
            except OSError as error:
                raise ClusterError(
                    f"a worker ended as it began ({_told(error)}); {_WHERE_TO_LOOK[settings.kind]}"
                ) from error
            stack.callback(_quietly, lambda: client.unregister_worker_plugin(guard.name))
        logger.info(
            "%s cluster: scheduler %s, %d workers, dashboard %s", settings.kind,
            _shown(client.scheduler.address), len(client.nthreads()), _shown(client.dashboard_link or "none"),
        )  # fmt: skip
        yield client


def _await_workers(client: Any, settings: Cluster) -> None:  # noqa: ANN401  (distributed ships no types)
    # Queues and autoscalers bring workers one by one: work starts with the first.
    needed = settings.workers if settings.kind in {"local", "address"} and settings.workers else 1
    try:
        client.wait_for_workers(needed, timeout=settings.timeout)
    except TimeoutError as error:
        there = len(client.nthreads())
        raise ClusterError(
            f"{there} of {needed} workers after {settings.timeout:g} s ({settings.kind} cluster, scheduler "
            f"{_shown(client.scheduler.address)}); {_WHERE_TO_LOOK[settings.kind]}, or wait longer with "
            "cluster.timeout"
        ) from error


_WHERE_TO_LOOK: Final[Mapping[str, str]] = {
    "local": "look for what ends processes on this machine, such as too little memory",
    "address": "start workers, or ask for fewer with cluster.workers",
    "gateway": "look at the limits of the hub and at cluster.gateway.options",
    "kubernetes": "look at `kubectl get pods` and `kubectl describe pod` for what the workers wait for",
    "slurm": "look at `squeue --me` and the output of the jobs (cluster.slurm.logs) for what they wait for",
}


@contextmanager
def _address(settings: Cluster) -> Iterator[Any]:
    from distributed import Client  # noqa: PLC0415  (slow to import)

    assert settings.address is not None  # noqa: S101  (validated)
    try:
        client = Client(settings.address, timeout=min(settings.timeout, 30))
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise ClusterError(
            f"no dask scheduler answers at {_shown(settings.address)}: {_told(error)}; start one with "
            "`dask scheduler`, or correct cluster.address (certificates for tls:// are set in dask's "
            "configuration, distributed.comm.tls)"
        ) from error
    with client:
        yield client


@contextmanager
def _local(settings: Cluster) -> Iterator[Any]:
    from distributed import LocalCluster  # noqa: PLC0415  (slow to import)

    workers, memory = local_size(settings)
    environment = worker_environment(settings)
    # Settings of this process overrule the environment of processes that it starts.
    profile = environment[_PROFILE].lower() in {"true", "1"}

    def start() -> Any:  # noqa: ANN401
        return LocalCluster(
            n_workers=workers if settings.adaptive is None else settings.adaptive.minimum,
            threads_per_worker=settings.threads or 1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=settings.dashboard or _NO_DASHBOARD,
            scheduler_kwargs={"dashboard": bool(settings.dashboard)},
            memory_limit=memory,
            silence_logs=logging.ERROR,
            env=environment,
            config={"distributed.worker.profile.enabled": profile, **_seldom(environment)},
        )

    with _calm(environment), _started(start, settings, processes=True) as client:
        yield client


@contextmanager
def _calm(environment: Mapping[str, str]) -> Iterator[None]:
    """Have dask look at itself seldom in this process, too, and workers keep memory."""
    import dask  # noqa: PLC0415  (slow to import)

    # The C library reads these when a process starts: what a nanny hands to its worker comes too late.
    early = dask.config.get(_EARLY, {}) | {name: environment[name] for name in KEEP_MEMORY}
    with dask.config.set({**_seldom(environment), _EARLY: early}):
        yield


def _seldom(environment: Mapping[str, str]) -> dict[str, str | int]:
    found = {
        name: environment[variable]
        for name, (variable, _) in _LOOKS.items()
        if variable not in os.environ and variable in environment
    }
    # As dask reads them from the environment.
    return {name: int(value) if value.isdecimal() else value for name, value in found.items()}


@contextmanager
def _gateway(settings: Cluster) -> Iterator[Any]:
    module = import_extra("dask_gateway", "gateway")
    given = settings.section
    assert isinstance(given, Gateway)  # noqa: S101  (the kind says so)
    try:
        # Closed when it is collected, and not before: see _KEPT.
        gateway = module.Gateway(address=given.address, proxy_address=given.proxy_address, auth=given.auth)
        _check_options(given.options, sorted(gateway.cluster_options()))
    except LstzoomError:
        raise
    except Exception as error:  # aiohttp's, the gateway's, and what comes of a wrong address
        where = _shown(given.address or "the address of dask's settings")
        raise ClusterError(
            f"the gateway at {where} cannot be used: {_told(error)}; check cluster.gateway.address and .auth"
        ) from error

    def start() -> Any:  # noqa: ANN401
        if given.cluster is not None:
            cluster = gateway.connect(given.cluster, shutdown_on_close=False)
        else:
            cluster = gateway.new_cluster(shutdown_on_close=True, **given.options)
        _KEPT.append(cluster)
        return cluster

    with _started(start, settings, running=given.cluster is not None) as client:
        yield client


_KEPT: Final[list[Any]] = []
"""Clusters of gateways: dask-gateway 2026.3 complains when one that was closed is collected."""


def _check_options(given: Mapping[str, Any], known: list[str]) -> None:
    unknown = [name for name in given if name not in known]
    if unknown:
        there = f"there are {', '.join(known)}" if known else "it has none"
        raise ClusterError(f"this gateway has no option {unknown[0]!r} (cluster.gateway.options); {there}")


@contextmanager
def _kubernetes(settings: Cluster) -> Iterator[Any]:
    module = import_extra("dask_kubernetes.operator", "kubernetes")
    given = settings.section
    assert isinstance(given, Kubernetes)  # noqa: S101  (the kind says so)

    def start() -> Any:  # noqa: ANN401
        if given.cluster is not None:
            return module.KubeCluster.from_name(
                given.cluster, namespace=given.namespace, shutdown_on_close=False, quiet=True
            )
        return module.KubeCluster(
            namespace=given.namespace,
            custom_cluster_spec=kubernetes_manifest(settings),
            create_mode=module.kubecluster.kubecluster.CreateMode.CREATE_ONLY,
            resource_timeout=int(settings.timeout),
            shutdown_on_close=True,
            quiet=True,
        )

    with _started(start, settings, running=given.cluster is not None) as client:
        yield client


def kubernetes_manifest(settings: Cluster) -> dict[str, Any]:
    """Write the DaskCluster that kind kubernetes asks the operator for.

    Parameters
    ----------
    settings
        Of kind kubernetes.

    Returns
    -------
    dict
        The resource, as in YAML.

    Raises
    ------
    ClusterError
        If neither an image nor a file is named, or the file is no DaskCluster.
    MissingExtraError
        If dask-kubernetes is not installed.
    """
    given = settings.section
    assert isinstance(given, Kubernetes)  # noqa: S101  (the kind says so)
    if given.manifest is not None:
        return _read_manifest(Path(given.manifest))
    if given.image is None:
        raise ClusterError(
            "kind: kubernetes needs cluster.kubernetes.image, an image with the lstzoom of this process "
            "(cluster/Dockerfile builds one), or cluster.kubernetes.manifest"
        )
    make = import_extra("dask_kubernetes.operator", "kubernetes").make_cluster_spec
    threads, memory = settings.threads or 1, settings.worker_bytes or _MEMORY_IN_JOBS
    resources = {
        "requests": {"cpu": str(threads), "memory": str(memory)},
        "limits": {"memory": str(memory)},
    }
    command = ["dask", "worker", "--nthreads", str(threads), "--memory-limit", str(memory)]
    made: dict[str, Any] = make(
        name=given.name,
        image=given.image,
        n_workers=settings.adaptive.minimum if settings.adaptive is not None else settings.workers,
        resources=resources,
        env=worker_environment(settings),
        worker_command=command,
        idle_timeout=given.idle_timeout,
    )
    # dask-kubernetes 2026.3 still writes the command dask-scheduler, which dask no longer has.
    container = made["spec"]["scheduler"]["spec"]["containers"][0]
    container["args"] = ["dask", "scheduler", *container["args"][1:]]
    for part in ("scheduler", "worker"):
        pod = made["spec"][part]["spec"]
        if given.service_account is not None:
            pod["serviceAccountName"] = given.service_account
        if given.secret is not None:
            pod["containers"][0]["envFrom"] = [{"secretRef": {"name": given.secret}}]
    return made


def _read_manifest(path: Path) -> dict[str, Any]:
    import yaml  # noqa: PLC0415  (only needed here)

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ClusterError(f"the manifest {str(path)!r} cannot be read: {error}") from error
    if not isinstance(found, dict) or found.get("kind") != "DaskCluster":
        raise ClusterError(
            f"{str(path)!r} is no DaskCluster: one YAML document with kind: DaskCluster is needed"
        )
    return found


@contextmanager
def _slurm(settings: Cluster) -> Iterator[Any]:
    module = import_extra("dask_jobqueue", "slurm")
    given = settings.section
    assert isinstance(given, Slurm)  # noqa: S101  (the kind says so)

    with ExitStack() as stack:
        security = stack.enter_context(_certificates(Path(given.logs or Path.home()))) if given.tls else None

        def start() -> Any:  # noqa: ANN401
            cluster = module.SLURMCluster(**slurm_arguments(settings), security=security)
            try:
                _check_submission(cluster.job_script())
            except BaseException:
                cluster.close()
                raise
            return cluster

        yield stack.enter_context(_started(start, settings, processes=True))


@contextmanager
def _certificates(parent: Path) -> Iterator[Any]:
    """Make certificates for this cluster alone, in a folder that the nodes see and only this user reads."""
    from distributed.security import Security  # noqa: PLC0415  (slow to import)

    import_extra("cryptography", "slurm")
    made = Security.temporary()
    parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".lstzoom-tls-", dir=parent.absolute()) as folder:
        names = ["tls_ca_file", *(f"tls_{who}_{what}" for who in _ROLES for what in ("key", "cert"))]
        for name in names:
            path = Path(folder, f"{name}.pem")
            path.touch(mode=0o600)
            path.write_text(getattr(made, name))
        yield Security(require_encryption=True, **{name: str(Path(folder, f"{name}.pem")) for name in names})


_ROLES: Final = ("scheduler", "worker", "client")


def _check_submission(script: str) -> None:
    """Ask SLURM whether it would take the job; otherwise its reason would be lost in a log.

    Parameters
    ----------
    script
        As it is going to be submitted.

    Raises
    ------
    ClusterError
        With SLURM's reason.
    """
    try:
        asked = subprocess.run(
            ["sbatch", "--test-only"],  # noqa: S607  (where SLURM is installed is the site's matter)
            input=script, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise ClusterError(
            "there is no sbatch here; kind: slurm runs where jobs can be submitted, such as a login node"
        ) from error
    if asked.returncode != 0:
        raise ClusterError(
            f"SLURM refuses the job: {asked.stderr.strip()}; check the settings under cluster.slurm"
        )


_MEMORY_IN_JOBS: Final = 4_000_000_000


def slurm_arguments(settings: Cluster) -> dict[str, Any]:
    """Write the arguments of ``dask_jobqueue.SLURMCluster``.

    Parameters
    ----------
    settings
        Of kind slurm.

    Returns
    -------
    dict
        What is None comes from dask's own settings (``jobqueue.slurm``), which a centre may provide.
    """
    import dask  # noqa: PLC0415  (slow to import)

    given = settings.section
    assert isinstance(given, Slurm)  # noqa: S101  (the kind says so)
    threads, memory = settings.threads or 1, settings.worker_bytes or _MEMORY_IN_JOBS
    exported = [f"export {key}={shlex.quote(value)}" for key, value in worker_environment(settings).items()]
    prologue = (
        dask.config.get("jobqueue.slurm.job-script-prologue", [])
        if given.prologue is None
        else given.prologue
    )
    return {
        "queue": given.partition,
        "account": given.account,
        "walltime": given.walltime,
        "cores": threads * given.processes,
        "processes": given.processes,
        "memory": f"{memory * given.processes} B",
        "interface": given.interface,
        "local_directory": given.scratch,
        "log_directory": given.logs,
        "python": given.python,
        "job_name": "lstzoom",
        "job_script_prologue": [*exported, *prologue],
        "job_extra_directives": None if given.directives is None else [*given.directives],
        "worker_extra_args": _lifetime(given.walltime),
        "scheduler_options": {"dashboard_address": settings.dashboard or _NO_DASHBOARD},
    }


def _lifetime(walltime: str) -> list[str]:
    """Have workers leave before SLURM would kill them in the middle of a task."""
    days, hours, minutes, seconds = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", walltime).groups("0")  # type: ignore[union-attr]  # validated
    whole = ((int(days) * 24 + int(hours)) * 60 + int(minutes)) * 60 + int(seconds)
    # Jobs that start together should not leave together.
    left, apart = min(300, whole // 4), min(120, whole // 8)
    return ["--lifetime", f"{whole - left - apart}s", "--lifetime-stagger", f"{apart}s"]


def worker_environment(settings: Cluster) -> dict[str, str]:
    """Environment variables of workers that are started here: what suits blocks, and what a job says."""
    ours = _WORKER_ENV | {"GDAL_CACHEMAX": GDAL_CACHE_MB}
    # What is set here already was set on purpose.
    return {name: os.environ.get(name, value) for name, value in ours.items()} | settings.environment


@contextmanager
def _started(
    start: Callable[[], Any], settings: Cluster, *, processes: bool = False, running: bool = False
) -> Iterator[Any]:
    """Start a cluster, size it and give its client.

    Parameters
    ----------
    start
        Gives the cluster.
    settings
        Where it runs.
    processes
        It starts processes here, which Ctrl-C is to spare.
    running
        It was there before: its size stays unless another one is asked for.
    """
    from distributed import Client  # noqa: PLC0415  (slow to import)

    with ExitStack() as stack:
        try:
            with _interrupts_held() if processes else nullcontext():
                cluster = stack.enter_context(start())
                _resize(cluster, settings, running=running)
                client = stack.enter_context(Client(cluster, timeout=settings.timeout))
        except LstzoomError:
            raise
        except Exception as error:  # each kind's client raises its own
            raise ClusterError(
                f"the {settings.kind} cluster could not be started: {_told(error)}; "
                f"{_WHERE_TO_LOOK[settings.kind]}"
            ) from error
        yield client


def _resize(cluster: Any, settings: Cluster, *, running: bool) -> None:  # noqa: ANN401
    if settings.adaptive is not None:
        cluster.adapt(minimum=settings.adaptive.minimum, maximum=settings.adaptive.maximum)
    elif settings.kind == "slurm":
        # A job ends with its time limit: as many again are asked for, which scale() would not do.
        cluster.adapt(minimum=settings.workers, maximum=settings.workers)
    elif (
        settings.kind != "local" and settings.workers is not None and (running or settings.kind == "gateway")
    ):
        cluster.scale(settings.workers)


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _quietly(function: Callable[[], Any]) -> None:
    """Tidy up on a cluster that may be gone by then."""
    try:
        function()
    except Exception as error:  # noqa: BLE001  (whatever is gone, there is nothing left to tidy)
        logger.debug("the cluster was gone before it was tidied up: %s", error)


def _shown(address: str) -> str:
    """Address without what may be secret: name, password and query."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


_ADAPTERS: Final[Mapping[Kind, Callable[[Cluster], AbstractContextManager[Any]]]] = {
    "local": _local,
    "address": _address,
    "gateway": _gateway,
    "kubernetes": _kubernetes,
    "slurm": _slurm,
}


@contextmanager
def local_cluster(workers: int, memory: float | None = None) -> Iterator[Any]:
    """Start processes of this machine with one thread each and give their client.

    Parameters
    ----------
    workers
        Processes.
    memory
        Bytes that each may take; by default its share of the machine.
    """
    settings = Cluster(workers=workers, memory=None if memory is None else f"{int(memory)} B", dashboard="")
    with connect(settings, check=False) as client:
        yield client


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back while threads and processes are started, which then never see it.

    A terminal interrupts the whole group of processes. Workers would each tell where they were; it is
    for this process to end them. The thread that starts workers, and starts them again, inherits what
    is blocked, and so do the workers.
    """
    # Started later, it would leave the signal unblocked for all that follow.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

"""What an installation has, and what it lacks: for whoever asks why something does not run.

Nothing is changed, and no secret is told: of credentials only whether there are any.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import lstzoom

Status = Literal["ok", "note", "problem"]

_PACKAGES: Final = (
    "numpy", "numba", "scipy", "xarray", "dask", "distributed", "zarr", "rasterio", "odc-geo", "odc-stac",
    "pystac-client", "pydantic",
)  # fmt: skip
_EXTRAS: Final[Mapping[str, tuple[str, str]]] = {
    "report": ("bokeh", "reports and pictures"),
    "s3": ("s3fs", "listing and writing in S3"),
    "tables": ("geopandas", "GeoParquet and statistics of polygons"),
    "vector": ("pyogrio", "areas in other files than GeoJSON"),
    "gateway": ("dask-gateway", "clusters of a hub"),
    "kubernetes": ("dask-kubernetes", "clusters on Kubernetes"),
    "slurm": ("dask-jobqueue", "clusters on SLURM"),
    "icechunk": ("icechunk", "transactional Zarr stores"),
    "serve": ("titiler-core", "map tiles"),
}
_DRIVERS: Final = ("GTiff", "COG", "JP2OpenJPEG", "VRT")
_CREDENTIALS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "AWS": (
        ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        ("~/.aws/credentials", "~/.aws/config"),
    ),
    "Google Cloud": (
        ("GOOGLE_APPLICATION_CREDENTIALS",),
        ("~/.config/gcloud/application_default_credentials.json",),
    ),
    "Azure": (("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCOUNT"), ()),
    "Planetary Computer": (("PC_SDK_SUBSCRIPTION_KEY",), ("~/.planetarycomputer/settings.env",)),
    "NASA Earthdata": (("EARTHDATA_TOKEN", "EARTHDATA_USERNAME"), ("~/.netrc",)),
}
_LEAST_MEMORY: Final = 2 << 30
_LEAST_DISK: Final = 1 << 30
_PATIENCE: Final = 3.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    topic, name
        What it belongs to, and what it is.
    status
        ``ok``; ``note`` for what may be meant so; ``problem`` for what keeps lstzoom from working.
    told
        What was found.
    remedy
        What to do; empty if nothing.
    """

    topic: str
    name: str
    status: Status
    told: str
    remedy: str = ""

    def to_dict(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)


def examine(scheduler: str | None = None) -> list[Check]:
    """Look at everything.

    Parameters
    ----------
    scheduler
        Address of a dask scheduler, such as ``tcp://host:8786``; by default that of the environment.

    Returns
    -------
    list of Check
        No check raises: what fails is told as a problem.
    """
    parts: Mapping[str, Callable[[], list[Check]]] = {
        "versions": _versions,
        "extras": _extras,
        "reading": _gdal,
        "machine": _machine,
        "kernels": _kernels,
        "cluster": lambda: _cluster(scheduler),
        "credentials": _credentials,
    }
    found = []
    for topic, look in parts.items():
        try:
            found += look()
        except Exception as error:  # noqa: BLE001  (a broken installation breaks in any way)
            told = f"could not be examined: {type(error).__name__}: {error}"
            found.append(Check(topic, topic, "problem", told, "install lstzoom anew: make setup"))
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _versions() -> list[Check]:
    python = platform.python_version()
    old = sys.version_info < (3, 11)
    checks = [
        Check("versions", "lstzoom", "ok", f"{lstzoom.__version__} in {Path(lstzoom.__file__).parent}"),
        Check(
            "versions", "python", "problem" if old else "ok", f"{python} ({sys.executable})",
            "use Python 3.11 or newer" if old else "",
        ),
    ]  # fmt: skip
    for name in _PACKAGES:
        version = _version(name)
        remedy = "" if version else "pip install -c constraints.txt lstzoom"
        checks.append(
            Check("versions", name, "ok" if version else "problem", version or "not installed", remedy)
        )
    return checks


def _extras() -> list[Check]:
    checks = []
    for extra, (package, purpose) in _EXTRAS.items():
        version = _version(package)
        told = f"{package} {version}" if version else f"not installed ({purpose})"
        remedy = "" if version else f'if you need it: pip install "lstzoom[{extra}]"'
        checks.append(Check("extras", extra, "ok" if version else "note", told, remedy))
    return checks


def _gdal() -> list[Check]:
    import rasterio
    from pyproj import Transformer
    from rasterio.drivers import raster_driver_extensions

    checks = [
        Check("reading", "GDAL", "ok", f"{rasterio.__gdal_version__} in rasterio {rasterio.__version__}")
    ]
    with rasterio.Env() as env:
        known = set(env.drivers()) | set(raster_driver_extensions().values())
    for driver in _DRIVERS:
        there = driver in known
        needed = driver in ("GTiff", "COG")
        checks.append(
            Check(
                "reading", f"driver {driver}", "ok" if there else "problem" if needed else "note",
                "there" if there else "absent",
                "" if there else "use the wheels of rasterio, which bring it: pip install rasterio",
            )
        )  # fmt: skip
    east, north = Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True).transform(9.0, 0.0)
    exact = abs(east - 500_000) < 0.01 and abs(north) < 0.01
    other = os.environ.get("PROJ_DATA") or os.environ.get("PROJ_LIB")
    checks.append(
        Check(
            "reading", "projections", "ok" if exact else "problem",
            "transform as they should" if exact else "give wrong coordinates",
            "" if exact else f"unset PROJ_DATA and PROJ_LIB ({other}), which name data of another PROJ",
        )
    )  # fmt: skip
    return checks


def _machine() -> list[Check]:
    from distributed.system import MEMORY_LIMIT

    usable = len(os.sched_getaffinity(0))
    quota = _cpu_quota()
    limited = "" if quota is None else f", of which a control group allows {quota:g}"
    memory, disk = int(MEMORY_LIMIT), shutil.disk_usage(tempfile.gettempdir()).free
    gib = float(1 << 30)
    return [
        Check("machine", "system", "ok", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        Check("machine", "processors", "ok", f"{usable} usable of {os.cpu_count()}{limited}"),
        Check(
            "machine", "memory", "ok" if memory >= _LEAST_MEMORY else "note",
            f"{memory / gib:.1f} GiB within the limits of control groups and ulimit",
            "" if memory >= _LEAST_MEMORY else "choose small blocks: lstzoom sharpen --memory 1GiB",
        ),
        Check(
            "machine", "temporary files", "ok" if disk >= _LEAST_DISK else "note",
            f"{disk / gib:.1f} GiB free in {tempfile.gettempdir()}",
            "" if disk >= _LEAST_DISK else "name a folder with more room: export TMPDIR=/path",
        ),
    ]  # fmt: skip


def _cpu_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Processors that the control group of this process may use at a time; None without a limit."""
    try:
        quota, period = (root / "cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else float(quota) / float(period)
    except (OSError, ValueError):
        pass
    try:
        quota, period = (
            (root / "cpu" / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period")
        )
        return float(quota) / float(period) if float(quota) > 0 else None
    except (OSError, ValueError):
        return None


def _kernels() -> list[Check]:
    from lstzoom.kernels.compile import folder, places

    there = next((place for place in places() if any(place.glob("*.nbi"))), None)
    told = f"in {there}" if there else f"none in {folder()}"
    return [
        Check(
            "kernels", "compiled", "ok" if there else "note", told,
            "" if there else "the first run compiles them, which takes a minute; ahead of it: lstzoom warm",
        )
    ]  # fmt: skip


def _cluster(scheduler: str | None) -> list[Check]:
    address = scheduler or os.environ.get("DASK_SCHEDULER_ADDRESS")
    gateway = os.environ.get("DASK_GATEWAY__ADDRESS")
    checks = []
    if address:
        checks.append(_reach_scheduler(address))
    if gateway:
        checks.append(_reach("gateway", gateway, "ask who runs the hub for the address of its gateway"))
    if not checks:
        told = "none named: a local one is used"
        checks.append(Check("cluster", "scheduler", "ok", told))
    return checks


def _reach_scheduler(address: str) -> Check:
    """Connect as a client does, after a look whether anything answers: dask itself waits long."""
    plain = _reach("scheduler", address, "check the address, and that the scheduler runs: dask scheduler")
    if plain.status != "ok":
        return plain
    from distributed import Client

    try:
        with Client(address, timeout=_PATIENCE, set_as_default=False) as client:
            info = client.scheduler_info()
            client.get_versions(check=True)
    except (OSError, TimeoutError, ValueError) as error:
        told = f"{_bare(address)} answers, but not as a scheduler of these versions: {error}"
        return Check("cluster", "scheduler", "problem", told, "use the same environment on both sides")
    threads = sum(worker["nthreads"] for worker in info["workers"].values())
    told = f"{_bare(address)}: {len(info['workers'])} workers with {threads} threads"
    return Check(
        "cluster", "scheduler", "ok" if threads else "note", told, "" if threads else "start workers"
    )


def _reach(name: str, address: str, remedy: str) -> Check:
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 8786)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=_PATIENCE):
            return Check("cluster", name, "ok", f"{_bare(address)} answers")
    except OSError as error:
        return Check("cluster", name, "problem", f"{_bare(address)} does not answer: {error}", remedy)


def _bare(address: str) -> str:
    """Address without user, password and query, which are nobody's business."""
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}"


def _credentials() -> list[Check]:
    checks = []
    for name, (variables, files) in _CREDENTIALS.items():
        seen = [f"${variable}" for variable in variables if os.environ.get(variable)]
        seen += [path for path in files if Path(path).expanduser().is_file()]
        told = f"present ({', '.join(seen)})" if seen else "none"
        checks.append(Check("credentials", name, "ok", told))
    return checks


def summary(checks: list[Check]) -> dict[str, Any]:
    """Sum up for JSON: whether all is well, and every check."""
    return {
        "lstzoom": lstzoom.__version__,
        "ok": not any(one.status == "problem" for one in checks),
        "checks": [one.to_dict() for one in checks],
    }

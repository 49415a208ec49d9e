"""Whether the workers of a cluster compute with what the client computes with.

A worker with another release of a library gives other bits, or none, after an hour of work. So versions are
compared before work starts, and again on every worker that joins later.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from distributed import Status, WorkerPlugin

from lstzoom.errors import ClusterError

_PACKAGES: Final = ("lstzoom", "numpy", "scikit-learn", "numba", "rasterio")
_SHOWN: Final = 5
_UP: Final = 2.0
"""Seconds until a worker and its nanny have certainly met."""


@cache
def code_digest() -> str:
    """Digest of the text of this package: the same for the same code, wherever it is installed.

    Returns
    -------
    str
        12 hexadecimal digits over names and contents of the package's modules.
    """
    root = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def own_versions() -> dict[str, str]:
    """Look up what results depend on, in this process.

    Returns
    -------
    dict
        Version of Python (major and minor), of lstzoom with the digest of its code, numpy, scikit-learn,
        numba, rasterio and GDAL.
    """
    import rasterio  # noqa: PLC0415  (slow to import)

    import lstzoom  # noqa: PLC0415  (would close a cycle)

    found = {name: _installed(name) for name in _PACKAGES if name != "lstzoom"}
    return {
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "lstzoom": f"{lstzoom.__version__} (code {code_digest()})",
        **found,
        "GDAL": rasterio.__gdal_version__,
    }


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def check_versions(client: Any) -> dict[str, str]:  # noqa: ANN401  (distributed ships no types)
    """Make sure that every worker computes with the versions of this process.

    The scheduler only passes work on: it has to agree on what distributed itself compares.

    Parameters
    ----------
    client
        ``distributed.Client`` with at least one worker.

    Returns
    -------
    dict
        The versions on which all agree.

    Raises
    ------
    ClusterError
        If a worker differs, naming it, what it has and what this process has; or if there is no worker.
    """
    own = own_versions()
    found = _first_look(client)
    if not found:
        raise ClusterError(
            "there is no worker whose versions could be compared; start workers, or give the cluster "
            "more time with cluster.timeout"
        )
    # Code is not sent to a worker before it is known to have this Python and this package.
    differing = _differing({key: own[key] for key in ("python", *_PACKAGES[1:])}, found)
    if not differing and not (missing := [one for one, has in found.items() if "lstzoom" not in has]):
        differing = _differing(own, _second_look(client))
    elif not differing:
        differing = {one: [f"lstzoom is not installed ({own['lstzoom']} here)"] for one in missing}
    if differing:
        raise ClusterError(_message(differing, len(found)))
    return own


def _first_look(client: Any) -> dict[str, dict[str, str]]:  # noqa: ANN401
    """Ask workers with distributed's own question, which any version answers."""
    replies = client.get_versions(packages=list(_PACKAGES))["workers"]
    return {worker: _packages(reply["packages"]) for worker, reply in replies.items()}


def _packages(reply: Mapping[str, str | None]) -> dict[str, str]:
    has = {name: value for name, value in reply.items() if value is not None}
    has["python"] = ".".join(has["python"].split(".")[:2])
    return has


def _second_look(client: Any) -> dict[str, dict[str, str]]:  # noqa: ANN401
    try:
        return dict(client.run(own_versions))
    except (ImportError, AttributeError) as error:
        raise ClusterError(
            f"workers have another lstzoom than this process, one without {own_versions.__module__}: "
            f"{error}; install the same on both"
        ) from error


def _differing(own: Mapping[str, str], found: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """For each worker that differs, what it has beside what is here."""
    told = {
        worker: [
            f"{name} {has.get(name, 'is not installed')} ({value} here)"
            for name, value in own.items()
            if has.get(name) != value
        ]
        for worker, has in found.items()
    }
    return {worker: lines for worker, lines in told.items() if lines}


def _message(differing: Mapping[str, list[str]], workers: int) -> str:
    lines = [f"  {worker}: {', '.join(what)}" for worker, what in sorted(differing.items())]
    more = [f"  and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    head = f"{len(differing)} of {workers} workers have other versions than this process, so that results "
    tail = "Install the same on both: one image, or pip install -c constraints.txt in one environment."
    return "\n".join([head + "would depend on who computes:", *lines[:_SHOWN], *more, tail])


class SameVersions(WorkerPlugin):
    """Has a worker that joins compare itself, and leave if it differs.

    Parameters
    ----------
    expected
        What `own_versions` gave in the client.
    """

    name = "lstzoom-versions"

    def __init__(self, expected: Mapping[str, str]) -> None:
        self.expected = dict(expected)

    def setup(self, worker: Any) -> None:  # noqa: ANN401
        """Compare, and leave if anything differs.

        Raises
        ------
        ClusterError
            If this worker has other versions.
        """
        differing = _differing(self.expected, {worker.address: own_versions()})
        if differing:
            # dask logs that a plugin failed and lets the worker work. So it takes no task from now on, and
            # leaves with its nanny, which hears nothing before the worker is up.
            worker.status = Status.closing_gracefully
            worker.loop.call_later(_UP, worker.close, reason="other versions than the client")
            raise ClusterError(_message(differing, 1))

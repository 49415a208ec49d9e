"""Cubes in Icechunk: nothing is seen before it is committed, one commit for a batch (Python 3.12 or newer).

Every function of `lstzoom.cube` takes the store of a session instead of an address. What is added here is
how a repository is opened, and how workers in other processes write into one commit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lstzoom.cube.pyramid import Apply
from lstzoom.cube.store import Options
from lstzoom.errors import InputError, import_extra

if TYPE_CHECKING:
    from zarr.abc.store import Store

BRANCH: Final = "main"
_JOBS: Final = "lstzoom:jobs"


def open_repository(url: str | Path, storage_options: Options = None) -> Any:  # noqa: ANN401  (icechunk.Repository)
    """Open an Icechunk repository, or make one.

    Parameters
    ----------
    url
        Folder, or ``s3://bucket/prefix``. For other stores open the repository with icechunk's own functions.
    storage_options
        For S3, as s3fs takes them: ``key``, ``secret``, ``token``, ``anon``, ``endpoint_url``,
        ``client_kwargs`` with ``region_name``. Without, what the environment says.

    Returns
    -------
    icechunk.Repository

    Raises
    ------
    MissingExtraError
        If icechunk is not installed, or this Python is too old for it.
    InputError
        If the kind of address or an option is not known, or the repository cannot be opened.

    Notes
    -----
    In a folder only one process may commit at a time; an object store orders them itself.
    """
    icechunk = import_extra("icechunk", "icechunk")
    text = str(url).removeprefix("file://")
    if "://" not in text:
        if storage_options:
            raise InputError(f"{text!r} is a folder, for which there are no storage options; leave them out")
        storage = icechunk.local_filesystem_storage(text)
    elif text.startswith("s3://"):
        bucket, _, prefix = text.removeprefix("s3://").partition("/")
        storage = icechunk.s3_storage(bucket=bucket, prefix=prefix or None, **_s3(storage_options or {}))
    else:
        raise InputError(f"{text!r} is neither a folder nor s3://; open the repository with icechunk itself")
    try:
        return icechunk.Repository.open_or_create(storage)
    except icechunk.IcechunkError as error:
        raise InputError(f"{text!r} cannot be opened as an Icechunk repository: {error}") from error


def _s3(options: Mapping[str, Any]) -> dict[str, Any]:
    known = {"key", "secret", "token", "anon", "endpoint_url", "client_kwargs"}
    if unknown := sorted(set(options) - known):
        raise InputError(f"storage options {unknown} are not known here; known are {sorted(known)}")
    more = dict(options.get("client_kwargs", {}))
    endpoint = options.get("endpoint_url") or more.get("endpoint_url") or os.environ.get("AWS_ENDPOINT_URL")
    region = more.get("region_name") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    found: dict[str, Any] = {"region": region}
    if endpoint:
        # What is not Amazon's own rarely has a host name for every bucket.
        found |= {
            "endpoint_url": endpoint,
            "allow_http": endpoint.startswith("http:"),
            "force_path_style": True,
        }
    if options.get("anon"):
        return found | {"anonymous": True}
    if "key" in options:
        names = {"key": "access_key_id", "secret": "secret_access_key", "token": "session_token"}
        return found | {name: options[key] for key, name in names.items() if key in options}
    return found | {"from_env": True}


@dataclass(frozen=True, slots=True)
class _InFork:
    """Does a job in a session of its own, which travels to the worker and back."""

    fork: Any
    write: Callable[[Store, Any], Any]

    def __call__(self, job: Any) -> Any:  # noqa: ANN401  (whatever the caller's jobs are)
        self.write(self.fork.store, job)
        return self.fork


def commit_batch(
    repository: Any,  # noqa: ANN401  (icechunk.Repository)
    write: Callable[[Store, Any], Any],
    jobs: Sequence[Any],
    *,
    message: str,
    names: Iterable[str] = (),
    apply: Apply = map,
) -> str:
    """Do a batch of jobs and commit what they wrote at once: all of it, or after an error nothing.

    Parameters
    ----------
    repository
        As `open_repository` returns it, with a cube in it.
    write
        Called with a store and a job; writes with `lstzoom.cube.write_region` to that store. No two jobs of a
        batch may write the same shard of the same date.
    jobs
        Can be pickled if `apply` calls in other processes.
    message
        Of the commit.
    names
        Of the jobs, kept with the commit; `committed` lists them.
    apply
        Does the jobs, see `lstzoom.cube.build_pyramid`.

    Returns
    -------
    str
        Id of the snapshot.

    Raises
    ------
    InputError
        If there are no jobs.
    """
    icechunk = import_extra("icechunk", "icechunk")
    if not jobs:
        raise InputError("a batch without jobs has nothing to commit; give at least one")
    session = repository.writable_session(BRANCH)
    forks = list(apply(_InFork(session.fork(), write), jobs))
    # In this process all jobs share one fork; from others each comes back as a copy.
    session.merge(*{id(fork): fork for fork in forks}.values())
    # A commit of somebody else's shards meanwhile is no conflict.
    snapshot: str = session.commit(
        message, metadata={_JOBS: list(names)}, rebase_with=icechunk.ConflictDetector(), allow_empty=True
    )
    return snapshot


def committed(repository: Any) -> set[str]:  # noqa: ANN401  (icechunk.Repository)
    """Names of the jobs whose results are in the repository: what a run that starts again may leave out."""
    history = repository.ancestry(branch=BRANCH)
    return {name for snapshot in history for name in (snapshot.metadata or {}).get(_JOBS, ())}

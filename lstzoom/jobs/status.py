"""What a store says of its job: done, failed, left, and who is at it. Nothing is searched or changed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lstzoom.errors import JobError
from lstzoom.jobs import lease
from lstzoom.jobs.frozen import read_frozen
from lstzoom.jobs.ledger import Ledger
from lstzoom.jobs.records import read_summary
from lstzoom.jobs.store import store_at
from lstzoom.sources.job import Job


def status_of(job: Job, into: str | None = None) -> dict[str, Any]:
    """Say how far a job is.

    Parameters
    ----------
    job
        From `lstzoom.sources.job.read_job`.
    into
        Address of the store, in place of the job's own.

    Returns
    -------
    dict
        ``store``, ``job`` (hash), ``scenes`` (all, complete), ``tiles`` (done), ``failed`` (list), ``held``
        (who holds the store, or None), ``last`` (summary of the last run, or None) and ``incomplete`` (tiles
        that are done, by scene).

    Raises
    ------
    JobError
        If the store holds no run of a job.
    """
    store = store_at(job.outputs.folder if into is None else into)
    frozen = read_frozen(store)
    if frozen is None:
        raise JobError(f"{store.url!r} holds no run of a job; start one with `lstzoom run`")
    ledger = Ledger(store)
    complete = ledger.complete()
    incomplete = {key: len(ledger.done(key)) for key in frozen["inputs"] if key not in complete}
    return {
        "store": store.url, "job": frozen["hash"],
        "scenes": {"all": len(frozen["inputs"]), "complete": len(complete)},
        "tiles": {"done": sum(one["tiles"] for one in complete.values()) + sum(incomplete.values())},
        "incomplete": incomplete,
        "failed": [asdict(one) for one in ledger.failures()],
        "held": lease.described(store),
        "last": read_summary(store),
    }  # fmt: skip

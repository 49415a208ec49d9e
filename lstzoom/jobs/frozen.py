"""The job that a store is of: written once, compared ever after."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from lstzoom.errors import JobChangedError, JobError, StoreError
from lstzoom.jobs import identity, layout
from lstzoom.jobs.ledger import MODEL, Ledger
from lstzoom.jobs.plan import Plan
from lstzoom.jobs.records import FORMAT, Frozen, read_parsed
from lstzoom.jobs.state import Options
from lstzoom.jobs.store import Store
from lstzoom.jobs.superseded import remove_superseded

logger = logging.getLogger(__name__)

_OWN: Final = ("settings", "code")
"""What must not change, even where new inputs are welcome."""


def freeze(store: Store, plan: Plan, options: Options) -> dict[str, Any]:
    """Compare a job with the one that the store is of.

    Parameters
    ----------
    store
        Where results go.
    plan
        Of the job.
    options
        How it is run this time.

    Returns
    -------
    dict
        To be kept as ``job.json``.

    Raises
    ------
    JobChangedError
        If settings, code or inputs are others: which, and what to do.
    JobError
        If the store holds no run that could have failed.
    """
    new = described(plan)
    old = read_frozen(store)
    if old is None:
        if options.only_failed:
            raise JobError(f"{store.url!r} holds no run of a job, so nothing failed; run it first")
        if store.exists("ledger"):
            raise StoreError(
                f"{store.url!r} has results and no {layout.JOB}; write into another store with --into"
            )
        return new | {"hash": identity.hashed(new)}
    old = _with_scene_cogs(old, new)
    grows = options.since_last or options.only_failed
    lines = identity.differences(old, new, _OWN if grows else ("settings", "inputs", "code"))
    if lines:
        raise JobChangedError(_changed(store, old, new, lines))
    if old["inputs"] != new["inputs"]:
        if options.only_failed:
            # Scenes that are new are for another run.
            new["inputs"] = {key: one for key, one in new["inputs"].items() if key in old["inputs"]}
        new["inputs"] = _extended(store, plan, old["inputs"], new["inputs"])
    return new | {"hash": identity.hashed(new)}


def _with_scene_cogs(old: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Let COGs of whole scenes be asked for later: they are made of what is there."""
    outputs = old["settings"]["outputs"]
    if outputs.get("scene_cog") is False and new["settings"]["outputs"]["scene_cog"]:
        outputs["scene_cog"] = True
    return old


def described(plan: Plan) -> dict[str, Any]:
    """Describe a plan by settings, inputs and code."""
    return {
        "format": FORMAT,
        "settings": identity.settings_of(plan.job),
        "inputs": {s.key: {"lst": s.item, "vnir": list(s.vnir), "hash": s.inputs} for s in plan.scenes},
        "code": identity.code(),
    }


def read_frozen(store: Store) -> dict[str, Any] | None:
    """Read the job that a store is of; None if it is of none."""
    return read_parsed(store, layout.JOB, Frozen, "write into another store with --into")


def _changed(store: Store, old: Mapping[str, Any], new: Mapping[str, Any], lines: list[str]) -> str:
    # What `_extended` takes: more scenes, and other inputs of scenes that are not complete.
    complete = Ledger(store).complete()
    same = all(new["inputs"].get(key) == one for key, one in old["inputs"].items() if key in complete)
    only_new = same and not identity.differences(old, new, _OWN)
    remedy = (
        "take what is new, or changed before it was complete, with `lstzoom run --since last` (what failed "
        "and nothing else with `lstzoom retry --failed`), or write into another store with --into"
        if only_new
        else "write into another store with --into, or take back what was changed"
    )
    return f"{store.url!r} holds results of another job:\n{identity.shown(lines)}\n{remedy}"


def _extended(store: Store, plan: Plan, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Keep inputs of what is complete as they were, and take those of the rest as they are."""
    ledger = Ledger(store)
    complete = ledger.complete()
    # Samples are of the inputs, and of their number, that there were.
    store.remove_all("sample")
    for key in sorted(old.keys() & new.keys()):
        if key in complete or old[key] == new[key]:
            continue
        logger.warning("the inputs of %s changed before it was complete: it is made anew", key)
        _remake(ledger, key, "its inputs changed before it was complete; it is made anew")
        model = plan.scene(key).model
        sharing = plan.models[model]
        if any(scene.key in complete for scene in sharing):
            continue
        ledger.forget_model(model)
        # Tiles that are there are of the model that is forgotten, and those to come would be of another.
        for other in sharing:
            if other.key != key and ledger.done(other.key):
                _remake(ledger, other.key, f"the inputs of {key}, of the same model, changed; made anew")
    gone = remove_superseded(store, plan.only(new), old.keys() - new.keys())
    kept = {key: one for key, one in old.items() if key in complete or key not in new}
    return {**new, **{key: one for key, one in kept.items() if key not in gone}}


def _remake(ledger: Ledger, scene: str, why: str) -> None:
    ledger.forget(scene)
    # A retry that is interrupted has to know of it, too.
    ledger.fail(scene, MODEL, JobError(why), 0)

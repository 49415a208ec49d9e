"""Scenes whose place another one has taken: an overpass that was processed again, under another name.

A cube has one place for a time. Values of the newer scene replace those of the older one, so nothing may
go on to describe the older one, least of all a mosaic that would count one overpass twice.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime

from lstzoom.cube import clear_date
from lstzoom.jobs import layout
from lstzoom.jobs.ledger import Ledger
from lstzoom.jobs.places import read_places
from lstzoom.jobs.plan import Plan
from lstzoom.jobs.store import Store, told

logger = logging.getLogger(__name__)


def remove_superseded(store: Store, plan: Plan, known: Collection[str]) -> set[str]:
    """Remove the scenes whose time and grid are those of another scene of a plan.

    Parameters
    ----------
    store
        That no other run holds.
    plan
        Of the run.
    known
        Keys of the scenes that the store is of.

    Returns
    -------
    set of str
        Keys of what was removed.
    """
    ledger = Ledger(store)
    places = {key: (one.cube, one.when) for key, one in read_places(store).items()}
    for key, record in ledger.complete().items():
        places[key] = record["cube"], datetime.fromisoformat(record["datetime"])
    mine = {scene.key for scene in plan.scenes}
    taken = {(scene.cube, scene.when): scene.key for scene in plan.scenes}
    removed = set()
    for key in sorted(known):
        other = taken.get(places[key]) if key in places and key not in mine else None
        if other is None:
            continue
        logger.warning("%s has the time and the grid of %s and takes its place", other, key)
        _remove(store, ledger, plan, key, *places[key])
        removed.add(key)
    return removed


def _remove(store: Store, ledger: Ledger, plan: Plan, key: str, cube: str, when: datetime) -> None:
    # First of all what says that it is complete.
    ledger.forget(key)
    for folder in (layout.items(key), layout.cogs(key)):
        store.remove_all(folder)
    if plan.job.model.scope == "scene":
        ledger.forget_model(key)
    name = layout.cube(cube)
    if store.exists(f"{name}/zarr.json"):
        url = store.address(name)
        with told(f"cannot remove a date of the cube {url!r}"):
            clear_date(url, when)

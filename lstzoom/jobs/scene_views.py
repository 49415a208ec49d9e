"""Pictures of the scenes of a job, read from the coarser levels of its cubes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING, Final

import numpy as np

from lstzoom.cube import open_cube
from lstzoom.errors import InputError
from lstzoom.grid import coincide, grid_of
from lstzoom.jobs import layout
from lstzoom.jobs.places import Place
from lstzoom.jobs.store import Store, told
from lstzoom.report.planes import LevelsPlane
from lstzoom.report.scene import ReportScene
from lstzoom.report.views import View, choose_views

if TYPE_CHECKING:
    import xarray as xr

_MOST_SCENES: Final = 12
_PIXELS: Final = 3_000_000
"""Pixels of all pictures together, which keeps the page at some megabytes."""
_LARGEST: Final = 600
_UNLEVELLED: Final = 4e7
"""Pixels of a scene that are read to thin them out where the cube has no coarser levels yet."""


def views_of(store: Store, places: Sequence[tuple[Place, bool]]) -> list[tuple[str, ReportScene, list[View]]]:
    """Read what is shown of the scenes of a job.

    Parameters
    ----------
    store
        Of the job.
    places
        Scenes in the order of time, and whether they are complete.

    Returns
    -------
    list
        Key, scene and views of those that show anything; of many scenes some, spread over the time.

    Raises
    ------
    StoreError
        If the store cannot be read.
    """
    if len(places) > _MOST_SCENES:
        places = [places[round(k)] for k in np.linspace(0, len(places) - 1, _MOST_SCENES)]
    found = []
    for place, complete in places:
        with told(f"cannot read the cube of {place.key}"):
            scene = _opened(store, place, complete=complete)
            if scene is None:
                continue
            # Two views for each scene at most.
            largest = max(30, min(_LARGEST, int((_PIXELS / (2 * len(places))) ** 0.5)))
            views = [_named(view, scene, place) for view in choose_views(scene, largest)]
        shown = [view for view in views if np.isfinite(view.layers["fine"]).any()]
        if shown:
            found.append((place.key, scene, shown))
    return found


def _opened(store: Store, place: Place, *, complete: bool) -> ReportScene | None:
    """Open one date of a cube by its levels; None where that is not possible yet."""
    url = store.address(layout.cube(place.cube))
    opened: list[xr.Dataset] = []
    while True:
        try:
            cube = open_cube(url, level=len(opened), chunks=None)
        except InputError:
            break
        distance = np.abs(cube.time.values - np.datetime64(place.when.astimezone(UTC).replace(tzinfo=None)))
        if not distance.size or distance.min() > np.timedelta64(1, "s"):
            break
        opened.append(cube.isel(time=int(distance.argmin())))
    # Levels are made of complete scenes; of another they would show nothing.
    levels = opened if complete else opened[:1]
    rows, columns = place.grids.fine.shape
    if not levels or (len(levels) == 1 and rows * columns > _UNLEVELLED):
        return None
    if not coincide(grid_of(levels[0].lst), place.grids.fine):
        return None
    planes = {
        name: LevelsPlane(tuple(level[name] for level in levels if name in level))
        for name in ("lst", "lst_uncertainty", "qa")
        if name in levels[0]
    }
    fine = planes.pop("lst")
    return ReportScene(title=place.key, grids=place.grids, fine=fine, layers=planes)


def _named(view: View, scene: ReportScene, place: Place) -> View:
    """Name a view after its scene, and say what it starts with."""
    what = "close-up" if view.key == "close" else "overview"
    named = replace(
        view, key=f"{place.key}-{view.key}", title=f"{place.when:%Y-%m-%d %H:%M}, {what}, {place.key}"
    )
    if view.step <= scene.grids.ratio:
        return named
    # Pixels that are shown are larger than those of the input: nothing is to be seen of before and after.
    other = next((name for name in ("lst_uncertainty", "qa") if name in scene.layers), "fine")
    layers = {name: values for name, values in view.layers.items() if name != "coarse"}
    return replace(named, layers=layers, start=("fine", other))

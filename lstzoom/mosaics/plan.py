"""What a mosaic is made of: which scenes go into which tile of which time. No pixel is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import lstzoom
from lstzoom.config import MosaicConfig
from lstzoom.errors import ConfigError, GridMismatchError
from lstzoom.mosaics.scenes import Scene, in_order
from lstzoom.mosaics.target import (
    Lattice,
    Part,
    Target,
    Tile,
    as_crs,
    cover,
    parts_of,
    region_on,
    utm_of,
    zone_region,
)
from lstzoom.mosaics.tiles import Placed, feather_pixels

if TYPE_CHECKING:
    import shapely
    from odc.geo.crs import CRS

    from lstzoom.sources.area import Area

_FORMATS = {"all": "", "year": "%Y", "month": "%Y-%m", "day": "%Y-%m-%d"}


class TileTask(NamedTuple):
    """One tile of one time.

    Attributes
    ----------
    time
        Number of the time step.
    tile
        Which tile.
    scenes
        Numbers of the scenes that touch it, in order of time and name.
    """

    time: int
    tile: Tile
    scenes: tuple[int, ...]


@dataclass(frozen=True)
class MosaicPlan:
    """A mosaic before it is made.

    Attributes
    ----------
    config
        How it is made, with one CRS.
    scenes
        In order of time and name, with their places on the lattice.
    steps
        Numbers of the scenes of each time step.
    target
        Grid.
    tasks
        One for each tile of each time that scenes touch, row after row.
    """

    config: MosaicConfig
    scenes: tuple[Placed, ...]
    steps: tuple[tuple[int, ...], ...]
    target: Target
    tasks: tuple[TileTask, ...] = field(repr=False)

    @property
    def lattice(self) -> Lattice:
        """Pixels of the mosaic."""
        return self.target.lattice

    @property
    def times(self) -> tuple[datetime, ...]:
        """Time of each step: that of its last scene."""
        return tuple(self.scenes[step[-1]].scene.time for step in self.steps)

    @property
    def labels(self) -> tuple[str, ...]:
        """Name of each step, which it keeps when scenes are added: 2023, 2023-06, 2023-06-15, or all."""
        pattern = _FORMATS[self.config.period]
        return tuple(f"{when.astimezone(UTC):{pattern}}" if pattern else "all" for when in self.times)

    @property
    def scenes_per_tile(self) -> float:
        """Mean number of scenes that a tile reads."""
        return sum(len(task.scenes) for task in self.tasks) / len(self.tasks)

    def scenes_of(self, step: int) -> tuple[Scene, ...]:
        """Scenes of a time step."""
        return tuple(self.scenes[k].scene for k in self.steps[step])

    def placed(self, task: TileTask) -> tuple[Placed, ...]:
        """Scenes of a task."""
        return tuple(self.scenes[k] for k in task.scenes)

    def mark(self, task: TileTask) -> str:
        """Name a tile with what it is made of: one whose files have changed since is not done."""
        stamps = [self.scenes[k].scene.stamp for k in task.scenes]
        name = f"{self.labels[task.time]}_r{task.tile.row}_c{task.tile.column}"
        return f"{name}-{hashlib.sha256(json.dumps(stamps).encode()).hexdigest()[:12]}"

    @property
    def content(self) -> dict[str, Any]:
        """What decides about the result, for the ledger: settings, scenes, grid, code."""
        window = self.target.window
        return {
            "lstzoom": lstzoom.__version__,
            "config": self.config.model_dump(),
            "crs": str(self.lattice.crs),
            "window": [int(side) for side in window],
            "times": {label: when.isoformat() for label, when in zip(self.labels, self.times, strict=True)},
            "scenes": [
                {
                    "name": one.scene.name,
                    "time": one.scene.time.isoformat(),
                    "href": one.scene.href,
                    "place": one.scene.place,
                }
                for one in self.scenes
            ],
        }


def plan_mosaics(
    scenes: Sequence[Scene], config: MosaicConfig, area: Area | None = None
) -> tuple[MosaicPlan, ...]:
    """Plan a mosaic, or with ``crs="utm"`` one for each UTM zone that scenes have their middle in.

    Parameters
    ----------
    scenes
        In any order.
    config
        How.
    area
        Only tiles that touch it; default all that scenes touch.

    Returns
    -------
    tuple of MosaicPlan
        One for each CRS.

    Raises
    ------
    ConfigError
        If the CRS is unknown.
    GridMismatchError
        If a scene lies outside of where the CRS is defined, or none touches the area.
    InputError
        If there is no scene, or one is given twice.
    """
    ordered = in_order(scenes)
    if config.crs.strip().lower() != "utm":
        return (_plan(ordered, config, as_crs(config.crs), area, None),)
    zones = utm_of(scene.grid for scene in ordered)
    if len(zones) == 1:
        return (_plan(ordered, config, zones[0], area, None),)
    return tuple(_plan(ordered, config, zone, area, zone_region(zone)) for zone in zones)


def _plan(
    scenes: tuple[Scene, ...],
    config: MosaicConfig,
    crs: CRS,
    area: Area | None,
    zone: shapely.Geometry | None,
) -> MosaicPlan:
    lattice = Lattice(crs, config.resolution)
    _require_margin(config, lattice)
    region = zone
    if area is not None:
        asked = region_on(area, lattice)
        region = asked if zone is None else asked & zone
    parts = [_parts(scene, lattice, zone) for scene in scenes]
    kept = [k for k, found in enumerate(parts) if found]
    placed = tuple(Placed(scenes[k], parts[k]) for k in kept)
    covered = cover([one.parts for one in placed], lattice, config.tile, region)
    target = Target(lattice, config.tile, tuple(covered))
    used = sorted({number for numbers in covered.values() for number in numbers})
    renumbered = {old: new for new, old in enumerate(used)}
    placed = tuple(placed[k] for k in used)
    steps = _steps([one.scene for one in placed], config.period)
    tasks = tuple(
        TileTask(time, tile, chosen)
        for time, step in enumerate(steps)
        for tile, numbers in covered.items()
        if (chosen := tuple(new for old in numbers if (new := renumbered[old]) in step))
    )
    return MosaicPlan(
        config.model_copy(update={"crs": str(crs)}),
        placed,
        tuple(tuple(sorted(step)) for step in steps),
        target,
        tasks,
    )


def _require_margin(config: MosaicConfig, lattice: Lattice) -> None:
    """Refuse feathers for which every tile would read far more than itself."""
    width = feather_pixels(config, lattice)
    if config.rule == "mean" and width > config.tile:
        raise ConfigError(
            f"the feather of {config.feather:g} m is {width} pixels, more than a tile of {config.tile}: "
            f"every tile reads as far around itself; give at most {config.tile * lattice.pixel_metres:g} m, "
            "or larger tiles"
        )


def _parts(scene: Scene, lattice: Lattice, zone: shapely.Geometry | None) -> tuple[Part, ...]:
    """Parts of a scene; of several zones, those that touch this one."""
    if zone is None:
        return parts_of(scene.grid, lattice)
    try:
        return tuple(part for part in parts_of(scene.grid, lattice) if part.outline.intersects(zone))
    except GridMismatchError:
        # A zone on the other side of the Earth does not know the place.
        return ()


def _steps(scenes: Sequence[Scene], period: str) -> list[set[int]]:
    """Numbers of the scenes of each period that has any."""
    found: dict[str, set[int]] = {}
    for number, scene in enumerate(scenes):
        found.setdefault(scene.time.astimezone(UTC).strftime(_FORMATS[period]), set()).add(number)
    return list(found.values())


def is_grown(given: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Tell whether a plan has the scenes of another or such as took their places, and is the same otherwise.

    A place (`Scene.place`) holds one scene of a time: another name there is the same overpass, made again.
    """
    scenes = [p.get("scenes", ()) for p in (before, given)]
    old, new = (
        {(one["time"], one.get("place", ""), one["name"], one["href"]) for one in some} for some in scenes
    )
    held = {(when, place) for when, place, *_ in new if place}
    gone = {one for one in old - new if one[:2] not in held}
    return has_same_settings(given, before) and "times" in before and not gone and old != new


def has_same_settings(given: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Tell whether two plans differ in nothing but their scenes."""
    return all(given[key] == before.get(key) for key in ("lstzoom", "config", "crs"))


def difference(given: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """Say in what a plan differs from the one that a ledger was begun with."""
    told = [
        f"{key}: {before['config'].get(key)!r} before, {value!r} now"
        for key, value in given["config"].items()
        if before.get("config", {}).get(key) != value
    ]
    told += [
        f"{key}: {before.get(key)!r} before, {given[key]!r} now"
        for key in ("lstzoom", "crs", "window")
        if given[key] != before.get(key)
    ]
    names = [{(one["time"], one["name"]) for one in content.get("scenes", ())} for content in (given, before)]
    told += [f"scene {name} of {time} is new" for time, name in sorted(names[0] - names[1])[:5]]
    told += [f"scene {name} of {time} is missing" for time, name in sorted(names[1] - names[0])[:5]]
    return told or ["addresses of scenes"]

"""Where the scenes of a store lie and how they are cut into tiles: known before the first tile is done."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from affine import Affine
from odc.geo.geobox import GeoBox

from lstzoom.grid import GridPair
from lstzoom.halo import blocks
from lstzoom.jobs import layout
from lstzoom.jobs.plan import Plan, count_tiles, tile_name
from lstzoom.jobs.records import Places, read_parsed
from lstzoom.jobs.store import Store


@dataclass(frozen=True, slots=True)
class Place:
    """Where a scene lies.

    Attributes
    ----------
    key
        Of the scene.
    item, vnir
        Ids of the items of LST and of reflectance.
    when
        Time of the LST, UTC.
    cube
        Key of its cube.
    grids
        The coarse grid and its ratio.
    tile
        Side of tiles in coarse pixels.
    """

    key: str
    item: str
    vnir: tuple[str, ...]
    when: datetime
    cube: str
    grids: GridPair
    tile: int

    def tiles(self) -> Iterator[tuple[str, GeoBox]]:
        """Names of all tiles with their part of the fine grid, row by row."""
        rows, columns = self.grids.coarse.shape
        for block in blocks((rows, columns), self.tile, 0):
            name = tile_name(block.rows.start // self.tile, block.columns.start // self.tile)
            yield name, self.grids.fine[self.grids.fine_window((block.rows, block.columns))]

    @property
    def tile_count(self) -> int:
        """Number of tiles."""
        return count_tiles(self.grids.coarse, self.tile)


def describe_places(plan: Plan, store: Store, known: Container[str]) -> dict[str, Any]:
    """Describe the scenes of a plan, and those that the store knows from runs before and is of."""
    found = {key: one for key, one in _scenes(store).items() if key in known}
    for scene in plan.scenes:
        coarse = scene.arrays.grids.coarse
        found[scene.key] = {
            "item": scene.item, "vnir": list(scene.vnir), "cube": scene.cube, "tile": scene.tile,
            "datetime": scene.when.astimezone(UTC).isoformat(), "ratio": scene.arrays.grids.ratio,
            "coarse_shape": list(coarse.shape), "coarse_transform": list(coarse.affine)[:6],
            "crs": str(coarse.crs),
        }  # fmt: skip
    return {"format": 1, "scenes": found}


def read_places(store: Store) -> dict[str, Place]:
    """Read where the scenes lie, by key, in the order of time; empty for stores of older versions.

    Raises
    ------
    StoreError
        If what the store holds of it is damaged.
    """
    found = [_place(key, one) for key, one in _scenes(store).items()]
    return {one.key: one for one in sorted(found, key=lambda one: (one.when, one.key))}


def _scenes(store: Store) -> dict[str, Any]:
    remedy = "remove it, and run the job again: it is made anew"
    told = read_parsed(store, layout.PLACES, Places, remedy)
    return {} if told is None else dict(told["scenes"])


def _place(key: str, told: Mapping[str, Any]) -> Place:
    rows, columns = told["coarse_shape"]
    coarse = GeoBox((rows, columns), Affine(*told["coarse_transform"]), told["crs"])
    return Place(
        key, told["item"], tuple(told["vnir"]), datetime.fromisoformat(told["datetime"]), told["cube"],
        GridPair(coarse, told["ratio"]), told["tile"],
    )  # fmt: skip

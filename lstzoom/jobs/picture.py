"""A map of a plan: the area that was asked for, scenes and tiles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from lstzoom.errors import import_extra
from lstzoom.globe import beside
from lstzoom.jobs.plan import Plan, Scene
from lstzoom.product.fields import drawn
from lstzoom.sources.area import as_area
from lstzoom.wording import counted

_MOST_TILES: Final = 20_000
"""Tiles that are drawn; more would be black."""
_SCENE_POINTS: Final = 21
"""Along each side."""


def draw_plan(plan: Plan, path: str | Path) -> Path:
    """Draw a plan as a PNG: longitude and latitude, one colour for a date.

    Parameters
    ----------
    plan
        From `lstzoom.jobs.plan.make_plan`.
    path
        PNG to write.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    figure_module = import_extra("matplotlib.figure", "report")
    collections = import_extra("matplotlib.collections", "report")
    colormap = import_extra("matplotlib", "report").colormaps["viridis"]
    figure = figure_module.Figure(figsize=(8, 7), layout="constrained")
    axes = figure.subplots()
    scenes, tiles, area = _edges(plan)
    days = sorted({f"{scene.when:%Y-%m-%d}" for scene in plan.scenes})
    for number, day in enumerate(days):
        edges = [edge for scene, edge in scenes if f"{scene.when:%Y-%m-%d}" == day]
        colour = colormap(number / max(len(days) - 1, 1))
        label = day if len(days) <= 12 else None
        axes.add_collection(
            collections.PolyCollection(edges, facecolor=(*colour[:3], 0.15), edgecolor=colour, label=label)
        )
    axes.add_collection(collections.PolyCollection(tiles, facecolor="none", edgecolor="0.35", linewidth=0.4))
    for edge in area:
        axes.plot(*edge.T, color="tab:red", linewidth=1.2)
    axes.autoscale_view()
    axes.set_aspect(1 / max(float(np.cos(np.deg2rad(np.mean(axes.get_ylim())))), 0.05))
    axes.set(xlabel="longitude", ylabel="latitude")
    axes.set_title(
        ", ".join(
            [counted(len(plan.scenes), "scene"), counted(plan.tile_count, "tile"), counted(len(days), "date")]
        )
    )
    if len(days) <= 12:
        # Beside the map: scenes fill it.
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0, fontsize="small")
    figure.savefig(path, dpi=130, bbox_inches="tight")
    return Path(path)


def _edges(
    plan: Plan,
) -> tuple[list[tuple[Scene, NDArray[np.float64]]], list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Edges of scenes, of tiles and of the area, beside each other."""
    scenes = [drawn(scene.arrays.grids.fine, _SCENE_POINTS) for scene in plan.scenes]
    tiles: list[NDArray[np.float64]] = []
    if plan.tile_count <= _MOST_TILES:
        # Scenes of one cube have the same tiles.
        tiles = [
            ring for scene in {scene.cube: scene for scene in plan.scenes}.values() for ring in _tiles(scene)
        ]
    area = []
    if plan.catalog.source.kind == "stac":
        parts = shapely.get_parts(as_area(plan.job.area.value))
        area = [np.asarray(one.exterior.coords)[:, :2] for one in parts if isinstance(one, shapely.Polygon)]
    rings = iter(beside([*scenes, *tiles, *area]))
    return (
        [(scene, next(rings)) for scene in plan.scenes], [next(rings) for _ in tiles], list(rings)
    )  # fmt: skip


def _tiles(scene: Scene) -> Iterator[NDArray[np.float64]]:
    fine, ratio = scene.arrays.grids.fine, scene.arrays.grids.ratio
    for tile in scene.tiles():
        rows, columns = (
            slice(part.start * ratio, part.stop * ratio) for part in (tile.block.rows, tile.block.columns)
        )
        yield drawn(fine[rows, columns])

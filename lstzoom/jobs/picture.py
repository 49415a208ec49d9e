"""A map of a plan: the area that was asked for, scenes and tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray

from lstzoom.errors import import_extra
from lstzoom.jobs.plan import Plan, Scene
from lstzoom.product.fields import outline
from lstzoom.sources.area import as_area
from lstzoom.wording import counted

_MOST_TILES: Final = 20_000
"""Tiles that are drawn; more would be black."""


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
    days = sorted({f"{scene.when:%Y-%m-%d}" for scene in plan.scenes})
    for number, day in enumerate(days):
        scenes = [scene for scene in plan.scenes if f"{scene.when:%Y-%m-%d}" == day]
        edges = [_unwrapped(outline(scene.arrays.grids.fine)) for scene in scenes]
        colour = colormap(number / max(len(days) - 1, 1))
        label = day if len(days) <= 12 else None
        axes.add_collection(
            collections.PolyCollection(edges, facecolor=(*colour[:3], 0.15), edgecolor=colour, label=label)
        )
    drawn: set[str] = set()
    if plan.tile_count <= _MOST_TILES:
        for scene in plan.scenes:
            if scene.cube not in drawn:
                drawn.add(scene.cube)
                lines = collections.PolyCollection(
                    _tiles(scene), facecolor="none", edgecolor="0.35", linewidth=0.4
                )
                axes.add_collection(lines)
    if plan.catalog.source.kind == "stac":
        _draw_area(axes, plan)
    axes.autoscale_view()
    axes.set_aspect(1 / np.cos(np.deg2rad(np.mean(axes.get_ylim()))))
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


def _tiles(scene: Scene) -> list[NDArray[np.float64]]:
    fine, ratio = scene.arrays.grids.fine, scene.arrays.grids.ratio
    found = []
    for tile in scene.tiles():
        rows, columns = (
            slice(part.start * ratio, part.stop * ratio) for part in (tile.block.rows, tile.block.columns)
        )
        found.append(_unwrapped(outline(fine[rows, columns])[::10]))
    return found


def _draw_area(axes: Any, plan: Plan) -> None:  # noqa: ANN401  (matplotlib's axes)
    area = as_area(plan.job.area.value)
    for part in shapely.get_parts(area):
        if isinstance(part, shapely.Polygon):
            axes.plot(*np.asarray(part.exterior.coords).T[:2], color="tab:red", linewidth=1.2)


def _unwrapped(edge: NDArray[np.float64]) -> NDArray[np.float64]:
    """Let an outline that crosses the antimeridian go on beyond 180 degrees."""
    longitude = edge[:, 0]
    if np.ptp(longitude) > 180:
        return np.stack([np.where(longitude < 0, longitude + 360, longitude), edge[:, 1]], axis=1)
    return edge

"""The map of a job's tiles: which are done, which failed and why, which are left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lstzoom.errors import import_extra
from lstzoom.wording import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

DONE, FAILED, LEFT = "d", "f", "l"
"""States of a tile."""
# Okabe and Ito's colours; what failed is hatched, too, so that nothing hangs on colours alone.
_LOOKS: Final[Mapping[str, tuple[str, str, str]]] = {
    DONE: ("done", "#0072b2", " "),
    "p": ("done for some scenes", "#56b4e9", " "),
    FAILED: ("failed", "#d55e00", "/"),
    "q": ("failed for some scenes", "#e69f00", "/"),
    LEFT: ("left to do", "#e6e6e6", " "),
}


@dataclass(frozen=True, slots=True)
class TileGroup:
    """Tiles that scenes share, because they lie on one grid.

    Attributes
    ----------
    names
        Of the tiles.
    edges
        Longitude and latitude, or easting and northing, along the edge of each tile; shape (n, 2).
    """

    names: Sequence[str]
    edges: Sequence[NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class SceneTiles:
    """What became of the tiles of a scene.

    Attributes
    ----------
    title
        Name for people.
    group
        Number of its group.
    states
        A letter for each tile of the group: `DONE`, `FAILED`, `LEFT`.
    reasons
        Why tiles failed, by their number.
    """

    title: str
    group: int
    states: str
    reasons: Mapping[int, str] = field(default_factory=dict)


def make_tile_map(
    groups: Sequence[TileGroup], scenes: Sequence[SceneTiles], axes: tuple[str, str], aspect: float = 1.0
) -> dict[str, Any]:
    """Make what a page needs for the map of tiles.

    Parameters
    ----------
    groups, scenes
        Tiles, and what became of them.
    axes
        Labels of the axes.
    aspect
        Length of a unit of y beside one of x.

    Returns
    -------
    dict
        ``models``: Bokeh's, by name; ``data``: JSON for the page's script; ``words``: the map in a sentence.

    Raises
    ------
    MissingExtraError
        If Bokeh is not installed.
    """
    counts = {state: sum(one.states.count(state) for one in scenes) for state in (DONE, FAILED, LEFT)}
    told = ", ".join(f"{count} {_LOOKS[state][0]}" for state, count in counts.items() if count)
    tiles = counted(sum(counts.values()), "tile")
    words = f"Map of {tiles} of {counted(len(scenes), 'scene')}: {told or 'none'}."
    return {
        "models": {"tiles": _figure(axes, groups, aspect)},
        "data": {
            "groups": [
                {
                    "names": list(group.names),
                    "xs": [edge[:, 0].tolist() for edge in group.edges],
                    "ys": [edge[:, 1].tolist() for edge in group.edges],
                }
                for group in groups
            ],
            "scenes": [
                {
                    "title": one.title, "group": one.group, "states": one.states,
                    "reasons": {str(number): text for number, text in one.reasons.items()},
                }
                for one in scenes
            ],
            "looks": {
                state: {"label": label, "colour": colour, "hatch": hatch}
                for state, (label, colour, hatch) in _LOOKS.items()
            },
        },
        "words": words,
    }  # fmt: skip


def _figure(axes: tuple[str, str], groups: Sequence[TileGroup], aspect: float) -> Any:  # noqa: ANN401
    models = import_extra("bokeh.models", "report")
    every = np.concatenate([edge for group in groups for edge in group.edges])
    (left, bottom), (right, top) = every.min(axis=0), every.max(axis=0)
    ranges = [
        models.Range1d(float(low), float(high), name=name)
        for low, high, name in ((left, right, "tiles-x"), (bottom, top, "tiles-y"))
    ]
    tap = models.TapTool()
    hover = models.HoverTool(
        tooltips=[("tile", "@name"), ("state", "@told"), ("reason", "@reason")], point_policy="follow_mouse"
    )
    figure = import_extra("bokeh.plotting", "report").figure(
        x_range=ranges[0], y_range=ranges[1], x_axis_label=axes[0], y_axis_label=axes[1],
        sizing_mode="stretch_both", toolbar_location="above", background_fill_color="#ffffff",
        tools=[models.PanTool(), models.WheelZoomTool(), models.ResetTool(), hover, tap],
        active_scroll=None, active_drag=None, name="tiles-figure", min_border_right=16,
    )  # fmt: skip
    # The logo is a link to another host.
    figure.toolbar.logo = None
    figure.tags = [aspect]
    for axis in figure.axis:
        axis.formatter = models.BasicTickFormatter(use_scientific=False)
        axis.ticker = models.BasicTicker(desired_num_ticks=4)
    names = ("xs", "ys", "name", "told", "reason", "colour", "hatch")
    source = models.ColumnDataSource({name: [] for name in names}, name="tiles")
    figure.patches(
        "xs", "ys", source=source, fill_color="colour", hatch_pattern="hatch", hatch_color="#000000",
        hatch_alpha=0.7, line_color="#ffffff", line_width=1, nonselection_fill_alpha=1.0,
        nonselection_hatch_alpha=0.7, nonselection_line_alpha=1.0, selection_line_color="#000000",
        selection_line_width=4, selection_fill_alpha=1.0,
    )  # fmt: skip
    figure.grid.grid_line_alpha = 0.4
    return figure

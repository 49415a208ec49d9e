"""The page itself: sections of figures, tables and maps, as a single HTML file.

Bokeh draws map and histogram; its script comes from its own package and is written into the page. All text
that comes from outside is escaped, and the page's own policy forbids it to load anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import lstzoom
from lstzoom.errors import import_extra
from lstzoom.report.sentences import Finding
from lstzoom.write import require_writable


@dataclass(frozen=True, slots=True)
class Link:
    """A cell of a table that opens a view of the map.

    Attributes
    ----------
    text
        What is shown.
    view
        Key of the view.
    """

    text: str
    view: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table; anything in it is escaped.

    Attributes
    ----------
    title
        Heading.
    columns
        Headings of the columns.
    rows
        Cells of each row.
    note
        A sentence below it.
    is_text
        Whether its cells are sentences, which take several lines.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | Link]]
    note: str = ""
    is_text: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """What a page holds.

    Attributes
    ----------
    title, lead
        Heading, and a sentence below it.
    findings
        Figures with their meaning.
    details
        Tables of names and values, by heading; anything, it is escaped.
    map
        From `lstzoom.report.maps`; None for a page without one.
    map_title
        Heading of the map; without one it is for screen readers only.
    tiles
        Map of tiles, from `lstzoom.report.tiles.make_tile_map`; then figures and tables come first.
    tables
        Further tables, open to be read.
    sections
        Further sections as HTML, which has to be safe already.
    findings_title
        Heading of the figures.
    """

    title: str
    lead: str
    findings: Sequence[Finding]
    details: Mapping[str, Mapping[str, Any]]
    map: Mapping[str, Any] | None = None
    map_title: str = ""
    tiles: Mapping[str, Any] | None = None
    tables: Sequence[Table] = ()
    sections: Sequence[str] = field(default_factory=tuple)
    findings_title: str = "What the figures say"


def render(page: Page) -> str:
    """Make the HTML of a page.

    Raises
    ------
    MissingExtraError
        If Bokeh is not installed.
    """
    jinja2 = import_extra("jinja2", "report")
    embed, bundled = import_extra("bokeh.embed", "report"), import_extra("bokeh.resources", "report")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    parts: dict[str, Any] = {"bokeh_js": "", "bokeh_script": "", "divs": {}}
    drawn = [one for one in (page.map, page.tiles) if one is not None]
    if drawn:
        script, divs = embed.components({name: m for one in drawn for name, m in one["models"].items()})
        inline = bundled.Resources("inline", components=["bokeh"])
        parts = {"bokeh_js": inline.render_js(), "bokeh_script": script, "divs": divs}
    return str(
        environment.from_string(_asset("page.html")).render(
            title=page.title,
            lead=page.lead,
            findings=page.findings,
            findings_title=page.findings_title,
            details=page.details,
            sections=page.sections,
            tables=page.tables,
            map=page.map,
            map_title=page.map_title,
            tiles=page.tiles,
            data=_as_script(page.map),
            tiles_data=_as_script(page.tiles),
            version=lstzoom.__version__,
            css=_asset("page.css"),
            focus_js=_asset("focus.js"),
            js=_asset("page.js"),
            tiles_js=_asset("tiles.js"),
            **parts,
        )
    )


def _as_script(made: Mapping[str, Any] | None) -> str:
    """Write the data of a map for a script element, which only "</script" and "<!--" could end early."""
    if made is None:
        return "{}"
    data = json.dumps(made["data"], allow_nan=False, separators=(",", ":"))
    return data.replace("<", "\\u003c")


def _asset(name: str) -> str:
    return resources.files("lstzoom.report").joinpath("assets", name).read_text(encoding="utf-8")


def write_page(page: Page, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a page; the file appears when it is complete.

    Parameters
    ----------
    page
        What it holds.
    path
        HTML file.
    overwrite
        Replace a file that exists.

    Raises
    ------
    InputError
        If the file exists, or its folder does not.
    MissingExtraError
        If Bokeh is not installed.
    """
    target = Path(path)
    require_writable(target, overwrite=overwrite)
    draft = target.with_name(f".{target.name}.part")
    try:
        draft.write_text(render(page), encoding="utf-8")
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return target

"""The report of one scene, from what was opened to the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from lstzoom.errors import InputError
from lstzoom.grid import describe_grid
from lstzoom.report.maps import make_map
from lstzoom.report.page import Page, write_page
from lstzoom.report.scene import ReportScene
from lstzoom.report.sentences import findings
from lstzoom.report.views import choose_views, measure
from lstzoom.write import require_writable

LARGEST: Final = 900
"""Pixels along the longer side of a map, unless told otherwise."""


def write_report(
    scene: ReportScene, path: str | Path, *, largest: int = LARGEST, overwrite: bool = False
) -> Path:
    """Write the report of a result as one HTML file.

    Parameters
    ----------
    scene
        From `from_files`, `from_bundle` or `from_dataset`.
    path
        HTML file to write; it appears when it is complete.
    largest
        Pixels along the longer side of a map, 30 at least. A larger scene is shown thinned out, with a
        close-up of so many pixels.
    overwrite
        Replace a file that exists.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If the file exists, its folder does not, or no pixel has a temperature.
    MissingExtraError
        If Bokeh is not installed (extra ``report``).

    Examples
    --------
    >>> import lstzoom, tempfile
    >>> from lstzoom.report import from_dataset
    >>> from lstzoom.simulate import simulate_scene
    >>> given = simulate_scene((60, 60)).to_xarray()
    >>> sharp = lstzoom.sharpen(given.vnir, given.lst)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = write_report(from_dataset(sharp, lst=given.lst, vnir=given.vnir), f"{folder}/report.html")
    ...     page.name
    'report.html'
    """
    if largest < 30:
        raise InputError(f"largest is {largest}; a map has 30 pixels along its longer side at least")
    target = Path(path)
    require_writable(target, overwrite=overwrite)
    measured = measure(scene)
    if not measured.after.count:
        raise InputError("no pixel of the result has a temperature; there is nothing to show")
    page = Page(
        title=scene.title,
        lead=_lead(scene),
        findings=findings(scene, measured),
        details=_details(scene, measured.share),
        map=make_map(scene, choose_views(scene, largest), measured),
    )
    return write_page(page, target, overwrite=overwrite)


def _lead(scene: ReportScene) -> str:
    coarse, fine = (abs(grid.affine.a) for grid in (scene.grids.coarse, scene.grids.fine))
    return f"Land surface temperature, sharpened from {coarse:.4g} m to {fine:.4g} m with reflectance."


def _details(scene: ReportScene, share: float) -> dict[str, dict[str, Any]]:
    rows, columns = scene.fine.shape
    grid = {"Size": f"{rows} x {columns} pixels", "Grid": describe_grid(scene.grids.fine).strip("[]")}
    if share < 1:
        grid["Measured on"] = f"{share:.0%} of the rows, spread over the scene"
    named = {name.replace("_", " "): value for name, value in sorted(scene.facts.items())}
    tables: dict[str, dict[str, Any]] = {"The map": grid}
    if named:
        tables["How it was made"] = named
    return tables | {heading: dict(table) for heading, table in scene.details.items() if table}

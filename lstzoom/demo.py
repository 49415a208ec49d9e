"""A simulated scene from STAC items to files on a local dask cluster, with its score.

City and fields at 10 m are simulated, degraded to 30 m, written as cloud-optimised GeoTIFFs with STAC
items, and from there on treated as if they had been delivered: loaded lazily, sharpened by the
workers of a cluster, written as COG and Zarr. What was written is read back and compared with
the truth.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

import lstzoom
from lstzoom import metrics, plot, raster, stac, stream
from lstzoom.config import SharpenConfig
from lstzoom.errors import InputError, MissingExtraError
from lstzoom.report import from_files, write_report
from lstzoom.simulate import Scene, simulate_scene, write_scene
from lstzoom.validate import ValidationReport
from lstzoom.wording import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_MARKER: Final = ".lstzoom-demo"
_WHEN: Final = datetime(2024, 7, 1, 10, 30, tzinfo=UTC)

Say = Callable[[str], None]
"""Told in a sentence what begins."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What the demonstration made.

    Attributes
    ----------
    folder
        Where everything lies.
    written
        The sharpened files.
    report
        Their score beside bicubic and nearest.
    pictures
        PNG files; empty without matplotlib.
    missing
        What to install for pictures and the page; empty if nothing is missing.
    seconds
        All of it.
    pages
        The report as an HTML page; empty without Bokeh.
    """

    folder: Path
    written: stream.Written
    report: ValidationReport
    pictures: tuple[Path, ...]
    missing: str
    seconds: float
    pages: tuple[Path, ...] = ()


def run_demo(
    folder: str | Path,
    *,
    size: int = 600,
    seed: int = 0,
    workers: int = 2,
    say: Say | None = None,
    progress: stream.Progress | None = None,
) -> Demonstration:
    """Simulate a scene, sharpen it from its STAC items, and score what was written.

    Parameters
    ----------
    folder
        Made if absent. A folder of an earlier demonstration is used again.
    size
        Side of the fine scene in pixels, a multiple of 3.
    seed
        Another seed is another landscape.
    workers
        Processes of the local cluster; with 1 this process does the work.
    say, progress
        Told what begins, and about every block.

    Returns
    -------
    Demonstration

    Raises
    ------
    InputError
        If the folder holds something else, or the size is not possible.
    """
    start, tell = time.perf_counter(), say or (lambda _sentence: None)
    root = _claimed(Path(folder))
    tell(f"Simulating {size} x {size} pixels of city and fields at 10 m")
    scene = simulate_scene((size, size), seed=seed)
    paths = write_scene(scene, root / "inputs")
    bands = {band: paths[band] for band in scene.landscape.bands}
    items = stac.write_pair(root / "inputs", paths["lst"], bands, when=_WHEN, name="lstzoom-demo")
    tell(f"Sharpening from the STAC items in {items.parent} with {counted(workers, 'worker')}")
    written = _sharpened(items, root, scene, workers, progress)
    tell("Comparing what was written with the truth")
    report = _score(scene, written.paths["lst"], paths["truth"])
    scores = json.dumps(report.to_dict(), indent=2)
    (root / "scores.json").write_text(f"{scores}\n", encoding="utf-8")
    pictures, missing = _pictures(scene, report, root)
    pages, lacking = _page(written, paths, root)
    seconds = time.perf_counter() - start
    return Demonstration(root, written, report, pictures, missing or lacking, seconds, pages)


def _claimed(root: Path) -> Path:
    """Make the folder ours; refuse one that holds something else."""
    marker = root / _MARKER
    if root.exists() and not marker.exists() and (not root.is_dir() or any(root.iterdir())):
        raise InputError(
            f"{str(root)!r} exists and was not made by `lstzoom demo`; nothing in it was touched: "
            "choose another place with --output"
        )
    root.mkdir(parents=True, exist_ok=True)
    marker.write_text(f"lstzoom {lstzoom.__version__}\n", encoding="utf-8")
    return root


def _sharpened(
    items: Path, root: Path, scene: Scene, workers: int, progress: stream.Progress | None
) -> stream.Written:
    shape = (scene.coarse.shape[0], scene.coarse.shape[1])
    bands, seed = scene.landscape.bands, scene.landscape.seed
    chunk = stream.choose_chunk(shape, bands=len(bands), ratio=scene.ratio, workers=workers)
    vnir, lst = stac.load_pair(items, chunks=stream.read_chunks(chunk))
    targets = stream.Targets(
        lst=root / "lst.tif",
        qa=root / "qa.tif",
        zarr=root / "lst.zarr",
        tags={"TIFFTAG_SOFTWARE": f"lstzoom {lstzoom.__version__}", "LSTZOOM_SCENE": "simulated"},
        overwrite=True,
    )
    config = SharpenConfig(chunk=chunk, seed=seed)
    if workers == 1:
        return stream.write_sharpened(vnir, lst, targets, config=config, progress=progress)
    with stream.local_cluster(workers) as client:
        return stream.write_sharpened(vnir, lst, targets, config=config, client=client, progress=progress)


def _score(scene: Scene, result: Path, truth: Path) -> ValidationReport:
    """Score the files as they were written, rounding included."""
    pred, known = (_read(path) for path in (result, truth))
    rows = metrics.score(pred, known, scene.coarse, scene.ratio)
    images = {"coarse": scene.coarse, "pred": pred, "truth": known}
    seen = np.isfinite(pred) & np.isfinite(known)
    sd = float(known[seen].std())
    return ValidationReport("direct", scene.ratio, int(seen.sum()), sd, rows, None, images)


def _read(path: Path) -> NDArray[np.float32]:
    return np.asarray(raster.open_lst(path).values)


def _pictures(scene: Scene, report: ValidationReport, root: Path) -> tuple[tuple[Path, ...], str]:
    """Draw, unless matplotlib is missing: that is no reason to fail."""
    at = [scene.landscape.bands.index(name) for name in ("red", "green", "blue")]
    pixel = abs(scene.geobox.affine.a)
    paths = root / "before_after.png", root / "errors.png"
    try:
        draw(report, *paths, pixel=pixel, rgb=scene.vnir[at])
    except MissingExtraError as error:
        return (), str(error)
    return paths, ""


def _page(written: stream.Written, inputs: Mapping[str, Path], root: Path) -> tuple[tuple[Path, ...], str]:
    """Write the report, unless Bokeh is missing: that is no reason to fail."""
    try:
        scene = from_files(
            written.paths["zarr"],
            lst=inputs["lst"],
            vnir=[inputs[name] for name in ("red", "green", "blue")],
            truth=inputs["truth"],
            accuracy=root / "scores.json",
            title="Simulated city and fields",
        )
        return (write_report(scene, root / "report.html", overwrite=True),), ""
    except MissingExtraError as error:
        return (), str(error)


def draw(
    report: ValidationReport,
    before_after: Path,
    errors: Path,
    *,
    pixel: float,
    rgb: NDArray[np.float32] | None = None,
) -> None:
    """Draw the arrays of a report: input, result and truth, and the errors of all methods.

    Parameters
    ----------
    report
        With its images.
    before_after, errors
        PNG files to write.
    pixel
        Side of a fine pixel in metres.
    rgb
        Reflectance of red, green and blue on the fine grid, for a picture of the ground.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    coarse, pred, truth = (report.images[name] for name in ("coarse", "pred", "truth"))
    baselines = {
        "bicubic": metrics.upsample_bicubic(coarse, report.ratio),
        "nearest": metrics.upsample_nearest(coarse, report.ratio),
    }
    # Bicubic fills gaps; without them its error would be told over other pixels than in the table.
    compared = {name: np.where(np.isfinite(pred), one, np.nan) for name, one in baselines.items()}
    plot.before_after(coarse, pred, before_after, truth=truth, rgb=rgb, pixel=pixel)
    plot.error_maps({"lstzoom": pred, **compared}, truth, errors, pixel=pixel)

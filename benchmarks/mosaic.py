"""Mosaics: steps at the edges of scenes, time and memory of tiles, memory of one big COG.

Run as ``python -m benchmarks.mosaic [--only seams|tiles|cog] [--picture FILE] [--json FILE]``. The COG of
20000 x 20000 pixels needs about 3 GB of disk in ``--folder``; everything is deleted after.

The region is simulated: 3 x 4 scenes of 600 x 600 pixels on 12 days, overlapping by 30 %, each warmer or
colder than the truth by 2 K (one standard deviation), with noise and clouds. A step is the difference of two
neighbouring pixels across a border of a scene, averaged over blocks of 64 x 64 pixels; beside it stands the
same on lines of the same shape 150 pixels away, where nothing begins or ends.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from benchmarks.measure import Measured, measure, record, show
from lstzoom import cube
from lstzoom.config import MosaicConfig
from lstzoom.errors import import_extra
from lstzoom.mosaics.make import mosaic, variables
from lstzoom.mosaics.merge import Rule
from lstzoom.mosaics.plan import MosaicPlan, plan_mosaics
from lstzoom.mosaics.scenes import open_scenes
from lstzoom.mosaics.seams import Steps, radiometric_step
from lstzoom.mosaics.simulated import RegionPlan, simulate_region
from lstzoom.mosaics.target import Window
from lstzoom.mosaics.tiles import merge_window
from lstzoom.mosaics.warp import warp_lst
from lstzoom.simulate import Landscape, simulate_tile
from lstzoom.write import UINT16

RULES: Final[tuple[Rule, ...]] = ("latest", "median", "mean")
_AWAY: Final = 150
_TILE: Final = 2048
_SIDES: Final = (10_000, 20_000)
_DPI: Final = 80


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("seams", "tiles", "cog"))
    parser.add_argument("--folder", type=Path, help="where everything is made and deleted")
    parser.add_argument("--picture", type=Path, help="PNG of the region by the three rules")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--run", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        return _run(*args.run)
    content: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        if args.only in (None, "seams"):
            content["seams"] = _seams(folder, args.picture)
        if args.only in (None, "tiles"):
            content["tiles"] = _tiles(folder)
        if args.only in (None, "cog"):
            content["cog"] = _cogs(folder)
    record(args.json, **content)
    return 0


def _run(what: str, *paths: str) -> int:
    """Do one thing in a process of its own, whose time and memory are taken."""
    os.environ.setdefault("GDAL_CACHEMAX", "256")
    if what == "cog":
        from lstzoom.mosaics.cog import write_cog  # noqa: PLC0415

        write_cog(paths[0], paths[1])
    else:
        mosaic([paths[0]], paths[1], rule=what, tile=_TILE, items=False)
    return 0


# Seams


def _seams(folder: Path, picture: Path | None) -> dict[str, Any]:
    region = RegionPlan()
    place = folder / "region"
    place.mkdir()
    truth = simulate_region(place, region)
    scenes = open_scenes([place])
    found, images = {}, {}
    print(f"{'edges of scenes':38s}{'seams, K':>10s}{'inside, K':>10s}{'ratio':>8s}{'segments':>10s}")
    for crs, rule in itertools.product(("EPSG:32632", "EPSG:3035"), RULES):
        (plan,) = plan_mosaics(scenes, MosaicConfig(rule=rule, crs=crs, tile=512))
        window = _window(plan, region.geobox)
        lst = merge_window(plan.scenes, plan.lattice, window, plan.config).lst
        valid = _valid(plan, window)
        shown = {"": lst} if crs != "EPSG:32632" else {"": lst, ", less the truth": lst - truth}
        for suffix, image in shown.items():
            steps = radiometric_step(image, valid, away=_AWAY)
            _print(f"{rule}, {crs}{suffix}", steps)
            found[f"{rule}, {crs}{suffix}"] = steps._asdict() | {"ratio": steps.ratio}
        if crs == "EPSG:32632":
            images[rule] = shown
    if picture is not None:
        _draw(images, picture)
    return found


def _window(plan: MosaicPlan, grid: GeoBox) -> Window:
    """Pixels of the region: exact on its own grid, all tiles elsewhere."""
    same = grid.crs == plan.lattice.crs
    return plan.lattice.window(grid.boundingbox.bbox) if same else plan.target.window


def _valid(plan: MosaicPlan, window: Window) -> list[NDArray[np.bool_]]:
    return [
        np.isfinite(warp_lst(one.scene, part, plan.lattice, window))
        for one in plan.scenes
        for part in one.parts
    ]


def _print(name: str, steps: Steps) -> None:
    print(f"{name:38s}{steps.seams:10.3f}{steps.inside:10.3f}{steps.ratio:8.2f}{steps.segments:10d}")


def _draw(images: Mapping[Rule, Mapping[str, NDArray[Any]]], path: Path) -> None:
    """Draw the rules side by side: the mosaic above, and below what is left without the land."""
    figure = import_extra("matplotlib.figure", "report").Figure(figsize=(15, 8.6), layout="constrained")
    axes = figure.subplots(2, len(images))
    low, high = np.nanpercentile(images["mean"][""], (2, 98))
    spans = {
        "": ("inferno", low, high, "LST, K"),
        ", less the truth": ("RdBu_r", -5.0, 5.0, "LST less the truth, K"),
    }
    for row, (suffix, (cmap, least, most, label)) in zip(axes, spans.items(), strict=True):
        for axis, (rule, shown) in zip(row, images.items(), strict=True):
            drawn = axis.imshow(shown[suffix], cmap=cmap, vmin=least, vmax=most, interpolation="antialiased")
            axis.set_title(f"{rule}{suffix}")
            axis.set_axis_off()
            axis.set_facecolor("#b8b8b8")
        figure.colorbar(drawn, ax=row, label=label, shrink=0.8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DPI)
    print(f"drew {path}")


# Tiles


def _tiles(folder: Path) -> dict[str, Measured]:
    """Time and memory of whole runs, warped onto EPSG:3035."""
    place = folder / "scenes"
    place.mkdir()
    region = RegionPlan(across=(2, 2), side=2100)
    simulate_region(place, region)
    pixels = region.shape[0] * region.shape[1]
    command = [sys.executable, "-m", "benchmarks.mosaic", "--run"]
    rows = [
        (f"{rule}, 4 scenes", measure([*command, rule, str(place), str(folder / f"{rule}.zarr")]), pixels)
        for rule in RULES
    ]
    show(f"mosaic of {region.shape[0]} x {region.shape[1]}", rows)
    return {name: measured for name, measured, _ in rows}


# One COG


def _cogs(folder: Path) -> dict[str, Measured]:
    rows = []
    for side in _SIDES:
        store = folder / f"{side}.zarr"
        _fill(store, side)
        target = folder / f"{side}.tif"
        command = [sys.executable, "-m", "benchmarks.mosaic", "--run", "cog", str(store), str(target)]
        rows.append((f"{side} x {side}", measure(command), side * side))
        target.unlink()
    show("one COG from the store", rows)
    return {name: measured for name, measured, _ in rows}


def _fill(store: Path, side: int) -> None:
    """Write a cube of a landscape that repeats with every tile."""
    grid = GeoBox.from_bbox((600_000, 0, 600_000 + 10 * side, 10 * side), "EPSG:32632", resolution=10)
    spec = cube.CubeSpec(grid, shard=_TILE, variables={"lst": variables(UINT16)["lst"]})
    cube.create(store, spec, ["2023-06-01T10:15:00Z"])
    whole = simulate_tile((0, 0), (_TILE, _TILE), Landscape(bands=("red",)))[1]
    for top, left in itertools.product(range(0, side, _TILE), range(0, side, _TILE)):
        part = slice(top, min(top + _TILE, side)), slice(left, min(left + _TILE, side))
        values = whole[: part[0].stop - top, : part[1].stop - left]
        cube.write_region(store, 0, part, {"lst": values})


if __name__ == "__main__":
    sys.exit(main())

"""Mosaics on the command line: `lstzoom mosaic`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lstzoom.errors import ConfigError

if TYPE_CHECKING:
    from lstzoom.clusters import Cluster
    from lstzoom.mosaics.make import Mosaic
    from lstzoom.mosaics.plan import MosaicPlan

Session = Callable[..., Any]
"""What all commands run in: logging, and errors as messages."""


def register(app: typer.Typer, session: Session, progress: Callable[..., Any], epilog: str) -> None:
    """Add the command to an app."""

    @app.command(epilog=epilog)
    def mosaic(
        results: Annotated[
            list[str],
            typer.Argument(
                metavar="RESULTS...",
                help="STAC item or collection (JSON), Zarr store or cube, folder of these, or COGs.",
            ),
        ],
        *,
        output: Annotated[
            str, typer.Option("--output", "-o", help="Zarr store to make; a path or an address.")
        ],
        rule: Annotated[
            Literal["mean", "median", "latest"],
            typer.Option(
                help="mean is feathered and weighted by uncertainty; the others show edges of scenes."
            ),
        ] = "mean",
        crs: Annotated[
            str,
            typer.Option(
                help="EPSG:3035 (Europe), EPSG:6933 (world), any other, or utm (a store for each zone)."
            ),
        ] = "EPSG:3035",
        resolution: Annotated[float, typer.Option(help="Side of a pixel, units of the CRS.")] = 10.0,
        tile: Annotated[int, typer.Option(help="Side of a tile in pixels: one task, one shard.")] = 2048,
        period: Annotated[
            Literal["all", "year", "month", "day"], typer.Option(help="Scenes that go into one time step.")
        ] = "all",
        feather: Annotated[
            float, typer.Option(help="Width over which a scene fades to its edges, metres.")
        ] = 1000.0,
        scene_sd: Annotated[
            float, typer.Option(help="How far scenes differ beside their uncertainty, K.")
        ] = 1.0,
        resampling: Annotated[
            Literal["cubic", "bilinear", "nearest"], typer.Option(help="How temperature is put on the grid.")
        ] = "cubic",
        encoding: Annotated[
            Literal["uint16", "float32"], typer.Option(help="uint16 holds steps of 0.01 K.")
        ] = "uint16",
        bbox: Annotated[
            str | None, typer.Option(metavar="W,S,E,N", help="Only tiles that touch it, degrees.")
        ] = None,
        area: Annotated[Path | None, typer.Option(help="File with the area, in place of --bbox.")] = None,
        cog: Annotated[
            Path | None,
            typer.Option(metavar="FILE", help="Also one COG of the temperature, on a local disk."),
        ] = None,
        items: Annotated[bool, typer.Option(help="Also a STAC collection, beside the store.")] = True,
        workers: Annotated[
            int, typer.Option(min=0, help="Worker processes on this machine; 0 is threads of this one.")
        ] = 0,
        scheduler: Annotated[
            str | None, typer.Option(metavar="ADDRESS", help="Running dask scheduler, in place of --workers.")
        ] = None,
        plan: Annotated[
            bool, typer.Option("--plan", help="Say what would be done; no pixel is read.")
        ] = False,
        overwrite: Annotated[
            bool, typer.Option("--overwrite", help="Replace a store of other scenes or settings.")
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
        verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every tile.")] = False,
        debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    ) -> None:
        """Merge results into one mosaic; run again, it goes on where it stopped."""
        with session(quiet=quiet, verbose=verbose, debug=debug):
            from lstzoom.mosaics import make

            where = _where(bbox, area)
            config = make.settings(
                rule=rule, crs=crs, resolution=resolution, tile=tile, period=period, feather=feather,
                scene_sd=scene_sd, resampling=resampling,
            )  # fmt: skip
            if plan:
                _tell_plans(make.plans(results, config, where), as_json=as_json)
                return
            with progress("mosaic", quiet=quiet) as show:
                made = make.mosaic(
                    results, output, config=config, area=where, cog=cog, encoding=encoding, items=items,
                    cluster=_cluster(workers, scheduler), overwrite=overwrite, progress=show,
                )  # fmt: skip
            _tell(made, as_json=as_json, quiet=quiet)


def _where(bbox: str | None, area: Path | None) -> Any:  # noqa: ANN401  (an area in one of several forms)
    if bbox is not None and area is not None:
        raise ConfigError("give either --bbox or --area, not both")
    if bbox is None:
        return None if area is None else str(area)
    try:
        return tuple(float(part) for part in bbox.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"{bbox!r} is no bounds in degrees; write for example 10.5,47.9,11.5,48.4", param_hint="--bbox"
        ) from None


def _cluster(workers: int, scheduler: str | None) -> Cluster | None:
    from lstzoom.clusters import Cluster

    if workers and scheduler is not None:
        raise ConfigError("give either --workers or --scheduler, not both")
    if scheduler is not None:
        return Cluster(kind="address", address=scheduler)
    return Cluster(workers=workers) if workers else None


def _tell_plans(plans: tuple[MosaicPlan, ...], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([_planned(plan) for plan in plans]))
        return
    for plan in plans:
        rows, columns = plan.target.geobox.shape
        typer.echo(
            f"{plan.config.crs}: {rows} x {columns} pixels, {len(plan.tasks)} tiles, {len(plan.times)} "
            f"times, {len(plan.scenes)} scenes, {plan.scenes_per_tile:.1f} in a tile"
        )


def _planned(plan: MosaicPlan) -> dict[str, Any]:
    return {
        "crs": plan.config.crs,
        "shape": [int(side) for side in plan.target.geobox.shape],
        "bounds": [float(edge) for edge in plan.target.geobox.boundingbox],
        "times": [when.isoformat() for when in plan.times],
        "scenes": len(plan.scenes),
        "tiles": len(plan.tasks),
        "scenes_per_tile": round(plan.scenes_per_tile, 2),
    }


def _tell(made: tuple[Mosaic, ...], *, as_json: bool, quiet: bool) -> None:
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in made]))
        return
    if quiet:
        return
    for one in made:
        rows, columns = one.shape
        before = f", {one.skipped} were done" if one.skipped else ""
        typer.echo(
            f"{one.store}: {one.crs}, {rows} x {columns} pixels, {one.times} times, {one.scenes} scenes; "
            f"{one.tiles} tiles made{before}; {one.seconds:.1f} s"
        )
        for path in (*one.cogs, *([one.collection] if one.collection else [])):
            typer.echo(path)

"""Mosaics on the command line: `lstzoom mosaic`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lstzoom.cli_help import JOB_EXIT_CODES, Debug, Quiet, Session, Verbose, bounds, epilog
from lstzoom.errors import (
    ClusterError,
    ConfigError,
    ExitCode,
    JobError,
    LstzoomError,
    StoreBusyError,
    StoreError,
)
from lstzoom.wording import counted

if TYPE_CHECKING:
    from lstzoom.clusters import Cluster
    from lstzoom.config import MosaicConfig
    from lstzoom.mosaics.make import Mosaic
    from lstzoom.mosaics.plan import MosaicPlan
    from lstzoom.sources.job import Job


_CODES: dict[type[LstzoomError], ExitCode] = {
    StoreBusyError: ExitCode.BUSY, JobError: ExitCode.FAILED, ClusterError: ExitCode.STOPPED,
    StoreError: ExitCode.STOPPED,
}  # fmt: skip
"""Exit codes, the narrower errors first; those of `lstzoom run`."""


def register(app: typer.Typer, session: Session, progress: Callable[..., Any]) -> None:
    """Add the command to an app."""

    @app.command(
        epilog=epilog(
            "lstzoom mosaic job.yaml --cog mosaic.tif",
            "lstzoom mosaic out/ -o mosaic.zarr --rule latest --crs EPSG:6933 --plan",
            codes=JOB_EXIT_CODES,
        )
    )
    def mosaic(
        results: Annotated[
            list[str],
            typer.Argument(
                metavar="JOB|RESULTS...",
                help="Job (YAML) that was run; or folder of a run, STAC item or collection (JSON), Zarr "
                "store or cube, folder of these, COGs.",
            ),
        ],
        *,
        output: Annotated[
            str | None,
            typer.Option(
                "--output",
                "-o",
                help="Zarr store to make; of a job by default mosaic.zarr beside its results.",
            ),
        ] = None,
        rule: Annotated[
            Literal["mean", "median", "latest"] | None,
            typer.Option(help="mean (default) is feathered and weighted; the others show edges of scenes."),
        ] = None,
        crs: Annotated[
            str | None,
            typer.Option(help="EPSG:3035 (Europe, default), EPSG:6933 (world), any other, or utm."),
        ] = None,
        resolution: Annotated[
            float | None, typer.Option(help="Side of a pixel, units of the CRS; default 10.")
        ] = None,
        tile: Annotated[
            int | None, typer.Option(help="Side of a tile in pixels: one task, one shard; default 2048.")
        ] = None,
        period: Annotated[
            Literal["all", "year", "month", "day"] | None,
            typer.Option(help="Scenes that go into one time step; default all."),
        ] = None,
        feather: Annotated[
            float | None,
            typer.Option(help="Width over which a scene fades to its edges, metres; default 1000."),
        ] = None,
        scene_sd: Annotated[
            float | None, typer.Option(help="How far scenes differ beside their uncertainty, K; default 1.")
        ] = None,
        resampling: Annotated[
            Literal["cubic", "bilinear", "nearest"] | None,
            typer.Option(help="How temperature is put on the grid; default cubic."),
        ] = None,
        encoding: Annotated[
            Literal["uint16", "float32"] | None, typer.Option(help="uint16 (default) holds steps of 0.01 K.")
        ] = None,
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
            int | None,
            typer.Option(min=0, help="Worker processes on this machine; 0 is threads of this one."),
        ] = None,
        scheduler: Annotated[
            str | None, typer.Option(metavar="ADDRESS", help="Running dask scheduler, in place of --workers.")
        ] = None,
        plan: Annotated[
            bool, typer.Option("--plan", help="Say what would be done; no pixel is read.")
        ] = False,
        overwrite: Annotated[
            bool, typer.Option("--overwrite", help="Replace a mosaic of other scenes or settings.")
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
        debug: Debug = False,
    ) -> None:
        """Merge results into one mosaic; run again, it goes on where it stopped."""
        with session(quiet=quiet, verbose=verbose, debug=debug):
            asked = _Asked.of(results, output, encoding)
            config = asked.config(
                rule=rule, crs=crs, resolution=resolution, tile=tile, period=period, feather=feather,
                scene_sd=scene_sd, resampling=resampling,
            )  # fmt: skip
            where = _where(bbox, area)
            if plan:
                _tell_plans(asked.results, config, where, as_json=as_json)
                return
            from lstzoom.mosaics import make

            with _told(), progress("mosaic", quiet=quiet) as show:
                made = make.mosaic(
                    asked.results, asked.output, config=config, area=where, cog=cog or asked.cog,
                    items=items and asked.items,
                    encoding=asked.encoding, cluster=asked.cluster(workers, scheduler), overwrite=overwrite,
                    progress=show,
                )  # fmt: skip
            _tell(made, as_json=as_json, quiet=quiet)


@contextmanager
def _told() -> Iterator[None]:
    """End as `lstzoom run` does where what stands in the way may pass."""
    try:
        yield
    except (JobError, ClusterError, StoreError) as error:
        code = next(code for kind, code in _CODES.items() if isinstance(error, kind))
        from lstzoom.sources.redaction import redact

        typer.echo(f"lstzoom: {redact(str(error))}", err=True)
        raise typer.Exit(code) from error


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a job, or the command line alone, says."""

    results: list[str]
    target: str | None
    encoding: str
    job: Job | None

    @classmethod
    def of(cls, results: list[str], output: str | None, encoding: str | None) -> _Asked:
        if len(results) != 1 or not results[0].endswith((".yaml", ".yml")):
            return cls(results, output, encoding or "uint16", None)
        from lstzoom.mosaics.after import default_output
        from lstzoom.sources.job import read_job

        job = read_job(results[0])
        folder = job.outputs.folder
        target = output or job.mosaic.output or default_output(folder)
        return cls([folder], target, encoding or job.outputs.encoding, job)

    @property
    def output(self) -> str:
        """Where the mosaic goes."""
        if self.target is None:
            raise typer.BadParameter(
                "say where the mosaic goes, for example -o mosaic.zarr", param_hint="--output"
            )
        return self.target

    @property
    def cog(self) -> str | None:
        """COG that a job asks for."""
        return None if self.job is None else self.job.mosaic.cog

    @property
    def items(self) -> bool:
        """Whether a job asks for items."""
        return self.job is None or self.job.mosaic.items

    def config(self, **given: Any) -> MosaicConfig:
        """Take the settings of the job, and in their place what is given."""
        from lstzoom.mosaics import make

        before = {} if self.job is None else self.job.mosaic.config.model_dump()
        return make.settings(**before | {name: value for name, value in given.items() if value is not None})

    def cluster(self, workers: int | None, scheduler: str | None) -> Cluster | None:
        """Where it runs."""
        from lstzoom.clusters import Cluster

        if workers is not None and scheduler is not None:
            raise ConfigError("give either --workers or --scheduler, not both")
        if scheduler is not None:
            return Cluster(kind="address", address=scheduler)
        if workers is not None:
            return Cluster(workers=workers) if workers else None
        return None if self.job is None else self.job.cluster


def _where(bbox: str | None, area: Path | None) -> Any:  # noqa: ANN401  (an area in one of several forms)
    if bbox is not None and area is not None:
        raise ConfigError("give either --bbox or --area, not both")
    if bbox is None:
        return None if area is None else str(area)
    return tuple(bounds(bbox))


def _tell_plans(results: list[str], config: MosaicConfig, where: Any, *, as_json: bool) -> None:  # noqa: ANN401
    from lstzoom.mosaics import make

    plans = make.plans(results, config, where)
    if as_json:
        typer.echo(json.dumps([_planned(plan) for plan in plans]))
        return
    for plan in plans:
        rows, columns = plan.target.geobox.shape
        typer.echo(
            f"{plan.config.crs}: {rows} x {columns} pixels, "
            f"{counted(len(plan.tasks), 'tile')}, {counted(len(plan.times), 'time')}, "
            f"{counted(len(plan.scenes), 'scene')}, {plan.scenes_per_tile:.1f} in a tile"
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
            f"{one.store}: {one.crs}, {rows} x {columns} pixels, {counted(one.times, 'time')}, "
            f"{counted(one.scenes, 'scene')}; "
            f"{counted(one.tiles, 'tile')} made{before}; {one.seconds:.1f} s"
        )
        for path in (*one.cogs, *([one.collection] if one.collection else [])):
            typer.echo(path)

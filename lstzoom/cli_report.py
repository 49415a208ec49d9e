"""Reports on the command line: `lstzoom report`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lstzoom.cli_help import AsJson, Debug, Overwrite, Quiet, Session, Verbose, epilog

if TYPE_CHECKING:
    from lstzoom.jobs.store import Store
    from lstzoom.report import ReportScene

_EXAMPLES = epilog(
    "lstzoom report lst_10m.tif --lst lst_30m.tif --vnir vnir.tif -o report.html",
    "lstzoom report sharp.zarr --lst lst_30m.tif --accuracy accuracy.json -o report.html",
    "lstzoom report LSTZOOM_BUNDLE/ --lst LSTPRECISION_BUNDLE.zip -o report.html",
    "lstzoom report job.yaml -o job.html",
)


def register(app: typer.Typer, session: Session) -> None:
    """Add the command to an app."""

    @app.command(epilog=_EXAMPLES)
    def report(
        result: Annotated[
            str,
            typer.Argument(
                metavar="RESULT|BUNDLE|JOB",
                help="COG of `lstzoom sharpen -o`, its Zarr store, a bundle of `lstzoom product`, or a "
                "job (YAML) or its store.",
            ),
        ],
        *,
        output: Annotated[Path, typer.Option("--output", "-o", help="HTML page to write.")] = Path(
            "report.html"
        ),
        lst: Annotated[
            str | None,
            typer.Option(metavar="FILE", help="The coarse LST that was sharpened, or its bundle."),
        ] = None,
        vnir: Annotated[
            list[str] | None,
            typer.Option(
                metavar="FILE",
                help="Reflectance with bands red, green and blue; again for each of several files.",
            ),
        ] = None,
        qa: Annotated[str | None, typer.Option(metavar="FILE", help="COG of the flags, of --qa.")] = None,
        uncertainty: Annotated[
            str | None, typer.Option(metavar="FILE", help="COG of the standard uncertainty, K.")
        ] = None,
        truth: Annotated[
            str | None, typer.Option(metavar="FILE", help="LST at the resolution of the result to compare.")
        ] = None,
        accuracy: Annotated[
            Path | None, typer.Option(metavar="FILE", help="JSON of `lstzoom validate --json`.")
        ] = None,
        title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
        into: Annotated[
            str | None, typer.Option(metavar="STORE", help="Of a job: its store, if it is another.")
        ] = None,
        pixels: Annotated[
            int, typer.Option(min=30, help="Pixels along a map; larger scenes get a close-up.")
        ] = 900,
        overwrite: Overwrite = False,
        as_json: AsJson = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
        debug: Debug = False,
    ) -> None:
        """Write one HTML page of a result: a map to swipe, figures in plain words, metadata.

        Of a job: tiles and failures on a map, time and bytes, pictures of scenes; also while it runs.
        The page opens offline on a phone or a desktop, and loads nothing from elsewhere.
        """
        with session(quiet=quiet, verbose=verbose, debug=debug):
            from lstzoom.write import require_other_than_inputs, require_writable

            require_writable(output, overwrite=overwrite)
            files = (result, lst, *(vnir or ()), qa, uncertainty, truth, accuracy)
            require_other_than_inputs([output], [one for one in files if one])
            beside = {
                "--lst": lst, "--vnir": vnir, "--qa": qa, "--uncertainty": uncertainty, "--truth": truth,
                "--accuracy": accuracy, "--title": title,
            }  # fmt: skip
            job = _job_store(result, into)
            if job is not None:
                _refuse(beside, "a job holds all that its page shows")
                from lstzoom.jobs.report import write_job_report

                written = write_job_report(job, output, overwrite=overwrite)
            else:
                if into is not None:
                    raise typer.BadParameter("--into belongs to jobs: give the YAML of one")
                from lstzoom.report import write_report

                scene = _scene(result, beside)
                written = write_report(scene, output, largest=pixels, overwrite=overwrite)
            if as_json:
                typer.echo(json.dumps({"report": str(written), "bytes": written.stat().st_size}))
            elif not quiet:
                typer.echo(f"wrote {written} ({written.stat().st_size / 1e6:.1f} MB)")


def _scene(result: str, beside: Mapping[str, Any]) -> ReportScene:
    """Open a bundle, or the files of a run."""
    from lstzoom.report import from_bundle, from_files

    if _is_bundle(result):
        own = ("--vnir", "--qa", "--uncertainty", "--truth", "--accuracy")
        _refuse({name: beside[name] for name in own}, "a bundle holds these itself")
        return from_bundle(result, lst=beside["--lst"])
    given = {name.removeprefix("--"): value for name, value in beside.items()}
    return from_files(result, **{**given, "vnir": given["vnir"] or ()})


def _refuse(given: Mapping[str, Any], why: str) -> None:
    named = [name for name, value in given.items() if value]
    if named:
        raise typer.BadParameter(f"{why}: leave out {', '.join(named)}")


def _job_store(result: str, into: str | None) -> Store | None:
    """Return the store of a job, of which the YAML or the store itself is named; else None."""
    from lstzoom.jobs import layout
    from lstzoom.jobs.store import store_at

    if result.endswith((".yaml", ".yml")):
        from lstzoom.sources.job import read_job

        return store_at(read_job(result).outputs.folder if into is None else into)
    if "://" in result or Path(result).is_dir():
        store = store_at(result)
        return store if store.exists(layout.JOB) else None
    return None


def _is_bundle(location: str) -> bool:
    """Tell a bundle from a Zarr store, which is a folder, too."""
    from lstzoom.product.containers import looks_like

    path = Path(location)
    is_store = any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zmetadata"))
    return looks_like(location) and not is_store

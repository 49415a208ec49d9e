"""Reports on the command line: `lstzoom report`."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstzoom.cli_help import AsJson, Debug, Overwrite, Quiet, Verbose, epilog

if TYPE_CHECKING:
    from lstzoom.report import ReportScene

Session = Callable[..., AbstractContextManager[None]]
"""What all commands run in: logging, and errors as messages."""

_EXAMPLES = epilog(
    "lstzoom report lst_10m.tif --lst lst_30m.tif --vnir vnir.tif -o report.html",
    "lstzoom report sharp.zarr --lst lst_30m.tif --accuracy accuracy.json -o report.html",
    "lstzoom report LSTZOOM_BUNDLE/ --lst LSTPRECISION_BUNDLE.zip -o report.html",
)


def register(app: typer.Typer, session: Session) -> None:
    """Add the command to an app."""

    @app.command(epilog=_EXAMPLES)
    def report(
        result: Annotated[
            str,
            typer.Argument(
                metavar="RESULT|BUNDLE",
                help="COG of `lstzoom sharpen -o`, its Zarr store, or a bundle of `lstzoom product`.",
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

        The page opens offline on a phone or a desktop, and loads nothing from elsewhere.
        """
        with session(quiet=quiet, verbose=verbose, debug=debug):
            from lstzoom.report import from_bundle, from_files, write_report
            from lstzoom.report.page import require_writable

            require_writable(output, overwrite=overwrite)
            beside = {"--qa": qa, "--uncertainty": uncertainty, "--truth": truth, "--accuracy": accuracy}
            scene: ReportScene
            if _is_bundle(result):
                given = [name for name, value in {**beside, "--vnir": vnir}.items() if value]
                if given:
                    raise typer.BadParameter(f"a bundle holds these itself: leave out {', '.join(given)}")
                scene = from_bundle(result, lst=lst)
            else:
                scene = from_files(
                    result, lst=lst, vnir=vnir or (), qa=qa, uncertainty=uncertainty, truth=truth,
                    accuracy=accuracy, title=title,
                )  # fmt: skip
            written = write_report(scene, output, largest=pixels, overwrite=overwrite)
            if as_json:
                typer.echo(json.dumps({"report": str(written), "bytes": written.stat().st_size}))
            elif not quiet:
                typer.echo(f"wrote {written} ({written.stat().st_size / 1e6:.1f} MB)")


def _is_bundle(location: str) -> bool:
    """Tell a bundle from a Zarr store, which is a folder, too."""
    from lstzoom.product.containers import looks_like

    path = Path(location)
    is_store = any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zmetadata"))
    return looks_like(location) and not is_store

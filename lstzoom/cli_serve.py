"""Map tiles on the command line: `lstzoom serve`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from lstzoom.cli_help import AsJson, Debug, Quiet, Session, Verbose, epilog


def register(app: typer.Typer, session: Session) -> None:
    """Add the command to an app."""

    @app.command(epilog=epilog("lstzoom serve lst_10m.tif", "lstzoom serve lst_10m.tif --low 290 --high 320"))
    def serve(
        file: Annotated[str, typer.Argument(metavar="COG", help="Result to show; no other file is served.")],
        *,
        low: Annotated[float, typer.Option(help="Kelvin of the coldest colour.")] = 280.0,
        high: Annotated[float, typer.Option(help="Kelvin of the hottest colour.")] = 320.0,
        host: Annotated[str, typer.Option(help="Where to listen; others than loopback are open to all.")] = (
            "127.0.0.1"
        ),
        port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8765,
        as_json: AsJson = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
        debug: Debug = False,
    ) -> None:
        """Serve map tiles of a result until interrupted, for QGIS and web maps; from this machine only."""
        if low >= high:
            raise typer.BadParameter(f"--low {low:g} has to be below --high {high:g}")
        with session(quiet=quiet, verbose=verbose, debug=debug):
            from lstzoom import raster
            from lstzoom.serve import serve as run
            from lstzoom.serve import tile_address

            address = tile_address(host, port, raster.describe(file)[0], low, high)

            def tell() -> None:
                if as_json:
                    typer.echo(json.dumps({"tiles": address}))
                elif not quiet:
                    typer.echo(f"tiles (XYZ in QGIS, interrupt to stop): {address}")

            run(file, host=host, port=port, listening=tell)

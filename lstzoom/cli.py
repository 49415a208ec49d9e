"""The command line. Heavy imports live inside the commands, so that ``--help`` stays fast."""

from __future__ import annotations

from typing import Annotated

import typer

from lstzoom import __version__

app = typer.Typer(no_args_is_help=True, help="Sharpen land surface temperature from 30 m to 10 m.")


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"lstzoom {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Take the options that hold for all commands."""


def main() -> None:
    """Run the command line."""
    app()

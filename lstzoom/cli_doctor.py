"""The installation on the command line: `lstzoom doctor`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from lstzoom.cli_help import AsJson, Debug, Quiet, Session, Verbose, epilog
from lstzoom.errors import ExitCode


def register(app: typer.Typer, session: Session) -> None:
    """Add the command to an app."""

    @app.command(
        epilog=epilog(
            "lstzoom doctor", "lstzoom doctor --scheduler tcp://127.0.0.1:8786", "lstzoom doctor --json"
        )
    )
    def doctor(
        *,
        scheduler: Annotated[
            str | None,
            typer.Option(metavar="ADDRESS", help="Dask scheduler to reach; default $DASK_SCHEDULER_ADDRESS."),
        ] = None,
        as_json: AsJson = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
        debug: Debug = False,
    ) -> None:
        """Say what this installation has and lacks: versions, drivers, machine, cluster, credentials.

        Nothing is changed. Of credentials only their presence is told, never a value. The exit code is 3
        where something keeps lstzoom from working; --quiet shows that alone.
        """
        with session(quiet=quiet, verbose=verbose, debug=debug):
            from lstzoom.doctor import examine, summary

            checks = examine(scheduler)
            if as_json:
                typer.echo(json.dumps(summary(checks), indent=2))
            topic = ""
            for one in checks if not as_json else ():
                if quiet and one.status != "problem":
                    continue
                if one.topic != topic:
                    topic = one.topic
                    typer.echo(f"{topic}:")
                mark = {"ok": " ", "note": "-", "problem": "!"}[one.status]
                remedy = f"; {one.remedy}" if one.remedy else ""
                typer.echo(f"{mark} {one.name:<20} {one.told}{remedy}")
            if not summary(checks)["ok"]:
                raise typer.Exit(ExitCode.BAD_INPUT)

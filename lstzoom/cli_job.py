"""Jobs on the command line: `lstzoom plan`, `run`, `status` and `retry`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lstzoom.cli_help import JOB_EXIT_CODES, AsJson, Debug, Quiet, Session, Verbose, epilog
from lstzoom.wording import counted

if TYPE_CHECKING:
    from lstzoom.jobs.progress import Progress, Report
    from lstzoom.jobs.state import Options

JobFile = Annotated[
    Path, typer.Argument(metavar="JOB", help="YAML of the job; `lstzoom job init` writes one.")
]
Into = Annotated[
    str | None, typer.Option(metavar="STORE", help="Folder or address of a store, in place of the job's own.")
]
OnFinish = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write the summary there when the run ends, however it ends."),
]
Performance = Annotated[
    Path | None, typer.Option("--performance-report", metavar="FILE", help="Write dask's report (HTML).")
]


Page = Annotated[
    bool | None,
    typer.Option(
        "--report/--no-report", help="Write report.html into the store at the end; default: as the job says."
    ),
]


def register(app: typer.Typer, session: Session) -> None:
    """Add the commands to the app."""
    _register_plan(app, session)
    _register_run(app, session)
    _register_status(app, session)


def _register_plan(app: typer.Typer, session: Session) -> None:
    @app.command(
        epilog=epilog(
            "lstzoom plan job.yaml", "lstzoom plan job.yaml --workers 64 --map plan.png", codes=JOB_EXIT_CODES
        )
    )
    def plan(
        file: JobFile,
        *,
        into: Into = None,
        workers: Annotated[
            int | None, typer.Option(min=1, help="Workers to estimate the time for, beside 2, 16 and 128.")
        ] = None,
        picture: Annotated[
            Path | None, typer.Option("--map", metavar="PNG", help="Draw scenes and tiles.")
        ] = None,
        as_json: AsJson = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
        debug: Debug = False,
    ) -> None:
        """Say what a job comes to: scenes, tiles, bytes, memory, time. No pixel is read."""
        with session(quiet=quiet, verbose=verbose, debug=debug):
            from lstzoom.errors import InputError
            from lstzoom.jobs.overview import overview, overview_lines
            from lstzoom.jobs.plan import make_plan
            from lstzoom.mosaics.after import planned
            from lstzoom.sources.job import read_job

            if picture is not None and not picture.absolute().parent.is_dir():
                raise InputError(f"the folder of {str(picture)!r} does not exist; make it first")
            found = make_plan(read_job(file))
            counts = sorted({2, 16, 128, *([workers] if workers else [])})
            told = overview(found, into, counts, planned(found))
            if picture is not None:
                from lstzoom.jobs.picture import draw_plan

                typer.echo(f"wrote {draw_plan(found, picture)}", err=True)
            if as_json:
                typer.echo(json.dumps(told, indent=1, ensure_ascii=False))
                return
            for line in overview_lines(told):
                typer.echo(line)


def _register_status(app: typer.Typer, session: Session) -> None:
    @app.command(epilog=epilog("lstzoom status job.yaml", codes=JOB_EXIT_CODES))
    def status(
        file: JobFile,
        *,
        into: Into = None,
        as_json: AsJson = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
        debug: Debug = False,
    ) -> None:
        """Say how far a job is: done, failed, left, and who is at it."""
        with session(quiet=quiet, verbose=verbose, debug=debug):
            from lstzoom.jobs.overview import status_lines
            from lstzoom.jobs.status import status_of
            from lstzoom.sources.job import read_job

            found = status_of(read_job(file), into)
            if as_json:
                typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
                return
            for line in status_lines(found):
                typer.echo(line)


def _register_run(app: typer.Typer, session: Session) -> None:
    @app.command(
        epilog=epilog(
            "lstzoom run job.yaml",
            "lstzoom run job.yaml --since last --on-finish summary.json",
            codes=JOB_EXIT_CODES,
        )
    )
    def run(
        file: JobFile,
        *,
        into: Into = None,
        since: Annotated[
            Literal["last"] | None,
            typer.Option(help="Add what is new since the last run to the same store; for schedules."),
        ] = None,
        on_finish: OnFinish = None,
        performance: Performance = None,
        page: Page = None,
        as_json: AsJson = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
        debug: Debug = False,
    ) -> None:
        """Run a job, or go on with it where it stopped."""
        with session(quiet=quiet, verbose=verbose, debug=debug):
            from lstzoom.jobs.state import Options

            options = Options(into=into, since_last=since is not None, performance=performance)
            _run(file, options, on_finish, page=page, as_json=as_json, quiet=quiet)

    @app.command(epilog=epilog("lstzoom retry job.yaml --failed", codes=JOB_EXIT_CODES))
    def retry(
        file: JobFile,
        *,
        failed: Annotated[
            bool, typer.Option("--failed", help="Do again what failed, and nothing else.")
        ] = False,
        into: Into = None,
        on_finish: OnFinish = None,
        page: Page = None,
        as_json: AsJson = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
        debug: Debug = False,
    ) -> None:
        """Do again what failed; `lstzoom run` does that and all that is left besides."""
        if not failed:
            raise typer.BadParameter("say --failed: what failed is done again, and nothing else")
        with session(quiet=quiet, verbose=verbose, debug=debug):
            from lstzoom.jobs.state import Options

            options = Options(into=into, only_failed=True)
            _run(file, options, on_finish, page=page, as_json=as_json, quiet=quiet)


def _run(
    file: Path, options: Options, on_finish: Path | None, *, page: bool | None, as_json: bool, quiet: bool
) -> None:
    """Run, show, and end with the exit code of what happened."""
    from lstzoom.errors import InputError

    for target in (on_finish, options.performance):
        if target is not None and not target.absolute().parent.is_dir():
            raise InputError(f"the folder of {str(target)!r} does not exist; make it first")
    with _telling(on_finish):
        summary, wanted = _summary_of(file, options, quiet=quiet)
    # Before the page: whoever waits for the file shall not wait for pictures.
    _finish(on_finish, summary)
    if summary["scenes"]["all"] and (wanted if page is None else page):
        summary["report"] = _report(summary["store"])
        _finish(on_finish, summary)
    if as_json:
        typer.echo(json.dumps(summary, ensure_ascii=False))
    if not quiet:
        for line in _lines(summary, file):
            typer.echo(line, err=True)
    raise typer.Exit(summary["exit_code"])


def _summary_of(file: Path, options: Options, *, quiet: bool) -> tuple[dict[str, Any], bool]:
    """Run, and say how it ended and whether the job asks for a page of it."""
    from lstzoom.jobs.run import run_job
    from lstzoom.mosaics.after import JobMosaic
    from lstzoom.sources.job import read_job

    job = read_job(file)
    options = replace(options, finisher=JobMosaic.of(job))
    with _shown(quiet=quiet) as report:
        summary = run_job(
            job, options, report=report, say=lambda text: None if quiet else typer.echo(text, err=True)
        )
    return summary, job.run.report


def _report(url: str) -> str | None:
    """Write the page of a run that has ended; without one the run is what it is."""
    from lstzoom.jobs.report import write_into_store
    from lstzoom.jobs.store import store_at

    try:
        return write_into_store(store_at(url))
    except KeyboardInterrupt:
        typer.echo("no report: interrupted; make it with `lstzoom report JOB`", err=True)
    except Exception as error:  # noqa: BLE001  (results are there: nothing about a page may end the run)
        typer.echo(f"no report: {error}", err=True)
    return None


@contextmanager
def _telling(target: Path | None) -> Iterator[None]:
    """Have whoever waits for the file learn of runs that never began, too."""
    from lstzoom.errors import ExitCode, LstzoomError, StoreBusyError, StoreError
    from lstzoom.sources.redaction import redact

    def tell(state: str, code: ExitCode, why: str) -> None:
        _finish(target, {"format": 1, "state": state, "exit_code": code, "why": redact(why)})

    try:
        yield
    except (StoreBusyError, StoreError) as error:
        busy = isinstance(error, StoreBusyError)
        code = ExitCode.BUSY if busy else ExitCode.STOPPED
        tell("refused" if busy else "stopped", code, str(error))
        typer.echo(f"lstzoom: {redact(str(error))}", err=True)
        raise typer.Exit(code) from error
    except LstzoomError as error:
        tell("refused", ExitCode.BAD_INPUT, str(error))
        raise
    except KeyboardInterrupt:
        tell("interrupted", ExitCode.INTERRUPTED, "interrupted before the run began")
        raise
    except Exception as error:
        tell("unexpected error", ExitCode.UNEXPECTED, f"{type(error).__name__}: {error}")
        raise


def _finish(target: Path | None, summary: dict[str, Any]) -> None:
    if target is None:
        return
    draft = target.with_name(f".{target.name}.new")
    draft.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(target)


def _lines(summary: dict[str, Any], file: Path) -> Iterator[str]:
    """Say how a run ended."""
    from lstzoom.jobs.progress import duration, size

    tiles, scenes = summary["tiles"], summary["scenes"]
    for one in summary["failed"]:
        yield f"failed: {one['scene']} {one['what']}: {one['error']}"
    if summary["why"]:
        yield f"{summary['state']}: {summary['why']}"
    if summary["state"] == "nothing new":
        if not scenes["all"]:
            return
        yield (
            f"nothing new: {counted(tiles['all'], 'tile')} of {counted(scenes['all'], 'scene')}, all in "
            f"{summary['store']}"
        )
        return
    yield (
        f"{summary['state']}: {counted(tiles['done'], 'tile')} in {duration(summary['seconds']['all'])}"
        f" ({size(summary['bytes'])}); {scenes['complete']} of {counted(scenes['all'], 'scene')} complete in "
        f"{summary['store']}"
    )
    for one in summary.get("mosaics", ()):
        rows, columns = one["shape"]
        before = f", {one['skipped']} as they were" if one["skipped"] else ""
        yield (
            f"{one['store']}: mosaic of {counted(one['scenes'], 'scene')}, {rows} x {columns} pixels, "
            f"{counted(one['tiles'], 'tile')} made{before}"
        )
    if summary.get("report"):
        yield f"report: {summary['report']}"
    if summary["state"] == "failed" and summary["failed"]:
        yield f"do again what failed with: lstzoom retry {file} --failed"
    elif summary["exit_code"]:
        there = tiles["before"] + tiles["done"]
        yield f"{there} of {tiles['all']} tiles are done; go on with the same command: lstzoom run {file}"


@contextmanager
def _shown(*, quiet: bool) -> Iterator[Report]:
    """Show a bar on a terminal, and now and then a line elsewhere."""
    if quiet:
        yield lambda _progress: None
    elif sys.stderr.isatty():
        with _bar() as report:
            yield report
    else:
        yield _told_in_lines()


@contextmanager
def _bar() -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", told="")

        def report(progress: Progress) -> None:
            bar.update(
                task, description=progress.phase, total=max(progress.total, 1), told=str(progress),
                completed=progress.done + progress.failed,
            )  # fmt: skip

        yield report


def _told_in_lines() -> Report:
    last: dict[str, tuple[int, float]] = {}

    def report(progress: Progress) -> None:
        tenth = 10 * (progress.done + progress.failed) // max(progress.total, 1)
        before, at = last.get(progress.phase, (-1, 0.0))
        now = time.monotonic()
        # Long runs say something every minute, short ones every tenth.
        if (tenth > before and (now - at > 1.0 or tenth == 10)) or now - at > 60.0:
            last[progress.phase] = tenth, now
            typer.echo(f"{progress.phase}: {progress}", err=True)

    return report

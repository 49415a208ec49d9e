"""What holds for every command: examples that parse, the same options, plain output, completion."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from lstzoom import cli

COMMAND = [sys.executable, "-c", "from lstzoom.cli import main; main()"]


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    group = group or typer.main.get_command(cli.app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


ALL = dict(commands())


def examples(command: Any) -> list[list[str]]:
    lines = [line.strip() for line in (command.epilog or "").split("\n\n")]
    return [shlex.split(line) for line in lines if line.startswith("lstzoom ")]


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_has_an_example_and_tells_the_exit_codes(path: tuple[str, ...]) -> None:
    own = [one for one in examples(ALL[path]) if one[1 : 1 + len(path)] == list(path)]
    assert own, f"the help of {' '.join(path)} shows no example of it"
    assert "Exit codes" in ALL[path].epilog


@pytest.mark.parametrize("group", [(), ("catalog",), ("job",)], ids=" ".join)
def test_groups_of_commands_have_examples_too(group: tuple[str, ...]) -> None:
    command = typer.main.get_command(cli.app)
    for name in group:
        command = command.commands[name]  # type: ignore[attr-defined]  # typer's own classes
    assert examples(command)
    for words in (one[1:] for one in examples(command)):
        found = next(other for other in ALL if words[: len(other)] == list(other))
        ALL[found].make_context("lstzoom", words[len(found) :])


def test_the_list_of_commands_begins_where_a_newcomer_does() -> None:
    listed = list(typer.main.get_command(cli.app).commands)  # type: ignore[attr-defined]
    assert listed[:2] == ["demo", "doctor"]


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_examples_parse(path: tuple[str, ...]) -> None:
    for example in examples(ALL[path]):
        words = example[1:]
        found = next(other for other in ALL if words[: len(other)] == list(other))
        # Raises what a user would see: an option that is not there, a value that is missing.
        ALL[found].make_context("lstzoom", words[len(found) :])


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_can_be_quiet_verbose_and_debugged(path: tuple[str, ...]) -> None:
    names = {name for one in ALL[path].params for name in one.opts}
    assert {"--quiet", "-q", "--verbose", "-v", "--debug"} <= names


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_tells_its_result_as_json(path: tuple[str, ...]) -> None:
    names = {name for one in ALL[path].params for name in one.opts}
    # What these two write is JSON, and YAML, already.
    assert "--json" in names or path in {("catalog", "ingest"), ("job", "init")}


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_option_says_what_it_is(path: tuple[str, ...]) -> None:
    told = {one.name: getattr(one, "help", None) for one in ALL[path].params}
    assert [name for name, words in told.items() if not words] == []


def test_a_wrong_example_would_be_found() -> None:
    with pytest.raises(Exception, match="No such option: --outptu"):
        ALL["sharpen",].make_context("lstzoom", ["a.tif", "b.tif", "--outptu", "c.tif"])


@pytest.mark.parametrize(
    "arguments", [["--help"], ["sharpen", "--help"], ["sharpen", "no.tif", "no.tif", "-o", "x"]]
)
def test_there_are_no_colours_in_a_pipe(arguments: list[str]) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "PY_COLORS")}
    done = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment | {"TERM": "xterm"},
    )
    assert "\x1b" not in done.stdout + done.stderr


def test_an_error_is_one_paragraph_and_debug_shows_where() -> None:
    arguments = ["sharpen", "no.tif", "no.tif", "-o", "x.tif"]
    plain = CliRunner().invoke(cli.app, arguments)
    assert plain.exit_code == cli.BAD_INPUT
    assert plain.stderr.startswith("lstzoom: ")
    assert plain.stderr.strip().count("\n") == 0
    assert "Traceback" not in plain.stderr
    assert "Traceback" in CliRunner().invoke(cli.app, [*arguments, "--debug"]).stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(shell: str) -> None:
    environment = {
        **os.environ,
        "_LSTZOOM_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "lstzoom sha",
        "COMP_CWORD": "1",
        "_TYPER_COMPLETE_ARGS": "lstzoom sha",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    code = "import sys; sys.argv = ['lstzoom']; from lstzoom.cli import app; app(prog_name='lstzoom')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert re.search(r"\bsharpen\b", done.stdout), done.stderr
    assert "validate" not in done.stdout

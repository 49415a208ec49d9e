"""Pages of the documentation that are made when it is built: a hook of mkdocs.

Files of the root become pages, the command line is described by itself, and a page that the navigation does
not name is put at the end of the guides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer.main
from mkdocs.structure.files import File

from lstzoom import cli

ROOT: Final = Path(__file__).resolve().parent.parent
FROM_ROOT: Final = {
    "contributing.md": "CONTRIBUTING.md",
    "architecture.md": "ARCHITECTURE.md",
    "changelog.md": "CHANGELOG.md",
}
_INTRODUCTION: Final = (
    "Results, and with `--json` one JSON document, go to stdout; progress and messages go to stderr. "
    "Every command takes `--quiet`, `--verbose` and `--debug`. `lstzoom --install-completion` lets the shell "
    "complete commands and options."
)


def on_files(files: Any, config: Any) -> Any:  # noqa: ANN401  (mkdocs hands over its own)
    """Add the pages that are made, and give pages without a place one."""
    made = {name: _from_root(source) for name, source in FROM_ROOT.items()}
    made["command-line.md"] = command_line()
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    named = set(_named(config.nav))
    rest = sorted(file.src_uri for file in files.documentation_pages() if file.src_uri not in named)
    for part in config.nav:
        if "Guides" in part:
            part["Guides"] += [one for one in rest if one not in part["Guides"]]
    return files


def _named(nav: Any) -> Iterator[str]:  # noqa: ANN401  (YAML)
    """All pages that a navigation names."""
    if isinstance(nav, str):
        yield nav
    for part in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from _named(part)


def _from_root(name: str) -> str:
    """Read a file of the root, with links as they are from the folder of the documentation."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
    by_name = {source: page for page, source in FROM_ROOT.items()} | {"README.md": "index.md"}
    return re.sub(r"\]\((\w+\.md)\)", lambda found: f"]({by_name.get(found[1], found[1])})", text)


def command_line() -> str:
    """Describe every command as its own help does."""
    lines = [
        "# Command line",
        "",
        _INTRODUCTION,
    ]
    for path, command in _commands(typer.main.get_command(cli.app), ()):
        lines += ["", f"## lstzoom {' '.join(path)}", "", _clean(command.help), "", "| | |", "|---|---|"]
        lines += [f"| {_names(one)} | {_clean(getattr(one, 'help', ''))} |" for one in command.params]
        examples = [line.strip() for line in (command.epilog or "").split("\n\n")]
        lines += ["", "```sh", *(line for line in examples if line.startswith("lstzoom ")), "```"]
    return "\n".join(lines)


def _commands(group: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:  # noqa: ANN401
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name), command


def _names(parameter: Any) -> str:  # noqa: ANN401  (typer's own)
    """Name an option or an argument, with its metavar."""
    metavar = parameter.metavar or ""
    names = ", ".join(parameter.opts) if parameter.param_type_name == "option" else metavar
    shown = f"{names} {metavar}" if metavar and metavar != names else names
    return "`{}`".format(shown.replace("|", "\\|"))


def _clean(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")

"""The table of faults: every test that carries one out, and what came of it.

A plugin of `make test-faults`: ``pytest -p tests.faults.table -m fault``.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pluggy
import pytest

Row = tuple[str, str]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
_ROWS = pytest.StashKey[dict[Row, set[str]]]()


def row_of(item: pytest.Item) -> Row | None:
    """Fault and outcome that a test is marked with."""
    mark = item.get_closest_marker("fault")
    if mark is None:
        return None
    fault, outcome = mark.args
    return str(fault), str(outcome)


def listed_in(page: str) -> set[Row]:
    """Rows of the tables of faults; the page has tables of figures, too."""
    cells = [tuple(line.strip("| ").split(" | ")) for line in page.splitlines() if line.startswith("| ")]
    return {(one[0], one[1]) for one in cells if len(one) == 2 and one[0] != "fault"}


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_ROWS] = {}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pluggy.Result[pytest.TestReport], None]:
    report: pytest.TestReport = (yield).get_result()
    row = row_of(item)
    if row is not None and (report.when == "call" or report.outcome != "passed"):
        item.config.stash[_ROWS].setdefault(row, set()).add(report.outcome)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table where `make test-faults` asks for it."""
    if "LSTZOOM_FAULTS" not in os.environ:
        return
    rows = [
        (*row, "failed" if "failed" in one else "/".join(sorted(one)))
        for row, one in config.stash[_ROWS].items()
    ]
    terminalreporter.section("faults")
    width = max((len(row[0]) for row in rows), default=0)
    for fault, outcome, came in rows:
        terminalreporter.write_line(f"{came:<7} {fault:<{width}}  {outcome}")
    terminalreporter.write_line(f"{len(rows)} faults, {sum(row[2] == 'failed' for row in rows)} failed")
    if "LSTZOOM_FAULTS" not in os.environ:
        return
    listed = listed_in(PAGE.read_text(encoding="utf-8"))
    for fault, outcome in sorted({(one, two) for one, two, _ in rows} ^ listed):
        terminalreporter.write_line(f"not both here and in {PAGE.name}: {fault} | {outcome}", red=True)
    file = Path(os.environ["LSTZOOM_FAULTS"])
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = ["| fault | outcome |", "|---|---|", *(f"| {fault} | {outcome} |" for fault, outcome, _ in rows)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")

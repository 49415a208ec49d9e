"""The page on reliability lists every fault that is carried out."""

from __future__ import annotations

import pytest

from tests.faults.table import PAGE, listed_in, row_of


def test_every_fault_is_on_the_page(request: pytest.FixtureRequest) -> None:
    rows = {row for item in request.session.items if (row := row_of(item)) is not None}
    listed = PAGE.read_text(encoding="utf-8")
    missing = [row for row in sorted(rows) if f"| {row[0]} | {row[1]} |" not in listed]
    assert missing == [], "make test-faults writes build/faults.md: put it into docs/reliability.md"


def test_tables_of_figures_are_no_faults() -> None:
    page = (
        "| fault | outcome |\n|---|---|\n| a | b |\n\n| what | rms | most |\n|---|---|---|\n| c | 1 | 2 |\n"
    )
    assert listed_in(page) == {("a", "b")}
    assert len(listed_in(PAGE.read_text(encoding="utf-8"))) > 150

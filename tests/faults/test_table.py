"""The page on reliability lists every fault that is carried out."""

from __future__ import annotations

import pytest

from tests.faults.table import PAGE, row_of


def test_every_fault_is_on_the_page(request: pytest.FixtureRequest) -> None:
    rows = {row for item in request.session.items if (row := row_of(item)) is not None}
    listed = PAGE.read_text(encoding="utf-8")
    missing = [row for row in sorted(rows) if f"| {row[0]} | {row[1]} |" not in listed]
    assert missing == [], "make test-faults writes build/faults.md: put it into docs/reliability.md"

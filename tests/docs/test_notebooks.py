"""Notebooks are clean; `make notebooks` runs them."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def test_there_are_notebooks_and_the_list_names_them() -> None:
    assert len(NOTEBOOKS) >= 6
    told = (FOLDER / "README.md").read_text()
    assert [path.stem for path in NOTEBOOKS if f"`{path.stem}`" not in told] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_output_is_kept_and_the_code_parses(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    assert cells[0]["cell_type"] == "markdown"
    assert "".join(cells[0]["source"]).startswith("# ")
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["id"] for cell in code if cell["outputs"] or cell["execution_count"]] == []
    for cell in code:
        ast.parse("".join(cell["source"]))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_bar_of_progress_is_what_its_cell_shows(path: Path) -> None:
    """In a notebook `progress(...)` returns the bar, and only the last expression of a cell is shown."""
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    lines = ["".join(cell["source"]).rstrip().splitlines() for cell in cells]
    assert [line for cell in lines for line in cell[:-1] if line.startswith("progress(")] == []

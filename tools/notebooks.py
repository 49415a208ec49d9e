"""Run notebooks from start to end: ``python tools/notebooks.py OUTPUT NOTEBOOK...``.

Fails where a cell fails, where a cell warns, and where a notebook shows no picture. What was run, with its
output, goes to the folder OUTPUT.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

_WARNING = re.compile(r"\w*Warning:|lstzoom.*(WARNING|lies beside)|WARNING.*lstzoom")


def outputs_of(notebook: Any) -> Iterator[Any]:  # noqa: ANN401  (nbformat has no types)
    """All outputs of all cells."""
    for cell in notebook.cells:
        yield from cell.get("outputs", ())


def complaints(notebook: Any) -> list[str]:  # noqa: ANN401
    """Warnings that cells printed: Python's, and those that lstzoom logs.

    Those of distributed tell of a busy machine, as of workers that are slow to end.
    """
    texts = (one.text for one in outputs_of(notebook) if one.output_type == "stream")
    lines = (line for text in texts for line in text.splitlines())
    return [line for line in lines if _WARNING.search(line)]


def pictures(notebook: Any) -> int:  # noqa: ANN401
    """Count the pictures that cells drew."""
    return sum("image/png" in one.get("data", {}) for one in outputs_of(notebook))


def run(path: Path, folder: Path) -> list[str]:
    """Run one notebook; tell what is wrong with it."""
    start = time.perf_counter()
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}
    )
    client.execute()
    nbformat.write(notebook, folder / path.name)
    print(f"{path.name}: {time.perf_counter() - start:.0f} s, {pictures(notebook)} pictures", flush=True)
    wrong = [f"{path.name}: {line}" for line in complaints(notebook)]
    return wrong + ([] if pictures(notebook) else [f"{path.name}: no picture"])


def main(folder: Path, paths: list[Path]) -> int:
    """Run all; 1 if anything is wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    wrong = [line for path in paths for line in run(path, folder)]
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), [Path(one) for one in sys.argv[2:]]))

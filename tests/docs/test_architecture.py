"""ARCHITECTURE.md names every room, in the order of the contract of imports; figures are up to date."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import figures

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = (ROOT / "ARCHITECTURE.md").read_text()


def layers() -> list[set[str]]:
    """Layers of the contract, lowest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (found,) = (one["layers"] for one in contracts if one["type"] == "layers")
    return [set(re.findall(r"\w+", layer)) for layer in reversed(found)]


def test_the_order_of_imports_is_that_of_the_contract() -> None:
    (chain,) = re.findall(r"^```\n(errors → .*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert [set(re.findall(r"\w+", layer)) for layer in chain.split("→")] == layers()[:-1]
    assert layers()[-1] == {"__main__"}


def test_every_room_is_named() -> None:
    rooms = " ".join(re.findall(r"^\| (`.*?) \|", TEXT, re.MULTILINE))
    modules = set.union(*layers()) - {"__main__"}
    told = {name for name in modules if f"`{name}.py`" in rooms or f"{name}/`" in rooms}
    assert modules - told == {name for name in modules if name.startswith("cli")}
    assert "`cli*.py`" in rooms
    folders = {
        path.parent.name for path in ROOT.glob("*/*") if path.suffix in {".py", ".toml", ".md", ".ipynb"}
    }
    kept = {name for name in folders - {"lstzoom"} if not name.startswith((".", "build", "dist"))}
    assert [name for name in sorted(kept) if f"`{name}/`" not in rooms] == []


@pytest.mark.parametrize("draw", [figures.halo, figures.data_flow])
def test_a_figure_says_what_the_code_says(draw: Callable[[Path], Path], tmp_path: Path) -> None:
    """Texts are kept as comments of the drawing; `python -m tools.figures` draws it anew."""
    made = draw(tmp_path)
    kept = ROOT / "docs" / "images" / made.name
    now, then = (re.findall(r"<!-- (.+?) -->", path.read_text()) for path in (made, kept))
    assert len(now) > 5
    assert now == then


def test_the_halo_is_explained_with_its_own_numbers() -> None:
    from lstzoom import SharpenConfig
    from lstzoom.kernels import footprint
    from lstzoom.kernels.windows import reach_of
    from lstzoom.sharpening import BlockFunction

    config = SharpenConfig()
    settings = BlockFunction(config, 3, ("lst",)).settings
    parts = (settings.margin, 2 * reach_of(config.windows.stride), config.windows.extension)
    near = sum(parts)
    told = " + ".join(map(str, parts)) + f" = {near} coarse pixels, and {footprint.REACH} more"
    assert told in " ".join(TEXT.split())
    assert settings.halo == near + footprint.REACH

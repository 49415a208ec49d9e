from __future__ import annotations

import json
from pathlib import Path

import pytest
import rasterio
from typer.testing import CliRunner

import lstzoom
from lstzoom.cli import app
from lstzoom.simulate import simulate_scene, write_scene


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[str]:
    paths = write_scene(simulate_scene((120, 120), bands=("red", "nir")), tmp_path_factory.mktemp("scene"))
    return [str(paths[name]) for name in ("lst", "red", "nir")]


def run(*arguments: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == code, done.output
    return done.output


def test_a_model_of_the_scene_itself_changes_nothing(files: list[str], tmp_path: Path) -> None:
    model, plain, used = (tmp_path / name for name in ("m.lstzoom", "plain.tif", "used.tif"))
    told = json.loads(run("fit", *files, "-o", model, "--seed", "3", "--json"))
    assert told["sha256"] == lstzoom.load_model(model).content_hash
    assert (told["seed"], told["ratio"]) == (3, 3)
    run("sharpen", *files, "-o", plain, "--seed", "3", "-q")
    run("sharpen", *files, "-o", used, "--model", model, "-q")
    with rasterio.open(plain) as first, rasterio.open(used) as second:
        assert (first.read() == second.read()).all()
        assert second.tags()["LSTZOOM_MODEL"] == told["sha256"]
        # The run that trained for itself had the same model, and says so.
        assert first.tags()["LSTZOOM_MODEL"] == told["sha256"]


def test_a_file_that_is_no_model_is_bad_input(files: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    assert "is no model" in run("sharpen", *files, "-o", out, "--model", files[0], code=3)
    assert not out.exists()


def test_a_model_is_never_replaced_unasked(files: list[str], tmp_path: Path) -> None:
    model = tmp_path / "m"
    run("fit", *files, "-o", model)
    assert "--overwrite" in run("fit", *files, "-o", model, code=3)
    bands = Path(files[1]).read_bytes()
    assert "is an input" in run("fit", *files, "-o", files[1], "--overwrite", code=3)
    assert Path(files[1]).read_bytes() == bands
    assert "is an input" in run("sharpen", *files, "-o", model, "--overwrite", "--model", model, code=3)

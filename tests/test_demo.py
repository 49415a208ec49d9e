"""The demonstration, from STAC items to scored files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr
from rio_cogeo.cogeo import cog_validate
from typer.testing import CliRunner

from lstzoom import cli
from lstzoom.demo import run_demo
from lstzoom.errors import InputError


def test_it_ends_with_files_a_score_and_pictures(tmp_path: Path) -> None:
    told: list[str] = []
    blocks: list[tuple[int, int]] = []
    done = run_demo(
        tmp_path / "demo", size=180, workers=1, say=told.append, progress=lambda *now: blocks.append(now)
    )
    assert blocks[0][0] == 0
    assert blocks[-1][0] == blocks[-1][1] == done.written.blocks
    assert len(told) == 3
    rows = done.report.rows
    assert set(rows) == {"lstzoom", "bicubic", "nearest"}
    assert rows["lstzoom"]["rmse"] < 0.8 * rows["bicubic"]["rmse"]
    scores = json.loads((tmp_path / "demo" / "scores.json").read_text())
    assert scores["methods"]["lstzoom"]["rmse"] == rows["lstzoom"]["rmse"]
    assert cog_validate(str(done.written.paths["lst"]), strict=True)[0]
    with xr.open_zarr(done.written.paths["zarr"]) as store:
        assert set(store.data_vars) == {"lst", "qa", "lst_uncertainty"}
    assert [path.name for path in done.pictures] == ["before_after.png", "errors.png"]
    assert all(path.stat().st_size > 10_000 for path in done.pictures)


def test_its_own_folder_is_used_again(tmp_path: Path) -> None:
    first = run_demo(tmp_path, size=90, workers=1)
    again = run_demo(tmp_path, size=90, workers=1, seed=1)
    assert first.report.rows["bicubic"] != again.report.rows["bicubic"]


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="was not made by `lstzoom demo`"):
        run_demo(tmp_path, size=90, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_size_that_is_no_multiple_of_three_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.app, ["demo", "-o", str(tmp_path / "demo"), "--size", "100"])
    assert done.exit_code == cli.BAD_INPUT
    assert "100" in done.stderr


def test_without_matplotlib_it_goes_on_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Python refuses to import what is None here, as if it were not installed.
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = run_demo(tmp_path, size=90, workers=1)
    assert done.pictures == ()
    assert "lstzoom[report]" in done.missing
    assert (tmp_path / "scores.json").exists()


@pytest.mark.cluster
def test_the_command_runs_on_a_cluster(tmp_path: Path) -> None:
    code = "from lstzoom.cli import main; main()"
    command = [sys.executable, "-c", code, "demo", "-o", str(tmp_path / "demo"), "--size", "240"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "R2 of the detail" in done.stdout
    assert "with 2 workers" in done.stderr
    assert "INFO" not in done.stderr
    assert f"everything is in {tmp_path / 'demo'}" in done.stdout


@pytest.mark.slow
def test_scores_and_files_as_json(tmp_path: Path) -> None:
    command = ["demo", "-o", str(tmp_path / "demo"), "--size", "180", "--workers", "1", "--json"]
    done = CliRunner().invoke(cli.app, command)
    assert done.exit_code == cli.OK, done.stderr
    told = json.loads(done.stdout)
    assert all(Path(path).exists() for path in told["files"])
    assert told["score"]["methods"]["lstzoom"]["rmse"] < told["score"]["methods"]["bicubic"]["rmse"]

"""What tells whether a job, its inputs or the code are others than before."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lstzoom.jobs import identity
from lstzoom.sources.job import read_job


@pytest.mark.parametrize("spelt", [Path.as_posix, Path.as_uri])
def test_a_file_that_is_replaced_is_seen_however_it_is_spelt(tmp_path: Path, spelt: Any) -> None:
    path = tmp_path / "my scene.tif"
    layer: Any = SimpleNamespace(href=spelt(path))
    assert identity._stamp(layer) is None
    path.write_bytes(b"one")
    before = identity._stamp(layer)
    assert before is not None
    path.write_bytes(b"another")
    assert identity._stamp(layer) != before


def test_a_job_in_a_store_holds_no_password(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(
        "catalog:\n  name: demo\n  allow: ['https://me:hidden@h/', 'https://h/x?sig=hidden']\n"
        "area:\n  bbox: [1, 2, 3, 4]\ndatetime: '2023-06'\n"
    )
    assert "hidden" not in json.dumps(identity.settings_of(read_job(tmp_path / "job.yaml")))

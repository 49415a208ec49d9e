from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs.region import make_region


@pytest.fixture(scope="session")
def region(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dates; tests write beside the files, each to an output of its own."""
    return make_region(tmp_path_factory.mktemp("region"))

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sources.archive import Archive, make_archive
from tests.sources.nginx import Nginx, nginx
from tests.sources.servers import Files, file_server


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return make_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture
def files(archive: Archive) -> Iterator[Files]:
    with file_server(archive.folder) as server:
        yield server


@pytest.fixture
def own_files(tmp_path: Path) -> Iterator[Files]:
    (tmp_path / "served").mkdir()
    with file_server(tmp_path / "served") as server:
        yield server


@pytest.fixture
def web(archive: Archive, tmp_path: Path) -> Iterator[Nginx]:
    with nginx(archive.folder, tmp_path / "nginx") as server:
        yield server

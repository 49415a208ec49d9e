from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.s3_server import serve

# The first example may wait for a kernel to be compiled, and any for a machine that does other work.
settings.register_profile("lstzoom", deadline=None)
settings.load_profile("lstzoom")


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Host and port of a server that speaks S3.

    One for all tests: s3fs keeps its connections for as long as the process lives.
    """
    pytest.importorskip("moto")
    with serve(tmp_path_factory.mktemp("moto")) as address:
        yield address

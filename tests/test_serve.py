"""Map tiles, from a real server."""

from __future__ import annotations

import io
import json
import math
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import numpy as np
import pytest
import rasterio
from PIL import Image
from typer.testing import CliRunner

from lstzoom import cli, raster
from lstzoom.errors import MissingExtraError
from lstzoom.serve import make_app, serve, tile_address
from lstzoom.simulate import simulate_scene, write_scene

COMMAND = [sys.executable, "-c", "from lstzoom.cli import main; main()"]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.cluster
def test_tiles_have_the_colours_of_the_temperature_and_nothing_else_is_read(tmp_path: Path) -> None:
    paths = write_scene(simulate_scene((300, 300), bands=("red",)), tmp_path)
    port = free_port()
    command = [*COMMAND, "serve", str(paths["truth"]), "--port", str(port), "--low", "290", "--high", "320"]
    with subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = json.loads(server.stdout.readline())["tiles"]
            zoom, x, y = tile_of(paths["truth"])
            tile = fetched(address.format(z=zoom, x=x, y=y))
            colours = np.moveaxis(np.asarray(Image.open(io.BytesIO(tile)).convert("RGBA")), -1, 0)
            assert (colours[3] > 0).any()
            seen = colours[:3][:, colours[3] > 0]
            assert len(np.unique(seen, axis=1).T) > 20
            # Another file is named in vain.
            query = address.format(z=zoom, x=x, y=y) + f"&url={paths['red']}"
            assert fetched(query) == tile
            with pytest.raises(HTTPError):
                urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=5)
        finally:
            server.terminate()


def test_an_address_is_told_only_where_it_is_listened_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_scene(simulate_scene((30, 30), bands=("red",)), tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = CliRunner().invoke(cli.app, ["serve", str(paths["truth"]), "--port", port])
    assert done.exit_code == cli.BAD_INPUT
    assert done.stdout == ""
    assert "--port" in done.stderr

    # The system itself takes connections from here on, before the server has begun.
    free = free_port()
    monkeypatch.setattr("uvicorn.Server.run", lambda _, sockets: reached.append(sockets[0].getsockname()))
    reached: list[tuple[str, int]] = []
    serve(
        paths["truth"],
        port=free,
        listening=lambda: socket.create_connection(("127.0.0.1", free), timeout=5).close(),
    )
    assert reached == [("127.0.0.1", free)]


def test_addresses_of_version_6_are_written_as_browsers_want_them(tmp_path: Path) -> None:
    paths = write_scene(simulate_scene((30, 30), bands=("red",)), tmp_path)
    told = tile_address("::1", 80, raster.describe(paths["truth"])[0], 280, 320)
    assert told.startswith("http://[::1]:80/tiles/")


def fetched(address: str) -> bytes:
    end = time.monotonic() + 30
    while True:
        try:
            with urlopen(address, timeout=10) as answer:  # noqa: S310 (loopback)
                return bytes(answer.read())
        except URLError as error:
            if isinstance(error, HTTPError) or time.monotonic() > end:
                raise
            time.sleep(0.1)


def tile_of(path: Path) -> tuple[int, int, int]:
    """Web Mercator tile over the middle of a file, at about its resolution."""
    left, bottom, right, top = raster.describe(path)[0].geobox.geographic_extent.boundingbox.bbox
    lon, lat, zoom = (left + right) / 2, math.radians((bottom + top) / 2), 14
    x = int((lon + 180) / 360 * 2**zoom)
    y = int((1 - math.asinh(math.tan(lat)) / math.pi) / 2 * 2**zoom)
    return zoom, x, y


def test_without_titiler_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_scene(simulate_scene((30, 30), bands=("red",)), tmp_path)
    monkeypatch.setitem(sys.modules, "titiler.core.factory", None)
    with pytest.raises(MissingExtraError, match=r"lstzoom\[serve\]"):
        make_app(paths["truth"])
    with rasterio.open(paths["truth"]) as file:
        assert file.count == 1

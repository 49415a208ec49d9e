"""Map tiles of one result, for a browser or a GIS: titiler with the right colours, on loopback.

A tile server reads whatever address it is asked for, which on a machine with credentials is more than a map
should show. This one reads the one file that it was started with.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from lstzoom import raster
from lstzoom.errors import ConfigError, import_extra

if TYPE_CHECKING:
    from collections.abc import Callable

    from lstzoom.raster import RasterSource

_COLOURS = "inferno"


def tile_address(host: str, port: int, source: RasterSource, low: float, high: float) -> str:
    """Address of tiles as GIS programs take it, with ``{z}/{x}/{y}`` left for them to fill.

    Parameters
    ----------
    host, port
        Of the server.
    source
        Band that is shown; the range is stretched in its stored numbers.
    low, high
        Kelvin of the first and the last colour.
    """
    stored = [(kelvin - source.offset) / source.scale for kelvin in (low, high)]
    query = urlencode({"rescale": "{:g},{:g}".format(*stored), "colormap_name": _COLOURS}, safe=",")
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/tiles/WebMercatorQuad/{{z}}/{{x}}/{{y}}.png?{query}"


def make_app(path: str | Path) -> Any:  # noqa: ANN401  (FastAPI comes with the extra)
    """Make the server's application.

    Parameters
    ----------
    path
        COG of temperature.

    Raises
    ------
    InputError
        If the file cannot be read.
    MissingExtraError
        If titiler is not installed (extra ``serve``).
    """
    fastapi, core = import_extra("fastapi", "serve"), import_extra("titiler.core.factory", "serve")
    address = raster.describe(path)[0].path
    app = fastapi.FastAPI(title="lstzoom", docs_url=None, redoc_url=None, openapi_url=None)
    tiles = core.TilerFactory(path_dependency=lambda: address, add_viewer=False)
    app.include_router(tiles.router)
    errors = import_extra("titiler.core.errors", "serve")
    errors.add_exception_handlers(app, errors.DEFAULT_STATUS_CODES)
    return app


def serve(
    path: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    listening: Callable[[], None] = lambda: None,
) -> None:
    """Serve tiles until interrupted.

    Parameters
    ----------
    path
        COG of temperature.
    host, port
        Where to listen; everyone who reaches another host than loopback sees the map.
    listening
        Called once requests are taken.

    Raises
    ------
    InputError
        If the file cannot be read.
    ConfigError
        If the port is taken, or the host is none of this machine.
    MissingExtraError
        If titiler is not installed (extra ``serve``).
    """
    uvicorn = import_extra("uvicorn", "serve")
    app = make_app(path)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        door = socket.create_server((host, port), family=family)
    except OSError as error:
        why = str(error.strerror).partition(" (while")[0]  # Python repeats the address there
        raise ConfigError(
            f"cannot listen on {host}:{port}: {why}; choose another port with --port, or one of "
            "this machine's addresses with --host"
        ) from error
    with door:
        listening()
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[door])

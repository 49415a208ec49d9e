"""One cloud-optimised GeoTIFF of a whole mosaic, from its store, by one writer with flat memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lstzoom.encoding import UINT16, Encoding
from lstzoom.errors import InputError
from lstzoom.layers import copy_into
from lstzoom.mosaics.scenes import open_scenes
from lstzoom.write import CogSink

logger = logging.getLogger(__name__)


def write_cog(
    store: str,
    path: str | Path,
    *,
    step: int = 0,
    encoding: Encoding = UINT16,
    tags: Mapping[str, str] | None = None,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the temperature of one time of a cube as one COG.

    Parameters
    ----------
    store
        Cube (time, y, x) or store (y, x) with ``lst``.
    path
        COG, on a local disk with room for the file uncompressed.
    step
        Number of the time.
    encoding
        Of the file, such as `lstzoom.write.UINT16`.
    tags
        Metadata of the file.
    overwrite
        Replace an existing file.
    storage_options
        For fsspec.
    progress
        Called with windows done and all of them.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If there is no such time, the store cannot be read, or the target cannot be written.
    EncodingError
        If values do not fit the encoding.

    Notes
    -----
    A window of 2048 pixels a side is in memory at a time, besides GDAL's cache; overviews are means of
    radiance.
    """
    scenes = open_scenes([store], storage_options)
    if not 0 <= step < len(scenes):
        raise InputError(f"{store!r} has {len(scenes)} times; there is no number {step} among them, from 0")
    layer = scenes[step].lst
    with CogSink(path, layer.grid, encoding, tags or {}, overwrite=overwrite) as sink:
        copy_into(sink, layer, progress)
    return Path(path)

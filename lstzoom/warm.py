"""Compiling ahead of the first run: for installations, images and clusters.

Compiled kernels are kept (`lstzoom.kernels.compile`), so that only the first run of an installation
waits for them. What makes them ahead is such a run, on a small simulated scene.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from lstzoom import raster, stream
from lstzoom.encoding import ENCODINGS
from lstzoom.inputs import from_files
from lstzoom.kernels.compile import folder
from lstzoom.overviews import fourth_powers
from lstzoom.simulate import simulate_scene, write_scene
from lstzoom.validate import validate

_SIDE = 180


def warm() -> Path:
    """Compile all kernels that are not compiled yet.

    Returns
    -------
    Path
        The folder in which they are kept.
    """
    scene = simulate_scene((_SIDE, _SIDE), bands=("red", "nir"))
    with TemporaryDirectory() as name:
        paths = write_scene(scene, Path(name))
        lst = raster.lazy_lst(paths["lst"])
        sources = [raster.describe(paths[band])[0] for band in ("red", "nir")]
        vnir = raster.LazyStack(tuple(sources), raster.describe(paths["red"])[0].geobox)
        files = from_files(vnir, lst, None, ("red", "nir"))
        stream.write_scene(files, stream.Targets(lst=Path(name) / "out.tif"))
        raster.close_files()
    for encoding in ENCODINGS.values():
        # Of scenes that are larger than this one.
        fourth_powers(encoding.encode(scene.coarse), encoding)
    pair = scene.to_xarray()
    validate(pair.vnir, pair.lst)
    return folder()

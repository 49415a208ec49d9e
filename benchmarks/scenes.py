"""Scenes to measure on: simulated city and fields, 8 bands, uint16 COGs.

Simulating takes longer than sharpening. Scenes beyond 3660 pixels are that many pixels, mirrored at
their edges as often as needed: there is as much to learn in every part, and nothing breaks off.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from lstzoom.simulate import Landscape, write_simulation

RATIO = 3
_SIMULATED = 3660
_STRIP = 512


@dataclass(frozen=True, slots=True)
class SceneFiles:
    """Files of a scene.

    Attributes
    ----------
    lst
        30 m.
    bands
        10 m.
    size
        Fine pixels along a side.
    """

    lst: str
    bands: tuple[str, ...]
    size: int

    @property
    def pixels(self) -> int:
        """Fine pixels."""
        return self.size**2

    def sharpen(self, python: str, out: Path, *more: str) -> list[str]:
        """Command line that sharpens the scene."""
        start = [python, "-c", "from lstzoom.cli import main; main()", "sharpen", self.lst, *self.bands]
        return [*start, "-o", str(out), "--overwrite", "--quiet", *more]


def make_scene(folder: Path, size: int) -> SceneFiles:
    """Write a scene of ``size x size`` fine pixels, a multiple of 3, without its truth."""
    small = min(size, _SIMULATED)
    place = folder if small == size else folder / "simulated"
    made = write_simulation(place, (small, small), landscape=Landscape(seed=1))
    made.pop("truth").unlink()
    if small < size:
        for name, path in made.items():
            _mirror(path, folder / f"{name}.tif", size // RATIO if name == "lst" else size)
            path.unlink()
    names = [name for name in made if name != "lst"]
    return SceneFiles(str(folder / "lst.tif"), tuple(str(folder / f"{name}.tif") for name in names), size)


def _mirror(source: Path, target: Path, size: int) -> None:
    draft = target.with_suffix(".part.tif")
    with rasterio.open(source) as small:
        values = small.read(1)
        profile = {**small.profile, "height": size, "width": size, "transform": Affine(*small.transform[:6])}
        profile |= {"driver": "GTiff", "compress": "none", "bigtiff": "IF_SAFER"}
        columns = _mirrored(np.arange(size), len(values))
        with rasterio.open(draft, "w", **profile) as big:
            big.scales, big.offsets = small.scales, small.offsets
            big.units, big.descriptions = small.units, small.descriptions
            for top in range(0, size, _STRIP):
                rows = _mirrored(np.arange(top, min(top + _STRIP, size)), len(values))
                big.write(values[np.ix_(rows, columns)], 1, window=Window(0, top, size, len(rows)))
    rasterio.shutil.copy(draft, target, driver="COG", compress="DEFLATE", predictor="YES", blocksize=512)
    draft.unlink()


def _mirrored(index: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """Positions in a row of pixels that goes forth and back."""
    back = index % (2 * size)
    return np.asarray(np.where(back < size, back, 2 * size - 1 - back))

"""A region of overlapping scenes with a known truth, for tests, benchmarks and pictures of mosaics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy.ndimage import gaussian_filter

from lstzoom.kernels.quality import QA
from lstzoom.simulate import PIXEL, Landscape, simulate_tile
from lstzoom.write import QA as QA_ENCODING
from lstzoom.write import UINT16, CogSink, Encoding

if TYPE_CHECKING:
    from numpy.typing import NDArray

_START = datetime(2023, 6, 1, 10, 15, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RegionPlan:
    """A region of scenes on a lattice, each of another day.

    Attributes
    ----------
    across
        Scenes along y and x.
    side
        Rows and columns of a scene.
    overlap
        Share of a scene's side that it has in common with its neighbour.
    offset_sd
        Standard deviation of what a scene is warmer or colder than the truth as a whole, kelvin.
    noise
        Standard deviation of the noise of the lower left scene, kelvin; it grows by half to the upper right,
        and is what scenes state as their uncertainty.
    cloud
        Share of each scene that is masked.
    seed
        Another seed is another region.
    """

    across: tuple[int, int] = (3, 4)
    side: int = 600
    overlap: float = 0.3
    offset_sd: float = 2.0
    noise: float = 0.3
    cloud: float = 0.04
    seed: int = 0

    @property
    def step(self) -> int:
        """Pixels from one scene to the next."""
        return round(self.side * (1 - self.overlap))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the region."""
        rows, columns = (self.side + self.step * (count - 1) for count in self.across)
        return rows, columns

    @property
    def geobox(self) -> GeoBox:
        """Grid of the region, UTM 32 north."""
        return _grid(0, 0, self.shape)


def _grid(row: int, column: int, shape: tuple[int, int]) -> GeoBox:
    corner = Affine(PIXEL, 0.0, 600000.0 + PIXEL * column, 0.0, -PIXEL, 5400000.0 - PIXEL * row)
    return GeoBox(shape, corner, "EPSG:32632")


def simulate_region(folder: str | Path, plan: RegionPlan | None = None) -> NDArray[np.float32]:
    """Write the scenes of a region as `lstzoom sharpen` does: temperature, uncertainty, flags.

    Parameters
    ----------
    folder
        Existing; COGs named by the scene's time, in UTM 32 north.
    plan
        Of the region.

    Returns
    -------
    ndarray
        Truth on `RegionPlan.geobox`, kelvin, float32.
    """
    what = plan or RegionPlan()
    draw = np.random.default_rng(what.seed)
    truth = simulate_tile((0, 0), what.shape, Landscape(seed=what.seed, bands=("red",), noise=0.0))[1]
    rows, columns = what.across
    days = draw.permutation(rows * columns)
    for number, day in enumerate(days):
        row, column = (part * what.step for part in divmod(number, columns))
        window = truth[row : row + what.side, column : column + what.side]
        sd = what.noise * (1 + 0.5 * number / max(rows * columns - 1, 1))
        layers = _observed(window, sd, what, draw)
        when = _START + timedelta(days=int(day))
        _write(Path(folder), f"lst_{when:%Y%m%dT%H%M%SZ}", _grid(row, column, window.shape), layers)
    return truth


def _observed(
    truth: NDArray[np.float32], sd: float, plan: RegionPlan, draw: np.random.Generator
) -> Mapping[str, NDArray[Any]]:
    cloud = gaussian_filter(draw.standard_normal(truth.shape), plan.side / 20)
    masked = cloud > np.quantile(cloud, 1 - plan.cloud)
    lst = truth + plan.offset_sd * draw.standard_normal() + sd * draw.standard_normal(truth.shape)
    return {
        "": np.where(masked, np.nan, lst).astype(np.float32),
        "_uncertainty": np.where(masked, np.nan, sd).astype(np.float32),
        "_qa": np.where(masked, QA.MASKED, QA.LOCAL).astype(np.uint8),
    }


def _write(folder: Path, name: str, grid: GeoBox, layers: Mapping[str, NDArray[Any]]) -> None:
    kinds: Mapping[str, tuple[Encoding, str, str]] = {
        "": (UINT16, "LST", "K"),
        "_uncertainty": (UINT16.averaged, "LST uncertainty", "K"),
        "_qa": (QA_ENCODING, "QA", ""),
    }
    for suffix, values in layers.items():
        encoding, title, units = kinds[suffix]
        path = folder / f"{name}{suffix}.tif"
        with CogSink(path, grid, encoding, description=title, units=units) as sink:
            sink.write(values, (slice(0, grid.shape.y), slice(0, grid.shape.x)))

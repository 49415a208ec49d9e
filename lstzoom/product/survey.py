"""One pass over a finished result and its input: the figures that are published with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lstzoom.kernels.aggregate import area_mean, area_mean_radiance
from lstzoom.kernels.quality import MEANINGS, QA
from lstzoom.product.outputs import Outputs, require_flags, values_of
from lstzoom.product.pictures import Stretch

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

_KELVIN_STEP: Final = 0.01
_MOST_KELVIN: Final = 700.0
_REFLECTANCE_STEP: Final = 1e-4
_REFLECTANCE: Final = (-0.2, 2.0)
_SHOWN_KELVIN: Final = (0.01, 0.99)
_SHOWN_REFLECTANCE: Final = (0.005, 0.99)


@dataclass(slots=True)
class Histogram:
    """Counts of values in narrow classes, for quantiles that need no sorting; the rest is exact."""

    low: float
    high: float
    step: float
    counts: NDArray[np.int64] = field(init=False)
    total: float = 0.0
    least: float = np.inf
    most: float = -np.inf

    def __post_init__(self) -> None:
        """Make room."""
        self.counts = np.zeros(round((self.high - self.low) / self.step) + 1, np.int64)

    def add(self, values: NDArray[Any]) -> None:
        """Count values that are finite."""
        known = values[np.isfinite(values)].astype(np.float64)
        if not known.size:
            return
        place = np.clip(np.rint((known - self.low) / self.step), 0, len(self.counts) - 1)
        self.counts += np.bincount(place.astype(np.int64), minlength=len(self.counts))
        self.total += float(known.sum())
        self.least, self.most = min(self.least, float(known.min())), max(self.most, float(known.max()))

    @property
    def count(self) -> int:
        """Values counted."""
        return int(self.counts.sum())

    def quantile(self, share: float) -> float:
        """Value below which a share of all lies, to one step."""
        place = int(np.searchsorted(np.cumsum(self.counts), share * self.count))
        return self.low + self.step * min(place, len(self.counts) - 1)

    def stretch(self, shares: tuple[float, float], least: float) -> Stretch:
        """Give the range between two quantiles, at least so wide."""
        low, high = (self.quantile(share) for share in shares)
        middle, half = (low + high) / 2, max((high - low) / 2, least / 2)
        return Stretch(round(middle - half, 4), round(middle + half, 4))

    def summary(self, unit: str) -> dict[str, Any]:
        """Sum up what was counted."""
        figures = {
            "minimum": self.least, "mean": self.total / max(self.count, 1), "maximum": self.most,
            "median": self.quantile(0.5), "percentile_95": self.quantile(0.95),
        }  # fmt: skip
        return {
            "unit": unit,
            "pixels": self.count,
            **{name: round(value, 3) for name, value in figures.items()},
        }


@dataclass(slots=True)
class Conservation:
    """How far the result, averaged in radiance over whole coarse pixels, departs from its input."""

    pixels: int = 0
    total: float = 0.0
    squares: float = 0.0
    largest: float = 0.0

    def add(self, fine: NDArray[Any], coarse: NDArray[Any], ratio: int) -> None:
        """Compare rows; coarse pixels with a fine one missing are left out."""
        apart = area_mean_radiance(fine, ratio).astype(np.float64) - coarse
        apart = apart[np.isfinite(apart)]
        self.pixels += apart.size
        self.total += float(apart.sum())
        self.squares += float((apart**2).sum())
        self.largest = max(self.largest, float(np.abs(apart).max(initial=0.0)))

    def summary(self) -> dict[str, Any] | None:
        """Sum up; None where no coarse pixel could be compared."""
        if not self.pixels:
            return None
        figures = {
            "bias": self.total / self.pixels, "rmse": (self.squares / self.pixels) ** 0.5,
            "largest": self.largest,
        }  # fmt: skip
        # Minus zero, which rounding leaves, becomes zero.
        rounded = {name: round(value, 4) + 0.0 for name, value in figures.items()}
        return {"unit": "K", "coarse_pixels": self.pixels} | rounded


@dataclass(slots=True)
class Survey:
    """What one pass found.

    Attributes
    ----------
    kelvin, sigma, reflectance
        Histograms of temperature, its uncertainty and visible reflectance.
    conservation
        Departure from the input.
    flags
        Fine pixels by flag; None without flags.
    small_kelvin, small_rgb
        The scene made small, shapes (y, x) and (3, y, x).
    """

    kelvin: Histogram
    sigma: Histogram
    reflectance: Histogram
    conservation: Conservation
    flags: NDArray[np.int64] | None
    small_kelvin: NDArray[np.float32]
    small_rgb: NDArray[np.float32] | None

    @property
    def kelvin_shown(self) -> Stretch:
        """Range of the colours of temperature: the middle 98 %, a tenth of a kelvin at least."""
        return self.kelvin.stretch(_SHOWN_KELVIN, 0.1)

    @property
    def reflectance_shown(self) -> Stretch:
        """Range of the natural colours; reflectance below 0, which haze leaves behind, is black."""
        low, high = self.reflectance.stretch(_SHOWN_REFLECTANCE, 1e-3)
        return Stretch(max(low, 0.0), max(high, 1e-3))

    def shares(self) -> dict[str, float] | None:
        """Percentage of fine pixels by what the flag means."""
        if self.flags is None:
            return None
        whole = max(int(self.flags.sum()), 1)
        return {MEANINGS[flag]: round(100 * int(self.flags[flag]) / whole, 4) for flag in QA}


def survey(
    outputs: Outputs, coarse: xr.DataArray, ratio: int, rgb: xr.DataArray | None, factor: int
) -> Survey:
    """Go over a result once.

    Parameters
    ----------
    outputs
        The result.
    coarse
        Lazy LST that it was made of, kelvin, dimensions (y, x).
    ratio
        Fine pixels along a coarse pixel.
    rgb
        Lazy red, green and blue reflectance on the fine grid.
    factor
        Fine pixels along a pixel of the small pictures.

    Raises
    ------
    InputError
        If flags have values that are none.
    """
    kelvin, sigma = Histogram(0.0, _MOST_KELVIN, _KELVIN_STEP), Histogram(0.0, _MOST_KELVIN, _KELVIN_STEP)
    reflectance, conservation = Histogram(*_REFLECTANCE, _REFLECTANCE_STEP), Conservation()
    flags = None if outputs.qa is None else np.zeros(256, np.int64)
    small, small_rgb = [], []
    for rows in outputs.strips(ratio * factor):
        lst = values_of(outputs.lst, rows)
        kelvin.add(lst)
        conservation.add(lst, values_of(coarse, slice(rows.start // ratio, rows.stop // ratio)), ratio)
        small.append(area_mean_radiance(_padded(lst, factor), factor, min_valid=0.0))
        if outputs.uncertainty is not None:
            sigma.add(values_of(outputs.uncertainty, rows))
        if flags is not None:
            flags += np.bincount(values_of(outputs.qa, rows).ravel(), minlength=256)  # type: ignore[arg-type]
            require_flags(np.flatnonzero(flags), "qa of the result")
        if rgb is not None:
            colours = values_of(rgb, rows)
            # Clouds are bright: only ground that has a temperature decides what is white.
            reflectance.add(colours[:, np.isfinite(colours).all(axis=0) & np.isfinite(lst)])
            small_rgb.append(area_mean(_padded(colours, factor), factor, min_valid=0.0))
    return Survey(
        kelvin, sigma, reflectance, conservation, flags, np.concatenate(small),
        np.concatenate(small_rgb, axis=1) if small_rgb else None,
    )  # fmt: skip


def _padded(values: NDArray[Any], factor: int) -> NDArray[Any]:
    """Fill the last cells with what is missing."""
    pad = [(0, 0)] * (values.ndim - 2) + [(0, -side % factor) for side in values.shape[-2:]]
    return np.pad(values, pad, constant_values=np.nan)

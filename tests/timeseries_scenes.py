"""Simulated series of one place, with known events."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from odc.geo.xr import xr_coords

from lstzoom.simulate import simulate_scene


@dataclass(frozen=True, slots=True)
class Series:
    """A cube and what was put into it."""

    cube: xr.Dataset
    season: NDArray[np.float32]
    """Kelvin, shape (time, y, x), without trend, noise, weather and events."""


def dates(count: int, *, start: str = "2019-01-05", every: int = 16, seed: int = 0) -> NDArray[np.datetime64]:
    """Overpasses at about equal distances."""
    days = every * np.arange(count) + np.random.default_rng(seed).integers(0, 4, count)
    return (np.datetime64(start, "ns") + days.astype("timedelta64[D]")).astype("datetime64[ns]")


def series(
    count: int = 92,
    *,
    side: int = 24,
    uncertainty: float = 0.6,
    trend: float = 0.0,
    weather: float = 0.0,
    clouds: float = 0.0,
    gaps: float = 0.1,
    seed: int = 0,
) -> Series:
    """Make a cube from the truth of a scene: season, trend, noise as stated, clouds that were missed.

    `trend` is in kelvin per year, `weather` the standard deviation of what all pixels share on a date.
    """
    rng = np.random.default_rng(seed)
    scene = simulate_scene((90, 90), bands=("red", "nir"))
    base = scene.truth[:side, :side]
    time = dates(count, seed=seed)
    year = (time - np.datetime64("2000-01-01", "ns")) / np.timedelta64(1, "ns") / (365.2425 * 86400e9)
    swing = 12 + 3 * (base - base.mean()) / base.std()
    wave = np.cos(2 * np.pi * (year - 0.55)) + 0.15 * np.cos(4 * np.pi * year)
    season = (base + wave[:, None, None] * swing).astype(np.float32)
    lst = (
        season
        + trend * (year - year.mean())[:, None, None]
        + weather * rng.standard_normal(count)[:, None, None]
    )
    lst += uncertainty * rng.standard_normal(lst.shape)
    lst = np.where(rng.random(lst.shape) < clouds, lst - 25, lst)
    lst = np.where(rng.random(lst.shape) < gaps, np.nan, lst).astype(np.float32)
    coords = {"time": time, **xr_coords(scene.geobox[:side, :side])}
    dims = ("time", "y", "x")
    stated = np.full(lst.shape, uncertainty, np.float32)
    variables = {"lst": (dims, lst, {"units": "K"}), "lst_uncertainty": (dims, stated, {"units": "K"})}
    return Series(xr.Dataset(variables, coords), season)

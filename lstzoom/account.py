"""What is said of a result beside its values: the footprint, how reliable its detail is, how sure it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from lstzoom.errors import ConfigError, InputError
from lstzoom.grid import GridPair, coincide, describe_grid, grid_of, north_up, pixel_metres
from lstzoom.halo import is_lazy
from lstzoom.inputs import SceneArrays
from lstzoom.kernels.quality import MEANINGS, QA
from lstzoom.train import SceneModel

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr

_COARSER = 1.01
"""Factor by which a band's own pixel must exceed a fine one: files differ in the last digits."""


def require_uncertainty(method: str) -> None:
    """Refuse to state an uncertainty that a method does not have.

    Raises
    ------
    ConfigError
        If the method is the published one.
    """
    if method != "calibrated":
        raise ConfigError(
            f"method {method!r} states no uncertainty: it believes all of the detail that it predicts; "
            "take method 'calibrated', or do not ask for the uncertainty"
        )


def model_attributes(model: SceneModel, grids: GridPair, method: str) -> dict[str, float]:
    """Describe a trained model for the attributes of a result.

    Parameters
    ----------
    model
        Trained.
    grids
        Of the scene.
    method
        Of the settings; the published one knows neither figure.

    Returns
    -------
    dict
        Standard deviation of the footprint in fine pixels and in metres (``lstzoom_footprint``,
        ``lstzoom_footprint_metres``), and the out-of-bag correlation of the detail one scale up
        (``lstzoom_reliability``), 0 to 1.
    """
    if method != "calibrated":
        return {}
    width = model.model.footprint
    return {
        "lstzoom_footprint": round(width, 3),
        "lstzoom_footprint_metres": round(width * pixel_metres(grids.fine), 3),
        "lstzoom_reliability": round(model.model.reliability, 3),
    }


def result_attributes(qa: NDArray[np.uint8], uncertainty: NDArray[np.float32] | None) -> dict[str, float]:
    """Sum up a result in memory.

    Parameters
    ----------
    qa
        uint8, shape (y, x): flags.
    uncertainty
        float32, shape (y, x), kelvin, NaN where missing; None if there is none.

    Returns
    -------
    dict
        ``lstzoom_unsupported_share``: of the pixels with a value, those whose detail nothing supports or
        that lack reflectance. ``lstzoom_mean_uncertainty`` in kelvin, where any is known.
    """
    counts = np.bincount(qa.ravel(), minlength=len(QA))
    flags = {MEANINGS[flag]: int(counts[flag]) for flag in QA}
    known = np.isfinite(uncertainty) if uncertainty is not None else np.zeros(0, np.bool_)
    total = float(uncertainty[known].sum(dtype=np.float64)) if uncertainty is not None else 0.0
    return summarise(flags, total, int(known.sum()))


def summarise(flags: Mapping[str, int], total: float, count: int) -> dict[str, float]:
    """Sum up counts of flags, by their meanings, and a sum of `count` uncertainties, kelvin."""
    valued = sum(flags[MEANINGS[f]] for f in QA if f not in (QA.NODATA, QA.MASKED))
    plain = flags[MEANINGS[QA.UNSUPPORTED]] + flags[MEANINGS[QA.INTERPOLATED]]
    out = {"lstzoom_unsupported_share": round(plain / valued, 4)} if valued else {}
    return out | ({"lstzoom_mean_uncertainty": round(total / count, 3)} if count else {})


@dataclass(slots=True)
class Moments:
    """Bias and RMSE of departures, summed up over blocks.

    Attributes
    ----------
    count, total, squares
        Number of the finite values, their sum, and the sum of their squares.
    """

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, values: NDArray[np.float32]) -> None:
        """Add departures in kelvin, NaN where there is none."""
        known = values[np.isfinite(values)].astype(np.float64)
        self.count += known.size
        self.total += float(known.sum())
        self.squares += float((known**2).sum())

    @classmethod
    def joined(cls, parts: Iterable[Self]) -> Self:
        """Sum up moments, correctly rounded, so that their order does not matter."""
        every = list(parts)
        total, squares = (math.fsum(getattr(one, name) for one in every) for name in ("total", "squares"))
        return cls(sum(one.count for one in every), total, squares)

    def attributes(self, name: str) -> dict[str, float]:
        """Tell ``lstzoom_<name>_bias`` and ``_rmse`` in kelvin; nothing of no values."""
        if not self.count:
            return {}
        return {
            f"lstzoom_{name}_bias": round(self.total / self.count, 4),
            f"lstzoom_{name}_rmse": round(math.sqrt(self.squares / self.count), 4),
        }


def on_coarse_cells(residual: NDArray[np.float32], ratio: int) -> NDArray[np.float32]:
    """Take the one value of every coarse pixel, which its known fine pixels share.

    Parameters
    ----------
    residual
        float32, shape (h * ratio, w * ratio), kelvin; NaN where there is none.
    ratio
        Fine pixels per coarse pixel.

    Returns
    -------
    ndarray of float32, shape (h, w)
    """
    rows, columns = (side // ratio for side in residual.shape)
    return np.fmax.reduce(np.fmax.reduce(residual.reshape(rows, ratio, columns, ratio), axis=3), axis=1)


def coarser_bands(scene: SceneArrays) -> dict[str, float]:
    """Find the bands whose own pixels are coarser than the fine grid's, and the sides of those.

    Parameters
    ----------
    scene
        Whose reflectance said the pixel of every band in its own file (``vnir.attrs["native_resolution"]``,
        in the units of the CRS; `lstzoom.raster.open_stack` does).

    Returns
    -------
    dict
        Sides by band. Such a band tells the land apart but holds no detail of the fine grid.
    """
    crs = scene.grids.fine.crs
    if scene.native is None or crs is None or crs.geographic:
        return {}
    side = abs(scene.grids.fine.resolution.x) * _COARSER
    return {band: own for band, own in zip(scene.bands, scene.native, strict=True) if own > side}


def band_attributes(scene: SceneArrays) -> dict[str, str]:
    """Name the bands without detail of the fine grid, as in ``swir16 (20), swir22 (20)``, if any."""
    coarser = coarser_bands(scene)
    if not coarser:
        return {}
    return {"lstzoom_coarser_bands": ", ".join(f"{band} ({own:g})" for band, own in coarser.items())}


# The uncertainty of the input


def on_coarse_grid(given: xr.DataArray, grids: GridPair) -> NDArray[Any] | da.Array:
    """Check the uncertainty of the coarse LST and return its values.

    Parameters
    ----------
    given
        Standard uncertainty, kelvin, dimensions (y, x), on the grid of the LST.
    grids
        Of the scene.

    Raises
    ------
    InputError
        If it lies elsewhere, or a value in memory is negative.
    """
    if set(given.dims) != {"y", "x"}:
        raise InputError(f"lst_uncertainty has dimensions {given.dims}; it needs (y, x), in kelvin")
    given = north_up(given.transpose("y", "x"))
    grid = grid_of(given)
    if not coincide(grid, grids.coarse):
        raise InputError(
            f"lst_uncertainty lies on {describe_grid(grid)}; it must lie on the grid of the LST, "
            f"{describe_grid(grids.coarse)}"
        )
    values = given.data.astype(np.float32)
    if not is_lazy(values):
        return _required(values)
    import dask.array as da  # noqa: PLC0415  (slow to import, and files do not need it)

    return da.map_blocks(_required, values, dtype=np.float32)


def _required(values: NDArray[np.float32]) -> NDArray[np.float32]:
    if (values < 0).any():
        raise InputError(
            f"lst_uncertainty holds {np.nanmin(values):g} K; a standard uncertainty is 0 or more: mark "
            "missing values with NaN, or declare them as nodata"
        )
    return values


def with_input(detail: Any, given: Any, ratio: int) -> Any:  # noqa: ANN401  (numpy or dask)
    """Add the uncertainty of the coarse LST to that of the detail: the root of the sum of squares.

    Parameters
    ----------
    detail
        float32, shape (h * ratio, w * ratio), kelvin: of the detail.
    given
        float32, shape (h, w), kelvin, of the coarse LST. Where it is not finite it adds nothing: what is not
        known of the input is not made up, and what is known of the detail is kept.
    ratio
        Fine pixels per coarse pixel.

    Returns
    -------
    numpy or dask array of float32, shape (h * ratio, w * ratio)
    """
    lazy, xp = is_lazy(detail), cast("Any", np)
    if lazy:
        import dask.array as xp  # noqa: PLC0415  (slow to import, and files do not need it)
    given = xp.asarray(given)
    known = xp.where(xp.isfinite(given), given, np.float32(0.0))
    fine = xp.repeat(xp.repeat(known, ratio, axis=0), ratio, axis=1)
    return np.hypot(detail, fine.rechunk(detail.chunks) if lazy else fine)

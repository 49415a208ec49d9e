"""Measure sharpening against a truth, beside bicubic and nearest, by one protocol for every scene.

Three ways, chosen by what is given:

``degraded``
    A fine LST (airborne, such as HyTES) is the truth: it is averaged to the coarse grid in
    radiance, after blurring by the sensor's point spread if one is given, sharpened back and
    compared.
``direct``
    A real coarse LST and a fine truth: the coarse one is sharpened as it is. Differences between
    the two sensors (time, calibration, registration) then count as error too.
``one-scale-up``
    No truth: the coarse LST itself is degraded by the ratio, sharpened back to its own grid and
    compared with itself. It tells how the method does one scale coarser than it will be used at,
    which is informative, not the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from rich.table import Table
from scipy import ndimage

from lstzoom import metrics
from lstzoom.errors import GridMismatchError, InputError
from lstzoom.kernels.aggregate import area_mean, area_mean_radiance

if TYPE_CHECKING:
    from lstzoom.config import SharpenConfig

Mode = Literal["degraded", "direct", "one-scale-up"]
Sharpen = Callable[..., Any]
"""``sharpen(vnir, lst, config=config)``, giving a dataset with ``lst``, an array of the fine LST,
or a plain array."""

_EXPLAINED: Mapping[str, str] = {
    "degraded": "The truth was degraded to the coarse grid, sharpened back and compared with itself.",
    "direct": "The coarse LST given was sharpened as it is and compared with the truth; "
    "differences between the two sensors count"
    " as error.",
    "one-scale-up": "No truth was given: the LST was degraded by the ratio, sharpened back to "
    "its own grid and compared with itself."
    " This tells about one scale coarser than the sharpened product.",
}
_HEADINGS: Mapping[str, tuple[str, str]] = {
    "rmse": ("RMSE K", ".3f"),
    "mae": ("MAE K", ".3f"),
    "bias": ("bias K", "+.3f"),
    "detail_r2": ("detail R2", ".3f"),
    "ssim": ("SSIM", ".3f"),
    "conservation_max": ("conserved to K", ".3f"),
    "coverage": ("coverage", ".1%"),
    "rmse_over_bicubic": ("RMSE / bicubic", ".3f"),
}


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """What `validate` found."""

    mode: Mode
    """How the comparison was made."""
    ratio: int
    """Fine pixels per coarse pixel along each axis, in this comparison."""
    pixels: int
    """Fine pixels compared."""
    truth_sd: float
    """Standard deviation of the truth over the compared pixels, K."""
    rows: Mapping[str, Mapping[str, float]]
    """Figures (`lstzoom.metrics.METRICS`) of ``lstzoom``, ``bicubic`` and ``nearest``."""
    psf_sigma: float | None = None
    """Point spread used when degrading: standard deviation in fine pixels."""
    images: Mapping[str, NDArray[np.floating]] = field(default_factory=dict, repr=False, compare=False)
    """The arrays compared, in K: ``coarse``, ``pred``, ``truth``, for pictures."""

    @property
    def explanation(self) -> str:
        """The way of comparing, in words."""
        spread = f" Point spread before averaging: {self.psf_sigma:g} fine pixels." if self.psf_sigma else ""
        return _EXPLAINED[self.mode] + spread

    def to_dict(self) -> dict[str, Any]:
        """Everything but the images, ready for JSON.

        Figures that do not exist are None, never NaN.
        """
        return {
            "mode": self.mode,
            "explanation": self.explanation,
            "ratio": self.ratio,
            "psf_sigma": self.psf_sigma,
            "pixels": self.pixels,
            "truth_sd": _json_number(self.truth_sd),
            "methods": {
                name: {key: _json_number(x) for key, x in row.items()} for name, row in self.rows.items()
            },
        }

    def table(self) -> str:
        """Plain text table of the methods, with one line on how they were compared."""
        header = ["", *(title for title, _ in _HEADINGS.values())]
        lines = [header, *([name, *cells] for name, cells in self._cells())]
        widths = [max(len(line[k]) for line in lines) for k in range(len(header))]
        text = []
        for name, *cells in lines:
            right = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
            text.append("  ".join([name.ljust(widths[0]), *right]))
        return "\n".join([*text, "", self._summary()])

    def rich_table(self) -> Table:
        """Give the same table for a terminal."""
        table = Table(caption=self._summary(), caption_justify="left")
        table.add_column("")
        for title, _ in _HEADINGS.values():
            table.add_column(title, justify="right")
        for name, cells in self._cells():
            table.add_row(name, *cells)
        return table

    def _cells(self) -> list[tuple[str, list[str]]]:
        return [
            (name, [_cell(row[key], style) for key, (_, style) in _HEADINGS.items()])
            for name, row in self.rows.items()
        ]

    def _summary(self) -> str:
        spread = _cell(self.truth_sd, ".2f")
        return f"{self.pixels} pixels, truth SD {spread} K, ratio {self.ratio}. {self.explanation}"


def validate(
    vnir: xr.DataArray,
    lst: xr.DataArray | None = None,
    *,
    truth: xr.DataArray | None = None,
    ratio: int | None = None,
    psf_sigma: float | None = None,
    sharpen: Sharpen | None = None,
    config: SharpenConfig | None = None,
) -> ValidationReport:
    """Sharpen by a protocol with a known answer and report the error beside bicubic and nearest.

    The truth is never given to the sharpener, only what a sensor would have made of it.

    Parameters
    ----------
    vnir : DataArray, dims ``(band, y, x)``
        Fine reflectance, on the grid of `truth`; without a truth, on the grid of `lst` or one that
        divides it.
    lst : DataArray, dims ``(y, x)``, optional
        Coarse LST in K. With `truth` it is the real input and sharpened as it is.
    truth : DataArray, dims ``(y, x)``, optional
        Fine LST in K.
    ratio : int, optional
        Fine pixels per coarse pixel along each axis; 3 by default, and read from the grids if both
        `lst` and `truth` are given.
    psf_sigma : float, optional
        Gaussian point spread of the sensor, as standard deviation in fine pixels of the grid that
        is degraded; none by default. Radiance is blurred before averaging.
    sharpen : callable, optional
        Called as ``sharpen(vnir, lst, config=config)``; `lstzoom.sharpen` by default.
    config : optional
        Passed on to `sharpen`.

    Returns
    -------
    ValidationReport

    Raises
    ------
    InputError
        If neither `lst` nor `truth` is given, an option does not go with them, or nothing is left
        to compare.
    GridMismatchError
        If the grids do not belong together.

    Examples
    --------
    >>> from lstzoom.simulate import simulate_scene
    >>> vnir, lst, truth = simulate_scene((90, 90)).to_xarray()
    >>> report = validate(vnir, truth=truth, sharpen=lambda vnir, lst, config: truth)
    >>> report.mode, report.rows["lstzoom"]["rmse"]
    ('degraded', 0.0)
    """
    trial = _trial(vnir, lst, truth, ratio, psf_sigma)
    pred = _values((sharpen or _lstzoom())(trial.vnir, trial.coarse, config=config))
    return _report(trial, pred, psf_sigma)


# The three ways


@dataclass(frozen=True, slots=True)
class _Trial:
    """One question with a known answer."""

    mode: Mode
    vnir: xr.DataArray
    coarse: xr.DataArray
    truth: xr.DataArray
    ratio: int


def _lstzoom() -> Sharpen:
    from lstzoom.sharpening import sharpen  # noqa: PLC0415 - only if no other is given

    return sharpen


def _trial(
    vnir: xr.DataArray,
    lst: xr.DataArray | None,
    truth: xr.DataArray | None,
    ratio: int | None,
    psf_sigma: float | None,
) -> _Trial:
    """Choose the way of comparing by what is given, and prepare it."""
    if psf_sigma is not None and not 0.0 <= psf_sigma < math.inf:
        raise InputError(
            f"psf_sigma is {psf_sigma!r}; it is a standard deviation in fine pixels and must be 0 or more."
        )
    if lst is not None and truth is not None:
        if psf_sigma:
            raise InputError(
                "psf_sigma blurs the truth before degrading it, but lst is given and sharpened "
                "as it is; leave one out."
            )
        return _direct(vnir, lst, truth, ratio)
    if truth is not None:
        return _degraded(vnir, truth, ratio or 3, psf_sigma)
    if lst is not None:
        return _one_scale_up(vnir, lst, ratio or 3, psf_sigma)
    raise InputError(
        "neither lst nor truth is given; give a fine LST as truth, a coarse one as lst, or both."
    )


def _degraded(vnir: xr.DataArray, truth: xr.DataArray, ratio: int, psf_sigma: float | None) -> _Trial:
    _check_same_grid(vnir, truth, "truth")
    vnir, truth = (_crop(a, ratio) for a in (vnir, truth))
    return _Trial("degraded", vnir, _degrade(truth, ratio, psf_sigma), truth, ratio)


def _one_scale_up(vnir: xr.DataArray, lst: xr.DataArray, ratio: int, psf_sigma: float | None) -> _Trial:
    step = _steps(vnir, lst)
    # Cut first: afterwards both grids divide, and the fine one still covers the coarse one exactly.
    vnir, lst = _crop(vnir, ratio * step), _crop(lst, ratio)
    if step > 1:
        vnir = _on_coarse_grid(vnir, area_mean(vnir.values, step), step)
    return _Trial("one-scale-up", vnir, _degrade(lst, ratio, psf_sigma), lst, ratio)


def _direct(vnir: xr.DataArray, lst: xr.DataArray, truth: xr.DataArray, ratio: int | None) -> _Trial:
    _check_same_grid(vnir, truth, "truth")
    found = _steps(truth, lst)
    if ratio not in (None, found):
        raise GridMismatchError(
            f"ratio={ratio} was given, but lst and truth are {found} apart; leave the ratio out."
        )
    if found < 2:
        raise GridMismatchError(
            f"lst and truth are both of shape {truth.shape}: there is nothing to sharpen. Give "
            "truth alone to degrade it first."
        )
    return _Trial("direct", vnir, lst, truth, found)


def _report(trial: _Trial, pred: NDArray[np.floating], psf_sigma: float | None) -> ValidationReport:
    truth, coarse = trial.truth.values, trial.coarse.values
    seen = np.isfinite(truth) & np.isfinite(metrics.upsample_nearest(coarse, trial.ratio))
    rows = metrics.score(pred, truth, coarse, trial.ratio, valid_in=np.isfinite(trial.vnir.values).all(0))
    seen &= np.isfinite(pred)
    if not seen.any():
        raise InputError(
            "nothing is left to compare: no pixel has a truth, a valid coarse pixel above it "
            "and a sharpened value;"
            " check the masks of the inputs."
        )
    sd = float(truth[seen].astype(np.float64).std())
    images = {"coarse": coarse, "pred": pred, "truth": truth}
    return ValidationReport(trial.mode, trial.ratio, int(seen.sum()), sd, rows, psf_sigma, images)


# Degrading


def blur_radiance(kelvin: NDArray[np.floating], sigma: float) -> NDArray[np.float32]:
    """Blur by a Gaussian point spread in radiance.

    Missing pixels stay missing and do not darken their neighbours.


    Parameters
    ----------
    kelvin : array, shape ``(ny, nx)``
        Temperature, not finite where missing.
    sigma : float
        Standard deviation in pixels; 0 changes nothing.

    Returns
    -------
    array of float32, shape ``(ny, nx)``
    """
    valid = np.isfinite(kelvin)
    if sigma == 0.0 or not valid.any():
        return np.asarray(kelvin, np.float32)
    radiance = np.where(valid, np.asarray(kelvin, np.float64), 0.0) ** 4
    weight = ndimage.gaussian_filter(valid.astype(np.float64), sigma, mode="nearest")
    blurred = ndimage.gaussian_filter(radiance, sigma, mode="nearest") / np.maximum(weight, 1e-12)
    return np.where(valid, np.sqrt(np.sqrt(blurred)), np.nan).astype(np.float32)


def _degrade(fine: xr.DataArray, ratio: int, psf_sigma: float | None) -> xr.DataArray:
    return _on_coarse_grid(
        fine, area_mean_radiance(blur_radiance(fine.values, psf_sigma or 0.0), ratio), ratio
    )


def _on_coarse_grid(fine: xr.DataArray, values: NDArray[np.float32], ratio: int) -> xr.DataArray:
    """Wrap `values` with the grid `ratio` times coarser than that of `fine`."""
    coords = dict(xr_coords(_geobox(fine).zoom_out(ratio)))
    if "band" in fine.coords:
        coords["band"] = fine.coords["band"]
    attrs = {k: v for k, v in fine.attrs.items() if k in ("units", "standard_name", "long_name")}
    return xr.DataArray(values, coords, fine.dims, fine.name, attrs)


# Grids


def _geobox(a: xr.DataArray) -> GeoBox:
    box = a.odc.geobox
    if box is None:
        raise GridMismatchError(
            f"{_name(a)} of shape {a.shape} has no regular grid; it needs evenly spaced x and y "
            "coordinates and a CRS."
        )
    return box


def _check_same_grid(vnir: xr.DataArray, other: xr.DataArray, name: str) -> None:
    if _steps(vnir, other) != 1:
        raise GridMismatchError(
            f"vnir {vnir.shape} must lie on the grid of {name} {other.shape}; put it there first."
        )


def _steps(fine: xr.DataArray, coarse: xr.DataArray) -> int:
    """Count how many fine pixels make a coarse one.

    The two grids must cover the same area.
    """
    one, other = _geobox(fine), _geobox(coarse)
    step = max(1, round(one.width / other.width))
    # Pixel sizes are compared with a tolerance: real files differ in the last digits.
    same = np.allclose(
        tuple(one.zoom_out(step).affine),
        tuple(other.affine),
        rtol=1e-9,
        atol=1e-3 * abs(one.affine.a),
    )
    if one.crs != other.crs or not same or tuple(one.shape) != (other.height * step, other.width * step):
        raise GridMismatchError(
            f"{_name(fine)} and {_name(coarse)} do not cover the same area by whole pixels:"
            f" {one!r} against {other!r}; cut and align them first."
        )
    return int(step)


def _crop(a: xr.DataArray, multiple: int) -> xr.DataArray:
    """Drop the last rows and columns that do not fill a coarse pixel."""
    ny, nx = (n // multiple * multiple for n in a.shape[-2:])
    if not ny or not nx:
        raise InputError(
            f"{_name(a)} of shape {a.shape} is smaller than one block of {multiple} x {multiple} pixels."
        )
    return a[..., :ny, :nx]


def _name(a: xr.DataArray) -> str:
    return "the array" if a.name is None else str(a.name)


def _values(result: object) -> NDArray[np.floating]:
    """Fine LST of whatever a sharpener returns."""
    if isinstance(result, xr.Dataset):
        result = result["lst"]
    return np.asarray(result)


# Printing


def _json_number(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None


def _cell(x: float, style: str) -> str:
    return format(x, style) if math.isfinite(x) else "-"

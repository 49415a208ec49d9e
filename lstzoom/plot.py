"""Pictures of a result: before and after on one colour scale, and maps of the error.

Every picture shows the whole scene above and a zoom below, because 10 m detail does not show in a
whole scene. matplotlib comes with the extra ``report`` and is drawn without pyplot, so that no
window system or global state is touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from lstzoom.errors import InputError, import_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

_MISSING = "#b8b8b8"  # a grey that is in neither colour map
_FRAME = "#00e5ff"  # the zoom's frame: stands out on inferno and on blue-white-red
_OVERVIEW = 1400  # pixels per side drawn of a whole scene at most


@dataclass(frozen=True, slots=True)
class _Panel:
    """One column of a picture: an image covering the fine grid of `shape` rows and columns."""

    title: str
    image: NDArray[Any]
    shape: tuple[int, int]
    kelvin: bool = True


@dataclass(frozen=True, slots=True)
class _Scale:
    """Colours of the panels in kelvin."""

    cmap: str
    low: float
    high: float
    label: str


def before_after(
    coarse: ArrayLike,
    fine: ArrayLike,
    path: str | Path,
    *,
    truth: ArrayLike | None = None,
    rgb: ArrayLike | None = None,
    zoom: tuple[slice, slice] | None = None,
    pixel: float | None = None,
) -> Path:
    """Draw the coarse and the sharpened LST side by side as a PNG, whole and zoomed in.

    On one kelvin scale.


    Parameters
    ----------
    coarse : array, shape ``(ny, nx)``
        Kelvin; a whole number of fine pixels per coarse pixel.
    fine : array, shape ``(ny * ratio, nx * ratio)``
        Kelvin. With x coordinates (a DataArray) they give the pixel size.
    path : path
        PNG to write; the folder is made if absent.
    truth : array, shape of `fine`, optional
        Kelvin; drawn as another column.
    rgb : array, shape ``(3, ny * ratio, nx * ratio)``, optional
        Red, green and blue reflectance; stretched for display and drawn as the first column.
    zoom : tuple of slice, optional
        Rows and columns of the fine grid to enlarge; by default the part with the most detail.
    pixel : float, optional
        Side of a fine pixel in metres; by default from the coordinates, else 10.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    InputError
        If the shapes do not belong together or nothing is valid.
    MissingExtraError
        If matplotlib is not installed.
    """
    size = _pixel(fine) if pixel is None else pixel
    below, above = np.asarray(coarse), np.asarray(fine)
    ratio = _ratio(below, above)
    panels = [
        _Panel(f"LST in, {_metres(size * ratio)}", below, above.shape),
        _Panel(f"LST sharpened, {_metres(size)}", above, above.shape),
    ]
    if truth is not None:
        panels.append(_Panel(f"LST truth, {_metres(size)}", _same_shape(truth, above, "truth"), above.shape))
    if rgb is not None:
        panels.insert(0, _Panel(f"VNIR, {_metres(size)}", _stretch(rgb, above), above.shape, kelvin=False))
    low, high = _range([p.image for p in panels if p.kelvin])
    window = busiest(above if truth is None else np.asarray(truth), ratio) if zoom is None else zoom
    return _draw(panels, _Scale("inferno", low, high, "LST (K)"), window, size, Path(path))


def error_maps(
    preds: Mapping[str, ArrayLike],
    truth: ArrayLike,
    path: str | Path,
    *,
    zoom: tuple[slice, slice] | None = None,
    pixel: float | None = None,
) -> Path:
    """Draw prediction minus truth of several methods on one symmetric kelvin scale.

    Parameters
    ----------
    preds : mapping of str to array, shape ``(ny, nx)``
        Results by name, in kelvin; drawn in order, with their RMSE in the title.
    truth : array, shape ``(ny, nx)``
        Kelvin.
    path, zoom, pixel
        As in `before_after`.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    InputError
        If there is nothing to draw, the shapes differ, or nothing is valid.
    MissingExtraError
        If matplotlib is not installed.
    """
    if not preds:
        raise InputError("preds is empty: give at least one result by name.")
    size = _pixel(truth) if pixel is None else pixel
    reference = np.asarray(truth, np.float64)
    errors = {name: _same_shape(pred, reference, name) - reference for name, pred in preds.items()}
    panels = [
        _Panel(f"{name}: RMSE {_rms(error):.2f} K", error, reference.shape) for name, error in errors.items()
    ]
    low, high = _range(list(errors.values()))
    reach = max(abs(low), abs(high), 0.1)
    scale = _Scale("RdBu_r", -reach, reach, "error, result minus truth (K)")
    return _draw(panels, scale, busiest(reference, 3) if zoom is None else zoom, size, Path(path))


# Drawing


def _draw(
    panels: Sequence[_Panel], scale: _Scale, window: tuple[slice, slice], pixel: float, path: Path
) -> Path:
    """Two rows of panels, scene and zoom, with one colour bar."""
    figure_module = import_extra("matplotlib.figure", "report")
    rows, cols = (part.indices(n)[:2] for part, n in zip(window, panels[0].shape, strict=True))
    if rows[0] >= rows[1] or cols[0] >= cols[1]:
        raise InputError(f"zoom {window!r} holds no pixel of a grid of {panels[0].shape}.")
    figure = figure_module.Figure(figsize=_figure_size(panels, rows, cols), dpi=150, layout="constrained")
    axes = figure.subplots(
        2,
        len(panels),
        squeeze=False,
        height_ratios=[_aspect(panels[0].shape), (rows[1] - rows[0]) / (cols[1] - cols[0])],
    )
    everything = ((0, panels[0].shape[0]), (0, panels[0].shape[1]))
    for k, panel in enumerate(panels):
        shown = [
            _show(axes[0, k], panel, everything, scale),
            _show(axes[1, k], panel, (rows, cols), scale),
        ]
        axes[0, k].set_title(panel.title, fontsize=11)
        _frame(axes[0, k], rows, cols)
        mappable = shown[0] if panel.kelvin else None
    _scale_bar(axes[0, 0], everything, pixel)
    _scale_bar(axes[1, 0], (rows, cols), pixel)
    bar = figure.colorbar(mappable, ax=axes, extend="both", shrink=0.8, aspect=30, pad=0.015)
    bar.set_label(scale.label, fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")
    return path


def _aspect(shape: tuple[int, int]) -> float:
    return shape[0] / shape[1]


def _figure_size(
    panels: Sequence[_Panel], rows: tuple[int, int], cols: tuple[int, int]
) -> tuple[float, float]:
    """Inches: panels 3.6 wide, less for tall scenes, and room for titles and the colour bar."""
    heights = _aspect(panels[0].shape) + (rows[1] - rows[0]) / (cols[1] - cols[0])
    width = min(3.6, 12.0 / heights)
    return max(len(panels) * width, 4.2) + 1.1, heights * width + 0.5


def _show(
    axes: Axes, panel: _Panel, window: tuple[tuple[int, int], tuple[int, int]], scale: _Scale
) -> AxesImage:
    """Draw the part of a panel in a window of the fine grid.

    Axes count fine pixels, whatever the panel's own.
    """
    (y0, y1), (x0, x1) = window
    step = panel.shape[0] // panel.image.shape[0]
    # Whole pixels around the window, then cut by the axes: a coarse pixel may begin outside.
    rows, cols = (slice(a // step, -(-b // step)) for a, b in ((y0, y1), (x0, x1)))
    image = panel.image[rows, cols]
    thin = max(1, -(-max(image.shape[:2]) // _OVERVIEW))
    extent = (
        cols.start * step,
        cols.start * step + image.shape[1] * step,
        rows.start * step + image.shape[0] * step,
        rows.start * step,
    )
    colours: dict[str, Any] = (
        {"cmap": scale.cmap, "vmin": scale.low, "vmax": scale.high} if panel.kelvin else {}
    )
    drawn = axes.imshow(image[::thin, ::thin], extent=extent, interpolation="nearest", **colours)
    axes.set(xlim=(x0, x1), ylim=(y1, y0), xticks=[], yticks=[], facecolor=_MISSING)
    return drawn


def _frame(axes: Axes, rows: tuple[int, int], cols: tuple[int, int]) -> None:
    """Mark the zoom in the whole scene."""
    x, y = (
        [cols[0], cols[1], cols[1], cols[0], cols[0]],
        [rows[0], rows[0], rows[1], rows[1], rows[0]],
    )
    axes.plot(x, y, color="black", linewidth=2.6)
    axes.plot(x, y, color=_FRAME, linewidth=1.3)


def _scale_bar(axes: Axes, window: tuple[tuple[int, int], tuple[int, int]], pixel: float) -> None:
    """Draw a bar of a round length in the lower left corner.

    Its label has a white plate that any image leaves readable.
    """
    (y0, y1), (x0, x1) = window
    length = _round_down(0.3 * (x1 - x0) * pixel)
    left, base = x0 + 0.06 * (x1 - x0), y1 - 0.07 * (y1 - y0)
    # The label stands off in points, so that it clears the bar in flat panels too.
    axes.annotate(
        _metres(length),
        (left + length / pixel / 2, base),
        (0, 7),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=9,
        zorder=5,
        bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none"},
    )
    for colour, width in (("white", 6.0), ("black", 3.0)):
        axes.plot(
            [left, left + length / pixel],
            [base, base],
            color=colour,
            linewidth=width,
            solid_capstyle="butt",
            zorder=6,
        )


# What to draw


def _range(images: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """Give a common colour range, the middle 98 % of all valid values.

    It is a tenth of a kelvin wide at least.
    """
    # A thinned sample is plenty for two percentiles.
    valid = np.concatenate([v[np.isfinite(v)] for v in (_thin(image).ravel() for image in images)])
    if valid.size == 0:
        raise InputError("there is nothing to draw: no image has a valid pixel.")
    low, high = np.percentile(valid, [1, 99])
    middle, half = (low + high) / 2, max((high - low) / 2, 0.05)
    return float(middle - half), float(middle + half)


def _thin(image: NDArray[Any]) -> NDArray[Any]:
    step = max(1, min(image.shape[0], image.shape[1]) // 1000)
    return image[::step, ::step]


def busiest(fine: NDArray[Any], ratio: int) -> tuple[slice, slice]:
    """Find the square window with the most variation over about three coarse pixels.

    Two thirds of it at least are valid.

    Parameters
    ----------
    fine : array, shape ``(ny, nx)``
        Values, NaN where missing.
    ratio : int
        Fine pixels along a coarse pixel, of which the window holds whole ones.

    Returns
    -------
    tuple of slice
        Rows and columns.
    """
    # Whole coarse pixels, so that none is cut.
    side = max(8, min(60, min(fine.shape) // (4 * ratio))) * ratio
    valid = np.isfinite(fine)
    if side >= min(fine.shape) or not valid.any():
        return slice(0, fine.shape[0]), slice(0, fine.shape[1])
    flat = np.where(valid, fine, fine[valid].mean())
    detail = np.abs(flat - ndimage.uniform_filter(flat, 3 * ratio)) * valid
    # Cap it: one hot roof or a coast must not outbid a whole town.
    detail = np.minimum(detail, 4 * np.median(detail[valid]) + 1e-6)
    share = ndimage.uniform_filter(valid.astype(np.float32), side)
    busy = np.where(share > 0.66, ndimage.uniform_filter(detail, side), -1.0)
    half = side // 2
    inner = busy[half : fine.shape[0] - side + half + 1, half : fine.shape[1] - side + half + 1]
    y, x = np.unravel_index(np.argmax(inner), inner.shape)
    top, left = int(y) // ratio * ratio, int(x) // ratio * ratio
    return slice(top, top + side), slice(left, left + side)


def _stretch(rgb: ArrayLike, fine: NDArray[Any]) -> NDArray[np.float32]:
    """Reflectance to display values, shape ``(y, x, 3)``.

    One stretch for all bands, which keeps the hues, and a gamma.
    """
    image = np.moveaxis(np.asarray(rgb, np.float32), 0, -1)
    if image.shape != (*fine.shape, 3):
        raise InputError(f"rgb must have shape (3, {fine.shape[0]}, {fine.shape[1]}), not {np.shape(rgb)}.")
    seen = _thin(image)
    seen = seen[np.isfinite(seen).all(-1)]
    if not len(seen):
        raise InputError("rgb has no valid pixel; leave it out.")
    low, high = np.percentile(seen, [0.5, 99]).astype(np.float32)
    scaled = np.clip((image - low) / np.maximum(high - low, 1e-6), 0.0, 1.0) ** 0.7
    return np.where(np.isfinite(image).all(-1, keepdims=True), scaled, np.float32(0.72)).astype(np.float32)


def _rms(error: NDArray[np.float64]) -> float:
    valid = error[np.isfinite(error)]
    return float(np.sqrt(np.mean(valid**2))) if valid.size else float("nan")


def _ratio(coarse: NDArray[Any], fine: NDArray[Any]) -> int:
    ratio = fine.shape[0] // max(coarse.shape[0], 1) if coarse.ndim == fine.ndim == 2 else 0
    if ratio < 1 or fine.shape != tuple(n * ratio for n in coarse.shape):
        raise InputError(
            f"fine {fine.shape} must be a whole multiple of coarse {coarse.shape} along both "
            "axes; cut both to the same area."
        )
    return ratio


def _same_shape(a: ArrayLike, fine: NDArray[Any], name: str) -> NDArray[Any]:
    values = np.asarray(a)
    if values.shape != fine.shape:
        raise InputError(f"{name} has the shape {values.shape}, but the fine grid is {fine.shape}.")
    return values


def _pixel(a: ArrayLike) -> float:
    """Side of a pixel in metres from the coordinates of a DataArray, 10 without any."""
    x = np.asarray(getattr(a, "coords", {}).get("x", ()))
    return float(abs(x[1] - x[0])) if x.size > 1 else 10.0


def _round_down(metres: float) -> float:
    """Largest 1, 2 or 5 times a power of ten that is not larger."""
    power = 10.0 ** np.floor(np.log10(metres))
    return float(max(k for k in (1, 2, 5) if k * power <= metres * (1 + 1e-9)) * power)


def _metres(length: float) -> str:
    return f"{length / 1000:g} km" if length >= 1000 else f"{length:.3g} m"

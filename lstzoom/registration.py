"""How far a scene's reflectance lies beside its LST: measured, told, and corrected where asked for.

The shift is measured on a few of the patches that train the global model, so that it costs the same for any
scene and does not depend on chunks or workers. To correct it, reflectance is read again at positions moved
by the shift; the LST is never moved.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from lstzoom.config import SharpenConfig
from lstzoom.halo import delayed, grown, is_lazy
from lstzoom.inputs import SceneArrays, prepare
from lstzoom.kernels.register import HALO, WINDOW, Agreement, Shift, estimate_shift, measure_agreement
from lstzoom.kernels.rows import mask_block
from lstzoom.sample import choose_patches
from lstzoom.types import YX

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger(__name__)

NOTEWORTHY: Final = 0.5
"""Fine pixels above which a shift costs more than noise does."""

_PATCHES = 6
"""Patches that are looked at: each holds about a hundred windows, and ten can be enough."""

_PATCH_PIXELS = 300
"""Side of a patch in fine pixels, about: with large ratios smaller patches, and more of them, are read."""

_SNAP = 0.1
"""Fine pixels by which a shift along an axis is known at best: whole pixels are copied, not resampled."""


def measure_shift(
    vnir: xr.DataArray,
    lst: xr.DataArray,
    *,
    valid: xr.DataArray | None = None,
    ratio: int | None = None,
    config: SharpenConfig | None = None,
) -> Shift | None:
    """Measure how far reflectance lies beside the LST.

    Parameters
    ----------
    vnir, lst, valid, ratio
        As in `lstzoom.sharpen`. Of lazy arrays a bounded number of patches is read.
    config
        Settings, of which the seed and the patches of the sample matter.

    Returns
    -------
    Shift or None
        In fine pixels, with a confidence; None where nothing can be measured, for want of valid pixels or
        because nothing varies. Multiply ``y`` and ``x`` by the pixel of the fine grid for metres.

    Raises
    ------
    InputError, GridMismatchError, UnitsError
        As `lstzoom.sharpen` does.

    Notes
    -----
    Shifts of up to two coarse pixels along each axis are found. A confidence of 0.8 and more
    (`Shift.is_sure`) is what a warning and the correction with ``SharpenConfig(align=True)`` ask for.

    Examples
    --------
    >>> from lstzoom.simulate import simulate_scene
    >>> scene = simulate_scene((150, 150)).to_xarray()
    >>> shift = measure_shift(scene.vnir.roll(y=1, x=-2), scene.lst)
    >>> round(shift.y), round(shift.x), shift.is_sure
    (1, -2, True)
    """
    measured = measure_scene(prepare(vnir, lst, valid, ratio=ratio), config or SharpenConfig())
    return computed(measured)


def computed(measured: Any) -> Shift | None:  # noqa: ANN401  (dask is untyped)
    """Return what was measured, computing it if it is lazy."""
    shift: Shift | None = measured.compute() if is_lazy(measured) else measured
    return shift


def measure_scene(scene: SceneArrays, config: SharpenConfig, threads: int = 1) -> Any:  # noqa: ANN401
    """Measure the shift of a prepared scene.

    Parameters
    ----------
    scene
        On its grids.
    config
        Settings.
    threads
        Patches at a time in this process, if the scene is not lazy.

    Returns
    -------
    Shift or None, or a dask Delayed of one if the scene is lazy
    """
    ratio, s = scene.grids.ratio, config.sample
    side = min(s.patch, max(2 * WINDOW, _PATCH_PIXELS // ratio))
    limit = min(s.max_patches, _PATCHES * min(s.patch // side, 2) ** 2)
    patches = choose_patches(scene.lst.shape, side=side, limit=limit, seed=config.seed, scene=0)
    blocks = [grown(patch.rows, patch.columns, HALO, scene.lst.shape) for patch in patches]
    parts = scene.run(
        [(block, partial(_agreement, core=core, ratio=ratio)) for block, core in blocks], threads=threads
    )
    estimate = partial(_estimate, ratio=ratio)
    return delayed(estimate)(parts) if scene.is_lazy else estimate(parts)


def _agreement(
    bands: NDArray[np.float32],
    lst: NDArray[np.float32],
    usable: NDArray[np.bool_] | None,
    origin: YX,
    _: object,
    *,
    core: tuple[slice, slice],
    ratio: int,
) -> Agreement:
    bands, lst = mask_block(bands, lst, usable, ratio)
    return measure_agreement(bands, lst, core, origin, ratio)


def _estimate(parts: Sequence[Agreement], *, ratio: int) -> Shift | None:
    whole = Agreement(np.sum([p.surface for p in parts], axis=0), sum(p.windows for p in parts))
    return estimate_shift(whole, ratio)


def align(scene: SceneArrays, config: SharpenConfig, threads: int = 1) -> tuple[SceneArrays, Shift | None]:
    """Move reflectance to where the LST shows the same ground, if asked for.

    Parameters
    ----------
    scene
        On its grids.
    config
        Settings; without ``align`` nothing is measured or moved.
    threads
        As for `measure_scene`.

    Returns
    -------
    scene : SceneArrays
        Its attribute ``moved`` says by how much reflectance was moved.
    shift : Shift or None
        What was measured; None without ``align``, too.
    """
    if not config.align:
        return scene, None
    # Where to read is part of the graph, so this cannot wait until something is computed.
    shift = computed(measure_scene(scene, config, threads))
    if shift is None or not shift.is_sure:
        logger.warning("not aligned: %s", _unknown(shift))
    move = move_for(shift)
    return (scene if move is None else scene.remake(move=move)), shift


def move_for(shift: Shift | None) -> tuple[float, float] | None:
    """Fine pixels along y and x by which a measured shift is corrected.

    Parameters
    ----------
    shift
        What was measured.

    Returns
    -------
    tuple of float, or None
        None where it is not sure, or nothing needs to be moved.
    """
    if shift is None or not shift.is_sure:
        return None
    move = _snapped(shift.y), _snapped(shift.x)
    return None if move == (0.0, 0.0) else move


def _snapped(value: float) -> float:
    near = float(round(value))
    return near if abs(value - near) < _SNAP else value


def _unknown(shift: Shift | None) -> str:
    if shift is None:
        return "the shift between reflectance and LST cannot be measured, for want of valid pixels or texture"
    return (
        f"the shift between reflectance and LST was measured with a confidence of {shift.confidence:.2f} only"
    )


def tell(shift: Shift | None, grid: GeoBox, *, moved: bool) -> None:
    """Log a shift; warn of one that is sure, above half a fine pixel and not corrected.

    Parameters
    ----------
    shift
        What was measured.
    grid
        The fine grid.
    moved
        Whether it was corrected.
    """
    if shift is None or not shift.is_sure:
        logger.info("%s", _unknown(shift))
    elif moved or shift.distance <= NOTEWORTHY:
        logger.info("reflectance lies %s%s", describe_shift(shift, grid), ": corrected" if moved else "")
    else:
        logger.warning(
            "reflectance lies %s; sharpening loses by it: check the geolocation of both, or correct it with "
            "--align or SharpenConfig(align=True)",
            describe_shift(shift, grid),
        )


def describe_shift(shift: Shift, grid: GeoBox) -> str:
    """Say a shift in words.

    Parameters
    ----------
    shift
        Measured.
    grid
        The fine grid, for metres.
    """
    x, y = shift.x * grid.affine.a, shift.y * grid.affine.e
    return (
        f"{shift.distance:.2f} fine pixels beside the LST ({shift.y:+.2f} rows, {shift.x:+.2f} columns; "
        f"x {x:+.4g}, y {y:+.4g} in the units of the CRS; confidence {shift.confidence:.2f})"
    )


def attributes(shift: Shift | None) -> dict[str, float]:
    """Describe a shift for the attributes of a result.

    Parameters
    ----------
    shift
        What was measured; None where nothing could be.

    Returns
    -------
    dict
        Fine pixels ``lstzoom_shift_y`` and ``lstzoom_shift_x`` where there are any, and their confidence.
    """
    if shift is None:
        return {"lstzoom_shift_confidence": 0.0}
    numbers = {"y": shift.y, "x": shift.x, "confidence": shift.confidence}
    return {f"lstzoom_shift_{name}": round(value, 3) for name, value in numbers.items()}

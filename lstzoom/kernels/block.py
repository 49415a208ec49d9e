"""The method as a pure function of one block: haloed coarse and fine arrays in, the fine core out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from lstzoom.kernels import correct, footprint, interpolate, windows
from lstzoom.kernels.aggregate import area_mean_radiance
from lstzoom.kernels.amplitude import share_of_levels
from lstzoom.kernels.correct import correct_residual
from lstzoom.kernels.features import DETAIL_REACH, detail_features, filled_levels, level_features
from lstzoom.kernels.interpolate import block_mean, fill_gaps, upsample
from lstzoom.kernels.local import Blend, Coarse, LocalSettings, blend_windows
from lstzoom.kernels.quality import QA, cells, flag
from lstzoom.kernels.rows import aggregate_block, level_bits, mask_block
from lstzoom.kernels.trees import Forest, predict, predict_out_of_bag
from lstzoom.kernels.uncertainty import ErrorModel
from lstzoom.types import YX

_T = TypeVar("_T", bound=np.generic)

_CENTRE = 2
"""Coarse pixels, the reach of the upsampling, that it takes to centre the detail of the level view."""

_TEXTURE_REACH = 2
_FLAT = 1e-4
"""Share of its magnitude by which a band must vary inside a coarse pixel to be more than rounding."""


@dataclass(frozen=True, slots=True)
class GlobalModel:
    """What the blocks of a scene share; plain arrays and numbers.

    Attributes
    ----------
    pairs : tuple of pairs of int
        Normalised differences used beside the bands.
    levels : Forest or None
        Trees of the level view; None if the sample was empty.
    details : Forest or None
        Trees of the detail view; None if the scene is too small for them.
    reliability : float
        Out-of-bag correlation ``rho`` of the detail view, 0 to 1.
    scene_mean : float
        Mean LST of the sample, kelvin: what the level view falls back on.
    footprint : float
        Standard deviation of the blur of reflectance, fine pixels.
    errors : ErrorModel
        Uncertainty of the detail.
    """

    pairs: tuple[tuple[int, int], ...]
    levels: Forest | None
    details: Forest | None
    reliability: float
    scene_mean: float
    footprint: float
    errors: ErrorModel


@dataclass(frozen=True, slots=True)
class BlockSettings:
    """Numbers that a block needs.

    Attributes
    ----------
    ratio : int
        Fine pixels per coarse pixel.
    local : LocalSettings
        The lattice of windows.
    cv_threshold : float
        CV up to which a coarse pixel has full weight.
    seed : int
        For the hashes that draw the bags.
    calibrated : bool
        Whether the amplitude of the detail is learned; False is the published method.
    box : int
        Side of the boxes, in coarse pixels, on which LST is conserved.
    """

    ratio: int
    local: LocalSettings
    cv_threshold: float
    seed: int
    calibrated: bool
    box: int = 1

    @property
    def corrected(self) -> int:
        """Coarse pixels around the core that the correction reads: whole boxes of a global lattice."""
        return correct.REACH * self.box + self.box - 1

    @property
    def margin(self) -> int:
        """Coarse pixels around the core where both views must be known."""
        return self.corrected + _CENTRE

    @property
    def fill(self) -> int:
        """Coarse pixels by which LST grows into its gaps: as far as a pixel that has one reads."""
        return self.corrected + interpolate.REACH

    @property
    def halo(self) -> int:
        """Coarse pixels that a block needs around its core."""
        near = self.corrected + max(DETAIL_REACH, interpolate.REACH) + self.fill
        far = windows.halo(self.local.stride, self.local.extension, self.margin)
        return max(near, far) + footprint.REACH


@dataclass(frozen=True, slots=True)
class Sharpened:
    """The fine core of a block.

    Attributes
    ----------
    lst : ndarray of float32, shape (y, x)
        Kelvin, NaN where there is none.
    qa : ndarray of uint8, shape (y, x)
        `lstzoom.kernels.quality.QA`.
    lst_global, lst_local : ndarray of float32, shape (y, x)
        Predictions of the level view's models, kelvin.
    local_weight : ndarray of float32, shape (y, x)
        Share of the local models in the level view.
    residual : ndarray of float32, shape (y, x)
        What the coarse LST has and the prediction lacked, kelvin, constant over a coarse pixel.
    lst_uncertainty : ndarray of float32, shape (y, x)
        Standard uncertainty of the detail, kelvin; NaN with the published method, which states none.
    """

    lst: NDArray[np.float32]
    qa: NDArray[np.uint8]
    lst_global: NDArray[np.float32]
    lst_local: NDArray[np.float32]
    local_weight: NDArray[np.float32]
    residual: NDArray[np.float32]
    lst_uncertainty: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Core:
    """The core of a haloed block and how to cut around it."""

    rows: slice
    columns: slice

    @classmethod
    def of(cls, shape: tuple[int, ...], halo: int) -> _Core:
        return cls(slice(halo, shape[0] - halo), slice(halo, shape[1] - halo))

    def grown(self, by: int) -> _Core:
        return _Core(*(slice(s.start - by, s.stop + by) for s in (self.rows, self.columns)))

    def coarse(self, a: NDArray[_T]) -> NDArray[_T]:
        return a[..., self.rows, self.columns]

    def fine(self, a: NDArray[_T], ratio: int) -> NDArray[_T]:
        y, x = (slice(s.start * ratio, s.stop * ratio) for s in (self.rows, self.columns))
        return a[..., y, x]


def sharpen_block(
    bands: NDArray[np.float32],
    lst: NDArray[np.float32],
    usable: NDArray[np.bool_] | None,
    origin: YX,
    model: GlobalModel,
    settings: BlockSettings,
) -> Sharpened:
    """Sharpen one block.

    Parameters
    ----------
    bands
        float32, shape (band, H * ratio, W * ratio) with ``H = h + 2 halo``: any unit, not finite
        where missing. Outside the scene everything is missing.
    lst
        float32, shape (H, W), kelvin, not finite where missing.
    usable
        bool, shape (H * ratio, W * ratio), False where the user masks; None masks nothing.
    origin
        Global coarse index of the block's first pixel, halo included.
    model
        The scene's global model.
    settings
        Numbers of the method.

    Returns
    -------
    Sharpened
        Arrays of shape (h * ratio, w * ratio).
    """
    ratio, halo = settings.ratio, settings.halo
    core = _Core.of(lst.shape, halo)
    if not np.isfinite(core.coarse(lst)).any():
        return _empty(core.fine(bands, ratio), None if usable is None else core.fine(usable, ratio))
    bands, lst = mask_block(bands, lst, usable, ratio)
    bands = footprint.blur(bands, model.footprint, ratio)
    levels, blend, prior = _level_view(bands, lst, core, origin, model, settings)
    seen = np.asarray(np.isfinite(bands).all(axis=0)) & cells(_textured(bands, ratio), ratio)
    detailed = _combine(levels, seen, lst, core, blend, model, settings)
    residual = _correct(detailed.lst, lst, core, origin, settings)
    return _outputs(detailed, residual, prior, blend, bands, lst, usable, core, settings)


def _textured(bands: NDArray[np.float32], ratio: int) -> NDArray[np.bool_]:
    """Coarse pixels with a neighbour, or themselves, in which any band varies.

    Where nothing varies far and wide, reflectance tells nothing of the detail. A constant pixel beside a
    varying one does: it is the inside or the edge of something.
    """
    shape = (len(bands), bands.shape[1] // ratio, ratio, bands.shape[2] // ratio, ratio)
    split = np.where(np.isfinite(bands), bands, np.float32(np.nan)).reshape(shape)
    high = np.fmax.reduce(np.fmax.reduce(split, axis=4), axis=2)
    low = np.fmin.reduce(np.fmin.reduce(split, axis=4), axis=2)
    varies = high - low > _FLAT * np.maximum(np.abs(high), np.abs(low))
    side = 2 * _TEXTURE_REACH + 1
    return np.asarray(binary_dilation(varies.any(axis=0), np.ones((side, side), np.bool_)))


def _level_view(
    bands: NDArray[np.float32],
    lst: NDArray[np.float32],
    core: _Core,
    origin: YX,
    model: GlobalModel,
    settings: BlockSettings,
) -> tuple[NDArray[np.float32], Blend, NDArray[np.float32]]:
    """Predict with the global and the local models (steps 1 to 5 of the published method)."""
    ratio = settings.ratio
    block = aggregate_block(bands, lst, ratio, cv_threshold=settings.cv_threshold)
    levels = filled_levels(bands, block.mean, model.pairs, ratio)
    bits = level_bits(settings.seed, origin, lst.shape)
    coarse_levels = level_features(block.mean, model.pairs)
    prior = np.full(lst.shape, model.scene_mean, np.float32)
    prior_fine = np.full(levels.shape[1:], model.scene_mean, np.float32)
    wide = core.grown(settings.margin)
    if model.levels is not None:
        rows = np.ascontiguousarray(coarse_levels[:, block.trainable].T)
        prior[block.trainable] = predict_out_of_bag(model.levels, rows, bits[block.trainable])
        wide.fine(prior_fine, ratio)[...] = predict(model.levels, wide.fine(levels, ratio))
    coarse = Coarse(coarse_levels, lst, block.trainable, block.weight, bits, prior)
    lattice = {"stride": settings.local.stride, "extension": settings.local.extension}
    rows_ = list(windows.spans(origin.y, lst.shape[0], wide.rows, **lattice))
    columns = list(windows.spans(origin.x, lst.shape[1], wide.columns, **lattice))
    blend = blend_windows(coarse, levels, prior_fine, rows_, columns, ratio, settings.local)
    return levels, blend, prior_fine


@dataclass(frozen=True, slots=True)
class _Detailed:
    """Interpolated LST plus detail, on the core grown by what the correction reads."""

    lst: NDArray[np.float32]
    reliability: NDArray[np.float32]
    uncertainty: NDArray[np.float32]


def _combine(
    levels: NDArray[np.float32],
    seen: NDArray[np.bool_],
    lst: NDArray[np.float32],
    core: _Core,
    blend: Blend,
    model: GlobalModel,
    settings: BlockSettings,
) -> _Detailed:
    """Interpolated LST plus the detail of both views, each with its amplitude.

    A pixel without VNIR gets no detail: what fills its bands has borders that are not the land's.
    """
    ratio = settings.ratio
    out = core.grown(settings.corrected)
    near = out.grown(max(DETAIL_REACH, interpolate.REACH))
    inner = _Core.of((_size(near.rows), _size(near.columns)), out.rows.start - near.rows.start)
    smooth = interpolate.interpolate(_filled(lst, near, settings), ratio)
    fused = core.grown(settings.margin).fine(blend.fused, ratio)
    detail = fused - upsample(block_mean(np.ascontiguousarray(fused), ratio), ratio)
    trim = _CENTRE * ratio
    detail = detail[trim:-trim, trim:-trim]
    fine = inner.fine(smooth, ratio)
    rho2 = out.fine(blend.reliability, ratio)
    seen = out.fine(seen, ratio)
    if not settings.calibrated:
        unknown = np.full(fine.shape, np.nan, np.float32)
        return _Detailed(fine + np.where(seen, detail, np.float32(0.0)), rho2 * seen, unknown)
    share = share_of_levels(rho2, model.reliability**2)
    detail *= share * out.fine(blend.amplitude, ratio)
    uncertainty = np.full(fine.shape, model.errors.constant, np.float32)
    if model.details is not None and model.reliability > 0:
        planes = detail_features(
            np.ascontiguousarray(near.fine(levels, ratio)), _filled(lst, near, settings), smooth,
            np.isfinite(near.coarse(lst)), ratio,
        )  # fmt: skip
        planes = inner.fine(planes, ratio)
        detail += (1 - share) * model.reliability * predict(model.details, planes)
        if model.errors.trees is not None:
            uncertainty = predict(model.errors.trees, planes) * np.float32(model.errors.factor)
    uncertainty *= np.where(seen, np.float32(1.0), np.float32(model.errors.plain))
    return _Detailed(
        fine + np.where(seen, detail, np.float32(0.0)),
        (share * rho2 + (1 - share) * np.float32(model.reliability**2)) * seen,
        uncertainty,
    )


def _correct(
    fine: NDArray[np.float32], lst: NDArray[np.float32], core: _Core, origin: YX, settings: BlockSettings
) -> NDArray[np.float32]:
    """Correct the residual in place, on whole boxes; return it on the coarse grid."""
    ratio, box = settings.ratio, settings.box
    out = core.grown(settings.corrected)
    coarse = _filled(lst, out, settings)
    starts = (origin.y + out.rows.start, origin.x + out.columns.start)
    rows, columns = (
        slice(-at % box, -at % box + (n - (-at % box)) // box * box)
        for at, n in zip(starts, coarse.shape, strict=True)
    )
    part = _Core(rows, columns)
    boxes = np.ascontiguousarray(part.fine(fine, ratio))
    goal = area_mean_radiance(part.coarse(coarse), box) if box > 1 else coarse
    residual = np.zeros(coarse.shape, np.float32)
    part.coarse(residual)[...] = cells(correct_residual(boxes, goal, ratio * box), box)
    part.fine(fine, ratio)[...] = boxes
    return residual


def _outputs(
    detailed: _Detailed,
    residual: NDArray[np.float32],
    prior: NDArray[np.float32],
    blend: Blend,
    bands: NDArray[np.float32],
    lst: NDArray[np.float32],
    usable: NDArray[np.bool_] | None,
    core: _Core,
    settings: BlockSettings,
) -> Sharpened:
    ratio, border = settings.ratio, settings.corrected
    inner = (slice(border * ratio, -border * ratio),) * 2
    has_lst = cells(np.isfinite(core.coarse(lst)), ratio)
    visible = np.ones(has_lst.shape, np.bool_) if usable is None else core.fine(usable, ratio)
    has_vnir = np.asarray(np.isfinite(core.fine(bands, ratio)).all(axis=0))
    share = core.fine(blend.weight, ratio)
    qa = flag(
        has_lst=has_lst, has_vnir=has_vnir, usable=visible,
        local_share=share, reliability=detailed.reliability[inner],
    )  # fmt: skip
    known = (qa != QA.NODATA) & (qa != QA.MASKED)
    sharpened = known & (qa != QA.INTERPOLATED)

    def where(mask: NDArray[np.bool_], a: NDArray[np.generic]) -> NDArray[np.float32]:
        return np.where(mask, a, np.float32(np.nan)).astype(np.float32)

    return Sharpened(
        lst=where(known, detailed.lst[inner]),
        qa=qa,
        lst_global=where(sharpened, core.fine(prior, ratio)),
        lst_local=where(sharpened, core.fine(blend.local, ratio)),
        local_weight=where(sharpened, share),
        residual=where(known, cells(residual[border:-border, border:-border], ratio)),
        lst_uncertainty=where(known, detailed.uncertainty[inner]),
    )


def _empty(bands: NDArray[np.generic], usable: NDArray[np.generic] | None) -> Sharpened:
    """Output of a core without any coarse LST."""
    shape = bands.shape[1:]
    nothing = np.full(shape, np.nan, np.float32)
    qa = np.full(shape, QA.NODATA, np.uint8)
    if usable is not None:
        qa[~usable.astype(np.bool_)] = QA.MASKED
    return Sharpened(nothing, qa, nothing, nothing, nothing, nothing, nothing)


def _filled(lst: NDArray[np.float32], part: _Core, settings: BlockSettings) -> NDArray[np.float32]:
    """Coarse LST of a part of the block, gaps filled with what lies around them."""
    steps = settings.fill
    inner = slice(steps, -steps)
    return np.ascontiguousarray(fill_gaps(part.grown(steps).coarse(lst), steps=steps)[inner, inner])


def _size(part: slice) -> int:
    return int(part.stop - part.start)

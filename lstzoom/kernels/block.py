"""The method as a pure function of one block: haloed coarse and fine arrays in, the fine core out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lstzoom.kernels import correct, footprint, interpolate, windows
from lstzoom.kernels.aggregate import area_mean_radiance
from lstzoom.kernels.amplitude import share_of_levels
from lstzoom.kernels.correct import correct_residual
from lstzoom.kernels.detail import predict_details
from lstzoom.kernels.features import DETAIL_REACH, filled_levels, level_features
from lstzoom.kernels.interpolate import block_mean, fill_gaps, upsample
from lstzoom.kernels.local import Blend, Coarse, LocalSettings, blend_windows
from lstzoom.kernels.quality import QA, cells, flag
from lstzoom.kernels.rows import CoarseBlock, aggregate_block, level_bits, mask_block
from lstzoom.kernels.trees import Forest, predict, predict_out_of_bag
from lstzoom.kernels.uncertainty import LEAST, ErrorModel
from lstzoom.types import YX

_T = TypeVar("_T", bound=np.generic)

_CENTRE = 2
"""Coarse pixels, the reach of the upsampling, that it takes to centre the detail of the level view."""

_TEXTURE_REACH = 2


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
    def seen(self) -> int:
        """Coarse pixels around the core whose level features are needed at the fine resolution."""
        return self.corrected + max(DETAIL_REACH, _CENTRE)

    @property
    def fill(self) -> int:
        """Coarse pixels by which LST grows into its gaps: as far as a pixel that has one reads."""
        return self.corrected + interpolate.REACH

    @property
    def halo(self) -> int:
        """Coarse pixels that a block needs around its core."""
        near = self.seen + interpolate.REACH + self.fill
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
    block = aggregate_block(bands, lst, ratio, cv_threshold=settings.cv_threshold)
    levels = _levels(bands, block, core, model, settings)
    views = _level_view(levels, block, core, origin, model, settings)
    has_vnir = _complete(bands, block, core, settings)
    detailed = _combine(levels, has_vnir, block, core, views, model, settings)
    residual = _correct(detailed.lst, lst, core, origin, settings)
    return _outputs(detailed, residual, views, has_vnir, lst, usable, core, settings)


def _levels(
    bands: NDArray[np.float32],
    block: CoarseBlock,
    core: _Core,
    model: GlobalModel,
    settings: BlockSettings,
) -> NDArray[np.float32]:
    """Level features at the fine resolution, without gaps, as far around the core as details read them."""
    part = core.grown(settings.seen)
    # Gaps are filled from further away.
    wide = part.grown(interpolate.REACH)
    inner = _Core.of((_size(wide.rows), _size(wide.columns)), interpolate.REACH)
    whole = inner.coarse(wide.coarse(block.whole))
    mean = wide.coarse(block.mean)
    if not whole.all():
        mean = np.stack([fill_gaps(plane) for plane in mean])
    return filled_levels(
        part.fine(bands, settings.ratio), inner.coarse(mean), whole, model.pairs, settings.ratio
    )


def _textured(block: CoarseBlock, part: _Core) -> NDArray[np.bool_]:
    """Coarse pixels with a neighbour, or themselves, in which any band varies.

    Where nothing varies far and wide, reflectance tells nothing of the detail. A constant pixel beside a
    varying one does: it is the inside or the edge of something.
    """
    near = part.grown(_TEXTURE_REACH).coarse(block.varies)
    side = 2 * _TEXTURE_REACH + 1
    rows, columns = (n - side + 1 for n in near.shape)
    tall = np.logical_or.reduce([near[i : i + rows] for i in range(side)])
    return np.asarray(np.logical_or.reduce([tall[:, j : j + columns] for j in range(side)]))


def _complete(
    bands: NDArray[np.float32], block: CoarseBlock, core: _Core, settings: BlockSettings
) -> NDArray[np.bool_]:
    """Fine pixels of the core and of what the correction reads that are valid in all bands."""
    out = core.grown(settings.corrected)
    if out.coarse(block.whole).all():
        return np.ones(tuple(n * settings.ratio for n in out.coarse(block.whole).shape), np.bool_)
    return np.asarray(np.isfinite(out.fine(bands, settings.ratio)).all(axis=0))


@dataclass(frozen=True, slots=True)
class _LevelView:
    """Prediction of the global model and what the windows make of it, on the core grown by the margin."""

    prior: NDArray[np.float32]
    blend: Blend


def _level_view(
    levels: NDArray[np.float32],
    block: CoarseBlock,
    core: _Core,
    origin: YX,
    model: GlobalModel,
    settings: BlockSettings,
) -> _LevelView:
    """Predict with the global and the local models (steps 1 to 5 of the published method)."""
    ratio, lst = settings.ratio, block.lst
    bits = level_bits(settings.seed, origin, lst.shape)
    coarse_levels = level_features(block.mean, model.pairs)
    part = core.grown(settings.margin)
    prior = np.full(lst.shape, model.scene_mean, np.float32)
    if model.levels is None:
        shape = (_size(part.rows) * ratio, _size(part.columns) * ratio)
        prior_fine = np.full(shape, model.scene_mean, np.float32)
    else:
        rows = coarse_levels[:, block.trainable].T
        prior[block.trainable] = predict_out_of_bag(model.levels, rows, bits[block.trainable])
        prior_fine = predict(model.levels, levels, skip=(settings.seen - settings.margin) * ratio)
    coarse = Coarse(coarse_levels, lst, block.trainable, block.weight, bits, prior)
    lattice = {"stride": settings.local.stride, "extension": settings.local.extension}
    spans = (
        list(windows.spans(origin.y, lst.shape[0], part.rows, **lattice)),
        list(windows.spans(origin.x, lst.shape[1], part.columns, **lattice)),
    )
    corner = YX(part.rows.start, part.columns.start)
    return _LevelView(
        prior_fine, blend_windows(coarse, levels, prior_fine, *spans, corner, ratio, settings.local)
    )


@dataclass(frozen=True, slots=True)
class _Detailed:
    """Interpolated LST plus detail, on the core grown by what the correction reads."""

    lst: NDArray[np.float32]
    reliability: NDArray[np.float32]
    uncertainty: NDArray[np.float32]


def _combine(
    levels: NDArray[np.float32],
    has_vnir: NDArray[np.bool_],
    block: CoarseBlock,
    core: _Core,
    views: _LevelView,
    model: GlobalModel,
    settings: BlockSettings,
) -> _Detailed:
    """Interpolated LST plus the detail of both views, each with its amplitude.

    A pixel without VNIR gets no detail: what fills its bands has borders that are not the land's.
    """
    ratio = settings.ratio
    out = core.grown(settings.corrected)
    trim = slice(_CENTRE * ratio, -_CENTRE * ratio)
    blend = views.blend
    detail = blend.fused - upsample(block_mean(blend.fused, ratio), ratio)
    detail, rho2 = detail[trim, trim], blend.reliability[trim, trim]
    fine = _interpolated(block.lst, out, settings)
    seen = has_vnir & cells(_textured(block, out), ratio)
    uncertainty = np.full(fine.shape, model.errors.constant, np.float32)
    reliability = rho2
    if not settings.calibrated:
        uncertainty[...] = np.nan
    else:
        share = share_of_levels(rho2, model.reliability**2)
        detail = detail * share * blend.amplitude[trim, trim]
        if model.details is not None and model.reliability > 0:
            own, size = _detail_view(levels, fine, block, core, model, settings)
            detail += (1 - share) * np.float32(model.reliability) * own
            if size is not None:
                uncertainty = size * np.float32(model.errors.factor)
        uncertainty *= np.where(seen, np.float32(1.0), np.float32(model.errors.plain))
        uncertainty = np.maximum(uncertainty, np.float32(LEAST))
        reliability = share * rho2 + (1 - share) * np.float32(model.reliability**2)
    fine += np.where(seen, detail, np.float32(0.0))
    return _Detailed(fine, reliability * seen, uncertainty)


def _interpolated(lst: NDArray[np.float32], out: _Core, settings: BlockSettings) -> NDArray[np.float32]:
    """Coarse LST interpolated to the fine pixels of a part of the block."""
    reach = interpolate.REACH * settings.ratio
    smooth = interpolate.interpolate(_filled(lst, out.grown(interpolate.REACH), settings), settings.ratio)
    return np.ascontiguousarray(smooth[reach:-reach, reach:-reach])


def _detail_view(
    levels: NDArray[np.float32],
    smooth: NDArray[np.float32],
    block: CoarseBlock,
    core: _Core,
    model: GlobalModel,
    settings: BlockSettings,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Detail predicted from detail, and the size of its error if that is known."""
    assert model.details is not None  # noqa: S101  (asked before)
    part = core.grown(settings.seen)
    forests = [model.details] if model.errors.trees is None else [model.details, model.errors.trees]
    predicted = predict_details(
        levels, _filled(block.lst, part, settings), smooth, np.isfinite(part.coarse(block.lst)),
        settings.seen - settings.corrected, settings.ratio, tuple(forests),
    )  # fmt: skip
    return predicted[0], (predicted[1] if len(predicted) > 1 else None)


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
    views: _LevelView,
    has_vnir: NDArray[np.bool_],
    lst: NDArray[np.float32],
    usable: NDArray[np.bool_] | None,
    core: _Core,
    settings: BlockSettings,
) -> Sharpened:
    ratio, border = settings.ratio, settings.corrected
    inner = (slice(border * ratio, -border * ratio),) * 2
    inmost = (slice(settings.margin * ratio, -settings.margin * ratio),) * 2
    has_lst = cells(np.isfinite(core.coarse(lst)), ratio)
    visible = np.ones(has_lst.shape, np.bool_) if usable is None else core.fine(usable, ratio)
    share = views.blend.weight[inmost]
    qa = flag(
        has_lst=has_lst, has_vnir=has_vnir[inner], usable=visible,
        local_share=share, reliability=detailed.reliability[inner],
    )  # fmt: skip
    known = (qa != QA.NODATA) & (qa != QA.MASKED)
    sharpened = known & (qa != QA.INTERPOLATED)

    def where(mask: NDArray[np.bool_], a: NDArray[np.generic]) -> NDArray[np.float32]:
        return np.where(mask, a, np.float32(np.nan)).astype(np.float32, copy=False)

    return Sharpened(
        lst=where(known, detailed.lst[inner]),
        qa=qa,
        lst_global=where(sharpened, views.prior[inmost]),
        lst_local=where(sharpened, views.blend.local[inmost]),
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

"""The method as a pure function of one block: haloed coarse and fine arrays in, the fine core out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from lstzoom.kernels import correct, interpolate, windows
from lstzoom.kernels.amplitude import share_of_levels
from lstzoom.kernels.correct import correct_residual
from lstzoom.kernels.features import DETAIL_REACH, detail_features, filled_levels, level_features
from lstzoom.kernels.interpolate import block_mean, fill_gaps, upsample
from lstzoom.kernels.local import Blend, Coarse, LocalSettings, blend_windows
from lstzoom.kernels.quality import QA, cells, flag
from lstzoom.kernels.rows import aggregate_block, level_bits, mask_block
from lstzoom.kernels.trees import Forest, predict, predict_out_of_bag
from lstzoom.types import YX

_T = TypeVar("_T", bound=np.generic)

MARGIN = 2 + correct.REACH
"""Coarse pixels around the core where both views must be known: to centre the detail of the level view
(the reach of the upsampling) and to correct the residual."""

_FILL = correct.REACH + interpolate.REACH
"""Coarse pixels by which LST grows into its gaps: as far as a pixel that has one reads."""

_NEAR = correct.REACH + max(DETAIL_REACH, interpolate.REACH) + _FILL
"""Coarse pixels around the core that anything but the windows reads, filling of gaps included."""


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
    """

    pairs: tuple[tuple[int, int], ...]
    levels: Forest | None
    details: Forest | None
    reliability: float
    scene_mean: float


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
    """

    ratio: int
    local: LocalSettings
    cv_threshold: float
    seed: int
    calibrated: bool

    @property
    def halo(self) -> int:
        """Coarse pixels that a block needs around its core."""
        return max(windows.halo(self.local.stride, self.local.extension, MARGIN), _NEAR)


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
    """

    lst: NDArray[np.float32]
    qa: NDArray[np.uint8]
    lst_global: NDArray[np.float32]
    lst_local: NDArray[np.float32]
    local_weight: NDArray[np.float32]
    residual: NDArray[np.float32]


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
    levels, blend, prior = _level_view(bands, lst, core, origin, model, settings)
    seen = np.asarray(np.isfinite(bands).all(axis=0)) & cells(_textured(bands, ratio), ratio)
    fine, reliability = _combine(levels, seen, lst, core, blend, model, settings)
    residual = correct_residual(fine, _filled(lst, core.grown(correct.REACH)), ratio)
    return _outputs(fine, residual, reliability, prior, blend, bands, lst, usable, core, settings)


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
    wide = core.grown(MARGIN)
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


def _combine(
    levels: NDArray[np.float32],
    seen: NDArray[np.bool_],
    lst: NDArray[np.float32],
    core: _Core,
    blend: Blend,
    model: GlobalModel,
    settings: BlockSettings,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Interpolated LST plus the detail of both views, each with its amplitude.

    A pixel without VNIR gets no detail: what fills its bands has borders that are not the land's.
    Returns the fine LST before correction and the reliability of its detail, on the core grown by what
    the correction reads.
    """
    ratio = settings.ratio
    out = core.grown(correct.REACH)
    near = out.grown(max(DETAIL_REACH, interpolate.REACH))
    inner = _Core.of((_size(near.rows), _size(near.columns)), out.rows.start - near.rows.start)
    smooth = interpolate.interpolate(_filled(lst, near), ratio)
    fused = core.grown(MARGIN).fine(blend.fused, ratio)
    detail = fused - upsample(block_mean(np.ascontiguousarray(fused), ratio), ratio)
    trim = (MARGIN - correct.REACH) * ratio
    detail = detail[trim:-trim, trim:-trim]
    fine = inner.fine(smooth, ratio)
    rho2 = out.fine(blend.reliability, ratio)
    seen = out.fine(seen, ratio)
    if not settings.calibrated:
        return fine + np.where(seen, detail, np.float32(0.0)), rho2 * seen
    share = share_of_levels(rho2, model.reliability**2)
    detail *= share * out.fine(blend.amplitude, ratio)
    if model.details is not None and model.reliability > 0:
        planes = detail_features(
            np.ascontiguousarray(near.fine(levels, ratio)), _filled(lst, near), smooth,
            np.isfinite(near.coarse(lst)), ratio,
        )  # fmt: skip
        detail += (1 - share) * model.reliability * predict(model.details, inner.fine(planes, ratio))
    fine = fine + np.where(seen, detail, np.float32(0.0))
    return fine, (share * rho2 + (1 - share) * np.float32(model.reliability**2)) * seen


def _outputs(
    fine: NDArray[np.float32],
    residual: NDArray[np.float32],
    reliability: NDArray[np.float32],
    prior: NDArray[np.float32],
    blend: Blend,
    bands: NDArray[np.float32],
    lst: NDArray[np.float32],
    usable: NDArray[np.bool_] | None,
    core: _Core,
    settings: BlockSettings,
) -> Sharpened:
    ratio = settings.ratio
    trim, border = correct.REACH * ratio, correct.REACH
    inner = (slice(trim, -trim), slice(trim, -trim))
    has_lst = cells(np.isfinite(core.coarse(lst)), ratio)
    visible = np.ones(has_lst.shape, np.bool_) if usable is None else core.fine(usable, ratio)
    has_vnir = np.asarray(np.isfinite(core.fine(bands, ratio)).all(axis=0))
    share = core.fine(blend.weight, ratio)
    qa = flag(
        has_lst=has_lst, has_vnir=has_vnir, usable=visible,
        local_share=share, reliability=reliability[inner],
    )  # fmt: skip
    known = (qa != QA.NODATA) & (qa != QA.MASKED)
    sharpened = known & (qa != QA.INTERPOLATED)

    def where(mask: NDArray[np.bool_], a: NDArray[np.generic]) -> NDArray[np.float32]:
        return np.where(mask, a, np.float32(np.nan)).astype(np.float32)

    return Sharpened(
        lst=where(known, fine[inner]),
        qa=qa,
        lst_global=where(sharpened, core.fine(prior, ratio)),
        lst_local=where(sharpened, core.fine(blend.local, ratio)),
        local_weight=where(sharpened, share),
        residual=where(known, cells(residual[border:-border, border:-border], ratio)),
    )


def _empty(bands: NDArray[np.generic], usable: NDArray[np.generic] | None) -> Sharpened:
    """Output of a core without any coarse LST."""
    shape = bands.shape[1:]
    nothing = np.full(shape, np.nan, np.float32)
    qa = np.full(shape, QA.NODATA, np.uint8)
    if usable is not None:
        qa[~usable.astype(np.bool_)] = QA.MASKED
    return Sharpened(nothing, qa, nothing, nothing, nothing, nothing)


def _filled(lst: NDArray[np.float32], part: _Core) -> NDArray[np.float32]:
    """Coarse LST of a part of the block, gaps filled with what lies around them."""
    grown = part.grown(_FILL)
    inner = slice(_FILL, -_FILL)
    return np.ascontiguousarray(fill_gaps(grown.coarse(lst), steps=_FILL)[inner, inner])


def _size(part: slice) -> int:
    return int(part.stop - part.start)

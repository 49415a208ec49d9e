"""Rules that merge scenes pixel by pixel: pure functions of blocks of arrays.

Scenes come in order of time and name, and every sum runs over them in that order in double precision. A scene
without a value at a pixel adds exactly nothing there, so the result does not depend on which others were
looked at, nor on the order in which they were given.

With temperatures ``T_i`` and standard uncertainties ``u_i`` of the ``n`` scenes that have a value:

``latest``
    ``T`` and ``u`` of the last scene.
``median``
    Median of ``T_i``, of an even number the mean of the middle two;
    ``u = c sqrt(sum u_i^2) / n`` with ``c = 1`` for one and two scenes and ``sqrt(pi / 2)``, which a median
    does not exceed for normal errors of one size, for more.
``mean``
    ``T = sum p_i T_i`` and ``u^2 = sum p_i^2 u_i^2`` with ``p_i = w_i / sum w`` and
    ``w_i = f(d_i / D) / (u_i^2 + s^2)``. ``d_i`` is the distance to the nearest pixel without a value of the
    scene, ``D`` the width of the feather, and ``f(t) = t^2 (3 - 2 t)``, 1 beyond ``t = 1``: smooth at both
    ends.
    ``s`` is the standard deviation by which scenes of different times differ beside their uncertainty. It
    bounds the ratio of weights, and does not enter ``u``.

Errors of different scenes are taken as independent. Where a scene that enters does not state its uncertainty,
that of the result is not known. The flag and the time of a pixel are those of one scene: the last, that with
the value nearest to the median, or the weightiest; of several alike the last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
from scipy.ndimage import distance_transform_edt

from lstzoom.kernels.quality import QA

if TYPE_CHECKING:
    from numpy.typing import NDArray

Rule: TypeAlias = Literal["latest", "median", "mean"]

NO_TIME: Final = np.iinfo(np.int32).min
"""Time of pixels without a value."""
_MEDIAN_FACTOR: Final = math.sqrt(math.pi / 2)


class Block(NamedTuple):
    """What one scene has in a window.

    Attributes
    ----------
    lst
        float32, shape (y, x): kelvin, NaN where missing.
    uncertainty
        float32, kelvin; NaN where it is not known.
    qa
        uint8 (`lstzoom.kernels.quality.QA`).
    time
        Minutes since 1970-01-01 UTC.
    distance
        float32: pixels to the nearest one without a value; used by ``mean`` alone.
    """

    lst: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    qa: NDArray[np.uint8]
    time: int
    distance: NDArray[np.float32] | None = None


class Merged(NamedTuple):
    """A window of the mosaic.

    Attributes
    ----------
    lst, lst_uncertainty
        float32, shape (y, x): kelvin, NaN where missing or not known.
    qa
        uint8: of the leading scene; masked where no scene has a value and one is masked.
    number
        uint16: scenes with a value; ``count`` in a store.
    source_time
        int32: minutes since 1970-01-01 UTC of the leading scene, `NO_TIME` where there is no value.
    """

    lst: NDArray[np.float32]
    lst_uncertainty: NDArray[np.float32]
    qa: NDArray[np.uint8]
    number: NDArray[np.uint16]
    source_time: NDArray[np.int32]

    @property
    def layers(self) -> dict[str, NDArray[Any]]:
        """Layers by the names that they have in a store."""
        return {"count" if name == "number" else name: one for name, one in self._asdict().items()}


def edge_distance(valid: NDArray[np.bool_], limit: int) -> NDArray[np.float32]:
    """Distance of valid pixels to the nearest one that is not, pixels, at most ``limit + 1``.

    Parameters
    ----------
    valid
        bool, shape (y + 2 limit, x + 2 limit): the window with a margin of ``limit`` pixels.
    limit
        Beyond it, distances are not told apart.

    Returns
    -------
    ndarray
        float32, shape (y, x); 0 where not valid. It depends on no pixel further away than the margin, so that
        any cut of a mosaic into windows gives the same.
    """
    core = tuple(slice(limit, side - limit) for side in valid.shape)
    if not valid[core].any():
        return np.zeros([side - 2 * limit for side in valid.shape], np.float32)
    if valid.all():
        return np.full([side - 2 * limit for side in valid.shape], limit + 1, np.float32)
    found = distance_transform_edt(valid)[core]
    return np.asarray(np.minimum(found, limit + 1), np.float32)


def feather(distance: NDArray[np.float32], width: int) -> NDArray[np.float64]:
    """Weight by distance to the edge: 0 at 0 pixels, 1 from ``width + 1`` on, with no kink at either end.

    Examples
    --------
    >>> feather(np.array([0, 2, 4, 9], np.float32), 3)
    array([0. , 0.5, 1. , 1. ])
    """
    part = np.minimum(distance.astype(np.float64) / (width + 1), 1.0)
    weight: NDArray[np.float64] = part * part * (3.0 - 2.0 * part)
    return weight


def latest(blocks: Iterable[Block], shape: tuple[int, int]) -> Merged:
    """Merge by taking the last scene that has a value.

    Parameters
    ----------
    blocks
        Of the scenes, in order of time and name.
    shape
        Of the window.

    Returns
    -------
    Merged
    """
    out = _nothing(shape)
    for block in blocks:
        valid = _count(out, block)
        _lead(out, block, valid)
        out.lst[valid] = block.lst[valid]
        out.lst_uncertainty[valid] = block.uncertainty[valid]
    return out


def median(blocks: Iterable[Block], shape: tuple[int, int]) -> Merged:
    """Merge by the median; see `latest` for parameters. Holds all scenes at once."""
    every = list(blocks)
    out = _nothing(shape)
    if not every:
        return out
    stack = np.stack([block.lst for block in every])
    middle = _middle(stack)
    total, nearest = np.zeros(shape), np.full(shape, np.inf)
    for block in every:
        valid = _count(out, block)
        total += np.where(valid, np.square(block.uncertainty.astype(np.float64)), 0.0)
        off = np.where(valid, np.abs(block.lst.astype(np.float64) - middle), np.inf)
        _lead(out, block, valid & (off <= nearest))
        nearest = np.minimum(nearest, off)
    n = np.maximum(out.number.astype(np.float64), 1.0)
    some = out.number > 0
    factor = np.where(out.number > 2, _MEDIAN_FACTOR, 1.0)
    out.lst[some] = middle[some]
    out.lst_uncertainty[some] = (factor * np.sqrt(total) / n)[some]
    return out


def mean(blocks: Iterable[Block], shape: tuple[int, int], *, width: int, scene_sd: float) -> Merged:
    """Merge by the mean, feathered and weighted by inverse variance.

    Parameters
    ----------
    blocks, shape
        As for `latest`, with distances.
    width
        Of the feather, pixels.
    scene_sd
        Standard deviation by which scenes differ beside their uncertainty, kelvin, positive; also taken for
        the uncertainty of a scene that does not state it.

    Returns
    -------
    Merged
    """
    out = _nothing(shape)
    weights, total, variance = (np.zeros(shape) for _ in range(3))
    heaviest = np.zeros(shape)
    for block in blocks:
        valid = _count(out, block)
        weight = _weight(block, valid, width, scene_sd)
        weights += weight
        total += weight * np.where(valid, block.lst, 0.0)
        # Not known stays not known: NaN goes through the sum.
        variance += np.where(valid, np.square(weight * block.uncertainty), 0.0)
        leading = valid & (weight >= heaviest)
        _lead(out, block, leading)
        heaviest[leading] = weight[leading]
    some = out.number > 0
    out.lst[some] = total[some] / weights[some]
    out.lst_uncertainty[some] = np.sqrt(variance[some]) / weights[some]
    return out


def rule_of(
    name: Rule, *, width: int, scene_sd: float
) -> Callable[[Iterable[Block], tuple[int, int]], Merged]:
    """Give the function of a rule by its name."""
    if name == "mean":
        return lambda blocks, shape: mean(blocks, shape, width=width, scene_sd=scene_sd)
    rules: Mapping[str, Callable[[Iterable[Block], tuple[int, int]], Merged]] = {
        "latest": latest,
        "median": median,
    }
    return rules[name]


def _nothing(shape: tuple[int, int]) -> Merged:
    return Merged(
        np.full(shape, np.nan, np.float32),
        np.full(shape, np.nan, np.float32),
        np.full(shape, QA.NODATA, np.uint8),
        np.zeros(shape, np.uint16),
        np.full(shape, NO_TIME, np.int32),
    )


def _count(out: Merged, block: Block) -> NDArray[np.bool_]:
    """Count a scene where it has a value, and tell where that is; note where it is masked."""
    valid = np.isfinite(block.lst)
    out.qa[(out.number == 0) & (block.qa == QA.MASKED)] = QA.MASKED
    out.number[valid] += 1
    return valid


def _lead(out: Merged, block: Block, where: NDArray[np.bool_]) -> None:
    """Let flags and time be those of a scene."""
    out.qa[where] = block.qa[where]
    out.source_time[where] = block.time


def _weight(block: Block, valid: NDArray[np.bool_], width: int, scene_sd: float) -> NDArray[np.float64]:
    assert block.distance is not None  # noqa: S101  (given for this rule)
    stated = np.where(np.isfinite(block.uncertainty), block.uncertainty, np.float32(scene_sd)).astype(
        np.float64
    )
    return np.where(valid, feather(block.distance, width) / (np.square(stated) + scene_sd**2), 0.0)


def _middle(stack: NDArray[np.float32]) -> NDArray[np.float64]:
    """Median of what is there along the first axis; NaN without any value."""
    ordered = np.sort(stack, axis=0)  # NaN comes last
    count = np.isfinite(stack).sum(axis=0)
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(stack) - 1)
    at: Sequence[NDArray[np.float64]] = [
        np.take_along_axis(ordered, k[np.newaxis], axis=0)[0].astype(np.float64) for k in (low, high)
    ]
    return np.where(count > 0, (at[0] + at[1]) / 2, np.nan)

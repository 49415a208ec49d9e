"""LST and reflectance of one place put together: by time, footprint and cloud."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import shapely
from odc.geo.crs import CRS
from shapely.geometry.base import BaseGeometry

from lstzoom.errors import InputError, NothingFoundError
from lstzoom.sources.area import Cap, area_on_plane, cap_of, on_plane, plane_at
from lstzoom.sources.catalog import PairRule
from lstzoom.sources.search import SIDES, Candidate, Found, Unusable

logger = logging.getLogger(__name__)

# Tiles of one pass are at most minutes apart; the next pass is more than an hour away.
_ONE_PASS: Final = timedelta(minutes=15)
# What adds less than this share of the area is a second copy, or a sliver.
_SLIVER: Final = 1e-3
# Rounding of coordinates must not fail a scene that covers all of itself.
_ROUNDING: Final = 1e-6
# When a product was made: by its own word, else by that of the catalogue. ISO 8601 sorts as text.
_PROCESSED: Final = (
    "s2:generation_time", "landsat:product_generated", "processing:datetime", "created", "updated",
)  # fmt: skip
_WIDEN: Final = (
    "Widen the time, the window (window_days) or the area, allow more cloud (max_cloud) or less coverage "
    "(min_coverage), or take another endpoint."
)
_MEND: Final = (
    "Waiting does not help: correct the items, or the layers of the catalogue (assets, hrefs, roles), or "
    "take another collection or endpoint."
)


@dataclass(frozen=True, slots=True)
class Pair:
    """An item of LST and the items of reflectance that sharpen it.

    Attributes
    ----------
    lst
        The LST.
    vnir
        Reflectance of one pass; where they overlap, the first counts.
    days
        Distance in time, days.
    coverage
        Share of the LST's area (within the area of interest) that reflectance covers.
    cloud
        Cloud cover of the reflectance in percent, weighted by area; None where not told.
    cost
        What pairs are ranked by; smaller is better.
    """

    lst: Candidate
    vnir: tuple[Candidate, ...]
    days: float
    coverage: float
    cloud: float | None
    cost: float

    def __str__(self) -> str:
        """Say it in one line."""
        cloud = "" if self.cloud is None else f", cloud {self.cloud:.3g} %"
        items = " + ".join(one.item.id for one in self.vnir)
        return f"{self.lst.item.id} with {items} ({self.days:.2f} days, covers {self.coverage:.0%}{cloud})"


@dataclass(frozen=True, slots=True)
class Pairing:
    """Pairs by time of the LST, the best for each, and the LST that has none."""

    pairs: tuple[Pair, ...]
    unpaired: tuple[Unusable, ...]


def pair_rule(
    found: Found,
    *,
    window_days: float | None = None,
    min_coverage: float | None = None,
    prefer: str | None = None,
) -> PairRule:
    """Rule of the catalogue, with what is asked for in place of it."""
    asked = {"window_days": window_days, "min_coverage": min_coverage, "prefer": prefer}
    fields = found.catalog.pair.model_dump() | {k: v for k, v in asked.items() if v is not None}
    return PairRule.model_validate(fields)


def make_pairs(found: Found, rule: PairRule | None = None) -> Pairing:
    """Find the best reflectance for every LST.

    Parameters
    ----------
    found
        Candidates of both sides.
    rule
        How to choose; default that of the catalog.

    Returns
    -------
    Pairing
    """
    rule = rule or found.catalog.pair
    pairs: list[Pair] = []
    unpaired: list[Unusable] = []
    vnir = [(one, cap_of(one.footprint)) for one in found.vnir]
    for lst in found.lst:
        best = _best(lst, vnir, found, rule)
        if isinstance(best, Pair):
            pairs.append(best)
        else:
            unpaired.append(best)
    return Pairing(tuple(pairs), tuple(unpaired))


def require_pairs(found: Found, rule: PairRule | None = None) -> Pairing:
    """Find pairs as `make_pairs` does, and fail if there is none.

    Raises
    ------
    NothingFoundError
        If there is no pair, and time may bring one: all is cloud, night, or too far apart.
    InputError
        If there is none, and all that came for one side is refused for reasons that time does not mend, as
        layers that are not found. Both say what was searched, what came back, and what to change.
    """
    rule = rule or found.catalog.pair
    pairing = make_pairs(found, rule)
    if pairing.pairs:
        return pairing
    why = "\n".join(f"  {one}" for one in pairing.unpaired[:8])
    mistaken = _mistaken(found)
    parts = [
        (
            f"the source {found.catalog.name!r} has no pair of LST and reflectance within "
            f"{rule.window_days:g} days{f', and no {mistaken} that can be used' if mistaken else ''}."
        ),
        f"Searched: {found.asked}.",
        f"Usable: {len(found.lst)} of LST, {len(found.vnir)} of reflectance.",
        f"LST without reflectance:\n{why}" if why else "",
        f"Not usable:\n{found.reasons()}" if found.unusable else "",
        _MEND if mistaken else _WIDEN,
    ]
    raise (InputError if mistaken else NothingFoundError)("\n".join(part for part in parts if part))


def _mistaken(found: Found) -> str:
    """Name the sides of which all is refused for reasons that time does not mend; empty if there is none."""
    mistaken = []
    for side, usable in (("lst", found.lst), ("vnir", found.vnir)):
        refused = [one.expected for one in found.unusable if one.side in {None, side}]
        # Among clouds, an item with a mistake of its own is nothing to wake anybody for.
        if not usable and refused and not any(refused):
            mistaken.append(SIDES[side])
    return " and no ".join(mistaken)


def _best(
    lst: Candidate, vnir: Sequence[tuple[Candidate, Cap]], found: Found, rule: PairRule
) -> Pair | Unusable:
    cap = cap_of(lst.footprint)
    plane = plane_at(cap)
    area = on_plane(lst.footprint, plane)
    if found.area is not None:
        area = area & area_on_plane(found.area, plane, cap)
    if area.area <= 0:
        return Unusable(lst.item.id, "lst", "its footprint does not meet the area of interest")
    near = [one for one in vnir if _days(lst, one[0]) <= rule.window_days + _ROUNDING]
    if not near:
        return Unusable(lst.item.id, "lst", _no_neighbour(lst, found.vnir, rule))
    # What is far away has no place on the plane.
    here = [one for one, place in near if place.meets(cap)]
    pairs = [
        pair for group in _passes(lst, here) if (pair := _pair(lst, group, area, plane, rule)) is not None
    ]
    # Without an area of interest, what both cover is wanted, however little of the scene it is.
    least = rule.min_coverage - _ROUNDING if found.area is not None else 0.0
    enough = [pair for pair in pairs if pair.coverage >= least]
    if enough:
        return min(enough, key=lambda pair: (pair.cost, pair.days, pair.vnir[0].item.id))
    most = max((pair.coverage for pair in pairs), default=0.0)
    return Unusable(
        lst.item.id, "lst",
        f"reflectance within {rule.window_days:g} days covers at most {most:.1%} of its area (min_coverage "
        f"{rule.min_coverage:.0%})",
    )  # fmt: skip


def _days(lst: Candidate, vnir: Candidate) -> float:
    return abs((vnir.when - lst.when).total_seconds()) / 86400


def _no_neighbour(lst: Candidate, vnir: Sequence[Candidate], rule: PairRule) -> str:
    nearest = min((_days(lst, one) for one in vnir), default=None)
    there = "there is none at all" if nearest is None else f"the nearest is {nearest:.2f} days away"
    return f"no reflectance within {rule.window_days:g} days of {lst.when:%Y-%m-%d %H:%M}: {there}"


def _passes(lst: Candidate, vnir: Sequence[Candidate]) -> list[list[Candidate]]:
    """Reflectance by pass of one platform. The LST's own item is a pass of its own."""
    own = [one for one in vnir if one.item.id == lst.item.id]
    if own:
        return [own[:1]]
    passes: list[list[Candidate]] = []
    for one in sorted(vnir, key=lambda c: (c.platform, c.when, c.item.id)):
        last = passes[-1][-1] if passes else None
        if last is not None and last.platform == one.platform and one.when - last.when <= _ONE_PASS:
            passes[-1].append(one)
        else:
            passes.append([one])
    return passes


def _pair(
    lst: Candidate, group: Sequence[Candidate], area: BaseGeometry, plane: CRS, rule: PairRule
) -> Pair | None:
    """Take of a pass what adds area, the largest part first; of equal parts the newest version."""
    newest = sorted(sorted(group, key=lambda one: one.item.id), key=_processed, reverse=True)
    parts = [(on_plane(one.footprint, plane) & area, one) for one in newest]
    parts.sort(key=lambda part: -round(part[0].area / area.area, 3))
    taken: list[Candidate] = []
    shares: list[float] = []
    covered: BaseGeometry = shapely.Polygon()
    for part, one in parts:
        added = part.difference(covered).area / area.area
        if added >= _SLIVER:
            taken.append(one)
            shares.append(added)
            covered = covered | part
    if not taken:
        return None
    coverage = min(1.0, covered.area / area.area)
    known = [(one.cloud, share) for one, share in zip(taken, shares, strict=True) if one.cloud is not None]
    cloud = sum(c * s for c, s in known) / sum(s for _, s in known) if known else None
    days = min(_days(lst, one) for one in taken)
    return Pair(lst, tuple(taken), days, coverage, cloud, _cost(days, cloud, coverage, rule))


def _processed(one: Candidate) -> str:
    """When a product was processed, as text that sorts; empty where it is not told."""
    told = one.item.properties
    return next((told[name] for name in _PROCESSED if isinstance(told.get(name), str)), "")


def _cost(days: float, cloud: float | None, coverage: float, rule: PairRule) -> float:
    share = (cloud or 0.0) / 100
    if rule.prefer == "nearest":
        return days
    if rule.prefer == "clearest":
        return share + (1 - coverage)
    return (days / rule.window_days if rule.window_days else 0.0) + share + (1 - coverage)

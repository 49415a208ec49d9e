"""From a job to scenes, tiles, models and cubes; no pixel is read."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

import pystac
from odc.geo.geobox import GeoBox

from lstzoom.config import SharpenConfig
from lstzoom.errors import InputError
from lstzoom.halo import Block, blocks
from lstzoom.inputs import SceneArrays
from lstzoom.jobs.identity import inputs_of, layers_of
from lstzoom.sharpening import BlockFunction
from lstzoom.sources.catalog import Catalog, open_catalog
from lstzoom.sources.job import Job
from lstzoom.sources.loading import LoadedPair, Readers, find_pairs, load_pair, load_simulated
from lstzoom.sources.pair import Pair
from lstzoom.sources.signing import plain
from lstzoom.sources.times import as_interval
from lstzoom.sources.windowed import CoarseWindows, windowed

logger = logging.getLogger(__name__)

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST: Final = 120


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile of a scene: one task, one shard of the cube, one COG of each layer.

    Attributes
    ----------
    scene
        Key of its scene.
    row, column
        Its place among the tiles of its scene, from 0.
    block
        Core and halo, in coarse pixels.
    """

    scene: str
    row: int
    column: int
    block: Block

    @property
    def name(self) -> str:
        """As files are named after it."""
        return tile_name(self.row, self.column)


def tile_name(row: int, column: int) -> str:
    """Name a tile by its place among the tiles of its scene."""
    return f"r{row:03d}c{column:03d}"


def count_tiles(coarse: GeoBox, side: int) -> int:
    """Count the tiles of a coarse grid, of so many coarse pixels along a side."""
    rows, columns = coarse.shape
    return -(-rows // side) * -(-columns // side)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was found and is not processed, with the reason."""

    name: str
    reason: str

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Scene:
    """A pair that is to be sharpened.

    Attributes
    ----------
    key
        As files are named after it.
    item, vnir
        Ids of the items of LST and of reflectance.
    when
        Time of the LST, UTC.
    arrays
        Both sides by windows.
    uncertainty
        Of the LST, on its grid; None where the source has none.
    config
        Settings, with what the instrument resolves.
    attrs
        What was loaded.
    inputs
        Hash of all that is read.
    model, cube
        Keys of its model and of its cube.
    number
        Its place among the scenes of its model.
    tile
        Side of tiles in coarse pixels.
    reading
        Estimate of the stored bytes behind a fine pixel.
    sources
        Id and address of the items, without passwords and signatures; of one that has no address, its files.
    """

    key: str
    item: str
    vnir: tuple[str, ...]
    when: datetime
    arrays: SceneArrays
    uncertainty: CoarseWindows | None
    config: SharpenConfig
    attrs: Mapping[str, Any]
    inputs: str
    model: str
    cube: str
    number: int
    tile: int
    reading: float = 0.0
    sources: tuple[tuple[str, str], ...] = ()

    @property
    def halo(self) -> int:
        """Coarse pixels around a tile."""
        return BlockFunction(self.config, self.arrays.grids.ratio, ()).settings.halo

    def tiles(self) -> Iterator[Tile]:
        """Tiles row by row, so that finished rows come out early."""
        rows, columns = self.arrays.grids.coarse.shape
        for block in blocks((rows, columns), self.tile, self.halo):
            yield Tile(self.key, block.rows.start // self.tile, block.columns.start // self.tile, block)

    @property
    def tile_count(self) -> int:
        """Number of tiles."""
        return count_tiles(self.arrays.grids.coarse, self.tile)


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a job comes to.

    Attributes
    ----------
    job, catalog
        What was asked for, and where the data come from.
    scenes
        By time.
    left_out
        Items, pairs and scenes that are not processed, with reasons.
    asked
        What was searched, in words.
    """

    job: Job
    catalog: Catalog
    scenes: tuple[Scene, ...]
    left_out: tuple[LeftOut, ...] = ()
    asked: str = ""
    _by_key: dict[str, Scene] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Index the scenes."""
        self._by_key.update((scene.key, scene) for scene in self.scenes)

    def scene(self, key: str) -> Scene:
        """Return a scene by its key."""
        return self._by_key[key]

    def only(self, keys: Container[str]) -> Plan:
        """Return the plan of some of its scenes; models are of these alone."""
        kept: list[Scene] = []
        for scene in self.scenes:
            if scene.key in keys:
                number = sum(other.model == scene.model for other in kept)
                kept.append(replace(scene, number=number))
        return Plan(self.job, self.catalog, tuple(kept), self.left_out, self.asked)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that are written."""
        wanted = self.job.outputs
        named = [("lst", True), ("qa", wanted.qa), ("lst_uncertainty", wanted.uncertainty)]
        has_uncertainty = self.job.method.method == "calibrated"
        return tuple(name for name, on in named if on and (name != "lst_uncertainty" or has_uncertainty))

    @property
    def collection(self) -> str:
        """Id of the collection of results."""
        return f"lstzoom-{self.catalog.name}"

    @property
    def models(self) -> dict[str, list[Scene]]:
        """Scenes by their model, in the order in which they train it."""
        found: dict[str, list[Scene]] = {}
        for scene in self.scenes:
            found.setdefault(scene.model, []).append(scene)
        return found

    @property
    def cubes(self) -> dict[str, list[Scene]]:
        """Scenes by their cube."""
        found: dict[str, list[Scene]] = {}
        for scene in self.scenes:
            found.setdefault(scene.cube, []).append(scene)
        return found

    @property
    def tile_count(self) -> int:
        """Number of tiles of all scenes."""
        return sum(scene.tile_count for scene in self.scenes)


def make_plan(job: Job) -> Plan:
    """Search, pair and describe what a job comes to.

    Parameters
    ----------
    job
        From `lstzoom.sources.job.read_job`.

    Returns
    -------
    Plan
        At least one scene.

    Raises
    ------
    InputError
        If nothing can be processed: what was found, and why it cannot be used.
    ConfigError
        If settings are not possible for what was found.
    """
    source = open_catalog(job.catalog.name)
    if source.source.kind == "simulated" and job.catalog.items is None:
        start = next(one for one in as_interval(job.datetime) if one is not None)
        loaded = load_simulated(source, job.grid.bands)
        named = [_Named("demo", (), start, loaded, ())]
        return _planned(job, source, named, (), "the simulated scene")
    arguments = job.load_arguments()
    found, pairing = find_pairs(
        source, *(arguments[name] for name in ("area", "datetime")),
        **{name: arguments[name] for name in (
            "endpoint", "items", "folder", "bands", "window_days", "max_cloud", "min_coverage", "allow")},
    )  # fmt: skip
    left_out = [LeftOut(one.item, one.reason) for one in (*found.unusable, *pairing.unpaired)]
    pairs, outside = _in_time(pairing.pairs, job)
    left_out += outside
    named = []
    for pair in pairs:
        try:
            loaded = load_pair(
                source, pair, area=found.area, bands=job.grid.bands, masks=job.masks, ratio=job.grid.ratio
            )
        except InputError as error:
            left_out.append(LeftOut(pair.lst.item.id, str(error)))
            continue
        links = tuple(link for one in (pair.lst, *pair.vnir) for link in links_of(one.item, loaded.readers))
        stamps = tuple(str(pair.lst.item.properties.get(name, "")) for name in ("updated", "created"))
        vnir = tuple(one.item.id for one in pair.vnir)
        named.append(
            _Named(pair.lst.item.id, vnir, pair.lst.when, loaded, stamps, tuple(dict.fromkeys(links)))
        )
    return _planned(job, source, named, left_out, found.asked)


def links_of(item: pystac.Item, readers: Readers | None = None) -> list[tuple[str, str]]:
    """Say where an item came from, without passwords and signatures.

    Parameters
    ----------
    item
        Of LST or reflectance.
    readers
        What reads it; files that it does not read are left out.

    Returns
    -------
    list of (str, str)
        Id and address of the item, or, of one that was made of files, name and address of each of them.
    """
    href = item.get_self_href()
    if href is not None:
        return [(item.id, plain(href))]
    read = None if readers is None else {plain(one.href) for one in layers_of(readers)}
    files = [(f"{item.id}: {key}", plain(asset.href)) for key, asset in item.assets.items()]
    return [one for one in files if read is None or one[1] in read]


def _in_time(pairs: Sequence[Pair], job: Job) -> tuple[list[Pair], list[LeftOut]]:
    """Keep the pairs whose LST lies in the job's time: items that are given are not searched by it.

    Files of one's own have no time of their own unless their names tell it.
    """
    start, end = as_interval(job.datetime)
    kept, left_out = [], []
    for pair in pairs:
        when = pair.lst.when
        told = when.year > 1970
        if told and ((start is not None and when < start) or (end is not None and when > end)):
            left_out.append(
                LeftOut(pair.lst.item.id, f"its time {when.isoformat()} is not in {job.datetime}")
            )
        else:
            kept.append(pair)
    return kept, left_out


@dataclass(frozen=True, slots=True)
class _Named:
    """A loaded pair and what is told of it."""

    item: str
    vnir: tuple[str, ...]
    when: datetime
    loaded: LoadedPair
    stamps: tuple[str, ...]
    sources: tuple[tuple[str, str], ...] = ()


def _planned(
    job: Job, source: Catalog, named: Sequence[_Named], left_out: Sequence[LeftOut], asked: str
) -> Plan:
    kept, twice = _one_for_each_time(named)
    every = [*left_out, *twice]
    if not kept:
        why = "\n".join(f"  {one}" for one in every[:12])
        raise InputError(f"nothing can be processed ({asked}):\n{why}")
    keys = _keys([one.item for one in kept])
    numbers: dict[str, int] = {}
    scenes = []
    for key, one in zip(keys, kept, strict=True):
        model = {"scene": key, "day": f"{one.when:%Y-%m-%d}", "region": "region"}[job.model.scope]
        number = numbers.setdefault(model, 0)
        numbers[model] += 1
        scenes.append(_scene(job, key, one, model, number))
    _require_alike(scenes)
    return Plan(job, source, tuple(scenes), tuple(every), asked)


def _scene(job: Job, key: str, one: _Named, model: str, number: int) -> Scene:
    loaded = one.loaded
    assert loaded.readers is not None  # noqa: S101  (loaded here)
    arrays, grids = windowed(loaded), loaded.readers.grids
    sigma = None
    if loaded.uncertainty is not None and job.method.method == "calibrated":
        sigma = CoarseWindows(loaded.readers.coarse, "uncertainty", grids.coarse)
    config = loaded.inputs(job.method)["config"]
    return Scene(
        key, one.item, one.vnir, one.when, arrays, sigma, config, dict(loaded.attrs),
        inputs_of(loaded.readers), model, cube_key(grids.fine), number, job.grid.tile,
        _stored_bytes(loaded), one.sources,
    )  # fmt: skip


def _stored_bytes(loaded: LoadedPair) -> float:
    """Estimate the decoded bytes behind a fine pixel, two for a value and one for a code."""
    assert loaded.readers is not None  # noqa: S101  (loaded here)
    fine = loaded.readers.grids.fine
    pixel = abs(fine.affine.a * fine.affine.e)
    layers = layers_of(loaded.readers)
    per_pixel = sum(
        (1 if one.kind == "codes" else 2) * pixel / abs(one.grid.affine.a * one.grid.affine.e)
        for one in layers
    )
    return float(per_pixel) or 2.0 * len(loaded.vnir.coords["band"])


def cube_key(grid: GeoBox) -> str:
    """Name the cube of a grid, always the same for the same grid."""
    token = repr((str(grid.crs), tuple(grid.affine)[:6], tuple(grid.shape)))
    code = grid.crs.to_epsg() if grid.crs is not None else None
    return f"{f'epsg{code}' if code else 'grid'}-{hashlib.sha256(token.encode()).hexdigest()[:8]}"


def _keys(items: Sequence[str]) -> list[str]:
    """Names that are safe in paths, and differ where ids do."""
    plain = [_UNSAFE.sub("_", item).strip(".")[:_LONGEST] or "scene" for item in items]
    return [
        key
        if key == item and plain.count(key) == 1
        else f"{key}-{hashlib.sha256(item.encode()).hexdigest()[:6]}"
        for key, item in zip(plain, items, strict=True)
    ]


def _one_for_each_time(named: Sequence[_Named]) -> tuple[list[_Named], list[LeftOut]]:
    """Of items of one time on one grid, the newest: a scene that was processed again."""
    newest: dict[tuple[str, datetime], _Named] = {}
    left_out = []
    for one in sorted(named, key=lambda n: (n.stamps, n.item)):
        assert one.loaded.readers is not None  # noqa: S101  (loaded here)
        place = cube_key(one.loaded.readers.grids.fine), one.when
        other = newest.get(place)
        if other is not None:
            reason = f"{one.item} has the same time on the same grid, and is newer or comes later by its name"
            left_out.append(LeftOut(other.item, reason))
        newest[place] = one
    return sorted(newest.values(), key=lambda n: (n.when.astimezone(UTC), n.item)), left_out


def _require_alike(scenes: Sequence[Scene]) -> None:
    """Refuse scenes that cannot share a model."""
    first: dict[str, Scene] = {}
    for scene in scenes:
        other = first.setdefault(scene.model, scene)
        mine, theirs = ((list(one.arrays.bands), one.arrays.grids.ratio) for one in (scene, other))
        if mine != theirs:
            raise InputError(
                f"{scene.item} and {other.item} cannot share a model: bands and ratio are {mine[0]}, "
                f"{mine[1]} and {theirs[0]}, {theirs[1]}; take model.scope: scene, or name "
                "grid.bands that all have"
            )

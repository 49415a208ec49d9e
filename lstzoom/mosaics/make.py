"""Mosaics from results to store, overviews, COG and items: one task for each tile, resumable."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

import lstzoom
from lstzoom import cube
from lstzoom.clusters import Cluster, connect
from lstzoom.config import MosaicConfig
from lstzoom.cube.store import open_group
from lstzoom.encoding import ENCODINGS, Encoding
from lstzoom.errors import ConfigError, InputError, JobError, LstzoomError
from lstzoom.jobs.driver import Outcome, drive, mapped
from lstzoom.jobs.lease import leased
from lstzoom.jobs.state import stop_if_full
from lstzoom.jobs.store import store_at, told
from lstzoom.mosaics.cog import write_cog
from lstzoom.mosaics.items import describe, relative, write_collection
from lstzoom.mosaics.ledger import Ledger
from lstzoom.mosaics.merge import NO_TIME
from lstzoom.mosaics.plan import MosaicPlan, TileTask, difference, has_same_settings, is_grown, plan_mosaics
from lstzoom.mosaics.scenes import MARK, Source, open_scenes
from lstzoom.mosaics.target import Lattice, Tile
from lstzoom.mosaics.tiles import Placed, merge_window
from lstzoom.workers import choose_threads, in_threads

if TYPE_CHECKING:
    from lstzoom.sources.area import Area

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the tiles done and all tiles."""
Options = Mapping[str, Any] | None

_SHOWN: Final = 3
_FINISHED: Final = "finished"
_EPOCH: Final = "minutes since 1970-01-01T00:00:00"


@dataclass(frozen=True, slots=True)
class Mosaic:
    """A mosaic that was made.

    Attributes
    ----------
    store
        Address of the cube (time, y, x).
    crs
        Of its grid.
    shape
        Rows and columns.
    times
        Number of time steps.
    scenes
        Number of scenes that went in.
    tiles, skipped
        Tiles that were made now, and before.
    levels
        Coarser levels of the cube.
    cogs
        COGs of the temperature, by time.
    collection
        STAC collection.
    bytes
        Stored by the tiles made now.
    seconds
        Of all of it.
    """

    store: str
    crs: str
    shape: tuple[int, int]
    times: int
    scenes: int
    tiles: int
    skipped: int
    levels: int
    cogs: tuple[str, ...]
    collection: str | None
    bytes: int
    seconds: float


def mosaic(
    results: Sequence[Source] | Source,
    output: str | Path,
    *,
    config: MosaicConfig | None = None,
    area: Area | None = None,
    cog: str | Path | None = None,
    encoding: str = "uint16",
    items: bool = True,
    client: Any = None,  # noqa: ANN401  (distributed ships no types)
    cluster: Cluster | None = None,
    overwrite: bool = False,
    storage_options: Options = None,
    lease_seconds: float = 120.0,
    progress: Progress | None = None,
    **given: Any,
) -> tuple[Mosaic, ...]:
    """Make a mosaic of results.

    Parameters
    ----------
    results
        See `lstzoom.mosaics.scenes.open_scenes`.
    output
        Zarr store to make, a path or an address. With ``crs="utm"`` and scenes in several zones each zone
        gets its own, with the code of the zone in its name.
    config
        Grid and rule; or fields of `lstzoom.config.MosaicConfig` by name.
    area
        Only tiles that touch it: bounds in degrees, GeoJSON, or a file.
    cog
        Also write the temperature as one COG, on a local disk.
    encoding
        ``"uint16"`` (0.01 K) or ``"float32"``, of temperature and uncertainty.
    items
        Also write a STAC collection with an item for each time, beside the store.
    client
        Of a dask cluster that makes the tiles.
    cluster
        Where else to make them (`lstzoom.clusters.Cluster`); by default threads of this process.
    overwrite
        Replace a store of other scenes or settings, and what is done of this one.
    storage_options
        For fsspec, of the object store that results are read from. What is written takes credentials from the
        environment.
    lease_seconds
        How long this call may go silent before another may go on with the same output.
    progress
        Called with tiles done and all of them.

    Returns
    -------
    tuple of Mosaic
        One for each CRS.

    Raises
    ------
    ConfigError
        If settings are not possible, or the store was begun with other settings, or with scenes that are not
        among these.
    InputError
        If results cannot be opened, or the output cannot be written.
    JobError
        If tiles failed; the others are kept, and the same call makes the rest.
    StoreError
        If the disk is full, or the store cannot be reached; what is done is kept.
    StoreBusyError
        If another process makes the same mosaic.

    Notes
    -----
    What is done is recorded beside the store. A call that was interrupted goes on, and gives the same bits.
    With more scenes than before only the tiles that the new ones touch are made again; where those reach
    beyond the grid, all of it is.

    Examples
    --------
    >>> lstzoom.mosaic(["out/"], "mosaic.zarr", rule="mean", crs="EPSG:3035")  # doctest: +SKIP
    """
    if config is not None and given:
        raise ConfigError(f"give either config or {', '.join(sorted(given))}, not both")
    found = plans(results, config or settings(**given), area, storage_options)
    targets = [_Target.of(plan, str(output), cog, several=len(found) > 1) for plan in found]
    work = _Work(None, _encoding(encoding), progress, lease_seconds, items=items, overwrite=overwrite)
    for target in targets:
        work.check(target)
    with ExitStack() as stack:
        if client is None and cluster is not None:
            client = stack.enter_context(connect(cluster))
        work = replace(work, client=client)
        return tuple(work.alone(target) for target in targets)


def is_made(
    results: Sequence[Source] | Source,
    output: str,
    config: MosaicConfig,
    *,
    cog: str | Path | None = None,
    encoding: str = "uint16",
    partial: bool = False,
) -> bool:
    """Tell whether a mosaic of these results is there already; arguments and errors as of `mosaic`.

    With `partial`, more results are going to be there: that some of a mosaic's are missing is no error.
    """
    found = plans(results, config)
    targets = [_Target.of(plan, output, cog, several=len(found) > 1) for plan in found]
    work = _Work(None, _encoding(encoding), None, 0.0, items=False, overwrite=False, partial=partial)
    for target in targets:
        work.check(target)
    return all(work.is_done(target) for target in targets)


def _encoding(name: str) -> Encoding:
    if name not in ENCODINGS:
        raise ConfigError(f"the encoding is {name!r}; it must be one of {', '.join(ENCODINGS)}")
    return ENCODINGS[name]


def settings(**given: Any) -> MosaicConfig:
    """Make settings of their names and values.

    Raises
    ------
    ConfigError
        If one is unknown or not possible.
    """
    from pydantic import ValidationError  # noqa: PLC0415  (slow to import)

    try:
        return MosaicConfig(**given)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ConfigError(f"these settings of a mosaic are not possible: {told}") from error


def plans(
    results: Sequence[Source] | Source,
    config: MosaicConfig,
    area: Area | None = None,
    storage_options: Options = None,
) -> tuple[MosaicPlan, ...]:
    """Open results and plan their mosaics, see `mosaic`; no pixel is read."""
    one = isinstance(results, str | Path) or not isinstance(results, Sequence)
    sources: Sequence[Any] = [results] if one else list(results)  # type: ignore[arg-type]
    return plan_mosaics(open_scenes(sources, storage_options), config, area)


@dataclass(frozen=True)
class _Target:
    """A plan and where it goes."""

    plan: MosaicPlan
    store: str
    cogs: Mapping[int, Path]

    @classmethod
    def of(cls, plan: MosaicPlan, output: str, cog: str | Path | None, *, several: bool) -> _Target:
        code = plan.lattice.crs.to_epsg()
        zone = f"-{code}" if several else ""
        store = output if "://" in output else str(Path(output).resolve())
        cogs = {}
        if cog is not None:
            for step, label in enumerate(plan.labels):
                date = "" if plan.config.period == "all" else f"-{label}"
                cogs[step] = Path(cog).with_name(f"{Path(cog).stem}{zone}{date}{Path(cog).suffix or '.tif'}")
        return cls(plan, _renamed(store, zone), cogs)

    @property
    def name(self) -> str:
        """Id of the collection."""
        return self.store.rstrip("/").rpartition("/")[2].removesuffix(".zarr")

    @property
    def folder(self) -> str:
        """Where items go."""
        return f"{self.store.rstrip('/').removesuffix('.zarr')}.stac"

    def check(self) -> None:
        """Refuse outputs that cannot be, before anything is made."""
        folders = {path.parent for path in self.cogs.values()}
        if "://" not in self.store:
            folders.add(Path(self.store).parent)
        for folder in sorted(folders):
            if not folder.is_dir():
                raise InputError(f"the folder {str(folder)!r} does not exist; make it first")
        own = {self.store, *(str(path.resolve()) for path in self.cogs.values())}
        for one in self.plan.scenes:
            if one.scene.href in own or (
                "://" not in one.scene.href and str(Path(one.scene.href).resolve()) in own
            ):
                raise InputError(
                    f"{one.scene.href!r} is a result that goes into the mosaic; choose another output"
                )


def _renamed(store: str, zone: str) -> str:
    base, dot, ending = store.rstrip("/").rpartition(".zarr")
    return f"{base}{zone}{dot}{ending}" if dot else f"{store.rstrip('/')}{zone}"


class _Shared(NamedTuple):
    """What all tiles of a mosaic need."""

    store: str
    ledger: Ledger
    lattice: Lattice
    tile: int
    config: MosaicConfig


class _TileJob(NamedTuple):
    """What one tile needs beside."""

    name: str
    time: int
    tile: Tile
    place: tuple[slice, slice]
    placed: tuple[Placed, ...]


class _TileDone(NamedTuple):
    """What is said of a tile that was made."""

    name: str
    pixels: int
    bytes: int
    seconds: float


def _make_tile(shared: _Shared, job: _TileJob) -> _TileDone:
    """Body of a task: merge, write, and only then record."""
    start = time.perf_counter()
    merged = merge_window(job.placed, shared.lattice, job.tile.window(shared.tile), shared.config)
    with told(_cannot(shared.store)):
        size = cube.write_region(shared.store, job.time, job.place, merged.layers)
    pixels = int(np.count_nonzero(merged.number))
    done = _TileDone(job.name, pixels, size, round(time.perf_counter() - start, 3))
    shared.ledger.mark(job.name, done._asdict())
    return done


@dataclass(slots=True)
class _Tally:
    """Running count of tiles."""

    all: int
    progress: Progress | None
    made: int = 0
    bytes: int = 0
    failed: list[tuple[str, BaseException]] = field(default_factory=list)

    def begin(self) -> None:
        if self.progress is not None:
            self.progress(0, self.all)

    def add(self, job: _TileJob, done: _TileDone | None, error: BaseException | None) -> None:
        if done is not None:
            self.made += 1
            self.bytes += done.bytes
            logger.info("%s: %d pixels, %d bytes, %.1f s", done.name, done.pixels, done.bytes, done.seconds)
        if error is not None:
            stop_if_full(error)
            self.failed.append((job.name, error))
            logger.warning("%s: %s", job.name, error)
        if self.progress is not None:
            self.progress(self.made + len(self.failed), self.all)


@dataclass(frozen=True)
class _Work:
    """How mosaics are made."""

    client: Any
    encoding: Encoding
    progress: Progress | None
    lease_seconds: float
    items: bool
    overwrite: bool
    partial: bool = False

    def check(self, target: _Target) -> None:
        """Refuse what cannot be made, before anything is."""
        target.check()
        before = Ledger.of(target.store).plan()
        if before is None and store_at(target.store).exists(""):
            raise InputError(
                f"{target.store!r} holds something already that is no mosaic of this command, and is never "
                "replaced; choose another output"
            )
        content = self._content(target)
        if self.overwrite:
            return
        if before is not None and before != content and not self._goes_on(content, before):
            told = [*difference(content, before)]
            if before.get("encoding") != content["encoding"]:
                told.insert(0, f"encoding: {before.get('encoding')!r} before, {content['encoding']!r} now")
            raise ConfigError(
                f"{target.store!r} was begun as another mosaic ({'; '.join(told)}); choose another output, "
                "or replace it with overwrite=True (--overwrite)"
            )
        for path in target.cogs.values():
            if path.exists() and before is None:
                raise InputError(
                    f"{str(path)!r} exists; choose another name, or allow to replace it (--overwrite)"
                )

    def _goes_on(self, content: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
        """Tell whether a mosaic of other scenes can become this one."""
        same = has_same_settings if self.partial else is_grown
        return before.get("encoding") == content["encoding"] and same(content, before)

    def _content(self, target: _Target) -> dict[str, Any]:
        return target.plan.content | {"encoding": self.encoding.name}

    def is_done(self, target: _Target) -> bool:
        """Tell whether there is nothing left to make."""
        ledger = Ledger.of(target.store)
        if ledger.plan() != self._content(target):
            return False
        done = ledger.done()
        wanted = {_FINISHED, *(target.plan.mark(task) for task in target.plan.tasks)}
        return wanted <= done and all(path.exists() for path in target.cogs.values())

    def alone(self, target: _Target) -> Mosaic:
        """Make a mosaic that no other process makes."""
        with leased(Ledger.of(target.store).store, self.lease_seconds):
            self.check(target)
            return self.make(target)

    def make(self, target: _Target) -> Mosaic:
        """Make a mosaic, or what is missing of it."""
        start, plan = time.perf_counter(), target.plan
        ledger, cannot = Ledger.of(target.store), _cannot(target.store)
        with told(cannot):
            places = self._begin(target, ledger)
        done = ledger.done()
        was_finished = _FINISHED in done
        jobs = [job for task in plan.tasks if (job := _job(plan, task, places)).name not in done]
        if jobs:
            # Of other files, or of a whole that is going to change.
            ledger.drop(done - {plan.mark(task) for task in plan.tasks})
        tally = _Tally(len(jobs), self.progress)
        shared = _Shared(
            target.store,
            ledger,
            plan.lattice,
            plan.target.tile,
            plan.config,
        )
        self._run(shared, jobs, tally)
        if tally.failed:
            raise JobError(_failure(tally))
        touched = {job.time for job in jobs} if was_finished else None
        with told(cannot):
            levels = self._finish(target, ledger, touched)
        cogs = self._cogs(target, ledger)
        with told(cannot):
            described = self._describe(target) if self.items else None
        return Mosaic(
            target.store,
            plan.config.crs,
            (plan.target.geobox.shape.y, plan.target.geobox.shape.x),
            len(plan.steps),
            len(plan.scenes),
            tally.made,
            len(plan.tasks) - len(jobs),
            levels,
            cogs,
            described,
            tally.bytes,
            round(time.perf_counter() - start, 3),
        )

    def _begin(self, target: _Target, ledger: Ledger) -> list[int]:
        """Make the store, or go on with the one that is there."""
        content, before = self._content(target), ledger.plan()
        if before is not None and (self.overwrite or before["window"] != content["window"]):
            if not self.overwrite:
                logger.warning("%s grows beyond its grid: all of it is made anew", target.store)
            store_at(target.store).remove_all("")
            ledger.forget()
            before = None
        spec = cube.CubeSpec(
            target.plan.target.geobox,
            shard=target.plan.target.tile,
            encoding=self.encoding,
            variables=variables(self.encoding),
        )
        if before is None:
            # First, so that a store that was begun is known to be ours.
            ledger.begin(content)
        elif before != content:
            # A step has the time of its last scene. The ledger follows: until then all of this is done again.
            later = {when: content["times"].get(label, when) for label, when in before["times"].items()}
            cube.retime(target.store, later)
            open_group(target.store).attrs.update(_attrs(target.plan))
        places = cube.create(target.store, spec, target.plan.times, _attrs(target.plan), exist_ok=True)
        if before is not None and before != content:
            ledger.grow(content)
        return places

    def _run(self, shared: _Shared, jobs: Sequence[_TileJob], tally: _Tally) -> None:
        tally.begin()
        if self.client is None:
            for job, (done, error) in in_threads(partial(_guarded, shared), jobs, choose_threads()):
                tally.add(job, done, error)
            return

        def counted(outcome: Outcome[_TileJob]) -> None:
            tally.add(outcome.task, outcome.result, outcome.error)

        drive(
            jobs,
            _make_tile,
            self.client,
            name="mosaic",
            on_done=counted,
            shared=lambda _: shared,
            uses=lambda _: 0,
        )

    def _apply(self, function: Callable[[Any], Any], units: Iterable[Any]) -> Iterator[Any]:
        """Map a function over units, in their order; on a cluster with a bounded number in flight."""
        if self.client is None:
            return map(function, units)
        return mapped(self.client, name="mosaic-finish")(function, units)

    def _finish(self, target: _Target, ledger: Ledger, touched: Collection[int] | None) -> int:
        """Make what a store has beside its tiles, of times that were touched; return the number of levels."""
        if touched is None or touched:
            times = None if touched is None else sorted(touched)
            cube.build_pyramid(target.store, times=times, overwrite=True, apply=self._apply)
            cube.finalise(target.store, apply=self._apply)
            ledger.mark(_FINISHED, {})
        return sum(name.isdecimal() for name in open_group(target.store).group_keys())

    def _cogs(self, target: _Target, ledger: Ledger) -> tuple[str, ...]:
        for step, path in target.cogs.items():
            mark = f"cog-{step}-{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
            # The mark goes when tiles are made again, and with it what the COG was made of.
            if path.exists() and mark in ledger.done():
                continue
            with told(f"cannot write {str(path)!r}"):
                write_cog(
                    target.store,
                    path,
                    step=step,
                    encoding=self.encoding,
                    tags={key.upper(): str(value) for key, value in _attrs(target.plan).items()},
                    overwrite=True,
                )
            ledger.mark(mark, {})
        return tuple(map(str, target.cogs.values()))

    def _describe(self, target: _Target) -> str:
        cogs = {step: relative(str(path.resolve()), target.folder) for step, path in target.cogs.items()}
        store = relative(target.store, target.folder)
        return write_collection(target.folder, *describe(target.name, target.plan, store, cogs))


def _guarded(shared: _Shared, job: _TileJob) -> tuple[_TileDone | None, Exception | None]:
    """Make a tile; an error is told with the tile, and does not end the others."""
    try:
        return _make_tile(shared, job), None
    except LstzoomError as error:
        return None, error


def _job(plan: MosaicPlan, task: TileTask, places: Sequence[int]) -> _TileJob:
    return _TileJob(
        plan.mark(task), places[task.time], task.tile, plan.target.slices(task.tile), plan.placed(task)
    )


def _cannot(store: str) -> str:
    return f"cannot write the mosaic {store!r}"


def _failure(tally: _Tally) -> str:
    shown = "; ".join(
        f"{name}: {error}" for name, error in sorted(tally.failed, key=lambda one: one[0])[:_SHOWN]
    )
    return (
        f"{len(tally.failed)} of {tally.all} tiles failed ({shown}); {tally.made} are done and kept: remove "
        "the cause, and run the same again"
    )


def variables(encoding: Encoding) -> dict[str, cube.ZarrVariable]:
    """Describe the variables of a mosaic: those of results, number of scenes, time of the leading one."""
    found = {name: cube.result_variable(name, encoding) for name in cube.VARIABLES}
    # Of both, a mean would be of no scene.
    counted = {"long_name": "number of scenes with a value", "units": "1"}
    found["count"] = cube.ZarrVariable("uint16", counted, None, "MODE")
    described = {
        "long_name": "time of the scene that leads",
        "units": _EPOCH,
        "calendar": "proleptic_gregorian",
    }
    found["source_time"] = cube.ZarrVariable("int32", described, NO_TIME, "MODE")
    return found


def _attrs(plan: MosaicPlan) -> dict[str, Any]:
    config = plan.config
    return {
        "title": f"Land surface temperature, {config.rule} of scenes: {len(plan.scenes)}",
        "lstzoom_version": lstzoom.__version__,
        MARK: config.rule,
        "lstzoom_mosaic_feather_metres": config.feather,
        "lstzoom_mosaic_scene_sd_kelvin": config.scene_sd,
        "lstzoom_mosaic_resampling": config.resampling,
        "lstzoom_mosaic_period": config.period,
        "lstzoom_mosaic_scenes": len(plan.scenes),
    }

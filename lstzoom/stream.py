"""One scene from lazy arrays to files, block after block, with a bounded number in flight.

The global model is trained first. Then every block is one task, computed by threads of this
process or by the workers of a dask cluster, and written here as it arrives. Memory holds the blocks
in flight and never the scene. Results depend neither on the blocks nor on who computed them.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import xarray as xr
from dask.delayed import Delayed
from odc.geo.geobox import GeoBox

from lstzoom.account import (
    band_attributes,
    model_attributes,
    on_coarse_grid,
    require_uncertainty,
    summarise,
    with_input,
)
from lstzoom.config import SharpenConfig
from lstzoom.errors import ConfigError, InputError, LstzoomError
from lstzoom.grid import grid_of, resolve_grids
from lstzoom.inputs import SceneArrays
from lstzoom.kernels.quality import MEANINGS, QA
from lstzoom.kernels.register import Shift
from lstzoom.registration import attributes, computed, measure_scene, prepare_aligned, tell
from lstzoom.sharpening import ATTRS, BlockFunction, sharpen_scene
from lstzoom.train import SceneModel, train
from lstzoom.write import QA as QA_ENCODING
from lstzoom.write import UINT16, CogSink, Encoding, ZarrSink, ZarrVariable

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the blocks done and all blocks: first with (0, n), then after every block."""
Window: TypeAlias = tuple[slice, slice]

MIN_CHUNK: Final = 64
"""Smallest block that is chosen, coarse pixels: below, halos cost more than cores."""
_MAX_CHUNK: Final = 512
# Measured as peak resident memory: a process with everything imported and a model trained, and what
# a block takes for every fine pixel with its halo: so much for every band, and so much besides.
_PROCESS_BYTES: Final = 600e6
_BAND_BYTES: Final = 16
_PIXEL_BYTES: Final = 160
# Blocks read chunks of the input. Small ones read less of the neighbours' ground, large ones open
# the files less often.
_READ_CHUNK: Final = 64


@dataclass(frozen=True, slots=True)
class Targets:
    """What to write, and where.

    Attributes
    ----------
    lst, qa, uncertainty
        Cloud-optimised GeoTIFFs.
    zarr
        Zarr store with all of them; the published method has no uncertainty.
    encoding
        Of the LST and its uncertainty.
    tags
        Metadata of the files.
    overwrite
        Replace what is there.
    """

    lst: Path | None = None
    qa: Path | None = None
    zarr: Path | None = None
    encoding: Encoding = UINT16
    tags: Mapping[str, str] = field(default_factory=dict)
    overwrite: bool = False
    uncertainty: Path | None = None

    @property
    def paths(self) -> dict[str, Path]:
        """All that will be written, by kind."""
        named = {"lst": self.lst, "qa": self.qa, "uncertainty": self.uncertainty, "zarr": self.zarr}
        return {name: path for name, path in named.items() if path is not None}


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Attributes
    ----------
    paths
        Files by kind.
    grid
        Fine grid.
    blocks, chunk
        Number of blocks, and their side in coarse pixels.
    seconds
        From the start of the training to the last file.
    kelvin
        ``min``, ``mean`` and ``max`` of the LST before it was encoded; None without any value.
    flags
        Fine pixels by flag (`lstzoom.kernels.quality.MEANINGS`).
    shift
        How far reflectance lies beside the LST; None where nothing could be measured.
    aligned
        Whether that was corrected.
    account
        Footprint, reliability, mean uncertainty and the share of pixels without supported detail, as in the
        attributes of `lstzoom.sharpen`, and bands coarser than the fine grid.
    """

    paths: Mapping[str, Path]
    grid: GeoBox
    blocks: int
    chunk: int
    seconds: float
    kelvin: Mapping[str, float] | None
    flags: Mapping[str, int]
    shift: Shift | None
    aligned: bool
    account: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Sinks:
    """Open targets."""

    files: Mapping[str, CogSink]
    store: ZarrSink | None

    def write(self, window: Window, layers: Mapping[str, NDArray[Any]]) -> None:
        for name, sink in self.files.items():
            sink.write(layers[name], window)
        if self.store is not None:
            self.store.write(layers, window)

    def tag(self, tags: Mapping[str, str]) -> None:
        """Add what was not known when the targets were opened."""
        for sink in (*self.files.values(), self.store):
            if sink is not None:
                sink.tag(tags)


@dataclass(slots=True)
class _Tally:
    """Running statistics over blocks."""

    low: float = math.inf
    high: float = -math.inf
    total: float = 0.0
    count: int = 0
    unsure: float = 0.0
    stated: int = 0
    flags: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))

    def add(self, layers: Mapping[str, NDArray[Any]]) -> None:
        self.flags += np.bincount(layers["qa"].ravel(), minlength=256)
        lst, sigma = layers["lst"], layers.get("lst_uncertainty", np.zeros(0, np.float32))
        stated = sigma[np.isfinite(sigma)]
        self.unsure += float(stated.sum(dtype=np.float64))
        self.stated += stated.size
        valid = lst[np.isfinite(lst)]
        if valid.size:
            self.low = min(self.low, float(valid.min()))
            self.high = max(self.high, float(valid.max()))
            self.total += float(valid.sum(dtype=np.float64))
            self.count += valid.size

    @property
    def kelvin(self) -> dict[str, float] | None:
        if not self.count:
            return None
        return {"min": self.low, "mean": self.total / self.count, "max": self.high}

    @property
    def by_flag(self) -> dict[str, int]:
        return {MEANINGS[flag]: int(self.flags[flag]) for flag in QA}

    @property
    def account(self) -> dict[str, float]:
        return summarise(self.by_flag, self.unsure, self.stated)


# Sizes


def read_chunks(chunk: int) -> int:
    """Side of the chunks, in coarse pixels, that inputs are best opened with for blocks of a size.

    Examples
    --------
    >>> read_chunks(256), read_chunks(112)
    (64, 56)
    """
    # Chunks that end where blocks do are not read for a few rows of pixels.
    divisors = [side for side in range(1, chunk + 1) if chunk % side == 0]
    return min(divisors, key=lambda side: abs(math.log(side / _READ_CHUNK)))


def block_bytes(chunk: int, bands: int, ratio: int, halo: int) -> float:
    """Estimate the memory that a block in flight takes, from what was measured."""
    pixels = float((chunk + 2 * halo) * ratio) ** 2
    return pixels * (bands * _BAND_BYTES + _PIXEL_BYTES)


def choose_chunk(
    shape: tuple[int, int],
    *,
    bands: int,
    ratio: int,
    workers: int = 1,
    threads: int = 1,
    memory: float | None = None,
    config: SharpenConfig | None = None,
) -> int:
    """Choose the side of blocks so that they fit the memory and keep all workers busy.

    Parameters
    ----------
    shape
        Rows and columns of the coarse grid.
    bands, ratio
        Of the fine bands.
    workers, threads
        Processes, and blocks that each computes at a time.
    memory
        Bytes that a process may take; None for as much as the default block needs.
    config
        Settings, of which the stride and the halo matter.

    Returns
    -------
    int
        Coarse pixels, a multiple of the stride.

    Raises
    ------
    ConfigError
        If not even a small block fits.
    """
    settings = config or SharpenConfig()
    stride = settings.windows.stride
    halo = BlockFunction(settings, ratio, ()).settings.halo
    low = -(-MIN_CHUNK // stride) * stride
    high = settings.chunk if memory is None else -(-_MAX_CHUNK // stride) * stride
    fitting = [
        chunk
        for chunk in range(low, max(high, low) + 1, stride)
        if memory is None or _needed(chunk, bands, ratio, halo, threads) <= memory
    ]
    if not fitting:
        least = _needed(low, bands, ratio, halo, threads) / 2**30
        raise ConfigError(
            f"{(memory or 0) / 2**30:.2g} GiB do not hold {threads} block(s) of {low} coarse pixels with "
            f"{bands} bands; about {least:.1f} GiB are needed: raise --memory, or take fewer bands"
        )
    hands = workers * threads

    def rounds(chunk: int) -> float:
        """Fine pixels that the busiest hand goes through, halos included."""
        sides = [min(chunk, n) + 2 * halo for n in shape]
        blocks = math.prod(-(-n // chunk) for n in shape)
        return -(-blocks // hands) * math.prod(sides)

    return min(fitting, key=lambda chunk: (rounds(chunk), -chunk))


def _needed(chunk: int, bands: int, ratio: int, halo: int, threads: int) -> float:
    return _PROCESS_BYTES + threads * block_bytes(chunk, bands, ratio, halo)


def choose_threads(limit: int = 4) -> int:
    """Count the blocks that this process should compute at a time."""
    return max(1, min(limit, len(os.sched_getaffinity(0))))


# Running


def write_sharpened(
    vnir: xr.DataArray,
    lst: xr.DataArray,
    targets: Targets,
    *,
    valid: xr.DataArray | None = None,
    model: SceneModel | None = None,
    config: SharpenConfig | None = None,
    client: Any = None,  # noqa: ANN401  (distributed ships no types)
    threads: int = 1,
    progress: Progress | None = None,
    reopen: Callable[[GeoBox], xr.DataArray] | None = None,
    lst_uncertainty: xr.DataArray | None = None,
) -> Written:
    """Sharpen a scene into files without ever holding it in memory.

    Parameters
    ----------
    vnir, lst, valid, model, config
        As in `lstzoom.sharpen`, with ``vnir`` on the fine grid. Dask arrays stay lazy.
    targets
        What to write; at least one path.
    client
        Client of a dask cluster whose workers compute the blocks; by default this process does.
    threads
        Blocks at a time in this process; not used with a client.
    progress
        Told about every block.
    reopen
        Opens the bands of ``vnir`` on another grid: with ``config.align``, files are then resampled once
        and not twice.
    lst_uncertainty
        As in `lstzoom.sharpen`.

    Returns
    -------
    Written

    Raises
    ------
    InputError
        If a target cannot be written or there is none, and as `lstzoom.sharpen` does.
    EncodingError
        If values do not fit the encoding.
    ConfigError
        If an uncertainty is wanted of a method that states none.
    LstzoomError
        If workers of the cluster died.
    """
    start, settings = time.perf_counter(), config or SharpenConfig()
    grids = resolve_grids(grid_of(lst), [grid_of(vnir)])
    grid = grids.fine
    if targets.uncertainty is not None or lst_uncertainty is not None:
        require_uncertainty(settings.method)
    given = None if lst_uncertainty is None else on_coarse_grid(lst_uncertainty, grids)
    names = ("lst", "qa", *(("lst_uncertainty",) if settings.method == "calibrated" else ()))
    # Targets are opened first: one that cannot be written is no reason to compute for an hour.
    with _sinks(targets, grid, settings.chunk * grids.ratio, names) as sinks:
        vnir, lst = (one if one.chunks else one.chunk() for one in (vnir, lst))
        # A current client computes whatever dask is asked to compute.
        with nullcontext() if client is None else client.as_current():
            scene, shift = prepare_aligned(vnir, lst, valid, config=settings, reopen=reopen)
            if model is None:
                trained = _trained(scene, [shift] if settings.align else None, settings)
                shift = trained.shifts[0]
            else:
                trained = model
                trained.check(scene, settings)
                shift = shift if settings.align else computed(measure_scene(scene, settings))
        aligned = scene.moved is not None
        tell(shift, grid, moved=aligned)
        account = model_attributes(trained, grids, settings.method) | band_attributes(scene)
        sinks.tag(_upper(attributes(shift) | account | {"lstzoom_aligned": int(aligned)}))
        tasks, tally = _tasks(sharpen_scene(scene, trained, settings), names), _Tally()
        report = progress or (lambda _done, _all: None)
        report(0, len(tasks))
        for done, (window, block) in enumerate(_computed(tasks, client, threads), 1):
            layers = {name: block[name].values for name in names}
            if given is not None:
                part = tuple(slice(s.start // grids.ratio, s.stop // grids.ratio) for s in window)
                layers["lst_uncertainty"] = with_input(layers["lst_uncertainty"], given[part], grids.ratio)
            tally.add(layers)
            sinks.write(window, layers)
            report(done, len(tasks))
        sinks.tag(_upper(tally.account))
    seconds = time.perf_counter() - start
    return Written(
        targets.paths, grid, len(tasks), settings.chunk, seconds, tally.kelvin, tally.by_flag, shift, aligned,
        account | tally.account,
    )  # fmt: skip


def _upper(attrs: Mapping[str, object]) -> dict[str, str]:
    """Attributes as tags of files."""
    return {name.upper(): str(value) for name, value in attrs.items()}


def _trained(scene: SceneArrays, shifts: Sequence[Shift | None] | None, config: SharpenConfig) -> SceneModel:
    trained = train([scene], config, shifts)
    model: SceneModel = trained.compute() if isinstance(trained, Delayed) else trained
    if model.level_rows == 0:
        logger.warning(
            "no coarse pixel has valid LST and only valid fine pixels in all bands, so nothing was learned: "
            "LST is interpolated where there is any; check nodata and masks, and leave out bands that are "
            "mostly missing"
        )
    return model


@contextmanager
def _sinks(targets: Targets, grid: GeoBox, tile: int, names: Sequence[str]) -> Iterator[_Sinks]:
    """Open all targets; they get their names when the block ends without error."""
    if not targets.paths:
        raise InputError("there is no target; name at least one file to write")
    _require_distinct(targets)
    tags, overwrite = targets.tags, targets.overwrite
    wanted = {
        "lst": (targets.lst, targets.encoding, "LST", "K"),
        "qa": (targets.qa, QA_ENCODING, "QA", "1"),
        "lst_uncertainty": (targets.uncertainty, targets.encoding, "LST uncertainty", "K"),
    }
    with ExitStack() as stack:
        files: dict[str, CogSink] = {}
        for name, (path, encoding, description, unit) in wanted.items():
            if path is not None:
                sink = CogSink(path, grid, encoding, tags, description, unit, overwrite=overwrite)
                files[name] = stack.enter_context(sink)
        store = None
        if targets.zarr is not None:
            store = stack.enter_context(_store(targets, grid, tile, names))
        yield _Sinks(files, store)


def _require_distinct(targets: Targets) -> None:
    """Refuse targets of the same name, or of the wrong kind: a COG is no folder, and a store no file."""
    places: dict[Path, str] = {}
    for name, path in targets.paths.items():
        place = path.resolve()
        if place in places:
            raise InputError(f"{name} and {places[place]} are both to be written to {str(path)!r}; name two")
        if path.exists() and path.is_dir() != (name == "zarr"):
            kind = "a folder" if path.is_dir() else "a file"
            raise InputError(f"{str(path)!r} is {kind}, and the target {name} is not; choose another name")
        places[place] = name


def _store(targets: Targets, grid: GeoBox, tile: int, names: Sequence[str]) -> ZarrSink:
    assert targets.zarr is not None  # noqa: S101  (asked before)
    variables = {
        name: ZarrVariable.of(QA_ENCODING if name == "qa" else targets.encoding, **ATTRS[name])
        for name in names
    }
    return ZarrSink(targets.zarr, grid, variables, tile, attrs=targets.tags, overwrite=targets.overwrite)


def _tasks(sharp: xr.Dataset, names: Sequence[str]) -> list[tuple[Window, xr.Dataset]]:
    """Cut the lazy result into its blocks."""
    edges = [np.concatenate([[0], np.cumsum(sizes)]).tolist() for sizes in sharp.lst.data.chunks]
    rows, columns = ([slice(*ends) for ends in itertools.pairwise(axis)] for axis in edges)
    # The variables of a dataset are computed together: they come from one run of the method.
    return [((y, x), sharp[list(names)].isel(y=y, x=x)) for y in rows for x in columns]


def _computed(
    tasks: list[tuple[Window, xr.Dataset]],
    client: Any,  # noqa: ANN401
    threads: int,
) -> Iterator[tuple[Window, xr.Dataset]]:
    """Compute blocks, in no order, a bounded number ahead of the writing."""
    if client is not None:
        return _on_cluster(tasks, client)
    return _in_threads(tasks, threads)


def _in_threads(tasks: list[tuple[Window, xr.Dataset]], threads: int) -> Iterator[tuple[Window, xr.Dataset]]:
    waiting = iter(tasks)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="lstzoom")
    running: dict[Future[Any], Window] = {}
    try:
        while True:
            for window, task in itertools.islice(waiting, threads - len(running)):
                running[pool.submit(task.compute, scheduler="synchronous")] = window
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _on_cluster(
    tasks: list[tuple[Window, xr.Dataset]],
    client: Any,  # noqa: ANN401
) -> Iterator[tuple[Window, xr.Dataset]]:
    from distributed import KilledWorker, as_completed  # noqa: PLC0415  (slow to import)

    # Two blocks for every thread: one at work and one waiting.
    ahead = 2 * max(1, sum(client.nthreads().values()))
    waiting, windows = iter(tasks), {}

    def submit(count: int) -> list[Any]:
        futures = []
        for window, task in itertools.islice(waiting, count):
            future = client.compute(task)
            windows[future.key] = window
            futures.append(future)
        return futures

    pending = as_completed(submit(ahead))
    try:
        for future in pending:
            yield windows.pop(future.key), future.result()
            del future
            for following in submit(1):
                pending.add(following)
    except KilledWorker as error:
        raise LstzoomError(
            f"workers died again and again, most likely for want of memory: {error}; give each more "
            "with --memory, or make the blocks smaller with --chunk"
        ) from error


@contextmanager
def local_cluster(workers: int, memory: float | None = None) -> Iterator[Any]:
    """Start a dask cluster of processes on this machine and give its client.

    Parameters
    ----------
    workers
        Processes with one thread each.
    memory
        Bytes that each may take; by default its share of the machine.
    """
    from distributed import Client, LocalCluster  # noqa: PLC0415  (slow to import)

    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            memory_limit="auto" if memory is None else int(memory),
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster) as client,
    ):
        logger.info("%d workers at %s", workers, cluster.scheduler_address)
        yield client

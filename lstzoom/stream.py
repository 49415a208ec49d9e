"""One scene from files or lazy arrays to files, block after block, with a bounded number in flight.

The global model is trained first. Then every block is one task, computed by threads of this
process or by the workers of a dask cluster, and written here as it arrives. A block of files reads
its own window, halo included; the order of blocks is such that GDAL's cache still holds what
neighbours have in common. Memory holds the blocks in flight and never the scene. Results depend
neither on the blocks nor on who computed them.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from odc.geo.geobox import GeoBox

from lstzoom.account import (
    Moments,
    band_attributes,
    model_attributes,
    on_coarse_cells,
    on_coarse_grid,
    require_uncertainty,
    summarise,
    with_input,
)
from lstzoom.clusters import local_cluster
from lstzoom.config import SharpenConfig
from lstzoom.cube import result_variable
from lstzoom.encoding import QA as QA_ENCODING
from lstzoom.encoding import UINT16, Encoding
from lstzoom.errors import ConfigError, InputError
from lstzoom.halo import Block, blocks, is_lazy, ordered, run_block
from lstzoom.inputs import SceneArrays, prepare
from lstzoom.kernels.quality import MEANINGS, QA
from lstzoom.kernels.register import Shift
from lstzoom.registration import align, attributes, computed, measure_scene, tell
from lstzoom.sharpening import BlockFunction, sharpen_scene
from lstzoom.train import SceneModel, train
from lstzoom.wording import counted
from lstzoom.workers import choose_threads, graphs_on_cluster, in_threads, on_cluster
from lstzoom.write import CogSink, ZarrSink

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

__all__ = [
    "Targets",
    "Written",
    "choose_chunk",
    "choose_threads",
    "local_cluster",
    "read_chunks",
    "write_scene",
    "write_sharpened",
]

logger = logging.getLogger(__name__)

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the blocks done and all blocks: first with (0, n), then after every block."""
Window: TypeAlias = tuple[slice, slice]

MIN_CHUNK: Final = 64
"""Smallest block that is chosen, coarse pixels: below, halos cost more than cores."""
_MAX_CHUNK: Final = 512
# Of a block, where nothing is said of memory: many bands or a large ratio ask for a smaller one.
_USUAL_BLOCK: Final = 600e6
# Measured as peak resident memory: a process with everything imported and a model trained, and what
# a block takes for every fine pixel with its halo: so much for every band, and so much besides.
_PROCESS_BYTES: Final = 600e6
_BAND_BYTES: Final = 16
_PIXEL_BYTES: Final = 160
# Blocks read chunks of the input. Small ones read less of the neighbours' ground, large ones open
# the files less often.
_READ_CHUNK: Final = 64
# Decoded pixels that a strip of blocks should leave in GDAL's cache for the strip below, of the 96 MB
# that the command line allows and of no less elsewhere.
_STRIP_BYTES: Final = 40e6
# Blocks of files are decoded whole; the ends of a window cut them.
_FILE_BLOCK: Final = 512


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
        attributes of `lstzoom.sharpen`, bands coarser than the fine grid, and the residual before it was
        corrected, coarse LST minus aggregated prediction: bias and RMSE in kelvin.
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
            self.store.write({name: layers[name] for name in self.store.variables}, window)

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
    residual: Moments = field(default_factory=Moments)
    flags: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))

    def add(self, layers: Mapping[str, NDArray[Any]]) -> None:
        self.flags += np.bincount(layers["qa"].ravel(), minlength=256)
        lst, sigma = layers["lst"], layers.get("lst_uncertainty", np.zeros(0, np.float32))
        stated = sigma[np.isfinite(sigma)]
        self.unsure += float(stated.sum(dtype=np.float64))
        self.stated += stated.size
        self.residual.add(layers["residual"])
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

    def described(self, encoding: Encoding) -> dict[str, dict[str, Any]]:
        """Attributes of variables, as `lstzoom.cube.finalise` writes them, as far as they are known."""
        share = round(100 * self.count / max(int(self.flags.sum()), 1), 4)
        found: dict[str, Any] = {"statistics": {"count": self.count, "valid_percent": share}}
        if self.count:
            ends = np.array([self.low, self.high], np.float32)
            low, high = (round(one, 6) for one in encoding.decode(encoding.encode(ends)).tolist())
            mean = round(self.total / self.count, 3)
            found["statistics"] |= {"minimum": low, "maximum": high, "mean": mean}
            found["actual_range"] = [low, high]
        return {"lst": found, "qa": {"flag_counts": [*self.by_flag.values()]}}

    @property
    def by_flag(self) -> dict[str, int]:
        return {MEANINGS[flag]: int(self.flags[flag]) for flag in QA}

    @property
    def account(self) -> dict[str, float]:
        return summarise(self.by_flag, self.unsure, self.stated) | self.residual.attributes("residual")


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
        Bytes that a process may take; None for blocks of the default size or of 600 MB, whichever is
        less, or the smallest.
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
    least = needed_bytes(low, bands, ratio, halo, threads)
    limit = max(_PROCESS_BYTES + threads * _USUAL_BLOCK, least) if memory is None else memory
    fitting = [
        chunk
        for chunk in range(low, max(high, low) + 1, stride)
        if needed_bytes(chunk, bands, ratio, halo, threads) <= limit
    ]
    if not fitting:
        raise ConfigError(
            f"{limit / 2**30:.2g} GiB do not hold {counted(threads, 'block')} of {low} coarse pixels "
            f"with {bands} bands; about {least / 2**30:.1f} GiB are needed: raise --memory, or take fewer "
            "bands"
        )
    hands = workers * threads

    def rounds(chunk: int) -> float:
        """Fine pixels that the busiest hand goes through, halos included."""
        sides = [min(chunk, n) + 2 * halo for n in shape]
        blocks = math.prod(-(-n // chunk) for n in shape)
        return -(-blocks // hands) * math.prod(sides)

    return min(fitting, key=lambda chunk: (rounds(chunk), -chunk))


def needed_bytes(chunk: int, bands: int, ratio: int, halo: int, threads: int = 1) -> float:
    """Estimate the memory that a process needs for so many blocks at a time, from what was measured."""
    return _PROCESS_BYTES + threads * block_bytes(chunk, bands, ratio, halo)


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
    vnir, lst = (one if one.chunks or client is None else one.chunk() for one in (vnir, lst))
    return write_scene(
        prepare(vnir, lst, valid), targets, model=model, config=config, client=client, threads=threads,
        progress=progress, lst_uncertainty=lst_uncertainty,
    )  # fmt: skip


def write_scene(
    scene: SceneArrays,
    targets: Targets,
    *,
    model: SceneModel | None = None,
    config: SharpenConfig | None = None,
    client: Any = None,  # noqa: ANN401  (distributed ships no types)
    threads: int = 1,
    progress: Progress | None = None,
    lst_uncertainty: xr.DataArray | None = None,
) -> Written:
    """Sharpen a prepared scene into files without ever holding it in memory.

    Parameters
    ----------
    scene
        Of files (`lstzoom.inputs.from_files`) or of arrays (`lstzoom.inputs.prepare`).
    targets, model, config, client, threads, progress, lst_uncertainty
        As for `write_sharpened`, which raises the same.

    Returns
    -------
    Written
    """
    start, settings = time.perf_counter(), config or SharpenConfig()
    grid, tally, report = scene.grids.fine, _Tally(), progress or (lambda _done, _all: None)
    given = _input_uncertainty(lst_uncertainty, targets, scene, settings)
    if model is not None:
        model.check(scene, settings)
    # Targets are opened first: one that cannot be written is no reason to compute for an hour.
    with _sinks(targets, grid, settings.chunk * scene.grids.ratio, _layers(settings)) as sinks:
        scene, trained, shift = _ready(scene, model, settings, client, threads)
        aligned = scene.moved is not None
        tell(shift, grid, moved=aligned)
        account = model_attributes(trained, scene.grids, settings.method) | band_attributes(scene)
        rows = {"lstzoom_level_rows": trained.level_rows, "lstzoom_detail_rows": trained.detail_rows}
        told = rows | {"lstzoom_aligned": int(aligned), "lstzoom_model": trained.content_hash}
        sinks.tag(_upper(attributes(shift) | account | told))
        count, results = _computed(scene, trained, settings, client, threads)
        report(0, count)
        for done, (window, layers) in enumerate(results, 1):
            whole = _with_input(layers, given, window, scene.grids.ratio)
            tally.add(whole)
            sinks.write(window, whole)
            report(done, count)
        sinks.tag(_upper(tally.account))
        if sinks.store is not None:
            sinks.store.describe(tally.described(targets.encoding))
    seconds = time.perf_counter() - start
    return Written(
        targets.paths, grid, count, settings.chunk, seconds, tally.kelvin, tally.by_flag, shift, aligned,
        account | tally.account,
    )  # fmt: skip


def _layers(config: SharpenConfig) -> tuple[str, ...]:
    """Name the variables that a method has."""
    return ("lst", "qa", "lst_uncertainty") if config.method == "calibrated" else ("lst", "qa")


def _computed_layers(config: SharpenConfig) -> tuple[str, ...]:
    """Name what blocks compute: what is written, and the residual that is only summed up."""
    return (*_layers(config), "residual")


def _input_uncertainty(
    given: xr.DataArray | None, targets: Targets, scene: SceneArrays, config: SharpenConfig
) -> Any:  # noqa: ANN401  (a numpy or dask array, or None)
    """Check what is wanted of the uncertainty, and that of the LST."""
    if targets.uncertainty is not None or given is not None:
        require_uncertainty(config.method)
    return None if given is None else on_coarse_grid(given, scene.grids)


def _with_input(
    layers: Mapping[str, NDArray[Any]],
    given: Any,  # noqa: ANN401  (as above)
    window: Window,
    ratio: int,
) -> Mapping[str, NDArray[Any]]:
    """Add the uncertainty of the LST to that of a block's detail."""
    if given is None:
        return layers
    part = tuple(slice(s.start // ratio, s.stop // ratio) for s in window)
    return {**layers, "lst_uncertainty": with_input(layers["lst_uncertainty"], given[part], ratio)}


def _upper(attrs: Mapping[str, object]) -> dict[str, str]:
    """Attributes as tags of files."""
    return {name.upper(): str(value) for name, value in attrs.items()}


def _ready(
    scene: SceneArrays,
    model: SceneModel | None,
    config: SharpenConfig,
    client: Any,  # noqa: ANN401
    threads: int,
) -> tuple[SceneArrays, SceneModel, Shift | None]:
    """Align the scene, train its model if there is none, and say what was measured."""
    # Files are sampled here, while the workers have nothing to do yet.
    threads = threads if client is None else choose_threads()
    # A current client computes whatever dask is asked to compute.
    with nullcontext() if client is None else client.as_current():
        scene, shift = align(scene, config, threads)
        if model is None:
            model = _trained(scene, [shift] if config.align else None, config, threads)
            return scene, model, model.shifts[0]
        return scene, model, shift if config.align else computed(measure_scene(scene, config, threads))


def _trained(
    scene: SceneArrays, shifts: Sequence[Shift | None] | None, config: SharpenConfig, threads: int
) -> SceneModel:
    trained = train([scene], config, shifts, threads=threads)
    model: SceneModel = trained.compute() if is_lazy(trained) else trained
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
        "lst_uncertainty": (targets.uncertainty, targets.encoding.averaged, "LST uncertainty", "K"),
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
    variables = {name: result_variable(name, targets.encoding) for name in names}
    return ZarrSink(targets.zarr, grid, variables, tile, attrs=targets.tags, overwrite=targets.overwrite)


_Computed: TypeAlias = Iterator[tuple[Window, Mapping[str, "NDArray[Any]"]]]


def _computed(
    scene: SceneArrays,
    model: SceneModel,
    config: SharpenConfig,
    client: Any,  # noqa: ANN401
    threads: int,
) -> tuple[int, _Computed]:
    """Count the blocks; compute them, in no order, a bounded number ahead of the writing."""
    if scene.is_lazy:
        return _of_graphs(scene, model, config, client, threads)
    work = _Work(BlockFunction(config, scene.grids.ratio, _computed_layers(config)), scene, model)
    halo = work.function.settings.halo
    todo = ordered(blocks(scene.lst.shape, config.chunk, halo), _across(scene, config.chunk, halo))
    if client is None:
        done = in_threads(partial(_block, work), todo, threads)
    else:
        done = on_cluster(_block, work, todo, client)
    return len(todo), ((scene.grids.fine_window((b.rows, b.columns)), layers) for b, layers in done)


@dataclass(frozen=True, slots=True)
class _Work:
    """What all blocks of a run share."""

    function: BlockFunction
    scene: SceneArrays
    model: SceneModel


def _block(work: _Work, block: Block) -> dict[str, NDArray[Any]]:
    """Read and sharpen one block: the one task that a cluster has for it."""
    s = work.scene
    result: dict[str, NDArray[Any]] = run_block(
        work.function, s.vnir, s.lst, s.usable, work.model, block, s.grids.ratio
    )
    return result | {"residual": on_coarse_cells(result["residual"], s.grids.ratio)}


def _across(scene: SceneArrays, chunk: int, halo: int) -> int:
    """Count the blocks of a strip that is narrow enough to be found in the cache by the next."""
    rows = (chunk + 2 * halo) * scene.grids.ratio + _FILE_BLOCK
    per_pixel = getattr(scene.vnir, "stored_bytes", 0.0)
    return max(1, int(_STRIP_BYTES / max(rows * chunk * scene.grids.ratio * per_pixel, 1.0)))


def _of_graphs(
    scene: SceneArrays,
    model: SceneModel,
    config: SharpenConfig,
    client: Any,  # noqa: ANN401
    threads: int,
) -> tuple[int, _Computed]:
    """Compute blocks of dask arrays."""
    names, ratio = _computed_layers(config), scene.grids.ratio
    told = config.model_copy(update={"outputs": ("residual",)})
    tasks = _tasks(sharpen_scene(scene, model, told), names)
    done = _in_turn(tasks, threads) if client is None else graphs_on_cluster(tasks, client)
    found = ((window, {name: block[name].values for name in names}) for window, block in done)
    return len(tasks), (
        (window, layers | {"residual": on_coarse_cells(layers["residual"], ratio)})
        for window, layers in found
    )


def _in_turn(tasks: list[tuple[Window, xr.Dataset]], threads: int) -> Iterator[tuple[Window, xr.Dataset]]:
    for (window, _), result in in_threads(_synchronous, tasks, threads):
        yield window, result


def _synchronous(task: tuple[Window, xr.Dataset]) -> xr.Dataset:
    return task[1].compute(scheduler="synchronous")


def _tasks(sharp: xr.Dataset, names: Sequence[str]) -> list[tuple[Window, xr.Dataset]]:
    """Cut the lazy result into its blocks."""
    edges = [np.concatenate([[0], np.cumsum(sizes)]).tolist() for sizes in sharp.lst.data.chunks]
    rows, columns = ([slice(*ends) for ends in itertools.pairwise(axis)] for axis in edges)
    # The variables of a dataset are computed together: they come from one run of the method.
    return [((y, x), sharp[list(names)].isel(y=y, x=x)) for y in rows for x in columns]

"""Second pass: one task for each tile. It reads, sharpens, writes, and then says so in the ledger.

The entry in the ledger comes last, from the task itself: a tile counts when all of it is in the store, also
if whoever asked for it is gone by then. Every object is whole or absent, and what is written twice is the
same twice.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lstzoom.account import Moments, on_coarse_cells, with_input
from lstzoom.config import SharpenConfig
from lstzoom.cube import write_region
from lstzoom.encoding import ENCODINGS, QA, Encoding
from lstzoom.halo import Block, run_block
from lstzoom.inputs import SceneArrays
from lstzoom.jobs import layout
from lstzoom.jobs.items import Described, File, make_item
from lstzoom.jobs.ledger import account
from lstzoom.jobs.plan import Tile
from lstzoom.jobs.store import Store, as_json, told
from lstzoom.kernels.quality import MEANINGS
from lstzoom.kernels.quality import QA as FLAGS
from lstzoom.sharpening import BlockFunction
from lstzoom.sources.windowed import CoarseWindows
from lstzoom.train import SceneModel, load_model
from lstzoom.write import cog_bytes

DESCRIPTIONS: Final = {
    "lst": ("LST", "K"), "lst_uncertainty": ("LST uncertainty", "K"), "qa": ("QA", "1"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TileWork:
    """What the tiles of one scene share.

    Attributes
    ----------
    store
        Where to.
    scene
        Key of the scene.
    arrays
        The scene, moved if it is aligned.
    uncertainty
        Of the LST; None where the source has none.
    config
        Settings.
    layers
        Names of what is written.
    model, digest
        Key of the model, and its hash.
    cube
        Key of the cube; None without one.
    time_index
        Place of the scene along its time.
    encoding
        Of temperature.
    cog, stac
        Write COGs and items of tiles.
    tags
        Of COGs.
    described
        For items.
    """

    store: Store
    scene: str
    arrays: SceneArrays
    uncertainty: CoarseWindows | None
    config: SharpenConfig
    layers: tuple[str, ...]
    model: str
    digest: str
    cube: str | None
    time_index: int
    encoding: str
    cog: bool
    stac: bool
    tags: Mapping[str, str]
    described: Described

    def stored_as(self, layer: str) -> Encoding:
        """How a layer is encoded."""
        return encoding_of(layer, self.encoding)


def encoding_of(layer: str, name: str) -> Encoding:
    """How a layer is encoded where temperature is encoded so."""
    if layer == "qa":
        return QA
    return ENCODINGS[name] if layer == "lst" else ENCODINGS[name].averaged


@dataclass(slots=True)
class _Clock:
    """Seconds by what they were spent on."""

    seconds: dict[str, float] = field(default_factory=dict)
    last: float = field(default_factory=time.perf_counter)
    cpu: float = field(default_factory=time.thread_time)

    def lap(self, what: str) -> None:
        now = time.perf_counter()
        self.seconds[what] = round(self.seconds.get(what, 0.0) + now - self.last, 4)
        self.last = now


def sharpen_tile(work: TileWork, tile: Tile) -> dict[str, Any]:
    """Make a tile: read, sharpen, write, record.

    Returns
    -------
    dict
        Its entry in the ledger.
    """
    clock = _Clock()
    layers, residual = _computed(work, tile.block, clock)
    told = statistics(layers, residual)
    window = work.arrays.grids.fine_window((tile.block.rows, tile.block.columns))
    written = {"zarr": 0, "cog": 0}
    if work.cube is not None:
        written["zarr"] = _into_cube(work, window, layers)
        clock.lap("zarr")
    if work.cog:
        written["cog"] = _cogs(work, tile, window, layers, told)
        clock.lap("cog")
    entry = {
        "tile": tile.name,
        "bytes": written,
        "model": work.digest,
        "digest": {name: _digest(values) for name, values in layers.items()},
        **told,
        **_who(clock),
    }
    work.store.write(layout.entry(work.scene, tile.name), as_json(entry))
    return entry


def _computed(
    work: TileWork, block: Block, clock: _Clock
) -> tuple[dict[str, NDArray[Any]], NDArray[np.float32]]:
    """Return the layers, and the residual before its correction on coarse pixels."""
    model = _model(work.store, work.model, work.digest)
    clock.lap("model")
    arrays, names = work.arrays, ("lst", "qa", "residual", "lst_uncertainty")
    wanted = names if work.config.method == "calibrated" else names[:3]
    function = BlockFunction(work.config, arrays.grids.ratio, wanted)

    def timed(*given: Any) -> dict[str, NDArray[Any]]:
        clock.lap("read")
        return function(*given)

    found: dict[str, NDArray[Any]] = run_block(
        timed, arrays.vnir, arrays.lst, arrays.usable, model, block, arrays.grids.ratio
    )
    clock.lap("compute")
    if work.uncertainty is not None and "lst_uncertainty" in found:
        given = np.empty([s.stop - s.start for s in (block.rows, block.columns)], np.float32)
        work.uncertainty.read_into(given, block.rows, block.columns)
        found["lst_uncertainty"] = with_input(found["lst_uncertainty"], given, arrays.grids.ratio)
        clock.lap("read")
    residual = on_coarse_cells(found["residual"], arrays.grids.ratio)
    return {name: found[name] for name in work.layers}, residual


@lru_cache(maxsize=4)
def _model(store: Store, key: str, digest: str) -> SceneModel:
    """Trained model, read once by a process; another content has another hash."""
    model = load_model(store.address(layout.model(key)))
    if model.content_hash != digest:
        raise ValueError(f"the model {key!r} in the store is another than the one of this run")
    return model


def _into_cube(work: TileWork, window: tuple[slice, slice], layers: Mapping[str, NDArray[Any]]) -> int:
    assert work.cube is not None  # noqa: S101  (asked before)
    url = work.store.address(layout.cube(work.cube))
    with told(f"cannot write into the cube {url!r}"):
        return write_region(url, work.time_index, window, layers)


def _cogs(
    work: TileWork,
    tile: Tile,
    window: tuple[slice, slice],
    layers: Mapping[str, NDArray[Any]],
    told: Mapping[str, Any],
) -> int:
    grid, files, figures = work.arrays.grids.fine[window], {}, account(told)
    tags = {**work.tags, **{name.upper(): str(value) for name, value in figures.items()}}
    for layer, values in layers.items():
        description, units = DESCRIPTIONS[layer]
        data = cog_bytes(values, grid, work.stored_as(layer), tags, description, units)
        key = layout.cog(work.scene, tile.name, layer)
        work.store.write(key, data)
        files[layer] = File(key, len(data), hashlib.sha256(data).hexdigest())
    if work.stac:
        cube = None if work.cube is None else layout.cube(work.cube)
        item = make_item(work.described, tile.name, grid, files, cube, {**told, **figures})
        work.store.write(layout.item(work.scene, tile.name), as_json(item))
    return sum(file.size for file in files.values())


def statistics(layers: Mapping[str, NDArray[Any]], residual: NDArray[np.float32]) -> dict[str, Any]:
    """Sum up a tile, so that the figures of a scene follow."""
    departures = Moments()
    departures.add(residual)
    lst = layers["lst"]
    valid = lst[np.isfinite(lst)]
    found: dict[str, Any] = {
        "pixels": int(lst.size), "valid": int(valid.size), "residual": asdict(departures),
    }  # fmt: skip
    if valid.size:
        found["kelvin"] = {
            "min": float(valid.min()), "max": float(valid.max()), "sum": float(valid.sum(dtype=np.float64)),
        }  # fmt: skip
    if "qa" in layers:
        counts = np.bincount(layers["qa"].ravel(), minlength=len(FLAGS))
        found["flags"] = {MEANINGS[flag]: int(counts[flag]) for flag in FLAGS}
    if "lst_uncertainty" in layers:
        sigma = layers["lst_uncertainty"]
        stated = sigma[np.isfinite(sigma)]
        found["uncertainty"] = {"count": int(stated.size), "sum": float(stated.sum(dtype=np.float64))}
    return found


def _digest(values: NDArray[Any]) -> str:
    """Hash of the values before they are encoded."""
    return hashlib.sha256(np.ascontiguousarray(values).view(np.uint8).data).hexdigest()[:16]


def _who(clock: _Clock) -> dict[str, Any]:
    import psutil  # noqa: PLC0415  (only workers need it)

    return {
        "seconds": clock.seconds,
        "cpu_s": round(time.thread_time() - clock.cpu, 3),
        "worker": f"{socket.gethostname()}:{os.getpid()}",
        "rss": psutil.Process().memory_info().rss,
        "at": round(time.time(), 3),
    }

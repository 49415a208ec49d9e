"""Writing results: cloud-optimised GeoTIFF and Zarr, a window at a time.

Both writers work aside of their target and put the finished result in its place with a rename, so
that what bears the final name is complete. A run that fails leaves neither a target nor
temporaries; those of a run that was killed go when the same target is written again. Memory holds
the blocks in flight and GDAL's block cache, never a whole scene; the cache is 5 % of the machine's
memory unless GDAL_CACHEMAX says otherwise.
"""

from __future__ import annotations

import fcntl
import glob
import logging
import shutil
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import rasterio
import rasterio.shutil
from rasterio.windows import Window

from lstzoom.cube.regions import require_shape, window_of, write_region
from lstzoom.cube.spec import CubeSpec, ZarrVariable
from lstzoom.cube.store import array_of, consolidate, json_safe, open_group
from lstzoom.cube.template import create
from lstzoom.encoding import ENCODINGS, FLOAT32, QA, RADIANCE, UINT16, Encoding
from lstzoom.errors import InputError
from lstzoom.overviews import build_radiance

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

__all__ = [
    "COG_BLOCK",
    "ENCODINGS",
    "FLOAT32",
    "QA",
    "RADIANCE",
    "UINT16",
    "CogSink",
    "Encoding",
    "ZarrSink",
    "ZarrVariable",
    "cog_bytes",
    "require_other_than_inputs",
    "require_writable",
]

logger = logging.getLogger(__name__)

COG_BLOCK: Final = 512
_REPLACED: Final = "replaced"


def _prepared(path: str | Path, *, overwrite: bool) -> Path:
    """Check that a target can be written before any work is done."""
    if "://" in str(path) or str(path).startswith("/vsi"):
        raise InputError(f"cannot write to {str(path)!r}: a path on a local disk is needed")
    target = Path(path)
    if not target.parent.is_dir():
        raise InputError(
            f"cannot write {str(target)!r}: the folder {str(target.parent)!r} does not exist; make it first"
        )
    if target.exists() and not overwrite:
        raise InputError(
            f"{str(target)!r} exists; choose another name, or allow to replace it with "
            "overwrite=True (--overwrite)"
        )
    _require_replaceable(target)
    return target


def _require_replaceable(target: Path) -> None:
    """Refuse to replace anything but a file or a Zarr store: a folder may hold somebody's work."""
    if not target.exists() or target.is_file() or (target / "zarr.json").is_file():
        return
    what = "a folder that is no Zarr store" if target.is_dir() else "no ordinary file"
    raise InputError(f"{str(target)!r} is {what} and is never replaced; choose another name")


def require_writable(target: Path, *, overwrite: bool) -> None:
    """Refuse a file to write before work starts.

    Raises
    ------
    InputError
        If it exists and is not to be replaced, is a folder, or its folder does not exist.
    """
    if not target.parent.is_dir():
        raise InputError(
            f"cannot write {str(target)!r}: the folder {str(target.parent)!r} does not exist; make it first"
        )
    if target.is_dir() or (target.exists() and not overwrite):
        raise InputError(
            f"{str(target)!r} exists; choose another name, or allow to replace a file with --overwrite"
        )


def require_other_than_inputs(targets: Iterable[str | Path], inputs: Iterable[str | Path]) -> None:
    """Refuse targets that are inputs, under whatever name, before work starts.

    Parameters
    ----------
    targets, inputs
        Paths. URLs, and what does not exist, are never the same.

    Raises
    ------
    InputError
        If a target would replace an input.
    """
    given = [path for path in map(Path, inputs) if path.exists()]
    for target in map(Path, targets):
        if target.exists() and any(target.samefile(one) for one in given):
            raise InputError(f"{str(target)!r} is an input and would be replaced; choose another name")


class _Aside:
    """A folder for temporaries on the target's own disk, so that a rename can move them.

    It holds a file that is locked as long as its process lives, on this machine or, where the file
    system locks, on another. A folder whose lock is free was left by a process that was killed.
    """

    _MARK: Final = ".lstzoom-"
    _LOCK: Final = "in-use"

    def __init__(self, target: Path) -> None:
        try:
            for old in target.parent.glob(f".{glob.escape(target.name)}{self._MARK}*"):
                self._remove_if_left(old)
            made = Path(tempfile.mkdtemp(prefix=f".{target.name}.new-", dir=target.parent))
            self._lock = (made / self._LOCK).open("wb")
            _try_lock(self._lock)
            # Only what is locked bears the name that others look for.
            self.path = made.rename(made.with_name(self._MARK.join(made.name.rsplit(".new-", 1))))
        except OSError as error:
            raise InputError(
                f"cannot write {str(target)!r}: {error.strerror or error}; choose a folder that can be "
                "written to"
            ) from error

    @classmethod
    def _remove_if_left(cls, folder: Path) -> None:
        try:
            with (folder / cls._LOCK).open("rb+") as lock:
                if not _try_lock(lock):
                    return
                if (folder / _REPLACED).exists():
                    logger.warning("%s holds what a run that was killed was about to replace", folder)
                    return
                logger.info("removing %s, left by a run that was killed", folder)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            # Not ours to open.
            return

    def remove(self) -> None:
        """Remove the folder and all in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _try_lock(file: IO[bytes]) -> bool:
    """Lock a file until it is closed; tell whether that was possible."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # Held by another, or a file system without locks: then what is left is never removed.
        return False
    return True


@dataclass
class CogSink:
    """Writer of one single-band cloud-optimised GeoTIFF.

    Use it as a context manager: blocks go into an uncompressed tiled GeoTIFF aside, which becomes
    the COG when the block ends without error. Windows that are never written are missing (0 for
    an encoding without nodata). Writing from several threads is safe.

    Parameters
    ----------
    path
        Final name, on a local disk.
    geobox
        Grid of the file.
    encoding
        How values are stored.
    tags
        Metadata of the file, for example method, version and inputs.
    description, units
        Of the band.
    compress
        ``"deflate"`` or ``"zstd"``.
    overwrite
        Replace an existing file.
    num_threads
        Threads that compress, a number or ``"ALL_CPUS"``.

    Raises
    ------
    InputError
        If the target exists and ``overwrite`` is false, its folder does not exist, or a block
        does not fit its window.
    EncodingError
        If values do not fit the encoding.

    Examples
    --------
    >>> with CogSink("lst.tif", geobox, UINT16) as sink:  # doctest: +SKIP
    ...     sink.write(block, (slice(0, 512), slice(0, 512)))
    """

    path: str | Path
    geobox: GeoBox
    encoding: Encoding = UINT16
    tags: Mapping[str, str] = field(default_factory=dict)
    description: str = "LST"
    units: str = "K"
    compress: str = "deflate"
    overwrite: bool = False
    num_threads: int | str = 2

    _folder: _Aside | None = field(default=None, init=False, repr=False)
    _dataset: Any = field(default=None, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __enter__(self) -> Self:
        """Check the target and open the temporary file."""
        target = _prepared(self.path, overwrite=self.overwrite)
        self._folder = _Aside(target)
        try:
            self._dataset = self.open_draft(self._folder.path / "blocks.tif")
        except BaseException:
            self._discard()
            raise
        return self

    def open_draft(self, path: str | Path) -> Any:  # noqa: ANN401  (rasterio ships no types)
        """Make the uncompressed tiled GeoTIFF that blocks are written to."""
        dataset = rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=self.geobox.shape.y,
            width=self.geobox.shape.x,
            count=1,
            dtype=self.encoding.dtype,
            nodata=self.encoding.nodata,
            crs=str(self.geobox.crs),
            transform=self.geobox.affine,
            tiled=True,
            blockxsize=COG_BLOCK,
            blockysize=COG_BLOCK,
            # Blocks rarely end on tiles; rewriting a compressed tile would leave dead space.
            compress="none",
            sparse_ok=True,
            bigtiff="IF_SAFER",
        )
        dataset.update_tags(**self.tags)
        dataset.set_band_description(1, self.description)
        dataset.set_band_unit(1, self.units)
        if (self.encoding.scale, self.encoding.offset) != (1.0, 0.0):
            dataset.scales = (self.encoding.scale,)
            dataset.offsets = (self.encoding.offset,)
        return dataset

    def tag(self, tags: Mapping[str, str]) -> None:
        """Add metadata that was not known before."""
        if self._dataset is None:
            raise InputError("a CogSink takes tags inside of its `with` block only")
        with self._lock:
            self._dataset.update_tags(**tags)

    def write(self, block: NDArray[Any], yx: tuple[slice, slice]) -> None:
        """Write a block of values.

        Parameters
        ----------
        block
            Shape (y, x) of the window; kelvin with NaN where missing, or flags.
        yx
            Slices of the grid along y and x.
        """
        if self._dataset is None:
            raise InputError("a CogSink writes inside of its `with` block only")
        rows, columns = window = window_of(yx, (self.geobox.shape.y, self.geobox.shape.x))
        require_shape(block, window)
        stored = self.encoding.encode(block)
        place = Window(columns.start, rows.start, block.shape[1], block.shape[0])
        with self._lock:
            self._dataset.write(stored, 1, window=place)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Make the COG and rename it, or remove the temporaries after an error."""
        try:
            if self._dataset is not None:
                self._dataset.close()
                self._dataset = None
            if kind is None:
                self._finish()
        finally:
            self._discard()

    def _finish(self) -> None:
        assert self._folder is not None  # noqa: S101  (set on entry)
        cog = self._folder.path / "cog.tif"
        self.convert(self._folder.path / "blocks.tif", cog)
        cog.replace(self.path)
        logger.info("wrote %s", self.path)

    def convert(self, draft: str | Path, cog: str | Path) -> None:
        """Make the COG of a complete draft."""
        if self.encoding.overview == RADIANCE:
            build_radiance(Path(draft), self.encoding, COG_BLOCK)
        # GDAL keeps overviews in a file of their own until it knows where they go: written once, read once.
        with rasterio.Env(COG_TMP_COMPRESSION="NONE"):
            rasterio.shutil.copy(draft, cog, **self._options())

    def _options(self) -> dict[str, Any]:
        made = self.encoding.overview == RADIANCE
        return {
            "driver": "COG",
            "blocksize": COG_BLOCK,
            "compress": self.compress.upper(),
            "predictor": "YES",
            "overview_resampling": "AVERAGE" if made else self.encoding.overview,
            "overviews": "FORCE_USE_EXISTING" if made else "IGNORE_EXISTING",
            # Readers stretch by these without reading the pixels; they are of stored numbers.
            "statistics": "YES",
            "bigtiff": "IF_SAFER",
            "num_threads": str(self.num_threads),
        }

    def _discard(self) -> None:
        if self._folder is not None:
            self._folder.remove()
            self._folder = None


def cog_bytes(
    values: NDArray[Any],
    geobox: GeoBox,
    encoding: Encoding = UINT16,
    tags: Mapping[str, str] | None = None,
    description: str = "LST",
    units: str = "K",
) -> bytes:
    """Make a cloud-optimised GeoTIFF of one tile in memory, the same as a `CogSink` would write.

    Parameters
    ----------
    values
        Shape of the grid; kelvin with NaN where missing, or flags.
    geobox, encoding, tags, description, units
        As for `CogSink`.

    Returns
    -------
    bytes
        Content of the file; the same for the same arguments.

    Raises
    ------
    InputError
        If the shape is another than that of the grid.
    EncodingError
        If values do not fit the encoding.
    """
    require_shape(values, (slice(0, geobox.shape.y), slice(0, geobox.shape.x)))
    sink = CogSink("tile.tif", geobox, encoding, tags or {}, description, units, num_threads=1)
    # Files of GDAL's memory go with the one that they are beside of.
    with rasterio.MemoryFile(filename="blocks.tif") as draft, rasterio.MemoryFile(filename="cog.tif") as cog:
        with sink.open_draft(draft.name) as dataset:
            dataset.write(encoding.encode(values), 1)
        sink.convert(draft.name, cog.name)
        return bytes(cog.read())


@dataclass
class ZarrSink:
    """Writer of a Zarr v3 store of variables on one grid, without time.

    Use it as a context manager. A store without values (`lstzoom.cube.create`) is made in a folder aside;
    regions of whole shards follow, and the folder takes the final name when the block ends without error.
    Workers in other processes write with `lstzoom.cube.write_region` to ``sink.store``; no two may write the
    same shard.

    Parameters
    ----------
    path
        Final name, a folder on a local disk.
    geobox
        Grid of the store.
    variables
        `ZarrVariable`, or (dtype, attrs, fill), by name.
    tile
        Side of a shard in pixels; regions start and end on its multiples, or at the edge.
    chunk
        Side of a chunk inside of a shard, a divisor of ``tile``; default the largest up to 512.
    attrs
        Attributes of the store.
    overwrite
        Replace an existing store.

    Raises
    ------
    InputError
        If the target exists and ``overwrite`` is false, its folder does not exist, ``chunk`` does
        not divide ``tile``, or a block does not fit the grid or its shards.
    EncodingError
        If values do not fit the data type of their variable.
    """

    path: str | Path
    geobox: GeoBox
    variables: Mapping[str, ZarrVariable | tuple[str, Mapping[str, Any], float | None]]
    tile: int = 2048
    chunk: int | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)
    overwrite: bool = False

    _folder: _Aside | None = field(default=None, init=False, repr=False)

    @property
    def store(self) -> Path:
        """Folder aside that holds the store until it is complete."""
        if self._folder is None:
            raise InputError("a ZarrSink writes inside of its `with` block only")
        return self._folder.path / "store.zarr"

    def __enter__(self) -> Self:
        """Check the target and write the template."""
        target = _prepared(self.path, overwrite=self.overwrite)
        variables = {name: ZarrVariable(*one) for name, one in self.variables.items()}
        spec = CubeSpec(self.geobox, self.tile, self.chunk, variables=variables)
        self._folder = _Aside(target)
        try:
            create(self.store, spec, None, self.attrs)
        except BaseException:
            self._discard()
            raise
        return self

    def tag(self, attrs: Mapping[str, Any]) -> None:
        """Add attributes that were not known before."""
        open_group(self.store).attrs.update(json_safe(attrs))

    def describe(self, attrs: Mapping[str, Mapping[str, Any]]) -> None:
        """Add attributes of variables that were not known before."""
        group = open_group(self.store)
        for name, more in attrs.items():
            array_of(group, name).attrs.update(json_safe(more))

    def write(self, blocks: Mapping[str, NDArray[Any]], yx: tuple[slice, slice]) -> None:
        """Write blocks of values, by variable, to a window of whole shards."""
        write_region(self.store, None, yx, blocks)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Rename the store, or remove it after an error."""
        try:
            if kind is None:
                self._finish()
        finally:
            self._discard()

    def _finish(self) -> None:
        assert self._folder is not None  # noqa: S101  (set on entry)
        consolidate(self.store)
        target = Path(self.path)
        replaced = self._folder.path / _REPLACED
        if target.exists():
            # A folder cannot be renamed over one with content.
            target.rename(replaced)
        try:
            self.store.rename(target)
        except OSError:
            if replaced.exists():
                replaced.rename(target)
            raise
        logger.info("wrote %s", target)

    def _discard(self) -> None:
        if self._folder is not None:
            self._folder.remove()
            self._folder = None

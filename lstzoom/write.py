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
import math
import shutil
import tempfile
import threading
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.windows import Window

from lstzoom.errors import EncodingError, InputError
from lstzoom.overviews import build_radiance

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType
    from typing import Self

    import zarr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

logger = logging.getLogger(__name__)

COG_BLOCK: Final = 512
RADIANCE: Final = "RADIANCE"
"""Overviews that average temperature as a radiometer does."""
_ZARR_CHUNK: Final = 512
_REPLACED: Final = "replaced"


@dataclass(frozen=True, slots=True)
class Encoding:
    """How values are stored.

    Attributes
    ----------
    name
        Name on the command line.
    dtype
        Data type in the file.
    scale, offset
        Value = scale x stored number + offset.
    nodata
        Stored number of missing pixels; None if all numbers are values.
    overview
        Resampling of overviews, as GDAL names it, or ``"RADIANCE"``: the mean of the fourth power of kelvin.
    """

    name: str
    dtype: str
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    overview: str = "AVERAGE"

    @property
    def averaged(self) -> Encoding:
        """The same with plain averages in overviews, for kelvin that are no temperature."""
        return replace(self, overview="AVERAGE")

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest value that can be stored."""
        low, high = self._stored_limits()
        return low * self.scale + self.offset, high * self.scale + self.offset

    def _stored_limits(self) -> tuple[float, float]:
        if np.dtype(self.dtype).kind == "f":
            return -math.inf, math.inf
        info = np.iinfo(self.dtype)
        # Nodata sits at an end of the range, which then is no value.
        return info.min + (self.nodata == info.min), info.max - (self.nodata == info.max)

    def encode(self, block: NDArray[Any]) -> NDArray[Any]:
        """Turn values into stored numbers.

        Parameters
        ----------
        block
            Values, any shape; NaN where missing.

        Returns
        -------
        ndarray
            Stored numbers of ``dtype``.

        Raises
        ------
        EncodingError
            If values lie outside of the range that can be stored.
        """
        dtype = np.dtype(self.dtype)
        if block.dtype == dtype and (self.scale, self.offset) == (1.0, 0.0):
            return block
        if dtype.kind == "f":
            return ((block - self.offset) / self.scale).astype(dtype)
        return self._encode_integers(block, dtype)

    def _encode_integers(self, block: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        stored = np.rint((block.astype(np.float64) - self.offset) / self.scale)
        missing = np.isnan(stored)
        low, high = self._stored_limits()
        outside = ~missing & ((stored < low) | (stored > high))
        if outside.any() or (self.nodata is None and missing.any()):
            raise EncodingError(self._message(block, outside, missing))
        stored[missing] = 0 if self.nodata is None else self.nodata
        return stored.astype(dtype)

    def _message(self, block: NDArray[Any], outside: NDArray[np.bool_], missing: NDArray[np.bool_]) -> str:
        if not outside.any():
            return (
                f"{int(missing.sum())} pixels are missing, and the encoding {self.name!r} has no "
                "nodata value; use --encoding float32"
            )
        low, high = self.limits
        bad = block[outside]
        return (
            f"{bad.size} values do not fit the encoding {self.name!r}, which holds {low:g} to "
            f"{high:g}: they run from {bad.min():.6g} to {bad.max():.6g}; use --encoding float32"
        )


UINT16: Final = Encoding("uint16", "uint16", scale=0.01, nodata=65535, overview=RADIANCE)
"""Kelvin in steps of 0.01 K, 0 to 655.34 K."""

FLOAT32: Final = Encoding("float32", "float32", nodata=math.nan, overview=RADIANCE)
"""Kelvin as they are, NaN where missing."""

QA: Final = Encoding("qa", "uint8", overview="MODE")
"""Quality flags; every number is a value, and overviews show the most frequent one."""

ENCODINGS: Final[Mapping[str, Encoding]] = {"uint16": UINT16, "float32": FLOAT32}
"""Encodings of LST by their name on the command line."""


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


def _window(yx: tuple[slice, slice], shape: tuple[int, int]) -> tuple[slice, slice]:
    """Return slices with both ends; refuse what is not a window of the grid."""
    y, x = yx
    for part, size in ((y, shape[0]), (x, shape[1])):
        start, stop, step = part.start or 0, size if part.stop is None else part.stop, part.step
        if not 0 <= start < stop <= size or step not in (None, 1):
            raise InputError(f"{part} is not a window of {size} pixels with step 1")
    return slice(*y.indices(shape[0])[:2]), slice(*x.indices(shape[1])[:2])


def _require_shape(block: NDArray[Any], window: tuple[slice, slice]) -> None:
    needed = tuple(part.stop - part.start for part in window)
    if block.shape != needed:
        raise InputError(f"a block of shape {block.shape} was given for a window of shape {needed}")


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
        rows, columns = window = _window(yx, (self.geobox.shape.y, self.geobox.shape.x))
        _require_shape(block, window)
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
    _require_shape(values, (slice(0, geobox.shape.y), slice(0, geobox.shape.x)))
    sink = CogSink("tile.tif", geobox, encoding, tags or {}, description, units, num_threads=1)
    # Files of GDAL's memory go with the one that they are beside of.
    with rasterio.MemoryFile(filename="blocks.tif") as draft, rasterio.MemoryFile(filename="cog.tif") as cog:
        with sink.open_draft(draft.name) as dataset:
            dataset.write(encoding.encode(values), 1)
        sink.convert(draft.name, cog.name)
        return bytes(cog.read())


class ZarrVariable(NamedTuple):
    """A variable of a Zarr store.

    Attributes
    ----------
    dtype
        Data type in the store.
    attrs
        Attributes in the terms of CF, such as ``units``, ``scale_factor`` and ``add_offset``.
    fill
        Stored number of missing pixels and of regions that are never written; None for 0
        without any meaning of missing.
    """

    dtype: str
    attrs: Mapping[str, Any]
    fill: float | None = None

    @classmethod
    def of(cls, encoding: Encoding, **attrs: object) -> ZarrVariable:
        """Make a variable that stores values with an encoding."""
        scaled = (encoding.scale, encoding.offset) != (1.0, 0.0)
        scaling = {"scale_factor": encoding.scale, "add_offset": encoding.offset} if scaled else {}
        return cls(encoding.dtype, {**attrs, **scaling}, encoding.nodata)

    def encoding(self, name: str) -> Encoding:
        """Return the encoding that the data type, the attributes and the fill describe."""
        return Encoding(
            name,
            self.dtype,
            float(self.attrs.get("scale_factor", 1.0)),
            float(self.attrs.get("add_offset", 0.0)),
            self.fill,
        )


@dataclass
class ZarrSink:
    """Writer of a Zarr v3 store of variables on one grid.

    Use it as a context manager. The template with coordinates and ``spatial_ref`` is written once
    to a folder aside; regions of whole shards follow, and the folder takes the final name when
    the block ends without error. Workers in other processes write with `write_region` to
    ``sink.store``; no two may write the same shard.

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
        self._folder = _Aside(target)
        try:
            write_template(
                self.store,
                self.geobox,
                variables,
                tile=self.tile,
                chunk=self.chunk,
                attrs=self.attrs,
            )
        except BaseException:
            self._discard()
            raise
        return self

    def tag(self, attrs: Mapping[str, Any]) -> None:
        """Add attributes that were not known before."""
        import zarr  # noqa: PLC0415  (slow to import, and GeoTIFFs do not need it)

        zarr.open_group(str(self.store), mode="r+", zarr_format=3).attrs.update(_json_safe(attrs))

    def write(self, blocks: Mapping[str, NDArray[Any]], yx: tuple[slice, slice]) -> None:
        """Write blocks of values, by variable, to a window of whole shards."""
        write_region(self.store, blocks, yx)

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


def write_template(
    store: str | Path,
    geobox: GeoBox,
    variables: Mapping[str, ZarrVariable],
    *,
    tile: int,
    chunk: int | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> None:
    """Write a Zarr v3 store with coordinates and metadata and no values.

    Parameters
    ----------
    store
        Folder or address of a store that does not exist yet.
    geobox
        Grid.
    variables
        Variables by name.
    tile, chunk
        Sides of shards and chunks in pixels, see `ZarrSink`.
    attrs
        Attributes of the store.

    Raises
    ------
    InputError
        If ``chunk`` does not divide ``tile``.
    """
    import zarr  # noqa: PLC0415  (slow to import, and files do not need it)

    inner = _chunk_side(tile, chunk)
    group = zarr.open_group(str(store), mode="w-", zarr_format=3)
    group.attrs.update(_json_safe({"Conventions": "CF-1.11", **(attrs or {})}))
    _write_coordinates(group, geobox)
    for name, variable in variables.items():
        described = {"coordinates": "spatial_ref", "grid_mapping": "spatial_ref", **variable.attrs}
        fill, dtype = variable.fill, np.dtype(variable.dtype)
        if fill is not None and dtype.kind in "iu":
            # xarray masks by this attribute alone; for floats, NaN needs no mask.
            described["_FillValue"] = int(fill)
        group.create_array(
            name,
            shape=tuple(geobox.shape),
            dtype=dtype,
            shards=(tile, tile),
            chunks=(inner, inner),
            fill_value=0 if fill is None else dtype.type(fill),
            dimension_names=("y", "x"),
            attributes=_json_safe(described),
        )


def consolidate(store: str | Path) -> None:
    """Gather the metadata of a finished store, without which xarray opens it slowly and warns.

    Parameters
    ----------
    store
        Folder or address of a store made by `write_template`.
    """
    import zarr  # noqa: PLC0415  (slow to import, and files do not need it)

    with warnings.catch_warnings():
        # Readers that do not know the gathered copy are told by the format to leave it.
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        zarr.consolidate_metadata(str(store), zarr_format=3)


def _chunk_side(tile: int, chunk: int | None) -> int:
    if chunk is None:
        return max(side for side in range(1, min(tile, _ZARR_CHUNK) + 1) if tile % side == 0)
    if tile % chunk:
        raise InputError(
            f"chunks of {chunk} pixels do not divide shards of {tile}; "
            f"give a divisor of {tile}, for example {_chunk_side(tile, None)}"
        )
    return chunk


def _write_coordinates(group: zarr.Group, geobox: GeoBox) -> None:
    from odc.geo.xr import xr_coords  # noqa: PLC0415  (slow to import, and files do not need it)

    for name, coord in xr_coords(geobox, dims=("y", "x")).items():
        values = np.asarray(coord.values)
        array = group.create_array(
            str(name),
            shape=values.shape,
            dtype=values.dtype,
            chunks=values.shape,
            dimension_names=tuple(map(str, coord.dims)),
            attributes=_json_safe(coord.attrs),
        )
        array[...] = values


def _json_safe(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Drop numbers that are not finite, which JSON cannot hold, and turn numpy into Python."""
    plain = {
        key: value.tolist() if isinstance(value, np.generic | np.ndarray) else value
        for key, value in attrs.items()
    }
    return {key: value for key, value in plain.items() if _is_finite(value)}


def _is_finite(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list | tuple):
        return all(map(_is_finite, value))
    return True


def write_region(store: str | Path, blocks: Mapping[str, NDArray[Any]], yx: tuple[slice, slice]) -> None:
    """Write blocks of values to a window of a store made by `write_template`.

    Parameters
    ----------
    store
        Folder or address of the store.
    blocks
        Values by variable, shape (y, x) of the window; NaN where missing.
    yx
        Slices along y and x that start and end on multiples of the shard, or at the edge.

    Raises
    ------
    InputError
        If the window cuts a shard, a block does not have its shape, or a variable is unknown.
    EncodingError
        If values do not fit the data type of their variable.
    """
    import zarr  # noqa: PLC0415  (slow to import, and files do not need it)

    group = zarr.open_group(str(store), mode="r+", zarr_format=3)
    for name, block in blocks.items():
        if name not in group:
            raise InputError(f"the store has no variable {name!r}; it has {sorted(group.keys())}")
        array = group[name]
        assert isinstance(array, zarr.Array)  # noqa: S101  (made by write_template)
        window = _window(yx, (array.shape[0], array.shape[1]))
        _require_shape(block, window)
        _require_whole_shards(window, array)
        attrs = dict(array.attrs)
        stored = ZarrVariable(str(array.dtype), attrs, _fill_of(array, attrs)).encoding(name)
        array[window] = stored.encode(block)


def _fill_of(array: zarr.Array[Any], attrs: Mapping[str, Any]) -> float | None:
    if array.dtype.kind == "f":
        return math.nan
    return attrs.get("_FillValue")


def _require_whole_shards(window: tuple[slice, slice], array: zarr.Array[Any]) -> None:
    sides: Iterable[int] = array.shards or array.chunks
    for part, side, size in zip(window, sides, array.shape, strict=True):
        if part.start % side or (part.stop % side and part.stop != size):
            raise InputError(
                f"the window {part.start}..{part.stop} cuts a shard of {side} pixels, and writers "
                f"of one shard would overwrite each other; start and end on multiples of {side}, "
                f"or at the edge ({size})"
            )

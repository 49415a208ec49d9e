"""Lazy reading of raster files onto a grid.

Nothing is read before a window is asked for, and then only that window. Files are opened when they
are first read and stay open, a bounded number of them, so that GDAL's block cache serves windows
that overlap; sources can be pickled, because they know only addresses. Every read is at full
resolution: overviews are never used.

How a band reaches the target grid
    * Grids coincide, to 0.01 target pixel over the scene: the values are copied.
    * Every target pixel lies inside one source pixel of an aligned grid that is an integer times
      coarser: the values are repeated.
    * The source pixel is at most two thirds of the target pixel: area-weighted mean of the source
      pixels, missing where less than half of the target pixel is covered.
    * Otherwise: bilinear, missing where the source pixel under the target pixel's centre is. Cubic
      convolution in its place, where reflectance is moved to fit the LST: it keeps more detail.

The source position of a target pixel is computed from its place in the whole grid, across CRS by
exact transformation of its centre, so a window equals the same part of the whole bit for bit.
Across CRS the mean is taken over an upright box of the size of a target pixel as seen at the
scene centre; the rotation between the projections is left out.

South-up files are turned to north-up while they are read; that reverses rows and is exact.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import re
import threading
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.windows import Window

from lstzoom.errors import GridMismatchError, InputError, UnitsError
from lstzoom.grid import describe_grid, is_sheared
from lstzoom.kernels.resample import Method, Taps, resample_axes, resample_points, shifted, taps
from lstzoom.types import LST_ATTRS, YX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import dask.array as da
    import xarray as xr
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

Chunks: TypeAlias = int | tuple[int, int]
Resampling: TypeAlias = Literal["auto", "nearest", "cubic"]
LstUnits: TypeAlias = Literal["auto", "K", "C"]

DEFAULT_CHUNK: Final = 2048
_ALIGNED: Final = 0.01
FINER: Final = 1.5
_OPEN_FILES: Final = 64
_SHORT: Final = ("uint8", "int8", "uint16", "int16")
# Larger reads are split, so that a source far finer than the target keeps memory flat.
_MAX_SOURCE_PIXELS: Final = 1 << 22
# Across CRS every target pixel has its own indices and weights, some 100 bytes of them.
_MAX_POINTS: Final = 1 << 20
_ARCHIVE: Final = re.compile(r"/vsizip/\{([^{}]*)\}/")
_QUERY: Final = re.compile(r"(https?://[^\s?'\"}]*)\?[^\s'\"}!]*")
_ZERO_CELSIUS: Final = 273.15
# Surface temperatures on Earth, with room for craters and cloud tops.
KELVIN_RANGE: Final = (150.0, 700.0)
"""What can be the temperature of a surface."""
_CELSIUS: Final = (-120.0, 130.0)
# Reflectance stays below, sun glint and snow included.
_REFLECTANCE: Final = 1.6
KELVIN_NAMES: Final = frozenset({"k", "kelvin", "kelvins", "degk", "deg_k"})
"""How files spell kelvin, in lower case."""
_CELSIUS_NAMES: Final = frozenset(
    {"c", "°c", "degc", "deg_c", "celsius", "degree_celsius", "degrees_celsius", "degrees celsius"}
)


@dataclass(frozen=True, slots=True)
class RasterSource:
    """One band of a file, as its header describes it.

    Attributes
    ----------
    path
        Path, or any address that GDAL and rasterio open.
    band
        Number of the band, from 1.
    geobox
        Grid of the file, always north-up.
    dtype
        Data type in the file.
    scale, offset
        Value = scale x stored number + offset; nodata is a stored number.
    nodata
        Stored number that marks missing pixels. NaN and infinity are missing in any case.
    description, units
        From the file; empty where it says nothing.
    south_up
        The file's rows run from south to north.
    masked
        The file carries a mask or alpha band, which is honoured.
    fingerprint
        Size, time of change and inode of a local file: keys of dask, and what is kept open, change with
        the file.
    driver
        GDAL's driver that opens the file; empty for any. What others name is opened with one, because some
        formats name further files, as a VRT does.
    """

    path: str
    band: int
    geobox: GeoBox
    dtype: str
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    description: str = ""
    units: str = ""
    south_up: bool = False
    masked: bool = False
    fingerprint: str = ""
    driver: str = ""

    def __dask_tokenize__(self) -> tuple[object, ...]:
        """Return what tells this band from another, the same in every process."""
        return (
            "lstzoom.RasterSource",
            self.path,
            self.band,
            _grid_token(self.geobox),
            self.dtype,
            self.scale,
            self.offset,
            repr(self.nodata),
            self.south_up,
            self.masked,
            self.fingerprint,
        )


def _grid_token(grid: GeoBox) -> tuple[object, ...]:
    return (str(grid.crs), tuple(grid.affine)[:6], tuple(grid.shape))


def describe(
    path: str | Path,
    *,
    nodata: float | None = None,
    codes: bool = False,
    driver: str = "",
) -> tuple[RasterSource, ...]:
    """Read the header of a file.

    Parameters
    ----------
    path
        Path, or an address that rasterio opens.
    nodata
        Stored number that marks missing pixels, in place of the file's own tags.
    codes
        The bands are masks of codes: the fourth of four bytes, which GDAL calls alpha unless told
        otherwise, is one of them.
    driver
        GDAL's driver that opens the file; by default any.

    Returns
    -------
    tuple of RasterSource
        One per band, without alpha bands.

    Raises
    ------
    InputError
        If the file cannot be opened, or holds complex numbers.
    GridMismatchError
        If it has no CRS, or is rotated or sheared.
    """
    address = str(path)
    with _opened(address, driver) as dataset:
        geobox, south_up = _geobox_of(dataset, address)
        return tuple(
            replace(
                _source(dataset, address, band, geobox, south_up=south_up, nodata=nodata, codes=codes),
                driver=driver,
            )
            for band in dataset.indexes
            if codes or dataset.colorinterp[band - 1] is not ColorInterp.alpha
        )


@contextmanager
def _opened(path: str, driver: str) -> Iterator[Any]:
    with _open(path, driver) as dataset:
        yield dataset


class _LostTags(logging.Filter):
    """Hears what GDAL says of headers that it could not read whole, in each thread for itself.

    GDAL opens a file whose header is cut short, without what it has not got of it: nodata, scale, CRS, masks.
    """

    def __init__(self) -> None:
        super().__init__()
        self._heard = threading.local()
        self._logger = logging.getLogger("rasterio._env")
        self._logger.addFilter(self)

    def listen(self) -> None:
        """Begin anew, and make sure that there is something to hear."""
        self._heard.message = ""
        if not self._logger.isEnabledFor(logging.INFO):
            self._logger.setLevel(logging.INFO)

    @property
    def message(self) -> str:
        """What has been heard since; empty if all is well."""
        return getattr(self._heard, "message", "")

    def filter(self, record: logging.LogRecord) -> bool:
        """Remember the record; let pass what would be logged without us."""
        said = record.getMessage()
        if any(sign in said for sign in _CUT_SHORT):
            self._heard.message = said
        parent = self._logger.parent
        return parent is None or record.levelno >= parent.getEffectiveLevel()


_CUT_SHORT: Final = ("IO error during reading of", "Failed to read directory at offset")
_LOST_TAGS: Final = _LostTags()


def _open(path: str, driver: str = "") -> Any:  # noqa: ANN401
    try:
        _LOST_TAGS.listen()
        dataset = rasterio.open(path, driver=driver or None)
        if not _LOST_TAGS.message:
            return dataset
        dataset.close()
        raise InputError(
            f"the header of {shown(path)!r} cannot be read whole, so nodata, scale or CRS may be lost: "
            f"{shown(_LOST_TAGS.message)}; the file may be cut short"
        )
    except RasterioError as error:
        told = str(error).removeprefix(f"{path}: ").rstrip(".")
        raise InputError(
            f"cannot open the raster {shown(path)!r}: {shown(told)}; check the path, the format and, "
            "for remote files, the access"
        ) from error


@dataclass(slots=True)
class _OpenFile:
    """A dataset, which one thread may use at a time."""

    dataset: Any
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Files:
    """Datasets that stay open between reads, the least recently used of too many closed.

    All threads share one dataset of a file, because what GDAL has decoded is kept with the dataset:
    a window finds the blocks that its neighbour has read, whichever thread that was. A file that was
    replaced is told by its fingerprint.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.forget()
        # What a child inherits shares its position in the file with the parent's.
        os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        self._files: OrderedDict[tuple[str, str, str], _OpenFile] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def borrow(self, source: RasterSource) -> Iterator[Any]:
        """Give the dataset of a source to this thread alone."""
        while True:
            file = self._get(source.path, source.fingerprint, source.driver)
            with file.lock:
                # Another thread may have closed it in favour of its own files.
                if not file.dataset.closed:
                    try:
                        yield file.dataset
                    except RasterioError:
                        # What has failed may be well again, and is then opened anew.
                        file.dataset.close()
                        raise
                    return

    def _get(self, path: str, fingerprint: str, driver: str) -> _OpenFile:
        key = path, fingerprint, driver
        with self._lock:
            file = self._files.pop(key, None)
            if file is None or file.dataset.closed:
                file = _OpenFile(_open(path, driver))
            self._files[key] = file
            surplus = [self._files.popitem(last=False)[1] for _ in range(len(self._files) - self._limit)]
        for one in surplus:
            with one.lock:
                one.dataset.close()
        return file

    def close(self) -> None:
        """Close all datasets, each when no thread is reading it."""
        with self._lock:
            files, self._files = self._files, OrderedDict()
        for file in files.values():
            with file.lock:
                file.dataset.close()

    def close_idle(self) -> None:
        """Close the datasets that no thread is reading, and wait for none."""
        for file in list(self._files.values()):
            if file.lock.acquire(blocking=False):
                try:
                    file.dataset.close()
                finally:
                    file.lock.release()


_FILES = _Files(_OPEN_FILES)
# Left to the end of the interpreter, GDAL's last words meet a logging that is gone: Python 3.12 prints
# "Error in sys.excepthook" for every file. Threads that still read then are daemons, and may never be done.
atexit.register(_FILES.close_idle)


def close_files() -> None:
    """Close the files that stay open between reads; the next read opens them again."""
    _FILES.close()


def shown(text: str) -> str:
    """Return a text without the queries of URLs, which may hold a signature: that belongs in no message.

    Examples
    --------
    >>> shown("cannot read '/vsizip/{/vsicurl/https://host/x.zip?sig=secret}/lst.tiff': 403")
    "cannot read '/vsizip/{/vsicurl/https://host/x.zip}/lst.tiff': 403"
    """
    return _QUERY.sub(r"\1", text)


def _geobox_of(dataset: Any, path: str) -> tuple[GeoBox, bool]:  # noqa: ANN401
    affine, shape = dataset.transform, YX(*dataset.shape)
    if dataset.crs is None:
        raise GridMismatchError(
            f"{shown(path)!r} (shape {shape.y} x {shape.x}) has no CRS; set it with "
            "gdal_edit.py -a_srs EPSG:..."
        )
    if affine.is_identity or affine.a <= 0 or is_sheared(affine, shape):
        raise GridMismatchError(
            f"{shown(path)!r} is rotated or sheared, runs from east to west, or has no geotransform "
            f"({tuple(affine)[:6]}); warp it to a north-up grid first, for example with gdalwarp"
        )
    south_up = affine.e > 0
    top = affine.f + affine.e * shape.y if south_up else affine.f
    upright = Affine(affine.a, 0, affine.c, 0, -abs(affine.e), top)
    return GeoBox(shape, upright, dataset.crs), south_up


def file_affine(source: RasterSource) -> Affine:
    """Return the geotransform as it stands in the file; that of ``source.geobox`` is always north-up."""
    affine, rows = source.geobox.affine, source.geobox.shape.y
    if not source.south_up:
        return affine
    return Affine(affine.a, 0, affine.c, 0, -affine.e, affine.f + affine.e * rows)


def _source(
    dataset: Any,  # noqa: ANN401
    path: str,
    band: int,
    geobox: GeoBox,
    *,
    south_up: bool,
    nodata: float | None,
    codes: bool,
) -> RasterSource:
    dtype = dataset.dtypes[band - 1]
    if dtype.startswith("complex"):
        raise InputError(f"band {band} of {shown(path)!r} is {dtype}; real numbers are needed")
    flags = dataset.mask_flag_enums[band - 1]
    return RasterSource(
        path=path,
        band=band,
        geobox=geobox,
        dtype=dtype,
        scale=float(dataset.scales[band - 1]),
        offset=float(dataset.offsets[band - 1]),
        nodata=dataset.nodatavals[band - 1] if nodata is None else nodata,
        description=dataset.descriptions[band - 1] or "",
        units=dataset.units[band - 1] or "",
        south_up=south_up,
        masked=(MaskFlags.alpha not in flags and MaskFlags.per_dataset in flags)
        or (MaskFlags.alpha in flags and not codes),
        fingerprint=_fingerprint(path),
    )


def _fingerprint(path: str) -> str:
    archive = _ARCHIVE.match(path)
    local = Path(archive[1] if archive else path)
    if not local.is_file():
        return ""
    status = local.stat()
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ino}"


class _Axis(NamedTuple):
    """Map of one axis: source edge coordinate = scale x target edge coordinate + shift."""

    scale: float
    shift: float


class Sampling(NamedTuple):
    """Source positions of a window of the target."""

    rows: Taps
    columns: Taps
    method: Method
    separable: bool

    def read_span(self, shape: YX) -> tuple[slice, slice]:
        """Rows and columns of a source of that shape that are needed."""
        return slice(*self.rows.span(shape.y)), slice(*self.columns.span(shape.x))

    def apply(self, data: NDArray[np.float32], origin: YX) -> NDArray[np.float32]:
        """Resample a part of the source that begins at `origin`."""
        if self._copies(data, origin):
            return data
        resample = resample_axes if self.separable else resample_points
        return resample(data, shifted(self.rows, origin.y), shifted(self.columns, origin.x), self.method)

    def _copies(self, data: NDArray[np.float32], origin: YX) -> bool:
        """Tell whether the part of the source is the window of the target as it stands."""
        if self.method != "nearest" or not self.separable:
            return False
        axes = zip((self.rows, self.columns), origin, data.shape, strict=True)
        return all(np.array_equal(one.centre, np.arange(at, at + size)) for one, at, size in axes)


def sampling(source: GeoBox, target: GeoBox, resampling: Resampling, rows: slice, columns: slice) -> Sampling:
    """Find the source positions of a window; only the whole grids decide how."""
    if source.crs != target.crs:
        return _sampling_across_crs(source, target, resampling, rows, columns)
    y = _axis(source.affine.e, source.affine.f, target.affine.e, target.affine.f)
    x = _axis(source.affine.a, source.affine.c, target.affine.a, target.affine.c)
    y, exact_y = _snapped(y, target.shape.y)
    x, exact_x = _snapped(x, target.shape.x)
    method = _method(resampling, max(x.scale, y.scale), replicate=exact_x and exact_y)
    return Sampling(
        taps(y.scale * _centres(rows) + y.shift, y.scale, method),
        taps(x.scale * _centres(columns) + x.shift, x.scale, method),
        method,
        separable=True,
    )


def _centres(part: slice) -> NDArray[np.float64]:
    return np.arange(part.start, part.stop) + 0.5


def _axis(source_step: float, source_origin: float, step: float, origin: float) -> _Axis:
    return _Axis(step / source_step, (origin - source_origin) / source_step)


def _snapped(axis: _Axis, size: int) -> tuple[_Axis, bool]:
    """Take out rounding from the map; tell whether each target pixel lies in one source pixel."""
    for fine, coarse in ((round(1 / axis.scale), 1), (1, round(axis.scale))):
        if min(fine, coarse) < 1:
            continue
        near = _Axis(coarse / fine, round(axis.shift * fine) / fine)
        ends = (axis.shift - near.shift, (axis.scale - near.scale) * size + axis.shift - near.shift)
        if max(map(abs, ends)) < _ALIGNED * axis.scale:
            return near, coarse == 1
    return axis, False


def _method(resampling: Resampling, scale: float, *, replicate: bool) -> Method:
    if replicate or resampling == "nearest":
        return "nearest"
    if scale >= FINER:
        return "average"
    return "cubic" if resampling == "cubic" else "bilinear"


def _sampling_across_crs(
    source: GeoBox, target: GeoBox, resampling: Resampling, rows: slice, columns: slice
) -> Sampling:
    size = _target_pixel_in_source(source, target)
    method = _method(resampling, max(size), replicate=False)
    column, row = np.meshgrid(_centres(columns), _centres(rows))
    x, y = _source_position(source, target, column, row)
    return Sampling(taps(y, size[1], method), taps(x, size[0], method), method, separable=False)


def _source_position(
    source: GeoBox, target: GeoBox, column: NDArray[np.float64], row: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Transform target pixel coordinates to source pixel coordinates, point by point."""
    assert source.crs is not None  # noqa: S101  (refused when the source was described)
    assert target.crs is not None  # noqa: S101  (refused by LazyRaster)
    to_source = target.crs.transformer_to_crs(source.crs)
    x, y = to_source(target.affine.c + target.affine.a * column, target.affine.f + target.affine.e * row)
    return (x - source.affine.c) / source.affine.a, (y - source.affine.f) / source.affine.e


def _target_pixel_in_source(source: GeoBox, target: GeoBox) -> tuple[float, float]:
    """Width and height of a target pixel in source pixels at the scene centre."""
    rows, columns = target.shape
    column = columns / 2 + np.array([0.0, 1.0, 0.0])
    row = rows / 2 + np.array([0.0, 0.0, 1.0])
    x, y = _source_position(source, target, column, row)
    width = math.hypot(x[1] - x[0], y[1] - y[0])
    height = math.hypot(x[2] - x[0], y[2] - y[0])
    if not math.isfinite(width * height):
        raise GridMismatchError(
            f"the target grid {describe_grid(target)} lies outside of where the CRS of the file "
            f"grid {describe_grid(source)} is defined; check the CRS of both"
        )
    return width, height


@dataclass(frozen=True)
class LazyStack:
    """Bands of files on one grid, read when sliced.

    Parameters
    ----------
    sources
        One per band.
    grid
        Target grid, north-up with a CRS.
    resampling
        ``"auto"``, see the module; ``"cubic"``, the same with cubic convolution in place of bilinear; or
        ``"nearest"``.

    Notes
    -----
    Shape (band, y, x), float32, NaN where missing; scale and offset are applied. Raises
    `InputError`, naming file and window, where a read fails.
    """

    sources: tuple[RasterSource, ...]
    grid: GeoBox
    resampling: Resampling = "auto"

    ndim = 3
    dtype = np.dtype(np.float32)

    def __post_init__(self) -> None:
        """Refuse a grid that cannot be read onto."""
        _require_target(self.grid)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows, columns."""
        return len(self.sources), self.grid.shape.y, self.grid.shape.x

    @property
    def stored_bytes(self) -> float:
        """Bytes in the files, decoded, behind one pixel of the grid."""
        return sum(_bytes_behind(source, self.grid) for source in self.sources)

    def __getitem__(self, key: Any) -> NDArray[np.float32]:  # noqa: ANN401
        """Read what numpy's basic indexing, or one list per axis, selects: float32."""
        (bands, b), (rows, r), (columns, c) = _windows(key, self.shape)
        sources = self.sources[bands]
        shape = (len(sources), rows.stop - rows.start, columns.stop - columns.start)
        out = np.empty(shape, np.float32)
        _read_into(out, sources, self.grid, self.resampling, (rows, columns))
        return out[:, :, c][:, r][b]

    def read_into(self, out: NDArray[np.float32], rows: slice, columns: slice) -> None:
        """Read a window of all bands into an array of its shape, without a copy in between."""
        _read_into(out, self.sources, self.grid, self.resampling, (rows, columns))

    def __dask_tokenize__(self) -> tuple[object, ...]:
        """Return what tells this stack from another, the same in every process."""
        return (
            "lstzoom.LazyStack",
            tuple(source.__dask_tokenize__() for source in self.sources),
            _grid_token(self.grid),
            self.resampling,
        )


@dataclass(frozen=True)
class LazyRaster:
    """One band of a file on one grid, read when sliced: `LazyStack` without the band axis."""

    source: RasterSource
    grid: GeoBox
    resampling: Resampling = "auto"

    ndim = 2
    dtype = np.dtype(np.float32)

    def __post_init__(self) -> None:
        """Refuse a grid that cannot be read onto."""
        _require_target(self.grid)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.grid.shape.y, self.grid.shape.x

    def __getitem__(self, key: Any) -> NDArray[np.float32]:  # noqa: ANN401
        """Read what numpy's basic indexing, or one list per axis, selects: float32."""
        (rows, r), (columns, c) = _windows(key, self.shape)
        stack = LazyStack((self.source,), self.grid, self.resampling)
        values: NDArray[np.float32] = stack[:, rows, columns][0][:, c][r]
        return values

    def read_into(self, out: NDArray[np.float32], rows: slice, columns: slice) -> None:
        """Read a window into an array of its shape, without a copy in between."""
        _read_into(out[np.newaxis], (self.source,), self.grid, self.resampling, (rows, columns))

    def __dask_tokenize__(self) -> tuple[object, ...]:
        """Return what tells this raster from another, the same in every process."""
        return (
            "lstzoom.LazyRaster",
            self.source.__dask_tokenize__(),
            _grid_token(self.grid),
            self.resampling,
        )


@dataclass(frozen=True)
class LazyMask:
    """A mask on one grid, read when sliced: True where the file holds one of some values.

    Parameters
    ----------
    raster
        File with the mask.
    clear
        Values of usable pixels.
    """

    raster: LazyRaster
    clear: tuple[int, ...]

    ndim = 2
    dtype = np.dtype(np.bool_)

    @classmethod
    def of(cls, source: RasterSource, grid: GeoBox, clear: Sequence[int]) -> LazyMask:
        """Make a mask of a band of codes: neither scaled, nor missing where they are listed."""
        source = replace(source, scale=1.0, offset=0.0)
        if source.nodata in clear:
            source = replace(source, nodata=None, masked=False)
        return cls(LazyRaster(source, grid, "nearest"), tuple(clear))

    @property
    def grid(self) -> GeoBox:
        """Grid of the mask."""
        return self.raster.grid

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.raster.shape

    def __getitem__(self, key: Any) -> NDArray[np.bool_]:  # noqa: ANN401
        """Read what numpy's basic indexing, or one list per axis, selects: bool."""
        return np.isin(self.raster[key], np.asarray(self.clear, np.float32))

    def read_into(self, out: NDArray[np.bool_], rows: slice, columns: slice) -> None:
        """Read a window into an array of its shape."""
        out[...] = self[rows, columns]

    def __dask_tokenize__(self) -> tuple[object, ...]:
        """Return what tells this mask from another, the same in every process."""
        return ("lstzoom.LazyMask", self.raster.__dask_tokenize__(), self.clear)


def _bytes_behind(source: RasterSource, grid: GeoBox) -> float:
    """Bytes of a source under one pixel of a grid; about, where CRS differ."""
    if source.geobox.crs == grid.crs:
        size: tuple[float, ...] = (
            grid.affine.a / source.geobox.affine.a,
            grid.affine.e / source.geobox.affine.e,
        )
    else:
        size = _target_pixel_in_source(source.geobox, grid)
    return np.dtype(source.dtype).itemsize * abs(math.prod(size))


def _require_target(grid: GeoBox) -> None:
    if grid.crs is None or grid.affine.e >= 0 or is_sheared(grid.affine, YX(*grid.shape)):
        raise GridMismatchError(
            f"cannot read onto the grid {describe_grid(grid)}: a north-up grid with a CRS is needed"
        )


def _windows(key: Any, shape: tuple[int, ...]) -> list[tuple[slice, Any]]:  # noqa: ANN401
    """Split an index, by axis, into the window to read and what to take from it.

    Dask merges the slicing of an array into its reads, so that integers, steps and lists arrive.
    """
    parts = list(key) if isinstance(key, tuple) else [key]
    at = next((k for k, part in enumerate(parts) if part is Ellipsis), len(parts))
    after = parts[at + 1 :]
    between = [slice(None)] * (len(shape) - at - len(after))
    return [_axis_window(*one) for one in zip([*parts[:at], *between, *after], shape, strict=True)]


def _axis_window(part: Any, size: int) -> tuple[slice, Any]:  # noqa: ANN401
    wanted = np.arange(size)[part]
    if wanted.size == 0:
        return slice(0, 0), slice(None)
    start = int(wanted.min())
    window = slice(start, int(wanted.max()) + 1)
    plain = isinstance(part, slice) and part.step in (None, 1)
    return window, slice(None) if plain else wanted - start


def _read_into(
    out: NDArray[np.float32],
    sources: Sequence[RasterSource],
    grid: GeoBox,
    resampling: Resampling,
    window: tuple[slice, slice],
) -> None:
    """Fill ``out`` (band, y, x), one grid of sources after another."""
    rows, columns = window
    if out.size == 0:
        return
    for geobox in dict.fromkeys(source.geobox for source in sources):
        bands = [k for k, one in enumerate(sources) if one.geobox == geobox]
        for top, bottom in _strips(geobox, grid, rows, columns):
            strip = slice(rows.start + top, rows.start + bottom)
            how = sampling(geobox, grid, resampling, strip, columns)
            span = how.read_span(YX(*geobox.shape))
            origin = YX(span[0].start, span[1].start)
            for k in bands:
                out[k, top:bottom] = how.apply(_read_window(sources[k], *span), origin)


def _strips(source: GeoBox, target: GeoBox, rows: slice, columns: slice) -> Iterator[tuple[int, int]]:
    """Cut the rows of a window so that one strip needs a bounded number of source pixels."""
    count, across = rows.stop - rows.start, columns.stop - columns.start
    step = count
    if source.crs == target.crs:
        width = target.affine.a / source.affine.a
        height = target.affine.e / source.affine.e
    else:
        width, height = _target_pixel_in_source(source, target)
        step = _MAX_POINTS // across
    per_row = across * max(width, 1.0) * max(height, 1.0)
    step = max(1, min(count, step, int(_MAX_SOURCE_PIXELS / per_row)))
    for top in range(0, count, step):
        yield top, min(top + step, count)


def _read_window(source: RasterSource, rows: slice, columns: slice) -> NDArray[np.float32]:
    """Read part of a band at full resolution: float32, scaled, NaN where missing."""
    height, width = rows.stop - rows.start, columns.stop - columns.start
    if height == 0 or width == 0:
        return np.empty((height, width), np.float32)
    top = source.geobox.shape.y - rows.stop if source.south_up else rows.start
    window = Window(columns.start, top, width, height)
    try:
        with _FILES.borrow(source) as dataset:
            stored = dataset.read(source.band, window=window)
            present = dataset.read_masks(source.band, window=window) > 0 if source.masked else None
    except RasterioError as error:
        raise InputError(
            f"cannot read band {source.band} of {shown(source.path)!r} in the window rows "
            f"{rows.start}..{rows.stop}, columns {columns.start}..{columns.stop}: {_why(error)}; "
            "the file may be truncated or, if remote, out of reach"
        ) from error
    values = _cleaned(stored, present, source)
    return values[::-1] if source.south_up else values


def _why(error: RasterioError) -> str:
    """Repeat what GDAL said: rasterio's own words only lead to it."""
    return shown(str(error.__cause__ or error)).rstrip(".")


def _cleaned(
    stored: NDArray[Any], present: NDArray[np.bool_] | None, source: RasterSource
) -> NDArray[np.float32]:
    """Apply nodata, then scale and offset; what is not finite becomes NaN."""
    if present is not None or stored.size <= _LISTED.get(stored.dtype, stored.size):
        return _values(stored, present, source.nodata, source.scale, source.offset)
    # There are fewer numbers than pixels: each is worked out once.
    table = _table(stored.dtype, source.nodata, source.scale, source.offset)
    return np.take(table, stored.view(f"u{stored.itemsize}"))


_LISTED: Final = {np.dtype(name): 1 << 8 * np.dtype(name).itemsize for name in _SHORT}


@lru_cache(maxsize=16)
def _table(dtype: np.dtype[Any], nodata: float | None, scale: float, offset: float) -> NDArray[np.float32]:
    """Values of all numbers that a short data type can store, by their bits."""
    every = np.arange(_LISTED[dtype], dtype=f"u{dtype.itemsize}").view(dtype)
    return _values(every, None, nodata, scale, offset)


def _values(
    stored: NDArray[Any],
    present: NDArray[np.bool_] | None,
    nodata: float | None,
    scale: float,
    offset: float,
) -> NDArray[np.float32]:
    missing = _is_nodata(stored, nodata)
    if present is not None:
        missing |= ~present
    with np.errstate(over="ignore", invalid="ignore"):
        if (scale, offset) == (1.0, 0.0):
            values = stored.astype(np.float32)
        else:
            values = (stored.astype(np.float64) * scale + offset).astype(np.float32)
    missing |= ~np.isfinite(values)
    values[missing] = np.nan
    return values


def _is_nodata(stored: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    if nodata is None or math.isnan(nodata):
        return np.zeros(stored.shape, np.bool_)
    if stored.dtype.kind == "f":
        # A tag keeps few digits of numbers like -3.4028235e38, and float32 data rounds them.
        with np.errstate(over="ignore"):
            return np.asarray(np.isclose(stored, stored.dtype.type(nodata), rtol=1e-6, atol=0.0))
    return np.asarray(stored == nodata)


def open_stack(
    paths: str | Path | Sequence[str | Path],
    grid: GeoBox,
    bands: Sequence[int] | None = None,
    chunks: Chunks | None = None,
    nodata: float | None = None,
    *,
    resampling: Resampling = "auto",
) -> xr.DataArray:
    """Open bands on one grid, lazily.

    Parameters
    ----------
    paths
        One file with several bands, or several files; their grids may differ.
    grid
        Grid to put the bands on.
    bands
        Numbers of the bands to take from every file, from 1; default all.
    chunks
        Pixels along y and x of a dask chunk, one number or (y, x); default 2048. A chunk holds
        all bands and is one task.
    nodata
        Stored number that marks missing pixels, in place of the files' own tags.
    resampling
        As for `LazyStack`.

    Returns
    -------
    xarray.DataArray
        float32, dimensions (band, y, x), NaN where missing, scale and offset applied. Bands are
        named after their description, or the file. ``attrs["native_resolution"]`` lists the
        pixel size of each band in its own file and the units of its own CRS.

    Raises
    ------
    InputError
        If a file cannot be opened or has no such band. Reading raises it, too.
    GridMismatchError
        If a file has no CRS, is rotated or sheared.
    """
    stack = LazyStack(_sources(paths, bands, nodata), grid, resampling)
    return as_xarray(stack, band_names(stack.sources), chunks=chunks)


def as_xarray(stack: LazyStack, names: Sequence[str], *, chunks: Chunks | None = None) -> xr.DataArray:
    """Give bands of files on one grid as a lazy xarray.

    Parameters
    ----------
    stack
        The bands.
    names
        Of the bands.
    chunks
        As for `open_stack`.

    Returns
    -------
    xarray.DataArray
        As of `open_stack`.
    """
    array = _dask(stack, (len(stack.sources), *_chunk_shape(chunks)))
    resolutions = [float(source.geobox.affine.a) for source in stack.sources]
    return _on_grid(array, stack.grid, "vnir", {"native_resolution": resolutions}, list(names))


def _sources(
    paths: str | Path | Sequence[str | Path], bands: Sequence[int] | None, nodata: float | None
) -> tuple[RasterSource, ...]:
    many = [paths] if isinstance(paths, str | Path) else list(paths)
    found = [source for path in many for source in _selected(describe(path, nodata=nodata), bands, path)]
    if not found:
        raise InputError("no band was given; name at least one file")
    return tuple(found)


def _selected(
    sources: tuple[RasterSource, ...], bands: Sequence[int] | None, path: str | Path
) -> list[RasterSource]:
    if bands is None:
        return list(sources)
    by_number = {source.band: source for source in sources}
    absent = [band for band in bands if band not in by_number]
    if absent:
        raise InputError(f"{shown(str(path))!r} has no band {absent}; it has {sorted(by_number)}")
    return [by_number[band] for band in bands]


def band_names(sources: Sequence[RasterSource]) -> list[str]:
    """Name bands after description or file, made unique by file, then by count.

    Parameters
    ----------
    sources
        All bands that are used together.

    Returns
    -------
    list of str
        One for each, all different.
    """
    names = [source.description or _stem(source, sources) for source in sources]
    if len(set(names)) < len(names):
        names = [
            f"{Path(shown(source.path)).stem}_{name}"
            if names.count(name) > 1 and source.description
            else name
            for source, name in zip(sources, names, strict=True)
        ]
    taken: set[str] = set()
    return [_unique(name, taken) for name in names]


def _stem(source: RasterSource, sources: Sequence[RasterSource]) -> str:
    stem = _file_stem(source)
    alone = sum(other.path == source.path for other in sources) == 1
    return stem if alone else f"{stem}_{source.band}"


def _file_stem(source: RasterSource) -> str:
    return Path(shown(source.path)).stem


def _unique(name: str, taken: set[str]) -> str:
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate


def _chunk_shape(chunks: Chunks | None) -> tuple[int, int]:
    if chunks is None:
        return DEFAULT_CHUNK, DEFAULT_CHUNK
    return (chunks, chunks) if isinstance(chunks, int) else chunks


def _dask(lazy: LazyStack | LazyRaster | LazyMask, chunks: tuple[int, ...]) -> da.Array:
    """Wrap a lazy raster with the read inside each chunk's own task."""
    import dask.array as da  # noqa: PLC0415  (slow to import, and files do not need it)
    from dask.base import tokenize  # noqa: PLC0415  (slow to import, and files do not need it)

    return da.from_array(
        lazy,
        chunks=chunks,
        name=f"lstzoom-read-{tokenize(lazy, chunks)}",
        asarray=False,
        inline_array=True,
        meta=np.empty((0,) * lazy.ndim, lazy.dtype),
    )


def _on_grid(
    values: da.Array, grid: GeoBox, name: str, attrs: dict[str, Any], bands: list[str] | None = None
) -> xr.DataArray:
    """Give an array the coordinates of a grid, in the terms of odc-geo and rioxarray."""
    import xarray as xr  # noqa: PLC0415  (slow to import, and files do not need it)
    from odc.geo.xr import xr_coords  # noqa: PLC0415  (slow to import, and files do not need it)

    # Geographic grids would be named latitude and longitude otherwise.
    coords: dict[Any, Any] = dict(xr_coords(grid, dims=("y", "x")))
    dims = ["y", "x"]
    if bands is not None:
        coords["band"] = bands
        dims.insert(0, "band")
    array = xr.DataArray(values, coords=coords, dims=dims, name=name, attrs=attrs)
    array.encoding["grid_mapping"] = "spatial_ref"
    return array


def open_lst(
    path: str | Path,
    band: int = 1,
    units: LstUnits = "auto",
    *,
    chunks: Chunks | None = None,
    nodata: float | None = None,
    scale: float | None = None,
    offset: float | None = None,
) -> xr.DataArray:
    """Open land surface temperature on its own grid, lazily.

    Parameters
    ----------
    path
        File with the temperature.
    band
        Number of the band, from 1.
    units
        ``"K"``, ``"C"``, or ``"auto"``: the band's unit tag, else kelvin, checked on a sample.
    chunks
        Pixels along y and x of a dask chunk, one number or (y, x); default 2048.
    nodata
        Stored number that marks missing pixels, in place of the file's own tag.
    scale, offset
        Value = scale x stored number + offset, in place of the file's own tags.

    Returns
    -------
    xarray.DataArray
        float32 in kelvin, dimensions (y, x), NaN where missing.

    Raises
    ------
    InputError
        If the file cannot be opened or has no such band. Reading raises it, too.
    UnitsError
        If the values cannot be temperatures of the unit given, or of kelvin where none is.
    GridMismatchError
        If the file has no CRS, or is rotated or sheared.
    """
    lazy = lazy_lst(path, band, units, nodata=nodata, scale=scale, offset=offset)
    return lst_source(lazy.source, chunks)


def lst_source(source: RasterSource, chunks: Chunks | None = None) -> xr.DataArray:
    """Open a band that is known to be kelvin on its own grid, lazily; see `open_lst` for the result."""
    array = _dask(LazyRaster(source, source.geobox), _chunk_shape(chunks))
    return _on_grid(array, source.geobox, "lst", dict(LST_ATTRS))


def lazy_lst(
    path: str | Path,
    band: int = 1,
    units: LstUnits = "auto",
    *,
    nodata: float | None = None,
    scale: float | None = None,
    offset: float | None = None,
) -> LazyRaster:
    """Describe land surface temperature on its own grid, to be read a window at a time.

    Parameters
    ----------
    path, band, units, nodata, scale, offset
        As for `open_lst`, which raises the same.

    Returns
    -------
    LazyRaster
        Kelvin.
    """
    (source,) = _selected(describe(path, nodata=nodata), [band], path)
    if scale is not None:
        source = replace(source, scale=scale)
    if offset is not None:
        source = replace(source, offset=offset)
    if _units_of(source, units) == "C":
        source = replace(source, offset=source.offset + _ZERO_CELSIUS)
    return LazyRaster(source, source.geobox)


def _units_of(source: RasterSource, units: LstUnits) -> Literal["K", "C"]:
    """Decide on kelvin or Celsius, and refuse values that cannot be that."""
    tag = source.units.strip().lower()
    known: Literal["K", "C"]
    if units != "auto":
        known = units
    elif tag in _CELSIUS_NAMES:
        known = "C"
    else:
        known = "K"
    low, high = KELVIN_RANGE if known == "K" else _CELSIUS
    sample = _sample(source)
    if sample.size == 0:
        logger.warning("%s: no valid pixel in band %d; units not checked", shown(source.path), source.band)
    elif not low <= float(np.median(sample)) <= high:
        raise UnitsError(_units_message(source, units, known, sample))
    return known


def _units_message(source: RasterSource, units: LstUnits, known: str, sample: NDArray[np.float32]) -> str:
    median = float(np.median(sample))
    if known == "K" and sample.min() >= 0 and sample.max() <= _REFLECTANCE:
        remedy = (
            "they look like reflectance: LST comes first, then VNIR; if they are degrees Celsius, pass "
            "--lst-units C"
        )
    elif _CELSIUS[0] <= median <= _CELSIUS[1]:
        remedy = "if they are degrees Celsius, pass --lst-units C"
    elif KELVIN_RANGE[0] <= median <= KELVIN_RANGE[1]:
        remedy = "if they are kelvin, pass --lst-units K"
    else:
        remedy = (
            "they look like stored numbers without scale: give scale and offset "
            "(Landsat Collection 2 ST: 0.00341802 and 149)"
        )
    given = f"--lst-units {units}" + (f", unit tag {source.units!r}" if source.units else "")
    return (
        f"band {source.band} of {shown(source.path)!r} cannot be "
        f"{'kelvin' if known == 'K' else 'degrees Celsius'} ({given}): sampled values run from "
        f"{sample.min():.6g} to {sample.max():.6g}, median {median:.6g}; {remedy}"
    )


def _sample(source: RasterSource) -> NDArray[np.float32]:
    """Return valid values from a lattice of small windows, else from the first that has any."""
    lazy = LazyRaster(source, source.geobox)
    rows, columns = lazy.shape
    sparse = (
        lazy[y : y + 32, x : x + 32]
        for y in np.linspace(0, max(rows - 32, 0), 5, dtype=int).tolist()
        for x in np.linspace(0, max(columns - 32, 0), 5, dtype=int).tolist()
    )
    values = np.concatenate([window[np.isfinite(window)] for window in sparse])
    if values.size:
        return values
    for y in range(0, rows, 512):
        strip = lazy[y : y + 512, :]
        if np.isfinite(strip).any():
            return np.asarray(strip[np.isfinite(strip)])
    return values


def open_mask(
    path: str | Path,
    grid: GeoBox,
    *,
    clear_values: Sequence[int] | None = None,
    band: int = 1,
    chunks: Chunks | None = None,
) -> xr.DataArray:
    """Open a mask on a grid, lazily.

    Parameters
    ----------
    path
        File with the mask, on a grid of any resolution and CRS; read with nearest resampling.
    grid
        Grid to put the mask on, coarse or fine.
    clear_values
        Values of usable pixels. Without it 0 is usable, and anything else and nodata are not.
    band
        Number of the band, from 1.
    chunks
        Pixels along y and x of a dask chunk, one number or (y, x); default 2048.

    Returns
    -------
    xarray.DataArray
        bool, dimensions (y, x), True where usable; False outside of the file.

    Raises
    ------
    InputError
        If the file cannot be opened, has no such band, or declares 0 as nodata and
        ``clear_values`` is not given, because then no pixel could be usable.

    Notes
    -----
    A value in ``clear_values`` is usable even if the file declares it as nodata.
    """
    return _mask(lazy_mask(path, grid, clear_values=clear_values, band=band), chunks)


def mask_source(
    source: RasterSource, grid: GeoBox, clear_values: Sequence[int], chunks: Chunks | None = None
) -> xr.DataArray:
    """Open a band of codes that is already described on a grid, lazily; see `open_mask` for the result."""
    return _mask(LazyMask.of(source, grid, clear_values), chunks)


def _mask(lazy: LazyMask, chunks: Chunks | None) -> xr.DataArray:
    return _on_grid(_dask(lazy, _chunk_shape(chunks)), lazy.grid, "valid", {})


def lazy_mask(
    path: str | Path, grid: GeoBox, *, clear_values: Sequence[int] | None = None, band: int = 1
) -> LazyMask:
    """Describe a mask on a grid, to be read a window at a time.

    Parameters
    ----------
    path, grid, clear_values, band
        As for `open_mask`, which raises the same.

    Returns
    -------
    LazyMask
        True where usable.
    """
    (source,) = _selected(describe(path), [band], path)
    if clear_values is None and source.nodata == 0:
        raise InputError(
            f"the mask {shown(source.path)!r} declares 0 as nodata, and 0 is what marks usable pixels; "
            "say which values are usable, for example --mask-clear 0"
        )
    return LazyMask.of(source, grid, (0,) if clear_values is None else clear_values)

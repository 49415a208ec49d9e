"""One band of one remote file, read inside a task: signed there, opened there, checked there.

A read that fails is an error that names the file; it never becomes missing pixels. Resampling is that of
`lstzoom.raster`: computed from the position in the whole grid, so no chunk border can be seen, and never
from overviews.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError

from lstzoom.errors import EncodingError, GridMismatchError, InputError, LstzoomError, UnitsError
from lstzoom.grid import coincide, describe_grid
from lstzoom.raster import KELVIN_RANGE, LazyStack, RasterSource, Resampling, describe
from lstzoom.sources.allowed import driver_of, require_allowed
from lstzoom.sources.catalog import Access, Constants
from lstzoom.sources.diagnosis import diagnosis
from lstzoom.sources.encoding import Told, same_number, settle, to_kelvin
from lstzoom.sources.fetch import require_allowed_onward
from lstzoom.sources.redaction import plain, redact
from lstzoom.sources.signing import (
    forget_tokens,
    gdal_options,
    gdal_path,
    is_remote,
    keep_logs_clean,
    remember_failure,
    session_of,
    sign,
    signs,
)

logger = logging.getLogger(__name__)

_MOST_AGAIN: Final = 4
# Some odd pixels alone at an edge are no reason.
_FEW: Final = 64
_REFUSED: Final = ("HTTP status 401", "HTTP status 403")
_ABSENT: Final = ("HTTP status 400", "HTTP status 404", "HTTP status 410")

Window = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class RemoteBand:
    """One band of a file, as item and catalogue describe it.

    Attributes
    ----------
    name
        What it is called in results and messages.
    href
        Address, not signed.
    band
        Number of the band, from 1.
    grid
        Grid of the file, north-up; the file is held to it.
    told, constants
        Encoding by the item, and where neither item nor file tells.
    access
        How the file is reached.
    kind
        ``"values"``, ``"kelvin"``, or ``"codes"`` that are neither scaled nor missing.
    """

    name: str
    href: str
    band: int
    grid: GeoBox
    told: Told
    constants: Constants
    access: Access
    kind: str = "values"

    def __dask_tokenize__(self) -> tuple[object, ...]:
        """Return what tells this band from another, the same in every process and for every token."""
        return (
            "lstzoom.RemoteBand", self.name, plain(self.href), self.band, str(self.grid.crs),
            tuple(self.grid.affine)[:6], tuple(self.grid.shape), repr(self.told), repr(self.constants),
            self.kind,
        )  # fmt: skip


@contextmanager
def _reached(href: str, access: Access) -> Iterator[str]:
    """Sign an address, configure GDAL, and keep secrets out of what goes wrong."""
    keep_logs_clean()
    require_allowed(href, access.allow)
    signed = href
    try:
        signed = sign(href, access)
        require_allowed_onward(signed, access)
        with rasterio.Env(session=session_of(access), **gdal_options(access, href)):
            yield gdal_path(signed)
    except (LstzoomError, RasterioError) as error:
        remember_failure(href)
        message = redact(str(error).replace(gdal_path(href), plain(href)))
        kind = type(error) if isinstance(error, LstzoomError) else InputError
        if kind is InputError:
            message += diagnosis(signed, access)
        # Not chained: the original message holds the signed address.
        raise kind(message) from None


_Read = TypeVar("_Read")


def _again(href: str, access: Access, read: Callable[[], _Read]) -> _Read:
    """Read, and read anew what has failed: GDAL repeats requests that are refused, not bodies cut short.

    What is wrong with grids, encodings and units stays wrong, and is not tried again.
    """
    most = min(access.retries, _MOST_AGAIN) if is_remote(href) else 0
    pause = float(os.environ.get("GDAL_HTTP_RETRY_DELAY", "0.5"))
    for attempt in range(most + 1):
        try:
            return read()
        except InputError as error:
            if attempt == most or type(error) is not InputError or _is_final(str(error), href, access):
                raise
            logger.info("%s: read again after %s", plain(href), error)
            # Tasks that failed together do not come back together.
            time.sleep(pause * 2**attempt * random.uniform(0.75, 1.25))  # noqa: S311  (no secret)
    raise AssertionError("unreachable")


def _is_final(message: str, href: str, access: Access) -> bool:
    """Tell whether reading anew cannot help."""
    if signs(access, href) and any(code in message for code in _REFUSED):
        # A token may have been withdrawn before its time.
        forget_tokens()
        return False
    return any(code in message for code in (*_REFUSED, *_ABSENT, "may not be read"))


def header(href: str, access: Access, band: int = 1) -> RasterSource:
    """Read the header of a file; no pixel.

    Raises
    ------
    InputError
        If it cannot be opened or has no such band.
    """
    return _band(bands(href, access), band, href)


def bands(href: str, access: Access) -> tuple[RasterSource, ...]:
    """Read the header of a file, all bands; no pixel. ``path`` of each is the address, not signed.

    Raises
    ------
    InputError
        If it cannot be opened.
    """

    def once() -> tuple[RasterSource, ...]:
        with _reached(href, access) as path:
            return tuple(
                replace(one, path=href) for one in describe(path, driver=driver_of(href, access.allow))
            )

    return _again(href, access, once)


def _band(found: Sequence[RasterSource], band: int, href: str) -> RasterSource:
    for source in found:
        if source.band == band:
            return source
    raise InputError(f"{plain(href)!r} has {len(found)} bands and no band {band}; correct the catalogue")


def read(
    band: RemoteBand, grid: GeoBox, window: Window, resampling: Resampling = "auto"
) -> NDArray[np.float32]:
    """Read a window of a grid.

    Parameters
    ----------
    band
        What to read.
    grid
        Whole target grid.
    window
        Rows and columns of it.
    resampling
        As in `lstzoom.raster`.

    Returns
    -------
    array of float32, shape of the window
        Values, NaN where missing; for codes, the stored numbers, NaN outside of the file.

    Raises
    ------
    InputError
        If the file cannot be read.
    GridMismatchError
        If it lies on another grid than its item told.
    UnitsError
        If a temperature is in another unit than kelvin or Celsius, or cannot be one.
    """
    shape = tuple(part.stop - part.start for part in window)
    if not touches(band.grid, grid, window):
        return np.full(shape, np.nan, np.float32)

    def once() -> NDArray[np.float32]:
        with _reached(band.href, band.access) as path:
            driver = driver_of(band.href, band.access.allow)
            source = _band(describe(path, driver=driver), band.band, band.href)
            _require_told_grid(source, band)
            stack = LazyStack((_encoded(source, band),), grid, resampling)
            values: NDArray[np.float32] = stack[0, window[0], window[1]]
            if band.kind == "kelvin":
                _require_temperatures(values, band)
            return values

    return _again(band.href, band.access, once)


def _require_temperatures(values: NDArray[np.float32], band: RemoteBand) -> None:
    """Refuse a window none of whose values can be a temperature: its encoding is told wrong.

    One number all over is what fills a place that was not seen, and no reason.
    """
    there = values[np.isfinite(values)]
    low, high = KELVIN_RANGE
    if there.size < _FEW or there.min() == there.max():
        return
    if there.max() < low or there.min() > high:
        raise UnitsError(
            f"{plain(band.href)!r} holds temperatures from {there.min():.6g} to {there.max():.6g} K, as "
            "scale, offset and unit are told; correct them in the item, or in [lst] of the catalogue"
        )


def _encoded(source: RasterSource, band: RemoteBand) -> RasterSource:
    if band.kind == "codes":
        return replace(source, scale=1.0, offset=0.0, nodata=None, masked=False)
    _require_told_dtype(source, band)
    encoding = settle(band.told, source, band.constants)
    if band.kind == "kelvin":
        encoding = to_kelvin(encoding, f"the asset {band.name!r} ({plain(band.href)})")
    # Where item and file call different numbers missing, both are.
    both = source.masked or not same_number(source.nodata, encoding.nodata)
    return replace(
        source, scale=encoding.scale, offset=encoding.offset, nodata=encoding.nodata,
        masked=both and (source.masked or source.nodata is not None),
    )  # fmt: skip


def _require_told_dtype(source: RasterSource, band: RemoteBand) -> None:
    """Refuse values in place of numbers, and numbers in place of values: a scale fits one of them."""
    told = band.told.dtype
    if told and source.dtype.startswith("float") != told.startswith("float"):
        raise EncodingError(
            f"{plain(band.href)!r} holds {source.dtype}, and its item tells {told} for {band.name!r}; scale "
            "and offset of the item would be wrong: correct the data type of the item, or its asset"
        )


def _require_told_grid(source: RasterSource, band: RemoteBand) -> None:
    if not coincide(source.geobox, band.grid):
        raise GridMismatchError(
            f"{plain(band.href)!r} lies on {describe_grid(source.geobox)}, and its item tells "
            f"{describe_grid(band.grid)}; correct the projection fields of the item, or remove them: the "
            "grid is then read from the file"
        )


def touches(source: GeoBox, grid: GeoBox, window: Window) -> bool:
    """Tell whether a window of a grid can need pixels of a source; in doubt it can."""
    part = grid[window]
    if part.crs is None or source.crs is None or part.crs == source.crs:
        box = part.boundingbox
    else:
        # Edges bend between projections: many points, and a margin of some pixels below.
        box = part.extent.to_crs(
            source.crs, resolution=abs(part.affine.a) * max(*part.shape) / 16
        ).boundingbox
    margin = 4 * max(abs(source.affine.a), abs(source.affine.e))
    if part.crs == source.crs:
        margin += 2 * abs(part.affine.a)
    mine = source.boundingbox
    if not np.isfinite([*box]).all():
        return True
    return bool(
        box.left - margin < mine.right
        and box.right + margin > mine.left
        and box.bottom - margin < mine.top
        and box.top + margin > mine.bottom
    )

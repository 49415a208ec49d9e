"""A finished result, opened lazily from the files that it was written to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import rasterio
import xarray as xr

from lstzoom import raster
from lstzoom.errors import GridMismatchError, InputError, UnitsError
from lstzoom.grid import coincide, describe_grid, grid_of
from lstzoom.kernels.quality import QA

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

_CHUNK: Final = 1024
_PREFIX: Final = "LSTZOOM_"
FLAGS: Final = "QA"
"""What the band of flags is described as."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """What `lstzoom sharpen` wrote.

    Attributes
    ----------
    lst
        Lazy, kelvin, dimensions (y, x), NaN where missing.
    grid
        Fine grid.
    qa
        Lazy flags, uint8; None if they were not written.
    uncertainty
        Lazy, kelvin; None if it was not written.
    tags
        What the files say about how they were made, by names in lower case and without ``LSTZOOM_``.
    """

    lst: xr.DataArray
    grid: GeoBox
    qa: xr.DataArray | None = None
    uncertainty: xr.DataArray | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def strips(self, multiple: int) -> Iterator[slice]:
        """Rows to work on at a time: a multiple of so many, but for the last."""
        step = -(-_CHUNK // multiple) * multiple
        for start in range(0, self.grid.shape.y, step):
            yield slice(start, min(start + step, self.grid.shape.y))


def open_outputs(
    lst: str | Path, qa: str | Path | None = None, uncertainty: str | Path | None = None
) -> Outputs:
    """Open a finished result.

    Parameters
    ----------
    lst
        COG, or a Zarr store that holds the other two as well.
    qa, uncertainty
        COGs beside a COG.

    Returns
    -------
    Outputs

    Raises
    ------
    InputError
        If a file cannot be read, holds something else, or is named beside a store.
    UnitsError
        If the temperature is not in kelvin.
    GridMismatchError
        If the files lie on different grids.
    """
    if Path(lst).is_dir():
        if qa is not None or uncertainty is not None:
            raise InputError(
                f"{str(lst)!r} is a Zarr store, which holds flags and uncertainty itself; name it alone"
            )
        return _from_store(Path(lst))
    values = _temperature(str(lst))
    grid = grid_of(values)
    return Outputs(
        values,
        grid,
        None if qa is None else _flags(str(qa), grid),
        None if uncertainty is None else _kelvin(str(uncertainty), grid),
        _tags(str(lst)),
    )


def _temperature(path: str) -> xr.DataArray:
    try:
        return raster.open_lst(path, chunks=_CHUNK)
    except UnitsError as error:
        raise UnitsError(
            f"{path!r} holds no temperature in kelvin, which lstzoom writes; name the file of "
            "`lstzoom sharpen -o`, as it was written"
        ) from error


def _tags(path: str) -> dict[str, str]:
    with rasterio.open(path) as file:
        return _ours(file.tags())


def _ours(attrs: Mapping[Any, Any]) -> dict[str, str]:
    return {
        str(key).lower().removeprefix(_PREFIX.lower()): str(value)
        for key, value in attrs.items()
        if str(key).lower().startswith(_PREFIX.lower())
    }


def _only(path: str, grid: GeoBox, what: str) -> raster.RasterSource:
    source, *others = raster.describe(path)
    if not coincide(source.geobox, grid):
        raise GridMismatchError(
            f"{path!r} lies on {describe_grid(source.geobox)}, but the LST on {describe_grid(grid)}; name "
            "the files of one run"
        )
    if others:
        raise InputError(f"{path!r} has more than one band, and layers of lstzoom have one; name the {what}")
    return source


def _kelvin(path: str, grid: GeoBox) -> xr.DataArray:
    source = _only(path, grid, "file of --uncertainty")
    is_kelvin = not source.units or source.units.lower() in raster.KELVIN_NAMES
    if not is_kelvin or source.description == "LST":
        raise InputError(
            f"{path!r} holds {source.description or 'numbers'!r} (unit {source.units!r}), and no uncertainty "
            "in kelvin: name the file of --uncertainty"
        )
    stack = raster.LazyStack((source,), grid)
    return raster.as_xarray(stack, ["uncertainty"], chunks=_CHUNK)[0]


def _flags(path: str, grid: GeoBox) -> xr.DataArray:
    source = _only(path, grid, "file of --qa")
    if source.dtype != "uint8":
        raise InputError(f"{path!r} holds {source.dtype}; flags of lstzoom are uint8: name the file of --qa")
    if source.description.upper() not in ("", FLAGS):
        raise InputError(
            f"{path!r} holds {source.description!r}, and no flags of lstzoom: name the file of --qa"
        )
    # Flags are small whole numbers, which floating point keeps as they are.
    stack = raster.as_xarray(raster.LazyStack((source,), grid), ["qa"], chunks=_CHUNK)
    flags: xr.DataArray = stack[0].fillna(0).astype(np.uint8)
    if not source.description:
        # Another program may have dropped what says that these are flags.
        for start in range(0, grid.shape.y, _CHUNK):
            require_flags(np.unique(values_of(flags, slice(start, start + _CHUNK))), path)
    return flags


def require_flags(values: NDArray[np.integer[Any]], where: str) -> None:
    """Refuse values that are no flags of lstzoom.

    Parameters
    ----------
    values
        Values that occur, any shape.
    where
        What holds them, for the message.

    Raises
    ------
    InputError
        With the values that are none.
    """
    strange = sorted(set(values.ravel().tolist()) - {int(flag) for flag in QA})
    if strange:
        shown = ", ".join(map(str, strange[:5])) + (" ..." if len(strange) > 5 else "")
        raise InputError(
            f"{where!r} holds {shown}, and flags of lstzoom are {min(QA)} to {max(QA)}: name the file of --qa"
        )


def _from_store(path: Path) -> Outputs:
    try:
        store = xr.open_zarr(path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{str(path)!r} is no Zarr store ({error}); name the LST that was written"
        ) from error
    if "lst" not in store or store.lst.dims != ("y", "x"):
        raise InputError(
            f"{str(path)!r} holds no 'lst' of dimensions (y, x); name a store of `lstzoom sharpen`"
        )
    qa = store.get("qa")
    return Outputs(
        store.lst.astype(np.float32),
        grid_of(store.lst),
        None if qa is None else qa.fillna(0).astype(np.uint8) if qa.dtype.kind == "f" else qa,
        store.get("lst_uncertainty"),
        _ours(store.attrs),
    )


def values_of(array: xr.DataArray, rows: slice) -> NDArray[Any]:
    """Read rows of a lazy array, dimensions (..., y, x)."""
    return np.asarray(array.isel(y=rows).values)

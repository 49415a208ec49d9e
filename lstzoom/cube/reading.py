"""A cube for analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lstzoom.cube.store import Options, Url, open_store, shown
from lstzoom.errors import InputError

if TYPE_CHECKING:
    import xarray as xr


def open_cube(
    url: Url,
    storage_options: Options = None,
    *,
    level: int = 0,
    chunks: Any = "auto",  # noqa: ANN401
) -> xr.Dataset:
    """Open a cube lazily, its dates in order.

    ``xr.open_zarr(url)`` opens the full resolution as well, with dates in the order in which they came.

    Parameters
    ----------
    url
        Cube made by `create`.
    storage_options
        For fsspec.
    level
        Of the pyramid: 0 is the full resolution, 1 has pixels twice as large.
    chunks
        As xarray takes them; None for arrays that are read when used, without dask.

    Returns
    -------
    xarray.Dataset
        Variables in kelvin and flags, dimensions (time, y, x).

    Raises
    ------
    InputError
        If there is no cube, or it has no such level.
    """
    import xarray as xr  # noqa: PLC0415  (slow to import, and writers do not need it)

    try:
        cube = xr.open_zarr(
            open_store(url, storage_options, read_only=True), group=str(level) if level else None,
            chunks=chunks,
        )  # fmt: skip
    except (FileNotFoundError, KeyError) as error:
        what = f"level {level}; build_pyramid makes it" if level else "cube; create makes it"
        raise InputError(f"{shown(url)} has no {what}") from error
    return cube.sortby("time") if "time" in cube.dims and cube.sizes["time"] > 1 else cube

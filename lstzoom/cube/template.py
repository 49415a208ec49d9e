"""A cube without values: arrays, coordinates and metadata; and more dates for one that is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from lstzoom.cube import geozarr
from lstzoom.cube.spec import CubeSpec, ZarrVariable
from lstzoom.cube.store import (
    Options,
    Url,
    alone,
    array_of,
    attrs_of,
    consolidate,
    is_empty,
    json_safe,
    open_group,
    open_store,
    shown,
)
from lstzoom.errors import InputError

if TYPE_CHECKING:
    import zarr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

Time: TypeAlias = "str | datetime | np.datetime64"
"""A moment in UTC: ISO 8601, a datetime, or numpy's."""

MARK: Final = "lstzoom:cube"
_BEGUN: Final[dict[str, Any]] = {"version": 1, "state": "begun"}
_READY: Final[dict[str, Any]] = {"version": 1, "state": "ready"}
_TIME_CHUNK: Final = 4096
_TIME_ATTRS: Final[dict[str, Any]] = {
    "standard_name": "time",
    "long_name": "time of acquisition",
    "axis": "T",
    "units": "microseconds since 1970-01-01T00:00:00",
    "calendar": "proleptic_gregorian",
}


def create(
    url: Url,
    spec: CubeSpec,
    times: Sequence[Time] | None,
    attrs: Mapping[str, Any] | None = None,
    storage_options: Options = None,
    *,
    exist_ok: bool = False,
) -> list[int]:
    """Make a cube without values.

    Parameters
    ----------
    url
        Folder, address such as ``s3://bucket/cube.zarr``, or open store.
    spec
        Grid, shards and variables.
    times
        Dates, in any order; none yet is an empty sequence. None makes a store of dimensions (y, x).
    attrs
        Attributes of the cube.
    storage_options
        For fsspec.
    exist_ok
        Continue a cube of the same grid, shards and variables; dates that it lacks are appended. What was
        begun and not finished is made again.

    Returns
    -------
    list of int
        Place of each date along time, in the order of `times`.

    Raises
    ------
    InputError
        If something is there already, or what is there is another cube; if a date cannot be read.

    Notes
    -----
    Processes of one machine that make a cube in a folder, or append to it, wait for each other, and so do all
    that do so in a bucket; elsewhere one does so at a time. Writing of values goes on beside.
    """
    moments = None if times is None else sorted({_microseconds(time) for time in times})
    store = open_store(url, storage_options)
    try:
        with alone(store):
            state = _state(store)
            if state == "absent" or (state == "begun" and exist_ok):
                _write_all(store, spec, moments, attrs or {})
                state = "made"
    except OSError as error:
        raise InputError(f"{shown(url)} cannot be written to: {error}") from error
    if state != "made":
        if not exist_ok:
            raise InputError(
                f"{shown(url)} holds something already; choose another address, or continue a cube with "
                "exist_ok=True"
            )
        require_same(store, spec, url, timed=times is not None)
    return [] if times is None else append_times(store, times)


def _state(store: Any) -> str:  # noqa: ANN401  (a store of zarr)
    if is_empty(store):
        return "absent"
    try:
        mark = open_group(store).attrs.get(MARK)
    except InputError:
        return "foreign"
    return str(mark.get("state")) if isinstance(mark, Mapping) else "foreign"


def _write_all(
    store: Any,  # noqa: ANN401  (a store of zarr)
    spec: CubeSpec,
    moments: Sequence[int] | None,
    attrs: Mapping[str, Any],
) -> None:
    import zarr  # noqa: PLC0415  (slow to import, and files do not need it)

    # The mark tells a cube that was being made from anything else that may be there.
    group = zarr.open_group(store, mode="a", zarr_format=3, use_consolidated=False, attributes={MARK: _BEGUN})
    write_level(group, spec.geobox, spec.described, moments, spec.shard, spec.chunk_side)
    described = {"Conventions": "CF-1.11", **attrs, **geozarr.of_grid(spec.geobox), MARK: _READY}
    group.attrs.put(json_safe(described))
    consolidate(store)


def write_level(
    group: zarr.Group,
    geobox: GeoBox,
    variables: Mapping[str, ZarrVariable],
    moments: Sequence[int] | None,
    shard: int,
    chunk: int,
) -> None:
    """Write coordinates and arrays of one resolution, without values."""
    from zarr.codecs import BloscCodec  # noqa: PLC0415  (slow to import, and files do not need it)

    _write_coordinates(group, geobox)
    if moments is not None:
        _write_times(group, moments)
    leading = () if moments is None else (len(moments),)
    one = () if moments is None else (1,)
    names = ("y", "x") if moments is None else ("time", "y", "x")
    for name, variable in variables.items():
        fill, dtype = variable.fill, np.dtype(variable.dtype)
        group.create_array(
            name,
            shape=(*leading, *geobox.shape),
            dtype=dtype,
            shards=(*one, shard, shard),
            chunks=(*one, chunk, chunk),
            # Neighbours share their high bytes: shuffled they take less space than with zarr's default.
            compressors=BloscCodec(cname="zstd", clevel=5, shuffle="shuffle"),
            fill_value=0 if fill is None else dtype.type(fill),
            dimension_names=names,
            attributes=json_safe(_attributes(variable, dtype)),
            overwrite=True,
        )


def _attributes(variable: ZarrVariable, dtype: np.dtype[Any]) -> dict[str, Any]:
    attrs = {
        "coordinates": "spatial_ref",
        "grid_mapping": "spatial_ref",
        "overview_resampling": variable.overview.lower(),
        **variable.attrs,
    }
    if variable.fill is not None and dtype.kind in "iu":
        # xarray masks by this attribute alone; for floats, NaN needs no mask.
        attrs["_FillValue"] = int(variable.fill)
    return attrs


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
            attributes=json_safe(coord.attrs),
            overwrite=True,
        )
        array[...] = values


def _write_times(group: zarr.Group, moments: Sequence[int]) -> None:
    array = group.create_array(
        "time",
        shape=(len(moments),),
        dtype=np.int64,
        chunks=(_TIME_CHUNK,),
        fill_value=np.iinfo(np.int64).min,
        dimension_names=("time",),
        attributes=_TIME_ATTRS,
        overwrite=True,
    )
    array[...] = np.array(moments, np.int64)


def append_times(url: Url, times: Sequence[Time], storage_options: Options = None) -> list[int]:
    """Add dates to a cube, and say where dates are.

    Parameters
    ----------
    url
        Cube made by `create`.
    times
        Dates, in any order. Those that the cube has are found, the others are added at its end, the earliest
        first.
    storage_options
        For fsspec.

    Returns
    -------
    list of int
        Place of each date along time, in the order of `times`.

    Raises
    ------
    InputError
        If there is no cube, it has no time, or a date cannot be read; if another process wrote other dates at
        the same moment.

    Notes
    -----
    Processes of one machine that append to a cube in a folder wait for each other, and so do all that append
    to one in a bucket (an object ``cube.zarr.lock`` beside it keeps them apart); elsewhere one does so at a
    time.

    Called again with the same dates it changes nothing, and finishes what a process that died had begun.
    Readers see the new dates when all is written. A cube that got an earlier date is no longer in order:
    `open_cube` sorts it, ``xr.open_zarr(url).sortby("time")`` does.
    """
    group = open_group(url, storage_options)
    wanted = [_microseconds(time) for time in times]
    with alone(group.store):
        # Opened anew: another process may have appended while this one waited.
        group = open_group(url, storage_options)
        known = _appended(group, wanted)
    places = {moment: index for index, moment in enumerate(known)}
    return [places[moment] for moment in wanted]


def _appended(group: zarr.Group, wanted: Sequence[int]) -> list[int]:
    """Add the dates that a cube lacks, and return all."""
    known = read_times(group)
    new = sorted(set(wanted) - set(known))
    groups = [group, *level_groups(group)]
    if not new and not any(_lags(one, len(known)) for one in groups):
        return known
    everything = [*known, *new]
    for one in groups:
        _extend(one, np.array(everything, np.int64))
    if read_times(open_group(group.store))[: len(everything)] != everything:
        raise InputError(
            f"another process added other dates to {shown(group.store)} at the same moment; let one append "
            "at a time, and append again before anything is written"
        )
    consolidate(group.store)
    return everything


def retime(url: Url, renamed: Mapping[Time, Time], storage_options: Options = None) -> None:
    """Give dates of a cube other values; dates that it does not have are passed over.

    Parameters
    ----------
    url
        Cube made by `create`.
    renamed
        New dates by the old ones.
    storage_options
        For fsspec.

    Raises
    ------
    InputError
        If there is no cube, it has no time, or a date cannot be read.
    """
    group = open_group(url, storage_options)
    with alone(group.store):
        _retime(open_group(url, storage_options), renamed)


def _retime(group: zarr.Group, renamed: Mapping[Time, Time]) -> None:
    known = read_times(group)
    table = {_microseconds(old): _microseconds(new) for old, new in renamed.items()}
    moments = np.array([table.get(one, one) for one in known], np.int64)
    if moments.tolist() == known:
        return
    for one in (group, *level_groups(group)):
        array_of(one, "time")[: len(known)] = moments
    consolidate(group.store)


def _lags(group: zarr.Group, count: int) -> bool:
    """Tell whether arrays have fewer dates than there are."""
    return any(array.shape[0] != count for _, array in group.arrays() if "time" in _dims(array))


def _extend(group: zarr.Group, moments: NDArray[np.int64]) -> None:
    # Values first: dates that no array has yet would be in the way of whoever opens the store without
    # the gathered metadata.
    arrays = [array for name, array in group.arrays() if "time" in _dims(array) and name != "time"]
    for array in (*arrays, array_of(group, "time")):
        if array.shape[0] != len(moments):
            array.resize((len(moments), *array.shape[1:]))
    array_of(group, "time")[...] = moments


def _dims(array: zarr.Array[Any]) -> tuple[str | None, ...]:
    return tuple(getattr(array.metadata, "dimension_names", None) or ())


def read_times(group: zarr.Group) -> list[int]:
    """Dates of a cube in microseconds since 1970.

    Raises
    ------
    InputError
        If it has no time.
    """
    if "time" not in group:
        raise InputError(
            f"{shown(group.store)} has no time; make the cube with times, or an empty list of them"
        )
    values = np.asarray(array_of(group, "time")[...]).astype(np.int64)
    # A process that died may have made room for dates without naming them.
    return values[values != np.iinfo(np.int64).min].tolist()


def grid_of_group(group: zarr.Group) -> GeoBox:
    """Grid of a cube, from what its metadata say.

    Raises
    ------
    InputError
        If they do not say it.
    """
    from affine import Affine  # noqa: PLC0415  (nothing else here needs them)
    from odc.geo.geobox import GeoBox  # noqa: PLC0415

    attrs = attrs_of(group)
    place = _placed(attrs)
    if "spatial:transform" not in place:
        raise InputError(f"{shown(group.store)} is no cube of lstzoom: it does not say where it lies")
    crs = attrs.get("proj:code") or attrs.get("proj:wkt2")
    rows, columns = place["spatial:shape"]
    return GeoBox((rows, columns), Affine(*place["spatial:transform"]), crs)


def _placed(attrs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Find where the full resolution is described: with the group, or with the levels of its pyramid."""
    pyramid = attrs.get("multiscales")
    placed: Mapping[str, Any] = pyramid["layout"][0] if isinstance(pyramid, Mapping) else attrs
    return placed


def place_of(group: zarr.Group, time: Time) -> int | None:
    """Place of a date along time; None if the cube does not have it."""
    known, wanted = read_times(group), _microseconds(time)
    return known.index(wanted) if wanted in known else None


def level_groups(group: zarr.Group) -> list[zarr.Group]:
    """List the groups of the coarser levels, the finest first."""
    levels = sorted((name for name in group.group_keys() if name.isdecimal()), key=int)
    found = [group[name] for name in levels]
    return [one for one in found if hasattr(one, "group_keys")]  # type: ignore[misc]


def _microseconds(time: Time) -> int:
    """Microseconds since 1970 of a moment; without a zone it is in UTC."""
    if isinstance(time, np.datetime64):
        if np.isnat(time):
            raise InputError("a date of the cube is NaT; give a moment")
        return int(time.astype("datetime64[us]").astype(np.int64))
    try:
        moment = datetime.fromisoformat(time) if isinstance(time, str) else time
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    except (ValueError, AttributeError) as error:
        raise InputError(f"{time!r} is no date; give one such as 2026-07-05T10:31:07Z") from error
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds


def require_same(url: Url, spec: CubeSpec, name: Url, *, timed: bool = True) -> None:
    """Refuse a cube of another grid, other shards or other variables.

    Raises
    ------
    InputError
        With what differs.
    """
    group = open_group(url)
    attrs, wanted = attrs_of(group), geozarr.of_grid(spec.geobox)
    found = {**attrs, **_placed(attrs)}
    place = ("spatial:transform", "spatial:shape", "proj:code", "proj:wkt2")
    differs = [key for key in place if found.get(key) != wanted.get(key)]
    differs += [
        one for one, variable in spec.described.items() if _differs(group, one, variable, spec, timed)
    ]
    if differs:
        raise InputError(
            f"{shown(name)} is another cube, it differs in {', '.join(differs)}; choose another address, or "
            "settings as it was made with"
        )


def _differs(group: zarr.Group, name: str, variable: ZarrVariable, spec: CubeSpec, timed: bool) -> bool:  # noqa: FBT001
    if name not in group:
        return True
    array = array_of(group, name)
    one = (1,) if timed else ()
    kept = ("scale_factor", "add_offset", "units")
    return (
        array.ndim != len(one) + 2
        or str(array.dtype) != variable.dtype
        or array.shards != (*one, spec.shard, spec.shard)
        or array.chunks != (*one, spec.chunk_side, spec.chunk_side)
        or any(array.attrs.get(key) != variable.attrs.get(key) for key in kept)
    )

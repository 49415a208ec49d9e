"""What a cube holds and how it is cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lstzoom.encoding import QA, UINT16, Encoding
from lstzoom.errors import InputError
from lstzoom.grid import describe_grid

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

VARIABLES: Final = ("lst", "lst_uncertainty", "qa")
"""Variables of a cube of results."""
_CHUNK: Final = 512


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
    overview
        What the levels of a pyramid hold: ``"RADIANCE"``, ``"AVERAGE"`` or ``"MODE"``, see
        `lstzoom.encoding.Encoding`.
    """

    dtype: str
    attrs: Mapping[str, Any]
    fill: float | None = None
    overview: str = "AVERAGE"

    @classmethod
    def of(cls, encoding: Encoding, **attrs: object) -> ZarrVariable:
        """Make a variable that stores values with an encoding."""
        scaled = (encoding.scale, encoding.offset) != (1.0, 0.0)
        scaling = {"scale_factor": encoding.scale, "add_offset": encoding.offset} if scaled else {}
        return cls(encoding.dtype, {**attrs, **scaling}, encoding.nodata, encoding.overview)


@dataclass(frozen=True, slots=True)
class CubeSpec:
    """Grid, shards and variables of a cube.

    Parameters
    ----------
    geobox
        Grid of every date.
    shard
        Side of a shard in pixels, even. A shard is one object of the store, holds one date, and is what a
        writer writes at a time: make it the tile.
    chunk
        Side of a chunk inside of a shard, a divisor of ``shard``: the least that is read. Default the
        largest up to 512.
    encoding
        Of temperature and its uncertainty.
    variables
        Names of variables that results of lstzoom have, or `ZarrVariable` by name.

    Raises
    ------
    InputError
        If the grid is empty, turned or without CRS, ``chunk`` does not divide ``shard``, or variables are
        unknown.

    Examples
    --------
    >>> from odc.geo.geobox import GeoBox
    >>> grid = GeoBox.from_bbox((600000, 5300000, 609000, 5309000), "EPSG:32632", resolution=10)
    >>> CubeSpec(grid, shard=768).chunk_side
    384
    """

    geobox: GeoBox
    shard: int = 2048
    chunk: int | None = None
    encoding: Encoding = UINT16
    variables: Sequence[str] | Mapping[str, ZarrVariable] = VARIABLES

    def __post_init__(self) -> None:
        """Check what cannot work."""
        affine, (rows, columns) = self.geobox.affine, self.geobox.shape
        if not rows or not columns:
            raise InputError(f"a grid of {rows} x {columns} pixels was given; a cube needs one pixel or more")
        if self.geobox.crs is None or (affine.b, affine.d) != (0, 0):
            raise InputError(
                f"{describe_grid(self.geobox)} is turned, or has no CRS; give one along the axes of a CRS"
            )
        _ = self.chunk_side, self.described

    @property
    def chunk_side(self) -> int:
        """Side of a chunk in pixels."""
        return chunk_side(self.shard, self.chunk)

    @property
    def described(self) -> dict[str, ZarrVariable]:
        """Variables by name."""
        if isinstance(self.variables, Mapping):
            return {name: ZarrVariable(*one) for name, one in self.variables.items()}
        return {name: result_variable(name, self.encoding) for name in self.variables}


def result_variable(name: str, encoding: Encoding = UINT16) -> ZarrVariable:
    """Describe a variable of a result of lstzoom.

    Parameters
    ----------
    name
        As in `lstzoom.sharpen`, for example ``"lst"``.
    encoding
        Of temperature; flags have their own.

    Raises
    ------
    InputError
        If results have no such variable.
    """
    from lstzoom.sharpening import ATTRS  # noqa: PLC0415  (imports the method, which stores need not)

    if name not in ATTRS:
        raise InputError(f"results have no variable {name!r}; they have {', '.join(ATTRS)}")
    if name == "qa":
        return ZarrVariable.of(QA, **ATTRS[name])
    # The mean of uncertainties is the most that the uncertainty of the mean can be, whatever errors share.
    return ZarrVariable.of(encoding if name == "lst" else encoding.averaged, **ATTRS[name])


def chunk_side(shard: int, chunk: int | None) -> int:
    """Side of chunks: as given, or the largest divisor of the shard's up to 512.

    Raises
    ------
    InputError
        If ``chunk`` does not divide ``shard``.
    """
    if shard < 1 or (chunk is not None and chunk < 1):
        raise InputError(f"shards of {shard} and chunks of {chunk} pixels were given; 1 is the least")
    if chunk is None:
        return max(side for side in range(1, min(shard, _CHUNK) + 1) if shard % side == 0)
    if shard % chunk:
        raise InputError(
            f"chunks of {chunk} pixels do not divide shards of {shard}; "
            f"give a divisor of {shard}, for example {chunk_side(shard, None)}"
        )
    return chunk

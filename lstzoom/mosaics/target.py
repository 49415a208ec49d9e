"""Where a mosaic lies: a lattice of pixels over a whole CRS, cut into tiles, and the scenes that touch each.

Pixels are counted from the origin of the CRS, so that a pixel has the same number, and the same centre, in
any mosaic of that CRS and resolution, whatever its extent and its tiles. Pure geometry: no pixel is read
here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import shapely
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from odc.geo.gridspec import GridSpec
from odc.geo.types import resyx_
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lstzoom.errors import ConfigError, GridMismatchError
from lstzoom.globe import parts_within_180
from lstzoom.grid import describe_grid
from lstzoom.sources.area import Area, as_area

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Nodes along a side of a scene at which its outline is projected.
_NODES: Final = 33
# Neighbouring nodes this many times further apart than most lie on both sides of where a projection is cut.
_JUMP: Final = 8.0
_DEGREE_METRES: Final = 111_195.0
_MAX_TILE: Final = 16_384
_SEAM: Final = 1e-9
_SEGMENT: Final = 0.05


class Window(NamedTuple):
    """Rows and columns of the lattice, from the first to before the last."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    @property
    def empty(self) -> bool:
        """Whether there is no pixel in it."""
        return self.bottom <= self.top or self.right <= self.left

    def __and__(self, other: Window) -> Window:
        """Return what both have in common; empty where that is nothing."""
        return Window(
            max(self.top, other.top),
            min(self.bottom, other.bottom),
            max(self.left, other.left),
            min(self.right, other.right),
        )

    def grown(self, pixels: int) -> Window:
        """Return the window with a margin on all sides."""
        return Window(self.top - pixels, self.bottom + pixels, self.left - pixels, self.right + pixels)

    def within(self, outer: Window) -> tuple[slice, slice]:
        """Slices of this window in an array over another one that holds it."""
        return (
            slice(self.top - outer.top, self.bottom - outer.top),
            slice(self.left - outer.left, self.right - outer.left),
        )


@dataclass(frozen=True)
class Lattice:
    """Pixels of one resolution over a whole CRS.

    Parameters
    ----------
    crs
        Any CRS that pyproj knows, projected or geographic.
    resolution
        Side of a pixel in units of the CRS, positive.

    Notes
    -----
    Pixel (row, column) covers x from ``resolution * column`` to ``resolution * (column + 1)`` and y from
    ``-resolution * (row + 1)`` to ``-resolution * row``.

    Raises
    ------
    ConfigError
        If the CRS is unknown or the resolution is no positive number.
    """

    crs: CRS
    resolution: float

    def __post_init__(self) -> None:
        """Refuse what is no lattice."""
        if not (math.isfinite(self.resolution) and self.resolution > 0):
            raise ConfigError(f"the resolution is {self.resolution!r}; a positive number is needed")

    @classmethod
    def of(cls, crs: str | int | CRS, resolution: float) -> Lattice:
        """Make a lattice of whatever names a CRS."""
        return cls(as_crs(crs), float(resolution))

    def geobox(self, window: Window) -> GeoBox:
        """Grid of a window."""
        step = self.resolution
        corner = Affine(step, 0.0, step * window.left, 0.0, -step, -step * window.top)
        return GeoBox(window.shape, corner, self.crs)

    def window(self, bounds: tuple[float, float, float, float]) -> Window:
        """Smallest window that holds bounds (left, bottom, right, top) in units of the CRS."""
        left, bottom, right, top = (value / self.resolution for value in bounds)
        return Window(math.floor(-top), math.ceil(-bottom), math.floor(left), math.ceil(right))

    def box(self, window: Window) -> shapely.Geometry:
        """Outline of a window in units of the CRS."""
        step = self.resolution
        return shapely.box(step * window.left, -step * window.bottom, step * window.right, -step * window.top)

    def spec(self, tile: int) -> GridSpec:
        """Tiles of so many pixels a side, as odc-geo describes them."""
        return GridSpec(self.crs, (tile, tile), resyx_(-self.resolution, self.resolution))

    @property
    def pixel_metres(self) -> float:
        """Side of a pixel in metres; of a geographic CRS along a meridian."""
        if self.crs.geographic:
            return self.resolution * _DEGREE_METRES
        return self.resolution * float(self.crs.proj.axis_info[0].unit_conversion_factor)


def as_crs(crs: str | int | CRS) -> CRS:
    """Read a CRS.

    Raises
    ------
    ConfigError
        If pyproj does not know it, or it has no plane of x and y.
    """
    try:
        found = crs if isinstance(crs, CRS) else CRS(crs)
    except Exception as error:
        raise ConfigError(
            f"{crs!r} is no CRS that is known here ({error}); give for example EPSG:3035 (Europe, equal "
            "area), EPSG:6933 (world, equal area), EPSG:32632 (UTM 32 north), or utm"
        ) from error
    if not (found.projected or found.geographic):
        raise ConfigError(f"{crs!r} is neither projected nor geographic; give for example EPSG:3035")
    return found


@dataclass(frozen=True)
class Part:
    """A scene, or what of it lies on one side of where the projection is cut, on the lattice.

    Attributes
    ----------
    window
        Pixels of the lattice that hold it. Where the scene's own pixels come to lie depends on this window,
        which depends on the scene and on the lattice alone.
    outline
        In the CRS of the lattice, not smaller than the scene.
    cut
        The projection is cut through the scene: pixels beyond the cut exist twice.
    """

    window: Window
    outline: shapely.Geometry = field(repr=False)
    cut: bool = False


def parts_of(grid: GeoBox, lattice: Lattice) -> tuple[Part, ...]:
    """Find where on a lattice a scene lies.

    Parameters
    ----------
    grid
        Of the scene, with a CRS.
    lattice
        Of the mosaic.

    Returns
    -------
    tuple of Part
        One; several where the projection is cut through the scene, as cylindrical ones are at 180 degrees.

    Raises
    ------
    GridMismatchError
        If the scene lies outside of where the CRS of the mosaic is defined.
    """
    if grid.crs is None:
        raise GridMismatchError(f"the grid {describe_grid(grid)} has no CRS; set it, then make the mosaic")
    x, y = _nodes(grid, lattice.crs)
    known = np.isfinite(x) & np.isfinite(y)
    labels, count, step = _joined(x, y, known)
    if count == 0:
        raise GridMismatchError(
            f"the scene on {describe_grid(grid)} lies outside of where {lattice.crs} is defined; choose a "
            "CRS of its region, for example EPSG:3035 (Europe), EPSG:6933 (world) or utm"
        )
    if count == 1 and known.all():
        return (_whole(x, y, lattice),)
    boxes = [_around(x[labels == k], y[labels == k], step) for k in range(count)]
    return tuple(Part(lattice.window(one.bounds), one, cut=True) for one in _apart(boxes))


def _nodes(grid: GeoBox, crs: CRS) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions of a mesh of points of a grid, its corners among them, in another CRS."""
    assert grid.crs is not None  # noqa: S101  (refused before)
    rows, columns = (np.linspace(0.0, size, _NODES) for size in grid.shape)
    column, row = np.meshgrid(columns, rows)
    x, y = grid.affine.c + grid.affine.a * column, grid.affine.f + grid.affine.e * row
    if grid.crs == crs:
        return x, y
    x, y = grid.crs.transformer_to_crs(crs)(x, y)
    return np.asarray(x), np.asarray(y)


def _joined(
    x: NDArray[np.float64], y: NDArray[np.float64], known: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], int, float]:
    """Label nodes that hang together; -1 where not known. Also the largest step between neighbours."""
    number = np.arange(x.size).reshape(x.shape)
    pairs = np.concatenate(
        [
            np.stack([number[:-1].ravel(), number[1:].ravel()]),
            np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()]),
        ],
        axis=1,
    )
    pairs = pairs[:, known.ravel()[pairs].all(axis=0)]
    if pairs.shape[1] == 0:
        return np.full(x.shape, -1), 0, 0.0
    length = np.hypot(np.diff(x.ravel()[pairs], axis=0)[0], np.diff(y.ravel()[pairs], axis=0)[0])
    near = length <= _JUMP * np.median(length)
    links = coo_array((np.ones(near.sum()), pairs[:, near]), shape=(x.size, x.size))
    labels = connected_components(links, directed=False)[1].reshape(x.shape)
    found = np.unique(labels[known])
    order = np.full(labels.max() + 1, -1)
    order[found] = np.arange(found.size)
    return np.where(known, order[labels], -1), found.size, float(length[near].max())


def _whole(x: NDArray[np.float64], y: NDArray[np.float64], lattice: Lattice) -> Part:
    def around(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([values[0, :-1], values[:-1, -1], values[-1, :0:-1], values[:0:-1, 0]])

    edge = np.stack([around(x), around(y)], axis=1)
    # Between nodes the edge bends by a quarter of what every second node departs from its neighbours.
    bend = np.abs(edge[1::2] - (edge[0::2] + np.roll(edge[0::2], -1, axis=0)) / 2).max()
    outline = shapely.Polygon(edge).buffer(float(bend) + lattice.resolution, quad_segs=1, join_style="mitre")
    return Part(lattice.window(outline.bounds), outline)


def _around(x: NDArray[np.float64], y: NDArray[np.float64], step: float) -> shapely.Geometry:
    """Bounds of the nodes of one side, and one step more: the cut itself lies between nodes."""
    return shapely.box(x.min() - step, y.min() - step, x.max() + step, y.max() + step)


def _apart(boxes: Sequence[shapely.Geometry]) -> list[shapely.Geometry]:
    """Join boxes until none meets another: a pixel belongs to one part."""
    found: list[shapely.Geometry] = []
    for one in boxes:
        joined = one
        while meeting := [other for other in found if other.intersects(joined)]:
            found = [other for other in found if not other.intersects(joined)]
            joined = shapely.box(*shapely.union_all([joined, *meeting]).bounds)
        found.append(joined)
    return found


class Tile(NamedTuple):
    """A tile of a mosaic: rows and columns of tiles, counted from the origin of the lattice."""

    row: int
    column: int

    def window(self, side: int) -> Window:
        """Pixels of the lattice."""
        return Window(self.row * side, (self.row + 1) * side, self.column * side, (self.column + 1) * side)

    @property
    def spec_index(self) -> tuple[int, int]:
        """(x, y) index of the tile in `Lattice.spec`, whose rows count from south to north."""
        return self.column, -self.row - 1


@dataclass(frozen=True)
class Target:
    """A mosaic's grid: the tiles of a lattice that are covered, and what lies between them.

    Parameters
    ----------
    lattice
        Its pixels.
    tile
        Side of a tile in pixels.
    tiles
        Those that scenes touch.
    """

    lattice: Lattice
    tile: int
    tiles: tuple[Tile, ...]

    def __post_init__(self) -> None:
        """Refuse a target without tiles."""
        check_tile(self.tile)
        if not self.tiles:
            raise GridMismatchError("no scene touches the region of the mosaic; check the area and the CRS")

    @property
    def spec(self) -> GridSpec:
        """Its tiles, as odc-geo describes them."""
        return self.lattice.spec(self.tile)

    @cached_property
    def window(self) -> Window:
        """All pixels from the first tile to the last."""
        rows, columns = zip(*self.tiles, strict=True)
        first, last = Tile(min(rows), min(columns)), Tile(max(rows), max(columns))
        return Window(
            first.window(self.tile).top,
            last.window(self.tile).bottom,
            first.window(self.tile).left,
            last.window(self.tile).right,
        )

    @property
    def geobox(self) -> GeoBox:
        """Grid of the mosaic: whole tiles."""
        return self.lattice.geobox(self.window)

    def slices(self, tile: Tile) -> tuple[slice, slice]:
        """Rows and columns of a tile in the mosaic."""
        return tile.window(self.tile).within(self.window)


def check_tile(tile: int) -> None:
    """Refuse a side of tiles that cannot be.

    Raises
    ------
    ConfigError
        If it is not between 64 and 16384.
    """
    if not 64 <= tile <= _MAX_TILE:
        raise ConfigError(f"tiles have {tile} pixels a side; 64 to {_MAX_TILE} are possible, 2048 is usual")


def touching(
    part: Part, lattice: Lattice, tile: int, region: shapely.Geometry | None = None
) -> Iterator[Tile]:
    """Yield the tiles that a part of a scene touches.

    Parameters
    ----------
    part
        From `parts_of` on this lattice.
    lattice, tile
        Pixels, and the side of tiles in pixels.
    region
        In the CRS of the lattice: only tiles that touch it.
    """
    outline = part.outline if region is None else part.outline & region
    if outline.is_empty:
        return
    bounds = lattice.window(outline.bounds)
    shapely.prepare(outline)
    for row in range(bounds.top // tile, (bounds.bottom - 1) // tile + 1):
        for column in range(bounds.left // tile, (bounds.right - 1) // tile + 1):
            one = Tile(row, column)
            if outline.intersects(lattice.box(one.window(tile))):
                yield one


def utm_of(grids: Iterable[GeoBox]) -> tuple[CRS, ...]:
    """UTM zones of the middles of grids, in order of their codes, each once."""
    codes = {_zone(*_middle(grid)) for grid in grids}
    return tuple(CRS(f"EPSG:{code}") for code in sorted(codes))


def _middle(grid: GeoBox) -> tuple[float, float]:
    assert grid.crs is not None  # noqa: S101  (refused before)
    rows, columns = grid.shape
    x, y = grid.affine.c + grid.affine.a * columns / 2, grid.affine.f + grid.affine.e * rows / 2
    lon, lat = grid.crs.transformer_to_crs("EPSG:4326")(x, y)
    return float(lon), float(lat)


def _zone(lon: float, lat: float) -> int:
    """EPSG code of the UTM zone of a place; Norway's and Svalbard's exceptions are left out."""
    number = int((lon + 180.0) // 6.0) % 60 + 1
    return (32600 if lat >= 0 else 32700) + number


def zone_region(crs: CRS) -> shapely.Geometry:
    """Outline of a UTM zone, 6 degrees wide, in its own CRS: metres east and north."""
    code = crs.to_epsg()
    assert code is not None  # noqa: S101  (made by utm_of)
    west = -180.0 + 6.0 * (code % 100 - 1)
    north = code < 32700
    low, high = (0.0, 84.0) if north else (-80.0, 0.0)
    lat = np.linspace(low, high, 200)
    lon = np.concatenate([np.full_like(lat, west), np.full_like(lat, west + 6.0)])
    x, y = CRS("EPSG:4326").transformer_to_crs(crs)(lon, np.concatenate([lat, lat[::-1]]))
    return shapely.Polygon(np.stack([x, y], axis=1))


def cover(
    scenes: Sequence[Sequence[Part]], lattice: Lattice, tile: int, region: shapely.Geometry | None = None
) -> dict[Tile, tuple[int, ...]]:
    """Find the scenes that touch each tile.

    Parameters
    ----------
    scenes
        Parts of each scene.
    lattice, tile, region
        As for `touching`.

    Returns
    -------
    dict
        Numbers of scenes, ascending, by tile, row after row.
    """
    found: dict[Tile, list[int]] = {}
    for number, parts in enumerate(scenes):
        for one in {one for part in parts for one in touching(part, lattice, tile, region)}:
            found.setdefault(one, []).append(number)
    return {one: tuple(found[one]) for one in sorted(found)}


def region_on(area: Area, lattice: Lattice) -> shapely.Geometry:
    """Bring an area of interest onto the CRS of a lattice, on both sides of the antimeridian.

    Raises
    ------
    InputError
        If it is no area.
    GridMismatchError
        If it lies outside of where the CRS is defined.
    """
    to_plane = CRS("EPSG:4326").transformer_to_crs(lattice.crs)

    def move(points: NDArray[np.float64]) -> NDArray[np.float64]:
        # A longitude of 180 itself may come out on either side.
        x, y = to_plane(np.clip(points[:, 0], -180 + _SEAM, 180 - _SEAM), points[:, 1])
        return np.stack([x, y], axis=1)

    parts = [
        shapely.transform(shapely.segmentize(shapely.force_2d(part), _SEGMENT), move)
        for part in parts_within_180(as_area(area))
    ]
    found = shapely.union_all([shapely.make_valid(part) for part in parts])
    if not np.isfinite(found.bounds).all():
        raise GridMismatchError(
            f"the region lies outside of where {lattice.crs} is defined; choose a CRS of the region, for "
            "example EPSG:6933 (world) or utm"
        )
    return found

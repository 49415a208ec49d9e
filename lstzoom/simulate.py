"""City-and-fields scenes with a known fine LST, for tests, demonstrations and benchmarks.

A scene is a window into an endless landscape: every value is a function of the pixel's position in
the world and of the seed (parcels, blocks and noise are hashed, not drawn), so a scene made in
tiles is the scene made at once, whatever the tiles.

What is in it, and why:

* **Parcels** of about 270 m with crops of differing cover, vigour and soil, margins and roads;
  **towns** of 40 m blocks with streets,
  roofs of four kinds and gardens; a **river** and lakes. VNIR is a linear mixture of endmember
  spectra.
* LST mixes the radiance (fourth power) of those components. It is **non-linear** in cover, albedo
  and built-up fraction, and the law
  **varies in space** over a few kilometres (`Landscape.law_spread`), so no single relation over the
  scene solves it.
* Four parts of LST are **not in VNIR**: soil moisture, roof insulation, a smooth term and noise.
  They bound what any sharpener can reach.

With the defaults VNIR explains most of the detail within a 30 m pixel; `tests/test_simulate.py`
measures how much.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import rasterio
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from rasterio.io import DatasetWriter
from rasterio.shutil import copy
from rasterio.windows import Window

from lstzoom.errors import EncodingError, InputError
from lstzoom.kernels.aggregate import area_mean_radiance
from lstzoom.types import LST_ATTRS, YX

Array = NDArray[np.float32]

PIXEL = 10.0
"""Side of a fine pixel, m."""
BANDS = ("blue", "green", "red", "rededge", "nir", "nir08", "swir16", "swir22")
"""Bands a scene can have, in the order of Sentinel-2's B02, B03, B04, B05, B08, B8A, B11, B12."""

# Reflectance of the endmembers in the order of BANDS: plausible values, not measurements.
_SPECTRA: dict[str, tuple[float, ...]] = {
    "green": (0.025, 0.060, 0.028, 0.125, 0.450, 0.470, 0.220, 0.100),
    "dry": (0.090, 0.140, 0.190, 0.225, 0.290, 0.310, 0.360, 0.270),
    "dark_soil": (0.055, 0.080, 0.105, 0.130, 0.170, 0.185, 0.260, 0.225),
    "bright_soil": (0.120, 0.175, 0.240, 0.275, 0.325, 0.345, 0.430, 0.390),
    "asphalt": (0.085, 0.092, 0.098, 0.102, 0.110, 0.113, 0.125, 0.120),
    "dark_roof": (0.055, 0.058, 0.060, 0.062, 0.068, 0.070, 0.090, 0.088),
    "tile_roof": (0.075, 0.105, 0.210, 0.245, 0.280, 0.290, 0.330, 0.300),
    "light_roof": (0.330, 0.370, 0.395, 0.405, 0.420, 0.425, 0.400, 0.370),
    "water": (0.045, 0.040, 0.025, 0.018, 0.010, 0.009, 0.004, 0.003),
}
_ROOFS = ("dark_roof", "tile_roof", "light_roof")

_PARCEL_CELL = 540.0  # m; every cell is split into two by two parcels
_BLOCK = 40.0  # m
_ROOF = 20.0  # m
_TURN = (np.cos(0.3), np.sin(0.3))  # parcels lie askew to the pixels, as they do in nature


@dataclass(frozen=True, slots=True)
class Landscape:
    """The world that scenes are cut from.

    Raises
    ------
    InputError
        If a band is unknown or given twice, or a spread is negative.
    """

    seed: int = 0
    """Another seed is another world."""
    bands: tuple[str, ...] = BANDS
    """Bands to compute, any of `BANDS`."""
    kind: Literal["city", "fields", "plume"] = "city"
    """``"fields"`` leaves out the towns, whose roofs of 20 m in blocks of 40 m are far below a coarse pixel:
    detail then is that of parcels, their patches and roads. ``"plume"`` puts a coast with calm water
    (spectrally constant) and a warm outfall south of the town."""
    law_spread: float = 1.0
    """How much the temperature law varies in space; 0 makes one law rule everywhere."""
    moisture: float = 1.5
    """Effect of soil moisture, which VNIR does not show, on bare soil: standard deviation in K."""
    insulation: float = 1.0
    """Standard deviation among roofs of one kind, which VNIR does not show either, K."""
    smooth: float = 0.5
    """Standard deviation of the smooth term that VNIR does not show, K."""
    noise: float = 0.25
    """Standard deviation of the noise of the fine LST, K."""
    vnir_noise: float = 0.002
    """Standard deviation of the noise of reflectance."""

    def __post_init__(self) -> None:
        unknown = [band for band in self.bands if band not in BANDS]
        if unknown or not self.bands or len(set(self.bands)) < len(self.bands):
            raise InputError(f"bands are {self.bands!r}; choose some of {BANDS}, each once.")
        if self.kind not in ("city", "fields", "plume"):
            raise InputError(f"kind is {self.kind!r}; it must be 'city', 'fields' or 'plume'.")
        for name in ("law_spread", "moisture", "insulation", "smooth", "noise", "vnir_noise"):
            if not getattr(self, name) >= 0.0:
                raise InputError(f"{name} is {getattr(self, name)!r}; it must be 0 or more.")


class SceneArrays(NamedTuple):
    """A scene as xarray, georeferenced."""

    vnir: xr.DataArray
    """Reflectance 0-1, dims ``(band, y, x)``, on the fine grid."""
    lst: xr.DataArray
    """Coarse LST in K, dims ``(y, x)``."""
    truth: xr.DataArray
    """Fine LST in K, dims ``(y, x)``."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A simulated pair with its truth."""

    vnir: Array
    """Reflectance 0-1, shape ``(band, ny, nx)``."""
    truth: Array
    """Fine LST in K, shape ``(ny, nx)``."""
    coarse: Array
    """Coarse LST in K, shape ``(ny / ratio, nx / ratio)``: exactly the radiance mean of `truth`."""
    geobox: GeoBox
    """Fine grid (UTM, 10 m)."""
    ratio: int
    """Fine pixels per coarse pixel along each axis."""
    landscape: Landscape = field(default_factory=Landscape)
    """What it was made from."""

    @property
    def coarse_geobox(self) -> GeoBox:
        """Grid of `coarse`."""
        return self.geobox.zoom_out(self.ratio)

    def to_xarray(self) -> SceneArrays:
        """Give the arrays coordinates, a CRS, units and names; the data are shared, not copied."""

        def wrap(data: Array, box: GeoBox, name: str, attrs: dict[str, Any], **leading: Any) -> xr.DataArray:
            coords: dict[Any, Any] = {**leading, **xr_coords(box)}
            array = xr.DataArray(data, coords, (*leading, "y", "x"), name, attrs)
            # In the encoding, where xarray, odc-geo and rioxarray look for it and write it from.
            array.encoding["grid_mapping"] = "spatial_ref"
            return array

        kelvin = dict(LST_ATTRS)
        return SceneArrays(
            wrap(self.vnir, self.geobox, "vnir", {"units": "1"}, band=list(self.landscape.bands)),
            wrap(self.coarse, self.coarse_geobox, "lst", kelvin),
            wrap(self.truth, self.geobox, "truth", kelvin),
        )


def simulate_scene(
    shape: tuple[int, int] = (600, 600),
    *,
    ratio: int = 3,
    bands: Sequence[str] = BANDS,
    seed: int = 0,
    origin: tuple[int, int] | None = None,
    **settings: Any,
) -> Scene:
    """Simulate fine VNIR, fine LST (the truth) and the coarse LST that a sensor would give.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the fine grid, multiples of `ratio`.
    ratio : int
        Fine pixels per coarse pixel along each axis, at least 2.
    bands : sequence of str
        Some of `BANDS`, in the order wanted.
    seed : int
        Another seed is another world.
    origin : tuple of int, optional
        Row and column of the scene's first pixel in the world. By default the scene lies around the
        first town and its river, so that even a small one holds town, fields and water. Scenes of
        one seed with touching origins continue each other.
    **settings
        Any other field of `Landscape`.

    Returns
    -------
    Scene

    Raises
    ------
    InputError
        If the shape is no multiple of the ratio or a setting is not possible.

    Examples
    --------
    >>> scene = simulate_scene((60, 90), bands=("red", "nir"))
    >>> scene.vnir.shape, scene.truth.shape, scene.coarse.shape
    ((2, 60, 90), (60, 90), (20, 30))
    """
    _check_shape(shape, ratio)
    landscape = Landscape(seed=seed, bands=tuple(bands), **settings)
    start = _start(shape, ratio) if origin is None else YX(*origin)
    vnir = np.empty((len(landscape.bands), *shape), np.float32)
    truth = np.empty(shape, np.float32)
    for rows, cols in _tiles(shape, 512):
        at = (start.y + rows.start, start.x + cols.start)
        size = (rows.stop - rows.start, cols.stop - cols.start)
        vnir[:, rows, cols], truth[rows, cols] = simulate_tile(at, size, landscape)
    return Scene(vnir, truth, area_mean_radiance(truth, ratio), _geobox(shape, start), ratio, landscape)


def simulate_plume(shape: tuple[int, int] = (600, 600), *, ratio: int = 3, **settings: Any) -> Scene:
    """Simulate a thermal plume in calm water off a town: detail in LST that no band shows.

    The water's reflectance is one constant spectrum without noise (coefficient of variation 0), as
    over calm water; a sharpener must pass the plume through without inventing or losing anything.
    Parameters as in `simulate_scene`.

    Examples
    --------
    >>> scene = simulate_plume((120, 120))
    >>> bool((scene.vnir[0] == scene.vnir[0, -1, 0]).mean() > 0.2)
    True
    """
    return simulate_scene(shape, ratio=ratio, **{"kind": "plume", **settings})


def simulate_tile(
    origin: tuple[int, int], shape: tuple[int, int], landscape: Landscape
) -> tuple[Array, Array]:
    """Compute one window of the landscape: the building block for scenes of any size.

    Parameters
    ----------
    origin : tuple of int
        Row and column of the first pixel in the world; may be negative.
    shape : tuple of int
        Rows and columns.
    landscape : Landscape
        The world.

    Returns
    -------
    vnir : array of float32, shape ``(band, ny, nx)``
        Reflectance 0-1.
    truth : array of float32, shape ``(ny, nx)``
        LST in K.
    """
    grid = _Grid.of(origin, shape, landscape.seed)
    cover = _land_cover(grid, landscape)
    return _reflectance(grid, cover, landscape), _temperature(grid, cover, landscape)


# Files


def write_scene(scene: Scene, folder: str | Path) -> dict[str, Path]:
    """Write a scene as cloud-optimised GeoTIFFs, encoded as a data provider would.

    ``lst.tif`` (coarse grid) and ``truth.tif`` are uint16 in steps of 0.01 K with nodata 65535;
    every band is a file of its own, uint16 in steps of 0.0001 with nodata 0. Scale and unit are in
    the tags.

    Parameters
    ----------
    scene : Scene
        What to write.
    folder : path
        Made if absent; files of the same name are replaced.

    Returns
    -------
    dict of str to Path
        Keys ``"lst"``, ``"truth"`` and the names of the bands.

    Raises
    ------
    EncodingError
        If a value does not fit the encoding.
    """
    window = (slice(0, scene.truth.shape[0]), slice(0, scene.truth.shape[1]))
    layers = _layers(scene.landscape.bands, scene.vnir, scene.truth, scene.coarse)
    return _write(Path(folder), scene.geobox, scene.ratio, scene.landscape.bands, iter([(window, layers)]))


def write_simulation(
    folder: str | Path,
    shape: tuple[int, int],
    *,
    ratio: int = 3,
    tile: int = 1536,
    origin: tuple[int, int] | None = None,
    landscape: Landscape | None = None,
) -> dict[str, Path]:
    """Simulate a scene of any size straight into files, one tile in memory at a time.

    The files hold what `write_scene` would write for the same scene.

    Parameters
    ----------
    folder : path
        Made if absent; files of the same name are replaced.
    shape : tuple of int
        Rows and columns of the fine grid, multiples of `ratio`.
    ratio : int
        Fine pixels per coarse pixel along each axis.
    tile : int
        Rows and columns computed at once; rounded up to whole coarse pixels and whole blocks of the
        file.
    origin : tuple of int, optional
        As in `simulate_scene`.
    landscape : Landscape, optional
        The world; ``Landscape()`` by default.

    Returns
    -------
    dict of str to Path
        Keys ``"lst"``, ``"truth"`` and the names of the bands.

    Raises
    ------
    InputError
        If the shape is no multiple of the ratio.
    """
    _check_shape(shape, ratio)
    world = Landscape() if landscape is None else landscape
    start = _start(shape, ratio) if origin is None else YX(*origin)
    # Whole blocks on both grids: a partly written compressed block would be stored twice.
    whole = ratio * _BLOCKSIZE
    return _write(
        Path(folder), _geobox(shape, start), ratio, world.bands,
        _simulated(world, start, shape, ratio, -(-tile // whole) * whole),
    )  # fmt: skip


_BLOCKSIZE = 256
_Window = tuple[slice, slice]


def _simulated(
    world: Landscape, start: YX, shape: tuple[int, int], ratio: int, tile: int
) -> Iterator[tuple[_Window, dict[str, Array]]]:
    """Windows of the fine grid and the values of every file in them."""
    for rows, cols in _tiles(shape, tile):
        at = (start.y + rows.start, start.x + cols.start)
        vnir, truth = simulate_tile(at, (rows.stop - rows.start, cols.stop - cols.start), world)
        yield (rows, cols), _layers(world.bands, vnir, truth, area_mean_radiance(truth, ratio))


def _layers(bands: tuple[str, ...], vnir: Array, truth: Array, coarse: Array) -> dict[str, Array]:
    return {"lst": coarse, "truth": truth, **dict(zip(bands, vnir, strict=True))}


def _write(
    folder: Path,
    box: GeoBox,
    ratio: int,
    bands: tuple[str, ...],
    windows: Iterator[tuple[_Window, dict[str, Array]]],
) -> dict[str, Path]:
    """Fill plain tiled files window by window, then turn each into a COG.

    A COG itself cannot be written in pieces.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = ("lst", "truth", *bands)
    drafts = {name: folder / f"{name}.part.tif" for name in names}
    try:
        with ExitStack() as stack:
            files = {
                name: stack.enter_context(_create(path, name, box.zoom_out(ratio) if name == "lst" else box))
                for name, path in drafts.items()
            }
            for window, layers in windows:
                for name, values in layers.items():
                    _put(files[name], name, values, window, ratio if name == "lst" else 1)
        paths = {name: folder / f"{name}.tif" for name in names}
        for name, path in paths.items():
            copy(
                drafts[name],
                path,
                driver="COG",
                compress="DEFLATE",
                predictor="YES",
                blocksize=_BLOCKSIZE,
            )
    finally:
        for path in drafts.values():
            path.unlink(missing_ok=True)
    return paths


def _encoding(name: str) -> tuple[float, int, str]:
    """Scale, nodata and unit of a file."""
    return (0.01, 65535, "K") if name in ("lst", "truth") else (0.0001, 0, "1")


def _create(path: Path, name: str, box: GeoBox) -> DatasetWriter:
    """Open a new tiled uint16 GeoTIFF with scale, unit and description."""
    scale, nodata, unit = _encoding(name)
    file = rasterio.open(
        path,
        "w",
        driver="GTiff",
        dtype="uint16",
        count=1,
        nodata=nodata,
        height=box.height,
        width=box.width,
        crs=str(box.crs),
        transform=box.affine,
        tiled=True,
        blockxsize=_BLOCKSIZE,
        blockysize=_BLOCKSIZE,
        compress="DEFLATE",
        zlevel=1,
        predictor=2,
        bigtiff="IF_SAFER",
    )
    file.scales, file.offsets, file.units, file.descriptions = (scale,), (0.0,), (unit,), (name,)
    return file


def _put(file: DatasetWriter, name: str, values: Array, window: _Window, ratio: int) -> None:
    """Encode and write one window, given on the fine grid."""
    scale, nodata, _ = _encoding(name)
    numbers = np.rint(values / np.float64(scale))
    low, high = (1, 65535) if nodata == 0 else (0, 65534)
    if not ((numbers >= low) & (numbers <= high)).all():
        raise EncodingError(
            f"{name} runs from {np.min(values)} to {np.max(values)}, but its files hold "
            f"{low * scale:g} to {high * scale:g};"
            " change the settings of the landscape."
        )
    rows, cols = (slice(part.start // ratio, part.stop // ratio) for part in window)
    file.write(numbers.astype(np.uint16), 1, window=Window.from_slices(rows, cols))


# The world: hashed numbers and smooth noise at world positions


@dataclass(frozen=True, slots=True)
class _Grid:
    """Pixel positions of a window in the world."""

    seed: int
    row: NDArray[np.int64]
    """World rows, shape (ny,)."""
    col: NDArray[np.int64]
    """World columns, shape (nx,)."""

    @classmethod
    def of(cls, origin: tuple[int, int], shape: tuple[int, int], seed: int) -> _Grid:
        rows, cols = (
            np.arange(start, start + n, dtype=np.int64) for start, n in zip(origin, shape, strict=True)
        )
        return cls(seed, rows, cols)

    @property
    def y(self) -> NDArray[np.float64]:
        """Distance of the pixel centres south of the world's origin, m, shape (ny,)."""
        return np.asarray((self.row + 0.5) * PIXEL, np.float64)

    @property
    def x(self) -> NDArray[np.float64]:
        """Distance of the pixel centres east of the world's origin, m, shape (nx,)."""
        return np.asarray((self.col + 0.5) * PIXEL, np.float64)

    def noise(self, wavelength: float, stream: str) -> Array:
        """Smooth random field of zero mean and unit variance.

        It is a cubic B-spline over hashed knots every `wavelength` metres.
        """
        taps_y, weights_y = _spline_taps(self.y / wavelength)
        taps_x, weights_x = _spline_taps(self.x / wavelength)
        knot_y = np.arange(taps_y[0], taps_y[-1] + 4)
        knot_x = np.arange(taps_x[0], taps_x[-1] + 4)
        knots = (_uniform(_hash(self.seed, stream, knot_y[:, None], knot_x[None, :])) - 0.5) * np.float32(
            np.sqrt(12.0)
        )
        # Explicit sums over the four taps: a matrix product would sum in an order that depends on
        # the window.
        along_y = sum(weights_y[k][:, None] * knots[taps_y - knot_y[0] + k] for k in range(4))
        field_ = sum(weights_x[k] * along_y[:, taps_x - knot_x[0] + k] for k in range(4))
        return np.asarray(field_ / np.float32(0.479), np.float32)

    def white(self, stream: str) -> Array:
        """Independent, nearly normal noise of unit variance.

        It is the sum of the four quarters of a hash.
        """
        bits = _hash(self.seed, stream, self.row[:, None], self.col[None, :])
        total = sum(_uniform(bits, quarter) for quarter in range(4))
        return np.asarray((total - 2.0) * np.float32(np.sqrt(3.0)), np.float32)


def _hash(seed: int, stream: str, *keys: NDArray[Any]) -> NDArray[np.uint64]:
    """Give 64 hashed bits for every combination of the broadcast whole-number `keys`.

    The mixer is that of splitmix64.
    """
    # The stream's name enters by its bytes: Python's own hash() of a string differs from run to
    # run.
    start = (
        seed * 0x9E3779B97F4A7C15 + int.from_bytes(stream.encode(), "little") * 0xD1B54A32D192ED03
    ) % 2**64
    bits = np.full((1,) * keys[0].ndim, start, np.uint64)
    for key in keys:
        spread = np.asarray(key, np.int64).view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        bits = _mix(bits ^ spread)
    return bits


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _uniform(bits: NDArray[np.uint64], quarter: int = 0) -> Array:
    """Take a number in (0, 1) from one of the four 16-bit quarters of a hash."""
    lane = (bits >> np.uint64(16 * quarter)) & np.uint64(0xFFFF)
    return (lane.astype(np.float32) + np.float32(0.5)) / np.float32(65536.0)


def _spline_taps(position: NDArray[np.float64]) -> tuple[NDArray[np.int64], list[Array]]:
    """First of four knots under each position, and the four weights of the cubic B-spline."""
    first = np.floor(position).astype(np.int64)
    t = position - first
    weights = [
        (1 - t) ** 3 / 6,
        (3 * t**3 - 6 * t**2 + 4) / 6,
        (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
        t**3 / 6,
    ]
    return first - 1, [w.astype(np.float32) for w in weights]


def _blobs(grid: _Grid, *, pitch: float, jitter: float, radius: tuple[float, float], stream: str) -> Array:
    """One disc per lattice cell: 1 at its centre, 0 at its edge, negative outside.

    Where discs meet, the largest value holds.
    """
    out = np.full((grid.row.size, grid.col.size), -1.0, np.float32)
    reach = 2 * radius[1] + jitter
    for i in range(int((grid.y[0] - reach) // pitch), int((grid.y[-1] + reach) // pitch) + 1):
        for j in range(int((grid.x[0] - reach) // pitch), int((grid.x[-1] + reach) // pitch) + 1):
            bits = _hash(grid.seed, stream, np.array([i]), np.array([j]))
            dy, dx, size = (float(_uniform(bits, quarter)[0]) for quarter in range(3))
            centre_y = (i + 0.5) * pitch + (2 * dy - 1) * jitter
            centre_x = (j + 0.5) * pitch + (2 * dx - 1) * jitter
            disc = radius[0] + size * (radius[1] - radius[0])
            distance = np.hypot((grid.y - centre_y)[:, None], (grid.x - centre_x)[None, :])
            np.maximum(out, (1.0 - distance / disc).astype(np.float32), out=out)
    return out


def _edge(distance: NDArray[Any], half_width: float) -> Array:
    """Share of a pixel that a strip covers.

    The strip is `half_width` metres wide on each side of its axis, the pixel `distance` metres off.
    """
    return np.clip((half_width - distance) / PIXEL + 0.5, 0.0, 1.0).astype(np.float32)


# Land cover


@dataclass(frozen=True, slots=True)
class _Cover:
    """Shares of the components in every pixel (they sum to one).

    With them goes what shapes their spectra and temperature.
    """

    share: dict[str, Array]
    vigour: Array
    """Of the plants, 0-1: shows in the red edge and near infrared."""
    soil: Array
    """Brightness of the soil, 0 dark to 1 bright."""
    moisture: Array
    """Of the soil, unit variance; not in VNIR."""
    insulation: Array
    """Of the roofs, unit variance; not in VNIR."""
    town: Array
    """1 deep in a town, 0 at its edge and outside."""


def _land_cover(grid: _Grid, landscape: Landscape) -> _Cover:
    """Lay out fields, towns, roads and water."""
    u, v = _askew(grid)
    density = _blobs(grid, pitch=3600.0, jitter=300.0, radius=(550.0, 950.0), stream="town")
    density += np.float32(0.12) * grid.noise(250.0, "town edge")
    if landscape.kind == "fields":
        density = np.full_like(density, -1.0)
    cover, road = _fields(grid, u, v)
    built, insulation = _blocks(grid, u, v)
    inside = density > 0.0
    share = {
        name: np.where(inside, built.get(name, 0.0), cover.share.get(name, 0.0))
        for name in _names(cover.share, built)
    }
    _overlay(share, "asphalt", road)
    _overlay(share, "water", _water(grid, landscape.kind))
    return _Cover(
        {name: a.astype(np.float32) for name, a in share.items()},
        cover.vigour, cover.soil, cover.moisture, insulation, np.clip(density, 0.0, 1.0),
    )  # fmt: skip


def _names(*shares: dict[str, Array]) -> list[str]:
    """Components in the order of the spectra, so that sums always run in one order."""
    found = set().union(*shares)
    return [
        name
        for name in ("green", "dry", "soil", "asphalt", *_ROOFS, "water")
        if name in found or name == "water"
    ]


def _overlay(share: dict[str, Array], name: str, part: Array) -> None:
    """Cover `part` of every pixel by one component."""
    for other, was in share.items():
        share[other] = was * (1 - part)
    share[name] = share[name] + part


def _askew(grid: _Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give turned and gently bent coordinates in metres, in which parcels and blocks are square."""
    y = grid.y[:, None] + 45.0 * grid.noise(900.0, "bend y")
    x = grid.x[None, :] + 45.0 * grid.noise(900.0, "bend x")
    return _TURN[0] * x + _TURN[1] * y, _TURN[0] * y - _TURN[1] * x


def _fields(grid: _Grid, u: NDArray[np.float64], v: NDArray[np.float64]) -> tuple[_Cover, Array]:
    """Cover of the open land as if there were no towns, and the share of road in every pixel."""
    parcel, to_margin, road = _parcels(grid, u, v)
    crop, level, tone, wet = (_uniform(parcel, quarter) for quarter in range(4))
    patch = np.float32(0.7) * grid.noise(110.0, "patch") + np.float32(0.7) * grid.noise(35.0, "fine patch")
    green, dry = _crops(crop, level, patch)
    margin = _edge(to_margin, 4.0)
    green += margin * (np.float32(0.6) - green)
    dry += margin * (np.float32(0.25) - dry)
    vigour = 0.55 + 0.9 * (_uniform(_mix(parcel)) - 0.5) + 0.10 * grid.noise(60.0, "vigour")
    soil = 0.45 + 0.6 * (tone - 0.5) + 0.15 * grid.noise(1400.0, "soil") + 0.12 * grid.noise(70.0, "topsoil")
    # Three in ten parcels are irrigated; with the patches the sum has unit variance.
    moisture = 1.75 * ((wet < 0.3) - 0.3) + 0.6 * grid.noise(160.0, "moisture")
    share = {"green": green, "dry": dry, "soil": 1 - green - dry}
    nothing = np.zeros_like(green)
    cover = _Cover(
        share,
        vigour=np.clip(vigour, 0.0, 1.0).astype(np.float32),
        soil=np.clip(soil, 0.0, 1.0).astype(np.float32),
        moisture=moisture.astype(np.float32),
        insulation=nothing,
        town=nothing,
    )
    return cover, road


def _parcels(
    grid: _Grid, u: NDArray[np.float64], v: NDArray[np.float64]
) -> tuple[NDArray[np.uint64], NDArray[np.float64], Array]:
    """Find the parcel under every pixel.

    Returns its hash, the distance to its margin in m, and the share of road.
    """
    cell_u, cell_v = np.floor(u / _PARCEL_CELL), np.floor(v / _PARCEL_CELL)
    in_u, in_v = u - cell_u * _PARCEL_CELL, v - cell_v * _PARCEL_CELL
    cell = _hash(grid.seed, "parcel", cell_v.astype(np.int64), cell_u.astype(np.int64))
    split_u = _PARCEL_CELL * (0.38 + 0.24 * _uniform(cell))
    east = in_u > split_u
    split_v = _PARCEL_CELL * (0.38 + 0.24 * np.where(east, _uniform(cell, 1), _uniform(cell, 2)))
    south = in_v > split_v
    parcel = _mix(cell ^ (2 * south + east).astype(np.uint64))
    to_road_u = np.minimum(in_u, _PARCEL_CELL - in_u)
    to_road = np.minimum(to_road_u, np.minimum(in_v, _PARCEL_CELL - in_v))
    to_margin = np.minimum(np.abs(in_u - split_u), np.abs(in_v - split_v))
    # Every fourth line of cells carries a main road.
    main = np.abs(u - np.round(u / (4 * _PARCEL_CELL)) * 4 * _PARCEL_CELL)
    return (
        parcel,
        np.minimum(to_road, to_margin),
        np.maximum(_edge(to_road, 3.5), _edge(main, 11.0)),
    )


def _crops(crop: Array, level: Array, patch: Array) -> tuple[Array, Array]:
    """Green and dry cover (0-1) by kind of crop.

    The kinds are ploughed, stubble, row crop, dense crop and meadow.
    """
    kinds = np.searchsorted(np.array([0.18, 0.36, 0.58, 0.83], np.float32), crop)
    base = np.array([0.04, 0.08, 0.25, 0.72, 0.50], np.float32)[kinds]
    span = np.array([0.08, 0.10, 0.35, 0.22, 0.25], np.float32)[kinds]
    vary = np.array([0.02, 0.05, 0.13, 0.08, 0.10], np.float32)[kinds]
    straw = np.array([0.05, 0.65, 0.05, 0.04, 0.15], np.float32)[kinds]
    green = np.clip(base + span * level + vary * patch, 0.0, 0.97)
    return green, np.clip(straw * (1.0 + 0.25 * patch), 0.0, 0.95) * (1 - green)


def _blocks(grid: _Grid, u: NDArray[np.float64], v: NDArray[np.float64]) -> tuple[dict[str, Array], Array]:
    """Shares of the components as if everything were town, and the insulation of the roofs."""
    block_u, block_v = np.floor(u / _BLOCK), np.floor(v / _BLOCK)
    block = _hash(grid.seed, "block", block_v.astype(np.int64), block_u.astype(np.int64))
    roof = _hash(
        grid.seed,
        "roof",
        np.floor(v / _ROOF).astype(np.int64),
        np.floor(u / _ROOF).astype(np.int64),
    )
    in_u, in_v = u - block_u * _BLOCK, v - block_v * _BLOCK
    to_street = np.minimum(np.minimum(in_u, _BLOCK - in_u), np.minimum(in_v, _BLOCK - in_v))
    street = _edge(to_street, 4.0)
    use = _uniform(block)
    park, hall = use < 0.12, use > 0.72
    bits = np.where(hall, block, roof)
    built = np.where(park, 0.0, np.where(hall, 0.92, 0.30 + 0.45 * _uniform(roof, 3))).astype(np.float32)
    garden = np.where(park, 0.85, np.where(hall, 0.01, 0.65 * _uniform(block, 1))).astype(np.float32) * (
        1 - built
    )
    kind = np.searchsorted(np.array([0.35, 0.75], np.float32), _uniform(bits, 2))
    share = {name: built * (kind == k) * (1 - street) for k, name in enumerate(_ROOFS)}
    share["green"] = garden * (1 - street)
    share["asphalt"] = (1 - built - garden) * (1 - street) + street
    insulation = (_uniform(_mix(bits)) - 0.5) * np.float32(np.sqrt(12.0))
    return share, insulation


def _water(grid: _Grid, kind: str) -> Array:
    """Share of water: a river past the first town every 7.2 km, lakes.

    With a plume, it is everything south of a coast.
    """
    if kind == "plume":
        return _edge(_coast(grid) - grid.y[:, None], 0.0)
    meander = 2250.0 + 120.0 * np.sin(grid.x / 640.0) + 70.0 * np.sin(grid.x / 271.0 + 1.0)
    away = (grid.y[:, None] - meander + 3600.0) % 7200.0 - 3600.0
    river = _edge(np.abs(away), 42.0)
    lake = _blobs(grid, pitch=5200.0, jitter=1500.0, radius=(120.0, 300.0), stream="lake")
    return np.maximum(
        river, np.clip((lake + 0.1 * grid.noise(120.0, "shore")) * 20.0 + 0.5, 0.0, 1.0)
    ).astype(np.float32)


def _coast(grid: _Grid) -> NDArray[np.float64]:
    """Distance of the coast south of the world's origin at every column, m, shape (nx,)."""
    return 1900.0 + 90.0 * np.sin(grid.x / 400.0) + 40.0 * np.sin(grid.x / 130.0 + 2.0)


# Reflectance and temperature of the land cover


def _reflectance(grid: _Grid, cover: _Cover, landscape: Landscape) -> Array:
    """Mix the spectra; water stays exactly constant when it is calm."""
    out = np.empty((len(landscape.bands), grid.row.size, grid.col.size), np.float32)
    calm = cover.share["water"] >= 1.0 if landscape.kind == "plume" else None
    for at, band in enumerate(landscape.bands):
        k = BANDS.index(band)
        out[at] = sum(part * _spectrum(name, k, cover) for name, part in cover.share.items())
        if landscape.vnir_noise > 0.0:
            out[at] += np.float32(landscape.vnir_noise) * grid.white(f"noise {band}")
        np.clip(out[at], 1e-4, 1.0, out=out[at])
        if calm is not None:
            out[at][calm] = _SPECTRA["water"][k]
    return out


def _spectrum(name: str, band: int, cover: _Cover) -> Array | np.float32:
    """Reflectance of a pure component in one band: soils by brightness, plants by vigour."""
    if name == "soil":
        dark, bright = (np.float32(_SPECTRA[soil][band]) for soil in ("dark_soil", "bright_soil"))
        return dark + (bright - dark) * cover.soil
    value = np.float32(_SPECTRA[name][band])
    if name == "green" and BANDS[band] in ("nir", "nir08"):
        return value * (np.float32(0.75) + np.float32(0.40) * cover.vigour)
    if name == "green":
        return value * (np.float32(1.25) - np.float32(0.40) * cover.vigour)
    return value


def _temperature(grid: _Grid, cover: _Cover, landscape: Landscape) -> Array:
    """Mix the radiance of the components by a law that varies in space.

    What VNIR does not show is added.
    """
    radiance = np.zeros_like(cover.town)
    for name, kelvin in _component_temperature(grid, cover, landscape).items():
        # In units of (300 K)^4: single precision keeps all its digits.
        radiance += cover.share[name] * np.square(np.square(kelvin / np.float32(300.0)))
    truth = np.float32(300.0) * np.sqrt(np.sqrt(radiance))
    truth += np.float32(landscape.smooth) * grid.noise(2500.0, "smooth")
    truth += np.float32(landscape.noise) * grid.white("lst noise")
    return truth


def _component_temperature(grid: _Grid, cover: _Cover, landscape: Landscape) -> dict[str, Array]:
    """Temperature of every pure component in K, noon in summer."""
    spread = np.float32(landscape.law_spread)
    heat = 1 + spread * np.float32(0.22) * grid.noise(1800.0, "law soil")
    drought = np.clip(0.35 + spread * np.float32(0.25) * grid.noise(1500.0, "law plants"), 0.0, 1.0)
    city = 1 + spread * np.float32(0.22) * grid.noise(1200.0, "law roofs")
    air = 296.0 + 1.5 * cover.town
    green = cover.share["green"]
    # Shade: the more plants, the cooler the soil between them.
    soil = air + heat * (23.0 - 10.0 * cover.soil) * (1 - 0.45 * green) - landscape.moisture * cover.moisture
    plants = air + 1.0 + 7.0 * drought + 6.0 * (1 - cover.vigour)
    kelvin = {"green": plants, "dry": air + 13.0 * heat, "soil": soil, "asphalt": air + 15.0 * city}
    for name, warmth in zip(_ROOFS, (24.0, 16.0, 6.0), strict=True):
        kelvin[name] = air + warmth * city + landscape.insulation * cover.insulation
    kelvin["water"] = np.full_like(green, 292.0) + _plume(grid, landscape.kind)
    return {name: kelvin[name].astype(np.float32) for name in cover.share}


def _plume(grid: _Grid, kind: str) -> Array | np.float32:
    """Warm outfall off the coast, K: 9 K at the mouth, drifting east and widening."""
    if kind != "plume":
        return np.float32(0.0)
    mouth_x = 1550.0
    along = (grid.x - mouth_x)[None, :]
    axis = 2060.0 + 0.22 * along + 25.0 * np.sin(along / 110.0)
    width = 28.0 + 0.10 * np.maximum(along, 0.0)
    across = np.exp(-0.5 * ((grid.y[:, None] - axis) / width) ** 2)
    fade = np.exp(-np.maximum(along, 0.0) / 700.0) * np.exp(-0.5 * (np.minimum(along, 0.0) / 22.0) ** 2)
    return (9.0 * fade * across).astype(np.float32)


# Grids


def _check_shape(shape: tuple[int, int], ratio: int) -> None:
    if ratio < 2 or any(n <= 0 or n % ratio for n in shape):
        raise InputError(
            f"shape {tuple(shape)} must be positive multiples of the ratio {ratio}, which must be 2 or more."
        )


def _start(shape: tuple[int, int], ratio: int) -> YX:
    """First pixel of a scene around the first town, on a border of coarse cells."""
    return YX(*((180 - n // 2) // ratio * ratio for n in shape))


def _geobox(shape: tuple[int, int], start: YX) -> GeoBox:
    """Fine grid of a scene in UTM zone 32 north, in round coordinates at the world's origin."""
    corner = Affine(PIXEL, 0.0, 600000.0 + start.x * PIXEL, 0.0, -PIXEL, 5400000.0 - start.y * PIXEL)
    return GeoBox(shape, corner, "EPSG:32632")


def _tiles(shape: tuple[int, int], size: int) -> Iterator[tuple[slice, slice]]:
    """Windows of at most ``size x size`` pixels that cover a grid."""
    for y in range(0, shape[0], size):
        for x in range(0, shape[1], size):
            yield slice(y, min(y + size, shape[0])), slice(x, min(x + size, shape[1]))

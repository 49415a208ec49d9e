"""Data that are missing, garbage, or oddly placed: a result with flags, or an error that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from typer.testing import CliRunner, Result

import lstzoom
from lstzoom import cli
from lstzoom.errors import GridMismatchError, InputError, LstzoomError, UnitsError
from lstzoom.kernels.uncertainty import UNKNOWN
from lstzoom.simulate import Scene, simulate_scene

Floats: TypeAlias = NDArray[np.float32]
Masks: TypeAlias = NDArray[np.bool_]
FINE, RATIO = 60, 3
COARSE: Final = FINE // RATIO
HIT = (slice(3, 6), slice(4, 8))
"""Coarse pixels that garbage is put into."""
NODATA, INTERPOLATED, MASKED, UNSUPPORTED = 0, 3, 4, 5


@pytest.fixture(scope="module")
def scene() -> Scene:
    return simulate_scene((FINE, FINE), bands=("green", "red", "nir"), seed=3)


def same(values: Any) -> Any:  # noqa: ANN401
    return values


def sharpened(
    scene: Scene, lst: Callable[[Floats], Floats] = same, vnir: Callable[[Floats], Floats] = same,
    valid: Masks | None = None,
) -> xr.Dataset:  # fmt: skip
    given = scene.to_xarray()
    with np.errstate(over="ignore"):
        cold = given.lst.copy(data=np.asarray(lst(given.lst.values.copy()), np.float32))
        bands = given.vnir.copy(data=np.asarray(vnir(given.vnir.values.copy()), np.float32))
    mask = None
    if valid is not None:
        like = cold if valid.shape == cold.shape else bands.isel(band=0, drop=True)
        mask = like.copy(data=valid)
    return lstzoom.sharpen(bands, cold, valid=mask)


def up(mask: Masks) -> Masks:
    return mask.repeat(RATIO, 0).repeat(RATIO, 1)


def require_consistent(sharp: xr.Dataset) -> None:
    """What holds of every result, whatever went in: values where flags say so, none elsewhere."""
    has = np.isfinite(sharp.lst.values)
    np.testing.assert_array_equal(has, ~np.isin(sharp.qa.values, (NODATA, MASKED)))
    assert not np.isinf(sharp.lst.values).any()
    np.testing.assert_array_equal(np.isfinite(sharp.lst_uncertainty.values), has)
    assert (sharp.lst_uncertainty.values[has] > 0).all()
    if has.any():
        assert 200 < np.nanmin(sharp.lst.values) <= np.nanmax(sharp.lst.values) < 400


def hit() -> Masks:
    mask = np.zeros((COARSE, COARSE), bool)
    mask[HIT] = True
    return mask


def row(fault: str, outcome: str, *values: Any) -> Any:  # noqa: ANN401  (what pytest.param returns)
    return pytest.param(*values, marks=pytest.mark.fault(fault, outcome), id=fault.replace(" ", "-"))


MISSING = "no value there, qa 0; the rest as if it were not there"


@pytest.mark.parametrize(
    "value",
    [
        row(f"LST holds {name}", MISSING, value)
        for name, value in (
            ("NaN", np.nan),
            ("+inf", np.inf),
            ("-inf", -np.inf),
            ("-9999 undeclared", -9999),
            ("0 undeclared", 0),
            ("65535 undeclared", 65535),
            ("-3.4e38 undeclared", -3.4028235e38),
            ("negative kelvin", -5.0),
            ("1e30", 1e30),
        )
    ],
)
def test_garbage_in_lst(scene: Scene, value: float) -> None:
    def put(lst: Floats) -> Floats:
        lst[HIT] = value
        return lst

    def nothing(lst: Floats) -> Floats:
        lst[HIT] = np.nan
        return lst

    sharp, reference = sharpened(scene, put), sharpened(scene, nothing)
    require_consistent(sharp)
    np.testing.assert_array_equal(np.isnan(sharp.lst.values), up(hit()))
    assert (sharp.qa.values[up(hit())] == NODATA).all()
    np.testing.assert_array_equal(sharp.lst.values, reference.lst.values)


@pytest.mark.parametrize(
    "convert",
    [
        row(f"LST in {name}, given as kelvin", "UnitsError: kelvin are needed", convert)
        for name, convert in (
            ("Celsius", lambda k: k - 273.15),
            ("Celsius below zero", lambda k: k - 273.15 - 60),
            ("Fahrenheit", lambda k: (k - 273.15) * 1.8 + 32),
            ("hundredths of kelvin", lambda k: k * 100),
            ("tenths of kelvin", lambda k: k * 10),
            ("Landsat's numbers", lambda k: (k - 149) / 0.00341802),
        )
    ],
)
def test_lst_in_another_unit(scene: Scene, convert: Callable[[Floats], Floats]) -> None:
    with pytest.raises(UnitsError, match=r"LST runs from .* but kelvin are needed; add 273\.15 to Celsius"):
        sharpened(scene, convert)


@pytest.mark.parametrize(
    ("value", "flag"),
    [
        row("all of LST is NaN", "no value anywhere, qa 0", np.nan, NODATA),
        row("all of LST is -9999", "no value anywhere, qa 0", -9999, NODATA),
        row("all of LST is 0", "no value anywhere, qa 0", 0, NODATA),
        row("LST is constant", "that constant everywhere, qa 5", 300, UNSUPPORTED),
    ],
)
def test_lst_of_one_number(scene: Scene, value: float, flag: int) -> None:
    sharp = sharpened(scene, lambda lst: np.full_like(lst, value))
    require_consistent(sharp)
    assert (sharp.qa.values == flag).all()
    if flag:
        np.testing.assert_allclose(sharp.lst.values, value, atol=1e-3)


def alone(size: int, at: int, wide: int = 1) -> Masks:
    mask = np.zeros((size, size), bool)
    mask[at : at + wide, at : at + wide] = True
    return mask


def board(size: int) -> Masks:
    return np.add.outer(np.arange(size), np.arange(size)) % 2 == 0


@pytest.mark.parametrize(
    "valid",
    [
        row(
            "everything is masked, on the fine grid", "no value anywhere, qa 4", np.zeros((FINE, FINE), bool)
        ),
        row(
            "everything is masked, on the coarse grid",
            "no value anywhere, qa 4",
            np.zeros((COARSE, COARSE), bool),
        ),
        row("one coarse pixel is not masked", "its temperature, nothing elsewhere", alone(COARSE, 9)),
        row("one fine pixel is not masked", "its coarse temperature, nothing elsewhere", alone(FINE, 31)),
        row("a mask is a checkerboard of fine pixels", "values where it is not masked", board(FINE)),
        row("a mask is a checkerboard of coarse pixels", "values where it is not masked", board(COARSE)),
    ],
)
def test_masks(scene: Scene, valid: Masks) -> None:
    sharp = sharpened(scene, valid=valid)
    require_consistent(sharp)
    visible = valid if valid.shape[0] == FINE else up(valid)
    if valid.shape[0] == COARSE and valid.any():
        # No two neighbours tell how rough the LST is: nothing is claimed to be known well.
        assert sharp.lst_uncertainty.values[visible].min() >= UNKNOWN
    np.testing.assert_array_equal(np.isfinite(sharp.lst.values), visible)
    assert (sharp.qa.values[~visible] == MASKED).all()
    coarse = scene.to_xarray().lst.values.repeat(RATIO, 0).repeat(RATIO, 1)
    assert np.abs(sharp.lst.values - coarse)[visible].max(initial=0) < 10


@pytest.mark.fault("one LST pixel has a value", "it, nothing elsewhere, qa 0")
def test_one_pixel_of_lst(scene: Scene) -> None:
    there = alone(COARSE, 9)
    sharp = sharpened(scene, lambda lst: np.where(there, lst, np.float32(np.nan)))
    require_consistent(sharp)
    np.testing.assert_array_equal(np.isfinite(sharp.lst.values), up(there))


@pytest.mark.fault("LST lacks every fifth column", MISSING)
def test_stripes_of_lst(scene: Scene) -> None:
    gap = np.broadcast_to(np.arange(COARSE) % 5 == 0, (COARSE, COARSE))
    sharp = sharpened(scene, lambda lst: np.where(gap, np.float32(np.nan), lst))
    require_consistent(sharp)
    np.testing.assert_array_equal(np.isnan(sharp.lst.values), up(gap))


def put(value: float, where: tuple[slice, slice] | Masks) -> Callable[[Floats], Floats]:
    def change(vnir: Floats) -> Floats:
        vnir[:, *where] = value
        return vnir

    return change


FINE_HIT = (slice(9, 18), slice(12, 24))
STRIPES = (slice(None), slice(0, FINE, 5))


@pytest.mark.parametrize(
    ("vnir", "missing"),
    [
        row("reflectance holds NaN", "interpolated there, qa 3", put(np.nan, FINE_HIT), up(hit())),
        row("reflectance holds +inf", "interpolated there, qa 3", put(np.inf, FINE_HIT), up(hit())),
        row("reflectance holds -inf", "interpolated there, qa 3", put(-np.inf, FINE_HIT), up(hit())),
        row(
            "reflectance lacks every fifth column",
            "interpolated there, qa 3",
            put(np.nan, STRIPES),
            np.broadcast_to(np.arange(FINE) % 5 == 0, (FINE, FINE)),
        ),
        row(
            "all of reflectance is NaN",
            "interpolated everywhere, qa 3",
            lambda v: v * np.nan,
            np.ones((FINE, FINE), bool),
        ),
        row(
            "one band is NaN",
            "interpolated everywhere, qa 3",
            lambda v: np.concatenate([v[:2], v[2:] * np.nan]),
            np.ones((FINE, FINE), bool),
        ),
    ],
)
def test_missing_reflectance(scene: Scene, vnir: Callable[[Floats], Floats], missing: Masks) -> None:
    sharp = sharpened(scene, vnir=vnir)
    require_consistent(sharp)
    assert np.isfinite(sharp.lst.values).all()
    np.testing.assert_array_equal(sharp.qa.values == INTERPOLATED, missing)


def mean_of(sharp: xr.Dataset) -> Floats:
    values = sharp.lst.values.astype(np.float64).reshape(COARSE, RATIO, COARSE, RATIO)
    return np.asarray((values**4).mean((1, 3)) ** 0.25, np.float32)


CONSERVED = "a result that conserves the LST"


@pytest.mark.parametrize(
    "vnir",
    [
        row("reflectance has saturated stripes", CONSERVED, put(1.6, STRIPES)),
        row(
            "reflectance holds -9999 undeclared",
            f"{CONSERVED}; declare it with --nodata",
            put(-9999, FINE_HIT),
        ),
        row(
            "reflectance holds 65535 undeclared",
            f"{CONSERVED}; declare it with --nodata",
            put(65535, FINE_HIT),
        ),
        row("reflectance is 0 in a part", CONSERVED, put(0, FINE_HIT)),
        row("reflectance is negative", CONSERVED, lambda v: v - 0.3),
        row("one band is constant", CONSERVED, lambda v: np.concatenate([v[:2], np.full_like(v[2:], 0.3)])),
        row(
            "reflectance does not vary within coarse pixels (CV = 0)",
            CONSERVED,
            lambda v: v[:, 1::3, 1::3].repeat(3, 1).repeat(3, 2),
        ),
        row(
            "reflectance is one index, partly negative",
            CONSERVED,
            lambda v: (v[2:] - v[1:2]) / (v[2:] + v[1:2]),
        ),
    ],
)
def test_odd_reflectance(scene: Scene, vnir: Callable[[Floats], Floats]) -> None:
    given = scene.to_xarray()
    bands = np.asarray(vnir(given.vnir.values.copy()), np.float32)
    sharp = lstzoom.sharpen(given.vnir[: len(bands)].copy(data=bands), given.lst)
    require_consistent(sharp)
    assert np.isfinite(sharp.lst.values).all()
    np.testing.assert_allclose(mean_of(sharp), given.lst.values, atol=0.01)


@pytest.mark.parametrize(
    "value",
    [
        row("reflectance is constant", "interpolated, qa 5", 0.2),
        row("reflectance is 0", "interpolated, qa 5", 0),
    ],
)
def test_constant_reflectance(scene: Scene, value: float) -> None:
    sharp = sharpened(scene, vnir=lambda v: np.full_like(v, value))
    require_consistent(sharp)
    assert (sharp.qa.values == UNSUPPORTED).all()


@pytest.mark.parametrize(
    "factor",
    [
        row("reflectance in whole numbers (DN)", "the same as in 0..1 up to rounding", 10_000.0),
        row("reflectance in percent", "the same as in 0..1 up to rounding", 100.0),
        row("reflectance in very large numbers", "the same as in 0..1 up to rounding", 1e30),
        row("reflectance in very small numbers", "the same as in 0..1 up to rounding", 1e-30),
    ],
)
def test_units_of_reflectance_are_free(scene: Scene, factor: float) -> None:
    sharp = sharpened(scene, vnir=lambda v: v * np.float32(factor))
    # Numbers that are no power of two apart round differently, and a tie may split a tree elsewhere.
    assert np.sqrt(np.mean((sharp.lst.values - sharpened(scene).lst.values) ** 2)) < 0.02


# Places


@dataclass(frozen=True)
class Placed:
    """The scene as arrays on another ground."""

    vnir: xr.DataArray
    lst: xr.DataArray


def on(values: Floats, grid: GeoBox) -> xr.DataArray:
    dims = ("band", "y", "x")[3 - values.ndim :]
    return xr.DataArray(values, dict(xr_coords(grid, dims=("y", "x"))), dims)


def at(scene: Scene, crs: str, left: float, top: float, pixel: float = 10.0) -> Placed:
    given = scene.to_xarray()
    fine = GeoBox((FINE, FINE), Affine(pixel, 0, left, 0, -pixel, top), crs)
    coarse = GeoBox((COARSE, COARSE), Affine(pixel * 3, 0, left, 0, -pixel * 3, top), crs)
    return Placed(on(given.vnir.values, fine), on(given.lst.values, coarse))


@pytest.mark.parametrize(
    ("crs", "left", "top", "pixel"),
    [
        row(
            "a scene at the antimeridian (UTM zone 60)",
            "the same values as elsewhere",
            "EPSG:32660",
            707_000.0,
            7_300_000.0,
            10.0,
        ),
        row("a polar scene (EPSG:3031)", "the same values as elsewhere", "EPSG:3031", -1000.0, 2000.0, 10.0),
        row("a polar scene (EPSG:3413)", "the same values as elsewhere", "EPSG:3413", -300.0, 300.0, 10.0),
        row(
            "a scene south of the equator in a northern zone",
            "the same values as elsewhere",
            "EPSG:32619",
            500_000.0,
            -300.0,
            10.0,
        ),
        row("grids in degrees", "the same values as elsewhere", "EPSG:4326", 11.0, 48.0, 1e-4),
    ],
)
def test_the_place_does_not_matter(scene: Scene, crs: str, left: float, top: float, pixel: float) -> None:
    placed = at(scene, crs, left, top, pixel)
    sharp = lstzoom.sharpen(placed.vnir, placed.lst)
    require_consistent(sharp)
    np.testing.assert_array_equal(sharp.lst.values, sharpened(scene).lst.values)


@pytest.mark.fault("LST and reflectance lie on two sides of 180 degrees", "read at the right place")
def test_two_zones_at_the_antimeridian(scene: Scene) -> None:
    """LST in zone 60, reflectance in zone 1: it grows with x on the ground."""
    from lstzoom.regrid import regrid

    centre = GeoBox((1, 1), Affine(10, 0, 719_000.0, 0, -10, 7_300_000.0), "EPSG:32660")
    (x, y) = centre.extent.centroid.to_crs("EPSG:32601").points[0]
    wide = GeoBox((200, 200), Affine(10, 0, round(x, -1) - 1000, 0, -10, round(y, -1) + 1000), "EPSG:32601")
    ramp = np.broadcast_to(np.arange(200, dtype=np.float32), (1, 200, 200)).copy()
    target = GeoBox((FINE, FINE), Affine(10, 0, 718_700.0, 0, -10, 7_300_300.0), "EPSG:32660")
    found = np.asarray(regrid(on(ramp, wide), target))[0]
    row_, column = 20, 40
    px, py = target.affine @ (column + 0.5, row_ + 0.5)
    u, _ = target.crs.transformer_to_crs("EPSG:32601")(px, py)  # type: ignore[union-attr]
    assert found[row_, column] == pytest.approx((u - wide.affine.c) / 10 - 0.5, abs=0.02)


@pytest.mark.parametrize(
    ("moved", "outcome"),
    [
        row(
            "reflectance covers a sliver at the edge of the LST",
            "interpolated elsewhere, qa 3",
            (0.0, 30.0 * (COARSE - 1)),
            "sliver",
        ),
        row("reflectance ends within the LST", "interpolated elsewhere, qa 3", (300.0, 300.0), "part"),
        row("reflectance lies beside the LST", "GridMismatchError: they do not overlap", (9e5, 0.0), "none"),
    ],
)
def test_edges(scene: Scene, moved: tuple[float, float], outcome: str) -> None:
    placed, other = (
        at(scene, "EPSG:32632", 6e5, 54e5),
        at(scene, "EPSG:32632", 6e5 + moved[1], 54e5 - moved[0]),
    )
    if outcome == "none":
        other = at(scene, "EPSG:32632", 6e5 + 9e4, 54e5)
        with pytest.raises(GridMismatchError, match="overlap"):
            lstzoom.sharpen(other.vnir, placed.lst)
        return
    sharp = lstzoom.sharpen(other.vnir, placed.lst)
    require_consistent(sharp)
    assert np.isfinite(sharp.lst.values).all()
    assert (sharp.qa.values == INTERPOLATED).mean() > 0.7


@pytest.mark.fault("reflectance is coarser than the LST", "GridMismatchError")
def test_reflectance_coarser_than_lst(scene: Scene) -> None:
    placed = at(scene, "EPSG:32632", 6e5, 54e5)
    with pytest.raises(GridMismatchError):
        lstzoom.sharpen(placed.lst.expand_dims("band"), placed.vnir[0] + 300)


@pytest.mark.fault("a scene of four coarse pixels", "InputError: at least 5 x 5 are needed")
def test_a_scene_that_is_too_small(scene: Scene) -> None:
    placed = at(scene, "EPSG:32632", 6e5, 54e5)
    with pytest.raises(InputError, match="at least 5 x"):
        lstzoom.sharpen(placed.vnir[:, :6, :6], placed.lst[:2, :2])


# Files, on the command line


def save(
    path: Path, values: NDArray[Any], transform: Affine, crs: str | None = "EPSG:32632", **how: Any
) -> str:
    planes = values if values.ndim == 3 else values[None]
    units, scales = how.pop("units", ""), how.pop("scale", 1.0)
    with rasterio.open(
        path, "w", driver="GTiff", count=len(planes), height=planes.shape[1], width=planes.shape[2],
        dtype=planes.dtype, transform=transform, crs=crs, **how,
    ) as file:  # fmt: skip
        file.write(planes)
        if units:
            file.units = (units,) * len(planes)
        if scales != 1.0:
            file.scales = (scales,) * len(planes)
    return str(path)


TOP = 5_400_000.0
COARSE_AT, FINE_AT = Affine(30, 0, 6e5, 0, -30, TOP), Affine(10, 0, 6e5, 0, -10, TOP)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    for name, value in (("GDAL_CACHEMAX", "256"), ("DASK_LOGGING__DISTRIBUTED", "error"), ("COLUMNS", "300")):
        monkeypatch.setenv(name, value)

    def call(lst: str, vnir: str, *more: str) -> Result:
        out = str(tmp_path / "out.tif")
        return CliRunner().invoke(cli.app, ["sharpen", lst, vnir, "-o", out, "--quiet", *more])

    return call


def result(tmp_path: Path) -> Floats:
    with rasterio.open(tmp_path / "out.tif") as file:
        return np.asarray(file.read(1, masked=True).filled(0) * np.float32(file.scales[0]))


@pytest.mark.parametrize(
    ("convert", "wrong", "right"),
    [
        row(
            "a file in Celsius",
            "exit code 3, the message names --lst-units C, that fixes it",
            lambda k: k - 273.15,
            [],
            ["--lst-units", "C"],
        ),
        row(
            "a file in kelvin, said to be Celsius",
            "exit code 3, the message names --lst-units K, that fixes it",
            lambda k: k,
            ["--lst-units", "C"],
            ["--lst-units", "K"],
        ),
        row(
            "a file of numbers without their scale",
            "exit code 3, the message names scale and offset",
            lambda k: (k - 149) / 0.00341802,
            [],
            ["--lst-scale", "0.00341802", "--lst-offset", "149"],
        ),
    ],
)
def test_units_are_sniffed_and_refused_with_the_switch_that_fixes_them(
    scene: Scene, tmp_path: Path, run: Callable[..., Result], convert: Callable[[Floats], Floats],
    wrong: list[str], right: list[str],
) -> None:  # fmt: skip
    given = scene.to_xarray()
    lst = save(tmp_path / "lst.tif", np.asarray(convert(given.lst.values), np.float32), COARSE_AT)
    vnir = save(tmp_path / "vnir.tif", given.vnir.values, FINE_AT)
    done = run(lst, vnir, *wrong)
    assert done.exit_code == 3
    assert (" ".join(right) if "--lst-units" in right else "scale and offset") in done.stderr
    assert not (tmp_path / "out.tif").exists()
    done = run(lst, vnir, *right)
    assert done.exit_code == 0, done.stderr
    np.testing.assert_allclose(result(tmp_path), sharpened(scene).lst.values, atol=0.06)


@pytest.mark.fault("a unit tag says Celsius", "converted; the same values")
def test_a_unit_tag(scene: Scene, tmp_path: Path, run: Callable[..., Result]) -> None:
    given = scene.to_xarray()
    lst = save(tmp_path / "lst.tif", given.lst.values - np.float32(273.15), COARSE_AT, units="celsius")
    done = run(lst, save(tmp_path / "vnir.tif", given.vnir.values, FINE_AT))
    assert done.exit_code == 0, done.stderr
    np.testing.assert_allclose(result(tmp_path), sharpened(scene).lst.values, atol=0.03)


@pytest.mark.fault("south-up files", "turned; the same values")
def test_south_up(scene: Scene, tmp_path: Path, run: Callable[..., Result]) -> None:
    given, height = scene.to_xarray(), 10.0 * FINE
    lst = save(tmp_path / "lst.tif", given.lst.values[::-1], Affine(30, 0, 6e5, 0, 30, TOP - height))
    vnir = save(tmp_path / "vnir.tif", given.vnir.values[:, ::-1], Affine(10, 0, 6e5, 0, 10, TOP - height))
    done = run(lst, vnir)
    assert done.exit_code == 0, done.stderr
    np.testing.assert_allclose(result(tmp_path), sharpened(scene).lst.values, atol=0.006)


@pytest.mark.parametrize(
    ("transform", "crs", "message"),
    [
        row(
            "a rotated geotransform",
            "exit code 3: warp it first",
            FINE_AT @ Affine.rotation(10),
            "EPSG:32632",
            "gdalwarp",
        ),
        row(
            "a sheared geotransform",
            "exit code 3: warp it first",
            FINE_AT @ Affine.shear(8),
            "EPSG:32632",
            "gdalwarp",
        ),
        row(
            "columns from east to west",
            "exit code 3: warp it first",
            Affine(-10, 0, 6e5 + 600, 0, -10, TOP),
            "EPSG:32632",
            "gdalwarp",
        ),
        row("no geotransform", "exit code 3", Affine.identity(), "EPSG:32632", "geotransform"),
        row("no CRS", "exit code 3: set it with gdal_edit.py", FINE_AT, None, "no CRS"),
    ],
)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_grids_that_cannot_be_used(
    scene: Scene, tmp_path: Path, run: Callable[..., Result], transform: Affine, crs: str | None, message: str
) -> None:
    given = scene.to_xarray()
    lst = save(tmp_path / "lst.tif", given.lst.values, COARSE_AT)
    done = run(lst, save(tmp_path / "vnir.tif", given.vnir.values, transform, crs))
    assert done.exit_code == 3, done.stderr
    assert message in done.stderr
    assert "vnir.tif" in done.stderr
    assert not (tmp_path / "out.tif").exists()


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        row(
            "complex numbers", "exit code 3: real numbers are needed", "complex64", "real numbers are needed"
        ),
        row("bytes", "the same as any numbers", "uint8", ""),
        row("double precision", "the same as any numbers", "float64", ""),
    ],
)
def test_data_types_of_reflectance(
    scene: Scene, tmp_path: Path, run: Callable[..., Result], dtype: str, message: str
) -> None:
    given = scene.to_xarray()
    numbers = np.round(given.vnir.values * 250).astype(dtype)
    done = run(
        save(tmp_path / "lst.tif", given.lst.values, COARSE_AT), save(tmp_path / "v.tif", numbers, FINE_AT)
    )
    assert done.exit_code == (3 if message else 0), done.stderr
    assert message in done.stderr


@pytest.mark.fault("nodata is told in tags (0 and -9999 in whole numbers)", "missing there; scale applied")
def test_nodata_in_tags(scene: Scene, tmp_path: Path, run: Callable[..., Result]) -> None:
    given = scene.to_xarray()
    numbers = np.round(given.lst.values * 50).astype(np.int32)
    numbers[HIT] = -9999
    bands = np.round(given.vnir.values * 10_000).astype(np.uint16)
    bands[:, :3, :3] = 0
    lst = save(tmp_path / "lst.tif", numbers, COARSE_AT, nodata=-9999, scale=0.02)
    qa = str(tmp_path / "qa.tif")
    done = run(lst, save(tmp_path / "vnir.tif", bands, FINE_AT, nodata=0), "--qa", qa)
    assert done.exit_code == 0, done.stderr
    with rasterio.open(qa) as file:
        flags = file.read(1)
    assert (flags[up(hit())] == NODATA).all()
    assert (flags[:3, :3] == INTERPOLATED).all()
    assert (result(tmp_path)[~up(hit())] > 250).all()


def test_every_error_is_ours() -> None:
    assert issubclass(UnitsError, LstzoomError)

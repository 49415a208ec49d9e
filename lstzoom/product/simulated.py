"""Simulated bundles that follow the published contract, for tests, demonstrations and trying things out.

Pixels come from `lstzoom.simulate`; names, files, encodings, masks and metadata are those of the documents.
A cloud with a thin rim and a shadow lies over a part, a strip of the scene was not seen (blackfill), and
bright pixels are saturated in blue.
"""

from __future__ import annotations

import json
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning
from rasterio.shutil import copy

from lstzoom.errors import InputError
from lstzoom.product import metadata as md
from lstzoom.product.bundle import VNIR, BandFacts
from lstzoom.product.encoding import DOCUMENTED, Variable
from lstzoom.product.fields import centre, footprint, outline
from lstzoom.product.naming import BundleName, LongName, ShortName, Style, geohash
from lstzoom.simulate import Scene, simulate_scene

Array: TypeAlias = NDArray[Any]

WHEN: Final = datetime(2026, 7, 8, 10, 31, 15, 250_000, tzinfo=UTC)
ORDER: Final = "cae562b6-04a2-48cf-a044-eb61064e4c9b"
_SIMULATED: Final = ("blue", "green", "red", "rededge", "nir", "nir08")
# Bands that the simulation has not, as shares of those that it has.
_MIXES: Final[Mapping[int, Mapping[str, float]]] = {
    1: {"blue": 1.0},
    2: {"blue": 1.0},
    3: {"green": 1.0},
    4: {"red": 1.0},
    5: {"rededge": 1.0},
    6: {"rededge": 0.5, "nir": 0.5},
    7: {"rededge": 0.2, "nir": 0.8},
    8: {"nir": 1.0},
    9: {"nir08": 1.0},
    10: {"nir08": 1.0},
}
_THICK, _THIN, _SHADOW = 1, 2, 3
_SATURATED: Final = 0.32
_STRIP: Final = 2  # coarse pixels that VNIR did not see
_TIR_BANDS: Final = ((8.6, 0.3), (9.2, 0.3), (10.6, 0.5), (11.75, 0.5))
_THUMBNAIL: Final = 128


@dataclass(frozen=True, slots=True)
class BundlePlan:
    """What kind of bundle to simulate.

    Attributes
    ----------
    style
        Of the names; it decides which files there are, as each had its time.
    configuration
        Of the metadata.
    product
        ``"LSTzoom"`` has its temperature at 10 m.
    night
        No reflectance, and one classification without clouds.
    vnir, sharpened
        Options of an LSTprecision bundle with long names.
    tagged
        Scale, offset, nodata and unit stand in the files' tags, too.
    quality
        Quality files hold three bands or one of bits.
    aoi
        Area in the names of September 2025; every file then begins with the name of the bundle.
    acquired
        Time of acquisition.
    """

    style: Style = "long"
    configuration: Literal["A", "B"] = "A"
    product: Literal["LSTprecision", "LSTzoom"] = "LSTprecision"
    night: bool = False
    vnir: bool = True
    sharpened: bool = False
    tagged: bool = True
    quality: Literal["bands", "bits"] = "bands"
    aoi: str = ""
    acquired: datetime = WHEN

    @property
    def edition(self) -> md.Edition:
        """Column of the documentation that lists the keys of the metadata."""
        return md.edition_of(self.product, self.configuration)


class _Layer(NamedTuple):
    """A raster to write: numbers (band, y, x) as stored."""

    numbers: Array
    grid: GeoBox
    variable: Variable | None = None
    names: tuple[str, ...] = ()


@dataclass(slots=True)
class _Ground:
    """The scene, and what lies over it, on the fine grid."""

    scene: Scene
    plan: BundlePlan
    cloud: Array = field(init=False)
    unseen: Array = field(init=False)

    def __post_init__(self) -> None:
        self.cloud = _clouds(self.scene.truth.shape) * np.uint8(not self.plan.night)
        self.unseen = np.zeros(self.scene.truth.shape, np.bool_)
        self.unseen[:, -_STRIP * self.scene.ratio :] = True

    def band(self, facts: BandFacts) -> Array:
        """Reflectance at the band's own pixel size."""
        names = self.scene.landscape.bands
        values = sum(
            share * self.scene.vnir[names.index(name)].astype(np.float64)
            for name, share in _MIXES[facts.number].items()
        )
        assert not isinstance(values, int)  # noqa: S101  (every band is mixed from something)
        covered = np.where(
            self.cloud == _THICK, 0.6, np.where(self.cloud == _THIN, 0.5 * values + 0.2, values)
        )
        covered = np.where(self.cloud == _SHADOW, 0.4 * covered, covered)
        return _block_mean(covered, self.factor(facts))

    def factor(self, facts: BandFacts) -> int:
        """Fine pixels along a pixel of the band."""
        return round(facts.pixel / 10)

    def temperature(self, factor: int) -> Array:
        """Kelvin, on the fine grid or the coarse."""
        kelvin = self.scene.truth.astype(np.float64) - (18.0 if self.plan.night else 0.0)
        kelvin = np.where(self.cloud == _THICK, 272.0, kelvin)
        return _block_mean(kelvin**4, factor) ** 0.25

    def classes(self, factor: int) -> Array:
        """Four bands of a scene classification."""
        names = self.scene.landscape.bands
        green, nir = (self.scene.vnir[names.index(name)] for name in ("green", "nir"))
        rows, columns = np.indices(green.shape)
        water = green > nir
        cast = (rows + 2 * columns) % 97 < 2
        layers = np.stack([self.cloud, cast, water, np.roll(water, 3, 1)]).astype(np.uint8)
        return layers[:, factor // 2 :: factor, factor // 2 :: factor]

    def quality(self, facts: BandFacts) -> Array:
        """Quality of a band, as bands or as bits."""
        factor = self.factor(facts)
        unseen = _block_mean(self.unseen, factor) > 0
        saturated = (self.band(facts) > _SATURATED) & (facts.common_name == "blue") & ~unseen
        untested = np.zeros_like(unseen)
        untested[:1] = True
        layers = np.stack([unseen, saturated, untested]).astype(np.uint8)
        if self.plan.quality == "bands":
            return layers
        return np.tensordot(np.array([1, 2, 4], np.uint8), layers, 1)[None].astype(np.uint8)


def write_bundle(
    folder: str | Path,
    plan: BundlePlan | None = None,
    *,
    container: Literal["folder", "zip"] = "folder",
    scene: Scene | None = None,
    shape: tuple[int, int] = (300, 300),
    seed: int = 0,
) -> Path:
    """Simulate a scene and write it as a bundle.

    Parameters
    ----------
    folder
        Where the folder or zip goes; made if absent.
    plan
        What kind of bundle.
    container
        A folder, or a zip.
    scene
        Scene of 10 and 30 m with the bands blue, green, red, rededge, nir and nir08; else one is simulated.
    shape, seed
        Of the simulated scene: rows and columns at 10 m, multiples of 6.

    Returns
    -------
    Path
        The folder or zip, named as the style wants it.

    Raises
    ------
    InputError
        If the scene does not suit.
    """
    what = plan or BundlePlan()
    made = scene or simulate_scene(shape, bands=_SIMULATED, seed=seed)
    _require_suitable(made)
    ground = _Ground(made, what)
    name = _name(ground)
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    if container == "folder":
        _write(root / name.folder, name, ground)
        return root / name.folder
    with tempfile.TemporaryDirectory(dir=root, prefix=".bundle-") as draft:
        _write(Path(draft), name, ground)
        target = root / f"{name.folder}.zip"
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(Path(draft).rglob("*")):
                if file.is_file():
                    archive.write(file, file.relative_to(draft))
    return target


def _require_suitable(scene: Scene) -> None:
    rows, columns = scene.truth.shape
    absent = [band for band in _SIMULATED if band not in scene.landscape.bands]
    if scene.ratio != 3 or rows % 6 or columns % 6 or absent:
        raise InputError(
            f"a scene of {rows} x {columns} pixels with ratio {scene.ratio} and bands "
            f"{scene.landscape.bands} was given; "
            f"a bundle needs multiples of 6, ratio 3, and {', '.join(_SIMULATED)}"
        )


def _name(ground: _Ground) -> BundleName:
    plan = ground.plan
    if plan.style == "long":
        return LongName(plan.product, "SBA01", geohash(*centre(ground.scene.geobox)), plan.acquired)
    return ShortName(plan.acquired, plan.product, ORDER, plan.aoi, plan.style == "subdirectories")


def _write(folder: Path, name: BundleName, ground: _Ground) -> None:
    for kind, layer in _layers(ground).items():
        _write_cog(_made(folder / name.file(kind)), layer, tagged=ground.plan.tagged)
    for kind, picture in _pictures(ground).items():
        target = _made(folder / name.file(kind))
        if "thumbnail" in kind:
            _write_jpeg(target, picture.numbers)
        else:
            _write_cog(target, picture, tagged=False)
    feature = md.to_feature(
        metadata_of(ground.scene, ground.plan, name), ground.plan.edition, reason="simulated"
    )
    text = json.dumps(feature, indent=2, allow_nan=False, ensure_ascii=False)
    _made(folder / name.file("metadata")).write_text(f"{text}\n", encoding="utf-8")


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


# Layers


def delivered(plan: BundlePlan) -> tuple[BandFacts, ...]:
    """Bands that a bundle holds: 02 to 09 since December 2025, all in September 2025, none at night."""
    if plan.night or not plan.vnir:
        return ()
    return tuple(facts for facts in VNIR if plan.style == "subdirectories" or 2 <= facts.number <= 9)


def _scl_pixels(plan: BundlePlan) -> tuple[int, ...]:
    if plan.night:
        return (30,)
    if plan.product == "LSTzoom":
        return (10, 20, 30, 60)
    if plan.style == "long":
        return (10, 20, 30) if plan.vnir else (30,)
    return (30, 60)


def _layers(ground: _Ground) -> dict[str, _Layer]:
    plan, grid = ground.plan, ground.scene.geobox
    factor = 1 if plan.product == "LSTzoom" else 3
    layers = {
        "lst": _Layer(_encoded(ground.temperature(factor), "ST"), grid.zoom_out(factor), "ST", ("LST",))
    }
    for size in _scl_pixels(plan):
        layers[f"scl_mask_{size}m"] = _Layer(ground.classes(size // 10), grid.zoom_out(size // 10))
    for facts in delivered(plan):
        step = ground.factor(facts)
        numbers = _encoded(ground.band(facts), "SR")
        numbers[:, _block_mean(ground.unseen, step) > 0] = 65535
        layers[facts.key] = _Layer(numbers, grid.zoom_out(step), "SR", (facts.key,))
        if plan.style != "subdirectories":
            layers[f"{facts.key}_qa"] = _Layer(ground.quality(facts), grid.zoom_out(step))
    if delivered(plan) and plan.style != "long":
        for kind in ("aot", "tcwv"):
            thick = np.full((1, *grid.zoom_out(6).shape), 120, np.uint16)
            layers[kind] = _Layer(thick, grid.zoom_out(6), "AOT" if kind == "aot" else "TCWV")
    if plan.sharpened and plan.style == "long" and plan.product == "LSTprecision" and delivered(plan):
        layers["lst_sharpened_10m"] = _Layer(_encoded(ground.temperature(1), "ST"), grid, "ST", ("LST",))
    return layers


def _encoded(values: Array, variable: Variable) -> Array:
    """Return stored numbers, one band."""
    known = DOCUMENTED[variable]
    assert known.scale is not None  # noqa: S101  (documented for ST and SR)
    numbers = np.rint((values - (known.offset or 0.0)) / known.scale)
    return np.clip(numbers, 0, 65534).astype(np.uint16)[None]


def _block_mean(values: Array, factor: int) -> Array:
    rows, columns = values.shape
    return values.reshape(rows // factor, factor, columns // factor, factor).mean((1, 3), dtype=np.float64)


def _clouds(shape: tuple[int, ...]) -> Array:
    """One round cloud with a thin rim and its shadow."""
    rows, columns = np.indices(shape)
    size = min(shape)
    away = np.hypot(rows - 0.25 * shape[0], columns - 0.7 * shape[1]) / size
    shade = np.hypot(rows - 0.33 * shape[0], columns - 0.6 * shape[1]) / size
    return np.select([away < 0.07, away < 0.1, shade < 0.09], [_THICK, _THIN, _SHADOW], 0).astype(np.uint8)


def _pictures(ground: _Ground) -> dict[str, _Layer]:
    """Composites and thumbnails; their names changed in June 2026."""
    plan, grid = ground.plan, ground.scene.geobox
    fine = plan.product == "LSTzoom"
    kelvin = ground.temperature(1 if fine else 3)
    coloured = _Layer(_ramp(kelvin), grid if fine else grid.zoom_out(3))
    long = plan.style == "long" and not fine
    names = ("quicklook", "thumbnail") if long else ("lst_composite", "lst_thumbnail")
    found = dict.fromkeys(names, coloured)
    if delivered(plan):
        rgb = np.stack([ground.band(VNIR[number - 1]) for number in (4, 3, 2)])
        natural = _Layer((255 * np.clip(rgb / 0.35, 0, 1)).astype(np.uint8), grid)
        found |= dict.fromkeys(("rgb_quicklook" if long else "rgb_composite", "rgb_thumbnail"), natural)
        if plan.sharpened and long:
            sharp = _Layer(_ramp(ground.temperature(1)), grid)
            found |= dict.fromkeys(("lst_quicklook_sharpened_10m", "lst_thumbnail_sharpened_10m"), sharp)
    return found


def _ramp(kelvin: Array) -> Array:
    """Blue to red, 8 bits."""
    low, high = np.percentile(kelvin, [2, 98])
    part = np.clip((kelvin - low) / max(high - low, 1.0), 0, 1)
    return (255 * np.stack([part, 1 - np.abs(2 * part - 1), 1 - part])).astype(np.uint8)


def _write_cog(path: Path, layer: _Layer, *, tagged: bool) -> None:
    count, rows, columns = layer.numbers.shape
    draft = path.with_name(f".{path.name}.part")
    with rasterio.open(
        draft, "w", driver="GTiff", dtype=layer.numbers.dtype, count=count, height=rows, width=columns,
        crs=str(layer.grid.crs), transform=layer.grid.affine,
        nodata=65535 if tagged and layer.variable in ("ST", "SR") else None,
    ) as file:  # fmt: skip
        file.write(layer.numbers)
        if tagged and layer.variable is not None:
            known = DOCUMENTED[layer.variable]
            file.scales = (known.scale or 0.001,) * count
            file.offsets = (known.offset or 0.0,) * count
            file.units = (known.unit,) * count
            if layer.names:
                file.descriptions = layer.names
    copy(draft, path, driver="COG", compress="DEFLATE", predictor="YES", blocksize=256)
    draft.unlink()


def _write_jpeg(path: Path, picture: Array) -> None:
    step = max(1, -(-max(picture.shape[1:]) // _THUMBNAIL))
    small = picture[:, ::step, ::step]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="JPEG", dtype="uint8", count=3, height=small.shape[1], width=small.shape[2]
        ) as file:
            file.write(small)


# Metadata


def metadata_of(scene: Scene, plan: BundlePlan, name: BundleName) -> md.Metadata:
    """Metadata of a simulated bundle with every published key that means something here."""
    ring = outline(scene.geobox)
    shape = {"type": "Polygon", "coordinates": [ring.tolist()]}
    box = footprint(scene.geobox)[1]
    elevation = -20.0 if plan.night else 58.5
    sensors: dict[str, Any] = {
        "acquisition_starttime": plan.acquired,
        "acquisition_endtime": plan.acquired,
        "by_name": _sensors(scene, plan),
    }
    body = _top(plan, name) | _shares(_clouds(scene.truth.shape) * np.uint8(not plan.night), plan)
    if plan.configuration == "A":
        body |= {"day_flag": not plan.night, "cloud_cover_computed": not plan.night}
        body["geometric"] = _geometric(shape, box, centre(scene.geobox), elevation)
    else:
        sensors |= {
            "bbox": box, "geometry": shape, "crs": str(scene.geobox.crs), "surface_altitude_median": 412.0,
            "viewing_angles": {"azimuth_mean": 101.5, "zenith_mean": 7.25},
            "solar_angles": {"azimuth_mean": 142.0, "zenith_mean": 90 - elevation},
        }  # fmt: skip
    return md.Metadata.model_validate({**body, "sensors": sensors})


def _top(plan: BundlePlan, name: BundleName) -> dict[str, Any]:
    """Give the keys that do not depend on the pixels."""
    body: dict[str, Any] = {
        "product_id": name.folder, "platform": "SBA01", "product_type": "L2", "product_name": plan.product,
        "processing_scenario": "NRT", "acquisition_id": f"simulated_{plan.acquired:%Y%m%dT%H%M%S}",
        "acquisition_datetime": plan.acquired, "processing_time": plan.acquired,
        "parent_product_key": "simulated", "link": "https://www.constellr.com", "source": "constellr",
        "use_limitations": "NA",
        "atmospheric_data_source": "CAMS" if plan.configuration == "A" else "CAMS_forecast",
        "elevation_data_source": "COPERNICUS GLO30", "aerosol_model": "RURAL",
        "scl_masks_bands": {
            f"{mask}_mask_classes": _texts(classes) for mask, classes in md.SCL_CLASSES.items()
        },
        "qa_mask_bands": {f"{mask}_mask_classes": _texts(classes) for mask, classes in md.QA_CLASSES.items()},
        "products": _products(plan),
    }  # fmt: skip
    return body if plan.edition == "PA" else {**body, "earth_sun_distance": 1.0167}


def _shares(cloud: Array, plan: BundlePlan) -> dict[str, float]:
    shares = {
        "thick_cloud_percentage": _share(cloud == _THICK),
        "thin_cloud_percentage": _share(cloud == _THIN),
        "cloud_shadow_percentage": _share(cloud == _SHADOW),
    }
    if plan.edition == "PA":
        shares["aoi_cloud_cover"] = _share((cloud == _THICK) | (cloud == _THIN))
    return shares


def _share(mask: Array) -> float:
    return round(100 * float(mask.mean()), 3)


def _texts(classes: Mapping[int, str]) -> dict[str, str]:
    return {str(code): name for code, name in classes.items()}


def _geometric(
    shape: dict[str, Any], box: list[float], middle: tuple[float, float], elevation: float
) -> dict[str, Any]:
    return {
        "geometry": shape,
        "bbox": box,
        "centroid": dict(zip(("lon", "lat"), middle, strict=True)),
        "earth_sun_distance": 1.0167,
        "solar_angles": {"view:sun_elevation": elevation, "view:sun_azimuth": 142.0},
        "viewing_angles": {"view:off_nadir": 6.5, "view:incident_angle": 7.25, "view:azimuth": 101.5},
        "surface_altitude_median": 0.412,
    }


def _sensors(scene: Scene, plan: BundlePlan) -> dict[str, Any]:
    percentages = {"saturated_percentage": 0.0, "nodata_percentage": 0.0, "nottested_percentage": 0.0}
    rows, columns = scene.coarse.shape
    tir = {
        f"tir{number:02d}": {
            "name": f"tir{number:02d}", "eo:common_name": "NA", "band_centre": centre, "band_width": width,
            "band_wavelength_unit": "µm", "resolutions": [30.0], "resolution_unit": "m",
            "dimensions": [rows, columns], "esun": {"value": None, "unit": "W/m²/µm"}, **percentages,
        }
        for number, (centre, width) in enumerate(_TIR_BANDS, 1)
    }  # fmt: skip
    vnir = {}
    for facts in delivered(plan):
        step = round(facts.pixel / 10)
        vnir[facts.key] = {
            "name": facts.key, "eo:common_name": facts.common_name, "band_centre": facts.centre / 1000,
            "band_width": facts.width / 1000, "band_wavelength_unit": "µm", "resolutions": [facts.pixel],
            "resolution_unit": "m", "dimensions": [side // step for side in scene.truth.shape],
            "esun": {"value": 1500.0, "unit": "W/m²/µm"}, **percentages,
        }  # fmt: skip
    found = {"VNIR": vnir, "TIR": tir} if vnir else {"TIR": tir}
    ids = plan.edition != "ZA"
    return {
        key: {**({"sensor_id": [key], "record_id": ["simulated"]} if ids else {}), "bands": bands}
        for key, bands in found.items()
    }


def _products(plan: BundlePlan) -> dict[str, Any]:
    gas = {"TCO3": 320.0, "TCO3_unit": "Dobson Unit", "TCO3_source": "CAMS_fc"}
    tir: dict[str, Any] = {"sensor_id": ["TIR"], **gas, "AOT_median": 0.12, "AOT_source": "CAMS_fc",
                           "TCWV_median": 1.9, "TCWV_source": "CAMS_fc"}  # fmt: skip
    if plan.edition != "PA":
        tir |= {"AOT_unit": "1", "TCWV_unit": "g/cm²"}
    if plan.edition == "B":
        tir |= {"AOT_file_id": "NA", "TCWV_file_id": "NA", "ST": _block("ST")}
    if not delivered(plan):
        return {"TIR": tir}
    corrected = {"topographic_correction": True, "adjacency_correction": True}
    aot: dict[str, Any] = {
        "AOT_median": 0.12,
        "AOT_unit": "1",
        "AOT_source": "constellr_DDV",
        "DDV_percentage": 11.0,
    }
    tcwv: dict[str, Any] = {"TCWV_median": 1.9, "TCWV_source": "constellr"}
    sr: dict[str, Any] = {
        "Bands": {f.key: {"eo:common_name": f.common_name, "clipped_pixels": 0} for f in delivered(plan)}
    }
    if plan.edition != "PA":
        sr |= _block("SR")
        tcwv |= {"TCWV_file_id": "tcwv.tiff", **_block("TCWV")}
    if plan.edition == "B":
        aot |= {"AOT_file_id": "aot.tiff", **_block("AOT")}
    vnir = {
        "sensor_id": ["VNIR"],
        **gas,
        "AOT": aot | corrected,
        "TCWV": tcwv | corrected,
        "SR": sr | corrected,
    }
    return {"VNIR": vnir, "TIR": tir}


def _block(variable: Variable) -> dict[str, Any]:
    """Spell an encoding as metadata does."""
    known = DOCUMENTED[variable]
    told = {
        "type": known.dtype, "offset": known.offset or 0.0, "scale_factor": known.scale or 0.001,
        "nodata": 65535, "unit": known.unit, "format": "COG",
    }  # fmt: skip
    return {f"{variable}_{key}": value for key, value in told.items()}

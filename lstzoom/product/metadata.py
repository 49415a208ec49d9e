"""``metadata.json`` of a bundle: every documented key, in both configurations.

Configuration A is in force since 20 January 2026, B was before; an older flat form of 2024/25 is read, too.
No real file was at hand, so reading is tolerant of what the documents leave open: keys stand in the
``properties`` of a GeoJSON Feature or at the top; ``view : azimuth`` may be spelt without spaces; ``NA`` and
NaN mean unknown; keys that are not documented are kept aside and told. What contradicts the documents, a
percentage of 140 or a class that is another, is an error.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from lstzoom.errors import EncodingError, InputError
from lstzoom.product.encoding import Stored, Variable
from lstzoom.product.fields import crosses, ground

Configuration: TypeAlias = Literal["A", "B", "2024"]
Edition: TypeAlias = Literal["ZA", "PA", "B"]
"""Columns of the documentation: LSTzoom A, LSTprecision A, and B, which is the same for both."""

SCL_CLASSES: Final[Mapping[str, Mapping[int, str]]] = {
    "cloud": {0: "clear", 1: "thick cloud", 2: "thin cloud", 3: "cloud shadow"},
    "castshadow": {0: "clear", 1: "castshadow"},
    "landwater": {0: "land", 1: "water"},
    "static_landwater": {0: "land", 1: "water"},
}
"""Bands of a scene classification, in the order of the documentation, and their classes."""
QA_CLASSES: Final[Mapping[str, Mapping[int, str]]] = {
    "blackfill": {0: "valid", 1: "no data"},
    "saturated": {0: "valid", 1: "saturated"},
    "untested": {0: "valid", 1: "untested"},
}
"""Masks of a reflectance band's quality file, in the order of the documentation."""
UNKNOWN_KEY: Final = "lstzoom:unknown"
"""Where a written file says why a key is null."""

_MOST_BYTES: Final = 1 << 26
# Percentages are rounded where they are made.
_PERCENT_SLACK: Final = 1e-3
_NOT_KNOWN: Final = frozenset({"", "na", "n/a", "nan", "none", "null"})
_CORNERS: Final = 4
_2024_KEYS: Final = frozenset({"scene_datetime", "area_of_interest_id", "l2_item_href", "cloud_ratio_aoi"})


# Types of values


def _known(value: object) -> object:
    """Turn the spellings of unknown into None."""
    if isinstance(value, str) and value.strip().lower() in _NOT_KNOWN:
        return None
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str | int | float) and not isinstance(value, bool) else value


def _percent(value: float | None) -> float | None:
    if value is not None and not -_PERCENT_SLACK <= value <= 100 + _PERCENT_SLACK:
        raise ValueError(f"{value} is no percentage; 0 to 100 is needed")
    return value


def _elevation(value: float | None) -> float | None:
    if value is not None and not -90 <= value <= 90:
        raise ValueError(f"{value} is no elevation; -90 to 90 degrees are needed")
    return value


def _angle(value: float | None) -> float | None:
    if value is not None and not -360 <= value <= 360:
        raise ValueError(f"{value} is no angle in degrees; -360 to 360 are needed")
    return value


def _stored(value: int | None) -> int | None:
    if value is not None and not -(1 << 63) <= value < 1 << 64:
        raise ValueError("no data type holds this number")
    return value


def _time(value: object) -> object:
    """Read ISO 8601; what has no zone is UTC."""
    if value is None or isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        # pydantic would take a number as seconds since 1970.
        raise ValueError(f"{str(value)[:60]} is no time; ISO 8601 such as 2026-01-14T14:12:48Z is needed")  # noqa: TRY004
    try:
        time = datetime.fromisoformat(value.strip())
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{value!r} is no time; ISO 8601 such as 2026-01-14T14:12:48Z is needed") from error


Text: TypeAlias = str | None
Number: TypeAlias = Annotated[float | None, BeforeValidator(_known)]
Whole: TypeAlias = Annotated[int | None, BeforeValidator(_known), AfterValidator(_stored)]
Percent: TypeAlias = Annotated[float | None, BeforeValidator(_known), AfterValidator(_percent)]
Angle: TypeAlias = Annotated[float | None, BeforeValidator(_known), AfterValidator(_angle)]
Elevation: TypeAlias = Annotated[float | None, BeforeValidator(_known), AfterValidator(_elevation)]
Flag: TypeAlias = Annotated[bool | None, BeforeValidator(_known)]
Time: TypeAlias = Annotated[datetime | None, BeforeValidator(_time), BeforeValidator(_known)]
Texts: TypeAlias = Annotated[list[str] | None, BeforeValidator(_listed), BeforeValidator(_known)]
Numbers: TypeAlias = Annotated[list[float] | None, BeforeValidator(_listed), BeforeValidator(_known)]
Wholes: TypeAlias = Annotated[list[int] | None, BeforeValidator(_listed), BeforeValidator(_known)]
Classes: TypeAlias = dict[str, str | int] | None


def _key(editions: str = "ZA PA B", *, spelt: str | None = None) -> Any:  # noqa: ANN401  (a default of any type)
    """Make a documented key: which editions publish it, and how it is spelt where that is no Python name."""
    return Field(
        default=None,
        validation_alias=None if spelt is None else re.sub(r"\s*:\s*", ":", spelt),
        serialization_alias=spelt,
        json_schema_extra={"editions": editions},
    )


class Block(BaseModel):
    """An object in the file. Keys that are not documented are kept in ``model_extra``."""

    model_config = ConfigDict(
        frozen=True, extra="allow", allow_inf_nan=False, coerce_numbers_to_str=True, validate_by_name=True
    )

    @model_validator(mode="before")
    @classmethod
    def _without_spaces(cls, data: object) -> object:
        """``"view : azimuth"`` and ``"view:azimuth"`` are one key."""
        if not isinstance(data, Mapping):
            return data
        return {re.sub(r"\s*:\s*", ":", key) if isinstance(key, str) else key: data[key] for key in data}


# Geometry


def _polygon(value: object) -> object:
    """Check a footprint: rings of longitude and latitude, closed if they are not."""
    rings = value
    if (
        isinstance(rings, list)
        and rings
        and isinstance(rings[0], list)
        and rings[0]
        and _is_number(rings[0][0])
    ):
        rings = [rings]
    if not isinstance(rings, list) or not rings:
        raise ValueError("a polygon's coordinates are a list of rings of [longitude, latitude]")
    return [_ring(ring) for ring in rings]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _ring(ring: object) -> list[list[float]]:
    if not isinstance(ring, list):
        raise ValueError("a ring is a list of [longitude, latitude]")  # noqa: TRY004  (pydantic wants this)
    points: list[list[float]] = []
    for point in ring:
        if not (isinstance(point, list) and len(point) >= 2 and all(map(_is_number, point[:2]))):
            raise ValueError(f"{str(point)[:60]} is no [longitude, latitude]")
        if not (-180 <= point[0] <= 180 and -90 <= point[1] <= 90):
            raise ValueError(f"{point[:2]} is no longitude and latitude in degrees (RFC 7946 order)")
        points.append([float(point[0]), float(point[1])])
    if points and points[0] != points[-1]:
        points.append(points[0])
    if len(points) < _CORNERS:
        raise ValueError(f"a ring of {len(points)} positions encloses nothing; at least 4 are needed")
    return points


def _box(value: list[float] | None) -> list[float] | None:
    if value is None:
        return None
    if len(value) == 6:
        value = [*value[:2], *value[3:5]]
    if len(value) != 4 or not (-180 <= value[0] <= 180 and -90 <= value[1] <= value[3] <= 90):
        raise ValueError(f"{value} is no bbox; [west, south, east, north] in degrees is needed")
    return value


Box: TypeAlias = Annotated[Numbers, AfterValidator(_box)]


class Polygon(Block):
    """Footprint in longitude and latitude."""

    type: Literal["Polygon"] = "Polygon"
    coordinates: Annotated[list[list[list[float]]], BeforeValidator(_polygon)]


# Keys of 8.1 and 8.2


def _agreeing(documented: Mapping[int, str]) -> Any:  # noqa: ANN401  (an annotation)
    """Type of a class table that must mean what is documented, written either way round."""

    def check(told: Classes) -> Classes:
        for one, other in (told or {}).items():
            code, name = (one, other) if str(one).strip().isdigit() else (other, one)
            if not str(code).strip().isdigit():
                raise ValueError(f"{one!r}: {other!r} gives no class number")
            wanted = documented.get(int(code))
            if wanted is None or not _same_class(str(name), wanted):
                raise ValueError(
                    f"class {code} is {str(name)!r}; documented are {dict(documented)}, and masks are "
                    "read by "
                    "these"
                )
        return told

    return Annotated[Classes, AfterValidator(check)]


def _same_class(told: str, wanted: str) -> bool:
    """Compare by how words begin, so that spelling does not matter: ``Thick_Clouds`` is thick cloud."""
    words = re.findall(r"[a-z]+", told.lower())
    others = {"no data": ("nodata", "blackfill", "fill"), "cloud shadow": ("cloudshadow", "shadow"),
              "castshadow": ("castshadow", "shadow"), "untested": ("untested", "nottested")}  # fmt: skip
    if wanted in others:
        return "".join(words).startswith(others[wanted])
    return any(word.startswith(wanted.split(maxsplit=1)[0]) for word in words)


class SclMasks(Block):
    """Class tables of the scene classification."""

    cloud_mask_classes: _agreeing(SCL_CLASSES["cloud"]) = _key()  # type: ignore[valid-type]
    castshadow_mask_classes: _agreeing(SCL_CLASSES["castshadow"]) = _key()  # type: ignore[valid-type]
    landwater_mask_classes: _agreeing(SCL_CLASSES["landwater"]) = _key()  # type: ignore[valid-type]
    static_landwater_mask_classes: _agreeing(SCL_CLASSES["landwater"]) = _key()  # type: ignore[valid-type]


class QaMasks(Block):
    """Class tables of the quality files."""

    blackfill_mask_classes: _agreeing(QA_CLASSES["blackfill"]) = _key()  # type: ignore[valid-type]
    saturated_mask_classes: _agreeing(QA_CLASSES["saturated"]) = _key()  # type: ignore[valid-type]
    untested_mask_classes: _agreeing(QA_CLASSES["untested"]) = _key()  # type: ignore[valid-type]


class Centroid(Block):
    """Centre of the footprint, degrees."""

    lon: Number = _key()
    lat: Number = _key()


class SolarAngles(Block):
    """Position of the sun; degrees."""

    sun_elevation: Elevation = _key("ZA PA", spelt="view : sun_elevation")
    sun_azimuth: Angle = _key("ZA PA", spelt="view : sun_azimuth")


class ViewingAngles(Block):
    """Direction to the satellite; degrees."""

    off_nadir: Angle = _key("ZA PA", spelt="view : off_nadir")
    incident_angle: Angle = _key("ZA PA", spelt="view : incident_angle")
    azimuth: Angle = _key("ZA PA", spelt="view : azimuth")


class Geometric(Block):
    """Footprint and angles in configuration A. The altitude is in km."""

    geometry: Polygon | None = _key("ZA PA")
    bbox: Box = _key("ZA PA")
    centroid: Centroid | None = _key("ZA PA")
    earth_sun_distance: Number = _key("ZA PA")
    solar_angles: SolarAngles | None = _key("ZA PA")
    viewing_angles: ViewingAngles | None = _key("ZA PA")
    surface_altitude_median: Number = _key("ZA PA")


class MeanAngles(Block):
    """Angles in configuration B; degrees."""

    azimuth_mean: Angle = _key("B")
    zenith_mean: Angle = _key("B")


class Esun(Block):
    """Solar irradiance, not corrected for the distance of the sun."""

    value: Number = _key()
    unit: Text = _key()


class SensorBand(Block):
    """One band of a sensor. ``dimensions`` are rows and columns."""

    name: Text = _key()
    common_name: Text = _key(spelt="eo:common_name")
    band_centre: Number = _key()
    band_width: Number = _key()
    band_wavelength_unit: Text = _key()
    resolutions: Numbers = _key()
    resolution_unit: Text = _key()
    dimensions: Wholes = _key()
    esun: Esun | None = _key()
    qa_mask_id: Text = _key("")
    blackfill_mask_classes: _agreeing(QA_CLASSES["blackfill"]) = _key("")  # type: ignore[valid-type]
    saturated_mask_classes: _agreeing(QA_CLASSES["saturated"]) = _key("")  # type: ignore[valid-type]
    untested_mask_classes: _agreeing(QA_CLASSES["untested"]) = _key("")  # type: ignore[valid-type]
    saturated_percentage: Percent = _key()
    nodata_percentage: Percent = _key()
    nottested_percentage: Percent = _key()


class Sensor(Block):
    """One sensor, VNIR or TIR."""

    sensor_id: Texts = _key("PA B")
    record_id: Texts = _key("PA B")
    bands: dict[str, SensorBand] | None = _key()


class Sensors(Block):
    """When and with what. Geometry and angles stand here in configuration B, the altitude in m.

    The file names each sensor with a key of its own; here they are in ``by_name``.
    """

    acquisition_starttime: Time = _key()
    acquisition_endtime: Time = _key()
    bbox: Box = _key("B")
    geometry: Polygon | None = _key("B")
    crs: Text = _key("B")
    viewing_angles: MeanAngles | None = _key("B")
    solar_angles: MeanAngles | None = _key("B")
    surface_altitude_median: Number = _key("B")
    by_name: dict[str, Sensor] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: object) -> object:
        if not isinstance(data, Mapping) or "by_name" in data:
            return data
        named = {
            key: value
            for key, value in data.items()
            if key not in cls.model_fields
            and isinstance(value, Mapping)
            and (key == "sensor" or "bands" in value or "sensor_id" in value or "record_id" in value)
        }
        return {**{key: value for key, value in data.items() if key not in named}, "by_name": named}


# Keys of 8.3


class Corrected(Block):
    """What was corrected; 1 and 0 in configuration B."""

    topographic_correction: Flag = _key()
    adjacency_correction: Flag = _key()


class Aot(Corrected):
    """Aerosol optical thickness."""

    median: Number = _key(spelt="AOT_median")
    unit: Text = _key(spelt="AOT_unit")
    source: Text = _key(spelt="AOT_source")
    DDV_percentage: Percent = _key()
    file_id: Text = _key("B", spelt="AOT_file_id")
    type: Text = _key("B", spelt="AOT_type")
    offset: Number = _key("B", spelt="AOT_offset")
    scale_factor: Number = _key("B", spelt="AOT_scale_factor")
    nodata: Whole = _key("B", spelt="AOT_nodata")
    format: Text = _key("B", spelt="AOT_format")


class Tcwv(Corrected):
    """Total column water vapour."""

    median: Number = _key(spelt="TCWV_median")
    source: Text = _key(spelt="TCWV_source")
    unit: Text = _key("ZA B", spelt="TCWV_unit")
    file_id: Text = _key("ZA B", spelt="TCWV_file_id")
    type: Text = _key("ZA B", spelt="TCWV_type")
    offset: Number = _key("ZA B", spelt="TCWV_offset")
    scale_factor: Number = _key("ZA B", spelt="TCWV_scale_factor")
    nodata: Whole = _key("ZA B", spelt="TCWV_nodata")
    format: Text = _key("ZA B", spelt="TCWV_format")


class SrBand(Block):
    """A band of surface reflectance; pixels clipped to 0 or 1."""

    common_name: Text = _key(spelt="eo:common_name")
    clipped_pixels: Whole = _key()


class Sr(Corrected):
    """Surface reflectance."""

    unit: Text = _key("ZA B", spelt="SR_unit")
    type: Text = _key("ZA B", spelt="SR_type")
    offset: Number = _key("ZA B", spelt="SR_offset")
    scale_factor: Number = _key("ZA B", spelt="SR_scale_factor")
    nodata: Whole = _key("ZA B", spelt="SR_nodata")
    format: Text = _key("ZA B", spelt="SR_format")
    Bands: dict[str, SrBand] | None = _key()


class St(Block):
    """Surface temperature."""

    type: Text = _key("B", spelt="ST_type")
    offset: Number = _key("B", spelt="ST_offset")
    scale_factor: Number = _key("B", spelt="ST_scale_factor")
    unit: Text = _key("B", spelt="ST_unit")
    nodata: Whole = _key("B", spelt="ST_nodata")
    format: Text = _key("B", spelt="ST_format")


class EmisBand(Block):
    """A band of emissivity; never published."""

    common_name: Text = _key("", spelt="eo:common_name")
    EMIS_file_id: Text = _key("")
    EMIS_prior_vegetation: Number = _key("")
    EMIS_prior_baresoil: Number = _key("")
    EMIS_prior_water: Number = _key("")


class Emis(Block):
    """Emissivity; never published."""

    type: Text = _key("", spelt="EMIS_type")
    offset: Number = _key("", spelt="EMIS_offset")
    scale_factor: Number = _key("", spelt="EMIS_scale_factor")
    unit: Text = _key("", spelt="EMIS_unit")
    nodata: Whole = _key("", spelt="EMIS_nodata")
    format: Text = _key("", spelt="EMIS_format")
    Bands: dict[str, EmisBand] | None = _key("")


class Vnir(Block):
    """How reflectance was made."""

    sensor_id: Texts = _key()
    TCO3: Number = _key()
    TCO3_unit: Text = _key()
    TCO3_source: Text = _key()
    AOT: Aot | None = _key()
    TCWV: Tcwv | None = _key()
    SR: Sr | None = _key()


class Tir(Block):
    """How temperature was made."""

    sensor_id: Texts = _key()
    TCO3: Number = _key()
    TCO3_unit: Text = _key()
    TCO3_source: Text = _key()
    AOT_median: Number = _key()
    AOT_source: Text = _key()
    AOT_unit: Text = _key("ZA B")
    AOT_file_id: Text = _key("B")
    TCWV_median: Number = _key()
    TCWV_source: Text = _key()
    TCWV_unit: Text = _key("ZA B")
    TCWV_file_id: Text = _key("B")
    ST: St | None = _key("B")
    EMIS: Emis | None = _key("")


class Products(Block):
    """How the layers were made."""

    VNIR: Vnir | None = _key()
    TIR: Tir | None = _key()


class Metadata(Block):
    """All documented keys; None where a file does not say."""

    product_id: Text = _key()
    platform: Text = _key()
    product_type: Text = _key()
    product_name: Text = _key()
    processing_scenario: Text = _key()
    acquisition_id: Text = _key()
    acquisition_datetime: Time = _key()
    processing_time: Time = _key()
    parent_product_key: Text = _key()
    link: Text = _key()
    source: Text = _key()
    use_limitations: Text = _key()
    atmospheric_data_source: Text = _key()
    elevation_data_source: Text = _key()
    aerosol_model: Text = _key()
    earth_sun_distance: Number = _key("ZA B")
    thick_cloud_percentage: Percent = _key()
    thin_cloud_percentage: Percent = _key()
    cloud_shadow_percentage: Percent = _key()
    day_flag: Flag = _key("ZA PA")
    cloud_cover_computed: Flag = _key("ZA PA")
    aoi_cloud_cover: Percent = _key("PA")
    scl_masks_bands: SclMasks | None = _key()
    qa_mask_bands: QaMasks | None = _key()
    geometric: Geometric | None = _key("ZA PA")
    sensors: Sensors | None = _key()
    products: Products | None = _key()
    sharpening: dict[str, Any] | None = Field(default=None, json_schema_extra={"editions": ""})
    """Added by lstzoom; no documented key describes the sharpening."""

    @model_validator(mode="before")
    @classmethod
    def _october_2025(cls, data: object) -> object:
        if isinstance(data, Mapping) and "qa_masks_bands" in data and "qa_mask_bands" not in data:
            return {("qa_mask_bands" if key == "qa_masks_bands" else key): data[key] for key in data}
        return data

    @property
    def configuration(self) -> Literal["A", "B"]:
        """Which of the two; A where nothing tells."""
        if self.geometric is not None or self.day_flag is not None:
            return "A"
        old = self.sensors is not None and (
            self.sensors.geometry is not None
            or self.sensors.bbox is not None
            or self.sensors.viewing_angles is not None
            or self.sensors.solar_angles is not None
        )
        return "B" if old else "A"

    def stored(self, variable: Variable) -> Stored:
        """Return what the file says about an encoding.

        Raises
        ------
        EncodingError
            If it cannot be one.
        """
        found = self._layer(variable)
        if found is None:
            return Stored()
        unit, dtype = _known(found.unit), _known(found.type)
        form = _known(found.format)
        if isinstance(form, str) and form.upper() not in ("COG", "GTIFF", "GEOTIFF"):
            raise EncodingError(f"{variable}_format is {form!r} in metadata.json; COG is needed")
        return Stored(
            None if dtype is None else str(dtype), found.scale_factor, found.offset, found.nodata,
            None if unit is None else str(unit),
        )  # fmt: skip

    def _layer(self, variable: Variable) -> Aot | Tcwv | Sr | St | Emis | None:
        products = self.products
        if products is None:
            return None
        if variable in ("ST", "EMIS"):
            tir = products.TIR
            return None if tir is None else tir.ST if variable == "ST" else tir.EMIS
        vnir = products.VNIR
        if vnir is None:
            return None
        return {"SR": vnir.SR, "AOT": vnir.AOT, "TCWV": vnir.TCWV}[variable]


# Reading


def read_metadata(text: bytes | str, where: str = "metadata.json") -> tuple[Metadata, tuple[str, ...]]:
    """Read and check the metadata of a bundle.

    Parameters
    ----------
    text
        Content of the file.
    where
        Its name, for messages.

    Returns
    -------
    metadata : Metadata
    notes : tuple of str
        What departs from the documents without doing harm: keys that are not documented, with the
        documented one that comes nearest.

    Raises
    ------
    InputError
        If it is no JSON, holds no documented key, or contradicts the documents.
    """
    keys = _keys(_json(text, where), where)
    if _2024_KEYS & keys.keys():
        keys = _from_2024(keys)
    known = {_spelling(name, field)[0] for name, field in Metadata.model_fields.items()} | {"qa_masks_bands"}
    if not known & keys.keys():
        raise InputError(
            f"{where!r} holds none of the documented keys (it has {_some(keys)}); metadata.json of an "
            "LSTprecision or "
            "LSTzoom bundle is needed"
        )
    try:
        found = Metadata.model_validate(keys)
    except ValidationError as error:
        raise InputError(_contradiction(error, where)) from error
    return found, tuple(_notes(found))


def _json(text: bytes | str, where: str) -> object:
    if len(text) > _MOST_BYTES:
        raise InputError(f"{where!r} has {len(text)} bytes; this is no metadata.json of a bundle")
    try:
        plain = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        # NaN is no JSON, but common; infinity is not read at all.
        document = json.loads(plain, parse_constant=lambda name: None if name == "NaN" else math.inf)
        # Half a surrogate pair passes as a string in Python and fails wherever it is written.
        json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{where!r} is no valid JSON ({error}); it may be cut short: fetch the bundle again"
        ) from error
    return document


def _keys(document: object, where: str) -> dict[str, Any]:
    """Find the keys: at the top, in the properties of a Feature, or of a collection of one."""
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        features = document.get("features")
        if not isinstance(features, list) or len(features) != 1:
            raise InputError(f"{where!r} is a collection of several or no features; one bundle has one")
        document = features[0]
    if not isinstance(document, dict):
        raise InputError(f"{where!r} holds a {type(document).__name__}; a JSON object is needed")
    if document.get("type") != "Feature":
        return document
    inside = document.get("properties")
    if not isinstance(inside, dict):
        raise InputError(f"{where!r} is a Feature without properties; fetch the bundle again")
    keys = {key: value for key, value in inside.items() if key != UNKNOWN_KEY}
    if "geometric" not in keys and "sensors" not in keys and isinstance(document.get("geometry"), dict):
        keys["geometric"] = {"geometry": document["geometry"]}
    return keys


def _from_2024(keys: dict[str, Any]) -> dict[str, Any]:
    """Translate the flat form of 2024/25; its temperature had 30 m."""
    geometric: dict[str, Any] = {name: keys[name] for name in ("bbox", "geometry") if keys.get(name)}
    if keys.get("sun_elevation") is not None:
        geometric["solar_angles"] = {"view:sun_elevation": keys["sun_elevation"]}
    return {
        "product_name": "LSTprecision",
        "platform": keys.get("sat_source"),
        "acquisition_datetime": keys.get("scene_datetime"),
        "processing_time": keys.get("processing_datetime"),
        "atmospheric_data_source": keys.get("atm_source"),
        "geometric": geometric,
    }


def _contradiction(error: ValidationError, where: str) -> str:
    told = [
        f"{'.'.join(map(str, one['loc'])) or 'the whole'}: {str(one['msg']).removeprefix('Value error, ')}"
        for one in error.errors(include_url=False, include_input=False)
    ]
    more = f" (and {len(told) - 3} more)" if len(told) > 3 else ""
    return (
        f"{where!r} contradicts the documentation of the bundle: {'; '.join(told[:3])}{more}; correct "
        "the file, or "
        "fetch the bundle again"
    )


def _some(keys: Mapping[str, object]) -> str:
    return ", ".join(sorted(map(str, keys))[:8]) or "nothing"


def _spelling(name: str, field: Any) -> tuple[str, str]:  # noqa: ANN401  (pydantic's own)
    """Key of a field when read and when written."""
    return str(field.validation_alias or name), str(field.serialization_alias or name)


def _notes(block: Block, path: str = "") -> Iterator[str]:
    """Tell keys that are not documented."""
    known = [_spelling(name, field)[0] for name, field in type(block).model_fields.items()]
    for key in block.model_extra or {}:
        near = difflib.get_close_matches(key, known, 1)
        hint = f"; the nearest documented key is {near[0]!r}" if near else ""
        yield f"the key {path + str(key)!r} is not documented{hint}"
    for name, field in type(block).model_fields.items():
        value = getattr(block, name)
        here = "" if name == "by_name" else f"{_spelling(name, field)[0]}."
        parts = value.items() if isinstance(value, dict) and name != "sharpening" else [("", value)]
        for key, part in parts:
            if isinstance(part, Block):
                yield from _notes(part, f"{path}{here}{key + '.' if key else ''}")


# Writing


def edition_of(product: str, configuration: Literal["A", "B"]) -> Edition:
    """Name the column of the documentation for a product.

    Examples
    --------
    >>> edition_of("LSTzoom", "A"), edition_of("LSTprecision", "A"), edition_of("LSTzoom", "B")
    ('ZA', 'PA', 'B')
    """
    if configuration == "B":
        return "B"
    return "ZA" if product.lower() == "lstzoom" else "PA"


def to_feature(
    metadata: Metadata,
    edition: Edition,
    *,
    reasons: Mapping[str, str] | None = None,
    reason: str = "not known to the writer",
) -> dict[str, Any]:
    """Write metadata as a GeoJSON Feature with every key that an edition publishes.

    Parameters
    ----------
    metadata
        What is known.
    edition
        Column of the documentation.
    reasons
        Why a key, given by its path as in ``"products.VNIR.TCO3"``, is not known.
    reason
        Why any other is not.

    Returns
    -------
    dict
        Unknown keys are null, and ``properties["lstzoom:unknown"]`` says why.

    Raises
    ------
    InputError
        If there are keys that are not documented.
    """
    strange = list(_notes(metadata))
    if strange:
        raise InputError(f"metadata to write may hold documented keys only: {'; '.join(strange)}")
    unknown: dict[str, str] = {}
    why = reasons or {}
    properties = _written(metadata, edition, "", lambda path: unknown.setdefault(path, why.get(path, reason)))
    if unknown:
        properties[UNKNOWN_KEY] = unknown
    area, bounds = ground_of(metadata) or (None, None)
    feature: dict[str, Any] = {"type": "Feature", "geometry": area, "properties": properties}
    if bounds is not None:
        feature["bbox"] = bounds
    return feature


def _written(block: Block, edition: Edition, path: str, tell: Any) -> dict[str, Any]:  # noqa: ANN401
    out: dict[str, Any] = {}
    for name, field in type(block).model_fields.items():
        value = getattr(block, name)
        if name == "by_name":
            out |= {key: _written(one, edition, f"{path}{key}.", tell) for key, one in value.items()}
            continue
        key = _spelling(name, field)[1]
        extra = field.json_schema_extra
        published = isinstance(extra, dict) and edition in str(extra["editions"]).split()
        if value is None and published:
            tell(path + key)
        if value is not None or published:
            out[key] = _plain(value, edition, f"{path}{key}.", tell)
    return out


def _plain(value: Any, edition: Edition, path: str, tell: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Block):
        return _written(value, edition, path, tell)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, dict) and value and all(isinstance(one, Block) for one in value.values()):
        return {key: _written(one, edition, f"{path}{key}.", tell) for key, one in value.items()}
    if isinstance(value, bool) and edition == "B":
        return int(value)
    return value


# What readers ask for


def footprint(metadata: Metadata) -> dict[str, Any] | None:
    """Footprint as a GeoJSON polygon, wherever a configuration puts it."""
    for place in (metadata.geometric, metadata.sensors):
        if place is not None and place.geometry is not None:
            return {"type": "Polygon", "coordinates": place.geometry.coordinates}
    return None


def bounds_of(polygon: Mapping[str, Any]) -> list[float]:
    """West, south, east, north of a polygon; west is larger than east across the antimeridian."""
    lon, lat = zip(*polygon["coordinates"][0], strict=True)
    if crosses(polygon["coordinates"][0]):
        return ground([polygon["coordinates"]])[1]
    return [min(lon), min(lat), max(lon), max(lat)]


def ground_of(metadata: Metadata) -> tuple[dict[str, Any], list[float]] | None:
    """Footprint and its bounds; cut at the antimeridian, which the metadata's own polygon cannot be."""
    told = footprint(metadata)
    if told is None:
        return None
    if crosses(told["coordinates"][0]):
        return ground([told["coordinates"]])
    return told, bounds_of(told)


def acquired(metadata: Metadata) -> datetime | None:
    """Time of acquisition, wherever a configuration puts it."""
    if metadata.acquisition_datetime is not None:
        return metadata.acquisition_datetime
    return None if metadata.sensors is None else metadata.sensors.acquisition_starttime


def angles(metadata: Metadata) -> dict[str, float]:
    """Angles by the names of STAC's view extension; those that the file gives.

    Configuration B gives zeniths: the sun's is 90 degrees less its elevation, the satellite's is the
    incidence angle.
    """
    found: dict[str, float | None] = {}
    if metadata.sensors is not None:
        sun, view = metadata.sensors.solar_angles, metadata.sensors.viewing_angles
        if sun is not None:
            found["view:sun_azimuth"] = sun.azimuth_mean
            found["view:sun_elevation"] = None if sun.zenith_mean is None else 90 - sun.zenith_mean
        if view is not None:
            found["view:azimuth"], found["view:incidence_angle"] = view.azimuth_mean, view.zenith_mean
    if metadata.geometric is not None:
        high, look = metadata.geometric.solar_angles, metadata.geometric.viewing_angles
        if high is not None:
            found["view:sun_elevation"], found["view:sun_azimuth"] = high.sun_elevation, high.sun_azimuth
        if look is not None:
            found["view:off_nadir"], found["view:azimuth"] = look.off_nadir, look.azimuth
            found["view:incidence_angle"] = look.incident_angle
    return {name: value for name, value in found.items() if value is not None}


def is_night(metadata: Metadata) -> bool | None:
    """Whether the scene was taken at night; None if neither flag nor sun tells."""
    if metadata.day_flag is not None:
        return not metadata.day_flag
    elevation = angles(metadata).get("view:sun_elevation")
    return None if elevation is None else elevation < 0

from __future__ import annotations

import copy
import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstzoom.errors import EncodingError, InputError, LstzoomError
from lstzoom.product import metadata as md
from lstzoom.product.encoding import Stored
from tests.product.contract import EDITIONS


def read(keys: Any) -> md.Metadata:
    return md.read_metadata(json.dumps(keys))[0]


def changed(edition: str, path: str, value: Any) -> dict[str, Any]:
    keys = copy.deepcopy(EDITIONS[edition])
    *parents, last = path.split("/")
    place = keys
    for parent in parents:
        place = place[parent]
    place[last] = value
    return keys


# Reading what is published


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_published_key_is_known(edition: str) -> None:
    found, notes = md.read_metadata(json.dumps(EDITIONS[edition]))
    assert notes == ()
    assert found.configuration == edition[-1]
    assert md.acquired(found) == datetime(2026, 7, 8, 23, 58, 15, 118_000, tzinfo=UTC)
    assert md.footprint(found) == {
        "type": "Polygon",
        "coordinates": [[[10.0, 48.0], [10.2, 48.0], [10.2, 48.1], [10.0, 48.1], [10.0, 48.0]]],
    }
    assert found.sensors is not None
    assert found.sensors.by_name["VNIR"].bands is not None
    assert found.sensors.by_name["VNIR"].bands["vnir03"].dimensions == [1500, 1500]


@pytest.mark.parametrize("edition", EDITIONS)
def test_angles_are_the_same_in_both_configurations(edition: str) -> None:
    angles = md.angles(read(EDITIONS[edition]))
    off_nadir = {} if edition == "B" else {"view:off_nadir": 6.5}
    assert angles == {
        "view:sun_elevation": 58.5,
        "view:sun_azimuth": 142.0,
        "view:azimuth": 101.5,
        "view:incidence_angle": 7.25,
        **off_nadir,
    }
    assert md.is_night(read(EDITIONS[edition])) is False


def test_encodings_are_found_where_an_edition_has_them() -> None:
    st_, sr = Stored("uint16", 0.01, 0.0, 65535, "K"), Stored("uint16", 0.0001, -0.1, 65535, "1")
    assert (read(EDITIONS["B"]).stored("ST"), read(EDITIONS["B"]).stored("SR")) == (st_, sr)
    assert (read(EDITIONS["ZA"]).stored("ST"), read(EDITIONS["ZA"]).stored("SR")) == (Stored(), sr)
    assert read(EDITIONS["PA"]).stored("SR") == Stored()
    assert read(EDITIONS["ZA"]).stored("TCWV") == Stored("uint16", 0.001, 0.0, 65535, "g/cm²")
    assert read({"day_flag": True}).stored("AOT") == Stored()


@pytest.mark.parametrize("edition", EDITIONS)
@pytest.mark.parametrize("form", ["feature", "collection", "bytes with mark", "spaces"])
def test_where_the_keys_stand_does_not_matter(edition: str, form: str) -> None:
    keys = EDITIONS[edition]
    feature = {"type": "Feature", "geometry": None, "properties": keys}
    text: bytes | str = json.dumps(feature)
    if form == "collection":
        text = json.dumps({"type": "FeatureCollection", "features": [feature]})
    elif form == "bytes with mark":
        text = b"\xef\xbb\xbf" + json.dumps(keys).encode()
    elif form == "spaces":
        text = json.dumps(keys).replace("view : ", "view:").replace("eo:common", "eo : common")
    assert md.read_metadata(text) == (read(keys), ())


def test_unknown_is_written_in_many_ways() -> None:
    for unknown in ("NA", "nan", "", None):
        keys = changed("ZA", "products/VNIR/AOT/AOT_median", unknown)
        found = read(keys)
        assert found.products is not None
        assert found.products.VNIR is not None
        assert found.products.VNIR.AOT is not None
        assert found.products.VNIR.AOT.median is None
    assert read(changed("B", "products/TIR/ST/ST_type", "NA")).stored("ST").dtype is None
    assert (
        md.read_metadata('{"day_flag": true, "thick_cloud_percentage": NaN}')[0].thick_cloud_percentage
        is None
    )


def test_the_object_of_october_2025_is_known() -> None:
    keys = copy.deepcopy(EDITIONS["B"])
    keys["qa_masks_bands"] = keys.pop("qa_mask_bands")
    assert md.read_metadata(json.dumps(keys)) == (read(EDITIONS["B"]), ())


def test_the_form_of_2024_gives_time_place_and_sun() -> None:
    old = {
        "area_of_interest_id": "a", "organization_id": "o", "bbox": [10, 48, 10.2, 48.1],
        "scene_datetime": "2024-05-12T09:58:54", "processing_datetime": "2024-05-13T00:00:00Z",
        "sun_elevation": 51.0, "proj:epsg": 32632, "sat_source": "SBA01", "cloud_ratio_aoi": 0.1,
        "geometry": {"type": "Polygon", "coordinates": [[[10, 48], [10.2, 48], [10.2, 48.1], [10, 48]]]},
    }  # fmt: skip
    found, notes = md.read_metadata(json.dumps(old))
    assert (md.acquired(found), found.platform) == (datetime(2024, 5, 12, 9, 58, 54, tzinfo=UTC), "SBA01")
    assert md.angles(found) == {"view:sun_elevation": 51.0}
    assert notes == ()


def test_night_follows_from_the_flag_else_from_the_sun() -> None:
    assert md.is_night(read({"day_flag": False})) is True
    assert md.is_night(read(changed("B", "sensors/solar_angles/zenith_mean", 110.0))) is True
    assert md.is_night(read({"platform": "SBA01"})) is None


@pytest.mark.parametrize(
    "classes",
    [
        {"clear": 0, "thick_cloud": 1, "thin_cloud": 2, "cloud_shadow": 3},
        {"0": "Clear", "1": "ThickCloud", "2": "thin clouds", "3": "shadow"},
        {"0": "clear"},
    ],
)
def test_class_tables_may_be_written_either_way_round(classes: dict[str, Any]) -> None:
    read(changed("PA", "scl_masks_bands/cloud_mask_classes", classes))


def test_keys_that_are_not_documented_are_told_with_the_nearest() -> None:
    keys = changed("PA", "sensors/VNIR/bands/vnir03/dimension", [3, 4])
    found, notes = md.read_metadata(json.dumps({**keys, "day_flg": 1}))
    assert notes == (
        "the key 'day_flg' is not documented; the nearest documented key is 'day_flag'",
        (
            "the key 'sensors.VNIR.bands.vnir03.dimension' is not documented; "
            "the nearest documented key is 'dimensions'"
        ),
    )
    assert found.day_flag is True


# What contradicts the documents


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("thick_cloud_percentage", 140, "no percentage"),
        ("thick_cloud_percentage", "much", "thick_cloud_percentage"),
        ("day_flag", "perhaps", "day_flag"),
        ("acquisition_datetime", "yesterday", "ISO 8601"),
        ("acquisition_datetime", 20260708, "acquisition_datetime"),
        ("scl_masks_bands/cloud_mask_classes", {"1": "clear"}, "class 1"),
        ("scl_masks_bands/cloud_mask_classes", {"4": "snow"}, "class 4"),
        ("qa_mask_bands/blackfill_mask_classes", {"0": "invalid"}, "class 0"),
        ("geometric/geometry/coordinates", [[[10, 48], [11, 48], [10, 95], [10, 48]]], "RFC 7946"),
        ("geometric/geometry/coordinates", [[[10, 48]]], "encloses nothing"),
        ("geometric/geometry/type", "Point", "Polygon"),
        ("geometric/bbox", [10, 48, 11], "bbox"),
        ("geometric/solar_angles/view : sun_elevation", 120, "no elevation"),
        ("sensors/VNIR/bands", ["vnir03"], "sensors.by_name.VNIR.bands"),
        ("products", "none", "products"),
        ("sensors/acquisition_starttime", {"a": 1}, "acquisition_starttime"),
    ],
)
def test_contradictions_name_file_and_key(path: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        md.read_metadata(json.dumps(changed("PA", path, value)), "some/metadata.json")
    assert "some/metadata.json" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "no valid JSON"),
        (b'{"day_flag": tr', "cut short"),
        (b"\xff\xfe\x00", "no valid JSON"),
        (b"[1, 2]", "JSON object"),
        (b"{}", "none of the documented keys"),
        (b'{"foo": 1}', "foo"),
        (b'{"type": "Feature", "properties": null}', "without properties"),
        (b'{"type": "FeatureCollection", "features": []}', "several or no features"),
        (b'{"thick_cloud_percentage": Infinity}', "thick_cloud_percentage"),
        (b'{"thick_cloud_percentage": 1e999}', "thick_cloud_percentage"),
        (b"[" * 200_000, "no valid JSON"),
        (b'{"platform": "\\ud800"}', "no valid JSON"),
        (b'{"products": {"TIR": {"ST": {"ST_nodata": 1' + b"0" * 400 + b"}}}}", "no data type"),
        (b'{"earth_sun_distance": ' + b"9" * 5000 + b"}", "no valid JSON"),
    ],
)
def test_what_is_no_metadata_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        md.read_metadata(text)


def test_an_impossible_encoding_is_refused() -> None:
    for key, value in (
        ("ST_scale_factor", 0),
        ("ST_type", "uint17"),
        ("ST_type", "u2,f4"),
        ("ST_format", "JPEG2000"),
    ):
        with pytest.raises(EncodingError):
            read(changed("B", f"products/TIR/ST/{key}", value)).stored("ST")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def _paths(keys: dict[str, Any], start: str = "") -> list[str]:
    found = []
    for key, value in keys.items():
        found.append(start + key)
        if isinstance(value, dict):
            found += _paths(value, f"{start}{key}/")
    return found


PATHS = [(edition, path) for edition, keys in EDITIONS.items() for path in _paths(keys)]


@given(st.sampled_from(PATHS), JSON)
@settings(max_examples=600, deadline=None)
def test_any_value_in_any_key_is_read_or_refused_by_our_own_errors(
    where: tuple[str, str], value: Any
) -> None:
    text = json.dumps(changed(*where, value))
    try:
        found, _ = md.read_metadata(text)
        for variable in ("ST", "SR", "AOT", "TCWV", "EMIS"):
            found.stored(variable)
        shape = md.footprint(found)
        if shape is not None:
            md.bounds_of(shape)
        md.angles(found), md.is_night(found), md.acquired(found), found.configuration
    except LstzoomError:
        pass


@given(st.one_of(st.binary(max_size=200), JSON.map(lambda one: json.dumps(one).encode())))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_refused_by_our_own_errors(text: bytes) -> None:
    with suppress(LstzoomError):
        md.read_metadata(text)


@given(st.sampled_from(sorted(EDITIONS)), st.data())
@settings(max_examples=100, deadline=None)
def test_cut_and_flipped_files_are_refused_by_our_own_errors(edition: str, data: st.DataObject) -> None:
    text = bytearray(json.dumps(EDITIONS[edition]).encode())
    for _ in range(data.draw(st.integers(0, 5))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    with suppress(LstzoomError):
        md.read_metadata(bytes(text[: data.draw(st.integers(0, len(text)))]))


# Writing


def without_unknown(keys: Any) -> Any:
    """As written: what is NA in numbers is null."""
    text = json.dumps(keys)
    return json.loads(text.replace('"DDV_percentage": "NA"', '"DDV_percentage": null'))


@pytest.mark.parametrize("edition", EDITIONS)
def test_what_was_read_is_written_with_the_same_keys(edition: md.Edition) -> None:
    feature = md.to_feature(
        read(EDITIONS[edition]), edition, reasons={"products.VNIR.AOT.DDV_percentage": "CAMS"}
    )
    properties = feature["properties"]
    assert properties.pop(md.UNKNOWN_KEY) == {"products.VNIR.AOT.DDV_percentage": "CAMS"}
    for key in ("acquisition_datetime", "processing_time"):
        assert datetime.fromisoformat(properties.pop(key)) == datetime.fromisoformat(EDITIONS[edition][key])
    sensors = properties["sensors"]
    for key in ("acquisition_starttime", "acquisition_endtime"):
        assert sensors.pop(key).endswith("Z")
    wanted = without_unknown(EDITIONS[edition])
    for key in ("acquisition_datetime", "processing_time"):
        wanted.pop(key)
    for key in ("acquisition_starttime", "acquisition_endtime"):
        wanted["sensors"].pop(key)
    assert properties == wanted
    assert feature["bbox"] == [10.0, 48.0, 10.2, 48.1]


@pytest.mark.parametrize("edition", EDITIONS)
def test_nothing_known_is_null_with_a_reason(edition: md.Edition) -> None:
    feature = md.to_feature(md.Metadata(product_name="LSTzoom"), edition, reason="not asked")
    unknown = feature["properties"][md.UNKNOWN_KEY]
    assert set(unknown) == set(EDITIONS[edition]) - {"product_name"}
    assert set(unknown.values()) == {"not asked"}
    assert all(feature["properties"][key] is None for key in unknown)


def test_keys_that_are_not_documented_are_not_written() -> None:
    with pytest.raises(InputError, match="day_flg"):
        md.to_feature(md.Metadata.model_validate({"day_flg": True}), "PA")


NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.none()
PERCENTS = st.floats(0, 100) | st.none()
TEXTS = st.text(max_size=20) | st.none()
TIMES = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)) | st.none()  # noqa: DTZ001


@given(
    st.sampled_from(["ZA", "PA", "B"]),
    st.fixed_dictionaries({
        "product_id": TEXTS, "use_limitations": TEXTS, "acquisition_datetime": TIMES,
        "thick_cloud_percentage": PERCENTS, "day_flag": st.booleans() | st.none(),
        "earth_sun_distance": NUMBERS,
        "products": st.none() | st.fixed_dictionaries({
            "TIR": st.fixed_dictionaries({"TCO3": NUMBERS, "AOT_source": TEXTS}),
        }),
        "sensors": st.none() | st.fixed_dictionaries({
            "crs": TEXTS,
            "by_name": st.dictionaries(
                st.sampled_from(["VNIR", "TIR"]),
                st.fixed_dictionaries({"sensor_id": st.lists(st.text(max_size=5), max_size=2)}),
            ),
        }),
    }),
)  # fmt: skip
@settings(deadline=None)
def test_any_metadata_survives_writing_and_reading(edition: md.Edition, keys: dict[str, Any]) -> None:
    before = md.Metadata.model_validate(keys)
    text = json.dumps(md.to_feature(before, edition), allow_nan=False)
    after, notes = md.read_metadata(text)
    assert after == before
    assert notes == ()

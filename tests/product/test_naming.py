from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstzoom.errors import InputError
from lstzoom.product.naming import (
    STYLES,
    LongName,
    ShortName,
    geohash,
    geohash_bounds,
    kind_of,
    parse_name,
)

TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
KINDS = st.sampled_from(
    ["lst", "lst_sharpened_10m", "metadata", "tcwv", "aot", "quicklook", "thumbnail", "lst_composite",
     "lst_thumbnail", "rgb_composite", "rgb_thumbnail", "rgb_quicklook", "scl_mask_10m", "scl_mask_60m",
     "vnir01", "vnir10", "vnir02_qa", "lst_quicklook_sharpened_10m", "lst_thumbnail_sharpened_10m", "emi_01"]
)  # fmt: skip
LONG = st.builds(
    LongName,
    st.sampled_from(["LSTprecision", "LSTzoom"]),
    st.sampled_from(["SBA01", "SBA02"]),
    st.text("0123456789BCDEFGHJKMNPQRSTUVWXYZ", min_size=8, max_size=8),
    TIMES,
)
SHORT = st.builds(
    ShortName,
    TIMES,
    st.sampled_from(["LSTprecision", "LSTzoom"]),
    st.uuids().map(str),
    st.one_of(st.just(""), st.from_regex(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*", fullmatch=True)),
    st.booleans(),
)


@given(LONG)
def test_long_names_round_trip_as_folder_zip_and_file(name: LongName) -> None:
    assert name.folder == name.folder.upper()
    for text in (name.folder, f"{name.folder}.zip", name.folder.lower(), name.file("scl_mask_10m")):
        assert parse_name(text) == name
        assert parse_name(f"s3://bucket/some/where/{text}/") == name


@given(SHORT)
def test_short_names_round_trip_as_folder_and_zip(name: ShortName) -> None:
    flat = ShortName(name.acquired, name.product, name.order, name.aoi)
    assert parse_name(name.folder) == flat
    assert parse_name(f"/data/{name.folder}.zip") == flat


@given(st.one_of(LONG, SHORT), KINDS)
def test_what_a_file_is_follows_from_its_name_in_every_style(name: LongName | ShortName, kind: str) -> None:
    assert kind_of(name.file(kind)) == kind
    assert kind_of(name.file(kind).upper()) == kind
    assert kind_of(name.file(kind).replace(".tiff", ".tif")) == kind


@given(st.text(max_size=80))
def test_any_text_is_a_name_or_none(text: str) -> None:
    parse_name(text)
    assert (kind_of(text) or "") in text.lower()


@given(st.floats(-180, 180, allow_nan=False), st.floats(-90, 90, allow_nan=False), st.integers(1, 12))
def test_a_geohash_holds_its_position(lon: float, lat: float, length: int) -> None:
    code = geohash(lon, lat, length)
    assert len(code) == length
    west, south, east, north = geohash_bounds(code)
    assert west <= lon <= east
    assert south <= lat <= north


# Published examples


def test_published_names_are_read() -> None:
    found = parse_name("LSTPRECISION_SBA01_THQDZSBX_20251123T072838Z.zip")
    assert found == LongName(
        "LSTprecision", "SBA01", "THQDZSBX", datetime(2025, 11, 23, 7, 28, 38, tzinfo=UTC)
    )
    assert isinstance(found, LongName)
    assert found.product == "LSTprecision"
    lst = "LSTPRECISION_SBA02_U155VHMQ_20260708T235815Z_LST.tiff"
    metadata = "LSTPRECISION_SBA02_U155VHMQ_20260708T235815Z_METADATA.json"
    assert (kind_of(lst), kind_of(metadata)) == ("lst", "metadata")
    name = parse_name(lst)
    assert isinstance(name, LongName)
    assert (name.file("lst"), name.file("metadata")) == (lst, metadata)
    short = parse_name("20240512T095854Z_LSTzoom_cae562b6-04a2-48cf-a044-eb61064e4c9b")
    assert isinstance(short, ShortName)
    assert (short.product, short.order) == ("LSTzoom", "cae562b6-04a2-48cf-a044-eb61064e4c9b")


def test_the_published_geohash_is_abu_dhabi() -> None:
    west, south, east, north = geohash_bounds("THQDZSBX")
    assert ((west + east) / 2, (south + north) / 2) == (
        pytest.approx(54.471, abs=5e-4),
        pytest.approx(24.417, abs=5e-4),
    )


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("vnir_data/vnir01.tiff", "vnir01"),
        ("tir_data/lst.tiff", "lst"),
        ("scl_masks_data/scl_mask_60m.tiff", "scl_mask_60m"),
        ("20250915T101500Z_LSTzoom_Abu_Dhabi_1234_vnir_data.tiff", None),
        ("20250915T101500Z_LSTzoom_Abu_Dhabi_1234_rgb_thumbnail.jpg", "rgb_thumbnail"),
        ("lst_thumbnail_sharpened_10m.tiff", "lst_thumbnail_sharpened_10m"),
        ("lst.tiff.aux.xml", None),
        ("vnir11.tiff", None),
        ("mylst.tiff", None),
    ],
)
def test_files_are_known_by_the_end_of_their_name(path: str, kind: str | None) -> None:
    assert kind_of(path) == kind


def test_names_with_an_impossible_time_say_nothing() -> None:
    assert parse_name("LSTPRECISION_SBA01_THQDZSBX_20251323T072838Z") is None
    with pytest.raises(InputError, match="no time"):
        LongName.parse("LSTPRECISION_SBA01_THQDZSBX_20251323T072838Z")


def test_names_that_could_not_be_read_back_are_refused() -> None:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(InputError, match="GEOHASH"):
        LongName("LSTzoom", "SBA01", "AAAAAAAA", when)
    with pytest.raises(InputError, match="order"):
        ShortName(when, "LSTzoom", "with_underscore")
    with pytest.raises(InputError, match="no file of a bundle"):
        ShortName(when, "LSTzoom", "order").file("lts")
    assert STYLES == ("short", "subdirectories", "long")

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from lstzoom.errors import ConfigError, EncodingError, InputError, UnitsError
from lstzoom.product.encoding import DOCUMENTED, Stored, decode
from lstzoom.product.masks import MaskRules, qa_bands, qa_usable, scl_bands, scl_usable
from lstzoom.raster import RasterSource, describe

GRID = GeoBox((4, 4), Affine(10, 0, 600_000, 0, -10, 5_400_000), "EPSG:32632")
BARE = RasterSource("lst.tiff", 1, GRID, "uint16")


def settled(source: RasterSource, told: Stored | None = None, variable: str = "ST") -> tuple[object, ...]:
    found = decode(source, variable, told)  # type: ignore[arg-type]
    one = found.source
    return one.scale, one.offset, one.nodata, one.units, found.scale_from, found.nodata_from


def test_tags_come_first_then_metadata_then_what_is_documented() -> None:
    told = Stored("uint16", 0.02, 1.0, 0, "kelvin")
    tagged = replace(BARE, scale=0.05, offset=100.0, nodata=1, units="K")
    assert settled(tagged, told) == (0.05, 100.0, 1, "K", "tags", "tags")
    assert settled(BARE, told) == (0.02, 1.0, 0, "kelvin", "metadata", "metadata")
    assert settled(BARE) == (0.01, 0.0, 65535, "K", "documented", "documented")
    assert settled(BARE, None, "SR") == (0.0001, -0.1, 65535, "1", "documented", "documented")
    assert settled(replace(BARE, nodata=7), told)[2:] == (7, "kelvin", "metadata", "tags")


def test_half_of_an_encoding_is_completed_by_what_is_documented() -> None:
    assert settled(BARE, Stored(scale=0.0002), "SR")[:2] == (0.0002, -0.1)
    assert settled(BARE, Stored(offset=-0.2), "SR")[:2] == (0.0001, -0.2)
    # An offset of 0 is a statement, no gap.
    assert settled(BARE, Stored(scale=0.0001, offset=0.0), "SR")[:2] == (0.0001, 0.0)


def test_files_in_floating_point_hold_values() -> None:
    source = replace(BARE, dtype="float32")
    assert settled(source) == (1.0, 0.0, None, "K", "values", "values")
    assert settled(source, Stored("float32", 0.01, 0.0, 65535, "K"))[:2] == (1.0, 0.0)


def test_tags_that_differ_from_metadata_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        decode(replace(BARE, scale=0.05), "ST", Stored(scale=0.01, offset=0.0))
    assert "scale 0.05 in the file's tags, 0.01 in metadata.json" in caplog.text


def test_what_cannot_be_decoded_is_refused_with_file_and_remedy() -> None:
    with pytest.raises(EncodingError, match=r"'lst\.tiff' holds uint16, but metadata\.json says float32"):
        decode(BARE, "ST", Stored("float32"))
    with pytest.raises(EncodingError, match="none is documented"):
        decode(BARE, "AOT")
    with pytest.raises(UnitsError, match=r"'lst\.tiff' holds temperature in 'degC'"):
        decode(replace(BARE, units="degC"), "ST")
    with pytest.raises(EncodingError, match="scale is 0"):
        Stored(scale=0)
    assert settled(BARE, Stored(scale=0.001), "AOT")[:2] == (0.001, 0.0)


def test_what_is_documented_is_as_published() -> None:
    assert DOCUMENTED["ST"] == Stored("uint16", 0.01, 0.0, 65535, "K")
    assert DOCUMENTED["SR"] == Stored("uint16", 0.0001, -0.1, 65535, "1")


# Masks


def write(
    path: Path, bands: list[list[int]], *, descriptions: list[str] | None = None, **more: object
) -> Path:
    data = np.array(bands, np.uint8)[:, :, None].repeat(4, 2)
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint8", count=len(bands), height=4, width=4, crs="EPSG:32632",
        transform=GRID.affine, **more,
    ) as file:  # fmt: skip
        file.write(data)
        if descriptions:
            file.descriptions = descriptions
    return path


CLOUD, CAST, WATER, STATIC = [0, 1, 2, 3], [0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 1]


def rows(mask: object) -> list[bool]:
    return mask.values[:, 0].tolist()  # type: ignore[attr-defined]


def scl(path: Path, rules: MaskRules | None = None, *, clouds: bool = True) -> list[bool]:
    mask = scl_usable(describe(path, codes=True), GRID, rules or MaskRules(), clouds=clouds)
    return [True] * 4 if mask is None else rows(mask)


def test_the_fourth_of_four_bytes_is_a_mask_and_no_transparency(tmp_path: Path) -> None:
    # GDAL calls it alpha unless told otherwise; taken as such, land would make clouds disappear.
    path = write(tmp_path / "scl_mask_10m.tiff", [CLOUD, CAST, WATER, STATIC])
    with rasterio.open(path) as file:
        assert file.colorinterp[3].name == "alpha"
    assert len(scl_bands(describe(path, codes=True))) == 4
    assert scl(path) == [True, False, False, False]
    assert scl(path, MaskRules(clouds=frozenset(), water=True)) == [False, True, True, True]


def test_rules_decide_what_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "scl_mask_10m.tiff", [CLOUD, [0, 0, 0, 1], WATER, STATIC])
    assert scl(path, MaskRules(clouds=frozenset({"thick cloud"}))) == [True, False, True, True]
    assert scl(path, MaskRules(clouds=frozenset(), cast_shadow=True)) == [True, True, True, False]
    assert scl(path, MaskRules(clouds=frozenset())) == [True] * 4
    assert scl(path, clouds=False) == [True] * 4
    with pytest.raises(ConfigError, match="snow is no mask"):
        MaskRules(clouds=frozenset({"snow"}))  # type: ignore[arg-type]


def test_descriptions_decide_over_the_order(tmp_path: Path) -> None:
    names = ["static_landwater_mask", "landwater_mask", "castshadow_mask", "cloud_mask"]
    path = write(tmp_path / "scl_mask_10m.tiff", [STATIC, WATER, CAST, CLOUD], descriptions=names)
    assert scl(path) == [True, False, False, False]
    twice = write(tmp_path / "twice.tiff", [STATIC, WATER, CAST, CLOUD], descriptions=["cloud"] * 4)
    with pytest.raises(InputError, match="needed once"):
        scl(twice)


@pytest.mark.parametrize("nodata", [None, 0, 255])
def test_quality_is_read_from_bands_and_from_bits(tmp_path: Path, nodata: int | None) -> None:
    bands = write(tmp_path / "b.tiff", [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], nodata=nodata)
    bits = write(tmp_path / "a.tiff", [[0, 1, 2, 4]], nodata=nodata)
    for path in (bands, bits):
        sources = describe(path, codes=True)
        default = qa_usable(sources, GRID, MaskRules())
        strict = qa_usable(sources, GRID, MaskRules(quality=frozenset({"untested"})))
        assert rows(default) == [True, False, False, True]
        assert rows(strict) == [True, True, True, False]
        assert qa_usable(sources, GRID, MaskRules(quality=frozenset())) is None


def test_files_with_other_numbers_of_bands_are_refused(tmp_path: Path) -> None:
    two = describe(write(tmp_path / "two.tiff", [CLOUD, CAST]), codes=True)
    with pytest.raises(InputError, match=r"two\.tiff' has 2 bands; a scene classification has 4"):
        scl_bands(two)
    with pytest.raises(InputError, match=r"two\.tiff' has 2 bands; a quality file has 3"):
        qa_bands(two)

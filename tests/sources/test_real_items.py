"""Items as real catalogues return them. Nothing is fetched: what they tell is enough."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pystac
import pytest

from lstzoom.errors import InputError
from lstzoom.sources.catalog import Constants, open_catalog
from lstzoom.sources.encoding import Encoding, find_asset, settle, told_by, vnir_constants
from lstzoom.sources.loading import load
from lstzoom.sources.pair import make_pairs
from lstzoom.sources.search import examine, read_items
from lstzoom.stac import told_grid

ROOT = Path(os.environ.get("LSTZOOM_REAL_DATA", "nowhere")) / "stac"
pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason="LSTZOOM_REAL_DATA is not set")

PC_2019 = "api/sentinel-2-l2a__S2A_MSIL2A_20190101T000001_R116_T60VUK_20201007T214652.json"
ES_2023 = "api/sentinel-2-l2a__S2A_13TDE_20231008_0_L2A.json"
V0_2020 = "sentinel2/odc_S2A_28QCH_20200714_0_L2A.json"
NEW_2023 = "sentinel2/stactools_S2A_MSIL2A_20230625T234621_N0509_R073_T01WCP_20230626T022157.json"
NEW_2024 = "sentinel2/stactools_S2A_OPER_MSI_L2A_TL_2APS_20240108T121951_A044635_T34VEL.json"
L8_2023 = "api/landsat-c2-l2__LC08_L2SP_033032_20231008_02_T1.json"
PAIR = "api/search_response_sentinel-2-l2a.json"


def item(name: str) -> pystac.Item:
    (one,) = read_items(ROOT / name)
    return one


def red(name: str) -> Encoding:
    source, one = open_catalog("landsat-sentinel2"), item(name)
    key = find_asset(one, source.vnir.bands["red"])
    assert key is not None
    told = told_by(one, key, vnir=source.vnir)
    return settle(told, None, vnir_constants(one, source.vnir, "red"))


@pytest.mark.parametrize(
    ("name", "offset", "origin"),
    [
        (ES_2023, 0.0, "item"),  # listed as -0.1, and the pixels have it already
        (PC_2019, 0.0, "catalog"),  # baseline 02.12
        (V0_2020, 0.0, "catalog"),  # tells neither encoding nor baseline, and is older
        (NEW_2023, -0.1, "item"),
        (NEW_2024, -0.1, "item"),
    ],
)
def test_reflectance_of_sentinel_2(name: str, offset: float, origin: str) -> None:
    found = red(name)
    assert (found.scale, found.offset, found.nodata, found.origin) == (0.0001, offset, 0, origin)


def test_an_offset_that_is_listed_for_an_old_baseline_is_none() -> None:
    """Earth Search lists -0.1 for products of before the offset, too, and says that it is not applied."""
    source, one = open_catalog("landsat-sentinel2"), item(ES_2023)
    for baseline, applied, offset in (("02.09", False, 0.0), ("05.09", False, -0.1), ("05.09", True, 0.0)):
        one.properties |= {"s2:processing_baseline": baseline, "earthsearch:boa_offset_applied": applied}
        told = told_by(one, "red", vnir=source.vnir)
        assert settle(told, None, vnir_constants(one, source.vnir, "red")).offset == offset


def test_a_new_baseline_without_encoding_has_an_offset() -> None:
    source, one = open_catalog("landsat-sentinel2"), item(PC_2019)
    one.properties["s2:processing_baseline"] = "05.00"
    assert vnir_constants(one, source.vnir, "red").offset == -0.1
    one.properties["s2:processing_baseline"] = "03.01"
    one.datetime = datetime(2023, 1, 1, tzinfo=UTC)
    assert vnir_constants(one, source.vnir, "red").offset == 0.0
    del one.properties["s2:processing_baseline"]
    # The product's name goes on telling N0212.
    assert vnir_constants(one, source.vnir, "red").offset == 0.0
    del one.properties["s2:product_uri"]
    assert vnir_constants(one, source.vnir, "red").offset == -0.1


@pytest.mark.parametrize(
    "name",
    [
        L8_2023,
        "landsat/stactools_LC08_L2SP_047027_20201204_02_T1.json",
        "landsat/stactools_LC09_L2SP_010065_20220129_02_T1.json",
    ],
)
def test_temperature_of_landsat(name: str) -> None:
    source, one = open_catalog("landsat-sentinel2"), item(name)
    key = find_asset(one, source.lst)
    assert key == "lwir11"
    found = settle(told_by(one, key), None, Constants())
    assert (found.scale, found.offset, found.nodata, found.unit) == (0.00341802, 149, 0, "kelvin")
    grid = told_grid(one.assets[key].extra_fields, one.properties)
    assert grid is not None
    assert (grid.affine.a, grid.shape) == (30, tuple(one.properties["proj:shape"]))
    assert source.lst.native_resolution_of(one.properties["platform"]) == 100
    uncertainty = source.uncertainty
    assert uncertainty is not None
    assert find_asset(one, uncertainty) == "qa"


@pytest.mark.parametrize(
    ("name", "epsg"),
    [(ES_2023, 32613), (PC_2019, 32660), (V0_2020, 32628), (NEW_2023, 32601), (NEW_2024, 32634)],
)
def test_every_band_of_sentinel_2_is_found_with_its_grid(name: str, epsg: int) -> None:
    source, one = open_catalog("landsat-sentinel2"), item(name)
    for layer in source.vnir.bands.values():
        key = find_asset(one, layer)
        assert key is not None
        grid = told_grid(one.assets[key].extra_fields, one.properties)
        assert grid is not None
        assert grid.crs is not None
        assert (grid.crs.epsg, grid.affine.a) == (epsg, layer.resolution_m)
    assert find_asset(one, source.mask("scl")) in {"scl", "SCL"}


def test_the_recorded_search_gives_one_pair() -> None:
    found = examine("landsat-sentinel2", ROOT / PAIR)
    (pair,) = make_pairs(found).pairs
    assert pair.lst.item.id == "LC08_L2SP_033032_20231008_02_T1"
    assert [one.item.id for one in pair.vnir] == ["S2A_13TDE_20231008_0_L2A"]
    assert pair.days == pytest.approx(0.0177, abs=1e-3)
    assert found.unusable == ()
    # No area was asked for: the part that both have is loaded.
    whole = load("landsat-sentinel2", items=ROOT / PAIR)
    assert 0 < whole.attrs["pair_coverage"] < 0.5
    rows, columns = whole.lst.shape
    assert rows * columns < 0.5 * 7831 * 7711
    # The files of the two are reached in different ways.
    assert pair.lst.access.requester_pays
    assert pair.vnir[0].access.anonymous


def test_the_recorded_pair_loads_lazily_on_nested_grids() -> None:
    pair = load("landsat-sentinel2", (-105.2, 40.1, -105.0, 40.3), items=ROOT / PAIR)
    assert pair.vnir.sizes["y"] == 3 * pair.lst.sizes["y"]
    assert float(pair.vnir.x[1]) == pytest.approx(float(pair.lst.x[0]))
    assert pair.attrs["lst_native_resolution_m"] == 100
    assert "http" not in json.dumps(pair.attrs)


@pytest.mark.parametrize(
    "name",
    [
        "landsat/odc_LC08_L2SP_028030_20200114_20200824_02_T1_SR.json",
        "landsat/odc_LC08_L2SR_081119_20200101_20200823_02_T2.json",
        "landsat/odc_LE07_L2SP_044033_20210329_20210424_02_T1_SR.json",
        "api/aster-l1t__AST_L1T_00312272006020322_20150518201805.json",
        "aster/stactools_AST_L1T_00305032000040446_20150409135350_78838.json",
        ES_2023,
    ],
)
@pytest.mark.parametrize("catalog", ["landsat", "landsat-sentinel2", "ecostress-sentinel2", "constellr"])
def test_items_without_a_thermal_asset_are_listed_with_the_reason(name: str, catalog: str) -> None:
    one = item(name)
    found = examine(catalog, [one])
    assert found.lst == ()
    if found.vnir and catalog != "landsat":
        # One of two sensors serves its own side, and needs no excuse on the other.
        assert name == ES_2023
        return
    reasons = {(bad.item, bad.side): bad.reason for bad in found.unusable}
    assert reasons[one.id, "lst"].startswith("no thermal asset: looked for keys")
    with pytest.raises(InputError, match="Not usable"):
        load(catalog, items=[one])


def test_landsat_alone_serves_both_sides() -> None:
    found = examine("landsat", [item(L8_2023)])
    (pair,) = make_pairs(found).pairs
    assert pair.vnir[0].item is pair.lst.item
    assert pair.coverage == pytest.approx(1)


def test_a_tile_at_the_antimeridian_covers_what_lies_there() -> None:
    """A tile of zone 1 that reaches across 180 degrees, and an area that does."""
    tile, thermal = item(NEW_2023), item(L8_2023)
    thermal.datetime = tile.datetime
    square = [[179, 66], [-179.5, 66], [-179.5, 66.4], [179, 66.4], [179, 66]]
    thermal.geometry = {"type": "Polygon", "coordinates": [square]}
    found = examine("landsat-sentinel2", [tile, thermal], (179.0, 66.0, -179.5, 66.3), max_cloud=100)
    (pair,) = make_pairs(found).pairs
    assert pair.coverage > 0.9

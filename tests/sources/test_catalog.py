"""The catalogues that come with lstzoom, and what is said about wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from lstzoom.errors import ConfigError
from lstzoom.sources.catalog import catalog_folder, catalog_names, open_catalog


@pytest.mark.parametrize("name", catalog_names())
def test_every_catalog_is_valid_and_named_after_its_file(name: str) -> None:
    catalog = open_catalog(name)
    assert catalog.name == name
    assert catalog.vnir.default_bands
    assert catalog.lst.native_resolution_m >= catalog.lst.resolution_m
    assert catalog.source.kind != "stac" or catalog.endpoints
    for mask in catalog.masks:
        assert mask.name == "water" or mask.rejected() or mask.unknown == "reject"


def test_the_catalogs_that_are_promised_are_there() -> None:
    wanted = {"constellr", "demo", "ecostress-sentinel2", "landsat", "landsat-sentinel2", "local"}
    assert wanted <= set(catalog_names())


def test_native_resolutions_of_landsat() -> None:
    lst = open_catalog("landsat").lst
    found = [lst.native_resolution_of(name) for name in ("landsat-5", "LANDSAT_7", "Landsat-8", "landsat-9")]
    assert found == [120, 60, 100, 100]
    assert lst.native_resolution_of(None) == 100


def test_blue_of_constellr_is_off() -> None:
    assert open_catalog("constellr").vnir.default_bands == ("vnir03", "vnir04", "vnir08")


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no catalog 'landsat-sentinel'; did you mean 'landsat-sentinel2'"):
        open_catalog("landsat-sentinel")
    with pytest.raises(ConfigError, match=r"there is no catalog file 'none\.toml'"):
        open_catalog("none.toml")
    with pytest.raises(ConfigError, match="no endpoint 'earthsearch'; did you mean 'earth-search'"):
        open_catalog("landsat").endpoint("earthsearch")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "native_resolution_m",
            "native_resolution",
            "lst.native_resolution: there is no such key; did you mean",
        ),
        ("scale = 0.01", 'scale = "a"', "lst.scale: Input should be a valid number"),
        ('assets = ["lst"]', "assets = []", "lst: a layer needs assets, hrefs or roles"),
        ("[lst]", "[lst", "cannot be read as TOML"),
        (
            'assets = ["red"]',
            'asset = ["red"]',
            "vnir.bands.red.asset: there is no such key; did you mean 'assets'",
        ),
        ("window_days = 0.0", "window_days = 99", "less than or equal to 60"),
    ],
)
def test_a_wrong_catalog_says_where_and_what(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (catalog_folder() / "demo.toml").read_text()
    assert old in text
    (tmp_path / "mine.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        open_catalog(tmp_path / "mine.toml")

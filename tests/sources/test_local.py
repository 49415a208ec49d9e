"""Files in a folder, described in a few lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lstzoom import cli
from lstzoom.errors import InputError
from lstzoom.sources.catalog import catalog_folder
from lstzoom.sources.loading import load
from tests.sources.archive import box, write_cog
from tests.sources.servers import Files

TOML = """
[source]
name = "mine"
title = "Files of mine"
kind = "local"
licence = "mine"

[local]
folder = "."
pattern = "**/*.tif"
group = '(?P<id>.+_(?P<datetime>\\d{8}))_'
datetime_format = "%Y%m%d"

[pair]
window_days = 0

[lst]
hrefs = ["*_temperature.tif"]
resolution_m = 30
native_resolution_m = 90
unit = "celsius"
scale = 0.1

[vnir]
resolution_m = 10
[vnir.bands.red]
hrefs = ["*_b4.tif"]
[vnir.bands.nir]
hrefs = ["*_b8.tif"]
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    coarse, fine = box(600_000, 5_400_000, 30, (20, 24)), box(600_000, 5_400_000, 10, (60, 72))
    for day, base in (("20230601", 200), ("20230701", 300)):
        numbers = np.full(coarse.shape, base, np.int16)
        numbers[0, 0] = -999
        write_cog(tmp_path / "a" / f"farm_{day}_temperature.tif", numbers, coarse, nodata=-999)
        for band in ("b4", "b8"):
            values = np.full(fine.shape, 0.25, np.float32)
            write_cog(tmp_path / f"farm_{day}_{band}.tif", values, fine, scale=2.0)
    (tmp_path / "mine.toml").write_text(TOML)
    return tmp_path / "mine.toml"


def test_the_time_chooses_where_names_tell_it(catalog: Path) -> None:
    assert load(catalog, datetime="2023-06").attrs["lst_datetime"].startswith("2023-06-01")
    with pytest.raises(InputError, match="is outside of 1999"):
        load(catalog, datetime="1999")
    timeless = catalog.read_text().replace("_(?P<datetime>\\d{8}))_", "_\\d{8})_")
    assert timeless != catalog.read_text()
    catalog.write_text(timeless)
    loaded = load(catalog, datetime="1999")
    assert loaded.lst.size
    # What is not known is not invented.
    assert not {"lst_datetime", "vnir_datetime", "vnir_cloud_cover"} & loaded.attrs.keys()


def test_files_become_pairs_by_their_names(catalog: Path) -> None:
    pair = load(catalog, lst_item="farm_20230701")
    assert pair.attrs["lst_datetime"] == "2023-07-01T00:00:00+00:00"
    assert pair.attrs["lst_native_resolution_m"] == 90
    assert float(pair.lst.values[1, 1]) == pytest.approx(30 + 273.15, abs=1e-4)
    assert np.isnan(pair.lst.values[0, 0])
    # The tags of the file come before the catalogue.
    np.testing.assert_array_equal(pair.vnir.values, np.full((2, 60, 72), 0.5, np.float32))
    assert float(load(catalog, lst_item="farm_20230601").lst.values[1, 1]) == pytest.approx(293.15, abs=1e-4)


def test_the_pattern_that_comes_with_lstzoom(tmp_path: Path) -> None:
    coarse, fine = box(600_000, 5_400_000, 30, (20, 24)), box(600_000, 5_400_000, 10, (60, 72))
    write_cog(tmp_path / "lst.tif", np.full(coarse.shape, 300, np.float32), coarse, nodata=float("nan"))
    write_cog(tmp_path / "red.tif", np.full(fine.shape, 0.1, np.float32), fine)
    mask = np.zeros(fine.shape, np.uint8)
    mask[4, 5] = 1
    write_cog(tmp_path / "mask.tif", mask, fine)
    pair = load("local", folder=tmp_path)
    assert pair.vnir.band.values.tolist() == ["red"]
    assert np.argwhere(np.isnan(pair.vnir.values[0])).tolist() == [[4, 5]]


def test_a_folder_without_the_files_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is nothing"):
        load("local", folder=tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        load("local", folder=tmp_path / "none")
    write_cog(tmp_path / "red.tif", np.ones((60, 72), np.float32), box(600_000, 5_400_000, 10, (60, 72)))
    with pytest.raises(InputError, match="no thermal asset"):
        load("local", folder=tmp_path)


def small(folder: Path) -> Path:
    coarse, fine = box(600_000, 5_400_000, 30, (20, 24)), box(600_000, 5_400_000, 10, (60, 72))
    write_cog(folder / "lst.tif", np.full(coarse.shape, 300, np.float32), coarse, nodata=float("nan"))
    write_cog(folder / "red.tif", np.full(fine.shape, 0.1, np.float32), fine)
    return folder


def test_what_gdal_puts_beside_a_file_is_no_second_file(tmp_path: Path) -> None:
    small(tmp_path)
    for name in ("lst.tif.aux.xml", "lst.tif.ovr", "red.tif.msk", ".red.tif.part", "lst.tif.json"):
        (tmp_path / name).write_text("<PAMDataset/>")
    assert load("local", folder=tmp_path).vnir.band.values.tolist() == ["red"]


def test_two_files_for_one_layer_are_not_chosen_from(tmp_path: Path) -> None:
    small(tmp_path)
    (tmp_path / "b_red.tif").write_bytes((tmp_path / "red.tif").read_bytes())
    (tmp_path / "a_red.tif").write_bytes((tmp_path / "red.tif").read_bytes())
    # The one that the first pattern fits is the one.
    assert load("local", folder=tmp_path).vnir.band.values.tolist() == ["red"]
    (tmp_path / "red.tif").unlink()
    with pytest.raises(InputError, match=r"2 files of the acquisition .* fit '\*_red.*a_red.*b_red"):
        load("local", folder=tmp_path)


def test_files_can_be_listed_one_by_one(tmp_path: Path, own_files: Files) -> None:
    """Paths beside the catalogue and addresses, of any folder."""
    small(own_files.folder)
    small(tmp_path)
    (tmp_path / "red.tif").unlink()
    text = (
        (catalog_folder() / "local.toml")
        .read_text()
        .replace('pattern = "*.tif*"', f'files = ["lst.tif", "{own_files.url}/red.tif"]')
    )
    (tmp_path / "listed.toml").write_text(text)
    pair = load(tmp_path / "listed.toml")
    assert pair.vnir.band.values.tolist() == ["red"]
    assert float(pair.vnir.values[0, 3, 3]) == pytest.approx(0.1)
    assert float(pair.lst.values[3, 3]) == 300
    (tmp_path / "listed.toml").write_text(text.replace('lst.tif"', 'absent_lst.tif"'))
    with pytest.raises(InputError, match=r"no file '.*absent_lst\.tif', which local\.files"):
        load(tmp_path / "listed.toml")


def test_a_folder_is_searched_on_the_command_line(tmp_path: Path) -> None:
    small(tmp_path)
    done = CliRunner().invoke(cli.app, ["catalog", "search", "local", "--folder", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "usable: 1 of LST, 1 of reflectance" in done.stdout
    done = CliRunner().invoke(cli.app, ["catalog", "search", "demo"])
    assert done.exit_code == 3
    assert "its scene is simulated, see `lstzoom demo`" in done.stderr

"""Mosaics from files to store, COG and items."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr
from numpy.typing import NDArray
from pystac.validation.local_validator import get_local_schema_cache
from referencing import Registry, Resource

import lstzoom
from lstzoom.cube import open_cube
from lstzoom.errors import ConfigError, InputError, LstzoomError
from lstzoom.kernels.quality import QA
from lstzoom.mosaics import make
from lstzoom.mosaics.cog import write_cog
from lstzoom.mosaics.items import describe
from lstzoom.mosaics.plan import plan_mosaics
from lstzoom.mosaics.scenes import FileLayer, Scene, open_scenes
from lstzoom.mosaics.simulated import RegionPlan, simulate_region
from tests.mosaics.scenes_in_memory import START, grid_at, scene_of, seen, waves

PLAN = RegionPlan(across=(2, 2), side=150, overlap=0.4)
SETTINGS: dict[str, Any] = {"crs": "EPSG:32632", "tile": 128, "feather": 200}
LAYERS = ("lst", "lst_uncertainty", "qa", "count", "source_time")


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("region")
    np.save(folder / "truth.npy", simulate_region(folder, PLAN))
    return folder


@pytest.fixture(scope="module")
def made(region: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    lstzoom.mosaic([region], folder / "mosaic.zarr", cog=folder / "mosaic.tif", **SETTINGS)
    return folder


def stored(path: Path) -> dict[str, NDArray[Any]]:
    with xr.open_zarr(path, mask_and_scale=False, decode_times=False) as cube:
        return {name: cube[name].values for name in LAYERS}


def assert_same(one: Path, other: Path) -> None:
    a, b = stored(one), stored(other)
    for name in LAYERS:
        np.testing.assert_array_equal(a[name], b[name])


def test_a_store_holds_the_region(region: Path, made: Path) -> None:
    truth = np.load(region / "truth.npy")
    cube = open_cube(made / "mosaic.zarr")
    assert cube.odc.geobox.crs.epsg == 32632
    at = cube.sel(
        x=xr.DataArray(600000 + 10 * (np.arange(truth.shape[1]) + 0.5), dims="x"),
        y=xr.DataArray(5400000 - 10 * (np.arange(truth.shape[0]) + 0.5), dims="y"),
    ).isel(time=0)
    lst = at.lst.values
    known = np.isfinite(lst)
    assert known.mean() > 0.95
    # Offsets of scenes of 2 K and noise of less.
    assert np.abs(lst - truth)[known].max() < 8
    np.testing.assert_array_equal(at["count"].values > 0, known)
    np.testing.assert_array_equal(np.isfinite(at.lst_uncertainty.values), known)
    np.testing.assert_array_equal(at.qa.values == QA.MASKED, ~known)
    assert at["count"].values.max() == 4
    times = np.unique(at.source_time.values[known])
    assert {str(one)[:10] for one in times} <= {f"2023-06-0{day}" for day in (1, 2, 3, 4)}
    assert np.isnat(at.source_time.values[~known]).all()


def test_the_cog_is_the_store(made: Path) -> None:
    with rasterio.open(made / "mosaic.tif") as file:
        np.testing.assert_array_equal(file.read(1), stored(made / "mosaic.zarr")["lst"][0])
        assert file.tags()["LSTZOOM_MOSAIC_RULE"] == "mean"
        assert file.crs.to_epsg() == 32632


@pytest.mark.parametrize("rule", ["latest", "median", "mean"])
def test_any_tiles_give_the_same_store(region: Path, tmp_path: Path, rule: str) -> None:
    settings = {**SETTINGS, "rule": rule}
    lstzoom.mosaic([region], tmp_path / "a.zarr", **{**settings, "tile": 64}, items=False)
    lstzoom.mosaic([region], tmp_path / "b.zarr", **{**settings, "tile": 256}, items=False)
    a, b = (open_cube(tmp_path / f"{name}.zarr").isel(time=0).load() for name in "ab")
    a, b = (one.where(one["count"] > 0, drop=True) for one in (a, b))
    assert a.sizes == b.sizes
    for name in LAYERS:
        np.testing.assert_array_equal(a[name].values, b[name].values)


def test_what_is_interrupted_goes_on_and_gives_the_same(
    region: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, calls = make._make_tile, []

    def interrupted(shared, job):
        calls.append(job.name)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return body(shared, job)

    output = tmp_path / "mosaic.zarr"
    monkeypatch.setattr(make, "_make_tile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lstzoom.mosaic([region], output, **SETTINGS)
    monkeypatch.setattr(make, "_make_tile", body)
    (second,) = lstzoom.mosaic([region], output, **SETTINGS)
    assert second.skipped == 3
    assert second.tiles > 0
    assert_same(output, made / "mosaic.zarr")
    (third,) = lstzoom.mosaic([region], output, **SETTINGS)
    assert (third.tiles, third.skipped) == (0, second.tiles + 3)


def test_a_broken_file_fails_its_tiles_and_no_others(region: Path, tmp_path: Path) -> None:
    scenes = list(open_scenes([region]))
    broken = tmp_path / "broken.tif"
    layer = scenes[0].lst
    assert isinstance(layer, FileLayer)
    broken.write_bytes(Path(layer.source.path).read_bytes()[:3000])
    whole = scenes[0]
    scenes[0] = replace(whole, lst=FileLayer(replace(layer.source, path=str(broken), fingerprint="1")))
    with pytest.raises(LstzoomError, match=r"\d+ of \d+ tiles failed .*broken.*run the same again"):
        lstzoom.mosaic(scenes, tmp_path / "a.zarr", **SETTINGS)
    broken.write_bytes(Path(layer.source.path).read_bytes())
    (mended,) = lstzoom.mosaic(scenes, tmp_path / "a.zarr", **SETTINGS)
    assert mended.skipped > 0
    lstzoom.mosaic([region], tmp_path / "b.zarr", **SETTINGS)
    assert_same(tmp_path / "a.zarr", tmp_path / "b.zarr")


def test_another_mosaic_is_refused_and_replaced_when_asked(region: Path, tmp_path: Path) -> None:
    output = tmp_path / "mosaic.zarr"
    scenes = open_scenes([region])
    lstzoom.mosaic(scenes, output, **SETTINGS, items=False)
    with pytest.raises(ConfigError, match="rule: 'mean' before, 'latest' now"):
        lstzoom.mosaic(scenes, output, **SETTINGS, rule="latest")
    with pytest.raises(ConfigError, match="is missing"):
        lstzoom.mosaic(scenes[1:], output, **SETTINGS)
    with pytest.raises(ConfigError, match="encoding: 'uint16' before"):
        lstzoom.mosaic(scenes, output, **SETTINGS, encoding="float32")
    (made,) = lstzoom.mosaic(scenes[1:], output, **SETTINGS, overwrite=True, items=False)
    assert made.scenes == 3
    assert made.skipped == 0


def _known(path: Path) -> xr.Dataset:
    cube = open_cube(path).load()
    return cube.where(cube["count"].max("time") > 0, drop=True)


@pytest.mark.parametrize("rule", ["latest", "median", "mean"])
def test_a_new_scene_is_taken_up_by_the_tiles_that_it_touches(
    region: Path, tmp_path: Path, rule: str
) -> None:
    settings = {**SETTINGS, "rule": rule, "tile": 64, "feather": 100}
    scenes = open_scenes([region])
    lstzoom.mosaic(scenes, tmp_path / "whole.zarr", **settings)
    # Scenes at the ends keep the grid; the one between them, of a day between theirs, comes later.
    (first,) = lstzoom.mosaic(scenes[:2] + scenes[3:], tmp_path / "grown.zarr", **settings)
    (grown,) = lstzoom.mosaic(scenes, tmp_path / "grown.zarr", **settings)
    assert (first.scenes, grown.scenes) == (3, 4)
    assert 0 < grown.tiles < grown.tiles + grown.skipped
    assert_same(tmp_path / "grown.zarr", tmp_path / "whole.zarr")
    (again,) = lstzoom.mosaic(scenes, tmp_path / "grown.zarr", **settings)
    assert (again.tiles, again.skipped) == (0, grown.tiles + grown.skipped)
    ids = [item.id for item in pystac.Collection.from_file(str(grown.collection)).get_items()]
    assert ids == ["grown"]


@pytest.mark.parametrize("period", ["day", "month", "all"])
def test_growing_step_by_step_is_making_it_at_once(region: Path, tmp_path: Path, period: str) -> None:
    settings = {**SETTINGS, "period": period, "rule": "latest"}
    scenes = open_scenes([region])
    # A month earlier than all others, which comes last.
    early = replace(scenes[0], time=scenes[0].time.replace(month=5))
    every = (early, *scenes[1:])
    lstzoom.mosaic(every, tmp_path / "whole.zarr", **settings, cog=tmp_path / "whole.tif")
    for count in (2, 3, 4):
        lstzoom.mosaic(every[-count:], tmp_path / "grown.zarr", **settings, cog=tmp_path / "grown.tif")
    a, b = (_known(tmp_path / f"{name}.zarr") for name in ("whole", "grown"))
    for name in ("time", *LAYERS):
        np.testing.assert_array_equal(a[name].values, b[name].values)
    cogs = sorted(tmp_path.glob("grown*.tif"))
    assert len(cogs) == a.sizes["time"]
    for path in cogs:
        with rasterio.open(path) as file, rasterio.open(str(path).replace("grown", "whole")) as other:
            np.testing.assert_array_equal(file.read(1), other.read(1))


def test_growth_that_was_interrupted_goes_on(
    region: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, scenes = {**SETTINGS, "tile": 64}, open_scenes([region])
    output, body, calls = tmp_path / "grown.zarr", make._make_tile, []
    lstzoom.mosaic(scenes[:2] + scenes[3:], output, **settings)

    def interrupted(shared, job):
        calls.append(job.name)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return body(shared, job)

    monkeypatch.setattr(make, "_make_tile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lstzoom.mosaic(scenes, output, **settings)
    monkeypatch.setattr(make, "_make_tile", body)
    (second,) = lstzoom.mosaic(scenes, output, **settings)
    assert second.tiles > 0
    lstzoom.mosaic(scenes, tmp_path / "whole.zarr", **settings)
    assert_same(output, tmp_path / "whole.zarr")


def test_growth_beyond_the_grid_makes_it_anew(
    region: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings, scenes = {**SETTINGS, "tile": 64}, open_scenes([region])
    lstzoom.mosaic(scenes[:1], tmp_path / "grown.zarr", **settings)
    (grown,) = lstzoom.mosaic(scenes, tmp_path / "grown.zarr", **settings)
    assert "grows beyond its grid" in caplog.text
    assert grown.skipped == 0
    lstzoom.mosaic(scenes, tmp_path / "whole.zarr", **settings)
    assert_same(tmp_path / "grown.zarr", tmp_path / "whole.zarr")


def test_a_store_that_is_no_mosaic_is_never_replaced(region: Path, tmp_path: Path) -> None:
    place = tmp_path / "work.zarr"
    place.mkdir()
    (place / "thesis.txt").write_text("years")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="holds something already"):
            lstzoom.mosaic([region], place, **SETTINGS, overwrite=overwrite)
    assert (place / "thesis.txt").read_text() == "years"


def test_one_time_for_each_day(region: Path, tmp_path: Path) -> None:
    (made,) = lstzoom.mosaic(
        [region], tmp_path / "days.zarr", **SETTINGS, period="day", cog=tmp_path / "day.tif"
    )
    assert made.times == 4
    assert sorted(Path(one).name for one in made.cogs) == [f"day-2023-06-0{d}.tif" for d in (1, 2, 3, 4)]
    cube = open_cube(tmp_path / "days.zarr")
    assert cube["count"].max() == 1
    # A cube is a source in turn: all its days are the scenes of a mosaic.
    (again,) = lstzoom.mosaic(
        tmp_path / "days.zarr", tmp_path / "all.zarr", **SETTINGS, rule="latest", items=False
    )
    (first,) = lstzoom.mosaic([region], tmp_path / "first.zarr", **SETTINGS, rule="latest", items=False)
    assert (again.scenes, first.scenes) == (4, 4)
    a, b = (open_cube(tmp_path / f"{name}.zarr").isel(time=0).load() for name in ("all", "first"))
    a, b = (one.where(one["count"] > 0, drop=True) for one in (a, b))
    for name in LAYERS:
        np.testing.assert_array_equal(a[name].values, b[name].values)


def test_items_lead_to_the_store_and_to_what_it_was_made_of(region: Path, made: Path, tmp_path: Path) -> None:
    collection = pystac.Collection.from_file(str(made / "mosaic.stac" / "collection.json"))
    (item,) = collection.get_items()
    known = [(url, Resource.from_contents(content)) for url, content in get_local_schema_cache().items()]
    registry: Registry[Any] = Registry().with_resources(known)
    schemas = Path(pystac.__file__).parent / "validation" / "jsonschemas" / "stac-spec" / "v1.1.0"
    for one, kind in ((item.get_self_href(), "item"), (collection.get_self_href(), "collection")):
        schema = json.loads((schemas / f"{kind}.json").read_text(encoding="utf-8"))
        content = json.loads(Path(str(one)).read_text(encoding="utf-8"))
        jsonschema.Draft7Validator(schema, registry=registry).validate(content)
    assert item.assets["zarr"].get_absolute_href() == str(made / "mosaic.zarr")
    assert item.assets["lst"].get_absolute_href() == str(made / "mosaic.tif")
    sources = [str(link.get_absolute_href()) for link in item.links if link.rel == "derived_from"]
    assert sorted(sources) == sorted(str(path) for path in region.glob("lst_*Z.tif"))
    assert item.common_metadata.start_datetime < item.common_metadata.end_datetime  # type: ignore[operator]
    # The item of a COG is a result in turn.
    (scene,) = open_scenes([str(item.get_self_href())])
    assert list(scene.grid.shape) == item.properties["proj:shape"]


def test_the_item_of_a_mosaic_across_the_antimeridian_goes_around_it() -> None:
    scenes = [
        scene_of(seen(grid, waves), grid, name=name)
        for name, grid in (
            ("west", grid_at(179.99, -17.0, (120, 160), "EPSG:32760")),
            ("east", grid_at(-179.99, -17.0, (120, 160), "EPSG:32701")),
        )
    ]
    (plan,) = plan_mosaics(scenes, lstzoom.mosaics.make.settings(crs="EPSG:32760", tile=128))
    collection, (item,) = describe("fiji", plan, "fiji.zarr", {})
    assert item.bbox is not None
    west, south, east, north = item.bbox
    assert 179.9 < west < 180
    assert -180 < east < -179.9
    assert -17.1 < south < north < -16.9
    assert item.geometry is not None
    assert item.geometry["type"] == "MultiPolygon"
    assert collection.extent.spatial.bboxes == [item.bbox]


def test_results_in_all_forms_are_opened(region: Path, made: Path, tmp_path: Path) -> None:
    names = [f"lst_2023060{day}T101500Z" for day in (1, 2, 3, 4)]
    by_folder = open_scenes([region])
    assert [one.name for one in by_folder] == names
    assert all(one.uncertainty is not None and one.qa is not None for one in by_folder)
    assert open_scenes([region / f"{name}.tif" for name in reversed(names)]) == by_folder
    (cube,) = open_scenes([made / "mosaic.zarr"])
    assert cube.uncertainty is not None
    with pytest.raises(InputError, match="given twice"):
        open_scenes([region, region / f"{names[0]}.tif"])
    with pytest.raises(InputError, match="no scene was given"):
        open_scenes([])
    (tmp_path / "lst.tif").write_bytes((region / f"{names[0]}.tif").read_bytes())
    with pytest.raises(InputError, match="does not tell when"):
        open_scenes([tmp_path / "lst.tif"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds neither"):
        open_scenes([tmp_path / "empty"])


def test_a_cog_of_another_time_is_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 times; there is no number 3"):
        write_cog(str(made / "mosaic.zarr"), tmp_path / "a.tif", step=3)


def test_a_mosaic_is_not_written_over_what_goes_into_it(region: Path) -> None:
    with pytest.raises(InputError, match="goes into the mosaic"):
        lstzoom.mosaic(
            [region], region / "m.zarr", cog=region / "lst_20230601T101500Z.tif", **SETTINGS, overwrite=True
        )


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    from lstzoom.clusters import Cluster, connect

    with connect(Cluster(workers=2)) as found:
        yield found


@pytest.mark.cluster
def test_workers_of_a_cluster_give_the_same_store(region: Path, made: Path, tmp_path: Path, client) -> None:
    lstzoom.mosaic([region], tmp_path / "mosaic.zarr", client=client, cog=tmp_path / "mosaic.tif", **SETTINGS)
    assert_same(tmp_path / "mosaic.zarr", made / "mosaic.zarr")
    assert (tmp_path / "mosaic.tif").read_bytes() == (made / "mosaic.tif").read_bytes()


def test_times_without_a_zone_are_utc() -> None:
    grid = grid_at(11, 48, (10, 10), "EPSG:32632")
    scene = scene_of(seen(grid, waves), grid)
    again = Scene("a", START.replace(tzinfo=None), scene.lst)
    assert again.time == START


def test_scenes_in_two_zones_become_two_stores(tmp_path: Path) -> None:
    scenes = [
        scene_of(seen(grid, waves), grid, name=name)
        for name, grid in (
            ("west", grid_at(11.99, 48.0, (120, 160), "EPSG:32632")),
            ("east", grid_at(12.01, 48.0, (120, 160), "EPSG:32633")),
        )
    ]
    made = lstzoom.mosaic(
        scenes, tmp_path / "m.zarr", cog=tmp_path / "m.tif", crs="utm", tile=128, feather=100
    )
    assert [Path(one.store).name for one in made] == ["m-32632.zarr", "m-32633.zarr"]
    assert [[Path(path).name for path in one.cogs] for one in made] == [["m-32632.tif"], ["m-32633.tif"]]
    for one in made:
        cube = open_cube(one.store)
        assert f"EPSG:{cube.odc.geobox.crs.epsg}" == one.crs
        truth = seen(cube.odc.geobox, waves)
        known = (cube["count"].values > 0)[0]
        assert known.sum() > 5000
        assert np.abs(cube.lst.values[0] - truth)[known].max() < 0.2


def test_tiles_of_a_file_that_has_changed_are_made_again_and_no_others(tmp_path: Path) -> None:
    simulate_region(tmp_path, RegionPlan(across=(1, 3), side=150, overlap=0.1, seed=1))
    output = tmp_path / "m.zarr"
    (first,) = lstzoom.mosaic(tmp_path, output, **SETTINGS, cog=tmp_path / "m.tif")
    last = tmp_path / "lst_20230603T101500Z_uncertainty.tif"
    values = rasterio.open(last)
    with values as file:
        stored, profile = file.read(1), file.profile
    stored[stored < 65535] += 50
    del profile["driver"], profile["interleave"]
    with rasterio.open(last, "w", driver="GTiff", **profile) as file:
        file.write(stored, 1)
        file.scales = (0.01,)
    (second,) = lstzoom.mosaic(tmp_path, output, **SETTINGS, cog=tmp_path / "m.tif")
    assert 0 < second.tiles < first.tiles
    (fresh,) = lstzoom.mosaic(tmp_path, tmp_path / "n.zarr", **SETTINGS, cog=tmp_path / "n.tif")
    assert fresh.tiles == first.tiles
    assert_same(output, tmp_path / "n.zarr")
    assert (tmp_path / "m.tif").read_bytes() == (tmp_path / "n.tif").read_bytes()

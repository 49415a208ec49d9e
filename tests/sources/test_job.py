"""Jobs in YAML: written with comments, read strictly."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import shapely

from lstzoom.errors import ConfigError, InputError
from lstzoom.sources.area import as_area
from lstzoom.sources.job import Job, parse_job, read_job, write_job

FIELDS: dict[str, Any] = {
    "catalog": {"name": "landsat-sentinel2"},
    "area": {"bbox": [11.0, 48.0, 11.2, 48.1]},
    "datetime": "2023-06",
}


@pytest.mark.parametrize("when", ["2023-06-31", "2023-13-01", "2023-06-31/2023-07-02"])
def test_a_day_that_is_none_is_told_as_the_time(tmp_path: Path, when: str) -> None:
    """YAML would fail at it, and not say where."""
    path = tmp_path / "job.yaml"
    area = "{bbox: [11, 48, 11.2, 48.1]}"
    path.write_text(f"catalog: {{name: landsat}}\narea: {area}\ndatetime: {when}\n")
    with pytest.raises(ConfigError, match=rf"datetime: the time '{when}' cannot be read"):
        read_job(path)
    path.write_text(path.read_text().replace(when, "2023-06-30"))
    assert read_job(path).datetime == "2023-06-30"


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    fields = FIELDS | {
        "masks": {"reject": {"scl": ["snow"]}, "dilate_m": 60},
        "method": {"seed": 7, "windows": {"stride": 32}},
        "outputs": {"folder": "/somewhere"},
        "grid": {"bands": ["red", "nir"]},
    }
    job = parse_job(fields)
    (tmp_path / "job.yaml").write_text(write_job(job))
    assert read_job(tmp_path / "job.yaml") == job


def test_every_key_has_its_description_as_a_comment() -> None:
    lines = write_job(parse_job(FIELDS)).splitlines()
    for number, line in enumerate(lines):
        if ":" in line and not line.lstrip().startswith("#"):
            assert lines[number - 1].lstrip().startswith("#"), line
    assert max(map(len, lines)) <= 110


def test_dates_of_yaml_are_texts(tmp_path: Path) -> None:
    for when in ("2023-06-01", "2023", "2023-06"):
        text = f"catalog: {{name: demo}}\narea: {{bbox: [1, 2, 3, 4]}}\ndatetime: {when}\n"
        (tmp_path / "job.yaml").write_text(text)
        assert read_job(tmp_path / "job.yaml").datetime == when


def test_paths_are_relative_to_the_job(tmp_path: Path) -> None:
    (tmp_path / "aoi.geojson").write_text(json.dumps({"type": "Point", "coordinates": [0, 0]}))
    text = "catalog: {name: demo}\narea: {file: aoi.geojson}\ndatetime: '2023'\noutputs: {folder: out}\n"
    (tmp_path / "job.yaml").write_text(text)
    job = read_job(tmp_path / "job.yaml")
    assert job.area.file == str(tmp_path / "aoi.geojson")
    assert job.outputs.folder == str(tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"maks": {}}, "maks: there is no such key; did you mean 'masks'"),
        ({"masks": {"dilate": 3}}, "masks.dilate: there is no such key; did you mean 'dilate_m'"),
        (
            {"method": {"windows": {"strde": 3}}},
            "method.windows.strde: there is no such key; did you mean 'stride'",
        ),
        ({"catalog": {"name": "landsat-sentinel"}}, "did you mean 'landsat-sentinel2'"),
        ({"catalog": {"name": "landsat", "endpoint": "planetary"}}, "no endpoint 'planetary'; did you mean"),
        ({"grid": {"bands": ["redd"]}}, "no band 'redd'; did you mean 'red'"),
        ({"masks": {"reject": {"slc": []}}}, "no mask 'slc'; did you mean 'scl'"),
        ({"datetime": "June"}, "cannot be read"),
        ({"area": {}}, "give one of bbox, geojson and file; given: none"),
        ({"area": {"bbox": [600000, 0, 600001, 1]}}, "longitude and latitude"),
        ({"cluster": {"kind": "address"}}, "address belongs to kind: address"),
        ({"method": {"chunk": 100}}, "blocks must hold whole strides"),
        ({"outputs": {"encoding": "int8"}}, "'uint16' or 'float32'"),
        ({"version": 2}, "version"),
    ],
)
def test_what_is_wrong_is_told_with_the_right_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_job(FIELDS | change)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "cannot be read"),
        ("just text", "is no mapping"),
        ("catalog: {name: demo}\ncatalog: {name: demo}\n", "the key 'catalog' is given twice"),
        ("area: !!python/object/apply:os.getcwd []\n", "cannot be read"),
    ],
)
def test_what_is_no_job(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "job.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_job(tmp_path / "job.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_job(tmp_path / "none.yaml")


def test_a_folder_is_no_job(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a folder; give the YAML file of the job"):
        read_job(tmp_path)
    with pytest.raises(
        ConfigError, match=r"no\.yaml' cannot be read: No such file or directory; `lstzoom job init`"
    ):
        read_job(tmp_path / "no.yaml")


def test_arguments_are_those_of_load() -> None:
    import inspect

    import lstzoom

    assert set(parse_job(FIELDS).load_arguments()) <= set(inspect.signature(lstzoom.load).parameters)


def test_the_area_of_a_vector_file_comes_in_degrees(tmp_path: Path) -> None:
    pyogrio = pytest.importorskip("pyogrio")
    from pyogrio import raw

    square = shapely.box(600_000, 5_400_000, 606_000, 5_406_000)
    raw.write(
        tmp_path / "aoi.gpkg", np.array([shapely.to_wkb(square)], object), [], [], geometry_type="Polygon",
        crs="EPSG:32632", driver="GPKG",
    )  # fmt: skip
    west, south, east, north = as_area(tmp_path / "aoi.gpkg").bounds
    assert (west, south) == pytest.approx((10.36, 48.745), abs=0.01)
    assert (east - west, north - south) == pytest.approx((0.083, 0.055), abs=0.01)
    (tmp_path / "bad.gpkg").write_text("nothing")
    with pytest.raises(InputError, match="cannot be read as a vector file"):
        as_area(tmp_path / "bad.gpkg")
    assert pyogrio.__version__


def test_areas_as_geojson_and_across_the_antimeridian(tmp_path: Path) -> None:
    feature = {"type": "Feature", "properties": {}, "geometry": shapely.box(1, 2, 3, 4).__geo_interface__}
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    assert as_area(tmp_path / "a.geojson").bounds == (1, 2, 3, 4)
    assert as_area((179, 1, -179, 2)).bounds == (179, 1, 181, 2)
    with pytest.raises(InputError, match="no GeoJSON geometry"):
        as_area({"type": "Poly"})
    with pytest.raises(InputError, match="there is no file"):
        as_area(tmp_path / "none.geojson")


def ring(*points: tuple[float, float]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [[*points, points[0]]]}


@pytest.mark.parametrize(
    ("area", "message"),
    [
        (ring((179.5, -17), (-179.5, -17), (-179.5, -16), (179.5, -16)), "spans 359 degrees of longitude"),
        ({"type": "Point", "coordinates": [11, 48]}, "is a Point, which covers nothing"),
        ({"type": "FeatureCollection", "features": []}, "is empty"),
        ((None, 2, 3, 4), "the bounds are"),
        (("a", 2, 3, 4), "the bounds are"),
        ((1, 2, 3), "the bounds are"),
    ],
)
def test_what_is_no_area_is_told(area: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(InputError, match=message):
        as_area(area)


def test_areas_as_others_give_them() -> None:
    """Features without a place, rings that cross themselves, objects of other packages, the whole globe."""
    square = ring((0, 0), (2, 0), (2, 2), (0, 2))
    features = [{"type": "Feature", "geometry": one, "properties": {}} for one in (None, square)]
    assert as_area({"type": "FeatureCollection", "features": features}).area == 4
    assert as_area(ring((0, 0), (1, 1), (1, 0), (0, 1))).area == pytest.approx(0.5)
    assert as_area(SimpleNamespace(__geo_interface__=square)).area == 4
    assert as_area(ring((-180, -90), (180, -90), (180, 90), (-180, 90))).area == 360 * 180


def test_a_job_cannot_be_changed() -> None:
    job: Job = parse_job(FIELDS)
    with pytest.raises(ValueError, match="frozen"):
        job.datetime = "2024"


def test_outputs_lie_beside_the_job_whether_they_are_named_or_not(tmp_path: Path) -> None:
    text = 'catalog: {name: demo}\narea: {bbox: [1, 2, 3, 4]}\ndatetime: "2023"\n'
    for more in ("", "outputs: {cog: false}\n", "outputs: {folder: out}\n"):
        (tmp_path / "job.yaml").write_text(text + more)
        assert read_job(tmp_path / "job.yaml").outputs.folder == str(tmp_path / "out")


def test_what_may_be_read_is_relative_to_the_job(tmp_path: Path) -> None:
    text = (
        'catalog: {name: demo, allow: [data, "s3://bucket/"]}\narea: {bbox: [1, 2, 3, 4]}\ndatetime: "2023"\n'
    )
    (tmp_path / "job.yaml").write_text(text)
    job = read_job(tmp_path / "job.yaml")
    assert job.catalog.allow == (str(tmp_path / "data"), "s3://bucket/")
    assert job.load_arguments()["allow"] == job.catalog.allow

"""What the STAC extensions require of the items of products."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from lstzoom.product import ProductPlan, open_outputs, publish
from lstzoom.product.simulated import BundlePlan, write_bundle
from lstzoom.sharpening import sharpen
from lstzoom.simulate import simulate_scene
from lstzoom.write import FLOAT32, QA, UINT16, CogSink
from tests.stac_rules import RULES, fields, mistakes


@pytest.fixture(scope="module", params=["long A", "short B"])
def item(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    style, configuration = request.param.split()
    root = tmp_path_factory.mktemp("product")
    scene = simulate_scene((120, 120), bands=("blue", "green", "red", "rededge", "nir", "nir08"), seed=2)
    source = write_bundle(root, BundlePlan(style=style, configuration=configuration), scene=scene)
    opened = scene.to_xarray()
    sharp = sharpen(opened.vnir, opened.lst)
    files: list[Path] = []
    encoding = UINT16 if style == "long" else FLOAT32
    for name, stored in (("lst", encoding), ("qa", QA), ("lst_uncertainty", encoding.averaged)):
        files.append(root / f"{name}.tif")
        with CogSink(files[-1], sharp.odc.geobox, stored, description=name) as sink:
            sink.write(sharp[name].values, (slice(None), slice(None)))
    (root / "out").mkdir()
    plan = ProductPlan(style, configuration, order="o1")
    folder = publish(source, open_outputs(*files), root / "out", plan)
    content: dict[str, Any] = json.loads((folder / "stac_item.json").read_text(encoding="utf-8"))
    return content


def test_every_field_is_as_its_extension_wants_it(item: dict[str, Any]) -> None:
    assert mistakes(item) == []
    keys = {key for _, key, _ in fields(item)}
    assert {"proj:code", "raster:scale", "eo:common_name", "view:sun_elevation", "classification:classes",
            "processing:level", "product:type", "file:checksum"} <= keys  # fmt: skip


@pytest.mark.parametrize(
    ("place", "key", "bad"),
    [
        ("lst", "proj:shape", [120.5, 120]), ("lst", "proj:transform", [10, 0]),
        ("lst", "file:checksum", "abc"), ("lst", "proj:epsg", 32632),
        ("properties", "view:sun_elevation", 91), ("properties", "eo:cloud_cover", "7"),
        ("properties", "processing:software", {"lstzoom": 1}),
    ],
)  # fmt: skip
def test_the_rules_find_mistakes(item: dict[str, Any], place: str, key: str, bad: Any) -> None:
    broken = copy.deepcopy(item)
    target = broken["properties"] if place == "properties" else broken["assets"][place]
    target[key] = bad
    if key in RULES:
        assert mistakes(broken) == [f"{place}: {key}"]
    else:
        with pytest.raises(KeyError, match=key):
            mistakes(broken)


def test_an_extension_that_is_not_declared_is_found(item: dict[str, Any]) -> None:
    broken = copy.deepcopy(item)
    broken["stac_extensions"] = [url for url in broken["stac_extensions"] if "/view/" not in url]
    assert any("view" in one for one in mistakes(broken))

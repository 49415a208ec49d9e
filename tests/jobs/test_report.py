"""The report of a job: states and reasons are right, in a folder and a bucket, running or not."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from lstzoom import cli
from lstzoom.cube import open_cube
from lstzoom.errors import JobError
from lstzoom.jobs.lease import leased
from lstzoom.jobs.report import make_page, read_state, write_job_report
from lstzoom.jobs.store import Store, as_json, store_at
from tests import browser
from tests.jobs.region import leftovers, write_fields
from tests.s3_server import access

pytestmark = pytest.mark.cluster
EVIL = "</script><img src=x onerror=alert(1)><b>x</b>"
FIRST, SECOND = "scene_20230601T100000", "scene_20230602T100000"


@pytest.fixture(scope="module")
def ran(region: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run of the command line, and its summary."""
    out = tmp_path_factory.mktemp("report") / "out"
    job = write_fields(region, "report.yaml", outputs={"folder": str(out)})
    done = CliRunner().invoke(cli.app, ["run", str(job), "--json"])
    assert done.exit_code == cli.OK, done.stderr
    assert f"report: {out / 'report.html'}" in done.stderr
    return out, json.loads(done.stdout)


@pytest.fixture(scope="module")
def interrupted(ran: tuple[Path, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store as a run leaves it that was killed in the second scene, in which a tile had failed."""
    out = tmp_path_factory.mktemp("interrupted") / "out"
    shutil.copytree(ran[0], out)
    store = store_at(str(out))
    for tile in ("r001c001", "r002c000"):
        store.remove(f"ledger/{SECOND}/{tile}.json")
    store.remove(f"scenes/{SECOND}.json")
    store.remove("summary.json")
    failure = {"scene": SECOND, "what": "r001c001", "error": f"cannot read {EVIL}", "kind": "InputError",
               "attempts": 4, "at": "2023-06-03T10:00:00+00:00"}  # fmt: skip
    store.write(f"failed/{SECOND}/r001c001.json", as_json(failure))
    return store


def _tiles(page: Path) -> dict[str, Any]:
    return _data(page, "tiles-data")


def _data(page: Path, name: str) -> dict[str, Any]:
    found = re.search(rf'id="{name}">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    content: dict[str, Any] = json.loads(found[1])
    return content


def test_a_run_ends_with_a_report_of_what_is_in_its_store(ran: tuple[Path, dict[str, Any]]) -> None:
    out, summary = ran
    page = out / "report.html"
    assert summary["report"] == str(page)
    assert leftovers(out) == []
    assert [set(one["states"]) for one in _tiles(page)["scenes"]] == [{"d"}, {"d"}]
    text = page.read_text()
    assert "24 of 24 done" in text
    assert "2 of 2 complete" in text
    # As with other reports: nothing is asked of another host.
    assert "default-src 'none'" in text


def test_values_are_those_of_the_cube(ran: tuple[Path, dict[str, Any]]) -> None:
    made = make_page(store_at(str(ran[0])))
    assert made.map is not None
    (cube,) = (ran[0] / "cubes").iterdir()
    want = open_cube(cube).isel(time=1).lst.values
    view = made.map["data"]["views"][1]
    assert view["layers"].keys() == {"fine", "coarse", "qa", "lst_uncertainty"}
    from tests.report.test_report import unpacked

    np.testing.assert_allclose(unpacked(view["layers"]["fine"]), want, atol=0.0051)


def test_a_run_without_a_report_writes_none(
    region: Path, ran: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    shutil.copytree(ran[0], tmp_path / "out")
    (tmp_path / "out/report.html").unlink()
    job = region / "report.yaml"
    told = CliRunner().invoke(
        cli.app, ["run", str(job), "--into", str(tmp_path / "out"), "--no-report", "--json"]
    )
    assert told.exit_code == cli.OK, told.stderr
    assert "report" not in json.loads(told.stdout)
    assert not (tmp_path / "out/report.html").exists()
    off = write_fields(region, "off.yaml", run={"report": False}, outputs={"folder": str(tmp_path / "out")})
    assert CliRunner().invoke(cli.app, ["run", str(off)]).exit_code == cli.OK
    assert not (tmp_path / "out/report.html").exists()


def test_a_page_that_cannot_be_made_does_not_end_the_run(
    region: Path, ran: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    # Python refuses to import what is None here, as if it were not installed.
    monkeypatch.setitem(sys.modules, "bokeh.palettes", None)
    command = ["run", str(region / "report.yaml"), "--json", "--on-finish", str(tmp_path / "end.json")]
    told = CliRunner().invoke(cli.app, command)
    assert told.exit_code == cli.OK, told.stderr
    assert json.loads(told.stdout)["report"] is None
    assert json.loads((tmp_path / "end.json").read_text()) == json.loads(told.stdout)
    assert "no report:" in told.stderr
    assert "lstzoom[report]" in told.stderr


def test_failures_and_what_is_left_are_told_by_name(interrupted: Store, tmp_path: Path) -> None:
    state = read_state(interrupted)
    assert state.complete == {FIRST}
    assert state.last is None
    page = write_job_report(interrupted, tmp_path / "job.html")
    data = _tiles(page)
    names = data["groups"][0]["names"]
    states = dict(zip(names, data["scenes"][1]["states"], strict=True))
    assert {name for name, one in states.items() if one != "d"} == {"r001c001", "r002c000"}
    assert (states["r001c001"], states["r002c000"]) == ("f", "l")
    assert "4 attempts" in data["scenes"][1]["reasons"][str(names.index("r001c001"))]
    text = page.read_text()
    assert "22 of 24 done" in text
    assert "1 failure for good, see below; 2 tiles not done." in text
    assert "not finished" in text
    assert "<img src=x" not in text
    assert f"cannot read {EVIL}" in unescape(text)


def test_a_model_that_failed_is_the_reason_of_all_tiles(interrupted: Store, tmp_path: Path) -> None:
    shutil.copytree(interrupted.root, tmp_path / "out")
    store = store_at(str(tmp_path / "out"))
    store.remove(f"scenes/{FIRST}.json")
    store.remove_all(f"ledger/{FIRST}")
    failure = {"scene": FIRST, "what": "model", "error": "no sample", "kind": "InputError", "attempts": 1}
    store.write(f"failed/{FIRST}/model.json", as_json(failure | {"at": "2023-06-03T10:00:00+00:00"}))
    scene = _tiles(write_job_report(store, tmp_path / "job.html"))["scenes"][0]
    assert set(scene["states"]) == {"f"}
    assert set(scene["reasons"].values()) == {"the model: no sample (1 attempt)"}


def test_a_job_that_is_running_says_who_is_at_it(interrupted: Store) -> None:
    with leased(interrupted, 60.0):
        first = make_page(interrupted).findings[0]
    assert (first.name, first.value) == ("State", "running")
    assert "Held by process" in first.meaning


def test_a_store_of_no_job_is_refused_before_a_page_is_begun(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="holds no run of a job"):
        write_job_report(store_at(str(tmp_path)), tmp_path / "job.html")
    assert not list(tmp_path.iterdir())


def test_a_store_of_an_older_version_has_tables_and_no_map(interrupted: Store, tmp_path: Path) -> None:
    shutil.copytree(interrupted.root, tmp_path / "out")
    (tmp_path / "out/places.json").unlink()
    made = make_page(store_at(str(tmp_path / "out")))
    assert made.tiles is None
    assert made.map is None
    assert any(FIRST in row for table in made.tables for row in table.rows)


def test_grids_of_two_systems_share_a_map_in_degrees(interrupted: Store, tmp_path: Path) -> None:
    shutil.copytree(interrupted.root, tmp_path / "out")
    places = json.loads((tmp_path / "out/places.json").read_text())
    places["scenes"][SECOND] |= {"crs": "EPSG:32633", "cube": "elsewhere"}
    places["scenes"][SECOND]["coarse_transform"][2] -= 440_000
    (tmp_path / "out/places.json").write_text(json.dumps(places))
    data = _tiles(write_job_report(store_at(str(tmp_path / "out")), tmp_path / "job.html"))
    assert [one["group"] for one in data["scenes"]] == [0, 1]
    for group in data["groups"]:
        assert all(9 < x < 12 for edge in group["xs"] for x in edge)
        assert all(48 < y < 50 for edge in group["ys"] for y in edge)


def test_the_command_takes_a_job_its_store_or_a_bucket(
    region: Path, ran: tuple[Path, dict[str, Any]], tmp_path: Path, s3_endpoint: str
) -> None:
    import s3fs

    with pytest.MonkeyPatch.context() as patch:
        for key, value in access(s3_endpoint).items():
            patch.setenv(key, value)
        remote = s3fs.S3FileSystem()
        remote.mkdir("pages")
        remote.put(str(ran[0]), "pages/run", recursive=True)
        pages = []
        for number, given in enumerate((str(region / "report.yaml"), str(ran[0]), "s3://pages/run")):
            page = tmp_path / f"{number}.html"
            done = CliRunner().invoke(cli.app, ["report", given, "-o", str(page), "--json"])
            assert done.exit_code == cli.OK, done.stderr
            pages.append([_data(page, name) for name in ("tiles-data", "data")])
        assert pages[0] == pages[1] == pages[2]
        assert len(pages[2][1]["views"]) == 2
        wrong = CliRunner().invoke(
            cli.app, ["report", str(ran[0]), "--lst", "x.tif", "-o", str(tmp_path / "n.html")]
        )
        assert wrong.exit_code == cli.USAGE
        assert "--lst" in wrong.stderr


@pytest.fixture(scope="module")
def driver(interrupted: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    root = tmp_path_factory.mktemp("browser")
    write_job_report(interrupted, root / "job.html")
    with browser.chromium(root / "profile") as started:
        started.page = (root / "job.html").as_uri()
        yield started


def _open(driver: Any, size: tuple[int, int]) -> None:
    browser.visit(driver, driver.page, size, "ready", "tiles")


@browser.needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("size", [browser.PHONE, browser.DESKTOP])
def test_the_page_fits_asks_for_nothing_and_says_what_is_pointed_at(
    driver: Any, size: tuple[int, int]
) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    _open(driver, size)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= size[0]
    assert browser.requests(driver) == {driver.page}
    place = driver.execute_script(
        "const get = (name) => Bokeh.documents[0].get_model_by_name(name);"
        "const [s, x, y] = ['tiles', 'tiles-x', 'tiles-y'].map(get);"
        "const k = s.data.name.indexOf('r001c001'), mean = (v) => (Math.min(...v) + Math.max(...v)) / 2;"
        "const f = Bokeh.documents[0].get_model_by_name('tiles-figure');"
        "return [(mean(s.data.xs[k]) - x.start) / (x.end - x.start) * f.inner_width,"
        "        (y.end - mean(s.data.ys[k])) / (y.end - y.start) * f.inner_height,"
        "        f.inner_width, f.inner_height];"
    )
    area = driver.find_element(By.ID, "tiles-map")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", area)
    box = driver.execute_script(
        "const view = Bokeh.index.get_by_id(Bokeh.documents[0].get_model_by_name('tiles-figure').id);"
        "const frame = view.frame.bbox, top = view.el.getBoundingClientRect();"
        "return [top.left + frame.left, top.top + frame.top];"
    )
    chain = ActionChains(driver)
    chain.w3c_actions.pointer_action.move_to_location(round(box[0] + place[0]), round(box[1] + place[1]))
    chain.click().perform()
    told = driver.find_element(By.ID, "tiles-readout").text
    assert told.startswith("Tile r001c001: done for 1 of 2, failed for 1 of 2")
    assert EVIL in told
    assert "4 attempts" in told
    # What is shown beside the pointer is text, too.
    assert driver.execute_script("return document.querySelector('img[src=x]')") is None
    assert browser.errors(driver) == []


@browser.needs_browser
@pytest.mark.slow
def test_the_keyboard_goes_from_tile_to_tile_and_scenes_open_their_pictures(driver: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    _open(driver, browser.DESKTOP)
    Select(driver.find_element(By.ID, "tiles-scene")).select_by_index(2)
    area = driver.find_element(By.ID, "tiles-map")
    readout = driver.find_element(By.ID, "tiles-readout")
    area.send_keys(Keys.ARROW_RIGHT)
    assert readout.text == "Tile r000c000: done"
    area.send_keys(Keys.ARROW_LEFT)
    assert readout.text.startswith("Tile r003c002: ")
    assert readout.get_attribute("aria-live") == "polite"
    view = driver.find_element(By.ID, "view")
    before = view.get_attribute("value")
    driver.find_element(By.LINK_TEXT, SECOND).click()
    assert view.get_attribute("value") != before
    assert SECOND in str(view.get_attribute("value"))
    tree = driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = ("slider", "combobox", "button", "radio", "application", "link", "region")
    controls = [
        node for node in tree if node.get("role", {}).get("value") in named and not node.get("ignored")
    ]
    assert len(controls) >= 12
    assert not [node for node in controls if not node.get("name", {}).get("value", "").strip()]
    assert browser.errors(driver) == []

"""The report in a real browser: the swipe moves, values are right, nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import lstzoom
from lstzoom.kernels.quality import QA
from lstzoom.report import from_dataset, write_report
from lstzoom.report.page import Page, write_page
from lstzoom.report.sentences import FLAGS
from lstzoom.report.tiles import DONE, FAILED, SceneTiles, TileGroup, make_tile_map
from lstzoom.simulate import simulate_scene
from tests import browser
from tests.browser import DESKTOP, PHONE

pytestmark = [pytest.mark.slow, browser.needs_browser]


class Shown:
    """A page in a browser, and what it shows."""

    def __init__(
        self, driver: Any, page: Path, lst: NDArray[Any], fine: NDArray[Any], qa: NDArray[Any]
    ) -> None:
        self.driver, self.page = driver, page
        self.coarse, self.fine, self.qa = lst, fine, qa

    def open(self, size: tuple[int, int]) -> None:
        browser.visit(self.driver, self.page.as_uri(), size, "ready")

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def at(self, row: int, column: int) -> tuple[int, int]:
        """Place on the screen of a fine pixel's middle, from the ranges of the map."""
        left, top, width, height = self.run(
            "const v = JSON.parse(document.getElementById('data').textContent).views[0];"
            "return [v.left, v.top, v.width, v.height];"
        )
        x = left + (column + 0.5) * width / self.fine.shape[1]
        y = top - (row + 0.5) * height / self.fine.shape[0]
        place = self.run(
            "const m = document.getElementById('map'), b = m.getBoundingClientRect();"
            "const [xs, ys] = ['x', 'y'].map((n) => Bokeh.documents[0].get_model_by_name(n));"
            "return [b.left + m.clientLeft + (arguments[0] - xs.start) / (xs.end - xs.start) * m.clientWidth,"
            "        b.top + m.clientTop + (ys.end - arguments[1]) / (ys.end - ys.start) * m.clientHeight];",
            x,
            y,
        )
        return round(place[0]), round(place[1])

    def readout(self) -> dict[str, str]:
        found: dict[str, str] = self.run(
            "return Object.fromEntries([...document.querySelectorAll('#readout [data-layer]')]"
            ".map((row) => [row.dataset.layer, row.querySelector('dd').textContent]));"
        )
        return found

    def clip(self) -> float:
        """Share of the map, percent, that the right layer leaves to the left one."""
        found: str = self.run("return getComputedStyle(document.getElementById('pane-right')).clipPath;")
        return float(found.removeprefix("inset(").split()[3].rstrip("%)"))

    def errors(self) -> list[str]:
        return browser.errors(self.driver)

    def requests(self) -> set[str]:
        return browser.requests(self.driver)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    root = tmp_path_factory.mktemp("browser")
    data = simulate_scene((90, 120), bands=("blue", "green", "red", "nir"), seed=5).to_xarray()
    lst = data.lst.copy()
    lst[3:6, 4:9] = np.nan
    config = lstzoom.SharpenConfig(outputs=("local_weight", "residual"))
    sharp = lstzoom.sharpen(data.vnir, lst, config=config)
    page = write_report(from_dataset(sharp, lst=lst, vnir=data.vnir), root / "report.html")
    with browser.chromium(root / "profile") as driver:
        yield Shown(driver, page, lst.values, sharp.lst.values, sharp.qa.values)


def kelvin(text: str) -> float:
    return float(text.removesuffix("K").strip().replace("\N{MINUS SIGN}", "-").replace("+", ""))


def move_to(shown: Shown, row: int, column: int) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.actions.action_builder import ActionBuilder

    x, y = shown.at(row, column)
    builder = ActionBuilder(shown.driver)
    builder.pointer_action.move_to_location(x, y)
    builder.perform()
    ActionChains(shown.driver).pause(0.05).perform()


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_readout_is_the_value_of_the_pixel(shown: Shown, size: tuple[int, int]) -> None:
    shown.open(size)
    shown.run("document.querySelector('input[name=unit][value=K]').click()")
    shown.run("document.getElementById('map').scrollIntoView({block: 'center'})")
    for row, column in ((40, 20), (41, 100), (75, 33)):
        move_to(shown, row, column)
        told = shown.readout()
        x, y = shown.at(row, column)
        assert 0 < x < size[0]
        assert 0 < y < size[1]
        assert kelvin(told["fine"]) == pytest.approx(shown.fine[row, column], abs=0.0101)
        assert kelvin(told["coarse"]) == pytest.approx(shown.coarse[row // 3, column // 3], abs=0.0101)
        assert told["qa"] == FLAGS[shown.qa[row, column]]
    move_to(shown, 12, 18)
    assert shown.readout()["fine"] == "no value"
    assert shown.readout()["qa"] == FLAGS[QA.NODATA]
    assert shown.errors() == []
    assert shown.requests() == {shown.page.as_uri()}


def test_celsius_and_kelvin_are_the_same_temperature(shown: Shown) -> None:
    shown.open(DESKTOP)
    move_to(shown, 50, 60)
    celsius = shown.readout()["fine"]
    shown.run("document.querySelector('input[name=unit][value=K]').click()")
    assert celsius.endswith("°C")
    assert float(celsius.split()[0]) + 273.15 == pytest.approx(kelvin(shown.readout()["fine"]), abs=0.011)
    ticks = shown.run(
        "return [...document.querySelectorAll('#legend-left .ticks span')].map((e) => +e.textContent)"
    )
    assert min(ticks) > 250


def test_the_divider_can_be_dragged_and_the_slider_keyed(shown: Shown) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    shown.open(DESKTOP)
    assert shown.clip() == pytest.approx(50, abs=0.1)
    before = colour_at(shown, 0.3)
    handle = shown.driver.find_element(By.CSS_SELECTOR, "#divider span")
    far = int(shown.run("return document.getElementById('map').clientWidth") * 0.4)
    ActionChains(shown.driver).click_and_hold(handle).move_by_offset(-far, 0).release().perform()
    assert shown.clip() == pytest.approx(10, abs=1)
    # What was left of the line is right of it now, and another layer.
    assert (colour_at(shown, 0.3) != before).any()
    slider = shown.driver.find_element(By.ID, "swipe")
    slider.send_keys(Keys.END)
    assert shown.clip() == pytest.approx(100, abs=0.1)
    slider.send_keys(Keys.ARROW_LEFT)
    assert shown.clip() < 100
    assert slider.get_attribute("aria-label")
    assert "LST before" in (slider.get_attribute("aria-valuetext") or "")
    assert shown.errors() == []


def colour_at(shown: Shown, share: float) -> NDArray[np.uint8]:
    """Colours of the screen around a place on the map."""
    import io

    from PIL import Image

    image = np.asarray(Image.open(io.BytesIO(shown.driver.get_screenshot_as_png())).convert("RGB"))
    left, top, width, height = shown.run(
        "const b = document.getElementById('map').getBoundingClientRect();"
        "return [b.left, b.top, b.width, b.height]"
    )
    x, y = int(left + share * width), int(top + 0.6 * height)
    return image[y : y + 40, x : x + 40].copy()


def test_the_keyboard_moves_a_cross_and_speaks(shown: Shown) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    shown.open(DESKTOP)
    area = shown.driver.find_element(By.ID, "map")
    area.send_keys(Keys.ARROW_RIGHT)
    first = shown.readout()["place"]
    area.send_keys(Keys.ARROW_RIGHT)
    assert shown.readout()["place"] != first
    assert "LST sharpened" in shown.run("return document.getElementById('spoken').textContent")
    span = "const r = Bokeh.documents[0].get_model_by_name('x'); return r.end - r.start"
    wide = shown.run(span)
    area.send_keys("+")
    assert shown.run(span) == pytest.approx(wide / 2)
    area.send_keys("0")
    assert shown.run(span) == pytest.approx(wide)


def test_every_layer_can_be_chosen_on_both_sides(shown: Shown) -> None:
    shown.open(PHONE)
    names = shown.run("return [...document.getElementById('right-layer').options].map((one) => one.value)")
    assert set(names) == {
        "coarse",
        "fine",
        "added",
        "rgb",
        "lst_uncertainty",
        "qa",
        "local_weight",
        "residual",
    }
    for side in ("left", "right"):
        for name in names:
            shown.run(
                "const s = document.getElementById(arguments[0] + '-layer'); s.value = arguments[1];"
                "s.dispatchEvent(new Event('change'))",
                side,
                name,
            )
    assert shown.errors() == []


def test_it_fits_a_phone_and_every_control_has_a_name(shown: Shown) -> None:
    shown.open(PHONE)
    assert shown.run("return document.documentElement.scrollWidth") <= PHONE[0]
    tree = shown.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    controls = [
        node
        for node in tree
        if node.get("role", {}).get("value") in ("slider", "combobox", "button", "radio", "application")
        and not node.get("ignored")
    ]
    assert len(controls) >= 8
    assert not [node for node in controls if not node.get("name", {}).get("value", "").strip()]


def test_a_tile_that_failed_hides_under_none_of_another_grid(shown: Shown, tmp_path: Path) -> None:
    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    groups = [TileGroup(["first"], [square]), TileGroup(["second"], [square + 0.5])]
    scenes = [SceneTiles("A", 0, FAILED, {0: "no sample"}), SceneTiles("B", 1, DONE)]
    made = make_tile_map(groups, scenes, ("easting, m", "northing, m"))
    page = write_page(Page("Job", "", (), {}, tiles=made), tmp_path / "tiles.html")
    browser.visit(shown.driver, page.as_uri(), DESKTOP, "tiles")
    drawn = shown.run("return Bokeh.documents[0].get_model_by_name('tiles').data.name")
    assert drawn == ["second", "first"]
    assert shown.errors() == []

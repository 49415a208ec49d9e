"""A real browser, without a window: Debian's Chromium and its driver."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium here: make apt-browser")
FLAGS_OF_CHROMIUM = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PHONE, DESKTOP = (390, 844), (1280, 900)


@contextmanager
def chromium(profile: Path) -> Iterator[Any]:
    """Start it, and end it."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for flag in (*FLAGS_OF_CHROMIUM, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


def visit(driver: Any, url: str, size: tuple[int, int], *ready: str) -> None:
    """Open a page at a size, and wait until it says that it is ready."""
    width, height = size
    driver.get("about:blank")
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    driver.get_log("performance")
    driver.get(url)
    end = time.monotonic() + 30
    while not all(driver.execute_script(f"return document.body.dataset.{one}") for one in ready):
        assert time.monotonic() < end, driver.get_log("browser")
        time.sleep(0.05)


def errors(driver: Any) -> list[str]:
    """What the console says, besides remarks."""
    return [one["message"] for one in driver.get_log("browser") if one["level"] != "INFO"]


def requests(driver: Any) -> set[str]:
    """Addresses that were asked for since the visit began."""
    events = [json.loads(one["message"])["message"] for one in driver.get_log("performance")]
    urls = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    return {url for url in urls if not url.startswith(("data:", "blob:", "about:", "chrome:"))}

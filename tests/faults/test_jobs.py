"""Data and files that are garbage, in a job: the scene has a defined outcome, and no other is harmed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

from lstzoom.cube import open_cube
from lstzoom.jobs.run import run_job
from lstzoom.sources.job import read_job
from tests.jobs.region import add_date, leftovers, make_region, write_fields

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

Change: TypeAlias = Callable[[dict[str, Path]], object]
SIDE = 150
BANDS = ("green", "red", "nir")


def rewrite(
    path: Path,
    values: Callable[[NDArray[Any]], NDArray[Any]] = lambda a: a,
    transform: Callable[[Affine], Affine] = lambda t: t,
    crs: str | None = None,
) -> None:
    """Write a file anew with other numbers on another ground, with the same tags."""
    with rasterio.open(path) as file:
        numbers, profile = file.read(), file.profile
        scales, offsets, units = file.scales, file.offsets, file.units
    profile |= {"transform": transform(profile["transform"]), "crs": crs or profile["crs"]}
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.asarray(values(numbers), numbers.dtype))
        file.scales, file.offsets, file.units = scales, offsets, units


def lst(*how: Any, **more: Any) -> Change:
    return lambda files: rewrite(files["lst"], *how, **more)


def vnir(values: Callable[[NDArray[Any]], NDArray[Any]]) -> Change:
    def change(files: dict[str, Path]) -> None:
        for name in BANDS:
            rewrite(files[name], values)

    return change


def content(name: str, change: Callable[[bytes], bytes]) -> Change:
    return lambda files: files[name].write_bytes(change(files[name].read_bytes()))


def put(value: int) -> Callable[[NDArray[Any]], NDArray[Any]]:
    def change(numbers: NDArray[Any]) -> NDArray[Any]:
        numbers[:, 10:20, 10:20] = value
        return numbers

    return change


def alone(numbers: NDArray[Any]) -> NDArray[Any]:
    out = np.full_like(numbers, 65535)
    out[:, 21, 33] = numbers[:, 21, 33]
    return out


def checkers(numbers: NDArray[Any]) -> NDArray[Any]:
    board = np.add.outer(np.arange(numbers.shape[1]), np.arange(numbers.shape[2])) % 2 == 0
    return np.where(board, numbers, 65535)


def south_up(t: Affine) -> Affine:
    return Affine(t.a, 0, t.c, 0, -t.e, t.f + t.e * SIDE // 3)


@dataclass(frozen=True)
class Case:
    """A scene of the job.

    Attributes
    ----------
    outcome
        ``failed``, ``left out``, or ``done``.
    says
        Regular expression of the reason, or share of pixels with a value.
    """

    fault: str
    change: Change
    outcome: str
    says: str | float


CASES = (
    Case("nothing is wrong", lambda _: None, "done", 1.0),
    Case("LST in Celsius, given as kelvin", lst(lambda a: a - 27315), "failed", "holds temperatures from 2"),
    Case("all of LST is missing", lst(lambda a: a * 0 + 65535), "done", 0.0),
    Case("all of LST is 0", lst(lambda a: a * 0), "done", 0.0),
    Case("LST holds 0 undeclared", lst(put(0)), "done", 0.96),
    Case("LST is hotter than its files can hold", lst(put(65500)), "failed", "--encoding float32"),
    Case("one LST pixel has a value", lst(alone), "done", 1 / 2500),
    Case("LST is a checkerboard", lst(checkers), "done", 0.5),
    Case("LST is constant", lst(lambda a: a * 0 + 30000), "done", 1.0),
    Case("reflectance is constant", vnir(lambda a: a * 0 + 2000), "done", 1.0),
    Case(
        "reflectance is saturated in stripes",
        vnir(lambda a: np.where(np.arange(SIDE) % 5, a, 60000)),
        "done",
        1.0,
    ),
    Case("LST is south-up", lst(lambda a: a[:, ::-1], south_up), "done", 1.0),
    Case("LST is rotated", lst(transform=lambda t: t @ Affine.rotation(10)), "left out", "north-up"),
    Case(
        "LST lies in degrees",
        lst(transform=lambda _: Affine(3e-4, 0, 4.5, 0, -3e-4, 0.3), crs="EPSG:4326"),
        "left out",
        "a CRS in metres is needed",
    ),
    Case(
        "LST lies elsewhere than reflectance",
        lst(crs="EPSG:32633"),
        "left out",
        "does not overlap|share no ground",
    ),
    Case("LST is cut short", content("lst", lambda b: b[:2000]), "failed", r"_lst\.tif.*cut short"),
    Case("a band is cut short", content("nir", lambda b: b[:-3000]), "failed", r"_nir\.tif.*cut short"),
    Case(
        "a band is a web page",
        content("red", lambda _: b"<html>login</html>"),
        "left out",
        r"_red\.tif.*web page",
    ),
    Case("a band is empty", content("green", lambda _: b""), "left out", r"_green\.tif.*empty"),
)


OUTCOMES = {
    "done": "done; values where LST has them",
    "failed": "that scene fails by name; others are unharmed",
    "left out": "listed with the reason; others are unharmed",
}


def key(number: int) -> str:
    return f"scene_202306{number + 1:02d}T100000"


@dataclass(frozen=True)
class Ran:
    """A job that was run."""

    out: Path
    summary: dict[str, Any]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """One job of all cases, each a date."""
    folder = make_region(tmp_path_factory.mktemp("faulty"), dates=0)
    for number, case in enumerate(CASES):
        add_date(folder, number, (SIDE, SIDE))
        case.change({name: folder / "files" / f"{key(number)}_{name}.tif" for name in ("lst", *BANDS)})
    job = write_fields(folder, pair={"min_coverage": 0.001, "window_days": 0.1}, run={"retries": 0})
    return Ran(folder / "out", run_job(read_job(job)))


@pytest.mark.parametrize(
    ("number", "case"),
    [
        pytest.param(
            number,
            case,
            id=case.fault.replace(" ", "-"),
            marks=pytest.mark.fault(f"in a job: {case.fault}", OUTCOMES[case.outcome]),
        )
        for number, case in enumerate(CASES)
    ],
)
def test_every_scene_has_its_outcome(ran: Ran, number: int, case: Case) -> None:
    failed = {one["scene"]: one["error"] for one in ran.summary["failed"]}
    left_out = {one["name"]: one["reason"] for one in ran.summary["left_out"]}
    told = {"failed": failed, "left out": left_out}
    complete = (ran.out / "scenes" / f"{key(number)}.json").exists()
    assert complete == (case.outcome == "done")
    for what, scenes in told.items():
        assert (key(number) in scenes) == (case.outcome == what), scenes.get(key(number))
    if case.outcome != "done":
        assert re.search(str(case.says), told[case.outcome][key(number)]), told[case.outcome][key(number)]
        return
    (cube,) = (ran.out / "cubes").iterdir()
    with open_cube(cube) as whole:
        one = whole.sel(time=f"2023-06-{number + 1:02d}", method="nearest").compute()
    has = np.isfinite(one.lst.values[:SIDE, :SIDE])
    assert has.mean() == pytest.approx(case.says, abs=1e-6)
    np.testing.assert_array_equal(np.isfinite(one.lst_uncertainty.values[:SIDE, :SIDE]), has)
    np.testing.assert_array_equal(~np.isin(one.qa.values[:SIDE, :SIDE], (0, 4)), has)
    if has.any():
        assert 250 < np.nanmin(one.lst) <= np.nanmax(one.lst) < 350


def test_nothing_is_lost(ran: Ran) -> None:
    """Every date is done, failed or left out, and the exit code says that some are not done."""
    named = {one["scene"] for one in ran.summary["failed"]} | {one["name"] for one in ran.summary["left_out"]}
    done = {path.stem for path in (ran.out / "scenes").glob("*.json")}
    assert named | done == {key(number) for number in range(len(CASES))}
    assert not named & done
    assert ran.summary["exit_code"] == 4
    assert json.loads((ran.out / "summary.json").read_text())["failed"] == ran.summary["failed"]
    assert [name for name in leftovers(ran.out) if not name.startswith(("failed/", "sample"))] == []

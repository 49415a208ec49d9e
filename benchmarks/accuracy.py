"""Error against known truth: real cases, the same made harder, and simulated scenes, beside bars and peers.

Run as ``make bench-accuracy`` or ``python -m benchmarks.accuracy [--json FILE] [--side N] [--seeds N]
[--pydms-limit SECONDS] [--only real|simulated]``. Real cases are read from the folder that the environment
variable ``LSTZOOM_REAL_DATA`` names; pyDMS runs in its own environment (``make pydms``). Whatever is absent
is skipped with a message. One set of defaults for everything: no case has settings of its own.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from scipy.ndimage import gaussian_filter

import lstzoom
from benchmarks import peers
from lstzoom.grid import grid_of, resolve_grids
from lstzoom.kernels.aggregate import area_mean_radiance
from lstzoom.kernels.uncertainty import COVERAGE, NORMAL
from lstzoom.metrics import detail_r2, rmse, upsample_bicubic, upsample_nearest
from lstzoom.raster import describe, open_lst, open_stack
from lstzoom.simulate import simulate_scene

# RMSE in kelvin of pyDMS (radosuav/pyDMS 14384a1): default, no leaf regression, Sen-ET setting. Recorded
# once under the protocol of the cases, not measured in this run.
PYDMS: dict[str, tuple[float, float, float]] = {
    "vineyard_3.6m_pm": (1.393, 1.383, 1.469),
    "talca_60m": (0.810, 0.857, 0.871),
    "aster_070_231m": (0.921, 0.954, 0.938),
    "aster_104_231m": (1.039, 1.105, 1.160),
    "aster_147_231m": (0.633, 0.654, 0.701),
    "aster_163_231m": (0.707, 0.726, 0.805),
    "aster_164_231m": (0.797, 0.830, 0.854),
    "aster_183_231m": (0.874, 0.888, 0.890),
    "liverpool_90m": (0.300, 0.311, 0.315),
    "momotombo_90m": (2.167, 2.439, 1.849),
}

Values = NDArray[np.floating[Any]]


# Scenes


@dataclass(frozen=True, slots=True)
class Case:
    """A pair and its truth."""

    name: str
    vnir: xr.DataArray
    lst: xr.DataArray
    truth: Values
    ratio: int = 3

    @property
    def coarse(self) -> Values:
        """LST that is sharpened."""
        return self.lst.to_numpy()

    @property
    def known(self) -> NDArray[np.bool_]:
        """Fine pixels that count: truth and coarse pixel are valid."""
        return np.isfinite(self.truth) & np.isfinite(upsample_nearest(self.coarse, self.ratio))

    def error(self, result: Values) -> float:
        """RMSE over the pixels that count and have a value, kelvin."""
        return rmse(np.where(self.known, result, np.nan), np.where(self.known, self.truth, np.nan))


def real_case(folder: Path) -> Case:
    """Read one of the ten."""
    lst = open_lst(folder / "coarse_lst.tif").compute()
    grids = resolve_grids(grid_of(lst), [describe(folder / "vnir.tif")[0].geobox])
    vnir = open_stack(folder / "vnir.tif", grids.fine).compute()
    return Case(folder.name, vnir, lst, open_lst(folder / "truth_lst.tif").to_numpy(), grids.ratio)


def shifted(case: Case, y: int, x: int) -> Case:
    """Move reflectance so many fine pixels out of place."""
    moved = case.vnir.copy(data=np.roll(case.vnir.to_numpy(), (y, x), axis=(1, 2)))
    return Case(f"{case.name} {y:+d} {x:+d}", moved, case.lst, case.truth, case.ratio)


def blurred(case: Case, sigma: float) -> Case:
    """Blur the truth, as an instrument with a wide point spread would."""
    seen = np.isfinite(case.truth)
    weight = gaussian_filter(seen.astype(np.float64), sigma)
    total = gaussian_filter(np.where(seen, case.truth, 0.0).astype(np.float64), sigma)
    truth = np.where(seen, total / np.maximum(weight, 1e-9), np.nan).astype(np.float32)
    lst = case.lst.copy(data=area_mean_radiance(truth, case.ratio))
    return Case(f"{case.name} blurred {sigma:g}", case.vnir, lst, truth, case.ratio)


def landsat_case(folder: Path, ratio: int = 3) -> Case:
    """Landsat's own 30 m grid as truth, finer than its instrument sees."""
    (path,) = folder.glob("*_ST_B10.tif")
    whole = open_lst(path, nodata=0, units="K", scale=0.00341802, offset=149.0).compute()
    ny, nx = (n // ratio * ratio for n in whole.shape)
    box = whole.odc.geobox[:ny, :nx]
    bands = [str(next(folder.glob(f"*_SR_B{k}.tif"))) for k in (2, 3, 4, 5)]
    truth = whole.to_numpy()[:ny, :nx]
    lst = _on_grid(area_mean_radiance(truth, ratio), box.zoom_out(ratio))
    return Case(f"{folder.name} 30 m", open_stack(bands, box, nodata=0).compute(), lst, truth, ratio)


def simulated_case(name: str, seed: int, side: int, **settings: Any) -> Case:
    """Simulate a scene."""
    scene = simulate_scene((side, side), seed=seed, **settings)
    given = scene.to_xarray()
    return Case(f"{name} seed {seed}", given.vnir, given.lst, scene.truth, scene.ratio)


def shuffled(case: Case) -> Case:
    """Reflectance that is right between coarse pixels and says nothing within them."""
    ratio, v = case.ratio, case.vnir.to_numpy()
    count, ny, nx = v.shape
    split = v.reshape(count, ny // ratio, ratio, nx // ratio, ratio).swapaxes(2, 3)
    cells = split.reshape(count, ny // ratio, nx // ratio, ratio * ratio)
    start = np.broadcast_to(np.arange(ratio * ratio), cells.shape[1:])
    order = np.random.default_rng(0).permuted(start, axis=-1)
    mixed = np.take_along_axis(cells, order[None], -1).reshape(split.shape).swapaxes(2, 3).reshape(v.shape)
    return Case(f"{case.name} shuffled", case.vnir.copy(data=mixed), case.lst, case.truth, ratio)


def _on_grid(values: Values, box: GeoBox) -> xr.DataArray:
    return xr.DataArray(values, dict(xr_coords(box)), ("y", "x"))


# Figures


@dataclass(frozen=True, slots=True)
class Row:
    """Figures of one case; errors are RMSE over that of bicubic unless they are in kelvin."""

    case: str
    bicubic_rmse: float
    lstzoom: float
    published: float | None
    oracle: float
    detail_r2: float
    coverage: float
    pixels: int
    conservation_max: float
    box_max: float | None
    missing: int
    footprint: float
    reliability: float
    seconds: float
    peers: Mapping[str, float] = field(default_factory=dict)


def measure(
    case: Case, *, published: bool = False, box: int | None = None, others: Mapping[str, float] | None = None
) -> Row:
    """Sharpen one case with the defaults and compare."""
    start = time.process_time()
    sharp = lstzoom.sharpen(case.vnir, case.lst)
    seconds = time.process_time() - start
    ours, sigma = sharp.lst.to_numpy(), sharp.lst_uncertainty.to_numpy()
    bicubic = upsample_bicubic(case.coarse, case.ratio)
    base, known = case.error(bicubic), case.known
    inside = np.abs(ours - case.truth)[known] <= NORMAL * sigma[known]
    plain = None
    if published:
        plain = case.error(_sharpened(case, method="published")) / base
    return Row(
        case=case.name,
        bicubic_rmse=base,
        lstzoom=case.error(ours) / base,
        published=plain,
        oracle=case.error(_oracle(ours, bicubic, case)) / base,
        detail_r2=detail_r2(ours, np.where(known, case.truth, np.nan), case.ratio),
        coverage=float(inside.mean()),
        pixels=int(known.sum()),
        conservation_max=_departure(ours, case),
        box_max=None if box is None else _departure(_sharpened(case, conservation_box=box), case, box),
        missing=int((known & ~np.isfinite(ours)).sum()),
        footprint=sharp.attrs["lstzoom_footprint"],
        reliability=sharp.attrs["lstzoom_reliability"],
        seconds=seconds,
        peers={name: value / base for name, value in (others or {}).items()},
    )


def _sharpened(case: Case, **settings: Any) -> Values:
    return lstzoom.sharpen(
        case.vnir, case.lst, config=lstzoom.SharpenConfig(**settings)
    ).lst.to_numpy()  # fmt: skip


def _oracle(ours: Values, bicubic: Values, case: Case) -> Values:
    """Ours with the best single factor for its detail, which takes the truth to know."""
    known = case.known & np.isfinite(ours)
    detail, wanted = (ours - bicubic)[known], (case.truth - bicubic)[known]
    best = float((detail * wanted).sum() / max(float((detail * detail).sum()), 1e-12))
    return np.asarray(bicubic + best * (ours - bicubic))


def _departure(result: Values, case: Case, box: int = 1) -> float:
    """Largest departure of the radiance mean from the input on whole boxes of coarse pixels, kelvin.

    In double precision: in single, in which the result is stored, it rounds to nothing.
    """
    ny, nx = (n // box * box for n in case.coarse.shape)
    side = case.ratio * box
    apart = _radiance_mean(result[: ny * case.ratio, : nx * case.ratio], side)
    apart -= _radiance_mean(case.coarse[:ny, :nx], box)
    return float(np.nanmax(np.abs(apart)))


def _radiance_mean(kelvin: Values, side: int) -> NDArray[np.float64]:
    ny, nx = (n // side for n in kelvin.shape)
    radiance = kelvin.astype(np.float64).reshape(ny, side, nx, side) ** 4
    return np.asarray(radiance.mean((1, 3)) ** 0.25, np.float64)


def geometric(values: Sequence[float]) -> float:
    """Geometric mean."""
    return float(np.exp(np.mean(np.log(values))))


def pooled(rows: Sequence[Row]) -> float:
    """Coverage of all pixels of all cases."""
    return float(np.average([r.coverage for r in rows], weights=[r.pixels for r in rows]))


# Groups


@dataclass(frozen=True, slots=True)
class Bar:
    """What a measure has to reach, and what it is."""

    name: str
    value: float
    low: float
    high: float

    @property
    def is_met(self) -> bool:
        """Whether it does."""
        return self.low <= self.value <= self.high


def real_rows(place: Path) -> list[Row]:
    """Measure the ten cases, with the figures recorded of pyDMS."""
    rows = []
    for name, (default, plain, senet) in PYDMS.items():
        others = {"pyDMS default": default, "pyDMS best": min(default, plain, senet)}
        rows.append(measure(real_case(place / "cases" / name), published=True, box=2, others=others))
        _line(rows[-1])
    return rows


def harder_rows(place: Path) -> list[Row]:
    """Measure the cases with reflectance out of place, with blurred truth, and Landsat's own grid."""
    makers: list[Callable[[], Case]] = [
        partial(landsat_case, place / "landsat" / name) for name in ("l8_liverpool", "l8_momotombo")
    ]
    for name in PYDMS:
        case = real_case(place / "cases" / name)
        makers += [partial(shifted, case, 1, 1), partial(blurred, case, case.ratio)]
    return [_shown(measure(make())) for make in makers]


WORLDS: dict[str, dict[str, Any]] = {
    "fields, one law": {"kind": "fields", "law_spread": 0.0, "moisture": 0.0, "noise": 0.1},
    "fields": {"kind": "fields", "moisture": 0.0, "noise": 0.1},
    "city and fields": {},
}
"""Simulated worlds, from the one that VNIR explains best: without towns, soil moisture (which VNIR does not
show) and spatial change of the law; then with the law changing within two kilometres; then as they come."""


def simulated_rows(side: int, seeds: int, limit: float) -> dict[str, list[Row]]:
    """Measure simulated scenes, pyDMS beside."""
    missing = "skipped on request" if limit <= 0 else peers.pydms_missing()
    if missing:
        print(f"pyDMS is not measured: {missing}")
    groups: dict[str, list[Row]] = {}
    for name, settings in WORLDS.items():
        groups[name] = []
        for seed in range(seeds):
            case = simulated_case(name, seed, side, **settings)
            others = {}
            if not missing:
                box = grid_of(case.vnir)
                result = peers.pydms(case.vnir.to_numpy(), case.coarse, box, case.ratio, limit)
                if result is None:
                    print(f"pyDMS took more than {limit:g} s on {case.name} and was stopped")
                else:
                    others["pyDMS no leaf"] = case.error(result)
            groups[name].append(_shown(measure(case, published=True, box=3, others=others)))
    return groups


def unseen_rows(side: int) -> list[Row]:
    """Measure what the input cannot show: see docs/accuracy.md."""
    case = simulated_case("city and fields", 0, min(side, 600))
    return [_shown(measure(make(case))) for make in (shuffled, partial(blurred, sigma=5.0))]


def real_bars(rows: list[Row]) -> list[Bar]:
    """Hold the ten cases against their bars."""
    ours = [r.lstzoom for r in rows]
    return [
        Bar("ten cases: geometric mean of RMSE / bicubic", geometric(ours), 0, 0.70),
        Bar("ten cases: worst RMSE / bicubic", max(ours), 0, 1.0),
        Bar("ten cases: worst RMSE / pyDMS best", max(r.lstzoom / r.peers["pyDMS best"] for r in rows), 0, 1),
        Bar("ten cases: largest departure from the input, K", max(r.conservation_max for r in rows), 0, 0.01),
        Bar("ten cases: the same on boxes of 2, K", max(r.box_max or 0.0 for r in rows), 0, 0.01),
        Bar(f"ten cases: coverage of the {COVERAGE:.0%} interval, pooled", pooled(rows), 0.85, 0.95),
        Bar("ten cases: least coverage of a case", min(r.coverage for r in rows), 0.75, 0.99),
        Bar("ten cases: largest coverage of a case", max(r.coverage for r in rows), 0.75, 0.99),
        Bar("ten cases: pixels without a value", sum(r.missing for r in rows), 0, 0),
    ]


def harder_bars(rows: list[Row]) -> list[Bar]:
    """Hold the harder variants against theirs."""
    kinds = {
        "moved by 1, 1 pixels": [r for r in rows if r.case.endswith("+1 +1")],
        "blurred by a coarse pixel": [r for r in rows if "blurred" in r.case],
        "Landsat's 30 m grid": [r for r in rows if r.case.endswith("30 m")],
    }
    bars = []
    for name, some in kinds.items():
        bars.append(Bar(f"{name}: geometric mean", geometric([r.lstzoom for r in some]), 0, 1.0))
        bars.append(Bar(f"{name}: worst", max(r.lstzoom for r in some), 0, 1.0))
    return bars


def simulated_bars(groups: Mapping[str, list[Row]]) -> list[Bar]:
    """Hold the simulated scenes against theirs; only the first world is one that VNIR explains."""
    bars = []
    for name, rows in groups.items():
        least = 0.92 if name == next(iter(WORLDS)) else 0.0
        bars.append(Bar(f"{name}: least sub-pixel R2", min(r.detail_r2 for r in rows), least, 1))
        beside = [r.lstzoom / r.peers["pyDMS no leaf"] for r in rows if r.peers]
        if beside:
            bars.append(Bar(f"{name}: worst RMSE / pyDMS without leaf regression", max(beside), 0, 1.0))
        bars.append(Bar(f"{name}: worst RMSE / bicubic", max(r.lstzoom for r in rows), 0, 1.0))
        bars.append(
            Bar(f"{name}: departure from the input, K", max(r.conservation_max for r in rows), 0, 0.01)
        )
        bars.append(Bar(f"{name}: on boxes of 3, K", max(r.box_max or 0.0 for r in rows), 0, 0.01))
        bars.append(Bar(f"{name}: least coverage", min(r.coverage for r in rows), 0.75, 0.99))
        bars.append(Bar(f"{name}: largest coverage", max(r.coverage for r in rows), 0.75, 0.99))
    everything = [row for rows in groups.values() for row in rows]
    return [*bars, Bar("simulated: coverage, pooled", pooled(everything), 0.85, 0.95)]


# Printing


def _header() -> None:
    print(
        f"{'':34s} {'bicubic K':>9s} {'lstzoom':>8s} {'publ.':>7s} {'oracle':>7s} {'R2':>6s} {'cover':>6s} "
        f"{'max K':>7s} {'box K':>7s} {'foot':>5s} {'rel.':>5s} {'CPU s':>6s}  peers"
    )


def _line(row: Row) -> None:
    plain = "-" if row.published is None else f"{row.published:.3f}"
    box = "-" if row.box_max is None else f"{row.box_max:.5f}"
    others = ", ".join(f"{name} {value:.3f}" for name, value in row.peers.items())
    print(
        f"{row.case:34s} {row.bicubic_rmse:9.3f} {row.lstzoom:8.3f} {plain:>7s} {row.oracle:7.3f} "
        f"{row.detail_r2:6.3f} {row.coverage:6.3f} {row.conservation_max:7.5f} {box:>7s} "
        f"{row.footprint:5.2f} {row.reliability:5.2f} {row.seconds:6.1f}  {others}",
        flush=True,
    )


def _shown(row: Row) -> Row:
    _line(row)
    return row


def _print_bars(bars: Sequence[Bar]) -> None:
    print("\nbars")
    for bar in bars:
        wanted = f"<= {bar.high:g}" if bar.low == 0 else f"{bar.low:g} to {bar.high:g}"
        print(f"  {'met   ' if bar.is_met else 'MISSED'} {bar.name:70s} {bar.value:8.4f}  {wanted}")


# Running


def main() -> int:
    """Run all there is and print the tables; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--side", type=int, default=1200, help="of simulated scenes, fine pixels")
    parser.add_argument("--seeds", type=int, default=2, help="simulated scenes of each world")
    parser.add_argument("--pydms-limit", type=float, default=600.0, help="seconds for a scene; 0 skips it")
    parser.add_argument("--only", choices=["real", "simulated"], help="leave the others out")
    args = parser.parse_args()
    # Cases are moved on purpose: there is no need to be told.
    logging.getLogger("lstzoom").setLevel(logging.ERROR)
    groups, bars = _run(args)
    _print_bars(bars)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(_record(groups, bars, args), indent=1))
    return int(not all(bar.is_met for bar in bars))


def _run(args: argparse.Namespace) -> tuple[dict[str, list[Row]], list[Bar]]:
    groups: dict[str, list[Row]] = {}
    bars: list[Bar] = []
    place = Path(os.environ.get("LSTZOOM_REAL_DATA", ""))
    _header()
    if args.only != "simulated":
        if not (place / "cases").is_dir() or not os.environ.get("LSTZOOM_REAL_DATA"):
            print("skipped: LSTZOOM_REAL_DATA does not name a folder with cases/; no real case was measured")
        else:
            groups["ten cases"] = real_rows(place)
            groups["harder"] = harder_rows(place)
            bars += real_bars(groups["ten cases"]) + harder_bars(groups["harder"])
    if args.only != "real":
        worlds = simulated_rows(args.side, args.seeds, args.pydms_limit)
        bars += simulated_bars(worlds)
        groups |= worlds
        groups["not seen"] = unseen_rows(args.side)
    return groups, bars


def _record(groups: Mapping[str, list[Row]], bars: Sequence[Bar], args: argparse.Namespace) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "lstzoom": lstzoom.__version__,
        "side": args.side,
        "groups": {name: [asdict(row) for row in rows] for name, rows in groups.items()},
        "bars": [asdict(bar) | {"met": bar.is_met} for bar in bars],
    }


if __name__ == "__main__":
    sys.exit(main())

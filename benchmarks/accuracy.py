"""Error against known truth on ten real cases, beside bicubic and recorded pyDMS figures.

Run as ``make bench-accuracy`` or ``python -m benchmarks.accuracy [--json FILE] [--shift N] [--align]``. The
cases are read from the folder that the environment variable ``LSTZOOM_REAL_DATA`` names. ``--shift N`` moves
reflectance by N fine pixels along both axes, to show what misregistration costs; ``--align`` corrects
what is measured of it (see `benchmarks.registration` for more).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lstzoom
from lstzoom.grid import grid_of, resolve_grids
from lstzoom.metrics import conservation, rmse, upsample_bicubic
from lstzoom.raster import describe, open_lst, open_stack

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


@dataclass(frozen=True, slots=True)
class Row:
    """Figures of one case; RMSE in kelvin, everything else relative to bicubic."""

    case: str
    bicubic_rmse: float
    lstzoom: float
    published: float
    pydms_default: float
    pydms_best: float
    conservation_max: float
    missing: int
    seconds: float


def run_case(folder: Path, shift: int = 0, *, align: bool = False) -> Row:
    """Sharpen one case with the defaults and with the published method, and compare."""
    lst = open_lst(folder / "coarse_lst.tif")
    grids = resolve_grids(grid_of(lst), [describe(folder / "vnir.tif")[0].geobox])
    vnir = open_stack(folder / "vnir.tif", grids.fine).compute()
    vnir = vnir.copy(data=np.roll(vnir.to_numpy(), (shift, shift), axis=(1, 2)))
    truth = open_lst(folder / "truth_lst.tif").to_numpy()
    lst = lst.compute()
    coarse = lst.to_numpy()
    start = time.process_time()
    ours = lstzoom.sharpen(vnir, lst, config=lstzoom.SharpenConfig(align=align)).lst.to_numpy()
    seconds = time.process_time() - start
    published = lstzoom.sharpen(vnir, lst, config=lstzoom.SharpenConfig(method="published")).lst.to_numpy()
    known = np.isfinite(truth) & np.isfinite(np.kron(coarse, np.ones((grids.ratio, grids.ratio))))
    base = _rmse(upsample_bicubic(coarse, grids.ratio), truth, known)
    default, *others = PYDMS[folder.name]
    return Row(
        case=folder.name,
        bicubic_rmse=base,
        lstzoom=_rmse(ours, truth, known) / base,
        published=_rmse(published, truth, known) / base,
        pydms_default=default / base,
        pydms_best=min(default, *others) / base,
        conservation_max=conservation(ours, coarse, grids.ratio).max,
        missing=int((known & ~np.isfinite(ours)).sum()),
        seconds=seconds,
    )


def _rmse(pred: NDArray[Any], truth: NDArray[Any], known: NDArray[np.bool_]) -> float:
    return rmse(np.where(known, pred, np.nan), np.where(known, truth, np.nan))


def summary(rows: list[Row]) -> dict[str, dict[str, float]]:
    """Geometric mean, worst ratio and number of cases better than bicubic, for each method."""
    out = {}
    for name in ("lstzoom", "published", "pydms_default", "pydms_best"):
        ratios = np.array([getattr(row, name) for row in rows])
        out[name] = {
            "geometric_mean": float(np.exp(np.mean(np.log(ratios)))),
            "worst": float(ratios.max()),
            "better_than_bicubic": int((ratios < 1).sum()),
        }
    return out


def main() -> int:
    """Run all cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--shift", type=int, default=0, help="misregister by so many fine pixels")
    parser.add_argument("--align", action="store_true", help="correct the shift that is measured")
    args = parser.parse_args()
    place = os.environ.get("LSTZOOM_REAL_DATA")
    if not place or not (Path(place) / "cases").is_dir():
        print("skipped: LSTZOOM_REAL_DATA does not name a folder with cases/; nothing was measured")
        return 0
    rows = [run_case(Path(place) / "cases" / name, args.shift, align=args.align) for name in PYDMS]
    _print(rows)
    if args.json:
        args.json.write_text(json.dumps(_record(rows), indent=1))
    return 0


def _print(rows: list[Row]) -> None:
    head = ("lstzoom", "published", "pyDMS def.", "pyDMS best")
    print(
        f"{'RMSE / bicubic':18s} {'bicubic K':>9s} "
        + " ".join(f"{h:>10s}" for h in head)
        + "   max dev. K  missing  CPU s"
    )
    for row in rows:
        ratios = (row.lstzoom, row.published, row.pydms_default, row.pydms_best)
        print(
            f"{row.case:18s} {row.bicubic_rmse:9.3f} " + " ".join(f"{r:10.3f}" for r in ratios)
            + f"   {row.conservation_max:10.4f} {row.missing:8d} {row.seconds:6.1f}"
        )  # fmt: skip
    for label, key in (("geometric mean", "geometric_mean"), ("worst", "worst")):
        print(f"{label:28s} " + " ".join(f"{s[key]:10.3f}" for s in summary(rows).values()))
    print(
        f"{'better than bicubic':28s} "
        + " ".join(f"{s['better_than_bicubic']:7d}/{len(rows)}" for s in summary(rows).values())
    )


def _record(rows: list[Row]) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "lstzoom": lstzoom.__version__,
        "rows": [asdict(row) for row in rows],
        "summary": summary(rows),
    }


if __name__ == "__main__":
    sys.exit(main())

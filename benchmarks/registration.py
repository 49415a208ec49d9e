"""Shifts imposed on the ten real cases: what is measured of them, and what correcting them gives back.

Run as ``python -m benchmarks.registration [--shift Y X]... [--fast] [--json FILE]``. The cases are read from
the folder that the environment variable ``LSTZOOM_REAL_DATA`` names. Their reflectance is moved by each shift
in fine pixels (parts of a pixel by cubic convolution, which blurs a little by itself), measured, and
sharpened with and without alignment. The truth serves to compare: the same search between the fine truth and
reflectance says how the case is registered really.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import math
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import lstzoom
from benchmarks.accuracy import PYDMS
from lstzoom.grid import grid_of, resolve_grids
from lstzoom.kernels.register import Shift, estimate_shift, measure_agreement
from lstzoom.metrics import rmse
from lstzoom.raster import describe, open_lst, open_stack
from lstzoom.regrid import moved, regrid
from lstzoom.types import YX

SHIFTS = ((1.0, 0.0), (1.0, 1.0), (-1.0, 1.0), (0.5, 0.5), (-1.5, 0.0), (0.0, 2.0), (-2.0, -2.0))


@dataclass(frozen=True, slots=True)
class Row:
    """One shift of one case; fine pixels, RMSE relative to the result without an imposed shift."""

    case: str
    imposed: tuple[float, float]
    measured: tuple[float, float] | None
    confidence: float
    error: float
    misaligned: float
    aligned: float


@dataclass(frozen=True, slots=True)
class Case:
    """A case in memory."""

    name: str
    vnir: xr.DataArray
    lst: xr.DataArray
    truth: NDArray[np.float32]

    @classmethod
    def read(cls, folder: Path) -> Case:
        """Read a case on its grids."""
        lst = open_lst(folder / "coarse_lst.tif")
        grids = resolve_grids(grid_of(lst), [describe(folder / "vnir.tif")[0].geobox])
        vnir = open_stack(folder / "vnir.tif", grids.fine).compute()
        return cls(folder.name, vnir, lst.compute(), open_lst(folder / "truth_lst.tif").to_numpy())

    def shifted(self, y: float, x: float) -> xr.DataArray:
        """Reflectance moved down and to the right; what comes from outside is missing."""
        if (y, x) == (0, 0):
            return self.vnir
        return self.vnir.copy(data=regrid(self.vnir, moved(grid_of(self.vnir), (-y, -x)), "cubic"))

    def rmse(self, vnir: xr.DataArray, *, align: bool) -> float:
        """Error against the truth, kelvin."""
        sharp = lstzoom.sharpen(vnir, self.lst, config=lstzoom.SharpenConfig(align=align))
        return rmse(sharp.lst.to_numpy(), np.where(np.isfinite(sharp.lst), self.truth, np.nan))

    def true_shift(self) -> Shift | None:
        """Measure against the fine truth: every fine pixel is then a coarse one."""
        values, truth = self.vnir.to_numpy(), self.truth
        whole = (slice(0, truth.shape[0]), slice(0, truth.shape[1]))
        return estimate_shift(measure_agreement(values, truth, whole, YX(0, 0), 1), 1)


def run_case(case: Case, shifts: list[tuple[float, float]], *, fast: bool) -> list[Row]:
    """Measure a case as it is and with every shift, which should add to what it has by itself."""
    base = lstzoom.measure_shift(case.vnir, case.lst)
    own = (0.0, 0.0) if base is None else (base.y, base.x)
    plain = math.nan if fast else case.rmse(case.vnir, align=False)
    rows = []
    for y, x in [(0.0, 0.0), *shifts]:
        vnir = case.shifted(y, x)
        found = lstzoom.measure_shift(vnir, case.lst)
        error = math.inf
        if found is not None:
            error = max(abs(found.y - own[0] - y), abs(found.x - own[1] - x))
        rows.append(
            Row(
                case=case.name,
                imposed=(y, x),
                measured=None if found is None else (found.y, found.x),
                confidence=0.0 if found is None else found.confidence,
                error=error,
                misaligned=math.nan if fast else case.rmse(vnir, align=False) / plain,
                aligned=math.nan if fast else case.rmse(vnir, align=True) / plain,
            )
        )
    return rows


def _print(rows: list[Row], true: Shift | None) -> None:
    told = "cannot be measured" if true is None else f"{true.y:+.2f} {true.x:+.2f} ({true.confidence:.2f})"
    print(f"{rows[0].case}: truth and reflectance {told}")
    for row in rows:
        found = "      -      " if row.measured is None else "{:+6.2f} {:+6.2f}".format(*row.measured)
        imposed = "{:+5.1f} {:+5.1f}".format(*row.imposed)
        print(
            f"  imposed {imposed}  measured {found}  confidence {row.confidence:4.2f}  off {row.error:5.2f}"
            f"  RMSE as it is {row.misaligned:6.3f}  aligned {row.aligned:6.3f}",
            flush=True,
        )


def unrelated(cases: list[Case]) -> list[float]:
    """Confidence in shifts between LST and reflectance of different cases, mirrored in all ways."""
    out = []
    for one, other in itertools.permutations(cases, 2):
        lst = one.lst.to_numpy()
        for down, across in itertools.product((1, -1), repeat=2):
            vnir = other.vnir.to_numpy()[:, ::down, ::across]
            h, w = (min(n, m // 3) for n, m in zip(lst.shape, vnir.shape[1:], strict=True))
            part = np.ascontiguousarray(vnir[:, : 3 * h, : 3 * w])
            agreement = measure_agreement(part, lst[:h, :w], (slice(0, h), slice(0, w)), YX(0, 0), 3)
            shift = estimate_shift(agreement, 3)
            out.append(0.0 if shift is None else shift.confidence)
    return out


def _summarise(rows: list[Row]) -> None:
    for shift in dict.fromkeys(row.imposed for row in rows):
        some = [row for row in rows if row.imposed == shift]
        near = sum(row.error <= 0.3 for row in some)
        exact = sum(
            row.measured is not None
            and max(abs(a - b) for a, b in zip(row.measured, shift, strict=True)) <= 0.3
            for row in some
        )
        kept = sum(row.aligned <= 1.03 for row in some)
        print(
            "imposed {:+4.1f} {:+4.1f}: ".format(*shift)
            + f"{near}/{len(some)} within 0.3 of the case's own and the imposed shift, {exact} of the "
            f"imposed shift alone; aligned RMSE within 3 % on {kept}; mean RMSE as it is "
            f"{np.mean([r.misaligned for r in some]):.3f}, aligned {np.mean([r.aligned for r in some]):.3f}"
        )


def main() -> int:
    """Run all cases and print a table for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shift", type=float, nargs=2, action="append", metavar=("Y", "X"))
    parser.add_argument("--fast", action="store_true", help="measure only, do not sharpen")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    place = os.environ.get("LSTZOOM_REAL_DATA")
    if not place or not (Path(place) / "cases").is_dir():
        print("skipped: LSTZOOM_REAL_DATA does not name a folder with cases/; nothing was measured")
        return 0
    # The warnings are what is wanted here.
    logging.getLogger("lstzoom").setLevel(logging.ERROR)
    shifts: list[tuple[float, float]] = [tuple(s) for s in args.shift] if args.shift else list(SHIFTS)
    rows: list[Row] = []
    cases = [Case.read(Path(place) / "cases" / name) for name in PYDMS]
    for case in cases:
        mine = run_case(case, shifts, fast=args.fast)
        _print(mine, case.true_shift())
        rows += mine
    _summarise(rows)
    low = unrelated(cases)
    print(
        f"{len(low)} pairs of LST and reflectance of different cases: confidence {np.median(low):.2f} in the "
        f"median, {np.quantile(low, 0.95):.2f} at 95 %, {max(low):.2f} at most"
    )
    if args.json:
        record: list[dict[str, Any]] = [asdict(row) for row in rows]
        args.json.write_text(json.dumps(record, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

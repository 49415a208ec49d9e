"""Other sharpeners, run beside lstzoom in environments of their own."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

PYDMS = Path(os.environ.get("LSTZOOM_PYDMS", ".venv-pydms/bin/python"))
"""Interpreter that has pyDMS; ``make pydms`` makes it."""


def pydms_missing() -> str | None:
    """Say why pyDMS cannot be run, or None if it can."""
    if not PYDMS.exists():
        return f"{PYDMS} does not exist; `make pydms` installs pyDMS there"
    done = subprocess.run(  # noqa: S603  (an interpreter that the user names)
        [PYDMS, "-c", "import pyDMS.pyDMS"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return f"{PYDMS} cannot import pyDMS: {done.stderr.strip().splitlines()[-1]}"
    return None


def pydms(
    vnir: NDArray[Any], coarse: NDArray[Any], fine_grid: GeoBox, ratio: int, limit: float
) -> NDArray[np.float32] | None:
    """Sharpen with pyDMS without leaf regression; None if it takes longer than `limit` seconds."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _write(place / "vnir.tif", vnir, fine_grid)
        _write(place / "lst.tif", coarse[None], fine_grid.zoom_out(ratio))
        script = Path(__file__).with_name("pydms_run.py").absolute()
        files = ["lst.tif", "out.tif", "vnir.tif"]
        command: list[str | Path] = [PYDMS.absolute(), script, "--no-leaf-regression", *files]
        try:
            done = subprocess.run(  # noqa: S603  (as above)
                command, cwd=place, capture_output=True, text=True, timeout=limit, check=False
            )
        except subprocess.TimeoutExpired:
            return None
        if done.returncode:
            raise RuntimeError(f"pyDMS failed: {done.stderr.strip()[-500:]}")
        with rasterio.open(place / "out.tif") as file:
            result: NDArray[np.float32] = file.read(1).astype(np.float32)
        return result


def _write(path: Path, bands: NDArray[Any], grid: GeoBox) -> None:
    with rasterio.open(
        path, "w", driver="GTiff", count=len(bands), dtype="float32", nodata=np.nan,
        height=grid.height, width=grid.width, crs=str(grid.crs), transform=grid.affine,
    ) as file:  # fmt: skip
        file.write(bands.astype(np.float32))

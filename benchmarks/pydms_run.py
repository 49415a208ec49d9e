"""Run pyDMS once with its default settings; called with the Python of its own environment.

Run as ``PYTHON benchmarks/pydms_run.py LST OUT VNIR``; float32 files in kelvin and reflectance. It knows
nothing of lstzoom and uses what pyDMS documents: local and global regression, then its residual
analysis with correction.
"""

from __future__ import annotations

import sys

from osgeo import gdal
from pyDMS.pyDMS import DecisionTreeSharpener


def main() -> None:
    """Sharpen one scene."""
    lst, out, vnir = sys.argv[1:]
    sharpener = DecisionTreeSharpener(
        highResFiles=[vnir],
        lowResFiles=[lst],
        movingWindowSize=15,
        disaggregatingTemperature=True,
    )
    sharpener.trainSharpener()
    sharpened = sharpener.applySharpener(vnir, lst)
    _, corrected = sharpener.residualAnalysis(sharpened, lst, None, doCorrection=True)
    gdal.Translate(out, corrected, format="COG", creationOptions=["COMPRESS=DEFLATE", "PREDICTOR=YES"])


if __name__ == "__main__":
    main()

"""Run pyDMS once; called with the Python of its own environment.

Run as ``PYTHON benchmarks/pydms_run.py [--no-leaf-regression] LST OUT VNIR``; float32 files in kelvin and
reflectance. It knows nothing of lstzoom and uses what pyDMS documents: a moving window of 15 coarse pixels,
local and global trees, with regression in their leaves unless told, then its residual correction.
"""

from __future__ import annotations

import sys

import numpy as np
from osgeo import gdal
from pyDMS.pyDMS import DecisionTreeSharpener

# Options are shared between sharpeners unless they are given.
PLAIN = {
    "minimumSampleNumber": 10,
    "perLeafLinearRegression": False,
    "regressorOpt": {},
    "baggingRegressorOpt": {},
}


def main() -> None:
    """Sharpen one scene."""
    *options, lst, out, vnir = sys.argv[1:]
    np.random.seed(0)  # noqa: NPY002  (pyDMS draws from the global generator)
    sharpener = DecisionTreeSharpener(
        highResFiles=[vnir],
        lowResFiles=[lst],
        movingWindowSize=15,
        disaggregatingTemperature=True,
        **(PLAIN if options == ["--no-leaf-regression"] else {}),
    )
    sharpener.trainSharpener()
    sharpened = sharpener.applySharpener(vnir, lst)
    _, corrected = sharpener.residualAnalysis(sharpened, lst, None, doCorrection=True)
    gdal.Translate(out, corrected, format="COG", creationOptions=["COMPRESS=DEFLATE", "PREDICTOR=YES"])


if __name__ == "__main__":
    main()

"""Sharpen one pair of files with pyDMS; run by the interpreter of an environment of its own.

``python run_pydms.py VNIR.tif LST.tif OUT.npy LEAF WINDOW``: pyDMS's own steps with its residual correction,
LEAF 1 for linear regression in the leaves and 0 for none, WINDOW in coarse pixels. Nothing of lstzoom is
imported here.
"""

from __future__ import annotations

import sys

import numpy as np
from pyDMS.pyDMS import DecisionTreeSharpener


def main(vnir: str, lst: str, out: str, leaf: str, window: str) -> None:
    """Train, apply, correct, and save the result as float32."""
    np.random.seed(0)  # noqa: NPY002  (pyDMS draws from the global generator)
    sharpener = DecisionTreeSharpener(
        [vnir],
        [lst],
        movingWindowSize=int(window),
        perLeafLinearRegression=leaf == "1",
        disaggregatingTemperature=sys.argv[6] == "1",
        regressorOpt={},
        baggingRegressorOpt={},
    )
    sharpener.trainSharpener()
    fine = sharpener.applySharpener(vnir, lst)
    _, corrected = sharpener.residualAnalysis(fine, lst, doCorrection=True)
    np.save(out, corrected.GetRasterBand(1).ReadAsArray().astype(np.float32))


if __name__ == "__main__":
    main(*sys.argv[1:6])

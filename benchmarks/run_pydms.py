"""Sharpen one pair of files with pyDMS; run by the interpreter of an environment of its own.

``python run_pydms.py VNIR.tif LST.tif OUT.npy``: the decision trees of pyDMS without regression in the
leaves, a moving window of 15 coarse pixels, and its own residual correction. Nothing of lstzoom is imported.
"""

from __future__ import annotations

import sys

import numpy as np
from pyDMS.pyDMS import DecisionTreeSharpener


def main(vnir: str, lst: str, out: str) -> None:
    """Train, apply, correct, and save the result as float32."""
    np.random.seed(0)  # noqa: NPY002  (pyDMS draws from the global generator)
    sharpener = DecisionTreeSharpener(
        [vnir],
        [lst],
        movingWindowSize=15,
        minimumSampleNumber=10,
        perLeafLinearRegression=False,
        # Options are shared between sharpeners unless they are given.
        regressorOpt={},
        baggingRegressorOpt={},
    )
    sharpener.trainSharpener()
    fine = sharpener.applySharpener(vnir, lst)
    _, corrected = sharpener.residualAnalysis(fine, lst, doCorrection=True)
    np.save(out, corrected.GetRasterBand(1).ReadAsArray().astype(np.float32))


if __name__ == "__main__":
    main(*sys.argv[1:])

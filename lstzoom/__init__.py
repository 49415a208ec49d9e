"""Sharpens 30 m land surface temperature to 10 m with visible and near-infrared reflectance.

================================  =====================================================================
To sharpen                        `sharpen`, `SharpenConfig`
To find and load pairs            `load`
To train once and apply often     `fit`, `SceneModel`, `load_model`
To check the registration         `measure_shift`
To merge many results             `mosaic`
What is raised                    `LstzoomError`, and its kinds: `InputError` (`ConfigError`, `EncodingError`,
                                  `EmptySampleError`, `GridMismatchError`, `NothingFoundError`,
                                  `UnitsError`), `JobError` (`JobChangedError`,
                                  `StoreBusyError`), `StoreError` (`StoreFullError`),
                                  `ClusterError`, `MissingExtraError`
================================  =====================================================================

Beside these, what docs/reference.md names is public, of the modules `lstzoom.raster` (files),
`lstzoom.stac`, `lstzoom.report`, `lstzoom.validate`, `lstzoom.metrics`, `lstzoom.timeseries`,
`lstzoom.product`, `lstzoom.cube`, `lstzoom.clusters`, `lstzoom.custom` and `lstzoom.simulate`. Public names
change with a note in the changelog; before 1.0 a break raises the minor version, after it the major one,
and is told by a `DeprecationWarning` for one minor version before. Everything else may change at any time.

Importing this package is cheap: names are loaded from their modules when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from lstzoom.errors import (
    ClusterError,
    ConfigError,
    EmptySampleError,
    EncodingError,
    GridMismatchError,
    InputError,
    JobChangedError,
    JobError,
    LstzoomError,
    MissingExtraError,
    NothingFoundError,
    StoreBusyError,
    StoreError,
    StoreFullError,
    UnitsError,
)

if TYPE_CHECKING:
    from lstzoom.config import SharpenConfig
    from lstzoom.mosaics.make import mosaic
    from lstzoom.registration import measure_shift
    from lstzoom.sharpening import sharpen
    from lstzoom.sources.loading import load
    from lstzoom.train import SceneModel, fit, load_model

# The only place where the version is written: the build and the command line read it here.
__version__ = "0.1.0"

# No module may bear the name of an export: importing it would put the module in the export's place.
_EXPORTS: Final[dict[str, str]] = {
    "SceneModel": "lstzoom.train",
    "SharpenConfig": "lstzoom.config",
    "fit": "lstzoom.train",
    "load": "lstzoom.sources.loading",
    "load_model": "lstzoom.train",
    "measure_shift": "lstzoom.registration",
    "mosaic": "lstzoom.mosaics.make",
    "sharpen": "lstzoom.sharpening",
}

__all__ = [
    "ClusterError",
    "ConfigError",
    "EmptySampleError",
    "EncodingError",
    "GridMismatchError",
    "InputError",
    "JobChangedError",
    "JobError",
    "LstzoomError",
    "MissingExtraError",
    "NothingFoundError",
    "SceneModel",
    "SharpenConfig",
    "StoreBusyError",
    "StoreError",
    "StoreFullError",
    "UnitsError",
    "__version__",
    "fit",
    "load",
    "load_model",
    "measure_shift",
    "mosaic",
    "sharpen",
]


def __getattr__(name: str) -> object:
    """Load an export from its module at first use (PEP 562)."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the exports that are not loaded yet, too."""
    return sorted({*globals(), *_EXPORTS})

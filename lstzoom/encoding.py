"""How values of a raster are stored as numbers, in files and in Zarr alike."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lstzoom.errors import EncodingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# Commands, jobs and functions choose the encoding, and each calls it the same.
_REMEDY: Final = (
    "choose the encoding float32 (--encoding float32, outputs.encoding of a job, encoding=FLOAT32 in Python)"
)
RADIANCE: Final = "RADIANCE"
"""Overviews that average temperature as a radiometer does."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How values are stored.

    Attributes
    ----------
    name
        Name on the command line.
    dtype
        Data type in the file.
    scale, offset
        Value = scale x stored number + offset.
    nodata
        Stored number of missing pixels; None if all numbers are values.
    overview
        Resampling of overviews, as GDAL names it, or ``"RADIANCE"``: the mean of the fourth power of kelvin.
    """

    name: str
    dtype: str
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    overview: str = "AVERAGE"

    @property
    def averaged(self) -> Encoding:
        """The same with plain averages in overviews, for kelvin that are no temperature."""
        return replace(self, overview="AVERAGE")

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest value that can be stored."""
        low, high = self._stored_limits()
        return low * self.scale + self.offset, high * self.scale + self.offset

    def _stored_limits(self) -> tuple[float, float]:
        if np.dtype(self.dtype).kind == "f":
            return -math.inf, math.inf
        info = np.iinfo(self.dtype)
        # Nodata sits at an end of the range, which then is no value.
        return info.min + (self.nodata == info.min), info.max - (self.nodata == info.max)

    def encode(self, block: NDArray[Any]) -> NDArray[Any]:
        """Turn values into stored numbers.

        Parameters
        ----------
        block
            Values, any shape; NaN where missing.

        Returns
        -------
        ndarray
            Stored numbers of ``dtype``.

        Raises
        ------
        EncodingError
            If values lie outside of the range that can be stored.
        """
        dtype = np.dtype(self.dtype)
        if block.dtype == dtype and (self.scale, self.offset) == (1.0, 0.0):
            return block
        if dtype.kind == "f":
            return ((block - self.offset) / self.scale).astype(dtype)
        return self._encode_integers(block, dtype)

    def decode(self, stored: NDArray[Any]) -> NDArray[np.float64]:
        """Turn stored numbers into values.

        Parameters
        ----------
        stored
            Numbers as `encode` makes them, any shape.

        Returns
        -------
        ndarray of float64
            Values; NaN where missing.
        """
        values = np.asarray(stored * self.scale + self.offset, np.float64)
        if self.nodata is not None and not math.isnan(self.nodata):
            values[stored == self.nodata] = np.nan
        return values

    def _encode_integers(self, block: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        stored = np.rint((block.astype(np.float64) - self.offset) / self.scale)
        missing = np.isnan(stored)
        low, high = self._stored_limits()
        outside = ~missing & ((stored < low) | (stored > high))
        if outside.any() or (self.nodata is None and missing.any()):
            raise EncodingError(self._message(block, outside, missing))
        stored[missing] = 0 if self.nodata is None else self.nodata
        return stored.astype(dtype)

    def _message(self, block: NDArray[Any], outside: NDArray[np.bool_], missing: NDArray[np.bool_]) -> str:
        if not outside.any():
            return (
                f"{int(missing.sum())} pixels are missing, and the encoding {self.name!r} has no "
                "nodata value; give every pixel a number, as flags have"
            )
        low, high = self.limits
        bad = block[outside]
        return (
            f"{bad.size} values do not fit the encoding {self.name!r}, which holds {low:g} to "
            f"{high:g}: they run from {bad.min():.6g} to {bad.max():.6g}; {_REMEDY}"
        )


UINT16: Final = Encoding("uint16", "uint16", scale=0.01, nodata=65535, overview=RADIANCE)
"""Kelvin in steps of 0.01 K, 0 to 655.34 K."""

FLOAT32: Final = Encoding("float32", "float32", nodata=math.nan, overview=RADIANCE)
"""Kelvin as they are, NaN where missing."""

QA: Final = Encoding("qa", "uint8", overview="MODE")
"""Quality flags; every number is a value, and overviews show the most frequent one."""

ENCODINGS: Final[Mapping[str, Encoding]] = {"uint16": UINT16, "float32": FLOAT32}
"""Encodings of LST by their name on the command line."""

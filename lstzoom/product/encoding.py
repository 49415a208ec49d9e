"""How stored numbers become values: the file's tags, then the metadata, then what is documented.

``value = stored number x scale + offset``. Scale and offset are taken together from the first place that
gives either, nodata and unit each from the first that gives it. GDAL cannot tell a tag of scale 1 and offset
0 from no tag, so for integers these count as absent. Floating point files hold values as they are.
"""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from lstzoom.errors import EncodingError, UnitsError
from lstzoom.raster import KELVIN_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lstzoom.raster import RasterSource

logger = logging.getLogger(__name__)

Variable: TypeAlias = Literal["ST", "SR", "EMIS", "AOT", "TCWV"]
Origin: TypeAlias = Literal["tags", "metadata", "documented", "values"]

_DTYPE: Final = re.compile(r"u?int(8|16|32|64)|float(16|32|64)")


@dataclass(frozen=True, slots=True)
class Stored:
    """An encoding as the metadata gives it; None where it does not say.

    Attributes
    ----------
    dtype
        Data type, as numpy spells it.
    scale, offset, nodata, unit
        As in `lstzoom.raster.RasterSource`.
    """

    dtype: str | None = None
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None
    unit: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot encode anything."""
        if self.scale == 0:
            raise EncodingError("the scale is 0, which would make all values the same; correct it")
        if self.dtype is not None and not _DTYPE.fullmatch(self.dtype):
            raise EncodingError(
                f"{self.dtype[:40]!r} is no data type of a raster; one such as 'uint16' is needed"
            )


DOCUMENTED: Final[Mapping[Variable, Stored]] = {
    "ST": Stored("uint16", 0.01, 0.0, 65535, "K"),
    "SR": Stored("uint16", 0.0001, -0.1, 65535, "1"),
    "EMIS": Stored("uint16", 0.0001, 0.0, 65535, "1"),
    # Scale, offset and nodata of these two are in the metadata alone.
    "AOT": Stored("uint16", unit="1"),
    "TCWV": Stored("uint16", unit="g/cm²"),
}
"""Encodings as published (``product-lst``, bundle page, August 2026)."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A band with its encoding settled, and where that came from.

    Attributes
    ----------
    source
        Scale, offset, nodata and units in place.
    scale_from, nodata_from
        ``"values"`` where a file in floating point needs none.
    """

    source: RasterSource
    scale_from: Origin
    nodata_from: Origin


def decode(source: RasterSource, variable: Variable, told: Stored | None = None) -> Decoded:
    """Settle the encoding of a band.

    Parameters
    ----------
    source
        As the file's header describes it.
    variable
        What it holds.
    told
        What the metadata says about the variable.

    Returns
    -------
    Decoded

    Raises
    ------
    EncodingError
        If the file has another data type than the metadata says, or no place gives the scale.
    UnitsError
        If a temperature is tagged as something else than kelvin.
    """
    said, known = told or Stored(), DOCUMENTED[variable]
    _require_dtype(source, said)
    scale, offset, scale_from = _scale(source, variable, said, known)
    nodata, nodata_from = _nodata(source, said, known)
    unit = source.units or said.unit or known.unit or ""
    if variable == "ST" and unit.strip().lower() not in KELVIN_NAMES:
        raise UnitsError(
            f"{source.path!r} holds temperature in {unit!r}; bundles hold kelvin: check the unit in "
            "the file's "
            "tags and in metadata.json, or sharpen the plain files with --lst-units"
        )
    settled = replace(source, scale=scale, offset=offset, nodata=nodata, units=unit)
    return Decoded(settled, scale_from, nodata_from)


def _require_dtype(source: RasterSource, said: Stored) -> None:
    if said.dtype is not None and np.dtype(said.dtype) != np.dtype(source.dtype):
        raise EncodingError(
            f"{source.path!r} holds {source.dtype}, but metadata.json says {said.dtype}; one of them is of "
            "another delivery: fetch the bundle again"
        )


def _scale(
    source: RasterSource, variable: Variable, said: Stored, known: Stored
) -> tuple[float, float, Origin]:
    tagged = (source.scale, source.offset) != (1.0, 0.0)
    if tagged:
        _warn_of_difference(source, said)
        return source.scale, source.offset, "tags"
    if np.dtype(source.dtype).kind == "f":
        return 1.0, 0.0, "values"
    scale = known.scale if said.scale is None else said.scale
    offset = known.offset if said.offset is None else said.offset
    if scale is None:
        raise EncodingError(
            f"neither the tags of {source.path!r} nor metadata.json give the scale of {variable}, and "
            "none is "
            "documented; values cannot be read"
        )
    told = said.scale is not None or said.offset is not None
    return scale, offset or 0.0, "metadata" if told else "documented"


def _warn_of_difference(source: RasterSource, said: Stored) -> None:
    for name, tag, other in (("scale", source.scale, said.scale), ("offset", source.offset, said.offset)):
        if other is not None and not math.isclose(tag, other, rel_tol=1e-9, abs_tol=1e-12):
            logger.warning(
                "%s: %s %g in the file's tags, %g in metadata.json; taken from the tags",
                source.path, name, tag, other,
            )  # fmt: skip


def _nodata(source: RasterSource, said: Stored, known: Stored) -> tuple[float | None, Origin]:
    if source.nodata is not None:
        return source.nodata, "tags"
    if np.dtype(source.dtype).kind == "f":
        return None, "values"
    if said.nodata is not None:
        return said.nodata, "metadata"
    return known.nodata, "documented"

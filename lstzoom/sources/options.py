"""What a caller asks for when a pair is loaded, each of the right kind before any work starts."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, ValidationError

from lstzoom.errors import ConfigError
from lstzoom.sources.catalog import Model, Names
from lstzoom.sources.naming import explain

DEFAULT_CHUNK: Final = 256


def _one_or_more(value: object) -> object:
    """Take one name for a list of one; a text is no list of its letters."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, Mapping) else value


def _whole(value: object) -> object:
    """Take whole numbers of other packages."""
    return operator.index(value) if hasattr(value, "__index__") and not isinstance(value, bool) else value


OneOrMore = Annotated[Names, BeforeValidator(_one_or_more)]
Whole = Annotated[int, BeforeValidator(_whole)]


class MaskOptions(Model):
    """Which pixels are not used. The defaults are those of the catalogue."""

    reject: dict[str, tuple[str, ...]] = Field(
        default={},
        description="By the name of a mask, the flags that make a pixel unusable, in place of the "
        "catalogue's. An empty list turns the mask off.",
    )
    dilate_m: float = Field(
        default=0.0,
        ge=0,
        le=5000,
        description="Pixels this close to a rejected one go, too; metres.",
    )
    max_uncertainty_k: float | None = Field(
        default=None, gt=0, description="LST whose standard error is larger is not used; kelvin."
    )


class LoadOptions(Model):
    """Arguments of `lstzoom.load`; catalogue, area, time and items are looked at where they are read."""

    endpoint: str | None = None
    folder: Path | None = None
    lst_item: str | None = None
    bands: OneOrMore | None = None
    window_days: float | None = Field(default=None, ge=0)
    max_cloud: float | None = Field(default=None, ge=0, le=100)
    min_coverage: float | None = Field(default=None, ge=0, le=1)
    masks: MaskOptions = MaskOptions()
    ratio: Whole | None = None
    chunks: Whole = Field(default=DEFAULT_CHUNK, ge=1)
    allow: OneOrMore | None = None


def load_options(given: Mapping[str, Any]) -> LoadOptions:
    """Check arguments of `lstzoom.load`.

    Parameters
    ----------
    given
        By their names; None for the default.

    Raises
    ------
    ConfigError
        If one is of the wrong kind or out of range.
    """
    try:
        return LoadOptions.model_validate({name: one for name, one in given.items() if one is not None})
    except ValidationError as error:
        raise ConfigError(f"these arguments cannot be used:\n{explain(error, LoadOptions)}") from error

"""Wrong names and values, explained with the nearest right name."""

from __future__ import annotations

import difflib
import reprlib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from lstzoom.sources.redaction import redact


def nearest(name: str, known: Sequence[str]) -> str:
    """End of a message about a wrong name.

    Examples
    --------
    >>> nearest("landsta", ["landsat", "demo"])
    "; did you mean 'landsat'? There are 'landsat', 'demo'"
    >>> nearest("x", [])
    '; there is none'
    """
    if not known:
        return "; there is none"
    listed = ", ".join(repr(one) for one in known)
    lower = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), list(lower), n=1, cutoff=0.5)
    return f"; did you mean {lower[close[0]]!r}? There are {listed}" if close else f"; there are {listed}"


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Say in one line for each what pydantic found, with the nearest right name for a wrong one."""
    lines = []
    for one in error.errors(include_url=False):
        place = one["loc"]
        where = ".".join(str(part) for part in place if not str(part).startswith("function-"))
        if one["type"] == "extra_forbidden":
            known = list(_fields_at(model, place[:-1]))
            lines.append(f"  {where}: there is no such key{nearest(str(place[-1]), known)}")
        else:
            message = one["msg"].removeprefix("Value error, ")
            given = "" if isinstance(one["input"], Mapping) else f" (given: {_told(one['input'])})"
            lines.append(f"  {where or 'as a whole'}: {message}{given}")
    return "\n".join(lines)


def _told(value: object) -> str:
    """Value for a message: not long, and without secrets."""
    return redact(reprlib.repr(value))


def _fields_at(model: type[BaseModel], place: Sequence[int | str]) -> Mapping[str, Any]:
    """Fields of the model that a place in the document belongs to."""
    here: Any = model
    for part in place:
        here = _step(here, part)
    found = _model_in(here)
    return found.model_fields if found is not None else {}


def _step(annotation: Any, part: int | str) -> Any:  # noqa: ANN401  (annotations are anything)
    found = _model_in(annotation)
    if found is not None and isinstance(part, str) and part in found.model_fields:
        return found.model_fields[part].annotation
    arguments = [one for one in _arguments(annotation) if one is not type(None)]
    # The values of a mapping, the elements of a tuple.
    return arguments[-1] if arguments and arguments[-1] is not Ellipsis else (arguments or [None])[0]


def _arguments(annotation: Any) -> tuple[Any, ...]:  # noqa: ANN401
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        inner = [one for one in typing.get_args(annotation) if one is not type(None)]
        return typing.get_args(inner[0]) if inner else ()
    return typing.get_args(annotation)


def _model_in(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return next((m for one in typing.get_args(annotation) if (m := _model_in(one)) is not None), None)
    return None

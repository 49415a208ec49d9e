"""Times as STAC spells them: an instant, a day, a month, a year, or an interval of two of them."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, date, datetime, timedelta
from typing import TypeAlias

from lstzoom.errors import InputError

When: TypeAlias = str | date | tuple[date | str | None, date | str | None]
Interval: TypeAlias = tuple[datetime | None, datetime | None]

_PARTIAL = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")


def as_interval(when: When) -> Interval:
    """Read a time or an interval.

    Parameters
    ----------
    when
        ``"2023"``, ``"2023-10"``, ``"2023-10-08"``, a time, two of these with a slash between, ``".."`` for
        an open end, a date, a datetime or a pair of them. Without zone it is UTC.

    Returns
    -------
    tuple
        First and last instant; None where open.

    Raises
    ------
    InputError
        If it is none of these, or ends before it begins.

    Examples
    --------
    >>> [one.isoformat() for one in as_interval("2023-02")]
    ['2023-02-01T00:00:00+00:00', '2023-02-28T23:59:59+00:00']
    """
    if isinstance(when, str):
        first, _, last = when.partition("/")
        pair: tuple[date | str | None, date | str | None] = (first, last if "/" in when else first)
    elif isinstance(when, date):
        pair = (when, when)
    else:
        pair = when
    if not hasattr(pair, "__len__") or len(pair) != 2:
        raise InputError(f"the time {when!r} is no interval: give one time, or first/last")
    start, end = _bound(pair[0], when)[0], _bound(pair[1], when)[1]
    if start is None and end is None:
        raise InputError(f"the time {when!r} is open at both ends; give one of them")
    if start is not None and end is not None and end < start:
        raise InputError(f"the time {when!r} ends before it begins; give first/last")
    return start, end


def _bound(one: date | str | None, given: object) -> Interval:
    if one is None or (isinstance(one, str) and one in {"", ".."}):
        return None, None
    if isinstance(one, datetime):
        time = one if one.tzinfo else one.replace(tzinfo=UTC)
        return time.astimezone(UTC), time.astimezone(UTC)
    if isinstance(one, date):
        return _span(one.year, one.month, one.day)
    try:
        text = str(one).strip()
        partial = _PARTIAL.fullmatch(text)
        if partial:
            return _span(*(int(part) if part else None for part in partial.groups()))
        # Without a time of day Python reads weeks and days in other spellings, as their first instant.
        return _bound(datetime.fromisoformat(text if {":", "T"} & set(text) else ""), given)
    except ValueError as error:
        raise InputError(
            f"the time {given!r} cannot be read: give YYYY, YYYY-MM, YYYY-MM-DD or an ISO 8601 time, or two "
            "of them with a slash between"
        ) from error


def _span(year: int | None, month: int | None, day: int | None) -> Interval:
    year = year or 0
    first = datetime(year, month or 1, day or 1, tzinfo=UTC)
    days = day or calendar.monthrange(year, month or 12)[1]
    return first, datetime(year, month or 12, days, 23, 59, 59, tzinfo=UTC)


def widened(interval: Interval, days: float) -> Interval:
    """Both ends moved apart."""
    start, end = interval
    margin = timedelta(days=days)
    return (start - margin if start else None, end + margin if end else None)


def to_stac(interval: Interval) -> str:
    """Spell an interval for a search."""
    return "/".join(".." if one is None else f"{one.replace(tzinfo=None).isoformat()}Z" for one in interval)

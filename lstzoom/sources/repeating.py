"""Requests that failed, repeated with growing pauses, and told in our own log in place of the client's."""

from __future__ import annotations

import logging
from typing import Any, Final

from urllib3.util.retry import Retry

from lstzoom.sources.redaction import plain, redact

logger = logging.getLogger(__name__)

_CODES: Final = (429, 500, 502, 503, 504)


class Repetition(Retry):
    """How requests are repeated; urllib3 makes one anew for every attempt."""

    def increment(
        self, method: str | None = None, url: str | None = None, *args: Any, **kwargs: Any
    ) -> Repetition:
        """Count an attempt that failed.

        Raises
        ------
        urllib3.exceptions.MaxRetryError
            If it was the last.
        """
        left = super().increment(method, url, *args, **kwargs)
        why = self._why(*args, **kwargs)
        logger.info("%s: asked again after %s, %s attempts are left", plain(url or ""), why, left.total)
        return left

    @staticmethod
    def _why(response: Any = None, error: Exception | None = None, *_: Any, **__: Any) -> str:  # noqa: ANN401
        if response is not None:
            return f"HTTP status {response.status}"
        return redact(str(error or "no answer"))[:200]


class _Ours(logging.Filter):
    """Drops what urllib3 warns of requests that are repeated for us; those of others pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is somebody else's."""
        first = record.args[0] if isinstance(record.args, tuple) and record.args else None
        return not isinstance(first, Repetition)


_OURS: Final = _Ours()


def repeating(times: int, pause: float = 0.5) -> Repetition:
    """Repeat so many times with growing pauses, whatever the method; the last answer is given back."""
    talker = logging.getLogger("urllib3.connectionpool")
    # Before the filter that takes secrets out, which turns the record into text.
    if _OURS not in talker.filters:
        talker.filters.insert(0, _OURS)
    return Repetition(
        total=times, backoff_factor=pause, status_forcelist=_CODES, allowed_methods=None,
        raise_on_status=False,
    )  # fmt: skip

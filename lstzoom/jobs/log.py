"""What a run did, a line of JSON for each tile, kept in the store."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, field
from typing import IO, Any, Final

from lstzoom.errors import LstzoomError
from lstzoom.jobs import layout
from lstzoom.jobs.store import Store, told
from lstzoom.sources.redaction import redacted

logger = logging.getLogger(__name__)

_LINES: Final = 500
_SECONDS: Final = 30.0
"""An object of a bucket cannot be appended to: so many lines, or seconds, become one more object."""


@dataclass(slots=True)
class RunLog:
    """The log of one run.

    Attributes
    ----------
    store
        Where to.
    run
        Id of the run.
    """

    store: Store
    run: str
    _file: IO[str] | None = None
    _lines: list[str] = field(default_factory=list)
    _parts: int = 0
    _written: float = field(default_factory=time.monotonic)

    def add(self, event: str, **facts: Any) -> None:
        """Add a line. A log that cannot be written ends no run."""
        told_of = {"at": round(time.time(), 3), "event": event, **redacted(facts)}
        line = json.dumps(told_of, ensure_ascii=False)
        try:
            if self.store.is_local:
                self._append(line)
                return
            self._lines.append(line)
            if len(self._lines) >= _LINES or time.monotonic() - self._written > _SECONDS:
                self._flush()
        except LstzoomError as error:
            logger.warning("the log cannot be written: %s", error)

    def _append(self, line: str) -> None:
        with told("cannot write the log"):
            if self._file is None:
                path = self.store.root / layout.log(self.run)
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = path.open("a", encoding="utf-8", buffering=1)
            self._file.write(f"{line}\n")

    def _flush(self) -> None:
        if self._lines:
            key = layout.log(f"{self.run}-{self._parts:05d}")
            self.store.write(key, "".join(f"{line}\n" for line in self._lines).encode())
            self._parts += 1
        self._lines.clear()
        self._written = time.monotonic()

    def close(self) -> None:
        """Write what is left."""
        try:
            self._flush()
            if self._file is not None:
                with told("cannot write the log"):
                    self._file.close()
        except LstzoomError as error:
            logger.warning("the log cannot be written: %s", error)

"""How far a run is: counts, rate, and what is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

_WINDOW: Final = 60.0
"""Seconds that the rate looks back."""


@dataclass(slots=True)
class Progress:
    """How far a pass is.

    Attributes
    ----------
    phase
        ``"sample"`` or ``"sharpen"``.
    total
        Tasks of the pass that this run has to do.
    done, failed
        Tasks of this run.
    written
        Bytes.
    """

    phase: str
    total: int
    done: int = 0
    failed: int = 0
    written: int = 0
    start: float = field(default_factory=time.monotonic)
    _recent: list[tuple[float, int]] = field(default_factory=list)

    def count(self, *, failed: bool = False, written: int = 0) -> None:
        """Count a task."""
        self.failed += failed
        self.done += not failed
        self.written += written
        now = time.monotonic()
        if not self._recent or now - self._recent[-1][0] > 1.0:
            self._recent.append((now, self.done + self.failed))
            while len(self._recent) > 2 and now - self._recent[1][0] > _WINDOW:
                self._recent.pop(0)

    @property
    def seconds(self) -> float:
        """Seconds since the pass began."""
        return time.monotonic() - self.start

    @property
    def rate(self) -> float:
        """Tasks a second, of the last minute."""
        since, before = self._recent[0] if len(self._recent) > 1 else (self.start, 0)
        passed = time.monotonic() - since
        return (self.done + self.failed - before) / passed if passed > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds that are left at this rate; None where there is none yet."""
        rate = self.rate
        return (self.total - self.done - self.failed) / rate if rate > 0 else None

    def __str__(self) -> str:
        """Say it in one line."""
        left = self.left_s
        parts = [
            f"{self.done + self.failed} of {self.total}",
            f"{self.rate:.2g}/s" if self.rate else "",
            f"{duration(left)} left" if left is not None and self.done + self.failed < self.total else "",
            f"{self.failed} failed" if self.failed else "",
            size(self.written) if self.written else "",
        ]
        return ", ".join(part for part in parts if part)


Report = Callable[[Progress], None]
"""Told after every task."""


def duration(seconds: float) -> str:
    """Say a time.

    Examples
    --------
    >>> duration(7.2), duration(200), duration(9000)
    ('7 s', '3 min 20 s', '2 h 30 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(count: float) -> str:
    """Say a number of bytes.

    Examples
    --------
    >>> size(999), size(2.5e6), size(1.2e13)
    ('999 B', '2.5 MB', '12 TB')
    """
    for factor, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count:.0f} B"

"""Numbers in sentences for people."""

from __future__ import annotations

__all__ = ["counted"]


def counted(number: int, what: str) -> str:
    """Say how many of something there are; the plural takes an s.

    Examples
    --------
    >>> counted(1, "tile"), counted(2, "tile"), counted(0, "tile")
    ('1 tile', '2 tiles', '0 tiles')
    """
    return f"{number} {what}" if number == 1 else f"{number} {what}s"

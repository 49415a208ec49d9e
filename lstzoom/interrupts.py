"""Ctrl-C and SIGTERM, heard wherever they find the program.

Python turns a signal into an exception wherever the main thread happens to be. In a finaliser or in a
callback of the garbage collector, of which distributed has many, it prints that exception and goes on, and
the interrupt is lost. So it is remembered too, and asked for at every step of a run.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["check", "heard_as_interrupt"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_heard = threading.Event()


def check() -> None:
    """Raise KeyboardInterrupt if the program was interrupted and went on."""
    if _heard.is_set():
        raise KeyboardInterrupt


@contextmanager
def heard_as_interrupt() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into KeyboardInterrupt, for `check` too, as long as the context lasts.

    Outside the main thread, which alone may change what signals do, nothing is changed. A signal that the
    program was started to ignore, as a shell's background jobs ignore Ctrl-C, stays ignored.
    """
    _heard.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.getsignal(one) for one in _SIGNALS}
    complain = sys.unraisablehook

    def complain_of_others(unraisable: sys.UnraisableHookArgs) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            complain(unraisable)

    for one, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(one, _interrupt)
    sys.unraisablehook = complain_of_others
    try:
        yield
    finally:
        sys.unraisablehook = complain
        for one, handler in before.items():
            signal.signal(one, handler)
        _heard.clear()


def _interrupt(_signal: int, _frame: object) -> None:
    _heard.set()
    raise KeyboardInterrupt

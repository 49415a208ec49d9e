"""Interrupts are heard wherever they find the program."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from lstzoom.interrupts import check, heard_as_interrupt

BOTH = pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])


class Deaf:
    """Is interrupted while it is finalised, where Python only prints exceptions."""

    def __init__(self, stop: signal.Signals) -> None:
        self.stop = stop

    def __del__(self) -> None:
        os.kill(os.getpid(), self.stop)


@BOTH
def test_an_interrupt_is_raised(stop: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), heard_as_interrupt():
        os.kill(os.getpid(), stop)


@BOTH
def test_an_interrupt_that_was_swallowed_is_heard_at_the_next_step(
    stop: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    reached = False
    with pytest.raises(KeyboardInterrupt), heard_as_interrupt():  # noqa: PT012  (what is swallowed goes on)
        check()
        Deaf(stop)
        reached = True
        check()
    assert reached
    assert capfd.readouterr().err == ""


def test_nothing_stays_changed() -> None:
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt), heard_as_interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before
    check()


def test_what_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with heard_as_interrupt():
            os.kill(os.getpid(), signal.SIGINT)
            check()
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_are_left_alone() -> None:
    heard: list[object] = []

    def enter() -> None:
        with heard_as_interrupt():
            heard.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert heard == [signal.getsignal(signal.SIGTERM)]

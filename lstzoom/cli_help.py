"""What all commands of the command line share in their help: examples, exit codes, and options."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Annotated

import typer

EXIT_CODES = (
    "Exit codes: 0 done; 1 unexpected error (--debug shows where); 2 wrong usage; 3 input or settings "
    "that cannot be used, the message tells the remedy; 130 interrupted. Files appear under their "
    "final name only when they are complete."
)

JOB_EXIT_CODES = (
    "Exit codes: 0 done, or nothing new; 1 unexpected error; 2 wrong usage; 3 job or data that cannot be "
    "used, or a store of another job; 4 something failed for good, the rest is there; 5 another run holds "
    "the store; 6 cluster or store were lost; 130 interrupted. The same command goes on where a run stopped."
)

Session = Callable[..., AbstractContextManager[None]]
"""What all commands run in: logging, and errors as messages."""

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors, and what was asked for.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")]


def bounds(text: str) -> list[float]:
    """Read ``--bbox``: west, south, east, north in degrees.

    Examples
    --------
    >>> bounds("11,48, 11.2,48.1")
    [11.0, 48.0, 11.2, 48.1]
    """
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not west,south,east,north in degrees; write for example 10.5,47.9,11.5,48.4",
            param_hint="--bbox",
        ) from None
    return [west, south, east, north]


def epilog(*examples: str, codes: str = EXIT_CODES) -> str:
    """End a command's help with examples, one a line, and the exit codes.

    Every example is a whole command as it would be typed; a test parses all of them.

    Examples
    --------
    >>> epilog("lstzoom warm").splitlines()[2]
    '  lstzoom warm'
    """
    # A blank line is where typer breaks the text.
    return "\n\n".join(["Examples:", *(f"  {one}" for one in examples), codes])

"""Fuzz one reader with atheris: ``python -m tools.fuzz NAME CORPUS [options of libFuzzer]``.

What comes out that is no error of lstzoom stops the run, with the input in a file ``crash-...``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["lstzoom"], enable_loader_override=False):
    from tests.faults import fuzz


def main(arguments: list[str]) -> None:
    """Run until the time is over or something is found."""
    if len(arguments) < 2 or arguments[0] not in fuzz.READERS:
        sys.exit(f"usage: python -m tools.fuzz {{{','.join(fuzz.READERS)}}} CORPUS [-max_total_time=60 ...]")
    name, corpus, *options = arguments
    Path(corpus, "seed").write_bytes(fuzz.seed(name))
    atheris.Setup([sys.argv[0], corpus, *options], lambda data: fuzz.run(name, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])

"""Write constraints.txt: one pinned version for everything that lstzoom and its extras pull in.

Each Python given resolves the project afresh with its own pip (nothing is installed), and the
results are merged. Run it through ``make constraints``.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# Written by `make constraints`; do not edit. Versions only: no hosts, no hashes.
# Every package that lstzoom and all its extras need on Linux x86-64, as resolved by pip on
# Python {pythons}. Use: pip install -c constraints.txt "lstzoom[...]"
"""

Pins = dict[str, str]


def requirement() -> str:
    """Name the project in this folder with all its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return f"{ROOT}[{','.join(sorted(project['optional-dependencies']))}]"


def python_version(python: str) -> str:
    """Ask an interpreter for its version, such as ``3.11``."""
    code = "import sys; print('{}.{}'.format(*sys.version_info))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def resolve(python: str) -> Pins:
    """Resolve the project with the pip of one interpreter."""
    options = ["--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    command = [python, "-m", "pip", "install", *options, requirement()]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    found = (item["metadata"] for item in report["install"])
    pins = {re.sub(r"[-_.]+", "-", meta["name"]).lower(): meta["version"] for meta in found}
    del pins["lstzoom"]
    return pins


def lines_for(name: str, resolved: dict[str, Pins]) -> list[str]:
    """Pin one package: one line, or one line with a marker per version.

    A package that only some Pythons need gets no marker, because a constraint installs nothing.
    """
    versions = {python: pins[name] for python, pins in resolved.items() if name in pins}
    if len(set(versions.values())) == 1:
        return [f"{name}=={next(iter(versions.values()))}"]
    pythons = list(versions)
    starts = [i for i, p in enumerate(pythons) if i == 0 or versions[p] != versions[pythons[i - 1]]]
    lines = []
    for start, stop in zip(starts, [*starts[1:], len(pythons)], strict=True):
        bounds = [f'python_version >= "{pythons[start]}"'] if start else []
        bounds += [f'python_version < "{pythons[stop]}"'] if stop < len(pythons) else []
        lines.append(f"{name}=={versions[pythons[start]]}; {' and '.join(bounds)}")
    return lines


def main(interpreters: list[str]) -> None:
    """Resolve with each interpreter and write the merged file."""
    by_version = {python_version(python): python for python in interpreters}
    order = sorted(by_version, key=lambda version: int(version.split(".")[1]))
    resolved = {version: resolve(by_version[version]) for version in order}
    names = sorted({name for pins in resolved.values() for name in pins})
    lines = [line for name in names for line in lines_for(name, resolved)]
    text = HEADER.format(pythons=", ".join(order)) + "\n".join(lines) + "\n"
    (ROOT / "constraints.txt").write_text(text)
    print(f"constraints.txt: {len(names)} packages for Python {', '.join(order)}")


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("usage: constraints.py PYTHON [PYTHON ...], for example python3.11 python3.12")
    main(sys.argv[1:])

"""Look pinned dependencies up among known vulnerabilities, or say that nothing was looked up, and why.

``python tools/audit.py constraints.txt`` in an environment with pip-audit. Of a mirror that lists none that
tells only that the first package was not found: so that one is asked for before.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

SERVICE = "https://pypi.org/pypi"


def unavailable(constraints: Path, service: str = SERVICE, timeout: float = 20.0) -> str:
    """Say why vulnerabilities of what is pinned cannot be looked up; empty if they can."""
    pins = re.findall(r"(?m)^([\w.-]+)==([\w.+!-]+)", constraints.read_text(encoding="utf-8"))
    if not pins:
        return f"{constraints} pins nothing"
    address = f"{service}/{pins[0][0]}/{pins[0][1]}/json"
    try:
        with urllib.request.urlopen(address, timeout=timeout) as answer:  # noqa: S310  (of PyPI)
            told = json.load(answer)
    except (OSError, ValueError) as error:
        return f"{address}: {error}"
    listed = isinstance(told, dict) and "vulnerabilities" in told
    return "" if listed else f"{address} lists no vulnerabilities"


def main(constraints: Path, service: str = SERVICE) -> int:
    """Audit; 0 if nothing is known, 1 if something is, 2 if nothing could be looked up."""
    why = unavailable(constraints, service)
    if why:
        print(
            f"audit: NOTHING WAS LOOKED UP ({why}).\n"
            "Run `make audit` where pypi.org itself answers, and no mirror; `make sbom` works anywhere.",
            file=sys.stderr,
        )
        return 2
    command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--strict", "--requirement"]
    return subprocess.run([*command, str(constraints)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

"""Build sdist and wheel, check them, and run the demonstration from the wheel in a fresh environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> None:
    """Run a command, and stop with it."""
    subprocess.run([str(one) for one in command], check=True, cwd=cwd, env=env)


def build() -> Path:
    """Make both archives, without an index: the build backend is in the environment of development."""
    shutil.rmtree(DIST, ignore_errors=True)
    for target in ("sdist", "wheel"):
        run(sys.executable, "-m", "hatchling", "build", "--target", target, "-d", DIST, cwd=ROOT)
    run(sys.executable, "-m", "twine", "check", "--strict", *DIST.iterdir(), cwd=ROOT)
    (wheel,) = DIST.glob("*.whl")
    return wheel


def try_out(wheel: Path, folder: Path) -> None:
    """Install the wheel as a user does, with an empty home, and run what a newcomer runs first."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    pip: list[str | Path] = [python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    run(*pip, "-c", ROOT / "constraints.txt", f"{wheel}[report]", cwd=folder)
    # Nothing of this checkout may be found by accident.
    home = {"HOME": str(folder), "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    run(python, "-c", "import lstzoom; assert 'site-packages' in lstzoom.__file__", cwd=folder, env=home)
    for arguments in (["doctor", "--quiet"], ["demo", "--size", "180", "-o", "demo"]):
        run(python.parent / "lstzoom", *arguments, cwd=folder, env=home)
    page = folder / "demo" / "report.html"
    if page.stat().st_size < 1_000_000:
        raise SystemExit(f"{page} holds no map")


if __name__ == "__main__":
    made = build()
    with tempfile.TemporaryDirectory() as name:
        try_out(made, Path(name))
    print(f"{made} is well: it installs, and its demonstration runs")

"""Compiled code is fresh as long as the text that it was made from."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lstzoom.kernels import compile as compiling
from lstzoom.kernels import hashing

RUN = """
import sys
import lstzoom
from lstzoom.simulate import simulate_scene
# Larger than what is warmed with: samples are thinned.
scene = simulate_scene((300, 300)).to_xarray()
lstzoom.sharpen(scene.vnir, scene.lst, config=lstzoom.SharpenConfig(method=sys.argv[1]))
"""


CHECKED = """
import sys
import numpy as np
import lstzoom
from lstzoom.kernels.aggregate import area_mean_radiance
from lstzoom.simulate import simulate_scene
for ratio, side in (2, 40), (3, 5), (7, 13), (10, 11), (10, 5):
    fine = simulate_scene((-(-side * ratio // 3) * 3,) * 2, seed=ratio).to_xarray()
    vnir = fine.vnir[:, : side * ratio, : side * ratio].copy(deep=True)
    coarse = vnir[0].coarsen(y=ratio, x=ratio).mean()
    lst = coarse.copy(data=(300 + 20 * coarse.data).astype(np.float32))
    rng = np.random.default_rng(ratio)
    for gaps in (False, True):
        if gaps:
            vnir.data[rng.random(vnir.shape) < 0.003] = np.nan
            vnir.data[:, :ratio, :ratio] = np.inf
            vnir.data[0, ratio * 2 : ratio * 3 + 1] = np.nan
            lst.data[0, 1] = lst.data[-1, -1] = np.nan
        sharp = lstzoom.sharpen(vnir, lst)
        whole = np.isfinite(lst.data)
        apart = np.abs(area_mean_radiance(sharp.lst.data, ratio) - lst.data)[whole]
        assert apart.max() < 1e-3
print("done")
"""


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in {
        "far": "A = 1\n",
        "near": "from lstzoom.kernels import (\n    far,\n)\n",
        "user": "from lstzoom.kernels.near import B\n",
        "other": "import numpy\n",
    }.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(compiling, "_KERNELS", tmp_path)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    for one in (compiling.stamp, compiling._imported, compiling._text, compiling.folder):
        one.cache_clear()


def test_a_change_of_what_is_imported_is_seen(copied: Path) -> None:
    before = {name: compiling.stamp(name) for name in ("user", "near", "far", "other")}
    (copied / "far.py").write_text("A = 2\n")
    forget()
    changed = {name for name, stamp in before.items() if stamp != compiling.stamp(name)}
    assert changed == {"user", "near", "far"}


def test_the_age_of_a_file_does_not_matter(copied: Path) -> None:
    before = compiling.stamp("user")
    os.utime(copied / "user.py", (0, 0))
    forget()
    assert compiling.stamp("user") == before


def test_all_kernels_are_kept_by_their_text() -> None:
    cache = hashing.pixel_hash._cache  # type: ignore[attr-defined]  # numba's
    assert cache._impl.locator.get_source_stamp() == compiling.stamp("hashing")
    sources = [path.read_text() for path in Path(compiling.__file__).parent.glob("*.py")]
    assert sum("numba import" in text for text in sources) == 1


def test_a_folder_that_cannot_be_written_is_left_alone(
    copied: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compiling.folder() == copied / "__pycache__"
    forget()
    home = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    # Root may write everywhere, so that a folder without permissions would prove nothing.
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    assert compiling.folder() == home / "lstzoom" / "kernels"


def test_without_a_home_nothing_breaks(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    monkeypatch.setattr(Path, "home", homeless)
    assert compiling.folder() == copied / "__pycache__"


def test_what_was_compiled_for_all_is_taken(
    copied: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    monkeypatch.setattr("numba.config.CACHE_DIR", "")
    assert compiling.places() == (home / "lstzoom" / "kernels", copied / "__pycache__")


def files(folder: Path, stamp: str) -> compiling._Files:
    return compiling._Files(str(folder), "module.kernel", stamp)


def test_code_of_two_processes_at_a_time_is_not_mixed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = files(tmp_path, "a"), files(tmp_path, "a")
    # The second reads the list before the first has added to it, and writes it after.
    kept = other._load_index()
    one.save("float32", "code for float32")
    monkeypatch.setattr(other, "_load_index", lambda: kept)
    other.save("float64", "code for float64")
    fresh = files(tmp_path, "a")
    assert fresh.load("float64") == "code for float64"
    # What the list has lost is compiled anew, and nothing else is taken for it.
    assert fresh.load("float32") is None


def test_a_list_never_names_older_code(tmp_path: Path) -> None:
    files(tmp_path, "old").save("float32", "old code")
    names = {path.name for path in tmp_path.glob("*.nbc")}
    files(tmp_path, "new").save("float32", "new code")
    assert files(tmp_path, "old").load("float32") is None
    assert files(tmp_path, "new").load("float32") == "new code"
    assert not names & {path.name for path in tmp_path.glob("*.nbc")}, "older code must not pile up"


def test_code_that_cannot_be_read_is_compiled_anew(tmp_path: Path) -> None:
    files(tmp_path, "a").save("float32", "code")
    (tmp_path / "module.kernel.nbi").unlink()
    (tmp_path / "module.kernel.nbi").mkdir()  # root may read every file
    assert files(tmp_path, "a").load("float32") is None


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("left", [0, 5, -3])
def test_what_was_left_half_written_is_compiled_anew(tmp_path: Path, kind: str, left: int) -> None:
    files(tmp_path, "a").save("float32", "code")
    (damaged,) = tmp_path.glob(f"*.{kind}")
    damaged.write_bytes(damaged.read_bytes()[:left])
    assert files(tmp_path, "a").load("float32") is None
    files(tmp_path, "a").save("float32", "code again")
    assert files(tmp_path, "a").load("float32") == "code again"


def test_a_run_works_where_nothing_can_be_kept(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    code = (
        "import numpy as np; from lstzoom.kernels.interpolate import block_mean\n"
        "print(block_mean(np.ones((4, 4), np.float32), 2).sum())"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(blocked / "below")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "4.0"
    assert done.stderr.count("cannot be kept") == 1


@pytest.mark.slow
def test_nothing_is_read_beyond_an_array(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_BOUNDSCHECK": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CHECKED], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "done\n", done.stderr[-2000:]


@pytest.mark.slow
def test_nothing_is_left_to_compile_after_warming(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}

    def run(*arguments: str) -> set[str]:
        subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True)
        return {path.name for path in tmp_path.rglob("*.nbc")}

    warmed = run("-c", "from lstzoom.cli import main; main()", "warm")
    assert warmed
    for method in ("calibrated", "published"):
        assert run("-c", RUN, method) == warmed

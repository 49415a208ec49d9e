"""What the last digits do: results in double precision beside ours, and under other versions of packages.

``python -m benchmarks.numerics`` sharpens simulated scenes as they are, and once more, with the same models,
by a copy of the package in which numbers of single precision are ones of double precision. ``--save FILE``
keeps the results, ``--against FILE`` compares with results that were kept, of other versions:

    python -m benchmarks.numerics --save ours.npz
    other/bin/python -m benchmarks.numerics --against ours.npz
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import lstzoom
from lstzoom.kernels import block, detail
from lstzoom.simulate import simulate_scene

PACKAGES = ("numpy", "scipy", "scikit-learn", "numba")
SEEDS = (0, 1, 2)
SINGLE = frozenset({"trees.py", "detail.py", "local.py"})
"""Trees go by bins of single precision, by whose bits they compare."""
SHOWN = frozenset({
    "aggregate.py", "features.py", "footprint.py", "halo.py", "homogeneity.py", "inputs.py", "resample.py",
    "rows.py",
})  # fmt: skip
"""What trees are shown: another last digit is another leaf."""
DOUBLE: dict[str, tuple[frozenset[str], bool]] = {
    "double precision": (SINGLE, False),
    "double precision, of the same reflectance": (SINGLE | SHOWN, False),
    "double precision, where trees take the same branches": (SINGLE | SHOWN, True),
}
"""Modules that stay in single precision, and whether trees are shown the same temperatures, too."""
LAYERS = ("lst", "lst_uncertainty", "qa")
Arrays = dict[str, NDArray[Any]]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=360, help="fine pixels along a scene")
    parser.add_argument("--save", type=Path, help="keep inputs and results")
    parser.add_argument("--against", type=Path, help="compare with inputs and results that were kept")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.against is not None:
        with np.load(args.against) as file:
            before = dict(file)
        told = {"other versions": compared(before, results(before))}
        print(f"kept: {before['versions']}\nnow:  {versions()}")
    else:
        before = make(args.size)
        if args.save is not None:
            before |= results(before)
            kept: dict[str, Any] = {"versions": np.array(versions()), **before}
            np.savez_compressed(args.save, **kept)
            return 0
        print(versions())
        told = {what: compared(*in_double(before, *how)) for what, how in DOUBLE.items()}
    for what, one in told.items():
        report(what, one)
    if args.json is not None:
        args.json.write_text(json.dumps({"versions": versions(), **told}, indent=1), encoding="utf-8")
    return 0


def versions() -> str:
    """Versions of this interpreter and of what computes."""
    return f"Python {platform.python_version()}, " + ", ".join(f"{one} {version(one)}" for one in PACKAGES)


def make(size: int) -> Arrays:
    """Simulate the inputs: reflectance and LST of some scenes."""
    found: Arrays = {}
    for seed in SEEDS:
        scene = simulate_scene((size, size), seed=seed).to_xarray()
        found |= {f"vnir_{seed}": scene.vnir.values, f"given_{seed}": scene.lst.values}
    return found


def results(
    given: Mapping[str, NDArray[Any]], models: Path | None = None, *, keep: bool = False, kept: bool = False
) -> Arrays:
    """Sharpen the inputs with the package and the versions that are imported; with models that are kept.

    With `keep`, what trees are shown is kept beside the models; with `kept`, they are shown that.
    """
    found: Arrays = {}
    for seed in SEEDS:
        vnir, lst = given[f"vnir_{seed}"], given[f"given_{seed}"]
        fine = simulate_scene(vnir.shape[1:], seed=seed).to_xarray()
        pair = fine.vnir.copy(data=vnir), xr.DataArray(lst, fine.lst.coords, fine.lst.dims)
        model = None if models is None else lstzoom.load_model(models / f"{seed}.lstzoom")
        shown = (
            nullcontext() if models is None else _shown(models / f"shown-{seed}.npz", keep=keep, kept=kept)
        )
        with shown:
            sharp = lstzoom.sharpen(*pair, model=model).compute(scheduler="synchronous")
        found |= {f"{layer}_{seed}": sharp[layer].values for layer in LAYERS}
    return found


@contextmanager
def _shown(file: Path, *, keep: bool, kept: bool) -> Iterator[None]:
    """Keep what trees are shown, block by block, or show them what was kept.

    Among it are temperatures, interpolated: where one lies at a threshold, its last digit decides which leaf
    the pixel falls to.
    """
    arrays: Arrays = {}
    number = count()
    if kept:
        with np.load(file) as before:
            arrays = dict(before)

    def seen(array: NDArray[Any]) -> NDArray[Any]:
        name = str(next(number))
        if keep:
            # A copy: the detail is added in place.
            arrays[name] = array.copy()
        return arrays[name] if kept else array

    def levels(*given: Any) -> NDArray[Any]:
        return seen(_LEVELS(*given))

    def details(planes: NDArray[Any], *given: Any) -> Any:  # noqa: ANN401  (as above)
        lst, smooth, *rest = given
        return detail.predict_details(planes, seen(lst), seen(smooth), *rest)

    with patch.object(block, "_levels", levels), patch.object(block, "predict_details", details):
        yield
    if keep:
        content: dict[str, Any] = arrays
        np.savez(file, **content)
    if kept and next(number) != len(arrays):
        raise RuntimeError(
            "the copy has other blocks than the package, so that trees were shown something else"
        )


_LEVELS = block._levels  # noqa: SLF001  (what all trees are shown)


def _copy(folder: Path, single: Collection[str], *, shown: bool) -> None:
    """Write a copy of the package, and of this module, in which most modules compute in double precision.

    What trees are shown is interpolated by a copy in single precision of its own, if it is to be the same.
    """
    package = Path(lstzoom.__file__).parent
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        copy = folder / "lstzoom" / path.relative_to(package)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.name not in single:
            if shown and path.name == "interpolate.py":
                copy.with_name("interpolate_shown.py").write_text(text, encoding="utf-8")
            text = text.replace("np.float32", "np.float64")
        elif shown:
            text = text.replace("kernels.interpolate import", "kernels.interpolate_shown import")
            text = text.replace(
                "kernels import interpolate\n", "kernels import interpolate_shown as interpolate\n"
            )
        copy.write_text(text, encoding="utf-8")
    (folder / "benchmarks").mkdir()
    for path in (Path(__file__), Path(__file__).with_name("__init__.py")):
        (folder / "benchmarks" / path.name).write_bytes(path.read_bytes())


def in_double(
    given: Mapping[str, NDArray[Any]],
    single: Collection[str],
    shown: bool,  # noqa: FBT001  (of a table)
) -> tuple[Arrays, Arrays]:
    """Sharpen as we are, and with a copy of the package in double precision."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _copy(folder, single, shown=shown)
        for seed in SEEDS:
            scene = simulate_scene(given[f"vnir_{seed}"].shape[1:], seed=seed).to_xarray()
            lstzoom.fit([(scene.vnir, scene.lst)]).save(folder / f"{seed}.lstzoom")
        inputs: dict[str, Any] = {k: v for k, v in given.items() if k.startswith(("vnir", "given"))}
        np.savez(folder / "given.npz", **inputs)
        code = (
            "import pathlib, numpy as np; from benchmarks.numerics import results\n"
            "with np.load('given.npz') as kept: given = dict(kept)\n"
            f"np.savez('made.npz', **results(given, pathlib.Path(), kept={shown}))"
        )
        ours = results(given, folder, keep=True)
        environment = {**os.environ, "PYTHONPATH": name, "NUMBA_CACHE_DIR": str(folder / "compiled")}
        subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True)  # noqa: S603
        with np.load(folder / "made.npz") as made:
            return ours, dict(made)


def compared(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Compare the results of all scenes: kelvin, and shares of pixels."""
    told: dict[str, Any] = {}
    for layer in LAYERS[:2]:
        apart = np.concatenate([
            np.abs(one[f"{layer}_{seed}"].astype(np.float64) - other[f"{layer}_{seed}"]).ravel()
            for seed in SEEDS
        ])  # fmt: skip
        told[layer] = {
            "same_bits": bool((apart == 0).all()), "rms": float(np.sqrt(np.mean(apart**2))),
            "p99.9": float(np.quantile(apart, 0.999)), "max": float(apart.max()),
            "share_within_0.005_K": float((apart <= 0.005).mean()),
        }  # fmt: skip
    told["other_flags"] = float(np.mean([np.mean(one[f"qa_{s}"] != other[f"qa_{s}"]) for s in SEEDS]))
    return told


def report(what: str, told: Mapping[str, Any]) -> None:
    """Print the figures of one comparison."""
    print(f"{what}:")
    for layer in LAYERS[:2]:
        row = told[layer]
        print(
            f"  {layer:16s} {'same bits; ' if row['same_bits'] else ''}rms {row['rms']:.2e} K, 99.9 % below "
            f"{row['p99.9']:.2e} K, at most {row['max']:.2e} K; {row['share_within_0.005_K']:.4%} within 5 mK"
        )
    print(f"  other flags: {told['other_flags']:.4%} of pixels")


if __name__ == "__main__":
    sys.exit(main())

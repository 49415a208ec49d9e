from __future__ import annotations

import importlib.metadata
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import lstzoom

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {
    "dask",
    "distributed",
    "fsspec",
    "matplotlib",
    "numba",
    "numpy",
    "odc",
    "pandas",
    "pydantic",
    "pystac",
    "rasterio",
    "rioxarray",
    "scipy",
    "sklearn",
    "xarray",
    "zarr",
}


def packages_loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return {module.partition(".")[0] for module in json.loads(done.stdout)}


@pytest.mark.parametrize("statement", ["import lstzoom", "import lstzoom.errors", "import lstzoom.cli"])
def test_import_is_light(statement: str) -> None:
    loaded = packages_loaded_by(statement)
    assert "lstzoom" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("name", sorted(lstzoom.__all__))
def test_every_export_is_there(name: str) -> None:
    assert name in dir(lstzoom)
    assert getattr(lstzoom, name) is not None


def test_the_table_of_contents_names_every_export_and_module() -> None:
    told = lstzoom.__doc__ or ""
    assert [name for name in lstzoom.__all__ if f"`{name}`" not in told and name != "__version__"] == []
    reference = (ROOT / "docs" / "reference.md").read_text()
    named = set(re.findall(r"^::: lstzoom\.(\w+)", reference, re.MULTILINE))
    modules = set(re.findall(r"`lstzoom\.(\w+)`", told))
    assert modules <= named
    assert {name for name in lstzoom.__all__ if name[0].islower()} <= named


def test_lazy_exports_are_listed() -> None:
    assert set(lstzoom._EXPORTS) < set(lstzoom.__all__)


def test_no_module_takes_the_place_of_an_export() -> None:
    modules = {module.name for module in pkgutil.iter_modules(lstzoom.__path__)}
    assert "errors" in modules
    assert not modules & set(lstzoom.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'lstzoom' has no attribute 'sharpne'"):
        _ = lstzoom.sharpne


def test_the_version_has_one_source() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" not in project
    assert project["dynamic"] == ["version"]
    assert importlib.metadata.version("lstzoom") == lstzoom.__version__


def test_command_line_tells_the_version() -> None:
    command = [sys.executable, "-c", "from lstzoom.cli import main; main()", "--version"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert lstzoom.__version__ in done.stdout


def test_constraints_pin_every_dependency_and_name_no_host() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert not [line for line in pins if "==" not in line or "/" in line or "hash" in line]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(one for extra in extras for one in extra)]
    names = {one.partition(">=")[0].partition("[")[0] for one in wanted}
    assert names <= {line.partition("==")[0] for line in pins}


def test_the_demo_catalog_tells_what_is_simulated() -> None:
    from lstzoom import simulate

    catalog = tomllib.loads((ROOT / "catalogs" / "demo.toml").read_text())
    assert catalog["source"]["kind"] == "simulated"
    assert tuple(catalog["vnir"]["bands"]) == simulate.BANDS
    for name, group in (("lst", catalog["lst"]), ("nir", catalog["vnir"])):
        assert (group["scale"], group["nodata"], group["unit"]) == simulate._encoding(name)
        assert {"scale", "offset", "nodata", "dtype", "resolution_m"} <= set(group)
    assert catalog["lst"]["native_resolution_m"] >= catalog["lst"]["resolution_m"]


@pytest.mark.slow
def test_the_wheel_carries_catalogs_and_types(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"lstzoom-{lstzoom.__version__}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"lstzoom/catalogs/{path.name}" for path in (ROOT / "catalogs").glob("*.toml")} <= names
    assert {"lstzoom/catalogs/demo.toml", "lstzoom/py.typed"} <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "tools/"))]

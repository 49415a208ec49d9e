"""Documentation: every block of Python and every command runs, settings are read, links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
import xarray as xr
import yaml

import lstzoom
from lstzoom import cli, raster, stream
from lstzoom.product import open_bundle
from lstzoom.product.simulated import BundlePlan, write_bundle
from lstzoom.simulate import simulate_scene, write_scene
from lstzoom.sources.catalog import open_catalog
from lstzoom.sources.job import parse_job
from tests.sources.archive import make_archive

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *(ROOT / "docs").glob("**/*.md")]
}
MADE = {"contributing.md", "architecture.md", "changelog.md", "command-line.md"}
"""Pages that the build of the documentation makes."""
BLOCK = re.compile(
    r"^(<!-- not run: (?P<reason>.+?) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^[ \t>]*(?:`{3,}|~{3,}).*$", re.MULTILINE)
DRAWINGS = {"ARCHITECTURE.md"}
"""Pages whose blocks without a language are drawings."""


@dataclass(frozen=True, slots=True)
class Block:
    page: str
    line: int
    kind: str
    text: str
    reason: str | None


def blocks(kind: str) -> Iterator[Block]:
    for page, path in PAGES.items():
        content = path.read_text()
        for found in BLOCK.finditer(content):
            if found["kind"] == kind:
                line = content.count("\n", 0, found.start("text")) + 1
                yield Block(page, line, kind, found["text"], found["reason"])


# What a page takes as given


def two_files(folder: Path) -> dict[str, Any]:
    paths = write_scene(simulate_scene((90, 90), bands=("green", "red", "nir")), folder)
    shutil.copy(paths["lst"], folder / "lst_30m.tif")
    grid = raster.describe(paths["red"])[0].geobox
    stack = raster.open_stack([str(paths[name]) for name in ("green", "red", "nir")], grid)
    stack.compute().odc.write_cog(folder / "vnir_10m.tif")
    return {}


def a_bundle(folder: Path) -> dict[str, Any]:
    made = write_bundle(folder / "made", shape=(180, 180), container="zip")
    shutil.move(made, folder / "LSTPRECISION_SBA01_THQDZSBX_20251123T072838Z.zip")
    return {}


def a_product(folder: Path) -> dict[str, Any]:
    plan = BundlePlan(style="short")
    source = write_bundle(folder / "made", plan, shape=(180, 180), container="zip")
    bundle = folder / "BUNDLE.zip"
    # The name of the folder within tells the order.
    shutil.copy(source, bundle)
    arrays = open_bundle(bundle).load()
    targets = stream.Targets(lst=folder / "lst.tif", qa=folder / "qa.tif", uncertainty=folder / "sigma.tif")
    stream.write_sharpened(arrays.vnir, arrays.lst, targets)
    (folder / "products").mkdir()
    return {}


def arrays(_folder: Path) -> dict[str, Any]:
    data = simulate_scene((90, 90)).to_xarray()
    return {"lstzoom": lstzoom, "vnir": data.vnir, "lst": data.lst}


def a_cube(folder: Path) -> dict[str, Any]:
    data = simulate_scene((90, 90), bands=("red", "nir")).to_xarray()
    usual = np.arange("2023-01-05", "2026-06-01", 30, dtype="datetime64[D]")
    dates = np.concatenate([usual, np.array(["2026-06-03", "2026-07-05"], "datetime64[D]")])
    rng = np.random.default_rng(0)
    values = data.truth.values[:24, :24] + rng.normal(0, 0.6, (len(dates), 24, 24))
    part = data.truth[:24, :24]
    layers = {"lst": values.astype(np.float32), "lst_uncertainty": np.full(values.shape, 0.6, np.float32)}
    overpass = dates.astype("datetime64[ns]") + np.timedelta64(630, "m")
    coords = {"time": overpass, "y": part.y, "x": part.x, "spatial_ref": part.spatial_ref}
    cube = xr.Dataset({name: (("time", "y", "x"), one) for name, one in layers.items()}, coords)
    cube.to_zarr(folder / "place.zarr", zarr_format=2, consolidated=True)
    left, right = (float(part.x[k]) for k in (2, 20))
    top, bottom = (float(part.y[k]) for k in (2, 20))
    ring = part.odc.geobox.extent.to_crs("EPSG:4326").exterior.coords
    polygon = {"type": "Polygon", "coordinates": [[list(point) for point in ring]]}
    assets = {
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "properties": {"name": "park"}, "geometry": polygon}],
    }
    forest = (cube.x > left) & (cube.x < right) & (cube.y < top) & (cube.y > bottom)
    return {"forest": forest.transpose("y", "x"), "assets": assets}


def results(folder: Path) -> dict[str, Any]:
    for seed, name in enumerate(("lst_20230615T101500Z", "lst_20230618T101500Z")):
        data = simulate_scene((90, 90), bands=("red", "nir"), seed=seed).to_xarray()
        stream.write_sharpened(data.vnir, data.lst, stream.Targets(lst=folder / f"{name}.tif"))
    return {}


GIVEN: dict[str, Callable[[Path], dict[str, Any]]] = {
    "docs/two-files.md": two_files,
    "docs/bundle.md": a_bundle,
    "docs/product.md": a_product,
    "docs/model.md": arrays,
    "docs/mosaic.md": results,
    "docs/timeseries.md": a_cube,
}
SLOW = {
    "README.md",
    "docs/hub.md",
    "docs/bundle.md",
    "docs/product.md",
    "docs/timeseries.md",
    "docs/your-accuracy.md",
}


def python_pages() -> list[Any]:
    pages = dict.fromkeys(one.page for one in blocks("python"))
    return [pytest.param(page, marks=[pytest.mark.slow] if page in SLOW else []) for page in pages]


@pytest.mark.parametrize("page", python_pages())
def test_python_runs(page: str, tmp_path: Path) -> None:
    """Run all blocks of a page as one script, in a process of its own, where warnings are errors."""
    given = GIVEN[page](tmp_path) if page in GIVEN else {}
    lines = ["import os", f"os.chdir({str(tmp_path)!r})", "import matplotlib; matplotlib.use('agg')"]
    if given:
        import cloudpickle

        (tmp_path / "given.pkl").write_bytes(cloudpickle.dumps(given))
        lines += ["import cloudpickle", "globals().update(cloudpickle.load(open('given.pkl', 'rb')))"]
    for one in blocks("python"):
        if one.page != page:
            continue
        compile(one.text, f"{page}:{one.line}", "exec")
        if one.reason is None:
            lines.append(one.text)
    script = tmp_path / "page.py"
    script.write_text("\n".join(lines))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def lines_of(text: str) -> Iterator[list[str]]:
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


def commands_of(text: str) -> Iterator[list[str]]:
    for words in lines_of(text):
        if words[:1] == ["lstzoom"] and len(words) > 1:
            yield words[1:]


def named(block: Block) -> str:
    return f"{block.page}:{block.line}"


def test_no_block_escapes_these_tests() -> None:
    """A fence that is indented, quoted, of tildes or of another language would be run by nobody."""
    escaped = []
    for page, path in PAGES.items():
        content = path.read_text()
        known = {"python", "sh", "yaml", "toml", *([""] if page in DRAWINGS else [])}
        seen = [found for found in BLOCK.finditer(content) if found["kind"] in known]
        inside = {
            content.count("\n", 0, place) for one in seen for place in (one.start("kind") - 3, one.end() - 3)
        }
        escaped += [
            f"{page}:{line + 1}: {found[0]}"
            for found in FENCE.finditer(content)
            if (line := content.count("\n", 0, found.start())) not in inside
        ]
    assert escaped == []


@pytest.mark.parametrize("block", list(blocks("sh")), ids=named)
def test_commands_parse(block: Block) -> None:
    """Options and arguments of every `lstzoom ...` are those of the command."""
    root = typer.main.get_command(cli.app)
    for words in commands_of(block.text):
        if words[0].startswith("-"):
            continue
        command, rest = root, words
        while hasattr(command, "commands"):
            command, rest = command.commands[rest[0]], rest[1:]
        command.make_context("lstzoom", list(rest))


TOOLS = {"git", ".", ".ci/run", "docker", "helm", "kubectl", "cd"}
"""Programs of others, which the tests do not run."""


@pytest.mark.parametrize("block", list(blocks("sh")), ids=named)
def test_what_else_is_typed_is_there(block: Block) -> None:
    """Targets of make and modules of Python are those of this repository."""
    makefile = (ROOT / "Makefile").read_text()
    for words in lines_of(block.text):
        if words[0] == "make":
            for target in words[1:]:
                assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
        elif words[:2] == ["python", "-m"]:
            assert (ROOT / words[2].replace(".", "/")).with_suffix(".py").is_file(), words[2]
        else:
            assert words[0] in {"lstzoom", *TOOLS}, f"{block.page}: nothing tests {words[0]!r}"


# What the commands of a page take as given


def files_of_the_readme(folder: Path) -> None:
    two_files(folder)
    scene = simulate_scene((90, 90), bands=("blue", "green", "red", "nir"))
    inputs = folder / "lstzoom-demo" / "inputs"
    inputs.mkdir(parents=True)
    paths = write_scene(scene, inputs)
    for name, source in {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir", "lst": "lst"}.items():
        shutil.copy(paths[source], folder / f"{name}.tif")
    shutil.copy(folder / "vnir_10m.tif", folder / "vnir.tif")
    classes = xr.full_like(scene.to_xarray().truth, 4).astype("uint8")
    classes[:9, :9] = 9
    classes.odc.write_cog(folder / "scl.tif")


def files_of_sources(folder: Path) -> None:
    (folder / "scene").mkdir()
    write_scene(simulate_scene((90, 90), bands=("green", "red", "nir")), folder / "scene")
    shutil.copy(ROOT / "catalogs" / "landsat-sentinel2.toml", folder / "my-source.toml")
    archive = make_archive(folder / "archive")
    items = [archive.landsat("http://x"), archive.sentinel2("http://x")]
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))


def a_result(folder: Path) -> None:
    two_files(folder)
    lst = raster.open_lst(folder / "lst_30m.tif")
    vnir = raster.open_stack(folder / "vnir_10m.tif", raster.describe(folder / "vnir_10m.tif")[0].geobox)
    targets = stream.Targets(
        lst=folder / "lst_10m.tif",
        qa=folder / "qa.tif",
        uncertainty=folder / "sigma.tif",
        zarr=folder / "sharp.zarr",
    )
    stream.write_sharpened(vnir.compute(), lst.compute(), targets)
    a_run(folder)


def a_run(folder: Path) -> None:
    settings = {
        "catalog": {"name": "demo"},
        "area": {"bbox": [11.0, 48.0, 11.2, 48.1]},
        "datetime": "2023-06",
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(settings | {"run": {"report": False}}))
    shell(["lstzoom run job.yaml --quiet"], folder)


def a_bundle_as_ordered(folder: Path) -> None:
    write_bundle(folder / "made", BundlePlan(style="short"), shape=(180, 180), container="zip").rename(
        folder / "BUNDLE.zip"
    )


def bundles(folder: Path) -> None:
    a_bundle(folder)
    write_bundle(folder / "path" / "to" / "bundle", shape=(180, 180))


ALSO_GIVEN: dict[str, Callable[[Path], object]] = {
    "README.md": files_of_the_readme,
    "docs/bundle.md": bundles,
    "docs/index.md": files_of_the_readme,
    "docs/mosaic.md": a_run,
    "docs/product.md": a_bundle_as_ordered,
    "docs/report.md": a_result,
    "docs/sources.md": files_of_sources,
    "docs/two-files.md": two_files,
}
# Why a command is not run: it reads from another machine, or does not end by itself.
WAITS = {
    "s3://": "needs an object store; other tests run one",
    "lstzoom serve": "serves until it is stopped",
    "catalog search demo": "needs the services that are searched",
}


def shell(lines: list[str], folder: Path) -> None:
    """Run commands as they are typed, in one shell."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | {"PATH": path},
    )
    assert done.returncode == 0, f"{lines}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", list(dict.fromkeys(one.page for one in blocks("sh") if "lstzoom " in one.text))
)
def test_commands_run(page: str, tmp_path: Path) -> None:
    """All commands of a page, in their order, in one folder that holds what the page takes as given.

    The simulated source stands for those that need a network.
    """
    ALSO_GIVEN.get(page, lambda _folder: None)(tmp_path)
    for block in blocks("sh"):
        if block.page != page or block.reason is not None:
            continue
        typed = block.text.replace("\\\n", " ").replace("landsat-sentinel2", "demo").splitlines()
        commands = [line for line in typed if line.startswith("lstzoom ")]
        shell([line for line in commands if not any(word in line for word in WAITS)], tmp_path)


# Settings


@pytest.mark.parametrize("block", list(blocks("yaml")), ids=named)
def test_settings_of_jobs_are_read(block: Block) -> None:
    job = {"catalog": {"name": "demo"}, "area": {"bbox": [11.0, 48.0, 11.2, 48.1]}, "datetime": "2023-06"}
    settings = yaml.safe_load(block.text)
    read = parse_job(job | settings).model_dump(mode="json")
    for section, values in settings.items():
        assert {name: read[section][name] for name in values}.keys() == values.keys()


@pytest.mark.parametrize("block", list(blocks("toml")), ids=named)
def test_settings_of_catalogues_are_read(block: Block, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(block.text + (ROOT / "catalogs" / "landsat-sentinel2.toml").read_text())
    read = open_catalog(str(own)).model_dump(mode="json")
    for name, value in tomllib.loads(block.text).items():
        assert {key: read[name][key] for key in value} == value


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = PAGES[page]
    text = FENCED.sub("", path.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            assert target.startswith("https://"), target
            continue
        name, _, anchor = target.partition("#")
        other = (path.parent / name).resolve() if name else path
        if path.parent.name == "docs" and name in MADE:
            continue
        assert other.exists(), f"{page} links to {target}, which is not there"
        if anchor and other.suffix == ".md":
            headings = re.findall(r"^#+\s+(.+)$", other.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\s-]", "", one).strip().lower().replace(" ", "-") for one in headings}
            assert anchor in slugs, f"{page} links to {target}, which has no such heading"


def test_blocks_that_are_not_run_are_few_and_say_why() -> None:
    left_out = [one for one in blocks("python") if one.reason]
    assert len(left_out) <= 7
    assert all(one.reason and one.reason.startswith("needs ") for one in left_out)

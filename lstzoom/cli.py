"""The command line. Heavy imports live inside the commands, so that ``--help`` stays fast.

Results and, with ``--json``, one JSON document go to stdout; progress, messages and errors go to
stderr.
"""

from __future__ import annotations

import atexit
import gc
import hashlib
import json
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lstzoom import (
    __version__,
    cli_bundle,
    cli_catalog,
    cli_doctor,
    cli_job,
    cli_model,
    cli_mosaic,
    cli_report,
    cli_serve,
)
from lstzoom.cli_help import AsJson, Debug, Quiet, Verbose, epilog
from lstzoom.errors import ConfigError, ExitCode, InputError, LstzoomError
from lstzoom.interrupts import check, heard_as_interrupt
from lstzoom.wording import counted

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox

    from lstzoom.cli_bundle import BundleInputs
    from lstzoom.config import SharpenConfig
    from lstzoom.grid import GridPair
    from lstzoom.inputs import SceneArrays
    from lstzoom.raster import LazyStack, RasterSource
    from lstzoom.stream import Progress, Targets, Written
    from lstzoom.train import SceneModel
    from lstzoom.validate import ValidationReport

OK, UNEXPECTED, USAGE = ExitCode.OK, ExitCode.UNEXPECTED, ExitCode.USAGE
BAD_INPUT, INTERRUPTED = ExitCode.BAD_INPUT, ExitCode.INTERRUPTED
_GARBAGE_AFTER = 100_000
# Requests that are refused or go silent are repeated; sources of STAC have settings of their own.
_GDAL_HTTP = {
    "GDAL_HTTP_MAX_RETRY": "5",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_RETRY_CODES": "429,500,502,503,504",
    "GDAL_HTTP_CONNECTTIMEOUT": "30",
    "GDAL_HTTP_LOW_SPEED_TIME": "60",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "100",
}
_SCORES = {
    "rmse": ("RMSE, K", ".3f"),
    "mae": ("mean absolute error, K", ".3f"),
    "bias": ("bias, K", "+.3f"),
    "detail_r2": ("R2 of the detail", ".3f"),
    "ssim": ("SSIM", ".3f"),
    "conservation_max": ("largest departure from the input, K", ".3f"),
    "coverage": ("coverage", ".1%"),
    "rmse_over_bicubic": ("RMSE over that of bicubic", ".3f"),
}
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30,
          "TI": 2**40}  # fmt: skip

app = typer.Typer(
    no_args_is_help=True,
    help="Sharpen land surface temperature from 30 m to 10 m with visible and near-infrared bands.",
    epilog=epilog(
        "lstzoom demo",
        "lstzoom sharpen lst_30m.tif vnir_10m.tif -o lst_10m.tif --qa qa.tif",
        "lstzoom report lst_10m.tif --lst lst_30m.tif --vnir vnir_10m.tif --qa qa.tif",
        "lstzoom validate lst_30m.tif vnir_10m.tif",
    ),
    pretty_exceptions_enable=False,
)


# Reading options


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"lstzoom {__version__}")
        raise typer.Exit


def _list(text: str | None) -> list[str] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise typer.BadParameter(f"{text!r} is no list; write for example 1,3 or red,nir")
    return parts


def _integers(text: str | None) -> list[int] | None:
    parts = _list(text)
    try:
        return None if parts is None else [int(part) for part in parts]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no list of whole numbers such as 1,2") from None


def _bytes(text: str | None) -> float | None:
    """Read a size such as 4GiB or 800MB."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?\s*", text.upper())
    if not found or found[2] not in _UNITS:
        raise typer.BadParameter(f"{text!r} is no size of memory such as 4GiB or 800MB")
    return float(found[1]) * _UNITS[found[2]]


LstOrBundle = Annotated[
    str, typer.Argument(metavar="LST|BUNDLE", help="Coarse land surface temperature, or a bundle with both.")
]
VnirFiles = Annotated[
    list[str] | None,
    typer.Argument(metavar="VNIR", help="Fine reflectance: one file with bands, or several."),
]
Mask = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Mask on any grid: 0 is usable, anything else and nodata are not."),
]
MaskClear = Annotated[
    str | None, typer.Option(metavar="LIST", help="Values of --mask that are usable instead, as in 4,5,6.")
]
Bands = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="Bands to use, by name (blue,red) or position from 1 (1,3)."),
]
Blue = Annotated[
    bool, typer.Option("--blue", help="Use the blue band of a bundle, too: it is blurred in orbit.")
]
Ratio = Annotated[
    int | None, typer.Option(min=2, help="Fine pixels along a coarse pixel; default from the files.")
]
LstUnits = Annotated[
    Literal["auto", "K", "C"], typer.Option(help="Units of LST; auto takes the file's tag, else kelvin.")
]
LstScale = Annotated[float | None, typer.Option(help="Scale of LST in place of the file's.")]
LstOffset = Annotated[float | None, typer.Option(help="Offset of LST in place of the file's.")]
LstNodata = Annotated[float | None, typer.Option(help="Stored number of missing LST.")]
Nodata = Annotated[float | None, typer.Option(help="Stored number of missing reflectance.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed: the same seed gives the same result.")]
Method = Annotated[
    Literal["calibrated", "published"],
    typer.Option(help="calibrated learns how much detail to believe; published believes all of it."),
]
NativeResolution = Annotated[
    float | None,
    typer.Option(
        metavar="METRES",
        help="What the thermal instrument resolves, where that is more than a coarse pixel (Landsat 8: 100).",
    ),
]
ConservationBox = Annotated[
    int, typer.Option(metavar="N", help="Conserve LST on boxes of N x N coarse pixels; 1 is each pixel.")
]
Workers = Annotated[
    int, typer.Option(min=1, help="Processes of a local dask cluster; 1 works in this process.")
]


# What all commands share


@contextmanager
def _session(*, quiet: bool = False, verbose: bool = False, debug: bool = False) -> Iterator[None]:
    """Set up logging and GDAL's memory, and turn errors into a message and an exit code."""
    from lstzoom.machine import GDAL_CACHE_MB, keep_memory

    keep_memory()
    for name, value in {"GDAL_CACHEMAX": GDAL_CACHE_MB, **_GDAL_HTTP}.items():
        os.environ.setdefault(name, value)
    level = logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    from lstzoom.sources.redaction import Redaction

    for handler in logging.getLogger().handlers:
        handler.addFilter(Redaction())
    # Distributed sets up its own logging when it is imported, here and in the workers.
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "info" if verbose else "error")
    try:
        with heard_as_interrupt():
            yield
    except (typer.Exit, typer.BadParameter):
        raise
    except KeyboardInterrupt:
        _fail("interrupted; no file was left half-written", INTERRUPTED, debug=debug)
    except LstzoomError as error:
        _fail(str(error), BAD_INPUT, debug=debug)
    except Exception as error:  # noqa: BLE001  (the last resort: told in one line, or in full)
        told = f"unexpected {type(error).__name__}: {error}"
        _fail(told if debug else f"{told}; --debug shows where", UNEXPECTED, debug=debug)


def _fail(message: str, code: int, *, debug: bool) -> None:
    from lstzoom.raster import shown
    from lstzoom.sources.redaction import redact

    # Whatever went wrong may hold an address that was signed.
    if debug:
        typer.echo(redact(shown(traceback.format_exc())), err=True)
    typer.echo(f"lstzoom: {redact(shown(message))}", err=True)
    raise typer.Exit(code)


@contextmanager
def _progress(what: str, *, quiet: bool) -> Iterator[Progress]:
    """Show a bar on a terminal, and a line for every tenth elsewhere; hear interrupts at every step."""
    if quiet:
        yield lambda _done, _total: check()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(what, total=None)

            def show(done: int, total: int) -> None:
                check()
                bar.update(task, completed=done, total=total)

            yield show
    else:
        yield _lines(what)


def _lines(what: str) -> Callable[[int, int], None]:
    start, told = time.perf_counter(), -1

    def show(done: int, total: int) -> None:
        nonlocal told
        check()
        tenth = 10 * done // max(total, 1)
        if tenth > told:
            told = tenth
            seconds = time.perf_counter() - start
            typer.echo(f"{what}: {10 * tenth} % ({done} of {total} blocks, {seconds:.0f} s)", err=True)

    return show


def _settings(**values: Any) -> SharpenConfig:
    from pydantic import ValidationError

    from lstzoom.config import SharpenConfig

    try:
        return SharpenConfig(**values)
    except ValidationError as error:
        told = (
            ": ".join([*map(str, one["loc"]), str(one["msg"]).removeprefix("Value error, ")])
            for one in error.errors()
        )
        raise ConfigError("; ".join(told)) from error


def _chosen_bands(paths: Sequence[str], names: Sequence[str], wanted: Sequence[str] | None) -> list[int]:
    """Positions of bands given by name or by position from 1."""
    if wanted is None:
        return list(range(len(names)))
    if all(one.isdecimal() for one in wanted):
        chosen = [int(one) - 1 for one in wanted]
        absent = [one for one in chosen if not 0 <= one < len(names)]
    else:
        chosen = [names.index(one) if one in names else -1 for one in wanted]
        absent = [one for one in chosen if one < 0]
    if absent:
        there = ", ".join(f"{number} {name}" for number, name in enumerate(names, 1))
        raise InputError(
            f"--bands {','.join(wanted)} asks for what is not in {', '.join(paths)}; there are: {there}"
        )
    return chosen


@dataclass(frozen=True, slots=True)
class _Vnir:
    """Bands chosen from files."""

    sources: tuple[RasterSource, ...]
    names: tuple[str, ...]

    def on(self, grid: GeoBox) -> LazyStack:
        """Put them on a grid, to be read a window at a time; nothing else of the files is read."""
        from lstzoom.raster import LazyStack

        return LazyStack(self.sources, grid)


def _choose(paths: Sequence[str], bands: Sequence[str] | None, nodata: float | None) -> _Vnir:
    """Find bands by name or position among all bands of all files."""
    from lstzoom import raster

    sources = [source for path in paths for source in raster.describe(path, nodata=nodata)]
    names = raster.band_names(sources)
    chosen = _chosen_bands(paths, names, bands)
    return _Vnir(tuple(sources[k] for k in chosen), tuple(names[k] for k in chosen))


def _grids(lst: str, vnir: _Vnir, ratio: int | None) -> GridPair:
    from lstzoom import raster
    from lstzoom.grid import resolve_grids

    coarse = raster.describe(lst)[0].geobox
    return resolve_grids(coarse, [source.geobox for source in vnir.sources], ratio)


@dataclass(frozen=True, slots=True)
class _Files:
    """Plain files as input of `sharpen`; `BundleInputs` is the other kind."""

    lst: str
    vnir: Sequence[str]
    reflectance: _Vnir
    grids: GridPair
    options: dict[str, Any]

    @property
    def bands(self) -> tuple[str, ...]:
        return self.reflectance.names

    def lst_sha256(self) -> str | None:
        """Of the file of the LST, for tags."""
        return _sha256(self.lst)

    @property
    def paths(self) -> list[str]:
        return [self.lst, *self.vnir]

    def open(self, _chunk: int, mask: str | None, clear: list[int] | None) -> SceneArrays:
        """Open the scene, of which blocks read their own windows, whatever their size."""
        from lstzoom import raster
        from lstzoom.inputs import from_files

        fine, kelvin = self.grids.fine, raster.lazy_lst(self.lst, **self.options)
        usable = None if mask is None else raster.lazy_mask(mask, fine, clear_values=clear)
        return from_files(self.reflectance.on(fine), kelvin, usable, self.bands)


def _sha256(place: str) -> str | None:
    """Hash a file on a local disk; others would be fetched twice."""
    path = Path(place)
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _inputs(
    lst: str,
    vnir: Sequence[str] | None,
    bands: Sequence[str] | None,
    ratio: int | None,
    nodata: float | None,
    options: dict[str, Any],
    *,
    blue: bool,
) -> _Files | BundleInputs:
    """Open what was given: LST and VNIR, or a bundle in place of both."""
    if vnir:
        _refuse_blue(blue=blue)
        reflectance = _choose(vnir, bands, nodata)
        return _Files(lst, vnir, reflectance, _grids(lst, reflectance, ratio), options)
    return cli_bundle.open_inputs(lst, bands, ratio, blue=blue, given=_told_by_bundles(options, nodata))


def _refuse_blue(*, blue: bool) -> None:
    if blue:
        raise typer.BadParameter("it goes with a bundle; choose files or --bands", param_hint="--blue")


def _whole(
    lst: str,
    vnir: Sequence[str] | None,
    bands: Sequence[str] | None,
    nodata: float | None,
    options: dict[str, Any],
    truth: GeoBox | None,
    *,
    blue: bool,
) -> tuple[xr.DataArray, xr.DataArray, str | None]:
    """Read reflectance, which shares the grid of a truth, and LST, and hash its file.

    Without a truth LST itself becomes one.
    """
    from lstzoom import raster

    if not vnir:
        given = _told_by_bundles(options, nodata)
        bundle = cli_bundle.open_inputs(lst, bands, None, blue=blue, given=given)
        return *bundle.whole(truth), bundle.lst_sha256()
    _refuse_blue(blue=blue)
    coarse = raster.open_lst(lst, **options).compute()
    reflectance = _choose(vnir, bands, nodata)
    grid = truth or _grids(lst, reflectance, None).fine
    return raster.as_xarray(reflectance.on(grid), reflectance.names).compute(), coarse, _sha256(lst)


def _told_by_bundles(options: Mapping[str, Any], nodata: float | None) -> list[str]:
    """Options that were given, and that a bundle tells itself."""
    defaults = {"units": "auto", "scale": None, "offset": None, "nodata": None}
    given = [f"--lst-{name}" for name, default in defaults.items() if options[name] != default]
    return given + (["--nodata"] if nodata is not None else [])


def _uncertainty(path: str | None, coarse: GeoBox) -> xr.DataArray | None:
    """Open the uncertainty of the LST, which has to lie on its grid: it is never resampled."""
    if path is None:
        return None
    from lstzoom import raster
    from lstzoom.errors import GridMismatchError
    from lstzoom.grid import coincide, describe_grid

    (source, *_) = raster.describe(path)
    if not coincide(source.geobox, coarse):
        raise GridMismatchError(
            f"--lst-uncertainty {path!r} lies on {describe_grid(source.geobox)}; it must lie on the grid of "
            f"LST, {describe_grid(coarse)}"
        )
    return raster.open_stack(path, source.geobox, bands=[1]).isel(band=0, drop=True)


def _loaded(path: str) -> SceneModel:
    from lstzoom.train import load_model

    return load_model(path)


def _run(
    scene: SceneArrays,
    targets: Targets,
    config: SharpenConfig,
    workers: int,
    threads: int,
    memory: float | None,
    *,
    model: SceneModel | None,
    lst_uncertainty: xr.DataArray | None = None,
    quiet: bool,
) -> Written:
    """Sharpen into files, here or on a cluster of processes."""
    from lstzoom import stream

    with _progress("sharpening", quiet=quiet) as progress:
        common: dict[str, Any] = {
            "config": config,
            "model": model,
            "progress": progress,
            "lst_uncertainty": lst_uncertainty,
        }
        if workers == 1:
            return stream.write_scene(scene, targets, threads=threads, **common)
        with stream.local_cluster(workers, memory) as client:
            return stream.write_scene(scene, targets, client=client, **common)


def _tags(
    lst: str, vnir: Sequence[str], bands: Sequence[str], grids: GridPair, config: SharpenConfig
) -> dict[str, str]:
    """Say in the files how they were made; names of inputs without their folders."""
    from lstzoom.raster import shown

    windows = config.windows
    return {
        "TIFFTAG_SOFTWARE": f"lstzoom {__version__}",
        "LSTZOOM_VERSION": __version__,
        "LSTZOOM_METHOD": config.method,
        "LSTZOOM_SEED": str(config.seed),
        "LSTZOOM_CONSERVATION_BOX": str(config.conservation_box),
        "LSTZOOM_NATIVE_RESOLUTION": f"{config.native_resolution:g} m"
        if config.native_resolution
        else "measured",
        "LSTZOOM_RATIO": str(grids.ratio),
        "LSTZOOM_WINDOWS": f"{windows.stride}, {windows.extension}, {windows.min_samples}",
        "LSTZOOM_LST": Path(shown(lst)).name,
        "LSTZOOM_VNIR": ", ".join(Path(shown(path)).name for path in vnir),
        "LSTZOOM_BANDS": ", ".join(bands),
    }


def _summary(written: Written, tags: dict[str, str], workers: int, encoding: str) -> dict[str, Any]:
    affine, (rows, columns), crs = written.grid.affine, written.grid.shape, written.grid.crs
    assert crs is not None  # noqa: S101  (a grid without is refused)
    return {
        "lstzoom": __version__,
        "outputs": {name: str(path) for name, path in written.paths.items()},
        "encoding": encoding,
        "method": tags["LSTZOOM_METHOD"],
        "seed": int(tags["LSTZOOM_SEED"]),
        "ratio": int(tags["LSTZOOM_RATIO"]),
        "bands": tags["LSTZOOM_BANDS"].split(", "),
        "shape": [rows, columns],
        "pixel": [abs(affine.a), abs(affine.e)],
        "crs": f"EPSG:{code}" if (code := crs.to_epsg()) else crs.to_wkt(),
        "kelvin": written.kelvin,
        "pixels": dict(written.flags),
        "blocks": written.blocks,
        "chunk": written.chunk,
        "workers": workers,
        "shift": None if written.shift is None else asdict(written.shift),
        "aligned": written.aligned,
        **{name.removeprefix("lstzoom_"): value for name, value in written.account.items()},
        "seconds": round(written.seconds, 2),
    }


def _tell(written: Written) -> None:
    rows, columns = written.grid.shape
    typer.echo(f"{rows} x {columns} pixels in {counted(written.blocks, 'block')}, {written.seconds:.1f} s")
    if written.kelvin:
        typer.echo("LST {min:.2f} to {max:.2f} K, mean {mean:.2f} K".format(**written.kelvin))
    for meaning, count in written.flags.items():
        if count:
            typer.echo(f"  {100 * count / (rows * columns):5.1f} %  {meaning}")
    if written.shift is not None:
        from lstzoom.registration import describe_shift

        done = "; corrected" if written.aligned else ""
        typer.echo(f"reflectance lies {describe_shift(written.shift, written.grid)}{done}")
    _tell_account(written.account)
    for path in written.paths.values():
        typer.echo(f"wrote {path}")


def _tell_account(account: Mapping[str, float | str]) -> None:
    sentences = {
        "footprint": "footprint of the LST (standard deviation): {} fine pixels",
        "reliability": "reliability of the detail: {}",
        "mean_uncertainty": "mean uncertainty: {} K",
        "unsupported_share": "share of pixels without supported detail: {}",
        "coarser_bands": "bands with larger pixels than the result's, which add no detail of that size "
        "and can cost accuracy (--bands leaves them out): {}",
    }
    for name, sentence in sentences.items():
        if f"lstzoom_{name}" in account:
            typer.echo(sentence.format(account[f"lstzoom_{name}"]))


# Commands


@app.callback()
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Take the options that hold for all commands."""


@app.command(
    epilog=epilog(
        "lstzoom sharpen lst_30m.tif vnir_10m.tif -o lst_10m.tif",
        "lstzoom sharpen lst.tif B03.tif B04.tif B08.tif --mask scl.tif --mask-clear 4,5,6 -o sharp.tif",
        "lstzoom sharpen scene.zip -o lst_10m.tif --qa flags.tif --uncertainty sigma.tif",
        "lstzoom sharpen lst.tif vnir.tif -o sharp.tif --zarr sharp.zarr --workers 4 --memory 4GiB",
    )
)
def sharpen(
    lst: LstOrBundle,
    vnir: VnirFiles = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="COG to write.")],
    qa: Annotated[Path | None, typer.Option(help="COG of quality flags to write, too.")] = None,
    uncertainty: Annotated[
        Path | None, typer.Option(help="COG of the standard uncertainty, K, to write, too.")
    ] = None,
    zarr: Annotated[
        Path | None, typer.Option(help="Zarr store of LST, flags and uncertainty to write, too.")
    ] = None,
    mask: Mask = None,
    mask_clear: MaskClear = None,
    bands: Bands = None,
    blue: Blue = False,
    ratio: Ratio = None,
    encoding: Annotated[
        Literal["uint16", "float32"],
        typer.Option(help="uint16 holds steps of 0.01 K (nodata 65535), float32 kelvin as they are."),
    ] = "uint16",
    method: Method = "calibrated",
    align: Annotated[
        bool,
        typer.Option("--align", help="Move reflectance to fit LST, by the shift measured between the two."),
    ] = False,
    native_resolution: NativeResolution = None,
    conservation_box: ConservationBox = 1,
    seed: Seed = 0,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Model of `lstzoom fit` in place of training; --seed is its own."),
    ] = None,
    lst_uncertainty: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Standard uncertainty of LST, K, on its grid: goes into --uncertainty."
        ),
    ] = None,
    lst_units: LstUnits = "auto",
    lst_scale: LstScale = None,
    lst_offset: LstOffset = None,
    lst_nodata: LstNodata = None,
    nodata: Nodata = None,
    workers: Workers = 1,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Memory of a process, as in 4GiB; sets the size of blocks."),
    ] = None,
    chunk: Annotated[
        int | None,
        typer.Option(min=1, help="Side of a block in coarse pixels; the result does not depend on it."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Sharpen one scene: coarse LST and fine reflectance in, or a bundle with both; fine LST out."""
    names, clear, limit = _list(bands), _integers(mask_clear), _bytes(memory)
    if clear is not None and mask is None:
        raise typer.BadParameter("it needs --mask", param_hint="--mask-clear")
    with _session(quiet=quiet, verbose=verbose, debug=debug):
        from lstzoom import stream
        from lstzoom.write import ENCODINGS, require_other_than_inputs

        trained = None if model is None else _loaded(model)
        seed = seed if trained is None else trained.seed
        options = {"units": lst_units, "nodata": lst_nodata, "scale": lst_scale, "offset": lst_offset}
        inputs = _inputs(lst, vnir, names, ratio, nodata, options, blue=blue)
        grids = inputs.grids
        threads = stream.choose_threads() if workers == 1 else 1
        if chunk is None:
            chunk = stream.choose_chunk(
                (grids.coarse.shape.y, grids.coarse.shape.x),
                bands=len(inputs.bands),
                ratio=grids.ratio,
                workers=workers,
                threads=threads,
                memory=limit,
                config=_settings(conservation_box=conservation_box),
            )
        config = _settings(
            chunk=chunk,
            seed=seed,
            method=method,
            align=align,
            native_resolution=native_resolution,
            conservation_box=conservation_box,
        )
        tags = _tags(inputs.lst, inputs.vnir, inputs.bands, grids, config)
        digest = inputs.lst_sha256()
        if digest is not None:
            tags["LSTZOOM_LST_SHA256"] = digest
        targets = stream.Targets(output, qa, zarr, ENCODINGS[encoding], tags, overwrite, uncertainty)
        others = [one for one in (mask, lst_uncertainty, model) if one]
        require_other_than_inputs(targets.paths.values(), [*inputs.paths, *others])
        scene, sigma = inputs.open(chunk, mask, clear), _uncertainty(lst_uncertainty, grids.coarse)
        written = _run(
            scene, targets, config, workers, threads, limit,
            model=trained, lst_uncertainty=sigma, quiet=quiet,
        )  # fmt: skip
        summary = _summary(written, tags, workers, encoding)
        if as_json:
            typer.echo(json.dumps(summary))
        elif not quiet:
            _tell(written)


@app.command(
    epilog=epilog(
        "lstzoom validate lst_30m.tif vnir_10m.tif",
        "lstzoom validate lst_30m.tif vnir_10m.tif --json accuracy.json --png maps.png",
        "lstzoom validate lst_30m.tif vnir_10m.tif --truth airborne_10m.tif",
        "lstzoom validate scene.zip --json accuracy.json",
    )
)
def validate(
    lst: LstOrBundle,
    vnir: VnirFiles = None,
    *,
    truth: Annotated[
        str | None, typer.Option(metavar="FILE", help="Fine LST to compare with; it is never sharpened from.")
    ] = None,
    degrade: Annotated[
        bool, typer.Option("--degrade", help="Sharpen the degraded --truth in place of LST.")
    ] = False,
    psf_sigma: Annotated[
        float | None,
        typer.Option(
            min=0, help="Point spread when degrading: standard deviation in pixels of what is degraded."
        ),
    ] = None,
    bands: Bands = None,
    blue: Blue = False,
    ratio: Ratio = None,
    method: Method = "calibrated",
    native_resolution: NativeResolution = None,
    conservation_box: ConservationBox = 1,
    seed: Seed = 0,
    lst_units: LstUnits = "auto",
    lst_scale: LstScale = None,
    lst_offset: LstOffset = None,
    lst_nodata: LstNodata = None,
    nodata: Nodata = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the figures as JSON; a FILE.json that follows gets them instead."),
    ] = False,
    png: Annotated[
        Path | None, typer.Option(help="Draw the maps, and their errors beside with _errors in the name.")
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Measure the error where the answer is known, beside bicubic and nearest.

    With --truth, LST is sharpened and compared with it. With --truth and --degrade, the truth is
    degraded, sharpened back and compared with itself. Without, this is done to LST, one scale up.
    """
    names = _list(bands)
    (lst, *vnir), target = _without_target([lst, *(vnir or [])], as_json=as_json)
    if degrade and truth is None:
        raise typer.BadParameter("it needs --truth", param_hint="--degrade")
    with _session(quiet=quiet, verbose=verbose, debug=debug):
        from lstzoom import raster
        from lstzoom.validate import validate as compare

        options = {"units": lst_units, "nodata": lst_nodata, "scale": lst_scale, "offset": lst_offset}
        fine = None if truth is None else raster.open_lst(truth).compute()
        grid = None if fine is None else fine.odc.geobox
        reflectance, coarse, digest = _whole(lst, vnir, names, nodata, options, grid, blue=blue)
        report = compare(
            reflectance,
            None if degrade else coarse,
            truth=fine,
            ratio=ratio,
            psf_sigma=psf_sigma,
            config=_settings(
                seed=seed,
                method=method,
                native_resolution=native_resolution,
                conservation_box=conservation_box,
            ),
        )
        if target is not None:
            # So that nobody takes these figures for those of another scene.
            _write_json(report.to_dict() | {"lst_sha256": digest}, target)
        if png is not None:
            from lstzoom.demo import draw

            errors = png.with_name(f"{png.stem}_errors{png.suffix}")
            draw(report, png, errors, pixel=abs((coarse if fine is None else fine).odc.geobox.affine.a))
        if not quiet and target != "-":
            _show_scores(report)


def _without_target(given: list[str], *, as_json: bool) -> tuple[list[str], str | None]:
    """Tell a file of `--json` from the inputs: an option that prints JSON everywhere takes no value."""
    targets = [one for one in given if one == "-" or one.lower().endswith(".json")] if as_json else []
    inputs = [one for one in given if one not in targets]
    if len(targets) > 1 or not inputs:
        raise typer.BadParameter(
            f"LST, VNIR and at most one file for the figures are needed, and {' '.join(given)} were given",
            param_hint="--json",
        )
    return inputs, next(iter(targets), "-") if as_json else None


def _show_scores(report: ValidationReport) -> None:
    """Print the methods side by side, which fits a terminal of 80 columns."""
    from rich.console import Console
    from rich.table import Table

    table = Table(caption=f"{report.pixels} pixels, truth SD {report.truth_sd:.2f} K. {report.explanation}")
    table.add_column("")
    for name in report.rows:
        table.add_column(name, justify="right")
    for key, (title, style) in _SCORES.items():
        cells = (row[key] for row in report.rows.values())
        table.add_row(title, *(format(one, style) if one == one else "-" for one in cells))  # noqa: PLR0124
    Console().print(table)


def _write_json(content: dict[str, Any], target: str) -> None:
    text = json.dumps(content, indent=2)
    if target == "-":
        typer.echo(text)
        return
    path = Path(target)
    if not path.parent.is_dir():
        raise InputError(
            f"cannot write {target!r}: the folder {str(path.parent)!r} does not exist; make it first"
        )
    path.write_text(f"{text}\n", encoding="utf-8")


@app.command(epilog=epilog("lstzoom demo", "lstzoom demo --size 300 --workers 1 -o /tmp/lstzoom-demo"))
def demo(
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")] = Path(
        "lstzoom-demo"
    ),
    size: Annotated[
        int, typer.Option(min=90, help="Side of the fine scene in pixels, a multiple of 3.")
    ] = 600,
    seed: Seed = 0,
    workers: Workers = 2,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Simulate city and fields with a known answer, sharpen them on a local cluster, show the score."""
    with _session(quiet=quiet, verbose=verbose, debug=debug):
        from lstzoom.demo import run_demo

        with _progress("sharpening", quiet=quiet) as progress:
            say = None if quiet else lambda sentence: typer.echo(sentence, err=True)
            done = run_demo(output, size=size, seed=seed, workers=workers, say=say, progress=progress)
        made = (*done.written.paths.values(), *done.pictures, *done.pages)
        if as_json:
            files = [str(path) for path in made]
            _write_json({"folder": str(done.folder), "files": files, "score": done.report.to_dict()}, "-")
            return
        if quiet:
            return
        _show_scores(done.report)
        for path in made:
            typer.echo(f"wrote {path}")
        if done.missing:
            typer.echo(f"not everything was drawn: {done.missing}", err=True)
        typer.echo(f"{done.seconds:.0f} s; everything is in {done.folder}")
        for page in done.pages:
            typer.echo(f"look at it in a browser: {page.resolve().as_uri()}")


@app.command(epilog=epilog("lstzoom warm"))
def warm(
    *, as_json: AsJson = False, quiet: Quiet = False, verbose: Verbose = False, debug: Debug = False
) -> None:
    """Compile what the first run would compile: for images, clusters and installations."""
    with _session(quiet=quiet, verbose=verbose, debug=debug):
        from lstzoom.warm import warm as compile_all

        start = time.perf_counter()
        folder = compile_all()
        seconds = time.perf_counter() - start
        if as_json:
            _write_json({"folder": str(folder), "seconds": round(seconds, 1)}, "-")
        elif not quiet:
            typer.echo(f"compiled kernels are in {folder} ({seconds:.0f} s)")


catalog = typer.Typer(
    no_args_is_help=True,
    help="Find scenes: list sources, show what they say, search them, check your own.",
    epilog=epilog(
        "lstzoom catalog list",
        "lstzoom catalog search landsat-sentinel2 --bbox 11.0,48.0,11.2,48.1 --datetime 2023-06",
    ),
)
job = typer.Typer(
    no_args_is_help=True,
    help="Write and check the job, one YAML file, that plan, run, status and retry take.",
    epilog=epilog(
        "lstzoom job init job.yaml --catalog landsat-sentinel2 --bbox 11,48,11.2,48.1 --datetime 2023-06",
        "lstzoom job check job.yaml",
        "lstzoom plan job.yaml",
        "lstzoom run job.yaml",
    ),
)
cli_bundle.register(catalog, _session)
cli_bundle.register_product(app, _session)
cli_report.register(app, _session)
cli_doctor.register(app, _session)
cli_serve.register(app, _session)
cli_catalog.register(catalog, job, _session)
cli_job.register(app, _session)
cli_model.register(app, _session, _inputs, _settings)
cli_mosaic.register(app, _session, _progress)
app.add_typer(catalog, name="catalog")
app.add_typer(job, name="job")

_PANELS = {
    "To begin": ("demo", "doctor", "warm"),
    "One scene": ("sharpen", "validate", "report", "product", "serve", "fit"),
    "Many scenes": ("catalog", "job", "plan", "run", "status", "retry", "mosaic"),
}
"""Parts of the list of commands, in the order in which they are needed."""


def _arrange() -> None:
    """Give every command its part of the list, and the list its order."""
    place = {name: (panel, number) for panel, names in _PANELS.items() for number, name in enumerate(names)}
    order = list(place)
    everything: list[Any] = [*app.registered_commands, *app.registered_groups]
    for one in everything:
        one.rich_help_panel = place[_name(one)][0]
    app.registered_commands.sort(key=lambda one: order.index(_name(one)))


def _name(registered: Any) -> str:  # noqa: ANN401  (typer's own)
    return str(registered.name or registered.callback.__name__)


_arrange()


def main() -> None:
    """Run the command line."""
    # Importing makes a hundred thousand objects that stay; looking through them again and again for garbage
    # takes a twentieth of a short run.
    gc.set_threshold(_GARBAGE_AFTER)
    # So does looking through them a last time when Python ends, which is the last thing that it does.
    atexit.register(gc.freeze)
    app()

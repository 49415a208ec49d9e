"""What a report shows: opened from files, a bundle, or a dataset, and checked to belong together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from lstzoom import raster
from lstzoom.errors import GridMismatchError, InputError
from lstzoom.grid import GridPair, coincide, describe_grid, grid_of
from lstzoom.kernels.aggregate import area_mean_radiance
from lstzoom.product import open_bundle, open_outputs
from lstzoom.product.provenance import read_accuracy
from lstzoom.report.planes import Plane, plane_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

_RGB: Final = ("red", "green", "blue")
_EXTRA: Final = ("local_weight", "residual")
_DEFAULT_RATIO: Final = 3


@dataclass(frozen=True, slots=True)
class ReportScene:
    """One result with what is known of it.

    Attributes
    ----------
    title
        Heading of the page.
    grids
        The coarse grid and its ratio.
    fine
        Sharpened LST on the fine grid, kelvin.
    coarse
        The LST that was sharpened, kelvin, on the coarse grid; None if it was not given: then it is made of
        the result, which conserves it.
    layers
        Further planes on the fine grid by name: ``qa``, ``lst_uncertainty``, ``local_weight``, ``residual``,
        ``truth``.
    rgb
        Red, green and blue reflectance on the fine grid.
    facts
        Attributes of the result by names without ``lstzoom_``.
    accuracy
        Figures of `lstzoom.validate.ValidationReport.to_dict`.
    conserved
        Conservation as the metadata of a product states it; measured where the coarse LST is given.
    details
        Further metadata for the table, by heading.
    """

    title: str
    grids: GridPair
    fine: Plane
    coarse: Plane | None = None
    layers: Mapping[str, Plane] = field(default_factory=dict)
    rgb: tuple[Plane, Plane, Plane] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    accuracy: Mapping[str, Any] | None = None
    conserved: Mapping[str, Any] | None = None
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def read_coarse(self, rows: slice, columns: slice, step: int) -> NDArray[np.float32]:
        """Read a window of the coarse LST, given or made of the result; `rows` are coarse ones."""
        if self.coarse is not None:
            return self.coarse.read(rows, columns, step)
        fine = self.grids.fine_window((rows, columns))
        if step > 1:
            return self.fine.read(*fine, step * self.grids.ratio)
        return area_mean_radiance(self.fine.read(*fine, 1), self.grids.ratio, min_valid=0.0)


def from_files(
    result: str | Path,
    *,
    lst: str | Path | None = None,
    vnir: Sequence[str | Path] = (),
    qa: str | Path | None = None,
    uncertainty: str | Path | None = None,
    truth: str | Path | None = None,
    accuracy: str | Path | None = None,
    title: str | None = None,
) -> ReportScene:
    """Open the files of a run.

    Parameters
    ----------
    result
        COG of ``lstzoom sharpen -o``, or its Zarr store, which holds flags and uncertainty itself.
    lst
        The coarse LST that was sharpened.
    vnir
        Reflectance that it was sharpened with, for a picture of the ground in natural colours.
    qa, uncertainty
        COGs beside a COG.
    truth
        LST on the grid of the result, to compare with.
    accuracy
        JSON of ``lstzoom validate --json``.
    title
        Heading; by default the name of the result.

    Returns
    -------
    ReportScene
        Headers are read and checked, pixels are not.

    Raises
    ------
    InputError
        If a file cannot be read or is not what it is named for.
    GridMismatchError
        If the files do not lie on grids that belong together.
    """
    path = str(result)
    outputs = open_outputs(path, None if qa is None else str(qa), _text(uncertainty))
    grid = outputs.grid
    pair = _pair(None if lst is None else raster.describe(lst)[0].geobox, grid, outputs.tags, str(lst))
    store = xr.open_zarr(path) if Path(path).is_dir() else None
    planes: dict[str, Any] = {"qa": outputs.qa, "lst_uncertainty": outputs.uncertainty}
    if store is None:
        fine: Any = raster.lazy_lst(path).source
        planes = {"qa": _source(qa, grid), "lst_uncertainty": _source(uncertainty, grid)}
    else:
        fine = outputs.lst
        planes |= {name: store[name] for name in _EXTRA if name in store}
    planes["truth"] = None if truth is None else _on(raster.lazy_lst(truth).source, grid)
    given = {"result": path, "lst": lst, "qa": qa, "uncertainty": uncertainty, "truth": truth}
    files = {name: Path(str(one)).name for name, one in given.items() if one is not None}
    return ReportScene(
        title=title or Path(path).name,
        grids=pair,
        fine=plane_of(fine, grid),
        coarse=None if lst is None else plane_of(raster.lazy_lst(lst).source, pair.coarse),
        layers={name: plane_of(one, grid) for name, one in planes.items() if one is not None},
        rgb=_colours([source for one in vnir for source in raster.describe(one)], grid),
        facts=outputs.tags,
        accuracy=None if accuracy is None else read_accuracy(Path(accuracy), outputs.tags.get("lst_sha256")),
        details={"Files": files | ({"vnir": ", ".join(Path(str(one)).name for one in vnir)} if vnir else {})},
    )


def from_bundle(location: str | Path, *, lst: str | Path | None = None) -> ReportScene:
    """Open a bundle with sharpened LST, as ``lstzoom product`` writes it.

    Parameters
    ----------
    location
        Folder, zip, or URL.
    lst
        The LST at 30 m: a file, or the bundle that was sharpened.

    Returns
    -------
    ReportScene

    Raises
    ------
    InputError
        If the bundle is not complete, or its LST is not sharpened.
    """
    bundle = open_bundle(location)
    if bundle.is_coarse:
        raise InputError(
            f"{str(location)!r} holds temperature at 30 m and no result yet; sharpen it first "
            "(lstzoom sharpen BUNDLE -o lst_10m.tif) and give the result: lstzoom report lst_10m.tif"
        )
    source = bundle.lst.source
    before = None if lst is None else _coarse_source(lst)
    content = json.loads(bundle.metadata.model_dump_json())
    block = bundle.metadata.sharpening or {}
    pair = _pair(None if before is None else before.geobox, source.geobox, block, str(lst))
    colours = {band.facts.common_name: band.source for band in bundle.bands}
    layers = {
        name: plane_of(raster.describe(bundle.files[kind].path)[0], source.geobox)
        for name, kind in (("qa", "lst_qa"), ("lst_uncertainty", "lst_uncertainty"))
        if kind in bundle.files
    }
    return ReportScene(
        title=f"{bundle.product}, {bundle.acquired:%Y-%m-%d %H:%M} UTC",
        grids=pair,
        fine=plane_of(source, source.geobox),
        coarse=None if before is None else plane_of(before, pair.coarse),
        layers=layers,
        rgb=_named(colours, source.geobox),
        facts=_facts_of(block),
        accuracy=block.get("accuracy_one_scale_up"),
        conserved=block.get("conservation"),
        details={
            "How it was sharpened": {key: _plain(value) for key, value in block.items()},
            "Metadata of the bundle": {
                key: _plain(value)
                for key, value in content.items()
                if value is not None and key != "sharpening"
            },
        },
    )


def from_dataset(
    sharp: xr.Dataset,
    *,
    lst: xr.DataArray | None = None,
    vnir: xr.DataArray | None = None,
    truth: xr.DataArray | None = None,
    accuracy: Mapping[str, Any] | None = None,
    title: str = "Sharpened land surface temperature",
) -> ReportScene:
    """Take a result of `lstzoom.sharpen` as it is in memory, or lazy.

    Parameters
    ----------
    sharp
        The result; ``local_weight`` and ``residual`` are shown where ``config.outputs`` asked for them.
    lst
        The coarse LST, kelvin, dimensions (y, x).
    vnir
        Reflectance, dimensions (band, y, x), with bands red, green and blue, on the grid of the result.
    truth
        LST on the grid of the result, kelvin.
    accuracy
        Of `lstzoom.validate.ValidationReport.to_dict`.
    title
        Heading.

    Returns
    -------
    ReportScene

    Raises
    ------
    InputError
        If `sharp` holds no LST.
    GridMismatchError
        If the arrays do not lie on grids that belong together.
    """
    if "lst" not in sharp or sharp.lst.dims != ("y", "x"):
        raise InputError("the dataset holds no 'lst' of dimensions (y, x); give a result of lstzoom.sharpen")
    grid = grid_of(sharp.lst)
    facts = {str(key).removeprefix("lstzoom_"): str(value) for key, value in sharp.attrs.items()}
    pair = _pair(None if lst is None else grid_of(lst), grid, facts, "lst")
    names = [name for name in ("qa", "lst_uncertainty", *_EXTRA) if name in sharp]
    layers: dict[str, Plane] = {name: plane_of(sharp[name], grid) for name in names}
    if truth is not None:
        layers["truth"] = plane_of(_array_on(truth, grid, "truth"), grid)
    colours: dict[str, Any] = {}
    if vnir is not None and "band" in vnir.coords:
        placed = _array_on(vnir, grid, "vnir")
        colours = {str(name): placed.sel(band=name) for name in placed.band.values}
    return ReportScene(
        title=title,
        grids=pair,
        fine=plane_of(sharp.lst, grid),
        coarse=None if lst is None else plane_of(lst, pair.coarse),
        layers=layers,
        rgb=_named(colours, grid),
        facts=facts,
        accuracy=accuracy,
    )


# Opening


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)


def _source(path: str | Path | None, grid: GeoBox) -> raster.RasterSource | None:
    return None if path is None else _on(raster.describe(path)[0], grid)


def _on(source: raster.RasterSource, grid: GeoBox) -> raster.RasterSource:
    if not coincide(source.geobox, grid):
        raise GridMismatchError(
            f"{source.path!r} lies on {describe_grid(source.geobox)}, but the result on "
            f"{describe_grid(grid)}; name files of one run"
        )
    return source


def _array_on(array: xr.DataArray, grid: GeoBox, name: str) -> xr.DataArray:
    if not coincide(grid_of(array), grid):
        raise GridMismatchError(
            f"{name} lies on {describe_grid(grid_of(array))}, but the result on {describe_grid(grid)}; "
            "give what it was made of"
        )
    return array


def _coarse_source(lst: str | Path) -> raster.RasterSource:
    """LST at 30 m: of a bundle, or a file."""
    from lstzoom.product.containers import looks_like  # noqa: PLC0415  (only here)

    return open_bundle(lst).lst.source if looks_like(str(lst)) else raster.lazy_lst(lst).source


def _pair(coarse: GeoBox | None, fine: GeoBox, facts: Mapping[str, Any], name: str) -> GridPair:
    """Grids of input and result; without the input its grid follows from the ratio that the result tells."""
    if coarse is None:
        ratio = int(facts.get("ratio") or _DEFAULT_RATIO)
        if ratio < 2 or fine.shape.y % ratio or fine.shape.x % ratio:
            raise InputError(
                f"{fine.shape.y} x {fine.shape.x} pixels of the result are no whole pixels of a grid "
                f"{ratio} times coarser; name the LST that was sharpened (--lst)"
            )
        coarse = fine.zoom_out(ratio)
    ratio = round(coarse.affine.a / fine.affine.a)
    if ratio < 2 or not coincide(GridPair(coarse, ratio).fine, fine):
        raise GridMismatchError(
            f"the result lies on {describe_grid(fine)}, which does not nest in {name}, "
            f"{describe_grid(coarse)}; name the LST that was sharpened"
        )
    return GridPair(coarse, ratio)


def _colours(sources: Sequence[raster.RasterSource], grid: GeoBox) -> tuple[Plane, Plane, Plane] | None:
    if not sources:
        return None
    return _named(dict(zip(raster.band_names(sources), sources, strict=True)), grid)


def _named(bands: Mapping[str, Any], grid: GeoBox) -> tuple[Plane, Plane, Plane] | None:
    """Natural colours, if there is a band for each."""
    if not all(name in bands for name in _RGB):
        return None
    red, green, blue = (plane_of(bands[name], grid) for name in _RGB)
    return red, green, blue


def _facts_of(block: Mapping[str, Any]) -> dict[str, str]:
    """Take from a product what it says of its making, by the names that the tags of a result have."""
    names = {"footprint": "footprint_sd_fine_pixels", "reliability": "reliability", "ratio": "ratio",
             "conservation_box": "conservation_box_coarse_pixels", "method": "method"}  # fmt: skip
    facts = {name: str(block[key]) for name, key in names.items() if block.get(key) is not None}
    shift = block.get("shift") or {}
    return facts | {f"shift_{key}": str(value) for key, value in shift.items() if value is not None}


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

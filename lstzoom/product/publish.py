"""Write the bundle of a sharpened scene from the finished result and the bundle that it was made of."""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import rasterio

from lstzoom import raster
from lstzoom.encoding import ENCODINGS, QA, Encoding
from lstzoom.errors import GridMismatchError, InputError
from lstzoom.grid import GridPair, coincide, describe_grid
from lstzoom.product import masks, pictures
from lstzoom.product.bundle import Bundle, open_bundle
from lstzoom.product.containers import Container, open_container, sha256_of
from lstzoom.product.description import COLLECTION_FILE, ITEM_FILE, collect, describe
from lstzoom.product.fields import COLOUR_MAP, centre
from lstzoom.product.item import footprint_of
from lstzoom.product.naming import BundleName, LongName, ShortName, geohash
from lstzoom.product.outputs import Outputs, values_of
from lstzoom.product.provenance import Extras, checksums, sharpening_block
from lstzoom.product.rewrite import PRODUCT, Rewrite, rewritten
from lstzoom.product.survey import Survey, survey
from lstzoom.write import CogSink

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_RGB: Final = ("vnir04", "vnir03", "vnir02")
_PASSED: Final = ("vnir", "scl_mask", "tcwv", "aot")
_PIXEL: Final = 10.0
_SATELLITE: Final = re.compile(r"SBA\d{2}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ProductPlan:
    """What kind of bundle to write.

    Attributes
    ----------
    style
        Of the names: ``"long"`` (satellite and geohash) or ``"short"`` (plain names in a folder of time,
        product and order).
    configuration
        Of the metadata: ``"A"``, or ``"B"`` from before 20 January 2026.
    encoding
        Of temperature and uncertainty: ``"uint16"`` (0.01 K, 65535 is missing) or ``"float32"``.
    order
        Id of the order for short names; by default that of the input.
    link
        Address of documentation and access.
    reflectance
        Pass reflectance through, too; quality files and classifications always are.
    overwrite
        Replace a product of the same name.
    """

    style: Literal["long", "short"] = "long"
    configuration: Literal["A", "B"] = "A"
    encoding: Literal["uint16", "float32"] = "uint16"
    order: str | None = None
    link: str | None = None
    reflectance: bool = True
    overwrite: bool = False


def publish(
    location: str | Path,
    outputs: Outputs,
    root: str | Path,
    plan: ProductPlan | None = None,
    *,
    extras: Extras | None = None,
    processed: datetime | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Path:
    """Write a product: one folder with all files, metadata and a STAC item, and the collection above it.

    Parameters
    ----------
    location
        Bundle that was sharpened.
    outputs
        The result, from `lstzoom.product.open_outputs`.
    root
        Folder, made if need be; the product becomes a folder in it.
    plan
        What kind of bundle.
    extras
        What is known of the run beside its files.
    processed
        When it was processed; by default now.
    storage_options
        For fsspec, where the bundle lies in an object store.

    Returns
    -------
    Path
        Folder of the product. It appears only when it is complete.

    Raises
    ------
    InputError
        If the product exists, cannot be named or written, no pixel has a temperature, or the result says
        that it was made of something else.
    GridMismatchError
        If the result does not lie on the grid of this bundle.
    EncodingError
        If values do not fit the encoding.
    """
    what, when = plan or ProductPlan(), processed or datetime.now(UTC)
    source, container = open_bundle(location, storage_options=storage_options), open_container(
        location, storage_options
    )  # fmt: skip
    pair = _require_same_scene(source, container, outputs)
    _require_same_figures(source, container, extras or Extras())
    # Told of the input, not of the draft.
    footprint_of(source)
    name = _name(source, outputs, what)
    target = Path(root) / name.folder
    _require_free(target, overwrite=what.overwrite)
    with _draft(target) as draft:
        job = _Job(source, container, outputs, pair, name, what, extras or Extras(), when)
        job.write(draft / name.folder)
        _put(draft, target)
    _write_json(target.parent / COLLECTION_FILE, collect(target.parent))
    logger.info("wrote %s", target)
    return target


# Before


def _require_same_scene(source: Bundle, container: Container, outputs: Outputs) -> GridPair:
    coarse, fine = source.lst.source.geobox, outputs.grid
    ratio = round(coarse.affine.a / fine.affine.a)
    if ratio < 2 or not coincide(GridPair(coarse, ratio).fine, fine):
        raise GridMismatchError(
            f"the result lies on {describe_grid(fine)}, which does not nest in the temperature of "
            f"{source.location!r}, {describe_grid(coarse)}; name the bundle that was sharpened"
        )
    if abs(fine.affine.a) != _PIXEL:
        raise InputError(
            f"the result has pixels of {abs(fine.affine.a):g} m, and those of an {PRODUCT} bundle have "
            f"{_PIXEL:g} m; sharpen with --ratio {round(coarse.affine.a / _PIXEL)}"
        )
    made_of, there = outputs.tags.get("lst"), Path(source.files["lst"].name).name
    if made_of is not None and made_of != there:
        raise InputError(
            f"the result says that it was made of {made_of!r}, and the temperature of {source.location!r} is "
            f"{there!r}; name the bundle that was sharpened"
        )
    # Short names are the same in every bundle; content is not.
    told = outputs.tags.get("lst_sha256")
    if told is not None and told != sha256_of(container, source.files["lst"]):
        raise InputError(
            f"the result was made of a {there!r} of other content (SHA-256 {told[:12]}...) than the one of "
            f"{source.location!r}; name the bundle that was sharpened"
        )
    return GridPair(coarse, ratio)


def _require_same_figures(source: Bundle, container: Container, extras: Extras) -> None:
    told = (extras.accuracy or {}).get("lst_sha256")
    if told is not None and told != sha256_of(container, source.files["lst"]):
        raise InputError(
            f"the accuracy is of another temperature (SHA-256 {str(told)[:12]}...) than that of "
            f"{source.location!r}; make it with: lstzoom validate {source.location} --json accuracy.json"
        )


def _name(source: Bundle, outputs: Outputs, plan: ProductPlan) -> BundleName:
    named = source.name
    if plan.style == "long":
        satellite = named.satellite if isinstance(named, LongName) else source.metadata.platform or ""
        if not _SATELLITE.fullmatch(satellite):
            raise InputError(
                f"long names hold the satellite (SBA01), and {source.location!r} says {satellite!r}; write "
                "the product with short names (--style short)"
            )
        code = named.geohash if isinstance(named, LongName) else geohash(*centre(outputs.grid))
        return LongName(PRODUCT, satellite, code, source.acquired)
    order = plan.order or (named.order if isinstance(named, ShortName) else None)
    if order is None:
        raise InputError(
            f"short names hold the id of the order, which {source.location!r} does not tell; give it "
            "(--order), or write the product with long names (--style long)"
        )
    return ShortName(source.acquired, PRODUCT, order)


def _require_free(target: Path, *, overwrite: bool) -> None:
    if not target.exists():
        return
    if not overwrite:
        raise InputError(f"{str(target)!r} exists; choose another folder, or replace it with --overwrite")
    if not (target / ITEM_FILE).is_file():
        # A folder of another origin, as the input itself, is never removed.
        raise InputError(f"{str(target)!r} was not written by lstzoom and is never replaced; choose another")


@contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """Make a folder aside; after an error nothing that was made here is left, folders above it included."""
    root = target.parent
    new = [folder for folder in (root, *root.parents) if not folder.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=root))
    except OSError as error:
        _remove_empty(new)
        raise InputError(f"cannot write {str(target)!r}: {error}; choose another folder") from error
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        _remove_empty(new)


def _remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, the innermost first, in which nothing is."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _put(draft: Path, target: Path) -> None:
    """Give the finished folder its name; what it replaces goes with the draft."""
    old = draft / "replaced"
    if target.exists():
        target.rename(old)
    try:
        (draft / target.name).rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise


# Writing


@dataclass(frozen=True, slots=True)
class _Job:
    """One product that is being written."""

    source: Bundle
    container: Container
    outputs: Outputs
    pair: GridPair
    name: BundleName
    plan: ProductPlan
    extras: Extras
    when: datetime

    @property
    def encoding(self) -> Encoding:
        return ENCODINGS[self.plan.encoding]

    def write(self, folder: Path) -> None:
        folder.mkdir()
        rgb = self._rgb()
        coarse = raster.lst_source(self.source.lst.source, raster.DEFAULT_CHUNK // self.pair.ratio)
        factor = max(1, -(-max(self.outputs.grid.shape) // pictures.THUMBNAIL))
        found = survey(self.outputs, coarse, self.pair.ratio, rgb, factor)
        if not found.kelvin.count:
            raise InputError("no pixel of the result has a temperature; there is nothing to publish")
        files = self._passed_through(folder) | self._layers(folder)
        files |= self._pictures(folder, found, rgb)
        self._metadata(folder, found, files)
        written = open_bundle(folder)
        item = describe(written, self.source, found, self.encoding, self.when)
        _write_json(folder / ITEM_FILE, item)

    def _at(self, folder: Path, kind: str) -> Path:
        return folder / self.name.file(kind)

    def _passed_through(self, folder: Path) -> dict[str, str]:
        """Files of the input that stay as they are, byte for byte."""
        kinds = [kind for kind in self.source.files if kind.startswith(_PASSED) and self._is_passed(kind)]
        for kind in kinds:
            self._at(folder, kind).write_bytes(self.container.read(self.source.files[kind]))
        files = {kind: self.name.file(kind) for kind in kinds}
        if "scl_mask_10m" not in files and self._classes(folder):
            files["scl_mask_10m"] = self.name.file("scl_mask_10m")
        return files

    def _is_passed(self, kind: str) -> bool:
        return self.plan.reflectance or not kind.startswith("vnir") or kind.endswith("_qa")

    def _classes(self, folder: Path) -> bool:
        """Write the classification at the fine grid by repeating a coarser one, the finest there is."""
        fine = self.outputs.grid
        for size in sorted(self.source.scl):
            sources = self.source.scl[size]
            factor = round(size / abs(fine.affine.a))
            if not coincide(
                GridPair(sources[0].geobox, factor).fine if factor > 1 else sources[0].geobox, fine
            ):
                continue
            by_name = masks.scl_bands(sources)
            with rasterio.open(sources[0].path) as file:
                codes = file.read([one.band for one in by_name.values()])
            repeated = codes.repeat(factor, axis=1).repeat(factor, axis=2)
            pictures.write_classes(self._at(folder, "scl_mask_10m"), fine, repeated, by_name)
            return True
        return False

    def _layers(self, folder: Path) -> dict[str, str]:
        """Temperature, uncertainty and flags."""
        outputs, encoding = self.outputs, self.encoding
        layers: dict[str, tuple[xr.DataArray | None, Encoding, str, str]] = {
            "lst": (outputs.lst, encoding, "LST", "K"),
            "lst_uncertainty": (outputs.uncertainty, encoding.averaged, "LST uncertainty", "K"),
            "lst_qa": (outputs.qa, QA, "QA", "1"),
        }
        tags = {f"LSTZOOM_{key.upper()}": value for key, value in outputs.tags.items()}
        files = {}
        for kind, (array, stored, title, unit) in layers.items():
            if array is None:
                continue
            with CogSink(self._at(folder, kind), outputs.grid, stored, tags, title, unit) as sink:
                for rows in outputs.strips(1):
                    sink.write(values_of(array, rows), (rows, slice(0, outputs.grid.shape.x)))
            files[kind] = self.name.file(kind)
        return files

    def _rgb(self) -> xr.DataArray | None:
        """Red, green and blue on the fine grid; blue is blurred, but a colour picture needs it."""
        known = {band.facts.key: band.source for band in self.source.bands}
        if not all(key in known for key in _RGB):
            logger.warning("%s lacks one of %s: no colour picture", self.source.location, ", ".join(_RGB))
            return None
        stack = raster.LazyStack(tuple(known[key] for key in _RGB), self.outputs.grid)
        return raster.as_xarray(stack, _RGB)

    def _pictures(self, folder: Path, found: Survey, rgb: xr.DataArray | None) -> dict[str, str]:
        shown = found.kelvin_shown
        tags = {"COLOUR_MAP": COLOUR_MAP, "LOWEST_KELVIN": f"{shown.low:g}",
                "HIGHEST_KELVIN": f"{shown.high:g}"}  # fmt: skip
        strips = ((r, pictures.temperature_colours(v, shown)) for r, v in self._strips(self.outputs.lst))
        pictures.write_composite(self._at(folder, "lst_composite"), self.outputs.grid, strips, tags)
        small = pictures.temperature_colours(found.small_kelvin, shown)
        pictures.write_thumbnail(self._at(folder, "lst_thumbnail"), small)
        kinds = ["lst_composite", "lst_thumbnail"]
        if rgb is not None and found.small_rgb is not None and found.reflectance.count:
            span = found.reflectance_shown
            tags = {"LOWEST_REFLECTANCE": f"{span.low:g}", "HIGHEST_REFLECTANCE": f"{span.high:g}"}
            strips = ((r, pictures.natural_colours(v, span)) for r, v in self._strips(rgb))
            pictures.write_composite(self._at(folder, "rgb_composite"), self.outputs.grid, strips, tags)
            small = pictures.natural_colours(found.small_rgb, span)
            pictures.write_thumbnail(self._at(folder, "rgb_thumbnail"), small)
            kinds += ["rgb_composite", "rgb_thumbnail"]
        return {kind: self.name.file(kind) for kind in kinds}

    def _strips(self, array: xr.DataArray) -> Iterator[tuple[slice, NDArray[Any]]]:
        for rows in self.outputs.strips(1):
            yield rows, np.asarray(values_of(array, rows))

    def _metadata(self, folder: Path, found: Survey, files: Mapping[str, str]) -> None:
        inputs = checksums(self.source, self.container, self.outputs.tags)
        block = sharpening_block(self.source, self.outputs, found, inputs, self.extras)
        what = Rewrite(
            self.name,
            self.plan.configuration,
            self.outputs.grid,
            self.encoding,
            self.when,
            self.plan.link,
            files,
        )
        _write_json(self._at(folder, "metadata"), rewritten(self.source, what, block))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    draft = path.with_name(f".{path.name}.part")
    draft.write_text(f"{text}\n", encoding="utf-8")
    draft.replace(path)

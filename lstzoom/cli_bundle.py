"""Bundles on the command line: `lstzoom sharpen BUNDLE`, and `lstzoom catalog ingest`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lstzoom.cli_help import AsJson, Debug, Quiet, Session, Verbose, epilog

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from odc.geo.geobox import GeoBox

    from lstzoom.grid import GridPair
    from lstzoom.inputs import SceneArrays
    from lstzoom.product.bundle import Bundle


@dataclass(frozen=True, slots=True)
class BundleInputs:
    """A bundle as input of `lstzoom sharpen`."""

    bundle: Bundle
    grids: GridPair
    bands: tuple[str, ...]

    @property
    def lst(self) -> str:
        """Temperature, for tags."""
        return self.bundle.lst.source.path

    def lst_sha256(self) -> str | None:
        """Hash of the file of the temperature, for tags; None if it is too large to be read whole."""
        from lstzoom.errors import InputError
        from lstzoom.product.containers import open_container, sha256_of

        try:
            return sha256_of(open_container(self.bundle.location), self.bundle.files["lst"])
        except InputError:
            return None

    @property
    def vnir(self) -> list[str]:
        """Reflectance, for tags."""
        return [band.source.path for band in self.bundle.choose(self.bands)]

    @property
    def paths(self) -> list[str]:
        """All files, none of which may be replaced."""
        return [entry.path for entry in self.bundle.files.values()] + [self.bundle.location]

    def open(self, chunk: int, mask: str | None, clear: list[int] | None) -> SceneArrays:
        """Open the scene for blocks of a size; a mask that is given joins the bundle's own."""
        from lstzoom import raster, stream
        from lstzoom.inputs import prepare

        side = stream.read_chunks(chunk)
        arrays = self.bundle.load(self.bands, ratio=self.grids.ratio, chunks=side)
        valid = arrays.valid
        if mask is not None:
            side *= self.grids.ratio
            given = raster.open_mask(mask, self.grids.fine, clear_values=clear, chunks=side)
            valid = given if valid is None else given & valid
        return prepare(arrays.vnir, arrays.lst, valid)

    def whole(self, fine: GeoBox | None) -> tuple[xr.DataArray, xr.DataArray]:
        """Read reflectance and LST, without what the bundle's own masks take out.

        Raises
        ------
        GridMismatchError
            If the grid of a truth is given, and is not the fine one of the bundle.
        """
        from lstzoom.errors import GridMismatchError
        from lstzoom.grid import coincide, describe_grid
        from lstzoom.kernels.aggregate import area_mean

        if fine is not None and not coincide(fine, self.grids.fine):
            raise GridMismatchError(
                f"the truth lies on {describe_grid(fine)}; it must lie on the fine grid of the bundle, "
                f"{describe_grid(self.grids.fine)}"
            )
        arrays = self.bundle.load(self.bands, ratio=self.grids.ratio)
        if arrays.valid is None:
            return arrays.vnir.compute(), arrays.lst.compute()
        usable = arrays.valid.compute()
        # A coarse pixel with a cloud in it is no truth.
        clear = area_mean(usable.values.astype("float32"), self.grids.ratio) == 1
        return arrays.vnir.where(usable).compute(), arrays.lst.where(clear).compute()


def open_inputs(
    location: str, bands: Sequence[str] | None, ratio: int | None, *, blue: bool, given: Sequence[str]
) -> BundleInputs:
    """Open a bundle in place of LST and VNIR.

    Parameters
    ----------
    location, bands, ratio, blue
        From the command line.
    given
        Options about plain files that were given; a bundle tells these things itself.
    """
    from lstzoom.product.bundle import open_bundle
    from lstzoom.product.containers import looks_like

    if not looks_like(location):
        raise typer.BadParameter(
            f"no VNIR was given, and {location!r} is no bundle (a folder, a zip, or the URL of one)",
            param_hint="VNIR",
        )
    if given:
        raise typer.BadParameter(
            f"{', '.join(given)} goes with plain files; a bundle tells its encoding itself, and its "
            "files can be "
            "given one by one"
        )
    bundle = open_bundle(location)
    chosen = bundle.choose(bands, blue=blue)
    return BundleInputs(bundle, bundle.grids(chosen, ratio), tuple(band.facts.common_name for band in chosen))


def register(app: typer.Typer, session: Session) -> None:
    """Add the commands about bundles to an app."""

    @app.command(
        epilog=epilog(
            "lstzoom catalog ingest scene.zip -o scene.json",
            "lstzoom catalog ingest s3://bucket/scene/ --strict",
        )
    )
    def ingest(
        bundle: Annotated[
            str, typer.Argument(metavar="BUNDLE", help="Folder, zip, or URL of a zip or of a prefix.")
        ],
        *,
        output: Annotated[
            Path | None, typer.Option("--output", "-o", help="JSON file to write; default stdout.")
        ] = None,
        strict: Annotated[
            bool, typer.Option("--strict", help="Refuse whatever departs from the documents.")
        ] = False,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
        debug: Debug = False,
    ) -> None:
        """Describe a bundle (LSTprecision, LSTzoom) as a STAC item."""
        with session(quiet=quiet, verbose=verbose, debug=debug):
            _ingest(bundle, output, strict=strict, overwrite=overwrite)


def _ingest(bundle: str, output: Path | None, *, strict: bool, overwrite: bool) -> None:
    from lstzoom.product import ingest, open_bundle
    from lstzoom.write import require_other_than_inputs, require_writable

    if output is not None:
        require_writable(output, overwrite=overwrite)
        require_other_than_inputs([output], [bundle])
    item = ingest(open_bundle(bundle, strict=strict))
    if output is not None:
        item.set_self_href(str(output.resolve()))
    text = json.dumps(_content(item, output), indent=2, allow_nan=False, ensure_ascii=False)
    if output is None:
        typer.echo(text)
        return
    draft = output.with_name(f".{output.name}.part")
    draft.write_text(f"{text}\n", encoding="utf-8")
    draft.replace(output)


def _content(item: Any, output: Path | None) -> dict[str, Any]:  # noqa: ANN401  (pystac is imported late)
    """Content of the file; links to files beside it are relative, so that the folder can be moved."""
    content: dict[str, Any] = item.to_dict(include_self_link=False)
    if output is not None:
        folder = output.resolve().parent
        for asset in content["assets"].values():
            if "://" not in asset["href"] and Path(asset["href"]).is_relative_to(folder):
                asset["href"] = f"./{Path(asset['href']).relative_to(folder).as_posix()}"
    return content


def register_product(app: typer.Typer, session: Session) -> None:
    """Add the command that writes the bundle of a sharpened scene to an app."""

    @app.command(
        epilog=epilog(
            "lstzoom product scene.zip lst.tif --qa qa.tif --uncertainty sigma.tif -o products/",
            "lstzoom product scene.zip sharp.zarr --accuracy accuracy.json -o products/",
        )
    )
    def product(
        bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Bundle that was sharpened.")],
        lst: Annotated[
            str,
            typer.Argument(metavar="LST", help="COG of `lstzoom sharpen -o`, or its Zarr store."),
        ],
        *,
        output: Annotated[
            Path,
            typer.Option("--output", "-o", help="Folder that the folder of the product goes to."),
        ],
        qa: Annotated[str | None, typer.Option(metavar="FILE", help="COG of the flags, of --qa.")] = None,
        uncertainty: Annotated[
            str | None, typer.Option(metavar="FILE", help="COG of the standard uncertainty, K.")
        ] = None,
        style: Annotated[
            Literal["long", "short"],
            typer.Option(help="Names: long with satellite and geohash, short in a folder of the order."),
        ] = "long",
        edition: Annotated[
            Literal["A", "B"], typer.Option(help="Metadata: A since 20 January 2026, B before.")
        ] = "A",
        encoding: Annotated[
            Literal["uint16", "float32"],
            typer.Option(help="uint16 holds steps of 0.01 K (nodata 65535), float32 kelvin as they are."),
        ] = "uint16",
        order: Annotated[
            str | None, typer.Option(help="Id of the order, for short names; default that of the bundle.")
        ] = None,
        link: Annotated[
            str | None, typer.Option(metavar="URL", help="Where the product is documented and accessed.")
        ] = None,
        model: Annotated[
            Path | None, typer.Option(help="Stored model; its name and checksum go into the metadata.")
        ] = None,
        accuracy: Annotated[
            Path | None, typer.Option(help="JSON of `lstzoom validate`; its figures go into the metadata.")
        ] = None,
        reflectance: Annotated[
            bool, typer.Option(help="Pass the reflectance of the bundle through, too.")
        ] = True,
        overwrite: Annotated[
            bool, typer.Option("--overwrite", help="Replace a product of the same name.")
        ] = False,
        as_json: AsJson = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
        debug: Debug = False,
    ) -> None:
        """Write the LSTzoom bundle of a sharpened scene: layers, pictures, metadata, STAC item."""
        with session(quiet=quiet, verbose=verbose, debug=debug):
            from lstzoom.product import ProductPlan, open_outputs, publish
            from lstzoom.product.provenance import read_extras

            plan = ProductPlan(style, edition, encoding, order, link, reflectance, overwrite)
            outputs = open_outputs(lst, qa, uncertainty)
            folder = publish(
                bundle,
                outputs,
                output,
                plan,
                extras=read_extras(model, accuracy, outputs.tags.get("lst_sha256")),
            )
            if as_json:
                typer.echo(json.dumps({"product": str(folder)}))
            elif not quiet:
                typer.echo(folder)

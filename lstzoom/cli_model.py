"""Models on the command line: `lstzoom fit`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lstzoom.cli_help import Debug, Overwrite, Quiet, Session, Verbose, epilog

if TYPE_CHECKING:
    from lstzoom.train import SceneModel

Open = Callable[..., Any]
"""Opens what was given as the inputs of a scene, as `lstzoom sharpen` does."""

Settings = Callable[..., Any]
"""Makes a `SharpenConfig`, with errors as messages."""


def register(app: typer.Typer, session: Session, inputs: Open, settings: Settings) -> None:
    """Add the commands about models to an app."""

    @app.command(
        epilog=epilog(
            "lstzoom fit lst_30m.tif vnir_10m.tif -o model.zip",
            "lstzoom sharpen other_lst.tif other_vnir.tif --model model.zip -o other_10m.tif",
        )
    )
    def fit(
        lst: Annotated[str, typer.Argument(metavar="LST|BUNDLE", help="Coarse LST, or a bundle with both.")],
        vnir: Annotated[
            list[str] | None,
            typer.Argument(metavar="VNIR", help="Fine reflectance: one file with bands, or several."),
        ] = None,
        *,
        output: Annotated[
            str, typer.Option("--output", "-o", metavar="MODEL", help="Model to write; a path or a URL.")
        ],
        mask: Annotated[str | None, typer.Option(metavar="FILE", help="Mask: 0 is usable.")] = None,
        bands: Annotated[
            str | None, typer.Option(metavar="LIST", help="Bands to use, by name or position from 1.")
        ] = None,
        ratio: Annotated[int | None, typer.Option(min=2, help="Fine pixels along a coarse pixel.")] = None,
        nodata: Annotated[float | None, typer.Option(help="Stored number of missing reflectance.")] = None,
        lst_units: Annotated[
            Literal["auto", "K", "C"],
            typer.Option(help="Units of LST; auto takes the file's tag, else kelvin."),
        ] = "auto",
        lst_nodata: Annotated[float | None, typer.Option(help="Stored number of missing LST.")] = None,
        method: Annotated[
            Literal["calibrated", "published"], typer.Option(help="As for sharpen.")
        ] = "calibrated",
        align: Annotated[bool, typer.Option("--align", help="Correct the shift between the two.")] = False,
        native_resolution: Annotated[
            float | None,
            typer.Option(metavar="METRES", help="What the thermal instrument resolves; as for sharpen."),
        ] = None,
        seed: Annotated[int, typer.Option(min=0, help="Seed: the same seed gives the same model.")] = 0,
        overwrite: Overwrite = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
        debug: Debug = False,
    ) -> None:
        """Train a model on one scene and keep it for `lstzoom sharpen --model`."""
        with session(quiet=quiet, verbose=verbose, debug=debug):
            from lstzoom.stream import choose_threads
            from lstzoom.train import fit_prepared
            from lstzoom.write import require_other_than_inputs

            names = None if bands is None else [one.strip() for one in bands.split(",")]
            options = {"units": lst_units, "nodata": lst_nodata, "scale": None, "offset": None}
            scene = inputs(lst, vnir, names, ratio, nodata, options, blue=False)
            require_other_than_inputs([output], [*scene.paths, *([mask] if mask else [])])
            config = settings(seed=seed, method=method, align=align, native_resolution=native_resolution)
            model = fit_prepared([scene.open(config.chunk, mask, None)], config, threads=choose_threads())
            digest = model.save(output, overwrite=overwrite)
            if as_json:
                typer.echo(json.dumps(_summary(model, output, digest)))
            elif not quiet:
                typer.echo(
                    f"{model.level_rows} and {model.detail_rows} rows of {', '.join(model.bands)}\n"
                    f"wrote {output} (sha256 {digest})"
                )


def _summary(model: SceneModel, output: str, digest: str) -> dict[str, Any]:
    return {
        "lstzoom": model.version,
        "model": output,
        "sha256": digest,
        "bands": list(model.bands),
        "ratio": model.ratio,
        "seed": model.seed,
        "rows": {"levels": model.level_rows, "details": model.detail_rows},
    }

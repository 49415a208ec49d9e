"""Sources and jobs on the command line: `lstzoom catalog` and `lstzoom job`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lstzoom.cli_help import AsJson, Debug, Overwrite, Quiet, Session, Verbose, bounds, epilog
from lstzoom.errors import ConfigError, InputError

if TYPE_CHECKING:
    from lstzoom.sources.catalog import Catalog, MaskLayer
    from lstzoom.sources.pair import Pair
    from lstzoom.sources.search import Candidate, Found

Name = Annotated[
    str, typer.Argument(metavar="CATALOG", help="Name (see `catalog list`) or path of a TOML file.")
]
Bbox = Annotated[str | None, typer.Option(metavar="W,S,E,N", help="Area of interest, degrees.")]
AreaFile = Annotated[
    Path | None, typer.Option("--area", help="File with the area of interest: GeoJSON or other.")
]
When = Annotated[
    str | None, typer.Option(metavar="TIME", help="Time or interval: 2023-06, 2023-06-01/2023-06-30.")
]
EndpointName = Annotated[
    str | None, typer.Option("--endpoint", help="STAC API of the catalogue; default its first.")
]
Items = Annotated[Path | None, typer.Option(help="File with STAC items, in place of a search.")]
Folder = Annotated[Path | None, typer.Option(help="Folder of the files, for catalogues of the kind local.")]
Bands = Annotated[str | None, typer.Option(help="Reflectance bands, with commas; default the catalogue's.")]
Window = Annotated[float | None, typer.Option("--window-days", min=0, help="Largest distance in time, days.")]
Cloud = Annotated[
    float | None, typer.Option("--max-cloud", min=0, max=100, help="Most cloud of an item, percent.")
]


def register(catalog: typer.Typer, job: typer.Typer, session: Session) -> None:
    """Add the commands to their apps."""
    _register_reading(catalog, session)
    _register_search(catalog, session)
    _register_job(job, session)


def _register_reading(app: typer.Typer, session: Session) -> None:
    @app.command("list", epilog=epilog("lstzoom catalog list", "lstzoom catalog list --json"))
    def list_(
        *, as_json: AsJson = False, quiet: Quiet = False, verbose: Verbose = False, debug: Debug = False
    ) -> None:
        """List the catalogues that come with lstzoom."""
        with session(quiet=quiet, verbose=verbose, debug=debug):
            from lstzoom.sources.catalog import catalog_names, open_catalog

            found = [open_catalog(name) for name in catalog_names()]
            if as_json:
                typer.echo(_json([one.source.model_dump() for one in found]))
                return
            width = max(len(one.name) for one in found)
            for one in found:
                typer.echo(f"{one.name:<{width}}  {one.source.title}")

    @app.command(epilog=epilog("lstzoom catalog show landsat-sentinel2"))
    def show(
        name: Name,
        *,
        as_json: AsJson = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
        debug: Debug = False,
    ) -> None:
        """Show what a catalogue says: services, LST, bands, masks, pairing."""
        with session(quiet=quiet, verbose=verbose, debug=debug):
            from lstzoom.sources.catalog import open_catalog

            found = open_catalog(name)
            typer.echo(found.model_dump_json(indent=2) if as_json else "\n".join(_shown(found)))

    @app.command(
        epilog=epilog(
            "lstzoom catalog check mine.toml", "lstzoom catalog check mine.toml --items items.json --json"
        )
    )
    def check(
        name: Name,
        *,
        items: Items = None,
        bands: Bands = None,
        as_json: AsJson = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
        debug: Debug = False,
    ) -> None:
        """Check a catalogue, and with --items what it makes of STAC items; nothing is fetched."""
        with session(quiet=quiet, verbose=verbose, debug=debug):
            from lstzoom.sources.catalog import open_catalog
            from lstzoom.sources.pair import make_pairs
            from lstzoom.sources.search import examine

            source = open_catalog(name)
            found = None if items is None else examine(source, items, bands=_list(bands))
            pairs = [] if found is None else list(make_pairs(found).pairs)
            if as_json:
                told = {} if found is None else _found_json(found, pairs)
                typer.echo(_json({"catalog": source.name, "valid": True, **told}))
            elif not quiet:
                typer.echo(f"{source.name}: valid")
                for line in () if found is None else _found_lines(found, pairs):
                    typer.echo(line)
            if found is not None and not found.lst and not found.vnir:
                raise InputError(f"none of the items in {str(items)!r} can be used with {source.name!r}")


def _register_search(app: typer.Typer, session: Session) -> None:
    @app.command(
        epilog=epilog(
            "lstzoom catalog search landsat-sentinel2 --bbox 11.0,48.0,11.2,48.1 --datetime 2023-06",
            "lstzoom catalog search landsat-sentinel2 --area city.geojson --datetime 2023-06 --json",
        )
    )
    def search(
        name: Name,
        *,
        bbox: Bbox = None,
        area: AreaFile = None,
        datetime: When = None,
        endpoint: EndpointName = None,
        items: Items = None,
        folder: Folder = None,
        bands: Bands = None,
        window_days: Window = None,
        max_cloud: Cloud = None,
        as_json: AsJson = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
        debug: Debug = False,
    ) -> None:
        """Search a source; list pairs, and what cannot be used with the reason."""
        with session(quiet=quiet, verbose=verbose, debug=debug):
            from lstzoom.sources.loading import find
            from lstzoom.sources.pair import make_pairs, pair_rule, require_pairs

            place = _area(bbox, area)
            if items is None and folder is None and not _is_local(name) and None in (place, datetime):
                raise typer.BadParameter("give an area (--bbox or --area) and --datetime, or --items")
            found = find(
                name, place, datetime, endpoint=endpoint, items=items, folder=folder,
                bands=_list(bands), max_cloud=max_cloud, window_days=window_days,
            )  # fmt: skip
            rule = pair_rule(found, window_days=window_days)
            pairing = make_pairs(found, rule)
            if as_json:
                typer.echo(_json(_found_json(found, list(pairing.pairs))))
            else:
                for line in _found_lines(found, list(pairing.pairs)):
                    typer.echo(line)
                for one in pairing.unpaired:
                    typer.echo(f"no pair: {one}")
            require_pairs(found, rule)


def _register_job(app: typer.Typer, session: Session) -> None:
    @app.command(
        epilog=epilog(
            "lstzoom job init job.yaml --catalog landsat-sentinel2 --bbox 11,48,11.2,48.1 --datetime 2023-06",
            "lstzoom job init job.yaml --catalog local --folder scenes --area city.geojson --datetime 2023",
        )
    )
    def init(
        output: Annotated[
            Path | None, typer.Argument(metavar="FILE", help="YAML to write; default stdout.")
        ] = None,
        *,
        catalog: Annotated[str, typer.Option(help="Name or path of the catalogue.")],
        bbox: Bbox = None,
        area: AreaFile = None,
        datetime: Annotated[str, typer.Option(metavar="TIME", help="Time or interval of the LST.")],
        endpoint: EndpointName = None,
        items: Items = None,
        folder: Folder = None,
        bands: Bands = None,
        window_days: Window = None,
        max_cloud: Cloud = None,
        overwrite: Overwrite = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
        debug: Debug = False,
    ) -> None:
        """Write a job with every setting, its default and what it means."""
        with session(quiet=quiet, verbose=verbose, debug=debug):
            from lstzoom.sources.job import parse_job, require_files, write_job
            from lstzoom.write import require_writable

            place = _area(bbox, area)
            if place is None:
                raise typer.BadParameter("give an area: --bbox or --area")
            # The job may lie elsewhere than here.
            where = {"bbox": place} if area is None else {"file": _in_full(area)}
            name = str(Path(catalog).resolve()) if catalog.endswith(".toml") else catalog
            choice = {
                "name": name, "endpoint": endpoint, "items": _in_full(items), "folder": _in_full(folder)
            }  # fmt: skip
            fields = {
                "catalog": choice, "area": where, "datetime": datetime, "grid": {"bands": _list(bands)},
                "pair": {"window_days": window_days, "max_cloud": max_cloud},
            }  # fmt: skip
            job_ = parse_job(fields)
            require_files(job_)
            text = write_job(job_)
            if output is None:
                typer.echo(text, nl=False)
                return
            require_writable(output, overwrite=overwrite)
            output.write_text(text, encoding="utf-8")
            if not quiet:
                typer.echo(f"wrote {output}", err=True)

    @app.command("check", epilog=epilog("lstzoom job check job.yaml"))
    def check_job(
        file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML of the job.")],
        *,
        as_json: AsJson = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
        debug: Debug = False,
    ) -> None:
        """Check a job, and that the files it names are there; nothing is searched."""
        with session(quiet=quiet, verbose=verbose, debug=debug):
            from lstzoom.sources.job import read_job, require_files

            require_files(read_job(file))
            if as_json:
                typer.echo(_json({"job": str(file), "valid": True}))
            elif not quiet:
                typer.echo(f"{file}: valid")


def _area(bbox: str | None, file: Path | None) -> list[float] | Path | None:
    if bbox is not None and file is not None:
        raise typer.BadParameter("give --bbox or --area, not both")
    return file if bbox is None else bounds(bbox)


def _in_full(path: Path | None) -> str | None:
    return None if path is None else str(path.resolve())


def _is_local(name: str) -> bool:
    from lstzoom.sources.catalog import open_catalog

    return open_catalog(name).source.kind != "stac"


def _list(text: str | None) -> list[str] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise ConfigError(f"{text!r} has an empty part; give names with commas between")
    return parts


def _json(content: object) -> str:
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)


def _shown(source: Catalog) -> list[str]:
    """Say what is in a catalogue, for people."""
    lines = [f"{source.name}: {source.source.title}", f"licence: {source.source.licence}"]
    for name, endpoint in source.endpoints.items():
        lines.append(f"endpoint {name}:")
        for side, service in (("lst", endpoint.lst), ("vnir", endpoint.vnir or endpoint.lst)):
            lines.append(f"  {side:<5} {', '.join(service.collections)} at {service.url}")
    rule, lst = source.pair, source.lst
    lines.append(
        f"pair: within {rule.window_days:g} days, coverage {rule.min_coverage:.0%} or more, "
        f"cloud {rule.max_cloud:g} % or less, {rule.prefer}"
    )
    native = "; ".join(f"{k} {v:g} m" for k, v in lst.native_resolution_by_platform.items())
    lines.append(
        f"lst: pixel {lst.resolution_m:g} m, instrument {lst.native_resolution_m:g} m"
        + (f" ({native})" if native else "")
        + (", averaged to it" if lst.aggregate else "")
    )
    off = [name for name in source.vnir.bands if name not in source.vnir.default_bands]
    lines.append(
        f"vnir: {', '.join(source.vnir.default_bands)}" + (f"; on request {', '.join(off)}" if off else "")
    )
    if source.uncertainty is not None:
        lines.append(f"uncertainty: {', '.join(source.uncertainty.assets)}")
    return lines + [_mask_line(mask) for mask in source.masks]


def _mask_line(mask: MaskLayer) -> str:
    rejected = [flag.name for flag in mask.rejected()]
    others = [flag.name for flag in mask.flags if flag.name not in rejected]
    kept = f"; kept: {', '.join(others)}" if others else ""
    if mask.unknown == "reject":
        rejected.append("whatever else" if rejected else "whatever is not kept")
    return f"mask {mask.name} (on {mask.on}): rejects {', '.join(rejected) or 'nothing'}{kept}"


def _found_lines(found: Found, pairs: list[Pair]) -> list[str]:
    lines = [f"usable: {len(found.lst)} of LST, {len(found.vnir)} of reflectance ({found.asked})"]
    lines += [f"pair: {pair}" for pair in pairs]
    return lines + [f"not usable: {one}" for one in found.unusable]


def _found_json(found: Found, pairs: list[Pair]) -> dict[str, Any]:
    def told(one: Candidate) -> dict[str, Any]:
        return {"id": one.item.id, "datetime": one.when.isoformat(), "cloud_cover": one.cloud}

    return {
        "catalog": found.catalog.name,
        "asked": found.asked,
        "lst": [told(one) for one in found.lst],
        "vnir": [told(one) for one in found.vnir],
        "pairs": [
            {
                "lst": pair.lst.item.id,
                "vnir": [one.item.id for one in pair.vnir],
                "days": pair.days,
                "coverage": pair.coverage,
                "cloud_cover": pair.cloud,
            }
            for pair in pairs
        ],
        "unusable": [{"id": one.item, "as": one.side, "reason": one.reason} for one in found.unusable],
    }

"""Files in a folder as STAC items in memory: what they are called tells which layer they hold."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pystac

from lstzoom import raster, stac
from lstzoom.errors import ConfigError, InputError
from lstzoom.sources.catalog import Catalog, Layer, LocalFiles


def local_items(catalog: Catalog, folder: str | Path | None = None) -> list[pystac.Item]:
    """Describe the files of a catalog of the kind ``local``.

    Parameters
    ----------
    catalog
        With a table ``[local]``.
    folder
        In place of the catalog's own.

    Returns
    -------
    list of pystac.Item
        One for each acquisition, with the files that the catalog has a layer for.

    Raises
    ------
    InputError
        If the folder does not exist or holds no file of any layer, or a time cannot be read.
    """
    files = catalog.local or LocalFiles()
    root = Path(folder if folder is not None else files.folder).expanduser().resolve()
    if not root.is_dir():
        raise InputError(f"there is no folder {str(root)!r}; give folder=, or local.folder in the catalogue")
    layers = list(_layers(catalog))
    groups: dict[str, list[Path]] = {}
    times: dict[str, datetime] = {}
    paths = sorted(path for path in root.glob(files.pattern) if path.is_file())
    for path in paths:
        if any(_matches(path, layer) for layer in layers):
            name, when = _acquisition(path, root, files)
            groups.setdefault(name, []).append(path)
            times.setdefault(name, when)
    if not groups:
        there = ", ".join(path.name for path in paths[:8]) or "nothing"
        raise InputError(
            f"no file in {str(root)!r} is named as the catalogue {catalog.name!r} expects (pattern "
            f"{files.pattern!r}; hrefs of its layers); there is {there}"
        )
    return [_item(name, members, times[name]) for name, members in groups.items()]


def _layers(catalog: Catalog) -> Iterator[Layer]:
    yield catalog.lst
    yield from catalog.vnir.bands.values()
    yield from catalog.masks
    if catalog.uncertainty is not None:
        yield catalog.uncertainty


def _matches(path: Path, layer: Layer) -> bool:
    return any(fnmatch.fnmatchcase(path.name.lower(), pattern.lower()) for pattern in layer.hrefs)


def _acquisition(path: Path, root: Path, files: LocalFiles) -> tuple[str, datetime]:
    """Name and time of the acquisition that a file belongs to."""
    fixed = _read_time(files.datetime, None) if files.datetime else None
    if files.group is None:
        return root.name, fixed or datetime(1970, 1, 1, tzinfo=UTC)
    try:
        found = re.search(files.group, path.name)
    except re.error as error:
        raise ConfigError(f"local.group {files.group!r} is no regular expression: {error}") from error
    if found is None or "id" not in found.groupdict():
        raise InputError(
            f"local.group {files.group!r} does not match the file {path.name!r} with a part (?P<id>...); "
            "correct it, or narrow local.pattern"
        )
    told = found.groupdict().get("datetime")
    when = _read_time(told, files.datetime_format) if told else fixed
    return found["id"], when or datetime(1970, 1, 1, tzinfo=UTC)


def _read_time(text: str, pattern: str | None) -> datetime:
    try:
        when = datetime.strptime(text, pattern) if pattern else datetime.fromisoformat(text)  # noqa: DTZ007
    except ValueError as error:
        how = f"local.datetime_format {pattern!r}" if pattern else "ISO 8601"
        raise ConfigError(f"the time {text!r} cannot be read as {how}: {error}") from error
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _item(name: str, paths: list[Path], when: datetime) -> pystac.Item:
    heads = {path.stem if _alone(path, paths) else path.name: raster.describe(path) for path in paths}
    return stac.item_of(name, when, heads)


def _alone(path: Path, paths: list[Path]) -> bool:
    return sum(other.stem == path.stem for other in paths) == 1

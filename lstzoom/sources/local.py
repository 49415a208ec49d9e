"""Files in a folder as STAC items in memory: what they are called tells which layer they hold."""

from __future__ import annotations

import fnmatch
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pystac

from lstzoom import stac
from lstzoom.errors import ConfigError, InputError, LstzoomError
from lstzoom.sources.catalog import Access, Catalog, Layer, LocalFiles
from lstzoom.sources.encoding import file_name
from lstzoom.sources.reading import bands
from lstzoom.sources.signing import is_remote

logger = logging.getLogger(__name__)

# What GDAL and lstzoom put beside a raster.
_BESIDE = (".aux.xml", ".ovr", ".msk", ".part", ".json", ".xml", ".txt", ".prj", ".tfw")


def local_items(
    catalog: Catalog, folder: str | Path | None = None, bad: dict[str, str] | None = None
) -> list[pystac.Item]:
    """Describe the files of a catalog of the kind ``local``.

    Parameters
    ----------
    catalog
        With a table ``[local]``.
    folder
        In place of the catalog's own folder, or of its list of files.
    bad
        Takes, by the name of its acquisition, why a file cannot be used; it then does not fail the others.

    Returns
    -------
    list of pystac.Item
        One for each acquisition, with the files that the catalog has a layer for.

    Raises
    ------
    InputError
        If no folder is given, it does not exist or holds no file of any layer, two files of an acquisition
        could be one layer, or a time cannot be read.
    """
    files = catalog.local or LocalFiles()
    root = local_folder(catalog, folder)
    places = _places(root, files, folder)
    layers = list(_layers(catalog))
    groups: dict[str, list[str]] = {}
    times: dict[str, datetime] = {}
    for place in places:
        if any(_matches(place, layer) for layer in layers):
            name, when = _acquisition(file_name(place), root.name, files)
            groups.setdefault(name, []).append(place)
            times.setdefault(name, when)
    if not groups:
        there = ", ".join(file_name(place) for place in places[:8]) or "nothing"
        raise InputError(
            f"no file in {str(root)!r} is named as the catalogue {catalog.name!r} expects (pattern "
            f"{files.pattern!r}; hrefs of its layers); there is {there}"
        )
    for name, members in groups.items():
        _require_one_each(name, members, layers)
    found = []
    for name, members in groups.items():
        try:
            found.append(_item(name, members, times[name], catalog.access))
        except LstzoomError as error:
            if bad is None:
                raise
            logger.warning("%s is not used: %s", name, error)
            bad[name] = str(error)
    if not found and bad:
        raise InputError(f"no files in {str(root)!r} can be used: {next(iter(bad.values()))}")
    return found


def local_folder(catalog: Catalog, folder: str | Path | None = None) -> Path:
    """Folder of the files of a catalog of the kind ``local``: the one given, else the catalog's own.

    Raises
    ------
    InputError
        If neither is told, or it does not exist.
    """
    given = folder if folder is not None or catalog.local is None else catalog.local.folder
    if given is None:
        raise InputError(
            f"the catalogue {catalog.name!r} does not say where your files are: give their folder (folder=, "
            "--folder, or catalog.folder in a job), or say it in a catalogue of your own (local.folder, "
            "local.files)"
        )
    root = Path(given).expanduser().resolve()
    if not root.is_dir():
        raise InputError(f"there is no folder {str(root)!r}; give folder=, or local.folder in the catalogue")
    return root


def _places(root: Path, files: LocalFiles, folder: str | Path | None) -> list[str]:
    """Paths or addresses of all files that are looked at."""
    if files.files and folder is None:
        listed = [one if is_remote(one) else str(root / Path(one).expanduser()) for one in files.files]
        absent = [one for one in listed if not is_remote(one) and not Path(one).is_file()]
        if absent:
            raise InputError(f"there is no file {absent[0]!r}, which local.files in the catalogue names")
        return listed
    paths = sorted(path for path in root.glob(files.pattern) if path.is_file())
    return [str(path) for path in paths if not _is_beside(path.name)]


def _is_beside(name: str) -> bool:
    """Tell whether a file belongs to another one, or is being written."""
    return name.startswith(".") or name.lower().endswith(_BESIDE)


def _require_one_each(name: str, places: list[str], layers: list[Layer]) -> None:
    """Refuse to choose between two files for one layer."""
    for layer in layers:
        for pattern in layer.hrefs:
            fitting = [place for place in places if _fits(place, pattern)]
            if len(fitting) > 1:
                raise InputError(
                    f"{len(fitting)} files of the acquisition {name!r} fit {pattern!r}: {fitting[0]!r} and "
                    f"{fitting[1]!r}; tell acquisitions apart with local.group, or narrow local.pattern or "
                    "hrefs"
                )
            if fitting:
                break


def _layers(catalog: Catalog) -> Iterator[Layer]:
    yield catalog.lst
    yield from catalog.vnir.bands.values()
    yield from catalog.masks
    if catalog.uncertainty is not None:
        yield catalog.uncertainty


def _matches(place: str, layer: Layer) -> bool:
    return any(_fits(place, pattern) for pattern in layer.hrefs)


def _fits(place: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(file_name(place).lower(), pattern.lower())


def tells_time(source: Catalog) -> bool:
    """Tell whether the description of files says when they were acquired."""
    files = source.local
    return files is None or files.datetime is not None or "(?P<datetime>" in (files.group or "")


def _acquisition(name: str, folder: str, files: LocalFiles) -> tuple[str, datetime]:
    """Name and time of the acquisition that a file belongs to."""
    fixed = _read_time(files.datetime, None) if files.datetime else None
    if files.group is None:
        return folder, fixed or datetime(1970, 1, 1, tzinfo=UTC)
    try:
        found = re.search(files.group, name)
    except re.error as error:
        raise ConfigError(f"local.group {files.group!r} is no regular expression: {error}") from error
    if found is None or "id" not in found.groupdict():
        raise InputError(
            f"local.group {files.group!r} does not match the file {name!r} with a part (?P<id>...); "
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


def _item(name: str, places: list[str], when: datetime, access: Access) -> pystac.Item:
    stems = [Path(file_name(place)).stem for place in places]
    heads = {
        file_name(place) if stems.count(stem) > 1 else stem: bands(place, access)
        for place, stem in zip(places, stems, strict=True)
    }
    return stac.item_of(name, when, heads)

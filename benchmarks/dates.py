"""Files of simulated dates in one folder, and the catalogue that finds them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

_SOURCE: Final = """\
[source]
name = "{name}"
title = "{title}"
kind = "local"
licence = "CC0-1.0"

[local]
folder = "files"
pattern = "*.tif"
group = '(?P<id>scene_(?P<datetime>\\d{{8}}T\\d{{6}}))_.*'

[lst]
hrefs = ["*_lst.tif"]
resolution_m = 30.0
native_resolution_m = 30.0

[vnir]
resolution_m = 10.0
"""
_BAND: Final = '\n[vnir.bands.{band}]\nhrefs = ["*_{band}.tif"]\n'
_FIRST: Final = dt.date(2023, 1, 1)


def catalogue(name: str, title: str, bands: Sequence[str]) -> str:
    """Write the catalogue of a folder ``files`` beside it.

    Examples
    --------
    ['red', 'nir']
    """
    return _SOURCE.format(name=name, title=title) + "".join(_BAND.format(band=band) for band in bands)


def file_name(day: dt.date, layer: str) -> str:
    """Name a file as the catalogue finds it."""
    return f"scene_{day:%Y%m%d}T100000_{layer}.tif"


def days(count: int, first: dt.date = _FIRST) -> list[dt.date]:
    """Days one after the other."""
    return [first + dt.timedelta(days=number) for number in range(count)]


def link_dates(made: Mapping[str, Path], folder: Path, when: Iterable[dt.date], bands: Sequence[str]) -> None:
    """Give the files of one simulated scene a name for every day: many tiles of one simulation.

    Parameters
    ----------
    made
        Files by layer, ``lst`` and bands, as `lstzoom.simulate.write_simulation` returns them.
    folder
        Where to, on the same disk; made if absent.
    when
        Days.
    bands
        That the catalogue names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for day in when:
        for layer in ("lst", *bands):
            (folder / file_name(day, layer)).hardlink_to(made[layer])

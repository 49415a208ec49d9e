"""What an item may have read: its addresses come from others, and the files are opened here.

An item can name any address: files of this machine, GDAL's own file systems, or a text that GDAL takes for a
dataset. Where a catalogue, a job or a caller says what may be read, everything else is refused, and what is
allowed is compared with where an address really leads: symbolic links and ``..`` are followed first.
"""

from __future__ import annotations

import ipaddress
import os
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from lstzoom.errors import InputError

NETWORK: Final = ("https://", "http://", "s3://", "gs://", "az://", "abfs://")
"""What items of a service on another machine may have read, unless its catalogue says otherwise."""
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_AMBIGUOUS: Final = re.compile(r"[\\\s\x00-\x1f\x7f]")
_ARCHIVED: Final = re.compile(r"(?i)zip(?:\+([a-z0-9]+))?://(.*?)(?:!.*)?$", re.DOTALL)


def require_allowed(href: str, allow: Sequence[str] | None) -> None:
    """Refuse an address that may not be read.

    Parameters
    ----------
    href
        Address or path of a file.
    allow
        Beginnings of addresses, and folders; None allows everything.

    Raises
    ------
    InputError
        If it is none of these.

    Examples
    --------
    >>> require_allowed("s3://usgs-landsat/a.tif", ["s3://usgs-landsat/"])
    >>> require_allowed("/vsicurl/http://10.0.0.1/", ["https://"])
    Traceback (most recent call last):
    ...
    lstzoom.errors.InputError: '/vsicurl/http://10.0.0.1/' may not be read; allowed is what begins with https://...
    """
    if allow is None or is_allowed(href, allow):
        return
    shown = href.partition("?")[0]
    raise InputError(
        f"{shown[:200]!r} may not be read; allowed is what begins with {', '.join(allow) or 'nothing'} "
        "(allow in the catalogue, the job, or lstzoom.load)"
    )


def is_allowed(href: str, allow: Sequence[str]) -> bool:
    """Tell whether an address begins with, or a path lies in, one of those that are allowed."""
    place = _place(href)
    if place is None:
        return False
    if isinstance(place, Path):
        roots = [root for one in allow if isinstance(root := _place(one), Path)]
        return any(place.is_relative_to(root) for root in roots)
    return any(
        _SCHEME.match(one) is not None and place.startswith(_canonical(one))
        for one in allow
        if not one.lower().startswith("file://")
    )


def _place(href: str) -> str | Path | None:
    """Where an address leads: an address in one spelling, a path without links, or None for neither."""
    archived = _ARCHIVED.fullmatch(href)
    if archived:
        scheme, rest = archived.groups()
        return _place(f"{scheme}://{rest}" if scheme else rest)
    if href.lower().startswith("file:"):
        parts = urlsplit(href)
        return _real(unquote(parts.path)) if parts.netloc in {"", "localhost"} else None
    if _SCHEME.match(href):
        # Readers of addresses do not agree on where a host ends that holds one of these.
        if _AMBIGUOUS.search(href):
            return None
        return _canonical(href) if href.lower().startswith(NETWORK) else None
    # GDAL's file systems, and its texts for datasets such as <VRTDataset> or NETCDF:"...".
    if href.startswith(("/vsi", "<")) or re.match(r"\w{2,}:", href) or "\0" in href:
        return None
    return _real(href)


def _real(path: str) -> Path:
    return Path(os.path.realpath(Path(path).expanduser()))


def _canonical(address: str) -> str:
    """One spelling of an address: scheme and host in lower case, no user, no ``..``, no query."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2].lower()
    path = unquote(parts.path)
    flat = posixpath.normpath(path) if path else ""
    # normpath drops what tells a folder from the beginning of a name.
    flat += "/" if path.endswith("/") and not flat.endswith("/") else ""
    flat = f"/{flat.lstrip('/')}" if flat or host else ""
    return f"{parts.scheme.lower()}://{host}{flat}"


def driver_of(href: str, allow: Sequence[str] | None) -> str:
    """Name GDAL's driver for a file of an item; empty for any, of files of one's own.

    Other formats than these name further files, as a VRT does.
    """
    if allow is None and (not _SCHEME.match(href) or href.lower().startswith("file:")):
        return ""
    return "JP2OpenJPEG" if href.partition("?")[0].lower().endswith((".jp2", ".j2k")) else "GTiff"


def is_here(address: str) -> bool:
    """Tell whether a service runs on this machine, and so may name files of this machine."""
    host = urlsplit(address).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

"""Why a file could not be read: GDAL says of most things that they are no supported file format."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import requests

from lstzoom.errors import InputError
from lstzoom.sources.catalog import Access
from lstzoom.sources.fetch import fetched

_TIMEOUT: Final = 10.0
_MAGIC: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\0\0\0\x0cjP  ", b"\xffO\xffQ")
_HINTS: Final = {
    401: "credentials are needed, see docs/sources.md",
    403: "access is refused: credentials are missing, or a signature has ended",
    404: "there is no such file",
    410: "there is no such file any more",
}


def diagnosis(signed: str, access: Access) -> str:
    """Look at a file that could not be read.

    Parameters
    ----------
    signed
        Address, with its token.
    access
        How it is reached.

    Returns
    -------
    str
        What can be told, to go at the end of a message; empty where nothing can. No part of the address.
    """
    scheme = urlsplit(signed).scheme.lower()
    try:
        if scheme in {"http", "https"}:
            return _remote(signed, access)
        if scheme in {"", "file"} and not signed.startswith("/vsi"):
            return _local(Path(unquote(urlsplit(signed).path) if scheme else signed))
    except InputError:
        # It leads where may not be read: the error at hand says so, or it is told when it is read again.
        return ""
    except (requests.RequestException, OSError, ValueError) as error:
        return f" ({type(error).__name__})"
    return ""


def _remote(signed: str, access: Access) -> str:
    headers = {"Range": "bytes=0-511", "Accept-Encoding": "identity"}
    with fetched(signed, access, headers=headers, timeout=_TIMEOUT) as answer:
        if not answer.ok:
            hint = _HINTS.get(answer.status_code, "the server cannot answer now")
            return f" (HTTP status {answer.status_code}: {hint})"
        if answer.status_code == 200 and int(answer.headers.get("Content-Length") or 0) > 512:
            return " (the server does not give parts of files: ranges are needed)"
        return _content(bytes(answer.raw.read(512)))


def _local(path: Path) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        return _content(file.read(512))


def _content(start: bytes) -> str:
    """Say what a file is that begins so, if it is no TIFF."""
    if not start:
        return " (the file is empty)"
    if start.startswith(_MAGIC):
        return " (the file begins as it should: it may be cut short)"
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return " (the file is a web page, perhaps of a login, and no TIFF)"
    if text.startswith((b"<?xml", b"<error", b"{")):
        return " (the file is a message of a server, or metadata, and no TIFF)"
    return f" (the file begins with {start[:8]!r}, and is no TIFF)"

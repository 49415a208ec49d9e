"""Requests of our own, held to what may be read at every step: a server may lead on to anywhere.

GDAL follows redirections by itself and cannot be told not to. So where a job says what may be read, a file is
asked where it leads before GDAL opens it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter

from lstzoom.errors import InputError
from lstzoom.sources.allowed import is_allowed
from lstzoom.sources.catalog import Access
from lstzoom.sources.redaction import plain
from lstzoom.sources.repeating import repeating

_MOST_STEPS: Final = 10
_ANY: Final = ("http://any.example/", "https://any.example/")
_PATIENCE: Final = (("CONNECTTIMEOUT", "30"), ("LOW_SPEED_TIME", "60"))
_KNOWN_FOR: Final = 60.0
"""Seconds that an answer is believed: the tiles of a scene ask once."""
_followed: dict[tuple[str, tuple[str, ...]], float] = {}
_lock = threading.Lock()


@contextmanager
def fetched(
    address: str,
    access: Access,
    *,
    headers: Mapping[str, str] | None = None,
    retries: int = 0,
    timeout: float | tuple[float, float] = 60.0,
) -> Iterator[requests.Response]:
    """Ask for a file, following redirections one by one; the body is not read yet.

    Parameters
    ----------
    address
        Address, with its token.
    access
        Its ``allow`` holds for every step; its token goes to the host of the address alone.
    headers
        Of the request.
    retries
        How often a server that is busy or not there is asked again.
    timeout
        Seconds.

    Raises
    ------
    InputError
        If a redirection leads where may not be read, or there is no end of them.
    requests.RequestException
        If no answer can be had.
    """
    again = repeating(retries, float(os.environ.get("GDAL_HTTP_RETRY_DELAY", "0.5")))
    token = os.environ.get(access.token_env or "", "")
    at = address
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=again))
        for _ in range(_MOST_STEPS):
            sent = dict(headers or {})
            if token and urlsplit(at)[:2] == urlsplit(address)[:2]:
                sent["Authorization"] = f"Bearer {token}"
            with session.get(at, headers=sent, timeout=timeout, stream=True, allow_redirects=False) as answer:
                # Any of them: libcurl follows what requests would not.
                if not (300 <= answer.status_code < 400 and "Location" in answer.headers):
                    yield answer
                    return
                at = _onward(answer, address, access.allow)
    raise InputError(f"{plain(address)!r} is led on more than {_MOST_STEPS} times; correct its address")


def _onward(answer: requests.Response, address: str, allow: Sequence[str] | None) -> str:
    at = urljoin(answer.url, answer.headers["Location"])
    web = urlsplit(at).scheme.lower() in {"http", "https"}
    if not web or (allow is not None and not is_allowed(at, allow)):
        raise InputError(
            f"{plain(address)!r} leads on to {plain(at)[:200]!r}, which may not be read; allowed is what "
            f"begins with {', '.join(allow or ('http://', 'https://'))} (allow in the catalogue, the job, or "
            "lstzoom.load)"
        )
    return at


def require_allowed_onward(signed: str, access: Access) -> None:
    """Refuse a file whose server leads on to what may not be read.

    Parameters
    ----------
    signed
        Address, with its token; of a file in a zip, too.
    access
        How it is reached. Nothing is asked where it allows everything, or any address of the web.

    Raises
    ------
    InputError
        If it leads elsewhere, or it cannot be told where it leads.
    """
    address = signed.partition("+")[2].partition("!")[0] if signed.startswith("zip+") else signed
    if access.allow is None or urlsplit(address).scheme.lower() not in {"http", "https"}:
        return
    if all(is_allowed(one, access.allow) for one in _ANY):
        return
    # With its query, which may be what says where to lead.
    key = address, tuple(access.allow)
    now = time.monotonic()
    with _lock:
        for old in [one for one, ends in _followed.items() if ends <= now]:
            del _followed[old]
        if key in _followed:
            return
    span = {"Range": "bytes=0-0", "Accept-Encoding": "identity"}
    quiet = tuple(float(os.environ.get(f"GDAL_HTTP_{name}", default)) for name, default in _PATIENCE)
    try:
        with fetched(
            address, access, headers=span, retries=access.retries, timeout=(quiet[0], quiet[1])
        ) as answer:
            told = "" if answer.ok else f"HTTP status {answer.status_code}"
    except requests.RequestException as error:
        told = type(error).__name__
    if told:
        raise InputError(f"cannot tell where {plain(address)!r} leads: {told}")
    with _lock:
        _followed[key] = time.monotonic() + _KNOWN_FOR


def forget_redirections() -> None:
    """Have files asked anew where they lead."""
    with _lock:
        _followed.clear()

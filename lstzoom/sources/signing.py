"""How a file is reached: its address for GDAL, tokens, and logs without them.

Nothing here is called while a graph is built: an address is signed by the task that reads it, so a token
cannot grow old in a queue. Credentials come from the environment or the usual files (``~/.aws``,
``~/.netrc``) and are taken out of every message.
"""

from __future__ import annotations

import fnmatch
import logging
import os
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import requests
from rasterio.session import DummySession

from lstzoom.errors import InputError
from lstzoom.sources.catalog import Access
from lstzoom.sources.redaction import Redaction, plain

logger = logging.getLogger(__name__)

# A token that ends sooner than this is fetched anew: a read may take some minutes.
_MARGIN: Final = 300.0
_TIMEOUT: Final = 60.0
_SCHEMES: Final = {
    "s3": "/vsis3/",
    "gs": "/vsigs/",
    "az": "/vsiaz/",
    "abfs": "/vsiaz/",
    "http": "/vsicurl/",
    "https": "/vsicurl/",
}
_tokens: dict[tuple[str, str, str], tuple[str, float]] = {}
_fetching: dict[tuple[str, str, str], threading.Lock] = {}
_lock = threading.Lock()
_failed: set[str] = set()


def gdal_options(access: Access, href: str) -> dict[str, Any]:
    """Configure GDAL for the files of a source.

    Failed requests are repeated with growing pauses. GDAL remembers what it has read of a remote file, and
    that it could not read it; the latter is forgotten, so that a task can be repeated.
    """
    if not is_remote(href):
        return {}
    options: dict[str, Any] = {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_HTTP_MAX_RETRY": str(access.retries),
        "GDAL_HTTP_RETRY_DELAY": os.environ.get("GDAL_HTTP_RETRY_DELAY", "0.5"),
        # Besides connections that break. What is forbidden or not there is told at once.
        "GDAL_HTTP_RETRY_CODES": "429,500,502,503,504",
        "GDAL_HTTP_CONNECTTIMEOUT": os.environ.get("GDAL_HTTP_CONNECTTIMEOUT", "30"),
        "GDAL_HTTP_LOW_SPEED_TIME": os.environ.get("GDAL_HTTP_LOW_SPEED_TIME", "60"),
        "GDAL_HTTP_LOW_SPEED_LIMIT": os.environ.get("GDAL_HTTP_LOW_SPEED_LIMIT", "100"),
    }
    if plain(href) in _failed:
        options["CPL_VSIL_CURL_NON_CACHED"] = gdal_path(href).partition("?")[0]
    if access.region:
        options["AWS_REGION"] = access.region
    if access.s3_endpoint:
        service = urlsplit(access.s3_endpoint)
        options |= {
            "AWS_S3_ENDPOINT": service.netloc + service.path.rstrip("/"),
            "AWS_HTTPS": "YES" if service.scheme == "https" else "NO",
            # Buckets as hosts need names and certificates that few services besides Amazon's have.
            "AWS_VIRTUAL_HOSTING": "FALSE",
        }
    if access.profile:
        options["AWS_PROFILE"] = access.profile
        # GDAL has a name of its own for what other programs of Amazon call so.
        if file := os.environ.get("AWS_SHARED_CREDENTIALS_FILE"):
            options["CPL_AWS_CREDENTIALS_FILE"] = file
    if access.anonymous:
        options["AWS_NO_SIGN_REQUEST"] = "YES"
    if access.requester_pays:
        options["AWS_REQUEST_PAYER"] = "requester"
    token = os.environ.get(access.token_env or "", "")
    if token and access.token_env:
        options |= {"GDAL_HTTP_AUTH": "BEARER", "GDAL_HTTP_BEARER": token}
    return options


class _OfProfile(DummySession):
    """Keys in the environment, which GDAL takes first, are those of another service."""

    def get_credential_options(self) -> dict[str, str]:
        """Hide them from GDAL."""
        return dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), "")


def session_of(access: Access) -> DummySession:
    """Leave it to GDAL to find credentials: rasterio would make a session of boto3 for every read."""
    return _OfProfile() if access.profile else DummySession()


def remember_failure(href: str) -> None:
    """Have what GDAL remembers of a file forgotten from now on."""
    _failed.add(plain(href))


def is_remote(href: str) -> bool:
    """Tell whether an address needs a network."""
    return urlsplit(href).scheme in _SCHEMES or href.startswith("/vsi")


def gdal_path(href: str) -> str:
    """Spell an address as GDAL does."""
    parts = urlsplit(href)
    prefix = _SCHEMES.get(parts.scheme)
    if prefix is None:
        return href.removeprefix("file://")
    if prefix == "/vsicurl/":
        return prefix + href
    return f"{prefix}{parts.netloc}{parts.path}"


def sign(href: str, access: Access) -> str:
    """Add a token to an address that needs one.

    Parameters
    ----------
    href
        Address of a file.
    access
        Where tokens come from and for which hosts.

    Returns
    -------
    str
        The address with the token; the same address if its host needs none or it bears one.

    Raises
    ------
    InputError
        If the service gives no token.
    """
    if not signs(access, href):
        return href
    parts = urlsplit(href)
    host = parts.hostname or ""
    if "sig=" in parts.query:
        if not _has_ended(parts.query):
            return href
        # Signed when it was searched, long ago: the file is the same.
        href = href.partition("?")[0]
        parts = urlsplit(href)
    account, container = host.partition(".")[0], parts.path.lstrip("/").partition("/")[0]
    token = _token(access.sas_url or "", account, container)
    return f"{href}{'&' if parts.query else '?'}{token}"


def signs(access: Access, href: str) -> bool:
    """Tell whether the files of an address are signed."""
    if access.signing == "none":
        return False
    parts = urlsplit(href)
    host = parts.hostname or ""
    return parts.scheme in {"http", "https"} and any(
        fnmatch.fnmatchcase(host, pattern) for pattern in access.sas_hosts
    )


def _has_ended(query: str) -> bool:
    """Tell whether a signature says that it has ended."""
    told = parse_qs(query).get("se", [""])[0]
    try:
        return _seconds(told) < time.time()
    except ValueError:
        return False


def _token(service: str, account: str, container: str) -> str:
    """Token for a container, kept until it ends; one for all threads.

    Who waits for a service waits for one container: others are read meanwhile.
    """
    key = (service, account, container)
    if token := _kept(key):
        return token
    with _lock:
        mine = _fetching.setdefault(key, threading.Lock())
    with mine:
        if token := _kept(key):
            return token
        address = f"{service.rstrip('/')}/token/{account}/{container}"
        answer = _fetch(address)
        try:
            token, ends = str(answer["token"]), _seconds(str(answer["msft:expiry"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the token service {address!r} gave no token and expiry") from error
        with _lock:
            _tokens[key] = (token, ends)
        return token


def _kept(key: tuple[str, str, str]) -> str:
    """Token that is there and lasts; empty if there is none."""
    with _lock:
        token, ends = _tokens.get(key, ("", 0.0))
    return token if time.time() + _MARGIN < ends else ""


def forget_tokens() -> None:
    """Have tokens fetched anew from now on."""
    with _lock:
        _tokens.clear()


def _fetch(address: str) -> Mapping[str, Any]:
    key = os.environ.get("PC_SDK_SUBSCRIPTION_KEY")
    headers = {"Ocp-Apim-Subscription-Key": key} if key else {}
    problem = ""
    for pause in (0.5, 2.0, 8.0, 0.0):
        try:
            answer = requests.get(address, headers=headers, timeout=_TIMEOUT)
            if answer.ok:
                found: Mapping[str, Any] = answer.json()
                return found
        except requests.JSONDecodeError:
            problem = "it answers what is no JSON"
            break
        except requests.RequestException as error:
            problem = type(error).__name__
        else:
            problem = f"HTTP status {answer.status_code}"
            if answer.status_code < 500 and answer.status_code != 429:
                break
        time.sleep(pause)
    raise InputError(
        f"the token service {address!r} cannot be used: {problem}; check the address in the catalogue "
        "(access.sas_url) and the network"
    )


def _seconds(expiry: str) -> float:
    when = datetime.fromisoformat(expiry)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


_REDACTION: Final = Redaction()
_TALKATIVE: Final = (
    "rasterio", "pystac_client", "urllib3", "requests", "fsspec", "s3fs", "botocore", "aiobotocore",
)  # fmt: skip


def keep_logs_clean() -> None:
    """Put the filter on the loggers of packages that see signed addresses; again and again does no harm."""
    for name, logger_ in list(logging.root.manager.loggerDict.items()):
        # A filter holds for the records of its own logger only, not for those below.
        if name.partition(".")[0] in _TALKATIVE and isinstance(logger_, logging.Logger):
            logger_.addFilter(_REDACTION)

"""A STAC API as it answers: connected with credentials, page by page, and held to what it promised."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import pystac
import pystac_client
import requests
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from shapely.geometry.base import BaseGeometry

from lstzoom.errors import InputError, LstzoomError
from lstzoom.globe import parts_within_180, to_geojson
from lstzoom.sources.catalog import Service
from lstzoom.sources.redaction import redact
from lstzoom.sources.repeating import repeating
from lstzoom.sources.signing import keep_logs_clean
from lstzoom.sources.times import Interval, to_stac

_PAGE: Final = 100
_TIMEOUT: Final = 60.0
_LONGEST: Final = 400
# What pystac and the client raise on answers that are no STAC; a service may answer anything.
_NO_STAC: Final = (
    pystac.STACError, pystac.STACTypeError, ValueError, KeyError, TypeError, AttributeError, IndexError,
)  # fmt: skip


def found_in(service: Service, area: BaseGeometry, interval: Interval, most: int) -> list[dict[str, Any]]:
    """Items of a service in an area and an interval, as they came: all pages, each item once.

    Parameters
    ----------
    service
        STAC API and collections.
    area, interval
        Where and when.
    most
        More items than this are an error.

    Raises
    ------
    InputError
        If the service cannot be reached, answers what is no STAC, or its pages do not come to an end or
        hold fewer items than it says.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    with _asking(service):
        client = _client(service)
        for part in parts_within_180(area):
            for item in _items(client, service, part, interval, most):
                found[str(item.get("collection")), str(item.get("id"))] = item
                if len(found) > most:
                    raise InputError(_too_many(service, interval, most))
    return list(found.values())


def _items(
    client: pystac_client.Client, service: Service, part: BaseGeometry, interval: Interval, most: int
) -> Iterator[dict[str, Any]]:
    """Items of all pages of one search, checked against what the service says of their number."""
    search = client.search(
        collections=list(service.collections), intersects=to_geojson(part), datetime=to_stac(interval),
        limit=_PAGE, max_items=None, method=_method(client),
    )  # fmt: skip
    count, fullest, told, last = 0, 0, None, 0
    seen: set[str] = set()
    for page in search.pages_as_dicts():
        features = page["features"]
        names = [f"{one.get('collection')}/{one.get('id')}" for one in features]
        # Some items may come twice where an archive grows; a page without any new one is a circle.
        if seen.issuperset(names):
            raise InputError(
                f"the STAC API {service.url} repeats a page of its results (from {names[0]!r}), so its pages "
                "never end; narrow area or time to one page, or tell its operator"
            )
        seen.update(names)
        told = _matched(page) if told is None else told
        count, last, fullest = count + len(features), len(features), max(fullest, len(features))
        yield from features
    if told is not None and count < told <= most and last == fullest:
        raise InputError(
            f"the STAC API {service.url} says that {told} items match, and its pages end after {count}; "
            "repeat the search, or narrow area or time"
        )


def _method(client: pystac_client.Client) -> str:
    """POST, which takes areas of any length, unless the service has links for searches, and GET alone."""
    ways = {str(link.extra_fields.get("method", "GET")).upper() for link in client.get_links("search")}
    return "GET" if ways == {"GET"} else "POST"


def _matched(page: dict[str, Any]) -> int | None:
    """Return how many items the service says there are; None where it does not say."""
    context = page.get("context")
    told = page.get("numberMatched", context.get("matched") if isinstance(context, dict) else None)
    return told if isinstance(told, int) and not isinstance(told, bool) else None


def _too_many(service: Service, interval: Interval, most: int) -> str:
    return (
        f"more than {most} items in {', '.join(service.collections)} at {service.url} for "
        f"{to_stac(interval)}; narrow area or time, or raise max_items"
    )


def collections_there(service: Service) -> list[str]:
    """Names of the collections that a service lists; empty where it does not."""
    try:
        return [one.id for one in _client(service).get_collections()]
    except (APIError, requests.RequestException, NotImplementedError, *_NO_STAC):
        return []


@contextmanager
def _asking(service: Service) -> Iterator[None]:
    """Turn what goes wrong at a service into our own error."""
    try:
        yield
    except LstzoomError:
        raise
    except (APIError, requests.RequestException) as error:
        raise InputError(
            f"the STAC API {service.url} cannot be searched: {_short(error)}; check the address in the "
            "catalogue, the network, and the access"
        ) from error
    except _NO_STAC as error:
        raise InputError(
            f"the STAC API {service.url} answers what is no STAC: {_short(error)}; check the address in the "
            "catalogue"
        ) from error


def _short(error: Exception) -> str:
    """Say what is wrong without secrets, and without the page that a proxy may have sent."""
    text = " ".join(redact(str(error)).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _client(service: Service) -> pystac_client.Client:
    """Open a service, with the headers that its catalogue takes from the environment.

    Headers go to the host of the service alone: links to further pages, and redirections, may lead elsewhere.
    """
    keep_logs_clean()
    headers = {name: os.environ[key] for name, key in service.headers_env.items() if os.environ.get(key)}
    host = urlsplit(service.url).netloc

    def with_headers(request: requests.Request) -> requests.Request:
        if urlsplit(str(request.url)).netloc == host:
            request.headers = {**(request.headers or {}), **headers}
        return request

    io = StacApiIO(max_retries=repeating(service.access.retries))
    io.session.rebuild_auth = _without(headers, host, io.session)  # type: ignore[method-assign]
    # Opening sets time-out and modifier of the connection, and takes those away that it is not given.
    return pystac_client.Client.open(service.url, stac_io=io, timeout=_TIMEOUT, request_modifier=with_headers)


def _without(headers: dict[str, str], host: str, session: requests.Session) -> Any:  # noqa: ANN401
    """Make requests' hook on redirections drop our headers where they lead to another host."""
    before = session.rebuild_auth

    def rebuild(request: requests.PreparedRequest, response: requests.Response) -> None:
        if urlsplit(str(request.url)).netloc != host:
            for name in headers:
                request.headers.pop(name, None)
        before(request, response)

    return rebuild

"""Real servers on loopback: a STAC API, files by HTTP with ranges and failures on demand, tokens."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your rate.</Message></Error>"
)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def stac_api(items: Sequence[dict[str, Any]], folder: Path) -> Iterator[str]:
    """`rustac serve` with these items; yields its landing page."""
    file, port = folder / "served.json", free_port()
    file.write_text(json.dumps({"type": "FeatureCollection", "features": list(items)}))
    program = shutil.which("rustac", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert program, "rustac is not installed: pip install rustac"
    address = f"http://127.0.0.1:{port}"
    with (folder / "rustac.log").open("w") as log:
        command = [program, "serve", str(file), "--create-collections", "--addr", f"127.0.0.1:{port}"]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_for(address, process)
            yield address
        finally:
            process.terminate()
            process.wait(10)


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server that was started answers."""
    for _ in range(200):
        assert process.poll() is None, "the server stopped"
        try:
            with urllib.request.urlopen(address, timeout=1):  # noqa: S310  (loopback)
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise AssertionError(f"nothing answers at {address}")


@dataclass
class Files:
    """Files of a folder by HTTP with ranges; what shall go wrong, and what was asked.

    Attributes
    ----------
    failures
        Status codes of the next requests for a file; 0 breaks the connection in the middle of the body.
    fate
        From name and number of a request for a part of a file to a kind of failure; empty for none. A number
        is a status; ``slowdown`` the one of S3; ``hang`` never answers; ``drop`` closes the connection;
        ``cut`` sends half of the body; ``short`` says so in the range, too; ``less`` says half and sends
        half; ``html`` sends another page; ``empty`` nothing; ``whole`` the whole file.
    hang
        Seconds that a request hangs.
    redirects
        From names to addresses that requests for them are led on to, with `led_by` as status.
    secret
        Token that every file needs as ``sig``; also given out below ``/sas/token/``.
    slow_token, answer_tokens
        Container whose token is not given out before this event.
    requests, failed
        Number of requests for parts of files; how often each kind of `fate` came.
    asked, headers
        Paths of requests, with query; their headers, names in lower case.
    """

    folder: Path
    url: str = ""
    failures: dict[str, list[int]] = field(default_factory=dict)
    fate: Callable[[str, int], str] = field(default=lambda _name, _number: "")
    hang: float = 2.5
    redirects: dict[str, str] = field(default_factory=dict)
    led_by: int = 302
    secret: str = ""
    slow_token: str = ""
    answer_tokens: threading.Event = field(default_factory=threading.Event)
    lifetime: float = 3600.0
    requests: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, path: str, headers: Iterable[tuple[str, str]]) -> None:
        """Remember what was asked."""
        with self.lock:
            self.asked.append(path)
            self.headers.append({name.lower(): value for name, value in headers})

    def next_failure(self, name: str) -> int | None:
        """Take the next failure that waits for a file."""
        with self.lock:
            waiting = self.failures.get(name)
            return waiting.pop(0) if waiting else None

    def next_fate(self, name: str) -> str:
        """Count a request for a part of a file, and say what becomes of it."""
        with self.lock:
            kind = self.fate(name, self.requests)
            self.requests += 1
            self.failed[kind] += bool(kind)
        return kind

    def token(self) -> bytes:
        """Answer of the token service."""
        expiry = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self.lifetime))
        return json.dumps({"msft:expiry": expiry, "token": f"st=x&sig={self.secret}"}).encode()


def _handler(files: Files) -> type[BaseHTTPRequestHandler]:  # noqa: C901  (a class of small methods)
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.respond()

        def do_GET(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):
                self.respond()

        def respond(self) -> None:
            files.note(self.path, self.headers.items())
            parts = urlsplit(self.path)
            name = parts.path.lstrip("/")
            path = files.folder / name
            if name.startswith("sas/token/"):
                if files.slow_token and name.endswith(f"/{files.slow_token}"):
                    files.answer_tokens.wait(30)
                self.send(200, files.token())
                return
            failure = files.next_failure(name)
            if failure:
                self.send(failure, b"")
            elif name in files.redirects:
                self.send(files.led_by, b"", Location=files.redirects[name])
            elif files.secret and parse_qs(parts.query).get("sig") != [files.secret]:
                self.send(403, b"")
            elif not path.is_file():
                self.send(404, b"")
            else:
                self.give(path, "cut" if failure == 0 else "")

        def give(self, path: Path, kind: str) -> None:
            data, span = path.read_bytes(), self.headers.get("Range", "")
            if not span or self.command == "HEAD":
                self.send(200, data, sent=data[: len(data) // 2] if kind else data)
                return
            start, _, end = span.removeprefix("bytes=").partition("-")
            first, last = int(start), min(int(end or len(data) - 1), len(data) - 1)
            self.answer(kind or files.next_fate(path.name), data, first, last)

        def answer(self, kind: str, data: bytes, first: int, last: int) -> None:
            part = data[first : last + 1]
            half = part[: len(part) // 2]
            if kind == "hang":
                time.sleep(files.hang)
            if kind in {"hang", "drop"}:
                self.close_connection = True
            elif kind == "slowdown":
                self.send(503, SLOW_DOWN)
            elif kind.isdigit():
                self.send(int(kind), b"")
            elif kind == "whole":
                self.send(200, data)
            else:
                other = {"short": half, "less": half, "empty": b"", "html": b"<html>Come back later</html>"}
                told = other.get(kind, part)
                end = first + len(half) - 1 if kind == "short" else last
                span = {"Content-Range": f"bytes {first}-{end}/{len(data)}"}
                self.send(206, told, sent=half if kind == "cut" else told, **span)

        def send(self, status: int, told: bytes, *, sent: bytes | None = None, **headers: str) -> None:
            """Answer with the length of `told`; the body is `sent` where that is another."""
            self.send_response(status)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(told)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(told if sent is None else sent)
            if sent is not None and len(sent) != len(told):
                self.close_connection = True

        def log_message(self, *args: Any) -> None:  # noqa: ARG002
            return

    return Handler


@contextmanager
def file_server(folder: Path) -> Iterator[Files]:
    """Serve the files of a folder on loopback."""
    files = Files(folder)
    with _serving(_handler(files)) as files.url:
        yield files


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@dataclass
class Api:
    """A STAC API whose answers are scripted; what was asked of it.

    Attributes
    ----------
    pages
        Answers to searches, by ``token`` of the request (empty for the first): JSON, or a status and a body.
    asked, headers
        Paths of requests; their headers, names in lower case.
    hang
        Seconds before an answer.
    methods
        How it can be searched.
    """

    pages: dict[str, Any]
    url: str = ""
    hang: float = 0.0
    methods: tuple[str, ...] = ("GET", "POST")
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def landing(self) -> dict[str, Any]:
        geojson = "application/geo+json"
        return {
            "type": "Catalog", "id": "api", "stac_version": "1.0.0", "description": "scripted",
            "conformsTo": ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"],
            "links": [
                {"rel": "root", "href": self.url, "type": "application/json"},
                {"rel": "data", "href": f"{self.url}/collections", "type": "application/json"},
                *(
                    {"rel": "search", "href": f"{self.url}/search", "type": geojson, "method": one}
                    for one in self.methods
                ),
            ],
        }  # fmt: skip

    def page(
        self, features: Sequence[dict[str, Any]], following: str | None = None, host: str = "", **more: Any
    ) -> dict[str, Any]:
        links = []
        if following is not None:
            href = f"{host or self.url}/search?token={following}"
            links = [{"rel": "next", "method": "GET", "href": href}]
        return {"type": "FeatureCollection", "features": list(features), "links": links, **more}


def _api_handler(api: Api) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.answer()

        def answer(self) -> None:
            parts = urlsplit(self.path)
            api.asked.append(self.path)
            api.headers.append({name.lower(): value for name, value in self.headers.items()})
            time.sleep(api.hang)
            found: Any = api.landing()
            if parts.path == "/search":
                found = api.pages[parse_qs(parts.query).get("token", [""])[0]]
                if isinstance(found, list):
                    found = found.pop(0) if len(found) > 1 else found[0]
            elif parts.path == "/collections":
                found = {"collections": [], "links": []}
            status, body = found if isinstance(found, tuple) else (200, json.dumps(found))
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", body)
                body = ""
            data = body.encode()
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:  # noqa: ARG002
            return

    return Handler


@contextmanager
def scripted_api() -> Iterator[Api]:
    """A STAC API that answers what a test says."""
    api = Api({})
    with _serving(_api_handler(api)) as api.url:
        yield api

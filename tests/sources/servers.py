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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit


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
            _wait_for(address, process)
            yield address
        finally:
            process.terminate()
            process.wait(10)


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
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
    secret
        Token that every file needs as ``sig``; also given out below ``/sas/token/``.
    asked, headers
        Paths of requests, with query; their headers, names in lower case.
    """

    folder: Path
    url: str = ""
    failures: dict[str, list[int]] = field(default_factory=dict)
    secret: str = ""
    lifetime: float = 3600.0
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_failure(self, name: str) -> int | None:
        with self.lock:
            waiting = self.failures.get(name)
            return waiting.pop(0) if waiting else None


def _handler(files: Files) -> type[BaseHTTPRequestHandler]:  # noqa: C901  (a class of small methods)
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.respond(body=False)

        def do_GET(self) -> None:
            self.respond(body=True)

        def respond(self, *, body: bool) -> None:
            parts = urlsplit(self.path)
            name = parts.path.lstrip("/")
            with files.lock:
                files.asked.append(self.path)
                files.headers.append({name.lower(): value for name, value in self.headers.items()})
            if name.startswith("sas/token/"):
                self.give_token()
                return
            failure = files.next_failure(name)
            path = files.folder / name
            if failure:
                self.refuse(failure)
            elif files.secret and parse_qs(parts.query).get("sig") != [files.secret]:
                self.refuse(403)
            elif not path.is_file():
                self.refuse(404)
            else:
                self.give(path.read_bytes(), body=body, broken=failure == 0)

        def refuse(self, code: int) -> None:
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def give_token(self) -> None:
            expiry = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + files.lifetime))
            answer = {"msft:expiry": expiry, "token": f"st=x&sig={files.secret}"}
            data = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def give(self, data: bytes, *, body: bool, broken: bool) -> None:
            span = self.headers.get("Range", "")
            first, last = 0, len(data) - 1
            if span.startswith("bytes="):
                start, _, end = span[6:].partition("-")
                first, last = int(start), min(int(end or last), last)
            part = data[first : last + 1]
            self.send_response(206 if span else 200)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(part)))
            if span:
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            self.end_headers()
            if body:
                self.wfile.write(part[: len(part) // 2] if broken else part)
            if broken:
                self.close_connection = True

        def log_message(self, *args: Any) -> None:  # noqa: ARG002
            return

    return Handler


@contextmanager
def file_server(folder: Path) -> Iterator[Files]:
    files = Files(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(files))
    files.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield files
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
    server = ThreadingHTTPServer(("127.0.0.1", 0), _api_handler(api))
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)

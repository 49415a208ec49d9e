"""A server of files that fails as networks and object stores do."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your rate.</Message></Error>"
)


@dataclass
class Faulty:
    """Files of a folder, and what becomes of the n-th request for a part of one.

    Attributes
    ----------
    fate
        From name and number of the request to a kind of failure; empty for none. A number is a status;
        ``slowdown`` the one of S3; ``hang`` never answers; ``drop`` closes the connection; ``cut`` sends half
        of the body; ``short`` says so in the length, too; ``less`` says half and sends half; ``html`` sends
        another page; ``empty`` nothing; ``whole`` the whole file.
    hang
        Seconds that a request hangs.
    failed
        How often each kind came.
    """

    folder: Path
    fate: Callable[[str, int], str] = field(default=lambda _name, _number: "")
    url: str = ""
    hang: float = 2.5
    requests: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    asked: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_fate(self, name: str) -> str:
        with self.lock:
            kind = self.fate(name, self.requests)
            self.requests += 1
            self.failed[kind] += bool(kind)
        return kind


def _handler(files: Faulty) -> type[BaseHTTPRequestHandler]:  # noqa: C901  (a class of small methods)
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.give(body=False)

        def do_GET(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):
                self.give(body=True)

        def give(self, *, body: bool) -> None:
            parts = urlsplit(self.path)
            path = files.folder / parts.path.lstrip("/")
            with files.lock:
                files.asked.append(self.path)
            if not path.is_file():
                self.send(404, b"", body=body)
                return
            data = path.read_bytes()
            span = self.headers.get("Range", "")
            if not body or not span:
                self.send(200, data, body=body)
                return
            start, _, end = span[6:].partition("-")
            first, last = int(start), min(int(end or len(data) - 1), len(data) - 1)
            self.answer(files.next_fate(path.name), data, first, last)

        def answer(self, kind: str, data: bytes, first: int, last: int) -> None:
            part, length = data[first : last + 1], last + 1 - first
            if kind == "hang":
                time.sleep(files.hang)
            if kind in {"hang", "drop"}:
                self.close_connection = True
                return
            if kind == "slowdown":
                self.send(503, SLOW_DOWN)
                return
            if kind.isdigit():
                self.send(int(kind), b"")
                return
            if kind == "whole":
                self.send(200, data)
                return
            bodies = {"cut": part[: length // 2], "short": part[: length // 2], "empty": b"",
                      "less": part[: length // 2], "html": b"<html>Come back later</html>"}  # fmt: skip
            sent = bodies.get(kind, part)
            told = len(part) if kind == "cut" else len(sent)
            span = f"bytes {first}-{first + told - 1 if kind == 'short' else last}/{len(data)}"
            self.send(206, sent, told, span)

        def send(
            self, status: int, data: bytes, length: int | None = None, span: str = "", *, body: bool = True
        ) -> None:
            self.send_response(status)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(data) if length is None else length))
            if span:
                self.send_header("Content-Range", span)
            self.end_headers()
            if body:
                self.wfile.write(data)
            if length is not None and length != len(data):
                self.close_connection = True

        def log_message(self, *args: Any) -> None:  # noqa: ARG002
            return

    return Handler


@contextmanager
def faulty_server(folder: Path) -> Iterator[Faulty]:
    files = Faulty(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(files))
    server.daemon_threads = True
    files.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)

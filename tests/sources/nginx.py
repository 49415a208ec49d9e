"""nginx on loopback: files by ranges, and the ways in which servers of the web refuse, lead on and mislead.

Its configuration, its logs and all it writes lie in a folder of the test; it needs no root.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.sources.servers import free_port, wait_for

# Debian keeps it where only root looks.
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="no nginx here: make apt-nginx")

SECRET, TOKEN = "s3cret", "t0ken"
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")

# Every request below /busy/, /gone/ ... is for the file of that name, and fails in one way. A connection that
# is not kept has a number of its own, and some numbers are refused: the same in every run.
_CONFIG = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 512; }}
http {{
    {temporary}
    types {{ image/tiff tif tiff TIF; text/html html; application/json json; }}
    default_type application/octet-stream;
    log_format asked escape=json '{{"method": "$request_method", "path": "$request_uri", "status": $status, '
        '"range": "$http_range", "sent": $body_bytes_sent, "authorization": "$http_authorization"}}';
    access_log {folder}/asked.log asked;
    split_clients "$connection" $refused {{ 40% 1; * ""; }}
    limit_req_zone $server_port zone=slow:1m rate=2r/s;
    server {{
        listen 127.0.0.1:{port};
        root {files};
        location /busy/ {{
            keepalive_timeout 0;
            if ($refused) {{ return 503; }}
            alias {files}/;
        }}
        location /throttled/ {{ limit_req zone=slow; limit_req_status 429; alias {files}/; }}
        location /down/ {{ return 503; }}
        location /gone/ {{ return 404; }}
        location /forbidden/ {{ deny all; }}
        location /moved/301/ {{ rewrite ^/moved/301/(.*)$ /$1 permanent; }}
        location /moved/302/ {{ rewrite ^/moved/302/(.*)$ /$1 redirect; }}
        location ~ ^/moved/307/(.*)$ {{ return 307 http://127.0.0.1:{other}/$1; }}
        location ~ ^/moved/308/(.*)$ {{ return 308 /moved/307/$1; }}
        location /around/ {{ rewrite ^ $uri redirect; }}
        location /login/ {{ rewrite ^ /log-in.html last; }}
        location /login-first/ {{ rewrite ^ /log-in.html redirect; }}
        location = /log-in.html {{ return 200 "<html><body>Log in to go on</body></html>"; }}
        location /whole/ {{ max_ranges 0; alias {files}/; }}
        location /signed/ {{ if ($arg_sig != "{secret}") {{ return 403; }} alias {files}/; }}
        location /sas/token/ {{
            return 200 '{{"msft:expiry": "2099-01-01T00:00:00Z", "token": "sig={secret}"}}';
        }}
        location /bearer/ {{ if ($http_authorization != "Bearer {token}") {{ return 401; }} alias {files}/; }}
        location /password/ {{ auth_basic "files"; auth_basic_user_file {folder}/users; alias {files}/; }}
        location /behind/ {{ proxy_pass {behind}/; proxy_http_version 1.1; }}
    }}
    server {{ listen 127.0.0.1:{other}; root {files}; }}
}}
"""


@dataclass
class Nginx:
    """A running nginx.

    Attributes
    ----------
    files, folder
        What it serves; where its own files lie.
    behind
        Address of another server, whose files it hands on below ``/behind/``.
    """

    files: Path
    folder: Path
    behind: str
    port: int = field(default_factory=free_port)
    other: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, or start it again on the same port."""
        temporary = " ".join(f"{name}_temp_path {self.folder}/{name};" for name in _TEMPORARY)
        (self.folder / "users").write_text("me:{PLAIN}w0rd\n")
        config = self.folder / "nginx.conf"
        config.write_text(
            _CONFIG.format(
                folder=self.folder, files=self.files, port=self.port, other=self.other, secret=SECRET,
                token=TOKEN, temporary=temporary, behind=self.behind,
                # Folders of tests are their owner's alone.
                user="user root;" if os.geteuid() == 0 else "",
            )
        )  # fmt: skip
        command = [
            str(NGINX),
            "-p",
            str(self.folder),
            "-c",
            str(config),
            "-e",
            str(self.folder / "error.log"),
        ]
        with (self.folder / "output.log").open("a") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(f"{self.url}/log-in.html", self.process)

    def stop(self) -> None:
        """End it; twice does no harm."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None

    def asked(self, path: str = "", *, least: int = 0, method: str = "GET") -> list[dict[str, Any]]:
        """Return requests for what begins with a path, in the order of their ends, at least so many.

        The log is written after the answer.
        """
        for _ in range(100):
            lines = (self.folder / "asked.log").read_text().splitlines()
            asked = [one for one in map(json.loads, lines) if one["method"] in method]
            found = [one for one in asked if one["path"].startswith(f"/{path}")]
            if len(found) >= least:
                return found
            time.sleep(0.02)
        raise AssertionError(f"{len(found)} requests for /{path}, and {least} were expected")


@contextmanager
def nginx(files: Path, folder: Path, behind: str = "http://127.0.0.1:9") -> Iterator[Nginx]:
    """Serve the files of a folder."""
    one = Nginx(files, folder, behind)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        one.start()
        yield one
    finally:
        one.stop()

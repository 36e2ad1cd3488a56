"""The HTTP server of bin/studio: the page's files, and answers to its requests (answers.py).

Nothing but the page itself is given without the token: it is in the page's address, and the page sends it as a header
with each request.  A name in the header Host that is not this server's is refused, so that no other site can have its
own name point here.  Files are a fixed table, read at the start: no path of a request is looked up on the disk.
"""

import ipaddress
import json
import secrets
import socket
import sys
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tsgan_jax.errors import UserError
from tsgan_jax.studio.answers import Studio

TOKEN_HEADER = "X-Studio-Token"
FILES = {
    "index.html": "text/html; charset=utf-8",
    "studio.css": "text/css; charset=utf-8",
    "masks.js": "text/javascript; charset=utf-8",
    "studio.js": "text/javascript; charset=utf-8",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
NO_TOKEN = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>tsgan studio</title><h1>The address is not whole</h1>"
    "<p>Open the address that bin/studio printed, with all that follows <code>?token=</code>. "
    "It is new each time bin/studio starts.</p></html>"
)


class Server(ThreadingHTTPServer):
    """Serves one Studio.  port: 0 for any that is free.  Raises UserError for an address that cannot be had."""

    daemon_threads = True

    def __init__(self, studio: Studio, host: str = "127.0.0.1", port: int = 0) -> None:
        self.studio, self.token = studio, secrets.token_urlsafe(24)
        page = resources.files("tsgan_jax.studio") / "page"
        self.files = {name: (page / name).read_bytes() for name in FILES}
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise UserError(f"{host}:{port} cannot be used ({error}); choose another --host or --port") from None
        self.names = {host, "localhost", "127.0.0.1"}
        self.everywhere = host in ("", "0.0.0.0")
        shown = socket.gethostname() if self.everywhere else host
        self.url = f"http://{shown}:{self.server_port}/?token={self.token}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a window that was closed or loaded anew before its answer came."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def is_named(self, host: str) -> bool:
        """Whether a Host header names this server."""
        name, _, port = host.rpartition(":")
        if port != str(self.server_port):
            return False
        if name in self.names:
            return True
        return self.everywhere and (name == socket.gethostname() or _is_address(name))

    def admits(self, token: str) -> bool:
        """Whether a token is this server's, in a time that does not tell how much of it is right."""
        return secrets.compare_digest(token.encode(), self.token.encode())


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "tsgan-studio", ""
    timeout = 60  # seconds that a silent connection is kept

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        name = address.path.removeprefix("/") or "index.html"
        if not self.server.is_named(self.headers.get("Host", "")):
            self._refuse(403, "this server does not go by that name")
        elif name not in FILES:
            self._refuse(404, "there is no such page")
        elif name == "index.html" and not self.server.admits(parse_qs(address.query).get("token", [""])[0]):
            self._send(403, FILES["index.html"], NO_TOKEN.encode())
        else:
            self._send(200, FILES[name], self.server.files[name])

    def do_POST(self) -> None:
        studio, name = self.server.studio, self.path.removeprefix("/api/")
        length = self.headers.get("Content-Length", "")
        if not self.server.is_named(self.headers.get("Host", "")):
            self._refuse(403, "this server does not go by that name")
        elif not self.server.admits(self.headers.get(TOKEN_HEADER, "")):
            self._refuse(403, "bin/studio was started anew; open the address that it printed")
        elif name not in studio.answers:
            self._refuse(404, "there is no such request")
        elif self.headers.get("Content-Type") != "application/json":
            self._refuse(415, "requests are JSON")
        elif not (length.isascii() and length.isdecimal()) or self.headers.get("Transfer-Encoding"):
            self._refuse(411, "a request has to say how long it is")
        elif int(length[:12]) > studio.most_bytes:
            self._refuse(413, f"the request is larger than {studio.most_bytes} bytes")
        else:
            self._answer(name, self.rfile.read(int(length)))

    def _answer(self, name: str, body: bytes) -> None:
        try:
            status, answer = 200, self.server.studio.answer(name, body)
        except UserError as error:
            status, answer = 400, {"error": str(error)}
        except OSError as error:
            status, answer = 400, {"error": f"{error.filename or 'the disk'}: {error.strerror}"}
        except Exception:
            traceback.print_exc()
            status, answer = 500, {"error": "this is a defect of tsgan_jax; the terminal of bin/studio says where"}
        self._send(status, "application/json", json.dumps(answer, allow_nan=False).encode())

    def _refuse(self, status: int, reason: str) -> None:
        """An error without having read the body, so the connection ends."""
        self.close_connection = True
        self._send(status, "application/json", json.dumps({"error": reason}).encode())

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        for key, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the token would be in it."""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

"""The server of the page: on this machine only, read-only, and only for who has the address."""

from __future__ import annotations

import logging
import secrets
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from softseg.core.errors import UserError
from softseg.core.files import os_error_message
from softseg.viewer.site import INDEX, Site

HOST = "127.0.0.1"
_LOCAL_NAMES = ("127.0.0.1", "localhost")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_log = logging.getLogger(__name__)


class ViewerServer(ThreadingHTTPServer):
    """Serves the files of a site under a secret path of 127.0.0.1."""

    daemon_threads = True  # Ctrl-C does not wait for a scan that is read
    allow_reuse_address = False

    def __init__(self, site: Site, port: int = 0) -> None:
        """Bind the port; 0 chooses a free one. Raises UserError if it cannot be bound."""
        self.site = site
        self.token = secrets.token_urlsafe(24)
        self.reading = threading.Lock()
        """Held while a volume is read, so that few are in memory at once."""
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise UserError(
                f"port {port} of {HOST} cannot be used ({error.strerror}); choose another --port, "
                "or leave it out for a free one"
            ) from None

    @property
    def address(self) -> str:
        """The address of the page, which contains the token."""
        return f"http://{HOST}:{self.server_address[1]}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that closed its connection."""


class _Handler(BaseHTTPRequestHandler):
    """Answers GET of the files of the site; everything else with an error of one line."""

    server: ViewerServer
    server_version, sys_version = "softseg", ""
    timeout = 30  # seconds that a connection may be silent

    def do_GET(self) -> None:
        """Send a file of the site, if the request comes from this machine and has the token."""
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if host not in _LOCAL_NAMES:  # a page of another site that had its name point here
            self.send_error(HTTPStatus.FORBIDDEN, "only 127.0.0.1 and localhost are served")
            return
        token, _, path = self.path.partition("?")[0].removeprefix("/").partition("/")
        if not secrets.compare_digest(token.encode(), self.server.token.encode()):
            self.send_error(HTTPStatus.FORBIDDEN, "use the address that softseg view printed")
            return
        resource = self.server.site.get(path or INDEX)
        if resource is None:
            self.send_error(HTTPStatus.NOT_FOUND, "there is no such file")
            return
        try:
            with self.server.reading:
                content = resource.read()
        except (UserError, OSError, MemoryError) as error:
            message = os_error_message(error) if isinstance(error, OSError) else str(error)
            _log.warning("%s", message or "too little memory to read a scan")
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", message.encode())
            return
        self._send(HTTPStatus.OK, resource.media_type, content)

    def __getattr__(self, name: str) -> Any:
        """Return the answer to every other method: `http.server` looks for `do_<method>`."""
        if name.startswith("do_"):
            return lambda: self.send_error(HTTPStatus.METHOD_NOT_ALLOWED, "only GET is served")
        raise AttributeError(name)

    def send_error(self, code: int, message: str | None = None, _: str | None = None) -> None:
        """Send an error as plain text that repeats nothing of the request."""
        text = message if code in _OWN_ERRORS and message else HTTPStatus(code).phrase
        self._send(code, "text/plain; charset=utf-8", text.encode())

    def _send(self, status: int, media_type: str, content: bytes) -> None:
        """Send a whole answer with the headers that every answer has."""
        self.close_connection = True
        self.send_response(status)
        fields = {"Content-Type": media_type, "Content-Length": str(len(content)), **_HEADERS}
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            fields["Allow"] = "GET"
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: a request contains the token."""


_OWN_ERRORS = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
"""Errors whose message is softseg's own, not one of `http.server` about the request."""

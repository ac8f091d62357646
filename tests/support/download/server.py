"""A web server on this machine that serves correctly, wrongly or not at all, as a test sets it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Server:
    """The files and how they are served, which a test may change between two requests."""

    files: dict[str, bytes]
    address: str = ""  # ends in /
    breaks_after: int | None = None  # bytes of an answer
    lies_by: int = 0  # bytes by which the stated length is too large
    gives: int | None = None  # bytes of a range at most
    ranges: bool = True
    if_range: bool = True  # False: ranges are served whatever If-Range says
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"one"'})
    status: int | None = None  # the answer to every request
    sleeps: float = 0  # seconds before an answer
    requests: list[dict[str, str]] = field(default_factory=list)  # headers of each request
    sent: int = 0  # bytes of bodies

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.requests.append(dict(request.headers))
        time.sleep(self.sleeps)
        body = self.files.get(request.path.lstrip("/"))
        if self.status or body is None:
            request.send_error(self.status or 404)
            return
        begin = self._begin(request, len(body))
        last = len(body) if not begin or self.gives is None else begin + self.gives
        piece = body[begin:last]
        request.send_response(206 if begin else 200)
        for name, value in self.headers.items():
            request.send_header(name, value)
        if begin:
            request.send_header("Content-Range", f"bytes {begin}-{last - 1}/{len(body)}")
        request.send_header("Content-Length", str(len(piece) + self.lies_by))
        request.end_headers()
        request.wfile.write(piece[: self.breaks_after])
        self.sent += len(piece[: self.breaks_after])

    def _begin(self, request: BaseHTTPRequestHandler, size: int) -> int:
        range_ = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        same = request.headers.get("If-Range") in (*self.headers.values(), None)
        if not range_ or not self.ranges or (self.if_range and not same):
            return 0
        return min(int(range_[1]), size - 1)


@contextmanager
def serving(**files: bytes) -> Iterator[Server]:
    """A server of these files, until the block ends; an underscore replaces the dot in a name."""
    server = Server({name.replace("_", "."): content for name, content in files.items()})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.address = f"http://127.0.0.1:{http.server_address[1]}/"
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()

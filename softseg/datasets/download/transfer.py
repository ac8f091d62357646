"""One file over HTTP, going on where an interrupted download stopped."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests

from softseg.core.errors import UserError
from softseg.datasets.download.unfinished import forget, remember, remembered, validator_of

Progress = Callable[[str, int, int | None], None]
"""Called with the file's name, its bytes so far, and their number if the server tells it."""

CHUNK = 1 << 16  # bytes
TIMEOUT = (10.0, 60.0)  # seconds: to connect, and without a byte
_KEPT = "what has arrived is kept, and the same command goes on from there"


@dataclass(frozen=True)
class Resuming:
    """A downloader in pooch's sense: called with an address, it writes what lies there to a file.

    The bytes gather in `part`, which outlives an interruption. The next call asks the server only
    for the rest, if the server says by its ETag (or its date of change) that the file is still the
    same; otherwise it starts over (RFC 9110, 13.1.5 and 14.2).
    """

    part: Path
    name: str
    progress: Progress

    def __call__(self, url: str, output_file: str, _: object) -> None:
        """Write the whole file to `output_file`.

        Raises UserError, naming the address, when the server cannot be reached, refuses, or stops
        before the end; OSError when the disk is full.
        """
        try:
            answer, done = _ask(url, self.part)
            with answer:
                self._take(answer, url, done)
        except requests.RequestException as error:
            raise UserError(f"{url}: {_reason(error)}") from error
        self.part.replace(output_file)
        forget(self.part)

    def _take(self, answer: requests.Response, url: str, done: int) -> None:
        total = _total(answer)
        with self.part.open("ab" if done else "wb") as stream:
            if not done:
                remember(self.part, url, answer.headers)
            for chunk in answer.iter_content(CHUNK):
                stream.write(chunk)
                done += len(chunk)
                self.progress(self.name, done, total)
            stream.flush()
            os.fsync(stream.fileno())
        if total is not None and done != total:
            raise UserError(f"{url}: ended after {done:,} of {total:,} bytes; {_KEPT}")


def _ask(url: str, part: Path) -> tuple[requests.Response, int]:
    """The server's answer, and after how many bytes of the file it begins."""
    size = part.stat().st_size if part.exists() else 0
    validator = remembered(part, url)
    if size and validator:
        answer = _get(url, {"Range": f"bytes={size}-", "If-Range": validator})
        if _goes_on(answer, size, validator):
            return answer, size
        if answer.status_code == 200:  # another file now, or a server without ranges
            return answer, 0
        answer.close()
    answer = _get(url, {})
    if answer.status_code != 200:
        answer.close()
        raise UserError(
            f"{url}: the server answered {answer.status_code} {answer.reason}; try again later, "
            "and if it stays so, the file has moved: look for the data set's own page"
        )
    return answer, 0


def _get(url: str, headers: dict[str, str]) -> requests.Response:
    # compressed on the way, ranges and lengths would not be the file's
    headers = {"Accept-Encoding": "identity", **headers}
    return requests.get(url, headers=headers, stream=True, timeout=TIMEOUT)


def _goes_on(answer: requests.Response, size: int, validator: str) -> bool:
    """Whether this is the rest of the same file: some servers do not know If-Range."""
    begins = answer.headers.get("Content-Range", "").startswith(f"bytes {size}-")
    return answer.status_code == 206 and begins and validator_of(answer.headers) == validator


def _total(answer: requests.Response) -> int | None:
    """The whole file's bytes, if the server tells them."""
    if answer.status_code == 206:
        told = answer.headers["Content-Range"].rpartition("/")[2]
    else:
        told = answer.headers.get("Content-Length", "")
    return int(told) if told.isdecimal() else None


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return f"the server does not answer; try again later ({_KEPT})"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return f"the connection broke; {_KEPT}"
    cause = getattr(error.args[0], "reason", error.args[0]) if error.args else error
    return (
        f"cannot be reached ({cause}); check the network, and HTTPS_PROXY where there is a proxy "
        f"({_KEPT})"
    )

"""Download one file over HTTP, resuming where an interrupted download stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import requests

from softseg.core.errors import UserError
from softseg.core.files import write_atomically

Progress = Callable[[str, int, int | None], None]
"""Called with the file's name, its bytes so far, and their total if the server sends it."""

CHUNK = 1 << 16  # bytes
TIMEOUT = (10.0, 60.0)  # seconds: to connect, and without a byte
_KEPT = "the received part is kept, and the same command resumes the download"


@dataclass(frozen=True)
class Downloader:
    """A downloader in pooch's sense: called with an address, it writes its content to a file.

    The bytes are collected in `part`, which survives an interruption, with a note of the version of
    the file. The next call requests only the rest, if the server's ETag (or its date of change)
    confirms that the file is still the same; otherwise it starts over (RFC 9110, 13.1.5 and 14.2).
    """

    part: Path
    name: str
    progress: Progress

    def __call__(self, url: str, output_file: str, _: object) -> None:
        """Write the complete file to `output_file`.

        Raises UserError, naming the address, when the server cannot be reached, answers with an
        error, or stops before the end; OSError when the disk is full.
        """
        try:
            response, start = self._request(url)
            with response:
                self._write(response, url, start)
        except requests.Timeout as error:
            message = f"{url}: the server does not answer; try again later ({_KEPT})"
            raise UserError(message) from error
        except requests.exceptions.ChunkedEncodingError as error:
            raise UserError(f"{url}: the connection broke; {_KEPT}") from error
        except requests.RequestException as error:
            cause = getattr(error.args[0], "reason", error.args[0]) if error.args else error
            raise UserError(
                f"{url}: cannot be reached ({cause}); check the network, and HTTPS_PROXY if you "
                f"use a proxy ({_KEPT})"
            ) from error
        self.part.replace(output_file)
        self._note.unlink(missing_ok=True)

    @property
    def _note(self) -> Path:
        """The file that says of which version of the file the part is."""
        return self.part.with_name(f"{self.part.name}.json")

    def _request(self, url: str) -> tuple[requests.Response, int]:
        """Return the server's response, and the position in the file at which it starts."""
        size = self.part.stat().st_size if self.part.exists() else 0
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            validator = note["validator"] if note["address"] == url else None
        except (OSError, ValueError, KeyError, TypeError):
            validator = None  # the part cannot be resumed
        if size and validator:
            response = _get(url, {"Range": f"bytes={size}-", "If-Range": validator})
            # some servers do not know If-Range, so its version is compared as well
            content_range = response.headers.get("Content-Range", "")
            continues = content_range.startswith(f"bytes {size}-")
            same_version = _validator(response.headers) == validator
            if response.status_code == 206 and continues and same_version:
                return response, size
            if response.status_code == 200:  # another file now, or a server without ranges
                return response, 0
            response.close()
        response = _get(url, {})
        if response.status_code != 200:
            response.close()
            raise UserError(
                f"{url}: the server answered {response.status_code} {response.reason}; try again "
                "later; if the error persists, the file has moved: look for the dataset's page"
            )
        return response, 0

    def _write(self, response: requests.Response, url: str, done: int) -> None:
        """Append a response to the part, of which `done` bytes exist."""
        if response.status_code == 206:
            length = response.headers["Content-Range"].rpartition("/")[2]
        else:
            length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        with self.part.open("ab" if done else "wb") as stream:
            if not done:
                note = {"address": url, "validator": _validator(response.headers)}
                write_atomically(self._note, json.dumps(note))
            for chunk in response.iter_content(CHUNK):
                stream.write(chunk)
                done += len(chunk)
                self.progress(self.name, done, total)
            stream.flush()
            os.fsync(stream.fileno())
        if total is not None and done != total:
            raise UserError(f"{url}: ended after {done:,} of {total:,} bytes; {_KEPT}")


def _get(url: str, headers: dict[str, str]) -> requests.Response:
    # with compression, ranges and lengths would not be the file's
    headers = {"Accept-Encoding": "identity", **headers}
    return requests.get(url, headers=headers, stream=True, timeout=TIMEOUT)


def _validator(headers: Mapping[str, str]) -> str | None:
    """Return what identifies a version of a file to the byte, which a weak ETag does not."""
    etag = headers.get("ETag", "W/")
    return headers.get("Last-Modified") if etag.startswith("W/") else etag

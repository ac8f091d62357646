"""Headless Chromium, driven over a pipe with the DevTools protocol."""

from __future__ import annotations

import base64
import io
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = [
    "--headless", "--no-sandbox", "--no-first-run", "--remote-debugging-pipe",
    "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",  # WebGL on a CPU
]  # fmt: skip


def find_chromium() -> str | None:
    """The program, if it is installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Chromium:
    """One browser with one page; use it as a context manager."""

    def __init__(self, profile: Path, width: int = 1280, height: int = 800) -> None:
        its_input, self._to = os.pipe()
        self._from, its_output = os.pipe()
        # Chromium reads from file 3 and writes to file 4
        command = f'exec "$@" 3<&{its_input} 4>&{its_output}'
        program = [find_chromium() or "", *_FLAGS, f"--user-data-dir={profile}"]
        self._process = subprocess.Popen(
            ["bash", "-c", command, "bash", *program],
            pass_fds=(its_input, its_output),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(its_input)
        os.close(its_output)
        self._buffer, self._numbers, self._session = b"", itertools.count(1), None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.resize(width, height)

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(10)
        os.close(self._to)
        os.close(self._from)

    def call(self, method: str, **parameters: Any) -> Any:
        """Send a command and return its result."""
        message = {"id": next(self._numbers), "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != message["id"]:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], 60)
            assert ready, "Chromium does not answer"
            block = os.read(self._from, 1 << 20)
            assert block, "Chromium has ended"
            self._buffer += block
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))

    def resize(self, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        how = {"awaitPromise": True, "returnByValue": True}
        result = self.call("Runtime.evaluate", expression=script, **how)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, script: str, seconds: float = 60) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(script):
            text = "document.getElementById('status')?.textContent"
            assert time.monotonic() < end, f"{script}: {self.run(text)}"
            time.sleep(0.05)

    def pixels(self, selector: str) -> np.ndarray:
        """What is drawn in an element, (H, W, 3) uint8."""
        box = self.run(
            f"(() => {{ const r = document.querySelector('{selector}').getBoundingClientRect();"
            " return {x: r.x, y: r.y, width: r.width, height: r.height, scale: 1}; })()"
        )
        shot = self.call("Page.captureScreenshot", format="png", clip=box)
        with Image.open(io.BytesIO(base64.b64decode(shot["data"]))) as image:
            return np.asarray(image.convert("RGB"))

    def errors(self) -> list[str]:
        """What the page reported as errors, violations of its security policy included."""
        events = [event for event in self.events if event.get("method") == "Log.entryAdded"]
        entries = [event["params"]["entry"] for event in events]
        texts = [entry["text"] for entry in entries if entry["level"] == "error"]
        thrown = [e for e in self.events if e.get("method") == "Runtime.exceptionThrown"]
        return [*texts, *map(str, thrown)]

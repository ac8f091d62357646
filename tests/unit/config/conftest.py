"""A fixture that writes configs into a temporary working directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.config.toy import Write


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a config into the working directory; messages then contain its short name."""
    monkeypatch.chdir(tmp_path)

    def write_file(text: str, name: str = "x.yaml") -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        return path

    return write_file

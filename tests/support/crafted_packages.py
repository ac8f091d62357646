"""Packages that softseg would not write: entries of a sound one, changed and zipped again."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import pytest
import torch

from softseg.core.errors import UserError
from softseg.package import Package, read_package


def entries(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def signed(contents: dict[str, bytes], **manifest) -> dict[str, bytes]:
    """The entries with a manifest that fits them, as an attacker would make it."""
    known = json.loads(contents["manifest.json"])
    others = {name: data for name, data in contents.items() if name != "manifest.json"}
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in others.items()}
    told = {**known, "sha256": sums, **manifest}
    return {"manifest.json": json.dumps(told).encode(), **others}


def zipped(path: Path, contents: dict[str, bytes], compression=zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return path


def refused(path: Path) -> str:
    """The one message about a file."""
    with pytest.raises(UserError) as error:
        read_package(path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert len(message) < 1000
    assert message.isprintable()
    return message


def equal_or_refused(path: Path, package: Package) -> None:
    """Whether a file is read as this package, or refused by name; nothing else may happen."""
    try:
        read = read_package(path)
    except UserError as error:
        assert str(error).startswith(str(path))  # noqa: PT017 - either is right
        return
    for name in ("config", "thresholds", "facts", "card"):
        assert getattr(read, name) == getattr(package, name)
    for ours, theirs in ((read.model, package.model), (read.head, package.head)):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)

"""Packages that softseg would not write: entries of a valid package, changed and zipped again."""

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
    """The entries of a package and their bytes."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def with_manifest(contents: dict[str, bytes], **changes) -> dict[str, bytes]:
    """The entries with a manifest that fits them, as an attacker would make it."""
    others = {name: data for name, data in contents.items() if name != "manifest.json"}
    checksums = {name: hashlib.sha256(data).hexdigest() for name, data in others.items()}
    manifest = {**json.loads(contents["manifest.json"]), "sha256": checksums, **changes}
    return {"manifest.json": json.dumps(manifest).encode(), **others}


def write_zip(path: Path, contents: dict[str, bytes], compression=zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return path


def read_error(path: Path) -> str:
    """The message of the error that reading a file raises."""
    with pytest.raises(UserError) as error:
        read_package(path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert len(message) < 1000
    assert message.isprintable()
    return message


def assert_equal_or_rejected(path: Path, package: Package) -> None:
    """Check that a file is read as this package, or rejected with its name, and nothing else."""
    try:
        read = read_package(path)
    except UserError as error:
        assert str(error).startswith(str(path))  # noqa: PT017 - either is right
        return
    for name in ("config", "thresholds", "metadata", "card"):
        assert getattr(read, name) == getattr(package, name)
    for weights, expected in ((read.model, package.model), (read.head, package.head)):
        assert weights.keys() == expected.keys()
        assert all(torch.equal(weights[key], expected[key]) for key in weights)

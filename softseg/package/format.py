"""The format of a package: its entries, their size limits, and the manifest with checksums."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated, TypeVar

from pydantic import Field, ValidationError
from pydantic_core import from_json

from softseg.config.yaml.read import MAX_BYTES
from softseg.core.component import Component
from softseg.core.version import __version__

FORMAT = 1
"""Version of the format; increases when an entry or a key is added or changes its meaning."""

MANIFEST = "manifest.json"  # first, and readable by every version: format, softseg, checksums
ABOUT = "about.json"  # metadata of the model and its training
CONFIG = "config.yaml"  # the resolved experiment, without local paths and names
THRESHOLDS = "thresholds.json"  # if a search found them
CARD = "README.md"  # the model card
HEAD = "head.safetensors"
MODEL = "model.safetensors"
REFERENCE = "reference.json"  # with `--onnx`: the settings of the reference script
SCRIPT = "predict_onnx.py"  # with `--onnx`: softseg/package/reference.py; softseg never runs it
GRAPH = "model.onnx"  # with `--onnx`: the network, from slices to logits

LARGEST = 2_000_000_000
"""Maximum size of a whole package in bytes; the limit of a 32-bit zip is a little higher."""

LIMITS = {
    MANIFEST: 1_000_000,
    ABOUT: 1_000_000,
    CONFIG: MAX_BYTES,
    THRESHOLDS: 1_000_000,
    CARD: 1_000_000,
    HEAD: 10_000_000,
    MODEL: LARGEST,
    REFERENCE: 1_000_000,
    SCRIPT: 1_000_000,
    GRAPH: LARGEST,
}
"""Entry -> its maximum size in bytes, in the order in which entries are written."""

OPTIONAL = {THRESHOLDS, REFERENCE, SCRIPT, GRAPH}

ADVICE = "download it again, or make it again with `softseg package`"

M = TypeVar("M", bound=Component)
_VERSION = r"^[0-9A-Za-z.+!-]{1,40}$"  # it is printed


class PackageError(ValueError):
    """A problem of a package and its fix; the caller adds the name of the file."""

    def __init__(self, problem: str, advice: str = ADVICE) -> None:
        super().__init__(problem)
        self.advice = advice


class Manifest(Component):
    """The entry that is read before any other."""

    format: int
    """Version of the package's format."""
    softseg: Annotated[str, Field(pattern=_VERSION)]
    """Version of softseg that wrote the package."""
    sha256: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]
    """Every other entry -> the SHA-256 of its bytes."""


def make_manifest(contents: Mapping[str, bytes]) -> Manifest:
    """Return the manifest of these entries."""
    return Manifest(format=FORMAT, softseg=__version__, sha256=_checksums(contents))


def read_manifest(data: bytes) -> Manifest:
    """Parse a manifest. Raises PackageError if it is damaged or of a newer format."""
    try:
        content = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise PackageError(f"is damaged: {MANIFEST} is not JSON") from error
    version = content.get("format") if isinstance(content, dict) else None
    if type(version) is not int or version < 1:
        raise PackageError(f"is not a package: {MANIFEST} declares no format")
    if version > FORMAT:
        writer = content.get("softseg")
        valid = isinstance(writer, str) and re.fullmatch(_VERSION, writer)
        written_by = f", written by softseg {writer}" if valid else ""
        raise PackageError(
            f"is a package of format {str(version)[:20]}{written_by}; this softseg "
            f"({__version__}) reads format {FORMAT}",
            f"install softseg {writer} or newer" if valid else "update softseg",
        )
    return read_json_entry(Manifest, MANIFEST, data)


def check_checksums(manifest: Manifest, contents: Mapping[str, bytes]) -> None:
    """Raise PackageError if the entries differ from those that the manifest was made of."""
    checksums = _checksums(contents)
    if checksums.keys() != manifest.sha256.keys():
        raise PackageError(f"is damaged: {MANIFEST} lists other entries than the package has")
    for name, digest in checksums.items():
        if digest != manifest.sha256[name]:
            raise PackageError(f"is damaged: {name} was changed (its SHA-256 differs)")


def _checksums(contents: Mapping[str, bytes]) -> dict[str, str]:
    """The SHA-256 of each entry except for the manifest itself."""
    entries = ((name, data) for name, data in contents.items() if name != MANIFEST)
    return {name: hashlib.sha256(data).hexdigest() for name, data in entries}


def read_json_entry(model: type[M], name: str, data: bytes) -> M:
    """Parse and validate a JSON entry. Raises PackageError with the entry and its first bad key."""
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        key = ".".join(str(part) for part in first["loc"])[:80]
        reason = f"{key}: {first['msg'][:200]}" if key else first["msg"][:200]
        raise PackageError(f"is damaged: {name}: {reason!r}") from error


def json_entry(model: Component) -> bytes:
    """Return the bytes of a JSON entry, from which `read_json_entry` reads an equal model."""
    return (model.model_dump_json(indent=2) + "\n").encode()

"""The manifest: the format of a package, who wrote it, and the checksum of every other entry."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError
from pydantic_core import from_json

from softseg.core.component import Component
from softseg.core.version import __version__
from softseg.package.entries import FORMAT, MANIFEST, RefusedError

M = TypeVar("M", bound=Component)
_VERSION = r"^[0-9A-Za-z.+!-]{1,40}$"  # it is printed


class Manifest(Component):
    """What a reader must know before it looks at anything else."""

    format: int
    """Version of the package's format."""
    softseg: Annotated[str, Field(pattern=_VERSION)]
    """Version of softseg that wrote the package."""
    sha256: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]
    """Every other entry -> the SHA-256 of its bytes."""


def make_manifest(contents: Mapping[str, bytes]) -> Manifest:
    """The manifest of these entries."""
    return Manifest(format=FORMAT, softseg=__version__, sha256=_sums(contents))


def read_manifest(data: bytes) -> Manifest:
    """Read a manifest; RefusedError for one that is damaged or of another format."""
    try:
        known = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise RefusedError(f"is damaged: {MANIFEST} is no JSON") from error
    version = known.get("format") if isinstance(known, dict) else None
    if type(version) is not int or version < 1:
        raise RefusedError(f"is no package: {MANIFEST} tells no format")
    if version > FORMAT:
        raise _newer(version, known.get("softseg"))
    return read_json(Manifest, MANIFEST, data)


def _newer(version: int, writer: Any) -> RefusedError:
    known = isinstance(writer, str) and re.fullmatch(_VERSION, writer)
    what = f"is a package of format {str(version)[:20]}"
    if known:
        what += f", written by softseg {writer}"
    what += f"; this softseg ({__version__}) reads format {FORMAT}"
    return RefusedError(what, f"install softseg {writer} or newer" if known else "update softseg")


def check_sums(manifest: Manifest, contents: Mapping[str, bytes]) -> None:
    """Refuse entries whose bytes are not those that the manifest was made of."""
    found = _sums(contents)
    if found.keys() != manifest.sha256.keys():
        raise RefusedError(f"is damaged: {MANIFEST} names other entries than it holds")
    for name, digest in found.items():
        if digest != manifest.sha256[name]:
            raise RefusedError(f"is damaged: {name} was changed (its SHA-256 differs)")


def _sums(contents: Mapping[str, bytes]) -> dict[str, str]:
    """The SHA-256 of each entry but the manifest itself."""
    others = ((name, data) for name, data in contents.items() if name != MANIFEST)
    return {name: hashlib.sha256(data).hexdigest() for name, data in others}


def read_json(model: type[M], name: str, data: bytes) -> M:
    """A validated JSON entry; RefusedError, naming it and the first key, where it is not valid."""
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(key) for key in first["loc"])[:80]
        reason = f"{place}: {first['msg'][:200]}" if place else first["msg"][:200]
        raise RefusedError(f"is damaged: {name}: {reason!r}") from error


def write_json(model: Component) -> bytes:
    """An entry of JSON that reads back as an equal model."""
    return (model.model_dump_json(indent=2) + "\n").encode()

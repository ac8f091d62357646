"""The file of a package: a zip with known entries, size limits and a manifest with checksums.

It is reproducible when written, distrusted when read. Entries are stored without compression, so
nothing in a package can expand while it is read, and its size on disk bounds the memory that
reading takes.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, BinaryIO, TypeVar

from pydantic import Field, ValidationError
from pydantic_core import from_json

from softseg.config.yaml.read import MAX_BYTES
from softseg.core.component import Component
from softseg.core.files import remove_leftovers, replacing, temporary_files
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

ADVICE = "download it again, or write it again with `softseg package`"

M = TypeVar("M", bound=Component)
_VERSION = r"^[0-9A-Za-z.+!-]{1,40}$"  # it is printed
_END = struct.Struct("<4s4H2LH")  # the end record of a zip: number and position of its entries
_MAX_ENTRIES = 64
_MAX_DIRECTORY_BYTES = 65_536
_BROKEN = (zipfile.BadZipFile, RuntimeError, EOFError, ValueError, struct.error, OverflowError)


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
        raise PackageError(f"is not a package: {MANIFEST} contains no format version")
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


def write_archive(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write the entries atomically; the bytes do not depend on time, user or system."""
    others = temporary_files(path.parent, recursive=False)  # of the user's folder
    remove_leftovers(other for other in others if other.name.endswith((path.name, f"{path.name}~")))
    with replacing(path) as part, zipfile.ZipFile(part, "w") as archive:
        for name in sorted(contents, key=list(LIMITS).index):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, on every system
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, contents[name])


def has_package_header(path: Path) -> bool:
    """Return whether a file begins like a package; the rest of it may be damaged."""
    with path.open("rb") as stream:
        header = stream.read(30 + len(MANIFEST))
    return header[:4] == b"PK\3\4" and header[30:] == MANIFEST.encode()


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip whose directory is small enough to be read. Raises PackageError, OSError."""
    if path.exists() and not path.is_file():
        raise PackageError("is not a file", "name a package")
    with path.open("rb") as stream:
        _check_end_record(stream)
        try:
            with zipfile.ZipFile(stream) as archive:
                yield archive
        except PackageError:
            raise
        except _BROKEN as error:
            reason = str(error) or type(error).__name__
            raise PackageError(f"is damaged or not a package ({reason[:200]!r})") from error


def _check_end_record(stream: BinaryIO) -> None:
    """Check size and position of the zip's directory before zipfile reads it."""
    size = os.fstat(stream.fileno()).st_size
    if size > LARGEST:
        raise PackageError(f"has {size:,} bytes; a package has at most {LARGEST:,}")
    stream.seek(max(0, size - _END.size))
    end = stream.read(_END.size)
    if len(end) < _END.size or not end.startswith(b"PK\5\6"):
        raise PackageError("is incomplete or not a package: its end is not that of a zip archive")
    _, disk, first_disk, count_here, count, length, begin, comment = _END.unpack(end)
    one_disk = (disk, first_disk, comment, count_here) == (0, 0, 0, count)
    if not one_disk or begin + length + _END.size != size:
        raise PackageError("is damaged, or a zip that softseg did not write")
    if count > _MAX_ENTRIES or length > _MAX_DIRECTORY_BYTES:
        raise PackageError(f"lists {count} entries, more than any package has")


def check_entries(archive: zipfile.ZipFile) -> None:
    """Raise PackageError for unknown, missing, repeated or unsafe entries."""
    names = [entry.orig_filename for entry in archive.infolist()]
    for name in names:
        windows = PureWindowsPath(name)  # splits at both `/` and `\`
        absolute = PurePosixPath(name).is_absolute() or windows.drive or windows.root
        if absolute or ".." in windows.parts:
            raise PackageError(f"is rejected: the path {name[:80]!r} in it leaves its folder")
        if name not in LIMITS:
            raise PackageError(f"holds {name[:80]!r}, which is not an entry of a package")
        if names.count(name) > 1:
            raise PackageError(f"holds {name} twice")
    if missing := [name for name in LIMITS if name not in names and name not in OPTIONAL]:
        raise PackageError(f"lacks {', '.join(missing)}")
    for entry in archive.infolist():
        _check_entry(entry, archive.start_dir)
    if sum(entry.file_size for entry in archive.infolist()) > archive.start_dir:
        raise PackageError("is rejected: its entries overlap, so it unpacks to more than its size")


def _check_entry(entry: zipfile.ZipInfo, available: int) -> None:
    """Raise PackageError unless an entry is a plain stored file within its limit.

    `available`: bytes of the archive before its directory.
    """
    name, limit = entry.filename, LIMITS[entry.filename]
    if entry.file_size > limit:
        raise PackageError(
            f"is rejected: {name} unpacks to {entry.file_size:,} bytes, above {limit:,}"
        )
    if entry.flag_bits & 0x1:
        raise PackageError(f"is rejected: {name} is encrypted")
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
        raise PackageError(f"is rejected: {name} is a link, a folder or a device")
    if entry.compress_type != zipfile.ZIP_STORED:
        raise PackageError(f"is rejected: {name} is compressed; a package stores its entries")
    if entry.compress_size != entry.file_size:
        raise PackageError(f"is damaged: it records two sizes of {name}")
    if entry.header_offset + entry.file_size > available:  # before memory is allocated for it
        raise PackageError(f"is damaged: {name} has more bytes than the file")


def read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return the bytes of one entry, never more than its limit; zipfile checks their CRC.

    Raises PackageError if the entry is missing, repeated or unsafe.
    """
    entries = [entry for entry in archive.infolist() if entry.orig_filename == name]
    if len(entries) != 1:
        raise PackageError(f"is not a package: it holds {name} {len(entries)} times, not once")
    _check_entry(entries[0], archive.start_dir)
    with archive.open(entries[0]) as stream:
        data = stream.read(LIMITS[name] + 1)
    if len(data) != entries[0].file_size:
        raise PackageError(f"is damaged: {name} is not as long as its header declares")
    return data

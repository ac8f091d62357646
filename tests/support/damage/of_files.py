"""Files that are none, are none of NIfTI, may not be read, or have an unusual name."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pytest

from tests.support.damage.draft import Rng, sound
from tests.support.damage.kinds import Accepted, Kind, Made, Rejected, Write
from tests.support.damage.of_header import UNREADABLE
from tests.support.damage.of_shape import LONG

GONE = Rejected("does not exist", "check the path")
LINK = Rejected("is a link to a file that does not exist", "fetch its content")
NO_FILE = Rejected("is not a file", "name a NIfTI file")
TOO_LARGE = Rejected("GiB of memory, and the machine has", "dataset.exclude")
READ = Accepted("as any other name")
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
DICOM = bytes(128) + b"DICM" + bytes(900)
PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>" * 20


def holding(content) -> Write:
    """A file of another kind under a NIfTI name."""

    def write(rng: Rng, folder: Path) -> Made:
        path = folder / str(rng.choice(["scan.nii", "scan.nii.gz"]))
        path.write_bytes(content(rng) if callable(content) else content)
        return sound(rng).made(path)

    return write


def without(make) -> Write:
    """Something that is not a file; `make` makes it, given its path."""

    def write(rng: Rng, folder: Path) -> Made:
        path = folder / "scan.nii.gz"
        return sound(rng).made(make(path) or path)

    return write


def named(name: str) -> Write:
    def write(rng: Rng, folder: Path) -> Made:
        made = sound(rng, packed=True).save(folder)
        return Made(made.path.rename(folder / name), made.data, made.affine)

    return write


def _ring(path: Path) -> None:
    other = path.with_name("other.nii.gz")
    path.symlink_to(other)
    other.symlink_to(path)


def _inside_a_file(path: Path) -> Path:
    path.write_bytes(b"")
    return path / "scan.nii.gz"


def _sparse(path: Path, size: int) -> None:
    with path.open("r+b") as stream:
        stream.truncate(size)


def _sparse_after(rng: Rng, folder: Path) -> Made:
    """100 GB, nearly all of it a hole, after the voxels."""
    made = sound(rng, packed=False).save(folder)
    _sparse(made.path, 10**11)
    return made


def _sparse_voxels(rng: Rng, folder: Path) -> Made:
    """10 TB of voxels that are all there, as holes."""
    draft = sound(rng, packed=False, version=2, dtype="u1")
    draft.header["dim"][1:4] = (20_000, 20_000, 25_000)
    made = draft.save(folder)
    _sparse(made.path, 544 + 10**13)
    return made


def _raising(code: int, method: str):
    """Every file of that name answers with an error of the system."""

    def fail(self, *args, **kwargs):
        raise OSError(code, os.strerror(code), str(self))

    def inject(patch: pytest.MonkeyPatch, path: Path) -> None:
        sound_one = getattr(Path, method)

        def answer(self, *args, **kwargs):
            return (fail if self == path else sound_one)(self, *args, **kwargs)

        patch.setattr(Path, method, answer)

    return inject


class _Failing(io.FileIO):
    """A file on a disk that fails after some bytes."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= 600:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(size)


def _failing_disk(patch: pytest.MonkeyPatch, path: Path) -> None:
    patch.setattr(Path, "open", lambda self, *_, **__: _Failing(self))


def _as_it_is(rng: Rng, folder: Path) -> Made:
    return sound(rng).save(folder)


LONG_NAME = "x" * 248 + ".nii.gz"
KINDS = (
    Kind("no file", without(lambda _: None), GONE),
    Kind("no folder", without(lambda path: path.parent / "none" / path.name), GONE),
    Kind("a file as its folder", without(_inside_a_file), GONE),
    Kind("a folder named .nii.gz", without(lambda path: path.mkdir()), NO_FILE),
    Kind("a named pipe", without(os.mkfifo), NO_FILE),
    Kind("a device without end", without(lambda path: path.symlink_to("/dev/zero")), NO_FILE),
    Kind("a link to nothing", without(lambda path: path.symlink_to("../.git/annex/x")), LINK),
    Kind("a link to itself", without(lambda path: path.symlink_to(path)), LINK),
    Kind("two links to each other", without(_ring), LINK),
    Kind("a name longer than the system's", without(lambda path: path.parent / ("x" * 300)),
         Rejected("cannot be read")),
    Kind("a path longer than the system's", without(lambda path: Path(*["x" * 200] * 99)),
         Rejected("cannot be read")),
    Kind("a name with a zero byte", without(lambda path: path.parent / "a\0.nii"),
         Rejected("null")),
    Kind("no permission", _as_it_is, Rejected("is not readable", "permissions"),
         _raising(errno.EACCES, "open")),
    Kind("no permission for the folder", _as_it_is, Rejected("is not readable", "permissions"),
         _raising(errno.EACCES, "stat")),
    Kind("too many open files", _as_it_is, Rejected("cannot be read"),
         _raising(errno.EMFILE, "open")),
    Kind("a disk that fails", _as_it_is, Rejected("cannot be read", "disk"), _failing_disk),
    Kind("a git-lfs pointer", holding(POINTER), Rejected("; ")),
    Kind("a web page", holding(PAGE), UNREADABLE),
    Kind("DICOM", holding(DICOM), UNREADABLE),
    Kind("PNG", holding(b"\x89PNG\r\n\x1a\n" + bytes(900)), UNREADABLE),
    Kind("NRRD", holding(b"NRRD0004\n# Complete NRRD file format\n" * 40), UNREADABLE),
    Kind("MGH", holding(b"\0\0\0\1" + b"\0\0\0\x0c" * 3 + bytes(900)), UNREADABLE),
    Kind("zeros", holding(lambda r: bytes(r.integers(600, 9999))), UNREADABLE),
    Kind("random bytes", holding(lambda r: r.bytes(r.integers(600, 9999))), UNREADABLE),
    Kind("100 GB of nothing after the voxels", _sparse_after, LONG),
    Kind("more voxels than any memory", _sparse_voxels, TOO_LARGE),
    Kind("a name of 255 letters", named(LONG_NAME), READ),
    Kind("a name in many scripts", named("脳 мозг δ🧠e\u0301\u202e.nii.gz"), READ),
    Kind("a name with signs", named("a b'\"[bold]{x}%s$HOME;&|<>*?\\.nii.gz"), READ),
    Kind("a name of two lines", named("a\nb.nii.gz"), READ),
    Kind("a name that is no UTF-8", named(os.fsdecode(b"a\xff\xfe.nii.gz")), READ),
    Kind("a name in capitals", named("SCAN.NII.GZ"), READ),
    Kind("a name without an end", named("scan"), READ),
)  # fmt: skip

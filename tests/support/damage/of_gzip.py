"""Damage to the gzip stream, bombs, and what is packed otherwise than its name says."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import zipfile
import zlib
from pathlib import Path

from tests.support.damage.draft import Rng, sound, with_content, with_packed
from tests.support.damage.kinds import Accepted, Kind, Made, Rejected, Write
from tests.support.damage.of_header import UNREADABLE
from tests.support.damage.of_shape import LONG

DAMAGED = Rejected("is truncated or damaged", "copy or download it again")
SPOILT = Rejected("again")
"""Where it depends on the bytes whether the stream breaks or goes on for too long."""
READ = Accepted("unpacked as usual")
MEBIBYTE = 1 << 20


def zeros(mebibytes: int) -> bytes:
    """A raw deflate stream of so many MiB of zeros, a thousandth of that size, not ended."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(MEBIBYTE)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * mebibytes


def bomb(start: bytes, mebibytes: int) -> bytes:
    """A gzip stream that unpacks to `start` and then zeros."""
    packer = zlib.compressobj(9, wbits=31)
    head = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + zeros(mebibytes) + b"\x03\x00" + bytes(8)


def _after_the_voxels(rng: Rng, folder: Path) -> Made:
    """A sound file, then 1 GiB."""
    draft = sound(rng, packed=True)
    made = draft.save(folder)
    made.path.write_bytes(bomb(draft.content(), 1024))
    return made


def _as_voxels(rng: Rng, folder: Path) -> Made:
    """A header that asks for a terabyte, and 1 GiB of it."""
    draft = sound(rng, packed=True, version=2)
    draft.header["dim"][1:4] = 10_000
    made = draft.save(folder)
    made.path.write_bytes(bomb(draft.content(), 1024))
    return made


def _as_extension(size: int) -> Write:
    """1 GiB between header and voxels, in one header extension or in millions of them."""

    def write(rng: Rng, folder: Path) -> Made:
        draft = sound(rng, packed=True)
        draft.between = struct.pack(draft.header.endianness + "4bii", 1, 0, 0, 0, size, 6)
        made = draft.save(folder)
        made.path.write_bytes(bomb(draft.header.binaryblock + draft.between, 1024))
        return made

    return write


def _empty_members(rng: Rng, packed: bytes) -> bytes:
    return gzip.compress(b"") * 40_000 + packed


def _endless_name(rng: Rng, packed: bytes) -> bytes:
    """The stream's own file name has no end."""
    return packed[:3] + b"\x08" + packed[4:10] + b"a" * (30 * MEBIBYTE)


def _flip(first: int, last: int | None = None):
    """One bit of one byte, in a range that may count from the end."""

    def damage(rng: Rng, packed: bytes) -> bytes:
        place = range(len(packed))[first:last]
        content = bytearray(packed)
        content[rng.choice(place)] ^= 1 << rng.integers(8)
        return bytes(content)

    return damage


def _stored(rng: Rng, content: bytes) -> bytes:
    """Not compressed: only the checksum tells of a flipped bit."""
    packed = bytearray(gzip.compress(content, 0))
    packed[rng.integers(700, len(packed) - 8)] ^= 4
    return bytes(packed)


def _members(rng: Rng, content: bytes) -> bytes:
    cut = int(rng.integers(1, len(content)))
    return gzip.compress(content[:cut]) + gzip.compress(content[cut:]) + gzip.compress(b"")


def _second_cut(rng: Rng, content: bytes) -> bytes:
    return _members(rng, content)[: -rng.integers(21, 30)]


def _cut(first: float, last: float):
    def damage(rng: Rng, packed: bytes) -> bytes:
        return packed[: int(len(packed) * rng.uniform(first, last))]

    return damage


def _zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("scan.nii", content)
    return stream.getvalue()


def under(name: str, pack) -> Write:
    """A sound file, packed so, under this name."""

    def write(rng: Rng, folder: Path) -> Made:
        draft = sound(rng)
        path = folder / name
        path.write_bytes(pack(rng, draft.content()))
        return draft.made(path)

    return write


GZ = "scan.nii.gz"
KINDS = (
    Kind("gzip cut in the middle", with_packed(_cut(0.2, 0.9)), DAMAGED),
    Kind("gzip cut near its beginning", with_packed(_cut(0.01, 0.1)), DAMAGED),
    Kind("gzip without its last bytes", with_packed(lambda r, p: p[: -r.integers(1, 9)]), DAMAGED),
    Kind("gzip's magic alone", with_packed(lambda _, p: p[:2]), DAMAGED),
    Kind("a flipped bit in gzip's voxels", with_packed(_flip(-200, -8)), SPOILT),
    Kind("a flipped bit in gzip's checksum", with_packed(_flip(-8, -4)), DAMAGED),
    Kind("a flipped bit in gzip's length", with_packed(_flip(-4)), DAMAGED),
    Kind("a flipped bit in stored gzip", under(GZ, _stored), DAMAGED),
    Kind("an unknown packing in gzip", with_packed(lambda _, p: p[:2] + b"\x09" + p[3:]), DAMAGED),
    Kind("unknown flags in gzip", with_packed(lambda _, p: p[:3] + b"\xe0" + p[4:]), DAMAGED),
    Kind("a gzip name without end", with_packed(_endless_name), DAMAGED),
    Kind("zeros after gzip", with_packed(lambda r, p: p + bytes(r.integers(1, 99999))), READ),
    Kind("garbage after gzip", with_packed(lambda r, p: p + b"x" + r.bytes(99)), DAMAGED),
    Kind("several gzip members", under(GZ, _members), READ),
    Kind("several gzip members, the last cut", under(GZ, _second_cut), DAMAGED),
    Kind("thousands of empty gzip members", with_packed(_empty_members), READ),
    Kind("gzip of nothing", under(GZ, lambda *_: gzip.compress(b"")), Rejected("is truncated")),
    Kind("gzip in gzip", under(GZ, lambda _, c: gzip.compress(gzip.compress(c))), UNREADABLE),
    Kind("unpacked under .nii.gz", under(GZ, lambda _, c: c), READ),
    Kind("packed under .nii", under("scan.nii", lambda _, c: gzip.compress(c)), READ),
    Kind("bzip2 under .nii.gz", under(GZ, lambda _, c: bz2.compress(c)), UNREADABLE),
    Kind("xz under .nii.gz", under(GZ, lambda _, c: lzma.compress(c)), UNREADABLE),
    Kind("zip under .nii.gz", under(GZ, lambda _, c: _zipped(c)), UNREADABLE),
    Kind("line ends changed in transfer", with_packed(lambda _, p: p.replace(b"\x0a", b"\x0d\x0a")
         + b"\n"), SPOILT),
    Kind("taken for text in transfer",
         with_content(lambda _, c: c.decode("latin-1").encode(), dtype="f4"),
         Rejected("; ")),
    Kind("a bomb after the voxels", _after_the_voxels, LONG),
    Kind("a bomb as voxels", _as_voxels, Rejected("is truncated", "declares")),
    Kind("a bomb as one header extension", _as_extension(2**30), LONG),
    Kind("a bomb as many header extensions", _as_extension(0), LONG),
)  # fmt: skip

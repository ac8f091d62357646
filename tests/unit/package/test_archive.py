"""The zip of a package is distrusted: cut off, with flipped bytes, crafted, or a bomb."""

from __future__ import annotations

import struct
import tracemalloc
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.crafted_packages import assert_equal_or_rejected, entries, read_error, write_zip


def test_a_package_cut_off_anywhere_is_rejected(packed, tmp_path):
    raw = packed.read_bytes()
    path = tmp_path / "cut"
    for size in {len(raw) * k // 50 for k in range(50)} | {len(raw) - 1}:
        path.write_bytes(raw[:size])
        assert "download it again" in read_error(path)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_flipped_byte_changes_nothing_or_is_reported(packed, package, tmp_path_factory, data):
    whole = bytearray(packed.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "flipped.softseg"
    path.write_bytes(whole)
    assert_equal_or_rejected(path, package)


def test_a_flipped_byte_in_the_records_of_the_zip_changes_nothing_or_is_reported(
    packed, package, tmp_path
):
    """Most bytes are content; these few could confuse a reader."""
    whole = packed.read_bytes()
    begin = struct.unpack("<L", whole[-6:-2])[0]
    path = tmp_path / "flipped"
    places = [*range(44), *range(begin, begin + 60), *range(len(whole) - 40, len(whole))]
    for place in places[::3]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x81]) + whole[place + 1 :])
        assert_equal_or_rejected(path, package)


def duplicated(path, contents):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("config.yaml", b"name: other")
    return path


def linked(path, contents):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in contents.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o120777 if name == "README.md" else 0o100644) << 16
            archive.writestr(entry, data)
    return path


def encrypted(path, contents):
    """Set the flag of encryption in both places where a zip has it."""
    raw = bytearray(write_zip(path, contents).read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        raw[raw.rindex(signature) + offset] |= 1
    path.write_bytes(raw)
    return path


def empty(path, contents):
    path.write_bytes(b"")
    return path


def compressed(path, contents):
    return write_zip(path, contents, zipfile.ZIP_LZMA)


def crowded(path, contents):
    return write_zip(path, {str(number): b"" for number in range(70)})


def with_entry(name):
    return lambda path, contents: write_zip(path, {**contents, name: b"x"})


def without(name):
    return lambda path, contents: write_zip(path, {k: v for k, v in contents.items() if k != name})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (with_entry("../../evil"), "'../../evil' in it leaves its folder"),
        (with_entry("/etc/passwd"), "leaves its folder"),
        (with_entry("..\\evil"), "leaves its folder"),
        (with_entry("C:evil"), "leaves its folder"),
        (with_entry("folder/"), "'folder/', which is not an entry of a package"),
        (with_entry("weights.pt"), "'weights.pt', which is not an entry of a package"),
        (with_entry("\x1b[2Jx"), r"'\x1b[2Jx', which is not an entry of a package"),
        (without("model.safetensors"), "lacks model.safetensors"),
        (without("manifest.json"), "not a package"),
        (without("thresholds.json"), "lists other entries"),
        (duplicated, "config.yaml twice"),
        (linked, "README.md is a link"),
        (encrypted, "is rejected: model.safetensors is encrypted"),
        (compressed, "is compressed"),
        (empty, "incomplete or not a package"),
        (crowded, "lists 70 entries"),
    ],
)
def test_a_zip_that_softseg_would_not_write_is_rejected(packed, tmp_path, make, message):
    assert message in read_error(make(tmp_path / "m", entries(packed)))
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def bomb(path, contents, size):
    """Write a zip whose model unpacks to much more than its size."""
    others = {name: data for name, data in contents.items() if name != "model.safetensors"}
    with zipfile.ZipFile(write_zip(path, others), "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.safetensors", bytes(size))
    return path


def declare_size(path, size):
    """Declare in the directory of the zip that the last entry has `size` stored bytes."""
    raw = bytearray(path.read_bytes())
    place = raw.rindex(b"PK\1\2")
    raw[place + 20 : place + 28] = struct.pack("<LL", size, size)
    raw[place + 10 : place + 12] = b"\0\0"
    path.write_bytes(raw)
    return path


def test_a_zip_bomb_is_rejected_without_taking_memory(packed, tmp_path):
    whole = bomb(tmp_path / "bomb", entries(packed), 20_000_000)
    assert whole.stat().st_size < 100_000
    tracemalloc.start()
    try:
        assert "is compressed" in read_error(whole)
        assert "unpacks to 4,294,967,294 bytes" in read_error(declare_size(whole, 2**32 - 2))
        assert "more bytes than the file" in read_error(declare_size(whole, 1_900_000_000))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_entries_that_share_their_bytes_are_rejected(packed, tmp_path):
    """Each of them fits into the file, all of them together do not."""
    contents = entries(packed)
    path = write_zip(tmp_path / "m", {**contents, "README.md": b"x" * 50_000})
    raw = path.read_bytes()
    begin = struct.unpack("<L", raw[-6:-2])[0]
    listed = bytearray(raw[begin:])
    for name in (b"about.json", b"config.yaml"):
        place = listed.index(name) - 46
        listed[place + 20 : place + 28] = struct.pack("<LL", 50_000, 50_000)
        listed[place + 42 : place + 46] = struct.pack("<L", 0)
    path.write_bytes(raw[:begin] + listed)
    assert "overlap" in read_error(path).lower()


def test_an_entry_that_declares_100_gb_is_rejected(packed, tmp_path):
    """Such a size is in a zip64 field."""
    path = write_zip(tmp_path / "m", entries(packed))
    with zipfile.ZipFile(path, "a") as archive:
        archive.infolist()[-1].file_size = 100 * 2**30
        archive.comment = b"so that the directory is written again"
    raw = path.read_bytes().removesuffix(b"so that the directory is written again")
    path.write_bytes(raw[:-2] + b"\0\0")
    assert "unpacks to 107,374,182,400 bytes" in read_error(path)

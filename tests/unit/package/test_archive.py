"""The zip of a package is read with distrust: cut off, flipped, crafted, or a bomb."""

from __future__ import annotations

import struct
import tracemalloc
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.crafted_packages import entries, equal_or_refused, refused, zipped


def test_a_package_cut_off_anywhere_is_refused(packed, tmp_path):
    whole = packed.read_bytes()
    path = tmp_path / "cut"
    for size in {len(whole) * k // 50 for k in range(50)} | {len(whole) - 1}:
        path.write_bytes(whole[:size])
        assert "get it again" in refused(path)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_flipped_byte_changes_nothing_or_is_found(packed, package, tmp_path_factory, data):
    whole = bytearray(packed.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "flipped.softseg"
    path.write_bytes(whole)
    equal_or_refused(path, package)


def test_a_flipped_byte_of_the_zips_own_records_changes_nothing_or_is_found(
    packed, package, tmp_path
):
    """Most bytes are content; in these few a reader could stumble."""
    whole = packed.read_bytes()
    begin = struct.unpack("<L", whole[-6:-2])[0]
    path = tmp_path / "flipped"
    places = [*range(44), *range(begin, begin + 60), *range(len(whole) - 40, len(whole))]
    for place in places[::3]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x81]) + whole[place + 1 :])
        equal_or_refused(path, package)


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
    """The flag of encryption set in both places where a zip has it."""
    raw = bytearray(zipped(path, contents).read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        raw[raw.rindex(signature) + offset] |= 1
    path.write_bytes(raw)
    return path


def empty(path, contents):
    path.write_bytes(b"")
    return path


def compressed(path, contents):
    return zipped(path, contents, zipfile.ZIP_LZMA)


def crowded(path, contents):
    return zipped(path, {str(number): b"" for number in range(70)})


def adding(name):
    return lambda path, contents: zipped(path, {**contents, name: b"x"})


def dropping(name):
    return lambda path, contents: zipped(path, {k: v for k, v in contents.items() if k != name})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (adding("../../evil"), "'../../evil' in it leaves its folder"),
        (adding("/etc/passwd"), "leaves its folder"),
        (adding("..\\evil"), "leaves its folder"),
        (adding("C:evil"), "leaves its folder"),
        (adding("folder/"), "'folder/', which no package has"),
        (adding("weights.pt"), "'weights.pt', which no package has"),
        (adding("\x1b[2Jx"), r"'\x1b[2Jx', which no package has"),
        (dropping("model.safetensors"), "lacks model.safetensors"),
        (dropping("manifest.json"), "no package"),
        (dropping("thresholds.json"), "names other entries"),
        (duplicated, "config.yaml twice"),
        (linked, "README.md is a link"),
        (encrypted, "is refused: model.safetensors is encrypted"),
        (compressed, "is compressed"),
        (empty, "cut off, or no package"),
        (crowded, "lists 70 entries"),
    ],
)
def test_a_zip_that_softseg_would_not_write_is_refused(packed, tmp_path, make, words):
    assert words in refused(make(tmp_path / "m", entries(packed)))
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def bomb(path, contents, size):
    """A zip whose model unpacks to much more than it takes."""
    others = {name: data for name, data in contents.items() if name != "model.safetensors"}
    with zipfile.ZipFile(zipped(path, others), "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.safetensors", bytes(size))
    return path


def claiming(path, size):
    """Say in the list of entries that the last one has `size` bytes, stored as they are."""
    raw = bytearray(path.read_bytes())
    place = raw.rindex(b"PK\1\2")
    raw[place + 20 : place + 28] = struct.pack("<LL", size, size)
    raw[place + 10 : place + 12] = b"\0\0"
    path.write_bytes(raw)
    return path


def test_a_zip_bomb_is_refused_without_taking_memory(packed, tmp_path):
    whole = bomb(tmp_path / "bomb", entries(packed), 20_000_000)
    assert whole.stat().st_size < 100_000
    tracemalloc.start()
    try:
        assert "is compressed" in refused(whole)
        assert "unpacks to 4,294,967,294 bytes" in refused(claiming(whole, 2**32 - 2))
        assert "more bytes than there are" in refused(claiming(whole, 1_900_000_000))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_entries_that_share_their_bytes_are_refused(packed, tmp_path):
    """Each of them fits into the file, all of them do not."""
    contents = entries(packed)
    path = zipped(tmp_path / "m", {**contents, "README.md": b"x" * 50_000})
    raw = path.read_bytes()
    begin = struct.unpack("<L", raw[-6:-2])[0]
    listed = bytearray(raw[begin:])
    for name in (b"about.json", b"config.yaml"):
        place = listed.index(name) - 46
        listed[place + 20 : place + 28] = struct.pack("<LL", 50_000, 50_000)
        listed[place + 42 : place + 46] = struct.pack("<L", 0)
    path.write_bytes(raw[:begin] + listed)
    assert "overlap" in refused(path).lower()


def test_an_entry_that_says_100_gb_is_refused(packed, tmp_path):
    """Such a size stands in a zip64 field."""
    path = zipped(tmp_path / "m", entries(packed))
    with zipfile.ZipFile(path, "a") as archive:
        archive.infolist()[-1].file_size = 100 * 2**30
        archive.comment = b"so that the list is written again"
    raw = path.read_bytes().removesuffix(b"so that the list is written again")
    path.write_bytes(raw[:-2] + b"\0\0")
    assert "unpacks to 107,374,182,400 bytes" in refused(path)

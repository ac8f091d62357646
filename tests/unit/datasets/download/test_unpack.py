"""An archive is unpacked completely next to itself, or rejected without leaving a file."""

from __future__ import annotations

import random
import tarfile
from pathlib import Path

import pytest

from softseg.core.errors import UserError
from softseg.datasets.download.unpack import unpack
from tests.support.download.archives import link, tar, zipped

VALID = {"set/images/a.nii": b"a", "set/b.json": b"{}"}
ZEROS = bytes(5_000_000)


def archive(folder: Path, content: bytes) -> Path:
    path = folder / "inner" / "set.tar"
    path.parent.mkdir()
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("content", [tar(VALID), tar(VALID, mode="w:gz"), zipped(VALID)])
def test_a_valid_archive_is_unpacked_next_to_it(tmp_path, content):
    path = archive(tmp_path, content)
    root = unpack(path, "set", 100)
    assert root == path.parent / "set"
    unpacked = {p.relative_to(path.parent).as_posix(): p.read_bytes() for p in root.rglob("*.*")}
    assert unpacked == VALID
    assert sorted(p.name for p in path.parent.iterdir()) == ["set", "set.tar"]


INVALID = {
    "a path upwards": tar({**VALID, "../evil": b"x"}),
    "a path upwards within": tar({**VALID, "set/../../evil": b"x"}),
    "an absolute path": tar({**VALID, "/tmp/softseg-evil": b"x"}),
    "a path of Windows": tar({**VALID, "C:\\evil": b"x"}),
    "a path upwards of Windows": tar({**VALID, "..\\evil": b"x"}),
    "a link out": tar(VALID, link("set/link", "../../..")),
    "a link out, then through it": tar(
        {**VALID}, link("set/link", "/tmp"), link("set/link/evil", "x", tarfile.LNKTYPE)
    ),
    "a hard link out": tar(VALID, link("set/link", "/etc/passwd", tarfile.LNKTYPE)),
    "a device": tar(VALID, link("set/null", "", tarfile.CHRTYPE)),
    "a zip with a path upwards": zipped({**VALID, "../evil": b"x"}),
    "a zip with an absolute path": zipped({**VALID, "/tmp/softseg-evil": b"x"}),
    "a zip with a link": zipped(VALID, link="/etc"),
}


@pytest.mark.parametrize("content", INVALID.values(), ids=INVALID.keys())
def test_unsafe_members_are_rejected_and_nothing_is_written(tmp_path, content):
    path = archive(tmp_path, content)
    with pytest.raises(UserError, match=r"set\.tar: rejected, because it contains a (path|link)"):
        unpack(path, "set")
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == [
        "inner", "inner/set.tar",
    ]  # fmt: skip
    assert not Path("/tmp/softseg-evil").exists()


@pytest.mark.parametrize("content", [tar({"set/a": ZEROS}, mode="w:gz"), zipped({"set/a": ZEROS})])
@pytest.mark.parametrize("largest", [None, 4_999_999])
def test_a_decompression_bomb_is_rejected_before_it_is_unpacked(tmp_path, content, largest):
    path = archive(tmp_path, content)
    with pytest.raises(UserError, match="rejected, because it unpacks to more than"):
        unpack(path, "set", largest)
    assert [p.name for p in path.parent.iterdir()] == ["set.tar"]


def test_an_archive_within_a_stated_bound_is_unpacked(tmp_path):
    path = archive(tmp_path, zipped({"set/a": ZEROS}))
    assert (unpack(path, "set", 5_000_000) / "a").stat().st_size == 5_000_000


BYTES = random.Random(0).randbytes(50_000)
COMPLETE = [tar({"set/a": BYTES}), tar({"set/a": BYTES}, mode="w:gz"), zipped({"set/a": BYTES})]


@pytest.mark.parametrize("content", [b"", b"<html>", *(complete[:30_000] for complete in COMPLETE)])
def test_an_incomplete_archive_is_rejected(tmp_path, content):
    path = archive(tmp_path, content)
    with pytest.raises(UserError, match=r"set\.tar: is not a complete archive"):
        unpack(path, "set", 100_000)
    assert [p.name for p in path.parent.iterdir()] == ["set.tar"]


def test_an_archive_without_the_folder_is_rejected(tmp_path):
    with pytest.raises(UserError, match="contains no folder set"):
        unpack(archive(tmp_path, tar({"other/a": b"a"})), "set", 100)

"""An archive is unpacked whole beside itself, or refused without a trace."""

from __future__ import annotations

import random
import tarfile
from pathlib import Path

import pytest

from softseg.core.errors import UserError
from softseg.datasets.download.unpack import unpack
from tests.support.download.archives import link, tar, zipped

GOOD = {"set/images/a.nii": b"a", "set/b.json": b"{}"}
ZEROS = bytes(5_000_000)


def archive(folder: Path, content: bytes) -> Path:
    path = folder / "inner" / "set.tar"
    path.parent.mkdir()
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("content", [tar(GOOD), tar(GOOD, mode="w:gz"), zipped(GOOD)])
def test_a_good_one_is_unpacked_beside_it(tmp_path, content):
    path = archive(tmp_path, content)
    root = unpack(path, "set", 100)
    assert root == path.parent / "set"
    found = {p.relative_to(path.parent).as_posix(): p.read_bytes() for p in root.rglob("*.*")}
    assert found == GOOD
    assert sorted(p.name for p in path.parent.iterdir()) == ["set", "set.tar"]


BAD = {
    "a path upwards": tar({**GOOD, "../evil": b"x"}),
    "a path upwards within": tar({**GOOD, "set/../../evil": b"x"}),
    "an absolute path": tar({**GOOD, "/tmp/softseg-evil": b"x"}),
    "a path of Windows": tar({**GOOD, "C:\\evil": b"x"}),
    "a path upwards of Windows": tar({**GOOD, "..\\evil": b"x"}),
    "a link out": tar(GOOD, link("set/link", "../../..")),
    "a link out, then through it": tar(
        {**GOOD}, link("set/link", "/tmp"), link("set/link/evil", "x", tarfile.LNKTYPE)
    ),
    "a hard link out": tar(GOOD, link("set/link", "/etc/passwd", tarfile.LNKTYPE)),
    "a device": tar(GOOD, link("set/null", "", tarfile.CHRTYPE)),
    "a zip with a path upwards": zipped({**GOOD, "../evil": b"x"}),
    "a zip with an absolute path": zipped({**GOOD, "/tmp/softseg-evil": b"x"}),
    "a zip with a link": zipped(GOOD, link="/etc"),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_what_leaves_its_folder_is_refused_and_nothing_written(tmp_path, content):
    path = archive(tmp_path, content)
    with pytest.raises(UserError, match=r"set\.tar: refused, since it holds a (path|link)"):
        unpack(path, "set")
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == [
        "inner", "inner/set.tar",
    ]  # fmt: skip
    assert not Path("/tmp/softseg-evil").exists()


@pytest.mark.parametrize("content", [tar({"set/a": ZEROS}, mode="w:gz"), zipped({"set/a": ZEROS})])
@pytest.mark.parametrize("largest", [None, 4_999_999])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, content, largest):
    path = archive(tmp_path, content)
    with pytest.raises(UserError, match="refused, since it unpacks to more than"):
        unpack(path, "set", largest)
    assert [p.name for p in path.parent.iterdir()] == ["set.tar"]


def test_a_stated_bound_admits_what_is_within_it(tmp_path):
    path = archive(tmp_path, zipped({"set/a": ZEROS}))
    assert (unpack(path, "set", 5_000_000) / "a").stat().st_size == 5_000_000


BYTES = random.Random(0).randbytes(50_000)
WHOLE = [tar({"set/a": BYTES}), tar({"set/a": BYTES}, mode="w:gz"), zipped({"set/a": BYTES})]


@pytest.mark.parametrize("content", [b"", b"<html>", *(whole[:30_000] for whole in WHOLE)])
def test_half_an_archive_is_told_as_such(tmp_path, content):
    path = archive(tmp_path, content)
    with pytest.raises(UserError, match=r"set\.tar: is no whole archive"):
        unpack(path, "set", 100_000)
    assert [p.name for p in path.parent.iterdir()] == ["set.tar"]


def test_an_archive_of_something_else_is_told(tmp_path):
    with pytest.raises(UserError, match="holds no folder set"):
        unpack(archive(tmp_path, tar({"other/a": b"a"})), "set", 100)

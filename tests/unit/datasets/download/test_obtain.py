"""A data set comes into its folder once, whole; what is there is left alone."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
from filelock import FileLock

from softseg.core.errors import UserError
from softseg.datasets.download.obtain import obtain
from softseg.datasets.download.sources import Archive, Loose
from tests.support.download.archives import link, tar
from tests.support.download.server import serving

TAR = tar({"set/imagesTr/a.nii": b"image" * 1000, "set/dataset.json": b"{}"})
TOLD = {"title": "A set", "license": "CC0", "citation": "A. N. Other", "config": "configs/x.yaml"}


@pytest.fixture
def server():
    with serving(set_tar=TAR, a1_nii=b"one", a2_nii=b"two") as running:
        yield running


def packed(server, checksum=None):
    address = f"{server.address}set.tar"
    kind = "archive"
    return Archive(kind=kind, address=address, checksum=checksum, folder="set", **TOLD)


def loose(server, **more):
    paths = ("a{case}.nii",)
    return Loose(kind="files", address=server.address, paths=paths, cases=2, **TOLD, **more)


def get(source, folder):
    return obtain(source, folder, lambda *_: None)


def visible(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def test_an_archive_is_unpacked_and_deleted(server, tmp_path):
    folder = tmp_path / "data" / "new"
    obtained = get(packed(server, hashlib.sha256(TAR).hexdigest()), folder)
    assert obtained.root == folder / "set"
    assert obtained.fetched == 1
    assert (folder / "set/imagesTr/a.nii").read_bytes() == b"image" * 1000
    assert visible(folder) == ["set"]


def test_a_second_call_asks_nobody(server, tmp_path):
    for source in (packed(server), loose(server)):
        assert get(source, tmp_path).fetched > 0
    asked = len(server.told)
    for source in (packed(server), loose(server)):
        assert get(source, tmp_path).fetched == 0
    assert len(server.told) == asked


def test_an_archive_of_unknown_checksum_is_held_against_the_first(server, tmp_path):
    root = get(packed(server), tmp_path).root
    told = json.loads((tmp_path / "checksums.json").read_text())
    assert told == {"set.tar": hashlib.sha256(TAR).hexdigest()}
    root.rename(tmp_path / "away")
    server.files["set.tar"] = tar({"set/other": b""})
    with pytest.raises(UserError, match=r"set\.tar: .*does not match"):
        get(packed(server), tmp_path)
    assert visible(tmp_path) == ["away", "checksums.json"]


def test_a_refused_archive_leaves_nothing_and_is_not_recorded(server, tmp_path):
    server.files["set.tar"] = tar({"set/a": b""}, link("set/b", "/etc"))
    with pytest.raises(UserError, match="refused"):
        get(packed(server), tmp_path)
    assert visible(tmp_path) == []


def test_single_files_are_recorded_and_small_ones_added(server, tmp_path):
    known = {"a1.nii": hashlib.sha256(b"one").hexdigest()}
    source = loose(server, checksums=known, written={"participants.tsv": "participant_id\n"})
    assert get(source, tmp_path).fetched == 2
    assert [(tmp_path / f"a{n}.nii").read_bytes() for n in (1, 2)] == [b"one", b"two"]
    told = json.loads((tmp_path / "checksums.json").read_text())
    assert told == {"a2.nii": hashlib.sha256(b"two").hexdigest()}
    assert (tmp_path / "participants.tsv").read_text() == "participant_id\n"


def test_only_what_is_missing_is_fetched_and_the_user_s_table_kept(server, tmp_path):
    source = loose(server, written={"participants.tsv": "participant_id\n"})
    get(source, tmp_path)
    (tmp_path / "a1.nii").unlink()
    (tmp_path / "participants.tsv").write_text("mine\n")
    assert get(source, tmp_path).fetched == 1
    assert (tmp_path / "a1.nii").read_bytes() == b"one"
    assert (tmp_path / "participants.tsv").read_text() == "mine\n"


def test_a_file_that_fails_does_not_cost_those_before_it(server, tmp_path):
    two = server.files.pop("a2.nii")
    with pytest.raises(UserError, match="404"):
        get(loose(server), tmp_path)
    assert visible(tmp_path) == ["a1.nii", "checksums.json"]
    server.files["a2.nii"] = two
    assert get(loose(server), tmp_path).fetched == 1


def test_a_folder_that_is_a_file_is_told(server, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=f"{folder}: cannot be written to"):
            get(packed(server), folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only_is_told(server, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written to"):
        get(packed(server), tmp_path)


def test_two_downloads_do_not_write_into_the_same_part(server, tmp_path):
    with (
        FileLock(tmp_path / ".download.lock"),
        pytest.raises(UserError, match="another download is writing"),
    ):
        get(packed(server), tmp_path)
    assert server.told == []

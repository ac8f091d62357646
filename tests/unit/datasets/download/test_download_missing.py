"""A dataset is downloaded once and completely; files that exist are not changed."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
from filelock import FileLock

from softseg.core.errors import UserError
from softseg.datasets.download.download_missing import download_missing
from softseg.datasets.download.sources import Archive, FileSet
from tests.support.download.archives import link, tar
from tests.support.download.server import serving

TAR = tar({"set/imagesTr/a.nii": b"image" * 1000, "set/dataset.json": b"{}"})
TEXTS = {"title": "A set", "license": "CC0", "citation": "A. N. Other", "config": "configs/x.yaml"}


@pytest.fixture
def server():
    with serving(set_tar=TAR, a1_nii=b"one", a2_nii=b"two") as running:
        yield running


def archive(server, checksum=None):
    address = f"{server.address}set.tar"
    kind = "archive"
    return Archive(kind=kind, address=address, checksum=checksum, folder="set", **TEXTS)


def file_set(server, **more):
    paths = ("a{case}.nii",)
    return FileSet(kind="files", address=server.address, paths=paths, cases=2, **TEXTS, **more)


def get(source, folder):
    return download_missing(source, folder, lambda *_: None)


def visible(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def test_an_archive_is_unpacked_and_deleted(server, tmp_path):
    folder = tmp_path / "data" / "new"
    source = archive(server, hashlib.sha256(TAR).hexdigest())
    assert get(source, folder) == (folder / "set", 1)
    assert (folder / "set/imagesTr/a.nii").read_bytes() == b"image" * 1000
    assert visible(folder) == ["set"]


def test_a_second_call_sends_no_request(server, tmp_path):
    for source in (archive(server), file_set(server)):
        assert get(source, tmp_path)[1] > 0
    requests = len(server.requests)
    for source in (archive(server), file_set(server)):
        assert get(source, tmp_path)[1] == 0
    assert len(server.requests) == requests


def test_an_archive_of_unknown_checksum_is_compared_with_the_first(server, tmp_path):
    get(archive(server), tmp_path)
    record = json.loads((tmp_path / "checksums.json").read_text())
    assert record == {"set.tar": hashlib.sha256(TAR).hexdigest()}
    (tmp_path / "set").rename(tmp_path / "away")
    server.files["set.tar"] = tar({"set/other": b""})
    with pytest.raises(UserError, match=r"set\.tar: .*does not match"):
        get(archive(server), tmp_path)
    assert visible(tmp_path) == ["away", "checksums.json"]


def test_a_rejected_archive_leaves_nothing_and_is_not_recorded(server, tmp_path):
    server.files["set.tar"] = tar({"set/a": b""}, link("set/b", "/etc"))
    with pytest.raises(UserError, match="rejected"):
        get(archive(server), tmp_path)
    assert visible(tmp_path) == []


def test_checksums_of_single_files_are_recorded_and_small_files_written(server, tmp_path):
    checksums = {"a1.nii": hashlib.sha256(b"one").hexdigest()}
    source = file_set(server, checksums=checksums, written={"participants.tsv": "participant_id\n"})
    assert get(source, tmp_path)[1] == 2
    assert [(tmp_path / f"a{n}.nii").read_bytes() for n in (1, 2)] == [b"one", b"two"]
    record = json.loads((tmp_path / "checksums.json").read_text())
    assert record == {"a2.nii": hashlib.sha256(b"two").hexdigest()}
    assert (tmp_path / "participants.tsv").read_text() == "participant_id\n"


def test_only_missing_files_are_downloaded_and_the_users_table_is_kept(server, tmp_path):
    source = file_set(server, written={"participants.tsv": "participant_id\n"})
    get(source, tmp_path)
    (tmp_path / "a1.nii").unlink()
    (tmp_path / "participants.tsv").write_text("mine\n")
    assert get(source, tmp_path)[1] == 1
    assert (tmp_path / "a1.nii").read_bytes() == b"one"
    assert (tmp_path / "participants.tsv").read_text() == "mine\n"


def test_files_before_a_failing_one_are_kept(server, tmp_path):
    two = server.files.pop("a2.nii")
    with pytest.raises(UserError, match="404"):
        get(file_set(server), tmp_path)
    assert visible(tmp_path) == ["a1.nii", "checksums.json"]
    server.files["a2.nii"] = two
    assert get(file_set(server), tmp_path)[1] == 1


def test_a_folder_that_is_a_file_is_rejected(server, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=f"{folder}: cannot be written to"):
            get(archive(server), folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_rejected(server, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written to"):
        get(archive(server), tmp_path)


def test_a_second_download_into_the_same_folder_is_rejected(server, tmp_path):
    with (
        FileLock(tmp_path / ".download.lock"),
        pytest.raises(UserError, match="another download is writing"),
    ):
        get(archive(server), tmp_path)
    assert server.requests == []

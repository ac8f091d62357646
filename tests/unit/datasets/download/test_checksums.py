"""A file with a wrong checksum does not get its name; a first one is recorded."""

from __future__ import annotations

import hashlib
import json

import pytest

from softseg.core.errors import UserError
from softseg.datasets.download.checksums import have, record, recorded
from tests.support.download.server import serving

RIGHT, WRONG = b"a scan" * 1000, b"A scan" * 1000
SHA = hashlib.sha256(RIGHT).hexdigest()
MD5 = "md5:" + hashlib.md5(RIGHT).hexdigest()


@pytest.fixture
def server():
    with serving(scan_nii=RIGHT) as running:
        yield running


def get(server, folder, known=None):
    return have(f"{server.address}scan.nii", folder, "sub/scan.nii", known, lambda *_: None)


@pytest.mark.parametrize("known", [SHA, MD5])
def test_a_wrong_file_is_deleted_and_both_checksums_told(server, tmp_path, known):
    server.files["scan.nii"] = WRONG
    algorithm = "md5" if known == MD5 else "sha256"
    with pytest.raises(UserError) as error:
        get(server, tmp_path, known)
    assert known in str(error.value)
    assert hashlib.new(algorithm, WRONG).hexdigest() in str(error.value)
    assert f"{server.address}scan.nii" in str(error.value)
    assert list((tmp_path / "sub").iterdir()) == []


@pytest.mark.parametrize("known", [SHA, MD5])
def test_a_right_file_is_taken_and_not_fetched_again(server, tmp_path, known):
    assert get(server, tmp_path, known)
    assert not get(server, tmp_path, known)
    assert len(server.told) == 1


def test_a_file_that_was_spoilt_is_fetched_again(server, tmp_path):
    get(server, tmp_path, SHA)
    (tmp_path / "sub/scan.nii").write_bytes(WRONG)
    assert get(server, tmp_path, SHA)
    assert (tmp_path / "sub/scan.nii").read_bytes() == RIGHT


def test_what_was_recorded_holds_ever_after(server, tmp_path):
    get(server, tmp_path)
    record(tmp_path, "sub/scan.nii")
    assert json.loads((tmp_path / "checksums.json").read_text()) == {"sub/scan.nii": SHA}
    (tmp_path / "sub/scan.nii").unlink()
    server.files["scan.nii"] = WRONG
    with pytest.raises(UserError, match=r"remove sub/scan\.nii from .*checksums\.json"):
        get(server, tmp_path)
    assert not (tmp_path / "sub/scan.nii").exists()


def test_a_record_keeps_what_it_has(tmp_path):
    for name, content in (("a", RIGHT), ("b", WRONG), ("a", WRONG)):
        (tmp_path / name).write_bytes(content)
        record(tmp_path, name)
    assert recorded(tmp_path) == {"a": SHA, "b": hashlib.sha256(WRONG).hexdigest()}


@pytest.mark.parametrize("content", ["{", "[]", "3"])
def test_a_record_that_is_none_is_told(tmp_path, content):
    (tmp_path / "checksums.json").write_text(content)
    with pytest.raises(UserError, match=r"checksums\.json: is no record of checksums"):
        recorded(tmp_path)

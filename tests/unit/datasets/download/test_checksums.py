"""A file with a wrong checksum does not get its name; a first one is recorded."""

from __future__ import annotations

import hashlib
import json

import pytest

from softseg.core.errors import UserError
from softseg.datasets.download.download_missing import (
    download_file,
    record_checksum,
    recorded_checksums,
)
from tests.support.download.server import serving

RIGHT, WRONG = b"a scan" * 1000, b"A scan" * 1000
SHA = hashlib.sha256(RIGHT).hexdigest()
MD5 = "md5:" + hashlib.md5(RIGHT).hexdigest()


@pytest.fixture
def server():
    with serving(scan_nii=RIGHT) as running:
        yield running


def get(server, folder, checksum=None):
    url = f"{server.address}scan.nii"
    return download_file(url, folder, "sub/scan.nii", checksum, lambda *_: None)


@pytest.mark.parametrize("checksum", [SHA, MD5])
def test_a_wrong_file_is_deleted_and_the_error_names_both_checksums(server, tmp_path, checksum):
    server.files["scan.nii"] = WRONG
    algorithm = "md5" if checksum == MD5 else "sha256"
    with pytest.raises(UserError) as error:
        get(server, tmp_path, checksum)
    assert checksum in str(error.value)
    assert hashlib.new(algorithm, WRONG).hexdigest() in str(error.value)
    assert f"{server.address}scan.nii" in str(error.value)
    assert list((tmp_path / "sub").iterdir()) == []


@pytest.mark.parametrize("checksum", [SHA, MD5])
def test_a_right_file_is_accepted_and_not_downloaded_again(server, tmp_path, checksum):
    assert get(server, tmp_path, checksum)
    assert not get(server, tmp_path, checksum)
    assert len(server.requests) == 1


def test_a_damaged_file_is_downloaded_again(server, tmp_path):
    get(server, tmp_path, SHA)
    (tmp_path / "sub/scan.nii").write_bytes(WRONG)
    assert get(server, tmp_path, SHA)
    assert (tmp_path / "sub/scan.nii").read_bytes() == RIGHT


def test_later_downloads_are_compared_with_the_recorded_checksum(server, tmp_path):
    get(server, tmp_path)
    record_checksum(tmp_path, "sub/scan.nii")
    assert json.loads((tmp_path / "checksums.json").read_text()) == {"sub/scan.nii": SHA}
    (tmp_path / "sub/scan.nii").unlink()
    server.files["scan.nii"] = WRONG
    with pytest.raises(UserError, match=r"remove sub/scan\.nii from .*checksums\.json"):
        get(server, tmp_path)
    assert not (tmp_path / "sub/scan.nii").exists()


def test_a_record_keeps_its_first_checksums(tmp_path):
    for name, content in (("a", RIGHT), ("b", WRONG), ("a", WRONG)):
        (tmp_path / name).write_bytes(content)
        record_checksum(tmp_path, name)
    assert recorded_checksums(tmp_path) == {"a": SHA, "b": hashlib.sha256(WRONG).hexdigest()}


@pytest.mark.parametrize("content", ["{", "[]", "3"])
def test_an_invalid_record_is_rejected(tmp_path, content):
    (tmp_path / "checksums.json").write_text(content)
    with pytest.raises(UserError, match=r"checksums\.json: is not a record of checksums"):
        recorded_checksums(tmp_path)

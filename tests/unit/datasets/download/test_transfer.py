"""A file is downloaded completely, also in parts; a partial one never gets its name."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softseg.core.errors import UserError
from softseg.datasets.download import transfer
from softseg.datasets.download.download_missing import download_file
from tests.support.download.server import Server, serving

CONTENT = random.Random(0).randbytes(400_000)
OTHER = random.Random(1).randbytes(300_000)


@pytest.fixture
def server():
    with serving(scan_nii=CONTENT) as running:
        yield running


def get(server: Server, folder: Path, progress=lambda *_: None) -> bytes:
    download_file(f"{server.address}scan.nii", folder, "scan.nii", None, progress)
    return (folder / "scan.nii").read_bytes()


def interrupted(server: Server, folder: Path, after: int = 250_000) -> int:
    """Interrupt a download; return the size of the part that is kept."""
    server.breaks_after = after
    with pytest.raises(UserError, match="the same command resumes"):
        get(server, folder)
    assert not (folder / "scan.nii").exists()
    server.breaks_after = None
    return (folder / "scan.nii.part").stat().st_size


def test_a_file_is_downloaded_and_nothing_else_is_left(server, tmp_path):
    assert get(server, tmp_path) == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii"]


def test_progress_is_called_up_to_the_complete_length(server, tmp_path):
    calls = []
    get(server, tmp_path, lambda *call: calls.append(call))
    assert calls[-1] == ("scan.nii", 400_000, 400_000)
    assert [done for _, done, _ in calls] == sorted(done for _, done, _ in calls)


def test_after_an_interruption_only_the_rest_is_requested(server, tmp_path):
    part_size = interrupted(server, tmp_path)
    assert part_size >= 250_000 - transfer.CHUNK
    server.sent = 0
    assert get(server, tmp_path) == CONTENT
    assert server.requests[-1]["Range"] == f"bytes={part_size}-"
    assert server.sent == 400_000 - part_size
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii"]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 200_000), max_size=4), st.booleans(), st.booleans())
def test_the_file_is_right_after_any_number_of_interruptions(
    tmp_path_factory, breaks, ranges, dated
):
    folder = tmp_path_factory.mktemp("data")
    with serving(scan_nii=CONTENT) as server:
        server.ranges = ranges
        if dated:
            server.headers = {"Last-Modified": "Mon, 05 Jan 2026 10:00:00 GMT"}
        for after in breaks:
            server.breaks_after = after
            try:
                get(server, folder)
            except UserError:
                assert not (folder / "scan.nii").exists()
        server.breaks_after = None
        assert get(server, folder) == CONTENT


@pytest.mark.parametrize("if_range", [True, False])
def test_a_file_that_changed_meanwhile_is_downloaded_from_the_start(server, tmp_path, if_range):
    interrupted(server, tmp_path)
    server.files["scan.nii"], server.headers = OTHER, {"ETag": '"two"'}
    server.if_range = if_range  # False: only the ETag of the response differs
    assert get(server, tmp_path) == OTHER


def test_from_a_server_without_ranges_the_complete_file_is_downloaded(server, tmp_path):
    interrupted(server, tmp_path)
    server.ranges = False
    assert get(server, tmp_path) == CONTENT


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"one"'}])
def test_without_a_validator_the_download_starts_over(server, tmp_path, headers):
    server.headers = headers
    interrupted(server, tmp_path)
    server.files["scan.nii"] = OTHER
    assert get(server, tmp_path) == OTHER
    assert "Range" not in server.requests[-1]


def test_a_part_of_another_address_is_not_resumed(server, tmp_path):
    interrupted(server, tmp_path)
    server.files["moved.nii"] = OTHER
    download_file(f"{server.address}moved.nii", tmp_path, "scan.nii", None, lambda *_: None)
    assert (tmp_path / "scan.nii").read_bytes() == OTHER


def test_with_a_damaged_note_the_download_starts_over(server, tmp_path):
    interrupted(server, tmp_path)
    (tmp_path / "scan.nii.part.json").write_text("[")
    assert get(server, tmp_path) == CONTENT


def test_a_file_shorter_than_its_stated_length_is_rejected(server, tmp_path):
    server.lies_by = 100
    with pytest.raises(UserError, match="the same command resumes"):
        get(server, tmp_path)
    assert not (tmp_path / "scan.nii").exists()


def test_a_server_that_sends_less_than_the_rest_is_asked_again(server, tmp_path):
    part_size = interrupted(server, tmp_path)
    server.gives = 1000
    with pytest.raises(UserError, match=rf"ended after {part_size + 1000:,} of 400,000 bytes"):
        get(server, tmp_path)
    assert not (tmp_path / "scan.nii").exists()
    server.gives = None
    assert get(server, tmp_path) == CONTENT


@pytest.mark.parametrize("status", [404, 403, 500, 503])
def test_the_error_names_the_servers_status(server, tmp_path, status):
    server.status = status
    with pytest.raises(UserError, match=rf"{server.address}scan\.nii: .* answered {status} "):
        get(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_error_of_the_server_keeps_the_part(server, tmp_path):
    part_size = interrupted(server, tmp_path)
    server.status = 503
    with pytest.raises(UserError, match="503"):
        get(server, tmp_path)
    server.status = None
    assert get(server, tmp_path) == CONTENT
    assert server.requests[-1]["Range"] == f"bytes={part_size}-"


def test_the_error_names_the_address_of_an_unreachable_server(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/scan.nii"
    with pytest.raises(UserError, match=r"scan\.nii: cannot be reached .*refused.*network"):
        download_file(url, tmp_path, "scan.nii", None, lambda *_: None)
    assert list(tmp_path.iterdir()) == []


def test_a_silent_server_times_out(server, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "TIMEOUT", (0.1, 0.1))
    server.sleeps = 0.3
    with pytest.raises(UserError, match="does not answer"):
        get(server, tmp_path)


def test_a_full_disk_raises_its_own_error(server, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transfer.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        get(server, tmp_path)
    assert not (tmp_path / "scan.nii").exists()

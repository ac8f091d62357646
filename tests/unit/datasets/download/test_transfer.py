"""A file arrives whole, also in pieces; an unfinished one never has its name."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softseg.core.errors import UserError
from softseg.datasets.download import transfer
from softseg.datasets.download.checksums import have
from tests.support.download.server import Server, serving

CONTENT = random.Random(0).randbytes(400_000)
OTHER = random.Random(1).randbytes(300_000)


@pytest.fixture
def server():
    with serving(scan_nii=CONTENT) as running:
        yield running


def get(server: Server, folder: Path, progress=lambda *_: None) -> bytes:
    have(f"{server.address}scan.nii", folder, "scan.nii", None, progress)
    return (folder / "scan.nii").read_bytes()


def broken_off(server: Server, folder: Path, after: int = 250_000) -> int:
    """A download that breaks off; returns how much of it is kept."""
    server.breaks_after = after
    with pytest.raises(UserError, match="the same command goes on"):
        get(server, folder)
    assert not (folder / "scan.nii").exists()
    server.breaks_after = None
    return (folder / "scan.nii.part").stat().st_size


def test_a_file_arrives_as_it_is_and_nothing_else_is_left(server, tmp_path):
    assert get(server, tmp_path) == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii"]


def test_progress_is_told_up_to_the_whole_length(server, tmp_path):
    told = []
    get(server, tmp_path, lambda *step: told.append(step))
    assert told[-1] == ("scan.nii", 400_000, 400_000)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_after_an_interruption_only_the_rest_is_asked_for(server, tmp_path):
    kept = broken_off(server, tmp_path)
    assert kept >= 250_000 - transfer.CHUNK
    server.sent = 0
    assert get(server, tmp_path) == CONTENT
    assert server.told[-1]["Range"] == f"bytes={kept}-"
    assert server.sent == 400_000 - kept
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii"]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 200_000), max_size=4), st.booleans(), st.booleans())
def test_however_often_it_breaks_off_the_file_is_right(tmp_path_factory, breaks, ranges, dated):
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
def test_a_file_that_changed_meanwhile_is_fetched_anew(server, tmp_path, if_range):
    broken_off(server, tmp_path)
    server.files["scan.nii"], server.headers = OTHER, {"ETag": '"two"'}
    server.if_range = if_range  # False: only the answer's ETag tells
    assert get(server, tmp_path) == OTHER


def test_a_server_without_ranges_is_asked_for_everything(server, tmp_path):
    broken_off(server, tmp_path)
    server.ranges = False
    assert get(server, tmp_path) == CONTENT


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"one"'}])
def test_where_nothing_tells_versions_apart_it_starts_over(server, tmp_path, headers):
    server.headers = headers
    broken_off(server, tmp_path)
    server.files["scan.nii"] = OTHER
    assert get(server, tmp_path) == OTHER
    assert "Range" not in server.told[-1]


def test_a_part_of_another_address_is_not_gone_on_with(server, tmp_path):
    broken_off(server, tmp_path)
    server.files["moved.nii"] = OTHER
    have(f"{server.address}moved.nii", tmp_path, "scan.nii", None, lambda *_: None)
    assert (tmp_path / "scan.nii").read_bytes() == OTHER


def test_a_spoilt_note_of_the_part_starts_over(server, tmp_path):
    broken_off(server, tmp_path)
    (tmp_path / "scan.nii.part.json").write_text("[")
    assert get(server, tmp_path) == CONTENT


def test_a_length_that_is_not_reached_is_no_whole_file(server, tmp_path):
    server.lies_by = 100
    with pytest.raises(UserError, match="the same command goes on"):
        get(server, tmp_path)
    assert not (tmp_path / "scan.nii").exists()


def test_a_server_that_gives_less_than_the_rest_is_asked_again(server, tmp_path):
    kept = broken_off(server, tmp_path)
    server.gives = 1000
    with pytest.raises(UserError, match=rf"ended after {kept + 1000:,} of 400,000 bytes"):
        get(server, tmp_path)
    assert not (tmp_path / "scan.nii").exists()
    server.gives = None
    assert get(server, tmp_path) == CONTENT


@pytest.mark.parametrize("status", [404, 403, 500, 503])
def test_what_the_server_answers_is_told(server, tmp_path, status):
    server.status = status
    with pytest.raises(UserError, match=rf"{server.address}scan\.nii: .* answered {status} "):
        get(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_passing_fault_does_not_cost_what_was_kept(server, tmp_path):
    kept = broken_off(server, tmp_path)
    server.status = 503
    with pytest.raises(UserError, match="503"):
        get(server, tmp_path)
    server.status = None
    assert get(server, tmp_path) == CONTENT
    assert server.told[-1]["Range"] == f"bytes={kept}-"


def test_no_server_is_told_with_its_address(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/scan.nii"
    with pytest.raises(UserError, match=r"scan\.nii: cannot be reached .*refused.*network"):
        have(url, tmp_path, "scan.nii", None, lambda *_: None)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_says_nothing_is_not_waited_for_for_ever(server, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "TIMEOUT", (0.1, 0.1))
    server.sleeps = 0.3
    with pytest.raises(UserError, match="does not answer"):
        get(server, tmp_path)


def test_a_full_disk_is_told_as_such(server, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transfer.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        get(server, tmp_path)
    assert not (tmp_path / "scan.nii").exists()

"""softseg deletes only its own files, follows no links, and keeps temporary files private."""

from __future__ import annotations

import os
import stat
import sys

import pytest

from softseg.core.files import replacing, temporary_files
from softseg.runs.folder import Run, create_folder

needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links need privileges")


@pytest.fixture
def thesis(tmp_path):
    """A folder of the user, outside of the run."""
    folder = tmp_path / "thesis"
    (folder / "chapters").mkdir(parents=True)
    for name in ("thesis.tex", "last.pt", "chapters/.part-1.tex", ".part-abcdefgh-2.tex"):
        (folder / name).write_text("years of work")
    return folder


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@needs_links
@pytest.mark.parametrize("overwrite", [True, False])
def test_links_in_a_runs_folder_are_not_followed(tmp_path, thesis, overwrite):
    run, before = Run(tmp_path / "run"), files_in(thesis)
    run.folder.mkdir()
    run.update_metadata(status="finished")
    (run.folder / "figures").symlink_to(thesis, target_is_directory=True)
    (run.folder / ".part-x").symlink_to(thesis / "thesis.tex")
    (run.folder / "summary.json").symlink_to(thesis / "thesis.tex")
    (run.folder / "checkpoints").symlink_to(thesis, target_is_directory=True)
    assert temporary_files(run.folder) == [run.folder / ".part-x"]
    create_folder(run, overwrite)
    assert files_in(thesis) == before
    assert (thesis / "thesis.tex").read_text() == "years of work"


@needs_links
def test_overwriting_a_run_that_is_a_link_deletes_nothing(softseg, here):
    (here / "run").rename(here / "elsewhere")
    before = files_in(here / "elsewhere")
    (here / "run").symlink_to("elsewhere", target_is_directory=True)
    status, errors = softseg("train", "tiny.yaml", "--out", "run", "--overwrite")
    assert status in (1, 2)
    assert errors.startswith("error: ")
    assert files_in(here / "elsewhere") == before


@needs_links
def test_writing_replaces_a_link_and_not_its_target(tmp_path, thesis):
    (tmp_path / "metrics.csv").symlink_to(thesis / "thesis.tex")
    with replacing(tmp_path / "metrics.csv") as part:
        part.write_text("1")
    assert (thesis / "thesis.tex").read_text() == "years of work"
    assert (tmp_path / "metrics.csv").read_text() == "1"


def test_overwriting_is_rejected_for_a_folder_that_is_not_a_run(softseg, here, thesis):
    before = files_in(thesis)
    for name in ("config.yaml", "history.csv", "checkpoints"):
        (thesis / name).write_text("mine")
    status, errors = softseg("train", "tiny.yaml", "--out", str(thesis), "--overwrite")
    assert status == 2
    assert "is not a softseg run" in errors
    assert set(before) <= set(files_in(thesis))


@pytest.mark.skipif(sys.platform == "win32", reason="permission bits are POSIX")
def test_a_file_is_private_until_it_is_complete(tmp_path):
    before = os.umask(0)
    try:
        with replacing(tmp_path / "x.json") as part:
            part.write_text("{}")
            assert stat.S_IMODE(part.stat().st_mode) == 0o600
    finally:
        os.umask(before)

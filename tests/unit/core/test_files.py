"""Files are complete or absent, whatever happens while they are written."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from softseg.core import files
from softseg.core.errors import UserError
from softseg.core.files import (
    check_new_folder,
    check_writable,
    ignores_case,
    naming_file,
    os_error_message,
    remove_leftovers,
    replacing,
    shared_files,
    temporary_files,
    write_atomically,
)


@pytest.mark.parametrize("content", ["Zürich\n", b"\x00\xff", ""])
def test_content_is_written_and_replaced(tmp_path, content):
    path = tmp_path / "a.txt"
    path.write_text("something much longer that was there before")
    write_atomically(path, content)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("stop", [OSError("disk full"), KeyboardInterrupt(), ValueError("bad")])
@pytest.mark.parametrize("existing", [True, False])
def test_a_failure_leaves_the_old_file_and_no_temporary_one(tmp_path, stop, existing):
    path = tmp_path / "a.txt"
    if existing:
        path.write_text("old")

    def write():
        with replacing(path) as part:
            part.write_text("half of the new")
            raise stop

    with pytest.raises(type(stop)):
        write()
    assert [file.read_text() for file in tmp_path.iterdir()] == (["old"] if existing else [])


def test_content_of_a_wrong_type_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_atomically(tmp_path / "a.txt", [1, 2])
    assert list(tmp_path.iterdir()) == []


def test_the_old_file_is_visible_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "scan.nii.gz"
    path.write_text("old")
    with replacing(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
        assert part.parent == path.parent  # a rename cannot cross file systems
        assert list(tmp_path.glob("*.nii.gz")) == [path]  # no pattern for scans matches it
    assert path.read_text() == "new"


def test_a_missing_folder_raises_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "missing" / "a.txt", "")


def test_concurrent_writers_leave_one_complete_file(tmp_path):
    path = tmp_path / "a.txt"
    contents = [str(n) * 20_000 for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_atomically(path, content), contents))
    assert path.read_text() in contents
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX")
@pytest.mark.parametrize(("mask", "mode"), [("027", 0o640), ("002", 0o664), ("077", 0o600)])
def test_the_umask_is_honored(tmp_path, mask, mode):
    path = tmp_path / "a.txt"
    code = (
        f"import os, pathlib; os.umask(0o{mask}); from softseg.core.files import write_atomically; "
        f"write_atomically(pathlib.Path({str(path)!r}), 'x')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_reader_of_the_old_file_can_still_read_all_of_it(tmp_path):
    """The new file is renamed over the old one, which is never written into."""
    path = tmp_path / "last.pt"
    write_atomically(path, b"old" * 100_000)
    with path.open("rb") as reader:
        first = reader.read(3)
        write_atomically(path, b"new" * 100_000)
        assert first + reader.read() == b"old" * 100_000
    assert path.read_bytes() == b"new" * 100_000


def test_a_file_name_that_is_not_utf8_is_written_byte_by_byte(tmp_path):
    write_atomically(tmp_path / "pairs.csv", f"file\n{os.fsdecode(b'a' + bytes([255]))}.nii\n")
    assert (tmp_path / "pairs.csv").read_bytes() == b"file\na\xff.nii\n"


def kill_while_writing(path):
    """Leave the temporary file of a process that was killed."""
    code = (
        "import os, pathlib, signal; from softseg.core.files import replacing\n"
        f"with replacing(pathlib.Path({str(path)!r})) as part:\n"
        "    part.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)


def test_only_leftovers_of_killed_processes_are_removed(tmp_path):
    kill_while_writing(tmp_path / "a.txt")
    [leftover] = temporary_files(tmp_path)
    with replacing(tmp_path / "b.txt") as part:
        part.write_text("new")
        remove_leftovers(temporary_files(tmp_path))
        assert temporary_files(tmp_path) == [part]
    assert not leftover.exists()
    assert (tmp_path / "b.txt").read_text() == "new"


def test_without_locks_leftovers_are_removed_after_a_day(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError("no locks")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    for name, age in (("old", 90_000), ("new", 0)):
        path = tmp_path / f".part-abc-{name}~"
        path.touch()
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - age))
    remove_leftovers(temporary_files(tmp_path))
    assert [path.name for path in temporary_files(tmp_path)] == [".part-abc-new~"]
    write_atomically(tmp_path / "a.txt", "a")  # which does not need them


def test_a_folder_and_a_link_named_like_a_leftover_do_no_harm(tmp_path):
    (tmp_path / ".part-folder").mkdir()
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / ".part-link").symlink_to(tmp_path / "thesis.tex")
    remove_leftovers(temporary_files(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".part-folder", "thesis.tex"]


def test_files_with_several_writers_are_listed(tmp_path, monkeypatch):
    writers = [(tmp_path / name, owner) for name, owner in (("a", "1"), ("A", "2"), ("b", "3"))]
    assert shared_files(writers, tmp_path) == []
    monkeypatch.setattr(files, "ignores_case", lambda folder: True)
    assert shared_files(writers, tmp_path) == [f"{tmp_path / 'a'}: 1, 2"]


def test_a_file_system_that_distinguishes_case_is_recognized(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "RUN").mkdir()
    distinguishes = not (tmp_path / "run").samefile(tmp_path / "RUN")
    for folder in (tmp_path / "run", tmp_path / "new/folder"):
        assert ignores_case(folder) != distinguishes


@pytest.mark.parametrize("name", ["x.html", "scan.nii.gz", "deep/x.PNG"])
def test_a_new_folder_has_no_name_of_a_file(tmp_path, name):
    with pytest.raises(UserError, match=r"this is the name of a file; .* such as .*/(x|scan)$"):
        check_new_folder(tmp_path / name)
    assert not list(tmp_path.iterdir())
    check_new_folder(tmp_path / "site.1")
    (tmp_path / name).mkdir(parents=True)
    check_new_folder(tmp_path / name)


def test_a_path_below_a_file_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("mine")
    check_writable(tmp_path / "new/folder")
    with pytest.raises(UserError, match=r"file/a/b: .*/file is a file, not a folder"):
        check_writable(tmp_path / "file/a/b")
    with pytest.raises(UserError, match=r"^[^:]*/file: is a file, not a folder"):
        check_writable(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc")
def test_a_folder_that_only_seems_writable_is_named():
    """Its permissions are those of any folder, but root cannot create a file in /proc, either."""
    with pytest.raises(UserError, match=r"^/proc/foo: the folder /proc cannot be written to \("):
        check_writable(Path("/proc/foo"))


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.EACCES, "change its permissions, or choose another path"),
        (errno.EROFS, "choose another path on another disk"),
        (errno.ENOSPC, "free some space, or choose another path"),
    ],
)
def test_a_folder_without_room_or_permission_is_named_with_a_remedy(
    tmp_path, monkeypatch, code, remedy
):
    def fail(**_):
        raise OSError(code, os.strerror(code), str(tmp_path / "hidden"))

    monkeypatch.setattr("softseg.core.files.tempfile.TemporaryFile", fail)
    with pytest.raises(UserError) as caught:
        check_writable(tmp_path / "new")
    assert str(caught.value) == (
        f"{tmp_path / 'new'}: the folder {tmp_path} cannot be written to ({os.strerror(code)}); "
        f"{remedy}"
    )


@pytest.mark.parametrize(
    ("name", "words"), [("x" * 300, "File name too long"), ("a\0b", "the character NUL")]
)
def test_a_path_that_cannot_exist_is_named(tmp_path, name, words):
    with pytest.raises((UserError, OSError), match=words):
        check_writable(tmp_path / name / "run")


def test_a_failed_read_gets_the_name_of_its_file():
    with pytest.raises(OSError, match="failed") as caught, naming_file(Path("a.json")):
        raise OSError(errno.EIO, "failed")
    assert caught.value.filename == "a.json"
    assert os_error_message(caught.value) == (
        "a.json: failed; check the disk and its connection, then run the command again"
    )

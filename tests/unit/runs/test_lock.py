"""Only one process at a time works on a run."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
from pathlib import Path

import pytest

from softseg.core.errors import UserError
from softseg.runs.folder import Run
from softseg.runs.lock import LockedError, exclusive, lock

PROC = Path("/proc/softseg")

HOLD = """\
import sys, time
from pathlib import Path
from softseg.runs.folder import Run
from softseg.runs.lock import lock
with lock(Run(Path(sys.argv[1])), 0):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `tmp_path/study/run`."""
    arguments = [sys.executable, "-c", HOLD, str(tmp_path / "study/run")]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_run_stays_locked_until_the_process_that_holds_the_lock_is_killed(holder, tmp_path):
    run = Run(tmp_path / "study/run")
    start = time.monotonic()
    with pytest.raises(LockedError, match="study/run"), lock(run, 0.3):
        pytest.fail("two processes work on one run")
    assert 0.3 <= time.monotonic() - start < 5
    with lock(Run(tmp_path / "study/other"), 0):
        pass  # another run is free
    holder.kill()  # SIGKILL: it cannot clean up
    with lock(run, 20):
        pass


def test_the_lock_is_released_after_any_error_and_creates_no_folder(tmp_path):
    run = Run(tmp_path / "study/run")
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), lock(run, 0):
            raise error
    with lock(run, 0):
        assert not run.folder.exists()  # a folder would look like a run


@pytest.mark.parametrize("existed", [True, False])
def test_a_rejected_run_leaves_only_folders_that_existed_before(tmp_path, existed):
    if existed:
        (tmp_path / "study").mkdir()
    with pytest.raises(UserError, match="no data"), exclusive(Run(tmp_path / "study/run")):
        raise UserError("no data")
    assert (tmp_path / "study").exists() == existed
    assert not list(tmp_path.rglob("*lock"))


def test_a_disk_error_without_a_file_name_names_the_run(tmp_path):
    """TensorBoard raises such errors, from its own thread."""
    run = Run(tmp_path / "run")
    with pytest.raises(OSError, match="No space left") as caught, exclusive(run):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(run.folder)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that takes no file")
def test_a_folder_that_takes_no_file_is_not_another_process():
    with pytest.raises(UserError, match=r"written to.*choose another"), exclusive(Run(PROC)):
        pass

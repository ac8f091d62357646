"""The cache stays below its limit; entries in use and files of others are never deleted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest
import torch
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from softseg.preprocess import cache
from softseg.preprocess.cache import evict, eviction_suspended, mark_used, read_entry, write_entry
from softseg.preprocess.preprocess import preprocess
from softseg.preprocess.slices import Slices
from softseg.preprocess.steps import Crop
from tests.support import makers
from tests.support.preprocess_samples import noise, sample

HOUR, DAY = 3600, 86_400


def named(number):
    return f"sub-{number}-{number:032x}.safetensors"


def entry(folder, number, age=HOUR, kilobytes=0):
    """An entry that was used so many seconds ago; of a real volume, if it has no size."""
    path = folder / named(number)
    if kilobytes:
        content = {"image": torch.zeros(kilobytes, 1024, dtype=torch.uint8)}
        save_file(content, path, metadata={"softseg": "{}"})
    else:
        subject = sample(noise((8, 6, 4)), makers.ball())
        write_entry(path, preprocess(subject, (Crop(size=(6, 6)),), Slices()))
    return aged(path, age)


def aged(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then), follow_symlinks=False)
    return path


def test_the_least_recently_used_entries_are_deleted_first(tmp_path):
    first, _, _, last = (entry(tmp_path, n, age=(9 - n) * HOUR) for n in range(4))
    mark_used(first)
    evict(tmp_path, 2 * first.stat().st_size, [])
    assert set(tmp_path.iterdir()) == {first, last}
    assert read_entry(first) is not None


@given(
    sizes=st.lists(st.integers(1, 9), max_size=7, unique=True),
    limit=st.integers(0, 30),
    kept=st.sets(st.integers(0, 6)),
    order=st.randoms(use_true_random=False),
)
def test_as_little_as_possible_is_deleted(tmp_path_factory, sizes, limit, kept, order):
    folder = tmp_path_factory.mktemp("cache")
    uses = order.sample(range(len(sizes)), len(sizes))
    paths = [entry(folder, n, (uses[n] + 1) * HOUR, size) for n, size in enumerate(sizes)]
    sizes = [path.stat().st_size for path in paths]
    limit *= 1024
    evict(folder, limit, [folder / named(n) for n in kept])
    remaining = {n for n, path in enumerate(paths) if path.exists()}
    deleted = set(range(len(paths))) - remaining
    free = remaining - kept
    assert not deleted & kept
    assert not free or sum(sizes[n] for n in remaining) <= limit
    for n in deleted:  # none before an older one, and not one too many
        assert all(uses[other] < uses[n] for other in free)
    if deleted:
        last = min(deleted, key=lambda n: uses[n])
        assert sum(sizes[n] for n in remaining) + sizes[last] > limit


def foreign(folder):
    """Old files in a folder that the cache did not write."""
    key = f"{7:032x}"
    save_file({"lora": torch.zeros(9999)}, folder / f"lora-{key}.safetensors")
    names = ["thesis.tex", f"scan-{key}.nii.gz", f"{key}.safetensors", f"a-{key[1:]}.safetensors",
             f"a-{key.replace('7', 'G')}.safetensors", f"text-{key}.safetensors", ".part-x.nii",
             f"a-{key}.safetensors.bak", "poetry.lock"]  # fmt: skip
    for name in names:
        (folder / name).write_text("years of work " * 999)
    (folder / f"link-{key}.safetensors").symlink_to(folder / "thesis.tex")
    (folder / f"folder-{key}.safetensors").mkdir()
    (folder / "deeper").mkdir()
    deeper = entry(folder / "deeper", 5)
    shutil.copy(deeper, folder / "saved by hand.safetensors")
    (folder / f"another-{key}.safetensors").symlink_to(deeper)
    return {aged(path, 99 * DAY) for path in folder.rglob("*")}


def test_files_of_others_are_not_deleted(tmp_path):
    others = foreign(tmp_path)
    ours = entry(tmp_path, 1)
    evict(tmp_path, 1, [])
    assert set(tmp_path.rglob("*")) == others
    assert not ours.exists()


def test_files_of_others_do_not_count_towards_the_limit(tmp_path):
    foreign(tmp_path)
    ours = entry(tmp_path, 1)
    evict(tmp_path, ours.stat().st_size, [])
    assert ours.exists()


WORK = """\
import sys, time
from pathlib import Path
from softseg.preprocess.cache import eviction_suspended
with eviction_suspended(Path(sys.argv[1])):
    print("preparing", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that prepares its data in this cache."""
    process = subprocess.Popen([sys.executable, "-c", WORK, tmp_path], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"preparing\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.slow
def test_nothing_is_deleted_while_another_process_prepares(tmp_path, other):
    ours = entry(tmp_path, 1)
    [marker] = tmp_path.glob(".preparing-*")
    for age in (0, HOUR, 9 * DAY):
        aged(marker, age)
        evict(tmp_path, 1, [])
        assert ours.exists()
    other.kill()  # SIGKILL: it cannot clean up
    other.wait()
    assert marker.exists()
    evict(tmp_path, 1, [])
    assert list(tmp_path.iterdir()) == []


def test_the_marker_is_removed_whatever_happens(tmp_path):
    with eviction_suspended(tmp_path / "cache"):
        assert list(tmp_path.glob("cache/.preparing-*"))
    with pytest.raises(KeyboardInterrupt), eviction_suspended(tmp_path / "cache"):
        raise KeyboardInterrupt
    assert list((tmp_path / "cache").iterdir()) == []


def test_leftovers_of_killed_processes_are_deleted_after_a_day(tmp_path):
    stem = named(1).removesuffix(".safetensors")
    for name in (f".part-ab_12xyz-{named(1)}", f"{stem}.lock"):
        (tmp_path / name).touch()
    for age, left in ((DAY - HOUR, 2), (DAY + HOUR, 0)):
        for path in tmp_path.iterdir():
            aged(path, age)
        evict(tmp_path, 1e9, [])
        assert len(list(tmp_path.iterdir())) == left


def test_a_held_lock_is_not_deleted(tmp_path):
    lock = tmp_path / named(1).replace("safetensors", "lock")
    with FileLock(lock):
        aged(lock, 9 * DAY)
        evict(tmp_path, 1, [])
        assert lock.exists()


def test_a_mapped_entry_stays_readable_after_its_deletion(tmp_path):
    path = entry(tmp_path, 1)
    mapped = read_entry(path)
    expected = mapped.image.clone()
    evict(tmp_path, 1, [])
    assert torch.equal(mapped.image, expected)


def deny(*_, **__):
    raise PermissionError(13, "Permission denied")


def test_a_read_only_cache_is_used_as_it_is(tmp_path, monkeypatch):
    path = entry(tmp_path, 1)
    monkeypatch.setattr("os.utime", deny)
    monkeypatch.setattr("filelock.FileLock.acquire", deny)
    monkeypatch.setattr("pathlib.Path.unlink", deny)
    with eviction_suspended(tmp_path):
        mark_used(path)
    evict(tmp_path, 1, [])
    assert path.exists()


def test_evicting_from_a_missing_folder_does_nothing(tmp_path):
    evict(tmp_path / "none", 1, [])
    assert list(tmp_path.iterdir()) == []


def test_an_entry_that_is_used_while_others_are_deleted_is_kept(tmp_path, monkeypatch):
    used, unused = (entry(tmp_path, number, kilobytes=1) for number in (1, 2))
    is_ours = cache._is_ours

    def is_ours_and_used_meanwhile(path):
        if path == used:
            mark_used(used)
        return is_ours(path)

    monkeypatch.setattr(cache, "_is_ours", is_ours_and_used_meanwhile)
    evict(tmp_path, 0, [])
    assert used.exists()
    assert not unused.exists()

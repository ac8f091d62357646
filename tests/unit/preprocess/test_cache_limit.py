"""Building a stack keeps the cache below `dataset.cache_gb`, also next to other processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
import torch

from softseg.preprocess.cache import evict
from tests.support import makers
from tests.support.built_stores import built, same_tensors

GIB = 2**30
ANOTHER = [{"crop": {"size": [4, 4]}}]


@pytest.fixture
def root(tmp_path):
    return makers.scgm(tmp_path / "data", centers=1, subjects=2)


def cached(root):
    return {path: path.stat() for path in (root.parent / "cache").iterdir()}


def aged(root, seconds):
    then = time.time() - seconds
    for path in cached(root):
        os.utime(path, (then, then))


def size_gib(root):
    return sum(status.st_size for status in cached(root).values()) / GIB


def test_entries_of_another_experiment_are_deleted_for_this_one(root):
    built(root)
    old, room = cached(root), size_gib(root)
    aged(root, 60)
    built(root, chain=ANOTHER, cache_gb=room)
    assert len(cached(root).keys() - old.keys()) == 2
    assert size_gib(root) <= room


def test_reading_an_entry_counts_as_use(root):
    third = [{"crop": {"size": [2, 2]}}]
    built(root, chain=third)
    other = set(cached(root))
    built(root)
    recent, room = set(cached(root)) - other, size_gib(root)
    aged(root, 60)
    built(root, chain=ANOTHER)
    oldest = set(cached(root)) - recent - other
    for path in oldest:
        os.utime(path, (time.time() - 30, time.time() - 30))
    built(root)
    built(root, chain=third, cache_gb=room)
    assert oldest
    assert set(cached(root)) == recent | other


def test_the_experiments_own_entries_stay_whatever_the_limit(root):
    first = built(root, cache_gb=1e-9)
    own = set(cached(root))
    assert len(own) == 2
    assert same_tensors(first, built(root, cache_gb=1e-9))
    assert set(cached(root)) == own


def test_nothing_is_deleted_while_a_stack_is_built(root):
    built(root, chain=ANOTHER)
    old = set(cached(root))
    built(root, cache_gb=None, tick=lambda: evict(root.parent / "cache", 1, []))
    assert old <= set(cached(root))


def test_without_a_limit_all_entries_stay(root):
    built(root, cache_gb=None)
    built(root, chain=ANOTHER, cache_gb=None)
    assert len(cached(root)) == 4


def test_the_limit_is_not_part_of_the_cache_key(root):
    built(root, cache_gb=1)
    own = set(cached(root))
    built(root, cache_gb=2)
    assert set(cached(root)) == own


def test_an_entry_is_in_the_cache_folder_whatever_a_table_calls_its_subject(root):
    names = ("../../../out", "/abs", "a/b", "..", "\u00fc" * 300)
    lines = [f"{name},site1-sc01-image.nii.gz,site1-sc01-mask-r1.nii.gz" for name in names]
    (root / "all.csv").write_text("subject,T2star,gm\n" + "\n".join(lines) + "\n")
    before = set(root.parent.parent.rglob("*"))
    stack = built(root, ANOTHER, loader="table", file="all.csv")
    assert {volume.subject for volume in stack.volumes} == set(names)
    assert set(root.parent.parent.rglob("*")) - before == {root.parent / "cache", *cached(root)}
    assert len(cached(root)) == len(names)


CHILD = """\
import hashlib, json, sys, time
from pathlib import Path
from tests.support.built_stores import built

folder, name = Path(sys.argv[1]), sys.argv[2]
module = sys.modules["softseg.preprocess.build_store"]
preprocess = module.preprocess
calls = []

def slow_preprocess(*arguments):
    calls.append(1)
    time.sleep(0.3)
    return preprocess(*arguments)

module.preprocess = slow_preprocess
(folder / f"{name}.ready").touch()
while not (folder / "go").exists():
    time.sleep(0.005)
stack = built(folder / "data", cache_gb=1e-9)
digest = hashlib.sha256(stack.image.numpy().data).hexdigest()
print(json.dumps({"calls": len(calls), "digest": digest}))
"""


@pytest.mark.slow
def test_two_processes_write_each_entry_once(root):
    folder = root.parent
    children = [
        subprocess.Popen([sys.executable, "-c", CHILD, str(folder), name], stdout=subprocess.PIPE)
        for name in "ab"
    ]
    deadline = time.monotonic() + 120
    while len(list(folder.glob("*.ready"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    (folder / "go").touch()
    results = [json.loads(child.communicate(timeout=120)[0]) for child in children]
    assert sum(result["calls"] for result in results) == 2  # the subjects
    assert results[0]["digest"] == results[1]["digest"]
    assert {path.suffix for path in cached(root)} == {".safetensors"}
    assert len(cached(root)) == 2
    assert torch.equal(built(root).image, built(root, cache=None).image)

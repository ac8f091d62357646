"""Preparing data keeps the cache below `dataset.cache_gb`, also beside other processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
import torch

from softseg.preprocess.cache.eviction import evict
from tests.support import makers
from tests.unit.preprocess.test_prepare import prepared, same

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


def taken(root):
    return sum(facts.st_size for facts in cached(root).values()) / GIB


def test_entries_of_another_experiment_make_room_for_this_ones(root):
    prepared(root)
    old, room = cached(root), taken(root)
    aged(root, 60)
    prepared(root, chain=ANOTHER, cache_gb=room)
    assert len(cached(root).keys() - old.keys()) == 2
    assert taken(root) <= room


def test_what_is_found_counts_as_used(root):
    third = [{"crop": {"size": [2, 2]}}]
    prepared(root, chain=third)
    other = set(cached(root))
    prepared(root)
    wanted, room = set(cached(root)) - other, taken(root)
    aged(root, 60)
    prepared(root, chain=ANOTHER)
    unwanted = set(cached(root)) - wanted - other
    for path in unwanted:
        os.utime(path, (time.time() - 30, time.time() - 30))
    prepared(root)
    prepared(root, chain=third, cache_gb=room)
    assert unwanted
    assert set(cached(root)) == wanted | other


def test_the_experiments_own_entries_stay_whatever_the_limit(root):
    first = prepared(root, cache_gb=1e-9)
    own = set(cached(root))
    assert len(own) == 2
    assert same(first, prepared(root, cache_gb=1e-9))
    assert set(cached(root)) == own


def test_nothing_is_deleted_while_data_are_prepared(root):
    prepared(root, chain=ANOTHER)
    old = set(cached(root))
    prepared(root, cache_gb=None, tick=lambda: evict(root.parent / "cache", 1, []))
    assert old <= set(cached(root))


def test_without_a_limit_all_stay(root):
    prepared(root, cache_gb=None)
    prepared(root, chain=ANOTHER, cache_gb=None)
    assert len(cached(root)) == 4


def test_the_limit_is_no_part_of_what_an_entry_rests_on(root):
    prepared(root, cache_gb=1)
    own = set(cached(root))
    prepared(root, cache_gb=2)
    assert set(cached(root)) == own


def test_an_entry_lies_in_the_cache_whatever_a_table_calls_its_subject(root):
    names = ("../../../out", "/abs", "a/b", "..", "\u00fc" * 300)
    lines = [f"{name},site1-sc01-image.nii.gz,site1-sc01-mask-r1.nii.gz" for name in names]
    (root / "all.csv").write_text("subject,T2star,gm\n" + "\n".join(lines) + "\n")
    before = set(root.parent.parent.rglob("*"))
    stack = prepared(root, ANOTHER, loader="table", file="all.csv")
    assert {volume.subject for volume in stack.volumes} == set(names)
    assert set(root.parent.parent.rglob("*")) - before == {root.parent / "cache", *cached(root)}
    assert len(cached(root)) == len(names)


CHILD = """\
import hashlib, json, sys, time
from pathlib import Path
from tests.unit.preprocess.test_prepare import prepared

folder, name = Path(sys.argv[1]), sys.argv[2]
room = sys.modules["softseg.preprocess.prepare"]
preprocess = room.preprocess
made = []

def slowly(*given):
    made.append(1)
    time.sleep(0.3)
    return preprocess(*given)

room.preprocess = slowly
(folder / f"{name}.ready").touch()
while not (folder / "go").exists():
    time.sleep(0.005)
stack = prepared(folder / "data", cache_gb=1e-9)
digest = hashlib.sha256(stack.image.numpy().data).hexdigest()
print(json.dumps({"made": len(made), "digest": digest}))
"""


@pytest.mark.slow
def test_two_processes_make_each_entry_once(root):
    folder = root.parent
    children = [
        subprocess.Popen([sys.executable, "-c", CHILD, str(folder), name], stdout=subprocess.PIPE)
        for name in "ab"
    ]
    deadline = time.monotonic() + 120
    while len(list(folder.glob("*.ready"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    (folder / "go").touch()
    told = [json.loads(child.communicate(timeout=120)[0]) for child in children]
    assert sum(one["made"] for one in told) == 2  # the subjects
    assert told[0]["digest"] == told[1]["digest"]
    assert {path.suffix for path in cached(root)} == {".safetensors"}
    assert len(cached(root)) == 2
    assert torch.equal(prepared(root).image, prepared(root, cache=None).image)

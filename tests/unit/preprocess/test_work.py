"""What preparing a data set costs, counted rather than timed: files that are unpacked, threads."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest

from softseg.data import build as build_dataset
from softseg.data import subject_reader
from softseg.preprocess import Slices
from softseg.preprocess import build as build_chain
from softseg.preprocess.prepare import prepare
from tests.support import makers

CHAIN = build_chain([{"standardize": {}}, {"crop": {"size": [6, 6]}}])


@pytest.fixture
def reads(tmp_path, monkeypatch):
    """Prepare n subjects in the cache of that name: how often each of their files was read."""
    read = subject_reader.read_volume

    def counted(subjects, cache=None):
        root = makers.scgm(tmp_path / f"data-{subjects}", centers=1, subjects=subjects)
        targets = {"gm": {"values": [1]}, "wm": {"values": [2]}}
        kept = str(tmp_path / cache) if cache else None
        spec = {"loader": "files", "layout": "scgm", "root": str(root), "contrasts": ["T2star"]}
        dataset = build_dataset({**spec, "targets": targets, "cache": kept})
        found, times = dataset(), Counter()

        def watched(path, volume=None):
            times[Path(path).name] += 1
            return read(path, volume)

        monkeypatch.setattr(subject_reader, "read_volume", watched)
        prepare(found, dataset, CHAIN, Slices(), maps=["half_pixel"])
        return times

    return counted


@pytest.mark.parametrize("cache", [None, "cache"])
def test_each_file_is_read_and_unpacked_once_whatever_is_made_of_it(reads, cache):
    """Two targets and a map of four raters' masks."""
    read = reads(3, cache)
    assert len(read) == 3 * 5
    assert set(read.values()) == {1}


def test_what_is_in_the_cache_is_not_unpacked_again(reads):
    assert sum(reads(2, "cache").values()) == 10
    assert not reads(2, "cache")


def test_no_thread_is_left_behind(reads):
    before = threading.active_count()
    reads(3)
    assert threading.active_count() == before

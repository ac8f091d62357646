"""Bits flipped one by one in small files: what is read is refused, or is what was written."""

from __future__ import annotations

import json
import random
import zipfile

import numpy as np
import torch

from softseg.core.errors import UserError
from softseg.evaluation.threshold_search import best_threshold
from softseg.preprocess import Slices, preprocess
from softseg.preprocess.cache.entry import TENSORS, read_entry, write_entry
from softseg.runs.checkpoint import read_checkpoint
from softseg.runs.thresholds import read_thresholds, write_thresholds
from softseg.training import state as states
from tests.support import makers
from tests.support.preprocess_samples import noise, sample
from tests.support.tiny import tiny_state, tiny_task


def flipped(path, places):
    """Make each flip in turn, (byte, bit), while the caller reads the file."""
    content = path.read_bytes()
    for byte, bit in places:
        changed = bytearray(content)
        changed[byte] ^= 1 << bit
        path.write_bytes(changed)
        yield byte, bit


def some(path, count):
    draws, size = random.Random(0), path.stat().st_size
    return [(draws.randrange(size), draws.randrange(8)) for _ in range(count)]


def folder_bits(path):
    """The bit of each entry of a ZIP file that says it is a folder: no checksum covers it."""
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        at, places = archive.start_dir, []
        for entry in archive.infolist():
            places.append((at + 38, 4))
            at = content.find(b"PK\1\2", at + 46 + len(entry.filename))
    return places


def test_no_bit_of_a_checkpoint_changes_what_is_read(tmp_path):
    path = tmp_path / "best.pt"
    states.save_weights(tiny_state(tiny_task()), path)
    written, refused = read_checkpoint(path), 0
    for place in flipped(path, [*folder_bits(path), *some(path, 100)]):
        try:
            read = read_checkpoint(path)
        except UserError:
            refused += 1
            continue
        for name, tensor in written["model"].items():
            assert torch.equal(read["model"][name], tensor), (place, name)
    assert refused > 60


def test_no_bit_of_a_cache_entry_changes_what_is_read(tmp_path):
    path = tmp_path / "a.safetensors"
    volume = preprocess(sample(noise((8, 6, 5)), makers.ball((8, 6, 5))), (), Slices())
    write_entry(path, volume)
    refused = 0
    for place in flipped(path, some(path, 600)):
        read = read_entry(path)
        if read is None:
            refused += 1
            continue
        for name in TENSORS:
            assert torch.equal(getattr(read, name), getattr(volume, name)), (place, name)
        assert read.statistics == volume.statistics
        for grid in ("native", "network"):
            one, other = getattr(read.geometry, grid), getattr(volume.geometry, grid)
            assert one.shape == other.shape
            assert np.array_equal(one.affine, other.affine)
    assert refused > 400


def test_no_bit_of_a_threshold_changes_what_is_read(tmp_path):
    path = tmp_path / "threshold.json"
    curve = np.linspace(80, 90, 19) % 7.3
    write_thresholds(path, {"gm": best_threshold([curve])}, ["sub-01", "sub-02"])
    written, refused = read_thresholds(path), 0
    for place in flipped(path, [(n, n % 7) for n in range(0, path.stat().st_size, 2)]):
        try:
            read = read_thresholds(path)
        except UserError:
            refused += 1
            continue
        assert read == written, place
    assert refused > 250


def test_a_threshold_of_an_older_version_has_no_checksum_and_is_read(tmp_path):
    path = tmp_path / "threshold.json"
    targets = {"gm": {"threshold": 0.45, "curve": {"0.45": 81.5}}}
    path.write_text(json.dumps({"targets": targets, "subjects": []}))
    found = read_thresholds(path)
    assert found is not None
    assert found["gm"].value == 0.45

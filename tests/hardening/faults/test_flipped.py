"""Single flipped bits in small files: the file is rejected, or read as it was written."""

from __future__ import annotations

import json
import random
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from softseg.core.errors import UserError
from softseg.evaluation.threshold_search import best_threshold
from softseg.preprocess.cache import TENSORS, read_entry, write_entry
from softseg.preprocess.preprocess import preprocess
from softseg.preprocess.slices import Slices
from softseg.runs.checkpoint import read_checkpoint, write_checkpoint
from softseg.runs.thresholds import read_thresholds, write_thresholds
from softseg.training import task as states
from tests.support import makers
from tests.support.preprocess_samples import noise, sample
from tests.support.tiny import tiny_state, tiny_task


def flip_each(path, positions):
    """Flip each (byte, bit) in turn, and yield it while the file is changed."""
    content = path.read_bytes()
    for byte, bit in positions:
        changed = bytearray(content)
        changed[byte] ^= 1 << bit
        path.write_bytes(changed)
        yield byte, bit


def random_positions(path, count):
    rng, size = random.Random(0), path.stat().st_size
    return [(rng.randrange(size), rng.randrange(8)) for _ in range(count)]


def directory_bits(path):
    """Return the bit of each ZIP entry that marks a directory, which no checksum covers."""
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        at, positions = archive.start_dir, []
        for entry in archive.infolist():
            positions.append((at + 38, 4))
            at = content.find(b"PK\1\2", at + 46 + len(entry.filename))
    return positions


def test_a_flipped_bit_of_a_checkpoint_changes_nothing_unnoticed(tmp_path):
    path = tmp_path / "best.pt"
    write_checkpoint(states.checkpoint(tiny_state(tiny_task())), path)
    written, rejected = read_checkpoint(path), 0
    for position in flip_each(path, [*directory_bits(path), *random_positions(path, 100)]):
        try:
            read = read_checkpoint(path)
        except UserError:
            rejected += 1
            continue
        for name, tensor in written["model"].items():
            assert torch.equal(read["model"][name], tensor), (position, name)
    assert rejected > 60


def test_a_flipped_bit_of_a_cache_entry_changes_nothing_unnoticed(tmp_path):
    path = tmp_path / "a.safetensors"
    volume = preprocess(sample(noise((8, 6, 5)), makers.ball((8, 6, 5))), (), Slices())
    write_entry(path, volume)
    rejected = 0
    for position in flip_each(path, random_positions(path, 600)):
        read = read_entry(path)
        if read is None:
            rejected += 1
            continue
        for name in TENSORS:
            assert torch.equal(getattr(read, name), getattr(volume, name)), (position, name)
        assert read.statistics == volume.statistics
        for grid in ("native", "network"):
            actual, expected = getattr(read.geometry, grid), getattr(volume.geometry, grid)
            assert actual.shape == expected.shape
            assert np.array_equal(actual.affine, expected.affine)
    assert rejected > 400


def test_a_flipped_bit_of_a_threshold_changes_nothing_unnoticed(tmp_path):
    path = tmp_path / "threshold.json"
    curve = np.linspace(80, 90, 19) % 7.3
    threshold = replace(best_threshold([curve]), mirrored=True)
    write_thresholds(path, {"gm": threshold}, ["sub-01", "sub-02"])
    written, rejected = read_thresholds(path), 0
    for position in flip_each(path, [(n, n % 7) for n in range(0, path.stat().st_size, 2)]):
        try:
            read = read_thresholds(path)
        except UserError:
            rejected += 1
            continue
        assert read == written, position
    assert rejected > 250


def test_a_threshold_without_checksum_is_rejected(tmp_path):
    path = tmp_path / "threshold.json"
    targets = {"gm": {"threshold": 0.45, "curve": {"0.45": 81.5}}}
    path.write_text(json.dumps({"targets": targets, "subjects": []}))
    with pytest.raises(UserError, match=r"threshold\.json is damaged \('checksum'\)"):
        read_thresholds(path)

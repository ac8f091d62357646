"""A store of volumes of different shapes: each is its own view, in memory and in a file."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from softseg.core.errors import UserError
from softseg.preprocess.patches import Patches
from softseg.preprocess.store import LARGE, read_shared_store, write_shared_store
from tests.support.tiny_volumes import SHAPES, store_of, volumes

MAPS = ("half_pixel", "edt")
ABSENT = {"weight": 1.0}


@pytest.fixture(scope="module")
def parts():
    return volumes(extras=True, maps=MAPS)


def assert_holds(store, parts):
    """Every tensor of every volume is there; channels that only others have are absent."""
    assert store.holds_volumes
    for stored, part in zip(store.volumes, parts, strict=True):
        for name in LARGE:
            expected, view = getattr(part, name), store.part(name, stored)
            own = expected.shape[1]
            assert view.shape[2:] == expected.shape[2:], name
            assert torch.equal(view[:, :own], expected), name
            assert (view[:, own:] == ABSENT.get(name, 0.0)).all(), name
        assert torch.equal(store.fill[stored.start : stored.stop], part.fill)


def test_each_volume_has_its_own_view_of_one_block(parts):
    store = store_of(parts)
    assert_holds(store, parts)
    assert [tuple(store.part("image", v).shape[2:]) for v in store.volumes] == list(SHAPES)
    assert store.part("image", store.volumes[1]).data_ptr() > store.image.data_ptr()
    assert store.raters.shape[1] == 2
    assert store.rater_counts().tolist() == [2, 0, 2, 0]


def test_a_file_holds_the_same_bits_and_frees_the_memory(parts, tmp_path):
    store = store_of(parts, limit=0, folder=str(tmp_path))
    assert_holds(store, parts)
    assert store.fingerprints() == store_of(parts).fingerprints()
    assert not list(tmp_path.iterdir())  # a file without a name


def test_volumes_beyond_the_limit_need_a_folder(parts):
    with pytest.raises(UserError, match=r"the volumes take .* dataset\.memory_gb"):
        store_of(parts, limit=1)


def test_runs_share_a_file(parts, tmp_path):
    store = store_of(parts)
    shared = read_shared_store(write_shared_store(store, tmp_path))
    assert_holds(shared, parts)
    assert [replace(v, geometry=None) for v in shared.volumes] == [
        replace(v, geometry=None) for v in store.volumes
    ]


@pytest.mark.parametrize("name", ["image", "target", "ignore", "weight"])
def test_a_fingerprint_is_that_of_its_volume_alone(parts, name):
    store = store_of(parts)
    before = store.fingerprints()
    store.part(name, store.volumes[2]).view(-1)[5] += 0.25
    changed = [
        subject for subject, digest in store.fingerprints().items() if digest != before[subject]
    ]
    assert changed == ["s2"]


def test_spacings_and_targets_of_volumes(parts):
    store = store_of(parts)
    assert store.spacings(Patches()).tolist() == [[1.0, 1.0, 1.5]] * 4
    store.part("target", store.volumes[1]).zero_()
    assert store.has_target(torch.arange(4)).tolist() == [True, False, True, True]
    assert store.n_bytes == sum(getattr(store, name).nbytes for name in (*LARGE, "fill"))

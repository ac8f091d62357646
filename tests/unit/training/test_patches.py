"""Patches in training: where they are cut, what is in them, and that nothing is lost at borders."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from softseg import augment
from softseg.augment.spatial import step as spatial_step
from softseg.core.ranks import Ranks
from softseg.runs.checkpoint import write_checkpoint
from softseg.training.batches import collate, epoch_batches, epoch_samples, prefetched_batches
from softseg.training.distributed.processes import processes_of
from softseg.training.loop import fit, validate
from softseg.training.patches import PatchSampler, cut_patches, spread_indices
from softseg.training.previews import VOLUMES
from softseg.training.task import checkpoint, restore
from tests.support.steps import augment_steps
from tests.support.tiny import Watcher
from tests.support.tiny_volumes import SHAPES, SIZE, volume_state, volume_store, volume_task

CHAIN = (
    {"affine": {"rotation": 30, "translation": 0.1, "scale": 0.2}},
    {"elastic": {"magnitude": [0, 2], "scale": [5, 8]}},
    {"flip": {"axes": [0, 1]}},
)
MAPS = ("half_pixel",)
BOUNDARY = {
    "name": "combination",
    "terms": [{"loss": {"name": "mse"}, "weight": 1}, {"loss": {"name": "boundary"}, "weight": 1}],
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def tensors_of(batch):
    return [batch.image, batch.target, batch.fill, batch.ignore, batch.weight, *batch.maps.values()]


def assert_same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        for one, another in zip(tensors_of(batch), tensors_of(other), strict=True):
            assert one is another is None or torch.equal(one, another)


class TestPlaces:
    def sampler(self, shapes, size=(4, 4, 4), foreground=()):
        return PatchSampler(size, 1, torch.tensor(shapes), foreground)

    def test_every_position_inside_is_equally_likely(self):
        corners = self.sampler([(6, 4, 5)]).places(torch.zeros(6000).long(), None, seeded())[:, 1:]
        counts = Counter(map(tuple, corners.tolist()))
        assert set(counts) == {(x, 0, z) for x in range(3) for z in range(2)}
        assert max(counts.values()) - min(counts.values()) < 200

    def test_a_volume_smaller_than_a_patch_is_in_its_middle(self):
        places = self.sampler([(2, 3, 8)]).places(torch.zeros(20).long(), None, seeded())
        assert set(map(tuple, places[:, :3].tolist())) == {(0, -1, -1)}

    @pytest.mark.parametrize("fraction", [0.25, 0.5, 1.0])
    def test_that_fraction_of_patches_contains_foreground(self, fraction):
        voxels = torch.tensor([[0, 0, 0], [39, 20, 39]], dtype=torch.int32)
        sampler = self.sampler([(40, 40, 40)] * 2, foreground=((voxels[:1], voxels[1:]), ()))
        places = sampler.places(torch.tensor([0, 1] * 200), fraction, seeded())
        inside = [
            any(((voxel >= corner) & (voxel < corner + 4)).all() for voxel in voxels)
            for row, corner in zip(places[:, 0], places[:, 1:], strict=True)
            if row == 0
        ]
        assert min(1, 2 * fraction) <= np.mean(inside) <= min(1, 2 * fraction) + 0.02
        ends = Counter(map(tuple, places[places[:, 0] == 0, 1:].tolist()))
        assert ends[(0, 0, 0)] > 20  # each target decides about as often
        assert ends[(36, 18, 36)] > 20

    def test_an_epoch_has_each_volume_as_often_as_configured_at_its_own_places(self):
        task = volume_task(per_volume=3)
        first, second = epoch_samples(task, 1), epoch_samples(task, 2)
        assert Counter(first[:, 0].tolist()) == {0: 3, 1: 3, 2: 3}
        assert len(first) == task.epoch_size == 9
        assert not torch.equal(first, second)
        assert torch.equal(first, epoch_samples(task, 1))


class TestCutting:
    def test_a_patch_has_the_voxels_of_its_volume_and_its_background_outside(self):
        store = volume_store(extras=True, maps=MAPS)
        corner, size = (-3, 5, -1), (8, 12, 14)
        batch = cut_patches(store, torch.tensor([[0, *corner]]), size, MAPS)
        volume = store.volumes[0]
        margins = [(3, 0), (0, 5), (1, 4)]
        kept = tuple(slice(max(c, 0), c + n) for c, n in zip(corner, size, strict=True))

        def padded(name, mode, **value):
            part = store.part(name, volume).reshape(SHAPES[0])[kept].numpy()
            return np.pad(part, margins, mode, **value)

        fill = float(store.fill[0, 0])
        for patch, expected in (
            (batch.image, padded("image", "constant", constant_values=fill)),
            (batch.target, padded("target", "constant")),
            (batch.ignore, padded("ignore", "constant")),
            (batch.weight, padded("weight", "constant", constant_values=1)),
            (batch.maps["half_pixel"], padded("maps", "edge")),
        ):
            np.testing.assert_array_equal(patch[0, 0].numpy(), expected)

    def test_raters_choose_the_target(self):
        store = volume_store(extras=True)
        places = torch.tensor([[0, 2, 2, 0], [2, 2, 2, 2]])
        batch = cut_patches(store, places, SIZE, raters=[0, 1])
        expected = store.part("raters", store.volumes[2])[0, 1][:, 2:10, 2:10, 2:10]
        assert torch.equal(batch.target[1], expected)
        assert batch.sources[1].target.shape[2:] == SHAPES[2]


class TestAugmentation:
    @pytest.fixture(autouse=True, params=["on a CPU", "as on a GPU"])
    def place(self, request, monkeypatch):
        """On a GPU, patches are interpolated by torch's `grid_sample`."""
        if request.param == "as on a GPU":
            monkeypatch.setattr(spatial_step, "_moves_one_by_one", lambda batch: False)

    def batch(self, steps=CHAIN, store=None, size=SIZE, seed=3):
        """Two patches in the middle of large volumes, of which they show a small part."""
        store = store or volume_store(shapes=[(24, 24, 24)] * 2)
        batch = cut_patches(store, torch.tensor([[0, 8, 8, 8], [1, 7, 9, 8]]), size)
        batch = replace(batch, spacing=torch.tensor([[1.0, 1.0, 1.5]] * 2), target_names=("ball",))
        before = batch.map_tensors(torch.Tensor.clone)  # augmentation overwrites samples
        return before, augment.augment(batch, augment_steps(list(steps)), seeded(seed))

    def test_an_image_of_coordinates_and_its_mask_agree(self):
        store = volume_store(shapes=[(24, 24, 24)] * 2)
        ramp = torch.linspace(0.05, 0.95, 24)
        ramps = ramp[:, None, None] * 0.5 + ramp[:, None] * 0.3 + ramp * 0.2
        for volume in store.volumes:
            for name in ("image", "target"):
                store.part(name, volume)[:] = ramps
        store.fill.zero_()
        before, moved = self.batch(store=store)
        assert (moved.image - moved.target).abs().max() < 1e-5
        assert (moved.image - before.image).abs().max() > 0.05

    def test_tissue_next_to_a_patch_moves_into_it(self):
        """A shift by whole voxels is the patch at another place, of which it has nothing itself."""
        shift = {"affine": {"rotation": 0, "scale": 0, "translation": 0.5, "whole_pixels": True}}
        store = volume_store(shapes=[(24, 24, 24)] * 2)
        _, moved = self.batch([shift], store)
        image = store.part("image", store.volumes[0])[0, 0]
        windows = image.unfold(0, 8, 1).unfold(1, 8, 1).unfold(2, 8, 1)
        errors = (windows - moved.image[0, 0]).abs().amax(dim=(3, 4, 5))
        assert errors.min() < 1e-4
        assert errors[8, 8, 8] > 1
        assert not moved.sources

    def test_beyond_the_volume_is_its_background(self):
        store = volume_store(extras=True, maps=MAPS)
        batch = cut_patches(store, torch.tensor([[0, 6, 4, 1], [1, 2, 5, -1]]), SIZE, MAPS)
        far = {"affine": {"rotation": 0, "scale": 0, "translation": 1.0, "whole_pixels": True}}
        step = augment_steps([far])[0]
        parameters = dict(step.at_limit((2, 1, *SIZE), 1))
        parameters["translation"] = parameters["translation"] * 4
        moved = augment.move(batch, [(step, parameters)])
        np.testing.assert_allclose(
            moved.image, batch.fill.view(2, 1, 1, 1, 1).expand(-1, -1, *SIZE)
        )
        assert (moved.target == 0).all()
        assert (moved.weight == 1).all()
        assert (moved.ignore == 0).all()

    def test_it_equals_interpolation_of_a_volume_padded_with_its_background(self):
        """Half a voxel beyond the last one, the share of the background is one half."""
        store = volume_store()
        places = torch.tensor([[0, 6, 4, 1], [1, 2, 5, -1]])
        batch = replace(cut_patches(store, places, SIZE), spacing=torch.ones(2, 3))
        large = replace(
            cut_patches(store, places - torch.tensor([0, 20, 20, 20]), (48,) * 3), sources=()
        )
        steps = augment_steps([CHAIN[0]])
        parameters = steps[0].sample((2, 1, *SIZE), seeded(4))
        moved = augment.move(batch, [(steps[0], parameters)])
        # the same motion in the frame of the larger patch, whose center is that of the smaller one
        wide = {**parameters, "translation": parameters["translation"] * 8 / 48}
        whole = augment.move(replace(large, spacing=torch.ones(2, 3)), [(steps[0], wide)])
        inside = (..., *[slice(20, 28)] * 3)
        np.testing.assert_allclose(moved.image, whole.image[inside], atol=1e-4)
        np.testing.assert_allclose(moved.target, whole.target[inside], atol=1e-5)

    def test_a_step_that_changes_intensities_before_a_spatial_one_is_not_lost(self):
        identity = {"affine": {"rotation": 0, "scale": 0, "translation": 0}}
        before, moved = self.batch([{"noise": {"std": [5, 5]}}, identity])
        assert (moved.image - before.image).std() == pytest.approx(5, rel=0.1)

    def test_after_another_kind_of_step_a_patch_is_interpolated_alone(self):
        before, moved = self.batch([{"binarize": {}}, CHAIN[0]])
        steps = augment_steps([{"binarize": {}}, CHAIN[0]])
        alone = augment.augment(replace(before, sources=()), steps, seeded(3))
        assert torch.equal(moved.target, alone.target)
        assert torch.equal(moved.image, alone.image)

    def test_samples_that_do_not_move_keep_their_voxels_and_volumes_never_change(self):
        store = volume_store(shapes=[(24, 24, 24)] * 2)
        before = store.image.clone()
        plain, kept = self.batch([{"affine": {"probability": 0.5}}], store, seed=5)
        unmoved = [k for k in range(2) if torch.equal(plain.image[k], kept.image[k])]
        assert len(unmoved) == 1
        assert torch.equal(store.image, before)


@pytest.mark.parametrize("loss", [None, BOUNDARY])
def test_batches_are_the_same_from_another_memory_and_however_divided(loss):
    maps = MAPS if loss else ()
    steps = [CHAIN[0] | {}, *CHAIN[2:]] if not loss else [{"affine": {}}, CHAIN[2]]
    task = volume_task(volume_store(extras=True, maps=maps), steps, loss=loss, batch_size=3)
    order = epoch_samples(task, 1)
    direct = [collate(task, places, seeded()) for places in order[:3].split(3)]
    assert_same(direct, prefetched_batches(task, order[:3].split(3), seeded()))
    whole = list(epoch_batches(task, order, seeded(1), seeded(2)))
    for rank in range(2):
        divided = replace(task, processes=processes_of(Ranks(rank, 2)))
        for batch, own in zip(
            whole, epoch_batches(divided, order, seeded(1), seeded(2)), strict=True
        ):
            rows = slice(own.part.first, own.part.first + own.part.count)
            for one, another in zip(tensors_of(batch), tensors_of(own), strict=True):
                assert one is another is None or torch.equal(one[rows], another)


def test_a_resumed_training_has_the_same_bits(tmp_path):
    steps = [*CHAIN, {"noise": {}}]
    options = {"max_epochs": 2, "oversample_foreground": 0.5}
    task = volume_task(volume_store(extras=True), steps, **options)
    once = volume_state(task)
    fit(once, task, Watcher())
    first = volume_state(task)
    fit(first, replace(task, trainer=task.trainer.model_copy(update={"max_epochs": 1})), Watcher())
    path = tmp_path / "last.pt"
    write_checkpoint(checkpoint(first), path)
    again = volume_state(task)
    restore(again, path)
    fit(again, task, Watcher())
    for name, weight in once.model.state_dict().items():
        assert torch.equal(weight, again.model.state_dict()[name]), name


def test_validation_sees_whole_volumes_whatever_the_size_of_patches():
    """Of one window or several; a volume that is smaller than a patch is padded with background."""
    task = volume_task(steps=())
    state = volume_state(task)
    values, previews = validate(state, task)
    assert values.shape == (4,)
    assert previews.shape == (3, 1, 11, 11)
    assert torch.isfinite(values).all()
    small, _ = validate(state, replace(task, patches=replace(task.patches, size=(4, 4, 4))))
    assert not torch.equal(values, small)


def test_previews_have_room_for_every_validation_volume():
    """Also for those that come after the volumes with previews and are larger."""
    shapes = [(5, 6, 4)] * (VOLUMES + 1) + [(5, 6, 12)]
    task = volume_task(volume_store(shapes=shapes), steps=())
    names = [volume.subject for volume in task.stack.volumes]
    task = replace(task, validation=tuple(task.stack.volumes_of(names[1:])))
    _, previews = validate(volume_state(task), task)
    assert previews.shape == (3 * VOLUMES, 1, 12, 12)


def test_of_a_huge_structure_no_voxel_beyond_the_last_is_chosen():
    assert spread_indices(5).tolist() == [0, 1, 2, 3, 4]
    huge = spread_indices(33_554_436)  # float32 rounds the last index to this number
    assert len(huge) == 10_000
    assert (huge[0], huge[-1]) == (0, 33_554_435)

"""Contract 2 in any orientation, shape, voxel size and slice plane: masks return to their voxels.

test_geometry.py tests the steps one by one; here a scan goes through the whole chain and back, by
preprocessing and by segmenting it with a network that returns what it sees.
"""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel.affines import apply_affine
from scipy import ndimage
from torch import nn

from softseg.data.fill import background_value
from softseg.data.nifti.grid import Grid
from softseg.data.nifti.io import read_volume
from softseg.data.sample import Sample
from softseg.inference.segment import segment
from softseg.inference.write import write_predictions
from softseg.preprocess.patches import Patches
from softseg.preprocess.preprocess import preprocess
from softseg.preprocess.slices import Slices
from tests.support.models import seen
from tests.support.preprocess_samples import noise, sample
from tests.support.preprocess_stored import (
    ORIENTATIONS,
    blob,
    cut_or_padded,
    dice,
    oriented_affine,
    reoriented,
)
from tests.support.steps import preprocess_steps

AXES = ("sagittal", "coronal", "axial")
ANGLES = st.tuples(*[st.floats(-0.2, 0.2)] * 3)  # radians: the nearest axis stays the nearest
SOME = 30 if not settings.default.derandomize else 1  # --hypothesis-profile=search


def tries(few):
    slow = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    return settings(deadline=None, max_examples=few * SOME, suppress_health_check=slow)


def samples_of(axis, in_3d):
    slices = Slices(axis=axis, exclude=())
    return Patches().with_plane(slices.in_plane) if in_3d else slices


def back_to_native(volume, samples):
    return volume.geometry.to_native(samples.stack(volume.target)[0])


def middle(mask, affine):
    """The center of mass in mm."""
    return apply_affine(affine, ndimage.center_of_mass(mask.astype(float)))


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_the_network_sees_the_same_slices_however_the_file_is_stored(orientation, axis):
    """Right-left x posterior-anterior x inferior-superior, cropped; then the inverse."""
    shape, size = (7, 10, 6), (8, 5)
    image, mask = noise(shape), noise(shape, seed=1, low=0.01, high=1)
    slices = Slices(axis=axis, exclude=())
    chain = preprocess_steps([{"crop": {"size": list(size)}}])
    affine = oriented_affine(orientation, (0.5, 0.7, 3), (0.1, -0.05, 0.15))
    subject = sample(reoriented(image, orientation), reoriented(mask, orientation), affine=affine)
    volume = preprocess(subject, chain, slices)
    plane = AXES.index(axis)
    np.testing.assert_array_equal(
        volume.image[:, 0], cut_or_padded(image, size, plane, background_value(image))
    )
    np.testing.assert_array_equal(volume.target[:, 0], cut_or_padded(mask, size, plane))
    back = back_to_native(volume, slices)
    cropped = np.where(back > 0, reoriented(mask, orientation), 0)
    np.testing.assert_array_equal(back, cropped)
    inside = [min(n, m) for n, m in zip(np.delete(shape, plane), size, strict=True)]
    assert (back > 0).sum() == np.prod(inside) * shape[plane]


@tries(40)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    angles=ANGLES,
    shape=st.tuples(*[st.integers(1, 14)] * 3),
    zooms=st.tuples(*[st.floats(0.2, 6)] * 3),
    axis=st.sampled_from(AXES),
    more=st.tuples(*[st.integers(0, 9)] * 2),
    in_3d=st.booleans(),
)
def test_without_resampling_a_mask_is_restored_to_the_bit(
    orientation, angles, shape, zooms, axis, more, in_3d
):
    mask = noise(shape, low=0, high=1)
    size = [
        int(n) + extra for n, extra in zip(np.delete(shape, AXES.index(axis)), more, strict=True)
    ]
    chain = preprocess_steps([{"standardize": {}}, {"crop": {"size": size}}])
    samples = samples_of(axis, in_3d)
    native = reoriented(mask, orientation)
    volume = preprocess(
        sample(noise(native.shape), native, affine=oriented_affine(orientation, zooms, angles)),
        chain,
        samples,
    )
    back = back_to_native(volume, samples)
    np.testing.assert_array_equal(back, native)
    assert volume.statistics.kept_share == (pytest.approx(1),)


RESAMPLED = {
    "orientation": st.sampled_from(ORIENTATIONS),
    "angles": ANGLES,
    "zooms": st.tuples(*[st.floats(0.25, 1.0)] * 3),
    "finer": st.tuples(*[st.none() | st.floats(0.3, 1.0)] * 3),  # network's zooms / native zooms
    "axis": st.sampled_from(AXES),
    "seed": st.integers(0, 2**32 - 1),
}
SHAPE = (30, 34, 28)


def resampling(zooms, finer):
    return [None if f is None else f * z for f, z in zip(finer, zooms, strict=True)]


@tries(20)
@given(**RESAMPLED, order=st.integers(1, 3), in_3d=st.booleans())
def test_resampling_there_and_back_keeps_99_percent_dice_and_moves_nothing(
    orientation, angles, zooms, finer, axis, seed, order, in_3d
):
    feature = max(0.5, 2 * max(zooms))
    mask = blob(SHAPE, zooms, seed, feature)
    steps = [{"resample": {"zooms": resampling(zooms, finer), "label_order": order}}]
    samples = samples_of(axis, in_3d)
    native, affine = reoriented(mask, orientation), oriented_affine(orientation, zooms, angles)
    volume = preprocess(sample(native, native, affine=affine), preprocess_steps(steps), samples)
    back = back_to_native(volume, samples)
    assert dice(back >= 0.5, native >= 0.5) >= 0.99
    network = samples.stack(volume.target)[0]
    moved = middle(network, volume.geometry.network.affine) - middle(native, affine)
    assert np.linalg.norm(moved) < 0.05 * min(zooms)


class Bright(nn.Module):
    """Segments voxels brighter than a level, in standard deviations from the mean."""

    def __init__(self, level):
        super().__init__()
        self.level = level

    def forward(self, slices):
        return 4 * (slices[:, :1] - self.level)


@tries(12)
@given(**RESAMPLED, crop=st.tuples(*[st.integers(6, 60)] * 2), in_3d=st.booleans())
def test_bright_voxels_are_segmented_at_their_native_position(
    orientation, angles, zooms, finer, axis, seed, crop, in_3d
):
    """Whatever the crop: scans larger than it are segmented in patches."""
    mask = blob(SHAPE, zooms, seed, max(0.5, 2 * max(zooms)))
    native, affine = (
        reoriented(mask * 900 + 20, orientation),
        oriented_affine(orientation, zooms, angles),
    )
    level = (470 - native.mean(dtype=np.float64)) / native.std(dtype=np.float64)
    finer = ", ".join("null" if zoom is None else str(zoom) for zoom in resampling(zooms, finer))
    resample, box = f"{{resample: {{zooms: [{finer}]}}}}", f"{{crop: {{size: {list(crop)}}}}}"
    model = seen(
        f"preprocess=[{{standardize: {{}}}}, {resample}, {box}]",
        f"slices.axis={axis}",
        *(("model={name: unet3d}", "patches.size=[24, 20, 16]") if in_3d else ()),
        network=Bright(level),
    )
    soft = segment(model, scan_of(native, affine))[0]
    assert soft.shape == native.shape
    assert dice(soft >= 0.5, native > 470) >= 0.99


def scan_of(image, affine):
    """A scan to segment: no masks."""
    nothing = np.zeros((0, *image.shape), np.float32)
    return Sample(image[None], nothing, None, (), Grid(image.shape, affine), {})


# byte ranges of a NIfTI-1 header: dim_info and dim, pixdim, xyzt_units, q- and sform
HEADER_RANGES = ((39, 56), (76, 108), (123, 124), (252, 328))


@tries(12)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    angles=ANGLES,
    zooms=st.tuples(*[st.floats(0.3, 4)] * 3),
    codes=st.sampled_from([(1, 1), (2, 0), (0, 4), (1, 3)]),
    dtype=st.sampled_from([np.int16, np.uint8, np.float64]),
    trailing=st.integers(0, 2),
)
def test_a_prediction_has_the_header_of_its_scan_to_the_byte(
    tmp_path, orientation, angles, zooms, codes, dtype, trailing
):
    scan = reoriented(noise((9, 7, 5), low=1, high=250).round(), orientation).astype(dtype)
    image = nib.Nifti1Image(scan.reshape(*scan.shape, *[1] * trailing), None)
    affine = oriented_affine(orientation, zooms, angles)
    image.set_qform(affine, codes[0])
    image.set_sform(affine if codes[1] else None, codes[1])
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"of the scanner"
    source = tmp_path / "scan.nii"
    nib.save(image, source)
    volume = read_volume(source)
    soft = segment(seen(), scan_of(volume.data, volume.grid.affine))
    written = write_predictions(tmp_path, source, soft, soft >= 0.5, {"lesion": 0.5}, {})
    before = source.read_bytes()
    for path in written:
        after = gzip.decompress(path.read_bytes())
        for start, stop in HEADER_RANGES:
            assert after[start:stop] == before[start:stop], (path.name, start)
    mask = np.asarray(nib.load(written[1]).dataobj).reshape(scan.shape)
    np.testing.assert_array_equal(mask == 1, scan >= scan.mean(dtype=np.float64))

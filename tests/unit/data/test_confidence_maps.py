"""Maps of confidence, which weight the voxels of the loss, from the files of every loader."""

from __future__ import annotations

import numpy as np
import pytest

from softseg import data
from softseg.check.check import check_files
from softseg.check.output import as_json, as_lines, pairs_frame
from softseg.core.errors import UserError
from softseg.data.sample import SubjectError, load_sample
from tests.support import makers


def confidence():
    """0 in the first rows, 1 in the last, and between them everything else."""
    rows = np.clip((np.arange(makers.SHAPE[0]) - 1) / 5, 0, 1)
    return np.broadcast_to(rows[:, None, None], makers.SHAPE).astype(np.float32)


def files(root, mask):
    makers.nifti(root / "s_T1w.nii.gz", makers.scan())
    makers.nifti(root / "s_seg.nii.gz", makers.ball())
    makers.nifti(root / "s_conf.nii.gz", mask)
    patterns = {"image": "{subject}_{contrast}.nii.gz", "label": "{subject}_seg.nii.gz"}
    return {"loader": "files", **patterns}, {"confidence": "{subject}_conf.nii.gz"}


def table(root, mask):
    files(root, mask)
    (root / "t.csv").write_text("subject,T1w,gm,sure\ns,s_T1w.nii.gz,s_seg.nii.gz,s_conf.nii.gz\n")
    return {"loader": "table", "file": "t.csv"}, {"confidence": "sure"}


def bids(root, mask):
    makers.bids(root, names=["sub-s"])
    makers.nifti(root / "derivatives/labels/sub-s/anat/sub-s_T1w_desc-confidence.nii.gz", mask)
    return {"loader": "bids"}, {"suffix": "seg-manual", "confidence": "desc-confidence"}


LOADERS = [files, table, bids]


def build(root, spec, **targets):
    return data.build({**spec, "root": str(root), "contrasts": ["T1w"], "targets": targets})


def load(dataset, **options):
    [subject] = dataset()
    return load_sample(subject, dataset, confidence=True, **options)


@pytest.mark.parametrize("loader", LOADERS)
def test_every_loader_finds_the_map_of_a_target(tmp_path, loader):
    spec, target = loader(tmp_path, confidence())
    dataset = build(tmp_path, spec, gm=target)
    sample = load(dataset)
    np.testing.assert_array_equal(sample.weight[0], confidence())
    assert sample.weight.dtype == np.float32
    np.testing.assert_array_equal(sample.ignore[0], confidence() == 0)
    assert not sample.target[0][confidence() == 0].any()
    [subject] = dataset()
    assert subject.confidence["gm"] in subject.files
    scored = load_sample(subject, dataset)  # for metrics, which do not use weights
    assert scored.weight is None
    assert scored.ignore is None
    assert scored.target[0][confidence() == 0].any()


def test_codes_to_ignore_and_confidence_0_add_up(tmp_path):
    mask = makers.ball()
    mask[:, 0] = 9
    spec, target = files(tmp_path, confidence())
    makers.nifti(tmp_path / "s_seg.nii.gz", mask)
    ignored = load(build(tmp_path, spec, gm={**target, "ignore": [9]})).ignore[0]
    np.testing.assert_array_equal(ignored, (confidence() == 0) | (mask == 9))


def test_a_target_without_a_map_has_full_weights(tmp_path):
    spec, target = files(tmp_path, confidence())
    sample = load(build(tmp_path, spec, gm=target, wm={}))
    np.testing.assert_array_equal(sample.weight[0], confidence())
    assert (sample.weight[1] == 1).all()
    assert load(build(tmp_path, spec, gm={})).weight is None


@pytest.mark.parametrize("loader", LOADERS)
def test_a_missing_map_is_reported_with_its_place(tmp_path, loader):
    spec, target = loader(tmp_path, confidence())
    for path in [*tmp_path.rglob("*conf*.nii.gz")]:
        path.unlink()
    message = r"no confidence map of gm \(looked for .*conf.*nii\.gz; dataset\.targets\.gm\."
    with pytest.raises(UserError, match=message):
        build(tmp_path, spec, gm=target)()


def test_a_column_of_a_table_that_does_not_exist_is_reported(tmp_path):
    spec, _ = table(tmp_path, confidence())
    with pytest.raises(UserError, match=r"no column 'sur'.*did you mean 'sure'"):
        build(tmp_path, spec, gm={"confidence": "sur"})()


def test_several_maps_for_one_target_are_reported(tmp_path):
    spec, _ = files(tmp_path, confidence())
    makers.nifti(tmp_path / "s_conf2.nii.gz", confidence())
    with pytest.raises(UserError, match="2 files match the confidence map of gm"):
        build(tmp_path, spec, gm={"confidence": "{subject}_conf*.nii.gz"})()


@pytest.mark.parametrize(
    ("loader", "changes", "message"),
    [
        (files, {"confidence": "{subject}_{rater}.nii.gz"}, r"a map is for the masks of"),
        (files, {"confidence": "{subject}_{center}.nii.gz"}, r"{center} cannot be used"),
        (files, {"confidence": "/conf.nii.gz"}, r"is not a path below dataset\.root"),
        (bids, {"confidence": "conf-{rater}"}, r"targets\.gm\.confidence: .* must contain only"),
        (files, {"confidence": ""}, "at least 1 character"),
    ],
)  # fmt: skip
def test_a_pattern_that_cannot_be_used_is_rejected(tmp_path, loader, changes, message):
    spec, target = loader(tmp_path, confidence())
    with pytest.raises(ValueError, match=message):
        build(tmp_path, spec, gm={**target, **changes})


def test_nnunets_format_has_no_maps(tmp_path):
    with pytest.raises(
        ValueError, match=r"gm\.confidence: nnU-Net's format has no confidence maps"
    ):
        build(tmp_path, {"loader": "nnunet"}, gm={"values": [1], "confidence": "x"})


def test_a_map_is_neither_an_image_nor_a_mask_of_a_rater(tmp_path):
    """Although its name matches both patterns."""
    files(tmp_path, confidence())
    spec = {"loader": "files", "image": "{subject}.nii.gz", "label": "{subject}_{rater}.nii.gz"}
    makers.nifti(tmp_path / "s.nii.gz", makers.scan())
    (tmp_path / "s_T1w.nii.gz").unlink()
    dataset = build(tmp_path, spec, gm={"confidence": "{subject}_conf.nii.gz"})
    [subject] = dataset()
    assert list(subject.labels["gm"]) == ["seg"]


def test_a_map_is_no_mask_of_a_rater_in_bids_either(tmp_path):
    spec, target = bids(tmp_path, confidence())
    folder = tmp_path / "derivatives/labels/sub-s/anat"
    (folder / "sub-s_T1w_seg-manual.nii.gz").rename(folder / "sub-s_T1w_desc-a.nii.gz")
    [subject] = build(tmp_path, spec, gm={**target, "suffix": "desc-{rater}"})()
    assert list(subject.labels["gm"]) == ["a"]


def test_the_map_of_the_masks_contrast_is_used(tmp_path):
    spec, _ = files(tmp_path, confidence())
    makers.nifti(tmp_path / "s_T2w.nii.gz", makers.scan(1))
    for contrast in ("T1w", "T2w"):
        makers.nifti(tmp_path / f"s_{contrast}_seg.nii.gz", makers.ball())
        makers.nifti(tmp_path / f"s_{contrast}_conf.nii.gz", confidence())
    spec |= {"label": "{subject}_{contrast}_seg.nii.gz", "contrasts": ["T1w", "T2w"]}
    target = {"contrast": "T2w", "confidence": "{subject}_{contrast}_conf.nii.gz"}
    [subject] = data.build({**spec, "root": str(tmp_path), "targets": {"gm": target}})()
    assert subject.confidence["gm"].name == "s_T2w_conf.nii.gz"


@pytest.mark.parametrize("scale", [100, -1])
def test_values_outside_0_and_1_are_rejected(tmp_path, scale):
    spec, target = files(tmp_path, confidence() * scale)
    message = r"s_conf\.nii\.gz: holds the values .*, so it is not a map of confidence from 0 to 1"
    dataset = build(tmp_path, spec, gm=target)
    with pytest.raises(SubjectError, match=message):
        load(dataset)
    [finding] = check_files(dataset(), dataset).of("error")
    assert finding.path.name == "s_conf.nii.gz"
    assert "correct dataset.targets.gm.confidence" in finding.do
    [subject] = dataset()
    load_sample(subject, dataset)  # evaluation does not read the map


def test_a_map_on_another_grid_is_rejected(tmp_path):
    spec, target = files(tmp_path, confidence()[1:])
    with pytest.raises(SubjectError, match=r"s_conf\.nii\.gz: has the shape"):
        load(build(tmp_path, spec, gm=target))


def test_a_map_is_resampled_linearly_but_0_spreads(tmp_path):
    spec, target = files(tmp_path, confidence())
    affine = np.eye(4)
    affine[0, 3] = 0.5
    makers.nifti(tmp_path / "s_conf.nii.gz", confidence(), affine)
    weight = load(build(tmp_path, {**spec, "on_grid_mismatch": "resample"}, gm=target)).weight[0]
    expected = (confidence()[1:] + confidence()[:-1])[:, 0, 0] / 2
    assert not weight[:3].any()  # where the map has 0, or a neighbor with 0 contributes
    np.testing.assert_allclose(weight[3:, 0, 0], expected[2:], atol=1e-4)


def test_masks_of_several_raters_share_one_map(tmp_path):
    spec, target = files(tmp_path, confidence())
    makers.nifti(tmp_path / "s_seg-a.nii.gz", makers.ball())
    makers.nifti(tmp_path / "s_seg-b.nii.gz", makers.ball(soft=False))
    spec |= {"label": "{subject}_seg-{rater}.nii.gz", "raters": {"fusion": "random"}}
    sample = load(build(tmp_path, spec, gm=target))
    np.testing.assert_array_equal(sample.weight[0], confidence())
    assert not any(mask[confidence() == 0].any() for mask in sample.raters[0].values())


def test_data_check_reads_and_lists_the_maps(tmp_path):
    spec, target = files(tmp_path, confidence())
    dataset = build(tmp_path, spec, gm=target)
    result = check_files(dataset(), dataset)
    assert any("1 maps of confidence (weights of the loss), voxels 0 to 1" in line
               for line in as_lines(result))  # fmt: skip
    [record] = [file for file in as_json(result)["files"] if file["kind"] == "confidence"]
    assert (record["name"], record["max"], record["values"]) == ("gm", 1, None)
    assert pairs_frame(result)["confidence_gm"].tolist() == ["s_conf.nii.gz"]
    assert not result.findings


def test_data_check_warns_of_a_map_of_0(tmp_path):
    spec, target = files(tmp_path, 0 * confidence())
    dataset = build(tmp_path, spec, gm=target)
    [finding] = check_files(dataset(), dataset).of("warning")
    assert "is 0 everywhere, so no voxel of gm counts in the loss" in str(finding)

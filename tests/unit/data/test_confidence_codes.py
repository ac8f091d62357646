"""Codes of an expert's confidence, `values: {1: 0.5, 2: 1}`, become soft masks in every loader."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from softseg import data
from softseg.check.check import check_files
from softseg.config.experiment import Experiment
from softseg.config.load import dump, load_experiment
from softseg.core.errors import UserError
from softseg.data.sample import SubjectError, load_sample
from softseg.package.metadata import anonymize
from tests.support import loader_files, makers
from tests.support.loader_files import bids, files, table

CODES = {1: 0.5, 2: 1}
YAML = """\
name: tiny
dataset: {{loader: files, root: data, image: '{{subject}}_T1w.nii.gz',
  label: '{{subject}}_seg.nii.gz', contrasts: [T1w], targets: {{gm: {{
    values: {values}}}}}}}
model: {{depth: 1, filters: 2, head: {{name: sigmoid}}}}
loss: {{name: mse}}
"""


def coded():
    """A ball with a shell of the code 1 (perhaps) around a core of the code 2 (certainly)."""
    soft = makers.ball()
    return np.where(soft == 1, 2.0, np.where(soft > 0, 1.0, 0.0)).astype(np.float32)


def expected():
    return np.select([coded() == 1, coded() == 2], [np.float32(0.5), np.float32(1)], np.float32(0))


def nnunet(root, mask):
    return loader_files.nnunet(root, mask, {"background": 0, "perhaps": 1, "certain": 2})


def build(root, spec, **gm):
    return data.build({**spec, "root": str(root), "contrasts": ["T1w"], "targets": {"gm": gm}})


def load(dataset):
    [subject] = dataset()
    return load_sample(subject, dataset)


@pytest.mark.parametrize("loader", [files, table, bids, nnunet])
def test_every_loader_reads_confidences(tmp_path, loader):
    spec, target = loader(tmp_path, coded())
    sample = load(build(tmp_path, spec, **target, values=CODES))
    np.testing.assert_array_equal(sample.target[0], expected())
    assert sample.target.dtype == np.float32
    soft, positive = sample.soft["files"]
    assert (soft, positive) == ((coded() == 1).sum(), (coded() > 0).sum())


def test_confidences_of_1_are_the_list_of_codes(tmp_path):
    spec, _ = files(tmp_path, coded())
    listed = load(build(tmp_path, spec, values=[1, 2])).target
    np.testing.assert_array_equal(load(build(tmp_path, spec, values={1: 1, 2: 1})).target, listed)
    np.testing.assert_array_equal(load(build(tmp_path, spec, values={"2": 1.0})).target[0],
                                  coded() == 2)  # fmt: skip


def test_codes_are_rounded_and_ignored_as_those_of_a_list(tmp_path):
    spec, _ = files(tmp_path, coded() * 1.01)
    with pytest.raises(SubjectError, match="round: true"):
        load(build(tmp_path, spec, values=CODES))
    sample = load(build(tmp_path, spec, values=CODES, round=True))
    np.testing.assert_array_equal(sample.target[0], expected())
    sample = load(build(tmp_path, files(tmp_path, coded())[0], values={2: 0.7}, ignore=[1]))
    np.testing.assert_array_equal(sample.ignore[0], coded() == 1)
    np.testing.assert_array_equal(sample.target[0], np.float32(0.7) * (coded() == 2))


def test_0_and_fractions_may_be_codes(tmp_path):
    spec, _ = files(tmp_path, coded() / 2)
    target = load(build(tmp_path, spec, values={0: 0.25, 0.5: 0.5, 1.0: 1})).target[0]
    np.testing.assert_array_equal(target, np.where(coded() == 0, np.float32(0.25), expected()))


def test_a_soft_mask_is_not_taken_for_codes(tmp_path):
    spec, _ = files(tmp_path, makers.ball())
    with pytest.raises(SubjectError, match=r"fractions, but codes were chosen; .*gm\.values"):
        load(build(tmp_path, spec, values=CODES))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("{1: 0, 2: 1}", "values.1: is background with confidence 0; leave the code out"),
        ("{1: 50}", "values.1: must be at most 1, not 50"),
        ("{1: -0.5}", "values.1: must be at least 0, not -0.5"),
        ("{1: 0.5, 1.0: 1}", "values: 1.0: is the same code as 1; remove one"),
        ("{1: 0.5, '1': 1}", "values.1: written twice (also x.yaml:4); keep one"),
        ("{a: 0.5}", "values.a: is not a label code, which is a number"),
        ("{nan: 0.5}", "values.nan: is not a label code, which is a number"),
        ("{1_0: 0.5}", "values.1_0: is not a label code, which is a number"),
        ("{1: high}", "values.1: must be a number, not text 'high'"),
        ("{1: null}", "values.1: must be a number, not empty (null)"),
        ("{}", "values: must have at least 1 item, not 0"),
        ("{1: 0.5}, ignore: [1]", "ignore: 1 is one of values; remove it from one of them"),
        ("{1: 0.5}, maximum: 2", "maximum: is for soft masks, and values are codes; remove one"),
        ("{1.5: 1}, round: true", "round: would never match a code that is a fraction; correct "
                                  "values"),
        ("0.5", "values: must be a list of numbers or a mapping or null, not 0.5"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_line(tmp_path, monkeypatch, values, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(YAML.format(values=values))
    with pytest.raises(UserError) as caught:
        load_experiment(tmp_path / "x.yaml")
    text = str(caught.value).replace(str(tmp_path) + "/", "")
    assert text.startswith("x.yaml:")
    assert text.endswith(f"dataset.targets.gm.{message}")
    assert "\n" not in text


def test_confidences_stay_in_a_dump_an_override_and_a_package(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(YAML.format(values="{1: 0.5, 2: 1}"))
    experiment = load_experiment(path)
    assert experiment.dataset.targets["gm"].codes == CODES
    path.write_text(dump(experiment))
    assert load_experiment(path) == experiment
    changed = load_experiment(path, ["dataset.targets.gm.values={1: 0.25}"])
    assert changed.dataset.targets["gm"].codes == {1: 0.25, 2: 1}
    assert isinstance(anonymize(changed), Experiment)
    assert anonymize(changed).dataset.targets["gm"].codes == {1: 0.25, 2: 1}


def raters(root, fusion):
    spec, _ = files(root, coded())
    makers.nifti(root / "s_seg-a.nii.gz", coded())
    makers.nifti(root / "s_seg-b.nii.gz", np.zeros(makers.SHAPE))
    return {**spec, "label": "{subject}_seg-{rater}.nii.gz", "raters": {"fusion": fusion}}


@pytest.mark.parametrize("fusion", ["majority", "mean", "staple", "a"])
def test_a_fusion_that_loses_confidences_is_a_warning(tmp_path, caplog, fusion):
    caplog.set_level(logging.WARNING)
    sample = load(build(tmp_path, raters(tmp_path, fusion), values=CODES))
    text = f"fusion: {fusion} makes the masks of several raters binary at 0.5"
    assert (text in caplog.text) == (fusion in ("majority", "staple"))
    if fusion == "mean":
        np.testing.assert_array_equal(sample.target[0], expected() / 2)
    if fusion == "a":
        np.testing.assert_array_equal(sample.target[0], expected())


def test_without_confidences_a_fusion_is_no_warning(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    build(tmp_path, raters(tmp_path, "majority"), values=[1, 2])()
    assert "binary" not in caplog.text


@pytest.mark.parametrize("values", [{1: 0.5, 7: 1}, [1, 7]])
def test_a_code_that_no_mask_has_is_reported(tmp_path, values):
    dataset = build(tmp_path, files(tmp_path, coded())[0], values=values)
    findings = [str(finding) for finding in check_files(dataset(), dataset).findings]
    assert (
        "dataset.targets.gm.values: no mask of gm has a voxel of 7; correct the codes, or remove \
those that are not needed"
        in findings
    )
    assert any("the value 2 is in 1 of 1 masks and in no target" in text for text in findings)


def test_codes_of_which_masks_have_none_or_all_are_not_reported_as_unused(tmp_path):
    spec, _ = files(tmp_path, coded())
    for values in (CODES, {7: 0.5, 8: 1}):
        dataset = build(tmp_path, spec, values=values)
        kinds = {finding.kind for finding in check_files(dataset(), dataset).findings}
        assert "unused codes" not in kinds


def test_a_code_that_nnunets_description_lacks_is_rejected(tmp_path):
    spec, _ = nnunet(tmp_path, coded())
    with pytest.raises(UserError, match=r"targets\.gm\.values: .* has no code 7; it has"):
        build(tmp_path, spec, values={1: 0.5, 7: 1})()


@pytest.mark.parametrize("values", [{0: 0.5, 1: 1}, [0, 1], [1, 2], {1: 0.5}])
def test_the_code_of_the_background_in_a_target_is_a_warning(tmp_path, caplog, values):
    caplog.set_level(logging.WARNING)
    build(tmp_path, files(tmp_path, coded())[0], values=values)()
    warned = caplog.text.count("dataset.targets.gm.values: 0 is the code of the background")
    assert warned == (1 if 0 in values else 0)

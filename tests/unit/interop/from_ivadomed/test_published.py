"""The paper's three configurations: what they trained, and which warnings they get."""

from __future__ import annotations

import pytest

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.interop.from_ivadomed.convert import convert, write_config
from tests.support.ivadomed.published import CONTRASTS, NAMES, changed, published, save


@pytest.fixture
def converted(tmp_path):
    """Convert a configuration; returns the conversion and the experiment of the YAML file."""

    def run(config):
        file, out = save(config, tmp_path), tmp_path / "out.yaml"
        conversion = convert(file)
        write_config(conversion, file, out, overwrite=True)
        return conversion, load_config(out, Experiment)

    return run


def steps(chain):
    return [step.name for step in chain]


# the table of the paper's published configurations: soft?, head, loss, batch, depth, rate, epochs
TABLE = {
    "scgm": (True, "normrelu", "adaptive_wing", 8, 3, 1e-3, 150),
    "ms": (True, "sigmoid", "dice", 24, 4, 5e-5, 200),
    "brats": (False, "sigmoid", "dice", 24, 4, 1e-4, 200),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_converted_experiment_is_the_published_one(name, converted):
    _, experiment = converted(published(name))
    soft, head, loss, batch, depth, rate, epochs = TABLE[name]
    assert steps(experiment.augment) == ["affine"] if soft else ["affine", "binarize"]
    assert (experiment.model.head.name, experiment.loss.name) == (head, loss)
    trainer = experiment.trainer
    assert (trainer.batch_size, trainer.learning_rate, trainer.max_epochs) == (batch, rate, epochs)
    assert (experiment.model.depth, experiment.model.filters) == (depth, 64)
    assert list(experiment.dataset.contrasts) == CONTRASTS[name]
    affine = experiment.augment[0]
    assert (affine.rotation, affine.translation, affine.scale) == (20, 0.03, (0.1, 0.1))
    assert affine.whole_pixels


@pytest.mark.parametrize("name", NAMES)
def test_it_follows_the_published_code_where_the_paper_differs(name, converted):
    _, experiment = converted(published(name))
    model = experiment.model
    assert (model.block, model.dropout_by) == ("conv_relu_norm", "channel")
    assert (model.dropout_position, model.norm_momentum) == ("every_convolution", 0.9)
    assert experiment.preprocess[-1].over == "slice"
    if name == "scgm":
        assert experiment.loss.reduction == "sum"
        assert model.head.scope == "published"


@pytest.mark.parametrize("name", NAMES)
def test_the_dropout_is_the_one_in_effect_and_the_comment_has_the_configured_one(name, converted):
    conversion, experiment = converted(published(name))
    assert experiment.model.dropout == 0.4
    assert "0.3" in conversion.warnings["default_model.dropout_rate"]
    assert "0.3" in conversion.notes["model", "dropout"]


@pytest.mark.parametrize("name", NAMES)
def test_rates_that_the_cosine_schedule_does_not_read_are_warned_about(name, converted):
    conversion, experiment = converted(published(name))
    assert experiment.trainer.schedule.model_dump() == {"name": "cosine", "minimum": 0.0}
    for key in ("base_lr", "max_lr"):
        key = f"training_parameters.scheduler.lr_scheduler.{key}"
        assert "ignored" in conversion.warnings[key]
        assert key not in conversion.carried_over


@pytest.mark.parametrize("name", NAMES)
def test_keys_that_ivadomed_2_9_ignores_are_warned_about(name, converted):
    conversion, _ = converted(published(name))
    ignored = ["gpu", "default_model.relu", "testing_parameters.binarize_prediction"]
    if name == "ms":
        ignored += ["evaluation_parameters.targetSize.thr", "evaluation_parameters.removeSmall.thr"]
    assert all("2.9 ignores it" in conversion.warnings[key] for key in ignored)


def test_the_roi_filter_of_scgm_is_reported_as_inert(converted):
    conversion, experiment = converted(published("scgm"))
    assert (
        "dropped no slice" in conversion.warnings["loader_parameters.roi_params.slice_filter_roi"]
    )
    assert experiment.slices.exclude == ("empty_input",)


@pytest.mark.parametrize("loss", [{"name": "AdapWingLoss", "omega": 8}, "AdapWingLoss"])
def test_a_misplaced_loss_is_warned_about_and_dice_is_trained(loss, converted):
    conversion, experiment = converted(changed(published("ms"), loader_parameters__loss=loss))
    warnings = [
        text
        for key, text in conversion.warnings.items()
        if key.startswith("loader_parameters.loss")
    ]
    assert experiment.loss.name == "dice"
    assert len(warnings) == 1
    assert "DiceLoss" in warnings[0]


def test_the_split_of_scgm_holds_out_a_center_and_divides_the_others_subjects(converted):
    _, experiment = converted(published("scgm"))
    split = experiment.split
    assert (split.by, split.within, split.seed) == ("institution_id", "subject", 5299)
    assert (split.test, split.validation) == (0.25, 0.5)


def test_the_resampling_of_ms_is_in_plane_with_a_warning(converted):
    conversion, experiment = converted(published("ms"))
    assert experiment.preprocess[0].zooms == (1, 1, None)
    assert "never along the third axis" in conversion.warnings["transformation.Resample.dspace"]


def test_brats_is_not_resampled(converted):
    _, experiment = converted(published("brats"))
    assert steps(experiment.preprocess) == ["crop", "standardize"]


def test_the_lesions_of_ms_are_scored_as_published(converted):
    _, experiment = converted(published("ms"))
    lesions, [small] = experiment.evaluate.lesions, experiment.evaluate.postprocess
    assert (lesions.minimum, lesions.overlap, lesions.size_bins) == (3, 3, (20, 100))
    for rules in (small, experiment.evaluate.remove_small_from_truth):
        assert (rules.minimum, rules.unit, rules.connectivity) == (3, "voxels", 18)


@pytest.mark.parametrize("name", ["scgm", "brats"])
def test_without_the_key_of_2_2_the_truth_keeps_its_small_objects(name, converted):
    _, experiment = converted(published(name))
    assert experiment.evaluate.remove_small_from_truth is None


def test_training_stops_by_the_published_rule_with_epsilon_in_percent(converted):
    conversion, experiment = converted(published("scgm"))
    stop = experiment.trainer.early_stopping
    assert (stop.rule, stop.patience, stop.epsilon) == ("published", 50, 0.005)
    key = "training_parameters.training_time.early_stopping_patience"
    assert "bad epochs in all" in conversion.warnings[key]


def test_a_key_of_2_2_in_a_file_for_2_9_is_ignored(converted):
    config = changed(published("scgm"), gpu=..., gpu_ids=[0], log_directory=..., path_output="out")
    conversion, experiment = converted(config)
    assert conversion.config.version == "2.9"
    assert experiment.model.head.name == "sigmoid"
    assert experiment.model.dropout == 0.3
    for key in ("default_model.relu", "testing_parameters.binarize_prediction"):
        assert "ignored it" in conversion.warnings[key]


def test_the_yaml_starts_with_its_training_command_and_all_warnings(tmp_path):
    file, out = save(published("scgm"), tmp_path), tmp_path / "out.yaml"
    conversion = convert(file)
    write_config(conversion, file, out)
    text = out.read_text()
    header = " ".join(text.split("\n\n")[0].replace("\n# ", " ").split())
    assert text.startswith(f"# softseg train {out}\n")
    assert all(" ".join(warning.split()) in header for warning in conversion.warnings.values())
    assert "# default_model.dropout_rate: 0.3; not read" in text

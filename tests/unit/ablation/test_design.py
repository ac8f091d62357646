"""The YAML file of an ablation: the experiments of its candidates, and the errors for mistakes."""

from __future__ import annotations

import pytest

from softseg import losses
from softseg.ablation.design import Ablation, load_design
from softseg.config.experiment import Experiment
from softseg.config.load import dump, load_config, load_experiment
from softseg.core.errors import UserError
from softseg.data import Split
from tests.support import project

HEAD = "extends: base.yaml\nname: study\nsplits: {name: leave_one_out}\n"

# differences of a candidate as YAML, also valid in a file that extends the base
DIFFERENCES = {
    "key": "trainer: {learning_rate: 0.01}",
    "loss": "loss: {name: dice}",
    "head": "model: {head: {name: sigmoid, prior: 0.02}}",
    "list": "augment: [{affine: {scale: 0.1}}, {binarize: {threshold: 0.4}}]",
    "null": "trainer: {early_stopping: null, threads: null}",
    "two": "loss: {name: adaptive_wing, theta: 0.4}\nmodel: {filters: 3}",
    "other data": "dataset: {targets: {gm: {values: [2]}}, raters: {fusion: mean}}",
}


@pytest.fixture
def design_of(tmp_path, monkeypatch):
    """Write an ablation next to its base (base.yaml) and load it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(project.YAML)

    def load(more, *sets, head=HEAD):
        (tmp_path / "study.yaml").write_text(head + more)
        return load_design(tmp_path / "study.yaml", sets)

    return load


def without_split(experiment):
    """The experiment with the default split, which the plan replaces for every run."""
    return experiment.model_copy(update={"split": Split()})


def indented(text, by=4):
    return "".join(f"{' ' * by}{line}\n" for line in text.splitlines())


@pytest.mark.parametrize("difference", DIFFERENCES.values(), ids=DIFFERENCES)
def test_a_candidate_equals_a_file_that_extends_the_base(design_of, tmp_path, difference):
    design = design_of(f"candidates:\n  One:\n{indented(difference)}")
    single = tmp_path / "single.yaml"
    single.write_text(f"extends: base.yaml\nname: One\n{difference}\n")
    assert design.experiments == {"One": without_split(load_config(single, Experiment))}


@pytest.mark.parametrize("nothing", ["{}", "null", ""])
def test_a_candidate_without_differences_is_the_base_under_its_own_name(
    design_of, tmp_path, nothing
):
    [experiment] = design_of(f"candidates:\n  One: {nothing}\n").experiments.values()
    base = load_config(tmp_path / "base.yaml", Experiment)
    assert experiment.name == "One"
    assert experiment == without_split(base.model_copy(update={"name": "One"}))


def test_another_loss_has_no_parameter_of_the_base_loss(design_of):
    more = "loss: {theta: 0.4}\ncandidates: {Wing: {}, Dice: {loss: {name: dice}}}\n"
    experiments = design_of(more).experiments
    assert experiments["Wing"].loss.theta == 0.4
    assert experiments["Dice"].loss == losses.build({"name": "dice"})


def test_dotted_keys_reach_into_lists_and_keep_the_rest(design_of):
    augment = "augment: [{affine: {scale: 0.1, rotation: 20}}, {binarize: {threshold: 0.5}}]\n"
    keys = "{augment.1.binarize.threshold: 0.4, augment.0.affine.scale: 0.2, loss.name: dice}"
    [experiment] = design_of(f"{augment}candidates: {{One: {keys}}}\n").experiments.values()
    affine, binarize = experiment.augment
    assert binarize.threshold == 0.4
    assert (affine.scale, affine.rotation) == (0.2, 20)
    assert experiment.loss.name == "dice"


def test_candidates_are_independent_of_each_other(design_of):
    more = "candidates: {A: {trainer.max_epochs: 9}, B: {loss.name: dice}, C: }\n"
    experiments = design_of(more).experiments.values()
    assert [experiment.trainer.max_epochs for experiment in experiments] == [9, 2, 2]
    assert [experiment.loss.name for experiment in experiments] == [
        "adaptive_wing", "dice", "adaptive_wing"
    ]  # fmt: skip


def test_the_reference_is_the_first_candidate_unless_one_is_named(design_of):
    both = "candidates: {B: {}, A: {}}\n"
    assert design_of(both).ablation.compared_with == "B"
    assert design_of(both + "reference: A\n").ablation.compared_with == "A"


def test_set_changes_every_candidate_except_for_its_own_differences(design_of):
    more = "candidates: {A: {}, B: {loss.name: dice}, C: {trainer.max_epochs: 9}}\n"
    experiments = design_of(more, "trainer.max_epochs=7", "seed=5").experiments.values()
    assert [experiment.trainer.max_epochs for experiment in experiments] == [7, 7, 9]
    assert {experiment.seed for experiment in experiments} == {5}


def test_a_split_of_the_base_is_ignored(design_of):
    assert "split:" in project.YAML
    assert "split" not in design_of("candidates: {A: {}}\n").ablation.model_dump()


def test_a_dumped_ablation_loads_as_the_same_ablation(design_of, tmp_path):
    more = """\
candidates:
  A:
  B: {}
  C: {augment.0.affine.scale: 0.1, loss: {name: dice}, trainer: {early_stopping: null}}
reference: B
wilcoxon: paper
cluster: {gpus: 0.25}
"""
    design = design_of(more)
    (tmp_path / "dumped.yaml").write_text(dump(design.ablation))
    assert load_config(tmp_path / "dumped.yaml", Ablation) == design.ablation
    assert load_design(tmp_path / "dumped.yaml").ablation == design.ablation
    assert load_design(tmp_path / "dumped.yaml").experiments == design.experiments


# the text after the three lines of HEAD, the line of the error, and its message
MISTAKES = {
    "a key that a section lacks": (
        "candidates:\n  A: {}\n  B:\n    trainer: {max_epoch: 3}\n",
        7, "trainer.max_epoch: unknown key (did you mean 'max_epochs'?)",
    ),
    "the same, dotted": (
        "candidates:\n  A: {}\n  B:\n    trainer.max_epoch: 3\n",
        7, "trainer.max_epoch: unknown key (did you mean 'max_epochs'?)",
    ),
    "an unknown component": (
        "candidates:\n  A: {loss: {name: dicee}}\n", 5, "did you mean 'dice'?",
    ),
    "an index beyond a list's end": (
        "candidates:\n  A: {augment.3.affine.scale: 0.1}\n", 5, "augment is a list",
    ),
    "the same name twice": ("candidates:\n  A: {}\n  A: {}\n", 6, "candidates.A: written twice"),
    "names that would share a folder": (
        "candidates:\n  A: {}\n  a: {}\n", 4, "A and a differ only in case; rename one",
    ),
    **{
        f"the reserved name {name}": (
            f"candidates:\n  {name}: {{}}\n", 4, f"a candidate cannot be named {name}",
        )
        for name in ("tables", "Figures", "report.html", "plan.json", "ablation.yaml")
    },
    "a name that cannot be a folder's": ("candidates:\n  ../A: {}\n", 5, "must match pattern"),
    "no candidates": ("candidates: {}\n", 4, "candidates: must have at least 1"),
    "no differences": ("candidates: {A: 3}\n", 4, "candidates.A: must be a mapping or null"),
    "an own split": (
        "split: {by: center}\ncandidates: {A: {}}\n", 4, "split: an ablation has `splits`",
    ),
    "an unknown reference": (
        "candidates: {A: {}, B: {}}\nreference: D\n",
        5, "reference: no candidate `D`; candidates are A, B",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_reported_with_the_line_of_the_ablation(
    design_of, tmp_path, text, line, message
):
    with pytest.raises(UserError) as caught:
        design_of(text)
    assert str(caught.value).startswith(f"{tmp_path / 'study.yaml'}:{line}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("key", ["seed", "name", "split", "extends", "split.by"])
def test_keys_that_all_candidates_share_are_rejected_in_a_candidate(design_of, key):
    with pytest.raises(UserError, match=rf"study\.yaml:5: candidates\.A\.{key}: must be the same"):
        design_of(f"candidates:\n  A: {{{key}: 1}}\n")


@pytest.mark.parametrize("change", ["split={by: center}", "split.test=[2]"])
def test_a_split_changed_by_set_is_rejected(design_of, change):
    """Also where the base has a split, into which a dotted key reaches."""
    assert "split:" in project.YAML
    with pytest.raises(UserError, match=r"--set split.*: .*`splits` instead; remove this key"):
        design_of("candidates: {A: {}}\n", change)


def test_each_command_rejects_the_file_of_the_other(design_of, tmp_path):
    with pytest.raises(UserError, match=r": no `candidates`, .* use softseg train for it"):
        design_of("")
    design_of("candidates: {A: {}}\n")
    with pytest.raises(UserError, match="is an ablation; run it with softseg ablate"):
        load_experiment(tmp_path / "study.yaml")

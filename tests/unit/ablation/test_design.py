"""An ablation's YAML: what its candidates become, and how mistakes in it are told."""

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

# what a candidate says, as YAML: also what a file that extends the base would say
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
    """Write an ablation beside its base (base.yaml) and load it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(project.YAML)

    def load(more, *sets, head=HEAD):
        (tmp_path / "study.yaml").write_text(head + more)
        return load_design(tmp_path / "study.yaml", sets)

    return load


def unsplit(experiment):
    """The plan gives every run its split; until then there is none but the default."""
    return experiment.model_copy(update={"split": Split()})


def indented(text, by=4):
    return "".join(f"{' ' * by}{line}\n" for line in text.splitlines())


@pytest.mark.parametrize("difference", DIFFERENCES.values(), ids=DIFFERENCES)
def test_a_candidate_is_what_a_file_that_extends_the_base_would_be(design_of, tmp_path, difference):
    design = design_of(f"candidates:\n  One:\n{indented(difference)}")
    alone = tmp_path / "alone.yaml"
    alone.write_text(f"extends: base.yaml\nname: One\n{difference}\n")
    assert design.experiments == {"One": unsplit(load_config(alone, Experiment))}


@pytest.mark.parametrize("nothing", ["{}", "null", ""])
def test_a_candidate_without_differences_is_the_base_under_its_own_name(
    design_of, tmp_path, nothing
):
    [one] = design_of(f"candidates:\n  One: {nothing}\n").experiments.values()
    base = load_config(tmp_path / "base.yaml", Experiment)
    assert one.name == "One"
    assert one == unsplit(base.model_copy(update={"name": "One"}))


def test_a_changed_loss_leaves_no_parameter_of_the_old_one(design_of):
    more = "loss: {theta: 0.4}\ncandidates: {Wing: {}, Dice: {loss: {name: dice}}}\n"
    found = design_of(more).experiments
    assert found["Wing"].loss.theta == 0.4
    assert found["Dice"].loss == losses.build({"name": "dice"})


def test_dotted_keys_reach_into_lists_and_leave_the_rest(design_of):
    augment = "augment: [{affine: {scale: 0.1, rotation: 20}}, {binarize: {threshold: 0.5}}]\n"
    keys = "{augment.1.binarize.threshold: 0.4, augment.0.affine.scale: 0.2, loss.name: dice}"
    [one] = design_of(f"{augment}candidates: {{One: {keys}}}\n").experiments.values()
    assert one.augment[1].threshold == 0.4
    assert (one.augment[0].scale, one.augment[0].rotation) == (0.2, 20)
    assert one.loss.name == "dice"


def test_candidates_do_not_see_each_others_differences(design_of):
    found = design_of("candidates: {A: {trainer.max_epochs: 9}, B: {loss.name: dice}, C: }\n")
    assert [one.trainer.max_epochs for one in found.experiments.values()] == [9, 2, 2]
    assert [one.loss.name for one in found.experiments.values()] == [
        "adaptive_wing", "dice", "adaptive_wing"
    ]  # fmt: skip


def test_the_reference_is_the_first_candidate_unless_one_is_named(design_of):
    both = "candidates: {B: {}, A: {}}\n"
    assert design_of(both).ablation.compared_with == "B"
    assert design_of(both + "reference: A\n").ablation.compared_with == "A"


def test_a_set_of_the_base_changes_every_candidate_but_not_what_one_says_itself(design_of):
    more = "candidates: {A: {}, B: {loss.name: dice}, C: {trainer.max_epochs: 9}}\n"
    found = design_of(more, "trainer.max_epochs=7", "seed=5").experiments
    assert [one.trainer.max_epochs for one in found.values()] == [7, 7, 9]
    assert {one.seed for one in found.values()} == {5}


def test_a_split_of_the_base_is_passed_over(design_of):
    assert "split:" in project.YAML
    assert "split" not in design_of("candidates: {A: {}}\n").ablation.model_dump()


def test_what_is_dumped_loads_as_the_same_ablation(design_of, tmp_path):
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


# the text after HEAD's three lines, what is said, and at which line
MISTAKES = {
    "a key that a section lacks": (
        "candidates:\n  A: {}\n  B:\n    trainer: {max_epoch: 3}\n",
        7, "trainer.max_epoch: unknown key; did you mean `max_epochs`?",
    ),
    "the same, dotted": (
        "candidates:\n  A: {}\n  B:\n    trainer.max_epoch: 3\n",
        7, "trainer.max_epoch: unknown key; did you mean `max_epochs`?",
    ),
    "a component that is not there": (
        "candidates:\n  A: {loss: {name: dicee}}\n", 5, "did you mean `dice`?",
    ),
    "a list's item that is not there": (
        "candidates:\n  A: {augment.3.affine.scale: 0.1}\n", 5, "augment is a list",
    ),
    "the same name twice": ("candidates:\n  A: {}\n  A: {}\n", 6, "candidates.A: written twice"),
    "names of one folder": (
        "candidates:\n  A: {}\n  a: {}\n", 4, "A and a would share a folder; rename one",
    ),
    "a name of the report's tables": (
        "candidates:\n  tables: {}\n", 4, "a candidate cannot be named tables",
    ),
    "a name of the report's figures": (
        "candidates:\n  Figures: {}\n", 4, "a candidate cannot be named Figures",
    ),
    "a name that is no folder's": ("candidates:\n  ../A: {}\n", 5, "must match pattern"),
    "no candidate": ("candidates: {}\n", 4, "candidates: must have at least 1"),
    "no differences": ("candidates: {A: 3}\n", 4, "candidates.A: must be a mapping or null"),
    "an own split": (
        "split: {by: center}\ncandidates: {A: {}}\n", 4, "split: an ablation has `splits`",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_with_the_ablations_own_line(design_of, tmp_path, text, line, said):
    with pytest.raises(UserError) as caught:
        design_of(text)
    assert str(caught.value).startswith(f"{tmp_path / 'study.yaml'}:{line}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("key", ["seed", "name", "split", "extends", "split.by"])
def test_what_must_be_the_same_for_all_is_refused_in_a_candidate(design_of, key):
    with pytest.raises(UserError, match=rf"study\.yaml:5: candidates\.A\.{key}: is the same for"):
        design_of(f"candidates:\n  A: {{{key}: 1}}\n")


def test_a_reference_that_is_no_candidate_is_refused(design_of):
    with pytest.raises(UserError, match="reference: no candidate `D`; there are A, B"):
        design_of("candidates: {A: {}, B: {}}\nreference: D\n")


def test_a_split_by_set_is_refused_too(design_of):
    with pytest.raises(UserError, match=r"--set split: .*`splits` in its place"):
        design_of("candidates: {A: {}}\n", "split={by: center}")


def test_each_command_refuses_the_others_file(design_of, tmp_path):
    with pytest.raises(UserError, match="has no candidates, so it is no ablation; softseg train"):
        design_of("")
    design_of("candidates: {A: {}}\n")
    with pytest.raises(UserError, match="is an ablation; run it with softseg ablate"):
        load_experiment(tmp_path / "study.yaml")

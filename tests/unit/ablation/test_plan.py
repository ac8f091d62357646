"""The runs of an ablation: their order, that they can be compared, and how some are picked."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from softseg.ablation.design import load_design
from softseg.ablation.plan import make_plan, pick
from softseg.core.errors import UserError
from softseg.data import Sets, write_split
from tests.support import makers, project

HEAD = "extends: tiny.yaml\nname: study\nseed: 40\n"
THREE = "candidates: {Soft: {}, Dice: {loss: {name: dice}}, Hard: {augment: [{binarize: {}}]}}\n"
CENTERS = "splits: {name: leave_one_out, repeats: 2, validation: 1}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project with 3 centers of 2 subjects; `fewer` lacks one of them."""
    folder = tmp_path_factory.mktemp("project")
    project.make(folder)
    makers.scgm(folder / "fewer", centers=3, subjects=2)
    for file in (folder / "fewer").glob("site3-sc02*"):
        file.unlink()
    return folder


@pytest.fixture
def plan_of(folder, monkeypatch):
    monkeypatch.chdir(folder)

    def plan(more=CENTERS + THREE):
        (folder / "study.yaml").write_text(HEAD + more)
        console = Console(file=io.StringIO())
        return make_plan(load_design(folder / "study.yaml"), folder / "runs", console)

    return plan


def error_of(function, *arguments):
    """The message of the UserError that a call raises."""
    with pytest.raises(UserError) as caught:
        function(*arguments)
    return str(caught.value)


def test_the_plan_is_ordered_by_split_then_by_candidate(plan_of, folder):
    """The first runs that end compare every candidate already."""
    plan = plan_of()
    assert [(planned.candidate, planned.split) for planned in plan] == [
        (name, k) for k in range(6) for name in ("Soft", "Dice", "Hard")
    ]
    assert [planned.number for planned in plan] == list(range(18))
    for planned in plan:
        name = f"{planned.candidate}/split-{planned.split}"
        assert planned.run.folder == folder / "runs" / name
        assert planned.name == name
    assert len({planned.run.folder for planned in plan}) == 18


def test_all_candidates_have_the_seed_and_the_sets_of_the_split(plan_of):
    plan = plan_of()
    for k in range(6):
        runs = [planned for planned in plan if planned.split == k]
        assert [planned.experiment.seed for planned in runs] == [400_000 + k] * 3
        [sets] = {planned.sets for planned in runs}
        assert {name[:5] for name in sets.test} == {f"site{k % 3 + 1}"}
        assert len(sets.train) == len(sets.validation) == len(sets.test) == 2


def test_the_configuration_of_a_run_gives_the_same_sets_without_the_ablation(plan_of):
    """`softseg train` on a run's config.yaml divides the subjects as the plan did."""
    random = "splits: {name: random, repeats: 4, test: 2, validation: 1}\n"
    folds = "splits: {name: kfold, folds: 3, repeats: 2}\n"
    for scheme in (CENTERS, random, folds):
        for planned in plan_of(scheme + THREE):
            experiment = planned.experiment
            assert experiment.split(experiment.dataset(), experiment.seed) == planned.sets


def test_a_run_has_the_other_keys_of_its_candidate(plan_of):
    dice = next(run.experiment for run in plan_of() if run.candidate == "Dice")
    assert (dice.name, dice.loss.name) == ("Dice", "dice")
    assert dice.trainer.max_epochs == 2


def test_candidates_may_have_different_data_sections_of_the_same_subjects(plan_of):
    other = "candidates: {One: {}, Two: {dataset: {raters: {fusion: mean}}}}\n"
    plan = plan_of(CENTERS + other)
    assert {run.sets for run in plan[::2]} == {run.sets for run in plan[1::2]}


@pytest.mark.parametrize("data", ["{root: fewer}", "{exclude: [site3-sc02]}"])
def test_candidates_with_different_subjects_are_rejected(plan_of, data):
    other = f"candidates: {{One: {{}}, Two: {{dataset: {data}}}}}\n"
    message = error_of(plan_of, CENTERS + other)
    assert message.startswith("split 0: One and Two would have different subjects")


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        (
            "{name: random, repeats: 2, test: 9}",
            "split 0: splits.test: cannot take 9 of 6 group(s)",
        ),
        ("{name: random, repeats: 2, validation: 5}", "split 0: splits.validation: takes all"),
        (
            "{name: leave_one_out, validation: [2]}",
            "split 1: splits.validation: the subjects of center '2' are in the test set",
        ),
        ("{name: kfold, folds: 9}", "split 0: splits.folds: 9 folds of 6 group(s)"),
        ("{name: leave_one_out, within: persn}", "split 0: splits.within: no column 'persn'"),
        ("{name: leave_one_out, values: [7]}", "splits.values: no subject has center '7'"),
        ("{name: leave_one_out, by: centers}", "splits.by: no column 'centers'"),
    ],
)
def test_an_impossible_split_is_reported_with_its_number_and_key(plan_of, scheme, message):
    assert error_of(plan_of, f"splits: {scheme}\n{THREE}").startswith(message)


@pytest.mark.parametrize(
    "scheme",
    [
        "{name: random, repeats: 2, test: [site1-sc01, site1-sc01]}",
        "{name: kfold, folds: 3, validation: [site1-sc01, site1-sc01]}",
        "{name: leave_one_out, validation: [1, '1']}",
        "{name: leave_one_out, validation: 1, values: [1, '1']}",
    ],
)
def test_a_value_named_twice_is_rejected(plan_of, scheme):
    assert "named twice" in error_of(plan_of, f"splits: {scheme}\n{THREE}")
    plan_of(f"splits: {{name: leave_one_out, validation: 1, values: [1]}}\n{THREE}")


def test_the_file_of_a_fixed_split_is_named_in_the_error(plan_of, folder):
    write_split(folder / "split.json", Sets(("site1-sc01",), ("site1-sc02",), ("nobody",)))
    message = error_of(plan_of, f"splits: {{name: fixed, files: [split.json]}}\n{THREE}")
    assert message.startswith("split 0: split.json: no subject 'nobody'")


def test_fixed_splits_are_read_from_their_files(plan_of, folder):
    names = [f"site{c}-sc0{n}" for c in (1, 2, 3) for n in (1, 2)]
    splits = [Sets(tuple(names[:2]), (names[2],), (names[k],)) for k in (4, 5)]
    for k, sets in enumerate(splits):
        write_split(folder / f"{k}.json", sets)
    plan = plan_of("splits: {name: fixed, files: [0.json, 1.json]}\n" + THREE)
    assert [planned.sets for planned in plan] == [splits[0]] * 3 + [splits[1]] * 3


@pytest.mark.parametrize(
    ("splits", "picked"),
    [
        (None, [0, 1, 2, 3, 4, 5]), ("3", [0, 1, 2]), ("1", [0]), ("6", [0, 1, 2, 3, 4, 5]),
        ("0,2", [0, 2]), ("1-2", [1, 2]), ("2-2", [2]), ("0,3-5", [0, 3, 4, 5]),
        ("5,0", [0, 5]), ("1,1", [1]),
    ],
)  # fmt: skip
def test_splits_are_picked_by_count_number_or_range(plan_of, splits, picked):
    runs = pick(plan_of(), None, splits, None)
    assert [(planned.candidate, planned.split) for planned in runs] == [
        (name, k) for k in picked for name in ("Soft", "Dice", "Hard")
    ]


@pytest.mark.parametrize("splits", ["7", "0", "0,6", "3-9", "4-2"])
def test_splits_that_are_not_in_the_plan_are_rejected(plan_of, splits):
    message = error_of(pick, plan_of(), None, splits, None)
    assert message.startswith(f"--splits {splits}: the plan has splits 0 to 5")
    assert message.endswith("0-0 is split 0 alone")


@pytest.mark.parametrize("splits", ["x", "", "1,", "-1", "1-", "1.5", "0,a-2", "0-1-2"])
def test_splits_that_are_not_numbers_or_ranges_are_rejected(plan_of, splits):
    message = error_of(pick, plan_of(), None, splits, None)
    assert message == f"--splits {splits}: write a number of splits (3) or a selection (0,3-5)"


def test_candidates_and_a_single_run_are_picked(plan_of):
    plan = plan_of()
    runs = pick(plan, "Hard, Soft", "2", None)
    assert [planned.name for planned in runs] == [
        "Soft/split-0", "Hard/split-0", "Soft/split-1", "Hard/split-1"
    ]  # fmt: skip
    assert [planned.number for planned in pick(plan, None, None, 7)] == [7]
    with pytest.raises(UserError, match="--run-index 7 is not among the runs that --candidates"):
        pick(plan, "Soft", None, 7)  # run 7 is another candidate's


@pytest.mark.parametrize("run_index", [-1, 18])
def test_a_run_or_candidate_that_is_not_in_the_plan_is_rejected(plan_of, run_index):
    plan = plan_of()
    message = error_of(pick, plan, None, None, run_index)
    assert message.startswith(f"--run-index {run_index}: the plan has runs 0 to 17")
    message = error_of(pick, plan, "Soft,soft", None, None)
    assert message == "--candidates: no candidate `soft`; candidates are Soft, Dice, Hard"

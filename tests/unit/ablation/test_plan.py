"""The runs of an ablation: which there are, that they can be compared, and how some are picked."""

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
    """A project with 3 centers of 2 subjects, and as many of them in `fewer`, but one."""
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


def refusal(do, *arguments):
    with pytest.raises(UserError) as caught:
        do(*arguments)
    return str(caught.value)


def test_the_plan_goes_split_by_split_through_all_candidates(plan_of, folder):
    """So the first runs that end compare every candidate already."""
    plan = plan_of()
    assert [(one.candidate, one.split) for one in plan] == [
        (name, k) for k in range(6) for name in ("Soft", "Dice", "Hard")
    ]
    assert [one.number for one in plan] == list(range(18))
    for one in plan:
        assert one.run.folder == folder / "runs" / one.candidate / f"split-{one.split}"
        assert one.name == f"{one.candidate}/split-{one.split}"
    assert len({one.run.folder for one in plan}) == 18


def test_all_candidates_have_the_seed_and_the_sets_of_the_split(plan_of):
    plan = plan_of()
    for k in range(6):
        alike = [one for one in plan if one.split == k]
        assert [one.experiment.seed for one in alike] == [40 + k] * 3
        [sets] = {one.sets for one in alike}
        assert {name[:5] for name in sets.test} == {f"site{k % 3 + 1}"}
        assert len(sets.train) == len(sets.validation) == len(sets.test) == 2


def test_training_a_runs_own_configuration_alone_gives_the_same_sets(plan_of):
    """Each run's config.yaml says what it was: `softseg train` on it divides as the plan did."""
    random = "splits: {name: random, repeats: 4, test: 2, validation: 1}\n"
    folds = "splits: {name: kfold, folds: 3, repeats: 2}\n"
    for scheme in (CENTERS, random, folds):
        for one in plan_of(scheme + THREE):
            found = one.experiment.dataset()
            assert one.experiment.split(found, one.experiment.seed) == one.sets


def test_a_run_is_its_candidate_in_all_else(plan_of):
    dice = next(one.experiment for one in plan_of() if one.candidate == "Dice")
    assert (dice.name, dice.loss.name) == ("Dice", "dice")
    assert dice.trainer.max_epochs == 2


def test_candidates_may_have_different_data_sections_of_the_same_subjects(plan_of):
    other = "candidates: {One: {}, Two: {dataset: {raters: {fusion: mean}}}}\n"
    plan = plan_of(CENTERS + other)
    assert {one.sets for one in plan[::2]} == {one.sets for one in plan[1::2]}


@pytest.mark.parametrize("data", ["{root: fewer}", "{exclude: [site3-sc02]}"])
def test_candidates_whose_data_hold_different_subjects_are_refused(plan_of, data):
    other = f"candidates: {{One: {{}}, Two: {{dataset: {data}}}}}\n"
    said = refusal(plan_of, CENTERS + other)
    assert said.startswith("split 0: One and Two would have different subjects")


@pytest.mark.parametrize(
    ("scheme", "said"),
    [
        (
            "{name: random, repeats: 2, test: 9}",
            "split 0: splits.test: cannot take 9 of 6 group(s)",
        ),
        ("{name: random, repeats: 2, validation: 5}", "split 0: splits.validation: takes all"),
        (
            "{name: leave_one_out, validation: [2]}",
            "split 1: splits.validation: no subject has center '2'",
        ),
        ("{name: kfold, folds: 9}", "split 0: splits.folds: 9 folds of 6 group(s)"),
        ("{name: leave_one_out, within: persn}", "split 0: splits.within: no column 'persn'"),
        ("{name: leave_one_out, values: [7]}", "splits.values: no subject has center '7'"),
        ("{name: leave_one_out, by: centr}", "splits.by: no column 'centr'"),
    ],
)
def test_a_split_that_cannot_be_made_is_told_by_its_number_and_key(plan_of, scheme, said):
    assert refusal(plan_of, f"splits: {scheme}\n{THREE}").startswith(said)


def test_fixed_splits_are_taken_from_their_files(plan_of, folder):
    names = [f"site{c}-sc0{n}" for c in (1, 2, 3) for n in (1, 2)]
    wanted = [Sets(tuple(names[:2]), (names[2],), (names[k],)) for k in (4, 5)]
    for k, sets in enumerate(wanted):
        write_split(folder / f"{k}.json", sets)
    plan = plan_of("splits: {name: fixed, files: [0.json, 1.json]}\n" + THREE)
    assert [one.sets for one in plan] == [wanted[0]] * 3 + [wanted[1]] * 3


@pytest.mark.parametrize(
    ("splits", "picked"),
    [
        (None, [0, 1, 2, 3, 4, 5]), ("3", [0, 1, 2]), ("1", [0]), ("6", [0, 1, 2, 3, 4, 5]),
        ("0,2", [0, 2]), ("1-2", [1, 2]), ("2-2", [2]), ("0,3-5", [0, 3, 4, 5]),
        ("5,0", [0, 5]), ("1,1", [1]),
    ],
)  # fmt: skip
def test_splits_are_picked_by_count_number_or_range(plan_of, splits, picked):
    found = pick(plan_of(), None, splits, None)
    assert [(one.candidate, one.split) for one in found] == [
        (name, k) for k in picked for name in ("Soft", "Dice", "Hard")
    ]


@pytest.mark.parametrize("splits", ["7", "0", "0,6", "3-9", "4-2"])
def test_splits_that_the_plan_lacks_are_refused(plan_of, splits):
    said = refusal(pick, plan_of(), None, splits, None)
    assert said.startswith(f"--splits {splits}: the plan has splits 0 to 5")
    assert said.endswith("0-0 is split 0 alone")


@pytest.mark.parametrize("splits", ["x", "", "1,", "-1", "1-", "1.5", "0,a-2"])
def test_splits_that_are_no_numbers_are_refused(plan_of, splits):
    said = refusal(pick, plan_of(), None, splits, None)
    assert said == f"--splits {splits}: write how many (3), or which (0,3-5)"


def test_candidates_and_one_run_alone_are_picked(plan_of):
    plan = plan_of()
    some = pick(plan, "Hard, Soft", "2", None)
    assert [one.name for one in some] == [
        "Soft/split-0", "Hard/split-0", "Soft/split-1", "Hard/split-1"
    ]  # fmt: skip
    assert [one.number for one in pick(plan, None, None, 7)] == [7]
    with pytest.raises(UserError, match="--only 7 is none of the runs that --candidates"):
        pick(plan, "Soft", None, 7)  # run 7 is another candidate's


@pytest.mark.parametrize("only", [-1, 18])
def test_a_run_or_candidate_that_the_plan_lacks_is_refused(plan_of, only):
    plan = plan_of()
    said = refusal(pick, plan, None, None, only)
    assert said.startswith(f"--run-index {only}: the plan has runs 0 to 17")
    said = refusal(pick, plan, "Soft,soft", None, None)
    assert said == "--candidates: no candidate `soft`; there are Soft, Dice, Hard"

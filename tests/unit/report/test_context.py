"""What stands above a report: what its results hang on, and what nobody may miss."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from softseg.datasets.phantom import README
from softseg.report.context import facts, warnings
from softseg.report.results import collect
from tests.support import ablation_folder as fake
from tests.support.makers import scgm


def change(run, **more):
    path = run / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def test_data_splits_seeds_and_machine_are_told(tmp_path):
    fake.write(tmp_path, fake.scores(splits=3), reference="Dice")
    known = facts(collect(tmp_path))
    assert known["data"] == "nowhere: 6 subjects, 6 of them tested in one split or more"
    assert (known["targets"], known["reference"]) == ("gm", "Dice")
    assert known["splits"] == "3, the same for all candidates"
    assert known["seeds"] == "0; 1; 2"
    assert known["machine"] == "cpu, 1 threads"
    assert (known["software"], known["commit"]) == ("torch 2.4", "abc1234")
    assert known["finished"] == "2024-03-01T11:00:02+00:00"


def test_subjects_that_no_split_tested_are_counted_as_data(tmp_path):
    fake.write(tmp_path, fake.scores(splits=2))
    change(tmp_path / "Soft/split-0", data_fingerprint=dict.fromkeys(["s00", "x", "y"], "0f"))
    assert facts(collect(tmp_path))["data"].startswith("nowhere: 6 subjects, 4 of them tested")


def test_runs_of_different_machines_and_versions_are_all_told(tmp_path):
    fake.write(tmp_path, fake.scores(splits=1))
    change(tmp_path / "Dice/split-0", device="cuda:0", threads=8, git_commit=None)
    change(tmp_path / "Hard/split-0", versions={"torch": "2.5"})
    known = facts(collect(tmp_path))
    assert known["machine"] == "cpu, 1 threads; cuda:0, 8 threads"
    assert known["software"] == "torch 2.4; torch 2.5"
    assert known["commit"] == "abc1234; none (an installed package)"


def test_an_ablation_in_which_all_went_well_warns_of_nothing(tmp_path):
    fake.write(tmp_path, fake.scores(splits=2))
    assert warnings(collect(tmp_path)) == []


def test_a_phantom_is_told_in_the_facts_and_as_a_warning(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "README").write_text(README)
    fake.write(tmp_path / "study", fake.scores(splits=1), root=data)
    results = collect(tmp_path / "study")
    assert facts(results)["data"].startswith(f"SYNTHETIC (a phantom), {data}: ")
    [warning] = warnings(results)
    assert "SYNTHETIC" in warning


def test_failed_missing_and_unconverged_runs_are_each_warned_of(tmp_path):
    done = fake.scores(splits=2)
    del done["Soft", 1], done["Hard", 1]
    fake.write(tmp_path, done, planned=[("Soft", 1), ("Hard", 1), ("Hard", 2), ("Hard", 3)])
    fake.fail(tmp_path / "Soft/split-1", "loss is not finite\nsecond line")
    fake.fail(tmp_path / "Hard/split-1", "out of memory")
    fake.note(tmp_path / "Hard/split-2", status="interrupted")
    fake.history(tmp_path / "Dice/split-0", [2.0])
    failed, missing, lost = warnings(collect(tmp_path))
    assert failed.startswith("2 runs failed and are in no table.")
    assert "Soft/split-1: loss is not finite; Hard/split-1: out of memory" in failed
    assert "second line" not in failed
    assert missing.startswith("2 runs not done yet: call `softseg ablate` again.")
    assert lost.startswith("1 run did not converge")
    assert lost.endswith("Dice/split-0")


def test_a_run_that_is_not_done_is_not_one_that_did_not_converge(tmp_path):
    fake.write(tmp_path, fake.scores(splits=1), planned=[("Soft", 1)])
    fake.note(tmp_path / "Soft/split-1", status="training")
    fake.history(tmp_path / "Soft/split-1", [1.0])
    [missing] = warnings(collect(tmp_path))
    assert missing.startswith("1 run not done yet")


def test_a_single_run_tells_its_own_facts(tmp_path):
    run = fake.one_run(tmp_path / "run", {"a": 80.0, "b": 70.0}, seed=4)
    known = facts(collect(run))
    assert known["seeds"] == "4"
    assert known["data"].startswith("nowhere: 2 subjects, 2 of them tested")
    assert warnings(collect(run)) == []


def test_a_start_that_has_seen_the_test_scans_is_warned_of(tmp_path):
    fake.write(tmp_path, fake.scores(splits=2))
    known = "test_subjects_it_was_trained_on"
    change(tmp_path / "Soft/split-0", init_from={known: ["s00"]})
    change(tmp_path / "Soft/split-1", init_from={known: []})
    change(tmp_path / "Dice/split-1", init_from={known: None})
    leaking, unknown = warnings(collect(tmp_path))
    assert "1 run started from weights (init_from) that have LEARNED FROM SCANS" in leaking
    assert leaking.endswith("too good: Soft/split-0")
    assert unknown.endswith("see that none is tested: Dice/split-1")


def test_candidates_with_other_truths_are_warned_of(tmp_path):
    """As where one fuses raters by majority and the other takes their mean."""
    fake.write(tmp_path, fake.scores(splits=2))
    path = tmp_path / "Soft/split-1/metrics.csv"
    table = pd.read_csv(path)
    table.assign(volume_truth_ml=table["volume_truth_ml"] * 1.1).to_csv(path, index=False)
    [warning] = warnings(collect(tmp_path))
    assert warning.startswith("Dice, Hard are scored against ANOTHER TRUTH of gm than Soft")


@pytest.mark.parametrize("before", [["0"], ["0", "1"]])
def test_persons_of_runs_scored_before_they_were_written_down(tmp_path, before):
    """Of some runs or of all: the data set tells them, so that no session is a person."""
    root = tmp_path / "data"
    scgm(root, centers=2, subjects=2)
    scans = [[f"site{k}-sc0{n}" for n in (1, 2)] for k in (1, 2)]
    told = "".join(f"{name},{p}\n" for pair, p in zip(scans, "pq", strict=True) for name in pair)
    (root / "persons.csv").write_text(f"subject,person\n{told}")
    done = {("Soft", k): dict.fromkeys(pair, 80.0) for k, pair in enumerate(scans)}
    study = fake.write(tmp_path / "study", done, root=root)
    for path in study.rglob("*.yaml"):
        text = path.read_text().replace("loader: files", "loader: files\n  table: persons.csv")
        path.write_text(text)
    for split, persons in (("0", ["p", "p"]), ("1", ["q", "q"])):
        path = study / f"Soft/split-{split}/metrics.csv"
        if split not in before:
            pd.read_csv(path).assign(person=persons).to_csv(path, index=False)
    assert collect(study).metrics["person"].tolist() == ["p", "p", "q", "q"]


def test_sessions_of_a_person_are_told(tmp_path):
    fake.write(tmp_path, fake.scores(splits=3, candidates=["Soft"]))
    for number in range(3):
        path = tmp_path / f"Soft/split-{number}/metrics.csv"
        pd.read_csv(path).assign(person=["NA", f"p{number}"]).to_csv(path, index=False)
    results = collect(tmp_path)
    assert results.metrics["person"].tolist() == ["NA", "p0", "NA", "p1", "NA", "p2"]
    [warning] = warnings(results)
    assert "The 6 tested scans are sessions of 4 persons." in warning

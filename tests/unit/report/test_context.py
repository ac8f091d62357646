"""The context of a report: what its results depend on, and its warnings."""

from __future__ import annotations

import json

import pandas as pd

from softseg.datasets.phantom import README
from softseg.report.context import report_context, report_warnings
from softseg.report.results import read_results
from tests.support import ablation_folder as fake


def change(run, **more):
    path = run / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def test_the_context_has_data_splits_seeds_and_machine(tmp_path):
    fake.write(tmp_path, fake.scores(splits=3), reference="Dice")
    context = report_context(read_results(tmp_path))
    assert context["data"] == "nowhere: 6 subjects, 6 of them in the test set of at least one split"
    assert (context["targets"], context["reference"]) == ("gm", "Dice")
    assert context["splits"] == "3, with the same sets for all candidates"
    assert context["seeds"] == "0; 1; 2"
    assert context["machine"] == "cpu, 1 thread"
    assert (context["software"], context["commit"]) == ("torch 2.4", "abc1234")
    assert context["finished"] == "2024-03-01T11:00:02+00:00"


def test_subjects_that_no_split_tested_are_counted_as_data(tmp_path):
    fake.write(tmp_path, fake.scores(splits=2))
    change(tmp_path / "Soft/split-0", data_fingerprint=dict.fromkeys(["s00", "x", "y"], "0f"))
    assert report_context(read_results(tmp_path))["data"].startswith(
        "nowhere: 6 subjects, 4 of them in the test set"
    )


def test_the_context_lists_different_machines_and_versions(tmp_path):
    fake.write(tmp_path, fake.scores(splits=1))
    gpu = {"CPU": "AMD EPYC, AVX512", "GPU": "NVIDIA H200", "driver": "570"}
    change(tmp_path / "Dice/split-0", device="cuda:0", threads=8, git_commit=None, hardware=gpu)
    change(tmp_path / "Hard/split-0", versions={"torch": "2.5"})
    context = report_context(read_results(tmp_path))
    assert context["machine"] == "cpu, 1 thread; cuda:0 (NVIDIA H200), 8 threads"
    assert context["software"] == "torch 2.4; torch 2.5"
    assert context["commit"] == "abc1234; none (an installed package)"


def test_a_complete_ablation_has_no_warning(tmp_path):
    fake.write(tmp_path, fake.scores(splits=2))
    assert report_warnings(read_results(tmp_path)) == []


def test_different_sets_of_candidates_on_a_split_are_named(tmp_path):
    fake.write(tmp_path, fake.scores(splits=2))
    (tmp_path / "Dice/split-1/split.json").write_text(
        json.dumps({"train": ["u"], "validation": ["v"], "test": ["s02", "s03"]})
    )
    context = report_context(read_results(tmp_path))
    assert context["splits"] == "2; the candidates have DIFFERENT SETS on split 1"


def test_without_recorded_sets_nothing_is_claimed_about_them(tmp_path):
    fake.write(tmp_path, fake.scores(splits=2))
    for path in tmp_path.rglob("split.json"):
        path.unlink()
    assert report_context(read_results(tmp_path))["splits"] == "2"


def test_scans_that_a_candidate_has_not_scored_have_a_warning(tmp_path):
    done = fake.scores(splits=2)
    del done["Hard", 1]
    fake.write(tmp_path, done, planned=[("Hard", 1)])
    fake.fail(tmp_path / "Hard/split-1", "out of memory")
    _, left_out = report_warnings(read_results(tmp_path))
    assert left_out == (
        "gm: Left out of all means, tests and figures: s02, s03 in split 1, not scored by Hard."
    )


def test_a_phantom_is_named_in_the_context_and_in_a_warning(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "README").write_text(README)
    fake.write(tmp_path / "study", fake.scores(splits=1), root=data)
    results = read_results(tmp_path / "study")
    assert report_context(results)["data"].startswith(f"SYNTHETIC (a phantom), {data}: ")
    [warning] = report_warnings(results)
    assert "SYNTHETIC" in warning


def test_failed_missing_and_unconverged_runs_have_a_warning_each(tmp_path):
    done = fake.scores(splits=2)
    del done["Soft", 1], done["Hard", 1]
    fake.write(tmp_path, done, planned=[("Soft", 1), ("Hard", 1), ("Hard", 2), ("Hard", 3)])
    fake.fail(tmp_path / "Soft/split-1", "loss is not finite\nsecond line")
    fake.fail(tmp_path / "Hard/split-1", "out of memory")
    fake.note(tmp_path / "Hard/split-2", status="interrupted")
    fake.history(tmp_path / "Dice/split-0", [2.0])
    failed, missing, lost, _ = report_warnings(read_results(tmp_path))
    assert failed.startswith("2 runs failed and are in no table.")
    assert "Soft/split-1: loss is not finite; Hard/split-1: out of memory" in failed
    assert "second line" not in failed
    assert missing.startswith("2 runs not done yet: run `softseg ablate` again.")
    assert lost.startswith("1 run did not converge")
    assert lost.endswith("Dice/split-0")


def test_an_unfinished_run_does_not_count_as_unconverged(tmp_path):
    fake.write(tmp_path, fake.scores(splits=1), planned=[("Soft", 1)])
    fake.note(tmp_path / "Soft/split-1", status="training")
    fake.history(tmp_path / "Soft/split-1", [1.0])
    [missing] = report_warnings(read_results(tmp_path))
    assert missing.startswith("1 run not done yet")


def test_a_single_run_has_its_own_context(tmp_path):
    run = fake.one_run(tmp_path / "run", {"a": 80.0, "b": 70.0}, seed=4)
    context = report_context(read_results(run))
    assert context["seeds"] == "4"
    assert context["data"].startswith("nowhere: 2 subjects, 2 of them in the test set")
    assert report_warnings(read_results(run)) == []


def test_initial_weights_trained_on_test_scans_have_a_warning(tmp_path):
    fake.write(tmp_path, fake.scores(splits=2))
    key = "test_subjects_it_was_trained_on"
    change(tmp_path / "Soft/split-0", init_from={key: ["s00"]})
    change(tmp_path / "Soft/split-1", init_from={key: []})
    change(tmp_path / "Dice/split-1", init_from={key: None})
    leaking, unknown = report_warnings(read_results(tmp_path))
    assert "1 run started from weights (init_from) that were TRAINED ON SCANS" in leaking
    assert leaking.endswith("too good: Soft/split-0")
    assert unknown.endswith("make sure that none is tested: Dice/split-1")


def test_candidates_with_another_truth_have_a_warning(tmp_path):
    """For example, one fuses raters by majority and the other takes their mean."""
    fake.write(tmp_path, fake.scores(splits=2))
    path = tmp_path / "Soft/split-1/metrics.csv"
    table = pd.read_csv(path)
    table.assign(volume_truth_ml=table["volume_truth_ml"] * 1.1).to_csv(path, index=False)
    [warning] = report_warnings(read_results(tmp_path))
    assert warning.startswith("Dice, Hard are scored against ANOTHER TRUTH of gm than Soft")


def test_sessions_of_a_person_have_a_warning(tmp_path):
    fake.write(tmp_path, fake.scores(splits=3, candidates=["Soft"]))
    for number in range(3):
        path = tmp_path / f"Soft/split-{number}/metrics.csv"
        pd.read_csv(path).assign(person=["NA", f"p{number}"]).to_csv(path, index=False)
    results = read_results(tmp_path)
    assert results.metrics["person"].tolist() == ["NA", "p0", "NA", "p1", "NA", "p2"]
    [warning] = report_warnings(results)
    assert "The tests have 6 scans of 4 persons." in warning

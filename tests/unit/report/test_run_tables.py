"""The table of all runs, and the epochs at which their training ended."""

from __future__ import annotations

import json

from softseg.report.results import read_results
from softseg.report.run_tables import epochs_table, runs_table
from tests.support import ablation_folder as fake


def rows_of(table):
    return {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}


def test_every_planned_run_is_listed_with_its_status(tmp_path):
    done = {("Soft", 0): {"a": 80.0}, ("Dice", 0): {"a": 80.0}}
    fake.write(tmp_path, done, [("Soft", 1), ("Dice", 1), ("Hard", 1)])
    fake.history(tmp_path / "Dice/split-0", [4.0, 3.0])
    fake.note(tmp_path / "Soft/split-1", status="training")
    fake.history(tmp_path / "Soft/split-1", [1.23])
    fake.fail(tmp_path / "Dice/split-1", "loss is not finite\nat epoch 3")
    table = rows_of(runs_table(read_results(tmp_path)))
    assert table == {
        "Soft/split-0": ["done", "3", "2", "80.0", "yes"],
        "Dice/split-0": ["done", "2", "2", "4.0", "NO"],
        "Soft/split-1": ["unfinished", "1", "–", "1.2", "–"],
        "Dice/split-1": ["failed: loss is not finite", "0", "–", "–", "–"],
        "Hard/split-1": ["not begun", "0", "–", "–", "–"],
    }


def train(folder, epochs, max_epochs, best, status="finished", was=2):
    """Change a run into one that trained for so many epochs."""
    fake.history(folder, [50.0] * epochs)
    record = json.loads((folder / "run.json").read_text())
    fake.note(folder, **record | {"best_epoch": best, "status": status})
    config = (folder / "config.yaml").read_text()
    text = config.replace(f"max_epochs: {was}", f"max_epochs: {max_epochs}")
    assert text != config
    (folder / "config.yaml").write_text(text)


def test_epochs_are_counted_by_what_ended_the_training(tmp_path):
    fake.write(tmp_path, {(name, k): {"a": 80.0} for name in ("Soft", "Hard") for k in range(3)})
    for k, epochs in enumerate((6, 8, 10)):
        train(tmp_path / f"Soft/split-{k}", epochs, 10, best=epochs - 2)
        train(tmp_path / f"Hard/split-{k}", 10, 10, best=9)
    table = epochs_table(read_results(tmp_path))
    headings = [heading.replace("\n", " ") for heading in table.header]
    assert headings == [
        *("candidate", "runs", "last epoch", "lowest to highest", "ended by early stopping"),
        *("reached max_epochs", "best epoch"),
    ]
    assert rows_of(table) == {
        "Soft": ["3", "8.0 ± 2.0", "6 to 10", "2", "1", "6.0 ± 2.0"],
        "Hard": ["3", "10.0 ± 0.0", "10", "0", "3", "9.0 ± 0.0"],
    }


def test_the_mean_epoch_is_a_lower_bound_only_if_a_run_reached_the_last_epoch(tmp_path):
    run = fake.one_run(tmp_path / "run", {"a": 80.0})
    train(run, 5, 10, best=4)
    assert not any("lower bound" in note for note in epochs_table(read_results(run)).notes)
    train(run, 12, 12, best=4, was=10)
    assert any("lower bound" in note for note in epochs_table(read_results(run)).notes)


def test_a_run_that_was_interrupted_was_not_ended_by_early_stopping(tmp_path):
    run = fake.one_run(tmp_path / "run", {"a": 80.0})
    train(run, 5, 10, best=4, status="interrupted")
    table = epochs_table(read_results(run))
    assert table.header[4:] == (
        *("ended by early\nstopping", "reached\nmax_epochs", "interrupted", "best epoch"),
    )
    assert rows_of(table) == {"run": ["1", "5.0", "5", "0", "0", "1", "4.0"]}


def test_a_run_without_history_is_in_no_mean_of_epochs(tmp_path):
    run = fake.one_run(tmp_path / "run", {"a": 80.0})
    (run / "history.csv").unlink()
    assert rows_of(epochs_table(read_results(run))) == {"run": ["0", "–", "–", "0", "0", "–"]}

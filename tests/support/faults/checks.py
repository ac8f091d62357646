"""What must hold after any fault: complete files, one clear message, same bits after resuming."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

from tests.support.faults.child import Ended, softseg
from tests.support.faults.study import RESUME, Study

_READERS = {
    ".pt": lambda path: torch.load(path, weights_only=True),
    ".json": lambda path: json.loads(path.read_text()),
    ".yaml": lambda path: yaml.safe_load(path.read_text()),
    ".csv": lambda path: list(csv.reader(path.read_text().splitlines(), strict=True)),
    ".safetensors": load_file,
}
SCORES = ("metrics.csv", "summary.json", "reliability.csv")
_SAME_METADATA = ("status", "epochs", "best_epoch", "best_validation_dice", "data_fingerprint")


def assert_one_message(ended: Ended, *statuses: int) -> None:
    """The command ended with one of these statuses and at most one readable message."""
    context = f"status {ended.status}, not one of {statuses}?\n{ended.out}{ended.err}"
    assert ended.status in statuses, context
    assert "Traceback" not in ended.out + ended.err, context
    lines = [line for line in ended.err.splitlines() if line[:1] != " "]  # list items are indented
    assert len(lines) == (ended.status in (1, 2)), context
    assert all(line.startswith("error: ") and len(line) > 30 for line in lines), context


def assert_files_complete(folder: Path) -> None:
    """Every file with a final name can be read; incomplete files have temporary names."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith(".part-") and path.suffix in _READERS:
            _READERS[path.suffix](path)


def assert_resumes(folder: Path, study: Study) -> None:
    """The files are complete, and resuming ends like the undisturbed run."""
    assert_files_complete(folder / "runs")
    _assert_history_is_a_start(folder / "runs/tiny", study.finished)
    assert_one_message(softseg(folder, *RESUME), 0)
    assert_same_bits(folder / "runs/tiny", study.finished)
    assert_files_complete(folder / "runs")


def _assert_history_is_a_start(run: Path, finished: Path) -> None:
    """The last checkpoint has the history of the finished run up to its epoch."""
    if (run / "checkpoints/last.pt").exists():
        actual, expected = (_checkpoint(r, "last.pt")["history"] for r in (run, finished))
        assert actual == expected[: len(actual)]


def assert_same_bits(run: Path, finished: Path) -> None:
    """Two finished runs have equal weights, optimizers, histories, configurations and sets."""
    for name in ("best.pt", "last.pt"):
        _assert_equal(_checkpoint(run, name), _checkpoint(finished, name), name)
    assert _history(run) == _history(finished)
    for name in ("config.yaml", "split.json"):
        assert (run / name).read_text() == (finished / name).read_text(), name
    assert _metadata(run) == _metadata(finished)


def assert_same_scores(folder: Path, study: Study) -> None:
    for name in SCORES:
        assert (folder / "runs/tiny" / name).read_text() == (study.finished / name).read_text()


def _checkpoint(run: Path, name: str) -> dict[str, Any]:
    saved: dict[str, Any] = torch.load(run / "checkpoints" / name, weights_only=True)
    return saved | {"history": _without_seconds(saved.get("history", []))}


def _history(run: Path) -> list[dict[str, Any]]:
    with (run / "history.csv").open() as stream:
        return _without_seconds(list(csv.DictReader(stream)))


def _metadata(run: Path) -> dict[str, Any]:
    metadata = json.loads((run / "run.json").read_text())
    return {key: metadata[key] for key in _SAME_METADATA}


def _without_seconds(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Remove the fields that depend on the clock."""
    return [{k: v for k, v in record.items() if not k.endswith("_seconds")} for record in records]


def _assert_equal(actual: Any, expected: Any, where: str) -> None:
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys(), where
        for key in expected:
            _assert_equal(actual[key], expected[key], f"{where} {key}")
    elif isinstance(expected, torch.Tensor):
        assert torch.equal(actual, expected), where
    else:
        assert actual == expected, where

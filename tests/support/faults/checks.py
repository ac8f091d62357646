"""What must hold after any fault: whole files, one clear message, the same bits once resumed."""

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
_SAME_FACTS = ("status", "epochs", "best_epoch", "best_validation_dice", "data_fingerprint")


def says_one_thing(ended: Ended, *statuses: int) -> None:
    """It ended as documented, and stderr holds one message at most, for people."""
    told = f"status {ended.status}, not one of {statuses}?\n{ended.out}{ended.err}"
    assert ended.status in statuses, told
    assert "Traceback" not in ended.out + ended.err, told
    lines = [line for line in ended.err.splitlines() if line[:1] != " "]  # those of lists have one
    assert len(lines) == (ended.status in (1, 2)), told
    assert all(line.startswith("error: ") and len(line) > 30 for line in lines), told


def leaves_nothing_half(folder: Path) -> None:
    """Each file with a final name can be read; what was cut short has a temporary one."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith(".part-") and path.suffix in _READERS:
            _READERS[path.suffix](path)


def resumes(folder: Path, study: Study) -> None:
    """What was left is sound, and going on from it ends as the undisturbed training did."""
    leaves_nothing_half(folder / "runs")
    _is_a_beginning(folder / "runs/tiny", study.whole)
    says_one_thing(softseg(folder, *RESUME), 0)
    same_bits(folder / "runs/tiny", study.whole)
    leaves_nothing_half(folder / "runs")


def _is_a_beginning(run: Path, whole: Path) -> None:
    """The last checkpoint of a cut run has the history of the whole one up to there."""
    if (run / "checkpoints/last.pt").exists():
        mine, theirs = (_checkpoint(one, "last.pt")["history"] for one in (run, whole))
        assert mine == theirs[: len(mine)]


def same_bits(run: Path, whole: Path) -> None:
    """Two finished runs are one: weights, optimizer, history, configuration and sets."""
    for name in ("best.pt", "last.pt"):
        _equal(_checkpoint(run, name), _checkpoint(whole, name), name)
    assert _history(run) == _history(whole)
    for name in ("config.yaml", "split.json"):
        assert (run / name).read_text() == (whole / name).read_text(), name
    assert _facts(run) == _facts(whole)


def _checkpoint(run: Path, name: str) -> dict[str, Any]:
    saved: dict[str, Any] = torch.load(run / "checkpoints" / name, weights_only=True)
    return saved | {"history": _timeless(saved.get("history", []))}


def _history(run: Path) -> list[dict[str, Any]]:
    with (run / "history.csv").open() as stream:
        return _timeless(list(csv.DictReader(stream)))


def _facts(run: Path) -> dict[str, Any]:
    facts = json.loads((run / "run.json").read_text())
    return {key: facts[key] for key in _SAME_FACTS}


def _timeless(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what the clock decides."""
    return [{k: v for k, v in one.items() if not k.endswith("_seconds")} for one in records]


def _equal(one: Any, other: Any, where: str) -> None:
    if isinstance(other, dict):
        assert one.keys() == other.keys(), where
        for key in other:
            _equal(one[key], other[key], f"{where} {key}")
    elif isinstance(other, torch.Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other, where

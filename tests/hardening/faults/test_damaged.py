"""A truncated file or a flipped bit is either reported or makes no difference."""

from __future__ import annotations

import pytest

from tests.support.faults.checks import (
    assert_files_complete,
    assert_one_message,
    assert_same_bits,
    assert_same_scores,
)
from tests.support.faults.child import softseg
from tests.support.faults.study import RESUME, TRAIN

pytestmark = pytest.mark.slow

LAST, BEST = "checkpoints/last.pt", "checkpoints/best.pt"
FILES_OF_A_RUN = (LAST, BEST, "history.csv", "run.json", "split.json", "config.yaml")


def damage(path, rng):
    """Truncate a file, or flip one of its bits."""
    content = bytearray(path.read_bytes())
    position = rng.randrange(len(content))
    if rng.random() < 0.4:
        content = content[:position]
    else:
        content[position] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def test_a_damaged_file_of_a_run_is_reported_or_makes_no_difference(study, tmp_path, rng):
    folder = study.copy(tmp_path / "p", "half")
    name = rng.choice([LAST, rng.choice(FILES_OF_A_RUN)])
    damage(folder / "runs/tiny" / name, rng)
    best = (folder / "runs/tiny" / BEST).read_bytes()
    resumed = softseg(folder, *RESUME)
    assert_one_message(resumed, 0, 2)
    if resumed.status == 0:
        assert_same_bits(folder / "runs/tiny", study.finished)
        return
    assert name in resumed.err or name == "run.json", resumed.err
    assert (folder / "runs/tiny" / BEST).read_bytes() == best
    if name != "run.json":  # run.json makes the folder a run; without it, nothing is deleted
        assert_one_message(softseg(folder, *TRAIN, "--overwrite"), 0)
        assert_same_bits(folder / "runs/tiny", study.finished)


def test_a_damaged_cache_is_rebuilt(study, tmp_path, rng):
    folder = study.copy(tmp_path / "p", "cached")
    for path in (folder / "runs/.cache").glob("*.safetensors"):
        damage(path, rng)
    assert_one_message(softseg(folder, *TRAIN), 0)
    assert_same_bits(folder / "runs/tiny", study.finished)
    assert_files_complete(folder / "runs")


def test_a_damaged_evaluation_is_reported_or_makes_no_difference(study, tmp_path, rng):
    folder = study.copy(tmp_path / "p", "done")
    name = rng.choice(["threshold.json", "threshold.json", BEST])
    damage(folder / "runs/tiny" / name, rng)
    scored = softseg(folder, "eval", "runs/tiny")
    assert_one_message(scored, 0, 2)
    assert scored.status == 0 or name in scored.err
    assert_same_scores(folder, study)  # those of before, or computed again
    if name == "threshold.json":
        assert_one_message(softseg(folder, "eval", "runs/tiny", "--threshold-search"), 0)
        assert_same_scores(folder, study)

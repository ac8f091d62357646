"""A file cut short, or a bit of it flipped: it is noticed and told, or it made no difference."""

from __future__ import annotations

import pytest

from tests.support.faults.checks import leaves_nothing_half, same_bits, says_one_thing
from tests.support.faults.child import softseg
from tests.support.faults.study import RESUME, TRAIN

pytestmark = pytest.mark.slow

LAST, BEST = "checkpoints/last.pt", "checkpoints/best.pt"
OF_A_RUN = (LAST, BEST, "history.csv", "run.json", "split.json", "config.yaml")
MEASURED = ("metrics.csv", "summary.json", "reliability.csv")


def damage(path, draws):
    """Cut a file short, or flip one of its bits."""
    content = bytearray(path.read_bytes())
    place = draws.randrange(len(content))
    if draws.random() < 0.4:
        content = content[:place]
    else:
        content[place] ^= 1 << draws.randrange(8)
    path.write_bytes(content)


def test_a_damaged_file_of_a_run_is_told_or_makes_no_difference(study, tmp_path, draws):
    folder = study.copy(tmp_path / "p", "half")
    name = draws.choice([LAST, draws.choice(OF_A_RUN)])
    damage(folder / "runs/tiny" / name, draws)
    best = (folder / "runs/tiny" / BEST).read_bytes()
    resumed = softseg(folder, *RESUME)
    says_one_thing(resumed, 0, 2)
    if resumed.status == 0:
        same_bits(folder / "runs/tiny", study.whole)
        return
    assert name in resumed.err or name == "run.json", resumed.err
    assert (folder / "runs/tiny" / BEST).read_bytes() == best
    if name != "run.json":  # which makes the folder a run: without it, nothing there is deleted
        says_one_thing(softseg(folder, *TRAIN, "--overwrite"), 0)
        same_bits(folder / "runs/tiny", study.whole)


def test_a_damaged_cache_is_made_again(study, tmp_path, draws):
    folder = study.copy(tmp_path / "p", "cached")
    for path in (folder / "runs/.cache").glob("*.safetensors"):
        damage(path, draws)
    says_one_thing(softseg(folder, *TRAIN), 0)
    same_bits(folder / "runs/tiny", study.whole)
    leaves_nothing_half(folder / "runs")


def test_a_damaged_evaluation_is_told_or_makes_no_difference(study, tmp_path, draws):
    folder = study.copy(tmp_path / "p", "done")
    name = draws.choice(["threshold.json", "threshold.json", BEST])
    damage(folder / "runs/tiny" / name, draws)
    scored = softseg(folder, "eval", "runs/tiny")
    says_one_thing(scored, 0, 2)
    assert scored.status == 0 or name in scored.err
    measures_the_same(folder, study)  # those of before, or again
    if name == "threshold.json":
        says_one_thing(softseg(folder, "eval", "runs/tiny", "--threshold-search"), 0)
        measures_the_same(folder, study)


def measures_the_same(folder, study):
    for name in MEASURED:
        assert (folder / "runs/tiny" / name).read_text() == (study.whole / name).read_text()

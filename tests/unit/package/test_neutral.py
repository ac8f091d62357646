"""An experiment loses its places and people, and nothing that the network depends on."""

from __future__ import annotations

import pytest

from softseg.config.experiment import Experiment
from softseg.config.load import dump, load_config
from softseg.core.component import parse_component
from softseg.package.neutral import neutral

COMMON = {"root": "/home/jane/SECRET", "cache": "/scratch/SECRET", "exclude": ["SECRET-03"]}
RATERS = {"fusion": "mean", "weights": {"Dr SECRET": 2}, "expected": ["Dr SECRET"]}
GM = {"gm": {"values": [1, 4]}}
DATA = {
    "files": {
        "image": "SECRET/{subject}.nii.gz",
        "roi": "SECRET/{subject}-roi.nii.gz",
        "table": "SECRET.tsv",
        "id": "SECRET{subject}",
        "targets": {"gm": {"values": [1, 4], "label": "SECRET/{subject}-{rater}.nii.gz"}},
        "raters": RATERS,
    },
    "bids": {
        "derivatives": "SECRET",
        "roi": "SECRET",
        "targets": {"gm": {"values": [1, 4], "suffix": "SECRET"}},
        "raters": {"fusion": "SECRET"},
    },
    "table": {"file": "SECRET.csv", "roi": "SECRET", "targets": GM, "only": {"x": ["SECRET"]}},
    "nnunet": {"targets": GM, "memory_gb": 3.0},
}
REST = {
    "name": "x",
    "seed": 7,
    "split": {"by": "SECRET", "test": ["SECRET-1"], "validation": ["SECRET-2"]},
    "model": {"name": "unet2d", "depth": 2, "filters": 3},
    "loss": {"name": "dice", "smooth": 3},
    "augment": [{"affine": {"rotation": 3}}],
    "trainer": {"device": "cuda:3", "threads": 5, "batch_size": 3, "precision": "bf16"},
    "evaluate": {"postprocess": [{"keep_largest": {}}]},
}
ROI = [{"crop": {"size": [16, 16], "around": "roi"}}]


@pytest.mark.parametrize("loader", DATA)
def test_no_loader_lets_places_or_people_leave(loader, tmp_path):
    dataset = {"loader": loader, "contrasts": ["T1w", "T2w"], **COMMON, **DATA[loader]}
    if loader == "files":
        dataset["image"] = "SECRET/{subject}-{contrast}.nii.gz"
    steps = ROI if "roi" in dataset else []
    spec = {**REST, "dataset": dataset, "preprocess": steps}
    wanted = parse_component(adapter(), spec)
    text = dump(neutral(wanted))
    for secret in ("SECRET", "jane", "scratch", "cuda", "threads: 5", "memory_gb: 3"):
        assert secret not in text
    (tmp_path / "config.yaml").write_text(text)
    left = load_config(tmp_path / "config.yaml", Experiment)
    assert left == neutral(left)  # nothing is left to take away
    same = ("name", "seed", "preprocess", "slices", "augment", "model", "loss", "evaluate")
    assert all(getattr(left, key) == getattr(wanted, key) for key in same)
    assert left.dataset.contrasts == ("T1w", "T2w")
    assert left.dataset.targets["gm"].values == (1, 4)
    assert left.trainer.batch_size == 3
    assert left.trainer.precision == "float32"  # the machine's, as device and threads are


def adapter():
    from pydantic import TypeAdapter

    return TypeAdapter(Experiment)

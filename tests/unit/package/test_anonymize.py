"""An experiment loses local paths and names, and nothing that the network depends on."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from softseg.config.experiment import Experiment
from softseg.config.load import dump, load_config
from softseg.core.component import parse_component
from softseg.package.metadata import anonymize

COMMON = {"root": "/home/jane/SECRET", "cache": "/scratch/SECRET", "exclude": ["SECRET-03"]}
RATERS = {"fusion": "mean", "weights": {"Dr SECRET": 2}, "required": ["Dr SECRET"]}
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
    "table": {"file": "SECRET.csv", "roi": "SECRET", "targets": GM, "include": {"x": ["SECRET"]}},
    "nnunet": {"targets": GM, "memory_gb": 3.0},
}
REST = {
    "name": "x",
    "seed": 7,
    "split": {"by": "SECRET", "test": ["SECRET-1"], "validation": ["SECRET-2"]},
    "model": {"name": "unet2d", "depth": 2, "filters": 3},
    "loss": {"name": "dice", "smooth": 3},
    "augment": [{"affine": {"rotation": 3}}],
    "trainer": {
        "device": "cuda:3",
        "threads": 5,
        "batch_size": 3,
        "precision": "bf16",
        "deterministic": True,
    },
    "evaluate": {"postprocess": [{"keep_largest": {}}]},
}
ROI = [{"crop": {"size": [16, 16], "around": "roi"}}]


@pytest.mark.parametrize("loader", DATA)
def test_no_path_or_name_of_any_loader_is_kept(loader, tmp_path):
    dataset = {"loader": loader, "contrasts": ["T1w", "T2w"], **COMMON, **DATA[loader]}
    if loader == "files":
        dataset["image"] = "SECRET/{subject}-{contrast}.nii.gz"
    steps = ROI if "roi" in dataset else []
    spec = {**REST, "dataset": dataset, "preprocess": steps}
    original = parse_component(TypeAdapter(Experiment), spec)
    text = dump(anonymize(original))
    for secret in ("SECRET", "jane", "scratch", "cuda", "threads: 5", "memory_gb: 3"):
        assert secret not in text
    (tmp_path / "config.yaml").write_text(text)
    anonymous = load_config(tmp_path / "config.yaml", Experiment)
    assert anonymous == anonymize(anonymous)
    same = ("name", "seed", "preprocess", "slices", "augment", "model", "loss", "evaluate")
    assert all(getattr(anonymous, key) == getattr(original, key) for key in same)
    assert anonymous.dataset.contrasts == ("T1w", "T2w")
    assert anonymous.dataset.targets["gm"].values == (1, 4)
    assert anonymous.trainer.batch_size == 3
    assert anonymous.trainer.precision == "float32"  # like device and threads
    assert not anonymous.trainer.deterministic

"""An experiment without data, for what depends on its network and its trainer only."""

from __future__ import annotations

from pydantic import TypeAdapter

from softseg.config.experiment import Experiment
from softseg.core.component import parse_component

PAPER = {"name": "unet2d", "depth": 3, "filters": 64, "dropout_position": "before_output_layer"}
TINY = {"name": "unet2d", "depth": 2, "filters": 4}


def experiment(model=PAPER, augment=(), loss=None, **trainer):
    spec = {
        "name": "tiny",
        "dataset": {
            "loader": "files",
            "layout": "scgm",
            "root": "data",
            "contrasts": ["T2star"],
            "targets": {"gm": {"values": [1]}},
        },
        "augment": list(augment),
        "model": {"head": {"name": "normrelu"}, **model},
        "loss": loss or {"name": "adaptive_wing"},
        "trainer": trainer,
    }
    return parse_component(TypeAdapter(Experiment), spec)

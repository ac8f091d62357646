"""The paper's three published configurations, rebuilt from its tables and repository."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

NAMES = ("scgm", "ms", "brats")
CONTRASTS = {
    "scgm": ["T2star"],
    "ms": ["FLAIR", "ce-T1w", "PD", "T1w", "T2w"],
    "brats": ["FLAIR", "T2w", "T1w", "ce-T1w"],
}
SUFFIX = {"scgm": "_seg-manual", "ms": "_seg-manual0", "brats": "_seg-core"}
SPLIT: dict[str, dict[str, Any]] = {
    "scgm": {
        "method": "per_center",
        "train_fraction": 0.5,
        "test_fraction": 0.25,
        "random_seed": 5299,
    },
    "ms": {
        "method": "per_patient",
        "train_fraction": 0.6,
        "test_fraction": 0.2,
        "random_seed": 1313,
        "balance": "disability",
    },
    "brats": {
        "method": "per_patient",
        "train_fraction": 0.6,
        "test_fraction": 0.2,
        "random_seed": 1234,
    },
}
WING = {"name": "AdapWingLoss", "theta": 0.5, "alpha": 2.1, "omega": 8, "epsilon": 1}
BATCH = {"scgm": (8, 3), "ms": (24, 4), "brats": (24, 4)}
RATE = {"scgm": 1e-3, "ms": 5e-5, "brats": 1e-4}
STOP = {"scgm": (150, 0.005), "ms": (200, 0.001), "brats": (200, 0.001)}
CROP = {"scgm": [128, 128], "ms": [160, 224], "brats": [210, 210]}
RESAMPLE = {
    "scgm": {"wspace": 0.25, "hspace": 0.25},
    "ms": {"wspace": 1, "hspace": 1, "dspace": 1},
    "brats": None,
}
LESIONS = {
    "targetSize": {"unit": "vox", "thr": [20, 100]},
    "removeSmall": {"unit": "vox", "thr": 3},
    "overlap": {"unit": "vox", "thr": 3},
}


def published(name: str) -> dict[str, Any]:
    """Return a configuration as ivadomed 2.2.1 reads it."""
    batch, depth = BATCH[name]
    return copy.deepcopy(
        {
            "command": "train",
            "gpu": [0, 1],
            "log_directory": "out",
            "model_name": name,
            "debugging": True,
            "loader_parameters": _loader(name),
            "split_dataset": {"fname_split": None, "center_test": [], **SPLIT[name]},
            "training_parameters": _training(name, batch),
            "default_model": {
                "name": "Unet",
                "dropout_rate": 0.3,
                "bn_momentum": 0.9,
                "depth": depth,
                "relu": name == "scgm",
                "in_channel": len(CONTRASTS[name]),
                "out_channel": 1,
            },
            "testing_parameters": {
                "binarize_prediction": 0.5 if name == "scgm" else -1,
                "uncertainty": {"epistemic": False, "aleatoric": False, "n_it": 0},
            },
            "evaluation_parameters": LESIONS if name == "ms" else {},
            "transformation": _transformation(name),
        }
    )


def _loader(name: str) -> dict[str, Any]:
    contrasts = CONTRASTS[name]
    return {
        "bids_path": "data",
        "target_suffix": [SUFFIX[name]],
        "roi_params": {"suffix": None, "slice_filter_roi": 10 if name == "scgm" else None},
        "contrast_params": {"training_validation": contrasts, "testing": contrasts, "balance": {}},
        "slice_filter_params": {"filter_empty_mask": False, "filter_empty_input": True},
        "slice_axis": "axial",
        "multichannel": len(contrasts) > 1,
        "soft_gt": name != "brats",
    }


def _training(name: str, batch: int) -> dict[str, Any]:
    epochs, epsilon = STOP[name]
    return {
        "batch_size": batch,
        "loss": WING if name == "scgm" else {"name": "DiceLoss"},
        "training_time": {
            "num_epochs": epochs,
            "early_stopping_patience": 50,
            "early_stopping_epsilon": epsilon,
        },
        "scheduler": {
            "initial_lr": RATE[name],
            "lr_scheduler": {"name": "CosineAnnealingLR", "base_lr": 1e-5, "max_lr": 1e-2},
        },
        "balance_samples": False,
        "mixup_alpha": None,
        "transfer_learning": {"retrain_model": None, "retrain_fraction": 1.0},
    }


def _transformation(name: str) -> dict[str, Any]:
    resample = {"Resample": RESAMPLE[name]} if RESAMPLE[name] else {}
    affine = {
        "degrees": 20,
        "scale": [0.1, 0.1],
        "translate": [0.03, 0.03],
        "applied_to": ["im", "gt"],
        "dataset_type": ["training"],
    }
    return {
        **resample,
        "CenterCrop": {"size": CROP[name]},
        "RandomAffine": affine,
        "NumpyToTensor": {},
        "NormalizeInstance": {"applied_to": ["im"]},
    }


def changed(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a copy with some keys set, `a__b=1` for a.b; the value `...` deletes a key."""
    config = copy.deepcopy(config)
    for name, value in changes.items():
        *above, key = name.split("__")
        section = config
        for part in above:
            section = section.setdefault(part, {})
        if value is ...:
            del section[key]
        else:
            section[key] = value
    return config


def save(config: Any, folder: Path, name: str = "config.json") -> Path:
    """Write the JSON to a file and return its path."""
    path = folder / name
    path.write_text(json.dumps(config, indent="\t"))
    return path


# Table 2 of the paper: soft masks?, NormReLU?, Adaptive Wing?
CANDIDATES = {
    "hard_sig_dice": (False, False, False),
    "hard_relu_wing": (False, True, True),
    "soft_relu_dice": (True, True, False),
    "soft_sig_wing": (True, False, True),
    "softseg": (True, True, True),
}


def published_candidate(name: str, candidate: str) -> dict[str, Any]:
    """Return the configuration of one of the five candidates, with the loss where it is read.

    The published list of candidates of `ms` has its losses in `loader_parameters`, where ivadomed
    did not read them: taken to the letter, all five trained with Dice.
    """
    soft, relu, wing = CANDIDATES[candidate]
    return changed(
        published(name),
        loader_parameters__soft_gt=soft,
        default_model__relu=relu,
        training_parameters__loss=WING if wing else {"name": "DiceLoss"},
    )

"""Names that other tools use for components and keys, and what softseg calls them."""

from __future__ import annotations

import re
from collections.abc import Collection

from softseg.core.names import did_you_mean

_SUM = "a sum of losses, of which `terms` lists each with its weight"
_OWN_SIGMOID = "each target has a sigmoid of its own, as targets may overlap"
_U_NETS = "softseg has two networks, the U-Nets `unet2d` and `unet3d`"
_ONE_STEP = "one step for rotation, translation and scale"
_NO_SCHEDULE = "softseg has the schedules cosine, poly and constant"
_NO_OPTIMIZER = "softseg has the optimizers adam, adamw and sgd"
_DECAY = "a key of adamw and sgd"
_WEIGHTS = "alpha in Salehi et al.; in some tools alpha is the weight of false negatives"

_NAMES: dict[str, tuple[str, str]] = {
    # losses
    "dicece": ("combination", _SUM),
    "dicebce": ("combination", _SUM),
    "dicefocal": ("combination", _SUM),
    "combo": ("combination", _SUM),
    "crossentropy": ("bce", _OWN_SIGMOID),
    "ce": ("bce", _OWN_SIGMOID),
    "nll": ("bce", _OWN_SIGMOID),
    "binarycrossentropy": ("bce", ""),
    "bcewithlogits": ("bce", "the head is applied before the loss"),
    "awing": ("adaptive_wing", ""),
    "adapwing": ("adaptive_wing", ""),
    "iou": ("jml1", "the Jaccard loss that is valid for soft masks"),
    "jaccard": ("jml1", "the Jaccard loss that is valid for soft masks"),
    "softdice": ("dice_squared", "`dice` is smallest at a hard mask"),
    "l2": ("mse", ""),
    "meansquarederror": ("mse", ""),
    "mae": ("l1", ""),
    "smoothl1": ("huber", ""),
    "gdl": ("generalized_dice", ""),
    "generaliseddice": ("generalized_dice", ""),
    "surface": ("boundary", ""),
    # heads and networks
    "softmax": ("sigmoid", _OWN_SIGMOID),
    "relu": ("normrelu", "a ReLU divided by its maximum"),
    "unet": ("unet2d", _U_NETS),
    "modified3dunet": ("unet3d", _U_NETS),
    "vnet": ("unet3d", _U_NETS),
    "nnunet": ("unet3d", _U_NETS),
    "resunet": ("unet3d", "with `encoder: residual`"),
    "resenc": ("unet3d", "with `encoder: residual`"),
    "attentionunet": ("unet2d", _U_NETS),
    # augmentation
    "rotate": ("affine", _ONE_STEP),
    "rotation": ("affine", _ONE_STEP),
    "translate": ("affine", _ONE_STEP),
    "translation": ("affine", _ONE_STEP),
    "scale": ("affine", _ONE_STEP),
    "shear": ("affine", _ONE_STEP),
    "mirror": ("flip", ""),
    "randomreverse": ("flip", ""),
    "elastictransform": ("elastic", ""),
    "elasticdeformation": ("elastic", ""),
    "gaussiannoise": ("noise", ""),
    "additivegaussiannoise": ("noise", ""),
    "riciannoise": ("noise", "with `distribution: rician`"),
    "gaussianblur": ("blur", ""),
    "biasfield": ("bias_field", ""),
    "lowresolution": ("low_resolution", ""),
    "simulatelowresolution": ("low_resolution", ""),
    "downsample": ("low_resolution", ""),
    "multiplicativebrightness": ("brightness", ""),
    "channeldropout": ("contrast_dropout", ""),
    "threshold": ("binarize", ""),
    # preprocessing
    "normalize": ("standardize", "mean 0 and standard deviation 1"),
    "normalizeinstance": ("standardize", "mean 0 and standard deviation 1"),
    "zscore": ("standardize", "mean 0 and standard deviation 1"),
    "spacing": ("resample", ""),
    "resize": ("resample", "to a voxel size, not to a number of voxels"),
    "pad": ("crop", "it also pads"),
    "centercrop": ("crop", ""),
    "roicrop": ("crop", "with `around: roi`"),
    # loaders
    "decathlon": ("nnunet", "it also reads folders of the Decathlon"),
    "msd": ("nnunet", "it also reads folders of the Decathlon"),
    "csv": ("table", ""),
    "folder": ("files", ""),
    "glob": ("files", ""),
    # optimizers
    "momentum": ("sgd", ""),
    "nesterov": ("sgd", "with `nesterov: true`"),
    "rmsprop": ("adam", _NO_OPTIMIZER),
    "adagrad": ("adam", _NO_OPTIMIZER),
    "radam": ("adam", _NO_OPTIMIZER),
    "nadam": ("adam", _NO_OPTIMIZER),
    # schedules
    "cosineannealing": ("cosine", ""),
    "cosineannealinglr": ("cosine", ""),
    "none": ("constant", ""),
    "polynomial": ("poly", ""),
    "polylr": ("poly", ""),
    "polynomiallr": ("poly", ""),
    "plateau": ("cosine", _NO_SCHEDULE),
    "reducelronplateau": ("cosine", _NO_SCHEDULE),
    "step": ("cosine", _NO_SCHEDULE),
    "steplr": ("cosine", _NO_SCHEDULE),
    "linearwarmup": ("cosine", "with `trainer.warm_up`"),
}
"""Name of a component in other tools, in lower case without `_`, `-` and a final `loss`."""

_KEYS: dict[str, tuple[tuple[str, str], ...]] = {
    # parameters of losses
    "alpha": (("fp_weight", _WEIGHTS),),
    "beta": (("fn_weight", _WEIGHTS.replace("alpha", "beta").replace("negatives", "positives")),),
    "eps": (("epsilon", ""), ("smooth", "")),
    "epsilon": (("smooth", ""),),
    "losses": (("terms", "a list, each with `loss` and `weight`"), ("loss", "")),
    # the trainer
    "epochs": (("max_epochs", ""), ("trainer.max_epochs", "")),
    "numepochs": (("max_epochs", ""), ("trainer.max_epochs", "")),
    "lr": (("learning_rate", ""), ("trainer.learning_rate", "")),
    "learningrate": (("trainer.learning_rate", ""),),
    "batch": (("batch_size", ""), ("trainer.batch_size", "")),
    "batchsize": (("batch_size", ""), ("trainer.batch_size", "")),
    "patience": (("early_stopping.patience", ""), ("trainer.early_stopping.patience", "")),
    "scheduler": (("schedule", ""), ("trainer.schedule", "")),
    "optim": (("optimizer", ""), ("trainer.optimizer", "")),
    "weightdecay": (("optimizer.weight_decay", _DECAY), ("trainer.optimizer.weight_decay", _DECAY)),
    "momentum": (("optimizer.momentum", "a key of sgd"),),
    "nesterov": (("optimizer.nesterov", "a key of sgd"),),
    "warmup": (("warm_up", "in epochs"), ("trainer.warm_up", "in epochs")),
    "warmupepochs": (("warm_up", ""), ("trainer.warm_up", "")),
    "accumulategradbatches": (("accumulate", ""), ("trainer.accumulate", "")),
    "accumulationsteps": (("accumulate", ""), ("trainer.accumulate", "")),
    "gradientaccumulation": (("accumulate", ""), ("trainer.accumulate", "")),
    "gradientaccumulationsteps": (("accumulate", ""), ("trainer.accumulate", "")),
    "ema": (("average", "as `{decay: 0.99}`"), ("trainer.average", "as `{decay: 0.99}`")),
    "emadecay": (("average.decay", ""), ("trainer.average.decay", "")),
    "swa": (("average", "an exponential moving average"),),
    "amp": (("precision", "`bf16` is the fast one"), ("trainer.precision", "")),
    "mixedprecision": (("precision", "`bf16` is the fast one"), ("trainer.precision", "")),
    "gradientclip": (("clip_gradient", ""),),
    "device": (("trainer.device", ""),),
    "gpu": (("device", ""), ("trainer.device", "")),
    # the network
    "nfilters": (("filters", ""),),
    "basefilters": (("filters", ""),),
    "channels": (("filters", ""), ("contrasts", "")),
    "levels": (("depth", ""),),
    "dropoutrate": (("dropout", ""),),
    "activation": (("head", "the last activation"),),
    "finalactivation": (("head", "the last activation"),),
    "pretrained": (("init_from", ""),),
    # the dataset
    "path": (("root", ""),),
    "datadir": (("root", ""),),
    "folder": (("root", ""),),
    "modalities": (("contrasts", ""),),
    "sequences": (("contrasts", ""),),
    "labels": (("targets", ""), ("values", "the codes of the target")),
    "classes": (("targets", ""),),
    # steps
    "degrees": (("rotation", "in degrees"),),
    "angle": (("rotation", "in degrees"),),
    "translate": (("translation", "a share of the slice"),),
    "scaling": (("scale", ""),),
    "spacing": (("zooms", "in mm"),),
    "voxelsize": (("zooms", "in mm"),),
    "resolution": (("zooms", "in mm"),),
    "patchsize": (("size", ""),),
    "roisize": (("size", ""),),
    # sections
    "data": (("dataset", ""),),
    "network": (("model", ""),),
    "net": (("model", ""),),
    "training": (("trainer", ""),),
    "transforms": (("augment", ""),),
    "augmentation": (("augment", ""),),
    "preprocessing": (("preprocess", ""),),
    "evaluation": (("evaluate", ""),),
    "finetune": (("init_from", ""),),
}
"""Key in other tools -> keys of softseg: the first that is valid at that place is meant."""


def name_hint(name: str, names: Collection[str]) -> str:
    """Return ` (did you mean 'mse'?)` for a name that another tool or a typing error may have.

    With the reason, where the component differs: ` (did you mean 'jml1'? the Jaccard loss ...)`.
    """
    plain = _plain(name)
    same = next((valid for valid in names if _plain(valid) == plain), None)
    meant, reason = (same, "") if same else _NAMES.get(plain, ("", ""))
    return _hint(meant, reason) if meant in names else did_you_mean(name, names)


def key_hint(key: str, keys: Collection[str]) -> str:
    """Return the same for a key; it may be one of a section: ` (did you mean 'trainer.device'?)`.

    `keys` are the valid keys at the place of the key.
    """
    for meant, reason in _KEYS.get(_plain(key), ()):
        if meant.partition(".")[0] in keys:
            return _hint(meant, reason)
    return did_you_mean(key, keys)


def _hint(meant: str, reason: str) -> str:
    return f" (did you mean '{meant}'?{f' {reason}' if reason else ''})"


def _plain(name: str) -> str:
    """Return a name in lower case, without signs and a final `loss`."""
    plain = re.sub(r"[_\-\s]", "", name.lower())
    return plain.removesuffix("loss") or plain

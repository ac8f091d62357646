"""`default_model` and the other architectures -> `model`."""

from __future__ import annotations

from collections.abc import Iterator

from softseg.interop.from_ivadomed.outcomes import (
    Fact,
    also,
    carry,
    fixed,
    leave,
    leave_unless_off,
    warn,
)
from softseg.interop.from_ivadomed.read import Source

_M = "default_model"
_IGNORED_RATE = 0.4  # what ivadomed's networks of before September 2021 have by default
_DROPOUT = "ivadomed of before September 2021 handed it on under a name that the network did not \
read: it trained with the network's default, {}, and so does the YAML (the JSON says {:g})"
_RELU = "ivadomed 2.2 read it; 2.9 ignores it and trains a sigmoid (there it is final_activation): \
the YAML has {}"
_ONLY = "softseg trains a 2D U-Net only: the YAML has one"
_NOTE = "ivadomed's note of its own"
_PATCHES = "training takes whole slices, not patches"
# the other architectures: their keys, besides `applied`
_OTHERS = {
    "FiLMedUnet": ("metadata", "film_layers", "film_onehotencoder", "n_metadata", "name"),
    "HeMISUnet": ("missing_probability", "missing_probability_growth", "contrasts", "ram",
                  "path_hdf5", "csv_path", "target_lst", "roi_lst", "name"),
    "Modified3DUNet": ("length_3D", "stride_3D", "attention", "n_filters", "name"),
    "UNet3D": ("length_3D", "stride_3D", "attention", "attention_unet", "n_filters", "name"),
    "Countception": ("name",),
}  # fmt: skip


def convert_model(source: Source) -> Iterator[Fact]:
    """`model`: ivadomed's own blocks, and the dropout that its network really had."""
    yield from _network(source)
    yield from _dropout(source)
    yield from _head(source)
    for name, keys in _OTHERS.items():
        yield from _other(source, name, keys)


def _network(source: Source) -> Iterator[Fact]:
    name = source.text(f"{_M}.name", "Unet")
    yield carry(source, f"{_M}.name", ("model", "name"), "unet2d")
    if name != "Unet":
        yield leave(f"{_M}.name", f"there is no {name}: {_ONLY}")
    flat = source.flag(f"{_M}.is_2d", True)
    yield also(f"{_M}.is_2d", ("model", "name")) if flat else leave(f"{_M}.is_2d", _ONLY)
    yield carry(source, f"{_M}.depth", ("model", "depth"), source.number(f"{_M}.depth", 3))
    filters = source.number(f"{_M}.n_filters", 64)
    yield carry(source, f"{_M}.n_filters", ("model", "filters"), filters)
    yield fixed(("model", "block"), "conv_relu_norm", "ivadomed's order")
    momentum = source.number(f"{_M}.bn_momentum", 0.1)
    yield carry(source, f"{_M}.bn_momentum", ("model", "norm_momentum"), momentum)
    for key in ("length_2D", "stride_2D"):
        yield leave_unless_off(source, f"{_M}.{key}", _PATCHES)
    for key in ("in_channel", "out_channel", "folder_name"):
        yield leave(f"{_M}.{key}", _NOTE)


def _dropout(source: Source) -> Iterator[Fact]:
    key, path = f"{_M}.dropout_rate", ("model", "dropout")
    rate = source.number(key, 0.3)
    if source.version == "2.2":
        note = f"not read by ivadomed of before September 2021, which had {_IGNORED_RATE}"
        yield carry(source, key, path, _IGNORED_RATE, note)
        yield warn(key, _DROPOUT.format(_IGNORED_RATE, rate))
    else:
        note = f"ivadomed of before September 2021 did not read it and had {_IGNORED_RATE}"
        yield carry(source, key, path, rate, note)
    yield fixed(("model", "dropout_by"), "channel", "ivadomed's")
    note = "ivadomed's; where a NormReLU dies with it, take before_output_layer"
    yield fixed(("model", "dropout_position"), "every_convolution", note)


def _head(source: Source) -> Iterator[Fact]:
    head = ("model", "head", "name")
    relu, final = f"{_M}.relu", f"{_M}.final_activation"
    if source.version == "2.2":
        name = "normrelu" if source.flag(relu, False) else "sigmoid"
        yield carry(source, relu, head, name)
        yield warn(relu, _RELU.format(name))
        return
    activation = source.text(final, "sigmoid")
    if source.get("FiLMedUnet.applied"):
        yield fixed(head, "sigmoid", "FiLMedUnet had it whatever final_activation said")
        yield warn(final, "FiLMedUnet ignores it and has a sigmoid; so has the YAML")
    else:
        name = "normrelu" if activation == "relu" else "sigmoid"
        yield carry(source, final, head, name)
    if activation not in ("relu", "sigmoid"):
        yield leave(final, f"there is no {activation}: each target has a sigmoid of its own")
    yield warn(relu, f"ivadomed 2.9 ignored it: the YAML has its final_activation, {activation}")


def _other(source: Source, name: str, keys: tuple[str, ...]) -> Iterator[Fact]:
    applied = bool(source.get(f"{name}.applied"))
    yield leave_unless_off(source, f"{name}.applied", f"there is no {name}: {_ONLY}")
    for key in keys:
        why = f"there is no {name}: {_ONLY}"
        off = [] if applied else [source.get(f"{name}.{key}")]
        yield leave_unless_off(source, f"{name}.{key}", why, off)

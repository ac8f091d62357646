"""Convert `default_model` and the other architectures to `model`."""

from __future__ import annotations

from softseg.interop.from_ivadomed.outcomes import OFF, OWN_RECORD, WHOLE_SLICES, Outcomes
from softseg.interop.from_ivadomed.read import IvadomedConfig

_M = "default_model"
_IGNORED_RATE = 0.4  # the default of ivadomed's networks before September 2021
_DROPOUT = "ivadomed before September 2021 passed it under a name that the network did not read: \
it trained with the network's default, {}, and so does the YAML file (the JSON has {:g})"
_RELU = "ivadomed 2.2 read it; 2.9 ignores it and trains a sigmoid (there it is final_activation): \
the YAML file has {}"
_ONLY_UNET = "softseg trains a 2D U-Net only, which the YAML file has"
# keys of the other architectures, in addition to `applied`
_OTHERS = {
    "FiLMedUnet": ("metadata", "film_layers", "film_onehotencoder", "n_metadata", "name"),
    "HeMISUnet": ("missing_probability", "missing_probability_growth", "contrasts", "ram",
                  "path_hdf5", "csv_path", "target_lst", "roi_lst", "name"),
    "Modified3DUNet": ("length_3D", "stride_3D", "attention", "n_filters", "name"),
    "UNet3D": ("length_3D", "stride_3D", "attention", "attention_unet", "n_filters", "name"),
    "Countception": ("name",),
}  # fmt: skip


def convert_model(config: IvadomedConfig, outcomes: Outcomes) -> None:
    """Convert the network to a U-Net with ivadomed's blocks and the dropout that was in effect."""
    name = config.text(f"{_M}.name", "Unet")
    outcomes.carry_over(f"{_M}.name", ("model", "name"), "unet2d")
    if name != "Unet":
        outcomes.leave_out(f"{_M}.name", f"there is no {name}: {_ONLY_UNET}")
    if config.flag(f"{_M}.is_2d", True):
        outcomes.contribute(f"{_M}.is_2d", ("model", "name"))
    else:
        outcomes.leave_out(f"{_M}.is_2d", _ONLY_UNET)
    outcomes.carry_over_number(f"{_M}.depth", ("model", "depth"), 3)
    outcomes.carry_over_number(f"{_M}.n_filters", ("model", "filters"), 64)
    outcomes.write(("model", "block"), "conv_relu_norm", "ivadomed's order")
    outcomes.carry_over_number(f"{_M}.bn_momentum", ("model", "norm_momentum"), 0.1)
    for key in ("length_2D", "stride_2D"):
        outcomes.leave_out_unless_off(f"{_M}.{key}", WHOLE_SLICES)
    for key in ("in_channel", "out_channel", "folder_name"):
        outcomes.leave_out(f"{_M}.{key}", OWN_RECORD)
    key, path = f"{_M}.dropout_rate", ("model", "dropout")
    rate = config.number(key, 0.3)
    if config.version == "2.2":
        note = f"not read by ivadomed before September 2021, which had {_IGNORED_RATE}"
        outcomes.carry_over(key, path, _IGNORED_RATE, note)
        outcomes.warn(key, _DROPOUT.format(_IGNORED_RATE, rate))
    else:
        note = f"ivadomed before September 2021 did not read it and had {_IGNORED_RATE}"
        outcomes.carry_over(key, path, rate, note)
    outcomes.write(("model", "dropout_by"), "channel", "as in ivadomed")
    note = "as in ivadomed; if a NormReLU head then outputs 0 everywhere, use before_output_layer"
    outcomes.write(("model", "dropout_position"), "every_convolution", note)
    _convert_head(config, outcomes)
    for architecture, keys in _OTHERS.items():
        applied = bool(config.get(f"{architecture}.applied"))
        reason = f"there is no {architecture}: {_ONLY_UNET}"
        outcomes.leave_out_unless_off(f"{architecture}.applied", reason)
        for name in keys:  # without `applied` nothing reads them
            outcomes.leave_out_unless_off(f"{architecture}.{name}", reason if applied else OFF)


def _convert_head(config: IvadomedConfig, outcomes: Outcomes) -> None:
    """Convert the final activation: `relu` in ivadomed 2.2, `final_activation` in 2.9."""
    path = ("model", "head", "name")
    relu, final = f"{_M}.relu", f"{_M}.final_activation"
    if config.version == "2.2":
        name = "normrelu" if config.flag(relu, False) else "sigmoid"
        outcomes.carry_over(relu, path, name)
        outcomes.warn(relu, _RELU.format(name))
        return
    activation = config.text(final, "sigmoid")
    if config.get("FiLMedUnet.applied"):
        outcomes.write(path, "sigmoid", "as in FiLMedUnet, whatever final_activation is")
        outcomes.warn(final, "FiLMedUnet ignores it and has a sigmoid; so has the YAML file")
    else:
        name = "normrelu" if activation == "relu" else "sigmoid"
        outcomes.carry_over(final, path, name)
    if activation not in ("relu", "sigmoid"):
        outcomes.leave_out(final, f"there is no {activation}: each target has a sigmoid of its own")
    outcomes.warn(relu, f"ivadomed 2.9 ignored it: its final_activation, {activation}, is used")

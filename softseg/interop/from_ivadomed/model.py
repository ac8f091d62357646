"""Convert `default_model` and the other architectures to `model`."""

from __future__ import annotations

from softseg.interop.from_ivadomed.outcomes import OFF, OWN_RECORD, WHOLE_SLICES, Outcomes
from softseg.interop.from_ivadomed.read import IvadomedConfig
from softseg.interop.from_ivadomed.transformation import in_file_order

_M = "default_model"
_IGNORED_RATE = 0.4  # the default of ivadomed's networks before September 2021
_DROPOUT = "ivadomed before September 2021 passed it under a name that the network did not read: \
it trained with the network's default, {}, and so does the YAML file (the JSON has {:g})"
_RELU = "ivadomed 2.2 read it; 2.9 ignores it and trains a sigmoid (there it is final_activation): \
the YAML file has {}"
_ONLY_UNET = "the YAML file has a 2D U-Net; for a 3D one write model: {name: unet3d}"
_OTHER_NETWORK = (
    "ivadomed trained {}, which softseg does not have. The YAML file has a {}D U-Net: {}"
)
_CLOSEST = "it averages instead of taking the nearest voxel where it upsamples, has no outputs of \
coarser levels that are added to its own, and drops channels in its decoder too"
_OTHER_SECTION = "{} is applied, which has a value of its own for it, or does not read it"
_OWN_PATCHES = "patches of training have random places, those of predictions overlap by half, and \
volumes are padded with their background"
_ANOTHER = "its results differ"
_CLASSIFIES = "it segments, while that network only classifies whole images"
# what the difference means, by the section that selects the network with `applied`
_MEANINGS = {
    "FiLMedUnet": "it does not see the metadata of a scan, such as its contrast",
    "HeMISUnet": "it needs every contrast of every subject, which that network does not",
    "Modified3DUNet": _CLOSEST,
    "UNet3D": _CLOSEST,
    "Countception": "it outlines structures, while that network finds points",
    "resnet18": _CLASSIFIES,
    "densenet121": _CLASSIFIES,
}
# keys of the default network that the 3D one does not read
_SLICE_KEYS = ("name", "is_2d", "depth", "bn_momentum", "length_2D", "stride_2D", "n_filters")
# keys of the other architectures, in addition to `applied`
_OTHERS = {
    "FiLMedUnet": ("metadata", "film_layers", "film_onehotencoder", "n_metadata", "name"),
    "HeMISUnet": ("missing_probability", "missing_probability_growth", "contrasts", "ram",
                  "path_hdf5", "csv_path", "target_lst", "roi_lst", "name"),
    "Modified3DUNet": ("length_3D", "stride_3D", "padding_3D", "attention", "n_filters", "name"),
    "UNet3D": ("length_3D", "stride_3D", "padding_3D", "attention", "attention_unet", "n_filters",
               "name"),
    "Countception": ("name",),
    "resnet18": ("name", "pretrained", "progress"),
    "densenet121": ("name", "pretrained", "progress"),
}  # fmt: skip


def convert_model(config: IvadomedConfig, outcomes: Outcomes) -> None:
    """Convert the network to the U-Net that is the closest, with the dropout in effect."""
    name = config.text(f"{_M}.name", "Unet")
    for key in ("in_channel", "out_channel", "folder_name"):
        outcomes.leave_out(f"{_M}.{key}", OWN_RECORD)
    if config.volume_network:
        _convert_volume_network(config, outcomes, config.volume_network)
    else:
        _convert_slice_network(config, outcomes, name)
    _convert_head(config, outcomes)
    _report_other_networks(config, outcomes, name)


def _convert_volume_network(config: IvadomedConfig, outcomes: Outcomes, section: str) -> None:
    """Convert ivadomed's 3D U-Net of residual blocks (Isensee et al. 2017) and its patches."""
    outcomes.carry_over(f"{section}.applied", ("model", "name"), "unet3d")
    outcomes.write(("model", "depth"), 4, f"as {section} has")
    filters = f"{section}.n_filters"
    if not config.has(filters) and config.has(f"{_M}.n_filters"):
        filters = f"{_M}.n_filters"
    outcomes.carry_over_number(filters, ("model", "filters"), 16)
    outcomes.write(("model", "max_filters"), None, "none")
    outcomes.write(("model", "encoder"), "residual", "its context modules")
    outcomes.write(("model", "upsample"), "linear", "ivadomed takes the nearest voxel")
    outcomes.write(("model", "strides"), [[2, 2, 2]] * 4, "whatever the voxel size, as in ivadomed")
    outcomes.write(("model", "kernels"), [[3, 3, 3]] * 5)
    outcomes.carry_over_number(f"{_M}.dropout_rate", ("model", "dropout"), 0.3)
    outcomes.write(("model", "dropout_by"), "channel", "as in ivadomed")
    length = f"{section}.length_3D"
    size = config.items(length, int) if config.has(length) else [128, 128, 16]
    if len(size) != 3:
        raise config.error(length, "must be three whole numbers", config.get(length))
    outcomes.carry_over(length, ("patches", "size"), in_file_order(config, *size))
    for key in ("stride_3D", "padding_3D"):
        outcomes.leave_out_unless_off(f"{section}.{key}", _OWN_PATCHES)
    for key in ("attention", "attention_unet"):
        outcomes.leave_out_unless_off(f"{section}.{key}", "there are no attention gates")
    for key in (f"{section}.name", *(f"{_M}.{name}" for name in _SLICE_KEYS)):
        if key != filters:
            outcomes.leave_out(key, _OTHER_SECTION.format(section))


def _convert_slice_network(config: IvadomedConfig, outcomes: Outcomes, name: str) -> None:
    """Convert the default network to a 2D U-Net with ivadomed's blocks."""
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


def _report_other_networks(config: IvadomedConfig, outcomes: Outcomes, name: str) -> None:
    """Report the sections of other networks, and what it means if ivadomed trained one.

    `name`: that of the default network, which is used unless a section has `applied`.
    """
    selected = [each for each in _OTHERS if config.get(f"{each}.applied")]
    trained = selected or [name]
    if trained != ["Unet"]:
        meanings = dict.fromkeys(_MEANINGS.get(each, _ANOTHER) for each in trained)
        axes = 3 if config.volume_network else 2
        outcomes.other_network = _OTHER_NETWORK.format(
            " and ".join(trained), axes, "; ".join(meanings)
        )
    for architecture, keys in _OTHERS.items():
        if architecture == config.volume_network:
            continue
        reason = outcomes.other_network if architecture in selected else OFF
        for key in ("applied", *keys):  # without `applied` nothing reads the others
            outcomes.leave_out_unless_off(f"{architecture}.{key}", reason)


def _convert_head(config: IvadomedConfig, outcomes: Outcomes) -> None:
    """Convert the final activation: `relu` in ivadomed 2.2, `final_activation` in 2.9."""
    path = ("model", "head", "name")
    relu, final = f"{_M}.relu", f"{_M}.final_activation"
    if config.version == "2.2":
        name = "normrelu" if config.flag(relu, False) else "sigmoid"
        outcomes.carry_over(relu, path, name)
        outcomes.warn(relu, _RELU.format(name))
        _write_scope(outcomes, name)
        return
    activation = config.text(final, "sigmoid")
    if config.get("FiLMedUnet.applied"):
        outcomes.write(path, "sigmoid", "as in FiLMedUnet, whatever final_activation is")
        outcomes.warn(final, "FiLMedUnet ignores it and has a sigmoid; so has the YAML file")
    else:
        name = "normrelu" if activation == "relu" else "sigmoid"
        outcomes.carry_over(final, path, name)
        _write_scope(outcomes, name)
    if activation not in ("relu", "sigmoid"):
        outcomes.leave_out(final, f"there is no {activation}: each target has a sigmoid of its own")
    outcomes.warn(relu, f"ivadomed 2.9 ignored it: its final_activation, {activation}, is used")


def _write_scope(outcomes: Outcomes, head: str) -> None:
    """Write whose maximum a NormReLU divides by: in ivadomed each batch's, in predictions too."""
    if head == "normrelu":
        note = "as in ivadomed, which also predicts batch by batch; `batch` is recommended"
        outcomes.write(("model", "head", "scope"), "published", note)

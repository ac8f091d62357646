"""Read ivadomed's JSON as nested mappings, and find out which version it is for: 2.2 or 2.9."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from softseg.config.yaml.read import read_text
from softseg.config.yaml.tree import KeyPath, has_path
from softseg.core.errors import UserError

MAX_BYTES = 1_000_000
_LARGEST = 1e100
_VOLUME_NETWORKS = ("Modified3DUNet", "UNet3D")  # the second is its name in 2.2
Version = Literal["2.2", "2.9"]
# keys that only one of the two versions reads; a file with any of the second list is for 2.9
_ONLY_2_2 = (
    "gpu", "log_directory", "loader_parameters.bids_path", "split_dataset.method",
    "split_dataset.center_test", "default_model.relu", "testing_parameters", "UNet3D",
    "evaluation_parameters.targetSize", "evaluation_parameters.removeSmall",
)  # fmt: skip
_ONLY_2_9 = (
    "gpu_ids", "path_output", "wandb", "loader_parameters.path_data", "split_dataset.split_method",
    "split_dataset.data_testing", "default_model.final_activation", "default_model.is_2d",
    "evaluation_parameters.target_size", "evaluation_parameters.object_detection_metrics",
)  # fmt: skip


@dataclass(frozen=True)
class IvadomedConfig:
    """A configuration of ivadomed; keys are dotted, such as `training_parameters.loss.name`."""

    file: Path
    data: dict[str, Any]
    repeated_keys: tuple[str, ...] = ()  # written more than once; the last one counts

    @cached_property
    def version(self) -> Version:
        """The version that the JSON is for: 2.9, unless it has keys that only 2.2 reads."""
        is_old = any(map(self.has, _ONLY_2_2)) and not any(map(self.has, _ONLY_2_9))
        return "2.2" if is_old else "2.9"

    @cached_property
    def volume_network(self) -> str:
        """The section of the 3D network that ivadomed trained; empty if it trained slices."""
        applied = [name for name in _VOLUME_NETWORKS if self.get(f"{name}.applied")]
        return applied[0] if applied else ""

    def has(self, key: str) -> bool:
        """Return whether the JSON has this key, possibly null."""
        return has_path(self.data, tuple(key.split(".")))

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key; raises UserError if a parent of it is not a mapping."""
        data: Any = self.data
        for part in key.split("."):
            if data is None:  # a section that is null
                return default
            if not isinstance(data, dict):
                raise self.error(key, "its section must be a mapping, { }", data)
            if part not in data:
                return default
            data = data[part]
        return data

    def number(self, key: str, default: float) -> Any:
        """Return a number; raises UserError for anything else."""
        return self._typed(key, default, (int, float), "must be a number")

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false; raises UserError for anything else."""
        return bool(self._typed(key, default, (bool,), "must be true or false"))

    def text(self, key: str, default: str) -> str:
        """Return a text; raises UserError for anything else."""
        return str(self._typed(key, default, (str,), "must be text"))

    def items(self, key: str, kind: type | tuple[type, ...]) -> list[Any]:
        """Return a list of one type of values, empty if there is none; raises UserError."""
        value: list[Any] = self._typed(key, [], (list,), "must be a list")
        if not all(isinstance(item, kind) for item in value):
            raise self.error(key, "must be a list", value)
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        """Return a mapping, empty if there is none; raises UserError for anything else."""
        value: dict[str, Any] = self._typed(key, {}, (dict,), "must be a mapping, { }")
        return value

    def _typed(self, key: str, default: Any, kinds: tuple[type, ...], problem: str) -> Any:
        """Return a value of one of some types; a bool is not an int."""
        value = default if self.get(key) is None else self.get(key)
        if type(value) not in kinds:
            raise self.error(key, problem, value)
        return value

    def as_json(self, key: str) -> str:
        """Return the value of a key as the JSON has it, in one line of ASCII."""
        text = json.dumps(self.get(key))
        return text if len(text) <= 120 else text[:117] + "..."

    def error(self, key: str, problem: str, value: Any) -> UserError:
        """Return the error for a value that ivadomed cannot take."""
        return UserError(f"{self.file}: {key}: {problem}, not {json.dumps(value)[:60]}")


def read_ivadomed(file: Path) -> IvadomedConfig:
    """Read a configuration of ivadomed.

    Raises UserError for a file that is missing or not JSON, with the line, or not a configuration
    of ivadomed, which names contrasts and targets in `loader_parameters`.
    """
    repeated_keys: list[str] = []
    data = _parse(file, read_text(file, MAX_BYTES), repeated_keys)
    if not isinstance(data, dict):
        raise UserError(
            f"{file}:1: not a configuration of ivadomed, which is a mapping, {{ }}; give its "
            "config.json"
        )
    config = IvadomedConfig(file, data, tuple(repeated_keys))
    for key in ("contrast_params.training_validation", "target_suffix"):
        if not config.get(f"loader_parameters.{key}"):
            raise UserError(
                f"{file}: not a configuration of ivadomed: it has no loader_parameters.{key}; give "
                "the configuration itself (or config_file.json of its output), not a list of "
                "hyper-parameters"
            )
    return config


def _parse(file: Path, text: str, repeated_keys: list[str]) -> Any:
    """Return the data of JSON text and add the keys that it repeats to `repeated_keys`."""

    def pairs_to_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        repeated_keys.extend(name for name in dict.fromkeys(names) if names.count(name) > 1)
        return dict(pairs)

    def number(digits: str) -> float:
        value = float(digits)
        if not abs(value) < _LARGEST:  # NaN, infinity, and what would overflow when squared
            start = digits if len(digits) <= 20 else f"{digits[:17]}..."
            raise UserError(f"{file}: {start} is not a usable number; fix it in the JSON")
        return value

    def integer(digits: str) -> int:
        number(digits)
        return int(digits)

    decoder = json.JSONDecoder(
        object_pairs_hook=pairs_to_dict,
        parse_float=number,
        parse_int=integer,
        parse_constant=number,
    )
    try:
        return decoder.decode(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{file}:{error.lineno}: not JSON: {error.msg}") from None
    except RecursionError:
        raise UserError(f"{file}: nested too deeply to be a configuration") from None


def leaves(data: Any, parent: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield the path of every value that is not a mapping, or an empty one."""
    if not isinstance(data, dict) or not data:
        yield parent
        return
    for key, value in data.items():
        yield from leaves(value, (*parent, key))

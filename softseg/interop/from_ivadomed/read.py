"""ivadomed's JSON as nested mappings, and who reads it: ivadomed 2.2 or 2.9."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from softseg.config.yaml.tree import KeyPath, has_key, has_path
from softseg.core.errors import UserError

MAX_BYTES = 1_000_000
_LARGEST = 1e100
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
class Source:
    """A configuration of ivadomed; keys are dotted, such as `training_parameters.loss.name`."""

    file: Path
    data: dict[str, Any]
    version: Version
    twice: tuple[str, ...] = ()  # keys that the file writes more than once; the last one counts

    def has(self, key: str) -> bool:
        """Whether the JSON has this key, be it null."""
        return has_path(self.data, tuple(key.split(".")))

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key. Raises UserError where something above it is no mapping."""
        data: Any = self.data
        for part in key.split("."):
            if data is None:  # a section that is null
                return default
            if not isinstance(data, dict):
                raise self.wrong(key, "what holds it must be a mapping, { }", data)
            if not has_key(data, part):
                return default
            data = data[part]
        return data

    def _or(self, key: str, default: Any) -> Any:
        """The value of a key, the default where there is none or it is null."""
        value = self.get(key)
        return default if value is None else value

    def number(self, key: str, default: float) -> Any:
        """A number. Raises UserError for anything else."""
        value = self._or(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, "must be a number", value)
        return value

    def flag(self, key: str, default: bool) -> bool:
        """true or false. Raises UserError for anything else."""
        value = self._or(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "must be true or false", value)
        return value

    def text(self, key: str, default: str) -> str:
        """A text. Raises UserError for anything else."""
        value = self._or(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "must be a text", value)
        return value

    def items(self, key: str, kind: type | tuple[type, ...]) -> list[Any]:
        """A list of one kind of values, empty where there is none. Raises UserError otherwise."""
        value = self.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
            raise self.wrong(key, "must be a list", value)
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        """A mapping, empty where there is none. Raises UserError for anything else."""
        value = self.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(key, "must be a mapping, { }", value)
        return value or {}

    def said(self, key: str) -> str:
        """What the JSON says of a key, in one line of ASCII."""
        text = json.dumps(self.get(key))
        return text if len(text) <= 120 else text[:117] + "..."

    def wrong(self, key: str, problem: str, value: Any) -> UserError:
        """The error for a value that ivadomed cannot have meant."""
        return UserError(f"{self.file}: {key}: {problem}, not {json.dumps(value)[:60]}")

    def leaves(self) -> Iterator[KeyPath]:
        """The path of every value that is no mapping, or an empty one."""
        return _leaves(self.data, ())


def read(file: Path) -> Source:
    """Read a configuration of ivadomed.

    Raises UserError for a file that is missing or no JSON, with the line, or that is no
    configuration of ivadomed: one names contrasts and targets below `loader_parameters`.
    """
    twice: list[str] = []
    data = _parse(file, _text(file), twice)
    if not isinstance(data, dict):
        raise UserError(f"{file}:1: no configuration of ivadomed, which is a mapping, {{ }}")
    source = Source(file, data, _version(data), tuple(twice))
    for key in ("contrast_params.training_validation", "target_suffix"):
        if not source.get(f"loader_parameters.{key}"):
            raise UserError(
                f"{file}: no configuration of ivadomed: there is no loader_parameters.{key}; give "
                "the configuration itself (or config_file.json of its output), not a list of "
                "hyper-parameters"
            )
    return source


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise UserError(f"{file}: larger than {MAX_BYTES:,} bytes: no configuration")
        return file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{file}: no such file") from None
    except UnicodeDecodeError:
        raise UserError(f"{file}: not UTF-8 text; save the file as UTF-8") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None


def _parse(file: Path, text: str, twice: list[str]) -> Any:
    def unite(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice.extend(name for name in dict.fromkeys(names) if names.count(name) > 1)
        return dict(pairs)

    def number(digits: str) -> float:
        return _number(file, digits)

    def whole(digits: str) -> int:
        number(digits)
        return int(digits)

    decoder = json.JSONDecoder(
        object_pairs_hook=unite, parse_float=number, parse_int=whole, parse_constant=number
    )
    try:
        return decoder.decode(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{file}:{error.lineno}: not JSON: {error.msg}") from None
    except RecursionError:
        raise UserError(f"{file}: nested too deeply to be a configuration") from None


def _number(file: Path, digits: str) -> float:
    value = float(digits)
    if not abs(value) < _LARGEST:  # NaN, infinity, and what would overflow where it is squared
        told = digits if len(digits) <= 20 else f"{digits[:17]}..."
        raise UserError(f"{file}: {told} is no number that can be meant; mend the JSON")
    return value


def _version(data: dict[str, Any]) -> Version:
    def any_of(keys: tuple[str, ...]) -> bool:
        return any(has_path(data, tuple(key.split("."))) for key in keys)

    return "2.2" if any_of(_ONLY_2_2) and not any_of(_ONLY_2_9) else "2.9"


def _leaves(data: Any, above: KeyPath) -> Iterator[KeyPath]:
    if not isinstance(data, dict) or not data:
        yield above
        return
    for key, value in data.items():
        yield from _leaves(value, (*above, key))

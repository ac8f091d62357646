"""The file dataset.json of nnU-Net's raw folders and of the Medical Segmentation Decathlon."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from softseg.core.errors import UserError, combined_error
from softseg.core.files import read_json
from softseg.core.names import listing
from softseg.data.nifti.io import file_stem

T = TypeVar("T")
ENDINGS = (".nii.gz", ".nii")
_IGNORE = "ignore"
_NOT_STRUCTURES = ("background", _IGNORE)


@dataclass(frozen=True)
class ListedCase:
    """The files of one training case that dataset.json lists; paths as it has them."""

    images: tuple[str, ...]
    """One file for each channel, or a single one that holds all channels."""
    label: str


@dataclass(frozen=True)
class DatasetJson:
    """The content of dataset.json."""

    names: dict[int, str]
    """Number of a channel -> its name."""
    codes: dict[str, list[int]]
    """Label -> its codes; several for a region."""
    cases: int | None
    """The number of training cases; None if the file does not have it."""
    ending: str
    """The ending of file names: .nii.gz or .nii."""
    listed: dict[str, ListedCase]
    """Case -> its files, if the file lists them and they exist under these names."""

    @classmethod
    def read(cls, path: Path) -> DatasetJson:
        """Read the file of nnU-Net 1 or 2 or of the Decathlon.

        Raises UserError for a file that is missing or is none of these, with every problem and the
        key that it is about.
        """
        try:
            content = read_json(path)
        except OSError as error:
            raise UserError(
                f"{path}: cannot be read ({error.strerror}); is the folder in nnU-Net's raw format?"
            ) from error
        except ValueError as error:
            raise UserError(f"{path}: is not a dataset.json of nnU-Net: {error}") from error
        if not isinstance(content, dict):
            raise UserError(f"{path}: is not a dataset.json of nnU-Net: it must be a mapping")
        problems: list[str] = []

        def parse(parser: Callable[[Mapping[str, Any]], T], fallback: T) -> T:
            try:
                return parser(content)
            except ValueError as error:
                problems.append(str(error))
                return fallback

        parsed = cls(
            names=parse(_channels, {}),
            codes=parse(_labels, {}),
            cases=parse(_number_of_cases, None),
            ending=parse(_file_ending, ""),
            listed=parse(lambda content: _listed_cases(content, path.parent), {}),
        )
        if problems:
            raise combined_error(f"{path}: is not a dataset.json of nnU-Net:", problems)
        return parsed

    @property
    def contrasts(self) -> list[str]:
        """The names of all channels, in the order of their numbers."""
        return [self.names[number] for number in sorted(self.names)]

    @property
    def ignored(self) -> tuple[float, ...]:
        """The codes of the label `ignore`, which nnU-Net leaves out of loss and metrics."""
        named = [codes for label, codes in self.codes.items() if label.lower() == _IGNORE]
        return tuple(code for codes in named for code in codes)

    def targets(self) -> dict[str, dict[str, list[int]]]:
        """Return a target for each label except background and `ignore`, as a YAML file has them.

        Raises ValueError for two labels that would be one target's name.
        """
        targets: dict[str, dict[str, list[int]]] = {}
        for label, codes in self.codes.items():
            if label.lower() in _NOT_STRUCTURES or codes == [0]:
                continue
            name = re.sub(r"[^A-Za-z0-9_-]+", "_", label).strip("_") or "label"
            if name in targets:
                raise ValueError(f"two labels would be the target {name}: write dataset.targets")
            targets[name] = {"values": codes}
        return targets


def _channels(content: Mapping[str, Any]) -> dict[int, str]:
    """Return the channels; `modality` in version 1, and a list in files that people write."""
    key = "channel_names" if "channel_names" in content else "modality"
    channels = content.get(key)
    if isinstance(channels, list):
        channels = dict(enumerate(channels))
    if not channels or not isinstance(channels, dict):
        raise ValueError('channel_names: write a number and a name for each channel: {"0": "T2"}')
    numbers = {number: str(number).strip() for number in channels}
    for number, name in channels.items():
        if not numbers[number].isdecimal() or not isinstance(name, str | int):
            raise ValueError(
                f'{key}.{number}: write a number and a name for each channel: {{"0": "T2"}}'
            )
    return {int(numbers[number]): str(name) for number, name in channels.items()}


def _labels(content: Mapping[str, Any]) -> dict[str, list[int]]:
    """Return label -> codes, from `{"lesion": 1}` or, in version 1, `{"1": "lesion"}`."""
    labels = content.get("labels")
    if not labels or not isinstance(labels, dict):
        raise ValueError('labels: write a name and a code for each: {"background": 0, "lesion": 1}')
    if all(name.isdecimal() and isinstance(code, str) for name, code in labels.items()):
        codes: dict[str, list[int]] = {}
        for code, name in labels.items():
            codes.setdefault(name, []).append(int(code))
        return codes
    return {
        name: [_code(name, part) for part in (value if isinstance(value, list) else [value])]
        for name, value in labels.items()
    }


def _code(label: str, value: Any) -> int:
    """Return a code, which may be written as text. Raises ValueError for anything else."""
    try:
        return _whole(value)
    except ValueError:
        raise ValueError(
            f"labels.{label}: {value!r} is not a code; write a whole number, or a list of them for "
            "a region"
        ) from None


def _number_of_cases(content: Mapping[str, Any]) -> int | None:
    number = content.get("numTraining")
    try:
        return None if number is None else _whole(number)
    except ValueError:
        raise ValueError(
            f"numTraining: {number!r} is not a number; write the number of training cases"
        ) from None


def _whole(value: Any) -> int:
    """Return a whole number, which may be written as text or 1.0."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError
    if isinstance(value, float) and not value.is_integer():  # or infinite
        raise ValueError
    return int(value)  # of text, only digits


def _file_ending(content: Mapping[str, Any]) -> str:
    """Return the ending with its dot. Raises ValueError for files that are not NIfTI."""
    ending = content.get("file_ending", ENDINGS[0])
    dotted = f".{str(ending).strip().removeprefix('.')}"
    if dotted not in ENDINGS:
        raise ValueError(
            f"file_ending: {ending!r} is not NIfTI, the only format that softseg reads; convert "
            "images and labels, and write .nii.gz"
        )
    return dotted


def _listed_cases(content: Mapping[str, Any], root: Path) -> dict[str, ListedCase]:
    """Return the cases that are listed: {} if none are, or if their images have other names.

    nnU-Net 2 may list them under `dataset`, the Decathlon lists them under `training`; so does
    nnU-Net 1, but without the number of the channel, so that no such file exists.
    """
    if "dataset" in content:
        entries = content["dataset"]
        if not isinstance(entries, dict):
            raise ValueError('dataset: write {"case": {"images": [files], "label": file}, ...}')
        return {str(name): _listed_case(f"dataset.{name}", case) for name, case in entries.items()}
    training = content.get("training") or []
    if not isinstance(training, list):
        raise ValueError('training: write a list of {"image": file, "label": file}')
    pairs = [_listed_case(f"training[{n}]", pair) for n, pair in enumerate(training)]
    if not any((root / file).is_file() for pair in pairs for file in pair.images):
        return {}
    cases = {file_stem(Path(pair.images[0])): pair for pair in pairs}
    if len(cases) < len(pairs):
        names = [file_stem(Path(pair.images[0])) for pair in pairs]
        repeated = listing(name for name in names if names.count(name) > 1)
        raise ValueError(f"training: several cases are called {repeated}; rename their files")
    return cases


def _listed_case(key: str, entry: Any) -> ListedCase:
    """Return the files of an entry of dataset.json. Raises ValueError for anything else."""
    entry = entry if isinstance(entry, dict) else {}
    images, label = entry.get("images", entry.get("image")), entry.get("label")
    images = [images] if isinstance(images, str) else images
    are_paths = isinstance(images, list) and all(isinstance(file, str) for file in images)
    if not images or not are_paths or not isinstance(label, str):
        raise ValueError(f'{key}: write {{"image": file, "label": file}}')
    return ListedCase(tuple(images), label)

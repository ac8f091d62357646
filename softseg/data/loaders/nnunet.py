"""The loader `nnunet`: a folder in nnU-Net's raw format, its training part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from softseg.core.errors import UserError, combined_error
from softseg.core.files import read_json
from softseg.core.names import did_you_mean, listing
from softseg.data.loaders.base import DatasetFields
from softseg.data.loaders.subject_files import Found, Mask
from softseg.data.subject import Subject


@dataclass(frozen=True)
class _Description:
    """What dataset.json says."""

    names: dict[int, str]  # number in file names -> channel
    codes: dict[str, list[float]]  # label -> the codes that make it
    cases: int
    ending: str

    @property
    def channels(self) -> dict[str, int]:
        """Channel -> its number in file names."""
        return {name: number for number, name in self.names.items()}


class NnunetDataset(DatasetFields):
    """Subjects from `imagesTr/<case>_0000.nii.gz`, `labelsTr/<case>.nii.gz` and `dataset.json`.

    Contrasts are dataset.json's channel names. A target's `values` are codes that it knows.
    """

    loader: Literal["nnunet"]

    def __call__(self) -> list[Subject]:
        """Find the training cases, in natural order of their names.

        Raises UserError when root or dataset.json is not there, when dataset.json disagrees with
        the configuration, or, in one error, for all that it and the folders disagree on and every
        file that is missing.
        """
        root = self.existing_root()
        told = _read(root / "dataset.json")
        self._check(root / "dataset.json", told)
        found = self._found(root, told)
        foreign = [*_other_endings(root, told), *_unknown_channels(root, told)]
        if foreign and not found:
            raise combined_error(f"no case in {root} that its dataset.json describes:", foreign)
        also = [*foreign, *_another_number(root, told, found)]
        return self.settle(root, found, f"imagesTr/<case>_0000{told.ending}", also)

    def _check(self, path: Path, told: _Description) -> None:
        for contrast in self.contrasts:
            if contrast not in told.channels:
                there = (
                    f"{did_you_mean(contrast, told.channels)}; there are {listing(told.channels)}"
                )
                raise UserError(f"{path}: no channel '{contrast}'{there}")
            if list(told.names.values()).count(contrast) > 1:
                wrong = f"several channels are called '{contrast}'"
                raise UserError(f"{path}: {wrong}; give each a name of its own")
        known = {code for codes in told.codes.values() for code in codes}
        labels = ", ".join(f"{name} {codes}" for name, codes in told.codes.items())
        for name, target in self.targets.items():
            for code in target.values or ():
                if code not in known:
                    raise UserError(
                        f"dataset.targets.{name}.values: {path} has no code {code}; it has {labels}"
                    )

    def _found(self, root: Path, told: _Description) -> list[Found]:
        """Every case that an image or a mask speaks of."""
        cases: dict[str, Found] = {}

        def case(name: str) -> Found:
            sought = {
                **{f"image {c}": self._image(root, name, c, told) for c in self.contrasts},
                **{f"mask {t}": f"labelsTr/{name}{told.ending}" for t in self.targets},
            }
            return cases.setdefault(name, Found(name, {"subject": name}, sought=sought))

        for path in _files(root / "imagesTr", f"*_????{told.ending}"):
            name, _, number = path.name.removesuffix(told.ending).rpartition("_")
            for contrast in self.contrasts:
                if f"{told.channels[contrast]:04}" == number:
                    case(name).images[contrast] = [path]
        for path in _files(root / "labelsTr", f"*{told.ending}"):
            for target in self.targets:
                case(path.name.removesuffix(told.ending)).add_label(target, Mask(path))
        return list(cases.values())

    @staticmethod
    def _image(root: Path, case: str, contrast: str, told: _Description) -> str:
        return str(root / "imagesTr" / f"{case}_{told.channels[contrast]:04}{told.ending}")


def _files(folder: Path, pattern: str) -> list[Path]:
    """The files that match, but those that are hidden (`._a.nii.gz` of macOS)."""
    return [path for path in sorted(folder.glob(pattern)) if not path.name.startswith(".")]


def _other_endings(root: Path, told: _Description) -> Iterator[str]:
    """NIfTI files that dataset.json's file_ending passes over."""
    for folder in ("imagesTr", "labelsTr"):
        names = [path.name for path in _files(root / folder, "*.nii*")]
        others = [name for name in names if not name.endswith(told.ending)]
        if others:
            yield (
                f"{root / 'dataset.json'}: file_ending is {told.ending}, but {folder} holds "
                f"{listing(others)}; rename or convert them, or correct file_ending"
            )


def _unknown_channels(root: Path, told: _Description) -> Iterator[str]:
    """Images whose name ends in the number of no channel of dataset.json."""
    known = ", ".join(f"_{number:04} {name}" for number, name in told.names.items())
    endings = tuple(f"_{number:04}{told.ending}" for number in told.names)
    names = [path.name for path in _files(root / "imagesTr", f"*{told.ending}")]
    others = [name for name in names if not name.endswith(endings)]
    if others:
        yield (
            f"{root / 'dataset.json'}: its channels are {known}, but imagesTr holds "
            f"{listing(others)}; rename them, or correct channel_names"
        )


def _another_number(root: Path, told: _Description, found: Sequence[Found]) -> Iterator[str]:
    """Another number of cases than dataset.json tells."""
    if found and len(found) != told.cases:
        yield (
            f"{root / 'dataset.json'}: numTraining is {told.cases}, but imagesTr and labelsTr "
            f"hold {len(found)} cases ({listing(one.name for one in found)}); files are missing, "
            "or correct the number"
        )


def _read(path: Path) -> _Description:
    try:
        told: Mapping[str, Any] = read_json(path)
        channels = told.get("channel_names") or told["modality"]  # version 1 called it modality
        labels = {str(name): codes for name, codes in told["labels"].items()}
        if all(name.isdecimal() for name in labels):  # version 1: {"1": "lesion"}
            labels = {str(name): int(code) for code, name in labels.items()}
        return _Description(
            names={int(number): str(name) for number, name in channels.items()},
            codes={n: list(c) if isinstance(c, list) else [c] for n, c in labels.items()},
            cases=int(told["numTraining"]),
            ending=str(told.get("file_ending", ".nii.gz")),
        )
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); is it nnU-Net raw?") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{path}: is no dataset.json of nnU-Net ({reason}); it needs channel_names, labels "
            "and numTraining"
        ) from error

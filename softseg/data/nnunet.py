"""The loader `nnunet`: a folder in nnU-Net's raw format, its training part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from softseg.data.dataset import DatasetFields
from softseg.data.found import Found, Mask
from softseg.data.names import listed, nearest
from softseg.data.subjects import Subject
from softseg.errors import UserError


@dataclass(frozen=True)
class _Description:
    """What dataset.json says."""

    channels: dict[str, int]  # name -> number in file names
    codes: dict[str, list[float]]  # label -> the codes that make it
    cases: int
    ending: str


class NnunetDataset(DatasetFields):
    """Subjects from `imagesTr/<case>_0000.nii.gz`, `labelsTr/<case>.nii.gz` and `dataset.json`.

    Contrasts are dataset.json's channel names. A target's `values` are codes that it knows.
    """

    loader: Literal["nnunet"]

    def __call__(self) -> list[Subject]:
        """Find the training cases, in natural order of their names.

        Raises UserError when root or dataset.json is not there, when dataset.json disagrees with
        the configuration or with the folders, or, in one error, for every file that is missing.
        """
        root = self.existing_root()
        told = _read(root / "dataset.json")
        self._check(root / "dataset.json", told)
        found = self._found(root, told)
        subjects = self.settle(root, found, f"imagesTr/<case>_0000{told.ending}")
        if len(found) != told.cases:
            raise UserError(
                f"{root / 'dataset.json'}: numTraining is {told.cases}, but imagesTr and labelsTr "
                f"hold {len(found)} cases; files are missing, or correct the number"
            )
        return subjects

    def _check(self, path: Path, told: _Description) -> None:
        for contrast in self.contrasts:
            if contrast not in told.channels:
                there = f"{nearest(contrast, told.channels)}; there are {listed(told.channels)}"
                raise UserError(f"{path}: no channel '{contrast}'{there}")
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

        for path in sorted((root / "imagesTr").glob(f"*_????{told.ending}")):
            name, _, number = path.name.removesuffix(told.ending).rpartition("_")
            for contrast in self.contrasts:
                if f"{told.channels[contrast]:04}" == number:
                    case(name).images[contrast] = [path]
        for path in sorted((root / "labelsTr").glob(f"*{told.ending}")):
            for target in self.targets:
                case(path.name.removesuffix(told.ending)).add_label(target, Mask(path))
        return list(cases.values())

    @staticmethod
    def _image(root: Path, case: str, contrast: str, told: _Description) -> str:
        return str(root / "imagesTr" / f"{case}_{told.channels[contrast]:04}{told.ending}")


def _read(path: Path) -> _Description:
    try:
        told: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        channels = told.get("channel_names") or told["modality"]  # version 1 called it modality
        labels = {str(name): codes for name, codes in told["labels"].items()}
        if all(name.isdecimal() for name in labels):  # version 1: {"1": "lesion"}
            labels = {str(name): int(code) for code, name in labels.items()}
        return _Description(
            channels={str(name): int(number) for number, name in channels.items()},
            codes={n: list(c) if isinstance(c, list) else [c] for n, c in labels.items()},
            cases=int(told["numTraining"]),
            ending=str(told.get("file_ending", ".nii.gz")),
        )
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); is it nnU-Net raw?") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{path}: is no dataset.json of nnU-Net ({reason}); it needs channel_names, labels "
            "and numTraining"
        ) from error

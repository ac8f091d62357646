"""The loader `nnunet`: the training part of a folder in nnU-Net's raw format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import field_validator

from softseg.core.errors import UserError, combined_error
from softseg.core.files import read_json
from softseg.core.names import listing, unknown_name
from softseg.data.loaders.base import DatasetFields
from softseg.data.subject import MaskFile, Subject, SubjectFiles


@dataclass(frozen=True)
class _DatasetJson:
    """The content of dataset.json."""

    names: dict[int, str]  # number in file names -> channel
    codes: dict[str, list[float]]  # label -> its codes
    cases: int
    ending: str

    @classmethod
    def read(cls, path: Path) -> _DatasetJson:
        """Read version 1 or 2. Raises UserError for a file that is missing or is neither."""
        try:
            content: Mapping[str, Any] = read_json(path)
            # version 1 called it modality
            channels = content.get("channel_names") or content["modality"]
            labels = {str(name): codes for name, codes in content["labels"].items()}
            if all(name.isdecimal() for name in labels):  # version 1: {"1": "lesion"}
                labels = {str(name): int(code) for code, name in labels.items()}
            return cls(
                names={int(number): str(name) for number, name in channels.items()},
                codes={n: list(c) if isinstance(c, list) else [c] for n, c in labels.items()},
                cases=int(content["numTraining"]),
                ending=str(content.get("file_ending", ".nii.gz")),
            )
        except OSError as error:
            raise UserError(
                f"{path}: cannot be read ({error.strerror}); is the folder in nnU-Net's raw format?"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise UserError(
                f"{path}: is not a dataset.json of nnU-Net ({reason}); it needs channel_names, "
                "labels and numTraining"
            ) from error


class NnunetDataset(DatasetFields):
    """Subjects from `imagesTr/<case>_0000.nii.gz`, `labelsTr/<case>.nii.gz` and `dataset.json`.

    Contrasts are the channel names of dataset.json. A target's `values` are codes of its labels.
    """

    unused_target_keys: ClassVar = dict.fromkeys(
        ("label", "suffix", "contrast"), "remove it: masks are labelsTr/<case>"
    )

    loader: Literal["nnunet"]

    @field_validator("roi")
    @classmethod
    def _reject_roi(cls, roi: str | None) -> None:
        if roi is not None:
            raise ValueError("nnU-Net's format has no ROI masks: remove it, or use loader: files")

    def __call__(self) -> list[Subject]:
        """Find the training cases, in natural order.

        Raises UserError if dataset.json disagrees with the configuration, and, as
        `resolve_subjects`, for every disagreement with the folders and every missing file.
        """
        root = self.existing_root()
        path = root / "dataset.json"
        description = _DatasetJson.read(path)
        self._check_description(path, description)
        files = self._subject_files(root, description)
        problems = list(_folder_problems(root, description))
        if problems and not files:
            raise combined_error(f"no case in {root} fits its dataset.json:", problems)
        if files and len(files) != description.cases:
            names = listing(case.name for case in files)
            problems.append(
                f"{path}: numTraining is {description.cases}, but imagesTr and labelsTr hold "
                f"{len(files)} cases ({names}); files are missing, or correct the number"
            )
        searched = f"imagesTr/<case>_0000{description.ending}"
        return self.resolve_subjects(root, files, searched, problems)

    def _check_description(self, path: Path, description: _DatasetJson) -> None:
        """Raise UserError for a contrast or a code that dataset.json does not have."""
        channels = list(description.names.values())
        for contrast in self.contrasts:
            if contrast not in channels:
                raise UserError(f"{path}: {unknown_name('channel', contrast, channels)}")
            if channels.count(contrast) > 1:
                raise UserError(
                    f"{path}: several channels are called '{contrast}'; give each a name of its own"
                )
        codes = {code for values in description.codes.values() for code in values}
        labels = ", ".join(f"{name} {values}" for name, values in description.codes.items())
        for name, target in self.targets.items():
            for code in target.values or ():
                if code not in codes:
                    raise UserError(
                        f"dataset.targets.{name}.values: {path} has no code {code}; it has {labels}"
                    )

    def _subject_files(self, root: Path, description: _DatasetJson) -> list[SubjectFiles]:
        """Return every case that has an image or a mask."""
        ending = description.ending
        channels = {name: f"{number:04}" for number, name in description.names.items()}
        numbers = {contrast: channels[contrast] for contrast in self.contrasts}
        cases: dict[str, SubjectFiles] = {}

        def case(name: str) -> SubjectFiles:
            images = {
                f"image {contrast}": str(root / "imagesTr" / f"{name}_{number}{ending}")
                for contrast, number in numbers.items()
            }
            masks = {f"mask {target}": f"labelsTr/{name}{ending}" for target in self.targets}
            files = SubjectFiles(name, {"subject": name}, searched=images | masks)
            return cases.setdefault(name, files)

        for path in _visible_files(root / "imagesTr", f"*_????{ending}"):
            name, _, ending_number = path.name.removesuffix(ending).rpartition("_")
            for contrast, number in numbers.items():
                if number == ending_number:
                    case(name).images[contrast] = [path]
        for path in _visible_files(root / "labelsTr", f"*{ending}"):
            for target in self.targets:
                case(path.name.removesuffix(ending)).labels[target].append(MaskFile(path))
        return list(cases.values())


def _visible_files(folder: Path, pattern: str) -> list[Path]:
    """Return the files that match, except hidden ones (`._a.nii.gz` of macOS)."""
    return [path for path in sorted(folder.glob(pattern)) if not path.name.startswith(".")]


def _folder_problems(root: Path, description: _DatasetJson) -> Iterator[str]:
    """Yield what is wrong with NIfTI files that do not fit file_ending or channel_names."""
    path, ending = root / "dataset.json", description.ending
    for folder in ("imagesTr", "labelsTr"):
        files = _visible_files(root / folder, "*.nii*")
        others = [file.name for file in files if not file.name.endswith(ending)]
        if others:
            yield (
                f"{path}: file_ending is {ending}, but {folder} holds {listing(others)}; rename or "
                "convert them, or correct file_ending"
            )
    channels = ", ".join(f"_{number:04} {name}" for number, name in description.names.items())
    endings = tuple(f"_{number:04}{ending}" for number in description.names)
    names = [file.name for file in _visible_files(root / "imagesTr", f"*{ending}")]
    others = [name for name in names if not name.endswith(endings)]
    if others:
        yield (
            f"{path}: its channels are {channels}, but imagesTr holds {listing(others)}; rename "
            "them, or correct channel_names"
        )

"""The same three subjects in the layout of every loader, and the errors about them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from softseg import data
from softseg.data import DatasetError
from tests.support.makers import ball, nifti, scan

NAMES = ("sub-1", "sub-2", "sub-3")
CONTRASTS = ("T1w", "T2w")


@dataclass(frozen=True)
class ExampleDataset:
    """Three subjects with two contrasts and the target gm, segmented by the raters r1 and r2."""

    root: Path
    spec: dict[str, Any]
    image: Callable[[str, str], str]
    mask: Callable[[str, str], str]

    def dataset(self, **changes):
        base = {"root": str(self.root), "contrasts": list(CONTRASTS), "targets": {"gm": {}}}
        return data.build({**base, **self.spec, **changes})

    def remove(self, *names: str) -> None:
        for name in names:
            (self.root / name).unlink()


def files(root: Path) -> ExampleDataset:
    spec = {"loader": "files", "image": "{subject}/{contrast}.nii*"}
    spec["label"] = "{subject}/gm_{rater}.nii*"
    return ExampleDataset(root, spec, "{}/{}.nii.gz".format, "{}/gm_{}.nii.gz".format)


def bids(root: Path) -> ExampleDataset:
    targets = {"gm": {"suffix": "gm-{rater}", "contrast": "T1w"}}
    mask = "derivatives/labels/{0}/anat/{0}_T1w_gm-{1}.nii.gz".format
    return ExampleDataset(
        root, {"loader": "bids", "targets": targets}, "{0}/anat/{0}_{1}.nii.gz".format, mask
    )


def table(root: Path) -> ExampleDataset:
    spec = {"loader": "table", "file": "list.csv"}
    return ExampleDataset(root, spec, "x/{}{}.nii.gz".format, "y/{}{}.nii.gz".format)


def nnunet(root: Path) -> ExampleDataset:
    def image(name: str, contrast: str) -> str:
        return f"imagesTr/{name}_{CONTRASTS.index(contrast):04}.nii.gz"

    return ExampleDataset(
        root, {"loader": "nnunet"}, image, lambda name, _: f"labelsTr/{name}.nii.gz"
    )


def write_dataset_json(root: Path, **changes: Any) -> None:
    channels = {str(number): name for number, name in enumerate(CONTRASTS)}
    content = {"channel_names": channels, "labels": {"background": 0, "gm": 1}, "numTraining": 3}
    (root / "dataset.json").write_text(json.dumps({**content, **changes}))


LOADERS = {loader.__name__: loader for loader in (files, bids, table, nnunet)}
WITH_RATERS = ["files", "bids", "table"]


def make_example(loader: str, root: Path) -> ExampleDataset:
    example = LOADERS[loader](root)
    lines = ["subject,T1w,T2w,gm:r1,gm:r2"]
    for seed, name in enumerate(NAMES):
        images = [example.image(name, contrast) for contrast in CONTRASTS]
        masks = [example.mask(name, rater) for rater in ("r1", "r2")]
        for number, path in enumerate(images):
            nifti(root / path, scan(10 * seed + number))
        for path in masks:
            nifti(root / path, ball(soft=False))
        lines.append(",".join([name, *images, *masks]))
    (root / "list.csv").write_text("\n".join(lines) + "\n")
    write_dataset_json(root)
    return example


def error_of(example: ExampleDataset, **changes: Any) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        example.dataset(**changes)()
    for word in (*caught.value.problems, str(example.root), "add the files", "dataset.exclude"):
        assert word in str(caught.value)
    return caught.value


def only_problem_of_sub_2(error: DatasetError) -> str:
    """Return the only problem, which is that of sub-2."""
    [problem] = error.problems
    assert problem.startswith("sub-2: ")
    assert [subject.name for subject in error.sound] == ["sub-1", "sub-3"]
    return problem

"""The same three subjects laid out for every loader, and what is refused about them."""

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
class Laid:
    """Three subjects with two contrasts and the target gm, drawn by the raters r1 and r2."""

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


def files(root: Path) -> Laid:
    spec = {"loader": "files", "image": "{subject}/{contrast}.nii*"}
    spec["label"] = "{subject}/gm_{rater}.nii*"
    return Laid(root, spec, "{}/{}.nii.gz".format, "{}/gm_{}.nii.gz".format)


def bids(root: Path) -> Laid:
    targets = {"gm": {"suffix": "gm-{rater}", "contrast": "T1w"}}
    mask = "derivatives/labels/{0}/anat/{0}_T1w_gm-{1}.nii.gz".format
    return Laid(
        root, {"loader": "bids", "targets": targets}, "{0}/anat/{0}_{1}.nii.gz".format, mask
    )


def table(root: Path) -> Laid:
    spec = {"loader": "table", "file": "list.csv"}
    return Laid(root, spec, "x/{}{}.nii.gz".format, "y/{}{}.nii.gz".format)


def nnunet(root: Path) -> Laid:
    def image(name: str, contrast: str) -> str:
        return f"imagesTr/{name}_{CONTRASTS.index(contrast):04}.nii.gz"

    return Laid(root, {"loader": "nnunet"}, image, lambda name, _: f"labelsTr/{name}.nii.gz")


def tell(root: Path, **changes: Any) -> None:
    channels = {str(number): name for number, name in enumerate(CONTRASTS)}
    told = {"channel_names": channels, "labels": {"background": 0, "gm": 1}, "numTraining": 3}
    (root / "dataset.json").write_text(json.dumps({**told, **changes}))


LOADERS = {one.__name__: one for one in (files, bids, table, nnunet)}
WITH_RATERS = ["files", "bids", "table"]


def lay(loader: str, root: Path) -> Laid:
    laid = LOADERS[loader](root)
    lines = ["subject,T1w,T2w,gm:r1,gm:r2"]
    for seed, name in enumerate(NAMES):
        images = [laid.image(name, contrast) for contrast in CONTRASTS]
        masks = [laid.mask(name, rater) for rater in ("r1", "r2")]
        for number, path in enumerate(images):
            nifti(root / path, scan(10 * seed + number))
        for path in masks:
            nifti(root / path, ball(soft=False))
        lines.append(",".join([name, *images, *masks]))
    (root / "list.csv").write_text("\n".join(lines) + "\n")
    tell(root)
    return laid


def refused(laid: Laid, **changes: Any) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        laid.dataset(**changes)()
    for word in (*caught.value.problems, str(laid.root), "add the files", "dataset.exclude"):
        assert word in str(caught.value)
    return caught.value


def only_of_sub_2(error: DatasetError) -> str:
    """The one problem, of which nobody else is blamed."""
    [problem] = error.problems
    assert problem.startswith("sub-2: ")
    assert [one.name for one in error.sound] == ["sub-1", "sub-3"]
    return problem

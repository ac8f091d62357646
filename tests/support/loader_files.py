"""One subject with a T1w scan and a mask, in the files of every loader.

Each function writes them and returns the keys of the dataset and of its target.
"""

from __future__ import annotations

import json

from tests.support import makers


def files(root, mask):
    makers.nifti(root / "s_T1w.nii.gz", makers.scan())
    makers.nifti(root / "s_seg.nii.gz", mask)
    patterns = {"image": "{subject}_{contrast}.nii.gz", "label": "{subject}_seg.nii.gz"}
    return {"loader": "files", **patterns}, {}


def table(root, mask):
    files(root, mask)
    (root / "t.csv").write_text("subject,T1w,gm\ns,s_T1w.nii.gz,s_seg.nii.gz\n")
    return {"loader": "table", "file": "t.csv"}, {}


def bids(root, mask):
    makers.bids(root, names=["sub-s"])
    makers.nifti(root / "derivatives/labels/sub-s/anat/sub-s_T1w_seg-manual.nii.gz", mask)
    return {"loader": "bids"}, {"suffix": "seg-manual"}


def nnunet(root, mask, labels):
    makers.nifti(root / "imagesTr/s_0000.nii.gz", makers.scan())
    makers.nifti(root / "labelsTr/s.nii.gz", mask)
    describe(root, labels)
    return {"loader": "nnunet"}, {}


def describe(root, labels):
    """Write the dataset.json of nnU-Net."""
    content = {"channel_names": {"0": "T1w"}, "labels": labels, "numTraining": 1}
    (root / "dataset.json").write_text(json.dumps({**content, "file_ending": ".nii.gz"}))

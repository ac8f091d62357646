"""Scans for the converted configurations: a BIDS folder with noise or with a phantom."""

from __future__ import annotations

from pathlib import Path

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.datasets.phantom import write_phantom
from softseg.interop.from_ivadomed.convert import convert, write_config
from tests.support import makers
from tests.support.ivadomed.published import CONTRASTS, SUFFIX, published, save

TINY = ("model.filters=2", "trainer.max_epochs=1", "trainer.threads=1", "trainer.device=cpu",
        "evaluate.metrics.calibration_margin_mm=null")  # fmt: skip
CENTERS = {"institution_id": ["a", "a", "b", "b"], "disability": ["yes", "no", "yes", "no"]}
LAYOUTS = {"scgm": "scgm", "ms": "msseg2016", "brats": "brats2019"}
# the paper's contrasts in the names of the challenges' files
FILES = {
    "scgm": {"T2star": "{stem}-image"},
    "ms": {
        "FLAIR": "Preprocessed_Data/FLAIR_preprocessed",
        "ce-T1w": "Preprocessed_Data/GADO_preprocessed",
        "PD": "Preprocessed_Data/DP_preprocessed",
        "T1w": "Preprocessed_Data/T1_preprocessed",
        "T2w": "Preprocessed_Data/T2_preprocessed",
    },
    "brats": {
        "FLAIR": "{stem}_flair",
        "T2w": "{stem}_t2",
        "T1w": "{stem}_t1",
        "ce-T1w": "{stem}_t1ce",
    },
}
MASK = {"scgm": "{stem}-fraction", "ms": "Masks/Fraction", "brats": "{stem}_fraction"}


def experiment_of(name: str, folder: Path, *sets: str) -> Experiment:
    """Return the converted configuration with a tiny network and its scans in `folder`/data."""
    file, out = save(published(name), folder), folder / f"{name}.yaml"
    write_config(convert(file), file, out)
    root = f"dataset.root={folder / 'data'}"
    return load_config(out, Experiment, [root, "dataset.cache=null", *TINY, *sets])


def noise(name: str, folder: Path) -> None:
    """Write four subjects of 8 x 6 x 4 voxels."""
    names = [f"sub-{number}" for number in range(4)]
    suffix = SUFFIX[name].removeprefix("_")
    makers.bids(folder / "data", names, CONTRASTS[name], suffix, CENTERS)


def phantom(name: str, folder: Path) -> None:
    """Write three subjects of a phantom, with the file names of BIDS and ivadomed."""
    write_phantom(folder / "phantom", LAYOUTS[name], subjects=3)
    rows = ["participant_id\tinstitution_id"]
    for number, (source, stem) in enumerate(_subjects(name, folder / "phantom"), start=1):
        subject = f"sub-{number}"
        for contrast, file in FILES[name].items():
            _link(source / f"{file.format(stem=stem)}.nii.gz",
                  folder / "data" / subject / "anat" / f"{subject}_{contrast}.nii.gz")  # fmt: skip
        mask = f"{subject}_{CONTRASTS[name][0]}{SUFFIX[name]}.nii.gz"
        labels = folder / "data" / "derivatives" / "labels"
        _link(source / f"{MASK[name].format(stem=stem)}.nii.gz", labels / subject / "anat" / mask)
        rows.append(f"{subject}\tcentre{number}")
    (folder / "data" / "participants.tsv").write_text("\n".join(rows) + "\n")


def _subjects(name: str, root: Path) -> list[tuple[Path, str]]:
    """Return each subject's folder in a phantom, and the start of its files' names."""
    pattern = {"scgm": "*-image.nii.gz", "ms": "Center_*/Patient_*", "brats": "*GG/*"}[name]
    paths = sorted(root.glob(pattern))
    if name == "scgm":
        return [(root, path.name.removesuffix("-image.nii.gz")) for path in paths]
    return [(path, path.name) for path in paths]


def _link(file: Path, link: Path) -> None:
    assert file.is_file(), file
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(file)

"""Errors of the Python API speak of its arguments; the command's options stay in the command."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import softseg
from softseg.core.errors import UserError, python_arguments
from softseg.inference.segmenter import Segmenter
from tests.support import makers, project

SOURCE = Path(softseg.__file__).parent
OPTION = re.compile(r"(?<![\w-])--([a-z][a-z-]*)")
NOT_REACHED = {
    "softseg/ablation": "ablations are not part of the API",
    "softseg/package/reference.py": "a script with a command line of its own",
    "softseg/package/write.py": "packages are not part of the API",
    "softseg/package/onnx.py": "packages are not part of the API",
    "softseg/interop": "conversions are not part of the API",
    "softseg/cli": "the command itself",
    "softseg/scoring": "scores of segmentations of other tools are not part of the API",
    "softseg/check": "checks of data are not part of the API",
    "softseg/training/augmentation_sheet.py": "figures of augmentation are not part of the API",
    "softseg/runs/provenance.py": "options of git",
}
ONLY_WITH_THE_OPTION = {
    "training-crop", "frame", "uncertainty", "candidate", "allow-missing", "export", "port"
}  # fmt: skip


def translated(message):
    with pytest.raises(UserError) as caught, python_arguments():
        raise UserError(message)
    return str(caught.value)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "give it with --roi, or --center I,J,K",
            "give it with roi, or center=(i, j, k)",
        ),
        ("add --resume or --overwrite", "add resume=True or overwrite=True"),
        ("as with --set trainer.batch_size=1", 'as with changes=["trainer.batch_size=1"]'),
        ("--set trainer.max_epoch: unknown key", "changes, trainer.max_epoch: unknown key"),
        ("another set with --split validation", 'another set with split="validation"'),
        ("run eval with --threshold-search again", "run eval with threshold_search=True again"),
        ("see `softseg data check c.yaml --set a=b`", "see `softseg data check c.yaml --set a=b`"),
        ("data/a--b.nii.gz is damaged", "data/a--b.nii.gz is damaged"),
    ],
)
def test_options_become_arguments(message, expected):
    assert translated(message) == expected


def messages_with_options():
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE.parent).as_posix()
        if name.startswith(tuple(NOT_REACHED)):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documented = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if hasattr(node, "body")
            and isinstance(node.body, list)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and id(node) not in documented and OPTION.search(text):
                yield name, text


def test_every_option_in_a_message_is_an_argument_of_the_api():
    """A new message with another option must be thought of for Python, too."""
    functions = (getattr(softseg, name) for name in softseg.__all__ if name != "__version__")
    arguments = {name for f in functions for name in inspect.signature(f).parameters}
    arguments |= set(inspect.signature(Segmenter.__call__).parameters) | {"set"}
    unknown = []
    for file, message in messages_with_options():
        for option in OPTION.findall(re.sub(r"`?softseg [a-z][^,;:]*", "", message)):
            if option.replace("-", "_") not in arguments and option not in ONLY_WITH_THE_OPTION:
                unknown.append((file, option, message))
    assert not unknown


def test_the_api_is_listed_before_its_first_use():
    assert dir(softseg) == ["__version__", "evaluate", "load_model", "measure", "predict", "train"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    config = project.make(folder)
    changes = [f"dataset.root={folder / 'data'}", "trainer.max_epochs=1", "dataset.cache=null"]
    return softseg.load_model(softseg.train(config, changes=changes, out=folder / "r", quiet=True))


def test_a_model_is_one_line(model):
    line = "<tiny: T2star -> gm; loss adaptive_wing, head normrelu, epoch 1, cpu>"
    assert repr(model) == line
    assert repr(model.model) == line


@pytest.mark.parametrize("unit", ["mm", "meter"])
def test_an_image_of_nibabel_is_segmented_like_its_array(model, unit):
    affine = np.diag([0.5, 0.5, 3, 1])
    data = makers.scan(5)
    image = nib.Nifti1Image(data, affine if unit == "mm" else np.diag([5e-4, 5e-4, 3e-3, 1]))
    image.header.set_xyzt_units(unit)
    np.testing.assert_array_equal(model(image), model(data, affine=affine))


def test_images_on_other_grids_and_mixed_lists_are_rejected(model):
    data = makers.scan(5)
    first = nib.Nifti1Image(data, np.eye(4))
    other = nib.Nifti1Image(data, np.diag([2.0, 1, 1, 1]))
    with pytest.raises(UserError, match="image 2 of the list is on another grid"):
        model([first, other])
    with pytest.raises(UserError, match="give one kind"):
        model([first, data])
    with pytest.raises(UserError, match="leave out roi and center"):
        model(first, center=(1, 2, 3))

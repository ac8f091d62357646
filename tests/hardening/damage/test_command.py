"""The command on a data set in which every subject's scan is damaged in another way."""

from __future__ import annotations

import json
import zlib

import nibabel as nib
import numpy as np
import pytest

from softseg.cli import main as cli
from tests.support.damage.every import ON_DISK
from tests.support.damage.kinds import Accepted

YAML = """\
name: zoo
dataset:
  loader: files
  root: data
  image: "{subject}/{contrast}.nii*"
  label: "{subject}/gm.nii"
  contrasts: [scan]
  targets: {gm: {}}
  cache: null
split: {by: subject, test: 0.2, validation: 0.2}
preprocess: [{crop: {size: [16, 16]}}]
model: {name: unet2d, depth: 1, filters: 2}
loss: {name: mse}
trainer: {max_epochs: 1, device: cpu}
"""


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """A project with a subject of every kind; kind -> the file of its scan."""
    root, paths = tmp_path_factory.mktemp("zoo"), {}
    (root / "zoo.yaml").write_text(YAML)
    for number, kind in enumerate(ON_DISK):
        folder = root / "data" / f"k{number:03}"
        folder.mkdir(parents=True)
        made = kind.write(np.random.default_rng(zlib.crc32(kind.name.encode())), folder)
        mask = (np.arange(made.data.size) % 7 == 0).reshape(made.data.shape).astype(np.float32)
        place = made.affine if isinstance(kind.outcome, Accepted) else np.eye(4)
        nib.save(nib.Nifti2Image(mask, place), folder / "gm.nii")
        paths[kind] = str(made.path.relative_to(root))
    return root, paths


@pytest.fixture
def softseg(zoo, monkeypatch, capsys):
    """Run the command in the project; returns (status, output, errors)."""
    monkeypatch.chdir(zoo[0])

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["softseg", *arguments])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        said = capsys.readouterr()
        return exit_.value.code or 0, said.out, said.err

    return run


def test_check_lists_every_damaged_scan_and_no_other(zoo, softseg):
    status, out, _ = softseg("data", "check", "zoo.yaml", "--json")
    assert status == 2
    errors = [one for one in json.loads(out)["findings"] if one["severity"] == "error"]
    told = {one["path"]: f"{one['what']}; {one['do']}" for one in errors}
    assert len(told) == len(errors)
    for kind, path in zoo[1].items():
        if isinstance(kind.outcome, Accepted):
            assert path not in told, (kind.name, told[path])
        else:
            message = told.pop(path, "not told")
            assert all(word in message for word in kind.outcome.words), (kind.name, message)
    assert not told


def test_training_refuses_them_in_one_message_and_writes_nothing(zoo, softseg):
    root, paths = zoo
    status, _, err = softseg("train", "zoo.yaml")
    assert status == 2
    assert "Traceback" not in err
    for kind, path in paths.items():
        assert (f"{path}: " in err) == (not isinstance(kind.outcome, Accepted)), kind.name
    assert sorted(one.name for one in root.iterdir()) == ["data", "zoo.yaml"]

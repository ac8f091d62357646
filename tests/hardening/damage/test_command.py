"""The command on a dataset in which the scan of every subject is damaged in a different way."""

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
name: damaged
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
def project(tmp_path_factory):
    """A project with one subject of every kind of damage, and the file of each kind's scan."""
    root, paths = tmp_path_factory.mktemp("damaged"), {}
    (root / "damaged.yaml").write_text(YAML)
    for number, kind in enumerate(ON_DISK):
        folder = root / "data" / f"k{number:03}"
        folder.mkdir(parents=True)
        made = kind.write(np.random.default_rng(zlib.crc32(kind.name.encode())), folder)
        mask = (np.arange(made.data.size) % 7 == 0).reshape(made.data.shape).astype(np.float32)
        affine = made.affine if isinstance(kind.outcome, Accepted) else np.eye(4)
        nib.save(nib.Nifti2Image(mask, affine), folder / "gm.nii")
        paths[kind] = str(made.path.relative_to(root))
    return root, paths


@pytest.fixture
def softseg(project, monkeypatch, capsys):
    """Return a function that runs the command in the project: (status, output, errors)."""
    monkeypatch.chdir(project[0])

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["softseg", *arguments])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        captured = capsys.readouterr()
        return exit_.value.code or 0, captured.out, captured.err

    return run


def test_check_lists_every_damaged_scan_and_no_other(project, softseg):
    status, out, _ = softseg("data", "check", "damaged.yaml", "--json")
    assert status == 2
    errors = [entry for entry in json.loads(out)["findings"] if entry["severity"] == "error"]
    messages = {entry["path"]: f"{entry['what']}; {entry['do']}" for entry in errors}
    assert len(messages) == len(errors)
    for kind, path in project[1].items():
        if isinstance(kind.outcome, Accepted):
            assert path not in messages, (kind.name, messages[path])
        else:
            message = messages.pop(path, "not reported")
            assert all(word in message for word in kind.outcome.words), (kind.name, message)
    assert not messages


def test_training_rejects_all_of_them_in_one_message_and_writes_nothing(project, softseg):
    root, paths = project
    status, _, err = softseg("train", "damaged.yaml")
    assert status == 2
    assert "Traceback" not in err
    for kind, path in paths.items():
        assert (f"{path}: " in err) == (not isinstance(kind.outcome, Accepted)), kind.name
    assert sorted(path.name for path in root.iterdir()) == ["damaged.yaml", "data"]

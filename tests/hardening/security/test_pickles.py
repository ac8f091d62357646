"""A file that would run code when it is unpickled is rejected, and its code does not run."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from softseg.core.errors import UserError
from softseg.preprocess.cache import read_entry
from softseg.preprocess.store import read_shared_store
from softseg.runs.checkpoint import read_checkpoint
from softseg.training.recorder import read_progression

MARK = "pwned"


class Bomb:
    """Creates a folder in the working directory when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, (MARK,)


CHECKPOINT = {"model": Bomb(), "head": {}, "epoch": 1}


def bare(_):
    return pickle.dumps(CHECKPOINT)


def torch_zip(_):
    stream = io.BytesIO()
    torch.save(CHECKPOINT, stream)
    return stream.getvalue()


def torch_legacy(_):
    stream = io.BytesIO()
    torch.save(CHECKPOINT, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def changed(original):
    """Replace data.pkl in a valid checkpoint."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(original)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            new.writestr(name, bare(b"") if name.endswith("data.pkl") else old.read(name))
    return stream.getvalue()


def tar(_):
    """The format of torch 0.1, which torch before 2.6 unpickled even with weights_only=True."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(bare(b""))
            archive.addfile(entry, io.BytesIO(bare(b"")))
    return stream.getvalue()


def two_in_one(first):
    """Put another format before a ZIP archive, which is read from its end."""
    return lambda original: first(original) + original


def array(_):
    stream = io.BytesIO()
    np.save(stream, np.array([Bomb()], dtype=object), allow_pickle=True)
    return stream.getvalue()


FORMS = {
    "bare": bare, "zip": torch_zip, "legacy": torch_legacy, "changed": changed,
    "tar": tar, "bare and zip": two_in_one(bare), "legacy and zip": two_in_one(torch_legacy),
    "tar and zip": two_in_one(tar), "npy": array,
}  # fmt: skip


@pytest.fixture(params=FORMS.values(), ids=FORMS)
def crafted(request):
    return request.param


def not_run(folder):
    return not list(folder.rglob(MARK))


def test_unpickling_runs_the_code(here):
    pickle.loads(bare(b""))
    assert not not_run(here)
    shutil.rmtree(here / MARK)
    torch.load(io.BytesIO(changed((here / "run/checkpoints/best.pt").read_bytes())),
               weights_only=False)  # fmt: skip
    assert not not_run(here)


@pytest.mark.parametrize("name", ["best.pt", "last.pt"])
def test_a_malicious_checkpoint_is_rejected(here, crafted, name):
    path = here / "run/checkpoints" / name
    path.write_bytes(crafted(path.read_bytes()))
    with pytest.raises(UserError, match=rf"{name}: (cannot be read|contains more than weights)"):
        read_checkpoint(path)
    assert not_run(here)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("best.pt", ["eval", "run"]),
        ("best.pt", ["package", "run", "-o", "x.softseg"]),
        ("last.pt", ["train", "run/config.yaml", "--out", "run", "--resume"]),
        ("best.pt", ["train", "tiny.yaml", "--out", "new", "--set", "init_from=run"]),
    ],
)
def test_commands_reject_a_malicious_checkpoint(softseg, here, name, arguments):
    path = here / "run/checkpoints" / name
    path.write_bytes(changed(path.read_bytes()))
    status, errors = softseg(*arguments)
    assert status == 2
    assert errors.count("error: ") == 1
    assert name in errors
    assert not_run(here)


@pytest.mark.parametrize("form", [bare, torch_zip, torch_legacy, tar, array])
def test_a_malicious_cache_entry_is_rebuilt(softseg, here, form):
    entries = {path.name: path for path in (here / "runs/.cache").iterdir()}
    for path in entries.values():
        path.write_bytes(form(b""))
        assert read_entry(path) is None
    assert softseg("eval", "run")[0] == 0
    assert not_run(here)
    tested = [path for name, path in entries.items() if name.startswith("site1-")]
    assert len(tested) == 2
    assert all(read_entry(path) for path in tested)


def test_malicious_shared_slices_are_rejected(here):
    (here / "x.safetensors").write_bytes(array(b""))
    with pytest.raises(UserError, match="cannot be read"):
        read_shared_store(here / "x.safetensors")
    assert not_run(here)


def test_malicious_previews_are_ignored(here):
    for path in (here / "run/previews").iterdir():
        path.write_bytes(bare(b""))
    assert read_progression(here / "run") is None
    assert not_run(here)


@pytest.mark.parametrize("packed", [bytes, gzip.compress])
def test_a_malicious_scan_is_rejected(softseg, here, packed):
    path = here / "data/site1-sc01-image.nii.gz"
    path.write_bytes(packed(bare(b"")))
    status, errors = softseg("data", "check", "tiny.yaml")
    assert status == 2
    assert path.name in errors
    assert not_run(here)

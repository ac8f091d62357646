"""A file that would run code when it is unpickled is refused, and its code does not run."""

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
from softseg.preprocess.cache.entry import read_entry
from softseg.preprocess.cache.shared_stack import read_shared_stack
from softseg.runs.checkpoint import read_checkpoint
from softseg.training.previews import read_progression

MARK = "pwned"


class Bomb:
    """Makes a folder in the working directory."""

    def __reduce__(self):
        return os.mkdir, (MARK,)


HOLDING = {"model": Bomb(), "head": {}, "epoch": 1}


def bare(_):
    return pickle.dumps(HOLDING)


def as_torch_writes(_):
    stream = io.BytesIO()
    torch.save(HOLDING, stream)
    return stream.getvalue()


def as_torch_wrote(_):
    stream = io.BytesIO()
    torch.save(HOLDING, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def changed(original):
    """A sound checkpoint whose data.pkl is another."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(original)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            new.writestr(name, bare(b"") if name.endswith("data.pkl") else old.read(name))
    return stream.getvalue()


def tar(_):
    """The form of torch 0.1, which versions before 2.6 unpickled whatever they were told."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        for name in ("pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(bare(b""))
            made.addfile(entry, io.BytesIO(bare(b"")))
    return stream.getvalue()


def two_in_one(first):
    """A zip is read from its end: another form may stand before it."""
    return lambda original: first(original) + original


def array(_):
    stream = io.BytesIO()
    np.save(stream, np.array([Bomb()], dtype=object), allow_pickle=True)
    return stream.getvalue()


FORMS = {
    "bare": bare, "zip": as_torch_writes, "legacy": as_torch_wrote, "changed": changed,
    "tar": tar, "bare and zip": two_in_one(bare), "legacy and zip": two_in_one(as_torch_wrote),
    "tar and zip": two_in_one(tar), "npy": array,
}  # fmt: skip


@pytest.fixture(params=FORMS.values(), ids=FORMS)
def crafted(request):
    return request.param


def not_run(folder):
    return not list(folder.rglob(MARK))


def test_the_bomb_goes_off_where_it_is_unpickled(here):
    pickle.loads(bare(b""))
    assert not not_run(here)
    shutil.rmtree(here / MARK)
    torch.load(io.BytesIO(changed((here / "run/checkpoints/best.pt").read_bytes())),
               weights_only=False)  # fmt: skip
    assert not not_run(here)


@pytest.mark.parametrize("name", ["best.pt", "last.pt"])
def test_a_checkpoint(here, crafted, name):
    path = here / "run/checkpoints" / name
    path.write_bytes(crafted(path.read_bytes()))
    with pytest.raises(UserError, match=rf"{name}: (cannot be read|holds more than weights)"):
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
def test_a_checkpoint_given_to_the_command(softseg, here, name, arguments):
    path = here / "run/checkpoints" / name
    path.write_bytes(changed(path.read_bytes()))
    status, errors = softseg(*arguments)
    assert status == 2
    assert errors.count("error: ") == 1
    assert name in errors
    assert not_run(here)


@pytest.mark.parametrize("form", [bare, as_torch_writes, as_torch_wrote, tar, array])
def test_an_entry_of_the_cache_is_made_again(softseg, here, form):
    entries = {path.name: path for path in (here / "runs/.cache").iterdir()}
    for path in entries.values():
        path.write_bytes(form(b""))
        assert read_entry(path) is None
    assert softseg("eval", "run")[0] == 0
    assert not_run(here)
    tested = [path for name, path in entries.items() if name.startswith("site1-")]
    assert len(tested) == 2
    assert all(read_entry(path) for path in tested)


def test_shared_slices(here):
    (here / "x.safetensors").write_bytes(array(b""))
    with pytest.raises(UserError, match="cannot be read"):
        read_shared_stack(here / "x.safetensors")
    assert not_run(here)


def test_a_preview_is_left_out(here):
    for path in (here / "run/previews").iterdir():
        path.write_bytes(bare(b""))
    assert read_progression(here / "run") is None
    assert not_run(here)


@pytest.mark.parametrize("packed", [bytes, gzip.compress])
def test_a_scan(softseg, here, packed):
    path = here / "data/site1-sc01-image.nii.gz"
    path.write_bytes(packed(bare(b"")))
    status, errors = softseg("data", "check", "tiny.yaml")
    assert status == 2
    assert path.name in errors
    assert not_run(here)

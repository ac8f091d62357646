"""Every kind of damaged file ends as it is said to, in time, and leaves nothing behind."""

from __future__ import annotations

import signal
import time
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from softseg.data.nifti.io import FileError, Volume, read_grid, read_volume, write_like
from tests.support.damage.every import KINDS
from tests.support.damage.kinds import Accepted, Kind, Made

SECONDS = 5


def judged(kind: Kind, seed: int, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Make a file of a kind, read it, and hold what happens against what is stated."""
    rng = np.random.default_rng([seed, zlib.crc32(kind.name.encode())])
    made = kind.write(rng, folder)
    before = listing(folder)
    with patch.context() as faults:
        if kind.inject is not None:
            kind.inject(faults, made.path)
        volume, told = reading(made.path)
    assert listing(folder) == before, "reading wrote something"
    if isinstance(kind.outcome, Accepted):
        assert volume is not None, told
        as_made(volume, made)
        as_source(made)
    else:
        assert volume is None, f"accepted, but should be refused: {kind.outcome.words}"
        one_message(told, made.path, kind.outcome.words)


def reading(path: Path) -> tuple[Volume | None, str]:
    """What a file holds, or the refusal. No other exception, no warning, not for long."""
    volume, told = None, ""
    with soon(), warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            volume = read_volume(path)
        except FileError as error:
            told = str(error)
        try:
            grid = read_grid(path)
        except FileError:
            assert volume is None, "its header was refused, but not its voxels"
        else:
            assert volume is None or np.array_equal(grid.affine, volume.grid.affine)
    assert not heard, [str(one.message) for one in heard]
    return volume, told


@contextmanager
def soon() -> Iterator[None]:
    """Fail what takes longer than five seconds, even if it waits for ever."""

    def late(*_: object) -> None:
        raise AssertionError(f"not done after {SECONDS} s")

    start = time.monotonic()
    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - start < SECONDS


def listing(folder: Path) -> list[tuple[str, int, int]]:
    places = sorted(folder.rglob("*"))
    return [(str(p), p.lstat().st_size, p.lstat().st_mtime_ns) for p in places]


def as_made(volume: Volume, made: Made) -> None:
    assert volume.data.shape == volume.grid.shape == made.data.shape
    assert volume.data.dtype == np.float32
    np.testing.assert_allclose(volume.data, made.data, rtol=2e-5, atol=1e-4)
    np.testing.assert_allclose(volume.grid.affine, made.affine, rtol=1e-5, atol=1e-4)


def as_source(made: Made) -> None:
    """A prediction can be written that lies where the file lies."""
    out = made.path.parent / "prediction.nii.gz"
    mask = np.arange(made.data.size).reshape(made.data.shape).astype(np.float32)
    write_like(out, mask, made.path, np.float32)
    again = read_volume(out)
    np.testing.assert_array_equal(again.data, mask)
    np.testing.assert_allclose(again.grid.affine, made.affine, rtol=1e-5, atol=1e-4)


def one_message(told: str, path: Path, words: tuple[str, ...]) -> None:
    """`<path>: <what is wrong>; <what to do>`, in a line that can be read."""
    assert told.startswith(f"{path}: ")
    rest = told.removeprefix(f"{path}: ")
    wrong, _, mend = rest.rpartition("; ")
    assert len(wrong) > 5, told
    assert len(mend) > 5, told
    assert rest.isprintable(), repr(told)
    assert len(rest) < 300, told
    for word in words:
        assert word in rest, told


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_each_kind_of_damage_ends_as_stated(tmp_path, monkeypatch, kind):
    for seed in range(2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        judged(kind, seed, folder, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_each_kind_ends_as_stated_wherever_the_damage_lies(tmp_path, monkeypatch, kind):
    for seed in range(2, 20):
        folder = tmp_path / str(seed)
        folder.mkdir()
        judged(kind, seed, folder, monkeypatch)


def test_there_are_many_kinds_and_each_has_a_name_of_its_own():
    assert len(KINDS) >= 60
    assert len({kind.name for kind in KINDS}) == len(KINDS)

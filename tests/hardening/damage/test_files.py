"""Every kind of damaged file is read or rejected as expected, quickly, and nothing is written."""

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

from softseg.data.nifti.checks import FileError
from softseg.data.nifti.io import Volume, read_grid, read_volume, write_like
from tests.support.damage.every import KINDS
from tests.support.damage.kinds import Accepted, Kind, Made
from tests.support.damage.messages import check_message

SECONDS = 5


def check_kind(kind: Kind, seed: int, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Write a file of a kind, read it, and compare the result with the expected outcome."""
    rng = np.random.default_rng([seed, zlib.crc32(kind.name.encode())])
    made = kind.write(rng, folder)
    before = listing(folder)
    with patch.context() as faults:
        if kind.inject is not None:
            kind.inject(faults, made.path)
        volume, message = read_or_message(made.path)
    assert listing(folder) == before, "reading wrote something"
    if isinstance(kind.outcome, Accepted):
        assert volume is not None, message
        check_volume(volume, made)
        check_prediction(made)
    else:
        assert volume is None, f"accepted, but should be rejected: {kind.outcome.words}"
        check_message(message, made.path, kind.outcome.words)


def read_or_message(path: Path) -> tuple[Volume | None, str]:
    """Return the volume of a file, or the error message.

    Fails for any other exception, for a warning, and after five seconds.
    """
    volume, message = None, ""
    with time_limit(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            volume = read_volume(path)
        except FileError as error:
            message = str(error)
        try:
            grid = read_grid(path)
        except FileError:
            assert volume is None, "its header was rejected, but not its voxels"
        else:
            assert volume is None or np.array_equal(grid.affine, volume.grid.affine)
    assert not caught, [str(warning.message) for warning in caught]
    return volume, message


@contextmanager
def time_limit() -> Iterator[None]:
    """Fail if the body takes longer than five seconds, even if it waits forever."""

    def fail(*_: object) -> None:
        raise AssertionError(f"not done after {SECONDS} s")

    start = time.monotonic()
    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - start < SECONDS


def listing(folder: Path) -> list[tuple[str, int, int]]:
    paths = sorted(folder.rglob("*"))
    return [(str(p), p.lstat().st_size, p.lstat().st_mtime_ns) for p in paths]


def check_volume(volume: Volume, made: Made) -> None:
    assert volume.data.shape == volume.grid.shape == made.data.shape
    assert volume.data.dtype == np.float32
    np.testing.assert_allclose(volume.data, made.data, rtol=2e-5, atol=1e-4)
    np.testing.assert_allclose(volume.grid.affine, made.affine, rtol=1e-5, atol=1e-4)


def check_prediction(made: Made) -> None:
    """A prediction can be written on the grid of the file."""
    out = made.path.parent / "prediction.nii.gz"
    mask = np.arange(made.data.size).reshape(made.data.shape).astype(np.float32)
    write_like(out, mask, made.path, np.float32)
    again = read_volume(out)
    np.testing.assert_array_equal(again.data, mask)
    np.testing.assert_allclose(again.grid.affine, made.affine, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_each_kind_of_damage_has_its_expected_outcome(tmp_path, monkeypatch, kind):
    for seed in range(2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        check_kind(kind, seed, folder, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_each_kind_of_damage_has_its_expected_outcome_for_many_seeds(tmp_path, monkeypatch, kind):
    for seed in range(2, 20):
        folder = tmp_path / str(seed)
        folder.mkdir()
        check_kind(kind, seed, folder, monkeypatch)


def test_there_are_many_kinds_with_distinct_names():
    assert len(KINDS) >= 60
    assert len({kind.name for kind in KINDS}) == len(KINDS)

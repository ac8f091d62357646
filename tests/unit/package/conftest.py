"""A tiny trained and evaluated run and its package, for all tests of packages."""

from __future__ import annotations

import shutil

import pytest

from softseg.package import read_package
from softseg.runs.folder import Run
from tests.support.packaged_run import package_run, train_run


@pytest.fixture(scope="session")
def run(request, tmp_path_factory):
    """A run that tests only read, of a 3D network where a test asks for it."""
    return train_run(tmp_path_factory.mktemp("project-of-jane"), getattr(request, "param", 2))


@pytest.fixture(scope="session")
def packed(run, tmp_path_factory):
    """The run's package, which tests only read."""
    return package_run(run, tmp_path_factory.mktemp("packed") / "model.softseg")


@pytest.fixture(scope="session")
def package(packed):
    return read_package(packed)


@pytest.fixture
def copied(run, tmp_path):
    """A copy of the run, which a test may change."""
    shutil.copytree(run.folder, tmp_path / "copy")
    return Run(tmp_path / "copy")

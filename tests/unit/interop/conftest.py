"""The package of a tiny run, to export."""

from __future__ import annotations

import pytest

from tests.support.packaged_run import package_run, train_run


@pytest.fixture(scope="session")
def packed(tmp_path_factory):
    """The package of a tiny run; tests only read it."""
    run = train_run(tmp_path_factory.mktemp("project"))
    return package_run(run, tmp_path_factory.mktemp("packed") / "model.softseg")

"""A small ablation whose runs go to an empty folder."""

from __future__ import annotations

import pytest

from tests.support.planned_runs import make_study, plan_of


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory):
    """A project with study.yaml; tests only read it."""
    return make_study(tmp_path_factory.mktemp("project"))


@pytest.fixture
def study(study_folder, tmp_path, monkeypatch):
    """`study(*sets)` returns the design and its plan, whose runs are in tmp_path / "runs"."""
    monkeypatch.chdir(study_folder)
    return lambda *sets: plan_of(study_folder / "study.yaml", tmp_path / "runs", sets)

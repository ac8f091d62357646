"""What run.json records about the start of a run and about its resumptions."""

from __future__ import annotations

import json
import platform

import pytest
import torch

from softseg.runs.folder import Run
from softseg.runs.provenance import changed_versions, provenance, start_metadata
from tests.support.paths import ROOT


def test_provenance_records_versions_and_command():
    record = provenance()
    assert record["versions"]["python"] == platform.python_version()
    assert record["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {"softseg", "numpy", "nibabel"} < set(record["versions"])
    assert record["command"]
    json.dumps(record)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a source tree")
def test_provenance_records_the_commit_of_a_source_tree():
    assert provenance()["git_commit"]


def test_a_resumed_run_keeps_what_was_recorded_at_its_start(tmp_path):
    run = Run(tmp_path)
    run.update_metadata(**start_metadata(run, 0))
    start = run.metadata()
    run.update_metadata(versions={**start["versions"], "torch": "0.1"}, git_commit="first")
    run.update_metadata(**start_metadata(run, 3))
    run.update_metadata(**start_metadata(run, 7))
    metadata = run.metadata()
    assert (metadata["started"], metadata["git_commit"]) == (start["started"], "first")
    assert metadata["versions"]["torch"] == "0.1"
    assert [entry["after_epoch"] for entry in metadata["resumed"]] == [3, 7]
    assert metadata["resumed"][0]["versions"] == provenance()["versions"]


def test_versions_that_changed_since_the_start_are_listed(tmp_path):
    run = Run(tmp_path)
    run.update_metadata(**start_metadata(run, 0))
    assert changed_versions(run) == []
    run.update_metadata(versions={**run.metadata()["versions"], "torch": "0.1"})
    current = provenance()["versions"]["torch"]
    assert changed_versions(run) == [f"torch 0.1 -> {current}"]

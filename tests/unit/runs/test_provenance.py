"""With what a run was made, and with what it went on."""

from __future__ import annotations

import json
import platform

import torch

from softseg.runs.folder import Run
from softseg.runs.provenance import changed_versions, provenance, start_metadata


def test_provenance_says_with_what_and_where():
    known = provenance()
    assert known["versions"]["python"] == platform.python_version()
    assert known["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {"softseg", "numpy", "nibabel"} < set(known["versions"])
    assert known["command"]
    json.dumps(known)


def test_a_run_that_goes_on_keeps_how_it_began(tmp_path):
    run = Run(tmp_path)
    run.update_metadata(**start_metadata(run, 0))
    began = run.metadata()
    run.update_metadata(versions={**began["versions"], "torch": "0.1"}, git_commit="first")
    run.update_metadata(**start_metadata(run, 3))
    run.update_metadata(**start_metadata(run, 7))
    known = run.metadata()
    assert (known["started"], known["git_commit"]) == (began["started"], "first")
    assert known["versions"]["torch"] == "0.1"
    assert [one["after_epoch"] for one in known["resumed"]] == [3, 7]
    assert known["resumed"][0]["versions"] == provenance()["versions"]


def test_other_versions_than_at_the_beginning_are_told(tmp_path):
    run = Run(tmp_path)
    run.update_metadata(**start_metadata(run, 0))
    assert changed_versions(run) == []
    run.update_metadata(versions={**run.metadata()["versions"], "torch": "0.1"})
    current = provenance()["versions"]["torch"]
    assert changed_versions(run) == [f"torch 0.1 -> {current}"]

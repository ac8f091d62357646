"""`trainer.logger: mlflow`: the configuration and every epoch, in a database of the run."""

from __future__ import annotations

import importlib.util

import pytest

import softseg
from softseg.core.errors import UserError
from tests.support import project

CHANGES = ["trainer.logger=mlflow", "dataset.cache=null", "trainer.schedule={name: constant}"]


def test_without_the_package_the_message_says_what_to_install(tmp_path, monkeypatch):
    config = project.make(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    changes = [f"dataset.root={tmp_path / 'data'}", *CHANGES]
    with pytest.raises(UserError, match=r"pip install softseg\[mlflow\]"):
        softseg.train(config, changes=changes, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run/config.yaml").exists()


def test_a_run_and_its_resumption_are_one_run_of_mlflow(tmp_path):
    pytest.importorskip("mlflow", reason="mlflow is not installed: pip install softseg[mlflow]")
    from mlflow.tracking import MlflowClient

    config, run = project.make(tmp_path), tmp_path / "run"
    changes = [f"dataset.root={tmp_path / 'data'}", *CHANGES]
    softseg.train(config, changes=[*changes, "trainer.max_epochs=1"], out=run, quiet=True)
    more = [*changes, "trainer.max_epochs=2"]
    softseg.train(config, changes=more, out=run, resume=True, extend=True, quiet=True)
    client = MlflowClient(tracking_uri=f"sqlite:///{run / 'mlflow/mlflow.db'}")
    [experiment] = [e for e in client.search_experiments() if e.name == "softseg"]
    [logged] = client.search_runs([experiment.experiment_id])
    assert logged.info.status == "FINISHED"
    assert logged.data.params["loss.name"] == "adaptive_wing"
    history = client.get_metric_history(logged.info.run_id, "val_dice")
    assert [metric.step for metric in history] == [1, 2]
    assert [file.path for file in client.list_artifacts(logged.info.run_id)] == ["config.yaml"]

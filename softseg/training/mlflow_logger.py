"""Logging of a training to MLflow, in a folder of the run: nothing leaves the machine."""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from softseg.config.experiment import Experiment
from softseg.core.errors import UserError
from softseg.training.task import Record, State

_LONGEST = 500  # letters of a parameter's value that MLflow accepts in every version
_EXPERIMENT = "softseg"


def check_mlflow() -> None:
    """Raise UserError if the package mlflow is not installed."""
    if importlib.util.find_spec("mlflow") is None:
        raise UserError(
            "trainer.logger: mlflow needs the package mlflow: install it with "
            "`pip install softseg[mlflow]`, or use trainer.logger: tensorboard"
        )


class MLflowLogger:
    """Observes training: logs the configuration and every epoch to `mlflow/mlflow.db` of a run.

    A resumed run continues the same MLflow run. Show it with `mlflow ui --backend-store-uri
    sqlite:///RUN/mlflow/mlflow.db`.
    """

    def __init__(self, folder: Path, experiment: Experiment, start_epoch: int) -> None:
        # otherwise mlflow reports its use to its authors; it reads this when it is imported
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # not every table it creates
        place = (folder / "mlflow").resolve()
        place.mkdir(exist_ok=True)
        self._client = MlflowClient(tracking_uri=f"sqlite:///{place / 'mlflow.db'}")
        found = self._client.get_experiment_by_name(_EXPERIMENT)
        experiment_id = (
            found.experiment_id
            if found
            else self._client.create_experiment(_EXPERIMENT, (place / "artifacts").as_uri())
        )
        earlier = self._client.search_runs([experiment_id], max_results=1) if start_epoch else []
        if earlier:
            self._run = earlier[0].info.run_id
            self._client.update_run(self._run, "RUNNING")
            return
        run = self._client.create_run(experiment_id, run_name=experiment.name)
        self._run = run.info.run_id
        for key, value in _flat(experiment.model_dump(mode="json")):
            self._client.log_param(self._run, key, str(value)[:_LONGEST])
        self._client.log_artifact(self._run, str(folder / "config.yaml"))

    def step(self, slices: int) -> None:
        """Do nothing: epochs are logged."""

    def epoch(self, state: State, record: Record, best: bool, preview: Tensor) -> None:  # noqa: ARG002
        """Log the numbers of an epoch."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [
            Metric(key, float(value), now, state.epoch)
            for key, value in record.items()
            if key != "epoch" and math.isfinite(value)
        ]
        self._client.log_batch(self._run, metrics=metrics)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Mark the run as finished, or as one that may be resumed."""
        self._client.set_terminated(self._run, "FINISHED" if kind is None else "KILLED")


def _flat(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield `trainer.max_epochs`, 200: every key of nested mappings with its value."""
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, values

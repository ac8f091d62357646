"""nnU-Net's side of `scripts/bench`: runs in an environment with nnU-Net, on one thread.

Called with a folder that holds `raw/Dataset001_scans`. Plans and preprocesses the scans, creates a
network, and prints the plan as a line of JSON. Then each line of JSON on stdin names a work, and
the answer is a line with its CPU time and its wall time in seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

DATASET, CONFIGURATION = "Dataset001_scans", "3d_fullres"
FOLDERS = {"nnUNet_raw": "raw", "nnUNet_preprocessed": "preprocessed", "nnUNet_results": "results"}


class Worker:
    """The loader and the predictor of nnU-Net, for a network with random weights."""

    def __init__(self, folder: Path) -> None:
        import torch
        from nnunetv2.experiment_planning import plan_and_preprocess_api as api
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

        torch.set_num_threads(1)
        self.folder, self.device = folder, torch.device("cpu")
        api.extract_fingerprints([1], num_processes=1, show_progress_bar=False)
        api.plan_experiments([1])
        api.preprocess(
            [1], configurations=(CONFIGURATION,), num_processes=(1,), show_progress_bar=False
        )
        os.environ |= {"nnUNet_n_proc_DA": "0"}  # batches are made in this process
        preprocessed = folder / "preprocessed" / DATASET
        self.plans = json.loads((preprocessed / "nnUNetPlans.json").read_text())
        self.dataset = json.loads((preprocessed / "dataset.json").read_text())
        arguments = {**self.plans, "continue_training": False}
        trainer = nnUNetTrainer(arguments, CONFIGURATION, 0, self.dataset, device=self.device)
        trainer.initialize()
        self.loader, _ = trainer.get_dataloaders()
        self.predictors = self._save_and_open(trainer)

    def _save_and_open(self, trainer: Any) -> dict[bool, Any]:
        """Write the files of a trained network; return its predictor without and with mirroring."""
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        fold = Path(trainer.output_folder)
        fold.mkdir(parents=True, exist_ok=True)
        trainer.save_checkpoint(str(fold / "checkpoint_final.pth"))
        for name, content in (("plans", self.plans), ("dataset", self.dataset)):
            (fold.parent / f"{name}.json").write_text(json.dumps(content))
        predictors = {}
        for mirror in (False, True):
            predictors[mirror] = nnUNetPredictor(
                use_mirroring=mirror, device=self.device, allow_tqdm=False
            )
            predictors[mirror].initialize_from_trained_model_folder(str(fold.parent), (0,))
        return predictors

    def load(self, patches: int) -> int:
        """Take at least so many patches from the loader of training; return how many these were."""
        taken = 0
        while taken < patches:
            taken += len(next(self.loader)["data"])
        return taken

    def predict(self, images: list[str], mirror: bool) -> int:
        """Predict scans one after the other, from file to file."""
        out = self.folder / "predicted"
        out.mkdir(exist_ok=True)
        files = [str(out / Path(image).name.split(".")[0]) for image in images]
        self.predictors[mirror].predict_from_files_sequential([[i] for i in images], files)
        return len(images)


def main() -> None:
    folder, answers = Path(sys.argv[1]), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what nnU-Net prints does not mix with the answers
    for variable, name in FOLDERS.items():
        os.environ[variable] = str(folder / name)
        (folder / name).mkdir(exist_ok=True)
    os.environ |= {"nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "1", "nnUNet_compile": "f"}
    with contextlib.redirect_stdout(sys.stderr):
        worker = Worker(folder)
        print(json.dumps(worker.plans["configurations"][CONFIGURATION]), file=answers, flush=True)
        for line in sys.stdin:
            name, arguments = json.loads(line)
            cpu, wall = time.process_time(), time.perf_counter()
            count = getattr(worker, name)(*arguments)
            seconds = [time.process_time() - cpu, time.perf_counter() - wall]
            print(json.dumps([count, *seconds]), file=answers, flush=True)


if __name__ == "__main__":
    main()

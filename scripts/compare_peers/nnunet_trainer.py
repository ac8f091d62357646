"""nnU-Net's trainer with the schedule of schedule.json, next to this file."""

import json
from pathlib import Path

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

torch.set_num_threads(1)  # -device cpu would use all cores


class nnUNetTrainerSchedule(nnUNetTrainer):  # noqa: N801 - nnU-Net finds it by this name
    """Trains for fewer and shorter epochs."""

    def __init__(self, plans, configuration, fold, dataset_json, device):
        super().__init__(plans, configuration, fold, dataset_json, device)
        schedule = json.loads(Path(__file__).with_name("schedule.json").read_text())
        self.num_epochs = schedule["epochs"]
        self.num_iterations_per_epoch = schedule["steps"]
        self.num_val_iterations_per_epoch = schedule["validation_steps"]

    def perform_actual_validation(self, save_probabilities=False):
        """Do not predict the validation scans; nothing is chosen by their scores."""

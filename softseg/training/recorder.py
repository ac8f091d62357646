"""Writes the results of every epoch: checkpoints, history.csv, previews, TensorBoard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from softseg.core.files import write_atomically
from softseg.data.nifti.grid import upright
from softseg.training.previews import write_preview, write_preview_slice
from softseg.training.state import Record, State, save, save_weights


class RunRecorder:
    """Observes a training and writes its run's folder.

    `images` (P, C, H, W) and `targets` (P, K, H, W) are the preview slices.
    """

    def __init__(
        self, folder: Path, start_epoch: int, images: Tensor, targets: Tensor, images_every: int
    ) -> None:
        self.folder = folder
        self.images_every = images_every
        self._preview_columns = [normalized(images[:, :1]), targets[:, :1].cpu()]
        (folder / "checkpoints").mkdir(exist_ok=True)
        write_preview_slice(folder, images[0], targets[0])
        # a resumed run overwrites what the interrupted one logged after its last checkpoint
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=start_epoch + 1)

    def step(self, slices: int) -> None:
        """Do nothing: results are written after an epoch."""

    def epoch(self, state: State, record: Record, best: bool, preview: Tensor) -> None:
        """Write one epoch; `last.pt` last, since resuming from it repeats everything else."""
        self._log(record, preview)
        write_preview(self.folder, state.epoch, preview[0])
        if best:
            save_weights(state, self.folder / "checkpoints" / "best.pt")
        table = pd.DataFrame(state.history).astype({"epoch": int})
        write_atomically(self.folder / "history.csv", table.to_csv(index=False))
        save(state, self.folder / "checkpoints" / "last.pt")

    def close(self) -> None:
        """Flush TensorBoard's events."""
        self._board.close()

    def _log(self, record: Record, preview: Tensor) -> None:
        """Write the scalars of an epoch, and pictures if they are due, to TensorBoard."""
        epoch = int(record["epoch"])
        for key, value in record.items():
            if key != "epoch":
                self._board.add_scalar(key, value, epoch)
        if self.images_every and (epoch == 1 or epoch % self.images_every == 0):
            columns = (*self._preview_columns, preview[:, :1].cpu())
            # (P, 1, W, 3H): input, target, prediction of each slice next to each other
            rows = np.concatenate([upright(column.numpy()) for column in columns], axis=3)
            self._board.add_images("input | target | prediction", rows, epoch)


def normalized(image: Tensor) -> Tensor:
    """Each slice (P, 1, H, W) stretched to [0, 1] for viewing."""
    low, high = image.amin(dim=(2, 3), keepdim=True), image.amax(dim=(2, 3), keepdim=True)
    return ((image - low) / (high - low).clamp_min(1e-6)).cpu()

"""What a training leaves behind after every epoch: checkpoints, history.csv, TensorBoard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from softseg.core.files import write_atomically
from softseg.data.nifti.grid import upright
from softseg.training.previews import keep_prediction, keep_slice
from softseg.training.state import Record, State, save, save_weights


class Keeper:
    """Writes a run's folder. `images` and `targets` (P, C or K, H, W) are the preview slices."""

    def __init__(
        self, folder: Path, start_epoch: int, images: Tensor, targets: Tensor, images_every: int
    ) -> None:
        self.folder = folder
        self.images_every = images_every
        self._still = [normalized(images[:, :1]), targets[:, :1].cpu()]
        (folder / "checkpoints").mkdir(exist_ok=True)
        keep_slice(folder, images[0], targets[0])
        # a resumed run writes over what the interrupted one logged beyond its last checkpoint
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=start_epoch + 1)

    def step(self, slices: int) -> None:
        """Nothing is kept within an epoch."""

    def epoch(self, state: State, record: Record, best: bool, preview: Tensor) -> None:
        """Keep one epoch. `last.pt` comes last: resuming starts from it, so all else is redone."""
        self._log(record, preview)
        keep_prediction(self.folder, state.epoch, preview[0])
        if best:
            save_weights(state, self.folder / "checkpoints" / "best.pt")
        table = pd.DataFrame(state.history).astype({"epoch": int})
        write_atomically(self.folder / "history.csv", table.to_csv(index=False))
        save(state, self.folder / "checkpoints" / "last.pt")

    def close(self) -> None:
        """Flush TensorBoard's events."""
        self._board.close()

    def _log(self, record: Record, preview: Tensor) -> None:
        epoch = int(record["epoch"])
        for key, value in record.items():
            if key != "epoch":
                self._board.add_scalar(key, value, epoch)
        due = self.images_every and (epoch == 1 or epoch % self.images_every == 0)
        if due:
            parts = (*self._still, preview[:, :1].cpu())
            # (P, 1, W, 3H): input, target, prediction of each slice side by side
            rows = np.concatenate([upright(part.numpy()) for part in parts], axis=3)
            self._board.add_images("input | target | prediction", rows, epoch)


def normalized(image: Tensor) -> Tensor:
    """Each slice (P, 1, H, W) stretched to [0, 1] for viewing."""
    low, high = image.amin(dim=(2, 3), keepdim=True), image.amax(dim=(2, 3), keepdim=True)
    return ((image - low) / (high - low).clamp_min(1e-6)).cpu()

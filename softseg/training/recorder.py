"""What observes training: a recorder that writes every epoch, a display that prints it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.console import Console
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor

from softseg.core.console import ProgressBar, whole_seconds
from softseg.core.files import os_error_message, write_atomically
from softseg.core.interruption import deferred_interruption
from softseg.core.types import Float32Array
from softseg.data.nifti.grid import upright
from softseg.training.checkpoint_writer import CheckpointWriter, write_in
from softseg.training.task import Record, State, checkpoint

if TYPE_CHECKING:  # slow to import
    from torch.utils.tensorboard import SummaryWriter

ESTIMATE_AFTER = 2
"""Epochs after which the duration is estimated; the first one alone includes warming up."""
_log = logging.getLogger(__name__)
_SLICE, _LAST = "slice", "last"
_TAG = "input | target | prediction"
_HEIGHT = 256  # least height in pixels of a picture in TensorBoard


class RunRecorder:
    """Writes the results of every epoch: checkpoints, history.csv, previews, TensorBoard.

    A thread writes the files (see `CheckpointWriter`), checkpoints at most every
    `checkpoint_seconds`; leaving the `with` block writes what is left. `images` (P, C, H, W) and
    `targets` (P, K, H, W) are the preview slices, and `ignore` (P, K, H, W) is above 0 where a
    target is unknown; `names` are those of the targets.
    """

    def __init__(
        self,
        folder: Path,
        start_epoch: int,
        images: Tensor,
        targets: Tensor,
        images_every: int,
        ignore: Tensor | None = None,
        checkpoint_seconds: float = 0.0,
        names: Sequence[str] = (),
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow, and reports do not need it

        self.folder = folder
        self.images_every = images_every
        self._board_folder = folder / "tensorboard"
        shown = targets if ignore is None else _striped(targets.cpu(), ignore.cpu())
        self._preview_columns = (stretch_contrast(images[:, :1]), shown.cpu())
        self._names = names
        self._last_preview: tuple[int, Tensor] | None = None
        (folder / "checkpoints").mkdir(exist_ok=True)
        _cut_back(folder, start_epoch)
        write_preview_slice(folder, images[0], targets[0], None if ignore is None else ignore[0])
        # a resumed run overwrites what the interrupted one logged after its last checkpoint
        self._board: SummaryWriter | None = SummaryWriter(
            str(self._board_folder), purge_step=start_epoch + 1
        )
        if start_epoch == 0 and (config := folder / "config.yaml").is_file():
            # indented, which is how TensorBoard's Markdown marks code
            text = "".join(f"    {line}\n" for line in config.read_text("utf-8").splitlines())
            self._board.add_text("configuration", text, 0)
        self._writer = CheckpointWriter(folder, checkpoint_seconds, start_epoch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Close it; an error in doing so does not replace an earlier one."""
        try:
            self.close()
        except KeyboardInterrupt:  # such as a second Ctrl-C
            self._writer.give_up()
            raise
        except Exception as closing:
            if error is None:
                raise
            if not isinstance(error, OSError):  # which is probably the same one
                reason = os_error_message(closing) if isinstance(closing, OSError) else closing
                _log.warning(
                    "the last epochs could not be written (%s): training resumes from an earlier "
                    "one",
                    reason,
                )

    def step(self, slices: int) -> None:
        """Do nothing: results are written after an epoch."""

    @deferred_interruption()  # of TensorBoard's queue
    def epoch(self, state: State, record: Record, best: bool, preview: Tensor) -> None:
        """Log one epoch and give it to the thread; raises what kept the thread from writing."""
        epoch, preview = state.epoch, preview.cpu()
        with self._board_may_be_deleted():
            self._write_to_board(epoch, record, preview)
        saved = checkpoint(state)
        files = {  # previews that are kept are not replaced by newer ones
            f"preview {epoch if is_kept(epoch) else ''}": partial(
                self._write_preview, epoch, preview[0]
            ),
            "history": partial(_write_history, self.folder, saved["history"]),
        }
        self._writer.submit(saved, best, files)

    def _write_preview(self, epoch: int, prediction: Tensor) -> None:
        write_in(self.folder / "previews", partial(write_preview, self.folder, epoch, prediction))

    def _write_to_board(self, epoch: int, record: Record, preview: Tensor) -> None:
        """Write an epoch's scalars and, every `images_every` epochs, its preview slices."""
        if self._board is None:
            return
        for key, value in record.items():
            if key != "epoch":
                self._board.add_scalar(key, value, epoch)
        self._last_preview = (epoch, preview)
        if self.images_every and (epoch == 1 or epoch % self.images_every == 0):
            self._write_images(self._board)
        self._board.flush()  # here, as its own thread could report an error only in a later epoch

    def _write_images(self, board: SummaryWriter) -> None:
        """Write the preview slices of the last epoch: a picture per target, unless written."""
        if self._last_preview is None:
            return
        (epoch, preview), self._last_preview = self._last_preview, None
        image, target = self._preview_columns
        for k in range(preview.shape[1]):
            columns = (image, target[:, k : k + 1], preview[:, k : k + 1])
            # (P, 1, W, 3H): input, target, prediction of each slice next to each other
            rows = np.concatenate([upright(column.numpy()) for column in columns], axis=3)
            tag = f"{self._names[k]}: {_TAG}" if self._names else _TAG
            board.add_images(tag, _enlarged(rows), epoch)

    @contextmanager
    def _board_may_be_deleted(self) -> Iterator[None]:
        """Continue without TensorBoard, after a warning, if its folder was deleted."""
        try:
            yield
        except OSError:
            if self._board is None or self._board_folder.is_dir():  # such as a full disk
                raise
            board, self._board = self._board, None
            with suppress(OSError):  # ends its thread
                board.close()
            _log.warning(
                "%s/ was deleted while training runs: TensorBoard gets none of the further epochs; "
                "history.csv has them all",
                self._board_folder,
            )

    def close(self) -> None:
        """Write everything that is not yet written; raises what kept it from being written."""
        try:
            self._writer.close()
        except Exception:
            with suppress(OSError):  # the disk's first error is reported
                self._close_board()
            raise
        self._close_board()

    @deferred_interruption()
    def _close_board(self) -> None:
        """Flush TensorBoard's events and end its thread."""
        if self._board is not None:
            with self._board_may_be_deleted():
                if self.images_every:
                    self._write_images(self._board)
                self._board.close()


def _write_history(folder: Path, history: list[Record]) -> None:
    """Write history.csv, one row per epoch."""
    table = pd.DataFrame(history).astype({"epoch": int})
    write_atomically(folder / "history.csv", table.to_csv(index=False))


def _cut_back(folder: Path, epoch: int) -> None:
    """Remove what a killed run recorded of epochs after its last checkpoint, that of `epoch`."""
    path = folder / "history.csv"
    if path.exists():
        lines = path.read_bytes().splitlines(keepends=True)
        if len(lines) > 1 + epoch:
            write_atomically(path, b"".join(lines[: 1 + epoch]))
    for path in (folder / "previews").glob("[el]*.safetensors"):
        try:
            is_later = int(load_file(path)["epoch"]) > epoch
        except (SafetensorError, KeyError):  # damaged
            is_later = True
        if is_later:
            path.unlink()


def format_percent(value: float) -> str:
    """Return `86.3 %`; `undefined` for the Dice of an empty truth and an empty prediction."""
    return "undefined" if math.isnan(value) else f"{value:.1f} %"


def stretch_contrast(image: Tensor) -> Tensor:
    """Each slice (P, 1, H, W) stretched to [0, 1] for viewing."""
    low, high = image.amin(dim=(2, 3), keepdim=True), image.amax(dim=(2, 3), keepdim=True)
    return ((image - low) / (high - low).clamp_min(1e-6)).cpu()


def _enlarged(pictures: Float32Array) -> Float32Array:
    """The pictures (P, 1, W, H) with each pixel repeated, so that they are at least 256 high."""
    factor = max(1, math.ceil(_HEIGHT / pictures.shape[2]))
    return pictures.repeat(factor, axis=2).repeat(factor, axis=3)


def _striped(targets: Tensor, ignore: Tensor) -> Tensor:
    """Return targets (P, K, H, W) with stripes of black and gray where they are unknown."""
    height, width = targets.shape[2:]
    diagonal = torch.arange(height)[:, None] + torch.arange(width)
    stripes = 0.5 * (diagonal % 4 < 2).to(targets)
    return torch.where(ignore > 0, stripes, targets)


class ProgressDisplay(ProgressBar):
    """Shows loss, Dice, slices/s and the time left; warns of an output of 0 everywhere.

    `slices` is the number of samples in an epoch, which are called `unit`: slices or patches.
    """

    def __init__(
        self, console: Console, epochs: int, done: int, slices: int, unit: str = "slices"
    ) -> None:
        text = "{task.fields[within]:>4.0%} · {task.fields[news]}"
        super().__init__(
            console, "epoch", epochs, text, completed=done, width=12, within=0.0, news=""
        )
        self.epochs = epochs
        self._first_epoch = done
        self._start = time.perf_counter()
        self._slices, self._slices_done, self._unit = slices, 0, unit

    def step(self, slices: int) -> None:
        """Advance within the epoch; nothing is read from the device."""
        self._slices_done += slices
        self.update(within=self._slices_done / self._slices)

    def epoch(self, state: State, record: Record, best: bool, preview: Tensor) -> None:  # noqa: ARG002
        """Show the result of an epoch, and after the first epochs how long training takes."""
        self._slices_done = 0
        done_here = state.epoch - self._first_epoch
        seconds_per_epoch = (time.perf_counter() - self._start) / done_here
        left = whole_seconds(seconds_per_epoch * (self.epochs - state.epoch))
        rate = self._slices / max(record["train_seconds"], 1e-9)
        news = (
            f"loss {record['train_loss']:.4f} · validation {record['val_loss']:.4f}"
            f"{'*' if best else ' '} Dice {format_percent(record['val_dice'])} · "
            f"{rate:.{0 if rate >= 10 else 1}f} {self._unit}/s · "
            f"{left} left"
        )
        self.update(completed=state.epoch, within=0.0, news=news)
        if not self.console.is_terminal or state.epoch % 10 == 0 or state.epoch == 1:
            self.console.print(f"epoch {state.epoch}/{self.epochs} · {news}", highlight=False)
        if done_here == ESTIMATE_AFTER and state.epoch < self.epochs:
            self.console.print(
                f"estimate  {self.epochs} epochs at most, about {left} left "
                f"({seconds_per_epoch:.1f} s per epoch)",
                highlight=False,
            )
        self._warn_of_zero_output(record)

    def _warn_of_zero_output(self, record: Record) -> None:
        """Print in how many batches and scans of the epoch a target's output was 0 everywhere."""
        zero = [
            f"{record[key]:.0f} {what}"
            for key, what in (("dead_batches", "batch(es)"), ("dead_volumes", "validation scan(s)"))
            if record[key]
        ]
        if zero:
            self.console.print(
                f"  warning: the output of a target is 0 everywhere in {' and '.join(zero)} of "
                f"epoch {record['epoch']:.0f}, largest logit {record['largest_logit']:.3g}. "
                "Where it is 0, nothing is learned: if this continues, give model.head.bias a "
                "larger value or lower trainer.learning_rate",
                style="yellow",
                highlight=False,
            )


@dataclass(frozen=True)
class Progression:
    """Predictions of one validation slice in the course of training (SoftSeg Figure 2)."""

    image: Float32Array  # (C, H, W)
    target: Float32Array  # (K, H, W) in [0, 1]
    predictions: dict[int, Float32Array]  # epoch -> (K, H, W) in [0, 1], in the order of epochs
    ignore: Float32Array | None = None  # (K, H, W), 1 where a target is unknown


def write_preview_slice(
    folder: Path, image: Tensor, target: Tensor, ignore: Tensor | None = None
) -> None:
    """Write the slice itself: image (C, H, W), target and what is ignored, both (K, H, W)."""
    tensors = {"image": image, "target": target}
    tensors |= {} if ignore is None else {"ignore": ignore}
    path = folder / "previews" / f"{_SLICE}.safetensors"
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, save({name: _float16(tensor) for name, tensor in tensors.items()}))


def write_preview(folder: Path, epoch: int, prediction: Tensor) -> None:
    """Write the prediction (K, H, W) of one epoch: as the last one, and by its number if kept."""
    content = save({"prediction": _float16(prediction), "epoch": np.array(epoch)})
    for name in [_LAST, f"epoch-{epoch:05}"] if is_kept(epoch) else [_LAST]:
        write_atomically(folder / "previews" / f"{name}.safetensors", content)


def _float16(values: Tensor) -> NDArray[np.float16]:
    """The values limited to the range of float16: a scan may not be standardized."""
    largest = float(np.finfo(np.float16).max)
    return values.cpu().clamp(-largest, largest).numpy().astype(np.float16)


def is_kept(epoch: int) -> bool:
    """Whether an epoch is one of 1, 2, 5, 10, 20, 50, 100 ..."""
    return epoch in {digit * 10 ** (len(str(epoch)) - 1) for digit in (1, 2, 5)}


def read_progression(folder: Path) -> Progression | None:
    """The previews in a run's folder; None if there are none or they are incomplete."""
    try:
        preview = load_file(folder / "previews" / f"{_SLICE}.safetensors")
        paths = sorted((folder / "previews").glob("[el]*.safetensors"))
        files = [load_file(path) for path in paths]
        predictions = {int(f["epoch"]): f["prediction"].astype(np.float32) for f in files}
    except (OSError, SafetensorError, KeyError):
        return None
    ordered = {epoch: predictions[epoch] for epoch in sorted(predictions)}
    slices = {name: values.astype(np.float32) for name, values in preview.items()}
    return Progression(slices["image"], slices["target"], ordered, slices.get("ignore"))

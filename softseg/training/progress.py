"""What a person sees while a network trains: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time

from rich.console import Console
from torch import Tensor

from softseg.core.progress import ProgressBar, whole_seconds
from softseg.training.state import Record, State


class Display(ProgressBar):
    """Shows loss, Dice, slices/s and the time left; warns of a dead output."""

    def __init__(self, console: Console, epochs: int, done: int, slices: int) -> None:
        text = "{task.fields[within]:>4.0%} · {task.fields[news]}"
        super().__init__(
            console, "epoch", epochs, text, completed=done, width=12, within=0.0, news=""
        )
        self.epochs = epochs
        self._first = done
        self._began = time.perf_counter()
        self._slices, self._seen = slices, 0

    def step(self, slices: int) -> None:
        """Advance within the epoch; nothing is read from the device."""
        self._seen += slices
        self.update(within=self._seen / self._slices)

    def epoch(self, state: State, record: Record, best: bool, preview: Tensor) -> None:  # noqa: ARG002
        """Say how an epoch went."""
        self._seen = 0
        news = self._news(record, best)
        self.update(completed=state.epoch, within=0.0, news=news)
        if not self.console.is_terminal or state.epoch % 10 == 0 or state.epoch == 1:
            self.console.print(f"epoch {state.epoch}/{self.epochs} · {news}", highlight=False)
        self._warn(record)

    def _news(self, record: Record, best: bool) -> str:
        per_second = self._slices / max(record["train_seconds"], 1e-9)
        passed = time.perf_counter() - self._began
        left = passed / (record["epoch"] - self._first) * (self.epochs - record["epoch"])
        return (
            f"loss {record['train_loss']:.4f} · validation {record['val_loss']:.4f}"
            f"{'*' if best else ' '} Dice {record['val_dice']:.1f} % · "
            f"{per_second:.0f} slices/s · {whole_seconds(left)} left at most"
        )

    def _warn(self, record: Record) -> None:
        dead = [
            f"{record[key]:.0f} {what}"
            for key, what in (("dead_batches", "batch(es)"), ("dead_volumes", "validation scan(s)"))
            if record[key]
        ]
        if dead:
            self.console.print(
                f"  warning: a target has no positive output in {' and '.join(dead)} of epoch "
                f"{record['epoch']:.0f}, largest logit {record['largest_logit']:.3g}; if this "
                "stays, the network is dead: give model.head.bias a larger value or lower "
                "trainer.learning_rate",
                style="yellow",
                highlight=False,
            )

"""When to stop, and which epoch was the best."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from softseg.config.trainer import EarlyStopping


@dataclass(frozen=True)
class Progress:
    """What early stopping remembers between epochs."""

    best: float = math.inf  # lowest validation loss so far: its weights are kept
    reference: float = math.inf  # the value that the next improvement is measured from
    waited: int = 0  # epochs since then

    def after(self, loss: float, rule: EarlyStopping | None) -> Progress:
        """The state after one more epoch.

        An improvement goes below the reference by more than `epsilon` of its size (losses may be
        negative), becomes the reference and starts the patience anew; smaller steps add up, since
        the reference stays.
        """
        margin = (rule.epsilon if rule else 0.0) * abs(self.reference)
        best = min(self.best, loss)
        if math.isinf(self.reference) or loss < self.reference - margin:
            return Progress(best, loss, 0)
        return replace(self, best=best, waited=self.waited + 1)

    def should_stop(self, rule: EarlyStopping | None) -> bool:
        """Whether patience has run out."""
        return rule is not None and self.waited > 0 and self.waited >= rule.patience

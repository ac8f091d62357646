"""Several raters' masks of one structure fused into the one that is learned."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from softseg.component import Component
from softseg.data.names import listed, natural, nearest
from softseg.errors import UserError

Masks = NDArray[np.float32]


class Raters(Component):
    """How masks of several raters become one; a single mask stays as it is, soft."""

    fuse: str | int = "majority"
    """majority (1 where more than half of the raters have at least 0.5; exactly half is
    background) | mean (soft where raters disagree) | the name of one rater."""

    @property
    def chosen(self) -> str | None:
        """The one rater whose masks are used, or None when masks are fused."""
        return None if self.fuse in ("majority", "mean") else str(self.fuse)

    def missing(self, raters: Collection[str]) -> str | None:
        """What is wrong, when the chosen rater is not among these."""
        if self.chosen is None or self.chosen in raters:
            return None
        if set(raters) == {""}:
            return f"no rater '{self.chosen}': its masks are not told apart by {{rater}}"
        near = nearest(self.chosen, raters)
        return f"no rater '{self.chosen}'{near}; there are majority, mean and {listed(raters)}"

    def __call__(self, masks: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Fuse rater -> mask (X, Y, Z) in [0, 1] into one, float32 in [0, 1], on the native grid.

        Raises UserError for a chosen rater who is not there.
        """
        wrong = self.missing(masks)
        if wrong:
            raise UserError(f"dataset.raters.fuse: {wrong}")
        if self.chosen is not None:
            return masks[self.chosen]
        stack: Masks = np.stack([masks[name] for name in sorted(masks, key=natural)])
        if self.fuse == "mean" or len(stack) == 1:
            return np.asarray(stack.mean(axis=0), dtype=np.float32)
        votes = (stack >= 0.5).sum(axis=0)
        return np.asarray(2 * votes > len(stack), dtype=np.float32)

"""What a loader found for one subject, and whether that makes a whole subject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Mask:
    """A mask's file, the contrast it is named after and its rater ("" where not told apart)."""

    path: Path
    contrast: str = ""
    rater: str = ""


@dataclass
class Found:
    """Every file that could belong to one subject, before it is judged."""

    name: str
    columns: dict[str, str]
    images: dict[str, list[Path]] = field(default_factory=dict)
    labels: dict[str, list[Mask]] = field(default_factory=dict)
    rois: list[Mask] = field(default_factory=list)
    sought: Mapping[str, str] = field(default_factory=dict)
    """What was looked for, as a path with `*`: `image <contrast>`, `roi`, `mask <target>` (where
    {rater} stands for a rater), and of tables `mask <target> by rater <rater>`."""
    lost: dict[str, list[str]] = field(default_factory=dict)
    """Target -> raters whose mask a table names, although there is no such file."""
    is_named: bool = False
    """Whether a table names files of this subject, which is then never just left out."""

    def add_label(self, target: str, mask: Mask) -> None:
        """Note a mask of one target."""
        self.labels.setdefault(target, []).append(mask)

    @property
    def raters(self) -> set[str]:
        """Everybody who drew, or is said to have drawn, any target."""
        drawn = {mask.rater for masks in self.labels.values() for mask in masks}
        return drawn.union(*self.lost.values())

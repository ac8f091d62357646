"""Names, units and best values of the metrics, for the headings of tables."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

_SIZE_BIN = re.compile(r"(ltpr|lfdr|lesions_truth|lesions_pred)_([\d.]+)_([\d.]+|inf)")


@dataclass(frozen=True)
class Heading:
    """Heading of a metric's column."""

    name: str
    """In lines that suit a narrow column."""
    unit: str = ""
    optimum: float | None = None
    """The best value, in the metric's unit; None if no value is better than another."""
    abbreviation: str = ""
    """What the field writes for a long name."""
    detail: str = ""
    """What sets this column apart from others of its metric: a rater, a range of lesion sizes."""
    printed: bool = False
    """Whether `softseg eval` prints it."""
    in_report: bool = False
    """Whether the report shows it, and tests its differences if it has an optimum."""

    @property
    def column(self) -> str:
        """The full name with its unit, for a column: several lines."""
        unit = f" [{self.unit}]" if self.unit else ""
        return f"{self.name}{unit}" + (f"\n{self.detail}" if self.detail else "")

    @property
    def line(self) -> str:
        """The full name with its unit, on one line."""
        return self.column.replace("\n", " ")

    @property
    def short(self) -> str:
        """The abbreviation, or else the full name, with its unit, on one line."""
        if not self.abbreviation:
            return self.line
        return f"{self.abbreviation} [{self.unit}]" if self.unit else self.abbreviation


HEADINGS = {
    "dice": Heading("Dice", "%", 100, printed=True, in_report=True),
    "precision": Heading("precision", "%", 100, printed=True, in_report=True),
    "recall": Heading("recall", "%", 100, printed=True, in_report=True),
    "specificity": Heading("specificity", "%", 100, printed=True, in_report=True),
    "avd": Heading("absolute\nvolume\ndifference", "%", 0, "AVD", printed=True, in_report=True),
    "rvd": Heading("relative\nvolume\ndifference", "%", 0, "RVD", printed=True, in_report=True),
    "mse": Heading("MSE", "%", 0, printed=True, in_report=True),
    "mse_paper": Heading("MSE as in\nthe paper", "%", 0),
    "soft_dice": Heading("soft Dice", "%", 100, printed=True, in_report=True),
    "dV_soft_ml": Heading("soft volume\nbias", "ml", 0, "soft dV", printed=True),
    "ece": Heading("ECE", "", 0, printed=True),
    "ltpr": Heading("LTPR", "%", 100, printed=True, in_report=True),
    "lfdr": Heading("LFDR", "%", 0, printed=True, in_report=True),
    "hd95_mm": Heading("HD95", "mm", 0, printed=True, in_report=True),
    "assd_mm": Heading("ASSD", "mm", 0, printed=True, in_report=True),
    "surface_dice": Heading("surface\nDice", "%", 100, printed=True, in_report=True),
    "assd_soft_mm": Heading("ASSD of soft\nsurfaces", "mm", 0, printed=True, in_report=True),
    "dice_raters": Heading("Dice with\nraters", "%", 100, printed=True, in_report=True),
    "dice_between_raters": Heading("Dice between\nraters", "%", printed=True, in_report=True),
    "ged": Heading("energy\ndistance", "", 0, "GED", printed=True, in_report=True),
    "qubiq": Heading("QUBIQ\nscore", "%", 100, printed=True, in_report=True),
    "crps_ml": Heading("CRPS of\nthe volume", "ml", 0, "CRPS", printed=True, in_report=True),
    "ece_raters": Heading("multi-rater\nECE", "", 0, printed=True, in_report=True),
    "ace": Heading("ACE", "", 0),
    "brier": Heading("Brier\nscore", "", 0),
    "dV_hard_ml": Heading("hard volume\nbias", "ml", 0, "hard dV"),
    "lfdr_paper": Heading("LFDR as in\nthe paper", "%", 0),
    "lesions_truth": Heading("lesions\nin the truth"),
    "lesions_pred": Heading("lesions\npredicted"),
    "ignored_ml": Heading("ignored\nvolume", "ml", printed=True, in_report=True),
    "retained_error": Heading("error over\nretained shares", "%", 0),
    "rank": Heading("rank correlation\nwith raters", "", 1),
}
"""Metric -> heading, in the order of the printed table and the report; see also `heading_of`."""


_GROUPS = {
    "against the raters": ("dice_rater", "dice_between", "ged", "qubiq", "crps", "ece_raters"),
    "overlap": ("dice", "precision", "recall", "specificity"),
    "volume": ("avd", "rvd", "dV_"),
    "soft values": ("mse", "soft_dice"),
    "calibration": ("ece", "ace", "brier"),
    "lesions": ("ltpr", "lfdr", "lesions_"),
    "surface": ("hd95", "assd", "surface"),
}
"""Group of columns -> beginnings of its metrics' names; the first that fits counts."""


def group_of(metric: str) -> str:
    """The group of a metric's column in a wide table; "" if it is alone."""
    fitting = (group for group, starts in _GROUPS.items() if metric.startswith(starts))
    return next(fitting, "")


def heading_of(metric: str) -> Heading:
    """The heading of any metric: of one rater, threshold and range of lesion sizes, too.

    A metric that is not in `HEADINGS` keeps its name and has no optimum.
    """
    if metric.startswith("dice_rater_"):
        return Heading("Dice", "%", 100, detail=f"with {metric.removeprefix('dice_rater_')}")
    if metric.startswith("dice_at_"):
        return Heading("Dice", "%", 100, detail=f"at {metric.removeprefix('dice_at_')}")
    if match := _SIZE_BIN.fullmatch(metric):
        of_all_sizes, low, high = match.groups()
        whole = HEADINGS[of_all_sizes]
        size = f"above {low}" if high == "inf" else f"{low} to {high}"
        return Heading(whole.name, whole.unit, whole.optimum, detail=size)
    return HEADINGS.get(metric, Heading(metric))


def sign_note(metrics: Collection[str]) -> str:
    """What positive values of the signed metrics among these mean, for below a table; or ''.

    The two signs are opposite: `rvd` is as in Gros et al. 2020, `dV_*` as in Bertels et al. 2021.
    """
    signs, names = [], []
    if "rvd" in metrics:
        signs.append("RVD > 0: under-segmentation")
        names.append("RVD: relative volume difference")
    if any(metric.startswith("dV_") for metric in metrics):
        signs.append("dV > 0: over-segmentation")
        names.append("dV: volume bias")
    return f"{'; '.join(signs)} ({', '.join(names)})." if signs else ""


def legend(metrics: Collection[str], first: str = "") -> str:
    """`first` and the signs of these metrics, as one line of less than 80 letters; or ''."""
    signs = [
        "RVD > 0: under-segmentation" * ("rvd" in metrics),
        "dV > 0: over-segmentation (volume bias)" * any(m.startswith("dV_") for m in metrics),
    ]
    return "; ".join(filter(None, [first, *signs]))


def count_of(defined: int, scans: int) -> str:
    """Return `3 of 4`, or `4` if a metric is defined in all scans."""
    return str(scans) if defined == scans else f"{defined} of {scans}"

"""Dice by center and by in-plane resolution (Gros et al. 2020, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from softseg.core.names import natural_key
from softseg.metrics.significance import mean_interval
from softseg.render.text_table import Cell, TextTable
from softseg.report.results import CandidateScores
from softseg.report.tables import left_out, not_comparable, rows_of

UNKNOWN = "unknown"
"""Group of the scans without a center."""
_MOST_SIZES = 8  # distinct pixel sizes that are groups of their own
_BINS = 5  # of the pixel sizes, if there are more


@dataclass(frozen=True)
class Groups:
    """The scores of one target in groups of scans, at least two."""

    name: str
    """Stem of the files, `center` or `resolution`."""
    heading: str
    """Of the column with the groups' names."""
    rows: pd.DataFrame
    """As `rows_of`, with the columns `group` (the name) and `in_plane_mm` (NaN: unknown)."""

    @property
    def names(self) -> list[str]:
        """The groups in their order."""
        return list(dict.fromkeys(self.rows["group"]))

    def persons(self, group: str | None = None) -> pd.DataFrame:
        """Mean `dice` and `in_plane_mm` of each candidate and person in a group; None: in all."""
        rows = self.rows if group is None else self.rows[self.rows["group"] == group]
        by_person = rows.groupby(["candidate", "person"], sort=False)
        return by_person[["dice", "in_plane_mm"]].mean()

    def intervals(self, candidate: str) -> pd.DataFrame:
        """Mean Dice of a candidate, its 95 % interval and the mean pixel size; index: the groups.

        Columns `mean`, `low`, `high`, `in_plane_mm`; NaN where nothing is defined.
        """
        table = {}
        for group in self.names:
            persons = self.persons(group)
            own = persons[persons.index.get_level_values("candidate") == candidate]
            low, high = mean_interval(own["dice"].dropna())
            table[group] = {"mean": own["dice"].mean(), "low": low, "high": high}
            table[group]["in_plane_mm"] = own["in_plane_mm"].mean()
        return pd.DataFrame.from_dict(table, orient="index", dtype=float)


def by_center(results: CandidateScores, target: str) -> Groups | None:
    """The scores by center; None if fewer than two centers are known."""
    rows = _with_groups(rows_of(results, target))
    rows = rows.assign(group=rows["group"].fillna(UNKNOWN))
    known = sorted(set(rows["group"]) - {UNKNOWN}, key=natural_key)
    if len(known) < 2:
        return None
    order = pd.Categorical(rows["group"], [*known, UNKNOWN])
    rows = rows.iloc[order.argsort(kind="stable")]
    return Groups("center", results.group_column, rows)


def by_resolution(results: CandidateScores, target: str) -> Groups | None:
    """The scores by in-plane resolution; None if fewer than two resolutions are known.

    With more than eight distinct pixel sizes, a group has a fifth of the scans.
    """
    rows = _with_groups(rows_of(results, target))
    rows = rows.dropna(subset="in_plane_mm").sort_values("in_plane_mm", kind="stable")
    sizes = rows["in_plane_mm"].round(2)
    groups = sizes if sizes.nunique() <= _MOST_SIZES else pd.qcut(sizes, _BINS, duplicates="drop")
    ends = sizes.groupby(groups, observed=True)
    low, high = ends.transform("min"), ends.transform("max")
    names = [f"{a:.2f}" + (f" to {b:.2f}" if b > a else "") for a, b in zip(low, high, strict=True)]
    rows = rows.assign(group=names)
    if rows["group"].nunique() < 2:
        return None
    return Groups("resolution", "in-plane\nresolution [mm]", rows)


def missing_group_sentences(results: CandidateScores, target: str) -> Iterator[str]:
    """Why there is no Dice by center or by resolution, and which scans are in no group."""
    rows = _with_groups(rows_of(results, target))
    centers, sizes = rows["group"].dropna(), rows["in_plane_mm"].dropna()
    name = results.group_column
    if centers.empty:
        yield (
            "There is no Dice by center, as the center of no subject is known: name their column "
            "in evaluate.metrics.group_by, and score the runs again with `softseg eval`."
        )
    elif centers.nunique() == 1:
        yield f"All tested scans with a known {name} are of {name} {centers.iloc[0]}."
    if sizes.empty:
        yield (
            "There is no Dice by in-plane resolution, as the runs were scored by a version of "
            "softseg that did not record it: score them again with `softseg eval`."
        )
    elif sizes.round(2).nunique() == 1:
        yield f"All tested scans have an in-plane resolution of {sizes.iloc[0]:.2f} mm."
    if 0 < len(sizes) < len(rows):
        without = rows.loc[rows["in_plane_mm"].isna(), "scan"].nunique()
        are = "scan is" if without == 1 else "scans are"
        yield f"{without} {are} in no group of resolutions, as the resolution was not recorded."


def dice_table(results: CandidateScores, target: str, groups: Groups) -> TextTable:
    """Mean Dice ± standard deviation over persons, a row per group and a column per candidate."""
    candidates = [name for name in results.candidates if name in set(groups.rows["candidate"])]
    several = len(candidates) > 1
    converged = [name for name in candidates if any(r.converged for r in results.done_runs(name))]
    compared = several and not not_comparable(results, target, ["dice"])
    by_center = groups.name == "center"
    rows = []
    for group in (*groups.names, None):
        persons = groups.persons(group)
        members = persons.groupby("person")["in_plane_mm"].mean()
        first = [Cell(group or "all"), Cell(str(len(members)))]
        first += [Cell(_span(members))] if by_center else []
        means = persons["dice"].groupby("candidate").mean()
        cells = _dice_cells(persons["dice"], candidates, compared and _same_scans(groups, group))
        mean = means.reindex(converged).mean()
        rows.append((*first, *cells, *([Cell(_percent(mean))] if several else [])))
    header = (
        *(groups.heading, "subjects", *(["in-plane\nresolution [mm]"] if by_center else [])),
        *candidates,
        *(["mean of\ncandidates"] if several else []),
    )
    notes = [
        "Mean ± standard deviation over subjects (mean over the splits that tested each)."
        + (" Bold: the highest of a row." if compared else ""),
        "In-plane resolution: the side of a square of the area of a pixel, in the scan's own grid.",
    ]
    if several and (excluded := [name for name in candidates if name not in converged]):
        notes.append(f"Not in the mean of candidates, as no run converged: {', '.join(excluded)}.")
    title = f"Dice [%] of {target} in the test scans by {' '.join(groups.heading.split())}"
    return TextTable(
        f"dice_by_{groups.name}_{target}",
        title.removesuffix(" [mm]"),
        header,
        tuple(rows),
        (*notes, *left_out(results, target)),
    )


def _with_groups(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with `group` and `in_plane_mm`, which earlier versions did not always write."""
    names = dict.fromkeys((*rows.columns, "group", "in_plane_mm"))
    return rows.reindex(columns=list(names)).astype({"group": object, "in_plane_mm": float})


def _same_scans(groups: Groups, group: str | None) -> bool:
    """Whether Dice is defined in the same scans of a group for all candidates."""
    rows = groups.rows if group is None else groups.rows[groups.rows["group"] == group]
    defined = rows[rows["dice"].notna()].groupby("candidate")["scan"].agg(frozenset)
    return defined.nunique() == 1 and len(defined) == groups.rows["candidate"].nunique()


def _dice_cells(dice: pd.Series[float], candidates: list[str], compared: bool) -> list[Cell]:
    """The cell of each candidate; `dice` has the levels candidate and person."""
    of_candidate = dice.groupby("candidate")
    table = of_candidate.agg(["mean", "std", "count", "size"]).reindex(candidates)
    best = table["mean"].round(1).max() if compared else None
    cells = []
    for row in table.to_dict("records"):
        spread = "" if pd.isna(row["std"]) else f" ± {row['std']:.1f}"
        partly = row["count"] < row["size"] and row["count"] > 0
        count = f"\n(n = {row['count']:.0f} of {row['size']:.0f})" if partly else ""
        cells.append(Cell(_percent(row["mean"]) + spread + count, round(row["mean"], 1) == best))
    return cells


def _percent(value: float) -> str:
    return "undefined" if pd.isna(value) else f"{value:.1f}"


def _span(sizes: pd.Series[float]) -> str:
    """`0.25` or `0.25 to 0.50`: the pixel sizes of a group in mm."""
    if sizes.isna().all():
        return "unknown"
    low, high = f"{sizes.min():.2f}", f"{sizes.max():.2f}"
    return low if low == high else f"{low} to {high}"

"""`softseg report`: tables, figures and one page of an ablation, or of a single run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from softseg.core.errors import UserError
from softseg.core.files import write_atomically
from softseg.metrics.significance import Method
from softseg.render.page import Figure, Section, write_page
from softseg.render.text_table import TextTable, on_screen, write
from softseg.report import figures as drawing
from softseg.report.calibration import calibration_section
from softseg.report.comparisons import PER_SPLIT_CAUTION, Comparison, as_table
from softseg.report.context import facts, warnings
from softseg.report.pairing import UNITS, Unit
from softseg.report.results import Results, collect
from softseg.report.tables import (
    SIGN,
    comparisons,
    comparisons_table,
    details_table,
    means_table,
    runs_table,
)

Compared = dict[tuple[str, Unit], list[Comparison]]

_BY_SUBJECT = (
    "Subjects are the independent units: each subject's metric is averaged over the splits that "
    "tested it, then candidates are compared subject by subject. " + SIGN
)
_BY_RUN = (
    "As in the paper's tables, a run is the unit: its mean over its test subjects. "
    + PER_SPLIT_CAUTION
)
_DETAILS = {
    "raters": (
        ("dice_rater", "dice_between", "ged"),
        "Binary predictions against the mask of each rater; the Dice between raters is what one "
        "of them reaches against the others. The energy distance is 0 where a prediction is as "
        "far from every rater as they are from one another.",
    ),
    "lesions": (
        ("ltpr", "lfdr", "lesions_"),
        "Detection of single lesions, of all and by their size (in the unit of evaluate.lesions).",
    ),
}
_SOFTNESS = (
    "Thresholds were searched on training and validation scans; test scans had no part in it."
)


def write_report(folder: Path, method: Method | None = None) -> Results:
    """Write report.html, figures/ and tables/ into an ablation's folder, or a single run's.

    `method` takes the place of the YAML's `wilcoxon`. Raises UserError where nothing is to report.
    """
    results = collect(folder)
    results = results if method is None else replace(results, method=method)
    figures, compared = folder / "figures", _compared(results)
    sections = [*_scores(results, compared, figures), *_pictures(results, figures)]
    for table in (table for section in sections for table in section.tables):
        write(table, folder / "tables")
    numbers = as_table(one for several in compared.values() for one in several)
    for name, frame in (("statistics", numbers), ("metrics", results.metrics)):
        write_atomically(folder / "tables" / f"{name}.csv", frame.to_csv(index=False))
    title = f"Ablation {results.name}" if len(results.candidates) > 1 else results.name
    write_page(folder / "report.html", title, facts(results), warnings(results), sections)
    return results


def show(results: Results, folder: Path, console: Console) -> None:
    """Print the first table of each target, the warnings, and where the report is."""
    for target in results.targets:
        compared = comparisons(results, target, "subject")
        console.print(on_screen(means_table(results, target, "subject", compared)))
    for warning in warnings(results):
        console.print(f"note: {warning}", style="yellow", highlight=False, markup=False)
    console.print(f"{folder}: report.html, tables/, figures/", highlight=False, markup=False)


def _compared(results: Results) -> Compared:
    return {
        (target, unit): comparisons(results, target, unit)
        for target in results.targets
        for unit in UNITS
    }


def _scores(results: Results, compared: Compared, figures: Path) -> Iterator[Section]:
    """Every target's tables: by subject, and by run as in the paper."""
    several = len(results.candidates) > 1
    for target in results.targets:
        of_target = f" of {target}" if len(results.targets) > 1 else ""
        strip = drawing.draw_scores(results, target, figures / f"scores_{target}.png")
        tables = _tables(results, target, "subject", compared)
        by_subject = (_BY_SUBJECT,) if several else ()
        yield Section(f"Scores{of_target} by subject", by_subject, tables, (strip,))
        if len(results.entries) > len(results.candidates):  # more than one split
            tables = _tables(results, target, "split", compared)
            yield Section(f"Scores{of_target} by run", (_BY_RUN,), tables)
        for name, (prefixes, said) in _DETAILS.items():
            table = details_table(results, target, name, prefixes)
            if table.rows:
                yield Section(f"{name.capitalize()}{of_target}", (said,), (table,))


def _tables(results: Results, target: str, unit: Unit, compared: Compared) -> tuple[TextTable, ...]:
    found = compared[target, unit]
    means = means_table(results, target, unit, found)
    return (means, comparisons_table(found, target, unit)) if found else (means,)


def _pictures(results: Results, figures: Path) -> Iterator[Section]:
    """The paper's Figures 2 to 7, and what else a reader wants to see."""
    for target in results.targets:
        softness = (
            drawing.draw_progression(results, target, figures / f"progression_{target}.png"),
            drawing.draw_thresholds(results, target, figures / f"thresholds_{target}.png"),
            drawing.draw_density(results, target, figures / f"density_{target}.png"),
        )
        yield Section(f"Softness of {target}", (_SOFTNESS,), figures=_there(*softness))
        yield _examples(results, target, figures / f"examples_{target}.png")
        volumes = drawing.draw_volumes(results, target, figures / f"volumes_{target}.png")
        yield Section(f"Volumes of {target}", figures=(volumes,))
        title = f"Calibration and volume bias of {target}"
        if calibrated := calibration_section(results, target, title, figures):
            yield calibrated
    learning = drawing.draw_learning(results, figures / "learning.png")
    yield Section("Learning curves", figures=(learning,))
    timing = drawing.draw_timing(results, figures / "timing.png")
    yield Section("Where the time went", figures=(timing,))
    yield Section("Runs", tables=(runs_table(results),))


def _examples(results: Results, target: str, path: Path) -> Section:
    title = f"Examples of {target}"
    try:
        figure = drawing.draw_examples(results, target, path)
    except UserError as error:  # the scans may have moved since
        return Section(title, (f"The scans could not be shown: {error}",))
    if figure is None:
        return Section(title, ("No subject was tested by every candidate.",))
    return Section(title, figures=(figure,))


def _there(*figures: Figure | None) -> tuple[Figure, ...]:
    return tuple(figure for figure in figures if figure is not None)

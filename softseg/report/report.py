"""Write the report of an ablation, or of a single run: tables, figures and one page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console

from softseg.core.console import print_topics
from softseg.core.errors import UserError
from softseg.core.files import (
    check_writable,
    remove_leftovers,
    temporary_files,
    write_atomically,
)
from softseg.metrics.significance import Method
from softseg.render.figures.style import FigureFormat, narrow_copies, narrow_file
from softseg.render.page import Figure, Section, write_page
from softseg.render.text_table import TextTable, to_terminal, write_table
from softseg.report.comparisons import PER_SPLIT_CAUTION, UNITS, Comparison, Unit, as_table
from softseg.report.context import report_context, report_warnings
from softseg.report.figures import write_figure
from softseg.report.groups import (
    by_center,
    by_resolution,
    dice_table,
    missing_group_sentences,
)
from softseg.report.results import CandidateScores, Results, read_results
from softseg.report.run_tables import epochs_table, runs_table
from softseg.report.scoring import calibration_sentence, lesion_sentence, threshold_sentences
from softseg.report.tables import (
    SIGN,
    bias_table,
    candidates_table,
    compare_candidates,
    comparisons_table,
    details_table,
    mean_scores,
    means_table,
)
from softseg.report.threshold_curves import threshold_range_table

Comparisons = dict[tuple[str, Unit], list[Comparison]]
"""(target, unit) -> comparisons with the reference."""

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
        "of them reaches against the others. The energy distance is 0 if a prediction is as "
        "far from every rater as they are from one another.",
    ),
    "thresholds": (
        ("dice_at_",),
        "Soft predictions at other thresholds, against the truth at 0.5.",
    ),
    "lesions": (
        ("ltpr", "lfdr", "lesions_"),
        "Detection of single lesions, of all and by their size.",
    ),
}
"""Name of a table -> prefixes of its metrics, and its explanation."""


def write_report(folder: Path, method: Method | None = None, form: FigureFormat = "png") -> Results:
    """Write report.html, figures/ and tables/ into an ablation's folder, or a single run's.

    `method` replaces the configured `wilcoxon`. Figures are PNG, and also of the format `form`.
    Raises UserError if there is nothing to report.
    """
    results = read_results(folder)
    check_writable(folder)
    results = results if method is None else replace(results, method=method)
    title = f"Ablation {results.name}" if len(results.candidates) > 1 else results.name
    context, warnings = report_context(results), report_warnings(results)

    def sections(comparisons: Comparisons, figures: Path) -> Iterator[Section]:
        yield Section("Candidates", tables=(candidates_table(results),))
        yield from score_sections(results, comparisons, figures, form)
        yield from _figure_sections(results, figures, form)

    write_sections(results, folder, title, context, warnings, sections)
    return results


def write_sections(
    results: CandidateScores,
    folder: Path,
    title: str,
    context: Mapping[str, str],
    warnings: Sequence[str],
    sections: Callable[[Comparisons, Path], Iterable[Section]],
) -> None:
    """Write the page, its tables, and the tables of all scores and statistics.

    `sections` returns those of the page, from the comparisons of the candidates and the folder of
    the figures.
    """
    comparisons = {
        (target, unit): compare_candidates(results, target, unit)
        for target in results.targets
        for unit in UNITS
    }
    figures = folder / "figures"
    for place in (folder, figures, folder / "tables"):
        remove_leftovers(temporary_files(place, recursive=False))
    with narrow_copies():
        shown = list(sections(comparisons, figures))
    for section in shown:
        for table in section.tables:
            write_table(table, folder / "tables")
    statistics = as_table(chain(*comparisons.values()))
    metrics = results.metrics.assign(compared=results.metrics.index.isin(results.compared.index))
    for name, frame in (("statistics", statistics), ("metrics", metrics)):
        write_atomically(folder / "tables" / f"{name}.csv", frame.to_csv(index=False))
    write_page(folder / "report.html", title, context, warnings, shown)
    for figure in chain(*(section.figures for section in shown)):
        narrow_file(figure.path).unlink(missing_ok=True)  # it is in the page


def show(results: Results, folder: Path, console: Console) -> None:
    """Print the first table of each target, the warnings, and the path of the report."""
    for target in results.targets:
        comparisons = compare_candidates(results, target, "subject")
        console.print(to_terminal(means_table(results, target, "subject", comparisons)))
    print_topics(console, (f"note: {warning}" for warning in report_warnings(results)))
    console.print(f"{folder}: report.html, tables/, figures/", highlight=False, markup=False)


def as_json(results: Results, folder: Path) -> dict[str, Any]:
    """Return what `show` prints, and the tests, for programs.

    `report`: its file; `candidates` in their order; `reference`; `scores`: {target: {candidate:
    {metric: {mean, std, n}}}} over persons; `comparisons`: the rows of tables/statistics.csv;
    `warnings`: texts.
    """
    compared = {
        (target, unit): compare_candidates(results, target, unit)
        for target in results.targets
        for unit in UNITS
    }
    return {
        "report": str(folder / "report.html"),
        "name": results.name,
        "candidates": results.candidates,
        "reference": results.reference,
        "scores": {target: mean_scores(results, target) for target in results.targets},
        "comparisons": as_table(chain(*compared.values())).to_dict("records"),
        "warnings": report_warnings(results),
    }


def score_sections(
    results: CandidateScores, comparisons: Comparisons, figures: Path, form: FigureFormat = "png"
) -> Iterator[Section]:
    """Every target's tables: by subject, and by run as in the paper."""
    several_splits = len(results.runs) > len(results.candidates)
    for target in results.targets:
        of_target = f" of {target}" if len(results.targets) > 1 else ""
        strips = write_figure("scores", results, figures, target, form)
        tables = _score_tables(results, target, "subject", comparisons)
        by_subject = (_BY_SUBJECT,) if len(results.candidates) > 1 else ()
        yield Section(f"Scores{of_target} by subject", by_subject, tables, strips)
        if several_splits:
            tables = _score_tables(results, target, "split", comparisons)
            yield Section(f"Scores{of_target} by run", (_BY_RUN,), tables)
        yield _groups_section(results, target, partial(write_figure, folder=figures, form=form))
        for name, (prefixes, explanation) in _DETAILS.items():
            table = details_table(results, target, name, prefixes)
            if table.rows:
                more = lesion_sentence(results) if name == "lesions" else ""
                text = f"{explanation} {more}".strip()
                yield Section(f"{name.capitalize()}{of_target}", (text,), (table,))


def _groups_section(
    results: CandidateScores, target: str, write: Callable[..., tuple[Figure, ...]]
) -> Section:
    """Dice of a target by center and by resolution, or the reason why there is none."""
    groups = [group for by in (by_center, by_resolution) if (group := by(results, target))]
    tables = tuple(dice_table(results, target, group) for group in groups)
    names = ("dice_by_center", "dice_by_resolution")
    figures = tuple(chain(*(write(name, results, target=target) for name in names)))
    title = f"Dice of {target} by {results.group_column} and resolution"
    return Section(title, tuple(missing_group_sentences(results, target)), tables, figures)


def _score_tables(
    results: CandidateScores, target: str, unit: Unit, comparisons: Comparisons
) -> tuple[TextTable, ...]:
    """The means, and the comparisons behind their stars if there are any."""
    family = comparisons[target, unit]
    means = means_table(results, target, unit, family)
    return (means, comparisons_table(results, target, unit, family)) if family else (means,)


def _figure_sections(results: Results, folder: Path, form: FigureFormat) -> Iterator[Section]:
    """The paper's Figures 2 to 7, volumes, calibration, learning, time, and the list of runs."""
    write = partial(write_figure, results=results, folder=folder, form=form)
    for target in results.targets:
        softness = (
            *write("progression", target=target),
            *write("thresholds", target=target),
            *write("density", target=target),
        )
        thresholds = f"Thresholds. {' '.join(threshold_sentences(results, target))}"
        ranges = threshold_range_table(results, target)
        shown = (ranges,) if ranges.rows else ()
        yield Section(f"Softness of {target}", (thresholds,), shown, softness)
        yield _examples_section(target, write)
        yield from volume_sections(results, target, folder, form)
    yield Section("Learning curves", tables=(epochs_table(results),), figures=write("learning"))
    yield Section("Where the time went", figures=write("timing"))
    yield Section("Runs", tables=(runs_table(results),))


def volume_sections(
    results: CandidateScores, target: str, folder: Path, form: FigureFormat = "png"
) -> Iterator[Section]:
    """The agreement of volumes, the calibration, and the bias of volumes of a target."""
    write = partial(write_figure, results=results, folder=folder, target=target, form=form)
    yield Section(f"Volumes of {target}", figures=write("volumes"))
    tables = (
        details_table(results, target, "calibration", ("ece", "ace", "brier", "dV_")),
        bias_table(results, target),
    )
    diagrams = (*write("reliability"), *write("volume_bias"))
    title = f"Calibration and volume bias of {target}"
    yield Section(title, (calibration_sentence(results),), tables, diagrams)


def _examples_section(target: str, write: Callable[..., tuple[Figure, ...]]) -> Section:
    """Examples of predictions, or the reason why there are none."""
    title = f"Examples of {target}"
    try:
        examples = write("examples", target=target)
    except UserError as error:  # the scans may have moved since
        return Section(title, (f"The scans could not be shown: {error}",))
    no_examples = () if examples else ("No subject was tested by every candidate.",)
    return Section(title, no_examples, figures=examples)

"""The report of a complete and of an unfinished ablation, and of a single run."""

from __future__ import annotations

import io
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from rich.console import Console
from scipy import stats

from softseg.core.errors import UserError
from softseg.render.figures.style import narrow_copies
from softseg.render.page import Section, write_page
from softseg.report import figures
from softseg.report import report as reporting
from softseg.report.examples import select_subjects
from softseg.report.figures import write_figure
from softseg.report.report import show, write_report
from softseg.report.results import read_results
from softseg.report.tables import candidates_table
from softseg.training.recorder import write_preview, write_preview_slice
from tests.support import ablation_folder as fake

DONE = fake.scores(splits=6, subjects=2)
DICE = pd.Series({(name, k, s): dice for (name, k), run in DONE.items() for s, dice in run.items()})
ALWAYS = [
    "scores_gm",
    "thresholds_gm",
    "density_gm",
    "volumes_gm",
    "volume_bias_gm",
    "learning",
    "timing",
]


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """The report of an ablation without its scans."""
    study = fake.write(tmp_path_factory.mktemp("study"), DONE)
    write_report(study)
    return study


def test_raters_and_lesions_have_tables_if_they_were_measured(tmp_path):
    study = fake.write(tmp_path / "study", DONE)
    for path in study.rglob("metrics.csv"):
        table = pd.read_csv(path)
        more = {"dice_rater_a": 70.0, "dice_rater_b": np.nan, "dice_between_raters": 80.0}
        table.assign(**more, ged=0.25, ltpr_0_20=50.0, lesions_truth=3.0).to_csv(path, index=False)
    write_report(study)
    raters, lesions = csv(study, "raters_gm"), csv(study, "lesions_gm")
    assert raters.filter(like="with a").notna().all(axis=None)
    assert not [name for name in raters if "with b" in name]  # measured nowhere
    assert raters.filter(like="energy").iloc[0, 0].startswith("0.2")
    assert len(raters) == len(lesions) == 3
    assert lesions.filter(like="0 to 20").iloc[0, 0].startswith("50.0")
    assert {"Raters", "Lesions"} <= set(titles(study))


def test_without_raters_and_lesions_they_have_no_table(reported):
    assert not {"Raters", "Lesions"} & set(titles(reported))
    assert not list((reported / "tables").glob("raters*"))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two candidates on two splits with their scans, not reported yet."""
    folder = tmp_path_factory.mktemp("small")
    done = {(name, k): {f"site{k}-sc01": 80.0 - k} for name in ("Soft", "Dice") for k in (1, 2)}
    fake.write(folder / "study", done, root=folder / "data")
    fake.scans(folder / "data", folder / "study", done)
    return folder


def page(folder):
    return (folder / "report.html").read_text()


def titles(folder):
    return re.findall(r"<h2[^>]*>([^<]*)</h2>", page(folder))


def figure_names(folder):
    return sorted(path.stem for path in (folder / "figures").iterdir())


def csv(folder, name):
    return pd.read_csv(folder / "tables" / f"{name}.csv", index_col=0)


def test_the_page_has_every_section(reported):
    expected = [
        "Scores by subject", "Scores by run", "Dice of gm by center and resolution",
        "Softness of gm", "Examples of gm",
        "Volumes of gm", "Calibration and volume bias of gm", "Learning curves",
        "Where the time went", "Runs",
    ]  # fmt: skip
    assert [title for title in titles(reported) if title in expected] == expected
    assert "Ablation study" in page(reported)
    assert "runs on different splits are not independent" in page(reported)


def test_without_scans_only_the_examples_are_missing_from_the_page(reported):
    reason = "The scans could not be shown: dataset.root: there is no folder nowhere"
    assert reason in page(reported)
    assert figure_names(reported) == sorted(ALWAYS)
    assert len(re.findall(r"<img[^>]* src=\"data:image/png;base64,", page(reported))) == len(ALWAYS)


@pytest.mark.parametrize("unit", ["subject", "split"])
def test_means_of_the_table_are_those_of_the_runs_metrics(reported, unit):
    """DICE has the values of metrics.csv, with the levels candidate, split, subject."""
    table = csv(reported, f"scores_by_{unit}_gm")
    column = next(name for name in table.columns if name.startswith("Dice"))
    for name in fake.NAMES:
        means = DICE[name].groupby(level=1 if unit == "subject" else 0).mean()
        [row] = [label for label in table.index if label.startswith(name)]
        mean, deviation = re.findall(r"[\d.]+", table.loc[row, column])[:2]
        assert float(mean) == pytest.approx(means.mean(), abs=0.051)
        assert float(deviation) == pytest.approx(means.std(), abs=0.051)


def compared_dice(folder, candidate):
    """p of Dice, and its median difference in points, by run."""
    table = csv(folder, "comparisons_by_split_gm")
    row = table[table["metric"].str.startswith("Dice")].loc[candidate]
    median = row["median difference [95 % interval]"].split()[0].replace("−", "-")
    return float(row["p"].removeprefix("p = ")), float(median)


def test_p_values_are_those_of_scipy_for_each_method(reported, tmp_path, monkeypatch):
    """Exact: 2 / 2^6 for six runs that all differ in one direction; the paper's p is smaller."""
    runs = DICE.groupby(level=(0, 1)).mean()
    differences = (runs["Hard"] - runs["Soft"]).to_numpy()
    normal = stats.wilcoxon(differences, method="approx", correction=False).pvalue
    assert normal < 0.03
    p, median = compared_dice(reported, "Hard")
    assert p == pytest.approx(2 / 2**6, abs=0.00006)
    assert median == pytest.approx(np.median(differences), abs=0.051)
    monkeypatch.setattr(reporting, "_figure_sections", lambda *_: [])  # they take long
    again = shutil.copytree(reported, tmp_path / "again")
    assert write_report(again, "paper").method == "paper"
    assert compared_dice(again, "Hard")[0] == pytest.approx(normal, abs=0.00006)


def test_examples_are_the_worst_median_and_best_subject_of_the_reference(tmp_path):
    """In a split that every candidate tested; s9, the best, was tested by Soft alone."""
    soft = {"s1": 70.0, "s2": 50.0, "s3": 90.0, "s4": 80.0, "s5": 60.0}
    done = {("Soft", 0): soft, ("Dice", 0): dict.fromkeys(soft, 10.0), ("Soft", 1): {"s9": 99.0}}
    results = read_results(fake.write(tmp_path, done))
    assert select_subjects(results, "gm") == {
        "worst": ("s2", 0),
        "median": ("s1", 0),
        "best": ("s3", 0),
    }


def test_with_scans_and_predictions_there_are_examples(small):
    write_report(small / "study")
    assert "examples_gm" in figure_names(small / "study")
    assert "could not be shown" not in page(small / "study")
    assert "The subjects with the worst, the median and the best Dice" in page(small / "study")


def test_close_ups_and_an_example_of_each_center_are_figures_of_the_report(small, tmp_path):
    study = shutil.copytree(small / "study", tmp_path / "study")
    centers, pixels = {"site1-sc01": "lyon", "site2-sc01": "rome"}, {"site1-sc01": 0.5}
    fake.group(study, centers, pixels)
    write_report(study)
    assert {"closeups_gm", "centers_gm", "dice_by_center_gm"} <= set(figure_names(study))
    assert "The subject with the median Dice of gm by Soft in each center" in page(study)
    assert "where the truth and the soft predictions of gm are softest" in page(study)
    names = {path.name for path in (study / "tables").iterdir()}
    for table in ("dice_by_center_gm", "threshold_range_gm", "epochs"):
        assert {f"{table}.csv", f"{table}.md", f"{table}.tex"} <= names
    assert csv(study, "dice_by_center_gm").loc["lyon", "Soft"] == "79.0"


def test_examples_of_candidates_with_different_contrasts(small, tmp_path):
    """Predictions of a candidate are named after its own first image."""
    study = shutil.copytree(small, tmp_path / "x") / "study"
    for scan in (tmp_path / "x/data").glob("*-image.nii.gz"):
        shutil.copy(scan, scan.with_name(scan.name.replace("image", "other")))
    for path in study.rglob("*.yaml"):
        text = path.read_text().replace(str(small), str(tmp_path / "x"))
        if "Dice" in path.parts:
            named = (
                'image: "site{center}-sc{subject}-other.nii.gz"\n  id: "site{center}-sc{subject}"'
            )
            text = text.replace("layout: scgm", f"layout: scgm\n  {named}")
        path.write_text(text)
    for path in list((study / "Dice").rglob("*-image_label*")):
        path.rename(path.with_name(path.name.replace("image", "other")))
    write_report(study)
    assert "examples_gm" in figure_names(study)
    assert "could not be shown" not in page(study)


def test_an_unfinished_ablation_has_a_report_that_names_missing_runs(tmp_path, small):
    """The reference has no run yet, and no split is done by two candidates."""
    done = {("Soft", 1): {"site1-sc01": 80.0}, ("Dice", 2): {"site2-sc01": 80.0}}
    planned = [("Hard", 1), ("Wing", 1)]
    fake.write(tmp_path, done, planned, root=small / "data", reference="Wing")
    fake.fail(tmp_path / "Hard/split-1", "loss is not <finite>")
    results = write_report(tmp_path)
    assert "1 run not done yet" in page(tmp_path)
    assert "Hard/split-1: loss is not &lt;finite&gt;" in page(tmp_path)
    assert "No subject was tested by every candidate." in page(tmp_path)
    assert not (tmp_path / "tables/comparisons_by_subject_gm.csv").exists()
    console = Console(file=io.StringIO(), width=200)
    show(results, tmp_path, console)
    for part in ("no run", "1 run failed", "report.html"):
        assert part in console.file.getvalue()


def test_a_single_run_has_a_report(tmp_path):
    run = fake.one_run(tmp_path / "run", {"a": 80.0, "b": 70.0})
    write_report(run)
    assert "Scores by run" not in titles(run)
    assert {"Scores by subject", "Softness of gm", "Runs"} <= set(titles(run))
    assert csv(run, "scores_by_subject_gm").shape[0] == 1
    assert csv(run, "epochs").shape[0] == csv(run, "threshold_range_gm").shape[0] == 1
    assert "There is no Dice by center" in page(run)


def test_without_a_finished_run_there_is_nothing_to_report(tmp_path):
    fake.write(tmp_path, {}, [("Soft", 0)])
    with pytest.raises(UserError, match="nothing to report"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_missing_scan_does_not_stop_the_report(tmp_path):
    """The data folder exists, one subject does not (excluded, renamed or deleted)."""
    done = {(name, 1): {"site1-sc01": 80.0, "site2-sc01": 70.0} for name in ("Soft", "Dice")}
    fake.write(tmp_path / "study", done, root=tmp_path / "data")
    fake.scans(tmp_path / "data", tmp_path / "study", done)
    for file in (tmp_path / "data").glob("site1-sc01*"):
        file.unlink()
    write_report(tmp_path / "study")
    assert "could not be shown" in (tmp_path / "study/report.html").read_text()


def preview_of_target(run, image, target):
    write_preview_slice(run, torch.as_tensor(image), torch.as_tensor(target))
    write_preview(run, 1, torch.as_tensor(target))


def test_a_candidate_with_another_preview_slice_is_named_instead_of_drawn(tmp_path):
    """The slice differs in its crop, its targets, or the resolution at the same size."""
    fake.write(tmp_path, fake.scores(splits=1, candidates=("A", "B", "C", "D", "E")))
    image, target = np.random.default_rng(0).random((2, 1, 6, 8), dtype=np.float32)
    preview_of_target(tmp_path / "A/split-0", image, target)
    preview_of_target(tmp_path / "B/split-0", image[:, :4], target[:, :4])
    preview_of_target(tmp_path / "C/split-0", image, np.stack([*target, *target]))
    preview_of_target(tmp_path / "D/split-0", image, target / 2)
    preview_of_target(tmp_path / "E/split-0", image, np.empty((0, 6, 8), np.float32))
    [figure] = write_figure("progression", read_results(tmp_path), tmp_path, "gm")
    assert "Not shown, as their slice is another: B, D." in figure.caption
    assert (tmp_path / "progression_gm.png").exists()


def test_the_progression_is_of_a_split_that_every_candidate_has_finished(tmp_path):
    done = fake.scores(splits=2, candidates=("A", "B"))
    del done["B", 0]
    fake.write(tmp_path, done)
    image, target = np.random.default_rng(0).random((2, 1, 6, 8), dtype=np.float32)
    for run in ("A/split-0", "A/split-1", "B/split-1"):
        preview_of_target(tmp_path / run, image, target)
    [figure] = write_figure("progression", read_results(tmp_path), tmp_path, "gm")
    assert "one validation slice of split 1" in figure.caption
    assert "Not shown" not in figure.caption
    shutil.rmtree(tmp_path / "B/split-1/previews")
    [figure] = write_figure("progression", read_results(tmp_path), tmp_path, "gm")
    assert figure.caption.endswith("as they kept no predictions of this split: B.")


def test_unequal_numbers_of_runs_are_in_the_captions_of_learning_curves(tmp_path):
    done = fake.scores(splits=2, candidates=("A", "B"))
    del done["B", 0]
    results = read_results(fake.write(tmp_path, done))
    [figure] = write_figure("learning", results, tmp_path)
    assert "of different splits (A 2, B 1 runs)" in figure.caption


def test_times_are_of_the_splits_that_every_candidate_has_finished(tmp_path, monkeypatch):
    done = fake.scores(splits=3, candidates=("A", "B"))
    del done["B", 0]
    results = read_results(fake.write(tmp_path, done))
    plotted = {}
    monkeypatch.setattr(figures, "plot_timing", lambda seconds, _: plotted.update(seconds))
    [figure] = write_figure("timing", results, tmp_path)
    assert plotted["A"] == plotted["B"]
    assert sum(plotted["A"].values()) == 2 * (3 * 12 + 5)  # two runs of three epochs
    assert "on the 2 splits that every candidate has finished" in figure.caption
    apart = {("A", 0): {"a": 80.0}, ("B", 1): {"b": 80.0}}
    [figure] = write_figure("timing", read_results(fake.write(tmp_path / "x", apart)), tmp_path)
    assert "on different splits, so not comparable" in figure.caption


def test_the_report_names_what_each_candidate_is(tmp_path):
    fake.write(tmp_path, fake.scores(splits=2))
    table = candidates_table(read_results(tmp_path))
    assert table.header == ("candidate", "loss", "head", "augmentation", "crop")
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert rows["Soft"][:2] == ["adaptive_wing", "normrelu (bias: 1.0)"]
    assert rows["Dice"] == rows["Soft"]  # these runs share a configuration


def test_the_report_names_the_steps_that_the_last_epochs_leave_out(tmp_path):
    fake.write(tmp_path, fake.scores(splits=2))
    for run in read_results(tmp_path).done_runs("Soft"):
        tree = yaml.safe_load(run.run.config.read_text())
        tree["augment"] = [{"affine": {}}, {"noise": {}}]
        tree["trainer"] |= {"uninterpolated_fraction": 0.5, "early_stopping": None}
        tree["trainer"]["max_epochs"] = 4
        run.run.config.write_text(yaml.safe_dump(tree))
    table = candidates_table(read_results(tmp_path))
    rows = {row[0].text: row[3].text for row in table.rows}
    assert rows["Soft"].endswith("(the last 2 epochs without affine)")
    assert "last" not in rows["Dice"]


def test_the_report_names_how_masks_were_softened(tmp_path):
    fake.write(tmp_path, fake.scores(splits=2))
    results = read_results(tmp_path)
    for run in results.done_runs("Soft"):
        codes, soften = "{values: [1]", ", soften: {gaussian: {sigma_mm: 2}}"
        run.run.config.write_text(run.run.config.read_text().replace(codes, codes + soften))
    table = candidates_table(read_results(tmp_path))
    assert table.header[-1] == "softened masks"
    rows = {row[0].text: row[-1].text for row in table.rows}
    assert rows["Dice"] == "none"
    assert rows["Soft"].endswith(": gaussian (sigma_mm: 2.0)")


def test_the_report_names_the_confidence_of_masks(tmp_path):
    fake.write(tmp_path, fake.scores(splits=2))
    for run in read_results(tmp_path).done_runs("Soft"):
        config = run.run.config.read_text()
        run.run.config.write_text(config.replace("values: [1]", "values: {1: 0.5, 2: 1}"))
    table = candidates_table(read_results(tmp_path))
    assert table.header[-1] == "confidence"
    assert table.title == "Loss, head, augmentation, crop and confidence of each candidate"
    rows = {row[0].text: row[-1].text for row in table.rows}
    assert rows["Dice"] == "none"
    assert rows["Soft"].endswith("codes {1: 0.5, 2: 1.0}")


def test_figures_of_a_report_are_also_pdf_or_svg_and_have_a_copy_for_a_phone(tmp_path):
    fake.write(tmp_path, fake.scores(splits=2, candidates=("Soft",)))
    results = read_results(tmp_path)
    with narrow_copies():
        [figure] = write_figure("timing", results, tmp_path / "f", form="svg")
    assert figure.path.name == "timing.png"
    names = {path.name for path in (tmp_path / "f").iterdir()}
    assert names == {"timing.png", "timing.svg", "timing-narrow.png"}
    write_page(tmp_path / "page.html", "t", {}, [], [Section("s", figures=(figure,))])
    text = (tmp_path / "page.html").read_text()
    assert re.search(r"<source media=\"\(max-width: 40rem\)\" srcset=\"data:image/png", text)
    assert re.search(r"<img src=\"data:[^>]*\" width=\"1245\">", text)

"""`softseg data`: download, check and show datasets, or write a synthetic one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from softseg.cli.options import AsJson, ConfigFile, Format, Overwrite, Sets
from softseg.core.console import open_console, print_json, print_topics

app = typer.Typer(
    help="Download, check and show datasets, or write a synthetic one.", no_args_is_help=True
)


@app.command()
def check(
    config: ConfigFile,
    set_: Sets = None,
    json_: AsJson = False,
    pairs: Annotated[
        Path | None, typer.Option(help="Write the files of each subject to this CSV file.")
    ] = None,
    preprocess: Annotated[
        bool,
        typer.Option(
            "--preprocess",
            help="Also preprocess: print the share of soft voxels and what the crop cuts off.",
        ),
    ] = False,
) -> None:
    """Read every file of a dataset once; report errors, warnings and notes."""
    from softseg.check.check import check_dataset
    from softseg.check.output import as_error, as_json, as_lines
    from softseg.config.load import load_experiment
    from softseg.runs.data import prepare_data
    from softseg.runs.patch_size import resolve_patches
    from softseg.training.run_summary import summarize_data

    console, experiment = open_console(to_stderr=json_), load_experiment(config, set_ or [])
    result = check_dataset(
        experiment.dataset, experiment.split, experiment.seed, console, pairs, experiment.samples
    )
    if json_:
        print_json(as_json(result))
        sys.exit(2 if result.of("error") else 0)
    print_topics(console, as_lines(result))
    if error := as_error(result):
        raise error
    if preprocess:
        prepared = prepare_data(experiment, console)
        experiment = resolve_patches(experiment, prepared)
        lines = summarize_data(experiment, prepared.sets, prepared.store, prepared.persons)
        print_topics(console, lines)


@app.command()
def summary(
    config: ConfigFile,
    set_: Sets = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the contact sheets.")] = Path(
        "contact"
    ),
    format: Format = "png",
    json_: AsJson = False,
) -> None:
    """Draw a contact sheet: for each subject the slice with most foreground, masks outlined."""
    from softseg.check.contact_sheet import sheet_entries, write_contact_sheets
    from softseg.config.load import load_experiment
    from softseg.core.errors import combined_error
    from softseg.core.files import check_new_folder
    from softseg.data.subject import count_scans, persons_of

    check_new_folder(out)
    console = open_console(to_stderr=json_)
    experiment = load_experiment(config, set_ or [])
    subjects = experiment.dataset()
    sets = experiment.split(subjects, experiment.seed)
    problems: list[str] = []
    sheet = sheet_entries(
        subjects,
        experiment.dataset,
        sets,
        experiment.slices.axis_index,
        problems,
        experiment.preprocess,
    )
    pages = write_contact_sheets(sheet, out, format)
    persons = persons_of(subjects)
    line = f"{count_scans(persons, persons)} on {len(pages) - 1} page(s): {out}"
    console.print(line, highlight=False, markup=False)
    if json_:
        counts = {"subjects": len(persons), "persons": len(set(persons.values()))}
        print_json({**counts, "files": [str(page) for page in pages], "problems": problems})
    if problems:
        raise combined_error("subjects that cannot be read are black in the sheets:", problems)


@app.command()
def augment(
    config: ConfigFile,
    set_: Sets = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the figures.")] = Path(
        "augmentation"
    ),
    subject: Annotated[
        str | None, typer.Option(help="Name of a subject (default: the first training subject).")
    ] = None,
    format: Format = "png",
    overwrite: Overwrite = False,
    json_: AsJson = False,
) -> None:
    """Draw what augmentation does to a slice: each step at its extremes, and the whole chain."""
    from softseg.config.experiment import Experiment
    from softseg.config.load import is_ablation, load_tree, validate
    from softseg.core.errors import UserError
    from softseg.core.files import check_new_folder
    from softseg.training.augmentation_sheet import draw_augmentation

    tree = load_tree(config, set_ or [])
    if is_ablation(tree):
        raise UserError(
            f"{config} is an ablation, whose candidates may differ in their augmentation; name the "
            "configuration that it extends, with what a candidate changes as --set KEY=VALUE"
        )
    experiment = validate(tree, Experiment)
    check_new_folder(out)
    console = open_console(to_stderr=json_)
    drawn = draw_augmentation(experiment, out, console, subject, format, overwrite=overwrite)
    line = f"{drawn.subject}, slice {drawn.slice} of {drawn.slices}: "
    line += ", ".join(str(file) for file in drawn.files)
    console.print(line, highlight=False, markup=False)
    if json_:
        files = [str(file) for file in drawn.files]
        print_json({"subject": drawn.subject, "slice": drawn.slice, "files": files})


@app.command()
def phantom(
    folder: Annotated[Path, typer.Argument(help="Folder to write to.", metavar="DIR")],
    layout: Annotated[
        str,
        typer.Option(help="Layout: scgm, msseg2016, brats2019, uncertain1 or uncertain4."),
    ] = "scgm",
    subjects: Annotated[int, typer.Option(min=1, help="Number of scans.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="The same seed writes the same bytes.")] = 0,
) -> None:
    """Write a synthetic dataset in the layout of a real one, with exact partial volumes."""
    from softseg.datasets.phantom import write_phantom

    written = write_phantom(folder, layout, subjects, seed)
    message = f"wrote {len(written)} files to {folder}; they are synthetic"
    open_console().print(message, highlight=False, markup=False)


@app.command()
def download(
    name: Annotated[
        str,
        typer.Argument(
            help="hippocampus | gm-challenge-data | ms-lesions; for scgm, msseg2016 and brats2019 "
            "it prints where to request the data.",
            metavar="NAME",
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="Folder of the dataset.", metavar="DIR")],
) -> None:
    """Download a public dataset; resumes an interrupted download, downloads nothing twice."""
    from softseg.datasets.download import report_download
    from softseg.datasets.download.sources import find_source

    report_download(find_source(name), folder, open_console())

"""The model card: what a stranger must know before using a model, in Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from softseg.config.experiment import Experiment
from softseg.config.yaml.write import inline
from softseg.package.about import About, Moments
from softseg.preprocess import Crop
from softseg.render.text_table import Cell, TextTable, markdown
from softseg.runs.thresholds import Threshold

_SYNTHETIC = (
    "> **The training data are SYNTHETIC** (a phantom drawn by softseg). Nothing here says "
    "anything about patients."
)


def card(about: About, experiment: Experiment, thresholds: Mapping[str, Threshold] | None) -> str:
    """The card of a model, as CommonMark with one table."""
    sections = {
        "What it does": _does(about, experiment),
        "Preprocessing": _preprocessing(experiment),
        "Training data": _data(about),
        "Threshold": _threshold(about, thresholds),
        "Scores": _scores(about, experiment),
        "Use": _use(about),
        "Limits": _limits(about),
        "License and citation": _credits(about),
    }
    head = [f"# {about.name}", *([_SYNTHETIC] if about.summary.synthetic else [])]
    head += [about.description] if about.description else []
    for title, lines in sections.items():
        head += [f"## {title}", "\n".join(lines)]
    return "\n\n".join(head) + "\n"


def _does(about: About, experiment: Experiment) -> Iterator[str]:
    model = experiment.model
    yield f"Segments {_named(about.targets)} in {_named(about.contrasts)}, slice by slice"
    yield f"({experiment.slices.axis}). Gives a soft segmentation in [0, 1] and a binary one on the"
    yield "grid of the input."
    yield ""
    yield f"- input channels, in this order: {_named(about.contrasts)}"
    yield f"- network: `{model.name}`, depth {model.depth}, {model.filters} filters"
    yield f"- head `{model.head.name}`, trained with the loss `{experiment.loss.name}`"
    yield f"- weights: epoch {about.epoch}; the training is {about.status}"


def _named(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _preprocessing(experiment: Experiment) -> Iterator[str]:
    yield "`softseg predict` does this by itself, after bringing a scan to the closest canonical"
    yield "orientation (RAS+):"
    yield ""
    for step in experiment.model_dump(mode="json")["preprocess"]:
        yield f"- `{inline(step)}`"


def _data(about: About) -> Iterator[str]:
    counts = about.summary.subjects
    others = f"{counts['validation']} for validation, {counts['test']} for testing"
    yield f"Subjects: {counts['train']} for training, {others}."
    yield f"Ground truth: {about.summary.raters}."
    if about.summary.synthetic is None:
        yield "Whether they are scans or synthetic is not known: the data were not at hand when"
        yield "the package was made."
    if about.fingerprint:
        yield ""
        yield f"Fingerprint of the data: `{about.fingerprint}`"


def _threshold(about: About, thresholds: Mapping[str, Threshold] | None) -> Iterator[str]:
    if thresholds is None:
        yield "None was searched for; 0.5 is used unless another is given."
        return
    n = about.summary.subjects["train"] + about.summary.subjects["validation"]
    yield f"Searched for on the {n} training and validation subjects (mean Dice there):"
    yield ""
    for target, one in thresholds.items():
        yield f"- `{target}`: {one.value:.2f} ({one.dice:.1f} %)"


def _scores(about: About, experiment: Experiment) -> Iterator[str]:
    if not about.scores:
        yield "It was not evaluated."
        return
    at = ", ".join(f"{target} {value:.2f}" for target, value in about.scored_at.items())
    rows = tuple(
        (Cell(target), Cell(metric), Cell(_number(moments)), Cell(str(moments.n)))
        for target, metrics in about.scores.items()
        for metric, moments in metrics.items()
    )
    yield "On the test subjects, in the native space of each scan, named as in `metrics.csv`; Dice,"
    yield "precision, recall, volume differences and MSE are in percent."
    if any(isinstance(step, Crop) and step.around == "image" for step in experiment.preprocess):
        yield "They and the threshold are of what lies in the training's crop, in the middle of a"
        yield "scan. `softseg predict --training-crop` looks there only; else larger scans are"
        yield "segmented whole, with whatever else there looks like the target."
    yield ""
    title = f"Mean ± standard deviation over scans{f', at a threshold of {at}' if at else ''}"
    yield markdown(TextTable("scores", title, ("target", "metric", "value", "n"), rows)).strip()


def _number(moments: Moments) -> str:
    if moments.mean is None:
        return "undefined"
    return f"{moments.mean:.4g}" + ("" if moments.std is None else f" ± {moments.std:.2g}")


def _use(about: About) -> Iterator[str]:
    roi = " --roi MASK" if about.needs_roi else ""
    yield "```"
    yield f"softseg predict model.softseg IMAGE -o predictions{roi}"
    yield "```"
    if len(about.contrasts) > 1:
        yield ""
        yield f"A scan is {len(about.contrasts)} images on one grid: {_named(about.contrasts)}."


def _limits(about: About) -> Iterator[str]:
    yield "- Research software: not a medical device, not for diagnosis."
    yield "- Scans that differ from those of the training (contrast, resolution, field, center,"
    yield "  disease, age) may be segmented wrongly, with no sign of it."
    if about.scores:
        n = about.summary.subjects["test"]
        yield f"- The scores are of {n} subjects of the same data set; look at your own first."
    if about.status != "finished":
        yield f"- The training did not finish ({about.status})."
    if about.needs_roi:
        yield "- It looks only around an ROI, which must be given with each scan."


def _credits(about: About) -> Iterator[str]:
    license = about.license or "none was given, so ask the authors before you use it"
    yield f"- license: {_in_one_line(license)}"
    yield f"- authors: {_in_one_line(', '.join(about.authors) or 'not given')}"
    yield f"- cite: {_in_one_line(about.citation or 'not given')}"
    yield "- method: Gros, Lemay, Cohen-Adad: SoftSeg. Medical Image Analysis 71, 2021"
    versions = ", ".join(f"{name} {version}" for name, version in about.trained_with.items())
    yield f"- trained {about.created or 'at an unknown time'} with {versions or 'softseg'}"


def _in_one_line(text: str) -> str:
    return textwrap.shorten(text, width=10_000)

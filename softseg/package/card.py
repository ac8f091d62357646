"""The model card in Markdown: what a user must know before applying the model."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Mapping

from softseg.config.experiment import Experiment
from softseg.config.yaml.write import inline
from softseg.metrics.headings import count_of, heading_of, sign_note
from softseg.package.metadata import ModelMetadata
from softseg.preprocess.steps import Crop
from softseg.render.text_table import Cell, TextTable, to_markdown
from softseg.runs.thresholds import Threshold


def model_card(
    metadata: ModelMetadata, experiment: Experiment, thresholds: Mapping[str, Threshold]
) -> str:
    """Return the model card as CommonMark; `thresholds` is empty if no search was run."""
    blocks = [
        *_model_blocks(metadata, experiment),
        *_training_blocks(metadata, experiment, thresholds),
        *_usage_blocks(metadata, experiment.dataset.on_grid_mismatch == "resample"),
    ]
    return "\n\n".join(blocks) + "\n"


def _model_blocks(metadata: ModelMetadata, experiment: Experiment) -> Iterator[str]:
    """The title and the sections on the model."""
    model = experiment.model
    yield f"# {metadata.name}"
    if metadata.summary.synthetic:
        yield (
            "> **The training data are SYNTHETIC** (a phantom made by softseg). Nothing here says "
            "anything about patients."
        )
    if metadata.description:
        yield metadata.description

    yield "## What it does"
    what = f"{_code(metadata.targets)} in {_code(metadata.contrasts)}"
    yield (
        f"Segments {what}, {_samples(experiment)}.\n"
        "Gives a soft segmentation in [0, 1] and a binary one on the grid of the input."
    )
    channels = _code(metadata.contrasts)
    if metadata.neighbors:
        channels += f" of each of {2 * metadata.neighbors + 1} slices"
    yield (
        f"- input channels, in this order: {channels}\n"
        f"- network: `{model.name}`, depth {model.depth}, {model.filters} filters\n"
        f"- head `{model.head.name}`, trained with the loss `{experiment.loss.name}`\n"
        f"- weights: epoch {metadata.epoch}; training status: {metadata.status}"
    )

    if experiment.evaluate.mirror:
        yield (
            "Logits are averaged over mirror images of a scan (`softseg predict --no-mirror` "
            "switches this off)."
        )

    yield "## Preprocessing"
    steps = experiment.model_dump(mode="json")["preprocess"]
    yield (
        "`softseg predict` does this automatically, after turning a scan to the closest canonical\n"
        "orientation (RAS+):\n"
    ) + "".join(f"\n- `{inline(step)}`" for step in steps)


def _samples(experiment: Experiment) -> str:
    """Return how the network sees a scan: slice by slice, or in patches."""
    if experiment.axes == 2:
        around = ""
        if count := experiment.slices.neighbors:
            around = f", each with {count} on both sides"
        return f"slice by slice\n({experiment.slices.axis}{around})"
    size = experiment.patches.size
    return "as a volume" + (f", in patches of\n{' x '.join(map(str, size))} voxels" if size else "")


def _training_blocks(
    metadata: ModelMetadata, experiment: Experiment, thresholds: Mapping[str, Threshold]
) -> Iterator[str]:
    """The sections on training data, thresholds and scores."""
    counts = metadata.summary.subjects
    yield "## Training data"
    data = (
        f"Subjects: {counts['train']} for training, {counts['validation']} for validation, "
        f"{counts['test']} for testing.\n"
        f"Ground truth: {metadata.summary.raters}."
    )
    for name, target in experiment.dataset.targets.items():
        if target.soften is not None:
            soften = {target.soften.name: target.soften.model_dump(mode="json", exclude={"name"})}
            data += (
                f"\nThe masks of `{name}` were softened for training: `{inline(soften)}`."
                "\nThe scores below compare with the masks as they were."
            )
    if metadata.summary.synthetic is None:
        data += (
            "\nIt is unknown whether they are scans or synthetic: the data were not available when"
            "\nthe package was made."
        )
    yield data
    if metadata.fingerprint:
        yield f"Fingerprint of the data: `{metadata.fingerprint}`"

    yield "## Threshold"
    if thresholds:
        count = counts["train"] + counts["validation"]
        yield f"Searched for on {count} training and validation subjects (mean Dice there):"
        yield "\n".join(
            f"- `{target}`: {_describe_threshold(threshold)}"
            for target, threshold in thresholds.items()
        )
    else:
        yield "No search was run; 0.5 is used unless another is given."

    yield "## Scores"
    if not metadata.scores:
        yield "The model was not evaluated."
        return
    scores = "On the test subjects, in the native space of each scan, named as in `metrics.csv`."
    if any(isinstance(step, Crop) and step.around == "image" for step in experiment.preprocess):
        scores += (
            "\nScores and threshold refer to the crop used in training, in the middle of a scan."
            "\n`softseg predict --training-crop` segments only that; otherwise larger scans are"
            "\nsegmented as a whole, with everything in them that looks like the target."
        )
    if experiment.evaluate.remove_small_from_truth is not None:
        scores += "\nSmall objects were removed from the truth before its binary scores."
    yield scores
    yield to_markdown(_score_table(metadata)).strip()


def _describe_threshold(threshold: Threshold) -> str:
    """`0.35 (91.2 %)`, or why it says little."""
    if threshold.value is None:
        return f"none, as every threshold has the same Dice ({threshold.dice:.1f} %); 0.5 is used"
    edge = "; at the edge of the search, so check the masks" if threshold.is_at_edge else ""
    return f"{threshold.value:.2f} ({threshold.dice:.1f} %{edge})"


def _score_table(metadata: ModelMetadata) -> TextTable:
    """The summary of each metric of each target."""
    used = ", ".join(f"{target} {value:.2f}" for target, value in metadata.scored_at.items())
    threshold = f", at a threshold of {used}" if used else ""
    rows = []
    for target, metrics in metadata.scores.items():
        scans = max(summary.n for summary in metrics.values())  # volumes are always defined
        for metric, summary in metrics.items():
            value = "undefined" if summary.mean is None else f"{summary.mean:.4g}"
            if summary.mean is not None and summary.std is not None:
                value += f" ± {summary.std:.2g}"
            unit = heading_of(metric).unit
            name = f"{metric} [{unit}]" if unit else metric
            texts = (target, name, value, count_of(summary.n, scans))
            rows.append(tuple(map(Cell, texts)))
    title = f"Mean ± standard deviation over scans{threshold}"
    signs = sign_note({metric for metrics in metadata.scores.values() for metric in metrics})
    header = ("target", "metric", "value", "scans")
    return TextTable("scores", title, header, tuple(rows), tuple(filter(None, [signs])))


def _usage_blocks(metadata: ModelMetadata, resamples: bool) -> Iterator[str]:
    """The sections on use, limits, license and citation."""
    roi = " --roi MASK" if metadata.needs_roi else ""
    yield "## Use"
    contrasts = metadata.contrasts
    images = "IMAGE"
    if len(contrasts) > 1:
        images = " ".join(shlex.quote(f"{contrast}=IMAGE") for contrast in contrasts)
    yield f"```\nsoftseg predict model.softseg {images} -o predictions{roi}\n```"
    if len(contrasts) > 1:
        grids = "on one grid"
        if resamples:
            grids = f"(those on another grid are resampled onto that of `{contrasts[0]}`)"
        yield f"A scan is {len(contrasts)} images {grids}: {_code(contrasts)}."

    yield "## Limits"
    limits = [
        "- Research software: not a medical device, not for diagnosis.",
        "- Scans that differ from the training scans (contrast, resolution, field, center,",
        "  disease, age) may be segmented wrongly, without any sign of it.",
    ]
    if metadata.scores:
        count = metadata.summary.subjects["test"]
        limits.append(
            f"- The scores are of {count} subjects of the same dataset; check your own first."
        )
    if metadata.status != "finished":
        limits.append(f"- Training did not finish ({metadata.status}).")
    if metadata.needs_roi:
        limits.append("- It segments only a box around an ROI, so each scan needs an ROI mask.")
    yield "\n".join(limits)

    yield "## License and citation"
    license = metadata.license or "not stated, so ask the authors before you use the model"
    authors = ", ".join(metadata.authors) or "not given"
    versions = ", ".join(f"{name} {version}" for name, version in metadata.trained_with.items())
    yield (
        f"- license: {_one_line(license)}\n"
        f"- authors: {_one_line(authors)}\n"
        f"- cite: {_one_line(metadata.citation or 'not given')}\n"
        "- method: Gros, Lemay, Cohen-Adad: SoftSeg. Medical Image Analysis 71, 2021\n"
        f"- trained {metadata.created or 'at an unknown time'} with {versions or 'softseg'}"
    )


def _code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _one_line(text: str) -> str:
    return textwrap.shorten(text, width=10_000)

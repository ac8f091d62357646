"""`softseg convert ivadomed`: convert one configuration of ivadomed to a YAML file.

The YAML file contains what was **really trained**: where ivadomed ignored a key, it has what
ivadomed did instead, with the JSON's value in the comment next to it.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from softseg.config.experiment import Experiment
from softseg.config.load import validate
from softseg.config.yaml.tree import ConfigTree, KeyPath, Location, dotted
from softseg.config.yaml.write import WIDTH, write
from softseg.core.errors import UserError
from softseg.core.files import write_atomically
from softseg.core.names import listing
from softseg.interop.from_ivadomed.dataset import convert_dataset, convert_split
from softseg.interop.from_ivadomed.evaluation import convert_evaluation
from softseg.interop.from_ivadomed.model import convert_model
from softseg.interop.from_ivadomed.outcomes import OFF, Outcomes
from softseg.interop.from_ivadomed.read import read_ivadomed
from softseg.interop.from_ivadomed.training import (
    convert_general,
    convert_loss,
    convert_training,
    convert_uncertainty,
)
from softseg.interop.from_ivadomed.transformation import convert_slices, convert_transformation

if TYPE_CHECKING:
    from rich.console import Console


# in the order of the sections
_CONVERTERS = (
    convert_general,
    convert_dataset,
    convert_split,
    convert_transformation,
    convert_slices,
    convert_model,
    convert_loss,
    convert_training,
    convert_evaluation,
    convert_uncertainty,
)
_ABOUT = """\
Converted from {file}, a configuration of ivadomed, as version {version} reads it. This file \
contains what was really trained: where ivadomed ignored a key, it has what ivadomed did instead. \
The comment above each key names the key of ivadomed and its value in the JSON."""


def convert(file: Path) -> Outcomes:
    """Return the experiment of a configuration of ivadomed, and what became of each of its keys.

    Every key of the JSON is in `carried_over`, `left_out` or `warnings`. Raises UserError for a
    file that is not a configuration of ivadomed, and for values that ivadomed or softseg cannot
    train with.
    """
    config = read_ivadomed(file)
    outcomes = Outcomes(config)
    for converter in _CONVERTERS:
        converter(config, outcomes)
    outcomes.finish()
    try:
        validate(ConfigTree.at(outcomes.yaml, Location(str(file))), Experiment)
    except UserError as error:
        heading = f"{file}: softseg cannot train this; fix the JSON and convert it again"
        raise UserError(f"{heading}\n{error}") from None
    return outcomes


def write_config(outcomes: Outcomes, file: Path, out: Path, overwrite: bool = False) -> None:
    """Write the YAML file with its comments; raises UserError if it exists, unless `overwrite`."""
    if out.exists() and not overwrite:
        raise UserError(f"{out} exists already: name another file, or add --overwrite")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent}: no such folder; create it first")
    write_atomically(out, as_text(outcomes, file, out))


def show(outcomes: Outcomes, out: Path, console: Console) -> None:
    """Print a summary of at most ten lines; the comments of the YAML file explain each key."""
    dataset = outcomes.yaml["dataset"]
    off = [key for key, reason in outcomes.left_out.items() if reason == OFF]
    left_out = len(outcomes.left_out) - len(off)
    lines = [
        f"read as a configuration of ivadomed {outcomes.config.version}",
        f"trains: {', '.join(dataset['contrasts'])} -> {', '.join(dataset['targets'])}",
        f"carried over: {len(outcomes.carried_over)} keys",
        f"not carried over: {left_out} keys, and {len(off)} that are off",
        f"ivadomed did something else than the JSON says: {len(outcomes.warnings)} keys",
    ]
    if outcomes.other_network:
        lines += [f"another network: {outcomes.other_network}"]
    if unknown := outcomes.unknown_keys:
        lines += [f"unknown keys, which ivadomed ignored: {listing(unknown, 5)}"]
    lines += [
        f"wrote {out}; its comments say what became of each key, and why",
        f"check the data: softseg data check {out}",
        f"train: softseg train {out}",
    ]
    console.print("\n".join(lines), highlight=False, markup=False)


def as_text(outcomes: Outcomes, file: Path, out: Path) -> str:
    """Return the YAML file with its comments; loading it gives `outcomes.yaml`."""
    about = _ABOUT.format(file=dotted((file.name,)), version=outcomes.config.version)
    header = [f"softseg train {dotted((str(out),))}", "", *_wrapped(about, 0)]
    left_out = {key: reason for key, reason in outcomes.left_out.items() if reason != OFF}
    for title, reasons in (("Warnings:", outcomes.warnings), ("Not carried over:", left_out)):
        if reasons:
            header += ["", title]
        for reason, keys in _by_reason(reasons).items():
            header += _wrapped(f"- {', '.join(keys)}: {reason}", 0, further="  ")

    def notes(path: KeyPath) -> list[str]:
        lines = _wrapped(outcomes.notes.get(path, ""), 2 * len(path))
        return ["", *lines] if len(path) == 1 else lines  # an empty line between sections

    return "".join(f"# {line}".rstrip() + "\n" for line in header) + write(outcomes.yaml, notes)


def _by_reason(reasons: dict[str, str]) -> dict[str, list[str]]:
    """Return each reason with all keys that have it, in order."""
    keys_by_reason: dict[str, list[str]] = {}
    for key, reason in reasons.items():
        keys_by_reason.setdefault(reason, []).append(key.removesuffix(".*"))
    return keys_by_reason


def _wrapped(text: str, indent: int, further: str = "") -> list[str]:
    """Return lines that fit behind `# ` at an indent, all but the first after `further`."""
    return textwrap.wrap(
        text,
        WIDTH - 2 - indent,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )

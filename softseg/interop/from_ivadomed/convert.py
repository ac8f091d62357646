"""`softseg convert ivadomed`: one configuration of ivadomed made into one YAML.

The YAML says what was **really trained**: where ivadomed ignored a key, it holds what ivadomed did
instead, and the comment beside it what the JSON said. Which version of ivadomed read the file is
told by its keys: those that only 2.2 reads (the paper's), or those of 2.9.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from softseg.config.experiment import Experiment
from softseg.config.load import validate
from softseg.config.yaml.tree import ConfigTree, KeyPath, Location, dotted
from softseg.config.yaml.write import WIDTH, write
from softseg.core.errors import UserError
from softseg.core.files import write_atomically
from softseg.interop.from_ivadomed.dataset import convert_dataset
from softseg.interop.from_ivadomed.evaluation import convert_evaluation
from softseg.interop.from_ivadomed.loss import convert_loss
from softseg.interop.from_ivadomed.model import convert_model
from softseg.interop.from_ivadomed.outcomes import (
    OFF,
    Converted,
    Fact,
    empty_sections,
    gather,
    keys_twice,
    unknown_keys,
)
from softseg.interop.from_ivadomed.read import Source, read
from softseg.interop.from_ivadomed.split import convert_split
from softseg.interop.from_ivadomed.training import (
    convert_general,
    convert_training,
    convert_uncertainty,
)
from softseg.interop.from_ivadomed.transformation import convert_slices, convert_transformation

if TYPE_CHECKING:
    from rich.console import Console


# in the order of the YAML's sections
_GROUPS: tuple[Callable[[Source], Iterator[Fact]], ...] = (
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


def convert(file: Path) -> Converted:
    """The experiment of a configuration of ivadomed, and what became of each of its keys.

    Every key of the JSON is in `carried`, `left` or `warnings`. Raises UserError for a file that is
    no configuration of ivadomed, and for values that ivadomed or softseg cannot train with.
    """
    source = read(file)
    facts = [fact for group in _GROUPS for fact in group(source)]
    converted = gather(source, facts)
    unknown = unknown_keys(source, facts)
    warnings = {**converted.warnings, **unknown, **keys_twice(source)}
    left = {**converted.left, **empty_sections(source, facts)}
    converted = replace(converted, left=left, warnings=warnings)
    _check(file, converted)
    return converted


def write_config(converted: Converted, file: Path, out: Path, overwrite: bool = False) -> None:
    """Write the YAML with its comments. Raises UserError where it exists, unless `overwrite`."""
    if out.exists() and not overwrite:
        raise UserError(f"{out} exists: name another file, or --overwrite it")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent}: no such folder; make it first")
    write_atomically(out, as_text(converted, file, out))


def _check(file: Path, converted: Converted) -> None:
    tree = ConfigTree.at(converted.yaml, Location(str(file)))
    try:
        validate(tree, Experiment)
    except UserError as error:
        heading = f"{file}: what it says cannot be trained here; mend the JSON and convert it again"
        raise UserError(f"{heading}\n{error}") from None


def show(converted: Converted, out: Path, console: Console) -> None:
    """Print three lists: carried over, not carried over, and where ivadomed did something else."""
    lines = [*report(converted), "", f"{out}: softseg train {out}"]
    console.print("\n".join(lines), highlight=False, markup=False)


def report(converted: Converted) -> Iterator[str]:
    """The lines of the three lists."""
    yield f"read as a configuration of ivadomed {converted.version}"
    yield f"carried over ({len(converted.carried)}):"
    yield from (f"  {key} -> {path}" for key, path in converted.carried.items())
    titles = {
        "not carried over": converted.left,
        "warnings: what ivadomed really did": converted.warnings,
    }
    for title, told in titles.items():
        yield f"{title} ({len(told)}):"
        yield from (f"  {', '.join(keys)}: {why}" for why, keys in by_reason(told).items())


_ABOUT = """\
Converted from {file}, a configuration of ivadomed, as its version {version} read it. This is what \
was really trained: where ivadomed ignored a key, what it did instead stands here. Above each key \
stands the key of ivadomed and what the JSON said."""


def as_text(converted: Converted, file: Path, out: Path) -> str:
    """The YAML; loading it gives `converted.yaml`."""
    header = "\n".join(f"# {line}".rstrip() for line in _header(converted, file, out))

    def notes(path: KeyPath) -> list[str]:
        above = [""] if len(path) == 1 else []  # an empty line between sections
        return above + _wrapped(converted.notes.get(path, ""), 2 * len(path))

    return header + "\n" + write(converted.yaml, notes)


def _header(converted: Converted, file: Path, out: Path) -> Iterator[str]:
    yield f"softseg train {dotted((str(out),))}"
    yield ""
    about = _ABOUT.format(file=dotted((file.name,)), version=converted.version)
    yield from _wrapped(about, 0)
    left = {key: why for key, why in converted.left.items() if why != OFF}
    for title, told in (("Warnings:", converted.warnings), ("Not carried over:", left)):
        if told:
            yield from ("", title)
        for why, keys in by_reason(told).items():
            yield from _wrapped(f"- {', '.join(keys)}: {why}", 0, further="  ")


def by_reason(told: dict[str, str]) -> dict[str, list[str]]:
    """What is told -> all keys of which it is told, in order."""
    reasons: dict[str, list[str]] = {}
    for key, why in told.items():
        reasons.setdefault(why, []).append(key.removesuffix(".*"))
    return reasons


def _wrapped(text: str, indent: int, further: str = "") -> list[str]:
    """Lines that fit behind `# ` at an indent; `further` stands before all but the first."""
    return textwrap.wrap(
        text,
        WIDTH - 2 - indent,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )

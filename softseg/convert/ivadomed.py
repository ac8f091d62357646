"""`softseg convert ivadomed`: one configuration of ivadomed made into one YAML.

The YAML says what was **really trained**: where ivadomed ignored a key, it holds what ivadomed did
instead, and the comment beside it what the JSON said. Which version of ivadomed read the file is
told by its keys: those that only 2.2 reads (the paper's), or those of 2.9.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from softseg.config.experiment import Experiment
from softseg.config.load import validate
from softseg.config.tree import Place, Tree
from softseg.convert.dataset import convert_dataset
from softseg.convert.evaluation import convert_evaluation
from softseg.convert.facts import Converted, Fact, gather
from softseg.convert.general import convert_general
from softseg.convert.loss import convert_loss
from softseg.convert.model import convert_model
from softseg.convert.read import Source, read
from softseg.convert.slices import convert_slices
from softseg.convert.split import convert_split
from softseg.convert.text import as_text
from softseg.convert.training import convert_training
from softseg.convert.transformation import convert_transformation
from softseg.convert.uncertainty import convert_uncertainty
from softseg.convert.unknown import empty_sections, keys_twice, unknown_keys
from softseg.errors import UserError
from softseg.files import write_atomically

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
    tree = Tree.of(converted.yaml, Place(str(file)))
    try:
        validate(tree, Experiment)
    except UserError as error:
        heading = f"{file}: what it says cannot be trained here; mend the JSON and convert it again"
        raise UserError(f"{heading}\n{error}") from None

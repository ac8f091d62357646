"""`uncertainty`, which no YAML of an experiment has."""

from __future__ import annotations

from collections.abc import Iterator

from softseg.convert.facts import OFF, Fact, leave
from softseg.convert.read import Source

_WHY = "no key of a YAML: uncertainty is asked for when predicting"


def convert_uncertainty(source: Source) -> Iterator[Fact]:
    """Its keys, at the top in ivadomed 2.9 and below `testing_parameters` in 2.2."""
    for section in ("uncertainty", "testing_parameters.uncertainty"):
        kinds = [source.get(f"{section}.{kind}") for kind in ("epistemic", "aleatoric")]
        on = any(kinds) and source.get(f"{section}.n_it", 0) != 0
        for key in ("epistemic", "aleatoric", "n_it"):
            yield leave(f"{section}.{key}", _WHY if on else OFF)

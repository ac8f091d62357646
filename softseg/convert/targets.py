"""`target_suffix` -> `dataset.targets`, and the fusion of raters where a target has several."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile

from softseg.convert.facts import Fact, carry, fixed, leave
from softseg.convert.read import Source

KEY = "loader_parameters.target_suffix"
_ONE_MASK = "one mask a subject: the JSON does not tell how raters were made into it"
_ODD_RATERS = "the suffixes of a target's raters differ in more than one word: only the first is \
carried over; name the masks alike"
_RANDOM = "ivadomed drew one rater for each sample and epoch; softseg does too, and validates and \
tests with their mean"


def convert_targets(source: Source, contrasts: Sequence[str], bids: bool) -> Iterator[Fact]:
    """A target for each suffix, or for each list of the suffixes of several raters."""
    given = source.items(KEY, (str, list))
    several = [one for one in given if isinstance(one, list)]
    if any(not one or not all(isinstance(name, str) for name in one) for one in several):
        raise source.wrong(KEY, "must hold texts or lists of texts", given)
    suffixes = [_pattern([one] if isinstance(one, str) else one) for one in given]
    names = [_name(one) for one in suffixes]
    if len(set(names)) < len(names):
        raise source.wrong(KEY, "must name each mask once", given)
    values = {name: _place(one, bids) for name, one in zip(names, suffixes, strict=True)}
    yield carry(source, KEY, ("dataset", "targets"), values, "" if several else _ONE_MASK)
    if several:
        yield fixed(("dataset", "raters", "fuse"), "random", _RANDOM)
    if any("{rater}" not in _pattern(one) for one in several if len(one) > 1):
        yield leave(KEY, _ODD_RATERS)
    if len(contrasts) > 1:
        note = "where several contrasts have a mask, say whose with targets.X.contrast"
        yield fixed(("dataset", "targets"), values, note)


def _place(suffix: str, bids: bool) -> dict[str, str]:
    """How a target says where its mask is, in the loader bids and in files."""
    if bids:
        return {"suffix": suffix}
    return {"label": f"derivatives/labels/{{subject}}/*/{{subject}}_{{contrast}}_{suffix}.nii.gz"}


def _pattern(raters: Sequence[str]) -> str:
    """What a target's suffixes have in common, with {rater} for what differs."""
    names = [one.removeprefix("_") for one in raters]
    start = _shared_start(names)
    rest = [name[len(start) :] for name in names]
    end = _shared_start([one[::-1] for one in rest])[::-1]
    words = [one.removesuffix(end) for one in rest]
    if len(names) == 1 or not all(re.fullmatch(r"[A-Za-z0-9-]+", word) for word in words):
        return names[0]
    return f"{start}{{rater}}{end}"


def _shared_start(names: Sequence[str]) -> str:
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same)


def _name(suffix: str) -> str:
    """The target's name: what its suffix says, in letters, digits, `-` and `_`."""
    bare = suffix.replace("{rater}", "").strip("_-")
    return re.sub(r"[^A-Za-z0-9_-]", "_", bare) or "target"

"""`loader_parameters` -> `dataset`: a BIDS folder, its contrasts and its masks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from softseg.interop.from_ivadomed.outcomes import (
    Fact,
    also,
    carry,
    fixed,
    leave,
    leave_unless_off,
    warn,
)
from softseg.interop.from_ivadomed.read import Source
from softseg.interop.from_ivadomed.split import needs_columns

_L = "loader_parameters"
_CONTRASTS = f"{_L}.contrast_params.training_validation"
_ONE_ROOT = "one data set has one root: only the first folder is carried over; put the others' \
subjects below it"
_MIXED = (
    "not multichannel: ivadomed mixed the contrasts as samples of one channel, softseg cannot; \
only the first is carried over"
)
_TESTING = "tests have the contrasts of the training"
_MISPLACED = (
    "ivadomed reads no loss here and ignored it: it trained with training_parameters.loss, \
{}, and so does the YAML"
)
# what the loader bids takes; ivadomed also takes suffixes such as `ce-T1w` that BIDS has not
_BIDS_CONTRAST = re.compile(r"([A-Za-z0-9]+-[A-Za-z0-9]+_)*[A-Za-z0-9]+")


@dataclass(frozen=True)
class Loading:
    """How the data set is read."""

    contrasts: list[str]  # channels, in order
    bids: bool  # by the loader bids; otherwise by files, with patterns of a BIDS folder


def loading_of(source: Source) -> Loading:
    """The channels, and the loader that can read them."""
    named = source.items(_CONTRASTS, str)
    channels = named if source.flag(f"{_L}.multichannel", False) else named[:1]
    return Loading(channels, all(_BIDS_CONTRAST.fullmatch(one) for one in channels))


def convert_dataset(source: Source) -> Iterator[Fact]:
    """`dataset`, without `slices`."""
    loading = loading_of(source)
    yield from _loader(loading)
    yield from _root(source)
    yield from _contrasts(source, loading)
    yield from convert_targets(source, loading.contrasts, loading.bids)
    yield from _roi(source, loading)
    yield from convert_selection(source, loading.bids)
    yield from _rest(source)


def _loader(loading: Loading) -> Iterator[Fact]:
    where = "ivadomed looks for masks in all of derivatives/, softseg in one folder of it: labels"
    if loading.bids:
        yield fixed(("dataset", "loader"), "bids")
        yield fixed(("dataset", "derivatives"), "labels", where)
        return
    odd = [one for one in loading.contrasts if not _BIDS_CONTRAST.fullmatch(one)]
    note = f"a BIDS folder, but {', '.join(odd)} is no BIDS suffix, so it is read by patterns"
    yield fixed(("dataset", "loader"), "files", note)
    image = "{subject}/*/{subject}_{contrast}.nii.gz"
    yield fixed(("dataset", "image"), image, "with sessions, add {session} folders here and below")


def _root(source: Source) -> Iterator[Fact]:
    root = ("dataset", "root")
    key = f"{_L}.path_data"
    if source.version == "2.2":
        yield carry(source, f"{_L}.bids_path", root, source.text(f"{_L}.bids_path", "path_data"))
        yield warn(f"{_L}.bids_path", "ivadomed 2.9 does not read it (there it is path_data)")
        return
    given = source.get(key, "path_data")
    folders = [given] if isinstance(given, str) else source.items(key, str)
    yield carry(source, key, root, folders[0] if folders else "path_data")
    if len(folders) > 1:
        yield leave(key, _ONE_ROOT)
    yield warn(f"{_L}.bids_path", "ivadomed 2.9 does not read it and ignored it")


def _contrasts(source: Source, loading: Loading) -> Iterator[Fact]:
    params = f"{_L}.contrast_params"
    named = source.items(_CONTRASTS, str)
    multichannel = f"{_L}.multichannel"
    yield carry(source, _CONTRASTS, ("dataset", "contrasts"), loading.contrasts)
    yield also(multichannel, ("dataset", "contrasts"), f"multichannel: {source.said(multichannel)}")
    if len(loading.contrasts) < len(named):
        yield leave(_CONTRASTS, _MIXED)
    testing = source.items(f"{params}.testing", str)
    same = "the same as training_validation" if testing == named else _TESTING
    yield leave(f"{params}.testing", same)
    balance = f"{params}.balance"
    for key in [balance, *(f"{balance}.{name}" for name in source.mapping(balance))]:
        yield leave_unless_off(source, key, "all images of a contrast are used")
    yield leave(f"{params}.contrast_lst", "ivadomed's note of its own: the contrasts above")
    dropout = "no dropout of whole contrasts in training"
    yield leave_unless_off(source, f"{_L}.is_input_dropout", dropout)


def _roi(source: Source, loading: Loading) -> Iterator[Fact]:
    suffix = source.get(f"{_L}.roi_params.suffix")
    if not suffix:
        yield leave_unless_off(source, f"{_L}.roi_params.suffix", "")
        return
    name = source.text(f"{_L}.roi_params.suffix", "").lstrip("_")
    pattern = f"derivatives/labels/{{subject}}/*/{{subject}}_{{contrast}}_{name}.nii.gz"
    value = name if loading.bids else pattern
    yield carry(source, f"{_L}.roi_params.suffix", ("dataset", "roi"), value)


def _rest(source: Source) -> Iterator[Fact]:
    config = "the loader needs no description of BIDS; other folders: loader files, with patterns"
    yield leave_unless_off(source, f"{_L}.bids_config", config)
    yield leave(f"{_L}.bids_validate", "what is wrong with a data set is always said, all of it")
    extensions = source.items(f"{_L}.extensions", str)
    others = [one for one in extensions if one not in (".nii", ".nii.gz")]
    why = "only NIfTI files are read" if others else "NIfTI files are read in any case"
    yield leave_unless_off(source, f"{_L}.extensions", why)
    yield from _misplaced(source)


def _misplaced(source: Source) -> Iterator[Fact]:
    """The published hyper-parameters of MS have their losses where nothing reads them."""
    loss = source.get("training_parameters.loss.name", "DiceLoss")
    if source.has(f"{_L}.loss"):
        yield warn(f"{_L}.loss.*", _MISPLACED.format(loss))
    for key in ("target_ground_truth", "target_sessions", "metadata_type", "model_params"):
        yield leave(f"{_L}.{key}", "ivadomed's note of its own")


_KEY = "loader_parameters.subject_selection"


def convert_selection(source: Source, bids: bool) -> Iterator[Fact]:
    """`dataset.include` where all values are of one column; ivadomed drew n of each at random."""
    columns = source.items(f"{_KEY}.metadata", str)
    values = source.items(f"{_KEY}.value", (str, int))
    one_column = len(set(columns)) == 1 and bool(values)
    if one_column:
        wanted = list(dict.fromkeys(values))
        for key in ("metadata", "value"):
            note = f"{_KEY}.{key}: {source.said(f'{_KEY}.{key}')}"
            yield Fact(f"{_KEY}.{key}", ("dataset", "include", columns[0]), wanted, note=note)
    else:
        why = "subjects are chosen by values of one column (dataset.include), not of one or another"
        for key in ("metadata", "value"):
            yield leave_unless_off(source, f"{_KEY}.{key}", why)
    drawn = (
        "ivadomed drew so many at random; here all who fit are used, or name them: dataset.include"
    )
    yield leave_unless_off(source, f"{_KEY}.n", drawn)
    if not bids and (one_column or needs_columns(source)):
        yield fixed(("dataset", "table"), "participants.tsv", "the columns to choose subjects by")


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
        yield fixed(("dataset", "raters", "fusion"), "random", _RANDOM)
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

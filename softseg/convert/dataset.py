"""`loader_parameters` -> `dataset`: a BIDS folder, its contrasts and its masks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from softseg.convert.facts import Fact, also, carry, fixed, leave, leave_unless_off, warn
from softseg.convert.read import Source
from softseg.convert.selection import convert_selection
from softseg.convert.targets import convert_targets

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

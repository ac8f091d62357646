"""Convert `loader_parameters` to `dataset`: a BIDS folder, its contrasts and its masks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile

from softseg.interop.from_ivadomed.outcomes import (
    OWN_RECORD,
    KeyOutcome,
    carry_over,
    contribute,
    leave_out,
    leave_out_unless_off,
    warn,
    write_fixed,
)
from softseg.interop.from_ivadomed.read import IvadomedConfig
from softseg.interop.from_ivadomed.split import needs_columns

_L = "loader_parameters"
_CONTRASTS = f"{_L}.contrast_params.training_validation"
_ONE_ROOT = "a data set has one root: only the first folder is carried over; put the other \
subjects into it"
_MIXED = "not multichannel: ivadomed mixed the contrasts as samples of one channel, which softseg \
cannot do; only the first is carried over"
_MISPLACED_LOSS = "ivadomed does not read a loss here and ignored it: it trained with \
training_parameters.loss, {}, and so does the YAML"
_DERIVATIVES = (
    "ivadomed looks for masks in all of derivatives/, softseg in one folder of it: labels"
)
# what the loader bids takes; ivadomed also takes suffixes that BIDS does not have, as `ce-T1w`
_BIDS_CONTRAST = re.compile(r"([A-Za-z0-9]+-[A-Za-z0-9]+_)*[A-Za-z0-9]+")
_SELECTION = "loader_parameters.subject_selection"
_SUFFIX = "loader_parameters.target_suffix"
_ONE_MASK = "one mask per subject: the JSON does not say how raters were combined"
_ODD_RATERS = "the suffixes of a target's raters differ in more than the rater's name: only the \
first is carried over; rename the masks so that they differ in the rater's name only"
_RANDOM = "ivadomed drew one rater for each sample and epoch; softseg does too, and validates and \
tests with their mean"


def convert_dataset(config: IvadomedConfig) -> Iterator[KeyOutcome]:
    """Convert `dataset`, except for `slices`."""
    listed = config.items(_CONTRASTS, str)
    contrasts = listed if config.flag(f"{_L}.multichannel", False) else listed[:1]
    not_bids = [contrast for contrast in contrasts if not _BIDS_CONTRAST.fullmatch(contrast)]
    bids = not not_bids
    if not_bids:
        note = f"a BIDS folder, but {', '.join(not_bids)} is not a BIDS suffix: read by patterns"
        image = "{subject}/*/{subject}_{contrast}.nii.gz"
        sessions = "with sessions, add {session} folders here and below"
        yield write_fixed(("dataset", "loader"), "files", note)
        yield write_fixed(("dataset", "image"), image, sessions)
    else:
        yield write_fixed(("dataset", "loader"), "bids")
        yield write_fixed(("dataset", "derivatives"), "labels", _DERIVATIVES)
    yield from _root(config)
    yield from _contrasts(config, contrasts)
    yield from convert_targets(config, contrasts, bids)
    key = f"{_L}.roi_params.suffix"
    if config.get(key):
        suffix = config.text(key, "").lstrip("_")
        yield carry_over(config, key, ("dataset", "roi"), _mask(suffix, bids))
    else:
        yield leave_out_unless_off(config, key, "")
    yield from convert_selection(config, bids)
    yield from _keys_without_counterpart(config)


def _root(config: IvadomedConfig) -> Iterator[KeyOutcome]:
    """Convert the data set's folder: one in ivadomed 2.2, a list in 2.9."""
    root = ("dataset", "root")
    old, new = f"{_L}.bids_path", f"{_L}.path_data"
    if config.version == "2.2":
        yield carry_over(config, old, root, config.text(old, "path_data"))
        yield warn(old, "ivadomed 2.9 does not read it (there it is path_data)")
        return
    value = config.get(new, "path_data")
    folders = [value] if isinstance(value, str) else config.items(new, str)
    yield carry_over(config, new, root, folders[0] if folders else "path_data")
    if len(folders) > 1:
        yield leave_out(new, _ONE_ROOT)
    yield warn(old, "ivadomed 2.9 does not read it and ignored it")


def _contrasts(config: IvadomedConfig, contrasts: Sequence[str]) -> Iterator[KeyOutcome]:
    """Convert the contrasts, one channel each, and leave out what ivadomed did with others."""
    params, multichannel = f"{_L}.contrast_params", f"{_L}.multichannel"
    listed = config.items(_CONTRASTS, str)
    path = ("dataset", "contrasts")
    yield carry_over(config, _CONTRASTS, path, contrasts)
    yield contribute(multichannel, path, f"multichannel: {config.as_json(multichannel)}")
    if len(contrasts) < len(listed):
        yield leave_out(_CONTRASTS, _MIXED)
    same = config.items(f"{params}.testing", str) == listed
    reason = "the same as training_validation" if same else "tests use the contrasts of training"
    yield leave_out(f"{params}.testing", reason)
    balance = f"{params}.balance"
    for key in [balance, *(f"{balance}.{name}" for name in config.mapping(balance))]:
        yield leave_out_unless_off(config, key, "all images of a contrast are used")
    yield leave_out(f"{params}.contrast_lst", f"{OWN_RECORD}: the contrasts above")
    dropout = "softseg does not drop whole contrasts in training"
    yield leave_out_unless_off(config, f"{_L}.is_input_dropout", dropout)


def _keys_without_counterpart(config: IvadomedConfig) -> Iterator[KeyOutcome]:
    """Report keys without a counterpart; the published MS parameters have a loss among them."""
    bids = "the loader needs no description of BIDS; for other folders use loader: files"
    yield leave_out_unless_off(config, f"{_L}.bids_config", bids)
    yield leave_out(f"{_L}.bids_validate", "all problems of a data set are always reported")
    extensions = config.items(f"{_L}.extensions", str)
    nifti_only = all(extension in (".nii", ".nii.gz") for extension in extensions)
    reason = "NIfTI files are read in any case" if nifti_only else "only NIfTI files are read"
    yield leave_out_unless_off(config, f"{_L}.extensions", reason)
    if config.has(f"{_L}.loss"):
        loss = config.get("training_parameters.loss.name", "DiceLoss")
        yield warn(f"{_L}.loss.*", _MISPLACED_LOSS.format(loss))
    for key in ("target_ground_truth", "target_sessions", "metadata_type", "model_params"):
        yield leave_out(f"{_L}.{key}", OWN_RECORD)


def convert_selection(config: IvadomedConfig, bids: bool) -> Iterator[KeyOutcome]:
    """Convert the choice of subjects to `dataset.include` if all values are of one column."""
    columns = config.items(f"{_SELECTION}.metadata", str)
    values = config.items(f"{_SELECTION}.value", (str, int))
    one_column = len(set(columns)) == 1 and bool(values)
    for key in (f"{_SELECTION}.metadata", f"{_SELECTION}.value"):
        if one_column:
            path, unique = ("dataset", "include", columns[0]), list(dict.fromkeys(values))
            yield KeyOutcome(key, path, unique, note=f"{key}: {config.as_json(key)}")
        else:
            reason = "dataset.include chooses subjects by values of one column, not of several"
            yield leave_out_unless_off(config, key, reason)
    number = "ivadomed drew this many subjects at random; here all that match are used, unless \
dataset.include names them"
    yield leave_out_unless_off(config, f"{_SELECTION}.n", number)
    if not bids and (one_column or needs_columns(config)):
        note = "the columns to choose subjects by"
        yield write_fixed(("dataset", "table"), "participants.tsv", note)


def convert_targets(
    config: IvadomedConfig, contrasts: Sequence[str], bids: bool
) -> Iterator[KeyOutcome]:
    """Convert each suffix to a target, or each list with the suffixes of several raters."""
    entries = config.items(_SUFFIX, (str, list))
    raters = [entry for entry in entries if isinstance(entry, list)]
    if any(not names or not all(isinstance(n, str) for n in names) for names in raters):
        raise config.error(_SUFFIX, "must hold texts or lists of texts", entries)
    suffixes = [_pattern([entry] if isinstance(entry, str) else entry) for entry in entries]
    targets = {_target_name(suffix): _mask(suffix, bids) for suffix in suffixes}
    if len(targets) < len(suffixes):
        raise config.error(_SUFFIX, "must name each mask once", entries)
    field = "suffix" if bids else "label"
    values = {name: {field: mask} for name, mask in targets.items()}
    path = ("dataset", "targets")
    yield carry_over(config, _SUFFIX, path, values, "" if raters else _ONE_MASK)
    if raters:
        yield write_fixed(("dataset", "raters", "fusion"), "random", _RANDOM)
    if any("{rater}" not in _pattern(names) for names in raters if len(names) > 1):
        yield leave_out(_SUFFIX, _ODD_RATERS)
    if len(contrasts) > 1:
        note = "if several contrasts have a mask, choose one with targets.X.contrast"
        yield write_fixed(path, values, note)


def _mask(suffix: str, bids: bool) -> str:
    """Return how the loader names a mask: by its suffix in `bids`, by a pattern in `files`."""
    pattern = f"derivatives/labels/{{subject}}/*/{{subject}}_{{contrast}}_{suffix}.nii.gz"
    return suffix if bids else pattern


def _target_name(suffix: str) -> str:
    """Return the suffix as a target's name: letters, digits, `-` and `_`."""
    bare = suffix.replace("{rater}", "").strip("_-")
    return re.sub(r"[^A-Za-z0-9_-]", "_", bare) or "target"


def _pattern(suffixes: Sequence[str]) -> str:
    """Return what the suffixes of raters have in common, with {rater} where they differ."""
    names = [suffix.removeprefix("_") for suffix in suffixes]
    start = _shared_start(names)
    rest = [name[len(start) :] for name in names]
    end = _shared_start([text[::-1] for text in rest])[::-1]
    raters = [text.removesuffix(end) for text in rest]
    if len(names) == 1 or not all(re.fullmatch(r"[A-Za-z0-9-]+", rater) for rater in raters):
        return names[0]
    return f"{start}{{rater}}{end}"


def _shared_start(names: Sequence[str]) -> str:
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same)

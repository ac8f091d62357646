"""Convert `loader_parameters` to `dataset`, a BIDS folder with masks, and `split_dataset`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from softseg.interop.from_ivadomed.outcomes import NOT_READ, OFF, OWN_RECORD, Outcomes
from softseg.interop.from_ivadomed.read import IvadomedConfig

_L = "loader_parameters"
_CONTRASTS = f"{_L}.contrast_params.training_validation"
_SUFFIX = f"{_L}.target_suffix"
_ONE_ROOT = "a dataset has one root: only the first folder is carried over; put the other \
subjects into it"
_MIXED = "not multichannel: ivadomed mixed the contrasts as samples of one channel, which softseg \
cannot do; only the first is carried over"
_ONE_GRID = "contrasts and masks must be on the grid of the first contrast, or set \
on_grid_mismatch: resample; put the contrast first on which the masks were drawn"
_MISPLACED_LOSS = "ivadomed does not read a loss here and ignored it: it trained with \
training_parameters.loss, {}, and so does the YAML file"
_DERIVATIVES = (
    "ivadomed looks for masks in all of derivatives/, softseg in one folder of it: labels"
)
# what the loader bids takes; ivadomed also takes suffixes that BIDS does not have, as `ce-T1w`
_BIDS_CONTRAST = re.compile(r"([A-Za-z0-9]+-[A-Za-z0-9]+_)*[A-Za-z0-9]+")
_NUMBER = "ivadomed drew this many subjects at random; here all that match are used, unless \
dataset.include names them"
_ONE_MASK = "one mask per subject: the JSON does not say how raters were combined"
_ODD_RATERS = "the suffixes of a target's raters differ in more than the rater's name: only the \
first is carried over; rename the masks so that they differ in the rater's name only"
_RANDOM = "ivadomed drew one rater for each sample and epoch; softseg does too, and validates and \
tests with their mean"

_S = "split_dataset"
_METHOD, _DATA_TYPE = f"{_S}.split_method", f"{_S}.data_testing.data_type"  # of 2.9
_CENTER = "institution_id"  # the column that ivadomed 2.2 takes centers from
_FILE = "a joblib file can run programs, so it is not read: write its lists of subjects as JSON, \
{train, validation, test}, and name that in split.file"
_FROM_FILE = "ivadomed took its sets from this file and ignored the other keys of the split: the \
YAML draws new ones by those keys"
_SEED = "softseg has another random generator: the sets differ from ivadomed's"


def convert_dataset(config: IvadomedConfig, outcomes: Outcomes) -> None:
    """Convert `loader_parameters`, except for its filters of slices."""
    listed = config.items(_CONTRASTS, str)
    contrasts = listed if config.flag(f"{_L}.multichannel", False) else listed[:1]
    not_bids = [contrast for contrast in contrasts if not _BIDS_CONTRAST.fullmatch(contrast)]
    bids = not not_bids
    if bids:
        outcomes.write(("dataset", "loader"), "bids")
        outcomes.write(("dataset", "derivatives"), "labels", _DERIVATIVES)
    else:
        note = f"a BIDS folder, but {', '.join(not_bids)} is not a BIDS suffix: read by patterns"
        image = "{subject}/*/{subject}_{contrast}.nii.gz"
        sessions = "with sessions, add {session} folders here and below"
        outcomes.write(("dataset", "loader"), "files", note)
        outcomes.write(("dataset", "image"), image, sessions)
    root, old, new = ("dataset", "root"), f"{_L}.bids_path", f"{_L}.path_data"
    if config.version == "2.2":
        outcomes.carry_over(old, root, config.text(old, "path_data"))
        outcomes.warn(old, "ivadomed 2.9 does not read it (there it is path_data)")
    else:
        value = config.get(new, "path_data")
        folders = [value] if isinstance(value, str) else config.items(new, str)
        outcomes.carry_over(new, root, folders[0] if folders else "path_data")
        if len(folders) > 1:
            outcomes.leave_out(new, _ONE_ROOT)
        outcomes.warn(old, NOT_READ)
    _convert_contrasts(config, outcomes, listed, contrasts)
    _convert_targets(config, outcomes, contrasts, bids)
    key = f"{_L}.roi_params.suffix"
    if config.get(key):
        suffix = config.text(key, "").lstrip("_")
        outcomes.carry_over(key, ("dataset", "roi"), _mask(suffix, bids))
    else:
        outcomes.leave_out(key, OFF)
    _convert_selection(config, outcomes, bids)
    _report_without_counterpart(config, outcomes)


def _convert_contrasts(
    config: IvadomedConfig, outcomes: Outcomes, listed: Sequence[str], contrasts: Sequence[str]
) -> None:
    """Convert the contrasts, one channel each, and leave out what ivadomed did with others."""
    params, multichannel = f"{_L}.contrast_params", f"{_L}.multichannel"
    path = ("dataset", "contrasts")
    outcomes.carry_over(_CONTRASTS, path, contrasts)
    outcomes.contribute(multichannel, path, f"multichannel: {config.as_json(multichannel)}")
    if len(contrasts) < len(listed):
        outcomes.leave_out(_CONTRASTS, _MIXED)
    elif len(contrasts) > 1:
        outcomes.write(path, contrasts, _ONE_GRID)
    same = config.items(f"{params}.testing", str) == listed
    reason = "the same as training_validation" if same else "tests use the contrasts of training"
    outcomes.leave_out(f"{params}.testing", reason)
    balance = f"{params}.balance"
    for key in [balance, *(f"{balance}.{name}" for name in config.mapping(balance))]:
        outcomes.leave_out_unless_off(key, "all images of a contrast are used")
    outcomes.leave_out(f"{params}.contrast_lst", f"{OWN_RECORD}: the contrasts above")
    dropout = "softseg does not drop whole contrasts in training"
    outcomes.leave_out_unless_off(f"{_L}.is_input_dropout", dropout)


def _convert_targets(
    config: IvadomedConfig, outcomes: Outcomes, contrasts: Sequence[str], bids: bool
) -> None:
    """Convert each suffix to a target, or each list with the suffixes of several raters."""
    entries = config.items(_SUFFIX, (str, list))
    raters = [entry for entry in entries if isinstance(entry, list)]
    if any(not names or not all(isinstance(n, str) for n in names) for names in raters):
        raise config.error(_SUFFIX, "must contain text or lists of text", entries)
    field = "suffix" if bids else "label"
    suffixes = [_pattern([entry] if isinstance(entry, str) else entry) for entry in entries]
    if len(set(suffixes)) < len(suffixes):
        raise config.error(_SUFFIX, "must name each mask once", entries)
    names = _target_names(suffixes)
    targets = {n: {field: _mask(suffix, bids)} for n, suffix in zip(names, suffixes, strict=True)}
    path = ("dataset", "targets")
    outcomes.carry_over(_SUFFIX, path, targets, "" if raters else _ONE_MASK)
    if raters:
        outcomes.write(("dataset", "raters", "fusion"), "random", _RANDOM)
    if any("{rater}" not in _pattern(names) for names in raters if len(names) > 1):
        outcomes.leave_out(_SUFFIX, _ODD_RATERS)
    if len(contrasts) > 1:
        note = "if several contrasts have a mask, choose one with targets.X.contrast"
        outcomes.write(path, targets, note)


def _target_names(suffixes: Sequence[str]) -> list[str]:
    """Return a name for each suffix, unique even where case does not count.

    Names consist of letters and digits, as predictions are `<image>_label-<name>_probseg`: `GM` for
    `label-GM_probseg`, `lesion` for `lesion-manual`, or `lesionManual` if another suffix has that.
    """
    short, long = [_short_name(s) for s in suffixes], [_camel_case(s) for s in suffixes]
    names: list[str] = []
    for own, full in zip(short, long, strict=True):
        shared = [name.casefold() for name in short].count(own.casefold()) > 1
        name = base = full if shared else own
        number = 1
        while name.casefold() in (other.casefold() for other in names):
            number += 1
            name = f"{base}{number}"
        names.append(name)
    return names


def _short_name(suffix: str) -> str:
    """Return the label of a suffix of BIDS, or a suffix without `-manual`, which says who drew."""
    label = re.search(r"(?:^|_)label-([A-Za-z0-9]+)", suffix)
    if label:
        return str(label[1])
    without_rater = re.sub(r"[-_]?(rater)?\{rater\}", "", suffix)
    return _camel_case(re.sub(r"-manual(?=_|$)", "", without_rater) or suffix)


def _camel_case(suffix: str) -> str:
    """Return `segManual` for `seg-manual`: the letters and digits of a suffix."""
    words: list[str] = re.findall(r"[A-Za-z0-9]+", suffix.replace("{rater}", ""))
    first, *others = words or ["target"]
    return first + "".join(part[0].upper() + part[1:] for part in others)


def _mask(suffix: str, bids: bool) -> str:
    """Return how the loader names a mask: by its suffix in `bids`, by a pattern in `files`."""
    pattern = f"derivatives/labels/{{subject}}/*/{{subject}}_{{contrast}}_{suffix}.nii.gz"
    return suffix if bids else pattern


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


def _convert_selection(config: IvadomedConfig, outcomes: Outcomes, bids: bool) -> None:
    """Convert the choice of subjects to `dataset.include` if all values are of one column."""
    selection = f"{_L}.subject_selection"
    columns = config.items(f"{selection}.metadata", str)
    values = config.items(f"{selection}.value", (str, int))
    one_column = len(set(columns)) == 1 and bool(values)
    for key in (f"{selection}.metadata", f"{selection}.value"):
        if one_column:
            unique = list(dict.fromkeys(values))
            outcomes.carry_over(key, ("dataset", "include", columns[0]), unique)
        else:
            reason = "dataset.include chooses subjects by values of one column, not of several"
            outcomes.leave_out_unless_off(key, reason)
    outcomes.leave_out_unless_off(f"{selection}.n", _NUMBER)
    if not bids and (one_column or _split_columns(config) != ("subject", "subject")):
        note = "the columns to choose subjects by"
        outcomes.write(("dataset", "table"), "participants.tsv", note)


def _report_without_counterpart(config: IvadomedConfig, outcomes: Outcomes) -> None:
    """Report keys without a counterpart; the published MS parameters have a loss among them."""
    bids = "the loader needs no description of BIDS; for other folders use loader: files"
    outcomes.leave_out_unless_off(f"{_L}.bids_config", bids)
    outcomes.leave_out(f"{_L}.bids_validate", "all problems of a dataset are always reported")
    extensions = config.items(f"{_L}.extensions", str)
    nifti_only = all(extension in (".nii", ".nii.gz") for extension in extensions)
    reason = "NIfTI files are read in any case" if nifti_only else "only NIfTI files are read"
    outcomes.leave_out_unless_off(f"{_L}.extensions", reason)
    if config.has(f"{_L}.loss"):
        loss = config.get("training_parameters.loss.name", "DiceLoss")
        outcomes.warn(f"{_L}.loss.*", _MISPLACED_LOSS.format(loss))
    for key in ("target_ground_truth", "target_sessions", "metadata_type", "model_params"):
        outcomes.leave_out(f"{_L}.{key}", OWN_RECORD)


def convert_split(config: IvadomedConfig, outcomes: Outcomes) -> None:
    """Convert the split: by subject, or by one column for testing and by subject for the rest."""
    by, within = _split_columns(config)
    if config.version == "2.2":
        key, ignored = f"{_S}.method", "ivadomed 2.9 ignores it (there: split_method, data_testing)"
    else:
        key, ignored = _DATA_TYPE if config.get(_DATA_TYPE) else _METHOD, NOT_READ
    outcomes.carry_over(key, ("split", "by"), by)
    _convert_sets(config, outcomes, by, within)
    outcomes.carry_over_number(f"{_S}.random_seed", ("split", "seed"), 6, _SEED)
    outcomes.leave_out_unless_off(f"{_S}.fname_split", _FILE)
    if config.get(f"{_S}.fname_split"):
        outcomes.warn(f"{_S}.fname_split", _FROM_FILE)
    outcomes.leave_out_unless_off(f"{_S}.balance", "sets are not balanced by a column")
    outcomes.leave_out(f"{_S}.control_randomness", "every random stream is always seeded")
    for name in ("method", "center_test"):
        outcomes.warn(f"{_S}.{name}", ignored)
    if config.version == "2.9" and not config.get(_DATA_TYPE):
        outcomes.leave_out(_DATA_TYPE, "empty: the test set is drawn by split_method")
    elif config.version == "2.9" and by == within:
        outcomes.leave_out(_METHOD, "the same column as data_type, which is split.by")


def _split_columns(config: IvadomedConfig) -> tuple[str, str]:
    """Return the column that is divided for testing, and that for training and validation."""
    if config.version == "2.2":
        by = _CENTER if config.get(f"{_S}.method") == "per_center" else "subject"
        return by, "subject"
    data_type = config.text(_DATA_TYPE, "") if config.get(_DATA_TYPE) else ""
    within = config.text(_METHOD, "participant_id")
    by = data_type or within
    names = {"participant_id": "subject"}
    return names.get(by, by), names.get(within, within)


def _convert_sets(config: IvadomedConfig, outcomes: Outcomes, by: str, within: str) -> None:
    """Convert the test set (named values, or a share of `by`) and the share that trains.

    If `within` is another column than `by`, it divides what is outside the test set.
    """
    divided = by != within
    key = f"{_S}.center_test" if config.version == "2.2" else f"{_S}.data_testing.data_value"
    values = config.items(key, (str, int))
    test = config.number(f"{_S}.test_fraction", 0.2)
    train = config.number(f"{_S}.train_fraction", 0.6)
    if values and (divided or config.version == "2.9"):
        outcomes.carry_over(key, ("split", "test"), values)
        outcomes.leave_out(f"{_S}.test_fraction", "ivadomed ignored it: the test set is named")
    else:
        outcomes.leave_out_unless_off(key, "ivadomed read it with the method per_center only")
        note = "" if 0 < test < 1 else "the test set needs at least one group"
        outcomes.carry_over(f"{_S}.test_fraction", ("split", "test"), _share(test), note)
    if divided and config.version == "2.2":
        note = "ivadomed held out the center and divided the subjects of all others"
        outcomes.write(("split", "within"), within, note)
    elif divided:
        outcomes.carry_over(_METHOD, ("split", "within"), within)
    if not divided:
        share, note = 1 - train - test, "the rest after train_fraction and test_fraction"
    elif config.version == "2.2":
        share, note = 1 - train, "ivadomed took train_fraction of the subjects outside the test set"
    else:
        share = 1 - train / (1 - test) if test < 1 else 0
        note = "of the subjects outside the test set, if that has test_fraction of them"
    outcomes.carry_over(f"{_S}.train_fraction", ("split", "validation"), _share(share), note)


def _share(share: float) -> Any:
    """Return a share that a split takes, to 4 digits; for 0 or 1, the number 1 of groups."""
    rounded = round(float(share), 4)
    return rounded if 0 < rounded < 1 else 1

"""One integer label map per scan (`predict --labels`), for tools that take no soft masks."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from softseg.core.errors import UserError
from softseg.core.files import read_json, write_atomically
from softseg.core.names import listing
from softseg.core.types import BoolArray, Float32Array
from softseg.data.loaders.base import Target
from softseg.data.nifti.io import file_stem
from softseg.inference.write import SOFTWARE, write_with_sidecar

_LARGEST_CODE = np.iinfo(np.uint16).max


def label_codes(targets: Mapping[str, Target]) -> tuple[dict[str, int], list[str]]:
    """Return the code of each target in a label map, and the targets that are left out of it.

    A target whose `values` are those of several others together (`whole: [1, 2]` next to
    `anterior: [1]` and `posterior: [2]`) is left out. Targets of one whole number each keep it;
    otherwise the codes are 1, 2, ... in the order of the targets.

    Raises UserError for targets that share a code without one being the union of others.
    """
    values = {name: set(target.codes or ()) for name, target in targets.items()}
    unions = [
        name
        for name, own in values.items()
        if own and own == set().union(*(other for other in values.values() if other < own))
    ]
    kept = [name for name in targets if name not in unions]
    shared = [
        code for code, count in Counter(c for n in kept for c in values[n]).items() if count > 1
    ]
    if shared:
        names = [name for name in kept if shared[0] in values[name]]
        raise UserError(
            f"--labels: the targets {listing(names)} share the code {shared[0]:g}, but a label map "
            "has one label per voxel; predict without --labels"
        )
    single = [next(iter(values[name])) if len(values[name]) == 1 else 0 for name in kept]
    if all(float(code).is_integer() and 0 < code <= _LARGEST_CODE for code in single):
        return {name: int(code) for name, code in zip(kept, single, strict=True)}, unions
    return {name: number for number, name in enumerate(kept, start=1)}, unions


def label_map(
    soft: Float32Array, masks: Sequence[BoolArray], codes: Sequence[int | None]
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8 | np.uint16]]:
    """Return the code of each voxel (X, Y, Z), uint8 or uint16; 0 where no mask is.

    Of the targets whose mask (X, Y, Z) holds a voxel, the one with the largest soft value
    (K, X, Y, Z) has it; of equal values the first. Targets with the code None are left out.
    """
    dtype = np.uint8 if max(code or 0 for code in codes) < 256 else np.uint16
    labels = np.zeros(soft.shape[1:], dtype)
    largest = np.full(soft.shape[1:], -1, np.float32)
    for values, mask, code in zip(soft, masks, codes, strict=True):
        if code is not None:
            ahead = mask & (values > largest)
            labels[ahead], largest[ahead] = code, values[ahead]
    return labels


def label_map_file(folder: Path, source: Path) -> Path:
    """The label map of a scan, next to its predictions."""
    return folder / f"{file_stem(source)}_dseg.nii.gz"


def check_label_map(path: Path) -> None:
    """Raise UserError if a file of this name exists that softseg did not write."""
    if not path.exists():
        return
    try:
        generators = read_json(path.with_name(f"{file_stem(path)}.json"))["GeneratedBy"]
        by_softseg = any(generator["Name"] == SOFTWARE["Name"] for generator in generators)
    except (OSError, ValueError, LookupError, TypeError):
        by_softseg = False
    if not by_softseg:
        raise UserError(f"{path} exists and is not of softseg; choose another --out for --labels")


def write_label_map(
    folder: Path,
    source: Path,
    soft: Float32Array,
    masks: Sequence[BoolArray],
    thresholds: Mapping[str, float],
    codes: Mapping[str, int],
    metadata: Mapping[str, object],
    named: Path | None = None,
) -> Path:
    """Write the label map of a scan on the grid of `source`, its labels (TSV) and a sidecar.

    The names begin with that of `named`, if given, instead of `source`.
    """
    path = label_map_file(folder, named or source)
    used = {target: threshold for target, threshold in thresholds.items() if target in codes}
    sidecar = {**metadata, "Labels": dict(codes), "Thresholds": used, "GeneratedBy": [SOFTWARE]}
    labels = label_map(soft, masks, [codes.get(target) for target in thresholds])
    write_with_sidecar(path, labels, source, labels.dtype, sidecar)
    table = io.StringIO()
    writer = csv.writer(table, delimiter="\t", lineterminator="\n")
    writer.writerows([("index", "name"), (0, "background")])
    writer.writerows(sorted((code, target) for target, code in codes.items()))
    write_atomically(path.with_name(f"{file_stem(path)}.tsv"), table.getvalue())
    return path

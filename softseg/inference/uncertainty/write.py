"""Write maps and scores of uncertainty next to the prediction that they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from softseg.core.errors import UserError
from softseg.core.files import write_atomically
from softseg.data.nifti.stem import file_stem
from softseg.inference.uncertainty.maps import Uncertainty
from softseg.inference.uncertainty.structures import Row
from softseg.inference.write import SOFTWARE, write_with_sidecar

_MAPS = {
    "mean": ("desc-mean_probseg", "mean of the samples, 0 to 1"),
    "variance": ("desc-variance_uncertainty", "variance of the samples, 0 to 0.25"),
    "entropy": ("desc-entropy_uncertainty", "entropy of the mean in nats, 0 to 0.693"),
    "mutual_information": (
        "desc-mutualinfo_uncertainty",
        "entropy of the mean less the mean entropy of the samples in nats, 0 to 0.693",
    ),
}
"""Field of `Uncertainty` -> ending of the file's name, and description."""

_LAST_COLUMNS = ("i", "j", "k", "method", "samples")


def write_maps(
    folder: Path,
    source: Path,
    targets: Sequence[str],
    uncertainty: Uncertainty,
    metadata: Mapping[str, object],
) -> list[Path]:
    """Write each target's maps as float32 on the grid of `source`, with sidecars.

    `<source>_label-<target>_desc-mean_probseg.nii.gz`, and `_desc-variance_uncertainty`,
    `_desc-entropy_uncertainty`, `_desc-mutualinfo_uncertainty`. Returns the NIfTI paths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for k, target in enumerate(targets):
        for field, (ending, description) in _MAPS.items():
            path = folder / f"{file_stem(source)}_label-{target}_{ending}.nii.gz"
            own = {"Label": target, "Description": description, "GeneratedBy": [SOFTWARE]}
            data = getattr(uncertainty, field)[k]
            write_with_sidecar(path, data, source, np.float32, {**metadata, **own})
            written.append(path)
    return written


def write_scores(path: Path, rows: Sequence[Row]) -> None:
    """Add a scan's rows to the table of all scans, replacing earlier ones of the same targets.

    Raises UserError if the file is not such a table.
    """
    table = pd.DataFrame(rows)
    if path.is_file():
        types = {"scan": str, "target": str, "structure": str}  # a scan may be called NA
        try:
            earlier = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""])
            earlier = earlier[~_keys(earlier).isin(_keys(table))]
        except (KeyError, ValueError) as error:
            raise UserError(f"{path} is damaged ({error}); move it away") from error
        table = pd.concat([earlier, table], ignore_index=True)
    order = [name for name in table if name not in _LAST_COLUMNS]
    order += [name for name in _LAST_COLUMNS if name in table]
    integers = {name: table[name].astype("Int64") for name in "ijk" if name in table}
    write_atomically(path, table.assign(**integers)[order].to_csv(index=False))


def _keys(table: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(table[["scan", "target"]])

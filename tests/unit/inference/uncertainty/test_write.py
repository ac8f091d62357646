"""Maps and scores of uncertainty next to those of other scans and other models."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from softseg.core.errors import UserError
from softseg.inference.uncertainty.maps import Uncertainty
from softseg.inference.uncertainty.write import write_maps, write_scores
from tests.support import makers


def row(scan, target, method="tta"):
    return {"scan": scan, "target": target, "structure": "all", "voxels": 3, "method": method}


def test_rows_of_other_targets_and_scans_stay(tmp_path):
    path = tmp_path / "uncertainty.csv"
    write_scores(path, [row("p1", "gm"), row("p1", "csf")])
    write_scores(path, [row("p1", "lesion")])
    write_scores(path, [row("p2", "gm")])
    write_scores(path, [row("p1", "gm", "mc-dropout")])
    table = pd.read_csv(path)
    assert {(entry.scan, entry.target): entry.method for entry in table.itertuples()} == {
        ("p1", "csf"): "tta", ("p1", "lesion"): "tta", ("p2", "gm"): "tta",
        ("p1", "gm"): "mc-dropout",
    }  # fmt: skip
    assert len(table) == 4


@pytest.mark.parametrize("columns", ["a,b", "scan,structure"])
def test_another_table_is_rejected(tmp_path, columns):
    path = tmp_path / "uncertainty.csv"
    path.write_text(f"{columns}\n1,2\n")
    with pytest.raises(UserError, match=r"is damaged .*; move it away"):
        write_scores(path, [row("p1", "gm")])


def test_maps_are_named_after_their_scan_for_every_ending(tmp_path):
    values = np.zeros((1, *makers.SHAPE), np.float32)
    uncertainty = Uncertainty(values, values, values, values)
    names = set()
    for name in ("X.NII.GZ", "Y.NII.GZ", "z.nii"):
        plain = makers.nifti(tmp_path / "plain.nii", makers.scan())
        source = plain.rename(tmp_path / name)
        names |= {path.name for path in write_maps(tmp_path / "o", source, ["gm"], uncertainty, {})}
    ending = "label-gm_desc-mean_probseg.nii.gz"
    assert {name for name in names if name.endswith(ending)} == {
        f"X.NII.GZ_{ending}", f"Y.NII.GZ_{ending}", f"z_{ending}"
    }  # fmt: skip

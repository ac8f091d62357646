"""Scans with predictions for the viewer, and a stand-in for NiiVue."""

from __future__ import annotations

import numpy as np
import pytest

from softseg.inference.write import write_predictions
from softseg.viewer import site
from softseg.viewer.niivue import NiivueBundle
from tests.support import makers

SHAPE = (20, 24, 10)
HOSTILE = "<img src=x onerror=\"document.title='owned'\">&amp;'"


def predictions(folder, *names, frame=None):
    """Scans below `folder`, and in `folder`/out what `predict` writes for them."""
    soft = np.stack([makers.ball(SHAPE), 0.5 * makers.ball(SHAPE)])
    thresholds = {"gm": 0.4, "core": 0.3}
    for number, name in enumerate(names):
        source = makers.nifti(folder / f"{name}.nii.gz", makers.scan(number, SHAPE))
        metadata = {"Sources": [str(source)]} | ({} if frame is None else {"Frame": frame})
        masks = [one >= 0.5 for one in soft]
        write_predictions(folder / "out", source, soft, masks, thresholds, metadata)
    return folder / "out"


@pytest.fixture
def no_niivue(monkeypatch):
    """A page without the real NiiVue; import it where it is used."""
    bundle = NiivueBundle(b"export class Niivue {}\n", b"its license")
    monkeypatch.setattr(site, "read_niivue", lambda: bundle)

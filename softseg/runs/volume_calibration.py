"""volume_calibration.json of a run: the errors of its volumes and areas on validation scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from softseg.core.component import Component, parse_component
from softseg.core.errors import UserError
from softseg.core.files import read_json, write_json
from softseg.runs.folder import Run

Kind = Literal["soft", "binary"]
"""Of a segmentation: the soft map or the mask."""
KINDS: tuple[Kind, ...] = ("soft", "binary")
Axis = Literal["left-right", "posterior-anterior", "inferior-superior"]
AXES: dict[Axis, int] = {"left-right": 0, "posterior-anterior": 1, "inferior-superior": 2}
"""Direction in the patient -> the axis of a volume in the closest canonical orientation."""

Errors = tuple[Annotated[float, Field(ge=0)], ...]
ByKind = dict[Kind, Errors]


class TargetErrors(Component):
    """The absolute errors of one target, in rising order, one of each validation scan."""

    threshold: Annotated[float, Field(ge=0, le=1)]
    """Of the masks."""
    volume_ml: ByKind
    """|V - V_truth| of the soft map and of the mask; the true volume is that of the soft truth."""
    area_mm2: dict[Axis, ByKind]
    """Axis -> the largest |A - A_truth| of the scan's slices along it."""


class VolumeCalibration(Component):
    """Without names of scans, so that a package may hold it."""

    model: str
    """Name of the experiment."""
    weights: str
    """Digest of the weights."""
    mirror: bool = False
    """Whether the logits of mirror images were averaged (`evaluate.mirror`)."""
    postprocess: tuple[dict[str, Any], ...] = ()
    """The steps of `evaluate.postprocess`."""
    targets: dict[str, TargetErrors]

    @property
    def scans(self) -> int:
        """The number of validation scans."""
        return len(next(iter(self.targets.values())).volume_ml["soft"])


def calibration_file(run: Run) -> Path:
    """Return the path of a run's volume_calibration.json."""
    return run.folder / "volume_calibration.json"


def write_volume_calibration(
    run: Run, calibration: VolumeCalibration, subjects: Sequence[str]
) -> None:
    """Write the errors, and the names of the validation scans, into the run's folder."""
    content = {**calibration.model_dump(mode="json"), "subjects": list(subjects)}
    write_json(calibration_file(run), content)


def read_volume_calibration(run: Run, weights: str) -> VolumeCalibration | None:
    """Return the errors that the run's folder holds; None if there are none of these weights.

    Raises UserError if the file is damaged.
    """
    path = calibration_file(run)
    try:
        content = read_json(path)
        del content["subjects"]
        calibration = parse_calibration(content)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged; delete it, or run softseg measure --calibrate {run.folder} again"
        ) from error
    return calibration if calibration.weights == weights else None


def parse_calibration(content: Mapping[str, object]) -> VolumeCalibration:
    """Return the calibration of this content. Raises `pydantic.ValidationError`, a ValueError."""
    return parse_component(TypeAdapter(VolumeCalibration), content)

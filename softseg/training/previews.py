"""The validation slices whose predictions are shown in the course of training."""

from __future__ import annotations

import torch
from torch import Tensor

from softseg.training.task import Task

VOLUMES = 4
"""Number of validation volumes with previews, at most."""


def preview_size(task: Task) -> tuple[int, int, int]:
    """Return the number of previews of a volume, and the height and width of all of them."""
    stack = task.stack
    if not stack.holds_volumes:
        height, width = stack.image.shape[2:]
        return 1, height, width
    side = max(max(v.geometry.network.shape) for v in task.validation)
    return 3, side, side


def previews_of(task: Task, values: Tensor, truth: Tensor, outside: float = 0.0) -> Tensor:
    """Return the previews (P, N, H, W) of a volume's values (S, N, *spatial).

    The slice with the most foreground of its targets, `truth` (S, K, *spatial); of the sample of a
    3D network, the plane with the most foreground across each axis, that of `slices.axis` first.
    Planes are extended to one size by the value `outside`. Nothing is read from the device.
    """
    if truth.dim() == 4:
        fullest = truth.sum(dim=(1, 2, 3)).argmax(dim=0, keepdim=True)
        return values.index_select(0, fullest)
    _, height, width = preview_size(task)
    planes = []
    for axis in sorted(range(3), key=lambda axis: axis != task.main_axis):
        others = [0, 1, *(other + 2 for other in range(3) if other != axis)]
        fullest = truth.sum(dim=others).argmax(dim=0, keepdim=True)
        plane = values[0].index_select(axis + 1, fullest).squeeze(axis + 1)
        extended = plane.new_full((len(plane), height, width), outside)
        extended[:, : plane.shape[1], : plane.shape[2]] = plane
        planes.append(extended)
    return torch.stack(planes)


def preview_slices(task: Task) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return image, target and ignored voxels of the previews of up to 4 validation volumes."""
    stack, images, targets, ignored = task.stack, [], [], []
    for volume in task.validation[:VOLUMES]:
        rows = stack.kept_rows(volume)
        image, target, unknown = (
            stack.kept_part(name, volume, rows) for name in ("image", "target", "ignore")
        )
        images.append(previews_of(task, image, target, float(image.min())))
        targets.append(previews_of(task, target, target))
        ignored.append(previews_of(task, unknown, target))
    ignore = torch.cat(ignored) if stack.ignore.shape[1] else None
    return torch.cat(images), torch.cat(targets), ignore

"""The same bits on every repeat on a GPU, where a configuration asks for them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from softseg.core.errors import UserError

_VARIABLE, _WORKSPACES = "CUBLAS_WORKSPACE_CONFIG", (":4096:8", ":16:8")


def set_deterministic(deterministic: bool, device: torch.device) -> None:
    """Make torch use deterministic algorithms in this process, or allow others again.

    All operations of a training step have deterministic algorithms on a CUDA GPU: convolutions
    (cuDNN), batch and instance norm, dropout (a seeded generator), 2D max pooling, indexing, the
    affine (whose `grid_sample` needs no gradient), all losses (sums, means, maxima, clamps) and
    Adam. Only upsampling has none; the network replaces it by matrix products
    (`softseg.models.unet.upsample`). An operation without one raises an error, see
    `determinism_errors`.

    Raises UserError for a device without such algorithms, and for an environment in which cuBLAS
    is not deterministic.
    """
    if device.type == "cuda":
        # torch reads it once, before the first matrix product of a process, and a process can train
        # with and without `deterministic`: cuBLAS gets the workspace (32 MiB) that both can use
        workspace = os.environ.setdefault(_VARIABLE, _WORKSPACES[0])
        if deterministic and workspace not in _WORKSPACES:
            raise UserError(
                f"trainer.deterministic: the environment variable {_VARIABLE} is `{workspace}`, "
                f"which does not make cuBLAS deterministic; unset it or set {_WORKSPACES[0]}"
            )
    elif deterministic and device.type != "cpu":
        raise UserError(
            f"trainer.deterministic: {device} has no deterministic algorithms; train on a CUDA GPU "
            "or a CPU, or set trainer.deterministic to false"
        )
    torch.backends.cudnn.deterministic = deterministic
    if torch.are_deterministic_algorithms_enabled() != deterministic:  # imports torch's compiler
        torch.use_deterministic_algorithms(deterministic)


@contextmanager
def determinism_errors() -> Iterator[None]:
    """Raise UserError, naming the operation, where torch has no deterministic algorithm for it."""
    try:
        yield
    except RuntimeError as error:
        if match := re.search(r"(\S+) does not have a deterministic implementation", str(error)):
            raise UserError(
                f"trainer.deterministic: torch has no deterministic algorithm for `{match[1]}` on "
                "this device; set trainer.deterministic to false, or train on a CPU"
            ) from error
        if _VARIABLE in str(error):
            raise UserError(
                f"trainer.deterministic: this process used cuBLAS before softseg could make it "
                f"deterministic; set the environment variable {_VARIABLE}={_WORKSPACES[0]} before "
                "it starts"
            ) from error
        raise

"""softseg: training soft medical image segmentation, configured by YAML.

From Python, `train`, `evaluate`, `predict` and `load_model` do what the commands do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from softseg.core.version import __version__

if TYPE_CHECKING:
    from softseg.api import evaluate, load_model, predict, train

__all__ = ["__version__", "evaluate", "load_model", "predict", "train"]


def __getattr__(name: str) -> Any:
    """The functions, imported when they are asked for: `softseg --help` needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module 'softseg' has no attribute '{name}'")
    from softseg import api

    return getattr(api, name)

"""softseg: training soft medical image segmentation, configured by YAML.

`train`, `evaluate`, `predict`, `measure` and `load_model` are the commands as functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from softseg.core.version import __version__

if TYPE_CHECKING:
    from softseg.api import evaluate, load_model, measure, predict, train

__all__ = ["__version__", "evaluate", "load_model", "measure", "predict", "train"]


def __dir__() -> list[str]:
    """The names of the API, which are there before their first use, too."""
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    """Import a function of the API on first use, so that `softseg --help` needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module 'softseg' has no attribute '{name}'")
    from softseg import api

    return getattr(api, name)

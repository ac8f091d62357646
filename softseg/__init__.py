"""softseg: training soft medical image segmentation, configured by YAML."""

from __future__ import annotations

__version__ = "0.1.0"

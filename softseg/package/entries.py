"""What a package holds: the names of its entries, and how large each may be."""

from __future__ import annotations

from softseg.config.yaml.read import MAX_BYTES

FORMAT = 1
"""Goes up whenever an entry, or a key of one, is added or changes its meaning."""

MANIFEST = "manifest.json"  # first, and readable by every version: format, softseg, checksums
ABOUT = "about.json"  # what is known of the model and its training
CONFIG = "config.yaml"  # the resolved experiment, without places and people
THRESHOLDS = "thresholds.json"  # where they were searched for
CARD = "README.md"  # the model card
HEAD = "head.safetensors"
MODEL = "model.safetensors"
REFERENCE = "reference.json"  # of `--onnx`: what the reference script must know
SCRIPT = "predict_onnx.py"  # of `--onnx`: softseg/package/reference.py; softseg never runs it
GRAPH = "model.onnx"  # of `--onnx`: the network, from slices to logits

LARGEST = 2_000_000_000
"""Bytes of a whole package; a 32-bit zip ends a little above."""

LIMITS = {
    MANIFEST: 1_000_000,
    ABOUT: 1_000_000,
    CONFIG: MAX_BYTES,
    THRESHOLDS: 1_000_000,
    CARD: 1_000_000,
    HEAD: 10_000_000,
    MODEL: LARGEST,
    REFERENCE: 1_000_000,
    SCRIPT: 1_000_000,
    GRAPH: LARGEST,
}
"""Entry -> the bytes that it may have, in the order in which entries are written."""

OPTIONAL = {THRESHOLDS, REFERENCE, SCRIPT, GRAPH}

RENEW = "get it again where it came from, or make it again with `softseg package`"


class RefusedError(ValueError):
    """What is wrong with a package, and what to do; whoever knows its name tells the user."""

    def __init__(self, what: str, advice: str = RENEW) -> None:
        super().__init__(what)
        self.advice = advice

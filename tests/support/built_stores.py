"""A dataset in the layout scgm, built into a store, with a cache next to it."""

from __future__ import annotations

import torch

from softseg.data import build as build_dataset
from softseg.preprocess.build_store import build_store
from softseg.preprocess.slices import Slices
from tests.support.steps import preprocess_steps

CHAIN = [{"standardize": {}}, {"crop": {"size": [6, 6]}}]


def built(root, chain=CHAIN, slices=None, cache="cache", tick=lambda: None, **dataset):
    """The store of the dataset in `root`; `cache` is a folder next to it, or None."""
    spec = {
        **({} if "loader" in dataset else {"loader": "files", "layout": "scgm"}),
        "root": str(root),
        "contrasts": ["T2star"],
        "targets": {"gm": {"values": [1]}},
        "cache": str(root.parent / cache) if cache else None,
        **dataset,
    }
    loader = build_dataset(spec)
    return build_store(loader(), loader, preprocess_steps(chain), slices or Slices(), tick=tick)


def same_tensors(store, other):
    return all(
        torch.equal(getattr(store, name), getattr(other, name))
        for name in ("image", "target", "fill", "keep")
    )

"""Every random stream is reseeded from (seed, stream name, epoch): nothing random needs saving."""

from __future__ import annotations

import hashlib

import torch


def seed_of(seed: int, stream: str, epoch: int = 0) -> int:
    """A 63-bit seed for one stream in one epoch; streams of different names are independent."""
    digest = hashlib.sha256(f"{seed}/{stream}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(seed: int, stream: str, epoch: int = 0) -> torch.Generator:
    """A CPU generator at the start of one stream in one epoch."""
    return torch.Generator().manual_seed(seed_of(seed, stream, epoch))


def reseed_torch(seed: int, stream: str, epoch: int = 0) -> None:
    """Reseed torch's global generators (initialization, dropout), on every device."""
    torch.manual_seed(seed_of(seed, stream, epoch))

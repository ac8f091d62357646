"""Seeds of all random streams, derived from (seed, stream name, epoch).

No random state needs to be saved: a resumed training derives the same seeds again.
"""

from __future__ import annotations

import hashlib

import torch


def seed_of(seed: int, stream: str, epoch: int = 0) -> int:
    """Return the 63-bit seed of a stream in an epoch; streams are independent of each other."""
    digest = hashlib.sha256(f"{seed}/{stream}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(seed: int, stream: str, epoch: int = 0) -> torch.Generator:
    """Return a CPU generator at the start of a stream in an epoch."""
    return torch.Generator().manual_seed(seed_of(seed, stream, epoch))


def reseed_torch(seed: int, stream: str, epoch: int = 0) -> None:
    """Reseed torch's global generators (initialization, dropout) on every device."""
    torch.manual_seed(seed_of(seed, stream, epoch))

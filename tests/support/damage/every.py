"""All kinds of damage to one file."""

from __future__ import annotations

from tests.support.damage import of_files, of_gzip, of_header, of_place, of_shape, of_voxels

ON_DISK = (
    *of_shape.KINDS,
    *of_header.KINDS,
    *of_place.KINDS,
    *of_voxels.KINDS,
    *of_gzip.KINDS,
)
"""Under an ordinary name."""
KINDS = (*ON_DISK, *of_files.KINDS)

"""The page as a table of its files: what the server serves and what an export writes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

import numpy as np

from softseg.data.nifti.io import nifti_bytes
from softseg.viewer.niivue import read_niivue
from softseg.viewer.scans import ReadVolume, ViewedScan

INDEX = "index.html"
_GZIP_LEVEL = 1


@dataclass(frozen=True)
class Resource:
    """One file of the page."""

    media_type: str
    read: Callable[[], bytes]
    """Returns its content; raises UserError, OSError or MemoryError if a scan cannot be read."""


Site = dict[str, Resource]
"""Path, relative to the page -> its file. Nothing else is served or written."""


def build_site(title: str, scans: Sequence[ViewedScan], compress: bool = False) -> Site:
    """Return all files of the page; `compress` packs the volumes with gzip.

    Volumes are numbered, so that no name of a file is part of an address. They hold voxels and
    geometry only: what else a header contains stays behind.

    Raises UserError if NiiVue is not installed.
    """
    niivue = read_niivue()
    page = files("softseg.viewer").joinpath("page")
    site = {
        name: Resource(f"{media_type}; charset=utf-8", page.joinpath(name).read_bytes)
        for name, media_type in (
            ("viewer.css", "text/css"),
            ("viewer.js", "text/javascript"),
        )
    }
    site["niivue.js"] = Resource("text/javascript; charset=utf-8", lambda: niivue.module)
    site["niivue-license.txt"] = Resource("text/plain; charset=utf-8", lambda: niivue.license)

    def add(read: ReadVolume) -> str:
        path = f"volumes/{sum(name.startswith('volumes/') for name in site)}.nii"
        path += ".gz" * compress
        site[path] = Resource("application/octet-stream", partial(_volume_bytes, read, compress))
        return path

    content = json.dumps({"title": title, "scans": [_describe(scan, add) for scan in scans]})
    site["scans.json"] = Resource("application/json", content.encode)
    site[INDEX] = Resource("text/html; charset=utf-8", page.joinpath(INDEX).read_bytes)
    return site


def _describe(scan: ViewedScan, add: Callable[[ReadVolume], str]) -> dict[str, Any]:
    """Return what the page needs to know of a scan; `add` returns the address of a volume."""
    scores = [target.dice for target in scan.targets if target.dice is not None]
    return {
        "name": scan.name,
        "dice": float(np.mean(scores)) if scores else None,
        "images": [{"name": name, "url": add(read)} for name, read in scan.images.items()],
        "targets": [
            {
                "name": target.name,
                "dice": target.dice,
                "threshold": target.threshold,
                "soft": add(target.soft),
                "truth": None if target.truth is None else add(target.truth),
            }
            for target in scan.targets
        ],
    }


def _volume_bytes(read: ReadVolume, compress: bool) -> bytes:
    """Return a volume as a NIfTI file of float32: voxels and geometry only."""
    volume = read()
    content = nifti_bytes(volume.data, volume.grid.affine)
    return gzip.compress(content, _GZIP_LEVEL, mtime=0) if compress else content

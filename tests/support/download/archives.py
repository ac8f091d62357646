"""Archives in memory with the members that a test chooses, also forbidden ones."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping


def tar(files: Mapping[str, bytes], *links: tarfile.TarInfo, mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for link in links:
            archive.addfile(link)
    return buffer.getvalue()


def link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def zipped(files: Mapping[str, bytes], **links: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for name, to in links.items():
            info = zipfile.ZipInfo(f"set/{name}")
            info.external_attr = 0o120777 << 16  # a symbolic link, as Unix's zip writes it
            archive.writestr(info, to)
    return buffer.getvalue()

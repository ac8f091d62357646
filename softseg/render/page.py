"""The report as one HTML file that can be mailed, archived and opened without a network."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from softseg.core.files import write_atomically
from softseg.render.figures.style import PAGE_DPI, narrow_file
from softseg.render.text_table import TextTable, to_html


@dataclass(frozen=True)
class Figure:
    """A picture file (PNG, JPEG or SVG), its caption, and a description of what it shows."""

    path: Path
    caption: str
    alt: str


@dataclass(frozen=True)
class Section:
    """A heading of the page and the content below it, in this order."""

    title: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[TextTable, ...] = ()
    figures: tuple[Figure, ...] = ()


def write_page(
    path: Path,
    title: str,
    context: Mapping[str, str],
    warnings: Sequence[str],
    sections: Sequence[Section],
) -> None:
    """Write one self-contained page: pictures and styles inside, no script, no request.

    All texts are plain and are escaped. Warnings are shown above everything else, a box for each;
    then `context`, what the results depend on (data, versions, seed, date); then the sections, with
    their titles as the table of contents.

    Raises FileNotFoundError if a figure's file does not exist, and ValueError if its name is not
    that of a picture.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        data_uri=_data_uri, html=to_html, page_width=_page_width, narrow_uri=_narrow_uri
    )
    source = files("softseg.render").joinpath("page.html").read_text(encoding="utf-8")
    template = environment.from_string(source)
    page = template.render(title=title, context=context, warnings=warnings, sections=sections)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page)


def _narrow_uri(path: Path) -> str | None:
    """The figure's copy for a narrow screen; None if it has none."""
    narrow = narrow_file(path)
    return _data_uri(narrow) if narrow.is_file() else None


def _page_width(path: Path) -> int | None:
    """The width in CSS pixels of a PNG with a resolution: 150 of them an inch; else None."""
    content = path.read_bytes()[:4096]
    chunk = content.find(b"pHYs")
    if not content.startswith(b"\x89PNG") or chunk < 0:
        return None
    pixels = int.from_bytes(content[16:20])
    per_meter = int.from_bytes(content[chunk + 4 : chunk + 8])
    return round(pixels / (per_meter * 0.0254) * PAGE_DPI)


def _data_uri(path: Path) -> str:
    kind, _ = mimetypes.guess_type(path.name)
    if kind is None or not kind.startswith("image/"):
        raise ValueError(f"{path}: a figure must be a picture (.png, .jpg or .svg)")
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"

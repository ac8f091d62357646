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
from softseg.render.text_table import TextTable, html


@dataclass(frozen=True)
class Figure:
    """A picture file (PNG, JPEG or SVG), what stands below it, and what it shows in words."""

    path: Path
    caption: str
    alt: str


@dataclass(frozen=True)
class Section:
    """A heading of the page and what stands below it, in this order."""

    title: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[TextTable, ...] = ()
    figures: tuple[Figure, ...] = ()


def write_page(
    path: Path,
    title: str,
    facts: Mapping[str, str],
    warnings: Sequence[str],
    sections: Sequence[Section],
) -> None:
    """Write one self-contained page: pictures and styles inside, no script, no request.

    All texts are plain and are escaped.

    Args:
        path: the file; its folder is made if need be.
        title: the page's heading.
        facts: what the results hang on (data, versions, seed, date), shown first.
        warnings: what nobody may miss, a box each, above everything else.
        sections: the body, in order; their titles are the table of contents.

    Raises:
        FileNotFoundError: a figure's file does not exist.
        ValueError: a figure's file is no picture by its name.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(data_uri=_data_uri, table=html)
    source = files("softseg.render").joinpath("page.html").read_text(encoding="utf-8")
    template = environment.from_string(source)
    page = template.render(title=title, facts=facts, warnings=warnings, sections=sections)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page)


def _data_uri(path: Path) -> str:
    kind, _ = mimetypes.guess_type(path.name)
    if kind is None or not kind.startswith("image/"):
        raise ValueError(f"{path}: a figure must be a picture (.png, .jpg or .svg)")
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"

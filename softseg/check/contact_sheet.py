"""All subjects at a glance: one slice of each contrast, with the outlines of the targets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from softseg.check.split import set_of
from softseg.core.errors import UserError
from softseg.core.files import replacing
from softseg.core.types import AnyArray
from softseg.data.loaders.base import DatasetFields
from softseg.data.nifti.grid import canonical, canonical_voxels, upright
from softseg.data.sample import Sample, load_sample
from softseg.data.splits import Sets
from softseg.data.subject import Subject
from softseg.render.figures import cells, slices
from softseg.render.figures.style import DPI, WIDTH, save, wrapped

_COLORS = (slices.BLUE, "#ffa90e", "#f070f0", "#7ee081", "#ff6b5e")
_GAP, _BETWEEN, _LINE, _EDGE = 0.04, 0.16, 0.18, 0.1  # inches
_HEIGHT, _MOST = 10.5, 25  # inches of a page for its rows, and subjects on it
_LETTERS = 12.5  # an inch, of SMALL text


@dataclass(frozen=True)
class Entry:
    """One slice of a subject: arrays (H, W), axes growing to the patient's right and front."""

    name: str
    note: str
    """Its set, and which slice of how many it is; or why there is none."""
    images: dict[str, AnyArray]
    """Contrast -> slice, the same contrasts for every subject; black where it cannot be read."""
    masks: dict[str, AnyArray]
    """Target -> slice in [0, 1]; none where there are no labels."""
    pixel_mm: slices.Pixel = (1.0, 1.0)


def entries(
    subjects: Iterable[Subject], dataset: DatasetFields, sets: Sets | None, axis: int = 2
) -> Iterator[Entry]:
    """An entry of each subject, read one after the other: one is in memory at a time.

    `axis` is what slices are cut along in canonical orientation: 0 sagittal, 1 coronal, 2 axial.
    """
    nothing = dict.fromkeys(dataset.contrasts, np.zeros((1, 1), np.float32))
    for subject in subjects:
        where = set_of(subject.name, sets)
        try:
            yield entry_of(load_sample(subject, dataset), subject.name, where, dataset, axis)
        except UserError:
            yield Entry(subject.name, "cannot be read: see softseg data check", nothing, {})


def entry_of(sample: Sample, name: str, where: str, dataset: DatasetFields, axis: int = 2) -> Entry:
    """The slice with most foreground of all targets, else the middle one; `where` is its set."""
    grid = canonical(sample.grid)
    image, target = (
        canonical_voxels(volumes, sample.grid) for volumes in (sample.image, sample.target)
    )
    others = tuple(k for k in range(4) if k != axis + 1)
    amount = target.sum(axis=others)
    place = int(amount.argmax()) if amount.any() else image.shape[axis + 1] // 2
    first, second = (float(grid.zooms[k]) for k in range(3) if k != axis)
    return Entry(
        name=name,
        note=f"{where or 'slice'} {place + 1}/{grid.shape[axis]}",
        images=dict(zip(dataset.contrasts, np.take(image, place, axis + 1), strict=True)),
        masks=dict(zip(dataset.targets, np.take(target, place, axis + 1), strict=False)),
        pixel_mm=(first, second),
    )


def draw_contact_sheet(shown: Iterable[Entry]) -> Iterator[Figure]:
    """A page after the other, each of about 25 subjects; contrasts of a subject stand together.

    Only the entries of one page are held at a time. Of each slice at least half is shown, around
    the targets, and in mm.
    """
    waiting = iter(shown)
    while first := next(waiting, None):
        columns = _Columns(len(first.images))
        yield _draw([first, *islice(waiting, columns.on_a_page - 1)], columns)


def write_contact_sheets(shown: Iterable[Entry], folder: Path) -> list[Path]:
    """Write `contact-01.png`, ... and all pages as `contact.pdf`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    book, pages = folder / "contact.pdf", list[Path]()
    with replacing(book) as part, PdfPages(part, metadata={"CreationDate": None}) as pdf:
        for number, figure in enumerate(draw_contact_sheet(shown), start=1):
            pages.append(folder / f"contact-{number:02}.png")
            save(figure, pages[-1])
            pdf.savefig(figure, dpi=DPI)
    return [*pages, book]


@dataclass(frozen=True)
class _Columns:
    """How subjects of so many contrasts stand beside each other; lengths in inches."""

    contrasts: int

    @property
    def across(self) -> int:
        """Subjects in a row."""
        return max(1, min(5, 10 // self.contrasts))

    @property
    def side(self) -> float:
        """Of a cell."""
        gaps = (self.across - 1) * _BETWEEN + self.across * (self.contrasts - 1) * _GAP
        return _whole(min(1.6, (WIDTH - 2 * _EDGE - gaps) / (self.across * self.contrasts)))

    @property
    def width(self) -> float:
        """Of a subject."""
        return self.contrasts * (self.side + _GAP) - _GAP

    @property
    def on_a_page(self) -> int:
        """Subjects, if each has three lines of text."""
        rows = max(1, int(_HEIGHT / (self.side + 3 * _LINE)))
        return min(_MOST, rows * self.across)


def _draw(page: Sequence[Entry], columns: _Columns) -> Figure:
    letters = int(columns.width * _LETTERS)
    texts = [f"{wrapped(one.name, letters)}\n{wrapped(one.note, letters)}" for one in page]
    step = _whole(columns.side + _LINE * (1.5 + max(text.count("\n") for text in texts)))
    legend = _legend(page)
    top = _whole(_EDGE + _LINE * len(legend) + 0.08)
    figure = Figure(figsize=(WIDTH, top + step * math.ceil(len(page) / columns.across)))
    for line, (text, color) in enumerate(legend):
        _say(figure, _EDGE + (line + 0.5) * _LINE, text, color)
    for k, (one, text) in enumerate(zip(page, texts, strict=True)):
        row, column = divmod(k, columns.across)
        left, upper = _EDGE + column * (columns.width + _BETWEEN), top + row * step
        for c, image in enumerate(one.images.values()):
            place = _whole(left + c * (columns.side + _GAP))
            _slice(cells.cell(figure, place, upper, columns.side), one, image)
        under = (left + columns.width / 2, upper + columns.side + 0.04)
        cells.write(figure, *under, text, ha="center", va="top", linespacing=1.1)
    return figure


def _whole(inches: float) -> float:
    """Of whole pixels, so that no image ends beside the edge of its cell."""
    return round(inches * DPI) / DPI


def _slice(axes: Axes, one: Entry, image: AnyArray) -> None:
    drawn = [mask > 0 for mask in one.masks.values()] or [np.zeros(image.shape, dtype=bool)]
    slices.show(axes, image, one.pixel_mm, slices.zoom(drawn, one.pixel_mm, least=0.5))
    for mask, color in zip(one.masks.values(), cycle(_COLORS), strict=False):
        _outline(axes, mask, one.pixel_mm, color)


def _outline(axes: Axes, mask: AnyArray, pixel_mm: slices.Pixel, color: str) -> None:
    """A thin line where a soft mask is 0.5."""
    shown = np.pad(upright(mask), 1)  # so that it closes at the slice's edges, too
    if shown.max() >= 0.5:
        x = (np.arange(shown.shape[1]) - 0.5) * pixel_mm[0]
        y = (shown.shape[0] - np.arange(shown.shape[0]) - 1.5) * pixel_mm[1]
        axes.contour(x, y, shown, [0.5 - 1e-6], colors=[color], linewidths=0.7)


def _legend(page: Sequence[Entry]) -> list[tuple[str, str]]:
    """What the cells show from left to right, and each target with the color of its outline."""
    several = ", from left to right" if len(page[0].images) > 1 else ""
    told = f"{', '.join(page[0].images)}{several}. Below: subject, set, slice / number of slices"
    lines = [line.strip() for line in wrapped(told, int(WIDTH * _LETTERS)).splitlines()]
    targets = dict.fromkeys(f"outline of {name}" for one in page for name in one.masks)
    return [*((line, "none") for line in lines), *zip(targets, cycle(_COLORS), strict=False)]


def _say(figure: Figure, top: float, text: str, color: str) -> None:
    """A line of the legend, after a sample of the line that it is about, if of any."""
    width, height = figure.get_size_inches()
    ends = [_EDGE / width, (_EDGE + 0.25) / width]
    figure.add_artist(Line2D(ends, [1 - top / height] * 2, color=color, linewidth=2))
    cells.write(figure, _EDGE + 0.33 * (color != "none"), top, text)

"""The contact sheet: one slice of each subject and contrast, with the outlines of the targets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from softseg.core.errors import UserError
from softseg.core.files import replacing
from softseg.core.memory import memory_errors
from softseg.core.types import AnyArray
from softseg.data.loaders.base import DatasetFields
from softseg.data.nifti.grid import Grid, canonical, canonical_voxels
from softseg.data.sample import Sample, load_sample
from softseg.data.splits import Sets, set_of
from softseg.data.subject import Subject
from softseg.preprocess.geometry import center_of_mass, plan_geometry
from softseg.preprocess.slices import Slices
from softseg.preprocess.soften import soften_sample
from softseg.preprocess.steps import Crop, Step
from softseg.render.figures import slices
from softseg.render.figures.style import DPI, WIDTH, FigureFormat, save, wrap

_CELL_GAP, _SUBJECT_GAP, _LINE, _EDGE = 0.04, 0.16, 0.18, 0.1  # inches
_ROWS_HEIGHT = 10.5  # inches of a page for its rows
_MAX_SUBJECTS = 25  # on a page
_PLANES: tuple[Literal["sagittal", "coronal", "axial"], ...] = ("sagittal", "coronal", "axial")
_LETTERS = 12.5  # per inch, of SMALL text


@dataclass(frozen=True)
class SheetEntry:
    """One slice of a subject: arrays (H, W), axes growing to the patient's right and front."""

    name: str
    note: str
    """Its set, the number of the slice and of all slices; or why there is none."""
    images: dict[str, AnyArray]
    """Contrast -> slice, the same contrasts for every subject; black if it cannot be read."""
    masks: dict[str, AnyArray]
    """Target -> slice in [0, 1]; empty without labels."""
    pixel_mm: slices.PixelSize = (1.0, 1.0)
    ignore: AnyArray | None = None
    """True where one of the targets is unknown; None: nowhere."""
    crop: tuple[float, float, float, float] | None = None
    """What training crops to: left and lower edge, width and height in mm; None: the whole."""
    softened: dict[str, AnyArray] = field(default_factory=dict)
    """Target -> slice in [0, 1] of the mask that training uses; empty if none is softened."""


def sheet_entries(
    subjects: Iterable[Subject],
    dataset: DatasetFields,
    sets: Sets | None,
    axis: int = 2,
    problems: list[str] | None = None,
    steps: Sequence[Step] = (),
) -> Iterator[SheetEntry]:
    """Yield an entry for each subject; only one subject is in memory at a time.

    `axis` is the axis that slices cut, in canonical orientation: 0 sagittal, 1 coronal, 2 axial;
    `steps` are the preprocessing, for the crop. A subject that cannot be read gets a black slice,
    and the reason is added to `problems`.
    """
    problems = [] if problems is None else problems
    black = dict.fromkeys(dataset.contrasts, np.zeros((1, 1), np.float32))
    for subject in subjects:
        name, set_name = subject.name, set_of(subject.name, sets)
        try:
            # no name for the sample, which would keep it in memory next to the following one
            yield sheet_entry(
                soften_sample(load_sample(subject, dataset), subject, dataset),
                name,
                set_name,
                dataset,
                axis,
                steps,
            )
        except UserError as error:
            problems += getattr(error, "problems", [f"{name}: {error}"])
            yield SheetEntry(name, "cannot be read: see softseg data check", black, {})


def sheet_entry(
    sample: Sample,
    name: str,
    set_name: str,
    dataset: DatasetFields,
    axis: int = 2,
    steps: Sequence[Step] = (),
) -> SheetEntry:
    """Return the slice with the largest sum of all targets; without foreground the middle one."""
    grid = canonical(sample.grid)
    truth = sample.target if sample.truth is None else sample.truth
    image, target, learned = (
        canonical_voxels(volumes, sample.grid) for volumes in (sample.image, truth, sample.target)
    )
    foreground = target.sum(axis=tuple(k for k in range(4) if k != axis + 1))
    index = int(foreground.argmax()) if foreground.any() else image.shape[axis + 1] // 2
    ignore = None
    if sample.ignore is not None:
        ignored = canonical_voxels(sample.ignore, sample.grid).any(axis=0)
        ignore = np.take(ignored, index, axis)
    first, second = (float(grid.zooms[k]) for k in range(3) if k != axis)
    softened = np.take(learned, index, axis + 1) if sample.truth is not None else ()
    return SheetEntry(
        name=name,
        note=f"{set_name or 'slice'} {index + 1}/{grid.shape[axis]}",
        images=dict(zip(dataset.contrasts, np.take(image, index, axis + 1), strict=True)),
        masks=dict(zip(dataset.targets, np.take(target, index, axis + 1), strict=False)),
        pixel_mm=(first, second),
        ignore=ignore,
        crop=_crop_of(sample, grid, axis, steps),
        softened=dict(zip(dataset.targets, softened, strict=False)),
    )


def _crop_of(
    sample: Sample, grid: Grid, axis: int, steps: Sequence[Step]
) -> tuple[float, float, float, float] | None:
    """The crop in a slice of the canonical grid: left, bottom, width and height in mm."""
    if not any(isinstance(step, Crop) for step in steps):
        return None
    center = None if sample.roi is None else center_of_mass(sample.roi, sample.grid)
    cut = Slices(axis=_PLANES[axis])
    box = plan_geometry(sample.grid, steps, cut, center).network
    # the outer corners of the box, as voxel indices of the canonical grid
    corners = np.array([[-0.5] * 3, [size - 0.5 for size in box.shape]])
    world = corners @ box.affine[:3, :3].T + box.affine[:3, 3]
    to_grid = np.linalg.inv(grid.affine)
    low, high = (world @ to_grid[:3, :3].T + to_grid[:3, 3] + 0.5) * grid.zooms
    (left, bottom), (right, top) = ([end[k] for k in cut.in_plane] for end in (low, high))
    across = cut.in_plane[0]
    mirrored = grid.shape[across] * grid.zooms[across] - right  # as a slice is shown upright
    return float(mirrored), float(bottom), float(right - left), float(top - bottom)


@memory_errors(
    "drawing contact sheets", "crop the largest files, or leave subjects out with dataset.exclude"
)
def write_contact_sheets(
    entries: Iterable[SheetEntry], folder: Path, form: FigureFormat = "png"
) -> list[Path]:
    """Write `contact-01.png`, ... and all pages as `contact.pdf`; return their paths.

    `form` is a format of the pages in addition to PNG.
    """
    folder.mkdir(parents=True, exist_ok=True)
    book, pages = folder / "contact.pdf", list[Path]()
    with replacing(book) as part, PdfPages(part, metadata={"CreationDate": None}) as pdf:
        for number, figure in enumerate(plot_contact_sheets(entries), start=1):
            pages.append(folder / f"contact-{number:02}.png")
            save(figure, pages[-1].with_suffix(f".{form}"))
            pdf.savefig(figure, dpi=DPI)
    return [*pages, book]


def plot_contact_sheets(entries: Iterable[SheetEntry]) -> Iterator[Figure]:
    """Yield one page after the other, each of about 25 subjects with their contrasts in a row.

    Only the entries of one page are in memory. At least half of each slice is shown, around the
    targets, and in mm.
    """
    remaining = iter(entries)
    while first := next(remaining, None):
        per_row, side, _ = _layout(len(first.images))
        rows = max(1, int(_ROWS_HEIGHT / (side + 3 * _LINE)))  # each with three lines of text
        per_page = min(_MAX_SUBJECTS, rows * per_row)
        yield _plot_page([first, *islice(remaining, per_page - 1)])


def _layout(contrasts: int) -> tuple[int, float, float]:
    """Return the subjects in a row, the side of a cell and the width of a subject, in inches."""
    per_row = max(1, min(5, 10 // contrasts))
    gaps = (per_row - 1) * _SUBJECT_GAP + per_row * (contrasts - 1) * _CELL_GAP
    side = slices.whole_pixels(min(1.6, (WIDTH - 2 * _EDGE - gaps) / (per_row * contrasts)))
    return per_row, side, contrasts * (side + _CELL_GAP) - _CELL_GAP


def _plot_page(page: Sequence[SheetEntry]) -> Figure:
    """Plot the legend and, row by row, each subject's cells with the text under them."""
    per_row, side, width = _layout(len(page[0].images))
    letters = int(width * _LETTERS)
    texts = [f"{wrap(entry.name, letters)}\n{wrap(entry.note, letters)}" for entry in page]
    step = slices.whole_pixels(side + _LINE * (1.5 + max(text.count("\n") for text in texts)))
    legend = _legend(page)
    top = slices.whole_pixels(_EDGE + _LINE * len(legend) + 0.08)
    height = top + step * math.ceil(len(page) / per_row)
    figure = Figure(figsize=(WIDTH, height))
    slices.add_legend_lines(figure, _EDGE, _EDGE, _LINE, legend)
    for number, (entry, text) in enumerate(zip(page, texts, strict=True)):
        row, column = divmod(number, per_row)
        left, upper = _EDGE + column * (width + _SUBJECT_GAP), top + row * step
        for k, image in enumerate(entry.images.values()):
            cell_left = slices.whole_pixels(left + k * (side + _CELL_GAP))
            _plot_slice(slices.add_cell(figure, cell_left, upper, side), entry, image)
        below = (left + width / 2, upper + side + 0.04)
        slices.add_text(figure, *below, text, ha="center", va="top", linespacing=1.1)
    return figure


def _legend(page: Sequence[SheetEntry]) -> list[tuple[str, str]]:
    """Return lines about the cells, and each target, with the color of its outline or "none"."""
    order = ", from left to right" if len(page[0].images) > 1 else ""
    text = f"{', '.join(page[0].images)}{order}. Below: subject, set, slice / number of slices"
    lines = [line.strip() for line in wrap(text, int(WIDTH * _LETTERS)).splitlines()]
    if any(entry.crop for entry in page):
        lines.append("dashed frame: what training crops to")
    if any(entry.softened for entry in page):
        lines.append("dotted: the softened mask, at 0.05 and 0.95")
    if any(entry.ignore is not None and entry.ignore.any() for entry in page):
        lines.append(slices.IGNORED_NOTE)
    targets = dict.fromkeys(f"outline of {name}" for entry in page for name in entry.masks)
    return [
        *((line, "none") for line in lines),
        *zip(targets, cycle(slices.TARGET_COLORS), strict=False),
    ]


def _shown_part(entry: SheetEntry, image: AnyArray) -> slices.Box:
    """The part of a slice around the crop and all foreground; without a crop at least half of it.

    A crop that is larger than the slice, which training pads, is shown as far as the slice goes.
    """
    pixel_mm = entry.pixel_mm
    masks = [mask > 0 for mask in entry.masks.values()] or [np.zeros(image.shape, dtype=bool)]
    if entry.crop is None:
        return slices.foreground_box(masks, pixel_mm, least=0.5)
    whole = (image.shape[0] * pixel_mm[0], image.shape[1] * pixel_mm[1])
    foreground = slices.foreground_box(masks, pixel_mm, least=0.0, margin=0.0)
    if not any(mask.any() for mask in masks):
        foreground = slices.Box(entry.crop[0], entry.crop[1], 0.0)
    starts, ends = [], []
    for k, first in enumerate((foreground.left, foreground.bottom)):
        low, high = entry.crop[k], entry.crop[k] + entry.crop[k + 2]
        starts.append(max(0.0, min(low, first)))
        ends.append(min(whole[k], max(high, first + foreground.side)))
    side = 1.1 * max(end - start for start, end in zip(starts, ends, strict=True))
    middle = [(start + end) / 2 for start, end in zip(starts, ends, strict=True)]
    return slices.Box(middle[0] - side / 2, middle[1] - side / 2, side)


def _plot_slice(axes: Axes, entry: SheetEntry, image: AnyArray) -> None:
    """Plot a slice around its crop or targets, with a thin line where each soft mask is 0.5."""
    pixel_mm = entry.pixel_mm
    slices.plot_slice(axes, image, pixel_mm, _shown_part(entry, image))
    if entry.crop:
        left, bottom, width, height = entry.crop
        frame: dict[str, Any] = {"edgecolor": "white", "linestyle": (0, (4, 3)), "linewidth": 0.8}
        axes.add_patch(Rectangle((left, bottom), width, height, fill=False, **frame))
    slices.plot_ignored(axes, entry.ignore, pixel_mm)
    for mask, color in zip(entry.masks.values(), cycle(slices.TARGET_COLORS), strict=False):
        slices.plot_level(axes, mask, pixel_mm, color)
    for mask, color in zip(entry.softened.values(), cycle(slices.TARGET_COLORS), strict=False):
        for level in (0.05, 0.95):
            slices.plot_level(axes, mask, pixel_mm, color, level, "dotted")

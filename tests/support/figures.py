"""Names of candidates, usual and unusual, and a record of the figure that was saved last."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

PAPER = ["Hard-Sig-Dice", "Hard-ReLU-Wing", "Soft-Sig-Wing", "Soft-ReLU-Dice", "Soft-ReLU-Wing"]
ODD = ["A-candidate-with-a-name-of-30-c", "_one_without_any_hyphen_at_all", "$a$"]
TEN = [*PAPER, *ODD, "nine", "ten"]
TWELVE = [*TEN, "eleven", "twelve"]
PAGE = 7.3  # inches between the margins of a printed page


@dataclass
class SavedFigure:
    """The last figure saved, and the box in pixels of each text drawn on it."""

    figure: Figure | None = None
    boxes: dict[Text, object] = field(default_factory=dict)

    @property
    def texts(self):
        return [text.get_text() for text in self.boxes]

    def assert_readable(self, path):
        """Assert that this is a PNG of at most 10 inches with 300 dpi with large letters in it.

        No text is cut off, and none covers another.
        """
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert 800 <= image.width <= 3000
            assert 300 <= image.height <= 8000
            assert round(image.info["dpi"][0]) == 300
            shrinkage = min(1, PAGE * 300 / image.width)
        assert self.boxes
        for text, box in self.boxes.items():
            assert text.get_fontsize() * shrinkage >= 8, text
            assert -2 <= box.x0 <= box.x1 <= image.width + 2, text
            assert -2 <= box.y0 <= box.y1 <= image.height + 2, text
        for (first, a), (second, b) in itertools.combinations(self.boxes.items(), 2):
            across = min(a.x1, b.x1) - max(a.x0, b.x0)
            along = min(a.y1, b.y1) - max(a.y0, b.y0)
            assert across < 4 or along < 4, f"{first} covers {second}"
        assert sorted(path.parent.iterdir()) == [path]  # no unfinished file next to it


@pytest.fixture
def saved_figure(monkeypatch):
    """Record what is drawn while a figure is saved; import it where it is used."""
    record = SavedFigure()
    save, draw = Figure.savefig, Text.draw

    def record_figure(self, *args, **kwargs):
        record.figure = self
        record.boxes.clear()
        return save(self, *args, **kwargs)

    def record_text(self, renderer, *args, **kwargs):
        if self.get_visible() and self.get_text().strip():
            box = self.get_window_extent(renderer)
            bounds = self.get_figure().bbox
            record.boxes[self] = box.translated(-bounds.x0, -bounds.y0)
        return draw(self, renderer, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", record_figure)
    monkeypatch.setattr(Text, "draw", record_text)
    return record


def slice_axes(figure):
    """The axes that show a slice."""
    return [axes for axes in figure.axes if axes.get_facecolor()[:3] == (0, 0, 0)]

"""What is drawn, watched while it is drawn."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

PAPER = 7.3  # inches between the margins of a printed page


@dataclass
class Drawn:
    """The last figure saved, and the box in pixels of each text drawn on it."""

    figure: Figure | None = None
    texts: dict[Text, object] = field(default_factory=dict)

    @property
    def words(self):
        return [text.get_text() for text in self.texts]

    def assert_good(self, path):
        """A PNG of at most 10 inches, all letters large enough, whole and apart."""
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert 400 <= image.width <= 1500
            assert 150 <= image.height <= 4000
            assert round(image.info["dpi"][0]) == 150
            shrunk = min(1, PAPER * 150 / image.width)
        assert self.texts
        for text, box in self.texts.items():
            assert text.get_fontsize() * shrunk >= 8, text
            assert -1 <= box.x0 <= box.x1 <= image.width + 1, text
            assert -1 <= box.y0 <= box.y1 <= image.height + 1, text
        for (one, a), (other, b) in itertools.combinations(self.texts.items(), 2):
            across = min(a.x1, b.x1) - max(a.x0, b.x0)
            along = min(a.y1, b.y1) - max(a.y0, b.y0)
            assert across < 2 or along < 2, f"{one} lies on {other}"
        assert sorted(path.parent.iterdir()) == [path]  # nothing unfinished beside it


@pytest.fixture
def drawn(monkeypatch):
    seen = Drawn()
    save, draw = Figure.savefig, Text.draw

    def note_figure(self, *args, **kwargs):
        seen.figure = self
        seen.texts.clear()
        return save(self, *args, **kwargs)

    def note_text(self, renderer, *args, **kwargs):
        if self.get_visible() and self.get_text().strip():
            box = self.get_window_extent(renderer)
            bounds = self.get_figure().bbox
            seen.texts[self] = box.translated(-bounds.x0, -bounds.y0)
        return draw(self, renderer, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", note_figure)
    monkeypatch.setattr(Text, "draw", note_text)
    return seen

"""Colors, names and numbers that all figures share."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from softseg.render.figures.style import (
    NARROW,
    colors,
    darker,
    format_number,
    narrow_copies,
    panels,
    save,
    title_panel,
    wrap,
)
from tests.support.figures import PAPER, TEN

# Machado, Oliveira, Fernandes 2009: what is seen with no cones of one kind (linear RGB)
SEEN = {
    "everyone": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def lab(color, seen):
    """CIE L*a*b* (D65) of a color as someone sees it."""
    part = np.array(to_rgb(color))
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(seen) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.array(to_xyz) @ linear / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("seen", SEEN)
def test_ten_colors_differ_with_each_kind_of_color_blindness(seen):
    palette = colors(TEN)
    assert list(palette) == TEN
    for first, second in itertools.combinations(palette.values(), 2):
        # 2.3 is just noticeable, red against green in deuteranopia some 10
        assert np.linalg.norm(lab(first, SEEN[seen]) - lab(second, SEEN[seen])) > 15


def test_a_candidate_keeps_its_color_when_others_follow():
    assert colors(TEN[:3]) == dict(list(colors(TEN).items())[:3])


def test_more_than_ten_candidates_repeat_colors():
    palette = colors(map(str, range(23)))
    assert max(Counter(palette.values()).values()) == 3


def test_a_darker_color_is_darker():
    for color in colors(TEN).values():
        assert lab(darker(color), np.eye(3))[0] < lab(color, np.eye(3))[0] - 10


@given(st.text("ab-_ $", max_size=60), st.integers(1, 20))
def test_a_wrapped_name_fits_and_loses_no_letter(name, width):
    lines = wrap(name, width).replace(r"\$", "$").split("\n")
    assert max(map(len, lines)) <= width
    assert "".join(lines).replace(" ", "") == name.replace(" ", "")


def test_a_name_is_broken_after_hyphens_underscores_and_spaces():
    assert wrap("Soft-ReLU-Wing", 14) == "Soft-ReLU-Wing"
    assert wrap("Soft-ReLU-Wing", 10) == "Soft-ReLU-\nWing"
    assert wrap("no_hyphen_at_all", 10) == "no_hyphen_\nat_all"
    assert wrap("one_two-three", 9) == "one_two-\nthree"
    assert wrap("one two three", 12) == "one two\nthree"
    assert wrap("unbreakable", 4) == "unbr\neaka\nble"


def test_numbers_have_about_three_digits_and_a_typographic_minus():
    assert [format_number(x) for x in (123.4, 12.34, 1.234, 0.1234)] == [
        "123",
        "12.3",
        "1.23",
        "0.123",
    ]
    assert format_number(-1.5) == "\N{MINUS SIGN}1.50"
    assert format_number(1.5, sign="+") == "+1.50"
    assert format_number(0.12, size=30) == "0.1"
    assert format_number(float("nan")) == "undefined"


def test_a_figure_is_saved_in_a_new_folder_and_replaces_the_last_one(tmp_path):
    path = tmp_path / "report" / "figures" / "one.png"
    for inches in (1, 2):
        save(Figure(figsize=(inches, 1)), path)
        with Image.open(path) as image:
            assert image.size == (300 * inches, 300)
    assert list(path.parent.iterdir()) == [path]


def test_the_papers_candidates_have_no_gray_color():
    for color in colors(PAPER).values():
        assert np.ptp(to_rgb(color)) > 0.2


@pytest.mark.parametrize("form", ["png", "pdf", "svg"])
def test_a_figure_has_a_png_of_300_dpi_and_the_format_of_its_path(tmp_path, form):
    figure = Figure(figsize=(2, 1))
    figure.text(0.1, 0.5, "text")
    for _ in range(2):
        save(figure, tmp_path / f"a.{form}")
        written = {path.suffix: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(written) == {".png", f".{form}"}
    begin = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[form]
    assert written[f".{form}"].startswith(begin)
    save(figure, tmp_path / f"a.{form}")
    assert (tmp_path / f"a.{form}").read_bytes() == written[f".{form}"]  # nothing of the date


@pytest.mark.parametrize(("across", "count"), [(3, 5), (1, 2), (2, 4)])
def test_panels_are_stacked_for_a_narrow_screen(tmp_path, saved_figure, across, count):
    figure, grid = panels(count, across, 2.0, sharex=True, sharey=True)
    for k, axes in enumerate(grid):
        axes.plot([0, k])
        title_panel(axes, f"candidate-{k}")
    figure.supxlabel("a long label of the axis " * 4)
    with narrow_copies():
        save(figure, tmp_path / "a.png")
    with Image.open(tmp_path / "a-narrow.png") as image:
        assert image.width == round(NARROW * 150)
        for text, box in saved_figure.boxes.items():
            assert -1 <= box.x0 <= box.x1 <= image.width + 1, text
    lefts = {round(axes.get_position().x0, 2) for axes in grid}
    assert len(lefts) == 1  # one column
    assert {f"candidate-{k}" for k in range(count)} <= set(saved_figure.texts)

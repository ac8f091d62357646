"""The contact sheet: which slice of a subject it shows, its orientation, and full pages."""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from softseg import data
from softseg.check import contact_sheet as contact
from softseg.check.contact_sheet import SheetEntry, plot_contact_sheets, sheet_entries, sheet_entry
from softseg.data import Sets
from softseg.data.nifti.grid import Grid, upright
from softseg.data.sample import Sample
from softseg.preprocess.steps import Crop, Resample
from tests.support.figures import ODD
from tests.support.makers import ball, nifti, scan

pytestmark = pytest.mark.filterwarnings("error")
SHAPE = (12, 10, 7)
SETS = Sets(("s1",), ("s2",), ("s3",))


def dataset(root="nowhere", contrasts=("T1w",), targets=("gm",)):
    return data.build(
        {
            "loader": "files",
            "root": str(root),
            "contrasts": list(contrasts),
            "image": "{subject}_{contrast}.nii.gz",
            "label": "{subject}_seg.nii.gz",
            "targets": {name: {} for name in targets},
        }
    )


def sample(image, *targets, affine=None):
    """Return a subject as it is read: (X, Y, Z) of one contrast and of each target."""
    masks = np.stack(targets) if targets else np.zeros((0, *image.shape), np.float32)
    grid = Grid(image.shape, np.eye(4) if affine is None else affine)
    return Sample(image[None], masks, None, (), grid, {})


def masked(*counts):
    """Return a mask with the given numbers of voxels in its slices."""
    mask = np.zeros((*SHAPE[:2], len(counts)), np.float32)
    for k, count in enumerate(counts):
        mask[..., k].flat[:count] = 1
    return mask


def test_a_softened_mask_is_shown_next_to_that_of_the_file():
    """The slice is chosen by the truth: label smoothing is above 0 everywhere."""
    truth = masked(0, 5, 9, 0, 2, 0, 0)
    softened = replace(sample(scan(1, SHAPE), 0.8 * truth + 0.1), truth=truth[None])
    entry = sheet_entry(softened, "s", "test", dataset())
    np.testing.assert_array_equal(entry.masks["gm"], truth[..., 2])
    np.testing.assert_allclose(entry.softened["gm"], 0.8 * truth[..., 2] + 0.1)
    [figure] = plot_contact_sheets([entry])
    [plain] = plot_contact_sheets([replace(entry, softened={})])
    assert len(figure.axes[0].collections) == len(plain.axes[0].collections) + 1  # 0.05; no 0.95
    assert any("softened mask" in text.get_text() for text in figure.texts)


def test_sheets_of_a_dataset_show_what_training_softens(tmp_path):
    nifti(tmp_path / "s_T1w.nii.gz", scan(1, SHAPE))
    nifti(tmp_path / "s_seg.nii.gz", ball(SHAPE, soft=False))
    plain = dataset(tmp_path)
    method = {"gm": {"soften": {"distance": {"width_mm": 2}}}}
    spec = {**plain.model_dump(mode="json"), "targets": method}
    [entry] = sheet_entries(plain(), data.build(spec), None)
    assert np.mean((entry.softened["gm"] > 0) & (entry.softened["gm"] < 1)) > 0
    [entry] = sheet_entries(plain(), plain, None)
    assert not entry.softened


def test_the_slice_with_most_foreground_of_all_targets_is_shown():
    first, second = masked(0, 5, 9, 0, 2, 0, 0), masked(0, 5, 0, 0, 0, 0, 3)
    image = scan(1, SHAPE)
    entry = sheet_entry(sample(image, first, second), "s", "test", dataset(targets=("a", "b")))
    np.testing.assert_array_equal(entry.images["T1w"], image[..., 1])
    np.testing.assert_array_equal(entry.masks["b"], second[..., 1])
    assert (entry.name, entry.note) == ("s", "test 2/7")


def test_voxels_that_a_target_ignores_are_hatched():
    """Of both targets together; the legend explains it."""
    one = sample(scan(1, SHAPE), masked(0, 5, 0, 0, 0, 0, 0), masked(0, 5, 0, 0, 0, 0, 0))
    one.ignore = np.zeros(one.target.shape, dtype=bool)
    one.ignore[1, :4, :, 1] = True
    entry = sheet_entry(one, "s", "test", dataset(targets=("a", "b")))
    np.testing.assert_array_equal(entry.ignore, one.ignore[1, ..., 1])
    [page] = plot_contact_sheets([entry])
    hatched = [c for axes in page.axes for c in axes.collections if any(getattr(c, "hatches", ()))]
    assert len(hatched) == 1
    assert any("gray hatching: ignored" in text.get_text() for text in page.texts)


def test_without_ignored_voxels_nothing_is_hatched():
    entry = sheet_entry(sample(scan(1, SHAPE), masked(0, 5)), "s", "test", dataset())
    [page] = plot_contact_sheets([entry])
    assert not any("ignored" in text.get_text() for text in page.texts)


@pytest.mark.parametrize("masks", [(), (np.zeros(SHAPE, np.float32),)])
def test_without_foreground_the_middle_slice_is_shown(masks):
    image = scan(1, SHAPE)
    entry = sheet_entry(sample(image, *masks), "s", "", dataset())
    np.testing.assert_array_equal(entry.images["T1w"], image[..., 3])
    assert entry.note == "slice 4/7"
    assert len(entry.masks) == len(masks)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_is_the_same_for_every_orientation_of_the_file(axis):
    image, mask = scan(1, SHAPE), np.zeros(SHAPE, np.float32)
    mask[3, 4, 5] = 1
    zooms = np.array([1.0, 2.0, 3.0])
    stored = sample(image, mask, affine=np.diag([*zooms, 1]))
    straight = sheet_entry(stored, "s", "", dataset(), axis)
    # stored as (superior to inferior, right to left, posterior to anterior)
    order, affine = (2, 0, 1), np.zeros((4, 4))
    for stored, (ras, sign) in enumerate([(2, -1), (0, -1), (1, 1)]):
        affine[ras, stored] = sign * zooms[ras]
    affine[3, 3] = 1
    turned = (np.transpose(volume, order)[::-1, ::-1] for volume in (image, mask))
    other = sheet_entry(sample(*turned, affine=affine), "s", "", dataset(), axis)
    np.testing.assert_array_equal(other.images["T1w"], straight.images["T1w"])
    np.testing.assert_array_equal(other.masks["gm"], straight.masks["gm"])
    assert other.pixel_mm == straight.pixel_mm == tuple(np.delete(zooms, axis))
    assert other.note == straight.note == f"slice {(4, 5, 6)[axis]}/{SHAPE[axis]}"


def test_one_subject_is_in_memory_at_a_time_and_a_bad_one_is_named(tmp_path, monkeypatch):
    for name in ("s1", "s2", "s3"):
        nifti(tmp_path / f"{name}_T1w.nii.gz", scan(1, SHAPE))
        nifti(tmp_path / f"{name}_seg.nii.gz", ball(SHAPE))
    (tmp_path / "s2_T1w.nii.gz").write_bytes(b"nothing")
    alive, load_sample = [], contact.load_sample

    def watched(*arguments):
        assert not [volume for volume in alive if volume() is not None]
        sample = load_sample(*arguments)
        alive.append(weakref.ref(sample.image))
        return sample

    monkeypatch.setattr(contact, "load_sample", watched)
    spec = dataset(tmp_path)
    entries = list(sheet_entries(spec(), spec, SETS))
    assert len(alive) == 2
    assert [entry.note.split()[0] for entry in entries] == ["train", "cannot", "test"]
    assert [list(entry.images) for entry in entries] == [["T1w"]] * 3
    assert "softseg data check" in entries[1].note


def make_entry(
    name="sub-01", contrasts=("T1w",), targets=("gm",), shape=(40, 30), pixel=(1.0, 1.0)
):
    mask = np.zeros(shape)
    mask[10:16, 10:16] = 1
    image = np.tile(np.linspace(0, 1, shape[1]), (shape[0], 1))
    return SheetEntry(name, "validation 101/182", dict.fromkeys(contrasts, image),
                 dict.fromkeys(targets, mask), pixel)  # fmt: skip


def slice_axes(figure):
    """Return the axes with a slice."""
    return [axes for axes in figure.axes if axes.get_facecolor()[:3] == (0, 0, 0)]


@pytest.mark.parametrize(("count", "targets"), [(1, ODD), (6, ["gm"]), (12, [])])
def test_all_text_of_a_full_page_is_readable(tmp_path, saved_figure, count, targets):
    contrasts = [f"acq-{k}_T{k}w" for k in range(count)]
    names = [*ODD, *(f"sub-amsterdam{n:04}_ses-02" for n in range(60))]
    page = next(plot_contact_sheets(make_entry(name, contrasts, targets) for name in names))
    assert page.get_size_inches()[1] < 14
    contact.save(page, tmp_path / "page.png")
    saved_figure.assert_readable(tmp_path / "page.png")
    words = "".join(saved_figure.texts).replace(" ", "")  # lines may break anywhere
    assert "Below:subject,set,slice/numberofslices" in words
    assert all(contrast in words for contrast in contrasts)


def test_every_subject_is_on_one_page():
    pages = list(plot_contact_sheets(make_entry(f"s{n}", ("T1w", "T2w"), ()) for n in range(28)))
    assert [len(slice_axes(page)) for page in pages] == [2 * 25, 2 * 3]
    names = [text.get_text().split("\n")[0] for page in pages for text in page.texts]
    assert [name for name in names if name.startswith("s")] == [f"s{n}" for n in range(28)]


def test_slices_of_different_shape_and_voxels_are_drawn_in_mm():
    wide, small = (
        make_entry(shape=(60, 20), pixel=(0.5, 2.0)),
        make_entry(shape=(8, 9), pixel=(3.0, 3.0)),
    )
    [page] = plot_contact_sheets([wide, small])
    for axes, entry in zip(slice_axes(page), (wide, small), strict=True):
        assert np.ptp(axes.get_xlim()) == pytest.approx(np.ptp(axes.get_ylim()))
        assert axes.get_aspect() in (1, "equal", 1.0)
        [drawn] = axes.images
        left, right, bottom, top = drawn.get_extent()
        size = (right - left, top - bottom)
        assert size == pytest.approx(np.multiply(entry.images["T1w"].shape, entry.pixel_mm))


def pixels(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].astype(int)


def colored(figure):
    """Return which pixels are neither gray, black nor white."""
    rgb = pixels(figure)
    return np.ptp(rgb, axis=2) > 60


def test_a_soft_mask_is_outlined_where_it_is_one_half():
    soft = np.tile(np.linspace(0, 1, 41), (40, 1))  # 0.5 at 20.5 pixels from the back
    entry = SheetEntry("s", "n", {"T1w": np.zeros((40, 41))}, {"gm": soft})
    [page] = plot_contact_sheets([entry])
    [axes] = slice_axes(page)
    [line] = axes.collections
    corners = np.concatenate([path.vertices for path in line.get_paths()])
    inner = corners[(corners[:, 0] > 1) & (corners[:, 0] < 39)]
    lowest = inner[inner[:, 1] < 40]
    assert lowest[:, 1] == pytest.approx(20.5, abs=1e-3)


def test_each_target_has_its_color_and_an_empty_one_no_outline():
    both = make_entry(targets=("gm", "wm"))
    masks = {"gm": both.masks["gm"], "wm": np.zeros((40, 30))}
    [page] = plot_contact_sheets([SheetEntry("s", "n", both.images, masks)])
    assert len(slice_axes(page)[0].collections) == 1
    masks["wm"] = np.roll(masks["gm"], 10, axis=0)
    [page] = plot_contact_sheets([SheetEntry("s", "n", both.images, masks)])
    colors = [tuple(c.get_edgecolor()[0]) for c in slice_axes(page)[0].collections]
    assert len(set(colors)) == 2
    legend = [line.get_color() for line in page.artists if line.get_color() != "none"]
    assert len(legend) == 2


def test_the_entries_of_one_page_are_in_memory_at_a_time():
    taken = []
    pages = plot_contact_sheets(taken.append(n) or make_entry(f"s{n}") for n in range(100))
    next(pages)
    assert len(taken) <= 25


def test_without_subjects_there_is_no_page():
    assert list(plot_contact_sheets([])) == []


def test_there_is_a_png_for_each_page_and_one_pdf_of_all_pages(tmp_path):
    paths = contact.write_contact_sheets(
        (make_entry(f"s{n}", targets=()) for n in range(27)), tmp_path / "new"
    )
    assert [path.name for path in paths] == ["contact-01.png", "contact-02.png", "contact.pdf"]
    assert sorted((tmp_path / "new").iterdir()) == sorted(paths)
    with Image.open(paths[0]) as first, Image.open(paths[1]) as second:
        assert first.width == second.width == 2490
        assert first.height > second.height
    content = paths[2].read_bytes()
    assert content.startswith(b"%PDF")
    assert content.count(b"/Type /Page ") + content.count(b"/Type /Page\n") == 2


def test_an_unreadable_subject_is_black(tmp_path):
    bad = SheetEntry("s", "cannot be read", {"T1w": np.zeros((1, 1))}, {})
    [page] = plot_contact_sheets([bad])
    [axes] = slice_axes(page)
    rgb = pixels(page)
    box = axes.get_window_extent()
    middle = rgb[int(rgb.shape[0] - (box.y0 + box.y1) / 2), int((box.x0 + box.x1) / 2)]
    assert middle.tolist() == [0, 0, 0]
    assert not colored(page).any()


CROP = (
    Resample(zooms=(0.5, 1.0, None)),
    Crop(size=(8, 4)),
)


def test_the_crop_of_training_is_framed_where_it_is():
    """A crop of 8 x 4 pixels of 0.5 x 1 mm in the middle of 6 x 8 mm: 4 x 4 mm."""
    image = scan(1, (6, 8, 4))
    mask = np.zeros((6, 8, 4), np.float32)
    mask[2:4, 3:5] = 1
    entry = sheet_entry(sample(image, mask), "s", "", dataset(), steps=CROP)
    assert entry.crop == pytest.approx((1.0, 2.0, 4.0, 4.0))
    box = contact._shown_part(entry, next(iter(entry.images.values())))
    assert box.side == pytest.approx(1.1 * 4)
    assert box.left == pytest.approx(3 - 2.2)
    figure = next(plot_contact_sheets([entry]))
    assert any("dashed frame" in text.get_text() for text in figure.texts)
    [axes] = slice_axes(figure)
    [frame] = axes.patches
    assert (frame.get_x(), frame.get_width()) == pytest.approx((1.0, 4.0))


def test_foreground_outside_of_the_crop_is_in_view():
    mask = np.zeros((40, 30))
    mask[36:38, 2:4] = 1
    image = np.ones((40, 30))
    entry = SheetEntry("s", "", {"T1w": image}, {"gm": mask}, crop=(10, 10, 8, 8))
    box = contact._shown_part(entry, image)
    assert box.left <= 2  # the patient's right is on the left
    assert box.left + box.side >= 18
    assert box.bottom <= 2


def test_a_crop_around_a_roi_is_framed_on_its_side():
    one = sample(scan(1, (12, 10, 7)))
    roi = np.zeros((12, 10, 7), np.float32)
    roi[2:4, 7:9, :] = 1
    one = replace(one, roi=roi)
    steps = (Crop(size=(4, 4), around="roi"),)
    entry = sheet_entry(one, "s", "", dataset(), steps=steps)
    zoom = entry.pixel_mm
    shown = upright(np.any(roi, axis=2))
    rows, columns = np.nonzero(shown)
    x = (columns.mean() + 0.5) * zoom[0]
    y = (shown.shape[0] - rows.mean() - 0.5) * zoom[1]
    left, bottom, width, height = entry.crop
    assert (left + width / 2, bottom + height / 2) == pytest.approx((x, y))


def test_without_a_crop_nothing_is_framed():
    entry = sheet_entry(sample(scan(1, SHAPE), masked(0, 5)), "s", "test", dataset())
    assert entry.crop is None
    assert not slice_axes(next(plot_contact_sheets([entry])))[0].patches

"""`softseg convert images`: PNG and TIFF files become NIfTI files that softseg reads."""

from __future__ import annotations

import numpy as np
import pytest
import typer
from PIL import Image

from softseg.cli.convert import pixel_sizes
from softseg.core.errors import UserError
from softseg.data.nifti.checks import FileError
from softseg.data.nifti.io import read_dtype, read_volume
from softseg.interop.from_images import convert_images

GRAY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20  # 3 rows, 4 columns


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def converted(folder, pixels, name, **options):
    save(folder / "in" / name, pixels)
    [one] = convert_images(folder / "in", folder / "out", (0.5, 0.25), **options)
    return one


def test_an_image_keeps_its_values_and_has_the_size_of_its_pixels(tmp_path):
    one = converted(tmp_path, GRAY, "a/cell1.png")
    assert (one.kind, one.path) == ("image", tmp_path / "out/a/cell1.nii.gz")
    volume = read_volume(one.path)
    np.testing.assert_array_equal(volume.data[..., 0], GRAY.T)
    assert read_dtype(one.path) == "uint8"
    np.testing.assert_allclose(volume.grid.zooms, (0.5, 0.25, 0.5))


@pytest.mark.parametrize(
    ("name", "pixels", "kind", "values"),
    [
        ("cell1.png", GRAY // 220 * 255, "binary mask", {0, 1}),
        (
            "masks/cell1.png",
            np.array([[0, 51], [102, 255]], np.uint8),
            "soft mask",
            {0, 0.2, 0.4, 1},
        ),
        ("cell1_seg.tif", np.array([[0, 1], [2, 3]], np.uint8), "mask of codes", {0, 1, 2, 3}),
        ("c-mask.tiff", np.array([[0, 13107], [65535, 0]], np.uint16), "soft mask", {0, 0.2, 1}),
        ("c_mask.tif", np.array([[0, 0.25], [1, 0]], np.float32), "soft mask", {0, 0.25, 1}),
        ("segment.tif", np.array([[0, 300], [7, 9]], np.uint16), "image", {0, 300, 7, 9}),
    ],
)
def test_masks_are_binary_soft_or_codes(tmp_path, name, pixels, kind, values):
    one = converted(tmp_path, pixels, name)
    data = read_volume(one.path).data
    assert one.kind == kind
    assert {round(float(value), 4) for value in np.unique(data)} == values


def test_a_color_image_of_equal_channels_is_gray(tmp_path):
    one = converted(tmp_path, np.stack([GRAY] * 3, axis=-1), "cell1.png")
    np.testing.assert_array_equal(read_volume(one.path).data[..., 0], GRAY.T)


def test_all_problems_are_listed_and_nothing_is_written(tmp_path):
    rgb = np.stack([GRAY, GRAY, GRAY // 2], axis=-1)
    save(tmp_path / "in/color.png", rgb)
    (tmp_path / "in/broken.png").write_bytes(b"nothing")
    for ending in ("png", "tif"):
        save(tmp_path / f"in/twice.{ending}", GRAY)
    pages = [Image.fromarray(GRAY)] * 2
    pages[0].save(tmp_path / "in/pages.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(UserError) as caught:
        convert_images(tmp_path / "in", tmp_path / "out", (1, 1))
    for words in ("color.png: is a color image", "broken.png: cannot be read", "twice.nii.gz: ",
                  "pages.tif: has several pages"):  # fmt: skip
        assert words in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_files_that_exist_are_replaced_only_on_request(tmp_path):
    converted(tmp_path, GRAY, "cell1.png")
    with pytest.raises(UserError, match="exists already"):
        converted(tmp_path, GRAY, "cell1.png")
    converted(tmp_path, GRAY + 1, "cell1.png", overwrite=True)
    assert read_volume(tmp_path / "out/cell1.nii.gz").data.min() == 1


def test_pixels_of_a_microscope_are_written_in_microns(tmp_path):
    save(tmp_path / "in/a.png", GRAY)
    [one] = convert_images(tmp_path / "in", tmp_path / "out", (0.0005, 0.0005))
    volume = read_volume(one.path)
    np.testing.assert_allclose(volume.grid.zooms, 0.0005)
    assert volume.unit == "micron"


@pytest.mark.parametrize("name", ["a.png", "b.TIF"])
def test_reading_a_picture_names_the_command_that_converts_it(tmp_path, name):
    save(tmp_path / name, GRAY)
    with pytest.raises(FileError, match="does not read; convert it to NIfTI with softseg convert"):
        read_volume(tmp_path / name)


def test_the_size_of_a_pixel_is_one_or_two_numbers():
    assert pixel_sizes("0.5") == (0.5, 0.5)
    assert pixel_sizes("0.5,0.4") == (0.5, 0.4)
    for text in ("", "a", "1,2,3", "0", "-1", "1e9"):
        with pytest.raises(typer.BadParameter, match="one or two sizes"):
            pixel_sizes(text)

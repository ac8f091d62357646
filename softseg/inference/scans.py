"""The scans to segment: found among files, in folders and in BIDS data sets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from softseg.config.yaml.tree import printable
from softseg.core.errors import combined_error
from softseg.core.names import listing, natural_key
from softseg.data.nifti.stem import file_stem, nifti_stem
from softseg.inference.naming import (
    by_folder,
    ends_in,
    folder_of,
    scan_and_contrast,
    scan_and_contrast_in_bids,
)

_OURS = re.compile(r".+_label-.+_[a-z]+")  # what `softseg predict` wrote
_GIVEN = "the scan given"  # file by file


@dataclass(frozen=True)
class Scan:
    """The files of one scan, not opened yet."""

    name: str
    images: dict[str, Path]  # contrast -> file, in the model's order; at least one
    place: Path  # folder of its predictions, below the output folder
    roi: Path | None = None
    frame: int | None = None  # index of the frame, for 4D files
    missing: str | None = None  # what it lacks, where it cannot be segmented


@dataclass(frozen=True)
class _Image:
    """One file, of which scan and contrast it is."""

    path: Path
    place: Path
    within: Path  # what the files of one scan have in common: its place, in BIDS above the datatype
    scan: str
    contrast: str


def find_scans(inputs: Sequence[str | Path], contrasts: Sequence[str]) -> list[Scan]:
    """All scans that files and folders hold, each with every contrast or a word of what it lacks.

    A model of one contrast takes any file; of a folder only those whose names end in the contrast,
    where there are such. Where it has several, a file tells its contrast at its name's end
    (`patient1_FLAIR.nii.gz`, or `patient1_0000.nii.gz` for the first), by its whole name
    (`patient1/FLAIR.nii.gz`), or is told to be it (`FLAIR=any_name.nii.gz`, for one scan). In a
    BIDS data set the contrast's entities must be those of the file, but for `run`: each run is a
    scan of its own. Scans called alike keep the folders that tell them apart.

    Raises one UserError for all that is ambiguous or would be written to one place, and where no
    scan has all that the model needs.
    """
    problems: list[str] = []
    images = [
        image for given in inputs for image in _images(str(given), tuple(contrasts), problems)
    ]
    scans: dict[tuple[Path, str], list[_Image]] = {}
    for image in _apart(images):
        scans.setdefault((image.within, image.scan), []).append(image)
    if not scans and not problems:
        where = listing(map(str, inputs))
        problems.append(f"there is no scan of {' + '.join(contrasts)} in {where}")
    problems += [wrong for files in scans.values() for wrong in _twice(files)]
    ordered = sorted(scans.items(), key=lambda item: natural_key("/".join(map(str, item[0]))))
    found = [_scan(files, contrasts) for _, files in ordered]
    problems += _one_place(found)
    lacking = [scan.missing for scan in found if scan.missing is not None]
    if problems or len(lacking) == len(found):
        raise combined_error("this cannot be segmented:", map(printable, [*problems, *lacking]))
    return found


def _images(given: str, contrasts: tuple[str, ...], problems: list[str]) -> Iterator[_Image]:
    """Every image of these contrasts that one argument names."""
    contrast, _, file = given.partition("=")
    if contrast in contrasts and file and not Path(given).exists():
        yield _Image(Path(file), Path(), Path(), _GIVEN, contrast)
        return
    path = Path(given)
    if path.is_dir():
        bids = any(path.glob("sub-*/"))
        yield from (_of_bids if bids else _of_folder)(path, contrasts)
    elif not path.exists():
        problems.append(f"{path}: there is no such file or folder")
    elif told := scan_and_contrast(path, contrasts):
        place = _place(path, Path(), contrasts)
        yield _Image(path, place, place, *told)
    else:
        problems.append(
            f"{path}: its name does not end in one of {', '.join(contrasts)}; write what it is, "
            f"such as {contrasts[0]}={path}"
        )


def _of_bids(root: Path, contrasts: tuple[str, ...]) -> Iterator[_Image]:
    for path in _below(root, "sub-*/**/sub-*.nii*"):
        if told := scan_and_contrast_in_bids(path, contrasts):
            place = path.relative_to(root).parent
            yield _Image(path, place, place.parent, *told)


def _of_folder(folder: Path, contrasts: tuple[str, ...]) -> Iterator[_Image]:
    paths = list(_below(folder, "**/*.nii*"))
    if len(contrasts) == 1:
        paths = [path for path in paths if ends_in(contrasts[0], nifti_stem(path))] or paths
    for path in paths:
        if told := scan_and_contrast(path, contrasts):
            place = _place(path, path.relative_to(folder).parent, contrasts)
            yield _Image(path, place, place, *told)


def _apart(images: Sequence[_Image]) -> list[_Image]:
    """Scans called alike, told apart by the names of their folders."""
    near = [one for one in images if one.within == Path() and one.scan != _GIVEN]
    seen = Counter((one.scan, one.contrast) for one in near)
    alike = {scan for (scan, _), n in seen.items() if n > 1}
    return [
        _in_its_folder(one) if one.within == Path() and one.scan in alike else one for one in images
    ]


def _in_its_folder(image: _Image) -> _Image:
    folder = Path(folder_of(image.path))
    return replace(image, place=folder, within=folder)


def _place(path: Path, below: Path, contrasts: tuple[str, ...]) -> Path:
    """The folder of a scan's predictions: its own where only the folder tells it from others."""
    return Path(folder_of(path)) if below == Path() and by_folder(path, contrasts) else below


def _below(folder: Path, pattern: str) -> Iterator[Path]:
    """The NIfTI files of a folder, but hidden ones, derivatives and what softseg wrote."""
    for path in sorted(folder.glob(pattern)):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part == "derivatives" for part in parts)
        if (
            path.is_file()
            and nifti_stem(path)
            and not hidden
            and not _OURS.fullmatch(nifti_stem(path))
        ):
            yield path


def _twice(files: Sequence[_Image]) -> Iterator[str]:
    """The contrasts of one scan that are there more than once."""
    scan = files[0].within / files[0].scan
    for contrast in dict.fromkeys(image.contrast for image in files):
        paths = [str(image.path) for image in files if image.contrast == contrast]
        if len(paths) > 1:
            yield f"{scan}: {contrast} is there {len(paths)} times: {listing(paths)}"


def _one_place(scans: Sequence[Scan]) -> Iterator[str]:
    """Scans whose predictions would be the same files."""
    places: dict[Path, list[str]] = {}
    for scan in scans:
        first = next(iter(scan.images.values()))
        places.setdefault(scan.place / file_stem(first), []).append(str(first))
    for place, paths in places.items():
        if len(paths) > 1:
            yield f"{place}_label-*: would be written of {len(paths)} scans: {listing(paths)}"


def _scan(files: Sequence[_Image], contrasts: Sequence[str]) -> Scan:
    known = {image.contrast: image for image in files}
    found = {contrast: known[contrast] for contrast in contrasts if contrast in known}
    images = {contrast: image.path for contrast, image in found.items()}
    missing = [contrast for contrast in contrasts if contrast not in known]
    lacks = f"has no {' and no '.join(missing)} (the model needs {' + '.join(contrasts)})"
    told = printable(f"{files[0].within / files[0].scan}: {lacks}") if missing else None
    name = files[0].scan
    if name == _GIVEN and images:  # as its predictions are
        name = file_stem(next(iter(images.values())))
    place = next(iter(found.values()), files[0]).place
    return Scan(name, images, place, missing=told)

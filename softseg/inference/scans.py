"""The scans to segment: single files, files in folders, and BIDS datasets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from softseg.config.yaml.tree import printable
from softseg.core.errors import combined_error
from softseg.core.names import listing, natural_key
from softseg.data.nifti.io import file_stem, nifti_stem

_SCAN_ENTITIES = ("sub-", "ses-", "run-")  # they distinguish scans, not contrasts
_OUTPUT = re.compile(r".+_label-.+_[a-z]+")  # what `softseg predict` wrote
_ASSIGNED = "the given scan"  # the scan of all CONTRAST=FILE arguments


@dataclass(frozen=True)
class Scan:
    """The files of one scan, not yet opened."""

    name: str
    images: dict[str, Path]  # contrast -> file, in the model's order; at least one
    subfolder: Path  # of the output folder, for its predictions
    roi: Path | None = None
    frame: int | None = None  # index of the frame, for 4D files
    missing: str | None = None  # the contrasts that it lacks, so that it cannot be segmented

    @property
    def first_image(self) -> Path:
        """The image whose grid and name the predictions have."""
        return next(iter(self.images.values()))


@dataclass(frozen=True)
class _Image:
    """One file with its scan and contrast."""

    path: Path
    subfolder: Path  # of the output folder
    shared_folder: Path  # the same for all files of a scan; in BIDS the folder of the datatypes
    scan: str
    contrast: str


def find_scans(inputs: Sequence[str | Path], contrasts: Sequence[str]) -> list[Scan]:
    """Find all scans among files and folders; `Scan.missing` is set for incomplete ones.

    A model of one contrast takes any file; in a folder only files with names that end in the
    contrast, if there are any. For a model of several contrasts, the contrast of a file is the end
    of its name (`patient1_FLAIR.nii.gz`, or `patient1_0000.nii.gz` for the first contrast), its
    whole name (`patient1/FLAIR.nii.gz`), or given with it (`FLAIR=any_name.nii.gz`, for one scan).
    In a BIDS dataset, the entities of the contrast must be those of the file, except `run`: each
    run is a scan of its own. Scans of the same name are distinguished by their folders.

    Raises one UserError for everything that is ambiguous or would be written to the same file, and
    if no scan has all contrasts that the model needs.
    """
    problems: list[str] = []
    images = [
        image
        for argument in map(str, inputs)
        for image in _images_of(argument, tuple(contrasts), problems)
    ]
    groups: dict[tuple[Path, str], list[_Image]] = {}
    for image in _with_distinct_folders(images):
        groups.setdefault((image.shared_folder, image.scan), []).append(image)
    if not groups and not problems:
        where = listing(map(str, inputs))
        problems.append(f"there is no scan of {' + '.join(contrasts)} in {where}")
    ordered = sorted(groups.items(), key=lambda item: natural_key("/".join(map(str, item[0]))))
    scans = [_scan(group, contrasts) for _, group in ordered]
    problems += _conflicts(groups.values(), scans)
    incomplete = [scan.missing for scan in scans if scan.missing is not None]
    if problems or len(incomplete) == len(scans):
        raise combined_error(
            "these inputs cannot be segmented:", map(printable, [*problems, *incomplete])
        )
    return scans


def _images_of(argument: str, contrasts: tuple[str, ...], problems: list[str]) -> Iterator[_Image]:
    """Yield the images of these contrasts that one argument of the command names."""
    path = Path(argument)
    contrast, _, named = argument.partition("=")
    if contrast in contrasts and named and not path.exists():
        yield _Image(Path(named), Path(), Path(), _ASSIGNED, contrast)
    elif path.is_dir() and any(path.glob("sub-*/")):
        for file in _nifti_files(path, "sub-*/**/sub-*.nii*"):
            if match := _scan_and_contrast_in_bids(file, contrasts):
                subfolder = file.relative_to(path).parent
                yield _Image(file, subfolder, subfolder.parent, *match)
    elif path.is_dir():
        files = list(_nifti_files(path, "**/*.nii*"))
        if len(contrasts) == 1:
            files = [file for file in files if _ends_in(contrasts[0], nifti_stem(file))] or files
        for file in files:
            if image := _image(file, file.relative_to(path).parent, contrasts):
                yield image
    elif not path.exists():
        problems.append(f"{path}: there is no such file or folder")
    elif image := _image(path, Path(), contrasts):
        yield image
    else:
        problems.append(
            f"{path}: its name does not end in one of {', '.join(contrasts)}; write what it is, "
            f"such as {contrasts[0]}={path}"
        )


def _nifti_files(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield a folder's NIfTI files, except hidden ones, derivatives and softseg's own output."""
    for path in sorted(folder.glob(pattern)):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part == "derivatives" for part in parts)
        stem = nifti_stem(path)
        if path.is_file() and stem and not hidden and not _OUTPUT.fullmatch(stem):
            yield path


def _image(path: Path, subfolder: Path, contrasts: tuple[str, ...]) -> _Image | None:
    """An image outside a BIDS dataset; None if its name ends in none of the contrasts."""
    stem = nifti_stem(path) or path.name
    if nifti_stem(path) in contrasts:  # named after its contrast only, so its folder names the scan
        folder = _folder_of(path)
        subfolder = Path(folder) if subfolder == Path() else subfolder
        return _Image(path, subfolder, subfolder, folder, stem)
    if len(contrasts) == 1:
        return _Image(path, subfolder, subfolder, stem, contrasts[0])
    endings = {f"{n:04d}": contrast for n, contrast in enumerate(contrasts)}
    endings |= {contrast: contrast for contrast in contrasts}
    for ending in sorted(endings, key=len, reverse=True):  # ce-gad_T1w before T1w
        if _ends_in(ending, stem) and stem != ending:
            scan = stem[: -len(ending) - 1]
            return _Image(path, subfolder, subfolder, scan, endings[ending])
    return None


def _ends_in(ending: str, stem: str) -> bool:
    """Whether a name is this, or ends in it after a `_` or `-`."""
    return re.search(rf"(^|[_-]){re.escape(ending)}$", stem) is not None


def _folder_of(path: Path) -> str:
    """The name of the folder that a file is in, resolved only if the path does not contain it."""
    folder = path.parent
    return folder.name if folder.name not in ("", "..") else folder.resolve().name


def _scan_and_contrast_in_bids(path: Path, contrasts: tuple[str, ...]) -> tuple[str, str] | None:
    """The scan and the contrast of a file in a BIDS dataset, from its entities."""
    stem = nifti_stem(path)
    by_signature = {_contrast_signature(contrast): contrast for contrast in contrasts}
    contrast = by_signature.get(_contrast_signature(stem))
    if contrast is None:
        return None
    scan = [entity for entity in stem.split("_") if entity.startswith(_SCAN_ENTITIES)]
    return "_".join(scan), contrast


def _contrast_signature(stem: str) -> tuple[frozenset[str], str]:
    """The entities and the suffix that make a contrast, in any order."""
    *entities, suffix = stem.split("_")
    return frozenset(e for e in entities if not e.startswith(_SCAN_ENTITIES)), suffix


def _with_distinct_folders(images: Sequence[_Image]) -> list[_Image]:
    """The images; scans of the same name get the names of their folders as subfolders."""
    loose = [image for image in images if image.shared_folder == Path()]
    counts = Counter((image.scan, image.contrast) for image in loose if image.scan != _ASSIGNED)
    ambiguous = {scan for (scan, _), count in counts.items() if count > 1}
    distinct = []
    for image in images:
        if image.shared_folder == Path() and image.scan in ambiguous:
            folder = Path(_folder_of(image.path))
            image = replace(image, subfolder=folder, shared_folder=folder)
        distinct.append(image)
    return distinct


def _conflicts(groups: Iterable[Sequence[_Image]], scans: Sequence[Scan]) -> Iterator[str]:
    """Yield a message for each contrast with several files, and for scans with equal outputs."""
    for images in groups:
        scan_name = images[0].shared_folder / images[0].scan
        for contrast in dict.fromkeys(image.contrast for image in images):
            paths = [str(image.path) for image in images if image.contrast == contrast]
            if len(paths) > 1:
                yield f"{scan_name}: {contrast} has {len(paths)} files: {listing(paths)}"
    outputs: dict[Path, list[str]] = {}
    for scan in scans:
        output = scan.subfolder / file_stem(scan.first_image)
        outputs.setdefault(output, []).append(str(scan.first_image))
    for output, paths in outputs.items():
        if len(paths) > 1:
            yield f"{output}_label-*: would be written for {len(paths)} scans: {listing(paths)}"


def _scan(images: Sequence[_Image], contrasts: Sequence[str]) -> Scan:
    """The scan of these images, with a message on the contrasts that it lacks."""
    by_contrast = {image.contrast: image for image in images}
    paths = {name: by_contrast[name].path for name in contrasts if name in by_contrast}
    first = by_contrast[next(iter(paths))]
    lacking = [name for name in contrasts if name not in by_contrast]
    missing = None
    if lacking:
        scan = first.shared_folder / first.scan
        lacks = f"has no {' and no '.join(lacking)} (the model needs {' + '.join(contrasts)})"
        missing = printable(f"{scan}: {lacks}")
    # named like its predictions, so that each has rows of its own in uncertainty.csv
    name = file_stem(first.path) if first.scan == _ASSIGNED else first.scan
    return Scan(name, paths, first.subfolder, missing=missing)

"""The scans to segment: single files, files in folders, and BIDS datasets."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from softseg.config.yaml.tree import printable
from softseg.core.errors import combined_error
from softseg.core.names import listing, natural_key, unknown_name
from softseg.data.nifti.io import file_stem, nifti_files, nifti_stem, unreadable_formats

_SCAN_ENTITIES = ("sub-", "ses-", "run-")  # they distinguish scans, not contrasts
_OUTPUT = re.compile(r".+_label-.+_[a-z]+")  # what `softseg predict` wrote
_CHANNEL = "_0000"  # of the first contrast in nnU-Net's names
_ASSIGNED = "the given scan"  # the scan of all CONTRAST=FILE arguments
# The last part of a name that tells a mask, and that tells a contrast, in any letter case.
_MASKS = frozenset(
    ("seg", "dseg", "probseg", "mask", "label", "labels", "lesion", "lesions", "roi", "gt")
)
_CONTRASTS = frozenset(
    ("t1", "t1w", "t1ce", "t1c", "t1n", "t1gd", "t2", "t2w", "t2f", "t2star", "t2starw", "flair",
     "pd", "pdw", "swi", "dwi", "adc", "mp2rage", "ct")
)  # fmt: skip
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scan:
    """The files of one scan, not yet opened."""

    name: str
    images: dict[str, Path]  # contrast -> file, in the model's order; at least one
    subfolder: Path  # of the output folder, for its predictions
    roi: Path | None = None
    frame: int | None = None  # index of the frame, for 4D files
    in_folder: bool = False  # it was found in a folder, rather than named
    missing: str | None = None  # the contrasts that it lacks, so that it cannot be segmented
    without_channel: bool = False  # predictions are named without nnU-Net's channel, `_0000`

    @property
    def first_image(self) -> Path:
        """The image whose grid the predictions have, and whose name except for a channel."""
        return next(iter(self.images.values()))

    @property
    def named_after(self) -> Path:
        """The first image with the name that predictions begin with; there may be no such file."""
        if not self.without_channel:
            return self.first_image
        stem = file_stem(self.first_image).removesuffix(_CHANNEL)
        return self.first_image.with_name(f"{stem}.nii.gz")


@dataclass(frozen=True)
class _Image:
    """One file with its scan and contrast."""

    path: Path
    subfolder: Path  # of the output folder
    shared_folder: Path  # the same for all files of a scan; in BIDS the folder of the datatypes
    scan: str
    contrast: str
    in_folder: bool = False


def find_scans(inputs: Sequence[str | Path], contrasts: Sequence[str]) -> list[Scan]:
    """Find all scans among files and folders; `Scan.missing` is set for incomplete ones.

    A model of one contrast takes any file; in a folder only files with names that end in the
    contrast, if there are any, or else all but masks and files that are named after another one
    (`p1_T1` beside `p1`). A warning lists the files of a folder that are skipped.

    For a model of several contrasts, the contrast of a file is the end of its name
    (`patient1_FLAIR.nii.gz`, or `patient1_0000.nii.gz` for the first contrast), its whole name
    (`patient1/FLAIR.nii.gz`), or given with it (`FLAIR=any_name.nii.gz`, for one scan). In a BIDS
    dataset, the entities of the contrast must be those of the file, except `run`: each run is a
    scan of its own. Scans of the same name are distinguished by their folders.

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
        problem = f"there is no scan of {' + '.join(contrasts)} in {where}"
        if len(contrasts) > 1:
            names = ", ".join(f"*_{contrast}.nii.gz" for contrast in contrasts)
            files = " ".join(f"{contrast}=FILE" for contrast in contrasts)
            problem += f": name the files {names}, or write {files}"
        problems.append(problem)
    ordered = sorted(groups.items(), key=lambda item: natural_key("/".join(map(str, item[0]))))
    scans = _without_channels([_scan(group, contrasts) for _, group in ordered])
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
    elif path.is_dir():
        yield from _images_in_folder(path, contrasts, problems)
    elif not path.exists() and Path(named).is_file():
        unknown = unknown_name("contrast", contrast, contrasts)
        problems.append(f"{argument}: the model has {unknown}")
    elif not path.exists():
        problems.append(f"{path}: there is no such file or folder")
    elif image := _image(path, Path(), contrasts):
        yield image
    else:
        problems.append(
            f"{path}: its name does not end in one of {', '.join(contrasts)}; write what it is, "
            f"such as {contrasts[0]}={path}"
        )


def _images_in_folder(
    folder: Path, contrasts: tuple[str, ...], problems: list[str]
) -> Iterator[_Image]:
    """Yield the scans in a folder or a BIDS dataset; warn of the other NIfTI files in it."""
    files = [path for path in nifti_files(folder) if not _is_hidden_or_output(path, folder)]
    images: list[_Image | None]
    if any(folder.glob("sub-*/")):
        images = [_image_in_bids(file, folder, contrasts) for file in files]
    else:
        scans = _scans_of_one_contrast(files, contrasts[0]) if len(contrasts) == 1 else files
        problems += _unclear_contrasts(scans, contrasts)
        images = [_image(file, file.relative_to(folder).parent, contrasts) for file in scans]
    used = [replace(image, in_folder=True) for image in images if image is not None]
    skipped = sorted(
        set(files) - {image.path for image in used}, key=lambda path: natural_key(str(path))
    )
    if not files and (others := unreadable_formats(folder)):
        problems.append(f"{folder}: holds {others}")
    if used and skipped:
        _log.warning(
            "%s: skipped %d file(s) that are masks or not of %s: %s; to segment one of them, name "
            "the file",
            folder, len(skipped), " + ".join(contrasts),
            listing(str(path.relative_to(folder)) for path in skipped),
        )  # fmt: skip
    yield from used


def _is_hidden_or_output(path: Path, folder: Path) -> bool:
    """Whether a file in a folder is hidden, a derivative, or what softseg wrote."""
    parts = path.relative_to(folder).parts
    hidden = any(part.startswith(".") or part == "derivatives" for part in parts)
    return hidden or _OUTPUT.fullmatch(nifti_stem(path)) is not None


def _scans_of_one_contrast(files: Sequence[Path], contrast: str) -> list[Path]:
    """The files named after the contrast; else all but masks and files named after another."""
    if named := [file for file in files if _ends_in(contrast, nifti_stem(file))]:
        return named
    stems = {(file.parent, nifti_stem(file)) for file in files}
    return [
        file
        for file in files
        if _last_part(file) not in _MASKS
        and not any(
            (file.parent, file.name[: match.start()]) in stems
            for match in re.finditer("[_-]", nifti_stem(file))
        )
    ]


def _unclear_contrasts(scans: Sequence[Path], contrasts: Sequence[str]) -> Iterator[str]:
    """Yield scans of which several contrasts are in a folder, none named as the model's."""
    if len(contrasts) > 1 or any(_ends_in(contrasts[0], nifti_stem(scan)) for scan in scans):
        return
    groups: dict[Path, list[str]] = {}
    for scan in scans:
        if _last_part(scan) in _CONTRASTS:
            stem = nifti_stem(scan)
            groups.setdefault(scan.parent / stem[: -len(_last_part(scan)) - 1], []).append(stem)
    for group, stems in groups.items():
        if len(stems) > 1:
            yield (
                f"{group}: has {listing(stems)}; the model takes one contrast ({contrasts[0]}): "
                "name the files to segment instead of the folder"
            )


def _last_part(file: Path) -> str:
    """What follows the last `_` or `-` of a NIfTI file's name, in small letters."""
    return re.split("[_-]", nifti_stem(file))[-1].lower()


def _image_in_bids(path: Path, root: Path, contrasts: tuple[str, ...]) -> _Image | None:
    """An image of a BIDS dataset; None if its entities are those of none of the contrasts."""
    subfolder = path.relative_to(root).parent
    stem = nifti_stem(path)
    if not subfolder.parts or not (
        stem.startswith("sub-") and subfolder.parts[0].startswith("sub-")
    ):
        return None
    by_signature = {_contrast_signature(contrast): contrast for contrast in contrasts}
    contrast = by_signature.get(_contrast_signature(stem))
    if contrast is None:
        return None
    entities = [entity for entity in stem.split("_") if entity.startswith(_SCAN_ENTITIES)]
    return _Image(path, subfolder, subfolder.parent, "_".join(entities), contrast)


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


def _without_channels(scans: Sequence[Scan]) -> list[Scan]:
    """Name the predictions of `case_0000.nii.gz` after `case`, unless another scan is so named.

    Another scan `case_0001` of a model with one contrast is not a channel but one of a series.
    """
    stems = {(scan.subfolder, file_stem(scan.first_image)) for scan in scans}
    named = []
    for scan in scans:
        case = file_stem(scan.first_image).removesuffix(_CHANNEL)
        others = ((scan.subfolder, name) for name in (case, f"{case}_0001"))
        is_channel = case not in ("", file_stem(scan.first_image)) and stems.isdisjoint(others)
        named.append(replace(scan, without_channel=is_channel))
    return named


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
        output = scan.subfolder / file_stem(scan.named_after)
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
    return Scan(name, paths, first.subfolder, missing=missing, in_folder=first.in_folder)

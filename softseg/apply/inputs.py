"""The scans to segment: found among files, in folders and in BIDS data sets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from softseg.config.tree import printable
from softseg.data.names import listed, natural
from softseg.errors import several
from softseg.infer.write import named

_STEM = re.compile(r"(?P<stem>[^.].*?)\.nii(\.gz)?")
_OURS = re.compile(r".+_label-.+_[a-z]+")  # what `softseg predict` wrote
_GIVEN = "the scan given"  # file by file
_WHOSE = ("sub-", "ses-", "run-")  # entities that tell scans apart, not contrasts


@dataclass(frozen=True)
class Scan:
    """The files of one scan, not opened yet."""

    name: str
    images: dict[str, Path]  # contrast -> file, in the model's order; at least one
    place: Path  # folder of its predictions, below the output folder
    roi: Path | None = None
    volume: int | None = None  # which one, of files that hold several
    missing: str | None = None  # what it lacks, where it cannot be segmented


@dataclass(frozen=True)
class _Image:
    """One file, of which scan and contrast it is."""

    path: Path
    place: Path
    scan: str
    contrast: str


def find_scans(inputs: Sequence[str | Path], contrasts: Sequence[str]) -> list[Scan]:
    """All scans that files and folders hold, each with every contrast or a word of what it lacks.

    A model of one contrast takes any file. Where it has several, a file tells its contrast at its
    name's end (`patient1_FLAIR.nii.gz`, or `patient1_0000.nii.gz` for the first), by its whole name
    (`patient1/FLAIR.nii.gz`), or is told to be it (`FLAIR=any_name.nii.gz`, for one scan). In a
    BIDS data set the contrast's entities must be those of the file, but for `run`: each run is a
    scan of its own.

    Raises one UserError for all that is ambiguous or would be written to one place, and where no
    scan has all that the model needs.
    """
    problems: list[str] = []
    images = [
        image for given in inputs for image in _images(str(given), tuple(contrasts), problems)
    ]
    scans: dict[tuple[Path, str], list[_Image]] = {}
    for image in images:
        scans.setdefault((image.place, image.scan), []).append(image)
    if not scans and not problems:
        where = listed(map(str, inputs))
        problems.append(f"there is no scan of {' + '.join(contrasts)} in {where}")
    problems += [wrong for files in scans.values() for wrong in _twice(files)]
    ordered = sorted(scans.items(), key=lambda item: natural("/".join(map(str, item[0]))))
    found = [_scan(files, contrasts) for _, files in ordered]
    problems += _one_place(found)
    lacking = [scan.missing for scan in found if scan.missing is not None]
    if problems or len(lacking) == len(found):
        raise several("this cannot be segmented:", map(printable, [*problems, *lacking]))
    return found


def _images(given: str, contrasts: tuple[str, ...], problems: list[str]) -> Iterator[_Image]:
    """Every image of these contrasts that one argument names."""
    contrast, _, file = given.partition("=")
    if contrast in contrasts and file and not Path(given).exists():
        yield _Image(Path(file), Path(), _GIVEN, contrast)
        return
    path = Path(given)
    if path.is_dir():
        bids = any(path.glob("sub-*/"))
        for found in _below(path, "sub-*/**/sub-*.nii*" if bids else "**/*.nii*"):
            told = _entities_told(found, contrasts) if bids else _told(found, contrasts)
            if told:
                below = found.relative_to(path).parent
                yield _Image(found, _place(found, below, contrasts), *told)
    elif not path.exists():
        problems.append(f"{path}: there is no such file or folder")
    elif told := _told(path, contrasts):
        yield _Image(path, _place(path, Path(), contrasts), *told)
    else:
        problems.append(
            f"{path}: its name does not end in one of {', '.join(contrasts)}; write what it is, "
            f"such as {contrasts[0]}={path}"
        )


def _place(path: Path, below: Path, contrasts: tuple[str, ...]) -> Path:
    """The folder of a scan's predictions: its own where only the folder tells it from others."""
    return Path(_folder(path)) if below == Path() and _by_folder(path, contrasts) else below


def _below(folder: Path, pattern: str) -> Iterator[Path]:
    """The NIfTI files of a folder, but hidden ones, derivatives and what softseg wrote."""
    for path in sorted(folder.glob(pattern)):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part == "derivatives" for part in parts)
        if path.is_file() and stem_of(path) and not hidden and not _OURS.fullmatch(stem_of(path)):
            yield path


def stem_of(path: Path) -> str:
    """A file's name without .nii or .nii.gz; empty for another file."""
    match = _STEM.fullmatch(path.name)
    return match["stem"] if match else ""


def _told(path: Path, contrasts: tuple[str, ...]) -> tuple[str, str] | None:
    """The scan and the contrast that a file's name tells."""
    stem = stem_of(path) or path.name
    if len(contrasts) == 1:
        return stem, contrasts[0]
    if _by_folder(path, contrasts):
        return _folder(path), stem
    endings = {f"{n:04d}": contrast for n, contrast in enumerate(contrasts)}
    endings |= {contrast: contrast for contrast in contrasts}
    for ending in sorted(endings, key=len, reverse=True):  # ce-gad_T1w before T1w
        if re.search(rf"[_-]{re.escape(ending)}$", stem):
            return stem[: -len(ending) - 1], endings[ending]
    return None


def _by_folder(path: Path, contrasts: tuple[str, ...]) -> bool:
    """Whether a file's whole name is its contrast, and its folder says of which scan."""
    return len(contrasts) > 1 and stem_of(path) in contrasts


def _folder(path: Path) -> str:
    """The name of the folder that a file is in: as it was given, where that is a name."""
    folder = path.parent
    return folder.name if folder.name not in ("", "..") else folder.resolve().name


def _entities_told(path: Path, contrasts: tuple[str, ...]) -> tuple[str, str] | None:
    """The same of a file in a BIDS data set, by its entities."""
    stem = stem_of(path)
    wanted = {_signature(contrast): contrast for contrast in contrasts}
    contrast = wanted.get(_signature(stem))
    if contrast is None:
        return None
    whose = [entity for entity in stem.split("_") if entity.startswith(_WHOSE)]
    return ("_".join(whose), contrast)


def _signature(stem: str) -> tuple[frozenset[str], str]:
    *entities, suffix = stem.split("_")
    return frozenset(one for one in entities if not one.startswith(_WHOSE)), suffix


def _twice(files: Sequence[_Image]) -> Iterator[str]:
    """The contrasts of one scan that are there more than once."""
    scan = files[0].place / files[0].scan
    for contrast in dict.fromkeys(image.contrast for image in files):
        paths = [str(image.path) for image in files if image.contrast == contrast]
        if len(paths) > 1:
            yield f"{scan}: {contrast} is there {len(paths)} times: {listed(paths)}"


def _one_place(scans: Sequence[Scan]) -> Iterator[str]:
    """Scans whose predictions would be the same files."""
    places: dict[Path, list[str]] = {}
    for scan in scans:
        first = next(iter(scan.images.values()))
        places.setdefault(scan.place / named(first), []).append(str(first))
    for place, paths in places.items():
        if len(paths) > 1:
            yield f"{place}_label-*: would be written of {len(paths)} scans: {listed(paths)}"


def _scan(files: Sequence[_Image], contrasts: Sequence[str]) -> Scan:
    paths = {image.contrast: image.path for image in files}
    images = {contrast: paths[contrast] for contrast in contrasts if contrast in paths}
    missing = [contrast for contrast in contrasts if contrast not in paths]
    lacks = f"has no {' and no '.join(missing)} (the model needs {' + '.join(contrasts)})"
    told = printable(f"{files[0].place / files[0].scan}: {lacks}") if missing else None
    name = files[0].scan
    if name == _GIVEN and images:  # as its predictions are
        name = named(next(iter(images.values())))
    return Scan(name, images, files[0].place, missing=told)

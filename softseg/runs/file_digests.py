"""Digests of the files that a run reads, by which changed images and masks are recognized."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from softseg.core.errors import combined_error
from softseg.core.files import file_digest
from softseg.core.names import listing
from softseg.data import Subject

FileDigests = Mapping[str, Mapping[str, str]]
"""Subject -> file, relative to the root of the dataset -> digest of its bytes."""


def digest_files(
    subjects: Iterable[Subject], root: Path, known: dict[Path, str] | None = None
) -> dict[str, dict[str, str]]:
    """Return the digests of the images, the masks and the ROI mask of each subject.

    `known` holds the digests of files that were read before, and gets those of the others.
    """
    known = {} if known is None else known
    digests: dict[str, dict[str, str]] = {}
    for subject in subjects:
        of_subject = digests[subject.name] = {}
        for path in subject.files:
            if path not in known:
                known[path] = file_digest(path).hex()[:32]
            of_subject[str(path.relative_to(root))] = known[path]
    return digests


def changed_files(then: FileDigests, now: FileDigests) -> dict[str, list[str]]:
    """Return subject -> its files that were changed, added or removed.

    Only subjects that both have are compared.
    """
    changed = {}
    for subject in then.keys() & now.keys():
        before, after = then[subject], now[subject]
        names = sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))
        if names:
            changed[subject] = names
    return changed


def check_one_version(records: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise UserError, naming subjects, files and runs, if runs have read different data.

    `records`: name of a run -> `file_digests` of its run.json, with the keys `root` and `subjects`;
    empty for a run without a record. Files under different roots are not compared.
    """
    versions: dict[tuple[str, str, str], dict[str, list[str]]] = {}  # file -> digest -> runs
    for run, record in records.items():
        for subject, files in record.get("subjects", {}).items():
            for name, digest in files.items():
                of_file = versions.setdefault((subject, str(record["root"]), name), {})
                of_file.setdefault(digest, []).append(run)
    problems = [
        f"{subject}: {Path(root) / name}: " + " | ".join(map(listing, runs.values()))
        for (subject, root, name), runs in sorted(versions.items())
        if len(runs) > 1
    ]
    if problems:
        raise combined_error(
            "images or masks were changed between these runs, so their scores cannot be compared; "
            "delete the runs that read one of the versions and run softseg ablate again (subject: "
            "file: runs that read one version | another):",
            problems,
        )

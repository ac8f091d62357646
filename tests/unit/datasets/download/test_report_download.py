"""The command prints how to read a downloaded dataset; the table of datasets is valid."""

from __future__ import annotations

import hashlib
import io
import re

import pytest
import yaml
from rich.console import Console

from softseg import data
from softseg.config.load import load_experiment
from softseg.config.shipped import shipped_files
from softseg.core.errors import UserError
from softseg.data.sample import load_sample
from softseg.datasets.download import report_download
from softseg.datasets.download.sources import Archive, FileSet, find_source, table
from tests.support import makers
from tests.support.download.archives import tar
from tests.support.download.server import serving


def printed_report(source, folder):
    text = io.StringIO()
    report_download(source, folder, Console(file=text, width=60))
    return text.getvalue()


def fake_file(folder, path, label):
    """One file of a dataset, as bytes."""
    content = makers.ball(soft=False) if label else makers.scan()
    return makers.nifti(folder / path, content, dtype="float32").read_bytes()


def read_as_printed(printed, folder):
    """The dataset and subjects of the printed `dataset:` section, in a YAML file of a user."""
    (folder / "mine.yaml").write_text(printed.split("a YAML file that contains:\n")[1])
    dataset = load_experiment(folder / "mine.yaml", []).dataset
    return dataset, dataset()


def served(source, server):
    """The same dataset on the test's server, where its files have other checksums."""
    if isinstance(source, Archive):
        return source.model_copy(update={"address": f"{server.address}set.tar", "checksum": None})
    paths = tuple(server.files)
    fields = {"address": server.address, "paths": paths, "cases": 1, "checksums": {}}
    return source.model_copy(update=fields)


def test_the_hippocampus_is_read_as_printed(tmp_path):
    root, files = "Task04_Hippocampus", {}
    for case in ("001", "003", "367"):
        for part in ("imagesTr", "labelsTr"):
            path = f"{root}/{part}/hippocampus_{case}.nii.gz"
            files[path] = fake_file(tmp_path, path, part == "labelsTr")
            files[f"{root}/{part}/._hippocampus_{case}.nii.gz"] = b"written by a Mac"
    unlabeled = f"{root}/imagesTs/hippocampus_002.nii.gz"
    files[unlabeled] = fake_file(tmp_path, unlabeled, False)
    with serving(set_tar=tar(files)) as server:
        source = served(find_source("hippocampus"), server)
        printed = printed_report(source, tmp_path / "hippocampus")
    dataset, subjects = read_as_printed(printed, tmp_path)
    assert [subject.name for subject in subjects] == ["001", "003", "367"]
    assert load_sample(subjects[0], dataset).target.sum() == makers.ball(soft=False).sum()
    assert "CC-BY-SA 4.0" in printed
    assert "arXiv:1902.09063" in printed


def test_the_ms_lesions_are_read_as_printed(tmp_path):
    paths = [path for path in find_source("ms-lesions").all_paths if path.startswith("patient0")]
    assert len(paths) == 9 * 5
    with serving() as server:
        server.files = {p: fake_file(tmp_path / "made", p, "GOLD" in p) for p in paths}
        printed = printed_report(served(find_source("ms-lesions"), server), tmp_path / "ms")
    _, subjects = read_as_printed(printed, tmp_path)
    assert [subject.name for subject in subjects] == [f"patient0{n}" for n in range(1, 10)]
    assert list(subjects[0].images) == ["FLAIR", "T1POST", "T1", "T2"]
    for contrast, path in subjects[8].images.items():
        assert path.name.startswith(f"{contrast}_N4")


def test_the_spinal_cords_are_read_by_the_shipped_configuration(tmp_path):
    paths = find_source("gm-challenge-data").all_paths
    with serving() as server:
        server.files = {p: fake_file(tmp_path / "made", p, "derivatives" in p) for p in paths}
        printed = printed_report(served(find_source("gm-challenge-data"), server), tmp_path / "gm")
    command = re.search(r"`softseg data check (\S+) --set (\S+)`", printed)
    subjects = load_experiment(shipped_files()[command[1]], [command[2]]).dataset()
    assert len(subjects) == 8
    assert {subject.columns["institution_id"] for subject in subjects} == {
        "UCL", "NWU", "Philips", "Juntendo", "Milan", "CEITEC",
    }  # fmt: skip
    assert len({subject.columns["person"] for subject in subjects}) == 6
    assert all(subject.roi is not None for subject in subjects)


def test_a_second_call_reports_that_the_data_set_is_complete(tmp_path):
    with serving(a_nii=b"a") as server:
        source = served(find_source("ms-lesions"), server)
        assert "downloaded 1 file: " in printed_report(source, tmp_path)
        assert "already complete: " in printed_report(source, tmp_path)


@pytest.mark.parametrize("name", ["scgm", "msseg2016", "brats2019"])
def test_for_a_challenge_the_report_says_where_to_register_and_where_files_go(tmp_path, name):
    text = io.StringIO()
    report_download(find_source(name), tmp_path / "data", Console(file=text, width=60))
    assert "nothing was downloaded" in text.getvalue()
    assert "after registration at http" in text.getvalue()
    assert not (tmp_path / "data").exists()
    preset = re.search(r"dataset: (\{.*?\})", text.getvalue())
    section = {"root": str(tmp_path), "contrasts": ["x"], "targets": {"x": {}}}
    assert data.build({**yaml.safe_load(preset[1]), **section}).layout == name
    command = re.search(r"`softseg data check (\S+) --set (\S+)`", text.getvalue())
    loaded = load_experiment(shipped_files()[command[1]], [command[2]])
    assert loaded.dataset.root == str(tmp_path / "data")


def test_an_unknown_name_is_rejected_with_the_nearest_one():
    with pytest.raises(UserError, match=r"did you mean 'hippocampus'\?.*gm-challenge-data"):
        find_source("hipocampus")


def test_every_entry_of_the_table_is_valid():
    for name in table():
        source = find_source(name)
        assert source.config in shipped_files(), name
        if isinstance(source, Archive | FileSet):
            assert source.address.startswith("https://"), name
        if isinstance(source, FileSet):
            assert source.address.endswith("/"), name
            assert source.all_paths, name
            assert set(source.checksums) <= set(source.all_paths), name


@pytest.mark.real_data
def test_the_checksums_are_those_of_real_scans(real_data):
    """Copies of the same scans, known to be unchanged."""
    expected = find_source("gm-challenge-data").checksums
    actual = {
        path: hashlib.sha256((real_data / "spinal-gm" / path).read_bytes()).hexdigest()
        for path in expected
    }
    assert actual == expected

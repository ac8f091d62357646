"""The content of a stranger's package is validated, although all of its checksums fit."""

from __future__ import annotations

import json
import os
import pickle

import pytest
import safetensors.torch
import torch

from softseg.config.experiment import Experiment
from softseg.config.load import validate
from softseg.config.yaml.read import parse_yaml
from softseg.package import read_package
from tests.support.crafted_packages import entries, read_error, with_manifest, write_zip


@pytest.mark.parametrize("name", ["model.safetensors", "config.yaml", "README.md", "about.json"])
def test_a_changed_byte_is_detected_by_its_checksum(packed, tmp_path, name):
    contents = entries(packed)
    contents[name] = contents[name][:-1] + bytes([contents[name][-1] ^ 1])
    message = read_error(write_zip(tmp_path / "m", contents))
    assert f"{name} was changed (its SHA-256 differs)" in message


def test_the_error_for_a_newer_format_names_the_softseg_that_reads_it(packed, tmp_path):
    contents = {**entries(packed), "new-in-9.bin": b"?"}
    newer = with_manifest(contents, format=2, softseg="9.1.0", unheard_of={})
    message = read_error(write_zip(tmp_path / "m", newer))
    assert "format 2, written by softseg 9.1.0" in message
    assert message.endswith("install softseg 9.1.0 or newer")
    newer = with_manifest(contents, format=2, softseg="\x1b[2J" * 9)
    assert read_error(write_zip(tmp_path / "m", newer)).endswith("update softseg")


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def with_entry(name, data):
    return lambda contents: {**contents, name: data}


def with_json(name, /, **changes):
    """Change keys of one JSON entry."""
    return lambda contents: {
        **contents,
        name: json.dumps({**json.loads(contents[name]), **changes}).encode(),
    }


def with_threshold(**fields):
    return with_json("thresholds.json", targets={"gm": fields})


def with_tensor(values):
    def make(contents):
        weights = safetensors.torch.load(contents["model.safetensors"])
        data = safetensors.torch.save({**weights, "extra": torch.tensor(values)})
        return {**contents, "model.safetensors": data}

    return make


def with_extends(contents):
    return {**contents, "config.yaml": b"extends: /etc/passwd\n" + contents["config.yaml"]}


def with_unprintable_contrast(contents):
    """Both entries agree on a name that a terminal would execute."""
    config = contents["config.yaml"].replace(b"contrasts: [T2star]", b'contrasts: ["\\e[2J"]')
    assert config != contents["config.yaml"]
    return with_json("about.json", contrasts=["\x1b[2J"])({**contents, "config.yaml": config})


def with_filters(number):
    def make(contents):
        assert b"filters: 2\n" in contents["config.yaml"]
        config = contents["config.yaml"].replace(b"filters: 2\n", b"filters: %d\n" % number)
        return {**contents, "config.yaml": config}

    return make


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_entry("model.safetensors", pickle.dumps(Bomb())), "does not hold weights"),
        (with_entry("model.safetensors", b"\xff" * 100), "does not hold weights"),
        (with_entry("head.safetensors", b""), "does not hold weights"),
        (with_tensor([1.0]), "does not fit config.yaml ('extra')"),
        (with_tensor([float("nan")]), "'extra' contains NaN or infinity"),
        (with_entry("about.json", b"[1]"), "about.json"),
        (with_entry("about.json", b"{" * 100_000), "about.json"),
        (with_json("about.json", epoch="two"), "about.json: 'epoch: "),
        (with_json("about.json", **{"\x1b[2J": 1}), "about.json: '"),
        (with_json("about.json", name="else"), "of different models"),
        (
            with_json("about.json", status="\x1b[2Jfinished"),
            "status: Value error, must be printable",
        ),
        (with_json("about.json", status="x" * 101), "status: String should have at most 100"),
        (
            with_json("about.json", targets=["gm\u202e"]),
            "targets.0: Value error, must be printable",
        ),
        (with_json("about.json", training_scans={"zooms_mm": []}), "training_scans"),
        (with_json("thresholds.json", targets={}), "has other targets"),
        (with_threshold(threshold=2, curve={}), "targets.gm.threshold"),
        (with_threshold(threshold=0.5, curve={}), "the curve has no 0.50"),
        (with_threshold(threshold=0.5, curve={"0.50": "high"}), "targets.gm.curve.0.50"),
        (with_threshold(threshold=None, curve={}), "the curve must be flat"),
        (with_threshold(threshold=None, curve={"0.50": 1, "0.55": 2}), "the curve must be flat"),
        (with_entry("README.md", b"\xff"), "README.md is not UTF-8"),
        (with_entry("README.md", b"x" * 1_000_001), "README.md unpacks to 1,000,001 bytes"),
        (with_entry("config.yaml", b"\xff"), "config.yaml is not UTF-8"),
        (with_entry("config.yaml", b"x: 1"), "config.yaml that this softseg"),
        (with_extends, "extends: unknown key"),
        (with_unprintable_contrast, "contrasts.0: Value error, must be printable"),
        (with_filters(3), "does not fit config.yaml"),
        (with_filters(1024), "does not fit config.yaml"),  # 1.1 GB, checked without memory
        (with_filters(9_000_000_000_000_000), "config.yaml that this softseg"),
    ],
)
def test_invalid_content_is_rejected(packed, tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    path = write_zip(tmp_path / "m", with_manifest(change(entries(packed))))
    assert message in read_error(path)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]  # no folder `pwned`


@pytest.mark.parametrize("text", ["[]", "{", '{"format": true}', '{"format": 0}', "NaN", "null"])
def test_a_manifest_without_a_format_is_rejected(packed, tmp_path, text):
    contents = {**entries(packed), "manifest.json": text.encode()}
    assert "manifest.json" in read_error(write_zip(tmp_path / "m", contents))


def test_the_config_of_a_package_cannot_name_local_files(packed, tmp_path):
    contents = entries(packed)
    config = contents["config.yaml"].replace(b"root: data", b"root: /home/you")
    config = config.replace(b"cache: null", b"cache: /home/you/.ssh")
    config = config.replace(b"device: auto", b"device: cuda:7")
    assert config.count(b"/home/you") == 2
    path = write_zip(tmp_path / "m", with_manifest({**contents, "config.yaml": config}))
    experiment = validate(parse_yaml(read_package(path).config, "config.yaml"), Experiment)
    assert (experiment.dataset.root, experiment.dataset.cache) == ("data", None)
    assert experiment.trainer.device == "auto"


def test_a_missing_file_a_folder_and_another_file_are_rejected(tmp_path):
    assert "no such package" in read_error(tmp_path / "nothing")
    assert "is not a file" in read_error(tmp_path)
    (tmp_path / "text").write_text("hello " * 100)
    assert "not a package" in read_error(tmp_path / "text")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_rejected_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "is not a file" in read_error(tmp_path / "pipe")


def test_a_package_without_the_keys_of_volumes_still_reads(packed, tmp_path):
    """As softseg wrote them when it had 2D networks only."""
    contents = entries(packed)
    about = json.loads(contents["about.json"])
    del about["axes"], about["patch_size"], about["neighbors"]
    config = contents["config.yaml"].decode()
    newer = ("mirror: false", "neighbors: 0")
    lines = [line for line in config.splitlines() if line.strip() not in newer]
    older = {
        **contents,
        "about.json": json.dumps(about).encode(),
        "config.yaml": "\n".join(lines).encode(),
    }
    package = read_package(write_zip(tmp_path / "older.softseg", with_manifest(older)))
    assert package.metadata["axes"] == 2
    assert package.metadata["patch_size"] is None
    assert package.metadata["neighbors"] == 0


@pytest.mark.parametrize("other", [{"axes": 3, "patch_size": [8, 8, 8]}, {"neighbors": 1}])
def test_metadata_of_another_input_than_the_network_has_are_rejected(packed, tmp_path, other):
    contents = entries(packed)
    about = {**json.loads(contents["about.json"]), **other}
    changed = with_manifest({**contents, "about.json": json.dumps(about).encode()})
    message = read_error(write_zip(tmp_path / "m.softseg", changed))
    assert "are of different models" in message

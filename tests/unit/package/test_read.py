"""What a stranger's package holds is judged, although all of its checksums fit."""

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
from tests.support.crafted_packages import entries, refused, signed, zipped


@pytest.mark.parametrize("name", ["model.safetensors", "config.yaml", "README.md", "about.json"])
def test_a_changed_byte_is_found_by_its_checksum(packed, tmp_path, name):
    contents = entries(packed)
    contents[name] = contents[name][:-1] + bytes([contents[name][-1] ^ 1])
    message = refused(zipped(tmp_path / "m", contents))
    assert f"{name} was changed (its SHA-256 differs)" in message


def test_a_package_of_a_newer_format_says_which_softseg_reads_it(packed, tmp_path):
    contents = {**entries(packed), "new-in-9.bin": b"?"}
    newer = signed(contents, format=2, softseg="9.1.0", unheard_of={})
    message = refused(zipped(tmp_path / "m", newer))
    assert "format 2, written by softseg 9.1.0" in message
    assert message.endswith("install softseg 9.1.0 or newer")
    newer = signed(contents, format=2, softseg="\x1b[2J" * 9)
    assert refused(zipped(tmp_path / "m", newer)).endswith("update softseg")


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def putting(name, data):
    return lambda contents: {**contents, name: data}


def telling(name, /, **changes):
    """One JSON entry with other keys."""
    return lambda contents: {
        **contents,
        name: json.dumps({**json.loads(contents[name]), **changes}).encode(),
    }


def threshold(**found):
    return telling("thresholds.json", targets={"gm": found})


def weighing(values):
    def make(contents):
        weights = safetensors.torch.load(contents["model.safetensors"])
        data = safetensors.torch.save({**weights, "extra": torch.tensor(values)})
        return {**contents, "model.safetensors": data}

    return make


def extending(contents):
    return {**contents, "config.yaml": b"extends: /etc/passwd\n" + contents["config.yaml"]}


def contrasts(contents):
    """Both entries agree on a name that a terminal would obey."""
    config = contents["config.yaml"].replace(b"contrasts: [T2star]", b'contrasts: ["\\e[2J"]')
    assert config != contents["config.yaml"]
    return telling("about.json", contrasts=["\x1b[2J"])({**contents, "config.yaml": config})


def filters(number):
    def make(contents):
        assert b"filters: 2\n" in contents["config.yaml"]
        config = contents["config.yaml"].replace(b"filters: 2\n", b"filters: %d\n" % number)
        return {**contents, "config.yaml": config}

    return make


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (putting("model.safetensors", pickle.dumps(Bomb())), "holds no weights"),
        (putting("model.safetensors", b"\xff" * 100), "holds no weights"),
        (putting("head.safetensors", b""), "holds no weights"),
        (weighing([1.0]), "does not fit config.yaml ('extra')"),
        (weighing([float("nan")]), "'extra' holds NaN or infinity"),
        (putting("about.json", b"[1]"), "about.json"),
        (putting("about.json", b"{" * 100_000), "about.json"),
        (telling("about.json", epoch="two"), "about.json: 'epoch: "),
        (telling("about.json", **{"\x1b[2J": 1}), "about.json: '"),
        (telling("about.json", name="else"), "of different models"),
        (telling("about.json", status="\x1b[2Jfinished"), "status: Value error, must be printable"),
        (telling("about.json", status="x" * 101), "status: String should have at most 100"),
        (telling("about.json", targets=["gm\u202e"]), "targets.0: Value error, must be printable"),
        (telling("about.json", native_zooms_mm=[[1, 1, 1]]), "native_zooms_mm"),
        (telling("thresholds.json", targets={}), "has other targets"),
        (threshold(threshold=2, curve={}), "targets.gm.threshold"),
        (threshold(threshold=0.5, curve={}), "the curve has no 0.50"),
        (threshold(threshold=0.5, curve={"0.50": "high"}), "targets.gm.curve.0.50"),
        (putting("README.md", b"\xff"), "README.md is not UTF-8"),
        (putting("README.md", b"x" * 1_000_001), "README.md unpacks to 1,000,001 bytes"),
        (putting("config.yaml", b"\xff"), "config.yaml is not UTF-8"),
        (putting("config.yaml", b"x: 1"), "config.yaml that this softseg"),
        (extending, "extends: unknown key"),
        (contrasts, "contrasts.0: Value error, must be printable"),
        (filters(3), "does not fit config.yaml"),
        (filters(1024), "does not fit config.yaml"),  # 1.1 GB: laid out without memory
        (filters(9_000_000_000_000_000), "config.yaml that this softseg"),
    ],
)
def test_content_that_is_not_what_it_should_be_is_refused(
    packed, tmp_path, monkeypatch, make, words
):
    monkeypatch.chdir(tmp_path)
    assert words in refused(zipped(tmp_path / "m", signed(make(entries(packed)))))
    assert [path.name for path in tmp_path.iterdir()] == ["m"]  # no folder `pwned`


@pytest.mark.parametrize("text", ["[]", "{", '{"format": true}', '{"format": 0}', "NaN", "null"])
def test_a_manifest_that_tells_no_format_is_refused(packed, tmp_path, text):
    contents = {**entries(packed), "manifest.json": text.encode()}
    assert "manifest.json" in refused(zipped(tmp_path / "m", contents))


def test_a_strangers_config_cannot_name_files_of_this_machine(packed, tmp_path):
    contents = entries(packed)
    config = contents["config.yaml"].replace(b"root: data", b"root: /home/you")
    config = config.replace(b"cache: null", b"cache: /home/you/.ssh")
    config = config.replace(b"device: auto", b"device: cuda:7")
    assert config.count(b"/home/you") == 2
    path = zipped(tmp_path / "m", signed({**contents, "config.yaml": config}))
    experiment = validate(parse_yaml(read_package(path).config, "config.yaml"), Experiment)
    assert (experiment.dataset.root, experiment.dataset.cache) == ("data", None)
    assert experiment.trainer.device == "auto"


def test_what_is_no_file_is_refused(tmp_path):
    assert "no such package" in refused(tmp_path / "nothing")
    assert "is no file" in refused(tmp_path)
    (tmp_path / "text").write_text("hello " * 100)
    assert "no package" in refused(tmp_path / "text")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "is no file" in refused(tmp_path / "pipe")

"""`extends`: a config states its differences from another config."""

from __future__ import annotations

import pytest

from softseg.config.merge import read_extended
from softseg.config.yaml.tree import Location
from softseg.core.errors import UserError
from tests.support.config.toy import Write

BASE = """\
name: base
dataset: {loader: files, root: data, image: x.nii}
loss: {name: wing, omega: 8, theta: 0.5}
augment:
  - affine: {rotation: 20}
  - binarize:
model:
  depth: 3
  head: {name: sigmoid, prior: 0.1}
"""


def test_mappings_merge_key_by_key_and_other_values_are_replaced(write: Write) -> None:
    write(BASE, "base.yaml")
    tree = read_extended(
        write(
            "extends: base.yaml\nname: new\nloss: {omega: 4}\n"
            "augment:\n  - flip:\nmodel: {depth: 4}\n"
        )
    )
    assert tree.data == {
        "name": "new",
        "dataset": {"loader": "files", "root": "data", "image": "x.nii"},
        "loss": {"name": "wing", "omega": 4, "theta": 0.5},
        "augment": [{"flip": None}],
        "model": {"depth": 4, "head": {"name": "sigmoid", "prior": 0.1}},
    }


@pytest.mark.parametrize(
    ("over", "path", "merged"),
    [
        ("loss: {name: dice}", "loss", {"name": "dice"}),
        ("loss: {name: wing}", "loss", {"name": "wing", "omega": 8, "theta": 0.5}),
        ("model: {head: {name: relu}}", "model", {"depth": 3, "head": {"name": "relu"}}),
        ("dataset: {loader: bids}", "dataset", {"loader": "bids"}),
        ("loss: null", "loss", None),
    ],
)
def test_another_component_does_not_inherit_parameters(
    write: Write, over: str, path: str, merged: object
) -> None:
    write(BASE, "base.yaml")
    assert read_extended(write(f"extends: base.yaml\n{over}\n")).data[path] == merged


@pytest.mark.parametrize(
    ("over", "merged"),
    [
        ("{distance: {width_mm: 1}}", {"distance": {"width_mm": 1}}),
        ("{gaussian: {a: 2}}", {"gaussian": {"sigma_mm": 1, "a": 2}}),
        ("null", None),
    ],
)
def test_another_way_to_soften_replaces_the_one_before(
    write: Write, over: str, merged: object
) -> None:
    base = "dataset: {targets: {gm: {soften: {gaussian: {sigma_mm: 1}}}}}\n"
    write(base, "base.yaml")
    file = write(f"extends: base.yaml\ndataset: {{targets: {{gm: {{soften: {over}}}}}}}\n")
    assert read_extended(file).data["dataset"]["targets"]["gm"]["soften"] == merged


def test_the_name_of_the_run_does_not_replace_the_config(write: Write) -> None:
    write(BASE, "base.yaml")
    assert "loss" in read_extended(write("extends: base.yaml\nname: other\n")).data


def test_a_keys_location_is_in_the_file_that_wrote_it(write: Write) -> None:
    write(BASE, "base.yaml")
    tree = read_extended(write("extends: base.yaml\n\nloss: {omega: 4}\naugment:\n  - flip:\n"))
    assert tree.location(("loss", "omega")) == Location("x.yaml", 3)
    assert tree.location(("loss", "theta")) == Location("base.yaml", 3)
    assert tree.location(("augment", 0, "flip")) == Location("x.yaml", 5)
    assert ("augment", 1) not in tree.locations
    assert ("augment", 0, "affine") not in tree.locations
    assert ("extends",) not in tree.locations


def test_each_extends_of_a_chain_is_relative_to_its_own_file(write: Write) -> None:
    write(BASE, "configs/base.yaml")
    write("extends: ../base.yaml\nseed: 1\nname: middle\n", "configs/more/middle.yaml")
    tree = read_extended(write("extends: more/middle.yaml\nname: last\n", "configs/last.yaml"))
    assert (tree.data["name"], tree.data["seed"], tree.data["loss"]["omega"]) == ("last", 1, 8)
    assert str(tree.location(("loss",))) == "configs/base.yaml:3"


@pytest.mark.parametrize(
    ("extends", "message"),
    [
        ("bose.yaml", "no file configs/bose.yaml (did you mean 'base.yaml'?)"),
        ("nowhere/base.yaml", "no folder configs/nowhere"),
        ("x.yaml", "leads back to configs/x.yaml, a cycle"),
        ("loop.yaml", "leads back to configs/x.yaml, a cycle"),
        ("[base.yaml]", "must be the name of one YAML file"),
        ("", "must be the name of one YAML file"),
    ],
)
def test_a_wrong_extends_is_an_error_at_its_line(write: Write, extends: str, message: str) -> None:
    write(BASE, "configs/base.yaml")
    write("name: x\nextends: x.yaml\n", "configs/loop.yaml")
    with pytest.raises(UserError) as caught:
        read_extended(write(f"name: x\nextends: {extends}\n", "configs/x.yaml"))
    assert ".yaml:2: extends: " in str(caught.value)
    assert message in str(caught.value)

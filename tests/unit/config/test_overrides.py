"""`--set a.b.c=value` sets any key, with the rules of the files."""

# ruff: noqa: E501 - a table is read with one case a line

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softseg.config.merge import apply_changes, apply_differences
from softseg.config.yaml.tree import ConfigTree, Location, key_paths
from softseg.core.errors import UserError

BASE: dict[str, Any] = {
    "name": "base",
    "loss": {"name": "wing", "omega": 8},
    "augment": [{"affine": {"rotation": 20}}, {"binarize": None}],
    "trainer": {"max_epochs": 5, "early_stopping": None},
    "soften": {"gaussian": {"sigma_mm": 1, "a": 0}},
}


def _tree() -> ConfigTree:
    return ConfigTree.at(BASE, Location("x.yaml", 1))


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("trainer.max_epochs=7", "trainer", {"max_epochs": 7, "early_stopping": None}),
        ("trainer.rate=1e-3", "trainer", {**BASE["trainer"], "rate": 0.001}),
        ("trainer.early_stopping.patience=3", "trainer", {"max_epochs": 5, "early_stopping": {"patience": 3}}),
        ("loss.name=dice", "loss", {"name": "dice"}),
        ("loss.name=wing", "loss", {"name": "wing", "omega": 8}),
        ("loss={omega: 4}", "loss", {"name": "wing", "omega": 4}),
        ("loss={name: dice, per: batch}", "loss", {"name": "dice", "per": "batch"}),
        ("augment=[]", "augment", []),
        ("augment.1.binarize.threshold=0.4", "augment", [BASE["augment"][0], {"binarize": {"threshold": 0.4}}]),
        ("augment.0.affine.rotation=0", "augment", [{"affine": {"rotation": 0}}, BASE["augment"][1]]),
        ("model.head.name=sigmoid", "model", {"head": {"name": "sigmoid"}}),
        ("name=a=b", "name", "a=b"),
        ("name=", "name", None),
        ("name=no", "name", "no"),
        ("soften.gaussian.sigma_mm=2", "soften", {"gaussian": {"sigma_mm": 2, "a": 0}}),
        ("soften.distance.width_mm=2", "soften", {"distance": {"width_mm": 2}}),
        ("soften={distance: {width_mm: 2}}", "soften", {"distance": {"width_mm": 2}}),
        ("soften={gaussian: {a: 1}}", "soften", {"gaussian": {"sigma_mm": 1, "a": 1}}),
        ("soften=null", "soften", None),
    ],
)  # fmt: skip
def test_a_set_changes_its_key_and_nothing_else(text: str, key: str, value: object) -> None:
    tree = apply_changes(_tree(), [text])
    assert tree.data == {**BASE, key: value}
    assert _tree().data == BASE, "the original tree is unchanged"


def test_sets_are_applied_in_turn_and_the_last_value_counts() -> None:
    tree = apply_changes(_tree(), ["loss.name=dice", "loss.per=batch", "seed=1", "seed=2"])
    assert tree.data["loss"] == {"name": "dice", "per": "batch"}
    assert tree.data["seed"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed", "must be KEY=VALUE"),
        ("=1", "must be KEY=VALUE"),
        ("a..b=1", "must be KEY=VALUE"),
        ("augment.2.flip=1", "augment is a list; instead of `2`"),
        ("augment.-1.flip=1", "0 (affine), 1 (binarize)"),
        ("augment.affine.rotation=1", "augment is a list"),
        ("augment.²=1", "augment is a list"),
        ("name.x=1", "name is text 'base', so it has no key `x`"),
        ("trainer.max_epochs.x=1", "trainer.max_epochs is 5"),
        ("seed=[1", "not closed"),
        ("seed=.inf", "finite"),
        ("seed=!!python/none x", "tags"),
        ("extends=y.yaml", "belongs in the file"),
    ],
)
def test_the_error_about_a_wrong_set_quotes_it(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        apply_changes(_tree(), [text])
    assert str(caught.value).startswith(f"--set {text.partition('=')[0]}")
    assert message in str(caught.value)


def test_locations_distinguish_set_keys_from_keys_of_the_file() -> None:
    tree = apply_changes(_tree(), ["augment.1.binarize.threshold=0.4", "loss.name=dice"])
    assert str(tree.location(("augment", 1, "binarize", "threshold"))) == (
        "--set augment.1.binarize.threshold"
    )
    assert str(tree.location(("augment", 1))) == "x.yaml:1"
    assert str(tree.location(("loss", "name"))) == "--set loss.name"
    assert ("loss", "omega") not in tree.locations


def test_a_candidate_is_a_mapping_of_differences() -> None:
    differences = {"loss": {"name": "dice"}, "augment.0.affine.rotation": 5, "name": "hard"}
    tree = apply_differences(_tree(), ConfigTree.at(differences, Location("candidate hard")))
    assert tree.data["loss"] == {"name": "dice"}
    assert tree.data["augment"][0] == {"affine": {"rotation": 5}}
    assert tree.data["trainer"] == BASE["trainer"]
    assert str(tree.location(("loss", "name"))) == "candidate hard"


def test_candidates_within_a_file_keep_their_lines() -> None:
    location = Location("a.yaml", 4)
    tree = ConfigTree(
        {"candidates": [{"seed": 1}]},
        {(): Location("a.yaml", 1), ("candidates", 0, "seed"): location},
    )
    candidate = tree.subtree(("candidates", 0))
    assert candidate.data == {"seed": 1}
    assert candidate.location(("seed",)) == location


_KEYS = st.sampled_from(["a", "b", "name", "loader", "0", "1"])
_DATA = st.recursive(
    st.none() | st.integers(0, 2) | st.sampled_from(["x", "y"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(
    base=st.dictionaries(_KEYS, _DATA, max_size=4),
    over=st.dictionaries(_KEYS, _DATA, max_size=3),
)
def test_after_any_differences_every_key_has_the_location_that_wrote_it(
    base: dict[str, Any], over: dict[str, Any]
) -> None:
    tree = apply_differences(
        ConfigTree.at(base, Location("base")), ConfigTree.at(over, Location("over"))
    )
    assert set(tree.locations) == set(key_paths(tree.data))
    for path in key_paths(over):
        if path and path in tree.locations:
            assert tree.location(path) == Location("over")
    for path, location in tree.locations.items():
        assert location == Location("over") or path in set(key_paths(base))

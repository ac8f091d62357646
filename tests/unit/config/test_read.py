"""YAML is read as plain data; anything else is rejected with its line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softseg.config.yaml.read import parse_yaml, read_yaml
from softseg.config.yaml.tree import Location
from softseg.core.errors import UserError
from tests.support.config.toy import Write


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("1.e2", 100.0),
        (".5", 0.5),
        ("-2.", -2.0),
        ("017", 17),
        ("0o17", 15),
        ("0xff", 255),
        ("+3", 3),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2024-01-02", "2024-01-02"),
        ("no", "no"),
        ("yes", "yes"),
        ("off", "off"),
        ("y", "y"),
        ("true", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("~", None),
        ("", None),
        ("'1e-3'", "1e-3"),
        ('"true"', "true"),
        ("=", "="),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    data = parse_yaml(f"a: {text}", "x").data
    assert data == {"a": value}
    assert type(data["a"]) is type(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_in_pythons_notation_is_read_as_a_number(value: float) -> None:
    number = parse_yaml(repr(value), "x").data
    assert number == value
    assert type(number) is float
    assert math.copysign(1, number) == math.copysign(1, value)


def test_every_key_and_item_has_its_line(write: Write) -> None:
    path = write(
        "augment:\n  - affine:\n      rotation: 5\n  - binarize:\nloss: {name: dice,\n  per: x}\n"
    )
    locations = read_yaml(path).locations
    assert {key: location.line for key, location in locations.items()} == {
        (): 1,
        ("augment",): 1,
        ("augment", 0): 2,
        ("augment", 0, "affine"): 2,
        ("augment", 0, "affine", "rotation"): 3,
        ("augment", 1): 4,
        ("augment", 1, "binarize"): 4,
        ("loss",): 5,
        ("loss", "name"): 5,
        ("loss", "per"): 6,
    }
    assert locations[()] == Location("x.yaml", 1)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "empty"),
        ("# only a comment\n", 1, "empty"),
        ("- a\n- b\n", 1, "mapping"),
        ("a: 1\n\tb: 2\n", 2, "tab"),
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "opens in line 2"),
        ("a: 'x\nb: 1\n", 3, "quote that is not closed"),
        ("image: *.nii.gz\n", 1, "needs quotes"),
        ("image: {subject}/x.nii.gz\n", 1, "needs quotes"),
        ("a: b: c\n", 1, "': '"),
        ("a: 1\nb\nc: 2\n", 3, "`key: value`"),
        ("a: 1\n---\nb: 2\n", 2, "one config"),
        ("a: 1\nb: !!python/name:os.system x\n", 2, "tags"),
        ("a: !mine 1\n", 1, "tags"),
        ("a: ! 1\n", 1, "tags"),
        ("a: &x 1\nb: *x\n", 1, "anchors"),
        ("a: 1\n<<: {b: 2}\n", 2, "<<"),
        ("a:\n  ~: x\n", 2, 'a: the key ~ must be text; put it in quotes: "~"'),
        ("a:\n  1: x\n  '1': y\n", 3, "a.1: written twice"),
        ("true: x\n", 1, "must be text"),
        ("? [a]\n: x\n", 1, "must be text"),
        ("? \n: x\n", 1, "must be text"),
        ("a: .nan\n", 1, "a: must be a finite number"),
        ("a: [1, -.inf]\n", 1, "a.1: must be a finite number"),
        ("a: 1e999\n", 1, "finite"),
        ("a: " + "9" * 5000, 1, "too large"),
        ("a: 18446744073709551616\n", 1, "too large"),
        ("a: " + "[" * 5000, 1, "nested deeper"),
        ('a: "\\ud800"\n', 1, "half a character"),
        ('a: "\\0"\n', 1, "a NUL character"),
        ('a: 1\nb: "\\UFFFFFFFF"\n', 2, "not valid YAML"),
        ("a: \x01\n", 1, "U+0001"),
    ],
)
def test_what_is_not_plain_data_is_rejected_with_its_line(
    write: Write, text: str, line: int, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        read_yaml(write(text))
    assert str(caught.value).startswith(f"x.yaml:{line}: ")
    assert message in str(caught.value)


def test_a_key_written_twice_names_both_lines(write: Write) -> None:
    with pytest.raises(UserError) as caught:
        read_yaml(write("loss:\n  omega: 1\n  name: x\n  omega: 2\n"))
    assert str(caught.value) == "x.yaml:4: loss.omega: written twice (also x.yaml:2); keep one"


def test_all_bad_values_are_listed_in_one_error(write: Write) -> None:
    with pytest.raises(UserError) as caught:
        read_yaml(write("a: .nan\nb: .inf\ntrue: x\n"))
    assert str(caught.value).count("\n") == 3


def test_an_unreadable_file_is_named_with_the_reason(tmp_path: Path) -> None:
    latin, huge = tmp_path / "latin.yaml", tmp_path / "huge.yaml"
    latin.write_bytes("a: 1\nb: \u00e9\n".encode("latin-1"))
    huge.write_bytes(b"a: " + b"x" * 2_000_000)
    for path, message in [
        (tmp_path / "none.yaml", "no such file"),
        (tmp_path, "directory"),
        (latin, "latin.yaml:2: not UTF-8"),
        (huge, "not a config"),
    ]:
        with pytest.raises(UserError, match=message) as caught:
            read_yaml(path)
        assert str(path) in str(caught.value)


def test_a_byte_order_mark_is_not_part_of_the_first_key(write: Write) -> None:
    assert read_yaml(write("\ufeffname: x\n")).data == {"name": "x"}


_YAML_LIKE = st.text(
    alphabet="ab01:-#\n \t[]{},'\"\\&*!|>?%@`~<.=eEuUx\ud800\x00\u0085", max_size=40
)


@given(text=st.one_of(st.text(max_size=60), _YAML_LIKE))
def test_any_text_is_data_or_raises_one_error_that_names_the_file(text: str) -> None:
    problem = "x.yaml: none"
    try:
        parse_yaml(text, "x.yaml", first_line=1)
    except UserError as error:
        problem = str(error)
    assert problem.startswith("x.yaml:")

"""Any bytes are a valid config or give one message with a place: no traceback, no hang.

Every test run tries a few examples of each; --hypothesis-profile=search tries many new ones.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.errors import UserError
from tests.support.config.bombs import BOMBS, NO_CONFIGS
from tests.support.config.fuzzing import (
    check_places,
    error_message,
    examples,
    in_shipped_configs,
    time_limit,
)
from tests.support.config.mutations import CONFIGS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and pipes")


@pytest.fixture(scope="module", autouse=True)
def _shipped_configs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with in_shipped_configs(tmp_path_factory.mktemp("fuzz")):
        yield


_YAML_LIKE = st.text(
    st.sampled_from(list("ab01:-#\n \t\r[]{},'\"\\&*!|>?%@`~<.=eE\ufeff\x00\x85")), max_size=80
)
_PIECES = r"""name: x|loss: {name: dice}|<<: *a|a: &a b|- 1|---|...|%YAML 1.1|? [a]|1: 2|dataset:|
loader: bids|  root: .|a: !!python/object:os.system x|a: 1e999|extends: x.yaml|candidates: {a: {}}|
extends: scgm_softseg.yaml|splits: {name: leave_one_out}|seed: 1|- - -|a: |""".replace("\n", "")
_LINES = st.lists(st.sampled_from(_PIECES.split("|")), max_size=12).map("\n".join)


@examples(100)
@given(content=st.one_of(_YAML_LIKE, _LINES, st.text()).map(lambda t: t.encode("utf-8", "replace"))
       | st.binary(max_size=200))  # fmt: skip
def test_any_bytes_are_a_config_or_give_one_message_with_a_place(content: bytes) -> None:
    Path("x.yaml").write_bytes(content)
    if message := error_message():
        check_places(message)


@pytest.mark.parametrize("kind", BOMBS)
def test_a_harmful_file_is_rejected_in_time(kind: str) -> None:
    content, expected = BOMBS[kind]
    Path("x.yaml").write_bytes(content)
    message = error_message()
    assert message.startswith(expected)
    assert bool(message) == bool(expected)
    assert len(message) < 40_000
    if message:
        check_places(message)


def test_byte_order_marks_and_line_endings_change_nothing() -> None:
    text = (CONFIGS / "scgm_softseg.yaml").read_text(encoding="utf-8")
    plain = load_config(CONFIGS / "scgm_softseg.yaml", Experiment)
    for other in (
        "\ufeff" + text,
        text.replace("\n", "\r\n"),
        text.replace("\n", "\r"),
        text + "\n" * 99,
    ):
        Path("x.yaml").write_bytes(other.encode())
        assert load_config(Path("x.yaml"), Experiment) == plain


@pytest.mark.parametrize("kind", NO_CONFIGS)
def test_a_path_that_is_not_a_text_file_is_rejected(kind: str, tmp_path: Path) -> None:
    make, expected = NO_CONFIGS[kind]
    path = tmp_path / "odd.yaml"
    make(path)
    with pytest.raises(UserError, match=re.escape(expected)) as caught, time_limit():
        load_config(path, Experiment)
    assert str(caught.value).startswith(str(path))


def test_an_impossible_file_name_is_rejected() -> None:
    for name in ("x" * 300, "a\0b", "\udcff", "x/" * 3000):
        with pytest.raises(UserError), time_limit():
            load_config(Path(name), Experiment)


def test_a_long_circle_of_extends_is_found() -> None:
    for number in range(300):
        Path(f"way{number}.yaml").write_text(f"extends: way{(number + 1) % 300}.yaml\n")
    with (
        pytest.raises(UserError, match=r"^way299\.yaml:1: extends: leads back to way0"),
        time_limit(),
    ):
        load_config(Path("way0.yaml"), Experiment)

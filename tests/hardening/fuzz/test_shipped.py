"""A shipped config with mistakes, or any `--set`, is valid or reported with the right place.

Every test run tries a few examples of each; --hypothesis-profile=search tries many new ones.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from softseg.ablation.design import Ablation
from tests.support.config.fuzzing import check_places, error_message, examples, in_shipped_configs
from tests.support.config.mutations import (
    CONFIGS,
    NAMES,
    SHIPPED,
    VALUES,
    KeyPath,
    below,
    lines_of,
    mistakes,
)

Mistake = tuple[str, Any, list[KeyPath]]
_DATA = {path.name: yaml.safe_load(path.read_text()) for path in SHIPPED}
_PROBLEM = re.compile(r"(?:  - )?(?P<file>x\.yaml):(?P<line>\d+): (?:(?P<key>[^ `]+): )?\S")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and pipes")


@pytest.fixture(scope="module", autouse=True)
def _shipped_configs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with in_shipped_configs(tmp_path_factory.mktemp("fuzz")):
        yield


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def message_for(data: Any) -> tuple[str, str]:
    """Return the error message for a config, and its text."""
    text = yaml.dump(data, Dumper=_Plain, sort_keys=False, allow_unicode=True)
    Path("x.yaml").write_text(text, encoding="utf-8")
    return error_message(), text


def expected_lines(key: KeyPath, text: str) -> set[int]:
    """Return the lines that a message about a key may name: of the key or its nearest parent.

    In an ablation the key may also be in one of the candidates, whose keys may be dotted.
    """
    key_lines = lines_of(text)
    candidates = {p[:2] for p in key_lines if p[0:1] == ("candidates",) and len(p) > 1}
    kinds = (key_lines, lines_of(text, values=True))
    return {_nearest(key, lines, above) for above in {(), *candidates} for lines in kinds}


def _nearest(key: KeyPath, all_lines: dict[KeyPath, int], above: KeyPath) -> int:
    """Return the line of a key below `above`, or of its nearest parent that is in the file."""
    lines: dict[tuple[str, ...], int] = {}
    for path, line in all_lines.items():
        if path[: len(above)] == above:
            inside = path[len(above) :]
            parts = tuple(".".join(map(str, inside)).split(".")) if inside else ()
            for depth in range(len(parts) + 1):
                lines.setdefault(parts[:depth], line)
    parent = tuple(map(str, key))
    while parent not in lines:
        parent = parent[:-1]
    return lines[parent]


def key_and_line(problem: str, data: Any) -> tuple[KeyPath, int] | None:
    """Return the key and the line that a problem names; the key () is the whole file.

    None if the problem is about an impossible key, or the key is ambiguous in the message.
    """
    no_key = re.search(r": (the key .* must be text;|merge keys|a key (of|holds))|\\", problem)
    if no_key or (match := _PROBLEM.match(problem)) is None:
        return None
    if not match["key"] and not all(re.fullmatch(r"[\w.-]+", str(p[-1])) for p in below(data)):
        return None
    parts = [part.replace("''", "") for part in match["key"].split(".")] if match["key"] else []
    tops = {
        *Ablation.model_fields,
        *(str(key).split(".")[0] for path in below(data) for key in path),
    }
    return (tuple(parts) if parts and parts[0] in tops else ()), int(match["line"])


@examples(60)
@given(mistakes(_DATA))
def test_a_mistake_in_a_shipped_config_is_reported_with_its_place(mistake: Mistake) -> None:
    _, data, changed = mistake
    message, text = message_for(data)
    if message:
        check_places(message)
    for problem in message.splitlines():
        if (place := key_and_line(problem, data)) is not None:
            key, line = place
            assert line in expected_lines(key, text), (problem, changed)


@examples(20)
@given(mistakes(_DATA, most=6))
def test_many_mistakes_at_once_are_reported_with_their_places(mistake: Mistake) -> None:
    _, data, _ = mistake
    message, _ = message_for(data)
    if message:
        check_places(message)


@examples(20)
@given(mistakes(_DATA), st.randoms(use_true_random=False))
def test_a_config_with_changed_bytes_is_valid_or_reported_with_the_place(
    mistake: Mistake, random: Any
) -> None:
    content = bytearray((CONFIGS / mistake[0]).read_bytes())
    for _ in range(random.randint(1, 3)):
        start = random.randrange(len(content))
        piece = random.choice([b"", b"\t", b" ", b"\n", b"\x00", b"\xff", b"{", b"- ", b": ", b"'"])
        content[start : start + random.choice([0, 1, 8])] = piece
    Path("x.yaml").write_bytes(content)
    if message := error_message():
        check_places(message)


_EVERY = sorted({".".join(map(str, path)) for data in _DATA.values() for path in below(data)})
_PATHS = st.sampled_from(_EVERY)
_PIECES = "[1|{|'|&a 1|*a|!x 1|1e999|[[[]]]|{a: {b: 1}}|\udcff|null"
_TEXTS = st.text(max_size=20) | st.sampled_from(_PIECES.split("|"))
_VALUES = _TEXTS | VALUES.map(lambda v: yaml.dump(v, Dumper=_Plain, default_flow_style=True))
_SETS = st.tuples(
    _PATHS | st.tuples(_PATHS, NAMES).map(".".join) | NAMES | st.text(max_size=8), _VALUES
).map("=".join) | st.text(max_size=12)  # fmt: skip


@examples(60)
@given(st.sampled_from(sorted(_DATA)), st.lists(_SETS, min_size=1, max_size=3))
def test_any_set_is_applied_or_named_in_the_message(name: str, sets: list[str]) -> None:
    sources = "|".join(re.escape(source) for source in _DATA)
    for problem in error_message(tuple(sets), Path(name)).splitlines():
        assert re.match(rf"(  - )?(--set .*|({sources})(:\d+)?: )", problem), problem


LONG_SETS = [
    ".".join("a" * 5000) + "=1",
    "k" * 100_000 + "=1",
    "k" * 100_000,
    "a=" + "[" * 50_000,
    "a=" + "[1," * 40_000,
    "a.b.c.d.e.f.g.h=" + "[" * 45 + "]" * 45,
    "seed=" + "9" * 100_000,
    "split.test=[" + "x," * 9_000 + "y]",
    "\udcff=1",
    "name=\udcff",
    "=",
]


@pytest.mark.parametrize("change", LONG_SETS, ids=range(len(LONG_SETS)))
def test_a_very_long_set_is_rejected_in_a_short_message(change: str) -> None:
    message = error_message((change,), Path("scgm_softseg.yaml"))
    assert message.startswith("--set ")
    assert len(message) < 2_000

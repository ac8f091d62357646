"""A shipped config with mistakes made in it, or any `--set`, is valid or told where it is wrong.

A few examples of each in every run of the tests; --hypothesis-profile=search tries many new ones.
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
from tests.support.config.fuzzing import beside_the_shipped, check_places, complaint, tries
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
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="alarms and pipes are not Windows'")


@pytest.fixture(scope="module", autouse=True)
def _beside_the_shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with beside_the_shipped(tmp_path_factory.mktemp("fuzz")):
        yield


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def complaint_of(data: Any) -> tuple[str, str]:
    """What is said of a config, and its text."""
    text = yaml.dump(data, Dumper=_Plain, sort_keys=False, allow_unicode=True)
    Path("x.yaml").write_text(text, encoding="utf-8")
    return complaint(), text


def expected_lines(key: KeyPath, text: str) -> set[int]:
    """Where a key that a message names may stand: itself, or what is nearest above it.

    Of an ablation also within each of its candidates, whose keys may be dotted.
    """
    known = lines_of(text)
    names = {path[:2] for path in known if path[0:1] == ("candidates",) and len(path) > 1}
    kinds = (known, lines_of(text, values=True))
    return {_nearest(key, lines, above) for above in {(), *names} for lines in kinds}


def _nearest(key: KeyPath, known: dict[KeyPath, int], above: KeyPath) -> int:
    lines: dict[tuple[str, ...], int] = {}
    for path, line in known.items():
        if path[: len(above)] == above:
            inside = path[len(above) :]
            parts = tuple(".".join(map(str, inside)).split(".")) if inside else ()
            for depth in range(len(parts) + 1):
                lines.setdefault(parts[:depth], line)
    wanted = tuple(map(str, key))
    while wanted not in lines:
        wanted = wanted[:-1]
    return lines[wanted]


def named(line: str, data: Any) -> tuple[KeyPath, int] | None:
    """The key and the line that a problem names; () where it names the whole.

    None where it stands at a key that can be none, or cannot be told from the message.
    """
    no_key = re.search(r": (the key .* must be text;|merge keys|a key (of|holds))|\\", line)
    if no_key or (found := _PROBLEM.match(line)) is None:
        return None
    if not found["key"] and not all(re.fullmatch(r"[\w.-]+", str(p[-1])) for p in below(data)):
        return None
    parts = [part.replace("''", "") for part in found["key"].split(".")] if found["key"] else []
    tops = {
        *Ablation.model_fields,
        *(str(key).split(".")[0] for path in below(data) for key in path),
    }
    return (tuple(parts) if parts and parts[0] in tops else ()), int(found["line"])


@tries(60)
@given(mistakes(_DATA))
def test_a_mistake_in_a_shipped_config_is_told_where_it_is(mistake: Mistake) -> None:
    _, data, made = mistake
    said, text = complaint_of(data)
    if said:
        check_places(said)
    for one in said.splitlines():
        if (found := named(one, data)) is not None:
            assert found[1] in expected_lines(found[0], text), (one, made)


@tries(20)
@given(mistakes(_DATA, most=6))
def test_many_mistakes_at_once_are_told_too(mistake: Mistake) -> None:
    _, data, _ = mistake
    said, _ = complaint_of(data)
    if said:
        check_places(said)


@tries(20)
@given(mistakes(_DATA), st.randoms(use_true_random=False))
def test_a_config_with_bytes_changed_is_valid_or_told(mistake: Mistake, random: Any) -> None:
    content = bytearray((CONFIGS / mistake[0]).read_bytes())
    for _ in range(random.randint(1, 3)):
        start = random.randrange(len(content))
        piece = random.choice([b"", b"\t", b" ", b"\n", b"\x00", b"\xff", b"{", b"- ", b": ", b"'"])
        content[start : start + random.choice([0, 1, 8])] = piece
    Path("x.yaml").write_bytes(content)
    if said := complaint():
        check_places(said)


_EVERY = sorted({".".join(map(str, path)) for one in _DATA.values() for path in below(one)})
_PATHS = st.sampled_from(_EVERY)
_PIECES = "[1|{|'|&a 1|*a|!x 1|1e999|[[[]]]|{a: {b: 1}}|\udcff|null"
_TEXTS = st.text(max_size=20) | st.sampled_from(_PIECES.split("|"))
_VALUES = _TEXTS | VALUES.map(lambda v: yaml.dump(v, Dumper=_Plain, default_flow_style=True))
_SETS = st.tuples(
    _PATHS | st.tuples(_PATHS, NAMES).map(".".join) | NAMES | st.text(max_size=8), _VALUES
).map("=".join) | st.text(max_size=12)  # fmt: skip


@tries(60)
@given(st.sampled_from(sorted(_DATA)), st.lists(_SETS, min_size=1, max_size=3))
def test_any_set_is_applied_or_names_itself(name: str, sets: list[str]) -> None:
    said = complaint(tuple(sets), Path(name))
    if said:
        sources = [re.escape(source) for source in _DATA]
        for one in said.splitlines():
            assert re.match(rf"(  - )?(--set .*|({'|'.join(sources)})(:\d+)?: )", one), one


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


@pytest.mark.parametrize("one", LONG_SETS, ids=range(len(LONG_SETS)))
def test_an_endless_set_is_refused_in_a_few_words(one: str) -> None:
    said = complaint((one,), Path("scgm_softseg.yaml"))
    assert said.startswith("--set ")
    assert len(said) < 2_000

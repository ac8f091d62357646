"""For any value of any key, converting gives a YAML file that loads, or one error."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.errors import UserError
from softseg.interop.from_ivadomed.convert import convert, write_config
from tests.support.ivadomed.everything import EVERYTHING, VOLUMES
from tests.support.ivadomed.published import NAMES, published, save

CONFIGS = [*(published(name) for name in NAMES), EVERYTHING, VOLUMES]
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from([10**400, -(10**99), 1e200, 5e-324]),
    st.text(max_size=3),
    st.just("\ud800"),
)
VALUE = st.one_of(
    ODD, st.lists(ODD, max_size=3), st.lists(st.lists(ODD, max_size=2), max_size=2),
    st.dictionaries(st.text(max_size=3), ODD, max_size=2),
)  # fmt: skip


def paths(data, above=()):
    """Yield the path of every value and section."""
    if above:
        yield above
    nested = data if isinstance(data, list) else []
    inside = data.items() if isinstance(data, dict) else enumerate(nested)
    for key, value in inside:
        yield from paths(value, (*above, key))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("any")


CHOICES = st.sampled_from([(n, path) for n, config in enumerate(CONFIGS) for path in paths(config)])


@settings(deadline=None)  # TorchIO is imported at the first of its transforms
@given(choice=CHOICES, value=VALUE)
@example(choice=(0, ("loader_parameters", "slice_axis")), value=["axial"])
@example(choice=(0, ("training_parameters", "batch_size")), value=float("nan"))
@example(choice=(3, ("transformation", "RandomBiasField", "p")), value=1e200)
def test_any_value_gives_a_yaml_that_loads_or_an_error(folder: Path, choice, value):
    number, (*above, last) = choice[0], choice[1]
    config = copy.deepcopy(CONFIGS[number])
    section = config
    for key in above:
        section = section[key]
    section[last] = value
    file, out = save(config, folder), folder / "out.yaml"
    with contextlib.suppress(UserError):
        write_config(convert(file), file, out, overwrite=True)
        load_config(out, Experiment)

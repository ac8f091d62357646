"""The figure of how soft predictions are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from softseg.render.figures import density
from tests.support.figures import ODD, TEN

pytestmark = pytest.mark.filterwarnings("error")
AT = np.linspace(0, 1, 2001)


def beta(a, b, count=500):
    """Quantiles of a beta distribution: a sample without chance."""
    return stats.beta(a, b).ppf((np.arange(count) + 0.5) / count)


@pytest.mark.parametrize("values", [beta(2, 5), beta(0.3, 0.3), beta(1, 1), beta(80, 0.5)])
def test_the_area_is_one_within_what_a_prediction_can_be(values):
    heights = density.density(values, AT)
    assert np.trapezoid(heights, AT) == pytest.approx(1, abs=0.01)


def test_the_density_is_that_of_what_the_values_come_from():
    found = density.density(beta(3, 4), AT)
    np.testing.assert_allclose(found, stats.beta(3, 4).pdf(AT), atol=0.12)
    # even at both ends, where a kernel without a mirror would show half of it
    np.testing.assert_allclose(density.density(beta(1, 1), AT), 1, atol=0.06)


def test_a_nearly_binary_prediction_has_a_spike_of_bounded_height():
    heights = density.density(np.array([0.999, 1.0] * 500), AT)
    assert 30 < heights.max() < 2 / density.NARROWEST


def test_one_value_has_no_density():
    assert density.density(np.ones(50), AT) is None
    assert density.density(np.array([0.3]), AT) is None
    assert density.density(np.array([]), AT) is None
    assert density.density(np.array([1, 1 - 1e-16, 1e-300 + 1]), AT) is None


def test_zeros_and_what_is_undefined_are_left_out(tmp_path, saved_figure):
    values = np.concatenate([beta(3, 4), np.zeros(9000), [np.nan]]).reshape(-1, 1)
    density.draw({"a": values}, tmp_path / "d.png")
    x, heights = saved_figure.figure.axes[0].lines[0].get_data()
    np.testing.assert_allclose(heights, density.density(beta(3, 4), x))


def test_the_legend_says_why_a_candidate_has_no_curve(tmp_path, saved_figure):
    path = tmp_path / "d.png"
    density.draw({ODD[0]: np.zeros((4, 4)), ODD[1]: np.full(3, 0.25), ODD[2]: beta(2, 2)}, path)
    saved_figure.assert_readable(path)
    empty, single, good = [text for text in saved_figure.texts if "a" in text and "\n" in text] + [
        "$a$"
    ]
    assert "no value above 0" in empty
    assert "every value is 0.25" in single
    assert "_one_without" in single
    assert any(word.replace("\\", "") == good for word in saved_figure.texts)


@pytest.mark.parametrize("names", [TEN[:1], TEN])
def test_nothing_is_cut_off_or_covered(tmp_path, saved_figure, names):
    path = tmp_path / "d.png"
    density.draw({name: beta(k + 1, 2, 200) for k, name in enumerate(names)}, path)
    saved_figure.assert_readable(path)
    lines = saved_figure.figure.axes[0].lines
    assert len({line.get_color() for line in lines}) == len(names)


def test_candidates_of_one_color_have_dashes_of_their_own(tmp_path, saved_figure):
    path = tmp_path / "d.png"
    density.draw({f"c{k}": beta(2, 5) for k in range(23)}, path)
    saved_figure.assert_readable(path)
    lines = saved_figure.figure.axes[0].lines
    assert len({(one.get_color(), str(one._unscaled_dash_pattern)) for one in lines}) == 23

import numpy as np
import pytest

from textforge.errors import UserError
from textforge.metrics.modes import mode_coverage, mode_distance, validity


def test_validity_is_the_share_of_possible_texts() -> None:
    assert validity(np.array([-3.0, -np.inf, 0.0, -1e300])) == {"validity": 0.75}


def test_validity_refuses_what_is_no_log_probability() -> None:
    for wrong in (np.array([]), np.array([-1.0, np.nan])):
        with pytest.raises(UserError, match="log-probabilities"):
            validity(wrong)


def test_coverage_counts_each_known_mode_once() -> None:
    assert mode_coverage(["a", "a", None, "c"], ["a", "b", "c", "d"]) == {"mode_coverage": 0.5}
    assert mode_coverage([None], ["a"]) == {"mode_coverage": 0.0}


def test_coverage_refuses_modes_of_another_language() -> None:
    with pytest.raises(UserError, match=r"'sport'.*did you mean 'sports'"):
        mode_coverage(["sport"], ["sports", "food"])
    with pytest.raises(UserError, match="no modes"):
        mode_coverage(["a"], [])


def test_distance_between_mode_histograms() -> None:
    assert mode_distance(["a", "b"], ["b", "a", "a", "b"]) == {"mode_tv": 0.0}
    assert mode_distance(["a", "a"], ["b"]) == {"mode_tv": 1.0}
    # a: 2/4 against 1/2, b: 1/4 against 1/2, invalid: 1/4 against none
    assert mode_distance(["a", "a", "b", None], ["a", "b"]) == {"mode_tv": 0.25}

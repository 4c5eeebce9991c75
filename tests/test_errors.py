"""Errors: which the caller can act on, and what is suggested for a misspelt name."""

import pytest

from textforge.errors import CallError, Interrupted, UserError, WorkError, nearest

METHODS = ["mle", "seqgan", "leakgan", "maskgan"]


@pytest.mark.parametrize(("typed", "meant"), [("seqgam", "seqgan"), ("leekgan", "leakgan"), ("masgan", "maskgan")])
def test_a_misspelt_name_gets_the_nearest(typed: str, meant: str) -> None:
    assert nearest(typed, METHODS) == f"; did you mean '{meant}'?"


@pytest.mark.parametrize("typed", ["transformer", "", "42"])
def test_a_name_that_is_like_none_gets_no_suggestion(typed: str) -> None:
    assert nearest(typed, METHODS) == ""


def test_wrong_input_is_a_value_error_and_failed_work_is_not() -> None:
    assert issubclass(UserError, ValueError)
    assert issubclass(CallError, UserError)
    assert issubclass(Interrupted, WorkError)
    assert not issubclass(WorkError, UserError)

"""Numbers, times and unknown texts in words."""

import math

import pytest

from textforge.report.words import GLOSSARY, duration, family, language, number, visible


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.74, "0.7400"),
        (0.51234567, "0.5123"),
        (-1.5, "\N{MINUS SIGN}1.500"),
        (0.0, "0.000"),
        (999.96, "1000."),
        (12345.6, "12,346"),
        (1_234_567, "1,234,567"),
        (-7, "\N{MINUS SIGN}7"),
        (1.5e-7, "1.500e\N{MINUS SIGN}07"),
        (1e300, "1.000e+300"),
        (math.inf, "\N{INFINITY}"),
        (-math.inf, "\N{MINUS SIGN}\N{INFINITY}"),
        (math.nan, "not a number"),
        (None, "\N{EN DASH}"),
        (True, "True"),
        ("a-b", "a-b"),
    ],
)
def test_number(value: object, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (724, "12 min 4 s"),
        (3 * 3600 + 5 * 60 + 59, "3 h 5 min"),
        (52 * 3600, "2 d 4 h"),
        (-3, "0 s"),
        (math.nan, "0 s"),
    ],
)
def test_duration(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_family() -> None:
    names = ["bleu_2", "self_bleu_10", "kl_pq", "kl_pq_se", "unique", "_2"]
    assert list(map(family, names)) == ["bleu", "self_bleu", "kl_pq", "kl_pq", "unique", ""]
    assert {"bleu", "nll_oracle", "js", "exact_copy"} <= GLOSSARY.keys()


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("一个男人骑马", "zh"),
        ("𠮷", "zh"),
        ("犬が走る", "ja"),
        ("개가 달린다 漢", "ko"),
        ("a dog", ""),
        ("", ""),
        ("كلب", ""),
    ],
)
def test_language(text: str, tag: str) -> None:
    assert language(text) == tag


def test_visible() -> None:
    assert (
        visible("a\x00\x1b[0m\tb\x7f\x9f\ud800")
        == "a␀␛[0m␉b\N{REPLACEMENT CHARACTER}" + 2 * "\N{REPLACEMENT CHARACTER}"
    )
    harmless = "家族 👩\u200d👩\u200d👧 חתול \u2028 \u3000é"
    assert visible(harmless) == harmless

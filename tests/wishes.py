"""Objectives for tests."""


def first_words(texts: list[str]) -> list[float]:
    """How early in the alphabet a text begins: 1 for a, 0 for z and for the empty text."""
    return [(ord("z") - ord(text[0])) / 25 if text else 0.0 for text in texts]


def length(texts: list[list[str]]) -> list[int]:
    """The number of symbols of a list."""
    return [len(text) for text in texts]


NOT_A_FUNCTION = 3

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textforge.errors import UserError
from textforge.text import Vocabulary

SYMBOLS = st.lists(st.text(max_size=3), min_size=1, max_size=8, unique=True)


@given(SYMBOLS, st.booleans(), st.booleans(), st.booleans(), st.data())
def test_ids_are_laid_out_in_the_stated_order(
    symbols: list[str], unk: bool, eos: bool, lend: bool, data: st.DataObject
) -> None:
    size = len(symbols) + unk + eos
    bos = data.draw(st.integers(0, size - 1)) if lend else None
    vocabulary = Vocabulary.create(symbols, unk=unk, eos=eos, bos=bos)

    expected: list[object] = [*symbols, *["unk"] * unk, *["eos"] * eos, *["bos"] * (not lend), "pad", "mask"]
    found: list[object] = [None] * len(vocabulary)
    found[: len(symbols)] = vocabulary.symbols
    for kind in ("unk", "eos", "pad", "mask"):
        position = {"unk": vocabulary.unk, "eos": vocabulary.eos, "pad": vocabulary.pad, "mask": vocabulary.mask}[kind]
        if position is not None:
            assert found[position] is None, "two meanings for one id"
            found[position] = kind
    if not lend:
        found[vocabulary.bos] = "bos"
    assert found == expected
    assert vocabulary.vocab_size == size
    assert vocabulary.bos == (size if bos is None else bos)
    assert vocabulary.vocab_size <= vocabulary.pad < vocabulary.mask < len(vocabulary), "pad and mask are input only"


@given(SYMBOLS, st.booleans(), st.booleans(), st.one_of(st.none(), st.just(0)))
def test_json_keeps_everything(symbols: list[str], unk: bool, eos: bool, bos: int | None) -> None:
    vocabulary = Vocabulary.create(symbols, unk=unk, eos=eos, bos=bos)
    assert Vocabulary.from_dict(json.loads(json.dumps(vocabulary.to_dict()))) == vocabulary


@given(
    st.lists(st.text(alphabet="abcde", max_size=6), max_size=12), st.integers(1, 3), st.one_of(st.none(), st.just(2))
)
def test_build_ranks_by_count_then_symbol(texts: list[str], min_count: int, max_size: int | None) -> None:
    everything = "".join(texts)
    # Selection by repeated search, most frequent first and smallest first among equals.
    left = sorted(set(everything))
    expected = []
    while left:
        best = max(left, key=lambda c: (everything.count(c), -ord(c)))
        left.remove(best)
        if everything.count(best) >= min_count:
            expected.append(best)
    expected = expected[:max_size]
    if not expected:
        with pytest.raises(UserError, match="min_count"):
            Vocabulary.build(texts, min_count=min_count, max_size=max_size)
    else:
        assert list(Vocabulary.build(texts, min_count=min_count, max_size=max_size).symbols) == expected


def test_build_reads_its_sequences_once() -> None:
    def once() -> Iterator[list[str]]:
        yield from (["b", "a"], ["a"])

    assert Vocabulary.build(once()).symbols == ("a", "b")


def test_unknown_symbols_become_unk_or_an_error() -> None:
    with_unk = Vocabulary.create(["a", "b"])
    assert with_unk.encode(["a", "zebra", "b"]) == [0, with_unk.unk, 1]
    assert with_unk.decode([0, 2, 1]) == ["a", "<unk>", "b"]
    with pytest.raises(UserError, match=r"'zebra'.*2 symbols"):
        Vocabulary.create(["a", "b"], unk=False).encode(["a", "zebra"])


def test_decode_stops_at_eos_and_leaves_out_what_is_no_text() -> None:
    v = Vocabulary.create(["a", "b"])
    assert v.eos is not None
    assert v.decode([v.bos, 0, v.pad, v.mask, 1, v.eos, 0, 0]) == ["a", "<mask>", "b"]
    assert Vocabulary.create(["a", "b"], eos=False).decode([1, 0, 1]) == ["b", "a", "b"]


def test_a_symbol_that_lends_its_id_to_bos_is_still_text() -> None:
    v = Vocabulary.create(["zero", "one"], unk=False, eos=False, bos=0)
    assert (v.bos, v.vocab_size, len(v)) == (0, 2, 4)
    assert v.decode(v.encode(["zero", "one", "zero"])) == ["zero", "one", "zero"]


@pytest.mark.parametrize(
    ("call", "fragment"),
    [
        (lambda: Vocabulary.create(["a", "b", "a"]), "'a' more than once"),
        (lambda: Vocabulary.create(["a"], bos=7), "bos 7"),
        (lambda: Vocabulary.build(["a"], min_count=0), "min_count must be at least 1, not 0"),
        (lambda: Vocabulary.build(["a"], max_size=0), "max_size must be at least 1, not 0"),
        (lambda: Vocabulary.build([]), "no symbol"),
        (lambda: Vocabulary.from_dict({}), "stored vocabulary"),
        (
            lambda: Vocabulary.from_dict({"symbols": ["a", 1], "unk": True, "eos": True, "bos": None}),
            "stored vocabulary",
        ),
        (lambda: Vocabulary.from_dict({"symbols": ["a"], "unk": 5, "eos": True, "bos": None}), "stored vocabulary"),
    ],
)
def test_wrong_input_is_named(call: object, fragment: str) -> None:
    assert callable(call)
    with pytest.raises(UserError, match=fragment) as error:
        call()
    assert "\n" not in str(error.value)

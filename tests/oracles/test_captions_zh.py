"""What must hold of the Chinese captions as texts that people read: most of it for every sentence, not for samples."""

import itertools
import math
import re
from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np
import pytest

from textforge.oracles.automaton import END, Arc
from textforge.oracles.grammar import GrammarOracle, embedded, num_derivations
from textforge.oracles.grammar_file import Grammar, Reference

NAMES = ["captions-zh", "captions-zh-small"]
oracle_of = cache(embedded)


def steps(oracle: GrammarOracle) -> Iterator[tuple[int, str, Arc]]:
    """Every move of the automaton: the state it leaves, its symbol, and the arc."""
    return ((state, symbol, arc) for state, arcs in enumerate(oracle.automaton.arcs) for symbol, arc in arcs.items())


def read(oracle: GrammarOracle, states: Iterable[int], word: str) -> set[int]:
    """The states in which one is after reading `word` in one of `states`."""
    for symbol in word:
        states = {arcs[symbol].target for state in states if symbol in (arcs := oracle.automaton.arcs[state])}
    return set(states)


def later(oracle: GrammarOracle, states: set[int]) -> set[int]:
    """`states` and all that can come behind them; arcs lead to greater numbers."""
    reached = set(states)
    for state, _, arc in steps(oracle):
        if state in reached:
            reached.add(arc.target)
    return reached


def everywhere(oracle: GrammarOracle) -> set[int]:
    return set(range(len(oracle.automaton.arcs)))


def written_out(grammar: Grammar, slot: str) -> list[str]:
    """All texts of a slot, once for each derivation."""
    pieces = (
        [written_out(grammar, part.slot) if isinstance(part, Reference) else [part] for part in alternative.parts]
        for alternative in grammar.slots[slot].alternatives
    )
    return ["".join(choice) for parts in pieces for choice in itertools.product(*parts)]


def following(oracle: GrammarOracle, word: str, num: int) -> set[str]:
    """The strings of `num` characters that stand behind `word`, wherever it occurs."""
    found = {(state, "") for state in read(oracle, everywhere(oracle), word)}
    for _ in range(num):
        found = {
            (arc.target, text + symbol) for state, text in found for symbol, arc in oracle.automaton.arcs[state].items()
        }
    return {text for _, text in found}


@pytest.mark.parametrize(
    ("name", "scenes", "least", "most"),
    [("captions-zh", 60, 10**10, 10**12), ("captions-zh-small", 48, 50_000, 200_000)],
)
def test_the_worlds_are_as_large_as_intended(name: str, scenes: int, least: int, most: int) -> None:
    oracle = oracle_of(name)
    assert len(oracle.modes) >= scenes
    assert least <= oracle.num_sentences <= most
    # Scenes are equally likely, so each needs sentences enough of its own.
    counts = num_derivations(oracle.grammar)
    smallest = min(counts[scene.name] for scene in oracle.grammar.scenes)
    assert smallest >= (200_000 if name == "captions-zh" else 500)


@pytest.mark.parametrize("name", NAMES)
def test_there_are_as_many_sentences_as_derivations(name: str) -> None:
    oracle = oracle_of(name)
    counts = num_derivations(oracle.grammar)
    assert oracle.num_sentences == sum(counts[scene.name] for scene in oracle.grammar.scenes)


def test_the_scenes_of_the_small_world_are_scenes_of_the_large_one() -> None:
    small, large = oracle_of("captions-zh-small"), oracle_of("captions-zh")
    assert set(small.modes) <= set(large.modes)


def test_the_small_world_listed_without_an_automaton_has_each_sentence_once_and_probability_one() -> None:
    oracle = oracle_of("captions-zh-small")
    texts = [text for scene in oracle.grammar.scenes for text in written_out(oracle.grammar, scene.name)]
    assert len(set(texts)) == len(texts) == oracle.num_sentences
    assert math.isclose(math.fsum(np.exp(oracle.log_prob(texts))), 1.0, abs_tol=1e-12)
    form = re.compile(r"[\u4e00-\u9fff]+(?:，[\u4e00-\u9fff]+){1,2}。")
    assert [text for text in texts if not form.fullmatch(text)] == []


@pytest.mark.parametrize("name", NAMES)
def test_only_chinese_characters_commas_and_a_full_stop_at_the_end(name: str) -> None:
    oracle = oracle_of(name)
    arcs = oracle.automaton.arcs
    for _, symbol, arc in steps(oracle):
        assert re.fullmatch(r"[\u4e00-\u9fff，。]?", symbol)
        assert (symbol == "。") == (END in arcs[arc.target])
        if symbol in {"，", "。"}:
            assert not {"，", "。"} & set(arcs[arc.target])
    assert not {"，", "。"} & set(arcs[0])


@pytest.mark.parametrize("name", NAMES)
def test_every_sentence_has_10_to_28_characters(name: str) -> None:
    oracle = oracle_of(name)
    shortest = [0] * len(oracle.automaton.arcs)
    for state in reversed(range(len(shortest))):
        targets = [arc.target for arc in oracle.automaton.arcs[state].values()]
        shortest[state] = 1 + min((shortest[target] for target in targets), default=-1)
    assert shortest[0] - 1 >= 10  # END is no character
    assert oracle.max_length - 1 <= 28


@pytest.mark.parametrize("name", NAMES)
def test_a_character_is_doubled_only_where_it_is_written_so(name: str) -> None:
    # Where slots meet, a doubled character is a slip: 在树下 and 下围棋 make 在树下下围棋.
    oracle = oracle_of(name)
    written = {
        first
        for slot in oracle.grammar.slots.values()
        for alternative in slot.alternatives
        for first, second in zip(alternative.parts, alternative.parts[1:], strict=False)
        if first == second and not isinstance(first, Reference)
    }
    doubled = {symbol for _, symbol, arc in steps(oracle) if symbol and symbol in oracle.automaton.arcs[arc.target]}
    assert doubled - written == set()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("measures", "nouns"),
    [
        (["一艘", "两艘", "几艘"], r"渔船|货轮|渡轮|帆船|拖轮"),
        (["一峰", "十几峰"], r"骆驼|白驼|老驼|驮货|系铃|披毯|疲惫"),
        (["一辆"], r"单车|三轮|老式|红色|掉了|墨绿|没上"),
        (["一壶", "半盏"], r"龙井|普洱|毛尖|铁观|茉莉|大红|碧螺|菊花|老白"),
        (["一支"], r"狼毫|羊毫|细细|用旧"),
        (["一枚"], r"红车|黑马|海螺"),
        (["一颗"], r"白子|黑子"),
        (["一本"], r"泛黄|卷了|线装|旧版|精装|夹着"),
        (["一架"], r"银色|白色|红尾|小型|巨大|崭新"),
        (["一碗"], r"热腾|香喷|冒着|撒满|汤色|龙井|普洱|毛尖|铁观|茉莉|大红|碧螺|菊花|老白"),
    ],
)
def test_measure_words_have_their_nouns(name: str, measures: list[str], nouns: str) -> None:
    oracle = oracle_of(name)
    found = set().union(*(following(oracle, measure, 2) for measure in measures))
    assert [noun for noun in found if not re.fullmatch(nouns, noun)] == []
    if name == "captions-zh":
        assert found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("深夜|夜里|夜晚|夏夜|秋夜|夜市|月亮|繁星", "阳光|日光|白云|彩虹|蝉"),
        ("细雨|阵雨|雨天|雨里", "阳光|白云|星星|繁星|明月"),
        ("盛夏|七月|夏日", "雪|冰凌|棉|黄叶|大雁"),
        ("腊月|隆冬|冬日", "蝉|蜻蜓|短袖|凉鞋|柳枝"),
        ("三月|四月|暮春", "落叶|雁阵|雪|蝉|稻"),
        ("深秋|十月", "燕子|嫩芽|蝉|雪|凉鞋"),
        ("清晨|上午|晌午|午后", "夕阳|晚霞|星空|深夜"),
        ("男孩|女孩", "喝桂花酒|抽烟|举杯"),
    ],
)
def test_seasons_weather_hours_and_ages_do_not_contradict_each_other(name: str, one: str, other: str) -> None:
    oracle = oracle_of(name)
    begun = set().union(*(read(oracle, everywhere(oracle), word) for word in one.split("|")))
    behind = later(oracle, begun)
    assert [word for word in other.split("|") if read(oracle, behind, word)] == []

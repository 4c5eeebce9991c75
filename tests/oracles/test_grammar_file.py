import pytest

from textforge.errors import UserError
from textforge.oracles.grammar_file import Reference, parse

GOOD = """\ufeff# made by hand
join = space

@scene.walk 3
  2: a {animal} walks .
  the {animal}
# between
@animal
\tdog
  3: grey cat
  1:
"""


def test_slots_weights_and_parts_are_read() -> None:
    grammar = parse(GOOD, "good.grammar")
    assert grammar.join == "space"
    assert [slot.name for slot in grammar.scenes] == ["scene.walk"]
    walk, animal = grammar.slots["scene.walk"], grammar.slots["animal"]
    assert walk.weight == 3
    assert [(a.weight, a.parts) for a in walk.alternatives] == [
        (2, ("a", Reference("animal"), "walks", ".")),
        (1, ("the", Reference("animal"))),
    ]
    assert [(a.weight, a.parts, a.line) for a in animal.alternatives] == [
        (1, ("dog",), 9),
        (3, ("grey", "cat"), 10),
        (1, (), 11),
    ]


def test_without_join_every_character_is_a_symbol() -> None:
    grammar = parse("join = none\n@scene.a\n  2: 一只 {x}跑。\n@x\n  猫\n", "zh")
    assert grammar.slots["scene.a"].alternatives[0].parts == ("一", "只", Reference("x"), "跑", "。")


@pytest.mark.parametrize(
    ("body", "line", "reason"),
    [
        ("", 1, "expected 'join = space' or 'join = none'"),
        ("join = comma\n@scene.a\n  x\n", 1, "found 'join = comma'"),
        ("# c\n@scene.a\n  x\n", 2, "expected 'join = space'"),
        ("join = space\n  x\n", 2, "before the first slot"),
        ("join = space\nscene.a\n  x\n", 2, "found 'scene.a'"),
        ("join = space\n@scene.a 2 3\n  x\n", 2, "found '@scene.a 2 3'"),
        ("join = space\n@scene.a\n  x\n@scene.a\n  y\n", 4, "already defined in line 2"),
        ("join = space\n@scene.a\n  {b}\n@b 2\n  y\n", 4, "only scenes have a weight"),
        ("join = space\n@scene.a zero\n  x\n", 2, "found 'zero'"),
        ("join = space\n@scene.a 0\n  x\n", 2, "found '0'"),
        ("join = space\n@scene.a\n  x\n  0: y\n", 4, "found '0'"),
        ("join = space\n@scene.a\n  -2: y\n", 3, "found '-2'"),
        ("join = space\n@scene.a\n  1.5: y\n", 3, "found '1.5'"),
        ("join = space\n@scene.a\n  x {b\n", 3, "without its partner"),
        ("join = space\n@scene.a\n  x} b\n", 3, "without its partner"),
        ("join = space\n@scene.a\n  x{b}\n@b\n  y\n", 3, "by a space"),
        ("join = space\n@scene.a\n  {b}{b}\n@b\n  y\n", 3, "by a space"),
        ("join = space\n@b\n  y\n", 1, "no scene"),
        ("join = space\n@scene.a\n  {b}\n@b\n", 4, "'b' has no alternatives"),
        ("join = space\n@scene.a\n  x\n  {bird}\n@birds\n  y\n", 4, "no slot 'bird'; did you mean 'birds'?"),
        ("join = space\n@scene.a\n  x\n@b\n  y\n", 4, "'b' is never used"),
        ("join = space\n@scene.a\n  x  y\n  z\n  2: x y\n", 5, "same alternative as line 3"),
        ("join = space\n@scene.a\n  {b}\n@b\n  {c}\n@c\n  x\n  {b}\n", 8, "(scene.a > b > c > b)"),
        ("join = space\n@scene.a\n  x {scene.a}\n", 3, "'scene.a' contains itself"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(body: str, line: int, reason: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(body, "bad.grammar")
    message = str(caught.value)
    assert message.startswith(f"bad.grammar:{line}: ")
    assert reason in message
    assert "\n" not in message

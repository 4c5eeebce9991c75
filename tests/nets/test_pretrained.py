"""Models of Hugging Face as generators: against transformers' own logits, with their cache, and with adapters."""

import copy
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pretrained_models as models
import pytest
import torch
import transformers
import worlds
from torch import Tensor
from torch.nn import functional as F
from worlds import World

from textforge.decoding import Generator, decode, map_state, sample, score
from textforge.errors import CallError, UserError
from textforge.nets.generators import trainable
from textforge.nets.pretrained import PretrainedGenerator
from textforge.search import beam, tree_search
from textforge.text import Char, Labelled, Vocabulary, pretrained
from textforge.text.pretrained import PretrainedVocabulary

pytestmark = pytest.mark.usefixtures("float64")

LENGTH = 4
CONFIGS: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: models.gpt2(5, 1),
    "llama": lambda: models.llama(5, 0, 1),
    "window": lambda: transformers.MistralConfig(
        **{k: v for k, v in models.llama(5, 0, 1).to_dict().items() if k not in ("model_type", "head_dim")},
        sliding_window=2,
    ),
}


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of three tokens and two special ones: what it may write can be listed."""
    return saved(tmp_path_factory.mktemp("models"), request.param)


def saved(place: Path, kind: str) -> Path:
    models.save_small(place, "abc", ("<s>", "</s>"))
    models.save_model(place, CONFIGS[kind]())
    return place


def loaded(folder: Path, *, length: int = LENGTH, lora_rank: int = 0) -> PretrainedGenerator:
    vocabulary = pretrained.read(str(folder)).vocabulary
    generator = PretrainedGenerator(vocabulary, length, lora_rank=lora_rank)
    generator.load_weights(str(folder))
    generator.eval()
    return generator


def widened(generator: PretrainedGenerator) -> PretrainedGenerator:
    """Give adapters something to do; those of a new generator change nothing."""
    for parameter in trainable(generator):
        torch.nn.init.normal_(parameter, std=0.3)
    return generator


def world_of(generator: PretrainedGenerator) -> World:
    return World(generator.vocabulary, generator.max_length)


def theirs(folder: Path, vocabulary: Vocabulary, tokens: Tensor) -> Tensor:
    """Score sequences by the model itself, a row and a prefix at a time, without a cache."""
    assert isinstance(vocabulary, PretrainedVocabulary)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    model.eval()
    *emitted, bos = vocabulary.model_ids
    found = torch.zeros(tokens.shape)
    for row, ids in enumerate(tokens.tolist()):
        read = [bos]
        for t, id_ in enumerate(ids):
            if id_ == vocabulary.pad:
                break
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([read]), use_cache=False).logits[0, -1]
            found[row, t] = logits[emitted].log_softmax(0)[id_]
            read.append(emitted[id_])
    return found


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_forward_equals_steps_and_the_model_itself(folder: Path, lora_rank: int) -> None:
    generator = loaded(folder, lora_rank=lora_rank)
    assert isinstance(generator, Generator)
    world = world_of(generator)
    log_probs = generator(world.sequences)
    assert log_probs.dtype == torch.float64
    assert (log_probs[~world.mask] == 0).all()
    assert log_probs.sum(1).exp().sum().item() == pytest.approx(1, abs=1e-10)
    steps = decode(generator, world.sequences, world.mask).log_probs
    torch.testing.assert_close(log_probs.detach(), steps, rtol=0, atol=1e-10)
    expected = theirs(folder, generator.vocabulary, world.sequences)
    torch.testing.assert_close(log_probs.detach(), expected, rtol=0, atol=1e-10)


def test_a_window_of_attention_is_kept(tmp_path: Path) -> None:
    """Of the last two tokens, here; with all keys and values in the state, the model itself looks at the right ones."""
    folder = saved(tmp_path, "window")
    generator = loaded(folder)
    world = world_of(generator)
    expected = theirs(folder, generator.vocabulary, world.sequences)
    torch.testing.assert_close(decode(generator, world.sequences, world.mask).log_probs, expected, rtol=0, atol=1e-10)


def test_a_random_model_tells_texts_apart(folder: Path) -> None:
    world = world_of(generator := loaded(folder))
    assert generator(world.sequences).sum(1).std().item() > 1


def test_adapters_change_the_steps_as_they_change_the_whole(folder: Path) -> None:
    generator = widened(loaded(folder, lora_rank=2))
    world = world_of(generator)
    log_probs = generator(world.sequences).detach()
    assert (log_probs - theirs(folder, generator.vocabulary, world.sequences)).abs().max().item() > 0.1
    torch.testing.assert_close(log_probs, worlds.exact_log_probs(generator, world), rtol=0, atol=1e-10)


def test_rows_can_be_dropped_repeated_and_mixed_with_others_of_other_lengths(folder: Path) -> None:
    generator = loaded(folder)
    prefixes: list[worlds.Prefix] = [(), (1,), (2, 0), (1, 2, 2)]
    states = []
    for prefix in prefixes:
        state = generator.initial_state(1)
        for token in (generator.vocabulary.bos, *prefix)[:-1]:
            with torch.no_grad():
                _, state = generator.step(torch.tensor([token]), state)
        states.append(state)
    before = map_state(torch.clone, states[3])
    rows = torch.tensor([3, 1, 1, 0, 2])
    mixed = map_state(lambda *leaves: torch.cat(leaves)[rows], *states)
    tokens = torch.tensor([(generator.vocabulary.bos, *prefixes[row])[-1] for row in rows])
    found, _ = generator.step(tokens, mixed)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    model.eval()
    *emitted, bos = pretrained.read(str(folder)).vocabulary.model_ids
    for row, logits in zip(rows.tolist(), found, strict=True):
        read = torch.tensor([[bos, *(emitted[token] for token in prefixes[row])]])
        expected = model(input_ids=read, use_cache=False).logits[0, -1, emitted]
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-10)
    map_state(lambda one, other: torch.testing.assert_close(one, other, rtol=0, atol=0) or one, states[3], before)


def test_only_what_may_be_written_is_written(folder: Path) -> None:
    generator = loaded(folder)
    drawn = sample(generator, 300)
    assert set(drawn.tokens.unique().tolist()) <= {0, 1, 2, 3, generator.vocabulary.pad}
    torch.testing.assert_close(score(generator, drawn.tokens).log_probs, drawn.log_probs, rtol=0, atol=1e-10)


def test_searches_read_it(folder: Path) -> None:
    generator = loaded(folder)
    world = world_of(generator)
    best = beam(generator, 1, width=64).tokens
    assert torch.equal(best[0], world.sequences[worlds.exact_probs(generator, world).argmax()])
    found = tree_search(generator, lambda rows: (rows == 1).sum(1).double(), 4, simulations=20)  # of mixed lengths
    expected = theirs(folder, generator.vocabulary, found.tokens)
    torch.testing.assert_close(found.log_probs, expected, rtol=0, atol=1e-10)


def test_other_inputs_are_read_in_place_of_the_tokens(folder: Path) -> None:
    generator = loaded(folder)
    rows = world_of(generator).sequences[-6:]
    tokens, inputs = rows[:3], rows[3:].flip(0)
    scores = generator(tokens, inputs)
    for b in range(3):
        for t in range(LENGTH):
            expected = worlds.next_logits(generator, tuple(inputs[b, :t].tolist())).log_softmax(0)[tokens[b, t]]
            torch.testing.assert_close(scores[b, t].detach(), expected)


def trained(generator: PretrainedGenerator) -> None:
    tokens = world_of(generator).sequences
    optimizer = torch.optim.Adam(trainable(generator), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        (-generator(tokens).sum()).backward()
        optimizer.step()


def test_adapters_alone_are_trained(folder: Path) -> None:
    generator = loaded(folder, lora_rank=2)
    before = copy.deepcopy(generator.state_dict())
    adapters = [name for name, parameter in generator.named_parameters() if parameter.requires_grad]
    assert adapters
    assert all("lora_" in name for name in adapters)
    trained(generator)
    after = generator.state_dict()
    for name, value in before.items():
        assert torch.equal(after[name], value) == ("lora_" not in name), name
    assert all(p.grad is None for p in generator.parameters() if not p.requires_grad)


def test_every_linear_layer_but_the_last_is_adapted(tmp_path: Path) -> None:
    models.save_text_model(tmp_path)
    names = [name for name, _ in loaded(tmp_path, lora_rank=3).named_parameters() if "lora_A" in name]
    layers = {name.partition(".h.")[2].partition(".lora_")[0] for name in names}
    assert layers == {
        f"{i}.{part}" for i in (0, 1) for part in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    }


def test_all_weights_are_trained_without_adapters(folder: Path) -> None:
    generator = loaded(folder)
    before = {name: value.detach().clone() for name, value in generator.named_parameters()}
    trained(generator)
    for name, value in generator.named_parameters():
        assert not torch.equal(value, before[name]), name


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_saved_weights_are_all_that_is_needed(folder: Path, lora_rank: int) -> None:
    """A generator built of the vocabulary alone, without the folder, is the same once it has the saved weights."""
    generator = loaded(folder, lora_rank=lora_rank)
    trained(generator)
    again = PretrainedGenerator(generator.vocabulary, LENGTH, lora_rank=lora_rank).eval()
    tokens = world_of(generator).sequences
    assert not torch.equal(again(tokens), generator(tokens))
    again.load_state_dict(generator.state_dict())
    assert torch.equal(again(tokens), generator(tokens))


def test_a_copy_goes_its_own_way(folder: Path) -> None:
    generator = loaded(folder, lora_rank=2)
    other = copy.deepcopy(generator)
    before = other(world_of(generator).sequences).detach()
    trained(generator)
    assert torch.equal(other(world_of(generator).sequences), before)


def test_single_precision_is_the_default(folder: Path) -> None:
    torch.set_default_dtype(torch.float32)
    generator = loaded(folder)
    assert {parameter.dtype for parameter in generator.parameters()} == {torch.float32}
    assert all(leaf.dtype == torch.float32 for pair in generator.initial_state(1)["caches"] for leaf in pair)


def test_a_state_has_a_place_for_every_token_but_the_last(folder: Path) -> None:
    for length in (1, 3):
        generator = loaded(folder, length=length)
        assert {leaf.shape[2] for pair in generator.initial_state(2)["caches"] for leaf in pair} == {length - 1}
        assert sample(generator, 3).tokens.shape == (3, length)


# --- Refusals ---


def vocabulary_with(folder: Path, **fields: Any) -> PretrainedVocabulary:
    return PretrainedVocabulary(**{**vars(pretrained.read(str(folder)).vocabulary), **fields})


def test_other_vocabularies_are_refused() -> None:
    with pytest.raises(CallError, match="--pretrained knows the tokens of its own tokenizer only; give --tokenizer"):
        PretrainedGenerator(Vocabulary.create("abc"), LENGTH)


def test_sequences_too_long_for_the_model_are_refused(folder: Path) -> None:
    with pytest.raises(CallError, match="reads 16 tokens; set --max-length, now 17, to that"):
        PretrainedGenerator(pretrained.read(str(folder)).vocabulary, 17)


@pytest.mark.parametrize(
    "architecture",
    [
        *['{"model_type": "abacus"}', '{"model_type": "t5"}', "{}", "[]"],
        *['{"model_type": "gpt2", "n_layer": "x"}', '{"model_type": "gpt2", "vocab_size": -1}'],
        '{"model_type": "gpt2", "n_layer": 1, "n_embd": 12, "max_position_embeddings": null}',
    ],
)
def test_what_is_no_language_model_is_refused(folder: Path, architecture: str) -> None:
    with pytest.raises(UserError, match=r"no language model that transformers .* knows"):
        PretrainedGenerator(vocabulary_with(folder, architecture=architecture), LENGTH)


def test_labels_do_not_go_with_a_pretrained_model() -> None:
    with pytest.raises(CallError, match="a pretrained model knows no labels; leave out either them or --pretrained"):
        PretrainedGenerator(Labelled(Char(Vocabulary.create("abc")), ("x",)).vocabulary, LENGTH)


FOREIGN = {
    "auto_map": {"AutoConfig": "theirs.Config", "AutoModelForCausalLM": "theirs.Model"},
    "attn_implementation": "somebody/kernels",
    "_attn_implementation": "somebody/kernels",
    "quantization_config": {"quant_method": "somebody"},
}


def test_code_that_a_config_names_is_left_alone(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither run nor fetched, nor is anybody asked whether it should be; the model is the same."""

    def asked(*_: object) -> str:
        pytest.fail("a question")

    monkeypatch.setattr("builtins.input", asked)
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_bytes()), **FOREIGN}), encoding="utf-8")
    (tmp_path / "theirs.py").write_text("raise SystemExit('their code')\n", encoding="utf-8")
    generator, plain = loaded(tmp_path), loaded(folder)
    tokens = world_of(plain).sequences
    assert torch.equal(generator(tokens), plain(tokens))
    with pytest.raises(UserError, match=r"no language model that transformers .* knows"):
        PretrainedGenerator(vocabulary_with(folder, architecture=json.dumps({"model_type": "t5", **FOREIGN})), LENGTH)


def test_models_with_other_memories_are_refused(folder: Path) -> None:
    config = transformers.MambaConfig(vocab_size=5, hidden_size=8, state_size=2, num_hidden_layers=1)
    with pytest.raises(UserError, match="of the type mamba keeps more than keys and values"):
        PretrainedGenerator(vocabulary_with(folder, architecture=config.to_json_string(use_diff=False)), LENGTH)


def test_more_tokens_than_rows_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="more tokens than its network"):
        PretrainedGenerator(vocabulary_with(folder, model_ids=(2, 3, 4, 5, 0)), LENGTH)


def test_weights_of_another_model_are_refused(folder: Path, tmp_path: Path) -> None:
    models.save_text_model(tmp_path)
    generator = loaded(folder)
    with pytest.raises(UserError, match="is not that of --tokenizer; give both the same folder"):
        generator.load_weights(str(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match="holds no weights that can be read"):
        generator.load_weights(str(tmp_path))


@pytest.mark.parametrize(("library", "flag"), [("transformers", "--pretrained"), ("peft", "--lora-rank")])
def test_an_absent_library_is_named(folder: Path, library: str, flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = pretrained.read(str(folder)).vocabulary
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        UserError, match=rf"{flag} needs the library {library}.*pip install 'textforge\[transformers\]'"
    ):
        PretrainedGenerator(vocabulary, LENGTH, lora_rank=2)


def test_the_last_position_is_scored_by_cross_entropy(folder: Path) -> None:
    """The loss in training is that of PyTorch over the ids that may be emitted."""
    generator = loaded(folder)
    tokens = world_of(generator).sequences[-1:]
    logits = worlds.next_logits(generator, tuple(tokens[0, :-1].tolist()))
    assert generator(tokens)[0, -1].item() == pytest.approx(-F.cross_entropy(logits, tokens[0, -1]).item(), abs=1e-12)

"""The tokenizer of a pretrained model: against transformers' own, every text, and what a run keeps of it."""

import json
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pretrained_models as models
import pytest
import tokenizers
import transformers
from hypothesis import given
from hypothesis import strategies as st

from textforge.errors import CallError, UserError
from textforge.options import Options
from textforge.text import Pretrained, from_dict, pretrained, train
from textforge.text.pretrained import PretrainedVocabulary
from textforge.text.tokenizer_json import from_json, kind_of, special_ids, to_json

TEXTS = [*models.LINES, "床前 明月光", "👩‍👩‍👧 x\ty\u200b", " two  spaces ", "<|endoftext|> is text", "", "\x00"]


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place: Path = tmp_path_factory.mktemp("models") / request.param
    models.save_text_model(place, request.param)
    return place


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Pretrained:
    return pretrained.read(str(folder))


@pytest.mark.parametrize("text", TEXTS)
def test_every_text_comes_back(tokenizer: Pretrained, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.vocabulary.eos is not None
    assert tokenizer.decode([*ids, tokenizer.vocabulary.eos, 5]) == text
    assert len(tokenizer.split(text)) == len(ids)
    assert all(0 <= id_ < len(tokenizer.vocabulary.symbols) for id_ in ids)


@given(text=st.text(max_size=30))
def test_any_text_comes_back(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.getbasetemp() / "any"
    if not (place / "config.json").exists():
        models.save_text_model(place)
    tokenizer = pretrained.read(str(place))
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_ids_are_those_of_the_model(tokenizer: Pretrained, folder: Path) -> None:
    library: Any = transformers
    theirs = library.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    for text in models.LINES:
        found = [tokenizer.vocabulary.model_ids[i] for i in tokenizer.encode(text)]
        assert found == theirs.encode(text, add_special_tokens=False)


def test_special_tokens_are_no_symbols(tokenizer: Pretrained, folder: Path) -> None:
    vocabulary, config = tokenizer.vocabulary, json.loads((folder / "config.json").read_bytes())
    assert isinstance(vocabulary, PretrainedVocabulary)
    assert not {"<unused>", "<s>", "</s>", "<|endoftext|>"} & {*vocabulary.symbols}
    assert vocabulary.eos == vocabulary.vocab_size - 1
    assert vocabulary.model_ids[vocabulary.eos] == config["eos_token_id"]
    assert vocabulary.model_ids[-1] == config["bos_token_id"]
    assert len({*vocabulary.model_ids[:-1]}) == vocabulary.vocab_size == len(vocabulary.model_ids) - 1
    known = models.ids_of(folder)
    assert [known[symbol] for symbol in vocabulary.symbols] == [*vocabulary.model_ids[: len(vocabulary.symbols)]]


def test_an_unknown_token_is_ours(tmp_path: Path) -> None:
    models.save_small(tmp_path, "uab", ("<e>",))
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": [0, 2], "model_type": "gpt2"}), encoding="utf-8")
    tokenizer = pretrained.read(str(tmp_path))
    vocabulary = tokenizer.vocabulary
    assert (vocabulary.symbols, vocabulary.unk, vocabulary.eos) == (("a", "b"), 2, 3)
    assert vocabulary.model_ids == (2, 3, 1, 0, 0)  # without a beginning of its own, the end stands for it
    assert tokenizer.encode("abz") == [0, 1, 2]


def test_the_unknown_token_of_unigrams_has_an_id_alone(tmp_path: Path) -> None:
    model = tokenizers.Tokenizer(tokenizers.models.Unigram([("<e>", 0.0), ("<u>", 0.0), ("a", -1.0), ("b", -1.0)], 1))
    model.add_special_tokens(["<e>", "<u>"])
    model.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text('{"eos_token_id": 0, "model_type": "gpt2"}', encoding="utf-8")
    tokenizer = pretrained.read(str(tmp_path))
    assert (tokenizer.vocabulary.symbols, tokenizer.vocabulary.unk) == (("a", "b"), 2)
    assert tokenizer.encode("azb") == [0, 2, 1]


@pytest.mark.parametrize("unk", [True, False])
def test_the_name_of_a_special_token_that_is_cut_out_of_a_text_is_unknown(unk: bool, tmp_path: Path) -> None:
    """A model of words knows it; the end above all is none in the middle of a text."""
    ids = {word: i for i, word in enumerate(["[EOS]", "[PAD]", "a", "b", *(["[UNK]"] if unk else [])])}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="[UNK]"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    model.add_special_tokens(["[EOS]", "[PAD]", *(["[UNK]"] if unk else [])])
    model.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text('{"eos_token_id": 0, "model_type": "gpt2"}', encoding="utf-8")
    tokenizer = pretrained.read(str(tmp_path))
    for name in ("[EOS]", "[PAD]"):
        if unk:
            assert tokenizer.encode(f"a {name} b") == [0, tokenizer.vocabulary.unk, 1]
        else:
            with pytest.raises(UserError, match=rf"has the token '\{name[:-1]}\]', which is no text to the model"):
                tokenizer.encode(f"a {name} b")


@pytest.mark.parametrize("config", ["[]", '{"eos_token_id": "x"}', '{"eos_token_id": []}'])
def test_a_config_of_another_form_is_refused(config: str, folder: Path) -> None:
    stored = Pretrained((folder / "tokenizer.json").read_text(encoding="utf-8"), config)
    with pytest.raises(UserError, match=r"the config\.json of the pretrained model (holds no|names no)"):
        assert stored.vocabulary


def test_what_is_stored_is_enough(tokenizer: Pretrained) -> None:
    stored = json.loads(json.dumps(tokenizer.to_dict()))
    again = from_dict(stored)
    assert again == tokenizer
    assert again.vocabulary == tokenizer.vocabulary
    exported = from_json(to_json(tokenizer), kind_of(tokenizer), special_ids(tokenizer.vocabulary))
    assert exported.vocabulary == tokenizer.vocabulary


def test_a_folder_is_a_name_for_train(folder: Path, tokenizer: Pretrained) -> None:
    assert train(str(folder), []) == tokenizer
    with pytest.raises(CallError, match="has its own symbols; leave out --min-count and --vocab-size"):
        train(str(folder), [], max_size=5)


def test_options_name_the_folder_in_full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert Options(tokenizer=folder.name).anchored().tokenizer == str(folder.resolve())
    run = folder.parent / "run"
    run.mkdir(exist_ok=True)  # whatever it holds
    assert Options(tokenizer="run").anchored().tokenizer == str(run.resolve())
    (folder.parent / "word").mkdir(exist_ok=True)
    assert Options(tokenizer="word").anchored().tokenizer == "word"
    assert Options(tokenizer="owner/name").anchored().tokenizer == "owner/name"


def test_a_model_of_the_hub_is_fetched_by_its_name(
    folder: Path, tokenizer: Pretrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetched(name: str, *, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    assert pretrained.read("owner/name") == tokenizer
    assert asked == [("owner/name", ["*.json", "*.safetensors"])]


# --- Refusals ---


def test_what_the_hub_does_not_give_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(name: str, **_: object) -> str:
        raise OSError(f"{name} is not cached\nlong story")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refused)
    with pytest.raises(
        UserError, match=r"owner/name is no folder, and .* does not give it \(owner/name is not cached\);"
    ):
        pretrained.read("owner/name")


@pytest.mark.parametrize("file", ["tokenizer.json", "config.json"])
def test_a_file_that_is_absent_or_broken_is_named(file: str, tmp_path: Path) -> None:
    models.save_text_model(tmp_path)
    (tmp_path / file).write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=rf"{file} is not JSON"):
        pretrained.read(str(tmp_path))
    (tmp_path / file).unlink()
    with pytest.raises(UserError, match=rf"there is no .*{file}; a pretrained model has a folder"):
        pretrained.read(str(tmp_path))


def test_what_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    models.save_text_model(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"tokenizer\.json in .* cannot be read"):
        pretrained.read(str(tmp_path))


def test_a_model_without_an_end_is_refused(tmp_path: Path) -> None:
    models.save_text_model(tmp_path)
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="names no eos_token_id"):
        pretrained.read(str(tmp_path))


def test_names_that_are_none_are_refused() -> None:
    with pytest.raises(CallError, match=r"there is no tokenizer 'wrd'; use word, char, bpe, tab or .* mean 'word'"):
        train("wrd", [])
    with pytest.raises(CallError, match="there is no folder 'nowhere'"):
        pretrained.read("nowhere")


def test_half_a_character_is_refused(tokenizer: Pretrained) -> None:
    with pytest.raises(UserError, match="half a character"):
        tokenizer.encode("a\ud83d")


@pytest.mark.parametrize(("library", "call"), [("tokenizers", None), ("huggingface_hub", "owner/name")])
def test_an_absent_library_is_named(
    library: str, call: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=r"library that is absent; run: pip install 'textforge\[transformers\]'"):
        pretrained.read(call or str(folder))

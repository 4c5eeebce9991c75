"""Pretrained models with tiny random weights, in folders as `save_pretrained` writes them."""

import json
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers

LINES = ["a man rides a horse", "two dogs sleep", "a dog sleeps", "床前明月光", "😀 smiles"]


def save_bpe(folder: Path, special: list[str]) -> tokenizers.Tokenizer:
    """Write a tokenizer of byte pairs whose special tokens are the first ids, and return it."""
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=len(special) + 280,
        min_frequency=2,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=special,
        show_progress=False,
    )
    model.train_from_iterator(LINES * 3, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    model.save(str(folder / "tokenizer.json"))
    return model


def save_small(folder: Path, symbols: str, special: tuple[str, ...]) -> tokenizers.Tokenizer:
    """Write a tokenizer of single characters, which makes a world that can be listed."""
    ids = {symbol: i for i, symbol in enumerate((*special, *symbols))}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token=symbols[0]))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("."), "isolated")
    model.decoder = tokenizers.decoders.Fuse()
    model.add_special_tokens(list(special))
    folder.mkdir(parents=True, exist_ok=True)
    model.save(str(folder / "tokenizer.json"))
    return model


def save_model(folder: Path, config: Any, seed: int = 0) -> None:
    """Write a model with random weights that tell texts apart, in the default type."""
    library: Any = transformers
    library.utils.logging.disable_progress_bar()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = library.AutoModelForCausalLM.from_config(config, dtype=torch.get_default_dtype())
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn_like(parameter) * (1.0 if parameter.dim() == 1 else 0.5))
    model.save_pretrained(folder)


def gpt2(vocab_size: int, end: int, *, length: int = 16) -> Any:
    """Two layers of width 16, whose beginning and end of text are one id, as GPT-2's."""
    return transformers.GPT2Config(
        vocab_size=vocab_size,
        n_positions=length,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=end,
        eos_token_id=end,
    )


def llama(vocab_size: int, begin: int, end: int, *, length: int = 16) -> Any:
    """Two layers with rotary positions, and fewer heads of keys than of queries."""
    return transformers.LlamaConfig(
        vocab_size=vocab_size,
        max_position_embeddings=length,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=begin,
        eos_token_id=end,
    )


def save_text_model(folder: Path, kind: str = "gpt2", *, seed: int = 0) -> None:
    """Write a model of byte pairs: like GPT-2, or like Llama with special tokens in front."""
    special = ["<|endoftext|>"] if kind == "gpt2" else ["<unused>", "<s>", "</s>"]
    size = save_bpe(folder, special).get_vocab_size()
    config = gpt2(size, 0) if kind == "gpt2" else llama(size, 1, 2)
    save_model(folder, config, seed)


def ids_of(folder: Path) -> dict[str, int]:
    """What the tokenizer.json of a folder says that its tokens' ids are."""
    found: dict[str, int] = json.loads((folder / "tokenizer.json").read_bytes())["model"]["vocab"]
    return found

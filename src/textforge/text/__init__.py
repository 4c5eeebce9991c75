"""From text files to batches of ids: vocabularies, tokenizers, corpora, streams."""

from textforge.text.corpus import (
    Batch,
    Corpus,
    Counts,
    Lines,
    Split,
    Texts,
    encode,
    read_lines,
    read_texts,
    split_valid,
)
from textforge.text.stream import Stream
from textforge.text.swap import swap_two
from textforge.text.tokenizers import Bpe, Char, Tokenizer, Word, choose, from_dict, train
from textforge.text.vocabulary import Vocabulary

__all__ = [
    "Batch",
    "Bpe",
    "Char",
    "Corpus",
    "Counts",
    "Lines",
    "Split",
    "Stream",
    "Texts",
    "Tokenizer",
    "Vocabulary",
    "Word",
    "choose",
    "encode",
    "from_dict",
    "read_lines",
    "read_texts",
    "split_valid",
    "swap_two",
    "train",
]

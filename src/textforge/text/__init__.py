"""From text files to batches of ids: vocabularies, tokenizers, corpora, streams."""

from textforge.text.corpus import (
    Batch,
    Corpus,
    Counts,
    Lines,
    Split,
    Texts,
    encode,
    read_cells,
    read_lines,
    read_texts,
    split_valid,
)
from textforge.text.items import collect
from textforge.text.stream import Stream
from textforge.text.swap import swap_two
from textforge.text.tokenizers import Bpe, Char, Tab, Tokenizer, Word, choose, from_dict, train
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
    "Tab",
    "Texts",
    "Tokenizer",
    "Vocabulary",
    "Word",
    "choose",
    "collect",
    "encode",
    "from_dict",
    "read_cells",
    "read_lines",
    "read_texts",
    "split_valid",
    "swap_two",
    "train",
]

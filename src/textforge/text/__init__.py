"""From text files to batches of ids: vocabularies, tokenizers, corpora, streams."""

from textforge.text import cache
from textforge.text.corpus import (
    Batch,
    Corpus,
    Counts,
    Lines,
    Split,
    Texts,
    encode,
    read_texts,
    split_valid,
)
from textforge.text.items import collect
from textforge.text.labels import LabelledTexts
from textforge.text.pretrained import Pretrained
from textforge.text.reading import read_cells, read_lines
from textforge.text.stream import Stream
from textforge.text.swap import swap_two
from textforge.text.tokenizers import (
    Bpe,
    Char,
    Labelled,
    Tab,
    Tokenizer,
    Word,
    as_given,
    choose,
    from_dict,
    plain,
    train,
)
from textforge.text.vocabulary import Vocabulary

__all__ = [
    "Batch",
    "Bpe",
    "Char",
    "Corpus",
    "Counts",
    "Labelled",
    "LabelledTexts",
    "Lines",
    "Pretrained",
    "Split",
    "Stream",
    "Tab",
    "Texts",
    "Tokenizer",
    "Vocabulary",
    "Word",
    "as_given",
    "cache",
    "choose",
    "collect",
    "encode",
    "from_dict",
    "plain",
    "read_cells",
    "read_lines",
    "read_texts",
    "split_valid",
    "swap_two",
    "train",
]

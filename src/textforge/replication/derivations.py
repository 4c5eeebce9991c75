"""Numbers of an oracle itself, in nats per token: its entropy, and what it thinks of texts that ignore it."""

from collections import Counter

import numpy as np

from textforge import oracles
from textforge.replication.ledger import Derivation

NUM = 10_000
"""Texts of each draw."""
SEED = 30_000
"""Of the first draw; training, validation, test and divergences use others."""


def derive(what: Derivation, oracle_name: str, seed: int) -> dict[str, float]:
    """Return `nll_oracle` of the oracle's own texts, of uniform tokens, or of tokens drawn by their frequency."""
    oracle = oracles.load(oracle_name)
    rng = np.random.default_rng(SEED + seed)
    if what == "uniform":
        symbols = rng.integers(oracle.tokenizer.vocabulary.vocab_size, size=(NUM, oracle.max_length))
        texts = [oracle.tokenizer.decode(row) for row in symbols.tolist()]
    else:
        texts = oracle.sample(NUM, SEED + seed)
    if what == "unigram":
        counts = Counter(id_ for text in texts for id_ in oracle.tokenizer.encode(text))
        ids, shares = np.array([*counts]), np.array([*counts.values()], dtype=np.float64)
        drawn = rng.choice(ids, size=(NUM, oracle.max_length), p=shares / shares.sum())
        texts = [oracle.tokenizer.decode(row) for row in drawn.tolist()]
    return {"nll_oracle": -float(oracle.log_prob(texts).mean()) / oracle.max_length}
